#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/lib/protocol_env.h"

static const char challenge_text[] =
	"{\"type\": \"PASSPHRASE_CHALLENGE\", \"from\": \"139e3940e64b5491722088d9a0d74162\", "
	"\"nonce\": \"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\", "
	"\"protocol_version\": \"ironmesh/0.9\"}";
static const char proof_text[] =
	"{\"type\": \"PASSPHRASE_CHALLENGE\", \"from\": \"139e3940e64b5491722088d9a0d74162\", "
	"\"proof\": \"2cd3ec826f5114f1c45332b7ba24285c9983aaa0f757c14066d09dc46027eacb\"}";
static const char verified_text[] =
	"{\"type\": \"PASSPHRASE_VERIFIED\", \"from\": \"139e3940e64b5491722088d9a0d74162\", "
	"\"status\": \"verified\", "
	"\"server_proof\": \"d892d7184297ea4d7d6820dc36916cb95bf4e688190fc6172ee4afa8bb76b079\"}";

/* wire 11.2 */
static void proofs_match_the_vectors(void **state)
{
	uint8_t nonce[NONCE_BYTES];
	char hex[PROOF_HEX + 1];

	test_count_up(nonce, sizeof nonce);
	proof_of_client(BYTES_LIT(MESH_PASSPHRASE), nonce, hex);
	assert_string_equal(hex,
			    "2cd3ec826f5114f1c45332b7ba24285c9983aaa0f757c14066d09dc46027eacb");
	proof_of_server(BYTES_LIT(MESH_PASSPHRASE), nonce, hex);
	assert_string_equal(hex,
			    "d892d7184297ea4d7d6820dc36916cb95bf4e688190fc6172ee4afa8bb76b079");
	proof_of_client(BYTES_LIT("p\xc3\xa4ssw\xc3\xb6rd-mesh-\xe6\xb5\x8b\xe8\xaf\x95"), nonce,
			hex);
	assert_string_equal(hex,
			    "125960b09ed5262205a97c02edda9b75670f3c86e67df0a6173c1d411de84c9a");
}

static void palindromic_nonce_is_recognised(void **state)
{
	uint8_t nonce[NONCE_BYTES];
	char client[PROOF_HEX + 1], server[PROOF_HEX + 1];

	test_count_up(nonce, sizeof nonce);
	assert_false(nonce_is_palindrome(nonce));
	for (size_t i = 0; i < 16; i++)
		nonce[31 - i] = (uint8_t)i;
	assert_true(nonce_is_palindrome(nonce));
	proof_of_client(BYTES_LIT(MESH_PASSPHRASE), nonce, client);
	proof_of_server(BYTES_LIT(MESH_PASSPHRASE), nonce, server);
	assert_string_equal(client,
			    "b8100c7706354776559a37ccf64ca35b540ec759ef612b70cc1ed61b0bdcfd66");
	assert_string_equal(client, server);
	nonce[31] ^= 1;
	assert_false(nonce_is_palindrome(nonce));
}

static void messages_print_as_upstream_prints_them(void **state)
{
	struct keyring *k = keyring_number(0);
	uint8_t nonce[NONCE_BYTES];
	char hex[PROOF_HEX + 1];
	struct buf b;

	test_count_up(nonce, sizeof nonce);
	buf_init(&b, 4096);
	challenge_write(&b, keyring_id(k), nonce, false);
	assert_string_equal(buf_cstr(&b), challenge_text);
	buf_reset(&b);
	proof_of_client(BYTES_LIT(MESH_PASSPHRASE), nonce, hex);
	proof_write(&b, keyring_id(k), hex);
	assert_string_equal(buf_cstr(&b), proof_text);
	buf_reset(&b);
	proof_of_server(BYTES_LIT(MESH_PASSPHRASE), nonce, hex);
	verified_write(&b, keyring_id(k), hex);
	assert_string_equal(buf_cstr(&b), verified_text);
	buf_reset(&b);
	rejected_write(&b, keyring_id(k), "Wrong passphrase");
	assert_string_equal(
		buf_cstr(&b),
		"{\"type\": \"PASSPHRASE_REJECTED\", \"from\": "
		"\"139e3940e64b5491722088d9a0d74162\", \"error\": \"Wrong passphrase\"}");
	buf_fini(&b);
	keyring_free(k);
}

static enum err read_challenge(const char *text, struct challenge *c)
{
	struct bytes type;
	json_t *o;
	enum err e = unit_parse(bytes_str(text), &o, &type);

	if (e != ERR_OK)
		return e;
	e = challenge_read(o, c);
	json_decref(o);
	return e;
}

static void challenge_reads_what_it_must(void **state)
{
	struct challenge c;

	assert_int_equal(read_challenge(challenge_text, &c), ERR_OK);
	assert_string_equal(c.from.hex, "139e3940e64b5491722088d9a0d74162");
	assert_int_equal(c.version, VERSION_OF(0, 9));
	assert_int_equal(c.nonce[31], 0x1f);
	/* A very old server says no version and perhaps no id. */
	assert_int_equal(read_challenge("{\"type\":\"PASSPHRASE_CHALLENGE\",\"nonce\":"
					"\"00000000000000000000000000000000"
					"00000000000000000000000000000001\"}",
					&c),
			 ERR_OK);
	assert_int_equal(c.version, 0);
	assert_int_equal(c.from.hex[0], 0);
	static const char *const bad[] = {
		"{\"type\":\"X\"}",
		"{\"type\":\"X\",\"nonce\":7}",
		"{\"type\":\"X\",\"nonce\":\"00\"}",
		"{\"type\":\"X\",\"nonce\":"
		"\"0000000000000000000000000000000000000000000000000000000000000A01\"}",
		"{\"type\":\"X\",\"nonce\":"
		"\"0000000000000000000000000000000000000000000000000000000000000001\",\"from\":"
		"\"me\"}",
		"{\"type\":\"X\",\"nonce\":"
		"\"0000000000000000000000000000000000000000000000000000000000000001\",\"protocol_"
		"version\":9}",
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(read_challenge(bad[i], &c), ERR_MALFORMED);
}

static void unit_is_one_object_with_a_type(void **state)
{
	struct bytes type;
	json_t *o;
	static const char *const bad[] = {
		"",
		"null",
		"[]",
		"\"x\"",
		"{}",
		"{\"type\":1}",
		"{\"type\":\"a\",\"type\":\"a\"}",
		"{\"type\":\"a\"}x",
		"{\"type\":\"a\"} {}",
		"{\"type\":\"\xff\"}",
		"{\"type\":\"a\",\"x\":NaN}",
	};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_not_equal(unit_parse(bytes_str(bad[i]), &o, &type), ERR_OK);
	for (size_t n = 0; n < sizeof challenge_text - 1; n++)
		assert_int_not_equal(unit_parse(bytes_of(challenge_text, n), &o, &type), ERR_OK);

	char *big = malloc(70000);
	memset(big, ' ', 70000);
	memcpy(big, "{\"type\":\"A\"}", 12);
	assert_int_equal(unit_parse(bytes_of(big, SESSION_HANDSHAKE_UNIT_MAX + 1), &o, &type),
			 ERR_LIMIT);
	assert_int_equal(unit_parse(bytes_of(big, SESSION_HANDSHAKE_UNIT_MAX), &o, &type), ERR_OK);
	json_decref(o);
	free(big);
}

static void proof_must_be_text_of_the_right_length(void **state)
{
	static const char want[] =
		"2cd3ec826f5114f1c45332b7ba24285c9983aaa0f757c14066d09dc46027eacb";
	json_t *o = json_pack("{s:s, s:i, s:s, s:s}", "proof", want, "number", 7, "short", "2cd3",
			      "upper",
			      "2CD3EC826F5114F1C45332B7BA24285C9983AAA0F757C14066D09DC46027EACB");

	assert_true(proof_matches(o, "proof", want));
	assert_false(proof_matches(o, "number", want));
	assert_false(proof_matches(o, "short", want));
	assert_false(proof_matches(o, "upper", want));
	assert_false(proof_matches(o, "absent", want));
	json_decref(o);
}

/* wire 11.4 */
static void session_key_is_beforenm_and_refuses_low_order(void **state)
{
	uint8_t a[32], b[32], pa[32], pb[32], key[32], want[32], low[32] = {0};

	memset(a, 1, sizeof a);
	memset(b, 2, sizeof b);
	assert_int_equal(base64_decode_exact(
				 BYTES_LIT("pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk="), pa, 32),
			 ERR_OK);
	assert_int_equal(base64_decode_exact(
				 BYTES_LIT("zo060cy2M+x7cMF4FKXHbs0CloUFDTRHRboFhw5YfVk="), pb, 32),
			 ERR_OK);
	test_unhex("18a99320f3488fa18a04239715d8ee738065e65c3d4b2898522d6c3d4ead588c", want, 32);
	assert_int_equal(session_key_of(a, pb, key), ERR_OK);
	assert_memory_equal(key, want, 32);
	assert_int_equal(session_key_of(b, pa, key), ERR_OK);
	assert_memory_equal(key, want, 32);
	assert_int_equal(session_key_of(a, low, key), ERR_AUTH);
	low[0] = 1;
	assert_int_equal(session_key_of(a, low, key), ERR_AUTH);
	assert_memory_equal(key, want, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(proofs_match_the_vectors),
		cmocka_unit_test(palindromic_nonce_is_recognised),
		cmocka_unit_test(messages_print_as_upstream_prints_them),
		cmocka_unit_test(challenge_reads_what_it_must),
		cmocka_unit_test(unit_is_one_object_with_a_type),
		cmocka_unit_test(proof_must_be_text_of_the_right_length),
		cmocka_unit_test(session_key_is_beforenm_and_refuses_low_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
