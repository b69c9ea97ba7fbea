#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/audit.h"
#include "tests/lib/store_world.h"

static struct world w;

static int setup(void **state)
{
	world_init(&w);
	return 0;
}

static int teardown(void **state)
{
	world_fini(&w);
	return 0;
}

/* Changes the file behind the store's back. */
static void edit(const char *sql)
{
	sqlite3 *db;
	char *why = NULL;

	assert_int_equal(sqlite3_open(w.db, &db), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
		fail_msg("%s: %s", sql, why);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void fill_and_close(void)
{
	struct store *s = world_store(&w, NULL);

	assert_true(world_out(s, &w, 1, "out-1", 1, "outgoing body") > 0);
	assert_true(world_out(s, &w, 1, "out-2", 1, "second outgoing") > 0);
	assert_true(world_in(s, &w, 1, "in-1", false, "incoming body") > 0);
	assert_true(world_in(s, &w, 1, "in-2", false, "second incoming") > 0);
	assert_int_equal(store_commit(s), ERR_OK);
	store_close(s);
}

static void assert_refused(enum err want, const char *says)
{
	struct store *s = NULL;
	struct fault f = {0};
	size_t before_n, after_n;
	char *before = world_read(w.db, &before_n);

	assert_int_equal(world_store_try(&w, &s, &f), want);
	assert_null(s);
	assert_int_equal(f.err, want);
	if (!strstr(f.what, says))
		fail_msg("\"%s\" does not say \"%s\"", f.what, says);
	char *after = world_read(w.db, &after_n);
	assert_int_equal(before_n, after_n);
	assert_memory_equal(before, after, before_n);
	free(before);
	free(after);
}

static void wrong_key_is_refused_and_the_file_left_alone(void **state)
{
	fill_and_close();
	w.wrap[0] ^= 1;
	assert_refused(ERR_CORRUPT, "does not open with this identity");
	w.wrap[0] ^= 1;
	store_close(world_store(&w, NULL));
}

static void wrong_key_leaves_a_wal_that_a_crash_left_alone_too(void **state)
{
	struct store *s = world_store(&w, NULL);
	char wal[160];
	size_t before_n, after_n;

	world_out(s, &w, 1, "m", 0, "body");
	assert_int_equal(store_commit(s), ERR_OK);
	store_abandon(s);
	snprintf(wal, sizeof(wal), "%s-wal", w.db);
	char *before = world_read(wal, &before_n);
	assert_true(before_n > 0);
	w.wrap[0] ^= 1;
	assert_refused(ERR_CORRUPT, "does not open with this identity");
	char *after = world_read(wal, &after_n);
	assert_int_equal(before_n, after_n);
	assert_memory_equal(before, after, before_n);
	free(before);
	free(after);
	w.wrap[0] ^= 1;
	s = world_store(&w, NULL);
	struct outbox_row r;
	assert_int_equal(outbox_get(s, BYTES_LIT("m"), &r), ERR_OK);
	store_close(s);
}

static void newer_schema_is_refused(void **state)
{
	fill_and_close();
	edit("PRAGMA user_version = 99");
	assert_refused(ERR_CORRUPT, "newer version");
}

static void databases_of_others_are_refused(void **state)
{
	edit("CREATE TABLE notes (t TEXT); PRAGMA user_version = 1");
	assert_int_equal(chmod(w.db, 0600), 0);
	assert_refused(ERR_CORRUPT, "not made by this program");
	world_write(w.db,
		    "this is not a database, but it is longer than a header of one hundred "
		    "bytes, so that nobody takes it for an empty file",
		    115);
	assert_refused(ERR_CORRUPT, "not a database");
}

static void damaged_page_is_found_at_open(void **state)
{
	struct store *s = world_store(&w, NULL);
	char body[600];
	size_t n;

	memset(body, 'b', sizeof(body) - 1);
	body[sizeof(body) - 1] = 0;
	for (unsigned i = 0; i < 200; i++) {
		char id[16];
		snprintf(id, sizeof(id), "m%u", i);
		world_out(s, &w, 1, id, 0, body);
	}
	assert_int_equal(store_commit(s), ERR_OK);
	store_close(s);
	char *file = world_read(w.db, &n);
	assert_true(n > 12 * 4096);
	/* The header of a page in the middle of the bodies. */
	memset(file + 20 * 4096, 0xee, 64);
	world_write(w.db, file, n);
	free(file);
	assert_refused(ERR_CORRUPT, "cannot be used");
}

static void rows_that_make_no_sense_are_found_at_open(void **state)
{
	fill_and_close();
	edit("UPDATE outbox SET state = 12 WHERE seq = 1");
	struct store *s = NULL;
	struct fault f = {0};
	assert_int_equal(world_store_try(&w, &s, &f), ERR_CORRUPT);
	edit("UPDATE outbox SET state = 0, peer = x'00' WHERE seq = 1");
	assert_int_equal(world_store_try(&w, &s, &f), ERR_CORRUPT);
	assert_non_null(strstr(f.what, "make no sense"));
}

static void files_open_to_others_are_refused(void **state)
{
	char link_name[160];

	fill_and_close();
	assert_int_equal(chmod(w.db, 0644), 0);
	assert_refused(ERR_DENIED, "open to other users");
	assert_int_equal(chmod(w.db, 0600), 0);
	snprintf(link_name, sizeof(link_name), "%s/link.db", w.dir);
	assert_int_equal(symlink(w.db, link_name), 0);
	struct store_config c = {.path = link_name, .wrap_key = BYTES_ARR(w.wrap), .env = &w.env};
	struct store *s = NULL;
	struct fault f = {0};
	assert_int_not_equal(store_open(&c, &s, &f), ERR_OK);
	assert_null(s);
}

static void new_files_are_private(void **state)
{
	struct store *s = world_store(&w, NULL);
	static const char *const SUFFIX[] = {"", "-wal", "-shm"};
	struct stat st;

	world_out(s, &w, 1, "m", 0, "x");
	assert_int_equal(store_commit(s), ERR_OK);
	for (size_t i = 0; i < 3; i++) {
		char name[160];
		snprintf(name, sizeof(name), "%s%s", w.db, SUFFIX[i]);
		assert_int_equal(stat(name, &st), 0);
		assert_int_equal(st.st_mode & 077, 0);
	}
	store_close(s);
}

/* Each edit moves or alters one thing that is bound; what it hits is ERR_CORRUPT, the rest still
 * works. */
static void rows_cannot_be_swapped_or_altered(void **state)
{
	static const struct {
		const char *sql;
		bool out, in,
			words; /* which body no longer opens; whether type and reason do not */
	} EDITS[] = {
		{"UPDATE outbox_body SET body = (SELECT body FROM outbox_body WHERE seq = 2) WHERE "
		 "seq = 1",
		 true, false, false},
		{"UPDATE outbox SET words = (SELECT words FROM outbox WHERE seq = 2) WHERE seq = 1",
		 true, false, true},
		{"UPDATE outbox SET peer = x'00112233445566778899aabbccddeeff' WHERE seq = 1", true,
		 false, true},
		{"UPDATE outbox SET id = x'41' WHERE seq = 1", true, false, true},
		{"UPDATE outbox SET rank = 0 WHERE seq = 1", true, false, true},
		{"UPDATE outbox SET created = created + 1 WHERE seq = 1", true, false, true},
		{"UPDATE outbox SET expires = 5 WHERE seq = 1", true, false, true},
		{"UPDATE outbox SET body_len = body_len - 1 WHERE seq = 1", true, false, true},
		{"UPDATE outbox_body SET body = substr(body, 1, 20) WHERE seq = 1", true, false,
		 false},
		{"DELETE FROM outbox_body WHERE seq = 1", true, false, false},
		{"UPDATE inbox_body SET body = (SELECT body FROM inbox_body WHERE seq = 2) WHERE "
		 "seq = 1",
		 false, true, false},
		{"UPDATE inbox_body SET body = (SELECT body FROM outbox_body WHERE seq = 1) WHERE "
		 "seq = 1",
		 false, true, false},
		{"UPDATE inbox SET author = x'00112233445566778899aabbccddeeff' WHERE seq = 1",
		 false, true, true},
		{"UPDATE inbox SET via = author WHERE seq = 1", false, true, true},
		{"UPDATE inbox SET proven = 0 WHERE seq = 1", false, true, true},
		{"UPDATE inbox SET received = 1 WHERE seq = 1", false, true, true},
		{"UPDATE inbox SET created = 1 WHERE seq = 1", false, true, true},
		{"UPDATE inbox SET priority = 3 WHERE seq = 1", false, true, true},
	};

	for (size_t i = 0; i < sizeof(EDITS) / sizeof(EDITS[0]); i++) {
		struct inbox_row in;
		struct buf b;

		unlink(w.db);
		fill_and_close();
		edit(EDITS[i].sql);
		struct store *s = world_store(&w, NULL);
		buf_init(&b, 1000);
		assert_int_equal(outbox_body(s, 1, &b), EDITS[i].out ? ERR_CORRUPT : ERR_OK);
		assert_int_equal(inbox_body(s, 1, &b), EDITS[i].in ? ERR_CORRUPT : ERR_OK);
		assert_int_equal(outbox_body(s, 2, &b), ERR_OK);
		assert_int_equal(inbox_body(s, 2, &b), ERR_OK);
		assert_int_equal(inbox_get(s, 1, &in),
				 EDITS[i].in && EDITS[i].words ? ERR_CORRUPT : ERR_OK);
		bool out_words = !EDITS[i].in && EDITS[i].words;
		/* A bad row is left out of lists, it does not hide the others. */
		struct outbox_filter of = {.state = -1};
		struct inbox_filter inf = {.state = -1};
		struct outbox_row out_rows[4];
		struct inbox_row in_rows[4];
		size_t n;
		assert_int_equal(outbox_list(s, &of, out_rows, 4, &n), ERR_OK);
		assert_int_equal(n, out_words ? 1 : 2);
		assert_int_equal(inbox_list(s, &inf, in_rows, 4, &n), ERR_OK);
		assert_int_equal(n, EDITS[i].in && EDITS[i].words ? 1 : 2);
		/* And it can be got rid of. */
		if (!EDITS[i].in)
			assert_int_equal(outbox_move(s, 1, OUTBOX_CANCELLED, "x", 1), ERR_OK);
		else
			assert_int_equal(inbox_delete(s, 1), ERR_OK);
		assert_int_equal(store_commit(s), ERR_OK);
		buf_fini(&b);
		store_close(s);
	}
}

static void body_that_is_missing_fails_the_integrity_check(void **state)
{
	struct fault f = {0};

	fill_and_close();
	struct store *s = world_store(&w, NULL);
	assert_int_equal(store_integrity(s, &f), ERR_OK);
	store_close(s);
	edit("DELETE FROM inbox_body WHERE seq = 1");
	s = world_store(&w, NULL);
	assert_int_equal(store_integrity(s, &f), ERR_CORRUPT);
	assert_non_null(strstr(f.what, "misses the bodies of 1"));
	store_close(s);
}

static bool contains(const char *path, const char *text)
{
	size_t n;
	char *p = world_read(path, &n);
	bool found = p && memmem(p, n, text, strlen(text));

	free(p);
	return found;
}

static void no_text_of_a_message_is_in_any_file(void **state)
{
	static const char *const FILES[] = {"ironmesh.db", "ironmesh.db-wal", "ironmesh.db-shm",
					    "audit.log", "audit.head"};
	static const char *const SECRETS[] = {"PLAINTEXT-OUT", "PLAINTEXT-IN", "SECRETTYPE",
					      "SECRETREASON"};
	struct store *s = world_store(&w, NULL);
	struct keyring *k = world_keys(&w);
	struct audit *a;
	struct outbox_new m = {.id = BYTES_LIT("clear-id"),
			       .to = world_peer(1),
			       .type = BYTES_LIT("SECRETTYPE"),
			       .body = BYTES_LIT("PLAINTEXT-OUT and more of it")};
	struct inbox_new in = {.author = world_peer(1),
			       .via = world_peer(1),
			       .id = BYTES_LIT("i"),
			       .type = BYTES_LIT("SECRETTYPE"),
			       .body = BYTES_LIT("PLAINTEXT-IN")};
	enum inbox_state st;
	int64_t seq;

	assert_int_equal(audit_open(w.log, k, &w.env, &a, NULL), ERR_OK);
	audit_note(a, "STARTUP", bytes_of("", 0), "name", "alice", NULL);
	assert_int_equal(outbox_put(s, &m, &seq, (uint8_t[16]){0}), ERR_OK);
	assert_int_equal(inbox_put(s, &in, &seq, &st), ERR_OK);
	m.id = BYTES_LIT("second");
	assert_int_equal(outbox_put(s, &m, &seq, (uint8_t[16]){0}), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(outbox_move(s, seq, OUTBOX_REJECTED, "SECRETREASON", 1), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(audit_checkpoint(a), ERR_OK);
	for (int round = 0; round < 2; round++) {
		bool id_seen = false;
		for (size_t i = 0; i < sizeof(FILES) / sizeof(FILES[0]); i++) {
			char path[160];
			snprintf(path, sizeof(path), "%s/%s", w.dir, FILES[i]);
			for (size_t k2 = 0; k2 < 4; k2++)
				assert_false(contains(path, SECRETS[k2]));
			id_seen = id_seen || contains(path, "clear-id");
		}
		assert_true(id_seen); /* the search does find what is in clear */
		if (round == 0) {
			store_close(s); /* now it is all in the database file */
			audit_close(a);
		}
	}
	keyring_free(k);
}

static void abandoned_group_is_gone_and_committed_ones_are_there(void **state)
{
	struct store *s = world_store(&w, NULL);
	struct outbox_row r;

	world_out(s, &w, 1, "kept", 0, "x");
	assert_int_equal(store_commit(s), ERR_OK);
	world_out(s, &w, 1, "lost", 0, "x");
	store_abandon(s);
	s = world_store(&w, NULL);
	assert_int_equal(outbox_get(s, BYTES_LIT("kept"), &r), ERR_OK);
	assert_int_equal(outbox_get(s, BYTES_LIT("lost"), &r), ERR_NOTFOUND);
	store_close(s);
	store_close(NULL);
	store_abandon(NULL);
}

static void rollback_restores_counters_numbers_and_ids(void **state)
{
	struct store *s = world_store(&w, NULL);
	struct node_id peer = world_peer(1);
	uint64_t n[OUTBOX_STATES];
	struct outbox_row r;

	int64_t first = world_out(s, &w, 1, "a", 0, "x");
	assert_int_equal(store_commit(s), ERR_OK);
	int64_t second = world_out(s, &w, 1, "b", 0, "x");
	world_out(s, &w, 2, "c", 0, "x");
	assert_int_equal(outbox_move(s, first, OUTBOX_SENT, NULL, 1), ERR_OK);
	store_rollback(s);
	assert_false(store_dirty(s));
	assert_int_equal(outbox_count(s, &peer, n), ERR_OK);
	assert_int_equal(n[OUTBOX_QUEUED], 1);
	assert_int_equal(n[OUTBOX_SENT], 0);
	assert_int_equal(outbox_count(s, NULL, n), ERR_OK);
	assert_int_equal(n[OUTBOX_QUEUED], 1);
	assert_int_equal(outbox_get(s, BYTES_LIT("b"), &r), ERR_NOTFOUND);
	assert_int_equal(world_out(s, &w, 1, "b", 0, "x"), second);
	assert_int_equal(store_commit(s), ERR_OK);
	store_rollback(s); /* nothing is open: nothing happens */
	assert_int_equal(outbox_get(s, BYTES_LIT("b"), &r), ERR_OK);
	store_close(s);
}

static void database_in_memory_works_without_a_file(void **state)
{
	struct store_config c = {.wrap_key = BYTES_ARR(w.wrap), .env = &w.env, .relaxed = true};
	struct store *s;
	struct store_stats st;
	struct outbox_row r;

	assert_int_equal(store_open(&c, &s, NULL), ERR_OK);
	assert_true(world_out(s, &w, 1, "m", 0, "x") > 0);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_false(store_checkpoint_due(s));
	assert_int_equal(store_checkpoint(s), ERR_OK);
	assert_int_equal(outbox_get(s, BYTES_LIT("m"), &r), ERR_OK);
	store_stats(s, &st);
	assert_int_equal(st.file_bytes, 0);
	assert_int_equal(st.outbox_waiting, 1);
	store_close(s);
}

static void prune_deletes_old_finished_rows_only(void **state)
{
	struct store_limits l = {.keep_ms = 1000};
	struct store *s = world_store(&w, &l);
	struct outbox_row o;
	struct inbox_row i;
	unsigned deleted;
	bool changed;
	size_t n;

	w.wall_ms = 5000;
	int64_t waiting = world_out(s, &w, 1, "waiting", 0, "x"),
		old = world_out(s, &w, 1, "old", 0, "x");
	int64_t young = world_out(s, &w, 1, "young", 0, "x"),
		last = world_out(s, &w, 1, "last", 0, "x");
	assert_int_equal(outbox_move(s, old, OUTBOX_READ, NULL, 5000), ERR_OK);
	assert_int_equal(outbox_move(s, young, OUTBOX_READ, NULL, 6500), ERR_OK);
	assert_int_equal(outbox_move(s, last, OUTBOX_READ, NULL, 5000), ERR_OK);
	int64_t unread = world_in(s, &w, 1, "unread", false, "x"),
		read = world_in(s, &w, 1, "read", false, "x");
	int64_t dropped = world_in(s, &w, 1, "dropped", false, "x"),
		held = world_in(s, &w, 1, "held", true, "x");
	int64_t fresh = world_in(s, &w, 1, "fresh", false, "x"),
		end = world_in(s, &w, 1, "end", false, "x");
	assert_int_equal(inbox_mark_read(s, read, 5500, &changed), ERR_OK);
	assert_int_equal(inbox_mark_read(s, fresh, 6500, &changed), ERR_OK);
	assert_int_equal(inbox_delete(s, dropped), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(store_prune(s, 5900, 100, &deleted), ERR_OK);
	assert_int_equal(deleted, 0);
	assert_int_equal(store_prune(s, 7000, 100, &deleted), ERR_OK);
	assert_int_equal(deleted, 3);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(outbox_get(s, BYTES_LIT("waiting"), &o), ERR_OK);
	assert_int_equal(outbox_get(s, BYTES_LIT("old"), &o), ERR_NOTFOUND);
	assert_int_equal(outbox_get(s, BYTES_LIT("young"), &o), ERR_OK);
	assert_int_equal(outbox_get(s, BYTES_LIT("last"), &o),
			 ERR_OK); /* its number is not used again */
	assert_int_equal(inbox_get(s, unread, &i), ERR_OK);
	assert_int_equal(inbox_get(s, read, &i), ERR_NOTFOUND);
	assert_int_equal(inbox_get(s, dropped, &i), ERR_NOTFOUND);
	assert_int_equal(inbox_get(s, held, &i), ERR_OK);
	assert_int_equal(inbox_get(s, fresh, &i), ERR_OK);
	assert_int_equal(inbox_get(s, end, &i), ERR_OK);
	/* Forgotten: the same id is a new message now. */
	assert_true(world_in(s, &w, 1, "read", false, "x") > end);
	assert_int_equal(inbox_find(s, BYTES_LIT("read"), &i, 1, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_true(waiting > 0);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(store_integrity(s, NULL), ERR_OK);
	store_close(s);
	s = world_store(&w, &l);
	assert_true(world_out(s, &w, 1, "next", 0, "x") == last + 1);
	store_close(s);
}

/* A late receipt finds it (im2.md 10.3). */
static void what_expired_is_kept_for_its_life_and_two_days(void **state)
{
	struct store_limits l = {.keep_ms = 1000};
	struct store *s = world_store(&w, &l);
	uint64_t end = 65000 + 60000 + 48ull * 3600 * 1000;
	struct outbox_new m = {.id = BYTES_LIT("old"), .to = world_peer(1), .type = BYTES_LIT("MSG"),
			       .created_ms = 5000, .expires_ms = 65000};
	struct outbox_row r;
	unsigned deleted;
	int64_t seq;
	size_t n;

	w.wall_ms = 5000;
	assert_int_equal(outbox_put(s, &m, &seq, (uint8_t[16]){0}), ERR_OK);
	world_out(s, &w, 1, "last", 0, "x");
	assert_int_equal(outbox_expire(s, 65000, &r, 1, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(store_prune(s, end, 100, &deleted), ERR_OK);
	assert_int_equal(deleted, 0);
	assert_int_equal(store_prune(s, end + 1, 100, &deleted), ERR_OK);
	assert_int_equal(deleted, 1);
	store_close(s);
}

static void prune_stops_at_max_rows_and_keeps_to_keep_rows(void **state)
{
	struct store_limits l = {.keep_ms = 1000, .keep_rows = 60};
	struct store *s = world_store(&w, &l);
	uint64_t n[OUTBOX_STATES];
	unsigned deleted;

	for (unsigned i = 0; i < 200; i++) {
		char id[16];
		snprintf(id, sizeof(id), "m%u", i);
		int64_t seq = world_out(s, &w, 1, id, 0, "x");
		if (i % 10)
			assert_int_equal(outbox_move(s, seq, OUTBOX_READ, NULL, 5000), ERR_OK);
	}
	assert_int_equal(store_prune(s, 5000, 30, &deleted), ERR_OK); /* too young, but too many */
	assert_int_equal(deleted, 30);
	for (int i = 0; i < 20; i++)
		assert_int_equal(store_prune(s, 5000, 30, &deleted), ERR_OK);
	assert_int_equal(deleted, 0);
	assert_int_equal(outbox_count(s, NULL, n), ERR_OK);
	assert_int_equal(n[OUTBOX_QUEUED] + n[OUTBOX_READ], 60);
	assert_int_equal(n[OUTBOX_QUEUED], 20);
	for (int i = 0; i < 20; i++)
		assert_int_equal(store_prune(s, 7000, 7, &deleted), ERR_OK);
	assert_int_equal(outbox_count(s, NULL, n), ERR_OK);
	assert_int_equal(n[OUTBOX_QUEUED], 20);
	assert_int_equal(n[OUTBOX_READ], 1);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(store_integrity(s, NULL), ERR_OK);
	store_close(s);
}

struct worker {
	struct store *s;
	atomic_bool stop, wanted;
	unsigned ran;
};

static void *checkpoint_thread(void *ctx)
{
	struct worker *k = ctx;

	while (!atomic_load(&k->stop)) {
		if (atomic_exchange(&k->wanted, false)) {
			enum err e = store_checkpoint(k->s);
			if (e == ERR_OK)
				k->ran++;
		}
		usleep(200);
	}
	return NULL;
}

static void wal_stays_bounded_while_a_thread_checkpoints(void **state)
{
	struct store_config c = {.path = w.db,
				 .wrap_key = BYTES_ARR(w.wrap),
				 .env = &w.env,
				 .relaxed = true,
				 .limits = {.outbox_per_peer = 1000000, .outbox_total = 1000000}};
	struct worker k = {0};
	struct store_stats st;
	uint64_t most = 0;
	pthread_t thread;
	char body[1025];

	assert_int_equal(store_open(&c, &k.s, NULL), ERR_OK);
	memset(body, 'b', 1024);
	body[1024] = 0;
	assert_int_equal(pthread_create(&thread, NULL, checkpoint_thread, &k), 0);
	for (unsigned i = 0; i < 30000; i++) {
		char id[16];
		snprintf(id, sizeof(id), "m%u", i);
		assert_true(world_out(k.s, &w, i % 5, id, 0, body) > 0);
		if (i % 32)
			continue;
		assert_int_equal(store_commit(k.s), ERR_OK);
		if (store_checkpoint_due(k.s))
			atomic_store(&k.wanted, true);
		store_stats(k.s, &st);
		if (st.wal_bytes > most)
			most = st.wal_bytes;
		/* A disk busy with something else holds the thread up, not this writer: it lets the thread have its turn. */
		for (unsigned ms = 0; st.wal_bytes > (16u << 20) && atomic_load(&k.wanted) && ms < 20000; ms++)
			usleep(1000);
	}
	atomic_store(&k.stop, true);
	pthread_join(thread, NULL);
	assert_true(k.ran > 2);
	/* 40 MB went through it. */
	assert_true(most > (4u << 20));
	assert_true(most < (33u << 20));
	assert_int_equal(store_commit(k.s), ERR_OK);
	assert_int_equal(store_integrity(k.s, NULL), ERR_OK);
	store_close(k.s);
}

static void wal_is_bounded_even_when_nobody_checkpoints(void **state)
{
	struct store_config c = {.path = w.db,
				 .wrap_key = BYTES_ARR(w.wrap),
				 .env = &w.env,
				 .relaxed = true,
				 .limits = {.outbox_per_peer = 1000000, .outbox_total = 1000000}};
	struct store *s;
	struct store_stats st;
	char body[8193];
	uint64_t most = 0;

	assert_int_equal(store_open(&c, &s, NULL), ERR_OK);
	memset(body, 'b', 8192);
	body[8192] = 0;
	for (unsigned i = 0; i < 12000; i++) {
		char id[16];
		snprintf(id, sizeof(id), "m%u", i);
		assert_true(world_out(s, &w, 1, id, 0, body) > 0);
		if (i % 50 == 0) {
			assert_int_equal(store_commit(s), ERR_OK);
			store_stats(s, &st);
			if (st.wal_bytes > most)
				most = st.wal_bytes;
		}
	}
	assert_true(most > (60u << 20) && most < (70u << 20)); /* of more than 100 MB */
	store_stats(s, &st);
	assert_true(st.checkpoints >= 1);
	store_close(s);
}

static void checkpoint_is_due_above_four_mebibytes_and_then_not(void **state)
{
	struct store *s = world_store(&w, NULL);
	char body[65537];
	struct store_stats st;
	unsigned i;

	memset(body, 'b', 65536);
	body[65536] = 0;
	for (i = 0; i < 200 && !store_checkpoint_due(s); i++) {
		char id[16];
		snprintf(id, sizeof(id), "m%u", i);
		world_out(s, &w, 1, id, 0, body);
		assert_int_equal(store_commit(s), ERR_OK);
	}
	assert_in_range(i, 40, 64);
	assert_int_equal(store_checkpoint(s), ERR_OK);
	assert_false(store_checkpoint_due(s));
	world_out(s, &w, 1, "after", 0, body);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_false(store_checkpoint_due(s)); /* the WAL started over */
	store_stats(s, &st);
	assert_true(st.wal_bytes < (5u << 20));
	store_close(s);
}

static void stats_count_commits_and_rows(void **state)
{
	struct store *s = world_store(&w, NULL);
	struct store_stats st;

	assert_int_equal(store_commit(s), ERR_OK);
	world_out(s, &w, 1, "a", 0, "123");
	world_in(s, &w, 1, "b", true, "1234");
	assert_int_equal(store_commit(s), ERR_OK);
	store_stats(s, &st);
	assert_int_equal(st.commits, 1);
	assert_true(st.rows >= 2);
	assert_int_equal(st.failures, 0);
	assert_true(st.wal_bytes > 0);
	assert_int_equal(st.inbox_held, 1);
	assert_int_equal(st.inbox_unread, 0);
	assert_int_equal(st.inbox_bytes, 4);
	store_close(s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(wrong_key_is_refused_and_the_file_left_alone),
		T(wrong_key_leaves_a_wal_that_a_crash_left_alone_too),
		T(newer_schema_is_refused),
		T(databases_of_others_are_refused),
		T(damaged_page_is_found_at_open),
		T(rows_that_make_no_sense_are_found_at_open),
		T(files_open_to_others_are_refused),
		T(new_files_are_private),
		T(rows_cannot_be_swapped_or_altered),
		T(body_that_is_missing_fails_the_integrity_check),
		T(no_text_of_a_message_is_in_any_file),
		T(abandoned_group_is_gone_and_committed_ones_are_there),
		T(rollback_restores_counters_numbers_and_ids),
		T(database_in_memory_works_without_a_file),
		T(prune_deletes_old_finished_rows_only),
		T(what_expired_is_kept_for_its_life_and_two_days),
		T(prune_stops_at_max_rows_and_keeps_to_keep_rows),
		T(wal_stays_bounded_while_a_thread_checkpoints),
		T(wal_is_bounded_even_when_nobody_checkpoints),
		T(checkpoint_is_due_above_four_mebibytes_and_then_not),
		T(stats_count_commits_and_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
