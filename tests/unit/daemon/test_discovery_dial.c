/* Dials of hints: their order, their pace, and what they never do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/daemon_hints.h"
#include "transports/loopback.h"

static void starts(struct side *s)
{
	node_dial_all(s->node);
}

struct dials {
	struct world *w;
	uint64_t at[16];
	char to[16][32];
	unsigned n;
};

static struct loop_fate slow(void *ctx, const char *from, const char *to, struct bytes unit)
{
	struct dials *d = ctx;

	(void)from;
	if (unit.n)
		return (struct loop_fate){ .copies = 1 };
	if (d->n < 16) {
		snprintf(d->to[d->n], sizeof d->to[0], "%s", to);
		d->at[d->n++] = d->w->now_ms;
	}
	/* Those that do not exist swallow everything, as a host behind a firewall. */
	return (struct loop_fate){ .copies = strncmp(to, "dead", 4) != 0 };
}

static void addresses_begin_a_stagger_apart(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct dials d = { .w = w };
	struct heard h;

	side_know(a, b);
	side_joins(a, FLEET);
	side_joins(b, FLEET);
	h = side_said(b, (const char *[]){ "dead0:1", "dead1:1", "dead2:1", b->address, NULL });
	loopnet_set_fate(w->net, slow, &d);
	starts(a);
	assert_true(hears_as(a, &h, "b", true, NULL, NULL));
	world_pass(w, 8 * SECOND);
	loopnet_set_fate(w->net, NULL, NULL);
	assert_non_null(side_conn(a, b));
	assert_true(d.n >= 4);
	for (unsigned i = 1; i < 4; i++)
		assert_in_range(d.at[i] - d.at[i - 1], HINT_STAGGER_MS, HINT_STAGGER_MS + 200);
	/* The others were given up, and did not count as failures. */
	assert_int_equal(a->node->n.hints_failed, 0);
	/* The loopback tells the end of such a dial when its time is over. */
	world_pass(w, 20 * SECOND);
	for (int i = 0; i < HINT_DIALS_MAX; i++)
		assert_null(a->node->discovery->dials[i].hint);
	assert_int_equal(a->node->target_count, 0);
	assert_int_equal(a->node->n.hints_failed, 0);
}

/* Another network: nothing waits for its time. */
static void a_move_begins_anew(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct heard h;

	side_know(a, b);
	side_joins(a, FLEET);
	side_joins(b, FLEET);
	side_stop(b);
	starts(a);
	h = (struct heard){ .s.addresses_n = 1, .addresses = { "n1:1" } };
	memcpy(h.p.i, "12345678", 8);
	im2_tag_mesh(FLEET, h.p.i, world_wall_ms(w) / HOUR, h.p.m);
	im2_tag_node(FLEET, side_id(b), world_wall_ms(w) / HOUR, h.p.t);
	assert_true(hears_as(a, &h, "b", true, NULL, NULL));
	world_pass(w, 30 * MINUTE);
	side_start(b);
	world_pass(w, SECOND);
	assert_null(side_conn(a, b));
	node_set_endpoints(a->node, (const char[1][80]){ "192.0.2.1:8765" }, 1);
	world_pass(w, 3 * SECOND);
	assert_non_null(side_conn(a, b));
}

static void failures_back_off(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct heard h;
	uint64_t first;

	side_know(a, b);
	side_joins(a, FLEET);
	side_joins(b, FLEET);
	starts(a);
	h = side_said(b, (const char *[]){ "nowhere:1", NULL });
	assert_true(hears_as(a, &h, "b", true, NULL, NULL));
	world_pass(w, 10 * MINUTE);
	first = a->node->n.dials;
	assert_in_range(first, 5, 10);
	assert_non_null(strstr(view_of(a, "b").why, "dialled again in"));
	/* Heard again is not tried again. */
	for (int i = 0; i < 20; i++)
		(void)hears_as(a, &h, "b", true, NULL, NULL);
	world_pass(w, 20 * SECOND);
	assert_in_range(a->node->n.dials, first, first + 1);
	discovery_lost(a->node, "b");
	world_pass(w, 10 * MINUTE);
	assert_in_range(a->node->n.dials, first, first + 1);
}

/* im2.md 18.2 */
static void guesses_have_a_budget(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct discovery *d = a->node->discovery;
	struct hint h = { .instance = "x" };

	side_know(a, c);
	side_meet(a, c); /* IK will do */
	conn_close(side_conn(a, c), "test");

	assert_int_equal(policy_allow(&a->policy, "n1,n2", NULL), ERR_OK);
	for (int i = 0; i < 9; i++) {
		struct hint_dial s = { .of = d, .hint = &h };

		discovery_dial_over(&s, ERR_AUTH, true);
		discovery_dial_over(&s, ERR_AUTH, true); /* one dial is one */
	}
	assert_true(d->no_first_until_ms == 0);
	struct hint_dial s = { .of = d, .hint = &h };

	discovery_dial_over(&s, ERR_AUTH, true);
	assert_true(d->no_first_until_ms > w->now_ms);
	starts(a);
	assert_true(hears_public(a, b));
	world_pass(w, 30 * MINUTE);
	assert_null(side_conn(a, b));
	assert_int_equal(a->node->n.hints_dialled, 0);
	assert_non_null(side_conn(a, c));
	world_pass(w, 40 * MINUTE);
	assert_non_null(side_conn(a, b));
}

static void another_passphrase_is_left_alone(void **state)
{
	static const uint8_t other[32] = { 8 };
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	assert_int_equal(node_mesh_key(b->node, 0, BYTES_ARR(other)), ERR_OK);
	assert_int_equal(policy_allow(&a->policy, side_id(b)->hex, NULL), ERR_OK);
	side_joins(a, FLEET);
	side_joins(b, FLEET);
	starts(a);
	assert_true(hears_fleet(a, b));
	world_pass(w, 30 * MINUTE);
	assert_int_equal(a->node->n.hints_dialled, 1);
	assert_int_equal(a->node->discovery->bad_n, 1);
	assert_int_equal(side_audited(a, "AUTH_FAILURE"), 0);
}

static void the_fleet_is_never_dialled_on_the_old_wire(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	struct heard h;

	side_know(a, b);
	side_joins(a, FLEET);
	side_joins(b, FLEET);
	h = side_said(b, (const char *[]){ b->address, NULL });
	/* b has gone back: it answers on the old wire alone. */
	b->old = true;
	side_again(b, SCOPE_AUTO);
	starts(a);
	assert_true(hears_as(a, &h, "b", true, NULL, NULL));
	world_pass(w, MINUTE);
	assert_true(a->node->n.hints_dialled > 0);
	assert_int_equal(a->node->n.handshakes_ok, 0);
	assert_int_equal(side_audited(a, "DOWNGRADE_REFUSED"), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, hints_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(addresses_begin_a_stagger_apart),
		TEST(a_move_begins_anew),
		TEST(failures_back_off),
		TEST(guesses_have_a_budget),
		TEST(another_passphrase_is_left_alone),
		TEST(the_fleet_is_never_dialled_on_the_old_wire),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
