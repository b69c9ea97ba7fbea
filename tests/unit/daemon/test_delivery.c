#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/text.h"
#include "tests/lib/daemon_world.h"
#include "transports/loopback.h"

/* What two nodes owe each other about a message (im2.md 9 and 10). */
#define BIG 400000

static struct world *w;
static struct side *a, *b;

/* --- the wire, unkind on purpose -------------------------------------------------------------------------- */
static struct {
	uint64_t delay_ms;
	unsigned cut_after; /* large units from n0; 0 = never */
	bool mute;          /* nothing comes from n1 */
	uint64_t units, large;
} wire;

static struct loop_fate fate(void *ctx, const char *from, const char *to, struct bytes unit)
{
	struct loop_fate f = { .delay_ms = wire.delay_ms, .copies = 1 };

	wire.units++;
	if (unit.n > 10000 && strncmp(from, "n0", 2) == 0 && ++wire.large == wire.cut_after)
		f.cut = true;
	if (wire.mute && strncmp(from, "n1", 2) == 0)
		f.copies = 0;
	return f;
}

static int setup(void **state)
{
	memset(&wire, 0, sizeof wire);
	world_setup(state);
	w = *state;
	a = &w->side[0];
	b = &w->side[1];
	loopnet_set_fate(w->net, fate, NULL);
	side_know(a, b);
	return 0;
}

/* --- messages ----------------------------------------------------------------------------------------------- */
struct text {
	size_t size;
	uint8_t flags, hop;
	uint64_t ttl_ms;
};

static void accepted(void *ctx, const char *msg_id, enum err e)
{
	*(enum err *)ctx = e;
}

static void submit(struct side *from, struct side *to, const struct text *t, char id[static MSG_ID_MAX + 1])
{
	uint8_t *body = calloc(1, t->size + 1);
	struct submit s = { .to = *side_id(to), .body = bytes_of(body, t->size ? t->size : 1), .priority = PRIO_NORMAL,
			    .ttl_ms = t->ttl_ms, .ext = { .flags = t->flags, .hop = t->hop } };
	enum err e = ERR_INTERNAL;

	assert_int_equal(node_submit(from->node, &s, accepted, &e, id, NULL), ERR_OK);
	world_pass(from->w, 100);
	assert_int_equal(e, ERR_OK);
	free(body);
}

static enum outbox_state state_of(struct side *s, const char *id)
{
	struct outbox_row row;

	assert_int_equal(outbox_get(s->store, bytes_str(id), &row), ERR_OK);
	return row.state;
}

static unsigned received(struct side *s, enum inbox_state state)
{
	uint64_t n[INBOX_STATES];

	assert_int_equal(inbox_count(s->store, NULL, n), ERR_OK);
	return (unsigned)n[state];
}

/* The lowest number that `from` may still send to `to`. */
static uint64_t unfinished(struct side *from, struct side *to)
{
	struct outbox_mark marks[4];
	size_t n;

	assert_int_equal(outbox_settle(from->store, side_id(to), marks, 4, &n), ERR_OK);
	return n ? marks[0].seq : 0;
}

/* --- pieces ----------------------------------------------------------------------------------------------------- */
static void what_wants_no_receipt_ends_when_it_has_left(void **state)
{
	char id[MSG_ID_MAX + 1];

	side_meet(a, b);
	submit(a, b, &(struct text){ .flags = MSG_NO_RECEIPT }, id);
	world_pass(w, 1000);
	assert_int_equal(state_of(a, id), OUTBOX_SENT);
	assert_int_equal(unfinished(a, b), 2);
	assert_int_equal(received(b, INBOX_NEW), 1);
}

static void in_pieces_it_is_unfinished_until_they_have_arrived(void **state)
{
	struct text big = { .size = BIG, .flags = MSG_NO_RECEIPT };
	char id[MSG_ID_MAX + 1];

	side_meet(a, b);
	wire.delay_ms = 300;
	submit(a, b, &big, id);
	assert_int_equal(state_of(a, id), OUTBOX_QUEUED);
	assert_int_equal(unfinished(a, b), 1);
	/* The link breaks in the middle, and nothing but a new session brings the rest. */
	wire.cut_after = (unsigned)wire.large + 3;
	submit(a, b, &(struct text){ 0 }, (char[MSG_ID_MAX + 1]){ 0 });
	world_pass(w, 2000);
	assert_int_equal(state_of(a, id), OUTBOX_QUEUED);
	world_pass(w, 60000);
	assert_int_equal(received(b, INBOX_NEW), 2);
	assert_int_equal(state_of(a, id), OUTBOX_SENT);
	assert_int_equal(unfinished(a, b), 3);
}

static void what_travels_in_pieces_is_not_sent_twice(void **state)
{
	char id[MSG_ID_MAX + 1], small[MSG_ID_MAX + 1];
	struct outbox_row row;

	side_meet(a, b);
	/* A window of credit and its answer take ten seconds. */
	wire.delay_ms = 5000;
	submit(a, b, &(struct text){ .size = 1 << 20 }, id);
	world_pass(w, 21000);
	assert_int_equal(state_of(a, id), OUTBOX_QUEUED);
	assert_int_equal(node_outbox_get(a->node, bytes_str(id), &row), ERR_OK);
	assert_int_equal(row.state, OUTBOX_QUEUED);
	submit(a, b, &(struct text){ 0 }, small);
	world_pass(w, 11000);
	assert_int_equal(state_of(a, small), OUTBOX_DELIVERED);
	world_pass(w, 60000);
	assert_int_equal(state_of(a, id), OUTBOX_DELIVERED);
	assert_int_equal(node_counters(a->node)->messages_resent, 0);
	assert_int_equal(node_im2_counters(a->node)->transfers_out, 1);
}

/* The pieces of an earlier connection go on; what stands behind the message in the outbox does not wait for them. */
static void after_a_break_nothing_waits_behind_it(void **state)
{
	char id[MSG_ID_MAX + 1], small[MSG_ID_MAX + 1];

	side_meet(a, b);
	wire.cut_after = 4;
	wire.delay_ms = 1000;
	submit(a, b, &(struct text){ .size = 1 << 20 }, id);
	assert_null(side_conn(a, b));
	submit(a, b, &(struct text){ 0 }, small);
	for (int i = 0; i < 300 && !side_conn(a, b); i++)
		world_pass(w, 100);
	assert_non_null(side_conn(a, b));
	world_pass(w, 8000);
	assert_int_equal(state_of(a, small), OUTBOX_DELIVERED);
	world_pass(w, 60000);
	assert_int_equal(state_of(a, id), OUTBOX_DELIVERED);
	assert_int_equal(received(b, INBOX_NEW), 2);
	assert_int_equal(node_counters(b->node)->messages_repeated, 0);
}

/* --- receipts --------------------------------------------------------------------------------------------------- */
static size_t entries(struct side *s)
{
	struct inbox_table t;

	inbox_table(s->store, &t);
	return t.entries;
}

static void pend(struct side *at, struct side *who)
{
	assert_int_equal(node_peer_pending(at->node, side_id(who), NULL), ERR_OK);
}

static void who_wants_no_receipt_gets_none(void **state)
{
	struct text quiet = { .flags = MSG_NO_RECEIPT };
	char id[MSG_ID_MAX + 1];
	uint64_t sent;

	side_meet(a, b);
	sent = node_counters(b->node)->receipts_sent;
	submit(a, b, &quiet, id);
	/* Neither now nor in a later life. */
	side_stop(b);
	side_start(b);
	side_meet(b, a);
	submit(a, b, &quiet, id);
	world_pass(w, 100000);
	assert_int_equal(received(b, INBOX_NEW), 2);
	assert_int_equal(node_counters(b->node)->receipts_sent, sent);
	assert_int_equal(state_of(a, id), OUTBOX_SENT);
	assert_int_equal(entries(b), 0); /* settled all the same */
	/* Held and released is no news either, refused is. */
	pend(b, a);
	submit(a, b, &quiet, id);
	world_pass(w, 2000);
	assert_int_equal(received(b, INBOX_HELD), 1);
	assert_int_equal(node_peer_approve(b->node, side_id(a), NULL), ERR_OK);
	world_pass(w, 2000);
	assert_int_equal(state_of(a, id), OUTBOX_SENT);
	pend(b, a);
	submit(a, b, &quiet, id);
	world_pass(w, 2000);
	assert_int_equal(inbound_release(b->node, side_id(a), false), ERR_OK);
	world_pass(w, 2000);
	assert_int_equal(state_of(a, id), OUTBOX_REJECTED);
	assert_int_equal(node_counters(b->node)->receipts_sent, 1);
}

/* B says this about a message, whatever it is. */
static void say(enum receipt_kind kind, uint8_t code, const char *id)
{
	struct receipt r = { .kind = kind, .id = bytes_str(id), .code = code };
	struct conn *c = side_conn(b, a);

	assert_int_equal(session_send_receipts(c->session, &r, 1), ERR_OK);
	conn_pump(c);
	world_pass(w, 200);
}

static void an_early_expired_counts_as_no_receipt(void **state)
{
	char id[MSG_ID_MAX + 1], never[MSG_ID_MAX + 1];

	side_meet(a, b);
	wire.mute = true;
	submit(a, b, &(struct text){ .ttl_ms = 60000 }, id);
	submit(a, b, &(struct text){ 0 }, never);
	wire.mute = false;
	say(RECEIPT_REJECTED, 1, id);
	say(RECEIPT_REJECTED, 1, never);
	assert_int_equal(state_of(a, id), OUTBOX_QUEUED);
	assert_int_equal(state_of(a, never), OUTBOX_QUEUED);
	world_pass(w, 15000);
	assert_int_equal(state_of(a, id), OUTBOX_DELIVERED);
	assert_int_equal(state_of(a, never), OUTBOX_DELIVERED);
}

static void a_late_expired_is_one(void **state)
{
	char id[MSG_ID_MAX + 1];
	struct outbox_row row;

	side_meet(a, b);
	wire.mute = true;
	submit(a, b, &(struct text){ .ttl_ms = 5000 }, id);
	wire.mute = false;
	w->wall_ms += 6000; /* before our own timer looks */
	say(RECEIPT_REJECTED, 1, id);
	assert_int_equal(outbox_get(a->store, bytes_str(id), &row), ERR_OK);
	assert_int_equal(row.state, OUTBOX_EXPIRED);
	assert_string_equal(row.reason, "expired");
}

static void what_is_held_goes_when_its_life_is_over(void **state)
{
	char id[MSG_ID_MAX + 1], longer[MSG_ID_MAX + 1], refused[MSG_ID_MAX + 1];
	struct inbox_row rows[4];
	size_t n;

	side_meet(a, b);
	pend(b, a);
	submit(a, b, &(struct text){ .ttl_ms = 600000 }, id);
	submit(a, b, &(struct text){ .ttl_ms = 900000 }, longer);
	world_pass(w, 590000);
	assert_int_equal(received(b, INBOX_HELD), 2);
	/* The wall clock of the receiver does not count. */
	w->wall_ms += 3600000;
	world_pass(w, 1);
	held_due(b->node);
	assert_int_equal(received(b, INBOX_HELD), 2);
	w->wall_ms -= 3600000;
	side_stop(b);
	side_start(b);
	world_pass(w, 80000);
	assert_int_equal(received(b, INBOX_HELD), 1);
	assert_int_equal(inbox_find(b->store, bytes_str(id), rows, 4, &n), ERR_OK);
	assert_int_equal(inbound_owed(b->node, &rows[0]).code, 1);
	assert_int_equal(state_of(a, id), OUTBOX_EXPIRED);
	/* Refused is another reason. */
	assert_int_equal(inbound_release(b->node, side_id(a), false), ERR_OK);
	assert_int_equal(node_commit(b->node), ERR_OK);
	assert_int_equal(inbox_find(b->store, bytes_str(longer), rows, 4, &n), ERR_OK);
	assert_int_equal(inbound_owed(b->node, &rows[0]).code, 3);
	world_pass(w, 60000);
	assert_int_equal(state_of(a, longer), OUTBOX_REJECTED);
	submit(a, b, &(struct text){ 0 }, refused);
	world_pass(w, 300000);
	assert_int_equal(received(b, INBOX_HELD), 1);
}

/* The receipt of the release is lost, and the session goes on (10.3). */
static void what_was_held_is_asked_for_each_hour(void **state)
{
	char id[MSG_ID_MAX + 1], other[MSG_ID_MAX + 1];

	side_meet(a, b);
	pend(b, a);
	submit(a, b, &(struct text){ 0 }, id);
	world_pass(w, 1000);
	wire.mute = true;
	assert_int_equal(node_peer_approve(b->node, side_id(a), NULL), ERR_OK);
	world_pass(w, 500);
	/* A later one has its own timer. */
	submit(a, b, &(struct text){ 0 }, other);
	wire.mute = false;
	world_pass(w, 13000);
	assert_int_equal(state_of(a, other), OUTBOX_DELIVERED);
	assert_int_equal(state_of(a, id), OUTBOX_QUEUED);
	world_pass(w, 3700000);
	assert_int_equal(state_of(a, id), OUTBOX_DELIVERED);
	assert_int_equal(received(b, INBOX_NEW), 2);
}

/* Nobody else tells the author: his own clock stands still. */
static void its_author_hears_that_it_expired_there(void **state)
{
	char id[MSG_ID_MAX + 1];
	struct outbox_row row;

	side_meet(a, b);
	pend(b, a);
	submit(a, b, &(struct text){ .ttl_ms = 600000 }, id);
	world_pass(w, 1000);
	timer_stop(&w->env, &a->node->expiry_timer);
	world_pass(w, 700000);
	assert_int_equal(received(b, INBOX_HELD), 0);
	assert_int_equal(outbox_get(a->store, bytes_str(id), &row), ERR_OK);
	assert_int_equal(row.state, OUTBOX_EXPIRED);
	assert_string_equal(row.reason, "expired");
}

static void who_is_not_trusted_slows_down(void **state)
{
	char id[MSG_ID_MAX + 1];
	uint64_t before, dropped;

	b->limits.peer_messages_per_s = b->limits.peer_burst = 100000; /* those of im2 decide */
	side_stop(b);
	side_start(b);
	side_meet(a, b);
	pend(b, a);
	for (int i = 0; i < 900; i++) {
		struct submit s = { .to = *side_id(b), .body = BYTES_LIT("x"), .priority = PRIO_NORMAL };

		assert_int_equal(node_submit(a->node, &s, NULL, NULL, id, NULL), ERR_OK);
	}
	world_pass(w, 2000);
	assert_true(node_im2_counters(b->node)->items_refused > 0);
	dropped = node_im2_counters(b->node)->items_refused;
	before = node_counters(a->node)->messages_sent;
	world_pass(w, 40000);
	assert_in_range(node_counters(a->node)->messages_sent - before, 1000, 2100);
	assert_int_equal(node_im2_counters(b->node)->items_refused, dropped);
	/* Trusted, it drops nothing, and after a minute without that all goes as fast as it can. */
	assert_int_equal(node_peer_approve(b->node, side_id(a), NULL), ERR_OK);
	world_pass(w, 400000);
	assert_int_equal(received(b, INBOX_NEW), 900);
	before = node_counters(a->node)->messages_sent;
	for (int i = 0; i < 900; i++) {
		struct submit s = { .to = *side_id(b), .body = BYTES_LIT("x"), .priority = PRIO_NORMAL };

		assert_int_equal(node_submit(a->node, &s, NULL, NULL, id, NULL), ERR_OK);
	}
	world_pass(w, 1000);
	assert_int_equal(node_counters(a->node)->messages_sent - before, 900);
}

static void read_all(struct side *s)
{
	struct inbox_filter f = { .state = INBOX_NEW };
	struct inbox_row rows[8];
	size_t n;
	bool changed;

	assert_int_equal(inbox_list(s->store, &f, rows, 8, &n), ERR_OK);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(node_inbox_read(s->node, rows[i].seq, &changed), ERR_OK);
	world_pass(w, 1000);
}

static void who_asks_for_it_hears_that_it_was_read(void **state)
{
	char asks[MSG_ID_MAX + 1], no[MSG_ID_MAX + 1], later[MSG_ID_MAX + 1];

	side_meet(a, b);
	submit(a, b, &(struct text){ .flags = MSG_WANTS_READ }, asks);
	submit(a, b, &(struct text){ 0 }, no);
	world_pass(w, 1000);
	read_all(b);
	assert_int_equal(state_of(a, asks), OUTBOX_READ);
	assert_int_equal(state_of(a, no), OUTBOX_DELIVERED);
	/* Read while nobody is there: told when he comes. */
	submit(a, b, &(struct text){ .flags = MSG_WANTS_READ }, later);
	submit(a, b, &(struct text){ 0 }, no);
	world_pass(w, 1000);
	side_stop(a);
	read_all(b);
	side_stop(b);
	side_start(b);
	side_start(a);
	side_meet(a, b);
	assert_int_equal(state_of(a, later), OUTBOX_READ);
	assert_int_equal(state_of(a, no), OUTBOX_DELIVERED);
}

/* What B answers to this. */
static uint8_t answer(const struct message *m)
{
	struct conn *c = side_conn(b, a);

	world_pass(w, 200);
	assert_int_equal(c->receipts_n, 0);
	inbound_message(c, m);
	return c->receipts_n ? c->receipts[0].code : 0;
}

static void refusals_say_why(void **state)
{
	struct message m = { .type = BYTES_LIT("MSG"), .source = *side_id(a), .id = BYTES_LIT("x"), .has_wire_id = true,
			     .wire_id = { 1, 2, 3 }, .priority = PRIO_NORMAL };
	uint8_t *much = calloc(1, STORE_BODY_MAX + 1);

	side_meet(a, b);
	assert_int_equal(answer(&m), 11); /* numbers begin at 1 */
	m.wire_id[15] = 1;
	m.body = bytes_of(much, STORE_BODY_MAX + 1);
	assert_int_equal(answer(&m), 4);
	m.body = bytes_of(much, 1);
	m.ext.hop = 9;
	assert_int_equal(answer(&m), 10);
	assert_int_equal(received(b, INBOX_NEW), 0);
	m.ext.hop = 8;
	assert_int_equal(answer(&m), 0);
	world_pass(w, 200);
	assert_int_equal(received(b, INBOX_NEW), 1);
	m.digest[0] = 1;
	assert_int_equal(answer(&m), 9);
	free(much);
}

/* --- without a clock ---------------------------------------------------------------------------------------------- */
static void a_node_that_boots_in_1970_expires_nothing_when_it_learns_the_time(void **state)
{
	char id[MSG_ID_MAX + 1], dies[MSG_ID_MAX + 1];
	struct inbox_row got[2];
	struct outbox_row row;
	struct message_ext x;
	size_t n;

	side_stop(b);
	w->wall_ms = 0;
	submit(a, b, &(struct text){ .ttl_ms = 3600000 }, id);
	submit(a, b, &(struct text){ .ttl_ms = 600000 }, dies);
	assert_int_equal(node_outbox_get(a->node, bytes_str(id), &row), ERR_OK);
	assert_int_equal(row.created_ms, 0);
	assert_in_range(row.expires_ms, 3600000, 3700000);
	world_pass(w, 1000);
	w->wall_ms = WALL;
	world_pass(w, 120000);
	assert_int_equal(state_of(a, id), OUTBOX_QUEUED);
	assert_int_equal(node_outbox_get(a->node, bytes_str(id), &row), ERR_OK);
	assert_in_range(row.expires_ms, WALL + 3400000, WALL + 3700000);
	side_stop(a);
	side_start(a);
	world_pass(w, 120000);
	assert_int_equal(state_of(a, dies), OUTBOX_QUEUED);
	/* Running time alone ends it. */
	world_pass(w, 500000);
	assert_int_equal(state_of(a, dies), OUTBOX_EXPIRED);
	assert_int_equal(state_of(a, id), OUTBOX_QUEUED);
	side_start(b);
	side_meet(a, b);
	world_pass(w, 1000);
	assert_int_equal(state_of(a, id), OUTBOX_DELIVERED);
	assert_int_equal(inbox_find(b->store, bytes_str(id), got, 2, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_int_equal(got[0].created_ms, 0);
	assert_int_equal(message_meta_read(bytes_of(got[0].meta, got[0].meta_len), &x), ERR_OK);
	assert_int_equal(x.ttl_s, 3600);
}

/* Only what waits for the disk holds its sender back: what was refused is over, and nothing would let him go on. */
static void refusals_do_not_stop_a_friend(void **state)
{
	struct text loop = { .size = BIG, .hop = 9 };
	char id[MSG_ID_MAX + 1];

	side_meet(a, b);
	for (int i = 0; i < 12; i++) {
		submit(a, b, &loop, id);
		world_pass(w, 500);
		assert_int_equal(state_of(a, id), OUTBOX_REJECTED);
	}
	submit(a, b, &(struct text){ .size = 10 }, id);
	world_pass(w, 1000);
	assert_int_equal(state_of(a, id), OUTBOX_DELIVERED);
	assert_int_equal(node_counters(b->node)->pauses, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(what_wants_no_receipt_ends_when_it_has_left),
		T(in_pieces_it_is_unfinished_until_they_have_arrived),
		T(what_travels_in_pieces_is_not_sent_twice),
		T(after_a_break_nothing_waits_behind_it),
		T(who_wants_no_receipt_gets_none),
		T(an_early_expired_counts_as_no_receipt),
		T(a_late_expired_is_one),
		T(who_asks_for_it_hears_that_it_was_read),
		T(what_is_held_goes_when_its_life_is_over),
		T(what_was_held_is_asked_for_each_hour),
		T(its_author_hears_that_it_expired_there),
		T(who_is_not_trusted_slows_down),
		T(refusals_say_why),
		T(a_node_that_boots_in_1970_expires_nothing_when_it_learns_the_time),
		T(refusals_do_not_stop_a_friend),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
