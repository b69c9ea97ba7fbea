#include "store/idmap_internal.h"

#include <sodium.h>
#include <stdlib.h>

#define PRINT_BITS 24
#define SEQ_BITS   40
#define BITS_FIRST 10

static uint64_t print_of(const struct idmap *m, struct bytes id)
{
	uint64_t h;

	crypto_shorthash((uint8_t *)&h, id.p, id.n, m->hash_key);
	return h >> (64 - PRINT_BITS);
}

static uint64_t slot_of(uint64_t print, int64_t seq)
{
	BUG_ON(seq <= 0 || seq > IDMAP_SEQ_MAX);
	return print << SEQ_BITS | (uint64_t)seq;
}

/* Where a slot belongs comes from its print alone: growing and deleting need no id. */
static size_t home(const struct idmap *m, uint64_t slot)
{
	return (size_t)(slot >> SEQ_BITS >> (PRINT_BITS - m->bits));
}

static size_t mask(const struct idmap *m)
{
	return ((size_t)1 << m->bits) - 1;
}

enum err idmap_init(struct idmap *m, struct env *env)
{
	*m = (struct idmap){.bits = BITS_FIRST};
	env_random(env, m->hash_key, sizeof(m->hash_key));
	m->slots = calloc((size_t)1 << m->bits, sizeof(*m->slots));
	return m->slots ? ERR_OK : ERR_NOMEM;
}

void idmap_fini(struct idmap *m)
{
	free(m->slots);
	free(m->journal);
	*m = (struct idmap){0};
}

static void put(struct idmap *m, uint64_t slot)
{
	size_t i = home(m, slot);

	while (m->slots[i])
		i = (i + 1) & mask(m);
	m->slots[i] = slot;
	m->n++;
}

/* Closes the gap behind it, so that a search may end at the first free slot. */
static void take(struct idmap *m, uint64_t slot)
{
	size_t i = home(m, slot);

	while (m->slots[i] != slot) {
		BUG_ON(m->slots[i] == 0);
		i = (i + 1) & mask(m);
	}
	for (size_t j = (i + 1) & mask(m); m->slots[j]; j = (j + 1) & mask(m)) {
		size_t h = home(m, m->slots[j]);
		/* May move back to i unless its home lies cyclically in (i, j]. */
		if (((j - h) & mask(m)) >= ((j - i) & mask(m))) {
			m->slots[i] = m->slots[j];
			i = j;
		}
	}
	m->slots[i] = 0;
	m->n--;
}

static enum err grow(struct idmap *m)
{
	struct idmap bigger = *m;

	if (m->bits == IDMAP_BITS_MAX)
		return ERR_FULL;
	bigger.bits++;
	bigger.n = 0;
	bigger.slots = calloc((size_t)1 << bigger.bits, sizeof(*bigger.slots));
	if (!bigger.slots)
		return ERR_NOMEM;
	for (size_t i = 0; i <= mask(m); i++)
		if (m->slots[i])
			put(&bigger, m->slots[i]);
	free(m->slots);
	*m = bigger;
	return ERR_OK;
}

enum err idmap_reserve(struct idmap *m, unsigned more)
{
	if (m->journal_n + more > m->journal_cap) {
		size_t cap = m->journal_cap ? m->journal_cap * 2 : 128;
		struct idmap_change *j = reallocarray(m->journal, cap, sizeof(*j));
		if (!j)
			return ERR_NOMEM;
		m->journal = j;
		m->journal_cap = cap;
	}
	return m->n + more > mask(m) / 4 * 3 ? grow(m) : ERR_OK;
}

static void change(struct idmap *m, uint64_t slot, bool added)
{
	BUG_ON(m->journal_n == m->journal_cap);
	m->journal[m->journal_n++] = (struct idmap_change){.slot = slot, .added = added};
	if (added)
		put(m, slot);
	else
		take(m, slot);
}

void idmap_add(struct idmap *m, struct bytes id, int64_t seq)
{
	change(m, slot_of(print_of(m, id), seq), true);
}

void idmap_del(struct idmap *m, struct bytes id, int64_t seq)
{
	change(m, slot_of(print_of(m, id), seq), false);
}

void idmap_commit(struct idmap *m)
{
	m->journal_n = 0;
}

void idmap_rollback(struct idmap *m)
{
	while (m->journal_n) {
		const struct idmap_change *c = &m->journal[--m->journal_n];
		if (c->added)
			take(m, c->slot);
		else
			put(m, c->slot);
	}
}

void idmap_find(const struct idmap *m, struct bytes id, struct idmap_probe *p)
{
	p->print = print_of(m, id);
	p->at = home(m, p->print << SEQ_BITS);
}

bool idmap_next(const struct idmap *m, struct idmap_probe *p, int64_t *seq)
{
	for (uint64_t slot; (slot = m->slots[p->at]);) {
		p->at = (p->at + 1) & mask(m);
		if (slot >> SEQ_BITS == p->print) {
			*seq = (int64_t)(slot & IDMAP_SEQ_MAX);
			return true;
		}
	}
	return false;
}
