/*
 * conn.c -- a link and the session on it, from the first byte to the end.
 *
 * The order of a life: accepting -> opened -> (handshake) -> admit -> online -> ... -> closed. Every
 * refusal ends here, with a counter, a log line and, when a stranger caused it, a step on the
 * failure ladder of its address.
 */
#include "daemon/node_internal.h"

#include <stdlib.h>

#include "base/text.h"
#include "protocol/v09/v09.h"

#define BAD_FRAMES_BURST 64
#define BAD_FRAMES_PER_S 1
#define RECEIPTS_KEEP 64
#define PROOF_MS 5000
#define SHAKING_FAIR_MS 1000

/* --- lookup -------------------------------------------------------------------------------------- */
struct conn *conn_find(struct node *n, link_id id)
{
	void *v = map_get(n->conns, bytes_of(&id, sizeof id));
	struct conn *c = NULL;

	if (v)
		memcpy(&c, v, sizeof c);
	return c;
}

static void conn_unlink(struct conn *c)
{
	struct node *n = c->node;

	timer_stop(n->env, &c->timer);
	timer_stop(n->env, &c->resume);
	timer_stop(n->env, &c->proof);
	if (c->is_dirty) {
		list_del(&c->dirty);
		c->is_dirty = false;
	}
}

void conn_free(struct conn *c)
{
	struct node *n = c->node;

	conn_unlink(c);
	list_del(&c->link);
	list_del(&c->reap);
	map_del(n->conns, bytes_of(&c->id, sizeof c->id));
	session_free(c->session);
	free(c->receipts);
	free(c->address);
	free(c);
}

/* Cuts a conn from its peer and target; the session is over from here on. Idempotent. */
static void conn_end(struct conn *c, const char *why, uint64_t min_wait_ms)
{
	struct node *n = c->node;
	struct target *t = c->target;
	struct peer *p = c->peer;
	bool was_online = c->online;

	if (c->counted) {
		n->handshaking--;
		c->counted = false;
	}
	conn_unlink(c);
	c->peer = NULL;
	c->target = NULL;
	c->online = false;
	if (was_online) {
		n->online--;
		if (p && p->conn == c)
			peer_offline(p, why);
	}
	if (t)
		dial_conn_ended(n, t, was_online, c->explained ? t->why : why, min_wait_ms);
}

static void conn_close_wait(struct conn *c, const char *why, uint64_t min_wait_ms)
{
	struct node *n = c->node;

	if (c->closing)
		return;
	c->closing = true;
	tp_close(c->tp, c->id);
	conn_end(c, why, min_wait_ms);
	/* The session may be on the stack of conn_pump(): it is freed at the end of the turn. */
	list_del(&c->reap);
	list_add_tail(&n->reap, &c->reap);
	node_want_turn(n);
}

void conn_close(struct conn *c, const char *why)
{
	conn_close_wait(c, why, 0);
}

/* Sessions of closed conns go at the end of the turn; the conn itself when the link says `closed`. */
void conn_reap(struct node *n)
{
	while (!list_empty(&n->reap)) {
		struct conn *c = list_entry(n->reap.next, struct conn, reap);

		list_del(&c->reap);
		session_free(c->session);
		c->session = NULL;
	}
}

void conn_close_peer(struct node *n, const struct node_id *id, const char *why)
{
	struct peer *p = peer_find(n, id);

	if (p && p->conn)
		conn_close(p->conn, why);
}

/* A step on the ladder of a source; says so when it became a ban. */
static void blame_source(struct node *n, const char *source, const char *why)
{
	if (ladder_fail(n->by_source, bytes_str(source), env_now(n->env)) >= LADDER_BAN_MS) {
		n->n.bans++;
		log_warn("address-banned source=%s for_s=%u why=%s", source ? source : "-", LADDER_BAN_MS / 1000, why);
		audit_note(n->p.audit, "AUTH_IP_BLOCKED", bytes_str(source), "source", source, "reason", why,
			   NULL);
	}
}

/* --- admission ------------------------------------------------------------------------------------ */
static void key_changed(struct conn *c, const struct session_peer *sp, struct admit_result *r)
{
	struct node *n = c->node;
	struct node_event e = { .type = "peer.key_changed", .peer = sp->id, .name = sp->name,
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

/* The decision of wire 12 weakness 35: policy first, then anything that anybody could notice. */
static void on_identified(struct conn *c)
{
	struct node *n = c->node;
	const struct session_peer *sp = session_peer(c->session);
	struct admit_request req = {
		.id = sp->id,
		.ed = sp->ed,
		.name = sp->name,
		.version = sp->version,
		.confirms = sp->confirms,
		.self = keyring_id(n->p.keyring),
		.expected = c->target && c->target->has_expected ? &c->target->expected : NULL,
		.dialled = c->dialled ? c->address : NULL,
	};
	struct admit_result r;

	memset(&r, 0, sizeof r);
	if (ladder_wait_ms(n->by_identity, bytes_str(sp->id.hex), env_now(n->env))) {
		n->n.admission_refused++;
		session_refuse(c->session, ERR_AGAIN, "identity-must-wait");
		return;
	}
	policy_admit(n->c.policy, n->p.pins, &req, &r);
	if (r.verdict == ERR_OK) {
		session_admit(c->session);
		return;
	}
	n->n.admission_refused++;
	log_warn("peer-refused peer=%s name=%s from=%s err=%s what=\"%s\" next=\"%s\"", sp->id.hex, sp->name,
		 c->address, err_word(r.verdict), r.fault.what, r.fault.next);
	if (r.verdict == ERR_KEY_CHANGED)
		key_changed(c, sp, &r);
	else if (r.verdict != ERR_SELF)
		audit_note(n->p.audit, "PEER_REFUSED", bytes_str(sp->id.hex), "peer_id", sp->id.hex, "name",
			   sp->name, "reason", err_word(r.verdict), NULL);
	/* Whoever answers our dial can show a HELLO that he recorded: that is no act of its identity. */
	if (r.verdict != ERR_SELF && !c->dialled)
		ladder_fail(n->by_identity, bytes_str(sp->id.hex), env_now(n->env));
	if (c->target) {
		snprintf(c->target->why, sizeof c->target->why, "%s", r.fault.what);
		c->explained = true;
	}
	struct node_event e = { .type = "peer.refused", .peer = sp->id, .name = sp->name,
				.reason = err_word(r.verdict) };

	node_event(n, &e);
	session_refuse(c->session, r.verdict, err_word(r.verdict));
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

static bool pin_online_peer(struct conn *c, const struct session_peer *sp)
{
	struct node *n = c->node;
	const struct pin *known = pins_get(n->p.pins, &sp->id);
	struct admit_result r;
	struct admit_request req = { .id = sp->id, .ed = sp->ed, .name = sp->name, .version = sp->version,
				     .confirms = sp->confirms, .self = keyring_id(n->p.keyring),
				     .expected = c->target && c->target->has_expected ?
							 &c->target->expected : NULL,
				     .dialled = c->dialled ? c->address : NULL };
	struct pin_update u = { .id = sp->id, .ed = sp->ed, .name = sp->name, .version = sp->version,
				.x25519 = sp->has_x25519 ? sp->x25519 : NULL, .confirms = known && known->confirms,
				.wall_ms = env_wall(n->env) };
	bool created = false, changed;
	enum err e;

	memset(&r, 0, sizeof r);
	policy_admit(n->c.policy, n->p.pins, &req, &r);
	if (r.verdict != ERR_OK)
		return false;
	u.state = r.state;
	u.via = r.via ? r.via : "tofu";
	changed = !known || known->version_floor < sp->version;
	e = pins_observe(n->p.pins, &u, &created);
	if (e != ERR_OK && !known) {
		log_warn("peer-not-pinned peer=%s err=%s", sp->id.hex, err_word(e));
		return false;
	}
	if (c->dialled) {
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
			   sp->name, "trust_state", pin_state_word(r.state), "via", u.via, NULL);
		if (r.state == PIN_PENDING) {
			log_warn("peer-pending peer=%s name=%s next=\"ironmesh peers approve %s\"", sp->id.hex,
				 sp->name, sp->id.hex);
			node_simple_event(n, "peer.pending", &sp->id, NULL);
		}
	}
	if (created || changed || pins_state_dirty(n->p.pins))
		node_pins_flush(n, "peer");
	return true;
}

/* That a peer confirms stands in its HELLO unsigned. It is remembered from the first confirmation on, so
 * that nobody on the way can add it for ever, or take it away later. */
static void on_confirmation(struct conn *c)
{
	struct node *n = c->node;
	const struct session_peer *sp = session_peer(c->session);
	const struct pin *pin = pins_get(n->p.pins, &sp->id);
	struct pin_update u = { .id = sp->id, .ed = sp->ed, .name = sp->name, .version = sp->version,
				.confirms = true, .wall_ms = env_wall(n->env) };

	if (pin && !pin->confirms && pins_observe(n->p.pins, &u, NULL) == ERR_OK)
		node_pins_flush(n, "confirms");
}

static void on_online(struct conn *c)
{
	struct node *n = c->node;
	const struct session_peer *sp = session_peer(c->session);
	struct peer *p = peer_get(n, &sp->id);

	n->n.handshakes_ok++;
	ladder_clear(n->by_source, bytes_str(c->source));
	ladder_clear(n->by_identity, bytes_str(sp->id.hex));
	if (!p) {
		conn_close(c, "peer-table-full");
		return;
	}
	if (!pin_online_peer(c, sp)) {
		conn_close(c, "not-pinned");
		return;
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
	audit_note(n->p.audit, "PEER_CONNECT", bytes_str(sp->id.hex), "peer_id", sp->id.hex, "name", sp->name,
		   "transport", c->tp->kind, NULL);
	log_info("peer-online peer=%s name=%s via=%s address=%s version=%u.%u confirms=%d", sp->id.hex,
		 sp->name, c->tp->kind, c->address, sp->version >> 8, sp->version & 255, sp->confirms);
	peer_online(p, c);
	inbound_report_reads(c);
	/* Approved, and a crash came before its messages were released. */
	if (pins_get(n->p.pins, &p->id)->state == PIN_TRUSTED)
		(void)inbound_release(n, &p->id, true);
}

/*
 * The wire confirms no key (wire 2.7.2), and a server chooses the nonce that it signs: its whole half of
 * a handshake can be a recording. So a dialled peer is online when something came under the session
 * key. The same holds for a dialler that may replace a session: his HELLO may have been passed on by
 * whom he really dialled. Our own software answers at once; old diallers replace nobody.
 */
static void on_open(struct conn *c)
{
	struct node *n = c->node;

	if (!c->dialled && !session_peer(c->session)->confirms) {
		on_online(c);
		return;
	}
	c->proving = true;
	timer_in(n->env, &c->proof, n->c.handshake_ms ? n->c.handshake_ms : PROOF_MS);
	if (session_ping(c->session) != ERR_OK)
		conn_close(c, "no-memory");
}

static void proof_due(void *ctx)
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
		blame_source(n, c->source, "key-not-proven");
	if (c->target) {
		snprintf(c->target->why, sizeof c->target->why,
			 "the handshake ended, but nothing came under its key; do the clocks differ?");
		c->explained = true;
	}
	conn_close(c, "key-not-proven");
}

static bool untimely(const struct session_event *e)
{
	return e->type == SESSION_EV_DROPPED && e->word &&
	       (strcmp(e->word, "too-old") == 0 || strcmp(e->word, "from-future") == 0);
}

/* What only a frame that opened can cause. */
static bool proves_key(const struct session_event *e)
{
	return untimely(e) || (e->type != SESSION_EV_IDENTIFIED && e->type != SESSION_EV_ONLINE &&
			       e->type != SESSION_EV_DROPPED && e->type != SESSION_EV_OVER);
}

static void on_over(struct conn *c, const struct session_event *e)
{
	struct node *n = c->node;
	char why[160];
	uint64_t min_wait = 0;

	snprintf(why, sizeof why, "%s", e->word ? e->word : err_word(e->err));
	if (!c->online) {
		n->n.handshakes_failed++;
		if (e->err == ERR_TIMEOUT)
			n->n.handshake_timeouts++;
		log_info("handshake-failed from=%s dialled=%d err=%s why=\"%s\"", c->address, c->dialled,
			 err_word(e->err), why);
		if (e->blame == BLAME_AUTH) {
			n->n.handshake_auth_failures++;
			audit_note(n->p.audit, "AUTH_FAILURE", bytes_str(c->source), "source", c->source,
				   "reason", why, NULL);
		}
		if ((e->blame == BLAME_AUTH || e->blame == BLAME_GARBAGE) && !c->dialled)
			blame_source(n, c->source, why);
		if (e->blame == BLAME_REMOTE)
			min_wait = 10000;
		if (c->target && !c->explained) {
			snprintf(c->target->why, sizeof c->target->why, "%s%s",
				 e->blame == BLAME_REMOTE ? "the other side refused: " : "handshake failed: ",
				 why);
			c->explained = true;
		}
	} else {
		log_info("session-over peer=%s err=%s why=\"%s\"", c->peer ? c->peer->id.hex : "-",
			 err_word(e->err), why);
	}
	conn_close_wait(c, why, min_wait);
}

static void on_dropped(struct conn *c, const struct session_event *e)
{
	struct node *n = c->node;

	c->dropped++;
	n->n.frames_dropped++;
	log_debug("frame-dropped peer=%s err=%s why=%s", c->peer ? c->peer->id.hex : c->source,
		  err_word(e->err), e->word ? e->word : "-");
	if (c->peer && (e->err == ERR_AUTH || e->err == ERR_REPLAY))
		audit_note(n->p.audit, e->err == ERR_AUTH ? "SIGNATURE_FAILURE" : "REPLAY_DETECTED",
			   bytes_str(c->peer->id.hex), "peer_id", c->peer->id.hex, "reason",
			   e->word ? e->word : err_word(e->err), NULL);
	/* A frame refused for its time was still the next in order: going on would let later ones overtake it.
	 * The sender starts again with the oldest that nobody confirmed. */
	if (c->online && session_peer(c->session)->confirms && untimely(e)) {
		log_warn("clocks-differ peer=%s why=%s", c->peer->id.hex, e->word);
		conn_close(c, strcmp(e->word, "too-old") == 0 ? "a frame came too old; clocks differ, or a slow link" :
								"a frame came from the future: clocks differ");
		return;
	}
	if (!bucket_take(&c->bad, 1, env_now(n->env))) {
		n->n.sessions_closed_for_bad_frames++;
		if (!c->dialled)
			blame_source(n, c->source, "bad-frames");
		conn_close(c, "too-many-bad-frames");
	}
}

static void on_pong(struct conn *c, double rtt_ms)
{
	struct node *n = c->node;
	struct list *l, *next;

	if (!c->peer)
		return;
	c->peer->rtt_ms = rtt_ms;
	for (l = n->pings.next; l != &n->pings; l = next) {
		struct ping_wait *w = list_entry(l, struct ping_wait, link);

		next = l->next;
		if (!node_id_eq(&w->peer, &c->peer->id))
			continue;
		list_del(&w->link);
		timer_stop(n->env, &w->timer);
		w->done(w->ctx, ERR_OK, rtt_ms);
		free(w);
	}
}

/* The peer has a new key and says so; there is no continuity proof (wire 9.4), so this decides nothing. */
static void on_key_rotate(struct conn *c)
{
	struct node *n = c->node;

	if (!c->peer)
		return;
	log_warn("peer-rotates-key peer=%s name=%s next=\"ironmesh trust list\"", c->peer->id.hex,
		 peer_name(n, &c->peer->id));
	audit_note(n->p.audit, "KEY_ROTATION", bytes_str(c->peer->id.hex), "peer_id", c->peer->id.hex, NULL);
}

static void on_event(struct conn *c, const struct session_event *e)
{
	struct node *n = c->node;

	if (c->proving && proves_key(e)) {
		c->proving = false;
		timer_stop(n->env, &c->proof);
		on_online(c);
		if (c->closing)
			return;
	}
	switch (e->type) {
	case SESSION_EV_IDENTIFIED:
		on_identified(c);
		break;
	case SESSION_EV_ONLINE:
		on_open(c);
		break;
	case SESSION_EV_MESSAGE:
		inbound_message(c, &e->message);
		break;
	case SESSION_EV_RECEIPT:
		on_confirmation(c);
		outbound_receipt(c, e);
		break;
	case SESSION_EV_PONG:
		on_pong(c, (double)e->rtt_ms);
		break;
	case SESSION_EV_RATE_LIMITED:
		log_info("peer-asks-to-slow-down peer=%s", c->peer ? c->peer->id.hex : "-");
		if (c->peer && c->peer->q)
			c->peer->q->pace.tokens = 0;
		break;
	case SESSION_EV_GOODBYE:
		log_debug("peer-says-goodbye peer=%s", c->peer ? c->peer->id.hex : "-");
		break;
	case SESSION_EV_KEY_ROTATE:
		on_key_rotate(c);
		break;
	case SESSION_EV_REKEYED:
		c->rekeys++;
		n->n.rekeys++;
		if (c->peer)
			sched_wake(c->peer);
		break;
	case SESSION_EV_CONTROL:
		n->n.control_frames++;
		break;
	case SESSION_EV_DROPPED:
		on_dropped(c, e);
		break;
	case SESSION_EV_OVER:
		on_over(c, e);
		break;
	}
}

static void session_due(void *ctx)
{
	struct conn *c = ctx;

	if (c->closing || !c->session)
		return;
	session_tick(c->session);
	conn_pump(c);
	if (!c->closing && c->peer)
		sched_wake(c->peer);
}

void conn_pump(struct conn *c)
{
	struct node *n = c->node;
	struct session_unit u;
	struct session_event e;
	bool more = true;

	while (more && !c->closing) {
		while (!c->closing && session_next_unit(c->session, &u)) {
			enum err err = tp_send(c->tp, c->id, u.bytes, u.text);

			if (err != ERR_OK)
				conn_close(c, err == ERR_FULL ? "peer-does-not-read" : "link-lost");
		}
		if (c->closing)
			return;
		more = session_next_event(c->session, &e);
		if (more)
			on_event(c, &e);
	}
	if (c->closing)
		return;
	uint64_t at = session_deadline_ms(c->session);

	if (at == UINT64_MAX)
		timer_stop(n->env, &c->timer);
	else if (!timer_armed(&c->timer) || c->timer.at_ms != at)
		timer_at(n->env, &c->timer, at);
}

/* --- receipts ------------------------------------------------------------------------------------ */
void conn_receipt(struct conn *c, enum receipt_kind kind, const char *id, const char *reason,
		  int64_t inbox_seq)
{
	if (c->closing || !c->online)
		return;
	if (c->receipts_n == c->receipts_cap) {
		size_t cap = c->receipts_cap ? c->receipts_cap * 2 : 8;
		struct pending_receipt *r = realloc(c->receipts, cap * sizeof *r);

		if (!r)
			return; /* the sender asks again */
		c->receipts = r;
		c->receipts_cap = cap;
	}
	struct pending_receipt *r = &c->receipts[c->receipts_n++];

	r->kind = kind;
	r->reason = reason;
	r->inbox_seq = inbox_seq;
	snprintf(r->id, sizeof r->id, "%s", id);
	if (!c->is_dirty) {
		c->is_dirty = true;
		list_add_tail(&c->node->dirty, &c->dirty);
	}
	node_want_turn(c->node);
}

void conn_flush_receipts(struct conn *c)
{
	struct node *n = c->node;
	struct receipt batch[256];
	size_t done = 0;

	while (done < c->receipts_n && !c->closing) {
		size_t k = 0;

		for (; k < 256 && done + k < c->receipts_n; k++) {
			const struct pending_receipt *r = &c->receipts[done + k];

			batch[k] = (struct receipt){ .kind = r->kind, .id = bytes_str(r->id),
						     .reason = bytes_str(r->reason) };
		}
		if (session_send_receipts(c->session, batch, k) != ERR_OK) {
			c->more_reads = false;
			break; /* the session ends: the sender asks again */
		}
		for (size_t i = 0; i < k; i++) {
			int64_t seq = c->receipts[done + i].inbox_seq;

			enum err e = seq ? inbox_mark_reported(n->p.store, seq) : ERR_NOTFOUND;

			if (e == ERR_OK)
				node_store_soft(n);
			if (e == ERR_STORE) {
				node_store_failed(n);
				c->more_reads = false;
			}
		}
		n->n.receipts_sent += k;
		done += k;
	}
	c->receipts_n = 0;
	if (c->receipts_cap > RECEIPTS_KEEP) {
		free(c->receipts);
		c->receipts = NULL;
		c->receipts_cap = 0;
	}
	if (!c->closing)
		conn_pump(c);
	if (!c->closing && c->more_reads)
		inbound_report_reads(c);
}

/* What was marked as read in the lost group is not read: only what the store says is reported. */
void conn_store_rolled_back(struct node *n)
{
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);
		size_t kept = 0;

		for (size_t i = 0; i < c->receipts_n; i++)
			if (c->receipts[i].kind != RECEIPT_READ)
				c->receipts[kept++] = c->receipts[i];
		if (kept == c->receipts_n || c->closing)
			continue;
		c->receipts_n = kept;
		inbound_report_reads(c);
	}
}

/* --- the sink ------------------------------------------------------------------------------------- */
/* Who has proven nothing for a second makes room: else a few sources that say nothing would keep
 * everybody out, friends too. Whoever knows the passphrase is let finish. */
static bool make_room(struct node *n, uint64_t now)
{
	for (struct list *l = n->shaking.next; l != &n->shaking; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		if (c->dialled || c->closing || c->spoke || now - c->opened_ms < SHAKING_FAIR_MS)
			continue;
		n->n.handshakes_failed++;
		conn_close(c, "too-many-handshakes");
		return true;
	}
	return false;
}

static bool sink_accepting(void *ctx, const char *source)
{
	struct node *n = ctx;
	uint64_t now = env_now(n->env);
	bool created;
	void *v;

	if (n->stopping || ladder_wait_ms(n->by_source, bytes_str(source), now))
		goto refuse;
	if (n->c.limits.connects_per_s > 0) {
		if (map_put(n->connects, bytes_str(source), 0, &v, &created) != ERR_OK)
			goto refuse;
		if (created)
			bucket_init(v, n->c.limits.connects_per_s, n->c.limits.connects_burst, now);
		if (!bucket_take(v, 1, now))
			goto refuse;
	}
	if (n->handshaking >= n->c.limits.handshakes && !make_room(n, now))
		goto refuse;
	return true;
refuse:
	n->n.connections_refused++;
	return false;
}

static bool too_many_from(struct node *n, const char *source)
{
	unsigned k = 0;

	for (struct list *l = n->shaking.next; l != &n->shaking; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		k += !c->dialled && !c->closing && strcmp(c->source, source) == 0;
	}
	return k >= n->c.limits.handshakes_per_source;
}

static void resume_due(void *ctx)
{
	struct conn *c = ctx;

	c->paused = false;
	if (!c->closing)
		tp_pause(c->tp, c->id, false);
}

/* The TLS key of an address is pinned after first contact: a terminator in between is noticed before
 * the passphrase proof goes out (wire 12, weakness 1). */
static bool tls_key_changed(struct node *n, const struct link_info *info)
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
		return true;
	}
	return false;
}

static void sink_opened(void *ctx, const struct link_info *info)
{
	struct node *n = ctx;
	struct target *t = NULL;
	struct conn *c;
	void *slot;

	for (size_t i = 0; info->dialled && i < n->target_count; i++)
		if (n->targets[i]->dialling == info->id)
			t = n->targets[i];
	if (t)
		t->dialling = 0;
	if (n->stopping || (!info->dialled && too_many_from(n, info->source))) {
		n->n.connections_refused++;
		tp_close(n->tp, info->id);
		return;
	}
	c = calloc(1, sizeof *c);
	if (!c || !(c->address = strdup(info->address)) ||
	    map_put(n->conns, bytes_of(&info->id, sizeof info->id), 0, &slot, &(bool){ false }) != ERR_OK) {
		if (c)
			free(c->address);
		free(c);
		n->n.connections_refused++;
		tp_close(n->tp, info->id);
		if (t)
			dial_conn_ended(n, t, false, "no room for another connection", 0);
		return;
	}
	memcpy(slot, &c, sizeof c);
	c->node = n;
	c->tp = n->tp;
	c->id = info->id;
	c->dialled = info->dialled;
	c->secure = info->secure;
	c->has_tls_key = info->has_tls_key;
	memcpy(c->tls_key, info->tls_key, sizeof c->tls_key);
	snprintf(c->source, sizeof c->source, "%s", info->source);
	c->target = t;
	c->opened_ms = env_now(n->env);
	list_init(&c->dirty);
	list_init(&c->reap);
	list_add_tail(&n->shaking, &c->link);
	timer_init(&c->timer, session_due, c);
	timer_init(&c->resume, resume_due, c);
	timer_init(&c->proof, proof_due, c);
	bucket_init(&c->bad, BAD_FRAMES_PER_S, BAD_FRAMES_BURST, c->opened_ms);
	if (t)
		t->conn = c;
	if (tls_key_changed(n, info)) {
		if (t) {
			snprintf(t->why, sizeof t->why,
				 "another TLS key is shown there than before: ironmesh trust list");
			c->explained = true;
		}
		conn_close(c, "tls-key-changed");
		return;
	}
	struct session_config sc = {
		.env = n->env,
		.keyring = n->p.keyring,
		.passphrase = n->c.passphrase,
		.name = n->c.name,
		.role = info->dialled ? SESSION_DIALLER : SESSION_LISTENER,
		.min_version = n->c.min_version,
		.handshake_ms = n->c.handshake_ms,
		.rekey_ms = n->c.rekey_ms,
		.past_ms = n->c.past_ms,
		.future_ms = n->c.future_ms,
		.seal_direct = n->c.seal_direct,
	};

	if (v09_session_new(&sc, &c->session) != ERR_OK) {
		conn_close(c, "no-memory");
		return;
	}
	n->handshaking++;
	c->counted = true;
	session_start(c->session);
	conn_pump(c);
}

static void sink_unit(void *ctx, link_id id, struct bytes unit, bool text)
{
	struct node *n = ctx;
	struct conn *c = conn_find(n, id);
	uint64_t received, receipts = n->n.receipts_received, unknown = n->n.receipts_unknown;
	bool could_send;

	if (!c || c->closing || !c->session)
		return;
	c->spoke = true;
	received = c->received;
	could_send = session_can_send(c->session);
	session_take(c->session, unit, text);
	conn_pump(c);
	receipts = n->n.receipts_received - receipts;
	unknown = n->n.receipts_unknown - unknown;
	/* Confirmations of what we sent are free. All else that is no message costs as much as one: a
	 * stranger who waits for approval may not keep us busy with questions. */
	if (c->online && c->received == received && (!receipts || unknown))
		inbound_budget(c, unknown ? (double)unknown : 1, unit.n);
	/* The first frame under a new key ends the pause of a rekey, without an event. */
	if (!could_send && !c->closing && c->peer && session_can_send(c->session))
		sched_wake(c->peer);
}

static void sink_writable(void *ctx, link_id id)
{
	struct conn *c = conn_find(ctx, id);

	if (c && !c->closing && c->peer)
		sched_wake(c->peer);
}

static void sink_closed(void *ctx, link_id id, enum link_end why, const char *detail)
{
	struct node *n = ctx;
	struct conn *c = conn_find(n, id);

	if (!c) { /* a dial that never opened */
		for (size_t i = 0; i < n->target_count; i++) {
			struct target *t = n->targets[i];
			char text[160];

			if (t->dialling != id)
				continue;
			t->dialling = 0;
			n->n.dial_failures++;
			snprintf(text, sizeof text, "%s%s%s", link_end_word(why), detail && *detail ? ": " : "",
				 detail ? detail : "");
			dial_conn_ended(n, t, false, text, 0);
		}
		return;
	}
	if (!c->closing) {
		if (!c->online) {
			n->n.handshakes_failed++;
			if (!c->dialled && (why == LINK_END_PROTOCOL || why == LINK_END_TIMEOUT))
				blame_source(n, c->source, link_end_word(why));
		}
		c->closing = true;
		conn_end(c, link_end_word(why), 0);
	}
	conn_free(c);
}

static void sink_strange(void *ctx, const char *source, enum link_end why)
{
	struct node *n = ctx;

	n->n.strangers++;
	log_info("stranger source=%s why=%s", source, link_end_word(why));
	audit_note(n->p.audit, "STRANGER_REFUSED", bytes_str(source), "source", source, "reason",
		   link_end_word(why), NULL);
	blame_source(n, source, link_end_word(why));
}

struct transport_sink node_sink(struct node *n)
{
	return (struct transport_sink){
		.ctx = n,
		.accepting = sink_accepting,
		.opened = sink_opened,
		.unit = sink_unit,
		.writable = sink_writable,
		.closed = sink_closed,
		.strange = sink_strange,
	};
}
