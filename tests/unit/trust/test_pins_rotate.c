#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/secret.h"
#include "tests/lib/trust_pins.h"
#include "trust/pins_internal.h"

#define DAY_MS 86400000ull

static const uint8_t *x_of(uint8_t n)
{
	static uint8_t x[X25519_BYTES];

	memset(x, n, sizeof x);
	return x;
}

/* The identity `old` becomes peer number n. */
static enum err rotate_to(struct world *w, const struct node_id *old, unsigned n, bool keep_verified,
			  struct node_id *now)
{
	uint8_t ed[ED_BYTES];

	peer_key(n, ed, now);
	return pins_rotate(w->p, old, ed, x_of((uint8_t)(100 + n)), WALL_T, keep_verified);
}

/* A trusted, verified peer number 1 with all that can move. */
static struct node_id rich(struct world *w, struct psks *psks)
{
	struct node_id bob = meet(w, 1, "bob", PIN_TRUSTED);

	*psks = (struct psks){0};
	assert_true(psks_confirm(psks, x_of(1), NULL));
	assert_int_equal(pins_set_alias(w->p, &bob, "mine", NULL), ERR_OK);
	assert_int_equal(pins_set_verified(w->p, &bob, true), ERR_OK);
	assert_int_equal(pins_bind_address(w->p, &bob, "b:1", NULL), ERR_OK);
	assert_int_equal(pins_prove_x(w->p, &bob, x_of(7), WALL_T, NULL), ERR_OK);
	assert_int_equal(pins_set_psks(w->p, &bob, psks), ERR_OK);
	assert_int_equal(pins_im2_address_add(w->p, "b:1", &bob), ERR_OK);
	return bob;
}

static void everything_moves_to_the_new_identity(void **state)
{
	struct world w;
	struct psks psks, out;
	struct node_id now, owner;

	world_make(&w);
	struct node_id bob = rich(&w, &psks);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(rotate_to(&w, &bob, 2, false, &now), ERR_OK);
	assert_true(pins_state_dirty(w.p));

	const struct pin *pin = pin_of(&w, &now), *old = pin_of(&w, &bob);
	assert_int_equal(pin->state, PIN_TRUSTED);
	assert_false(pin->verified); /* nobody compared this fingerprint */
	assert_string_equal(pin->via, "rotate");
	assert_string_equal(pin->alias, "mine");
	assert_ptr_equal(pins_by_name(w.p, "bob"), pin);
	assert_ptr_equal(pins_by_address(w.p, "b:1"), pin);
	assert_int_equal(pin->im2_since_ms, WALL_T);
	assert_int_equal(pin->version_floor, V09);
	assert_true(pins_im2_address_has(w.p, "b:1", &owner));
	assert_true(node_id_eq(&owner, &now));
	assert_int_equal(pins_get_psks(w.p, &now, &out), ERR_OK);
	assert_memory_equal(&out, &psks, sizeof out);
	/* Not proven, but good enough to begin with. */
	assert_false(pin->x_proven);
	assert_ptr_equal(pins_by_x(w.p, x_of(102), NULL), pin);
	assert_memory_equal(pins_ik_x(w.p, pin), x_of(102), X25519_BYTES);

	assert_int_equal(old->state, PIN_TRUSTED); /* for what is late */
	assert_true(node_id_eq(&old->successor, &now));
	assert_int_equal(old->rotated_ms, WALL_T);
	assert_string_equal(old->alias, "");
	assert_int_equal(old->address_count, 0);
	assert_int_not_equal(old->im2_since_ms, 0);
	assert_null(pins_rec(w.p, &bob)->psks);
	assert_ptr_equal(pins_current(w.p, &bob), pin);
	assert_ptr_equal(pins_current(w.p, &now), pin);

	assert_int_equal(pins_prove_x(w.p, &now, x_of(102), WALL_T + 5, NULL), ERR_OK);
	assert_true(pin->x_proven && !pin->x_imported);
	assert_int_equal(pin->im2_since_ms, WALL_T);
	world_free(&w);
}

static void verified_moves_only_when_asked_for(void **state)
{
	struct world w;
	struct psks psks;
	struct node_id now;

	world_make(&w);
	struct node_id bob = rich(&w, &psks);
	assert_int_equal(rotate_to(&w, &bob, 2, true, &now), ERR_OK);
	assert_true(pin_of(&w, &now)->verified);
	world_free(&w);
}

static void states_go_along(void **state)
{
	struct world w;
	struct node_id now;

	world_make(&w);
	struct node_id eve = meet(&w, 1, "eve", PIN_PENDING), dan = meet(&w, 2, "dan", PIN_TRUSTED),
		       carol = meet(&w, 3, "carol", PIN_TRUSTED), known = meet(&w, 4, "carol2", PIN_TRUSTED);
	assert_int_equal(rotate_to(&w, &eve, 11, true, &now), ERR_OK);
	assert_int_equal(pin_of(&w, &now)->state, PIN_PENDING);
	assert_int_equal(pins_set_state(w.p, &dan, PIN_BLOCKED, "spam", NULL), ERR_OK);
	assert_int_equal(rotate_to(&w, &dan, 12, true, &now), ERR_OK);
	assert_int_equal(pin_of(&w, &now)->state, PIN_BLOCKED);
	assert_string_equal(pin_of(&w, &now)->reason, "spam");
	assert_int_equal(pins_set_state(w.p, &carol, PIN_BLOCKED, "spam", NULL), ERR_OK);
	assert_int_equal(rotate_to(&w, &carol, 4, true, &now), ERR_OK); /* one owner, one block */
	assert_int_equal(pin_of(&w, &known)->state, PIN_BLOCKED);
	world_free(&w);
}

static void known_identity_keeps_its_own(void **state)
{
	struct world w;
	struct psks psks, own = {0}, out;
	struct node_id now;

	world_make(&w);
	struct node_id bob = rich(&w, &psks), two = meet(&w, 2, "bob", PIN_PENDING);
	struct pin_alarm a = alarm_of("bob", false, &bob, 2, "bob", WALL_T);
	assert_int_equal(pins_alarm(w.p, &a), ERR_OK);
	assert_int_equal(pins_prove_x(w.p, &two, x_of(9), WALL_T + 1, NULL), ERR_OK);
	assert_true(psks_confirm(&own, x_of(5), NULL));
	assert_int_equal(pins_set_psks(w.p, &two, &own), ERR_OK);
	assert_int_equal(rotate_to(&w, &bob, 2, false, &now), ERR_OK);
	const struct pin *pin = pin_of(&w, &two);
	assert_int_equal(pin->state, PIN_TRUSTED);
	assert_true(pin->x_proven);
	assert_memory_equal(pin->x25519, x_of(9), X25519_BYTES);
	assert_int_equal(pins_get_psks(w.p, &two, &out), ERR_OK);
	assert_memory_equal(&out, &own, sizeof out);
	assert_ptr_equal(pins_by_name(w.p, "bob"), pin);
	assert_int_equal(pins_alarms(w.p, NULL), 0); /* it was explained */
	world_free(&w);
}

static void what_cannot_be_a_rotation_is_refused(void **state)
{
	struct world w;
	struct psks psks;
	struct node_id now, bob, gone, dan;

	world_make(&w);
	bob = rich(&w, &psks);
	gone = meet(&w, 5, "gone", PIN_TRUSTED);
	dan = meet(&w, 6, "dan", PIN_TRUSTED);
	assert_int_equal(pins_set_state(w.p, &gone, PIN_REVOKED, NULL, NULL), ERR_OK);
	assert_int_equal(pins_set_state(w.p, &dan, PIN_BLOCKED, NULL, NULL), ERR_OK);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	size_t before = pins_count(w.p);
	assert_int_equal(rotate_to(&w, &gone, 8, false, &now), ERR_UNTRUSTED);
	assert_int_equal(rotate_to(&w, &bob, 5, false, &now), ERR_UNTRUSTED);
	assert_int_equal(rotate_to(&w, &bob, 6, false, &now), ERR_UNTRUSTED);
	assert_int_equal(rotate_to(&w, &bob, 1, false, &now), ERR_MALFORMED);
	assert_int_equal(pins_rotate(w.p, &bob, (uint8_t[ED_BYTES]){1}, x_of(1), WALL_T, false), ERR_MALFORMED);
	assert_int_equal(pins_rotate(w.p, &bob, keyring_ed(w.k), x_of(1), WALL_T, false), ERR_SELF);
	peer_key(77, (uint8_t[ED_BYTES]){0}, &now);
	assert_int_equal(rotate_to(&w, &now, 8, false, &now), ERR_NOTFOUND);
	assert_int_equal(pins_count(w.p), before);
	assert_false(pins_dirty(w.p));
	world_free(&w);
}

static void first_successor_stays(void **state)
{
	struct world w;
	struct psks psks;
	struct node_id two, three, other;

	world_make(&w);
	struct node_id bob = rich(&w, &psks);
	assert_int_equal(rotate_to(&w, &bob, 2, false, &two), ERR_OK);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(rotate_to(&w, &bob, 2, true, &two), ERR_OK); /* heard again */
	assert_false(pins_dirty(w.p));
	assert_int_equal(rotate_to(&w, &bob, 3, false, &other), ERR_EXISTS);
	assert_int_equal(rotate_to(&w, &two, 1, false, &other), ERR_WRONG_STATE); /* no way round in a circle */
	assert_int_equal(rotate_to(&w, &two, 3, false, &three), ERR_OK);
	assert_ptr_equal(pins_current(w.p, &bob), pin_of(&w, &three));
	assert_string_equal(pin_of(&w, &three)->alias, "mine");
	/* The one in the middle goes: the oldest does not come to life again. */
	assert_int_equal(pins_forget(w.p, &two), ERR_OK);
	assert_ptr_equal(pins_current(w.p, &bob), pin_of(&w, &three));
	world_free(&w);
}

static void old_identity_stays_for_thirty_days(void **state)
{
	struct world w;
	struct psks psks;
	struct node_id now, other;

	world_make(&w);
	struct node_id bob = rich(&w, &psks), dan = meet(&w, 5, "dan", PIN_TRUSTED);
	assert_int_equal(pins_set_state(w.p, &dan, PIN_BLOCKED, NULL, NULL), ERR_OK);
	assert_int_equal(rotate_to(&w, &bob, 2, false, &now), ERR_OK);
	assert_int_equal(rotate_to(&w, &dan, 3, false, &other), ERR_OK);
	assert_int_equal(pins_expire_rotated(w.p, WALL_T - 1), 0); /* a clock that went back */
	assert_int_equal(pins_expire_rotated(w.p, WALL_T + 30 * DAY_MS - 1), 0);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(pins_expire_rotated(w.p, WALL_T + 30 * DAY_MS), 1);
	assert_true(pins_state_dirty(w.p));
	assert_null(pins_get(w.p, &bob));
	assert_non_null(pins_get(w.p, &now));
	assert_non_null(pins_get(w.p, &dan)); /* a block is not forgotten */
	assert_true(pins_im2_address_has(w.p, "b:1", NULL));
	world_free(&w);
}

static void revocation_of_the_old_key_voids_the_rotation(void **state)
{
	struct world w;
	struct psks psks;
	struct node_id two, three;

	world_make(&w);
	struct node_id bob = rich(&w, &psks);
	assert_int_equal(rotate_to(&w, &bob, 2, true, &two), ERR_OK);
	assert_int_equal(rotate_to(&w, &two, 3, true, &three), ERR_OK);
	assert_int_equal(pins_set_state(w.p, &bob, PIN_REVOKED, "stolen", NULL), ERR_OK);
	for (int i = 0; i < 2; i++) {
		const struct pin *pin = pin_of(&w, i ? &three : &two);

		assert_int_equal(pin->state, PIN_PENDING);
		assert_false(pin->verified || pin->x_imported);
		assert_string_equal(pin->alias, "");
		assert_null(pins_rec(w.p, &pin->id)->psks);
		assert_null(pins_ik_x(w.p, pin));
	}
	assert_null(pins_by_name(w.p, "bob"));
	assert_string_equal(pin_of(&w, &bob)->successor.hex, "");
	world_free(&w);
}

static void what_an_operator_decided_since_then_stays(void **state)
{
	struct world w;
	struct psks psks;
	struct node_id two;

	world_make(&w);
	struct node_id bob = rich(&w, &psks);
	assert_int_equal(rotate_to(&w, &bob, 2, false, &two), ERR_OK);
	assert_int_equal(pins_set_verified(w.p, &two, true), ERR_OK);
	assert_int_equal(pins_set_state(w.p, &bob, PIN_REVOKED, NULL, NULL), ERR_OK);
	assert_int_equal(pin_of(&w, &two)->state, PIN_TRUSTED);
	assert_true(pin_of(&w, &two)->verified);
	assert_non_null(pins_rec(w.p, &two)->psks);
	world_free(&w);
}

/* Room for the new record is never made by throwing out the old one. */
static void rotation_in_a_crowd_of_strangers(void **state)
{
	struct world w;
	struct node_id first = {""}, now;

	world_make(&w);
	for (unsigned n = 0; n < PINS_PENDING_MAX; n++) {
		struct node_id id = meet(&w, 1000 + n, "x", PIN_PENDING);

		if (n == 0)
			first = id; /* seen longest ago */
	}
	assert_int_equal(rotate_to(&w, &first, 2, false, &now), ERR_OK);
	assert_int_equal(pins_count_state(w.p, PIN_PENDING), PINS_PENDING_MAX);
	assert_ptr_equal(pins_current(w.p, &first), pin_of(&w, &now));
	world_free(&w);
}

static void rotation_comes_back_from_a_copy(void **state)
{
	struct world w;
	struct psks psks, out;
	struct pins_copy *was;
	struct node_id now;
	char *inner[2];
	struct buf b;

	world_make(&w);
	struct node_id bob = rich(&w, &psks);
	w.p->path = strdup("/nonexistent/known_peers.json");
	for (int i = 0; i < 2; i++) {
		buf_init(&b, PINS_FILE_MAX);
		assert_int_equal(pins_write_inner(w.p, &b), ERR_OK);
		inner[i] = strdup(buf_cstr(&b));
		buf_fini(&b);
		if (i == 1)
			break;
		assert_int_equal(pins_copy(w.p, &was), ERR_OK);
		enum err e = rotate_to(&w, &bob, 2, true, &now);
		assert_int_equal(e, ERR_OK);
		assert_int_not_equal(pins_settle(w.p, was, e, NULL), ERR_OK);
	}
	assert_string_equal(inner[0], inner[1]);
	assert_null(pins_get(w.p, &now));
	assert_int_equal(pins_get_psks(w.p, &bob, &out), ERR_OK);
	assert_memory_equal(&out, &psks, sizeof out);
	free(inner[0]);
	free(inner[1]);
	world_free(&w);
}

static void who_it_was_is_found_from_the_nearest_back(void **state)
{
	struct world w;
	struct psks psks;
	struct node_id second, third, was[4];

	world_make(&w);
	struct node_id first = rich(&w, &psks), other = meet(&w, 9, "other", PIN_TRUSTED);

	assert_int_equal(rotate_to(&w, &first, 2, false, &second), ERR_OK);
	assert_int_equal(pins_former(w.p, &first, was, 4), 0);
	assert_int_equal(pins_former(w.p, &second, was, 4), 1);
	assert_true(node_id_eq(&was[0], &first));
	assert_int_equal(rotate_to(&w, &second, 3, false, &third), ERR_OK);
	assert_int_equal(pins_former(w.p, &third, was, 4), 2);
	assert_true(node_id_eq(&was[0], &second));
	assert_true(node_id_eq(&was[1], &first));
	assert_int_equal(pins_former(w.p, &third, was, 1), 1);
	assert_int_equal(pins_former(w.p, &third, was, 0), 0);
	assert_int_equal(pins_former(w.p, &other, was, 4), 0);
	assert_true(pins_same(w.p, &first, &third));
	assert_true(pins_same(w.p, &third, &second));
	assert_true(pins_same(w.p, &other, &other));
	assert_false(pins_same(w.p, &other, &first));
	peer_key(77, (uint8_t[ED_BYTES]){ 0 }, &other); /* unknown */
	assert_true(pins_same(w.p, &other, &other));
	assert_false(pins_same(w.p, &other, &first));
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_moves_to_the_new_identity),
		cmocka_unit_test(verified_moves_only_when_asked_for),
		cmocka_unit_test(states_go_along),
		cmocka_unit_test(known_identity_keeps_its_own),
		cmocka_unit_test(what_cannot_be_a_rotation_is_refused),
		cmocka_unit_test(first_successor_stays),
		cmocka_unit_test(who_it_was_is_found_from_the_nearest_back),
		cmocka_unit_test(old_identity_stays_for_thirty_days),
		cmocka_unit_test(revocation_of_the_old_key_voids_the_rotation),
		cmocka_unit_test(what_an_operator_decided_since_then_stays),
		cmocka_unit_test(rotation_in_a_crowd_of_strangers),
		cmocka_unit_test(rotation_comes_back_from_a_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
