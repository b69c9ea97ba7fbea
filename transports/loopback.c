/* loopback.c -- the medium and its endpoints. */
#include "transports/loopback_internal.h"

#include <stdlib.h>

#include "base/map.h"

static struct loop_endpoint *endpoint_of(struct transport *t)
{
	return (struct loop_endpoint *)t;
}

static struct loop_half *half_of(struct loop_endpoint *e, link_id id)
{
	struct loop_half **v = e->dead ? NULL : map_get(e->by_id, bytes_of(&id, sizeof id));

	return v ? *v : NULL;
}

static struct loop_fate fate_of(struct loopnet *n, const char *from, const char *to,
				struct bytes unit)
{
	if (!n->fate)
		return (struct loop_fate){.copies = 1};
	return n->fate(n->fate_ctx, from, to, unit);
}

static void stopped_run(void *ctx)
{
	struct loop_endpoint *e = ctx;

	if (e->done)
		e->done(e->done_ctx);
}

static enum err loopback_dial(struct transport *t, const char *address, link_id *out)
{
	struct loop_endpoint *e = endpoint_of(t);
	char bare[LINK_ADDRESS_MAX + 1];
	struct loop_fate fate;
	struct loop_half *h;
	bool pair;

	if (e->dead || e->stopping)
		return ERR_CLOSED;
	if (link_address_split(address, bare, &pair) != ERR_OK || !bare[0])
		return ERR_USAGE;
	address = bare;
	h = loop_half_new(e, true, address);
	if (!h)
		return ERR_FULL;
	h->info.pair = pair;
	e->stats.dialled++;
	fate = fate_of(e->net, e->address, address, bytes_of(NULL, 0));
	if (fate.cut) {
		loop_half_end(h, LINK_END_REFUSED, "refused", fate.delay_ms);
	} else if (fate.copies == 0) {
		loop_half_end(h, LINK_END_TIMEOUT, "no answer", LOOP_DIAL_MS);
	} else {
		h->ev_dial = true;
		timer_in(e->net->env, &h->events, fate.delay_ms);
	}
	*out = h->info.id;
	return ERR_OK;
}

static enum err loopback_send(struct transport *t, link_id id, struct bytes unit, bool text)
{
	struct loop_endpoint *e = endpoint_of(t);
	struct loop_half *h = half_of(e, id);
	struct loopnet *n = e->net;
	struct loop_fate fate;
	uint64_t at_ms;

	if (!h || h->state != HALF_OPEN || h->ev_end)
		return ERR_CLOSED;
	if (unit.n == 0 || unit.n > (h->info.pair ? LINK_PAIR_UNIT_MAX : t->unit_max))
		return ERR_LIMIT;
	if (h->queued && h->queued + unit.n > t->high_water) {
		h->want_writable = true;
		return ERR_FULL;
	}
	if (n->tap)
		n->tap(n->tap_ctx, unit);
	e->stats.units_out++;
	e->stats.bytes_out += unit.n;
	if (!h->peer)
		return ERR_OK; /* the far side is gone and we are about to hear it */
	fate = fate_of(n, e->address, h->peer->owner->address, unit);
	if (fate.cut) {
		loop_half_end(h->peer, LINK_END_IO, "the link broke", fate.delay_ms);
		loop_half_end(h, LINK_END_IO, "the link broke", fate.delay_ms);
		return ERR_OK;
	}
	at_ms = env_now(n->env) + fate.delay_ms;
	if (!fate.reorder) {
		if (at_ms < h->last_at_ms)
			at_ms = h->last_at_ms;
		h->last_at_ms = at_ms;
	}
	struct loop_wire wire = {h->peer, at_ms};

	if (n->adversary && n->adversary(n->adversary_ctx, &wire, e->address, h->peer->owner->address, unit, text))
		return ERR_OK;
	for (unsigned i = 0; i < fate.copies; i++) {
		enum err posted = loop_half_post(h->peer, unit, text, at_ms, i ? 0 : unit.n);

		if (posted != ERR_OK)
			return i ? ERR_OK : posted;
	}
	return ERR_OK;
}

static void loopback_close(struct transport *t, link_id id)
{
	struct loop_half *h = half_of(endpoint_of(t), id);

	if (h)
		loop_half_close(h);
}

static void loopback_pause(struct transport *t, link_id id, bool paused)
{
	struct loop_half *h = half_of(endpoint_of(t), id);

	if (h)
		loop_half_pause(h, paused);
}

static size_t loopback_queued(struct transport *t, link_id id)
{
	struct loop_half *h = half_of(endpoint_of(t), id);

	return h ? h->queued : 0;
}

static void loopback_stats(struct transport *t, struct transport_stats *out)
{
	*out = endpoint_of(t)->stats;
}

static void loopback_stop(struct transport *t, void (*done)(void *), void *ctx)
{
	struct loop_endpoint *e = endpoint_of(t);

	if (e->stopping)
		return;
	e->stopping = true;
	e->done = done;
	e->done_ctx = ctx;
	for (struct loop_half *h = e->halves; h; h = h->next)
		loop_half_close(h);
	if (!e->halves)
		timer_in(e->net->env, &e->stop_timer, 0);
}

void loopback_kill(struct transport *t)
{
	struct loop_endpoint *e = endpoint_of(t);

	if (e->dead)
		return;
	e->dead = true;
	timer_stop(e->net->env, &e->stop_timer);
	while (e->halves) {
		if (e->halves->peer)
			loop_half_end(e->halves->peer, LINK_END_IO, "the far side vanished", 0);
		loop_half_free(e->halves);
	}
	e->stats.links = 0;
}

static void loopback_free(struct transport *t)
{
	struct loop_endpoint *e = endpoint_of(t);

	loopback_kill(t);
	timer_stop(e->net->env, &e->stop_timer);
	if (e->prev)
		e->prev->next = e->next;
	else
		e->net->endpoints = e->next;
	if (e->next)
		e->next->prev = e->prev;
	map_free(e->by_id);
	free(e);
}

static const struct transport_ops loopback_ops = {
	.dial = loopback_dial,
	.send = loopback_send,
	.close = loopback_close,
	.pause = loopback_pause,
	.queued = loopback_queued,
	.stats = loopback_stats,
	.stop = loopback_stop,
	.free = loopback_free,
};

enum err loopback_new(struct loopnet *n, const char *address, const struct transport_sink *sink,
		      struct transport **out)
{
	struct map_opts opts = {
		.capacity = LOOP_LINKS_MAX,
		.value_size = sizeof(struct loop_half *),
		.policy = MAP_REFUSE,
	};
	struct loop_endpoint *e;
	size_t len = strlen(address);

	if (len == 0 || len > LINK_ADDRESS_MAX)
		return ERR_USAGE;
	for (e = n->endpoints; e; e = e->next)
		if (!e->dead && strcmp(e->address, address) == 0)
			return ERR_EXISTS;
	e = calloc(1, sizeof *e);
	if (!e)
		return ERR_NOMEM;
	env_random(n->env, opts.hash_key, sizeof opts.hash_key);
	e->by_id = map_new(&opts);
	if (!e->by_id) {
		free(e);
		return ERR_NOMEM;
	}
	e->t = (struct transport){
		.ops = &loopback_ops,
		.kind = "loopback",
		.unit_max = LOOP_UNIT_MAX,
		.high_water = LOOP_HIGH_WATER,
		.low_water = LOOP_LOW_WATER,
	};
	e->net = n;
	e->sink = *sink;
	memcpy(e->address, address, len + 1);
	timer_init(&e->stop_timer, stopped_run, e);
	e->next = n->endpoints;
	if (e->next)
		e->next->prev = e;
	n->endpoints = e;
	*out = &e->t;
	return ERR_OK;
}

struct loopnet *loopnet_new(struct env *env)
{
	struct loopnet *n = calloc(1, sizeof *n);

	if (n)
		n->env = env;
	return n;
}

void loopnet_free(struct loopnet *n)
{
	if (!n)
		return;
	while (n->endpoints)
		loopback_free(&n->endpoints->t);
	free(n);
}

void loopnet_set_fate(struct loopnet *n,
		      struct loop_fate (*fate)(void *, const char *, const char *, struct bytes),
		      void *ctx)
{
	n->fate = fate;
	n->fate_ctx = ctx;
}

void loopnet_set_adversary(struct loopnet *n,
			   bool (*fn)(void *, struct loop_wire *, const char *, const char *, struct bytes, bool),
			   void *ctx)
{
	n->adversary = fn;
	n->adversary_ctx = ctx;
}

enum err loopnet_inject(struct loop_wire *wire, struct bytes unit, bool text)
{
	return unit.n && unit.n <= LOOP_UNIT_MAX ? loop_half_post(wire->to, unit, text, wire->at_ms, 0) : ERR_LIMIT;
}

void loopnet_set_tap(struct loopnet *n, void (*tap)(void *, struct bytes), void *ctx)
{
	n->tap = tap;
	n->tap_ctx = ctx;
}
