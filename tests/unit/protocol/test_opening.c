/* Which generation a connection speaks: im2.md 4, with real sessions of both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "protocol/opening.h"
#include "tests/lib/protocol_im2_pair.h"

/* --- two ends; alice dials --- */

enum speaks { ONLY_09, BOTH, ONLY_IM2 };

struct meeting {
	struct penv e;
	struct inode n[2];     /* they know nobody */
	bool im2[2];
	struct end end[2];
};

static struct session *open_as(struct meeting *m, int who, enum speaks how, bool pinned)
{
	enum session_role role = who ? SESSION_LISTENER : SESSION_DIALLER;
	struct opening_config c = {
		.v09 = test_config(&m->e, m->n[who].k, role),
		.im2 = m->im2[who] ? m->n[who].host : NULL,
		.require = how == ONLY_IM2,
		.pinned_im2 = pinned,
		.link = {.transport = IM2_WEBSOCKET},
	};
	struct session *s;

	assert_int_equal(opening_new(&c, &s), ERR_OK);
	return s;
}

static struct meeting *meet_pinned(enum speaks a, enum speaks b, bool pinned)
{
	struct meeting *m = calloc(1, sizeof *m);
	enum speaks how[2] = {a, b};

	penv_init(&m->e);
	for (unsigned i = 0; i < 2; i++) {
		m->im2[i] = how[i] != ONLY_09;
		inode_init(&m->n[i], &m->e, i, &(struct im2_host_config){.require = how[i] == ONLY_IM2});
		end_init(&m->end[i], open_as(m, (int)i, how[i], pinned));
		session_start(m->end[i].s);
		end_drain(&m->end[i]);
	}
	return m;
}

static struct meeting *meet(enum speaks a, enum speaks b)
{
	return meet_pinned(a, b, false);
}

static void meeting_free(struct meeting *m)
{
	for (int i = 0; i < 2; i++) {
		end_fini(&m->end[i]);
		inode_fini(&m->n[i]);
	}
	free(m);
}

static void take(struct meeting *m, int who, const void *p, size_t n, bool text)
{
	struct end *e = &m->end[who];
	uint8_t *copy = malloc(n ? n : 1);

	if (n)
		memcpy(copy, p, n);
	session_take(e->s, bytes_of(copy, n), text);
	free(copy);
	e->s = opening_settle(e->s);
	end_drain(e);
}

static void flush(struct meeting *m)
{
	while (m->end[0].wire_n || m->end[1].wire_n) {
		int from = m->end[0].wire_n ? 0 : 1;
		struct said u = end_pop(&m->end[from]);

		take(m, !from, u.p, u.n, u.text);
		free(u.p);
	}
}

static void assert_both_online(struct meeting *m, const char *generation)
{
	for (int i = 0; i < 2; i++) {
		assert_true(session_online(m->end[i].s));
		assert_false(session_over(m->end[i].s));
		assert_string_equal(session_peer(m->end[i].s)->generation, generation);
		assert_memory_equal(session_peer(m->end[i].s)->ed, keyring_ed(m->n[!i].k), ED_BYTES);
		assert_int_equal(end_count(&m->end[i], SESSION_EV_IDENTIFIED), 1);
		assert_int_equal(im2_is_link(m->end[i].s), strcmp(generation, "im2") == 0);
	}
}

static void assert_over(const struct end *e, enum err err, enum session_blame blame, const char *word)
{
	const struct seen *o = end_last(e, SESSION_EV_OVER);

	assert_non_null(o);
	assert_int_equal(o->err, err);
	assert_int_equal(o->blame, blame);
	if (word)
		assert_string_equal(o->word, word);
	assert_int_equal(end_count(e, SESSION_EV_OVER), 1);
	assert_true(session_over(e->s));
	assert_false(session_online(e->s));
	assert_int_equal(session_deadline_ms(e->s), UINT64_MAX);
}

/* The JSON S1 that bob has said, with one text in the place of another. */
static struct said edited(struct meeting *m, const char *from, const char *to)
{
	struct said u = end_pop(&m->end[1]);
	struct buf b;

	buf_init(&b, 4096);
	buf_add(&b, bytes_of(u.p, u.n));
	const char *at = strstr(buf_cstr(&b), from);
	assert_non_null(at);
	size_t head = (size_t)(at - (const char *)b.p);
	free(u.p);
	u.n = b.n - strlen(from) + strlen(to);
	u.p = malloc(u.n);
	memcpy(u.p, b.p, head);
	memcpy(u.p + head, to, strlen(to));
	memcpy(u.p + head + strlen(to), at + strlen(from), b.n - head - strlen(from));
	buf_fini(&b);
	return u;
}

#define SUITES ", \"suites\": [\"im2\"]"

/* --- who meets whom (4.2) ------------------------------------------------------------------------------ */
static void generations_are_chosen_as_the_table_says(void **state)
{
	static const struct {
		enum speaks a, b;
		const char *generation; /* NULL: they do not come together */
	} rows[] = {
		{ONLY_09, ONLY_09, "0.9"}, {ONLY_09, BOTH, "0.9"},  {ONLY_09, ONLY_IM2, NULL},
		{BOTH, ONLY_09, "0.9"},	   {BOTH, BOTH, "im2"},	    {BOTH, ONLY_IM2, "im2"},
		{ONLY_IM2, ONLY_09, NULL}, {ONLY_IM2, BOTH, "im2"}, {ONLY_IM2, ONLY_IM2, "im2"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct meeting *m = meet(rows[i].a, rows[i].b);

		flush(m);
		if (rows[i].generation) {
			assert_both_online(m, rows[i].generation);
			/* Who speaks both says so to whoever runs 0.9 with it. */
			bool old = strcmp(rows[i].generation, "0.9") == 0;
			assert_int_equal(session_peer(m->end[0].s)->marked, old && rows[i].b == BOTH);
			assert_int_equal(session_peer(m->end[1].s)->marked, old && rows[i].a == BOTH);
		} else {
			for (int k = 0; k < 2; k++)
				assert_false(session_online(m->end[k].s));
			assert_true(session_over(m->end[0].s));
		}
		meeting_free(m);
	}
}

static void messages_cross_in_what_was_chosen(void **state)
{
	for (int im2 = 0; im2 < 2; im2++) {
		struct meeting *m = meet(BOTH, im2 ? BOTH : ONLY_09);
		struct message msg = test_message("0001020304050607000000000000000a", "well met");

		msg.has_wire_id = true;
		for (unsigned i = 0; i < 8; i++)
			msg.wire_id[i] = (uint8_t)i;
		msg.wire_id[15] = 10;
		flush(m);
		msg.created_ms = m->e.wall_ms;
		assert_true(session_can_send(m->end[0].s));
		assert_int_equal(session_send(m->end[0].s, &msg), ERR_OK);
		session_tick(m->end[0].s);
		end_drain(&m->end[0]);
		flush(m);
		const struct seen *x = end_last(&m->end[1], SESSION_EV_MESSAGE);
		assert_non_null(x);
		assert_int_equal(x->body_n, 8);
		assert_memory_equal(x->body, "well met", 8);
		meeting_free(m);
	}
}

static void first_units_are_those_of_the_section(void **state)
{
	struct meeting *m = meet(BOTH, BOTH);
	struct said *u = &m->end[1].wire[0];
	char text[512], nonce[65];
	uint8_t n[32];
	bool offers;

	/* A listener that speaks both. */
	assert_int_equal(m->end[1].wire_n, 1);
	assert_true(u->text);
	assert_true(v09_challenge_peek(bytes_of(u->p, u->n), n, &offers));
	assert_true(offers);
	hex_encode(BYTES_ARR(n), nonce);
	snprintf(text, sizeof text,
		 "{\"type\": \"PASSPHRASE_CHALLENGE\", \"from\": \"%s\", \"nonce\": \"%s\", "
		 "\"protocol_version\": \"ironmesh/0.9\"" SUITES "}",
		 keyring_id(m->n[1].k)->hex, nonce);
	assert_int_equal(u->n, strlen(text));
	assert_memory_equal(u->p, text, u->n);
	/* A dialler says nothing first, and answers it with X1. */
	assert_int_equal(m->end[0].wire_n, 0);
	struct said s1 = end_pop(&m->end[1]);
	take(m, 0, s1.p, s1.n, true);
	free(s1.p);
	assert_int_equal(m->end[0].wire_n, 1);
	assert_false(m->end[0].wire[0].text);
	assert_int_equal(m->end[0].wire[0].p[0], IM2_UNIT_X1);
	meeting_free(m);

	m = meet(BOTH, ONLY_IM2); /* a listener that requires im2 names nobody */
	u = &m->end[1].wire[0];
	assert_int_equal(m->end[1].wire_n, 1);
	assert_false(u->text);
	assert_int_equal(u->n, 34);
	assert_int_equal(u->p[0], 0x59);
	assert_int_equal(u->p[1], 1);
	meeting_free(m);

	m = meet(ONLY_09, ONLY_09);
	take(m, 0, "", 0, true);
	u = &m->end[1].wire[0];
	assert_true(v09_challenge_peek(bytes_of(u->p, u->n), n, &offers));
	assert_false(offers);
	meeting_free(m);
}

/* --- downgrade (4.3, 4.4) --------------------------------------------------------------------------------- */
static void stripped_suites_are_refused_by_who_knows_better(void **state)
{
	for (int how = 0; how < 2; how++) {
		struct meeting *m = meet_pinned(how ? ONLY_IM2 : BOTH, BOTH, !how);
		struct said u = edited(m, SUITES, "");

		take(m, 0, u.p, u.n, true);
		free(u.p);
		assert_over(&m->end[0], ERR_DOWNGRADE, BLAME_NONE, "downgrade-refused");
		assert_int_equal(m->end[0].wire_n, 0); /* not even the proof */
		take(m, 0, "{}", 2, true);
		assert_int_equal(m->end[0].wire_n, 0);
		meeting_free(m);
	}
}

/* Nobody is pinned yet: 0.9 runs, but the signed marks tell both ends that they were cheated. */
static void stripped_suites_show_in_the_marks(void **state)
{
	struct meeting *m = meet(BOTH, BOTH);
	struct said u = edited(m, SUITES, "");

	m->end[0].hold = m->end[1].hold = true;
	take(m, 0, u.p, u.n, true);
	free(u.p);
	flush(m);
	assert_int_equal(end_count(&m->end[1], SESSION_EV_IDENTIFIED), 1);
	assert_true(session_peer(m->end[1].s)->marked);
	session_admit(m->end[1].s);
	end_drain(&m->end[1]);
	flush(m);
	assert_int_equal(end_count(&m->end[0], SESSION_EV_IDENTIFIED), 1);
	assert_true(session_peer(m->end[0].s)->marked);
	meeting_free(m);
}

/* An offer that the listener did not make: the dialler loses the connection, and gives nothing away. */
static void added_suites_lead_nowhere(void **state)
{
	struct meeting *m = meet(BOTH, ONLY_09);
	struct said u = edited(m, "\"ironmesh/0.9\"", "\"ironmesh/0.9\"" SUITES);

	take(m, 0, u.p, u.n, true);
	free(u.p);
	assert_int_equal(m->end[0].wire[0].p[0], IM2_UNIT_X1);
	flush(m);
	assert_over(&m->end[1], ERR_MALFORMED, BLAME_GARBAGE, "not-handshake-json");
	assert_false(session_online(m->end[0].s));
	/* The choice stands: a plain challenge changes nothing any more. */
	char text[256], nonce[65];
	memset(nonce, 'a', 64);
	nonce[64] = 0;
	snprintf(text, sizeof text, "{\"type\": \"PASSPHRASE_CHALLENGE\", \"nonce\": \"%s\"}", nonce);
	take(m, 0, text, strlen(text), true);
	for (size_t i = 0; i < m->end[0].wire_n; i++)
		assert_false(m->end[0].wire[i].text);
	assert_false(session_online(m->end[0].s));
	meeting_free(m);
}

/* Any other change of S1 that leaves im2 on offer is in the prologue (H1). */
static void edited_offers_fail_in_the_handshake(void **state)
{
	static const char *const lists[] = {", \"suites\": [\"im2\", \"im3\"]", ",\"suites\": [\"im2\"]",
					    ", \"suites\": [\"im2\"], \"x\": 1"};

	for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
		struct meeting *m = meet(BOTH, BOTH);
		struct said u = edited(m, SUITES, lists[i]);

		take(m, 0, u.p, u.n, true);
		free(u.p);
		flush(m);
		assert_true(session_over(m->end[0].s));
		assert_false(session_online(m->end[1].s));
		assert_null(end_last(&m->end[1], SESSION_EV_IDENTIFIED));
		meeting_free(m);
	}
}

/* --- first units of strangers ------------------------------------------------------------------------------ */
static void listener_decides_by_the_first_byte(void **state)
{
	static const struct {
		const char *unit;
		size_t n;
		bool text, native; /* handed to im2 */
	} rows[] = {
		{"", 0, false, false},	    {"", 0, true, false},	 {"{", 1, true, false},
		{"{}", 2, false, false},    {"\xe7garbage", 8, false, false}, {"\x4f", 1, false, false},
		{"\x60", 1, false, false},  {"P", 1, true, false},	 {"PRIVET", 6, true, false},
		{"P", 1, false, true},	    {"\x51", 1, false, true},	 {"\x52", 1, false, true},
		{"\x5b", 1, false, true},   {"\x5f", 1, false, true},	 {"\x59\x01", 2, false, true},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct meeting *m = meet(BOTH, BOTH);

		free(end_pop(&m->end[1]).p);
		take(m, 1, rows[i].unit, rows[i].n, rows[i].text);
		assert_int_equal(im2_is_link(m->end[1].s), rows[i].native);
		assert_false(session_online(m->end[1].s));
		assert_null(end_last(&m->end[1], SESSION_EV_IDENTIFIED));
		if (!rows[i].native)
			assert_over(&m->end[1], end_last(&m->end[1], SESSION_EV_OVER)->err, BLAME_GARBAGE, NULL);
		for (size_t k = 0; k < m->end[1].wire_n; k++)
			assert_int_equal(m->end[1].wire[k].text, false);
		meeting_free(m);
	}
}

/* To a node without im2 its units are garbage like any other. */
static void a_0_9_listener_refuses_units_of_im2(void **state)
{
	for (unsigned b = 0x50; b < 0x60; b++) {
		struct meeting *m = meet(BOTH, ONLY_09);
		uint8_t unit[50] = {(uint8_t)b};

		free(end_pop(&m->end[1]).p);
		take(m, 1, unit, sizeof unit, false);
		assert_over(&m->end[1], ERR_MALFORMED, BLAME_GARBAGE, "not-handshake-json");
		assert_int_equal(m->end[1].wire_n, 0);
		meeting_free(m);
	}
}

static void dialler_hears_refusals_and_garbage(void **state)
{
	static const char busy[] = "{\"type\": \"RATE_LIMITED\", \"error\": \"Too many connections\"}";
	static const struct {
		const char *unit;
		size_t n;
		bool text;
		enum err err;
		enum session_blame blame;
		const char *word;
	} rows[] = {
		{busy, sizeof busy - 1, true, ERR_AGAIN, BLAME_REMOTE, "Too many connections"},
		{"", 0, true, ERR_SHORT, BLAME_GARBAGE, NULL},
		{"PRIVET", 6, true, ERR_MALFORMED, BLAME_GARBAGE, "not-handshake-json"},
		{"\xe7", 1, false, ERR_MALFORMED, BLAME_GARBAGE, "not-handshake-json"},
		{"{\"type\": \"SKIP_OFFER\"}", 22, true, ERR_UNSUPPORTED, BLAME_GARBAGE, "skip-offer"},
		{"{\"type\": \"PASSPHRASE_CHALLENGE\"}", 32, true, ERR_MALFORMED, BLAME_GARBAGE, "not-a-challenge"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		for (int pinned = 0; pinned < 2; pinned++) {
			struct meeting *m = meet_pinned(BOTH, BOTH, pinned);
			const struct seen *o;

			take(m, 0, rows[i].unit, rows[i].n, rows[i].text);
			o = end_last(&m->end[0], SESSION_EV_OVER);
			assert_non_null(o);
			assert_over(&m->end[0], i == 1 ? o->err : rows[i].err, rows[i].blame, rows[i].word);
			assert_int_equal(m->end[0].wire_n, 0);
			meeting_free(m);
		}
}

/* --- before the choice ---------------------------------------------------------------------------------------- */
static void undecided_it_is_a_session_in_its_handshake(void **state)
{
	for (int who = 0; who < 2; who++) {
		struct meeting *m = meet(BOTH, BOTH);
		struct end *e = &m->end[who];
		struct message msg = test_message("1", "x");
		uint8_t era[8] = {0};

		end_forget(e);
		assert_false(session_online(e->s));
		assert_false(session_over(e->s));
		assert_false(session_can_send(e->s));
		assert_false(im2_is_link(e->s));
		assert_ptr_equal(opening_settle(e->s), e->s);
		assert_int_equal(session_send(e->s, &msg), ERR_WRONG_STATE);
		assert_int_equal(session_send_receipts(e->s, NULL, 0), ERR_WRONG_STATE);
		assert_int_equal(session_ping(e->s), ERR_WRONG_STATE);
		assert_int_equal(session_goodbye(e->s), ERR_WRONG_STATE);
		assert_int_equal(session_rekey(e->s), ERR_WRONG_STATE);
		assert_int_equal(session_rate_limited(e->s), ERR_WRONG_STATE);
		assert_int_equal(session_key_rotate(e->s, keyring_ed(m->n[0].k)), ERR_WRONG_STATE);
		assert_int_not_equal(session_seen(e->s, era, 1), ERR_OK);
		session_admit(e->s);
		session_refuse(e->s, ERR_DENIED, "no");
		session_start(e->s); /* once is enough */
		end_drain(e);
		assert_int_equal(e->wire_n, 0);
		assert_int_equal(e->log_n, 0);
		assert_non_null(session_peer(e->s));
		assert_int_equal(session_deadline_ms(e->s), m->e.now_ms + 5000);
		penv_pass(&m->e, 4999);
		session_tick(e->s);
		assert_false(session_over(e->s));
		penv_pass(&m->e, 1);
		session_tick(e->s);
		end_drain(e);
		assert_over(e, ERR_TIMEOUT, BLAME_GARBAGE, "handshake-timeout");
		uint8_t x1[50] = {0x52, 1};
		take(m, who, x1, sizeof x1, false); /* too late */
		assert_int_equal(e->wire_n, 0);
		assert_false(im2_is_link(e->s));
		meeting_free(m);
	}
}

/* A slow listener does not give the dialler's 0.9 handshake a second life. */
static void the_choice_does_not_restart_the_clock(void **state)
{
	struct meeting *m = meet(BOTH, ONLY_09);
	struct said u = end_pop(&m->end[1]);
	uint64_t end = m->e.now_ms + 5000;

	penv_pass(&m->e, 4000);
	take(m, 0, u.p, u.n, true);
	free(u.p);
	assert_int_equal(session_deadline_ms(m->end[0].s), end);
	meeting_free(m);
}

/* Owners that do not settle are served too. */
static void it_forwards_without_being_settled(void **state)
{
	for (int im2 = 0; im2 < 2; im2++) {
		struct meeting *m = meet(BOTH, im2 ? BOTH : ONLY_09);

		while (m->end[0].wire_n || m->end[1].wire_n) {
			int from = m->end[0].wire_n ? 0 : 1;
			struct said u = end_pop(&m->end[from]);

			end_take(&m->end[!from], u.p, u.n, u.text);
			free(u.p);
		}
		assert_true(session_online(m->end[0].s) && session_online(m->end[1].s));
		assert_string_equal(session_peer(m->end[0].s)->generation, im2 ? "im2" : "0.9");
		assert_int_equal(session_ping(m->end[0].s), ERR_OK);
		assert_int_not_equal(session_deadline_ms(m->end[0].s), 0);
		meeting_free(m);
	}
}

static void a_context_that_is_too_long_is_refused(void **state)
{
	struct meeting *m = meet(BOTH, BOTH);
	uint8_t big[33] = {0};
	struct session *s;

	for (int who = 0; who < 2; who++)
		for (int cb = 0; cb < 2; cb++) {
			struct opening_config c = {
				.v09 = test_config(&m->e, m->n[who].k, who ? SESSION_LISTENER : SESSION_DIALLER),
				.im2 = m->n[who].host,
				.link = {.transport = IM2_RNS_LINK},
			};

			*(cb ? &c.link.cb : &c.link.chan) = BYTES_ARR(big);
			assert_int_equal(opening_new(&c, &s), ERR_LIMIT);
		}
	meeting_free(m);
}

/* Who waits for an S1 that nobody sends waits for ever: both generations at once need a listener that speaks first. */
static void a_transport_without_s1_is_refused(void **state)
{
	static const uint8_t all[] = {IM2_LOOPBACK, IM2_RNS_LINK, IM2_RNS_PACKET, IM2_SERIAL};
	struct meeting *m = meet(BOTH, BOTH);
	struct session *s;

	assert_true(im2_has_s1(IM2_WEBSOCKET));
	for (size_t i = 0; i < sizeof all; i++)
		for (int who = 0; who < 2; who++)
			for (int require = 0; require < 2; require++) {
				struct opening_config c = {
					.v09 = test_config(&m->e, m->n[who].k,
							   who ? SESSION_LISTENER : SESSION_DIALLER),
					.im2 = m->n[who].host,
					.require = require,
					.link = {.transport = all[i]},
				};

				assert_false(im2_has_s1(all[i]));
				assert_int_equal(opening_new(&c, &s), ERR_UNSUPPORTED);
			}
	meeting_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(generations_are_chosen_as_the_table_says),
		cmocka_unit_test(messages_cross_in_what_was_chosen),
		cmocka_unit_test(first_units_are_those_of_the_section),
		cmocka_unit_test(stripped_suites_are_refused_by_who_knows_better),
		cmocka_unit_test(stripped_suites_show_in_the_marks),
		cmocka_unit_test(added_suites_lead_nowhere),
		cmocka_unit_test(edited_offers_fail_in_the_handshake),
		cmocka_unit_test(listener_decides_by_the_first_byte),
		cmocka_unit_test(a_0_9_listener_refuses_units_of_im2),
		cmocka_unit_test(dialler_hears_refusals_and_garbage),
		cmocka_unit_test(undecided_it_is_a_session_in_its_handshake),
		cmocka_unit_test(the_choice_does_not_restart_the_clock),
		cmocka_unit_test(it_forwards_without_being_settled),
		cmocka_unit_test(a_context_that_is_too_long_is_refused),
		cmocka_unit_test(a_transport_without_s1_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
