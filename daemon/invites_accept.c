/* invites_accept.c -- we follow the invite of somebody else. */
#include "daemon/invites_internal.h"
#include "daemon/records.h"

#include <stdlib.h>

#include "base/text.h"

#define FOLLOW_MS 25000
#define PONG_MS 10000

/* --- the end ----------------------------------------------------------------------------------------------- */
static void finish(struct invites *v, const struct fault *f)
{
	struct following *w = &v->f;
	invite_done done = w->done;
	void *ctx = w->ctx;

	if (!w->active)
		return;
	invites_stop_following(v);
	if (done)
		done(ctx, f);
}

void invites_stop_following(struct invites *v)
{
	struct following *w = &v->f;

	timer_stop(v->node->env, &w->timer);
	timer_stop(v->node->env, &w->ask);
	node_ping_forget(v->node, v);
	w->active = false;
	w->dialling = 0;
	w->done = NULL;
	w->ctx = NULL;
	if (w->token)
		wipe(w->token, strlen(w->token));
	free(w->token);
	w->token = NULL;
}

static struct conn *conn_of(struct invites *v)
{
	struct node *n = v->node;
	struct list *const lists[] = { &n->shaking, &n->conns_list };

	for (size_t i = 0; i < 2; i++)
		for (struct list *l = lists[i]->next; l != lists[i]; l = l->next) {
			struct conn *c = list_entry(l, struct conn, link);

			if (c->follows && !c->closing)
				return c;
		}
	return NULL;
}

/* Its connection goes too: it was made for this alone. */
static void fail(struct invites *v, const char *what, const char *means)
{
	struct node *n = v->node;
	struct conn *c = conn_of(v);
	link_id dialling = v->f.dialling;
	struct fault f = { 0 };

	fault_set(&f, ERR_CLOSED, EXIT_RETRY, "%.200s", what);
	fault_means(&f, "%.230s", means);
	fault_next(&f, "ironmesh invite accept TOKEN   (again, while it is valid)");
	log_warn("invite-not-followed inviter=%s why=\"%s\"", v->f.v.inviter.hex, f.what);
	if (c)
		c->follows = false;
	finish(v, &f);
	if (c)
		conn_close(c, "the invite came to nothing");
	else if (dialling && n->tp)
		tp_close(n->tp, dialling);
}

static void due(void *ctx)
{
	fail(ctx, "the inviter did not answer in time", "its address may be wrong, or not reachable from here");
}

void invites_forget(struct node *n, void *ctx)
{
	if (n->invites && n->invites->f.active && n->invites->f.ctx == ctx)
		n->invites->f.done = NULL;
}

/* --- the begin ------------------------------------------------------------------------------------------------ */
static enum err refuse_token(struct node *n, enum err e, const struct invite *v, struct fault *f)
{
	uint64_t wall = env_wall(n->env);

	if (e == ERR_OK && node_id_eq(&v->inviter, keyring_id(n->p.keyring)))
		e = ERR_SELF;
	if (e == ERR_OK)
		e = invite_timely(v, wall);
	switch (e) {
	case ERR_OK:
		return ERR_OK;
	case ERR_SELF:
		fault_set(f, e, EXIT_USAGE, "this node made this invite itself");
		fault_next(f, "ironmesh invite accept TOKEN   (on the other machine)");
		break;
	case ERR_AUTH:
		fault_set(f, e, EXIT_INTEGRITY, "the signature of this invite does not verify");
		fault_means(f, "it was changed on its way, or made up");
		fault_next(f, "ironmesh invite create   (on the other machine makes another one)");
		break;
	case ERR_EXPIRED:
		fault_set(f, e, EXIT_FAILED, "this invite has expired");
		fault_means(f, "or the clock of this machine is wrong");
		fault_next(f, "ironmesh invite create   (on the other machine makes another one)");
		break;
	case ERR_AGAIN:
		fault_set(f, e, EXIT_RETRY, "this invite is not valid yet");
		fault_means(f, "the clock of this machine or of the inviter is wrong");
		fault_next(f, "set the clock, then repeat the command");
		break;
	case ERR_VERSION:
		fault_set(f, e, EXIT_USAGE, "this invite is of a later version than this program knows");
		fault_next(f, "ironmesh pair   (needs no invite)");
		break;
	default:
		fault_set(f, e, EXIT_USAGE, "this is not an invite");
		fault_means(f, "it begins with %s and is one line; perhaps it was cut", INVITE_PREFIX);
		fault_next(f, "ironmesh invite accept @FILE   (or -, and paste it)");
	}
	return e;
}

/* Neither side may be taken back to the old wire by this (im2.md 4.3). */
static enum err refuse_wire(struct node *n, const struct invite *v, struct fault *f)
{
	struct fault old = { 0 };

	if (strncmp(v->endpoint, "rns:", 4) == 0) {
		fault_set(f, ERR_UNSUPPORTED, EXIT_USAGE, "the inviter is reached over Reticulum, and this node has no such link");
		fault_next(f, "ironmesh invite create --endpoint HOST:PORT   (on the other machine)");
		return ERR_UNSUPPORTED;
	}
	if (policy_dial_legacy(n->c.policy, n->p.pins, v->endpoint, &v->inviter, &old) == ERR_OK)
		return ERR_OK;
	fault_set(f, ERR_DOWNGRADE, EXIT_POLICY, "an invite travels over the old wire, and that is refused here: %.120s", old.what);
	if (n->c.policy->im2 == IM2_REQUIRE) {
		fault_means(f, "this node requires im2; pairing needs no old wire");
		fault_next(f, "ironmesh pair");
	} else {
		fault_means(f, "whoever spoke im2 once needs no invite: its operator approves %.32s", keyring_id(n->p.keyring)->hex);
		fault_next(f, "ironmesh peers approve %s   (here)", v->inviter.hex);
	}
	return ERR_DOWNGRADE;
}

/* The operator trusts whose invite he follows. On disk before anything is dialled. */
static enum err pin_inviter(struct node *n, const struct invite *v, struct fault *f)
{
	const struct pin *pin = pins_get(n->p.pins, &v->inviter);
	struct pin_update u = { .id = v->inviter, .ed = v->inviter_ed, .name = "", .state = PIN_TRUSTED, .via = "invite",
				.wall_ms = env_wall(n->env) };
	bool created = false;
	enum err e;

	if (records_dead(n, v->inviter_ed) || (pin && (pin->state == PIN_BLOCKED || pin->state == PIN_REVOKED))) {
		fault_set(f, ERR_UNTRUSTED, EXIT_PEER_UNTRUSTED, "the inviter %s is %s here", v->inviter.hex,
			  pin && pin->state == PIN_BLOCKED ? "blocked" : "revoked");
		fault_next(f, "ironmesh peers show %s", v->inviter.hex);
		return ERR_UNTRUSTED;
	}
	if (pin)
		e = memcmp(pin->ed, v->inviter_ed, ED_BYTES) == 0 ? pins_set_invited(n->p.pins, &v->inviter) : ERR_KEY_CHANGED;
	else
		e = pins_observe(n->p.pins, &u, &created);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "the trust store does not take the inviter: %s", err_word(e));
	if (pin && pin->state != PIN_TRUSTED)
		e = node_peer_approve(n, &v->inviter, f);
	if (e == ERR_OK)
		e = pins_flush(n->p.pins, f);
	if (e == ERR_OK && created)
		audit_note(n->p.audit, "PEER_PINNED", (struct bytes){ 0 }, "peer_id", v->inviter.hex, "trust_state",
			   pin_state_word(PIN_TRUSTED), "via", "invite", NULL);
	return e;
}

enum err invites_accept(struct node *n, struct bytes token, struct invite *v, invite_done done, void *ctx, struct fault *f)
{
	struct invites *all = n->invites;
	struct following *w = &all->f;
	enum err e;

	if (w->active) {
		fault_set(f, ERR_AGAIN, EXIT_RETRY, "another invite is being followed");
		fault_next(f, "the same command in half a minute");
		return ERR_AGAIN;
	}
	e = refuse_token(n, invite_read(token, v), v, f);
	if (e == ERR_OK)
		e = refuse_wire(n, v, f);
	if (e == ERR_OK && !n->c.passphrase.n) {
		fault_set(f, ERR_WRONG_STATE, EXIT_CONFIG, "this node has no passphrase, and an invite brings none");
		fault_means(f, "the old wire proves the passphrase of the mesh first");
		fault_next(f, "ironmesh pair");
		e = ERR_WRONG_STATE;
	}
	if (e == ERR_OK)
		e = pin_inviter(n, v, f);
	if (e != ERR_OK)
		return e;
	while (token.n && token.p[0] <= ' ')
		token = bytes_of(token.p + 1, token.n - 1);
	while (token.n && token.p[token.n - 1] <= ' ')
		token.n--;
	w->token = calloc(1, token.n + 1);
	if (!w->token)
		return fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory for an invite");
	memcpy(w->token, token.p, token.n);
	w->active = true;
	w->v = *v;
	w->done = done;
	w->ctx = ctx;
	e = n->tp ? tp_dial(n->tp, v->endpoint, &w->dialling) : ERR_CLOSED;
	if (e != ERR_OK) {
		invites_stop_following(all);
		return fault_set(f, e, EXIT_RETRY, "%.100s cannot be dialled: %s", v->endpoint, err_word(e));
	}
	timer_in(n->env, &w->timer, FOLLOW_MS);
	return ERR_OK;
}

/* --- the connection --------------------------------------------------------------------------------------------- */
const char *invites_dialled(struct node *n, const struct link_info *info)
{
	struct invites *v = n->invites;

	if (!v || !v->f.active || !info->dialled || !v->f.dialling || v->f.dialling != info->id)
		return NULL;
	v->f.dialling = 0;
	return v->f.token;
}

bool invites_not_opened(struct node *n, link_id id, const char *why)
{
	struct invites *v = n->invites;
	char what[300];

	if (!v || !v->f.active || !v->f.dialling || v->f.dialling != id)
		return false;
	v->f.dialling = 0;
	snprintf(what, sizeof what, "%.100s does not answer: %.90s", v->f.v.endpoint, why);
	fail(v, what, "the token is not used up by that");
	return true;
}

bool invites_expected(const struct conn *c, const struct node_id *id, struct fault *f)
{
	const struct invite *v = &c->node->invites->f.v;

	if (node_id_eq(id, &v->inviter))
		return true;
	fault_set(f, ERR_KEY_CHANGED, EXIT_INTEGRITY, "%.80s shows the key %s, and the invite names %s", v->endpoint, id->hex,
		  v->inviter.hex);
	fault_means(f, "either the inviter was reinstalled, or somebody pretends to be it; the session was refused, but the token "
		       "was shown to it");
	fault_next(f, "ironmesh invite revoke ID   (on the other machine)");
	return false;
}

/* The inviter answered under the session key after our HELLO: it has pinned us. */
static void pong(void *ctx, enum err e, double rtt_ms)
{
	struct invites *v = ctx;
	struct node *n = v->node;
	struct invite t = v->f.v;
	struct conn *c = conn_of(v);
	bool again = n->im2 && c && c->session && session_peer(c->session)->marked;
	char spec[sizeof t.endpoint + NODE_ID_LEN + 2];
	struct fault f = { 0 };

	(void)rtt_ms;
	if (e != ERR_OK) {
		fail(v, "the inviter closed the connection",
		     "the invite was used, revoked or has expired, or the clocks differ: its `ironmesh events` and audit log say which");
		return;
	}
	if (c)
		c->follows = false;
	log_info("invite-followed inviter=%s name=%s endpoint=%s", t.inviter.hex, peer_name(n, &t.inviter), t.endpoint);
	audit_note(n->p.audit, "INVITE_FOLLOWED", (struct bytes){ 0 }, "peer_id", t.inviter.hex, "endpoint", t.endpoint, NULL);
	/* From here on an ordinary peer; what both speak decides the next connection. */
	if (again)
		conn_close(c, "the invite was taken; the next session is im2");
	snprintf(spec, sizeof spec, "%s#%s", t.endpoint, t.inviter.hex);
	e = node_add_target(n, spec, &f);
	if (e == ERR_OK)
		n->targets[n->target_count - 1]->paired = true; /* until it is forgotten */
	else if (e == ERR_EXISTS)
		dial_peer_offline(n, &t.inviter);
	else
		log_warn("inviter-not-dialled-again what=\"%s\"", f.what);
	finish(v, NULL);
}

static void ask(void *ctx)
{
	struct invites *v = ctx;
	enum err e = node_ping(v->node, &v->f.v.inviter, PONG_MS, pong, v);

	if (e != ERR_OK)
		fail(v, "the inviter cannot be asked whether it took the invite", err_word(e));
}

/* Not at once: the PONG that is on its way was asked for before the inviter knew that the key of this session is ours. */
void invites_online(struct conn *c)
{
	struct invites *v = c->node->invites;

	if (c->follows && v->f.active)
		timer_in(c->node->env, &v->f.ask, 1);
}

void invites_timers(struct invites *v)
{
	timer_init(&v->f.timer, due, v);
	timer_init(&v->f.ask, ask, v);
}

void invites_ended(struct conn *c, const char *why)
{
	struct invites *v = c->node->invites;
	char what[300];

	if (!c->follows)
		return;
	c->follows = false;
	if (!v || !v->f.active)
		return;
	snprintf(what, sizeof what, "%.100s ended the connection: %.100s", v->f.v.endpoint, why);
	fail(v, what,
	     "the invite was used, revoked or has expired, the passphrases differ, or it requires im2 (then: ironmesh pair)");
}
