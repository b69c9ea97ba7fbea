/* courier_seal.c -- several messages of the outbox become one signed, sealed object (im2.md 9.3, 11.3, 11.4). */
#include "daemon/courier_internal.h"

#include <stdlib.h>

#include "protocol/im2/content.h"

#define ROWS 64
#define ASK_WAIT_MS 2000 /* for the prekey of a destination, before the long-term key has to do */
#define ASK_AGAIN_MS 10000 /* where it must not, or is not known; doubling up to */
#define ASK_AGAIN_MAX_MS 300000
#define ASKS 3 /* then a message that must not go without forward secrecy has failed */
#define MARKS 8

enum err courier_wrap(struct courier *k, const struct node_id *to, struct bytes items, uint32_t ttl_s, uint8_t prio,
		      bool introduce, struct buf *rt, struct buf *body, struct im2_sealed *out)
{
	struct node *n = k->node;
	uint64_t wall = env_wall(n->env);
	struct im2_seal_to st;
	enum im2_refusal r;
	enum err e = records_seal_to(n, to, &st);

	if (e == ERR_NOTFOUND && n->c.seal_refuse)
		return ERR_UNTRUSTED;
	if (e != ERR_OK)
		return e;
	st.ttl_s = ttl_s < 1 ? 1 : ttl_s > IM2_TTL_MAX ? IM2_TTL_MAX : ttl_s;
	st.prio = prio;
	st.allow_fallback = st.allow_fallback && !n->c.seal_refuse;
	st.pad = !n->c.no_seal_pad;
	st.introduce = introduce;
	r = im2_seal(n->env, n->p.keyring, &st, wall > CLOCK_PLAUSIBLE_MS ? wall : 0, items, rt, body, out);
	if (r == IM2_FINE)
		n->n.sealed_no_fs += out->no_fs;
	return r == IM2_FINE ? ERR_OK : im2_refusal_err(r);
}

/* --- the batch ------------------------------------------------------------------------------------------------ */
struct batch {
	struct outbox_row rows[COURIER_BATCH];
	struct message m[COURIER_BATCH];
	size_t at[COURIER_BATCH], len[COURIER_BATCH]; /* bodies in `bodies` */
	size_t n;
	uint32_t ttl_s;
	uint8_t prio;
	struct buf bodies;
};

static void end(struct node *n, const struct outbox_row *r, enum outbox_state s, const char *why)
{
	enum err e = outbox_move(n->p.store, r->seq, s, why, env_wall(n->env));

	if (e == ERR_STORE)
		node_store_failed(n);
	if (e != ERR_OK)
		return;
	node_store_soft(n);
	outbound_ended(n, &r->to, r->id, s, why, 0);
}

/* These end, and the next ones are looked at. */
static void end_all(struct node *n, struct destination *d, const struct batch *b, const char *why)
{
	for (size_t i = 0; i < b->n; i++)
		end(n, &b->rows[i], OUTBOX_FAILED, why);
	d->more = true;
}

/* Seconds that are left of it; at least 1. */
static uint32_t left_s(struct node *n, const struct outbox_row *r)
{
	uint64_t end_ms = r->expires_ms ? outbox_expiry_wall(n->p.store, r->expires_ms) : 0, wall = env_wall(n->env);

	if (!end_ms)
		return IM2_TTL_MAX;
	return end_ms > wall + 1000 ? (uint32_t)((end_ms - wall) / 1000 < IM2_TTL_MAX ? (end_ms - wall) / 1000 : IM2_TTL_MAX) :
				      1;
}

/* False: it does not go along (it has ended, or there is no room). */
static bool add(struct courier *k, struct batch *b, const struct outbox_row *r, enum err *e)
{
	struct node *n = k->node;
	struct message *m = &b->m[b->n];
	uint32_t left;

	*e = ERR_OK;
	if (r->expires_ms && outbox_expiry_wall(n->p.store, r->expires_ms) <= env_wall(n->env))
		return false; /* the timer of expiry ends it */
	*m = (struct message){ .type = { 0 }, .source = *keyring_id(n->p.keyring), .destination = r->to,
			       .created_ms = r->created_ms, .priority = r->priority, .has_wire_id = true };
	memcpy(m->wire_id, r->wire_id, sizeof m->wire_id);
	if (r->meta_len && message_meta_read(bytes_of(r->meta, r->meta_len), &m->ext) != ERR_OK) {
		end(n, r, OUTBOX_FAILED, "its fields do not open");
		return false;
	}
	m->ext.ttl_s = outbound_life_s(r->created_ms, r->expires_ms, m->ext.ttl_s);
	b->at[b->n] = b->bodies.n;
	*e = outbox_body(n->p.store, r->seq, &b->bodies);
	if (*e == ERR_STORE || *e == ERR_NOMEM)
		return false;
	if (*e != ERR_OK) {
		end(n, r, OUTBOX_FAILED, *e == ERR_NOTFOUND ? "body is gone" : "body does not open");
		*e = ERR_OK;
		return false;
	}
	b->len[b->n] = b->bodies.n - b->at[b->n];
	m->body = bytes_of(b->bodies.p + b->at[b->n], b->len[b->n]);
	if (!im2_message_size(m)) {
		/* It would keep all others from being signed. */
		b->bodies.n = b->at[b->n];
		end(n, r, OUTBOX_FAILED, "its fields do not fit the wire");
		return false;
	}
	b->rows[b->n++] = *r;
	left = left_s(n, r);
	b->ttl_s = left < b->ttl_s || b->n == 1 ? left : b->ttl_s;
	b->prio = r->priority > b->prio ? r->priority : b->prio;
	return true;
}

static enum err collect(struct courier *k, struct destination *d, struct batch *b)
{
	struct outbox_row *rows = malloc(ROWS * sizeof *rows);
	uint8_t prio = OUTBOX_PRIORITIES;
	int64_t seq = 0;
	size_t got = ROWS;
	bool full = false;
	enum err e = rows ? ERR_OK : ERR_NOMEM;

	/* A large one travels alone. */
	while (e == ERR_OK && got == ROWS && !full) {
		e = outbox_waiting(k->node->p.store, &d->id, prio, seq, rows, ROWS, &got);
		for (size_t i = 0; e == ERR_OK && i < got && !full; i++) {
			prio = rows[i].priority;
			seq = rows[i].seq;
			if (courier_carries(d, seq))
				continue;
			full = b->n == COURIER_BATCH ||
			       (b->n && b->bodies.n + rows[i].body_len > COURIER_BATCH_BYTES);
			if (!full)
				(void)add(k, b, &rows[i], &e);
		}
	}
	if (e == ERR_OK)
		d->more = full;
	free(rows);
	return e;
}

/* What the recipient may forget goes with the first message of each era (9.5, tag 34). */
static void settled(struct node *n, const struct destination *d, struct batch *b)
{
	struct outbox_mark marks[MARKS];
	size_t got = 0;

	if (outbox_settle(n->p.store, &d->id, marks, MARKS, &got) != ERR_OK)
		return;
	for (size_t k = 0; k < got; k++)
		for (size_t i = 0; i < b->n; i++)
			if (memcmp(b->m[i].wire_id, marks[k].era, sizeof marks[k].era) == 0) {
				b->m[i].settled = courier_floor(n, &d->id, marks[k].era, marks[k].seq);
				break;
			}
}

static struct parcel *parcel_new(struct node *n, struct destination *d, const struct batch *b, const struct buf *rt,
				 const struct buf *body)
{
	struct parcel *p = calloc(1, sizeof *p + b->n * sizeof p->letters[0]);

	if (!p)
		return NULL;
	p->rt = malloc(rt->n);
	p->body = malloc(body->n);
	if (!p->rt || !p->body) {
		free(p->rt);
		free(p->body);
		free(p);
		return NULL;
	}
	list_init(&p->link);
	p->to = d;
	memcpy(p->rt, rt->p, rt->n);
	memcpy(p->body, body->p, body->n);
	p->rt_n = (uint16_t)rt->n;
	p->body_n = (uint32_t)body->n;
	p->bytes = (uint32_t)b->bodies.n;
	p->n = p->left = (unsigned)b->n;
	im2_rid(buf_bytes(rt), buf_bytes(body), p->rid);
	for (size_t i = 0; i < b->n; i++) {
		struct letter *l = &p->letters[i];

		l->seq = b->rows[i].seq;
		l->unasked = (b->m[i].ext.flags & MSG_NO_RECEIPT) != 0;
		l->ends_ms = env_now(n->env) + left_s(n, &b->rows[i]) * 1000ull;
		memcpy(l->wire_id, b->rows[i].wire_id, sizeof l->wire_id);
		snprintf(l->id, sizeof l->id, "%s", b->rows[i].id);
	}
	return p;
}

void courier_key_digest(struct node *n, const struct node_id *to, uint8_t out[static 16])
{
	const struct pin *pin = pins_get(n->p.pins, to);
	struct bytes record = pin ? records_get(n, pin->ed, IM2_REC_PREKEY_T) : (struct bytes){ 0 };

	memset(out, 0, 16);
	if (record.n)
		im2_record_digest(record, out);
}

/* Without its prekey the object would have no forward secrecy: it is asked for first. Once, where the long-term key may be
 * used instead; a few times, where a message fails without; and for ever, where there is no other key. */
static bool should_ask(struct courier *k, struct destination *d, const struct pin *pin)
{
	struct node *n = k->node;
	struct conn *next = routes_next(n, &d->id, NULL);
	uint64_t wait = ASK_WAIT_MS;

	if (!next || records_get(n, pin->ed, IM2_REC_PREKEY_T).n)
		return false;
	if (d->asked >= ASKS && n->c.seal_refuse)
		return false;
	if (d->asked && pin->has_x25519 && !n->c.seal_refuse)
		return false;
	if (d->asked)
		wait = ASK_AGAIN_MS << (d->asked < 6 ? d->asked - 1 : 5);
	if (wait > ASK_AGAIN_MAX_MS)
		wait = ASK_AGAIN_MAX_MS;
	records_want(next, &d->id, IM2_REC_PREKEY_T);
	d->asked++;
	d->not_before_ms = env_now(n->env) + wait;
	courier_wake_at(k, d->not_before_ms);
	return true;
}

enum err courier_seal(struct courier *k, struct destination *d, struct parcel **out)
{
	struct node *n = k->node;
	const struct pin *pin = pins_get(n->p.pins, &d->id);
	struct im2_sealed sealed;
	struct batch *b;
	struct buf items, smsg, rt, body;
	enum err e;

	if (n->ops_n || n->group_failed || store_failed(n->p.store))
		return ERR_AGAIN;
	if (!pin || pin->state != PIN_TRUSTED || policy_may_meet(n->c.policy, n->p.pins, &d->id, NULL) != ERR_OK)
		return ERR_NOTFOUND;
	if (should_ask(k, d, pin))
		return ERR_AGAIN;
	b = calloc(1, sizeof *b);
	if (!b)
		return ERR_NOMEM;
	buf_init(&b->bodies, MSG_BODY_MAX + COURIER_BATCH_BYTES);
	buf_init(&smsg, IM2_SMSG_MAX);
	buf_init(&items, IM2_SEAL_PLAIN_MAX);
	buf_init(&rt, IM2_RT_MAX);
	buf_init(&body, IM2_ROUTED_BODY_MAX);
	e = collect(k, d, b);
	if (e == ERR_OK && !b->n)
		e = ERR_NOTFOUND;
	settled(n, d, b);
	for (size_t i = 0; i < b->n; i++)
		b->m[i].body = bytes_of(b->bodies.p + b->at[i], b->len[i]);
	if (e == ERR_OK)
		e = im2_smsg_write(n->p.keyring, b->m, b->n, pin->ed, &smsg);
	if (e == ERR_OK) {
		im2_item_add(&items, IM2_ITEM_SMSG, buf_bytes(&smsg));
		e = items.err;
	}
	if (e == ERR_OK)
		e = courier_wrap(k, &d->id, buf_bytes(&items), b->ttl_s, b->prio, !d->introduced, &rt, &body, &sealed);
	if (e == ERR_LIMIT)
		end_all(n, d, b, "too large to be sealed");
	else if (e == ERR_UNTRUSTED)
		end_all(n, d, b, "E2E_REQUIRED: no prekey of the recipient is known");
	if (e == ERR_OK) {
		*out = parcel_new(n, d, b, &rt, &body);
		e = *out ? ERR_OK : ERR_NOMEM;
	}
	if (e == ERR_OK) {
		(*out)->ttl_s = sealed.ttl_s;
		(*out)->no_fs = sealed.no_fs;
		(*out)->sealed_ms = env_now(n->env);
		courier_key_digest(n, &d->id, (*out)->key_digest);
	}
	wipe(b->bodies.p, b->bodies.n);
	buf_fini(&b->bodies);
	free(b);
	buf_wipe(&items);
	buf_fini(&items);
	buf_wipe(&smsg);
	buf_fini(&smsg);
	buf_fini(&rt);
	buf_fini(&body);
	return e;
}
