#include "daemon/lan.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/text.h"
#include "daemon/events.h"
#include "daemon/pairing.h"
#include "transports/mdns/mdns.h"
#include "trust/keyring.h"

#define SERVICE "_ironmesh._tcp"
#define IDHASH_DIGITS 16           /* wire 8: the first half of the node id */
#define IDHASH_DIGITS_MAX 64
#define HOUR_MS 3600000

enum { SLOT_FLEET, SLOT_PUBLIC, SLOT_PAIRING, SLOTS };
static const char *const slot_words[SLOTS] = { "fleet", "public", "pairing" };

struct lan {
	struct lan_config c;
	struct mdns *mdns;
	struct timer timer;
	enum mdns_state state;
	char why[200];
	bool said; /* that there is no mDNS */
};

/* --- out ------------------------------------------------------------------------------------------------------- */

static struct mdns_pair pair_of(const char *key, const char *value)
{
	struct mdns_pair p = { 0 };

	snprintf(p.key, sizeof p.key, "%s", key);
	snprintf(p.value, sizeof p.value, "%s", value);
	return p;
}

static struct mdns_pair pair_hex(const char *key, const uint8_t *bytes, size_t n)
{
	char hex[2 * IM2_INSTANCE_BYTES + 1];

	hex_encode(bytes_of(bytes, n), hex);
	return pair_of(key, hex);
}

static void publish(struct lan *l, unsigned slot, const char *type, const char *instance, const struct mdns_pair *txt,
		    size_t n)
{
	enum err e = mdns_publish(l->mdns, slot, type, instance, l->c.port, txt, n);

	if (e != ERR_OK)
		log_warn("discovery-not-published scope=%s err=%s", slot_words[slot], err_word(e));
}

/* im2.md 15.5: these four and nothing else. */
static void publish_fleet(struct lan *l, const struct discovery_publication *p)
{
	struct mdns_pair txt[] = { pair_of("v", "im2"), pair_hex("i", p->i, sizeof p->i),
				   pair_hex("m", p->m, sizeof p->m), pair_hex("t", p->t, sizeof p->t) };

	publish(l, SLOT_FLEET, SERVICE, p->instance, txt, sizeof txt / sizeof txt[0]);
}

/* Wire 8. */
static void publish_public(struct lan *l)
{
	const char *name = node_name(l->c.node);
	char port[8], idhash[IDHASH_DIGITS + 1], instance[MDNS_INSTANCE_MAX + 1];

	snprintf(port, sizeof port, "%u", l->c.port);
	snprintf(idhash, sizeof idhash, "%.*s", IDHASH_DIGITS, keyring_id(node_keyring(l->c.node))->hex);
	/* A name of 64 characters is one more than DNS-SD has room for; peers take it from the TXT record. */
	snprintf(instance, sizeof instance, "%.*s", MDNS_INSTANCE_MAX, name);
	struct mdns_pair txt[] = { pair_of("agent", name), pair_of("port", port), pair_of("proto", "ironmesh/0.9"),
				   pair_of("idhash", idhash) };

	publish(l, SLOT_PUBLIC, SERVICE, instance, txt, sizeof txt / sizeof txt[0]);
}

static void publish_pairing(struct lan *l, const char *instance, const char *plate)
{
	struct mdns_pair txt[] = { pair_of("v", "im2"), pair_of("n", plate) };

	publish(l, SLOT_PAIRING, PAIR_SERVICE, instance, txt, sizeof txt / sizeof txt[0]);
}

static void refresh(void *ctx)
{
	struct lan *l = ctx;
	struct discovery_publication p = { 0 };
	char instance[9] = "", plate[3] = "";
	uint64_t now = env_now(l->c.env);
	bool pairing;
	enum err e = ERR_OK;

	discovery_publication(l->c.node, &p);
	pairing = pairing_publication(l->c.node, instance, plate);
	if (l->c.port && p.fleet)
		publish_fleet(l, &p);
	else
		mdns_withdraw(l->mdns, SLOT_FLEET);
	if (l->c.port && p.is_public)
		publish_public(l);
	else
		mdns_withdraw(l->mdns, SLOT_PUBLIC);
	if (l->c.port && pairing)
		publish_pairing(l, instance, plate);
	else
		mdns_withdraw(l->mdns, SLOT_PAIRING);
	if (pairing_browses(l->c.node))
		e = mdns_browse(l->mdns, PAIR_SERVICE);
	else
		mdns_browse_stop(l->mdns, PAIR_SERVICE);
	if (e == ERR_OK)
		e = mdns_browse(l->mdns, SERVICE);
	if (e != ERR_OK)
		log_warn("discovery-not-browsed err=%s", err_word(e));
	timer_at(l->c.env, &l->timer, p.until_ms > now ? p.until_ms : now + HOUR_MS);
}

/* Called from the middle of the node's work. */
static void changed(void *ctx)
{
	struct lan *l = ctx;

	timer_in(l->c.env, &l->timer, 0);
}

/* --- in -------------------------------------------------------------------------------------------------------- */

static bool hex_of(const struct mdns_service *s, const char *key, uint8_t *out, size_t n)
{
	const char *text = mdns_txt(s, key);

	return text && hex_decode(bytes_str(text), out, n) == ERR_OK;
}

static bool hex_digits(const char *s)
{
	size_t n = strspn(s, "0123456789abcdef");

	return n > 0 && n <= IDHASH_DIGITS_MAX && s[n] == '\0';
}

static bool found_node(struct lan *l, const struct mdns_service *s)
{
	const char *version = mdns_txt(s, "v"), *agent = mdns_txt(s, "agent"), *idhash = mdns_txt(s, "idhash");
	struct discovery_service d = { .instance = s->instance, .addresses = s->addresses,
				       .addresses_n = s->addresses_n };

	d.fleet = version && strcmp(version, "im2") == 0;
	if (d.fleet) {
		d.has_tags = hex_of(s, "i", d.i, sizeof d.i) && hex_of(s, "m", d.m, sizeof d.m) &&
			     hex_of(s, "t", d.t, sizeof d.t);
	} else {
		d.agent = agent && name_valid(bytes_str(agent)) ? agent : NULL;
		d.idhash = idhash && hex_digits(idhash) ? idhash : NULL;
	}
	return discovery_found(l->c.node, &d);
}

static bool on_found(void *ctx, const struct mdns_service *s)
{
	struct lan *l = ctx;
	const char *version = mdns_txt(s, "v"), *plate = mdns_txt(s, "n");

	if (strcmp(s->type, PAIR_SERVICE) != 0)
		return found_node(l, s);
	if (!version || strcmp(version, "im2") != 0 || !plate ||
	    (strcmp(plate, PAIR_NO_PLATE) != 0 && (strlen(plate) != 2 || strspn(plate, "0123456789") != 2)))
		return false;
	pairing_found(l->c.node, s->instance, plate, s->addresses, s->addresses_n);
	return true;
}

static void on_lost(void *ctx, const char *type, const char *instance)
{
	struct lan *l = ctx;

	if (strcmp(type, SERVICE) == 0)
		discovery_lost(l->c.node, instance);
}

/* --- its state ------------------------------------------------------------------------------------------------- */

static void on_state(void *ctx, enum mdns_state s, const char *why)
{
	struct lan *l = ctx;
	bool was_up = l->state == MDNS_UP;

	l->state = s;
	snprintf(l->why, sizeof l->why, "%s", why);
	if (s == MDNS_UP)
		log_info("discovery-up");
	else if (s == MDNS_DOWN && was_up)
		log_warn("discovery-down why=\"%s\" means=\"%s\"", why,
			 "peers are found by addresses that are known, until it is back");
	else if (s == MDNS_DOWN && !l->said)
		log_info("discovery-without-mdns why=\"%s\"", why);
	l->said |= s == MDNS_DOWN;
	if (l->c.events) {
		json_t *o = json_pack("{s:s, s:s}", "mdns", mdns_state_word(s), "why", why);

		events_emit(l->c.events, "discovery.state", o);
		json_decref(o);
	}
}

static json_t *publishes(const struct lan *l)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < SLOTS; i++)
		if (mdns_published(l->mdns, i))
			(void)json_array_append_new(list, json_string(slot_words[i]));
	return list;
}

const char *lan_blind(const struct lan *l)
{
	return !l ? "discovery is off" : l->state == MDNS_DOWN ? l->why : NULL;
}

json_t *lan_status(const struct lan *l)
{
	struct mdns_stats st = { 0 };

	if (!l)
		return json_pack("{s:s, s:s, s:s, s:[]}", "scope", "off", "mdns", mdns_state_word(MDNS_OFF), "why", "",
				 "publishes");
	mdns_stats(l->mdns, &st);
	return json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "scope",
			 discovery_scope_word(l->c.scope), "mdns", mdns_state_word(l->state), "why", l->why,
			 "publishes", publishes(l), "services", (json_int_t)st.services, "found", (json_int_t)st.found,
			 "lost", (json_int_t)st.lost, "dropped_limit", (json_int_t)st.dropped_limit,
			 "dropped_malformed", (json_int_t)st.dropped_malformed, "restarts", (json_int_t)st.restarts);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

enum err lan_new(const struct lan_config *c, struct lan **out)
{
	struct lan *l = calloc(1, sizeof *l);
	struct mdns_config mc = { .loop = c->loop, .env = c->env, .bind = c->bind,
				  .sink = { .ctx = l, .found = on_found, .lost = on_lost, .state = on_state } };
	enum err e = l ? mdns_new(&mc, &l->mdns) : ERR_NOMEM;

	if (e != ERR_OK) {
		free(l);
		return e;
	}
	l->c = *c;
	l->state = MDNS_STARTING;
	timer_init(&l->timer, refresh, l);
	timer_in(c->env, &l->timer, 0);
	discovery_watch(c->node, changed, l);
	pairing_watch(c->node, changed, l);
	*out = l;
	return ERR_OK;
}

void lan_stop(struct lan *l, void (*done)(void *), void *ctx)
{
	discovery_watch(l->c.node, NULL, NULL);
	pairing_watch(l->c.node, NULL, NULL);
	timer_stop(l->c.env, &l->timer);
	mdns_stop(l->mdns, done, ctx);
}

void lan_free(struct lan *l)
{
	if (!l)
		return;
	mdns_free(l->mdns);
	free(l);
}
