/*
 * web.h -- the HTTP API, the live stream and the dashboard's page on one address.
 *
 * Knows the commands of the daemon, its events and its numbers only through `struct web_host`, which is
 * handed down at start. One thread, the caller's loop. libwebsockets is a guest on it, with a context of
 * its own; the listening socket is ours.
 *
 * Nothing listens after web_new(). Every request has passed the checks of request.h before anything is
 * done for it, and every answer carries the same headers (answer.c).
 */
#ifndef WEB_WEB_H
#define WEB_WEB_H

#include <uv.h>

#include "web/request.h"
#include "web/logins.h"

#define WEB_PORT 8766
#define WEB_WAIT_MAX_MS 60000 /* of wait_ms and timeout_ms over HTTP */
#define WEB_BODY_MAX (4u << 20)
#define WEB_URL_MAX 300

struct web;

struct web_method {
	enum role role; /* the least one that may call it; ROLE_NONE: never over HTTP */
	const void *of; /* the host's */
};

/* What a live stream wants. */
struct web_live {
	const json_t *events;     /* list of prefixes; empty: all; NULL: none */
	bool feed;                /* the change feed too */
	const char *boot;         /* where it goes on; NULL: from now on */
	uint64_t since;
	/* One JSON object of either. False: there is no room. Not called before live_open() has returned. */
	bool (*event)(void *stream, struct bytes json, bool is_volatile);
	bool (*delta)(void *stream, struct bytes json);
	void *stream;
};

struct web_host {
	void *ctx;
	/* False: there is no such method; `f` says which was probably meant. */
	bool (*find)(void *ctx, struct bytes name, struct web_method *out, struct fault *f);
	enum query_kind (*param)(void *ctx, const struct web_method *m, const char *name);
	/* Runs it with `params` (borrowed). `done` is called once, perhaps before this returns, with one of `result`
	 * (one JSON object) and `f`; after cancel() it is not. Returns what cancel() takes; NULL: done was called. */
	void *(*run)(void *ctx, const struct web_method *m, const json_t *params,
		     void (*done)(void *done_ctx, struct bytes result, const struct fault *f), void *done_ctx);
	void (*cancel)(void *ctx, void *call);
	/* NULL with fault. *started: an object with what is said at the start, or NULL. */
	void *(*live_open)(void *ctx, const struct web_live *l, json_t **started, struct fault *f);
	enum err (*live_events)(void *ctx, void *live, const json_t *events); /* a new list of prefixes */
	void (*live_room)(void *ctx, void *live);
	void (*live_close)(void *ctx, void *live);
	void (*metrics)(void *ctx, struct buf *out, bool openmetrics);
	/* Whether messages can be taken and sent. `why` (may be NULL): an array of checks to fill. */
	bool (*ready)(void *ctx, json_t *checks);
	json_t *(*node)(void *ctx); /* {"name","id","fingerprint"} */
	/* Something happened that belongs into the audit log; `source` limits what strangers cause. */
	void (*audit)(void *ctx, const char *event, const char *source, const char *key, const char *value);
};

struct web_config {
	uv_loop_t *loop;
	struct env *env;
	const char *home;        /* tokens and sessions are kept there; borrowed */
	const char *const *names; /* more names under which we are asked for; borrowed */
	size_t n_names;
	bool metrics_open;       /* /metrics needs no token */
	struct web_host host;
};

#define WEB_COUNTERS(X)                                                                            \
	X(connections, "http_connections")                                                         \
	X(displaced, "http_displaced")                                                             \
	X(requests, "http_requests")                                                               \
	X(refused_host, "http_refused_host")                                                       \
	X(refused_origin, "http_refused_origin")                                                   \
	X(refused_csrf, "http_refused_csrf")                                                       \
	X(refused_auth, "http_refused_auth")                                                       \
	X(refused_role, "http_refused_role")                                                       \
	X(refused_limit, "http_refused_limit")                                                     \
	X(logins_opened, "http_sessions_opened")                                                   \
	X(timeouts, "http_timeouts")                                                               \
	X(streams, "http_streams")                                                                 \
	X(streams_slow, "http_streams_slow")

struct web_counters {
#define X(member, name) uint64_t member;
	WEB_COUNTERS(X)
#undef X
};

/* Makes the context. ERR_NOMEM, ERR_USAGE (a name). On an error *out may be set: then web_stop() and web_free() end it as
 * one that ran. */
enum err web_new(const struct web_config *c, struct web **out, struct fault *f) MUST_CHECK;
/* Listens on this IP address; port 0: a free one. ERR_EXISTS: the port is busy. ERR_WRONG_STATE: it listens already. */
enum err web_listen(struct web *w, const char *address, uint16_t port, struct fault *f) MUST_CHECK;
/* "http://127.0.0.1:8766/"; "" when nothing listens. */
const char *web_url(const struct web *w);
uint16_t web_port(const struct web *w);
/* The port that sessions of an earlier run came in by; 0: there are none that live. */
uint16_t web_port_of_sessions(const struct web *w);
/* Sessions of `role` may be opened once with this code, for CODE_MS. */
void web_code(struct web *w, enum role role, char out[static SECRET_HEX + 1]);
/* The file of tokens was changed. */
void web_tokens_changed(struct web *w);
const struct web_counters *web_counters(const struct web *w);
unsigned web_connections(const struct web *w);
unsigned web_streams(const struct web *w);
unsigned web_sessions(const struct web *w); /* that live */
/* All of them end, with their streams. */
void web_end_sessions(struct web *w);
/* Ends everything; then calls done(ctx) from the loop. web_free() after that; accepts NULL. */
void web_stop(struct web *w, void (*done)(void *ctx), void *ctx);
void web_free(struct web *w);

#endif
