/* What a stranger can do to the listener. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/transports_peer.h"

static struct peer p, q;
static char answer[4096];

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

static struct ws_config plain_config(void)
{
	return (struct ws_config){.bind = "127.0.0.1",
				  .allow_plaintext = true,
				  .upgrade_ms = 20000,
				  .first_byte_ms = 20000};
}

static struct ws_config tls_config(void)
{
	return (struct ws_config){.bind = "127.0.0.1",
				  .cert_path = bench.cert,
				  .key_path = bench.key,
				  .upgrade_ms = 20000,
				  .first_byte_ms = 20000};
}

/* A listener without TLS and a raw client that is upgraded. */
static int plain_link(void)
{
	struct ws_config c = plain_config();
	int fd;

	peer_open(&p, &c);
	fd = peer_upgrade(ws_port(p.t), "/", "", answer, sizeof answer);
	assert_non_null(strstr(answer, " 101 "));
	PEER_UNTIL(p.opened == 1);
	return fd;
}

/* --- the door --- */

static void any_path_opens_without_extension_or_subprotocol(void **state)
{
	struct ws_config c = plain_config();
	const char *paths[] = {"/", "/a/b/c", "/?x=1&y=%20", "/%F0%9F%98%80"};

	peer_open(&p, &c);
	for (int i = 0; i < 4; i++) {
		int fd = peer_upgrade(
			ws_port(p.t), paths[i],
			"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
			"Origin: http://elsewhere.example\r\n",
			answer, sizeof answer);

		assert_non_null(strstr(answer, " 101 "));
		assert_non_null(strstr(answer, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
		assert_null(strcasestr(answer, "extensions"));
		assert_null(strcasestr(answer, "protocol:"));
		PEER_UNTIL(p.opened == i + 1);
		assert_false(p.info.secure);
		assert_false(p.info.dialled);
		assert_string_equal(p.info.source, "127.0.0.1");
		assert_memory_equal(p.info.address, "127.0.0.1:", 10);
		close(fd);
	}
	PEER_UNTIL(p.closed == 4);
}

static void plaintext_is_refused_at_once_by_default(void **state)
{
	struct ws_config c = tls_config();
	int fd;

	peer_open(&p, &c);
	fd = raw_connect(ws_port(p.t));
	raw_send(fd, "GET / HTTP/1.1\r\n", 16);
	assert_true(peer_closes(fd)); /* long before the deadlines of 20 s */
	assert_int_equal(p.opened, 0);
	assert_int_equal(p.strange, 0);
	assert_int_equal(peer_stats(&p).half_open, 0);
	close(fd);
}

static void tls_hello_on_a_plain_port_is_closed_at_once(void **state)
{
	struct ws_config c = plain_config();
	int fd;

	peer_open(&p, &c);
	fd = raw_connect(ws_port(p.t));
	raw_send(fd, "\x16\x03\x01", 3);
	assert_true(peer_closes(fd));
	assert_int_equal(p.strange, 0); /* every peer tries TLS first */
	close(fd);
}

static void one_port_serves_tls_and_plain(void **state)
{
	struct ws_config c = tls_config(), d = {0};
	char address[64];
	link_id id;
	int fd;

	c.allow_plaintext = true;
	peer_open(&p, &c);
	peer_open(&q, &d);
	fd = peer_upgrade(ws_port(p.t), "/", "", answer, sizeof answer);
	PEER_UNTIL(p.opened == 1);
	assert_false(p.info.secure);
	snprintf(address, sizeof address, "127.0.0.1:%u", ws_port(p.t));
	assert_int_equal(tp_dial(q.t, address, &id), ERR_OK);
	PEER_UNTIL(p.opened == 2 && q.opened == 1);
	assert_true(p.info.secure);
	assert_true(q.info.secure);
	close(fd);
}

static void unwelcome_source_is_closed_before_anything(void **state)
{
	struct ws_config c = tls_config();
	int fd;

	peer_open(&p, &c);
	p.unwelcome = true;
	fd = raw_connect(ws_port(p.t));
	assert_true(peer_closes(fd));
	assert_int_equal(p.asked, 1);
	assert_string_equal(p.source, "127.0.0.1");
	assert_int_equal(peer_stats(&p).refused, 1);
	assert_int_equal(peer_stats(&p).accepted, 0);
	assert_int_equal(p.strange, 0);
	close(fd);
}

static void listens_only_where_told(void **state)
{
	struct ws_config c = plain_config();
	struct sockaddr_in a = {.sin_family = AF_INET};
	int fd;

	peer_open(&p, &c);
	a.sin_port = htons(ws_port(p.t));
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_not_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	close(fd);
	assert_int_equal(raw_connect6(ws_port(p.t)), -1);
}

static void ipv6_source_is_its_network(void **state)
{
	struct ws_config c = plain_config();
	struct fault f = {0};
	int fd;

	c.bind = "::1";
	if (peer_try(&p, &c, &f) != ERR_OK)
		skip(); /* a machine without IPv6 */
	fd = raw_connect6(ws_port(p.t));
	assert_true(fd >= 0);
	raw_send(fd, "GET", 3);
	PEER_UNTIL(p.asked == 1);
	assert_string_equal(p.source, "::/64");
	close(fd);
}

static void any_address_serves_ipv4_under_its_own_name(void **state)
{
	struct ws_config c = plain_config();
	struct fault f = {0};
	int fd;

	c.bind = "::";
	if (peer_try(&p, &c, &f) != ERR_OK)
		skip();
	fd = peer_upgrade(ws_port(p.t), "/", "", answer, sizeof answer);
	PEER_UNTIL(p.opened == 1);
	assert_string_equal(p.info.source, "127.0.0.1");
	assert_memory_equal(p.info.address, "127.0.0.1:", 10);
	close(fd);
}

static void busy_port_is_said(void **state)
{
	struct ws_config c = plain_config();
	struct fault f = {0};

	peer_open(&p, &c);
	c.port = ws_port(p.t);
	assert_int_equal(peer_try(&q, &c, &f), ERR_EXISTS);
	assert_non_null(strstr(f.what, "busy"));
	assert_true(strlen(f.next) > 0);
	assert_null(q.t);
}

static void what_is_no_address_is_said(void **state)
{
	const char *bad[] = {"localhost", "", "300.0.0.1", "127.0.0.1:80"};
	struct fault f = {0};

	for (int i = 0; i < 4; i++) {
		struct ws_config c = plain_config();

		c.bind = bad[i];
		assert_int_equal(peer_try(&p, &c, &f), ERR_USAGE);
	}
}

static void tls_without_its_files_is_said(void **state)
{
	struct ws_config c = tls_config();
	struct fault f = {0};

	c.cert_path = "/nonexistent/cert.pem";
	assert_int_equal(peer_try(&p, &c, &f), ERR_NOTFOUND);
	c = tls_config();
	c.cert_path = bench.key; /* holds no certificate */
	assert_int_equal(peer_try(&p, &c, &f), ERR_CORRUPT);
	c.cert_path = NULL;
	c.allow_plaintext = false;
	assert_int_equal(peer_try(&p, &c, &f), ERR_USAGE);
}

/* --- half open --- */

static void silent_connection_ends_after_first_byte_ms(void **state)
{
	struct ws_config c = tls_config();
	int fd;

	c.first_byte_ms = 200;
	peer_open(&p, &c);
	fd = raw_connect(ws_port(p.t));
	PEER_UNTIL(peer_stats(&p).half_open == 1);
	assert_true(peer_closes(fd));
	assert_int_equal(p.strange, 1);
	assert_int_equal(p.strange_why, LINK_END_TIMEOUT);
	assert_int_equal(peer_stats(&p).half_open, 0);
	close(fd);
}

static void early_goodbye_is_not_strange(void **state)
{
	struct ws_config c = tls_config();

	peer_open(&p, &c);
	close(raw_connect(ws_port(p.t)));
	PEER_UNTIL(peer_stats(&p).accepted == 1 && peer_stats(&p).half_open == 0);
	assert_int_equal(p.strange, 0);
}

static void garbage_first_byte_is_strange(void **state)
{
	struct ws_config c = tls_config();

	c.allow_plaintext = true;
	peer_open(&p, &c);
	for (int i = 0; i < 8; i++) {
		int fd = raw_connect(ws_port(p.t));

		raw_send(fd, &"\x00\x15\x17gPS\n\xff"[i], 1);
		assert_true(peer_closes(fd));
		assert_int_equal(p.strange, i + 1);
		assert_int_equal(p.strange_why, LINK_END_PROTOCOL);
		close(fd);
	}
	assert_int_equal(p.opened, 0);
}

/* Feeds one byte now and then until the far side closes. */
static void trickle(int fd, const char *text)
{
	char c;

	for (const char *at = text;;) {
		if (raw_read(fd, &c, 1) == 0)
			return;
		if (send(fd, at, 1, MSG_NOSIGNAL) != 1)
			return;
		at = at[1] ? at + 1 : text;
		bench_wait_ms(20);
	}
}

static void trickled_header_ends_after_upgrade_ms(void **state)
{
	struct ws_config c = plain_config();
	uint64_t from = uv_bench_now(&bench);
	int fd;

	c.upgrade_ms = 500;
	peer_open(&p, &c);
	fd = raw_connect(ws_port(p.t));
	raw_send(fd, "GET / HTTP/1.1\r\nX: ", 19);
	trickle(fd, "abcdefghij");
	assert_true(uv_bench_now(&bench) - from < 15000);
	PEER_UNTIL(p.strange == 1);
	assert_int_equal(p.strange_why, LINK_END_TIMEOUT);
	assert_int_equal(peer_stats(&p).half_open, 0);
	close(fd);
}

static void trickled_tls_hello_ends_after_upgrade_ms(void **state)
{
	struct ws_config c = tls_config();
	int fd;

	c.upgrade_ms = 500;
	peer_open(&p, &c);
	fd = raw_connect(ws_port(p.t));
	raw_send(fd, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 9);
	trickle(fd, "\x03");
	PEER_UNTIL(p.strange == 1);
	assert_int_equal(p.strange_why, LINK_END_TIMEOUT);
	close(fd);
}

static void bad_tls_is_strange(void **state)
{
	struct ws_config c = tls_config();
	int fd;
	char buf[64];

	peer_open(&p, &c);
	fd = raw_connect(ws_port(p.t));
	raw_send(fd,
		 "\x16\x03\x01\x00\x10"
		 "0123456789abcdef",
		 21);
	while (peer_read(fd, buf, sizeof buf) > 0)
		;
	PEER_UNTIL(p.strange == 1);
	assert_int_equal(p.strange_why, LINK_END_TLS);
	close(fd);
}

static void request_is_closed(const char *request)
{
	struct ws_config c = plain_config();
	char buf[1024];
	int fd, had = p.strange;

	if (!p.t)
		peer_open(&p, &c);
	fd = raw_connect(ws_port(p.t));
	raw_send(fd, request, strlen(request));
	for (long n; (n = peer_read(fd, buf, sizeof buf)) > 0;)
		assert_null(memmem(buf, (size_t)n, " 101 ", 5));
	PEER_UNTIL(p.strange == had + 1);
	assert_int_equal(p.strange_why, LINK_END_PROTOCOL);
	assert_int_equal(p.opened, 0);
	assert_int_equal(peer_stats(&p).half_open, 0);
	close(fd);
}

static void request_that_is_no_upgrade_is_closed(void **state)
{
	request_is_closed("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	request_is_closed("GET / HTTP/1.0\r\n\r\n");
	request_is_closed(
		"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
		"Connection: Upgrade, HTTP2-Settings\r\n\r\n");
	request_is_closed(
		"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: telnet\r\nConnection: Upgrade\r\n\r\n");
	request_is_closed("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n");
	request_is_closed(
		"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
	request_is_closed("G\r\n\r\n");
	request_is_closed("GGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG\r\n\r\n");
}

static void endless_header_is_closed(void **state)
{
	struct ws_config c = plain_config();
	char block[1000], buf[64];
	int fd;

	memset(block, 'a', sizeof block);
	peer_open(&p, &c);
	fd = raw_connect(ws_port(p.t));
	raw_send(fd, "GET / HTTP/1.1\r\nCookie: ", 24);
	for (int i = 0; i < 200 && peer_stats(&p).half_open <= 1; i++) {
		if (send(fd, block, sizeof block, MSG_NOSIGNAL) <= 0 && errno != EAGAIN)
			break;
		uv_bench_turn(&bench);
	}
	while (peer_read(fd, buf, sizeof buf) > 0)
		;
	assert_int_equal(p.opened, 0);
	PEER_UNTIL(peer_stats(&p).half_open == 0);
	close(fd);
}

static int connect_from(uint32_t address, uint16_t port)
{
	struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	from.sin_addr.s_addr = htonl(address);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to.sin_port = htons(port);
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void half_open_connections_are_capped(void **state)
{
	struct ws_config c = tls_config();
	struct transport_stats s;
	int fd[200], other, open_now = 0;
	char byte;

	c.max_half_open = 24;
	c.max_half_open_per_source = 16;
	peer_open(&p, &c);
	for (int i = 0; i < 200; i++)
		fd[i] = raw_connect(ws_port(p.t));
	PEER_UNTIL(peer_stats(&p).accepted + peer_stats(&p).refused == 200);
	s = peer_stats(&p);
	assert_int_equal(s.accepted, 16);
	assert_int_equal(s.half_open, 16);
	for (int i = 0; i < 200; i++)
		open_now += raw_read(fd[i], &byte, 1) == -1;
	assert_int_equal(open_now, 16);

	/* Another source still gets in, up to the cap of all. */
	for (int i = 0; i < 20; i++) {
		other = connect_from(INADDR_LOOPBACK + 5, ws_port(p.t));
		PEER_UNTIL(peer_stats(&p).accepted + peer_stats(&p).refused == 201u + (unsigned)i);
		close(other);
	}
	assert_true(peer_stats(&p).accepted > 16);
	for (int i = 0; i < 200; i++)
		close(fd[i]);
	PEER_UNTIL(peer_stats(&p).half_open == 0);
	assert_int_equal(p.strange, 0);
}

static void cap_of_all_half_open_holds_across_sources(void **state)
{
	struct ws_config c = tls_config();
	int fd[40];

	c.max_half_open = 24;
	c.max_half_open_per_source = 16;
	peer_open(&p, &c);
	for (int i = 0; i < 40; i++)
		fd[i] = connect_from(INADDR_LOOPBACK + (uint32_t)i, ws_port(p.t));
	PEER_UNTIL(peer_stats(&p).accepted + peer_stats(&p).refused == 40);
	assert_int_equal(peer_stats(&p).half_open, 24);
	for (int i = 0; i < 40; i++)
		close(fd[i]);
}

static void links_are_capped(void **state)
{
	struct ws_config c = plain_config();
	int fd[6];

	c.max_links = 4;
	peer_open(&p, &c);
	for (int i = 0; i < 4; i++) {
		fd[i] = peer_upgrade(ws_port(p.t), "/", "", answer, sizeof answer);
		PEER_UNTIL(p.opened == i + 1);
	}
	fd[4] = raw_connect(ws_port(p.t));
	assert_true(peer_closes(fd[4]));
	close(fd[4]);
	close(fd[0]);
	PEER_UNTIL(p.closed == 1);
	fd[5] = peer_upgrade(ws_port(p.t), "/", "", answer, sizeof answer);
	PEER_UNTIL(p.opened == 5);
	for (int i = 1; i < 4; i++)
		close(fd[i]);
	close(fd[5]);
}

static double cpu_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void out_of_descriptors_neither_spins_nor_hangs(void **state)
{
	struct ws_config c = plain_config();
	struct rlimit old, low;
	int fd[4], filler[512], n = 0;
	double from;

	peer_open(&p, &c);
	for (int i = 0; i < 4; i++)
		fd[i] = raw_connect(ws_port(p.t)); /* in the backlog */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = 256;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	while (n < 512 && (filler[n] = open("/dev/null", O_RDONLY)) >= 0)
		n++;
	from = cpu_s();
	bench_wait_ms(1500);
	assert_true(cpu_s() - from < 0.5);
	assert_true(peer_stats(&p).refused >= 1);
	while (n > 0)
		close(filler[--n]);
	setrlimit(RLIMIT_NOFILE, &old);
	for (int i = 0; i < 4; i++)
		close(fd[i]);
	fd[0] = peer_upgrade(ws_port(p.t), "/", "", answer, sizeof answer);
	PEER_UNTIL(p.opened == 1);
	close(fd[0]);
}

static void stop_ends_half_open_connections(void **state)
{
	struct ws_config c = tls_config();
	int fd[3];

	c.allow_plaintext = true;
	peer_open(&p, &c);
	for (int i = 0; i < 3; i++)
		fd[i] = raw_connect(ws_port(p.t));
	raw_send(fd[1], "GET / HTTP/1.1\r\n", 16);
	raw_send(fd[2], "\x16\x03\x01\x02", 4);
	PEER_UNTIL(peer_stats(&p).half_open == 3);
	bench_wait_ms(50);
	peer_close(&p);
	for (int i = 0; i < 3; i++) {
		assert_true(peer_closes(fd[i]));
		close(fd[i]);
	}
	assert_int_equal(p.strange, 0);
	assert_int_equal(p.closed, 0); /* nobody knew them */
}

/* --- messages --- */

static void fragments_with_pings_between_make_one_unit(void **state)
{
	int fd = plain_link();
	uint8_t part[3000], first, buf[126];

	for (size_t i = 0; i < sizeof part; i++)
		part[i] = (uint8_t)i;
	frame_send(fd, 0x02, part, 1000); /* binary, not final */
	frame_send(fd, 0x89, "one", 3);	  /* ping */
	assert_int_equal(frame_read(fd, &first, buf, sizeof buf), 5);
	assert_int_equal(first, 0x8a);
	assert_memory_equal(buf, "one", 3);
	frame_send(fd, 0x00, part + 1000, 1500);
	frame_send(fd, 0x00, part, 0);
	frame_send(fd, 0x89, "two", 3);
	assert_int_equal(frame_read(fd, &first, buf, sizeof buf), 5);
	assert_memory_equal(buf, "two", 3);
	assert_int_equal(p.units, 0);
	frame_send(fd, 0x80, part + 2500, 500); /* final */
	PEER_UNTIL(p.units == 1);
	assert_false(p.text);
	assert_int_equal(p.unit_n, 3000);
	assert_memory_equal(p.unit, part, 3000);
	frame_send(fd, 0x01, "hello ", 6);
	frame_send(fd, 0x80, "world", 5);
	PEER_UNTIL(p.units == 2);
	assert_true(p.text);
	assert_int_equal(p.unit_n, 11);
	assert_memory_equal(p.unit, "hello world", 11);
	close(fd);
}

static void empty_messages_are_no_units(void **state)
{
	int fd = plain_link();

	frame_send(fd, 0x82, "", 0);
	frame_send(fd, 0x01, "", 0);
	frame_send(fd, 0x80, "", 0);
	frame_send(fd, 0x82, "x", 1);
	PEER_UNTIL(p.units == 1);
	assert_int_equal(p.unit_n, 1);
	close(fd);
}

static void text_is_not_checked_for_utf8(void **state)
{
	int fd = plain_link();

	frame_send(fd, 0x81, "\xff\xfe\x80", 3);
	PEER_UNTIL(p.units == 1);
	assert_true(p.text);
	assert_int_equal(p.unit_n, 3);
	close(fd);
}

static void frame_cut_at_every_byte_arrives_whole(void **state)
{
	int fd = plain_link();
	const uint8_t frame[] = {0x82, 0xfe, 0x00, 0x80, 1, 2, 3, 4};
	uint8_t byte = 7;

	for (int round = 1; round <= 2; round++) {
		for (size_t i = 0; i < sizeof frame; i++) {
			raw_send(fd, frame + i, 1);
			uv_bench_turn(&bench);
		}
		for (int i = 0; i < 128; i++) {
			raw_send(fd, &byte, 1);
			if (i % 16 == 0)
				uv_bench_turn(&bench);
		}
		PEER_UNTIL(p.units == round);
		assert_int_equal(p.unit_n, 128);
		assert_int_equal(p.unit[0], 7 ^ 1);
		assert_int_equal(p.unit[127], 7 ^ 4);
	}
	close(fd);
}

static void expect_end(int fd, enum link_end why)
{
	uint8_t buf[256];

	PEER_UNTIL(p.closed == 1);
	assert_int_equal(p.why, why);
	while (peer_read(fd, buf, sizeof buf) > 0)
		;
	close(fd);
}

static void expect_close_code(int fd, unsigned code, enum link_end why)
{
	uint8_t first, buf[126];

	assert_true(frame_read(fd, &first, buf, sizeof buf) >= 4);
	assert_int_equal(first, 0x88);
	assert_int_equal(buf[0] << 8 | buf[1], code);
	frame_send(fd, 0x88, buf, 2);
	expect_end(fd, why);
}

static void announced_oversize_ends_with_1009_before_it_comes(void **state)
{
	int fd = plain_link();
	const uint8_t head[] = {0x82, 0xff, 0, 0, 0, 0, 0,  0x10,
				0,    1,    1, 2, 3, 4, 'x'}; /* 1 MiB + 1 */

	raw_send(fd, head, sizeof head);
	expect_close_code(fd, 1009, LINK_END_PROTOCOL);
	assert_int_equal(p.units, 0);
}

static void largest_message_arrives(void **state)
{
	int fd = plain_link();
	uint8_t *big = calloc(1, WS_UNIT_MAX);

	assert_non_null(big);
	frame_send(fd, 0x82, big, WS_UNIT_MAX);
	PEER_UNTIL(p.units == 1);
	assert_int_equal(p.unit_n, WS_UNIT_MAX);
	frame_send(fd, 0x02, big, WS_UNIT_MAX / 2);
	frame_send(fd, 0x80, big, WS_UNIT_MAX / 2);
	PEER_UNTIL(p.units == 2);
	assert_int_equal(p.unit_n, WS_UNIT_MAX);
	free(big);
	close(fd);
}

static void oversize_in_fragments_ends_with_1009(void **state)
{
	int fd = plain_link();
	uint8_t *part = calloc(1, 400000);

	assert_non_null(part);
	frame_send(fd, 0x02, part, 400000);
	frame_send(fd, 0x00, part, 400000);
	frame_send(fd, 0x00, part, 400000);
	free(part);
	expect_close_code(fd, 1009, LINK_END_PROTOCOL);
	assert_int_equal(p.units, 0);
}

static void impossible_length_ends(void **state)
{
	int fd = plain_link();
	const uint8_t head[] = {0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff,
				0xff, 0xff, 1,	  2,	3,    4,    'x'};

	raw_send(fd, head, sizeof head);
	expect_close_code(fd, 1009, LINK_END_PROTOCOL);
}

static void violations_end_the_link(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
	} bad[] = {
		{"\x83\x80\1\2\3\4", 6},       /* reserved opcode */
		{"\xc2\x81\1\2\3\4z", 7},      /* reserved bit: compression was declined */
		{"\x09\x80\1\2\3\4", 6},       /* fragmented ping */
		{"\x80\x81\1\2\3\4z", 7},      /* continues nothing */
		{"\x89\xfe\0\x80\1\2\3\4", 8}, /* long ping */
		{"\x02\x81\1\2\3\4z\x82\x81\1\2\3\4z", 14}, /* a message inside a message */
		{"\x82\xff\x80\0\0\0\0\0\0\1\1\2\3\4", 14}, /* negative length */
	};

	uint8_t byte;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int fd = plain_link();

		raw_send(fd, bad[i].bytes, bad[i].n);
		while (peer_read(fd, &byte, 1) > 0 && byte != 0x88)
			;
		close(fd); /* after its close frame, if it sends one */
		PEER_UNTIL(p.closed == 1);
		assert_int_equal(p.units, 0);
		assert_true(p.why == LINK_END_PROTOCOL || p.why == LINK_END_IO);
		peer_close(&p);
	}
}

/* libwebsockets counts the payload of this one down from zero. */
static void unmasked_frame_of_no_length_is_bounded(void **state)
{
	int fd = plain_link();
	uint8_t junk[2000] = {0};

	raw_send(fd, "\x82\x7e\0\0", 4);
	for (int i = 0; i < 1000 && !p.closed; i++) {
		if (send(fd, junk, sizeof junk, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
			break;
		uv_bench_turn(&bench);
	}
	close(fd);
	PEER_UNTIL(p.closed == 1);
	assert_true(p.unit_n <= WS_UNIT_MAX);
}

/* --- the end of a link --- */

static void close_frame_is_answered(void **state)
{
	int fd = plain_link();
	uint8_t first, buf[126];

	frame_send(fd, 0x88,
		   "\x03\xe8"
		   "bye",
		   5);
	assert_int_equal(frame_read(fd, &first, buf, sizeof buf), 7);
	assert_int_equal(first, 0x88);
	assert_memory_equal(buf, "\x03\xe8", 2);
	expect_end(fd, LINK_END_REMOTE);
	assert_non_null(strstr(p.detail, "1000"));
}

static void our_close_is_1000(void **state)
{
	int fd = plain_link();

	tp_close(p.t, p.info.id);
	expect_close_code(fd, 1000, LINK_END_LOCAL);
}

static void close_without_an_answer_is_bounded(void **state)
{
	int fd = plain_link();

	tp_close(p.t, p.info.id);
	PEER_UNTIL(p.closed == 1);
	assert_int_equal(p.why, LINK_END_LOCAL);
	close(fd);
}

static void reset_in_the_middle_of_a_message_is_io(void **state)
{
	int fd = plain_link();
	struct linger now = {1, 0};

	frame_send(fd, 0x02, "half", 4);
	raw_send(fd, "\x80\xfe\x10\x00\1\2\3\4 some", 13);
	bench_wait_ms(30);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(fd);
	PEER_UNTIL(p.closed == 1);
	assert_int_equal(p.why, LINK_END_IO);
	assert_int_equal(p.units, 0);
}

static void end_without_close_frame_is_io(void **state)
{
	int fd = plain_link();

	close(fd);
	PEER_UNTIL(p.closed == 1);
	assert_int_equal(p.why, LINK_END_IO);
}

static void reset_while_we_have_much_to_send_is_io(void **state)
{
	int fd = plain_link();
	struct linger now = {1, 0};
	uint8_t *big = calloc(1, WS_UNIT_MAX);

	assert_non_null(big);
	for (int i = 0; i < 3; i++)
		assert_int_equal(tp_send(p.t, p.info.id, bytes_of(big, WS_UNIT_MAX), false),
				 ERR_OK);
	free(big);
	bench_wait_ms(50);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(fd);
	PEER_UNTIL(p.closed == 1);
	assert_int_equal(p.why, LINK_END_IO);
}

static void close_of_a_stuck_link_is_bounded(void **state)
{
	int fd = plain_link(); /* never reads again */
	uint8_t *big = calloc(1, WS_UNIT_MAX);

	assert_non_null(big);
	while (tp_send(p.t, p.info.id, bytes_of(big, WS_UNIT_MAX), false) == ERR_OK)
		bench_wait_ms(20);
	free(big);
	tp_close(p.t, p.info.id);
	PEER_UNTIL(p.closed == 1);
	assert_int_equal(p.why, LINK_END_LOCAL);
	close(fd);
}

/* --- keep-alive --- */

static void keepalive_is_kept_by_answers(void **state)
{
	struct ws_config c = plain_config();
	uint8_t first, buf[126];
	int fd, pings = 0;

	c.keepalive_ms = 200;
	peer_open(&p, &c);
	fd = peer_upgrade(ws_port(p.t), "/", "", answer, sizeof answer);
	PEER_UNTIL(p.opened == 1);
	while (pings < 4) {
		long n = frame_read(fd, &first, buf, sizeof buf);

		assert_true(n >= 2);
		assert_int_equal(first, 0x89);
		frame_send(fd, 0x8a, buf, (size_t)n - 2);
		pings++;
	}
	assert_int_equal(p.closed, 0);
	close(fd);
}

static void keepalive_is_kept_by_data(void **state)
{
	struct ws_config c = plain_config();
	int fd;

	c.keepalive_ms = 300;
	peer_open(&p, &c);
	fd = peer_upgrade(ws_port(p.t), "/", "", answer, sizeof answer);
	PEER_UNTIL(p.opened == 1);
	for (int i = 0; i < 40; i++) {
		frame_send(fd, 0x82, "x", 1);
		bench_wait_ms(50);
	}
	assert_int_equal(p.closed, 0);
	close(fd);
}

static void silence_ends_with_1011(void **state)
{
	struct ws_config c = plain_config();
	uint8_t first, buf[126];
	int fd;

	c.keepalive_ms = 200;
	peer_open(&p, &c);
	fd = peer_upgrade(ws_port(p.t), "/", "", answer, sizeof answer);
	assert_true(frame_read(fd, &first, buf, sizeof buf) >= 2);
	assert_int_equal(first, 0x89);
	expect_close_code(fd, 1011, LINK_END_TIMEOUT);
}

static void paused_link_is_not_dead(void **state)
{
	struct ws_config c = plain_config();
	int fd;

	c.keepalive_ms = 200;
	peer_open(&p, &c);
	fd = peer_upgrade(ws_port(p.t), "/", "", answer, sizeof answer);
	PEER_UNTIL(p.opened == 1);
	tp_pause(p.t, p.info.id, true);
	frame_send(fd, 0x82, "x", 1);
	bench_wait_ms(1500);
	assert_int_equal(p.closed, 0);
	assert_int_equal(p.units, 0);
	tp_pause(p.t, p.info.id, false);
	PEER_UNTIL(p.units == 1);
	close(fd);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(any_path_opens_without_extension_or_subprotocol),
		T(plaintext_is_refused_at_once_by_default),
		T(tls_hello_on_a_plain_port_is_closed_at_once),
		T(one_port_serves_tls_and_plain),
		T(unwelcome_source_is_closed_before_anything),
		T(listens_only_where_told),
		T(ipv6_source_is_its_network),
		T(any_address_serves_ipv4_under_its_own_name),
		T(busy_port_is_said),
		T(what_is_no_address_is_said),
		T(tls_without_its_files_is_said),
		T(silent_connection_ends_after_first_byte_ms),
		T(early_goodbye_is_not_strange),
		T(garbage_first_byte_is_strange),
		T(trickled_header_ends_after_upgrade_ms),
		T(trickled_tls_hello_ends_after_upgrade_ms),
		T(bad_tls_is_strange),
		T(request_that_is_no_upgrade_is_closed),
		T(endless_header_is_closed),
		T(half_open_connections_are_capped),
		T(cap_of_all_half_open_holds_across_sources),
		T(links_are_capped),
		T(out_of_descriptors_neither_spins_nor_hangs),
		T(stop_ends_half_open_connections),
		T(fragments_with_pings_between_make_one_unit),
		T(empty_messages_are_no_units),
		T(text_is_not_checked_for_utf8),
		T(frame_cut_at_every_byte_arrives_whole),
		T(announced_oversize_ends_with_1009_before_it_comes),
		T(largest_message_arrives),
		T(oversize_in_fragments_ends_with_1009),
		T(impossible_length_ends),
		T(violations_end_the_link),
		T(unmasked_frame_of_no_length_is_bounded),
		T(close_frame_is_answered),
		T(our_close_is_1000),
		T(close_without_an_answer_is_bounded),
		T(reset_in_the_middle_of_a_message_is_io),
		T(end_without_close_frame_is_io),
		T(reset_while_we_have_much_to_send_is_io),
		T(close_of_a_stuck_link_is_bounded),
		T(keepalive_is_kept_by_answers),
		T(keepalive_is_kept_by_data),
		T(silence_ends_with_1011),
		T(paused_link_is_not_dead),
	};
	int failed;

	signal(SIGPIPE, SIG_IGN);
	uv_bench_certificate(&bench);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	uv_bench_forget(&bench);
	return failed;
}
