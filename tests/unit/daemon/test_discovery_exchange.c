/* Addresses of earlier lives, cards, and the key of the fleet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/records.h"
#include "protocol/im2/record.h"
#include "tests/lib/daemon_hints.h"

static void starts(struct side *s)
{
	node_dial_all(s->node);
}

static void the_last_address_is_tried_again(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	side_know(a, b);
	side_meet(a, b);
	side_again(a, SCOPE_AUTO);
	starts(a);
	world_pass(w, 10 * SECOND);
	assert_non_null(side_conn(a, b));
	/* Off is off. */
	side_again(a, SCOPE_OFF);
	starts(a);
	world_pass(w, MINUTE);
	assert_null(side_conn(a, b));
}

/* a and c know each other, and b knows both: nobody hears any multicast. */
static void cards_bring_friends_together(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2], *d = &w->side[3];

	side_know(a, b);
	side_know(b, c);
	side_know(a, c);
	side_know(b, d);
	side_listens(a);
	side_listens(b);
	side_listens(c);
	side_meet(c, b);
	world_pass(w, 5 * SECOND);
	side_meet(a, b);
	side_meet(d, b);
	world_pass(w, 30 * SECOND);
	assert_non_null(side_conn(a, c));
	assert_non_null(side_conn(c, a));
	/* d heard of them, trusts neither, and does nothing. */
	assert_int_equal(d->node->n.hints_dialled, 0);
	assert_int_equal(d->node->online, 1);
	/* b dialled nobody, and knows where a listens: not from where it came. */
	assert_string_equal(a->address, "n0:1");
	conn_close(side_conn(b, a), "test");
	/* What was kept is a hint in the next life too. */
	side_again(a, SCOPE_AUTO);
	side_again(b, SCOPE_AUTO);
	starts(b);
	world_pass(w, 20 * SECOND);
	assert_non_null(side_conn(b, a));
	assert_true(b->node->n.hints_dialled > 0);
}

static void a_card_is_issued_anew(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct im2_record one, two;
	struct bytes raw;
	uint64_t gen;

	side_know(a, b);
	side_meet(a, b);
	assert_int_equal(records_get(b->node, keyring_ed(a->keyring), IM2_REC_CARD_T).n, 0);
	side_listens(a);
	world_pass(w, 3 * SECOND);
	raw = records_get(b->node, keyring_ed(a->keyring), IM2_REC_CARD_T);
	assert_int_equal(im2_record_parse(raw, &one), IM2_FINE);
	gen = one.gen;
	node_set_endpoints(a->node, (const char[2][80]){ "n0:1", "192.0.2.9:8765" }, 2);
	world_pass(w, 3 * SECOND);
	raw = records_get(b->node, keyring_ed(a->keyring), IM2_REC_CARD_T);
	assert_int_equal(im2_record_parse(raw, &two), IM2_FINE);
	assert_true(two.gen > gen);
	gen = two.gen;
	side_again(a, SCOPE_AUTO);
	side_listens(a);
	side_meet(a, b);
	world_pass(w, 3 * SECOND);
	raw = records_get(b->node, keyring_ed(a->keyring), IM2_REC_CARD_T);
	assert_int_equal(im2_record_parse(raw, &two), IM2_FINE);
	assert_true(two.gen > gen);
}

static void no_card_for_who_is_not_trusted(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	side_know(a, b);
	assert_int_equal(pins_set_state(a->pins, side_id(b), PIN_PENDING, NULL, NULL), ERR_OK);
	side_listens(a);
	side_listens(b);
	side_meet(a, b);
	world_pass(w, MINUTE);
	assert_int_equal(records_get(b->node, keyring_ed(a->keyring), IM2_REC_CARD_T).n, 0);
	assert_true(records_get(a->node, keyring_ed(b->keyring), IM2_REC_CARD_T).n > 0);
	assert_null(hint_find(a->node->discovery, HINT_CARD, side_id(b)->hex));
	/* Approved, it is told, and what it had said counts. */
	assert_int_equal(node_peer_approve(a->node, side_id(b), NULL), ERR_OK);
	world_pass(w, 5 * SECOND);
	assert_true(records_get(b->node, keyring_ed(a->keyring), IM2_REC_CARD_T).n > 0);
	assert_non_null(hint_find(a->node->discovery, HINT_CARD, side_id(b)->hex));
}

static void the_key_is_handed_on(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	uint8_t key[IM2_DISC_BYTES];

	side_know(a, b);
	side_know(b, c);
	side_joins(a, FLEET);
	side_meet(b, a);
	side_meet(c, b);
	world_pass(w, 3 * MINUTE);
	assert_int_equal(discovery_key_get(b->node, key), ERR_OK);
	assert_memory_equal(key, FLEET, sizeof key);
	assert_int_equal(discovery_key_get(c->node, key), ERR_OK);
	assert_memory_equal(key, FLEET, sizeof key);
	assert_int_equal(side_audited(c, "DISCOVERY_KEY_RECEIVED"), 1);
	side_again(c, SCOPE_AUTO);
	assert_int_equal(discovery_key_get(c->node, key), ERR_OK);
	assert_memory_equal(key, FLEET, sizeof key);
}

static void not_to_who_is_pending_and_not_from_him(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	uint8_t key[IM2_DISC_BYTES];

	side_know(a, b);
	assert_int_equal(pins_set_state(a->pins, side_id(b), PIN_PENDING, NULL, NULL), ERR_OK);
	side_joins(a, FLEET);
	side_meet(b, a);
	world_pass(w, 10 * MINUTE);
	assert_int_equal(discovery_key_get(b->node, key), ERR_NOTFOUND);
	/* c would take none from a pending peer: it does not even ask. */
	side_know(c, a);
	assert_int_equal(pins_set_state(c->pins, side_id(a), PIN_PENDING, NULL, NULL), ERR_OK);
	side_meet(c, a);
	world_pass(w, 10 * MINUTE);
	assert_int_equal(discovery_key_get(c->node, key), ERR_NOTFOUND);
	assert_int_equal(node_peer_approve(a->node, side_id(b), NULL), ERR_OK);
	world_pass(w, 2 * HOUR);
	assert_int_equal(discovery_key_get(b->node, key), ERR_OK);
}

static void says(struct conn *c, uint16_t tag, const struct im2_schema *s, struct im2_fields *f)
{
	struct buf b;

	buf_init(&b, 4096);
	im2_write(s, f, &b);
	assert_int_equal(b.err, ERR_OK);
	assert_int_equal(im2_link_item(c->session, tag, buf_bytes(&b)), ERR_OK);
	conn_pump(c);
	buf_fini(&b);
}

/* An answer that nobody asked for, one of another call, and one of the wrong length. */
static void answers_that_nobody_asked_for(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct im2_fields f = { .schema = &im2_end };
	uint8_t key[IM2_DISC_BYTES];

	side_know(a, b);
	side_meet(b, a);
	world_pass(w, 5 * SECOND); /* b asked, and a has none */
	im2_set_u(&f, 0, 1);
	im2_set_b(&f, 4, BYTES_ARR(FLEET));
	for (unsigned call = 1; call < 9; call++) {
		f.v[0].u = call;
		says(side_conn(a, b), IM2_ITEM_END, &im2_end, &f);
	}
	world_pass(w, SECOND);
	assert_int_equal(discovery_key_get(b->node, key), ERR_NOTFOUND);
}

static void other_calls_are_unknown(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct im2_fields f = { .schema = &im2_open };
	uint64_t refused;

	side_know(a, b);
	side_joins(a, FLEET);
	side_joins(b, FLEET);
	side_meet(a, b);
	refused = im2_host_counters(a->node->im2)->items_refused;
	im2_set_u(&f, 0, 2);
	im2_set_b(&f, 1, BYTES_LIT("im2.attest"));
	im2_set_b(&f, 10, bytes_of("", 0));
	says(side_conn(a, b), IM2_ITEM_OPEN, &im2_open, &f);
	world_pass(w, SECOND);
	assert_non_null(side_conn(a, b));
	assert_int_equal(im2_host_counters(a->node->im2)->items_refused, refused);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, hints_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_last_address_is_tried_again),
		TEST(cards_bring_friends_together),
		TEST(a_card_is_issued_anew),
		TEST(no_card_for_who_is_not_trusted),
		TEST(the_key_is_handed_on),
		TEST(not_to_who_is_pending_and_not_from_him),
		TEST(answers_that_nobody_asked_for),
		TEST(other_calls_are_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
