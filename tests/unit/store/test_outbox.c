#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/lib/store_world.h"

static struct world w;
static struct store *s;

static int setup(void **state)
{
	world_init(&w);
	s = world_store(&w, NULL);
	return 0;
}

static int teardown(void **state)
{
	store_close(s);
	world_fini(&w);
	return 0;
}

static void reopen(void)
{
	store_close(s);
	s = world_store(&w, NULL);
}

static enum outbox_state state_of(const char *id)
{
	struct outbox_row r;

	assert_int_equal(outbox_get(s, bytes_str(id), &r), ERR_OK);
	return r.state;
}

static void put_row_survives_reopening(void **state)
{
	struct outbox_new m = {
		.id = BYTES_LIT("msg-1"),
		.to = world_peer(3),
		.type = BYTES_LIT("CONV"),
		.priority = 2,
		.created_ms = 111,
		.expires_ms = 999,
		.body = BYTES_LIT("hello mesh"),
	};
	struct node_id peer = world_peer(3);
	struct outbox_row r;
	struct buf b;
	int64_t seq;

	assert_int_equal(outbox_put(s, &m, &seq, (uint8_t[16]){0}), ERR_OK);
	assert_true(store_dirty(s));
	assert_int_equal(store_commit(s), ERR_OK);
	assert_false(store_dirty(s));
	reopen();
	assert_int_equal(outbox_get(s, BYTES_LIT("msg-1"), &r), ERR_OK);
	assert_int_equal(r.seq, seq);
	assert_string_equal(r.id, "msg-1");
	assert_string_equal(r.type, "CONV");
	assert_string_equal(r.reason, "");
	assert_true(node_id_eq(&r.to, &peer));
	assert_int_equal(r.priority, 2);
	assert_int_equal(r.state, OUTBOX_QUEUED);
	assert_int_equal(r.attempts, 0);
	assert_int_equal(r.created_ms, 111);
	assert_int_equal(r.expires_ms, 999);
	assert_int_equal(r.body_len, 10);
	buf_init(&b, 100);
	assert_int_equal(outbox_body(s, seq, &b), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&b), BYTES_LIT("hello mesh")));
	buf_fini(&b);
	assert_int_equal(outbox_get(s, BYTES_LIT("msg-2"), &r), ERR_NOTFOUND);
}

static void put_refuses_what_does_not_fit(void **state)
{
	char id[200];
	struct outbox_new m = {.id = BYTES_LIT("x"),
			       .to = world_peer(1),
			       .type = BYTES_LIT("MSG"),
			       .body = BYTES_LIT("b")};
	struct outbox_new bad;
	int64_t seq = -7;

	memset(id, 'i', sizeof(id));
	bad = m, bad.meta = bytes_of(id, OUTBOX_META_MAX + 1);
	assert_int_equal(outbox_put(s, &bad, &seq, (uint8_t[16]){0}), ERR_LIMIT);
	bad = m, bad.id = bytes_of(id, 129);
	assert_int_equal(outbox_put(s, &bad, &seq, (uint8_t[16]){0}), ERR_MALFORMED);
	bad = m, bad.id = bytes_of("a\0b", 3);
	assert_int_equal(outbox_put(s, &bad, &seq, (uint8_t[16]){0}), ERR_MALFORMED);
	bad = m, bad.type = bytes_of(id, 33);
	assert_int_equal(outbox_put(s, &bad, &seq, (uint8_t[16]){0}), ERR_MALFORMED);
	bad = m, bad.type = bytes_of(id, 0);
	assert_int_equal(outbox_put(s, &bad, &seq, (uint8_t[16]){0}), ERR_MALFORMED);
	bad = m, bad.priority = 4;
	assert_int_equal(outbox_put(s, &bad, &seq, (uint8_t[16]){0}), ERR_MALFORMED);
	bad = m, bad.to.hex[5] = 'G';
	assert_int_equal(outbox_put(s, &bad, &seq, (uint8_t[16]){0}), ERR_MALFORMED);
	bad = m, bad.body.n = STORE_BODY_MAX + 1;
	assert_int_equal(outbox_put(s, &bad, &seq, (uint8_t[16]){0}), ERR_LIMIT);
	assert_int_equal(seq, -7);
	assert_false(store_dirty(s));
	bad = m, bad.id = bytes_of(id, 128), bad.type = bytes_of(id, 32), bad.body.n = 0;
	assert_int_equal(outbox_put(s, &bad, &seq, (uint8_t[16]){0}), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
}

static void body_of_the_largest_size_comes_back(void **state)
{
	uint8_t *body = malloc(STORE_BODY_MAX);
	struct outbox_new m = {.id = BYTES_LIT("big"),
			       .to = world_peer(1),
			       .type = BYTES_LIT("MSG"),
			       .body = bytes_of(body, STORE_BODY_MAX)};
	struct buf b;
	int64_t seq;

	memset(body, 'z', STORE_BODY_MAX);
	assert_int_equal(outbox_put(s, &m, &seq, (uint8_t[16]){0}), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	buf_init(&b, STORE_BODY_MAX);
	assert_int_equal(outbox_body(s, seq, &b), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&b), m.body));
	/* A caller that allows less gets the error, not a short body. */
	buf_fini(&b);
	buf_init(&b, STORE_BODY_MAX - 1);
	assert_int_equal(outbox_body(s, seq, &b), ERR_LIMIT);
	buf_fini(&b);
	free(body);
}

static void same_id_twice_is_exists_and_changes_nothing(void **state)
{
	struct outbox_new again = {.id = BYTES_LIT("one"),
				   .to = world_peer(2),
				   .type = BYTES_LIT("MSG"),
				   .body = BYTES_LIT("other")};
	uint64_t n[OUTBOX_STATES];
	struct buf b;
	int64_t seq = world_out(s, &w, 1, "one", 0, "first"), none = -1;

	assert_int_equal(outbox_put(s, &again, &none, (uint8_t[16]){0}), ERR_EXISTS); /* within the group */
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(outbox_put(s, &again, &none, (uint8_t[16]){0}), ERR_EXISTS);
	assert_false(store_dirty(s));
	reopen();
	assert_int_equal(outbox_put(s, &again, &none, (uint8_t[16]){0}), ERR_EXISTS);
	assert_int_equal(none, -1);
	assert_int_equal(outbox_count(s, NULL, n), ERR_OK);
	assert_int_equal(n[OUTBOX_QUEUED], 1);
	buf_init(&b, 100);
	assert_int_equal(outbox_body(s, seq, &b), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&b), BYTES_LIT("first")));
	buf_fini(&b);
	/* Known for as long as the row is there, also when it has ended. */
	assert_int_equal(outbox_move(s, seq, OUTBOX_CANCELLED, NULL, 1), ERR_OK);
	assert_int_equal(outbox_put(s, &again, &none, (uint8_t[16]){0}), ERR_EXISTS);
}

static void moves_follow_the_table(void **state)
{
	static const uint8_t ALLOWED[OUTBOX_STATES][OUTBOX_STATES] = {
		/*               que sen del rea fai exp rej can unk */
		[OUTBOX_QUEUED] = {0, 1, 1, 1, 1, 1, 1, 1, 1},
		[OUTBOX_SENT] = {0, 0, 1, 1, 1, 0, 1, 0, 1},
		[OUTBOX_DELIVERED] = {0, 0, 0, 1, 0, 0, 0, 0, 0},
		[OUTBOX_FAILED] = {0, 0, 1, 1, 0, 0, 0, 0, 1},
		[OUTBOX_EXPIRED] = {0, 0, 1, 1, 0, 0, 0, 0, 1},
		[OUTBOX_REJECTED] = {0, 0, 1, 1, 0, 0, 0, 0, 1},
		[OUTBOX_UNKNOWN] = {0, 0, 1, 1, 0, 0, 0, 0, 0},
	};

	for (int from = 0; from < OUTBOX_STATES; from++) {
		for (int to = 0; to < OUTBOX_STATES; to++) {
			char id[32];
			snprintf(id, sizeof(id), "m-%d-%d", from, to);
			int64_t seq = world_out(s, &w, 1, id, 0, "b");
			if (from != OUTBOX_QUEUED)
				assert_int_equal(
					outbox_move(s, seq, (enum outbox_state)from, NULL, 5),
					ERR_OK);
			assert_int_equal(outbox_move(s, seq, (enum outbox_state)to, NULL, 6),
					 ALLOWED[from][to] ? ERR_OK : ERR_WRONG_STATE);
			assert_int_equal(state_of(id), ALLOWED[from][to] ? to : from);
		}
	}
	assert_int_equal(outbox_move(s, 99999, OUTBOX_SENT, NULL, 1), ERR_NOTFOUND);
	assert_int_equal(outbox_move(s, 1, (enum outbox_state)40, NULL, 1), ERR_WRONG_STATE);
	assert_int_equal(store_commit(s), ERR_OK);
}

static void words_and_states_are_each_others_inverse(void **state)
{
	enum outbox_state back;

	for (int i = 0; i < OUTBOX_STATES; i++) {
		assert_int_equal(outbox_state_parse(
					 bytes_str(outbox_state_word((enum outbox_state)i)), &back),
				 ERR_OK);
		assert_int_equal(back, i);
		assert_int_equal(outbox_state_terminal((enum outbox_state)i), i != OUTBOX_QUEUED);
	}
	assert_int_equal(outbox_state_parse(BYTES_LIT("queue"), &back), ERR_MALFORMED);
	assert_int_equal(outbox_state_parse(BYTES_LIT("queued "), &back), ERR_MALFORMED);
	assert_int_equal(outbox_state_parse(BYTES_LIT(""), &back), ERR_MALFORMED);
	assert_string_equal(outbox_state_word((enum outbox_state)77), "none");
}

static void receipt_counts_only_from_the_addressed_peer(void **state)
{
	struct node_id right = world_peer(1), wrong = world_peer(2);
	int64_t put = world_out(s, &w, 1, "m", 0, "body"), seq = -1;
	struct outbox_row r;
	struct buf b;

	assert_int_equal(outbox_receipt(s, &wrong, BYTES_LIT("m"), OUTBOX_DELIVERED, NULL, 9, NULL, &seq),
			 ERR_NOTFOUND);
	assert_int_equal(outbox_receipt(s, &right, BYTES_LIT("x"), OUTBOX_DELIVERED, NULL, 9, NULL, &seq),
			 ERR_NOTFOUND);
	assert_int_equal(
		outbox_receipt(s, &right, bytes_of("", 0), OUTBOX_DELIVERED, NULL, 9, NULL, &seq),
		ERR_NOTFOUND);
	assert_int_equal(seq, -1);
	assert_int_equal(state_of("m"), OUTBOX_QUEUED);
	assert_int_equal(outbox_receipt(s, &right, BYTES_LIT("m"), OUTBOX_DELIVERED, NULL, 9, NULL, &seq),
			 ERR_OK);
	assert_int_equal(seq, put);
	/* A second copy of the receipt moves nothing. */
	assert_int_equal(
		outbox_receipt(s, &right, BYTES_LIT("m"), OUTBOX_DELIVERED, NULL, 10, NULL, &seq),
		ERR_WRONG_STATE);
	assert_int_equal(outbox_get(s, BYTES_LIT("m"), &r), ERR_OK);
	assert_int_equal(r.changed_ms, 9);
	assert_int_equal(outbox_receipt(s, &right, BYTES_LIT("m"), OUTBOX_READ, NULL, 11, NULL, &seq),
			 ERR_OK);
	buf_init(&b, 100);
	assert_int_equal(outbox_body(s, put, &b), ERR_WRONG_STATE); /* dropped */
	buf_fini(&b);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(store_integrity(s, NULL), ERR_OK);
}

static void dead_letter_can_be_sent_again_under_its_id(void **state)
{
	struct node_id right = world_peer(1);
	int64_t put = world_out(s, &w, 1, "m", 0, "body"), seq;
	struct outbox_row r, rows[2];
	struct buf b;
	size_t n;

	assert_int_equal(outbox_requeue(s, put, 5, (char[129]){0}), ERR_WRONG_STATE); /* it waits already */
	assert_int_equal(outbox_requeue(s, put + 1, 5, (char[129]){0}), ERR_NOTFOUND);
	assert_int_equal(outbox_move(s, put, OUTBOX_REJECTED, "inbox full", 6), ERR_OK);
	assert_int_equal(outbox_waiting(s, &right, OUTBOX_PRIORITIES, 0, rows, 2, &n), ERR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(outbox_requeue(s, put, 7, (char[129]){0}), ERR_OK);
	assert_int_equal(outbox_get(s, BYTES_LIT("m"), &r), ERR_OK);
	assert_int_equal(r.state, OUTBOX_QUEUED);
	assert_int_equal(r.expires_ms, 0);
	assert_string_equal(r.reason, "");
	assert_int_equal(outbox_waiting(s, &right, OUTBOX_PRIORITIES, 0, rows, 2, &n), ERR_OK);
	assert_int_equal(n, 1);
	buf_init(&b, 100);
	assert_int_equal(outbox_body(s, put, &b), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&b), BYTES_LIT("body")));
	buf_fini(&b);
	assert_int_equal(outbox_receipt(s, &right, BYTES_LIT("m"), OUTBOX_DELIVERED, NULL, 9, NULL, &seq),
			 ERR_OK);
	assert_int_equal(outbox_requeue(s, put, 10, (char[129]){0}), ERR_WRONG_STATE); /* it arrived */
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(store_integrity(s, NULL), ERR_OK);
}

static void reason_is_cleaned_cut_and_kept_sealed(void **state)
{
	struct node_id peer = world_peer(1);
	char reason[300];
	struct outbox_row r;
	int64_t seq;

	world_out(s, &w, 1, "m", 0, "body");
	memset(reason, 'r', sizeof(reason) - 1);
	reason[sizeof(reason) - 1] = 0;
	memcpy(reason, "no\x1b[31m", 7);
	assert_int_equal(outbox_receipt(s, &peer, BYTES_LIT("m"), OUTBOX_REJECTED, reason, 1, NULL, &seq),
			 ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	reopen();
	assert_int_equal(outbox_get(s, BYTES_LIT("m"), &r), ERR_OK);
	assert_int_equal(r.state, OUTBOX_REJECTED);
	assert_string_equal(r.type, "MSG");
	assert_memory_equal(r.reason, "no?[31m", 7);
	assert_true(strlen(r.reason) <= OUTBOX_REASON_MAX);
}

static void waiting_is_ordered_by_priority_then_number(void **state)
{
	static const struct {
		const char *id;
		unsigned peer, priority;
	} PUT[] = {{"a", 1, 1}, {"b", 1, 3}, {"c", 2, 3}, {"d", 1, 1}, {"e", 1, 0}, {"f", 1, 3}};
	static const char *const WANT[] = {"b", "f", "a", "d", "e"};
	struct node_id peer = world_peer(1), nobody = world_peer(9);
	struct outbox_row rows[10];
	size_t n;

	for (size_t i = 0; i < sizeof(PUT) / sizeof(PUT[0]); i++)
		world_out(s, &w, PUT[i].peer, PUT[i].id, PUT[i].priority, "x");
	assert_int_equal(outbox_waiting(s, &peer, OUTBOX_PRIORITIES, 0, rows, 10, &n), ERR_OK);
	assert_int_equal(n, 5);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(rows[i].id, WANT[i]);
	/* From every position, one at a time: nothing is skipped, nothing comes twice. */
	uint8_t priority = OUTBOX_PRIORITIES;
	int64_t seq = 0;
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(outbox_waiting(s, &peer, priority, seq, rows, 1, &n), ERR_OK);
		assert_int_equal(n, 1);
		assert_string_equal(rows[0].id, WANT[i]);
		priority = rows[0].priority;
		seq = rows[0].seq;
	}
	assert_int_equal(outbox_waiting(s, &peer, priority, seq, rows, 1, &n), ERR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(outbox_move(s, 1, OUTBOX_SENT, NULL, 1), ERR_OK);
	assert_int_equal(outbox_waiting(s, &peer, OUTBOX_PRIORITIES, 0, rows, 10, &n), ERR_OK);
	assert_int_equal(n, 4);
	assert_int_equal(outbox_waiting(s, &nobody, OUTBOX_PRIORITIES, 0, rows, 10, &n), ERR_OK);
	assert_int_equal(n, 0);
}

static void peers_lists_each_waiting_peer_once(void **state)
{
	struct node_id out[10];
	size_t n;

	assert_int_equal(outbox_peers(s, out, 10, &n), ERR_OK);
	assert_int_equal(n, 0);
	for (unsigned i = 0; i < 30; i++) {
		char id[16];
		snprintf(id, sizeof(id), "m%u", i);
		world_out(s, &w, i % 3 + 1, id, i % 4, "x");
	}
	assert_int_equal(outbox_peers(s, out, 10, &n), ERR_OK);
	assert_int_equal(n, 3);
	for (unsigned i = 0; i < 3; i++) {
		struct node_id want = world_peer(i + 1);
		assert_true(node_id_eq(&out[i], &want));
	}
	assert_int_equal(outbox_peers(s, out, 2, &n), ERR_OK);
	assert_int_equal(n, 2);
	for (int64_t seq = 1; seq <= 30; seq += 3)
		assert_int_equal(outbox_move(s, seq, OUTBOX_CANCELLED, NULL, 1), ERR_OK);
	assert_int_equal(outbox_peers(s, out, 10, &n), ERR_OK);
	assert_int_equal(n, 2);
}

static int64_t put_until(const char *id, uint64_t expires)
{
	struct outbox_new m = {.id = bytes_str(id),
			       .to = world_peer(1),
			       .type = BYTES_LIT("MSG"),
			       .expires_ms = expires,
			       .body = BYTES_LIT("b")};
	int64_t seq = -1;

	assert_int_equal(outbox_put(s, &m, &seq, (uint8_t[16]){0}), ERR_OK);
	return seq;
}

static void the_longest_wait_is_that_of_the_first_that_waits(void **state)
{
	struct outbox_new m = { .type = BYTES_LIT("MSG"), .body = BYTES_LIT("b"), .expires_ms = 0 };
	uint64_t created = 7;
	int64_t seq[4];
	char id[20];

	assert_int_equal(outbox_oldest(s, &created), ERR_OK);
	assert_int_equal(created, 0);
	for (int i = 0; i < 4; i++) {
		snprintf(id, sizeof id, "old-%d", i);
		m.id = bytes_str(id);
		m.to = world_peer((unsigned)(i % 2));
		m.priority = (uint8_t)(i % 3);
		m.created_ms = 100 + (uint64_t)i;
		assert_int_equal(outbox_put(s, &m, &seq[i], (uint8_t[16]){ 0 }), ERR_OK);
	}
	for (int i = 0; i < 4; i++) {
		assert_int_equal(outbox_oldest(s, &created), ERR_OK);
		assert_int_equal(created, 100 + i);
		assert_int_equal(outbox_move(s, seq[i], OUTBOX_CANCELLED, NULL, 1), ERR_OK);
	}
	assert_int_equal(outbox_oldest(s, &created), ERR_OK);
	assert_int_equal(created, 0);
}

static void rows_expire_at_their_time(void **state)
{
	struct outbox_row rows[10];
	uint64_t next;
	size_t n;

	assert_int_equal(outbox_next_expiry(s, &next), ERR_OK);
	assert_true(next == UINT64_MAX);
	put_until("never", 0);
	assert_int_equal(outbox_next_expiry(s, &next), ERR_OK);
	assert_true(next == UINT64_MAX);
	put_until("late", UINT64_MAX); /* cut to what SQLite holds, not wrapped */
	put_until("b", 200);
	put_until("a", 100);
	put_until("c", 300);
	assert_int_equal(outbox_next_expiry(s, &next), ERR_OK);
	assert_int_equal(next, 100);
	assert_int_equal(outbox_expire(s, 99, rows, 10, &n), ERR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(outbox_expire(s, 250, rows, 1, &n), ERR_OK); /* at most max */
	assert_int_equal(n, 1);
	assert_string_equal(rows[0].id, "a");
	assert_int_equal(rows[0].state, OUTBOX_EXPIRED);
	assert_int_equal(outbox_expire(s, 250, rows, 10, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_string_equal(rows[0].id, "b");
	assert_int_equal(outbox_next_expiry(s, &next), ERR_OK);
	assert_int_equal(next, 300);
	assert_int_equal(state_of("a"), OUTBOX_EXPIRED);
	assert_int_equal(state_of("never"), OUTBOX_QUEUED);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(store_integrity(s, NULL), ERR_OK);
}

/* Of a node without a clock: no wall time ends them, and none keeps them. */
static void rows_may_expire_by_running_time(void **state)
{
	uint64_t end = store_running_ms(s) + 1000, next;
	struct outbox_row rows[4];
	size_t n;

	put_until("running", OUTBOX_RUNNING | end);
	put_until("wall", 500);
	w.wall_ms = 400;
	assert_int_equal(outbox_next_expiry(s, &next), ERR_OK);
	assert_int_equal(next, 500);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(outbox_expire(s, UINT64_MAX, rows, 4, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_string_equal(rows[0].id, "wall");
	store_rollback(s);
	assert_int_equal(outbox_expire(s, UINT64_MAX, rows, 4, &n), ERR_OK);
	assert_int_equal(n, 1);
	w.now_ms += 400;
	w.wall_ms = 7000;
	assert_int_equal(outbox_next_expiry(s, &next), ERR_OK);
	assert_int_equal(next, 7600);
	w.now_ms += 600;
	assert_int_equal(outbox_expire(s, 0, rows, 4, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_string_equal(rows[0].id, "running");
	assert_int_equal(outbox_next_expiry(s, &next), ERR_OK);
	assert_true(next == UINT64_MAX);
	assert_int_equal(store_commit(s), ERR_OK);
}

static void attempts_are_counted(void **state)
{
	int64_t seq = world_out(s, &w, 1, "m", 0, "b");
	struct outbox_row r;

	assert_int_equal(outbox_attempt(s, seq, NULL), ERR_OK);
	assert_int_equal(outbox_attempt(s, seq, NULL), ERR_OK);
	assert_int_equal(outbox_attempt(s, seq + 1, NULL), ERR_NOTFOUND);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(outbox_get(s, BYTES_LIT("m"), &r), ERR_OK);
	assert_int_equal(r.attempts, 2);
}

static void limits_are_per_peer_in_all_and_in_bytes(void **state)
{
	struct store_limits l = {.outbox_per_peer = 2, .outbox_total = 3, .outbox_bytes = 20};
	struct outbox_new m = {.id = BYTES_LIT("x"),
			       .to = world_peer(1),
			       .type = BYTES_LIT("MSG"),
			       .body = BYTES_LIT("12345")};
	int64_t seq, first;

	store_close(s);
	s = world_store(&w, &l);
	first = world_out(s, &w, 1, "a", 0, "1");
	world_out(s, &w, 1, "b", 0, "2");
	assert_int_equal(outbox_put(s, &m, &seq, (uint8_t[16]){0}), ERR_FULL); /* per peer */
	m.id = BYTES_LIT("a");
	assert_int_equal(outbox_put(s, &m, &seq, (uint8_t[16]){0}), ERR_EXISTS); /* also when full */
	m.id = BYTES_LIT("x");
	world_out(s, &w, 2, "c", 0, "3");
	m.to = world_peer(3);
	assert_int_equal(outbox_put(s, &m, &seq, (uint8_t[16]){0}), ERR_FULL); /* in all */
	assert_int_equal(outbox_move(s, first, OUTBOX_DELIVERED, NULL, 1), ERR_OK);
	m.body = BYTES_LIT("1234567890123456789");
	assert_int_equal(outbox_put(s, &m, &seq, (uint8_t[16]){0}), ERR_FULL); /* 2 waiting + 19 > 20 */
	m.body = BYTES_LIT("123456789012345678");
	assert_int_equal(outbox_put(s, &m, &seq, (uint8_t[16]){0}), ERR_OK);
	/* A refusal does not end the group. */
	assert_int_equal(store_commit(s), ERR_OK);
	store_close(s);
	s = world_store(&w, &l);
	m.id = BYTES_LIT("y");
	assert_int_equal(outbox_put(s, &m, &seq, (uint8_t[16]){0}), ERR_FULL); /* the counts were loaded */
}

static void list_filters_and_pages(void **state)
{
	struct node_id peer = world_peer(1);
	struct outbox_filter f = {.state = -1};
	struct outbox_row rows[40];
	size_t n;

	for (unsigned i = 0; i < 30; i++) {
		char id[16];
		snprintf(id, sizeof(id), "m%u", i);
		int64_t seq = world_out(s, &w, i % 3, id, 0, "x");
		if (i % 2)
			assert_int_equal(outbox_move(s, seq, OUTBOX_FAILED, "gone", 1), ERR_OK);
	}
	assert_int_equal(outbox_list(s, &f, rows, 40, &n), ERR_OK);
	assert_int_equal(n, 30);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(rows[i].seq, 30 - i);
	f.before_seq = 11;
	assert_int_equal(outbox_list(s, &f, rows, 4, &n), ERR_OK);
	assert_int_equal(n, 4);
	assert_int_equal(rows[0].seq, 10);
	f.state = OUTBOX_FAILED;
	f.peer = &peer;
	f.before_seq = 0;
	assert_int_equal(outbox_list(s, &f, rows, 40, &n), ERR_OK);
	assert_int_equal(n, 5);
	for (size_t i = 0; i < n; i++) {
		assert_true(node_id_eq(&rows[i].to, &peer));
		assert_int_equal(rows[i].state, OUTBOX_FAILED);
		assert_string_equal(rows[i].reason, "gone");
	}
	f.state = OUTBOX_QUEUED;
	assert_int_equal(outbox_list(s, &f, rows, 40, &n), ERR_OK);
	assert_int_equal(n, 5);
	assert_true(rows[0].seq > rows[4].seq);
	f.before_seq = rows[2].seq;
	assert_int_equal(outbox_list(s, &f, rows, 40, &n), ERR_OK);
	assert_int_equal(n, 2);
	f.state = OUTBOX_READ;
	assert_int_equal(outbox_list(s, &f, rows, 40, &n), ERR_OK);
	assert_int_equal(n, 0);
	f.state = OUTBOX_STATES;
	assert_int_equal(outbox_list(s, &f, rows, 40, &n), ERR_MALFORMED);
}

static void counts_are_per_peer_and_survive_reopening(void **state)
{
	struct node_id peer = world_peer(1);
	uint64_t n[OUTBOX_STATES];
	struct store_stats st;

	world_out(s, &w, 1, "a", 0, "12345");
	world_out(s, &w, 1, "b", 0, "1234567");
	world_out(s, &w, 2, "c", 0, "123");
	assert_int_equal(outbox_move(s, 1, OUTBOX_SENT, NULL, 1), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(outbox_count(s, &peer, n), ERR_OK);
		assert_int_equal(n[OUTBOX_QUEUED], 1);
		assert_int_equal(n[OUTBOX_SENT], 1);
		assert_int_equal(n[OUTBOX_READ], 0);
		assert_int_equal(outbox_count(s, NULL, n), ERR_OK);
		assert_int_equal(n[OUTBOX_QUEUED], 2);
		store_stats(s, &st);
		assert_int_equal(st.outbox_waiting, 2);
		assert_int_equal(st.outbox_bytes, 10);
		reopen();
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(put_row_survives_reopening),
		T(put_refuses_what_does_not_fit),
		T(body_of_the_largest_size_comes_back),
		T(same_id_twice_is_exists_and_changes_nothing),
		T(moves_follow_the_table),
		T(words_and_states_are_each_others_inverse),
		T(receipt_counts_only_from_the_addressed_peer),
		T(dead_letter_can_be_sent_again_under_its_id),
		T(reason_is_cleaned_cut_and_kept_sealed),
		T(waiting_is_ordered_by_priority_then_number),
		T(peers_lists_each_waiting_peer_once),
		T(the_longest_wait_is_that_of_the_first_that_waits),
		T(rows_expire_at_their_time),
		T(rows_may_expire_by_running_time),
		T(attempts_are_counted),
		T(limits_are_per_peer_in_all_and_in_bytes),
		T(list_filters_and_pages),
		T(counts_are_per_peer_and_survive_reopening),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
