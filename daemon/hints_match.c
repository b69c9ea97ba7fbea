/* hints_match.c -- whom a hint means, and whether we want to meet him: policy alone decides, before anything is dialled. */
#include "daemon/discovery_internal.h"

#include <stdlib.h>

#include "base/text.h"

#define TAGS_APART_MS 10000 /* between two readings of the pins, when only their number changed */

uint64_t hint_hour(struct discovery *d)
{
	return env_wall(d->node->env) / HOUR_MS;
}

bool hint_trusted(struct discovery *d, const struct node_id *id)
{
	const struct pin *pin = pins_get(d->node->p.pins, id);

	return pin && pin->state == PIN_TRUSTED;
}

bool hint_online(struct discovery *d, const struct hint *h)
{
	struct peer *p = h->has_id ? peer_now(d->node, &h->id) : NULL;

	return p && p->conn;
}

/* --- the tags of those whom we know or list (im2.md 15.5) ------------------------------------------------------ */
static void add_tags(struct discovery *d, const struct node_id *id)
{
	uint64_t hour = hint_hour(d);
	uint8_t t[IM2_TAG_BYTES];
	bool created;
	void *v;

	for (unsigned i = 0; i < TAG_HOURS; i++) {
		im2_tag_node(d->key, id, hour - 1 + i, t);
		if (map_put(d->tags, BYTES_ARR(t), 0, &v, &created) == ERR_OK && created)
			memcpy(v, id, sizeof *id);
	}
}

static bool tag_pin(void *ctx, const struct pin *pin)
{
	add_tags(ctx, &pin->id);
	return true;
}

static void tags_read(struct discovery *d)
{
	const struct policy *p = d->node->c.policy;
	struct node_id id;

	map_clear(d->tags);
	d->tags_stale = false;
	d->tags_hour = hint_hour(d);
	d->tags_ms = env_now(d->node->env);
	d->tags_pins = pins_count(d->node->p.pins);
	if (!d->has_key)
		return;
	/* Ourselves first: what is found under our own tag is never anybody else's. */
	add_tags(d, keyring_id(d->node->p.keyring));
	for (size_t i = 0; i < p->allowed_count; i++)
		if (node_id_parse(bytes_str(p->allowed[i]), &id) == ERR_OK)
			add_tags(d, &id);
	pins_each(d->node->p.pins, tag_pin, d);
}

static bool tags_current(struct discovery *d)
{
	return !d->tags_stale && d->tags_hour == hint_hour(d) &&
	       (d->tags_pins == pins_count(d->node->p.pins) || env_now(d->node->env) - d->tags_ms < TAGS_APART_MS);
}

static void match_fleet(struct discovery *d, struct hint *h)
{
	uint8_t m[IM2_TAG_BYTES];
	const struct node_id *id;

	h->ours = false;
	if (!h->has_tags || !d->has_key)
		return;
	for (unsigned i = 0; i < TAG_HOURS && !h->ours; i++) {
		im2_tag_mesh(d->key, h->i, d->tags_hour - 1 + i, m);
		h->ours = memcmp(m, h->m, sizeof m) == 0;
	}
	id = h->ours ? map_peek(d->tags, BYTES_ARR(h->t)) : NULL;
	if (!id)
		return;
	h->has_id = true;
	h->id = *id;
}

/* --- what is published in the open (wire 8) ---------------------------------------------------------------------- */
struct by_prefix {
	const char *idhash;
	struct node_id id;
	bool found;
};

static bool pin_has_prefix(void *ctx, const struct pin *pin)
{
	struct by_prefix *b = ctx;

	if (memcmp(pin->id.hex, b->idhash, HINT_PREFIX) != 0)
		return true;
	b->id = pin->id;
	b->found = true;
	return false;
}

static void match_public(struct discovery *d, struct hint *h)
{
	const struct policy *p = d->node->c.policy;
	struct by_prefix b = { .idhash = h->idhash };
	const struct pin *pin;

	if (h->idhash[0]) {
		for (size_t i = 0; i < p->allowed_count && !b.found; i++)
			b.found = strncmp(p->allowed[i], h->idhash, HINT_PREFIX) == 0 &&
				  node_id_parse(bytes_str(p->allowed[i]), &b.id) == ERR_OK;
		if (!b.found)
			pins_each(d->node->p.pins, pin_has_prefix, &b);
	} else if (h->name[0] && (pin = pins_by_name(d->node->p.pins, h->name))) {
		b.found = true;
		b.id = pin->id;
	}
	if (!b.found)
		return;
	h->has_id = true;
	h->id = b.id;
}

void hint_match(struct discovery *d, struct hint *h)
{
	const struct node_id *me = keyring_id(d->node->p.keyring);
	const struct pin *now;

	if (h->source != HINT_MDNS)
		return;
	if (!tags_current(d))
		tags_read(d);
	if (!h->met) {
		h->has_id = false;
		if (h->fleet)
			match_fleet(d, h);
		else
			match_public(d, h);
	}
	/* Under an id that it had before, it is expected as who it is now. */
	now = h->has_id ? pins_current(d->node->p.pins, &h->id) : NULL;
	if (now)
		h->id = now->id;
	h->self = (h->has_id && node_id_eq(&h->id, me)) ||
		  (h->idhash[0] && memcmp(h->idhash, me->hex, HINT_PREFIX) == 0) ||
		  (h->has_tags && memcmp(h->i, d->i, sizeof d->i) == 0);
}

void hints_match(struct discovery *d)
{
	d->tags_stale = true;
	for (size_t i = 0; i < d->hints_n; i++)
		hint_match(d, d->hints[i]);
}

/* Pins change in many places: by hand, by pairings, invites, imports. */
void hints_match_due(struct discovery *d)
{
	const struct pins *p = d->node->p.pins;
	uint64_t seen = pins_count(p) * (PINS_MAX + 1) + pins_count_state(p, PIN_TRUSTED);

	if (seen != d->pins_seen)
		d->match_due = d->known_due = true;
	d->pins_seen = seen;
	if (!d->match_due && d->tags_hour == hint_hour(d))
		return;
	d->match_due = false;
	hints_match(d);
}

/* --- is it wanted? --------------------------------------------------------------------------------------------- */
static bool no(struct hint_reason *r, const char *next, const char *fmt, ...) PRINTF_LIKE(3, 4);

static bool no(struct hint_reason *r, const char *next, const char *fmt, ...)
{
	va_list ap;

	if (!r)
		return false;
	va_start(ap, fmt);
	vsnprintf(r->what, sizeof r->what, fmt, ap);
	va_end(ap);
	snprintf(r->next, sizeof r->next, "%s", next);
	return false;
}

static bool wanted_known(struct discovery *d, const struct hint *h, struct hint_reason *r)
{
	struct node *n = d->node;
	const struct pin *pin = pins_get(n->p.pins, &h->id);
	struct fault f = { 0 };
	char next[160] = "";

	if (pin && (pin->state == PIN_BLOCKED || pin->state == PIN_REVOKED)) {
		if (pin->state == PIN_BLOCKED)
			snprintf(next, sizeof next, "ironmesh peers approve %s", pin->id.hex);
		return no(r, next, "%s is %s", peer_name(n, &pin->id), pin_state_word(pin->state));
	}
	if (policy_may_meet(n->c.policy, n->p.pins, &h->id, &f) != ERR_OK)
		return no(r, f.next, "%.190s", f.what);
	if ((pin && pin->state == PIN_TRUSTED) || n->c.open_discovery || policy_lists(n->c.policy, &h->id))
		return true;
	if (pin && n->c.policy->allowed_count && policy_allows(n->c.policy, n->p.pins, &h->id, pin->name))
		return true;
	if (!pin) {
		snprintf(next, sizeof next, "ironmesh run --allowed-peers %s   (beside the options it runs with)", h->id.hex);
		return no(r, next, "nobody here knows %s", h->id.hex);
	}
	snprintf(next, sizeof next, "ironmesh peers approve %s", pin->id.hex);
	return no(r, next, "%s waits for approval", peer_name(n, &pin->id));
}

static bool wanted_stranger(struct discovery *d, const struct hint *h, struct hint_reason *r)
{
	static const struct node_id nobody;
	const struct node *n = d->node;
	const struct pin *owner = h->name[0] ? pins_by_name(n->p.pins, h->name) : NULL;
	char next[160];

	if (owner && h->idhash[0]) {
		snprintf(next, sizeof next, "ironmesh peers show %s", owner->id.hex);
		return no(r, next, "it calls itself %s, and that name belongs to another key", h->name);
	}
	if (h->name[0] && n->c.policy->allowed_count && policy_allows(n->c.policy, n->p.pins, &nobody, h->name))
		return true;
	if (n->c.open_discovery && !n->c.policy->allowed_count)
		return true;
	if (h->fleet && !d->has_key)
		return no(r, "ironmesh pair", "it belongs to a fleet, and this node has no key of one to know it by");
	if (h->fleet && !h->ours)
		return no(r, "", "it belongs to another fleet, or its clock is hours away");
	if (h->fleet)
		return no(r, "ironmesh pair", "it belongs to our fleet, and this node does not know it yet");
	if (!h->name[0])
		return no(r, "", "it says neither who it is nor a name");
	snprintf(next, sizeof next, "ironmesh run --allowed-peers %s   (beside the options it runs with)", h->name);
	return no(r, next, "%s is not known here, nor among the allowed peers", h->name);
}

bool hint_wanted(struct discovery *d, const struct hint *h, struct hint_reason *r)
{
	const struct node *n = d->node;

	if (discovery_off(d))
		return no(r, "ironmesh run --discovery auto   (beside the options it runs with)", "discovery is off");
	if (h->self)
		return no(r, "", "it is this node itself");
	if (!n->im2 && (h->fleet || h->source == HINT_CARD))
		return no(r, "ironmesh run --im2 on   (beside the options it runs with)", "it speaks im2, which is off here");
	return h->has_id ? wanted_known(d, h, r) : wanted_stranger(d, h, r);
}
