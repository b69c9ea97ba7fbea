/* route_choice.c -- which way is used, what neighbours are told of it, and what is measured (im2.md 11.5). */
#include "daemon/route_table.h"
#include "daemon/route_table_internal.h"

/* --- choosing --------------------------------------------------------------------------------------------- */
bool route_table_feasible(const struct route_dest *d, const struct route_way *w)
{
	return w->gen > d->adv_gen || (w->gen == d->adv_gen && w->hops < d->adv_hops);
}

bool route_penalised(const struct route_way *w, uint64_t now)
{
	return w->penalty_until_ms > now;
}

static double price(const struct route_way *w)
{
	return w->rtt_ms >= 0 ? w->rtt_ms : w->cost_ms;
}

/* Newest generation, fewest hops, then what was measured or claimed. */
bool route_better(const struct route_way *a, const struct route_way *b, uint64_t now)
{
	if (route_penalised(a, now) != route_penalised(b, now))
		return !route_penalised(a, now);
	if (a->gen != b->gen)
		return a->gen > b->gen;
	if (a->hops != b->hops)
		return a->hops < b->hops;
	return price(a) < price(b);
}

static int choose(const struct route_dest *d, const struct node_id *except, const struct node_id *not_this, uint64_t now)
{
	int best = -1;

	for (int i = 0; i < d->ways_n; i++) {
		const struct route_way *w = &d->ways[i];

		if (w->expires_ms <= now || !route_table_feasible(d, w) || (except && node_id_eq(&w->via, except)) ||
		    (not_this && node_id_eq(&w->via, not_this)))
			continue;
		if (best < 0 || route_better(w, &d->ways[best], now))
			best = i;
	}
	return best;
}

struct route_in_use route_in_use(const struct route_dest *d)
{
	struct route_in_use u = { .is = d->best >= 0 };

	if (u.is) {
		u.via = d->ways[d->best].via;
		u.gen = d->ways[d->best].gen;
		u.hops = d->ways[d->best].hops;
	}
	return u;
}

int route_way_of(const struct route_dest *d, const struct node_id *via)
{
	for (int i = 0; i < d->ways_n; i++)
		if (node_id_eq(&d->ways[i].via, via))
			return i;
	return -1;
}

/* Of two that are alike the one in use stays, unless the other is clearly quicker. */
static int settled(const struct route_dest *d, const struct route_in_use *was, int best, uint64_t now)
{
	int at = was->is && best >= 0 ? route_way_of(d, &was->via) : -1;
	const struct route_way *w = &d->ways[at < 0 ? 0 : at], *b = &d->ways[best < 0 ? 0 : best];

	if (at < 0 || at == best || w->expires_ms <= now || !route_table_feasible(d, w) ||
	    route_penalised(w, now) != route_penalised(b, now) || w->gen != b->gen || w->hops != b->hops)
		return best;
	return price(b) < price(w) * 3 / 4 ? best : at;
}

void route_rechoose(struct route_table *t, struct route_dest *d, struct route_in_use was, uint64_t now)
{
	struct route_in_use is;
	bool other;

	d->best = (int8_t)settled(d, &was, choose(d, NULL, NULL, now), now);
	is = route_in_use(d);
	other = is.is != was.is || (is.is && !node_id_eq(&is.via, &was.via));
	if (!other && is.gen == was.gen && is.hops == was.hops)
		return;
	d->dirty = true;
	t->c.changed(t->c.ctx, d, other);
}

struct route_way *route_table_way(struct route_table *t, const struct node_id *to, const struct node_id *except,
				  const struct node_id *not_this, uint64_t now)
{
	struct route_dest *d = route_table_find(t, to);
	int at = d ? choose(d, except, not_this, now) : -1;

	return at < 0 ? NULL : &d->ways[at];
}

const struct route_way *route_table_barred(const struct route_dest *d, uint64_t now)
{
	const struct route_way *best = NULL;

	for (int i = 0; i < d->ways_n; i++)
		if (d->ways[i].expires_ms > now && (!best || route_better(&d->ways[i], best, now)))
			best = &d->ways[i];
	return best;
}

/* --- telling -------------------------------------------------------------------------------------------------- */
bool route_table_advert(const struct route_dest *d, uint64_t now, uint8_t *hops)
{
	const struct route_way *w = d->best >= 0 ? &d->ways[d->best] : NULL;

	/* Who never heard of a way needs not hear of its end. */
	if (!w && !d->adv_gen)
		return false;
	*hops = w ? (uint8_t)(w->hops + 1) : ROUTE_HOPS_GONE;
	return !w || (*hops <= ROUTE_HOPS_MAX && !route_penalised(w, now));
}

void route_table_told(struct route_dest *d, uint64_t now)
{
	uint8_t hops;

	if (!route_table_advert(d, now, &hops) || hops == ROUTE_HOPS_GONE)
		return;
	/* Of one generation the fewest count: who heard it may use us until the next. */
	if (d->ways[d->best].gen > d->adv_gen || hops < d->adv_hops) {
		d->adv_gen = d->ways[d->best].gen;
		d->adv_hops = hops;
	}
}

void route_table_advertised(struct route_dest *d, uint64_t now)
{
	d->dirty = false;
	route_table_told(d, now);
}

/* --- what is measured ------------------------------------------------------------------------------------------ */
static struct route_dest *measured(struct route_table *t, const struct node_id *to, const struct node_id *via, struct route_way **w)
{
	struct route_dest *d = route_table_find(t, to);
	int at = d ? route_way_of(d, via) : -1;

	*w = at < 0 ? NULL : &d->ways[at];
	return at < 0 ? NULL : d;
}

static void answered(struct route_table *t, struct route_dest *d, struct route_way *w, double rtt_ms, uint64_t now)
{
	struct route_in_use was = route_in_use(d);

	w->rtt_ms = w->rtt_ms < 0 ? rtt_ms : w->rtt_ms * 7 / 8 + rtt_ms / 8;
	if (!route_penalised(w, now))
		return;
	w->penalty_until_ms = 0;
	route_rechoose(t, d, was, now);
	d->dirty = true; /* it was advertised to nobody */
	t->c.changed(t->c.ctx, d, false);
}

void route_table_delivered(struct route_table *t, const struct node_id *to, const struct node_id *via, double rtt_ms,
			   uint64_t now)
{
	struct route_way *w;
	struct route_dest *d = measured(t, to, via, &w);

	if (!d)
		return;
	w->delivered++;
	w->in_a_row = 0;
	w->penalty_ms = ROUTE_PENALTY_MS;
	answered(t, d, w, rtt_ms, now);
}

void route_table_probed(struct route_table *t, const struct node_id *to, const struct node_id *via, double rtt_ms,
			uint64_t now)
{
	struct route_way *w;
	struct route_dest *d = measured(t, to, via, &w);

	if (!d)
		return;
	/* It may let probes pass and nothing else. */
	w->in_a_row = w->penalty_ms > ROUTE_PENALTY_MS ? ROUTE_UNANSWERED - 1 : 0;
	answered(t, d, w, rtt_ms, now);
}

bool route_table_unanswered(struct route_table *t, const struct node_id *to, const struct node_id *via, uint64_t now)
{
	struct route_way *w;
	struct route_dest *d = measured(t, to, via, &w);
	struct route_in_use was;

	if (!d)
		return false;
	w->unanswered++;
	if (route_penalised(w, now) || ++w->in_a_row < ROUTE_UNANSWERED)
		return false;
	was = route_in_use(d);
	w->in_a_row = 0;
	w->penalty_until_ms = now + w->penalty_ms;
	w->penalty_ms = w->penalty_ms * 2 < ROUTE_PENALTY_MAX_MS ? w->penalty_ms * 2 : ROUTE_PENALTY_MAX_MS;
	route_rechoose(t, d, was, now);
	return true;
}
