/* rooms: store trust base
 *
 * A line that parses is its three parts and nothing else, prints back byte for byte, and no single
 * changed byte of it has the same MAC.
 */
#include <stdlib.h>

#include "store/audit_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t KEY[32] = {1};
	char hex[AUDIT_HMAC_LEN + 1], other[AUDIT_HMAC_LEN + 1];
	struct bytes in = bytes_of(data, size);
	struct audit_line l, again;
	struct buf b;

	if (audit_line_parse(in, &l) != ERR_OK)
		return 0;
	must(l.before.p == data && l.after.p + l.after.n == data + size);
	must(l.before.n + 8 + AUDIT_HMAC_LEN + 2 + l.after.n == size);

	buf_init(&b, size);
	must(json_write(&b, l.json, JSON_SORTED) == ERR_OK && bytes_eq(buf_bytes(&b), in));

	audit_line_hmac(BYTES_ARR(KEY), AUDIT_GENESIS, l.before, l.after, hex);
	size_t at = data[size / 2] % size;
	b.p[at] ^= 1;
	if (audit_line_parse(buf_bytes(&b), &again) == ERR_OK) {
		audit_line_hmac(BYTES_ARR(KEY), AUDIT_GENESIS, again.before, again.after, other);
		must(memcmp(hex, other, AUDIT_HMAC_LEN) != 0 || !bytes_eq(l.hmac, again.hmac));
		audit_line_fini(&again);
	}
	buf_fini(&b);
	audit_line_fini(&l);
	return 0;
}
