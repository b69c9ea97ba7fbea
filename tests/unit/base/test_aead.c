#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sodium.h>
#include <stdlib.h>

#include "base/aead.h"
#include "base/secret.h"

/* Both libraries make the same bytes at every length, with and without associated data. */
static void it_makes_the_bytes_of_libsodium(void **state)
{
	static uint8_t plain[70000], a[70016], b[70016], back[70000];
	static const size_t lengths[] = { 0, 1, 15, 16, 17, 63, 64, 65, 255, 256, 257, 4095, 4096, 4097, 65535, 65536, 70000 };
	uint8_t key[32], nonce[AEAD_NONCE], ad[300];

	randombytes_buf(key, sizeof key);
	randombytes_buf(nonce, sizeof nonce);
	randombytes_buf(ad, sizeof ad);
	randombytes_buf(plain, sizeof plain);
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
		for (size_t k = 0; k < 3; k++) {
			size_t n = lengths[i], ad_n = k * k * 75;

			crypto_aead_chacha20poly1305_ietf_encrypt(a, NULL, plain, n, ad, ad_n, NULL, nonce, key);
			assert_int_equal(aead_seal_bulk(key, nonce, bytes_of(ad, ad_n), bytes_of(plain, n), b), ERR_OK);
			assert_memory_equal(a, b, n + AEAD_TAG);
			assert_int_equal(aead_open_bulk(key, nonce, bytes_of(ad, ad_n), bytes_of(a, n + AEAD_TAG), back), ERR_OK);
			assert_memory_equal(back, plain, n);
		}
}

static void sealing_in_place(void **state)
{
	static uint8_t buf[8192 + AEAD_TAG], apart[8192 + AEAD_TAG];
	uint8_t key[32] = { 1 }, nonce[AEAD_NONCE] = { 2 };

	randombytes_buf(buf, 8192);
	assert_int_equal(aead_seal_bulk(key, nonce, BYTES_LIT("head"), bytes_of(buf, 8192), apart), ERR_OK);
	assert_int_equal(aead_seal_bulk(key, nonce, BYTES_LIT("head"), bytes_of(buf, 8192), buf), ERR_OK);
	assert_memory_equal(buf, apart, sizeof buf);
}

/* What does not authenticate leaves no plaintext behind. */
static void a_changed_byte_opens_nothing(void **state)
{
	static uint8_t plain[5000], sealed[5016], out[5000];
	uint8_t key[32] = { 7 }, nonce[AEAD_NONCE] = { 8 };

	memset(plain, 'p', sizeof plain);
	assert_int_equal(aead_seal_bulk(key, nonce, BYTES_LIT("ad"), BYTES_ARR(plain), sealed), ERR_OK);
	for (size_t at = 0; at < sizeof sealed; at += 167) {
		sealed[at] ^= 1;
		memset(out, 0xaa, sizeof out);
		assert_int_equal(aead_open_bulk(key, nonce, BYTES_LIT("ad"), BYTES_ARR(sealed), out), ERR_AUTH);
		assert_true(is_zero(out, sizeof out));
		sealed[at] ^= 1;
	}
	assert_int_equal(aead_open_bulk(key, nonce, BYTES_LIT("aD"), BYTES_ARR(sealed), out), ERR_AUTH);
	assert_int_equal(aead_open_bulk(key, nonce, BYTES_LIT("ad"), bytes_of(sealed, 15), out), ERR_SHORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_makes_the_bytes_of_libsodium),
		cmocka_unit_test(sealing_in_place),
		cmocka_unit_test(a_changed_byte_opens_nothing),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
