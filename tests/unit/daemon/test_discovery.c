/* What is published, whom a hint means, and who is dialled for it. */
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

/* --- what is published ------------------------------------------------------------------------------- */
static void public_until_there_is_a_key(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0];
	struct discovery_publication p, q;
	uint8_t key[IM2_DISC_BYTES], same[IM2_DISC_BYTES];

	discovery_publication(a->node, &p);
	assert_true(p.is_public && !p.fleet);
	assert_int_equal(discovery_key_get(a->node, key), ERR_NOTFOUND);
	assert_int_equal(discovery_key_ensure(a->node, key), ERR_OK);
	discovery_publication(a->node, &p);
	assert_true(p.fleet && !p.is_public);
	assert_int_equal(strlen(p.instance), 16);
	assert_int_equal(discovery_key_ensure(a->node, same), ERR_OK);
	assert_memory_equal(key, same, sizeof key);
	/* Nothing of it stays for more than an hour, and the next life has another instance and the same key. */
	w->now_ms += HOUR;
	discovery_publication(a->node, &q);
	assert_memory_not_equal(p.m, q.m, sizeof p.m);
	assert_memory_not_equal(p.t, q.t, sizeof p.t);
	side_again(a, SCOPE_AUTO);
	discovery_publication(a->node, &q);
	assert_true(q.fleet);
	assert_string_not_equal(p.instance, q.instance);
	assert_int_equal(discovery_key_get(a->node, same), ERR_OK);
	assert_memory_equal(key, same, sizeof key);
}

static void scopes(void **state)
{
	static const struct {
		enum discovery_scope scope;
		enum im2_setting im2;
		bool key, fleet, is_public;
	} all[] = {
		{ SCOPE_OFF, IM2_ON, true, false, false },     { SCOPE_FLEET, IM2_ON, false, false, false },
		{ SCOPE_FLEET, IM2_ON, true, true, false },    { SCOPE_PUBLIC, IM2_ON, true, false, true },
		{ SCOPE_BOTH, IM2_ON, true, true, true },      { SCOPE_AUTO, IM2_REQUIRE, false, false, false },
		{ SCOPE_PUBLIC, IM2_REQUIRE, true, true, false }, { SCOPE_BOTH, IM2_REQUIRE, true, true, false },
	};
	struct world *w = *state;
	struct side *a = &w->side[0];
	struct discovery_publication p;
	enum discovery_scope s;

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		side_again(a, all[i].scope);
		a->policy.im2 = all[i].im2;
		if (all[i].key)
			side_joins(a, FLEET);
		else
			a->node->discovery->has_key = false;
		discovery_publication(a->node, &p);
		assert_int_equal(p.fleet, all[i].fleet);
		assert_int_equal(p.is_public, all[i].is_public);
	}
	for (int i = SCOPE_OFF; i <= SCOPE_BOTH; i++) {
		assert_int_equal(discovery_scope_parse(discovery_scope_word((enum discovery_scope)i), &s), ERR_OK);
		assert_int_equal((int)s, i);
	}
	assert_int_not_equal(discovery_scope_parse("loud", &s), ERR_OK);
}

/* --- who is dialled --------------------------------------------------------------------------------------- */
static void a_member_of_the_fleet_is_met(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	side_know(a, b);
	side_joins(a, FLEET);
	side_joins(b, FLEET);
	starts(a);
	assert_true(hears_fleet(a, b));
	world_pass(w, 10 * SECOND);
	assert_non_null(side_conn(a, b));
	assert_true(side_conn(a, b)->im2);
	/* A hint is nobody's address. */
	assert_int_equal(pins_get(a->pins, side_id(b))->address_count, 0);
	assert_false(pins_im2_address_has(a->pins, b->address, NULL));
	/* The session goes, and comes again; the hint is enough. */
	conn_close(side_conn(a, b), "test");
	world_pass(w, 15 * SECOND);
	assert_non_null(side_conn(a, b));
}

static void both_find_each_other_and_one_session_is_left(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	side_know(a, b);
	side_joins(a, FLEET);
	side_joins(b, FLEET);
	starts(a);
	starts(b);
	assert_true(hears_fleet(a, b));
	assert_true(hears_fleet(b, a));
	world_pass(w, 20 * SECOND);
	assert_non_null(side_conn(a, b));
	assert_non_null(side_conn(b, a));
	assert_int_equal(a->node->n.hints_dialled + b->node->n.hints_dialled, 1);
	assert_int_equal(a->node->n.duplicate_sessions + b->node->n.duplicate_sessions, 0);
	world_pass(w, 10 * MINUTE);
	assert_int_equal(a->node->n.hints_dialled + b->node->n.hints_dialled, 1);
}

static void nobody_is_dialled_by_default(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	starts(a);
	assert_false(hears_public(a, b));
	world_pass(w, 2 * MINUTE);
	assert_int_equal(a->node->n.dials, 0);
	assert_non_null(strstr(view_of(a, "n1").why, "nor among the allowed peers"));
	assert_non_null(strstr(view_of(a, "n1").next, "--allowed-peers n1"));
	/* Known, and not more than that. */
	assert_int_equal(pins_pin(a->pins, keyring_ed(b->keyring), "n1", world_wall_ms(w), NULL), ERR_OK);
	assert_int_equal(pins_set_state(a->pins, side_id(b), PIN_BLOCKED, "test", NULL), ERR_OK);
	assert_false(hears_public(a, b));
	assert_non_null(strstr(view_of(a, "n1").why, "blocked"));
	assert_non_null(strstr(view_of(a, "n1").next, side_id(b)->hex));
	world_pass(w, 2 * MINUTE);
	assert_int_equal(a->node->n.dials, 0);
}

static void a_name_on_the_list_is_met_and_pending(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];

	assert_int_equal(policy_allow(&a->policy, "n1", NULL), ERR_OK);
	starts(a);
	assert_true(hears_public(a, b));
	assert_false(hears_public(a, c));
	world_pass(w, 10 * SECOND);
	assert_non_null(side_conn(a, b));
	assert_int_equal(pins_get(a->pins, side_id(b))->state, PIN_PENDING);
	assert_null(pins_get(a->pins, side_id(c)));
}

/* The list means the key that has the name already: whoever else takes it is not even dialled. */
static void a_name_that_has_a_key_means_that_key(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct heard h = side_said(c, (const char *[]){ c->address, NULL });

	side_know(a, b);
	assert_int_equal(policy_allow(&a->policy, "n1", NULL), ERR_OK);
	starts(a);
	assert_false(hears_as(a, &h, "liar", false, "n1", side_id(c)));
	assert_non_null(strstr(view_of(a, "liar").why, "belongs to another key"));
	world_pass(w, MINUTE);
	assert_int_equal(a->node->n.dials, 0);
	/* Without a key it is dialled as the one whose name it is; c is dropped, and nothing is written. */
	assert_true(hears_as(a, &h, "liar", false, "n1", NULL));
	world_pass(w, MINUTE);
	assert_int_equal(a->node->n.hints_wrong, 1);
	assert_null(pins_get(a->pins, side_id(c)));
	assert_int_equal(alarms(a), 0);
}

static void an_id_on_the_list_is_found_by_its_tag(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];

	assert_int_equal(policy_allow(&a->policy, side_id(b)->hex, NULL), ERR_OK);
	side_joins(a, FLEET);
	side_joins(b, FLEET);
	side_joins(c, FLEET);
	starts(a);
	assert_true(hears_fleet(a, b));
	assert_false(hears_fleet(a, c));
	assert_non_null(strstr(view_of(a, c->node->discovery->instance).why, "does not know it"));
	world_pass(w, 10 * SECOND);
	assert_non_null(side_conn(a, b));
	assert_int_equal(pins_get(a->pins, side_id(b))->state, PIN_TRUSTED);
}

static void open_discovery_meets_everybody(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	a->open_discovery = true;
	side_again(a, SCOPE_AUTO);
	starts(a);
	assert_true(hears_public(a, b));
	world_pass(w, 10 * SECOND);
	assert_non_null(side_conn(a, b));
	assert_int_equal(pins_get(a->pins, side_id(b))->state, PIN_PENDING);
}

static void an_old_peer_is_found(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	side_know(a, b);
	b->old = true;
	side_again(b, SCOPE_AUTO);
	starts(a);
	assert_true(hears_public(a, b));
	world_pass(w, 10 * SECOND);
	assert_non_null(side_conn(a, b));
	assert_false(side_conn(a, b)->im2);
	assert_int_equal(pins_get(a->pins, side_id(b))->address_count, 0);
	/* Once it has spoken im2 it is found on the old wire no more. */
	b->old = false;
	side_again(b, SCOPE_AUTO);
	assert_true(hears_public(a, b));
	world_pass(w, 20 * SECOND);
	assert_true(side_conn(a, b)->im2);
	b->old = true;
	side_again(b, SCOPE_AUTO);
	world_pass(w, 5 * MINUTE);
	assert_null(side_conn(a, b));
	assert_int_equal(side_audited(a, "DOWNGRADE_REFUSED"), 0);
}

static void a_list_that_does_not_cover_a_friend(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	side_know(a, b);
	assert_int_equal(policy_allow(&a->policy, "somebody", NULL), ERR_OK);
	starts(a);
	assert_false(hears_public(a, b));
	world_pass(w, MINUTE);
	assert_int_equal(a->node->n.dials, 0);
	assert_non_null(strstr(view_of(a, "n1").why, "not among the allowed peers"));
	assert_non_null(strstr(view_of(a, "n1").next, side_id(b)->hex));
}

/* Pinned by hand while its service is known already. */
static void whoever_comes_to_be_known_is_dialled(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	side_joins(a, FLEET);
	side_joins(b, FLEET);
	starts(a);
	assert_false(hears_fleet(a, b));
	world_pass(w, 30 * SECOND);
	assert_int_equal(a->node->n.dials, 0);
	side_know(a, b);
	world_pass(w, 20 * SECOND);
	assert_non_null(side_conn(a, b));
}

static void the_smaller_name_goes_first(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	assert_int_equal(policy_allow(&b->policy, "n0", NULL), ERR_OK);
	starts(b);
	assert_true(hears_public(b, a));
	world_pass(w, 3 * SECOND);
	assert_int_equal(b->node->n.dials, 0);
	assert_non_null(strstr(view_of(b, "n0").why, "may dial first"));
	world_pass(w, 7 * SECOND);
	assert_non_null(side_conn(b, a));
}

static void we_never_dial_ourselves(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0];

	a->open_discovery = true;
	side_again(a, SCOPE_BOTH);
	side_joins(a, FLEET);
	starts(a);
	assert_false(hears_fleet(a, a));
	assert_false(hears_public(a, a));
	node_set_endpoints(a->node, (const char[1][80]){ "n0:1" }, 1);
	/* Under a name that is not ours, at our own place. */
	struct heard h = side_said(a, (const char *[]){ a->address, NULL });

	assert_true(hears_as(a, &h, "mirror", false, "mirror", NULL));
	assert_int_equal(view_of(a, "mirror").addresses_n, 0);
	world_pass(w, MINUTE);
	assert_int_equal(a->node->n.dials, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, hints_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(public_until_there_is_a_key),
		TEST(scopes),
		TEST(a_member_of_the_fleet_is_met),
		TEST(both_find_each_other_and_one_session_is_left),
		TEST(nobody_is_dialled_by_default),
		TEST(a_name_on_the_list_is_met_and_pending),
		TEST(a_name_that_has_a_key_means_that_key),
		TEST(an_id_on_the_list_is_found_by_its_tag),
		TEST(open_discovery_meets_everybody),
		TEST(an_old_peer_is_found),
		TEST(a_list_that_does_not_cover_a_friend),
		TEST(whoever_comes_to_be_known_is_dialled),
		TEST(the_smaller_name_goes_first),
		TEST(we_never_dial_ourselves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
