/*
 * records_item.c -- what a peer says and asks about records (im2.md 8, 13.2): taken within its budget, answered as far
 * as it may know. Who delivers pays, whoever is named.
 */
#include "daemon/records_internal.h"

#include "base/text.h"
#include "daemon/caps.h"
#include "daemon/courier.h"
#include "daemon/discovery.h"
#include "daemon/routes.h"
#include "protocol/im2/content.h"

#define BAD_COST 10

static void answer(struct conn *c, const struct im2_record *rec)
{
	struct buf b;

	buf_init(&b, 128);
	im2_recdig_write(rec, &b);
	if (b.err == ERR_OK)
		(void)records_send(c, IM2_ITEM_RECDIG, buf_bytes(&b));
	buf_fini(&b);
}

static bool is_notice(uint64_t type)
{
	return type == IM2_REC_REVOKE_T || type == IM2_REC_ROTATE_T;
}

/* It has told us what it holds; and it hears of the newest that we hold. */
static void acknowledge(struct records *r, struct conn *c, struct record_peer *p, const struct im2_record *rec)
{
	uint8_t id[RAW_ID];
	struct im2_record newest;
	struct bytes raw;

	raw_id_of(rec->author, id);
	notices_answered(r, p, id, rec->type, rec->key, rec->gen);
	raw = im2_records_get(r->cache, rec->author, rec->type, rec->key);
	if (raw.n && im2_record_parse(raw, &newest) == IM2_FINE && newest.gen >= rec->gen)
		answer(c, &newest);
	else
		answer(c, rec);
}

static void hex_digest(struct bytes record, char out[static 33])
{
	uint8_t digest[16];

	im2_record_digest(record, digest);
	hex_encode(BYTES_ARR(digest), out);
}

/* Both go to the evidence; who delivered it is named, since the author may have been robbed. */
void records_equivocation(struct records *r, struct conn *c, const struct im2_record *rec)
{
	struct node *n = r->node;
	struct bytes first = im2_records_get(r->cache, rec->author, rec->type, rec->key);
	struct bytes both[2] = { first, rec->raw };
	char hex[2][33] = { "", "" }, gen[24], type[8];
	struct node_id author;

	node_id_of(rec->author, &author);
	snprintf(gen, sizeof gen, "%llu", (unsigned long long)rec->gen);
	snprintf(type, sizeof type, "%u", (unsigned)rec->type);
	for (int i = 0; i < 2; i++)
		if (both[i].n)
			hex_digest(both[i], hex[i]);
	log_error("record-equivocation author=%s type=%s gen=%s first=%s second=%s from=%s", author.hex, type, gen,
		  hex[0], hex[1], c->peer->id.hex);
	audit_note(n->p.audit, "RECORD_EQUIVOCATION", bytes_str(c->peer->id.hex), "peer_id", author.hex, "type", type,
		   "gen", gen, "first", hex[0], "second", hex[1], "delivered_by", c->peer->id.hex, NULL);
	node_simple_event(n, "trust.changed", &author, "two records of one generation");
	for (int i = 0; i < 2; i++) {
		if (!both[i].n || r->evidence_n >= EVIDENCE_MAX)
			continue;
		r->evidence_n++;
		records_put(r, SPACE_EVIDENCE, bytes_of(hex[i], 32), both[i]);
	}
}

/* Valid, ours, and unknown to us. */
static void mine(struct records *r, const struct im2_record *rec, const struct node_id *from)
{
	if (rec->type == IM2_REC_PREKEY_T)
		prekeys_behind(r, rec->gen);
	else if (records_issues(rec->type))
		records_issued_behind(r, rec);
	else if (rec->type == IM2_REC_ROTATE_T)
		records_mine_ended(r, true);
	else if (bytes_eq(rec->key, bytes_of(keyring_ed(r->node->p.keyring), ED_BYTES)))
		records_mine_ended(r, false);
	else if (rec->signers_n > 1 && im2_records_own(r->cache, rec->raw) == ERR_OK)
		notice_new(r, rec, from); /* we drafted it, and another administrator has sent it */
}

static void bad(struct records *r, struct conn *c, struct bucket *b, enum im2_refusal why)
{
	log_debug("record-refused from=%s why=%s", c->peer->id.hex, im2_refusal_word(why));
	r->node->n.records_refused++;
	if (why != IM2_E_POLICY && !bucket_take(b, BAD_COST - 1, env_now(r->node->env)))
		b->tokens = 0;
}

void records_bad(struct records *r, struct conn *c, enum im2_refusal why)
{
	struct record_peer *p = records_peer(r, &c->peer->id);

	if (p)
		bad(r, c, &p->records, why);
}

static bool author_is(const struct im2_record *rec, const struct node_id *id)
{
	struct node_id author;

	node_id_of(rec->author, &author);
	return node_id_eq(&author, id);
}

/* What it says has come to count. */
static void news(struct records *r, struct conn *c, const struct im2_record *rec)
{
	struct node_id author;

	switch (rec->type) {
	case IM2_REC_REVOKE_T:
	case IM2_REC_ROTATE_T:
		notice_new(r, rec, &c->peer->id);
		break;
	case IM2_REC_PREKEY_T:
		if (records_pin(r, rec->author))
			records_keep(r, rec);
		records_onward_came(r, rec);
		node_id_of(rec->author, &author);
		courier_key(r->node, &author);
		break;
	case IM2_REC_CAP_T:
		caps_record(c, rec);
		break;
	case IM2_REC_CARD_T:
		discovery_card(c, rec);
		break;
	default:
		break; /* a ROUTE without hops is no route */
	}
}

static void on_record(struct records *r, struct conn *c, struct bytes raw)
{
	struct node *n = r->node;
	struct record_peer *p = records_peer(r, &c->peer->id);
	struct im2_record rec;
	enum im2_refusal why;
	struct bucket *b;

	if (!p)
		return;
	why = im2_record_parse(raw, &rec);
	b = why == IM2_FINE && is_notice(rec.type) ? &p->notices : &p->records;
	if (!bucket_take(b, 1, env_now(n->env))) {
		n->n.records_limited++;
		return;
	}
	if (why != IM2_FINE) {
		bad(r, c, b, why);
		return;
	}
	switch (im2_records_take(r->cache, raw, &c->peer->id, &rec, &why)) {
	case IM2_REC_REFUSED:
		bad(r, c, b, why);
		/* It verifies, and has no effect: who sends it must not do so for ever (13.4). */
		if (why == IM2_E_POLICY && im2_record_parse(raw, &rec) == IM2_FINE && is_notice(rec.type) &&
		    im2_record_verify(&rec) == IM2_FINE)
			answer(c, &rec);
		return;
	case IM2_REC_EQUIVOCATION:
		records_equivocation(r, c, &rec);
		break;
	case IM2_REC_MINE_BEHIND:
		mine(r, &rec, &c->peer->id);
		break;
	case IM2_REC_NEW:
		n->n.records_taken++;
		news(r, c, &rec);
		break;
	case IM2_REC_REPEAT:
	case IM2_REC_OLD:
		break;
	}
	p = records_peer(r, &c->peer->id);
	if (p && rec.type == IM2_REC_PREKEY_T && author_is(&rec, &c->peer->id))
		p->ask_ms = UINT64_MAX;
	if (p && is_notice(rec.type))
		acknowledge(r, c, p, &rec);
}

void records_granted(struct node *n, const struct node_id *from, struct bytes raw)
{
	struct records *r = n->records;
	struct im2_record rec;
	enum im2_refusal why;

	if (!r || im2_record_parse(raw, &rec) != IM2_FINE || (rec.type != IM2_REC_PREKEY_T && rec.type != IM2_REC_CARD_T))
		return;
	if (im2_records_take(r->cache, raw, from, &rec, &why) != IM2_REC_NEW)
		return;
	n->n.records_taken++;
	if (rec.type == IM2_REC_PREKEY_T && records_pin(r, rec.author))
		records_keep(r, &rec);
}

/* --- questions and answers ------------------------------------------------------------------------------------ */
/* Who has this id: ourselves, or a pinned identity. */
static const uint8_t *ed_of(struct records *r, const uint8_t id[static RAW_ID])
{
	const struct keyring *k = r->node->p.keyring;
	const struct pin *pin;
	struct node_id text;

	node_id_of_raw(id, &text);
	if (node_id_eq(&text, keyring_id(k)))
		return keyring_ed(k);
	pin = pins_get(r->node->p.pins, &text);
	return pin ? pin->ed : routes_ed(r->node, &text);
}

/* We hand on what is ours; what others said only to those we trust. */
static void on_request(struct records *r, struct conn *c, struct bytes value)
{
	struct record_peer *p = records_peer(r, &c->peer->id);
	struct im2_fields f;
	struct bytes raw, key;
	const struct notice *notice;
	struct im2_record rec;
	const uint8_t *ed, *id;

	if (!p || !bucket_take(&p->requests, 1, env_now(r->node->env)) || im2_parse(&im2_recreq, value, &f) != IM2_FINE)
		return;
	id = f.v[IM2_RECREQ_ID].b.p;
	key = im2_has(&f, IM2_RECREQ_KEY) ? f.v[IM2_RECREQ_KEY].b : (struct bytes){ 0 };
	notice = notice_find(r, &c->peer->id, id, f.v[IM2_RECREQ_TYPE].u, key);
	ed = ed_of(r, id);
	if (notice)
		raw = bytes_of(notice->p, notice->n);
	else if (ed && (ed == keyring_ed(r->node->p.keyring) || records_trusted(r, &c->peer->id)))
		raw = im2_records_get(r->cache, ed, f.v[IM2_RECREQ_TYPE].u, key);
	else
		return;
	if (f.v[IM2_RECREQ_TYPE].u == IM2_REC_ROUTE_T && ed) {
		struct node_id author;

		node_id_of(ed, &author);
		routes_asked(c, &author, im2_has(&f, IM2_RECREQ_HAVE) ? f.v[IM2_RECREQ_HAVE].u : 0);
		return;
	}
	if (raw.n && im2_record_parse(raw, &rec) == IM2_FINE &&
	    (!im2_has(&f, IM2_RECREQ_HAVE) || rec.gen > f.v[IM2_RECREQ_HAVE].u)) {
		(void)records_send(c, IM2_ITEM_RECORD, raw);
	} else if (ed && ed != keyring_ed(r->node->p.keyring) && f.v[IM2_RECREQ_TYPE].u == IM2_REC_PREKEY_T) {
		struct node_id author;

		node_id_of(ed, &author);
		records_onward(r, c, &author);
	}
}

/* It holds that: an answer to a notice, or more than we know. What it says is proven by the record alone. */
static void on_digest(struct records *r, struct conn *c, struct bytes value)
{
	struct record_peer *p = records_peer(r, &c->peer->id);
	struct im2_fields f;
	uint64_t type, gen, have;
	struct node_id author;
	const uint8_t *ed;
	struct bytes key;

	if (!p || im2_parse(&im2_recdig, value, &f) != IM2_FINE)
		return;
	type = f.v[IM2_RECDIG_TYPE].u;
	gen = f.v[IM2_RECDIG_GEN].u;
	key = im2_has(&f, IM2_RECDIG_KEY) ? f.v[IM2_RECDIG_KEY].b : (struct bytes){ 0 };
	notices_answered(r, p, f.v[IM2_RECDIG_ID].b.p, type, key, gen);
	ed = ed_of(r, f.v[IM2_RECDIG_ID].b.p);
	if (!ed || (type != IM2_REC_PREKEY_T && !is_notice(type)))
		return;
	have = records_held_gen(r, ed, type, key);
	if (notice_gen(r, f.v[IM2_RECDIG_ID].b.p, type, key) > have)
		have = notice_gen(r, f.v[IM2_RECDIG_ID].b.p, type, key);
	node_id_of_raw(f.v[IM2_RECDIG_ID].b.p, &author);
	if (gen > have)
		(void)records_ask(r, c, p, &author, type, key, have);
}

/* Signed receipts are as good as those of a session with who signed them (10.2). */
void records_receipt(struct node *n, struct bytes value)
{
	struct session_event ev = { .type = SESSION_EV_RECEIPT };
	struct im2_receipt_reader reader;
	struct node_id from;
	const struct pin *pin;
	struct bytes receipt;
	char id[33];

	if (im2_sreceipt_from(value, &from) != IM2_FINE || !(pin = pins_get(n->p.pins, &from)) ||
	    im2_sreceipt_open(value, pin->ed, n->p.keyring, &receipt) != IM2_FINE ||
	    im2_receipt_open(receipt, &reader) != IM2_FINE) {
		n->n.receipts_unknown++;
		return;
	}
	while (im2_receipt_next(&reader, &ev.receipt, id, &ev.receipt_reason)) {
		ev.receipt_id = bytes_of(id, 32);
		outbound_receipt_of(n, &from, &ev);
	}
}

void records_item(struct conn *c, const struct session_event *e)
{
	struct records *r = c->node->records;

	if (!r || !c->peer || !pins_get(c->node->p.pins, &c->peer->id))
		return;
	/* The answer goes into the session that the item is borrowed from. */
	buf_reset(&r->item);
	buf_add(&r->item, e->item);
	if (r->item.err != ERR_OK)
		return;
	switch (e->tag) {
	case IM2_ITEM_RECORD:
		on_record(r, c, buf_bytes(&r->item));
		break;
	case IM2_ITEM_RECDIG:
		on_digest(r, c, buf_bytes(&r->item));
		break;
	case IM2_ITEM_RECREQ:
		on_request(r, c, buf_bytes(&r->item));
		break;
	case IM2_ITEM_SRECEIPT:
		records_receipt(r->node, buf_bytes(&r->item));
		break;
	default:
		break;
	}
}
