/* invites_use.c -- somebody comes with an invite of ours. */
#include "daemon/invites_internal.h"
#include "daemon/refusals.h"

#include "base/text.h"

static enum err no(struct fault *f, const char **word, const char *why, const char *what, const char *means)
{
	*word = why;
	fault_set(f, ERR_DENIED, EXIT_PEER_UNTRUSTED, "it came with an invite that %s", what);
	fault_means(f, "%s", means);
	fault_next(f, "ironmesh invite create");
	return ERR_DENIED;
}

/* Spent by this one, which is still pinned: it did not hear that it was let in, and says it again. */
static bool is_theirs(struct node *n, const struct invite_entry *x, const struct node_id *id)
{
	return node_id_eq(&x->by, id) && (!x->spent_ms || pins_get(n->p.pins, id));
}

enum err invites_judge(struct conn *c, struct fault *f, const char **word)
{
	struct node *n = c->node;
	const struct session_peer *sp = session_peer(c->session);
	const struct invite_entry *x;
	struct invite v;
	enum err e = invite_read(bytes_str(sp->invite), &v);

	if (e != ERR_OK)
		return no(f, word, e == ERR_AUTH ? "signature" : "malformed", "is none",
			  e == ERR_AUTH ? "its signature does not verify: it was changed, or made up" : "it was cut, or changed");
	if (memcmp(v.inviter_ed, keyring_ed(n->p.keyring), ED_BYTES) != 0)
		return no(f, word, "not-ours", "another node made", "only its maker can let somebody in with it");
	e = invite_timely(&v, env_wall(n->env));
	if (e == ERR_EXPIRED)
		return no(f, word, "expired", "has expired", "make another one");
	if (e != ERR_OK)
		return no(f, word, "not-yet-valid", "is not valid yet", "the clock of this machine was set back");
	x = invites_find(n->invites, v.nonce);
	if (!x)
		return no(f, word, "unknown", "is not in the ledger",
			  "the ledger is lost or older than it: nobody can say whether it was used");
	if (x->revoked_ms && !x->spent_ms)
		return no(f, word, "revoked", "was revoked", "make another one");
	if (x->by.hex[0] && !is_theirs(n, x, &sp->id))
		return no(f, word, "spent", "was used before", "each one introduces one identity, once");
	c->invited = true;
	/* Said again, it changes nothing: whoever was let in by it may have been set aside since. */
	c->invited_trusted = x->trust && !x->spent_ms;
	memcpy(c->invite_nonce, v.nonce, sizeof c->invite_nonce);
	return ERR_OK;
}

void invites_rejected(struct conn *c, const char *word, const struct fault *f)
{
	struct node *n = c->node;
	const struct session_peer *sp = session_peer(c->session);
	struct node_event e = { .type = "invite.rejected", .peer = sp->id, .name = sp->name, .reason = word };

	n->n.invites_rejected++;
	log_warn("invite-rejected peer=%s name=%s from=%s why=%s", sp->id.hex, sp->name, c->address, word);
	audit_note(n->p.audit, "INVITE_REJECTED", bytes_str(sp->id.hex), "peer_id", sp->id.hex, "reason", word, NULL);
	refuse_conn(c, &sp->id, sp->name, "invite-refused", f, false);
	node_event(n, &e);
}

enum err invites_claim(struct conn *c)
{
	struct node *n = c->node;
	struct invites *v = n->invites;
	const struct node_id *id = &session_peer(c->session)->id;
	struct invite_entry *x = invites_find(v, c->invite_nonce);
	enum err e;

	if (!x || (x->revoked_ms && !x->spent_ms) || (x->by.hex[0] && !is_theirs(n, x, id)))
		return ERR_DENIED;
	if (x->by.hex[0])
		return ERR_OK;
	x->by = *id;
	e = invites_write(v, x);
	if (e == ERR_OK)
		e = node_commit(n);
	/* The commit answers others, and one of them may have ended what `x` was. */
	x = invites_find(v, c->invite_nonce);
	if (e != ERR_OK && x)
		x->by.hex[0] = '\0';
	return e;
}

void invites_spent(struct conn *c)
{
	struct node *n = c->node;
	const struct session_peer *sp = session_peer(c->session);
	struct node_event e = { .type = "invite.accepted", .peer = sp->id, .name = sp->name };
	struct invite_entry *x = invites_find(n->invites, c->invite_nonce);

	if (!x || x->spent_ms)
		return;
	x->spent_ms = env_wall(n->env) ? env_wall(n->env) : 1;
	/* Should this write fail, the claim stands: the next start finds the pin, and until then nobody else is let in. */
	if (invites_write(n->invites, x) == ERR_OK)
		node_store_hard(n);
	n->n.invites_accepted++;
	log_info("invite-accepted peer=%s name=%s invite=%.8s", sp->id.hex, sp->name, x->id);
	audit_note(n->p.audit, "INVITE_ACCEPTED", (struct bytes){ 0 }, "peer_id", sp->id.hex, "name", sp->name, "invite", x->id,
		   NULL);
	node_event(n, &e);
}
