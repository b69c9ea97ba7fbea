#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>

#include "base/secret.h"
#include "tests/lib/base_probe.h"

static void the_library_starts_more_than_once(void **state)
{
	assert_int_equal(secret_init_library(), ERR_OK);
	assert_int_equal(secret_init_library(), ERR_OK);
}

static void a_new_secret_is_zero(void **state)
{
	struct secret s = {0};

	assert_int_equal(secret_new(&s, 32), ERR_OK);
	assert_int_equal(s.n, 32);
	assert_true(is_zero(s.p, 32));
	assert_int_equal(secret_bytes(&s).n, 32);
	secret_free(&s);
	assert_null(s.p);
	assert_int_equal(s.n, 0);
	secret_free(&s);
}

static void a_copy_is_its_own_memory(void **state)
{
	char from[] = "key material";
	struct secret s = {0};

	assert_int_equal(secret_copy(&s, BYTES_ARR(from)), ERR_OK);
	assert_ptr_not_equal(s.p, from);
	wipe(from, sizeof(from));
	assert_true(is_zero(from, sizeof(from)));
	assert_memory_equal(s.p, "key material", 13);
	secret_free(&s);
	assert_int_equal(secret_copy(&s, bytes_of(NULL, 0)), ERR_OK);
	assert_int_equal(s.n, 0);
	secret_free(&s);
}

static void too_much_is_no_memory_and_changes_nothing(void **state)
{
	struct secret s = {0};

	assert_int_equal(secret_new(&s, SIZE_MAX - 10), ERR_NOMEM);
	assert_null(s.p);
}

static void segv_to_abort(int sig)
{
	signal(SIGABRT, SIG_DFL);
	abort();
}

static void guarded_overrun(void *ctx)
{
	struct secret *s = ctx;
	volatile uint8_t *p = s->p;

	signal(SIGSEGV, segv_to_abort);
	p[s->n] = 1;
}

static void one_byte_past_the_end_faults(void **state)
{
	struct secret s = {0};

	assert_int_equal(secret_new(&s, 32), ERR_OK);
	assert_true(probe_aborts(guarded_overrun, &s));
	secret_free(&s);
}

static void compare_and_zero_test_tell_the_truth(void **state)
{
	uint8_t a[64] = {0}, b[64] = {0};

	assert_true(ct_equal(a, b, 64));
	assert_true(is_zero(a, 64));
	for (size_t i = 0; i < 64; i++) {
		b[i] = 1;
		assert_false(ct_equal(a, b, 64));
		assert_false(is_zero(b, 64));
		assert_true(ct_equal(a, b, i)); /* not past n */
		b[i] = 0;
	}
	assert_true(ct_equal(a, b, 0));
}

static void asking_for_locked_memory_twice_gives_one_answer(void **state)
{
	assert_int_equal(secret_memory_lockable(), secret_memory_lockable());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_library_starts_more_than_once),
		cmocka_unit_test(a_new_secret_is_zero),
		cmocka_unit_test(a_copy_is_its_own_memory),
		cmocka_unit_test(too_much_is_no_memory_and_changes_nothing),
		cmocka_unit_test(one_byte_past_the_end_faults),
		cmocka_unit_test(compare_and_zero_test_tell_the_truth),
		cmocka_unit_test(asking_for_locked_memory_twice_gives_one_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
