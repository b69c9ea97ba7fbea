#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <malloc.h>
#include <cmocka.h>

#include "base/hash.h"
#include "tests/lib/protocol_env.h"

/* Our session, online with a puppet of the given version. */
struct stage {
	struct penv e;
	struct keyring *k;
	struct end end;
	struct puppet p;
};

static struct stage *stage_full(const char *version, bool acks, bool seal, uint16_t min_version)
{
	struct stage *t = calloc(1, sizeof *t);
	struct session *s;

	penv_init(&t->e);
	t->k = keyring_number(0);
	struct session_config c = test_config(&t->e, t->k, SESSION_LISTENER);
	c.seal_direct = seal;
	c.min_version = min_version;
	assert_int_equal(v09_session_new(&c, &s), ERR_OK);
	end_init(&t->end, s);
	puppet_init(&t->p, &t->e, 3, true);
	t->p.version = version;
	t->p.acks = acks;
	session_start(s);
	end_drain(&t->end);
	assert_true(puppet_handshake(&t->p, &t->end));
	end_forget(&t->end);
	return t;
}

static struct stage *stage_new(const char *version)
{
	return stage_full(version, false, false, VERSION_OF(0, 3));
}

static void stage_free(struct stage *t)
{
	end_fini(&t->end);
	puppet_fini(&t->p);
	keyring_free(t->k);
	free(t);
}

static void assert_dropped(struct stage *t, enum err err, const char *word)
{
	const struct seen *d = end_last(&t->end, SESSION_EV_DROPPED);

	assert_non_null(d);
	assert_string_equal(d->word, word);
	assert_int_equal(d->err, err);
	assert_int_equal(end_count(&t->end, SESSION_EV_MESSAGE), 0);
	assert_true(session_online(t->end.s));
	end_forget(&t->end);
}

static const struct seen *assert_message(struct stage *t, const char *id, const char *body)
{
	const struct seen *m = end_last(&t->end, SESSION_EV_MESSAGE);

	assert_non_null(m);
	assert_string_equal(m->id, id);
	assert_int_equal(m->body_n, strlen(body));
	assert_memory_equal(m->body, body, strlen(body));
	return m;
}

static void messages_cross_in_both_directions(void **state)
{
	struct pair *p = pair_online(0, 1);
	struct message m = test_message("m-1", "hello");

	m.destination = *keyring_id(p->kb);
	m.created_ms = p->e.wall_ms;
	m.priority = PRIO_CRITICAL;
	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	m = test_message("m-2", "");
	m.type = BYTES_LIT("CONV");
	m.created_ms = p->e.wall_ms;
	assert_int_equal(session_send(p->b.s, &m), ERR_OK);
	pair_flush(p);
	const struct seen *x = end_last(&p->b, SESSION_EV_MESSAGE);
	assert_string_equal(x->id, "m-1");
	assert_string_equal(x->msg_type, "MSG");
	assert_memory_equal(x->body, "hello", 5);
	assert_true(x->proven);
	assert_false(x->sealed);
	assert_int_equal(x->created_ms, WALL_T);
	x = end_last(&p->a, SESSION_EV_MESSAGE);
	assert_string_equal(x->id, "m-2");
	assert_string_equal(x->msg_type, "CONV");
	assert_int_equal(x->body_n, 0);
	pair_free(p);
}

static void largest_message_fits_and_the_next_does_not(void **state)
{
	struct pair *p = pair_online(0, 1);
	struct message m = test_message("0f8fad5b-d9cb-469f-a165-70867728950e", "");
	uint8_t *big = malloc(MSG_BODY_09_MAX + 4096);

	memset(big, 0xa5, MSG_BODY_09_MAX + 4096);
	m.created_ms = p->e.wall_ms;
	m.body = bytes_of(big, MSG_BODY_09_MAX);
	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	pair_flush(p);
	assert_int_equal(end_last(&p->b, SESSION_EV_MESSAGE)->body_n, MSG_BODY_09_MAX);
	m.body.n = MSG_BODY_09_MAX + 4096;
	assert_int_equal(session_send(p->a.s, &m), ERR_LIMIT);
	struct session_unit u;
	assert_false(session_next_unit(p->a.s, &u));
	/* A queue that is full is another thing than a body that is too large: it can be tried
	 * again. */
	m.body.n = MSG_BODY_09_MAX;
	enum err e = ERR_OK;
	int queued = 0;
	while (e == ERR_OK && queued < 100) {
		e = session_send(p->a.s, &m);
		queued += e == ERR_OK;
	}
	assert_int_equal(e, ERR_FULL);
	assert_true(queued >= 2);
	pair_flush(p);
	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	pair_flush(p);
	assert_int_equal(end_count(&p->b, SESSION_EV_MESSAGE), 2 + queued);
	free(big);
	pair_free(p);
}

static void send_refuses_what_no_peer_could_read(void **state)
{
	struct pair *p = pair_online(0, 1);
	static const char *const types[] = {"", "msg", "MSG ", "M\"",
					    "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG"};
	struct message m;

	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		m = test_message("a", "b");
		m.type = bytes_str(types[i]);
		assert_int_equal(session_send(p->a.s, &m), ERR_MALFORMED);
	}
	static const char *const ids[] = {"", "a\n", "\x7f", "\xc3\xa9"};
	for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
		m = test_message(ids[i], "b");
		assert_int_equal(session_send(p->a.s, &m), ERR_MALFORMED);
	}
	m = test_message("a", "b");
	m.source = *keyring_id(p->kb);
	assert_int_equal(session_send(p->a.s, &m), ERR_UNSUPPORTED);
	m = test_message("a", "b");
	m.priority = PRIO_COUNT;
	assert_int_equal(session_send(p->a.s, &m), ERR_MALFORMED);
	pair_flush(p);
	assert_int_equal(p->b.log_n, 0);
	pair_free(p);
}

/* An unknown type would be taken for a control frame that nobody confirms, and would end the session by and by. */
static void kinds_of_im2_arrive_as_messages(void **state)
{
	static const char *const types[] = {"NOTICE", "EVENT", "ERROR", "END", "KIND-9", "KIND-255"};
	struct pair *p = pair_online(0, 1);

	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		struct message m = test_message(types[i], "b");

		m.type = bytes_str(types[i]);
		m.created_ms = p->e.wall_ms;
		assert_int_equal(session_send(p->a.s, &m), ERR_OK);
		pair_flush(p);
		assert_int_equal(end_count(&p->b, SESSION_EV_MESSAGE), i + 1);
		assert_string_equal(end_last(&p->b, SESSION_EV_MESSAGE)->msg_type, "MSG");
	}
	assert_int_equal(end_count(&p->b, SESSION_EV_CONTROL), 0);
	pair_free(p);
}

/* The body on the wire is upstream's, key by key. */
static void frame_of_ours_has_the_fixed_keys_in_order(void **state)
{
	struct stage *t = stage_new(V09_VERSION_TEXT);
	struct message m = test_message("0001", "hello mesh");
	char want[2048];

	m.destination = *keyring_id(t->p.k);
	m.created_ms = t->e.wall_ms;
	m.priority = PRIO_HIGH;
	m.ttl = 5;
	assert_int_equal(session_send(t->end.s, &m), ERR_OK);
	end_drain(&t->end);
	struct said u = end_pop(&t->end);
	assert_false(u.text);
	assert_int_equal(u.p[3], 0x0d);
	char *text = puppet_open(&t->p, &u);
	snprintf(want, sizeof want,
		 "{\"type\":\"MSG\",\"payload\":\"aGVsbG8gbWVzaA==\",\"msg_id\":\"0001\","
		 "\"source\":\"%s\","
		 "\"source_display\":\"%s\",\"destination\":\"%s\",\"timestamp\":1753500000.25,"
		 "\"priority\":\"HIGH\","
		 "\"sequence\":1,\"retries\":0,\"routing\":{},\"ttl\":5,\"hops\":[],\"source_"
		 "signature\":\"",
		 keyring_id(t->k)->hex, keyring_id(t->k)->hex, m.destination.hex);
	assert_int_equal(strncmp(text, want, strlen(want)), 0);
	assert_string_equal(text + strlen(text) - 29, "==\",\"source_sig_scheme\":\"v2\"}");
	free(text);
	free(u.p);
	stage_free(t);
}

static void hostile_bodies_are_dropped_and_the_session_goes_on(void **state)
{
	struct stage *t = stage_new(V09_VERSION_TEXT);
	static const char *const extra[] = {",\"ttl\":256", ",\"hops\":[1]", ",\"type\":\"REQ\"",
					    ",\"x\":{\"a\":1,\"a\":1}"};
	char deep[256] = ",\"x\":", text[1024];

	for (int i = 0; i < 65; i++)
		strcat(deep, "[");
	for (int i = 0; i < 65; i++)
		strcat(deep, "]");
	puppet_say(&t->p, &t->end, "MSG", "a", "*", "", deep);
	assert_dropped(t, ERR_LIMIT, "body");
	for (size_t i = 0; i < 4; i++) {
		puppet_say(&t->p, &t->end, "MSG", "a", "*", "", extra[i]);
		assert_dropped(t, ERR_MALFORMED, "body");
	}
	puppet_say(&t->p, &t->end, "MSG", "a", "*", "AA=", NULL);
	assert_dropped(t, ERR_MALFORMED, "payload-base64");
	puppet_say(&t->p, &t->end, "MSG", "a", "*", "AA\\n==", NULL);
	assert_dropped(t, ERR_MALFORMED, "payload-base64");
	puppet_say(&t->p, &t->end, "MSG", "a", "nobody", "", NULL);
	assert_dropped(t, ERR_MALFORMED, "destination");

	/* Time: absent is not "now"; text and NaN are not numbers. */
	static const char *const times[] = {"", ",\"timestamp\":\"1753500000.25\"",
					    ",\"timestamp\":NaN", ",\"timestamp\":1e400"};
	for (size_t i = 0; i < 4; i++) {
		uint8_t *f;

		snprintf(
			text, sizeof text,
			"{\"type\":\"MSG\",\"msg_id\":\"a\",\"source\":\"%s\",\"sequence\":%llu%s}",
			keyring_id(t->p.k)->hex, (unsigned long long)t->p.sequence, times[i]);
		size_t n = puppet_seal(&t->p, text, t->p.sequence++, t->e.wall_ms, &f);
		end_take(&t->end, f, n, false);
		free(f);
		assert_dropped(t, ERR_MALFORMED, "body");
	}
	puppet_say(&t->p, &t->end, "MSG", "good", "*", "aGk=", NULL);
	assert_message(t, "good", "hi");
	stage_free(t);
}

static void say_at(struct stage *t, uint64_t body_seq, uint64_t head_seq, uint64_t head_ms)
{
	char *body = puppet_body(&t->p, "MSG", "x", "*", "aGk=", body_seq, NULL);
	uint8_t *f;
	size_t n = puppet_seal(&t->p, body, head_seq, head_ms, &f);

	end_take(&t->end, f, n, false);
	free(f);
	free(body);
}

static void header_must_agree_with_the_body(void **state)
{
	struct stage *t = stage_new(V09_VERSION_TEXT);

	say_at(t, 1, 2, WALL_T);
	assert_dropped(t, ERR_AUTH, "header-differs");
	say_at(t, 1, 1, WALL_T + 2);
	assert_dropped(t, ERR_AUTH, "header-differs");
	say_at(t, 1, 1, 0);
	assert_dropped(t, ERR_AUTH, "header-differs");
	say_at(t, 1, 1, UINT64_MAX);
	assert_dropped(t, ERR_AUTH, "header-differs");
	say_at(t, 1, 1, WALL_T + 1);
	assert_message(t, "x", "hi");
	stage_free(t);

	/* Older software may not write both: then its header alone is read, as upstream does. */
	t = stage_new("ironmesh/0.8");
	say_at(t, 1, 2, 0);
	assert_dropped(t, ERR_AUTH, "header-differs");
	say_at(t, 1, UINT64_C(1) << 48, 0);
	assert_dropped(t, ERR_AUTH, "header-differs");
	say_at(t, 1, 1, 0);
	assert_message(t, "x", "hi");
	end_forget(&t->end);
	say_at(t, 0, 7, 0);
	assert_message(t, "x", "hi");
	say_at(t, 0, 7, 0);
	assert_string_equal(end_last(&t->end, SESSION_EV_DROPPED)->word, "replay");
	stage_free(t);
}

/* Nobody on the path can make a captured frame count again, or as something else. */
static void no_header_bit_makes_a_second_message(void **state)
{
	struct stage *t = stage_new(V09_VERSION_TEXT);
	char *body = puppet_body(&t->p, "MSG", "x", "*", "aGk=", 1, NULL);
	uint8_t *f;
	size_t n = puppet_seal(&t->p, body, 1, WALL_T, &f);
	size_t delivered = 0;

	for (size_t bit = 0; bit < 8 * FRAME_HEADER; bit++) {
		f[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		end_take(&t->end, f, n, false);
		f[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	end_take(&t->end, f, n, false);
	delivered = end_count(&t->end, SESSION_EV_MESSAGE);
	/* Reserved flags and the id hash are ignored: the first such copy is the one that counts.
	 */
	assert_int_equal(delivered, 1);
	assert_message(t, "x", "hi");
	assert_int_equal(end_count(&t->end, SESSION_EV_DROPPED), 8 * FRAME_HEADER);
	free(f);
	free(body);
	stage_free(t);
}

static void every_bit_behind_the_header_counts(void **state)
{
	struct stage *t = stage_new(V09_VERSION_TEXT);
	char *body = puppet_body(&t->p, "MSG", "x", "*", "aGk=", 1, NULL);
	uint8_t *f;
	size_t n = puppet_seal(&t->p, body, 1, WALL_T, &f);

	for (size_t i = FRAME_HEADER; i < n; i++) {
		f[i] ^= (uint8_t)(1u << (i % 8));
		end_take(&t->end, f, n, false);
		f[i] ^= (uint8_t)(1u << (i % 8));
	}
	for (size_t k = 0; k < n; k++)
		end_take(&t->end, f, k, false);
	assert_int_equal(end_count(&t->end, SESSION_EV_MESSAGE), 0);
	uint8_t *more = calloc(1, n + 1);
	memcpy(more, f, n);
	end_take(&t->end, more, n + 1, false);
	assert_int_equal(end_last(&t->end, SESSION_EV_DROPPED)->err, ERR_TRAILING);
	end_take(&t->end, f, n, false);
	assert_message(t, "x", "hi");
	free(more);
	free(f);
	free(body);
	stage_free(t);
}

static void replay_rules_hold_in_the_session(void **state)
{
	struct stage *t = stage_new(V09_VERSION_TEXT);

	say_at(t, 5, 5, WALL_T);
	say_at(t, 5, 5, WALL_T);
	assert_string_equal(end_last(&t->end, SESSION_EV_DROPPED)->word, "replay");
	say_at(t, 4, 4, WALL_T); /* late, inside the window, unseen */
	assert_int_equal(end_count(&t->end, SESSION_EV_MESSAGE), 2);
	say_at(t, 0, 0, WALL_T);
	assert_string_equal(end_last(&t->end, SESSION_EV_DROPPED)->word, "sequence-zero");
	say_at(t, REPLAY_SEQUENCE_MAX + 1, REPLAY_SEQUENCE_MAX + 1, WALL_T);
	assert_string_equal(end_last(&t->end, SESSION_EV_DROPPED)->word, "sequence-large");

	char *body = puppet_body(&t->p, "MSG", "late", "*", "", 6, NULL);
	uint8_t *f;
	size_t n = puppet_seal(&t->p, body, 6, t->e.wall_ms, &f);
	penv_pass(&t->e, 30001);
	end_take(&t->end, f, n, false);
	assert_string_equal(end_last(&t->end, SESSION_EV_DROPPED)->word, "too-old");
	t->e.wall_ms -= 30001 + 5001;
	end_take(&t->end, f, n, false);
	assert_string_equal(end_last(&t->end, SESSION_EV_DROPPED)->word, "from-future");
	t->e.wall_ms += 5001 + 30000;
	end_take(&t->end, f, n, false);
	assert_string_equal(end_last(&t->end, SESSION_EV_MESSAGE)->id, "late");
	free(f);
	free(body);
	stage_free(t);
}

static void legacy_json_is_never_read(void **state)
{
	static const char legacy[] =
		"{\"type\": \"MSG\", \"from\": \"139e3940e64b5491722088d9a0d74162\", \"to\": "
		"\"28fff9342c7030d3d899cc9e7bc11878\", \"msg_id\": "
		"\"000102030405060708090a0b0c0d0e0f\", "
		"\"encrypted_payload\": "
		"\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXNeLaEaETt8AUTa+F5PO3PIqq76/1EYtTyj4=\", "
		"\"signature\": "
		"\"AeMH5pPX9BKM/ZlrShMKzdlmFQA2XKYJXq8BFEPW9d6+aoe2ahl37USuLssvg37gZ/A/"
		"o9gwQR4yru2MxkKpBw==\", \"sequence\": 1, \"timestamp\": 1753500000.25, "
		"\"priority\": \"NORMAL\"}";
	struct stage *t = stage_new("ironmesh/0.6");

	end_take(&t->end, legacy, sizeof legacy - 1, true);
	assert_dropped(t, ERR_UNSUPPORTED, "not-a-frame");
	end_take(&t->end, legacy, sizeof legacy - 1, false);
	assert_dropped(t, ERR_UNSUPPORTED, "not-a-frame");
	end_take(&t->end, "", 0, false);
	assert_dropped(t, ERR_UNSUPPORTED, "not-a-frame");
	stage_free(t);
}

/* With one key for both directions, a frame that comes back opens (wire 12, weakness 14). */
static void reflected_frames_are_refused(void **state)
{
	struct pair *p = pair_online(0, 1);
	struct message m = test_message("m", "x");

	m.created_ms = p->e.wall_ms;
	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	assert_int_equal(session_ping(p->a.s), ERR_OK);
	end_drain(&p->a);
	while (p->a.wire_n) {
		struct said u = end_pop(&p->a);
		end_take(&p->a, u.p, u.n, u.text);
		free(u.p);
		assert_string_equal(end_last(&p->a, SESSION_EV_DROPPED)->word, "outer-signature");
	}
	assert_int_equal(end_count(&p->a, SESSION_EV_MESSAGE), 0);
	pair_free(p);

	/* Signed by the peer, but in our name. */
	struct stage *t = stage_new("ironmesh/0.6");
	char text[512];
	uint8_t *f;
	snprintf(text, sizeof text,
		 "{\"type\":\"PING\",\"msg_id\":\"a\",\"source\":\"%s\",\"timestamp\":1753500000."
		 "25,\"sequence\":1}",
		 keyring_id(t->k)->hex);
	size_t n = puppet_seal(&t->p, text, 1, WALL_T, &f);
	end_take(&t->end, f, n, false);
	assert_dropped(t, ERR_AUTH, "own-source");
	free(f);
	stage_free(t);
}

static void say_from(struct stage *t, const char *type, const char *source)
{
	char text[512];
	uint8_t *f;

	snprintf(text, sizeof text,
		 "{\"type\":\"%s\",\"msg_id\":\"a\",%s%s%s\"timestamp\":1753500000.25,\"sequence\":"
		 "%llu}",
		 type, source ? "\"source\":\"" : "", source ? source : "", source ? "\"," : "",
		 (unsigned long long)t->p.sequence);
	size_t n = puppet_seal(&t->p, text, t->p.sequence++, WALL_T, &f);
	end_take(&t->end, f, n, false);
	free(f);
}

static void user_types_need_an_author_we_know(void **state)
{
	static const char *const types[] = {"MSG", "REQ", "RESP", "CONV"};
	struct stage *t = stage_new(V09_VERSION_TEXT);

	for (size_t i = 0; i < 4; i++) {
		say_from(t, types[i], NULL);
		assert_dropped(t, ERR_MALFORMED, "source");
		say_from(t, types[i], "alice");
		assert_dropped(t, ERR_MALFORMED, "source");
		say_from(t, types[i], "28fff9342c7030d3d899cc9e7bc11878");
		assert_dropped(t, ERR_UNSUPPORTED, "relayed");
	}
	/* What steers the session must come from its other end. */
	say_from(t, "REKEY_REQUEST", "28fff9342c7030d3d899cc9e7bc11878");
	assert_dropped(t, ERR_AUTH, "control-source");
	say_from(t, "PING", NULL);
	assert_dropped(t, ERR_AUTH, "control-source");
	say_from(t, "ROUTE_UNREACHABLE", "28fff9342c7030d3d899cc9e7bc11878");
	assert_dropped(t, ERR_AUTH, "control-source");
	/* All other types are counted, whoever is named. */
	say_from(t, "HEARTBEAT", "28fff9342c7030d3d899cc9e7bc11878");
	assert_string_equal(end_last(&t->end, SESSION_EV_CONTROL)->word, "HEARTBEAT");
	say_from(t, "x\\u001b[0m", NULL);
	assert_string_equal(end_last(&t->end, SESSION_EV_CONTROL)->word, "x?[0m");
	stage_free(t);
}

static void inner_signature(struct stage *t, const char *id, const char *dest, struct bytes payload,
			    char out[100])
{
	struct inner_covered c = {bytes_str(keyring_id(t->p.k)->hex), bytes_str(dest),
				  bytes_str(id), payload};
	uint8_t sig[SIG_BYTES];
	struct buf b;

	buf_init(&b, 8192);
	assert_int_equal(inner_sign(t->p.k, &c, &b, sig), ERR_OK);
	base64_encode(BYTES_ARR(sig), out);
	buf_fini(&b);
}

static void inner_signature_is_judged_when_present(void **state)
{
	struct stage *t = stage_new(V09_VERSION_TEXT);
	char sig[100], extra[256];

	puppet_say(&t->p, &t->end, "MSG", "none", "*", "aGk=", NULL);
	assert_false(assert_message(t, "none", "hi")->proven);
	inner_signature(t, "v2", "*", BYTES_LIT("hi"), sig);
	snprintf(extra, sizeof extra, ",\"source_signature\":\"%s\",\"source_sig_scheme\":\"v2\"",
		 sig);
	puppet_say(&t->p, &t->end, "MSG", "v2", "*", "aGk=", extra);
	assert_true(assert_message(t, "v2", "hi")->proven);
	/* Relays below 0.9 lose the tag. */
	inner_signature(t, "notag", "*", BYTES_LIT("hi"), sig);
	snprintf(extra, sizeof extra, ",\"source_signature\":\"%s\"", sig);
	puppet_say(&t->p, &t->end, "MSG", "notag", "*", "aGk=", extra);
	assert_true(assert_message(t, "notag", "hi")->proven);
	end_forget(&t->end);
	/* A v2 signature with tag v1, another tag, another id, another payload. */
	inner_signature(t, "a", "*", BYTES_LIT("hi"), sig);
	snprintf(extra, sizeof extra, ",\"source_signature\":\"%s\",\"source_sig_scheme\":\"v1\"",
		 sig);
	puppet_say(&t->p, &t->end, "MSG", "a", "*", "aGk=", extra);
	assert_dropped(t, ERR_AUTH, "inner-signature");
	snprintf(extra, sizeof extra, ",\"source_signature\":\"%s\",\"source_sig_scheme\":\"v3\"",
		 sig);
	puppet_say(&t->p, &t->end, "MSG", "a", "*", "aGk=", extra);
	assert_dropped(t, ERR_AUTH, "inner-signature");
	snprintf(extra, sizeof extra, ",\"source_signature\":\"%s\",\"source_sig_scheme\":\"v2\"",
		 sig);
	puppet_say(&t->p, &t->end, "MSG", "b", "*", "aGk=", extra);
	assert_dropped(t, ERR_AUTH, "inner-signature");
	puppet_say(&t->p, &t->end, "MSG", "a", "*", "aG8=", extra);
	assert_dropped(t, ERR_AUTH, "inner-signature");
	stage_free(t);
}

static void v1_signature_counts_only_below_the_floor(void **state)
{
	for (int strict = 0; strict < 2; strict++) {
		struct stage *t =
			stage_full(V09_VERSION_TEXT, false, false, VERSION_OF(0, strict ? 9 : 3));
		uint8_t sig[SIG_BYTES];
		char text[100], extra[256];

		keyring_sign(t->p.k, SIG_BARE_OUTER, BYTES_LIT("hi"), sig);
		base64_encode(BYTES_ARR(sig), text);
		snprintf(extra, sizeof extra,
			 ",\"source_signature\":\"%s\",\"source_sig_scheme\":\"v1\"", text);
		puppet_say(&t->p, &t->end, "MSG", "a", "*", "aGk=", extra);
		if (strict)
			assert_dropped(t, ERR_AUTH, "inner-signature");
		else
			assert_true(assert_message(t, "a", "hi")->proven);
		stage_free(t);
	}
}

static void seal_text(struct stage *t, const uint8_t *x, const char *clear, char *out, size_t cap)
{
	struct buf b;

	buf_init(&b, 8192);
	assert_int_equal(seal_for(&t->e.env, x, bytes_str(clear), &b), ERR_OK);
	assert_true(BASE64_LEN(b.n) < cap);
	base64_encode(buf_bytes(&b), out);
	buf_fini(&b);
}

static void sealed_payload_wins_over_the_clear_one(void **state)
{
	struct stage *t = stage_new(V09_VERSION_TEXT);
	const char *self = keyring_id(t->k)->hex;
	char sealed[512], extra[1024], sig[100];
	uint8_t converted[X25519_BYTES];

	/* to the advertised key, beside another clear text, signed over the sealed one */
	seal_text(t, keyring_x25519(t->k), "inside", sealed, sizeof sealed);
	inner_signature(t, "s1", self, BYTES_LIT("inside"), sig);
	snprintf(extra, sizeof extra,
		 ",\"source_signature\":\"%s\",\"source_sig_scheme\":\"v2\",\"e2e_payload\":\"%s\"",
		 sig, sealed);
	puppet_say(&t->p, &t->end, "MSG", "s1", self, "b3V0c2lkZQ==", extra);
	const struct seen *m = assert_message(t, "s1", "inside");
	assert_true(m->sealed && m->proven);

	/* to the converted identity key, clear copy stripped */
	assert_int_equal(ed_to_x25519(keyring_ed(t->k), converted), ERR_OK);
	seal_text(t, converted, "also", sealed, sizeof sealed);
	snprintf(extra, sizeof extra, ",\"e2e_payload\":\"%s\"", sealed);
	puppet_say(&t->p, &t->end, "MSG", "s2", self, "", extra);
	assert_message(t, "s2", "also");
	end_forget(&t->end);

	/* to somebody else, with a clear copy: no way back to it */
	seal_text(t, keyring_x25519(t->p.k), "lost", sealed, sizeof sealed);
	snprintf(extra, sizeof extra, ",\"e2e_payload\":\"%s\"", sealed);
	puppet_say(&t->p, &t->end, "MSG", "s3", self, "aGk=", extra);
	assert_dropped(t, ERR_AUTH, "unseal");
	puppet_say(&t->p, &t->end, "MSG", "s4", self, "aGk=", ",\"e2e_payload\":\"\"");
	assert_dropped(t, ERR_AUTH, "unseal");
	puppet_say(&t->p, &t->end, "MSG", "s5", self, "aGk=", ",\"e2e_payload\":\"A\"");
	assert_dropped(t, ERR_MALFORMED, "sealed-base64");

	/* signed over the clear copy instead */
	seal_text(t, keyring_x25519(t->k), "inside", sealed, sizeof sealed);
	inner_signature(t, "s6", self, BYTES_LIT("hi"), sig);
	snprintf(extra, sizeof extra,
		 ",\"source_signature\":\"%s\",\"source_sig_scheme\":\"v2\",\"e2e_payload\":\"%s\"",
		 sig, sealed);
	puppet_say(&t->p, &t->end, "MSG", "s6", self, "aGk=", extra);
	assert_dropped(t, ERR_AUTH, "inner-signature");
	stage_free(t);
}

static bool sends_sealed(const char *version, bool acks, bool option, const char *type,
			 bool to_peer)
{
	struct stage *t = stage_full(version, acks, option, VERSION_OF(0, 3));
	struct message m = test_message("a", "secret");

	m.type = bytes_str(type);
	if (to_peer)
		m.destination = *keyring_id(t->p.k);
	m.created_ms = t->e.wall_ms;
	assert_int_equal(session_send(t->end.s, &m), ERR_OK);
	end_drain(&t->end);
	struct said u = end_pop(&t->end);
	char *text = puppet_open(&t->p, &u), *copy = strdup(text);
	struct body b;
	struct buf raw, clear;
	assert_int_equal(body_read((uint8_t *)copy, strlen(copy), &b), ERR_OK);
	buf_init(&raw, 4096);
	buf_init(&clear, 4096);
	bool sealed = b.has_sealed;
	if (sealed) {
		/* The strict form: no clear copy, and the signature covers the clear text. */
		assert_int_equal(b.payload64.n, 0);
		assert_int_equal(buf_add_base64_decoded(&raw, b.sealed64), ERR_OK);
		assert_int_equal(keyring_open_sealed(t->p.k, buf_bytes(&raw), &clear), ERR_OK);
	} else {
		assert_int_equal(buf_add_base64_decoded(&clear, b.payload64), ERR_OK);
	}
	assert_string_equal(buf_cstr(&clear), "secret");
	struct inner_covered c = {b.source, b.destination, b.id, buf_bytes(&clear)};
	assert_true(inner_verify(keyring_ed(t->k), b.tag, false, &c, &raw, b.signature));
	buf_fini(&raw);
	buf_fini(&clear);
	free(copy);
	free(text);
	free(u.p);
	stage_free(t);
	return sealed;
}

static void sealing_follows_the_peer(void **state)
{
	static const char *const users[] = {"MSG", "REQ", "RESP", "CONV"};

	for (size_t i = 0; i < 4; i++)
		assert_true(sends_sealed("ironmesh/0.9", false, true, users[i], true));
	assert_false(sends_sealed("ironmesh/0.9", false, true, "CAPABILITY_ANNOUNCE", true));
	assert_false(sends_sealed("ironmesh/0.9", false, false, "MSG", true));
	assert_false(sends_sealed("ironmesh/0.9", true, true, "MSG", true));
	assert_false(sends_sealed("ironmesh/0.8", false, true, "MSG", true));
	/* To everybody cannot be sealed for one. */
	assert_false(sends_sealed("ironmesh/0.9", false, true, "MSG", false));
}

static void compressed_messages_are_refused(void **state)
{
	struct stage *t = stage_new(V09_VERSION_TEXT);
	char text[512];
	uint8_t *f;

	snprintf(text, sizeof text,
		 "{\"type\":\"MSG\",\"msg_id\":\"a\",\"source\":\"%s\",\"timestamp\":1753500000.25,"
		 "\"sequence\":1,"
		 "\"routing\":{\"compressed\":true}}",
		 keyring_id(t->p.k)->hex);
	size_t n = puppet_seal(&t->p, text, 1, WALL_T, &f);
	end_take(&t->end, f, n, false);
	assert_dropped(t, ERR_UNSUPPORTED, "compressed");
	free(f);
	stage_free(t);
}

static void ping_is_answered_but_not_for_ever(void **state)
{
	struct pair *p = pair_online(0, 1);

	assert_int_equal(session_ping(p->a.s), ERR_OK);
	end_drain(&p->a);
	penv_pass(&p->e, 42);
	pair_flush(p);
	assert_int_equal(end_last(&p->a, SESSION_EV_PONG)->rtt_ms, 42);
	pair_free(p);

	struct stage *t = stage_new("ironmesh/0.6");
	for (int i = 0; i < 40; i++)
		puppet_say(&t->p, &t->end, "PING", "p", "*", "", NULL);
	assert_true(t->end.wire_n >= 4 && t->end.wire_n <= 12);
	assert_int_equal(t->end.wire_n + end_count(&t->end, SESSION_EV_DROPPED), 40);
	assert_string_equal(end_last(&t->end, SESSION_EV_DROPPED)->word, "ping-rate");
	char *text = puppet_open(&t->p, &t->end.wire[0]);
	assert_non_null(strstr(text, "\"type\":\"PONG\""));
	assert_non_null(strstr(text, "\"destination\":\"*\""));
	assert_non_null(strstr(text, "\"ttl\":3"));
	assert_non_null(strstr(text, "source_signature"));
	free(text);
	/* Nobody asked: counted, no event that looks like an answer. */
	puppet_say(&t->p, &t->end, "PONG", "p", "*", "", NULL);
	assert_int_equal(end_count(&t->end, SESSION_EV_PONG), 0);
	assert_string_equal(end_last(&t->end, SESSION_EV_CONTROL)->word, "PONG");
	stage_free(t);
}

static void rate_limited_is_never_answered_and_rarely_sent(void **state)
{
	struct pair *p = pair_online(0, 1);

	for (int i = 0; i < 5; i++)
		assert_int_equal(session_rate_limited(p->a.s), ERR_OK);
	pair_flush(p);
	assert_int_equal(end_count(&p->b, SESSION_EV_RATE_LIMITED), 1);
	assert_int_equal(p->a.log_n, 0);
	penv_pass(&p->e, 999);
	assert_int_equal(session_rate_limited(p->a.s), ERR_OK);
	penv_pass(&p->e, 1);
	assert_int_equal(session_rate_limited(p->a.s), ERR_OK);
	pair_flush(p);
	assert_int_equal(end_count(&p->b, SESSION_EV_RATE_LIMITED), 2);
	pair_free(p);
}

static void goodbye_and_rotation_are_events(void **state)
{
	struct pair *p = pair_online(0, 1);

	assert_int_equal(session_key_rotate(p->a.s, keyring_ed(p->kb)), ERR_OK);
	assert_int_equal(session_goodbye(p->a.s), ERR_OK);
	pair_flush(p);
	assert_int_equal(end_count(&p->b, SESSION_EV_KEY_ROTATE), 1);
	assert_int_equal(end_count(&p->b, SESSION_EV_GOODBYE), 1);
	assert_true(session_online(p->b.s));
	pair_free(p);
}

static void receipts_travel_in_few_frames(void **state)
{
	static char ids[2500][8];
	static struct receipt r[2500];
	struct pair *p = pair_online(0, 1);

	for (size_t i = 0; i < 2500; i++) {
		snprintf(ids[i], sizeof ids[i], "%zu", i);
		r[i] = (struct receipt){.kind = i % 4 == 2 ? RECEIPT_REJECTED
							   : (enum receipt_kind)(i % 4),
					.id = bytes_str(ids[i]),
					.reason = BYTES_LIT("inbox full")};
	}
	assert_int_equal(session_send_receipts(p->b.s, r, 2500), ERR_OK);
	end_drain(&p->b);
	assert_int_equal(p->b.wire_n, 3);
	pair_flush(p);
	assert_int_equal(end_count(&p->a, SESSION_EV_RECEIPT), 2500);
	static bool seen[2500];
	for (size_t i = 0; i < p->a.log_n; i++) {
		unsigned long k = strtoul(p->a.log[i].id, NULL, 10);

		assert_false(seen[k]);
		seen[k] = true;
		assert_int_equal(p->a.log[i].kind, r[k].kind);
		assert_string_equal(p->a.log[i].reason,
				    r[k].kind == RECEIPT_REJECTED ? "inbox full" : "");
	}
	assert_int_equal(session_send_receipts(p->b.s, r, 0), ERR_OK);
	r[0].id = BYTES_LIT("");
	assert_int_equal(session_send_receipts(p->b.s, r, 1), ERR_MALFORMED);
	pair_free(p);
}

static void receipts_go_only_to_peers_that_confirm(void **state)
{
	struct stage *t = stage_new(V09_VERSION_TEXT);
	struct receipt r = {.kind = RECEIPT_DELIVERED, .id = BYTES_LIT("a")};

	assert_int_equal(session_send_receipts(t->end.s, &r, 1), ERR_OK);
	end_drain(&t->end);
	assert_int_equal(t->end.wire_n, 0);
	/* And what such a peer calls an ACK is only counted. */
	puppet_say(&t->p, &t->end, "ACK", "k", "*", "eyJhY2tfbXNnX2lkIjoiYSJ9", NULL);
	assert_int_equal(end_count(&t->end, SESSION_EV_RECEIPT), 0);
	assert_string_equal(end_last(&t->end, SESSION_EV_CONTROL)->word, "ACK");
	stage_free(t);

	t = stage_full(V09_VERSION_TEXT, true, false, VERSION_OF(0, 3));
	puppet_say(&t->p, &t->end, "ACK", "k", "*", "eyJhY2tfbXNnX2lkIjoiYSJ9",
		   NULL); /* {"ack_msg_id":"a"} */
	assert_string_equal(end_last(&t->end, SESSION_EV_RECEIPT)->id, "a");
	puppet_say(&t->p, &t->end, "ACK", "k", "*", "e30=", NULL);
	assert_dropped(t, ERR_MALFORMED, "ack-malformed");
	assert_int_equal(session_send_receipts(t->end.s, &r, 1), ERR_OK);
	end_drain(&t->end);
	char *text = puppet_open(&t->p, &t->end.wire[0]);
	assert_null(strstr(text, "source_signature"));
	free(text);
	stage_free(t);
}

static void idle_session_is_small(void **state)
{
	struct pair *p = pair_online(0, 1);
	struct message m = test_message("a", "");
	uint8_t *big = calloc(1, 500000);
	struct mallinfo2 before, after;

	/* Once, so that libraries have their own memory. */
	m.created_ms = p->e.wall_ms;
	m.body = bytes_of(big, 500000);
	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	pair_flush(p);
	before = mallinfo2();
	for (int i = 0; i < 20; i++) {
		assert_int_equal(session_send(p->a.s, &m), ERR_OK);
		pair_flush(p);
		end_forget(&p->b); /* a log that grows is not the session's */
	}
	after = mallinfo2();
	assert_true(after.uordblks <= before.uordblks + 256);
	struct session *s[64];
	before = mallinfo2();
	for (int i = 0; i < 64; i++) {
		struct session_config c = test_config(&p->e, p->ka, SESSION_DIALLER);
		assert_int_equal(v09_session_new(&c, &s[i]), ERR_OK);
	}
	after = mallinfo2();
	/* The sanitizer's allocator reports nothing here; then this says nothing either. */
	assert_true((after.uordblks - before.uordblks) / 64 <= 2048);
	for (int i = 0; i < 64; i++)
		session_free(s[i]);
	free(big);
	pair_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_cross_in_both_directions),
		cmocka_unit_test(largest_message_fits_and_the_next_does_not),
		cmocka_unit_test(send_refuses_what_no_peer_could_read),
		cmocka_unit_test(kinds_of_im2_arrive_as_messages),
		cmocka_unit_test(frame_of_ours_has_the_fixed_keys_in_order),
		cmocka_unit_test(hostile_bodies_are_dropped_and_the_session_goes_on),
		cmocka_unit_test(header_must_agree_with_the_body),
		cmocka_unit_test(no_header_bit_makes_a_second_message),
		cmocka_unit_test(every_bit_behind_the_header_counts),
		cmocka_unit_test(replay_rules_hold_in_the_session),
		cmocka_unit_test(legacy_json_is_never_read),
		cmocka_unit_test(reflected_frames_are_refused),
		cmocka_unit_test(user_types_need_an_author_we_know),
		cmocka_unit_test(inner_signature_is_judged_when_present),
		cmocka_unit_test(v1_signature_counts_only_below_the_floor),
		cmocka_unit_test(sealed_payload_wins_over_the_clear_one),
		cmocka_unit_test(sealing_follows_the_peer),
		cmocka_unit_test(compressed_messages_are_refused),
		cmocka_unit_test(ping_is_answered_but_not_for_ever),
		cmocka_unit_test(rate_limited_is_never_answered_and_rarely_sent),
		cmocka_unit_test(goodbye_and_rotation_are_events),
		cmocka_unit_test(receipts_travel_in_few_frames),
		cmocka_unit_test(receipts_go_only_to_peers_that_confirm),
		cmocka_unit_test(idle_session_is_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
