#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/pairing_internal.h"
#include "daemon/records.h"
#include "protocol/im2/record.h"
#include "store/kv.h"
#include "tests/lib/daemon_pairing.h"
#include "transports/loopback.h"

static struct world *w;
static struct side *p, *q, *other;

static int setup(void **state)
{
	int e = pairs_setup(state);

	w = *state;
	p = &w->side[0];
	q = &w->side[1];
	other = &w->side[2];
	return e;
}

/* --- the code --- */

static void the_right_code_pins_both_and_moves_the_key(void **state)
{
	struct pairing_shown shown = pairs_show(p);
	uint8_t mine[IM2_DISC_BYTES], theirs[IM2_DISC_BYTES];
	uint16_t passgen;
	struct bytes a, b;

	assert_int_equal(shown.gives, PAIRING_GIVES_KEY);
	assert_int_equal(shown.until_ms, w->now_ms + IM2_CODE_MS);
	assert_false(node_has_mesh_key(q->node));
	pairs_type(q, shown.code, p->address);
	world_pass(w, 300);
	assert_paired(p, q, "code");
	assert_paired(q, p, "code");
	assert_string_equal(pairs_pin(q, p)->addresses[0].text, p->address);
	assert_int_equal(pairs_said(p, "pair.paired"), 1);
	assert_int_equal(pairs_said(p, "pair.granted: the key of the mesh was handed on"), 1);
	assert_int_equal(pairs_said(p, "pair.over"), 1);
	assert_int_equal(pairs_said(q, "pair.granted: the key of the mesh has come"), 1);
	assert_int_equal(pairs_said(q, "pair.over: "), 1);
	assert_int_equal(pairs_said(p, "pair.failed") + pairs_said(q, "pair.failed"), 0);
	assert_int_equal(side_audited(p, "CREDENTIAL_GIVEN"), 1);
	assert_int_equal(side_audited(q, "CREDENTIAL_RECEIVED"), 1);
	assert_int_equal(side_audited(p, "PEER_PAIRED") + side_audited(q, "PEER_PAIRED"), 2);
	assert_int_equal(p->node->n.paired + q->node->n.paired, 2);
	a = im2_host_mesh(p->node->im2, &passgen);
	b = im2_host_mesh(q->node->im2, &passgen);
	assert_true(a.n == 32 && bytes_eq(a, b));
	assert_int_equal(discovery_key_get(p->node, mine), ERR_OK);
	assert_int_equal(discovery_key_get(q->node, theirs), ERR_OK);
	assert_memory_equal(mine, theirs, sizeof mine);
	/* Over an ordinary session of a known peer from here on. */
	world_pass(w, 2000);
	assert_non_null(side_conn(q, p));
	assert_non_null(side_conn(p, q));
	assert_true(records_get(q->node, keyring_ed(p->keyring), IM2_REC_PREKEY_T).n > 0);
}

static void what_came_is_there_after_a_restart(void **state)
{
	uint8_t disc[IM2_DISC_BYTES];
	struct buf raw;

	pairs_up(p, q);
	pairs_again(q);
	assert_true(node_has_mesh_key(q->node));
	assert_int_equal(discovery_key_get(q->node, disc), ERR_OK);
	assert_paired(q, p, "code");
	/* What is kept is sealed; another space or key does not open it. */
	buf_init(&raw, KV_VALUE_MAX);
	assert_int_equal(store_kv_get(q->store, "meshkey", BYTES_LIT("mesh"), &raw), ERR_OK);
	assert_true(raw.n > 32);
	buf_wipe(&raw);
	buf_fini(&raw);
	/* And it opens a first contact with a node of the mesh. */
	assert_int_equal(node_add_target(q->node, other->address, NULL), ERR_OK);
	node_dial_all(q->node);
	world_pass(w, 3000);
	assert_non_null(pairs_pin(other, q));
	assert_non_null(side_conn(q, other));
}

static void a_node_with_a_key_of_its_own_keeps_it(void **state)
{
	static const uint8_t mine[32] = { 9 };
	uint16_t passgen;

	/* What an earlier life got by pairing does not count beside a passphrase that is given. */
	pairs_up(p, q);
	q->no_mesh = false;
	pairs_again(q);
	assert_int_equal(node_mesh_key(q->node, 0, BYTES_ARR(mine)), ERR_OK);
	pairs_type(q, pairs_show(p).code, p->address);
	world_pass(w, 1000);
	assert_int_equal(pairs_said(q, "pair.over: "), 2);
	assert_int_equal(pairs_said(q, "pair.granted"), 1);
	assert_true(bytes_eq(im2_host_mesh(q->node->im2, &passgen), BYTES_ARR(mine)));
}

static void a_wrong_code_is_used_up(void **state)
{
	struct pairing_shown first = pairs_show(p), second;

	pairs_type(q, pairs_wrong(first.code), p->address);
	world_pass(w, 1000);
	assert_int_equal(pairs_said(q, "pair.failed: the code is wrong"), 1);
	assert_int_equal(pairs_said(p, "pair.used: somebody typed a wrong code"), 1);
	assert_int_equal(pairs_said(p, "pair.failed"), 0);
	assert_int_equal(side_audited(p, "PAIR_GUESS"), 1);
	assert_int_equal(p->node->n.pair_guesses, 1);
	assert_false(p->node->pairing->showing);
	/* Even the right one is worth nothing now. */
	pairs_type(q, first.code, p->address);
	world_pass(w, 1000);
	assert_int_equal(pairs_said(q, "pair.failed: no machine shows a code there"), 1);
	assert_pinned_nobody(p);
	assert_pinned_nobody(q);
	world_pass(w, 10000);
	pairs_show_so(p, (struct pairing_show){ .again = true }, &second);
	assert_string_not_equal(first.code, second.code);
	pairs_type(q, second.code, p->address);
	world_pass(w, 1000);
	assert_paired(p, q, "code");
}

static void a_command_has_five_codes(void **state)
{
	struct pairing_shown shown = pairs_show(p);
	struct pairing_show more = { .again = true };
	struct fault f = { 0 };

	for (int i = 1; i < IM2_CODES_MAX; i++) {
		/* From many addresses: no ladder of one would stop it. */
		pairs_type(i % 2 ? q : other, pairs_wrong(shown.code), p->address);
		world_pass(w, 20000);
		pairs_show_so(p, more, &shown);
	}
	assert_int_equal(p->node->n.pair_guesses, IM2_CODES_MAX - 1);
	assert_int_equal(pairing_show(p->node, &more, &shown, &f), ERR_LIMIT);
	assert_int_equal(f.code, EXIT_RETRY);
	assert_false(p->node->pairing->showing);
	assert_pinned_nobody(p);
}

static void guesses_lead_to_a_ban(void **state)
{
	struct pairing_shown shown = pairs_show(p);

	for (int i = 0; i < 6; i++) {
		pairs_type(q, pairs_wrong(shown.code), p->address);
		world_pass(w, 10000);
		pairs_show_so(p, (struct pairing_show){ .again = i % 4 != 0 }, &shown);
	}
	assert_int_equal(p->node->n.bans, 1);
	pairs_type(q, shown.code, p->address);
	world_pass(w, 1000);
	assert_int_equal(pairs_said(q, "does not answer"), 1);
	assert_pinned_nobody(p);
}

static void two_type_and_one_guess_is_taken(void **state)
{
	struct pairing_shown shown = pairs_show(p);

	/* The wrong one is first; the right one comes while it is under way. */
	pairs_type(other, pairs_wrong(shown.code), p->address);
	pairs_type(q, shown.code, p->address);
	world_pass(w, 1000);
	assert_int_equal(pairs_said(other, "pair.failed: the code is wrong"), 1);
	assert_int_equal(pairs_said(q, "pair.failed"), 1);
	assert_int_equal(p->node->n.pair_guesses, 1);
	assert_pinned_nobody(p);
	assert_pinned_nobody(q);
	assert_pinned_nobody(other);
}

static void a_code_lives_two_minutes(void **state)
{
	struct pairing_shown shown = pairs_show(p);

	world_pass(w, IM2_CODE_MS - 1000);
	assert_true(p->node->pairing->showing);
	world_pass(w, 2000);
	assert_false(p->node->pairing->showing);
	assert_int_equal(pairs_said(p, "pair.failed: nobody used the code in time"), 1);
	pairs_type(q, shown.code, p->address);
	world_pass(w, 1000);
	assert_int_equal(pairs_said(q, "pair.failed: no machine shows a code there"), 1);
	assert_pinned_nobody(p);
	assert_pinned_nobody(q);
}

static void nobody_shows(void **state)
{
	pairs_type(q, "42-307-915", p->address);
	world_pass(w, 1000);
	assert_int_equal(p->node->n.connections_refused, 1);
	assert_int_equal(pairs_said(q, "pair.failed: no machine shows a code there"), 1);
	pairs_type(q, "42-307-915", "nowhere:1");
	world_pass(w, 20000);
	assert_int_equal(pairs_said(q, "nowhere:1 does not answer"), 1);
	/* Again and again it is a ban. */
	for (int i = 0; i < 6; i++) {
		pairs_type(q, "42-307-915", p->address);
		world_pass(w, 10000);
	}
	assert_int_equal(p->node->n.bans, 1);
	assert_int_equal(p->node->pairing->attempts_n + q->node->pairing->attempts_n, 0);
}

static void pin_only_moves_nothing(void **state)
{
	struct pairing_shown shown;
	struct pairing_type t;
	struct fault f = { 0 };

	pairs_show_so(p, (struct pairing_show){ .pin_only = true }, &shown);
	assert_int_equal(shown.gives, PAIRING_GIVES_NOTHING);
	pairs_type(q, shown.code, p->address);
	world_pass(w, 1000);
	assert_paired(p, q, "code");
	assert_paired(q, p, "code");
	assert_int_equal(pairs_said(q, "pair.over: that machine handed on no key"), 1);
	assert_false(node_has_mesh_key(q->node));
	/* The one that types can refuse it as well. */
	world_pass(w, 1000);
	t = pairs_typed(pairs_show(p).code, p->address);
	t.pin_only = true;
	assert_int_equal(pairing_type(q->node, &t, &f), ERR_OK);
	world_pass(w, 1000);
	assert_false(node_has_mesh_key(q->node));
	assert_int_equal(pairs_said(p, "pair.granted"), 0);
	/* The pair secret is a way to each other, without any key of a mesh. */
	world_pass(w, 3000);
	assert_non_null(side_conn(q, p));
}

static void a_passphrase_is_given_when_there_is_one(void **state)
{
	struct pairing_show how = { .give_passphrase = true };
	struct pairing_passphrase got;
	struct pairing_shown shown;
	struct fault f = { 0 };

	pairs_show_so(p, how, &shown);
	assert_int_equal(shown.gives, PAIRING_GIVES_PASSPHRASE);
	assert_int_equal(pairing_passphrase(q->store, &got), ERR_NOTFOUND);
	pairs_type(q, shown.code, p->address);
	world_pass(w, 1000);
	assert_int_equal(pairs_said(q, "pair.granted: the passphrase"), 1);
	assert_int_equal(pairing_passphrase(q->store, &got), ERR_OK);
	assert_true(bytes_eq(secret_bytes(&got.words), BYTES_LIT("a passphrase of the mesh")));
	secret_free(&got.words);
	assert_int_equal(pairing_show(q->node, &how, &shown, &f), ERR_USAGE);
}

/* --- who it is --- */

static void a_known_peer_becomes_verified(void **state)
{
	side_know(p, q);
	assert_false(pairs_pin(p, q)->verified);
	pairs_up(p, q);
	assert_paired(p, q, "code");
	assert_paired(q, p, "code");
	assert_int_equal(pins_count(p->pins), 1);
	/* Once more changes nothing. */
	world_pass(w, 1000);
	pairs_up(p, q);
	assert_paired(p, q, "code");
	assert_int_equal(pairs_said(p, "pair.over: "), 2);
}

static void who_is_forgotten_is_not_dialled(void **state)
{
	pairs_up(p, q);
	world_pass(w, 3000);
	assert_non_null(side_conn(q, p));
	assert_int_equal(node_peer_forget(q->node, side_id(p), NULL), ERR_OK);
	world_pass(w, 120000);
	assert_pinned_nobody(q);
	assert_null(side_conn(q, p));
	/* Until it is paired again. */
	pairs_up(p, q);
	world_pass(w, 3000);
	assert_paired(q, p, "code");
	assert_non_null(side_conn(q, p));
}

static void refused_at_p(const char *what)
{
	pairs_up(p, q);
	assert_int_equal(pairs_said(p, what), 1);
	assert_int_equal(pairs_said(p, "pair.failed"), 1);
	assert_int_equal(pairs_said(p, "pair.used"), 0);
	assert_int_equal(pairs_said(q, "pair.failed: that machine does not take this one"), 1);
	assert_int_equal(pairs_said(p, "pair.paired") + pairs_said(q, "pair.paired"), 0);
	assert_int_equal(side_audited(p, "PAIR_REFUSED"), 1);
	assert_int_equal(p->node->n.pair_refused, 1);
	assert_int_equal(p->node->n.pair_guesses, 0);
	assert_pinned_nobody(q);
	assert_false(p->node->pairing->showing);
}

static void who_is_revoked_is_not_paired(void **state)
{
	side_know(p, q);
	assert_int_equal(pins_forget(q->pins, side_id(p)), ERR_OK);
	assert_int_equal(node_peer_revoke(p->node, side_id(q), "lost", NULL), ERR_OK);
	refused_at_p("is revoked: lost");
	assert_int_equal(pairs_pin(p, q)->state, PIN_REVOKED);
}

static void who_is_blocked_is_not_paired(void **state)
{
	side_know(p, q);
	assert_int_equal(pins_forget(q->pins, side_id(p)), ERR_OK);
	assert_int_equal(node_peer_block(p->node, side_id(q), NULL, NULL), ERR_OK);
	refused_at_p("is blocked");
	assert_int_equal(pairs_pin(p, q)->state, PIN_BLOCKED);
}

static void a_name_stays_with_its_key(void **state)
{
	assert_int_equal(pins_pin(p->pins, keyring_ed(other->keyring), "n1", world_wall_ms(w), NULL), ERR_OK);
	refused_at_p("n1 (bound to");
	assert_null(pairs_pin(p, q));
	assert_int_equal(pins_alarms(p->pins, &(const struct pin_alarm *){ NULL }), 1);
	/* A stranger who only claims the name is no obstacle. */
	assert_int_equal(pins_forget(p->pins, side_id(other)), ERR_OK);
	world_pass(w, 1000);
	pairs_up(p, q);
	assert_paired(p, q, "code");
}

static void the_list_of_allowed_peers_holds(void **state)
{
	assert_int_equal(policy_allow(&p->policy, "n3", NULL), ERR_OK);
	refused_at_p("allowed");
	assert_null(pairs_pin(p, q));
	assert_int_equal(policy_allow(&p->policy, "n1", NULL), ERR_OK);
	world_pass(w, 1000);
	pairs_up(p, q);
	assert_paired(p, q, "code");
}

static void whom_the_typing_side_refuses_pins_nobody_as_trusted(void **state)
{
	assert_int_equal(pins_pin(q->pins, keyring_ed(p->keyring), "n0", world_wall_ms(w), NULL), ERR_OK);
	assert_int_equal(node_peer_block(q->node, side_id(p), NULL, NULL), ERR_OK);
	pairs_up(p, q);
	assert_int_equal(pairs_said(q, "is blocked"), 1);
	assert_int_equal(pairs_said(q, "pair.failed"), 1);
	assert_int_equal(pairs_said(p, "pair.paired"), 0);
	assert_int_equal(pairs_said(p, "pair.failed: the other side went away, or did not take this machine"), 1);
	assert_true(!pairs_pin(p, q) || pairs_pin(p, q)->state == PIN_PENDING);
	assert_int_equal(pairs_pin(q, p)->state, PIN_BLOCKED);
}

/* --- a link that breaks, a node that restarts --- */

static unsigned from_p, cut_at;

static struct loop_fate fate(void *ctx, const char *from, const char *to, struct bytes unit)
{
	struct loop_fate f = { .copies = 1 };

	if (unit.n && strcmp(from, p->address) == 0 && strcmp(to, q->address) == 0 && ++from_p == cut_at)
		f.cut = true;
	return f;
}

/* S1, X2, X4, GRANT */
static void cut(unsigned at)
{
	from_p = 0;
	cut_at = at;
	loopnet_set_fate(w->net, fate, NULL);
}

static void a_key_that_did_not_get_across_is_asked_for_again(void **state)
{
	cut(4);
	pairs_up(p, q);
	cut(0);
	assert_paired(p, q, "code");
	assert_paired(q, p, "code");
	assert_int_equal(pairs_said(p, "pair.failed: the other machine is trusted, but the key"), 1);
	assert_int_equal(pairs_said(q, "pair.failed: the other machine is trusted, but the key"), 1);
	assert_false(node_has_mesh_key(q->node));
	pairs_again(q);
	world_pass(w, 5000);
	pairs_up(p, q);
	assert_true(node_has_mesh_key(q->node));
	assert_int_equal(pairs_said(q, "pair.over: "), 1);
}

static void whoever_never_heard_the_answer_pairs_again(void **state)
{
	cut(3);
	pairs_up(p, q);
	cut(0);
	/* The secret is on disk before X4 leaves: pending, not trusted. */
	assert_int_equal(pairs_pin(p, q)->state, PIN_PENDING);
	assert_pinned_nobody(q);
	assert_int_equal(pairs_said(p, "pair.failed"), 1);
	assert_int_equal(pairs_said(q, "pair.failed"), 1);
	pairs_again(p);
	pairs_again(q);
	world_pass(w, 1000);
	pairs_up(p, q);
	assert_paired(p, q, "code");
	assert_paired(q, p, "code");
}

static void a_goodbye_ends_a_pairing(void **state)
{
	struct pairing_shown shown = pairs_show(p);

	pairs_type(q, shown.code, p->address);
	node_goodbye(q->node);
	world_pass(w, 1000);
	assert_pinned_nobody(p);
	node_goodbye(p->node);
	assert_false(p->node->pairing->showing);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_right_code_pins_both_and_moves_the_key),
		T(what_came_is_there_after_a_restart),
		T(a_node_with_a_key_of_its_own_keeps_it),
		T(a_wrong_code_is_used_up),
		T(a_command_has_five_codes),
		T(guesses_lead_to_a_ban),
		T(two_type_and_one_guess_is_taken),
		T(a_code_lives_two_minutes),
		T(nobody_shows),
		T(pin_only_moves_nothing),
		T(a_passphrase_is_given_when_there_is_one),
		T(a_known_peer_becomes_verified),
		T(who_is_forgotten_is_not_dialled),
		T(who_is_revoked_is_not_paired),
		T(who_is_blocked_is_not_paired),
		T(a_name_stays_with_its_key),
		T(the_list_of_allowed_peers_holds),
		T(whom_the_typing_side_refuses_pins_nobody_as_trusted),
		T(a_key_that_did_not_get_across_is_asked_for_again),
		T(whoever_never_heard_the_answer_pairs_again),
		T(a_goodbye_ends_a_pairing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
