#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <archive.h>
#include <archive_entry.h>
#include <sodium.h>
#include <cmocka.h>

#include "base/secret.h"
#include "store/imb1.h"

#define PASS BYTES_LIT("backup passphrase")

struct member {
	const char *name;
	size_t n;
	unsigned type;
};

static size_t pack(const struct member *m, size_t n, uint8_t *out, size_t cap)
{
	struct archive *a = archive_write_new();
	size_t used = 0;

	archive_write_set_format_ustar(a);
	archive_write_add_filter_gzip(a);
	archive_write_open_memory(a, out, cap, &used);
	for (size_t i = 0; i < n; i++) {
		struct archive_entry *x = archive_entry_new();
		char *body = calloc(1, m[i].n + 1);

		memset(body, 'a', m[i].n);
		archive_entry_set_pathname(x, m[i].name);
		archive_entry_set_size(x, m[i].type == AE_IFREG ? (la_int64_t)m[i].n : 0);
		archive_entry_set_filetype(x, m[i].type);
		if (m[i].type == AE_IFLNK)
			archive_entry_set_symlink(x, "/etc/passwd");
		archive_entry_set_perm(x, 0600);
		assert_int_equal(archive_write_header(a, x), ARCHIVE_OK);
		if (m[i].type == AE_IFREG)
			archive_write_data(a, body, m[i].n);
		archive_entry_free(x);
		free(body);
	}
	archive_write_close(a);
	archive_write_free(a);
	return used;
}

static enum err unpack(const struct member *m, size_t n)
{
	static uint8_t room[1 << 20];
	struct fault f = { 0 };
	struct imb1 x;
	enum err e = imb1_unpack(bytes_of(room, pack(m, n, room, sizeof room)), &x, &f);

	if (e == ERR_OK)
		imb1_fini(&x);
	else
		assert_true(f.what[0] != '\0');
	return e;
}

static const struct member GOOD[] = {
	{ "manifest.json", 100, AE_IFREG }, { "keys.json", 500, AE_IFREG }, { "known_peers.json", 9000, AE_IFREG }, { "audit.log", 300000, AE_IFREG },
};

static void four_members_come_out(void **state)
{
	static uint8_t room[1 << 20];
	struct fault f = { 0 };
	struct imb1 x;
	size_t n = pack(GOOD, 4, room, sizeof room);

	assert_int_equal(imb1_unpack(bytes_of(room, n), &x, &f), ERR_OK);
	assert_int_equal(x.manifest.n, 100);
	assert_int_equal(x.keys.n, 500);
	assert_int_equal(x.pins.n, 9000);
	assert_int_equal(x.audit.n, 300000);
	assert_int_equal(x.keys.p[499], 'a');
	imb1_fini(&x);
	for (size_t cut = 0; cut < n; cut += 13) {
		struct imb1 y;

		/* The last bytes of gzip are its check: what came before may be whole. */
		if (imb1_unpack(bytes_of(room, cut), &y, &f) == ERR_OK) {
			assert_true(cut + 64 > n);
			imb1_fini(&y);
		}
	}
}

static void nothing_else_does(void **state)
{
	static const char *const names[] = { "../keys.json", "/keys.json", "./keys.json", "dir/keys.json", "data.db", "keys.json.bak", "KEYS.JSON" };
	struct member m[5];

	memcpy(m, GOOD, sizeof GOOD);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		m[4] = (struct member){ names[i], 5, AE_IFREG };
		assert_int_equal(unpack(m, 5), ERR_MALFORMED);
	}
	m[4] = GOOD[1];
	assert_int_equal(unpack(m, 5), ERR_MALFORMED);
	memcpy(m, GOOD, sizeof GOOD);
	m[1].type = AE_IFLNK;
	assert_int_equal(unpack(m, 4), ERR_MALFORMED);
	m[1].type = AE_IFDIR;
	assert_int_equal(unpack(m, 4), ERR_MALFORMED);
	m[1] = (struct member){ "keys.json", 70000, AE_IFREG };
	assert_int_equal(unpack(m, 4), ERR_LIMIT);
	m[1] = (struct member){ "audit.log", 5 << 20, AE_IFREG };
	assert_int_equal(unpack(m, 2), ERR_LIMIT);
	assert_int_equal(unpack(GOOD, 1), ERR_NOTFOUND);
	assert_int_equal(unpack(GOOD, 0), ERR_NOTFOUND);
}

static void sealed_bytes_open_with_their_passphrase_alone(void **state)
{
	uint8_t file[200] = "IMB1\x01", salt[16] = { 7 }, key[32], *p = file + 21;
	struct fault f = { 0 };
	struct buf plain;
	size_t n = 21 + 24 + 16 + 5;

	memcpy(file + 5, salt, sizeof salt);
	assert_int_equal(crypto_pwhash(key, sizeof key, "backup passphrase", 17, salt, 3, 268435456, crypto_pwhash_ALG_ARGON2ID13), 0);
	memset(p, 9, 24);
	crypto_secretbox_easy(p + 24, (const uint8_t *)"hello", 5, p, key);
	buf_init(&plain, 1000);
	assert_true(imb1_is(bytes_of(file, n)));
	assert_int_equal(imb1_unseal(bytes_of(file, n), PASS, &plain, &f), ERR_OK);
	assert_memory_equal(plain.p, "hello", 5);
	assert_int_equal(plain.n, 5);
	buf_reset(&plain);
	assert_int_equal(imb1_unseal(bytes_of(file, n), BYTES_LIT("another"), &plain, &f), ERR_AUTH);
	assert_int_equal(plain.n, 0);
	assert_int_equal(imb1_unseal(bytes_of(file, n - 1), PASS, &plain, &f), ERR_AUTH);
	assert_int_equal(imb1_unseal(bytes_of(file, 21 + 39), PASS, &plain, &f), ERR_MALFORMED);
	file[4] = 2;
	assert_int_equal(imb1_unseal(bytes_of(file, n), PASS, &plain, &f), ERR_VERSION);
	file[0] = 'X';
	assert_false(imb1_is(bytes_of(file, n)));
	assert_int_equal(imb1_unseal(bytes_of(file, n), PASS, &plain, &f), ERR_MALFORMED);
	buf_fini(&plain);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(four_members_come_out),
		cmocka_unit_test(nothing_else_does),
		cmocka_unit_test(sealed_bytes_open_with_their_passphrase_alone),
	};

	if (secret_init_library() != ERR_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
