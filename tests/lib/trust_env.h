/*
 * trust_env.h -- what the tests of trust/ share: a scripted env, keys by number, folders.
 *
 * Include after cmocka.h.
 */
#ifndef TESTS_TRUST_ENV_H
#define TESTS_TRUST_ENV_H

#include "base/env.h"
#include "trust/keyring_internal.h"

#define WALL_T 1753500000250ull /* the time of the vectors (wire 11) */

struct test_env {
	struct env env;
	uint64_t wall_ms;
	const uint8_t *script; /* given out first */
	size_t script_left;
	uint64_t counter;      /* then SHA-256 of a counter */
};

void test_env_init(struct test_env *t);
void test_env_script(struct test_env *t, const void *bytes, size_t n);

/* The node of the vectors: seed of 32 zero bytes, hkdf_salt 01..10. */
struct keyring *zero_keyring(void);
/* Peer number n: a key pair of its own. */
void peer_key(unsigned n, uint8_t ed[static ED_BYTES], struct node_id *id);

void unhex(const char *hex, uint8_t *out, size_t n);
void assert_hex(const void *got, size_t n, const char *want);
void count_up(uint8_t *out, size_t n, uint8_t first);

/* A fresh folder of mode 0700; removed with everything in it by temp_remove(). */
struct temp {
	char dir[64];
	char file[96]; /* dir "/" name */
};
void temp_make(struct temp *t, const char *name);
void temp_remove(struct temp *t);
void write_file(const char *path, const void *p, size_t n); /* mode 0600 */
size_t read_file(const char *path, void *out, size_t cap);

#endif
