/*
 * outbound.c -- the straight line out.
 *
 *   node_submit():       policy -> limits -> outbox_put  ... commit ...  outbound_op_done(): ours now
 *   outbound_attempt():  body -> session_send (sign, seal) -> link
 *   outbound_receipt():  the far side has it, has read it, holds it or refuses it
 */
#include "daemon/node_internal.h"
#include "daemon/parts.h"

#include <stdlib.h>

#include "base/text.h"
#include "daemon/courier.h"
#include "daemon/mesh09.h"

#define OLD_PEER_REASON "peer-never-confirms"
#define VOLATILE_QUEUE_MAX (1u << 20)

static bool id_fine(struct bytes id)
{
	for (size_t i = 0; i < id.n; i++)
		if (id.p[i] <= ' ' || id.p[i] > '~')
			return false;
	return id.n >= 1 && id.n <= MSG_ID_MAX;
}

/* The kind of a type word; and CONV is a message inside a conversation, a fresh one if none is named. */
static enum err set_kind(struct node *n, struct bytes type, struct message_ext *x, struct fault *f)
{
	if (message_kind_of(type, &x->kind) != ERR_OK)
		return fault_set(f, ERR_USAGE, EXIT_USAGE,
				 "the type must be MSG, REQ, RESP, CONV, NOTICE, EVENT, ERROR or END");
	if (bytes_eq(type, BYTES_LIT("CONV")) && !x->has_conv) {
		x->has_conv = true;
		env_random(n->env, x->conv, sizeof x->conv);
	}
	return ERR_OK;
}

/* To whom it goes: who was written to by an old id has another one now (im2.md 13.4). */
static struct submit addressed(const struct node *n, const struct submit *s)
{
	const struct pin *now = pins_current(n->p.pins, &s->to);
	struct submit out = *s;

	if (now)
		out.to = now->id;
	return out;
}

static enum err check_peer(struct node *n, const struct submit *s, struct fault *f)
{
	const struct pin *pin = pins_get(n->p.pins, &s->to);

	if (!pin) {
		fault_set(f, ERR_NOTFOUND, EXIT_PEER_UNKNOWN, "no peer has the id %s", s->to.hex);
		fault_next(f, "ironmesh peers list");
		return ERR_NOTFOUND;
	}
	if (pin->state == PIN_TRUSTED)
		return policy_may_meet(n->c.policy, n->p.pins, &s->to, f);
	fault_set(f, ERR_UNTRUSTED, EXIT_PEER_UNTRUSTED, "%s is %s", peer_name(n, &s->to),
		  pin_state_word(pin->state));
	if (pin->state == PIN_PENDING) {
		fault_means(f, "nothing is sent to a peer that nobody has approved; compare its fingerprint first");
		fault_next(f, "ironmesh peers approve %s", pin->id.hex);
	} else if (pin->state == PIN_BLOCKED) {
		fault_means(f, "nothing is sent to a blocked peer");
		fault_next(f, "ironmesh peers approve %s", pin->id.hex);
	} else {
		fault_means(f, "a revoked identity is refused for ever; its owner needs a new one");
		fault_next(f, "ironmesh peers list");
	}
	return ERR_UNTRUSTED;
}

/* A peer that is away may speak im2 when it comes: what does not fit then ends with that reason. */
static bool on_old_wire(struct node *n, const struct node_id *to)
{
	struct peer *p = peer_find(n, to);

	return n->c.policy->im2 == IM2_OFF || (p && p->conn && !p->conn->im2);
}

static enum err check_size(struct node *n, const struct submit *s, struct fault *f)
{
	bool old = on_old_wire(n, &s->to);
	size_t max = old ? MSG_BODY_09_MAX : MSG_BODY_MAX;

	if (s->body.n <= max)
		return ERR_OK;
	fault_set(f, ERR_LIMIT, EXIT_USAGE, "the body has %zu bytes; one message carries at most %zu", s->body.n, max);
	fault_means(f, old ? "the 0.9 wire puts a message into one frame of 1 MiB; larger content goes in parts" :
			     "larger content goes in parts, each a message of its own");
	fault_next(f, old ? "split -b 700K FILE part-" : "split -b 1M FILE part-");
	return ERR_LIMIT;
}

/* 0 without a plausible clock: nobody judges by what we would write, and time is then counted by how long we run
 * (im2.md 9.6). */
static uint64_t clock_ms(struct node *n)
{
	uint64_t wall = env_wall(n->env);

	return wall > CLOCK_PLAUSIBLE_MS ? wall : 0;
}

static bool time_over(struct node *n, uint64_t expires_ms)
{
	return expires_ms && outbox_expiry_wall(n->p.store, expires_ms) <= env_wall(n->env);
}

static uint32_t seconds(uint64_t life_ms)
{
	uint64_t s = (life_ms + 999) / 1000;

	return s > MSG_TTL_MAX_S ? MSG_TTL_MAX_S : (uint32_t)s;
}

enum err node_submit(struct node *n, const struct submit *given, submit_done done, void *ctx,
		     char id_out[static MSG_ID_MAX + 1], struct fault *f)
{
	const struct submit to_whom = addressed(n, given), *s = &to_whom;
	struct bytes type = s->type.n ? s->type : BYTES_LIT("MSG");
	uint64_t wall = clock_ms(n);
	char id[MSG_ID_MAX + 1] = "";
	uint8_t wire_id[MSG_WIRE_ID], meta_room[MSG_META_MAX];
	struct message_ext x = s->ext;
	struct buf meta;
	struct peer *p;
	struct op *op;
	int64_t seq;
	enum err e = check_peer(n, s, f);

	if (e == ERR_OK)
		e = set_kind(n, type, &x, f);
	if (e == ERR_OK)
		e = check_size(n, s, f);
	if (e != ERR_OK)
		return e;
	if (s->id.n && !id_fine(s->id))
		return fault_set(f, ERR_USAGE, EXIT_USAGE,
				 "a message id has 1 to %d printable characters without spaces", MSG_ID_MAX);
	/* It follows from the times of the row, if there was a clock to take them from. */
	x.ttl_s = wall ? 0 : seconds(s->ttl_ms);
	buf_init(&meta, MSG_META_MAX);
	message_meta_write(&x, &meta);
	e = meta.err;
	if (e == ERR_OK && meta.n)
		memcpy(meta_room, meta.p, meta.n);

	struct outbox_new row = {
		.id = s->id,
		.meta = bytes_of(meta_room, meta.n),
		.no_receipt = (x.flags & MSG_NO_RECEIPT) != 0,
		.to = s->to,
		.type = type,
		.priority = (uint8_t)s->priority,
		.created_ms = wall,
		.expires_ms = !s->ttl_ms ? 0 :
			      wall ? wall + s->ttl_ms : OUTBOX_RUNNING | (store_running_ms(n->p.store) + s->ttl_ms),
		.body = s->body,
	};

	buf_fini(&meta);
	if (e == ERR_OK)
		e = outbox_put(n->p.store, &row, &seq, wire_id);
	if (s->id.n)
		snprintf(id, sizeof id, "%.*s", (int)s->id.n, s->id.p);
	else if (e == ERR_OK)
		hex_encode(BYTES_ARR(wire_id), id);
	if (e == ERR_EXISTS) {
		fault_set(f, e, EXIT_GENERIC, "a message with the id %s was accepted before", id);
		fault_means(f, "it was not sent a second time");
		fault_next(f, "ironmesh outbox show %s", id);
		return e;
	}
	if (e == ERR_FULL) {
		fault_set(f, e, EXIT_RETRY, "the outbox is full: too much waits for %s or in all",
			  peer_name(n, &s->to));
		fault_means(f, "the message was not accepted");
		fault_next(f, "ironmesh outbox list --state queued");
		return e;
	}
	if (e != ERR_OK) {
		node_store_failed(n);
		fault_set(f, e, EXIT_RETRY, "the message could not be written to disk");
		fault_means(f, "it was not accepted; is the disk full?");
		fault_next(f, "df -h");
		return e;
	}
	op = node_op(n);
	op->kind = OP_SUBMIT;
	op->done = done;
	op->ctx = ctx;
	op->peer = s->to;
	op->seq = seq;
	op->size = s->body.n;
	op->priority = (uint8_t)s->priority;
	memcpy(op->id, id, sizeof id);
	p = peer_find(n, &s->to);
	if (p && p->q)
		op->item = sched_prepare(n, p, op, &row, id, wire_id);
	node_store_hard(n);
	if (row.expires_ms && (!timer_armed(&n->expiry_timer) ||
			       n->expiry_timer.at_ms > env_now(n->env) + s->ttl_ms))
		timer_in(n->env, &n->expiry_timer, s->ttl_ms < 60000 ? s->ttl_ms + 1 : 60000);
	memcpy(id_out, id, sizeof id);
	return ERR_OK;
}

static enum err volatile_closed(struct node *n, const struct node_id *to, bool old_wire, struct fault *f)
{
	fault_set(f, ERR_CLOSED, EXIT_RETRY, old_wire ? "%s speaks the 0.9 wire, which has no volatile messages" :
						       "%s is not connected", peer_name(n, to));
	fault_means(f, "a volatile message travels only in a live im2 session and is kept nowhere; it was not sent");
	fault_next(f, old_wire ? "ironmesh send %s ... (without --volatile)" : "ironmesh peers show %s", to->hex);
	return ERR_CLOSED;
}

enum err node_send_volatile(struct node *n, const struct submit *given, char id_out[static MSG_ID_MAX + 1],
			    struct fault *f)
{
	const struct submit to_whom = addressed(n, given), *s = &to_whom;
	struct peer *p = peer_find(n, &s->to);
	struct conn *c = p ? p->conn : NULL;
	struct message m = {
		.type = s->type.n ? s->type : BYTES_LIT("MSG"),
		.source = *keyring_id(n->p.keyring),
		.destination = s->to,
		.created_ms = clock_ms(n),
		.priority = s->priority,
		.body = s->body,
		.has_wire_id = true,
		.ext = s->ext,
	};
	enum err e = check_peer(n, s, f);
	struct wr w = wr_init(m.wire_id, sizeof m.wire_id);

	if (e == ERR_OK)
		e = set_kind(n, m.type, &m.ext, f);
	if (e != ERR_OK)
		return e;
	if (!c || c->closing || !c->im2)
		return volatile_closed(n, &s->to, c && !c->closing, f);
	e = check_size(n, s, f);
	if (e != ERR_OK)
		return e;
	if (tp_queued(c->tp, c->id) + im2_link_waiting(c->session) > VOLATILE_QUEUE_MAX || !session_can_send(c->session)) {
		fault_set(f, ERR_AGAIN, EXIT_RETRY, "%s does not take messages as fast as they come", peer_name(n, &s->to));
		fault_means(f, "a volatile message waits nowhere; this one was not sent");
		fault_next(f, "ironmesh peers show %s", s->to.hex);
		return ERR_AGAIN;
	}
	m.ext.flags |= MSG_VOLATILE | MSG_NO_RECEIPT;
	m.ext.flags &= (uint8_t)~MSG_WANTS_READ;
	m.ext.ttl_s = seconds(s->ttl_ms);
	wr_bytes(&w, BYTES_ARR(n->volatile_era));
	wr_u64(&w, ++n->volatile_seq);
	e = session_send(c->session, &m);
	if (e == ERR_LIMIT) {
		fault_set(f, e, EXIT_USAGE, "the body has %zu bytes; a volatile message must fit one frame", s->body.n);
		fault_means(f, "the far side takes frames up to a size that it stated; larger ones travel only as kept messages");
		fault_next(f, "ironmesh send %s ... (without --volatile)", s->to.hex);
		return e;
	}
	if (e != ERR_OK)
		return fault_set(f, ERR_AGAIN, EXIT_RETRY, "the session cannot send now");
	hex_encode(BYTES_ARR(m.wire_id), id_out);
	c->sent++;
	n->n.volatile_sent++;
	conn_pump_later(c);
	return ERR_OK;
}

void node_submit_forget(struct node *n, void *ctx)
{
	for (size_t i = 0; i < n->ops_n; i++)
		if (n->ops[i].kind == OP_SUBMIT && n->ops[i].ctx == ctx)
			n->ops[i].done = NULL;
}

void outbound_op_done(struct node *n, struct op *op, enum err e)
{
	struct node_event ev = { .type = "message.queued", .peer = op->peer, .msg_id = op->id, .size = op->size };
	struct peer *p;

	if (e != ERR_OK) {
		if (op->done)
			op->done(op->ctx, op->id, e);
		return;
	}
	n->n.messages_submitted++;
	if (op->done)
		op->done(op->ctx, op->id, ERR_OK);
	if (!op->ended)
		node_event(n, &ev);
	p = peer_find(n, &op->peer);
	if (p && p->q)
		sched_wake(p);
	else
		parts_wake(n, &op->peer);
}

/* --- the attempt ------------------------------------------------------------------------------------ */
void outbound_ended(struct node *n, const struct node_id *peer, const char *id, enum outbox_state s,
		    const char *reason, uint64_t in_ms)
{
	static const char *const types[OUTBOX_STATES] = {
		[OUTBOX_QUEUED] = "message.queued",	  [OUTBOX_SENT] = "message.sent",
		[OUTBOX_DELIVERED] = "message.delivered", [OUTBOX_READ] = "message.read",
		[OUTBOX_FAILED] = "message.failed",	  [OUTBOX_EXPIRED] = "message.expired",
		[OUTBOX_REJECTED] = "message.rejected",	  [OUTBOX_CANCELLED] = "message.cancelled",
		[OUTBOX_UNKNOWN] = "message.unknown",
	};
	struct peer *p = peer_find(n, peer);
	struct node_event e = { .type = types[s], .peer = *peer, .msg_id = id, .reason = reason, .in_ms = in_ms };
	struct courier_view way;
	struct mesh09_view old;

	for (size_t i = 0; (s == OUTBOX_EXPIRED || s == OUTBOX_CANCELLED) && i < n->ops_n; i++)
		if (n->ops[i].kind == OP_SUBMIT && strcmp(n->ops[i].id, id) == 0)
			n->ops[i].ended = true;
	if (p && p->conn) {
		e.via = p->conn->tp->kind;
	} else if (courier_view(n, peer, id, &way)) {
		e.via = "relay";
		e.in_ms = in_ms ? in_ms : way.age_ms;
	} else if (mesh09_view(n, peer, id, &old)) {
		e.via = "relay";
	}
	courier_ended(n, peer, id, s == OUTBOX_DELIVERED || s == OUTBOX_READ);
	mesh09_ended(n, peer, id, s == OUTBOX_DELIVERED || s == OUTBOX_READ);
	log_debug("message-%s msg=%s peer=%s reason=%s", outbox_state_word(s), id, peer->hex,
		  reason ? reason : "-");
	node_event(n, &e);
}

static void end_row(struct node *n, struct item *it, enum outbox_state s, const char *reason)
{
	enum err e = outbox_move(n->p.store, it->seq, s, reason, env_wall(n->env));

	if (e == ERR_STORE)
		node_store_failed(n);
	if (e != ERR_OK)
		return; /* it has ended already, or the store brings it back */
	node_store_soft(n);
	outbound_ended(n, &it->peer->id, it->id, s, reason, 0);
}

void outbound_sent(struct node *n, const struct item *it)
{
	struct node_event ev = { .type = "message.sent", .peer = it->peer->id, .msg_id = it->id,
				 .via = it->peer->conn->tp->kind };

	node_event(n, &ev);
}

void outbound_left(struct node *n, struct item *it)
{
	end_row(n, it, OUTBOX_SENT, "no receipt was asked for");
	it->peer->unsettled++;
}

uint32_t outbound_life_s(uint64_t created_ms, uint64_t expires_ms, uint32_t said_s)
{
	uint32_t s = created_ms && expires_ms > created_ms ? seconds(expires_ms - created_ms) : said_s;

	return s ? s : MSG_TTL_MAX_S;
}

enum err outbound_attempt(struct node *n, struct peer *p, struct item *it)
{
	struct conn *c = p->conn;
	char wire[2 * MSG_WIRE_ID + 1];
	struct message m = {
		.type = bytes_str(it->type),
		.source = *keyring_id(n->p.keyring),
		.destination = p->id,
		/* 0.9: the window of the far side judges this stamp, it is the time of the attempt. im2: it is
		 * part of what the digest covers and never changes. */
		.created_ms = c->im2 ? it->created_ms : env_wall(n->env),
		.priority = it->priority,
		.ttl = 5,
		.has_wire_id = true,
	};
	bool confirms = session_peer(c->session)->confirms;
	enum err e;

	/* One name in both generations, also where its user chose another: what came over 0.9 and is sent again over
	 * im2 is recognised. */
	if (it->two_names)
		hex_encode(BYTES_ARR(it->wire_id), wire);
	m.id = bytes_str(it->two_names ? wire : it->id);
	memcpy(m.wire_id, it->wire_id, sizeof m.wire_id);
	if (it->meta && message_meta_read(bytes_of(it->meta, it->meta_len), &m.ext) != ERR_OK) {
		end_row(n, it, OUTBOX_FAILED, "its fields do not open");
		return ERR_CORRUPT;
	}
	m.ext.ttl_s = outbound_life_s(it->created_ms, it->expires_ms, m.ext.ttl_s);
	if (time_over(n, it->expires_ms)) {
		end_row(n, it, OUTBOX_EXPIRED, "expired");
		n->n.messages_expired++;
		return ERR_EXPIRED;
	}
	if (it->body) {
		m.body = bytes_of(it->body, it->body_len);
	} else {
		buf_reset(&n->scratch);
		e = outbox_body(n->p.store, it->seq, &n->scratch);
		if (e == ERR_STORE || e == ERR_NOMEM)
			return ERR_AGAIN;
		if (e != ERR_OK) {
			log_error("outbox-body-lost msg=%s err=%s", it->id, err_word(e));
			end_row(n, it, OUTBOX_FAILED, e == ERR_NOTFOUND ? "body is gone" : "body does not open");
			return e;
		}
		m.body = buf_bytes(&n->scratch);
	}
	e = session_send(c->session, &m);
	buf_trim(&n->scratch, 65536);
	if (e == ERR_LIMIT) {
		end_row(n, it, OUTBOX_FAILED, "too large for this peer's wire");
		return e;
	}
	if (e != ERR_OK)
		return ERR_AGAIN;
	c->sent++;
	n->n.messages_sent++;
	n->n.messages_resent += it->tries > 0;
	if (!confirms) {
		/* This is the honest end: nothing will ever say that it arrived (wire 4.3). */
		end_row(n, it, OUTBOX_SENT, OLD_PEER_REASON);
	} else if (!c->im2 && (m.ext.flags & MSG_NO_RECEIPT)) {
		outbound_left(n, it);
		e = ERR_EXPIRED;
	} else {
		it->unasked = (m.ext.flags & MSG_NO_RECEIPT) != 0;
		it->in_pieces = c->im2 && im2_link_carry(c->session, it->wire_id) == IM2_CARRY_OUT;
		if (!it->unasked && !it->in_pieces)
			outbound_sent(n, it);
	}
	/* The queue of units is drained to the link; im2 fills a frame first. */
	if (!c->im2)
		conn_pump(c);
	return e;
}

/* --- what comes back -------------------------------------------------------------------------------- */
static void reason_text(struct bytes in, char out[static OUTBOX_REASON_MAX + 1])
{
	text_safe(in, out, OUTBOX_REASON_MAX + 1);
}

/* Its author knows a message by the id that he chose; the receipt names it as the wire does. */
static void author_word(struct node *n, const struct item *it, struct bytes named, char id[static MSG_ID_MAX + 1])
{
	if (it)
		snprintf(id, MSG_ID_MAX + 1, "%s", it->id);
	else if (!n->observer || outbox_word(n->p.store, named, id) != ERR_OK)
		snprintf(id, MSG_ID_MAX + 1, "%.*s", (int)named.n, named.p);
}

/* A relay may have aged a copy: what has time left by our own clock is sent again (10.2). */
static bool has_time(struct node *n, const struct item *it, struct bytes named)
{
	struct outbox_row row;
	uint64_t end;

	if (it)
		end = it->expires_ms;
	else if (outbox_get(n->p.store, named, &row) == ERR_OK && row.state == OUTBOX_QUEUED)
		end = row.expires_ms;
	else
		return false;
	return !time_over(n, end);
}

/* We run an older copy of our database (im2.md 9.5): the recipient may speak of another message that a life which we
 * do not remember gave this name to. Only what this life sent counts. */
static bool of_another_life(struct node *n, const struct peer *p, const struct item *it, struct bytes id)
{
	struct courier_view way;
	struct outbox_row row;

	return p && p->renewed && !(it && (it->state == ITEM_IN_FLIGHT || it->state == ITEM_HELD)) &&
	       outbox_get(n->p.store, id, &row) == ERR_OK &&
	       !(courier_view(n, &row.to, row.id, &way) && way.sent) && (row.state == OUTBOX_QUEUED || row.state == OUTBOX_REJECTED);
}

/* Which try the receipt of `id` answers, as far as is known. */
static struct outbox_try try_of(struct node *n, const struct node_id *from, const struct item *it, struct bytes id)
{
	struct courier_view way;
	struct mesh09_view old;
	char text[MSG_ID_MAX + 1];

	if (it)
		return item_try(it);
	snprintf(text, sizeof text, "%.*s", (int)id.n, id.p);
	if (courier_view(n, from, text, &way))
		return way.last;
	return mesh09_view(n, from, text, &old) ? old.last : (struct outbox_try){ 0 };
}

void outbound_receipt_of(struct node *n, const struct node_id *from, const struct session_event *ev)
{
	static const enum outbox_state to[] = {
		[RECEIPT_DELIVERED] = OUTBOX_DELIVERED,
		[RECEIPT_READ] = OUTBOX_READ,
		[RECEIPT_REJECTED] = OUTBOX_REJECTED,
		[RECEIPT_UNKNOWN] = OUTBOX_UNKNOWN,
		[RECEIPT_EXPIRED] = OUTBOX_EXPIRED,
	};
	struct peer *p = peer_find(n, from);
	struct item *it;
	char reason[OUTBOX_REASON_MAX + 1] = "", id[MSG_ID_MAX + 1];
	uint64_t in_ms = 0;
	int64_t seq;
	enum err e;

	if (ev->receipt_id.n > MSG_ID_MAX)
		return;
	n->n.receipts_received++;
	it = item_find(n, from, ev->receipt_id);
	if (of_another_life(n, p, it, ev->receipt_id)) {
		n->n.receipts_unknown++;
		return;
	}
	if (ev->receipt == RECEIPT_HELD) {
		/* Said twice, it tells nothing and is not free. */
		if (it && it->state != ITEM_HELD) {
			item_held(it);
			sched_wake(p);
		} else {
			author_word(n, it, ev->receipt_id, id);
			n->n.receipts_unknown += !courier_held(n, from, id) && !mesh09_held(n, from, id);
		}
		return;
	}
	if (ev->receipt == RECEIPT_RETRY ||
	    (ev->receipt == RECEIPT_EXPIRED && has_time(n, it, ev->receipt_id))) {
		/* It counts as none; what is settled may make room over there. */
		if (it)
			item_later(it);
		else
			n->n.receipts_unknown++;
		if (p && p->conn)
			marks_settle_soon(p);
		return;
	}
	if (ev->receipt == RECEIPT_UNKNOWN)
		snprintf(reason, sizeof reason, "settled before: it may have been delivered");
	if (ev->receipt == RECEIPT_REJECTED || ev->receipt == RECEIPT_EXPIRED)
		reason_text(ev->receipt_reason, reason);
	/* A copy is in flight whose row the store does not hold as sent: only what we sent counts. */
	const struct outbox_try t = try_of(n, from, it, ev->receipt_id);

	e = outbox_receipt(n->p.store, from, ev->receipt_id, to[ev->receipt], reason[0] ? reason : NULL,
			   env_wall(n->env), &t, &seq);
	if (e == ERR_STORE) {
		/* The row stays queued; it comes back, is sent again and confirmed again. */
		item_free(it);
		node_store_failed(n);
		return;
	}
	author_word(n, it, ev->receipt_id, id);
	if (it && it->accepted_ms)
		in_ms = env_now(n->env) - it->accepted_ms;
	if (it) {
		sched_confirmed(p);
		item_free(it);
		sched_wake(p);
	}
	if (e != ERR_OK) {
		n->n.receipts_unknown++;
		return;
	}
	node_store_soft(n);
	if (ev->receipt == RECEIPT_DELIVERED)
		n->n.messages_delivered++;
	outbound_ended(n, from, id, to[ev->receipt], reason[0] ? reason : NULL, in_ms);
}

void outbound_receipt(struct conn *c, const struct session_event *ev)
{
	if (ev->receipt_from.hex[0]) {
		mesh09_confirmed(c->node, &ev->receipt_from);
		outbound_receipt_of(c->node, &ev->receipt_from, ev);
	} else if (c->peer)
		outbound_receipt_of(c->node, &c->peer->id, ev);
}
