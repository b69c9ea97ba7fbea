/*
 * conn.c -- a link and the session on it: what its events mean, its receipts, and its end.
 *
 * The order of a life: accepting and opened (sink.c), handshake, admission (admit.c), online, ended.
 * Every refusal ends in conn_close(), with a counter, a log line and, when a stranger caused it, a
 * step on the failure ladder of its address.
 */
#include "daemon/invites.h"
#include "daemon/discovery.h"
#include "daemon/mesh09.h"
#include "daemon/node_internal.h"
#include "daemon/parts.h"
#include "daemon/refusals.h"

#include <stdlib.h>

#include "base/text.h"

#define RECEIPTS_KEEP 64

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
	if (c->pump_due) {
		list_del(&c->pump);
		c->pump_due = false;
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

/* Somebody who did not know the passphrase: who he is was never said. */
static void not_proven(struct conn *c, const char *why)
{
	struct fault f = { 0 };

	fault_set(&f, ERR_AUTH, EXIT_INTEGRITY, "whoever is at %.100s did not prove the passphrase of the mesh (%.80s)",
		  c->address, why);
	fault_next(&f, "compare the passphrase and --mesh of both ends, then restart them");
	refuse_conn(c, NULL, NULL, err_word(ERR_AUTH), &f, false);
}

/* Cuts a conn from its peer and target; the session is over from here on. Idempotent. */
void conn_end(struct conn *c, const char *why, uint64_t min_wait_ms)
{
	struct node *n = c->node;
	struct target *t = c->target;
	struct peer *p = c->peer;
	bool was_online = c->online;

	/* An X2 that went out and came to nothing was one guess (im2.md 5.3). */
	if (c->guessing) {
		c->guessing = false;
		n->n.handshake_auth_failures++;
		log_info("passphrase-not-proven source=%s", c->source);
		audit_note(n->p.audit, "AUTH_FAILURE", bytes_str(c->source), "source", c->source, "reason",
			   "passphrase-not-proven", NULL);
		not_proven(c, "passphrase-not-proven");
		conn_blame(n, c->source, "passphrase-not-proven");
	}
	invites_ended(c, why);
	if (min_wait_ms < c->min_wait_ms)
		min_wait_ms = c->min_wait_ms;
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
void conn_blame(struct node *n, const char *source, const char *why)
{
	if (ladder_fail(n->by_source, bytes_str(source), env_now(n->env)) >= LADDER_BAN_MS) {
		n->n.bans++;
		log_warn("address-banned source=%s for_s=%u why=%s", source ? source : "-", LADDER_BAN_MS / 1000, why);
		audit_note(n->p.audit, "AUTH_IP_BLOCKED", bytes_str(source), "source", source, "reason", why,
			   NULL);
	}
}

/* An address or identity that has spoken im2 offers only 0.9: somebody took the offer away, or its operator
 * went back (im2.md 4.3). Nothing was said to it. */
static void downgrade(struct conn *c)
{
	struct node *n = c->node;
	struct target *t = c->target;
	const struct pin *pin = pins_by_address(n->p.pins, c->address);
	struct fault f = { 0 };

	n->n.downgrades_refused++;
	(void)!policy_dial_legacy(n->c.policy, n->p.pins, c->address, t && t->has_known ? &t->known : pin ? &pin->id : NULL,
				  &f);
	log_error("downgrade-refused address=%s what=\"%s\" next=\"%s\"", c->address, f.what, f.next);
	audit_note(n->p.audit, "DOWNGRADE_REFUSED", bytes_str(c->address), "address", c->address, "reason", f.what,
		   NULL);
	refuse_conn(c, pin ? &pin->id : NULL, pin ? pin->name : NULL, err_word(ERR_DOWNGRADE), &f, false);
	if (!t || !f.what[0])
		return;
	snprintf(t->why, sizeof t->why, "%.120s: %.120s", f.what, f.next);
	c->explained = true;
}

static void on_over(struct conn *c, const struct session_event *e)
{
	struct node *n = c->node;
	struct hint_dial *hint = c->target ? c->target->hint : NULL;
	char why[160];
	uint64_t min_wait = 0;

	snprintf(why, sizeof why, "%s", e->word ? e->word : err_word(e->err));
	if (!c->online) {
		n->n.handshakes_failed++;
		if (e->err == ERR_TIMEOUT)
			n->n.handshake_timeouts++;
		log_info("handshake-failed from=%s dialled=%d err=%s why=\"%s\"", c->address, c->dialled,
			 err_word(e->err), why);
		if (hint)
			discovery_dial_over(hint, e->err, e->blame == BLAME_AUTH);
		/* Whoever publishes addresses does not write our audit log. */
		if (e->blame == BLAME_AUTH && !hint) {
			n->n.handshake_auth_failures++;
			audit_note(n->p.audit, "AUTH_FAILURE", bytes_str(c->source), "source", c->source,
				   "reason", why, NULL);
			not_proven(c, why);
		}
		if ((e->blame == BLAME_AUTH || e->blame == BLAME_GARBAGE) && !c->dialled) {
			c->guessing = false;
			conn_blame(n, c->source, why);
		}
		if (e->blame == BLAME_REMOTE)
			min_wait = e->wait_ms ? e->wait_ms : 10000;
		if (e->err == ERR_DOWNGRADE && c->dialled && !hint)
			downgrade(c);
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
	/* Whom others write to us from, and we do not know, says nothing of the neighbour that passes it on. */
	if (!c->im2 && e->err == ERR_NOTFOUND) {
		audit_note(n->p.audit, "INNER_SOURCE_SIG_DROP", bytes_str(c->source), "peer_id",
			   c->peer ? c->peer->id.hex : "", "reason", e->word, NULL);
		return;
	}
	if (c->peer && (e->err == ERR_AUTH || e->err == ERR_REPLAY))
		audit_note(n->p.audit, e->err == ERR_AUTH ? "SIGNATURE_FAILURE" : "REPLAY_DETECTED",
			   bytes_str(c->peer->id.hex), "peer_id", c->peer->id.hex, "reason",
			   e->word ? e->word : err_word(e->err), NULL);
	/* A frame refused for its time was still the next in order: going on would let later ones overtake it.
	 * The sender starts again with the oldest that nobody confirmed. */
	if (c->online && !c->im2 && session_peer(c->session)->confirms && admit_untimely(e)) {
		log_warn("clocks-differ peer=%s why=%s", c->peer->id.hex, e->word);
		conn_close(c, strcmp(e->word, "too-old") == 0 ? "a frame came too old; clocks differ, or a slow link" :
								"a frame came from the future: clocks differ");
		return;
	}
	if (!bucket_take(&c->bad, 1, env_now(n->env))) {
		n->n.sessions_closed_for_bad_frames++;
		if (!c->dialled)
			conn_blame(n, c->source, "bad-frames");
		conn_close(c, "too-many-bad-frames");
	}
}

static void on_pong(struct conn *c, double rtt_ms)
{
	if (!c->peer)
		return;
	c->peer->rtt_ms = rtt_ms;
	pings_done(c->node, &c->peer->id, ERR_OK, rtt_ms);
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

	if (c->proving && admit_proves_key(e)) {
		c->proving = false;
		timer_stop(n->env, &c->proof);
		admit_online(c);
		if (c->closing)
			return;
	}
	switch (e->type) {
	case SESSION_EV_IDENTIFIED:
		admit_identified(c);
		break;
	case SESSION_EV_ONLINE:
		admit_open(c);
		break;
	case SESSION_EV_MESSAGE:
		inbound_message(c, &e->message);
		break;
	case SESSION_EV_RECEIPT:
		if (!e->receipt_from.hex[0])
			admit_confirmation(c);
		outbound_receipt(c, e);
		break;
	case SESSION_EV_PONG:
		on_pong(c, (double)e->rtt_ms);
		break;
	case SESSION_EV_RATE_LIMITED:
		log_info("peer-asks-to-slow-down peer=%s", c->peer ? c->peer->id.hex : "-");
		/* Of im2 messages alone are paced; the rest waits for its own timers. */
		if (c->peer && (!e->tag || e->tag == IM2_ITEM_MSG || e->tag == IM2_ITEM_SMSG))
			sched_slow_down(c->peer);
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
	case SESSION_EV_RENAMED:
		admit_renamed(c, e->word);
		break;
	case SESSION_EV_SETTLED:
		marks_settled(c, e);
		break;
	case SESSION_EV_SEEN:
		marks_seen(c, e);
		break;
	case SESSION_EV_ITEM:
		parts_item(c, e);
		break;
	case SESSION_EV_CONTROL:
		parts_control(c, e);
		break;
	case SESSION_EV_TRANSIT:
		mesh09_transit(c, e);
		break;
	case SESSION_EV_DROPPED:
		on_dropped(c, e);
		break;
	case SESSION_EV_OVER:
		on_over(c, e);
		break;
	}
}

void conn_session_due(void *ctx)
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

	/* Looking for an event may make a unit where there was none: until neither comes. */
	while (more && !c->closing) {
		more = false;
		while (!c->closing && session_next_unit(c->session, &u)) {
			enum err err = tp_send(c->tp, c->id, u.bytes, u.text);

			more = true;
			if (err != ERR_OK)
				conn_close(c, err == ERR_FULL ? "peer-does-not-read" : "link-lost");
		}
		if (c->closing)
			return;
		if (session_next_event(c->session, &e)) {
			more = true;
			on_event(c, &e);
		}
	}
	if (c->closing)
		return;
	if (c->im2 && c->online && c->peer)
		sched_pumped(c->peer);
	if (c->closing)
		return;
	uint64_t at = session_deadline_ms(c->session);

	if (at == UINT64_MAX)
		timer_stop(n->env, &c->timer);
	else if (!timer_armed(&c->timer) || c->timer.at_ms != at)
		timer_at(n->env, &c->timer, at);
}

void conn_pump_later(struct conn *c)
{
	if (c->closing || c->pump_due)
		return;
	c->pump_due = true;
	list_add_tail(&c->node->pump, &c->pump);
	node_want_turn(c->node);
}

/* --- receipts ------------------------------------------------------------------------------------ */
void conn_receipt(struct conn *c, const struct pending_receipt *r)
{
	if (c->closing || !c->online)
		return;
	if (c->receipts_n == c->receipts_cap) {
		size_t cap = c->receipts_cap ? c->receipts_cap * 2 : 8;
		struct pending_receipt *more = realloc(c->receipts, cap * sizeof *more);

		if (!more)
			return; /* the sender asks again */
		c->receipts = more;
		c->receipts_cap = cap;
	}
	c->receipts[c->receipts_n++] = *r;
	if (!c->is_dirty) {
		c->is_dirty = true;
		list_add_tail(&c->node->dirty, &c->dirty);
	}
	node_want_turn(c->node);
}

/* Which receipts have left is one figure per author: rows above it are reported again after a restart. */
static void receipts_left(struct conn *c)
{
	struct node *n = c->node;
	struct peer *p = c->peer;

	if (!c->im2 || !p || p->due_after >= 0 || !p->receipts_upto)
		return;
	inbox_receipts_left(n->p.store, &p->id, p->receipts_upto);
	node_store_soft(n);
	p->receipts_upto = 0;
}

void conn_flush_receipts(struct conn *c)
{
	struct node *n = c->node;
	struct receipt batch[256];
	size_t done = 0;

	while (done < c->receipts_n && !c->closing) {
		size_t k = 0, said = 0;

		for (; k < 256 && done + k < c->receipts_n; k++) {
			const struct pending_receipt *r = &c->receipts[done + k];

			if (!r->silent)
				batch[said++] = (struct receipt){ .kind = r->kind, .id = bytes_str(r->id),
								  .reason = bytes_str(r->reason), .code = r->code };
		}
		if (said && session_send_receipts(c->session, batch, said) != ERR_OK) {
			c->more_reads = false;
			break; /* the session ends: the sender asks again */
		}
		for (size_t i = 0; i < k; i++) {
			int64_t seq = c->receipts[done + i].inbox_seq;

			if (c->peer && c->receipts[done + i].kept_seq > c->peer->receipts_upto)
				c->peer->receipts_upto = c->receipts[done + i].kept_seq;
			enum err e = seq ? inbox_mark_reported(n->p.store, seq) : ERR_NOTFOUND;

			if (e == ERR_OK)
				node_store_soft(n);
			if (e == ERR_STORE) {
				node_store_failed(n);
				c->more_reads = false;
			}
		}
		n->n.receipts_sent += said;
		done += k;
	}
	c->receipts_n = 0;
	if (c->receipts_cap > RECEIPTS_KEEP) {
		free(c->receipts);
		c->receipts = NULL;
		c->receipts_cap = 0;
	}
	if (!c->closing) {
		receipts_left(c);
		if (c->im2)
			conn_pump_later(c);
		else
			conn_pump(c);
	}
	if (!c->closing && c->more_reads)
		inbound_report_reads(c);
	if (!c->closing && c->im2 && c->peer && c->peer->due_after >= 0)
		marks_report_due(c);
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
