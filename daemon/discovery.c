/* discovery.c -- hints: whom they are about, whether he is wanted, and the dials that follow. */
#include "daemon/discovery_internal.h"

#include <stdlib.h>

#include "base/text.h"
#include "daemon/dial.h"

#define HINTS_MAX 1024
#define STAGGER_MS 250
#define FIRST_WAIT_MS 2000         /* for the other side, where it is the one to dial */
#define AGAIN_MS 5000
#define AGAIN_MAX_MS 300000
#define DIALS_PER_S 5
#define DIALS_BURST 20
#define IDHASH_MIN 16

const char *discovery_scope_word(enum discovery_scope s)
{
	static const char *const words[] = { "off", "auto", "fleet", "public", "both" };

	return words[s];
}

enum err discovery_scope_parse(const char *word, enum discovery_scope *out)
{
	for (int s = SCOPE_OFF; s <= SCOPE_BOTH; s++)
		if (strcmp(word, discovery_scope_word(s)) == 0) {
			*out = (enum discovery_scope)s;
			return ERR_OK;
		}
	return ERR_MALFORMED;
}

bool discovery_trusts(struct node *n, const struct node_id *id)
{
	const struct pin *pin = pins_get(n->p.pins, id);

	return pin && pin->state == PIN_TRUSTED;
}

static bool online(struct node *n, const struct node_id *id)
{
	struct peer *p = peer_find(n, id);

	return p && p->conn;
}

void discovery_wake(struct discovery *d, uint64_t at_ms)
{
	if (!timer_armed(&d->timer) || d->timer.at_ms > at_ms)
		timer_at(d->node->env, &d->timer, at_ms);
}

/* --- hints ------------------------------------------------------------------------------------------------------ */
static struct hint *hint_of(void *v)
{
	struct hint *h = NULL;

	if (v)
		memcpy(&h, v, sizeof h);
	return h;
}

static void evicted(void *ctx, struct bytes key, void *value)
{
	free(hint_of(value));
}

struct hint *hint_put(struct discovery *d, const char *key, enum hint_source source, uint64_t share)
{
	struct hint *h = hint_of(map_get(d->hints, bytes_str(key)));
	bool created;
	void *v;

	if (h)
		return h;
	h = calloc(1, sizeof *h);
	if (!h || map_put(d->hints, bytes_str(key), share, &v, &created) != ERR_OK) {
		free(h);
		return NULL;
	}
	memcpy(v, &h, sizeof h);
	snprintf(h->key, sizeof h->key, "%s", key);
	h->source = source;
	return h;
}

static bool same_addresses(const struct hint *h, const char (*addresses)[HINT_ADDRESS], size_t n)
{
	if (h->addresses_n != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (strcmp(h->addresses[i], addresses[i]) != 0)
			return false;
	return true;
}

void hint_addresses(struct hint *h, const char (*addresses)[HINT_ADDRESS], size_t n)
{
	n = n < HINT_ADDRESSES ? n : HINT_ADDRESSES;
	if (same_addresses(h, addresses, n))
		return;
	memcpy(h->addresses, addresses, n * sizeof h->addresses[0]);
	h->addresses_n = (uint8_t)n;
	h->failures = 0;
	h->next_ms = 0;
	h->in_round = false;
}

/* --- whom it is about -------------------------------------------------------------------------------------------- */
struct hashing {
	const struct hint *h;
	struct node_id *out;
	bool found;
};

static bool by_hash(void *ctx, const struct pin *pin)
{
	struct hashing *k = ctx;
	size_t n = strlen(k->h->idhash);

	if (n < IDHASH_MIN || n > NODE_ID_LEN || strncmp(pin->id.hex, k->h->idhash, n) != 0)
		return true;
	*k->out = pin->id;
	k->found = true;
	return false;
}

static void identify(struct discovery *d, struct hint *h)
{
	struct hashing k = { .h = h, .out = &h->id };

	if (h->source != HINT_MDNS)
		return;
	if (h->fleet) {
		h->has_id = discovery_member(d, h, &h->id);
		return;
	}
	pins_each(d->node->p.pins, by_hash, &k);
	h->has_id = k.found;
}

static bool is_self(struct discovery *d, const struct hint *h)
{
	const struct node *n = d->node;
	const struct node_id *self = keyring_id(n->p.keyring);
	size_t len = strlen(h->idhash);

	if (h->has_id && node_id_eq(&h->id, self))
		return true;
	if (h->fleet)
		return h->has_tags && memcmp(h->i, d->i, sizeof d->i) == 0;
	return len >= IDHASH_MIN && len <= NODE_ID_LEN && strncmp(self->hex, h->idhash, len) == 0;
}

/* The name alone stands on the list: who answers there is pending, or the one whose name that is. */
static bool name_allowed(const struct node *n, const struct hint *h)
{
	const struct policy *p = n->c.policy;

	for (size_t i = 0; h->name[0] && i < p->allowed_count; i++)
		if (strcmp(p->allowed[i], h->name) == 0)
			return true;
	return false;
}

static bool wanted(struct discovery *d, struct hint *h)
{
	struct node *n = d->node;
	const struct pin *pin = h->has_id ? pins_get(n->p.pins, &h->id) : NULL;
	struct fault f = { 0 };

	if (is_self(d, h)) {
		snprintf(h->why, sizeof h->why, "this node itself");
		return false;
	}
	if (pin && (pin->state == PIN_BLOCKED || pin->state == PIN_REVOKED)) {
		snprintf(h->why, sizeof h->why, "it is %s", pin_state_word(pin->state));
		return false;
	}
	if (h->has_id && policy_may_meet(n->c.policy, n->p.pins, &h->id, &f) != ERR_OK) {
		snprintf(h->why, sizeof h->why, "it is not on the list of allowed peers");
		return false;
	}
	if (pin && pin->state == PIN_TRUSTED)
		return true;
	if (h->has_id && policy_lists(n->c.policy, &h->id))
		return true;
	if (!h->has_id && name_allowed(n, h))
		return true;
	if (n->c.open_discovery && (!h->fleet || h->has_id))
		return true;
	snprintf(h->why, sizeof h->why, "%s",
		 h->has_id ? "nobody has approved it" :
		 h->fleet  ? "it names nobody whom we know" :
			     "nobody has allowed it");
	return false;
}

/* Of two daemons one dials: the smaller name on the old wire (wire 1.4), the smaller id on ours. The other one waits a
 * little, and then dials all the same. */
static uint64_t first_wait(struct discovery *d, const struct hint *h)
{
	const struct node *n = d->node;
	bool mine;

	if (h->source != HINT_MDNS)
		return env_uniform(n->env, STAGGER_MS);
	mine = h->has_id ? strcmp(keyring_id(n->p.keyring)->hex, h->id.hex) < 0 : strcmp(n->c.name, h->name) < 0;
	return mine ? 0 : FIRST_WAIT_MS + env_uniform(n->env, FIRST_WAIT_MS);
}

void discovery_look(struct discovery *d, struct hint *h)
{
	struct node *n = d->node;
	bool was = h->wanted;

	identify(d, h);
	h->wanted = h->addresses_n && wanted(d, h);
	if (!h->wanted)
		return;
	if (h->has_id && online(n, &h->id)) {
		h->why[0] = '\0';
		return;
	}
	if (!was || !h->next_ms) {
		h->next_ms = env_now(n->env) + first_wait(d, h);
		snprintf(h->why, sizeof h->why, "not dialled yet");
	}
	discovery_wake(d, h->next_ms);
}

bool discovery_found(struct node *n, const struct discovery_service *s)
{
	struct discovery *d = n->discovery;
	char key[HINT_KEY];
	struct hint *h;

	if (!d || strlen(s->instance) > HINT_KEY - 4)
		return false;
	snprintf(key, sizeof key, "m:%s", s->instance);
	h = hint_put(d, key, HINT_MDNS, 1);
	if (!h)
		return false;
	h->fleet = s->fleet;
	h->has_tags = s->has_tags;
	memcpy(h->i, s->i, sizeof h->i);
	memcpy(h->m, s->m, sizeof h->m);
	memcpy(h->t, s->t, sizeof h->t);
	snprintf(h->name, sizeof h->name, "%s", s->agent ? s->agent : "");
	snprintf(h->idhash, sizeof h->idhash, "%.32s", s->idhash ? s->idhash : "");
	hint_addresses(h, s->addresses, s->addresses_n);
	discovery_look(d, h);
	return h->wanted;
}

void discovery_lost(struct node *n, const char *instance)
{
	struct discovery *d = n->discovery;
	char key[HINT_KEY];
	struct hint *h;

	if (!d || strlen(instance) > HINT_KEY - 4)
		return;
	snprintf(key, sizeof key, "m:%s", instance);
	h = hint_of(map_peek(d->hints, bytes_str(key)));
	/* A record that goes says nothing about who is there; only that this address is nobody's hint any more. */
	if (h) {
		map_del(d->hints, bytes_str(key));
		free(h);
	}
}

/* --- dialling ------------------------------------------------------------------------------------------------------ */
static uint64_t backoff(struct node *n, unsigned failures)
{
	uint64_t ms = AGAIN_MS;

	for (unsigned i = 1; i < failures && ms < AGAIN_MAX_MS; i++)
		ms *= 2;
	ms = ms < AGAIN_MAX_MS ? ms : AGAIN_MAX_MS;
	return ms / 2 + env_uniform(n->env, ms + 1);
}

static bool step(void *ctx, struct bytes key, void *value)
{
	struct discovery *d = ctx;
	struct node *n = d->node;
	struct hint *h = hint_of(value);
	uint64_t now = env_now(n->env);

	if (!h->wanted || (h->has_id && online(n, &h->id)))
		return true;
	if (h->next_ms > now) {
		discovery_wake(d, h->next_ms);
		return true;
	}
	if (!h->in_round) {
		if (h->running) {
			h->next_ms = now + AGAIN_MS;
			discovery_wake(d, h->next_ms);
			return true;
		}
		/* It may be wanted no more, or be another one in this hour. */
		identify(d, h);
		h->wanted = wanted(d, h);
		if (!h->wanted)
			return true;
		h->in_round = true;
		h->at = 0;
	}
	if (!bucket_take(&d->dials, 1, now)) {
		h->next_ms = now + 1000 / DIALS_PER_S;
		discovery_wake(d, h->next_ms);
		return true;
	}
	if (dial_hint(n, h->addresses[h->at], h->has_id ? &h->id : NULL, h->key)) {
		h->running++;
		n->n.hints_dialled++;
		snprintf(h->why, sizeof h->why, "dialling");
	}
	if (++h->at < h->addresses_n) {
		h->next_ms = now + STAGGER_MS;
	} else {
		h->in_round = false;
		h->failures += h->failures < 20;
		h->next_ms = now + backoff(n, h->failures);
	}
	discovery_wake(d, h->next_ms);
	return true;
}

static void due(void *ctx)
{
	struct discovery *d = ctx;

	if (d->node->stopping || !d->node->dialling_started)
		return;
	map_each(d->hints, step, d);
}

void discovery_dialled(struct node *n, const char *hint, bool was_online, bool wrong, const char *why)
{
	struct discovery *d = n->discovery;
	struct hint *h = d ? hint_of(map_peek(d->hints, bytes_str(hint))) : NULL;

	n->n.hints_wrong += wrong;
	if (!h)
		return;
	h->running -= h->running > 0;
	if (was_online)
		h->failures = 0;
	snprintf(h->why, sizeof h->why, "%s", wrong ? "another identity answers there" : why);
}

/* --- sessions ------------------------------------------------------------------------------------------------------- */
static bool known(void *ctx, const struct pin *pin)
{
	struct discovery *d = ctx;
	char key[HINT_KEY], addresses[HINT_ADDRESSES][HINT_ADDRESS];
	struct hint *h;
	size_t n = 0;

	for (size_t i = 0; pin->state == PIN_TRUSTED && i < pin->address_count && n < HINT_ADDRESSES; i++)
		if (strlen(pin->addresses[i].text) < HINT_ADDRESS && !dial_is_static(d->node, pin->addresses[i].text))
			memcpy(addresses[n++], pin->addresses[i].text, strlen(pin->addresses[i].text) + 1);
	if (!n)
		return true;
	snprintf(key, sizeof key, "k:%s", pin->id.hex);
	h = hint_put(d, key, HINT_KNOWN, 2);
	if (!h)
		return false;
	h->has_id = true;
	h->id = pin->id;
	hint_addresses(h, (const char(*)[HINT_ADDRESS])addresses, n);
	discovery_look(d, h);
	return true;
}

void discovery_started(struct node *n)
{
	if (!n->discovery)
		return;
	pins_each(n->p.pins, known, n->discovery);
	discovery_wake(n->discovery, env_now(n->env));
}

void discovery_online(struct conn *c)
{
	struct discovery *d = c->node->discovery;

	if (!d || !c->im2 || !discovery_trusts(c->node, &c->peer->id))
		return;
	discovery_ask_key(c);
	discovery_tell_cards(c);
}

struct missing {
	struct discovery *d;
	const struct node_id *id;
};

static bool want_again(void *ctx, struct bytes key, void *value)
{
	struct missing *m = ctx;
	struct hint *h = hint_of(value);

	if (h->has_id && node_id_eq(&h->id, m->id)) {
		h->next_ms = 0;
		h->failures = 0;
		discovery_look(m->d, h);
	}
	return true;
}

void discovery_offline(struct node *n, const struct node_id *id)
{
	struct missing m = { .d = n->discovery, .id = id };
	const struct pin *pin = pins_get(n->p.pins, id);

	if (!m.d || n->stopping)
		return;
	if (pin)
		(void)known(m.d, pin);
	map_each(m.d->hints, want_again, &m);
}

/* --- for people -------------------------------------------------------------------------------------------------------- */
struct viewing {
	struct node *n;
	struct discovery_view *out;
	size_t max, got;
};

static bool view_one(void *ctx, struct bytes key, void *value)
{
	struct viewing *v = ctx;
	const struct hint *h = hint_of(value);
	struct discovery_view *o;
	const struct pin *pin;

	if (v->got == v->max)
		return true;
	o = &v->out[v->got++];
	memset(o, 0, sizeof *o);
	snprintf(o->instance, sizeof o->instance, "%.60s", h->key + 2);
	snprintf(o->name, sizeof o->name, "%s", h->name);
	snprintf(o->address, sizeof o->address, "%s", h->addresses_n ? h->addresses[0] : "");
	o->addresses_n = h->addresses_n;
	o->fleet = h->fleet;
	o->has_id = h->has_id;
	o->id = h->id;
	o->source = h->source == HINT_MDNS ? "mdns" : h->source == HINT_KNOWN ? "known" : "card";
	o->online = h->has_id && online(v->n, &h->id);
	if (o->online)
		return true;
	snprintf(o->why, sizeof o->why, "%s", h->why);
	pin = h->has_id ? pins_get(v->n->p.pins, &h->id) : NULL;
	if (pin && pin->state == PIN_PENDING)
		snprintf(o->next, sizeof o->next, "ironmesh peers approve %s", h->id.hex);
	else if (pin && pin->state == PIN_BLOCKED)
		snprintf(o->next, sizeof o->next, "ironmesh peers approve %s", h->id.hex);
	else if (!h->wanted && h->addresses_n && !pin)
		snprintf(o->next, sizeof o->next, "ironmesh pair   (here, and the code there)");
	return true;
}

size_t discovery_views(struct node *n, struct discovery_view *out, size_t max)
{
	struct viewing v = { .n = n, .out = out, .max = max };

	if (n->discovery)
		map_each(n->discovery->hints, view_one, &v);
	return v.got;
}

/* --- birth, end --------------------------------------------------------------------------------------------------------- */
enum err discovery_new(struct node *n)
{
	struct map_opts mo = { .capacity = HINTS_MAX, .policy = MAP_EVICT_LRU, .value_size = sizeof(struct hint *),
			       .per_source = HINTS_MAX / 2, .evicted = evicted };
	struct discovery *d;
	uint8_t name[8];

	if (n->c.discovery == SCOPE_OFF)
		return ERR_OK;
	d = calloc(1, sizeof *d);
	if (!d)
		return ERR_NOMEM;
	n->discovery = d;
	d->node = n;
	timer_init(&d->timer, due, d);
	bucket_init(&d->dials, DIALS_PER_S, DIALS_BURST, env_now(n->env));
	buf_init(&d->card, IM2_RECORD_MAX);
	env_random(n->env, name, sizeof name);
	hex_encode(BYTES_ARR(name), d->instance);
	env_random(n->env, d->i, sizeof d->i);
	env_random(n->env, mo.hash_key, sizeof mo.hash_key);
	d->hints = map_new(&mo);
	mo.evicted = NULL;
	mo.per_source = 0;
	mo.capacity = 3 * (PINS_MAX + ALLOW_MAX);
	mo.value_size = sizeof(struct node_id);
	d->tags = map_new(&mo);
	return d->hints && d->tags ? discovery_key_load(d) : ERR_NOMEM;
}

static bool free_one(void *ctx, struct bytes key, void *value)
{
	free(hint_of(value));
	return false;
}

void discovery_free(struct node *n)
{
	struct discovery *d = n->discovery;

	if (!d)
		return;
	timer_stop(n->env, &d->timer);
	if (d->hints)
		map_each(d->hints, free_one, NULL);
	map_free(d->hints);
	map_free(d->tags);
	buf_fini(&d->card);
	wipe(d->disc, sizeof d->disc);
	free(d);
	n->discovery = NULL;
}
