#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
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

/* Small draws come from a pool: none comes twice, of whatever sizes they are, over many fillings. */
static void no_draw_comes_twice(void **state)
{
	static uint64_t seen[4096];
	uint8_t out[40];
	struct env e;

	env_of_system(&e);
	for (size_t i = 0; i < 4096; i++) {
		size_t n = 8 + i % (sizeof out - 7);

		memset(out, 0, sizeof out);
		env_random(&e, out, n);
		memcpy(&seen[i], out + (i % 2 ? 0 : n - 8), 8);
		for (size_t k = n; k < sizeof out; k++)
			assert_int_equal(out[k], 0);
	}
	for (size_t i = 0; i < 4096; i++)
		for (size_t k = 0; k < i; k++)
			assert_true(seen[i] != seen[k]);
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
		cmocka_unit_test(no_draw_comes_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
