/* loopback_half.c -- one end of a link: its inbox, its events, its end. */
#include "transports/loopback_internal.h"

#include <stdlib.h>

#include "base/limit.h"
#include "base/map.h"

static void rx_run(void *ctx);
static void events_run(void *ctx);
static void flush_run(void *ctx);

struct loop_half *loop_half_new(struct loop_endpoint *e, bool dialled, const char *address)
{
	link_id id = e->net->last_id + 1;
	struct loop_half *h = calloc(1, sizeof *h);
	void *slot;
	bool created;

	if (!h)
		return NULL;
	if (map_put(e->by_id, bytes_of(&id, sizeof id), 0, &slot, &created) != ERR_OK) {
		free(h);
		return NULL;
	}
	e->net->last_id = id;
	*(struct loop_half **)slot = h;
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
static void credit(struct loop_half *sender, struct loop_flight *f)
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

void loop_half_free(struct loop_half *h)
{
	struct loop_endpoint *e = h->owner;
	struct env *env = e->net->env;
	struct loop_flight *f;

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

void loop_half_end(struct loop_half *h, enum link_end why, const char *detail, uint64_t delay_ms)
{
	if (h->ev_end)
		return;
	h->ev_end = true;
	h->why = why;
	h->detail = detail;
	timer_in(h->owner->net->env, &h->events, delay_ms);
}

static void inbox_arm(struct loop_half *h)
{
	struct env *env = h->owner->net->env;

	/* A half that is closing reads on, to let the far side's queue drain; nobody hears of it.
	 */
	if (h->inbox && !h->ev_end && (!h->paused || h->state == HALF_CLOSING))
		timer_at(env, &h->rx, h->inbox->at_ms);
	else
		timer_stop(env, &h->rx);
}

static void inbox_put(struct loop_half *to, struct loop_flight *f)
{
	struct loop_flight **at = &to->inbox;

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

static struct loop_flight *flight_new(struct loopnet *net, struct bytes unit, bool text,
				      uint64_t at_ms)
{
	struct loop_flight *f = malloc(sizeof *f + unit.n);

	if (!f)
		return NULL;
	*f = (struct loop_flight){
		.at_ms = at_ms, .seq = ++net->last_seq, .text = text, .n = unit.n};
	if (unit.n)
		memcpy(f->data, unit.p, unit.n);
	return f;
}

static void opened_tell(struct loop_half *h)
{
	struct loop_endpoint *e = h->owner;
	struct link_info info = h->info;

	h->ev_opened = false;
	h->was_opened = true;
	e->stats.opened++;
	e->stats.links++;
	if (e->sink.opened)
		e->sink.opened(e->sink.ctx, &info);
}

static void end_tell(struct loop_half *h)
{
	struct loop_endpoint *e = h->owner;
	struct transport_sink sink = e->sink;
	link_id id = h->info.id;
	enum link_end why = h->why;
	const char *detail = h->detail;
	bool told = h->was_opened || h->info.dialled; /* else nobody knows this id */

	e->stats.closed++;
	e->stats.ends[why]++;
	if (h->was_opened)
		e->stats.links--;
	loop_half_free(h);
	if (sink.closed && told)
		sink.closed(sink.ctx, id, why, detail);
}

/* The far side closed and everything it sent before was taken. */
static void marker_taken(struct loop_half *h)
{
	if (h->peer && h->peer->state == HALF_CLOSING)
		loop_half_end(h->peer, LINK_END_LOCAL, "", 0);
	if (h->state == HALF_CLOSING)
		loop_half_end(h, LINK_END_LOCAL, "", 0);
	else
		loop_half_end(h, LINK_END_REMOTE, "closed by the far side", 0);
}

static bool due(const struct loop_half *h, uint64_t now_ms, uint64_t seq_max)
{
	const struct loop_flight *f = h->inbox;

	return f && f->at_ms <= now_ms && f->seq <= seq_max && !h->ev_end &&
	       (!h->paused || h->state == HALF_CLOSING);
}

/* Takes all that is due, but nothing that was sent meanwhile: that is for the next run. */
static void rx_run(void *ctx)
{
	struct loop_half *h = ctx;
	struct loop_endpoint *e = h->owner;
	struct loopnet *n = e->net;
	uint64_t now_ms = env_now(n->env), seq_max = n->last_seq;

	n->running = h;
	if (h->ev_opened && h->state == HALF_OPEN)
		opened_tell(h); /* before the first unit */
	while (n->running == h && due(h, now_ms, seq_max)) {
		struct loop_flight *f = h->inbox;

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
static void dial_arrive(struct loop_half *a)
{
	struct loop_endpoint *from = a->owner, *to = from->net->endpoints;
	struct env *env = from->net->env;
	struct loop_half *b;
	char source[64];

	a->ev_dial = false;
	while (to && (to->dead || to->stopping || strcmp(to->address, a->info.address) != 0))
		to = to->next;
	if (!to) {
		loop_half_end(a, LINK_END_REFUSED, "nobody listens there", 0);
		return;
	}
	source_of_address(from->address, source);
	from->net->running = a;
	if (to->sink.accepting && !to->sink.accepting(to->sink.ctx, source)) {
		to->stats.refused++;
		if (from->net->running == a)
			loop_half_end(a, LINK_END_REFUSED, "the far side does not accept", 0);
		from->net->running = NULL;
		return;
	}
	if (from->net->running != a)
		return; /* the callback killed us */
	from->net->running = NULL;
	if (a->ev_end || to->dead || to->stopping) {
		loop_half_end(a, LINK_END_REFUSED, "the far side went away", 0);
		return;
	}
	b = loop_half_new(to, false, from->address);
	if (!b) {
		to->stats.refused++;
		loop_half_end(a, LINK_END_REFUSED, "the far side is full", 0);
		return;
	}
	to->stats.accepted++;
	b->info.pair = a->info.pair;
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
	struct loop_half *h = ctx;
	struct loop_endpoint *e = h->owner;

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

void loop_half_close(struct loop_half *h)
{
	struct env *env = h->owner->net->env;
	struct loop_flight *f;

	if (h->ev_end || h->state == HALF_CLOSING)
		return;
	if (h->state == HALF_DIALLING || !h->peer) {
		loop_half_end(h, LINK_END_LOCAL, "", 0);
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
	loop_half_end(ctx, LINK_END_LOCAL, "the far side did not read in time", 0);
}

void loop_half_pause(struct loop_half *h, bool paused)
{
	if (h->paused == paused)
		return;
	h->paused = paused;
	inbox_arm(h);
}

enum err loop_half_post(struct loop_half *to, struct bytes unit, bool text, uint64_t at_ms,
			size_t counted)
{
	struct loop_flight *f = flight_new(to->owner->net, unit, text, at_ms);

	if (!f)
		return ERR_NOMEM;
	f->counted = counted;
	if (counted)
		to->peer->queued += counted;
	inbox_put(to, f);
	return ERR_OK;
}
