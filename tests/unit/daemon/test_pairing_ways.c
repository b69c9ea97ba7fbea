#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/pairing_internal.h"
#include "daemon/records_internal.h"
#include "tests/lib/daemon_pairing.h"

/* Digits that are compared, codes that are found by mDNS, and one command at a time. */

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

/* --- digits --- */

static void compare(struct side *a, struct side *b)
{
	struct pairing_shown shown;

	pairs_show_so(a, (struct pairing_show){ .compare = true }, &shown);
	assert_string_equal(shown.code, "");
	pairs_type(b, NULL, a->address);
	world_pass(w, 300);
	assert_int_equal(pairs_said(a, "pair.compare") > 0, 1);
	assert_string_equal(pairs_digits(a), pairs_digits(b));
	assert_int_equal(strlen(pairs_digits(a)), 7);
	assert_pinned_nobody(a);
	assert_pinned_nobody(b);
}

static void both_say_yes(void **state)
{
	struct fault f = { 0 };

	compare(p, q);
	assert_int_equal(pairing_verdict(p->node, true, &f), ERR_OK);
	world_pass(w, 300);
	assert_pinned_nobody(p);
	assert_pinned_nobody(q);
	assert_int_equal(pairing_verdict(q->node, true, &f), ERR_OK);
	world_pass(w, 1000);
	assert_paired(p, q, "sas");
	assert_paired(q, p, "sas");
	assert_true(node_has_mesh_key(q->node));
	assert_int_equal(pairing_verdict(q->node, true, &f), ERR_WRONG_STATE);
	world_pass(w, 2000);
	assert_non_null(side_conn(q, p));
}

static void one_says_no(void **state)
{
	struct fault f = { 0 };

	compare(p, q);
	assert_int_equal(pairing_verdict(p->node, true, &f), ERR_OK);
	assert_int_equal(pairing_verdict(q->node, false, &f), ERR_OK);
	world_pass(w, 1000);
	assert_int_equal(pairs_said(q, "pair.failed: the digits differ"), 1);
	assert_int_equal(pairs_said(p, "pair.failed: the other side said no"), 1);
	assert_pinned_nobody(p);
	assert_pinned_nobody(q);
	assert_false(p->node->pairing->showing);
}

/* Between the digits and the two yes somebody decides otherwise: a pairing is no approval of whom he has just turned away. */
static void who_is_turned_away_meanwhile_is_not_paired(void **state)
{
	struct pin_update u = { .id = *side_id(q), .ed = keyring_ed(q->keyring), .name = "n1", .state = PIN_PENDING, .via = "tofu",
				.wall_ms = world_wall_ms(w) };
	struct fault f = { 0 };

	compare(p, q);
	assert_int_equal(pins_observe(p->pins, &u, NULL), ERR_OK);
	assert_int_equal(node_peer_block(p->node, side_id(q), "lost", &f), ERR_OK);
	assert_int_equal(pairing_verdict(p->node, true, &f), ERR_OK);
	assert_int_equal(pairing_verdict(q->node, true, &f), ERR_OK);
	world_pass(w, 1000);
	assert_string_equal(pin_word(pairs_pin(p, q)), "blocked");
	assert_false(pairs_pin(p, q)->verified);
	assert_int_equal(pairs_said(p, "pair.paired"), 0);
	assert_int_equal(pairs_said(p, "pair.failed"), 1);
	assert_int_equal(side_audited(p, "PAIR_REFUSED"), 1);
	assert_false(node_has_mesh_key(q->node));
}

/* The same for a key of which a signed record says that it is over, and which nobody has pinned. */
static void whose_key_is_over_meanwhile_is_not_paired(void **state)
{
	struct im2_revocation v = { .effective_ms = 1, .by_quorum = true };
	struct im2_record rec;
	struct fault f = { 0 };
	struct buf raw;

	compare(p, q);
	buf_init(&raw, IM2_RECORD_MAX);
	im2_revoke_self_write(q->keyring, 1, world_wall_ms(w), 0, &raw);
	assert_int_equal(im2_record_parse(buf_bytes(&raw), &rec), IM2_FINE);
	memcpy(v.target, keyring_ed(q->keyring), ED_BYTES);
	revoked_add(p->node->records, &rec, &v, side_id(other));
	buf_fini(&raw);
	assert_true(records_dead(p->node, keyring_ed(q->keyring)));
	assert_int_equal(pairing_verdict(p->node, true, &f), ERR_OK);
	assert_int_equal(pairing_verdict(q->node, true, &f), ERR_OK);
	world_pass(w, 1000);
	assert_null(pairs_pin(p, q));
	assert_int_equal(pairs_said(p, "pair.failed"), 1);
	assert_int_equal(side_audited(p, "PAIR_REFUSED"), 1);
}

/* A machine that was set up anew, where the one paired before was. */
static void at_one_address_the_last_pairing_counts(void **state)
{
	struct node_id was = *side_id(other);
	char spec[200];

	snprintf(spec, sizeof spec, "%s#%s", p->address, was.hex);
	assert_int_equal(node_add_target(q->node, spec, NULL), ERR_OK);
	q->node->targets[0]->paired = true;
	pairs_up(p, q);
	world_pass(w, 30000);
	assert_paired(q, p, "code");
	assert_non_null(side_conn(q, p));
	assert_int_equal(side_audited(q, "TOFU_MISMATCH"), 0);
}

static void nobody_says_anything(void **state)
{
	compare(p, q);
	world_pass(w, 119000);
	assert_int_equal(pairs_said(p, "pair.failed") + pairs_said(q, "pair.failed"), 0);
	world_pass(w, 4000);
	assert_int_equal(pairs_said(p, "pair.failed"), 1);
	assert_int_equal(pairs_said(q, "pair.failed"), 1);
	assert_pinned_nobody(p);
	assert_pinned_nobody(q);
	assert_int_equal(p->node->pairing->attempts_n + q->node->pairing->attempts_n, 0);
}

static void a_third_one_does_not_get_in_between(void **state)
{
	struct fault f = { 0 };
	char plate[3], instance[9];

	compare(p, q);
	assert_false(pairing_publication(p->node, instance, plate));
	pairs_type(other, NULL, p->address);
	world_pass(w, 500);
	assert_int_equal(pairs_said(other, "pair.failed"), 1);
	assert_int_equal(pairs_said(p, "pair.failed"), 0);
	assert_int_equal(pairs_said(p, "pair.compare"), 1);
	assert_int_equal(pairing_verdict(p->node, true, &f), ERR_OK);
	assert_int_equal(pairing_verdict(q->node, true, &f), ERR_OK);
	world_pass(w, 1000);
	assert_paired(p, q, "sas");
	assert_null(pairs_pin(p, other));
}

static void a_code_and_digits_do_not_mix(void **state)
{
	struct pairing_shown shown;

	pairs_show_so(p, (struct pairing_show){ .compare = true }, &shown);
	pairs_type(q, "42-307-915", p->address);
	world_pass(w, 500);
	assert_int_equal(pairs_said(q, "pair.failed: that machine compares digits"), 1);
	assert_true(p->node->pairing->showing);
	pairing_stop(p->node);
	shown = pairs_show(p);
	pairs_type(q, NULL, p->address);
	world_pass(w, 500);
	assert_int_equal(pairs_said(q, "pair.failed: that machine shows a code"), 1);
	assert_true(p->node->pairing->offer.live);
	assert_int_equal(pairs_said(p, "pair."), 0);
}

/* --- mDNS --- */

static unsigned changes;

static void changed(void *ctx)
{
	changes++;
}

static void found(struct side *s, const char *instance, const char *plate, const char *address)
{
	char addresses[2][80] = { "nowhere:1" };

	snprintf(addresses[1], sizeof addresses[1], "%s", address);
	pairing_found(s->node, instance, plate, (const char(*)[80])addresses, 2);
}

static void a_code_is_found_by_its_plate(void **state)
{
	char instance[9], plate[3], unlike[3];
	struct pairing_shown shown;

	changes = 0;
	pairing_watch(p->node, changed, NULL);
	assert_false(pairing_publication(p->node, instance, plate));
	shown = pairs_show(p);
	assert_int_equal(changes, 1);
	assert_true(pairing_publication(p->node, instance, plate));
	assert_int_equal(strspn(instance, "0123456789abcdef"), 8);
	assert_true(strncmp(plate, shown.code, 2) == 0);
	assert_false(pairing_browses(q->node));
	found(q, "00000000", plate, p->address); /* nobody asked */
	pairs_type(q, shown.code, "");
	assert_true(pairing_browses(q->node));
	snprintf(unlike, sizeof unlike, "%c%c", plate[0], plate[1] == '9' ? '0' : plate[1] + 1);
	found(q, "11111111", unlike, "n2:1");
	world_pass(w, 3000);
	assert_int_equal(q->node->pairing->attempts_n, 0);
	/* The second address answers. */
	found(q, instance, plate, p->address);
	found(q, instance, plate, p->address);
	world_pass(w, 15000);
	assert_paired(q, p, "code");
	assert_string_equal(pairs_pin(q, p)->addresses[0].text, p->address);
	assert_false(pairing_browses(q->node));
	assert_false(pairing_publication(p->node, instance, plate));
	assert_true(changes >= 2);
	pairing_watch(p->node, NULL, NULL);
}

static void twins_are_not_dialled(void **state)
{
	struct pairing_shown shown = pairs_show(p);
	char plate[3];

	snprintf(plate, sizeof plate, "%.2s", shown.code);
	pairs_type(q, shown.code, "");
	found(q, "00000000", plate, "n2:1");
	found(q, "11111111", plate, p->address);
	world_pass(w, 3000);
	assert_int_equal(pairs_said(q, "pair.failed: two machines show this number"), 1);
	assert_int_equal(q->node->n.dials, 0);
	assert_true(p->node->pairing->offer.live);
	assert_pinned_nobody(q);
}

static void nobody_is_found(void **state)
{
	pairs_type(q, "42-307-915", "");
	world_pass(w, 59000);
	assert_int_equal(pairs_said(q, "pair."), 0);
	world_pass(w, 2000);
	assert_int_equal(pairs_said(q, "pair.failed: no machine that shows this was found"), 1);
	assert_false(pairing_browses(q->node));
}

/* --- commands --- */

static void one_command_at_a_time(void **state)
{
	static const int mine, yours;
	struct pairing_show how = { .owner = &mine };
	struct pairing_type t = pairs_typed("42-307-915", "n2:1");
	struct pairing_shown shown;
	struct fault f = { 0 };

	pairs_show_so(p, how, &shown);
	how.owner = t.owner = &yours;
	assert_int_equal(pairing_show(p->node, &how, &shown, &f), ERR_AGAIN);
	assert_int_equal(pairing_type(p->node, &t, &f), ERR_AGAIN);
	pairing_owner_gone(p->node, &yours);
	assert_true(p->node->pairing->showing);
	pairing_owner_gone(p->node, &mine);
	assert_false(p->node->pairing->showing);
	pairs_show_so(p, how, &shown);
	/* Its end is the end of what was shown, in the middle of it too. */
	pairs_type(q, shown.code, p->address);
	timers_run(&w->env);
	pairing_cancel(p->node);
	world_pass(w, 1000);
	assert_int_equal(pairs_said(p, "pair.failed: it was stopped"), 1);
	assert_int_equal(pairs_said(q, "pair.failed"), 1);
	assert_pinned_nobody(p);
	assert_pinned_nobody(q);
}

static void a_key_that_is_not_there_yet_is_waited_for(void **state)
{
	struct pairing_show how = { 0 };
	struct pairing_shown shown;

	pairs_show_so(q, how, &shown);
	assert_int_equal(shown.gives, PAIRING_GIVES_NOTHING);
	pairs_type(p, shown.code, q->address);
	world_pass(w, 1000);
	assert_paired(p, q, "code");
	assert_int_equal(pairs_said(p, "pair.over: "), 1);
	assert_false(node_has_mesh_key(q->node));
	/* What it does not have it can get from whoever shows. */
	pairs_up(p, q);
	assert_true(node_has_mesh_key(q->node));
	/* And hand on. */
	other->no_mesh = true;
	pairs_again(other);
	pairs_up(q, other);
	assert_true(node_has_mesh_key(other->node));
}

static void without_im2_there_is_no_pairing(void **state)
{
	struct pairing_show how = { 0 };
	struct pairing_shown shown;
	struct fault f = { 0 };

	p->old = true;
	pairs_again(p);
	assert_int_equal(pairing_show(p->node, &how, &shown, &f), ERR_UNSUPPORTED);
	pairs_type(q, "42-307-915", p->address);
	world_pass(w, 1000);
	assert_int_equal(pairs_said(q, "pair.failed: no machine shows a code there"), 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(both_say_yes),
		T(one_says_no),
		T(nobody_says_anything),
		T(who_is_turned_away_meanwhile_is_not_paired),
		T(whose_key_is_over_meanwhile_is_not_paired),
		T(at_one_address_the_last_pairing_counts),
		T(a_third_one_does_not_get_in_between),
		T(a_code_and_digits_do_not_mix),
		T(a_code_is_found_by_its_plate),
		T(twins_are_not_dialled),
		T(nobody_is_found),
		T(one_command_at_a_time),
		T(a_key_that_is_not_there_yet_is_waited_for),
		T(without_im2_there_is_no_pairing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
