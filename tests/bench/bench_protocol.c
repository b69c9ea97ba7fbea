/*
 * bench_protocol.c -- what one 1 KiB message costs a session of the 0.9 wire, without disk and
 * network: session_send (sign twice, encrypt), session_take (open, verify twice), and one handshake
 * of both ends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "protocol/v09/v09.h"
#include "trust/keyring.h"

#define BODY   1024
#define ROUNDS 4000
#define BATCH  20 /* below what an upstream peer allows in a second */

static struct {
	uint8_t *p;
	size_t n;
} frames[BATCH];

static uint64_t seed = 1, wall = 1753500000250;

static uint64_t fixed(void *ctx)
{
	return *(uint64_t *)ctx;
}

/* Speed of chance is not what is measured here. */
static void fill(void *ctx, void *out, size_t n)
{
	uint8_t *p = out;

	for (size_t i = 0; i < n; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		p[i] = (uint8_t)(seed >> 56);
	}
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* CPU, as other work shares the machine */
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Drains `from`; units go to `to` when there is one. */
static size_t drain(struct session *from, struct session *to)
{
	struct session_unit u;
	struct session_event e;
	size_t messages = 0;
	bool more = true;

	while (more) {
		while (session_next_unit(from, &u))
			if (to) {
				session_take(to, u.bytes, u.text);
				messages += drain(to, NULL);
			}
		more = session_next_event(from, &e);
		if (more && e.type == SESSION_EV_IDENTIFIED)
			session_admit(from);
		messages += more && e.type == SESSION_EV_MESSAGE;
	}
	return messages;
}

static struct session *make(struct env *env, const struct keyring *k, enum session_role role)
{
	struct session_config c = {.env = env,
				   .keyring = k,
				   .passphrase = BYTES_LIT("testpassphrase1234"),
				   .name = "bench",
				   .role = role,
				   .min_version = VERSION_OF(0, 3),
				   .handshake_ms = 5000,
				   .past_ms = 30000,
				   .future_ms = 5000};
	struct session *s;

	BUG_ON(v09_session_new(&c, &s) != ERR_OK);
	session_start(s);
	return s;
}

static void move(struct session *from, struct session *to)
{
	struct session_unit u;
	struct session_event e;

	while (session_next_unit(from, &u))
		session_take(to, u.bytes, u.text);
	while (session_next_event(to, &e))
		if (e.type == SESSION_EV_IDENTIFIED)
			session_admit(to);
}

static void meet(struct session *a, struct session *b)
{
	for (int i = 0; i < 4 && !(session_online(a) && session_online(b)); i++) {
		move(b, a);
		move(a, b);
	}
	BUG_ON(!session_online(a) || !session_online(b));
	drain(a, NULL);
	drain(b, NULL);
}

int main(void)
{
	static uint8_t body[BODY];
	struct env env = {.ctx = &wall, .now_ms = fixed, .wall_ms = fixed, .random = fill};
	struct keyring *ka, *kb;
	double send_ns = 0, take_ns = 0, t;
	size_t got = 0;

	BUG_ON(keyring_generate(&env, &ka) != ERR_OK || keyring_generate(&env, &kb) != ERR_OK);
	t = now_ns();
	for (int i = 0; i < 100; i++) {
		struct session *x = make(&env, ka, SESSION_DIALLER),
			       *y = make(&env, kb, SESSION_LISTENER);
		meet(x, y);
		session_free(x);
		session_free(y);
	}
	double handshake_ns = (now_ns() - t) / 100;

	struct session *a = make(&env, ka, SESSION_DIALLER), *b = make(&env, kb, SESSION_LISTENER);
	meet(a, b);
	fill(NULL, body, sizeof body);
	for (int i = 0; i < BATCH; i++)
		frames[i].p = malloc(8192);
	for (int round = 0; round < ROUNDS / BATCH; round++) {
		struct message m = {.type = BYTES_LIT("MSG"),
				    .id = BYTES_LIT("0f8fad5b-d9cb-469f-a165-70867728950e"),
				    .destination = *keyring_id(kb),
				    .created_ms = wall,
				    .priority = PRIO_NORMAL,
				    .ttl = 5,
				    .body = BYTES_ARR(body)};
		struct session_unit u;

		t = now_ns();
		for (int i = 0; i < BATCH; i++) {
			BUG_ON(session_send(a, &m) != ERR_OK || !session_next_unit(a, &u));
			memcpy(frames[i].p, u.bytes.p, frames[i].n = u.bytes.n);
			BUG_ON(session_next_unit(a, &u));
		}
		send_ns += now_ns() - t;
		t = now_ns();
		for (int i = 0; i < BATCH; i++) {
			session_take(b, bytes_of(frames[i].p, frames[i].n), false);
			got += drain(b, NULL);
		}
		take_ns += now_ns() - t;
	}
	BUG_ON(got != ROUNDS);
	printf("handshake_both_ns %.0f\nsend_1KiB_ns %.0f\ntake_1KiB_ns %.0f\nframe_bytes %zu\n",
	       handshake_ns, send_ns / ROUNDS, take_ns / ROUNDS, frames[0].n);
	for (int i = 0; i < BATCH; i++)
		free(frames[i].p);
	session_free(a);
	session_free(b);
	keyring_free(ka);
	keyring_free(kb);
	return 0;
}
