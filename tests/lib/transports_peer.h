/*
 * transports_peer.h -- one ws endpoint under test and what it was told, for tests that attack it or
 * serve it with raw sockets.
 */
#ifndef TESTS_LIB_TRANSPORTS_PEER_H
#define TESTS_LIB_TRANSPORTS_PEER_H

#include "tests/lib/transports_uv.h"

struct peer {
	struct transport *t;
	struct link_info info; /* of the last link that opened */
	int opened, closed, units, strange, asked;
	enum link_end why, strange_why;
	char detail[256], source[64];
	bool unwelcome, text, stopped;
	uint8_t unit[4096]; /* the beginning of the last unit */
	size_t unit_n;
};

extern struct uv_bench bench;

enum err peer_try(struct peer *p, struct ws_config *c, struct fault *f);
void peer_open(struct peer *p, struct ws_config *c); /* fills c->loop */
void peer_close(struct peer *p);
struct transport_stats peer_stats(struct peer *p);
void bench_wait_ms(uint64_t ms);

#define PEER_UNTIL(condition)                                                                      \
	do {                                                                                       \
		uint64_t from_ = uv_bench_now(&bench);                                             \
		while (!(condition)) {                                                             \
			uv_bench_turn(&bench);                                                     \
			if (uv_bench_now(&bench) > from_ + 30000)                                  \
				fail_msg("never: %s", #condition);                                 \
		}                                                                                  \
	} while (0)

/* Turns the loop until the descriptor has something; returns as raw_read(). */
long peer_read(int fd, void *buf, size_t n);
/* True when the far side closes without having sent anything. */
bool peer_closes(int fd);
/* A WebSocket client by hand. */
int peer_upgrade(uint16_t port, const char *path, const char *more_headers, char *answer, size_t cap);
void frame_send(int fd, uint8_t first, const void *payload, size_t n); /* masked */
/* Reads one small frame of the listener: opcode byte, payload to buf. 0 at the end. */
long frame_read(int fd, uint8_t *first, void *buf, size_t cap);

#endif
