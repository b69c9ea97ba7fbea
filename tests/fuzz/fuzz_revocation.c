/* rooms: protocol trust base */
/*
 * The payload of REVOCATION: what is read is bounded and safe to show, and nothing made up verifies.
 */
#include "base/text.h"
#include "protocol/v09/revocation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t ed[ED_BYTES] = { 0x3b, 0x6a, 0x27, 0xbc, 0xce, 0xb6, 0xa4, 0x2d, 0x62, 0xa3, 0xa8, 0xd0, 0x2a, 0x6f, 0x0d, 0x73,
					      0x65, 0x32, 0x15, 0x77, 0x1d, 0xe2, 0x43, 0xa6, 0x3a, 0xc0, 0x48, 0xa1, 0x8b, 0x59, 0xda, 0x29 };
	struct revocation r;

	if (revocation_read(bytes_of(data, size), &r) != ERR_OK)
		return 0;
	BUG_ON(!hex_valid(bytes_str(r.target.hex), NODE_ID_LEN) || !hex_valid(bytes_str(r.revoker.hex), NODE_ID_LEN));
	BUG_ON(strlen(r.reason) > REVOCATION_REASON_MAX);
	for (const char *s = r.reason; *s; s++)
		BUG_ON((unsigned char)*s < ' ' || *s == 0x7f);
	/* The example of the seeds is the one text that this key has signed. */
	if (revocation_verify(&r, ed))
		BUG_ON(r.at_s != 1753500000);
	(void)revocation_fresh(&r, 1753500000000);
	return 0;
}
