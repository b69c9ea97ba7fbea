#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sm.h"
#include "tests/lib/base_probe.h"

enum { IDLE, BUSY, DONE };

static const struct sm_row rows[] = {
	[IDLE] = {"idle", SM_TO(BUSY)},
	[BUSY] = {"busy", SM_TO(IDLE) | SM_TO(DONE)},
	[DONE] = {"done", 0},
};

static void only_the_moves_of_the_table_are_allowed(void **state)
{
	static const bool allowed[3][3] = {{0, 1, 0}, {1, 0, 1}, {0, 0, 0}};

	for (unsigned from = 0; from < 3; from++)
		for (unsigned to = 0; to < 3; to++)
			assert_int_equal(sm_allows(rows, from, to), allowed[from][to]);
	assert_false(sm_allows(rows, BUSY, 32)); /* a shift by 32 is not defined */
	assert_false(sm_allows(rows, BUSY, 33));
}

static void an_allowed_move_moves(void **state)
{
	unsigned s = IDLE;

	sm_move(rows, &s, BUSY);
	sm_move(rows, &s, DONE);
	assert_int_equal(s, DONE);
}

static void forbidden(void *ctx)
{
	unsigned s = DONE;

	sm_move(rows, &s, IDLE);
}

static void a_forbidden_move_dies(void **state)
{
	assert_true(probe_aborts(forbidden, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_moves_of_the_table_are_allowed),
		cmocka_unit_test(an_allowed_move_moves),
		cmocka_unit_test(a_forbidden_move_dies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
