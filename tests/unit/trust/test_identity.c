#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/text.h"
#include "tests/lib/trust_env.h"

/* wire 11.1 */
static const char zero_public[] =
	"3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29";
static const char zero_x25519[] =
	"c6dba2b75b4701f39f307f2e9b94ad2a1bcadf360936a8cc502c24c6968dca5f";
static const char zero_binding[] =
	"36ec773252ec8cae3f53948091f0f2159b26edf449ab38f1f6c4cf17eadd340220a338caa13f3641139b038658"
	"006e9cb5c6f62001d2cb71b2debadaccb2300e";

static void id_is_the_start_of_the_hash(void **state)
{
	static const struct {
		const char *key, *id;
	} rows[] = {
		{"r0DH10r8vnEvP/5I72gGjqNveh2zV+D5P4rqFImMUB8=",
		 "99c7282c98a15293b19a897d89e14548"},
		{"AOHgeRjh99sSDDITSyRW6qKMPuT0gHPYfgBlqSDWfag=",
		 "28fff9342c7030d3d899cc9e7bc11878"},
		{"mtqMfWa4zTVezJVMWjv0wOqTGXcvEkCpeg6Ob4teXHo=",
		 "1ba145aa2ed6fa01ea237b28e569dbb6"},
		{"O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=",
		 "139e3940e64b5491722088d9a0d74162"},
	};
	uint8_t ed[ED_BYTES];
	struct node_id id;

	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(base64_decode_exact(bytes_str(rows[i].key), ed, sizeof ed),
				 ERR_OK);
		node_id_of(ed, &id);
		assert_string_equal(id.hex, rows[i].id);
	}
}

static void id_parses_only_32_lower_case_digits(void **state)
{
	static const char good[] = "139e3940e64b5491722088d9a0d74162";
	struct node_id id;

	assert_int_equal(node_id_parse(bytes_str(good), &id), ERR_OK);
	assert_string_equal(id.hex, good);
	for (size_t n = 0; n < 32; n++)
		assert_int_equal(node_id_parse(bytes_of(good, n), &id), ERR_MALFORMED);
	assert_int_equal(node_id_parse(BYTES_LIT("139e3940e64b5491722088d9a0d741620"), &id),
			 ERR_MALFORMED);
	assert_int_equal(node_id_parse(BYTES_LIT("139E3940e64b5491722088d9a0d74162"), &id),
			 ERR_MALFORMED);
	assert_int_equal(node_id_parse(BYTES_LIT("139g3940e64b5491722088d9a0d74162"), &id),
			 ERR_MALFORMED);
}

static void fingerprint_is_in_groups_of_four(void **state)
{
	struct node_id id;
	char text[FINGERPRINT_LEN];

	assert_int_equal(node_id_parse(BYTES_LIT("139e3940e64b5491722088d9a0d74162"), &id), ERR_OK);
	assert_string_equal(fingerprint_text(&id, text), "139e 3940 e64b 5491 7220 88d9 a0d7 4162");
}

static void contexts_are_the_bytes_of_the_table(void **state)
{
	static const struct {
		enum sig_context c;
		size_t n;
		const char *hex;
	} rows[] = {
		{SIG_HELLO, 22, "69726f6e6d6573682d7369672d76312f68656c6c6f00"},
		{SIG_CAPABILITY, 36,
		 "69726f6e6d6573682d7369672d76312f6361706162696c6974792d616e6e6f756e636500"},
		{SIG_TRUST_EXPORT, 33,
		 "69726f6e6d6573682d7369672d76312f74727573742d70696e2d6578706f727400"},
		{SIG_X25519_BINDING, 40,
		 "69726f6e6d6573682d7369672d76312f7832353531392d6964656e746974792d62696e64696e670"
		 "0"},
		{SIG_FRAME_INNER, 35,
		 "69726f6e6d6573682d7369672d76312f6672616d652d696e6e65722d736f7572636500"},
		{SIG_V3_MESSAGE, 24, "69726f6e6d6573682d7369672d76332f6d65737361676500"},
		{SIG_V3_RECEIPT, 24, "69726f6e6d6573682d7369672d76332f7265636569707400"},
		{SIG_V3_RECORD, 23, "69726f6e6d6573682d7369672d76332f7265636f726400"},
		{SIG_V3_SENDER_KEY, 27,
		 "69726f6e6d6573682d7369672d76332f73656e6465722d6b657900"},
		{SIG_V3_STREAM_OPEN, 28,
		 "69726f6e6d6573682d7369672d76332f73747265616d2d6f70656e00"},
		{SIG_V3_STREAM_ACCEPT, 30,
		 "69726f6e6d6573682d7369672d76332f73747265616d2d61636365707400"},
		{SIG_INVITE, 23, "69726f6e6d6573682d7369672d76312f696e7669746500"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct bytes prefix = sig_prefix(rows[i].c);

		assert_int_equal(prefix.n, rows[i].n);
		assert_hex(prefix.p, prefix.n, rows[i].hex);
	}
	assert_int_equal(sig_prefix(SIG_BARE_OUTER).n, 0);
	assert_int_equal(sig_prefix(SIG_BARE_HELLO).n, 0);
	assert_int_equal(sig_prefix(SIG_BARE_REVOCATION).n, 0);
}

static void no_context_is_the_start_of_another(void **state)
{
	for (int a = 0; a < SIG_BARE_OUTER; a++) {
		for (int b = 0; b < SIG_BARE_OUTER; b++) {
			struct bytes x = sig_prefix(a), y = sig_prefix(b);

			if (a != b && x.n <= y.n)
				assert_memory_not_equal(x.p, y.p, x.n);
		}
	}
}

/* wire 11.8: canonical text, context, signature. */
static void verify_accepts_the_capability_vectors(void **state)
{
	static const struct {
		const char *text, *sig;
	} rows[] = {
		{"{\"announced_at\":1736812800.0,\"capabilities\":[\"chat\",\"embed\"],"
		 "\"origin\":\"alice-node\",\"version\":1}",
		 "e6c0239a7e5557282b8cb6ea7fdbda0f0dd049564b43602a2f16f5e8cefa6015c6b7ea72e8e4e9d92"
		 "096e1"
		 "670dba109906c06d79cdecad462e74fac628a48107"},
		{"{\"announced_at\":1753500000.25,\"capabilities\":[\"llm:llama3\","
		 "\"tool:caf\\u00e9\\ud83d\\ude00\"],\"origin\":"
		 "\"139e3940e64b5491722088d9a0d74162\","
		 "\"version\":1}",
		 "f88d98b6af0e89de628fb99444732c4e2524027d9c338ea2856fb483f5b3f5e08c9da22ef7c5bc6f0"
		 "c1391"
		 "bd986172a8c31f760f0531e1d0ee253e997a34330c"},
	};
	uint8_t ed[ED_BYTES], sig[SIG_BYTES], whole[512];

	unhex(zero_public, ed, sizeof ed);
	for (size_t i = 0; i < 2; i++) {
		struct bytes prefix = sig_prefix(SIG_CAPABILITY);
		size_t n = strlen(rows[i].text);

		memcpy(whole, prefix.p, prefix.n);
		memcpy(whole + prefix.n, rows[i].text, n);
		unhex(rows[i].sig, sig, sizeof sig);
		assert_true(sig_verify(SIG_CAPABILITY, ed, bytes_of(whole, prefix.n + n), sig));
		assert_false(
			sig_verify(SIG_CAPABILITY, ed, bytes_of(whole, prefix.n + n - 1), sig));
		whole[prefix.n + 3] ^= 1;
		assert_false(sig_verify(SIG_CAPABILITY, ed, bytes_of(whole, prefix.n + n), sig));
		whole[prefix.n + 3] ^= 1;
		for (size_t b = 0; b < SIG_BYTES; b++) {
			sig[b] ^= 0x10;
			assert_false(
				sig_verify(SIG_CAPABILITY, ed, bytes_of(whole, prefix.n + n), sig));
			sig[b] ^= 0x10;
		}
	}
}

static void bare_forms_never_verify_what_belongs_to_a_context(void **state)
{
	struct keyring *k = zero_keyring();
	uint8_t sig[SIG_BYTES], whole[64];
	struct bytes prefix = sig_prefix(SIG_HELLO);

	memcpy(whole, prefix.p, prefix.n);
	whole[prefix.n] = '{';
	keyring_sign(k, SIG_HELLO, bytes_of(whole, prefix.n + 1), sig);
	assert_true(sig_verify(SIG_HELLO, keyring_ed(k), bytes_of(whole, prefix.n + 1), sig));
	assert_false(sig_verify(SIG_BARE_OUTER, keyring_ed(k), bytes_of(whole, prefix.n + 1), sig));
	assert_false(sig_verify(SIG_BARE_HELLO, keyring_ed(k), bytes_of(whole, prefix.n + 1), sig));

	keyring_sign(k, SIG_BARE_HELLO, BYTES_LIT("{\"a\":1}"), sig);
	assert_true(sig_verify(SIG_BARE_HELLO, keyring_ed(k), BYTES_LIT("{\"a\":1}"), sig));
	assert_false(sig_verify(SIG_BARE_HELLO, keyring_ed(k), BYTES_LIT(""), sig));
	keyring_free(k);
}

/* The signed message and the record of the im2 vectors, whole. */
static void verify_accepts_the_im2_vectors(void **state)
{
	static const struct {
		enum sig_context c;
		const char *whole, *sig;
	} rows[] = {
		{SIG_V3_MESSAGE,
		 "69726f6e6d6573682d7369672d76332f6d657373616765003b6a27bcceb6a42d62a3a8d02a6f"
		 "0d73653215771de243a63ac048a18b59da298a88e3dd7409f195fd52db2d3cba5d72ca6709bf"
		 "1d94121bf3748801b40f6f5cd94489d46baab5b1d1a740683dbb4fa3807603abfddeb6b5ae20"
		 "64d237e7067d",
		 "f470caa20a1dec983fb595ce0f414ad5f8fe6af956654442a0cffc8f12466e5b15ccb59286c4"
		 "908f2a59d83a4f3dd5981543648f8db4155b1f9fc077df92d003"},
		{SIG_V3_RECORD,
		 "69726f6e6d6573682d7369672d76332f7265636f72640001010103203b6a27bcceb6a42d62a3"
		 "a8d02a6f0d73653215771de243a63ac048a18b59da290501080706fabffaa584330901780b02"
		 "0100",
		 "53cc8e37a6a124aac67e537eadcfdba75da78e7702ef22569b8e2891bbb73410c3f88634d1e8"
		 "da5ea163a7c115ac6431a58e8d0d8d2c27f31ec4e80e3ea73b0a"},
	};
	uint8_t ed[ED_BYTES], sig[SIG_BYTES], whole[512];

	unhex(zero_public, ed, sizeof ed);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		size_t n = strlen(rows[i].whole) / 2;

		assert_true(n <= sizeof whole);
		unhex(rows[i].whole, whole, n);
		unhex(rows[i].sig, sig, sizeof sig);
		assert_true(sig_verify(rows[i].c, ed, bytes_of(whole, n), sig));
		assert_false(sig_verify(SIG_BARE_OUTER, ed, bytes_of(whole, n), sig));
		whole[n - 1] ^= 1;
		assert_false(sig_verify(rows[i].c, ed, bytes_of(whole, n), sig));
	}
}

static void binding_verifies_and_cannot_be_substituted(void **state)
{
	uint8_t ed[ED_BYTES], x[X25519_BYTES], sig[SIG_BYTES];

	unhex(zero_public, ed, sizeof ed);
	unhex(zero_x25519, x, sizeof x);
	unhex(zero_binding, sig, sizeof sig);
	assert_true(x25519_binding_verify(ed, x, sig));
	x[7] ^= 1;
	assert_false(x25519_binding_verify(ed, x, sig));
	x[7] ^= 1;
	sig[40] ^= 1;
	assert_false(x25519_binding_verify(ed, x, sig));
	sig[40] ^= 1;
	peer_key(1, ed, NULL);
	assert_false(x25519_binding_verify(ed, x, sig));
}

static void conversion_gives_the_curve25519_image(void **state)
{
	uint8_t ed[ED_BYTES], x[X25519_BYTES];

	unhex(zero_public, ed, sizeof ed);
	assert_int_equal(ed_to_x25519(ed, x), ERR_OK);
	assert_hex(x, sizeof x, "5bf55c73b82ebe22be80f3430667af570fae2556a6415e6b30d4065300aa947d");
}

static void conversion_refuses_bad_points(void **state)
{
	uint8_t ed[ED_BYTES] = {1}, x[X25519_BYTES] = {0};

	assert_int_equal(ed_to_x25519(ed, x), ERR_MALFORMED); /* the neutral element */
	memset(ed, 0, sizeof ed);
	assert_int_equal(ed_to_x25519(ed, x), ERR_MALFORMED); /* order 4 */
	memset(ed, 0xff, sizeof ed);
	assert_int_equal(ed_to_x25519(ed, x), ERR_MALFORMED); /* not canonical */
	assert_true(x[0] == 0 && x[31] == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(id_is_the_start_of_the_hash),
		cmocka_unit_test(id_parses_only_32_lower_case_digits),
		cmocka_unit_test(fingerprint_is_in_groups_of_four),
		cmocka_unit_test(contexts_are_the_bytes_of_the_table),
		cmocka_unit_test(no_context_is_the_start_of_another),
		cmocka_unit_test(verify_accepts_the_capability_vectors),
		cmocka_unit_test(verify_accepts_the_im2_vectors),
		cmocka_unit_test(bare_forms_never_verify_what_belongs_to_a_context),
		cmocka_unit_test(binding_verifies_and_cannot_be_substituted),
		cmocka_unit_test(conversion_gives_the_curve25519_image),
		cmocka_unit_test(conversion_refuses_bad_points),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
