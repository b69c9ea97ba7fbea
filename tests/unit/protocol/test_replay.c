#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <math.h>
#include <cmocka.h>

#include "protocol/v09/replay.h"

#define T    1753500000.25
#define T_MS 1753500000250ull

static const char *judge(struct replay *r, uint64_t sequence, double time_s)
{
	const char *word = replay_time(time_s, T_MS, 30000, 5000);

	return word ? word : replay_accept(r, sequence);
}

/* wire 11.11, in its order; row 4 is where a window is more patient than upstream. */
static void decisions_follow_the_table(void **state)
{
	static const struct {
		uint64_t sequence;
		double time_s;
		const char *word;
	} rows[] = {
		{1, T, NULL},
		{1, T, "replay"},
		{5, T - 29.9, NULL},
		{4, T, NULL},
		{6, T - 30.1, "too-old"},
		{6, T + 4.9, NULL},
		{7, T + 5.1, "from-future"},
		{0, T, "sequence-zero"},
		{281474976710657, T, "sequence-large"},
		{281474976710656, T, NULL},
		{7, T, "replay"},
		{281474976710656, T, "replay"},
		{281474976710655, T, NULL},
	};
	struct replay r;

	replay_reset(&r);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const char *word = judge(&r, rows[i].sequence, rows[i].time_s);
		if (rows[i].word)
			assert_string_equal(word, rows[i].word);
		else
			assert_null(word);
	}
}

static void time_rule_refuses_nan_and_keeps_its_edges(void **state)
{
	assert_string_equal(replay_time(NAN, T_MS, 30000, 5000), "from-future");
	assert_string_equal(replay_time(INFINITY, T_MS, 30000, 5000), "from-future");
	assert_null(replay_time(T - 30.0, T_MS, 30000, 5000));
	assert_null(replay_time(T + 5.0, T_MS, 30000, 5000));
	assert_string_equal(replay_time(0, T_MS, 30000, 5000), "too-old");
}

static void window_is_1024_wide(void **state)
{
	struct replay r;

	replay_reset(&r);
	assert_null(replay_accept(&r, 2000));
	assert_string_equal(replay_accept(&r, 2000 - 1024), "replay");
	assert_null(replay_accept(&r, 2000 - 1023));
	assert_string_equal(replay_accept(&r, 2000 - 1023), "replay");
	assert_null(replay_accept(&r, 2000 + 1024));
	assert_string_equal(replay_accept(&r, 2000), "replay");
	assert_null(replay_accept(&r, 2001));
}

/* Against a plain list of everything that was accepted. */
static void window_agrees_with_a_list(void **state)
{
	static bool taken[20000];
	struct replay r;
	uint64_t last = 0;

	srand(7);
	memset(taken, 0, sizeof taken);
	replay_reset(&r);
	for (int i = 0; i < 200000; i++) {
		uint64_t q = 1 + last + (uint64_t)(rand() % 2000);
		q = q > 1800 ? q - 1800 : 1;
		if (q >= 20000) {
			memset(taken, 0, sizeof taken);
			replay_reset(&r);
			last = 0;
			continue;
		}
		bool expect = q > last || (last - q < REPLAY_WINDOW && !taken[q]);
		assert_int_equal(replay_accept(&r, q) == NULL, expect);
		taken[q] = taken[q] || expect;
		if (q > last)
			last = q;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decisions_follow_the_table),
		cmocka_unit_test(time_rule_refuses_nan_and_keeps_its_edges),
		cmocka_unit_test(window_is_1024_wide),
		cmocka_unit_test(window_agrees_with_a_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
