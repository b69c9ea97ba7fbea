/*
 * admit.c -- from a proven identity to an online peer: policy, proof of the session key, pins, and which
 * of two sessions stays.
 */
#include "daemon/invites.h"
#include "daemon/discovery.h"
#include "daemon/node_internal.h"
#include "daemon/parts.h"
#include "daemon/records.h"
#include "daemon/refusals.h"

#include "base/text.h"

#define PROOF_MS 5000
#define RENAME_EVERY_MS 60000
#define NOT_LISTED_WAIT_MS 600000

/* im2 tells no name to who knows it (im2.md 5.7); when it changed, it comes later: admit_renamed(). */
static const char *name_of(struct node *n, const struct session_peer *sp)
{
	const struct pin *pin = sp->name[0] ? NULL : pins_get(n->p.pins, &sp->id);

	return pin ? pin->name : sp->name;
}

static bool from_hint(const struct conn *c)
{
	return c->target && c->target->hint;
}

static void key_changed(struct conn *c, const struct session_peer *sp, struct admit_result *r)
{
	struct node *n = c->node;
	struct node_event e = { .type = "peer.key_changed", .peer = sp->id, .name = name_of(n, sp),
				.alarm = &r->alarm };
	char was[FINGERPRINT_LEN], now[FINGERPRINT_LEN];

	log_error("key-changed subject=%s was=\"%s\" now=\"%s\" next=\"%s\"", r->alarm.subject,
		  fingerprint_text(&r->alarm.was, was), fingerprint_text(&r->alarm.now, now),
		  r->fault.next);
	audit_note(n->p.audit, "TOFU_MISMATCH", bytes_str(sp->id.hex), "subject", r->alarm.subject, "was",
		   r->alarm.was.hex, "now", r->alarm.now.hex, NULL);
	r->alarm.at_ms = env_wall(n->env);
	if (pins_alarm(n->p.pins, &r->alarm) == ERR_OK)
		node_pins_flush(n, "alarm");
	node_event(n, &e);
}

/* What policy says of who is at the other end. */
static void judge(struct conn *c, const struct session_peer *sp, struct admit_result *out)
{
	struct node *n = c->node;
	struct admit_request req = {
		.id = sp->id,
		.ed = sp->ed,
		.name = name_of(n, sp),
		.version = sp->version,
		.confirms = sp->confirms,
		.self = keyring_id(n->p.keyring),
		.expected = c->target && c->target->has_expected ? &c->target->expected : NULL,
		/* A hint that lies is no change of a key. */
		.dialled = c->dialled && !from_hint(c) ? c->address : NULL,
		.generation = sp->generation,
		/* We offered nothing on purpose (invites.h): that the offer did not come through is no sign here. */
		.marked = sp->marked && !c->follows,
		.invited = c->invited,
		.invited_trusted = c->invited_trusted,
		.x25519 = sp->has_x25519 ? sp->x25519 : NULL,
		.revoked = records_dead(n, sp->ed),
	};

	memset(out, 0, sizeof *out);
	policy_admit(n->c.policy, n->p.pins, &req, out);
}

/* What an invite did, once it is on disk. False: it is not. */
static bool invite_is_kept(struct conn *c, const struct node_id *id, bool created)
{
	struct node *n = c->node;
	const struct pin *pin;
	struct fault f = { 0 };

	if (!created && pins_set_invited(n->p.pins, id) != ERR_OK)
		return false;
	/* It was here before, and waited: its inviter has said that its bearer is trusted. */
	pin = pins_get(n->p.pins, id);
	if (c->invited_trusted && pin->state == PIN_PENDING && node_peer_approve(n, id, &f) != ERR_OK)
		log_warn("invited-not-approved peer=%s what=\"%s\"", id->hex, f.what);
	if (pins_state_dirty(n->p.pins))
		node_pins_flush(n, "invite");
	if (c->closing || pins_state_dirty(n->p.pins))
		return false;
	invites_spent(c);
	return true;
}

/* A name on the list of allowed peers means the key that it is pinned to: that key keeps it. */
static const char *kept_name(struct node *n, const struct session_peer *sp)
{
	const struct pin *pin = pins_get(n->p.pins, &sp->id);
	const char *name = name_of(n, sp);

	if (!pin || strcmp(pin->name, name) == 0 || !policy_needs_name(n->c.policy, n->p.pins, &sp->id))
		return name;
	log_warn("name-on-the-list-kept peer=%s name=%s asks=%s", sp->id.hex, pin->name, name);
	return pin->name;
}

static bool pin_online_peer(struct conn *c, const struct session_peer *sp)
{
	struct node *n = c->node;
	const struct pin *known = pins_get(n->p.pins, &sp->id);
	struct admit_result r;
	struct pin_update u = { .id = sp->id, .ed = sp->ed, .name = kept_name(n, sp), .version = sp->version,
				.x25519 = sp->has_x25519 ? sp->x25519 : NULL, .confirms = known && known->confirms,
				.wall_ms = env_wall(n->env) };
	bool created = false, changed;
	enum err e;

	judge(c, sp, &r);
	if (r.verdict != ERR_OK)
		return false;
	if (c->invited) {
		e = invites_claim(c);
		if (e != ERR_OK || c->closing) {
			struct fault f = { 0 };

			log_warn("invite-not-used peer=%s err=%s", sp->id.hex, err_word(e));
			if (e == ERR_DENIED) { /* while its key was being proven */
				fault_set(&f, e, EXIT_PEER_UNTRUSTED, "it came with an invite that somebody else was faster to use");
				fault_next(&f, "ironmesh invite create");
				invites_rejected(c, "spent", &f);
			}
			return false;
		}
	}
	u.state = r.state;
	u.via = r.via ? r.via : "tofu";
	changed = !known || known->version_floor < sp->version || (c->im2 && !known->confirms);
	if (c->im2)
		u.confirms = true;
	e = pins_observe(n->p.pins, &u, &created);
	if (e != ERR_OK && !known) {
		log_warn("peer-not-pinned peer=%s err=%s", sp->id.hex, err_word(e));
		return false;
	}
	/* What a hint says is nobody's address: it would raise alarms when another machine gets it. */
	if (c->dialled && !from_hint(c)) {
		const struct pin *at = pins_by_address(n->p.pins, c->address);

		if (!at || !node_id_eq(&at->id, &sp->id) || c->has_tls_key) {
			changed = changed || !at || !node_id_eq(&at->id, &sp->id);
			e = pins_bind_address(n->p.pins, &sp->id, c->address,
					      c->has_tls_key ? c->tls_key : NULL);
			if (e != ERR_OK)
				log_debug("address-not-bound address=%s err=%s", c->address, err_word(e));
		}
	}
	if (created) {
		audit_note(n->p.audit, "TOFU_NEW_PEER", bytes_str(sp->id.hex), "peer_id", sp->id.hex, "name",
			   name_of(n, sp), "trust_state", pin_state_word(r.state), "via", u.via, NULL);
		if (r.state == PIN_PENDING) {
			log_warn("peer-pending peer=%s name=%s next=\"ironmesh peers approve %s\"", sp->id.hex,
				 name_of(n, sp), sp->id.hex);
			node_simple_event(n, "peer.pending", &sp->id, NULL);
		}
	}
	if (created || changed || pins_state_dirty(n->p.pins))
		node_pins_flush(n, "peer");
	return !c->invited || invite_is_kept(c, &sp->id, created);
}

/* Before policy: an invite that is no good ends it, whoever it is (wire 9.9); and who follows one speaks with its maker. */
static bool invite_holds(struct conn *c, const struct session_peer *sp)
{
	struct node *n = c->node;
	struct fault f = { 0 };
	const char *word;

	if (c->follows && !invites_expected(c, &sp->id, &f)) {
		n->n.admission_refused++;
		log_error("inviter-has-another-key address=%s what=\"%s\"", c->address, f.what);
		audit_note(n->p.audit, "INVITER_MISMATCH", bytes_str(c->address), "address", c->address, "shown", sp->id.hex, NULL);
		refuse_conn(c, &sp->id, sp->name, err_word(ERR_KEY_CHANGED), &f, false);
		session_refuse(c->session, ERR_KEY_CHANGED, "it shows another key than the invite names");
		return false;
	}
	if (c->dialled || !sp->invite || invites_judge(c, &f, &word) == ERR_OK)
		return true;
	n->n.admission_refused++;
	invites_rejected(c, word, &f);
	ladder_fail(n->by_identity, bytes_str(sp->id.hex), env_now(n->env));
	session_refuse(c->session, ERR_DENIED, "invite-refused");
	return false;
}

/* The decision of wire 12 weakness 35: policy first, then anything that anybody could notice. */
void admit_identified(struct conn *c)
{
	struct node *n = c->node;
	const struct session_peer *sp = session_peer(c->session);
	struct admit_result r;

	if (ladder_wait_ms(n->by_identity, bytes_str(sp->id.hex), env_now(n->env))) {
		n->n.admission_refused++;
		session_refuse(c->session, ERR_AGAIN, "identity-must-wait");
		return;
	}
	if (!invite_holds(c, sp))
		return;
	c->im2 = strcmp(sp->generation, "im2") == 0;
	if (from_hint(c) && discovery_dial_wrong(c->target->hint, &sp->id)) {
		session_refuse(c->session, ERR_DENIED, "not-who-was-meant");
		return;
	}
	judge(c, sp, &r);
	if (r.verdict == ERR_OK) {
		/* im2.md 5.6: a stranger is written down after all checks and before the unit that names us. Who is
		 * known is updated when its key is proven for this session. */
		bool stranger = !pins_get(n->p.pins, &sp->id);

		/* Each is written to the trust store, at the pace of whoever knows the passphrase and makes up identities. */
		if (stranger && !c->dialled && !c->invited && n->c.limits.strangers_per_s > 0 &&
		    !bucket_take(&n->strangers, 1, env_now(n->env))) {
			struct fault f = { 0 };

			n->n.admission_refused++;
			fault_set(&f, ERR_AGAIN, EXIT_RETRY, "more unknown identities came at once than are written down");
			fault_next(&f, "ironmesh peers pending   (it tries again by itself)");
			refuse_conn(c, &sp->id, name_of(n, sp), "too-many-strangers", &f, false);
			session_refuse(c->session, ERR_AGAIN, "too-many-strangers");
			return;
		}
		if (c->im2 && stranger && !pin_online_peer(c, sp)) {
			session_refuse(c->session, ERR_FULL, "not-pinned");
			return;
		}
		session_admit(c->session);
		return;
	}
	if (c->invited)
		invites_rejected(c, err_word(r.verdict), &r.fault);
	n->n.admission_refused++;
	n->n.downgrades_refused += r.verdict == ERR_DOWNGRADE;
	log_warn("peer-refused peer=%s name=%s from=%s err=%s what=\"%s\" next=\"%s\"", sp->id.hex, name_of(n, sp),
		 c->address, err_word(r.verdict), r.fault.what, r.fault.next);
	if (r.verdict == ERR_KEY_CHANGED)
		key_changed(c, sp, &r);
	else if (r.verdict == ERR_DOWNGRADE)
		audit_note(n->p.audit, "DOWNGRADE_REFUSED", bytes_str(sp->id.hex), "peer_id", sp->id.hex, "name",
			   name_of(n, sp), "reason", err_word(r.verdict), NULL);
	refuse_conn(c, &sp->id, name_of(n, sp), err_word(r.verdict), &r.fault,
		    r.verdict != ERR_SELF && r.verdict != ERR_DOWNGRADE);
	const struct pin *pin = pins_get(n->p.pins, &sp->id);
	bool needs_im2 = r.verdict == ERR_DOWNGRADE && n->c.policy->im2 != IM2_OFF && pin && pin->im2_since_ms;

	/* Whoever answers our dial can show a HELLO that he recorded: that is no act of its identity. Nor is it a
	 * fault of who was set back that it must speak im2 (im2.md 4.3), or of whom somebody on the way keeps the
	 * offer from (4.4). */
	if (r.verdict != ERR_SELF && !c->dialled && !needs_im2 && !(r.verdict == ERR_DOWNGRADE && sp->marked))
		ladder_fail(n->by_identity, bytes_str(sp->id.hex), env_now(n->env));
	if (c->target) {
		/* The dialler of a first contact names himself first (im2.md 5.3): not again and again. */
		if (r.verdict == ERR_DENIED)
			c->min_wait_ms = NOT_LISTED_WAIT_MS;
		snprintf(c->target->why, sizeof c->target->why, "%.230s%s", r.fault.what,
			 r.verdict == ERR_KEY_CHANGED ? ": ironmesh trust list" : "");
		c->explained = true;
	}
	session_refuse(c->session, r.verdict, needs_im2 ? SESSION_REFUSE_NEEDS_IM2 : err_word(r.verdict));
}

/*
 * Two sessions with one identity. Old software keeps the first (wire 2.9). Between our own daemons both
 * ends choose the same one: crossing dials keep the one dialled by the smaller id; otherwise the
 * newer replaces the older, since a peer that dials again has lost what it had.
 */
static bool keep_new(struct node *n, const struct conn *have, const struct conn *c)
{
	const struct session_peer *sp = session_peer(c->session);
	const struct node_id *me = keyring_id(n->p.keyring);
	bool mine_is_smaller = memcmp(me->hex, sp->id.hex, NODE_ID_LEN) < 0;

	if (!sp->confirms)
		return false;
	if (have->dialled == c->dialled || env_now(n->env) - have->online_ms > 10000)
		return true;
	return c->dialled == mine_is_smaller;
}

/* That a peer confirms stands in its HELLO unsigned. It is remembered from the first confirmation on, so
 * that nobody on the way can add it for ever, or take it away later. */
void admit_confirmation(struct conn *c)
{
	struct node *n = c->node;
	const struct session_peer *sp = session_peer(c->session);
	const struct pin *pin = pins_get(n->p.pins, &sp->id);
	struct pin_update u = { .id = sp->id, .ed = sp->ed, .name = name_of(n, sp), .version = sp->version,
				.confirms = true, .wall_ms = env_wall(n->env) };

	if (pin && !pin->confirms && pins_observe(n->p.pins, &u, NULL) == ERR_OK)
		node_pins_flush(n, "confirms");
}

/* The rule of admission: a name that belongs to somebody else is not his. Here the session goes on without it. */
void admit_renamed(struct conn *c, const char *name)
{
	struct node *n = c->node;
	const struct session_peer *sp = session_peer(c->session);
	const struct pin *pin = c->online ? pins_get(n->p.pins, &sp->id) : NULL, *owner;
	uint64_t now = env_now(n->env);
	struct pin_update u = { .id = sp->id, .ed = sp->ed, .name = name, .version = sp->version,
				.wall_ms = env_wall(n->env) };
	char was[NAME_MAX_CHARS + 1];

	if (!pin || strcmp(pin->name, name) == 0)
		return;
	/* Each costs a write of the trust store. */
	if (c->renamed_ms && now - (c->renamed_ms - 1) < RENAME_EVERY_MS) {
		log_debug("peer-renamed-too-often peer=%s", sp->id.hex);
		return;
	}
	c->renamed_ms = now + 1;
	owner = pins_by_name(n->p.pins, name);
	if (owner && !node_id_eq(&owner->id, &sp->id)) {
		log_warn("name-of-another peer=%s name=%s owner=%s", sp->id.hex, name, owner->id.hex);
		audit_note(n->p.audit, "NAME_REFUSED", bytes_str(sp->id.hex), "peer_id", sp->id.hex, "name", name,
			   "owner", owner->id.hex, NULL);
		return;
	}
	if (policy_needs_name(n->c.policy, n->p.pins, &sp->id)) {
		log_warn("name-on-the-list-kept peer=%s name=%s asks=%s", sp->id.hex, pin->name, name);
		audit_note(n->p.audit, "NAME_REFUSED", bytes_str(sp->id.hex), "peer_id", sp->id.hex, "name", name,
			   "owner", sp->id.hex, NULL);
		return;
	}
	snprintf(was, sizeof was, "%s", pin->name);
	if (pins_observe(n->p.pins, &u, NULL) != ERR_OK)
		return;
	log_info("peer-renamed peer=%s was=%s name=%s", sp->id.hex, was, name);
	if (pins_state_dirty(n->p.pins))
		node_pins_flush(n, "name");
}

void admit_online(struct conn *c)
{
	struct node *n = c->node;
	const struct session_peer *sp = session_peer(c->session);
	struct peer *p = peer_get(n, &sp->id);

	n->n.handshakes_ok++;
	/* Under im2 nobody pardons a neighbour at his address (im2.md 18.2): its own guess did not count. */
	if (!c->im2)
		ladder_clear(n->by_source, bytes_str(c->source));
	if (c->target)
		c->target->bad_dials = 0;
	ladder_clear(n->by_identity, bytes_str(sp->id.hex));
	refusals_forget(n->refusals, &sp->id);
	if (!p) {
		conn_close(c, "peer-table-full");
		return;
	}
	if (!pin_online_peer(c, sp)) {
		conn_close(c, "not-pinned");
		return;
	}
	/* Only now: an address that failed a check is not one that speaks im2 (im2.md 4.3). */
	if (c->im2 && c->dialled && !from_hint(c) && !pins_im2_address_has(n->p.pins, c->address, NULL)) {
		if (pins_im2_address_add(n->p.pins, c->address, &sp->id) == ERR_OK)
			node_pins_flush(n, "im2 address");
		else
			log_warn("im2-address-not-kept address=%s", c->address);
	}
	if (p->conn) {
		n->n.duplicate_sessions++;
		if (!keep_new(n, p->conn, c)) {
			dial_learned(n, c, &sp->id);
			conn_close(c, "duplicate");
			return;
		}
		conn_close(p->conn, "replaced");
	}
	/* Whoever knows the passphrase can make up identities: they leave a quarter to those approved. */
	uint32_t room = n->c.limits.sessions;

	if (pins_get(n->p.pins, &sp->id)->state != PIN_TRUSTED)
		room -= room / 4;
	if (n->online >= room) {
		conn_close(c, "session-limit");
		return;
	}
	n->handshaking--;
	c->counted = false;
	c->online = true;
	c->online_ms = env_now(n->env);
	c->online_wall_ms = env_wall(n->env);
	list_del(&c->link);
	list_add_tail(&n->conns_list, &c->link);
	n->online++;
	dial_learned(n, c, &sp->id);
	audit_note(n->p.audit, "PEER_CONNECT", bytes_str(sp->id.hex), "peer_id", sp->id.hex, "name", name_of(n, sp),
		   "transport", c->tp->kind, NULL);
	log_info("peer-online peer=%s name=%s via=%s address=%s suite=%s version=%u.%u confirms=%d", sp->id.hex,
		 name_of(n, sp), c->tp->kind, c->address, sp->generation, sp->version >> 8, sp->version & 255,
		 sp->confirms);
	peer_online(p, c);
	if (c->im2)
		native_online(c);
	if (c->closing)
		return;
	parts_online(c);
	if (c->im2)
		conn_pump_later(c);
	if (c->closing)
		return;
	inbound_report_reads(c);
	/* Approved, and a crash came before its messages were released. */
	if (pin_admits(pins_get(n->p.pins, &p->id)))
		(void)inbound_release(n, &p->id, true);
}

/*
 * The wire confirms no key (wire 2.7.2), and a server chooses the nonce that it signs: its whole half of
 * a handshake can be a recording. So a dialled peer is online when something came under the session
 * key. The same holds for a dialler that may replace a session: his HELLO may have been passed on by
 * whom he really dialled. Our own software answers at once; old diallers replace nobody.
 */
void admit_open(struct conn *c)
{
	struct node *n = c->node;

	/* im2 confirms its keys by itself (im2.md 5.3, 5.4). */
	if (c->im2 || (!c->dialled && !session_peer(c->session)->confirms)) {
		admit_online(c);
		return;
	}
	c->proving = true;
	timer_in(n->env, &c->proof, n->c.handshake_ms ? n->c.handshake_ms : PROOF_MS);
	if (session_ping(c->session) != ERR_OK)
		conn_close(c, "no-memory");
}

void admit_proof_due(void *ctx)
{
	struct conn *c = ctx;
	struct node *n = c->node;

	if (c->closing || !c->proving)
		return;
	n->n.handshakes_failed++;
	n->n.handshake_timeouts++;
	log_warn("key-not-proven peer=%s from=%s dialled=%d", session_peer(c->session)->id.hex, c->address,
		 c->dialled);
	if (!c->dialled)
		conn_blame(n, c->source, "key-not-proven");
	if (c->target) {
		snprintf(c->target->why, sizeof c->target->why,
			 "the handshake ended, but nothing came under its key; do the clocks differ?");
		c->explained = true;
	}
	conn_close(c, "key-not-proven");
}

bool admit_untimely(const struct session_event *e)
{
	return e->type == SESSION_EV_DROPPED && e->word &&
	       (strcmp(e->word, "too-old") == 0 || strcmp(e->word, "from-future") == 0);
}

/* What only a frame that opened can cause. */
bool admit_proves_key(const struct session_event *e)
{
	return admit_untimely(e) || (e->type != SESSION_EV_IDENTIFIED && e->type != SESSION_EV_ONLINE &&
			       e->type != SESSION_EV_DROPPED && e->type != SESSION_EV_OVER);
}

/* The TLS key of an address is pinned after first contact: a terminator in between is noticed before
 * the passphrase proof goes out (wire 12, weakness 1). */
bool admit_tls_key_changed(struct node *n, const struct link_info *info)
{
	const struct pin *pin = info->dialled ? pins_by_address(n->p.pins, info->address) : NULL;
	struct pin_alarm a = { .is_address = true, .at_ms = env_wall(n->env), .count = 1 };

	for (size_t i = 0; pin && i < pin->address_count; i++) {
		const struct pin_address *at = &pin->addresses[i];

		if (strcmp(at->text, info->address) != 0 || !at->has_tls_key)
			continue;
		if (info->has_tls_key && ct_equal(at->tls_key, info->tls_key, 32))
			return false;
		snprintf(a.subject, sizeof a.subject, "%s", info->address);
		a.was = a.now = pin->id;
		memcpy(a.now_ed, pin->ed, sizeof a.now_ed);
		snprintf(a.now_name, sizeof a.now_name, "%s", pin->name);
		log_error("tls-key-changed address=%s peer=%s next=\"ironmesh trust repin %s %s\"", info->address,
			  pin->id.hex, info->address, pin->id.hex);
		audit_note(n->p.audit, "TOFU_MISMATCH", bytes_str(info->address), "subject", info->address,
			   "kind", "tls-key", "peer_id", pin->id.hex, NULL);
		if (pins_alarm(n->p.pins, &a) == ERR_OK)
			node_pins_flush(n, "alarm");

		struct fault f = { 0 };

		fault_set(&f, ERR_KEY_CHANGED, EXIT_INTEGRITY, "%.120s shows another TLS key than before", info->address);
		fault_next(&f, "ironmesh trust list");
		refuse_contact(n, &pin->id, pin->name, info->address, info->source, true, "tls-key-changed", &f, false);
		return true;
	}
	return false;
}

/* Every end of a session is said to the operator as a refusal: with the command that would allow it. */
void admit_review(struct node *n)
{
	struct list *l, *next;

	if (n->c.policy->allowed_count == 0)
		return;
	for (l = n->conns_list.next; l != &n->conns_list; l = next) {
		struct conn *c = list_entry(l, struct conn, link);
		struct fault f = { 0 };

		next = l->next;
		if (c->closing || !c->peer || policy_may_meet(n->c.policy, n->p.pins, &c->peer->id, &f) == ERR_OK)
			continue;
		refuse_conn(c, &c->peer->id, peer_name(n, &c->peer->id), err_word(ERR_DENIED), &f, true);
		conn_close(c, "not among the allowed peers any more");
	}
	dial_retry(n);
}

bool admit_relayed(struct conn *from, const struct node_id *author)
{
	struct node *n = from->node;
	struct fault f = { 0 };

	if (policy_may_meet(n->c.policy, n->p.pins, author, &f) == ERR_OK)
		return true;
	n->n.admission_refused++;
	refuse_conn(from, author, peer_name(n, author), err_word(ERR_DENIED), &f, true);
	return false;
}
