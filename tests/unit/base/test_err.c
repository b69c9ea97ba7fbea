#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "tests/lib/base_probe.h"

static void every_word_is_present_and_unique(void **state)
{
	for (int a = 0; a < ERR_COUNT; a++) {
		assert_non_null(err_word((enum err)a));
		assert_true(strlen(err_word((enum err)a)) > 1);
		for (int b = 0; b < a; b++)
			assert_string_not_equal(err_word((enum err)a), err_word((enum err)b));
	}
	assert_string_equal(err_word(ERR_OK), "ok");
	assert_string_equal(err_word(ERR_NOTFOUND), "not-found");
	assert_int_equal(ERR_OK, 0);
}

static void a_value_outside_the_table_is_unknown(void **state)
{
	assert_string_equal(err_word(ERR_COUNT), "unknown");
	assert_string_equal(err_word((enum err) - 1), "unknown");
}

static void errno_is_mapped_where_it_enters(void **state)
{
	assert_int_equal(err_from_errno(0), ERR_OK);
	assert_int_equal(err_from_errno(ENOENT), ERR_NOTFOUND);
	assert_int_equal(err_from_errno(EACCES), ERR_DENIED);
	assert_int_equal(err_from_errno(ELOOP), ERR_DENIED);
	assert_int_equal(err_from_errno(ENOSPC), ERR_STORE);
	assert_int_equal(err_from_errno(ENOMEM), ERR_NOMEM);
	assert_int_equal(err_from_errno(EEXIST), ERR_EXISTS);
	assert_int_equal(err_from_errno(EAGAIN), ERR_AGAIN);
	assert_int_equal(err_from_errno(EMFILE), ERR_FULL);
	assert_int_equal(err_from_errno(ETIMEDOUT), ERR_TIMEOUT);
	assert_int_equal(err_from_errno(ECONNREFUSED), ERR_CLOSED);
	assert_int_equal(err_from_errno(ENAMETOOLONG), ERR_LIMIT);
	assert_int_equal(err_from_errno(EIO), ERR_IO);
	assert_int_equal(err_from_errno(123456), ERR_IO); /* never ERR_OK for an unknown failure */
}

static void exit_codes_are_the_published_ones(void **state)
{
	static const int codes[] = {
#define X(name, code, text) name,
		EXIT_TABLE(X)
#undef X
	};
	static const int published[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 75};

	assert_int_equal(sizeof(codes), sizeof(published));
	assert_memory_equal(codes, published, sizeof(codes));
}

static void fault_set_returns_its_error_and_clears_the_rest(void **state)
{
	struct fault f;

	memset(&f, 'x', sizeof(f));
	assert_int_equal(fault_set(&f, ERR_DENIED, EXIT_POLICY, "no %s", "way"), ERR_DENIED);
	assert_int_equal(f.err, ERR_DENIED);
	assert_int_equal(f.code, EXIT_POLICY);
	assert_string_equal(f.what, "no way");
	assert_string_equal(f.means, "");
	assert_string_equal(f.next, "");
	fault_means(&f, "it means %d", 1);
	fault_next(&f, "do %d", 2);
	assert_string_equal(f.means, "it means 1");
	assert_string_equal(f.next, "do 2");
}

static void fault_text_is_cut_not_overrun(void **state)
{
	struct fault f;
	char text[1000];

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	fault_set(&f, ERR_IO, EXIT_GENERIC, "%s", text);
	fault_means(&f, "%s", text);
	fault_next(&f, "%s", text);
	assert_int_equal(strlen(f.what), sizeof(f.what) - 1);
	assert_int_equal(strlen(f.means), sizeof(f.means) - 1);
	assert_int_equal(strlen(f.next), sizeof(f.next) - 1);
}

static void fault_may_be_null(void **state)
{
	assert_int_equal(fault_set(NULL, ERR_IO, EXIT_GENERIC, "x"), ERR_IO);
	fault_means(NULL, "x");
	fault_next(NULL, "x");
}

static void trip(void *ctx)
{
	BUG_ON(*(int *)ctx == 1);
}

static void bug_on_aborts_only_when_true(void **state)
{
	int one = 1, zero = 0;

	assert_true(probe_aborts(trip, &one));
	assert_false(probe_aborts(trip, &zero));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_word_is_present_and_unique),
		cmocka_unit_test(a_value_outside_the_table_is_unknown),
		cmocka_unit_test(errno_is_mapped_where_it_enters),
		cmocka_unit_test(exit_codes_are_the_published_ones),
		cmocka_unit_test(fault_set_returns_its_error_and_clears_the_rest),
		cmocka_unit_test(fault_text_is_cut_not_overrun),
		cmocka_unit_test(fault_may_be_null),
		cmocka_unit_test(bug_on_aborts_only_when_true),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
