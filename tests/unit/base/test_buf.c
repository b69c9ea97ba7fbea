#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "tests/lib/base_probe.h"

static void grows_up_to_its_maximum_exactly(void **state)
{
	struct buf b;

	buf_init(&b, 1000);
	for (int i = 0; i < 1000; i++)
		buf_add_u8(&b, (uint8_t)i);
	assert_int_equal(b.err, ERR_OK);
	assert_int_equal(b.n, 1000);
	assert_true(b.cap <= 1000);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(b.p[i], (uint8_t)i);
	assert_string_equal(buf_cstr(&b) + 995,
			    "\xe3\xe4\xe5\xe6\xe7"); /* the NUL has its own byte */
	assert_int_equal(b.n, 1000);
	buf_add_u8(&b, 0);
	assert_int_equal(b.err, ERR_LIMIT);
	assert_int_equal(b.n, 1000);
	buf_fini(&b);
}

static void the_error_sticks_until_reset(void **state)
{
	struct buf b;

	buf_init(&b, 4);
	buf_add_str(&b, "abc");
	buf_add_str(&b, "de");
	assert_int_equal(b.err, ERR_LIMIT);
	buf_add_u8(&b, 'x');
	buf_printf(&b, "%d", 1);
	assert_null(buf_reserve(&b, 0));
	assert_string_equal(buf_cstr(&b), "");
	assert_true(bytes_eq(buf_bytes(&b), BYTES_LIT("abc")));
	buf_reset(&b);
	buf_add_str(&b, "wxyz");
	assert_int_equal(b.err, ERR_OK);
	assert_string_equal(buf_cstr(&b), "wxyz");
	buf_fini(&b);
}

static void a_huge_reservation_is_a_limit(void **state)
{
	struct buf b;

	buf_init(&b, 100);
	buf_add_u8(&b, 1);
	assert_null(buf_reserve(&b, SIZE_MAX));
	assert_int_equal(b.err, ERR_LIMIT);
	buf_fini(&b);
}

static void a_failed_allocation_is_no_memory(void **state)
{
	struct buf b;

	if (PROBE_SANITIZED)
		skip(); /* their allocators die instead of returning NULL */
	buf_init(&b, SIZE_MAX - 1);
	buf_add_u8(&b, 1);
	assert_null(buf_reserve(&b, PTRDIFF_MAX));
	assert_int_equal(b.err, ERR_NOMEM);
	assert_int_equal(b.n, 1);
	assert_int_equal(b.p[0], 1);
	buf_fini(&b);
}

static void printf_appends_and_is_bounded(void **state)
{
	struct buf b;

	buf_init(&b, 10);
	buf_printf(&b, "%s=%d", "key", 12345);
	assert_string_equal(buf_cstr(&b), "key=12345");
	buf_printf(&b, "%d", 1);
	assert_string_equal(buf_cstr(&b), "key=123451");
	buf_printf(&b, "%s", "");
	assert_int_equal(b.err, ERR_OK);
	buf_printf(&b, "x");
	assert_int_equal(b.err, ERR_LIMIT);
	assert_int_equal(b.n, 10);
	buf_fini(&b);
}

static void numbers_are_decimal(void **state)
{
	static const uint64_t v[] = { 0, 9, 10, 18446744073709551615u };
	struct buf b;

	buf_init(&b, 30);
	for (size_t i = 0; i < 4; i++) {
		if (i)
			buf_add_u8(&b, ' ');
		buf_add_uint(&b, v[i]);
	}
	assert_string_equal(buf_cstr(&b), "0 9 10 18446744073709551615");
	buf_add_uint(&b, 1000);
	assert_int_equal(b.err, ERR_LIMIT);
	assert_int_equal(b.n, 27);
	buf_fini(&b);
}

/* Whatever room is left of what was allocated. */
static void printf_fits_at_every_length(void **state)
{
	struct buf b;

	for (int n = 0; n < 300; n++) {
		buf_init(&b, 700);
		for (int k = 0; k < 3; k++)
			buf_printf(&b, "%*s", n, "");
		buf_printf(&b, "%s", "end");
		assert_int_equal(b.err, n <= 232 ? ERR_OK : ERR_LIMIT);
		if (n <= 232) {
			assert_int_equal(b.n, 3 * n + 3);
			assert_string_equal(buf_cstr(&b) + 3 * n, "end");
		}
		buf_fini(&b);
	}
}

static void drop_front_keeps_the_rest(void **state)
{
	struct buf b;

	buf_init(&b, 100);
	buf_add_str(&b, "hello world");
	buf_drop_front(&b, 0);
	buf_drop_front(&b, 6);
	assert_string_equal(buf_cstr(&b), "world");
	buf_drop_front(&b, 5);
	assert_string_equal(buf_cstr(&b), "");
	buf_fini(&b);
}

static void drop_too_much(void *ctx)
{
	buf_drop_front(ctx, 4);
}

static void dropping_more_than_there_is_dies(void **state)
{
	struct buf b;

	buf_init(&b, 100);
	buf_add_str(&b, "abc");
	assert_true(probe_aborts(drop_too_much, &b));
	buf_fini(&b);
}

static void wipe_zeroes_the_memory_and_keeps_it(void **state)
{
	struct buf b;

	buf_init(&b, 100);
	buf_add_str(&b, "secret");
	buf_wipe(&b);
	assert_int_equal(b.n, 0);
	assert_non_null(b.p);
	assert_memory_equal(b.p, "\0\0\0\0\0\0", 6);
	buf_fini(&b);
	buf_wipe(&b); /* with nothing in it */
}

static void trim_gives_memory_back_only_when_empty(void **state)
{
	struct buf b;

	buf_init(&b, 100000);
	buf_reserve(&b, 50000);
	buf_add_u8(&b, 1);
	buf_trim(&b, 1000);
	assert_true(b.cap >= 50000);
	buf_reset(&b);
	buf_trim(&b, 1000);
	assert_int_equal(b.cap, 1000);
	buf_trim(&b, 2000); /* never grows */
	assert_int_equal(b.cap, 1000);
	buf_trim(&b, 0);
	assert_null(b.p);
	buf_add_str(&b, "again");
	assert_string_equal(buf_cstr(&b), "again");
	buf_fini(&b);
}

static void fini_is_safe_twice(void **state)
{
	struct buf b;

	buf_init(&b, 10);
	buf_add_u8(&b, 1);
	buf_fini(&b);
	buf_fini(&b);
	assert_null(b.p);
	assert_int_equal(b.n, 0);
}

static void an_empty_one_is_an_empty_string(void **state)
{
	struct buf b;

	buf_init(&b, 0);
	assert_string_equal(buf_cstr(&b), "");
	buf_add(&b, bytes_of(NULL, 0));
	assert_int_equal(b.err, ERR_OK);
	buf_add_u8(&b, 1);
	assert_int_equal(b.err, ERR_LIMIT);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_up_to_its_maximum_exactly),
		cmocka_unit_test(the_error_sticks_until_reset),
		cmocka_unit_test(a_huge_reservation_is_a_limit),
		cmocka_unit_test(a_failed_allocation_is_no_memory),
		cmocka_unit_test(printf_appends_and_is_bounded),
		cmocka_unit_test(numbers_are_decimal),
		cmocka_unit_test(printf_fits_at_every_length),
		cmocka_unit_test(drop_front_keeps_the_rest),
		cmocka_unit_test(dropping_more_than_there_is_dies),
		cmocka_unit_test(wipe_zeroes_the_memory_and_keeps_it),
		cmocka_unit_test(trim_gives_memory_back_only_when_empty),
		cmocka_unit_test(fini_is_safe_twice),
		cmocka_unit_test(an_empty_one_is_an_empty_string),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
