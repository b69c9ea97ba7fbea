#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/secret.h"
#include "tests/lib/trust_env.h"
#include "trust/psks.h"

static const uint8_t no_id[PSK_ID];

/* Secret number n, never 0. */
static const uint8_t *key_of(unsigned n)
{
	static uint8_t key[PSK_BYTES];

	memset(key, 0, sizeof key);
	memcpy(key, &n, sizeof n);
	return key;
}

static unsigned number_of(const struct psk *k)
{
	unsigned n;

	memcpy(&n, k->key, sizeof n);
	return n;
}

/* "confirmed: candidates", e.g. "3: 2 1"; "-:" is nothing. */
static void assert_psks(const struct psks *p, const char *want)
{
	char text[64];
	int n = p->has_confirmed ? sprintf(text, "%u:", number_of(&p->confirmed))
				 : sprintf(text, "-:");

	for (size_t i = 0; i < p->candidates_n; i++)
		n += sprintf(text + n, " %u", number_of(&p->candidates[i]));
	assert_string_equal(text, want);
}

/* The session secrets of the im2 vectors. */
static void id_is_the_start_of_the_labelled_hash(void **state)
{
	static const struct {
		const char *key, *id;
	} rows[] = {
		{"4312fff93e46b6c6387d32dd3ab39c8e6dbc2fcb7fb9ec835208f337bc1eb234", "07a424f7"},
		{"7ad87214cb59bc3500062d1351ceb759c4ef80c7cb8e79ec56f32a89c30b6dd0", "333668e5"},
		{"f614d6045ecd2de2b928c52d0bcb799d9130398f0d9b0ed56fd69bd056d9388f", "67039de7"},
		{"05d03ee8fa6e88e10caadc7baa821039730cafca7df5186cbca874eeeb8c7b44", "96c9aa27"},
	};
	uint8_t key[PSK_BYTES];
	struct psk k;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		unhex(rows[i].key, key, sizeof key);
		psk_of(key, &k);
		assert_memory_equal(k.key, key, sizeof key);
		assert_hex(k.id, sizeof k.id, rows[i].id);
	}
}

static void candidates_are_newest_first_and_four(void **state)
{
	struct psks p = {0};

	for (unsigned n = 1; n <= 4; n++)
		assert_true(psks_candidate(&p, key_of(n)));
	assert_psks(&p, "-: 4 3 2 1");
	assert_true(psks_candidate(&p, key_of(5)));
	assert_psks(&p, "-: 5 4 3 2");
	assert_false(psks_candidate(&p, key_of(3))); /* it is there */
	assert_psks(&p, "-: 5 4 3 2");
	psks_wipe(&p);
	assert_true(is_zero(&p, sizeof p));
}

static void former_confirmed_becomes_the_newest_candidate(void **state)
{
	struct psks p = {0};
	bool replaced = true;

	assert_true(psks_confirm(&p, key_of(1), &replaced));
	assert_false(replaced);
	assert_psks(&p, "1:");
	assert_true(psks_candidate(&p, key_of(2)));
	assert_true(psks_candidate(&p, key_of(3)));
	assert_false(psks_candidate(&p, key_of(1)));
	assert_psks(&p, "1: 3 2");
	assert_true(psks_confirm(&p, key_of(2), &replaced));
	assert_true(replaced);
	assert_psks(&p, "2: 1 3");
	replaced = true;
	assert_false(psks_confirm(&p, key_of(2), &replaced));
	assert_false(replaced);
	assert_true(psks_confirm(&p, p.candidates[1].key, NULL)); /* a pointer into the list */
	assert_psks(&p, "3: 2 1");
	for (unsigned n = 4; n <= 6; n++)
		assert_true(psks_confirm(&p, key_of(n), NULL));
	assert_psks(&p, "6: 5 4 3 2");
	assert_true(psks_confirm(&p, key_of(2), NULL)); /* the oldest of a full list */
	assert_psks(&p, "2: 6 5 4 3");
}

static void what_left_a_list_is_not_left_in_memory(void **state)
{
	struct psks p = {0};

	assert_true(psks_candidate(&p, key_of(1)));
	assert_true(psks_candidate(&p, key_of(2)));
	assert_true(psks_confirm(&p, key_of(1), NULL));
	assert_psks(&p, "1: 2");
	assert_true(is_zero(&p.candidates[1], sizeof p.candidates[1]));
}

static void initiator_tries_confirmed_then_candidates(void **state)
{
	struct psks p = {0};
	bool none = false;

	assert_null(psks_try(&p, 0, &none));
	assert_true(none);
	assert_null(psks_try(&p, 1, &none));
	assert_false(none);
	assert_true(psks_candidate(&p, key_of(1)));
	assert_true(psks_candidate(&p, key_of(2)));
	assert_null(psks_try(&p, 0, &none));
	assert_true(none);
	assert_int_equal(number_of(psks_try(&p, 1, &none)), 2);
	assert_false(none);
	assert_int_equal(number_of(psks_try(&p, 2, &none)), 1);
	assert_null(psks_try(&p, 3, &none));
	assert_true(psks_confirm(&p, key_of(3), NULL));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(number_of(psks_try(&p, i, &none)), 3 - i);
		assert_false(none); /* never again once there is one */
	}
	assert_null(psks_try(&p, 3, &none));
	assert_false(none);
	assert_null(psks_try(&p, UINT32_MAX, &none));
}

static void responder_accepts_what_it_holds(void **state)
{
	struct psks p = {0};
	struct psk k;
	bool none;

	assert_null(psks_accept(&p, no_id, &none));
	assert_true(none);
	assert_true(psks_candidate(&p, key_of(1)));
	assert_null(psks_accept(&p, no_id, &none)); /* a candidate confirms nothing */
	assert_true(none);
	assert_true(psks_confirm(&p, key_of(2), NULL));
	assert_null(psks_accept(&p, no_id, &none));
	assert_false(none);
	for (unsigned n = 1; n <= 3; n++) {
		psk_of(key_of(n), &k);
		const struct psk *got = psks_accept(&p, k.id, &none);
		assert_false(none);
		if (n == 3)
			assert_null(got);
		else
			assert_int_equal(number_of(got), n);
	}
}

/* --- two nodes and every way to cut them off ----------------------------------------------- */

/* What happens to a handshake: how far it got before the connection or a node was lost. */
enum op {
	XX_CUT_BEFORE_X4,    /* the listener stored, X4 never came */
	XX_CUT_BEFORE_FRAME, /* X4 came, the first frame did not */
	XX_DONE,
	IK_CUT_BEFORE_I2,    /* IK_: the first node begins */
	IK_CUT_BEFORE_FRAME,
	IK_CUT_BEFORE_ANSWER,
	IK_DONE,
	KI_CUT_BEFORE_I2, /* the second one begins */
	KI_CUT_BEFORE_FRAME,
	KI_CUT_BEFORE_ANSWER,
	KI_DONE,
	OPS
};
#define DEEPEST 5

struct pair {
	struct psks a, b;
};

/* The first psk of the initiator that the responder takes: *k, or none. */
static bool agree(const struct psks *from, const struct psks *to, const struct psk **k)
{
	bool none;

	for (unsigned i = 0; i <= 1 + PSK_CANDIDATES; i++) {
		const struct psk *offer = psks_try(from, i, &none);

		if (!offer && !none)
			return false;
		*k = psks_accept(to, offer ? offer->id : no_id, &none);
		if (*k) {
			assert_memory_equal((*k)->key, offer->key, PSK_BYTES);
			return true;
		}
		if (none)
			return true;
	}
	return false;
}

/* 6.2, the table. `fresh` is what this handshake would export; cut 0..3 counts the units that came. */
static void run_ik(struct psks *from, struct psks *to, unsigned fresh, int cut)
{
	const struct psk *held;
	uint8_t key[PSK_BYTES];

	if (!agree(from, to, &held))
		return;
	memcpy(key, held ? held->key : key_of(fresh), sizeof key);
	if (!held && cut >= 1)
		psks_candidate(from, key);
	if (cut >= 2)
		psks_confirm(to, key, NULL);
	if (cut >= 3)
		psks_confirm(from, key, NULL);
}

static void run(struct pair *p, enum op op, unsigned fresh)
{
	if (op >= KI_CUT_BEFORE_I2) {
		run_ik(&p->b, &p->a, fresh, (int)op - KI_CUT_BEFORE_I2);
	} else if (op >= IK_CUT_BEFORE_I2) {
		run_ik(&p->a, &p->b, fresh, (int)op - IK_CUT_BEFORE_I2);
	} else {
		psks_candidate(&p->b, key_of(fresh));
		if (op >= XX_CUT_BEFORE_FRAME)
			psks_confirm(&p->a, key_of(fresh), NULL);
		if (op >= XX_DONE)
			psks_confirm(&p->b, key_of(fresh), NULL);
	}
}

struct tally {
	size_t sequences, cut_off;
};

/* `row`: first contacts in a row that were cut before X4, the longest so far and the current one. */
static void explore(const struct pair *p, unsigned depth, unsigned longest, unsigned row, struct tally *t)
{
	for (int op = 0; op < OPS; op++) {
		struct pair next = *p;
		unsigned now = op == XX_CUT_BEFORE_X4 ? row + 1 : 0;
		unsigned most = now > longest ? now : longest;
		const struct psk *k;

		run(&next, op, depth + 1);
		t->sequences++;
		if (!agree(&next.a, &next.b, &k) || !agree(&next.b, &next.a, &k)) {
			t->cut_off++;
			assert_true(most >= PSK_CANDIDATES);
		}
		if (depth + 1 < DEEPEST)
			explore(&next, depth + 1, most, now, t);
	}
}

static void no_order_of_cuts_parts_two_nodes(void **state)
{
	struct pair p = {0};
	struct tally t = {0};

	explore(&p, 0, 0, 0, &t);
	assert_int_equal(t.sequences, 177155); /* 11 + 11^2 + ... + 11^5 */
	assert_int_equal(t.cut_off, 2); /* as the model of 6.2 counts */

	t = (struct tally){0};
	psks_confirm(&p.a, key_of(100), NULL);
	psks_confirm(&p.b, key_of(100), NULL);
	explore(&p, 0, 0, 0, &t);
	assert_int_equal(t.sequences, 177155);
	assert_int_equal(t.cut_off, 0);
}

/* The limit that 6.2 names, so that the search above is known to see it. */
static void four_cut_first_contacts_part_them(void **state)
{
	struct pair p = {0};
	const struct psk *k;

	run(&p, XX_CUT_BEFORE_FRAME, 1);
	for (unsigned n = 2; n <= 4; n++)
		run(&p, XX_CUT_BEFORE_X4, n);
	assert_true(agree(&p.a, &p.b, &k));
	run(&p, XX_CUT_BEFORE_X4, 5);
	assert_false(agree(&p.a, &p.b, &k));
	run(&p, XX_DONE, 6); /* and then first contact is the way */
	assert_true(agree(&p.a, &p.b, &k) && agree(&p.b, &p.a, &k));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(id_is_the_start_of_the_labelled_hash),
		cmocka_unit_test(candidates_are_newest_first_and_four),
		cmocka_unit_test(former_confirmed_becomes_the_newest_candidate),
		cmocka_unit_test(what_left_a_list_is_not_left_in_memory),
		cmocka_unit_test(initiator_tries_confirmed_then_candidates),
		cmocka_unit_test(responder_accepts_what_it_holds),
		cmocka_unit_test(no_order_of_cuts_parts_two_nodes),
		cmocka_unit_test(four_cut_first_contacts_part_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
