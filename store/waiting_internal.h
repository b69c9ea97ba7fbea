/*
 * waiting_internal.h -- the QUEUED rows of the outbox in memory: in sending order, by wire id, by expiry.
 *
 * A row enters and leaves this table several times for each time that anybody searches it, so an index on
 * disk would be written far more often than read: it was a third of what a message cost. Filled by the walk
 * at open; changes since the last commit are in a journal, and a rollback applies it backwards.
 *
 * Eras (im2.md 9.5): numbers are reserved on disk in blocks of ERA_BLOCK, so that one row in so many pays for
 * a write. What was given out stays given out, also when its group is undone: `next` never goes back. Only
 * committed state says that a number is finished, so `open` keeps a number until the group that ended it is
 * committed.
 */
#ifndef STORE_WAITING_INTERNAL_H
#define STORE_WAITING_INTERNAL_H

#include "base/env.h"
#include "base/map.h"
#include "store/counts_internal.h"
#include "store/outbox.h"
#include "store/sorted_internal.h"

#define ERA_BLOCK 1024

struct out_open {
	uint64_t seq; /* of the era; first */
	int64_t row;
	uint8_t rank;
};

struct out_era {
	uint8_t era[OUTBOX_ERA_BYTES];
	int64_t born; /* order of drawing, over all peers */
	uint64_t next;
	uint64_t reserved, kept_reserved; /* up to this one; as of the last commit */
	uint64_t told;
	bool done;	    /* old, finished, and the last mark was told */
	bool touched;	    /* its reservation is in the open group */
	struct sorted open; /* struct out_open */
};

struct out_wait {
	uint64_t row; /* first */
	struct out_era *era; /* NULL: an old row that does not open */
	uint64_t seq;
	uint64_t expires;
	uint32_t len;
};

struct out_peer {
	uint8_t peer[PEER_BLOB_BYTES];
	struct out_era *eras[OUTBOX_ERAS_MAX]; /* oldest first */
	unsigned eras_n;
	struct sorted queue[OUTBOX_PRIORITIES]; /* struct out_wait, by rank = 3 - priority */
	bool renewed; /* because of SEEN of renewed_era, renewed_seq: the same one does it once */
	uint8_t renewed_era[OUTBOX_ERA_BYTES];
	uint64_t renewed_seq;
};

struct out_change {
	struct out_peer *peer;
	struct out_wait wait;
	uint8_t rank;
	bool added;
};

struct out_expiry {
	uint64_t at;
	uint64_t row;
	struct out_peer *peer;
	uint8_t rank;
};

/* By the earliest. Entries of rows that ended stay until they come up. */
struct out_heap {
	struct out_expiry *x;
	size_t n, cap;
};
enum { BY_WALL, BY_RUNNING, CLOCKS };

struct waiting {
	struct map *peers; /* blob -> struct out_peer * */
	size_t n;
	struct out_change *journal;
	size_t journal_n, journal_cap;
	struct out_era **touched;
	size_t touched_n, touched_cap;
	struct out_heap heap[CLOCKS];
	bool heap_lost; /* to be made anew from the queues */
	int64_t born, floor, kept_floor; /* highest given out; eras up to the floor are not current */
};

enum err waiting_init(struct waiting *w, struct env *env) MUST_CHECK;
void waiting_fini(struct waiting *w);
struct out_peer *waiting_peer(const struct waiting *w, const uint8_t peer[static PEER_BLOB_BYTES]);
/* The peer, made if need be, with room for one more waiting_add() and one waiting_del() of `rank`. ERR_FULL at
 * COUNT_PEERS_MAX, ERR_NOMEM. */
enum err waiting_reserve(struct waiting *w, const uint8_t peer[static PEER_BLOB_BYTES], uint8_t rank,
			 struct out_peer **out) MUST_CHECK;
void waiting_add(struct waiting *w, struct out_peer *p, uint8_t rank, const struct out_wait *x);
/* Returns false when the row does not wait. Room by waiting_reserve() or waiting_reserve_del(). */
bool waiting_del(struct waiting *w, struct out_peer *p, uint8_t rank, int64_t row);
enum err waiting_reserve_del(struct waiting *w) MUST_CHECK;
void waiting_commit(struct waiting *w);
void waiting_rollback(struct waiting *w);

/* NULL: none of this peer's. */
struct out_era *waiting_era(const struct out_peer *p, const uint8_t era[static OUTBOX_ERA_BYTES]);
/* The one in use; NULL when the next message draws one. */
struct out_era *waiting_current(const struct waiting *w, const struct out_peer *p);
/* A new, empty era after all others. ERR_FULL when every one of OUTBOX_ERAS_MAX has unfinished numbers. The era
 * that had to make room is in *gone when there was one: its row goes from the disk too. */
enum err waiting_era_new(struct waiting *w, struct out_peer *p, struct env *env, struct out_era **out,
			 uint8_t gone[static OUTBOX_ERA_BYTES], bool *evicted) MUST_CHECK;
/* Notes that the reservation of `e` is about to be written. ERR_NOMEM. */
enum err waiting_touch(struct waiting *w, struct out_era *e) MUST_CHECK;

/* The earliest expiry of a waiting row by this clock, as struct out_wait has it; UINT64_MAX when none. */
enum err waiting_next_expiry(struct waiting *w, unsigned clock, uint64_t *at) MUST_CHECK;
/* Takes the next row whose time is at most `now` from the heap of this clock; it still waits. */
enum err waiting_pop_expired(struct waiting *w, unsigned clock, uint64_t now, struct out_expiry *out,
			     bool *found) MUST_CHECK;

#endif
