/* route_table.c -- what neighbours said, who may say how much, and when it is over (im2.md 11.5). */
#include "daemon/route_table.h"

#include <stdlib.h>

#include "daemon/route_table_internal.h"

struct route_table *route_table_new(const struct route_table_config *c)
{
	struct map_opts mo = { .policy = MAP_REFUSE, .value_size = sizeof(struct route_dest *) };
	struct route_table *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	t->c = *c;
	mo.capacity = c->destinations;
	memcpy(mo.hash_key, c->hash_key, sizeof mo.hash_key);
	t->dests = map_new(&mo);
	mo.value_size = sizeof(uint32_t);
	mo.capacity = c->destinations * ROUTE_WAYS + 1;
	t->shares = map_new(&mo);
	mo.policy = MAP_EVICT_LRU;
	mo.value_size = sizeof(struct grudge);
	t->grudges = map_new(&mo);
	if (t->dests && t->shares && t->grudges)
		return t;
	route_table_free(t);
	return NULL;
}

static bool free_one(void *ctx, struct bytes key, void *value)
{
	struct route_dest *d;

	memcpy(&d, value, sizeof d);
	free(d);
	return false;
}

void route_table_free(struct route_table *t)
{
	if (!t)
		return;
	if (t->dests)
		map_each(t->dests, free_one, NULL);
	map_free(t->dests);
	map_free(t->shares);
	map_free(t->grudges);
	free(t);
}

size_t route_table_count(const struct route_table *t)
{
	return map_count(t->dests);
}

size_t route_table_bytes(const struct route_table *t)
{
	return map_count(t->dests) * (sizeof(struct route_dest) + sizeof(void *) + NODE_ID_LEN + 64);
}

struct route_dest *route_table_find(struct route_table *t, const struct node_id *to)
{
	void *v = map_peek(t->dests, bytes_of(to->hex, NODE_ID_LEN));
	struct route_dest *d = NULL;

	if (v)
		memcpy(&d, v, sizeof d);
	return d;
}

/* --- shares: ways that a neighbour has in the table ------------------------------------------------------ */
static uint32_t share(const struct route_table *t, const struct node_id *via)
{
	const uint32_t *n = map_peek(t->shares, bytes_of(via->hex, NODE_ID_LEN));

	return n ? *n : 0;
}

static bool share_add(struct route_table *t, const struct node_id *via)
{
	bool created;
	void *v;

	if (share(t, via) >= t->c.per_neighbour ||
	    map_put(t->shares, bytes_of(via->hex, NODE_ID_LEN), 0, &v, &created) != ERR_OK)
		return false;
	++*(uint32_t *)v;
	return true;
}

static void share_sub(struct route_table *t, const struct node_id *via)
{
	uint32_t *n = map_peek(t->shares, bytes_of(via->hex, NODE_ID_LEN));

	if (n && --*n == 0)
		map_del(t->shares, bytes_of(via->hex, NODE_ID_LEN));
}

/* --- grudges ------------------------------------------------------------------------------------------------ */
static struct bytes grudge_key(const struct node_id *to, const struct node_id *via, uint8_t out[static GRUDGE_KEY])
{
	memcpy(out, to->hex, NODE_ID_LEN);
	memcpy(out + NODE_ID_LEN, via->hex, NODE_ID_LEN);
	return bytes_of(out, GRUDGE_KEY);
}

static void grudge_keep(struct route_table *t, const struct node_id *to, const struct route_way *w)
{
	uint8_t key[GRUDGE_KEY];
	bool created;
	void *v;

	if ((w->in_a_row || w->penalty_ms != ROUTE_PENALTY_MS) &&
	    map_put(t->grudges, grudge_key(to, &w->via, key), 0, &v, &created) == ERR_OK)
		*(struct grudge *)v = (struct grudge){ w->penalty_until_ms, w->penalty_ms, w->in_a_row };
}

static void grudge_recall(struct route_table *t, const struct node_id *to, struct route_way *w)
{
	uint8_t key[GRUDGE_KEY];
	struct bytes k = grudge_key(to, &w->via, key);
	const struct grudge *g = map_peek(t->grudges, k);

	if (!g)
		return;
	w->penalty_until_ms = g->penalty_until_ms;
	w->penalty_ms = g->penalty_ms;
	w->in_a_row = g->in_a_row;
	map_del(t->grudges, k);
}

static void way_drop(struct route_table *t, struct route_dest *d, int i)
{
	grudge_keep(t, &d->id, &d->ways[i]);
	share_sub(t, &d->ways[i].via);
	d->ways[i] = d->ways[--d->ways_n];
	d->best = -1; /* the caller chooses anew */
}

/* --- room ---------------------------------------------------------------------------------------------------- */
struct victim {
	struct route_table *t;
	const struct node_id *via, *not_id; /* via NULL: whole destinations */
	struct route_dest *dest;
	bool alternative;          /* it is one: costs nothing */
};

static bool is_wanted(const struct route_table *t, const struct node_id *id)
{
	return t->c.wanted && t->c.wanted(t->c.ctx, id);
}

static bool look_victim(void *ctx, struct bytes key, void *value)
{
	struct victim *v = ctx;
	struct route_dest *d;
	int at;

	memcpy(&d, value, sizeof d);
	if (v->alternative || node_id_eq(&d->id, v->not_id))
		return true;
	at = v->via ? route_way_of(d, v->via) : 0;
	if (at < 0)
		return true;
	/* A destination without a way is but a memory. */
	if (v->via ? d->best >= 0 && at != d->best : d->ways_n == 0 && !d->dirty) {
		v->dest = d;
		v->alternative = true;
	} else if (!v->dest && !is_wanted(v->t, &d->id)) {
		v->dest = d;
	}
	return true;
}

static void dest_free(struct route_table *t, struct route_dest *d);

/* Room for one more way of `via` (NULL: for one more destination), towards `id`. */
static bool make_room(struct route_table *t, const struct node_id *via, const struct node_id *id, uint64_t now)
{
	struct victim v = { .t = t, .via = via, .not_id = id };
	struct route_in_use was;

	map_each(t->dests, look_victim, &v);
	if (!v.dest || (!v.alternative && !is_wanted(t, id)))
		return false;
	if (!via) {
		dest_free(t, v.dest);
		return true;
	}
	was = route_in_use(v.dest);
	way_drop(t, v.dest, route_way_of(v.dest, via));
	route_rechoose(t, v.dest, was, now);
	return true;
}

/* --- what a neighbour says --------------------------------------------------------------------------------- */
static struct route_dest *dest_get(struct route_table *t, const struct node_id *id, const uint8_t ed[static ED_BYTES],
				   uint64_t now)
{
	struct route_dest *d = route_table_find(t, id);
	bool created;
	void *v;

	if (d)
		return d;
	if (map_count(t->dests) >= t->c.destinations && !make_room(t, NULL, id, now))
		return NULL;
	d = calloc(1, sizeof *d);
	if (!d || map_put(t->dests, bytes_of(id->hex, NODE_ID_LEN), 0, &v, &created) != ERR_OK) {
		free(d);
		return NULL;
	}
	memcpy(v, &d, sizeof d);
	d->id = *id;
	memcpy(d->ed, ed, ED_BYTES);
	d->best = -1;
	return d;
}

/* Nobody has a way, and nothing of it has to be remembered. */
static bool is_over(const struct route_dest *d, uint64_t now)
{
	return !d->ways_n && !d->dirty && !d->moved && d->newest_ends_ms <= now;
}

static void dest_free(struct route_table *t, struct route_dest *d)
{
	while (d->ways_n)
		way_drop(t, d, 0);
	map_del(t->dests, bytes_of(d->id.hex, NODE_ID_LEN));
	free(d);
}

/* The place of one more way; the worst makes room when the new one is better. -1: it is not. */
static int way_place(struct route_table *t, struct route_dest *d, const struct route_way *fresh, uint64_t now)
{
	int worst = 0;

	if (d->ways_n < ROUTE_WAYS)
		return d->ways_n;
	for (int i = 1; i < d->ways_n; i++)
		if (route_better(&d->ways[worst], &d->ways[i], now))
			worst = i;
	if (!route_better(fresh, &d->ways[worst], now))
		return -1;
	way_drop(t, d, worst);
	return d->ways_n;
}

static enum err way_add(struct route_table *t, struct route_dest *d, struct route_way *fresh, uint64_t now)
{
	int at;

	grudge_recall(t, &d->id, fresh);
	/* Whoever has no room displaces nothing of others. */
	at = share(t, &fresh->via) < t->c.per_neighbour ? way_place(t, d, fresh, now) : d->ways_n;
	/* An alternative alone displaces nothing of its neighbour. */
	if (at < 0 || !share_add(t, &fresh->via)) {
		grudge_keep(t, &d->id, fresh);
		return at < 0 ? ERR_OK : ERR_FULL;
	}
	d->ways[at] = *fresh;
	d->ways_n++;
	return ERR_OK;
}

/* The same neighbour says something new: what was measured stays. */
static void way_renew(struct route_way *w, const struct route_said *s, uint64_t ends_ms, uint64_t now)
{
	w->gen = s->gen;
	w->hops = s->hops;
	w->cost_ms = s->cost_ms;
	w->expires_ms = ends_ms;
	w->heard_ms = now;
}

/* Only what it said before, and not what it knows from an older generation. */
static void way_gone(struct route_table *t, struct route_dest *d, int at, uint64_t gen, uint64_t now)
{
	struct route_in_use was = route_in_use(d);

	if (gen < d->ways[at].gen)
		return;
	way_drop(t, d, at);
	route_rechoose(t, d, was, now);
}

enum err route_table_take(struct route_table *t, const struct route_said *s, uint64_t now)
{
	struct route_way fresh = { .via = *s->via, .rtt_ms = -1, .penalty_ms = ROUTE_PENALTY_MS };
	struct route_dest *d;
	struct node_id id;
	struct route_in_use was;
	enum err e = ERR_OK;
	int at;

	if (s->record.n > ROUTE_RECORD_MAX || (s->hops > ROUTE_HOPS_MAX && s->hops != ROUTE_HOPS_GONE))
		return ERR_LIMIT;
	node_id_of(s->ed, &id);
	d = route_table_find(t, &id);
	at = d ? route_way_of(d, s->via) : -1;
	if (s->hops == ROUTE_HOPS_GONE) {
		if (at >= 0)
			way_gone(t, d, at, s->gen, now);
		return ERR_OK;
	}
	if (d && (s->gen < d->newest_gen || (s->gen == d->newest_gen && d->newest_ends_ms <= now)))
		return ERR_EXPIRED;
	if (!d && (share(t, s->via) < t->c.per_neighbour || make_room(t, s->via, &id, now)))
		d = dest_get(t, &id, s->ed, now);
	if (!d)
		return ERR_FULL;
	was = route_in_use(d);
	if (s->gen > d->newest_gen) {
		d->newest_gen = s->gen;
		d->newest_ends_ms = now + s->life_ms;
		memcpy(d->record, s->record.p, s->record.n);
		d->record_n = (uint16_t)s->record.n;
	}
	if (at >= 0) {
		way_renew(&d->ways[at], s, d->newest_ends_ms, now);
	} else {
		way_renew(&fresh, s, d->newest_ends_ms, now);
		e = way_add(t, d, &fresh, now);
	}
	route_rechoose(t, d, was, now);
	return e;
}

/* --- ends ---------------------------------------------------------------------------------------------------- */
struct walk {
	struct route_table *t;
	const struct node_id *via;
	uint64_t now, next;
	bool (*fn)(void *ctx, struct route_dest *d);
	void *ctx;
	bool over;
};

static bool lose(void *ctx, struct bytes key, void *value)
{
	struct walk *k = ctx;
	struct route_dest *d;
	struct route_in_use was;
	int at;

	memcpy(&d, value, sizeof d);
	at = route_way_of(d, k->via);
	if (at < 0)
		return true;
	was = route_in_use(d);
	way_drop(k->t, d, at);
	route_rechoose(k->t, d, was, k->now);
	return true;
}

void route_table_neighbour_gone(struct route_table *t, const struct node_id *via, uint64_t now)
{
	struct walk k = { .t = t, .via = via, .now = now };

	map_each(t->dests, lose, &k);
}

void route_table_drop(struct route_table *t, const struct node_id *to)
{
	struct route_dest *d = route_table_find(t, to);

	if (d)
		dest_free(t, d);
}

static bool sweep_one(void *ctx, struct bytes key, void *value)
{
	struct walk *k = ctx;
	struct route_dest *d;
	struct route_in_use was;
	bool free_again = false;

	memcpy(&d, value, sizeof d);
	was = route_in_use(d);
	for (int i = 0; i < d->ways_n;) {
		if (d->ways[i].expires_ms <= k->now) {
			way_drop(k->t, d, i);
			continue;
		}
		if (d->ways[i].expires_ms < k->next)
			k->next = d->ways[i].expires_ms;
		if (route_penalised(&d->ways[i], k->now)) {
			if (d->ways[i].penalty_until_ms < k->next)
				k->next = d->ways[i].penalty_until_ms;
		} else if (d->ways[i].penalty_until_ms) {
			d->ways[i].penalty_until_ms = 0;
			free_again |= i == d->best;
		}
		i++;
	}
	route_rechoose(k->t, d, was, k->now);
	/* While it was penalised it was advertised to nobody. */
	if (free_again && !d->dirty && d->best >= 0) {
		d->dirty = true;
		k->t->c.changed(k->t->c.ctx, d, false);
	}
	/* What was advertised is remembered for as long as somebody may act on it. */
	if (!is_over(d, k->now)) {
		uint64_t at = d->newest_ends_ms > k->now ? d->newest_ends_ms : k->now + 1;

		if (!d->ways_n && at < k->next)
			k->next = at;
		return true;
	}
	free(d);
	return false;
}

uint64_t route_table_sweep(struct route_table *t, uint64_t now)
{
	struct walk k = { .t = t, .now = now, .next = UINT64_MAX };

	map_each(t->dests, sweep_one, &k);
	return k.next;
}

static bool each_one(void *ctx, struct bytes key, void *value)
{
	struct walk *k = ctx;
	struct route_dest *d;

	memcpy(&d, value, sizeof d);
	if (!k->over)
		k->over = !k->fn(k->ctx, d);
	return true;
}

void route_table_each(struct route_table *t, bool (*fn)(void *ctx, struct route_dest *d), void *ctx)
{
	struct walk k = { .fn = fn, .ctx = ctx };

	map_each(t->dests, each_one, &k);
}
