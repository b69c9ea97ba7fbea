/* rooms: protocol trust base */
/*
 * An item list as it comes out of a frame. If it is accepted, its items and its padding are the input again, byte
 * for byte; each value is then looked into by its tag.
 */
#include "protocol/im2/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_into(uint16_t tag, struct bytes value)
{
	enum im2_refusal r = im2_item_check(tag, value);
	const struct im2_schema *s = im2_item_schema(tag);
	struct im2_fields f;
	struct bytes data;
	uint64_t offset;
	uint32_t xfer;

	BUG_ON(!im2_item_name(tag) && r != (tag & 1 ? IM2_E_CRITICAL : IM2_FINE));
	BUG_ON(s && im2_parse(s, value, &f) != r);
	BUG_ON(tag == IM2_ITEM_FRAG && im2_frag_take(value, &xfer, &offset, &data) != r);
	BUG_ON(tag == IM2_ITEM_FRAG && r == IM2_FINE && data.p + data.n != value.p + value.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes left = bytes_of(data, size), value;
	size_t count, seen = 0;
	struct buf out;
	uint16_t tag;

	if (im2_items_check(left, &count) != IM2_FINE)
		return 0;
	buf_init(&out, size);
	while (im2_item_next(&left, &tag, &value)) {
		look_into(tag, value);
		im2_item_add(&out, tag, value);
		seen++;
	}
	BUG_ON(seen != count || count > IM2_ITEMS_MAX);
	while (left.n > 0 && out.n < size && left.p[0] == 0) {
		buf_add_u8(&out, 0);
		left = bytes_of(left.p + 1, left.n - 1);
	}
	BUG_ON(left.n > 0 || !bytes_eq(buf_bytes(&out), bytes_of(data, size)));
	buf_fini(&out);
	return 0;
}
