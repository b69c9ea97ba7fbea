/*
 * records_life.c -- the first moment of a database that was restored from a copy (im2.md 9.5, 11.3, 13.2).
 */
#include "daemon/records_internal.h"

#include <stdlib.h>

#include "store/kv.h"

/* More than a life uses: a record a minute of each type are 30 years of them. And with the time, faster than blocks of them are set
 * aside, so that one copy that is restored twice says nothing twice. */
#define LIFT (1ull << 24)
#define PER_SECOND 64

struct entry {
	uint8_t key[KV_KEY_MAX];
	size_t key_n;
	uint64_t gen; /* of the space "generation" */
	bool good;
};

struct entries {
	struct entry *list;
	size_t n, cap;
	bool failed;
};

static bool note(void *ctx, struct bytes key, struct bytes value)
{
	struct entries *all = ctx;
	struct rd r = rd_init(value.p, value.n);
	struct entry *more, *e;

	if (all->n == all->cap) {
		more = reallocarray(all->list, all->cap ? all->cap * 2 : 32, sizeof *more);
		if (!more || key.n > KV_KEY_MAX) {
			all->failed = true;
			return false;
		}
		all->list = more;
		all->cap = all->cap ? all->cap * 2 : 32;
	}
	e = &all->list[all->n++];
	memcpy(e->key, key.p, key.n);
	e->key_n = key.n;
	e->gen = rd_u64(&r);
	e->good = rd_end(&r) == ERR_OK;
	return true;
}

static enum err gather(struct store *s, const char *space, struct entries *out)
{
	enum err e = store_kv_each(s, space, note, out);

	return e == ERR_OK && out->failed ? ERR_NOMEM : e;
}

static enum err lift(struct store *s, const struct entry *x, uint64_t by)
{
	uint8_t value[8];
	struct wr w = wr_init(value, sizeof value);

	if (!x->good)
		return ERR_OK;
	wr_u64(&w, x->gen < IM2_GEN_MAX - by ? x->gen + by : IM2_GEN_MAX);
	return store_kv_put(s, SPACE_GENERATION, bytes_of(x->key, x->key_n), BYTES_ARR(value));
}

enum err records_new_life(struct store *s, uint64_t wall_ms)
{
	uint64_t by = LIFT + (wall_ms < IM2_TIME_MAX ? wall_ms / 1000 * PER_SECOND : 0);
	struct entries gens = { 0 }, keys = { 0 };
	enum err e = gather(s, SPACE_GENERATION, &gens);

	if (e == ERR_OK)
		e = gather(s, SPACE_PREKEY, &keys);
	for (size_t i = 0; e == ERR_OK && i < gens.n; i++)
		e = lift(s, &gens.list[i], by);
	for (size_t i = 0; e == ERR_OK && i < keys.n; i++)
		e = store_kv_del(s, SPACE_PREKEY, bytes_of(keys.list[i].key, keys.list[i].key_n));
	free(gens.list);
	free(keys.list);
	return e;
}
