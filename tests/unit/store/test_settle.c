/* The duplicate table of the inbox: repeats, marks, eras, receipts that are due (im2.md 9.5, 10.4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sqlite3.h>
#include <cmocka.h>

#include "base/text.h"
#include "tests/lib/store_world.h"

#define HOUR_MS 3600000ull
#define DAY_MS	(24 * HOUR_MS)

static struct world w;
static struct store *s;

static const struct store_limits WIDE = {
	.inbox_per_peer = 1u << 30, .inbox_total = 1u << 30, .inbox_bytes = 1ull << 40};

static int setup(void **state)
{
	world_init(&w);
	s = world_store(&w, &WIDE);
	return 0;
}

static int teardown(void **state)
{
	store_close(s);
	world_fini(&w);
	return 0;
}

static void crash(void)
{
	store_abandon(s);
	s = world_store(&w, &WIDE);
}

static void reopen(void)
{
	store_close(s);
	s = world_store(&w, &WIDE);
}

static void commit(void)
{
	assert_int_equal(store_commit(s), ERR_OK);
}

static enum err take(unsigned author, uint8_t era, uint64_t number)
{
	uint8_t wire[16];

	world_wire(wire, era, number);
	return world_take(s, &w, author, wire, "body");
}

static enum err settled(unsigned author, uint8_t era, uint64_t number)
{
	struct node_id from = world_peer(author);
	uint8_t e[8];

	memset(e, era, sizeof(e));
	return inbox_settled(s, &from, e, number);
}

static size_t entries(void)
{
	struct inbox_table t;

	inbox_table(s, &t);
	return t.entries;
}

static void left(unsigned author)
{
	struct node_id from = world_peer(author);

	inbox_receipts_left(s, &from, INT64_MAX / 2);
}

static void seen_is(unsigned author, int era, uint64_t number)
{
	struct node_id from = world_peer(author);
	uint8_t got[8], want[8];
	uint64_t seq;
	enum err e = inbox_seen(s, &from, got, &seq);

	assert_int_equal(e, era < 0 ? ERR_NOTFOUND : ERR_OK);
	if (era < 0)
		return;
	memset(want, era, sizeof(want));
	assert_memory_equal(got, want, 8);
	assert_int_equal(seq, number);
}

static void row_keeps_what_came_with_it(void **state)
{
	uint8_t wire[16];
	struct inbox_new m;
	struct inbox_row r;
	enum inbox_state was;
	char hex[33];
	int64_t seq;
	size_t n;

	world_wire(wire, 3, 77);
	hex_encode(BYTES_ARR(wire), hex);
	m = world_letter(&w, 1, wire, "body");
	m.id = BYTES_LIT("ignored");
	m.meta = bytes_of("\1\0\2", 3);
	assert_int_equal(inbox_put(s, &m, &seq, &was), ERR_OK);
	commit();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(inbox_get(s, seq, &r), ERR_OK);
		assert_string_equal(r.id, hex);
		assert_string_equal(r.type, "MSG");
		assert_true(r.has_wire);
		assert_memory_equal(r.wire_id, wire, 16);
		assert_int_equal(r.meta_len, 3);
		assert_memory_equal(r.meta, "\1\0\2", 3);
		assert_int_equal(inbox_find(s, bytes_of(hex, 32), &r, 1, &n), ERR_OK);
		assert_int_equal(n, 1);
		crash();
	}
	m.meta = bytes_of(hex, INBOX_META_MAX + 1);
	world_wire(m.wire_id, 3, 78);
	assert_int_equal(inbox_put(s, &m, &seq, &was), ERR_LIMIT);
	m.meta.n = 0;
	world_wire(m.wire_id, 3, 0);
	assert_int_equal(inbox_put(s, &m, &seq, &was), ERR_MALFORMED);
	world_wire(m.wire_id, 3, UINT64_MAX);
	assert_int_equal(inbox_put(s, &m, &seq, &was), ERR_MALFORMED);
}

static void repeats_are_told_from_conflicts(void **state)
{
	struct inbox_new m;
	enum inbox_state was;
	int64_t seq, first;
	uint8_t wire[16];
	bool changed;

	world_wire(wire, 1, 5);
	m = world_letter(&w, 1, wire, "body");
	assert_int_equal(inbox_put(s, &m, &first, &was), ERR_OK);
	for (int i = 0; i < 3; i++) {
		m = world_letter(&w, 1, wire, "body");
		assert_int_equal(inbox_put(s, &m, &seq, &was), ERR_EXISTS);
		assert_int_equal(seq, first);
		assert_int_equal(was, i == 2 ? INBOX_READ : INBOX_NEW);
		m.digest[3] ^= 1;
		assert_int_equal(inbox_put(s, &m, &seq, &was), ERR_DUPLICATE);
		/* Another author may use the same bytes. */
		m = world_letter(&w, 2, wire, "other");
		assert_int_equal(inbox_put(s, &m, &seq, &was), i ? ERR_EXISTS : ERR_OK);
		if (i == 1)
			assert_int_equal(inbox_mark_read(s, first, w.wall_ms, &changed), ERR_OK);
		commit();
		crash();
	}
	/* A deleted body is no reason to deliver again, nor is a rolled back copy one not to. */
	assert_int_equal(inbox_delete(s, first), ERR_OK);
	m = world_letter(&w, 1, wire, "body");
	assert_int_equal(inbox_put(s, &m, &seq, &was), ERR_EXISTS);
	assert_int_equal(was, INBOX_DROPPED);
	assert_int_equal(take(1, 1, 6), ERR_OK);
	store_rollback(s);
	assert_int_equal(take(1, 1, 6), ERR_OK);
	commit();
	assert_int_equal(entries(), 3);
}

/* A daemon of ours names a message alike on both wires. */
static void both_generations_know_the_same_message(void **state)
{
	struct inbox_new m, old = {.author = world_peer(1), .via = world_peer(1), .type = BYTES_LIT("MSG")};
	enum inbox_state was;
	uint8_t wire[16];
	char hex[3][33];
	int64_t seq;

	for (unsigned i = 0; i < 3; i++) {
		world_wire(wire, 4, i + 1);
		hex_encode(BYTES_ARR(wire), hex[i]);
	}
	old.id = bytes_of(hex[0], 32);
	assert_int_equal(inbox_put(s, &old, &seq, &was), ERR_OK);
	world_wire(wire, 4, 1);
	m = world_letter(&w, 1, wire, "body");
	assert_int_equal(inbox_put(s, &m, &seq, &was), ERR_EXISTS); /* no digest known of it */
	assert_int_equal(take(1, 4, 2), ERR_OK);
	old.id = bytes_of(hex[1], 32);
	assert_int_equal(inbox_put(s, &old, &seq, &was), ERR_EXISTS);
	commit();
	left(1);
	assert_int_equal(settled(1, 4, 4), ERR_OK);
	commit();
	old.id = bytes_of(hex[2], 32);
	assert_int_equal(inbox_put(s, &old, &seq, &was), ERR_EXPIRED);
	old.author = world_peer(2);
	assert_int_equal(inbox_put(s, &old, &seq, &was), ERR_OK);
}

static enum err known(unsigned author, uint8_t era, uint64_t number, struct inbox_known *out)
{
	struct node_id from = world_peer(author);
	uint8_t wire[16];
	char id[33];

	world_wire(wire, era, number);
	hex_encode(BYTES_ARR(wire), id);
	return inbox_known(s, &from, bytes_str(id), out);
}

static void what_is_known_is_told_without_taking_anything(void **state)
{
	struct node_id from = world_peer(1);
	uint8_t wire[16], era[8];
	struct inbox_known k;
	struct inbox_new m;

	memset(era, 7, sizeof era);
	assert_int_equal(known(1, 7, 5, &k), ERR_NOTFOUND);
	assert_false(inbox_has_era(s, &from, era));
	assert_int_equal(take(1, 7, 5), ERR_OK);
	assert_true(inbox_has_era(s, &from, era));
	/* In the open group too. */
	for (int again = 0; again < 3; again++) {
		world_wire(wire, 7, 5);
		m = world_letter(&w, 1, wire, "body");
		assert_int_equal(known(1, 7, 5, &k), ERR_EXISTS);
		assert_int_equal(k.state, INBOX_NEW);
		assert_int_equal(k.seq, 1);
		assert_true(k.has_digest);
		assert_memory_equal(k.digest, m.digest, 16);
		assert_int_equal(known(1, 7, 6, &k), ERR_NOTFOUND);
		assert_int_equal(known(2, 7, 5, &k), ERR_NOTFOUND);
		if (again == 0)
			commit();
		else
			crash();
	}
	left(1);
	assert_int_equal(settled(1, 7, 9), ERR_OK);
	commit();
	assert_int_equal(known(1, 7, 8, &k), ERR_EXPIRED);
	assert_int_equal(known(1, 7, 9, &k), ERR_NOTFOUND);
	/* Its row is there as long as it is, and says more than the mark. */
	assert_int_equal(known(1, 7, 5, &k), ERR_EXISTS);
	/* The old wire: an id of its own, no digest. */
	world_in(s, &w, 1, "chosen", true, "body");
	assert_int_equal(inbox_known(s, &from, BYTES_LIT("chosen"), &k), ERR_EXISTS);
	assert_int_equal(k.state, INBOX_HELD);
	assert_false(k.has_digest);
	assert_int_equal(inbox_known(s, &from, BYTES_LIT("chosen2"), &k), ERR_NOTFOUND);
	assert_int_equal(inbox_known(s, &from, BYTES_LIT(""), &k), ERR_MALFORMED);
}

static void nothing_is_taken_below_the_mark(void **state)
{
	for (uint64_t i = 1; i <= 20; i++)
		if (i != 7)
			assert_int_equal(take(1, 1, i), ERR_OK);
	commit();
	left(1);
	assert_int_equal(settled(1, 1, 11), ERR_OK);
	assert_int_equal(take(1, 1, 7), ERR_EXPIRED);
	assert_int_equal(take(1, 1, 3), ERR_EXISTS); /* until the mark is committed */
	store_rollback(s);
	assert_int_equal(entries(), 19);
	assert_int_equal(take(1, 1, 7), ERR_OK);
	store_rollback(s);
	assert_int_equal(settled(1, 1, 11), ERR_OK);
	commit();
	assert_int_equal(entries(), 10);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(take(1, 1, 7), ERR_EXPIRED);
		assert_int_equal(take(1, 1, 3), ERR_EXPIRED);
		assert_int_equal(take(1, 1, 11), ERR_EXISTS);
		/* Never lower. */
		assert_int_equal(settled(1, 1, 5), ERR_OK);
		assert_false(store_dirty(s));
		assert_int_equal(take(1, 1, 7), ERR_EXPIRED);
		crash();
		if (i == 0)
			left(1);
	}
	/* The messages themselves are there as before. */
	struct inbox_row r;
	uint8_t wire[16];
	char hex[33];
	size_t n;
	world_wire(wire, 1, 3);
	hex_encode(BYTES_ARR(wire), hex);
	assert_int_equal(inbox_find(s, bytes_of(hex, 32), &r, 1, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_int_equal(settled(1, 1, 0), ERR_MALFORMED);
	assert_int_equal(settled(1, 1, UINT64_MAX), ERR_MALFORMED);
}

static void entries_stay_until_their_receipt_has_left(void **state)
{
	struct node_id author = world_peer(1);
	struct inbox_row rows[8];
	size_t n;

	for (uint64_t i = 1; i <= 5; i++)
		assert_int_equal(take(1, 1, i), ERR_OK);
	assert_int_equal(inbox_receipts_due(s, &author, 0, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 0); /* no receipt before the commit */
	commit();
	assert_int_equal(settled(1, 1, 6), ERR_OK);
	commit();
	assert_int_equal(entries(), 5);
	assert_int_equal(take(1, 1, 2), ERR_EXISTS);
	assert_int_equal(inbox_receipts_due(s, &author, 0, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 5);
	assert_int_equal(inbox_receipts_due(s, &author, rows[1].seq, rows, 2, &n), ERR_OK);
	assert_int_equal(n, 2);
	assert_int_equal(rows[0].wire_id[15], 3);
	int64_t third = rows[0].seq;
	inbox_receipts_left(s, &author, third);
	assert_int_equal(entries(), 2);
	assert_int_equal(take(1, 1, 2), ERR_EXPIRED);
	assert_int_equal(take(1, 1, 4), ERR_EXISTS);
	/* It was only in memory: after a crash the receipts leave once more. */
	crash();
	assert_int_equal(inbox_receipts_due(s, &author, 0, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 5);
	inbox_receipts_left(s, &author, third);
	assert_false(store_dirty(s));
	assert_int_equal(take(2, 9, 1), ERR_OK); /* the group that carries it */
	commit();
	crash();
	assert_int_equal(inbox_receipts_due(s, &author, 0, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 2);
	assert_int_equal(rows[0].wire_id[15], 4);
	/* Written at the end too. */
	left(1);
	reopen();
	assert_int_equal(inbox_receipts_due(s, &author, 0, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 0);
	author = world_peer(2);
	assert_int_equal(inbox_receipts_due(s, &author, 0, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 1);
	author.hex[0] = 'G';
	assert_int_equal(inbox_receipts_due(s, &author, 0, rows, 8, &n), ERR_MALFORMED);
}

static void failed_group_keeps_the_watermark_for_the_next(void **state)
{
	struct node_id author = world_peer(1);
	struct inbox_row rows[4];
	size_t n;

	assert_int_equal(take(1, 1, 1), ERR_OK);
	commit();
	left(1);
	assert_int_equal(take(1, 1, 2), ERR_OK);
	/* The writes of the group, the watermark among them, then the commit itself. */
	store_fail_after(s, 1);
	assert_int_equal(store_commit(s), ERR_STORE);
	assert_int_equal(take(1, 1, 3), ERR_OK);
	store_fail_after(s, 2);
	assert_int_equal(store_commit(s), ERR_STORE);
	assert_int_equal(take(1, 1, 4), ERR_OK);
	commit();
	crash();
	assert_int_equal(inbox_receipts_due(s, &author, 0, rows, 4, &n), ERR_OK);
	assert_int_equal(n, 0); /* the watermark was ahead of row 4 of this group as well */
	assert_int_equal(take(1, 1, 2), ERR_OK);
}

static void held_ones_answer_until_they_are_let_out(void **state)
{
	struct node_id author = world_peer(1);
	struct inbox_row rows[8];
	enum inbox_state was;
	int64_t seq;
	uint8_t wire[16];
	struct inbox_new m;
	size_t n;

	for (uint64_t i = 1; i <= 4; i++) {
		world_wire(wire, 1, i);
		m = world_letter(&w, 1, wire, "body");
		m.held = true;
		assert_int_equal(inbox_put(s, &m, &seq, &was), ERR_OK);
	}
	commit();
	left(1);
	assert_int_equal(settled(1, 1, 5), ERR_OK);
	commit();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(entries(), 4);
		assert_int_equal(inbox_put(s, &m, &seq, &was), ERR_EXISTS);
		assert_int_equal(was, INBOX_HELD);
		assert_int_equal(inbox_receipts_due(s, &author, 0, rows, 8, &n), ERR_OK);
		assert_int_equal(n, 0);
		if (i == 0)
			reopen();
	}
	assert_int_equal(inbox_release(s, &author, true, rows, 3, &n), ERR_OK);
	assert_int_equal(n, 3);
	store_rollback(s);
	left(1);
	assert_int_equal(entries(), 4); /* held again */
	assert_int_equal(inbox_release(s, &author, true, rows, 3, &n), ERR_OK);
	assert_int_equal(inbox_release(s, &author, false, rows, 3, &n), ERR_OK);
	assert_int_equal(n, 1);
	commit();
	/* Now a receipt is due that says more, whatever had left before; a crash does not forget it. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(entries(), 4);
		assert_int_equal(inbox_receipts_due(s, &author, 0, rows, 8, &n), ERR_OK);
		assert_int_equal(n, 4);
		assert_int_equal(rows[0].state, INBOX_NEW);
		assert_int_equal(rows[3].state, INBOX_DROPPED);
		assert_int_equal(rows[3].read_ms, 0);
		crash();
	}
	left(1);
	assert_int_equal(entries(), 0);
	assert_int_equal(inbox_put(s, &m, &seq, &was), ERR_EXPIRED);
	reopen();
	assert_int_equal(inbox_receipts_due(s, &author, 0, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(entries(), 0);
}

static void seen_tells_the_highest_of_the_newest_era(void **state)
{
	seen_is(1, -1, 0);
	assert_int_equal(take(1, 1, 4), ERR_OK);
	seen_is(1, -1, 0); /* not committed */
	commit();
	seen_is(1, 1, 4);
	assert_int_equal(take(1, 1, 9), ERR_OK);
	seen_is(1, 1, 4);
	store_rollback(s);
	seen_is(1, 1, 4);
	assert_int_equal(take(1, 1, 2), ERR_OK);
	assert_int_equal(take(1, 2, 1), ERR_OK);
	commit();
	seen_is(1, 2, 1);
	left(1);
	assert_int_equal(settled(1, 2, 12), ERR_OK);
	commit();
	seen_is(1, 2, 11); /* settled is what is below the mark */
	crash();
	seen_is(1, 2, 11);
	assert_int_equal(take(1, 1, 40), ERR_OK); /* an older era does not get newer by it */
	commit();
	reopen();
	seen_is(1, 2, 11);
	seen_is(2, -1, 0);
}

/* What the table holds is what is in flight, however much came. */
static void settled_messages_leave_no_trace_in_memory(void **state)
{
	enum { N = 30000, GROUP = 64, EVERY = 256 };
	struct inbox_table t;
	size_t most = 0, bytes = 0;

	for (uint64_t i = 1; i <= N; i++) {
		assert_int_equal(take(1, 1, i), ERR_OK);
		if (i % GROUP == 0) {
			commit();
			left(1);
		}
		if (i % EVERY == 0)
			assert_int_equal(settled(1, 1, i - 10), ERR_OK);
		inbox_table(s, &t);
		if (t.entries > most)
			most = t.entries;
		if (t.bytes > bytes)
			bytes = t.bytes;
	}
	commit();
	left(1);
	assert_true(most <= EVERY + 2 * GROUP + 10);
	assert_true(bytes <= 32 * 1024);
	assert_int_equal(settled(1, 1, N + 1), ERR_OK);
	commit();
	inbox_table(s, &t);
	assert_int_equal(t.entries, 0);
	assert_int_equal(t.eras, 1);
	crash();
	inbox_table(s, &t);
	assert_true(t.entries <= GROUP); /* those whose receipts may not have left */
	assert_int_equal(take(1, 1, N), t.entries ? ERR_EXISTS : ERR_EXPIRED);
	assert_int_equal(take(1, 1, 5), ERR_EXPIRED);
	assert_int_equal(take(1, 1, N + 1), ERR_OK);
}

/* Nothing leaves for lack of room, and what is stuck can still finish. */
static void full_table_takes_only_what_fills_gaps(void **state)
{
	uint64_t i, gaps = 0;

	for (i = 1; gaps + INBOX_ENTRIES_NEW > i - 1; i++) {
		if (i % 40 == 0 && gaps < INBOX_ENTRIES_MAX - INBOX_ENTRIES_NEW + 5) {
			gaps++;
			continue;
		}
		assert_int_equal(take(1, 1, i), ERR_OK);
		if (i % 1000 == 0)
			commit();
	}
	commit();
	assert_int_equal(entries(), INBOX_ENTRIES_NEW);
	assert_int_equal(take(1, 1, i), ERR_FULL);
	assert_int_equal(take(1, 2, 1), ERR_FULL); /* a new era is new as well */
	assert_int_equal(take(2, 1, i), ERR_OK);   /* of this author only */
	assert_int_equal(take(1, 1, 1), ERR_EXISTS);
	for (uint64_t k = 1; k <= INBOX_ENTRIES_MAX - INBOX_ENTRIES_NEW; k++)
		assert_int_equal(take(1, 1, 40 * k), ERR_OK);
	commit();
	assert_int_equal(take(1, 1, 40 * (gaps - 1)), ERR_FULL);
	left(1);
	assert_int_equal(settled(1, 1, 2001), ERR_OK);
	assert_int_equal(take(1, 1, 40 * (gaps - 1)), ERR_FULL); /* not before the commit */
	commit();
	assert_int_equal(take(1, 1, 40 * (gaps - 1)), ERR_OK);
	assert_int_equal(take(1, 1, i), ERR_OK);
	commit();
	/* All of it comes back at open. */
	size_t n = entries();
	crash();
	left(1);
	assert_int_equal(entries(), n);
}

static void prune(void)
{
	unsigned deleted;

	assert_int_equal(store_prune(s, w.wall_ms, 1000, &deleted), ERR_OK);
	commit();
}

static void sixty_four_eras_and_then_one_makes_room(void **state)
{
	for (uint8_t e = 1; e <= INBOX_ERAS_MAX; e++)
		assert_int_equal(take(1, e, 1), ERR_OK);
	commit();
	left(1);
	assert_int_equal(take(1, 100, 1), ERR_FULL);
	assert_int_equal(take(2, 100, 1), ERR_OK);
	/* Settled is not enough: its mark is still needed against old copies. */
	assert_int_equal(settled(1, 3, 2), ERR_OK);
	assert_int_equal(settled(1, 5, 2), ERR_OK);
	commit();
	assert_int_equal(take(1, 100, 1), ERR_FULL);
	w.now_ms += 3 * DAY_MS + HOUR_MS;
	assert_int_equal(take(1, 100, 1), ERR_FULL); /* the row of the era says a day more */
	w.now_ms += DAY_MS;
	assert_int_equal(take(1, 3, 1), ERR_EXPIRED);
	assert_int_equal(take(1, 100, 1), ERR_OK);
	store_rollback(s);
	assert_int_equal(take(1, 3, 1), ERR_EXPIRED); /* it did not have to go */
	assert_int_equal(take(1, 100, 1), ERR_OK);
	commit();
	for (int i = 0; i < 2; i++) {
		struct inbox_table t;
		inbox_table(s, &t);
		assert_int_equal(t.eras, INBOX_ERAS_MAX + 1);
		assert_int_equal(take(1, 100, 1), ERR_EXISTS);
		assert_int_equal(take(1, 5, 1), ERR_EXPIRED);
		crash();
		left(1);
		left(2);
	}
	/* The era that made room can come again: then another one makes room. */
	assert_int_equal(take(1, 3, 1), ERR_OK);
	commit();
	assert_int_equal(take(1, 101, 1), ERR_FULL);
}

/* keep_until, in running time: whoever is never told anything by its author forgets in the end. */
static void entries_leave_when_their_time_has_come(void **state)
{
	uint8_t wire[16];
	struct inbox_new m;
	enum inbox_state was;
	int64_t seq;

	assert_int_equal(take(1, 1, 1), ERR_OK);
	assert_int_equal(take(1, 1, 2), ERR_OK);
	assert_int_equal(take(1, 1, 4), ERR_OK);
	world_wire(wire, 2, 1);
	m = world_letter(&w, 1, wire, "body");
	m.clock_plausible = false;
	assert_int_equal(inbox_put(s, &m, &seq, &was), ERR_OK);
	world_wire(m.wire_id, 3, 1);
	m.clock_plausible = true;
	m.keep_s = 20 * 86400;
	assert_int_equal(inbox_put(s, &m, &seq, &was), ERR_OK);
	world_wire(m.wire_id, 4, 1);
	m.keep_s = 0;
	m.ttl_s = 1u << 30; /* cut at 30 days */
	assert_int_equal(inbox_put(s, &m, &seq, &was), ERR_OK);
	commit();
	w.now_ms += 3 * DAY_MS - HOUR_MS;
	prune();
	assert_int_equal(entries(), 6);
	w.now_ms += 3 * HOUR_MS;
	prune();
	assert_int_equal(entries(), 4); /* 1 and 2; 3 is missing below 4 */
	assert_int_equal(take(1, 1, 1), ERR_EXPIRED);
	assert_int_equal(take(1, 1, 4), ERR_EXISTS);
	crash();
	assert_int_equal(entries(), 4);
	w.now_ms += 5 * DAY_MS;
	prune();
	assert_int_equal(entries(), 3); /* without a clock: 7 days */
	w.now_ms += 13 * DAY_MS;
	prune();
	assert_int_equal(entries(), 2); /* the prekey is erased */
	w.now_ms += 10 * DAY_MS;
	prune();
	assert_int_equal(entries(), 2);
	w.now_ms += 2 * DAY_MS + 2 * HOUR_MS;
	prune();
	assert_int_equal(entries(), 0); /* and 30 days more for what has a gap below */
	assert_int_equal(take(1, 1, 3), ERR_EXPIRED);
	assert_int_equal(take(1, 1, 4), ERR_EXPIRED);
	assert_int_equal(take(1, 1, 5), ERR_OK);
}

static void wall_clock_a_year_off_prunes_nothing(void **state)
{
	static const uint64_t YEAR = 365 * DAY_MS;
	bool changed;

	for (uint64_t i = 1; i <= 10; i++) {
		assert_int_equal(take(1, 1, i), ERR_OK);
		assert_int_equal(inbox_mark_read(s, (int64_t)i, w.wall_ms, &changed), ERR_OK);
	}
	assert_int_equal(settled(1, 1, 6), ERR_OK);
	commit();
	left(1);
	for (int i = 0; i < 4; i++) {
		w.wall_ms += i % 2 ? -YEAR : YEAR;
		prune();
		for (uint64_t k = 1; k <= 10; k++)
			assert_int_equal(take(1, 1, k), k < 6 ? ERR_EXPIRED : ERR_EXISTS);
		reopen();
	}
	/* Rows of settled ones were pruned by the wall clock, as ever; the others are what answers. */
	struct inbox_row r;
	assert_int_equal(inbox_get(s, 3, &r), ERR_NOTFOUND);
	assert_int_equal(inbox_get(s, 8, &r), ERR_OK);
}

static void running_time_counts_over_all_runs(void **state)
{
	uint64_t before = store_running_ms(s);

	w.now_ms += 5000;
	w.wall_ms -= DAY_MS;
	assert_int_equal(store_running_ms(s), before + 5000);
	reopen();
	assert_int_equal(store_running_ms(s), before + 5000);
	w.now_ms = 77; /* the machine was started again */
	reopen();
	uint64_t now = store_running_ms(s);
	assert_in_range(now, before + 5000, before + 5000 + 1);
	w.now_ms += 10 * DAY_MS;
	assert_int_equal(take(1, 1, 1), ERR_OK);
	commit();
	w.now_ms += 30000;
	assert_int_equal(take(1, 1, 2), ERR_OK);
	commit();
	crash(); /* what the last minute did not save is lost, never more gained */
	assert_int_equal(store_running_ms(s), now + 10 * DAY_MS);
}

/* An old copy of the receiver's database is put back: it does not know what it took since. */
static void restored_receiver_is_told_by_settling(void **state)
{
	char copy[160];

	assert_int_equal(take(1, 1, 1), ERR_OK);
	commit();
	store_close(s);
	snprintf(copy, sizeof(copy), "%s.copy", w.db);
	world_copy(w.db, copy);
	s = world_store(&w, &WIDE);
	for (uint64_t i = 2; i <= 30; i++)
		assert_int_equal(take(1, 1, i), ERR_OK);
	assert_int_equal(take(1, 2, 1), ERR_OK);
	commit();
	store_close(s);
	world_copy(copy, w.db);
	s = world_store(&w, &WIDE);
	seen_is(1, 1, 1);
	/* The author's next session begins with its marks; copies that come later are not delivered again. */
	assert_int_equal(settled(1, 1, 31), ERR_OK);
	assert_int_equal(settled(1, 2, 2), ERR_OK); /* an era that it has never heard of */
	commit();
	assert_int_equal(take(1, 1, 17), ERR_EXPIRED);
	assert_int_equal(take(1, 2, 1), ERR_EXPIRED);
	assert_int_equal(take(1, 2, 2), ERR_OK);
	commit();
	seen_is(1, 2, 2);
}

static void changed_row_does_not_answer_for_another(void **state)
{
	uint8_t wire[16];
	struct inbox_new m;
	enum inbox_state was;
	struct inbox_row r;
	int64_t seq;
	sqlite3 *db;

	for (uint64_t i = 1; i <= 3; i++)
		assert_int_equal(take(1, 1, i), ERR_OK);
	commit();
	store_close(s);
	assert_int_equal(sqlite3_open(w.db, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db,
				      "UPDATE inbox SET wire = x'0101010101010101000000000000000a'"
				      " WHERE seq = 2; UPDATE inbox SET keep = keep + 1 WHERE seq = 3",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	s = world_store(&w, &WIDE);
	assert_int_equal(inbox_get(s, 2, &r), ERR_CORRUPT);
	assert_int_equal(inbox_get(s, 3, &r), ERR_CORRUPT);
	/* A row that does not open has no digest to hold against: a repeat, never a second delivery. */
	world_wire(wire, 1, 3);
	m = world_letter(&w, 1, wire, "body");
	m.digest[0] ^= 1;
	assert_int_equal(inbox_put(s, &m, &seq, &was), ERR_EXISTS);
}

static void lost_row_keeps_no_receipt_of_others(void **state)
{
	struct node_id from = world_peer(1);
	struct inbox_row rows[8];
	sqlite3 *db;
	size_t n;

	for (uint64_t i = 1; i <= 4; i++)
		assert_int_equal(take(1, 1, i), ERR_OK);
	commit();
	assert_int_equal(sqlite3_open(w.db, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "DELETE FROM inbox WHERE seq = 2; UPDATE inbox SET wire = zeroblob(16) WHERE seq = 4",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(inbox_receipts_due(s, &from, 0, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 2);
	assert_int_equal(rows[0].seq, 1);
	assert_int_equal(rows[1].seq, 3);
}

static struct node_id only;

static bool is_only(void *ctx, const struct node_id *id)
{
	return node_id_eq(id, ctx);
}

static void prune_for_hours(void)
{
	unsigned deleted;

	for (int i = 0; i < 3; i++) {
		w.now_ms += 2 * HOUR_MS;
		assert_int_equal(store_prune(s, w.wall_ms, 100, &deleted), ERR_OK);
		commit();
	}
}

static void marks_of_whom_nobody_knows_go_when_their_time_is_up(void **state)
{
	struct inbox_table t;

	only = world_peer(1);
	for (unsigned author = 1; author <= 5; author++)
		assert_int_equal(settled(author, 1, 9), ERR_OK);
	commit();
	left(3);
	assert_int_equal(settled(3, 1, 10), ERR_OK);
	commit();
	prune_for_hours();
	store_know_authors(s, is_only, &only);
	prune_for_hours();
	inbox_table(s, &t);
	assert_int_equal(t.authors, 5); /* copies may still be under way */
	w.now_ms += 40 * DAY_MS;
	prune_for_hours();
	for (int i = 0; i < 2; i++) {
		inbox_table(s, &t);
		assert_int_equal(t.authors, 1);
		assert_int_equal(t.eras, 1);
		seen_is(1, 1, 8);
		seen_is(3, -1, 0);
		crash();
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(row_keeps_what_came_with_it),
		T(repeats_are_told_from_conflicts),
		T(both_generations_know_the_same_message),
		T(what_is_known_is_told_without_taking_anything),
		T(nothing_is_taken_below_the_mark),
		T(entries_stay_until_their_receipt_has_left),
		T(failed_group_keeps_the_watermark_for_the_next),
		T(held_ones_answer_until_they_are_let_out),
		T(seen_tells_the_highest_of_the_newest_era),
		T(settled_messages_leave_no_trace_in_memory),
		T(full_table_takes_only_what_fills_gaps),
		T(sixty_four_eras_and_then_one_makes_room),
		T(entries_leave_when_their_time_has_come),
		T(wall_clock_a_year_off_prunes_nothing),
		T(running_time_counts_over_all_runs),
		T(restored_receiver_is_told_by_settling),
		T(changed_row_does_not_answer_for_another),
		T(lost_row_keeps_no_receipt_of_others),
		T(marks_of_whom_nobody_knows_go_when_their_time_is_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
