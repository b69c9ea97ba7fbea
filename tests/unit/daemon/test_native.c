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

static void start_as(struct side *s, const char *name)
{
	side_stop(s);
	snprintf(s->called, sizeof s->called, "%s", name);
	side_start(s);
	world_pass(w, 15000);
	assert_non_null(side_conn(s, s == a ? b : a));
}

static const char *name_at(struct side *s, const struct side *of)
{
	return pins_get(s->pins, side_id(of))->name;
}

/* A known peer says no name in its handshake; it is known by the one that it had, and a new one follows (im2.md 5.7). */
static void a_peer_that_comes_back_under_another_name_is_called_so(void **state)
{
	side_meet(a, b);
	assert_string_equal(name_at(a, b), "n1");
	start_as(b, "n1");
	assert_string_equal(name_at(a, b), "n1");
	start_as(b, "renamed");
	assert_string_equal(name_at(a, b), "renamed");
	assert_ptr_equal(pins_by_name(a->pins, "renamed"), pins_get(a->pins, side_id(b)));
	assert_null(pins_by_name(a->pins, "n1"));
	assert_int_equal(im2_host_counters(a->node->im2)->handshakes_first, 1);
	assert_int_equal(side_audited(a, "NAME_REFUSED"), 0);
}

static void nobody_takes_the_name_of_another(void **state)
{
	side_know(a, &w->side[2]);
	side_meet(a, b);
	start_as(b, "n2");
	assert_string_equal(name_at(a, b), "n1");
	assert_string_equal(name_at(a, &w->side[2]), "n2");
	assert_int_equal(side_audited(a, "NAME_REFUSED"), 1);
	assert_true(side_conn(a, b)->online);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(mixed_and_strict_nodes_meet),
		T(a_peer_that_comes_back_under_another_name_is_called_so),
		T(nobody_takes_the_name_of_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
