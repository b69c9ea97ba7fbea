/*
 * bench_primitives.c -- the ceilings: what the libraries and the disk alone allow here.
 */
#include <sodium.h>
#include <sqlite3.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define BODY 1024
#define ENC 1900 /* what one frame with a 1 KiB body signs */

static double per_call(void (*fn)(void), int n)
{
	double t0 = now_us();

	for (int i = 0; i < n; i++)
		fn();
	return (now_us() - t0) / n;
}

static unsigned char pk[crypto_sign_PUBLICKEYBYTES], sk[crypto_sign_SECRETKEYBYTES], sig[crypto_sign_BYTES];
static unsigned char msg[ENC], box[ENC + crypto_secretbox_MACBYTES], nonce[crypto_secretbox_NONCEBYTES],
	key[crypto_secretbox_KEYBYTES];

static void do_sign(void)
{
	crypto_sign_detached(sig, NULL, msg, sizeof msg, sk);
}

static void do_verify(void)
{
	if (crypto_sign_verify_detached(sig, msg, sizeof msg, pk))
		die("verify");
}

static void do_box(void)
{
	crypto_secretbox_easy(box, msg, sizeof msg, nonce, key);
}

static unsigned char big[65536], big_box[65536 + crypto_aead_chacha20poly1305_ietf_ABYTES], head[9];

static void aead(unsigned char *in, size_t n)
{
	crypto_aead_chacha20poly1305_ietf_encrypt(big_box, NULL, in, n, head, sizeof head, NULL, nonce, key);
}

static void do_aead_1k(void)
{
	aead(msg, BODY);
}

static void do_aead_64k(void)
{
	aead(big, sizeof big);
}

static void do_dh(void)
{
	unsigned char out[32];

	if (crypto_scalarmult(out, key, pk))
		die("scalarmult");
}

static void sql(sqlite3 *db, const char *text)
{
	if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
		die("%s: %s", text, sqlite3_errmsg(db));
}

static void commits(struct ceilings *c, double *rate)
{
	enum { GROUPS = 300, ROWS = 64 };

	struct samples s = { 0 };
	sqlite3_stmt *st;
	sqlite3 *db;

	if (sqlite3_open("ceiling.db", &db) != SQLITE_OK)
		die("sqlite");
	sql(db, "PRAGMA journal_mode=WAL");
	sql(db, "PRAGMA synchronous=FULL");
	sql(db, "PRAGMA wal_autocheckpoint=0");
	sql(db, "CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)");
	sqlite3_prepare_v2(db, "INSERT INTO t (body) VALUES (?1)", -1, &st, NULL);
	double t0 = now_us();

	for (int i = 0; i < 2000; i++) {
		double a = now_us();

		sqlite3_bind_blob(st, 1, msg, BODY, SQLITE_STATIC);
		if (sqlite3_step(st) != SQLITE_DONE)
			die("insert");
		sqlite3_reset(st);
		sample(&s, now_us() - a);
	}
	*rate = 2000 / ((now_us() - t0) / 1e6);
	t0 = now_us();
	for (int g = 0; g < GROUPS; g++) {
		sql(db, "BEGIN");
		for (int i = 0; i < ROWS; i++) {
			sqlite3_bind_blob(st, 1, msg, BODY, SQLITE_STATIC);
			if (sqlite3_step(st) != SQLITE_DONE)
				die("insert");
			sqlite3_reset(st);
		}
		sql(db, "COMMIT");
	}
	c->group_rows_per_s = GROUPS * ROWS / ((now_us() - t0) / 1e6);
	sqlite3_finalize(st);
	sqlite3_close(db);
	unlink("ceiling.db");
	unlink("ceiling.db-wal");
	unlink("ceiling.db-shm");
	c->commit_p50_us = percentile(&s, 50);
	c->commit_p99_us = percentile(&s, 99);
	samples_free(&s);
}

void bench_primitives(struct ceilings *c)
{
	double rate;

	if (sodium_init() < 0)
		die("sodium");
	crypto_sign_keypair(pk, sk);
	randombytes_buf(msg, sizeof msg);
	randombytes_buf(key, sizeof key);
	c->sign_us = per_call(do_sign, 5000);
	c->verify_us = per_call(do_verify, 5000);
	c->secretbox_us = per_call(do_box, 20000);
	c->aead_1k_us = per_call(do_aead_1k, 50000);
	c->aead_64k_us = per_call(do_aead_64k, 2000);
	c->dh_us = per_call(do_dh, 3000);
	commits(c, &rate);
	printf("ceilings\n");
	row("  Ed25519 sign, 1.9 KB", "%.1f us", c->sign_us);
	row("  Ed25519 verify, 1.9 KB", "%.1f us", c->verify_us);
	row("  secretbox, 1.9 KB", "%.1f us", c->secretbox_us);
	row("  ChaCha20-Poly1305, 1 KiB / 64 KiB", "%.2f us / %.1f us (%.0f MB/s)", c->aead_1k_us, c->aead_64k_us,
	    65536 / c->aead_64k_us);
	row("  X25519", "%.1f us", c->dh_us);
	row("  SQLite durable commit, one 1 KiB row", "p50 %.0f us, p99 %.0f us, %.0f/s (n=2000)", c->commit_p50_us,
	    c->commit_p99_us, rate);
	row("  SQLite, 64 rows of 1 KiB a durable commit", "%.0f rows/s", c->group_rows_per_s);
	printf("\n");
}
