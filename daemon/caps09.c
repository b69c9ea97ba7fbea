/*
 * caps09.c -- capabilities on the old wire (wire 4.6), with what its receivers left open closed: the memory of
 * announcements is entered after the signature verified, times from the future are refused, an unsigned list counts only for
 * the neighbour itself, and never for one that has spoken im2.
 */
#include "daemon/caps_internal.h"

#include <stdlib.h>

#include "base/text.h"
#include "protocol/v09/capability.h"
#include "protocol/v09/v09.h"

#define TYPE "CAPABILITY_ANNOUNCE"
#define FUTURE_MS 5000
#define PASS_MAX 64

static void refused(struct conn *c, const char *why)
{
	struct node *n = c->node;

	n->n.caps_refused++;
	log_debug("capabilities-refused from=%s why=%s", c->peer->id.hex, why);
	audit_note(n->p.audit, "CAPABILITY_ANNOUNCE_BAD_SIG", bytes_str(c->peer->id.hex), "peer_id", c->peer->id.hex,
		   "reason", why, NULL);
}

static void keep_payload(struct caps *k, struct cap_set *s, struct bytes payload)
{
	uint8_t *p = k->bytes + payload.n <= CAPS_BYTES_MAX ? malloc(payload.n) : NULL;

	k->bytes -= s->payload_n;
	free(s->payload);
	s->payload = p;
	s->payload_n = 0;
	if (!p)
		return;
	memcpy(p, payload.p, payload.n);
	s->payload_n = (uint32_t)payload.n;
	k->bytes += payload.n;
}

/* NULL: fine. */
static const char *check(struct conn *c, const struct capability *a, const struct node_id *origin, struct cap_set *known)
{
	struct node *n = c->node;
	const struct pin *pin = pins_get(n->p.pins, origin);
	uint64_t wall = env_wall(n->env);

	if (!a->is_signed) {
		if (!node_id_eq(origin, &c->peer->id))
			return "missing-sig";
		return pin && pin->im2_since_ms ? "missing-sig" : NULL;
	}
	if (!pin)
		return "unknown-origin";
	if (a->announced_ms + CAPABILITY_FRESH_MS < wall)
		return "stale";
	if (a->announced_ms > wall + FUTURE_MS)
		return "future";
	if (known && known->said_ms >= a->announced_ms)
		return "";
	return capability_verify(a, pin->ed) ? NULL : "bad-sig";
}

void caps_control(struct conn *c, const struct session_event *e)
{
	struct node *n = c->node;
	struct caps *k = n->caps;
	const struct pin *neighbour = c->peer ? pins_get(n->p.pins, &c->peer->id) : NULL;
	const char *names[CAPABILITY_NAMES_MAX];
	struct node_id origin;
	struct capability a;
	struct cap_set *s;
	const char *why;
	size_t kept;

	if (!k || !neighbour || neighbour->state != PIN_TRUSTED)
		return;
	inbound_budget(c, 1, e->item.n);
	if (capability_read(e->item, &a) != ERR_OK) {
		refused(c, "malformed");
		return;
	}
	origin = c->peer->id;
	if (a.origin[0])
		memcpy(origin.hex, a.origin, sizeof origin.hex);
	s = caps_of(k, &origin);
	why = node_id_eq(&origin, keyring_id(n->p.keyring)) ? "" : check(c, &a, &origin, s);
	/* What a record of its own says is not replaced by the old wire. */
	if (!why && s && s->gen && s->expires_ms > env_now(n->env))
		why = "";
	if (why && *why)
		refused(c, why);
	if (why) {
		capability_free(&a);
		return;
	}
	memcpy(names, a.names, a.n * sizeof *names);
	kept = caps_sort(names, a.n);
	if (caps_learn(k, &origin, names, kept, caps_source(&c->peer->id), &s)) {
		s->gen = 0;
		s->said_ms = a.announced_ms;
		if (a.is_signed)
			keep_payload(k, s, e->item);
	}
	capability_free(&a);
}

struct tell {
	struct caps *k;
	struct conn *c;
	unsigned left;
};

static bool tell_one(void *ctx, struct bytes key, void *value)
{
	struct tell *t = ctx;
	const struct cap_set *s = value;
	uint64_t wall = env_wall(t->k->node->env);

	if (!t->left || !s->payload_n || s->said_ms + CAPABILITY_FRESH_MS < wall ||
	    memcmp(key.p, t->c->peer->id.hex, NODE_ID_LEN) == 0)
		return true;
	if (v09_control(t->c->session, TYPE, &t->c->peer->id, bytes_of(s->payload, s->payload_n)) == ERR_OK)
		t->left--;
	return true;
}

void caps09_tell(struct caps *k, struct conn *c)
{
	struct node *n = k->node;
	struct tell t = { .k = k, .c = c, .left = PASS_MAX };
	const char *names[CAPS_MAX], *p = k->own.text;
	struct buf payload;

	for (unsigned i = 0; i < k->own.n; i++, p += strlen(p) + 1)
		names[i] = p;
	buf_init(&payload, CAPABILITY_PAYLOAD_MAX);
	if (k->said &&
	    capability_write(n->p.keyring, names, k->own.n, env_wall(n->env), &payload) == ERR_OK)
		(void)!v09_control(c->session, TYPE, &c->peer->id, buf_bytes(&payload));
	buf_fini(&payload);
	if (n->c.routing == ROUTING_RELAY)
		map_each(k->sets, tell_one, &t);
	conn_pump_later(c);
}
