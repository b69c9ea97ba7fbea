/* rooms: protocol trust base */
/*
 * The payload of CAPABILITY_ANNOUNCE and the body of a CAP record. What im2 reads it writes back byte for byte as far as the
 * names go; what the old wire reads is bounded, and nothing made up verifies.
 */
#include "base/secret.h"
#include "protocol/im2/cap.h"
#include "protocol/v09/capability.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void im2_body(struct bytes in)
{
	static struct bytes names[IM2_CAPS_MAX], again[IM2_CAPS_MAX];
	struct buf b;
	size_t n, m;

	if (im2_cap_read(in, names, &n) != IM2_FINE)
		return;
	BUG_ON(n > IM2_CAPS_MAX);
	buf_init(&b, 65536);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++)
			if (bytes_eq(names[i], names[k]))
				return; /* one name with other words beside it is written by nobody here */
	if (im2_cap_write(names, n, &b) == IM2_FINE && im2_cap_read(buf_bytes(&b), again, &m) == IM2_FINE)
		BUG_ON(m != n);
	buf_fini(&b);
}

static void announcement(struct bytes in)
{
	static const uint8_t ed[ED_BYTES] = { 9 };
	struct capability c;

	if (capability_read(in, &c) != ERR_OK)
		return;
	BUG_ON(c.n > CAPABILITY_NAMES_MAX);
	for (size_t i = 0; i < c.n; i++)
		BUG_ON(!c.names[i][0] || strlen(c.names[i]) > CAPABILITY_NAME_MAX);
	BUG_ON(capability_verify(&c, ed));
	capability_free(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;

	if (!ready)
		BUG_ON(secret_init_library() != ERR_OK);
	ready = true;
	if (size < 1)
		return 0;
	if (data[0] & 1)
		im2_body(bytes_of(data + 1, size - 1));
	else
		announcement(bytes_of(data + 1, size - 1));
	return 0;
}
