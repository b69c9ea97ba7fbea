/*
 * records_issue.c -- records that we issue again and again: CAP, ROUTE, CARD. A generation is on disk before it leaves and
 * never goes back (im2.md 13.1); so that a record each minute is not a commit each minute, blocks of them are set aside,
 * and what a crash leaves of a block is never used.
 */
#include "daemon/parts.h"
#include "daemon/records_internal.h"
#include "daemon/routes.h"
#include "store/kv.h"

#define BLOCK 64

bool records_issues(uint64_t type)
{
	return type == IM2_REC_CAP_T || type == IM2_REC_ROUTE_T || type == IM2_REC_CARD_T;
}

static struct bytes place_of(const struct records *r, uint64_t type, uint8_t out[static RECORD_PLACE_MAX])
{
	return record_place(keyring_ed(r->node->p.keyring), type, (struct bytes){ 0 }, out);
}

/* What earlier lives may have used; 0 = nothing. */
static enum err stored_gen(struct records *r, uint64_t type, uint64_t *out)
{
	uint8_t place[RECORD_PLACE_MAX];
	struct rd rd;
	enum err e;

	*out = 0;
	buf_reset(&r->value);
	e = store_kv_get(r->node->p.store, SPACE_GENERATION, place_of(r, type, place), &r->value);
	if (e == ERR_NOTFOUND)
		return ERR_OK;
	if (e != ERR_OK)
		return e;
	rd = rd_init(r->value.p, r->value.n);
	*out = rd_u64(&rd);
	return rd_end(&rd);
}

static enum err reserve(struct records *r, uint64_t type, uint64_t from)
{
	uint8_t place[RECORD_PLACE_MAX], value[8];
	struct wr w = wr_init(value, sizeof value);
	struct node *n = r->node;
	enum err e;

	if (from > IM2_GEN_MAX - BLOCK)
		return ERR_LIMIT;
	wr_u64(&w, from + BLOCK);
	e = store_kv_put(n->p.store, SPACE_GENERATION, place_of(r, type, place), BYTES_ARR(value));
	if (e != ERR_OK) {
		node_store_failed(n);
		return e;
	}
	e = node_commit(n);
	if (e == ERR_OK)
		r->issued[type].reserved = from + BLOCK;
	return e;
}

/* The next one of this type, durable. */
static enum err next_gen(struct records *r, uint64_t type, uint64_t *out)
{
	struct issued *i = &r->issued[type];
	enum err e = ERR_OK;

	if (!i->reserved) {
		uint64_t used;

		e = stored_gen(r, type, &used);
		if (e == ERR_OK && used > i->last)
			i->last = used;
	}
	if (e == ERR_OK && (!i->reserved || i->last >= i->reserved))
		e = reserve(r, type, i->last);
	if (e == ERR_OK)
		*out = ++i->last;
	return e;
}

enum err records_issue(struct node *n, uint64_t type, uint64_t life_s, struct bytes body, struct buf *out)
{
	struct records *r = n->records;
	uint64_t gen, wall = env_wall(n->env);
	size_t at = out->n;
	enum err e;

	BUG_ON(!records_issues(type));
	if (!r)
		return ERR_UNSUPPORTED;
	e = next_gen(r, type, &gen);
	if (e != ERR_OK)
		return e;
	im2_record_write(n->p.keyring, type, gen, wall > CLOCK_PLAUSIBLE_MS ? wall : 0, life_s, body, out);
	if (out->err != ERR_OK)
		return out->err;
	return im2_records_own(r->cache, bytes_of(out->p + at, out->n - at));
}

void records_issued_behind(struct records *r, const struct im2_record *rec)
{
	struct node *n = r->node;
	struct issued *i = &r->issued[rec->type];
	uint64_t used;

	/* What an earlier life of this machine issued is no news. */
	if (!i->reserved && stored_gen(r, rec->type, &used) == ERR_OK && used > i->last)
		i->last = used;
	if (rec->gen <= i->last)
		return;
	log_warn("own-record-behind type=%u gen=%llu why=\"a record of ours that we do not know: was a backup restored?\"",
		 (unsigned)rec->type, (unsigned long long)rec->gen);
	audit_note(n->p.audit, "OWN_RECORD_BEHIND", bytes_str(keyring_id(n->p.keyring)->hex), "type",
		   rec->type == IM2_REC_CAP_T ? "cap" : rec->type == IM2_REC_ROUTE_T ? "route" : "card", NULL);
	i->last = rec->gen;
	i->reserved = 0; /* a block above it */
	parts_issue_again(n, rec->type);
}

struct bytes records_get(struct node *n, const uint8_t ed[static ED_BYTES], uint64_t type)
{
	return n->records ? im2_records_get(n->records->cache, ed, type, (struct bytes){ 0 }) : (struct bytes){ 0 };
}

bool records_want(struct conn *c, const struct node_id *author, uint64_t type)
{
	struct records *r = c->node->records;
	struct record_peer *p = r ? records_peer(r, &c->peer->id) : NULL;
	const struct pin *pin = pins_get(c->node->p.pins, author);
	const uint8_t *ed = pin ? pin->ed : routes_ed(c->node, author);

	return p && ed &&
	       records_ask(r, c, p, author, type, (struct bytes){ 0 }, records_held_gen(r, ed, type, (struct bytes){ 0 }));
}

enum im2_record_verdict records_take(struct conn *c, struct bytes raw, uint64_t type, struct im2_record *out)
{
	struct node *n = c->node;
	struct records *r = n->records;
	enum im2_record_verdict v = IM2_REC_REFUSED;
	enum im2_refusal why;

	if (!r)
		return v;
	why = im2_record_parse(raw, out);
	if (why == IM2_FINE && out->type != type)
		why = IM2_E_CONTEXT;
	if (why == IM2_FINE)
		v = im2_records_take(r->cache, raw, &c->peer->id, out, &why);
	if (v == IM2_REC_REFUSED)
		records_bad(r, c, why);
	else if (v == IM2_REC_EQUIVOCATION)
		records_equivocation(r, c, out);
	else if (v == IM2_REC_MINE_BEHIND)
		records_issued_behind(r, out);
	else if (v == IM2_REC_NEW)
		n->n.records_taken++;
	return v;
}
