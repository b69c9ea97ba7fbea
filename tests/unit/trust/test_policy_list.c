#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/trust_pins.h"
#include "trust/policy.h"

struct ask {
	struct world w;
	struct policy policy;
	struct admit_result out;
};

static void make(struct ask *a, const char *list)
{
	world_make(&a->w);
	policy_init(&a->policy);
	assert_int_equal(policy_allow(&a->policy, list, NULL), ERR_OK);
}

static void end(struct ask *a)
{
	policy_fini(&a->policy);
	world_free(&a->w);
}

static enum err comes_invited(struct ask *a, unsigned n, const char *name, bool trusted)
{
	uint8_t ed[ED_BYTES];
	struct admit_request r = { .ed = ed, .name = name, .version = V09, .self = keyring_id(a->w.k), .invited = true,
				   .invited_trusted = trusted };

	peer_key(n, ed, &r.id);
	policy_admit(&a->policy, a->w.p, &r, &a->out);
	return a->out.verdict;
}

static enum err comes(struct ask *a, unsigned n, const char *name)
{
	uint8_t ed[ED_BYTES];
	struct admit_request r = { .ed = ed, .name = name, .version = V09, .self = keyring_id(a->w.k) };

	peer_key(n, ed, &r.id);
	policy_admit(&a->policy, a->w.p, &r, &a->out);
	if (a->out.verdict != ERR_OK)
		assert_true(a->out.fault.what[0] && a->out.fault.means[0] && a->out.fault.next[0]);
	return a->out.verdict;
}

static struct node_id id_of_peer(unsigned n)
{
	uint8_t ed[ED_BYTES];
	struct node_id id;

	peer_key(n, ed, &id);
	return id;
}

static void rotate(struct ask *a, const struct node_id *old, unsigned to, uint64_t wall_ms)
{
	uint8_t ed[ED_BYTES], x[X25519_BYTES] = { 9 };
	struct node_id id;

	peer_key(to, ed, &id);
	assert_int_equal(pins_rotate(a->w.p, old, ed, x, wall_ms, false), ERR_OK);
}

static void whom_the_list_does_not_mean_is_refused_however_well_known(void **state)
{
	struct ask a;

	make(&a, "alice");
	struct node_id bob = meet(&a.w, 1, "bob", PIN_TRUSTED);
	char next[80];

	assert_int_equal(comes(&a, 1, "bob"), ERR_DENIED);
	snprintf(next, sizeof next, "ironmesh run --allowed-peers %s", bob.hex);
	assert_helpful(&a.out.fault, "not among the allowed peers", next);
	assert_int_equal(a.out.fault.code, EXIT_POLICY);
	meet(&a.w, 2, "dan", PIN_PENDING);
	assert_int_equal(comes(&a, 2, "dan"), ERR_DENIED);
	/* It may call itself as it likes. */
	a.policy.trust_on_first_use = true;
	assert_int_equal(comes(&a, 3, "carol"), ERR_DENIED);
	/* The command that it names does let it in. */
	assert_int_equal(policy_allow(&a.policy, bob.hex, NULL), ERR_OK);
	assert_int_equal(comes(&a, 1, "bob"), ERR_OK);
	end(&a);
}

static void a_bare_name_asks_for_a_stranger_and_then_means_one_key(void **state)
{
	struct ask a;

	make(&a, "alice");
	assert_int_equal(comes(&a, 1, "alice"), ERR_OK);
	assert_true(a.out.is_new);
	assert_int_equal(a.out.state, PIN_PENDING);
	struct node_id alice = meet(&a.w, 1, "alice", PIN_PENDING);
	/* Nobody is meant yet: both may ask. */
	assert_int_equal(comes(&a, 1, "alice"), ERR_OK);
	assert_int_equal(a.out.state, PIN_PENDING);
	assert_int_equal(comes(&a, 2, "alice"), ERR_OK);
	assert_int_equal(a.out.state, PIN_PENDING);
	meet(&a.w, 2, "alice", PIN_PENDING);
	/* Decided: the other one is an impostor, known or not. */
	assert_int_equal(pins_set_state(a.w.p, &alice, PIN_TRUSTED, NULL, NULL), ERR_OK);
	assert_int_equal(comes(&a, 1, "alice"), ERR_OK);
	assert_int_equal(a.out.state, PIN_TRUSTED);
	for (unsigned n = 2; n < 4; n++) {
		assert_int_equal(comes(&a, n, "alice"), ERR_KEY_CHANGED);
		assert_string_equal(a.out.alarm.subject, "alice");
		assert_string_equal(a.out.alarm.was.hex, alice.hex);
	}
	end(&a);
}

static void a_stranger_called_like_the_alias_of_another_is_an_alarm(void **state)
{
	struct ask a;

	make(&a, "alice");
	struct node_id mine = meet(&a.w, 1, "laptop-7", PIN_TRUSTED);

	assert_int_equal(comes(&a, 1, "laptop-7"), ERR_DENIED);
	assert_int_equal(pins_set_alias(a.w.p, &mine, "alice", NULL), ERR_OK);
	assert_int_equal(comes(&a, 1, "laptop-7"), ERR_OK);
	assert_int_equal(comes(&a, 2, "alice"), ERR_KEY_CHANGED);
	assert_string_equal(a.out.alarm.was.hex, mine.hex);
	struct node_id known = meet(&a.w, 3, "carol", PIN_TRUSTED);

	assert_int_equal(comes(&a, 3, "alice"), ERR_KEY_CHANGED);
	assert_string_equal(a.out.alarm.now.hex, known.hex);
	end(&a);
}

static void who_is_trusted_takes_no_listed_name_by_asking(void **state)
{
	struct ask a;
	char next[80];

	make(&a, "alice");
	struct node_id bob = meet(&a.w, 1, "bob", PIN_TRUSTED);

	assert_int_equal(comes(&a, 1, "alice"), ERR_DENIED);
	snprintf(next, sizeof next, "ironmesh peers alias %s alice", bob.hex);
	assert_helpful(&a.out.fault, "not among the allowed peers", next);
	assert_int_equal(pins_set_alias(a.w.p, &bob, "alice", NULL), ERR_OK);
	assert_int_equal(comes(&a, 1, "alice"), ERR_OK);
	end(&a);
}

static void a_rotated_identity_is_refused_and_its_new_one_is_meant(void **state)
{
	for (int by_name = 0; by_name < 2; by_name++) {
		struct ask a;
		struct node_id was = id_of_peer(1), now = id_of_peer(2);
		struct fault f = { 0 };

		make(&a, by_name ? "carol" : was.hex);
		meet(&a.w, 1, "carol", PIN_TRUSTED);
		rotate(&a, &was, 2, 1000);
		assert_int_equal(comes(&a, 1, "carol"), ERR_UNTRUSTED);
		assert_int_equal(comes(&a, 1, "somebody"), ERR_UNTRUSTED);
		assert_int_equal(comes(&a, 2, "carol"), ERR_OK);
		assert_int_equal(a.out.state, PIN_TRUSTED);
		assert_int_equal(policy_may_meet(&a.policy, a.w.p, &was, &f), ERR_DENIED);
		assert_non_null(strstr(f.what, now.hex));
		assert_int_equal(policy_may_meet(&a.policy, a.w.p, &now, NULL), ERR_OK);
		end(&a);
	}
}

static bool keep(const void *policy, const struct node_id *id)
{
	return policy_lists(policy, id);
}

static void an_old_id_on_the_list_never_becomes_a_stranger(void **state)
{
	struct ask a;
	struct node_id was = id_of_peer(1);
	uint64_t later = 1000 + PINS_ROTATED_KEEP_MS;

	make(&a, was.hex);
	meet(&a.w, 1, "carol", PIN_TRUSTED);
	meet(&a.w, 3, "dora", PIN_TRUSTED);
	rotate(&a, &was, 2, 1000);
	struct node_id dora = id_of_peer(3);

	rotate(&a, &dora, 4, 1000);
	assert_int_equal(pins_expire_rotated_but(a.w.p, later, keep, &a.policy), 1); /* dora's old one */
	assert_null(pins_get(a.w.p, &dora));
	assert_int_equal(comes(&a, 1, "zoe"), ERR_UNTRUSTED);
	assert_int_equal(comes(&a, 2, "carol"), ERR_OK);
	end(&a);
}

static void replaced_and_revoked_keys_stay_out_although_listed(void **state)
{
	struct ask a;
	struct node_id old = id_of_peer(1), fresh = id_of_peer(2);

	make(&a, "carol");
	assert_int_equal(policy_allow(&a.policy, old.hex, NULL), ERR_OK);
	meet(&a.w, 1, "carol", PIN_TRUSTED);
	assert_int_equal(comes(&a, 2, "carol"), ERR_KEY_CHANGED);
	assert_int_equal(pins_alarm(a.w.p, &a.out.alarm), ERR_OK);
	assert_int_equal(pins_repin(a.w.p, "carol", &fresh, 5000, NULL), ERR_OK);
	assert_int_equal(comes(&a, 1, "carol"), ERR_UNTRUSTED);
	assert_int_equal(comes(&a, 1, "x"), ERR_UNTRUSTED);
	assert_int_equal(comes(&a, 2, "carol"), ERR_OK);
	assert_int_equal(pins_set_state(a.w.p, &fresh, PIN_REVOKED, "stolen", NULL), ERR_OK);
	assert_int_equal(comes(&a, 2, "carol"), ERR_UNTRUSTED);
	/* A name that meant a revoked key means nobody, also when it was our word for it. */
	assert_int_equal(comes(&a, 3, "carol"), ERR_OK);
	assert_int_equal(a.out.state, PIN_PENDING);
	end(&a);
}

static void nothing_goes_out_to_whom_the_list_cannot_mean(void **state)
{
	struct ask a;
	struct node_id bob = id_of_peer(1), alice = id_of_peer(2), eve = id_of_peer(3);
	struct fault f = { 0 };

	make(&a, "");
	assert_int_equal(policy_may_meet(&a.policy, a.w.p, &bob, &f), ERR_OK); /* no list */
	assert_int_equal(policy_allow(&a.policy, "alice", NULL), ERR_OK);
	/* Whoever is not known may be alice; who is known and called otherwise is not. */
	assert_int_equal(policy_may_meet(&a.policy, a.w.p, &eve, &f), ERR_OK);
	assert_int_equal(policy_may_meet(&a.policy, a.w.p, NULL, &f), ERR_OK);
	meet(&a.w, 1, "bob", PIN_TRUSTED);
	assert_int_equal(policy_may_meet(&a.policy, a.w.p, &bob, &f), ERR_DENIED);
	assert_helpful(&f, bob.hex, "--allowed-peers");
	meet(&a.w, 2, "alice", PIN_PENDING);
	assert_int_equal(policy_may_meet(&a.policy, a.w.p, &alice, &f), ERR_OK);
	assert_int_equal(pins_set_state(a.w.p, &alice, PIN_TRUSTED, NULL, NULL), ERR_OK);
	assert_int_equal(policy_may_meet(&a.policy, a.w.p, &alice, &f), ERR_OK);
	/* Now everybody who is meant is known. */
	assert_int_equal(policy_may_meet(&a.policy, a.w.p, &eve, &f), ERR_DENIED);
	assert_int_equal(policy_may_meet(&a.policy, a.w.p, NULL, &f), ERR_DENIED);
	assert_helpful(&f, "who would answer", "--peer");
	end(&a);
}

static void a_name_is_needed_only_where_nothing_else_is_listed(void **state)
{
	struct ask a;
	struct node_id bob = id_of_peer(1);

	make(&a, "bob");
	meet(&a.w, 1, "bob", PIN_TRUSTED);
	assert_true(policy_needs_name(&a.policy, a.w.p, &bob));
	assert_int_equal(policy_allow(&a.policy, bob.hex, NULL), ERR_OK);
	assert_false(policy_needs_name(&a.policy, a.w.p, &bob));
	end(&a);
	make(&a, "bob,work");
	meet(&a.w, 1, "bob", PIN_TRUSTED);
	assert_int_equal(pins_set_alias(a.w.p, &bob, "work", NULL), ERR_OK);
	assert_false(policy_needs_name(&a.policy, a.w.p, &bob));
	end(&a);
}

/* Whom the operator has invited is meant by the list too, from then on and as whom he rotates to. Nothing else changes. */
static void an_invite_counts_beside_the_list(void **state)
{
	struct ask a;
	struct fault f = { 0 };

	make(&a, "alice");
	assert_int_equal(comes_invited(&a, 1, "bob", false), ERR_OK);
	assert_true(a.out.is_new);
	assert_int_equal(a.out.state, PIN_PENDING);
	assert_string_equal(a.out.via, "invite");
	assert_int_equal(comes_invited(&a, 1, "bob", true), ERR_OK);
	assert_int_equal(a.out.state, PIN_TRUSTED);
	/* Known, and not invited yet. */
	struct node_id bob = meet(&a.w, 1, "bob", PIN_PENDING);

	assert_int_equal(comes(&a, 1, "bob"), ERR_DENIED);
	assert_int_equal(policy_may_meet(&a.policy, a.w.p, &bob, &f), ERR_DENIED);
	assert_int_equal(comes_invited(&a, 1, "bob", false), ERR_OK);
	assert_int_equal(pins_set_invited(a.w.p, &bob), ERR_OK);
	assert_int_equal(pins_set_invited(a.w.p, &bob), ERR_OK);
	assert_int_equal(comes(&a, 1, "bob"), ERR_OK);
	assert_int_equal(a.out.state, PIN_PENDING);
	assert_int_equal(pins_set_state(a.w.p, &bob, PIN_TRUSTED, NULL, NULL), ERR_OK);
	assert_int_equal(comes(&a, 1, "bob"), ERR_OK);
	assert_int_equal(policy_may_meet(&a.policy, a.w.p, &bob, &f), ERR_OK);
	rotate(&a, &bob, 7, 5);
	assert_int_equal(comes(&a, 7, "bob"), ERR_OK);
	assert_int_equal(comes(&a, 1, "bob"), ERR_UNTRUSTED);
	/* It is no way around a name that belongs to somebody, nor around a word that was spoken. */
	struct node_id alice = meet(&a.w, 2, "alice", PIN_TRUSTED);

	assert_int_equal(comes_invited(&a, 3, "alice", true), ERR_KEY_CHANGED);
	assert_int_equal(pins_set_state(a.w.p, &alice, PIN_BLOCKED, "no", NULL), ERR_OK);
	assert_int_equal(comes_invited(&a, 2, "alice", true), ERR_UNTRUSTED);
	assert_int_equal(pins_set_invited(a.w.p, &alice), ERR_UNTRUSTED);
	struct node_id nobody = id_of_peer(60);

	assert_int_equal(pins_set_invited(a.w.p, &nobody), ERR_NOTFOUND);
	end(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whom_the_list_does_not_mean_is_refused_however_well_known),
		cmocka_unit_test(a_bare_name_asks_for_a_stranger_and_then_means_one_key),
		cmocka_unit_test(a_stranger_called_like_the_alias_of_another_is_an_alarm),
		cmocka_unit_test(who_is_trusted_takes_no_listed_name_by_asking),
		cmocka_unit_test(a_rotated_identity_is_refused_and_its_new_one_is_meant),
		cmocka_unit_test(an_old_id_on_the_list_never_becomes_a_stranger),
		cmocka_unit_test(replaced_and_revoked_keys_stay_out_although_listed),
		cmocka_unit_test(nothing_goes_out_to_whom_the_list_cannot_mean),
		cmocka_unit_test(a_name_is_needed_only_where_nothing_else_is_listed),
		cmocka_unit_test(an_invite_counts_beside_the_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
