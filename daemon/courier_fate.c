/* courier_fate.c -- what becomes of what is on its way: receipts, feedback of relays, ends (im2.md 10.2, 10.3, 11.2). */
#include "daemon/courier_internal.h"

#include "base/text.h"

#define RESEALS 3
#define TURNS 2 /* other ways that are tried at once when a relay says that it cannot */
#define KEY_WAIT_MS 2000

struct outbox_try courier_try(struct node *n, const struct parcel *p)
{
	if (!p->via.hex[0])
		return (struct outbox_try){ 0 };
	return (struct outbox_try){ .at_ms = env_wall(n->env) - (env_now(n->env) - p->sent_ms), .via = OUTBOX_VIA_RELAY,
				    .hops = routes_hops(n, &p->to->id, &p->via), .by = p->via };
}

/* A relay says that it keeps it: for whoever asks later. */
static void note_stored(struct node *n, struct parcel *p)
{
	struct outbox_try t = courier_try(n, p);

	t.at_ms = env_wall(n->env);
	for (unsigned i = 0; i < p->n; i++) {
		if (p->letters[i].gone)
			continue;
		if (outbox_kept(n->p.store, p->letters[i].seq, &t) == ERR_STORE) {
			node_store_failed(n);
			return;
		}
	}
	node_store_soft(n);
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

struct letter *courier_letter(struct destination *d, const char *id, struct parcel **of)
{
	uint8_t wire[MSG_WIRE_ID];
	bool is_wire = strlen(id) == 2 * MSG_WIRE_ID && hex_decode(bytes_str(id), wire, sizeof wire) == ERR_OK;

	for (struct list *l = d->parcels.next; l != &d->parcels; l = l->next) {
		struct parcel *p = list_entry(l, struct parcel, link);

		for (unsigned i = 0; i < p->n; i++) {
			struct letter *x = &p->letters[i];

			if (x->gone || (strcmp(x->id, id) != 0 && !(is_wire && memcmp(x->wire_id, wire, sizeof wire) == 0)))
				continue;
			*of = p;
			return x;
		}
	}
	return NULL;
}

/* --- without a receipt --------------------------------------------------------------------------------------------- */
static void floor_add(struct destination *d, const struct letter *l, uint64_t now)
{
	uint64_t seq = 0, grain = l->ends_ms > now ? (l->ends_ms - now) / 8 : 0;
	struct courier_floor *f, *slot = NULL, *last = &d->floors[0];

	if (l->ends_ms <= now)
		return;
	for (unsigned i = 8; i < MSG_WIRE_ID; i++)
		seq = seq << 8 | l->wire_id[i];
	for (f = d->floors; f < d->floors + COURIER_FLOORS; f++) {
		if (f->until_ms <= now)
			f->until_ms = 0;
		if (f->until_ms >= l->ends_ms && memcmp(f->era, l->wire_id, sizeof f->era) == 0) {
			f->seq = seq < f->seq ? seq : f->seq;
			return;
		}
		if (!f->until_ms)
			slot = f;
		if (f->until_ms > last->until_ms)
			last = f;
	}
	if (!slot && memcmp(last->era, l->wire_id, sizeof last->era) == 0) {
		/* All are in use: the longest one takes it in. */
		last->seq = seq < last->seq ? seq : last->seq;
		last->until_ms = last->until_ms > l->ends_ms ? last->until_ms : l->ends_ms;
		return;
	}
	f = slot ? slot : last;
	memcpy(f->era, l->wire_id, sizeof f->era);
	f->seq = seq;
	f->until_ms = l->ends_ms + grain;
}

uint64_t courier_floor(struct node *n, const struct node_id *to, const uint8_t era[static 8], uint64_t seq)
{
	const struct destination *d = n->courier ? courier_find(n->courier, to) : NULL;
	uint64_t now = env_now(n->env);

	for (unsigned i = 0; d && i < COURIER_FLOORS; i++) {
		const struct courier_floor *f = &d->floors[i];

		if (f->until_ms > now && f->seq < seq && memcmp(f->era, era, sizeof f->era) == 0)
			seq = f->seq;
	}
	return seq;
}

void courier_left(struct courier *k, struct parcel *p)
{
	struct node *n = k->node;
	struct destination *d = p->to;

	for (unsigned i = 0; i < p->n; i++) {
		struct letter *l = &p->letters[i];
		enum err e;

		if (!l->unasked || l->gone)
			continue;
		e = outbox_move(n->p.store, l->seq, OUTBOX_SENT, "no receipt was asked for", env_wall(n->env));
		if (e == ERR_STORE) {
			node_store_failed(n);
			return; /* it is loaded again, and known over there */
		}
		l->gone = true;
		p->left--;
		if (e != ERR_OK)
			continue;
		node_store_soft(n);
		floor_add(d, l, env_now(n->env));
		outbound_ended(n, &d->id, l->id, OUTBOX_SENT, "no receipt was asked for", 0);
	}
}

/* --- what is heard of it ------------------------------------------------------------------------------------------- */
void courier_ended(struct node *n, const struct node_id *to, const char *id, bool confirmed)
{
	struct courier *k = n->courier;
	struct destination *d = k ? courier_find(k, to) : NULL;
	struct parcel *p;
	struct letter *l = d ? courier_letter(d, id, &p) : NULL;

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
	if (!p->left && !p->busy)
		courier_parcel_end(k, p);
	if (d->more)
		courier_activate(k, d);
}

bool courier_held(struct node *n, const struct node_id *to, const char *id)
{
	struct destination *d = n->courier ? courier_find(n->courier, to) : NULL;
	struct parcel *p;
	struct letter *l = d ? courier_letter(d, id, &p) : NULL;

	if (!l)
		return false;
	if (!l->held && p->via.hex[0])
		routes_delivered(n, to, &p->via, (double)(env_now(n->env) - p->sent_ms));
	d->introduced = true;
	l->held = p->stored = true;
	p->due_ms = env_now(n->env) + COURIER_STORED_MS;
	courier_wake_at(n->courier, p->due_ms);
	return true;
}

/* The far side does not know the prekey, somebody says: a newer one is asked for, and only with that it is sealed anew. */
static void doubt_key(struct courier *k, struct conn *from, struct parcel *p)
{
	struct destination *d = p->to;

	if (d->reseals >= RESEALS)
		return;
	p->key_doubted = true;
	records_want(from, &d->id, IM2_REC_PREKEY_T);
	courier_wake_at(k, env_now(k->node->env) + KEY_WAIT_MS);
}

void courier_key(struct node *n, const struct node_id *to)
{
	struct courier *k = n->courier;
	struct destination *d = k ? courier_find(k, to) : NULL;
	uint8_t newest[16];

	if (!k)
		return;
	courier_receipts_wake(k, to);
	if (!d)
		return;
	courier_key_digest(n, to, newest);
	for (struct list *l = d->parcels.next, *next; l != &d->parcels; l = next) {
		struct parcel *p = list_entry(l, struct parcel, link);

		next = l->next;
		if (!p->key_doubted || d->reseals >= RESEALS || memcmp(p->key_digest, newest, sizeof newest) == 0)
			continue;
		d->reseals++;
		d->introduced = false; /* it may be another life of it, which knows nobody */
		d->more = true;
		courier_parcel_end(k, p);
	}
	d->asked = 0;
	d->not_before_ms = 0;
	courier_activate(k, d);
}

static const char *refusal_text(unsigned code)
{
	switch (code) {
	case ROUTEFB_QUOTA:
		return "the relay takes no more now";
	case ROUTEFB_POLICY:
		return "the relay does not forward for us";
	case ROUTEFB_HOPS:
		return "too many hops";
	default:
		return "no route";
	}
}

/* Only who has it can say something of it, and nothing that it says is more than a hint. */
void courier_feedback(struct conn *from, const uint8_t rid[static 16], unsigned code, uint32_t retry_s)
{
	struct node *n = from->node;
	struct courier *k = n->courier;
	void *v = k ? map_peek(k->rids, bytes_of(rid, 16)) : NULL;
	uint64_t now = env_now(n->env);
	struct parcel *p;

	if (!v)
		return;
	memcpy(&p, v, sizeof p);
	if (!node_id_eq(&p->via, &from->peer->id))
		return;
	switch (code) {
	case ROUTEFB_STORED:
		if (p->stored)
			break; /* said again and again, it would keep us from ever trying another way */
		p->stored = true;
		p->due_ms = now + COURIER_STORED_MS;
		courier_wake_at(k, p->due_ms);
		note_stored(n, p);
		courier_tell(k, p, "message.stored", NULL);
		break;
	case ROUTEFB_NO_ROUTE:
	case ROUTEFB_HOPS:
	case ROUTEFB_QUOTA:
	case ROUTEFB_POLICY:
		log_info("unreachable to=%s via=%s code=%u", p->to->id.hex, from->peer->id.hex, code);
		if (p->turned < TURNS && routes_next_other(n, &p->to->id, NULL, &p->via)) {
			p->turned++;
			courier_dispatch(k, p);
		} else {
			/* A relay that is full for a day keeps nobody from asking again: it is a hint (11.2). */
			courier_stranded(k, p, refusal_text(code),
					 !retry_s				  ? courier_again_ms(n, p->tries) :
					 retry_s < COURIER_AGAIN_MAX_MS / 1000 ? (uint64_t)retry_s * 1000 :
										  COURIER_AGAIN_MAX_MS);
		}
		break;
	case ROUTEFB_NO_PREKEY:
	case ROUTEFB_CANNOT_OPEN:
		doubt_key(k, from, p);
		break;
	default:
		break;
	}
}

bool courier_view(struct node *n, const struct node_id *to, const char *id, struct courier_view *out)
{
	struct destination *d = n->courier ? courier_find(n->courier, to) : NULL;
	struct parcel *p;
	struct letter *l = d ? courier_letter(d, id, &p) : NULL;

	if (!l)
		return false;
	*out = (struct courier_view){ .sent = p->via.hex[0] != 0, .stored = p->stored, .held = l->held, .no_fs = p->no_fs,
				     .via = p->via, .age_ms = env_now(n->env) - p->sealed_ms,
				     .last = courier_try(n, p) };
	return true;
}
