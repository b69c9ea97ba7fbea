/*
 * store.h -- the database of this node: one SQLite file, opened, migrated, committed in groups.
 *
 * WAL, synchronous=FULL, STRICT tables, numbered migrations. Bodies, types and reasons are
 * sealed (XChaCha20-Poly1305, random nonce, the row's fixed columns as associated data) before they
 * reach SQLite, under a random database key that is stored wrapped by DERIVE_DB_WRAP; so no text of
 * a message is in the database, the WAL or a journal.
 *
 * In clear, for whoever reads the file: node ids (peer, author, via, neighbours that carried it), msg ids, priority,
 * state, number of attempts, times of each step, the size of each body, and whether an inbox row was proven and reported. Who
 * writes to the file can delete rows, change states and times of change, or put an older copy of the
 * file back; a body that is altered or moved to another row, and a changed author, id, priority,
 * `proven`, time of creation or expiry, is ERR_CORRUPT when it is read.
 *
 * Group commit: the first write opens a transaction; store_commit() ends it. Everything since the
 * last commit lives or dies together. If a write or the commit fails, the whole group is rolled back
 * and store_commit() returns ERR_STORE: the caller answers every member of the group with it.
 *
 * The WAL is checkpointed off the committing path: store_checkpoint_due() says when, and
 * store_checkpoint() may run on another thread (it uses its own connection).
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/buf.h"
#include "base/env.h"
#include "base/secret.h"
#include "trust/identity.h"

#define STORE_BODY_MAX (16u << 20) /* ERR_LIMIT above */

struct store;

#define STORE_OUTBOX_TOTAL 100000
#define STORE_INBOX_TOTAL 100000
struct store_limits {
	uint32_t outbox_per_peer;      /* waiting messages; 10,000 */
	uint32_t outbox_total;         /* STORE_OUTBOX_TOTAL */
	uint64_t outbox_bytes;         /* 1 GiB of waiting bodies */
	uint32_t inbox_per_peer;       /* unread; 10,000 */
	uint32_t inbox_total;          /* STORE_INBOX_TOTAL */
	uint64_t inbox_bytes;          /* 1 GiB of unread bodies */
	uint32_t held_per_peer;        /* from pending peers; 100 */
	uint32_t held_total;           /* 1,000 */
	uint64_t keep_ms;              /* finished rows and duplicate memory: 30 days */
	uint32_t keep_rows;            /* of each box; above it the oldest finished go early; 1,000,000 */
};

struct store_config {
	const char *path;              /* file; NULL = in memory (tests) */
	struct bytes wrap_key;         /* 32 bytes, keyring_derive(DERIVE_DB_WRAP) */
	struct env *env;
	struct store_limits limits;    /* zero members take the defaults above */
	void (*working)(void);         /* now and then while a large file is checked or migrated; NULL */
	bool relaxed;                  /* synchronous=OFF: simulator only, a crash there is a rollback */
};

/* Opens or creates; runs migrations and `PRAGMA quick_check`. ERR_CORRUPT (fault says which file and
 * what to do) when the check fails, the schema is newer than this program, or the key does not
 * unwrap; the file is then left alone. */
enum err store_open(const struct store_config *c, struct store **out, struct fault *f) MUST_CHECK;
/* Whether a database at rest is whole: SQLite's integrity_check, the schema, no message without its body, and that its key opens with
 * `wrap_key` (empty: not asked). Reads, and changes nothing beside it. Any thread. ERR_CORRUPT. */
enum err store_check(const char *path, struct bytes wrap_key, struct env *env, struct fault *f) MUST_CHECK;
/* Looks at a database without changing it, whoever has it open; for `doctor`. `wrap_key` may be empty: then its key is not
 * tried. What cannot be used is an error as of store_open(), and *out says what was found out before. */
struct store_report {
	int schema, newest;            /* of the file, of this program */
	uint64_t file_bytes, wal_bytes;
	uint64_t waiting, oldest_ms;   /* messages that wait to be sent; wall time of the oldest, 0 = none */
};
enum err store_examine(const char *path, struct bytes wrap_key, struct env *env, struct store_report *out,
		       struct fault *f) MUST_CHECK;
void store_close(struct store *s); /* rolls an open group back, checkpoints; accepts NULL */
/* As a crash would: the open group is rolled back, nothing is checkpointed. Simulator. */
void store_abandon(struct store *s);

enum err store_commit(struct store *s) MUST_CHECK; /* ERR_OK when nothing is open */
bool store_dirty(const struct store *s);           /* a group is open */
/* A write of the open group failed: it is rolled back, what is read is from before it, and store_commit() has yet to
 * say so. */
bool store_failed(const struct store *s);
/* Gives back the memory that saves reading: there is nothing to do for a while. Changes nothing else. */
void store_rest(struct store *s);
void store_rollback(struct store *s);

bool store_checkpoint_due(const struct store *s);
/* PASSIVE, or to the end and the WAL cut to nothing when something was erased (kv.h); any thread. ERR_AGAIN when one is running or a commit was just being published. The thread
 * must be done before store_close(). */
enum err store_checkpoint(struct store *s);
enum err store_integrity(struct store *s, struct fault *f) MUST_CHECK; /* full integrity_check */

struct store_stats {
	uint64_t commits, rows, failures, checkpoints;
	uint64_t file_bytes, wal_bytes;
	uint64_t outbox_waiting, outbox_bytes, inbox_unread, inbox_bytes, inbox_held;
};
void store_stats(struct store *s, struct store_stats *out);

/* Deletes finished rows and duplicate memory older than keep_ms, at most `max_rows`; in the group. What expired in the
 * outbox is kept for its life and 48 hours more, if that is longer (im2.md 10.3).
 * Looks at a bounded number of rows and goes on from there in the next call: call it now and then,
 * whatever *deleted says. */
enum err store_prune(struct store *s, uint64_t wall_ms, unsigned max_rows, unsigned *deleted) MUST_CHECK;

/* Who is an author still: what was noted of others goes with store_prune() once its time is up, whose memory of repeats
 * would else grow for ever. Without it (NULL) everybody is. Borrowed until it is told again. */
void store_know_authors(struct store *s, bool (*known)(void *ctx, const struct node_id *author), void *ctx);

/* Keeps the key of the file wrapped for an identity that is about to follow, beside the one in use. In
 * the group. store_open() takes whichever of the two opens, and then forgets the other. */
enum err store_prepare_key(struct store *s, struct bytes next_wrap_key) MUST_CHECK;

/* How long this database has been in use, over all runs: monotonic milliseconds, saved with it now and then.
 * No wall clock goes in. After a crash it may stand up to a minute of writing back, and all idle time since
 * the last commit: what is measured by it lasts longer, never shorter. */
uint64_t store_running_ms(struct store *s);

/* Fault injection for tests and the simulator: the n-th next write (0 = off) fails like a full disk. */
void store_fail_after(struct store *s, unsigned n);

#endif
