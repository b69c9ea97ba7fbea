/* A - R1 - R2 - B: A and B never share a link unless a test says so, but know each other's Ed25519 keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/text.h"
#include "daemon/courier_internal.h"
#include "daemon/records.h"
#include "daemon/relay.h"
#include "protocol/im2/schema.h"
#include "protocol/im2/seal.h"
#include "store/transit.h"
#include "tests/lib/daemon_world.h"
#include "transports/loopback.h"

#define SECRET "the harvest is under the third stone"

static struct world *w;
static struct side *a, *r1, *r2, *b;

/* --- events of A ------------------------------------------------------------------------------------------------ */
static char seen[256][40];
static size_t seen_n;

static void on_event(void *ctx, const struct node_event *e)
{
	(void)ctx;
	if (seen_n < 256)
		snprintf(seen[seen_n++], sizeof seen[0], "%s", e->type);
}

static unsigned events(const char *type)
{
	unsigned k = 0;

	for (size_t i = 0; i < seen_n; i++)
		k += strcmp(seen[i], type) == 0;
	return k;
}

/* --- the mesh ------------------------------------------------------------------------------------------------------ */
static const char *apart[2]; /* no link between these addresses */
static const char *swallows[2]; /* what goes from the first to the second vanishes */
static uint64_t slow_ms;     /* for each unit between the relays */

static struct loop_fate fate(void *ctx, const char *from, const char *to, struct bytes unit)
{
	struct loop_fate f = { .copies = 1 };

	(void)ctx;
	if (apart[0] && ((strcmp(from, apart[0]) == 0 && strcmp(to, apart[1]) == 0) ||
			 (strcmp(from, apart[1]) == 0 && strcmp(to, apart[0]) == 0)))
		f.cut = true;
	if (swallows[0] && strcmp(from, swallows[0]) == 0 && strcmp(to, swallows[1]) == 0)
		f.copies = 0;
	if (slow_ms && unit.n && strcmp(from, a->address) != 0 && strcmp(to, a->address) != 0 &&
	    strcmp(from, b->address) != 0 && strcmp(to, b->address) != 0)
		f.delay_ms = slow_ms;
	return f;
}

static void cut(struct side *x, struct side *y)
{
	apart[0] = x->address;
	apart[1] = y->address;
	if (side_conn(x, y))
		conn_close(side_conn(x, y), "cut");
	world_pass(w, 1000);
	assert_null(side_conn(x, y));
	assert_null(side_conn(y, x));
}

static void mend(void)
{
	apart[0] = NULL;
	world_pass(w, 130000);
}

static void dial(struct side *from, struct side *to)
{
	assert_int_equal(node_add_target(from->node, to->address, NULL), ERR_OK);
	node_dial_all(from->node);
}

/* Its next life, with the links it dials itself. */
static void start(struct side *s)
{
	side_start(s);
	if (s == a)
		node_observe(a->node, on_event, NULL);
	if (s == a || s == r2)
		dial(s, r1);
	if (s == b)
		dial(b, r2);
	world_pass(w, 15000);
}

static void restart(struct side *s)
{
	side_stop(s);
	world_pass(w, 500);
	start(s);
}

static int setup(void **state)
{
	assert_int_equal(world_setup(state), 0);
	w = *state;
	a = &w->side[0];
	r1 = &w->side[1];
	r2 = &w->side[2];
	b = &w->side[3];
	apart[0] = swallows[0] = NULL;
	slow_ms = 0;
	seen_n = 0;
	loopnet_set_fate(w->net, fate, NULL);
	for (int i = 0; i < SIDES; i++) {
		side_stop(&w->side[i]);
		w->side[i].routing = i == 1 || i == 2 ? ROUTING_RELAY : ROUTING_PASSIVE;
	}
	side_start(r1);
	side_start(r2);
	side_start(a);
	side_start(b);
	node_observe(a->node, on_event, NULL);
	side_know(a, r1);
	side_know(r1, r2);
	side_know(r2, b);
	return 0;
}

static int teardown(void **state)
{
	return world_teardown(state);
}

static void join(void)
{
	dial(a, r1);
	dial(r2, r1);
	dial(b, r2);
	world_pass(w, 10000);
	assert_non_null(side_conn(a, r1));
	assert_non_null(side_conn(r1, r2));
	assert_non_null(side_conn(r2, b));
	assert_null(side_conn(a, b));
}

static void know_and_join(void)
{
	side_know(a, b);
	join();
}

/* --- messages ---------------------------------------------------------------------------------------------------------- */
static void accepted(void *ctx, const char *id, enum err e)
{
	(void)id;
	*(enum err *)ctx = e;
}

static void submit(struct side *from, struct side *to, struct submit s, char id[static MSG_ID_MAX + 1])
{
	enum err e = ERR_LIMIT;
	struct fault f = { 0 };

	s.to = *side_id(to);
	if (!s.ttl_ms)
		s.ttl_ms = 24 * HOUR;
	assert_int_equal(node_submit(from->node, &s, accepted, &e, id, &f), ERR_OK);
	for (int i = 0; i < 8 && e == ERR_LIMIT; i++)
		node_turn(from->node);
	assert_int_equal(e, ERR_OK);
}

static void say(struct side *from, struct side *to, const char *text, char id[static MSG_ID_MAX + 1])
{
	submit(from, to, (struct submit){ .body = bytes_str(text) }, id);
}

static struct outbox_row out(struct side *s, const char *id)
{
	struct outbox_row row;

	assert_int_equal(node_outbox_get(s->node, bytes_str(id), &row), ERR_OK);
	return row;
}

static void assert_shown(struct side *s, const char *id, const char *state)
{
	struct outbox_row row = out(s, id);

	assert_string_equal(outbox_shown(&row), state);
}

static size_t inbox(struct side *s, int state, struct inbox_row *rows, size_t max)
{
	struct inbox_filter f = { .state = state };
	size_t n = 0;

	assert_int_equal(inbox_list(s->store, &f, rows, max, &n), ERR_OK);
	return n;
}

static size_t got(struct side *s)
{
	struct inbox_row rows[300];

	return inbox(s, -1, rows, 300);
}

static void assert_text(struct side *s, int64_t seq, const char *text)
{
	struct buf body;

	buf_init(&body, MSG_BODY_MAX);
	assert_int_equal(inbox_body(s->store, seq, &body), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&body), bytes_str(text)));
	buf_fini(&body);
}

/* What can happen at once happens; nobody's time passes. */
static void flow(void)
{
	for (int i = 0; i < 64; i++) {
		timers_run(&w->env);
		for (int k = 0; k < SIDES; k++)
			for (int t = 0; t < 8 && w->side[k].node && node_wants_turn(w->side[k].node); t++)
				node_turn(w->side[k].node);
	}
}

/* B is gone, and A has not heard of it when it writes. */
static void say_too_late(const char *text, char id[static MSG_ID_MAX + 1])
{
	side_stop(b);
	flow();
	say(a, b, text, id);
	flow();
	world_pass(w, 1000);
	assert_shown(a, id, "stored");
}

/* The object that this relay keeps. */
struct object {
	uint8_t rid[16];
	struct buf rt, body;
};

static void take_stored(struct side *relay, struct object *o)
{
	struct transit_row row;
	size_t n = 0;

	buf_init(&o->rt, IM2_RT_MAX);
	buf_init(&o->body, IM2_ROUTED_BODY_MAX);
	assert_int_equal(transit_list(relay->store, side_id(b), NULL, &row, 1, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_int_equal(transit_read(relay->store, row.seq, &o->rt, &o->body), ERR_OK);
	memcpy(o->rid, row.rid, sizeof o->rid);
}

static void drop(struct object *o)
{
	buf_fini(&o->rt);
	buf_fini(&o->body);
}

static void give(struct side *from, struct side *to, struct bytes rt, struct bytes body)
{
	assert_int_equal(relay_send(side_conn(from, to), rt, body, 4, 0), ERR_OK);
	world_pass(w, 2000);
}

/* --- the way there and back -------------------------------------------------------------------------------------------- */
static void message_crosses_two_relays_and_its_receipt_returns(void **state)
{
	struct inbox_row row;
	static const char *const all[3] = { "one", "two", "three" };
	char id[MSG_ID_MAX + 1];

	(void)state;
	know_and_join();
	/* Also those after the first receipt, which do not introduce their author any more. */
	for (int i = 0; i < 3; i++) {
		say(a, b, all[i], id);
		world_pass(w, 5000);
		assert_shown(a, id, "delivered");
		assert_int_equal(got(b), i + 1);
	}
	assert_int_equal(inbox(b, -1, &row, 1), 1);
	assert_true(node_id_eq(&row.author, side_id(a)));
	assert_true(node_id_eq(&row.via, side_id(r2)));
	assert_int_equal(row.sealed, INBOX_SEALED);
	assert_true(row.proven);
	assert_text(b, row.seq, "one");
	assert_int_equal(a->node->n.sealed_no_fs, 0);
	assert_int_equal(got(r1) + got(r2), 0);
	assert_int_equal(events("message.delivered"), 3);
	/* An answer goes to the author, not to who brought it. */
	say(b, a, "back", id);
	world_pass(w, 5000);
	assert_shown(b, id, "delivered");
	assert_int_equal(inbox(a, -1, &row, 1), 1);
	assert_true(node_id_eq(&row.author, side_id(b)));
	assert_true(node_id_eq(&row.via, side_id(r1)));
}

static void large_message_and_many_small_ones_arrive_once(void **state)
{
	char id[200][MSG_ID_MAX + 1], big[MSG_ID_MAX + 1];
	uint8_t *body = calloc(1, MSG_BODY_MAX);
	uint64_t objects;

	(void)state;
	know_and_join();
	submit(a, b, (struct submit){ .body = bytes_of(body, MSG_BODY_MAX) }, big);
	world_pass(w, 10000);
	assert_shown(a, big, "delivered");
	objects = r1->node->n.relay_forwarded;
	for (int i = 0; i < 200; i++)
		say(a, b, "small", id[i]);
	world_pass(w, 60000);
	for (int i = 0; i < 200; i++)
		assert_shown(a, id[i], "delivered");
	assert_int_equal(got(b), 201);
	/* Many in one object, both ways. */
	assert_true(r1->node->n.relay_forwarded - objects < 60);
	free(body);
}

static void what_was_read_is_said_to_its_author(void **state)
{
	char id[2][MSG_ID_MAX + 1];
	struct inbox_row row[2];
	bool changed;

	(void)state;
	know_and_join();
	for (int i = 0; i < 2; i++)
		submit(a, b, (struct submit){ .body = BYTES_LIT("read me"), .ext = { .flags = MSG_WANTS_READ } }, id[i]);
	world_pass(w, 5000);
	assert_int_equal(inbox(b, -1, row, 2), 2);
	assert_int_equal(node_inbox_read(b->node, row[0].seq, &changed), ERR_OK);
	world_pass(w, 5000);
	assert_shown(a, id[0], "read");
	/* The other is read while its author cannot be reached, and this node ends before he can. */
	cut(r1, r2);
	assert_int_equal(node_inbox_read(b->node, row[1].seq, &changed), ERR_OK);
	world_pass(w, 400000);
	restart(b);
	assert_shown(a, id[1], "delivered");
	mend();
	world_pass(w, 60000);
	assert_shown(a, id[1], "read");
}

static void message_without_receipt_ends_when_it_has_left(void **state)
{
	char id[100][MSG_ID_MAX + 1], last[MSG_ID_MAX + 1];

	(void)state;
	know_and_join();
	for (int i = 0; i < 100; i++)
		submit(a, b, (struct submit){ .body = BYTES_LIT("note"), .ext = { .flags = MSG_NO_RECEIPT } }, id[i]);
	say(a, b, "and this", last);
	world_pass(w, 10000);
	for (int i = 0; i < 100; i++)
		assert_shown(a, id[i], "sent");
	assert_shown(a, last, "delivered");
	assert_int_equal(got(b), 101);
	assert_int_equal(b->node->n.settled_repeats, 0);
}

/* A later object that says what is settled may overtake one whose messages want no receipt. */
static void figure_waits_for_what_left_without_a_receipt(void **state)
{
	char id[MSG_ID_MAX + 1];
	struct object o;

	(void)state;
	know_and_join();
	cut(r2, b);
	world_pass(w, 400000);
	submit(a, b, (struct submit){ .body = BYTES_LIT("note"), .ext = { .flags = MSG_NO_RECEIPT } }, id);
	world_pass(w, 2000);
	assert_shown(a, id, "queued"); /* no way at all by now */
	mend();
	world_pass(w, 60000);
	assert_shown(a, id, "sent");
	assert_int_equal(got(b), 1);
	side_stop(b);
	flow();
	submit(a, b, (struct submit){ .body = BYTES_LIT("late"), .ext = { .flags = MSG_NO_RECEIPT } }, id);
	flow();
	world_pass(w, 1000);
	take_stored(r2, &o);
	start(b);
	assert_int_equal(got(b), 2);
	for (int i = 0; i < 3; i++) {
		say(a, b, "later", id);
		world_pass(w, 5000);
	}
	assert_int_equal(got(b), 5);
	/* The copy of the note is known, not settled. */
	give(r2, b, buf_bytes(&o.rt), buf_bytes(&o.body));
	assert_int_equal(got(b), 5);
	assert_int_equal(b->node->n.settled_repeats, 0);
	drop(&o);
}

/* What the author says is settled leaves the memory of the recipient, though they never meet. */
static void memory_of_repeats_stays_small(void **state)
{
	struct inbox_table t;
	char id[MSG_ID_MAX + 1];

	(void)state;
	know_and_join();
	for (int i = 0; i < 20; i++) {
		say(a, b, "one more", id);
		world_pass(w, 3000);
	}
	assert_shown(a, id, "delivered");
	inbox_table(b->store, &t);
	assert_int_equal(got(b), 20);
	assert_true(t.entries >= 1 && t.entries <= 2);
}

/* --- stored, lost, restarted --------------------------------------------------------------------------------------------- */
static void relay_keeps_it_until_its_recipient_comes(void **state)
{
	char id[MSG_ID_MAX + 1], plain[] = SECRET;
	struct object o;
	struct buf raw;

	(void)state;
	know_and_join();
	say(a, b, "first", id); /* its key is known */
	world_pass(w, 5000);
	say_too_late(SECRET, id);
	assert_int_equal(events("message.stored"), 1);
	/* What the relay has tells neither what is said nor who says it. */
	take_stored(r2, &o);
	buf_init(&raw, 2 << 20);
	buf_add(&raw, buf_bytes(&o.rt));
	buf_add(&raw, buf_bytes(&o.body));
	for (size_t n = 6; n + 6 < sizeof plain; n += 6)
		assert_null(memmem(raw.p, raw.n, plain + n, 6));
	assert_null(memmem(raw.p, raw.n, keyring_ed(a->keyring), ED_BYTES));
	assert_null(memmem(raw.p, raw.n, keyring_x25519(a->keyring), X25519_BYTES));
	assert_null(memmem(raw.p, raw.n, side_id(a)->hex, NODE_ID_LEN));
	{
		uint8_t id16[16];

		assert_int_equal(hex_decode(bytes_of(side_id(a)->hex, NODE_ID_LEN), id16, 16), ERR_OK);
		assert_null(memmem(raw.p, raw.n, id16, 16));
	}
	buf_fini(&raw);
	drop(&o);
	/* The relay forgets nothing either when it restarts. */
	restart(r2);
	start(b);
	world_pass(w, 60000);
	assert_int_equal(got(b), 2);
	assert_shown(a, id, "delivered");
}

static void author_that_restarts_sends_it_again_and_it_arrives_once(void **state)
{
	char id[MSG_ID_MAX + 1];

	(void)state;
	know_and_join();
	say(a, b, "first", id);
	world_pass(w, 5000);
	say_too_late("twice?", id);
	restart(a); /* it does not know that it has left */
	assert_int_equal(out(a, id).state == OUTBOX_DELIVERED, false);
	start(b);
	world_pass(w, 200000);
	assert_int_equal(got(b), 2);
	assert_shown(a, id, "delivered");
}

/* Its receipt could not leave in its first life, since no key of the author was there. */
static void recipient_that_restarts_still_owes_the_receipt(void **state)
{
	char id[MSG_ID_MAX + 1];

	(void)state;
	know_and_join();
	say(a, b, "first", id);
	world_pass(w, 5000);
	b->seal_refuse = true;
	restart(b);
	slow_ms = 8000;
	records_forget(b->node, keyring_ed(a->keyring));
	records_forget(r2->node, keyring_ed(a->keyring));
	say(a, b, "kept", id);
	world_pass(w, 10000);
	assert_int_equal(got(b), 2);
	assert_int_equal(b->node->n.receipts_sent, 0);
	slow_ms = 0;
	restart(b);
	/* Long before its author sends it again. */
	assert_shown(a, id, "delivered");
	assert_int_equal(a->node->n.messages_resent, 0);
	assert_int_equal(b->node->n.messages_repeated, 0);
}

static void lost_link_makes_it_go_again_when_it_is_mended(void **state)
{
	char id[MSG_ID_MAX + 1];

	(void)state;
	know_and_join();
	say(a, b, "first", id);
	world_pass(w, 5000);
	cut(a, r1);
	say(a, b, "second", id);
	world_pass(w, 60000);
	assert_shown(a, id, "queued");
	assert_int_equal(got(b), 1);
	mend();
	assert_shown(a, id, "delivered");
	assert_int_equal(got(b), 2);
}

static void session_of_its_own_takes_over(void **state)
{
	char id[3][MSG_ID_MAX + 1];

	(void)state;
	know_and_join();
	say(a, b, "first", id[0]);
	world_pass(w, 5000);
	cut(r2, b);
	say(a, b, "second", id[1]);
	world_pass(w, 2000);
	side_meet(a, b);
	world_pass(w, 2000);
	assert_shown(a, id[1], "delivered");
	mend();
	say(a, b, "third", id[2]);
	world_pass(w, 60000);
	assert_shown(a, id[2], "delivered");
	assert_int_equal(got(b), 3);
	/* And when it ends, the relays are there again. */
	cut(a, b);
	say(a, b, "fourth", id[2]);
	world_pass(w, 20000);
	assert_shown(a, id[2], "delivered");
	assert_int_equal(got(b), 4);
}

static void expired_or_cancelled_is_not_sent_again(void **state)
{
	struct submit s = { .body = BYTES_LIT("soon over"), .ttl_ms = 30000 };
	char id[2][MSG_ID_MAX + 1];
	uint64_t sent;

	(void)state;
	know_and_join();
	say(a, b, "first", id[0]);
	world_pass(w, 5000);
	side_stop(b);
	flow();
	submit(a, b, s, id[0]);
	say(a, b, "not after all", id[1]);
	flow();
	world_pass(w, 2000);
	assert_int_equal(node_outbox_cancel(a->node, bytes_str(id[1]), NULL), ERR_OK);
	world_pass(w, 40000);
	assert_shown(a, id[0], "expired");
	assert_shown(a, id[1], "cancelled");
	sent = a->node->n.sealed_sent;
	world_pass(w, 3 * HOUR);
	assert_int_equal(a->node->n.sealed_sent, sent);
}

/* --- who may write ----------------------------------------------------------------------------------------------------------- */
static void stranger_behind_relays_waits_for_approval(void **state)
{
	struct node_id was_via;
	struct inbox_row row;
	char id[MSG_ID_MAX + 1];

	(void)state;
	assert_int_equal(pins_pin(a->pins, keyring_ed(b->keyring), "bee", world_wall_ms(w), NULL), ERR_OK);
	join();
	say(a, b, "may I?", id);
	world_pass(w, 5000);
	assert_int_equal(got(b), 0);
	assert_int_equal(inbox(b, INBOX_HELD, &row, 1), 1);
	assert_int_equal(pins_get(b->pins, side_id(a))->state, PIN_PENDING);
	assert_string_equal(pins_get(b->pins, side_id(a))->via, "relay");
	assert_shown(a, id, "sent");
	assert_non_null(strstr(out(a, id).reason, "approval"));
	was_via = row.via;
	assert_true(node_id_eq(&was_via, side_id(r2)));
	assert_int_equal(node_peer_approve(b->node, side_id(a), NULL), ERR_OK);
	world_pass(w, 5000);
	assert_int_equal(got(b), 1);
	assert_shown(a, id, "delivered");
}

static void stranger_that_nobody_admits_hears_of_it(void **state)
{
	struct submit s = { .body = BYTES_LIT("may I?"), .ttl_ms = HOUR };
	char id[2][MSG_ID_MAX + 1];

	(void)state;
	assert_int_equal(pins_pin(a->pins, keyring_ed(b->keyring), "bee", world_wall_ms(w), NULL), ERR_OK);
	join();
	submit(a, b, s, id[0]);
	world_pass(w, 5000);
	world_pass(w, HOUR + 200000);
	assert_shown(a, id[0], "expired");
	/* Its life is over, however long its id is remembered. */
	struct inbox_row row;

	assert_int_equal(inbox(b, INBOX_HELD, &row, 1), 0);
	say(a, b, "and now?", id[1]);
	world_pass(w, 10000);
	assert_int_equal(node_peer_block(b->node, side_id(a), "no", NULL), ERR_OK);
	world_pass(w, 10000);
	assert_int_equal(got(b), 0);
	say(a, b, "please", id[1]);
	world_pass(w, 200000);
	assert_int_equal(got(b), 0);
	assert_int_equal(inbox(b, INBOX_HELD, &row, 1), 0);
	assert_true(b->node->n.sealed_refused > 0);
}

/* B does not answer A, so that A tries again and again, as long as it may. */
static void nothing_goes_to_whom_we_do_not_trust_any_more(void **state)
{
	char id[MSG_ID_MAX + 1];
	uint64_t sent;

	(void)state;
	know_and_join();
	assert_int_equal(node_peer_block(b->node, side_id(a), "no", NULL), ERR_OK);
	say(a, b, "please", id);
	world_pass(w, 10 * 60000);
	assert_true(a->node->n.sealed_sent >= 3);
	assert_int_equal(node_peer_block(a->node, side_id(b), "no", NULL), ERR_OK);
	sent = a->node->n.sealed_sent;
	world_pass(w, 4 * HOUR);
	assert_int_equal(a->node->n.sealed_sent, sent);
}

/* Nor what was given to a neighbour and not answered by it. */
static void nothing_is_given_again_for_whom_we_have_blocked(void **state)
{
	char id[MSG_ID_MAX + 1];
	uint64_t again;

	(void)state;
	know_and_join();
	swallows[0] = a->address;
	swallows[1] = r1->address;
	say(a, b, "please", id);
	world_pass(w, 6500);
	again = a->node->n.relay_again;
	assert_int_equal(again, 1);
	assert_int_equal(node_peer_block(a->node, side_id(b), "no", NULL), ERR_OK);
	world_pass(w, 40000);
	assert_int_equal(a->node->n.relay_again, again);
}

static uint64_t handed(void)
{
	struct relay_view v;

	relay_view(r2->node, &v);
	return v.heard[ROUTEFB_HANDED];
}

/* Whoever brought what the disk refuses gives it again. */
static void what_the_disk_refuses_is_not_called_handed_over(void **state)
{
	struct im2_fields f = { .schema = &im2_routed };
	struct session_event e = { .type = SESSION_EV_ITEM, .tag = IM2_ITEM_ROUTED };
	char id[MSG_ID_MAX + 1];
	struct object o;
	struct buf item;
	uint64_t was;

	(void)state;
	know_and_join();
	say(a, b, "first", id);
	world_pass(w, 5000);
	say_too_late("second", id);
	take_stored(r2, &o);
	start(b);
	assert_int_equal(got(b), 2);
	buf_init(&item, 65536);
	im2_set_b(&f, IM2_ROUTED_RT, buf_bytes(&o.rt));
	im2_set_b(&f, IM2_ROUTED_BODY, buf_bytes(&o.body));
	im2_set_u(&f, IM2_ROUTED_HOPS, 4);
	im2_write(&im2_routed, &f, &item);
	e.item = buf_bytes(&item);
	was = handed();
	b->node->group_failed = true;
	node_want_turn(b->node);
	relay_item(side_conn(b, r2), &e);
	world_pass(w, 3000);
	assert_int_equal(handed(), was);
	relay_item(side_conn(b, r2), &e);
	world_pass(w, 3000);
	assert_true(handed() > was); /* and so is the receipt, which goes again */
	assert_int_equal(got(b), 2);
	buf_fini(&item);
	drop(&o);
}

/* The same bytes go again as long as the prekey opens them, then it is sealed anew; and all that while its state is true. */
static void what_nobody_answers_goes_again_and_again(void **state)
{
	char id[MSG_ID_MAX + 1];
	uint64_t tries;

	(void)state;
	know_and_join();
	assert_int_equal(node_peer_block(b->node, side_id(a), "no", NULL), ERR_OK);
	submit(a, b, (struct submit){ .body = BYTES_LIT("please"), .ttl_ms = 30 * 24 * HOUR }, id);
	world_pass(w, 5000);
	assert_int_equal(a->node->n.sealed_sent, 1);
	assert_shown(a, id, "sent");
	world_pass(w, 40000); /* 60 s, less a fifth */
	assert_int_equal(a->node->n.sealed_sent, 1);
	world_pass(w, 35000);
	assert_int_equal(a->node->n.sealed_sent, 2);
	world_pass(w, 24 * HOUR);
	tries = a->node->n.sealed_sent;
	assert_true(tries > 24 && tries < 80); /* every half hour by then */
	world_pass(w, 30 * HOUR); /* more than the prekey opens */
	assert_true(a->node->n.sealed_sent > tries + 20);
	assert_int_equal(pins_forget(b->pins, side_id(a)), ERR_OK);
	assert_int_equal(pins_pin(b->pins, keyring_ed(a->keyring), "a", world_wall_ms(w), NULL), ERR_OK);
	world_pass(w, HOUR);
	assert_shown(a, id, "delivered");
	assert_int_equal(got(b), 1);
	assert_int_equal(a->node->n.sealed_no_fs, 0);
}

/* --- hostile relays ---------------------------------------------------------------------------------------------------------- */
static void whatever_a_relay_changes_is_refused(void **state)
{
	char id[MSG_ID_MAX + 1];
	struct object o;
	uint64_t refused;

	(void)state;
	know_and_join();
	say(a, b, "first", id);
	world_pass(w, 5000);
	say_too_late(SECRET, id);
	take_stored(r2, &o);
	start(b);
	assert_int_equal(got(b), 2);
	assert_shown(a, id, "delivered");
	refused = b->node->n.sealed_refused;
	for (size_t i = 0; i < o.body.n; i += 7) {
		o.body.p[i] ^= 1;
		give(r2, b, buf_bytes(&o.rt), buf_bytes(&o.body));
		o.body.p[i] ^= 1;
		assert_int_equal(b->node->n.sealed_refused, ++refused);
	}
	for (size_t n = 0; n < o.body.n; n += n < 100 ? 9 : 41) {
		if (!n)
			continue;
		give(r2, b, buf_bytes(&o.rt), bytes_of(o.body.p, n));
		assert_int_equal(b->node->n.sealed_refused, ++refused);
	}
	/* Another life, priority, prekey: the header is bound in. */
	struct im2_rt rt;
	struct buf other;

	buf_init(&other, IM2_RT_MAX);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(im2_rt_parse(buf_bytes(&o.rt), &rt), IM2_FINE);
		if (i == 0)
			rt.ttl_s++;
		else if (i == 1)
			rt.prio = rt.prio == 3 ? 2 : 3;
		else
			memset(rt.prekey, 0, sizeof rt.prekey);
		buf_reset(&other);
		im2_rt_write(&rt, &other);
		give(r2, b, buf_bytes(&other), buf_bytes(&o.body));
		assert_int_equal(b->node->n.sealed_refused, ++refused);
	}
	buf_fini(&other);
	assert_int_equal(got(b), 2);
	assert_int_equal(side_audited(b, "E2E_DECRYPT_FAILURE") > 0, true);
	/* Said again it is known, and answered again. */
	refused = b->node->n.sealed_refused;
	for (int i = 0; i < 3; i++)
		give(r2, b, buf_bytes(&o.rt), buf_bytes(&o.body));
	assert_int_equal(b->node->n.sealed_refused, refused);
	assert_int_equal(b->node->n.messages_repeated, 3);
	assert_int_equal(got(b), 2);
	drop(&o);
}

/* A relay that seals on its own can only speak for itself. */
static void relay_cannot_speak_for_another(void **state)
{
	static const uint8_t era[8] = { 1 };
	struct message m = { .type = BYTES_LIT("MSG"), .source = *side_id(a), .destination = *side_id(b),
			     .created_ms = WALL, .priority = PRIO_NORMAL, .body = BYTES_LIT("I am A"), .has_wire_id = true,
			     .ext = { .ttl_s = 3600 } };
	struct im2_seal_to to = { .name = "A", .ttl_s = 3600, .prio = 1, .allow_fallback = true, .introduce = true };
	struct buf smsg, items, rt, body;
	struct im2_sealed sealed;
	struct inbox_row row;
	uint64_t refused;

	(void)state;
	know_and_join();
	memcpy(m.wire_id, era, 8);
	m.wire_id[15] = 1;
	memcpy(to.ed, keyring_ed(b->keyring), ED_BYTES);
	memcpy(to.x, keyring_x25519(b->keyring), X25519_BYTES);
	buf_init(&smsg, 4096);
	buf_init(&items, 4096);
	buf_init(&rt, IM2_RT_MAX);
	buf_init(&body, 8192);
	assert_int_equal(im2_smsg_write(r2->keyring, &m, 1, keyring_ed(b->keyring), &smsg), ERR_OK);
	im2_item_add(&items, IM2_ITEM_SMSG, buf_bytes(&smsg));
	assert_int_equal(im2_seal(&w->env, r2->keyring, &to, world_wall_ms(w), buf_bytes(&items), &rt, &body, &sealed),
			 IM2_FINE);
	refused = b->node->n.sealed_refused;
	/* Written with our own from by the writer: it is R2's message, and so it is shown. */
	give(r2, b, buf_bytes(&rt), buf_bytes(&body));
	assert_int_equal(inbox(b, -1, &row, 1), 1);
	assert_true(node_id_eq(&row.author, side_id(r2)));
	assert_int_equal(row.sealed, INBOX_SEALED_NO_FS);
	assert_int_equal(b->node->n.sealed_refused, refused);
	/* Signed by A, sealed by R2: the sender is not the author. */
	buf_reset(&smsg);
	buf_reset(&items);
	buf_reset(&rt);
	buf_reset(&body);
	assert_int_equal(im2_smsg_write(a->keyring, &m, 1, keyring_ed(b->keyring), &smsg), ERR_OK);
	im2_item_add(&items, IM2_ITEM_SMSG, buf_bytes(&smsg));
	assert_int_equal(im2_seal(&w->env, r2->keyring, &to, world_wall_ms(w), buf_bytes(&items), &rt, &body, &sealed),
			 IM2_FINE);
	give(r2, b, buf_bytes(&rt), buf_bytes(&body));
	assert_int_equal(b->node->n.sealed_refused, refused + 1);
	assert_int_equal(got(b), 1);
	buf_fini(&smsg);
	buf_fini(&items);
	buf_fini(&rt);
	buf_fini(&body);
}

/* A way that takes everything and gives nothing: another one is tried, and then preferred. */
static void relay_that_swallows_is_gone_around(void **state)
{
	char id[MSG_ID_MAX + 1];
	struct side *bad;
	uint64_t before;

	(void)state;
	side_know(a, b);
	side_know(a, r2);
	side_know(r1, b);
	dial(a, r1);
	dial(a, r2);
	dial(b, r1);
	dial(b, r2);
	world_pass(w, 10000);
	say(a, b, "first", id);
	world_pass(w, 5000);
	assert_shown(a, id, "delivered");
	/* Whichever is used now swallows from now on. */
	bad = routes_next(a->node, side_id(b), NULL) == side_conn(a, r1) ? r1 : r2;
	swallows[0] = bad->address;
	swallows[1] = b->address;
	say(a, b, "second", id);
	world_pass(w, 5000);
	assert_int_equal(got(b), 1);
	world_pass(w, 75000);
	assert_shown(a, id, "delivered");
	assert_int_equal(got(b), 2);
	before = a->node->n.messages_resent;
	world_pass(w, 200000);
	say(a, b, "third", id);
	world_pass(w, 5000);
	assert_shown(a, id, "delivered");
	assert_int_equal(a->node->n.messages_resent, before);
}

static void copies_in_any_order_arrive_once(void **state)
{
	struct object o[3];
	char id[3][MSG_ID_MAX + 1];
	struct destination *d;

	(void)state;
	know_and_join();
	say(a, b, "first", id[0]);
	world_pass(w, 5000);
	swallows[0] = r1->address;
	swallows[1] = r2->address;
	for (int i = 0; i < 3; i++) {
		say(a, b, "one of three", id[i]);
		w->now_ms += 10; /* each in an object of its own */
		flow();
		d = courier_find(a->node->courier, side_id(b));

		const struct parcel *p = list_entry(d->parcels.prev, struct parcel, link);

		assert_int_equal(p->n, 1);
		assert_int_equal(d->letters, i + 1);
		buf_init(&o[i].rt, IM2_RT_MAX);
		buf_init(&o[i].body, IM2_ROUTED_BODY_MAX);
		buf_add(&o[i].rt, bytes_of(p->rt, p->rt_n));
		buf_add(&o[i].body, bytes_of(p->body, p->body_n));
	}
	swallows[0] = NULL;
	assert_int_equal(got(b), 1);
	for (int round = 0; round < 2; round++)
		for (int i = 2; i >= 0; i--)
			give(r2, b, buf_bytes(&o[i].rt), buf_bytes(&o[i].body));
	assert_int_equal(got(b), 4);
	assert_true(b->node->n.messages_repeated >= 3);
	world_pass(w, 5000);
	for (int i = 0; i < 3; i++) {
		assert_shown(a, id[i], "delivered");
		drop(&o[i]);
	}
}

static void volatile_messages_are_never_relayed(void **state)
{
	struct submit s = { .to = *side_id(b), .body = BYTES_LIT("now"), .ttl_ms = 60000 };
	char id[MSG_ID_MAX + 1];
	struct fault f = { 0 };

	(void)state;
	know_and_join();
	assert_int_equal(node_send_volatile(a->node, &s, id, &f), ERR_CLOSED);
	world_pass(w, 5000);
	assert_int_equal(a->node->n.sealed_sent, 0);
}

/* One neighbour cannot fill the trust store with people that it makes up. */
static void neighbour_brings_few_strangers_at_once(void **state)
{
	(void)state;
	know_and_join();
	for (int i = 0; i < 40; i++) {
		struct message m = { .type = BYTES_LIT("MSG"), .destination = *side_id(b), .created_ms = WALL,
				     .priority = PRIO_NORMAL, .body = BYTES_LIT("hello"), .has_wire_id = true,
				     .wire_id = { [0] = 1, [15] = 1 }, .ext = { .ttl_s = 3600 } };
		struct im2_seal_to to = { .name = "x", .ttl_s = 3600, .prio = 1, .allow_fallback = true, .introduce = true };
		struct buf smsg, items, rt, body;
		struct im2_sealed sealed;
		struct keyring *who;

		assert_int_equal(keyring_generate(&w->env, &who), ERR_OK);
		m.source = *keyring_id(who);
		memcpy(to.ed, keyring_ed(b->keyring), ED_BYTES);
		memcpy(to.x, keyring_x25519(b->keyring), X25519_BYTES);
		buf_init(&smsg, 4096);
		buf_init(&items, 4096);
		buf_init(&rt, IM2_RT_MAX);
		buf_init(&body, 8192);
		assert_int_equal(im2_smsg_write(who, &m, 1, keyring_ed(b->keyring), &smsg), ERR_OK);
		im2_item_add(&items, IM2_ITEM_SMSG, buf_bytes(&smsg));
		assert_int_equal(im2_seal(&w->env, who, &to, world_wall_ms(w), buf_bytes(&items), &rt, &body, &sealed),
				 IM2_FINE);
		assert_int_equal(relay_send(side_conn(r2, b), buf_bytes(&rt), buf_bytes(&body), 4, 0), ERR_OK);
		flow();
		buf_fini(&smsg);
		buf_fini(&items);
		buf_fini(&rt);
		buf_fini(&body);
		keyring_free(who);
	}
	assert_int_equal(pins_count_state(b->pins, PIN_PENDING), 10);
	assert_int_equal(got(b), 0);
}

/* Feedback is a hint of a neighbour, about what that neighbour has. */
static void feedback_only_hints(void **state)
{
	char id[MSG_ID_MAX + 1];
	uint8_t made_up[16] = { 1 };
	struct object o;

	(void)state;
	know_and_join();
	say(a, b, "first", id);
	world_pass(w, 5000);
	say_too_late("second", id);
	take_stored(r2, &o);
	relay_feedback(side_conn(r1, a), made_up, ROUTEFB_NO_ROUTE, 0);
	world_pass(w, 1000);
	assert_shown(a, id, "stored");
	assert_int_equal(events("message.unreachable"), 0);
	relay_feedback(side_conn(r1, a), o.rid, ROUTEFB_NO_ROUTE, 0);
	world_pass(w, 1000);
	assert_shown(a, id, "queued");
	assert_int_equal(events("message.unreachable"), 1);
	/* Nobody has it now: there is nothing to say about it. */
	for (int i = 0; i < 5; i++)
		relay_feedback(side_conn(r1, a), o.rid, ROUTEFB_NO_PREKEY, 0);
	world_pass(w, 200000);
	assert_true(out(a, id).state != OUTBOX_FAILED);
	for (int i = 0; i < 20; i++) {
		relay_feedback(side_conn(r1, a), o.rid, ROUTEFB_NO_PREKEY, 0);
		world_pass(w, 3000);
	}
	assert_int_equal(a->node->n.sealed_no_fs, 0); /* never the long-term key because of a hint */
	start(b);
	world_pass(w, 400000);
	assert_shown(a, id, "delivered");
	assert_int_equal(got(b), 2);
	drop(&o);
}

/* However long it says that it takes nothing. */
static void full_relay_is_asked_again_within_half_an_hour(void **state)
{
	char id[MSG_ID_MAX + 1];
	struct object o;

	(void)state;
	know_and_join();
	say_too_late("the harvest", id);
	take_stored(r2, &o);
	relay_feedback(side_conn(r1, a), o.rid, ROUTEFB_QUOTA, UINT32_MAX);
	world_pass(w, 1000);
	assert_shown(a, id, "queued");
	world_pass(w, 1801000);
	assert_int_equal(out(a, id).attempts, 1);
	drop(&o);
}

static uint64_t penalty_ms(struct side *to)
{
	struct route_view v[8];
	size_t n = routes_views(a->node, v, 8);

	for (size_t i = 0; i < n; i++)
		if (node_id_eq(&v[i].to, side_id(to)))
			return v[i].penalty_ms;
	fail_msg("no way");
	return 0;
}

/* All in one round: the answer to each of them counts. */
static void every_penalised_way_is_probed(void **state)
{
	char id[MSG_ID_MAX + 1];

	(void)state;
	side_know(a, r2);
	know_and_join();
	say(a, b, "we have met", id);
	say(a, r2, "we too", id);
	world_pass(w, 10000);
	for (int i = 0; i < 3; i++) {
		routes_unanswered(a->node, side_id(r2), side_id(r1));
		routes_unanswered(a->node, side_id(b), side_id(r1));
	}
	assert_true(penalty_ms(r2) > 0);
	assert_true(penalty_ms(b) > 0);
	world_pass(w, 65000);
	assert_int_equal(penalty_ms(r2), 0);
	assert_int_equal(penalty_ms(b), 0);
}

/* Hundreds of questions fit into one object; what they cost is one. */
static void object_full_of_questions_is_answered_once(void **state)
{
	struct im2_sealed sealed;
	struct buf items, rt, body;
	char id[MSG_ID_MAX + 1];
	uint64_t was;

	(void)state;
	know_and_join();
	say(a, b, "first", id);
	world_pass(w, 5000);
	buf_init(&items, 65536);
	buf_init(&rt, IM2_RT_MAX);
	buf_init(&body, 131072);
	for (int i = 0; i < 250; i++)
		im2_item_add(&items, IM2_ITEM_PING, BYTES_LIT("question"));
	assert_int_equal(courier_wrap(a->node->courier, side_id(b), buf_bytes(&items), 600, PRIO_NORMAL, true, &rt, &body, &sealed),
			 ERR_OK);
	was = r2->node->n.relay_forwarded;
	assert_int_equal(relay_send(side_conn(a, r1), buf_bytes(&rt), buf_bytes(&body), RELAY_HOPS, 0), ERR_OK);
	world_pass(w, 3000);
	assert_int_equal(r2->node->n.relay_forwarded - was, 2); /* there and back */
	buf_fini(&items);
	buf_fini(&rt);
	buf_fini(&body);
}

/* The recipient has lost its prekeys: with its new one everything is sealed anew, under the same id. */
static void lost_prekey_is_replaced(void **state)
{
	char id[MSG_ID_MAX + 1];

	(void)state;
	know_and_join();
	say(a, b, "first", id);
	world_pass(w, 5000);
	say_too_late("second", id);
	/* All of its state but its identity is gone. */
	assert_int_equal(remove(side_file(b, "db")), 0);
	start(b);
	world_pass(w, 400000);
	assert_shown(a, id, "delivered");
	assert_int_equal(got(b), 1);
	assert_int_equal(a->node->n.sealed_no_fs, 0);
}

/* --- keys ------------------------------------------------------------------------------------------------------------------- */
/* A knows the long-term key of B, and no answer about a prekey comes in time. */
static void without_a_prekey(bool refuse, char id[static MSG_ID_MAX + 1])
{
	side_stop(a);
	a->seal_refuse = refuse;
	side_start(a);
	know_and_join();
	say(b, a, "hello", id);
	world_pass(w, 5000);
	assert_true(pins_get(a->pins, side_id(b))->has_x25519);
	slow_ms = 25000;
	records_forget(a->node, keyring_ed(b->keyring));
	records_forget(r1->node, keyring_ed(b->keyring));
	say(a, b, "hello yourself", id);
	world_pass(w, 10000);
}

static void without_a_prekey_it_goes_marked(void **state)
{
	char id[MSG_ID_MAX + 1];
	struct inbox_row row;

	(void)state;
	without_a_prekey(false, id);
	assert_shown(a, id, "sent");
	assert_non_null(strstr(out(a, id).reason, "forward secrecy"));
	assert_int_equal(a->node->n.sealed_no_fs, 1);
	world_pass(w, 120000);
	assert_shown(a, id, "delivered");
	assert_int_equal(inbox(b, -1, &row, 1), 1);
	assert_int_equal(row.sealed, INBOX_SEALED_NO_FS);
}

static void without_a_prekey_it_fails_where_that_is_asked_for(void **state)
{
	char id[MSG_ID_MAX + 1];

	(void)state;
	without_a_prekey(true, id);
	assert_shown(a, id, "queued");
	world_pass(w, 30000);
	assert_shown(a, id, "failed");
	assert_non_null(strstr(out(a, id).reason, "E2E_REQUIRED"));
	world_pass(w, 60000);
	/* What comes later finds the key. */
	slow_ms = 0;
	world_pass(w, 60000);
	say(a, b, "again", id);
	world_pass(w, 60000);
	assert_shown(a, id, "delivered");
	assert_int_equal(a->node->n.sealed_no_fs, 0);
	assert_int_equal(got(b), 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(message_crosses_two_relays_and_its_receipt_returns),
		T(large_message_and_many_small_ones_arrive_once),
		T(what_was_read_is_said_to_its_author),
		T(message_without_receipt_ends_when_it_has_left),
		T(figure_waits_for_what_left_without_a_receipt),
		T(memory_of_repeats_stays_small),
		T(relay_keeps_it_until_its_recipient_comes),
		T(author_that_restarts_sends_it_again_and_it_arrives_once),
		T(recipient_that_restarts_still_owes_the_receipt),
		T(lost_link_makes_it_go_again_when_it_is_mended),
		T(session_of_its_own_takes_over),
		T(expired_or_cancelled_is_not_sent_again),
		T(stranger_behind_relays_waits_for_approval),
		T(stranger_that_nobody_admits_hears_of_it),
		T(nothing_goes_to_whom_we_do_not_trust_any_more),
		T(nothing_is_given_again_for_whom_we_have_blocked),
		T(what_the_disk_refuses_is_not_called_handed_over),
		T(what_nobody_answers_goes_again_and_again),
		T(whatever_a_relay_changes_is_refused),
		T(relay_cannot_speak_for_another),
		T(relay_that_swallows_is_gone_around),
		T(copies_in_any_order_arrive_once),
		T(volatile_messages_are_never_relayed),
		T(neighbour_brings_few_strangers_at_once),
		T(feedback_only_hints),
		T(full_relay_is_asked_again_within_half_an_hour),
		T(every_penalised_way_is_probed),
		T(object_full_of_questions_is_answered_once),
		T(lost_prekey_is_replaced),
		T(without_a_prekey_it_goes_marked),
		T(without_a_prekey_it_fails_where_that_is_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
