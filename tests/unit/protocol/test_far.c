/* What others wrote, and what is for others: the session between us and a neighbour of the old wire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/text.h"
#include "tests/lib/protocol_env.h"

#define NEIGHBOUR 3
#define NEXT 4
#define AUTHOR 5
#define ELSEWHERE "28fff9342c7030d3d899cc9e7bc11878"

/* Our node, online with a neighbour and with the next hop; it knows an author, and the neighbour is between them. */
struct stage {
	struct penv e;
	struct keyring *k, *author;
	struct end in, out;
	struct puppet from, to;
	bool knows;
};

static bool author_key(void *ctx, const struct node_id *id, uint8_t ed[static ED_BYTES])
{
	struct stage *t = ctx;

	if (!t->knows || !node_id_eq(id, keyring_id(t->author)))
		return false;
	memcpy(ed, keyring_ed(t->author), ED_BYTES);
	return true;
}

static void meet(struct stage *t, struct end *e, struct puppet *p, unsigned number)
{
	struct session_config c = test_config(&t->e, t->k, SESSION_LISTENER);
	struct session *s;

	c.author_key = author_key;
	c.author_ctx = t;
	assert_int_equal(v09_session_new(&c, &s), ERR_OK);
	end_init(e, s);
	puppet_init(p, &t->e, number, true);
	p->version = V09_VERSION_TEXT;
	session_start(s);
	end_drain(e);
	assert_true(puppet_handshake(p, e));
	end_forget(e);
}

static int make(void **state)
{
	struct stage *t = calloc(1, sizeof *t);

	penv_init(&t->e);
	t->k = keyring_number(0);
	t->author = keyring_number(AUTHOR);
	t->knows = true;
	meet(t, &t->in, &t->from, NEIGHBOUR);
	meet(t, &t->out, &t->to, NEXT);
	*state = t;
	return 0;
}

static int unmake(void **state)
{
	struct stage *t = *state;

	end_fini(&t->in);
	end_fini(&t->out);
	puppet_fini(&t->from);
	puppet_fini(&t->to);
	keyring_free(t->k);
	keyring_free(t->author);
	free(t);
	return 0;
}

/* --- frames by the author, brought by the neighbour ---------------------------------------------------------------- */
struct frame {
	const char *type, *id, *source, *dest, *payload; /* NULL: MSG, "m-1", the author, us, "hi" */
	const char *routing, *time, *hops, *priority, *display;
	unsigned ttl;
	bool unsigned_, v1, other_payload, sealed, clear_beside;
};

static const char *or(const char *a, const char *b)
{
	return a ? a : b;
}

static void base64_of(struct bytes in, char *out)
{
	base64_encode(in, out);
}

static char *body_of(struct stage *t, const struct frame *f)
{
	const char *source = or(f->source, keyring_id(t->author)->hex), *dest = or(f->dest, keyring_id(t->k)->hex);
	const char *id = or(f->id, "m-1"), *payload = or(f->payload, "hi");
	struct inner_covered c = { bytes_str(source), bytes_str(dest), bytes_str(id), bytes_str(payload) };
	char sig64[100] = "", clear64[400] = "", sealed[600] = "", inner[300] = "", *text;
	uint8_t sig[SIG_BYTES];
	struct buf b;

	buf_init(&b, 8192);
	if (f->v1) {
		keyring_sign(t->author, SIG_BARE_OUTER, bytes_str(payload), sig);
	} else {
		if (f->other_payload)
			c.payload = BYTES_LIT("ho");
		assert_int_equal(inner_sign(t->author, &c, &b, sig), ERR_OK);
	}
	base64_of(BYTES_ARR(sig), sig64);
	if (!f->unsigned_)
		snprintf(inner, sizeof inner, ",\"source_signature\":\"%s\",\"source_sig_scheme\":\"%s\"", sig64, f->v1 ? "v1" : "v2");
	if (f->sealed) {
		buf_reset(&b);
		assert_int_equal(seal_for(&t->e.env, keyring_x25519(t->k), bytes_str(payload), &b), ERR_OK);
		snprintf(sealed, sizeof sealed, ",\"e2e_payload\":\"");
		base64_of(buf_bytes(&b), sealed + strlen(sealed));
		strcat(sealed, "\"");
	}
	if (!f->sealed || f->clear_beside)
		base64_of(f->clear_beside ? BYTES_LIT("a lie") : bytes_str(payload), clear64);
	buf_fini(&b);
	assert_true(asprintf(&text,
			     "{\"type\":\"%s\",\"payload\":\"%s\",\"msg_id\":\"%s\",\"source\":\"%s\",\"source_display\":\"%s\","
			     "\"destination\":\"%s\",\"timestamp\":%s,\"priority\":\"%s\",\"sequence\":%llu,\"retries\":3,"
			     "\"routing\":%s,\"ttl\":%u,\"hops\":%s%s%s}",
			     or(f->type, "MSG"), clear64, id, source, or(f->display, source), dest, or(f->time, "1753500000.25"),
			     or(f->priority, "NORMAL"), (unsigned long long)t->from.sequence, or(f->routing, "{}"),
			     f->ttl ? f->ttl : 5, or(f->hops, "[]"), inner, sealed) > 0);
	return text;
}

/* Taken, not drained. */
static void brings(struct stage *t, struct frame f)
{
	char *body = body_of(t, &f);
	uint8_t *unit;
	size_t n = puppet_seal(&t->from, body, t->from.sequence++, f.time ? WALL_T - 250 : WALL_T, &unit);

	session_take(t->in.s, bytes_of(unit, n), false);
	free(unit);
	free(body);
}

static struct session_event event(struct stage *t)
{
	struct session_event e;

	assert_true(session_next_event(t->in.s, &e));
	return e;
}

static void drained(struct stage *t)
{
	struct session_event e;

	assert_false(session_next_event(t->in.s, &e));
}

static void assert_dropped(struct stage *t, enum err err, const char *word)
{
	struct session_event e = event(t);

	assert_int_equal(e.type, SESSION_EV_DROPPED);
	assert_string_equal(e.word, word);
	assert_int_equal(e.err, err);
	drained(t);
}

#define AS(...) ((struct frame){ __VA_ARGS__ })

/* --- for us ---------------------------------------------------------------------------------------------------------- */
static void author_is_who_signed(void **state)
{
	struct stage *t = *state;
	struct session_event e;

	brings(t, AS(.hops = "[\"" ELSEWHERE "\"]", .ttl = 3));
	e = event(t);
	assert_int_equal(e.type, SESSION_EV_MESSAGE);
	assert_true(node_id_eq(&e.message.source, keyring_id(t->author)));
	assert_true(e.message.source_proven);
	assert_false(e.message.was_sealed);
	assert_true(bytes_eq(e.message.body, BYTES_LIT("hi")));
	drained(t);
	/* ttl 0 is delivered at its destination. */
	brings(t, AS(.id = "m-2", .sealed = true, .clear_beside = true));
	e = event(t);
	assert_int_equal(e.type, SESSION_EV_MESSAGE);
	assert_true(e.message.was_sealed && e.message.source_proven);
	assert_true(bytes_eq(e.message.body, BYTES_LIT("hi")));
	drained(t);
}

static void what_is_not_proven_is_refused(void **state)
{
	struct stage *t = *state;

	brings(t, AS(.unsigned_ = true));
	assert_dropped(t, ERR_AUTH, "relayed-unsigned");
	brings(t, AS(.unsigned_ = true, .sealed = true));
	assert_dropped(t, ERR_AUTH, "relayed-unsigned");
	brings(t, AS(.other_payload = true));
	assert_dropped(t, ERR_AUTH, "inner-signature");
	brings(t, AS(.other_payload = true, .sealed = true));
	assert_dropped(t, ERR_AUTH, "inner-signature");
	/* Only the payload is signed: it could have been for anybody. */
	brings(t, AS(.v1 = true));
	assert_dropped(t, ERR_AUTH, "inner-signature");
	brings(t, AS(.dest = "*"));
	assert_dropped(t, ERR_UNSUPPORTED, "relayed-to-all");
	brings(t, AS(.source = ELSEWHERE));
	assert_dropped(t, ERR_NOTFOUND, "relayed-unknown");
	t->knows = false;
	brings(t, AS(0));
	assert_dropped(t, ERR_NOTFOUND, "relayed-unknown");
	assert_true(session_online(t->in.s));
}

static void receipts_come_signed_and_named(void **state)
{
	struct stage *t = *state;
	static const char ack[] = "{\"type\":\"ACK\",\"from\":\"x\",\"ack_msg_ids\":[\"a\",\"b\"]}";
	struct session_event e;

	brings(t, AS(.type = "ACK", .id = "ack-1", .payload = ack));
	for (int i = 0; i < 2; i++) {
		e = event(t);
		assert_int_equal(e.type, SESSION_EV_RECEIPT);
		assert_int_equal(e.receipt, RECEIPT_DELIVERED);
		assert_true(node_id_eq(&e.receipt_from, keyring_id(t->author)));
		assert_true(bytes_eq(e.receipt_id, i ? BYTES_LIT("b") : BYTES_LIT("a")));
	}
	drained(t);
	brings(t, AS(.type = "ACK", .id = "ack-2", .payload = ack, .unsigned_ = true));
	assert_dropped(t, ERR_AUTH, "inner-signature");
	brings(t, AS(.type = "ACK", .id = "ack-3", .payload = ack, .other_payload = true));
	assert_dropped(t, ERR_AUTH, "inner-signature");
	/* A message of the author whose text is a receipt does not become one, nor a receipt a message. */
	brings(t, AS(.type = "ACK", .id = "m-9", .payload = ack));
	assert_dropped(t, ERR_AUTH, "inner-signature");
	brings(t, AS(.type = "MSG", .id = "ack-4", .payload = ack));
	assert_dropped(t, ERR_MALFORMED, "msg-id");
	brings(t, AS(.type = "ACK", .id = "ack-5", .payload = "{}"));
	assert_dropped(t, ERR_MALFORMED, "ack-malformed");
}

static void types_between_neighbours_are_not_passed_on(void **state)
{
	static const char *const types[] = { "PING", "GOODBYE", "REKEY_REQUEST", "KEY_ROTATE", "ROUTE_ANNOUNCE", "REVOCATION" };
	struct stage *t = *state;

	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		brings(t, AS(.type = types[i]));
		assert_dropped(t, ERR_AUTH, "control-source");
		brings(t, AS(.type = types[i], .dest = ELSEWHERE));
		assert_dropped(t, ERR_AUTH, "control-source");
	}
}

/* --- in transit -------------------------------------------------------------------------------------------------------- */
/* What the next hop opens; caller frees. */
static char *goes_on(struct stage *t, const struct v09_transit *x)
{
	struct v09_forward f;
	struct said u;
	char *text;

	assert_int_equal(v09_forward_make(x, keyring_id(t->k), &f), ERR_OK);
	assert_int_equal(v09_forward_send(t->out.s, &f), ERR_OK);
	v09_forward_free(&f);
	end_drain(&t->out);
	u = end_pop(&t->out);
	text = puppet_open(&t->to, &u);
	assert_non_null(text);
	free(u.p);
	return text;
}

static void assert_goes_on_as_it_came(struct stage *t, struct frame f)
{
	char *in = body_of(t, &f), *out, *want, *hops, *seq;
	struct session_event e;
	const char *tail;

	brings(t, f);
	/* body_of() seals anew: what came is what is compared. */
	if (f.sealed) {
		e = event(t);
		assert_int_equal(e.type, SESSION_EV_TRANSIT);
		assert_true(e.transit->sealed);
		out = goes_on(t, e.transit);
		assert_non_null(strstr(out, "\"e2e_payload\":\""));
		free(out);
		free(in);
		drained(t);
		return;
	}
	e = event(t);
	assert_int_equal(e.type, SESSION_EV_TRANSIT);
	assert_int_equal(e.transit->ttl, f.ttl ? f.ttl : 5);
	out = goes_on(t, e.transit);
	drained(t);
	/* Sequence, time to live and hops are ours; everything before, between and behind is not. */
	seq = strstr(in, "\"sequence\":");
	tail = strstr(seq, ",\"retries\"");
	hops = strstr(in, ",\"ttl\":");
	assert_true(asprintf(&want, "%.*s\"sequence\":1%.*s,\"ttl\":%u,\"hops\":[%.*s%s\"%s\"]%s", (int)(seq - in), in, (int)(hops - tail),
			     tail, (f.ttl ? f.ttl : 5) - 1, (int)strlen(or(f.hops, "[]")) - 2, or(f.hops, "[]") + 1,
			     f.hops && strlen(f.hops) > 2 ? "," : "", keyring_id(t->k)->hex,
			     strstr(in, ",\"source_signature\"") ? strstr(in, ",\"source_signature\"") : "}") > 0);
	/* The number of the next hop's session. */
	char *at = strstr(out, "\"sequence\":");
	assert_non_null(at);
	at[strlen("\"sequence\":")] = '1';
	assert_string_equal(out, want);
	free(in);
	free(out);
	free(want);
}

static void frame_goes_on_as_it_came(void **state)
{
	struct stage *t = *state;

	assert_goes_on_as_it_came(t, AS(.dest = ELSEWHERE));
	assert_goes_on_as_it_came(t, AS(.dest = ELSEWHERE, .id = "m-2", .hops = "[\"a\",\"b\"]", .ttl = 1, .priority = "URGENT",
					.routing = "{\"compressed\":true}"));
	assert_goes_on_as_it_came(t, AS(.dest = ELSEWHERE, .id = "m-3", .type = "CONV", .display = "caf\\u00e9 \\ud83d\\ude00",
					.time = "1753500000"));
	assert_goes_on_as_it_came(t, AS(.dest = ELSEWHERE, .id = "m-4", .sealed = true));
	/* Sealed, nobody here can judge who signed it. */
	assert_goes_on_as_it_came(t, AS(.dest = ELSEWHERE, .id = "m-5", .sealed = true, .other_payload = true));
}

static void author_may_be_the_neighbour_itself(void **state)
{
	struct stage *t = *state;
	struct session_event e;

	brings(t, AS(.dest = ELSEWHERE, .source = keyring_id(t->from.k)->hex, .unsigned_ = true));
	e = event(t);
	assert_int_equal(e.type, SESSION_EV_TRANSIT);
	assert_true(node_id_eq(&e.transit->source, keyring_id(t->from.k)));
	drained(t);
	/* In form v2 a wrong signature is a lie. */
	brings(t, AS(.dest = ELSEWHERE, .source = keyring_id(t->from.k)->hex));
	assert_dropped(t, ERR_AUTH, "inner-signature");
}

static void unsealed_frames_of_unknown_or_lying_authors_stop_here(void **state)
{
	struct stage *t = *state;

	brings(t, AS(.dest = ELSEWHERE, .unsigned_ = true));
	assert_dropped(t, ERR_AUTH, "inner-signature");
	brings(t, AS(.dest = ELSEWHERE, .other_payload = true));
	assert_dropped(t, ERR_AUTH, "inner-signature");
	brings(t, AS(.dest = ELSEWHERE, .source = "1ba145aa2ed6fa01ea237b28e569dbb6"));
	assert_dropped(t, ERR_NOTFOUND, "relayed-unknown");
	brings(t, AS(.dest = ELSEWHERE, .hops = "[\"\\u0061\"]"));
	assert_dropped(t, ERR_MALFORMED, "hops");
	brings(t, AS(.dest = "bob"));
	assert_dropped(t, ERR_MALFORMED, "destination");
}

static void ours_that_comes_back_is_told_from_a_reflection(void **state)
{
	struct stage *t = *state;
	struct session_event e;

	brings(t, AS(.source = keyring_id(t->k)->hex, .dest = ELSEWHERE, .sealed = true));
	assert_dropped(t, ERR_AUTH, "own-source");
	brings(t, AS(.source = keyring_id(t->k)->hex, .hops = "[\"x\"]", .type = "PING"));
	assert_dropped(t, ERR_AUTH, "own-source");
	brings(t, AS(.source = keyring_id(t->k)->hex, .dest = ELSEWHERE, .sealed = true, .hops = "[\"x\"]"));
	e = event(t);
	assert_int_equal(e.type, SESSION_EV_TRANSIT);
	assert_true(e.transit->returned);
	drained(t);
}

static void hops_are_found_and_bounded(void **state)
{
	struct stage *t = *state;
	struct node_id one = { ELSEWHERE }, other = { "1ba145aa2ed6fa01ea237b28e569dbb6" };
	char *hops = malloc(255 * 4 + 3);
	struct session_event e;
	struct v09_forward f;

	brings(t, AS(.dest = ELSEWHERE, .hops = "[\"x\", \"" ELSEWHERE "\" ]"));
	e = event(t);
	assert_true(v09_transit_passed(e.transit, &one));
	assert_false(v09_transit_passed(e.transit, &other));
	assert_false(v09_transit_passed(e.transit, keyring_id(t->k)));
	drained(t);
	strcpy(hops, "[");
	for (int i = 0; i < 255; i++)
		strcat(hops, i ? ",\"a\"" : "\"a\"");
	strcat(hops, "]");
	brings(t, AS(.dest = ELSEWHERE, .hops = hops));
	e = event(t);
	assert_int_equal(e.type, SESSION_EV_TRANSIT);
	assert_int_equal(v09_forward_make(e.transit, keyring_id(t->k), &f), ERR_LIMIT);
	drained(t);
	free(hops);
}

/* --- ours ---------------------------------------------------------------------------------------------------------------- */
static void ours_goes_sealed_with_nothing_beside_it(void **state)
{
	struct stage *t = *state;
	struct message m = { .type = BYTES_LIT("MSG"), .id = BYTES_LIT("000102030405060708090a0b0c0d0e0f"), .source = *keyring_id(t->k),
			     .destination = *keyring_id(t->author), .created_ms = WALL_T, .priority = PRIO_NORMAL, .ttl = 5,
			     .body = BYTES_LIT("for the author alone") };
	struct inner_covered c = { .id = m.id, .payload = m.body };
	struct said u;
	struct body b;
	struct buf raw, clear, scratch;
	char *text;

	assert_int_equal(v09_send_through(t->out.s, &m, keyring_x25519(t->author)), ERR_OK);
	end_drain(&t->out);
	u = end_pop(&t->out);
	text = puppet_open(&t->to, &u);
	assert_non_null(strstr(text, "\"payload\":\"\""));
	assert_int_equal(body_read((uint8_t *)text, strlen(text), &b), ERR_OK);
	assert_true(b.has_sealed && b.has_signature);
	assert_int_equal(b.ttl, 5);
	assert_int_equal(b.hops, 0);
	assert_true(bytes_eq(b.destination, bytes_str(keyring_id(t->author)->hex)));
	buf_init(&raw, 4096);
	buf_init(&clear, 4096);
	buf_init(&scratch, 4096);
	assert_int_equal(buf_add_base64_decoded(&raw, b.sealed64), ERR_OK);
	assert_int_equal(keyring_open_sealed(t->author, buf_bytes(&raw), &clear), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&clear), m.body));
	/* Signed over what is sealed, by us. */
	c.source = b.source;
	c.destination = b.destination;
	assert_true(inner_verify(keyring_ed(t->k), b.tag, false, &c, &scratch, b.signature));
	/* In clear only where it is said. */
	free(text);
	free(u.p);
	assert_int_equal(v09_send_through(t->out.s, &m, NULL), ERR_OK);
	end_drain(&t->out);
	u = end_pop(&t->out);
	text = puppet_open(&t->to, &u);
	assert_null(strstr(text, "e2e_payload"));
	assert_null(strstr(text, "\"payload\":\"\""));
	free(text);
	free(u.p);
	memset(m.destination.hex, 0, sizeof m.destination.hex);
	assert_int_equal(v09_send_through(t->out.s, &m, NULL), ERR_MALFORMED);
	buf_fini(&raw);
	buf_fini(&clear);
	buf_fini(&scratch);
}

static void receipts_of_ours_name_their_author_and_their_frame(void **state)
{
	struct stage *t = *state;
	struct receipt r[2] = { { .kind = RECEIPT_DELIVERED, .id = BYTES_LIT("a") }, { .kind = RECEIPT_READ, .id = BYTES_LIT("b") } };
	struct said u;
	struct body b;
	size_t done;
	char *text;

	assert_int_equal(v09_receipts_through(t->out.s, keyring_id(t->author), r, 2, &done), ERR_OK);
	assert_int_equal(done, 2);
	end_drain(&t->out);
	u = end_pop(&t->out);
	text = puppet_open(&t->to, &u);
	assert_int_equal(body_read((uint8_t *)text, strlen(text), &b), ERR_OK);
	assert_true(bytes_eq(b.type, BYTES_LIT("ACK")));
	assert_true(b.has_signature && !b.has_sealed);
	assert_memory_equal(b.id.p, V09_RECEIPT_ID, strlen(V09_RECEIPT_ID));
	assert_true(bytes_eq(b.destination, bytes_str(keyring_id(t->author)->hex)));
	free(text);
	free(u.p);
	r[1].id = BYTES_LIT("");
	assert_int_equal(v09_receipts_through(t->out.s, keyring_id(t->author), r, 2, &done), ERR_MALFORMED);
	assert_int_equal(done, 0);
}

static void nothing_leaves_a_session_that_is_over(void **state)
{
	struct stage *t = *state;
	struct session_event e;
	struct v09_forward f;
	size_t done;

	brings(t, AS(.dest = ELSEWHERE));
	e = event(t);
	assert_int_equal(v09_forward_make(e.transit, keyring_id(t->k), &f), ERR_OK);
	drained(t);
	t->e.wall_ms += 1;
	/* A handshake that has not begun. */
	struct session_config c = test_config(&t->e, t->k, SESSION_LISTENER);
	struct session *s;
	assert_int_equal(v09_session_new(&c, &s), ERR_OK);
	assert_int_equal(v09_forward_send(s, &f), ERR_WRONG_STATE);
	assert_int_equal(v09_receipts_through(s, keyring_id(t->author), &(struct receipt){ .id = BYTES_LIT("a") }, 1, &done),
			 ERR_WRONG_STATE);
	session_free(s);
	v09_forward_free(&f);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make, unmake)
	const struct CMUnitTest tests[] = {
		T(author_is_who_signed),
		T(what_is_not_proven_is_refused),
		T(receipts_come_signed_and_named),
		T(types_between_neighbours_are_not_passed_on),
		T(frame_goes_on_as_it_came),
		T(author_may_be_the_neighbour_itself),
		T(unsealed_frames_of_unknown_or_lying_authors_stop_here),
		T(ours_that_comes_back_is_told_from_a_reflection),
		T(hops_are_found_and_bounded),
		T(ours_goes_sealed_with_nothing_beside_it),
		T(receipts_of_ours_name_their_author_and_their_frame),
		T(nothing_leaves_a_session_that_is_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
