#include "base/map.h"

#include <sodium.h>
#include <stdlib.h>

/* Doubly linked ring with a sentinel; a sentinel that points at itself is an empty ring. */
struct ring {
	struct ring *prev, *next;
};

struct owner {
	struct owner *hash_next;
	struct ring level; /* among the owners that hold as many; least recently active first */
	struct ring used;  /* sentinel of its entries; least recently touched first */
	uint64_t id;
	size_t count;
};

struct entry {
	struct entry *hash_next;
	struct ring used;
	struct owner *owner;
	uint64_t hash;
	size_t key_n;
	/* value_size bytes, then the key */
	_Alignas(max_align_t) uint8_t data[];
};

struct map {
	struct map_opts o;
	size_t value_room; /* value_size, kept apart from the key that follows */
	size_t count, owner_count;
	uint64_t evictions;
	struct entry *recent; /* the one found or put last, NULL when it went: often the next one too */
	struct entry **slots; /* both tables: powers of two, at most about one item per slot */
	struct owner **owners;
	size_t slot_n, owner_n;
	/* levels[k]: ring of the owners that hold k entries. Counts move by one, so the fullest
	 * owner is always found in one step. */
	struct ring *levels;
	size_t level_n, top;
};

#define FROM(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static void ring_init(struct ring *r)
{
	r->prev = r->next = r;
}

static void ring_cut(struct ring *r)
{
	r->prev->next = r->next;
	r->next->prev = r->prev;
}

static void ring_push(struct ring *sentinel, struct ring *r)
{
	r->prev = sentinel->prev;
	r->next = sentinel;
	sentinel->prev->next = r;
	sentinel->prev = r;
}

static bool ring_empty(const struct ring *sentinel)
{
	return sentinel->next == sentinel;
}

static uint64_t keyed_hash(const struct map *m, const void *p, size_t n)
{
	uint64_t h;

	_Static_assert(crypto_shorthash_BYTES == sizeof(h), "SipHash gives 64 bits");
	_Static_assert(crypto_shorthash_KEYBYTES == sizeof(m->o.hash_key), "SipHash key");
	crypto_shorthash((uint8_t *)&h, p, n, m->o.hash_key);
	return h;
}

static struct bytes key_of(const struct map *m, const struct entry *e)
{
	return bytes_of(e->data + m->value_room, e->key_n);
}

struct map *map_new(const struct map_opts *o)
{
	struct map *m;

	BUG_ON(o->capacity == 0 || o->capacity > SIZE_MAX / 1024 || o->value_size > SIZE_MAX / 4);
	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->o = *o;
	m->value_room = o->value_size;
	return m;
}

/* The four rings and chains an entry and its owner hang on change only in these two. */
static void owner_level(struct map *m, struct owner *o, size_t count)
{
	if (o->count)
		ring_cut(&o->level);
	o->count = count;
	if (count) {
		ring_push(&m->levels[count], &o->level);
		if (count > m->top)
			m->top = count;
	}
	while (m->top && ring_empty(&m->levels[m->top]))
		m->top--;
}

static void owner_free(struct map *m, struct owner *o)
{
	struct owner **at = &m->owners[keyed_hash(m, &o->id, sizeof(o->id)) & (m->owner_n - 1)];

	while (*at != o)
		at = &(*at)->hash_next;
	*at = o->hash_next;
	m->owner_count--;
	free(o);
}

static void entry_free(struct map *m, struct entry **at)
{
	struct entry *e = *at;
	struct owner *o = e->owner;

	if (m->recent == e)
		m->recent = NULL;
	*at = e->hash_next;
	ring_cut(&e->used);
	owner_level(m, o, o->count - 1);
	if (o->count == 0)
		owner_free(m, o);
	m->count--;
	free(e);
}

void map_clear(struct map *m)
{
	for (size_t i = 0; i < m->slot_n; i++)
		while (m->slots[i])
			entry_free(m, &m->slots[i]);
}

void map_free(struct map *m)
{
	if (!m)
		return;
	map_clear(m);
	free(m->slots);
	free(m->owners);
	free(m->levels);
	free(m);
}

size_t map_count(const struct map *m)
{
	return m->count;
}

uint64_t map_evictions(const struct map *m)
{
	return m->evictions;
}

static uint64_t hash_of(const struct map *m, struct bytes key)
{
	const struct entry *e = m->recent;

	return e && bytes_eq(key_of(m, e), key) ? e->hash : keyed_hash(m, key.p, key.n);
}

static struct entry **find(const struct map *m, struct bytes key, uint64_t hash)
{
	struct entry **at;

	if (m->slot_n == 0)
		return NULL;
	for (at = &m->slots[hash & (m->slot_n - 1)]; *at; at = &(*at)->hash_next)
		if ((*at)->hash == hash && bytes_eq(key_of(m, *at), key))
			return at;
	return NULL;
}

static void touch(struct map *m, struct entry *e)
{
	ring_cut(&e->used);
	ring_push(&e->owner->used, &e->used);
	ring_cut(&e->owner->level);
	ring_push(&m->levels[e->owner->count], &e->owner->level);
}

void *map_peek(const struct map *m, struct bytes key)
{
	struct entry **at = find(m, key, hash_of(m, key));

	if (!at)
		return NULL;
	((struct map *)m)->recent = *at; /* no map is a const object, and nothing that is seen changes */
	return (*at)->data;
}

void *map_get(struct map *m, struct bytes key)
{
	struct entry **at = find(m, key, hash_of(m, key));

	if (!at)
		return NULL;
	m->recent = *at;
	touch(m, *at);
	return (*at)->data;
}

static bool grow_slots(struct map *m)
{
	size_t n = m->slot_n ? m->slot_n * 2 : 16;
	struct entry **slots;

	if (m->count < m->slot_n)
		return true;
	slots = calloc(n, sizeof(struct entry *));
	if (!slots)
		return m->slot_n != 0; /* longer chains are slower, not wrong */
	for (size_t i = 0; i < m->slot_n; i++) {
		struct entry *next;

		for (struct entry *e = m->slots[i]; e; e = next) {
			next = e->hash_next;
			e->hash_next = slots[e->hash & (n - 1)];
			slots[e->hash & (n - 1)] = e;
		}
	}
	free(m->slots);
	m->slots = slots;
	m->slot_n = n;
	return true;
}

static bool grow_owners(struct map *m)
{
	size_t n = m->owner_n ? m->owner_n * 2 : 16;
	struct owner **owners;

	if (m->owner_count < m->owner_n)
		return true;
	owners = calloc(n, sizeof(struct owner *));
	if (!owners)
		return m->owner_n != 0;
	for (size_t i = 0; i < m->owner_n; i++) {
		struct owner *next;

		for (struct owner *o = m->owners[i]; o; o = next) {
			size_t at = keyed_hash(m, &o->id, sizeof(o->id)) & (n - 1);

			next = o->hash_next;
			o->hash_next = owners[at];
			owners[at] = o;
		}
	}
	free(m->owners);
	m->owners = owners;
	m->owner_n = n;
	return true;
}

/* Room for levels[count]. The sentinels are pointed at by owners, so they are relinked by hand. */
static bool grow_levels(struct map *m, size_t count)
{
	size_t n = m->level_n ? m->level_n : 8;
	struct ring *levels;

	if (count < m->level_n)
		return true;
	while (n <= count)
		n *= 2;
	levels = malloc(n * sizeof(*levels));
	if (!levels)
		return false;
	for (size_t i = 0; i < n; i++) {
		ring_init(&levels[i]);
		if (i < m->level_n && !ring_empty(&m->levels[i])) {
			levels[i] = m->levels[i];
			levels[i].prev->next = levels[i].next->prev = &levels[i];
		}
	}
	free(m->levels);
	m->levels = levels;
	m->level_n = n;
	return true;
}

static struct owner *owner_find(const struct map *m, uint64_t id)
{
	struct owner *o = NULL;

	if (m->owner_n)
		o = m->owners[keyed_hash(m, &id, sizeof(id)) & (m->owner_n - 1)];
	while (o && o->id != id)
		o = o->hash_next;
	return o;
}

static struct owner *owner_new(struct map *m, uint64_t id)
{
	struct owner *o = grow_owners(m) ? calloc(1, sizeof(*o)) : NULL;
	size_t at;

	if (!o)
		return NULL;
	at = keyed_hash(m, &id, sizeof(id)) & (m->owner_n - 1);
	o->id = id;
	ring_init(&o->used);
	o->hash_next = m->owners[at];
	m->owners[at] = o;
	m->owner_count++;
	return o;
}

static void evict_from(struct map *m, struct owner *o)
{
	struct entry *e = FROM(o->used.next, struct entry, used);

	m->evictions++;
	if (m->o.evicted)
		m->o.evicted(m->o.ctx, key_of(m, e), e->data);
	entry_free(m, find(m, key_of(m, e), e->hash));
}

enum err map_put(struct map *m, struct bytes key, uint64_t source, void **value, bool *created)
{
	uint64_t hash = hash_of(m, key);
	struct entry **at, *e;
	struct owner *o, *victim = NULL;

	if (key.n > MAP_KEY_MAX)
		return ERR_LIMIT;
	at = find(m, key, hash);
	if (at) {
		m->recent = *at;
		touch(m, *at);
		*value = (*at)->data;
		*created = false;
		return ERR_OK;
	}
	o = owner_find(m, source);
	if (o && m->o.per_source && o->count >= m->o.per_source)
		victim = o;
	else if (m->count >= m->o.capacity && o && o->count == m->top)
		victim = o; /* who holds as much as anyone pays for its own insert */
	else if (m->count >= m->o.capacity)
		victim = FROM(m->levels[m->top].next, struct owner, level);
	if (victim && m->o.policy == MAP_REFUSE)
		return ERR_FULL;

	/* Everything that can fail comes before the eviction. */
	e = calloc(1, sizeof(*e) + m->value_room + key.n);
	if (!e || !grow_slots(m) || !grow_levels(m, (o ? o->count : 0) + 1)) {
		free(e);
		return ERR_NOMEM;
	}
	if (!o)
		o = owner_new(m, source);
	if (!o) {
		free(e);
		return ERR_NOMEM;
	}
	e->hash = hash;
	e->key_n = key.n;
	e->owner = o;
	if (key.n)
		memcpy(e->data + m->value_room, key.p, key.n);
	/* Linked in first, as the youngest, so that the eviction cannot take the owner's last
	 * entry and with it the owner. */
	e->hash_next = m->slots[hash & (m->slot_n - 1)];
	m->slots[hash & (m->slot_n - 1)] = e;
	ring_push(&o->used, &e->used);
	owner_level(m, o, o->count + 1);
	m->count++;
	m->recent = e;
	if (victim)
		evict_from(m, victim);
	*value = e->data;
	*created = true;
	return ERR_OK;
}

bool map_del(struct map *m, struct bytes key)
{
	struct entry **at = find(m, key, hash_of(m, key));

	if (!at)
		return false;
	entry_free(m, at);
	return true;
}

void map_each(struct map *m, bool (*keep)(void *ctx, struct bytes key, void *value), void *ctx)
{
	for (size_t i = 0; i < m->slot_n; i++) {
		struct entry **at = &m->slots[i];

		while (*at) {
			if (keep(ctx, key_of(m, *at), (*at)->data))
				at = &(*at)->hash_next;
			else
				entry_free(m, at);
		}
	}
}
