/*
 * idmap_internal.h -- message id -> row number, in memory, 8 bytes an entry.
 *
 * Ids are random, so an index of them on disk dirties one more page for almost every row: it was
 * two thirds of what a commit wrote. Here an entry is 24 bits of a keyed hash and 40 bits of row
 * number; whoever looks something up reads the row and compares. Filled by one walk at open;
 * changes since the last commit are in a journal, and a rollback applies it backwards.
 */
#ifndef STORE_IDMAP_INTERNAL_H
#define STORE_IDMAP_INTERNAL_H

#include "base/env.h"

#define IDMAP_BITS_MAX 24 /* slots: 128 MiB; three quarters of them can be used */
#define IDMAP_SEQ_MAX  ((1ll << 40) - 1)

struct idmap_change {
	uint64_t slot;
	bool added;
};

struct idmap {
	uint64_t *slots; /* 0 = free */
	unsigned bits;
	size_t n;
	struct idmap_change *journal;
	size_t journal_n, journal_cap;
	uint8_t hash_key[16];
};

struct idmap_probe {
	size_t at;
	uint64_t print;
};

enum err idmap_init(struct idmap *m, struct env *env) MUST_CHECK;
void idmap_fini(struct idmap *m);
/* Makes room for so many changes, so that they cannot fail after the row was written. ERR_FULL,
 * ERR_NOMEM. */
enum err idmap_reserve(struct idmap *m, unsigned more) MUST_CHECK;
void idmap_add(struct idmap *m, struct bytes id, int64_t seq);
void idmap_del(struct idmap *m, struct bytes id, int64_t seq);
void idmap_commit(struct idmap *m);
void idmap_rollback(struct idmap *m);
/* The rows that may have this id, in no order: start, then next until it says false. Not across a
 * change. */
void idmap_find(const struct idmap *m, struct bytes id, struct idmap_probe *p);
bool idmap_next(const struct idmap *m, struct idmap_probe *p, int64_t *seq);

#endif
