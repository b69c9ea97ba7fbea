#include "store/entries_internal.h"

#include <stdlib.h>

enum err entries_init(struct entries *t, struct env *env)
{
	struct map_opts o = {
		.capacity = COUNT_PEERS_MAX,
		.value_size = sizeof(struct in_author *),
		.policy = MAP_REFUSE,
	};

	*t = (struct entries){0};
	env_random(env, o.hash_key, sizeof(o.hash_key));
	t->authors = map_new(&o);
	return t->authors ? ERR_OK : ERR_NOMEM;
}

static void era_free(struct entries *t, struct in_era *e)
{
	e->author->entries -= e->entries.n;
	t->entries_n -= e->entries.n;
	t->eras_n--;
	sorted_fini(&e->entries);
	free(e);
}

static bool author_free(void *ctx, struct bytes key, void *value)
{
	struct in_author *a = *(struct in_author **)value;

	for (unsigned i = 0; i < a->eras_n; i++)
		era_free(ctx, a->eras[i]);
	free(a->eras);
	free(a);
	return false;
}

void entries_fini(struct entries *t)
{
	if (t->authors)
		map_each(t->authors, author_free, t);
	map_free(t->authors);
	free(t->touched);
	free(t->flags);
	free(t->dirty);
	*t = (struct entries){0};
}

struct in_author *entries_author(const struct entries *t, const uint8_t author[static PEER_BLOB_BYTES])
{
	struct in_author **a = map_peek(t->authors, bytes_of(author, PEER_BLOB_BYTES));

	return a ? *a : NULL;
}

enum err entries_author_make(struct entries *t, const uint8_t author[static PEER_BLOB_BYTES],
			     struct in_author **out)
{
	struct in_author *a = entries_author(t, author);
	void *value;
	bool created;

	if (a) {
		*out = a;
		return ERR_OK;
	}
	a = calloc(1, sizeof(*a));
	if (!a)
		return ERR_NOMEM;
	memcpy(a->author, author, PEER_BLOB_BYTES);
	enum err e = map_put(t->authors, bytes_of(author, PEER_BLOB_BYTES), 0, &value, &created);
	if (e != ERR_OK) {
		free(a);
		return e;
	}
	*(struct in_author **)value = *out = a;
	t->authors_n++;
	return ERR_OK;
}

void entries_author_gone(struct entries *t, struct in_author *a)
{
	BUG_ON(a->eras_n || a->left_dirty || a->due_dirty);
	free(a->eras);
	free(a);
	t->authors_n--;
}

struct in_era *entries_era(const struct in_author *a, const uint8_t era[static ERA_BYTES])
{
	for (unsigned i = a->eras_n; i-- > 0;)
		if (!a->eras[i]->dropped && memcmp(a->eras[i]->era, era, ERA_BYTES) == 0)
			return a->eras[i];
	return NULL;
}

/* Room for one more element behind the `n` that are there. */
static enum err room(void *array, size_t *cap, size_t n, size_t size)
{
	void **at = array, *p;

	if (n < *cap)
		return ERR_OK;
	size_t want = *cap ? *cap * 2 : 64;
	p = reallocarray(*at, want, size);
	if (!p)
		return ERR_NOMEM;
	*at = p;
	*cap = want;
	return ERR_OK;
}

enum err entries_touch(struct entries *t, struct in_era *e)
{
	enum err err = sorted_reserve(&e->entries, 1);

	if (err == ERR_OK)
		err = room(&t->flags, &t->flags_cap, t->flags_n, sizeof(*t->flags));
	if (err == ERR_OK && !e->touched)
		err = room(&t->touched, &t->touched_cap, t->touched_n, sizeof(*t->touched));
	if (err != ERR_OK || e->touched)
		return err;
	t->touched[t->touched_n++] = e;
	e->kept = e->now;
	e->touched = true;
	return ERR_OK;
}

enum err entries_era_new(struct entries *t, struct in_author *a, const uint8_t era[static ERA_BYTES],
			 struct in_era **out)
{
	size_t cap = a->eras_cap;
	struct in_era *e = calloc(1, sizeof(*e));

	if (!e)
		return ERR_NOMEM;
	enum err err = room(&a->eras, &cap, a->eras_n, sizeof(a->eras[0]));
	a->eras_cap = (unsigned)cap;
	memcpy(e->era, era, ERA_BYTES);
	sorted_init(&e->entries, sizeof(struct in_entry));
	e->author = a;
	e->now.mark = 1;
	if (err == ERR_OK)
		err = entries_touch(t, e);
	if (err != ERR_OK) {
		sorted_fini(&e->entries);
		free(e);
		return err;
	}
	e->born = ++t->born;
	e->fresh = true;
	a->eras[a->eras_n++] = *out = e;
	t->eras_n++;
	return ERR_OK;
}

void entries_add(struct entries *t, struct in_era *e, const struct in_entry *x)
{
	struct in_entry *at = sorted_insert(&e->entries, x->seq);

	*at = *x;
	e->author->entries++;
	t->entries_n++;
	if (x->seq > e->now.high)
		e->now.high = x->seq;
}

void entries_flag(struct entries *t, struct in_era *e, struct in_entry *x, uint8_t flags)
{
	BUG_ON(t->flags_n == t->flags_cap);
	t->flags[t->flags_n++] = (struct in_flag){.era = e, .seq = x->seq, .was = x->flags};
	x->flags = flags;
}

enum err entries_dirty(struct entries *t, struct in_author *a)
{
	if (a->left_dirty || a->due_dirty)
		return ERR_OK;
	enum err e = room(&t->dirty, &t->dirty_cap, t->dirty_n, sizeof(*t->dirty));
	if (e == ERR_OK)
		t->dirty[t->dirty_n++] = a;
	return e;
}

bool entries_due(const struct in_author *a, const struct in_entry *x)
{
	return x->row > a->left || (x->flags & ENTRY_DUE);
}

bool entries_clear_due(struct in_author *a, int64_t upto_row)
{
	size_t left = 0;
	bool any = false;

	for (unsigned i = 0; i < a->eras_n; i++) {
		struct sorted *v = &a->eras[i]->entries;
		for (size_t k = 0; k < v->n; k++) {
			struct in_entry *x = sorted_at(v, k);
			if (!(x->flags & ENTRY_DUE))
				continue;
			if (x->row > upto_row) {
				left++;
			} else {
				x->flags &= (uint8_t)~ENTRY_DUE;
				any = true;
			}
		}
	}
	a->due_n = left;
	return any;
}

static bool add_bytes(void *ctx, struct bytes key, void *value)
{
	const struct in_author *a = *(struct in_author **)value;

	for (unsigned i = 0; i < a->eras_n; i++)
		*(size_t *)ctx += a->eras[i]->entries.cap * a->eras[i]->entries.size;
	return true;
}

size_t entries_bytes(const struct entries *t)
{
	size_t n = 0;

	map_each(t->authors, add_bytes, &n);
	return n;
}

struct trim {
	const struct in_author *a;
	uint64_t running_ms;
};

/* Held ones answer until they are let out; those with a receipt due until it has left, or their time is up. */
static bool stays(void *ctx, const void *record)
{
	const struct in_entry *x = record;
	const struct trim *t = ctx;

	return (x->flags & ENTRY_HELD) || (entries_due(t->a, x) && x->keep > t->running_ms);
}

void entries_trim(struct entries *t, struct in_era *e, uint64_t running_ms)
{
	struct trim trim = {.a = e->author, .running_ms = running_ms};
	uint64_t mark = e->touched ? e->kept.mark : e->now.mark;
	size_t before = e->entries.n, below = sorted_floor(&e->entries, mark);

	if (below == 0)
		return;
	sorted_filter(&e->entries, below, stays, &trim);
	e->author->entries -= before - e->entries.n;
	t->entries_n -= before - e->entries.n;
	if (!e->touched)
		sorted_trim(&e->entries);
}

static void forget_era(struct entries *t, struct in_era *e)
{
	struct in_author *a = e->author;
	unsigned i = 0;

	while (a->eras[i] != e)
		i++;
	memmove(&a->eras[i], &a->eras[i + 1], (--a->eras_n - i) * sizeof(a->eras[0]));
	era_free(t, e);
}

void entries_commit(struct entries *t, uint64_t running_ms)
{
	t->flags_n = 0;
	for (size_t i = 0; i < t->touched_n; i++) {
		struct in_era *e = t->touched[i];
		e->touched = e->fresh = false;
		if (e->dropped) {
			e->author->dropped_n--;
			forget_era(t, e);
			continue;
		}
		entries_trim(t, e, running_ms);
	}
	t->touched_n = 0;
}

static bool is_kept(void *ctx, const void *record)
{
	return ((const struct in_entry *)record)->row <= *(const int64_t *)ctx;
}

void entries_rollback(struct entries *t, int64_t last_row)
{
	while (t->flags_n) {
		const struct in_flag *f = &t->flags[--t->flags_n];
		struct in_entry *x = sorted_get(&f->era->entries, f->seq);
		if (x)
			x->flags = f->was;
	}
	for (size_t i = 0; i < t->touched_n; i++) {
		struct in_era *e = t->touched[i];
		if (e->dropped)
			e->author->dropped_n--;
		e->touched = e->dropped = false;
		if (e->fresh) {
			forget_era(t, e);
			continue;
		}
		size_t before = e->entries.n;
		sorted_filter(&e->entries, before, is_kept, &last_row);
		e->author->entries -= before - e->entries.n;
		t->entries_n -= before - e->entries.n;
		e->now = e->kept;
	}
	t->touched_n = 0;
}

uint64_t wire_number(const uint8_t wire_id[static 16])
{
	struct rd r = rd_init(wire_id + ERA_BYTES, 8);

	return rd_u64(&r);
}

struct in_entry *entries_find(const struct entries *t, const uint8_t author[static PEER_BLOB_BYTES],
			      const uint8_t wire_id[static 16], struct in_era **era)
{
	struct in_author *a = entries_author(t, author);

	*era = a ? entries_era(a, wire_id) : NULL;
	return *era ? sorted_get(&(*era)->entries, wire_number(wire_id)) : NULL;
}
