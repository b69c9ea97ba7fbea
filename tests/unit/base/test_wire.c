#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/wire.h"

static const uint8_t sample[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a,
				 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 'a',  'b',  'c',	 0xf0, 0xf1};

struct sample_parsed {
	uint8_t a;
	uint16_t b;
	uint32_t c;
	uint64_t d;
	struct bytes e;
	uint8_t f[2];
};

static enum err parse(const void *p, size_t n, struct sample_parsed *s)
{
	struct rd r = rd_init(p, n);

	s->a = rd_u8(&r);
	s->b = rd_u16(&r);
	s->c = rd_u32(&r);
	s->d = rd_u64(&r);
	s->e = rd_bytes(&r, 3);
	rd_copy(&r, s->f, 2);
	return rd_end(&r);
}

static void reads_big_endian_in_order(void **state)
{
	struct sample_parsed s;

	assert_int_equal(parse(sample, sizeof(sample), &s), ERR_OK);
	assert_int_equal(s.a, 0x01);
	assert_int_equal(s.b, 0x0203);
	assert_int_equal(s.c, 0x04050607);
	assert_true(s.d == 0x08090a0b0c0d0e0f);
	assert_true(bytes_eq(s.e, BYTES_LIT("abc")));
	assert_ptr_equal(s.e.p, sample + 15); /* borrowed, not copied */
	assert_memory_equal(s.f, "\xf0\xf1", 2);
}

static void every_shorter_prefix_is_short(void **state)
{
	struct sample_parsed s;

	for (size_t n = 0; n < sizeof(sample); n++)
		assert_int_equal(parse(sample, n, &s), ERR_SHORT);
}

static void one_byte_more_is_trailing(void **state)
{
	uint8_t longer[sizeof(sample) + 1] = {0};
	struct sample_parsed s;

	memcpy(longer, sample, sizeof(sample));
	assert_int_equal(parse(longer, sizeof(longer), &s), ERR_TRAILING);
}

static void after_an_error_nothing_is_read(void **state)
{
	struct rd r = rd_init(sample, 3);
	uint8_t out[4] = {9, 9, 9, 9};

	assert_int_equal(rd_u32(&r), 0);
	assert_int_equal(r.err, ERR_SHORT);
	assert_int_equal(rd_u8(&r), 0); /* three bytes are left, and stay */
	assert_int_equal(rd_bytes(&r, 1).n, 0);
	assert_non_null(rd_bytes(&r, 1).p);
	assert_int_equal(rd_rest(&r).n, 0);
	rd_copy(&r, out, sizeof(out));
	assert_memory_equal(out, "\0\0\0\0", 4);
	assert_int_equal(r.left, 3);
	assert_int_equal(rd_end(&r), ERR_SHORT); /* the first error, not ERR_TRAILING */
}

static void the_first_error_is_kept(void **state)
{
	struct rd r = rd_init(sample, sizeof(sample));

	rd_fail(&r, ERR_MALFORMED);
	rd_fail(&r, ERR_LIMIT);
	assert_int_equal(rd_end(&r), ERR_MALFORMED);
}

static void a_length_near_the_end_of_the_address_space_does_not_wrap(void **state)
{
	struct rd r = rd_init(sample, sizeof(sample));

	assert_int_equal(rd_bytes(&r, SIZE_MAX).n, 0);
	assert_int_equal(r.err, ERR_SHORT);
}

static void an_empty_input_is_readable(void **state)
{
	struct rd r = rd_init(NULL, 0);

	assert_int_equal(rd_bytes(&r, 0).n, 0);
	rd_copy(&r, NULL, 0);
	assert_int_equal(rd_rest(&r).n, 0);
	assert_int_equal(rd_end(&r), ERR_OK);
	assert_int_equal(rd_u8(&r), 0);
	assert_int_equal(rd_end(&r), ERR_SHORT);
}

static void rest_takes_what_is_left(void **state)
{
	struct rd r = rd_init(sample, sizeof(sample));

	rd_u64(&r);
	assert_int_equal(rd_rest(&r).n, sizeof(sample) - 8);
	assert_int_equal(rd_end(&r), ERR_OK);
}

static void writes_what_the_reader_reads(void **state)
{
	uint8_t mem[sizeof(sample)];
	struct wr w = wr_init(mem, sizeof(mem));
	struct bytes out;

	wr_u8(&w, 0x01);
	wr_u16(&w, 0x0203);
	wr_u32(&w, 0x04050607);
	wr_u64(&w, 0x08090a0b0c0d0e0f);
	wr_bytes(&w, BYTES_LIT("abc"));
	memcpy(wr_reserve(&w, 2), "\xf0\xf1", 2);
	assert_int_equal(wr_end(&w, &out), ERR_OK);
	assert_true(bytes_eq(out, BYTES_ARR(sample)));
}

static void writing_past_the_end_is_a_limit_and_sticks(void **state)
{
	uint8_t mem[4] = {0};
	struct wr w = wr_init(mem, 3);
	struct bytes out = BYTES_LIT("untouched");

	wr_u16(&w, 0xffff);
	wr_u16(&w, 0xeeee);
	assert_int_equal(w.err, ERR_LIMIT);
	wr_u8(&w, 0xdd); /* would fit, but the order is broken already */
	assert_null(wr_reserve(&w, 0));
	wr_bytes(&w, BYTES_LIT("x"));
	assert_int_equal(wr_end(&w, &out), ERR_LIMIT);
	assert_true(bytes_eq(out, BYTES_LIT("untouched")));
	assert_memory_equal(mem, "\xff\xff\0\0", 4);
}

static void a_huge_reservation_does_not_wrap(void **state)
{
	uint8_t mem[4];
	struct wr w = wr_init(mem, sizeof(mem));

	wr_u8(&w, 1);
	assert_null(wr_reserve(&w, SIZE_MAX));
	assert_int_equal(w.err, ERR_LIMIT);
}

static void bytes_compare_by_content(void **state)
{
	assert_true(bytes_eq(bytes_of(NULL, 0), BYTES_LIT("")));
	assert_false(bytes_eq(BYTES_LIT("a"), BYTES_LIT("")));
	assert_false(bytes_eq(BYTES_LIT("a"), BYTES_LIT("b")));
	assert_int_equal(bytes_str(NULL).n, 0);
	assert_int_equal(bytes_str("abc").n, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_big_endian_in_order),
		cmocka_unit_test(every_shorter_prefix_is_short),
		cmocka_unit_test(one_byte_more_is_trailing),
		cmocka_unit_test(after_an_error_nothing_is_read),
		cmocka_unit_test(the_first_error_is_kept),
		cmocka_unit_test(a_length_near_the_end_of_the_address_space_does_not_wrap),
		cmocka_unit_test(an_empty_input_is_readable),
		cmocka_unit_test(rest_takes_what_is_left),
		cmocka_unit_test(writes_what_the_reader_reads),
		cmocka_unit_test(writing_past_the_end_is_a_limit_and_sticks),
		cmocka_unit_test(a_huge_reservation_does_not_wrap),
		cmocka_unit_test(bytes_compare_by_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
