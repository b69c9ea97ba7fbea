/*
 * live.c -- streams: events and the change feed over a WebSocket.
 *
 * What a slow page does not take is not kept for it: its queue is bounded, and what found no room is told
 * as a gap (feed) or as lost (events). One that takes nothing at all for STALL_MS is closed.
 */
#include "web/web_internal.h"

#include <stdlib.h>

#include "base/log.h"

#define START_MS 5000
#define STALL_MS 20000
#define GOODBYE_MS 2000
#define ALIVE_MS 15000
#define MESSAGE_MAX 8192 /* of what a page says */
#define WRITE_BUDGET 131072

/* RFC 6455: 4000 and above are ours. */
#define CLOSE_BAD 4400
#define CLOSE_OVER 4401
#define CLOSE_NO_START 4408
#define CLOSE_SLOW 4429
#define CLOSE_GOING 1001

struct outgoing {
	struct outgoing *next;
	size_t n;
	uint8_t room[LWS_PRE]; /* lws writes the frame header here */
	uint8_t data[];
};

struct stream {
	struct conn *c;
	void *live; /* the host's; NULL before the start */
	struct buf in;
	struct outgoing *first, *last;
	size_t queued;
};

/* --- the end ------------------------------------------------------------------------------------------------ */
void live_close(struct conn *c, uint16_t code, const char *why)
{
	if (c->close_code)
		return;
	c->close_code = code;
	snprintf(c->close_why, sizeof c->close_why, "%s", why);
	web_conn_phase(c, CONN_LIVE, GOODBYE_MS);
	lws_callback_on_writable(c->wsi);
}

/* As in transports/ws/link.c: not by returning -1 to lws, whose second close would not wait for the first to say why.
 * Nothing may touch the connection afterwards: lws may report the end from inside. */
static void goodbye(struct conn *c)
{
	struct lws *wsi = c->wsi;
	struct lws_context *context = c->w->lws;

	c->close_said = true;
	web_conn_phase(c, CONN_LIVE, GOODBYE_MS);
	lws_close_reason(wsi, (enum lws_close_status)c->close_code, (unsigned char *)c->close_why, strlen(c->close_why));
	lws_set_timeout(wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
	lws_cancel_service(context);
}

bool live_late(struct conn *c)
{
	if (c->close_code && !c->close_said && !lws_partial_buffered(c->wsi)) {
		goodbye(c);
		return true;
	}
	if (c->close_code)
		return false;
	if (!c->stream->live) {
		live_close(c, CLOSE_NO_START, "no start came");
		return true;
	}
	c->w->n.streams_slow++;
	log_warn("http-stream-slow from=%s", c->address);
	live_close(c, CLOSE_SLOW, "too slow");
	return true;
}

void live_end(struct conn *c)
{
	const struct web_host *h = &c->w->c.host;
	struct stream *s = c->stream;
	struct outgoing *o, *next;

	if (!s)
		return;
	c->stream = NULL;
	if (s->live)
		h->live_close(h->ctx, s->live);
	for (o = s->first; o; o = next) {
		next = o->next;
		free(o);
	}
	buf_fini(&s->in);
	free(s);
	c->w->n_streams--;
}

void live_check_callers(struct web *w)
{
	for (size_t i = 0; i < CONNS_MAX; i++) {
		struct conn *c = w->conns[i];

		if (c && c->stream && !caller_lives(c))
			live_close(c, CLOSE_OVER, c->token_id[0] ? "the token is not admitted any more" : "the session is over");
	}
}

/* --- out ------------------------------------------------------------------------------------------------------ */
static bool push(struct stream *s, const char *before, struct bytes json, const char *after, size_t room)
{
	size_t a = strlen(before), b = strlen(after), n = a + json.n + b;
	struct outgoing *o;

	/* An empty queue takes anything: there are limits on what one can be. */
	if (s->c->close_code || (s->queued && s->queued + n > room))
		return false;
	o = malloc(sizeof *o + n);
	if (!o)
		return false;
	o->next = NULL;
	o->n = n;
	memcpy(o->data, before, a);
	memcpy(o->data + a, json.p, json.n);
	memcpy(o->data + a + json.n, after, b);
	if (s->last)
		s->last->next = o;
	else
		s->first = o;
	s->last = o;
	if (!s->queued)
		web_conn_phase(s->c, CONN_LIVE, STALL_MS);
	s->queued += n;
	lws_callback_on_writable(s->c->wsi);
	return true;
}

static bool put_event(void *ctx, struct bytes json, bool is_volatile)
{
	return push(ctx, "{\"type\":\"event\",\"event\":", json, "}", is_volatile ? STREAM_VOLATILE : STREAM_QUEUE);
}

static bool put_delta(void *ctx, struct bytes json)
{
	return push(ctx, "{\"type\":\"feed\",\"feed\":", json, "}", STREAM_QUEUE);
}

static bool put_object(struct stream *s, json_t *v)
{
	struct buf b;
	bool ok;

	buf_init(&b, 65536);
	ok = v && json_write(&b, v, JSON_INSERTION) == ERR_OK && push(s, "", buf_bytes(&b), "", STREAM_QUEUE);
	buf_fini(&b);
	json_decref(v);
	return ok;
}

int live_writable(struct conn *c)
{
	const struct web_host *h = &c->w->c.host;
	struct stream *s = c->stream;
	size_t budget = WRITE_BUDGET;

	if (!s)
		return -1;
	if (c->close_code) {
		if (!c->close_said && !lws_partial_buffered(c->wsi))
			web_conn_phase(c, CONN_LIVE, 1); /* live_late() */
		return 0;
	}
	while (s->first && budget && !lws_partial_buffered(c->wsi)) {
		struct outgoing *o = s->first;

		if (lws_write(c->wsi, o->data, o->n, LWS_WRITE_TEXT) < 0)
			return -1;
		budget = budget > o->n ? budget - o->n : 0;
		s->first = o->next;
		if (!s->first)
			s->last = NULL;
		s->queued -= o->n;
		free(o);
		web_conn_phase(c, CONN_LIVE, STALL_MS);
	}
	if (s->first || lws_partial_buffered(c->wsi)) {
		lws_callback_on_writable(c->wsi);
		return 0;
	}
	if (s->live) {
		web_conn_phase(c, CONN_LIVE, 0);
		h->live_room(h->ctx, s->live);
	}
	return 0;
}

/* Every ALIVE_MS: a page knows by it that nothing happened, rather than that nothing is said. */
void live_alive(void *ctx)
{
	struct web *w = ctx;

	live_check_callers(w);
	for (size_t i = 0; i < CONNS_MAX; i++) {
		struct conn *c = w->conns[i];
		struct login *x;

		if (!c || !c->stream || !c->stream->live || c->close_code)
			continue;
		x = c->session_id[0] ? logins_by_id(&w->logins, bytes_str(c->session_id)) : NULL;
		if (x)
			login_used(&w->logins, x);
		put_object(c->stream, json_pack("{s:s, s:I}", "type", "alive", "at_ms", (json_int_t)env_wall(w->c.env)));
	}
	logins_touch(w);
	timer_in(w->c.env, &w->alive, ALIVE_MS);
}

/* --- in ---------------------------------------------------------------------------------------------------------- */
void live_begin(struct conn *c)
{
	struct stream *s = calloc(1, sizeof *s);

	if (!s) {
		c->close_code = CLOSE_GOING;
		lws_callback_on_writable(c->wsi);
		return;
	}
	s->c = c;
	buf_init(&s->in, MESSAGE_MAX);
	c->stream = s;
	c->w->n_streams++;
	c->w->n.streams++;
	web_conn_phase(c, CONN_LIVE, START_MS);
}

static bool events_fit(const json_t *v)
{
	const json_t *one;
	size_t i;

	if (!v)
		return true;
	if (!json_is_array(v) || json_array_size(v) > 32)
		return false;
	json_array_foreach ((json_t *)v, i, one)
		if (!json_is_string(one) || json_string_length(one) < 1 || json_string_length(one) > 40)
			return false;
	return true;
}

/* Where the feed goes on. False: that is not said in the right way. */
static bool feed_wanted(const json_t *v, struct web_live *l)
{
	int64_t since = 0;

	l->feed = v && !json_is_false(v);
	if (!v || json_is_boolean(v))
		return true;
	l->boot = json_str(v, "boot");
	if (!l->boot || strlen(l->boot) > 32 || json_get_int(v, "since", 0, INT64_MAX, &since) != ERR_OK)
		return false;
	l->since = (uint64_t)since;
	return true;
}

static void start(struct conn *c, const json_t *v)
{
	struct web *w = c->w;
	const struct web_host *h = &w->c.host;
	struct login *x = c->session_id[0] ? logins_by_id(&w->logins, bytes_str(c->session_id)) : NULL;
	const char *csrf = json_str(v, "csrf");
	struct stream *s = c->stream;
	struct web_live l = { .events = json_object_get(v, "events"), .event = put_event, .delta = put_delta, .stream = s };
	json_t *started = NULL, *first;
	struct fault f = { 0 };

	if (c->session_id[0] && (!x || !csrf || !login_csrf_is(x, bytes_str(csrf)))) {
		w->n.refused_csrf++;
		live_close(c, CLOSE_OVER, "no session, or its csrf is another one");
		return;
	}
	if (s->live || !events_fit(l.events) || !feed_wanted(json_object_get(v, "feed"), &l)) {
		live_close(c, CLOSE_BAD, "not understood");
		return;
	}
	if (x)
		login_used(&w->logins, x);
	s->live = h->live_open(h->ctx, &l, &started, &f);
	if (!s->live) {
		live_close(c, CLOSE_GOING, "no memory");
		return;
	}
	first = json_pack("{s:s, s:s, s:I}", "type", "started", "role", role_word(c->caller.role), "at_ms",
			  (json_int_t)env_wall(w->c.env));
	if (started)
		json_object_update(first, started);
	json_decref(started);
	if (!put_object(s, first))
		live_close(c, CLOSE_GOING, "no memory");
}

static void message(struct conn *c, struct bytes text)
{
	const struct web_host *h = &c->w->c.host;
	struct stream *s = c->stream;
	const json_t *events;
	const char *type;
	json_t *v = NULL;

	if (json_load_strict(text, MESSAGE_MAX, &v) != ERR_OK || !json_is_object(v)) {
		json_decref(v);
		live_close(c, CLOSE_BAD, "not one JSON object");
		return;
	}
	type = json_str(v, "type");
	events = json_object_get(v, "events");
	if (type && strcmp(type, "start") == 0)
		start(c, v);
	else if (!s->live || !type || strcmp(type, "events") != 0 || !events_fit(events) ||
		 h->live_events(h->ctx, s->live, events) != ERR_OK)
		live_close(c, CLOSE_BAD, "not understood");
	json_decref(v);
}

int live_received(struct conn *c, struct bytes piece, bool last, bool text)
{
	struct stream *s = c->stream;

	if (!s || c->close_code)
		return 0;
	buf_add(&s->in, piece);
	if (!text || s->in.err != ERR_OK) {
		live_close(c, CLOSE_BAD, text ? "too long" : "not text");
		return 0;
	}
	if (!last)
		return 0;
	message(c, buf_bytes(&s->in));
	buf_reset(&s->in);
	buf_trim(&s->in, 0);
	return 0;
}
