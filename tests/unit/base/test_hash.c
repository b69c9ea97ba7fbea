#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/hash.h"
#include "base/text.h"
#include "tests/lib/base_probe.h"

static void is_hex(const uint8_t *got, size_t n, const char *want)
{
	char text[256];

	hex_encode(bytes_of(got, n), text);
	assert_string_equal(text, want);
}

static void sha256_gives_the_published_digests(void **state)
{
	uint8_t h[HASH_BYTES];

	sha256(bytes_of(NULL, 0), h);
	is_hex(h, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	sha256(BYTES_LIT("abc"), h);
	is_hex(h, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	sha256(BYTES_LIT("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), h);
	is_hex(h, 32, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void two_parts_hash_as_one(void **state)
{
	uint8_t a[HASH_BYTES], b[HASH_BYTES];

	sha256(BYTES_LIT("abcdef"), a);
	for (size_t cut = 0; cut <= 6; cut++) {
		sha256_2(bytes_of("abcdef", cut), bytes_of(&"abcdef"[cut], 6 - cut), b);
		assert_memory_equal(a, b, sizeof(a));
	}
}

static void any_number_of_parts_hashes_as_one(void **state)
{
	const struct bytes parts[] = {BYTES_LIT("ab"), BYTES_LIT(""), BYTES_LIT("cde"),
				      bytes_of(NULL, 0), BYTES_LIT("f")};
	uint8_t a[HASH_BYTES], b[HASH_BYTES];

	sha256(BYTES_LIT("abcdef"), a);
	sha256_n(parts, sizeof parts / sizeof parts[0], b);
	assert_memory_equal(a, b, sizeof(a));
	sha256(bytes_of(NULL, 0), a);
	sha256_n(parts, 0, b);
	assert_memory_equal(a, b, sizeof(a));
}

/* RFC 4231 */
static void hmac_gives_the_published_macs(void **state)
{
	uint8_t key[131], data[152], h[HASH_BYTES];

	memset(key, 0x0b, 20);
	hmac_sha256(bytes_of(key, 20), BYTES_LIT("Hi There"), h);
	is_hex(h, 32, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	hmac_sha256(BYTES_LIT("Jefe"), BYTES_LIT("what do ya want for nothing?"), h);
	is_hex(h, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, 131);
	memset(data, 0xdd, 50);
	hmac_sha256(bytes_of(key, 20), bytes_of(data, 50), h);
	is_hex(h, 32, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
	hmac_sha256(bytes_of(key, 131),
		    BYTES_LIT("Test Using Larger Than Block-Size Key - Hash Key First"), h);
	is_hex(h, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void hmac_of_two_parts_is_hmac_of_both(void **state)
{
	uint8_t a[HASH_BYTES], b[HASH_BYTES];

	hmac_sha256(BYTES_LIT("k"), BYTES_LIT("hello mesh"), a);
	hmac_sha256_2(BYTES_LIT("k"), BYTES_LIT("hello "), BYTES_LIT("mesh"), b);
	assert_memory_equal(a, b, sizeof(a));
	hmac_sha256(bytes_of(NULL, 0), bytes_of(NULL, 0), a);
	is_hex(a, 32, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

/* RFC 5869, cases 1 to 3 */
static void hkdf_gives_the_published_keys(void **state)
{
	uint8_t ikm[80], salt[80], info[80], okm[82];

	memset(ikm, 0x0b, 22);
	for (int i = 0; i < 13; i++)
		salt[i] = (uint8_t)i;
	for (int i = 0; i < 10; i++)
		info[i] = (uint8_t)(0xf0 + i);
	hkdf_sha256(bytes_of(ikm, 22), bytes_of(salt, 13), bytes_of(info, 10), okm, 42);
	is_hex(okm, 42,
	       "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
	       "34007208d5b887185865");
	hkdf_sha256(bytes_of(ikm, 22), bytes_of(NULL, 0), bytes_of(NULL, 0), okm, 42);
	is_hex(okm, 42,
	       "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
	       "9d201395faa4b61a96c8");
	for (int i = 0; i < 80; i++) {
		ikm[i] = (uint8_t)i;
		salt[i] = (uint8_t)(0x60 + i);
		info[i] = (uint8_t)(0xb0 + i);
	}
	hkdf_sha256(BYTES_ARR(ikm), BYTES_ARR(salt), BYTES_ARR(info), okm, 82);
	is_hex(okm, 82,
	       "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
	       "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
	       "cc30c58179ec3e87c14c01d5c1f3434f1d87");
}

static void an_empty_salt_is_32_zero_bytes(void **state)
{
	static const uint8_t zero[32];
	uint8_t a[32], b[32];

	hkdf_sha256(BYTES_LIT("ikm"), bytes_of(NULL, 0), BYTES_LIT("i"), a, 32);
	hkdf_sha256(BYTES_LIT("ikm"), BYTES_ARR(zero), BYTES_LIT("i"), b, 32);
	assert_memory_equal(a, b, 32);
}

static void a_shorter_key_is_a_prefix_and_the_longest_works(void **state)
{
	uint8_t *all = malloc(255 * 32), part[33];

	hkdf_sha256(BYTES_LIT("ikm"), BYTES_LIT("s"), BYTES_LIT("i"), all, 255 * 32);
	for (size_t n = 0; n <= 33; n++) {
		hkdf_sha256(BYTES_LIT("ikm"), BYTES_LIT("s"), BYTES_LIT("i"), part, n);
		assert_memory_equal(all, part, n);
	}
	assert_memory_not_equal(all, all + 254 * 32, 32);
	free(all);
}

static void ask_too_much(void *ctx)
{
	hkdf_sha256(BYTES_LIT("ikm"), BYTES_LIT("s"), BYTES_LIT("i"), ctx, 255 * 32 + 1);
}

static void more_than_255_blocks_dies(void **state)
{
	uint8_t *mem = malloc(255 * 32 + 1);

	assert_true(probe_aborts(ask_too_much, mem));
	free(mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha256_gives_the_published_digests),
		cmocka_unit_test(two_parts_hash_as_one),
		cmocka_unit_test(any_number_of_parts_hashes_as_one),
		cmocka_unit_test(hmac_gives_the_published_macs),
		cmocka_unit_test(hmac_of_two_parts_is_hmac_of_both),
		cmocka_unit_test(hkdf_gives_the_published_keys),
		cmocka_unit_test(an_empty_salt_is_32_zero_bytes),
		cmocka_unit_test(a_shorter_key_is_a_prefix_and_the_longest_works),
		cmocka_unit_test(more_than_255_blocks_dies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
