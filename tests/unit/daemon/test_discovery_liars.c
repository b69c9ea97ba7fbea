/* What a liar on the local network can do: cost a dial. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/daemon_hints.h"

static void starts(struct side *s)
{
	node_dial_all(s->node);
}

static size_t alarms(struct side *s)
{
	const struct pin_alarm *list;

	return pins_alarms(s->pins, &list);
}

static void a_replayed_tag_leads_nowhere(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct heard h;

	side_know(a, b);
	side_joins(a, FLEET);
	side_joins(b, FLEET);
	starts(a);
	h = side_said(b, (const char *[]){ c->address, NULL });
	assert_true(hears_as(a, &h, "replay", true, NULL, NULL));
	world_pass(w, MINUTE);
	assert_int_equal(a->node->n.hints_dialled, 1);
	assert_int_equal(a->node->n.hints_wrong, 1);
	assert_int_equal(a->node->online, 0);
	assert_int_equal(alarms(a), 0);
	assert_null(pins_get(a->pins, side_id(c)));
	assert_null(pins_by_address(a->pins, c->address));
	assert_int_equal(side_audited(a, "TOFU_MISMATCH") + side_audited(a, "DOWNGRADE_REFUSED") +
				 side_audited(a, "PEER_REFUSED"), 0);
	/* The true one is found all the same. */
	assert_true(hears_fleet(a, b));
	world_pass(w, 10 * SECOND);
	assert_non_null(side_conn(a, b));
	assert_int_equal(alarms(a), 0);
}

static void a_known_peer_elsewhere_raises_no_alarm(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct heard h;

	side_know(a, b);
	side_know(a, c);
	side_meet(a, b);
	side_meet(a, c);
	conn_close(side_conn(a, b), "test");
	conn_close(side_conn(a, c), "test");
	side_stop(b);
	side_again(a, SCOPE_AUTO);
	side_joins(a, FLEET);
	side_joins(c, FLEET);
	starts(a);
	/* As b, where c is. */
	h = side_said(c, (const char *[]){ c->address, NULL });
	im2_tag_node(FLEET, side_id(b), world_wall_ms(w) / HOUR, h.p.t);
	assert_true(hears_as(a, &h, "replay", true, NULL, NULL));
	world_pass(w, MINUTE);
	assert_int_equal(alarms(a), 0);
	assert_non_null(side_conn(a, c)); /* by the address it is known at */
	assert_ptr_equal(pins_by_address(a->pins, c->address), pins_get(a->pins, side_id(c)));
	side_start(b);
}

static void two_fleets_do_not_see_each_other(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	side_know(a, b);
	side_joins(a, FLEET);
	side_joins(b, OTHER_FLEET);
	starts(a);
	starts(b);
	assert_false(hears_fleet(a, b));
	assert_false(hears_fleet(b, a));
	world_pass(w, 2 * MINUTE);
	assert_int_equal(a->node->n.dials + b->node->n.dials, 0);
	assert_non_null(strstr(view_of(a, b->node->discovery->instance).why, "another fleet"));
}

static void clocks_may_differ_by_an_hour(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct heard h;

	side_know(a, b);
	side_joins(a, FLEET);
	side_joins(b, FLEET);
	h = side_said(b, (const char *[]){ b->address, NULL });
	w->now_ms += HOUR;
	assert_true(hears_as(a, &h, "late", true, NULL, NULL));
	w->now_ms += HOUR;
	assert_false(hears_as(a, &h, "later", true, NULL, NULL));
}

static void a_thousand_liars(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct heard h;

	side_know(a, b);
	side_joins(a, FLEET);
	side_joins(b, FLEET);
	starts(a);
	h = side_said(b, (const char *[]){ "nobody:1", NULL });
	for (unsigned i = 0; i < 3000; i++) {
		char instance[32];

		snprintf(instance, sizeof instance, "liar%u", i);
		snprintf(h.addresses[0], 80, "192.0.%u.%u:8765", i / 250, 1 + i % 250);
		env_random(a->node->env, h.p.t, sizeof h.p.t);
		if (i % 3 == 0)
			env_random(a->node->env, h.p.m, sizeof h.p.m);
		assert_false(hears_as(a, &h, instance, true, NULL, NULL));
		if (i == 1000)
			assert_true(hears_fleet(a, b)); /* and it is not pushed out by what follows */
	}
	assert_true(a->node->discovery->hints_n <= HINTS_MAX);
	world_pass(w, 20 * SECOND);
	assert_non_null(side_conn(a, b));
	assert_int_equal(a->node->n.dials, 1);
}

/* One host can fill an eighth. */
static void one_source_has_a_share(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct heard h = side_said(b, (const char *[]){ "192.0.2.66:1", NULL });

	for (unsigned i = 0; i < 1000; i++) {
		char instance[32];

		snprintf(instance, sizeof instance, "liar%u", i);
		(void)hears_as(a, &h, instance, false, instance, NULL);
	}
	assert_int_equal(a->node->discovery->hints_n, HINTS_MAX / HINTS_SHARE);
	assert_int_equal(a->node->n.hints_dropped, 1000 - HINTS_MAX / HINTS_SHARE);
}

/* Whoever replays a tag a thousand times costs a few dials, and does not keep the true one out. */
static void a_crowd_under_one_tag(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct heard h;

	side_know(a, b);
	side_joins(a, FLEET);
	side_joins(b, FLEET);
	starts(a);
	h = side_said(b, (const char *[]){ "nobody:1", NULL });
	for (unsigned i = 0; i < 1000; i++) {
		char instance[32];

		snprintf(instance, sizeof instance, "liar%u", i);
		snprintf(h.addresses[0], 80, "192.0.%u.%u:8765", i / 250, 1 + i % 250);
		(void)hears_as(a, &h, instance, true, NULL, NULL);
		if (i % 100 == 0)
			world_pass(w, 3 * SECOND);
	}
	assert_true(a->node->discovery->hints_n <= HINTS_OF_ONE + 1);
	assert_true(hears_fleet(a, b));
	world_pass(w, MINUTE);
	assert_non_null(side_conn(a, b));
	assert_true(a->node->n.dials < 200);
}

static void bad_addresses_are_left_out(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct heard h = side_said(b, (const char *[]){ "127.0.0.1:22", "[::1]:22", "localhost:22", "0.0.0.0:1", "224.0.0.251:5353",
						    "no-port", "[fe80::1%eth0]:8765", "192.0.2.1:8765", NULL });
	struct discovery_view v;

	(void)hears_as(a, &h, "x", false, "x", NULL);
	v = view_of(a, "x");
	assert_int_equal(v.addresses_n, 2);
	assert_string_equal(v.address, "[fe80::1%eth0]:8765");
	/* The same in other clothes. */
	h = side_said(b, (const char *[]){ "[::ffff:0.0.0.0]:22", "[::ffff:127.0.0.1]:22", "[::ffff:224.0.0.1]:22", NULL });
	(void)hears_as(a, &h, "z", false, "z", NULL);
	assert_int_equal(view_of(a, "z").addresses_n, 0);
	h = side_said(b, (const char *[]){ "127.1:22", "0x7f.1:22", "0:22", "2130706433:22", "localhost.:22", "x.LocalHost:22",
					    "127.0.0.1.:22", NULL });
	(void)hears_as(a, &h, "u", false, "u", NULL);
	assert_int_equal(view_of(a, "u").addresses_n, 0);
	h = side_said(b, (const char *[]){ "n1.local:22", "mylocalhost:22", "4you.example:22", NULL });
	(void)hears_as(a, &h, "v", false, "v", NULL);
	assert_int_equal(view_of(a, "v").addresses_n, 3);
	/* Who listens there alone finds those who do so too. */
	node_set_endpoints(a->node, (const char[1][80]){ "127.0.0.1:8765" }, 1);
	h = side_said(b, (const char *[]){ "127.0.0.1:8766", "127.0.0.1:8765", NULL });
	(void)hears_as(a, &h, "y", false, "y", NULL);
	assert_int_equal(view_of(a, "y").addresses_n, 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, hints_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_replayed_tag_leads_nowhere),
		TEST(a_known_peer_elsewhere_raises_no_alarm),
		TEST(two_fleets_do_not_see_each_other),
		TEST(clocks_may_differ_by_an_hour),
		TEST(a_thousand_liars),
		TEST(one_source_has_a_share),
		TEST(a_crowd_under_one_tag),
		TEST(bad_addresses_are_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
