/* rooms: protocol trust base */
/*
 * First byte: which structure. What is accepted gives the same bytes back when every value is written anew, and,
 * if nothing in it was unknown, when its fields go through the writer.
 */
#include "protocol/im2/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t count;
	const struct im2_schema *const *all = im2_schemas(&count), *s;
	struct im2_fields f;
	struct bytes in;
	struct buf out;

	if (size < 1)
		return 0;
	s = all[data[0] % count];
	in = bytes_of(data + 1, size - 1);
	if (im2_parse(s, in, &f) != IM2_FINE)
		return 0;
	buf_init(&out, in.n);
	BUG_ON(im2_reencode(s, in, &out) != IM2_FINE);
	BUG_ON(out.err != ERR_OK || !bytes_eq(buf_bytes(&out), in));
	if (f.unknown == 0) {
		buf_reset(&out);
		im2_write(s, &f, &out);
		BUG_ON(out.err != ERR_OK || !bytes_eq(buf_bytes(&out), in));
	}
	buf_fini(&out);
	return 0;
}
