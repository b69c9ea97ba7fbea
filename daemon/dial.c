/*
 * dial.c -- static peers: one owner of dialling per address, jittered back-off, and a text that says
 * why a peer is not connected.
 */
#include "daemon/dial.h"

#include "daemon/discovery.h"
#include "daemon/node_internal.h"
#include "daemon/refusals.h"

#include <stdlib.h>

#include "base/text.h"

#define BACKOFF_FIRST_MS 500
#define BACKOFF_MAX_MS 60000
#define STABLE_MS 10000

static bool target_online(struct node *n, const struct target *t)
{
	struct peer *p = t->has_known ? peer_find(n, &t->known) : NULL;

	return p && p->conn;
}

/* 0.5 s doubling to 60 s, each spread over 50 % to 150 %. */
static uint64_t backoff(struct node *n, uint32_t failures)
{
	uint64_t base = BACKOFF_FIRST_MS;

	for (uint32_t i = 1; i < failures && base < BACKOFF_MAX_MS; i++)
		base *= 2;
	if (base > BACKOFF_MAX_MS)
		base = BACKOFF_MAX_MS;
	return base / 2 + env_uniform(n->env, base + 1);
}

static void dial_schedule(struct node *n, struct target *t, uint64_t delay_ms)
{
	if (!n->dialling_started || n->stopping || t->gone || t->dialling || t->conn || timer_armed(&t->timer))
		return;
	timer_in(n->env, &t->timer, delay_ms);
}

struct dial_ctx {
	struct node *node;
	struct target target;
};

static void dial_now(void *ctx)
{
	struct dial_ctx *d = ctx;
	struct node *n = d->node;
	struct target *t = &d->target;
	struct fault f = { 0 };
	const struct pin *pin;
	enum err e;

	if (n->stopping || !n->tp || t->dialling || t->conn)
		return;
	/* Given with an id that it had before, it is expected as who it is now. */
	pin = t->has_expected ? pins_current(n->p.pins, &t->expected) : NULL;
	if (pin)
		t->expected = pin->id;
	if (t->paired && !pin) {
		snprintf(t->why, sizeof t->why, "forgotten: ironmesh pair");
		return;
	}
	pin = pins_by_address(n->p.pins, t->address);
	if (t->has_expected)
		t->known = t->expected;
	else if (pin)
		t->known = pin->id;
	t->has_known = t->has_expected || pin;
	if (target_online(n, t)) {
		t->why[0] = 0;
		return; /* the end of that session calls dial_peer_offline() */
	}
	/* Whom it means, before whose address it is. */
	if (t->has_known && pins_get(n->p.pins, &t->known))
		pin = pins_get(n->p.pins, &t->known);
	if (pin && (pin->state == PIN_BLOCKED || pin->state == PIN_REVOKED)) {
		snprintf(t->why, sizeof t->why, "%s is %s: ironmesh peers approve %.32s", peer_name(n, &pin->id),
			 pin_state_word(pin->state), pin->id.hex);
		fault_set(&f, ERR_UNTRUSTED, EXIT_PEER_UNTRUSTED, "%s is %s", pin->id.hex, pin_state_word(pin->state));
		fault_next(&f, pin->state == PIN_BLOCKED ? "ironmesh peers approve %s" : "ironmesh peers show %s", pin->id.hex);
		refuse_contact(n, &pin->id, peer_name(n, &pin->id), t->address, t->address, true, err_word(ERR_UNTRUSTED), &f,
			       true);
		return;
	}
	if (t->has_known && policy_may_meet(n->c.policy, n->p.pins, &t->known, &f) != ERR_OK) {
		snprintf(t->why, sizeof t->why, "%.110s: %.130s", f.what, f.next);
		refuse_contact(n, &t->known, peer_name(n, &t->known), t->address, t->address, true, err_word(ERR_DENIED), &f,
			       true);
		return; /* again when a name or an alias changes */
	}
	n->n.dials++;
	e = tp_dial(n->tp, t->address, &t->dialling);
	if (e != ERR_OK) {
		t->dialling = 0;
		dial_conn_ended(n, t, false, err_word(e), 0);
	} else if (!t->failures) {
		snprintf(t->why, sizeof t->why, "dialling");
	}
}

static struct dial_ctx *ctx_of(struct target *t)
{
	return list_entry(t, struct dial_ctx, target);
}

enum err node_add_target(struct node *n, const char *spec, struct fault *f)
{
	const char *hash = strchr(spec, '#');
	size_t len = hash ? (size_t)(hash - spec) : strlen(spec);
	const char *colon = len ? memrchr(spec, ':', len) : NULL;
	struct dial_ctx *d;
	struct target *t;
	unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : 0;

	if (!colon || colon == spec || len > ADDRESS_MAX || (n->tp && strcmp(n->tp->kind, "ws") == 0 &&
							     (port == 0 || port > 65535))) {
		fault_set(f, ERR_USAGE, EXIT_USAGE, "'%s' is not host:port", spec);
		fault_means(f, "a static peer is given as host:port or host:port#node-id");
		fault_next(f, "ironmesh run --peer 192.0.2.7:8765");
		return ERR_USAGE;
	}
	for (size_t i = 0; i < n->target_count; i++)
		if (!n->targets[i]->hint && !n->targets[i]->gone && strlen(n->targets[i]->address) == len &&
		    memcmp(n->targets[i]->address, spec, len) == 0)
			return fault_set(f, ERR_EXISTS, EXIT_USAGE, "the peer %.*s is given twice", (int)len, spec);
	if (n->target_count == TARGETS_MAX)
		return fault_set(f, ERR_FULL, EXIT_USAGE, "more than %d static peers", TARGETS_MAX);
	d = calloc(1, sizeof *d);
	if (!d)
		return ERR_NOMEM;
	d->node = n;
	t = &d->target;
	memcpy(t->address, spec, len);
	if (hash) {
		if (node_id_parse(bytes_str(hash + 1), &t->expected) != ERR_OK) {
			free(d);
			fault_set(f, ERR_USAGE, EXIT_USAGE, "'%s' is not a node id", hash + 1);
			fault_means(f, "after '#' comes the 32 digits that `ironmesh keys fingerprint` prints there");
			return ERR_USAGE;
		}
		t->has_expected = t->has_known = true;
		t->known = t->expected;
	}
	timer_init(&t->timer, dial_now, d);
	snprintf(t->why, sizeof t->why, "not dialled yet");
	n->targets[n->target_count++] = t;
	if (n->dialling_started)
		dial_schedule(n, t, 0);
	return ERR_OK;
}

void node_dial_all(struct node *n)
{
	n->dialling_started = true;
	for (size_t i = 0; i < n->target_count; i++)
		if (!n->targets[i]->hint)
			dial_schedule(n, n->targets[i], 0);
	discovery_started(n);
}

static void target_drop(struct node *n, struct target *t);

enum err node_remove_target(struct node *n, const char *spec)
{
	size_t len = strcspn(spec, "#");
	struct target *t = NULL;

	for (size_t i = 0; i < n->target_count && !t; i++)
		if (!n->targets[i]->hint && !n->targets[i]->gone && strlen(n->targets[i]->address) == len &&
		    memcmp(n->targets[i]->address, spec, len) == 0)
			t = n->targets[i];
	if (!t || t->paired)
		return ERR_NOTFOUND;
	timer_stop(n->env, &t->timer);
	t->gone = true; /* its end comes by dial_conn_ended() when something is on the way */
	if (t->dialling) {
		tp_close(n->tp, t->dialling);
	} else if (t->conn && !t->conn->online) {
		conn_close(t->conn, "it is not to be dialled any more");
	} else {
		if (t->conn)
			t->conn->target = NULL;
		target_drop(n, t);
	}
	return ERR_OK;
}

void dial_conn_ended(struct node *n, struct target *t, bool was_online, const char *why, uint64_t min_wait_ms)
{
	uint64_t lived = t->conn && t->conn->online_ms ? env_now(n->env) - t->conn->online_ms : 0;
	uint64_t wait;

	t->conn = NULL;
	if (t->gone) {
		target_drop(n, t);
		return;
	}
	if (t->hint) {
		struct hint_dial *hint = t->hint;
		char text[sizeof t->why];

		snprintf(text, sizeof text, "%s", why);
		target_drop(n, t);
		discovery_dial_ended(hint, text, min_wait_ms);
		return;
	}
	if (was_online && lived >= STABLE_MS)
		t->failures = 0;
	else
		t->failures++;
	if (target_online(n, t)) {
		t->why[0] = 0;
		return;
	}
	if (why != t->why &&
	    (was_online || t->why[0] == 0 || strcmp(t->why, "dialling") == 0 || !strstr(why, "refuse")))
		snprintf(t->why, sizeof t->why, "%s", why);
	wait = backoff(n, t->failures ? t->failures : 1);
	if (wait < min_wait_ms)
		wait = min_wait_ms + env_uniform(n->env, min_wait_ms / 4 + 1); /* 0..25 % (im2.md 5.9) */
	log_debug("dial-again address=%s in_ms=%llu failures=%u why=\"%s\"", t->address,
		  (unsigned long long)wait, t->failures, why);
	dial_schedule(n, t, wait);
}

/* A session with `id` ended that another conn than ours carried: whoever is configured dials. */
void dial_peer_offline(struct node *n, const struct node_id *id)
{
	for (size_t i = 0; i < n->target_count; i++) {
		struct target *t = n->targets[i];

		if (!t->hint && t->has_known && node_id_eq(&t->known, id) && !target_online(n, t)) {
			if (t->why[0] == 0)
				snprintf(t->why, sizeof t->why, "the session ended");
			dial_schedule(n, t, backoff(n, t->failures ? t->failures : 1));
		}
	}
}

void dial_learned(struct node *n, struct conn *c, const struct node_id *id)
{
	struct target *own = c->target;

	for (size_t i = 0; i < n->target_count; i++) {
		struct target *t = n->targets[i];

		if (c->target == t) {
			t->known = *id;
			t->has_known = true;
		}
		if (t->has_known && node_id_eq(&t->known, id)) {
			t->why[0] = 0;
			timer_stop(n->env, &t->timer);
		}
	}
	if (own && own->hint) {
		struct hint_dial *hint = own->hint;

		own->conn = NULL;
		c->target = NULL;
		target_drop(n, own);
		discovery_dial_met(hint, id);
	}
}

size_t node_targets(struct node *n, struct target_view *out, size_t max)
{
	size_t k = 0;

	for (size_t i = 0; i < n->target_count && k < max; i++) {
		const struct target *t = n->targets[i];
		struct target_view v = { .failures = t->failures };
		uint64_t now = env_now(n->env);

		if (t->hint || t->gone)
			continue;

		snprintf(v.address, sizeof v.address, "%s", t->address);
		snprintf(v.why, sizeof v.why, "%s", t->why);
		v.has_id = t->has_known;
		v.id = t->known;
		v.online = target_online(n, t);
		v.dialling = t->dialling || t->conn;
		if (timer_armed(&t->timer) && t->timer.at_ms > now)
			v.next_dial_in_ms = t->timer.at_ms - now;
		out[k++] = v;
	}
	return k;
}

/* --- hints ---------------------------------------------------------------------------------------------------- */
static void target_drop(struct node *n, struct target *t)
{
	for (size_t i = 0; i < n->target_count; i++)
		if (n->targets[i] == t) {
			n->targets[i] = n->targets[--n->target_count];
			break;
		}
	timer_stop(n->env, &t->timer);
	free(ctx_of(t));
}

bool dial_is_static(const struct node *n, const char *address)
{
	for (size_t i = 0; i < n->target_count; i++)
		if (!n->targets[i]->hint && !n->targets[i]->gone && strcmp(n->targets[i]->address, address) == 0)
			return true;
	return false;
}

bool dial_runs(const struct node *n, const char *address)
{
	for (size_t i = 0; i < n->target_count; i++)
		if ((n->targets[i]->dialling || n->targets[i]->conn) && strcmp(n->targets[i]->address, address) == 0)
			return true;
	return false;
}

struct target *dial_hint(struct node *n, const char *address, const struct node_id *expected, struct hint_dial *hint)
{
	struct fault f = { 0 };
	struct dial_ctx *d;
	struct target *t;

	if (n->stopping || !n->tp || n->target_count == TARGETS_MAX || dial_runs(n, address))
		return NULL;
	if (policy_may_meet(n->c.policy, n->p.pins, expected, &f) != ERR_OK) {
		refuse_contact(n, expected, expected ? peer_name(n, expected) : NULL, address, "hint", true,
			       err_word(ERR_DENIED), &f, false);
		return NULL;
	}
	d = calloc(1, sizeof *d);
	if (!d)
		return NULL;
	d->node = n;
	t = &d->target;
	snprintf(t->address, sizeof t->address, "%s", address);
	t->hint = hint;
	if (expected) {
		t->has_expected = t->has_known = true;
		t->expected = t->known = *expected;
	}
	timer_init(&t->timer, dial_now, d);
	n->n.dials++;
	if (tp_dial(n->tp, t->address, &t->dialling) != ERR_OK) {
		free(d);
		return NULL;
	}
	n->targets[n->target_count++] = t;
	return t;
}

void dial_drop(struct node *n, struct target *t)
{
	if (t->dialling)
		tp_close(n->tp, t->dialling);
	else if (t->conn && !t->conn->closing && !t->conn->online)
		conn_close(t->conn, "another address answered first");
}

void dial_retry(struct node *n)
{
	for (size_t i = 0; i < n->target_count; i++) {
		struct target *t = n->targets[i];

		if (t->hint || t->gone || t->dialling || t->conn || target_online(n, t) || t->bad_dials)
			continue;
		timer_stop(n->env, &t->timer);
		t->failures = 0;
		dial_schedule(n, t, 0);
	}
	discovery_dial_retry(n);
}

void dial_fini(struct node *n)
{
	for (size_t i = 0; i < n->target_count; i++) {
		timer_stop(n->env, &n->targets[i]->timer);
		free(ctx_of(n->targets[i]));
	}
	n->target_count = 0;
}
