/* The newest record per (author, type, key), in bounded memory (im2.md 13.2). */
#include "protocol/im2/record_internal.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/map.h"
#include "base/text.h"

#define ENTRIES	      4096
#define BYTES	      (8u << 20)
#define SHARE	      8 /* one delivering peer fills at most 1/8 */
#define FIELD_KEY_MAX (ED_BYTES + 1 + IM2_RECORD_KEY_MAX)
#define OWN	      0 /* as a source */

struct entry {
	uint8_t *p; /* the record */
	size_t n;
	uint64_t gen, issued_ms, life_s;
	uint64_t arrived_ms;
	uint64_t source, order;
};

struct im2_records {
	struct im2_records_config c;
	struct map *entries;
	size_t bytes; /* of all entries */
	uint64_t order;
	struct map *verified; /* SHA-256 of records whose signatures are good */
	struct map *dead;     /* ED -> effective_ms of a revocation that counts */
};

const struct im2_records_config *im2_records_config_of(const struct im2_records *r)
{
	return &r->c;
}

static void let_go(void *ctx, struct bytes key, void *value)
{
	struct im2_records *r = ctx;
	struct entry *e = value;

	r->bytes -= e->n;
	free(e->p);
	e->p = NULL;
	e->n = 0;
}

static struct map *table(struct env *env, size_t capacity, size_t value_size,
			 void (*evicted)(void *, struct bytes, void *), void *ctx)
{
	struct map_opts o = {.capacity = capacity,
			     .per_source = capacity / SHARE ? capacity / SHARE : 1,
			     .value_size = value_size,
			     .policy = MAP_EVICT_LRU,
			     .evicted = evicted,
			     .ctx = ctx};

	env_random(env, o.hash_key, sizeof o.hash_key);
	return map_new(&o);
}

void im2_records_admins(struct im2_records *r, unsigned quorum_k, const uint8_t (*admins)[ED_BYTES], size_t n)
{
	r->c.quorum_k = quorum_k;
	r->c.admins = admins;
	r->c.admins_n = n;
}

enum err im2_records_new(const struct im2_records_config *c, struct im2_records **out)
{
	struct im2_records *r = calloc(1, sizeof *r);

	if (!r)
		return ERR_NOMEM;
	r->c = *c;
	if (!r->c.authors)
		r->c.authors = ENTRIES;
	if (!r->c.bytes)
		r->c.bytes = BYTES;
	r->entries = table(c->env, r->c.authors, sizeof(struct entry), let_go, r);
	r->verified = table(c->env, r->c.authors, 0, NULL, NULL);
	r->dead = table(c->env, r->c.authors, sizeof(uint64_t), NULL, NULL);
	if (!r->entries || !r->verified || !r->dead) {
		im2_records_free(r);
		return ERR_NOMEM;
	}
	*out = r;
	return ERR_OK;
}

static bool forget(void *ctx, struct bytes key, void *value)
{
	let_go(ctx, key, value);
	return false;
}

void im2_records_free(struct im2_records *r)
{
	if (!r)
		return;
	if (r->entries)
		map_each(r->entries, forget, r);
	map_free(r->entries);
	map_free(r->verified);
	map_free(r->dead);
	free(r);
}

static struct bytes field_key(const uint8_t author[static ED_BYTES], uint64_t type,
			      struct bytes key, uint8_t out[static FIELD_KEY_MAX])
{
	struct wr w = wr_init(out, FIELD_KEY_MAX);
	struct bytes whole;

	wr_bytes(&w, bytes_of(author, ED_BYTES));
	wr_u8(&w, (uint8_t)type);
	wr_bytes(&w, key);
	BUG_ON(type > UINT8_MAX || wr_end(&w, &whole) != ERR_OK);
	return whole;
}

/* Sixty-four bits of a hash: two peers with one share would have to be made on purpose, and gain
 * half of it. */
static uint64_t source_of(const struct node_id *from)
{
	uint8_t id[8];
	uint64_t v;

	BUG_ON(hex_decode(bytes_of(from->hex, 16), id, sizeof id) != ERR_OK);
	memcpy(&v, id, sizeof v);
	return v;
}

/* --- time
 * --------------------------------------------------------------------------------------------- */

static bool plausible(const struct im2_records *r)
{
	return env_wall(r->c.env) >= r->c.build_ms;
}

static bool in_time(const struct im2_records *r, const struct im2_record *rec)
{
	uint64_t now = env_wall(r->c.env);

	if (!plausible(r) || rec->issued_ms == 0)
		return true;
	return rec->issued_ms <= now + IM2_DAY_MS &&
	       (rec->life_s == 0 || now <= rec->issued_ms + rec->life_s * 1000 + IM2_DAY_MS);
}

static uint64_t end_of(const struct entry *e)
{
	return e->life_s ? e->arrived_ms + e->life_s * 1000 : UINT64_MAX;
}

static bool usable(const struct im2_records *r, const struct entry *e, uint64_t type)
{
	uint64_t now = env_now(r->c.env), wall = env_wall(r->c.env);
	uint64_t grace = type == IM2_REC_PREKEY_T ? 0 : IM2_DAY_MS;

	if (e->life_s == 0)
		return true;
	if (now > end_of(e))
		return false;
	if (!plausible(r))
		return type != IM2_REC_PREKEY_T || now <= e->arrived_ms + IM2_DAY_MS;
	return e->issued_ms == 0 || wall <= e->issued_ms + e->life_s * 1000 + grace;
}

/* --- the dead
 * ----------------------------------------------------------------------------------------- */

static bool revoked(struct im2_records *r, const uint8_t ed[static ED_BYTES])
{
	const uint64_t *effective = map_peek(r->dead, bytes_of(ed, ED_BYTES));

	if (effective && (!plausible(r) || *effective <= env_wall(r->c.env)))
		return true;
	return r->c.revoked && r->c.revoked(r->c.ctx, ed);
}

struct dropping {
	struct im2_records *r;
	const uint8_t *author;
};

static bool keep_others(void *ctx, struct bytes key, void *value)
{
	const struct dropping *d = ctx;

	if (memcmp(key.p, d->author, ED_BYTES) != 0 || key.p[ED_BYTES] == IM2_REC_REVOKE_T)
		return true;
	let_go(d->r, key, value);
	return false;
}

void im2_records_drop(struct im2_records *r, const uint8_t author[static ED_BYTES])
{
	struct dropping d = {r, author};

	map_each(r->entries, keep_others, &d);
}

/* Applies a revocation that counts. True when it says more than we knew: then it is news, whatever
 * its generation. The generation cannot be what decides: a thief of the key could use up the
 * highest one with a harmless revocation, and the owner's would be ignored for ever. Scope 3 ends
 * nobody, so there it decides. */
static bool revoke(struct im2_records *r, const struct im2_record *rec, bool newest,
		   uint64_t source)
{
	struct im2_revocation v;
	uint64_t *effective;
	bool created;

	if (im2_revocation_of(r, rec, &v) != IM2_FINE || !(v.self || v.by_quorum))
		return false;
	if (v.scope == 3) {
		if (newest)
			im2_records_drop(r, v.target);
		return false;
	}
	if (map_put(r->dead, BYTES_ARR(v.target), source, (void **)&effective, &created) ==
	    ERR_OK) {
		if (!created && *effective <= v.effective_ms)
			return false;
		*effective = v.effective_ms;
	}
	im2_records_drop(r, v.target);
	return true;
}

/* --- taking
 * -------------------------------------------------------------------------------------------- */

static bool signatures_good(struct im2_records *r, const struct im2_record *rec, uint64_t source,
			    enum im2_refusal *why)
{
	uint8_t hash[HASH_BYTES];
	bool created;
	void *value;

	sha256(rec->raw, hash);
	if (map_get(r->verified, BYTES_ARR(hash)))
		return true;
	*why = im2_record_verify(rec);
	if (*why != IM2_FINE)
		return false;
	/* Without memory it is verified again the next time. */
	(void)!map_put(r->verified, BYTES_ARR(hash), source, &value, &created);
	return true;
}

static bool acceptable(struct im2_records *r, const struct im2_record *rec, uint64_t source,
		       enum im2_refusal *why)
{
	*why = IM2_E_POLICY;
	if (rec->type != IM2_REC_REVOKE_T && revoked(r, rec->author))
		return false;
	*why = IM2_E_RANGE;
	if (!in_time(r, rec))
		return false;
	/* The shape first: sixteen signatures on what has one author are not worth verifying. */
	*why = im2_record_rules(rec);
	return *why == IM2_FINE && signatures_good(r, rec, source, why);
}

/* What goes first: of this source, or of anybody; our own never. */
struct oldest {
	uint64_t source;
	bool anybody, is_revocation;
	size_t bytes;
	uint64_t order;
	uint8_t key[FIELD_KEY_MAX];
	size_t key_n;
};

static bool look(void *ctx, struct bytes key, void *value)
{
	struct oldest *o = ctx;
	const struct entry *e = value;
	bool is_revocation = key.p[ED_BYTES] == IM2_REC_REVOKE_T;

	if (e->source == OWN || (!o->anybody && e->source != o->source))
		return true;
	o->bytes += e->n;
	if (o->key_n && (is_revocation > o->is_revocation ||
			 (is_revocation == o->is_revocation && e->order > o->order)))
		return true;
	o->is_revocation = is_revocation;
	o->order = e->order;
	memcpy(o->key, key.p, key.n);
	o->key_n = key.n;
	return true;
}

/* Who delivers pays, while he has something. */
static void make_room(struct im2_records *r, uint64_t source, size_t n)
{
	const size_t share = r->c.bytes / SHARE;

	while (source != OWN && r->bytes + n > share) {
		struct oldest o = {.source = source};
		bool fits = r->bytes + n <= r->c.bytes;

		map_each(r->entries, look, &o);
		if (fits && (o.key_n == 0 || o.bytes + n <= share))
			return;
		if (o.key_n == 0) {
			o.anybody = true;
			map_each(r->entries, look, &o);
		}
		if (o.key_n == 0)
			return;
		struct bytes key = bytes_of(o.key, o.key_n);
		let_go(r, key, map_peek(r->entries, key));
		map_del(r->entries, key);
	}
}

static enum err keep(struct im2_records *r, struct bytes key, const struct im2_record *rec,
		     uint64_t source)
{
	uint8_t *copy = malloc(rec->raw.n);
	struct entry *e;
	bool created;

	if (!copy)
		return ERR_NOMEM;
	make_room(r, source, rec->raw.n);
	enum err err = map_put(r->entries, key, source, (void **)&e, &created);
	if (err != ERR_OK) {
		free(copy);
		return err;
	}
	memcpy(copy, rec->raw.p, rec->raw.n);
	let_go(r, key, e);
	r->bytes += rec->raw.n;
	*e = (struct entry){.p = copy,
			    .n = rec->raw.n,
			    .gen = rec->gen,
			    .issued_ms = rec->issued_ms,
			    .life_s = rec->life_s,
			    .arrived_ms = env_now(r->c.env),
			    .source = source,
			    .order = ++r->order};
	return ERR_OK;
}

/* The generation rule, for what has been found good. */
static enum im2_record_verdict judge(struct im2_records *r, struct bytes key,
				     const struct im2_record *rec, uint64_t source,
				     enum im2_refusal *why)
{
	const struct entry *e = map_get(r->entries, key);

	if (memcmp(rec->author, keyring_ed(r->c.keyring), ED_BYTES) == 0)
		return e && rec->gen < e->gen ? IM2_REC_OLD : IM2_REC_MINE_BEHIND;
	if (e && rec->gen < e->gen)
		return IM2_REC_OLD;
	if (e && rec->gen == e->gen)
		return IM2_REC_EQUIVOCATION;
	if (keep(r, key, rec, source) != ERR_OK) {
		*why = IM2_E_LIMIT;
		return IM2_REC_REFUSED;
	}
	return IM2_REC_NEW;
}

enum im2_record_verdict im2_records_take(struct im2_records *r, struct bytes record,
					 const struct node_id *from, struct im2_record *out,
					 enum im2_refusal *why)
{
	uint8_t room[FIELD_KEY_MAX];
	uint64_t source = source_of(from);
	enum im2_record_verdict v;
	const struct entry *e;
	struct bytes key;

	*why = im2_record_parse(record, out);
	if (*why != IM2_FINE)
		return IM2_REC_REFUSED;
	if (!im2_record_served(out->type)) {
		*why = IM2_E_POLICY;
		return IM2_REC_REFUSED;
	}
	key = field_key(out->author, out->type, out->key, room);
	e = map_get(r->entries, key);
	if (e && bytes_eq(bytes_of(e->p, e->n), record))
		return IM2_REC_REPEAT; /* every check was made when it came first; its life goes on
					  from there */
	if (!acceptable(r, out, source, why))
		return IM2_REC_REFUSED;
	v = judge(r, key, out, source, why);
	if (out->type == IM2_REC_REVOKE_T && revoke(r, out, v == IM2_REC_NEW, source))
		v = v == IM2_REC_MINE_BEHIND ? v : IM2_REC_NEW;
	return v;
}

enum err im2_records_own(struct im2_records *r, struct bytes record)
{
	struct im2_record rec;
	uint8_t room[FIELD_KEY_MAX];
	enum im2_refusal why = im2_record_parse(record, &rec);

	if (why != IM2_FINE)
		return im2_refusal_err(why);
	BUG_ON(memcmp(rec.author, keyring_ed(r->c.keyring), ED_BYTES) != 0);
	return keep(r, field_key(rec.author, rec.type, rec.key, room), &rec, OWN);
}

struct bytes im2_records_get(struct im2_records *r, const uint8_t author[static ED_BYTES],
			     uint64_t type, struct bytes key)
{
	uint8_t room[FIELD_KEY_MAX];
	const struct entry *e;

	BUG_ON(key.n > IM2_RECORD_KEY_MAX);
	e = map_get(r->entries, field_key(author, type, key, room));
	if (!e || !usable(r, e, type) || (type != IM2_REC_REVOKE_T && revoked(r, author)))
		return bytes_of(NULL, 0);
	return bytes_of(e->p, e->n);
}

/* A generation is remembered for a day longer than its record lives: for so long an older one may
 * still pass. */
static bool keep_young(void *ctx, struct bytes key, void *value)
{
	struct im2_records *r = ctx;
	const struct entry *e = value;

	if (e->life_s == 0 || env_now(r->c.env) <= end_of(e) + IM2_DAY_MS)
		return true;
	let_go(r, key, value);
	return false;
}

void im2_records_sweep(struct im2_records *r)
{
	map_each(r->entries, keep_young, r);
}

size_t im2_records_count(const struct im2_records *r)
{
	return map_count(r->entries);
}
