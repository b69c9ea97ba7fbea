/*
 * dial.c -- outbound: parse, resolve, wss to every address, then ws if allowed (wire 1.2).
 *
 * lws 4.1.6 and a refused connect(): it closes the socket and frees the wsi, but forgets the
 * uv_poll_t that it had allocated for it, which would stay on the loop for ever. The newest
 * poll handle of the loop right after lws began to connect is that one; when lws reports a
 * failure with the socket already gone, it is ours to close.
 */
#include "transports/ws/ws_internal.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limit.h"
#include "base/log.h"
#include "base/text.h"

struct resolve {
	uv_getaddrinfo_t req;
	struct ws *ws;
	link_id id;
};

enum err ws_address_parse(const char *address, char host[static WS_HOST_MAX + 1], uint16_t *port)
{
	size_t len = strnlen(address, LINK_ADDRESS_MAX + 1), n;
	const char *from = address, *colon;
	uint32_t value = 0;

	if (len > LINK_ADDRESS_MAX)
		return ERR_USAGE;
	if (address[0] == '[') {
		const char *end = strchr(address, ']');

		if (!end || end[1] != ':')
			return ERR_USAGE;
		from = address + 1;
		n = (size_t)(end - from);
		colon = end + 1;
	} else {
		colon = strchr(address, ':');
		if (!colon)
			return ERR_USAGE;
		n = (size_t)(colon - from);
	}
	if (n == 0 || n > WS_HOST_MAX)
		return ERR_USAGE;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)from[i];

		/* What a name or a literal can hold, so that nothing else gets into the request. */
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		      c == '.' || c == '-' || c == '_' ||
		      (from != address && (c == ':' || c == '%'))))
			return ERR_USAGE;
	}
	len = strlen(colon + 1);
	if (len == 0 || len > 5)
		return ERR_USAGE;
	for (const char *p = colon + 1; *p; p++) {
		if (*p < '0' || *p > '9')
			return ERR_USAGE;
		value = value * 10 + (uint32_t)(*p - '0');
	}
	if (value == 0 || value > 65535)
		return ERR_USAGE;
	if (from != address) { /* brackets hold an IPv6 literal and nothing else */
		char text[WS_HOST_MAX + 1];
		struct in6_addr ignored;

		memcpy(text, from, n);
		text[n] = '\0';
		text[strcspn(text, "%")] = '\0';
		if (inet_pton(AF_INET6, text, &ignored) != 1)
			return ERR_USAGE;
	}
	memcpy(host, from, n);
	host[n] = '\0';
	*port = (uint16_t)value;
	return ERR_OK;
}

/* --- the forgotten handle --- */

static void newest_poll_visit(uv_handle_t *handle, void *arg)
{
	uv_handle_t **newest = arg;

	if (handle->type == UV_POLL && !uv_is_closing(handle))
		*newest = handle; /* the loop keeps them in the order of their birth */
}

static uv_handle_t *newest_poll(struct ws *w)
{
	uv_handle_t *newest = NULL;

	uv_walk(w->c.loop, newest_poll_visit, &newest);
	return newest;
}

static void forgotten_closed(uv_handle_t *handle)
{
	struct ws *w = handle->data;

	w->handles--;
	free(handle); /* lws_malloc() is realloc() */
}

static void forgotten_close(struct ws *w, uv_handle_t *handle)
{
	handle->data = w;
	w->handles++;
	uv_close(handle, forgotten_closed);
}

/* --- attempts --- */

static void attempt_note(struct half *h, enum link_end why, const char *text)
{
	size_t n = strlen(h->detail);
	char clean[80];

	h->why = why;
	text_safe(bytes_str(text), clean, sizeof clean);
	if (n < sizeof h->detail - 1)
		snprintf(h->detail + n, sizeof h->detail - n, "%s%s: %s", n ? "; " : "",
			 h->plain_turn ? "ws" : "wss", clean);
}

/* The next address, or the ws turn, or the end. From a timer, never from inside lws. */
static void attempt_next_soon(struct ws_link *l)
{
	l->state = WS_DIALLING;
	timer_in(&l->ws->env, &l->timer, 0);
}

static void turn_begin(struct ws_link *l, bool plain)
{
	struct half *h = l->half;

	h->plain_turn = plain;
	h->i_to = 0;
	h->turn_ends_ms = ws_now(l->ws) + l->ws->c.dial_ms;
}

static void attempt(struct ws_link *l)
{
	struct ws *w = l->ws;
	struct half *h = l->half;
	struct sockaddr_storage *to = &h->to[h->i_to];
	unsigned left = h->n_to - h->i_to;
	uint64_t now_ms = ws_now(w), budget;
	char ip[NI_MAXHOST], host[LINK_ADDRESS_MAX + 1];
	struct lws_client_connect_info info = {0};
	uv_handle_t *before, *after;
	link_id id = l->id;
	struct lws *wsi;

	h->i_to++;
	if (getnameinfo((struct sockaddr *)to,
			to->ss_family == AF_INET ? sizeof(struct sockaddr_in)
						 : sizeof(struct sockaddr_in6),
			ip, sizeof ip, NULL, 0, NI_NUMERICHOST) != 0) {
		attempt_note(h, LINK_END_RESOLVE, "address not usable");
		attempt_next_soon(l);
		return;
	}
	memcpy(host, h->address, sizeof host);
	l->tls = !h->plain_turn;
	info.context = w->lws;
	info.vhost = w->plain;
	info.address = ip;
	info.port = h->port;
	info.path = h->pair ? LINK_PAIR_PATH : "/";
	info.host = host;
	info.local_protocol_name = w->protocols[0].name;
	info.ietf_version_or_minus_one = -1;
	info.alpn = "http/1.1";
	info.opaque_user_data = (void *)(uintptr_t)id;
	info.retry_and_idle_policy = &ws_no_lws_keepalive;
	info.ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT;
	if (l->tls) /* the chain and the name are judged in ws_dial_verify() */
		info.ssl_connection |= LCCSCF_USE_SSL | LCCSCF_SKIP_SERVER_CERT_HOSTNAME_CHECK;

	l->state = WS_DIALLING;
	budget = h->turn_ends_ms > now_ms ? h->turn_ends_ms - now_ms : 0;
	timer_in(&w->env, &l->timer, budget / left + 1);
	before = newest_poll(w);
	wsi = lws_client_connect_via_info(&info);
	after = newest_poll(w);
	if (wsi) {
		l->wsi = wsi;
		h->watch = after != before ? after : NULL;
		return;
	}
	if (after && after != before && !uv_is_active(after))
		forgotten_close(w, after);
	attempt_note(h, LINK_END_REFUSED, "cannot connect");
	attempt_next_soon(l);
}

static void attempt_next(struct ws_link *l)
{
	struct ws *w = l->ws;
	struct half *h = l->half;

	if (h->i_to < h->n_to && ws_now(w) < h->turn_ends_ms) {
		attempt(l);
	} else if (!h->plain_turn && w->c.allow_plaintext) {
		turn_begin(l, true);
		attempt(l);
	} else {
		char detail[WS_DETAIL_MAX];

		memcpy(detail, h->detail, sizeof detail);
		ws_link_end(l, h->why, detail);
	}
}

/* lws has words only. An end of file or a reset instead of a ServerHello is no fault of TLS: the
 * far side does not want us, or does not have TLS. */
static enum link_end why_of(const char *text, bool tls)
{
	if (tls && (strstr(text, "SSL") || strstr(text, "cert")) && !strstr(text, "unexpected eof"))
		return LINK_END_TLS;
	return LINK_END_REFUSED;
}

void ws_dial_forgotten(struct ws_link *l, struct lws *wsi)
{
	struct half *h = l->half;

	if (h->watch && lws_get_socket_fd(wsi) < 0)
		forgotten_close(l->ws, h->watch);
	h->watch = NULL;
}

void ws_dial_failed(struct ws_link *l, const char *text)
{
	struct half *h = l->half;

	h->watch = NULL;
	l->wsi = NULL;
	attempt_note(h, why_of(text, l->tls), text);
	attempt_next_soon(l);
}

void ws_dial_timeout(struct ws_link *l)
{
	struct lws *wsi = l->wsi;
	struct half *h = l->half;

	l->wsi = NULL;
	if (wsi)
		ws_wsi_drop(wsi);
	h->watch = NULL;
	if (h->unwanted) {
		ws_link_end(l, LINK_END_LOCAL, "");
	} else if (l->state == WS_RESOLVING) {
		ws_link_end(l, LINK_END_RESOLVE, "the name did not resolve in time");
	} else {
		if (wsi)
			attempt_note(h, LINK_END_TIMEOUT, "no answer in time");
		attempt_next(l);
	}
}

static void addresses_take(struct half *h, const struct addrinfo *list)
{
	for (; list && h->n_to < WS_ADDRESSES_MAX; list = list->ai_next)
		if ((list->ai_family == AF_INET || list->ai_family == AF_INET6) &&
		    list->ai_addrlen <= sizeof h->to[0])
			memcpy(&h->to[h->n_to++], list->ai_addr, list->ai_addrlen);
}

static void resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
	struct resolve *r = (struct resolve *)req;
	struct ws *w = r->ws;
	struct ws_link *l = ws_link_find(w, r->id);

	w->resolving--;
	free(r);
	if (l && l->state == WS_RESOLVING && !l->half->unwanted) {
		if (status == 0)
			addresses_take(l->half, list);
		if (l->half->n_to == 0) {
			ws_link_end(l, LINK_END_RESOLVE,
				    status ? uv_strerror(status) : "no address");
		} else {
			turn_begin(l, l->ws->c.dial_plain);
			attempt_next_soon(l);
		}
	}
	uv_freeaddrinfo(list);
	if (w->stopping && w->n_links == 0)
		timer_in(&w->env, &w->stop_timer, 0);
}

static bool numeric(struct half *h)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
	struct addrinfo *list = NULL;

	if (getaddrinfo(h->host, NULL, &hints, &list) != 0)
		return false;
	addresses_take(h, list);
	freeaddrinfo(list);
	return h->n_to > 0;
}

static enum err resolve(struct ws_link *l)
{
	struct ws *w = l->ws;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct resolve *r = calloc(1, sizeof *r);

	if (!r)
		return ERR_NOMEM;
	r->ws = w;
	r->id = l->id;
	if (uv_getaddrinfo(w->c.loop, &r->req, resolved, l->half->host, NULL, &hints) != 0) {
		free(r);
		return ERR_IO;
	}
	w->resolving++;
	timer_in(&w->env, &l->timer, w->c.dial_ms);
	return ERR_OK;
}

enum err ws_dial_start(struct ws *w, const char *address, link_id *out)
{
	char host[WS_HOST_MAX + 1], bare[LINK_ADDRESS_MAX + 1];
	uint16_t port;
	struct ws_link *l;
	bool pair;
	enum err e = link_address_split(address, bare, &pair);

	if (e == ERR_OK)
		e = ws_address_parse(bare, host, &port);
	if (e != ERR_OK)
		return e;
	if (w->stopping)
		return ERR_CLOSED;
	if (w->n_dials >= WS_DIALS_MAX || w->n_links >= w->c.max_links)
		return ERR_FULL;
	l = ws_link_new(w, true);
	if (!l)
		return ERR_NOMEM;
	memcpy(l->half->host, host, sizeof host);
	snprintf(l->half->address, sizeof l->half->address, "%s", bare);
	l->half->pair = pair;
	source_of_address(host, l->half->source);
	l->half->port = port;
	w->stats.dialled++;
	if (numeric(l->half)) {
		turn_begin(l, l->ws->c.dial_plain);
		attempt_next_soon(l);
	} else if (resolve(l) != ERR_OK) {
		l->half->why = LINK_END_RESOLVE; /* no address: attempt_next() ends it */
		l->half->plain_turn = true;
		attempt_next_soon(l);
	}
	*out = l->id;
	return ERR_OK;
}

/* --- who answered --- */

static bool names(X509 *cert, const char *host)
{
	struct in6_addr ignored;

	if (inet_pton(AF_INET, host, &ignored) == 1 || inet_pton(AF_INET6, host, &ignored) == 1)
		return X509_check_ip_asc(cert, host, 0) == 1;
	return X509_check_host(cert, host, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

int ws_dial_verify(struct ws *w, struct ws_link *l, X509_STORE_CTX *store, bool ok)
{
	if (!w->c.strict_tls) {
		/* Peers prove themselves in the application handshake (wire 1.2). */
		X509_STORE_CTX_set_error(store, X509_V_OK);
		return 0;
	}
	if (!ok || !l || !l->half)
		return 1;
	if (X509_STORE_CTX_get_error_depth(store) > 0)
		return 0;
	if (names(X509_STORE_CTX_get_current_cert(store), l->half->host))
		return 0;
	X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
	return 1;
}

bool ws_dial_peer_key(struct lws *wsi, uint8_t out[static 32])
{
	SSL *ssl = lws_get_ssl(wsi);
	X509 *cert = ssl ? SSL_get0_peer_certificate(ssl) : NULL;

	return cert && tls_spki_sha256(cert, out) == ERR_OK;
}
