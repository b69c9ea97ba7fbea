#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"
#include "base/text.h"
#include "tests/lib/trust_env.h"
#include "trust/invite.h"

/* wire 11.9 */
static const char token[] =
	"ironmesh-invite-v1:"
	"eyJhbGxvd2VkX3BlZXJzIjoiYWxpY2UsYm9iIiwiZW5kcG9pbnQiOiIxOTIuMC4yLjEwOjg3NjUiLCJleHBpcmVzX2F0IjoxNzUzNTAwOTAwLjAs"
	"Imludml0ZXJfaWQiOiIxMzllMzk0MGU2NGI1NDkxNzIyMDg4ZDlhMGQ3NDE2MiIsImludml0ZXJfa2V5IjoiTzJvbnZNNjJwQzFpbzZqUUttOE5j"
	"MlV5RlhjZDRrT21Pc0JJb1l0WjJpaz0iLCJpc3N1ZWRfYXQiOjE3NTM1MDAwMDAuMCwibm9uY2UiOiIwMDExMjIzMzQ0NTU2Njc3ODg5OWFhYmJj"
	"Y2RkZWVmZiIsInByb2ZpbGUiOiJsYW4iLCJzaWduYXR1cmUiOiJHK28ySFhGZURrZ3cweFY1cGFrTG5NUC85OGthdE9Yb01VVVNoWE16T3hzenJi"
	"WWc1SkVrYWdnaTR5c05pS1M1cDh3ZFhWVW9zV08waktRK1Bsbm1BUT09IiwidmVyc2lvbiI6MX0";

static struct invite example(void)
{
	struct invite v = { .issued_ms = 1753500000000, .expires_ms = 1753500900000 };

	assert_int_equal(hex_decode(BYTES_LIT("00112233445566778899aabbccddeeff"), v.nonce, sizeof v.nonce), ERR_OK);
	snprintf(v.endpoint, sizeof v.endpoint, "192.0.2.10:8765");
	snprintf(v.allowed_peers, sizeof v.allowed_peers, "alice,bob");
	snprintf(v.profile, sizeof v.profile, "lan");
	return v;
}

static enum err write_as(const struct keyring *k, const struct invite *v, struct buf *out)
{
	buf_reset(out);
	return invite_write(k, v, out);
}

static void the_example_is_written_and_read(void **state)
{
	struct keyring *k = zero_keyring();
	struct invite v = example(), got;
	struct buf b;

	buf_init(&b, INVITE_TEXT_MAX);
	assert_int_equal(strlen(token), 542);
	assert_int_equal(write_as(k, &v, &b), ERR_OK);
	assert_string_equal(buf_cstr(&b), token);
	assert_int_equal(invite_read(bytes_str(token), &got), ERR_OK);
	assert_memory_equal(got.nonce, v.nonce, sizeof v.nonce);
	assert_string_equal(got.inviter.hex, "139e3940e64b5491722088d9a0d74162");
	assert_memory_equal(got.inviter_ed, keyring_ed(k), ED_BYTES);
	assert_string_equal(got.endpoint, "192.0.2.10:8765");
	assert_string_equal(got.allowed_peers, "alice,bob");
	assert_string_equal(got.profile, "lan");
	assert_int_equal(got.issued_ms, 1753500000000);
	assert_int_equal(got.expires_ms, 1753500900000);
	/* As a person pastes it. */
	buf_reset(&b);
	buf_printf(&b, " \t%s\r\n", token);
	assert_int_equal(invite_read(buf_bytes(&b), &got), ERR_OK);
	buf_fini(&b);
	keyring_free(k);
}

static void times_and_lives(void **state)
{
	struct invite v = example();

	assert_int_equal(invite_timely(&v, 1753500000000), ERR_OK);
	assert_int_equal(invite_timely(&v, 1753500000000 - 30000), ERR_OK);
	assert_int_equal(invite_timely(&v, 1753500000000 - 30001), ERR_AGAIN);
	assert_int_equal(invite_timely(&v, 1753500900000 + 30000), ERR_OK);
	assert_int_equal(invite_timely(&v, 1753500900000 + 30001), ERR_EXPIRED);
	assert_int_equal(invite_life_ms("lan"), 900000);
	assert_int_equal(invite_life_ms("homelab"), 900000);
	assert_int_equal(invite_life_ms("lora"), 1800000);
	assert_int_equal(invite_life_ms("offline"), 1800000);
	assert_int_equal(invite_life_ms("tactical"), 300000);
	assert_int_equal(invite_life_ms(""), 900000);
	assert_int_equal(invite_life_ms("moon"), 900000);
}

static void endpoints(void **state)
{
	static const char *const good[] = { "a:1", "host.example:65535", "192.0.2.7:8765", "[::1]:8765", "[fe80::1]:9",
					    "rns:00112233445566778899aabbccddeeff" };
	static const char *const bad[] = { "", ":", ":1", "a", "a:", "a:0", "a:65536", "a:123456", "a:-1", "a:1 ", "a b:1", "-a:1",
					   "::1:8765", "[fe80::1%eth0]:9", "[]:1", "[::1:1", "rns:", "rns:00", "http://a:1", "a:1/x", "a;b:1",
					   "rns:00112233445566778899AABBCCDDEEFF" };
	char longest[300];

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		assert_true(invite_endpoint_valid(good[i]));
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (invite_endpoint_valid(bad[i]))
			fail_msg("'%s' passed", bad[i]);
	memset(longest, 'a', sizeof longest);
	snprintf(longest + 253, sizeof longest - 253, ":1");
	assert_true(invite_endpoint_valid(longest));
	memset(longest, 'a', 255);
	snprintf(longest + 254, sizeof longest - 254, ":1");
	assert_false(invite_endpoint_valid(longest));
}

static void what_cannot_be_is_not_written(void **state)
{
	struct keyring *k = zero_keyring();
	struct invite v = example();
	struct buf b;

	buf_init(&b, INVITE_TEXT_MAX);
	snprintf(v.endpoint, sizeof v.endpoint, "nowhere");
	assert_int_equal(write_as(k, &v, &b), ERR_MALFORMED);
	v = example();
	snprintf(v.profile, sizeof v.profile, "moon");
	assert_int_equal(write_as(k, &v, &b), ERR_MALFORMED);
	v = example();
	snprintf(v.allowed_peers, sizeof v.allowed_peers, "alice, bob");
	assert_int_equal(write_as(k, &v, &b), ERR_MALFORMED);
	snprintf(v.allowed_peers, sizeof v.allowed_peers, "alice,");
	assert_int_equal(write_as(k, &v, &b), ERR_MALFORMED);
	v = example();
	v.expires_ms = v.issued_ms;
	assert_int_equal(write_as(k, &v, &b), ERR_MALFORMED);
	assert_int_equal(b.n, 0);
	buf_fini(&b);
	keyring_free(k);
}

/* The token of an object as `k` would sign it, whatever it says. */
static void signed_by(const struct keyring *k, json_t *o, struct buf *out)
{
	uint8_t sig[SIG_BYTES];
	char sig_text[BASE64_LEN(SIG_BYTES) + 1];
	struct buf whole;

	buf_init(&whole, 65536);
	buf_add(&whole, sig_prefix(SIG_INVITE));
	assert_int_equal(json_write(&whole, o, JSON_SORTED), ERR_OK);
	keyring_sign(k, SIG_INVITE, buf_bytes(&whole), sig);
	base64_encode(BYTES_ARR(sig), sig_text);
	json_object_set_new(o, "signature", json_string(sig_text));
	buf_reset(&whole);
	assert_int_equal(json_write(&whole, o, JSON_SORTED), ERR_OK);
	buf_reset(out);
	buf_add_str(out, INVITE_PREFIX);
	assert_int_equal(buf_add_base64(out, buf_bytes(&whole)), ERR_OK);
	for (size_t i = 0; i < out->n; i++)
		out->p[i] = out->p[i] == '+' ? '-' : out->p[i] == '/' ? '_' : out->p[i];
	while (out->p[out->n - 1] == '=')
		out->n--;
	buf_fini(&whole);
	json_decref(o);
}

static json_t *object(const struct keyring *k)
{
	char key[BASE64_LEN(ED_BYTES) + 1];

	base64_encode(bytes_of(keyring_ed(k), ED_BYTES), key);
	return json_pack("{s:i, s:s, s:s, s:s, s:s, s:f, s:f, s:s, s:s}", "version", 1, "nonce",
			 "00112233445566778899aabbccddeeff", "inviter_id", keyring_id(k)->hex, "inviter_key", key, "endpoint",
			 "a:1", "issued_at", 1.0, "expires_at", 2.0, "allowed_peers", "", "profile", "");
}

static enum err read_with(const struct keyring *k, const char *key, json_t *value)
{
	json_t *o = object(k);
	struct invite v;
	struct buf b;
	enum err e;

	if (key && value)
		json_object_set_new(o, key, value);
	else if (key)
		json_object_del(o, key);
	buf_init(&b, 65536);
	signed_by(k, o, &b);
	e = invite_read(buf_bytes(&b), &v);
	buf_fini(&b);
	return e;
}

static void members_are_checked_though_signed(void **state)
{
	static const char *const keys[] = { "version", "nonce", "inviter_id", "inviter_key", "endpoint", "issued_at",
					    "expires_at", "allowed_peers", "profile" };
	struct keyring *k = zero_keyring();
	char longest[4000];

	assert_int_equal(read_with(k, NULL, NULL), ERR_OK);
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		assert_int_equal(read_with(k, keys[i], NULL), ERR_MALFORMED);
		assert_int_equal(read_with(k, keys[i], json_null()), ERR_MALFORMED);
		assert_int_equal(read_with(k, keys[i], json_array()), ERR_MALFORMED);
	}
	assert_int_equal(read_with(k, "version", json_integer(2)), ERR_VERSION);
	assert_int_equal(read_with(k, "version", json_integer(0)), ERR_MALFORMED);
	assert_int_equal(read_with(k, "nonce", json_string("00")), ERR_MALFORMED);
	assert_int_equal(read_with(k, "nonce", json_string("00112233445566778899AABBCCDDEEFF")), ERR_MALFORMED);
	assert_int_equal(read_with(k, "inviter_id", json_string("00112233445566778899aabbccddeeff")), ERR_AUTH);
	assert_int_equal(read_with(k, "endpoint", json_string("a:1;rm")), ERR_MALFORMED);
	assert_int_equal(read_with(k, "expires_at", json_real(0.5)), ERR_MALFORMED);
	assert_int_equal(read_with(k, "expires_at", json_real(1e300)), ERR_MALFORMED);
	assert_int_equal(read_with(k, "issued_at", json_real(-1)), ERR_MALFORMED);
	assert_int_equal(read_with(k, "issued_at", json_integer(1)), ERR_OK);
	assert_int_equal(read_with(k, "profile", json_string("a profile too long")), ERR_MALFORMED);
	assert_int_equal(read_with(k, "profile", json_string("later")), ERR_OK);
	assert_int_equal(read_with(k, "later", json_string("signed with the rest")), ERR_OK);
	memset(longest, 'a', sizeof longest);
	longest[sizeof longest - 1] = '\0';
	assert_int_equal(read_with(k, "later", json_string(longest)), ERR_LIMIT);
	longest[1100] = '\0';
	assert_int_equal(read_with(k, "allowed_peers", json_string(longest)), ERR_MALFORMED);
	keyring_free(k);
}

static void free_text_in_the_list_is_not_shown(void **state)
{
	struct keyring *k = zero_keyring();
	json_t *o = object(k);
	struct invite v;
	struct buf b;

	json_object_set_new(o, "allowed_peers", json_string("bob; rm -rf /, \x1b[2J"));
	buf_init(&b, 65536);
	signed_by(k, o, &b);
	assert_int_equal(invite_read(buf_bytes(&b), &v), ERR_OK);
	assert_string_equal(v.allowed_peers, "");
	buf_fini(&b);
	keyring_free(k);
}

/* Whatever one flips, it is no token of this inviter any more. */
static void a_changed_token_is_none(void **state)
{
	char text[sizeof token + 1];
	struct invite v;

	for (size_t i = 0; i < sizeof token - 1; i++) {
		memcpy(text, token, sizeof token);
		text[i] = text[i] == 'A' ? 'B' : 'A';
		if (invite_read(bytes_str(text), &v) == ERR_OK)
			fail_msg("character %zu", i);
	}
	for (size_t n = 0; n < sizeof token - 1; n++)
		assert_int_not_equal(invite_read(bytes_of(token, n), &v), ERR_OK);
	/* One spelling: no padding, no standard alphabet. */
	snprintf(text, sizeof text, "%s=", token);
	assert_int_equal(invite_read(bytes_str(text), &v), ERR_MALFORMED);
	assert_int_equal(invite_read(BYTES_LIT("ironmesh-invite-v2:AAAA"), &v), ERR_MALFORMED);
	assert_int_equal(invite_read(BYTES_LIT(""), &v), ERR_MALFORMED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_is_written_and_read),
		cmocka_unit_test(times_and_lives),
		cmocka_unit_test(endpoints),
		cmocka_unit_test(what_cannot_be_is_not_written),
		cmocka_unit_test(members_are_checked_though_signed),
		cmocka_unit_test(free_text_in_the_list_is_not_shown),
		cmocka_unit_test(a_changed_token_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
