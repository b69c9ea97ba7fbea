#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sqlite3.h>

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

/* --- what strangers may cost ------------------------------------------------------------------------------------- */
static void a_quarter_of_the_places_is_kept_for_friends(void **state)
{
	struct transport_sink sink = node_sink(a->node);

	side_meet(b, a);
	a->node->handshaking += 48;
	assert_false(sink.accepting(sink.ctx, "192.0.2.1"));
	assert_true(sink.accepting(sink.ctx, side_conn(a, b)->source));
	a->node->handshaking += 16;
	assert_false(sink.accepting(sink.ctx, side_conn(a, b)->source));
	a->node->handshaking -= 64;
	assert_true(sink.accepting(sink.ctx, "192.0.2.1"));
}

static void dial_to(struct side *from, struct side *to)
{
	assert_int_equal(node_add_target(from->node, to->address, NULL), ERR_OK);
	node_dial_all(from->node);
	world_pass(w, 3000);
}

static void strangers_are_taken_at_our_own_pace(void **state)
{
	struct side *c = &w->side[2], *d = &w->side[3];

	side_stop(d);
	d->limits = (struct node_limits){ .strangers_per_s = 0.01, .strangers_burst = 1 };
	side_start(d);
	side_know(d, b);
	dial_to(a, d);
	assert_non_null(side_conn(d, a));
	dial_to(c, d);
	assert_null(side_conn(d, c));
	assert_null(pins_get(d->pins, side_id(c)));
	dial_to(b, d); /* who is known does not wait */
	assert_non_null(side_conn(d, b));
	world_pass(w, 110000);
	world_pass(w, 110000);
	assert_non_null(side_conn(d, c));
	assert_int_equal(node_banned(d->node), 0);
}

static void who_is_not_approved_settles_no_era_that_we_do_not_know(void **state)
{
	struct session_event ev = { .type = SESSION_EV_SETTLED, .era = { 7 }, .seq = 100 };

	assert_int_equal(pins_set_state(a->pins, side_id(b), PIN_PENDING, NULL, NULL), ERR_OK);
	side_meet(a, b);
	marks_settled(side_conn(a, b), &ev);
	assert_false(inbox_has_era(a->store, side_id(b), ev.era));
	assert_int_equal(node_peer_approve(a->node, side_id(b), NULL), ERR_OK);
	marks_settled(side_conn(a, b), &ev);
	assert_true(inbox_has_era(a->store, side_id(b), ev.era));
}

static void who_is_full_makes_us_settle_once_in_a_second(void **state)
{
	struct session_event ev = { .type = SESSION_EV_RECEIPT, .receipt = RECEIPT_RETRY,
				    .receipt_id = BYTES_LIT("0102030405060708090a0b0c0d0e0f10") };
	struct peer *p;
	uint64_t at;

	side_meet(a, b);
	p = peer_find(a->node, side_id(b));
	world_pass(w, 5000);
	outbound_receipt_of(a->node, side_id(b), &ev);
	at = w->now_ms;
	assert_int_equal(p->settle_ms, at);
	for (int i = 0; i < 100; i++) {
		if (i % 20 == 0)
			world_pass(w, 100);
		outbound_receipt_of(a->node, side_id(b), &ev);
		assert_int_equal(p->settle_ms, at);
	}
	world_pass(w, 500);
	outbound_receipt_of(a->node, side_id(b), &ev);
	assert_int_equal(p->settle_ms, w->now_ms);
}

/* --- receipts that an earlier life owes --------------------------------------------------------------------------- */
#define OWED 700

static void owe(void)
{
	struct inbox_new m = { .author = *side_id(b), .via = *side_id(b), .type = BYTES_LIT("MSG"), .received_ms = WALL,
			       .body = BYTES_LIT("body"), .has_wire = true, .ttl_s = 3600, .clock_plausible = true,
			       .wire_id = { 9 } };
	enum inbox_state was;
	int64_t seq;

	for (unsigned i = 1; i <= OWED; i++) {
		m.wire_id[14] = (uint8_t)(i >> 8);
		m.wire_id[15] = (uint8_t)i;
		assert_int_equal(inbox_put(a->store, &m, &seq, &was), ERR_OK);
	}
	assert_int_equal(store_commit(a->store), ERR_OK);
}

static void what_is_owed_is_reported_some_hundred_in_a_turn(void **state)
{
	struct inbox_row row;
	struct peer *p;
	size_t n;

	owe();
	assert_int_equal(node_add_target(a->node, b->address, NULL), ERR_OK);
	node_dial_all(a->node);
	for (int i = 0; i < 64 && !side_conn(a, b); i++) {
		timers_run(&w->env);
		for (int k = 0; k < 2; k++)
			if (node_wants_turn(w->side[k].node))
				node_turn(w->side[k].node);
	}
	p = peer_find(a->node, side_id(b));
	assert_non_null(p->conn);
	assert_in_range(node_counters(a->node)->receipts_sent, 0, OWED / 2);
	assert_true(p->due_after >= 0);
	world_pass(w, 1000);
	assert_int_equal(node_counters(a->node)->receipts_sent, OWED);
	assert_int_equal(p->due_after, -1);
	assert_int_equal(inbox_receipts_due(a->store, side_id(b), 0, &row, 1, &n), ERR_OK);
	assert_int_equal(n, 0);
}

static void sql(const char *text)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(side_file(a, "db"), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void a_disk_that_cannot_be_read_ends_the_session_and_not_the_node(void **state)
{
	owe();
	sql("ALTER TABLE inbox RENAME TO away");
	assert_int_equal(node_add_target(a->node, b->address, NULL), ERR_OK);
	node_dial_all(a->node);
	world_pass(w, 3000);
	assert_null(side_conn(a, b));
	assert_true(node_counters(a->node)->store_failures > 0);
	assert_int_equal(node_counters(a->node)->receipts_sent, 0);
	sql("ALTER TABLE away RENAME TO inbox");
	world_pass(w, 120000);
	assert_non_null(side_conn(a, b));
	assert_int_equal(node_counters(a->node)->receipts_sent, OWED);
}

/* --- pings ----------------------------------------------------------------------------------------------------------- */
static struct asked {
	struct asked *other; /* forgotten when this one is answered */
	unsigned times;
	enum err e;
} asked[3];

static void answered(void *ctx, enum err e, double rtt_ms)
{
	struct asked *x = ctx;

	x->times++;
	x->e = e;
	if (x->other)
		node_ping_forget(a->node, x->other);
}

static void ask(void)
{
	memset(asked, 0, sizeof asked);
	asked[0].other = &asked[1];
	for (int i = 0; i < 3; i++)
		assert_int_equal(node_ping(a->node, side_id(b), 5000, answered, &asked[i]), ERR_OK);
}

static void who_is_answered_may_forget_another_that_waits(void **state)
{
	side_meet(a, b);
	ask();
	pings_done(a->node, side_id(b), ERR_OK, 3);
	assert_int_equal(asked[0].times, 1);
	assert_int_equal(asked[1].times, 0);
	assert_int_equal(asked[2].times, 1);
	ask();
	conn_close_peer(a->node, side_id(b), "test");
	assert_int_equal(asked[0].e, ERR_CLOSED);
	assert_int_equal(asked[1].times, 0);
	assert_int_equal(asked[2].times, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(mixed_and_strict_nodes_meet),
		T(a_peer_that_comes_back_under_another_name_is_called_so),
		T(nobody_takes_the_name_of_another),
		T(a_quarter_of_the_places_is_kept_for_friends),
		T(strangers_are_taken_at_our_own_pace),
		T(who_is_not_approved_settles_no_era_that_we_do_not_know),
		T(who_is_full_makes_us_settle_once_in_a_second),
		T(what_is_owed_is_reported_some_hundred_in_a_turn),
		T(a_disk_that_cannot_be_read_ends_the_session_and_not_the_node),
		T(who_is_answered_may_forget_another_that_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
