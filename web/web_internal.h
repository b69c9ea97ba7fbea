/*
 * web_internal.h -- what the files of this room share.
 *
 *   server.c   the context, the callback of lws, start and end
 *   listen.c   the listening socket; who is taken and who makes room
 *   conn.c     one connection: its deadlines, a request in, an answer out
 *   routes.c   checks, who calls, and where the path leads
 *   api.c      commands         logins_routes.c  the routes of sessions
 *   pages.c    assets, health, metrics, QR
 *   live.c     streams          answer.c   headers and errors
 *
 * lws knows a connection by its id (the opaque user data of the wsi): every callback looks it up again, so
 * one that we have ended can still call back and finds nothing.
 */
#ifndef WEB_WEB_INTERNAL_H
#define WEB_WEB_INTERNAL_H

#include <libwebsockets.h>

#include "base/limit.h"
#include "web/tokens.h"
#include "web/web.h"

#define CONNS_MAX 128
#define STREAMS_MAX 16
#define HEAD_BYTES 16384 /* all headers of a request; cookies of other programs of this machine are among them */
#define HEAD_MS 5000     /* until the headers of the first request are there */
#define IDLE_MS 15000    /* the same for further ones */
#define BODY_MS 15000    /* until its body is */
#define SEND_MS 15000    /* without progress of an answer */
#define WRITE_BYTES 32768
#define BODIES_MAX (32u << 20) /* all bodies on their way in */
#define STREAM_QUEUE (1u << 20)
#define STREAM_VOLATILE (512u << 10)
#define SESSIONS_FILE "http-sessions.json"

enum phase { CONN_HEAD, CONN_BODY, CONN_WORK, CONN_SEND, CONN_LIVE, CONN_GONE };

/* Who calls. */
struct caller {
	enum role role;
	struct login *session; /* of the dashboard; NULL */
	const struct token *token;
};

struct conn;
struct stream;

struct route {
	enum verb verb;
	const char *path;   /* NULL: the one behind `below` */
	const char *below;
	size_t body_max;    /* 0: none */
	enum role role;     /* that it needs at least; ROLE_NONE: the handler looks itself */
	void (*run)(struct conn *c);
};

struct conn {
	struct web *w;
	uint64_t id;
	struct lws *wsi; /* NULL: lws has let go of it */
	struct timer timer;
	enum phase phase;
	char address[64], source[64];
	uint64_t since_ms; /* in this phase */
	/* the request */
	const struct route *route;
	struct caller caller;
	/* Of caller.session or caller.token, which may be over when the body is there, and while a stream goes on. */
	char session_id[SESSION_ID + 1], token_id[TOKEN_ID + 1];
	enum verb verb;
	struct web_method method;
	json_t *params;
	char rest[72];
	struct bytes accept, accept_encoding, if_none_match; /* only while the head is handled */
	struct buf body;
	size_t body_want;
	void *call; /* a command on its way */
	/* the answer */
	struct buf out;      /* what is written: headers, then body */
	struct bytes asset;  /* behind it; borrowed for ever */
	size_t sent;
	bool close;
	struct stream *stream;
	uint16_t close_code;
	bool close_said;
	char close_why[64];
};

struct scrape {
	struct buf text;
	bool openmetrics;
	uint64_t at_ms;
};

struct web {
	struct web_config c;
	struct names names;
	struct logins logins;
	struct tokens tokens;
	struct map *failures; /* source -> struct bucket */
	struct web_counters n;
	struct scrape scrape;
	uint16_t port, port_of_sessions;
	char address[64], url[WEB_URL_MAX], cookie[32]; /* the name of ours */
	struct lws_context *lws;
	struct lws_vhost *vhost;
	struct lws_protocols protocols[2];
	uv_poll_t listen_poll;
	int listen_fd, spare_fd;
	bool listening;
	struct timer accept_again, alive, stop_timer;
	struct conn *conns[CONNS_MAX];
	unsigned n_conns, n_streams;
	uint64_t generation;
	size_t bodies; /* bytes of them on their way in */
	uv_idle_t drain;
	unsigned handles, drain_turns;
	bool stopping, context_gone, done_called;
	void (*done)(void *ctx);
	void *done_ctx;
	char scratch[HEAD_BYTES + 4096]; /* the head that is being handled */
	size_t scratch_n;
	bool scratch_bad;
	uint8_t chunk[LWS_PRE + WRITE_BYTES];
};

/* --- server.c --- */
void server_conn_gone(struct web *w);
/* --- listen.c --- */
void listen_close(struct web *w);
/* --- conn.c --- */
struct conn *web_conn_new(struct web *w, const char *address); /* NULL without room */
struct conn *web_conn_find(struct web *w, uint64_t id);
void web_conn_free(struct conn *c); /* the wsi is gone */
/* Closes it now. Never from inside a callback for its wsi. */
void web_conn_drop(struct conn *c);
void web_conn_phase(struct conn *c, enum phase p, uint64_t deadline_ms);
/* The headers are there. 0, or -1 for lws: close. */
int web_conn_request(struct conn *c, bool upgrade);
int web_conn_body(struct conn *c, struct bytes piece);
int web_conn_body_end(struct conn *c);
int web_conn_writable(struct conn *c);
/* Writes a short answer now: 1 or -1 for lws, from inside its question whether an upgrade may be. */
int web_conn_refuse_upgrade(struct conn *c);
/* c->out is ready to go. */
void web_conn_send(struct conn *c);
void web_conn_forget_call(struct conn *c);

/* --- routes.c --- */
/* Checks everything that can be known from the head, and finds route and caller. False: it was answered. */
bool routes_check(struct conn *c, const struct request_head *r, bool upgrade);
const struct route *route_at(size_t i);
/* A wrong secret came from there: 401, audited, or 429 when too many did. */
void refuse_secret(struct conn *c, const char *word, const char *what, const char *means, const char *next);
void refuse_nobody(struct conn *c);
/* Who came in as this caller would come in now. */
bool caller_lives(const struct conn *c);

/* --- answer.c --- */
void answer_bytes(struct conn *c, int status, const char *type, const char *headers, struct bytes body);
void answer_asset(struct conn *c, const char *type, const char *tag, struct bytes gzipped);
void answer_not_modified(struct conn *c, const char *tag);
void answer_json(struct conn *c, int status, json_t *v, const char *headers); /* takes v */
/* The fault as on the control socket; the status follows from it. */
void answer_fault(struct conn *c, const struct fault *f);
void answer_error(struct conn *c, int status, enum err e, const char *what, const char *means, const char *next);
int status_of(enum err e);

/* --- the handlers --- */
void api_run(struct conn *c);
void login_create(struct conn *c);
void login_show(struct conn *c);
void login_delete(struct conn *c);
void logins_show(struct conn *c);
void logins_delete(struct conn *c);
void page_asset(struct conn *c);
void page_livez(struct conn *c);
void page_readyz(struct conn *c);
void page_metrics(struct conn *c);
void page_qr(struct conn *c);
json_t *parse_object(struct conn *c); /* the body; NULL: it was answered */

/* --- logins_file.c --- */
void logins_load(struct web *w);
void logins_save(struct web *w);
void logins_touch(struct web *w); /* the daemon is there */

/* --- live.c --- */
void live_begin(struct conn *c);
int live_received(struct conn *c, struct bytes piece, bool last, bool text);
int live_writable(struct conn *c);
void live_end(struct conn *c);
void live_close(struct conn *c, uint16_t code, const char *why);
/* Streams of callers who are let in no longer end. */
void live_check_callers(struct web *w);
void live_alive(void *web);
/* Its time is up. False: it is to be dropped. */
bool live_late(struct conn *c);

/* --- assets.c --- */
struct asset {
	const char *path, *type;
	struct bytes gzipped;
	char tag[40]; /* with its quotes */
};
void assets_init(void);
const struct asset *asset_find(struct bytes path);

static inline uint64_t web_now(struct web *w)
{
	return env_now(w->c.env);
}

#endif
