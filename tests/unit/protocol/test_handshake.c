#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/lib/protocol_env.h"

/* One session of ours and a puppet on the other side. */
struct stage {
	struct penv e;
	struct keyring *k;
	struct end end;
	struct puppet p;
};

static void stage_with(struct stage *t, enum session_role role, uint16_t min_version)
{
	struct session *s;

	penv_init(&t->e);
	t->k = keyring_number(0);
	struct session_config c = test_config(&t->e, t->k, role);
	c.min_version = min_version;
	assert_int_equal(v09_session_new(&c, &s), ERR_OK);
	end_init(&t->end, s);
	puppet_init(&t->p, &t->e, 3, role == SESSION_LISTENER);
	session_start(s);
	end_drain(&t->end);
}

static struct stage *stage_new(enum session_role role)
{
	struct stage *t = calloc(1, sizeof *t);

	stage_with(t, role, VERSION_OF(0, 3));
	return t;
}

static void stage_free(struct stage *t)
{
	end_fini(&t->end);
	puppet_fini(&t->p);
	keyring_free(t->k);
	free(t);
}

static void assert_over(const struct end *e, enum err err, enum session_blame blame,
			const char *word)
{
	const struct seen *o = end_last(e, SESSION_EV_OVER);

	assert_non_null(o);
	assert_string_equal(o->word, word);
	assert_int_equal(o->err, err);
	assert_int_equal(o->blame, blame);
	assert_true(session_over(e->s));
	assert_false(session_online(e->s));
	assert_int_equal(end_count(e, SESSION_EV_OVER), 1);
	assert_int_equal(session_deadline_ms(e->s), UINT64_MAX);
}

static void assert_said(const struct end *e, const char *part)
{
	char text[2048] = "";

	assert_true(e->wire_n > 0);
	const struct said *u = &e->wire[e->wire_n - 1];
	assert_true(u->text && u->n < sizeof text);
	memcpy(text, u->p, u->n);
	if (!strstr(text, part))
		fail_msg("%s is not in %s", part, text);
}

static void two_sessions_meet(void **state)
{
	struct pair *p = pair_new(0, 1);

	session_start(p->a.s);
	session_start(p->b.s);
	assert_int_equal(session_deadline_ms(p->a.s), 6000);
	assert_int_equal(session_send(p->a.s, &(struct message){0}), ERR_WRONG_STATE);
	assert_int_equal(session_ping(p->a.s), ERR_WRONG_STATE);
	pair_flush(p);
	assert_true(session_online(p->a.s));
	assert_true(session_online(p->b.s));
	struct {
		struct end *e;
		const struct keyring *k;
		const char *name;
	} ends[] = {
		{&p->a, p->kb, "bob"},
		{&p->b, p->ka, "alice"},
	};
	for (int i = 0; i < 2; i++) {
		const struct session_peer *q = session_peer(ends[i].e->s);

		assert_true(node_id_eq(&q->id, keyring_id(ends[i].k)));
		assert_memory_equal(q->ed, keyring_ed(ends[i].k), ED_BYTES);
		assert_string_equal(q->name, ends[i].name);
		assert_int_equal(q->version, VERSION_OF(0, 9));
		assert_true(q->has_x25519);
		assert_memory_equal(q->x25519, keyring_x25519(ends[i].k), X25519_BYTES);
		assert_true(q->confirms);
		assert_string_equal(q->generation, "0.9");
		assert_int_equal(ends[i].e->log_n, 2);
		assert_int_equal(ends[i].e->log[0].type, SESSION_EV_IDENTIFIED);
		assert_int_equal(ends[i].e->log[1].type, SESSION_EV_ONLINE);
	}
	pair_free(p);
}

/* No reply that names us before the owner decided (wire 12, weakness 35). */
static void listener_waits_for_the_decision_before_its_hello(void **state)
{
	struct stage *t = stage_new(SESSION_LISTENER);

	t->end.hold = true;
	puppet_handshake(&t->p, &t->end);
	assert_int_equal(end_count(&t->end, SESSION_EV_IDENTIFIED), 1);
	assert_int_equal(t->end.wire_n, 0);
	assert_true(node_id_eq(&session_peer(t->end.s)->id, keyring_id(t->p.k)));
	session_admit(t->end.s);
	end_drain(&t->end);
	assert_true(session_online(t->end.s));
	assert_said(&t->end, "\"HELLO\"");
	session_admit(t->end.s); /* a second answer changes nothing */
	end_drain(&t->end);
	assert_int_equal(t->end.wire_n, 1);
	stage_free(t);
}

static void refusal_is_silent(void **state)
{
	struct stage *t = stage_new(SESSION_LISTENER);

	t->end.refuse = true;
	assert_false(puppet_handshake(&t->p, &t->end));
	assert_int_equal(t->end.wire_n, 0);
	assert_over(&t->end, ERR_UNTRUSTED, BLAME_NONE, "blocked");
	stage_free(t);

	t = stage_new(SESSION_DIALLER);
	t->end.refuse = true;
	assert_false(puppet_handshake(&t->p, &t->end));
	assert_int_equal(t->end.wire_n, 0);
	assert_over(&t->end, ERR_UNTRUSTED, BLAME_NONE, "blocked");
	stage_free(t);
}

/* Every generation of wire 0.2, in both roles. */
static void old_versions_are_met_with_their_scheme(void **state)
{
	static const char *const versions[] = {
		NULL,		"ironmesh/0.3", "ironmesh/0.4",	 "ironmesh/0.5.2", "ironmesh/0.6",
		"ironmesh/0.8", "ironmesh/0.9", "ironmesh/0.10", "ironmesh/1.0"};

	for (int role = 0; role < 2; role++)
		for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
			struct stage *t = stage_new(role ? SESSION_LISTENER : SESSION_DIALLER);
			uint16_t version = versions[i] ? v09_version_parse(bytes_str(versions[i]))
						       : VERSION_OF(0, 3);
			char binding[65];
			struct hello h;
			json_t *o;

			t->p.version = t->p.first_version = versions[i];
			t->p.acks = true;
			assert_true(puppet_handshake(&t->p, &t->end));
			assert_int_equal(session_peer(t->end.s)->version, version);
			/* An old peer that says "acks" still does not confirm. */
			assert_int_equal(session_peer(t->end.s)->confirms,
					 version >= VERSION_OF(0, 9));
			if (role) {
				/* We always declare 0.9; only the scheme follows the client. */
				struct said u = end_pop(&t->end);
				struct bytes sig;

				hex_encode(BYTES_ARR(t->p.nonce), binding);
				o = json_loadb((const char *)u.p, u.n, 0, NULL);
				assert_non_null(o);
				assert_int_equal(json_get_str(o, "signature", &sig), ERR_OK);
				assert_int_equal(sig.n == 88, version >= VERSION_OF(0, 9));
				assert_string_equal(json_str(o, "protocol_version"),
						    V09_VERSION_TEXT);
				if (version >= VERSION_OF(0, 9))
					assert_int_equal(hello_read(o, binding, true, &h),
							 HELLO_ACCEPTED);
				json_decref(o);
				free(u.p);
			}
			stage_free(t);
		}
}

static void dialler_signs_as_the_challenge_says(void **state)
{
	static const struct {
		const char *first;
		bool context;
	} rows[] = {{NULL, false}, {"ironmesh/0.8", false}, {"ironmesh/0.9", true}, {"x", false}};

	for (size_t i = 0; i < 4; i++) {
		struct stage *t = stage_new(SESSION_DIALLER);
		char proof[PROOF_HEX + 1], text[512], nonce[65];
		struct bytes sig;
		json_t *o;

		hex_encode(BYTES_ARR(t->p.nonce), nonce);
		snprintf(text, sizeof text,
			 "{\"type\":\"PASSPHRASE_CHALLENGE\",\"nonce\":\"%s\"%s%s%s}", nonce,
			 rows[i].first ? ",\"protocol_version\":\"" : "",
			 rows[i].first ? rows[i].first : "", rows[i].first ? "\"" : "");
		end_take(&t->end, text, strlen(text), true);
		assert_said(&t->end, "\"proof\"");
		proof_of_server(BYTES_LIT(MESH_PASSPHRASE), t->p.nonce, proof);
		snprintf(text, sizeof text,
			 "{\"type\":\"PASSPHRASE_VERIFIED\",\"server_proof\":\"%s\"}", proof);
		end_take(&t->end, text, strlen(text), false); /* binary is as good as text here */
		assert_said(&t->end, "\"HELLO\"");
		assert_said(&t->end, "\"acks\": 1");
		const struct said *u = &t->end.wire[t->end.wire_n - 1];
		o = json_loadb((const char *)u->p, u->n, 0, NULL);
		assert_int_equal(json_get_str(o, "signature", &sig), ERR_OK);
		assert_int_equal(sig.n == 88, rows[i].context);
		json_decref(o);
		stage_free(t);
	}
}

/* wire 11.12: the scheme must be the one of the declared version. */
static void scheme_and_version_must_agree(void **state)
{
	static const struct {
		const char *version;
		int scheme;
	} rows[] = {{"ironmesh/0.9", HELLO_ATTACHED}, {"ironmesh/0.8", HELLO_CONTEXT}};

	for (int role = 0; role < 2; role++)
		for (size_t i = 0; i < 2; i++) {
			struct stage *t = stage_new(role ? SESSION_LISTENER : SESSION_DIALLER);

			t->p.version = rows[i].version;
			t->p.scheme = rows[i].scheme;
			assert_false(puppet_handshake(&t->p, &t->end));
			assert_over(&t->end, ERR_AUTH, BLAME_AUTH, "hello-signature");
			if (role)
				assert_said(&t->end, "{\"type\": \"ERROR\", \"error\": \"HELLO "
						     "signature verification "
						     "failed\", \"code\": \"AUTH_FAILED\"}");
			else
				assert_int_equal(t->end.wire_n, 0);
			assert_int_equal(end_count(&t->end, SESSION_EV_IDENTIFIED), 0);
			stage_free(t);
		}
}

static void set_key(json_t *hello, void *ctx)
{
	const char *const *kv = ctx;

	if (kv[1])
		json_object_set_new(hello, kv[0], json_loads(kv[1], JSON_DECODE_ANY, NULL));
	else
		json_object_del(hello, kv[0]);
}

static void listener_answers_a_bad_hello_as_the_table_says(void **state)
{
	static const struct {
		const char *kv[2];
		const char *reply, *word;
		enum err err;
		enum session_blame blame;
	} rows[] = {
		{{"type", "\"HELLO2\""}, NULL, "not-hello", ERR_MALFORMED, BLAME_GARBAGE},
		{{"ephemeral_public", NULL},
		 "\"Invalid HELLO: missing ephemeral_public\", \"code\": \"INVALID_FRAME\"",
		 "hello-incomplete",
		 ERR_MALFORMED,
		 BLAME_GARBAGE},
		{{"rns_link_id", "\"00112233445566778899aabbccddeeff\""},
		 "\"HELLO link binding rejected: rns_link_id is only valid on the Reticulum "
		 "transport\", \"code\": "
		 "\"AUTH_FAILED\"",
		 "hello-link-binding",
		 ERR_AUTH,
		 BLAME_AUTH},
		{{"signature", NULL},
		 "\"HELLO signature required when identity_public is provided\"",
		 "hello-unsigned",
		 ERR_AUTH,
		 BLAME_AUTH},
		{{"identity_public", NULL},
		 "\"AUTH_FAILED\"",
		 "hello-anonymous",
		 ERR_AUTH,
		 BLAME_AUTH},
		{{"from", "\"28fff9342c7030d3d899cc9e7bc11878\""},
		 "\"AUTH_FAILED\"",
		 "hello-from",
		 ERR_AUTH,
		 BLAME_AUTH},
		{{"channel_binding", "\"00\""},
		 "\"HELLO signature verification failed\"",
		 "hello-signature",
		 ERR_AUTH,
		 BLAME_AUTH},
		{{"name", "\"mallory\""},
		 "\"HELLO signature verification failed\"",
		 "hello-signature",
		 ERR_AUTH,
		 BLAME_AUTH},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct stage *t = stage_new(SESSION_LISTENER);

		t->p.edit = set_key;
		t->p.edit_ctx = (void *)(uintptr_t)rows[i].kv;
		assert_false(puppet_handshake(&t->p, &t->end));
		assert_over(&t->end, rows[i].err, rows[i].blame, rows[i].word);
		if (rows[i].reply)
			assert_said(&t->end, rows[i].reply);
		else
			assert_int_equal(t->end.wire_n, 0);
		stage_free(t);
	}
}

static void dialler_requires_its_own_nonce_in_the_binding(void **state)
{
	static const char *const absent[] = {"channel_binding", NULL};
	struct stage *t = stage_new(SESSION_DIALLER);

	t->p.edit = set_key;
	t->p.edit_ctx = (void *)(uintptr_t)absent;
	assert_false(puppet_handshake(&t->p, &t->end));
	assert_over(&t->end, ERR_AUTH, BLAME_AUTH, "hello-signature");
	assert_int_equal(t->end.wire_n, 0);
	stage_free(t);
}

static void low_order_ephemeral_is_refused(void **state)
{
	for (int role = 0; role < 2; role++)
		for (int v = 0; v < 2; v++) {
			struct stage *t = stage_new(role ? SESSION_LISTENER : SESSION_DIALLER);

			memset(t->p.public, 0, sizeof t->p.public);
			t->p.public[0] = (uint8_t)v;
			assert_false(puppet_handshake(&t->p, &t->end));
			assert_over(&t->end, ERR_AUTH, BLAME_AUTH, "low-order-ephemeral");
			stage_free(t);
		}
}

static void own_identity_is_refused(void **state)
{
	struct pair *p = pair_new(7, 7);

	session_start(p->a.s);
	session_start(p->b.s);
	pair_flush(p);
	assert_over(&p->a, ERR_SELF, BLAME_NONE, "own-identity");
	pair_free(p);

	/* A mirror that hides it in message 1 is found by the HELLO. */
	for (int role = 0; role < 2; role++) {
		struct stage *t = stage_new(role ? SESSION_LISTENER : SESSION_DIALLER);

		if (role) {
			puppet_fini(&t->p);
			puppet_init(&t->p, &t->e, 0, true);
			assert_false(puppet_handshake(&t->p, &t->end));
		} else {
			struct puppet self;
			char proof[PROOF_HEX + 1], text[512], nonce[65];

			puppet_init(&self, &t->e, 0, false);
			hex_encode(BYTES_ARR(self.nonce), nonce);
			snprintf(text, sizeof text,
				 "{\"type\":\"PASSPHRASE_CHALLENGE\",\"nonce\":\"%s\",\"protocol_"
				 "version\":\"ironmesh/0.9\"}",
				 nonce);
			end_take(&t->end, text, strlen(text), true);
			proof_of_server(BYTES_LIT(MESH_PASSPHRASE), self.nonce, proof);
			snprintf(text, sizeof text,
				 "{\"type\":\"PASSPHRASE_VERIFIED\",\"server_proof\":\"%s\"}",
				 proof);
			end_take(&t->end, text, strlen(text), true);
			char *hello = puppet_hello(&self);
			end_take(&t->end, hello, strlen(hello), true);
			free(hello);
			puppet_fini(&self);
		}
		assert_over(&t->end, ERR_SELF, BLAME_NONE, "own-identity");
		stage_free(t);
	}
}

static void version_below_the_minimum_is_refused(void **state)
{
	for (int role = 0; role < 2; role++) {
		struct stage *t = calloc(1, sizeof *t);

		stage_with(t, role ? SESSION_LISTENER : SESSION_DIALLER, VERSION_OF(0, 9));
		t->p.version = t->p.first_version = "ironmesh/0.8";
		assert_false(puppet_handshake(&t->p, &t->end));
		assert_over(&t->end, ERR_VERSION, BLAME_NONE, "version-below-minimum");
		assert_int_equal(t->end.wire_n, 0);
		stage_free(t);
	}
	struct stage *t = stage_new(SESSION_LISTENER);
	t->p.version = "nonsense";
	assert_false(puppet_handshake(&t->p, &t->end));
	assert_over(&t->end, ERR_VERSION, BLAME_NONE, "version-below-minimum");
	stage_free(t);
}

static void wrong_passphrase_is_told_and_blamed(void **state)
{
	struct stage *t = stage_new(SESSION_LISTENER);
	static const char wrong[] =
		"{\"type\":\"PASSPHRASE_CHALLENGE\",\"proof\":\"2cd3ec826f5114f1c45332b7ba24285c"
		"9983aaa0f757c14066d09dc46027eacb\"}";

	end_take(&t->end, wrong, sizeof wrong - 1, true);
	assert_said(&t->end, "{\"type\": \"PASSPHRASE_REJECTED\", \"from\": "
			     "\"139e3940e64b5491722088d9a0d74162\", "
			     "\"error\": \"Wrong passphrase\"}");
	assert_over(&t->end, ERR_AUTH, BLAME_AUTH, "wrong-passphrase");
	stage_free(t);

	t = stage_new(SESSION_LISTENER);
	end_take(&t->end, "{\"type\":\"PASSPHRASE_CHALLENGE\"}", 31, true);
	assert_over(&t->end, ERR_AUTH, BLAME_AUTH, "wrong-passphrase");
	stage_free(t);

	/* The Go client's name for it, with an escape that must not come back raw. */
	t = stage_new(SESSION_LISTENER);
	static const char go[] = "{\"type\":\"PASSPHRASE_RESPONSE\\u001b[2J\"}";
	end_take(&t->end, go, sizeof go - 1, true);
	assert_said(&t->end, "Expected PASSPHRASE_CHALLENGE, got PASSPHRASE_RESPONSE?[2J");
	assert_over(&t->end, ERR_MALFORMED, BLAME_GARBAGE, "not-a-proof");
	stage_free(t);
}

static void rogue_server_is_caught(void **state)
{
	static const char palindrome[] =
		"{\"type\":\"PASSPHRASE_CHALLENGE\",\"nonce\":\"000102030405060708090a0b0c0d0e0f"
		"0f0e0d0c0b0a09080706050403020100\"}";
	struct stage *t = stage_new(SESSION_DIALLER);
	char text[512], nonce[65], proof[PROOF_HEX + 1];

	end_take(&t->end, palindrome, sizeof palindrome - 1, true);
	assert_over(&t->end, ERR_AUTH, BLAME_AUTH, "palindromic-nonce");
	assert_int_equal(t->end.wire_n, 0); /* no proof was given away */
	stage_free(t);

	/* server_proof: absent, empty, our own proof echoed, in upper case */
	for (int i = 0; i < 4; i++) {
		t = stage_new(SESSION_DIALLER);
		hex_encode(BYTES_ARR(t->p.nonce), nonce);
		snprintf(text, sizeof text, "{\"type\":\"PASSPHRASE_CHALLENGE\",\"nonce\":\"%s\"}",
			 nonce);
		end_take(&t->end, text, strlen(text), true);
		proof_of_client(BYTES_LIT(MESH_PASSPHRASE), t->p.nonce, proof);
		if (i == 3) {
			proof_of_server(BYTES_LIT(MESH_PASSPHRASE), t->p.nonce, proof);
			for (char *c = proof; *c; c++)
				*c = (char)(*c >= 'a' ? *c - 32 : *c);
		}
		snprintf(text, sizeof text, "{\"type\":\"PASSPHRASE_VERIFIED\"%s%s%s}",
			 i ? ",\"server_proof\":\"" : "", i >= 2 ? proof : "", i ? "\"" : "");
		end_take(&t->end, text, strlen(text), true);
		assert_over(&t->end, ERR_AUTH, BLAME_AUTH, "server-proof");
		assert_int_equal(t->end.wire_n, 1); /* the proof, and no HELLO */
		stage_free(t);
	}
}

static void remote_refusals_are_understood(void **state)
{
	static const struct {
		const char *text;
		enum err err;
		const char *word;
	} rows[] = {
		{"{\"type\": \"RATE_LIMITED\", \"error\": \"Too many connections\"}", ERR_AGAIN,
		 "Too many connections"},
		{"{\"type\": \"PASSPHRASE_REJECTED\", \"error\": \"Wrong "
		 "\\u001b[31mpassphrase\\u202e\"}",
		 ERR_AUTH, "Wrong ?[31mpassphrase?"},
		{"{\"type\": \"ERROR\", \"error\": \"no\", \"code\": \"AUTH_FAILED\"}", ERR_DENIED,
		 "no"},
		{"{\"type\": \"ERROR\", \"error\": 7}", ERR_DENIED, "ERROR"},
	};

	for (size_t i = 0; i < 4; i++)
		for (int step = 0; step < 3; step++) {
			struct stage *t = stage_new(SESSION_DIALLER);
			char text[512], nonce[65], proof[PROOF_HEX + 1];

			hex_encode(BYTES_ARR(t->p.nonce), nonce);
			snprintf(text, sizeof text,
				 "{\"type\":\"PASSPHRASE_CHALLENGE\",\"nonce\":\"%s\"}", nonce);
			if (step >= 1)
				end_take(&t->end, text, strlen(text), true);
			proof_of_server(BYTES_LIT(MESH_PASSPHRASE), t->p.nonce, proof);
			snprintf(text, sizeof text,
				 "{\"type\":\"PASSPHRASE_VERIFIED\",\"server_proof\":\"%s\"}",
				 proof);
			if (step >= 2)
				end_take(&t->end, text, strlen(text), true);
			end_take(&t->end, rows[i].text, strlen(rows[i].text), true);
			assert_over(&t->end, rows[i].err, BLAME_REMOTE, rows[i].word);
			stage_free(t);
		}
}

static void skip_offer_is_refused_with_its_own_word(void **state)
{
	static const char skip[] = "{\"type\":\"SKIP_OFFER\",\"from\":"
				   "\"28fff9342c7030d3d899cc9e7bc11878\",\"channel_binding\":"
				   "\"d56294e40f47c8c7a524ec8c0fd83711968de30b951414088b82014b131d7"
				   "9ef\",\"protocol_version\":\"ironmesh/0.9\"}";
	struct stage *t = stage_new(SESSION_DIALLER);

	end_take(&t->end, skip, sizeof skip - 1, true);
	assert_string_equal(end_last(&t->end, SESSION_EV_OVER)->word, "skip-offer");
	assert_int_equal(end_last(&t->end, SESSION_EV_OVER)->err, ERR_UNSUPPORTED);
	assert_int_equal(t->end.wire_n, 0);
	stage_free(t);
}

/* Plays a good handshake up to unit `step` of ours, then gives `p` instead of the right unit. */
static void damaged(enum session_role role, int step, const struct said *good, const uint8_t *p,
		    size_t n)
{
	struct pair *q = pair_new(0, 1);
	struct end *us = role == SESSION_DIALLER ? &q->a : &q->b,
		   *other = us == &q->a ? &q->b : &q->a;
	int taken = 0;

	session_start(q->a.s);
	session_start(q->b.s);
	end_drain(&q->a);
	end_drain(&q->b);
	for (;;) {
		if (other->wire_n) {
			struct said u = end_pop(other);

			assert_true(u.text);
			if (taken++ == step) {
				assert_int_equal(u.n, good->n);
				assert_memory_equal(u.p, good->p,
						    u.n); /* chance is the same each time */
				free(u.p);
				break;
			}
			end_take(us, u.p, u.n, u.text);
			free(u.p);
		} else {
			struct said u = end_pop(us);

			end_take(other, u.p, u.n, u.text);
			free(u.p);
		}
	}
	end_take(us, p, n, true);
	assert_true(session_over(us->s));
	assert_int_equal(end_last(us, SESSION_EV_OVER)->blame, BLAME_GARBAGE);
	pair_free(q);
}

static void every_prefix_and_one_byte_more_ends_the_handshake(void **state)
{
	/* What each side hears, in order: listener proof, HELLO; dialler challenge, verified,
	 * HELLO. */
	struct pair *q = pair_new(0, 1);
	struct said heard[2][3];
	int n[2] = {0, 0};

	session_start(q->a.s);
	session_start(q->b.s);
	end_drain(&q->a);
	end_drain(&q->b);
	while (q->a.wire_n || q->b.wire_n) {
		bool from_a = q->a.wire_n != 0;
		struct said u = end_pop(from_a ? &q->a : &q->b);

		end_take(from_a ? &q->b : &q->a, u.p, u.n, u.text);
		heard[from_a][n[from_a]++] = u;
	}
	assert_int_equal(n[0], 3);
	assert_int_equal(n[1], 2);
	for (int listener = 0; listener < 2; listener++)
		for (int step = 0; step < n[listener]; step++) {
			const struct said *u = &heard[listener][step];
			uint8_t *more = malloc(u->n + 1);

			/* Each try costs two handshakes of curve operations: not every length of
			 * the long one. */
			for (size_t k = 0; k<u->n; k += u->n> 400 ? 13 : 3)
				damaged(listener ? SESSION_LISTENER : SESSION_DIALLER, step, u,
					u->p, k);
			damaged(listener ? SESSION_LISTENER : SESSION_DIALLER, step, u, u->p,
				u->n - 1);
			memcpy(more, u->p, u->n);
			more[u->n] = '}';
			damaged(listener ? SESSION_LISTENER : SESSION_DIALLER, step, u, more,
				u->n + 1);
			free(more);
			free(u->p);
		}
	pair_free(q);
}

static void unit_over_64_kib_ends_the_handshake(void **state)
{
	struct stage *t = stage_new(SESSION_LISTENER);
	uint8_t *big = malloc(SESSION_HANDSHAKE_UNIT_MAX + 1);

	memset(big, ' ', SESSION_HANDSHAKE_UNIT_MAX + 1);
	memcpy(big, "{\"type\":\"A\"}", 12);
	end_take(&t->end, big, SESSION_HANDSHAKE_UNIT_MAX + 1, true);
	assert_over(&t->end, ERR_LIMIT, BLAME_GARBAGE, "handshake-too-large");
	free(big);
	stage_free(t);
}

static void slow_handshake_times_out_in_every_state(void **state)
{
	for (int units = 0; units < 5; units++) {
		struct pair *p = pair_new(0, 1);
		int moved = 0;

		p->a.hold = p->b.hold = true;
		session_start(p->a.s);
		session_start(p->b.s);
		end_drain(&p->a);
		end_drain(&p->b);
		while (moved < units && (p->a.wire_n || p->b.wire_n)) {
			struct end *from = p->a.wire_n ? &p->a : &p->b;
			struct said u = end_pop(from);

			penv_pass(&p->e, 100); /* progress does not move the deadline */
			end_take(from == &p->a ? &p->b : &p->a, u.p, u.n, u.text);
			free(u.p);
			moved++;
		}
		p->e.now_ms = 5999;
		session_tick(p->a.s);
		end_drain(&p->a);
		assert_false(session_over(p->a.s));
		p->e.now_ms = 6000;
		assert_int_equal(session_deadline_ms(p->a.s), 6000);
		session_tick(p->a.s);
		session_tick(p->b.s);
		end_drain(&p->a);
		end_drain(&p->b);
		assert_over(&p->a, ERR_TIMEOUT, BLAME_GARBAGE, "handshake-timeout");
		/* The listener that heard everything waited for its own owner. */
		bool identified = end_count(&p->b, SESSION_EV_IDENTIFIED) == 1;
		assert_over(&p->b, ERR_TIMEOUT, identified ? BLAME_NONE : BLAME_GARBAGE,
			    "handshake-timeout");
		pair_free(p);
	}
}

static void units_out_of_turn_end_it(void **state)
{
	/* A listener that waits for its owner's decision hears nothing more from an honest client.
	 */
	struct stage *t = stage_new(SESSION_LISTENER);

	t->end.hold = true;
	puppet_handshake(&t->p, &t->end);
	end_take(&t->end, "{\"type\":\"HELLO\"}", 16, true);
	assert_true(session_over(t->end.s));
	stage_free(t);

	/* The dialler's server may speak as soon as its HELLO is out. */
	t = stage_new(SESSION_DIALLER);
	t->end.hold = true;
	puppet_handshake(&t->p, &t->end);
	assert_int_equal(end_count(&t->end, SESSION_EV_IDENTIFIED), 1);
	puppet_say(&t->p, &t->end, "MSG", "early", "*", "", NULL);
	assert_string_equal(end_last(&t->end, SESSION_EV_DROPPED)->word, "not-admitted");
	session_admit(t->end.s);
	end_drain(&t->end);
	assert_true(session_online(t->end.s));
	stage_free(t);
}

static void nothing_is_heard_after_the_end(void **state)
{
	struct stage *t = stage_new(SESSION_LISTENER);

	end_take(&t->end, "x", 1, true);
	assert_over(&t->end, ERR_MALFORMED, BLAME_GARBAGE, "not-handshake-json");
	size_t n = t->end.log_n;
	end_take(&t->end, "{\"type\":\"HELLO\"}", 16, true);
	session_admit(t->end.s);
	session_refuse(t->end.s, ERR_DENIED, "x");
	session_tick(t->end.s);
	end_drain(&t->end);
	assert_int_equal(t->end.log_n, n);
	stage_free(t);
}

/* Freed in every state; the address sanitizer is the judge. */
static void free_is_allowed_in_every_state(void **state)
{
	session_free(NULL);
	for (int units = -1; units < 6; units++) {
		struct pair *p = pair_new(0, 1);

		if (units >= 0) {
			session_start(p->a.s);
			session_start(p->b.s);
		}
		for (int i = 0; i < units; i++) {
			end_drain(&p->a);
			end_drain(&p->b);
			struct end *from = p->a.wire_n ? &p->a : &p->b;
			if (!from->wire_n)
				break;
			struct said u = end_pop(from);
			/* not drained: units and events wait inside */
			session_take((from == &p->a ? &p->b : &p->a)->s, bytes_of(u.p, u.n),
				     u.text);
			free(u.p);
		}
		pair_free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_sessions_meet),
		cmocka_unit_test(listener_waits_for_the_decision_before_its_hello),
		cmocka_unit_test(refusal_is_silent),
		cmocka_unit_test(old_versions_are_met_with_their_scheme),
		cmocka_unit_test(dialler_signs_as_the_challenge_says),
		cmocka_unit_test(scheme_and_version_must_agree),
		cmocka_unit_test(listener_answers_a_bad_hello_as_the_table_says),
		cmocka_unit_test(dialler_requires_its_own_nonce_in_the_binding),
		cmocka_unit_test(low_order_ephemeral_is_refused),
		cmocka_unit_test(own_identity_is_refused),
		cmocka_unit_test(version_below_the_minimum_is_refused),
		cmocka_unit_test(wrong_passphrase_is_told_and_blamed),
		cmocka_unit_test(rogue_server_is_caught),
		cmocka_unit_test(remote_refusals_are_understood),
		cmocka_unit_test(skip_offer_is_refused_with_its_own_word),
		cmocka_unit_test(every_prefix_and_one_byte_more_ends_the_handshake),
		cmocka_unit_test(unit_over_64_kib_ends_the_handshake),
		cmocka_unit_test(slow_handshake_times_out_in_every_state),
		cmocka_unit_test(units_out_of_turn_end_it),
		cmocka_unit_test(nothing_is_heard_after_the_end),
		cmocka_unit_test(free_is_allowed_in_every_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
