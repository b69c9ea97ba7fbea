/* ws.c -- the transport: construction, the operations, the one clock, and the end. */
#include "transports/ws/ws_internal.h"

#include <stdlib.h>

#include "base/secret.h"

/* lws_context_destroy() needs two turns to have its handles closed; see context.c. */
#define DRAIN_TURNS 8

static struct ws *ws_of(struct transport *t)
{
	return (struct ws *)t;
}

/* --- the clock --- */

static void clock_rings(uv_timer_t *clock)
{
	struct ws *w = clock->data;

	timers_run(&w->env);
}

static void clock_set(void *ctx)
{
	struct ws *w = ctx;
	uint64_t next = timers_next(&w->env), now_ms;

	if (uv_is_closing((uv_handle_t *)&w->clock))
		return;
	if (next == UINT64_MAX) {
		uv_timer_stop(&w->clock);
		return;
	}
	now_ms = ws_now(w);
	uv_timer_start(&w->clock, clock_rings, next > now_ms ? next - now_ms : 0, 0);
}

static uint64_t clock_now(void *ctx)
{
	return ws_now(ctx);
}

/* --- the end --- */

static void last_handle_closed(uv_handle_t *handle)
{
	struct ws *w = handle->data;

	w->handles--;
	if (w->handles || w->done_called)
		return;
	w->done_called = true;
	if (w->done)
		w->done(w->done_ctx);
}

/* Nothing of lws is left after some turns of the loop, nor of ours. */
static void drained(uv_idle_t *drain)
{
	struct ws *w = drain->data;

	if (++w->drain_turns < DRAIN_TURNS || w->handles > 2)
		return;
	uv_idle_stop(drain);
	ws_context_finish(w);
	timers_fini(&w->env);
	uv_close((uv_handle_t *)&w->clock, last_handle_closed);
	uv_close((uv_handle_t *)&w->drain, last_handle_closed);
}

static void stop_continue(void *ctx)
{
	struct ws *w = ctx;

	/* A name that is being resolved cannot be recalled from libuv's pool. */
	if (w->n_links || w->resolving || w->context_gone)
		return;
	w->context_gone = true;
	ws_context_close(w);
	uv_idle_start(&w->drain, drained);
}

static void unwant(struct ws_link *l)
{
	l->half->unwanted = true;
	timer_in(&l->ws->env, &l->timer, 0);
}

static void ws_close_link(struct ws_link *l)
{
	if (l->half)
		unwant(l);
	else
		ws_link_shut(l, LWS_CLOSE_STATUS_NORMAL, LINK_END_LOCAL);
}

static void ws_stop(struct transport *t, void (*done)(void *), void *ctx)
{
	struct ws *w = ws_of(t);

	if (w->stopping)
		return;
	w->stopping = true;
	w->done = done;
	w->done_ctx = ctx;
	ws_accept_close(w);
	for (uint32_t i = 0; i < w->n_slots; i++)
		if (w->slots[i])
			ws_close_link(w->slots[i]);
	if (w->n_links == 0)
		timer_in(&w->env, &w->stop_timer, 0);
}

static void ws_destroy(struct ws *w)
{
	X509_free(w->cert);
	sk_X509_pop_free(w->chain, X509_free);
	EVP_PKEY_free(w->key);
	free(w->slots);
	free(w->free_slots);
	free((char *)w->c.bind);
	free((char *)w->c.pinned_ca);
	free(w);
}

static void ws_free(struct transport *t)
{
	struct ws *w = ws_of(t);

	BUG_ON(!w->done_called);
	ws_destroy(w);
}

/* --- the operations --- */

static enum err ws_dial(struct transport *t, const char *address, link_id *out)
{
	return ws_dial_start(ws_of(t), address, out);
}

static enum err ws_send(struct transport *t, link_id id, struct bytes unit, bool text)
{
	struct ws_link *l = ws_link_find(ws_of(t), id);

	return l ? ws_link_send(l, unit, text) : ERR_CLOSED;
}

static void ws_close(struct transport *t, link_id id)
{
	struct ws_link *l = ws_link_find(ws_of(t), id);

	if (l && (l->dialled || l->opened))
		ws_close_link(l);
}

static void ws_pause(struct transport *t, link_id id, bool paused)
{
	struct ws_link *l = ws_link_find(ws_of(t), id);

	if (l)
		ws_link_pause(l, paused);
}

static size_t ws_queued(struct transport *t, link_id id)
{
	struct ws_link *l = ws_link_find(ws_of(t), id);

	return l ? l->queued : 0;
}

static void ws_stats(struct transport *t, struct transport_stats *out)
{
	struct ws *w = ws_of(t);

	*out = w->stats;
	out->half_open = w->n_inbound_half;
}

uint16_t ws_port(const struct transport *t)
{
	return ((const struct ws *)t)->port;
}

static const struct transport_ops ws_ops = {
	.dial = ws_dial,
	.send = ws_send,
	.close = ws_close,
	.pause = ws_pause,
	.queued = ws_queued,
	.stats = ws_stats,
	.stop = ws_stop,
	.free = ws_free,
};

/* --- the beginning --- */

static void set_default(uint32_t *value, uint32_t to)
{
	if (*value == 0)
		*value = to;
}

static enum err config_take(struct ws *w, const struct ws_config *c)
{
	w->c = *c;
	w->c.bind = c->bind ? strdup(c->bind) : NULL;
	w->c.pinned_ca = c->pinned_ca ? strdup(c->pinned_ca) : NULL;
	w->c.cert_path = w->c.key_path = NULL; /* read once, below */
	set_default(&w->c.max_links, 4096);
	set_default(&w->c.max_half_open, 64);
	set_default(&w->c.max_half_open_per_source, 16);
	set_default(&w->c.first_byte_ms, 1000);
	set_default(&w->c.upgrade_ms, 5000);
	set_default(&w->c.dial_ms, 10000);
	set_default(&w->c.keepalive_ms, 20000);
	return (c->bind && !w->c.bind) || (c->pinned_ca && !w->c.pinned_ca) ? ERR_NOMEM : ERR_OK;
}

/* The start failed: nothing has been promised to anybody yet, so the loop may turn here. */
static void ws_abandon(struct ws *w)
{
	ws_accept_close(w);
	if (w->lws) {
		ws_context_close(w);
		for (int i = 0; i < DRAIN_TURNS; i++)
			uv_run(w->c.loop, UV_RUN_NOWAIT);
		ws_context_finish(w);
	}
	SSL_CTX_free(w->dial_tls);
	timers_fini(&w->env);
	w->done_called = true; /* nobody waits for it */
	uv_close((uv_handle_t *)&w->clock, last_handle_closed);
	uv_close((uv_handle_t *)&w->drain, last_handle_closed);
	while (w->handles)
		uv_run(w->c.loop, UV_RUN_NOWAIT);
	ws_destroy(w);
}

enum err ws_new(const struct ws_config *c, const struct transport_sink *sink,
		struct transport **out, struct fault *f)
{
	struct ws *w = calloc(1, sizeof *w);
	enum err e;

	if (!w)
		return fault_set(f, ERR_NOMEM, EXIT_GENERIC, "out of memory");
	w->t = (struct transport){
		.ops = &ws_ops,
		.kind = "ws",
		.unit_max = WS_UNIT_MAX,
		.high_water = WS_HIGH_WATER,
		.low_water = WS_LOW_WATER,
	};
	w->sink = *sink;
	w->listen_fd = w->spare_fd = -1;
	e = config_take(w, c);
	if (e == ERR_OK && c->bind && !c->cert_path && !c->allow_plaintext)
		e = fault_set(f, ERR_USAGE, EXIT_CONFIG, "to listen takes a certificate");
	if (e == ERR_OK && c->cert_path)
		e = tls_load(c->cert_path, c->key_path, &w->cert, &w->chain, &w->key, f);
	if (e != ERR_OK) {
		ws_destroy(w);
		return e;
	}
	w->env = (struct env){.ctx = w, .now_ms = clock_now, .rearm = clock_set};
	timer_init(&w->stop_timer, stop_continue, w);
	uv_timer_init(w->c.loop, &w->clock);
	uv_idle_init(w->c.loop, &w->drain);
	w->clock.data = w->drain.data = w;
	w->handles = 2;
	if (c->bind)
		e = ws_accept_open(w, f);
	if (e == ERR_OK)
		e = ws_context_open(w, f);
	if (e != ERR_OK) {
		ws_abandon(w);
		return e;
	}
	*out = &w->t;
	return ERR_OK;
}
