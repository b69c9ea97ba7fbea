/*
 * accept.c -- our own acceptor: before a connection costs anything, we know that its source is
 * welcome and that it speaks.
 *
 * lws is given a connected socket only after its first byte. The listener is ours because lws, told
 * "127.0.0.1", listens on [::] as soon as it has IPv6.
 */
#include "transports/ws/ws_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/accept.h"
#include "base/limit.h"
#include "base/log.h"

#define ACCEPTS_PER_TURN     4 /* a flood of connections costs a turn of the others little */
#define ACCEPT_BACKOFF_MS    100
#define LISTEN_BACKLOG	     256
#define TLS_HANDSHAKE_RECORD 0x16

/* Watches one silent connection. Freed in its close callback, which may come after the link. */
struct knock {
	uv_poll_t poll;
	struct ws *ws;
	link_id id;
};

static void knock_closed(uv_handle_t *handle)
{
	struct knock *k = handle->data;

	k->ws->handles--;
	free(k);
}

void ws_knock_close(struct ws_link *l)
{
	struct knock *k = l->half ? l->half->knock : NULL;

	if (!k)
		return;
	l->half->knock = NULL;
	uv_poll_stop(&k->poll); /* at once: lws will watch the same descriptor */
	uv_close((uv_handle_t *)&k->poll, knock_closed);
}

static void adopt(struct ws_link *l, bool tls)
{
	struct ws *w = l->ws;
	lws_adopt_desc_t how = {
		.vh = tls ? w->secure : w->plain,
		.type = LWS_ADOPT_HTTP | LWS_ADOPT_SOCKET | (tls ? LWS_ADOPT_ALLOW_SSL : 0),
		.opaque = (void *)(uintptr_t)l->id,
	};
	link_id id = l->id;
	struct lws *wsi;

	ws_knock_close(l);
	how.fd.sockfd = l->half->fd;
	l->tls = tls;
	l->state = WS_UPGRADING;
	timer_in(&w->env, &l->timer, w->c.upgrade_ms);
	/* On failure lws has closed the socket, or will; a call back for this id may have come. */
	wsi = lws_adopt_descriptor_vhost_via_info(&how);
	l = ws_link_find(w, id);
	if (!l)
		return;
	if (wsi)
		l->wsi = wsi;
	else
		ws_link_gone(l, NULL);
}

static void knock_readable(uv_poll_t *poll, int status, int events)
{
	struct knock *k = poll->data;
	struct ws *w = k->ws;
	struct ws_link *l = ws_link_find(w, k->id);
	uint8_t first;
	ssize_t n;

	if (!l)
		return;
	n = recv(l->half->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR) && status == 0)
		return;
	if (n <= 0)
		ws_link_end(l, LINK_END_IO, "");
	else if (first == TLS_HANDSHAKE_RECORD && w->secure)
		adopt(l, true);
	else if (first == 'G' && w->c.allow_plaintext)
		adopt(l, false);
	else if (first == TLS_HANDSHAKE_RECORD || first == 'G')
		/* Peers try TLS first, or do not have it. At once, so that they need not wait for a
		 * time-out (wire 1.2). */
		ws_link_end(l, LINK_END_REFUSED, "");
	else
		ws_link_end(l, LINK_END_PROTOCOL, "");
}

void ws_accept_timeout(struct ws_link *l)
{
	struct lws *wsi = l->wsi;

	if (wsi) {
		l->half->timed_out = true;
		l->wsi = NULL;
		ws_wsi_drop(wsi);
	}
	ws_link_end(l, l->half->unwanted ? LINK_END_LOCAL : LINK_END_TIMEOUT, "");
}

static bool address_of(const struct sockaddr_storage *from, char ip[static 64], char *text,
		       size_t cap)
{
	char v6[INET6_ADDRSTRLEN];

	if (from->ss_family == AF_INET) {
		const struct sockaddr_in *a = (const struct sockaddr_in *)from;

		if (!inet_ntop(AF_INET, &a->sin_addr, ip, 64))
			return false;
		snprintf(text, cap, "%s:%u", ip, ntohs(a->sin_port));
		return true;
	}
	if (from->ss_family == AF_INET6) {
		const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)from;

		if (IN6_IS_ADDR_V4MAPPED(&a->sin6_addr)) {
			if (!inet_ntop(AF_INET, a->sin6_addr.s6_addr + 12, ip, 64))
				return false;
			snprintf(text, cap, "%s:%u", ip, ntohs(a->sin6_port));
			return true;
		}
		if (!inet_ntop(AF_INET6, &a->sin6_addr, v6, sizeof v6))
			return false;
		snprintf(ip, 64, "%s", v6);
		snprintf(text, cap, "[%s]:%u", v6, ntohs(a->sin6_port));
		return true;
	}
	return false;
}

static uint32_t half_open_of(const struct ws *w, const char *source)
{
	uint32_t n = 0;

	for (const struct half *h = w->halves; h; h = h->next)
		if (!h->link->dialled && strcmp(h->source, source) == 0)
			n++;
	return n;
}

static bool knock_watch(struct ws_link *l)
{
	struct knock *k = calloc(1, sizeof *k);

	if (!k)
		return false;
	k->ws = l->ws;
	k->id = l->id;
	k->poll.data = k;
	if (uv_poll_init(l->ws->c.loop, &k->poll, l->half->fd) != 0) {
		free(k);
		return false;
	}
	l->ws->handles++;
	l->half->knock = k;
	return uv_poll_start(&k->poll, UV_READABLE, knock_readable) == 0;
}

/* Owns `fd` from here. */
static void arrived(struct ws *w, int fd, const struct sockaddr_storage *from)
{
	char ip[64], address[LINK_ADDRESS_MAX + 1], source[64];
	struct ws_link *l;
	int on = 1;

	if (!address_of(from, ip, address, sizeof address))
		goto refuse;
	source_of_address(ip, source);
	if (w->sink.accepting && !w->sink.accepting(w->sink.ctx, source))
		goto refuse;
	/* The sink may have called stop. */
	if (w->stopping || w->n_inbound_half >= w->c.max_half_open ||
	    w->n_links >= w->c.max_links ||
	    half_open_of(w, source) >= w->c.max_half_open_per_source)
		goto refuse;
	l = ws_link_new(w, false);
	if (!l)
		goto refuse;
	l->half->fd = fd;
	memcpy(l->half->address, address, sizeof address);
	memcpy(l->half->source, source, sizeof source);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	w->stats.accepted++;
	if (!knock_watch(l)) {
		ws_link_end(l, LINK_END_IO, "");
		return;
	}
	timer_in(&w->env, &l->timer, w->c.first_byte_ms);
	return;
refuse:
	w->stats.refused++;
	close(fd);
}

static void listen_readable(uv_poll_t *poll, int status, int events);

static void accept_resume(void *ctx)
{
	struct ws *w = ctx;

	if (w->listening && !w->stopping)
		uv_poll_start(&w->listen_poll, UV_READABLE, listen_readable);
}

static void listen_readable(uv_poll_t *poll, int status, int events)
{
	struct ws *w = poll->data;

	for (int i = 0; i < ACCEPTS_PER_TURN && w->listening && !w->stopping; i++) {
		struct sockaddr_storage from = {0};
		int fd;
		enum err e = accept_next(w->listen_fd, &from, &fd);

		if (e == ERR_OK)
			arrived(w, fd, &from);
		if (e == ERR_OK || e == ERR_CLOSED)
			continue;
		if (e == ERR_FULL) {
			if (accept_turn_away(w->listen_fd, &w->spare_fd))
				w->stats.refused++;
			log_warn("ws-accept-starved port=%u", w->port);
			uv_poll_stop(&w->listen_poll);
			timer_in(&w->env, &w->accept_again, ACCEPT_BACKOFF_MS);
		}
		return;
	}
}

static socklen_t bind_address(const char *text, uint16_t port, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof *out);
	if (uv_ip4_addr(text, port, v4) == 0)
		return sizeof *v4;
	if (uv_ip6_addr(text, port, v6) == 0)
		return sizeof *v6;
	return 0;
}

static bool bound_as_asked(int fd, const struct sockaddr_storage *asked, uint16_t *port)
{
	struct sockaddr_storage got = {0};
	socklen_t n = sizeof got;

	if (getsockname(fd, (struct sockaddr *)&got, &n) != 0 || got.ss_family != asked->ss_family)
		return false;
	if (got.ss_family == AF_INET) {
		const struct sockaddr_in *a = (const struct sockaddr_in *)&got;

		*port = ntohs(a->sin_port);
		return a->sin_addr.s_addr == ((const struct sockaddr_in *)asked)->sin_addr.s_addr;
	}
	*port = ntohs(((const struct sockaddr_in6 *)&got)->sin6_port);
	return memcmp(&((const struct sockaddr_in6 *)&got)->sin6_addr,
		      &((const struct sockaddr_in6 *)asked)->sin6_addr,
		      sizeof(struct in6_addr)) == 0;
}

static enum err listen_fault(struct ws *w, int no, struct fault *f)
{
	enum err e = no == EADDRINUSE ? ERR_EXISTS : err_from_errno(no);

	if (e == ERR_EXISTS) {
		fault_set(f, e, EXIT_GENERIC, "port %u on %s is busy", w->c.port, w->c.bind);
		fault_means(f, "another program, perhaps another ironmesh, listens there");
		fault_next(f, "ss -ltnp sport = :%u", w->c.port);
	} else {
		fault_set(f, e, EXIT_GENERIC, "cannot listen on %s port %u: %s", w->c.bind,
			  w->c.port, strerror(no));
	}
	return e;
}

/* Bound where we were told, listening. */
static enum err listen_here(struct ws *w, int *out, struct fault *f)
{
	struct sockaddr_storage a;
	socklen_t n = bind_address(w->c.bind, w->c.port, &a);
	int on = 1, off = 0, fd;

	if (n == 0)
		return fault_set(f, ERR_USAGE, EXIT_CONFIG,
				 "\"%s\" is not an IP address to listen on", w->c.bind);
	fd = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return listen_fault(w, errno, f);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (a.ss_family == AF_INET6) /* "::" means both, whatever the system's default is */
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	if (bind(fd, (struct sockaddr *)&a, n) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
		int no = errno;

		close(fd);
		return listen_fault(w, no, f);
	}
	if (!bound_as_asked(fd, &a, &w->port)) {
		close(fd);
		return fault_set(f, ERR_INTERNAL, EXIT_GENERIC,
				 "the system did not bind %s as asked", w->c.bind);
	}
	*out = fd;
	return ERR_OK;
}

static enum err listen_there(struct ws *w, int *out, struct fault *f)
{
	struct sockaddr_storage a = { 0 };
	socklen_t n = sizeof a;
	int flags = fcntl(w->c.listening, F_GETFL);

	if (flags < 0 || fcntl(w->c.listening, F_SETFL, flags | O_NONBLOCK) != 0 ||
	    getsockname(w->c.listening, (struct sockaddr *)&a, &n) != 0 ||
	    (a.ss_family != AF_INET && a.ss_family != AF_INET6))
		return fault_set(f, ERR_USAGE, EXIT_CONFIG, "the socket that was handed over cannot be used for WebSocket");
	w->port = ntohs(a.ss_family == AF_INET ? ((struct sockaddr_in *)&a)->sin_port : ((struct sockaddr_in6 *)&a)->sin6_port);
	*out = w->c.listening;
	return ERR_OK;
}

enum err ws_accept_open(struct ws *w, struct fault *f)
{
	int fd;
	enum err e = w->c.listening > 0 ? listen_there(w, &fd, f) : listen_here(w, &fd, f);

	if (e != ERR_OK)
		return e;
	if (uv_poll_init(w->c.loop, &w->listen_poll, fd) != 0) {
		close(fd);
		return fault_set(f, ERR_IO, EXIT_GENERIC, "cannot watch the listening socket");
	}
	w->listen_poll.data = w;
	w->handles++;
	w->listen_fd = fd;
	w->listening = true;
	w->spare_fd = accept_spare();
	timer_init(&w->accept_again, accept_resume, w);
	uv_poll_start(&w->listen_poll, UV_READABLE, listen_readable);
	return ERR_OK;
}

static void listen_closed(uv_handle_t *handle)
{
	struct ws *w = handle->data;

	w->handles--;
}

void ws_accept_close(struct ws *w)
{
	if (!w->listening)
		return;
	w->listening = false;
	timer_stop(&w->env, &w->accept_again);
	uv_poll_stop(&w->listen_poll);
	uv_close((uv_handle_t *)&w->listen_poll, listen_closed);
	close(w->listen_fd);
	w->listen_fd = -1;
	if (w->spare_fd >= 0)
		close(w->spare_fd);
	w->spare_fd = -1;
}
