/*
 * store_internal.h -- what the files of this room share: the connection, the open group, the rows.
 */
#ifndef STORE_STORE_INTERNAL_H
#define STORE_STORE_INTERNAL_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "store/counts_internal.h"
#include "store/entries_internal.h"
#include "store/idmap_internal.h"
#include "store/inbox.h"
#include "store/outbox.h"
#include "store/seal_internal.h"
#include "store/store.h"
#include "store/threads_internal.h"
#include "store/waiting_internal.h"

#define STORE_ID_MAX   128
#define STORE_TYPE_MAX 32
#define STORE_PAGE     4096
#define WIRE_ID_BYTES  16
#define RECEIPTS_MAX   1024  /* written together */
#define RUNNING_MS     60000 /* how old the running time on disk may get while groups are committed */
/* A checkpoint is due above WAL_DUE frames. What it leaves behind because commits went on meanwhile
 * is finished by the committing connection when it is at most WAL_TAIL frames, so that the WAL can
 * start over. Above WAL_HARD nobody has called store_checkpoint(): the commit does it, late. */
#define WAL_DUE	 (4u * 1024 * 1024 / STORE_PAGE)
#define WAL_TAIL (1u * 1024 * 1024 / STORE_PAGE)
#define WAL_HARD (64u * 1024 * 1024 / STORE_PAGE)

enum stmt_id {
	ST_BEGIN,
	ST_COMMIT,
	ST_ROLLBACK,
	ST_PREPARE_KEY,
	ST_META_WRITE,
	ST_META_READ,
	ST_OUT_INSERT,
	ST_OUT_BODY_INSERT,
	ST_RUN_STATE,
	ST_RUN_BODY,
	ST_OUT_FIRST, /* from here on statements that must see the receipts of this group */
	ST_OUT_BODY_DELETE = ST_OUT_FIRST,
	ST_OUT_BODY,
	ST_OUT_BY_SEQ,
	ST_OUT_STATE,
	ST_OUT_STATE_WORDS,
	ST_OUT_REVIVE,
	ST_OUT_REVIVE_BODY,
	ST_OUT_FOLLOW,
	ST_OUT_FOLLOW_BODY,
	ST_OUT_ATTEMPT,
	ST_OUT_KEPT,
	ST_OUT_TRACK,
	ST_OUT_LIST,
	ST_OUT_PRUNE_SCAN,
	ST_OUT_DELETE,
	ST_OUT_LAST = ST_OUT_DELETE,
	ST_OUT_WIRELESS,
	ST_OUT_WIRE,
	ST_ERA_WRITE,
	ST_ERA_DELETE,
	ST_IN_INSERT,
	ST_IN_BODY_INSERT,
	ST_IN_BODY_DELETE,
	ST_IN_BODY,
	ST_IN_BY_SEQ,
	ST_IN_STATE,
	ST_IN_REPORTED,
	ST_IN_NEW,
	ST_IN_LIST,
	ST_IN_UNREPORTED,
	ST_IN_UNREPORTED_SEALED,
	ST_IN_HELD,
	ST_IN_HELD_OF,
	ST_IN_PRUNE_SCAN,
	ST_IN_DELETE,
	ST_MARK_WRITE,
	ST_MARK_DELETE,
	ST_LEFT_WRITE,
	ST_LEFT_DELETE,
	ST_LEFT_DUE,
	ST_KV_PUT,
	ST_KV_GET,
	ST_KV_DEL,
	ST_KV_EACH,
	ST_TRANSIT_PUT,
	ST_TRANSIT_YOUNGER,
	ST_TRANSIT_HAS,
	ST_TRANSIT_USE,
	ST_TRANSIT_LIST,
	ST_TRANSIT_READ,
	ST_TRANSIT_DEL,
	ST_TRANSIT_DST,
	ST_TRANSIT_EXPIRE,
	ST_COUNT
};

struct store {
	sqlite3 *db;
	char *path; /* NULL: in memory */
	struct env *env;
	struct store_limits limits;
	struct seal seal;
	struct counts counts;
	struct idmap ids[BOXES];
	struct waiting waiting;
	struct threads threads;
	struct entries entries;
	sqlite3_stmt *stmt[ST_COUNT];
	struct buf sealed_words, sealed_body, clear_words;
	bool relaxed;
	bool (*known)(void *ctx, const struct node_id *author); /* see store_know_authors() */
	void *known_ctx;

	bool open;   /* BEGIN has been run */
	bool failed; /* rolled back; store_commit() has yet to say so */
	bool key_moved; /* the key that opened was the one of store_prepare_key() */
	int64_t last_seq[BOXES],
		kept_last_seq[BOXES]; /* highest given out; as of the last commit */
	int64_t prune_at[BOXES];
	uint64_t group_rows;
	unsigned fail_after;

	/* Receipts of this group that are not written yet: rows that go to one state at one time. */
	struct receipt {
		int64_t row;
		struct outbox_try t;
	} receipts[RECEIPTS_MAX];
	size_t receipts_n;
	enum outbox_state receipts_to;
	uint64_t receipts_ms;

	uint64_t opened_ms, running_base, running_saved; /* see store_running_ms() */
	bool wiped; /* this group erases: the WAL has to go after it */

	uint64_t commits, rows, failures;
	unsigned wal_frames; /* in the current run of the WAL */

	/* Shared with the thread that checkpoints. */
	pthread_mutex_t ckpt_lock;
	sqlite3 *ckpt;
	atomic_uint ckpt_done; /* frames already copied back */
	atomic_bool ckpt_news; /* a checkpoint ended since the last commit */
	atomic_bool erase_due; /* the WAL holds what was erased */
	atomic_ullong checkpoints;
};

/* The statement, prepared once and reset; NULL (group failed, logged) when it does not compile. */
sqlite3_stmt *store_stmt(struct store *s, enum stmt_id id, const char *sql);
/* Opens the group, if none is open. */
enum err store_begin(struct store *s) MUST_CHECK;
/* Runs a write to its end inside the group, opening the group if need be; resets the statement.
 * On failure the whole group is rolled back and ERR_STORE returned, until store_commit(). */
enum err store_write(struct store *s, sqlite3_stmt *st) MUST_CHECK;
/* SQLITE_ROW or SQLITE_DONE -> true/false in *row; resets the statement unless there is a row. */
enum err store_read(struct store *s, sqlite3_stmt *st, bool *row) MUST_CHECK;
enum err store_fail_group(struct store *s, const char *what); /* returns ERR_STORE */
/* A value of the meta table that has exactly `n` bytes. ERR_NOTFOUND, ERR_CORRUPT. */
enum err store_meta_read(struct store *s, const char *key, uint8_t *out, size_t n) MUST_CHECK;
enum err store_meta_write(struct store *s, const char *key, struct bytes value) MUST_CHECK;
/* The running time as it is now, in the group. */
enum err store_save_running(struct store *s) MUST_CHECK;
/* After a commit, on the committing thread. */
void store_checkpoint_tail(struct store *s);
enum err store_ckpt_open(struct store *s, struct fault *f) MUST_CHECK;
void store_ckpt_close(struct store *s);

void bind_int(sqlite3_stmt *st, int i, uint64_t v); /* cut at INT64_MAX */
void bind_bytes(sqlite3_stmt *st, int i, struct bytes b);
struct bytes column_bytes(sqlite3_stmt *st, int i);
enum err peer_blob(const struct node_id *id, uint8_t out[static PEER_BLOB_BYTES]) MUST_CHECK;
enum err peer_from_column(sqlite3_stmt *st, int i, struct node_id *out) MUST_CHECK;
bool id_ok(struct bytes id); /* 1..STORE_ID_MAX bytes, no NUL */
/* The columns id and wire of a row: either or both. */
bool row_id_ok(struct bytes id, struct bytes wire);
/* What the map of ids holds for a name: the bytes of 32 lower-case hex digits, anything else as it is. */
struct bytes id_key(struct bytes id, uint8_t raw[static WIRE_ID_BYTES]);
/* The keys of a row: of its wire id (NULL: none), and of its id if that is another name. The struct must not
 * move. Returns how many. */
struct row_keys {
	struct bytes key[2];
	uint8_t raw[WIRE_ID_BYTES];
};
unsigned row_keys(struct bytes id, const uint8_t *wire, struct row_keys *k);
static inline uint64_t clip_time(uint64_t v)
{
	return v > INT64_MAX ? INT64_MAX : v;
}

/* What pruning needs to know of a row it deletes. */
#define PRUNE_BATCH 64
struct old_row {
	int64_t seq;
	struct count_move count;
	size_t id_n;
	bool has_wire;
	uint8_t id[STORE_ID_MAX], wire[WIRE_ID_BYTES];
};
void old_row_names(struct old_row *o, struct bytes id, struct bytes wire);
enum err outbox_prune(struct store *s, uint64_t before_ms, unsigned max_rows,
		      unsigned *deleted) MUST_CHECK;
enum err inbox_prune(struct store *s, uint64_t before_ms, unsigned max_rows,
		     unsigned *deleted) MUST_CHECK;

/* Fills everything that is kept in memory. ERR_CORRUPT: rows that make no sense. */
enum err store_load(struct store *s) MUST_CHECK;
/* At open: eras before rows; queued rows of an older schema get their wire ids; then one walk. */
enum err outbox_load_eras(struct store *s) MUST_CHECK;
enum err outbox_give_wires(struct store *s) MUST_CHECK;
enum err outbox_load_waiting(struct store *s, const struct outbox_row *r) MUST_CHECK;
enum err inbox_load_marks(struct store *s) MUST_CHECK;
enum err inbox_load_entry(struct store *s, const struct inbox_row *r, uint64_t keep,
			  bool due) MUST_CHECK;
/* What is written once a group: receipts; watermarks. */
enum err outbox_flush(struct store *s) MUST_CHECK;
enum err inbox_flush(struct store *s) MUST_CHECK;
/* Entries of the duplicate table whose time is up; in the group. */
enum err inbox_sweep(struct store *s) MUST_CHECK;

#endif
