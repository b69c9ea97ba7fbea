/* Routes and relays between real nodes, in virtual time over the loopback transport. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/records.h"
#include "daemon/relay.h"
#include "daemon/relay_again.h"
#include "daemon/routes.h"
#include "protocol/im2/record.h"
#include "protocol/im2/schema.h"
#include "protocol/im2/seal.h"
#include "tests/lib/daemon_world.h"
#include "transports/loopback.h"

#define A (&w->side[0])
#define B (&w->side[1])
#define C (&w->side[2])
#define D (&w->side[3])

/* --- a chain and a diamond ----------------------------------------------------------------------------------- */
static void modes(struct world *w, const char *letters)
{
	for (int i = 0; i < SIDES; i++) {
		side_stop(&w->side[i]);
		w->side[i].routing = letters[i] == 'r' ? ROUTING_RELAY : letters[i] == 'p' ? ROUTING_PASSIVE : ROUTING_OFF;
		side_start(&w->side[i]);
	}
}

static void join(struct side *a, struct side *b)
{
	side_know(a, b);
	side_meet(a, b);
}

static void chain(struct world *w)
{
	modes(w, "prrp");
	join(A, B);
	join(B, C);
	join(C, D);
	world_pass(w, 5000);
}

/* A to D through B or through C. */
static void diamond(struct world *w)
{
	modes(w, "prrp");
	join(A, B);
	join(B, D);
	join(A, C);
	join(C, D);
	world_pass(w, 5000);
}

static struct node_counters *count(struct side *s)
{
	return &s->node->n;
}

static struct relay_view relayed(struct side *s)
{
	struct relay_view v;

	relay_view(s->node, &v);
	return v;
}

/* Through whom; NULL: there is no way. */
static struct side *next_of(struct side *from, struct side *to)
{
	struct conn *c = routes_next(from->node, side_id(to), NULL);

	for (int i = 0; c && i < SIDES; i++)
		if (node_id_eq(side_id(&from->w->side[i]), &c->peer->id))
			return &from->w->side[i];
	return NULL;
}

static struct route_view route_of(struct side *s, struct side *to)
{
	struct route_view v[64];
	size_t n = routes_views(s->node, v, 64);

	for (size_t i = 0; i < n; i++)
		if (node_id_eq(&v[i].to, side_id(to)) && v[i].best)
			return v[i];
	return (struct route_view){ .hops = 99 };
}

/* And `a` does not dial again. */
static void cut(struct side *a, struct side *b)
{
	struct conn *c = side_conn(a, b);

	assert_non_null(c);
	conn_close(c, "cut");
	world_pass(a->w, 100);
	for (size_t i = 0; i < a->node->target_count; i++)
		if (strcmp(a->node->targets[i]->address, b->address) == 0)
			timer_stop(a->node->env, &a->node->targets[i]->timer);
	assert_null(side_conn(a, b));
	assert_null(side_conn(b, a));
}

/* One of them was started anew, and `a` had dialled. */
static void again(struct side *a, struct side *b)
{
	if (!side_conn(a, b)) {
		enum err e = node_add_target(a->node, b->address, NULL);

		assert_true(e == ERR_OK || e == ERR_EXISTS);
		node_dial_all(a->node);
		for (int i = 0; i < 100 && !side_conn(a, b); i++)
			world_pass(a->w, 1000);
	}
	assert_non_null(side_conn(a, b));
	world_pass(a->w, 5000);
	/* The session of the life before, taken up again, may have turned out to be unknown there. */
	for (int i = 0; i < 100 && !side_conn(a, b); i++)
		world_pass(a->w, 1000);
	assert_non_null(side_conn(a, b));
	world_pass(a->w, 5000);
}

/* --- objects ------------------------------------------------------------------------------------------------------ */
struct object {
	struct buf rt, body;
};

static struct object object(const struct node_id *to, uint32_t ttl_s, const char *text, size_t size)
{
	struct object o;
	struct im2_rt rt = { .ttl_s = ttl_s, .prio = 1 };

	assert_int_equal(hex_decode(bytes_of(to->hex, NODE_ID_LEN), rt.to, sizeof rt.to), ERR_OK);
	buf_init(&o.rt, IM2_RT_MAX);
	buf_init(&o.body, IM2_ROUTED_BODY_MAX);
	im2_rt_write(&rt, &o.rt);
	buf_add(&o.body, bytes_str(text));
	while (o.body.n < size)
		buf_add(&o.body, bytes_of(text, size - o.body.n < strlen(text) ? size - o.body.n : strlen(text)));
	assert_int_equal(o.rt.err, ERR_OK);
	assert_int_equal(o.body.err, ERR_OK);
	return o;
}

static void object_free(struct object *o)
{
	buf_fini(&o->rt);
	buf_fini(&o->body);
}

static void give_full(struct side *from, struct side *to, const struct node_id *dest, const char *text, unsigned hops,
		      uint32_t age_s, uint32_t ttl_s)
{
	struct object o = object(dest, ttl_s, text, 1);

	assert_int_equal(relay_send(side_conn(from, to), buf_bytes(&o.rt), buf_bytes(&o.body), hops, age_s), ERR_OK);
	object_free(&o);
	world_pass(from->w, 300);
}

static void give(struct side *from, struct side *to, const struct node_id *dest, const char *text)
{
	give_full(from, to, dest, text, 8, 0, 3600);
}

static struct node_id nobody(void)
{
	struct node_id id;

	snprintf(id.hex, sizeof id.hex, "00112233445566778899aabbccddeeff");
	return id;
}

/* --- routes --------------------------------------------------------------------------------------------------------- */
static void chain_is_learned_to_its_end(void **state)
{
	struct world *w = *state;

	chain(w);
	assert_ptr_equal(next_of(A, D), B);
	assert_int_equal(route_of(A, D).hops, 3);
	assert_int_equal(route_of(A, C).hops, 2);
	assert_int_equal(route_of(A, B).hops, 1);
	assert_ptr_equal(next_of(D, A), C);
	assert_true(routes_has(A->node, side_id(D)));
	assert_int_equal(routes_count(A->node), 3);
	/* They stay, by new generations, for as long as all are there. */
	uint64_t gen = route_of(A, D).gen;

	world_pass(w, 600000);
	assert_ptr_equal(next_of(A, D), B);
	assert_true(route_of(A, D).gen > gen);
	assert_int_equal(count(A)->routes_refused, 0);
	assert_int_equal(count(B)->routes_refused, 0);
}

static void passive_node_tells_of_itself_alone(void **state)
{
	struct world *w = *state;

	modes(w, "rprr");
	join(A, B);
	join(B, C);
	world_pass(w, 5000);
	assert_ptr_equal(next_of(A, B), B);
	assert_null(next_of(A, C));
	assert_ptr_equal(next_of(B, C), C);
	give(A, B, side_id(C), "not through me");
	assert_int_equal(count(B)->relay_refused, 1);
	assert_int_equal(count(B)->relay_forwarded, 0);
	assert_int_equal(relayed(A).heard[ROUTEFB_POLICY], 1);
}

static void routing_off_knows_nobody(void **state)
{
	struct world *w = *state;

	modes(w, "orro");
	join(A, B);
	join(B, C);
	world_pass(w, 5000);
	assert_null(A->node->routes);
	assert_int_equal(route_of(B, A).hops, 99);
	assert_null(routes_next(A->node, side_id(C), NULL));
}

static void only_trusted_neighbours_bring_routes_or_get_them(void **state)
{
	struct world *w = *state;

	chain(w);
	assert_int_equal(node_peer_pending(B->node, side_id(A), NULL), ERR_OK);
	world_pass(w, 2000);
	assert_int_equal(route_of(B, A).hops, 99);
	assert_null(next_of(C, A)); /* taken back */
	give(A, B, side_id(D), "of a stranger");
	assert_int_equal(count(B)->relay_refused, 1);
	assert_int_equal(relayed(A).heard[ROUTEFB_POLICY], 1);
	world_pass(w, 400000);
	assert_int_equal(route_of(A, D).hops, 99); /* B tells A nothing more */
	assert_int_equal(node_peer_approve(B->node, side_id(A), NULL), ERR_OK);
	world_pass(w, 70000);
	assert_ptr_equal(next_of(A, D), B);
	assert_ptr_equal(next_of(D, A), C);
}

static void neighbour_that_goes_is_told_and_a_new_way_found(void **state)
{
	struct world *w = *state;

	diamond(w);
	struct side *first = next_of(A, D), *other = first == B ? C : B;

	assert_non_null(first);
	side_stop(first);
	world_pass(w, 200);
	/* Two ways of the same length: the other is no loop for who never told of any. */
	assert_ptr_equal(next_of(A, D), other);
	world_pass(w, 10000);
	assert_ptr_equal(next_of(A, D), other);
	side_start(first);
	side_stop(other);
	world_pass(w, 5000);
	assert_null(next_of(A, D));
	side_start(other);
}

static void relay_finds_another_way_with_the_next_generation(void **state)
{
	struct world *w = *state;

	/* B reaches D at once, or through A and C; who told others of the short way waits for a new generation, which D
	 * makes when it loses B. */
	modes(w, "rrrp");
	join(B, D);
	join(A, B);
	join(A, C);
	join(C, D);
	world_pass(w, 5000);
	assert_ptr_equal(next_of(B, D), D);
	cut(B, D);
	world_pass(w, 9000);
	assert_ptr_equal(next_of(B, D), A);
	assert_int_equal(route_of(B, D).hops, 3);
	assert_ptr_equal(next_of(A, D), C);
}

static void newer_generation_is_asked_for_when_only_detours_are_left(void **state)
{
	struct world *w = *state;

	/* A reaches D through B; C does too, and is no nearer than A said it was. D is not at the link that goes. */
	modes(w, "rrrp");
	join(A, B);
	join(B, D);
	join(A, C);
	join(C, B);
	/* In small steps, and not to where the next generation is due. */
	world_pass(w, 70000);
	world_pass(w, 70000);
	assert_ptr_equal(next_of(A, D), B);
	uint64_t gen = route_of(A, D).gen;

	cut(A, B);
	assert_null(next_of(A, D));
	world_pass(w, 9000);
	assert_ptr_equal(next_of(A, D), C);
	assert_int_equal(route_of(A, D).hops, 3);
	assert_true(route_of(A, D).gen > gen);
}

static void dead_destination_is_forgotten_by_all(void **state)
{
	struct world *w = *state;

	chain(w);
	side_stop(D);
	world_pass(w, 3000);
	assert_null(next_of(C, D));
	assert_null(next_of(A, D));
	world_pass(w, 320000);
	assert_int_equal(routes_count(A->node), 2);
	side_start(D);
}

static void three_without_receipt_and_the_other_way_is_used(void **state)
{
	struct world *w = *state;

	diamond(w);
	struct side *first = next_of(A, D), *other = first == B ? C : B;

	for (int i = 0; i < 3; i++) {
		assert_ptr_equal(next_of(A, D), first);
		routes_unanswered(A->node, side_id(D), side_id(first));
	}
	assert_ptr_equal(next_of(A, D), other);
	assert_int_equal(side_audited(A, "ROUTE_PENALISED"), 1);
	assert_int_equal(count(A)->routes_penalised, 1);
	/* With the next generations too. */
	world_pass(w, 200000);
	assert_ptr_equal(next_of(A, D), other);
	assert_ptr_equal(routes_next_other(A->node, side_id(D), NULL, side_id(other)), side_conn(A, first));
}

static void hops_of_nought_are_of_the_destination_alone(void **state)
{
	struct world *w = *state;
	struct im2_fields f = { .schema = &im2_routeadv };
	struct buf b;

	chain(w);
	struct bytes record = records_get(B->node, keyring_ed(D->keyring), IM2_REC_ROUTE_T);

	assert_true(record.n > 0);
	buf_init(&b, 1000);
	im2_set_b(&f, IM2_ROUTEADV_RECORD, record);
	im2_set_u(&f, IM2_ROUTEADV_HOPS, 0);
	im2_write(&im2_routeadv, &f, &b);
	for (int i = 0; i < 50; i++)
		assert_int_equal(im2_link_item(side_conn(B, A)->session, IM2_ITEM_ROUTEADV, buf_bytes(&b)), ERR_OK);
	conn_pump_later(side_conn(B, A));
	world_pass(w, 300);
	assert_int_equal(route_of(A, D).hops, 3);
	assert_int_equal(count(A)->routes_refused, 50);
	assert_in_range(side_audited(A, "ROUTE_LIE"), 1, 10);
	buf_fini(&b);
}

/* --- our own record ---------------------------------------------------------------------------------------------------- */
static void generations_never_go_back(void **state)
{
	struct world *w = *state;

	chain(w);
	uint64_t gen = route_of(C, D).gen;

	for (int i = 0; i < 3; i++) {
		side_stop(D);
		side_start(D);
		again(C, D);
		assert_true(route_of(C, D).gen > gen);
		gen = route_of(C, D).gen;
	}
	assert_int_equal(side_audited(C, "RECORD_EQUIVOCATION"), 0);
	assert_int_equal(side_audited(D, "OWN_RECORD_BEHIND"), 0);
}

static void another_life_of_ours_is_outdone(void **state)
{
	struct world *w = *state;
	struct im2_fields f = { .schema = &im2_routeadv }, r = { .schema = &im2_route };
	struct buf b, body, record;

	chain(w);
	buf_init(&b, 1000);
	buf_init(&body, 100);
	buf_init(&record, 1000);
	im2_set_u(&r, IM2_ROUTE_FLAGS, 3);
	im2_write(&im2_route, &r, &body);
	im2_record_write(D->keyring, IM2_REC_ROUTE_T, 5000, world_wall_ms(w), 300, buf_bytes(&body), &record);
	im2_set_b(&f, IM2_ROUTEADV_RECORD, buf_bytes(&record));
	im2_set_u(&f, IM2_ROUTEADV_HOPS, 2);
	im2_write(&im2_routeadv, &f, &b);
	assert_int_equal(im2_link_item(side_conn(C, D)->session, IM2_ITEM_ROUTEADV, buf_bytes(&b)), ERR_OK);
	conn_pump_later(side_conn(C, D));
	world_pass(w, 5000);
	assert_true(route_of(C, D).gen > 5000);
	assert_int_equal(side_audited(D, "OWN_RECORD_BEHIND"), 1);
	side_stop(D);
	side_start(D);
	again(C, D);
	assert_true(route_of(C, D).gen > 5064); /* a block of the life before is over */
	buf_fini(&b);
	buf_fini(&body);
	buf_fini(&record);
}

/* What a REVOKE does is not done twice: where it does nothing, it must not be noted as seen either. */
static void other_records_do_not_come_as_routes(void **state)
{
	struct world *w = *state;
	struct im2_fields f = { .schema = &im2_routeadv };
	struct buf b, record;

	side_know(A, D);
	chain(w);
	buf_init(&b, 1000);
	buf_init(&record, 1000);
	im2_revoke_self_write(D->keyring, 1, world_wall_ms(w), 1, &record);
	im2_set_b(&f, IM2_ROUTEADV_RECORD, buf_bytes(&record));
	im2_set_u(&f, IM2_ROUTEADV_HOPS, 2);
	im2_write(&im2_routeadv, &f, &b);
	assert_int_equal(im2_link_item(side_conn(B, A)->session, IM2_ITEM_ROUTEADV, buf_bytes(&b)), ERR_OK);
	conn_pump_later(side_conn(B, A));
	world_pass(w, 1000);
	assert_int_equal(count(A)->routes_refused, 1);
	assert_int_equal(pins_get(A->pins, side_id(D))->state, PIN_TRUSTED);
	assert_int_equal(im2_link_item(side_conn(B, A)->session, IM2_ITEM_RECORD, buf_bytes(&record)), ERR_OK);
	conn_pump_later(side_conn(B, A));
	world_pass(w, 2000);
	assert_int_equal(pins_get(A->pins, side_id(D))->state, PIN_REVOKED);
	assert_null(next_of(A, D)); /* and nothing goes there any more */
	world_pass(w, 130000);
	assert_null(next_of(A, D));
	buf_fini(&b);
	buf_fini(&record);
}

static void prekey_comes_through_relays(void **state)
{
	struct world *w = *state;
	struct im2_seal_to to;

	side_know(A, D); /* they never meet */
	chain(w);
	world_pass(w, 20000);
	assert_int_equal(records_seal_to(A->node, side_id(D), &to), ERR_OK);
	assert_true(to.prekey_record.n > 0);
	assert_int_equal(records_seal_to(D->node, side_id(A), &to), ERR_OK);
	assert_true(to.prekey_record.n > 0);
	/* Nobody keeps on asking for what he has. */
	uint64_t taken = count(A)->records_taken;

	world_pass(w, 50000);
	assert_in_range(count(A)->records_taken - taken, 0, 4);
}

/* --- relays ---------------------------------------------------------------------------------------------------------------- */
static void object_goes_from_end_to_end(void **state)
{
	struct world *w = *state;

	chain(w);
	give(A, B, side_id(D), "sealed");
	assert_int_equal(count(B)->relay_forwarded, 1);
	assert_int_equal(count(C)->relay_forwarded, 1);
	assert_int_equal(count(D)->sealed_refused, 1); /* nobody sealed it */
	assert_int_equal(relayed(A).heard[ROUTEFB_FORWARDED], 1);
	assert_int_equal(relayed(A).heard[ROUTEFB_HANDED], 1);
	assert_int_equal(relayed(B).kept_now, 0);
}

static void largest_object_goes_in_pieces(void **state)
{
	struct world *w = *state;
	struct object o;

	chain(w);
	o = object(side_id(D), 3600, "0123456789abcdef", IM2_ROUTED_BODY_MAX);
	assert_int_equal(o.body.n, IM2_ROUTED_BODY_MAX);
	assert_int_equal(relay_send(side_conn(A, B), buf_bytes(&o.rt), buf_bytes(&o.body), 8, 0), ERR_OK);
	world_pass(w, 5000);
	assert_int_equal(count(C)->relay_forwarded, 1);
	assert_int_equal(count(D)->sealed_refused, 1);
	assert_int_equal(relayed(A).heard[ROUTEFB_HANDED], 1);
	object_free(&o);
}

static void hops_and_life_end(void **state)
{
	struct world *w = *state;

	chain(w);
	give_full(A, B, side_id(D), "one hop", 1, 0, 3600);
	assert_int_equal(count(B)->relay_forwarded, 1);
	assert_int_equal(count(C)->relay_hops, 1);
	assert_int_equal(relayed(A).heard[ROUTEFB_HOPS], 1);
	give_full(A, B, side_id(D), "no hop", 0, 0, 3600);
	assert_int_equal(count(B)->relay_hops, 1);
	give_full(A, B, side_id(D), "old", 8, 60, 60);
	assert_int_equal(count(B)->relay_expired, 1);
	assert_int_equal(relayed(A).heard[ROUTEFB_EXPIRED], 1);
	assert_int_equal(count(D)->sealed_refused, 0);
}

static void same_object_of_the_same_neighbour_waits_half_a_minute(void **state)
{
	struct world *w = *state;

	diamond(w);
	give(A, B, side_id(D), "twice");
	give(A, B, side_id(D), "twice");
	assert_int_equal(count(B)->relay_forwarded, 1);
	assert_int_equal(count(B)->relay_repeated, 1);
	assert_int_equal(relayed(A).heard[ROUTEFB_HANDED], 1);
	/* Of another neighbour it goes on at once: who was first may have been lying in wait. */
	give(D, B, side_id(A), "thrice");
	give(A, C, side_id(D), "twice");
	assert_int_equal(count(C)->relay_forwarded, 1);
	world_pass(w, 31000);
	give(A, B, side_id(D), "twice");
	assert_int_equal(count(B)->relay_forwarded, 3);
}

static void never_back_to_where_it_came_from(void **state)
{
	struct world *w = *state;

	modes(w, "rrro");
	join(A, B);
	join(A, C);
	world_pass(w, 5000);
	assert_ptr_equal(next_of(B, C), A);
	give(A, B, side_id(C), "you are nearer yourself");
	assert_int_equal(count(B)->relay_forwarded, 0);
	assert_int_equal(relayed(B).kept_now, 1);
	assert_int_equal(relayed(A).heard[ROUTEFB_STORED], 1);
	world_pass(w, 120000);
	assert_int_equal(relayed(B).kept_now, 1);
}

static void kept_object_survives_a_restart_and_goes_when_there_is_a_way(void **state)
{
	struct world *w = *state;

	modes(w, "prrp");
	join(A, B);
	world_pass(w, 3000);
	give_full(A, B, side_id(D), "for later", 8, 0, 3600);
	assert_int_equal(relayed(A).heard[ROUTEFB_STORED], 1);
	give_full(A, B, side_id(D), "for later", 8, 0, 3600);
	assert_int_equal(relayed(A).heard[ROUTEFB_STORED], 2); /* told again, not kept again */
	assert_int_equal(relayed(B).kept_now, 1);
	side_stop(B);
	side_start(B);
	assert_int_equal(relayed(B).kept_now, 1);
	again(A, B);
	world_pass(w, 60000);
	join(B, D);
	world_pass(w, 1000);
	assert_int_equal(count(D)->sealed_refused, 1);
	assert_int_equal(relayed(B).kept_now, 0);
	assert_int_equal(relayed(A).heard[ROUTEFB_HANDED], 1);
}

static void kept_object_goes_through_relays_that_appear(void **state)
{
	struct world *w = *state;

	modes(w, "prrp");
	join(A, B);
	join(C, D);
	give_full(A, B, side_id(D), "for later", 8, 0, 3600);
	assert_int_equal(relayed(B).kept_now, 1);
	join(B, C);
	world_pass(w, 3000);
	assert_int_equal(count(D)->sealed_refused, 1);
	assert_int_equal(relayed(B).kept_now, 0);
}

static void kept_object_ends_with_its_life(void **state)
{
	struct world *w = *state;
	struct node_id to = nobody();

	chain(w);
	give_full(A, B, &to, "for nobody", 8, 50, 170);
	assert_int_equal(relayed(B).kept_now, 1);
	world_pass(w, 80000);
	assert_int_equal(relayed(B).kept_now, 1);
	world_pass(w, 80000);
	assert_int_equal(relayed(B).kept_now, 0);
	assert_int_equal(count(B)->relay_expired, 1);
}

static void what_a_neighbour_swallows_is_given_again_and_then_kept(void **state)
{
	struct world *w = *state;
	struct im2_fields f = { .schema = &im2_routeadv }, r = { .schema = &im2_route };
	struct buf b, body, record;

	/* C says that it is near D, and does nothing with what it gets. */
	modes(w, "prop");
	join(A, B);
	join(B, C);
	buf_init(&b, 1000);
	buf_init(&body, 100);
	buf_init(&record, 1000);
	im2_set_u(&r, IM2_ROUTE_FLAGS, 1);
	im2_write(&im2_route, &r, &body);
	im2_record_write(D->keyring, IM2_REC_ROUTE_T, 1, world_wall_ms(w), 300, buf_bytes(&body), &record);
	im2_set_b(&f, IM2_ROUTEADV_RECORD, buf_bytes(&record));
	im2_set_u(&f, IM2_ROUTEADV_HOPS, 1);
	im2_write(&im2_routeadv, &f, &b);
	assert_int_equal(im2_link_item(side_conn(C, B)->session, IM2_ITEM_ROUTEADV, buf_bytes(&b)), ERR_OK);
	conn_pump_later(side_conn(C, B));
	world_pass(w, 1000);
	assert_ptr_equal(next_of(B, D), C);
	give(A, B, side_id(D), "into the hole");
	assert_int_equal(relayed(A).heard[ROUTEFB_FORWARDED], 1);
	assert_int_equal(relayed(B).kept_now, 0);
	world_pass(w, 16000);
	assert_int_equal(count(B)->relay_again, 2);
	world_pass(w, 40000);
	assert_int_equal(count(B)->relay_again, 2);
	assert_int_equal(relayed(B).kept_now, 1);
	/* D itself. */
	assert_int_equal(node_peer_pending(B->node, side_id(C), NULL), ERR_OK);
	join(B, D);
	world_pass(w, 1000);
	assert_int_equal(count(D)->sealed_refused, 1);
	assert_int_equal(relayed(B).kept_now, 0);
	buf_fini(&b);
	buf_fini(&body);
	buf_fini(&record);
}

static void one_neighbour_keeps_a_thousand_here(void **state)
{
	struct world *w = *state;
	struct node_id to = nobody();
	char text[32];

	chain(w);
	for (unsigned i = 0; i < 1010; i++) {
		struct object o;

		snprintf(text, sizeof text, "object %u", i);
		o = object(&to, 3600, text, 1);
		assert_int_equal(relay_send(side_conn(A, B), buf_bytes(&o.rt), buf_bytes(&o.body), 8, 0), ERR_OK);
		object_free(&o);
		if (i % 50 == 0)
			world_pass(w, 200);
	}
	world_pass(w, 1000);
	assert_int_equal(relayed(B).kept_now, 1000);
	assert_int_equal(count(B)->relay_quota, 10);
	assert_int_equal(relayed(A).heard[ROUTEFB_QUOTA], 10);
	/* Others have their own. */
	give(C, B, &to, "of another");
	assert_int_equal(relayed(B).kept_now, 1001);
}

static void sender_paces_itself_to_what_is_taken(void **state)
{
	struct world *w = *state;
	unsigned sent = 0;
	char text[32];

	chain(w);
	for (unsigned i = 0; i < 5000; i++) {
		struct object o;
		enum err e;

		snprintf(text, sizeof text, "object %u", i);
		o = object(side_id(B), 3600, text, 1);
		e = relay_send(side_conn(A, B), buf_bytes(&o.rt), buf_bytes(&o.body), 8, 0);
		assert_true(e == ERR_OK || e == ERR_AGAIN);
		sent += e == ERR_OK;
		object_free(&o);
	}
	assert_int_equal(sent, 2000);
	world_pass(w, 2000);
	assert_int_equal(count(B)->relay_quota, 0);
	assert_int_equal(count(B)->sealed_refused, 2000);
}

static void garbage_is_counted_and_dropped(void **state)
{
	struct world *w = *state;

	chain(w);
	struct im2_fields f = { .schema = &im2_routed };
	struct buf b;

	buf_init(&b, 1000);
	im2_set_b(&f, IM2_ROUTED_RT, BYTES_LIT("no header"));
	im2_set_b(&f, IM2_ROUTED_BODY, BYTES_LIT("body"));
	im2_set_u(&f, IM2_ROUTED_HOPS, 8);
	im2_write(&im2_routed, &f, &b);
	assert_int_equal(im2_link_item(side_conn(A, B)->session, IM2_ITEM_ROUTED, buf_bytes(&b)), ERR_OK);
	conn_pump_later(side_conn(A, B));
	world_pass(w, 300);
	assert_int_equal(count(B)->relay_malformed, 1);
	assert_int_equal(count(B)->relay_forwarded, 0);
	assert_non_null(side_conn(A, B));
	buf_fini(&b);
}

static struct relay_again *judged;
static struct object judged_object;
static struct side *judged_from, *judged_next;

static void goes_on_meanwhile(struct node *n, const struct node_id *to)
{
	uint8_t rid[16];

	if (n != judged_from->node)
		return;
	im2_rid(buf_bytes(&judged_object.rt), buf_bytes(&judged_object.body), rid);
	relay_again_sent(judged, NULL, side_id(judged_next), to, rid, buf_bytes(&judged_object.rt), buf_bytes(&judged_object.body),
			 4, 0);
}

/* The way that is judged changes, and what is kept goes to the neighbour that has it already. */
static void object_that_goes_on_while_a_way_is_judged(void **state)
{
	struct world *w = *state;
	struct object first;
	uint8_t rid[16];

	diamond(w);
	struct side *way = next_of(A, D), *other = way == B ? C : B;

	judged_from = A;
	judged_next = other;
	first = object(side_id(D), 3600, "judged", 1);
	judged_object = object(side_id(D), 3600, "behind it", 1);
	assert_int_equal(relay_again_new(A->node, &judged), ERR_OK);
	routes_unanswered(A->node, side_id(D), side_id(way));
	routes_unanswered(A->node, side_id(D), side_id(way));
	routes_watch(A->node, goes_on_meanwhile);
	im2_rid(buf_bytes(&first.rt), buf_bytes(&first.body), rid);
	relay_again_sent(judged, side_id(C), side_id(way), side_id(D), rid, buf_bytes(&first.rt), buf_bytes(&first.body), 4, 0);
	im2_rid(buf_bytes(&judged_object.rt), buf_bytes(&judged_object.body), rid);
	relay_again_sent(judged, NULL, side_id(other), side_id(D), rid, buf_bytes(&judged_object.rt),
			 buf_bytes(&judged_object.body), 4, 0);
	world_pass(w, 45000);
	assert_int_equal(count(A)->routes_penalised, 1);
	assert_ptr_equal(next_of(A, D), other);
	world_pass(w, 200000);
	relay_again_free(judged);
	object_free(&first);
	object_free(&judged_object);
}

/* Two who are trusted and answer for nothing do not keep the repeats from everybody else. */
static void one_neighbour_takes_a_quarter_of_the_repeats(void **state)
{
	static const uint8_t bytes[64];
	struct world *w = *state;
	uint8_t rid[16] = { 0 };
	struct relay_again *again;

	diamond(w);
	assert_int_equal(relay_again_new(A->node, &again), ERR_OK);
	for (unsigned i = 0; i < 600; i++) {
		rid[0] = (uint8_t)i;
		rid[1] = (uint8_t)(i >> 8);
		relay_again_sent(again, side_id(C), side_id(B), side_id(D), rid, bytes_of(bytes, 32), bytes_of(bytes, 32), 4, 0);
	}
	assert_int_equal(relay_again_held(again, side_id(C), NULL), 256);
	rid[2] = 1;
	relay_again_sent(again, side_id(B), side_id(C), side_id(D), rid, bytes_of(bytes, 32), bytes_of(bytes, 32), 4, 0);
	assert_int_equal(relay_again_held(again, side_id(B), NULL), 1);
	for (unsigned i = 0; i < 2000; i++) {
		rid[0] = (uint8_t)i;
		rid[1] = (uint8_t)(i >> 8);
		rid[2] = 2;
		relay_again_sent(again, NULL, side_id(C), side_id(D), rid, bytes_of(bytes, 32), bytes_of(bytes, 32), 4, 0);
	}
	assert_int_equal(relay_again_held(again, NULL, NULL), 1024 - 257);
	relay_again_free(again);
}

/* Kept and gone again within one group: that it is kept is not said any more. */
static void what_went_before_the_commit_is_not_called_kept(void **state)
{
	struct world *w = *state;
	struct im2_fields f = { .schema = &im2_routed };
	struct session_event e = { .type = SESSION_EV_ITEM, .tag = IM2_ITEM_ROUTED };
	struct object o;
	struct buf b;

	modes(w, "prrp");
	join(A, B);
	join(B, D);
	world_pass(w, 5000);
	o = object(side_id(D), 3600, "soon gone", 1);
	buf_init(&b, 4096);
	im2_set_b(&f, IM2_ROUTED_RT, buf_bytes(&o.rt));
	im2_set_b(&f, IM2_ROUTED_BODY, buf_bytes(&o.body));
	im2_set_u(&f, IM2_ROUTED_HOPS, 5);
	im2_write(&im2_routed, &f, &b);
	e.item = buf_bytes(&b);
	side_conn(B, D)->closing = true; /* no way for a moment */
	relay_item(side_conn(B, A), &e);
	assert_int_equal(relayed(B).kept_now, 1);
	for (struct list *l = B->node->conns_list.next; l != &B->node->conns_list; l = l->next)
		list_entry(l, struct conn, link)->closing = false;
	relay_wake(B->node, side_id(D));
	assert_int_equal(relayed(B).kept_now, 0);
	world_pass(w, 1000);
	assert_int_equal(relayed(A).heard[ROUTEFB_HANDED], 1);
	assert_int_equal(relayed(A).heard[ROUTEFB_STORED], 0);
	object_free(&o);
	buf_fini(&b);
}

int main(void)
{
#define IN(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		IN(chain_is_learned_to_its_end),
		IN(passive_node_tells_of_itself_alone),
		IN(routing_off_knows_nobody),
		IN(only_trusted_neighbours_bring_routes_or_get_them),
		IN(neighbour_that_goes_is_told_and_a_new_way_found),
		IN(relay_finds_another_way_with_the_next_generation),
		IN(newer_generation_is_asked_for_when_only_detours_are_left),
		IN(dead_destination_is_forgotten_by_all),
		IN(three_without_receipt_and_the_other_way_is_used),
		IN(hops_of_nought_are_of_the_destination_alone),
		IN(generations_never_go_back),
		IN(another_life_of_ours_is_outdone),
		IN(other_records_do_not_come_as_routes),
		IN(prekey_comes_through_relays),
		IN(object_goes_from_end_to_end),
		IN(largest_object_goes_in_pieces),
		IN(hops_and_life_end),
		IN(same_object_of_the_same_neighbour_waits_half_a_minute),
		IN(never_back_to_where_it_came_from),
		IN(kept_object_survives_a_restart_and_goes_when_there_is_a_way),
		IN(kept_object_goes_through_relays_that_appear),
		IN(kept_object_ends_with_its_life),
		IN(what_a_neighbour_swallows_is_given_again_and_then_kept),
		IN(one_neighbour_keeps_a_thousand_here),
		IN(sender_paces_itself_to_what_is_taken),
		IN(garbage_is_counted_and_dropped),
		IN(object_that_goes_on_while_a_way_is_judged),
		IN(one_neighbour_takes_a_quarter_of_the_repeats),
		IN(what_went_before_the_commit_is_not_called_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
