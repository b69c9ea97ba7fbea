#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/trust_pins.h"
#include "trust/pins_internal.h"

static void approval_binds_the_name(void **state)
{
	struct world w;

	world_make(&w);
	struct node_id id = meet(&w, 1, "bob", PIN_PENDING);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(pins_set_state(w.p, &id, PIN_TRUSTED, NULL, NULL), ERR_OK);
	assert_true(node_id_eq(&pins_by_name(w.p, "bob")->id, &id));
	assert_string_equal(pin_of(&w, &id)->via, "operator");
	assert_true(pins_state_dirty(w.p));
	assert_int_equal(pins_set_state(w.p, &id, PIN_PENDING, NULL, NULL), ERR_OK);
	assert_null(pins_by_name(w.p, "bob"));
	world_free(&w);
}

static void approving_a_second_identity_of_a_bound_name_is_refused(void **state)
{
	struct world w;
	struct fault f = {0};

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED), eve = meet(&w, 2, "bob", PIN_PENDING);
	char next[96];

	snprintf(next, sizeof next, "ironmesh trust repin bob %s", eve.hex);
	assert_int_equal(pins_set_state(w.p, &eve, PIN_TRUSTED, NULL, &f), ERR_EXISTS);
	assert_helpful(&f, bob.hex, next);
	assert_non_null(strstr(f.what, eve.hex));
	assert_int_equal(f.code, EXIT_INTEGRITY);
	assert_int_equal(pin_of(&w, &eve)->state, PIN_PENDING);
	/* And the command it names works. */
	assert_int_equal(pins_repin(w.p, "bob", &eve, WALL_T, &f), ERR_OK);
	assert_int_equal(pin_of(&w, &eve)->state, PIN_TRUSTED);
	assert_int_equal(pin_of(&w, &bob)->state, PIN_REVOKED);
	world_free(&w);
}

static void every_move_is_as_the_table_says(void **state)
{
	static const bool allowed[PIN_STATES][PIN_STATES] = {
		[PIN_PENDING] = {true, true, true, true},
		[PIN_TRUSTED] = {true, true, true, true},
		[PIN_BLOCKED] = {true, true, true, true},
		[PIN_REVOKED] = {false, false, false, true},
	};

	for (int from = 0; from < PIN_STATES; from++) {
		for (int to = 0; to < PIN_STATES; to++) {
			struct world w;
			struct fault f = {0};

			world_make(&w);
			struct node_id id = meet(&w, 1, "bob", PIN_PENDING);
			if (from != PIN_PENDING)
				assert_int_equal(pins_set_state(w.p, &id, from, "because", &f),
						 ERR_OK);
			enum err e = pins_set_state(w.p, &id, to, "because", &f);
			assert_int_equal(e, allowed[from][to] ? ERR_OK : ERR_WRONG_STATE);
			if (e != ERR_OK)
				assert_helpful(&f, id.hex, "ironmesh keys rotate");
			assert_int_equal(pin_of(&w, &id)->state, e == ERR_OK ? to : from);
			assert_true((pins_by_name(w.p, "bob") != NULL) ==
				    (pin_of(&w, &id)->state == PIN_TRUSTED));
			assert_string_equal(pin_of(&w, &id)->reason,
					    pin_of(&w, &id)->state >= PIN_BLOCKED ? "because" : "");
			world_free(&w);
		}
	}
}

static void decisions_about_nobody_are_not_found(void **state)
{
	struct world w;
	struct node_id id;
	uint8_t ed[ED_BYTES];
	struct fault f = {0};

	world_make(&w);
	peer_key(1, ed, &id);
	assert_int_equal(pins_set_state(w.p, &id, PIN_TRUSTED, NULL, &f), ERR_NOTFOUND);
	assert_non_null(strstr(f.what, id.hex));
	assert_int_equal(pins_set_alias(w.p, &id, "x", &f), ERR_NOTFOUND);
	assert_int_equal(pins_set_verified(w.p, &id, true), ERR_NOTFOUND);
	assert_int_equal(pins_forget(w.p, &id), ERR_NOTFOUND);
	assert_false(pins_dirty(w.p));
	world_free(&w);
}

static void reasons_are_cleaned_and_cut(void **state)
{
	struct world w;
	char longer[300];

	world_make(&w);
	struct node_id id = meet(&w, 1, "bob", PIN_PENDING);
	memset(longer, 'r', sizeof longer - 1);
	longer[0] = '\x1b';
	longer[sizeof longer - 1] = '\0';
	assert_int_equal(pins_set_state(w.p, &id, PIN_BLOCKED, longer, NULL), ERR_OK);
	assert_int_equal(strlen(pin_of(&w, &id)->reason), sizeof pin_of(&w, &id)->reason - 1);
	assert_int_equal(pin_of(&w, &id)->reason[0], '?');
	world_free(&w);
}

static void alias_is_unique_and_no_id(void **state)
{
	struct world w;
	struct fault f = {0};

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED),
		       carol = meet(&w, 2, "carol", PIN_TRUSTED);
	assert_int_equal(pins_set_alias(w.p, &bob, "b1", &f), ERR_OK);
	assert_int_equal(pins_set_alias(w.p, &bob, "b1", &f), ERR_OK);
	assert_int_equal(pins_set_alias(w.p, &carol, "b1", &f), ERR_EXISTS);
	assert_helpful(&f, bob.hex, "ironmesh peers");
	assert_int_equal(pins_set_alias(w.p, &carol, "bob", &f), ERR_EXISTS);
	assert_int_equal(pins_set_alias(w.p, &carol, bob.hex, &f), ERR_USAGE);
	assert_int_equal(pins_set_alias(w.p, &carol, "a b", &f), ERR_USAGE);
	assert_int_equal(pins_set_alias(w.p, &carol, "carol", &f), ERR_OK); /* its own name */
	assert_int_equal(pins_set_alias(w.p, &bob, "", &f), ERR_OK);
	assert_int_equal(pins_set_alias(w.p, &carol, "b1", &f), ERR_OK);
	world_free(&w);
}

static void forgotten_peer_frees_its_name_unless_revoked(void **state)
{
	struct world w;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED);
	struct pin_alarm a = alarm_of("bob", false, &bob, 2, "bob", WALL_T);
	assert_int_equal(pins_alarm(w.p, &a), ERR_OK);
	assert_int_equal(pins_forget(w.p, &bob), ERR_OK);
	assert_null(pins_get(w.p, &bob));
	assert_null(pins_by_name(w.p, "bob"));
	assert_int_equal(pins_alarms(w.p, NULL), 0);
	bob = meet(&w, 1, "bob", PIN_TRUSTED);
	assert_int_equal(pins_set_state(w.p, &bob, PIN_REVOKED, "lost", NULL), ERR_OK);
	assert_int_equal(pins_forget(w.p, &bob), ERR_WRONG_STATE);
	assert_int_equal(pin_of(&w, &bob)->state, PIN_REVOKED);
	world_free(&w);
}

static void verified_is_lost_with_revocation(void **state)
{
	struct world w;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED);
	assert_int_equal(pins_set_verified(w.p, &bob, true), ERR_OK);
	assert_true(pin_of(&w, &bob)->verified);
	assert_int_equal(pins_set_state(w.p, &bob, PIN_REVOKED, NULL, NULL), ERR_OK);
	assert_false(pin_of(&w, &bob)->verified);
	assert_int_equal(pins_set_verified(w.p, &bob, true), ERR_WRONG_STATE);
	world_free(&w);
}

static void who_is_paired_is_verified_and_says_how(void **state)
{
	struct world w;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED), eve = meet(&w, 2, "eve", PIN_PENDING), nobody = {0};

	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(pins_set_paired(w.p, &bob, false), ERR_OK);
	assert_true(pin_of(&w, &bob)->verified && pin_of(&w, &bob)->state == PIN_TRUSTED);
	assert_string_equal(pin_of(&w, &bob)->via, "code");
	assert_true(pins_state_dirty(w.p));
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(pins_set_paired(w.p, &bob, false), ERR_OK);
	assert_false(pins_dirty(w.p));
	assert_int_equal(pins_set_paired(w.p, &bob, true), ERR_OK);
	assert_string_equal(pin_of(&w, &bob)->via, "sas");
	assert_int_equal(pins_set_paired(w.p, &nobody, false), ERR_NOTFOUND);
	/* It is no decision about trust, and no way around one. */
	assert_int_equal(pins_set_paired(w.p, &eve, false), ERR_OK);
	assert_int_equal(pin_of(&w, &eve)->state, PIN_PENDING);
	assert_int_equal(pins_set_state(w.p, &bob, PIN_BLOCKED, NULL, NULL), ERR_OK);
	assert_int_equal(pins_set_paired(w.p, &bob, false), ERR_UNTRUSTED);
	world_free(&w);
}

static void pairing_with_the_key_that_an_alarm_shows_answers_it(void **state)
{
	struct world w;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED), eve = meet(&w, 2, "eve", PIN_TRUSTED), dan = meet(&w, 3, "dan", PIN_TRUSTED);
	struct pin_alarm moved = { .subject = "192.0.2.1:8765", .is_address = true, .was = bob, .now = eve, .at_ms = 1 },
			 other = { .subject = "192.0.2.1:8765", .is_address = true, .was = bob, .now = dan, .at_ms = 1 },
			 tls = { .subject = "192.0.2.2:8765", .is_address = true, .was = eve, .now = eve, .at_ms = 1 };
	const struct pin_alarm *list;

	memcpy(moved.now_ed, pin_of(&w, &eve)->ed, ED_BYTES);
	memcpy(other.now_ed, pin_of(&w, &dan)->ed, ED_BYTES);
	memcpy(tls.now_ed, pin_of(&w, &eve)->ed, ED_BYTES);
	assert_int_equal(pins_alarm(w.p, &moved), ERR_OK);
	assert_int_equal(pins_alarm(w.p, &other), ERR_OK);
	assert_int_equal(pins_alarm(w.p, &tls), ERR_OK);
	assert_int_equal(pins_set_paired(w.p, &eve, true), ERR_OK);
	assert_int_equal(pins_alarms(w.p, &list), 2);
	assert_true(node_id_eq(&list[0].now, &dan) && node_id_eq(&list[1].was, &eve));
	world_free(&w);
}

static void pin_by_hand_is_trusted_before_contact(void **state)
{
	struct world w;
	uint8_t ed[ED_BYTES], bad[ED_BYTES] = {0};
	struct node_id bob;
	struct fault f = {0};

	world_make(&w);
	peer_key(1, ed, &bob);
	assert_int_equal(pins_pin(w.p, ed, "bob", WALL_T, &f), ERR_OK);
	assert_int_equal(pin_of(&w, &bob)->state, PIN_TRUSTED);
	assert_string_equal(pin_of(&w, &bob)->via, "operator");
	assert_true(node_id_eq(&pins_by_name(w.p, "bob")->id, &bob));
	assert_int_equal(pins_pin(w.p, ed, "bob", WALL_T, &f), ERR_OK);
	assert_int_equal(pins_count(w.p), 1);

	peer_key(2, ed, NULL);
	assert_int_equal(pins_pin(w.p, ed, "bob", WALL_T, &f), ERR_EXISTS);
	assert_helpful(&f, bob.hex, "ironmesh trust repin bob");
	assert_int_equal(pins_pin(w.p, ed, "b b", WALL_T, &f), ERR_USAGE);
	assert_int_equal(pins_pin(w.p, bad, "carol", WALL_T, &f), ERR_MALFORMED);
	assert_int_equal(pins_pin(w.p, keyring_ed(w.k), "me", WALL_T, &f), ERR_SELF);
	assert_int_equal(pins_count(w.p), 1);

	struct node_id pending = meet(&w, 3, "dan", PIN_PENDING);
	peer_key(3, ed, NULL);
	assert_int_equal(pins_pin(w.p, ed, NULL, WALL_T, &f), ERR_OK);
	assert_int_equal(pin_of(&w, &pending)->state, PIN_TRUSTED);
	assert_true(node_id_eq(&pins_by_name(w.p, "dan")->id, &pending));
	assert_int_equal(pins_set_state(w.p, &pending, PIN_BLOCKED, NULL, &f), ERR_OK);
	assert_int_equal(pins_pin(w.p, ed, NULL, WALL_T, &f), ERR_WRONG_STATE);
	assert_int_equal(pins_set_state(w.p, &pending, PIN_REVOKED, NULL, &f), ERR_OK);
	assert_int_equal(pins_pin(w.p, ed, NULL, WALL_T, &f), ERR_WRONG_STATE);
	world_free(&w);
}

/* --- alarms -------------------------------------------------------------------------------- */

static void repeated_alarm_is_counted_not_stored_again(void **state)
{
	struct world w;
	const struct pin_alarm *list;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED);
	struct pin_alarm a = alarm_of("bob", false, &bob, 2, "bob", WALL_T);
	assert_int_equal(pins_alarm(w.p, &a), ERR_OK);
	assert_true(pins_state_dirty(w.p));
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	a.at_ms = WALL_T + 9;
	assert_int_equal(pins_alarm(w.p, &a), ERR_OK);
	assert_false(pins_state_dirty(w.p));
	assert_true(pins_dirty(w.p));
	assert_int_equal(pins_alarms(w.p, &list), 1);
	assert_int_equal(list[0].count, 2);
	assert_int_equal(list[0].at_ms, WALL_T + 9);
	world_free(&w);
}

static void alarms_are_bounded_and_the_oldest_goes(void **state)
{
	struct world w;
	const struct pin_alarm *list;
	char subject[32];

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED);
	for (unsigned i = 0; i < PINS_ALARMS_MAX + 5; i++) {
		snprintf(subject, sizeof subject, "n%u", i);
		struct pin_alarm a = alarm_of(subject, false, &bob, 100 + i, "x", WALL_T + i);
		assert_int_equal(pins_alarm(w.p, &a), ERR_OK);
	}
	size_t n = pins_alarms(w.p, &list);
	assert_int_equal(n, PINS_ALARMS_MAX);
	for (size_t i = 0; i < n; i++)
		assert_true(list[i].at_ms >= WALL_T + 5);
	world_free(&w);
}

static void made_up_keys_for_one_name_do_not_push_out_others(void **state)
{
	struct world w;
	const struct pin_alarm *list;
	size_t bobs = 0, carols = 0;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED),
		       carol = meet(&w, 2, "carol", PIN_TRUSTED);
	struct pin_alarm a = alarm_of("carol", false, &carol, 3, "carol", WALL_T);
	assert_int_equal(pins_alarm(w.p, &a), ERR_OK);
	for (unsigned i = 0; i < 300; i++) {
		a = alarm_of("bob", false, &bob, 100 + i, "bob", WALL_T + i);
		assert_int_equal(pins_alarm(w.p, &a), ERR_OK);
	}
	size_t n = pins_alarms(w.p, &list);
	for (size_t i = 0; i < n; i++) {
		bobs += strcmp(list[i].subject, "bob") == 0;
		carols += strcmp(list[i].subject, "carol") == 0;
	}
	assert_int_equal(bobs, PINS_ALARMS_PER_SUBJECT);
	assert_int_equal(carols, 1);
	assert_int_equal(pins_alarm_drop(w.p, "bob"), ERR_OK);
	assert_int_equal(pins_alarms(w.p, NULL), 1);
	assert_int_equal(pins_alarm_drop(w.p, "bob"), ERR_NOTFOUND);
	world_free(&w);
}

static void alarm_whose_key_is_not_its_id_is_refused(void **state)
{
	struct world w;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED);
	struct pin_alarm a = alarm_of("bob", false, &bob, 2, "bob", WALL_T);
	a.now_ed[0] ^= 1;
	assert_int_equal(pins_alarm(w.p, &a), ERR_MALFORMED);
	a = alarm_of("", false, &bob, 2, "bob", WALL_T);
	assert_int_equal(pins_alarm(w.p, &a), ERR_MALFORMED);
	assert_int_equal(pins_alarms(w.p, NULL), 0);
	world_free(&w);
}

/* --- repin --------------------------------------------------------------------------------- */

static void repin_gives_name_and_alias_to_the_new_key(void **state)
{
	struct world w;
	struct fault f = {0};

	world_make(&w);
	struct node_id old = meet(&w, 1, "bob", PIN_TRUSTED);
	uint8_t tls_key[32] = {7};
	struct node_id owner;

	assert_int_equal(pins_set_alias(w.p, &old, "b1", &f), ERR_OK);
	assert_int_equal(pins_bind_address(w.p, &old, "b:1", tls_key), ERR_OK);
	assert_int_equal(pins_bind_address(w.p, &old, "b:2", NULL), ERR_OK);
	assert_int_equal(pins_im2_address_add(w.p, "b:1", &old), ERR_OK);
	struct pin_alarm a = alarm_of("bob", false, &old, 2, "bob", WALL_T);
	assert_int_equal(pins_alarm(w.p, &a), ERR_OK);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(pins_repin(w.p, "bob", &a.now, WALL_T, &f), ERR_OK);
	assert_int_equal(pin_of(&w, &old)->state, PIN_REVOKED);
	assert_string_equal(pin_of(&w, &old)->reason, "replaced");
	assert_string_equal(pin_of(&w, &old)->alias, "");
	assert_int_equal(pin_of(&w, &a.now)->state, PIN_TRUSTED);
	assert_string_equal(pin_of(&w, &a.now)->via, "operator");
	assert_string_equal(pin_of(&w, &a.now)->alias, "b1");
	assert_memory_equal(pin_of(&w, &a.now)->ed, a.now_ed, ED_BYTES);
	assert_true(node_id_eq(&pins_by_name(w.p, "bob")->id, &a.now));
	/* Else nobody would dial it any more. */
	assert_int_equal(pin_of(&w, &old)->address_count, 0);
	assert_ptr_equal(pins_by_address(w.p, "b:1"), pin_of(&w, &a.now));
	assert_ptr_equal(pins_by_address(w.p, "b:2"), pin_of(&w, &a.now));
	assert_true(pin_of(&w, &a.now)->addresses[0].has_tls_key);
	assert_memory_equal(pin_of(&w, &a.now)->addresses[0].tls_key, tls_key, 32);
	assert_true(pins_im2_address_has(w.p, "b:1", &owner));
	assert_true(node_id_eq(&owner, &a.now));
	assert_int_equal(pins_alarms(w.p, NULL), 0);
	assert_true(pins_state_dirty(w.p));
	world_free(&w);
}

static void repin_with_another_id_than_the_alarm_is_refused(void **state)
{
	struct world w;
	struct fault f = {0};
	struct node_id other;
	uint8_t ed[ED_BYTES];

	world_make(&w);
	struct node_id old = meet(&w, 1, "bob", PIN_TRUSTED);
	peer_key(3, ed, &other);
	assert_int_equal(pins_repin(w.p, "bob", &other, WALL_T, &f), ERR_NOTFOUND);
	assert_helpful(&f, "bob", "ironmesh trust list");
	struct pin_alarm a = alarm_of("bob", false, &old, 2, "bob", WALL_T);
	assert_int_equal(pins_alarm(w.p, &a), ERR_OK);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(pins_repin(w.p, "bob", &other, WALL_T, &f), ERR_KEY_CHANGED);
	assert_helpful(&f, other.hex, a.now.hex);
	assert_int_equal(pins_repin(w.p, "bob", &old, WALL_T, &f), ERR_OK); /* it has the name */
	assert_int_equal(pin_of(&w, &old)->state, PIN_TRUSTED);
	assert_true(node_id_eq(&pins_by_name(w.p, "bob")->id, &old));
	assert_null(pins_get(w.p, &other));
	assert_null(pins_get(w.p, &a.now));
	world_free(&w);
}

static void repin_of_an_address_forgets_its_tls_key(void **state)
{
	struct world w;
	struct fault f = {0};
	const uint8_t key[32] = {7};

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED);
	assert_int_equal(pins_bind_address(w.p, &bob, "192.0.2.7:8765", key), ERR_OK);
	assert_int_equal(pins_bind_address(w.p, &bob, "192.0.2.8:8765", key), ERR_OK);
	/* The TLS key changed, the identity behind it is not known yet: both ids are the same. */
	struct pin_alarm a = alarm_of("192.0.2.7:8765", true, &bob, 1, "bob", WALL_T);
	assert_int_equal(pins_alarm(w.p, &a), ERR_OK);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(pins_repin(w.p, "192.0.2.7:8765", &bob, WALL_T, &f), ERR_OK);
	assert_true(pins_state_dirty(w.p));
	assert_int_equal(pin_of(&w, &bob)->state, PIN_TRUSTED);
	for (size_t i = 0; i < pin_of(&w, &bob)->address_count; i++) {
		const struct pin_address *at = &pin_of(&w, &bob)->addresses[i];

		assert_int_equal(at->has_tls_key, strcmp(at->text, "192.0.2.7:8765") != 0);
	}
	world_free(&w);
}

static void repin_refuses_blocked_and_revoked_successors(void **state)
{
	struct world w;
	struct fault f = {0};

	world_make(&w);
	struct node_id old = meet(&w, 1, "bob", PIN_TRUSTED), eve = meet(&w, 2, "eve", PIN_PENDING);
	struct pin_alarm a = alarm_of("bob", false, &old, 2, "bob", WALL_T);
	assert_int_equal(pins_alarm(w.p, &a), ERR_OK);
	assert_int_equal(pins_set_state(w.p, &eve, PIN_BLOCKED, NULL, NULL), ERR_OK);
	assert_int_equal(pins_repin(w.p, "bob", &eve, WALL_T, &f), ERR_UNTRUSTED);
	assert_helpful(&f, eve.hex, "ironmesh peers approve");
	assert_int_equal(pins_set_state(w.p, &eve, PIN_REVOKED, NULL, NULL), ERR_OK);
	assert_int_equal(pins_repin(w.p, "bob", &eve, WALL_T, &f), ERR_UNTRUSTED);
	assert_int_equal(pin_of(&w, &old)->state, PIN_TRUSTED);
	assert_int_equal(pin_of(&w, &eve)->state, PIN_REVOKED);
	assert_int_equal(pins_alarms(w.p, NULL), 1);
	world_free(&w);
}

static void repin_of_an_address_moves_it(void **state)
{
	struct world w;
	struct fault f = {0};
	const char *where = "[2001:db8::1]:8765";

	world_make(&w);
	struct node_id old = meet(&w, 1, "bob", PIN_TRUSTED);
	assert_int_equal(pins_bind_address(w.p, &old, where, NULL), ERR_OK);
	struct pin_alarm a = alarm_of(where, true, &old, 2, "robert", WALL_T);
	assert_int_equal(pins_alarm(w.p, &a), ERR_OK);
	assert_int_equal(pins_repin(w.p, where, &a.now, WALL_T, &f), ERR_OK);
	assert_int_equal(pin_of(&w, &old)->state, PIN_REVOKED);
	assert_true(node_id_eq(&pins_by_address(w.p, where)->id, &a.now));
	assert_true(node_id_eq(&pins_by_name(w.p, "robert")->id, &a.now));
	assert_int_equal(pins_alarms(w.p, NULL), 0);
	world_free(&w);
}

static void repin_of_an_address_does_not_take_a_third_peers_name(void **state)
{
	struct world w;
	struct fault f = {0};

	world_make(&w);
	struct node_id old = meet(&w, 1, "bob", PIN_TRUSTED),
		       carol = meet(&w, 3, "carol", PIN_TRUSTED);
	assert_int_equal(pins_bind_address(w.p, &old, "h:1", NULL), ERR_OK);
	struct pin_alarm a = alarm_of("h:1", true, &old, 2, "carol", WALL_T);
	assert_int_equal(pins_alarm(w.p, &a), ERR_OK);
	assert_int_equal(pins_repin(w.p, "h:1", &a.now, WALL_T, &f), ERR_EXISTS);
	assert_helpful(&f, carol.hex, "ironmesh trust repin carol");
	assert_int_equal(pin_of(&w, &old)->state, PIN_TRUSTED);
	assert_null(pins_get(w.p, &a.now));
	world_free(&w);
}

static void repin_does_not_revoke_whom_the_alarm_was_not_about(void **state)
{
	struct world w;
	struct fault f = {0};

	world_make(&w);
	struct node_id old = meet(&w, 1, "bob", PIN_TRUSTED),
		       other = meet(&w, 3, "dan", PIN_TRUSTED);
	assert_int_equal(pins_bind_address(w.p, &old, "h:1", NULL), ERR_OK);
	struct pin_alarm a = alarm_of("h:1", true, &old, 2, "new", WALL_T);
	assert_int_equal(pins_alarm(w.p, &a), ERR_OK);
	assert_int_equal(pins_bind_address(w.p, &other, "h:1", NULL), ERR_OK);
	assert_int_equal(pins_repin(w.p, "h:1", &a.now, WALL_T, &f), ERR_WRONG_STATE);
	assert_helpful(&f, other.hex, "ironmesh trust list");
	assert_int_equal(pin_of(&w, &other)->state, PIN_TRUSTED);
	assert_int_equal(pin_of(&w, &old)->state, PIN_TRUSTED);
	world_free(&w);
}

static void repin_refused_for_lack_of_room_changes_nothing(void **state)
{
	struct world w;
	struct fault f = {0};

	world_make(&w);
	struct node_id old = meet(&w, 0, "bob", PIN_TRUSTED);
	for (unsigned i = 1; i < PINS_MAX; i++)
		meet(&w, i, "", PIN_TRUSTED);
	struct pin_alarm a = alarm_of("bob", false, &old, PINS_MAX + 1, "bob", WALL_T);
	assert_int_equal(pins_alarm(w.p, &a), ERR_OK);
	assert_int_equal(pins_repin(w.p, "bob", &a.now, WALL_T, &f), ERR_FULL);
	assert_int_equal(pin_of(&w, &old)->state, PIN_TRUSTED);
	assert_int_equal(pins_alarms(w.p, NULL), 1);
	world_free(&w);
}

static void words_are_quoted_for_the_shell(void **state)
{
	char out[SHELL_WORD_MAX];

	assert_string_equal(shell_word("bob", out), "bob");
	assert_string_equal(shell_word("192.0.2.1:8765", out), "192.0.2.1:8765");
	assert_string_equal(shell_word("[::1]:1", out), "'[::1]:1'");
	assert_string_equal(shell_word("$(rm -rf ~)", out), "'$(rm -rf ~)'");
	assert_string_equal(shell_word("a'b", out), "'a'\\''b'");
	assert_string_equal(shell_word("-x", out), "'-x'");
	assert_string_equal(shell_word("", out), "''");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(approval_binds_the_name),
		cmocka_unit_test(approving_a_second_identity_of_a_bound_name_is_refused),
		cmocka_unit_test(every_move_is_as_the_table_says),
		cmocka_unit_test(decisions_about_nobody_are_not_found),
		cmocka_unit_test(reasons_are_cleaned_and_cut),
		cmocka_unit_test(alias_is_unique_and_no_id),
		cmocka_unit_test(forgotten_peer_frees_its_name_unless_revoked),
		cmocka_unit_test(verified_is_lost_with_revocation),
		cmocka_unit_test(who_is_paired_is_verified_and_says_how),
		cmocka_unit_test(pairing_with_the_key_that_an_alarm_shows_answers_it),
		cmocka_unit_test(pin_by_hand_is_trusted_before_contact),
		cmocka_unit_test(repeated_alarm_is_counted_not_stored_again),
		cmocka_unit_test(alarms_are_bounded_and_the_oldest_goes),
		cmocka_unit_test(made_up_keys_for_one_name_do_not_push_out_others),
		cmocka_unit_test(alarm_whose_key_is_not_its_id_is_refused),
		cmocka_unit_test(repin_gives_name_and_alias_to_the_new_key),
		cmocka_unit_test(repin_with_another_id_than_the_alarm_is_refused),
		cmocka_unit_test(repin_of_an_address_forgets_its_tls_key),
		cmocka_unit_test(repin_refuses_blocked_and_revoked_successors),
		cmocka_unit_test(repin_of_an_address_moves_it),
		cmocka_unit_test(repin_of_an_address_does_not_take_a_third_peers_name),
		cmocka_unit_test(repin_does_not_revoke_whom_the_alarm_was_not_about),
		cmocka_unit_test(repin_refused_for_lack_of_room_changes_nothing),
		cmocka_unit_test(words_are_quoted_for_the_shell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
