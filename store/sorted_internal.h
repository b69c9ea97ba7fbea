/*
 * sorted_internal.h -- records of one size in the order of a number, in one piece of memory.
 *
 * What is in flight comes nearly in order and leaves nearly in order: adding at the end and taking at
 * the front move nothing; in the middle the shorter side moves. The number is the record's first eight
 * bytes. Pointers into it live until the next change.
 */
#ifndef STORE_SORTED_INTERNAL_H
#define STORE_SORTED_INTERNAL_H

#include "base/wire.h"

struct sorted {
	uint8_t *p;
	size_t head, n, cap; /* records */
	size_t size;	     /* of one; bytes */
};

void sorted_init(struct sorted *v, size_t size);
void sorted_fini(struct sorted *v);
/* Makes room for `more` insertions. A record that was taken since leaves its room as well. ERR_NOMEM. */
enum err sorted_reserve(struct sorted *v, size_t more) MUST_CHECK;
/* The index of the first record whose number is at least `key`; v->n when there is none. */
size_t sorted_floor(const struct sorted *v, uint64_t key);
static inline void *sorted_at(const struct sorted *v, size_t i)
{
	return v->p + (v->head + i) * v->size;
}
void *sorted_get(const struct sorted *v, uint64_t key); /* NULL */
/* A record of zeroes but for its number, which must not be there yet; the room must be. */
void *sorted_insert(struct sorted *v, uint64_t key);
void sorted_take(struct sorted *v, size_t i);
/* Takes those among the first `n` that `keep` says false of. */
void sorted_filter(struct sorted *v, size_t n, bool (*keep)(void *ctx, const void *record), void *ctx);
/* Gives memory back when little of it is used. */
void sorted_trim(struct sorted *v);

#endif
