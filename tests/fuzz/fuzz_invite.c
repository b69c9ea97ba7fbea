/* rooms: trust base */
/*
 * The text of an invite: what is read is within its bounds and safe to show, and only what its inviter signed is read.
 */
#include "base/text.h"
#include "trust/invite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct invite v;
	struct node_id id;

	if (invite_read(bytes_of(data, size), &v) != ERR_OK)
		return 0;
	node_id_of(v.inviter_ed, &id);
	BUG_ON(!node_id_eq(&id, &v.inviter) || !invite_endpoint_valid(v.endpoint) || v.expires_ms < v.issued_ms);
	BUG_ON(v.profile[0] && !name_valid(bytes_str(v.profile)));
	for (const char *s = v.allowed_peers; *s; s++)
		BUG_ON(*s <= ' ' || *s > '~');
	return 0;
}
