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

static struct inbox_new message(const char *id)
{
	return (struct inbox_new){
		.author = world_peer(1),
		.via = world_peer(2),
		.id = bytes_str(id),
		.type = BYTES_LIT("REQ"),
		.priority = 3,
		.created_ms = 10,
		.received_ms = 20,
		.proven = true,
		.body = BYTES_LIT("hello"),
	};
}

static void put_row_survives_reopening(void **state)
{
	struct inbox_new m = message("one");
	enum inbox_state st = INBOX_DROPPED;
	struct inbox_row r;
	struct buf b;
	int64_t seq;

	assert_int_equal(inbox_put(s, &m, &seq, &st), ERR_OK);
	assert_int_equal(st, INBOX_NEW);
	assert_int_equal(store_commit(s), ERR_OK);
	reopen();
	assert_int_equal(inbox_get(s, seq, &r), ERR_OK);
	assert_true(node_id_eq(&r.author, &m.author));
	assert_true(node_id_eq(&r.via, &m.via));
	assert_string_equal(r.id, "one");
	assert_string_equal(r.type, "REQ");
	assert_int_equal(r.priority, 3);
	assert_int_equal(r.state, INBOX_NEW);
	assert_int_equal(r.created_ms, 10);
	assert_int_equal(r.received_ms, 20);
	assert_int_equal(r.read_ms, 0);
	assert_true(r.proven);
	assert_int_equal(r.body_len, 5);
	buf_init(&b, 100);
	assert_int_equal(inbox_body(s, seq, &b), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&b), BYTES_LIT("hello")));
	buf_fini(&b);
	assert_int_equal(inbox_get(s, seq + 1, &r), ERR_NOTFOUND);
}

static void put_refuses_what_does_not_fit(void **state)
{
	char id[200];
	struct inbox_new bad;
	enum inbox_state st;
	int64_t seq = -7;

	memset(id, 'i', sizeof(id));
	bad = message("x"), bad.id = bytes_of(id, 129);
	assert_int_equal(inbox_put(s, &bad, &seq, &st), ERR_MALFORMED);
	bad = message(""), bad.id.n = 0;
	assert_int_equal(inbox_put(s, &bad, &seq, &st), ERR_MALFORMED);
	bad = message("x"), bad.id = bytes_of("a\0", 2);
	assert_int_equal(inbox_put(s, &bad, &seq, &st), ERR_MALFORMED);
	bad = message("x"), bad.type = bytes_of(id, 33);
	assert_int_equal(inbox_put(s, &bad, &seq, &st), ERR_MALFORMED);
	bad = message("x"), bad.priority = 4;
	assert_int_equal(inbox_put(s, &bad, &seq, &st), ERR_MALFORMED);
	bad = message("x"), bad.via.hex[0] = 'x';
	assert_int_equal(inbox_put(s, &bad, &seq, &st), ERR_MALFORMED);
	bad = message("x"), bad.body.n = STORE_BODY_MAX + 1;
	assert_int_equal(inbox_put(s, &bad, &seq, &st), ERR_LIMIT);
	assert_false(store_dirty(s));
	assert_int_equal(seq, -7);
}

static void repeat_says_what_became_of_the_first(void **state)
{
	static const enum inbox_state STATES[] = {INBOX_NEW, INBOX_READ, INBOX_HELD, INBOX_DROPPED};
	bool changed;

	for (size_t i = 0; i < 4; i++) {
		struct inbox_new m = message("x");
		char id[8];
		int64_t seq, again = -1;
		enum inbox_state st;

		m.id = bytes_of(id, (size_t)snprintf(id, sizeof(id), "m%zu", i));
		m.held = STATES[i] == INBOX_HELD;
		assert_int_equal(inbox_put(s, &m, &seq, &st), ERR_OK);
		if (STATES[i] == INBOX_READ)
			assert_int_equal(inbox_mark_read(s, seq, 5, &changed), ERR_OK);
		if (STATES[i] == INBOX_DROPPED)
			assert_int_equal(inbox_delete(s, seq), ERR_OK);
		for (int k = 0; k < 2; k++) {
			m.body = BYTES_LIT("another body");
			assert_int_equal(inbox_put(s, &m, &again, &st), ERR_EXISTS);
			assert_int_equal(st, STATES[i]);
			assert_int_equal(again, seq);
			assert_int_equal(store_commit(s), ERR_OK);
			reopen();
		}
	}
}

static void same_id_of_another_author_is_another_message(void **state)
{
	struct inbox_new m = message("same");
	struct inbox_row rows[4];
	enum inbox_state st;
	int64_t a, b;
	size_t n;

	assert_int_equal(inbox_put(s, &m, &a, &st), ERR_OK);
	m.author = world_peer(7);
	assert_int_equal(inbox_put(s, &m, &b, &st), ERR_OK);
	assert_int_not_equal(a, b);
	assert_int_equal(inbox_find(s, BYTES_LIT("same"), rows, 4, &n), ERR_OK);
	assert_int_equal(n, 2);
	assert_int_equal(rows[0].seq + rows[1].seq, a + b);
	assert_int_equal(inbox_find(s, BYTES_LIT("same"), rows, 1, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_int_equal(inbox_find(s, BYTES_LIT("sam"), rows, 4, &n), ERR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(inbox_find(s, bytes_of("", 0), rows, 4, &n), ERR_OK);
	assert_int_equal(n, 0);
}

static void mark_read_is_idempotent_and_not_for_held_rows(void **state)
{
	int64_t seq = world_in(s, &w, 1, "a", false, "x"),
		held = world_in(s, &w, 2, "b", true, "x");
	struct inbox_row r;
	bool changed = false;

	assert_int_equal(inbox_mark_read(s, seq, 777, &changed), ERR_OK);
	assert_true(changed);
	assert_int_equal(inbox_mark_read(s, seq, 888, &changed), ERR_OK);
	assert_false(changed);
	assert_int_equal(inbox_get(s, seq, &r), ERR_OK);
	assert_int_equal(r.read_ms, 777);
	assert_int_equal(r.state, INBOX_READ);
	assert_int_equal(inbox_mark_read(s, held, 777, &changed), ERR_WRONG_STATE);
	assert_int_equal(inbox_mark_read(s, 55, 777, &changed), ERR_NOTFOUND);
}

static void unreported_rows_survive_restarts(void **state)
{
	struct node_id via = world_peer(1001), other = world_peer(1002);
	struct inbox_row rows[8];
	bool changed;
	size_t n;

	for (unsigned i = 0; i < 6; i++) {
		char id[8];
		snprintf(id, sizeof(id), "m%u", i);
		int64_t seq = world_in(s, &w, 1 + i % 2, id, false, "x");
		if (i < 4)
			assert_int_equal(inbox_mark_read(s, seq, 5, &changed), ERR_OK);
	}
	assert_int_equal(store_commit(s), ERR_OK);
	reopen();
	assert_int_equal(inbox_unreported(s, &via, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 2);
	assert_string_equal(rows[0].id, "m0");
	assert_string_equal(rows[1].id, "m2");
	assert_int_equal(inbox_mark_reported(s, rows[0].seq), ERR_OK);
	assert_int_equal(inbox_mark_reported(s, 99), ERR_NOTFOUND);
	assert_int_equal(store_commit(s), ERR_OK);
	reopen();
	assert_int_equal(inbox_unreported(s, &via, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_string_equal(rows[0].id, "m2");
	assert_int_equal(inbox_unreported(s, &other, rows, 1, &n), ERR_OK);
	assert_int_equal(n, 1);
}

static struct inbox_new sealed(uint8_t number, enum inbox_sealed how)
{
	struct inbox_new m = message("");

	m.has_wire = true;
	memset(m.wire_id, 9, 8);
	m.wire_id[15] = number;
	m.digest[0] = number;
	m.ttl_s = 100;
	m.keep_s = 400 * 86400;
	m.sealed = how;
	m.clock_plausible = true;
	return m;
}

static void what_came_sealed_says_so_and_is_reported_to_its_author(void **state)
{
	struct inbox_new m[3] = { sealed(1, INBOX_OPEN), sealed(2, INBOX_SEALED), sealed(3, INBOX_SEALED_NO_FS) };
	enum inbox_state st;
	struct inbox_row rows[8];
	int64_t seq[3];
	bool changed;
	size_t n;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(inbox_put(s, &m[i], &seq[i], &st), ERR_OK);
		assert_int_equal(inbox_mark_read(s, seq[i], 5, &changed), ERR_OK);
	}
	assert_int_equal(store_commit(s), ERR_OK);
	w.now_ms += 60000;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(inbox_get(s, seq[i], &rows[i]), ERR_OK);
		assert_int_equal(rows[i].sealed, i);
	}
	/* However long it is remembered, it has been here for a minute. */
	for (int i = 1; i < 3; i++)
		assert_int_equal(inbox_age_ms(s, &rows[i], 100, true), 60000);
	reopen();
	assert_int_equal(inbox_unreported(s, &m[0].via, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_int_equal(rows[0].seq, seq[0]);
	assert_int_equal(inbox_unreported_sealed(s, &m[0].author, 0, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 2);
	assert_int_equal(rows[1].seq, seq[2]);
	assert_int_equal(inbox_unreported_sealed(s, &m[0].author, seq[1], rows, 8, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_int_equal(inbox_mark_reported(s, seq[2]), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(inbox_unreported_sealed(s, &m[0].author, seq[1], rows, 8, &n), ERR_OK);
	assert_int_equal(n, 0);
}

static void release_shows_or_drops_what_was_held(void **state)
{
	struct node_id one = world_peer(1), two = world_peer(2);
	struct inbox_row rows[8];
	uint64_t c[INBOX_STATES];
	struct buf b;
	size_t n;

	for (unsigned i = 0; i < 6; i++) {
		char id[8];
		snprintf(id, sizeof(id), "m%u", i);
		world_in(s, &w, 1 + i % 2, id, true, "held body");
	}
	assert_int_equal(inbox_release(s, &one, true, rows, 2, &n), ERR_OK); /* at most max */
	assert_int_equal(n, 2);
	assert_string_equal(rows[0].id, "m0");
	assert_int_equal(rows[0].state, INBOX_NEW);
	assert_int_equal(inbox_release(s, &one, true, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_int_equal(inbox_release(s, &one, true, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(inbox_release(s, &two, false, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 3);
	assert_int_equal(rows[0].state, INBOX_DROPPED);
	buf_init(&b, 100);
	assert_int_equal(inbox_body(s, rows[0].seq, &b), ERR_WRONG_STATE);
	assert_int_equal(inbox_body(s, 1, &b), ERR_OK);
	buf_fini(&b);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(store_integrity(s, NULL), ERR_OK);
	reopen();
	assert_int_equal(inbox_count(s, NULL, c), ERR_OK);
	assert_int_equal(c[INBOX_NEW], 3);
	assert_int_equal(c[INBOX_HELD], 0);
	assert_int_equal(c[INBOX_DROPPED], 3);
	assert_int_equal(inbox_count(s, &two, c), ERR_OK);
	assert_int_equal(c[INBOX_NEW], 0);
	assert_int_equal(c[INBOX_DROPPED], 3);
}

static void list_shows_new_and_read_oldest_first(void **state)
{
	struct node_id author = world_peer(1);
	struct inbox_filter f = {.state = -1};
	struct inbox_row rows[20];
	bool changed;
	size_t n;

	for (unsigned i = 0; i < 12; i++) {
		char id[8];
		snprintf(id, sizeof(id), "m%u", i);
		int64_t seq = world_in(s, &w, i % 3, id, i % 4 == 3, "x");
		if (i % 4 == 1)
			assert_int_equal(inbox_mark_read(s, seq, 1, &changed), ERR_OK);
		if (i % 4 == 2)
			assert_int_equal(inbox_delete(s, seq), ERR_OK);
	}
	/* 0 4 8 new; 1 5 9 read; 2 6 10 dropped; 3 7 11 held */
	assert_int_equal(inbox_list(s, &f, rows, 20, &n), ERR_OK);
	assert_int_equal(n, 6);
	for (size_t i = 1; i < n; i++)
		assert_true(rows[i].seq > rows[i - 1].seq);
	f.after_seq = rows[2].seq;
	assert_int_equal(inbox_list(s, &f, rows, 2, &n), ERR_OK);
	assert_int_equal(n, 2);
	assert_string_equal(rows[0].id, "m5");
	f.after_seq = 0;
	for (int st = 0; st < INBOX_STATES; st++) {
		f.state = st;
		f.author = NULL;
		assert_int_equal(inbox_list(s, &f, rows, 20, &n), ERR_OK);
		assert_int_equal(n, 3);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(rows[i].state, st);
		f.author = &author; /* 1 4 7 10: one of each */
		assert_int_equal(inbox_list(s, &f, rows, 20, &n), ERR_OK);
		assert_int_equal(n, 1);
		assert_true(node_id_eq(&rows[0].author, &author));
	}
	f.state = INBOX_STATES;
	assert_int_equal(inbox_list(s, &f, rows, 20, &n), ERR_MALFORMED);
}

static void delete_keeps_the_memory_of_the_id(void **state)
{
	struct inbox_new m = message("gone");
	enum inbox_state st;
	int64_t seq;
	struct buf b;

	assert_int_equal(inbox_put(s, &m, &seq, &st), ERR_OK);
	assert_int_equal(inbox_delete(s, seq), ERR_OK);
	assert_int_equal(inbox_delete(s, seq), ERR_OK);
	assert_int_equal(inbox_delete(s, seq + 1), ERR_NOTFOUND);
	buf_init(&b, 100);
	assert_int_equal(inbox_body(s, seq, &b), ERR_WRONG_STATE);
	assert_int_equal(b.n, 0);
	buf_fini(&b);
	assert_int_equal(inbox_put(s, &m, &seq, &st), ERR_EXISTS);
	assert_int_equal(st, INBOX_DROPPED);
}

static void limits_are_of_unread_held_and_bytes(void **state)
{
	struct store_limits l = {.inbox_per_peer = 2,
				 .inbox_total = 3,
				 .inbox_bytes = 50,
				 .held_per_peer = 1,
				 .held_total = 2};
	struct inbox_new m = message("m1");
	enum inbox_state st;
	int64_t seq, first;
	bool changed;

	store_close(s);
	s = world_store(&w, &l);
	assert_int_equal(inbox_put(s, &m, &first, &st), ERR_OK);
	m.id = BYTES_LIT("m2");
	assert_int_equal(inbox_put(s, &m, &seq, &st), ERR_OK);
	m.id = BYTES_LIT("m3");
	assert_int_equal(inbox_put(s, &m, &seq, &st), ERR_FULL); /* unread of this author */
	m.id = BYTES_LIT("m1");
	assert_int_equal(inbox_put(s, &m, &seq, &st),
			 ERR_EXISTS); /* confirmed again although full */
	assert_int_equal(st, INBOX_NEW);
	m.id = BYTES_LIT("m3");
	m.author = world_peer(2);
	assert_int_equal(inbox_put(s, &m, &seq, &st), ERR_OK);
	m.author = world_peer(3);
	assert_int_equal(inbox_put(s, &m, &seq, &st), ERR_FULL); /* unread in all */
	assert_int_equal(inbox_mark_read(s, first, 1, &changed), ERR_OK);
	assert_int_equal(inbox_put(s, &m, &seq, &st), ERR_OK); /* reading makes room */
	m.held = true;
	m.author = world_peer(4);
	assert_int_equal(inbox_put(s, &m, &seq, &st), ERR_OK);
	assert_int_equal(st, INBOX_HELD);
	m.id = BYTES_LIT("m4");
	assert_int_equal(inbox_put(s, &m, &seq, &st), ERR_FULL); /* held of one */
	m.author = world_peer(5);
	assert_int_equal(inbox_put(s, &m, &seq, &st), ERR_OK);
	m.author = world_peer(6);
	assert_int_equal(inbox_put(s, &m, &seq, &st), ERR_FULL); /* held in all */
	assert_int_equal(store_commit(s), ERR_OK);
	l = (struct store_limits){.inbox_bytes =
					  29}; /* 5 messages of 5 bytes are kept unread or held */
	store_close(s);
	s = world_store(&w, &l);
	m.held = false;
	assert_int_equal(inbox_put(s, &m, &seq, &st), ERR_FULL);
	m.body = BYTES_LIT("1234");
	assert_int_equal(inbox_put(s, &m, &seq, &st), ERR_OK);
}

static void words_name_the_states(void **state)
{
	assert_string_equal(inbox_state_word(INBOX_NEW), "new");
	assert_string_equal(inbox_state_word(INBOX_READ), "read");
	assert_string_equal(inbox_state_word(INBOX_HELD), "held");
	assert_string_equal(inbox_state_word(INBOX_DROPPED), "dropped");
	assert_string_equal(inbox_state_word((enum inbox_state)9), "unknown");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(put_row_survives_reopening),
		T(put_refuses_what_does_not_fit),
		T(repeat_says_what_became_of_the_first),
		T(same_id_of_another_author_is_another_message),
		T(mark_read_is_idempotent_and_not_for_held_rows),
		T(unreported_rows_survive_restarts),
		T(what_came_sealed_says_so_and_is_reported_to_its_author),
		T(release_shows_or_drops_what_was_held),
		T(list_shows_new_and_read_oldest_first),
		T(delete_keeps_the_memory_of_the_id),
		T(limits_are_of_unread_held_and_bytes),
		T(words_name_the_states),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
