/*
 * context.c -- the libwebsockets context on our loop, its OpenSSL contexts, and its callback.
 *
 * Taking it down is in two halves: lws_context_destroy() begins to close its handles, the loop
 * turns, and the second call frees. The second call must not come from inside lws, which would
 * unload the code that is running.
 */
#include "transports/ws/ws_internal.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/log.h"

/* lws keeps a buffer of this size for each link, the largest part of an idle one, and one read takes at most
 * this; a control frame must fit. Messages above it are put together in link.c. */
#define RX_BUFFER 1024
/* lws cuts what it writes at this size, header included. */
#define TX_PACKET    (64u << 10)
#define HEADER_BYTES 4096 /* of one HTTP request or response, all headers together */

/* Its own pings would need its own timers. */
const lws_retry_bo_t ws_no_lws_keepalive = {0};

static void lws_says(int level, const char *line)
{
	log_debug("lws level=%d text=%s", level, line);
}

/* --- OpenSSL --- */

/* An idle link keeps no buffer, no ticket and no session. */
static bool tls_common(const struct ws *w, SSL_CTX *ctx)
{
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
					 SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	return SSL_CTX_set_min_proto_version(ctx, w->c.tls13 ? TLS1_3_VERSION : TLS1_2_VERSION) == 1;
}

/* A literal address is no server name (RFC 6066); lws sends one, and cuts "[::1]" at its colon. */
static void dial_handshake_begins(const SSL *ssl, int where, int ret)
{
	const char *name;
	struct in6_addr ignored;

	if (where != SSL_CB_HANDSHAKE_START)
		return;
	name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	if (name && (name[0] == '[' || inet_pton(AF_INET, name, &ignored) == 1))
		SSL_set_tlsext_host_name((SSL *)ssl, NULL);
}

static enum err dial_tls_open(struct ws *w, struct fault *f)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	bool trust = true;

	if (!ctx || !tls_common(w, ctx)) {
		SSL_CTX_free(ctx);
		return fault_set(f, ERR_NOMEM, EXIT_GENERIC, "cannot set up TLS");
	}
	/* Never the store that lws would make: it adds a folder relative to where we were started.
	 */
	if (w->c.strict_tls && w->c.pinned_ca)
		trust = SSL_CTX_load_verify_file(ctx, w->c.pinned_ca) == 1;
	else if (w->c.strict_tls)
		trust = SSL_CTX_set_default_verify_paths(ctx) == 1;
	ERR_clear_error();
	if (!trust) {
		SSL_CTX_free(ctx);
		fault_set(f, ERR_CORRUPT, EXIT_CONFIG, "cannot read the CA certificates of %s",
			  w->c.pinned_ca ? w->c.pinned_ca : "the system");
		return ERR_CORRUPT;
	}
	SSL_CTX_set_info_callback(ctx, dial_handshake_begins);
	w->dial_tls = ctx;
	return ERR_OK;
}

static void accept_handshake_event(const SSL *ssl, int where, int ret)
{
	struct ws *w = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	int fd = SSL_get_fd(ssl);

	if (!(where & SSL_CB_HANDSHAKE_DONE) || !w)
		return;
	for (struct half *h = w->halves; h; h = h->next)
		if (!h->link->dialled && h->link->state == WS_UPGRADING && h->fd == fd)
			h->tls_done = true;
}

/* 0 for lws when the context can serve. */
static int accept_tls_set(struct ws *w, SSL_CTX *ctx)
{
	bool ok = tls_common(w, ctx) && SSL_CTX_set_num_tickets(ctx, 0) == 1 &&
		  SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") == 1 &&
		  SSL_CTX_use_cert_and_key(ctx, w->cert, w->key, w->chain, 1) == 1;

	SSL_CTX_set_app_data(ctx, w);
	SSL_CTX_set_info_callback(ctx, accept_handshake_event);
	ERR_clear_error();
	return ok ? 0 : 1;
}

/* --- the callback of lws --- */

static int upgrade_confirm(const char *to)
{
	return to && strcasecmp(to, "websocket") == 0 ? 0 : -1; /* never "h2c" */
}

/* Every other path is the one of peers, as it always was. */
static bool asks_to_pair(struct lws *wsi)
{
	char uri[sizeof LINK_PAIR_PATH + 1];

	return lws_hdr_copy(wsi, uri, sizeof uri, WSI_TOKEN_GET_URI) > 0 && strcmp(uri, LINK_PAIR_PATH) == 0;
}

static int peer_closes(struct ws_link *l, const uint8_t *code, size_t n)
{
	l->peer_closed = true;
	l->peer_code = n >= 2 ? (uint16_t)(code[0] << 8 | code[1]) : 1005;
	return 0;
}

static int event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t n)
{
	struct ws *w = lws_context_user(lws_get_context(wsi));
	struct ws_link *l;

	if (reason == LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS)
		return accept_tls_set(w, user);
	l = ws_link_find(w, (link_id)(uintptr_t)lws_get_opaque_user_data(wsi));
	if (reason == LWS_CALLBACK_OPENSSL_PERFORM_SERVER_CERT_VERIFICATION)
		return ws_dial_verify(w, l, user, n != 0);

	/* A wsi whose link ended, or went on to its next attempt, is only there to be closed. */
	if (!l || (l->wsi && l->wsi != wsi))
		l = NULL;
	switch (reason) {
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		if (l && l->half) {
			l->half->request_seen = true;
			l->half->pair = asks_to_pair(wsi);
		}
		return l ? upgrade_confirm(in) : -1;
	case LWS_CALLBACK_FILTER_HTTP_CONNECTION:
	case LWS_CALLBACK_HTTP:
		if (l && l->half)
			l->half->request_seen = true;
		return -1;
	case LWS_CALLBACK_ESTABLISHED:
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		if (!l || !l->half)
			return -1;
		ws_link_opened(l, wsi);
		return 0;
	case LWS_CALLBACK_RECEIVE:
	case LWS_CALLBACK_CLIENT_RECEIVE:
		return l ? ws_link_received(l, wsi, bytes_of(in, n)) : -1;
	case LWS_CALLBACK_RECEIVE_PONG:
	case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
		if (l)
			l->heard = true;
		return 0;
	case LWS_CALLBACK_SERVER_WRITEABLE:
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return l && !l->half ? ws_link_write(l, wsi) : l ? 0 : -1;
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		return l ? peer_closes(l, in, n) : 0;
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		if (l && l->half && l->wsi) {
			ws_dial_forgotten(l, wsi);
			ws_dial_failed(l, in ? in : "failed");
		}
		return 0;
	case LWS_CALLBACK_CLOSED:
	case LWS_CALLBACK_CLIENT_CLOSED:
	case LWS_CALLBACK_WSI_DESTROY:
		if (!l || !l->wsi)
			return 0;
		if (l->state == WS_DIALLING)
			ws_dial_failed(l, "connection lost"); /* while lws sent its request */
		else
			ws_link_gone(l, reason == LWS_CALLBACK_WSI_DESTROY ? NULL : wsi);
		return 0;
	default:
		return 0;
	}
}

/* --- up and down --- */

static struct lws_vhost *vhost(struct ws *w, struct lws_context_creation_info *info,
			       const char *name, int port)
{
	info->vhost_name = name;
	info->port = port;
	return lws_create_vhost(w->lws, info);
}

enum err ws_context_open(struct ws *w, struct fault *f)
{
	struct lws_context_creation_info info = {0};
	void *loops[1] = {w->c.loop};
	uint32_t longest = w->c.upgrade_ms > w->c.dial_ms ? w->c.upgrade_ms : w->c.dial_ms;
	enum err e = dial_tls_open(w, f);

	if (e != ERR_OK)
		return e;
	lws_set_log_level(LLL_ERR | LLL_WARN, lws_says);
	w->protocols[0] = (struct lws_protocols){
		.name = "ironmesh",
		.callback = event,
		.rx_buffer_size = RX_BUFFER,
		.tx_packet_size = TX_PACKET,
	};
	info.foreign_loops = loops;
	info.protocols = w->protocols;
	info.user = w;
	info.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
		       LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT |
		       LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS |
		       LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME;
	info.http_proxy_address = ""; /* else $http_proxy would see every dial */
	info.alpn = "http/1.1";
	info.retry_and_idle_policy = &ws_no_lws_keepalive;
	/* Ours come first: these are for what we no longer know. */
	info.timeout_secs = longest / 1000 + 5;
	info.connect_timeout_secs = longest / 1000 + 5;
	info.keepalive_timeout = 1;
	info.pt_serv_buf_size = 32768;
	info.max_http_header_data2 = HEADER_BYTES;
	info.max_http_header_pool2 = w->c.max_half_open + WS_DIALS_MAX;
	info.port = CONTEXT_PORT_NO_LISTEN;
	w->lws = lws_create_context(&info);
	if (!w->lws)
		return fault_set(
			f, ERR_NOMEM, EXIT_GENERIC,
			"libwebsockets does not start (is libwebsockets-evlib-uv installed?)");
	info.provided_client_ssl_ctx = w->dial_tls; /* for both: else lws makes another */
	w->plain = vhost(w, &info, "ironmesh-plain", CONTEXT_PORT_NO_LISTEN);
	if (w->plain && w->cert) {
		/* Without a file name: the certificate comes in accept_tls_set(). */
		info.options |= LWS_SERVER_OPTION_CREATE_VHOST_SSL_CTX;
		w->secure = vhost(w, &info, "ironmesh-secure", CONTEXT_PORT_NO_LISTEN_SERVER);
	}
	if (!w->plain || (w->cert && !w->secure))
		return fault_set(f, ERR_NOMEM, EXIT_GENERIC,
				 "libwebsockets refuses its configuration");
	return ERR_OK;
}

void ws_context_close(struct ws *w)
{
	lws_context_destroy(w->lws);
}

void ws_context_finish(struct ws *w)
{
	lws_context_destroy(w->lws);
	w->lws = NULL;
	SSL_CTX_free(w->dial_tls);
	w->dial_tls = NULL;
}
