#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/trust_pins.h"
#include "trust/pins_internal.h"
#include "trust/policy.h"

/* A world where bob (1) has spoken im2 and carol (2) never did. */
struct ask {
	struct world w;
	struct policy policy;
	struct node_id bob, carol;
	uint8_t ed[ED_BYTES];
	struct admit_request r;
	struct admit_result out;
};

static const uint8_t *x_of(uint8_t n)
{
	static uint8_t x[X25519_BYTES];

	memset(x, n, sizeof x);
	return x;
}

static void ask_make(struct ask *a)
{
	world_make(&a->w);
	policy_init(&a->policy);
	a->bob = meet(&a->w, 1, "bob", PIN_TRUSTED);
	a->carol = meet(&a->w, 2, "carol", PIN_TRUSTED);
	assert_int_equal(pins_prove_x(a->w.p, &a->bob, x_of(7), WALL_T, NULL), ERR_OK);
	assert_int_equal(pins_im2_address_add(a->w.p, "b:1", &a->bob), ERR_OK);
}

static void ask_free(struct ask *a)
{
	policy_fini(&a->policy);
	world_free(&a->w);
}

static enum err admit(struct ask *a)
{
	policy_admit(&a->policy, a->w.p, &a->r, &a->out);
	if (a->out.verdict != ERR_OK) {
		assert_int_equal(a->out.fault.err, a->out.verdict);
		assert_helpful(&a->out.fault, "", "");
		assert_true(a->out.fault.next[0] != '\0');
	}
	return a->out.verdict;
}

static enum err ask(struct ask *a, unsigned n, const char *name, const char *generation)
{
	a->r = (struct admit_request){.ed = a->ed, .name = name, .generation = generation,
				      .version = V09, .self = keyring_id(a->w.k)};
	peer_key(n, a->ed, &a->r.id);
	return admit(a);
}

static enum err ask_marked(struct ask *a, unsigned n, const char *name)
{
	(void)ask(a, n, name, "0.9");
	a->r.marked = true;
	return admit(a);
}

static enum err ask_x(struct ask *a, unsigned n, const char *name, uint8_t x)
{
	(void)ask(a, n, name, "im2");
	a->r.x25519 = x_of(x);
	return admit(a);
}

static void setting_has_words(void **state)
{
	enum im2_setting s = IM2_OFF;
	struct policy p;

	for (enum im2_setting i = IM2_OFF; i <= IM2_REQUIRE; i++) {
		assert_int_equal(im2_setting_parse(bytes_str(im2_setting_word(i)), &s), ERR_OK);
		assert_int_equal(s, i);
	}
	assert_int_equal(im2_setting_parse(BYTES_LIT("On"), &s), ERR_MALFORMED);
	assert_int_equal(im2_setting_parse(BYTES_LIT(""), &s), ERR_MALFORMED);
	assert_string_equal(im2_setting_word(3), "unknown");
	policy_init(&p);
	assert_int_equal(p.im2, IM2_ON);
	policy_fini(&p);
}

static void who_has_spoken_im2_never_comes_back_with_less(void **state)
{
	struct ask a;

	ask_make(&a);
	assert_int_equal(ask(&a, 1, "bob", "im2"), ERR_OK);
	assert_int_equal(ask(&a, 1, "bob", "0.9"), ERR_DOWNGRADE);
	assert_helpful(&a.out.fault, a.bob.hex, "ironmesh trust allow-downgrade");
	assert_non_null(strstr(a.out.fault.next, a.bob.hex));
	assert_int_equal(ask(&a, 1, "bob", NULL), ERR_DOWNGRADE); /* who does not say speaks 0.9 */
	assert_int_equal(ask(&a, 2, "carol", "0.9"), ERR_OK);
	assert_int_equal(ask(&a, 3, "dan", "0.9"), ERR_OK);
	/* The command that the fault named. */
	assert_int_equal(pins_forget_im2(a.w.p, &a.bob), ERR_OK);
	assert_int_equal(ask(&a, 1, "bob", "0.9"), ERR_OK);
	ask_free(&a);
}

static void require_takes_nobody_on_the_old_wire(void **state)
{
	struct ask a;

	ask_make(&a);
	a.policy.im2 = IM2_REQUIRE;
	assert_int_equal(ask(&a, 2, "carol", "0.9"), ERR_DOWNGRADE);
	assert_helpful(&a.out.fault, a.carol.hex, "set im2");
	assert_int_equal(ask(&a, 3, "dan", "0.9"), ERR_DOWNGRADE);
	assert_int_equal(ask(&a, 1, "bob", NULL), ERR_DOWNGRADE);
	assert_int_equal(ask(&a, 1, "bob", "im2"), ERR_OK);
	assert_int_equal(ask(&a, 3, "dan", "im2"), ERR_OK);
	ask_free(&a);
}

static void mark_shows_that_the_offer_was_taken_out(void **state)
{
	struct ask a;

	ask_make(&a);
	assert_int_equal(ask_marked(&a, 2, "carol"), ERR_DOWNGRADE);
	assert_helpful(&a.out.fault, a.carol.hex, "ironmesh doctor");
	assert_int_equal(ask_marked(&a, 3, "dan"), ERR_DOWNGRADE);
	ask_free(&a);
}

/* The operator chose the old wire, with all that follows. */
static void off_refuses_nobody_for_im2(void **state)
{
	struct ask a;

	ask_make(&a);
	a.policy.im2 = IM2_OFF;
	assert_int_equal(ask(&a, 1, "bob", "0.9"), ERR_OK);
	assert_int_equal(ask_marked(&a, 1, "bob"), ERR_OK);
	assert_int_equal(policy_dial_legacy(&a.policy, a.w.p, "b:1", &a.bob, NULL), ERR_OK);
	ask_free(&a);
}

static void trust_comes_before_the_generation(void **state)
{
	struct ask a;

	ask_make(&a);
	assert_int_equal(pins_set_state(a.w.p, &a.bob, PIN_BLOCKED, NULL, NULL), ERR_OK);
	assert_int_equal(ask(&a, 1, "bob", "0.9"), ERR_UNTRUSTED);
	assert_int_equal(ask(&a, 1, "bob", "im2"), ERR_UNTRUSTED);
	ask_free(&a);
}

static void version_says_nothing_about_im2(void **state)
{
	struct ask a;

	ask_make(&a);
	a.policy.min_version = V09 + 1;
	assert_int_equal(ask(&a, 2, "carol", "0.9"), ERR_VERSION);
	assert_int_equal(ask(&a, 2, "carol", "im2"), ERR_OK);
	a.policy.min_version = 0;
	assert_int_equal(meet_again(&a.w, 2, "carol", V09 + 1), ERR_OK);
	assert_int_equal(ask(&a, 2, "carol", "0.9"), ERR_DOWNGRADE);
	assert_int_equal(ask(&a, 2, "carol", "im2"), ERR_OK);
	ask_free(&a);
}

static void name_and_address_alarms_hold_for_im2(void **state)
{
	struct ask a;

	ask_make(&a);
	assert_int_equal(ask(&a, 3, "bob", "im2"), ERR_KEY_CHANGED);
	assert_true(node_id_eq(&a.out.alarm.was, &a.bob));
	ask_free(&a);
}

static void static_key_of_another_is_refused(void **state)
{
	struct ask a;

	ask_make(&a);
	assert_int_equal(ask_x(&a, 1, "bob", 7), ERR_OK);
	assert_int_equal(ask_x(&a, 1, "bob", 8), ERR_OK); /* replaces its own */
	assert_int_equal(ask_x(&a, 2, "carol", 7), ERR_EXISTS);
	assert_helpful(&a.out.fault, a.bob.hex, "ironmesh peers show");
	assert_int_equal(ask_x(&a, 3, "dan", 7), ERR_EXISTS);
	assert_int_equal(ask_x(&a, 2, "carol", 9), ERR_OK);
	ask_free(&a);
}

static void second_key_with_a_known_id_is_a_conflict(void **state)
{
	struct ask a;

	ask_make(&a);
	pins_rec(a.w.p, &a.bob)->pin.ed[0] ^= 1; /* as if two keys hashed to one id */
	assert_int_equal(ask(&a, 1, "bob", "im2"), ERR_KEY_CHANGED);
	assert_helpful(&a.out.fault, "two different keys", a.bob.hex);
	assert_int_equal(ask(&a, 1, "bob", "0.9"), ERR_KEY_CHANGED);
	ask_free(&a);
}

static void rotated_identity_comes_with_its_new_key(void **state)
{
	struct ask a;
	uint8_t ed[ED_BYTES];
	struct node_id now;

	ask_make(&a);
	peer_key(5, ed, &now);
	assert_int_equal(pins_rotate(a.w.p, &a.bob, ed, x_of(8), WALL_T, false), ERR_OK);
	assert_int_equal(ask(&a, 1, "bob", "im2"), ERR_UNTRUSTED);
	assert_helpful(&a.out.fault, a.bob.hex, now.hex);
	assert_int_equal(ask_x(&a, 5, "bob", 8), ERR_OK);
	assert_int_equal(a.out.state, PIN_TRUSTED);
	/* Configured with the old id: the rotation is known, so it is no surprise. */
	a.r.expected = &a.bob;
	assert_int_equal(admit(&a), ERR_OK);
	a.r.expected = &a.carol;
	assert_int_equal(admit(&a), ERR_KEY_CHANGED);
	assert_int_equal(ask(&a, 5, "bob", "0.9"), ERR_DOWNGRADE);
	ask_free(&a);
}

static void dial_on_the_old_wire_asks_first(void **state)
{
	struct ask a;
	struct fault f = {0};
	uint8_t ed[ED_BYTES];
	struct node_id now;

	ask_make(&a);
	assert_int_equal(policy_dial_legacy(&a.policy, a.w.p, "c:1", NULL, &f), ERR_OK);
	assert_int_equal(policy_dial_legacy(&a.policy, a.w.p, "c:1", &a.carol, &f), ERR_OK);
	assert_int_equal(policy_dial_legacy(&a.policy, a.w.p, NULL, NULL, &f), ERR_OK);
	assert_int_equal(policy_dial_legacy(&a.policy, a.w.p, "b:1", NULL, &f), ERR_DOWNGRADE);
	assert_helpful(&f, "b:1", a.bob.hex); /* whoever answers there */
	assert_int_equal(policy_dial_legacy(&a.policy, a.w.p, "c:1", &a.bob, &f), ERR_DOWNGRADE);
	assert_helpful(&f, "c:1", "ironmesh trust allow-downgrade");
	assert_int_equal(policy_dial_legacy(&a.policy, a.w.p, NULL, &a.bob, &f), ERR_DOWNGRADE);
	peer_key(5, ed, &now);
	assert_int_equal(pins_rotate(a.w.p, &a.bob, ed, x_of(8), WALL_T, false), ERR_OK);
	assert_int_equal(policy_dial_legacy(&a.policy, a.w.p, "d:1", &a.bob, &f), ERR_DOWNGRADE);
	assert_helpful(&f, "d:1", now.hex);
	assert_int_equal(pins_forget_im2(a.w.p, &now), ERR_OK);
	assert_int_equal(policy_dial_legacy(&a.policy, a.w.p, "b:1", &a.bob, &f), ERR_OK);
	a.policy.im2 = IM2_REQUIRE;
	assert_int_equal(policy_dial_legacy(&a.policy, a.w.p, "c:1", NULL, &f), ERR_DOWNGRADE);
	assert_helpful(&f, "c:1", "set im2");
	ask_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(setting_has_words),
		cmocka_unit_test(who_has_spoken_im2_never_comes_back_with_less),
		cmocka_unit_test(require_takes_nobody_on_the_old_wire),
		cmocka_unit_test(mark_shows_that_the_offer_was_taken_out),
		cmocka_unit_test(off_refuses_nobody_for_im2),
		cmocka_unit_test(trust_comes_before_the_generation),
		cmocka_unit_test(version_says_nothing_about_im2),
		cmocka_unit_test(name_and_address_alarms_hold_for_im2),
		cmocka_unit_test(static_key_of_another_is_refused),
		cmocka_unit_test(second_key_with_a_known_id_is_a_conflict),
		cmocka_unit_test(rotated_identity_comes_with_its_new_key),
		cmocka_unit_test(dial_on_the_old_wire_asks_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
