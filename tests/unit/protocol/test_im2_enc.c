#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "protocol/im2/enc.h"
#include "tests/lib/protocol_env.h"
#include "tests/vectors/im2_codec.h"

/* Every kind once, so that each refusal can be shown alone. */
static enum im2_refusal even_check(struct bytes b)
{
	return b.n % 2 == 0 ? IM2_FINE : IM2_E_RANGE;
}
static const struct im2_rule inner_rules[] = {
	{.tag = 2, .kind = IM2_UINT, .hi = INT64_MAX, .has_default = true, .dflt = 0},
	{.tag = 3, .kind = IM2_BYTES, .lo = 1, .hi = 8, .required = true},
};
static const struct im2_schema inner = {
	.name = "INNER", .rules = inner_rules, .count = 2, .max_bytes = 30};
enum { NUMBER, TEXT, NAME, FLAG, SORTED, LOOSE, INNER, MANY, LEAST };
static const struct im2_rule outer_rules[] = {
	[NUMBER] = {.tag = 2, .kind = IM2_UINT, .lo = 5, .hi = 300, .has_default = true, .dflt = 7},
	[TEXT] = {.tag = 4, .kind = IM2_TEXT, .lo = 1, .hi = 40},
	[NAME] = {.tag = 6, .kind = IM2_NAME, .lo = 1, .hi = 40},
	[FLAG] = {.tag = 8, .kind = IM2_FLAG},
	[SORTED] = {.tag = 10, .kind = IM2_LIST, .lo = 1, .hi = 3, .elem = IM2_BYTES, .elem_hi = 4,
		    .ascending = true, .max_bytes = 9},
	[LOOSE] = {.tag = 12, .kind = IM2_LIST, .lo = 1, .hi = 3, .elem = IM2_BYTES, .elem_hi = 4,
		   .check = even_check},
	[INNER] = {.tag = 14, .kind = IM2_STRUCT, .of = &inner},
	[MANY] = {.tag = 16, .kind = IM2_LIST, .lo = 0, .hi = 2, .elem = IM2_STRUCT, .of = &inner},
	[LEAST] = {.tag = 17, .kind = IM2_BYTES, .lo = 0, .hi = 3, .has_default = true},
};
static enum im2_refusal across(const struct im2_fields *f)
{
	return im2_has(f, TEXT) && im2_has(f, NAME) ? IM2_E_CONTEXT : IM2_FINE;
}
static const struct im2_schema outer = {
	.name = "OUTER", .rules = outer_rules, .count = 9, .max_bytes = 400, .across = across};

/* On the heap and exactly as long: a sanitizer sees a step beyond. */
static struct bytes heap_copy(const void *p, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);

	assert_non_null(copy);
	if (n)
		memcpy(copy, p, n);
	return bytes_of(copy, n);
}

static void release(struct bytes b)
{
	free((void *)(uintptr_t)b.p);
}

static enum im2_refusal parse_as(const struct im2_schema *s, const void *p, size_t n)
{
	struct bytes in = heap_copy(p, n);
	struct im2_fields f;
	struct buf out;
	enum im2_refusal r = im2_parse(s, in, &f);

	buf_init(&out, n);
	assert_int_equal(im2_reencode(s, in, &out), r);
	assert_int_equal(out.err, ERR_OK);
	if (r == IM2_FINE)
		assert_true(bytes_eq(buf_bytes(&out), in));
	buf_fini(&out);
	release(in);
	return r;
}
#define PARSE(lit) im2_refusal_word(parse_as(&outer, lit, sizeof(lit) - 1))

static void varints_are_the_vectors(void **state)
{
	for (size_t i = 0; i < sizeof im2_varints / sizeof im2_varints[0]; i++) {
		size_t n = strlen(im2_varints[i].hex) / 2;
		uint8_t want[10], got[IM2_VARINT_MAX_BYTES];
		struct bytes in;
		uint64_t v;

		test_unhex(im2_varints[i].hex, want, n);
		assert_int_equal(im2_varint_put(got, im2_varints[i].value), n);
		assert_int_equal(im2_varint_size(im2_varints[i].value), n);
		assert_memory_equal(got, want, n);
		in = bytes_of(want, n);
		assert_int_equal(im2_varint_take(&in, &v), IM2_FINE);
		assert_true(v == im2_varints[i].value);
		assert_int_equal(in.n, 0);
		for (size_t cut = 0; cut < n; cut++) {
			in = bytes_of(want, cut);
			assert_int_equal(im2_varint_take(&in, &v), IM2_E_SHORT);
			assert_int_equal(in.n, cut);
		}
	}
	for (size_t i = 0; i < sizeof im2_varints_refused / sizeof im2_varints_refused[0]; i++) {
		size_t n = strlen(im2_varints_refused[i].hex) / 2;
		uint8_t b[16];
		struct bytes in = bytes_of(b, n);
		uint64_t v;

		test_unhex(im2_varints_refused[i].hex, b, n);
		assert_string_equal(im2_refusal_word(im2_varint_take(&in, &v)),
				    im2_varints_refused[i].word);
	}
}

static void varint_size_steps_every_seven_bits(void **state)
{
	for (unsigned bits = 7; bits < 63; bits += 7) {
		assert_int_equal(im2_varint_size((1ull << bits) - 1), bits / 7);
		assert_int_equal(im2_varint_size(1ull << bits), bits / 7 + 1);
	}
	assert_int_equal(im2_varint_size(INT64_MAX), IM2_VARINT_MAX_BYTES);
}

static void lv_takes_what_is_there(void **state)
{
	static const uint8_t b[] = {3, 'a', 'b', 'c', 0, 2, 'd'};
	struct bytes in = BYTES_ARR(b), out;
	struct buf made;

	assert_int_equal(im2_lv_take(&in, &out), IM2_FINE);
	assert_true(bytes_eq(out, BYTES_LIT("abc")));
	assert_int_equal(im2_lv_take(&in, &out), IM2_FINE);
	assert_int_equal(out.n, 0);
	assert_int_equal(im2_lv_take(&in, &out), IM2_E_SHORT);
	assert_int_equal(in.n, 2);
	in = BYTES_LIT("\xff\xff\xff\xff\xff\xff\xff\xff\x7f");
	assert_int_equal(im2_lv_take(&in, &out), IM2_E_SHORT);
	buf_init(&made, 100);
	im2_lv_add(&made, BYTES_LIT("abc"));
	im2_lv_add(&made, BYTES_LIT(""));
	assert_memory_equal(made.p, b, 5);
	assert_int_equal(made.n, 5);
	buf_fini(&made);
}

static void buckets_are_the_vectors(void **state)
{
	for (size_t i = 0; i < sizeof im2_buckets / sizeof im2_buckets[0]; i++)
		assert_int_equal(im2_bucket(im2_buckets[i].n), im2_buckets[i].padded);
	for (size_t n = 0; n < 300000; n += 7) { /* never less, at most an eighth of the power below */
		size_t b = im2_bucket(n);

		assert_true(b >= n && im2_bucket(b) == b);
		assert_true(n < 4096 || b - n < n / 7);
	}
}

static void each_rule_of_a_structure_has_its_refusal(void **state)
{
	assert_string_equal(PARSE(""), "fine");
	assert_string_equal(PARSE("\x02\x01\x05"), "fine");
	assert_string_equal(PARSE("\x02\x01\x04"), "E_RANGE");
	assert_string_equal(PARSE("\x02\x02\xac\x02"), "fine");
	assert_string_equal(PARSE("\x02\x02\xad\x02"), "E_RANGE");
	assert_string_equal(PARSE("\x02\x01\x07"), "E_NONCANON");
	assert_string_equal(PARSE("\x02\x02\x05\x00"), "E_TRAILING");
	assert_string_equal(PARSE("\x02\x02\x85\x00"), "E_NONCANON");
	assert_string_equal(PARSE("\x02\x00"), "E_SHORT");
	assert_string_equal(PARSE("\x02\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "E_VARINT");
	assert_string_equal(PARSE("\x00\x00"), "E_TAG");
	assert_string_equal(PARSE("\xfe\x7f\x00"), "fine");
	assert_string_equal(PARSE("\x80\x80\x01\x00"), "E_TAG");
	assert_string_equal(PARSE("\x82\x00\x01\x05"), "E_NONCANON");
	assert_string_equal(PARSE("\x04\x01x\x02\x01\x05"), "E_ORDER");
	assert_string_equal(PARSE("\x08\x00\x08\x00"), "E_ORDER");
	assert_string_equal(PARSE("\x03\x00"), "E_CRITICAL");
	assert_string_equal(PARSE("\x12\x01x"), "fine");
	assert_string_equal(PARSE("\x13\x01x"), "E_CRITICAL");
	assert_string_equal(PARSE("\x08\x00"), "fine");
	assert_string_equal(PARSE("\x08\x01\x00"), "E_LENGTH");
	assert_string_equal(PARSE("\x11\x03xyz"), "fine");
	assert_string_equal(PARSE("\x11\x04xyzz"), "E_LENGTH");
	assert_string_equal(PARSE("\x11\x00"), "E_NONCANON");
	assert_string_equal(PARSE("\x11\x03xy"), "E_SHORT");
	assert_string_equal(PARSE("\x04\x01x\x06\x01x"), "E_CONTEXT");
}

static void lists_and_inner_structures_are_looked_into(void **state)
{
	assert_string_equal(PARSE("\x0a\x06\x01" "a\x01" "b\x01" "c"), "fine");
	assert_string_equal(PARSE("\x0a\x05\x01" "a\x02" "aa"), "fine");
	assert_string_equal(PARSE("\x0a\x05\x02" "aa\x01" "a"), "E_ORDER");
	assert_string_equal(PARSE("\x0a\x04\x01" "a\x01" "a"), "E_ORDER");
	assert_string_equal(PARSE("\x0a\x03\x00\x01" "a"), "fine");
	assert_string_equal(PARSE("\x0a\x00"), "E_NONCANON");
	assert_string_equal(PARSE("\x0a\x08\x00\x01" "a\x01" "b\x01" "c"), "E_SHORT");
	assert_string_equal(PARSE("\x0a\x07\x00\x01" "a\x01" "b\x01" "c"), "E_LIMIT"); /* four elements */
	assert_string_equal(PARSE("\x0a\x09\x02" "aa\x02" "bb\x02" "cc"), "fine");
	assert_string_equal(PARSE("\x0a\x0a\x02" "aa\x02" "bb\x03" "ccc"), "E_LIMIT"); /* ten bytes */
	assert_string_equal(PARSE("\x0a\x06\x05" "aaaaa"), "E_LENGTH");
	assert_string_equal(PARSE("\x0a\x02\x02" "a"), "E_SHORT");
	assert_string_equal(PARSE("\x0c\x03\x02" "aa"), "fine");
	assert_string_equal(PARSE("\x0c\x02\x01" "a"), "E_RANGE");
	assert_string_equal(PARSE("\x0e\x03\x03\x01x"), "fine");
	assert_string_equal(PARSE("\x0e\x06\x02\x01\x09\x03\x01x"), "fine");
	assert_string_equal(PARSE("\x0e\x06\x02\x01\x00\x03\x01x"), "E_NONCANON");
	assert_string_equal(PARSE("\x0e\x03\x02\x01\x09"), "E_MISSING");
	assert_string_equal(PARSE("\x0e\x00"), "E_NONCANON");
	assert_string_equal(PARSE("\x0e\x05\x03\x01x\x04\x00"), "fine");
	assert_string_equal(PARSE("\x0e\x05\x03\x01x\x05\x00"), "E_CRITICAL");
	assert_string_equal(PARSE("\x0e\x1e\x03\x01x\x04\x19" "1234567890123456789012345"), "fine");
	assert_string_equal(PARSE("\x0e\x1f\x03\x01x\x04\x1a" "12345678901234567890123456"), "E_LIMIT");
	assert_string_equal(PARSE("\x10\x00"), "fine"); /* the one list that may be empty */
	assert_string_equal(PARSE("\x10\x08\x03\x03\x01x\x03\x03\x01x"), "fine");
	assert_string_equal(PARSE("\x10\x04\x03\x03\x01x"), "fine");
	assert_string_equal(PARSE("\x10\x04\x03\x03\x02x"), "E_SHORT");
	assert_string_equal(PARSE("\x10\x01\x00"), "E_MISSING");
}

static void a_structure_is_bounded_in_bytes_and_fields(void **state)
{
	struct buf b;

	buf_init(&b, 1000);
	for (unsigned i = 0; i < IM2_STRUCT_FIELDS_MAX; i++)
		im2_item_add(&b, (uint16_t)(20 + 2 * i), BYTES_LIT(""));
	assert_int_equal(parse_as(&outer, b.p, b.n), IM2_FINE);
	im2_item_add(&b, 16382, BYTES_LIT(""));
	assert_int_equal(parse_as(&outer, b.p, b.n), IM2_E_LIMIT);
	for (size_t n = outer.max_bytes - 1; n <= outer.max_bytes + 1; n++) {
		static const uint8_t zeros[400];

		buf_reset(&b);
		im2_item_add(&b, 20, bytes_of(zeros, n - 3));
		assert_int_equal(b.n, n);
		assert_int_equal(parse_as(&outer, b.p, b.n), n <= outer.max_bytes ? IM2_FINE : IM2_E_LIMIT);
	}
	buf_fini(&b);
}

static bool text_fine(enum im2_kind kind, const void *p, size_t n)
{
	uint8_t b[64] = {kind == IM2_TEXT ? 4 : 6, (uint8_t)n};
	enum im2_refusal r;

	memcpy(b + 2, p, n);
	r = parse_as(&outer, b, n + 2);
	assert_true(r == IM2_FINE || r == IM2_E_UTF8);
	return r == IM2_FINE;
}

static void text_is_utf8_without_controls(void **state)
{
	static const char *const bad[] = {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80",
					  "\xf4\x90\x80\x80", "\xf0\x80\x80\x80", "\xc3", "\xe2\x82",
					  "\xff", "\xc2\x80", "\xc2\x9f", "eight ch\x7f", "\xc3(",
					  "sixteen chars is\xc3", "eight ch\xc2\x85"};
	static const char *const good[] = {"\xc2\xa0", "\xe2\x82\xac", "\xed\x9f\xbf", "\xee\x80\x80",
					   "\xf4\x8f\xbf\xbf", "plain ascii text, long ~", "\xef\xbb\xbf"};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(text_fine(IM2_TEXT, bad[i], strlen(bad[i])));
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		assert_true(text_fine(IM2_TEXT, good[i], strlen(good[i])));
	/* Each byte at each place of a text: the eight-byte steps see what the single ones see. */
	for (unsigned c = 0; c < 128; c++)
		for (size_t at = 0; at < 19; at++) {
			char t[19];

			memset(t, c % 2 ? ' ' : '~', sizeof t);
			t[at] = (char)c;
			assert_int_equal(text_fine(IM2_TEXT, t, sizeof t), c >= 0x20 && c != 0x7f);
		}
}

static void name_is_letters_digits_and_three_signs(void **state)
{
	for (unsigned c = 0; c < 256; c++) {
		uint8_t t[2] = {'a', (uint8_t)c};
		bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    c == '.' || c == '_' || c == '-';

		assert_int_equal(text_fine(IM2_NAME, t, 2), good);
		assert_int_equal(text_fine(IM2_NAME, t + 1, 1), good);
	}
}

static void fields_say_what_was_there(void **state)
{
	static const char b[] = "\x02\x01\x09\x04\x02hi\x0a\x05\x01" "a\x02" "bb\x1a\x01?\x1c\x00";
	struct im2_fields f;

	assert_int_equal(im2_parse(&outer, bytes_of(b, sizeof b - 1), &f), IM2_FINE);
	assert_true(im2_has(&f, NUMBER) && im2_has(&f, TEXT) && im2_has(&f, SORTED));
	assert_int_equal(f.present, 1u << NUMBER | 1u << TEXT | 1u << SORTED);
	assert_int_equal(f.v[NUMBER].u, 9);
	assert_true(bytes_eq(f.v[TEXT].b, BYTES_LIT("hi")));
	assert_ptr_equal(f.v[TEXT].b.p, b + 5);
	assert_int_equal(f.v[SORTED].u, 2);
	assert_int_equal(f.unknown, 2);
	assert_int_equal(f.last_tag, 0x1c);
	assert_int_equal(f.raw.n, sizeof b - 1);
	assert_ptr_equal(f.schema, &outer);
	assert_int_equal(im2_parse(&outer, bytes_of(b, 0), &f), IM2_FINE);
	assert_int_equal(f.present, 0);
	assert_int_equal(f.v[NUMBER].u, 7);
	assert_int_equal(f.v[LEAST].b.n, 0);
}

static void writer_gives_the_one_encoding(void **state)
{
	static const char want[] = "\x04\x02hi\x08\x00\x0a\x05\x01" "a\x02" "bb\x0e\x03\x03\x01x";
	struct im2_fields f = {0};
	struct buf b;

	buf_init(&b, sizeof want - 1); /* it asks for no more than it writes */
	im2_set_u(&f, NUMBER, 7);
	im2_set_b(&f, TEXT, BYTES_LIT("hi"));
	im2_set_b(&f, FLAG, BYTES_LIT(""));
	im2_set_b(&f, SORTED, BYTES_LIT("\x01" "a\x02" "bb"));
	im2_set_b(&f, LOOSE, BYTES_LIT(""));
	im2_set_b(&f, INNER, BYTES_LIT("\x03\x01x"));
	im2_set_b(&f, MANY, BYTES_LIT(""));
	im2_set_b(&f, LEAST, BYTES_LIT(""));
	im2_write(&outer, &f, &b);
	assert_int_equal(b.err, ERR_OK);
	assert_int_equal(b.n, sizeof want - 1);
	assert_memory_equal(b.p, want, b.n);
	im2_set_u(&f, NUMBER, 300);
	im2_write(&outer, &f, &b); /* no room left: the buffer says so */
	assert_int_equal(b.err, ERR_LIMIT);
	assert_int_equal(b.n, sizeof want - 1);
	buf_fini(&b);
}

static enum im2_refusal list_check(const void *p, size_t n, size_t *count)
{
	struct bytes in = heap_copy(p, n);
	enum im2_refusal r = im2_items_check(in, count);

	release(in);
	return r;
}
#define LIST(lit) im2_refusal_word(list_check(lit, sizeof(lit) - 1, NULL))

static void item_lists_end_in_zeros_only(void **state)
{
	assert_string_equal(LIST(""), "fine");
	assert_string_equal(LIST("\0"), "fine");
	assert_string_equal(LIST("\0\0\0\0\0"), "fine");
	assert_string_equal(LIST("\0\0\0\0\1"), "E_PAD");
	assert_string_equal(LIST("\0\1"), "E_PAD");
	assert_string_equal(LIST("\x1c\x02" "ab"), "fine");
	assert_string_equal(LIST("\x1c\x02" "ab\0"), "fine");
	assert_string_equal(LIST("\x1c\x02" "ab\0\x1c"), "E_PAD");
	assert_string_equal(LIST("\x1c\x02" "a"), "E_SHORT");
	assert_string_equal(LIST("\x1c"), "E_SHORT");
	assert_string_equal(LIST("\x1c\x82\x00" "ab"), "E_NONCANON");
	assert_string_equal(LIST("\x80\x00\x00"), "E_NONCANON");
	assert_string_equal(LIST("\xff\x7f\x00"), "fine");
	assert_string_equal(LIST("\x80\x80\x01\x00"), "E_TAG");
	assert_string_equal(LIST("\x03\x00\x03\x00\x01\x00"), "fine"); /* any order, repeats */
}

static void a_list_holds_at_most_256_items(void **state)
{
	struct bytes left, value;
	size_t count = 0;
	struct buf b;
	uint16_t tag;

	buf_init(&b, 4096);
	for (unsigned i = 0; i < IM2_ITEMS_MAX; i++)
		im2_item_add(&b, (uint16_t)(28 + 2 * i), bytes_of("0123456789", i % 10));
	assert_int_equal(list_check(b.p, b.n, &count), IM2_FINE);
	assert_int_equal(count, IM2_ITEMS_MAX);
	left = buf_bytes(&b);
	for (unsigned i = 0; i < IM2_ITEMS_MAX; i++) {
		size_t before = left.n;

		assert_true(im2_item_next(&left, &tag, &value));
		assert_int_equal(tag, 28 + 2 * i);
		assert_int_equal(value.n, i % 10);
		assert_int_equal(im2_item_size(tag, value.n), before - left.n);
	}
	assert_false(im2_item_next(&left, &tag, &value));
	im2_item_add(&b, 30, BYTES_LIT(""));
	assert_int_equal(list_check(b.p, b.n, NULL), IM2_E_LIMIT);
	buf_fini(&b);
}

static void padded_items_of_the_vector_are_found(void **state)
{
	uint8_t b[24];
	struct bytes left = BYTES_ARR(b), value;
	uint16_t tag;

	test_unhex("1c0831323334353637381e08616263646566676800000000", b, sizeof b);
	assert_true(im2_item_next(&left, &tag, &value));
	assert_int_equal(tag, 28);
	assert_true(bytes_eq(value, BYTES_LIT("12345678")));
	assert_true(im2_item_next(&left, &tag, &value));
	assert_int_equal(tag, 30);
	assert_true(bytes_eq(value, BYTES_LIT("abcdefgh")));
	assert_false(im2_item_next(&left, &tag, &value));
	assert_int_equal(left.n, 4);
}

static void every_refusal_has_a_word_and_an_error(void **state)
{
	for (int r = 0; r < IM2_REFUSAL_COUNT; r++) {
		assert_true(im2_refusal_word(r)[0] != '\0');
		assert_int_equal(im2_refusal_err(r) == ERR_OK, r == IM2_FINE);
	}
	assert_string_equal(im2_refusal_word(IM2_E2E_REQUIRED), "E2E_REQUIRED");
	assert_int_equal(im2_refusal_err(IM2_E_DOWNGRADE), ERR_DOWNGRADE);
	assert_int_equal(im2_refusal_err(IM2_REFUSAL_COUNT), ERR_INTERNAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(varints_are_the_vectors),
		cmocka_unit_test(varint_size_steps_every_seven_bits),
		cmocka_unit_test(lv_takes_what_is_there),
		cmocka_unit_test(buckets_are_the_vectors),
		cmocka_unit_test(each_rule_of_a_structure_has_its_refusal),
		cmocka_unit_test(lists_and_inner_structures_are_looked_into),
		cmocka_unit_test(a_structure_is_bounded_in_bytes_and_fields),
		cmocka_unit_test(text_is_utf8_without_controls),
		cmocka_unit_test(name_is_letters_digits_and_three_signs),
		cmocka_unit_test(fields_say_what_was_there),
		cmocka_unit_test(writer_gives_the_one_encoding),
		cmocka_unit_test(item_lists_end_in_zeros_only),
		cmocka_unit_test(a_list_holds_at_most_256_items),
		cmocka_unit_test(padded_items_of_the_vector_are_found),
		cmocka_unit_test(every_refusal_has_a_word_and_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
