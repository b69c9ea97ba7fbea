/*
 * bench_keys.c -- what it costs that the long-term keys are in a process of their own: the same verbs there and here.
 * The process is the one of the daemon, with its walls. Each row: median and 95th percentile of one call.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/keyproc.h"
#include "daemon/loop.h"

#define ROUNDS 20000

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void sign(const struct keyring *k, size_t n)
{
	static uint8_t text[262144];
	struct bytes prefix = sig_prefix(SIG_V3_MESSAGE);
	uint8_t sig[SIG_BYTES];

	memcpy(text, prefix.p, prefix.n);
	keyring_sign(k, SIG_V3_MESSAGE, bytes_of(text, n), sig);
}

static void agree(const struct keyring *k, size_t n)
{
	uint8_t out[X25519_BYTES];

	BUG_ON(keyring_noise_dh(k, keyring_x25519(k), out) != ERR_OK);
}

/* Median; *p95. Calls of one after another, as a burst is; or apart, so that the process sleeps between them. */
static double measure(void (*f)(const struct keyring *k, size_t n), const struct keyring *k, size_t n, unsigned rest_us,
		      double *p95)
{
	unsigned rounds = rest_us ? 1000 : n > 65536 ? 2000 : ROUNDS;
	double *t = malloc(rounds * sizeof *t), median;

	for (unsigned i = 0; i < rounds; i++) {
		double from;

		if (rest_us)
			usleep(rest_us);
		from = now_us();
		f(k, n);
		t[i] = now_us() - from;
	}
	qsort(t, rounds, sizeof *t, by_value);
	median = t[rounds / 2];
	*p95 = t[rounds * 95 / 100];
	free(t);
	return median;
}

static void row(const char *what, void (*f)(const struct keyring *k, size_t n), size_t n, unsigned rest_us,
		const struct keyring *here, const struct keyring *there)
{
	double a95, b95, a = measure(f, here, n, rest_us, &a95), b = measure(f, there, n, rest_us, &b95);

	printf("  %-42s %6.1f us (p95 %.1f) here, %6.1f us (p95 %.1f) there: %+.1f us\n", what, a, a95, b, b95, b - a);
}

int main(void)
{
	char path[] = "/tmp/bench-keys-XXXXXX", file[64];
	struct fault f = { 0 };
	struct ownkey mine, its;
	struct keyproc *k;
	struct env env;

	BUG_ON(sodium_init() < 0 || !mkdtemp(path));
	snprintf(file, sizeof file, "%s/keys.json", path);
	BUG_ON(keyproc_start(&k, &f) != ERR_OK);
	BUG_ON(keyproc_open(k, file, bytes_of(NULL, 0), "bench", true, &its, &f) != ERR_OK);
	env_of_system(&env);
	BUG_ON(ownkey_open(file, bytes_of(NULL, 0), NULL, true, &env, &mine, &f) != ERR_OK);
	printf("long-term keys, in this process and in the key process\n");
	row("sign 256 bytes, one after another", sign, 256, 0, mine.keyring, its.keyring);
	row("sign 1.5 KiB, one after another", sign, 1536, 0, mine.keyring, its.keyring);
	row("sign 1.5 KiB, each 500 us", sign, 1536, 500, mine.keyring, its.keyring);
	row("sign 128 KiB, one after another", sign, 131072, 0, mine.keyring, its.keyring);
	row("X25519, one after another", agree, 0, 0, mine.keyring, its.keyring);
	ownkey_close(&mine);
	ownkey_close(&its);
	keyproc_end(k);
	unlink(file);
	rmdir(path);
	return 0;
}
