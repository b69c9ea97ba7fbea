#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/text.h"
#include "store/migrations_internal.h"
#include "store/seal_internal.h"
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
		"40cac2f96f68983d084214583f598b09cd820425e9338b938efbdb1823ee6c96",
		"d95b9afea4a47a05e78c594d5e7cf590461f8f6895d589f6e7c893f468612630",
		"ea764c397e9939b123b6eb60617baa84d1f2b81de8fa8232f52fe6ffdda8a0f0",
		"266db7a3bd0f703c0b2b94f822693eb84fe6983f91933ca9dd7bdafa7c239bef",
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
	assert_int_equal(number("SELECT count(*) FROM sqlite_master WHERE type = 'table'"), 11);
}

#define NEXT 6 /* version */
static struct migration list[NEXT];
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
	assert_true(world_out(s, &w, 1, "m", 2, "body of this version") > 0);
	assert_int_equal(store_commit(s), ERR_OK);
	store_close(s);
	assert_int_equal(sqlite3_open(w.db, &db), SQLITE_OK);
	assert_int_equal(MIGRATIONS_N, NEXT - 1);
	memcpy(list, MIGRATIONS, sizeof *list * MIGRATIONS_N);
	list[NEXT - 1] = (struct migration){NEXT, "ALTER TABLE outbox ADD COLUMN note BLOB;"
					"CREATE TABLE extra (a INTEGER) STRICT"};
	assert_int_equal(migrations_run(db, list, NEXT, on_first, NULL), ERR_OK);
	assert_int_equal(first.calls, 0); /* only a fresh database is given a key */
	assert_int_equal(number("PRAGMA user_version"), NEXT);
	assert_int_equal(number("SELECT count(*) FROM outbox WHERE note IS NULL"), 1);
	assert_int_equal(number("SELECT count(*) FROM extra"), 0);
	/* An older program refuses it; put back it is as it was. */
	assert_int_equal(migrations_run(db, MIGRATIONS, MIGRATIONS_N, NULL, NULL), ERR_VERSION);
	assert_int_equal(sqlite3_exec(db,
				      "DROP TABLE extra; ALTER TABLE outbox DROP COLUMN note;"
				      "PRAGMA user_version = 5",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	s = world_store(&w, NULL);
	assert_int_equal(outbox_get(s, BYTES_LIT("m"), &r), ERR_OK);
	store_close(s);
}

/* A database of version 1, as the program before im2 wrote it: the schema of then, rows sealed its way. */
static void put_old_row(struct seal *seal, int64_t seq, const char *id, int state, bool whole)
{
	struct node_id to = world_peer(1);
	uint8_t ad[256], peer[16];
	struct buf words, body;
	struct bytes a;
	sqlite3_stmt *st;

	assert_int_equal(hex_decode(bytes_of(to.hex, 32), peer, 16), ERR_OK);
	buf_init(&words, 1000);
	buf_init(&body, 1000);
	for (uint8_t part = 1; part <= 2; part++) {
		struct wr wr = wr_init(ad, sizeof(ad));
		wr_bytes(&wr, BYTES_LIT("outbox"));
		wr_u8(&wr, part);
		wr_u64(&wr, (uint64_t)seq);
		wr_bytes(&wr, bytes_of(to.hex, NODE_ID_LEN));
		wr_u8(&wr, 1); /* priority */
		wr_u64(&wr, 111);
		wr_u64(&wr, 222);
		wr_u32(&wr, 8);
		wr_bytes(&wr, bytes_str(id));
		assert_int_equal(wr_end(&wr, &a), ERR_OK);
		assert_int_equal(part == 1 ? seal_put(seal, a, BYTES_LIT("\3REQ"), &words)
					   : seal_put(seal, a, BYTES_LIT("old body"), &body),
				 ERR_OK);
	}
	if (!whole)
		words.p[words.n - 1] ^= 1;
	assert_int_equal(sqlite3_prepare_v2(db,
					    "INSERT INTO outbox VALUES (?1, ?2, ?3, 2, ?4, 0, 111, 222, 111,"
					    " 8, ?5)",
					    -1, &st, NULL),
			 SQLITE_OK);
	sqlite3_bind_int64(st, 1, seq);
	sqlite3_bind_blob(st, 2, peer, 16, SQLITE_STATIC);
	sqlite3_bind_blob(st, 3, id, (int)strlen(id), SQLITE_STATIC);
	sqlite3_bind_int(st, 4, state);
	sqlite3_bind_blob(st, 5, words.p, (int)words.n, SQLITE_STATIC);
	assert_int_equal(sqlite3_step(st), SQLITE_DONE);
	sqlite3_finalize(st);
	assert_int_equal(sqlite3_prepare_v2(db, "INSERT INTO outbox_body VALUES (?1, ?2)", -1, &st, NULL),
			 SQLITE_OK);
	sqlite3_bind_int64(st, 1, seq);
	sqlite3_bind_blob(st, 2, body.p, (int)body.n, SQLITE_STATIC);
	assert_int_equal(sqlite3_step(st), SQLITE_DONE);
	sqlite3_finalize(st);
	buf_fini(&words);
	buf_fini(&body);
}

static void put_old_letter(struct seal *seal, int64_t seq, const char *id)
{
	struct node_id author = world_peer(1), via = world_peer(1001);
	uint8_t ad[256], blob[2][16];
	struct buf words, body;
	struct bytes a;
	sqlite3_stmt *st;

	assert_int_equal(hex_decode(bytes_of(author.hex, 32), blob[0], 16), ERR_OK);
	assert_int_equal(hex_decode(bytes_of(via.hex, 32), blob[1], 16), ERR_OK);
	buf_init(&words, 1000);
	buf_init(&body, 1000);
	for (uint8_t part = 1; part <= 2; part++) {
		struct wr wr = wr_init(ad, sizeof(ad));
		wr_bytes(&wr, BYTES_LIT("inbox"));
		wr_u8(&wr, part);
		wr_u64(&wr, (uint64_t)seq);
		wr_bytes(&wr, bytes_of(author.hex, NODE_ID_LEN));
		wr_bytes(&wr, bytes_of(via.hex, NODE_ID_LEN));
		wr_u8(&wr, 1);
		wr_u8(&wr, 1);
		wr_u64(&wr, 5);
		wr_u64(&wr, 6);
		wr_u32(&wr, 10);
		wr_bytes(&wr, bytes_str(id));
		assert_int_equal(wr_end(&wr, &a), ERR_OK);
		assert_int_equal(part == 1 ? seal_put(seal, a, BYTES_LIT("CONV"), &words)
					   : seal_put(seal, a, BYTES_LIT("old letter"), &body),
				 ERR_OK);
	}
	assert_int_equal(sqlite3_prepare_v2(db,
					    "INSERT INTO inbox VALUES (?1, ?2, ?3, ?4, 1, 0, 1, 0, 5, 6, 0,"
					    " 10, ?5)",
					    -1, &st, NULL),
			 SQLITE_OK);
	sqlite3_bind_int64(st, 1, seq);
	sqlite3_bind_blob(st, 2, blob[0], 16, SQLITE_STATIC);
	sqlite3_bind_blob(st, 3, blob[1], 16, SQLITE_STATIC);
	sqlite3_bind_blob(st, 4, id, (int)strlen(id), SQLITE_STATIC);
	sqlite3_bind_blob(st, 5, words.p, (int)words.n, SQLITE_STATIC);
	assert_int_equal(sqlite3_step(st), SQLITE_DONE);
	sqlite3_finalize(st);
	assert_int_equal(sqlite3_prepare_v2(db, "INSERT INTO inbox_body VALUES (?1, ?2)", -1, &st, NULL),
			 SQLITE_OK);
	sqlite3_bind_int64(st, 1, seq);
	sqlite3_bind_blob(st, 2, body.p, (int)body.n, SQLITE_STATIC);
	assert_int_equal(sqlite3_step(st), SQLITE_DONE);
	sqlite3_finalize(st);
	buf_fini(&words);
	buf_fini(&body);
}

static enum err store_wrapped(void *ctx, sqlite3 *d)
{
	sqlite3_stmt *st;

	assert_int_equal(sqlite3_prepare_v2(d, "INSERT INTO meta VALUES ('db_key', ?1)", -1, &st, NULL),
			 SQLITE_OK);
	sqlite3_bind_blob(st, 1, ctx, SEAL_WRAP_BYTES, SQLITE_STATIC);
	assert_int_equal(sqlite3_step(st), SQLITE_DONE);
	sqlite3_finalize(st);
	return ERR_OK;
}

static void messages_of_the_version_before_im2_keep_working(void **state)
{
	uint8_t wrapped[SEAL_WRAP_BYTES], again[16];
	struct node_id peer = world_peer(1);
	struct outbox_mark marks[2];
	struct inbox_row in;
	struct outbox_row r, rows[4];
	enum inbox_state was;
	struct seal seal;
	struct buf b;
	char hex[33];
	int64_t seq;
	size_t n;

	assert_int_equal(seal_create(&seal, &w.env, BYTES_ARR(w.wrap), wrapped), ERR_OK);
	assert_int_equal(migrations_run(db, MIGRATIONS, 1, store_wrapped, wrapped), ERR_OK);
	put_old_row(&seal, 1, "ended", OUTBOX_DELIVERED, true);
	put_old_row(&seal, 2, "first", OUTBOX_QUEUED, true);
	put_old_row(&seal, 3, "broken", OUTBOX_QUEUED, false);
	put_old_row(&seal, 4, "second", OUTBOX_QUEUED, true);
	put_old_letter(&seal, 1, "letter");
	seal_fini(&seal);
	sqlite3_close(db);
	db = NULL;

	struct store *s = world_store(&w, NULL);
	buf_init(&b, 100);
	assert_int_equal(outbox_get(s, BYTES_LIT("ended"), &r), ERR_OK);
	assert_false(r.has_wire);
	assert_string_equal(r.type, "REQ");
	assert_int_equal(outbox_waiting(s, &peer, OUTBOX_PRIORITIES, 0, rows, 4, &n), ERR_OK);
	assert_int_equal(n, 2);
	for (size_t i = 0; i < n; i++) {
		assert_string_equal(rows[i].id, i ? "second" : "first");
		assert_true(rows[i].has_wire);
		assert_int_equal(rows[i].wire_id[15], i + 1);
		assert_int_equal(rows[i].meta_len, 0);
		buf_reset(&b);
		assert_int_equal(outbox_body(s, rows[i].seq, &b), ERR_OK);
		assert_true(bytes_eq(buf_bytes(&b), BYTES_LIT("old body")));
	}
	assert_int_equal(outbox_settle(s, &peer, marks, 2, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_int_equal(marks[0].seq, 1);
	assert_int_equal(inbox_find(s, BYTES_LIT("letter"), &in, 1, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_string_equal(in.type, "CONV");
	assert_false(in.has_wire);
	buf_reset(&b);
	assert_int_equal(inbox_body(s, 1, &b), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&b), BYTES_LIT("old letter")));
	struct inbox_new repeat = {.author = peer,
				   .via = peer,
				   .id = BYTES_LIT("letter"),
				   .type = BYTES_LIT("CONV")};
	assert_int_equal(inbox_put(s, &repeat, &seq, &was), ERR_EXISTS);
	/* The same ids after another opening: they are on disk. */
	memcpy(again, rows[1].wire_id, 16);
	store_abandon(s);
	s = world_store(&w, NULL);
	hex_encode(BYTES_ARR(again), hex);
	assert_int_equal(outbox_get(s, bytes_of(hex, 32), &r), ERR_OK);
	assert_string_equal(r.id, "second");
	assert_int_equal(outbox_receipt(s, &peer, bytes_of(hex, 32), OUTBOX_DELIVERED, NULL, 9, NULL, &seq),
			 ERR_OK);
	assert_int_equal(seq, 4);
	assert_int_equal(outbox_receipt(s, &peer, BYTES_LIT("first"), OUTBOX_DELIVERED, NULL, 9, NULL, &seq),
			 ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(store_integrity(s, NULL), ERR_OK);
	buf_fini(&b);
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
		T(messages_of_the_version_before_im2_keep_working),
		T(database_without_its_key_is_not_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
