/* discovery.c -- birth and end, scopes, what mDNS found, and what we publish (im2.md 15.5, wire 8). */
#include "daemon/discovery_internal.h"

#include <stdlib.h>

#include "base/text.h"

#define TAGS_MAX (TAG_HOURS * (PINS_MAX + ALLOW_MAX + 1))

static const char *const scopes[] = { [SCOPE_AUTO] = "auto", [SCOPE_FLEET] = "fleet", [SCOPE_PUBLIC] = "public",
				      [SCOPE_BOTH] = "both", [SCOPE_OFF] = "off" };

const char *discovery_scope_word(enum discovery_scope s)
{
	return scopes[s];
}

enum err discovery_scope_parse(const char *word, enum discovery_scope *out)
{
	for (size_t i = 0; i < sizeof scopes / sizeof scopes[0]; i++)
		if (strcmp(scopes[i], word) == 0) {
			*out = (enum discovery_scope)i;
			return ERR_OK;
		}
	return ERR_USAGE;
}

enum discovery_scope discovery_scope_now(const struct node *n)
{
	enum discovery_scope s = n->c.discovery;

	if (s == SCOPE_OFF)
		return s;
	if (!n->im2)
		return SCOPE_PUBLIC;
	/* Nothing that names us goes out where the old wire is not spoken anyway. */
	if (n->c.policy->im2 == IM2_REQUIRE)
		return SCOPE_FLEET;
	return s != SCOPE_AUTO ? s : discovery_has_key(n) ? SCOPE_FLEET : SCOPE_PUBLIC;
}

/* --- birth and end --------------------------------------------------------------------------------------- */
static struct map *table(struct env *env, size_t capacity, size_t value_size)
{
	struct map_opts o = { .capacity = capacity, .value_size = value_size, .policy = MAP_EVICT_LRU };

	env_random(env, o.hash_key, sizeof o.hash_key);
	return map_new(&o);
}

enum err discovery_new(struct node *n)
{
	struct discovery *d = calloc(1, sizeof *d);
	uint8_t instance[8];

	if (!d)
		return ERR_NOMEM;
	n->discovery = d;
	d->node = n;
	env_random(n->env, instance, sizeof instance);
	hex_encode(BYTES_ARR(instance), d->instance);
	env_random(n->env, d->i, sizeof d->i);
	bucket_init(&d->rate, HINT_DIALS_PER_S, HINT_DIALS_BURST, env_now(n->env));
	timer_init(&d->dial_timer, hint_dial_due, d);
	timer_init(&d->exchange_timer, hint_exchange_due, d);
	buf_init(&d->card, IM2_RECORD_MAX);
	d->known_due = d->tags_stale = true;
	d->tags = table(n->env, TAGS_MAX, sizeof(struct node_id));
	d->peers = table(n->env, n->c.limits.sessions, sizeof(struct hint_peer));
	return d->tags && d->peers ? hint_key_load(d) : ERR_NOMEM;
}

void discovery_free(struct node *n)
{
	struct discovery *d = n->discovery;

	if (!d)
		return;
	timer_stop(n->env, &d->dial_timer);
	timer_stop(n->env, &d->exchange_timer);
	for (size_t i = 0; i < d->hints_n; i++)
		free(d->hints[i]);
	map_free(d->tags);
	map_free(d->peers);
	buf_fini(&d->card);
	wipe(d->key, sizeof d->key);
	free(d);
	n->discovery = NULL;
}

/* --- what mDNS found ---------------------------------------------------------------------------------------- */
static uint64_t payer_of(const struct discovery_service *s)
{
	char source[64];
	uint64_t v = 1469598103934665603u;

	/* Any address can be claimed, so this keeps apart honest hosts and careless floods, no more; what is wanted is
	 * kept by its worth. */
	source_of_address(s->addresses_n ? s->addresses[0] : "", source);
	for (const char *p = source; *p; p++)
		v = (v ^ (uint8_t)*p) * 1099511628211u;
	return v ? v : 1;
}

static void describe(struct hint *h, const struct discovery_service *s)
{
	snprintf(h->instance, sizeof h->instance, "%s", s->instance);
	h->name[0] = h->idhash[0] = 0;
	h->fleet = s->fleet;
	h->has_tags = s->fleet && s->has_tags;
	memcpy(h->i, s->i, sizeof h->i);
	memcpy(h->m, s->m, sizeof h->m);
	memcpy(h->t, s->t, sizeof h->t);
	/* Two names of one length after cleaning would be one name: what is not a name is none. */
	if (!s->fleet && s->agent && name_valid(bytes_str(s->agent)))
		snprintf(h->name, sizeof h->name, "%s", s->agent);
	if (!s->fleet && s->idhash && strlen(s->idhash) >= HINT_PREFIX &&
	    hex_valid(bytes_of(s->idhash, HINT_PREFIX), HINT_PREFIX))
		snprintf(h->idhash, sizeof h->idhash, "%.16s", s->idhash);
}

bool discovery_found(struct node *n, const struct discovery_service *s)
{
	struct discovery *d = n->discovery;
	struct hint fresh = { .source = HINT_MDNS }, *h;
	bool had_id;

	if (!d || discovery_off(d))
		return false;
	n->n.hints_found++;
	h = hint_find(d, HINT_MDNS, s->instance);
	had_id = h && h->has_id;
	if (!h) {
		describe(&fresh, s);
		hint_set_addresses(d, &fresh, s->addresses, s->addresses_n);
		fresh.seen_ms = env_now(n->env);
		fresh.payer = payer_of(s);
		hint_match(d, &fresh);
		h = hint_add(d, &fresh);
		if (!h)
			return false;
	} else {
		describe(h, s);
		h->seen_ms = env_now(n->env);
		hint_set_addresses(d, h, s->addresses, s->addresses_n);
		hint_match(d, h);
	}
	if (!had_id)
		h->not_before_ms = env_now(n->env) + hint_courtesy_ms(d, h);
	if (h->has_id && !h->self) {
		hint_crowd(d, &h->id);
		h = hint_find(d, HINT_MDNS, s->instance);
	}
	hint_dial_soon(d);
	return h && hint_wanted(d, h, NULL);
}

void discovery_lost(struct node *n, const char *instance)
{
	struct discovery *d = n->discovery;
	struct hint *h = d ? hint_find(d, HINT_MDNS, instance) : NULL;

	if (h)
		hint_drop(d, h);
}

/* --- what we publish ------------------------------------------------------------------------------------------ */
void discovery_publication(struct node *n, struct discovery_publication *out)
{
	struct discovery *d = n->discovery;
	enum discovery_scope s = discovery_scope_now(n);
	uint64_t wall = env_wall(n->env), hour = wall / HOUR_MS;

	memset(out, 0, sizeof *out);
	out->until_ms = env_now(n->env) + HOUR_MS - wall % HOUR_MS;
	if (!d)
		return;
	out->is_public = s == SCOPE_PUBLIC || s == SCOPE_BOTH;
	out->fleet = d->has_key && (s == SCOPE_FLEET || s == SCOPE_BOTH);
	snprintf(out->instance, sizeof out->instance, "%s", d->instance);
	if (!out->fleet)
		return;
	memcpy(out->i, d->i, sizeof out->i);
	im2_tag_mesh(d->key, d->i, hour, out->m);
	im2_tag_node(d->key, keyring_id(n->p.keyring), hour, out->t);
}

void discovery_watch(struct node *n, void (*changed)(void *ctx), void *ctx)
{
	if (!n->discovery)
		return;
	n->discovery->changed = changed;
	n->discovery->changed_ctx = ctx;
}

void discovery_changed(struct discovery *d)
{
	if (d->changed && !d->node->stopping)
		d->changed(d->changed_ctx);
}

void discovery_started(struct node *n)
{
	if (n->discovery)
		hint_dial_soon(n->discovery);
}

/* --- sessions and decisions -------------------------------------------------------------------------------------- */
void discovery_online(struct conn *c)
{
	struct node *n = c->node;
	struct discovery *d = n->discovery;

	if (!d)
		return;
	hint_dials_stop(d, &c->peer->id, NULL);
	map_del(d->peers, bytes_of(c->peer->id.hex, NODE_ID_LEN));
	hint_exchange_begin(d, c);
}

void discovery_offline(struct node *n, const struct node_id *id)
{
	struct discovery *d = n->discovery;
	uint64_t now = env_now(n->env);

	if (!d || n->stopping)
		return;
	for (size_t i = 0; i < d->hints_n; i++) {
		struct hint *h = d->hints[i];

		/* Both ends have lost it, and both would dial now. */
		if (h->has_id && node_id_eq(&h->id, id))
			h->not_before_ms = now + env_uniform(n->env, 2000) + hint_courtesy_ms(d, h);
	}
	hint_dial_soon(d);
}

void discovery_decided(struct node *n)
{
	struct discovery *d = n->discovery;

	if (!d)
		return;
	d->known_due = d->match_due = true;
	hint_dial_soon(d);
	hint_exchange_soon(d);
}
