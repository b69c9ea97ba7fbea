/*
 * ws_internal.h -- the inside of the WebSocket transport, shared by the files of this folder.
 *
 * A `struct ws_link` is one connection from accept() or tp_dial() to its end. libwebsockets knows
 * it only by its id (the opaque user data of the wsi): every callback looks the id up again, so a
 * connection that we already ended can still call back and finds nothing. While it is half open
 * it carries a `struct half` with what only that phase needs; an open link is small.
 *
 * Who calls the sink: link.c (opened, unit, writable, closed, strange) and accept.c (accepting),
 * always from a callback of the loop and as the last thing done with the link.
 */
#ifndef TRANSPORTS_WS_WS_INTERNAL_H
#define TRANSPORTS_WS_WS_INTERNAL_H

#include <libwebsockets.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "base/env.h"
#include "transports/ws/ws.h"

#define WS_HIGH_WATER	  (4u << 20)
#define WS_LOW_WATER	  (1u << 20)
#define WS_CLOSE_MS	  5000	/* flush and close handshake together */
#define WS_CLOSE_FAULT_MS 1000	/* the same with a far side that is silent or misbehaves */
#define WS_PONG_MS	  10000 /* wire 1.1 */
#define WS_DIALS_MAX	  64
#define WS_ADDRESSES_MAX  8 /* of one name, tried in order */
#define WS_DETAIL_MAX	  160
#define WS_HOST_MAX	  127 /* lws keeps a host name in 128 bytes */

enum ws_state {
	WS_KNOCKING,  /* accepted, no byte yet; not in lws */
	WS_UPGRADING, /* in lws: TLS handshake, HTTP request */
	WS_RESOLVING, /* dial: waiting for the name */
	WS_DIALLING,  /* dial: one attempt in lws, or about to start the next */
	WS_OPEN,
	WS_CLOSING, /* flushing, then the close handshake */
};

struct knock;

/* What a connection needs only until it is open. */
struct half {
	struct half *prev, *next; /* in ws->halves */
	struct ws_link *link;
	char address[LINK_ADDRESS_MAX + 1];
	char source[64];
	int fd; /* of the accepted socket; lws owns it after WS_KNOCKING */
	struct knock *knock;
	bool tls_done, request_seen, timed_out;
	bool pair; /* the path of pairings is dialled, or was asked for */
	bool unwanted; /* tp_close() or tp_stop(): ends with the next run of its timer */
	/* dial */
	char host[WS_HOST_MAX + 1]; /* without brackets */
	uint16_t port;
	bool plain_turn;
	struct sockaddr_storage to[WS_ADDRESSES_MAX];
	unsigned n_to, i_to;
	uint64_t turn_ends_ms; /* of the wss turn, or of the ws turn */
	uv_handle_t *watch;    /* see dial.c: lws forgets it when connect() fails */
	enum link_end why;
	char detail[WS_DETAIL_MAX];
};

struct outgoing {
	struct outgoing *next;
	uint32_t n;
	bool text;
	uint8_t room[LWS_PRE]; /* lws writes the frame header here */
	uint8_t data[];
};

struct ws_link {
	link_id id;
	struct ws *ws;
	struct lws *wsi;
	struct half *half; /* NULL when open */
	struct timer timer;
	struct outgoing *tx, *tx_last;
	size_t queued; /* bytes in tx, and of the message lws holds back */
	uint32_t held; /* bytes of the message that lws could not send whole */
	uint32_t rx_n, rx_cap;
	uint8_t *rx; /* a message that arrives in pieces */
	uint64_t close_by_ms;
	uint16_t close_code;
	uint16_t peer_code; /* close code of the far side */
	uint8_t state, why; /* why: of a close that we began */
	bool dialled, tls, opened, paused, want_writable, asked_writable;
	bool pair;
	bool peer_closed, close_sent, ping_due, ping_out, heard;
};

struct ws {
	struct transport t;
	struct ws_config c;
	struct transport_sink sink;
	struct transport_stats stats;
	struct env env; /* one uv timer for every deadline here */
	uv_timer_t clock;
	uv_idle_t drain;
	uv_poll_t listen_poll;
	int listen_fd, spare_fd;
	uint16_t port;
	struct timer accept_again;
	struct lws_context *lws;
	struct lws_vhost *plain,
		*secure; /* plain also dials; secure is NULL without a certificate */
	SSL_CTX *dial_tls;
	struct lws_protocols protocols[2];
	X509 *cert;
	STACK_OF(X509) * chain;
	EVP_PKEY *key;
	struct ws_link **slots;
	uint32_t *free_slots;
	uint32_t n_slots, n_free, n_links; /* n_links: slots in use */
	uint64_t generation;
	struct half *halves;
	uint32_t n_inbound_half, n_dials;
	unsigned resolving, handles; /* requests and handles that the loop still holds */
	unsigned drain_turns;
	bool listening, stopping, context_gone, done_called;
	struct timer stop_timer;
	void (*done)(void *);
	void *done_ctx;
};

static inline uint64_t ws_now(struct ws *w)
{
	return uv_now(w->c.loop);
}

/* --- link.c: one connection --- */
struct ws_link *ws_link_new(struct ws *w, bool dialled); /* with a half; NULL without memory */
struct ws_link *ws_link_find(struct ws *w, link_id id);
void ws_link_opened(struct ws_link *l, struct lws *wsi);
int ws_link_received(struct ws_link *l, struct lws *wsi, struct bytes piece); /* result for lws */
int ws_link_write(struct ws_link *l, struct lws *wsi);
/* Begins the close handshake; `why` is what the sink will hear. */
void ws_link_shut(struct ws_link *l, uint16_t code, enum link_end why);
/* lws says that the connection is gone. wsi: NULL when it never was. */
void ws_link_gone(struct ws_link *l, struct lws *wsi);
/* The end: leaves the table, frees, tells the sink. The wsi must be gone or be dropped with
 * ws_wsi_drop() before. */
void ws_link_end(struct ws_link *l, enum link_end why, const char *detail);
/* Closes a wsi now, whatever it has to say. Never from inside a callback for that wsi. */
void ws_wsi_drop(struct lws *wsi);
void ws_link_free_half(struct ws_link *l);
enum err ws_link_send(struct ws_link *l, struct bytes unit, bool text);
void ws_link_pause(struct ws_link *l, bool paused);

/* --- accept.c --- */
enum err ws_accept_open(struct ws *w, struct fault *f);
void ws_accept_close(struct ws *w);
void ws_accept_timeout(struct ws_link *l);
void ws_knock_close(struct ws_link *l); /* stops watching; the descriptor stays open */

/* --- dial.c --- */
enum err ws_address_parse(const char *address, char host[static WS_HOST_MAX + 1], uint16_t *port);
enum err ws_dial_start(struct ws *w, const char *address, link_id *out);
void ws_dial_timeout(struct ws_link *l);
void ws_dial_failed(struct ws_link *l, const char *text); /* lws says so: on to the next attempt */
void ws_dial_forgotten(struct ws_link *l,
		       struct lws *wsi); /* when lws reports a connection error */
/* 0 accepts. For OpenSSL's verify callback by way of lws. */
int ws_dial_verify(struct ws *w, struct ws_link *l, X509_STORE_CTX *store, bool ok);
bool ws_dial_peer_key(struct lws *wsi, uint8_t out[static 32]);

/* --- context.c: lws and OpenSSL contexts --- */
extern const lws_retry_bo_t ws_no_lws_keepalive;
enum err ws_context_open(struct ws *w, struct fault *f);
void ws_context_close(
	struct ws *w); /* first half; call ws_context_finish() some loop turns later */
void ws_context_finish(struct ws *w);

/* --- tls.c --- */
enum err tls_load(const char *cert_path, const char *key_path, X509 **cert, STACK_OF(X509) * *chain,
		  EVP_PKEY **key, struct fault *f) MUST_CHECK;
enum err tls_spki_sha256(X509 *cert, uint8_t out[static 32]) MUST_CHECK;
/* RFC 9266; false below TLS 1.3. */
bool tls_binding(SSL *ssl, uint8_t out[static 32]);

#endif
