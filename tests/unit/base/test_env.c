#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/env.h"

struct world {
	struct env env;
	uint64_t now_ms;
	unsigned rearmed;
	uint8_t next_random;
	char order[64];
	size_t ran;
};

struct alarm {
	struct timer t;
	struct world *w;
	char name;
	void (*then)(struct alarm *a);
	struct alarm *other;
};

static uint64_t now(void *ctx)
{
	return ((struct world *)ctx)->now_ms;
}

static void chance(void *ctx, void *out, size_t n)
{
	memset(out, ((struct world *)ctx)->next_random++, n);
}

static void rearm(void *ctx)
{
	((struct world *)ctx)->rearmed++;
}

static void world_init(struct world *w)
{
	*w = (struct world){.now_ms = 1000};
	w->env = (struct env){
		.ctx = w, .now_ms = now, .wall_ms = now, .random = chance, .rearm = rearm};
}

static void ring(void *ctx)
{
	struct alarm *a = ctx;

	a->w->order[a->w->ran++] = a->name;
	if (a->then)
		a->then(a);
}

static void alarm_init(struct alarm *a, struct world *w, char name)
{
	*a = (struct alarm){.w = w, .name = name};
	timer_init(&a->t, ring, a);
}

static void timers_run_by_deadline_then_by_arming(void **state)
{
	struct world w;
	struct alarm a[5];
	static const uint64_t at[5] = {1030, 1010, 1020, 1010, 1010};

	world_init(&w);
	for (int i = 0; i < 5; i++) {
		alarm_init(&a[i], &w, (char)('a' + i));
		timer_at(&w.env, &a[i].t, at[i]);
		assert_true(timer_armed(&a[i].t));
	}
	assert_int_equal(timers_next(&w.env), 1010);
	assert_int_equal(timers_run(&w.env), 0);
	w.now_ms = 1020;
	assert_int_equal(timers_run(&w.env), 4);
	assert_string_equal(w.order, "bdec");
	assert_false(timer_armed(&a[1].t));
	w.now_ms = 5000;
	assert_int_equal(timers_run(&w.env), 1);
	assert_string_equal(w.order, "bdeca");
	assert_true(timers_next(&w.env) == UINT64_MAX);
	timers_fini(&w.env);
}

static void many_timers_come_out_sorted(void **state)
{
	enum { N = 1000 };
	static struct timer t[N];
	struct world w;
	uint32_t seed = 1;
	uint64_t last = 0;

	world_init(&w);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < N; i++) {
			seed = seed * 1664525 + 1013904223;
			if (round == 0)
				timer_init(&t[i], ring, NULL);
			if (seed >> 30 == 0)
				timer_stop(&w.env, &t[i]);
			else
				timer_at(&w.env, &t[i], seed >> 16);
		}
	}
	for (size_t left = w.env.timers.n; left > 0; left--) {
		struct timer *first = w.env.timers.heap[0];

		assert_int_equal(w.env.timers.n, left);
		assert_true(first->at_ms >= last);
		last = first->at_ms;
		for (size_t i = 0; i < left; i++)
			assert_int_equal(w.env.timers.heap[i]->slot, i + 1);
		timer_stop(&w.env, first);
		assert_false(timer_armed(first));
	}
	timers_fini(&w.env);
}

static void arming_again_moves_the_deadline(void **state)
{
	struct world w;
	struct alarm a, b;

	world_init(&w);
	alarm_init(&a, &w, 'a');
	alarm_init(&b, &w, 'b');
	timer_in(&w.env, &a.t, 100);
	timer_in(&w.env, &b.t, 50);
	timer_in(&w.env, &a.t, 10);
	assert_int_equal(timers_next(&w.env), 1010);
	timer_in(&w.env, &a.t, 200);
	assert_int_equal(timers_next(&w.env), 1050);
	assert_int_equal(w.env.timers.n, 2);
	w.now_ms = 1200;
	timers_run(&w.env);
	assert_string_equal(w.order, "ba");
	timers_fini(&w.env);
}

static void a_stopped_timer_does_not_run(void **state)
{
	struct world w;
	struct alarm a;

	world_init(&w);
	alarm_init(&a, &w, 'a');
	timer_stop(&w.env, &a.t); /* never armed */
	timer_in(&w.env, &a.t, 0);
	timer_stop(&w.env, &a.t);
	timer_stop(&w.env, &a.t);
	assert_int_equal(timers_run(&w.env), 0);
	timers_fini(&w.env);
}

static void again_now(struct alarm *a)
{
	timer_in(&a->w->env, &a->t, 0);
}

static void again_in_the_past(struct alarm *a)
{
	timer_at(&a->w->env, &a->t, 1);
}

static void a_timer_rearmed_for_now_runs_once_per_call(void **state)
{
	struct world w;
	struct alarm a, b, c;

	world_init(&w);
	alarm_init(&a, &w, 'a');
	alarm_init(&b, &w, 'b');
	alarm_init(&c, &w, 'c');
	a.then = again_now;
	b.then = again_in_the_past; /* must not push c out of this call */
	timer_at(&w.env, &a.t, 990);
	timer_at(&w.env, &b.t, 995);
	timer_at(&w.env, &c.t, 1000);
	assert_int_equal(timers_run(&w.env), 3);
	assert_string_equal(w.order, "abc");
	assert_true(timers_next(&w.env) <= w.now_ms);
	assert_int_equal(timers_run(&w.env), 2);
	assert_string_equal(w.order, "abcab");
	timers_fini(&w.env);
}

static void wake_other(struct alarm *a)
{
	timer_in(&a->w->env, &a->other->t, 0);
}

static void two_timers_that_arm_each_other_do_not_spin(void **state)
{
	struct world w;
	struct alarm a, b;

	world_init(&w);
	alarm_init(&a, &w, 'a');
	alarm_init(&b, &w, 'b');
	a.then = b.then = wake_other;
	a.other = &b;
	b.other = &a;
	timer_in(&w.env, &a.t, 0);
	assert_int_equal(timers_run(&w.env), 1);
	assert_int_equal(timers_run(&w.env), 1);
	assert_string_equal(w.order, "ab");
	timers_fini(&w.env);
}

static void stop_other(struct alarm *a)
{
	timer_stop(&a->w->env, &a->other->t);
	memset(a->other, 0xee, sizeof(*a->other)); /* its memory may go at once */
}

static void a_callback_may_stop_a_timer_that_is_due(void **state)
{
	struct world w;
	struct alarm a, b;

	world_init(&w);
	alarm_init(&a, &w, 'a');
	alarm_init(&b, &w, 'b');
	a.then = stop_other;
	a.other = &b;
	timer_in(&w.env, &a.t, 0);
	timer_in(&w.env, &b.t, 0);
	assert_int_equal(timers_run(&w.env), 1);
	assert_string_equal(w.order, "a");
	timers_fini(&w.env);
}

static void rearm_is_told_when_the_earliest_changes(void **state)
{
	struct world w;
	struct alarm a, b;

	world_init(&w);
	alarm_init(&a, &w, 'a');
	alarm_init(&b, &w, 'b');
	timer_in(&w.env, &a.t, 100);
	assert_int_equal(w.rearmed, 1);
	timer_in(&w.env, &b.t, 200); /* later: nothing to tell */
	assert_int_equal(w.rearmed, 1);
	timer_in(&w.env, &b.t, 50);
	assert_int_equal(w.rearmed, 2);
	timer_stop(&w.env, &b.t);
	assert_int_equal(w.rearmed, 3);
	timers_run(&w.env); /* even when nothing was due */
	assert_int_equal(w.rearmed, 4);
	timers_fini(&w.env);
	w.env.rearm = NULL;
	timer_in(&w.env, &a.t, 1);
	timers_run(&w.env);
	timers_fini(&w.env);
}

static void a_delay_beyond_the_end_of_time_does_not_wrap(void **state)
{
	struct world w;
	struct alarm a;

	world_init(&w);
	alarm_init(&a, &w, 'a');
	timer_in(&w.env, &a.t, UINT64_MAX);
	assert_int_equal(timers_run(&w.env), 0);
	timers_fini(&w.env);
	assert_false(timer_armed(&a.t));
}

static uint64_t scripted[8];
static unsigned script_at;

static void scripted_random(void *ctx, void *out, size_t n)
{
	memcpy(out, &scripted[script_at++], n);
}

static void uniform_rejects_what_would_bias(void **state)
{
	struct world w;

	world_init(&w);
	w.env.random = scripted_random;
	script_at = 0;
	/* 2^64 mod 3 is 1: the value 0 is drawn again. */
	scripted[0] = 0;
	scripted[1] = 7;
	assert_int_equal(env_uniform(&w.env, 3), 7 % 3);
	assert_int_equal(script_at, 2);
	/* A power of two rejects nothing. */
	script_at = 0;
	scripted[0] = 0;
	assert_int_equal(env_uniform(&w.env, 8), 0);
	assert_int_equal(script_at, 1);
	assert_int_equal(env_uniform(&w.env, 0), 0);
	assert_int_equal(script_at, 1);
	assert_int_equal(env_uniform(&w.env, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_run_by_deadline_then_by_arming),
		cmocka_unit_test(many_timers_come_out_sorted),
		cmocka_unit_test(arming_again_moves_the_deadline),
		cmocka_unit_test(a_stopped_timer_does_not_run),
		cmocka_unit_test(a_timer_rearmed_for_now_runs_once_per_call),
		cmocka_unit_test(two_timers_that_arm_each_other_do_not_spin),
		cmocka_unit_test(a_callback_may_stop_a_timer_that_is_due),
		cmocka_unit_test(rearm_is_told_when_the_earliest_changes),
		cmocka_unit_test(a_delay_beyond_the_end_of_time_does_not_wrap),
		cmocka_unit_test(uniform_rejects_what_would_bias),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
