#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/daemon_hints.h"

const uint8_t FLEET[IM2_DISC_BYTES] = { 1, 2, 3 };
const uint8_t OTHER_FLEET[IM2_DISC_BYTES] = { 9, 9, 9 };

void side_again(struct side *s, enum discovery_scope scope)
{
	side_stop(s);
	s->discovery = scope;
	side_start(s);
}

/* Everybody anew, with discovery. */
int hints_setup(void **state)
{
	struct world *w;

	if (world_setup(state) != 0)
		return -1;
	w = *state;
	for (int i = 0; i < SIDES; i++)
		side_again(&w->side[i], SCOPE_AUTO);
	return 0;
}

void side_joins(struct side *s, const uint8_t *key)
{
	assert_int_equal(discovery_key_set(s->node, key), ERR_OK);
	assert_int_equal(node_commit(s->node), ERR_OK);
}

struct heard side_said(struct side *who, const char *const *addresses)
{
	struct heard h = { 0 };

	discovery_publication(who->node, &h.p);
	for (; addresses[h.s.addresses_n]; h.s.addresses_n++)
		snprintf(h.addresses[h.s.addresses_n], 80, "%s", addresses[h.s.addresses_n]);
	return h;
}

bool hears_as(struct side *to, struct heard *h, const char *instance, bool fleet, const char *name,
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

bool hears_fleet(struct side *to, struct side *who)
{
	struct heard h = side_said(who, (const char *[]){ who->address, NULL });

	assert_true(h.p.fleet);
	return hears_as(to, &h, h.p.instance, true, NULL, NULL);
}

bool hears_public(struct side *to, struct side *who)
{
	struct heard h = side_said(who, (const char *[]){ who->address, NULL });

	return hears_as(to, &h, who->name, false, who->name, side_id(who));
}

struct discovery_view view_of(struct side *s, const char *instance)
{
	static struct discovery_view all[HINTS_MAX];
	size_t n = discovery_views(s->node, all, HINTS_MAX);

	for (size_t i = 0; i < n; i++)
		if (strcmp(all[i].instance, instance) == 0)
			return all[i];
	fail_msg("no view of %s", instance);
	abort();
}

void side_listens(struct side *s)
{
	char at[1][80];

	snprintf(at[0], 80, "%s", s->address);
	node_set_endpoints(s->node, (const char(*)[80])at, 1);
}
