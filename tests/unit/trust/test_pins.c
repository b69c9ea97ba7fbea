#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/trust_pins.h"

static void state_words_parse_back(void **state)
{
	enum pin_state s;

	for (int i = 0; i < PIN_STATES; i++) {
		assert_int_equal(pin_state_parse(bytes_str(pin_state_word(i)), &s), ERR_OK);
		assert_int_equal(s, i);
	}
	assert_int_equal(pin_state_parse(BYTES_LIT("Trusted"), &s), ERR_MALFORMED);
	assert_int_equal(pin_state_parse(BYTES_LIT(""), &s), ERR_MALFORMED);
}

static void first_contact_is_kept_as_it_was(void **state)
{
	struct world w;
	uint8_t ed[ED_BYTES], x[X25519_BYTES] = {9};
	struct pin_update u = {.ed = ed,
			       .name = "bob",
			       .version = V09,
			       .x25519 = x,
			       .confirms = true,
			       .state = PIN_PENDING,
			       .via = "tofu",
			       .wall_ms = WALL_T};
	bool created;

	world_make(&w);
	peer_key(1, ed, &u.id);
	assert_int_equal(pins_observe(w.p, &u, &created), ERR_OK);
	assert_true(created);
	const struct pin *pin = pin_of(&w, &u.id);
	assert_memory_equal(pin->ed, ed, ED_BYTES);
	assert_int_equal(pin->state, PIN_PENDING);
	assert_string_equal(pin->name, "bob");
	assert_string_equal(pin->via, "tofu");
	assert_int_equal(pin->first_seen_ms, WALL_T);
	assert_int_equal(pin->last_seen_ms, WALL_T);
	assert_int_equal(pin->version_floor, V09);
	assert_true(pin->has_x25519 && pin->confirms && !pin->verified);
	assert_memory_equal(pin->x25519, x, sizeof x);
	assert_int_equal(pins_count(w.p), 1);
	assert_int_equal(pins_count_state(w.p, PIN_PENDING), 1);
	assert_int_equal(pins_count_state(w.p, PIN_TRUSTED), 0);
	assert_true(pins_state_dirty(w.p));
	world_free(&w);
}

static void unchanged_contact_is_only_stale(void **state)
{
	struct world w;

	world_make(&w);
	struct node_id id = meet(&w, 1, "bob", PIN_TRUSTED);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_false(pins_dirty(w.p));
	w.t.wall_ms += 5000;
	assert_int_equal(meet_again(&w, 1, "bob", V09), ERR_OK);
	assert_int_equal(pin_of(&w, &id)->last_seen_ms, w.t.wall_ms - 1);
	assert_int_equal(pin_of(&w, &id)->first_seen_ms, WALL_T);
	assert_true(pins_dirty(w.p));
	assert_false(pins_state_dirty(w.p));
	world_free(&w);
}

static void version_floor_only_rises(void **state)
{
	struct world w;

	world_make(&w);
	struct node_id id = meet(&w, 1, "bob", PIN_TRUSTED);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(meet_again(&w, 1, "bob", 0x000a), ERR_OK);
	assert_int_equal(pin_of(&w, &id)->version_floor, 0x000a);
	assert_true(pins_state_dirty(w.p));
	assert_int_equal(meet_again(&w, 1, "bob", 0x0003), ERR_OK);
	assert_int_equal(pin_of(&w, &id)->version_floor, 0x000a);
	world_free(&w);
}

static void stripped_x25519_does_not_erase_the_known_one(void **state)
{
	struct world w;
	uint8_t ed[ED_BYTES], x[X25519_BYTES] = {9};
	struct pin_update u = {.ed = ed,
			       .name = "bob",
			       .version = V09,
			       .x25519 = x,
			       .state = PIN_TRUSTED,
			       .via = "tofu",
			       .wall_ms = WALL_T};

	world_make(&w);
	peer_key(1, ed, &u.id);
	assert_int_equal(pins_observe(w.p, &u, NULL), ERR_OK);
	assert_int_equal(meet_again(&w, 1, "bob", V09), ERR_OK);
	assert_true(pin_of(&w, &u.id)->has_x25519);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	x[0] = 10;
	assert_int_equal(pins_observe(w.p, &u, NULL), ERR_OK);
	assert_int_equal(pin_of(&w, &u.id)->x25519[0], 10);
	assert_true(pins_state_dirty(w.p));
	world_free(&w);
}

static void key_that_does_not_hash_to_its_id_is_refused(void **state)
{
	struct world w;
	uint8_t ed[ED_BYTES];
	struct pin_update u = {.ed = ed, .name = "bob", .version = V09, .state = PIN_TRUSTED};

	world_make(&w);
	peer_key(1, ed, &u.id);
	peer_key(2, ed, NULL);
	assert_int_equal(pins_observe(w.p, &u, NULL), ERR_KEY_CHANGED);
	assert_int_equal(pins_count(w.p), 0);
	assert_false(pins_dirty(w.p));
	world_free(&w);
}

static void blocked_and_revoked_peers_are_not_updated(void **state)
{
	struct world w;

	world_make(&w);
	struct node_id id = meet(&w, 1, "bob", PIN_TRUSTED);
	assert_int_equal(pins_set_state(w.p, &id, PIN_BLOCKED, "spam", NULL), ERR_OK);
	assert_int_equal(meet_again(&w, 1, "robert", 0x000a), ERR_UNTRUSTED);
	assert_string_equal(pin_of(&w, &id)->name, "bob");
	assert_int_equal(pin_of(&w, &id)->version_floor, V09);
	assert_int_equal(pins_set_state(w.p, &id, PIN_REVOKED, NULL, NULL), ERR_OK);
	assert_int_equal(meet_again(&w, 1, "robert", 0x000a), ERR_UNTRUSTED);
	assert_int_equal(pins_bind_address(w.p, &id, "h:1", NULL), ERR_UNTRUSTED);
	world_free(&w);
}

static void names_bind_only_for_trusted_peers(void **state)
{
	struct world w;

	world_make(&w);
	struct node_id a = meet(&w, 1, "bob", PIN_PENDING);
	assert_null(pins_by_name(w.p, "bob"));
	struct node_id b = meet(&w, 2, "bob", PIN_TRUSTED);
	assert_true(node_id_eq(&pins_by_name(w.p, "bob")->id, &b));
	/* A second trusted one claims the name and does not get it. */
	struct node_id c = meet(&w, 3, "bob", PIN_TRUSTED);
	assert_true(node_id_eq(&pins_by_name(w.p, "bob")->id, &b));
	assert_string_equal(pin_of(&w, &c)->name, "bob");
	assert_string_equal(pin_of(&w, &a)->name, "bob");
	assert_null(pins_by_name(w.p, ""));
	assert_null(pins_by_name(w.p, "bo"));
	world_free(&w);
}

static void trusted_peer_may_rename_but_not_take_a_name(void **state)
{
	struct world w;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED);
	struct node_id eve = meet(&w, 2, "eve", PIN_TRUSTED);
	assert_int_equal(meet_again(&w, 2, "bob", V09), ERR_OK);
	assert_string_equal(pin_of(&w, &eve)->name, "eve");
	assert_true(node_id_eq(&pins_by_name(w.p, "bob")->id, &bob));
	assert_int_equal(meet_again(&w, 1, "robert", V09), ERR_OK);
	assert_true(node_id_eq(&pins_by_name(w.p, "robert")->id, &bob));
	assert_null(pins_by_name(w.p, "bob"));
	world_free(&w);
}

static void names_of_strangers_are_cleaned_and_bounded(void **state)
{
	struct world w;
	char longer[300];

	world_make(&w);
	struct node_id a = meet(&w, 1, "b\x1b[31mo\xff", PIN_PENDING);
	assert_string_equal(pin_of(&w, &a)->name, "b?[31mo?");
	memset(longer, 'n', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	struct node_id b = meet(&w, 2, longer, PIN_TRUSTED);
	assert_int_equal(strlen(pin_of(&w, &b)->name), NAME_MAX_CHARS);
	assert_true(node_id_eq(&pins_by_name(w.p, longer)->id, &b));
	world_free(&w);
}

/* --- addresses ----------------------------------------------------------------------------- */

static void address_moves_to_the_last_binding(void **state)
{
	struct world w;
	uint8_t tls[32] = {7};

	world_make(&w);
	struct node_id a = meet(&w, 1, "a", PIN_TRUSTED), b = meet(&w, 2, "b", PIN_TRUSTED);
	assert_int_equal(pins_bind_address(w.p, &a, "192.0.2.1:8765", tls), ERR_OK);
	assert_true(node_id_eq(&pins_by_address(w.p, "192.0.2.1:8765")->id, &a));
	assert_true(pin_of(&w, &a)->addresses[0].has_tls_key);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(pins_bind_address(w.p, &a, "192.0.2.1:8765", NULL), ERR_OK);
	assert_int_equal(pins_bind_address(w.p, &a, "192.0.2.1:8765", tls), ERR_OK);
	assert_false(pins_dirty(w.p));
	assert_true(pin_of(&w, &a)->addresses[0].has_tls_key);

	assert_int_equal(pins_bind_address(w.p, &b, "192.0.2.1:8765", NULL), ERR_OK);
	assert_true(node_id_eq(&pins_by_address(w.p, "192.0.2.1:8765")->id, &b));
	assert_int_equal(pin_of(&w, &a)->address_count, 0);
	assert_false(pin_of(&w, &b)->addresses[0].has_tls_key);
	assert_null(pins_by_address(w.p, "192.0.2.1:876"));
	world_free(&w);
}

static void addresses_are_bounded_and_the_oldest_goes(void **state)
{
	struct world w;
	char text[32];

	world_make(&w);
	struct node_id a = meet(&w, 1, "a", PIN_TRUSTED);
	for (int i = 0; i < PINS_ADDRESSES_MAX + 1; i++) {
		snprintf(text, sizeof text, "h%d:1", i);
		assert_int_equal(pins_bind_address(w.p, &a, text, NULL), ERR_OK);
	}
	assert_int_equal(pin_of(&w, &a)->address_count, PINS_ADDRESSES_MAX);
	assert_null(pins_by_address(w.p, "h0:1"));
	assert_non_null(pins_by_address(w.p, "h1:1"));
	assert_non_null(pins_by_address(w.p, "h8:1"));
	world_free(&w);
}

static void bad_addresses_are_refused(void **state)
{
	struct world w;
	char longer[ADDRESS_MAX + 2];
	struct node_id stranger;
	uint8_t ed[ED_BYTES];

	world_make(&w);
	struct node_id a = meet(&w, 1, "a", PIN_TRUSTED);
	memset(longer, 'h', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	assert_int_equal(pins_bind_address(w.p, &a, "", NULL), ERR_MALFORMED);
	assert_int_equal(pins_bind_address(w.p, &a, "h\n:1", NULL), ERR_MALFORMED);
	assert_int_equal(pins_bind_address(w.p, &a, longer, NULL), ERR_MALFORMED);
	longer[ADDRESS_MAX] = '\0';
	assert_int_equal(pins_bind_address(w.p, &a, longer, NULL), ERR_OK);
	peer_key(9, ed, &stranger);
	assert_int_equal(pins_bind_address(w.p, &stranger, "h:1", NULL), ERR_NOTFOUND);
	world_free(&w);
}

/* --- bounds -------------------------------------------------------------------------------- */

static void pending_strangers_evict_the_one_unseen_for_longest(void **state)
{
	struct world w;

	world_make(&w);
	struct node_id first = meet(&w, 0, "first", PIN_PENDING);
	struct node_id named = meet(&w, 1, "second", PIN_PENDING);
	struct node_id third = meet(&w, 2, "third", PIN_PENDING);
	struct node_id seen = meet(&w, 3, "trusted", PIN_TRUSTED);
	assert_int_equal(pins_set_alias(w.p, &named, "mine", NULL), ERR_OK);
	for (unsigned i = 4; i < PINS_PENDING_MAX + 1; i++)
		meet(&w, i, "x", PIN_PENDING);
	assert_int_equal(pins_count_state(w.p, PIN_PENDING), PINS_PENDING_MAX);
	assert_int_equal(meet_again(&w, 0, "first", V09), ERR_OK);
	meet(&w, 1000, "y", PIN_PENDING);
	assert_int_equal(pins_count_state(w.p, PIN_PENDING), PINS_PENDING_MAX);
	assert_non_null(pins_get(w.p, &first)); /* seen again */
	assert_non_null(pins_get(w.p, &named)); /* has our alias */
	assert_non_null(pins_get(w.p, &seen));
	assert_null(pins_get(w.p, &third));
	world_free(&w);
}

static void full_store_refuses_when_nothing_may_go(void **state)
{
	struct world w;
	uint8_t ed[ED_BYTES];
	struct pin_update u = {.ed = ed, .name = "", .version = V09, .state = PIN_TRUSTED};

	world_make(&w);
	struct node_id pending = meet(&w, 0, "p", PIN_PENDING);
	for (unsigned i = 1; i < PINS_MAX; i++)
		meet(&w, i, "", PIN_TRUSTED);
	assert_int_equal(pins_count(w.p), PINS_MAX);
	meet(&w, PINS_MAX, "", PIN_TRUSTED); /* takes the place of the pending one */
	assert_null(pins_get(w.p, &pending));
	assert_int_equal(pins_count(w.p), PINS_MAX);
	peer_key(PINS_MAX + 1, ed, &u.id);
	assert_int_equal(pins_observe(w.p, &u, NULL), ERR_FULL);
	struct fault f = {0};
	assert_int_equal(pins_pin(w.p, ed, "late", WALL_T, &f), ERR_FULL);
	assert_int_equal(pins_count(w.p), PINS_MAX);
	world_free(&w);
}

struct order {
	uint64_t last;
	size_t n, stop;
};

static bool in_order(void *ctx, const struct pin *pin)
{
	struct order *o = ctx;

	assert_true(pin->first_seen_ms >= o->last);
	o->last = pin->first_seen_ms;
	return ++o->n != o->stop;
}

static void each_visits_by_first_contact(void **state)
{
	struct world w;
	struct order o = {0};

	world_make(&w);
	for (unsigned i = 0; i < 50; i++) {
		w.t.wall_ms = WALL_T + (i * 37) % 50 * 1000;
		meet(&w, i, "x", PIN_PENDING);
	}
	pins_each(w.p, in_order, &o);
	assert_int_equal(o.n, 50);
	o = (struct order){.stop = 7};
	pins_each(w.p, in_order, &o);
	assert_int_equal(o.n, 7);
	world_free(&w);
}

/* --- finding ------------------------------------------------------------------------------- */

static void find_prefers_alias_then_bound_then_claimed_then_prefix(void **state)
{
	struct world w;
	const struct pin *pin;
	char prefix[NODE_ID_LEN + 1];

	world_make(&w);
	struct node_id bound = meet(&w, 1, "bob", PIN_TRUSTED);
	struct node_id claimed = meet(&w, 2, "bob", PIN_PENDING);
	struct node_id alone = meet(&w, 3, "carol", PIN_PENDING);
	assert_int_equal(pins_find(w.p, "bob", &pin, NULL), ERR_OK);
	assert_true(node_id_eq(&pin->id, &bound));
	assert_int_equal(pins_find(w.p, "carol", &pin, NULL), ERR_OK);
	assert_true(node_id_eq(&pin->id, &alone));
	assert_int_equal(pins_set_alias(w.p, &claimed, "carol", NULL), ERR_OK);
	assert_int_equal(pins_find(w.p, "carol", &pin, NULL), ERR_OK);
	assert_true(node_id_eq(&pin->id, &claimed));
	assert_int_equal(pins_find(w.p, alone.hex, &pin, NULL), ERR_OK);
	assert_true(node_id_eq(&pin->id, &alone));
	for (size_t n = 0; n <= NODE_ID_LEN; n++) {
		snprintf(prefix, sizeof prefix, "%.*s", (int)n, alone.hex);
		if (n < 4) {
			assert_int_equal(pins_find(w.p, prefix, &pin, NULL), ERR_NOTFOUND);
		} else {
			assert_int_equal(pins_find(w.p, prefix, &pin, NULL), ERR_OK);
			assert_true(node_id_eq(&pin->id, &alone));
		}
	}
	world_free(&w);
}

static void stranger_cannot_take_an_id_by_calling_himself_so(void **state)
{
	struct world w;
	const struct pin *pin;
	char prefix[9];
	struct fault f = {0};

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED);
	struct node_id eve = meet(&w, 2, bob.hex, PIN_PENDING);
	assert_int_equal(pins_find(w.p, bob.hex, &pin, NULL), ERR_OK);
	assert_true(node_id_eq(&pin->id, &bob));
	snprintf(prefix, sizeof prefix, "%.8s", bob.hex);
	assert_int_equal(meet_again(&w, 2, prefix, V09), ERR_OK);
	assert_int_equal(pins_find(w.p, prefix, &pin, &f), ERR_AMBIGUOUS);
	assert_int_equal(f.code, EXIT_PEER_UNKNOWN);
	assert_non_null(strstr(f.means, bob.hex));
	assert_non_null(strstr(f.means, eve.hex));
	/* An id nobody has is not searched as a name. */
	assert_int_equal(meet_again(&w, 2, "0123456789abcdef0123456789abcdef", V09), ERR_OK);
	assert_int_equal(pins_find(w.p, "0123456789abcdef0123456789abcdef", &pin, NULL),
			 ERR_NOTFOUND);
	world_free(&w);
}

static void find_lists_the_candidates_and_suggests_the_nearest(void **state)
{
	struct world w;
	const struct pin *pin = NULL;
	struct fault f = {0};

	world_make(&w);
	struct node_id a = meet(&w, 1, "bob", PIN_PENDING), b = meet(&w, 2, "bob", PIN_PENDING);
	assert_int_equal(pins_find(w.p, "bob", &pin, &f), ERR_AMBIGUOUS);
	assert_int_equal(f.code, EXIT_PEER_UNKNOWN);
	assert_non_null(strstr(f.means, a.hex));
	assert_non_null(strstr(f.means, b.hex));
	meet(&w, 3, "alice", PIN_PENDING);
	assert_int_equal(pins_find(w.p, "alcie", &pin, &f), ERR_NOTFOUND);
	assert_helpful(&f, "alcie", "alice");
	assert_non_null(strstr(f.means, "alice"));
	assert_int_equal(pins_find(w.p, "zebra-crossing", &pin, &f), ERR_NOTFOUND);
	assert_null(strstr(f.means, "did you mean"));
	assert_null(pin);
	for (unsigned i = 10; i < 30; i++)
		meet(&w, i, "bob", PIN_PENDING);
	assert_int_equal(pins_find(w.p, "bob", &pin, &f), ERR_AMBIGUOUS);
	assert_non_null(strstr(f.what, "22"));
	assert_non_null(strstr(f.means, ", ..."));
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(state_words_parse_back),
		cmocka_unit_test(first_contact_is_kept_as_it_was),
		cmocka_unit_test(unchanged_contact_is_only_stale),
		cmocka_unit_test(version_floor_only_rises),
		cmocka_unit_test(stripped_x25519_does_not_erase_the_known_one),
		cmocka_unit_test(key_that_does_not_hash_to_its_id_is_refused),
		cmocka_unit_test(blocked_and_revoked_peers_are_not_updated),
		cmocka_unit_test(names_bind_only_for_trusted_peers),
		cmocka_unit_test(trusted_peer_may_rename_but_not_take_a_name),
		cmocka_unit_test(names_of_strangers_are_cleaned_and_bounded),
		cmocka_unit_test(address_moves_to_the_last_binding),
		cmocka_unit_test(addresses_are_bounded_and_the_oldest_goes),
		cmocka_unit_test(bad_addresses_are_refused),
		cmocka_unit_test(pending_strangers_evict_the_one_unseen_for_longest),
		cmocka_unit_test(full_store_refuses_when_nothing_may_go),
		cmocka_unit_test(each_visits_by_first_contact),
		cmocka_unit_test(find_prefers_alias_then_bound_then_claimed_then_prefix),
		cmocka_unit_test(stranger_cannot_take_an_id_by_calling_himself_so),
		cmocka_unit_test(find_lists_the_candidates_and_suggests_the_nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
