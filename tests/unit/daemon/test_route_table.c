/* The table of routes alone: choosing, feasibility, bounds, ends, and what is measured. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/route_table.h"

#define LIFE 300000

static struct route_table *t;
static uint64_t now;
static unsigned changes, other_ways;
static unsigned wanted_ed; /* 0: none */

static void changed(void *ctx, struct route_dest *d, bool other)
{
	(void)ctx;
	(void)d;
	changes++;
	other_ways += other;
}

static const uint8_t *ed_of(unsigned n)
{
	static uint8_t ed[8][ED_BYTES];
	static unsigned at;
	uint8_t *p = ed[at++ % 8];

	memset(p, 0, ED_BYTES);
	p[0] = (uint8_t)n;
	p[1] = (uint8_t)(n >> 8);
	p[31] = 1;
	return p;
}

static struct node_id id_of(unsigned n)
{
	struct node_id id;

	node_id_of(ed_of(n), &id);
	return id;
}

static bool wanted(void *ctx, const struct node_id *id)
{
	struct node_id w = id_of(wanted_ed);

	(void)ctx;
	return wanted_ed && node_id_eq(id, &w);
}

static int setup_of(size_t destinations, size_t per_neighbour)
{
	struct route_table_config c = { .destinations = destinations, .per_neighbour = per_neighbour, .changed = changed,
					.wanted = wanted };

	now = 1000;
	changes = other_ways = wanted_ed = 0;
	t = route_table_new(&c);
	return t ? 0 : -1;
}

static int setup(void **state)
{
	(void)state;
	return setup_of(1024, 256);
}

static int small(void **state)
{
	(void)state;
	return setup_of(6, 4);
}

static int teardown(void **state)
{
	(void)state;
	route_table_free(t);
	return 0;
}

static enum err say_cost(unsigned to, uint64_t gen, unsigned hops, unsigned via, uint32_t cost)
{
	struct node_id v = id_of(via);
	char text[40];
	struct route_said s = { .ed = ed_of(to), .gen = gen, .life_ms = LIFE, .hops = (uint8_t)hops, .cost_ms = cost, .via = &v };

	snprintf(text, sizeof text, "record of %u, %u", to, (unsigned)gen);
	s.record = bytes_str(text);
	return route_table_take(t, &s, now);
}

static enum err say(unsigned to, uint64_t gen, unsigned hops, unsigned via)
{
	return say_cost(to, gen, hops, via, ROUTE_COST_NONE);
}

static struct route_dest *dest(unsigned to)
{
	struct node_id id = id_of(to);

	return route_table_find(t, &id);
}

/* Who is used; 0: nobody. */
static unsigned via_except(unsigned to, unsigned except, unsigned not_this)
{
	struct node_id id = id_of(to), e = id_of(except), n = id_of(not_this), v;
	struct route_way *w = route_table_way(t, &id, except ? &e : NULL, not_this ? &n : NULL, now);

	for (unsigned i = 1; w && i < 2000; i++) {
		v = id_of(i);
		if (node_id_eq(&v, &w->via))
			return i;
	}
	return 0;
}

static unsigned via(unsigned to)
{
	return via_except(to, 0, 0);
}

static bool unanswered(unsigned to, unsigned through)
{
	struct node_id id = id_of(to), v = id_of(through);

	return route_table_unanswered(t, &id, &v, now);
}

static void delivered(unsigned to, unsigned through, double rtt)
{
	struct node_id id = id_of(to), v = id_of(through);

	route_table_delivered(t, &id, &v, rtt, now);
}

static void gone(unsigned through)
{
	struct node_id v = id_of(through);

	route_table_neighbour_gone(t, &v, now);
}

/* --- choosing ------------------------------------------------------------------------------------------- */
static void newest_generation_then_fewest_hops(void **state)
{
	assert_int_equal(via(9), 0);
	assert_int_equal(say(9, 5, 3, 1), ERR_OK);
	assert_int_equal(via(9), 1);
	assert_int_equal(say(9, 5, 2, 2), ERR_OK);
	assert_int_equal(via(9), 2);
	assert_int_equal(say(9, 6, 7, 3), ERR_OK);
	assert_int_equal(via(9), 3);
	assert_int_equal(dest(9)->newest_gen, 6);
	assert_string_equal((char *)dest(9)->record, "record of 9, 6");
	assert_int_equal(say(9, 5, 1, 2), ERR_EXPIRED);
	assert_int_equal(via_except(9, 3, 0), 2);
	assert_int_equal(via_except(9, 3, 2), 1);
}

static void quicker_one_of_two_alike_only_when_it_is_clearly_quicker(void **state)
{
	assert_int_equal(say_cost(9, 5, 2, 1, 100), ERR_OK);
	assert_int_equal(say_cost(9, 5, 2, 2, 90), ERR_OK);
	assert_int_equal(via_except(9, 0, 0), 2); /* asked anew, the cheaper one */
	assert_true(dest(9)->best >= 0);
	other_ways = 0;
	assert_int_equal(say_cost(9, 6, 2, 1, 100), ERR_OK);
	assert_int_equal(say_cost(9, 6, 2, 2, 90), ERR_OK);
	assert_int_equal(other_ways, 0); /* the way in use stays */
	assert_int_equal(say_cost(9, 6, 2, 3, 10), ERR_OK);
	assert_int_equal(other_ways, 1);
}

static void three_ways_and_the_worst_makes_room(void **state)
{
	for (unsigned v = 1; v <= 3; v++)
		assert_int_equal(say(9, 5, v + 2, v), ERR_OK);
	assert_int_equal(say(9, 5, 6, 4), ERR_OK); /* no better than any */
	assert_int_equal(dest(9)->ways_n, 3);
	assert_int_equal(say(9, 5, 1, 5), ERR_OK);
	assert_int_equal(via(9), 5);
	assert_int_equal(dest(9)->ways_n, 3);
	gone(5);
	gone(1);
	gone(2);
	assert_int_equal(via(9), 0); /* 3 went when 5 came */
}

static void hops_beyond_the_limit_are_refused(void **state)
{
	assert_int_equal(say(9, 5, 8, 1), ERR_OK);
	assert_int_equal(say(9, 5, 9, 2), ERR_LIMIT);
	assert_int_equal(say(9, 5, 15, 2), ERR_LIMIT);
	uint8_t hops;

	assert_false(route_table_advert(dest(9), now, &hops)); /* 9 is told to nobody */
}

/* --- no loops -------------------------------------------------------------------------------------------- */
static void advertised_hops_bound_what_is_used(void **state)
{
	uint8_t hops;

	assert_int_equal(say(9, 5, 1, 1), ERR_OK);
	assert_true(route_table_advert(dest(9), now, &hops));
	assert_int_equal(hops, 2);
	route_table_advertised(dest(9), now);
	assert_int_equal(say(9, 5, 3, 2), ERR_OK); /* it may be us behind a corner */
	assert_int_equal(via_except(9, 1, 0), 0);
	assert_int_equal(say(9, 5, 1, 3), ERR_OK);
	assert_int_equal(via_except(9, 1, 0), 3);
	gone(1);
	assert_int_equal(via(9), 3);
	gone(3);
	assert_int_equal(via(9), 0);
	assert_true(route_table_advert(dest(9), now, &hops));
	assert_int_equal(hops, ROUTE_HOPS_GONE);
	/* A newer generation comes from the destination itself. */
	assert_int_equal(say(9, 6, 3, 2), ERR_OK);
	assert_int_equal(via(9), 2);
}

static void what_was_advertised_is_remembered_without_any_way(void **state)
{
	assert_int_equal(say(9, 5, 0, 9), ERR_OK);
	route_table_advertised(dest(9), now);
	gone(9);
	route_table_advertised(dest(9), now);
	now += 2000;
	(void)route_table_sweep(t, now);
	/* What we told comes back by a detour. */
	assert_int_equal(say(9, 5, 3, 2), ERR_OK);
	assert_int_equal(via(9), 0);
	now += LIFE;
	(void)route_table_sweep(t, now);
	assert_null(dest(9));
}

static void fewest_hops_of_a_generation_count(void **state)
{
	assert_int_equal(say(9, 5, 1, 1), ERR_OK);
	route_table_advertised(dest(9), now);
	gone(1);
	route_table_advertised(dest(9), now);
	assert_int_equal(dest(9)->adv_hops, 2);
	assert_int_equal(say(9, 6, 5, 2), ERR_OK);
	route_table_told(dest(9), now); /* to one neighbour */
	assert_int_equal(dest(9)->adv_gen, 6);
	assert_int_equal(dest(9)->adv_hops, 6);
	assert_true(dest(9)->dirty);
	assert_int_equal(say(9, 6, 3, 3), ERR_OK);
	route_table_advertised(dest(9), now);
	assert_int_equal(dest(9)->adv_hops, 4);
	assert_false(dest(9)->dirty);
}

static void who_never_heard_of_a_way_hears_not_of_its_end(void **state)
{
	uint8_t hops;

	assert_int_equal(say(9, 5, 1, 1), ERR_OK);
	gone(1);
	assert_false(route_table_advert(dest(9), now, &hops));
}

/* --- ends ------------------------------------------------------------------------------------------------ */
static void withdrawal_ends_what_that_neighbour_said(void **state)
{
	assert_int_equal(say(9, 5, 1, 1), ERR_OK);
	assert_int_equal(say(9, 5, 2, 2), ERR_OK);
	assert_int_equal(say(9, 4, ROUTE_HOPS_GONE, 1), ERR_OK); /* of an older life */
	assert_int_equal(via(9), 1);
	assert_int_equal(say(9, 5, ROUTE_HOPS_GONE, 3), ERR_OK); /* it said nothing */
	assert_int_equal(say(9, 5, ROUTE_HOPS_GONE, 1), ERR_OK);
	assert_int_equal(via(9), 2);
	assert_int_equal(say(9, 6, ROUTE_HOPS_GONE, 2), ERR_OK);
	assert_int_equal(via(9), 0);
	assert_int_equal(say(77, 6, ROUTE_HOPS_GONE, 2), ERR_OK);
	assert_null(dest(77));
}

static void life_counts_from_the_first_arrival(void **state)
{
	assert_int_equal(say(9, 5, 1, 1), ERR_OK);
	now += LIFE - 1000;
	assert_int_equal(say(9, 5, 0, 2), ERR_OK); /* told again gives it no longer life */
	assert_int_equal(via(9), 2);
	now += 1000;
	assert_int_equal(via(9), 0);
	assert_int_equal(say(9, 5, 0, 3), ERR_EXPIRED);
	assert_int_equal(say(9, 6, 4, 3), ERR_OK);
	assert_int_equal(via(9), 3);
}

static void sweep_says_when_it_is_due_again(void **state)
{
	assert_true(route_table_sweep(t, now) == UINT64_MAX);
	assert_int_equal(say(9, 5, 1, 1), ERR_OK);
	now += 500;
	assert_int_equal(say(8, 5, 1, 1), ERR_OK);
	assert_int_equal(route_table_sweep(t, now), 1000 + LIFE);
	now = 1000 + LIFE;
	assert_true(route_table_sweep(t, now) <= now + 1); /* that it is gone has to be told first */
	assert_non_null(dest(9));
	dest(9)->dirty = false;
	assert_int_equal(route_table_sweep(t, now), now + 500);
	assert_null(dest(9));
	assert_int_equal(route_table_count(t), 1);
}

static void neighbour_takes_its_ways_along(void **state)
{
	for (unsigned to = 100; to < 150; to++)
		assert_int_equal(say(to, 5, 1 + to % 3, 1 + to % 2), ERR_OK);
	other_ways = 0;
	gone(1);
	assert_int_equal(other_ways, 25);
	for (unsigned to = 100; to < 150; to++)
		assert_int_equal(via(to), to % 2 ? 2 : 0);
}

/* --- bounds ---------------------------------------------------------------------------------------------- */
static void one_neighbour_fills_its_share_and_no_more(void **state)
{
	for (unsigned to = 100; to < 104; to++)
		assert_int_equal(say(to, 5, 1, 1), ERR_OK);
	assert_int_equal(say(104, 5, 1, 1), ERR_FULL);
	assert_int_equal(say(104, 5, 1, 2), ERR_OK);
	assert_int_equal(say(105, 5, 1, 2), ERR_OK);
	assert_int_equal(say(106, 5, 1, 2), ERR_FULL); /* the table */
	assert_int_equal(route_table_count(t), 6);
	/* What went gives its place back. */
	assert_int_equal(say(100, 5, ROUTE_HOPS_GONE, 1), ERR_OK);
	assert_int_equal(say(104, 5, 3, 1), ERR_OK);
	assert_int_equal(dest(104)->ways_n, 2);
}

static void wanted_destination_finds_room(void **state)
{
	for (unsigned to = 100; to < 104; to++)
		assert_int_equal(say(to, 5, 1, 1), ERR_OK);
	wanted_ed = 200;
	assert_int_equal(say(200, 5, 4, 1), ERR_OK);
	assert_int_equal(via(200), 1);
	assert_int_equal(say(201, 5, 1, 1), ERR_FULL);
	/* And nobody takes it from it. */
	wanted_ed = 202;
	assert_int_equal(say(202, 5, 1, 1), ERR_OK);
	unsigned left = 0;

	for (unsigned to = 100; to < 203; to++)
		left += dest(to) && via(to);
	assert_int_equal(left, 4);
}

static void memories_make_room_for_ways(void **state)
{
	for (unsigned round = 0; round < 10; round++)
		for (unsigned to = 100; to < 104; to++) {
			assert_int_equal(say(to + 4 * round, 5, 1, 1), ERR_OK);
			assert_int_equal(say(to + 4 * round, 5, ROUTE_HOPS_GONE, 1), ERR_OK);
			route_table_advertised(dest(to + 4 * round), now);
		}
	assert_int_equal(route_table_count(t), 6);
	assert_int_equal(say(900, 5, 1, 2), ERR_OK);
	assert_int_equal(via(900), 2);
}

/* --- measured -------------------------------------------------------------------------------------------- */
static void three_unanswered_in_a_row_are_penalised(void **state)
{
	uint8_t hops;

	assert_int_equal(say(9, 5, 1, 1), ERR_OK);
	assert_int_equal(say(9, 5, 3, 2), ERR_OK);
	assert_false(unanswered(9, 1));
	assert_false(unanswered(9, 1));
	delivered(9, 1, 20);
	assert_false(unanswered(9, 1));
	assert_false(unanswered(9, 1));
	assert_int_equal(via(9), 1);
	assert_true(unanswered(9, 1));
	assert_int_equal(via(9), 2);
	assert_false(unanswered(9, 1)); /* it is already */
	/* When there is nothing else it is used, and told to nobody. */
	gone(2);
	assert_int_equal(via(9), 1);
	assert_false(route_table_advert(dest(9), now, &hops));
	changes = 0;
	now += ROUTE_PENALTY_MS;
	assert_int_equal(say(9, 6, 1, 1), ERR_OK);
	(void)route_table_sweep(t, now);
	assert_true(changes > 0);
	assert_true(route_table_advert(dest(9), now, &hops));
	assert_int_equal(hops, 2);
}

static void penalties_double_up_to_an_hour(void **state)
{
	uint64_t ms[] = { 300000, 600000, 1200000, 2400000, 3600000, 3600000 };
	uint64_t gen = 5;

	for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++) {
		assert_int_equal(say(9, gen++, 1, 1), ERR_OK);
		assert_int_equal(say(9, gen - 1, 2, 2), ERR_OK);
		assert_int_equal(via(9), 1);
		assert_false(unanswered(9, 1));
		assert_false(unanswered(9, 1));
		assert_true(unanswered(9, 1));
		assert_int_equal(via(9), 2);
		now += ms[i] - 1;
		assert_int_equal(say(9, gen++, 1, 1), ERR_OK);
		assert_int_equal(say(9, gen - 1, 2, 2), ERR_OK);
		assert_int_equal(via(9), 2);
		now++;
	}
	assert_int_equal(via(9), 1);
	delivered(9, 1, 5);
	for (int i = 0; i < 3; i++)
		(void)unanswered(9, 1);
	now += 300000;
	assert_int_equal(say(9, gen, 1, 1), ERR_OK);
	assert_int_equal(say(9, gen, 2, 2), ERR_OK);
	assert_int_equal(via(9), 1); /* what delivers begins again at the shortest */
}

static void taking_back_a_route_clears_no_penalty(void **state)
{
	assert_int_equal(say(9, 5, 0, 1), ERR_OK);
	for (int i = 0; i < 3; i++)
		(void)unanswered(9, 1);
	assert_int_equal(say(9, 5, ROUTE_HOPS_GONE, 1), ERR_OK);
	assert_int_equal(say(9, 6, 0, 1), ERR_OK);
	assert_int_equal(say(9, 6, 4, 2), ERR_OK);
	assert_int_equal(via(9), 2);
	gone(1);
	assert_int_equal(say(9, 7, 0, 1), ERR_OK);
	assert_int_equal(say(9, 7, 4, 2), ERR_OK);
	assert_int_equal(via(9), 2);
	now += ROUTE_PENALTY_MS;
	assert_int_equal(say(9, 8, 0, 1), ERR_OK);
	assert_int_equal(say(9, 8, 4, 2), ERR_OK);
	assert_int_equal(via(9), 1);
}

static void honest_detour_is_not_hidden_by_a_lie(void **state)
{
	uint8_t hops;

	/* The liar is penalised: its claim, first with the next generation, is not what we advertise. */
	assert_int_equal(say(9, 5, 0, 1), ERR_OK);
	route_table_advertised(dest(9), now);
	for (int i = 0; i < 3; i++)
		(void)unanswered(9, 1);
	assert_int_equal(say(9, 6, 0, 1), ERR_OK);
	assert_false(route_table_advert(dest(9), now, &hops));
	route_table_advertised(dest(9), now);
	assert_int_equal(say(9, 6, 5, 2), ERR_OK);
	assert_int_equal(via(9), 2);
	assert_true(route_table_advert(dest(9), now, &hops));
	assert_int_equal(hops, 6);
}

static void probe_ends_a_penalty_and_forgives_nothing(void **state)
{
	struct node_id to = id_of(9), v = id_of(1);

	assert_int_equal(say(9, 5, 1, 1), ERR_OK);
	assert_int_equal(say(9, 5, 3, 2), ERR_OK);
	for (int i = 0; i < 3; i++)
		(void)unanswered(9, 1);
	assert_int_equal(via(9), 2);
	route_table_probed(t, &to, &v, 30, now);
	assert_int_equal(via(9), 1);
	assert_true(unanswered(9, 1)); /* one is enough */
	now += ROUTE_PENALTY_MS;
	assert_int_equal(say(9, 6, 1, 1), ERR_OK);
	assert_int_equal(say(9, 6, 3, 2), ERR_OK);
	assert_int_equal(via(9), 2); /* for twice as long */
}

static void measuring_what_is_not_there_does_nothing(void **state)
{
	assert_false(unanswered(9, 1));
	delivered(9, 1, 5);
	assert_int_equal(say(9, 5, 1, 1), ERR_OK);
	assert_false(unanswered(9, 2));
	delivered(9, 2, 5);
	assert_int_equal(dest(9)->ways[0].delivered, 0);
}

/* A neighbour whose share is full pushes no way of others out. */
static void full_share_displaces_nothing_of_others(void **state)
{
	(void)state;
	for (unsigned to = 1; to <= 4; to++)
		assert_int_equal(say(to, 1, 1, 50), ERR_OK);
	for (unsigned v = 11; v <= 13; v++)
		assert_int_equal(say(5, 1, 5, v), ERR_OK);
	assert_int_equal(dest(5)->ways_n, 3);
	assert_int_equal(say(5, 1, 1, 50), ERR_FULL);
	assert_int_equal(dest(5)->ways_n, 3);
}

int main(void)
{
#define IN(name, how) cmocka_unit_test_setup_teardown(name, how, teardown)
	const struct CMUnitTest tests[] = {
		IN(newest_generation_then_fewest_hops, setup),
		IN(quicker_one_of_two_alike_only_when_it_is_clearly_quicker, setup),
		IN(three_ways_and_the_worst_makes_room, setup),
		IN(hops_beyond_the_limit_are_refused, setup),
		IN(advertised_hops_bound_what_is_used, setup),
		IN(what_was_advertised_is_remembered_without_any_way, setup),
		IN(fewest_hops_of_a_generation_count, setup),
		IN(who_never_heard_of_a_way_hears_not_of_its_end, setup),
		IN(withdrawal_ends_what_that_neighbour_said, setup),
		IN(life_counts_from_the_first_arrival, setup),
		IN(sweep_says_when_it_is_due_again, setup),
		IN(neighbour_takes_its_ways_along, setup),
		IN(one_neighbour_fills_its_share_and_no_more, small),
		IN(full_share_displaces_nothing_of_others, small),
		IN(wanted_destination_finds_room, small),
		IN(memories_make_room_for_ways, small),
		IN(three_unanswered_in_a_row_are_penalised, setup),
		IN(penalties_double_up_to_an_hour, setup),
		IN(taking_back_a_route_clears_no_penalty, setup),
		IN(honest_detour_is_not_hidden_by_a_lie, setup),
		IN(probe_ends_a_penalty_and_forgives_nothing, setup),
		IN(measuring_what_is_not_there_does_nothing, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
