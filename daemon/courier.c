/* courier.c -- who has something waiting behind relays, what is on its way, and when it goes again (im2.md 10.3). */
#include "daemon/courier_internal.h"

#include <stdlib.h>

#include "base/text.h"

#define DESTINATIONS 1024
#define PARCELS 4096
#define OWED 4096
#define AGAIN_MS 60000             /* through relays; doubling up to */
#define AGAIN_MAX_MS 1800000
#define STORED_MS 3600000
#define BUSY_MS 1000
#define RESEALS 3

static struct destination *find(struct courier *k, const struct node_id *id)
{
	void *v = map_peek(k->destinations, bytes_of(id->hex, NODE_ID_LEN));
	struct destination *d = NULL;

	if (v)
		memcpy(&d, v, sizeof d);
	return d;
}

static struct destination *get(struct courier *k, const struct node_id *id)
{
	struct destination *d = find(k, id);
	bool created;
	void *v;

	if (d)
		return d;
	d = calloc(1, sizeof *d);
	if (!d || map_put(k->destinations, bytes_of(id->hex, NODE_ID_LEN), 0, &v, &created) != ERR_OK) {
		free(d);
		return NULL;
	}
	memcpy(v, &d, sizeof d);
	d->id = *id;
	list_init(&d->parcels);
	list_init(&d->active);
	d->more = true;
	return d;
}

bool courier_carries(const struct destination *d, int64_t seq)
{
	for (struct list *l = d->parcels.next; l != &d->parcels; l = l->next) {
		const struct parcel *p = list_entry(l, struct parcel, link);

		for (unsigned i = 0; i < p->n; i++)
			if (p->letters[i].seq == seq && !p->letters[i].gone)
				return true;
	}
	return false;
}

static void parcel_free(struct courier *k, struct parcel *p)
{
	list_del(&p->link);
	map_del(k->rids, BYTES_ARR(p->rid));
	p->to->letters -= p->n;
	p->to->bytes -= p->bytes;
	free(p->rt);
	free(p->body);
	free(p);
}

static void empty(struct courier *k, struct destination *d)
{
	while (!list_empty(&d->parcels))
		parcel_free(k, list_entry(d->parcels.next, struct parcel, link));
}

static void destination_free(struct courier *k, struct destination *d)
{
	empty(k, d);
	list_del(&d->active);
	map_del(k->destinations, bytes_of(d->id.hex, NODE_ID_LEN));
	free(d);
}

void courier_wake_at(struct courier *k, uint64_t at_ms)
{
	if (!timer_armed(&k->timer) || k->timer.at_ms > at_ms)
		timer_at(k->node->env, &k->timer, at_ms);
}

static void activate(struct courier *k, struct destination *d)
{
	if (d->is_active)
		return;
	d->is_active = true;
	list_add_tail(&k->active, &d->active);
	node_want_turn(k->node);
}

static bool has_session(struct node *n, const struct node_id *id)
{
	struct peer *p = peer_find(n, id);

	return p && p->conn;
}

void courier_wake(struct node *n, const struct node_id *to)
{
	struct courier *k = n->courier;
	struct destination *d;
	struct owed **o;

	if (!k || n->stopping || has_session(n, to) || !routes_next(n, to, NULL))
		return;
	o = map_peek(k->owed, bytes_of(to->hex, NODE_ID_LEN));
	if (o) {
		(*o)->due_ms = env_now(n->env);
		courier_wake_at(k, (*o)->due_ms);
	}
	d = get(k, to);
	if (!d)
		return;
	d->more = true;
	/* What nobody has goes at once, now that there is a way. */
	for (struct list *l = d->parcels.next; l != &d->parcels; l = l->next) {
		struct parcel *p = list_entry(l, struct parcel, link);

		if (!p->via.hex[0]) {
			p->due_ms = env_now(n->env);
			courier_wake_at(k, p->due_ms);
		}
	}
	activate(k, d);
}

void courier_direct(struct node *n, const struct node_id *to)
{
	struct destination *d = n->courier ? find(n->courier, to) : NULL;

	if (d) {
		d->introduced = true;
		empty(n->courier, d);
	}
}

/* --- sending -------------------------------------------------------------------------------------------------- */
static uint64_t again_ms(struct node *n, uint32_t tries)
{
	uint64_t ms = AGAIN_MS;

	for (uint32_t i = 1; i < tries && ms < AGAIN_MAX_MS; i++)
		ms *= 2;
	if (ms > AGAIN_MAX_MS)
		ms = AGAIN_MAX_MS;
	return ms * 4 / 5 + env_uniform(n->env, ms * 2 / 5);
}

static void tell(struct node *n, const struct parcel *p, const char *type, const char *reason)
{
	for (unsigned i = 0; i < p->n && n->observer; i++) {
		struct node_event ev = { .type = type, .peer = p->to->id, .msg_id = p->letters[i].id, .reason = reason,
					 .via = "relay" };

		if (!p->letters[i].gone)
			node_event(n, &ev);
	}
}

/* Hands it to the next hop, another one than the last time where there is one. False: nobody takes it now. */
static bool dispatch(struct courier *k, struct parcel *p)
{
	struct node *n = k->node;
	const struct node_id *last = p->via.hex[0] ? &p->via : NULL;
	struct conn *next = last ? routes_next_other(n, &p->to->id, NULL, last) : NULL;
	uint64_t now = env_now(n->env);
	enum err e;

	if (!next)
		next = routes_next(n, &p->to->id, NULL);
	if (!next) {
		if (p->via.hex[0] || !p->tries)
			tell(n, p, "message.unreachable", "no route");
		memset(&p->via, 0, sizeof p->via);
		p->stored = false;
		p->due_ms = now + AGAIN_MS;
		return false;
	}
	e = relay_send(next, bytes_of(p->rt, p->rt_n), bytes_of(p->body, p->body_n), RELAY_HOPS - 1 + (unsigned)env_uniform(n->env, 4),
		       (uint32_t)((now - p->sealed_ms) / 1000));
	if (e != ERR_OK) {
		p->due_ms = now + BUSY_MS;
		return false;
	}
	p->via = next->peer->id;
	p->sent_ms = now;
	p->stored = false;
	p->tries++;
	p->due_ms = now + again_ms(n, p->tries);
	n->n.sealed_sent += p->left;
	n->n.messages_resent += p->tries > 1 ? p->left : 0;
	n->n.messages_sent += p->left;
	tell(n, p, "message.sent", NULL);
	return true;
}

static void count_attempt(struct node *n, const struct parcel *p)
{
	for (unsigned i = 0; i < p->n; i++)
		if (!p->letters[i].gone && outbox_attempt(n->p.store, p->letters[i].seq) == ERR_STORE) {
			node_store_failed(n);
			return;
		}
	node_store_soft(n);
}

static bool wants_answer(const struct parcel *p)
{
	for (unsigned i = 0; i < p->n; i++)
		if (!p->letters[i].gone && !p->letters[i].unasked)
			return true;
	return false;
}

/* Its time has come: nobody confirmed it. */
static void parcel_due(struct courier *k, struct parcel *p)
{
	struct node *n = k->node;
	struct destination *d = p->to;
	uint64_t now = env_now(n->env);

	if (p->via.hex[0] && !wants_answer(p)) {
		p->due_ms = UINT64_MAX; /* flag 8: it has left; the row ends with its life */
		return;
	}
	if (p->via.hex[0] && !p->stored && now - p->sent_ms >= AGAIN_MS / 2)
		routes_unanswered(n, &d->id, &p->via);
	if (p->tries)
		count_attempt(n, p);
	/* The prekey does not open it any more: sealed anew, under the same ids. */
	if ((now - p->sealed_ms) / 1000 >= p->ttl_s) {
		parcel_free(k, p);
		d->more = true;
		activate(k, d);
		return;
	}
	(void)dispatch(k, p);
}

static void fill(struct courier *k, struct destination *d)
{
	struct node *n = k->node;
	bool created;

	while (d->more && d->letters < COURIER_WINDOW && d->bytes < COURIER_WINDOW_BYTES && map_count(k->rids) < PARCELS) {
		struct parcel *p = NULL;
		enum err e;
		void *v;

		if (env_now(n->env) < d->not_before_ms || !routes_next(n, &d->id, NULL))
			return;
		e = courier_seal(k, d, &p);
		if (e == ERR_AGAIN && (n->ops_n || n->group_failed))
			activate(k, d); /* after the commit */
		if (e == ERR_STORE)
			node_store_failed(n);
		if (e == ERR_NOTFOUND)
			d->more = false;
		if (e != ERR_OK) {
			if (e != ERR_AGAIN && e != ERR_NOTFOUND && e != ERR_LIMIT)
				courier_wake_at(k, d->not_before_ms = env_now(n->env) + BUSY_MS);
			return;
		}
		if (map_put(k->rids, BYTES_ARR(p->rid), 0, &v, &created) != ERR_OK) {
			free(p->rt);
			free(p->body);
			free(p);
			return;
		}
		memcpy(v, &p, sizeof p);
		list_add_tail(&d->parcels, &p->link);
		d->letters += p->n;
		d->bytes += p->bytes;
		if (!dispatch(k, p))
			courier_wake_at(k, p->due_ms);
		else
			courier_wake_at(k, p->due_ms);
	}
}

void courier_run(struct node *n)
{
	struct courier *k = n->courier;
	struct list now;

	if (!k || list_empty(&k->active))
		return;
	list_init(&now);
	list_add_tail(&k->active, &now);
	list_del(&k->active);
	while (!list_empty(&now)) {
		struct destination *d = list_entry(now.next, struct destination, active);

		list_del(&d->active);
		d->is_active = false;
		if (!has_session(n, &d->id))
			fill(k, d);
	}
}

struct round {
	struct courier *k;
	uint64_t now, next;
};

static bool look(void *ctx, struct bytes key, void *value)
{
	struct round *r = ctx;
	struct destination *d;

	memcpy(&d, value, sizeof d);
	for (struct list *l = d->parcels.next, *next; l != &d->parcels; l = next) {
		struct parcel *p = list_entry(l, struct parcel, link);

		next = l->next;
		if (p->due_ms <= r->now)
			parcel_due(r->k, p);
	}
	for (struct list *l = d->parcels.next; l != &d->parcels; l = l->next) {
		uint64_t due = list_entry(l, struct parcel, link)->due_ms;

		r->next = due < r->next ? due : r->next;
	}
	if (d->not_before_ms) {
		if (d->not_before_ms > r->now) {
			r->next = d->not_before_ms < r->next ? d->not_before_ms : r->next;
		} else {
			d->not_before_ms = 0;
			activate(r->k, d);
		}
	}
	return true;
}

static void due(void *ctx)
{
	struct courier *k = ctx;
	struct round r = { .k = k, .now = env_now(k->node->env), .next = UINT64_MAX };
	uint64_t receipts;

	map_each(k->destinations, look, &r);
	receipts = courier_receipts_due(k, false);
	r.next = receipts < r.next ? receipts : r.next;
	if (r.next != UINT64_MAX)
		courier_wake_at(k, r.next > r.now ? r.next : r.now + 1);
}

void courier_rolled_back(struct node *n)
{
	/* What is on its way stays: its rows are still queued. What ended in the lost group is queued again, and loaded. */
	struct courier *k = n->courier;

	if (k)
		courier_wake_at(k, env_now(n->env) + DISK_RETRY_MS);
}

/* --- what becomes of it --------------------------------------------------------------------------------------- */
static struct letter *letter_of(struct destination *d, const char *id, struct parcel **of)
{
	for (struct list *l = d->parcels.next; l != &d->parcels; l = l->next) {
		struct parcel *p = list_entry(l, struct parcel, link);

		for (unsigned i = 0; i < p->n; i++) {
			char hex[2 * MSG_WIRE_ID + 1];

			if (p->letters[i].gone)
				continue;
			hex_encode(BYTES_ARR(p->letters[i].wire_id), hex);
			if (strcmp(p->letters[i].id, id) == 0 || strcmp(hex, id) == 0) {
				*of = p;
				return &p->letters[i];
			}
		}
	}
	return NULL;
}

void courier_ended(struct node *n, const struct node_id *to, const char *id, bool confirmed)
{
	struct courier *k = n->courier;
	struct destination *d = k ? find(k, to) : NULL;
	struct parcel *p;
	struct letter *l = d ? letter_of(d, id, &p) : NULL;

	if (!l)
		return;
	l->gone = true;
	p->left--;
	if (confirmed) {
		d->introduced = true;
		d->reseals = 0;
		if (p->via.hex[0])
			routes_delivered(n, to, &p->via, (double)(env_now(n->env) - p->sent_ms));
	}
	if (p->left)
		return;
	parcel_free(k, p);
	if (d->more)
		activate(k, d);
}

bool courier_held(struct node *n, const struct node_id *to, const char *id)
{
	struct destination *d = n->courier ? find(n->courier, to) : NULL;
	struct parcel *p;

	if (!d || !letter_of(d, id, &p))
		return false;
	d->introduced = true;
	p->stored = true;
	p->due_ms = env_now(n->env) + STORED_MS;
	courier_wake_at(n->courier, p->due_ms);
	return true;
}

void courier_feedback(struct conn *from, const uint8_t rid[static 16], unsigned code, uint32_t retry_s)
{
	struct node *n = from->node;
	struct courier *k = n->courier;
	void *v = k ? map_peek(k->rids, bytes_of(rid, 16)) : NULL;
	uint64_t now = env_now(n->env);
	struct destination *d;
	struct parcel *p;

	if (!v)
		return;
	memcpy(&p, v, sizeof p);
	/* Only who has it can say something of it, and only hints. */
	if (!node_id_eq(&p->via, &from->peer->id))
		return;
	d = p->to;
	switch (code) {
	case ROUTEFB_STORED:
		if (!p->stored)
			tell(n, p, "message.stored", NULL);
		p->stored = true;
		p->due_ms = now + STORED_MS;
		break;
	case ROUTEFB_NO_ROUTE:
	case ROUTEFB_HOPS:
	case ROUTEFB_QUOTA:
	case ROUTEFB_POLICY:
		tell(n, p, "message.unreachable", code == ROUTEFB_QUOTA ? "the relay takes no more now" :
						  code == ROUTEFB_POLICY ? "the relay does not forward for us" : "no route");
		log_info("unreachable to=%s via=%s code=%u", d->id.hex, from->peer->id.hex, code);
		/* Another way at once, if there is one. */
		if (routes_next_other(n, &d->id, NULL, &p->via)) {
			(void)dispatch(k, p);
		} else {
			memset(&p->via, 0, sizeof p->via);
			p->due_ms = now + (retry_s ? (uint64_t)retry_s * 1000 : AGAIN_MS);
		}
		break;
	case ROUTEFB_NO_PREKEY:
	case ROUTEFB_CANNOT_OPEN:
		if (d->reseals >= RESEALS)
			break;
		d->reseals++;
		d->introduced = false;
		d->more = true;
		d->not_before_ms = now + BUSY_MS * 2;
		records_want(from, &d->id, IM2_REC_PREKEY_T);
		courier_wake_at(k, d->not_before_ms);
		parcel_free(k, p);
		return;
	default:
		return;
	}
	courier_wake_at(k, p->due_ms);
}

bool courier_view(struct node *n, const struct node_id *to, const char *id, struct courier_view *out)
{
	struct destination *d = n->courier ? find(n->courier, to) : NULL;
	struct parcel *p;

	if (!d || !letter_of(d, id, &p))
		return false;
	*out = (struct courier_view){ .sent = p->via.hex[0] != 0, .stored = p->stored, .no_fs = p->no_fs, .via = p->via,
				     .age_ms = env_now(n->env) - p->sealed_ms };
	return true;
}

void courier_key(struct node *n, const struct node_id *to)
{
	struct courier *k = n->courier;
	struct destination *d = k ? find(k, to) : NULL;
	struct owed **o = k ? map_peek(k->owed, bytes_of(to->hex, NODE_ID_LEN)) : NULL;

	if (o)
		courier_wake_at(k, (*o)->due_ms = env_now(n->env));
	if (!d)
		return;
	d->not_before_ms = 0;
	activate(k, d);
}

/* --- birth, end ------------------------------------------------------------------------------------------------- */
enum err courier_new(struct node *n)
{
	struct map_opts mo = { .capacity = DESTINATIONS, .policy = MAP_REFUSE, .value_size = sizeof(void *) };
	struct courier *k;

	if (!n->im2 || n->c.routing == ROUTING_OFF)
		return ERR_OK;
	k = calloc(1, sizeof *k);
	if (!k)
		return ERR_NOMEM;
	n->courier = k;
	k->node = n;
	list_init(&k->active);
	timer_init(&k->timer, due, k);
	buf_init(&k->plain, IM2_SEAL_PLAIN_MAX + 16);
	env_random(n->env, mo.hash_key, sizeof mo.hash_key);
	k->destinations = map_new(&mo);
	mo.capacity = PARCELS;
	k->rids = map_new(&mo);
	mo.capacity = OWED;
	k->owed = map_new(&mo);
	return k->destinations && k->rids && k->owed ? ERR_OK : ERR_NOMEM;
}

static bool free_owed(void *ctx, struct bytes key, void *value)
{
	struct owed *o;

	memcpy(&o, value, sizeof o);
	free(o);
	return false;
}

static bool first(void *ctx, struct bytes key, void *value)
{
	struct destination **d = ctx;

	if (!*d)
		memcpy(d, value, sizeof *d);
	return true;
}

void courier_free(struct node *n)
{
	struct courier *k = n->courier;

	if (!k)
		return;
	timer_stop(n->env, &k->timer);
	while (k->destinations && k->rids && map_count(k->destinations)) {
		struct destination *d = NULL;

		map_each(k->destinations, first, &d);
		destination_free(k, d);
	}
	if (k->owed)
		map_each(k->owed, free_owed, NULL);
	map_free(k->destinations);
	map_free(k->rids);
	map_free(k->owed);
	buf_wipe(&k->plain);
	buf_fini(&k->plain);
	free(k);
	n->courier = NULL;
}
