#include "daemon/http.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "daemon/commands_internal.h"
#include "daemon/feed.h"
#include "daemon/metrics.h"
#include "daemon/node.h"

#define FAILED_FOR_MS 60000 /* a disk that refused counts as refusing for so long */
#define FREE_LEAST (4u << 20)

struct http {
	struct command_ctx *cx;
	struct web *web;
	struct metrics metrics;
	char *names_text;
	const char *names[WEB_NAMES_MAX];
	uint64_t failures, failed_ms; /* of the store, as seen last */
};

/* --- commands ------------------------------------------------------------------------------------------------ */
struct web_call {
	struct request q;
	void (*done)(void *ctx, struct bytes result, const struct fault *f);
	void *ctx;
	bool *gone; /* while it runs: set when it was answered at once */
};

static bool find(void *ctx, struct bytes name, struct web_method *out, struct fault *f)
{
	const struct command *m = command_find(name);
	char text[WEB_METHOD_MAX + 1], safe[96];

	if (!m) {
		snprintf(text, sizeof text, "%.*s", (int)name.n, (const char *)name.p);
		fault_set(f, ERR_UNSUPPORTED, EXIT_GENERIC, "there is no method '%s'", text_safe(bytes_str(text), safe, sizeof safe));
		command_suggest(text, f);
		return false;
	}
	out->of = m;
	out->role = !(m->flags & CMD_ONLINE) ? ROLE_NONE :
		    m->flags & CMD_READ	     ? ROLE_READ :
		    m->flags & CMD_SEND	     ? ROLE_SEND :
		    m->flags & CMD_ADMIN     ? ROLE_ADMIN :
					       ROLE_NONE;
	return true;
}

static enum query_kind param(void *ctx, const struct web_method *wm, const char *name)
{
	const struct command *m = wm->of;

	for (size_t i = 0; i < COMMAND_PARAMS && m->params[i].name; i++) {
		if (strcmp(m->params[i].name, name) != 0)
			continue;
		switch (m->params[i].kind) {
		case PARAM_TEXT:
			return QUERY_TEXT;
		case PARAM_INT:
			return QUERY_INT;
		case PARAM_BOOL:
			return QUERY_BOOL;
		case PARAM_WORDS:
		case PARAM_LIST:
			return QUERY_LIST;
		case PARAM_NONE:
			break;
		}
	}
	return QUERY_UNKNOWN;
}

static void reply(struct request *q, struct bytes result, const struct fault *f)
{
	struct web_call *c = q->owner;

	if (c->gone)
		*c->gone = true;
	c->done(c->ctx, result, f);
	free(c);
}

static void *run(void *ctx, const struct web_method *wm, const json_t *params,
		 void (*done)(void *done_ctx, struct bytes result, const struct fault *f), void *done_ctx)
{
	struct http *h = ctx;
	struct web_call *w = calloc(1, sizeof *w);
	struct fault f = { 0 };
	struct call c = { .cx = h->cx, .f = &f };
	bool gone = false;
	enum err e;

	if (!w) {
		fault_set(&f, ERR_NOMEM, EXIT_RETRY, "the daemon has no memory for this");
		done(done_ctx, (struct bytes){ 0 }, &f);
		return NULL;
	}
	*w = (struct web_call){ .q = { .owner = w, .reply = reply }, .done = done, .ctx = done_ctx, .gone = &gone };
	ring_init(&w->q.link);
	c.request = &w->q;
	/* What names a file of this machine is for who may read it there. */
	e = json_object_get(params, "file") ? fault_set(&f, ERR_DENIED, EXIT_POLICY, "a file of this machine is named on its command line alone") :
					      command_run(wm->of, &c, params);
	if (e != ERR_OK)
		request_fail(&w->q, &f);
	else if (!c.later)
		request_answer(&w->q, c.result);
	if (gone)
		return NULL;
	w->gone = NULL;
	return w;
}

static void cancel(void *ctx, void *call)
{
	struct web_call *w = call;

	if (w->q.cancel)
		w->q.cancel(&w->q);
	free(w);
}

/* --- streams ---------------------------------------------------------------------------------------------------- */
struct live {
	struct http *h;
	struct web_live l;
	struct subscriber events;
	struct feed_subscriber feed;
};

static bool deliver(void *ctx, struct bytes json, bool is_volatile)
{
	struct live *v = ctx;

	return v->l.event(v->l.stream, json, is_volatile);
}

static bool deliver_change(void *ctx, struct bytes json)
{
	struct live *v = ctx;

	return v->l.delta(v->l.stream, json);
}

/* Prefixes that web has looked at. NULL: none are wanted. */
static void listen_to(struct live *v, const json_t *events)
{
	struct events *hub = v->h->cx->events;
	json_t *one;
	size_t i;

	events_unsubscribe(hub, &v->events);
	v->events.type_count = 0;
	if (!events)
		return;
	json_array_foreach ((json_t *)events, i, one)
		snprintf(v->events.types[v->events.type_count++], EVENT_TYPE_LEN + 1, "%s", json_string_value(one));
	events_subscribe(hub, &v->events);
}

static void *live_open(void *ctx, const struct web_live *l, json_t **started, struct fault *f)
{
	struct live *v = calloc(1, sizeof *v);

	if (!v) {
		fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory for a stream");
		return NULL;
	}
	v->h = ctx;
	v->l = *l;
	v->l.events = NULL;
	ring_init(&v->events.link);
	v->events.deliver = deliver;
	v->events.ctx = v;
	listen_to(v, l->events);
	*started = NULL;
	if (l->feed) {
		struct feed *feed = v->h->cx->feed;
		bool gap;

		v->feed.deliver = deliver_change;
		v->feed.ctx = v;
		feed_subscribe(feed, &v->feed, l->boot, l->since, &gap);
		*started = json_pack("{s:s, s:I, s:b}", "boot", feed_boot(feed), "seq", (json_int_t)feed_seq(feed), "gap", gap);
	}
	return v;
}

static enum err live_events(void *ctx, void *live, const json_t *events)
{
	listen_to(live, events);
	return ERR_OK;
}

static void live_room(void *ctx, void *live)
{
	struct live *v = live;

	events_room(v->h->cx->events, &v->events);
	feed_room(&v->feed);
}

static void live_close(void *ctx, void *live)
{
	struct live *v = live;

	events_unsubscribe(v->h->cx->events, &v->events);
	feed_unsubscribe(&v->feed);
	free(v);
}

/* --- health ----------------------------------------------------------------------------------------------------- */
static bool check(json_t *checks, const char *name, bool ok, const char *why)
{
	if (checks)
		json_array_append_new(checks, json_pack("{s:s, s:b, s:s}", "name", name, "ok", ok, "why", ok ? "" : why));
	return ok;
}

/* What the disk said last, and what it would say. */
static bool store_ready(struct http *h, json_t *checks)
{
	uint64_t now = env_now(h->cx->env);
	struct store_stats st;
	struct statvfs v;
	const char *why = NULL;

	store_stats(h->cx->store, &st);
	if (st.failures != h->failures) {
		h->failures = st.failures;
		h->failed_ms = now;
	}
	if (store_failed(h->cx->store) || (h->failed_ms && now - h->failed_ms < FAILED_FOR_MS))
		why = "the disk refused a write within the last minute";
	else if (access(h->cx->home, W_OK) != 0)
		why = "the home folder is not writable";
	else if (statvfs(h->cx->home, &v) != 0 || (uint64_t)v.f_bavail * v.f_frsize < FREE_LEAST)
		why = "the disk is full";
	return check(checks, "store", !why, why);
}

static bool ready(void *ctx, json_t *checks)
{
	struct http *h = ctx;
	struct target_view target;
	const char *why = "";
	bool ok = store_ready(h, checks);

	ok = check(checks, "trust_store", !pins_read_only(h->cx->pins, &why), "the trust store is read-only: nobody is admitted") && ok;
	/* One that listens, or one that has somewhere to go. */
	ok = check(checks, "transport", h->cx->info.listen[0][0] || node_targets(h->cx->node, &target, 1) || node_online(h->cx->node),
		   "this daemon neither listens nor has anybody to dial") && ok;
	return ok;
}

static void metrics(void *ctx, struct buf *out, bool openmetrics)
{
	struct http *h = ctx;

	metrics_write(&h->metrics, h->cx, h->web, out, openmetrics);
}

static json_t *node(void *ctx)
{
	struct http *h = ctx;
	const struct node_id *id = keyring_id(h->cx->keyring);
	char fp[FINGERPRINT_LEN];

	return json_pack("{s:o, s:s, s:s}", "name", text_or_null(h->cx->name), "id", id->hex, "fingerprint",
			 fingerprint_text(id, fp));
}

static void audit(void *ctx, const char *event, const char *source, const char *key, const char *value)
{
	struct http *h = ctx;

	audit_note(h->cx->audit, event, bytes_str(source), key, value, source[0] ? "from" : NULL, source, NULL);
}

/* --- the door ------------------------------------------------------------------------------------------------------- */
bool http_address(const char *text, char address[static 64], uint16_t *port)
{
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;
	unsigned long v;
	char *end;

	if (!colon || colon[1] < '0' || colon[1] > '9')
		return false;
	v = strtoul(colon + 1, &end, 10);
	if (*end || v > 65535)
		return false;
	if (n > 2 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	}
	if (n == 0 || n >= 64)
		return false;
	memcpy(address, text, n);
	address[n] = 0;
	*port = (uint16_t)v;
	return true;
}

bool http_is_loopback(const char *address)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (inet_pton(AF_INET, address, &v4) == 1)
		return (ntohl(v4.s_addr) >> 24) == 127;
	return inet_pton(AF_INET6, address, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static void opened(struct http *h)
{
	audit_note(h->cx->audit, "HTTP_LISTENING", (struct bytes){ 0 }, "url", web_url(h->web), NULL);
}

void http_start(struct http *h, const char *listen)
{
	uint16_t port = web_port_of_sessions(h->web);
	char address[64] = "127.0.0.1";
	struct fault f = { 0 };

	if (listen ? !http_address(listen, address, &port) : port == 0)
		return;
	if (web_listen(h->web, address, port, &f) == ERR_OK) {
		opened(h);
		return;
	}
	log_warn("http-not-listening what=\"%s\"", f.what);
	/* Whoever listens there now may have been shown what the pages of before send. */
	web_end_sessions(h->web);
}

enum err http_open(struct http *h, struct fault *f)
{
	enum err e;

	if (web_url(h->web)[0])
		return ERR_OK;
	e = web_listen(h->web, "127.0.0.1", WEB_PORT, f);
	if (e == ERR_EXISTS)
		e = web_listen(h->web, "127.0.0.1", 0, f);
	if (e == ERR_OK)
		opened(h);
	return e;
}

/* "a, b" in place. */
static size_t split(struct http *h, const char *names)
{
	size_t n = 0;
	char *save = NULL;

	h->names_text = names ? strdup(names) : NULL;
	for (char *t = h->names_text ? strtok_r(h->names_text, ", ", &save) : NULL; t && n < WEB_NAMES_MAX;
	     t = strtok_r(NULL, ", ", &save))
		h->names[n++] = t;
	return n;
}

enum err http_new(const struct http_config *c, struct http **out, struct fault *f)
{
	struct http *h = calloc(1, sizeof *h);
	struct web_config wc = {
		.loop = c->loop,
		.env = c->commands->env,
		.home = c->commands->home,
		.metrics_open = c->metrics_open,
		.host = { .find = find, .param = param, .run = run, .cancel = cancel, .live_open = live_open,
			  .live_events = live_events, .live_room = live_room, .live_close = live_close, .metrics = metrics,
			  .ready = ready, .node = node, .audit = audit },
	};

	if (!h)
		return fault_set(f, ERR_NOMEM, EXIT_GENERIC, "no memory for the dashboard");
	h->cx = c->commands;
	metrics_open(&h->metrics, c->metrics_per_peer);
	wc.n_names = split(h, c->names);
	wc.names = h->names;
	wc.host.ctx = h;
	*out = h;
	return web_new(&wc, &h->web, f);
}

void http_metrics(struct http *h, struct buf *out, bool openmetrics)
{
	metrics(h, out, openmetrics);
}

struct web *http_web(struct http *h)
{
	return h->web;
}

void http_stop(struct http *h, void (*done)(void *ctx), void *ctx)
{
	if (h->web)
		web_stop(h->web, done, ctx);
	else
		done(ctx);
}

void http_free(struct http *h)
{
	if (!h)
		return;
	web_free(h->web);
	metrics_close(&h->metrics);
	free(h->names_text);
	free(h);
}
