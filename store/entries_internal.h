/*
 * entries_internal.h -- the duplicate table of im2 in memory: (author, era, number) -> row (im2.md 9.5).
 *
 * Filled by the walk at open from the rows, the marks and what the last sessions confirmed. An entry says
 * which row to look at; digest and state are in the row, read when a repeat comes. What belongs to the open
 * group is undone by a rollback: entries whose row is above the last committed one, marks, eras, flags.
 * Entries go only after a commit.
 */
#ifndef STORE_ENTRIES_INTERNAL_H
#define STORE_ENTRIES_INTERNAL_H

#include "base/env.h"
#include "base/map.h"
#include "store/counts_internal.h"
#include "store/inbox.h"
#include "store/sorted_internal.h"

#define ERA_BYTES 8

enum { ENTRY_HELD = 1, ENTRY_DUE = 2 }; /* DUE: let out of the hold, whatever `left` says */

struct in_entry {
	uint64_t seq; /* first */
	int64_t row;
	uint64_t keep; /* running ms */
	uint8_t flags;
};

struct in_era_state {
	uint64_t mark; /* nothing below is taken; starts at 1 */
	uint64_t high; /* highest held or settled */
	uint64_t keep; /* at least the latest keep of any entry ever */
};

struct in_era {
	uint8_t era[ERA_BYTES];
	int64_t born; /* order of arrival, over all authors */
	struct in_author *author;
	struct in_era_state now, kept; /* in the open group; as of the last commit */
	bool touched, fresh, dropped;  /* fresh: not committed; dropped: goes with the commit */
	struct sorted entries;	       /* struct in_entry */
};

struct in_author {
	uint8_t author[PEER_BLOB_BYTES];
	struct in_era **eras; /* oldest first */
	unsigned eras_n, eras_cap, dropped_n;
	size_t entries;
	int64_t left; /* receipts of rows up to this one have left */
	bool left_dirty, due_dirty; /* to be written with the next group */
	size_t due_n; /* entries marked DUE; after a rollback it may say too much */
};

struct in_flag {
	struct in_era *era;
	uint64_t seq;
	uint8_t was;
};

struct entries {
	struct map *authors; /* blob -> struct in_author * */
	size_t authors_n, eras_n, entries_n;
	int64_t born;
	struct in_era **touched;
	size_t touched_n, touched_cap;
	struct in_flag *flags;
	size_t flags_n, flags_cap;
	struct in_author **dirty;
	size_t dirty_n, dirty_cap;
	uint64_t sweep_at; /* running ms */
};

enum err entries_init(struct entries *t, struct env *env) MUST_CHECK;
void entries_fini(struct entries *t);
struct in_author *entries_author(const struct entries *t, const uint8_t author[static PEER_BLOB_BYTES]);
enum err entries_author_make(struct entries *t, const uint8_t author[static PEER_BLOB_BYTES],
			     struct in_author **out) MUST_CHECK;
/* Frees one without eras and without anything to be written; the caller takes it out of `authors`. */
void entries_author_gone(struct entries *t, struct in_author *a);
struct in_era *entries_era(const struct in_author *a, const uint8_t era[static ERA_BYTES]);
/* An era that is touched from the start. ERR_NOMEM; the limit of eras is the caller's. */
enum err entries_era_new(struct entries *t, struct in_author *a, const uint8_t era[static ERA_BYTES],
			 struct in_era **out) MUST_CHECK;
/* Room for one more entry, one more flag and the note that the group changes this era. */
enum err entries_touch(struct entries *t, struct in_era *e) MUST_CHECK;
void entries_add(struct entries *t, struct in_era *e, const struct in_entry *x);
/* Changes the flags of an entry in the group. */
void entries_flag(struct entries *t, struct in_era *e, struct in_entry *x, uint8_t flags);
/* Room in the list of authors whose watermark has to be written. */
enum err entries_dirty(struct entries *t, struct in_author *a) MUST_CHECK;
/* Clears DUE up to a row; says whether there was one. */
bool entries_clear_due(struct in_author *a, int64_t upto_row);
size_t entries_bytes(const struct entries *t);
bool entries_due(const struct in_author *a, const struct in_entry *x);
/* Takes what the mark as committed lets go. */
void entries_trim(struct entries *t, struct in_era *e, uint64_t running_ms);
void entries_commit(struct entries *t, uint64_t running_ms);
void entries_rollback(struct entries *t, int64_t last_row);
/* The entry of a row's wire id, or NULL. */
struct in_entry *entries_find(const struct entries *t, const uint8_t author[static PEER_BLOB_BYTES],
			      const uint8_t wire_id[static 16], struct in_era **era);
uint64_t wire_number(const uint8_t wire_id[static 16]);

#endif
