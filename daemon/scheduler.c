/*
 * scheduler.c -- what is sent next. Per online peer: ready lists by priority, a window of unconfirmed
 * messages, and the rows that still wait in the store.
 *
 * The store is the truth: an item is only a copy of a QUEUED row. Dropping items loses nothing;
 * `more` makes the rows come back. Order is kept per peer and priority by seq: a fresh row may enter
 * memory only while no older row of its priority waits on disk.
 */
#include "daemon/node_internal.h"

#include <stdlib.h>

#define READY_MAX 1024
#define LOAD_ROWS 256
#define LINK_QUEUE_MAX (256u << 10)
#define LINK_QUEUE_MS 20
#define PUMP_BYTES (128u << 10)
#define SLOW_PER_S 50 /* what others take from those whom they do not trust (im2.md 18.3) */
#define SLOW_BURST 500
#define SLOW_MS 60000

void sched_look_again(struct peer *p, uint64_t at_ms)
{
	struct node *n = peer_node(p);

	if (!timer_armed(&p->stall) || p->stall.at_ms > at_ms)
		timer_at(n->env, &p->stall, at_ms);
}

/* --- online, offline ------------------------------------------------------------------------------ */
void sched_wake(struct peer *p)
{
	struct node *n = peer_node(p);

	if (!n || p->is_active)
		return;
	p->is_active = true;
	list_add_tail(&n->active, &p->active);
	node_want_turn(n);
}

void sched_online(struct peer *p)
{
	struct node *n = peer_node(p);
	struct sendq *q = calloc(1, sizeof *q);

	BUG_ON(!q);
	for (int i = 0; i < PRIO_COUNT; i++)
		list_init(&q->ready[i]);
	list_init(&q->flight);
	list_init(&q->held);
	list_init(&q->carried);
	list_init(&q->leaving);
	q->more = true;
	q->more_priority = PRIO_COUNT - 1;
	bucket_init(&q->pace, n->c.limits.old_peer_frames_per_s, n->c.limits.old_peer_frames_per_s * 4,
		    env_now(n->env));
	p->q = q;
	sched_wake(p);
}

static void drop_list(struct list *head)
{
	while (!list_empty(head))
		item_free(list_entry(head->next, struct item, link));
}

static void drop_items(struct peer *p)
{
	for (int i = 0; i < PRIO_COUNT; i++)
		drop_list(&p->q->ready[i]);
	drop_list(&p->q->flight);
	drop_list(&p->q->carried);
	drop_list(&p->q->leaving);
	drop_list(&p->q->held);
	p->q->more = true;
	p->q->more_priority = PRIO_COUNT - 1;
}

/* What was in flight came to nothing; it is tried again on the next session. */
static void count_tries(struct node *n, const struct list *flight)
{
	if (n->stopping)
		return;
	for (struct list *l = flight->next; l != flight; l = l->next) {
		const struct item *it = list_entry(l, struct item, link);
		const struct outbox_try t = item_try(it);

		if (outbox_attempt(n->p.store, it->seq, &t) == ERR_STORE) {
			node_store_failed(n);
			return;
		}
		node_store_soft(n);
	}
}

/*
 * What is in flight must be taken and confirmed within confirm_ms, and while its time stamps are fresh
 * (wire 6.2). A peer or a link that is too slow for that would get the same messages again and again, and
 * its receipts would wait behind ours: so the window halves when a session ends in that way, and grows
 * by one with every window that was confirmed.
 */
static void window_shrink(struct node *n, struct peer *p)
{
	uint64_t now = env_now(n->env);

	if (p->conn->im2 || list_empty(&p->q->flight) ||
	    now - list_entry(p->q->flight.next, struct item, link)->sent_ms < n->c.limits.confirm_ms / 2)
		return;
	p->window = p->window > 1 ? p->window / 2 : 1;
	p->confirmed = 0;
	log_info("window-shrinks peer=%s to=%u", p->id.hex, p->window);
}

void sched_slow_down(struct peer *p)
{
	struct node *n = peer_node(p);
	uint64_t now = env_now(n->env);

	if (!p->conn->im2) {
		p->q->pace.tokens = 0;
		return;
	}
	if (p->slow_until_ms <= now)
		bucket_init(&p->slow, SLOW_PER_S, SLOW_BURST, now);
	p->slow.tokens = 0; /* its bucket is empty */
	p->slow_until_ms = now + SLOW_MS;
}

/* The bucket that the next message costs a token of; NULL: the transport alone holds us back. */
static struct bucket *pace_of(struct node *n, struct peer *p)
{
	if (!session_peer(p->conn->session)->confirms)
		return &p->q->pace;
	return p->conn->im2 && env_now(n->env) < p->slow_until_ms ? &p->slow : NULL;
}

void sched_confirmed(struct peer *p)
{
	const struct node_limits *l = &peer_node(p)->c.limits;

	p->unsettled++;
	marks_settle(p);
	if (p->window < l->window && ++p->confirmed >= p->window) {
		p->window++;
		p->confirmed = 0;
	}
}

static bool window_open(const struct node *n, const struct peer *p)
{
	const struct node_limits *l = &n->c.limits;

	if (p->conn->im2)
		return p->q->flight_count < 2 * l->window && p->q->flight_bytes < 2ull * l->window_bytes;
	return p->q->flight_count < p->window &&
	       p->q->flight_bytes * l->window < (uint64_t)l->window_bytes * p->window;
}

void sched_offline(struct peer *p)
{
	struct node *n = peer_node(p);

	count_tries(n, &p->q->flight);
	count_tries(n, &p->q->carried);
	window_shrink(n, p);
	drop_items(p);
	/* Submissions of the open group that were prepared for this peer go back to being rows. */
	for (size_t i = 0; i < n->ops_n; i++) {
		struct op *op = &n->ops[i];

		if (op->kind == OP_SUBMIT && op->item && op->item->peer == p)
			item_free(op->item);
	}
	free(p->q);
	p->q = NULL;
	if (p->is_active) {
		p->is_active = false;
		list_del(&p->active);
	}
}

void sched_drop_all(struct node *n)
{
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		if (c->peer && c->peer->q)
			sched_offline(c->peer);
	}
}

/* After a rollback memory and store may disagree: the store is right. Items that are in flight stay, so
 * that their confirmation still counts; what is ready goes, since rows that memory thought ended come
 * back from the store and may belong before it. */
void sched_store_rolled_back(struct node *n)
{
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		if (!c->peer || !c->peer->q)
			continue;
		for (int i = 0; i < PRIO_COUNT; i++)
			drop_list(&c->peer->q->ready[i]);
		c->peer->q->more = true;
		c->peer->q->more_priority = PRIO_COUNT - 1;
		/* Not at once: what fails with the disk would fail again, turn after turn, or as often as a receipt
		 * comes for what was sent again. */
		c->peer->q->load_ms = env_now(n->env) + DISK_RETRY_MS;
		sched_look_again(c->peer, c->peer->q->load_ms);
	}
}

/* --- filling -------------------------------------------------------------------------------------- */
static bool room(const struct sendq *q)
{
	return q->ready_count + q->prepared_count < READY_MAX;
}

struct item *sched_prepare(struct node *n, struct peer *p, const struct op *op, const struct outbox_new *row,
			   const char *id, const uint8_t wire_id[static MSG_WIRE_ID])
{
	struct sendq *q = p->q;
	struct item *it;
	bool known;

	if (!q)
		return NULL;
	if ((q->more && op->priority <= q->more_priority) || !room(q)) {
		if (!q->more || op->priority > q->more_priority)
			q->more_priority = op->priority;
		q->more = true;
		return NULL;
	}
	it = item_new(n, p, bytes_str(id), wire_id, row->meta, &known);
	if (!it) {
		q->more = true;
		q->more_priority = PRIO_COUNT - 1;
		return NULL;
	}
	it->seq = op->seq;
	it->priority = op->priority;
	it->created_ms = row->created_ms;
	it->expires_ms = row->expires_ms;
	it->accepted_ms = env_now(n->env);
	it->body_len = (uint32_t)row->body.n;
	snprintf(it->type, sizeof it->type, "%.*s", (int)row->type.n, row->type.p);
	item_keep_body(it, row->body);
	it->state = ITEM_PREPARED;
	q->prepared_count++;
	q->ready_bytes += it->body ? it->body_len : 0;
	return it;
}

void sched_committed(struct peer *p, struct item *it)
{
	item_leave(it);
	item_ready(it);
	sched_wake(p);
}

/* Reads the next rows of the store into memory. The rows that are in flight, ready or held are known
 * by their key and skipped. */
static void load(struct node *n, struct peer *p)
{
	struct sendq *q = p->q;
	struct outbox_row *rows = malloc(LOAD_ROWS * sizeof *rows);
	uint8_t prio = OUTBOX_PRIORITIES;
	int64_t seq = 0;
	size_t got;

	if (!rows)
		return;
	do {
		enum err e = outbox_waiting(n->p.store, &p->id, prio, seq, rows, LOAD_ROWS, &got);

		if (e != ERR_OK) {
			log_error("outbox-not-readable peer=%s", p->id.hex);
			/* What is deferred is written before it is read: the group is lost. */
			if (e == ERR_STORE)
				node_store_failed(n);
			sched_look_again(p, env_now(n->env) + DISK_RETRY_MS);
			break;
		}
		for (size_t i = 0; i < got; i++) {
			struct item *it;
			bool known;

			prio = rows[i].priority;
			seq = rows[i].seq;
			if (!room(q)) {
				q->more_priority = prio;
				goto out;
			}
			it = item_new(n, p, bytes_str(rows[i].id), rows[i].wire_id,
				      bytes_of(rows[i].meta, rows[i].meta_len), &known);
			if (known)
				continue;
			if (!it) {
				q->more_priority = prio;
				goto out;
			}
			it->seq = seq;
			it->priority = prio;
			it->created_ms = rows[i].created_ms;
			it->expires_ms = rows[i].expires_ms;
			it->body_len = rows[i].body_len;
			it->tries = rows[i].attempts;
			snprintf(it->type, sizeof it->type, "%s", rows[i].type);
			item_ready(it);
		}
		if (got < LOAD_ROWS) {
			q->more = false;
			goto out;
		}
	} while (got == LOAD_ROWS);
out:
	free(rows);
}

/* Loading while rows of the open group are not committed would send what may be rolled back, and while it is
 * lost what it had ended: the turn that ends it comes back here. */
static void load_or_wait(struct node *n, struct peer *p)
{
	if (store_failed(n->p.store))
		node_store_failed(n);
	if (n->ops_n || n->group_failed)
		sched_wake(p);
	else if (env_now(n->env) < p->q->load_ms)
		sched_look_again(p, p->q->load_ms);
	else
		load(n, p);
}

/* --- sending -------------------------------------------------------------------------------------- */
static struct item *next_item(struct sendq *q)
{
	for (int i = PRIO_COUNT - 1; i >= 0; i--)
		if (!list_empty(&q->ready[i]))
			return list_entry(q->ready[i].next, struct item, link);
	return NULL;
}

/* *first: when the next of them is due, if that is earlier. False when the disk refuses. */
static bool go_again(struct node *n, struct list *head, uint64_t now, uint64_t *first)
{
	struct list *l, *next;

	for (l = head->next; l != head; l = next) {
		struct item *it = list_entry(l, struct item, link);

		next = l->next;
		if (it->due_ms > now) {
			*first = it->due_ms < *first ? it->due_ms : *first;
			continue;
		}
		const struct outbox_try t = item_try(it);
		enum err e = outbox_attempt(n->p.store, it->seq, &t);

		if (e == ERR_STORE) {
			node_store_failed(n);
			return false;
		}
		node_store_soft(n);
		it->tries++;
		item_leave(it);
		item_ready(it);
	}
	return true;
}

/* im2: what was not confirmed in its time goes again; each has its own, since nothing depends on their order. */
static void resend_due(struct node *n, struct peer *p)
{
	struct sendq *q = p->q;
	uint64_t now = env_now(n->env), first = UINT64_MAX;

	if (timer_armed(&p->stall) && p->stall.at_ms > now)
		return; /* it was set by the one that is due first */
	if (go_again(n, &q->flight, now, &first) && go_again(n, &q->held, now, &first) && first != UINT64_MAX)
		sched_look_again(p, first);
}

/* The oldest unconfirmed message has waited too long: go back to it by starting the session again,
 * which keeps the order (every later one is sent again after it). */
static bool stalled(struct node *n, struct peer *p)
{
	struct sendq *q = p->q;
	uint64_t now = env_now(n->env), due;

	if (p->conn->im2) {
		resend_due(n, p);
		return false;
	}
	if (list_empty(&q->flight))
		return false;
	due = list_entry(q->flight.next, struct item, link)->sent_ms + n->c.limits.confirm_ms;
	if (now < due) {
		sched_look_again(p, due);
		return false;
	}
	log_warn("no-confirmation peer=%s in_flight=%u", p->id.hex, q->flight_count);
	conn_close(p->conn, "no-confirmation");
	return true;
}

/* One that travels in pieces: taken, or given up there and then it goes again like any other. */
static void pieces_ended(struct node *n, struct item *it, bool taken)
{
	if (taken && it->unasked) {
		outbound_left(n, it);
		item_free(it);
		return;
	}
	item_waits(it);
	if (taken)
		outbound_sent(n, it);
}

/* The events may cancel others of these: only the head of a list is held. */
void sched_pumped(struct peer *p)
{
	struct node *n = peer_node(p);
	struct sendq *q = p->q;

	for (uint32_t k = q->flight_count; k && p->q == q && !list_empty(&q->carried); k--) {
		struct item *it = list_entry(q->carried.next, struct item, link);
		enum im2_carry how = im2_link_carry(p->conn->session, it->wire_id);

		list_del(&it->link);
		list_add_tail(&q->carried, &it->link);
		if (how != IM2_CARRY_OUT)
			pieces_ended(n, it, how == IM2_CARRY_TAKEN);
	}
	while (p->q == q && !list_empty(&q->leaving) && im2_link_drained(p->conn->session)) {
		struct item *it = list_entry(q->leaving.next, struct item, link);

		if (im2_link_carry(p->conn->session, it->wire_id) == IM2_CARRY_OUT) {
			it->in_pieces = true;
			item_gone(it);
			continue;
		}
		outbound_left(n, it);
		item_free(it);
	}
}

static void run_peer(struct node *n, struct peer *p)
{
	struct conn *c = p->conn;
	struct sendq *q = p->q;
	const struct pin *pin;
	struct bucket *pace;
	bool confirms;

	if (!c || c->closing || stalled(n, p))
		return;
	pin = pins_get(n->p.pins, &p->id);
	if (!pin || pin->state != PIN_TRUSTED)
		return; /* node_peer_approve() wakes it */
	confirms = session_peer(c->session)->confirms;
	if (q->more && q->ready_count == 0)
		load_or_wait(n, p);
	while (session_can_send(c->session) && window_open(n, p) &&
	       tp_queued(c->tp, c->id) < LINK_QUEUE_MAX) {
		struct item *it = next_item(q);

		if (!it) {
			if (q->more) {
				load_or_wait(n, p);
				it = next_item(q);
			}
			if (!it)
				break;
		}
		pace = pace_of(n, p);
		if (pace && !bucket_take(pace, 1, env_now(n->env))) {
			sched_look_again(p, env_now(n->env) + bucket_wait_ms(pace, 1, env_now(n->env)) + 1);
			break;
		}
		/* In flight before the attempt: when the link breaks under it, it goes with the others. */
		item_flies(it);
		enum err e = outbound_attempt(n, p, it);

		if (c->closing || p->conn != c)
			return; /* everything was dropped */
		if (e == ERR_AGAIN) {
			item_returns(it);
			sched_look_again(p, env_now(n->env) + DISK_RETRY_MS);
			break;
		}
		if (e != ERR_OK || !confirms) {
			item_free(it);
			continue;
		}
		free(it->body);
		it->body = NULL;
		item_gone(it);
		/* Many messages under one seal (im2.md 7.4), but not so many that memory grows. */
		if (c->im2 && im2_link_waiting(c->session) >= PUMP_BYTES) {
			conn_pump(c);
			if (c->closing || p->conn != c)
				return;
		}
	}
	if (c->im2)
		conn_pump_later(c);
	/* A transport says `writable` only to those whom it refused. */
	if (tp_queued(c->tp, c->id) >= LINK_QUEUE_MAX)
		sched_look_again(p, env_now(n->env) + LINK_QUEUE_MS);
	if (!c->im2)
		(void)stalled(n, p);
}

void sched_run(struct node *n)
{
	struct list todo;

	list_init(&todo);
	while (!list_empty(&n->active)) {
		struct list *l = n->active.next;

		list_del(l);
		list_add_tail(&todo, l);
	}
	while (!list_empty(&todo)) {
		struct peer *p = list_entry(todo.next, struct peer, active);

		list_del(&p->active);
		p->is_active = false;
		run_peer(n, p);
	}
}

void sched_expire_arm(struct node *n)
{
	uint64_t at, wall = env_wall(n->env);

	if (outbox_next_expiry(n->p.store, &at) != ERR_OK) {
		timer_in(n->env, &n->expiry_timer, DISK_RETRY_MS);
		return;
	}
	if (at == UINT64_MAX) {
		timer_stop(n->env, &n->expiry_timer);
		return;
	}
	/* At most a minute ahead: the wall clock may be set. */
	uint64_t wait = at <= wall ? 1 : at - wall + 1;

	timer_in(n->env, &n->expiry_timer, wait < 60000 ? wait : 60000);
}
