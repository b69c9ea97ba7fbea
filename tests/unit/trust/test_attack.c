#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/trust_pins.h"
#include "trust/policy.h"

/*
 * The attacks of ironmesh-wire 12 on who is who: names, addresses, versions, and what a refusal leaves behind.
 * tests/lib/make-weakness-table reads the names.
 */

#define BOB 1
#define MALLORY 2
#define HERE "192.0.2.1:8765"

struct ask {
	struct world w;
	struct policy policy;
	struct node_id bob;
	uint8_t ed[ED_BYTES], x[X25519_BYTES];
	struct admit_request r;
	struct admit_result out;
};

static void ask_make(struct ask *a)
{
	world_make(&a->w);
	policy_init(&a->policy);
	a->bob = meet(&a->w, BOB, "bob", PIN_TRUSTED);
	memset(a->x, 7, sizeof a->x);
	assert_int_equal(pins_prove_x(a->w.p, &a->bob, a->x, WALL_T, NULL), ERR_OK);
	assert_int_equal(pins_bind_address(a->w.p, &a->bob, HERE, NULL), ERR_OK);
}

static void ask_free(struct ask *a)
{
	policy_fini(&a->policy);
	world_free(&a->w);
}

static enum err ask(struct ask *a, unsigned n, const char *name, const char *address, const char *generation)
{
	a->r = (struct admit_request){.ed = a->ed, .name = name, .generation = generation, .version = V09,
				      .self = keyring_id(a->w.k), .dialled = address};
	peer_key(n, a->ed, &a->r.id);
	policy_admit(&a->policy, a->w.p, &a->r, &a->out);
	return a->out.verdict;
}

static void weakness_07_names_and_addresses_belong_to_keys(void **state)
{
	struct ask a;
	struct node_id mallory;
	uint8_t x[X25519_BYTES], ed[ED_BYTES];

	ask_make(&a);
	peer_key(MALLORY, ed, &mallory);
	/* bob's name, bob's address, with another key: an alarm that names both, also where strangers are trusted. */
	a.policy.trust_on_first_use = true;
	assert_int_equal(ask(&a, MALLORY, "bob", NULL, "im2"), ERR_KEY_CHANGED);
	assert_true(node_id_eq(&a.out.alarm.was, &a.bob));
	assert_true(node_id_eq(&a.out.alarm.now, &mallory));
	assert_int_equal(ask(&a, MALLORY, "somebody", HERE, "im2"), ERR_KEY_CHANGED);
	assert_true(a.out.alarm.is_address);
	/* A stranger is pending unless the operator said otherwise. */
	a.policy.trust_on_first_use = false;
	assert_int_equal(ask(&a, MALLORY, "somebody", NULL, "im2"), ERR_OK);
	assert_int_equal(a.out.state, PIN_PENDING);
	/* And bob's exchange key stays his. */
	meet(&a.w, MALLORY, "somebody", PIN_TRUSTED);
	memcpy(x, a.x, sizeof x);
	assert_int_equal(pins_prove_x(a.w.p, &mallory, x, WALL_T, NULL), ERR_EXISTS);
	ask_free(&a);
}

static void weakness_10_nobody_shows_less_than_he_has_shown(void **state)
{
	struct ask a;

	ask_make(&a);
	assert_int_equal(ask(&a, BOB, "bob", HERE, "im2"), ERR_OK);
	assert_int_equal(ask(&a, BOB, "bob", HERE, "0.9"), ERR_DOWNGRADE);
	/* Who never spoke im2, but says under his signature that he would have: somebody took the offer away. */
	(void)ask(&a, MALLORY, "carol", NULL, "0.9");
	a.r.marked = true;
	policy_admit(&a.policy, a.w.p, &a.r, &a.out);
	assert_int_equal(a.out.verdict, ERR_DOWNGRADE);
	/* And the switch for the whole mesh. */
	a.policy.im2 = IM2_REQUIRE;
	assert_int_equal(ask(&a, MALLORY, "carol", NULL, "0.9"), ERR_DOWNGRADE);
	assert_int_equal(ask(&a, MALLORY, "carol", NULL, "im2"), ERR_OK);
	ask_free(&a);
}

static void weakness_35_a_refusal_writes_nothing(void **state)
{
	struct ask a;
	struct node_id mallory;
	uint8_t ed[ED_BYTES];
	struct pin before;

	ask_make(&a);
	peer_key(MALLORY, ed, &mallory);
	before = *pin_of(&a.w, &a.bob);
	a.policy.im2 = IM2_REQUIRE;
	assert_int_equal(ask(&a, MALLORY, "carol", "192.0.2.7:1", "0.9"), ERR_DOWNGRADE);
	assert_int_equal(ask(&a, MALLORY, "bob", HERE, "im2"), ERR_KEY_CHANGED);
	assert_int_equal(ask(&a, BOB, "bob", HERE, "0.9"), ERR_DOWNGRADE);
	assert_null(pins_get(a.w.p, &mallory));
	assert_memory_equal(&before, pin_of(&a.w, &a.bob), sizeof before);
	assert_true(node_id_eq(&pins_by_address(a.w.p, HERE)->id, &a.bob));
	ask_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(weakness_07_names_and_addresses_belong_to_keys),
		cmocka_unit_test(weakness_10_nobody_shows_less_than_he_has_shown),
		cmocka_unit_test(weakness_35_a_refusal_writes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
