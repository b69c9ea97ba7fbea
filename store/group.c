#include "store/store_internal.h"

#include "base/log.h"
#include "base/text.h"

sqlite3_stmt *store_stmt(struct store *s, enum stmt_id id, const char *sql)
{
	/* Receipts wait for the end of the group only as long as nobody asks about their rows. */
	if (id >= ST_OUT_FIRST && id <= ST_OUT_LAST && s->receipts_n && outbox_flush(s) != ERR_OK)
		return NULL;
	if (s->stmt[id]) {
		sqlite3_reset(s->stmt[id]);
	} else if (sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->stmt[id],
				      NULL) != SQLITE_OK) {
		s->stmt[id] = NULL;
		(void)store_fail_group(s, "prepare");
	}
	return s->stmt[id];
}

static void undo(struct store *s)
{
	s->receipts_n = 0;
	for (int i = 0; i < ST_COUNT; i++)
		sqlite3_reset(s->stmt[i]);
	/* A full disk or an I/O error may have rolled back by itself. */
	if (!sqlite3_get_autocommit(s->db)) {
		sqlite3_stmt *st = store_stmt(s, ST_ROLLBACK, "ROLLBACK");
		if (!st || sqlite3_step(st) != SQLITE_DONE)
			log_error("store-rollback-failed code=%d", sqlite3_extended_errcode(s->db));
		sqlite3_reset(st);
	}
	counts_rollback(&s->counts);
	for (int i = 0; i < BOXES; i++)
		idmap_rollback(&s->ids[i]);
	memcpy(s->last_seq, s->kept_last_seq, sizeof(s->last_seq));
	waiting_rollback(&s->waiting);
	threads_rollback(&s->threads);
	entries_rollback(&s->entries, s->kept_last_seq[BOX_IN]);
	s->wiped = false;
	s->group_rows = 0;
	s->open = false;
}

enum err store_fail_group(struct store *s, const char *what)
{
	if (s->failed)
		return ERR_STORE;
	s->failed = true;
	s->failures++;
	log_warn("store-write-failed at=%s code=%d why=%s", what, sqlite3_extended_errcode(s->db),
		 sqlite3_errmsg(s->db));
	undo(s);
	return ERR_STORE;
}

static bool injected(struct store *s)
{
	return s->fail_after != 0 && --s->fail_after == 0;
}

enum err store_begin(struct store *s)
{
	if (s->failed)
		return ERR_STORE;
	if (s->open)
		return ERR_OK;
	sqlite3_stmt *begin = store_stmt(s, ST_BEGIN, "BEGIN IMMEDIATE");
	if (!begin)
		return ERR_STORE;
	int rc = sqlite3_step(begin);
	sqlite3_reset(begin);
	if (rc != SQLITE_DONE)
		return store_fail_group(s, "begin");
	s->open = true;
	return ERR_OK;
}

enum err store_write(struct store *s, sqlite3_stmt *st)
{
	if (!st || s->failed)
		return ERR_STORE;
	enum err e = store_begin(s);
	if (e != ERR_OK)
		return e;
	if (injected(s)) {
		sqlite3_reset(st);
		return store_fail_group(s, "write");
	}
	int rc = sqlite3_step(st);
	if (rc != SQLITE_DONE)
		return store_fail_group(s, "write");
	sqlite3_reset(st);
	s->group_rows++;
	return ERR_OK;
}

enum err store_read(struct store *s, sqlite3_stmt *st, bool *row)
{
	if (!st)
		return ERR_STORE;
	int rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		*row = true;
		return ERR_OK;
	}
	sqlite3_reset(st);
	if (rc == SQLITE_DONE) {
		*row = false;
		return ERR_OK;
	}
	log_error("store-read-failed code=%d why=%s", sqlite3_extended_errcode(s->db),
		  sqlite3_errmsg(s->db));
	/* The error may have ended the transaction: then what was written before is gone. */
	if (s->open && sqlite3_get_autocommit(s->db))
		return store_fail_group(s, "read");
	return ERR_STORE;
}

static void committed(struct store *s)
{
	s->open = false;
	s->commits++;
	s->rows += s->group_rows;
	s->group_rows = 0;
	counts_commit(&s->counts);
	for (int i = 0; i < BOXES; i++)
		idmap_commit(&s->ids[i]);
	memcpy(s->kept_last_seq, s->last_seq, sizeof(s->last_seq));
	waiting_commit(&s->waiting);
	threads_commit(&s->threads);
	for (size_t i = 0; i < s->entries.dirty_n; i++)
		s->entries.dirty[i]->left_dirty = s->entries.dirty[i]->due_dirty = false;
	s->entries.dirty_n = 0;
	entries_commit(&s->entries, store_running_ms(s));
	if (s->wiped)
		atomic_store(&s->erase_due, true);
	s->wiped = false;
}

/* What is written once for the whole group. */
static enum err flush(struct store *s)
{
	enum err e = outbox_flush(s);

	if (e == ERR_OK)
		e = inbox_flush(s);
	if (e == ERR_OK && store_running_ms(s) - s->running_saved >= RUNNING_MS)
		e = store_save_running(s);
	return e;
}

enum err store_commit(struct store *s)
{
	if (s->failed) {
		s->failed = false;
		return ERR_STORE;
	}
	if (!s->open)
		return ERR_OK;
	if (flush(s) != ERR_OK) {
		/* Not every error has undone the group: memory may have been short. */
		enum err e = store_fail_group(s, "flush");
		s->failed = false;
		return e;
	}
	sqlite3_stmt *st = store_stmt(s, ST_COMMIT, "COMMIT");
	if (!st || injected(s) || sqlite3_step(st) != SQLITE_DONE) {
		enum err e = store_fail_group(s, "commit");
		s->failed = false;
		return e;
	}
	sqlite3_reset(st);
	committed(s);
	store_checkpoint_tail(s);
	return ERR_OK;
}

bool store_dirty(const struct store *s)
{
	return s->open || s->failed;
}

bool store_failed(const struct store *s)
{
	return s->failed;
}

void store_rollback(struct store *s)
{
	if (s->open)
		undo(s);
	s->failed = false;
}

void store_fail_after(struct store *s, unsigned n)
{
	s->fail_after = n;
}
