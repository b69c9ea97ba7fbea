/* link.c -- one WebSocket connection: queue, reassembly, keep-alive, close. */
#include "transports/ws/ws_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

#define SLOT_BITS 20 /* id = generation << 20 | slot: never reused, found without a hash */
#define SLOT_MAX  (1u << SLOT_BITS)
#define WRITE_BUDGET                                                                               \
	(256u << 10) /* per writable callback, so that one link does not starve others */

static void link_timer(void *ctx);

struct ws_link *ws_link_find(struct ws *w, link_id id)
{
	uint32_t slot = id & (SLOT_MAX - 1);

	return slot < w->n_slots && w->slots[slot] && w->slots[slot]->id == id ? w->slots[slot]
									       : NULL;
}

static bool slots_grow(struct ws *w)
{
	uint32_t n = w->n_slots ? w->n_slots * 2 : 64;
	struct ws_link **slots;
	uint32_t *free_slots;

	if (n > SLOT_MAX)
		return false;
	slots = realloc(w->slots, n * sizeof(struct ws_link *));
	if (!slots)
		return false;
	w->slots = slots;
	free_slots = realloc(w->free_slots, n * sizeof *free_slots);
	if (!free_slots)
		return false;
	w->free_slots = free_slots;
	for (uint32_t i = n; i-- > w->n_slots;) {
		w->slots[i] = NULL;
		w->free_slots[w->n_free++] = i;
	}
	w->n_slots = n;
	return true;
}

struct ws_link *ws_link_new(struct ws *w, bool dialled)
{
	struct ws_link *l;
	struct half *h;

	if (!w->n_free && !slots_grow(w))
		return NULL;
	l = calloc(1, sizeof *l);
	h = calloc(1, sizeof *h);
	if (!l || !h) {
		free(l);
		free(h);
		return NULL;
	}
	l->ws = w;
	l->id = ++w->generation << SLOT_BITS | w->free_slots[--w->n_free];
	l->dialled = dialled;
	l->state = dialled ? WS_RESOLVING : WS_KNOCKING;
	timer_init(&l->timer, link_timer, l);
	l->half = h;
	h->link = l;
	h->fd = -1;
	h->next = w->halves;
	if (h->next)
		h->next->prev = h;
	w->halves = h;
	w->slots[l->id & (SLOT_MAX - 1)] = l;
	w->n_links++;
	if (dialled)
		w->n_dials++;
	else
		w->n_inbound_half++;
	return l;
}

void ws_link_free_half(struct ws_link *l)
{
	struct half *h = l->half;
	struct ws *w = l->ws;

	if (!h)
		return;
	if (h->prev)
		h->prev->next = h->next;
	else
		w->halves = h->next;
	if (h->next)
		h->next->prev = h->prev;
	if (l->dialled)
		w->n_dials--;
	else
		w->n_inbound_half--;
	free(h);
	l->half = NULL;
}

static void queue_drop(struct ws_link *l)
{
	struct outgoing *o;

	while ((o = l->tx)) {
		l->tx = o->next;
		free(o);
	}
	l->tx_last = NULL;
	l->queued = l->held;
}

/* Whether the end of an inbound connection that never opened counts against its source. */
static bool is_strange(const struct ws_link *l, enum link_end why)
{
	return !l->dialled && !l->opened && !l->ws->stopping &&
	       (why == LINK_END_TIMEOUT || why == LINK_END_PROTOCOL || why == LINK_END_TLS);
}

void ws_link_end(struct ws_link *l, enum link_end why, const char *detail)
{
	struct ws *w = l->ws;
	uint32_t slot = l->id & (SLOT_MAX - 1);
	bool strange = is_strange(l, why), told = l->dialled || l->opened;
	struct transport_sink sink = w->sink;
	char text[WS_DETAIL_MAX], source[64] = "";
	link_id id = l->id;

	snprintf(text, sizeof text, "%s", detail);
	if (strange)
		memcpy(source, l->half->source, sizeof source);
	timer_stop(&w->env, &l->timer);
	ws_knock_close(l);
	if (l->state == WS_KNOCKING && l->half->fd >= 0)
		close(l->half->fd);
	w->stats.ends[why]++;
	if (l->opened) {
		w->stats.links--;
		w->stats.closed++;
	}
	ws_link_free_half(l);
	queue_drop(l);
	free(l->rx);
	w->slots[slot] = NULL;
	w->free_slots[w->n_free++] = slot;
	w->n_links--;
	free(l);
	if (w->stopping && w->n_links == 0)
		timer_in(&w->env, &w->stop_timer, 0);
	if (told && sink.closed)
		sink.closed(sink.ctx, id, why, text);
	else if (strange && sink.strange)
		sink.strange(sink.ctx, source, why);
}

/*
 * lws waits politely while it holds unsent bytes, even on this path; on a socket that is shut
 * down the next write fails and it gives up. Its own timers start only with the next event of the
 * loop (it does not re-arm its uv timer here), hence the wake-up.
 */
void ws_wsi_drop(struct lws *wsi)
{
	struct lws_context *context = lws_get_context(wsi);
	int fd = lws_get_socket_fd(wsi);

	if (lws_partial_buffered(wsi)) {
		if (fd >= 0)
			shutdown(fd, SHUT_RDWR);
		lws_callback_on_writable(wsi);
	}
	lws_set_timeout(wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
	lws_cancel_service(context);
}

static void keepalive_arm(struct ws_link *l)
{
	uint32_t every = l->ws->c.keepalive_ms, wait = every < WS_PONG_MS ? every : WS_PONG_MS;

	/* After an answered ping the rest of the interval; at least the time of an answer. */
	timer_in(&l->ws->env, &l->timer, l->ping_out || every - wait < wait ? wait : every - wait);
}

void ws_link_opened(struct ws_link *l, struct lws *wsi)
{
	struct ws *w = l->ws;
	struct half *h = l->half;
	struct link_info info = {
		.id = l->id,
		.dialled = l->dialled,
		.pair = h->pair,
		.kind = "ws",
		.secure = l->tls,
	};

	memcpy(info.address, h->address, sizeof info.address);
	memcpy(info.source, h->source, sizeof info.source);
	if (l->dialled && l->tls)
		info.has_tls_key = ws_dial_peer_key(wsi, info.tls_key);
	if (l->tls)
		info.has_binding = tls_binding(lws_get_ssl(wsi), info.binding);
	l->pair = h->pair;
	ws_link_free_half(l);
	l->wsi = wsi;
	l->state = WS_OPEN;
	l->opened = true;
	w->stats.opened++;
	w->stats.links++;
	timer_in(&w->env, &l->timer, w->c.keepalive_ms);
	if (w->stopping)
		ws_link_shut(l, LWS_CLOSE_STATUS_GOINGAWAY, LINK_END_LOCAL);
	if (w->sink.opened)
		w->sink.opened(w->sink.ctx, &info);
}

static void ask_writable(struct ws_link *l)
{
	if (l->asked_writable || !l->wsi)
		return;
	l->asked_writable = true;
	lws_callback_on_writable(l->wsi);
}

static size_t unit_max(const struct ws_link *l)
{
	return l->pair ? LINK_PAIR_UNIT_MAX : l->ws->t.unit_max;
}

enum err ws_link_send(struct ws_link *l, struct bytes unit, bool text)
{
	struct ws *w = l->ws;
	struct outgoing *o;

	if (l->state != WS_OPEN || l->peer_closed)
		return ERR_CLOSED;
	if (unit.n == 0 || unit.n > unit_max(l))
		return ERR_LIMIT;
	if (l->queued && l->queued + unit.n > w->t.high_water) {
		l->want_writable = true;
		return ERR_FULL;
	}
	o = malloc(sizeof *o + unit.n);
	if (!o)
		return ERR_NOMEM;
	o->next = NULL;
	o->n = (uint32_t)unit.n;
	o->text = text;
	memcpy(o->data, unit.p, unit.n);
	if (l->tx)
		l->tx_last->next = o;
	else
		l->tx = o;
	l->tx_last = o;
	l->queued += unit.n;
	w->stats.units_out++;
	w->stats.bytes_out += unit.n;
	ask_writable(l);
	return ERR_OK;
}

/* lws sends what it can and keeps the rest of that message; then it must be left alone until it
 * calls again. */
int ws_link_write(struct ws_link *l, struct lws *wsi)
{
	size_t budget = WRITE_BUDGET;
	uint8_t ping[LWS_PRE + 4] = {0};

	l->asked_writable = false;
	if (l->peer_closed)
		return 0;
	if (!lws_partial_buffered(wsi)) {
		l->queued -= l->held;
		l->held = 0;
	}
	if (l->ping_due && !lws_partial_buffered(wsi)) {
		l->ping_due = false;
		/* Not empty: lws does not report the answer to an empty one. */
		memcpy(ping + LWS_PRE, "ping", 4);
		if (lws_write(wsi, ping + LWS_PRE, 4, LWS_WRITE_PING) < 0)
			return -1;
	}
	while (l->tx && budget && !lws_partial_buffered(wsi)) {
		struct outgoing *o = l->tx;
		int n = lws_write(wsi, o->data, o->n, o->text ? LWS_WRITE_TEXT : LWS_WRITE_BINARY);

		if (n < 0)
			return -1;
		budget = budget > o->n ? budget - o->n : 0;
		if (lws_partial_buffered(wsi))
			l->held = o->n;
		else
			l->queued -= o->n;
		l->tx = o->next;
		if (!l->tx)
			l->tx_last = NULL;
		free(o);
	}
	if (l->tx || l->held || l->ping_due) {
		ask_writable(l);
	} else if (l->state == WS_CLOSING && !l->close_sent) {
		timer_in(&l->ws->env, &l->timer, 0); /* goodbye() */
	}
	if (l->want_writable && l->state == WS_OPEN && l->queued < l->ws->t.low_water) {
		l->want_writable = false;
		if (l->ws->sink.writable)
			l->ws->sink.writable(l->ws->sink.ctx, l->id);
	}
	return 0;
}

static bool rx_append(struct ws_link *l, struct bytes piece)
{
	if (l->rx_cap - l->rx_n < piece.n) {
		/* Doubles with what has arrived, not with what a header promised. */
		size_t cap = l->rx_cap ? l->rx_cap : 2048;
		uint8_t *p;

		while (cap - l->rx_n < piece.n)
			cap *= 2;
		p = realloc(l->rx, cap);
		if (!p)
			return false;
		l->rx = p;
		l->rx_cap = (uint32_t)cap;
	}
	memcpy(l->rx + l->rx_n, piece.p, piece.n);
	l->rx_n += (uint32_t)piece.n;
	return true;
}

int ws_link_received(struct ws_link *l, struct lws *wsi, struct bytes piece)
{
	struct ws *w = l->ws;
	size_t max = unit_max(l), left = lws_remaining_packet_payload(wsi);
	bool text = !lws_frame_is_binary(wsi);
	uint8_t *whole = NULL;
	struct bytes unit = piece;

	l->heard = true;
	if (l->state != WS_OPEN)
		return 0;
	if (piece.n > max - l->rx_n || left > max - l->rx_n - piece.n) {
		ws_link_shut(l, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, LINK_END_PROTOCOL);
		return 0;
	}
	if (l->rx_n || !lws_is_final_fragment(wsi)) {
		if (piece.n && !rx_append(l, piece)) {
			ws_link_shut(l, LWS_CLOSE_STATUS_UNEXPECTED_CONDITION, LINK_END_IO);
			return 0;
		}
		if (!lws_is_final_fragment(wsi))
			return 0;
		whole = l->rx;
		unit = bytes_of(whole, l->rx_n);
		l->rx = NULL;
		l->rx_n = l->rx_cap = 0;
	}
	if (unit.n) {
		w->stats.units_in++;
		w->stats.bytes_in += unit.n;
		if (w->sink.unit)
			w->sink.unit(w->sink.ctx, l->id, unit, text);
	}
	free(whole);
	return 0;
}

void ws_link_pause(struct ws_link *l, bool paused)
{
	if (l->state != WS_OPEN || l->paused == paused)
		return;
	l->paused = paused;
	lws_rx_flow_control(l->wsi, !paused);
	if (!paused) {
		l->heard = true; /* the far side may have answered while we did not read */
		/* What TLS already took from the socket raises no event: any service finds it. */
		lws_callback_on_writable(l->wsi);
	}
}

void ws_link_shut(struct ws_link *l, uint16_t code, enum link_end why)
{
	if (l->state != WS_OPEN)
		return;
	if (l->paused) {
		l->paused = false;
		lws_rx_flow_control(l->wsi, 1); /* the answer to our close has to be read */
	}
	if (why != LINK_END_LOCAL)
		queue_drop(l);
	l->state = WS_CLOSING;
	l->close_code = code;
	l->why = (uint8_t)why;
	free(l->rx);
	l->rx = NULL;
	l->rx_n = l->rx_cap = 0;
	l->close_by_ms = ws_now(l->ws) + (why == LINK_END_LOCAL ? WS_CLOSE_MS : WS_CLOSE_FAULT_MS);
	timer_at(&l->ws->env, &l->timer, l->close_by_ms);
	ask_writable(l);
}

/*
 * The close handshake. Not by returning -1 to lws: Debian's build has its debug checks in, one of
 * which closes a wsi a second time, and the second close does not wait for the first to say
 * goodbye. Nothing may touch the link afterwards: lws may report the end from inside.
 */
static void goodbye(struct ws_link *l)
{
	struct lws *wsi = l->wsi;
	struct lws_context *context = lws_get_context(wsi);

	l->close_sent = true;
	timer_at(&l->ws->env, &l->timer, l->close_by_ms);
	lws_close_reason(wsi, (enum lws_close_status)l->close_code, NULL, 0);
	lws_set_timeout(wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
	lws_cancel_service(context);
}

void ws_link_gone(struct ws_link *l, struct lws *wsi)
{
	char detail[64] = "";

	l->wsi = NULL;
	switch ((enum ws_state)l->state) {
	case WS_CLOSING:
		ws_link_end(l, l->why, l->why == LINK_END_TIMEOUT ? "no answer to a ping" : "");
		return;
	case WS_OPEN:
		if (l->peer_closed) {
			snprintf(detail, sizeof detail, "closed by the far side, code %u",
				 l->peer_code);
			ws_link_end(l, LINK_END_REMOTE, detail);
		} else if (wsi && lws_get_close_length(wsi) > 0) {
			/* lws found fault with a frame and closed on its own. */
			ws_link_end(l, LINK_END_PROTOCOL, "not a valid frame");
		} else {
			ws_link_end(l, LINK_END_IO, "connection lost");
		}
		return;
	case WS_UPGRADING:
		if (l->half->timed_out)
			ws_link_end(l, LINK_END_TIMEOUT, "upgrade");
		else if (l->tls && !l->half->tls_done)
			ws_link_end(l, LINK_END_TLS, "TLS handshake");
		else
			ws_link_end(l, LINK_END_PROTOCOL,
				    l->half->request_seen ? "not an upgrade" : "not a request");
		return;
	case WS_KNOCKING:
	case WS_RESOLVING:
	case WS_DIALLING:
		break;
	}
	BUG_ON(l->state == WS_KNOCKING);
}

static void keepalive(struct ws_link *l)
{
	if (l->ping_out && !l->heard && !l->paused) {
		log_debug("ws-keepalive link=%llu", (unsigned long long)l->id);
		ws_link_shut(l, LWS_CLOSE_STATUS_UNEXPECTED_CONDITION, LINK_END_TIMEOUT);
		timer_in(&l->ws->env, &l->timer,
			 WS_CLOSE_MS / 5); /* nobody is there to say goodbye to */
		return;
	}
	if (l->ping_out || l->paused) {
		l->ping_out = false;
	} else {
		l->ping_out = l->ping_due = true;
		l->heard = false;
		ask_writable(l);
	}
	keepalive_arm(l);
}

static void link_timer(void *ctx)
{
	struct ws_link *l = ctx;
	struct lws *wsi = l->wsi;

	switch ((enum ws_state)l->state) {
	case WS_KNOCKING:
	case WS_UPGRADING:
		ws_accept_timeout(l);
		return;
	case WS_RESOLVING:
	case WS_DIALLING:
		ws_dial_timeout(l);
		return;
	case WS_OPEN:
		keepalive(l);
		return;
	case WS_CLOSING:
		if (!l->close_sent && !l->peer_closed && !l->tx && !l->held &&
		    ws_now(l->ws) < l->close_by_ms) {
			goodbye(l);
			return;
		}
		l->wsi = NULL;
		ws_wsi_drop(wsi);
		ws_link_end(l, l->why,
			    l->why == LINK_END_LOCAL ? "the far side did not answer the close"
						     : "");
		return;
	}
}
