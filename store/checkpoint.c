/*
 * The WAL is copied back by store_checkpoint() on its own connection while commits go on. A WAL can
 * only start over when all of it has been copied, and under load there are always some frames that
 * came after the checkpoint began; that short tail is copied by the committing connection. Without
 * it the file would grow for as long as the load lasts.
 */
#include "store/store_internal.h"

#include <limits.h>
#include <sys/stat.h>

#include "base/log.h"

/* In ckpt_done: the WAL was cut to nothing, and no commit has come since. */
#define CUT UINT_MAX

static int on_wal(void *ctx, sqlite3 *db, const char *name, int frames)
{
	struct store *s = ctx;

	if ((unsigned)frames < s->wal_frames || atomic_load(&s->ckpt_done) == CUT)
		atomic_store(&s->ckpt_done, 0); /* it started over */
	s->wal_frames = (unsigned)frames;
	return SQLITE_OK;
}

enum err store_ckpt_open(struct store *s, struct fault *f)
{
	int rc = sqlite3_open_v2(s->path, &s->ckpt, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
				 NULL);

	/* The first read is what makes a connection find the WAL. */
	if (rc == SQLITE_OK)
		rc = sqlite3_db_config(s->ckpt, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(s->ckpt,
				  s->relaxed ? "PRAGMA synchronous = OFF; PRAGMA user_version"
					     : "PRAGMA synchronous = FULL; PRAGMA user_version",
				  NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		return fault_set(f, ERR_STORE, EXIT_GENERIC, "cannot open %s twice: %s", s->path,
				 sqlite3_errstr(rc));
	sqlite3_wal_hook(s->db, on_wal, s);
	return ERR_OK;
}

void store_ckpt_close(struct store *s)
{
	pthread_mutex_lock(&s->ckpt_lock);
	sqlite3_close(s->ckpt);
	s->ckpt = NULL;
	pthread_mutex_unlock(&s->ckpt_lock);
}

bool store_checkpoint_due(const struct store *s)
{
	unsigned done = atomic_load(&s->ckpt_done);

	if (s->ckpt && atomic_load(&s->erase_due))
		return true;
	return s->wal_frames > WAL_DUE && s->wal_frames > done;
}

/* The database file is flushed here, not by the tail, where it would hold up a commit. */
static void flush_db(struct store *s)
{
	sqlite3_file *file = NULL;

	if (!s->relaxed &&
	    sqlite3_file_control(s->ckpt, "main", SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK &&
	    file && file->pMethods)
		file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
}

enum err store_checkpoint(struct store *s)
{
	int frames = 0, done = 0;

	if (pthread_mutex_trylock(&s->ckpt_lock) != 0)
		return ERR_AGAIN;
	enum err e = ERR_OK;
	if (s->ckpt) {
		/* What was erased is still in old frames of the WAL: it is cut to nothing. Taken before, so
		 * that an erasure that is committed meanwhile asks again. */
		bool cut = atomic_exchange(&s->erase_due, false);
		int rc = sqlite3_wal_checkpoint_v2(s->ckpt, NULL, SQLITE_CHECKPOINT_PASSIVE,
						   &frames, &done);
		/* Now little is left to do while commits have to wait. */
		if (cut && rc == SQLITE_OK) {
			flush_db(s);
			rc = sqlite3_wal_checkpoint_v2(s->ckpt, NULL, SQLITE_CHECKPOINT_TRUNCATE,
						       NULL, NULL);
		}
		if (cut && rc != SQLITE_OK)
			atomic_store(&s->erase_due, true);
		if (rc == SQLITE_OK) {
			flush_db(s);
			atomic_store(&s->ckpt_done, cut ? CUT : done > 0 ? (unsigned)done : 0);
			atomic_store(&s->ckpt_news, true);
			atomic_fetch_add(&s->checkpoints, 1);
		} else {
			/* Busy: it looked while a commit was being published. */
			e = rc == SQLITE_BUSY ? ERR_AGAIN : ERR_STORE;
			if (e == ERR_STORE)
				log_warn("store-checkpoint-failed code=%d", rc);
		}
	}
	pthread_mutex_unlock(&s->ckpt_lock);
	return e;
}

void store_checkpoint_tail(struct store *s)
{
	int frames = 0, done = 0;

	if (s->wal_frames <= WAL_DUE)
		return;
	unsigned copied = atomic_load(&s->ckpt_done);
	bool news = atomic_exchange(&s->ckpt_news, false);
	bool tail = news && (s->wal_frames <= copied || s->wal_frames - copied <= WAL_TAIL);
	if (!tail && s->wal_frames <= WAL_HARD)
		return;
	if (pthread_mutex_trylock(&s->ckpt_lock) != 0)
		return;
	int rc = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames, &done);
	if (rc == SQLITE_OK) {
		atomic_store(&s->ckpt_done, done > 0 ? (unsigned)done : 0);
		if (!tail)
			atomic_fetch_add(&s->checkpoints, 1);
	} else if (rc != SQLITE_BUSY) {
		log_warn("store-checkpoint-failed code=%d", rc);
	}
	pthread_mutex_unlock(&s->ckpt_lock);
}

static uint64_t size_of(const char *path, const char *suffix)
{
	char name[4096];
	struct stat st;
	int n = snprintf(name, sizeof(name), "%s%s", path, suffix);

	if (n < 0 || (size_t)n >= sizeof(name) || stat(name, &st) != 0)
		return 0;
	return (uint64_t)st.st_size;
}

void store_stats(struct store *s, struct store_stats *out)
{
	const struct counts *c = &s->counts;

	*out = (struct store_stats){
		.commits = s->commits,
		.rows = s->rows,
		.failures = s->failures,
		.checkpoints = atomic_load(&s->checkpoints),
		.file_bytes = s->path ? size_of(s->path, "") : 0,
		.wal_bytes = s->path ? size_of(s->path, "-wal") : 0,
		.outbox_waiting = c->n[BOX_OUT][OUTBOX_QUEUED],
		.outbox_bytes = c->bytes[BOX_OUT][OUTBOX_QUEUED],
		.inbox_unread = c->n[BOX_IN][INBOX_NEW],
		.inbox_bytes = c->bytes[BOX_IN][INBOX_NEW] + c->bytes[BOX_IN][INBOX_HELD],
		.inbox_held = c->n[BOX_IN][INBOX_HELD],
	};
}
