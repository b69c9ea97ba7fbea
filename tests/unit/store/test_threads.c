#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "store/store_internal.h"
#include "store/threads.h"
#include "base/text.h"
#include "store/track.h"
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

static void tick(uint64_t ms)
{
	w.now_ms += ms;
	w.wall_ms += ms;
}

/* "o1 i1 ...": by their ids, in the order of the page. */
static void show(const struct thread_row *rows, size_t n, char out[static 256])
{
	size_t used = 0;

	out[0] = 0;
	for (size_t i = 0; i < n; i++)
		used += (size_t)snprintf(out + used, 256 - used, "%s%s", i ? " " : "", rows[i].is_out ? rows[i].out.id : rows[i].in.id);
}

static void page(unsigned peer, bool older, struct thread_mark *at, size_t max, const char *expect, bool more)
{
	struct node_id id = world_peer(peer);
	struct thread_row rows[16];
	char text[256];
	size_t n;
	bool is_more;

	assert_int_equal(thread_page(s, &id, older, at, rows, max, &n, &is_more), ERR_OK);
	show(rows, n, text);
	assert_string_equal(text, expect);
	assert_int_equal(is_more, more);
}

static void talk(void)
{
	world_out(s, &w, 1, "o1", 1, "a");
	tick(10);
	world_in(s, &w, 1, "i1", false, "b");
	tick(10);
	world_in(s, &w, 1, "i2", false, "c");
	world_out(s, &w, 2, "other", 1, "x");
	tick(10);
	world_out(s, &w, 1, "o2", 1, "d");
	tick(10);
	world_in(s, &w, 1, "i3", true, "e");
	assert_int_equal(store_commit(s), ERR_OK);
}

static void both_directions_in_the_order_of_time(void **state)
{
	struct thread_mark at = {INT64_MAX, INT64_MAX}, start = {0, 0};

	talk();
	page(1, true, &at, 2, "i3 o2", true);
	page(1, true, &at, 2, "i2 i1", true);
	page(1, true, &at, 2, "o1", false);
	page(1, true, &at, 2, "", false);
	page(1, false, &at, 3, "o1 i1 i2", true);
	page(1, false, &at, 3, "o2 i3", false);
	page(1, false, &start, 16, "o1 i1 i2 o2 i3", false);
	page(3, true, &at, 4, "", false);
}

static void of_the_same_moment_there_is_one_order(void **state)
{
	struct thread_mark at = {INT64_MAX, INT64_MAX};

	world_out(s, &w, 1, "o1", 1, "a");
	world_in(s, &w, 1, "i1", false, "b");
	world_out(s, &w, 1, "o2", 1, "c");
	world_in(s, &w, 1, "i2", false, "d");
	assert_int_equal(store_commit(s), ERR_OK);
	page(1, true, &at, 3, "i2 i1 o2", true);
	page(1, true, &at, 3, "o1", false);
	page(1, false, &at, 4, "o1 o2 i1 i2", false);
}

static void survives_reopening(void **state)
{
	struct thread_mark at = {INT64_MAX, INT64_MAX};

	talk();
	store_close(s);
	s = world_store(&w, NULL);
	page(1, true, &at, 16, "i3 o2 i2 i1 o1", false);
}

static void what_is_rolled_back_was_never_said(void **state)
{
	struct thread_mark at = {INT64_MAX, INT64_MAX};
	struct node_id two = world_peer(2), nine = world_peer(9);
	struct thread_head h;
	uint64_t was;

	talk();
	assert_int_equal(thread_head(s, &two, &h), ERR_OK);
	was = h.last_ms;
	tick(1000);
	world_out(s, &w, 2, "undone", 1, "y");
	world_in(s, &w, 9, "undone", false, "z");
	assert_int_equal(thread_head(s, &two, &h), ERR_OK);
	assert_true(h.last_ms > was);
	store_rollback(s);
	assert_int_equal(thread_head(s, &two, &h), ERR_OK);
	assert_int_equal(h.last_ms, was);
	assert_int_equal(h.out, 1);
	assert_int_equal(thread_head(s, &nine, &h), ERR_NOTFOUND);
	page(2, true, &at, 4, "other", false);
}

static void deleted_ones_are_left_out(void **state)
{
	struct thread_mark at = {INT64_MAX, INT64_MAX};

	talk();
	assert_int_equal(inbox_delete(s, 2), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	page(1, true, &at, 16, "i3 o2 i1 o1", false);
}

static void pruned_ones_leave_the_table(void **state)
{
	struct thread_mark at = {INT64_MAX, INT64_MAX};
	struct node_id one = world_peer(1);
	struct thread_head h;
	unsigned deleted;
	bool changed;

	talk();
	assert_int_equal(outbox_move(s, 1, OUTBOX_FAILED, NULL, w.wall_ms), ERR_OK);
	assert_int_equal(inbox_mark_read(s, 1, w.wall_ms, &changed), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	tick(40ull * 86400000);
	assert_int_equal(store_prune(s, w.wall_ms, 100, &deleted), ERR_OK);
	assert_int_equal(deleted, 2);
	store_rollback(s);
	page(1, true, &at, 16, "i3 o2 i2 i1 o1", false);
	s->prune_at[BOX_OUT] = s->prune_at[BOX_IN] = 0;
	assert_int_equal(store_prune(s, w.wall_ms, 100, &deleted), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	at = (struct thread_mark){INT64_MAX, INT64_MAX};
	page(1, true, &at, 16, "i3 o2 i2", false);
	assert_int_equal(thread_head(s, &one, &h), ERR_OK);
	assert_int_equal(h.out, 1);
	assert_int_equal(h.in, 2);
}

static void heads_come_newest_first_in_pages(void **state)
{
	struct thread_head h[8];
	size_t n, total;

	for (unsigned i = 1; i <= 5; i++) {
		world_in(s, &w, i, "m", false, "x");
		if (i != 3)
			tick(5); /* 3 and 4 at one time: told apart by id */
	}
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(thread_list(s, UINT64_MAX, NULL, h, 2, &n, &total), ERR_OK);
	assert_int_equal(n, 2);
	assert_int_equal(total, 5);
	struct node_id five = world_peer(5);
	assert_true(node_id_eq(&h[0].peer, &five));
	uint64_t last = h[1].last_ms;
	struct node_id at = h[1].peer;
	unsigned seen = 2;
	while (thread_list(s, last, &at, h, 2, &n, &total) == ERR_OK && n) {
		for (size_t i = 0; i < n; i++) {
			assert_true(h[i].last_ms < last || (h[i].last_ms == last && strcmp(h[i].peer.hex, at.hex) < 0));
			last = h[i].last_ms;
			at = h[i].peer;
			assert_int_equal(h[i].in_states[INBOX_NEW], 1);
		}
		seen += (unsigned)n;
	}
	assert_int_equal(seen, 5);
}

/* --- what happened on the way ---------------------------------------------------------------------------- */
static size_t steps_of(int64_t seq, struct track_step out[static TRACK_STEPS])
{
	struct buf b;

	buf_init(&b, 4096);
	assert_int_equal(outbox_track(s, seq, &b), ERR_OK);
	assert_true(b.n <= TRACK_MAX);
	size_t n = track_read(buf_bytes(&b), out);
	buf_fini(&b);
	return n;
}

static void every_step_is_kept(void **state)
{
	struct track_step t[TRACK_STEPS];
	struct outbox_try direct = {.at_ms = 1000, .via = OUTBOX_VIA_SESSION, .hops = 1};
	struct outbox_try relay = {.at_ms = 2000, .via = OUTBOX_VIA_RELAY, .hops = 3, .by = world_peer(7)};
	struct node_id one = world_peer(1);
	int64_t seq = world_out(s, &w, 1, "m", 1, "a"), got;

	assert_int_equal(steps_of(seq, t), 0);
	assert_int_equal(outbox_attempt(s, seq, &direct), ERR_OK);
	assert_int_equal(outbox_kept(s, seq, &relay), ERR_OK);
	assert_int_equal(outbox_receipt(s, &one, BYTES_LIT("m"), OUTBOX_DELIVERED, NULL, 3000, &relay, &got), ERR_OK);
	assert_int_equal(outbox_kept(s, seq, &relay), ERR_NOTFOUND);
	assert_int_equal(outbox_receipt(s, &one, BYTES_LIT("m"), OUTBOX_READ, NULL, 4000, NULL, &got), ERR_OK);
	assert_int_equal(steps_of(seq, t), 4);
	assert_int_equal(t[0].what, TRACK_HANDED);
	assert_int_equal(t[0].at_ms, 1000);
	assert_int_equal(t[0].via, OUTBOX_VIA_SESSION);
	assert_false(t[0].has_who);
	assert_int_equal(t[1].what, TRACK_STORED);
	assert_int_equal(t[1].hops, 3);
	assert_true(node_id_eq(&t[1].who, &relay.by));
	assert_int_equal(t[2].what, TRACK_HANDED);
	assert_int_equal(t[3].what, TRACK_STATE);
	assert_int_equal(t[3].state, OUTBOX_DELIVERED);
	assert_int_equal(t[3].at_ms, 3000);
	assert_int_equal(store_commit(s), ERR_OK);
}

/* The usual way: receipts of many messages, written together at the end of the group. */
static void receipts_written_together_keep_their_tries(void **state)
{
	struct node_id one = world_peer(1);
	uint8_t wire[100][16];
	int64_t seq[100], got;
	struct track_step t[TRACK_STEPS];
	char id[33];

	for (int i = 0; i < 100; i++)
		assert_int_equal(world_send(s, &w, 1, "x", wire[i], &seq[i]), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	for (int i = 0; i < 100; i++) {
		struct outbox_try t0 = {.at_ms = i < 50 ? 5000 + (unsigned)i % 10 : 9000, .via = OUTBOX_VIA_SESSION, .hops = 1};
		hex_encode(BYTES_ARR(wire[i]), id);
		assert_int_equal(outbox_receipt(s, &one, bytes_str(id), OUTBOX_DELIVERED, NULL, 10000, i == 7 ? NULL : &t0, &got), ERR_OK);
	}
	assert_int_equal(store_commit(s), ERR_OK);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(steps_of(seq[i], t), i == 7 ? 0 : 1);
		if (i == 7)
			continue;
		assert_true(i < 50 ? t[0].at_ms >= 5000 && t[0].at_ms < 5020 : t[0].at_ms == 9000);
	}
}

static void steps_are_bounded(void **state)
{
	struct outbox_try t0 = {.at_ms = 7, .via = OUTBOX_VIA_RELAY, .by = world_peer(3)};
	int64_t seq = world_out(s, &w, 1, "m", 1, "a");
	struct track_step t[TRACK_STEPS];
	char id[129];

	for (int i = 0; i < 1000; i++)
		assert_int_equal(outbox_attempt(s, seq, &t0), ERR_OK);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(outbox_move(s, seq, OUTBOX_FAILED, NULL, 9), ERR_OK);
		assert_int_equal(outbox_requeue(s, seq, 10, id), ERR_OK);
	}
	assert_true(steps_of(seq, t) <= TRACK_STEPS);
}

static void steps_of_nonsense_end(void **state)
{
	static const uint8_t bad[][9] = {{0}, {0x05}, {0x8f}, {1, 0, 0, 0, 0, 0, 0, 7}, {0x41, 0, 0, 0, 0, 0, 0, 1, 9}};
	struct track_step t[TRACK_STEPS], one = {.what = TRACK_STORED, .at_ms = 0xffffffffffff, .via = OUTBOX_VIA_OLD_RELAY, .hops = 99,
						 .has_who = true, .who = world_peer(4)};
	uint8_t out[TRACK_STEP_MAX];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(track_read(BYTES_ARR(bad[i]), t), 0);
	size_t n = track_write(&one, out);
	assert_int_equal(n, TRACK_STEP_MAX);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(track_read(bytes_of(out, i), t), 0);
	assert_int_equal(track_read(bytes_of(out, n), t), 1);
	assert_int_equal(t[0].at_ms, one.at_ms);
	assert_int_equal(t[0].hops, 31);
	assert_true(node_id_eq(&t[0].who, &one.who));
}

static void being_let_out_of_the_hold_has_a_time(void **state)
{
	struct node_id one = world_peer(1);
	struct inbox_row r, rows[4];
	size_t n;

	int64_t seq = world_in(s, &w, 1, "h", true, "b");
	assert_int_equal(inbox_get(s, seq, &r), ERR_OK);
	assert_int_equal(r.freed_ms, 0);
	tick(500);
	assert_int_equal(inbox_release(s, &one, true, rows, 4, &n), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(inbox_get(s, seq, &r), ERR_OK);
	assert_int_equal(r.freed_ms, w.wall_ms);
}

/* Rows are found by their number, and nothing else. */
static void no_query_of_a_thread_walks_a_table(void **state)
{
	static const char *const queries[] = {
		"SELECT seq FROM outbox WHERE seq = ?1",
		"SELECT seq FROM inbox WHERE seq = ?1",
		"SELECT track FROM outbox WHERE seq = ?1",
	};

	for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
		char sql[128];
		sqlite3_stmt *st;

		snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", queries[i]);
		assert_int_equal(sqlite3_prepare_v2(s->db, sql, -1, &st, NULL), SQLITE_OK);
		assert_int_equal(sqlite3_step(st), SQLITE_ROW);
		assert_non_null(strstr((const char *)sqlite3_column_text(st, 3), "USING INTEGER PRIMARY KEY"));
		sqlite3_finalize(st);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(both_directions_in_the_order_of_time), T(of_the_same_moment_there_is_one_order), T(survives_reopening), T(what_is_rolled_back_was_never_said),
		T(deleted_ones_are_left_out), T(pruned_ones_leave_the_table), T(heads_come_newest_first_in_pages),
		T(every_step_is_kept), T(receipts_written_together_keep_their_tries), T(steps_are_bounded),
		T(steps_of_nonsense_end), T(being_let_out_of_the_hold_has_a_time), T(no_query_of_a_thread_walks_a_table),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
