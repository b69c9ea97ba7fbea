/* relay.c -- ROUTED and ROUTEFB: what is for us goes to the courier, what is for others goes on (im2.md 11.2). */
#include "daemon/relay.h"

#include <stdlib.h>

#include "base/text.h"
#include "daemon/courier.h"
#include "daemon/node_internal.h"
#include "daemon/relay_again.h"
#include "daemon/routes.h"
#include "protocol/im2/seal.h"
#include "store/transit.h"

#define SEEN_MAX 65536
#define SEEN_SHARE 8              /* one peer fills at most 1/8 */
#define SEEN_FROM 8               /* neighbours of one object */
#define SEEN_MS 600000
#define AGAIN_MS 30000            /* what one neighbour gave is forwarded again after */
#define KEEP_BITE 64              /* objects that go in one turn of a destination */
#define SWEEP_MS 30000
#define BUSY_MS 500               /* a next hop that took no more is asked again */
#define SWEEP_BITE 64             /* destinations looked at in one step */
/* ROUTED of one peer (18.3), and as much to one. */
#define RATE 500
#define BURST 2000
#define RATE_RETRY_S 5
#define QUOTA_RETRY_S 300
#define FEEDBACK_RETRY_MAX_S 86400
#define BYTES_RATE (16.0 * 1024 * 1024)
#define BYTES_BURST (32.0 * 1024 * 1024)
/* The same of one that is not trusted. */
#define OTHER_RATE 50
#define OTHER_BURST 200
#define OTHER_BYTES_RATE (1.0 * 1024 * 1024)
#define OTHER_BYTES_BURST (4.0 * 1024 * 1024)
#define PENDING_MAX 1024

static const struct transit_limits limits = { .objects_per_from = 1000, .bytes_per_from = 16u << 20, .bytes = 1ull << 30 };

#define TOLD(code) (uint16_t)(1u << ((code) <= ROUTEFB_CANNOT_OPEN ? (code) : 0))

/* One object, and the neighbours that brought it: feedback goes back to them, and nowhere else. */
struct seen {
	struct {
		uint8_t id[16];
		uint32_t at_s;     /* it came; monotonic + 1 */
		uint32_t on_s;     /* we forwarded what this neighbour gave; 0 = not yet */
		uint16_t told;     /* codes it heard: once each, or two relays would tell each other for ever */
	} from[SEEN_FROM];
	uint8_t n;
};

struct rate {
	struct bucket in, in_bytes; /* what we take from it */
	struct bucket out, out_bytes; /* what it takes from us: its defaults */
	bool trusted;
};

/* Kept in the open group: answered once that is on disk. */
struct answer {
	uint8_t rid[16];
	struct node_id from;
};

struct relay {
	struct node *node;
	struct map *seen;          /* rid -> struct seen */
	struct map *rates;         /* node id -> struct rate */
	struct answer *pending;
	size_t pending_n;
	struct relay_again *again;
	const struct node_id *giver; /* of what is sent right now; NULL: ours */
	struct timer sweep;
	struct node_id swept;      /* the last destination that the sweep looked at; hex "": from the start */
	struct relay_view n;
	struct buf rt, body;
};

static void raw_of(const struct node_id *id, uint8_t out[static 16])
{
	(void)!hex_decode(bytes_of(id->hex, NODE_ID_LEN), out, 16);
}

static void id_of(const uint8_t raw[static 16], struct node_id *out)
{
	hex_encode(bytes_of(raw, 16), out->hex);
}

static uint32_t seconds_now(const struct node *n)
{
	return (uint32_t)(env_now(n->env) / 1000) + 1;
}

static struct conn *session_of(struct node *n, const struct node_id *id)
{
	struct peer *p = peer_find(n, id);

	return p && p->conn && p->conn->online && p->conn->im2 && !p->conn->closing ? p->conn : NULL;
}

/* --- rates ------------------------------------------------------------------------------------------------ */
static struct rate *rate_of(struct relay *r, const struct node_id *id)
{
	const struct pin *pin = pins_get(r->node->p.pins, id);
	bool trusted = pin && pin->state == PIN_TRUSTED;
	uint64_t now = env_now(r->node->env);
	struct rate *a;
	bool created;
	void *v;

	if (map_put(r->rates, bytes_of(id->hex, NODE_ID_LEN), 0, &v, &created) != ERR_OK)
		return NULL;
	a = v;
	if (created) {
		bucket_init(&a->out, RATE, BURST, now);
		bucket_init(&a->out_bytes, BYTES_RATE, BYTES_BURST, now);
	}
	if (created || a->trusted != trusted) {
		bucket_init(&a->in, trusted ? RATE : OTHER_RATE, trusted ? BURST : OTHER_BURST, now);
		bucket_init(&a->in_bytes, trusted ? BYTES_RATE : OTHER_BYTES_RATE,
			    trusted ? BYTES_BURST : OTHER_BYTES_BURST, now);
		a->trusted = trusted;
	}
	return a;
}

static bool take_both(struct bucket *objects, struct bucket *bytes, size_t n, uint64_t now)
{
	return bucket_wait_ms(objects, 1, now) == 0 && bucket_take(bytes, (double)n, now) && bucket_take(objects, 1, now);
}

/* It is given again when this neighbour does not answer. */
static void remember_given(struct relay *r, const struct conn *next, struct bytes rt, struct bytes body, unsigned hops,
			   uint32_t age_s)
{
	struct node_id to;
	struct im2_rt head;
	uint8_t rid[16];

	if (im2_rt_parse(rt, &head) != IM2_FINE)
		return;
	id_of(head.to, &to);
	im2_rid(rt, body, rid);
	relay_again_sent(r->again, r->giver, &next->peer->id, &to, rid, rt, body, hops, age_s);
}

/* --- items ------------------------------------------------------------------------------------------------ */
enum err relay_send(struct conn *next, struct bytes rt, struct bytes body, unsigned hops, uint32_t age_s)
{
	struct relay *r = next->node->relay;
	struct im2_fields f = { .schema = &im2_routed };
	struct rate *a;
	struct buf b;
	enum err e;

	if (next->closing || !next->online || !r)
		return ERR_CLOSED;
	if (hops > 16 || age_s > IM2_TTL_MAX || body.n > IM2_ROUTED_BODY_MAX)
		return ERR_LIMIT;
	a = rate_of(r, &next->peer->id);
	if (!a || !take_both(&a->out, &a->out_bytes, rt.n + body.n, env_now(next->node->env)))
		return ERR_AGAIN;
	buf_init(&b, IM2_TRANSFER_MAX);
	im2_set_b(&f, IM2_ROUTED_RT, rt);
	im2_set_b(&f, IM2_ROUTED_BODY, body);
	im2_set_u(&f, IM2_ROUTED_HOPS, hops);
	im2_set_u(&f, IM2_ROUTED_AGE, age_s);
	im2_write(&im2_routed, &f, &b);
	e = b.err;
	if (e == ERR_OK)
		e = im2_link_item(next->session, IM2_ITEM_ROUTED, buf_bytes(&b));
	buf_fini(&b);
	if (e == ERR_OK) {
		conn_pump_later(next);
		remember_given(r, next, rt, body, hops, age_s);
	}
	return e;
}

void relay_feedback(struct conn *to, const uint8_t rid[static 16], enum routefb code, uint32_t retry_s)
{
	struct im2_fields f = { .schema = &im2_routefb };
	struct buf b;

	if (to->closing || !to->online)
		return;
	buf_init(&b, 64);
	im2_set_b(&f, IM2_ROUTEFB_RID, bytes_of(rid, 16));
	im2_set_u(&f, IM2_ROUTEFB_CODE, code);
	if (retry_s)
		im2_set_u(&f, IM2_ROUTEFB_RETRY, retry_s);
	im2_write(&im2_routefb, &f, &b);
	if (b.err == ERR_OK && im2_link_item(to->session, IM2_ITEM_ROUTEFB, buf_bytes(&b)) == ERR_OK)
		conn_pump_later(to);
	buf_fini(&b);
}

/* --- memory of objects -------------------------------------------------------------------------------------- */
static struct seen *seen_find(struct relay *r, const uint8_t rid[static 16])
{
	return map_get(r->seen, bytes_of(rid, 16));
}

static int seen_from(const struct relay *r, const struct seen *s, const uint8_t raw[static 16])
{
	uint32_t now = seconds_now(r->node);

	for (int i = 0; i < s->n; i++)
		if (memcmp(s->from[i].id, raw, 16) == 0 && now - s->from[i].at_s <= SEEN_MS / 1000)
			return i;
	return -1;
}

/* The place of this neighbour; its oldest fellow makes room. NULL without memory. */
static struct seen *remember(struct relay *r, const uint8_t rid[static 16], const uint8_t raw[static 16], int *at)
{
	uint64_t source;
	struct seen *s;
	bool created;
	void *v;

	memcpy(&source, raw, sizeof source);
	if (map_put(r->seen, bytes_of(rid, 16), source, &v, &created) != ERR_OK)
		return NULL;
	s = v;
	*at = seen_from(r, s, raw);
	if (*at < 0) {
		*at = s->n < SEEN_FROM ? s->n++ : 0;
		for (int i = 0; s->n == SEEN_FROM && i < SEEN_FROM; i++)
			if (s->from[i].at_s < s->from[*at].at_s)
				*at = i;
		memset(&s->from[*at], 0, sizeof s->from[0]);
		memcpy(s->from[*at].id, raw, 16);
	}
	s->from[*at].at_s = seconds_now(r->node);
	s->from[*at].told = 0;
	return s;
}

/* --- forwarding ---------------------------------------------------------------------------------------------- */
struct object {
	uint8_t rid[16];
	struct im2_rt head;
	struct node_id to;
	struct bytes rt, body;
	unsigned hops;
	uint32_t age_s;
};

/* ERR_NOTFOUND: no way. ERR_AGAIN: the next one does not take it now. */
static enum err forward(struct relay *r, const struct object *o, const struct node_id *from, struct conn **next)
{
	enum err e;

	*next = routes_next(r->node, &o->to, from);
	if (!*next)
		return ERR_NOTFOUND;
	r->giver = from;
	e = relay_send(*next, o->rt, o->body, o->hops - 1, o->age_s);
	r->giver = NULL;
	if (e == ERR_OK) {
		r->n.forwarded++;
		r->node->n.relay_forwarded++;
	}
	return e;
}

static void forwarded(struct relay *r, struct conn *back, const struct object *o, const struct conn *next)
{
	enum routefb code = node_id_eq(&next->peer->id, &o->to) ? ROUTEFB_HANDED : ROUTEFB_FORWARDED;
	struct seen *s = back ? seen_find(r, o->rid) : NULL;
	uint8_t raw[16];
	int at;

	if (!back)
		return;
	raw_of(&back->peer->id, raw);
	at = s ? seen_from(r, s, raw) : -1;
	if (at >= 0)
		s->from[at].told |= TOLD(code); /* the next hop says the same */
	relay_feedback(back, o->rid, code, 0);
}

static void dropped(struct relay *r, struct conn *c, const struct object *o, enum routefb code, uint32_t retry_s,
		    uint64_t *counter)
{
	++*counter;
	r->n.dropped++;
	relay_feedback(c, o->rid, code, retry_s);
}

static void sweep_in(struct relay *r, uint64_t ms)
{
	uint64_t at = env_now(r->node->env) + ms;

	if (!timer_armed(&r->sweep) || r->sweep.at_ms > at)
		timer_at(r->node->env, &r->sweep, at);
}

static void keep(struct relay *r, struct conn *c, const struct object *o)
{
	struct node *n = r->node;
	struct transit_new t = { .to = o->to, .from = c->peer->id, .prio = o->head.prio, .ttl_s = o->head.ttl_s,
				 .age_s = o->age_s, .hops = (uint8_t)o->hops, .rt = o->rt, .body = o->body };
	enum err e = r->pending_n < PENDING_MAX ? ERR_OK : ERR_FULL;

	memcpy(t.rid, o->rid, sizeof t.rid);
	if (e == ERR_OK)
		e = transit_put(n->p.store, &limits, &t);
	if (e == ERR_STORE) {
		node_store_failed(n);
		return; /* unanswered: the previous hop sends it again (10.4) */
	}
	if (e != ERR_OK && e != ERR_EXISTS) {
		dropped(r, c, o, ROUTEFB_QUOTA, QUOTA_RETRY_S, &n->n.relay_quota);
		return;
	}
	memcpy(r->pending[r->pending_n].rid, o->rid, sizeof o->rid);
	r->pending[r->pending_n++].from = c->peer->id;
	r->n.kept += e == ERR_OK;
	n->n.relay_stored += e == ERR_OK;
	node_store_hard(n);
	sweep_in(r, SWEEP_MS);
}

/* What was kept of it has gone another way. A crash before this is written sends it again: the recipient knows it then. */
static void kept_no_more(struct relay *r, int64_t seq)
{
	enum err e = transit_del(r->node->p.store, seq);

	if (e != ERR_OK)
		node_store_failed(r->node);
	else
		node_store_soft(r->node);
}

/* In the order of 11.2; the object is for another node. */
static void pass(struct relay *r, struct conn *c, struct object *o)
{
	struct node *n = r->node;
	const struct pin *pin = pins_get(n->p.pins, &c->peer->id);
	uint32_t now = seconds_now(n);
	struct transit_row row;
	struct conn *next;
	uint8_t raw[16];
	struct seen *s;
	bool stored;
	int at;
	enum err e;

	if (n->c.routing != ROUTING_RELAY || !pin || pin->state != PIN_TRUSTED) {
		dropped(r, c, o, ROUTEFB_POLICY, 0, &n->n.relay_refused);
		return;
	}
	if (o->age_s >= o->head.ttl_s) {
		dropped(r, c, o, ROUTEFB_EXPIRED, 0, &n->n.relay_expired);
		return;
	}
	stored = r->n.kept && transit_has(n->p.store, o->rid, &row) == ERR_OK;
	if (stored && !routes_next(n, &o->to, &c->peer->id)) {
		keep(r, c, o); /* the smaller age stays, and it is told again */
		return;
	}
	if (stored && row.age_s < o->age_s)
		o->age_s = row.age_s;
	raw_of(&c->peer->id, raw);
	s = seen_find(r, o->rid);
	at = s ? seen_from(r, s, raw) : -1;
	if (at >= 0 && s->from[at].on_s && now - s->from[at].on_s < AGAIN_MS / 1000) {
		n->n.relay_repeated++;
		return;
	}
	s = remember(r, o->rid, raw, &at);
	if (!s)
		return;
	if (o->hops == 0) {
		dropped(r, c, o, ROUTEFB_HOPS, 0, &n->n.relay_hops);
		return;
	}
	e = forward(r, o, &c->peer->id, &next);
	if (e == ERR_OK) {
		s->from[at].on_s = now;
		if (stored)
			kept_no_more(r, row.seq);
		forwarded(r, c, o, next);
	} else if (e == ERR_LIMIT) {
		dropped(r, c, o, ROUTEFB_NO_ROUTE, 0, &n->n.relay_no_route);
	} else {
		keep(r, c, o);
		if (e != ERR_NOTFOUND)
			sweep_in(r, BUSY_MS);
	}
}

static void on_routed(struct relay *r, struct conn *c, struct bytes value)
{
	struct node *n = r->node;
	struct rate *a;
	struct object o;
	struct im2_fields f;

	if (im2_parse(&im2_routed, value, &f) != IM2_FINE ||
	    im2_rt_parse(f.v[IM2_ROUTED_RT].b, &o.head) != IM2_FINE) {
		n->n.relay_malformed++;
		return;
	}
	o.rt = f.v[IM2_ROUTED_RT].b;
	o.body = f.v[IM2_ROUTED_BODY].b;
	o.hops = (unsigned)f.v[IM2_ROUTED_HOPS].u;
	o.age_s = (uint32_t)f.v[IM2_ROUTED_AGE].u;
	id_of(o.head.to, &o.to);
	im2_rid(o.rt, o.body, o.rid);
	a = rate_of(r, &c->peer->id);
	if (!a || !take_both(&a->in, &a->in_bytes, value.n, env_now(n->env))) {
		dropped(r, c, &o, ROUTEFB_QUOTA, RATE_RETRY_S, &n->n.relay_quota);
		return;
	}
	if (node_id_eq(&o.to, keyring_id(n->p.keyring))) {
		courier_arrived(c, o.rid, o.rt, o.body, o.age_s);
		/* The neighbour need not give it again; whether it opened is another question. But what the disk has just refused
		 * comes again, and not only when its author repeats it, if he does. */
		if (!n->group_failed)
			relay_feedback(c, o.rid, ROUTEFB_HANDED, 0);
	} else {
		pass(r, c, &o);
	}
}

/* Back along those who brought it. It names nobody and proves nothing. */
static void on_feedback(struct relay *r, struct conn *c, struct bytes value)
{
	struct im2_fields f;
	uint8_t rid[16]; /* what is sent meanwhile moves what was borrowed */
	struct seen *s;
	uint32_t retry;
	unsigned code;

	if (im2_parse(&im2_routefb, value, &f) != IM2_FINE)
		return;
	memcpy(rid, f.v[IM2_ROUTEFB_RID].b.p, sizeof rid);
	code = (unsigned)f.v[IM2_ROUTEFB_CODE].u;
	retry = f.v[IM2_ROUTEFB_RETRY].u < FEEDBACK_RETRY_MAX_S ? (uint32_t)f.v[IM2_ROUTEFB_RETRY].u : FEEDBACK_RETRY_MAX_S;
	r->n.heard[code <= ROUTEFB_CANNOT_OPEN ? code : 0]++;
	relay_again_heard(r->again, &c->peer->id, rid);
	courier_feedback(c, rid, code, retry);
	s = seen_find(r, rid);
	for (int i = 0; s && i < s->n; i++) {
		struct node_id id;
		struct conn *back;

		id_of(s->from[i].id, &id);
		back = session_of(r->node, &id);
		if (!back || back == c || (s->from[i].told & TOLD(code)))
			continue;
		s->from[i].told |= TOLD(code);
		relay_feedback(back, rid, code, retry);
	}
}

void relay_item(struct conn *c, const struct session_event *e)
{
	struct relay *r = c->node->relay;

	if (!r || !c->peer || c->closing)
		return;
	if (e->tag == IM2_ITEM_ROUTED)
		on_routed(r, c, e->item);
	else
		on_feedback(r, c, e->item);
}

/* --- what is kept --------------------------------------------------------------------------------------------- */
/* ERR_OK: it goes from here. ERR_NOTFOUND: no way that it did not come by. ERR_AGAIN: the next one takes no more now. */
static enum err go_on(struct relay *r, const struct transit_row *row)
{
	struct object o = { .to = row->to, .hops = row->hops, .age_s = row->age_s };
	struct conn *next;
	uint8_t raw[16];
	struct seen *s;
	int at;
	enum err e;

	if (row->age_s >= row->ttl_s || row->hops == 0)
		return ERR_OK;
	if (!routes_next(r->node, &row->to, &row->from))
		return ERR_NOTFOUND;
	memcpy(o.rid, row->rid, sizeof o.rid);
	buf_reset(&r->rt);
	buf_reset(&r->body);
	e = transit_read(r->node->p.store, row->seq, &r->rt, &r->body);
	if (e != ERR_OK)
		return e;
	o.rt = buf_bytes(&r->rt);
	o.body = buf_bytes(&r->body);
	e = forward(r, &o, &row->from, &next);
	if (e != ERR_OK)
		return e == ERR_LIMIT ? ERR_OK : e;
	raw_of(&row->from, raw);
	s = remember(r, o.rid, raw, &at);
	if (s)
		s->from[at].on_s = seconds_now(r->node);
	forwarded(r, session_of(r->node, &row->from), &o, next);
	return ERR_OK;
}

void relay_given_up(struct node *n, const struct node_id *from, const struct node_id *to, const uint8_t rid[static 16],
		    struct bytes rt, struct bytes body, unsigned hops, uint32_t age_s)
{
	struct transit_new t = { .to = *to, .from = *from, .age_s = age_s, .hops = (uint8_t)(hops + 1), .rt = rt, .body = body };
	struct im2_rt head;
	enum err e;

	if (im2_rt_parse(rt, &head) != IM2_FINE || age_s >= head.ttl_s)
		return;
	t.prio = head.prio;
	t.ttl_s = head.ttl_s;
	memcpy(t.rid, rid, sizeof t.rid);
	e = transit_put(n->p.store, &limits, &t);
	if (e == ERR_STORE)
		node_store_failed(n);
	if (e != ERR_OK)
		return;
	n->relay->n.kept++;
	n->n.relay_stored++;
	node_store_soft(n);
	sweep_in(n->relay, SWEEP_MS);
}

void relay_wake(struct node *n, const struct node_id *to)
{
	struct relay *r = n->relay;
	struct transit_row *rows, last;
	const struct transit_row *after = NULL;
	size_t got = 0, gone = 0;
	enum err e = ERR_OK;

	if (!r || !r->n.kept || n->stopping || !routes_next(n, to, NULL))
		return;
	rows = malloc(KEEP_BITE * sizeof *rows);
	if (!rows)
		return;
	do {
		if (transit_list(n->p.store, to, after, rows, KEEP_BITE, &got) != ERR_OK)
			break;
		for (size_t i = 0; i < got && !n->group_failed; i++) {
			e = go_on(r, &rows[i]);
			if (e == ERR_OK) {
				kept_no_more(r, rows[i].seq);
				gone++;
			} else if (e != ERR_NOTFOUND) {
				break;
			}
		}
		if (got) {
			last = rows[got - 1];
			after = &last;
		}
		e = e == ERR_NOTFOUND ? ERR_OK : e;
	} while (e == ERR_OK && got == KEEP_BITE && gone < 16 * KEEP_BITE && !n->group_failed);
	buf_trim(&r->body, 65536);
	free(rows);
	sweep_in(r, e == ERR_OK && got < KEEP_BITE ? SWEEP_MS : BUSY_MS);
}

void relay_committed(struct node *n)
{
	struct relay *r = n->relay;

	if (!r)
		return;
	for (size_t i = 0; i < r->pending_n; i++) {
		struct conn *c = session_of(n, &r->pending[i].from);
		struct transit_row row;

		/* A way may have appeared before the commit: then it is not kept, and that was said. */
		if (c && transit_has(n->p.store, r->pending[i].rid, &row) == ERR_OK)
			relay_feedback(c, r->pending[i].rid, ROUTEFB_STORED, 0);
	}
	r->pending_n = 0;
}

void relay_rolled_back(struct node *n)
{
	if (n->relay)
		n->relay->pending_n = 0;
}

/* A way may have been there all the time, and the next hop too busy. */
static void sweep_due(void *ctx)
{
	struct relay *r = ctx;
	struct node *n = r->node;
	struct node_id to[SWEEP_BITE];
	uint64_t objects, bytes;
	size_t gone = 0, got = 0;

	if (transit_expire(n->p.store, 256, &gone) != ERR_OK) {
		node_store_failed(n);
		sweep_in(r, SWEEP_MS); /* it cannot even be counted now */
		return;
	}
	if (gone) {
		n->n.relay_expired += gone;
		node_store_soft(n);
	}
	transit_count(n->p.store, &objects, &bytes);
	if (!objects)
		return;
	if (transit_destinations(n->p.store, r->swept.hex[0] ? &r->swept : NULL, to, SWEEP_BITE, &got) == ERR_OK)
		for (size_t i = 0; i < got; i++)
			relay_wake(n, &to[i]);
	if (got == SWEEP_BITE)
		r->swept = to[got - 1];
	else
		memset(&r->swept, 0, sizeof r->swept);
	sweep_in(r, got == SWEEP_BITE || gone == 256 ? BUSY_MS : SWEEP_MS);
}

void relay_view(struct node *n, struct relay_view *out)
{
	*out = (struct relay_view){ 0 };
	if (!n->relay)
		return;
	*out = n->relay->n;
	transit_count(n->p.store, &out->kept_now, &out->kept_bytes);
}

/* --- birth, end -------------------------------------------------------------------------------------------------- */
enum err relay_new(struct node *n)
{
	struct map_opts mo = { .capacity = SEEN_MAX, .per_source = SEEN_MAX / SEEN_SHARE, .policy = MAP_EVICT_LRU,
			       .value_size = sizeof(struct seen) };
	uint64_t objects, bytes;
	struct relay *r;

	if (!n->im2 || n->c.routing == ROUTING_OFF)
		return ERR_OK;
	r = calloc(1, sizeof *r);
	if (!r)
		return ERR_NOMEM;
	n->relay = r;
	r->node = n;
	timer_init(&r->sweep, sweep_due, r);
	buf_init(&r->rt, IM2_RT_MAX);
	buf_init(&r->body, IM2_ROUTED_BODY_MAX);
	env_random(n->env, mo.hash_key, sizeof mo.hash_key);
	r->seen = map_new(&mo);
	mo.capacity = n->c.limits.sessions;
	mo.per_source = 0;
	mo.value_size = sizeof(struct rate);
	r->rates = map_new(&mo);
	r->pending = calloc(PENDING_MAX, sizeof *r->pending);
	if (!r->seen || !r->rates || !r->pending || relay_again_new(n, &r->again) != ERR_OK)
		return ERR_NOMEM;
	transit_count(n->p.store, &objects, &bytes);
	r->n.kept = objects; /* of an earlier life */
	if (objects)
		sweep_in(r, SWEEP_MS);
	return ERR_OK;
}

void relay_free(struct node *n)
{
	struct relay *r = n->relay;

	if (!r)
		return;
	timer_stop(n->env, &r->sweep);
	relay_again_free(r->again);
	map_free(r->seen);
	map_free(r->rates);
	free(r->pending);
	buf_fini(&r->rt);
	buf_fini(&r->body);
	free(r);
	n->relay = NULL;
}
