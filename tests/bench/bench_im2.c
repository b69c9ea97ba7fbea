/*
 * bench_im2.c -- what im2 costs without disk and network: both handshakes, sealing and opening frames, in bytes
 * and in processor time, and what a session holds in memory.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/lib/protocol_im2_pair.h"

#define BODY 1024
#define ROUNDS 400
#define FRAME 64
#define FRAMES 1500

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* both ends run here, one after the other */
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

struct side {
	struct inode *n;
	struct session *s;
	uint8_t unit[8][4096];
	size_t len[8];
	unsigned queued;
	size_t bytes, messages, receipts;
};

/* Drains units into memory and answers IDENTIFIED. */
static void drain(struct side *x)
{
	struct session_unit u;
	struct session_event e;
	bool more = true;

	while (more) {
		while (session_next_unit(x->s, &u)) {
			BUG_ON(x->queued == 8 || u.bytes.n > sizeof x->unit[0]);
			memcpy(x->unit[x->queued], u.bytes.p, u.bytes.n);
			x->len[x->queued++] = u.bytes.n;
			x->bytes += u.bytes.n;
		}
		more = session_next_event(x->s, &e);
		if (more && e.type == SESSION_EV_IDENTIFIED)
			session_admit(x->s);
	}
}

static void exchange(struct side *a, struct side *b)
{
	drain(a);
	drain(b);
	while (a->queued || b->queued) {
		struct side *from = a->queued ? a : b, *to = from == a ? b : a;
		unsigned n = from->queued;

		from->queued = 0;
		for (unsigned i = 0; i < n; i++) {
			session_take(to->s, bytes_of(from->unit[i], from->len[i]), false);
			drain(to);
		}
	}
}

static void open_side(struct side *x, struct inode *n, enum session_role role, const uint8_t *expected)
{
	struct im2_link_config c = { .role = role, .owner = n, .transport = IM2_LOOPBACK };

	memset(x, 0, sizeof *x);
	x->n = n;
	if (expected) {
		c.has_expected = true;
		memcpy(c.expected, expected, ED_BYTES);
	}
	BUG_ON(im2_link_new(n->host, &c, &x->s) != ERR_OK);
	session_start(x->s);
}

static void meet(struct side *a, struct side *b, struct inode *na, struct inode *nb, bool known)
{
	open_side(b, nb, SESSION_LISTENER, NULL);
	open_side(a, na, SESSION_DIALLER, known ? keyring_ed(nb->k) : NULL);
	exchange(a, b);
	BUG_ON(!session_online(a->s) || !session_online(b->s));
}

/* Mean of both ends together. `fresh`: hosts forget, so that nothing is resumed. */
static double handshakes(struct inode *na, struct inode *nb, bool known, size_t *bytes)
{
	static struct side a, b;
	double sum = 0;

	for (int i = 0; i < ROUNDS; i++) {
		inode_restart(na);
		inode_restart(nb);
		if (!known)
			na->pins_n = nb->pins_n = 0;
		double t = now_us();

		meet(&a, &b, na, nb, known);
		sum += now_us() - t;
		*bytes = a.bytes + b.bytes;
		session_free(a.s);
		session_free(b.s);
	}
	return sum / ROUNDS;
}

static void fill(struct side *x, const uint8_t *body, size_t n, unsigned count, uint8_t flags)
{
	static uint64_t seq;

	for (unsigned i = 0; i < count; i++) {
		struct message m = { .type = BYTES_LIT("MSG"), .created_ms = WALL_T, .priority = PRIO_NORMAL,
				     .body = bytes_of(body, n), .has_wire_id = true, .ext = { .flags = flags } };
		struct wr w = wr_init(m.wire_id, sizeof m.wire_id);

		wr_u64(&w, 7);
		wr_u64(&w, ++seq);
		BUG_ON(session_send(x->s, &m) != ERR_OK);
	}
}

static uint8_t frame[1 << 18];

static size_t take_frame(struct side *x)
{
	struct session_unit u;
	size_t n = 0;

	while (session_next_unit(x->s, &u)) {
		BUG_ON(n + u.bytes.n > sizeof frame);
		memcpy(frame + n, u.bytes.p, u.bytes.n);
		BUG_ON(n);
		n = u.bytes.n;
	}
	return n;
}

static void frames(struct side *a, struct side *b, size_t body_n, unsigned per_frame, uint8_t flags, const char *what)
{
	static uint8_t body[65536];
	double send = 0, take = 0, t;
	size_t bytes = 0, got = 0;
	unsigned rounds = FRAMES * FRAME / per_frame / (body_n > BODY ? 64 : 1);

	if (rounds > 20000)
		rounds = 20000;
	memset(body, 'x', sizeof body);
	for (unsigned i = 0; i < rounds; i++) {
		struct session_event e;

		t = now_us();
		fill(a, body, body_n, per_frame, flags);
		size_t n = take_frame(a);

		send += now_us() - t;
		bytes += n;
		t = now_us();
		session_take(b->s, bytes_of(frame, n), false);
		while (session_next_event(b->s, &e))
			got += e.type == SESSION_EV_MESSAGE;
		take += now_us() - t;
		drain(b);
		b->queued = 0;
	}
	unsigned total = rounds * per_frame;

	BUG_ON(got != total);
	printf("  %-44s %.2f us to send, %.2f us to take, %.1f bytes a message over its body (%.0f MB/s one way)\n", what,
	       send / total, take / total, (double)bytes / total - (double)body_n,
	       (double)body_n * total / (send > take ? send : take));
}

static double session_memory(struct inode *na, struct inode *nb)
{
	static struct side a, b;
	size_t before, after;

	inode_restart(na);
	inode_restart(nb);
	before = im2_host_bytes(na->host);
	meet(&a, &b, na, nb, true);
	session_free(a.s);
	session_free(b.s);
	after = im2_host_bytes(na->host);
	return (double)(after - before);
}

int main(void)
{
	static struct side a, b;
	struct penv e;
	struct inode na, nb;
	size_t first = 0, known = 0;
	double us;

	penv_init(&e);
	inode_init(&na, &e, 0, NULL);
	inode_init(&nb, &e, 1, NULL);
	printf("im2 without disk and network (processor time, both ends one after the other)\n");
	us = handshakes(&na, &nb, false, &first);
	printf("  %-44s %.0f us both ends (%.0f/s per core and end), %zu bytes with the first frames\n",
	       "first contact: CPace, Noise XXpsk0", us, 2e6 / us, first);
	us = handshakes(&na, &nb, true, &known);
	printf("  %-44s %.0f us both ends (%.0f/s per core and end), %zu bytes with the first frames\n",
	       "known peer: Noise IKpsk2", us, 2e6 / us, known);
	printf("  %-44s %.0f bytes\n", "a session without a connection", session_memory(&na, &nb));
	inode_restart(&na);
	inode_restart(&nb);
	meet(&a, &b, &na, &nb, true);
	im2_link_trusted(a.s, true);
	im2_link_trusted(b.s, true);
	frames(&a, &b, BODY, FRAME, 0, "1 KiB messages, 64 a frame");
	frames(&a, &b, BODY, 1, 0, "1 KiB messages, one a frame");
	frames(&a, &b, 16, 1, 0, "16 bytes, one a frame");
	frames(&a, &b, BODY, FRAME, MSG_VOLATILE | MSG_NO_RECEIPT, "volatile, 1 KiB, 64 a frame");
	frames(&a, &b, 65536, 1, MSG_VOLATILE | MSG_NO_RECEIPT, "volatile, 64 KiB");
	session_free(a.s);
	session_free(b.s);
	inode_fini(&na);
	inode_fini(&nb);
	return 0;
}
