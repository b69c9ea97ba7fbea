#include "tests/lib/transports_peer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

struct uv_bench bench;

static bool accepting(void *ctx, const char *source)
{
	struct peer *p = ctx;

	p->asked++;
	snprintf(p->source, sizeof p->source, "%s", source);
	return !p->unwelcome;
}

static void opened(void *ctx, const struct link_info *info)
{
	struct peer *p = ctx;

	p->opened++;
	p->info = *info;
}

static void unit(void *ctx, link_id id, struct bytes u, bool text)
{
	struct peer *p = ctx;

	p->units++;
	p->text = text;
	p->unit_n = u.n;
	memcpy(p->unit, u.p, u.n < sizeof p->unit ? u.n : sizeof p->unit);
}

static void closed(void *ctx, link_id id, enum link_end why, const char *detail)
{
	struct peer *p = ctx;

	p->closed++;
	p->why = why;
	snprintf(p->detail, sizeof p->detail, "%s", detail);
}

static void strange(void *ctx, const char *source, enum link_end why)
{
	struct peer *p = ctx;

	p->strange++;
	p->strange_why = why;
	assert_true(strlen(source) > 0);
}

static void stopped(void *ctx)
{
	((struct peer *)ctx)->stopped = true;
}

enum err peer_try(struct peer *p, struct ws_config *c, struct fault *f)
{
	struct transport_sink sink = {
		.ctx = p,
		.accepting = accepting,
		.opened = opened,
		.unit = unit,
		.closed = closed,
		.strange = strange,
	};

	*p = (struct peer){0};
	c->loop = &bench.loop;
	return ws_new(c, &sink, &p->t, f);
}

void peer_open(struct peer *p, struct ws_config *c)
{
	struct fault f = {0};

	if (peer_try(p, c, &f) != ERR_OK)
		fail_msg("ws_new: %s", f.what);
}

void peer_close(struct peer *p)
{
	if (!p->t)
		return;
	tp_stop(p->t, stopped, p);
	PEER_UNTIL(p->stopped);
	tp_free(p->t);
	p->t = NULL;
}

struct transport_stats peer_stats(struct peer *p)
{
	struct transport_stats s;

	tp_stats(p->t, &s);
	return s;
}

void bench_wait_ms(uint64_t ms)
{
	for (uint64_t end = uv_bench_now(&bench) + ms; uv_bench_now(&bench) < end;)
		uv_bench_turn(&bench);
}

long peer_read(int fd, void *buf, size_t n)
{
	long r = -1;

	PEER_UNTIL((r = raw_read(fd, buf, n)) >= 0);
	return r;
}

bool peer_closes(int fd)
{
	char c;

	return peer_read(fd, &c, 1) == 0;
}

int peer_upgrade(uint16_t port, const char *path, const char *more_headers, char *answer,
		 size_t cap)
{
	int fd = raw_connect(port);
	char request[2048];
	size_t n = 0;
	int len = snprintf(request, sizeof request,
			   "GET %s HTTP/1.1\r\nHost: anything\r\nUpgrade: websocket\r\n"
			   "Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
			   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
			   path, more_headers);

	raw_send(fd, request, (size_t)len);
	answer[0] = '\0';
	while (!strstr(answer, "\r\n\r\n")) {
		long r = peer_read(fd, answer + n, 1); /* leaves the first frame alone */

		if (r == 0)
			break;
		n += (size_t)r;
		assert_true(n + 1 < cap);
		answer[n] = '\0';
	}
	return fd;
}

void frame_send(int fd, uint8_t first, const void *payload, size_t n)
{
	uint8_t *f = malloc(n + 14);
	const uint8_t mask[4] = {0x11, 0x22, 0x33, 0x44};
	size_t h = 2, sent = 0;

	assert_non_null(f);
	f[0] = first;
	if (n < 126) {
		f[1] = (uint8_t)(0x80 | n);
	} else if (n < 65536) {
		f[1] = 0x80 | 126;
		f[2] = (uint8_t)(n >> 8);
		f[3] = (uint8_t)n;
		h = 4;
	} else {
		f[1] = 0x80 | 127;
		for (int i = 0; i < 8; i++)
			f[2 + i] = (uint8_t)(n >> (56 - 8 * i));
		h = 10;
	}
	memcpy(f + h, mask, 4);
	h += 4;
	for (size_t i = 0; i < n; i++)
		f[h + i] = ((const uint8_t *)payload)[i] ^ mask[i & 3];
	while (sent < h + n) {
		ssize_t r = send(fd, f + sent, h + n - sent, MSG_NOSIGNAL);

		if (r > 0)
			sent += (size_t)r;
		else if (errno == EPIPE || errno == ECONNRESET)
			break; /* it has heard enough */
		else
			uv_bench_turn(&bench);
	}
	free(f);
}

long frame_read(int fd, uint8_t *first, void *buf, size_t cap)
{
	uint8_t head[2];
	size_t n, got = 0;

	for (size_t i = 0; i < 2; i++)
		if (peer_read(fd, head + i, 1) == 0)
			return 0;
	assert_int_equal(head[1] & 0x80, 0); /* a listener does not mask */
	n = head[1] & 0x7f;
	assert_true(n < 126 && n <= cap);
	while (got < n) {
		long r = peer_read(fd, (uint8_t *)buf + got, n - got);

		if (r == 0)
			return 0;
		got += (size_t)r;
	}
	*first = head[0];
	return (long)n + 2;
}
