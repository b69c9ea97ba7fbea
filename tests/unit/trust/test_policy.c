#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/trust_pins.h"
#include "trust/policy.h"

/* A world with a policy; ask() builds the request of peer number n. */
struct ask {
	struct world w;
	struct policy policy;
	uint8_t ed[ED_BYTES];
	struct admit_request r;
	struct admit_result out;
};

static void ask_make(struct ask *a)
{
	world_make(&a->w);
	policy_init(&a->policy);
}

static void ask_free(struct ask *a)
{
	policy_fini(&a->policy);
	world_free(&a->w);
}

static enum err ask_at(struct ask *a, unsigned n, const char *name, uint16_t version,
		       const char *dialled, const struct node_id *expected)
{
	size_t before = pins_count(a->w.p);

	a->r = (struct admit_request){.ed = a->ed,
				      .name = name,
				      .version = version,
				      .self = keyring_id(a->w.k),
				      .expected = expected,
				      .dialled = dialled};
	peer_key(n, a->ed, &a->r.id);
	if (!pins_read_only(a->w.p, NULL))
		assert_int_equal(pins_flush(a->w.p, NULL), ERR_OK);
	policy_admit(&a->policy, a->w.p, &a->r, &a->out);
	/* Pure: it reads and changes nothing. */
	assert_int_equal(pins_count(a->w.p), before);
	assert_false(pins_dirty(a->w.p));
	if (a->out.verdict != ERR_OK) {
		assert_int_equal(a->out.fault.err, a->out.verdict);
		assert_true(a->out.fault.what[0] && a->out.fault.means[0] && a->out.fault.next[0]);
		assert_true(a->out.fault.code != EXIT_DONE);
	}
	return a->out.verdict;
}

static enum err ask(struct ask *a, unsigned n, const char *name)
{
	return ask_at(a, n, name, V09, NULL, NULL);
}

/* --- the allow-list ------------------------------------------------------------------------ */

static void list_takes_commas_and_blanks(void **state)
{
	struct ask a;
	struct fault f = {0};

	ask_make(&a);
	assert_int_equal(policy_allow(&a.policy, " alice,bob  carol\n,,alice ", &f), ERR_OK);
	assert_int_equal(a.policy.allowed_count, 3);
	assert_int_equal(policy_allow(&a.policy, "dan", &f), ERR_OK);
	assert_string_equal(a.policy.allowed[3], "dan");
	assert_int_equal(policy_allow(&a.policy, "", &f), ERR_OK);
	assert_int_equal(policy_allow(&a.policy, "eve b@d", &f), ERR_USAGE);
	assert_non_null(strstr(f.what, "b@d"));
	assert_int_equal(a.policy.allowed_count, 4); /* all of it or nothing */
	assert_int_equal(policy_allow(&a.policy, "-x", &f), ERR_USAGE);
	ask_free(&a);
}

static void list_is_bounded(void **state)
{
	struct ask a;
	char entry[16];
	struct fault f = {0};

	ask_make(&a);
	for (int i = 0; i < ALLOW_MAX; i++) {
		snprintf(entry, sizeof entry, "n%d", i);
		assert_int_equal(policy_allow(&a.policy, entry, &f), ERR_OK);
	}
	assert_int_equal(policy_allow(&a.policy, "one-more", &f), ERR_USAGE);
	assert_int_equal(policy_allow(&a.policy, "n7", &f), ERR_OK); /* it is there */
	assert_int_equal(a.policy.allowed_count, ALLOW_MAX);
	ask_free(&a);
}

static void list_names_ids_names_and_aliases(void **state)
{
	struct ask a;

	ask_make(&a);
	struct node_id bob = meet(&a.w, 1, "bob", PIN_TRUSTED),
		       carol = meet(&a.w, 2, "carol", PIN_PENDING);
	assert_int_equal(policy_allow(&a.policy, bob.hex, NULL), ERR_OK);
	assert_int_equal(policy_allow(&a.policy, "mine", NULL), ERR_OK);
	assert_true(policy_allows(&a.policy, a.w.p, &bob, "whatever"));
	assert_false(policy_allows(&a.policy, a.w.p, &carol, "carol"));
	assert_int_equal(pins_set_alias(a.w.p, &carol, "mine", NULL), ERR_OK);
	assert_true(policy_allows(&a.policy, a.w.p, &carol, "carol"));
	/* Calling oneself like an id in the list is no way in. */
	assert_false(policy_allows(&a.policy, a.w.p, &(struct node_id){"x"}, bob.hex));
	ask_free(&a);
}

/* --- strangers ----------------------------------------------------------------------------- */

static void stranger_is_pending_by_default(void **state)
{
	struct ask a;

	ask_make(&a);
	assert_int_equal(ask(&a, 1, "bob"), ERR_OK);
	assert_true(a.out.is_new);
	assert_int_equal(a.out.state, PIN_PENDING);
	assert_non_null(a.out.via);
	ask_free(&a);
}

static void stranger_is_trusted_on_first_use_when_asked_for(void **state)
{
	struct ask a;

	ask_make(&a);
	a.policy.trust_on_first_use = true;
	assert_int_equal(ask(&a, 1, "bob"), ERR_OK);
	assert_true(a.out.is_new);
	assert_int_equal(a.out.state, PIN_TRUSTED);
	assert_string_equal(a.out.via, "tofu");
	ask_free(&a);
}

static void listed_id_is_trusted_and_listed_name_is_only_pending(void **state)
{
	struct ask a;
	uint8_t ed[ED_BYTES];
	struct node_id one;

	ask_make(&a);
	peer_key(1, ed, &one);
	assert_int_equal(policy_allow(&a.policy, one.hex, NULL), ERR_OK);
	assert_int_equal(policy_allow(&a.policy, "bob", NULL), ERR_OK);
	assert_int_equal(ask(&a, 1, "anything"), ERR_OK);
	assert_int_equal(a.out.state, PIN_TRUSTED);
	assert_string_equal(a.out.via, "allow-list");
	assert_int_equal(ask(&a, 2, "bob"), ERR_OK);
	assert_int_equal(a.out.state, PIN_PENDING);
	assert_string_equal(a.out.via, "allow-list");
	assert_int_equal(ask(&a, 3, one.hex), ERR_DENIED); /* the id as a name */
	ask_free(&a);
}

static void unlisted_stranger_is_denied(void **state)
{
	struct ask a;

	ask_make(&a);
	assert_int_equal(policy_allow(&a.policy, "alice", NULL), ERR_OK);
	assert_int_equal(ask(&a, 1, "bob"), ERR_DENIED);
	assert_int_equal(a.out.fault.code, EXIT_POLICY);
	assert_helpful(&a.out.fault, a.r.id.hex, a.r.id.hex);
	a.policy.trust_on_first_use = true;
	assert_int_equal(ask(&a, 1, "bob"), ERR_DENIED);
	assert_int_equal(ask(&a, 1, "alice"), ERR_OK);
	assert_int_equal(a.out.state, PIN_TRUSTED);
	ask_free(&a);
}

static void stranger_finds_no_room_in_a_full_store(void **state)
{
	struct ask a;

	ask_make(&a);
	for (unsigned i = 0; i < PINS_MAX; i++)
		meet(&a.w, i, "", PIN_TRUSTED);
	assert_int_equal(ask(&a, PINS_MAX, "bob"), ERR_FULL);
	assert_int_equal(a.out.fault.code, EXIT_RETRY);
	assert_int_equal(ask(&a, 1, ""), ERR_OK);
	ask_free(&a);
}

static void nobody_is_admitted_on_a_damaged_store(void **state)
{
	struct ask a;
	struct temp temp;

	ask_make(&a);
	temp_make(&temp, "known_peers.json");
	write_file(temp.file, "{}", 2);
	pins_free(a.w.p);
	assert_int_equal(pins_load(temp.file, a.w.k, &a.w.t.env, &a.w.p, NULL), ERR_OK);
	a.policy.trust_on_first_use = true;
	assert_int_equal(ask(&a, 1, "bob"), ERR_DENIED);
	assert_int_equal(a.out.fault.code, EXIT_INTEGRITY);
	assert_helpful(&a.out.fault, "trust store", "ironmesh doctor");
	temp_remove(&temp);
	ask_free(&a);
}

/* --- known peers --------------------------------------------------------------------------- */

static void known_peer_keeps_its_state(void **state)
{
	struct ask a;

	ask_make(&a);
	meet(&a.w, 1, "bob", PIN_TRUSTED);
	meet(&a.w, 2, "carol", PIN_PENDING);
	a.policy.trust_on_first_use = true;
	assert_int_equal(ask(&a, 1, "bob"), ERR_OK);
	assert_int_equal(a.out.state, PIN_TRUSTED);
	assert_false(a.out.is_new);
	assert_int_equal(ask(&a, 2, "carol"), ERR_OK);
	assert_int_equal(a.out.state, PIN_PENDING);
	ask_free(&a);
}

static void blocked_and_revoked_are_refused_before_all_else(void **state)
{
	struct ask a;

	ask_make(&a);
	struct node_id bob = meet(&a.w, 1, "bob", PIN_TRUSTED);
	a.policy.min_version = 0x0100;
	assert_int_equal(policy_allow(&a.policy, bob.hex, NULL), ERR_OK);
	assert_int_equal(pins_set_state(a.w.p, &bob, PIN_BLOCKED, "spam", NULL), ERR_OK);
	assert_int_equal(ask(&a, 1, "bob"), ERR_UNTRUSTED);
	assert_int_equal(a.out.fault.code, EXIT_PEER_UNTRUSTED);
	assert_int_equal(a.out.state, PIN_BLOCKED);
	assert_helpful(&a.out.fault, "spam", "ironmesh peers approve");
	assert_int_equal(pins_set_state(a.w.p, &bob, PIN_REVOKED, "lost", NULL), ERR_OK);
	assert_int_equal(ask(&a, 1, "bob"), ERR_UNTRUSTED);
	assert_int_equal(a.out.state, PIN_REVOKED);
	assert_helpful(&a.out.fault, "lost", "ironmesh keys rotate");
	ask_free(&a);
}

static void a_stranger_is_refused_when_a_record_ended_it(void **state)
{
	struct ask a;

	ask_make(&a);
	a.policy.trust_on_first_use = true;
	assert_int_equal(ask(&a, 1, "bob"), ERR_OK);
	a.r.revoked = true;
	policy_admit(&a.policy, a.w.p, &a.r, &a.out);
	assert_int_equal(a.out.verdict, ERR_UNTRUSTED);
	assert_int_equal(a.out.state, PIN_REVOKED);
	assert_helpful(&a.out.fault, "signed record", "ironmesh keys rotate");
	ask_free(&a);
}

static void this_node_itself_is_refused(void **state)
{
	struct ask a;

	ask_make(&a);
	assert_int_equal(ask(&a, 1, "me"), ERR_OK);
	a.r.self = &a.r.id;
	policy_admit(&a.policy, a.w.p, &a.r, &a.out);
	assert_int_equal(a.out.verdict, ERR_SELF);
	assert_helpful(&a.out.fault, "itself", "ironmesh config");
	ask_free(&a);
}

/* --- versions ------------------------------------------------------------------------------ */

static void minimum_and_floor_are_different_refusals(void **state)
{
	struct ask a;

	ask_make(&a);
	meet(&a.w, 1, "bob", PIN_TRUSTED);
	assert_int_equal(meet_again(&a.w, 1, "bob", 0x000a), ERR_OK);
	assert_int_equal(ask_at(&a, 1, "bob", 0x000a, NULL, NULL), ERR_OK);
	assert_int_equal(ask_at(&a, 1, "bob", 0x000b, NULL, NULL), ERR_OK);
	assert_int_equal(ask_at(&a, 1, "bob", V09, NULL, NULL), ERR_DOWNGRADE);
	assert_non_null(strstr(a.out.fault.what, "0.9"));
	assert_non_null(strstr(a.out.fault.what, "0.10"));
	a.policy.min_version = 0x000a;
	assert_int_equal(ask_at(&a, 1, "bob", V09, NULL, NULL), ERR_VERSION);
	assert_int_equal(ask_at(&a, 2, "new", V09, NULL, NULL), ERR_VERSION);
	assert_int_equal(ask_at(&a, 2, "new", 0x0100, NULL, NULL), ERR_OK);
	ask_free(&a);
}

static void who_has_confirmed_may_not_say_less(void **state)
{
	struct pin_update u = {.name = "bob", .version = V09, .confirms = true};
	struct ask a;

	ask_make(&a);
	u.id = meet(&a.w, 1, "bob", PIN_TRUSTED);
	assert_int_equal(ask(&a, 1, "bob"), ERR_OK);
	u.ed = pin_of(&a.w, &u.id)->ed;
	u.wall_ms = a.w.t.wall_ms;
	assert_int_equal(pins_observe(a.w.p, &u, NULL), ERR_OK);
	assert_int_equal(ask(&a, 1, "bob"), ERR_DOWNGRADE);
	assert_non_null(strstr(a.out.fault.next, "peers forget"));
	a.r.confirms = true;
	policy_admit(&a.policy, a.w.p, &a.r, &a.out);
	assert_int_equal(a.out.verdict, ERR_OK);
	/* Once is enough. */
	assert_int_equal(meet_again(&a.w, 1, "bob", V09), ERR_OK);
	assert_true(pin_of(&a.w, &u.id)->confirms);
	ask_free(&a);
}

/* --- changed keys -------------------------------------------------------------------------- */

static void bound_name_with_another_key_is_an_alarm(void **state)
{
	struct ask a;
	char next[240];

	ask_make(&a);
	struct node_id bob = meet(&a.w, 1, "bob", PIN_TRUSTED);
	a.policy.trust_on_first_use = true;
	assert_int_equal(ask(&a, 2, "bob"), ERR_KEY_CHANGED);
	assert_int_equal(a.out.fault.code, EXIT_INTEGRITY);
	snprintf(next, sizeof next,
		 "ironmesh trust repin bob %s   (accept)   or   ironmesh peers block %s   (refuse)",
		 a.r.id.hex, a.r.id.hex);
	assert_helpful(&a.out.fault, bob.hex, next);
	assert_non_null(strstr(a.out.fault.what, a.r.id.hex));
	assert_non_null(strstr(a.out.fault.means,
			       "either bob was reinstalled, or rotated its keys while it could not tell us, or somebody pretends to be bob"));
	assert_string_equal(a.out.alarm.subject, "bob");
	assert_false(a.out.alarm.is_address);
	assert_true(node_id_eq(&a.out.alarm.was, &bob));
	assert_true(node_id_eq(&a.out.alarm.now, &a.r.id));
	assert_memory_equal(a.out.alarm.now_ed, a.ed, ED_BYTES);
	assert_string_equal(a.out.alarm.now_name, "bob");
	/* The store takes it as it is, and the command it names works; then the new key is let in.
	 */
	assert_int_equal(pins_alarm(a.w.p, &a.out.alarm), ERR_OK);
	assert_int_equal(pins_repin(a.w.p, "bob", &a.r.id, WALL_T, NULL), ERR_OK);
	assert_int_equal(ask(&a, 2, "bob"), ERR_OK);
	assert_int_equal(a.out.state, PIN_TRUSTED);
	assert_int_equal(ask(&a, 1, "bob"), ERR_UNTRUSTED);
	ask_free(&a);
}

static void even_a_trusted_peer_may_not_show_anothers_name(void **state)
{
	struct ask a;

	ask_make(&a);
	struct node_id bob = meet(&a.w, 1, "bob", PIN_TRUSTED);
	meet(&a.w, 2, "carol", PIN_TRUSTED);
	assert_int_equal(ask(&a, 2, "bob"), ERR_KEY_CHANGED);
	assert_true(node_id_eq(&a.out.alarm.was, &bob));
	ask_free(&a);
}

static void name_that_is_only_claimed_alarms_nobody(void **state)
{
	struct ask a;

	ask_make(&a);
	struct node_id bob = meet(&a.w, 1, "bob", PIN_PENDING);
	assert_int_equal(ask(&a, 2, "bob"), ERR_OK);
	assert_int_equal(pins_set_state(a.w.p, &bob, PIN_BLOCKED, NULL, NULL), ERR_OK);
	assert_int_equal(ask(&a, 2, "bob"), ERR_OK);
	assert_int_equal(ask(&a, 2, ""), ERR_OK);
	ask_free(&a);
}

static void stranger_at_a_trusted_address_is_an_alarm(void **state)
{
	struct ask a;
	const char *where = "192.0.2.1:8765";

	ask_make(&a);
	struct node_id bob = meet(&a.w, 1, "bob", PIN_TRUSTED);
	assert_int_equal(pins_bind_address(a.w.p, &bob, where, NULL), ERR_OK);
	assert_int_equal(ask_at(&a, 2, "robert", V09, where, NULL), ERR_KEY_CHANGED);
	assert_helpful(&a.out.fault, bob.hex, "ironmesh trust repin 192.0.2.1:8765 ");
	assert_true(a.out.alarm.is_address);
	assert_string_equal(a.out.alarm.subject, where);
	assert_int_equal(ask_at(&a, 2, "robert", V09, NULL, NULL), ERR_OK); /* it dialled us */
	assert_int_equal(ask_at(&a, 1, "bob", V09, where, NULL), ERR_OK);
	assert_int_equal(ask_at(&a, 1, "bob", V09, "192.0.2.9:1", NULL), ERR_OK);
	ask_free(&a);
}

static void trusted_peer_that_moved_rebinds_the_address(void **state)
{
	struct ask a;
	const char *where = "192.0.2.1:8765";

	ask_make(&a);
	struct node_id bob = meet(&a.w, 1, "bob", PIN_TRUSTED),
		       carol = meet(&a.w, 2, "carol", PIN_TRUSTED);
	struct node_id dan = meet(&a.w, 3, "dan", PIN_PENDING);
	assert_int_equal(pins_bind_address(a.w.p, &bob, where, NULL), ERR_OK);
	assert_int_equal(ask_at(&a, 3, "dan", V09, where, NULL), ERR_KEY_CHANGED);
	assert_int_equal(ask_at(&a, 2, "carol", V09, where, NULL), ERR_OK);
	assert_int_equal(pins_bind_address(a.w.p, &carol, where, NULL), ERR_OK);
	assert_true(node_id_eq(&pins_by_address(a.w.p, where)->id, &carol));
	/* Who is not trusted owns no address. */
	assert_int_equal(pins_bind_address(a.w.p, &dan, where, NULL), ERR_OK);
	assert_int_equal(ask_at(&a, 4, "new", V09, where, NULL), ERR_OK);
	ask_free(&a);
}

static void peer_that_is_not_the_expected_one_is_refused(void **state)
{
	struct ask a;
	uint8_t ed[ED_BYTES];
	struct node_id expected, two;

	ask_make(&a);
	peer_key(1, ed, &expected);
	peer_key(2, ed, &two);
	meet(&a.w, 2, "bob", PIN_TRUSTED);
	assert_int_equal(ask_at(&a, 2, "bob", V09, "h:1", &expected), ERR_KEY_CHANGED);
	assert_helpful(&a.out.fault, expected.hex, two.hex);
	assert_non_null(strstr(a.out.fault.what, two.hex));
	assert_string_equal(a.out.alarm.subject, "h:1");
	assert_true(node_id_eq(&a.out.alarm.was, &expected));
	assert_int_equal(ask_at(&a, 2, "bob", V09, NULL, &expected), ERR_KEY_CHANGED);
	assert_int_equal(ask_at(&a, 2, "bob", V09, "h:1", &two), ERR_OK);
	ask_free(&a);
}

static void refusals_fit_with_the_longest_names_and_addresses(void **state)
{
	struct ask a;
	char name[NAME_MAX_CHARS + 1], where[ADDRESS_MAX + 1], quoted[NAME_MAX_CHARS + 1];

	ask_make(&a);
	memset(name, 'n', NAME_MAX_CHARS);
	name[NAME_MAX_CHARS] = '\0';
	memset(where, 'h', ADDRESS_MAX);
	where[ADDRESS_MAX] = '\0';
	memset(quoted, '\'', NAME_MAX_CHARS);
	quoted[NAME_MAX_CHARS] = '\0';
	struct node_id bob = meet(&a.w, 1, name, PIN_TRUSTED);
	meet(&a.w, 3, quoted, PIN_TRUSTED);
	assert_int_equal(pins_bind_address(a.w.p, &bob, where, NULL), ERR_OK);
	assert_int_equal(ask_at(&a, 2, name, V09, NULL, NULL), ERR_KEY_CHANGED);
	assert_helpful(&a.out.fault, a.r.id.hex, "(refuse)");
	assert_int_equal(ask_at(&a, 2, "x", V09, where, NULL), ERR_KEY_CHANGED);
	assert_helpful(&a.out.fault, a.r.id.hex, "ironmesh trust list");
	assert_int_equal(ask_at(&a, 2, quoted, V09, NULL, NULL), ERR_KEY_CHANGED);
	assert_helpful(&a.out.fault, a.r.id.hex, "ironmesh trust list");
	assert_int_equal(ask_at(&a, 2, "x", V09, where, &bob), ERR_KEY_CHANGED);
	assert_helpful(&a.out.fault, a.r.id.hex, a.r.id.hex);
	ask_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(list_takes_commas_and_blanks),
		cmocka_unit_test(list_is_bounded),
		cmocka_unit_test(list_names_ids_names_and_aliases),
		cmocka_unit_test(stranger_is_pending_by_default),
		cmocka_unit_test(stranger_is_trusted_on_first_use_when_asked_for),
		cmocka_unit_test(listed_id_is_trusted_and_listed_name_is_only_pending),
		cmocka_unit_test(unlisted_stranger_is_denied),
		cmocka_unit_test(stranger_finds_no_room_in_a_full_store),
		cmocka_unit_test(nobody_is_admitted_on_a_damaged_store),
		cmocka_unit_test(known_peer_keeps_its_state),
		cmocka_unit_test(blocked_and_revoked_are_refused_before_all_else),
		cmocka_unit_test(a_stranger_is_refused_when_a_record_ended_it),
		cmocka_unit_test(this_node_itself_is_refused),
		cmocka_unit_test(minimum_and_floor_are_different_refusals),
		cmocka_unit_test(who_has_confirmed_may_not_say_less),
		cmocka_unit_test(bound_name_with_another_key_is_an_alarm),
		cmocka_unit_test(even_a_trusted_peer_may_not_show_anothers_name),
		cmocka_unit_test(name_that_is_only_claimed_alarms_nobody),
		cmocka_unit_test(stranger_at_a_trusted_address_is_an_alarm),
		cmocka_unit_test(trusted_peer_that_moved_rebinds_the_address),
		cmocka_unit_test(peer_that_is_not_the_expected_one_is_refused),
		cmocka_unit_test(refusals_fit_with_the_longest_names_and_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
