/* Hints: whom they mean, who is dialled for them, and what a liar on the local network can do: nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/text.h"
#include "daemon/discovery_internal.h"
#include "daemon/records.h"
#include "protocol/im2/record.h"
#include "tests/lib/daemon_world.h"
#include "transports/loopback.h"

#define SECOND UINT64_C(1000)
#define MINUTE UINT64_C(60000)

static const uint8_t FLEET[IM2_DISC_BYTES] = { 1, 2, 3 };
static const uint8_t OTHER_FLEET[IM2_DISC_BYTES] = { 9, 9, 9 };

static void again(struct side *s, enum discovery_scope scope)
{
	side_stop(s);
	s->discovery = scope;
	side_start(s);
}

/* Everybody anew, with discovery. */
static int setup(void **state)
{
	struct world *w;

	if (world_setup(state) != 0)
		return -1;
	w = *state;
	for (int i = 0; i < SIDES; i++)
		again(&w->side[i], SCOPE_AUTO);
	return 0;
}

static void starts(struct side *s)
{
	node_dial_all(s->node);
}

static void joins(struct side *s, const uint8_t *key)
{
	assert_int_equal(discovery_key_set(s->node, key), ERR_OK);
	assert_int_equal(node_commit(s->node), ERR_OK);
}

/* What `who` publishes, at these addresses, as `to` hears it. */
struct heard {
	struct discovery_publication p;
	struct discovery_service s;
	char addresses[9][80], idhash[17];
};

static struct heard said(struct side *who, const char *const *addresses)
{
	struct heard h = { 0 };

	discovery_publication(who->node, &h.p);
	for (; addresses[h.s.addresses_n]; h.s.addresses_n++)
		snprintf(h.addresses[h.s.addresses_n], 80, "%s", addresses[h.s.addresses_n]);
	return h;
}

static bool hears_as(struct side *to, struct heard *h, const char *instance, bool fleet, const char *name,
		     const struct node_id *id)
{
	h->s.instance = instance;
	h->s.fleet = h->s.has_tags = fleet;
	memcpy(h->s.i, h->p.i, sizeof h->s.i);
	memcpy(h->s.m, h->p.m, sizeof h->s.m);
	memcpy(h->s.t, h->p.t, sizeof h->s.t);
	h->s.agent = name;
	if (id)
		snprintf(h->idhash, sizeof h->idhash, "%.16s", id->hex);
	h->s.idhash = id ? h->idhash : NULL;
	h->s.addresses = h->addresses;
	return discovery_found(to->node, &h->s);
}

static bool hears_fleet(struct side *to, struct side *who)
{
	struct heard h = said(who, (const char *[]){ who->address, NULL });

	assert_true(h.p.fleet);
	return hears_as(to, &h, h.p.instance, true, NULL, NULL);
}

static bool hears_public(struct side *to, struct side *who)
{
	struct heard h = said(who, (const char *[]){ who->address, NULL });

	return hears_as(to, &h, who->name, false, who->name, side_id(who));
}

static struct discovery_view view_of(struct side *s, const char *instance)
{
	static struct discovery_view all[HINTS_MAX];
	size_t n = discovery_views(s->node, all, HINTS_MAX);

	for (size_t i = 0; i < n; i++)
		if (strcmp(all[i].instance, instance) == 0)
			return all[i];
	fail_msg("no view of %s", instance);
	abort();
}

static size_t alarms(struct side *s)
{
	const struct pin_alarm *list;

	return pins_alarms(s->pins, &list);
}

/* --- what is published ------------------------------------------------------------------------------- */
static void public_until_there_is_a_key(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0];
	struct discovery_publication p, q;
	uint8_t key[IM2_DISC_BYTES], same[IM2_DISC_BYTES];

	discovery_publication(a->node, &p);
	assert_true(p.is_public && !p.fleet);
	assert_int_equal(discovery_key_get(a->node, key), ERR_NOTFOUND);
	assert_int_equal(discovery_key_ensure(a->node, key), ERR_OK);
	discovery_publication(a->node, &p);
	assert_true(p.fleet && !p.is_public);
	assert_int_equal(strlen(p.instance), 16);
	assert_int_equal(discovery_key_ensure(a->node, same), ERR_OK);
	assert_memory_equal(key, same, sizeof key);
	/* Nothing of it stays for more than an hour, and the next life has another instance and the same key. */
	w->now_ms += HOUR;
	discovery_publication(a->node, &q);
	assert_memory_not_equal(p.m, q.m, sizeof p.m);
	assert_memory_not_equal(p.t, q.t, sizeof p.t);
	again(a, SCOPE_AUTO);
	discovery_publication(a->node, &q);
	assert_true(q.fleet);
	assert_string_not_equal(p.instance, q.instance);
	assert_int_equal(discovery_key_get(a->node, same), ERR_OK);
	assert_memory_equal(key, same, sizeof key);
}

static void scopes(void **state)
{
	static const struct {
		enum discovery_scope scope;
		enum im2_setting im2;
		bool key, fleet, is_public;
	} all[] = {
		{ SCOPE_OFF, IM2_ON, true, false, false },     { SCOPE_FLEET, IM2_ON, false, false, false },
		{ SCOPE_FLEET, IM2_ON, true, true, false },    { SCOPE_PUBLIC, IM2_ON, true, false, true },
		{ SCOPE_BOTH, IM2_ON, true, true, true },      { SCOPE_AUTO, IM2_REQUIRE, false, false, false },
		{ SCOPE_PUBLIC, IM2_REQUIRE, true, true, false }, { SCOPE_BOTH, IM2_REQUIRE, true, true, false },
	};
	struct world *w = *state;
	struct side *a = &w->side[0];
	struct discovery_publication p;
	enum discovery_scope s;

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		again(a, all[i].scope);
		a->policy.im2 = all[i].im2;
		if (all[i].key)
			joins(a, FLEET);
		else
			a->node->discovery->has_key = false;
		discovery_publication(a->node, &p);
		assert_int_equal(p.fleet, all[i].fleet);
		assert_int_equal(p.is_public, all[i].is_public);
	}
	for (int i = SCOPE_OFF; i <= SCOPE_BOTH; i++) {
		assert_int_equal(discovery_scope_parse(discovery_scope_word((enum discovery_scope)i), &s), ERR_OK);
		assert_int_equal((int)s, i);
	}
	assert_int_not_equal(discovery_scope_parse("loud", &s), ERR_OK);
}

/* --- who is dialled --------------------------------------------------------------------------------------- */
static void a_member_of_the_fleet_is_met(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	side_know(a, b);
	joins(a, FLEET);
	joins(b, FLEET);
	starts(a);
	assert_true(hears_fleet(a, b));
	world_pass(w, 10 * SECOND);
	assert_non_null(side_conn(a, b));
	assert_true(side_conn(a, b)->im2);
	/* A hint is nobody's address. */
	assert_int_equal(pins_get(a->pins, side_id(b))->address_count, 0);
	assert_false(pins_im2_address_has(a->pins, b->address, NULL));
	/* The session goes, and comes again; the hint is enough. */
	conn_close(side_conn(a, b), "test");
	world_pass(w, 15 * SECOND);
	assert_non_null(side_conn(a, b));
}

static void both_find_each_other_and_one_session_is_left(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	side_know(a, b);
	joins(a, FLEET);
	joins(b, FLEET);
	starts(a);
	starts(b);
	assert_true(hears_fleet(a, b));
	assert_true(hears_fleet(b, a));
	world_pass(w, 20 * SECOND);
	assert_non_null(side_conn(a, b));
	assert_non_null(side_conn(b, a));
	assert_int_equal(a->node->n.hints_dialled + b->node->n.hints_dialled, 1);
	assert_int_equal(a->node->n.duplicate_sessions + b->node->n.duplicate_sessions, 0);
	world_pass(w, 10 * MINUTE);
	assert_int_equal(a->node->n.hints_dialled + b->node->n.hints_dialled, 1);
}

static void nobody_is_dialled_by_default(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	starts(a);
	assert_false(hears_public(a, b));
	world_pass(w, 2 * MINUTE);
	assert_int_equal(a->node->n.dials, 0);
	assert_non_null(strstr(view_of(a, "n1").why, "nor among the allowed peers"));
	assert_non_null(strstr(view_of(a, "n1").next, "--allowed-peers n1"));
	/* Known, and not more than that. */
	assert_int_equal(pins_pin(a->pins, keyring_ed(b->keyring), "n1", world_wall_ms(w), NULL), ERR_OK);
	assert_int_equal(pins_set_state(a->pins, side_id(b), PIN_BLOCKED, "test", NULL), ERR_OK);
	assert_false(hears_public(a, b));
	assert_non_null(strstr(view_of(a, "n1").why, "blocked"));
	assert_non_null(strstr(view_of(a, "n1").next, side_id(b)->hex));
	world_pass(w, 2 * MINUTE);
	assert_int_equal(a->node->n.dials, 0);
}

static void a_name_on_the_list_is_met_and_pending(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];

	assert_int_equal(policy_allow(&a->policy, "n1", NULL), ERR_OK);
	starts(a);
	assert_true(hears_public(a, b));
	assert_false(hears_public(a, c));
	world_pass(w, 10 * SECOND);
	assert_non_null(side_conn(a, b));
	assert_int_equal(pins_get(a->pins, side_id(b))->state, PIN_PENDING);
	assert_null(pins_get(a->pins, side_id(c)));
}

/* The list means the key that has the name already: whoever else takes it is not even dialled. */
static void a_name_that_has_a_key_means_that_key(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct heard h = said(c, (const char *[]){ c->address, NULL });

	side_know(a, b);
	assert_int_equal(policy_allow(&a->policy, "n1", NULL), ERR_OK);
	starts(a);
	assert_false(hears_as(a, &h, "liar", false, "n1", side_id(c)));
	assert_non_null(strstr(view_of(a, "liar").why, "belongs to another key"));
	world_pass(w, MINUTE);
	assert_int_equal(a->node->n.dials, 0);
	/* Without a key it is dialled as the one whose name it is; c is dropped, and nothing is written. */
	assert_true(hears_as(a, &h, "liar", false, "n1", NULL));
	world_pass(w, MINUTE);
	assert_int_equal(a->node->n.hints_wrong, 1);
	assert_null(pins_get(a->pins, side_id(c)));
	assert_int_equal(alarms(a), 0);
}

static void an_id_on_the_list_is_found_by_its_tag(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];

	assert_int_equal(policy_allow(&a->policy, side_id(b)->hex, NULL), ERR_OK);
	joins(a, FLEET);
	joins(b, FLEET);
	joins(c, FLEET);
	starts(a);
	assert_true(hears_fleet(a, b));
	assert_false(hears_fleet(a, c));
	assert_non_null(strstr(view_of(a, c->node->discovery->instance).why, "does not know it"));
	world_pass(w, 10 * SECOND);
	assert_non_null(side_conn(a, b));
	assert_int_equal(pins_get(a->pins, side_id(b))->state, PIN_TRUSTED);
}

static void open_discovery_meets_everybody(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	a->open_discovery = true;
	again(a, SCOPE_AUTO);
	starts(a);
	assert_true(hears_public(a, b));
	world_pass(w, 10 * SECOND);
	assert_non_null(side_conn(a, b));
	assert_int_equal(pins_get(a->pins, side_id(b))->state, PIN_PENDING);
}

static void the_smaller_name_goes_first(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	assert_int_equal(policy_allow(&b->policy, "n0", NULL), ERR_OK);
	starts(b);
	assert_true(hears_public(b, a));
	world_pass(w, 25 * SECOND);
	assert_int_equal(b->node->n.dials, 0);
	assert_non_null(strstr(view_of(b, "n0").why, "may dial first"));
	world_pass(w, 15 * SECOND);
	assert_non_null(side_conn(b, a));
}

static void we_never_dial_ourselves(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0];

	a->open_discovery = true;
	again(a, SCOPE_BOTH);
	joins(a, FLEET);
	starts(a);
	assert_false(hears_fleet(a, a));
	assert_false(hears_public(a, a));
	node_set_endpoints(a->node, (const char[1][80]){ "n0:1" }, 1);
	/* Under a name that is not ours, at our own place. */
	struct heard h = said(a, (const char *[]){ a->address, NULL });

	assert_true(hears_as(a, &h, "mirror", false, "mirror", NULL));
	assert_int_equal(view_of(a, "mirror").addresses_n, 0);
	world_pass(w, MINUTE);
	assert_int_equal(a->node->n.dials, 0);
}

/* --- liars --------------------------------------------------------------------------------------------------- */
static void a_replayed_tag_leads_nowhere(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct heard h;

	side_know(a, b);
	joins(a, FLEET);
	joins(b, FLEET);
	starts(a);
	h = said(b, (const char *[]){ c->address, NULL });
	assert_true(hears_as(a, &h, "replay", true, NULL, NULL));
	world_pass(w, MINUTE);
	assert_int_equal(a->node->n.hints_dialled, 1);
	assert_int_equal(a->node->n.hints_wrong, 1);
	assert_int_equal(a->node->online, 0);
	assert_int_equal(alarms(a), 0);
	assert_null(pins_get(a->pins, side_id(c)));
	assert_null(pins_by_address(a->pins, c->address));
	assert_int_equal(side_audited(a, "TOFU_MISMATCH") + side_audited(a, "DOWNGRADE_REFUSED") +
				 side_audited(a, "PEER_REFUSED"), 0);
	/* The true one is found all the same. */
	assert_true(hears_fleet(a, b));
	world_pass(w, 10 * SECOND);
	assert_non_null(side_conn(a, b));
	assert_int_equal(alarms(a), 0);
}

static void a_known_peer_elsewhere_raises_no_alarm(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct heard h;

	side_know(a, b);
	side_know(a, c);
	side_meet(a, b);
	side_meet(a, c);
	conn_close(side_conn(a, b), "test");
	conn_close(side_conn(a, c), "test");
	side_stop(b);
	again(a, SCOPE_AUTO);
	joins(a, FLEET);
	joins(c, FLEET);
	starts(a);
	/* As b, where c is. */
	h = said(c, (const char *[]){ c->address, NULL });
	im2_tag_node(FLEET, side_id(b), world_wall_ms(w) / HOUR, h.p.t);
	assert_true(hears_as(a, &h, "replay", true, NULL, NULL));
	world_pass(w, MINUTE);
	assert_int_equal(alarms(a), 0);
	assert_non_null(side_conn(a, c)); /* by the address it is known at */
	assert_ptr_equal(pins_by_address(a->pins, c->address), pins_get(a->pins, side_id(c)));
	side_start(b);
}

static void two_fleets_do_not_see_each_other(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	side_know(a, b);
	joins(a, FLEET);
	joins(b, OTHER_FLEET);
	starts(a);
	starts(b);
	assert_false(hears_fleet(a, b));
	assert_false(hears_fleet(b, a));
	world_pass(w, 2 * MINUTE);
	assert_int_equal(a->node->n.dials + b->node->n.dials, 0);
	assert_non_null(strstr(view_of(a, b->node->discovery->instance).why, "another fleet"));
}

static void clocks_may_differ_by_an_hour(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct heard h;

	side_know(a, b);
	joins(a, FLEET);
	joins(b, FLEET);
	h = said(b, (const char *[]){ b->address, NULL });
	w->now_ms += HOUR;
	assert_true(hears_as(a, &h, "late", true, NULL, NULL));
	w->now_ms += HOUR;
	assert_false(hears_as(a, &h, "later", true, NULL, NULL));
}

static void a_thousand_liars(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct heard h;

	side_know(a, b);
	joins(a, FLEET);
	joins(b, FLEET);
	starts(a);
	h = said(b, (const char *[]){ "nobody:1", NULL });
	for (unsigned i = 0; i < 3000; i++) {
		char instance[32];

		snprintf(instance, sizeof instance, "liar%u", i);
		snprintf(h.addresses[0], 80, "192.0.%u.%u:8765", i / 250, 1 + i % 250);
		env_random(a->node->env, h.p.t, sizeof h.p.t);
		if (i % 3 == 0)
			env_random(a->node->env, h.p.m, sizeof h.p.m);
		assert_false(hears_as(a, &h, instance, true, NULL, NULL));
		if (i == 1000)
			assert_true(hears_fleet(a, b)); /* and it is not pushed out by what follows */
	}
	assert_true(a->node->discovery->hints_n <= HINTS_MAX);
	world_pass(w, 20 * SECOND);
	assert_non_null(side_conn(a, b));
	assert_int_equal(a->node->n.dials, 1);
}

/* One host can fill an eighth. */
static void one_source_has_a_share(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct heard h = said(b, (const char *[]){ "192.0.2.66:1", NULL });

	for (unsigned i = 0; i < 1000; i++) {
		char instance[32];

		snprintf(instance, sizeof instance, "liar%u", i);
		(void)hears_as(a, &h, instance, false, instance, NULL);
	}
	assert_int_equal(a->node->discovery->hints_n, HINTS_MAX / HINTS_SHARE);
	assert_int_equal(a->node->n.hints_dropped, 1000 - HINTS_MAX / HINTS_SHARE);
}

/* Whoever replays a tag a thousand times costs a few dials, and does not keep the true one out. */
static void a_crowd_under_one_tag(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct heard h;

	side_know(a, b);
	joins(a, FLEET);
	joins(b, FLEET);
	starts(a);
	h = said(b, (const char *[]){ "nobody:1", NULL });
	for (unsigned i = 0; i < 1000; i++) {
		char instance[32];

		snprintf(instance, sizeof instance, "liar%u", i);
		snprintf(h.addresses[0], 80, "192.0.%u.%u:8765", i / 250, 1 + i % 250);
		(void)hears_as(a, &h, instance, true, NULL, NULL);
		if (i % 100 == 0)
			world_pass(w, 3 * SECOND);
	}
	assert_true(a->node->discovery->hints_n <= HINTS_OF_ONE + 1);
	assert_true(hears_fleet(a, b));
	world_pass(w, MINUTE);
	assert_non_null(side_conn(a, b));
	assert_true(a->node->n.dials < 200);
}

static void bad_addresses_are_left_out(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct heard h = said(b, (const char *[]){ "127.0.0.1:22", "[::1]:22", "localhost:22", "0.0.0.0:1", "224.0.0.251:5353",
						    "no-port", "[fe80::1%eth0]:8765", "192.0.2.1:8765", NULL });
	struct discovery_view v;

	(void)hears_as(a, &h, "x", false, "x", NULL);
	v = view_of(a, "x");
	assert_int_equal(v.addresses_n, 2);
	assert_string_equal(v.address, "[fe80::1%eth0]:8765");
	/* Who listens there alone finds those who do so too. */
	node_set_endpoints(a->node, (const char[1][80]){ "127.0.0.1:8765" }, 1);
	h = said(b, (const char *[]){ "127.0.0.1:8766", "127.0.0.1:8765", NULL });
	(void)hears_as(a, &h, "y", false, "y", NULL);
	assert_int_equal(view_of(a, "y").addresses_n, 1);
}

/* --- dials ------------------------------------------------------------------------------------------------------ */
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
	joins(a, FLEET);
	joins(b, FLEET);
	h = said(b, (const char *[]){ "dead0:1", "dead1:1", "dead2:1", b->address, NULL });
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
		assert_true(!a->node->discovery->dials[i].hint || a->node->discovery->dials[i].met);
	assert_int_equal(a->node->n.hints_failed, 0);
}

static void failures_back_off(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct heard h;
	uint64_t first;

	side_know(a, b);
	joins(a, FLEET);
	joins(b, FLEET);
	starts(a);
	h = said(b, (const char *[]){ "nowhere:1", NULL });
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
	joins(a, FLEET);
	joins(b, FLEET);
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
	joins(a, FLEET);
	joins(b, FLEET);
	h = said(b, (const char *[]){ b->address, NULL });
	/* b has gone back: it answers on the old wire alone. */
	b->old = true;
	again(b, SCOPE_AUTO);
	starts(a);
	assert_true(hears_as(a, &h, "b", true, NULL, NULL));
	world_pass(w, MINUTE);
	assert_true(a->node->n.hints_dialled > 0);
	assert_int_equal(a->node->n.handshakes_ok, 0);
	assert_int_equal(side_audited(a, "DOWNGRADE_REFUSED"), 0);
}

/* --- earlier lives, cards, the key --------------------------------------------------------------------------------- */
static void the_last_address_is_tried_again(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	side_know(a, b);
	side_meet(a, b);
	again(a, SCOPE_AUTO);
	starts(a);
	world_pass(w, 10 * SECOND);
	assert_non_null(side_conn(a, b));
	/* Off is off. */
	again(a, SCOPE_OFF);
	starts(a);
	world_pass(w, MINUTE);
	assert_null(side_conn(a, b));
}

static void listens(struct side *s)
{
	char at[1][80];

	snprintf(at[0], 80, "%s", s->address);
	node_set_endpoints(s->node, (const char(*)[80])at, 1);
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
	listens(a);
	listens(b);
	listens(c);
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
	a->node->target_count = 0;
	/* What was kept is a hint in the next life too. */
	again(a, SCOPE_AUTO);
	again(b, SCOPE_AUTO);
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
	listens(a);
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
	again(a, SCOPE_AUTO);
	listens(a);
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
	listens(a);
	listens(b);
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
	joins(a, FLEET);
	side_meet(b, a);
	side_meet(c, b);
	world_pass(w, 3 * MINUTE);
	assert_int_equal(discovery_key_get(b->node, key), ERR_OK);
	assert_memory_equal(key, FLEET, sizeof key);
	assert_int_equal(discovery_key_get(c->node, key), ERR_OK);
	assert_memory_equal(key, FLEET, sizeof key);
	assert_int_equal(side_audited(c, "DISCOVERY_KEY_RECEIVED"), 1);
	again(c, SCOPE_AUTO);
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
	joins(a, FLEET);
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
	joins(a, FLEET);
	joins(b, FLEET);
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

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(public_until_there_is_a_key),
		TEST(scopes),
		TEST(a_member_of_the_fleet_is_met),
		TEST(both_find_each_other_and_one_session_is_left),
		TEST(nobody_is_dialled_by_default),
		TEST(a_name_on_the_list_is_met_and_pending),
		TEST(a_name_that_has_a_key_means_that_key),
		TEST(an_id_on_the_list_is_found_by_its_tag),
		TEST(open_discovery_meets_everybody),
		TEST(the_smaller_name_goes_first),
		TEST(we_never_dial_ourselves),
		TEST(a_replayed_tag_leads_nowhere),
		TEST(a_known_peer_elsewhere_raises_no_alarm),
		TEST(two_fleets_do_not_see_each_other),
		TEST(clocks_may_differ_by_an_hour),
		TEST(a_thousand_liars),
		TEST(one_source_has_a_share),
		TEST(a_crowd_under_one_tag),
		TEST(bad_addresses_are_left_out),
		TEST(addresses_begin_a_stagger_apart),
		TEST(failures_back_off),
		TEST(guesses_have_a_budget),
		TEST(another_passphrase_is_left_alone),
		TEST(the_fleet_is_never_dialled_on_the_old_wire),
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
