#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "protocol/im2/handshake_internal.h"
#include "tests/lib/protocol_pairing.h"

static struct vectors v;
static struct people people;

static int load(void **state)
{
	if (secret_init_library() != ERR_OK)
		return -1;
	vectors_load(&v, "tests/vectors/im2_handshake.txt");
	people_load(&people, &v);
	return 0;
}

static int unload(void **state)
{
	people_free(&people);
	vectors_free(&v);
	return 0;
}

static void assert_nothing_came_of_it(const struct user *u)
{
	assert_int_equal(u->paired, 0);
	assert_int_equal(u->grants, 0);
	assert_int_equal(u->granted, 0);
	assert_int_equal(u->overs, 1);
	assert_int_not_equal(u->over.err, ERR_OK);
}

/* --- codes --- */

static void codes_are_read_strictly(void **state)
{
	char d[IM2_CODE_DIGITS];
	static const char *const bad[] = {"",	       "42-307-91",   "42-307-9155", "423-07-915",
					  "4230791",   "423079155",   "42 307 915",  "42-307-91a",
					  "42-3o7-915", "-2-307-915", "42-307+915"};

	assert_int_equal(im2_code_parse(BYTES_LIT("42-307-915"), d), ERR_OK);
	assert_memory_equal(d, "42307915", 8);
	assert_int_equal(im2_code_parse(BYTES_LIT("00000001"), d), ERR_OK);
	assert_memory_equal(d, "00000001", 8);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(im2_code_parse(bytes_str(bad[i]), d), ERR_MALFORMED);
	assert_memory_equal(d, "00000001", 8);
}

static void a_command_draws_five_codes(void **state)
{
	char text[5][IM2_CODE_TEXT];
	struct im2_offer o = {0};
	struct penv e;

	penv_init(&e);
	for (int i = 0; i < IM2_CODES_MAX; i++) {
		assert_int_equal(im2_offer_draw(&o, &e.env), ERR_OK);
		assert_int_equal(o.until_ms, e.now_ms + 120000);
		im2_offer_text(&o, text[i]);
		assert_int_equal(strlen(text[i]), 10);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(text[i], text[j]);
	}
	assert_int_equal(im2_offer_draw(&o, &e.env), ERR_LIMIT);
	assert_false(o.live);
	assert_true(is_zero(o.digits, sizeof o.digits));
}

/* --- by code --- */

static void a_code_pairs_and_hands_on_the_mesh_key(void **state)
{
	struct room r;

	room_init(&r, &people, false);
	room_open(&r);
	room_talk(&r, &r.p, &r.q);
	assert_int_equal(r.p.paired, 1);
	assert_int_equal(r.q.paired, 1);
	assert_memory_equal(r.p.psk, r.q.psk, 32);
	/* What is stored before the unit that depends on it leaves is the same psk. */
	assert_memory_equal(r.p.admitted_psk, r.p.psk, 32);
	assert_memory_equal(r.q.admitted_psk, r.q.psk, 32);
	assert_memory_equal(r.p.peer_ed, keyring_ed(people.alice), 32);
	assert_memory_equal(r.q.peer_ed, keyring_ed(people.bob), 32);
	assert_int_equal(r.q.grants, 1);
	assert_int_equal(r.q.secret_n, 32);
	assert_memory_equal(r.q.secret, room_mesh_key, 32);
	assert_int_equal(r.p.granted, 1);
	assert_int_equal(r.p.overs, 1);
	assert_int_equal(r.q.overs, 1);
	assert_int_equal(r.p.over.err, ERR_OK);
	assert_int_equal(r.q.over.err, ERR_OK);
	assert_true(r.p.over.guess_used);
	assert_int_equal(im2_pair_deadline_ms(r.p.p), UINT64_MAX);
	room_fini(&r);
}

static void only_one_with_two_moves_a_credential(void **state)
{
	for (unsigned i = 0; i < 9; i++) {
		uint8_t p_role = (uint8_t)(i / 3), q_role = (uint8_t)(i % 3);
		unsigned moves = (p_role == 1 && q_role == 2) || (p_role == 2 && q_role == 1);
		struct room r;

		room_init(&r, &people, false);
		r.p.c.hello.pair_role = p_role;
		r.q.c.hello.pair_role = q_role;
		r.q.c.grant = &r.grant;
		room_open(&r);
		room_talk(&r, &r.p, &r.q);
		assert_int_equal(r.p.paired + r.q.paired, 2);
		assert_int_equal(r.p.grants + r.q.grants, moves);
		assert_int_equal(r.p.granted + r.q.granted, moves);
		assert_int_equal(r.p.over.err, ERR_OK);
		assert_int_equal(r.q.over.err, ERR_OK);
		assert_int_equal(r.p.overs + r.q.overs, 2);
		room_fini(&r);
	}
}

static void a_wrong_code_costs_the_code_and_tells_nothing(void **state)
{
	struct room r;

	room_init(&r, &people, false);
	r.q.c.digits[7] = r.q.c.digits[7] == '9' ? '0' : (char)(r.q.c.digits[7] + 1);
	room_open(&r);
	room_talk(&r, &r.p, &r.q);
	assert_nothing_came_of_it(&r.q);
	assert_int_equal(r.q.over.why, IM2_E_AEAD);
	assert_int_equal(r.q.wire_n, 0); /* without a word */
	assert_false(r.offer.live);
	assert_true(is_zero(r.offer.digits, sizeof r.offer.digits));
	assert_int_equal(r.p.overs, 0);
	room_pass(&r, 5000);
	assert_nothing_came_of_it(&r.p);
	assert_int_equal(r.p.over.err, ERR_TIMEOUT);
	assert_true(r.p.over.guess_used);
	assert_int_equal(r.p.peers, 0);
	room_fini(&r);
}

static void the_second_guess_gets_err_10(void **state)
{
	struct room r;
	struct user first;

	room_init(&r, &people, false);
	r.q.admits = YES;
	user_open(&r.p);
	/* The first dialler takes X2 and says no more; the code is gone with it. */
	memset(&first, 0, sizeof first);
	first.c = r.q.c;
	memset(first.c.digits, '0', 8);
	user_open(&first);
	room_talk(&r, &r.p, &first);
	user_close(&first);
	user_close(&r.p);
	/* The second one has the right code, on a connection of its own. */
	memset(&r.p.over, 0, sizeof r.p.over);
	user_open(&r.p);
	user_open(&r.q);
	room_talk(&r, &r.p, &r.q);
	assert_nothing_came_of_it(&r.q);
	assert_int_equal(r.q.over.code, IM2_ERR_CODE_USED);
	assert_int_equal(r.q.over.err, ERR_DENIED);
	assert_nothing_came_of_it(&r.p);
	assert_false(r.p.over.guess_used);
	room_fini(&r);
}

static void two_at_once_have_one_guess_together(void **state)
{
	struct room r;
	struct user other_p = {0}, other_q = {0};

	room_init(&r, &people, false);
	other_p.c = r.p.c;
	other_q.c = r.q.c;
	room_open(&r);
	user_open(&other_p);
	user_open(&other_q);
	room_hand(&r, &r.p, &r.q);
	room_hand(&r, &other_p, &other_q);
	room_hand(&r, &other_q, &other_p); /* the first X1 to arrive */
	room_hand(&r, &r.q, &r.p);
	room_talk(&r, &r.p, &r.q);
	assert_int_equal(r.q.over.code, IM2_ERR_CODE_USED);
	room_talk(&r, &other_p, &other_q);
	assert_int_equal(other_q.paired, 1);
	user_close(&other_p);
	user_close(&other_q);
	room_fini(&r);
}

static void an_old_code_is_no_code(void **state)
{
	struct room r;

	room_init(&r, &people, false);
	r.e.now_ms += 120000;
	room_open(&r);
	room_talk(&r, &r.p, &r.q);
	assert_int_equal(r.q.over.code, IM2_ERR_CODE_USED);
	assert_true(is_zero(r.offer.digits, sizeof r.offer.digits));
	room_fini(&r);
}

/* One connection to each, the guess of the middle at both: nobody learns a thing, nobody is paired. */
static void a_man_in_the_middle_without_the_code_fails_at_both(void **state)
{
	struct im2_offer guess = {.live = true, .digits = "00000000", .until_ms = UINT64_MAX};
	struct room r;
	struct user m_to_p = {0}, m_to_q = {0};

	room_init(&r, &people, false);
	m_to_p.c = r.q.c;
	m_to_p.c.keyring = people.carol;
	memcpy(m_to_p.c.digits, guess.digits, 8);
	m_to_q.c = r.p.c;
	m_to_q.c.keyring = people.carol;
	m_to_q.c.offer = &guess;
	room_open(&r);
	user_open(&m_to_p);
	user_open(&m_to_q);
	room_talk(&r, &r.p, &m_to_p);
	room_talk(&r, &m_to_q, &r.q);
	assert_int_equal(m_to_p.over.why, IM2_E_AEAD);
	assert_nothing_came_of_it(&r.q);
	assert_int_equal(r.q.over.why, IM2_E_AEAD);
	assert_int_equal(r.q.peers, 0);
	room_pass(&r, 5000);
	assert_nothing_came_of_it(&r.p);
	assert_int_equal(r.p.peers, 0);
	assert_int_equal(m_to_q.peers, 0);
	user_close(&m_to_p);
	user_close(&m_to_q);
	room_fini(&r);
}

/* Units handed through unchanged pair the two ends, and the middle has nothing. But for the other S1. */
static void another_s1_fails(void **state)
{
	struct room r;

	room_init(&r, &people, false);
	room_open(&r);
	r.p.wire[0].p[5] ^= 1;
	room_talk(&r, &r.p, &r.q);
	assert_nothing_came_of_it(&r.q);
	assert_int_equal(r.q.over.why, IM2_E_AEAD);
	room_fini(&r);
}

static void who_is_refused_hears_err_5(void **state)
{
	struct room r;

	room_init(&r, &people, false);
	r.p.admits = NO;
	room_open(&r);
	room_talk(&r, &r.p, &r.q);
	assert_nothing_came_of_it(&r.p);
	assert_nothing_came_of_it(&r.q);
	assert_int_equal(r.q.over.code, IM2_ERR_DENIED);
	assert_int_equal(r.q.peers, 0); /* the listener did not name itself */
	room_fini(&r);

	room_init(&r, &people, false);
	r.q.admits = NO;
	room_open(&r);
	room_talk(&r, &r.p, &r.q);
	assert_nothing_came_of_it(&r.p);
	assert_int_equal(r.p.over.err, ERR_CLOSED);
	assert_nothing_came_of_it(&r.q);
	room_fini(&r);
}

static void the_vector_of_the_code(void **state)
{
	const char *part = "pair_code";
	uint8_t l[32 + 4 + 64 + 32] = {0}, d[4 + 16 + 64 + 32] = {0};
	struct bytes s1 = vector(&v, part, "S1");
	char text[IM2_CODE_TEXT];
	struct room r;

	room_init(&r, &people, false);
	memcpy(r.offer.digits, vector(&v, part, "digits_text").p, 8);
	im2_offer_text(&r.offer, text);
	assert_memory_equal(text, vector(&v, part, "code_text").p, 10);
	memcpy(r.q.c.digits, r.offer.digits, 8);
	assert_int_equal(im2_hello_read(vector(&v, part, "payload_server"), IM2_UNIT_X4,
					IM2_MODE_CODE, 1, &r.p.c.hello),
			 IM2_FINE);
	assert_int_equal(im2_hello_read(vector(&v, part, "payload_client"), IM2_UNIT_X3,
					IM2_MODE_CODE, 1, &r.q.c.hello),
			 IM2_FINE);
	memcpy(l, s1.p + 2, 32);
	memcpy(l + 32, r.p.c.hello.rx, 4);
	memcpy(l + 36, vector(&v, part, "b").p, 32);
	memcpy(l + 100, vector(&v, part, "e_server").p, 32);
	memcpy(d, r.q.c.hello.rx, 4);
	memcpy(d + 4, vector(&v, part, "nonce_c").p, 16);
	memcpy(d + 20, vector(&v, part, "a").p, 32);
	memcpy(d + 84, vector(&v, part, "e_client").p, 32);
	r.l_chance.script = l;
	r.l_chance.script_left = sizeof l;
	r.d_chance.script = d;
	r.d_chance.script_left = sizeof d;
	room_open(&r);
	room_talk(&r, &r.p, &r.q);
	static const char *const units[] = {"S1", "X1", "X2", "X3", "X4"};
	for (size_t i = 0; i < 5; i++) {
		struct bytes u = vector(&v, part, units[i]);

		assert_int_equal(r.log[i].n, u.n);
		assert_memory_equal(r.log[i].p, u.p, u.n);
	}
	assert_memory_equal(r.p.psk, vector(&v, part, "session.pair_psk").p, 32);
	assert_memory_equal(r.q.psk, vector(&v, part, "session.pair_psk").p, 32);
	room_fini(&r);
}

static void unwanted_first_units_are_answered(void **state)
{
	static const struct {
		const char *unit;
		bool sas;
		uint8_t code;
	} cases[] = {
		{"52030000000000000000000000000000000000", false, IM2_ERR_MALFORMED},
		{"520300000000000000000000000000000000", false, IM2_ERR_BAD_MODE},
		{"520100000000000000000000000000000000"
		 "2c3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c",
		 false, IM2_ERR_BAD_MODE},
		{"520200000000000000000000000000000000"
		 "2c3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c",
		 true, IM2_ERR_BAD_MODE},
		{"520200000000000000000000000000000000"
		 "0000000000000000000000000000000000000000000000000000000000000000",
		 false, IM2_ERR_FAILED},
		{"5601", false, IM2_ERR_MALFORMED},
		{"", false, IM2_ERR_MALFORMED},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t u[64];
		size_t n = strlen(cases[i].unit) / 2;
		struct room r;

		room_init(&r, &people, cases[i].sas);
		test_unhex(cases[i].unit, u, n);
		user_open(&r.p);
		buf_fini(&r.p.wire[--r.p.wire_n]);
		im2_pair_take(r.p.p, bytes_of(u, n));
		user_drain(&r.p);
		assert_nothing_came_of_it(&r.p);
		assert_int_equal(r.p.wire_n, 1);
		assert_int_equal(r.p.wire[0].p[0], IM2_UNIT_ERR);
		assert_int_equal(r.p.wire[0].p[1], cases[i].code);
		assert_false(r.p.over.guess_used);
		/* No X2 left: the guess was not spent. */
		assert_int_equal(r.offer.live, !cases[i].sas);
		room_fini(&r);
	}
}

/* --- the credential --- */

static void grant_is_repeated_until_it_is_stored(void **state)
{
	struct room r;

	room_init(&r, &people, false);
	r.q.stores = LATER;
	room_open(&r);
	room_talk(&r, &r.p, &r.q);
	assert_int_equal(r.q.grants, 1);
	for (int i = 1; i < 6; i++) {
		assert_int_equal(r.p.wire_n, 0);
		room_pass(&r, 4999);
		assert_int_equal(r.p.wire_n, 0);
		room_pass(&r, 1);
		assert_int_equal(r.p.wire_n, 1);
		room_talk(&r, &r.p, &r.q);
		assert_int_equal(r.q.grants, 1); /* the first is still being stored */
		assert_int_equal(r.p.overs, 0);
	}
	im2_pair_grant_stored(r.q.p);
	user_drain(&r.q);
	room_talk(&r, &r.p, &r.q);
	assert_int_equal(r.p.granted, 1);
	assert_int_equal(r.p.over.err, ERR_OK);
	assert_int_equal(r.q.over.err, ERR_OK);
	room_fini(&r);
}

static void a_lost_grantack_is_said_again(void **state)
{
	struct room r;

	room_init(&r, &people, false);
	room_open(&r);
	while (r.q.grants == 0) {
		if (r.p.wire_n)
			room_hand(&r, &r.p, &r.q);
		else
			room_hand(&r, &r.q, &r.p);
	}
	struct buf lost = user_pop(&r.q);
	buf_fini(&lost);
	room_pass(&r, 5000);
	room_talk(&r, &r.p, &r.q);
	assert_int_equal(r.q.grants, 1);
	assert_int_equal(r.p.granted, 1);
	assert_int_equal(r.q.over.err, ERR_OK);
	room_fini(&r);
}

static void grant_gives_up_after_six_times(void **state)
{
	struct room r;
	unsigned said = 0;

	room_init(&r, &people, false);
	room_open(&r);
	while (r.p.paired == 0) {
		if (r.p.wire_n)
			room_hand(&r, &r.p, &r.q);
		else
			room_hand(&r, &r.q, &r.p);
	}
	while (r.p.overs == 0) {
		while (r.p.wire_n) {
			struct buf lost = user_pop(&r.p);

			buf_fini(&lost);
			said++;
		}
		r.e.now_ms += 5000;
		im2_pair_tick(r.p.p);
		user_drain(&r.p);
	}
	assert_int_equal(said, 6);
	assert_int_equal(r.p.over.err, ERR_TIMEOUT);
	assert_int_equal(r.p.paired, 1);
	room_pass(&r, 60000);
	assert_int_equal(r.q.over.err, ERR_TIMEOUT);
	assert_int_equal(r.q.paired, 1);
	room_fini(&r);
}

static void records_stay_behind_when_the_unit_is_small(void **state)
{
	struct room r;
	uint8_t record[15000] = {1};
	struct buf list;

	buf_init(&list, 1 << 20);
	for (int i = 0; i < 8; i++)
		im2_lv_add(&list, BYTES_ARR(record));
	for (int small = 0; small < 2; small++) {
		room_init(&r, &people, false);
		r.grant.records = buf_bytes(&list);
		if (small)
			r.q.c.hello.max_unit = 0; /* 65,536 */
		room_open(&r);
		room_talk(&r, &r.p, &r.q);
		assert_int_equal(r.q.grants, 1);
		assert_int_equal(r.q.records_n, (small ? 4 : 8) * (sizeof record + 2));
		assert_int_equal(r.p.over.err, ERR_OK);
		for (size_t i = 0; small && i < r.log_n; i++)
			assert_true(r.log[i].n <= 65536);
		room_fini(&r);
	}
	/* Too small for the key itself. */
	room_init(&r, &people, false);
	r.q.c.hello.max_unit = 64;
	room_open(&r);
	room_talk(&r, &r.p, &r.q);
	assert_int_equal(r.p.over.err, ERR_LIMIT);
	assert_int_equal(r.q.over.err, ERR_CLOSED);
	room_fini(&r);
	buf_fini(&list);
}

static void grants_match_the_vector(void **state)
{
	struct bytes mk = vector(&v, "mesh_key", "mesh_key");
	struct im2_grant_offer g = {.kind = IM2_GRANT_MESH_KEY,
				    .mesh = BYTES_LIT("default"),
				    .secret = mk}, back;
	struct bytes whole = vector(&v, "pair_sas", "grant");
	struct secret s;

	assert_int_equal(im2_grant_read(whole, &back), IM2_FINE);
	assert_int_equal(back.disc.n, 32);
	g.disc = back.disc;
	assert_int_equal(im2_grant_write(&g, IM2_GRANT_MAX, &s), ERR_OK);
	assert_int_equal(s.n, whole.n);
	assert_memory_equal(s.p, whole.p, whole.n);
	secret_free(&s);
	assert_int_equal(im2_grant_write(&g, whole.n - 1, &s), ERR_LIMIT);
	for (size_t n = 0; n < whole.n; n++)
		if (n != 46) /* there the optional disc begins */
			assert_int_not_equal(im2_grant_read(bytes_of(whole.p, n), &back), IM2_FINE);
	g.secret.n = 31;
	assert_int_equal(im2_grant_write(&g, IM2_GRANT_MAX, &s), ERR_USAGE);
	g.kind = IM2_GRANT_PASSPHRASE;
	assert_int_equal(im2_grant_write(&g, IM2_GRANT_MAX, &s), ERR_OK);
	secret_free(&s);
	g.kind = 3;
	assert_int_equal(im2_grant_write(&g, IM2_GRANT_MAX, &s), ERR_USAGE);
	/* kind 1 with a secret that is no mesh key */
	assert_int_equal(im2_grant_read(BYTES_LIT("\x01\x01\x01\x03\x02xx"), &back), IM2_E_LENGTH);
}

/* --- who may say what --- */

static void assert_refused(const struct user *u, enum im2_refusal why)
{
	assert_int_equal(u->overs, 1);
	assert_int_equal(u->over.why, why);
	assert_int_equal(u->grants, 0);
	assert_int_equal(u->granted, 0);
}

static void a_grant_out_of_role_is_refused(void **state)
{
	struct bytes grant = vector(&v, "pair_sas", "grant");
	struct crafted n;
	struct room r;

	/* We want nothing. */
	room_init(&r, &people, false);
	r.q.c.hello.pair_role = IM2_PAIR_PIN_ONLY;
	crafted_listens(&n, &r, IM2_PAIR_GRANTS);
	assert_int_equal(r.q.paired, 1);
	crafted_item(&n, &r.q, IM2_ITEM_GRANT, grant);
	assert_refused(&r.q, IM2_E_CONTEXT);
	room_fini(&r);
	/* It said that it grants nothing. */
	for (uint8_t role = 0; role <= 2; role += 2) {
		room_init(&r, &people, false);
		crafted_listens(&n, &r, role);
		crafted_item(&n, &r.q, IM2_ITEM_GRANT, grant);
		assert_refused(&r.q, IM2_E_CONTEXT);
		room_fini(&r);
	}
	/* We are the one who grants. */
	room_init(&r, &people, false);
	crafted_dials(&n, &r, IM2_PAIR_WANTS);
	crafted_item(&n, &r.p, IM2_ITEM_GRANT, grant);
	assert_refused(&r.p, IM2_E_CONTEXT);
	assert_int_equal(r.p.paired, 1);
	room_fini(&r);
	/* Before the users agreed. */
	room_init(&r, &people, true);
	crafted_listens(&n, &r, IM2_PAIR_GRANTS);
	crafted_item(&n, &r.q, IM2_ITEM_GRANT, grant);
	assert_refused(&r.q, IM2_E_CONTEXT);
	assert_int_equal(r.q.paired, 0);
	room_fini(&r);
	/* A grant that is none. */
	room_init(&r, &people, false);
	crafted_listens(&n, &r, IM2_PAIR_GRANTS);
	crafted_item(&n, &r.q, IM2_ITEM_GRANT, BYTES_LIT("\x01\x01\x01\x03\x02xx"));
	assert_refused(&r.q, IM2_E_LENGTH);
	room_fini(&r);
	/* An acknowledgement of nothing. */
	room_init(&r, &people, false);
	crafted_listens(&n, &r, IM2_PAIR_GRANTS);
	crafted_item(&n, &r.q, IM2_ITEM_GRANTACK, bytes_of(NULL, 0));
	assert_refused(&r.q, IM2_E_CONTEXT);
	room_fini(&r);
}

static void other_items_are_not_served_here(void **state)
{
	uint8_t ping[8] = {1};
	struct crafted n;
	struct room r;

	room_init(&r, &people, false);
	crafted_listens(&n, &r, IM2_PAIR_GRANTS);
	struct buf first = user_pop(&r.q); /* the frame that confirms */
	buf_fini(&first);
	crafted_item(&n, &r.q, IM2_ITEM_PING, BYTES_ARR(ping));
	assert_int_equal(r.q.wire_n, 1);
	assert_int_equal(r.q.wire[0].n, IM2_FRAME_OVERHEAD + 10);
	crafted_item(&n, &r.q, 1001, bytes_of(NULL, 0)); /* odd and unknown: an ITEMERR */
	assert_int_equal(r.q.wire_n, 2);
	crafted_item(&n, &r.q, 1000, bytes_of(NULL, 0)); /* even and unknown: skipped */
	assert_int_equal(r.q.wire_n, 2);
	crafted_item(&n, &r.q, IM2_ITEM_MSG, bytes_of(NULL, 0));
	assert_int_equal(r.q.wire_n, 3);
	assert_int_equal(r.q.overs, 0);
	crafted_item(&n, &r.q, IM2_ITEM_SAS, BYTES_LIT("\x01\x01\x04\x03\x00"));
	assert_refused(&r.q, IM2_E_CONTEXT);
	room_fini(&r);
	/* A list that does not parse. */
	room_init(&r, &people, false);
	crafted_listens(&n, &r, IM2_PAIR_GRANTS);
	crafted_frame(&n, &r.q, BYTES_LIT("\x00\x01"));
	assert_refused(&r.q, IM2_E_PAD);
	room_fini(&r);
}

static void frames_that_do_not_open_have_no_effect(void **state)
{
	struct crafted n;
	struct room r;
	struct buf u;

	room_init(&r, &people, false);
	crafted_dials(&n, &r, IM2_PAIR_WANTS);
	buf_init(&u, 4096);
	assert_int_equal(im2_frame_build(&n.tx, bytes_of(NULL, 0), 0, &u), ERR_OK);
	for (size_t bit = 8; bit < 8 * u.n; bit++) {
		u.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		im2_pair_take(r.p.p, buf_bytes(&u));
		user_drain(&r.p);
		u.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t i = 1; i < u.n; i++)
		im2_pair_take(r.p.p, bytes_of(u.p, i));
	user_drain(&r.p);
	assert_int_equal(r.p.paired + r.p.overs, 0);
	im2_pair_take(r.p.p, buf_bytes(&u));
	user_drain(&r.p);
	assert_int_equal(r.p.paired, 1);
	size_t said = r.p.wire_n;
	im2_pair_take(r.p.p, buf_bytes(&u)); /* again */
	user_drain(&r.p);
	assert_int_equal(r.p.paired, 1);
	assert_int_equal(r.p.wire_n, said);
	/* Nor does an authentic one that comes twice. */
	buf_reset(&u);
	struct buf ping;
	buf_init(&ping, 64);
	im2_item_add(&ping, IM2_ITEM_PING, BYTES_LIT("12345678"));
	assert_int_equal(im2_frame_build(&n.tx, buf_bytes(&ping), ping.n, &u), ERR_OK);
	for (int i = 0; i < 3; i++) {
		im2_pair_take(r.p.p, buf_bytes(&u));
		user_drain(&r.p);
	}
	assert_int_equal(r.p.wire_n, said + 1);
	buf_fini(&ping);
	buf_fini(&u);
	room_fini(&r);
}

/* --- time and ends --- */

static void every_step_of_the_handshake_has_an_end(void **state)
{
	for (int units = 0; units <= 5; units++) {
		struct room r;

		room_init(&r, &people, false);
		room_open(&r);
		for (int i = 0; i < units; i++) {
			if (r.p.wire_n)
				room_hand(&r, &r.p, &r.q);
			else
				room_hand(&r, &r.q, &r.p);
		}
		while (r.p.wire_n)
			buf_fini(&r.p.wire[--r.p.wire_n]);
		while (r.q.wire_n)
			buf_fini(&r.q.wire[--r.q.wire_n]);
		for (int i = 0; i < 30; i++) {
			room_pass(&r, 5000);
			while (r.p.wire_n)
				buf_fini(&r.p.wire[--r.p.wire_n]);
			while (r.q.wire_n)
				buf_fini(&r.q.wire[--r.q.wire_n]);
		}
		assert_int_equal(r.p.overs, 1);
		assert_int_equal(r.q.overs, 1);
		assert_int_not_equal(r.p.over.err, ERR_OK);
		if (units < 5)
			assert_int_equal(r.p.paired + r.q.paired, 0);
		room_fini(&r);
	}
}

static void what_cannot_be_opened_is_said_at_once(void **state)
{
	struct im2_pair *p;
	struct room r;

	room_init(&r, &people, false);
	r.p.c.grant = NULL;
	assert_int_equal(im2_pair_new(&r.p.c, &p), ERR_USAGE);
	r.p.c.grant = &r.grant;
	r.p.c.offer = NULL;
	assert_int_equal(im2_pair_new(&r.p.c, &p), ERR_USAGE);
	r.p.c.sas = true;
	r.grant.secret.n = 5;
	assert_int_equal(im2_pair_new(&r.p.c, &p), ERR_USAGE);
	im2_pair_free(NULL);
	room_fini(&r);
}

static void an_error_unit_later_is_no_error(void **state)
{
	uint8_t err[] = {IM2_UNIT_ERR, IM2_ERR_DENIED};
	struct crafted n;
	struct room r;

	room_init(&r, &people, false);
	crafted_listens(&n, &r, IM2_PAIR_GRANTS);
	im2_pair_take(r.q.p, BYTES_ARR(err)); /* anybody can forge it */
	user_drain(&r.q);
	assert_int_equal(r.q.overs, 0);
	im2_pair_close(r.q.p);
	user_drain(&r.q);
	assert_int_equal(r.q.over.err, ERR_CLOSED);
	assert_int_equal(r.q.paired, 1);
	room_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(codes_are_read_strictly),
		cmocka_unit_test(a_command_draws_five_codes),
		cmocka_unit_test(a_code_pairs_and_hands_on_the_mesh_key),
		cmocka_unit_test(only_one_with_two_moves_a_credential),
		cmocka_unit_test(a_wrong_code_costs_the_code_and_tells_nothing),
		cmocka_unit_test(the_second_guess_gets_err_10),
		cmocka_unit_test(two_at_once_have_one_guess_together),
		cmocka_unit_test(an_old_code_is_no_code),
		cmocka_unit_test(a_man_in_the_middle_without_the_code_fails_at_both),
		cmocka_unit_test(another_s1_fails),
		cmocka_unit_test(who_is_refused_hears_err_5),
		cmocka_unit_test(the_vector_of_the_code),
		cmocka_unit_test(unwanted_first_units_are_answered),
		cmocka_unit_test(grant_is_repeated_until_it_is_stored),
		cmocka_unit_test(a_lost_grantack_is_said_again),
		cmocka_unit_test(grant_gives_up_after_six_times),
		cmocka_unit_test(records_stay_behind_when_the_unit_is_small),
		cmocka_unit_test(grants_match_the_vector),
		cmocka_unit_test(a_grant_out_of_role_is_refused),
		cmocka_unit_test(other_items_are_not_served_here),
		cmocka_unit_test(frames_that_do_not_open_have_no_effect),
		cmocka_unit_test(every_step_of_the_handshake_has_an_end),
		cmocka_unit_test(what_cannot_be_opened_is_said_at_once),
		cmocka_unit_test(an_error_unit_later_is_no_error),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
