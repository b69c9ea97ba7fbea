/* Dialling: what goes out, who is believed, and how it ends. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/transports_peer.h"

static struct peer p, q; /* p listens, q dials */
static char address[64];
static link_id id;

static int setup(void **state)
{
	uv_bench_open(&bench);
	p = q = (struct peer){0};
	return 0;
}

static int teardown(void **state)
{
	peer_close(&q);
	peer_close(&p);
	uv_bench_close(&bench);
	return 0;
}

static void listen_tls(const char *cert, const char *key)
{
	struct ws_config c = {.bind = "127.0.0.1", .cert_path = cert, .key_path = key};

	peer_open(&p, &c);
}

static void dial(const char *host)
{
	snprintf(address, sizeof address, "%s:%u", host, ws_port(p.t));
	assert_int_equal(tp_dial(q.t, address, &id), ERR_OK);
}

/* A server by hand: accepts and then does what the test says. */
static int raw_listen(uint16_t *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	*port = ntohs(a.sin_port);
	snprintf(address, sizeof address, "127.0.0.1:%u", *port);
	return fd;
}

static int raw_accept(int fd)
{
	int c = -1;

	PEER_UNTIL((c = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
	return c;
}

static size_t read_request(int fd, char *request, size_t cap)
{
	size_t n = 0;

	request[0] = '\0';
	while (!strstr(request, "\r\n\r\n")) {
		long r = peer_read(fd, request + n, cap - 1 - n);

		assert_true(r > 0);
		n += (size_t)r;
		request[n] = '\0';
	}
	return n;
}

static void addresses_that_are_none_are_refused(void **state)
{
	const char *bad[] = {"",
			     "host",
			     "host:",
			     "host:0",
			     "host:65536",
			     "host:123456",
			     "host:12a",
			     ":80",
			     "[::1]",
			     "[::1]80",
			     "[::1]:",
			     "[::1",
			     "[]:80",
			     "[host]:80",
			     "[127.0.0.1]:80",
			     "::1:80",
			     "ho st:80",
			     "host\r\nX:80",
			     "user@host:80",
			     "host/path:80",
			     "host:80/",
			     "host:-1",
			     "host:+80",
			     "host: 80",
			     "h\xc3\xb6st:80",
			     "ws://host:80",
			     "[::1]:80x",
			     "host:80:80"};
	struct ws_config c = {0};

	peer_open(&q, &c);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		id = 5;
		if (tp_dial(q.t, bad[i], &id) != ERR_USAGE)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(id, 5);
	}
	assert_int_equal(peer_stats(&q).dialled, 0);
}

static void peer_key_is_that_of_the_certificate(void **state)
{
	struct ws_config c = {0};
	uint8_t key[32];

	listen_tls(bench.cert, bench.key);
	peer_open(&q, &c);
	dial("127.0.0.1");
	PEER_UNTIL(q.opened == 1);
	assert_true(q.info.secure);
	assert_true(q.info.has_tls_key);
	assert_int_equal(tls_key_of(bench.cert, key, NULL), ERR_OK);
	assert_memory_equal(q.info.tls_key, key, 32);
	PEER_UNTIL(p.opened == 1);
	assert_true(p.info.secure);
	assert_false(p.info.has_tls_key);
}

static void plaintext_peer_is_not_dialled_by_default(void **state)
{
	struct ws_config c = {.bind = "127.0.0.1", .allow_plaintext = true}, d = {0};

	peer_open(&p, &c);
	peer_open(&q, &d);
	dial("127.0.0.1");
	PEER_UNTIL(q.closed == 1);
	assert_int_equal(q.opened, 0);
	assert_int_equal(q.why, LINK_END_REFUSED);
	assert_non_null(strstr(q.detail, "wss:"));
	assert_null(strstr(q.detail, "; ws:"));
	assert_int_equal(p.opened, 0);
}

static void tls_is_preferred_over_plaintext(void **state)
{
	struct ws_config c = {.bind = "127.0.0.1",
			      .allow_plaintext = true,
			      .cert_path = bench.cert,
			      .key_path = bench.key},
			 d = {.allow_plaintext = true};

	peer_open(&p, &c);
	peer_open(&q, &d);
	dial("127.0.0.1");
	PEER_UNTIL(q.opened == 1);
	assert_true(q.info.secure);
}

/* A hello by hand, without supported_versions: TLS 1.1 or 1.2 at most. The description of the alert, 0 for none. */
static int hello_by_hand(uint8_t minor)
{
	uint8_t hello[] = {
		0x16, 3,  1,  0,  0x2f, 1,  0,	0,    0x2b, 3,	  2,	1,  2,
		3,    4,  5,  6,  7,	8,  9,	10,   11,   12,	  13,	14, 15,
		16,   17, 18, 19, 20,	21, 22, 23,   24,   25,	  26,	27, 28,
		29,   30, 31, 32, 0,	0,  4,	0xc0, 0x09, 0xc0, 0x0a, 1,  0,
	};
	uint8_t buf[256];
	int fd = raw_connect(ws_port(p.t));

	hello[10] = minor;
	raw_send(fd, hello, sizeof hello);
	long n = peer_read(fd, buf, sizeof buf);

	assert_true(n >= 7);
	close(fd);
	return buf[0] == 0x15 ? buf[6] : 0;
}

#define PROTOCOL_VERSION 70

static void tls_below_1_2_is_refused_by_both(void **state)
{
	listen_tls(bench.cert, bench.key);
	assert_int_equal(hello_by_hand(2), PROTOCOL_VERSION);
	PEER_UNTIL(p.strange == 1);
	assert_int_equal(p.strange_why, LINK_END_TLS);
	assert_int_not_equal(hello_by_hand(3), PROTOCOL_VERSION);
}

static void tls_1_3_alone_when_it_is_asked_for(void **state)
{
	struct ws_config c = {.bind = "127.0.0.1", .cert_path = bench.cert, .key_path = bench.key,
			      .tls13 = true},
			 d = {.tls13 = true};
	static const uint8_t only[] = {0, 0x2b, 0, 3, 2, 3, 4}; /* supported_versions of the dialler */
	uint8_t hello[2048];
	uint16_t port;
	int l, fd;
	long n;

	peer_open(&p, &c);
	assert_int_equal(hello_by_hand(3), PROTOCOL_VERSION);
	peer_open(&q, &d);
	dial("127.0.0.1");
	PEER_UNTIL(q.opened == 1);
	l = raw_listen(&port);
	assert_int_equal(tp_dial(q.t, address, &id), ERR_OK);
	fd = raw_accept(l);
	n = peer_read(fd, hello, sizeof hello);
	assert_true(n > 100);
	assert_non_null(memmem(hello, (size_t)n, only, sizeof only));
	close(fd);
	close(l);
	PEER_UNTIL(q.closed == 1);
}

static void the_binding_is_that_of_the_connection(void **state)
{
	struct ws_config d = {0};
	uint8_t first[32];

	listen_tls(bench.cert, bench.key);
	peer_open(&q, &d);
	dial("127.0.0.1");
	PEER_UNTIL(q.opened == 1 && p.opened == 1);
	assert_true(q.info.has_binding && p.info.has_binding);
	assert_memory_equal(q.info.binding, p.info.binding, 32);
	memcpy(first, q.info.binding, 32);
	dial("127.0.0.1");
	PEER_UNTIL(q.opened == 2 && p.opened == 2);
	assert_memory_equal(q.info.binding, p.info.binding, 32);
	assert_memory_not_equal(first, q.info.binding, 32);
}

static void hello_names_no_literal_address(void **state)
{
	struct ws_config c = {0};
	uint16_t port;
	int l = raw_listen(&port), fd;
	uint8_t hello[2048];
	long n;

	peer_open(&q, &c);
	assert_int_equal(tp_dial(q.t, address, &id), ERR_OK);
	fd = raw_accept(l);
	n = peer_read(fd, hello, sizeof hello);
	assert_true(n > 100);
	assert_int_equal(hello[0], 0x16);
	assert_null(memmem(hello, (size_t)n, "127.0.0.1", 9));
	assert_null(memmem(hello, (size_t)n, "h2", 2) ? memmem(hello, (size_t)n, "\x02h2", 3)
						      : NULL);
	close(fd);
	close(l);
	PEER_UNTIL(q.closed == 1);
}

static void hello_names_the_host(void **state)
{
	struct ws_config c = {0};
	uint16_t port;
	int l = raw_listen(&port), fd;
	uint8_t hello[2048];
	long n;

	peer_open(&q, &c);
	snprintf(address, sizeof address, "localhost:%u", port);
	assert_int_equal(tp_dial(q.t, address, &id), ERR_OK);
	fd = raw_accept(l);
	n = peer_read(fd, hello, sizeof hello);
	assert_non_null(memmem(hello, (size_t)n, "localhost", 9));
	close(fd);
	close(l);
	PEER_UNTIL(q.closed == 1);
}

/* Lets the TLS turn fail, then reads the plain request. */
static int plain_request(int l, char *request, size_t cap)
{
	int fd;

	close(raw_accept(l));
	fd = raw_accept(l);
	read_request(fd, request, cap);
	return fd;
}

static void request_is_plain_and_bare(void **state)
{
	struct ws_config c = {.allow_plaintext = true};
	char request[4096], host[96];
	uint16_t port;
	int l = raw_listen(&port), fd;

	peer_open(&q, &c);
	assert_int_equal(tp_dial(q.t, address, &id), ERR_OK);
	fd = plain_request(l, request, sizeof request);
	snprintf(host, sizeof host, "Host: %s\r\n", address);
	assert_memory_equal(request, "GET / HTTP/1.1\r\n", 16);
	assert_non_null(strstr(request, host));
	assert_non_null(strcasestr(request, "Upgrade: websocket\r\n"));
	assert_non_null(strcasestr(request, "Sec-WebSocket-Version: 13\r\n"));
	assert_null(strcasestr(request, "Extensions"));
	assert_null(strcasestr(request, "WebSocket-Protocol"));
	assert_null(strcasestr(request, "Origin"));
	close(fd);
	close(l);
	PEER_UNTIL(q.closed == 1);
}

static void answers_that_refuse_end_as_refused(void **state)
{
	static const char *const refusals[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
		("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"),
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
		"",
	};
	struct ws_config c = {.allow_plaintext = true};
	char request[4096];
	uint16_t port;
	int l = raw_listen(&port), fd;

	peer_open(&q, &c);
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
		assert_int_equal(tp_dial(q.t, address, &id), ERR_OK);
		fd = plain_request(l, request, sizeof request);
		if (refusals[i][0])
			raw_send(fd, refusals[i], strlen(refusals[i]));
		else
			close(fd);
		PEER_UNTIL(q.closed == (int)i + 1);
		assert_int_equal(q.opened, 0);
		if (q.why != LINK_END_REFUSED)
			fail_msg("%s: %s (%s)", refusals[i], link_end_word(q.why), q.detail);
		if (refusals[i][0])
			close(fd);
	}
	close(l);
}

static void silent_peer_times_out(void **state)
{
	struct ws_config c = {.dial_ms = 300, .allow_plaintext = true};
	uint16_t port;
	int l = raw_listen(&port);

	peer_open(&q, &c);
	assert_int_equal(tp_dial(q.t, address, &id), ERR_OK);
	PEER_UNTIL(q.closed == 1);
	assert_int_equal(q.why, LINK_END_TIMEOUT);
	assert_non_null(strstr(q.detail, "wss:"));
	assert_non_null(strstr(q.detail, "ws:"));
	close(l);
}

static void name_that_does_not_resolve_is_said(void **state)
{
	struct ws_config c = {0};

	peer_open(&q, &c);
	assert_int_equal(tp_dial(q.t, "no-such-host.invalid:80", &id), ERR_OK);
	PEER_UNTIL(q.closed == 1);
	assert_int_equal(q.why, LINK_END_RESOLVE);
	assert_true(strlen(q.detail) > 0);
}

/* "localhost" may be ::1 first: every address has its turn. */
static void every_address_of_a_name_is_tried(void **state)
{
	struct ws_config c = {0};

	listen_tls(bench.cert, bench.key);
	peer_open(&q, &c);
	dial("localhost");
	PEER_UNTIL(q.opened == 1);
	assert_string_equal(q.info.address, address);
	assert_string_equal(q.info.source, "localhost");
}

static void ipv6_is_dialled(void **state)
{
	struct ws_config c = {.bind = "::1", .cert_path = bench.cert, .key_path = bench.key},
			 d = {0};
	struct fault f = {0};

	if (peer_try(&p, &c, &f) != ERR_OK)
		skip();
	peer_open(&q, &d);
	dial("[::1]");
	PEER_UNTIL(q.opened == 1 && p.opened == 1);
	assert_true(q.info.secure);
	assert_memory_equal(p.info.address, "[::1]:", 6);
}

static void dials_are_capped(void **state)
{
	struct ws_config c = {0};
	uint16_t port;
	int l = raw_listen(&port), n = 0;
	enum err e = ERR_OK;

	peer_open(&q, &c);
	while (n < 200 && (e = tp_dial(q.t, address, &id)) == ERR_OK)
		n++;
	assert_int_equal(e, ERR_FULL);
	assert_int_equal(n, 64);
	close(l);
	PEER_UNTIL(q.closed == n);
	assert_int_equal(tp_dial(q.t, address, &id), ERR_OK);
	PEER_UNTIL(q.closed == n + 1);
}

static void http_proxy_of_the_environment_is_ignored(void **state)
{
	struct ws_config c = {0};

	setenv("http_proxy", "http://127.0.0.1:1", 1);
	listen_tls(bench.cert, bench.key);
	peer_open(&q, &c);
	unsetenv("http_proxy");
	dial("127.0.0.1");
	PEER_UNTIL(q.opened == 1);
}

/* --- strict --- */

struct pair {
	char cert[96], key[96];
};

static struct pair made(const char *file, const char *name)
{
	struct pair m;
	struct fault f = {0};

	snprintf(m.cert, sizeof m.cert, "%s/%s-cert.pem", bench.dir, file);
	snprintf(m.key, sizeof m.key, "%s/%s-key.pem", bench.dir, file);
	assert_int_equal(tls_ensure(m.cert, m.key, name, &f), ERR_OK);
	return m;
}

static void forget(const struct pair *m)
{
	unlink(m->cert);
	unlink(m->key);
}

static void strict_dial(const char *host, const char *ca, bool opens)
{
	struct ws_config c = {.strict_tls = true, .pinned_ca = ca};

	peer_open(&q, &c);
	dial(host);
	PEER_UNTIL(q.opened + q.closed == 1);
	assert_int_equal(q.opened, opens);
	if (opens)
		assert_true(q.info.secure && q.info.has_tls_key);
	else
		assert_int_equal(q.why, LINK_END_TLS);
	peer_close(&q);
}

static void strict_believes_a_pinned_certificate_and_its_name(void **state)
{
	struct pair m = made("named", "localhost");

	listen_tls(m.cert, m.key);
	strict_dial("localhost", m.cert, true);
	forget(&m);
}

static void strict_believes_a_literal_address_in_the_certificate(void **state)
{
	struct pair m = made("literal", "127.0.0.1");

	listen_tls(m.cert, m.key);
	strict_dial("127.0.0.1", m.cert, true);
	forget(&m);
}

static void strict_refuses_another_name(void **state)
{
	struct pair m = made("other", "elsewhere.example");

	listen_tls(m.cert, m.key);
	strict_dial("localhost", m.cert, false);
	strict_dial("127.0.0.1", m.cert, false);
	forget(&m);
}

static void strict_refuses_an_unknown_issuer(void **state)
{
	struct pair m = made("mine", "localhost"), other = made("theirs", "localhost");

	listen_tls(m.cert, m.key);
	strict_dial("localhost", other.cert, false);
	strict_dial("localhost", NULL, false); /* the system does not know it either */
	forget(&m);
	forget(&other);
}

static void strict_without_its_bundle_does_not_start(void **state)
{
	struct ws_config c = {.strict_tls = true, .pinned_ca = "/nonexistent/ca.pem"};
	struct fault f = {0};

	assert_int_equal(peer_try(&q, &c, &f), ERR_CORRUPT);
	assert_non_null(strstr(f.what, "/nonexistent/ca.pem"));
	assert_null(q.t);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(addresses_that_are_none_are_refused),
		T(peer_key_is_that_of_the_certificate),
		T(plaintext_peer_is_not_dialled_by_default),
		T(tls_is_preferred_over_plaintext),
		T(tls_below_1_2_is_refused_by_both),
		T(tls_1_3_alone_when_it_is_asked_for),
		T(the_binding_is_that_of_the_connection),
		T(hello_names_no_literal_address),
		T(hello_names_the_host),
		T(request_is_plain_and_bare),
		T(answers_that_refuse_end_as_refused),
		T(silent_peer_times_out),
		T(name_that_does_not_resolve_is_said),
		T(every_address_of_a_name_is_tried),
		T(ipv6_is_dialled),
		T(dials_are_capped),
		T(http_proxy_of_the_environment_is_ignored),
		T(strict_believes_a_pinned_certificate_and_its_name),
		T(strict_believes_a_literal_address_in_the_certificate),
		T(strict_refuses_another_name),
		T(strict_refuses_an_unknown_issuer),
		T(strict_without_its_bundle_does_not_start),
	};
	int failed;

	signal(SIGPIPE, SIG_IGN);
	uv_bench_certificate(&bench);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	uv_bench_forget(&bench);
	return failed;
}
