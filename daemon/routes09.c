#include "daemon/routes09.h"

#include <stdlib.h>

#define NEIGHBOURS 4096
#define SCORES 8192

struct way {
	struct node_id via;
	uint8_t cost;              /* from here */
	uint64_t heard_ms;
};

struct dest {
	struct way ways[ROUTES09_WAYS];
	uint8_t n;
	int8_t used;               /* -1: none */
	uint8_t nearest;           /* that we were of late */
	uint8_t told;              /* our distance, as everybody was told last; ROUTE09_INFINITY: none */
	struct node_id told_via;
	bool untold;               /* it is another now */
	uint64_t nearest_ms;       /* we were that near then */
	uint64_t hold_until_ms;
};

struct near {
	bool up;
	uint64_t down_ms;          /* since when it is not */
	uint32_t ways;
	uint32_t in_a_row, breaks;
	uint64_t penalty_until_ms, penalty_ms;
	uint64_t breaks_since_ms, rests_until_ms;
};

struct score {
	uint64_t delivered, unanswered, penalty_until_ms, penalty_ms;
	uint32_t in_a_row;
};

struct routes09 {
	struct routes09_config c;
	struct map *dests;         /* node id -> struct dest */
	struct map *nears;         /* node id -> struct near */
	struct map *scores;        /* via || to -> struct score */
	bool untold;
};

static struct bytes key_of(const struct node_id *id)
{
	return bytes_of(id->hex, NODE_ID_LEN);
}

static struct near *near_of(const struct routes09 *t, const struct node_id *via)
{
	return map_peek(t->nears, key_of(via));
}

static void score_key(const struct node_id *via, const struct node_id *to, uint8_t key[static 2 * NODE_ID_LEN])
{
	memcpy(key, via->hex, NODE_ID_LEN);
	memcpy(key + NODE_ID_LEN, to->hex, NODE_ID_LEN);
}

static struct score *score_peek(const struct routes09 *t, const struct node_id *via, const struct node_id *to)
{
	uint8_t key[2 * NODE_ID_LEN];

	score_key(via, to, key);
	return map_peek(t->scores, BYTES_ARR(key));
}

static struct score *score_get(struct routes09 *t, const struct node_id *via, const struct node_id *to)
{
	uint8_t key[2 * NODE_ID_LEN];
	uint64_t source;
	bool created;
	void *v;

	score_key(via, to, key);
	memcpy(&source, via->hex, sizeof source);
	return map_put(t->scores, BYTES_ARR(key), source, &v, &created) == ERR_OK ? v : NULL;
}

/* --- which way ---------------------------------------------------------------------------------------------- */
static bool alive(const struct routes09 *t, const struct way *w, uint64_t now)
{
	const struct near *near = near_of(t, &w->via);

	return near && near->up && now - w->heard_ms < ROUTES09_LIFE_MS;
}

static uint64_t penalty_until(const struct routes09 *t, const struct way *w, const struct node_id *to)
{
	const struct near *near = near_of(t, &w->via);
	const struct score *s = score_peek(t, &w->via, to);
	uint64_t until = s ? s->penalty_until_ms : 0;

	/* To itself nobody passes anything on. */
	if (near && !node_id_eq(&w->via, to) && near->penalty_until_ms > until)
		until = near->penalty_until_ms;
	return until;
}

static bool penalised(const struct routes09 *t, const struct way *w, const struct node_id *to, uint64_t now)
{
	return penalty_until(t, w, to) > now;
}

static bool rests(const struct routes09 *t, const struct node_id *via, uint64_t now)
{
	const struct near *near = near_of(t, via);

	return near && near->rests_until_ms > now;
}

/* What was derived from what we told is at least one farther than we were. */
static bool safe(const struct dest *d, const struct way *w, uint64_t now)
{
	return now - d->nearest_ms >= ROUTES09_LIFE_MS || w->cost <= d->nearest + 1;
}

static void near_as(struct dest *d, uint64_t now)
{
	uint8_t cost = d->ways[d->used].cost;

	if (cost > d->nearest && now - d->nearest_ms < ROUTES09_LIFE_MS)
		return;
	d->nearest = cost;
	d->nearest_ms = now;
}

/* Neighbours are told again when it is another distance, or poisoned for another of them. */
static void judge_told(struct routes09 *t, struct dest *d)
{
	const struct way *w = d->used >= 0 ? &d->ways[d->used] : NULL;

	d->untold = w ? w->cost != d->told || !node_id_eq(&w->via, &d->told_via) : d->told != ROUTE09_INFINITY;
	t->untold = t->untold || d->untold;
}

static void use(struct routes09 *t, struct dest *d, const struct node_id *to, int way, uint64_t now)
{
	bool other = d->used != way;

	d->used = (int8_t)way;
	near_as(d, now);
	judge_told(t, d);
	if (other && t->c.changed)
		t->c.changed(t->c.ctx, to);
}

/* The nearest of those that may take over. */
static int heir(const struct routes09 *t, const struct dest *d, uint64_t now)
{
	bool held = now < d->hold_until_ms;
	int best = -1;

	for (int i = 0; i < d->n; i++) {
		const struct way *w = &d->ways[i];

		if (!alive(t, w, now) || (held && !safe(d, w, now)))
			continue;
		if (best < 0 || w->cost < d->ways[best].cost)
			best = i;
	}
	return best;
}

/* The way in use is no more. */
static void lost(struct routes09 *t, struct dest *d, const struct node_id *to, uint64_t now)
{
	int next;

	d->used = -1;
	d->hold_until_ms = now + ROUTES09_HOLD_MS;
	next = heir(t, d, now);
	if (next >= 0) {
		use(t, d, to, next, now);
		return;
	}
	judge_told(t, d);
}

static void drop_way(struct routes09 *t, struct dest *d, const struct node_id *to, int i, uint64_t now)
{
	struct near *near = near_of(t, &d->ways[i].via);
	bool was_used = d->used == i;

	if (near && near->ways)
		near->ways--;
	d->n--;
	if (i < d->n)
		d->ways[i] = d->ways[d->n];
	if (d->used == d->n)
		d->used = (int8_t)i;
	if (was_used)
		lost(t, d, to, now);
}

static int way_via(const struct dest *d, const struct node_id *via)
{
	for (int i = 0; i < d->n; i++)
		if (node_id_eq(&d->ways[i].via, via))
			return i;
	return -1;
}

static bool over(const struct dest *d, uint64_t now)
{
	return !d->n && !d->untold && now >= d->hold_until_ms;
}

/* --- what is heard ------------------------------------------------------------------------------------------- */
struct walk {
	struct routes09 *t;
	const struct node_id *via;
	uint64_t now;
	bool any, forget;
};

static bool go_down(void *ctx, struct bytes key, void *value)
{
	struct walk *x = ctx;
	struct dest *d = value;
	struct node_id to = { { 0 } };
	int i = way_via(d, x->via);

	memcpy(to.hex, key.p, NODE_ID_LEN);
	if (i < 0)
		return true;
	if (x->forget || node_id_eq(&to, x->via))
		drop_way(x->t, d, &to, i, x->now);
	else if (d->used == i)
		lost(x->t, d, &to, x->now);
	return true;
}

enum err routes09_up(struct routes09 *t, const struct node_id *via, uint64_t now)
{
	struct walk x = { .t = t, .via = via, .now = now, .forget = true };
	struct near *near;
	bool created;
	void *v;
	enum err e = map_put(t->nears, key_of(via), 0, &v, &created);

	if (e != ERR_OK)
		return e;
	near = v;
	if (!created && !near->up && now - near->down_ms > ROUTES09_FLAP_MS)
		map_each(t->dests, go_down, &x);
	near->up = true;
	e = routes09_hear(t, via, via, 0, now);
	(void)routes09_sweep(t, now); /* what it said before it went counts again */
	return e;
}

void routes09_down(struct routes09 *t, const struct node_id *via, uint64_t now)
{
	struct near *near = near_of(t, via);
	struct walk x = { .t = t, .via = via, .now = now };

	if (!near || !near->up)
		return;
	near->up = false;
	near->down_ms = now;
	map_each(t->dests, go_down, &x);
}

void routes09_forget(struct routes09 *t, const struct node_id *via, uint64_t now)
{
	struct walk x = { .t = t, .via = via, .now = now, .forget = true };
	struct near *near = near_of(t, via);

	if (!near)
		return;
	near->up = false;
	map_each(t->dests, go_down, &x);
	map_del(t->nears, key_of(via));
}

/* Where there is no room the farthest that is not in use goes, if it is farther than the new one. */
static int slot(struct routes09 *t, struct dest *d, const struct node_id *to, unsigned cost, uint64_t now)
{
	int worst = -1;

	if (d->n < ROUTES09_WAYS)
		return d->n;
	for (int i = 0; i < d->n; i++)
		if (i != d->used && (worst < 0 || d->ways[i].cost > d->ways[worst].cost || !alive(t, &d->ways[i], now)))
			worst = i;
	if (worst < 0 || (d->ways[worst].cost <= cost && alive(t, &d->ways[worst], now)))
		return -1;
	drop_way(t, d, to, worst, now);
	return d->n;
}

static void withdraw(struct routes09 *t, const struct node_id *via, const struct node_id *to, uint64_t now)
{
	struct dest *d = map_peek(t->dests, key_of(to));
	int i = d ? way_via(d, via) : -1;

	if (i >= 0)
		drop_way(t, d, to, i, now);
}

/* The way `i` was heard of: does it take over? Strictly nearer does, and the only one after a hold. */
static void judge(struct routes09 *t, struct dest *d, const struct node_id *to, int i, uint64_t now)
{
	const struct way *w = &d->ways[i];

	if (d->used == i) {
		near_as(d, now);
		judge_told(t, d);
		return;
	}
	if (d->used < 0 ? now >= d->hold_until_ms || safe(d, w, now) : w->cost < d->ways[d->used].cost)
		use(t, d, to, i, now);
}

/* Its own way has become longer: one that is nearer, and cannot lead through us, takes over. */
static void worse(struct routes09 *t, struct dest *d, const struct node_id *to, uint64_t now)
{
	for (int i = 0; i < d->n; i++)
		if (d->ways[i].cost < d->ways[d->used].cost && alive(t, &d->ways[i], now) && safe(d, &d->ways[i], now))
			use(t, d, to, i, now);
}

enum err routes09_hear(struct routes09 *t, const struct node_id *via, const struct node_id *to, unsigned cost, uint64_t now)
{
	struct near *near = near_of(t, via);
	struct dest *d;
	bool created;
	void *v;
	int i;
	enum err e;

	if (!near || !near->up)
		return ERR_WRONG_STATE;
	if (node_id_eq(via, to))
		cost = 0;
	else if (cost == 0 || cost + 1 >= ROUTE09_INFINITY) {
		withdraw(t, via, to, now);
		return cost ? ERR_OK : ERR_DENIED;
	}
	d = map_peek(t->dests, key_of(to));
	i = d ? way_via(d, via) : -1;
	if (i >= 0) {
		bool farther = cost + 1 > d->ways[i].cost;

		d->ways[i].cost = (uint8_t)(cost + 1);
		d->ways[i].heard_ms = now;
		judge(t, d, to, i, now);
		if (farther && d->used == i)
			worse(t, d, to, now);
		return ERR_OK;
	}
	if (near->ways >= t->c.per_neighbour)
		return ERR_FULL;
	e = map_put(t->dests, key_of(to), 0, &v, &created);
	if (e != ERR_OK)
		return e;
	d = v;
	if (created) {
		d->used = -1;
		d->nearest = UINT8_MAX - 1;
		d->told = ROUTE09_INFINITY;
		d->nearest_ms = now;
	}
	i = slot(t, d, to, cost + 1, now);
	if (i < 0)
		return ERR_OK; /* three are known that are as near */
	d->ways[i] = (struct way){ .via = *via, .cost = (uint8_t)(cost + 1), .heard_ms = now };
	d->n++;
	near->ways++;
	judge(t, d, to, i, now);
	return ERR_OK;
}

static bool sweep_one(void *ctx, struct bytes key, void *value)
{
	struct walk *x = ctx;
	struct dest *d = value;
	struct node_id to = { { 0 } };

	memcpy(to.hex, key.p, NODE_ID_LEN);
	for (int i = d->n - 1; i >= 0; i--) {
		const struct near *near = near_of(x->t, &d->ways[i].via);

		/* A neighbour that is there is at distance 1 from itself, whatever it announces. */
		if (near && near->up && node_id_eq(&d->ways[i].via, &to))
			d->ways[i].heard_ms = x->now;
		if (x->now - d->ways[i].heard_ms >= ROUTES09_LIFE_MS)
			drop_way(x->t, d, &to, i, x->now);
	}
	if (d->used < 0 && d->n) {
		int next = heir(x->t, d, x->now);

		if (next >= 0)
			use(x->t, d, &to, next, x->now);
	}
	if (over(d, x->now))
		return false;
	x->any = true;
	return true;
}

bool routes09_sweep(struct routes09 *t, uint64_t now)
{
	struct walk x = { .t = t, .now = now };

	map_each(t->dests, sweep_one, &x);
	return x.any;
}

/* --- who is handed to --------------------------------------------------------------------------------------- */
bool routes09_next(struct routes09 *t, const struct node_id *to, bool (*skip)(void *ctx, const struct node_id *via), void *ctx,
		   uint64_t now, struct node_id *via)
{
	const struct dest *d = map_peek(t->dests, key_of(to));
	int best = -1;
	bool best_bad = true;

	for (int i = 0; d && i < d->n; i++) {
		const struct way *w = &d->ways[i];
		bool bad = penalised(t, w, to, now);

		if (!alive(t, w, now) || rests(t, &w->via, now) || (skip && skip(ctx, &w->via)))
			continue;
		/* Held down, only what cannot lead back to us. */
		if (d->used < 0 && now < d->hold_until_ms && !safe(d, w, now))
			continue;
		if (best < 0 || (best_bad && !bad) ||
		    (best_bad == bad && best != d->used && (i == d->used || w->cost < d->ways[best].cost))) {
			best = i;
			best_bad = bad;
		}
	}
	if (best < 0)
		return false;
	*via = d->ways[best].via;
	return true;
}

struct telling {
	struct routes09 *t;
	const struct node_id *who;
	bool changed;
	void (*fn)(void *ctx, const struct route09_entry *e);
	void *ctx;
	uint64_t now;
};

static bool tell_one(void *ctx, struct bytes key, void *value)
{
	struct telling *x = ctx;
	const struct dest *d = value;
	const struct way *w = d->used >= 0 ? &d->ways[d->used] : NULL;
	struct route09_entry e = { .cost = ROUTE09_INFINITY };

	memcpy(e.to.hex, key.p, NODE_ID_LEN);
	if (node_id_eq(&e.to, x->who) || (x->changed && !d->untold))
		return true;
	if (w && !node_id_eq(&w->via, x->who) && !penalised(x->t, w, &e.to, x->now) && alive(x->t, w, x->now))
		e.cost = w->cost;
	x->fn(x->ctx, &e);
	return true;
}

void routes09_tell(struct routes09 *t, const struct node_id *who, bool changed,
		   void (*fn)(void *ctx, const struct route09_entry *e), void *ctx, uint64_t now)
{
	struct telling x = { t, who, changed, fn, ctx, now };

	map_each(t->dests, tell_one, &x);
}

bool routes09_untold(const struct routes09 *t)
{
	return t->untold;
}

static bool told_one(void *ctx, struct bytes key, void *value)
{
	struct dest *d = value;
	const struct way *w = d->used >= 0 ? &d->ways[d->used] : NULL;

	(void)ctx;
	(void)key;
	d->untold = false;
	d->told = w ? w->cost : ROUTE09_INFINITY;
	if (w)
		d->told_via = w->via;
	return true;
}

void routes09_told(struct routes09 *t)
{
	t->untold = false;
	map_each(t->dests, told_one, NULL);
}

/* --- what is measured ---------------------------------------------------------------------------------------- */
void routes09_delivered(struct routes09 *t, const struct node_id *to, const struct node_id *via, uint64_t now)
{
	struct near *near = near_of(t, via);
	struct score *s = score_get(t, via, to);

	(void)now;
	if (near) {
		near->in_a_row = near->breaks = 0;
		near->penalty_until_ms = near->penalty_ms = 0;
	}
	if (!s)
		return;
	s->delivered++;
	s->in_a_row = 0;
	s->penalty_until_ms = s->penalty_ms = 0;
}

static bool punish(uint64_t *until, uint64_t *length, uint64_t now)
{
	if (*until > now)
		return false;
	*length = !*length ? ROUTES09_PENALTY_MS : *length * 2 > ROUTES09_PENALTY_MAX_MS ? ROUTES09_PENALTY_MAX_MS : *length * 2;
	*until = now + *length;
	return true;
}

bool routes09_unanswered(struct routes09 *t, const struct node_id *to, const struct node_id *via, uint64_t now, bool *neighbour)
{
	struct near *near = near_of(t, via);
	struct score *s = score_get(t, via, to);
	bool begins = false;

	*neighbour = false;
	if (s) {
		s->unanswered++;
		if (++s->in_a_row >= ROUTES09_UNANSWERED)
			begins = punish(&s->penalty_until_ms, &s->penalty_ms, now);
	}
	if (near && !node_id_eq(to, via) && ++near->in_a_row >= ROUTES09_NEIGHBOUR_UNANSWERED)
		*neighbour = punish(&near->penalty_until_ms, &near->penalty_ms, now);
	return begins || *neighbour;
}

bool routes09_broken(struct routes09 *t, const struct node_id *via, uint64_t now)
{
	struct near *near = near_of(t, via);

	if (!near || near->rests_until_ms > now)
		return false;
	if (now - near->breaks_since_ms >= ROUTES09_BREAKER_MS) {
		near->breaks_since_ms = now;
		near->breaks = 0;
	}
	if (++near->breaks < ROUTES09_BREAKER)
		return false;
	near->breaks = 0;
	near->rests_until_ms = now + ROUTES09_BREAKER_MS;
	return true;
}

/* --- for people ------------------------------------------------------------------------------------------------ */
struct seeing {
	struct routes09 *t;
	bool (*fn)(void *ctx, const struct routes09_view *v);
	void *ctx;
	uint64_t now;
	bool enough;
};

static bool see_one(void *ctx, struct bytes key, void *value)
{
	struct seeing *x = ctx;
	const struct dest *d = value;
	struct node_id to = { { 0 } };

	memcpy(to.hex, key.p, NODE_ID_LEN);
	for (int i = 0; i < d->n && !x->enough; i++) {
		const struct way *w = &d->ways[i];
		const struct score *s = score_peek(x->t, &w->via, &to);
		uint64_t until = penalty_until(x->t, w, &to), age = x->now - w->heard_ms;
		struct routes09_view v = { .to = to, .via = w->via, .cost = w->cost, .used = i == d->used,
					   .usable = alive(x->t, w, x->now) && !rests(x->t, &w->via, x->now), .age_ms = age,
					   .expires_in_ms = age < ROUTES09_LIFE_MS ? ROUTES09_LIFE_MS - age : 0,
					   .penalty_ms = until > x->now ? until - x->now : 0,
					   .delivered = s ? s->delivered : 0, .unanswered = s ? s->unanswered : 0 };

		x->enough = !x->fn(x->ctx, &v);
	}
	return true;
}

void routes09_each(struct routes09 *t, bool (*fn)(void *ctx, const struct routes09_view *v), void *ctx, uint64_t now)
{
	struct seeing x = { .t = t, .fn = fn, .ctx = ctx, .now = now };

	map_each(t->dests, see_one, &x);
}

/* --- birth, end ------------------------------------------------------------------------------------------------- */
struct routes09 *routes09_new(const struct routes09_config *c)
{
	struct map_opts mo = { .capacity = c->destinations ? c->destinations : 4096, .policy = MAP_REFUSE,
			       .value_size = sizeof(struct dest) };
	struct routes09 *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	t->c = *c;
	t->c.per_neighbour = c->per_neighbour ? c->per_neighbour : 1024;
	memcpy(mo.hash_key, c->hash_key, sizeof mo.hash_key);
	t->dests = map_new(&mo);
	mo.capacity = NEIGHBOURS;
	mo.value_size = sizeof(struct near);
	t->nears = map_new(&mo);
	mo.capacity = SCORES;
	mo.per_source = SCORES / 8;
	mo.policy = MAP_EVICT_LRU;
	mo.value_size = sizeof(struct score);
	t->scores = map_new(&mo);
	if (t->dests && t->nears && t->scores)
		return t;
	routes09_free(t);
	return NULL;
}

void routes09_free(struct routes09 *t)
{
	if (!t)
		return;
	map_free(t->dests);
	map_free(t->nears);
	map_free(t->scores);
	free(t);
}

size_t routes09_count(const struct routes09 *t)
{
	return map_count(t->dests);
}
