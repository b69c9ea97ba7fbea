#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/daemon_world.h"

/* How nodes meet over im2: what they are set to, and what they know of each other. */

static struct world *w;
static struct side *a, *b;

static int setup(void **state)
{
	world_setup(state);
	w = *state;
	a = &w->side[0];
	b = &w->side[1];
	side_know(a, b);
	return 0;
}

/* The listener says its S1 in the way of its setting, and the dialler takes both (im2.md 4.1, 4.2). */
static void mixed_and_strict_nodes_meet(void **state)
{
	for (int i = 0; i < 4; i++) {
		struct side *from = &w->side[0], *to = &w->side[1];

		a->policy.im2 = i & 1 ? IM2_REQUIRE : IM2_ON;
		b->policy.im2 = i & 2 ? IM2_REQUIRE : IM2_ON;
		side_meet(from, to);
		side_stop(a);
		side_stop(b);
		side_start(a);
		side_start(b);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(mixed_and_strict_nodes_meet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
