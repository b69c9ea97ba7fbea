#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/text.h"
#include "tests/lib/trust_env.h"

static uint64_t now(void *ctx)
{
	return ((struct test_env *)ctx)->wall_ms;
}

static void fill(void *ctx, void *out, size_t n)
{
	struct test_env *t = ctx;
	uint8_t *o = out, block[HASH_BYTES];
	size_t k = n < t->script_left ? n : t->script_left;

	if (k != 0) {
		memcpy(o, t->script, k);
		t->script += k;
		t->script_left -= k;
		o += k;
		n -= k;
	}
	for (; n != 0; n -= k, o += k) {
		t->counter++;
		sha256(bytes_of(&t->counter, sizeof t->counter), block);
		k = n < sizeof block ? n : sizeof block;
		memcpy(o, block, k);
	}
}

void test_env_init(struct test_env *t)
{
	memset(t, 0, sizeof *t);
	t->wall_ms = WALL_T;
	t->env.ctx = t;
	t->env.now_ms = now;
	t->env.wall_ms = now;
	t->env.random = fill;
}

void test_env_script(struct test_env *t, const void *bytes, size_t n)
{
	t->script = bytes;
	t->script_left = n;
}

struct keyring *zero_keyring(void)
{
	static const uint8_t seed[SEED_BYTES];
	uint8_t salt[HKDF_SALT_BYTES];
	struct keyring *k = NULL;

	count_up(salt, sizeof salt, 1);
	assert_int_equal(keyring_from_seed(seed, salt, &k), ERR_OK);
	return k;
}

void peer_key(unsigned n, uint8_t ed[static ED_BYTES], struct node_id *id)
{
	uint8_t seed[crypto_sign_SEEDBYTES] = {0xa5}, sk[crypto_sign_SECRETKEYBYTES];

	memcpy(seed + 1, &n, sizeof n);
	assert_int_equal(crypto_sign_seed_keypair(ed, sk, seed), 0);
	if (id)
		node_id_of(ed, id);
}

void unhex(const char *hex, uint8_t *out, size_t n)
{
	assert_int_equal(hex_decode(bytes_str(hex), out, n), ERR_OK);
}

void assert_hex(const void *got, size_t n, const char *want)
{
	char text[512];

	assert_true(2 * n < sizeof text);
	hex_encode(bytes_of(got, n), text);
	assert_string_equal(text, want);
}

void count_up(uint8_t *out, size_t n, uint8_t first)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(first + i);
}

void temp_make(struct temp *t, const char *name)
{
	snprintf(t->dir, sizeof t->dir, "/tmp/ironmesh-trust-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	snprintf(t->file, sizeof t->file, "%s/%s", t->dir, name);
}

void temp_remove(struct temp *t)
{
	char path[512];
	struct dirent *d;

	chmod(t->dir, 0700);
	DIR *dir = opendir(t->dir);
	assert_non_null(dir);
	while ((d = readdir(dir)) != NULL) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof path, "%s/%s", t->dir, d->d_name);
		if (unlink(path) != 0)
			rmdir(path);
	}
	closedir(dir);
	assert_int_equal(rmdir(t->dir), 0);
}

void write_file(const char *path, const void *p, size_t n)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, n), (ssize_t)n);
	close(fd);
}

size_t read_file(const char *path, void *out, size_t cap)
{
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	ssize_t n = read(fd, out, cap - 1);
	assert_true(n >= 0);
	close(fd);
	((char *)out)[n] = '\0';
	return (size_t)n;
}
