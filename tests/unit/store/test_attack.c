#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/text.h"
#include "store/seal_internal.h"
#include "tests/lib/store_world.h"

/*
 * The attacks of ironmesh-wire 12 on what is kept: repeats, the memory of duplicates, history, a stolen database.
 * tests/lib/make-weakness-table reads the names.
 */

#define ALICE 1
#define MALLORY 2
#define DAY_MS UINT64_C(86400000)

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

static void commit(void)
{
	assert_int_equal(store_commit(s), ERR_OK);
}

static void pass(uint64_t ms)
{
	unsigned gone;

	w.now_ms += ms;
	w.wall_ms += ms;
	(void)store_running_ms(s);
	assert_int_equal(store_prune(s, w.wall_ms, 1000, &gone), ERR_OK);
	commit();
}

static void body_is(int64_t seq, const char *want)
{
	struct buf b;

	buf_init(&b, 4096);
	assert_int_equal(inbox_body(s, seq, &b), ERR_OK);
	assert_int_equal(b.n, strlen(want));
	assert_memory_equal(b.p, want, b.n);
	buf_fini(&b);
}

static void weakness_17_a_message_is_remembered_as_long_as_it_lives(void **state)
{
	uint8_t id[16];

	/* The old duplicate cache forgot after 300 s. */
	world_wire(id, 7, 1);
	assert_int_equal(world_take(s, &w, ALICE, id, "pay 10"), ERR_OK);
	commit();
	for (unsigned h = 0; h < 24; h++) {
		pass(3600000);
		assert_int_equal(world_take(s, &w, ALICE, id, "pay 10"), ERR_EXISTS);
	}
	/* Through restarts, with another clock, and after the message itself is gone. */
	store_close(s);
	w.wall_ms = 1000;
	s = world_store(&w, NULL);
	assert_int_equal(world_take(s, &w, ALICE, id, "pay 10"), ERR_EXISTS);
	/* What was settled does not come back, however late. */
	uint8_t era[8];
	memcpy(era, id, 8);
	struct node_id alice = world_peer(ALICE);
	inbox_receipts_left(s, &alice, INT64_MAX);
	assert_int_equal(inbox_settled(s, &alice, era, 5), ERR_OK);
	commit();
	pass(400 * DAY_MS);
	assert_int_equal(world_take(s, &w, ALICE, id, "pay 10"), ERR_EXPIRED);
}

static void weakness_26_nobody_fills_the_memory_for_another(void **state)
{
	uint8_t id[16];
	unsigned i;

	/* mallory saw the ids of alice's messages, and brings them first, as her own. */
	for (i = 1; i <= 200; i++) {
		world_wire(id, 7, i);
		assert_int_equal(world_take(s, &w, MALLORY, id, "nothing"), ERR_OK);
	}
	commit();
	for (i = 1; i <= 200; i++) {
		world_wire(id, 7, i);
		assert_int_equal(world_take(s, &w, ALICE, id, "the real one"), ERR_OK);
	}
	commit();
	/* And what she settles, or however much she says, pushes out nothing of alice's. */
	struct node_id mallory = world_peer(MALLORY);
	uint8_t era[8];
	memset(era, 7, sizeof era);
	assert_int_equal(inbox_settled(s, &mallory, era, 1000000), ERR_OK);
	commit();
	world_wire(id, 7, 200);
	assert_int_equal(world_take(s, &w, ALICE, id, "the real one"), ERR_EXISTS);
	world_wire(id, 7, 201);
	assert_int_equal(world_take(s, &w, ALICE, id, "the next one"), ERR_OK);
	commit();
}

static void weakness_30_the_passphrase_opens_no_database(void **state)
{
	static const char said[] = "a sentence that must not be found on the disk";
	struct keyring *alice = world_keys(&w), *thief = world_other_keys(&w);
	struct secret of_alice = {0}, of_thief = {0};
	struct store *stolen = NULL;
	struct fault f;
	size_t n;

	assert_int_equal(keyring_derive(alice, DERIVE_DB_WRAP, &of_alice), ERR_OK);
	assert_int_equal(keyring_derive(thief, DERIVE_DB_WRAP, &of_thief), ERR_OK);
	store_close(s);
	remove(w.db);
	memcpy(w.wrap, of_alice.p, sizeof w.wrap);
	s = world_store(&w, NULL);
	assert_true(world_in(s, &w, ALICE, "m1", false, said) > 0);
	commit();
	store_close(s);
	char *file = world_read(w.db, &n);
	assert_non_null(file);
	assert_null(memmem(file, n, said, sizeof said - 1));
	free(file);
	/* Another member has the passphrase of the mesh, and its identity, and still not the key. */
	memcpy(w.wrap, of_thief.p, sizeof w.wrap);
	assert_int_not_equal(world_store_try(&w, &stolen, &f), ERR_OK);
	assert_null(stolen);
	/* The owner has, and two databases of one identity have two keys. */
	memcpy(w.wrap, of_alice.p, sizeof w.wrap);
	s = world_store(&w, NULL);
	struct seal one, two;
	uint8_t wrapped[SEAL_WRAP_BYTES];
	assert_int_equal(seal_create(&one, &w.env, BYTES_ARR(w.wrap), wrapped), ERR_OK);
	assert_int_equal(seal_create(&two, &w.env, BYTES_ARR(w.wrap), wrapped), ERR_OK);
	assert_memory_not_equal(one.key.p, two.key.p, SEAL_KEY_BYTES);
	seal_fini(&one);
	seal_fini(&two);
	secret_free(&of_alice);
	secret_free(&of_thief);
	keyring_free(alice);
	keyring_free(thief);
}

static void weakness_33_history_is_not_written_over(void **state)
{
	struct inbox_new m;
	enum inbox_state st;
	struct inbox_row row;
	uint8_t id[16];
	int64_t seq, again;

	world_wire(id, 9, 1);
	m = world_letter(&w, ALICE, id, "the meeting is at ten");
	assert_int_equal(inbox_put(s, &m, &seq, &st), ERR_OK);
	commit();
	/* The same id with another content, from its author: refused, and said so. From others: another message. */
	m = world_letter(&w, ALICE, id, "the meeting is at nine");
	assert_int_equal(inbox_put(s, &m, &again, &st), ERR_DUPLICATE);
	body_is(seq, "the meeting is at ten");
	m = world_letter(&w, MALLORY, id, "there is no meeting");
	assert_int_equal(inbox_put(s, &m, &again, &st), ERR_OK);
	assert_int_not_equal(again, seq);
	commit();
	body_is(seq, "the meeting is at ten");
	/* Ids of the old wire, which the sender chose freely. */
	int64_t old = world_in(s, &w, ALICE, "chosen", false, "first");
	assert_true(old > 0);
	assert_int_equal(world_in(s, &w, ALICE, "chosen", false, "second"), -1);
	int64_t other = world_in(s, &w, MALLORY, "chosen", false, "third");
	assert_true(other > 0 && other != old);
	commit();
	body_is(old, "first");
	assert_int_equal(inbox_get(s, old, &row), ERR_OK);
	assert_string_equal(row.id, "chosen");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(weakness_17_a_message_is_remembered_as_long_as_it_lives),
		T(weakness_26_nobody_fills_the_memory_for_another),
		T(weakness_30_the_passphrase_opens_no_database),
		T(weakness_33_history_is_not_written_over),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
