#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/text.h"
#include "store/migrations_internal.h"
#include "tests/lib/store_world.h"

static struct world w;
static sqlite3 *db;

static int setup(void **state)
{
	world_init(&w);
	world_write(w.db, "", 0); /* with the mode that the store asks for */
	return sqlite3_open(w.db, &db) != SQLITE_OK;
}

static int teardown(void **state)
{
	sqlite3_close(db);
	world_fini(&w);
	return 0;
}

static int64_t number(const char *sql)
{
	sqlite3_stmt *st;
	int64_t n = -1;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
	if (sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return n;
}

/* Databases in the field were made by this text: a change belongs in the next number. */
static void published_migrations_never_change(void **state)
{
	static const char *const SHA256_OF[] = {
		"478a72b1cc59b7603dcec36d85c4affc6f98ea9485c9a0c5ab68937193ffb60a",
	};
	uint8_t hash[HASH_BYTES];
	char hex[2 * HASH_BYTES + 1];

	assert_int_equal(MIGRATIONS_N, sizeof(SHA256_OF) / sizeof(SHA256_OF[0]));
	for (size_t i = 0; i < MIGRATIONS_N; i++) {
		assert_int_equal(MIGRATIONS[i].version, i + 1);
		sha256(bytes_str(MIGRATIONS[i].sql), hash);
		hex_encode(BYTES_ARR(hash), hex);
		assert_string_equal(hex, SHA256_OF[i]);
	}
}

static void fresh_database_gets_every_version(void **state)
{
	int version;

	assert_int_equal(migrations_run(db, MIGRATIONS, MIGRATIONS_N, NULL, NULL), ERR_OK);
	assert_int_equal(migrations_version(db, &version), ERR_OK);
	assert_int_equal(version, MIGRATIONS_N);
	assert_int_equal(number("PRAGMA application_id"), STORE_APPLICATION_ID);
	/* Once more changes nothing. */
	assert_int_equal(migrations_run(db, MIGRATIONS, MIGRATIONS_N, NULL, NULL), ERR_OK);
	assert_int_equal(number("SELECT count(*) FROM sqlite_master WHERE type = 'table'"), 5);
}

static struct migration list[3];
static struct {
	unsigned calls;
	enum err answer;
} first;

static enum err on_first(void *ctx, sqlite3 *d)
{
	first.calls++;
	assert_ptr_equal(d, db);
	return first.answer;
}

static void next_version_keeps_the_rows_of_this_one(void **state)
{
	struct outbox_row r;

	sqlite3_close(db);
	struct store *s = world_store(&w, NULL);
	assert_true(world_out(s, &w, 1, "m", 2, "body of version 1") > 0);
	assert_int_equal(store_commit(s), ERR_OK);
	store_close(s);
	assert_int_equal(sqlite3_open(w.db, &db), SQLITE_OK);
	list[0] = MIGRATIONS[0];
	list[1] = (struct migration){2, "ALTER TABLE outbox ADD COLUMN note BLOB;"
					"CREATE TABLE extra (a INTEGER) STRICT"};
	assert_int_equal(migrations_run(db, list, 2, on_first, NULL), ERR_OK);
	assert_int_equal(first.calls, 0); /* only a fresh database is given a key */
	assert_int_equal(number("PRAGMA user_version"), 2);
	assert_int_equal(number("SELECT count(*) FROM outbox WHERE note IS NULL"), 1);
	assert_int_equal(number("SELECT count(*) FROM extra"), 0);
	/* An older program refuses it; put back to 1 it is as it was. */
	assert_int_equal(migrations_run(db, MIGRATIONS, 1, NULL, NULL), ERR_VERSION);
	assert_int_equal(sqlite3_exec(db,
				      "DROP TABLE extra; ALTER TABLE outbox DROP COLUMN note;"
				      "PRAGMA user_version = 1",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	s = world_store(&w, NULL);
	assert_int_equal(outbox_get(s, BYTES_LIT("m"), &r), ERR_OK);
	store_close(s);
}

static void failing_step_is_undone_whole(void **state)
{
	list[0] = MIGRATIONS[0];
	list[1] = (struct migration){
		2, "CREATE TABLE two (a INTEGER); INSERT INTO nowhere VALUES (1)"};
	list[2] = (struct migration){3, "CREATE TABLE three (a INTEGER)"};
	assert_int_equal(migrations_run(db, list, 3, NULL, NULL), ERR_STORE);
	assert_int_equal(number("PRAGMA user_version"), 1);
	assert_int_equal(
		number("SELECT count(*) FROM sqlite_master WHERE name IN ('two', 'three')"), 0);
	list[1].sql = "CREATE TABLE two (a INTEGER)";
	assert_int_equal(migrations_run(db, list, 3, NULL, NULL), ERR_OK);
	assert_int_equal(number("PRAGMA user_version"), 3);
	assert_int_equal(
		number("SELECT count(*) FROM sqlite_master WHERE name IN ('two', 'three')"), 2);
}

static void database_without_its_key_is_not_made(void **state)
{
	first.calls = 0;
	first.answer = ERR_NOMEM;
	assert_int_equal(migrations_run(db, MIGRATIONS, MIGRATIONS_N, on_first, NULL), ERR_NOMEM);
	assert_int_equal(number("PRAGMA user_version"), 0);
	assert_int_equal(number("SELECT count(*) FROM sqlite_master"), 0);
	first.answer = ERR_OK;
	assert_int_equal(migrations_run(db, MIGRATIONS, MIGRATIONS_N, on_first, NULL), ERR_OK);
	assert_int_equal(first.calls, 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(published_migrations_never_change),	    T(fresh_database_gets_every_version),
		T(next_version_keeps_the_rows_of_this_one), T(failing_step_is_undone_whole),
		T(database_without_its_key_is_not_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
