#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sqlite3.h>
#include <cmocka.h>

#include "store/kv.h"
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

static void expect(const char *space, const char *key, const char *value)
{
	struct buf b;

	buf_init(&b, KV_VALUE_MAX);
	enum err e = store_kv_get(s, space, bytes_str(key), &b);
	assert_int_equal(e, value ? ERR_OK : ERR_NOTFOUND);
	if (value)
		assert_true(bytes_eq(buf_bytes(&b), bytes_str(value)));
	buf_fini(&b);
}

static void values_live_and_die_with_their_group(void **state)
{
	assert_int_equal(store_kv_put(s, "gen", BYTES_LIT("a"), BYTES_LIT("1")), ERR_OK);
	assert_true(store_dirty(s));
	expect("gen", "a", "1");
	store_rollback(s);
	expect("gen", "a", NULL);
	assert_int_equal(store_kv_put(s, "gen", BYTES_LIT("a"), BYTES_LIT("1")), ERR_OK);
	assert_int_equal(store_kv_put(s, "gen", BYTES_LIT("b"), BYTES_LIT("")), ERR_OK);
	assert_int_equal(store_kv_put(s, "other", BYTES_LIT("a"), BYTES_LIT("3")), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(store_kv_put(s, "gen", BYTES_LIT("a"), BYTES_LIT("22")), ERR_OK);
	expect("gen", "a", "22");
	store_abandon(s);
	s = world_store(&w, NULL);
	expect("gen", "a", "1");
	expect("gen", "b", "");
	expect("other", "a", "3");
	assert_int_equal(store_kv_del(s, "gen", BYTES_LIT("a")), ERR_OK);
	assert_int_equal(store_kv_del(s, "gen", BYTES_LIT("a")), ERR_NOTFOUND);
	assert_int_equal(store_kv_del(s, "gen", BYTES_LIT("c")), ERR_NOTFOUND);
	store_fail_after(s, 1);
	assert_int_equal(store_kv_put(s, "gen", BYTES_LIT("b"), BYTES_LIT("x")), ERR_STORE);
	assert_int_equal(store_commit(s), ERR_STORE);
	expect("gen", "a", "1");
	expect("gen", "b", "");
}

static void what_is_too_long_or_empty_is_refused(void **state)
{
	static const uint8_t zeroes[KV_VALUE_MAX + 1];
	struct bytes key = bytes_of(zeroes, KV_KEY_MAX);
	struct buf b;

	buf_init(&b, KV_VALUE_MAX);
	assert_int_equal(store_kv_put(s, "", key, key), ERR_MALFORMED);
	assert_int_equal(store_kv_put(s, "s", bytes_of("", 0), key), ERR_MALFORMED);
	assert_int_equal(store_kv_put(s, "s", bytes_of(zeroes, KV_KEY_MAX + 1), key), ERR_LIMIT);
	assert_int_equal(store_kv_put(s, "s2345678901234567890123456789012x", key, key), ERR_LIMIT);
	assert_int_equal(store_kv_put(s, "s", key, bytes_of(zeroes, KV_VALUE_MAX + 1)), ERR_LIMIT);
	assert_false(store_dirty(s));
	assert_int_equal(store_kv_put(s, "s234567890123456789012345678901x", key,
				      bytes_of(zeroes, KV_VALUE_MAX)),
			 ERR_OK);
	assert_int_equal(store_kv_get(s, "s234567890123456789012345678901x", key, &b), ERR_OK);
	assert_int_equal(b.n, KV_VALUE_MAX);
	buf_fini(&b);
}

struct seen {
	unsigned n, stop;
	char keys[64], values[64];
};

static bool note(void *ctx, struct bytes key, struct bytes value)
{
	struct seen *x = ctx;

	x->n++;
	strncat(x->keys, (const char *)key.p, key.n);
	strncat(x->values, (const char *)value.p, value.n);
	return x->n != x->stop;
}

static void each_walks_one_space_in_order_of_keys(void **state)
{
	struct seen x = {0};

	assert_int_equal(store_kv_put(s, "b", BYTES_LIT("z"), BYTES_LIT("3")), ERR_OK);
	assert_int_equal(store_kv_put(s, "b", BYTES_LIT("k"), BYTES_LIT("1")), ERR_OK);
	assert_int_equal(store_kv_put(s, "b", BYTES_LIT("m"), BYTES_LIT("2")), ERR_OK);
	assert_int_equal(store_kv_put(s, "a", BYTES_LIT("k"), BYTES_LIT("9")), ERR_OK);
	assert_int_equal(store_kv_each(s, "b", note, &x), ERR_OK);
	assert_string_equal(x.keys, "kmz");
	assert_string_equal(x.values, "123");
	x = (struct seen){.stop = 2};
	assert_int_equal(store_kv_each(s, "b", note, &x), ERR_OK);
	assert_string_equal(x.keys, "km");
	x = (struct seen){0};
	assert_int_equal(store_kv_each(s, "none", note, &x), ERR_OK);
	assert_int_equal(x.n, 0);
}

static void value_opens_only_under_its_name(void **state)
{
	struct seen x = {0};
	struct buf b;
	sqlite3 *db;

	assert_int_equal(store_kv_put(s, "a", BYTES_LIT("k1"), BYTES_LIT("one")), ERR_OK);
	assert_int_equal(store_kv_put(s, "a", BYTES_LIT("k2"), BYTES_LIT("two")), ERR_OK);
	assert_int_equal(store_kv_put(s, "a", BYTES_LIT("k3"), BYTES_LIT("three")), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	store_close(s);
	assert_int_equal(sqlite3_open(w.db, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db,
				      "UPDATE kv SET value = (SELECT value FROM kv WHERE key = x'6b32')"
				      " WHERE key = x'6b31'; UPDATE kv SET space = 'b' WHERE key = x'6b33'",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	s = world_store(&w, NULL);
	buf_init(&b, 100);
	assert_int_equal(store_kv_get(s, "a", BYTES_LIT("k1"), &b), ERR_CORRUPT);
	assert_int_equal(store_kv_get(s, "b", BYTES_LIT("k3"), &b), ERR_CORRUPT);
	buf_fini(&b);
	assert_int_equal(store_kv_each(s, "a", note, &x), ERR_OK);
	assert_string_equal(x.values, "two");
	expect("a", "k2", "two");
}

/* The sealed bytes of a value as they stand in the file. */
static char *sealed_of(const char *key, size_t *n)
{
	sqlite3_stmt *st;
	sqlite3 *db;

	assert_int_equal(sqlite3_open_v2(w.db, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT value FROM kv WHERE key = ?1", -1, &st, NULL),
			 SQLITE_OK);
	sqlite3_bind_blob(st, 1, key, (int)strlen(key), SQLITE_STATIC);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	*n = (size_t)sqlite3_column_bytes(st, 0);
	char *copy = malloc(*n);
	assert_non_null(copy);
	memcpy(copy, sqlite3_column_blob(st, 0), *n);
	sqlite3_finalize(st);
	sqlite3_close(db);
	return copy;
}

/* Whether any 16 bytes in a row of `needle` are in the database or its WAL. */
static bool on_disk(const char *needle, size_t n)
{
	static const char *const SUFFIX[] = {"", "-wal"};
	bool found = false;

	for (int i = 0; i < 2; i++) {
		char name[160];
		size_t size;
		snprintf(name, sizeof(name), "%s%s", w.db, SUFFIX[i]);
		char *file = world_read(name, &size);
		for (size_t at = 0; file && !found && at + 16 <= n; at += 16)
			found = memmem(file, size, needle + at, 16) != NULL;
		free(file);
	}
	return found;
}

/* Small values live among others in leaves that split and merge, large ones in pages of their own. */
static void erased_values_leave_no_bytes_behind(void **state)
{
	static const size_t SIZES[] = {40, 300, 6000, KV_VALUE_MAX};
	uint8_t value[KV_VALUE_MAX];
	enum { KEYS = 40 };
	char *was[KEYS], key[16];
	size_t len[KEYS];

	/* They come one by one among others that come and go, so that the trees change shape. */
	for (unsigned i = 0; i < KEYS; i++) {
		memset(value, (int)i, sizeof(value));
		snprintf(key, sizeof(key), "key-%u", i * 7919 % 1000);
		assert_int_equal(store_kv_put(s, "prekey", bytes_str(key),
					      bytes_of(value, SIZES[i % 4])),
				 ERR_OK);
		for (unsigned k = 0; k < 5; k++) {
			snprintf(key, sizeof(key), "x-%u-%u", i, k * 131 % 17);
			assert_int_equal(store_kv_put(s, "record", bytes_str(key),
						      bytes_of(value, 20 + 61 * k)),
					 ERR_OK);
			if ((i + k) % 3 == 0)
				assert_int_equal(store_kv_del(s, "record", bytes_str(key)), ERR_OK);
		}
		assert_int_equal(store_commit(s), ERR_OK);
		if (i % 9 == 0)
			assert_int_equal(store_checkpoint(s), ERR_OK);
	}
	for (unsigned i = 0; i < KEYS; i++) {
		snprintf(key, sizeof(key), "key-%u", i * 7919 % 1000);
		was[i] = sealed_of(key, &len[i]);
		assert_true(on_disk(was[i], len[i]));
	}
	/* Half are deleted, half replaced. */
	for (unsigned i = 0; i < KEYS; i++) {
		snprintf(key, sizeof(key), "key-%u", i * 7919 % 1000);
		if (i % 2)
			assert_int_equal(store_kv_del(s, "prekey", bytes_str(key)), ERR_OK);
		else
			assert_int_equal(store_kv_put(s, "prekey", bytes_str(key), BYTES_LIT("new")),
					 ERR_OK);
		if (i % 5 == 0)
			assert_int_equal(store_commit(s), ERR_OK);
	}
	assert_int_equal(store_commit(s), ERR_OK);
	assert_true(store_checkpoint_due(s));
	assert_int_equal(store_checkpoint(s), ERR_OK);
	assert_false(store_checkpoint_due(s));
	for (unsigned i = 0; i < KEYS; i++) {
		if (on_disk(was[i], len[i]))
			fail_msg("%zu sealed bytes of value %u are still there", len[i], i);
		free(was[i]);
	}
	/* The WAL that was cut grows again and is checkpointed as before. */
	for (unsigned i = 0; i < 3; i++) {
		assert_true(world_out(s, &w, 1, "m", 1, "x") > 0 || i);
		assert_int_equal(store_commit(s), ERR_OK);
	}
	assert_int_equal(store_integrity(s, NULL), ERR_OK);
}

static void erasure_that_is_undone_asks_for_nothing(void **state)
{
	assert_int_equal(store_kv_put(s, "a", BYTES_LIT("k"), BYTES_LIT("v")), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_false(store_checkpoint_due(s)); /* nothing was there before */
	assert_int_equal(store_kv_del(s, "a", BYTES_LIT("k")), ERR_OK);
	store_rollback(s);
	assert_false(store_checkpoint_due(s));
	expect("a", "k", "v");
	assert_int_equal(store_kv_del(s, "a", BYTES_LIT("k")), ERR_OK);
	assert_false(store_checkpoint_due(s)); /* not before it is committed */
	/* While a group is open the WAL cannot be cut; it is asked for again. */
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(store_kv_put(s, "a", BYTES_LIT("k"), BYTES_LIT("w")), ERR_OK);
	assert_int_equal(store_checkpoint(s), ERR_AGAIN);
	assert_true(store_checkpoint_due(s));
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(store_checkpoint(s), ERR_OK);
	assert_false(store_checkpoint_due(s));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(values_live_and_die_with_their_group),  T(what_is_too_long_or_empty_is_refused),
		T(each_walks_one_space_in_order_of_keys), T(value_opens_only_under_its_name),
		T(erased_values_leave_no_bytes_behind),	  T(erasure_that_is_undone_asks_for_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
