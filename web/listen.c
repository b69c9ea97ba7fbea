/* The listening socket is ours: lws, told "127.0.0.1", listens on [::] as soon as it has IPv6. */
#include "web/web_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/accept.h"
#include "base/log.h"

#define ACCEPTS_PER_TURN 8
#define ACCEPT_BACKOFF_MS 100
#define BACKLOG 128
#define SEND_BUFFER (256 << 10) /* else the kernel keeps megabytes for who does not read */

static bool address_of(const struct sockaddr_storage *from, char out[static 64])
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)from;

	if (from->ss_family == AF_INET)
		return inet_ntop(AF_INET, &((const struct sockaddr_in *)from)->sin_addr, out, 64) != NULL;
	if (from->ss_family != AF_INET6)
		return false;
	if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
		return inet_ntop(AF_INET, six->sin6_addr.s6_addr + 12, out, 64) != NULL;
	return inet_ntop(AF_INET6, &six->sin6_addr, out, 64) != NULL;
}

/* It has said nothing yet, or nobody knows who it is and the rest is still to come. */
static bool is_idle(const struct conn *c)
{
	return c->phase == CONN_HEAD || (c->phase == CONN_BODY && c->caller.role == ROLE_NONE);
}

/* Whoever has waited longest without a request makes room: a crowd that says nothing keeps nobody out. */
static bool make_room(struct web *w)
{
	struct conn *oldest = NULL;

	if (w->n_conns < CONNS_MAX)
		return true;
	for (size_t i = 0; i < CONNS_MAX; i++)
		if (is_idle(w->conns[i]) && (!oldest || w->conns[i]->since_ms < oldest->since_ms))
			oldest = w->conns[i];
	if (!oldest)
		return false;
	w->n.displaced++;
	web_conn_drop(oldest);
	return true;
}

/* Owns `fd` from here. */
static void arrived(struct web *w, int fd, const struct sockaddr_storage *from)
{
	lws_adopt_desc_t how = { .vh = w->vhost, .type = LWS_ADOPT_HTTP | LWS_ADOPT_SOCKET };
	char address[64];
	struct conn *c;
	struct lws *wsi;
	uint64_t id;
	int on = 1, room = SEND_BUFFER;

	c = address_of(from, address) && make_room(w) ? web_conn_new(w, address) : NULL;
	if (!c) {
		w->n.refused_limit++;
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
	id = c->id;
	how.fd.sockfd = fd;
	how.opaque = (void *)(uintptr_t)id;
	/* On failure lws has closed the socket, or will; a call back for this id may have come. */
	wsi = lws_adopt_descriptor_vhost_via_info(&how);
	c = web_conn_find(w, id);
	if (c && wsi)
		c->wsi = wsi;
	else if (c)
		web_conn_free(c);
}

static void readable(uv_poll_t *poll, int status, int events);

static void accept_resume(void *ctx)
{
	struct web *w = ctx;

	if (w->listening && !w->stopping)
		uv_poll_start(&w->listen_poll, UV_READABLE, readable);
}

static void readable(uv_poll_t *poll, int status, int events)
{
	struct web *w = poll->data;

	for (int i = 0; i < ACCEPTS_PER_TURN && w->listening && !w->stopping; i++) {
		struct sockaddr_storage from = { 0 };
		int fd;
		enum err e = accept_next(w->listen_fd, &from, &fd);

		if (e == ERR_OK)
			arrived(w, fd, &from);
		if (e == ERR_OK || e == ERR_CLOSED)
			continue;
		if (e == ERR_FULL) {
			(void)accept_turn_away(w->listen_fd, &w->spare_fd);
			log_warn("http-accept-starved port=%u", w->port);
			uv_poll_stop(&w->listen_poll);
			timer_in(w->c.env, &w->accept_again, ACCEPT_BACKOFF_MS);
		}
		return;
	}
}

/* --- opening it -------------------------------------------------------------------------------------------- */
static enum err cannot(const char *address, uint16_t port, int no, struct fault *f)
{
	enum err e = no == EADDRINUSE ? ERR_EXISTS : err_from_errno(no);

	fault_set(f, e, e == ERR_EXISTS ? EXIT_RETRY : EXIT_GENERIC, "the dashboard cannot listen on %s port %u: %s", address, port,
		  strerror(no));
	if (e == ERR_EXISTS) {
		fault_means(f, "another program, perhaps another ironmesh, listens there");
		fault_next(f, "ss -ltnp sport = :%u", port);
	}
	return e;
}

/* What was bound, looked at: its port, and that it is no more than what was asked for. */
static bool bound_as_asked(int fd, const struct sockaddr_storage *asked, uint16_t *port)
{
	struct sockaddr_storage got = { 0 };
	socklen_t n = sizeof got;

	if (getsockname(fd, (struct sockaddr *)&got, &n) != 0 || got.ss_family != asked->ss_family)
		return false;
	if (got.ss_family == AF_INET) {
		*port = ntohs(((const struct sockaddr_in *)&got)->sin_port);
		return ((const struct sockaddr_in *)&got)->sin_addr.s_addr == ((const struct sockaddr_in *)asked)->sin_addr.s_addr;
	}
	*port = ntohs(((const struct sockaddr_in6 *)&got)->sin6_port);
	return memcmp(&((const struct sockaddr_in6 *)&got)->sin6_addr, &((const struct sockaddr_in6 *)asked)->sin6_addr,
		      sizeof(struct in6_addr)) == 0;
}

static enum err open_socket(const char *address, uint16_t port, int *out, uint16_t *bound, struct fault *f)
{
	struct sockaddr_storage a = { 0 };
	int on = 1, fd, no;

	if (uv_ip4_addr(address, port, (struct sockaddr_in *)&a) != 0 &&
	    uv_ip6_addr(address, port, (struct sockaddr_in6 *)&a) != 0)
		return fault_set(f, ERR_USAGE, EXIT_CONFIG, "\"%s\" is not an IP address to listen on", address);
	fd = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return cannot(address, port, errno, f);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (a.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	if (bind(fd, (struct sockaddr *)&a, a.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)) != 0 ||
	    listen(fd, BACKLOG) != 0) {
		no = errno;
		close(fd);
		return cannot(address, port, no, f);
	}
	if (!bound_as_asked(fd, &a, bound)) {
		close(fd);
		return fault_set(f, ERR_INTERNAL, EXIT_GENERIC, "the system did not bind %s as asked", address);
	}
	*out = fd;
	return ERR_OK;
}

static bool any_address(const char *a)
{
	return strcmp(a, "0.0.0.0") == 0 || strcmp(a, "::") == 0;
}

static enum err take_names(struct web *w, const char *address, struct fault *f)
{
	bool v6 = strchr(address, ':');
	char own[80];
	enum err e = ERR_OK;

	snprintf(own, sizeof own, v6 ? "[%s]" : "%s", address);
	names_init(&w->names, w->port);
	if (!any_address(address) && strcmp(own, "127.0.0.1") != 0 && strcmp(own, "[::1]") != 0)
		e = names_add(&w->names, own);
	for (size_t i = 0; e == ERR_OK && i < w->c.n_names; i++)
		e = names_add(&w->names, w->c.names[i]);
	if (e != ERR_OK)
		return fault_set(f, ERR_USAGE, EXIT_CONFIG, "a name of the dashboard is no name, or there are more than %d",
				 WEB_NAMES_MAX);
	snprintf(w->url, sizeof w->url, "http://%s:%u/", strcmp(address, "::") == 0 ? "[::1]" : any_address(address) ? "127.0.0.1" : own, w->port);
	/* Cookies do not know ports: two daemons on this machine must not use the same name. */
	snprintf(w->cookie, sizeof w->cookie, "ironmesh_%u", w->port);
	return ERR_OK;
}

enum err web_listen(struct web *w, const char *address, uint16_t port, struct fault *f)
{
	enum err e;
	int fd = -1;

	if (w->listening)
		return fault_set(f, ERR_WRONG_STATE, EXIT_GENERIC, "the dashboard listens on %s already", w->url);
	e = open_socket(address, port, &fd, &w->port, f);
	if (e == ERR_OK)
		e = take_names(w, address, f);
	if (e == ERR_OK && uv_poll_init(w->c.loop, &w->listen_poll, fd) != 0)
		e = fault_set(f, ERR_IO, EXIT_GENERIC, "cannot watch the listening socket");
	if (e != ERR_OK) {
		if (fd >= 0)
			close(fd);
		w->url[0] = 0;
		return e;
	}
	/* On another port the cookie has another name: nobody honest has these sessions any more. */
	if (w->port_of_sessions && w->port_of_sessions != w->port)
		web_end_sessions(w);
	w->port_of_sessions = 0;
	w->listen_poll.data = w;
	w->handles++;
	w->listen_fd = fd;
	w->listening = true;
	w->spare_fd = accept_spare();
	timer_init(&w->accept_again, accept_resume, w);
	uv_poll_start(&w->listen_poll, UV_READABLE, readable);
	live_alive(w);
	log_info("http-listening url=%s", w->url);
	return ERR_OK;
}

static void closed(uv_handle_t *h)
{
	struct web *w = h->data;

	w->handles--;
}

void listen_close(struct web *w)
{
	if (!w->listening)
		return;
	w->listening = false;
	timer_stop(w->c.env, &w->accept_again);
	timer_stop(w->c.env, &w->alive);
	uv_poll_stop(&w->listen_poll);
	uv_close((uv_handle_t *)&w->listen_poll, closed);
	close(w->listen_fd);
	if (w->spare_fd >= 0)
		close(w->spare_fd);
	w->listen_fd = w->spare_fd = -1;
}
