/* mesh09_send.c -- ours to destinations behind neighbours of the old wire (wire 3.7, 4.3). */
#include "daemon/mesh09_internal.h"

#include <stdlib.h>

#include "base/text.h"
#include "daemon/courier.h"

#define ROWS 64
#define BUSY_MS 1000

bool mesh09_has_session(struct node *n, const struct node_id *id)
{
	struct peer *p = peer_find(n, id);

	return p && p->conn;
}

/* --- destinations ------------------------------------------------------------------------------------------------ */
static struct out09 *out_find(struct mesh09 *m, const struct node_id *id)
{
	void *v = map_peek(m->outs, bytes_of(id->hex, NODE_ID_LEN));
	struct out09 *d = NULL;

	if (v)
		memcpy(&d, v, sizeof d);
	return d;
}

static void out_free(struct mesh09 *m, struct out09 *d)
{
	list_del(&d->active);
	list_del(&d->all);
	map_del(m->outs, bytes_of(d->id.hex, NODE_ID_LEN));
	free(d);
}

static void drop_idle(struct mesh09 *m)
{
	for (struct list *l = m->outs_all.next, *next; l != &m->outs_all; l = next) {
		struct out09 *d = list_entry(l, struct out09, all);

		next = l->next;
		if (!d->n && !d->is_active)
			out_free(m, d);
	}
}

static struct out09 *out_get(struct mesh09 *m, const struct node_id *id)
{
	struct out09 *d = out_find(m, id);
	bool created;
	void *v;

	if (d)
		return d;
	if (map_count(m->outs) >= MESH09_DESTINATIONS)
		drop_idle(m);
	d = calloc(1, sizeof *d);
	if (!d || map_put(m->outs, bytes_of(id->hex, NODE_ID_LEN), 0, &v, &created) != ERR_OK) {
		free(d);
		return NULL;
	}
	memcpy(v, &d, sizeof d);
	d->id = *id;
	list_init(&d->active);
	list_init(&d->flights);
	list_add_tail(&m->outs_all, &d->all);
	return d;
}

static void activate(struct mesh09 *m, struct out09 *d)
{
	if (d->is_active)
		return;
	d->is_active = true;
	list_add_tail(&m->outs_active, &d->active);
	node_want_turn(m->node);
}

static void flight_free(struct mesh09 *m, struct flight09 *f)
{
	list_del(&f->link);
	f->to->n--;
	m->flights--;
	free(f);
	if (m->blocked)
		mesh09_due_at(m, env_now(m->node->env));
}

static struct flight09 *flight_of(struct out09 *d, const char *id)
{
	for (struct list *l = d ? d->flights.next : NULL; l && l != &d->flights; l = l->next) {
		struct flight09 *f = list_entry(l, struct flight09, link);

		if (strcmp(f->id, id) == 0 || strcmp(f->wire, id) == 0)
			return f;
	}
	return NULL;
}

static bool flies(const struct out09 *d, int64_t seq)
{
	for (const struct list *l = d->flights.next; l != &d->flights; l = l->next)
		if (list_entry(l, struct flight09, link)->seq == seq)
			return true;
	return false;
}

/* --- to whom, and under which key ----------------------------------------------------------------------------------- */
bool mesh09_answers(const struct pin *pin)
{
	return pin->confirms || pin->im2_since_ms;
}

/* The key to seal for. What has declared 0.9 and shown no key of its own opens what is sealed for the image of its signing
 * key (wire 3.7). *clear: it reads nothing that is sealed, and is known for that. False: nothing may be sent. */
static bool key_for(const struct pin *pin, uint8_t x[static X25519_BYTES], bool *clear)
{
	*clear = false;
	if (pin->has_x25519) {
		memcpy(x, pin->x25519, X25519_BYTES);
		return true;
	}
	if (mesh09_answers(pin) || pin->version_floor >= VERSION_OF(0, 9))
		return ed_to_x25519(pin->ed, x) == ERR_OK;
	*clear = pin->version_floor != 0;
	return *clear;
}

/* Whom we may write to that way now: trusted, without a session, and without a way of our own wire. */
static const struct pin *reader(struct node *n, const struct node_id *to)
{
	const struct pin *pin = pins_get(n->p.pins, to);

	if (!pin || pin->state != PIN_TRUSTED || mesh09_has_session(n, to) || routes_next(n, to, NULL) ||
	    policy_may_meet(n->c.policy, n->p.pins, to, NULL) != ERR_OK)
		return NULL;
	return pin;
}

struct hop_for {
	struct node *n;
	const struct flight09 *f;  /* NULL: all neighbours may be used */
};

static bool skip(void *ctx, const struct node_id *via)
{
	const struct hop_for *x = ctx;

	for (size_t i = 0; x->f && i < MESH09_TRIED; i++) {
		const struct tried09 *t = &x->f->tried[i];

		if (t->sent_ms && node_id_eq(&t->via, via) && env_now(x->n->env) - t->sent_ms < MESH09_SAME_MS)
			return true;
	}
	return !mesh09_neighbour(x->n, via);
}

struct conn *mesh09_next_hop(struct mesh09 *m, const struct node_id *to, const struct flight09 *f)
{
	struct hop_for x = { m->node, f };
	struct node_id via;

	if (!routes09_next(m->table, to, skip, &x, env_now(m->node->env), &via))
		return NULL;
	return mesh09_neighbour(m->node, &via);
}

/* --- one message ------------------------------------------------------------------------------------------------------ */
static enum err end(struct node *n, const struct node_id *to, int64_t seq, const char *id, enum outbox_state s, const char *why)
{
	enum err e = outbox_move(n->p.store, seq, s, why, env_wall(n->env));

	if (e == ERR_STORE)
		node_store_failed(n);
	if (e == ERR_OK) {
		node_store_soft(n);
		outbound_ended(n, to, id, s, why, 0);
	}
	return e;
}

/* ERR_OK: it has left. ERR_AGAIN: *wait_ms. Others: it has ended, or this neighbour does not take it. */
static enum err hand_over(struct mesh09 *m, struct conn *c, const struct pin *pin, const struct outbox_row *r, uint64_t *wait_ms)
{
	struct node *n = m->node;
	uint8_t x[X25519_BYTES];
	char wire[2 * MSG_WIRE_ID + 1];
	bool clear;
	struct message msg = { .type = bytes_str(r->type), .source = *keyring_id(n->p.keyring), .destination = r->to,
			       .created_ms = env_wall(n->env), .priority = r->priority, .ttl = MESH09_TTL };
	enum err e;

	*wait_ms = BUSY_MS;
	if (!key_for(pin, x, &clear))
		return ERR_UNTRUSTED;
	if (!mesh09_pace(c, wait_ms))
		return ERR_AGAIN;
	hex_encode(BYTES_ARR(r->wire_id), wire);
	msg.id = bytes_str(wire);
	buf_reset(&n->scratch);
	e = outbox_body(n->p.store, r->seq, &n->scratch);
	if (e == ERR_STORE || e == ERR_NOMEM)
		return ERR_AGAIN;
	if (e != ERR_OK) {
		(void)!end(n, &r->to, r->seq, r->id, OUTBOX_FAILED,
			   e == ERR_NOTFOUND ? "body is gone" : "body does not open");
		return ERR_CORRUPT;
	}
	msg.body = buf_bytes(&n->scratch);
	e = v09_send_through(c->session, &msg, clear ? NULL : x);
	buf_trim(&n->scratch, 65536);
	if (e == ERR_LIMIT)
		return e;
	if (e != ERR_OK) {
		mesh09_broken(m, &c->peer->id);
		return ERR_AGAIN;
	}
	c->sent++;
	n->n.old_sent++;
	n->n.messages_sent++;
	conn_pump_later(c);
	return ERR_OK;
}

/* In the place of the one that is longest ago. */
static void tried(struct flight09 *f, const struct node_id *via, uint64_t now)
{
	struct tried09 *t = &f->tried[0];

	for (size_t i = 0; i < MESH09_TRIED; i++) {
		if (node_id_eq(&f->tried[i].via, via)) {
			t = &f->tried[i];
			break;
		}
		if (f->tried[i].sent_ms < t->sent_ms)
			t = &f->tried[i];
	}
	*t = (struct tried09){ *via, now };
}

/* Whoever hears it may end the message, and with it the flight. */
static void tell_of(struct mesh09 *m, const struct flight09 *f, const char *type, const char *why)
{
	char id[MSG_ID_MAX + 1];
	struct node_event ev = { .type = type, .peer = f->to->id, .msg_id = id, .reason = why, .via = "relay" };

	memcpy(id, f->id, sizeof id);
	node_event(m->node, &ev);
}

static struct outbox_try try_of(struct node *n, const struct flight09 *f)
{
	return (struct outbox_try){ .at_ms = env_wall(n->env) - (env_now(n->env) - f->sent_ms), .via = OUTBOX_VIA_OLD_RELAY,
				    .by = f->via };
}

static void sent(struct mesh09 *m, struct flight09 *f, const struct node_id *via)
{
	struct node *n = m->node;
	uint64_t now = env_now(n->env), wait = f->confirms ? MESH09_AGAIN_MS : MESH09_GRACE_MS;

	for (uint32_t i = 0; f->confirms && i < f->tries && wait < MESH09_AGAIN_MAX_MS; i++)
		wait *= 2;
	f->via = *via;
	f->sent_ms = now;
	f->grounded = false;
	f->tries++;
	f->due_ms = now + wait;
	tried(f, via, now);
	mesh09_due_at(m, f->due_ms);
	tell_of(m, f, "message.sent", NULL);
}

static bool fly(struct mesh09 *m, struct out09 *d, const struct outbox_row *r, const struct node_id *via, bool confirms)
{
	struct flight09 *f = calloc(1, sizeof *f);
	struct message_ext x = { 0 };

	if (!f)
		return false;
	if (r->meta_len)
		(void)!message_meta_read(bytes_of(r->meta, r->meta_len), &x);
	f->to = d;
	f->seq = r->seq;
	f->unasked = (x.flags & MSG_NO_RECEIPT) != 0;
	f->confirms = confirms && !f->unasked;
	snprintf(f->id, sizeof f->id, "%s", r->id);
	hex_encode(BYTES_ARR(r->wire_id), f->wire);
	list_add_tail(&d->flights, &f->link);
	d->n++;
	m->flights++;
	sent(m, f, via);
	return true;
}

/* --- what waits in the store ------------------------------------------------------------------------------------------ */
static void look_later(struct mesh09 *m, struct out09 *d, uint64_t wait_ms)
{
	d->not_before_ms = env_now(m->node->env) + wait_ms;
	mesh09_due_at(m, d->not_before_ms);
}

static bool expired(struct node *n, const struct outbox_row *r)
{
	return r->expires_ms && outbox_expiry_wall(n->p.store, r->expires_ms) <= env_wall(n->env);
}

/* False: no more now. */
static bool send_row(struct mesh09 *m, struct out09 *d, const struct pin *pin, const struct outbox_row *r)
{
	struct node *n = m->node;
	struct conn *c = mesh09_next_hop(m, &d->id, NULL);
	uint64_t wait = BUSY_MS;
	enum err e;

	if (!c)
		return false;
	e = hand_over(m, c, pin, r, &wait);
	if (e == ERR_OK) {
		n->n.messages_resent += r->attempts > 0;
		return fly(m, d, r, &c->peer->id, mesh09_answers(pin));
	}
	if (e == ERR_UNTRUSTED)
		return false;
	if (e == ERR_AGAIN) {
		look_later(m, d, wait);
		return false;
	}
	return true; /* too large for the old wire: it waits for another way */
}

static void fill(struct mesh09 *m, struct out09 *d)
{
	struct node *n = m->node;
	const struct pin *pin = reader(n, &d->id);
	struct outbox_row *rows;
	uint8_t prio = OUTBOX_PRIORITIES;
	int64_t seq = 0;
	size_t got = ROWS;
	bool more = true;

	if (!pin || env_now(n->env) < d->not_before_ms || !mesh09_next_hop(m, &d->id, NULL))
		return;
	/* What may be rolled back must not have left. */
	if (n->ops_n || n->group_failed || store_failed(n->p.store)) {
		activate(m, d);
		return;
	}
	rows = malloc(ROWS * sizeof *rows);
	while (rows && more && got == ROWS) {
		if (outbox_waiting(n->p.store, &d->id, prio, seq, rows, ROWS, &got) != ERR_OK) {
			node_store_failed(n);
			look_later(m, d, DISK_RETRY_MS);
			break;
		}
		for (size_t i = 0; i < got && more; i++) {
			prio = rows[i].priority;
			seq = rows[i].seq;
			if (flies(d, seq) || expired(n, &rows[i]) || rows[i].body_len > MSG_BODY_SEALED_MAX)
				continue;
			m->blocked = m->blocked || m->flights >= MESH09_FLIGHTS;
			if (d->n >= MESH09_WINDOW || m->flights >= MESH09_FLIGHTS)
				more = false;
			else
				more = send_row(m, d, pin, &rows[i]);
		}
		if (more && got < ROWS)
			d->more = false;
	}
	free(rows);
}

/* --- time ---------------------------------------------------------------------------------------------------------------- */
/* The way that it took is gone, or has no way: it waits, and goes by another one. */
static void ground(struct mesh09 *m, struct flight09 *f, const char *why)
{
	struct node *n = m->node;
	const struct outbox_try t = try_of(n, f);

	f->grounded = true;
	f->due_ms = env_now(n->env);
	mesh09_due_at(m, f->due_ms);
	if (outbox_attempt(n->p.store, f->seq, &t) == ERR_STORE)
		node_store_failed(n);
	else
		node_store_soft(n);
	tell_of(m, f, "message.unreachable", why);
}

/* When the first of those that were tried may be tried again. */
static uint64_t same_at(const struct flight09 *f, uint64_t now)
{
	uint64_t at = now + MESH09_AGAIN_MS;

	for (size_t i = 0; i < MESH09_TRIED; i++) {
		uint64_t t = f->tried[i].sent_ms + MESH09_SAME_MS;

		if (f->tried[i].sent_ms && t > now && t < at)
			at = t;
	}
	return at;
}

/* Nobody confirmed it: another neighbour, at once; the same one after it has forgotten it. */
static void again(struct mesh09 *m, struct flight09 *f)
{
	struct node *n = m->node;
	struct out09 *d = f->to;
	const struct pin *pin = reader(n, &d->id);
	uint64_t now = env_now(n->env), wait = BUSY_MS;
	struct conn *c = pin ? mesh09_next_hop(m, &d->id, f) : NULL;
	struct outbox_row row;
	enum err e;

	if (!pin) {
		flight_free(m, f);
		return;
	}
	if (!c) {
		f->due_ms = same_at(f, now);
		return;
	}
	if (n->ops_n || n->group_failed || store_failed(n->p.store)) {
		f->due_ms = now + BUSY_MS;
		return;
	}
	e = outbox_get(n->p.store, bytes_str(f->id), &row);
	if (e != ERR_OK || row.state != OUTBOX_QUEUED) {
		flight_free(m, f);
		return;
	}
	e = hand_over(m, c, pin, &row, &wait);
	if (e == ERR_AGAIN) {
		f->due_ms = now + wait;
		return;
	}
	if (e != ERR_OK) {
		if (flight_of(d, row.id) == f)
			flight_free(m, f);
		return;
	}
	n->n.messages_resent++;
	sent(m, f, &c->peer->id);
}

static void flight_due(struct mesh09 *m, struct flight09 *f)
{
	struct node *n = m->node;
	char why[OUTBOX_REASON_MAX + 1], id[MSG_ID_MAX + 1];

	if (f->grounded) {
		again(m, f);
		return;
	}
	if (!f->confirms) {
		/* The honest end: a neighbour took it, and nobody will say more. */
		snprintf(why, sizeof why, "%s; it went through %.60s", f->unasked ? "no receipt was asked for" : "peer-never-confirms",
			 peer_name(n, &f->via));
		f->due_ms = env_now(n->env) + BUSY_MS; /* if the disk refuses */
		struct out09 *d = f->to;
		int64_t seq = f->seq;
		enum err e;

		memcpy(id, f->id, sizeof id); /* it goes with the row */
		e = end(n, &d->id, seq, id, OUTBOX_SENT, why);
		if (e != ERR_OK && e != ERR_STORE && flies(d, seq))
			flight_free(m, f); /* it had ended */
		return;
	}
	if (!f->held)
		mesh09_missed(m, &f->to->id, &f->via);
	const struct outbox_try t = try_of(n, f);

	if (outbox_attempt(n->p.store, f->seq, &t) == ERR_STORE) {
		node_store_failed(n);
		f->due_ms = env_now(n->env) + DISK_RETRY_MS;
		return;
	}
	node_store_soft(n);
	again(m, f);
}

/* Each that is dealt with is due later, or gone; events may end others meanwhile. */
static struct flight09 *one_due(struct out09 *d, uint64_t now, uint64_t *next)
{
	for (struct list *l = d->flights.next; l != &d->flights; l = l->next) {
		struct flight09 *f = list_entry(l, struct flight09, link);

		if (f->due_ms <= now)
			return f;
		*next = f->due_ms < *next ? f->due_ms : *next;
	}
	return NULL;
}

uint64_t mesh09_send_due(struct mesh09 *m)
{
	uint64_t now = env_now(m->node->env), next = UINT64_MAX;
	bool was_blocked = m->blocked;

	m->blocked = false;
	for (struct list *l = m->outs_all.next; l != &m->outs_all; l = l->next) {
		struct out09 *d = list_entry(l, struct out09, all);
		struct flight09 *f;

		while ((f = one_due(d, now, &next)))
			flight_due(m, f);
		if (d->not_before_ms > now) {
			next = d->not_before_ms < next ? d->not_before_ms : next;
		} else if (d->more && (d->not_before_ms || was_blocked || d->n <= MESH09_WINDOW / 2)) {
			d->not_before_ms = 0;
			activate(m, d);
		}
	}
	if (m->owing_n) {
		m->owes = true;
		node_want_turn(m->node);
	}
	return next;
}

/* --- what is told of them ------------------------------------------------------------------------------------------------ */
void mesh09_send_unreachable(struct mesh09 *m, const struct node_id *via, const struct node_id *to, const char *wire_id)
{
	struct flight09 *f = flight_of(out_find(m, to), wire_id);
	char why[96];

	if (!f || f->grounded || !node_id_eq(&f->via, via))
		return;
	(void)!routes09_hear(m->table, via, to, ROUTE09_INFINITY, env_now(m->node->env));
	mesh09_tell_soon(m);
	mesh09_missed(m, to, via);
	snprintf(why, sizeof why, "%.60s has no route", peer_name(m->node, via));
	ground(m, f, why);
}

void mesh09_send_gone(struct mesh09 *m, const struct node_id *via)
{
	for (struct list *l = m->outs_all.next; l != &m->outs_all; l = l->next) {
		struct out09 *d = list_entry(l, struct out09, all);

		for (struct list *k = d->flights.next, *next; k != &d->flights; k = next) {
			struct flight09 *f = list_entry(k, struct flight09, link);

			next = k->next;
			/* It may have got lost with the link; a receipt may come another way. */
			if (!node_id_eq(&f->via, via) || f->held)
				continue;
			f->grounded = true;
			f->due_ms = env_now(m->node->env) + BUSY_MS;
			mesh09_due_at(m, f->due_ms);
		}
	}
}

void mesh09_send_direct(struct mesh09 *m, const struct node_id *to)
{
	struct out09 *d = out_find(m, to);

	while (d && !list_empty(&d->flights))
		flight_free(m, list_entry(d->flights.next, struct flight09, link));
}

void mesh09_ended(struct node *n, const struct node_id *to, const char *id, bool confirmed)
{
	struct mesh09 *m = n->mesh09;
	struct flight09 *f = m ? flight_of(out_find(m, to), id) : NULL;
	struct out09 *d;

	if (!f)
		return;
	d = f->to;
	if (confirmed && f->confirms && !f->grounded)
		routes09_delivered(m->table, to, &f->via, env_now(n->env));
	flight_free(m, f);
	if (d->more && d->n <= MESH09_WINDOW / 2)
		activate(m, d);
}

bool mesh09_held(struct node *n, const struct node_id *to, const char *id)
{
	struct mesh09 *m = n->mesh09;
	struct flight09 *f = m ? flight_of(out_find(m, to), id) : NULL;

	if (!f)
		return false;
	if (!f->held)
		routes09_delivered(m->table, to, &f->via, env_now(n->env));
	f->held = f->confirms = true;
	f->due_ms = env_now(n->env) + MESH09_HELD_MS;
	mesh09_due_at(m, f->due_ms);
	return true;
}

bool mesh09_view(struct node *n, const struct node_id *to, const char *id, struct mesh09_view *out)
{
	struct mesh09 *m = n->mesh09;
	const struct flight09 *f = m ? flight_of(out_find(m, to), id) : NULL;

	if (!f || f->grounded)
		return false;
	*out = (struct mesh09_view){ .held = f->held, .via = f->via, .last = try_of(n, f) };
	return true;
}

/* --- the turn ---------------------------------------------------------------------------------------------------------------- */
void mesh09_send_run(struct mesh09 *m)
{
	struct list now;

	if (m->owes)
		mesh09_receipts_run(m);
	if (list_empty(&m->outs_active))
		return;
	list_init(&now);
	list_add_tail(&m->outs_active, &now);
	list_del(&m->outs_active);
	while (!list_empty(&now)) {
		struct out09 *d = list_entry(now.next, struct out09, active);

		list_del(&d->active);
		d->is_active = false;
		fill(m, d);
	}
}

void mesh09_wake(struct node *n, const struct node_id *to)
{
	struct mesh09 *m = n->mesh09;
	uint64_t per_state[OUTBOX_STATES];
	struct out09 *d;

	if (!m || n->stopping || !reader(n, to) || !mesh09_next_hop(m, to, NULL))
		return;
	d = out_find(m, to);
	if (!d && outbox_count(n->p.store, to, per_state) == ERR_OK && per_state[OUTBOX_QUEUED])
		d = out_get(m, to);
	if (!d)
		return;
	d->more = true;
	activate(m, d);
	for (struct list *l = d->flights.next; l != &d->flights; l = l->next) {
		struct flight09 *f = list_entry(l, struct flight09, link);

		if (f->grounded)
			mesh09_due_at(m, f->due_ms = env_now(n->env));
	}
}

void mesh09_send_free(struct mesh09 *m)
{
	while (!list_empty(&m->outs_all)) {
		struct out09 *d = list_entry(m->outs_all.next, struct out09, all);

		m->blocked = false;
		while (!list_empty(&d->flights))
			flight_free(m, list_entry(d->flights.next, struct flight09, link));
		out_free(m, d);
	}
}
