/*
 * revoked.c -- identities that are over (im2.md 13.4): whomever a REVOKE that counts names, pinned or not, stands in
 * the space "revoked" under its key: when it takes effect, whose share it fills, and the record if it is short.
 *
 * Anybody can make keys and revoke them, so who delivers fills an eighth at most; what a quorum says is in nobody's
 * share. A revocation of a later date is told to notices.c when its target turns up before.
 */
#include "daemon/records_internal.h"

#include "base/text.h"
#include "store/kv.h"

#define SHARE 8
#define RAW_MAX 2048

struct ended {
	uint64_t effective_ms, source;
};

static uint64_t source_of(const struct node_id *from)
{
	uint8_t id[RAW_ID];
	uint64_t v;

	raw_id(from, id);
	memcpy(&v, id, sizeof v);
	return v;
}

static uint64_t source_of_quorum(const uint8_t ed[static ED_BYTES])
{
	uint64_t v;

	memcpy(&v, ed, sizeof v);
	return v;
}

static void evicted(void *ctx, struct bytes key, void *value)
{
	struct records *r = ctx;

	(void)value;
	/* While the rows are read nothing may be written. A row too many is true all the same. */
	if (r->revoked_loaded)
		records_del(r, SPACE_REVOKED, key);
}

static bool ended_set(struct records *r, struct bytes ed, const struct ended *x)
{
	bool created;
	void *v;

	if (map_put(r->revoked, ed, x->source, &v, &created) != ERR_OK)
		return false;
	*(struct ended *)v = *x;
	return true;
}

static bool load(void *ctx, struct bytes key, struct bytes value)
{
	struct rd rd = rd_init(value.p, value.n);
	struct ended x;

	x.effective_ms = rd_u64(&rd);
	x.source = rd_u64(&rd);
	if (rd.err == ERR_OK && key.n == ED_BYTES)
		(void)ended_set(ctx, key, &x);
	return true;
}

enum err revoked_load(struct records *r)
{
	struct map_opts mo = { .capacity = REVOKED_MAX, .per_source = REVOKED_MAX / SHARE, .policy = MAP_EVICT_LRU,
			       .value_size = sizeof(struct ended), .evicted = evicted, .ctx = r };
	enum err e;

	env_random(r->node->env, mo.hash_key, sizeof mo.hash_key);
	r->revoked = map_new(&mo);
	e = r->revoked ? store_kv_each(r->node->p.store, SPACE_REVOKED, load, r) : ERR_NOMEM;
	r->revoked_loaded = true;
	return e;
}

void revoked_add(struct records *r, const struct im2_record *rec, const struct im2_revocation *v,
		 const struct node_id *from)
{
	struct bytes ed = BYTES_ARR(v->target);
	uint64_t quorum = source_of_quorum(v->target);
	struct ended x = { v->effective_ms, v->by_quorum ? quorum : source_of(from) };
	const struct ended *have = map_peek(r->revoked, ed);
	uint8_t head[16];
	struct wr w = wr_init(head, sizeof head);

	if (have && have->effective_ms <= x.effective_ms && (have->source == quorum || x.source != quorum))
		return;
	if (have && have->source == quorum)
		x.source = quorum;
	if (have && have->effective_ms < x.effective_ms)
		x.effective_ms = have->effective_ms;
	map_del(r->revoked, ed);
	if (!ended_set(r, ed, &x)) {
		log_error("revocation-not-kept err=%s", err_word(ERR_NOMEM));
		return;
	}
	wr_u64(&w, x.effective_ms);
	wr_u64(&w, x.source);
	buf_reset(&r->value);
	buf_add(&r->value, BYTES_ARR(head));
	if (rec->raw.n <= RAW_MAX)
		buf_add(&r->value, rec->raw);
	if (r->value.err == ERR_OK)
		records_put(r, SPACE_REVOKED, ed, buf_bytes(&r->value));
}

void revoked_told(struct records *r, const uint8_t ed[static ED_BYTES], const struct node_id *from)
{
	struct im2_record rec;
	struct buf b;

	if (!map_peek(r->revoked, bytes_of(ed, ED_BYTES)))
		return;
	buf_init(&b, KV_VALUE_MAX);
	if (store_kv_get(r->node->p.store, SPACE_REVOKED, bytes_of(ed, ED_BYTES), &b) == ERR_OK && b.n > 16 &&
	    im2_record_parse(bytes_of(b.p + 16, b.n - 16), &rec) == IM2_FINE) {
		uint8_t id[RAW_ID];

		raw_id_of(rec.author, id);
		if (!notice_gen(r, id, rec.type, rec.key))
			notice_new(r, &rec, from);
	}
	buf_fini(&b);
}

bool records_dead(const struct node *n, const uint8_t ed[static ED_BYTES])
{
	const struct ended *x = n->records ? map_peek(n->records->revoked, bytes_of(ed, ED_BYTES)) : NULL;
	uint64_t wall = env_wall(n->env);

	return x && (x->effective_ms <= wall || wall < CLOCK_PLAUSIBLE_MS);
}
