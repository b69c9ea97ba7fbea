/*
 * inbound.c -- the straight line in.
 *
 *   inbound_message():  budgets -> destination -> author -> repeats -> inbox_put  ... commit ...
 *   inbound_op_done():  theirs now: receipt, event
 *
 * Nothing is confirmed before the commit. What cannot be kept is refused with a reason, or the session
 * ends, so that the sender keeps it: nothing is dropped between a promise and the disk.
 */
#include "daemon/inbound.h"

#include "daemon/courier.h"
#include "daemon/mesh09.h"
#include "daemon/node_internal.h"

#include "base/text.h"

#define UNCOMMITTED_MAX (4u << 20)
#define SAME_ID_MAX 8 /* messages by different authors, of which one may be what is answered */
#define SEALED_GRACE_S 600
#define HOPS_MAX 8 /* im2.md 9.2, rule 3 */

/* Over budget: the link is not read for a while, so the sender feels its own transport. */
void inbound_budget(struct conn *c, double messages, size_t bytes)
{
	struct node *n = c->node;
	struct peer *p = c->peer;
	uint64_t now = env_now(n->env), wait = 0, w;

	if (!bucket_take(&p->messages, messages, now)) {
		w = bucket_wait_ms(&p->messages, messages, now);
		wait = w > wait ? w : wait;
	}
	if (!bucket_take(&p->bytes, (double)bytes, now)) {
		w = bucket_wait_ms(&p->bytes, (double)bytes, now);
		wait = w > wait ? w : wait;
	}
	if (!bucket_take(&n->total, messages, now)) {
		w = bucket_wait_ms(&n->total, messages, now);
		wait = w > wait ? w : wait;
	}
	if (!wait || c->paused || c->closing)
		return;
	n->n.pauses++;
	c->paused = true;
	tp_pause(c->tp, c->id, true);
	timer_in(n->env, &c->resume, wait < 1000 ? wait : 1000);
}

/* Peers whom we trust are held back by the transport alone (im2.md 7.5): nothing is read from one of whom
 * this much waits for the commit. */
static void hold_back(struct conn *c, size_t bytes)
{
	c->uncommitted += bytes;
	if (c->uncommitted < UNCOMMITTED_MAX || c->paused || c->closing)
		return;
	c->node->n.pauses++;
	c->paused = true;
	tp_pause(c->tp, c->id, true);
}

void inbound_committed(struct node *n)
{
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		c->uncommitted = 0;
		if (!c->paused || !c->im2 || timer_armed(&c->resume) || c->closing)
			continue;
		c->paused = false;
		tp_pause(c->tp, c->id, false);
	}
}

/* A neighbour of the old wire brought it from its author. */
static bool is_far(const struct conn *c, const struct message *m)
{
	return !c->im2 && c->peer && !node_id_eq(&m->source, &c->peer->id);
}

/* To the author: in the session that it came in, or back through the relays. */
static void refuse(struct conn *c, const struct message *m, const struct inbound_sealed *sealed, const char *why, uint8_t code)
{
	struct pending_receipt r = { .kind = RECEIPT_REJECTED, .reason = why, .code = code };

	snprintf(r.id, sizeof r.id, "%.*s", (int)m->id.n, m->id.p);
	if (sealed)
		courier_receipt(c->node, &m->source, &r);
	else if (is_far(c, m))
		mesh09_receipt(c->node, &m->source, &c->peer->id, &r);
	else
		conn_receipt(c, &r);
}

/* What relays carried longer than it lives (9.6). */
static bool sealed_over(struct node *n, const struct message *m, const struct inbound_sealed *s)
{
	uint64_t ttl_s = m->ext.ttl_s ? m->ext.ttl_s : MSG_TTL_DEFAULT_S, wall = env_wall(n->env);

	if (s->age_s >= ttl_s)
		return true;
	return wall > CLOCK_PLAUSIBLE_MS && m->created_ms && wall > m->created_ms + (ttl_s + SEALED_GRACE_S) * 1000;
}

/* What is wrong here and not with the message ends nothing for its author. */
static uint8_t why_code(enum err e)
{
	return e == ERR_LIMIT ? IM2_REASON_TOO_LARGE : e == ERR_MALFORMED ? IM2_REASON_MALFORMED : IM2_REASON_FULL;
}

/* reply_to names a message that we know, and not one between us and this author (im2.md 9.2, rule 5). */
static bool answers_another(struct node *n, const struct message *m)
{
	struct inbox_row rows[SAME_ID_MAX];
	char hex[2 * MSG_WIRE_ID + 1];
	struct outbox_row mine;
	bool found = false;
	size_t got = 0;

	hex_encode(BYTES_ARR(m->ext.reply_to), hex);
	if (outbox_get(n->p.store, bytes_str(hex), &mine) == ERR_OK) {
		if (pins_same(n->p.pins, &mine.to, &m->source))
			return false;
		found = true;
	}
	if (inbox_find(n->p.store, bytes_str(hex), rows, SAME_ID_MAX, &got) != ERR_OK)
		return found;
	for (size_t i = 0; i < got; i++)
		if (pins_same(n->p.pins, &rows[i].author, &m->source))
			return false;
	return found || got > 0;
}

/* At most once by the window of its session, and kept nowhere (im2.md 9.5). */
static void inbound_volatile(struct conn *c, const struct message *m, const struct pin *pin)
{
	struct node *n = c->node;
	struct node_event ev = { .type = "message.volatile", .peer = m->source, .size = m->body.n, .message = m };

	if (!pin_admits(pin)) {
		n->n.volatile_dropped++;
		return;
	}
	n->n.volatile_received++;
	if (!n->observer)
		return;
	ev.name = peer_name(n, &m->source);
	node_event(n, &ev);
}

static void inbound_take(struct conn *c, const struct message *said, const struct inbound_sealed *sealed)
{
	const struct message *m = said; /* as it is kept */
	struct node *n = c->node;
	struct peer *p = c->peer;
	const struct pin *pin;
	struct message unlinked;
	enum inbox_state state = INBOX_NEW;
	int64_t seq = 0;
	enum err e;

	if (!p || c->closing)
		return;
	c->received++;
	if (m->destination.hex[0] && !node_id_eq(&m->destination, keyring_id(n->p.keyring))) {
		inbound_budget(c, 1, m->body.n);
		n->n.messages_not_for_us++;
		log_debug("not-for-us msg=%.*s peer=%s", (int)m->id.n, m->id.p, p->id.hex);
		return;
	}
	pin = pins_get(n->p.pins, &m->source);
	if (!sealed && (!c->im2 || !pin || pin->state != PIN_TRUSTED))
		inbound_budget(c, 1, m->body.n);
	if (!pin || pin->state == PIN_BLOCKED || pin->state == PIN_REVOKED) {
		n->n.messages_refused++;
		return;
	}
	if (!sealed && is_far(c, m) && !admit_relayed(c, &m->source)) {
		n->n.messages_refused++;
		return;
	}
	/* What others brought: a list of allowed peers holds for its author too. */
	if (!pins_same(n->p.pins, &m->source, &p->id) && !admit_relayed(c, &m->source)) {
		n->n.messages_refused++;
		return;
	}
	if (pin->ignored) {
		n->n.messages_refused++;
		if (!(m->ext.flags & MSG_VOLATILE))
			refuse(c, m, sealed, "refused", IM2_REASON_OPERATOR);
		return;
	}
	if (m->ext.hop > HOPS_MAX) {
		n->n.messages_refused++;
		if (!(m->ext.flags & MSG_VOLATILE))
			refuse(c, m, sealed, "loop limit", IM2_REASON_LOOP);
		return;
	}
	if (m->ext.has_reply_to && answers_another(n, m)) {
		log_debug("reply-unlinked msg=%.*s peer=%s", (int)m->id.n, m->id.p, p->id.hex);
		unlinked = *m;
		unlinked.ext.has_reply_to = false;
		m = &unlinked;
	}
	if (m->ext.flags & MSG_VOLATILE) {
		inbound_volatile(c, m, pin);
		return;
	}
	buf_reset(&n->scratch);
	message_meta_write(&m->ext, &n->scratch);

	struct inbox_new row = {
		.author = m->source,
		.via = p->id,
		.id = m->id,
		.type = m->type,
		.priority = (uint8_t)m->priority,
		.created_ms = m->created_ms,
		.received_ms = env_wall(n->env),
		.held = !pin_admits(pin),
		.proven = m->source_proven,
		.body = m->body,
		.has_wire = m->has_wire_id,
		.meta = buf_bytes(&n->scratch),
		.ttl_s = m->ext.ttl_s ? m->ext.ttl_s : MSG_TTL_DEFAULT_S,
		.clock_plausible = env_wall(n->env) > CLOCK_PLAUSIBLE_MS,
		.keep_s = sealed ? sealed->keep_s : 0,
		.sealed = !sealed ? INBOX_OPEN : sealed->no_fs ? INBOX_SEALED_NO_FS : INBOX_SEALED,
	};

	if (m->has_wire_id) {
		memcpy(row.wire_id, m->wire_id, sizeof row.wire_id);
		memcpy(row.digest, m->digest, sizeof row.digest);
	}
	e = repeats_check(c, said, &seq, &state);
	if (e == ERR_OK && sealed && sealed_over(n, m, sealed)) {
		struct inbox_known known;

		/* Duplicates first: what is here is said to be here. */
		if (inbox_known(n->p.store, &m->source, m->id, &known) == ERR_NOTFOUND) {
			n->n.messages_refused++;
			refuse(c, m, sealed, "expired", IM2_REASON_EXPIRED);
			return;
		}
	}
	if (e == ERR_OK)
		e = inbox_put(n->p.store, &row, &seq, &state);
	if (e == ERR_STORE || e == ERR_NOMEM) {
		/* The group is lost. Ending the session at once keeps the order: whatever follows on this
		 * link would be kept before the lost ones come again. Relays keep no order. */
		node_store_failed(n);
		if (!sealed && !is_far(c, m))
			conn_close(c, "store-failed");
		return;
	}
	char id[MSG_ID_MAX + 1];

	snprintf(id, sizeof id, "%.*s", (int)m->id.n, m->id.p);
	if (e == ERR_EXPIRED) {
		/* Settled by its author before: this copy answers nobody's question any more. */
		n->n.settled_repeats++;
		refuse(c, m, sealed, "settled", IM2_REASON_SETTLED);
		return;
	}
	if (e == ERR_DUPLICATE) {
		n->n.id_conflicts++;
		log_warn("id-conflict msg=%s peer=%s", id, p->id.hex);
		audit_note(n->p.audit, "MESSAGE_ID_CONFLICT", bytes_str(p->id.hex), "peer_id", p->id.hex, "msg_id", id,
			   NULL);
		refuse(c, m, sealed, "id conflict", IM2_REASON_CONFLICT);
		return;
	}
	if (e != ERR_OK && e != ERR_EXISTS) {
		n->n.messages_refused++;
		log_warn("message-refused msg=%s peer=%s err=%s held=%d", id, p->id.hex, err_word(e), row.held);
		refuse(c, m, sealed,
		       e == ERR_FULL ? (row.held ? "not approved, and the hold queue is full" : "inbox full") :
				       err_word(e),
		       why_code(e));
		return;
	}

	if (e == ERR_EXISTS && state == INBOX_HELD && pin_admits(pin)) {
		/* Approved, and the disk refused the release: now it goes with all others of its author. */
		(void)inbound_release(n, &m->source, true);
		return;
	}

	uint8_t refused = 0; /* for this reason */

	if (e == ERR_EXISTS && state == INBOX_DROPPED) {
		struct inbox_row kept;

		/* Deleted by its reader, it had arrived all the same. */
		e = inbox_get(n->p.store, seq, &kept);
		if (e == ERR_STORE) {
			node_store_failed(n);
			if (!sealed && !is_far(c, m))
				conn_close(c, "store-failed");
			return;
		}
		if (e == ERR_OK && !kept.read_ms)
			refused = inbound_owed(n, &kept).code;
		e = ERR_EXISTS;
	}

	struct op *op = node_op(n);

	op->kind = OP_RECEIVED;
	op->conn = c->id;
	op->peer = m->source;
	op->seq = seq;
	op->size = m->body.n;
	op->is_new = e == ERR_OK;
	op->sealed = sealed != NULL;
	op->far = !sealed && is_far(c, m);
	op->via = p->id;
	op->silent = (m->ext.flags & MSG_NO_RECEIPT) && !refused;
	op->receipt = (e == ERR_OK ? row.held : state == INBOX_HELD) ? RECEIPT_HELD : RECEIPT_DELIVERED;
	if (refused)
		op->receipt = RECEIPT_REJECTED;
	op->code = refused;
	memcpy(op->id, id, sizeof id);
	/* A repeat needs no commit of its own, but the kept one may be in this very group. */
	node_store_hard(n);
	/* Only now is there a commit to wait for: whatever was refused holds nobody back. */
	if (c->im2 && (sealed || pin->state == PIN_TRUSTED))
		hold_back(c, m->body.n + 256);
}

void inbound_message(struct conn *c, const struct message *m)
{
	inbound_take(c, m, NULL);
}

void inbound_sealed_message(struct conn *from, const struct message *m, const struct inbound_sealed *s)
{
	inbound_take(from, m, s);
}

void inbound_op_done(struct node *n, struct op *op, enum err e)
{
	struct conn *c = conn_find(n, op->conn);
	struct node_event ev = { .type = op->receipt == RECEIPT_HELD ? "inbox.held" : "inbox.new",
				 .peer = op->peer, .msg_id = op->id, .seq = op->seq, .size = op->size,
				 .via = op->sealed || op->far ? "relay" : NULL };

	if (e != ERR_OK) {
		if (c && !c->closing && !op->sealed && !op->far)
			conn_close(c, "store-failed");
		return;
	}
	if (op->is_new) {
		if (op->receipt == RECEIPT_HELD)
			n->n.messages_held++;
		else
			n->n.messages_received++;
		log_debug("message-in msg=%s from=%s size=%llu held=%d", op->id, op->peer.hex,
			  (unsigned long long)op->size, op->receipt == RECEIPT_HELD);
		ev.name = n->observer ? peer_name(n, &op->peer) : NULL;
		node_event(n, &ev);
	} else {
		n->n.messages_repeated++;
	}
	if (op->sealed || op->far || (c && !c->closing)) {
		struct pending_receipt r = { .kind = op->receipt, .kept_seq = op->seq, .silent = op->silent };

		if (op->receipt == RECEIPT_REJECTED) {
			r.reason = op->code == IM2_REASON_EXPIRED ? "expired" : "refused";
			r.code = op->code;
		}
		memcpy(r.id, op->id, sizeof r.id);
		if (op->sealed)
			courier_receipt(n, &op->peer, &r);
		else if (op->far)
			mesh09_receipt(n, &op->peer, &op->via, &r);
		else
			conn_receipt(c, &r);
	}
}

static struct message_ext ext_of(const struct inbox_row *r)
{
	struct message_ext x = { 0 };

	if (!r->meta_len || message_meta_read(bytes_of(r->meta, r->meta_len), &x) != ERR_OK)
		memset(&x, 0, sizeof x);
	return x;
}

static uint8_t flags_of(const struct inbox_row *r)
{
	return ext_of(r).flags;
}

bool inbound_life_over(struct node *n, const struct inbox_row *r)
{
	uint64_t ttl_s = ext_of(r).ttl_s;

	if (!ttl_s)
		ttl_s = MSG_TTL_DEFAULT_S;
	return r->has_wire && inbox_age_ms(n->p.store, r, ttl_s, r->received_ms > CLOCK_PLAUSIBLE_MS) >= ttl_s * 1000;
}

struct pending_receipt inbound_owed(struct node *n, const struct inbox_row *row)
{
	struct pending_receipt r = { .kind = row->state == INBOX_HELD ? RECEIPT_HELD : RECEIPT_DELIVERED,
				     .kept_seq = row->seq, .silent = (flags_of(row) & MSG_NO_RECEIPT) != 0 };

	if (row->state == INBOX_DROPPED && !row->read_ms) {
		r.kind = RECEIPT_REJECTED;
		/* Nobody admitted its author in time, or somebody refused him. */
		bool expired = inbound_life_over(n, row);

		r.reason = expired ? "expired" : "refused";
		r.code = expired ? IM2_REASON_EXPIRED : IM2_REASON_OPERATOR;
		r.silent = false;
	}
	memcpy(r.id, row->id, sizeof row->id);
	return r;
}

static bool wants_read(const struct inbox_row *r)
{
	return (flags_of(r) & (MSG_WANTS_READ | MSG_NO_RECEIPT)) == MSG_WANTS_READ;
}

/* Nothing is to be said about this row any more. */
static enum err reported(struct node *n, int64_t seq)
{
	enum err e = inbox_mark_reported(n->p.store, seq);

	if (e == ERR_STORE)
		node_store_failed(n);
	return e;
}

/* --- read receipts, survived over restarts ---------------------------------------------------------------- */
enum err node_inbox_take(struct node *n, struct inbox_row *row, bool *changed)
{
	struct peer *p;
	enum err e = inbox_row_read(n->p.store, row, env_wall(n->env), changed);

	if (e == ERR_STORE)
		node_store_failed(n);
	if (e != ERR_OK || !*changed)
		return e;
	node_store_hard(n);
	if (n->watcher)
		n->watcher(n->watcher_ctx, &row->author, row->seq);
	/* What came over the old wire says nothing of it: its author is told. */
	if (row->has_wire && !wants_read(row))
		return reported(n, row->seq);
	/* What relays brought is answered to its author. */
	if (row->sealed != INBOX_OPEN) {
		struct pending_receipt r = { .kind = RECEIPT_READ, .inbox_seq = row->seq };

		memcpy(r.id, row->id, sizeof row->id);
		courier_receipt(n, &row->author, &r);
		return ERR_OK;
	}
	if (!node_id_eq(&row->via, &row->author)) {
		struct pending_receipt r = { .kind = RECEIPT_READ };

		/* Once, if there is a way now. */
		memcpy(r.id, row->id, sizeof row->id);
		mesh09_receipt(n, &row->author, &row->via, &r);
		return reported(n, row->seq);
	}
	p = peer_now(n, &row->via);
	if (p && p->conn && session_peer(p->conn->session)->confirms) {
		struct pending_receipt r = { .kind = RECEIPT_READ, .inbox_seq = row->seq };

		memcpy(r.id, row->id, sizeof row->id);
		conn_receipt(p->conn, &r);
	}
	return ERR_OK;
}

enum err node_inbox_read(struct node *n, int64_t seq, bool *changed)
{
	struct inbox_row row;
	enum err e = inbox_get(n->p.store, seq, &row);

	if (e == ERR_STORE)
		node_store_failed(n);
	return e == ERR_OK ? node_inbox_take(n, &row, changed) : e;
}

void inbound_report_reads(struct conn *c)
{
	struct node *n = c->node;
	struct inbox_row rows[64];
	size_t got = 0;

	if (!session_peer(c->session)->confirms)
		return;
	/* What came from who it was before too; and then what relays brought of it. */
	for (size_t k = 0; k <= c->peer->was_n && !got; k++) {
		const struct node_id *id = k ? &c->peer->was[k - 1] : &c->peer->id;

		if (inbox_unreported(n->p.store, id, rows, 64, &got) != ERR_OK ||
		    (!got && inbox_unreported_sealed(n->p.store, id, 0, rows, 64, &got) != ERR_OK))
			return;
		for (size_t i = 0; i < got; i++) {
			struct pending_receipt r = { .kind = RECEIPT_READ, .inbox_seq = rows[i].seq };

			memcpy(r.id, rows[i].id, sizeof rows[i].id);
			conn_receipt(c, &r);
		}
	}
	c->more_reads = got > 0;
}
