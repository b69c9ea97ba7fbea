#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "tests/lib/protocol_env.h"

#define BINDING	  "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define EPHEMERAL "pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk="
#define IDENTITY  "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik="
#define SIGNATURE                                                                                  \
	"eNHAlo/+lsTfUYGhIYOgjbB+jeMUJiXB8yeX8rp+aoMU+kBndJ2v2PrTXTnT6eQ7I2UQwKUDW9rd5sQ38lA7Cg=="

/* wire 11.4 */
static const char canonical_alice[] =
	"{\"channel_binding\":\"" BINDING "\",\"ephemeral_public\":\"" EPHEMERAL
	"\",\"identity_public\":\"" IDENTITY
	"\",\"name\":\"alice\",\"protocol_version\":\"ironmesh/0.9\"}";
static const char hello_alice[] =
	"{\"type\": \"HELLO\", \"from\": \"139e3940e64b5491722088d9a0d74162\", \"name\": "
	"\"alice\", "
	"\"ephemeral_public\": \"" EPHEMERAL "\", \"identity_public\": \"" IDENTITY
	"\", \"protocol_version\": \"ironmesh/0.9\", \"channel_binding\": \"" BINDING
	"\", \"signature\": \"" SIGNATURE "\", "
	"\"x25519_public_b64\": \"xtuit1tHAfOfMH8um5StKhvK3zYJNqjMUCwkxpaNyl8=\", "
	"\"x25519_binding_signature_b64\": "
	"\"Nux3MlLsjK4/"
	"U5SAkfDyFZsm7fRJqzjx9sTPF+rdNAIgozjKoT82QRObA4ZYAG6ctcb2IAHSy3Gy3rrazLIwDg==\"}";

static struct hello_covered covered(const char *name, const char *version)
{
	return (struct hello_covered){
		.binding = BYTES_LIT(BINDING),
		.ephemeral = BYTES_LIT(EPHEMERAL),
		.identity = BYTES_LIT(IDENTITY),
		.name = bytes_str(name),
		.version = bytes_str(version),
	};
}

static struct hello_offer offer(const struct keyring *k, const uint8_t *ephemeral, bool acks)
{
	return (struct hello_offer){.keyring = k,
				    .name = "alice",
				    .version = V09_VERSION_TEXT,
				    .binding_hex = BINDING,
				    .ephemeral = ephemeral,
				    .scheme = HELLO_CONTEXT,
				    .acks = acks};
}

static void canonical_form_matches_the_vectors(void **state)
{
	struct hello_covered c = covered("alice", "ironmesh/0.9");
	struct buf b;

	buf_init(&b, 4096);
	hello_canonical(&b, &c);
	assert_int_equal(b.n, 266);
	assert_string_equal(buf_cstr(&b), canonical_alice);
	buf_reset(&b);
	c = covered("caf\xc3\xa9-\xf0\x9f\x98\x80\"\\/\x7f\t", "ironmesh/0.9");
	hello_canonical(&b, &c);
	assert_int_equal(b.n, 296);
	assert_non_null(
		strstr(buf_cstr(&b), "\"name\":\"caf\\u00e9-\\ud83d\\ude00\\\"\\\\/\\u007f\\t\""));

	struct keyring *k = keyring_number(0);
	struct buf whole;
	uint8_t sig[SIG_BYTES], want[SIG_BYTES];
	test_unhex("8e0a7c71cae3fdd21adf6d81738b5d34ccdfe5dab1be57c9e3c668c778877ed2"
		   "d02a905d47da10969eca118b7ccc83426d4b6021b5d1512dbece22033d7f1102",
		   want, sizeof want);
	buf_init(&whole, 4096);
	buf_add(&whole, sig_prefix(SIG_HELLO));
	buf_add(&whole, buf_bytes(&b));
	keyring_sign(k, SIG_HELLO, buf_bytes(&whole), sig);
	assert_memory_equal(sig, want, sizeof sig);
	buf_fini(&whole);
	buf_fini(&b);
	keyring_free(k);
}

static void hello_prints_as_upstream_prints_it(void **state)
{
	struct keyring *k = keyring_number(0);
	uint8_t ephemeral[X25519_BYTES];
	struct hello_offer o;
	struct buf b;

	assert_int_equal(base64_decode_exact(BYTES_LIT(EPHEMERAL), ephemeral, 32), ERR_OK);
	o = offer(k, ephemeral, false);
	buf_init(&b, 4096);
	hello_write(&b, &o);
	assert_int_equal(b.err, ERR_OK);
	assert_int_equal(b.n, 634);
	assert_string_equal(buf_cstr(&b), hello_alice);
	/* Ours differs by one key at the end. */
	buf_reset(&b);
	o.acks = true;
	hello_write(&b, &o);
	assert_int_equal(memcmp(b.p, hello_alice, 633), 0);
	assert_string_equal(buf_cstr(&b) + 633, ", \"acks\": 1}");
	buf_fini(&b);
	keyring_free(k);
}

static void attached_signature_matches_the_vector(void **state)
{
	struct keyring *k = keyring_number(0);
	uint8_t ephemeral[X25519_BYTES], hash[HASH_BYTES], want[HASH_BYTES];
	struct hello_offer o;
	struct bytes text;
	struct buf b, raw;
	json_t *j;

	assert_int_equal(base64_decode_exact(BYTES_LIT(EPHEMERAL), ephemeral, 32), ERR_OK);
	o = offer(k, ephemeral, false);
	o.version = "ironmesh/0.8";
	o.scheme = HELLO_ATTACHED;
	buf_init(&b, 4096);
	buf_init(&raw, 4096);
	hello_write(&b, &o);
	assert_int_equal(json_load_strict(buf_bytes(&b), 4096, &j), ERR_OK);
	assert_int_equal(json_get_str(j, "signature", &text), ERR_OK);
	assert_int_equal(buf_add_base64_decoded(&raw, text), ERR_OK);
	assert_int_equal(raw.n, 330);
	sha256(buf_bytes(&raw), hash);
	test_unhex("a527ba919a40ea07fc10236b21b43f56da69757bfe8316baefb9be3b3edf16fe", want, 32);
	assert_memory_equal(hash, want, 32);
	json_decref(j);
	buf_fini(&raw);
	buf_fini(&b);
	keyring_free(k);
}

static enum hello_verdict read_text(const char *text, struct hello *h)
{
	json_t *o;

	assert_int_equal(json_load_strict(bytes_str(text), 65536, &o), ERR_OK);
	enum hello_verdict v = hello_read(o, BINDING, true, h);
	json_decref(o);
	return v;
}

static void hello_of_upstream_is_accepted(void **state)
{
	struct hello h;

	assert_int_equal(read_text(hello_alice, &h), HELLO_ACCEPTED);
	assert_string_equal(h.id.hex, "139e3940e64b5491722088d9a0d74162");
	assert_string_equal(h.name, "alice");
	assert_int_equal(h.version, VERSION_OF(0, 9));
	assert_true(h.has_x25519);
	assert_false(h.acks);
}

/* One change each, made after signing; NULL deletes the key. */
static const struct {
	const char *what, *key, *json;
	enum hello_verdict verdict;
} changes[] = {
	{"other type", "type", "\"HELLo\"", HELLO_OTHER_TYPE},
	{"no type", "type", NULL, HELLO_OTHER_TYPE},
	{"no from", "from", NULL, HELLO_INCOMPLETE},
	{"from is a number", "from", "7", HELLO_INCOMPLETE},
	{"from of another", "from", "\"28fff9342c7030d3d899cc9e7bc11878\"", HELLO_BAD_FROM},
	{"from in upper case", "from", "\"139E3940E64B5491722088D9A0D74162\"", HELLO_BAD_FROM},
	{"no ephemeral", "ephemeral_public", NULL, HELLO_INCOMPLETE},
	{"other ephemeral", "ephemeral_public", "\"zo060cy2M+x7cMF4FKXHbs0CloUFDTRHRboFhw5YfVk=\"",
	 HELLO_BAD_SIGNATURE},
	{"short ephemeral", "ephemeral_public", "\"AAAA\"", HELLO_INCOMPLETE},
	{"new line in base64", "ephemeral_public",
	 "\"pOCSkrZRwni5dyxWn1+puxPZ\\nBrRqtoyd+dwrRAn4ogk=\"", HELLO_INCOMPLETE},
	{"spare bits in base64", "ephemeral_public",
	 "\"pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogl=\"", HELLO_INCOMPLETE},
	{"no identity", "identity_public", NULL, HELLO_ANONYMOUS},
	{"no signature", "signature", NULL, HELLO_UNSIGNED},
	{"signature is a number", "signature", "1", HELLO_BAD_SIGNATURE},
	{"signature is empty", "signature", "\"\"", HELLO_BAD_SIGNATURE},
	{"signature with a new line", "signature", "\"\\n" SIGNATURE "\"", HELLO_BAD_SIGNATURE},
	{"other name", "name", "\"alicf\"", HELLO_BAD_SIGNATURE},
	{"name is an object", "name", "{}", HELLO_INCOMPLETE},
	{"no name", "name", NULL, HELLO_BAD_SIGNATURE},
	{"other version", "protocol_version", "\"ironmesh/0.10\"", HELLO_BAD_SIGNATURE},
	{"context signature, 0.8 declared", "protocol_version", "\"ironmesh/0.8\"",
	 HELLO_BAD_SIGNATURE},
	{"no version", "protocol_version", NULL, HELLO_BAD_SIGNATURE},
	{"swapped binding", "channel_binding",
	 "\"100102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\"",
	 HELLO_BAD_SIGNATURE},
	{"no binding", "channel_binding", NULL, HELLO_BAD_SIGNATURE},
	{"link id on a WebSocket", "rns_link_id", "\"00112233445566778899aabbccddeeff\"",
	 HELLO_LINK_BINDING},
	{"empty link id", "rns_link_id", "\"\"", HELLO_LINK_BINDING},
	{"null link id", "rns_link_id", "null", HELLO_LINK_BINDING},
};

static void every_change_after_signing_is_refused(void **state)
{
	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		struct hello h;
		json_t *o;

		assert_int_equal(json_load_strict(bytes_str(hello_alice), 65536, &o), ERR_OK);
		if (changes[i].json)
			json_object_set_new(o, changes[i].key,
					    json_loads(changes[i].json, JSON_DECODE_ANY, NULL));
		else
			json_object_del(o, changes[i].key);
		enum hello_verdict v = hello_read(o, BINDING, true, &h);
		json_decref(o);
		if (v != changes[i].verdict)
			fail_msg("%s: %d", changes[i].what, v);
	}
}

static void verdicts_have_words(void **state)
{
	for (int v = HELLO_ACCEPTED + 1; v < HELLO_VERDICTS; v++) {
		const struct hello_refusal *r = hello_refusal((enum hello_verdict)v);

		assert_non_null(r->word);
		assert_int_not_equal(r->err, ERR_OK);
		assert_int_not_equal(r->blame, BLAME_NONE);
		assert_int_equal(!r->error, !r->code);
	}
	struct buf b;
	buf_init(&b, 1024);
	error_write(&b, "HELLO signature verification failed", "AUTH_FAILED");
	assert_string_equal(buf_cstr(&b),
			    "{\"type\": \"ERROR\", \"error\": \"HELLO signature verification "
			    "failed\", \"code\": \"AUTH_FAILED\"}");
	buf_fini(&b);
}

/* A bad advertisement is as good as none; the HELLO stands (wire 2.6.5). */
static void advertisement_counts_only_when_its_binding_holds(void **state)
{
	static const struct {
		const char *key, *json;
	} rows[] = {
		{"x25519_public_b64", "\"pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk=\""},
		{"x25519_public_b64", "5"},
		{"x25519_public_b64", NULL},
		{"x25519_binding_signature_b64", "\"" SIGNATURE "\""},
		{"x25519_binding_signature_b64", NULL},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct hello h;
		json_t *o;

		assert_int_equal(json_load_strict(bytes_str(hello_alice), 65536, &o), ERR_OK);
		if (rows[i].json)
			json_object_set_new(o, rows[i].key,
					    json_loads(rows[i].json, JSON_DECODE_ANY, NULL));
		else
			json_object_del(o, rows[i].key);
		assert_int_equal(hello_read(o, BINDING, true, &h), HELLO_ACCEPTED);
		assert_false(h.has_x25519);
		json_decref(o);
	}
}

static void acks_is_the_integer_one(void **state)
{
	static const struct {
		const char *json;
		bool acks;
	} rows[] = {{"1", true},      {"2", false},   {"0", false},  {"true", false},
		    {"\"1\"", false}, {"1.0", false}, {"[1]", false}};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct hello h;
		json_t *o;

		assert_int_equal(json_load_strict(bytes_str(hello_alice), 65536, &o), ERR_OK);
		json_object_set_new(o, "acks", json_loads(rows[i].json, JSON_DECODE_ANY, NULL));
		assert_int_equal(hello_read(o, BINDING, true, &h), HELLO_ACCEPTED);
		assert_int_equal(h.acks, rows[i].acks);
		json_decref(o);
	}
}

static void client_may_leave_the_binding_out_but_not_change_it(void **state)
{
	struct hello h;
	json_t *o;

	assert_int_equal(json_load_strict(bytes_str(hello_alice), 65536, &o), ERR_OK);
	json_object_del(o, "channel_binding");
	assert_int_equal(hello_read(o, BINDING, false, &h), HELLO_ACCEPTED);
	json_object_set_new(o, "channel_binding", json_string("00"));
	assert_int_equal(hello_read(o, BINDING, false, &h), HELLO_BAD_SIGNATURE);
	json_decref(o);
}

static void foreign_names_are_cleaned(void **state)
{
	struct penv e;
	struct puppet p;
	struct hello h;
	char binding[65];
	json_t *o;

	penv_init(&e);
	puppet_init(&p, &e, 5, true);
	p.name = "a\x1b[31mb\xc3\xa9\x07";
	char *text = puppet_hello(&p);
	hex_encode(BYTES_ARR(p.nonce), binding);
	assert_int_equal(json_load_strict(bytes_str(text), 65536, &o), ERR_OK);
	assert_int_equal(hello_read(o, binding, true, &h), HELLO_ACCEPTED);
	assert_string_equal(h.name, "a?[31mb\xc3\xa9?");
	json_decref(o);
	free(text);
	puppet_fini(&p);
}

static enum hello_verdict read_with_invite(const char *json, struct hello *h, json_t **o)
{
	struct buf b;

	buf_init(&b, 65536);
	buf_add(&b, bytes_of(hello_alice, sizeof hello_alice - 2)); /* without its last brace */
	buf_printf(&b, ", \"invite_token\": %s}", json);
	assert_int_equal(json_load_strict(buf_bytes(&b), 65536, o), ERR_OK);
	buf_fini(&b);
	return hello_read(*o, BINDING, true, h);
}

/* It is outside the signature, and what is no token is for whoever wants one to refuse. */
static void an_invite_rides_in_the_hello(void **state)
{
	static const char *const none[] = { "7", "{}", "\"a b\"", "\"\\u001b[2J\"", "\"caf\\u00e9\"", "\"\"" };
	struct keyring *k = keyring_number(0);
	uint8_t ephemeral[X25519_BYTES] = { 1 };
	struct hello_offer o = offer(k, ephemeral, true);
	char longest[INVITE_TEXT_MAX + 8];
	struct hello h;
	struct buf b;
	json_t *v;

	assert_int_equal(read_with_invite("\"ironmesh-invite-v1:AbC_-\"", &h, &v), HELLO_ACCEPTED);
	assert_true(h.has_invite && bytes_eq(h.invite, BYTES_LIT("ironmesh-invite-v1:AbC_-")));
	json_decref(v);
	assert_int_equal(read_with_invite("null", &h, &v), HELLO_ACCEPTED);
	assert_false(h.has_invite);
	json_decref(v);
	for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
		assert_int_equal(read_with_invite(none[i], &h, &v), HELLO_ACCEPTED);
		assert_true(h.has_invite && h.invite.n == 0);
		json_decref(v);
	}
	memset(longest, 'a', sizeof longest);
	longest[0] = '"';
	longest[INVITE_TEXT_MAX + 1] = '"';
	longest[INVITE_TEXT_MAX + 2] = '\0';
	assert_int_equal(read_with_invite(longest, &h, &v), HELLO_ACCEPTED);
	assert_int_equal(h.invite.n, INVITE_TEXT_MAX);
	json_decref(v);
	longest[INVITE_TEXT_MAX + 1] = 'a';
	longest[INVITE_TEXT_MAX + 2] = '"';
	longest[INVITE_TEXT_MAX + 3] = '\0';
	assert_int_equal(read_with_invite(longest, &h, &v), HELLO_ACCEPTED);
	assert_true(h.has_invite && h.invite.n == 0);
	json_decref(v);
	/* And is written where the old software puts it. */
	buf_init(&b, 65536);
	o.invite = "ironmesh-invite-v1:AAAA";
	hello_write(&b, &o);
	assert_non_null(strstr(buf_cstr(&b), "\", \"invite_token\": \"ironmesh-invite-v1:AAAA\", \"x25519_public_b64\""));
	buf_fini(&b);
	keyring_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(canonical_form_matches_the_vectors),
		cmocka_unit_test(hello_prints_as_upstream_prints_it),
		cmocka_unit_test(attached_signature_matches_the_vector),
		cmocka_unit_test(hello_of_upstream_is_accepted),
		cmocka_unit_test(every_change_after_signing_is_refused),
		cmocka_unit_test(verdicts_have_words),
		cmocka_unit_test(advertisement_counts_only_when_its_binding_holds),
		cmocka_unit_test(acks_is_the_integer_one),
		cmocka_unit_test(client_may_leave_the_binding_out_but_not_change_it),
		cmocka_unit_test(foreign_names_are_cleaned),
		cmocka_unit_test(an_invite_rides_in_the_hello),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
