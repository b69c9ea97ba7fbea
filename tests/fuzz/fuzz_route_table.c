/* rooms: daemon store protocol trust base */
/*
 * Tables of routes: the input is a list of operations. First byte even: one small table, told anything by anybody. Odd: five
 * honest nodes whose links come and go, whose advertisements are late or lost, and whose measurements are wrong. What must
 * always hold: bounds, what a table says of itself, and that following the ways in use never comes round to the same node.
 */
#include "daemon/route_table.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NODES 5
#define LIFE 300000
#define QUEUE 16

static const uint8_t *at, *end;
static uint64_t now;

static uint8_t next(void)
{
	return at < end ? *at++ : 0;
}

static uint8_t eds[16][ED_BYTES];
static struct node_id ids[16];

static void begin(void)
{
	for (unsigned i = 0; i < 16; i++) {
		eds[i][0] = (uint8_t)(i + 1);
		node_id_of(eds[i], &ids[i]);
	}
}

static void ignore(void *ctx, struct route_dest *d, bool other)
{
	(void)ctx;
	(void)d;
	(void)other;
}

static bool first_is_wanted(void *ctx, const struct node_id *id)
{
	(void)ctx;
	return node_id_eq(id, &ids[0]);
}

static struct route_table *table(size_t destinations, size_t share)
{
	struct route_table_config c = { .destinations = destinations, .per_neighbour = share, .changed = ignore,
					.wanted = first_is_wanted };
	struct route_table *t = route_table_new(&c);

	BUG_ON(!t);
	return t;
}

/* --- one table ---------------------------------------------------------------------------------------------- */
struct sums {
	unsigned of[16];
};

static bool judge_one(void *ctx, struct route_dest *d)
{
	struct sums *s = ctx;

	BUG_ON(d->ways_n > ROUTE_WAYS || d->best >= d->ways_n);
	for (int i = 0; i < d->ways_n; i++) {
		const struct route_way *w = &d->ways[i];

		BUG_ON(w->hops > ROUTE_HOPS_MAX || w->gen > d->newest_gen);
		BUG_ON(w->gen == d->newest_gen && w->expires_ms > d->newest_ends_ms);
		for (int k = 0; k < i; k++)
			BUG_ON(node_id_eq(&w->via, &d->ways[k].via));
		for (unsigned v = 0; v < 16; v++)
			s->of[v] += node_id_eq(&w->via, &ids[v]);
	}
	return true;
}

static void judge(struct route_table *t, size_t destinations, size_t share)
{
	struct sums s = { 0 };

	BUG_ON(route_table_count(t) > destinations);
	route_table_each(t, judge_one, &s);
	for (unsigned v = 0; v < 16; v++)
		BUG_ON(s.of[v] > share);
}

static void told(struct route_dest *d)
{
	uint64_t gen = d->adv_gen;
	uint8_t hops = d->adv_hops;

	if (next() & 1)
		route_table_told(d, now);
	else
		route_table_advertised(d, now);
	BUG_ON(d->adv_gen < gen || (d->adv_gen == gen && gen && d->adv_hops > hops));
}

static void alone(void)
{
	struct route_table *t = table(5, 3);

	while (at < end) {
		uint8_t op = next(), who = next();
		unsigned to = who & 7, via = 8 + (who >> 4 & 7);
		struct route_dest *d = route_table_find(t, &ids[to]);

		switch (op & 15) {
		case 0:
		case 1:
		case 2:
		case 3: {
			uint8_t x = next();
			struct route_said s = { .ed = eds[to], .gen = 1 + (x & 3) + (d ? d->newest_gen / 2 : 0),
						.life_ms = LIFE, .record = bytes_of(eds[to], x & 31),
						.hops = (uint8_t)(x >> 4 == 15 ? ROUTE_HOPS_GONE : x >> 4), .cost_ms = x,
						.via = &ids[via] };

			(void)!route_table_take(t, &s, now);
			break;
		}
		case 4:
			route_table_neighbour_gone(t, &ids[via], now);
			break;
		case 5:
			(void)route_table_unanswered(t, &ids[to], &ids[via], now);
			break;
		case 6:
			route_table_delivered(t, &ids[to], &ids[via], who, now);
			break;
		case 7:
			route_table_probed(t, &ids[to], &ids[via], who, now);
			break;
		case 8:
			if (d)
				told(d);
			break;
		case 9:
			if (who > 250)
				route_table_drop(t, &ids[to]);
			break;
		case 10:
			now += (uint64_t)who * 1000;
			break;
		case 11:
			(void)route_table_sweep(t, now);
			break;
		case 12: {
			struct route_way *w = route_table_way(t, &ids[to], &ids[via], &ids[8 + (op >> 4 & 7)], now);

			BUG_ON(w && (node_id_eq(&w->via, &ids[via]) || node_id_eq(&w->via, &ids[8 + (op >> 4 & 7)])));
			BUG_ON(w && (w->expires_ms <= now || !route_table_feasible(d, w)));
			break;
		}
		default:
			if (d)
				d->dirty = d->moved = false;
			break;
		}
		judge(t, 5, 3);
	}
	route_table_free(t);
}

/* --- a mesh -------------------------------------------------------------------------------------------------- */
struct advert {
	unsigned to;
	uint64_t gen;
	uint8_t hops;
};

static struct {
	struct route_table *t;
	uint64_t gen;              /* of its own record */
	/* What the cache of records knows: the newest generation and when it came. */
	uint64_t seen[NODES], first_ms[NODES];
} node[NODES];

static struct {
	bool up;
	unsigned n;
	struct advert q[QUEUE];    /* on their way, the oldest first */
} wire[NODES][NODES];

static void post(unsigned from, unsigned to, const struct advert *a)
{
	if (wire[from][to].up && wire[from][to].n < QUEUE)
		wire[from][to].q[wire[from][to].n++] = *a;
}

static void deliver(unsigned from, unsigned me)
{
	struct advert a = wire[from][me].q[0];
	struct route_said s = { .ed = eds[a.to], .gen = a.gen, .life_ms = LIFE, .record = bytes_of(eds[a.to], 8),
				.hops = a.hops, .cost_ms = ROUTE_COST_NONE, .via = &ids[from] };

	if (!wire[from][me].n)
		return;
	wire[from][me].n--;
	memmove(wire[from][me].q, wire[from][me].q + 1, wire[from][me].n * sizeof a);
	if (a.to == me || a.gen < node[me].seen[a.to])
		return;
	if (a.gen > node[me].seen[a.to]) {
		node[me].seen[a.to] = a.gen;
		node[me].first_ms[a.to] = now;
	}
	if (node[me].first_ms[a.to] + LIFE > now)
		(void)!route_table_take(node[me].t, &s, now);
}

struct flushing {
	unsigned me, only;         /* only: NODES = all */
};

static bool flush_one(void *ctx, struct route_dest *d)
{
	struct flushing *f = ctx;
	struct advert a = { 0 };

	if ((f->only == NODES && !d->dirty) || !route_table_advert(d, now, &a.hops)) {
		if (f->only == NODES)
			d->dirty = false;
		return true;
	}
	while (!node_id_eq(&d->id, &ids[a.to]))
		a.to++;
	a.gen = a.hops == ROUTE_HOPS_GONE ? d->newest_gen : d->ways[d->best].gen;
	for (unsigned i = 0; i < NODES; i++)
		if (i != f->me && i != a.to && (f->only == NODES || f->only == i) &&
		    !(d->best >= 0 && node_id_eq(&d->ways[d->best].via, &ids[i])))
			post(f->me, i, &a);
	if (f->only == NODES)
		route_table_advertised(d, now);
	else
		route_table_told(d, now);
	return true;
}

static void flush(unsigned me, unsigned only)
{
	struct flushing f = { me, only };
	struct advert own = { .to = me, .gen = node[me].gen };

	route_table_each(node[me].t, flush_one, &f);
	for (unsigned i = 0; i < NODES; i++)
		if (i != me && (only == i || only == NODES))
			post(me, i, &own);
}

static void link_set(unsigned a, unsigned b, bool up)
{
	if (a == b || wire[a][b].up == up)
		return;
	wire[a][b].up = wire[b][a].up = up;
	wire[a][b].n = wire[b][a].n = 0;
	if (up) {
		flush(a, b);
		flush(b, a);
	} else {
		route_table_neighbour_gone(node[a].t, &ids[b], now);
		route_table_neighbour_gone(node[b].t, &ids[a], now);
	}
}

static unsigned of(const struct node_id *id)
{
	unsigned i = 0;

	while (!node_id_eq(id, &ids[i]))
		i++;
	return i;
}

/* From anywhere to anybody: never twice at one node. */
static void no_loops(void)
{
	for (unsigned to = 0; to < NODES; to++)
		for (unsigned from = 0; from < NODES; from++) {
			unsigned here = from, steps = 0;

			while (here != to) {
				struct route_way *w = route_table_way(node[here].t, &ids[to], NULL, NULL, now);

				if (!w)
					break;
				BUG_ON(++steps > NODES);
				here = of(&w->via);
			}
		}
}

static void mesh(void)
{
	memset(wire, 0, sizeof wire);
	for (unsigned i = 0; i < NODES; i++) {
		memset(&node[i], 0, sizeof node[i]);
		node[i].t = table(NODES, NODES);
		node[i].gen = 1;
	}
	while (at < end) {
		uint8_t op = next(), x = next();
		unsigned a = x % NODES, b = x / NODES % NODES;

		switch (op & 15) {
		case 0:
		case 1:
			link_set(a, b, true);
			break;
		case 2:
			link_set(a, b, false);
			break;
		case 3:
			node[a].gen++;
			flush(a, NODES);
			break;
		case 4:
		case 5:
			flush(a, NODES);
			break;
		case 6:
			now += (uint64_t)x * 300;
			break;
		case 7:
			(void)route_table_sweep(node[a].t, now);
			break;
		case 8:
			(void)route_table_unanswered(node[a].t, &ids[b], &ids[op >> 4 & 7], now);
			break;
		case 9:
			route_table_probed(node[a].t, &ids[b], &ids[op >> 4 & 7], x, now);
			break;
		case 10:
			if (wire[a][b].n)
				wire[a][b].n--; /* the newest is lost */
			break;
		default:
			deliver(a, b);
			break;
		}
		no_loops();
	}
	for (unsigned i = 0; i < NODES; i++)
		route_table_free(node[i].t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > 4096)
		return 0;
	begin();
	at = data + 1;
	end = data + size;
	now = 1000;
	if (data[0] & 1)
		mesh();
	else
		alone();
	return 0;
}
