/* Wire ids of the outbox and what the recipient is told of them (im2.md 9.5, 10.3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/text.h"
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

static uint64_t number_of(const uint8_t wire[static 16])
{
	struct rd r = rd_init(wire + 8, 8);

	return rd_u64(&r);
}

static int64_t put(unsigned peer, uint8_t wire[static 16])
{
	int64_t seq = -1;

	assert_int_equal(world_send(s, &w, peer, "body", wire, &seq), ERR_OK);
	return seq;
}

static enum err receipt(unsigned peer, const uint8_t wire[static 16], enum outbox_state to)
{
	struct node_id from = world_peer(peer);
	char hex[33];
	int64_t seq;

	hex_encode(bytes_of(wire, 16), hex);
	return outbox_receipt(s, &from, bytes_of(hex, 32), to, NULL, w.wall_ms, NULL, &seq);
}

/* The mark of the newest era that is told of; 0 when there is none. */
static uint64_t mark(unsigned peer)
{
	struct node_id to = world_peer(peer);
	struct outbox_mark m[OUTBOX_ERAS_MAX];
	size_t n;

	assert_int_equal(outbox_settle(s, &to, m, OUTBOX_ERAS_MAX, &n), ERR_OK);
	return n ? m[0].seq : 0;
}

static size_t eras(unsigned peer)
{
	struct node_id to = world_peer(peer);
	struct outbox_mark m[OUTBOX_ERAS_MAX];
	size_t n;

	assert_int_equal(outbox_settle(s, &to, m, OUTBOX_ERAS_MAX, &n), ERR_OK);
	return n;
}

static void commit(void)
{
	assert_int_equal(store_commit(s), ERR_OK);
}

static void crash(void)
{
	store_abandon(s);
	s = world_store(&w, NULL);
}

static void numbers_count_up_for_each_recipient(void **state)
{
	uint8_t a[3][16], b[16];
	struct outbox_row r;
	char hex[33];

	for (int i = 0; i < 3; i++) {
		put(1, a[i]);
		assert_int_equal(number_of(a[i]), i + 1);
		assert_memory_equal(a[i], a[0], 8);
	}
	put(2, b);
	assert_int_equal(number_of(b), 1);
	assert_memory_not_equal(a[0], b, 8);
	commit();
	hex_encode(bytes_of(a[1], 16), hex);
	assert_int_equal(outbox_get(s, bytes_of(hex, 32), &r), ERR_OK);
	assert_string_equal(r.id, hex);
	assert_true(r.has_wire);
	assert_memory_equal(r.wire_id, a[1], 16);
}

static void a_row_answers_to_both_of_its_names(void **state)
{
	char word[129];
	struct outbox_new m = {.id = BYTES_LIT("my-own-name"),
			       .to = world_peer(1),
			       .type = BYTES_LIT("REQ"),
			       .meta = bytes_of("\0\x85opaque", 8),
			       .no_receipt = true,
			       .body = BYTES_LIT("b")};
	struct node_id peer = world_peer(1), other = world_peer(2);
	uint8_t wire[16];
	struct outbox_row r;
	char hex[33], copy[64];
	int64_t seq, got;

	assert_int_equal(outbox_put(s, &m, &seq, wire), ERR_OK);
	hex_encode(BYTES_ARR(wire), hex);
	commit();
	for (int reopened = 0; reopened < 2; reopened++) {
		assert_int_equal(outbox_get(s, BYTES_LIT("my-own-name"), &r), ERR_OK);
		assert_int_equal(outbox_get(s, bytes_of(hex, 32), &r), ERR_OK);
		assert_int_equal(outbox_word(s, bytes_of(hex, 32), word), ERR_OK);
		assert_string_equal(word, "my-own-name");
		assert_int_equal(outbox_word(s, BYTES_LIT("my-own-name"), word), ERR_OK);
		assert_string_equal(word, "my-own-name");
		assert_int_equal(outbox_word(s, BYTES_LIT("nobody"), word), ERR_NOTFOUND);
		assert_string_equal(r.id, "my-own-name");
		assert_string_equal(r.type, "REQ");
		assert_int_equal(r.meta_len, 8);
		assert_memory_equal(r.meta, "\0\x85opaque", 8);
		assert_true(r.no_receipt);
		crash();
	}
	/* Neither name can be taken by another message. */
	assert_int_equal(outbox_put(s, &m, &got, wire), ERR_EXISTS);
	snprintf(copy, sizeof(copy), "%s", hex);
	m.id = bytes_of(copy, 32);
	assert_int_equal(outbox_put(s, &m, &got, wire), ERR_EXISTS);
	assert_int_equal(outbox_receipt(s, &other, bytes_of(hex, 32), OUTBOX_DELIVERED, NULL, 5, NULL, &got),
			 ERR_NOTFOUND);
	assert_int_equal(outbox_receipt(s, &peer, bytes_of(hex, 32), OUTBOX_DELIVERED, NULL, 5, NULL, &got),
			 ERR_OK);
	assert_int_equal(got, seq);
	assert_int_equal(outbox_receipt(s, &peer, bytes_of(hex, 32), OUTBOX_READ, NULL, 6, NULL, &got), ERR_OK);
	commit();
	assert_int_equal(outbox_get(s, BYTES_LIT("my-own-name"), &r), ERR_OK);
	assert_int_equal(r.state, OUTBOX_READ);
	assert_int_equal(r.attempts, 1);
	assert_int_equal(r.meta_len, 8);
}

/* Nothing that was given out comes again: not after a rollback, a failed group, a crash or a restart. */
static void numbers_are_never_given_out_twice(void **state)
{
	enum { PUTS = 4000 };
	static uint8_t wires[PUTS][16];
	unsigned n = 0, restarts = 0;

	for (unsigned round = 0; n < PUTS - 40; round++) {
		for (unsigned i = 0; i <= round % 37; i++)
			put(1, wires[n++]);
		switch (round % 7) {
		case 0:
		case 3:
			store_rollback(s);
			break;
		case 1:
			store_fail_after(s, 1);
			assert_int_equal(store_commit(s), ERR_STORE);
			break;
		case 5:
			if (round % 3 == 0) {
				crash();
				restarts++;
			}
			break;
		case 6:
			commit();
			if (round % 5 == 0) {
				store_close(s);
				s = world_store(&w, NULL);
				restarts++;
			}
			break;
		default:
			commit();
		}
	}
	assert_true(restarts > 10);
	/* An era that died with its group was never seen by anybody: numbers count within one. */
	for (unsigned i = 1; i < n; i++) {
		if (memcmp(wires[i], wires[i - 1], 8) == 0)
			assert_true(number_of(wires[i]) > number_of(wires[i - 1]));
		else
			for (unsigned k = 0; k < i; k++)
				assert_memory_not_equal(wires[k], wires[i], 8);
	}
	/* Blocks: not one write for each number, and not one block for each restart's number of messages. */
	assert_true(number_of(wires[n - 1]) < 1025 * (restarts + PUTS / 1024 + 2));
}

static void mark_is_the_lowest_that_is_unfinished_and_committed(void **state)
{
	uint8_t wire[6][16];
	int64_t seq[6];

	assert_int_equal(mark(1), 0);
	for (int i = 0; i < 5; i++)
		seq[i] = put(1, wire[i]);
	assert_int_equal(mark(1), 1); /* the open group is unfinished */
	commit();
	assert_int_equal(mark(1), 1);
	assert_int_equal(receipt(1, wire[1], OUTBOX_DELIVERED), ERR_OK);
	assert_int_equal(receipt(1, wire[0], OUTBOX_DELIVERED), ERR_OK);
	assert_int_equal(mark(1), 1); /* not committed: the receipt may be lost */
	store_rollback(s);
	assert_int_equal(mark(1), 1);
	assert_int_equal(receipt(1, wire[1], OUTBOX_DELIVERED), ERR_OK);
	commit();
	assert_int_equal(mark(1), 1);
	assert_int_equal(receipt(1, wire[0], OUTBOX_READ), ERR_OK);
	commit();
	assert_int_equal(mark(1), 3);
	/* Every end is an end. */
	assert_int_equal(outbox_move(s, seq[2], OUTBOX_EXPIRED, NULL, 1), ERR_OK);
	assert_int_equal(outbox_move(s, seq[3], OUTBOX_CANCELLED, NULL, 1), ERR_OK);
	commit();
	assert_int_equal(mark(1), 5);
	assert_int_equal(outbox_move(s, seq[4], OUTBOX_SENT, NULL, 1), ERR_OK);
	commit();
	assert_int_equal(mark(1), 6); /* the next one */
	put(1, wire[5]);
	store_rollback(s);
	assert_int_equal(mark(1), 7); /* 6 was given out, and will not be again */
	put(1, wire[5]);
	assert_int_equal(number_of(wire[5]), 7);
	assert_int_equal(receipt(1, wire[5], OUTBOX_DELIVERED), ERR_OK);
	assert_int_equal(mark(1), 7); /* put and ended in the same open group */
	commit();
	assert_int_equal(mark(1), 8);
	crash();
	assert_true(mark(1) >= 8);
	put(1, wire[0]);
	commit();
	assert_int_equal(mark(1), number_of(wire[0]));
}

static void told_marks_are_not_changed_ones(void **state)
{
	struct node_id to = world_peer(1);
	struct outbox_mark m[2];
	uint8_t wire[16];
	size_t n;

	put(1, wire);
	commit();
	assert_int_equal(outbox_settle(s, &to, m, 2, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_true(m[0].changed_since_told);
	assert_memory_equal(m[0].era, wire, 8);
	outbox_settle_told(s, &to, m[0].era, m[0].seq);
	assert_int_equal(outbox_settle(s, &to, m, 2, &n), ERR_OK);
	assert_false(m[0].changed_since_told);
	assert_int_equal(m[0].told, 1);
	assert_int_equal(receipt(1, wire, OUTBOX_DELIVERED), ERR_OK);
	commit();
	assert_int_equal(outbox_settle(s, &to, m, 2, &n), ERR_OK);
	assert_true(m[0].changed_since_told);
	assert_int_equal(m[0].seq, 2);
	crash(); /* told of again in the next session */
	assert_int_equal(outbox_settle(s, &to, m, 2, &n), ERR_OK);
	assert_true(m[0].changed_since_told);
	to.hex[0] = 'G';
	assert_int_equal(outbox_settle(s, &to, m, 2, &n), ERR_MALFORMED);
	outbox_settle_told(s, &to, wire, 7);
}

static enum outbox_state state_of(const uint8_t wire[static 16])
{
	struct outbox_row r;
	char hex[33];

	hex_encode(bytes_of(wire, 16), hex);
	assert_int_equal(outbox_get(s, bytes_of(hex, 32), &r), ERR_OK);
	return r.state;
}

static void the_truth_wins_and_settled_earlier_is_the_last_resort(void **state)
{
	static const enum outbox_state GIVEN_UP[] = {OUTBOX_EXPIRED, OUTBOX_FAILED, OUTBOX_REJECTED,
						     OUTBOX_UNKNOWN};
	struct node_id peer = world_peer(1);
	uint8_t wire[16];
	struct buf b;
	char hex[33];
	int64_t seq;

	buf_init(&b, 100);
	for (unsigned i = 0; i < 8; i++) {
		enum outbox_state end = i % 2 ? OUTBOX_READ : OUTBOX_DELIVERED;
		seq = put(1, wire);
		commit();
		assert_int_equal(outbox_move(s, seq, GIVEN_UP[i / 2], "given up", 5), ERR_OK);
		commit();
		assert_int_equal(receipt(1, wire, end), ERR_OK);
		commit();
		assert_int_equal(state_of(wire), end);
		assert_int_equal(outbox_requeue(s, seq, 7, (char[129]){0}), ERR_WRONG_STATE);
		/* Reason 12 after that is ignored. */
		hex_encode(BYTES_ARR(wire), hex);
		assert_int_equal(outbox_receipt(s, &peer, bytes_of(hex, 32), OUTBOX_UNKNOWN, "settled", 8, NULL,
						&seq),
				 ERR_WRONG_STATE);
		assert_int_equal(state_of(wire), end);
	}
	/* What the user cancelled stays cancelled. */
	seq = put(1, wire);
	assert_int_equal(outbox_move(s, seq, OUTBOX_CANCELLED, NULL, 5), ERR_OK);
	assert_int_equal(receipt(1, wire, OUTBOX_DELIVERED), ERR_WRONG_STATE);
	/* Unknown keeps its body: it can be sent again by who decides to. */
	seq = put(1, wire);
	commit();
	hex_encode(BYTES_ARR(wire), hex);
	assert_int_equal(outbox_receipt(s, &peer, bytes_of(hex, 32), OUTBOX_UNKNOWN, "settled", 8, NULL, &seq),
			 ERR_OK);
	commit();
	assert_int_equal(state_of(wire), OUTBOX_UNKNOWN);
	assert_int_equal(outbox_requeue(s, seq, 9, (char[129]){0}), ERR_OK);
	assert_int_equal(outbox_body(s, seq, &b), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&b), BYTES_LIT("body")));
	assert_int_equal(store_integrity(s, NULL), ERR_OK);
	buf_fini(&b);
}

static void what_is_sent_again_has_a_new_wire_id(void **state)
{
	struct outbox_new m = {.id = BYTES_LIT("mine"), .to = world_peer(1), .type = BYTES_LIT("MSG"),
			       .meta = BYTES_LIT("meta"), .body = BYTES_LIT("b")};
	char id[129], hex[33], old[33];
	uint8_t wire[16], own[16];
	struct outbox_row r;
	int64_t seq, mine;

	seq = put(1, wire);
	assert_int_equal(outbox_put(s, &m, &mine, own), ERR_OK);
	assert_int_equal(outbox_move(s, seq, OUTBOX_FAILED, "x", 1), ERR_OK);
	assert_int_equal(outbox_move(s, mine, OUTBOX_FAILED, "x", 1), ERR_OK);
	commit();
	assert_int_equal(mark(1), 3);
	assert_int_equal(outbox_requeue(s, seq, 2, id), ERR_OK);
	assert_int_equal(mark(1), 3);
	hex_encode(BYTES_ARR(wire), old);
	assert_string_not_equal(id, old);
	assert_int_equal(outbox_get(s, bytes_of(old, 32), &r), ERR_NOTFOUND);
	assert_int_equal(outbox_get(s, bytes_str(id), &r), ERR_OK);
	hex_encode(BYTES_ARR(r.wire_id), hex);
	assert_string_equal(hex, id);
	assert_int_equal(number_of(r.wire_id), 3);
	assert_int_equal(receipt(1, wire, OUTBOX_DELIVERED), ERR_NOTFOUND);
	assert_int_equal(outbox_requeue(s, mine, 2, id), ERR_OK);
	assert_string_equal(id, "mine");
	commit();
	crash();
	assert_int_equal(outbox_get(s, BYTES_LIT("mine"), &r), ERR_OK);
	assert_int_equal(number_of(r.wire_id), 4);
	assert_int_equal(r.meta_len, 4);
	assert_int_equal(receipt(1, own, OUTBOX_DELIVERED), ERR_NOTFOUND);
	assert_int_equal(receipt(1, r.wire_id, OUTBOX_DELIVERED), ERR_OK);
	commit();
	assert_int_equal(outbox_get(s, bytes_str(hex), &r), ERR_OK);
	assert_int_equal(r.state, OUTBOX_QUEUED);
	assert_int_equal(mark(1), 3);
	/* Undone, the old name is back. */
	assert_int_equal(outbox_move(s, seq, OUTBOX_FAILED, "x", 1), ERR_OK);
	commit();
	assert_int_equal(outbox_requeue(s, seq, 2, id), ERR_OK);
	store_rollback(s);
	assert_int_equal(outbox_get(s, bytes_str(id), &r), ERR_NOTFOUND);
	assert_int_equal(outbox_get(s, bytes_str(hex), &r), ERR_OK);
	assert_int_equal(r.state, OUTBOX_FAILED);
}

/* Receipts of one group are written together; whoever looks in between sees them. */
static void receipts_in_the_group_are_seen_by_all(void **state)
{
	enum { N = 200 };
	static uint8_t wire[N][16];
	struct node_id peer = world_peer(1);
	struct outbox_row rows[4];
	uint64_t counts[OUTBOX_STATES];
	struct outbox_filter f = {.state = OUTBOX_DELIVERED};
	int64_t seq[N];
	struct buf b;
	size_t n;

	buf_init(&b, 100);
	for (unsigned i = 0; i < N; i++)
		seq[i] = put(1, wire[i]);
	commit();
	for (unsigned i = 0; i < N; i++) {
		unsigned k = i * 77 % N; /* not in order, with runs and gaps */
		if (k % 10 == 3)
			continue;
		assert_int_equal(receipt(1, wire[k], OUTBOX_DELIVERED), ERR_OK);
		assert_int_equal(receipt(1, wire[k], OUTBOX_DELIVERED), ERR_WRONG_STATE);
		if (i == 50) {
			assert_int_equal(state_of(wire[k]), OUTBOX_DELIVERED);
			assert_int_equal(outbox_body(s, seq[k], &b), ERR_WRONG_STATE);
			assert_int_equal(outbox_list(s, &f, rows, 4, &n), ERR_OK);
			assert_int_equal(n, 4);
			assert_int_equal(receipt(1, wire[k], OUTBOX_READ), ERR_OK);
		}
	}
	assert_true(store_dirty(s));
	assert_int_equal(outbox_waiting(s, &peer, OUTBOX_PRIORITIES, 0, rows, 4, &n), ERR_OK);
	assert_int_equal(n, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_memory_equal(rows[i].wire_id, wire[10 * i + 3], 16);
	commit();
	crash();
	for (unsigned i = 0; i < N; i++) {
		enum outbox_state is = state_of(wire[i]);
		assert_true(i % 10 == 3 ? is == OUTBOX_QUEUED
					: is == OUTBOX_DELIVERED || is == OUTBOX_READ);
	}
	assert_int_equal(outbox_count(s, &peer, counts), ERR_OK);
	assert_int_equal(counts[OUTBOX_QUEUED], N / 10);
	assert_int_equal(counts[OUTBOX_READ], 1);
	assert_int_equal(store_integrity(s, NULL), ERR_OK);
	/* A receipt is of the peer that the message went to. */
	assert_int_equal(receipt(2, wire[3], OUTBOX_DELIVERED), ERR_NOTFOUND);
	/* And a refused write at the end undoes them. */
	assert_int_equal(receipt(1, wire[3], OUTBOX_DELIVERED), ERR_OK);
	store_fail_after(s, 1);
	assert_int_equal(store_commit(s), ERR_STORE);
	assert_int_equal(state_of(wire[3]), OUTBOX_QUEUED);
	assert_int_equal(receipt(1, wire[3], OUTBOX_DELIVERED), ERR_OK);
	commit();
	buf_fini(&b);
}

static enum err seen(unsigned peer, const uint8_t era[static 8], uint64_t number, bool *renewed)
{
	struct node_id from = world_peer(peer);

	return outbox_seen(s, &from, era, number, renewed);
}

static void seen_below_the_next_number_changes_nothing(void **state)
{
	uint8_t wire[16], other[16] = {9};
	bool renewed = true;

	assert_int_equal(seen(1, other, 5, &renewed), ERR_OK); /* we never wrote to it */
	assert_false(renewed);
	put(1, wire);
	put(1, wire);
	commit();
	assert_int_equal(seen(1, wire, 2, &renewed), ERR_OK); /* it holds all of them */
	assert_false(renewed);
	assert_false(store_dirty(s));
	crash();
	assert_int_equal(seen(1, wire, 2, &renewed), ERR_OK);
	assert_false(renewed);
	assert_int_equal(seen(1, wire, 1024, &renewed), ERR_OK); /* the block that a restart skipped */
	assert_false(renewed);
	assert_int_equal(eras(1), 1);
}

/* The author's database is an older copy than what the recipient has seen. */
static void restored_author_draws_a_new_era(void **state)
{
	static uint8_t wire[1500][16];
	uint8_t early[16], after[16], again[16];
	char copy[160];
	bool renewed;

	put(1, early);
	commit();
	store_close(s);
	snprintf(copy, sizeof(copy), "%s.copy", w.db);
	world_copy(w.db, copy);
	s = world_store(&w, NULL);
	for (unsigned i = 0; i < 1500; i++)
		put(1, wire[i]);
	commit();
	assert_memory_equal(wire[0], early, 8);
	store_close(s);
	world_copy(copy, w.db);
	s = world_store(&w, NULL);
	/* It does not know, and would use numbers of before. */
	assert_int_equal(seen(1, early, number_of(wire[1499]), &renewed), ERR_OK);
	assert_true(renewed);
	assert_true(store_dirty(s));
	commit();
	put(1, after);
	commit();
	assert_memory_not_equal(after, early, 8);
	assert_int_equal(number_of(after), 1);
	/* The rows that wait keep their ids; both eras are told of, the current one first. */
	assert_int_equal(eras(1), 2);
	assert_int_equal(mark(1), 1);
	assert_int_equal(state_of(early), OUTBOX_QUEUED);
	/* The same news twice is no news, also after a crash. */
	assert_int_equal(seen(1, early, number_of(wire[1499]), &renewed), ERR_OK);
	assert_false(renewed);
	crash();
	put(1, again);
	assert_memory_equal(again, after, 8);
	assert_int_equal(seen(1, early, number_of(wire[1499]), &renewed), ERR_OK);
	assert_false(renewed);
}

static void era_that_we_do_not_know_says_that_we_are_old(void **state)
{
	uint8_t wire[16], newer[8] = {7, 7, 7}, next[16];
	bool renewed;

	put(1, wire);
	commit();
	assert_int_equal(seen(1, newer, 3, &renewed), ERR_OK);
	assert_true(renewed);
	store_rollback(s); /* what was drawn stays in use: nobody else has it */
	put(1, next);
	commit();
	assert_memory_not_equal(next, wire, 8);
	assert_int_equal(seen(1, newer, 3, &renewed), ERR_OK);
	assert_false(renewed);
	crash();
	put(1, wire);
	assert_memory_equal(next, wire, 8);
}

static void import_gives_every_recipient_a_new_era(void **state)
{
	uint8_t a[16], b[16], a2[16], b2[16];

	put(1, a);
	put(2, b);
	commit();
	assert_int_equal(outbox_new_eras(s), ERR_OK);
	store_rollback(s);
	put(1, a2);
	assert_memory_equal(a2, a, 8);
	assert_int_equal(outbox_new_eras(s), ERR_OK);
	commit();
	put(1, a2);
	assert_memory_not_equal(a2, a, 8);
	commit();
	crash();
	put(2, b2); /* the floor is on disk */
	assert_memory_not_equal(b2, b, 8);
	assert_int_equal(number_of(b2), 1);
	put(1, a);
	assert_memory_equal(a2, a, 8);
	assert_int_equal(eras(1), 2);
}

/* An old era is told of until its last mark has left. */
static void finished_eras_are_dropped(void **state)
{
	struct node_id peer = world_peer(1);
	struct outbox_mark m[4];
	uint8_t old[16], now[16];
	size_t n;

	put(1, old);
	assert_int_equal(outbox_new_eras(s), ERR_OK);
	put(1, now);
	commit();
	assert_int_equal(outbox_settle(s, &peer, m, 4, &n), ERR_OK);
	assert_int_equal(n, 2);
	assert_memory_equal(m[0].era, now, 8);
	assert_memory_equal(m[1].era, old, 8);
	outbox_settle_told(s, &peer, m[1].era, m[1].seq);
	assert_int_equal(eras(1), 2); /* not finished */
	assert_int_equal(receipt(1, old, OUTBOX_DELIVERED), ERR_OK);
	commit();
	assert_int_equal(outbox_settle(s, &peer, m, 4, &n), ERR_OK);
	assert_int_equal(n, 2);
	assert_int_equal(m[1].seq, 2);
	outbox_settle_told(s, &peer, m[0].era, m[0].seq);
	outbox_settle_told(s, &peer, m[1].era, m[1].seq);
	assert_int_equal(eras(1), 1);
	assert_int_equal(receipt(1, now, OUTBOX_DELIVERED), ERR_OK);
	commit();
	outbox_settle_told(s, &peer, now, mark(1));
	assert_int_equal(eras(1), 1); /* the current one stays */
}

static void eras_are_bounded(void **state)
{
	enum { MORE = OUTBOX_ERAS_MAX + 10 };
	struct node_id peer = world_peer(1);
	struct outbox_new m = {.to = peer, .type = BYTES_LIT("MSG"), .body = BYTES_LIT("b")};
	static uint8_t wire[MORE][16];
	int64_t seq;

	for (unsigned i = 0; i < OUTBOX_ERAS_MAX; i++) {
		put(1, wire[i]);
		commit();
		assert_int_equal(outbox_new_eras(s), ERR_OK);
	}
	commit();
	assert_int_equal(eras(1), OUTBOX_ERAS_MAX);
	/* Each has a message that is not finished: none can be forgotten. */
	assert_int_equal(outbox_put(s, &m, &seq, wire[OUTBOX_ERAS_MAX]), ERR_FULL);
	commit();
	/* Nor for a recipient who claims to know newer ones. */
	bool renewed;
	crash();
	assert_int_equal(seen(1, (const uint8_t[8]){3, 1}, 9, &renewed), ERR_OK);
	assert_false(renewed);
	assert_int_equal(receipt(1, wire[5], OUTBOX_DELIVERED), ERR_OK);
	commit();
	assert_int_equal(outbox_put(s, &m, &seq, wire[OUTBOX_ERAS_MAX]), ERR_OK);
	commit();
	assert_int_equal(eras(1), OUTBOX_ERAS_MAX);
	crash();
	assert_int_equal(eras(1), OUTBOX_ERAS_MAX);
	assert_int_equal(receipt(1, wire[OUTBOX_ERAS_MAX], OUTBOX_DELIVERED), ERR_OK);
	assert_int_equal(receipt(1, wire[7], OUTBOX_DELIVERED), ERR_OK);
	commit();
}

/* The clock of the author jumps; the order and the marks do not care. */
static void clocks_do_not_decide(void **state)
{
	static const int64_t YEAR = 365ll * 86400000;
	uint8_t wire[3][16];
	struct outbox_row rows[4];
	uint64_t when;
	size_t n;

	put(1, wire[0]);
	commit();
	w.wall_ms -= (uint64_t)YEAR;
	put(1, wire[1]);
	commit();
	w.wall_ms += (uint64_t)(2 * YEAR);
	put(1, wire[2]);
	commit();
	assert_int_equal(number_of(wire[2]), 3);
	crash();
	assert_int_equal(mark(1), 1);
	assert_int_equal(outbox_next_expiry(s, &when), ERR_OK);
	assert_int_equal(outbox_expire(s, w.wall_ms, rows, 4, &n), ERR_OK);
	assert_int_equal(n, 2);
	assert_memory_equal(rows[0].wire_id, wire[1], 16);
	assert_memory_equal(rows[1].wire_id, wire[0], 16);
	commit();
	assert_int_equal(mark(1), 3);
	assert_int_equal(receipt(1, wire[0], OUTBOX_DELIVERED), ERR_OK); /* it had arrived */
	commit();
}

/* The heap of expiries under everything that can happen to a row. */
static void expiry_survives_rollbacks_and_ends(void **state)
{
	struct outbox_row rows[8];
	uint8_t wire[40][16];
	uint64_t when;
	int64_t seq;
	size_t n;

	for (unsigned i = 0; i < 40; i++) {
		struct outbox_new m = {.to = world_peer(1 + i % 3),
				       .type = BYTES_LIT("MSG"),
				       .priority = i % 4,
				       .expires_ms = i % 5 ? 1000 + (i * 37) % 40 : 0,
				       .body = BYTES_LIT("b")};
		assert_int_equal(outbox_put(s, &m, &seq, wire[i]), ERR_OK);
	}
	commit();
	assert_int_equal(outbox_next_expiry(s, &when), ERR_OK);
	uint64_t first = when;
	assert_int_equal(outbox_expire(s, 1010, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 8); /* as many as there is room for */
	assert_int_equal(rows[0].expires_ms, first);
	for (unsigned i = 1; i < n; i++)
		assert_true(rows[i].expires_ms >= rows[i - 1].expires_ms);
	store_rollback(s);
	assert_int_equal(outbox_next_expiry(s, &when), ERR_OK);
	assert_int_equal(when, first);
	unsigned total = 0;
	do {
		assert_int_equal(outbox_expire(s, 5000, rows, 8, &n), ERR_OK);
		total += (unsigned)n;
	} while (n);
	assert_int_equal(total, 32);
	commit();
	assert_int_equal(outbox_next_expiry(s, &when), ERR_OK);
	assert_int_equal(when, UINT64_MAX);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(numbers_count_up_for_each_recipient),
		T(a_row_answers_to_both_of_its_names),
		T(numbers_are_never_given_out_twice),
		T(mark_is_the_lowest_that_is_unfinished_and_committed),
		T(told_marks_are_not_changed_ones),
		T(the_truth_wins_and_settled_earlier_is_the_last_resort),
		T(what_is_sent_again_has_a_new_wire_id),
		T(receipts_in_the_group_are_seen_by_all),
		T(seen_below_the_next_number_changes_nothing),
		T(restored_author_draws_a_new_era),
		T(era_that_we_do_not_know_says_that_we_are_old),
		T(import_gives_every_recipient_a_new_era),
		T(finished_eras_are_dropped),
		T(eras_are_bounded),
		T(clocks_do_not_decide),
		T(expiry_survives_rollbacks_and_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
