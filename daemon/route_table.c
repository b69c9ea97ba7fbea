#include "daemon/route_table.h"

#include <stdlib.h>

struct route_table {
	struct route_table_config c;
	struct map *dests; /* node id -> struct route_dest * */
	struct map *shares; /* neighbour -> how many destinations it alone brought */
};

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
	if (t->dests && t->shares)
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

/* --- choosing --------------------------------------------------------------------------------------------- */
static bool feasible(const struct route_dest *d, const struct route_way *w)
{
	return w->gen > d->adv_gen || (w->gen == d->adv_gen && w->hops < d->adv_hops);
}

static bool penalised(const struct route_way *w, uint64_t now)
{
	return w->penalty_until_ms > now;
}

/* Newest generation, fewest hops, then what was measured or claimed. */
static bool better(const struct route_way *a, const struct route_way *b, uint64_t now)
{
	double x, y;

	if (penalised(a, now) != penalised(b, now))
		return !penalised(a, now);
	if (a->gen != b->gen)
		return a->gen > b->gen;
	if (a->hops != b->hops)
		return a->hops < b->hops;
	x = a->rtt_ms >= 0 ? a->rtt_ms : a->cost_ms;
	y = b->rtt_ms >= 0 ? b->rtt_ms : b->cost_ms;
	return x < y;
}

static int choose(const struct route_dest *d, const struct node_id *except, const struct node_id *not_this, uint64_t now)
{
	int best = -1;

	for (int i = 0; i < d->ways_n; i++) {
		const struct route_way *w = &d->ways[i];

		if (w->expires_ms <= now || !feasible(d, w) || (except && node_id_eq(&w->via, except)) ||
		    (not_this && node_id_eq(&w->via, not_this)))
			continue;
		if (best < 0 || better(w, &d->ways[best], now))
			best = i;
	}
	return best;
}

/* What counts as the same is told to nobody. */
struct in_use {
	struct node_id via;
	uint64_t gen;
	uint8_t hops;
	bool is;
};

static struct in_use in_use(const struct route_dest *d)
{
	struct in_use u = { .is = d->best >= 0 };

	if (u.is) {
		u.via = d->ways[d->best].via;
		u.gen = d->ways[d->best].gen;
		u.hops = d->ways[d->best].hops;
	}
	return u;
}

static void rechoose(struct route_table *t, struct route_dest *d, struct in_use was, uint64_t now)
{
	struct in_use is;
	bool other;

	d->best = (int8_t)choose(d, NULL, NULL, now);
	is = in_use(d);
	other = is.is != was.is || (is.is && !node_id_eq(&is.via, &was.via));
	if (!other && is.gen == was.gen && is.hops == was.hops)
		return;
	d->dirty = true;
	t->c.changed(t->c.ctx, d, other);
}

static void way_drop(struct route_table *t, struct route_dest *d, int i)
{
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

static int way_of(const struct route_dest *d, const struct node_id *via)
{
	for (int i = 0; i < d->ways_n; i++)
		if (node_id_eq(&d->ways[i].via, via))
			return i;
	return -1;
}

static bool look_victim(void *ctx, struct bytes key, void *value)
{
	struct victim *v = ctx;
	struct route_dest *d;
	int at;

	memcpy(&d, value, sizeof d);
	if (v->alternative || node_id_eq(&d->id, v->not_id))
		return true;
	at = v->via ? way_of(d, v->via) : 0;
	if (at < 0)
		return true;
	if (v->via && d->best >= 0 && at != d->best) {
		v->dest = d;
		v->alternative = true;
	} else if (!v->dest && !is_wanted(v->t, &d->id)) {
		v->dest = d;
	}
	return true;
}

static void way_drop(struct route_table *t, struct route_dest *d, int i);
static void dest_free(struct route_table *t, struct route_dest *d);

/* Room for one more way of `via` (NULL: for one more destination), towards `id`. */
static bool make_room(struct route_table *t, const struct node_id *via, const struct node_id *id, uint64_t now)
{
	struct victim v = { .t = t, .via = via, .not_id = id };
	struct in_use was;

	map_each(t->dests, look_victim, &v);
	if (!v.dest || (!v.alternative && !is_wanted(t, id)))
		return false;
	if (!via) {
		dest_free(t, v.dest);
		return true;
	}
	was = in_use(v.dest);
	way_drop(t, v.dest, way_of(v.dest, via));
	rechoose(t, v.dest, was, now);
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

static uint64_t newest(const struct route_dest *d)
{
	uint64_t gen = 0;

	for (int i = 0; i < d->ways_n; i++)
		gen = d->ways[i].gen > gen ? d->ways[i].gen : gen;
	return gen;
}

static void dest_free(struct route_table *t, struct route_dest *d)
{
	while (d->ways_n)
		way_drop(t, d, 0);
	map_del(t->dests, bytes_of(d->id.hex, NODE_ID_LEN));
	free(d);
}

enum err route_table_take(struct route_table *t, const struct route_said *s, uint64_t now)
{
	struct route_way fresh = { .via = *s->via, .gen = s->gen, .hops = s->hops, .cost_ms = s->cost_ms, .rtt_ms = -1,
				   .expires_ms = now + s->life_ms, .heard_ms = now, .penalty_ms = ROUTE_PENALTY_MS };
	struct route_dest *d;
	struct node_id id;
	struct in_use was;
	int at;

	if (s->record.n > ROUTE_RECORD_MAX || (s->hops > ROUTE_HOPS_MAX && s->hops != ROUTE_HOPS_GONE))
		return ERR_LIMIT;
	node_id_of(s->ed, &id);
	d = route_table_find(t, &id);
	at = d ? way_of(d, s->via) : -1;
	if (s->hops == ROUTE_HOPS_GONE) {
		/* Only what it said before, and not what it knows from an older life of the destination. */
		if (at < 0 || s->gen < d->ways[at].gen)
			return ERR_OK;
		was = in_use(d);
		way_drop(t, d, at);
		rechoose(t, d, was, now);
		return ERR_OK;
	}
	if (d && s->gen < newest(d))
		return ERR_EXPIRED;
	if (!d && (share(t, s->via) < t->c.per_neighbour || make_room(t, s->via, &id, now)))
		d = dest_get(t, &id, s->ed, now);
	if (!d)
		return ERR_FULL;
	was = in_use(d);
	if (at < 0) {
		if (d->ways_n == ROUTE_WAYS) {
			int worst = 0;

			for (int i = 1; i < d->ways_n; i++)
				if (better(&d->ways[worst], &d->ways[i], now))
					worst = i;
			if (!better(&fresh, &d->ways[worst], now))
				return ERR_OK;
			way_drop(t, d, worst);
		}
		/* An alternative alone displaces nothing of its neighbour. */
		if (!share_add(t, s->via)) {
			if (!d->ways_n)
				dest_free(t, d);
			else
				rechoose(t, d, was, now);
			return ERR_FULL;
		}
		d->ways[d->ways_n++] = fresh;
	} else {
		struct route_way *w = &d->ways[at];

		if (w->gen == s->gen && w->hops == s->hops) {
			w->heard_ms = now;
			return ERR_OK; /* its life goes on from its arrival */
		}
		/* What was measured stays with the neighbour. */
		if (w->gen == s->gen)
			fresh.expires_ms = w->expires_ms;
		fresh.penalty_until_ms = w->penalty_until_ms;
		fresh.penalty_ms = w->penalty_ms;
		fresh.delivered = w->delivered;
		fresh.unanswered = w->unanswered;
		fresh.in_a_row = w->in_a_row;
		fresh.rtt_ms = w->rtt_ms;
		*w = fresh;
	}
	if (s->gen >= newest(d)) {
		memcpy(d->record, s->record.p, s->record.n);
		d->record_n = (uint16_t)s->record.n;
	}
	rechoose(t, d, was, now);
	return ERR_OK;
}

struct route_way *route_table_way(struct route_table *t, const struct node_id *to, const struct node_id *except,
				  const struct node_id *not_this, uint64_t now)
{
	struct route_dest *d = route_table_find(t, to);
	int at = d ? choose(d, except, not_this, now) : -1;

	return at < 0 ? NULL : &d->ways[at];
}

void route_table_advertised(struct route_dest *d)
{
	d->dirty = false;
	if (d->best < 0)
		return;
	const struct route_way *w = &d->ways[d->best];
	uint8_t hops = (uint8_t)(w->hops + 1);

	/* Of one generation the smallest counts: who heard it may use us until the next. */
	if (w->gen > d->adv_gen || hops < d->adv_hops) {
		d->adv_gen = w->gen;
		d->adv_hops = hops;
	}
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
	struct in_use was;
	int at;

	memcpy(&d, value, sizeof d);
	at = way_of(d, k->via);
	if (at < 0)
		return true;
	was = in_use(d);
	way_drop(k->t, d, at);
	rechoose(k->t, d, was, k->now);
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
	struct in_use was;

	memcpy(&d, value, sizeof d);
	was = in_use(d);
	for (int i = 0; i < d->ways_n;) {
		if (d->ways[i].expires_ms <= k->now) {
			way_drop(k->t, d, i);
			continue;
		}
		if (d->ways[i].expires_ms < k->next)
			k->next = d->ways[i].expires_ms;
		/* A penalty that ends may change the choice. */
		if (penalised(&d->ways[i], k->now) && d->ways[i].penalty_until_ms < k->next)
			k->next = d->ways[i].penalty_until_ms;
		i++;
	}
	rechoose(k->t, d, was, k->now);
	/* What was advertised is remembered for as long as somebody may act on it: gone only after it was told. */
	if (d->ways_n || d->dirty)
		return true;
	free(d);
	return false;
}

uint64_t route_table_sweep(struct route_table *t, uint64_t now)
{
	struct walk k = { .t = t, .now = now, .next = UINT64_MAX };

	map_each(t->dests, sweep_one, &k);
	return k.next;
}

/* --- what is measured ------------------------------------------------------------------------------------------ */
void route_table_delivered(struct route_table *t, const struct node_id *to, const struct node_id *via, double rtt_ms,
			   uint64_t now)
{
	struct route_dest *d = route_table_find(t, to);
	int at = d ? way_of(d, via) : -1;
	struct route_way *w;
	struct in_use was;

	if (at < 0)
		return;
	w = &d->ways[at];
	w->delivered++;
	w->in_a_row = 0;
	w->rtt_ms = w->rtt_ms < 0 ? rtt_ms : w->rtt_ms * 7 / 8 + rtt_ms / 8;
	if (!w->penalty_until_ms)
		return;
	was = in_use(d);
	w->penalty_until_ms = 0;
	w->penalty_ms = ROUTE_PENALTY_MS;
	rechoose(t, d, was, now);
}

bool route_table_unanswered(struct route_table *t, const struct node_id *to, const struct node_id *via, uint64_t now)
{
	struct route_dest *d = route_table_find(t, to);
	int at = d ? way_of(d, via) : -1;
	struct route_way *w;
	struct in_use was;

	if (at < 0)
		return false;
	w = &d->ways[at];
	w->unanswered++;
	if (++w->in_a_row < ROUTE_UNANSWERED)
		return false;
	was = in_use(d);
	w->in_a_row = 0;
	w->penalty_until_ms = now + w->penalty_ms;
	w->penalty_ms = w->penalty_ms * 2 < ROUTE_PENALTY_MAX_MS ? w->penalty_ms * 2 : ROUTE_PENALTY_MAX_MS;
	rechoose(t, d, was, now);
	return true;
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
