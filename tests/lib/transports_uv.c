#include "tests/lib/transports_uv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void tick(uv_timer_t *t)
{
}

void uv_bench_open(struct uv_bench *u)
{
	assert_int_equal(uv_loop_init(&u->loop), 0);
	assert_int_equal(uv_timer_init(&u->loop, &u->tick), 0);
}

void uv_bench_turn(struct uv_bench *u)
{
	uv_update_time(&u->loop); /* else the tick may be due before the loop looks, which then sleeps without it */
	uv_timer_start(&u->tick, tick, 5, 0);
	uv_run(&u->loop, UV_RUN_ONCE);
	uv_timer_stop(&u->tick);
}

uint64_t uv_bench_now(struct uv_bench *u)
{
	return uv_hrtime() / 1000000;
}

static void left(uv_handle_t *h, void *arg)
{
	print_error("left on the loop: %s active=%d closing=%d\n", uv_handle_type_name(h->type),
		    uv_is_active(h), uv_is_closing(h));
}

void uv_bench_close(struct uv_bench *u)
{
	uv_close((uv_handle_t *)&u->tick, NULL);
	uv_run(&u->loop, UV_RUN_NOWAIT);
	if (uv_loop_close(&u->loop) != 0) {
		uv_walk(&u->loop, left, NULL);
		fail_msg("the loop is not empty");
	}
}

void uv_bench_certificate(struct uv_bench *u)
{
	struct fault f = {0};

	strcpy(u->dir, "/tmp/ironmesh-test-XXXXXX");
	assert_non_null(mkdtemp(u->dir));
	snprintf(u->cert, sizeof u->cert, "%s/tls-cert.pem", u->dir);
	snprintf(u->key, sizeof u->key, "%s/tls-key.pem", u->dir);
	assert_int_equal(tls_ensure(u->cert, u->key, "alpha", &f), ERR_OK);
}

void uv_bench_forget(struct uv_bench *u)
{
	unlink(u->cert);
	unlink(u->key);
	rmdir(u->dir);
}

static int made(int fd)
{
	assert_true(fd >= 0);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return fd;
}

int raw_connect(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	return made(fd);
}

int raw_connect6(uint16_t port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin6_addr = in6addr_loopback;
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return made(fd);
}

void raw_send(int fd, const void *p, size_t n)
{
	assert_int_equal(send(fd, p, n, MSG_NOSIGNAL), n);
}

long raw_read(int fd, void *p, size_t n)
{
	ssize_t r = recv(fd, p, n, 0);

	if (r >= 0)
		return r;
	return errno == EAGAIN || errno == EWOULDBLOCK ? -1 : 0;
}
