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

static void assert_refused(const struct user *u, enum im2_refusal why)
{
	assert_int_equal(u->overs, 1);
	assert_int_equal(u->over.why, why);
	assert_int_equal(u->grants, 0);
	assert_int_equal(u->granted, 0);
}

static void compared_digits_pair(void **state)
{
	struct room r;

	room_init(&r, &people, true);
	room_open(&r);
	room_talk(&r, &r.p, &r.q);
	assert_int_equal(r.p.compares, 1);
	assert_int_equal(r.q.compares, 1);
	assert_string_equal(r.p.digits, r.q.digits);
	assert_int_equal(r.p.paired + r.q.paired, 2);
	assert_memory_equal(r.p.psk, r.q.psk, 32);
	/* Nothing to be stored before. */
	assert_true(is_zero(r.p.admitted_psk, 32) && is_zero(r.q.admitted_psk, 32));
	assert_int_equal(r.q.grants, 1);
	assert_int_equal(r.p.granted, 1);
	assert_int_equal(r.p.over.err, ERR_OK);
	assert_int_equal(r.q.over.err, ERR_OK);
	assert_false(r.p.over.guess_used);
	room_fini(&r);
}

static void a_peer_who_grants_may_be_slow_to_look(void **state)
{
	struct room r;
	uint8_t psk[32];

	/* The commitment comes while the dialler's owner still decides. */
	room_init(&r, &people, true);
	r.q.admits = LATER;
	room_open(&r);
	room_talk(&r, &r.p, &r.q);
	assert_int_equal(r.q.peers, 1);
	assert_int_equal(r.q.compares, 0);
	assert_int_equal(im2_pair_admit(r.q.p, psk), IM2_FINE);
	assert_int_equal(im2_pair_admit(r.q.p, psk), IM2_E_CONTEXT);
	user_drain(&r.q);
	room_talk(&r, &r.p, &r.q);
	assert_int_equal(r.p.paired + r.q.paired, 2);
	room_fini(&r);
}

static void one_yes_is_not_enough(void **state)
{
	for (int who = 0; who < 2; who++) {
		struct room r;

		room_init(&r, &people, true);
		(who ? &r.p : &r.q)->says = LATER;
		room_open(&r);
		room_talk(&r, &r.p, &r.q);
		assert_int_equal(r.p.compares + r.q.compares, 2);
		assert_int_equal(r.p.paired + r.q.paired, 0);
		room_pass(&r, 119999);
		assert_int_equal(r.p.overs + r.q.overs, 0);
		room_pass(&r, 1);
		assert_nothing_came_of_it(&r.p);
		assert_nothing_came_of_it(&r.q);
		im2_pair_verdict((who ? &r.p : &r.q)->p, true); /* too late */
		user_drain(&r.p);
		user_drain(&r.q);
		assert_int_equal(r.p.paired + r.q.paired, 0);
		room_fini(&r);
	}
}

static void one_no_ends_it_for_both(void **state)
{
	for (int who = 0; who < 2; who++) {
		struct room r;

		room_init(&r, &people, true);
		(who ? &r.p : &r.q)->says = NO;
		room_open(&r);
		room_talk(&r, &r.p, &r.q);
		assert_nothing_came_of_it(&r.p);
		assert_nothing_came_of_it(&r.q);
		assert_int_equal((who ? &r.p : &r.q)->over.err, ERR_DENIED);
		assert_int_equal((who ? &r.q : &r.p)->over.err, ERR_CLOSED);
		room_fini(&r);
	}
}

/* The middle shows each side its own digits: they differ, and the users say so. */
static void a_man_in_the_middle_shows_other_digits(void **state)
{
	struct room r;
	struct user m_to_p = {0}, m_to_q = {0};

	room_init(&r, &people, true);
	r.p.says = r.q.says = LATER;
	m_to_p.c = r.q.c;
	m_to_q.c = r.p.c;
	m_to_p.c.keyring = m_to_q.c.keyring = people.carol;
	room_open(&r);
	user_open(&m_to_p);
	user_open(&m_to_q);
	room_talk(&r, &r.p, &m_to_p);
	room_talk(&r, &m_to_q, &r.q);
	assert_int_equal(r.p.compares + r.q.compares, 2);
	assert_string_not_equal(r.p.digits, r.q.digits);
	im2_pair_verdict(r.p.p, false);
	im2_pair_verdict(r.q.p, false);
	user_drain(&r.p);
	user_drain(&r.q);
	assert_nothing_came_of_it(&r.p);
	assert_nothing_came_of_it(&r.q);
	user_close(&m_to_p);
	user_close(&m_to_q);
	room_fini(&r);
}

static void a_value_that_was_not_committed_is_refused(void **state)
{
	uint8_t n_l[16] = {1, 2, 3}, other[16] = {1, 2, 4}, commit[32];
	struct crafted n;
	struct room r;

	im2_sas_commit(n_l, commit);
	room_init(&r, &people, true);
	crafted_listens(&n, &r, IM2_PAIR_GRANTS);
	crafted_sas(&n, &r.q, 1, BYTES_ARR(commit));
	assert_int_equal(r.q.wire_n, 1); /* its value is out only now */
	crafted_sas(&n, &r.q, 3, BYTES_ARR(other));
	assert_refused(&r.q, IM2_E_AEAD);
	assert_int_equal(r.q.compares + r.q.paired, 0);
	room_fini(&r);

	room_init(&r, &people, true);
	crafted_listens(&n, &r, IM2_PAIR_GRANTS);
	crafted_sas(&n, &r.q, 1, BYTES_ARR(commit));
	crafted_sas(&n, &r.q, 3, BYTES_ARR(n_l));
	assert_int_equal(r.q.compares, 1);
	room_fini(&r);
}

static void steps_out_of_order_end_it(void **state)
{
	static const struct {
		bool listens; /* the node under test */
		uint8_t steps[4];
		size_t length[4];
	} cases[] = {
		{false, {3}, {16}},	       {false, {2}, {16}},	    {false, {4}, {0}},
		{false, {1}, {31}},	       {false, {1}, {0}},	    {false, {5}, {16}},
		{false, {1, 1}, {32, 32}},     {false, {1, 2}, {32, 16}},   {false, {1, 4}, {32, 0}},
		{false, {1, 3}, {32, 15}},     {true, {1}, {32}},	    {true, {3}, {16}},
		{true, {4}, {0}},	       {true, {2}, {15}},	    {true, {2, 2}, {16, 16}},
		{true, {2, 4, 4}, {16, 0, 0}}, {true, {2, 4}, {16, 1}},	    {true, {0}, {16}},
		{true, {2, 3}, {16, 16}},      {true, {2, 1}, {16, 32}},
	};
	static const uint8_t zeros[32];

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct crafted n;
		struct room r;
		struct user *u = cases[i].listens ? &r.p : &r.q;

		room_init(&r, &people, true);
		r.p.says = r.q.says = LATER;
		if (cases[i].listens)
			crafted_dials(&n, &r, IM2_PAIR_WANTS);
		else
			crafted_listens(&n, &r, IM2_PAIR_GRANTS);
		for (int s = 0; s < 4 && u->overs == 0; s++)
			crafted_sas(&n, u, cases[i].steps[s], bytes_of(zeros, cases[i].length[s]));
		assert_nothing_came_of_it(u);
		assert_int_not_equal(u->over.why, IM2_FINE);
		room_fini(&r);
	}
	/* And anything that is no step. */
	struct crafted n;
	struct room r;
	room_init(&r, &people, true);
	crafted_dials(&n, &r, IM2_PAIR_WANTS);
	crafted_item(&n, &r.p, IM2_ITEM_PING, bytes_of(zeros, 8));
	assert_refused(&r.p, IM2_E_CONTEXT);
	room_fini(&r);
}

static void the_vector_of_the_digits(void **state)
{
	const char *part = "pair_sas";
	uint8_t l[32 + 4 + 32 + 16], d[4 + 16 + 32 + 16], commit[32];
	struct bytes n_l = vector(&v, part, "n_listener"), n_d = vector(&v, part, "n_dialler");
	struct room r;

	im2_sas_commit(n_l.p, commit);
	assert_memory_equal(commit, vector(&v, part, "commit").p, 32);
	room_init(&r, &people, true);
	assert_int_equal(im2_hello_read(vector(&v, part, "payload_server"), IM2_UNIT_X4, IM2_MODE_SAS,
					1, &r.p.c.hello),
			 IM2_FINE);
	assert_int_equal(im2_hello_read(vector(&v, part, "payload_client"), IM2_UNIT_X3, IM2_MODE_SAS,
					1, &r.q.c.hello),
			 IM2_FINE);
	test_count_up(l, 32); /* nonce_s */
	memcpy(l + 32, r.p.c.hello.rx, 4);
	memcpy(l + 36, vector(&v, part, "e_server").p, 32);
	memcpy(l + 68, n_l.p, 16);
	memcpy(d, r.q.c.hello.rx, 4);
	memcpy(d + 4, vector(&v, part, "nonce_c").p, 16);
	memcpy(d + 20, vector(&v, part, "e_client").p, 32);
	memcpy(d + 52, n_d.p, 16);
	r.l_chance.script = l;
	r.l_chance.script_left = sizeof l;
	r.d_chance.script = d;
	r.d_chance.script_left = sizeof d;
	room_open(&r);
	room_talk(&r, &r.p, &r.q);
	static const char *const units[] = {NULL, "X1", "X2", "X3", "X4"};
	for (size_t i = 1; i < 5; i++) {
		struct bytes u = vector(&v, part, units[i]);

		assert_int_equal(r.log[i].n, u.n);
		assert_memory_equal(r.log[i].p, u.p, u.n);
	}
	/* The steps, as frames under the keys of the vector. */
	unsigned seen = 0;
	for (size_t i = 5; i < r.log_n; i++) {
		uint8_t plain[512];
		struct bytes list, value;
		uint16_t tag;
		const char *keys[] = {"session.key_initiator_to_responder",
				      "session.key_responder_to_initiator"};

		assert_true(r.log[i].n <= sizeof plain);
		if (im2_frame_open(vector(&v, part, keys[0]).p, buf_bytes(&r.log[i]), plain) != IM2_FINE)
			assert_int_equal(im2_frame_open(vector(&v, part, keys[1]).p,
							buf_bytes(&r.log[i]), plain),
					 IM2_FINE);
		list = bytes_of(plain, r.log[i].n - IM2_FRAME_OVERHEAD);
		while (im2_item_next(&list, &tag, &value))
			for (unsigned s = 0; s < 4 && tag == IM2_ITEM_SAS; s++) {
				char name[16];

				snprintf(name, sizeof name, "items.%u", s);
				struct bytes should = vector(&v, part, name);
				if (bytes_eq(value, should))
					seen |= 1u << s;
			}
	}
	assert_int_equal(seen, 15);
	struct bytes text = vector(&v, part, "sas_text");
	assert_memory_equal(r.p.digits, text.p, 3);
	assert_int_equal(r.p.digits[3], ' ');
	assert_memory_equal(r.p.digits + 4, text.p + 3, 3);
	assert_string_equal(r.p.digits, r.q.digits);
	assert_memory_equal(r.p.psk, vector(&v, part, "session.pair_psk").p, 32);
	room_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compared_digits_pair),
		cmocka_unit_test(a_peer_who_grants_may_be_slow_to_look),
		cmocka_unit_test(one_yes_is_not_enough),
		cmocka_unit_test(one_no_ends_it_for_both),
		cmocka_unit_test(a_man_in_the_middle_shows_other_digits),
		cmocka_unit_test(a_value_that_was_not_committed_is_refused),
		cmocka_unit_test(steps_out_of_order_end_it),
		cmocka_unit_test(the_vector_of_the_digits),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
