/*
 * peer.c -- an identity at run time, and what the operator may do to it.
 */
#include "daemon/node_internal.h"
#include "daemon/parts.h"
#include "daemon/records.h"

#include <stdlib.h>

#include "base/text.h"

struct peer *peer_find(struct node *n, const struct node_id *id)
{
	void *v = map_get(n->peers, bytes_of(id->hex, NODE_ID_LEN));
	struct peer *p = NULL;

	if (v)
		memcpy(&p, v, sizeof p);
	return p;
}

struct peer *peer_now(struct node *n, const struct node_id *id)
{
	const struct pin *pin = pins_current(n->p.pins, id);

	return peer_find(n, pin ? &pin->id : id);
}

struct node *peer_node(const struct peer *p)
{
	return p->conn ? p->conn->node : NULL;
}

static void stall_due(void *ctx)
{
	struct peer *p = ctx;

	if (p->conn)
		sched_wake(p);
}

static bool drop_idle(void *ctx, struct bytes key, void *value)
{
	struct node *n = ctx;
	struct peer *p;

	memcpy(&p, value, sizeof p);
	if (p->conn)
		return true;
	peer_free(n, p);
	return false;
}

struct peer *peer_get(struct node *n, const struct node_id *id)
{
	struct peer *p = peer_find(n, id);
	const struct node_limits *l = &n->c.limits;
	uint64_t now = env_now(n->env);
	bool created;
	void *slot;

	if (p)
		return p;
	if (map_put(n->peers, bytes_of(id->hex, NODE_ID_LEN), 0, &slot, &created) != ERR_OK) {
		/* Peers that are offline hold nothing that cannot be made again. */
		map_each(n->peers, drop_idle, n);
		if (map_put(n->peers, bytes_of(id->hex, NODE_ID_LEN), 0, &slot, &created) != ERR_OK)
			return NULL;
	}
	p = calloc(1, sizeof *p);
	if (!p) {
		map_del(n->peers, bytes_of(id->hex, NODE_ID_LEN));
		return NULL;
	}
	memcpy(slot, &p, sizeof p);
	p->id = *id;
	p->rtt_ms = -1;
	p->window = l->window;
	list_init(&p->active);
	timer_init(&p->stall, stall_due, p);
	bucket_init(&p->messages, l->peer_messages_per_s, l->peer_burst, now);
	bucket_init(&p->bytes, l->peer_bytes_per_s, l->peer_bytes_per_s, now);
	return p;
}

void peer_lineage(struct node *n, struct peer *p)
{
	p->was_n = (uint8_t)pins_former(n->p.pins, &p->id, p->was, LINEAGE_MAX);
}

void peer_free(struct node *n, struct peer *p)
{
	timer_stop(n->env, &p->stall);
	list_del(&p->active);
	free(p->q);
	free(p);
}

const char *peer_name(struct node *n, const struct node_id *id)
{
	const struct pin *pin = pins_get(n->p.pins, id);

	if (pin && pin->alias[0])
		return pin->alias;
	if (pin && pin->name[0])
		return pin->name;
	return id->hex;
}

void peer_online(struct peer *p, struct conn *c)
{
	struct node *n = c->node;
	struct node_event e = { .type = "peer.online", .peer = p->id, .name = peer_name(n, &p->id),
				.via = c->tp->kind };

	p->conn = c;
	c->peer = p;
	peer_lineage(n, p);
	sched_online(p);
	node_event(n, &e);
}

static struct ping_wait *due_ping(struct node *n, const struct node_id *id)
{
	for (struct list *l = n->pings.next; l != &n->pings; l = l->next) {
		struct ping_wait *w = list_entry(l, struct ping_wait, link);

		if (w->due && node_id_eq(&w->peer, id))
			return w;
	}
	return NULL;
}

void pings_done(struct node *n, const struct node_id *id, enum err e, double rtt_ms)
{
	const struct node_id of = *id; /* its peer may go */
	struct ping_wait *w;

	for (struct list *l = n->pings.next; l != &n->pings; l = l->next) {
		w = list_entry(l, struct ping_wait, link);
		w->due = w->due || node_id_eq(&w->peer, &of);
	}
	while ((w = due_ping(n, &of))) {
		list_del(&w->link);
		timer_stop(n->env, &w->timer);
		w->done(w->ctx, e, rtt_ms);
		free(w);
	}
}

void peer_offline(struct peer *p, const char *reason)
{
	struct node *n = p->conn->node;

	sched_offline(p);
	timer_stop(n->env, &p->stall);
	p->conn = NULL;
	p->offline_since_ms = env_now(n->env);
	pings_done(n, &p->id, ERR_CLOSED, 0);
	log_info("peer-offline peer=%s name=%s why=\"%s\"", p->id.hex, peer_name(n, &p->id), reason);
	audit_note(n->p.audit, "PEER_DISCONNECT", bytes_str(p->id.hex), "peer_id", p->id.hex, "reason", reason,
		   NULL);
	node_simple_event(n, "peer.offline", &p->id, reason);
	parts_offline(n, &p->id);
	dial_peer_offline(n, &p->id);
}

void node_peer_view(struct node *n, const struct node_id *id, struct peer_view *out)
{
	struct peer *p = peer_find(n, id);
	struct peer_view v = { .generation = "", .rtt_ms = -1 };

	if (p) {
		v.rtt_ms = p->rtt_ms;
		if (p->conn) {
			const struct conn *c = p->conn;

			v.online = true;
			snprintf(v.transport, sizeof v.transport, "%s", c->tp->kind);
			snprintf(v.address, sizeof v.address, "%s", c->address);
			v.generation = session_peer(c->session)->generation;
			v.since_ms = c->online_wall_ms;
			v.sent = c->sent;
			v.received = c->received;
			v.dropped = c->dropped;
			v.rekeys = c->rekeys;
			v.confirms = session_peer(c->session)->confirms;
			v.waiting = p->q->ready_count;
			v.in_flight = p->q->flight_count;
		}
	}
	*out = v;
}

/* --- ping ------------------------------------------------------------------------------------------ */
static void ping_timeout(void *ctx)
{
	struct ping_wait *w = ctx;

	list_del(&w->link);
	w->done(w->ctx, ERR_TIMEOUT, 0);
	free(w);
}

enum err node_ping(struct node *n, const struct node_id *id, uint64_t timeout_ms, ping_done done, void *ctx)
{
	struct peer *p = peer_find(n, id);
	struct ping_wait *w;
	enum err e;

	if (!p || !p->conn)
		return ERR_CLOSED;
	w = calloc(1, sizeof *w);
	if (!w)
		return ERR_NOMEM;
	w->node = n;
	w->peer = *id;
	w->done = done;
	w->ctx = ctx;
	timer_init(&w->timer, ping_timeout, w);
	e = session_ping(p->conn->session);
	if (e != ERR_OK) {
		free(w);
		return e;
	}
	list_add_tail(&n->pings, &w->link);
	timer_in(n->env, &w->timer, timeout_ms);
	conn_pump(p->conn);
	return ERR_OK;
}

void node_ping_forget(struct node *n, void *ctx)
{
	struct list *l, *next;

	for (l = n->pings.next; l != &n->pings; l = next) {
		struct ping_wait *w = list_entry(l, struct ping_wait, link);

		next = l->next;
		if (w->ctx != ctx)
			continue;
		list_del(&w->link);
		timer_stop(n->env, &w->timer);
		free(w);
	}
}

void node_announce_rotation(struct node *n, const uint8_t new_ed[static ED_BYTES])
{
	records_rotated(n);
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);
		struct session_unit u;

		if (c->closing || session_key_rotate(c->session, new_ed) != ERR_OK)
			continue;
		while (session_next_unit(c->session, &u))
			if (tp_send(c->tp, c->id, u.bytes, u.text) != ERR_OK)
				break;
	}
}

/* --- what the operator decides ----------------------------------------------------------------------- */
static enum err set_state(struct node *n, const struct node_id *id, enum pin_state s, const char *reason,
			  const char *audit_word, struct fault *f)
{
	struct pins_copy *before;
	enum err e = pins_copy(n->p.pins, &before);

	if (e == ERR_OK)
		e = pins_settle(n->p.pins, before, pins_set_state(n->p.pins, id, s, reason, f), f);
	if (e != ERR_OK)
		return e;
	audit_note(n->p.audit, audit_word, (struct bytes){ 0 }, "peer_id", id->hex, "trust_state",
		   pin_state_word(s), "reason", reason ? reason : "", NULL);
	log_info("trust-changed peer=%s state=%s", id->hex, pin_state_word(s));
	return ERR_OK;
}

enum err node_peer_approve(struct node *n, const struct node_id *id, struct fault *f)
{
	enum err e = set_state(n, id, PIN_TRUSTED, NULL, "PEER_PROMOTED", f);
	struct peer *p;

	if (e != ERR_OK)
		return e;
	ladder_clear(n->by_identity, bytes_str(id->hex));
	native_trust_changed(n, id);
	node_simple_event(n, "peer.approved", id, NULL);
	e = inbound_release(n, id, true);
	if (e == ERR_OK)
		e = node_commit(n);
	p = peer_find(n, id);
	if (p && p->conn)
		sched_wake(p);
	dial_peer_offline(n, id);
	admit_review(n);
	if (e != ERR_OK) {
		fault_set(f, e, EXIT_RETRY, "the peer is trusted now, but its held messages could not be released");
		fault_means(f, "they are released when it connects again, or when you approve it again");
	}
	return e;
}

enum err node_peer_block(struct node *n, const struct node_id *id, const char *reason, struct fault *f)
{
	enum err e = set_state(n, id, PIN_BLOCKED, reason, "PEER_BLOCKED", f);

	if (e != ERR_OK)
		return e;
	native_revoke(n, id, NULL);
	conn_close_peer(n, id, "blocked");
	node_simple_event(n, "peer.blocked", id, reason);
	return inbound_release(n, id, false);
}

enum err node_peer_revoke(struct node *n, const struct node_id *id, const char *reason, struct fault *f)
{
	enum err e = set_state(n, id, PIN_REVOKED, reason, "PEER_REVOKED_LOCAL", f);

	if (e != ERR_OK)
		return e;
	native_revoke(n, id, NULL);
	conn_close_peer(n, id, "revoked");
	node_simple_event(n, "trust.changed", id, "revoked");
	return inbound_release(n, id, false);
}

enum err node_peer_pending(struct node *n, const struct node_id *id, struct fault *f)
{
	enum err e = set_state(n, id, PIN_PENDING, NULL, "PEER_STATE_CHANGED", f);

	if (e == ERR_OK) {
		native_trust_changed(n, id);
		node_simple_event(n, "trust.changed", id, "pending");
	}
	return e;
}

enum err node_peer_forget(struct node *n, const struct node_id *id, struct fault *f)
{
	const struct pin *pin = pins_get(n->p.pins, id);
	struct pins_copy *before;
	uint8_t ed[ED_BYTES] = { 0 };
	enum err e;

	if (pin)
		memcpy(ed, pin->ed, sizeof ed);
	if (pin && pin->state == PIN_REVOKED) {
		fault_set(f, ERR_WRONG_STATE, EXIT_GENERIC, "%s is revoked", id->hex);
		fault_means(f, "a revoked identity is remembered for ever, so that it stays refused");
		return ERR_WRONG_STATE;
	}
	e = pins_copy(n->p.pins, &before);
	if (e == ERR_OK)
		e = pins_settle(n->p.pins, before, pins_forget(n->p.pins, id), f);
	if (e != ERR_OK)
		return e;
	audit_note(n->p.audit, "PEER_STATE_CHANGED", (struct bytes){ 0 }, "peer_id", id->hex, "trust_state",
		   "forgotten", NULL);
	native_revoke(n, id, ed);
	conn_close_peer(n, id, "forgotten");
	node_simple_event(n, "trust.changed", id, "forgotten");
	admit_review(n);
	return inbound_release(n, id, false);
}

enum err node_peer_repin(struct node *n, const char *subject, const struct node_id *id, struct fault *f)
{
	const struct pin_alarm *list;
	size_t count = pins_alarms(n->p.pins, &list);
	struct node_id was = { 0 };
	struct pins_copy *before;
	enum err e;

	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i].subject, subject) == 0)
			was = list[i].was;
	e = pins_copy(n->p.pins, &before);
	if (e == ERR_OK)
		e = pins_settle(n->p.pins, before, pins_repin(n->p.pins, subject, id, env_wall(n->env), f), f);
	if (e != ERR_OK)
		return e;
	audit_note(n->p.audit, "PEER_STATE_CHANGED", (struct bytes){ 0 }, "subject", subject, "peer_id", id->hex,
		   "trust_state", "repinned", "replaces", was.hex, NULL);
	if (was.hex[0] && !node_id_eq(&was, id))
		conn_close_peer(n, &was, "replaced by the operator");
	ladder_clear(n->by_identity, bytes_str(id->hex));
	node_simple_event(n, "trust.changed", id, "repinned");
	e = inbound_release(n, id, true);
	dial_peer_offline(n, id);
	admit_review(n);
	return e;
}
