/* courier.c -- who has something waiting behind relays, what is on its way, and when it goes again (im2.md 10.3). */
#include "daemon/courier_internal.h"

#include <stdlib.h>

#include "base/text.h"

#define DESTINATIONS 1024
#define AUTHORS 1024
#define GATHER_MS 5

static bool has_session(struct node *n, const struct node_id *id)
{
	struct peer *p = peer_find(n, id);

	return p && p->conn;
}

/* --- destinations ------------------------------------------------------------------------------------------------ */
struct destination *courier_find(struct courier *k, const struct node_id *id)
{
	void *v = map_peek(k->destinations, bytes_of(id->hex, NODE_ID_LEN));
	struct destination *d = NULL;

	if (v)
		memcpy(&d, v, sizeof d);
	return d;
}

static void destination_free(struct courier *k, struct destination *d)
{
	list_del(&d->active);
	list_del(&d->all);
	map_del(k->destinations, bytes_of(d->id.hex, NODE_ID_LEN));
	free(d);
}

/* Those for whom nothing waits and nothing is on its way hold nothing that cannot be made again. */
static void drop_idle(struct courier *k)
{
	for (struct list *l = k->all.next, *next; l != &k->all; l = next) {
		struct destination *d = list_entry(l, struct destination, all);

		next = l->next;
		if (list_empty(&d->parcels) && !d->more && !d->is_active)
			destination_free(k, d);
	}
}

static struct destination *get(struct courier *k, const struct node_id *id)
{
	struct destination *d = courier_find(k, id);
	bool created;
	void *v;

	if (d)
		return d;
	if (map_count(k->destinations) >= DESTINATIONS)
		drop_idle(k);
	d = calloc(1, sizeof *d);
	if (!d || map_put(k->destinations, bytes_of(id->hex, NODE_ID_LEN), 0, &v, &created) != ERR_OK) {
		free(d);
		return NULL;
	}
	memcpy(v, &d, sizeof d);
	d->id = *id;
	list_init(&d->parcels);
	list_init(&d->active);
	list_add_tail(&k->all, &d->all);
	return d;
}

void courier_wake_at(struct courier *k, uint64_t at_ms)
{
	if (!timer_armed(&k->timer) || k->timer.at_ms > at_ms)
		timer_at(k->node->env, &k->timer, at_ms);
}

void courier_activate(struct courier *k, struct destination *d)
{
	if (d->is_active)
		return;
	d->is_active = true;
	list_add_tail(&k->active, &d->active);
	node_want_turn(k->node);
}

/* --- parcels ----------------------------------------------------------------------------------------------------- */
static void parcel_free(struct courier *k, struct parcel *p)
{
	list_del(&p->link);
	map_del(k->rids, BYTES_ARR(p->rid));
	p->to->letters -= p->n;
	p->to->bytes -= p->bytes;
	k->letters -= p->n;
	k->bytes -= p->body_n;
	free(p->rt);
	free(p->body);
	free(p);
	if (k->blocked)
		courier_wake_at(k, env_now(k->node->env));
}

void courier_parcel_end(struct courier *k, struct parcel *p)
{
	p->over = true;
	if (!p->busy)
		parcel_free(k, p);
}

void courier_parcel_hold(struct parcel *p)
{
	p->busy++;
}

void courier_parcel_release(struct courier *k, struct parcel *p)
{
	if (--p->busy == 0 && (p->over || !p->left))
		parcel_free(k, p);
}

static void empty(struct courier *k, struct destination *d)
{
	for (struct list *l = d->parcels.next, *next; l != &d->parcels; l = next) {
		next = l->next;
		courier_parcel_end(k, list_entry(l, struct parcel, link));
	}
}

static bool parcel_add(struct courier *k, struct destination *d, struct parcel *p)
{
	bool created;
	void *v;

	if (map_put(k->rids, BYTES_ARR(p->rid), 0, &v, &created) != ERR_OK) {
		free(p->rt);
		free(p->body);
		free(p);
		return false;
	}
	memcpy(v, &p, sizeof p);
	list_add_tail(&d->parcels, &p->link);
	d->letters += p->n;
	d->bytes += p->bytes;
	k->letters += p->n;
	k->bytes += p->body_n;
	return true;
}

/* --- sending ------------------------------------------------------------------------------------------------------ */
uint64_t courier_again_ms(struct node *n, uint32_t tries)
{
	uint64_t ms = COURIER_AGAIN_MS;

	for (uint32_t i = 1; i < tries && ms < COURIER_AGAIN_MAX_MS; i++)
		ms *= 2;
	if (ms > COURIER_AGAIN_MAX_MS)
		ms = COURIER_AGAIN_MAX_MS;
	return ms * 4 / 5 + env_uniform(n->env, ms * 2 / 5 + 1);
}

void courier_tell(struct courier *k, struct parcel *p, const char *type, const char *reason)
{
	struct node *n = k->node;

	courier_parcel_hold(p);
	for (unsigned i = 0; i < p->n && n->observer; i++) {
		struct node_event ev = { .type = type, .peer = p->to->id, .msg_id = p->letters[i].id, .reason = reason,
					 .via = "relay" };

		if (!p->letters[i].gone && !p->letters[i].unasked)
			node_event(n, &ev);
	}
	courier_parcel_release(k, p);
}

void courier_stranded(struct courier *k, struct parcel *p, const char *why, uint64_t wait_ms)
{
	bool was_sent = p->via.hex[0] != 0;

	memset(&p->via, 0, sizeof p->via);
	p->stored = false;
	p->due_ms = env_now(k->node->env) + wait_ms;
	courier_wake_at(k, p->due_ms);
	if (was_sent)
		courier_tell(k, p, "message.unreachable", why);
}

void courier_dispatch(struct courier *k, struct parcel *p)
{
	struct node *n = k->node;
	const struct node_id *last = p->via.hex[0] ? &p->via : NULL;
	struct conn *next = last ? routes_next_other(n, &p->to->id, NULL, last) : NULL;
	uint64_t now = env_now(n->env);
	enum err e;

	if (!next)
		next = routes_next(n, &p->to->id, NULL);
	if (!next) {
		courier_stranded(k, p, "no route", COURIER_AGAIN_MS);
		return;
	}
	e = relay_send(next, bytes_of(p->rt, p->rt_n), bytes_of(p->body, p->body_n),
		       RELAY_HOPS - 1 + (unsigned)env_uniform(n->env, 4), (uint32_t)((now - p->sealed_ms) / 1000));
	if (e != ERR_OK) {
		p->due_ms = now + COURIER_BUSY_MS;
		courier_wake_at(k, p->due_ms);
		return;
	}
	p->via = next->peer->id;
	p->sent_ms = now;
	p->stored = false;
	p->tries++;
	p->due_ms = now + courier_again_ms(n, p->tries);
	courier_wake_at(k, p->due_ms);
	n->n.sealed_sent += p->left;
	n->n.messages_resent += p->tries > 1 ? p->left : 0;
	n->n.messages_sent += p->left;
	courier_parcel_hold(p);
	courier_tell(k, p, "message.sent", NULL);
	courier_left(k, p);
	courier_parcel_release(k, p);
}

static bool count_attempt(struct node *n, const struct parcel *p)
{
	const struct outbox_try t = courier_try(n, p);

	for (unsigned i = 0; i < p->n; i++)
		if (!p->letters[i].gone && outbox_attempt(n->p.store, p->letters[i].seq, &t) == ERR_STORE) {
			node_store_failed(n);
			return false;
		}
	node_store_soft(n);
	return true;
}

/* Its time has come: nobody confirmed it. */
static void parcel_due(struct courier *k, struct parcel *p)
{
	struct node *n = k->node;
	struct destination *d = p->to;
	const struct pin *pin = pins_get(n->p.pins, &d->id);
	uint64_t now = env_now(n->env);

	p->turned = 0;
	p->due_ms = now + COURIER_BUSY_MS;
	if (p->via.hex[0] && !p->stored && now - p->sent_ms >= COURIER_AGAIN_MS / 2)
		routes_unanswered(n, &d->id, &p->via);
	if (p->tries && !count_attempt(n, p))
		return;
	/* Nothing goes to whom we do not trust any more. And the prekey may not open it any more: then it is sealed anew,
	 * under the same ids. */
	if (!pin || pin->state != PIN_TRUSTED || (now - p->sealed_ms) / 1000 >= p->ttl_s) {
		courier_parcel_end(k, p);
		d->more = true;
		courier_activate(k, d);
		return;
	}
	courier_dispatch(k, p);
}

static bool room(struct courier *k, const struct destination *d)
{
	if (d->letters >= COURIER_WINDOW || d->bytes >= COURIER_WINDOW_BYTES)
		return false;
	if (k->letters < COURIER_TOTAL && k->bytes < COURIER_TOTAL_BYTES)
		return true;
	k->blocked = true;
	return false;
}

/* While something is on its way the next one waits a moment for company: each object costs a signature and three agreements,
 * whatever is in it. */
static bool gathers(struct courier *k, struct destination *d)
{
	uint64_t now = env_now(k->node->env), per_state[OUTBOX_STATES];

	if (list_empty(&d->parcels) || now >= d->sealed_ms + GATHER_MS ||
	    outbox_count(k->node->p.store, &d->id, per_state) != ERR_OK ||
	    per_state[OUTBOX_QUEUED] >= d->letters + COURIER_BATCH)
		return false;
	courier_wake_at(k, d->not_before_ms = d->sealed_ms + GATHER_MS);
	return true;
}

static void fill(struct courier *k, struct destination *d)
{
	struct node *n = k->node;

	while (d->more && room(k, d)) {
		struct parcel *p = NULL;
		enum err e;

		if (env_now(n->env) < d->not_before_ms || !routes_next(n, &d->id, NULL) || gathers(k, d))
			return;
		e = courier_seal(k, d, &p);
		if (e == ERR_LIMIT || e == ERR_UNTRUSTED)
			continue;
		if (e == ERR_AGAIN && (n->ops_n || n->group_failed))
			courier_activate(k, d); /* after the commit */
		if (e == ERR_STORE)
			node_store_failed(n);
		if (e == ERR_NOTFOUND)
			d->more = false;
		if (e != ERR_OK || !parcel_add(k, d, p)) {
			if (e != ERR_AGAIN && e != ERR_NOTFOUND)
				courier_wake_at(k, d->not_before_ms = env_now(n->env) + COURIER_BUSY_MS);
			return;
		}
		d->sealed_ms = p->sealed_ms;
		courier_dispatch(k, p);
	}
}

/* --- the turn, and time --------------------------------------------------------------------------------------------- */
void courier_run(struct node *n)
{
	struct courier *k = n->courier;
	struct list now;

	if (!k)
		return;
	if (k->receipts_due) {
		uint64_t next = courier_receipts_due(k);

		if (next != UINT64_MAX)
			courier_wake_at(k, next);
	}
	if (list_empty(&k->active))
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

/* Each that is dealt with is due later, or gone; events may end others meanwhile. */
static struct parcel *due_parcel(struct destination *d, uint64_t now, uint64_t *next)
{
	for (struct list *l = d->parcels.next; l != &d->parcels; l = l->next) {
		struct parcel *p = list_entry(l, struct parcel, link);

		if (p->due_ms <= now)
			return p;
		*next = p->due_ms < *next ? p->due_ms : *next;
	}
	return NULL;
}

static void look(struct courier *k, struct destination *d, uint64_t now, uint64_t *next)
{
	struct parcel *p;

	if (has_session(k->node, &d->id)) {
		empty(k, d);
		return;
	}
	while ((p = due_parcel(d, now, next)))
		parcel_due(k, p);
	if (d->not_before_ms > now)
		*next = d->not_before_ms < *next ? d->not_before_ms : *next;
	else if (d->more && (d->not_before_ms || k->blocked))
		courier_activate(k, d);
	if (d->not_before_ms <= now)
		d->not_before_ms = 0;
}

static void due(void *ctx)
{
	struct courier *k = ctx;
	uint64_t now = env_now(k->node->env), next = UINT64_MAX;
	struct list *l;

	for (l = k->all.next; l != &k->all; l = l->next)
		look(k, list_entry(l, struct destination, all), now, &next);
	k->blocked = false;
	for (l = k->owing.next; l != &k->owing; l = l->next) {
		const struct owed *o = list_entry(l, struct owed, link);

		if (o->due_ms <= now) {
			k->receipts_due = true;
			node_want_turn(k->node);
		} else {
			next = o->due_ms < next ? o->due_ms : next;
		}
	}
	if (next != UINT64_MAX)
		courier_wake_at(k, next > now ? next : now + 1);
}

static bool waits(struct node *n, const struct node_id *to)
{
	uint64_t per_state[OUTBOX_STATES];

	return outbox_count(n->p.store, to, per_state) == ERR_OK && per_state[OUTBOX_QUEUED];
}

void courier_wake(struct node *n, const struct node_id *to)
{
	struct courier *k = n->courier;
	struct destination *d;
	struct conn *next;

	if (!k || n->stopping || has_session(n, to) || !routes_next(n, to, NULL))
		return;
	courier_receipts_wake(k, to);
	d = courier_find(k, to);
	if (!d && waits(n, to))
		d = get(k, to);
	if (!d)
		return;
	d->more = true;
	/* What nobody has goes at once, now that there is a way; and what was given in vain before to somebody who is
	 * not the best way any more. */
	next = routes_next(n, to, NULL);
	for (struct list *l = d->parcels.next; l != &d->parcels; l = l->next) {
		struct parcel *p = list_entry(l, struct parcel, link);

		if (!p->via.hex[0] || (p->tries > 1 && !p->stored && !node_id_eq(&p->via, &next->peer->id))) {
			p->due_ms = env_now(n->env);
			courier_wake_at(k, p->due_ms);
		}
	}
	courier_activate(k, d);
}

void courier_direct(struct node *n, const struct node_id *to)
{
	struct destination *d = n->courier ? courier_find(n->courier, to) : NULL;

	if (d) {
		d->introduced = true;
		empty(n->courier, d);
	}
	if (n->courier)
		courier_receipts_direct(n->courier, to);
}

/* What it had of ours may have got lost with the link: it goes again as soon as there is a way. */
void courier_lost(struct node *n, const struct node_id *via)
{
	struct courier *k = n->courier;

	if (!k || n->stopping)
		return;
	for (struct list *l = k->all.next; l != &k->all; l = l->next) {
		struct destination *d = list_entry(l, struct destination, all);

		for (struct list *m = d->parcels.next, *next; m != &d->parcels; m = next) {
			struct parcel *p = list_entry(m, struct parcel, link);

			next = m->next;
			if (node_id_eq(&p->via, via) && !p->stored && !p->busy) {
				memset(&p->via, 0, sizeof p->via);
				p->due_ms = env_now(n->env) + COURIER_BUSY_MS;
				courier_wake_at(k, p->due_ms);
			}
		}
	}
}

void courier_rolled_back(struct node *n)
{
	struct courier *k = n->courier;
	uint64_t at = env_now(n->env) + DISK_RETRY_MS;

	if (!k)
		return;
	/* What is on its way stays: its rows are still queued. What had ended in the lost group is queued again. */
	for (struct list *l = k->all.next; l != &k->all; l = l->next) {
		struct destination *d = list_entry(l, struct destination, all);

		d->more = true;
		d->not_before_ms = at;
	}
	courier_receipts_rolled_back(k);
	courier_wake_at(k, at);
}

/* --- birth, end ------------------------------------------------------------------------------------------------------- */
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
	list_init(&k->all);
	list_init(&k->active);
	list_init(&k->owing);
	timer_init(&k->timer, due, k);
	buf_init(&k->plain, IM2_SEAL_PLAIN_MAX + 16);
	env_random(n->env, mo.hash_key, sizeof mo.hash_key);
	k->destinations = map_new(&mo);
	mo.capacity = COURIER_TOTAL;
	k->rids = map_new(&mo);
	mo.capacity = AUTHORS;
	k->owed = map_new(&mo);
	mo.capacity = n->c.limits.sessions;
	mo.policy = MAP_EVICT_LRU;
	mo.value_size = sizeof(struct giver);
	k->givers = map_new(&mo);
	routes_probe_with(n, courier_probe);
	return k->destinations && k->rids && k->owed && k->givers ? ERR_OK : ERR_NOMEM;
}

void courier_free(struct node *n)
{
	struct courier *k = n->courier;

	if (!k)
		return;
	while (!list_empty(&k->all)) {
		struct destination *d = list_entry(k->all.next, struct destination, all);

		while (!list_empty(&d->parcels))
			parcel_free(k, list_entry(d->parcels.next, struct parcel, link));
		destination_free(k, d);
	}
	courier_receipts_free(k);
	timer_stop(n->env, &k->timer);
	map_free(k->destinations);
	map_free(k->rids);
	map_free(k->owed);
	map_free(k->givers);
	buf_wipe(&k->plain);
	buf_fini(&k->plain);
	free(k);
	n->courier = NULL;
}
