#include "store/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "store/migrations_internal.h"

#define WORKING_OPS 1000000 /* instructions of SQLite: some tens of milliseconds */
#define OR(value, standard) ((value) ? (value) : (standard))

static void set_limits(struct store_limits *l, const struct store_limits *want)
{
	*l = (struct store_limits){
		.outbox_per_peer = OR(want->outbox_per_peer, 10000),
		.outbox_total = OR(want->outbox_total, STORE_OUTBOX_TOTAL),
		.outbox_bytes = OR(want->outbox_bytes, 1ull << 30),
		.inbox_per_peer = OR(want->inbox_per_peer, 10000),
		.inbox_total = OR(want->inbox_total, STORE_INBOX_TOTAL),
		.inbox_bytes = OR(want->inbox_bytes, 1ull << 30),
		.held_per_peer = OR(want->held_per_peer, 100),
		.held_total = OR(want->held_total, 1000),
		.keep_ms = OR(want->keep_ms, 30ull * 24 * 3600 * 1000),
		.keep_rows = OR(want->keep_rows, 1000000),
	};
}

static enum err corrupt(struct fault *f, const char *path, const char *why)
{
	fault_set(f, ERR_CORRUPT, EXIT_INTEGRITY, "the database %s cannot be used: %s", path, why);
	fault_means(f, "Nothing was changed. Messages in it are not read, sent or received.");
	fault_next(f, "restore %s from a backup, or move it away and start again to begin empty",
		   path);
	return ERR_CORRUPT;
}

/* Like a secret file of base/file.h. SQLite gives the WAL the mode of the database. */
static enum err check_file(const char *path, struct fault *f)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);

	if (fd < 0) {
		int no = errno;
		return fault_set(f, err_from_errno(no), EXIT_GENERIC, "cannot open %s: %s", path,
				 strerror(no));
	}
	int bad = fstat(fd, &st) != 0;
	close(fd); /* before SQLite takes its locks: closing later would drop them */
	if (bad || !S_ISREG(st.st_mode) || st.st_nlink != 1)
		return fault_set(f, ERR_DENIED, EXIT_GENERIC,
				 "%s is not a plain file with one name", path);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return fault_set(f, ERR_DENIED, EXIT_GENERIC, "%s belongs to another user", path);
	if (st.st_mode & 077) {
		fault_set(f, ERR_DENIED, EXIT_GENERIC, "%s is open to other users", path);
		fault_next(f, "chmod 600 %s", path);
		return ERR_DENIED;
	}
	return ERR_OK;
}

static bool has_wal(const char *path)
{
	char name[4096];
	struct stat st;
	int n = snprintf(name, sizeof(name), "%s-wal", path);

	return n > 0 && (size_t)n < sizeof(name) && stat(name, &st) == 0 && st.st_size > 0;
}

static enum err one_int(sqlite3 *db, const char *sql, int64_t *out)
{
	sqlite3_stmt *st;
	enum err e = ERR_CORRUPT;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
		return e;
	if (sqlite3_step(st) == SQLITE_ROW) {
		*out = sqlite3_column_int64(st, 0);
		e = ERR_OK;
	}
	sqlite3_finalize(st);
	return e;
}

/* `pragma` answers "ok" in one row, or says what is wrong. */
static enum err run_check(sqlite3 *db, const char *pragma, char *why, size_t cap)
{
	sqlite3_stmt *st;
	enum err e = ERR_CORRUPT;

	snprintf(why, cap, "%s", sqlite3_errmsg(db));
	if (sqlite3_prepare_v2(db, pragma, -1, &st, NULL) == SQLITE_OK) {
		int rc = sqlite3_step(st);
		const char *text =
			rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
		if (text && strcmp(text, "ok") == 0)
			e = ERR_OK;
		else
			snprintf(why, cap, "%s", text ? text : sqlite3_errmsg(db));
	}
	sqlite3_finalize(st);
	return e;
}

static enum err connect_db(struct store *s, struct fault *f)
{
	int rc = sqlite3_open_v2(s->path ? s->path : ":memory:", &s->db,
				 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
				 NULL);

	/* Until it is known to be ours, closing it must not write to it. */
	if (rc == SQLITE_OK && s->path && has_wal(s->path))
		rc = sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_busy_timeout(s->db, 250);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(s->db,
				  "PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;"
				  "PRAGMA cache_size = -8192",
				  NULL, NULL, NULL);
	if (rc == SQLITE_NOTADB || rc == SQLITE_CORRUPT)
		return corrupt(f, s->path, sqlite3_errstr(rc));
	if (rc != SQLITE_OK)
		return fault_set(f, ERR_STORE, EXIT_GENERIC, "cannot open %s: %s",
				 s->path ? s->path : "a database in memory", sqlite3_errstr(rc));
	return ERR_OK;
}

static enum err load_key(struct store *s, const char *sql, struct bytes wrap_key)
{
	sqlite3_stmt *st = NULL;
	enum err e = ERR_AUTH;

	if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		e = seal_load(&s->seal, s->env, wrap_key, column_bytes(st, 0));
	sqlite3_finalize(st);
	return e;
}

/* Everything that can refuse the file, before anything that writes. */
static enum err examine(struct store *s, struct bytes wrap_key, bool *fresh, struct fault *f)
{
	const char *path = s->path ? s->path : ":memory:";
	int64_t version, application, tables;
	char why[160];

	if (one_int(s->db, "PRAGMA user_version", &version) != ERR_OK ||
	    one_int(s->db, "PRAGMA application_id", &application) != ERR_OK ||
	    one_int(s->db, "SELECT count(*) FROM sqlite_master", &tables) != ERR_OK)
		return corrupt(f, path, sqlite3_errmsg(s->db));
	*fresh = version == 0 && tables == 0;
	if (*fresh)
		return ERR_OK;
	if (application != STORE_APPLICATION_ID)
		return corrupt(f, path, "it was not made by this program");
	if (version > (int64_t)MIGRATIONS_N || version < 1) {
		corrupt(f, path, "it was written by a newer version of this program");
		fault_next(f, "install the newer version again");
		return ERR_CORRUPT;
	}
	if (run_check(s->db, "PRAGMA quick_check(1)", why, sizeof(why)) != ERR_OK)
		return corrupt(f, path, why);
	if (wrap_key.n == 0)
		return ERR_OK; /* store_check() and store_examine() without a key */

	enum err e = load_key(s, "SELECT value FROM meta WHERE key = 'db_key'", wrap_key);
	if (e == ERR_AUTH) {
		e = load_key(s, "SELECT value FROM meta WHERE key = 'db_key_next'", wrap_key);
		s->key_moved = e == ERR_OK;
	}
	if (e == ERR_AUTH) {
		corrupt(f, path, "its key does not open with this identity");
		fault_next(f,
			   "put back the keys.json that belongs to %s, or move the database away",
			   path);
		return ERR_CORRUPT;
	}
	return e;
}

static enum err store_key(void *ctx, sqlite3 *db)
{
	struct bytes *wrapped = ctx;
	sqlite3_stmt *st;

	if (sqlite3_prepare_v2(db, "INSERT INTO meta (key, value) VALUES ('db_key', ?1)", -1, &st,
			       NULL) != SQLITE_OK)
		return ERR_STORE;
	bind_bytes(st, 1, *wrapped);
	int rc = sqlite3_step(st);
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? ERR_OK : ERR_STORE;
}

static enum err prepare_db(struct store *s, bool fresh, struct bytes wrap_key, struct fault *f)
{
	uint8_t wrapped[SEAL_WRAP_BYTES] = {0};
	struct bytes key = BYTES_ARR(wrapped);
	char sql[320];

	/* secure_delete FAST: a deleted row is overwritten where that costs no extra write. What is
	 * left in freed pages and in the WAL is sealed like everything else. */
	snprintf(sql, sizeof(sql),
		 "PRAGMA page_size = %d; PRAGMA journal_mode = WAL; PRAGMA synchronous = %s;"
		 "PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = %u;"
		 "PRAGMA secure_delete = FAST",
		 STORE_PAGE, s->relaxed ? "OFF" : "FULL", 4 * WAL_DUE * STORE_PAGE);
	if (sqlite3_exec(s->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return fault_set(f, ERR_STORE, EXIT_GENERIC, "cannot prepare %s: %s",
				 s->path ? s->path : ":memory:", sqlite3_errmsg(s->db));
	if (fresh) {
		enum err e = seal_create(&s->seal, s->env, wrap_key, wrapped);
		if (e != ERR_OK)
			return e;
	}
	/* The identity has come that store_prepare_key() was told of. */
	if (s->key_moved && sqlite3_exec(s->db,
					 "UPDATE OR REPLACE meta SET key = 'db_key' WHERE key = 'db_key_next'",
					 NULL, NULL, NULL) != SQLITE_OK)
		return fault_set(f, ERR_STORE, EXIT_GENERIC, "cannot write %s: %s",
				 s->path ? s->path : ":memory:", sqlite3_errmsg(s->db));
	enum err e = migrations_run(s->db, MIGRATIONS, MIGRATIONS_N, store_key, &key);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "cannot bring %s to the current schema: %s",
				 s->path ? s->path : ":memory:", sqlite3_errmsg(s->db));
	return ERR_OK;
}

static enum err load_memory(struct store *s, struct fault *f)
{
	enum err e = store_load(s);

	if (e == ERR_CORRUPT)
		return corrupt(f,
			       s->path ? s->path : ":memory:", "it holds rows that make no sense");
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "cannot read %s: %s",
				 s->path ? s->path : ":memory:", err_word(e));
	return ERR_OK;
}

static void free_all(struct store *s)
{
	for (int i = 0; i < ST_COUNT; i++)
		sqlite3_finalize(s->stmt[i]);
	store_ckpt_close(s);
	sqlite3_close(s->db);
	pthread_mutex_destroy(&s->ckpt_lock);
	counts_fini(&s->counts);
	for (int i = 0; i < BOXES; i++)
		idmap_fini(&s->ids[i]);
	waiting_fini(&s->waiting);
	threads_fini(&s->threads);
	entries_fini(&s->entries);
	seal_fini(&s->seal);
	buf_fini(&s->sealed_words);
	buf_fini(&s->sealed_body);
	buf_wipe(&s->clear_words);
	buf_fini(&s->clear_words);
	free(s->path);
	free(s);
}

void store_rest(struct store *s)
{
	(void)sqlite3_db_release_memory(s->db);
}

/* SQLite's count of its memory costs a lock for every allocation. Has no effect when something else
 * started SQLite before. */
static void configure_once(void)
{
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

/* The check of a large file, and a migration that touches every row, take their time. */
static int still_working(void *ctx)
{
	const struct store_config *c = ctx;

	c->working();
	return 0;
}

enum err store_open(const struct store_config *c, struct store **out, struct fault *f)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	bool fresh;

	pthread_once(&once, configure_once);
	if (c->path) {
		enum err e = check_file(c->path, f);
		if (e != ERR_OK)
			return e;
	}
	struct store *s = calloc(1, sizeof(*s));
	if (!s || pthread_mutex_init(&s->ckpt_lock, NULL) != 0) {
		free(s);
		return fault_set(f, ERR_NOMEM, EXIT_GENERIC, "no memory for the store");
	}
	s->env = c->env;
	s->relaxed = c->relaxed;
	set_limits(&s->limits, &c->limits);
	buf_init(&s->sealed_words, 1024);
	buf_init(&s->clear_words, 1024);
	buf_init(&s->sealed_body, STORE_BODY_MAX + SEAL_OVERHEAD);
	enum err e = ERR_OK;
	if (c->path && !(s->path = strdup(c->path)))
		e = fault_set(f, ERR_NOMEM, EXIT_GENERIC, "no memory for the store");
	if (e == ERR_OK)
		e = connect_db(s, f);
	/* The check of a tree is one instruction, and not interrupted by this: so it is said before, too. */
	if (e == ERR_OK && c->working)
		c->working();
	if (e == ERR_OK && c->working)
		sqlite3_progress_handler(s->db, WORKING_OPS, still_working, (void *)(uintptr_t)c);
	if (e == ERR_OK)
		e = examine(s, c->wrap_key, &fresh, f);
	if (e == ERR_OK)
		e = prepare_db(s, fresh, c->wrap_key, f);
	if (e == ERR_OK)
		e = load_memory(s, f);
	if (s->db)
		sqlite3_progress_handler(s->db, 0, NULL, NULL);
	if (e == ERR_OK && s->path)
		e = store_ckpt_open(s, f);
	if (e != ERR_OK) {
		free_all(s);
		return e;
	}
	*out = s;
	return ERR_OK;
}

static uint64_t bytes_in(const char *path, const char *suffix)
{
	char name[4096];
	struct stat st;
	int n = snprintf(name, sizeof name, "%s%s", path, suffix);

	return n > 0 && (size_t)n < sizeof name && stat(name, &st) == 0 ? (uint64_t)st.st_size : 0;
}

enum err store_examine(const char *path, struct bytes wrap_key, struct env *env, struct store_report *out, struct fault *f)
{
	struct store_report r = { .newest = (int)MIGRATIONS_N, .file_bytes = bytes_in(path, ""),
				  .wal_bytes = bytes_in(path, "-wal") };
	struct store *s = calloc(1, sizeof *s);
	int64_t schema = 0, waiting = 0, oldest = 0;
	bool fresh = false;
	enum err e = ERR_OK;
	int rc;

	if (!s || pthread_mutex_init(&s->ckpt_lock, NULL) != 0) {
		free(s);
		return fault_set(f, ERR_NOMEM, EXIT_GENERIC, "no memory for the store");
	}
	s->env = env;
	buf_init(&s->clear_words, 1024);
	s->path = strdup(path);
	rc = s->path ? sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) : SQLITE_NOMEM;
	if (rc == SQLITE_OK)
		rc = sqlite3_busy_timeout(s->db, 2000);
	if (rc != SQLITE_OK)
		e = fault_set(f, ERR_STORE, EXIT_GENERIC, "cannot open %s: %s", path, sqlite3_errstr(rc));
	if (e == ERR_OK && one_int(s->db, "PRAGMA user_version", &schema) == ERR_OK)
		r.schema = (int)schema;
	if (e == ERR_OK)
		e = examine(s, wrap_key, &fresh, f);
	if (e == ERR_OK && !fresh && one_int(s->db, "SELECT count(*) FROM outbox WHERE state = 0", &waiting) == ERR_OK &&
	    one_int(s->db, "SELECT min(created) FROM outbox WHERE state = 0", &oldest) == ERR_OK) {
		r.waiting = (uint64_t)waiting;
		r.oldest_ms = (uint64_t)oldest;
	}
	*out = r;
	free_all(s);
	return e;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	store_rollback(s);
	/* Soft things that waited for a group. Without them they are only said again. */
	if (store_save_running(s) == ERR_OK)
		(void)!store_commit(s);
	store_ckpt_close(s);
	sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
	free_all(s);
}

void store_abandon(struct store *s)
{
	if (!s)
		return;
	store_rollback(s);
	sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	free_all(s);
}

enum err store_prepare_key(struct store *s, struct bytes next_wrap_key)
{
	uint8_t wrapped[SEAL_WRAP_BYTES];
	sqlite3_stmt *st = store_stmt(s, ST_PREPARE_KEY,
				      "INSERT OR REPLACE INTO meta (key, value) VALUES ('db_key_next', ?1)");

	if (!st)
		return ERR_STORE;
	seal_wrap(&s->seal, next_wrap_key, wrapped);
	bind_bytes(st, 1, BYTES_ARR(wrapped));
	return store_write(s, st);
}

enum err store_integrity(struct store *s, struct fault *f)
{
	const char *path = s->path ? s->path : ":memory:";
	int64_t orphans;
	char why[160];

	if (run_check(s->db, "PRAGMA integrity_check(1)", why, sizeof(why)) != ERR_OK) {
		fault_set(f, ERR_CORRUPT, EXIT_INTEGRITY, "the database %s is damaged: %s", path,
			  why);
		fault_means(f, "Some messages may be lost or unreadable.");
		fault_next(f, "stop the daemon and restore %s from a backup", path);
		return ERR_CORRUPT;
	}
	if (one_int(s->db,
		    "SELECT (SELECT count(*) FROM outbox o WHERE state = 0 AND NOT EXISTS"
		    " (SELECT 1 FROM outbox_body b WHERE b.seq = o.seq)) +"
		    " (SELECT count(*) FROM inbox i WHERE state IN (0, 1, 2) AND NOT EXISTS"
		    " (SELECT 1 FROM inbox_body b WHERE b.seq = i.seq))",
		    &orphans) != ERR_OK)
		return fault_set(f, ERR_STORE, EXIT_GENERIC, "cannot read %s: %s", path,
				 sqlite3_errmsg(s->db));
	if (orphans != 0)
		return fault_set(f, ERR_CORRUPT, EXIT_INTEGRITY,
				 "the database %s misses the bodies of %lld messages", path,
				 (long long)orphans);
	return ERR_OK;
}

enum err store_check(const char *path, struct bytes wrap_key, struct env *env, struct fault *f)
{
	char uri[4096 + 32] = "file:";
	struct store s = { .path = (char *)path, .env = env };
	size_t n = strlen(uri);
	bool fresh = false;
	enum err e = ERR_OK;

	/* What has a meaning in a URI is written in digits. */
	for (const char *p = path; *p && n + 16 < sizeof uri; p++) {
		bool plain = *p != '%' && *p != '?' && *p != '#' && (unsigned char)*p > ' ' && (unsigned char)*p < 127;

		n += (size_t)snprintf(uri + n, sizeof uri - n, plain ? "%c" : "%%%02x", (unsigned char)*p);
	}
	snprintf(uri + n, sizeof uri - n, "?immutable=1");
	if (sqlite3_open_v2(uri, &s.db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
	    sqlite3_exec(s.db, "PRAGMA cell_size_check = ON", NULL, NULL, NULL) != SQLITE_OK)
		e = corrupt(f, path, s.db ? sqlite3_errmsg(s.db) : "no memory");
	if (e == ERR_OK)
		e = examine(&s, wrap_key, &fresh, f);
	if (e == ERR_OK && !fresh)
		e = store_integrity(&s, f);
	sqlite3_close(s.db);
	seal_fini(&s.seal);
	return e;
}

void store_know_authors(struct store *s, bool (*known)(void *ctx, const struct node_id *author), void *ctx)
{
	s->known = known;
	s->known_ctx = ctx;
}

static uint64_t excess(const struct store *s, enum box box)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < COUNT_STATES; i++)
		n += s->counts.n[box][i];
	return n > s->limits.keep_rows ? n - s->limits.keep_rows : 0;
}

static enum err prune_box(struct store *s, enum box box, uint64_t before, unsigned max_rows,
			  unsigned *deleted)
{
	enum err (*prune)(struct store *, uint64_t, unsigned, unsigned *) =
		box == BOX_OUT ? outbox_prune : inbox_prune;
	uint64_t over = excess(s, box);
	unsigned early = 0, late = 0;
	enum err e = ERR_OK;

	if (over) { /* the oldest go, whatever their age */
		s->prune_at[box] = 0;
		e = prune(s, UINT64_MAX, over < max_rows ? (unsigned)over : max_rows, &early);
	}
	if (e == ERR_OK && early < max_rows)
		e = prune(s, before, max_rows - early, &late);
	if (e == ERR_OK)
		*deleted = early + late;
	return e;
}

/* Whatever time stamps say, a call looks at a bounded number of rows and goes on where the last one
 * stopped. */
enum err store_prune(struct store *s, uint64_t wall_ms, unsigned max_rows, unsigned *deleted)
{
	unsigned out = 0, in = 0;
	uint64_t before = wall_ms > s->limits.keep_ms ? wall_ms - s->limits.keep_ms : 0;

	enum err e = inbox_sweep(s);
	if (e == ERR_OK)
		e = prune_box(s, BOX_OUT, before, max_rows, &out);
	if (e == ERR_OK && out < max_rows)
		e = prune_box(s, BOX_IN, before, max_rows - out, &in);
	if (e == ERR_OK)
		*deleted = out + in;
	return e;
}
