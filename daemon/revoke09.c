/* revoke09.c -- REVOCATION of the old wire (4.7): who may be heard, and whom we tell. */
#include "daemon/node_internal.h"
#include "daemon/records.h"
#include "daemon/revoke.h"
#include "protocol/v09/revocation.h"
#include "protocol/v09/v09.h"

#include "base/text.h"

static void shown(struct conn *c, const struct revocation *r, const char *why)
{
	struct node *n = c->node;

	n->n.revocations_shown++;
	log_warn("revocation-without-effect peer=%s by=%s why=%s next=\"ironmesh trust show %s\"", r->target.hex, r->revoker.hex,
		 why, r->target.hex);
	audit_note(n->p.audit, "REVOCATION_SHOWN", bytes_str(c->peer->id.hex), "peer_id", r->target.hex, "by", r->revoker.hex,
		   "delivered_by", c->peer->id.hex, "reason", why, NULL);
	node_simple_event(n, "trust.changed", &r->target, "somebody else revoked this identity: no effect here");
}

static void honour(struct conn *c, const struct revocation *r)
{
	struct node *n = c->node;
	struct node_id target = r->target;
	const struct pin *pin = pins_get(n->p.pins, &target);
	bool self = node_id_eq(&r->target, &r->revoker);
	struct fault f = { 0 };
	enum err e;

	if (node_id_eq(&target, keyring_id(n->p.keyring))) {
		shown(c, r, "it names this node");
		return;
	}
	if (!pin || pin->state == PIN_REVOKED) {
		log_info("revocation-of-nobody peer=%s by=%s", target.hex, r->revoker.hex);
		return;
	}
	log_warn("revocation-honoured peer=%s by=%s self=%d reason=\"%s\"", target.hex, r->revoker.hex, self, r->reason);
	audit_note(n->p.audit, "PEER_REVOKED_SIGNED", (struct bytes){ 0 }, "peer_id", target.hex, "by",
		   self ? "itself" : "administrator", "record", "REVOCATION", "scope", self ? "identity" : "quarantine", NULL);
	if (self) {
		e = node_peer_revoke(n, &target, "revoked by its own signature", &f);
	} else if (n->records) {
		records_quarantine(n, &target, &r->revoker);
		e = ERR_OK;
	} else {
		/* Without im2 nothing ends a quarantine by itself: the operator does. */
		e = pin->state == PIN_TRUSTED ? node_peer_pending(n, &target, &f) : ERR_OK;
	}
	if (e != ERR_OK)
		log_error("revocation-failed peer=%s what=\"%s\"", target.hex, f.what);
}

void revoke_control(struct conn *c, const struct session_event *e)
{
	struct node *n = c->node;
	const struct session_peer *sp = session_peer(c->session);
	const struct pin *pin = c->peer ? pins_get(n->p.pins, &c->peer->id) : NULL;
	struct revocation r;
	enum err fresh;

	if (!pin)
		return;
	/* Old receivers look at who delivers it, and so does this: nobody brings what another has signed. */
	if (revocation_read(e->item, &r) != ERR_OK || !node_id_eq(&r.revoker, &c->peer->id) || !revocation_verify(&r, sp->ed)) {
		c->dropped++;
		n->n.frames_dropped++;
		log_info("revocation-refused from=%s", c->peer->id.hex);
		audit_note(n->p.audit, "SIGNATURE_FAILURE", bytes_str(c->peer->id.hex), "peer_id", c->peer->id.hex, "reason",
			   "revocation", NULL);
		return;
	}
	fresh = revocation_fresh(&r, env_wall(n->env));
	if (fresh != ERR_OK)
		shown(c, &r, fresh == ERR_EXPIRED ? "older than 30 days" : "from the future");
	else if (node_id_eq(&r.target, &r.revoker))
		honour(c, &r);
	else if (pin->state != PIN_TRUSTED)
		shown(c, &r, "its sender is not trusted");
	else if (!revoke_is_admin(n, sp->ed))
		shown(c, &r, "its sender is no administrator");
	else
		honour(c, &r);
}

void revoke_tell_old(struct node *n, const struct node_id *target, const char *reason)
{
	struct buf b;
	enum err e;

	buf_init(&b, REVOCATION_PAYLOAD_MAX);
	e = revocation_write(n->p.keyring, target, reason, env_wall(n->env), &b);
	for (struct list *l = n->conns_list.next; e == ERR_OK && l != &n->conns_list; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		if (c->im2 || !c->online || c->closing || !c->peer || node_id_eq(&c->peer->id, target))
			continue;
		if (v09_control(c->session, "REVOCATION", NULL, buf_bytes(&b)) == ERR_OK) /* "*", as wire 4.1 has it */
			conn_pump_later(c);
		else
			log_info("revocation-not-told peer=%s", c->peer->id.hex);
	}
	if (e != ERR_OK)
		log_error("revocation-not-written err=%s", err_word(e));
	buf_fini(&b);
}
