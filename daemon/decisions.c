/*
 * decisions.c -- what the operator decides that is not a matter of pending or trusted: peers that he ignores, capabilities
 * that changed, and sessions that the list of allowed peers does not cover any more.
 */
#include "daemon/node_internal.h"
#include "daemon/refusals.h"
#include "trust/pins_caps.h"

const struct refusals *node_refusals(const struct node *n)
{
	return n->refusals;
}

void node_review(struct node *n)
{
	admit_review(n);
}

void node_list_changed(struct node *n)
{
	admit_review(n);
	if (n->c.policy->allowed_count == 0)
		dial_retry(n);
}

/* On disk, and said; ERR_OK: the caller goes on. */
static enum err decided(struct node *n, const struct node_id *id, struct pins_copy *before, enum err e,
			const char *audit_word, const char *event, const char *reason, struct fault *f)
{
	const struct pin *pin;

	e = pins_settle(n->p.pins, before, e, f);
	if (e != ERR_OK)
		return e;
	pin = pins_get(n->p.pins, id);
	audit_note(n->p.audit, audit_word, (struct bytes){ 0 }, "peer_id", id->hex, "trust_state", pin_word(pin), "reason",
		   reason, NULL);
	log_info("trust-changed peer=%s state=%s why=%s", id->hex, pin_word(pin), reason);
	node_simple_event(n, event, id, reason);
	return ERR_OK;
}

enum err node_peer_ignore(struct node *n, const struct node_id *id, struct fault *f)
{
	struct pins_copy *before;
	enum err e = pins_copy(n->p.pins, &before);

	if (e == ERR_OK)
		e = decided(n, id, before, pins_ignore(n->p.pins, id, f), "PEER_STATE_CHANGED", "peer.ignored", "ignored", f);
	return e == ERR_OK ? inbound_release(n, id, false) : e;
}

enum err node_caps_accept(struct node *n, const struct node_id *id, struct fault *f)
{
	struct pins_copy *before;
	enum err e = pins_copy(n->p.pins, &before);
	const struct pin *pin;

	if (e == ERR_OK)
		e = decided(n, id, before, pins_caps_accept(n->p.pins, id, env_wall(n->env), f), "PEER_CAP_ACCEPTED",
			    "trust.changed", "capabilities accepted", f);
	if (e != ERR_OK)
		return e;
	pin = pins_get(n->p.pins, id);
	return pin && pin_admits(pin) ? inbound_release(n, id, true) : ERR_OK;
}

enum err node_caps_reject(struct node *n, const struct node_id *id, struct fault *f)
{
	struct pins_copy *before;
	enum err e = pins_copy(n->p.pins, &before);

	if (e == ERR_OK)
		e = decided(n, id, before, pins_caps_reject(n->p.pins, id, f), "PEER_STATE_CHANGED", "trust.changed",
			    "capabilities rejected", f);
	return e == ERR_OK ? inbound_release(n, id, false) : e;
}
