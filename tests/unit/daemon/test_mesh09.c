/* Nodes of the old wire in virtual time: routes, relays, messages behind them, and the receipts that come back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/mesh09_internal.h"
#include "tests/lib/daemon_world.h"
#include "transports/loopback.h"

#define A (&w->side[0])
#define B (&w->side[1])
#define C (&w->side[2])
#define D (&w->side[3])

static struct world *w;

/* --- events, and a net that loses ----------------------------------------------------------------------------- */
static char seen[256][40];
static char why[256][80];
static size_t seen_n;
static const char *swallows[2]; /* what goes from the first to the second vanishes */

static void on_event(void *ctx, const struct node_event *e)
{
	if (seen_n == 256)
		return;
	snprintf(why[seen_n], sizeof why[0], "%s %s", e->msg_id ? e->msg_id : "", e->reason ? e->reason : "");
	snprintf(seen[seen_n++], sizeof seen[0], "%s", e->type);
}

static unsigned events(const char *type)
{
	unsigned k = 0;

	for (size_t i = 0; i < seen_n; i++)
		k += strcmp(seen[i], type) == 0;
	return k;
}

static struct loop_fate fate(void *ctx, const char *from, const char *to, struct bytes unit)
{
	struct loop_fate f = { .copies = 1 };

	if (swallows[0] && strcmp(from, swallows[0]) == 0 && strcmp(to, swallows[1]) == 0)
		f.copies = 0;
	return f;
}

/* --- the mesh --------------------------------------------------------------------------------------------------- */
static int setup(void **state)
{
	assert_int_equal(world_setup(state), 0);
	w = *state;
	seen_n = 0;
	swallows[0] = NULL;
	loopnet_set_fate(w->net, fate, NULL);
	return 0;
}

static void modes(const char *letters)
{
	for (int i = 0; i < SIDES; i++) {
		struct side *s = &w->side[i];

		side_stop(s);
		s->old = true;
		s->routing = letters[i] == 'r' ? ROUTING_RELAY : letters[i] == 'p' ? ROUTING_PASSIVE : ROUTING_OFF;
		side_start(s);
	}
	node_observe(A->node, on_event, NULL);
}

static void join(struct side *a, struct side *b)
{
	enum err e = node_add_target(a->node, b->address, NULL);

	assert_true(e == ERR_OK || e == ERR_EXISTS);
	node_dial_all(a->node);
	for (int i = 0; i < 120 && !side_conn(a, b); i++)
		world_pass(w, 1000);
	assert_non_null(side_conn(a, b));
	assert_non_null(side_conn(b, a));
	assert_false(side_conn(a, b)->im2);
}

/* And `a` does not dial again. */
static void cut(struct side *a, struct side *b)
{
	struct conn *c = side_conn(a, b);

	assert_non_null(c);
	conn_close(c, "cut");
	world_pass(w, 100);
	for (size_t i = 0; i < a->node->target_count; i++)
		if (strcmp(a->node->targets[i]->address, b->address) == 0) {
			timer_stop(a->node->env, &a->node->targets[i]->timer);
			/* Or it would be dialled as soon as something waits for it. */
			snprintf(a->node->targets[i]->address, sizeof a->node->targets[i]->address, "nowhere:1");
		}
	assert_null(side_conn(a, b));
	assert_null(side_conn(b, a));
}

/* They have talked once: each knows the keys of the other. */
static void met(struct side *a, struct side *b)
{
	side_know(a, b);
	join(a, b);
	world_pass(w, 1000);
	cut(a, b);
}

/* It has confirmed something once. */
static void confirms(struct side *at, struct side *whom)
{
	mesh09_confirmed(at->node, side_id(whom));
	assert_true(pins_get(at->pins, side_id(whom))->confirms);
}

static void chain(const char *letters)
{
	modes(letters);
	met(A, D);
	side_know(A, B);
	side_know(B, C);
	side_know(C, D);
	join(A, B);
	join(B, C);
	join(C, D);
	world_pass(w, 95000);
}

static void diamond(void)
{
	modes("prrp");
	met(A, D);
	confirms(A, D);
	side_know(A, B);
	side_know(B, D);
	side_know(A, C);
	side_know(C, D);
	join(A, B);
	join(B, D);
	join(A, C);
	join(C, D);
	world_pass(w, 65000);
}

static struct side *next_of(struct side *from, struct side *to)
{
	struct node_id via;

	if (!routes09_next(from->node->mesh09->table, side_id(to), NULL, NULL, w->now_ms, &via))
		return NULL;
	for (int i = 0; i < SIDES; i++)
		if (node_id_eq(side_id(&w->side[i]), &via))
			return &w->side[i];
	return NULL;
}

/* --- messages ----------------------------------------------------------------------------------------------------- */
static void accepted(void *ctx, const char *id, enum err e)
{
	*(enum err *)ctx = e;
}

static void say(struct side *from, struct side *to, const char *text, char id[static MSG_ID_MAX + 1])
{
	struct submit s = { .to = *side_id(to), .ttl_ms = 24 * HOUR, .body = bytes_str(text) };
	enum err e = ERR_LIMIT;
	struct fault f = { 0 };

	assert_int_equal(node_submit(from->node, &s, accepted, &e, id, &f), ERR_OK);
	for (int i = 0; i < 8 && e == ERR_LIMIT; i++)
		node_turn(from->node);
	assert_int_equal(e, ERR_OK);
}

static struct outbox_row out(struct side *s, const char *id)
{
	struct outbox_row row;

	assert_int_equal(node_outbox_get(s->node, bytes_str(id), &row), ERR_OK);
	return row;
}

static void assert_state(struct side *s, const char *id, enum outbox_state state)
{
	struct outbox_row row = out(s, id);

	assert_string_equal(outbox_state_word(row.state), outbox_state_word(state));
}

static size_t inbox(struct side *s, struct inbox_row *rows, size_t max)
{
	struct inbox_filter f = { .state = -1 };
	size_t n = 0;

	assert_int_equal(inbox_list(s->store, &f, rows, max, &n), ERR_OK);
	return n;
}

/* The only one, by `author`, brought by `via`. */
static struct inbox_row assert_got(struct side *s, struct side *author, struct side *via)
{
	struct inbox_row rows[4];

	assert_int_equal(inbox(s, rows, 4), 1);
	assert_true(node_id_eq(&rows[0].author, side_id(author)));
	assert_true(node_id_eq(&rows[0].via, side_id(via)));
	assert_true(rows[0].proven);
	return rows[0];
}

static void message_crosses_two_relays_and_its_receipt_comes_back(void **state)
{
	char id[MSG_ID_MAX + 1];

	chain("prrp");
	assert_ptr_equal(next_of(A, D), B);
	say(A, D, "over the hills", id);
	world_pass(w, 5000);
	assert_got(D, A, C);
	assert_state(A, id, OUTBOX_DELIVERED);
	assert_int_equal(A->node->n.old_sent, 1);
	assert_int_equal(B->node->n.old_relayed, 2); /* the message, and the receipt */
	assert_int_equal(C->node->n.old_relayed, 2);
	assert_int_equal(D->node->n.receipts_sent, 1);
	assert_int_equal(inbox(B, &(struct inbox_row){ 0 }, 1), 0);
	assert_int_equal(inbox(C, &(struct inbox_row){ 0 }, 1), 0);
	/* The answer goes to the author, by the table. */
	say(D, A, "and back", id);
	world_pass(w, 5000);
	assert_got(A, D, B);
	assert_state(D, id, OUTBOX_DELIVERED);
}

static void read_receipt_comes_back_too(void **state)
{
	char id[MSG_ID_MAX + 1];
	struct inbox_row row;
	bool changed;

	chain("prrp");
	say(A, D, "read me", id);
	world_pass(w, 5000);
	row = assert_got(D, A, C);
	assert_int_equal(node_inbox_read(D->node, row.seq, &changed), ERR_OK);
	assert_true(changed);
	world_pass(w, 5000);
	assert_state(A, id, OUTBOX_READ);
	/* And the neighbour that brought it hears nothing of it. */
	assert_int_equal(C->node->n.receipts_unknown, 0);
}

static void passive_nodes_attract_nothing(void **state)
{
	char id[MSG_ID_MAX + 1];

	chain("pprp");
	assert_null(next_of(A, D));
	assert_null(next_of(A, C));
	assert_ptr_equal(next_of(C, B), B);
	assert_ptr_equal(next_of(C, D), D);
	say(A, D, "waits", id);
	world_pass(w, 5000);
	assert_state(A, id, OUTBOX_QUEUED);
	assert_int_equal(B->node->n.old_relayed, 0);
}

static void author_whom_nobody_there_knows_is_refused(void **state)
{
	char id[MSG_ID_MAX + 1];

	chain("prrp");
	assert_int_equal(pins_forget(D->pins, side_id(A)), ERR_OK);
	say(A, D, "who am I", id);
	world_pass(w, 5000);
	assert_int_equal(inbox(D, &(struct inbox_row){ 0 }, 1), 0);
	assert_int_equal(side_audited(D, "INNER_SOURCE_SIG_DROP"), 1);
	assert_non_null(side_conn(D, C));
	assert_state(A, id, OUTBOX_SENT); /* on its way, as far as A knows */
}

static void blocked_author_is_neither_taken_nor_relayed(void **state)
{
	char id[MSG_ID_MAX + 1];

	chain("prrp");
	side_know(A, C);
	assert_int_equal(pins_set_state(C->pins, side_id(A), PIN_BLOCKED, "no", NULL), ERR_OK);
	say(A, D, "not through C", id);
	world_pass(w, 5000);
	assert_int_equal(inbox(D, &(struct inbox_row){ 0 }, 1), 0);
	assert_int_equal(C->node->n.old_dropped, 1);
}

static void held_message_is_delivered_when_its_author_is_approved(void **state)
{
	char id[MSG_ID_MAX + 1];

	chain("prrp");
	assert_int_equal(pins_set_state(D->pins, side_id(A), PIN_PENDING, NULL, NULL), ERR_OK);
	say(A, D, "may I", id);
	world_pass(w, 5000);
	assert_state(A, id, OUTBOX_SENT);
	assert_non_null(strstr(out(A, id).reason, "held"));
	assert_int_equal(node_peer_approve(D->node, side_id(A), NULL), ERR_OK);
	world_pass(w, 5000);
	assert_got(D, A, C);
	assert_state(A, id, OUTBOX_DELIVERED);
}

static void message_waits_where_the_way_ends_and_goes_when_it_is_mended(void **state)
{
	char id[MSG_ID_MAX + 1];

	chain("prrp");
	cut(C, D);
	world_pass(w, 5000); /* everybody has been told */
	assert_null(next_of(A, D));
	say(A, D, "later", id);
	world_pass(w, 5000);
	assert_state(A, id, OUTBOX_QUEUED);
	assert_int_equal(A->node->n.old_sent, 0);
	join(C, D);
	world_pass(w, 65000);
	assert_got(D, A, C);
	assert_state(A, id, OUTBOX_DELIVERED);
}

static void unreachable_reaches_the_author_through_relays_of_ours(void **state)
{
	char id[MSG_ID_MAX + 1];

	chain("prrp");
	cut(C, D);
	/* Nobody knows yet. */
	assert_ptr_equal(next_of(A, D), B);
	say(A, D, "too late", id);
	world_pass(w, 800);
	assert_int_equal(C->node->n.old_unreachable_sent, 1);
	assert_int_equal(B->node->n.old_unreachable_sent, 1);
	assert_int_equal(A->node->n.old_unreachable, 1);
	assert_int_equal(events("message.unreachable"), 1);
	assert_state(A, id, OUTBOX_QUEUED);
	join(C, D);
	/* The relays remember it for 300 s: it is not spent on them before. */
	world_pass(w, 240000);
	assert_state(A, id, OUTBOX_QUEUED);
	world_pass(w, 120000);
	assert_got(D, A, C);
	assert_state(A, id, OUTBOX_DELIVERED);
}

static void other_path_is_taken_when_one_swallows(void **state)
{
	char id[MSG_ID_MAX + 1], bad[3][MSG_ID_MAX + 1];
	struct side *first, *other;

	diamond();
	first = next_of(A, D);
	assert_true(first == B || first == C);
	other = first == B ? C : B;
	swallows[0] = first->address;
	swallows[1] = D->address;
	for (int i = 0; i < 3; i++) {
		say(A, D, "swallowed", bad[i]);
		world_pass(w, 70000);
		assert_state(A, bad[i], OUTBOX_DELIVERED);
	}
	assert_int_equal(side_audited(A, "ROUTE_PENALISED"), 1);
	assert_int_equal(events("route.penalised"), 1);
	assert_ptr_equal(next_of(A, D), other);
	say(A, D, "by the honest one", id);
	world_pass(w, 3000);
	assert_state(A, id, OUTBOX_DELIVERED);
}

/* Of whom it is not known that he confirms, nothing is waited for. */
static void swallowed_message_to_who_never_confirmed_is_sent_and_no_more(void **state)
{
	char id[MSG_ID_MAX + 1];

	chain("prrp");
	swallows[0] = C->address;
	swallows[1] = D->address;
	say(A, D, "who knows", id);
	world_pass(w, MESH09_GRACE_MS + 2000);
	assert_state(A, id, OUTBOX_SENT);
	assert_int_equal(events("message.sent"), 2);
	assert_non_null(strstr(out(A, id).reason, "peer-never-confirms"));
	assert_non_null(strstr(out(A, id).reason, "n1"));
	world_pass(w, 900000);
	assert_int_equal(A->node->n.old_sent, 1);
}

static void relay_that_goes_is_replaced(void **state)
{
	char id[MSG_ID_MAX + 1];
	struct side *first;

	diamond();
	first = next_of(A, D);
	swallows[0] = first->address; /* it has the message, and dies with it */
	swallows[1] = D->address;
	say(A, D, "twice if need be", id);
	world_pass(w, 1000);
	assert_state(A, id, OUTBOX_SENT);
	cut(A, first);
	world_pass(w, 5000);
	assert_got(D, A, first == B ? C : B);
	assert_state(A, id, OUTBOX_DELIVERED);
}

static void session_of_its_own_takes_over(void **state)
{
	char id[MSG_ID_MAX + 1];

	chain("prrp");
	swallows[0] = C->address;
	swallows[1] = D->address;
	say(A, D, "straight", id);
	world_pass(w, 1000);
	assert_state(A, id, OUTBOX_SENT);
	join(D, A);
	world_pass(w, 2000);
	assert_got(D, A, A);
	assert_state(A, id, OUTBOX_DELIVERED);
}

static void cancelled_and_expired_messages_are_not_sent_again(void **state)
{
	char id[MSG_ID_MAX + 1], id2[MSG_ID_MAX + 1];
	struct submit s = { .to = *side_id(D), .ttl_ms = 30000, .body = BYTES_LIT("short life") };
	struct fault f = { 0 };
	enum err e;
	uint64_t sent;

	chain("prrp");
	confirms(A, D);
	swallows[0] = C->address;
	swallows[1] = D->address;
	say(A, D, "never mind", id);
	s.to = *side_id(D);
	assert_int_equal(node_submit(A->node, &s, accepted, &e, id2, &f), ERR_OK);
	world_pass(w, 1000);
	assert_int_equal(node_outbox_cancel(A->node, bytes_str(id), &f), ERR_OK);
	sent = A->node->n.old_sent;
	swallows[0] = NULL;
	world_pass(w, 900000);
	assert_state(A, id, OUTBOX_CANCELLED);
	assert_state(A, id2, OUTBOX_EXPIRED);
	assert_int_equal(A->node->n.old_sent, sent);
	assert_int_equal(inbox(D, &(struct inbox_row){ 0 }, 1), 0);
}

static void restart_loses_nothing(void **state)
{
	char id[MSG_ID_MAX + 1];

	chain("prrp");
	confirms(A, D);
	swallows[0] = C->address;
	swallows[1] = D->address;
	say(A, D, "remember", id);
	world_pass(w, 2000);
	side_stop(A);
	swallows[0] = NULL;
	side_start(A);
	node_observe(A->node, on_event, NULL);
	join(A, B);
	world_pass(w, 400000);
	assert_got(D, A, C);
	assert_state(A, id, OUTBOX_DELIVERED);
}

static void destination_without_keys_gets_nothing(void **state)
{
	char id[MSG_ID_MAX + 1];

	modes("prrp");
	side_know(A, D); /* by hand: nothing of its wire is known */
	side_know(A, B);
	side_know(B, C);
	side_know(C, D);
	join(A, B);
	join(B, C);
	join(C, D);
	world_pass(w, 65000);
	assert_ptr_equal(next_of(A, D), B);
	say(A, D, "not in clear", id);
	world_pass(w, 60000);
	assert_state(A, id, OUTBOX_QUEUED);
	assert_int_equal(A->node->n.old_sent, 0);
}

static void many_messages_arrive_once_and_in_order(void **state)
{
	static struct inbox_row rows[200];
	char id[MSG_ID_MAX + 1], text[16];

	chain("prrp");
	for (int i = 0; i < 150; i++) {
		snprintf(text, sizeof text, "m%03d", i);
		say(A, D, text, id);
	}
	world_pass(w, 30000);
	assert_int_equal(inbox(D, rows, 200), 150);
	assert_int_equal(D->node->n.messages_repeated, 0);
	assert_state(A, id, OUTBOX_DELIVERED);
}

static void views_show_both_ways(void **state)
{
	struct route_view v[16];
	size_t n, found = 0;

	diamond();
	n = mesh09_views(A->node, v, 16);
	for (size_t i = 0; i < n; i++)
		if (node_id_eq(&v[i].to, side_id(D))) {
			found++;
			assert_true(v[i].old_wire);
			assert_int_equal(v[i].hops, 2);
		}
	assert_int_equal(found, 2);
	assert_int_equal(mesh09_views(A->node, v, 1), 1);
}

static void off_takes_no_part(void **state)
{
	chain("prop");
	assert_null(C->node->mesh09);
	assert_ptr_equal(next_of(B, C), C);
	assert_null(next_of(A, D));
}

static void stranger_is_no_neighbour(void **state)
{
	modes("prrp");
	side_know(B, C);
	join(A, B); /* both are pending */
	join(B, C);
	world_pass(w, 65000);
	assert_null(next_of(A, C));
	assert_null(next_of(C, A));
	assert_int_equal(node_peer_approve(A->node, side_id(B), NULL), ERR_OK);
	assert_int_equal(node_peer_approve(B->node, side_id(A), NULL), ERR_OK);
	world_pass(w, 65000);
	assert_ptr_equal(next_of(A, C), B);
	assert_ptr_equal(next_of(C, A), B);
	assert_int_equal(node_peer_pending(B->node, side_id(A), NULL), ERR_OK);
	world_pass(w, 5000);
	assert_null(next_of(C, A));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(message_crosses_two_relays_and_its_receipt_comes_back),
		T(read_receipt_comes_back_too),
		T(passive_nodes_attract_nothing),
		T(author_whom_nobody_there_knows_is_refused),
		T(blocked_author_is_neither_taken_nor_relayed),
		T(held_message_is_delivered_when_its_author_is_approved),
		T(message_waits_where_the_way_ends_and_goes_when_it_is_mended),
		T(unreachable_reaches_the_author_through_relays_of_ours),
		T(other_path_is_taken_when_one_swallows),
		T(swallowed_message_to_who_never_confirmed_is_sent_and_no_more),
		T(relay_that_goes_is_replaced),
		T(session_of_its_own_takes_over),
		T(cancelled_and_expired_messages_are_not_sent_again),
		T(restart_loses_nothing),
		T(destination_without_keys_gets_nothing),
		T(many_messages_arrive_once_and_in_order),
		T(views_show_both_ways),
		T(off_takes_no_part),
		T(stranger_is_no_neighbour),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
