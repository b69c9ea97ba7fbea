/* rooms: base */
/*
 * One spelling per value: what decodes encodes back to the same text, and what encodes decodes to
 * the same bytes. The input is copied to exact size, so that a sanitizer sees a byte too far.
 */
#include <stdlib.h>

#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void text_to_bytes(struct bytes text)
{
	size_t cap = text.n / 4 * 3, n = SIZE_MAX;
	uint8_t *out = malloc(cap + 1), *exact;
	char *back;
	struct buf b;
	enum err e = base64_decode(text, out, cap, &n);

	buf_init(&b, cap);
	BUG_ON(buf_add_base64_decoded(&b, text) != e);
	if (e == ERR_OK) {
		BUG_ON(n > cap);
		BUG_ON(!bytes_eq(buf_bytes(&b), bytes_of(out, n)));
		back = malloc(BASE64_LEN(n) + 1);
		base64_encode(bytes_of(out, n), back);
		BUG_ON(!bytes_eq(bytes_str(back), text));
		free(back);
		exact = malloc(n + (n == 0));
		BUG_ON(base64_decode_exact(text, exact, n) != ERR_OK);
		BUG_ON(base64_decode_exact(text, exact, n + 1) == ERR_OK);
		free(exact);
	} else {
		BUG_ON(n != SIZE_MAX || b.n != 0);
	}
	buf_fini(&b);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *in = malloc(size + 1), *text;
	uint8_t *back = malloc(size + 1);
	size_t n;

	if (size)
		memcpy(in + 1, data, size);
	text_to_bytes(bytes_of(in + 1, size));

	text = malloc(BASE64_LEN(size) + 1);
	base64_encode(bytes_of(in + 1, size), text);
	BUG_ON(strlen(text) != BASE64_LEN(size));
	BUG_ON(base64_decode(bytes_str(text), back, size, &n) != ERR_OK);
	BUG_ON(!bytes_eq(bytes_of(back, n), bytes_of(in + 1, size)));
	free(text);
	free(back);
	free(in);
	return 0;
}
