#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/loop.h"

static struct loop loop;
static unsigned turns, more;
static bool wanted;

static bool turn(void *ctx)
{
	turns++;
	if (more) {
		more--;
		return true;
	}
	wanted = false;
	return false;
}

static int setup(void **state)
{
	turns = more = 0;
	wanted = false;
	return loop_init(&loop, turn, NULL) == ERR_OK ? 0 : -1;
}

static void stop(void *ctx)
{
	loop_stop(&loop);
}

static void wish(void *ctx)
{
	wanted = true;
	timer_in(&loop.env, ctx, 1);
}

static void sees_no_wish(void *ctx)
{
	assert_false(wanted);
}

static void what_a_timer_wants_is_done_before_the_loop_sleeps(void **state)
{
	struct timer a, b, end;

	/* `wish` arms b: what a callback arms rings in a later round, however late this one is. */
	timer_init(&a, wish, &b);
	timer_init(&b, sees_no_wish, NULL);
	timer_init(&end, stop, NULL);
	timer_in(&loop.env, &a, 10);
	timer_in(&loop.env, &end, 60);
	loop_run(&loop);
	assert_false(wanted);
	loop_fini(&loop);
}

static void the_loop_sleeps_when_nothing_is_wanted(void **state)
{
	struct timer end;

	timer_init(&end, stop, NULL);
	timer_in(&loop.env, &end, 100);
	loop_run(&loop);
	assert_true(turns >= 1);
	assert_true(turns < 12);
	loop_fini(&loop);
}

static void the_loop_stays_awake_while_a_turn_is_wanted(void **state)
{
	struct timer end;

	more = 1000;
	timer_init(&end, stop, NULL);
	timer_in(&loop.env, &end, 200);
	loop_run(&loop);
	assert_int_equal(more, 0);
	assert_true(turns > 1000);
	assert_true(turns < 1100); /* and sleeps again afterwards */
	loop_fini(&loop);
}

static struct timer again, last;
static unsigned rings;

static void rearm_itself(void *ctx)
{
	if (++rings < 5)
		timer_in(&loop.env, &again, 5);
	else
		timer_in(&loop.env, &last, 0);
}

static void timers_never_ring_early_and_may_rearm_themselves(void **state)
{
	uint64_t began = env_now(&loop.env);

	rings = 0;
	timer_init(&again, rearm_itself, NULL);
	timer_init(&last, stop, NULL);
	timer_in(&loop.env, &again, 5);
	loop_run(&loop);
	assert_int_equal(rings, 5);
	assert_true(env_now(&loop.env) - began >= 25);
	loop_fini(&loop);
}

static void a_later_deadline_put_first_is_moved(void **state)
{
	struct timer far, near;
	uint64_t began = env_now(&loop.env);

	timer_init(&far, sees_no_wish, NULL);
	timer_init(&near, stop, NULL);
	timer_in(&loop.env, &far, 60000);
	timer_in(&loop.env, &near, 20);
	loop_run(&loop);
	assert_in_range(env_now(&loop.env) - began, 20, 5000);
	timer_stop(&loop.env, &far);
	loop_fini(&loop);
}

static void stopping_twice_is_harmless(void **state)
{
	loop_stop(&loop);
	loop_stop(&loop);
	loop_run(&loop);
	assert_int_equal(turns, 0);
	loop_fini(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(what_a_timer_wants_is_done_before_the_loop_sleeps, setup),
		cmocka_unit_test_setup(the_loop_sleeps_when_nothing_is_wanted, setup),
		cmocka_unit_test_setup(the_loop_stays_awake_while_a_turn_is_wanted, setup),
		cmocka_unit_test_setup(timers_never_ring_early_and_may_rearm_themselves, setup),
		cmocka_unit_test_setup(a_later_deadline_put_first_is_moved, setup),
		cmocka_unit_test_setup(stopping_twice_is_harmless, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
