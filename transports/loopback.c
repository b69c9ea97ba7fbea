/*
 * One `struct half` is one end of a link: it belongs to an endpoint, knows its peer half while both
 * live, and has an inbox of what is under way to it. What happens to a half is either in the inbox
 * (units, and the marker that the far side closed: in order, held back by pause) or a flag (opened,
 * writable, ended: never held back). Each half has a timer for either kind.
 *
 * A callback may close, stop or kill anything, so it is the last statement of a timer function, or
 * net->running tells afterwards whether the half is still there.
 */
#include "transports/loopback.h"

#include <stdlib.h>

#include "base/limit.h"
#include "base/map.h"

#define LOOP_UNIT_MAX	1048576
#define LOOP_HIGH_WATER (4u << 20)
#define LOOP_LOW_WATER	(1u << 20)
#define LOOP_FLUSH_MS	5000  /* what close() waits for a far side that does not read */
#define LOOP_DIAL_MS	10000 /* a dial that fate lost */
#define LOOP_LINKS_MAX	65536

struct flight {
	struct flight *next;
	uint64_t at_ms, seq;
	size_t counted; /* bytes of the sender's queue that this holds */
	bool text, marker;
	size_t n;
	uint8_t data[];
};

enum half_state { HALF_DIALLING, HALF_OPEN, HALF_CLOSING };

struct endpoint;

struct half {
	struct endpoint *owner;
	struct half *prev, *next; /* in the owner's list */
	struct half *peer;	  /* NULL: gone, or not yet there */
	struct link_info info;
	enum half_state state;
	struct timer rx, events, flush;
	struct flight *inbox, *inbox_last; /* last: valid while inbox is not empty */
	uint64_t last_at_ms;		   /* what goes to the peer in order arrives no earlier */
	size_t queued;			   /* sent by this half, not yet taken by the peer */
	bool paused, want_writable;
	bool ev_dial, ev_opened, ev_writable, ev_end;
	bool was_opened;
	enum link_end why;
	const char *detail;
};

struct endpoint {
	struct transport t;
	struct loopnet *net;
	struct endpoint *prev, *next;
	struct transport_sink sink;
	char address[LINK_ADDRESS_MAX + 1];
	struct half *halves;
	struct map *by_id;
	struct transport_stats stats;
	struct timer stop_timer;
	bool stopping, dead;
	void (*done)(void *);
	void *done_ctx;
};

struct loopnet {
	struct env *env;
	struct endpoint *endpoints;
	uint64_t last_id, last_seq;
	struct half *running; /* whose callbacks are being called; NULL when that half went away */
	struct loop_fate (*fate)(void *, const char *, const char *, struct bytes);
	void *fate_ctx;
	void (*tap)(void *, struct bytes);
	void *tap_ctx;
};

static void rx_run(void *ctx);
static void events_run(void *ctx);
static void flush_run(void *ctx);

static struct endpoint *endpoint_of(struct transport *t)
{
	return (struct endpoint *)t;
}

static struct half *half_of(struct endpoint *e, link_id id)
{
	struct half **v = e->dead ? NULL : map_get(e->by_id, bytes_of(&id, sizeof id));

	return v ? *v : NULL;
}

static struct half *half_new(struct endpoint *e, bool dialled, const char *address)
{
	link_id id = e->net->last_id + 1;
	struct half *h = calloc(1, sizeof *h);
	void *slot;
	bool created;

	if (!h)
		return NULL;
	if (map_put(e->by_id, bytes_of(&id, sizeof id), 0, &slot, &created) != ERR_OK) {
		free(h);
		return NULL;
	}
	e->net->last_id = id;
	*(struct half **)slot = h;
	h->owner = e;
	h->info.id = id;
	h->info.dialled = dialled;
	h->info.kind = "loopback";
	memcpy(h->info.address, address, strlen(address) + 1);
	source_of_address(address, h->info.source);
	timer_init(&h->rx, rx_run, h);
	timer_init(&h->events, events_run, h);
	timer_init(&h->flush, flush_run, h);
	h->next = e->halves;
	if (h->next)
		h->next->prev = h;
	e->halves = h;
	return h;
}

/* Gives the sender its bytes back; it may want to hear that there is room again. */
static void credit(struct half *sender, struct flight *f)
{
	if (!sender || !f->counted)
		return;
	sender->queued -= f->counted;
	f->counted = 0;
	if (!sender->want_writable || sender->state != HALF_OPEN ||
	    sender->queued >= sender->owner->t.low_water)
		return;
	sender->want_writable = false;
	sender->ev_writable = true;
	if (!timer_armed(&sender->events))
		timer_in(sender->owner->net->env, &sender->events, 0);
}

static void half_free(struct half *h)
{
	struct endpoint *e = h->owner;
	struct env *env = e->net->env;
	struct flight *f;

	timer_stop(env, &h->rx);
	timer_stop(env, &h->events);
	timer_stop(env, &h->flush);
	if (e->net->running == h)
		e->net->running = NULL;
	while ((f = h->inbox)) {
		h->inbox = f->next;
		credit(h->peer, f);
		free(f);
	}
	if (h->peer) {
		/* What the peer has under way to itself in its inbox counted against us. */
		for (f = h->peer->inbox; f; f = f->next)
			f->counted = 0;
		h->peer->peer = NULL;
	}
	if (h->prev)
		h->prev->next = h->next;
	else
		e->halves = h->next;
	if (h->next)
		h->next->prev = h->prev;
	map_del(e->by_id, bytes_of(&h->info.id, sizeof h->info.id));
	free(h);
	if (e->stopping && !e->dead && !e->halves)
		timer_in(env, &e->stop_timer, 0);
}

static void half_end(struct half *h, enum link_end why, const char *detail, uint64_t delay_ms)
{
	if (h->ev_end)
		return;
	h->ev_end = true;
	h->why = why;
	h->detail = detail;
	timer_in(h->owner->net->env, &h->events, delay_ms);
}

static void inbox_arm(struct half *h)
{
	struct env *env = h->owner->net->env;

	/* A half that is closing reads on, to let the far side's queue drain; nobody hears of it.
	 */
	if (h->inbox && !h->ev_end && (!h->paused || h->state == HALF_CLOSING))
		timer_at(env, &h->rx, h->inbox->at_ms);
	else
		timer_stop(env, &h->rx);
}

static void inbox_put(struct half *to, struct flight *f)
{
	struct flight **at = &to->inbox;

	if (*at && to->inbox_last->at_ms <= f->at_ms)
		at = &to->inbox_last->next;
	while (*at && (*at)->at_ms <= f->at_ms)
		at = &(*at)->next;
	f->next = *at;
	*at = f;
	if (!f->next)
		to->inbox_last = f;
	inbox_arm(to);
}

static struct flight *flight_new(struct loopnet *net, struct bytes unit, bool text, uint64_t at_ms)
{
	struct flight *f = malloc(sizeof *f + unit.n);

	if (!f)
		return NULL;
	*f = (struct flight){.at_ms = at_ms, .seq = ++net->last_seq, .text = text, .n = unit.n};
	if (unit.n)
		memcpy(f->data, unit.p, unit.n);
	return f;
}

static struct loop_fate fate_of(struct loopnet *n, const char *from, const char *to,
				struct bytes unit)
{
	if (!n->fate)
		return (struct loop_fate){.copies = 1};
	return n->fate(n->fate_ctx, from, to, unit);
}

static void opened_tell(struct half *h)
{
	struct endpoint *e = h->owner;
	struct link_info info = h->info;

	h->ev_opened = false;
	h->was_opened = true;
	e->stats.opened++;
	e->stats.links++;
	if (e->sink.opened)
		e->sink.opened(e->sink.ctx, &info);
}

static void end_tell(struct half *h)
{
	struct endpoint *e = h->owner;
	struct transport_sink sink = e->sink;
	link_id id = h->info.id;
	enum link_end why = h->why;
	const char *detail = h->detail;
	bool told = h->was_opened || h->info.dialled; /* else nobody knows this id */

	e->stats.closed++;
	e->stats.ends[why]++;
	if (h->was_opened)
		e->stats.links--;
	half_free(h);
	if (sink.closed && told)
		sink.closed(sink.ctx, id, why, detail);
}

/* The far side closed and everything it sent before was taken. */
static void marker_taken(struct half *h)
{
	if (h->peer && h->peer->state == HALF_CLOSING)
		half_end(h->peer, LINK_END_LOCAL, "", 0);
	if (h->state == HALF_CLOSING)
		half_end(h, LINK_END_LOCAL, "", 0);
	else
		half_end(h, LINK_END_REMOTE, "closed by the far side", 0);
}

static bool due(const struct half *h, uint64_t now_ms, uint64_t seq_max)
{
	const struct flight *f = h->inbox;

	return f && f->at_ms <= now_ms && f->seq <= seq_max && !h->ev_end &&
	       (!h->paused || h->state == HALF_CLOSING);
}

/* Takes all that is due, but nothing that was sent meanwhile: that is for the next run. */
static void rx_run(void *ctx)
{
	struct half *h = ctx;
	struct endpoint *e = h->owner;
	struct loopnet *n = e->net;
	uint64_t now_ms = env_now(n->env), seq_max = n->last_seq;

	n->running = h;
	if (h->ev_opened && h->state == HALF_OPEN)
		opened_tell(h); /* before the first unit */
	while (n->running == h && due(h, now_ms, seq_max)) {
		struct flight *f = h->inbox;

		h->inbox = f->next;
		credit(h->peer, f);
		if (f->marker) {
			marker_taken(h);
		} else if (h->state == HALF_OPEN) {
			e->stats.units_in++;
			e->stats.bytes_in += f->n;
			if (e->sink.unit)
				e->sink.unit(e->sink.ctx, h->info.id, bytes_of(f->data, f->n),
					     f->text);
		}
		free(f);
	}
	if (n->running == h)
		inbox_arm(h);
	n->running = NULL;
}

/* The dial arrives: somebody is there and wants it, or not. */
static void dial_arrive(struct half *a)
{
	struct endpoint *from = a->owner, *to = from->net->endpoints;
	struct env *env = from->net->env;
	struct half *b;
	char source[64];

	a->ev_dial = false;
	while (to && (to->dead || to->stopping || strcmp(to->address, a->info.address) != 0))
		to = to->next;
	if (!to) {
		half_end(a, LINK_END_REFUSED, "nobody listens there", 0);
		return;
	}
	source_of_address(from->address, source);
	from->net->running = a;
	if (to->sink.accepting && !to->sink.accepting(to->sink.ctx, source)) {
		to->stats.refused++;
		if (from->net->running == a)
			half_end(a, LINK_END_REFUSED, "the far side does not accept", 0);
		from->net->running = NULL;
		return;
	}
	if (from->net->running != a)
		return; /* the callback killed us */
	from->net->running = NULL;
	if (a->ev_end || to->dead || to->stopping) {
		half_end(a, LINK_END_REFUSED, "the far side went away", 0);
		return;
	}
	b = half_new(to, false, from->address);
	if (!b) {
		to->stats.refused++;
		half_end(a, LINK_END_REFUSED, "the far side is full", 0);
		return;
	}
	to->stats.accepted++;
	a->peer = b;
	b->peer = a;
	a->state = b->state = HALF_OPEN;
	a->ev_opened = b->ev_opened = true;
	timer_in(env, &b->events, 0);
	timer_in(env, &a->events, 0);
}

/* One event a run. */
static void events_run(void *ctx)
{
	struct half *h = ctx;
	struct endpoint *e = h->owner;

	if (h->ev_end) {
		end_tell(h);
	} else if (h->ev_dial) {
		dial_arrive(h);
	} else if (h->ev_opened) {
		if (h->ev_writable)
			timer_in(e->net->env, &h->events, 0);
		opened_tell(h);
	} else if (h->ev_writable) {
		h->ev_writable = false;
		if (e->sink.writable && h->state == HALF_OPEN)
			e->sink.writable(e->sink.ctx, h->info.id);
	}
}

static void stopped_run(void *ctx)
{
	struct endpoint *e = ctx;

	if (e->done)
		e->done(e->done_ctx);
}

static enum err loopback_dial(struct transport *t, const char *address, link_id *out)
{
	struct endpoint *e = endpoint_of(t);
	size_t n = strlen(address);
	struct loop_fate fate;
	struct half *h;

	if (e->dead || e->stopping)
		return ERR_CLOSED;
	if (n == 0 || n > LINK_ADDRESS_MAX)
		return ERR_USAGE;
	h = half_new(e, true, address);
	if (!h)
		return ERR_FULL;
	e->stats.dialled++;
	fate = fate_of(e->net, e->address, address, bytes_of(NULL, 0));
	if (fate.cut) {
		half_end(h, LINK_END_REFUSED, "refused", fate.delay_ms);
	} else if (fate.copies == 0) {
		half_end(h, LINK_END_TIMEOUT, "no answer", LOOP_DIAL_MS);
	} else {
		h->ev_dial = true;
		timer_in(e->net->env, &h->events, fate.delay_ms);
	}
	*out = h->info.id;
	return ERR_OK;
}

static enum err loopback_send(struct transport *t, link_id id, struct bytes unit, bool text)
{
	struct endpoint *e = endpoint_of(t);
	struct half *h = half_of(e, id);
	struct loopnet *n = e->net;
	struct loop_fate fate;
	uint64_t at_ms;

	if (!h || h->state != HALF_OPEN || h->ev_end)
		return ERR_CLOSED;
	if (unit.n == 0 || unit.n > t->unit_max)
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
		half_end(h->peer, LINK_END_IO, "the link broke", fate.delay_ms);
		half_end(h, LINK_END_IO, "the link broke", fate.delay_ms);
		return ERR_OK;
	}
	at_ms = env_now(n->env) + fate.delay_ms;
	if (!fate.reorder) {
		if (at_ms < h->last_at_ms)
			at_ms = h->last_at_ms;
		h->last_at_ms = at_ms;
	}
	for (unsigned i = 0; i < fate.copies; i++) {
		struct flight *f = flight_new(n, unit, text, at_ms);

		if (!f)
			return i ? ERR_OK : ERR_NOMEM;
		if (i == 0) {
			f->counted = unit.n;
			h->queued += unit.n;
		}
		inbox_put(h->peer, f);
	}
	return ERR_OK;
}

static void half_close(struct half *h)
{
	struct env *env = h->owner->net->env;
	struct flight *f;

	if (h->ev_end || h->state == HALF_CLOSING)
		return;
	if (h->state == HALF_DIALLING || !h->peer) {
		half_end(h, LINK_END_LOCAL, "", 0);
		return;
	}
	h->state = HALF_CLOSING;
	inbox_arm(h);
	f = flight_new(h->owner->net, bytes_of(NULL, 0), false, h->last_at_ms);
	if (f && f->at_ms < env_now(env))
		f->at_ms = env_now(env);
	if (f) {
		f->marker = true;
		inbox_put(h->peer, f);
	}
	timer_in(env, &h->flush, LOOP_FLUSH_MS);
}

static void flush_run(void *ctx)
{
	half_end(ctx, LINK_END_LOCAL, "the far side did not read in time", 0);
}

static void loopback_close(struct transport *t, link_id id)
{
	struct half *h = half_of(endpoint_of(t), id);

	if (h)
		half_close(h);
}

static void loopback_pause(struct transport *t, link_id id, bool paused)
{
	struct half *h = half_of(endpoint_of(t), id);

	if (!h || h->paused == paused)
		return;
	h->paused = paused;
	inbox_arm(h);
}

static size_t loopback_queued(struct transport *t, link_id id)
{
	struct half *h = half_of(endpoint_of(t), id);

	return h ? h->queued : 0;
}

static void loopback_stats(struct transport *t, struct transport_stats *out)
{
	*out = endpoint_of(t)->stats;
}

static void loopback_stop(struct transport *t, void (*done)(void *), void *ctx)
{
	struct endpoint *e = endpoint_of(t);

	if (e->stopping)
		return;
	e->stopping = true;
	e->done = done;
	e->done_ctx = ctx;
	for (struct half *h = e->halves; h; h = h->next)
		half_close(h);
	if (!e->halves)
		timer_in(e->net->env, &e->stop_timer, 0);
}

void loopback_kill(struct transport *t)
{
	struct endpoint *e = endpoint_of(t);

	if (e->dead)
		return;
	e->dead = true;
	timer_stop(e->net->env, &e->stop_timer);
	while (e->halves) {
		if (e->halves->peer)
			half_end(e->halves->peer, LINK_END_IO, "the far side vanished", 0);
		half_free(e->halves);
	}
	e->stats.links = 0;
}

static void loopback_free(struct transport *t)
{
	struct endpoint *e = endpoint_of(t);

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
		.value_size = sizeof(struct half *),
		.policy = MAP_REFUSE,
	};
	struct endpoint *e;
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

void loopnet_set_tap(struct loopnet *n, void (*tap)(void *, struct bytes), void *ctx)
{
	n->tap = tap;
	n->tap_ctx = ctx;
}
