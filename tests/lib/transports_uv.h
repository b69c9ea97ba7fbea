/*
 * transports_uv.h -- a libuv loop for tests: turns that do not block, a clock, a scratch folder with
 * a certificate, and raw sockets that speak to a listener byte by byte.
 */
#ifndef TESTS_LIB_TRANSPORTS_UV_H
#define TESTS_LIB_TRANSPORTS_UV_H

#include <uv.h>

#include "transports/ws/ws.h"

struct uv_bench {
	uv_loop_t loop;
	uv_timer_t tick;
	char dir[64], cert[96], key[96];
};

void uv_bench_open(struct uv_bench *u);
void uv_bench_turn(struct uv_bench *u);   /* at most some milliseconds */
uint64_t uv_bench_now(struct uv_bench *u);
void uv_bench_close(struct uv_bench *u);  /* fails the test when a handle is left on the loop */
void uv_bench_certificate(struct uv_bench *u); /* in a new folder */
void uv_bench_forget(struct uv_bench *u); /* removes the folder */

/* Blocking connect to 127.0.0.1; non-blocking afterwards. */
int raw_connect(uint16_t port);
int raw_connect6(uint16_t port);
void raw_send(int fd, const void *p, size_t n);
/* What is there now: > 0 bytes, 0 at the end or a reset, -1 nothing yet. */
long raw_read(int fd, void *p, size_t n);

#endif
