#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/transports_contract.h"
#include "transports/loopback.h"

/* --- the contract, in virtual time --- */

struct world {
	struct env env;
	struct loopnet *net;
	uint64_t now_ms, seed;
	int endpoints;
};

static uint64_t world_now(void *ctx)
{
	return ((struct world *)ctx)->now_ms;
}

static void world_random(void *ctx, void *out, size_t n)
{
	struct world *w = ctx;

	for (size_t i = 0; i < n; i++) {
		w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
		((uint8_t *)out)[i] = (uint8_t)(w->seed >> 56);
	}
}

static void world_begin(void *ctx)
{
	struct world *w = ctx;

	*w = (struct world){.now_ms = 1000, .seed = 1};
	w->env = (struct env){
		.ctx = w, .now_ms = world_now, .wall_ms = world_now, .random = world_random};
	w->net = loopnet_new(&w->env);
	assert_non_null(w->net);
}

static void world_end(void *ctx)
{
	struct world *w = ctx;

	assert_int_equal(timers_next(&w->env), UINT64_MAX); /* nothing is left armed */
	loopnet_free(w->net);
	timers_fini(&w->env);
}

static struct transport *world_open(void *ctx, const struct transport_sink *sink, char *address)
{
	struct world *w = ctx;
	struct transport *t = NULL;

	snprintf(address, LINK_ADDRESS_MAX, "n%d", ++w->endpoints);
	assert_int_equal(loopback_new(w->net, address, sink, &t), ERR_OK);
	return t;
}

static void world_turn(void *ctx)
{
	struct world *w = ctx;

	if (timers_run(&w->env) == 0)
		w->now_ms++;
}

static struct world world;
static struct contract_medium medium = {
	.ctx = &world,
	.begin = world_begin,
	.end = world_end,
	.open = world_open,
	.turn = world_turn,
	.now_ms = world_now,
	.nowhere = "nobody",
	.unparsable = "",
};

/* --- what only loopback can do --- */

struct node {
	struct transport *t;
	link_id id;
	int opened, closed, units;
	enum link_end why;
	size_t last_n;
	uint8_t order[256];
	uint64_t at_ms[256];
};

static void node_opened(void *ctx, const struct link_info *info)
{
	struct node *n = ctx;

	n->opened++;
	n->id = info->id;
}

static void node_unit(void *ctx, link_id id, struct bytes unit, bool text)
{
	struct node *n = ctx;

	assert_true(n->units < 256);
	n->at_ms[n->units] = world.now_ms;
	n->order[n->units++] = unit.p[0];
	n->last_n = unit.n;
}

static void node_closed(void *ctx, link_id id, enum link_end why, const char *detail)
{
	struct node *n = ctx;

	n->closed++;
	n->why = why;
}

static struct node a, b;

static void node_open(struct node *n, const char *address)
{
	struct transport_sink sink = {
		.ctx = n, .opened = node_opened, .unit = node_unit, .closed = node_closed};

	*n = (struct node){0};
	assert_int_equal(loopback_new(world.net, address, &sink, &n->t), ERR_OK);
}

static int nodes_setup(void **state)
{
	world_begin(&world);
	node_open(&a, "a");
	node_open(&b, "b");
	return 0;
}

static int nodes_teardown(void **state)
{
	loopnet_free(world.net);
	timers_fini(&world.env);
	return 0;
}

static void run_ms(uint64_t ms)
{
	for (uint64_t end = world.now_ms + ms; world.now_ms < end;)
		world_turn(&world);
}

static void join(void)
{
	link_id id;

	assert_int_equal(tp_dial(a.t, "b", &id), ERR_OK);
	run_ms(50);
	assert_int_equal(a.opened, 1);
	assert_int_equal(b.opened, 1);
}

static struct loop_fate next_fate = {.copies = 1};

static struct loop_fate fate_given(void *ctx, const char *from, const char *to, struct bytes unit)
{
	if (unit.n && unit.p[0] == 'q')
		return (struct loop_fate){.copies = 1, .reorder = true};
	return next_fate;
}

static void fate_delays_but_keeps_order(void **state)
{
	uint64_t from;

	next_fate = (struct loop_fate){.copies = 1, .delay_ms = 30};
	join();
	loopnet_set_fate(world.net, fate_given, NULL);
	from = world.now_ms;
	assert_int_equal(tp_send(a.t, a.id, BYTES_LIT("1"), false), ERR_OK);
	next_fate.delay_ms = 5; /* would overtake */
	assert_int_equal(tp_send(a.t, a.id, BYTES_LIT("2"), false), ERR_OK);
	run_ms(29);
	assert_int_equal(b.units, 0);
	run_ms(10);
	assert_int_equal(b.units, 2);
	assert_memory_equal(b.order, "12", 2);
	assert_int_equal(b.at_ms[0], from + 30);
	assert_int_equal(b.at_ms[1], from + 30);
}

static void fate_lets_one_overtake(void **state)
{
	join();
	loopnet_set_fate(world.net, fate_given, NULL);
	next_fate = (struct loop_fate){.copies = 1, .delay_ms = 30};
	assert_int_equal(tp_send(a.t, a.id, BYTES_LIT("1"), false), ERR_OK);
	assert_int_equal(tp_send(a.t, a.id, BYTES_LIT("q"), false), ERR_OK);
	run_ms(50);
	assert_memory_equal(b.order, "q1", 2);
}

static void fate_loses_and_duplicates(void **state)
{
	join();
	loopnet_set_fate(world.net, fate_given, NULL);
	next_fate = (struct loop_fate){.copies = 0};
	assert_int_equal(tp_send(a.t, a.id, BYTES_LIT("1"), false), ERR_OK);
	next_fate.copies = 3;
	assert_int_equal(tp_send(a.t, a.id, BYTES_LIT("2"), false), ERR_OK);
	assert_int_equal(tp_queued(a.t, a.id), 1);
	run_ms(10);
	assert_int_equal(b.units, 3);
	assert_memory_equal(b.order, "222", 3);
	assert_int_equal(tp_queued(a.t, a.id), 0);
}

static void fate_cuts_at_both_ends(void **state)
{
	join();
	loopnet_set_fate(world.net, fate_given, NULL);
	next_fate = (struct loop_fate){.cut = true, .delay_ms = 7};
	assert_int_equal(tp_send(a.t, a.id, BYTES_LIT("1"), false), ERR_OK);
	assert_int_equal(tp_send(a.t, a.id, BYTES_LIT("2"), false), ERR_CLOSED);
	run_ms(20);
	assert_int_equal(a.closed, 1);
	assert_int_equal(b.closed, 1);
	assert_int_equal(a.why, LINK_END_IO);
	assert_int_equal(b.why, LINK_END_IO);
	assert_int_equal(b.units, 0);
}

static void fate_refuses_or_swallows_a_dial(void **state)
{
	link_id id;

	loopnet_set_fate(world.net, fate_given, NULL);
	next_fate = (struct loop_fate){.cut = true};
	assert_int_equal(tp_dial(a.t, "b", &id), ERR_OK);
	run_ms(5);
	assert_int_equal(a.why, LINK_END_REFUSED);
	next_fate = (struct loop_fate){.copies = 0};
	assert_int_equal(tp_dial(a.t, "b", &id), ERR_OK);
	run_ms(9000);
	assert_int_equal(a.closed, 1);
	run_ms(2000);
	assert_int_equal(a.closed, 2);
	assert_int_equal(a.why, LINK_END_TIMEOUT);
	assert_int_equal(b.opened, 0);
}

static size_t tapped;

static void tap(void *ctx, struct bytes unit)
{
	tapped += unit.n;
}

static void tap_sees_every_unit(void **state)
{
	tapped = 0;
	join();
	loopnet_set_tap(world.net, tap, NULL);
	assert_int_equal(tp_send(a.t, a.id, BYTES_LIT("12345"), false), ERR_OK);
	assert_int_equal(tp_send(b.t, b.id, BYTES_LIT("123"), true), ERR_OK);
	assert_int_equal(tapped, 8);
}

static void killed_endpoint_is_silent_and_its_address_free(void **state)
{
	struct transport_stats s;
	struct node c;
	link_id id;

	join();
	assert_int_equal(tp_send(a.t, a.id, BYTES_LIT("1"), false), ERR_OK);
	loopback_kill(b.t);
	assert_int_equal(tp_send(b.t, b.id, BYTES_LIT("1"), false), ERR_CLOSED);
	assert_int_equal(tp_dial(b.t, "a", &id), ERR_CLOSED);
	run_ms(10);
	assert_int_equal(b.closed, 0);
	assert_int_equal(b.units, 0);
	assert_int_equal(a.closed, 1);
	assert_int_equal(a.why, LINK_END_IO);
	tp_stats(b.t, &s);
	assert_int_equal(s.links, 0);
	tp_free(b.t);
	node_open(&c, "b"); /* it starts again */
	assert_int_equal(tp_dial(a.t, "b", &id), ERR_OK);
	run_ms(10);
	assert_int_equal(c.opened, 1);
	loopback_kill(c.t);
	run_ms(10);
}

static void one_address_has_one_endpoint(void **state)
{
	struct transport_sink sink = {0};
	struct transport *t = NULL;

	assert_int_equal(loopback_new(world.net, "a", &sink, &t), ERR_EXISTS);
	assert_int_equal(loopback_new(world.net, "", &sink, &t), ERR_USAGE);
	assert_null(t);
}

static void close_gives_up_on_a_far_side_that_does_not_read(void **state)
{
	join();
	tp_pause(b.t, b.id, true);
	assert_int_equal(tp_send(a.t, a.id, BYTES_LIT("1"), false), ERR_OK);
	tp_close(a.t, a.id);
	run_ms(4000);
	assert_int_equal(a.closed, 0);
	run_ms(2000);
	assert_int_equal(a.closed, 1);
	assert_int_equal(a.why, LINK_END_LOCAL);
	assert_int_equal(b.closed, 0);
	tp_pause(b.t, b.id, false); /* it reads what was sent, then the end */
	run_ms(10);
	assert_int_equal(b.units, 1);
	assert_int_equal(b.closed, 1);
	assert_int_equal(b.why, LINK_END_REMOTE);
}

static void same_seed_same_story(void **state)
{
	uint64_t times[2][50];

	for (int round = 0; round < 2; round++) {
		nodes_teardown(NULL);
		nodes_setup(NULL);
		join();
		loopnet_set_fate(world.net, fate_given, NULL);
		for (unsigned i = 0; i < 50; i++) {
			next_fate = (struct loop_fate){.copies = 1, .reorder = true};
			next_fate.delay_ms = env_uniform(&world.env, 100);
			assert_int_equal(tp_send(a.t, a.id, bytes_of(&i, 1), false), ERR_OK);
		}
		run_ms(200);
		assert_int_equal(b.units, 50);
		for (int i = 0; i < 50; i++)
			times[round][i] = b.at_ms[i] * 256 + b.order[i];
	}
	assert_memory_equal(times[0], times[1], sizeof times[0]);
}

static void every_end_has_a_word(void **state)
{
	for (int i = 0; i < LINK_END_COUNT; i++) {
		assert_string_not_equal(link_end_word((enum link_end)i), "unknown");
		for (int k = 0; k < i; k++)
			assert_string_not_equal(link_end_word((enum link_end)i),
						link_end_word((enum link_end)k));
	}
	assert_string_equal(link_end_word(LINK_END_COUNT), "unknown");
}

#define NODES(f) cmocka_unit_test_setup_teardown(f, nodes_setup, nodes_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONTRACT_TESTS,
		NODES(fate_delays_but_keeps_order),
		NODES(fate_lets_one_overtake),
		NODES(fate_loses_and_duplicates),
		NODES(fate_cuts_at_both_ends),
		NODES(fate_refuses_or_swallows_a_dial),
		NODES(tap_sees_every_unit),
		NODES(killed_endpoint_is_silent_and_its_address_free),
		NODES(one_address_has_one_endpoint),
		NODES(close_gives_up_on_a_far_side_that_does_not_read),
		NODES(same_seed_same_story),
		cmocka_unit_test(every_end_has_a_word),
	};

	contract_medium = &medium;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
