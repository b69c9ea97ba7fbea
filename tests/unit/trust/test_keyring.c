#include <setjmp.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/text.h"
#include "tests/lib/trust_env.h"

/* wire 11.7: `hello mesh`, ephemeral private key 32 x 03 */
static const char sealed_x25519[] = "5dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef"
				    "22d62e2ee0a0be5b651b95f62f9653"
				    "e93dab4716263954ed8dd3ce";
static const char sealed_converted[] = "5dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b"
				       "3ef225ad0cd8ea913c99363a32f0bb08f"
				       "59388801d98ca88a1de35644";
#define SEALED_BYTES (10 + 48)

static void keys_of_the_zero_seed(void **state)
{
	struct keyring *k = zero_keyring();

	assert_hex(keyring_ed(k), ED_BYTES,
		   "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29");
	assert_string_equal(keyring_id(k)->hex, "139e3940e64b5491722088d9a0d74162");
	assert_hex(keyring_x25519_seed(k), X25519_BYTES,
		   "ce7108ff0eca1ceecad3694e28326172e3ee1bc42cce6b12f10decc128d090ab");
	assert_hex(keyring_x25519(k), X25519_BYTES,
		   "c6dba2b75b4701f39f307f2e9b94ad2a1bcadf360936a8cc502c24c6968dca5f");
	assert_hex(keyring_binding(k), SIG_BYTES,
		   "36ec773252ec8cae3f53948091f0f2159b26edf449ab38f1f6c4cf17eadd340220a338caa13f364"
		   "1139b"
		   "038658006e9cb5c6f62001d2cb71b2debadaccb2300e");
	assert_true(x25519_binding_verify(keyring_ed(k), keyring_x25519(k), keyring_binding(k)));
	keyring_free(k);
}

static void derived_keys_of_the_zero_seed(void **state)
{
	static const char *const want[DERIVE_COUNT] = {
		[DERIVE_TRUST_MAC] =
			"994f6b47fc4cb8ffbbb015889176f9b33cc2cac1b4a382fedc27d1feae087420",
		[DERIVE_TRUST_BOX] =
			"fe4d5565f9bd8cb26538c24e86540c383e90bb2386b574234b7344a186d4222c",
		[DERIVE_AUDIT] = "6f745187a1eee402a6369e0eec37e2f8d9d5c6033568ad2e1d786f3cd09cda72",
		[DERIVE_ROUTES] =
			"6773cf7630c62da5c8ada9747aeb5aba6bc4f2aa558c250098de1fa0c0cd666f",
		[DERIVE_CAPABILITIES] =
			"4ecf3ef4619f691382e501a8a0964b4687eb0682843eff9bb3c4806a8804b277",
		/* Ours; computed apart with Python's hmac: HKDF(0^32, 01..10, label || 0). */
		[DERIVE_DB_WRAP] =
			"331655da159fbe7d8da2f1ab41e16fcf0b6f6c1cd415ac03d58ad1a4e264ccc2",
	};
	struct keyring *k = zero_keyring();

	for (int d = 0; d < DERIVE_COUNT; d++) {
		struct secret s = {0};

		assert_int_equal(keyring_derive(k, d, &s), ERR_OK);
		assert_int_equal(s.n, 32);
		assert_hex(s.p, s.n, want[d]);
		secret_free(&s);
	}
	keyring_free(k);
}

static void generate_takes_seed_and_salt_from_env(void **state)
{
	uint8_t script[SEED_BYTES + HKDF_SALT_BYTES] = {0};
	struct test_env t;
	struct keyring *k, *other;

	test_env_init(&t);
	count_up(script + SEED_BYTES, HKDF_SALT_BYTES, 1);
	test_env_script(&t, script, sizeof script);
	assert_int_equal(keyring_generate(&t.env, &k), ERR_OK);
	assert_string_equal(keyring_id(k)->hex, "139e3940e64b5491722088d9a0d74162");
	assert_int_equal(keyring_generate(&t.env, &other), ERR_OK);
	assert_false(node_id_eq(keyring_id(k), keyring_id(other)));
	keyring_free(k);
	keyring_free(other);
	keyring_free(NULL);
}

static void open_takes_both_vectors(void **state)
{
	struct keyring *k = zero_keyring();
	uint8_t sealed[SEALED_BYTES];
	struct buf out;

	buf_init(&out, 1024);
	unhex(sealed_x25519, sealed, sizeof sealed);
	assert_int_equal(keyring_open_sealed(k, BYTES_ARR(sealed), &out), ERR_OK);
	unhex(sealed_converted, sealed, sizeof sealed);
	assert_int_equal(keyring_open_sealed(k, BYTES_ARR(sealed), &out), ERR_OK);
	assert_int_equal(out.n, 20);
	assert_memory_equal(out.p, "hello meshhello mesh", 20);
	buf_fini(&out);
	keyring_free(k);
}

static void open_refuses_what_is_short_long_or_changed(void **state)
{
	struct keyring *k = zero_keyring();
	uint8_t sealed[SEALED_BYTES + 1] = {0};
	struct buf out;

	buf_init(&out, 1024);
	unhex(sealed_x25519, sealed, SEALED_BYTES);
	for (size_t n = 0; n < SEALED_BYTES; n++)
		assert_int_equal(keyring_open_sealed(k, bytes_of(sealed, n), &out),
				 n < 48 ? ERR_SHORT : ERR_AUTH);
	assert_int_equal(keyring_open_sealed(k, bytes_of(sealed, SEALED_BYTES + 1), &out),
			 ERR_AUTH);
	for (size_t i = 0; i < SEALED_BYTES; i++) {
		sealed[i] ^= 1;
		assert_int_equal(keyring_open_sealed(k, bytes_of(sealed, SEALED_BYTES), &out),
				 ERR_AUTH);
		sealed[i] ^= 1;
	}
	assert_int_equal(out.n, 0);
	buf_fini(&out);
	keyring_free(k);
}

static void seal_reproduces_both_vectors(void **state)
{
	struct keyring *k = zero_keyring();
	uint8_t ephemeral[64], converted[X25519_BYTES];
	struct test_env t;
	struct buf out;

	test_env_init(&t);
	memset(ephemeral, 3, sizeof ephemeral);
	test_env_script(&t, ephemeral, sizeof ephemeral);
	buf_init(&out, 1024);
	assert_int_equal(seal_for(&t.env, keyring_x25519(k), BYTES_LIT("hello mesh"), &out),
			 ERR_OK);
	assert_hex(out.p, out.n, sealed_x25519);
	buf_reset(&out);
	assert_int_equal(ed_to_x25519(keyring_ed(k), converted), ERR_OK);
	assert_int_equal(seal_for(&t.env, converted, BYTES_LIT("hello mesh"), &out), ERR_OK);
	assert_hex(out.p, out.n, sealed_converted);
	buf_fini(&out);
	keyring_free(k);
}

static void seal_carries_nothing_and_much(void **state)
{
	struct keyring *k = zero_keyring();
	struct test_env t;
	static uint8_t body[100000];
	struct buf sealed, out;

	test_env_init(&t);
	buf_init(&sealed, 200000);
	buf_init(&out, 200000);
	memset(body, 'x', sizeof body);
	assert_int_equal(seal_for(&t.env, keyring_x25519(k), bytes_of("", 0), &sealed), ERR_OK);
	assert_int_equal(sealed.n, 48);
	assert_int_equal(keyring_open_sealed(k, buf_bytes(&sealed), &out), ERR_OK);
	assert_int_equal(out.n, 0);
	buf_reset(&sealed);
	assert_int_equal(seal_for(&t.env, keyring_x25519(k), BYTES_ARR(body), &sealed), ERR_OK);
	assert_int_equal(keyring_open_sealed(k, buf_bytes(&sealed), &out), ERR_OK);
	assert_int_equal(out.n, sizeof body);
	assert_memory_equal(out.p, body, sizeof body);
	buf_fini(&sealed);
	buf_fini(&out);
	keyring_free(k);
}

static void seal_refuses_a_key_of_small_order(void **state)
{
	uint8_t zero[X25519_BYTES] = {0};
	struct test_env t;
	struct buf out;

	test_env_init(&t);
	buf_init(&out, 1024);
	assert_int_equal(seal_for(&t.env, zero, BYTES_LIT("x"), &out), ERR_MALFORMED);
	assert_int_equal(out.n, 0);
	buf_fini(&out);
	buf_init(&out, 48);
	struct keyring *k = zero_keyring();
	assert_int_equal(seal_for(&t.env, keyring_x25519(k), BYTES_LIT("x"), &out), ERR_LIMIT);
	buf_fini(&out);
	keyring_free(k);
}

/* Runs in a child what must abort. */
static void assert_aborts(enum sig_context c, struct bytes whole)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		static const uint8_t seed[SEED_BYTES], salt[HKDF_SALT_BYTES];
		uint8_t sig[SIG_BYTES];
		struct keyring *k;

		signal(SIGABRT, SIG_DFL);
		if (!freopen("/dev/null", "w", stderr) ||
		    keyring_from_seed(seed, salt, &k) != ERR_OK)
			_exit(3);
		keyring_sign(k, c, whole, sig);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void sign_dies_without_the_prefix_of_its_context(void **state)
{
	assert_aborts(SIG_HELLO, BYTES_LIT("{\"bare\":1}"));
	assert_aborts(SIG_HELLO, BYTES_LIT("ironmesh-sig-v1/invite\0x"));
	assert_aborts(SIG_HELLO, BYTES_LIT("ironmesh-sig-v1/hello"));
	assert_aborts(SIG_BARE_HELLO, BYTES_LIT("x"));
	assert_aborts(SIG_BARE_OUTER, BYTES_LIT("ironmesh-sig-v1/hello\0{}"));
	assert_aborts(SIG_BARE_OUTER, BYTES_LIT("ironmesh-sig-v3/message\0{}"));
	assert_aborts(SIG_BARE_REVOCATION, BYTES_LIT("x"));
	assert_aborts(SIG_BARE_OUTER,
		      BYTES_LIT("28fff9342c7030d3d899cc9e7bc11878139e3940e64b5491722088d9a0d741621753500000"));
	assert_aborts(SIG_V3_MESSAGE, BYTES_LIT("ironmesh-sig-v3/receipt\0x"));
	assert_aborts(SIG_V3_RECEIPT, BYTES_LIT("ironmesh-sig-v1/receipt\0x"));
}

/* Both ends come to one secret; ours never left the keyring. */
static void noise_dh_agrees_with_the_other_end(void **state)
{
	struct keyring *k = zero_keyring();
	uint8_t sk[X25519_BYTES], pk[X25519_BYTES], want[X25519_BYTES], got[X25519_BYTES];

	count_up(sk, sizeof sk, 7);
	assert_int_equal(crypto_scalarmult_base(pk, sk), 0);
	assert_int_equal(crypto_scalarmult(want, sk, keyring_x25519(k)), 0);
	assert_int_equal(keyring_noise_dh(k, pk, got), ERR_OK);
	assert_memory_equal(got, want, sizeof want);
	keyring_free(k);
}

static void noise_dh_refuses_what_gives_zero(void **state)
{
	static const char *const small[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	struct keyring *k = zero_keyring();
	uint8_t pk[X25519_BYTES], out[X25519_BYTES], was[X25519_BYTES];

	count_up(was, sizeof was, 1);
	for (size_t i = 0; i < sizeof small / sizeof small[0]; i++) {
		unhex(small[i], pk, sizeof pk);
		memcpy(out, was, sizeof out);
		assert_int_equal(keyring_noise_dh(k, pk, out), ERR_AUTH);
		assert_memory_equal(out, was, sizeof out);
	}
	keyring_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_of_the_zero_seed),
		cmocka_unit_test(derived_keys_of_the_zero_seed),
		cmocka_unit_test(generate_takes_seed_and_salt_from_env),
		cmocka_unit_test(open_takes_both_vectors),
		cmocka_unit_test(open_refuses_what_is_short_long_or_changed),
		cmocka_unit_test(seal_reproduces_both_vectors),
		cmocka_unit_test(seal_carries_nothing_and_much),
		cmocka_unit_test(seal_refuses_a_key_of_small_order),
		cmocka_unit_test(noise_dh_agrees_with_the_other_end),
		cmocka_unit_test(noise_dh_refuses_what_gives_zero),
		cmocka_unit_test(sign_dies_without_the_prefix_of_its_context),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
