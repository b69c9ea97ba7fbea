/*
 * im2_diff.c -- one side of the differential test of the im2 codec; im2_diff.py is the other.
 *
 * stdin: u8 n || name(n) || u32 big-endian length || bytes, repeated; n = 0 means: flush what was answered.
 * stdout: a line for each: the word of the refusal, or "fine" and the first 16 hex digits of SHA-256 over the
 * encoding written anew from what was parsed. Names: a structure, an item that is no structure, ITEMS (a list
 * without a look into its values), PLAIN (a list and all of its values).
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/text.h"
#include "protocol/im2/schema.h"

#define INPUT_MAX (4u << 20)

static const struct im2_schema *schema_named(const char *name)
{
	size_t n;
	const struct im2_schema *const *all = im2_schemas(&n);

	for (size_t i = 0; i < n; i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
}

static uint16_t item_named(const char *name)
{
	for (uint16_t tag = 0; tag < 128; tag++)
		if (im2_item_name(tag) && strcmp(im2_item_name(tag), name) == 0)
			return tag;
	return 0;
}

static enum im2_refusal items(struct bytes in, bool values, struct buf *out)
{
	struct bytes value;
	uint16_t tag;
	enum im2_refusal r = im2_items_check(in, NULL);

	while (r == IM2_FINE && im2_item_next(&in, &tag, &value)) {
		if (values)
			r = im2_item_check(tag, value);
		im2_item_add(out, tag, value);
	}
	for (size_t i = 0; i < in.n; i++)
		buf_add_u8(out, 0);
	return r;
}

static enum im2_refusal item(uint16_t tag, struct bytes in, struct buf *out)
{
	enum im2_refusal r = im2_item_check(tag, in);
	struct bytes data;
	uint64_t offset;
	uint32_t number;

	if (r != IM2_FINE)
		return r;
	if (tag == IM2_ITEM_FRAG || tag == IM2_ITEM_CHUNK) {
		BUG_ON(im2_frag_take(in, &number, &offset, &data) != IM2_FINE);
		im2_varint_add(out, number);
		im2_varint_add(out, offset);
		buf_add(out, data);
	} else if (tag == IM2_ITEM_RECORD) {
		struct buf t;

		buf_init(&t, in.n);
		BUG_ON(im2_lv_take(&in, &data) != IM2_FINE);
		BUG_ON(im2_reencode(&im2_record_t, data, &t) != IM2_FINE);
		im2_lv_add(out, buf_bytes(&t));
		buf_add(out, in);
		buf_fini(&t);
	} else {
		buf_add(out, in);
	}
	return r;
}

static enum im2_refusal judge(const char *name, struct bytes in, struct buf *out)
{
	const struct im2_schema *s = schema_named(name);
	uint16_t tag = item_named(name);

	if (s)
		return im2_reencode(s, in, out);
	if (tag)
		return item(tag, in, out);
	BUG_ON(strcmp(name, "ITEMS") != 0 && strcmp(name, "PLAIN") != 0);
	return items(in, name[0] == 'P', out);
}

int main(void)
{
	static uint8_t in[INPUT_MAX];
	struct buf out;
	int n;

	buf_init(&out, INPUT_MAX);
	while ((n = getchar()) != EOF) {
		char name[256] = "", hex[2 * HASH_BYTES + 1];
		uint8_t head[4], hash[HASH_BYTES];
		struct rd r = rd_init(head, sizeof head);
		enum im2_refusal why;
		size_t length;
		uint8_t *copy;

		if (n == 0) {
			fflush(stdout);
			continue;
		}
		if (fread(name, 1, (size_t)n, stdin) != (size_t)n || fread(head, 1, 4, stdin) != 4)
			return 1;
		length = rd_u32(&r);
		if (length > sizeof in || fread(in, 1, length, stdin) != length)
			return 1;
		copy = malloc(length ? length : 1); /* so that a sanitizer sees a step beyond the end */
		memcpy(copy, in, length);
		buf_reset(&out);
		why = judge(name, bytes_of(copy, length), &out);
		BUG_ON(out.err != ERR_OK);
		sha256(buf_bytes(&out), hash);
		hex_encode(bytes_of(hash, 8), hex);
		if (why == IM2_FINE)
			printf("fine %s\n", hex);
		else
			printf("%s\n", im2_refusal_word(why));
		free(copy);
	}
	buf_fini(&out);
	return 0;
}
