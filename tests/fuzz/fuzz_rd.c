/* rooms: base */
/*
 * The first half of the input is a list of reads, the rest is what they read. Every field read
 * goes into a writer of exactly the size of the input; at the end the two must be the same bytes.
 */
#include <stdlib.h>

#include "base/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t steps = size / 2, n = size - steps;
	uint8_t *in = malloc(n + (n == 0)), *out = malloc(n + (n == 0)), copy[256];
	struct rd r;
	struct wr w;
	struct bytes b;

	if (n)
		memcpy(in, data + steps, n);
	r = rd_init(in, n);
	w = wr_init(out, n);
	for (size_t i = 0; i < steps; i++) {
		struct rd before = r;

		switch (data[i] % 8) {
		case 0:
			wr_u8(&w, rd_u8(&r));
			break;
		case 1:
			wr_u16(&w, rd_u16(&r));
			break;
		case 2:
			wr_u32(&w, rd_u32(&r));
			break;
		case 3:
			wr_u64(&w, rd_u64(&r));
			break;
		case 4:
			b = rd_bytes(&r, rd_u8(&r));
			if (r.err == ERR_OK)
				wr_u8(&w, (uint8_t)b.n);
			wr_bytes(&w, b);
			break;
		case 5:
			rd_copy(&r, copy, data[i]);
			if (r.err == ERR_OK)
				wr_bytes(&w, bytes_of(copy, data[i]));
			break;
		case 6:
			wr_bytes(&w, rd_rest(&r));
			break;
		case 7:
			if (data[i] == 0xff)
				rd_fail(&r, ERR_MALFORMED);
			break;
		}
		/* An error is kept, and nothing moves after it. */
		if (before.err != ERR_OK)
			BUG_ON(r.err != before.err || r.left != before.left || r.p != before.p);
		if (r.err != ERR_OK)
			break;
		BUG_ON(r.left > before.left || w.n != n - r.left);
	}
	if (rd_end(&r) == ERR_OK) {
		BUG_ON(wr_end(&w, &b) != ERR_OK);
		BUG_ON(!bytes_eq(b, bytes_of(in, n)));
	}
	free(in);
	free(out);
	return 0;
}
