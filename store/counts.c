#include "store/counts_internal.h"

#include <stdlib.h>

enum err counts_init(struct counts *c, struct env *env)
{
	struct map_opts o = {
		.capacity = COUNT_PEERS_MAX,
		.value_size = sizeof(struct count_row),
		.policy = MAP_REFUSE,
	};

	*c = (struct counts){0};
	env_random(env, o.hash_key, sizeof(o.hash_key));
	c->peers = map_new(&o);
	return c->peers ? ERR_OK : ERR_NOMEM;
}

void counts_fini(struct counts *c)
{
	map_free(c->peers);
	free(c->journal);
	*c = (struct counts){0};
}

static struct bytes key_of(const uint8_t peer[static PEER_BLOB_BYTES])
{
	return bytes_of(peer, PEER_BLOB_BYTES);
}

enum err counts_reserve(struct counts *c, const uint8_t peer[static PEER_BLOB_BYTES])
{
	void *value;
	bool created;

	if (c->journal_n == c->journal_cap) {
		size_t cap = c->journal_cap ? c->journal_cap * 2 : 128;
		struct count_move *j = reallocarray(c->journal, cap, sizeof(*j));
		if (!j)
			return ERR_NOMEM;
		c->journal = j;
		c->journal_cap = cap;
	}
	memcpy(c->reserved, peer, PEER_BLOB_BYTES);
	return map_put(c->peers, key_of(peer), 0, &value, &created);
}

static void apply(struct counts *c, const struct count_move *m, unsigned from, unsigned to)
{
	struct count_row *row = map_peek(c->peers, key_of(m->peer));

	BUG_ON(!row);
	if (from != COUNT_NONE) {
		BUG_ON(row->n[m->box][from] == 0 || c->bytes[m->box][from] < m->bytes);
		row->n[m->box][from]--;
		c->n[m->box][from]--;
		c->bytes[m->box][from] -= m->bytes;
	}
	if (to != COUNT_NONE) {
		row->n[m->box][to]++;
		c->n[m->box][to]++;
		c->bytes[m->box][to] += m->bytes;
	}
}

/* Entries go only between groups: a rollback must never need memory to bring one back. */
static void drop_if_empty(struct counts *c, const uint8_t peer[static PEER_BLOB_BYTES])
{
	static const struct count_row none;
	const struct count_row *row = map_peek(c->peers, key_of(peer));

	if (row && memcmp(row, &none, sizeof(none)) == 0)
		map_del(c->peers, key_of(peer));
}

void counts_move(struct counts *c, const struct count_move *m)
{
	BUG_ON(c->journal_n == c->journal_cap);
	c->journal[c->journal_n++] = *m;
	apply(c, m, m->from, m->to);
}

enum err counts_load(struct counts *c, const struct count_move *m)
{
	void *value;
	bool created;
	enum err e = map_put(c->peers, key_of(m->peer), 0, &value, &created);

	if (e == ERR_OK)
		apply(c, m, m->from, m->to);
	return e;
}

void counts_commit(struct counts *c)
{
	for (size_t i = 0; i < c->journal_n; i++)
		drop_if_empty(c, c->journal[i].peer);
	c->journal_n = 0;
}

void counts_rollback(struct counts *c)
{
	for (size_t i = c->journal_n; i-- > 0;)
		apply(c, &c->journal[i], c->journal[i].to, c->journal[i].from);
	for (size_t i = 0; i < c->journal_n; i++)
		drop_if_empty(c, c->journal[i].peer);
	drop_if_empty(c, c->reserved); /* its row may never have been written */
	c->journal_n = 0;
}

const struct count_row *counts_row(const struct counts *c, const uint8_t peer[static PEER_BLOB_BYTES])
{
	return map_peek(c->peers, key_of(peer));
}

uint32_t counts_peer(const struct counts *c, const uint8_t peer[static PEER_BLOB_BYTES],
		     enum box box, unsigned state)
{
	const struct count_row *row = map_peek(c->peers, key_of(peer));

	return row ? row->n[box][state] : 0;
}
