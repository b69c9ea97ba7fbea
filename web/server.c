/*
 * server.c -- the libwebsockets context on the caller's loop, its callback, start and end.
 *
 * Taking it down is in two halves, as in transports/ws/context.c: lws_context_destroy() begins to close
 * its handles, the loop turns, the second call frees.
 */
#include "web/web_internal.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

#define DRAIN_TURNS 8
#define FAILURE_SOURCES 1024
#define RX_BUFFER 4096

/* On what lws answers by itself: a request that is none. */
static const struct lws_protocol_vhost_options no_store = { NULL, NULL, "cache-control:", "no-store" };
static const struct lws_protocol_vhost_options no_sniff = { &no_store, NULL, "x-content-type-options:", "nosniff" };
static const struct lws_protocol_vhost_options no_content = { &no_sniff, NULL, "content-security-policy:",
							      "default-src 'none'; frame-ancestors 'none'" };
static const lws_retry_bo_t no_keepalive = { 0 };

static void lws_says(int level, const char *line)
{
	log_debug("lws level=%d text=%s", level, line);
}

/* --- the callback of lws -------------------------------------------------------------------------------------- */
static int may_upgrade(struct conn *c, const char *to)
{
	if (!to || strcasecmp(to, "websocket") != 0)
		return -1; /* never "h2c" */
	web_conn_request(c, true);
	return c->phase == CONN_SEND ? web_conn_refuse_upgrade(c) : 0;
}

static int event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t n)
{
	struct web *w = lws_context_user(lws_get_context(wsi));
	struct conn *c = web_conn_find(w, (uint64_t)(uintptr_t)lws_get_opaque_user_data(wsi));

	/* One that we ended is only there to be closed. */
	if (c && !c->wsi)
		c->wsi = wsi;
	switch (reason) {
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return c ? may_upgrade(c, in) : -1;
	case LWS_CALLBACK_HTTP:
		return c ? web_conn_request(c, false) : -1;
	case LWS_CALLBACK_HTTP_BODY:
		return c ? web_conn_body(c, bytes_of(in, n)) : -1;
	case LWS_CALLBACK_HTTP_BODY_COMPLETION:
		return c ? web_conn_body_end(c) : -1;
	case LWS_CALLBACK_HTTP_WRITEABLE:
		return c ? web_conn_writable(c) : -1;
	case LWS_CALLBACK_ESTABLISHED:
		if (!c)
			return -1;
		live_begin(c);
		return 0;
	case LWS_CALLBACK_RECEIVE:
		return c ? live_received(c, bytes_of(in, n), lws_is_final_fragment(wsi) && !lws_remaining_packet_payload(wsi),
					 !lws_frame_is_binary(wsi)) :
			   -1;
	case LWS_CALLBACK_SERVER_WRITEABLE:
		return c ? live_writable(c) : -1;
	case LWS_CALLBACK_CLOSED:
	case LWS_CALLBACK_WSI_DESTROY:
		if (c)
			web_conn_free(c);
		return 0;
	default:
		return 0;
	}
}

/* --- the beginning ------------------------------------------------------------------------------------------------ */
static enum err context_open(struct web *w, struct fault *f)
{
	struct lws_context_creation_info info = { 0 };
	void *loops[1] = { w->c.loop };

	lws_set_log_level(LLL_ERR | LLL_WARN, lws_says);
	w->protocols[0] = (struct lws_protocols){
		.name = "ironmesh-web",
		.callback = event,
		.rx_buffer_size = RX_BUFFER,
		.tx_packet_size = WRITE_BYTES,
	};
	info.foreign_loops = loops;
	info.protocols = w->protocols;
	info.user = w;
	info.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
		       LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME | LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS;
	info.retry_and_idle_policy = &no_keepalive;
	/* Ours come first: these are for what we no longer know. */
	info.timeout_secs = 60;
	info.keepalive_timeout = 60;
	info.fd_limit_per_thread = CONNS_MAX + 32;
	info.max_http_header_data2 = HEAD_BYTES;
	info.max_http_header_pool2 = CONNS_MAX;
	info.port = CONTEXT_PORT_NO_LISTEN;
	w->lws = lws_create_context(&info);
	if (!w->lws)
		return fault_set(f, ERR_NOMEM, EXIT_GENERIC,
				 "libwebsockets does not start (is libwebsockets-evlib-uv installed?)");
	info.vhost_name = "ironmesh-web";
	info.headers = &no_content;
	w->vhost = lws_create_vhost(w->lws, &info);
	if (!w->vhost)
		return fault_set(f, ERR_NOMEM, EXIT_GENERIC, "libwebsockets refuses its configuration");
	return ERR_OK;
}

static enum err home_path(const struct web *w, const char *name, char out[static 4096], struct fault *f)
{
	if (path_join(out, 4096, w->c.home, name) == ERR_OK)
		return ERR_OK;
	return fault_set(f, ERR_LIMIT, EXIT_USAGE, "the name of the home folder is too long");
}

void web_tokens_changed(struct web *w)
{
	struct fault f = { 0 };
	char path[4096];

	if (home_path(w, TOKENS_FILE, path, &f) != ERR_OK || tokens_load(path, &w->tokens, &f) != ERR_OK)
		log_error("http-tokens-not-read what=\"%s\"", f.what);
	live_check_callers(w);
}

static void last_handle_closed(uv_handle_t *h)
{
	struct web *w = h->data;

	w->handles--;
	if (w->handles || w->done_called)
		return;
	w->done_called = true;
	if (w->done)
		w->done(w->done_ctx);
}

static void context_finish(struct web *w)
{
	if (w->lws)
		lws_context_destroy(w->lws);
	w->lws = NULL;
}

static void drained(uv_idle_t *h)
{
	struct web *w = h->data;

	if (++w->drain_turns < DRAIN_TURNS || w->handles > 1)
		return;
	uv_idle_stop(h);
	context_finish(w);
	uv_close((uv_handle_t *)h, last_handle_closed);
}

/* The last connection is gone; not from inside lws. */
static void stop_goes_on(void *ctx)
{
	struct web *w = ctx;

	if (w->n_conns || w->context_gone)
		return;
	w->context_gone = true;
	if (w->lws)
		lws_context_destroy(w->lws);
	uv_idle_start(&w->drain, drained);
}

void server_conn_gone(struct web *w)
{
	if (w->stopping && w->n_conns == 0)
		timer_in(w->c.env, &w->stop_timer, 0);
}

enum err web_new(const struct web_config *c, struct web **out, struct fault *f)
{
	struct map_opts o = { .capacity = FAILURE_SOURCES, .value_size = sizeof(struct bucket), .policy = MAP_EVICT_LRU };
	struct web *w = calloc(1, sizeof *w);
	struct names names;
	enum err e;

	if (!w)
		return fault_set(f, ERR_NOMEM, EXIT_GENERIC, "no memory for the dashboard");
	w->c = *c;
	w->listen_fd = w->spare_fd = -1;
	env_random(c->env, o.hash_key, sizeof o.hash_key);
	w->failures = map_new(&o);
	names_init(&names, 1);
	for (size_t i = 0; i < c->n_names; i++)
		if (names_add(&names, c->names[i]) != ERR_OK) {
			web_free(w);
			return fault_set(f, ERR_USAGE, EXIT_CONFIG, "'%s' cannot be a name of the dashboard", c->names[i]);
		}
	logins_init(&w->logins, c->env);
	timer_init(&w->alive, live_alive, w);
	timer_init(&w->stop_timer, stop_goes_on, w);
	assets_init();
	web_tokens_changed(w);
	logins_load(w);
	e = w->failures ? context_open(w, f) : fault_set(f, ERR_NOMEM, EXIT_GENERIC, "no memory for the dashboard");
	uv_idle_init(c->loop, &w->drain);
	w->drain.data = w;
	w->handles = 1;
	/* Ended as one that ran: the caller waits for web_stop() and frees. */
	*out = w;
	return e;
}

/* --- the end ---------------------------------------------------------------------------------------------------------- */
void web_stop(struct web *w, void (*done)(void *ctx), void *ctx)
{
	w->stopping = true;
	logins_touch(w);
	w->done = done;
	w->done_ctx = ctx;
	listen_close(w);
	for (size_t i = 0; i < CONNS_MAX; i++) {
		struct conn *c = w->conns[i];

		/* A page hears that it is not the network. */
		if (c && c->stream)
			live_close(c, 1001, "the daemon stops");
		else if (c)
			web_conn_drop(c);
	}
	timer_in(w->c.env, &w->stop_timer, 0);
}

void web_free(struct web *w)
{
	if (!w)
		return;
	buf_fini(&w->scrape.text);
	map_free(w->failures);
	free(w);
}

/* --- what the owner asks ------------------------------------------------------------------------------------------------ */
const char *web_url(const struct web *w)
{
	return w->listening ? w->url : "";
}

uint16_t web_port(const struct web *w)
{
	return w->listening ? w->port : 0;
}

uint16_t web_port_of_sessions(const struct web *w)
{
	return w->port_of_sessions;
}

void web_code(struct web *w, enum role role, char out[static SECRET_HEX + 1])
{
	logins_code(&w->logins, role, out);
}

const struct web_counters *web_counters(const struct web *w)
{
	return &w->n;
}

unsigned web_connections(const struct web *w)
{
	return w->n_conns;
}

unsigned web_streams(const struct web *w)
{
	return w->n_streams;
}

unsigned web_sessions(const struct web *w)
{
	unsigned n = 0;

	for (size_t i = 0; i < SESSIONS_MAX; i++)
		n += !login_over(&w->logins, &w->logins.list[i]);
	return n;
}

void web_end_sessions(struct web *w)
{
	logins_init(&w->logins, w->c.env);
	logins_save(w);
	live_check_callers(w);
}
