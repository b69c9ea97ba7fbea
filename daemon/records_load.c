/*
 * records_load.c -- what earlier lives of this node kept: records of others, how we became who we are, evidence.
 */
#include "daemon/records_internal.h"

#include <stdlib.h>

#include "store/kv.h"

#define DROPS_MAX 256

struct dropping {
	struct records *r;
	uint8_t keys[DROPS_MAX][KV_KEY_MAX];
	size_t lens[DROPS_MAX], n;
};

static void drop_later(struct dropping *d, struct bytes key)
{
	if (d->n == DROPS_MAX)
		return; /* at the next start */
	memcpy(d->keys[d->n], key.p, key.n);
	d->lens[d->n++] = key.n;
}

static bool load_record(void *ctx, struct bytes key, struct bytes value)
{
	struct dropping *d = ctx;
	struct records *r = d->r;
	struct rd rd = rd_init(value.p, value.n);
	uint64_t arrived = rd_u64(&rd);
	struct bytes raw = rd_rest(&rd);
	enum im2_refusal why;
	struct im2_record rec;
	struct node_id id;

	if (rd_end(&rd) != ERR_OK || im2_record_parse(raw, &rec) != IM2_FINE) {
		drop_later(d, key);
		return true;
	}
	node_id_of(rec.author, &id);
	/* What came in an earlier life ends when it would have ended then. */
	if ((rec.life_s && env_wall(r->node->env) > arrived + rec.life_s * 1000) ||
	    (rec.type != IM2_REC_REVOKE_T && !pins_get(r->node->p.pins, &id)) ||
	    (memcmp(rec.author, keyring_ed(r->node->p.keyring), ED_BYTES) == 0 ?
		     im2_records_own(r->cache, raw) != ERR_OK :
		     im2_records_take(r->cache, raw, &id, &rec, &why) == IM2_REC_REFUSED)) {
		drop_later(d, key);
		return true;
	}
	if (rec.type == IM2_REC_REVOKE_T || rec.type == IM2_REC_ROTATE_T)
		notice_load(r, &rec, false);
	return true;
}

static enum err load_records(struct records *r)
{
	struct dropping *d = calloc(1, sizeof *d);
	enum err e;

	if (!d)
		return ERR_NOMEM;
	d->r = r;
	e = store_kv_each(r->node->p.store, SPACE_RECORD, load_record, d);
	for (size_t i = 0; e == ERR_OK && i < d->n; i++)
		records_del(r, SPACE_RECORD, bytes_of(d->keys[i], d->lens[i]));
	free(d);
	return e;
}

/* How we came to be who we are, from the newest step back. What leads elsewhere did not come to be. */
#define STEPS_MAX FORMER_MAX
struct steps {
	uint8_t *p[STEPS_MAX];
	size_t n[STEPS_MAX], count;
};

static bool load_step(void *ctx, struct bytes key, struct bytes value)
{
	struct steps *s = ctx;

	(void)key;
	if (s->count < STEPS_MAX && (s->p[s->count] = malloc(value.n ? value.n : 1))) {
		memcpy(s->p[s->count], value.p, value.n);
		s->n[s->count++] = value.n;
	}
	return true;
}

static enum err load_rotations(struct records *r)
{
	uint8_t at[ED_BYTES], place[RECORD_PLACE_MAX];
	struct im2_rotation rot;
	struct steps s = { 0 };
	struct im2_record rec;
	bool found = true;
	enum err e = store_kv_each(r->node->p.store, SPACE_ROTATE, load_step, &s);

	memcpy(at, keyring_ed(r->node->p.keyring), sizeof at);
	while (e == ERR_OK && found) {
		found = false;
		for (size_t i = 0; i < s.count && !found; i++) {
			found = s.p[i] && im2_record_parse(bytes_of(s.p[i], s.n[i]), &rec) == IM2_FINE &&
				im2_record_verify(&rec) == IM2_FINE && im2_rotation_of(&rec, &rot) == IM2_FINE &&
				memcmp(rot.new_ed, at, sizeof at) == 0;
			if (!found)
				continue;
			notice_load(r, &rec, true);
			memcpy(at, rot.old_ed, sizeof at);
			node_id_of(at, &r->former[r->former_n++]);
			free(s.p[i]);
			s.p[i] = NULL;
		}
	}
	for (size_t i = 0; i < s.count; i++) {
		if (s.p[i] && im2_record_parse(bytes_of(s.p[i], s.n[i]), &rec) == IM2_FINE)
			records_del(r, SPACE_ROTATE, record_place(rec.author, rec.type, rec.key, place));
		free(s.p[i]);
	}
	return e;
}

static bool count_evidence(void *ctx, struct bytes key, struct bytes value)
{
	struct records *r = ctx;

	(void)key, (void)value;
	r->evidence_n++;
	return true;
}

enum err records_load(struct records *r)
{
	enum err e = load_records(r);

	if (e == ERR_OK)
		e = load_rotations(r);
	return e == ERR_OK ? store_kv_each(r->node->p.store, SPACE_EVIDENCE, count_evidence, r) : e;
}
