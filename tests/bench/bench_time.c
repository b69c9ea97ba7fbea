/*
 * bench_time.c -- does the time of a refusal tell how nearly right a proof was?
 *
 * For every check that decides over a secret: 10,000 proofs that are wrong at once against 10,000 that are wrong at the
 * very end, in random order, and Welch's t of the two. Below 4.5 the two cannot be told apart at this number. It
 * reports and never fails: a noisy machine is no bug, a figure that stays high is.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <sodium.h>

#include "base/hash.h"
#include "base/secret.h"
#include "protocol/im2/cpace.h"
#include "protocol/im2/frame.h"
#include "protocol/im2/handshake.h"
#include "trust/psks.h"

#define SAMPLES 10000
#define LIMIT	4.5

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "bench_time: %s:%d: %s\n", __FILE__, __LINE__, #cond);     \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* --- measuring --- */

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct set {
	double v[2 * SAMPLES];
	size_t n;
};
static struct set times[2]; /* wrong at once, nearly right */

/* Interrupts make a long tail that hides the rest: what is above the 95th percentile of both together stays out. */
static double cut_of(void)
{
	static double all[4 * SAMPLES];
	size_t n = 0;

	for (int c = 0; c < 2; c++)
		for (size_t i = 0; i < times[c].n; i++)
			all[n++] = times[c].v[i];
	qsort(all, n, sizeof all[0], by_value);
	return all[n * 95 / 100];
}

static double welch(double mean[static 2])
{
	double cut = cut_of(), var[2], n[2];

	for (int c = 0; c < 2; c++) {
		double sum = 0, sq = 0;

		n[c] = 0;
		for (size_t i = 0; i < times[c].n; i++)
			if (times[c].v[i] <= cut)
				sum += times[c].v[i], n[c]++;
		mean[c] = sum / n[c];
		for (size_t i = 0; i < times[c].n; i++)
			if (times[c].v[i] <= cut)
				sq += (times[c].v[i] - mean[c]) * (times[c].v[i] - mean[c]);
		var[c] = sq / (n[c] - 1);
	}
	return (mean[0] - mean[1]) / sqrt(var[0] / n[0] + var[1] / n[1]);
}

static void early_check(void *ctx); /* the control */

/* One row: prepare(ctx, nearly) gets a proof ready, check(ctx) refuses it and is what is timed. */
static void row(const char *name, void (*prepare)(void *ctx, bool nearly), void (*check)(void *ctx), void *ctx)
{
	double mean[2], t;

	times[0].n = times[1].n = 0;
	for (int i = 0; i < 200; i++) {
		prepare(ctx, i & 1);
		check(ctx);
	}
	while (times[0].n < SAMPLES || times[1].n < SAMPLES) {
		int c = (int)(randombytes_random() & 1);
		double from;

		if (times[c].n == SAMPLES)
			c = !c;
		prepare(ctx, c);
		from = now_ns();
		check(ctx);
		times[c].v[times[c].n++] = now_ns() - from;
	}
	t = welch(mean);
	printf("%-44s %9.0f %9.0f %8.2f %6.1f  %s\n", name, mean[0], mean[1], t, LIMIT,
	       fabs(t) < LIMIT ? "" : check == early_check ? "as it should" : "above: run it again on a quiet machine");
	fflush(stdout);
}

/* --- the world --- */

static uint64_t env_time(void *ctx)
{
	return 1000;
}

static void env_chance(void *ctx, void *out, size_t n)
{
	randombytes_buf(out, n);
}

static struct env env = {.now_ms = env_time, .wall_ms = env_time, .random = env_chance};
static struct keyring *alice, *bob;
static const struct im2_binding binding = {.transport = IM2_SERIAL}; /* a refused unit leaves the handshake as it was */
static uint8_t mesh[IM2_KEY] = {7};
static struct im2_hello hello = {.rx = {1, 2, 3, 4}};

static void fresh(struct buf *b)
{
	if (!b->max)
		buf_init(b, 4096);
	buf_reset(b);
}

/* A tag that is wrong in its first byte, or right up to its last one. */
static void spoil(const struct buf *good, uint8_t *unit, size_t tag_at, size_t tag_n, bool nearly)
{
	memcpy(unit, good->p, good->n);
	unit[nearly ? tag_at + tag_n - 1 : tag_at] ^= 1;
}

/* --- X2 and X3 --- */

struct shake {
	struct im2_xx d, l;
	struct buf x1, x2, x3, out;
	uint8_t unit[512];
	struct im2_hello heard;
};

static void x2_prepare(void *ctx, bool nearly)
{
	struct shake *s = ctx;

	fresh(&s->out);
	spoil(&s->x2, s->unit, s->x2.n - NOISE_TAG, NOISE_TAG, nearly);
}

static void x2_check(void *ctx)
{
	struct shake *s = ctx;

	CHECK(im2_xx_take_x2(&s->d, bytes_of(s->unit, s->x2.n), &hello, &s->out) == IM2_E_AEAD);
}

static void x3_prepare(void *ctx, bool nearly)
{
	struct shake *s = ctx;

	/* The static key of the dialler comes first: its tag. */
	spoil(&s->x3, s->unit, 1 + 32 + 32, NOISE_TAG, nearly);
}

static void x3_payload(void *ctx, bool nearly)
{
	struct shake *s = ctx;

	spoil(&s->x3, s->unit, s->x3.n - NOISE_TAG, NOISE_TAG, nearly);
}

static void x3_check(void *ctx)
{
	struct shake *s = ctx;

	CHECK(im2_xx_take_x3(&s->l, bytes_of(s->unit, s->x3.n), &s->heard) == IM2_E_AEAD);
}

/* CPace: the confirmation is X2. The other end's passphrase differs in its first byte of the key, or in the last. */
static void cpace_prepare(void *ctx, bool nearly)
{
	struct shake *s = ctx;
	uint8_t other[IM2_KEY];

	memcpy(other, mesh, sizeof other);
	other[nearly ? IM2_KEY - 1 : 0] ^= 1;
	fresh(&s->x2);
	fresh(&s->out);
	im2_xx_wipe(&s->l);
	CHECK(im2_xx_listen(&s->l, &env, bob, BYTES_ARR(other), &binding, buf_bytes(&s->x1), &s->x2) == IM2_FINE);
	memcpy(s->unit, s->x2.p, s->x2.n);
}

/* --- I1 --- */

struct known {
	struct buf i1;
	uint8_t unit[512], x[32];
	struct im2_ik r;
};

static void i1_prepare(void *ctx, bool nearly)
{
	struct known *k = ctx;

	im2_ik_wipe(&k->r);
	spoil(&k->i1, k->unit, 1 + 32 + 32, NOISE_TAG, nearly);
}

static void i1_check(void *ctx)
{
	struct known *k = ctx;

	CHECK(im2_ik_peek(&k->r, &env, bob, &binding, 0, bytes_of(k->unit, k->i1.n), k->x) != IM2_FINE);
}

/* --- frames, ids, plain comparison --- */

struct frames {
	uint8_t key[32], unit[256], out[256];
	struct buf good;
};

static void frame_prepare(void *ctx, bool nearly)
{
	struct frames *f = ctx;

	spoil(&f->good, f->unit, f->good.n - NOISE_TAG, NOISE_TAG, nearly);
}

static void frame_check(void *ctx)
{
	struct frames *f = ctx;

	CHECK(im2_frame_open(f->key, bytes_of(f->unit, f->good.n), f->out) == IM2_E_AEAD);
}

struct ids {
	struct psks p;
	uint8_t id[PSK_ID];
};

static void id_prepare(void *ctx, bool nearly)
{
	struct ids *x = ctx;

	memcpy(x->id, x->p.confirmed.id, PSK_ID);
	x->id[nearly ? PSK_ID - 1 : 0] ^= 1;
}

static void id_check(void *ctx)
{
	struct ids *x = ctx;
	bool none;

	for (int i = 0; i < 20; i++) /* one alone is shorter than the clock is fine */
		CHECK(psks_accept(&x->p, x->id, &none) == NULL);
}

struct plain {
	uint8_t a[32], b[32];
	volatile bool same;
};

static void plain_prepare(void *ctx, bool nearly)
{
	struct plain *x = ctx;

	memcpy(x->b, x->a, sizeof x->b);
	x->b[nearly ? 31 : 0] ^= 1;
}

static void plain_check(void *ctx)
{
	struct plain *x = ctx;

	for (int i = 0; i < 20; i++)
		x->same = ct_equal(x->a, x->b, sizeof x->a);
}

static void early_check(void *ctx)
{
	struct plain *x = ctx;

	for (int i = 0; i < 20; i++) {
		size_t n = 0;

		while (n < sizeof x->a && *(volatile uint8_t *)&x->a[n] == x->b[n])
			n++;
		x->same = n == sizeof x->a;
	}
}

int main(void)
{
	static struct shake s, c;
	static struct known k;
	static struct frames f;
	static struct ids ids;
	static struct plain p;
	uint8_t psk[PSK_BYTES];

	CHECK(secret_init_library() == ERR_OK);
	CHECK(keyring_generate(&env, &alice) == ERR_OK && keyring_generate(&env, &bob) == ERR_OK);
	printf("%-44s %9s %9s %8s %6s\n", "refused, 10,000 each, ns", "wrong", "nearly", "t", "limit");

	fresh(&s.x1), fresh(&s.x2), fresh(&s.x3), fresh(&s.out);
	CHECK(im2_xx_dial(&s.d, &env, alice, IM2_MODE_MESH, 0, BYTES_ARR(mesh), &binding, &s.x1) == IM2_FINE);
	CHECK(im2_xx_listen(&s.l, &env, bob, BYTES_ARR(mesh), &binding, buf_bytes(&s.x1), &s.x2) == IM2_FINE);
	row("X2: tag that confirms the passphrase", x2_prepare, x2_check, &s);
	CHECK(im2_xx_take_x2(&s.d, buf_bytes(&s.x2), &hello, &s.x3) == IM2_FINE);
	row("X3: tag of the static key", x3_prepare, x3_check, &s);
	row("X3: tag of the payload", x3_payload, x3_check, &s);

	fresh(&c.x1);
	CHECK(im2_xx_dial(&c.d, &env, alice, IM2_MODE_MESH, 0, BYTES_ARR(mesh), &binding, &c.x1) == IM2_FINE);
	row("CPace: a mesh key that differs", cpace_prepare, x2_check, &c);

	randombytes_buf(psk, sizeof psk);
	fresh(&k.i1);
	struct im2_ik start;
	CHECK(im2_ik_start(&start, &env, alice, &binding, 0, keyring_ed(bob), keyring_x25519(bob), psk, bytes_of(NULL, 0),
			   &hello, &k.i1) == IM2_FINE);
	row("I1: tag of the static key", i1_prepare, i1_check, &k);

	struct im2_tx tx = {.next = 0};
	randombytes_buf(tx.key, sizeof tx.key);
	memcpy(f.key, tx.key, sizeof f.key);
	fresh(&f.good);
	CHECK(im2_frame_build(&tx, BYTES_LIT("forty-four bytes, as a text of sixteen takes"), 44, &f.good) == ERR_OK);
	row("frame: tag", frame_prepare, frame_check, &f);

	CHECK(psks_confirm(&ids.p, psk, NULL));
	for (int i = 0; i < PSK_CANDIDATES; i++) {
		randombytes_buf(psk, sizeof psk);
		CHECK(psks_candidate(&ids.p, psk));
	}
	row("pair secret: its id, 20 times", id_prepare, id_check, &ids);

	randombytes_buf(p.a, sizeof p.a);
	row("comparison of 32 bytes, 20 times", plain_prepare, plain_check, &p);
	row("(one that stops early, to see it show)", plain_prepare, early_check, &p);

	im2_ik_wipe(&start);
	im2_xx_wipe(&s.d);
	im2_xx_wipe(&s.l);
	im2_xx_wipe(&c.d);
	im2_xx_wipe(&c.l);
	im2_ik_wipe(&k.r);
	buf_fini(&s.x1), buf_fini(&s.x2), buf_fini(&s.x3), buf_fini(&s.out);
	buf_fini(&c.x1), buf_fini(&c.x2), buf_fini(&c.out);
	buf_fini(&k.i1);
	buf_fini(&f.good);
	keyring_free(alice);
	keyring_free(bob);
	return 0;
}
