/*
 * threads_internal.h -- the rows of each peer in memory, eight bytes each.
 *
 * Filled by the walk at open. An index on disk would be one more page written per message and peer. What belongs to the
 * open group is undone by a rollback: additions are taken back, and removals happen only when the group is committed.
 */
#ifndef STORE_THREADS_INTERNAL_H
#define STORE_THREADS_INTERNAL_H

#include "base/map.h"
#include "store/counts_internal.h"
#include "store/sorted_internal.h"

struct thread {
	uint8_t peer[PEER_BLOB_BYTES];
	struct sorted rows[BOXES]; /* uint64_t: the number of the row */
	uint64_t last_ms[BOXES];   /* of the last one */
};

struct thread_change {
	struct thread *thread;
	uint64_t row, was_ms;
	uint8_t box;
	bool gone;                 /* goes with the commit */
};

struct threads {
	struct map *peers;         /* blob -> struct thread * */
	struct thread_change *journal;
	size_t journal_n, journal_cap;
};

enum err threads_init(struct threads *t, struct env *env) MUST_CHECK;
void threads_fini(struct threads *t);
struct thread *threads_find(const struct threads *t, const uint8_t peer[static PEER_BLOB_BYTES]);
/* Room for one more threads_add(), or two notes of threads_gone(). */
enum err threads_reserve(struct threads *t, const uint8_t peer[static PEER_BLOB_BYTES], enum box box,
			 struct thread **out) MUST_CHECK;
enum err threads_reserve_gone(struct threads *t) MUST_CHECK;
void threads_add(struct threads *t, struct thread *th, enum box box, int64_t row, uint64_t at_ms);
void threads_gone(struct threads *t, const uint8_t peer[static PEER_BLOB_BYTES], enum box box, int64_t row);
/* The rows of one box of a peer; NULL: none. */
const struct sorted *threads_rows(const struct threads *t, const uint8_t peer[static PEER_BLOB_BYTES], enum box box);
void threads_commit(struct threads *t);
void threads_rollback(struct threads *t);

#endif
