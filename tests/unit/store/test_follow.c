/* Rows that follow their recipient to its next identity (im2.md 13.4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

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

static size_t waits(unsigned peer)
{
	struct node_id id = world_peer(peer);
	struct outbox_row rows[16];
	size_t n;

	assert_int_equal(outbox_waiting(s, &id, OUTBOX_PRIORITIES, 0, rows, 16, &n), ERR_OK);
	return n;
}

static size_t follow(unsigned was, unsigned now, size_t max)
{
	struct node_id from = world_peer(was), to = world_peer(now);
	size_t n;

	assert_int_equal(outbox_follow(s, &from, &to, max, &n), ERR_OK);
	return n;
}

static void check(unsigned peer, const uint8_t wire[static 16], const char *body)
{
	struct node_id id = world_peer(peer);
	struct outbox_row r;
	struct buf b;
	char hex[33];

	hex_encode(bytes_of(wire, 16), hex);
	assert_int_equal(outbox_get(s, bytes_str(hex), &r), ERR_OK);
	assert_true(node_id_eq(&r.to, &id));
	assert_int_equal(r.state, OUTBOX_QUEUED);
	assert_memory_equal(r.wire_id, wire, 16);
	buf_init(&b, 100);
	assert_int_equal(outbox_body(s, r.seq, &b), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&b), bytes_str(body)));
	buf_fini(&b);
}

static void rows_wait_for_the_next_identity_under_their_ids(void **state)
{
	uint8_t wire[2][16], other[16];
	uint64_t per_state[OUTBOX_STATES];
	struct node_id to = world_peer(2);
	int64_t seq;
	char hex[33];

	assert_int_equal(world_send(s, &w, 1, "one", wire[0], &seq), ERR_OK);
	assert_int_equal(world_send(s, &w, 1, "two", wire[1], &seq), ERR_OK);
	world_out(s, &w, 1, "chosen", 3, "three");
	assert_int_equal(world_send(s, &w, 2, "own", other, &seq), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(follow(1, 2, 2), 2);
	assert_int_equal(follow(1, 2, 2), 1);
	assert_int_equal(follow(1, 2, 2), 0);
	assert_int_equal(store_commit(s), ERR_OK);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(waits(1), 0);
		assert_int_equal(waits(2), 4);
		check(2, wire[0], "one");
		check(2, wire[1], "two");
		check(2, other, "own");
		assert_int_equal(outbox_count(s, &to, per_state), ERR_OK);
		assert_int_equal(per_state[OUTBOX_QUEUED], 4);
		to = world_peer(1);
		assert_int_equal(outbox_count(s, &to, per_state), ERR_OK);
		assert_int_equal(per_state[OUTBOX_QUEUED], 0);
		to = world_peer(2);
		store_close(s);
		s = world_store(&w, NULL);
	}
	/* The receipt of the new identity counts. */
	hex_encode(bytes_of(wire[0], 16), hex);
	assert_int_equal(outbox_receipt(s, &to, bytes_str(hex), OUTBOX_DELIVERED, NULL, w.wall_ms, NULL, &seq), ERR_OK);
	assert_int_equal(waits(2), 3);
}

static void a_lost_group_leaves_them_where_they_were(void **state)
{
	uint8_t wire[16];
	struct node_id from = world_peer(1), to = world_peer(2);
	uint64_t per_state[OUTBOX_STATES];
	int64_t seq;
	size_t n;

	assert_int_equal(world_send(s, &w, 1, "one", wire, &seq), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(follow(1, 2, 10), 1);
	store_rollback(s);
	assert_int_equal(waits(1), 1);
	assert_int_equal(waits(2), 0);
	check(1, wire, "one");
	for (unsigned fault = 1; fault <= 2; fault++) {
		store_fail_after(s, fault);
		assert_int_equal(outbox_follow(s, &from, &to, 10, &n), ERR_STORE);
		assert_int_equal(store_commit(s), ERR_STORE);
		store_fail_after(s, 0);
		assert_int_equal(waits(1), 1);
		assert_int_equal(outbox_count(s, &to, per_state), ERR_OK);
		assert_int_equal(per_state[OUTBOX_QUEUED], 0);
	}
	assert_int_equal(outbox_follow(s, &from, &from, 10, &n), ERR_MALFORMED);
}

static void what_was_settled_stays_settled_and_no_more(void **state)
{
	uint8_t wire[2][16];
	struct node_id to = world_peer(2);
	struct outbox_mark m[OUTBOX_ERAS_MAX];
	int64_t seq;
	size_t n;

	assert_int_equal(world_send(s, &w, 1, "one", wire[0], &seq), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(follow(1, 2, 10), 1);
	assert_int_equal(world_send(s, &w, 2, "two", wire[1], &seq), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	/* The new identity is told of its own era alone. */
	assert_int_equal(outbox_settle(s, &to, m, OUTBOX_ERAS_MAX, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_memory_equal(m[0].era, wire[1], 8);
	assert_int_equal(m[0].seq, 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(rows_wait_for_the_next_identity_under_their_ids),
		T(a_lost_group_leaves_them_where_they_were),
		T(what_was_settled_stays_settled_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
