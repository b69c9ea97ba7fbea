/*
 * native.c -- what im2 asks of trust: pins and pair secrets for handshakes (im2.md 5.6, 6.2), and guesses at the
 * passphrase (18.2).
 */
#include "daemon/discovery.h"
#include "daemon/mesh09.h"
#include "daemon/node_internal.h"
#include "daemon/records.h"
#include "daemon/routes.h"

#include "base/text.h"

#define GUESSES_PER_SOURCE 4
#define GUESSES_PER_S 1
#define GUESSES_BURST 30
#define FRIEND_MS (24 * 3600000ull)
#define BAD_DIALS_MAX 5
#define BAD_DIAL_WAIT_MS 3600000u

/* --- trust ---------------------------------------------------------------------------------------- */
static bool known(struct node *n, const struct pin *pin, const uint8_t *x, struct im2_known *out)
{
	if (!pin || !x)
		return false;
	memcpy(out->ed, pin->ed, sizeof out->ed);
	memcpy(out->x, x, sizeof out->x);
	out->refused = pin->state == PIN_BLOCKED || pin->state == PIN_REVOKED || records_dead(n, pin->ed);
	out->trusted = pin->state == PIN_TRUSTED && !out->refused;
	return true;
}

static bool by_x(void *ctx, const uint8_t x[static 32], struct im2_known *out)
{
	struct node *n = ctx;

	return known(n, pins_by_x(n->p.pins, x, NULL), x, out);
}

static const struct pin *pin_of(struct node *n, const uint8_t ed[static ED_BYTES])
{
	struct node_id id;
	const struct pin *pin;

	node_id_of(ed, &id);
	pin = pins_get(n->p.pins, &id);
	/* Two keys with one id would be 2^64 work; the second is nobody (2.2). */
	return pin && memcmp(pin->ed, ed, ED_BYTES) == 0 ? pin : NULL;
}

static bool by_ed(void *ctx, const uint8_t ed[static 32], struct im2_known *out)
{
	struct node *n = ctx;
	const struct pin *pin = pin_of(n, ed);

	return pin && known(n, pin, pins_ik_x(n->p.pins, pin), out);
}

static void psks_get(void *ctx, const uint8_t ed[static 32], struct psks *out)
{
	struct node *n = ctx;
	const struct pin *pin = pin_of(n, ed);

	if (!pin || pins_get_psks(n->p.pins, &pin->id, out) != ERR_OK)
		memset(out, 0, sizeof *out);
}

/* On disk, or the handshake ends: a secret that only one side kept costs a first contact. */
static enum err flushed(struct node *n, enum err e, const char *what)
{
	struct fault f = { 0 };

	if (e == ERR_OK)
		e = pins_flush(n->p.pins, &f);
	if (e != ERR_OK)
		log_error("trust-store-not-written why=%s what=\"%s\" err=%s", what, f.what, err_word(e));
	return e;
}

static enum err psks_put(void *ctx, const uint8_t ed[static 32], const struct psks *p, bool replaced)
{
	struct node *n = ctx;
	const struct pin *pin = pin_of(n, ed);

	if (!pin)
		return ERR_NOTFOUND;
	if (replaced) {
		log_warn("pair-secret-replaced peer=%s name=%s", pin->id.hex, peer_name(n, &pin->id));
		audit_note(n->p.audit, "PSK_REPLACED", bytes_str(pin->id.hex), "peer_id", pin->id.hex, NULL);
	}
	return flushed(n, pins_set_psks(n->p.pins, &pin->id, p), "pair secret");
}

static enum err prove(void *ctx, const uint8_t ed[static 32], const uint8_t x[static 32])
{
	struct node *n = ctx;
	const struct pin *pin = pin_of(n, ed);
	bool replaced = false;
	enum err e;

	if (!pin)
		return ERR_NOTFOUND;
	e = pins_prove_x(n->p.pins, &pin->id, x, env_wall(n->env), &replaced);
	if (e == ERR_EXISTS)
		log_error("exchange-key-of-another peer=%s name=%s", pin->id.hex, peer_name(n, &pin->id));
	if (e == ERR_OK && replaced) {
		log_warn("exchange-key-replaced peer=%s name=%s", pin->id.hex, peer_name(n, &pin->id));
		audit_note(n->p.audit, "EXCHANGE_KEY_REPLACED", bytes_str(pin->id.hex), "peer_id", pin->id.hex, NULL);
	}
	return e == ERR_OK && pins_state_dirty(n->p.pins) ? flushed(n, e, "exchange key") : e;
}

/* --- guesses (5.3, 18.2) -------------------------------------------------------------------------------- */
static unsigned guesses_of(struct node *n, const char *source)
{
	unsigned k = 0;

	for (struct list *l = n->shaking.next; l != &n->shaking; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		k += c->guessing && strcmp(c->source, source) == 0;
	}
	return k;
}

static uint32_t guess(void *ctx, void *owner)
{
	struct node *n = ctx;
	struct conn *c = owner;
	uint64_t wait = ladder_wait_ms(n->by_source, bytes_str(c->source), env_now(n->env));

	if (wait)
		return (uint32_t)((wait + 999) / 1000);
	if (c->guessing)
		return 0;
	if (guesses_of(n, c->source) >= GUESSES_PER_SOURCE ||
	    (!bucket_take(&n->guesses, 1, env_now(n->env)) && !native_friend(n, c->source)))
		return 1;
	/* Counted as a failure when this connection ends before X3 opened: conn_end(). */
	c->guessing = true;
	return 0;
}

static void guess_good(void *ctx, void *owner)
{
	struct node *n = ctx;
	struct conn *c = owner;

	c->guessing = false;
	if (n->guesses.tokens < GUESSES_BURST)
		n->guesses.tokens++;
}

bool native_friend(struct node *n, const char *source)
{
	uint64_t at;
	void *v = map_get(n->friends, bytes_str(source));

	if (!v)
		return false;
	memcpy(&at, v, sizeof at);
	return env_now(n->env) - at < FRIEND_MS;
}

static void befriend(struct node *n, const char *source)
{
	uint64_t now = env_now(n->env);
	bool created;
	void *v;

	if (map_put(n->friends, bytes_str(source), 0, &v, &created) == ERR_OK)
		memcpy(v, &now, sizeof now);
}

static void guess_bad_dial(void *ctx, void *owner)
{
	struct conn *c = owner;
	struct target *t = c->target;

	if (!t)
		return;
	if (t->hint) {
		discovery_dial_over(t->hint, ERR_AUTH, true);
		return;
	}
	if (c->node->c.tls_binding && c->secure)
		snprintf(t->why, sizeof t->why, "the mesh passphrase or mesh name there is another one, or --tls-binding is off "
			 "there, or something in between ends TLS: compare them, then restart");
	else
		snprintf(t->why, sizeof t->why, "the mesh passphrase or mesh name there is another one, or --tls-binding is on "
			 "there: compare them, then restart");
	c->explained = true;
	if (++t->bad_dials < BAD_DIALS_MAX)
		return;
	t->bad_dials = 0;
	c->min_wait_ms = BAD_DIAL_WAIT_MS;
}

/* --- birth and end ------------------------------------------------------------------------------------------ */
static void host_due(void *ctx)
{
	struct node *n = ctx;
	uint64_t at, now;

	im2_host_tick(n->im2);
	at = im2_host_deadline_ms(n->im2);
	now = env_now(n->env);
	timer_in(n->env, &n->im2_timer, at > now && at - now < 60000 ? at - now + 1 : at <= now ? 100 : 60000);
}

static void wake(void *ctx, void *owner)
{
	conn_pump_later(owner);
}

enum err native_new(struct node *n)
{
	struct im2_host_config hc = {
		.env = n->env,
		.keyring = n->p.keyring,
		.name = n->c.name,
		.trust = { .ctx = n, .by_x = by_x, .by_ed = by_ed, .psks_get = psks_get, .psks_put = psks_put,
			   .prove = prove, .guess = guess, .guess_good = guess_good,
			   .guess_bad_dial = guess_bad_dial },
		.limits = n->c.im2,
		.require = n->c.policy->im2 == IM2_REQUIRE,
		.pad = n->c.im2_pad,
		.features = n->c.routing == ROUTING_RELAY ? IM2_FEATURE_RELAY | IM2_FEATURE_STORE : 0,
		.sign_always = n->c.im2_sign_always,
		.mesh_key_coming = !n->c.no_mesh_key,
		.wake = wake,
	};
	struct im2_limits *m = &hc.limits;
	enum err e;

	m->handshake_ms = m->handshake_ms ? m->handshake_ms : n->c.handshake_ms * 3;
	m->sessions = m->sessions ? m->sessions : n->c.limits.sessions;
	m->rekey_after_ms = m->rekey_after_ms ? m->rekey_after_ms : n->c.rekey_ms;
	timer_init(&n->im2_timer, host_due, n);
	bucket_init(&n->guesses, GUESSES_PER_S, GUESSES_BURST, env_now(n->env));
	if (n->c.policy->im2 == IM2_OFF)
		return ERR_OK;
	env_random(n->env, n->volatile_era, sizeof n->volatile_era);
	e = im2_host_new(&hc, &n->im2);
	if (e == ERR_OK)
		timer_in(n->env, &n->im2_timer, 60000);
	return e == ERR_OK ? records_new(n) : e;
}

void native_free(struct node *n)
{
	timer_stop(n->env, &n->im2_timer);
	records_free(n);
	im2_host_free(n->im2);
	n->im2 = NULL;
}

bool node_has_mesh_key(const struct node *n)
{
	return n->im2 && im2_host_has_mesh_key(n->im2);
}

enum err node_mesh_key(struct node *n, uint16_t passgen, struct bytes key)
{
	enum err e = n->im2 ? im2_host_mesh_key(n->im2, passgen, key) : ERR_OK;

	if (e == ERR_OK)
		dial_retry(n);
	return e;
}

const struct im2_counters *node_im2_counters(const struct node *n)
{
	return n->im2 ? im2_host_counters(n->im2) : NULL;
}

void native_link(struct node *n, struct conn *c, const struct link_info *info, struct im2_link_config *out,
		 bool *pinned_im2)
{
	const struct target *t = c->target;
	const struct pin *pin = NULL;

	/* The loopback stands in for a WebSocket: on both the listener speaks first (4.1). */
	*out = (struct im2_link_config){ .owner = c, .transport = IM2_WEBSOCKET, .source = bytes_str(c->source) };
	if (n->c.tls_binding && info->has_binding)
		out->cb = BYTES_ARR(info->binding);
	if (!c->dialled)
		return;
	if (t && t->has_known)
		pin = pins_get(n->p.pins, &t->known);
	if (!pin && !(t && t->hint))
		pin = pins_by_address(n->p.pins, c->address);
	out->known_only = t && t->hint && discovery_dial_known(t->hint);
	*pinned_im2 = pins_im2_address_has(n->p.pins, c->address, NULL) || (pin && pin->im2_since_ms);
	if (!pin || !pins_ik_x(n->p.pins, pin))
		return;
	/* admit_identified() compares: a trusted peer may have moved to the address of another, and who shows a new
	 * key is shown to the operator. */
	out->has_expected = out->owner_compares = true;
	memcpy(out->expected, pin->ed, sizeof out->expected);
}

/* --- sessions ------------------------------------------------------------------------------------------- */
void native_online(struct conn *c)
{
	struct node *n = c->node;
	bool trusted = pins_get(n->p.pins, &c->peer->id)->state == PIN_TRUSTED;

	im2_link_trusted(c->session, trusted);
	if (trusted && !c->dialled)
		befriend(n, c->source);
	marks_online(c);
	if (!c->closing)
		conn_pump_later(c);
}

void native_revoke(struct node *n, const struct node_id *id, const uint8_t *ed)
{
	const struct pin *pin = pins_get(n->p.pins, id);
	struct peer *p = peer_find(n, id);

	if (!n->im2 || (!ed && !pin))
		return;
	im2_host_revoke(n->im2, ed ? ed : pin->ed);
	records_forget(n, ed ? ed : pin->ed);
	routes_forget(n, ed ? ed : pin->ed);
	/* The CLOSE that says so leaves before the link ends. */
	if (p && p->conn && p->conn->im2)
		conn_pump(p->conn);
}

void native_trust_changed(struct node *n, const struct node_id *id)
{
	const struct pin *pin = pins_get(n->p.pins, id);
	struct peer *p = peer_find(n, id);

	records_decided(n, id);
	discovery_decided(n);
	mesh09_trust(n, id);
	if (!p || !p->conn || !p->conn->im2)
		return;
	im2_link_trusted(p->conn->session, pin && pin->state == PIN_TRUSTED);
	if (pin && pin->state == PIN_TRUSTED && !p->conn->dialled)
		befriend(n, p->conn->source);
	routes_trust(n, id);
}

enum err node_peer_allow_downgrade(struct node *n, const struct node_id *id, struct fault *f)
{
	struct pins_copy *before;
	enum err e;

	if (!pins_get(n->p.pins, id)) {
		fault_set(f, ERR_NOTFOUND, EXIT_PEER_UNKNOWN, "no peer has the id %s", id->hex);
		fault_next(f, "ironmesh peers list");
		return ERR_NOTFOUND;
	}
	e = pins_copy(n->p.pins, &before);
	if (e == ERR_OK)
		e = pins_settle(n->p.pins, before, pins_forget_im2(n->p.pins, id), f);
	if (e != ERR_OK)
		return e;
	log_warn("downgrade-allowed peer=%s", id->hex);
	audit_note(n->p.audit, "DOWNGRADE_ALLOWED", (struct bytes){ 0 }, "peer_id", id->hex, NULL);
	node_simple_event(n, "trust.changed", id, "downgrade-allowed");
	dial_peer_offline(n, id);
	return ERR_OK;
}
