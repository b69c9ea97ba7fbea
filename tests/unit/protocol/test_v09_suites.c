/* How 0.9 shows that a node speaks im2 as well: `suites` in the challenge, the mark in HELLO (im2.md 4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/lib/protocol_env.h"

#define NONCE_HEX "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

/* xx_websocket.S1_text of the vectors: sent by bob. */
static const char s1_text[] =
	"{\"type\": \"PASSPHRASE_CHALLENGE\", \"from\": \"34750f98bd59fcfc946da45aaabe933b\", "
	"\"nonce\": \"" NONCE_HEX "\", \"protocol_version\": \"ironmesh/0.9\", \"suites\": [\"im2\"]}";

static bool peek(const char *text, bool *offers)
{
	uint8_t nonce[32], want[32];

	test_count_up(want, sizeof want);
	if (!v09_challenge_peek(bytes_str(text), nonce, offers))
		return false;
	assert_memory_equal(nonce, want, sizeof nonce);
	return true;
}

static void offer_is_the_challenge_of_the_vectors(void **state)
{
	struct node_id bob;
	uint8_t nonce[32];
	struct buf b;
	bool offers;

	assert_int_equal(node_id_parse(BYTES_LIT("34750f98bd59fcfc946da45aaabe933b"), &bob), ERR_OK);
	test_count_up(nonce, sizeof nonce);
	buf_init(&b, 4096);
	challenge_write(&b, &bob, nonce, true);
	assert_string_equal(buf_cstr(&b), s1_text);
	assert_true(peek(s1_text, &offers));
	assert_true(offers);
	buf_reset(&b);
	challenge_write(&b, &bob, nonce, false);
	assert_null(strstr(buf_cstr(&b), "suites"));
	assert_true(peek(buf_cstr(&b), &offers));
	assert_false(offers);
	buf_fini(&b);
}

static void peek_reads_suites_strictly(void **state)
{
	static const struct {
		const char *suites;
		int verdict; /* -1: no challenge, else what is offered */
	} rows[] = {
		{"", 0},
		{",\"suites\":[]", 0},
		{",\"suites\":[\"im2\"]", 1},
		{",\"suites\":[\"im3\",\"im2\"]", 1},
		{",\"suites\":[\"im2\",\"im2\"]", 1},
		{",\"suites\":[\"IM2\"]", 0},
		{",\"suites\":[\"im2 \"]", 0},
		{",\"suites\":[\"im\"]", 0},
		{",\"suites\":\"im2\"", 0},
		{",\"suites\":{\"im2\":1}", 0},
		{",\"suites\":[[\"im2\"]]", 0},
		{",\"suites\":[\"im2\",2]", 0},
		{",\"suites\":null", 0},
		{",\"suites\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\","
		 "\"a\",\"a\",\"a\",\"im2\"]",
		 1},
		{",\"suites\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\","
		 "\"a\",\"a\",\"a\",\"a\",\"im2\"]",
		 0},
		{",\"suites\":[],\"suites\":[\"im2\"]", -1},
		{",\"suites\":[\"im2\"", -1},
	};
	char text[512];
	bool offers;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		snprintf(text, sizeof text,
			 "{\"type\":\"PASSPHRASE_CHALLENGE\",\"nonce\":\"" NONCE_HEX "\"%s}",
			 rows[i].suites);
		assert_int_equal(peek(text, &offers), rows[i].verdict >= 0);
		if (rows[i].verdict >= 0)
			assert_int_equal(offers, rows[i].verdict);
	}
}

static void peek_takes_only_challenges(void **state)
{
	static const char *const texts[] = {
		"",
		"{",
		"[]",
		"{\"type\":\"SKIP_OFFER\",\"nonce\":\"" NONCE_HEX "\",\"suites\":[\"im2\"]}",
		"{\"nonce\":\"" NONCE_HEX "\",\"suites\":[\"im2\"]}",
		"{\"type\":\"PASSPHRASE_CHALLENGE\",\"suites\":[\"im2\"]}",
		"{\"type\":\"PASSPHRASE_CHALLENGE\",\"nonce\":\"00\",\"suites\":[\"im2\"]}",
		"{\"type\":\"PASSPHRASE_CHALLENGE\",\"nonce\":\"" NONCE_HEX "\",\"from\":7}",
	};
	bool offers;

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		assert_false(peek(texts[i], &offers));
	for (size_t n = 0; n < sizeof s1_text - 1; n++) {
		uint8_t nonce[32];

		assert_false(v09_challenge_peek(bytes_of(s1_text, n), nonce, &offers));
	}
	char *big = malloc(SESSION_HANDSHAKE_UNIT_MAX + 1);
	memset(big, ' ', SESSION_HANDSHAKE_UNIT_MAX + 1);
	memcpy(big, s1_text, sizeof s1_text - 1);
	uint8_t nonce[32];
	assert_true(v09_challenge_peek(bytes_of(big, SESSION_HANDSHAKE_UNIT_MAX), nonce, &offers));
	assert_false(v09_challenge_peek(bytes_of(big, SESSION_HANDSHAKE_UNIT_MAX + 1), nonce, &offers));
	free(big);
}

/* legacy_hello_with_marker of the vectors. */
static void marked_hello_is_the_one_of_the_vectors(void **state)
{
	static const char binding[] = NONCE_HEX;
	struct keyring *k = keyring_number(0);
	uint8_t ephemeral[32], want[64];
	char sig64[BASE64_LEN(64) + 1];
	struct hello h;
	struct buf b;
	json_t *o;

	assert_int_equal(base64_decode_exact(BYTES_LIT("pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk="),
					     ephemeral, 32),
			 ERR_OK);
	test_unhex("30dbca870c7636b5cda9bfd8b51c2415a6be57a6af438b94ed034a6196e6b442"
		   "4aea79f48510af4c441a6aa66e399d635826578bf16a131caef1417dc8ef0109",
		   want, sizeof want);
	base64_encode(BYTES_ARR(want), sig64);
	buf_init(&b, 8192);
	hello_write(&b, &(struct hello_offer){.keyring = k,
					      .name = "alice",
					      .version = V09_MARKED_TEXT,
					      .binding_hex = binding,
					      .ephemeral = ephemeral,
					      .scheme = HELLO_CONTEXT});
	assert_non_null(strstr(buf_cstr(&b), "\"protocol_version\": \"ironmesh/0.9.im2\""));
	assert_non_null(strstr(buf_cstr(&b), sig64));
	o = json_loadb((const char *)b.p, b.n, 0, NULL);
	assert_non_null(o);
	assert_int_equal(hello_read(o, binding, true, &h), HELLO_ACCEPTED);
	assert_true(h.marked);
	assert_int_equal(h.version, VERSION_OF(0, 9));
	/* Somebody takes the mark off: the signature covered it. */
	json_object_set_new(o, "protocol_version", json_string(V09_VERSION_TEXT));
	assert_int_equal(hello_read(o, binding, true, &h), HELLO_BAD_SIGNATURE);
	json_decref(o);
	buf_fini(&b);
	keyring_free(k);
}

/* One session of ours that offers and marks as asked, and a puppet that declares `version`. */
struct stage {
	struct penv e;
	struct keyring *k;
	struct end end;
	struct puppet p;
};

static struct stage *stage_new(enum session_role role, bool offer, bool mark)
{
	struct stage *t = calloc(1, sizeof *t);
	struct session_config c;
	struct session *s;

	penv_init(&t->e);
	t->k = keyring_number(0);
	c = test_config(&t->e, t->k, role);
	c.offer_im2 = offer;
	c.mark_im2 = mark;
	assert_int_equal(v09_session_new(&c, &s), ERR_OK);
	end_init(&t->end, s);
	puppet_init(&t->p, &t->e, 3, role == SESSION_LISTENER);
	session_start(s);
	end_drain(&t->end);
	return t;
}

static void stage_free(struct stage *t)
{
	end_fini(&t->end);
	puppet_fini(&t->p);
	keyring_free(t->k);
	free(t);
}

static void offer_changes_nothing_but_the_key(void **state)
{
	struct stage *with = stage_new(SESSION_LISTENER, true, true);
	struct stage *without = stage_new(SESSION_LISTENER, false, false);
	struct said a = end_pop(&with->end), b = end_pop(&without->end);
	static const char key[] = ", \"suites\": [\"im2\"]}";

	assert_true(a.text);
	assert_int_equal(a.n, b.n + sizeof key - 2);
	assert_memory_equal(a.p, b.p, b.n - 1);
	assert_memory_equal(a.p + b.n - 1, key, sizeof key - 1);
	free(a.p);
	free(b.p);
	stage_free(with);
	stage_free(without);
}

/* The HELLO of ours, in either role. */
static void assert_declares(struct stage *t, const char *version)
{
	for (size_t i = 0; i < t->end.wire_n; i++) {
		json_t *o = json_loadb((const char *)t->end.wire[i].p, t->end.wire[i].n, 0, NULL);
		const char *type = json_str(o, "type");

		if (type && strcmp(type, "HELLO") == 0) {
			assert_string_equal(json_str(o, "protocol_version"), version);
			json_decref(o);
			return;
		}
		json_decref(o);
	}
	fail_msg("no HELLO");
}

static void listener_marks_towards_0_9_and_later(void **state)
{
	static const struct {
		const char *theirs, *ours;
	} rows[] = {
		{NULL, V09_VERSION_TEXT},	     {"ironmesh/0.6", V09_VERSION_TEXT},
		{"ironmesh/0.8", V09_VERSION_TEXT},  {"ironmesh/0.9", V09_MARKED_TEXT},
		{"ironmesh/0.10", V09_MARKED_TEXT},  {"ironmesh/1.0", V09_MARKED_TEXT},
		{"ironmesh/0.9.im2", V09_MARKED_TEXT},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		for (int mark = 0; mark < 2; mark++) {
			struct stage *t = stage_new(SESSION_LISTENER, mark, mark);

			t->p.version = rows[i].theirs;
			assert_true(puppet_handshake(&t->p, &t->end));
			assert_declares(t, mark ? rows[i].ours : V09_VERSION_TEXT);
			stage_free(t);
		}
}

static void dialler_marks_by_the_version_of_the_challenge(void **state)
{
	static const struct {
		const char *theirs, *ours;
	} rows[] = {
		{NULL, V09_VERSION_TEXT},
		{",\"protocol_version\":\"ironmesh/0.8\"", V09_VERSION_TEXT},
		{",\"protocol_version\":\"ironmesh/0.9\"", V09_MARKED_TEXT},
		{",\"protocol_version\":\"ironmesh/0.9\",\"suites\":[]", V09_MARKED_TEXT},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		for (int mark = 0; mark < 2; mark++) {
			struct stage *t = stage_new(SESSION_DIALLER, false, mark);
			char proof[PROOF_HEX + 1], text[512], nonce[65];

			hex_encode(BYTES_ARR(t->p.nonce), nonce);
			snprintf(text, sizeof text,
				 "{\"type\":\"PASSPHRASE_CHALLENGE\",\"nonce\":\"%s\"%s}", nonce,
				 rows[i].theirs ? rows[i].theirs : "");
			end_take(&t->end, text, strlen(text), true);
			proof_of_server(BYTES_LIT(MESH_PASSPHRASE), t->p.nonce, proof);
			snprintf(text, sizeof text,
				 "{\"type\":\"PASSPHRASE_VERIFIED\",\"server_proof\":\"%s\"}", proof);
			end_take(&t->end, text, strlen(text), true);
			assert_declares(t, mark ? rows[i].ours : V09_VERSION_TEXT);
			stage_free(t);
		}
}

/* What the owner refuses by is known when it is asked, and only a signed HELLO says it. */
static void mark_of_the_peer_is_known_before_the_decision(void **state)
{
	static const struct {
		const char *version;
		bool marked;
	} rows[] = {
		{"ironmesh/0.9", false},    {"ironmesh/0.9.im2", true},	 {"ironmesh/0.10.im2", true},
		{"ironmesh/0.9.im", false}, {"ironmesh/0.9.xim2", false}, {"ironmesh/0.9.im2x", false},
		{"ironmesh/0.8.im2", true}, {"ironmesh/0.9.2.im2", true},
	};

	for (int role = 0; role < 2; role++)
		for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
			struct stage *t = stage_new(role ? SESSION_LISTENER : SESSION_DIALLER, role, true);

			t->p.version = rows[i].version;
			t->end.hold = true;
			puppet_handshake(&t->p, &t->end);
			assert_int_equal(end_count(&t->end, SESSION_EV_IDENTIFIED), 1);
			assert_int_equal(session_peer(t->end.s)->marked, rows[i].marked);
			session_refuse(t->end.s, ERR_DOWNGRADE, "downgrade-refused");
			end_drain(&t->end);
			assert_true(session_over(t->end.s));
			stage_free(t);
		}
}

/* im2.md 4.3: who is refused for the generation alone is told so, and by a listener only. */
static void the_need_of_im2_is_said_by_the_listener(void **state)
{
	static const char said[] = "{\"type\": \"ERROR\", \"error\": \"im2 required for this identity\", "
				   "\"code\": \"AUTH_FAILED\"}";

	for (int role = 0; role < 2; role++)
		for (int needs = 0; needs < 2; needs++) {
			struct stage *t = stage_new(role ? SESSION_LISTENER : SESSION_DIALLER, role, true);

			t->end.hold = true;
			puppet_handshake(&t->p, &t->end);
			end_forget(&t->end);
			session_refuse(t->end.s, ERR_DOWNGRADE, needs ? SESSION_REFUSE_NEEDS_IM2 : "downgrade");
			end_drain(&t->end);
			assert_true(session_over(t->end.s));
			assert_int_equal(t->end.wire_n, role && needs);
			if (role && needs) {
				assert_int_equal(t->end.wire[0].n, sizeof said - 1);
				assert_memory_equal(t->end.wire[0].p, said, sizeof said - 1);
			}
			stage_free(t);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(offer_is_the_challenge_of_the_vectors),
		cmocka_unit_test(peek_reads_suites_strictly),
		cmocka_unit_test(peek_takes_only_challenges),
		cmocka_unit_test(marked_hello_is_the_one_of_the_vectors),
		cmocka_unit_test(offer_changes_nothing_but_the_key),
		cmocka_unit_test(listener_marks_towards_0_9_and_later),
		cmocka_unit_test(dialler_marks_by_the_version_of_the_challenge),
		cmocka_unit_test(mark_of_the_peer_is_known_before_the_decision),
		cmocka_unit_test(the_need_of_im2_is_said_by_the_listener),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
