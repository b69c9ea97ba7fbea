#include "transports/ws/reach.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "transports/ws/ws_internal.h"

#define ANSWER_MAX 8192
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

const char *reach_step_word(enum reach_step s)
{
	static const char *const words[] = { "resolve", "tcp", "tls", "upgrade", "first-message", "none" };

	return words[s];
}

/* --- what the other side says ---------------------------------------------------------------------------- */
enum err reach_frame_parse(struct bytes in, struct reach_frame *out)
{
	struct rd r = rd_init(in.p, in.n);
	struct reach_frame f = { 0 };
	uint8_t a = rd_u8(&r), b = rd_u8(&r);
	uint64_t n = b & 0x7f;

	f.opcode = a & 0x0f;
	f.head = 2;
	if (n == 126) {
		n = rd_u16(&r);
		f.head += 2;
	} else if (n == 127) {
		n = rd_u64(&r);
		f.head += 8;
	}
	if (r.err != ERR_OK)
		return ERR_SHORT;
	if ((a & 0x70) || (b & 0x80) || !(a & 0x80) || (f.opcode >= 8 && n > 125) ||
	    (f.opcode != 1 && f.opcode != 2 && f.opcode < 8) || f.opcode > 10)
		return ERR_MALFORMED;
	if (n > REACH_FIRST_MAX)
		return ERR_LIMIT;
	f.body = (size_t)n;
	*out = f;
	return ERR_OK;
}

static const uint8_t *line_end(struct bytes b)
{
	return b.n ? memchr(b.p, '\n', b.n) : NULL;
}

static void first_line(struct bytes in, char says[static REACH_SAYS_MAX])
{
	const uint8_t *end = line_end(in);
	size_t n = end ? (size_t)(end - in.p) : in.n;

	while (n && (in.p[n - 1] == '\r' || in.p[n - 1] == ' '))
		n--;
	text_safe(bytes_of(in.p, n), says, REACH_SAYS_MAX);
}

enum err reach_answer_parse(struct bytes head, const char *accept, char says[static REACH_SAYS_MAX])
{
	static const char name[] = "sec-websocket-accept:";
	const uint8_t *end;

	first_line(head, says);
	if (head.n < 12 || memcmp(head.p, "HTTP/1.1 101", 12) != 0)
		return ERR_MALFORMED;
	while ((end = line_end(head))) {
		size_t n = (size_t)(end - head.p) + 1;

		head = bytes_of(head.p + n, head.n - n);
		if (head.n < sizeof name - 1 || strncasecmp((const char *)head.p, name, sizeof name - 1) != 0)
			continue;
		n = sizeof name - 1;
		while (n < head.n && head.p[n] == ' ')
			n++;
		return head.n - n >= strlen(accept) && memcmp(head.p + n, accept, strlen(accept)) == 0 ? ERR_OK : ERR_AUTH;
	}
	return ERR_AUTH;
}

/* --- a connection ------------------------------------------------------------------------------------------ */
struct wire {
	int fd;
	SSL *ssl; /* NULL: plain */
	uint64_t ends_ms;
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static bool wait_fd(struct wire *w, short events)
{
	uint64_t now = now_us() / 1000;
	struct pollfd p = { .fd = w->fd, .events = events };

	return now < w->ends_ms && poll(&p, 1, (int)(w->ends_ms - now)) == 1;
}

static bool again(struct wire *w, int rc)
{
	int e = SSL_get_error(w->ssl, rc);

	return (e == SSL_ERROR_WANT_READ && wait_fd(w, POLLIN)) || (e == SSL_ERROR_WANT_WRITE && wait_fd(w, POLLOUT));
}

/* Bytes read; 0 at the end, in time or not. */
static size_t wire_read(struct wire *w, uint8_t *out, size_t n)
{
	for (;;) {
		int rc = w->ssl ? SSL_read(w->ssl, out, (int)n) : (int)read(w->fd, out, n);

		if (rc > 0)
			return (size_t)rc;
		if (w->ssl ? !again(w, rc) : !(rc < 0 && (errno == EAGAIN || errno == EINTR) && wait_fd(w, POLLIN)))
			return 0;
	}
}

static bool wire_write(struct wire *w, const void *data, size_t n)
{
	const uint8_t *p = data;

	while (n) {
		int rc = w->ssl ? SSL_write(w->ssl, p, (int)n) : (int)send(w->fd, p, n, MSG_NOSIGNAL);

		if (rc > 0) {
			p += rc;
			n -= (size_t)rc;
		} else if (w->ssl ? !again(w, rc) : !(rc < 0 && (errno == EAGAIN || errno == EINTR) && wait_fd(w, POLLOUT))) {
			return false;
		}
	}
	return true;
}

static void wire_close(struct wire *w)
{
	if (w->ssl) {
		SSL_shutdown(w->ssl);
		SSL_free(w->ssl);
		w->ssl = NULL;
	}
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
	ERR_clear_error();
}

/* --- steps --------------------------------------------------------------------------------------------------- */
static bool failed(struct reach *r, enum reach_step s, enum err e, const char *why)
{
	r->failed = s;
	r->err = e;
	text_safe(bytes_str(why), r->detail, sizeof r->detail);
	return false;
}

static bool connect_one(struct wire *w, const struct addrinfo *a, int *no)
{
	socklen_t n = sizeof *no;

	w->fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	*no = errno;
	if (w->fd < 0)
		return false;
	if (connect(w->fd, a->ai_addr, a->ai_addrlen) == 0)
		return true;
	*no = errno;
	if (*no != EINPROGRESS)
		return false;
	if (!wait_fd(w, POLLOUT)) {
		*no = ETIMEDOUT;
		return false;
	}
	if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, no, &n) != 0)
		*no = errno;
	return *no == 0;
}

static bool step_tcp(struct reach *r, struct wire *w, const struct addrinfo *list, uint32_t step_ms)
{
	int no = EHOSTUNREACH;

	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		w->ends_ms = now_us() / 1000 + step_ms;
		if (getnameinfo(a->ai_addr, a->ai_addrlen, r->address, sizeof r->address, NULL, 0, NI_NUMERICHOST) != 0)
			r->address[0] = '\0';
		if (connect_one(w, a, &no))
			return true;
		wire_close(w);
	}
	return failed(r, REACH_TCP, no == ETIMEDOUT ? ERR_TIMEOUT : no == ECONNREFUSED ? ERR_CLOSED : ERR_IO, strerror(no));
}

static bool step_tls(struct reach *r, struct wire *w)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	static const uint8_t alpn[] = "\x08http/1.1";
	char why[160] = "no memory";
	X509 *cert;
	int rc = -1;

	if (ctx)
		w->ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	if (w->ssl && SSL_set_fd(w->ssl, w->fd) == 1) {
		(void)SSL_set_alpn_protos(w->ssl, alpn, sizeof alpn - 1);
		while ((rc = SSL_connect(w->ssl)) != 1 && again(w, rc))
			;
	}
	if (rc != 1) {
		unsigned long e = ERR_peek_error();
		bool late = now_us() / 1000 >= w->ends_ms;

		snprintf(why, sizeof why, "%s", late ? "no answer in time" : e ? ERR_reason_error_string(e) : "the connection was closed");
		return failed(r, REACH_TLS, late ? ERR_TIMEOUT : !e || strstr(why, "unexpected eof") ? ERR_CLOSED : ERR_MALFORMED, why);
	}
	snprintf(r->tls, sizeof r->tls, "%s", SSL_get_version(w->ssl));
	cert = SSL_get0_peer_certificate(w->ssl);
	r->has_tls_key = cert && tls_spki_sha256(cert, r->tls_key) == ERR_OK;
	return true;
}

static bool step_upgrade(struct reach *r, struct wire *w, const char *host_port, struct buf *in)
{
	uint8_t nonce[16], digest[SHA_DIGEST_LENGTH], piece[1024];
	char key[BASE64_LEN(16) + 1], text[128], accept[BASE64_LEN(SHA_DIGEST_LENGTH) + 1], request[700];
	struct bytes head;
	uint8_t *end = NULL;
	size_t n;
	enum err e;

	if (RAND_bytes(nonce, sizeof nonce) != 1)
		return failed(r, REACH_UPGRADE, ERR_NOMEM, "no random bytes");
	base64_encode(BYTES_ARR(nonce), key);
	snprintf(text, sizeof text, "%s%s", key, GUID);
	SHA1((const unsigned char *)text, strlen(text), digest);
	base64_encode(BYTES_ARR(digest), accept);
	snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n", host_port, key);
	if (!wire_write(w, request, strlen(request)))
		return failed(r, REACH_UPGRADE, ERR_CLOSED, "the connection was closed");
	while (!end && in->n < ANSWER_MAX && (n = wire_read(w, piece, sizeof piece))) {
		buf_add(in, bytes_of(piece, n));
		end = memmem(in->p, in->n, "\r\n\r\n", 4);
	}
	if (!end) {
		first_line(buf_bytes(in), r->says);
		return failed(r, REACH_UPGRADE, in->n ? ERR_MALFORMED : now_us() / 1000 >= w->ends_ms ? ERR_TIMEOUT : ERR_CLOSED,
			      in->n ? "it speaks something else" : now_us() / 1000 >= w->ends_ms ? "no answer in time" : "the connection was closed");
	}
	head = bytes_of(in->p, (size_t)(end - in->p) + 2);
	e = reach_answer_parse(head, accept, r->says);
	if (e != ERR_OK)
		return failed(r, REACH_UPGRADE, e, e == ERR_AUTH ? "the answer belongs to another request" : "no WebSocket is served there");
	r->says[0] = '\0';
	buf_drop_front(in, head.n + 2);
	return true;
}

static bool step_first(struct reach *r, struct wire *w, struct buf *in)
{
	uint8_t piece[4096];
	struct reach_frame f = { 0 };
	size_t n;
	enum err e;

	for (;;) {
		e = reach_frame_parse(buf_bytes(in), &f);
		if (e == ERR_OK && in->n - f.head >= f.body && f.opcode < 8)
			break;
		if (e == ERR_OK && in->n - f.head >= f.body && f.opcode == 8)
			return failed(r, REACH_FIRST, ERR_CLOSED, "it closed the connection before it said anything");
		if (e == ERR_OK && in->n - f.head >= f.body) { /* a ping */
			buf_drop_front(in, f.head + f.body);
			continue;
		}
		if (e != ERR_OK && e != ERR_SHORT)
			return failed(r, REACH_FIRST, e, "what it sends is no WebSocket message");
		n = wire_read(w, piece, sizeof piece);
		if (!n)
			return failed(r, REACH_FIRST, now_us() / 1000 >= w->ends_ms ? ERR_TIMEOUT : ERR_CLOSED,
				      now_us() / 1000 >= w->ends_ms ? "it said nothing in time" : "it closed the connection before it said anything");
		buf_add(in, bytes_of(piece, n));
	}
	r->first_text = f.opcode == 1;
	buf_add(&r->first, bytes_of(in->p + f.head, f.body));
	return true;
}

/* An orderly end: a frame of close, masked as a client must. */
static void say_close(struct wire *w)
{
	static const uint8_t close_frame[] = { 0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8 };

	w->ends_ms = now_us() / 1000 + 500;
	(void)wire_write(w, close_frame, sizeof close_frame);
}

/* What is there, when it is not TLS? */
static void look_without_tls(struct reach *r, const struct addrinfo *list, uint32_t step_ms, const char *host_port)
{
	struct reach plain = { .failed = REACH_STEPS };
	struct wire w = { .fd = -1 };
	struct buf in;

	buf_init(&in, ANSWER_MAX + 4096);
	buf_init(&plain.first, REACH_FIRST_MAX);
	if (step_tcp(&plain, &w, list, step_ms < 2000 ? step_ms : 2000)) {
		r->plain = step_upgrade(&plain, &w, host_port, &in);
		snprintf(r->says, sizeof r->says, "%s", r->plain ? "" : plain.says);
		if (r->plain)
			say_close(&w);
	}
	wire_close(&w);
	buf_fini(&plain.first);
	buf_fini(&in);
}

static void all_steps(struct reach *r, const char *host, uint16_t port, uint32_t step_ms)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	struct wire w = { .fd = -1 };
	char service[8], host_port[WS_HOST_MAX + 16];
	uint64_t at = now_us(), next;
	struct buf in;
	bool ok;
	int rc;

	snprintf(service, sizeof service, "%u", port);
	snprintf(host_port, sizeof host_port, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
	rc = getaddrinfo(host, service, &hints, &list);
	r->took_us[REACH_RESOLVE] = now_us() - at;
	if (rc != 0) {
		failed(r, REACH_RESOLVE, ERR_NOTFOUND, gai_strerror(rc));
		return;
	}
	buf_init(&in, ANSWER_MAX + 2 * REACH_FIRST_MAX);
	for (enum reach_step s = REACH_TCP; s < REACH_STEPS; s++) {
		at = now_us();
		w.ends_ms = at / 1000 + step_ms;
		ok = s == REACH_TCP ? step_tcp(r, &w, list, step_ms) : s == REACH_TLS ? step_tls(r, &w) :
		     s == REACH_UPGRADE ? step_upgrade(r, &w, host_port, &in) : step_first(r, &w, &in);
		next = now_us();
		r->took_us[s] = next - at;
		if (!ok)
			break;
	}
	if (r->failed > REACH_UPGRADE)
		say_close(&w);
	wire_close(&w);
	if (r->failed == REACH_TLS)
		look_without_tls(r, list, step_ms, host_port);
	buf_fini(&in);
	freeaddrinfo(list);
}

enum err reach_try(const char *address, uint32_t step_ms, struct reach *out, struct fault *f)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	char host[WS_HOST_MAX + 1], safe[120];
	struct sigaction was;
	uint16_t port;

	if (ws_address_parse(address, host, &port) != ERR_OK) {
		fault_set(f, ERR_USAGE, EXIT_USAGE, "'%s' is not host:port", text_safe(bytes_str(address), safe, sizeof safe));
		fault_next(f, "ironmesh doctor --peer 192.0.2.7:8765");
		return ERR_USAGE;
	}
	*out = (struct reach){ .failed = REACH_STEPS };
	buf_init(&out->first, REACH_FIRST_MAX);
	/* OpenSSL writes without MSG_NOSIGNAL, and whoever hangs up would end us. */
	sigaction(SIGPIPE, &ignore, &was);
	all_steps(out, host, port, step_ms);
	sigaction(SIGPIPE, &was, NULL);
	return ERR_OK;
}

void reach_fini(struct reach *r)
{
	buf_fini(&r->first);
}
