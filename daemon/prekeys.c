/*
 * prekeys.c -- prekeys on disk and on their way (im2.md 11.3): ours in the space "prekey", each under
 * node id || prekey id, so that those of an earlier identity are found and dropped.
 */
#include "daemon/records_internal.h"
#include "daemon/routes.h"

#include <stdlib.h>

#include "base/secret.h"
#include "store/kv.h"

#define KEY_BYTES (RAW_ID + 4)
#define VALUE_BYTES (32 + 32 + 4 * 8)
#define OLD_MAX 64

/* --- on disk --------------------------------------------------------------------------------------- */
static struct bytes place_of(struct records *r, const uint8_t id[static 4], uint8_t out[static KEY_BYTES])
{
	raw_id(keyring_id(r->node->p.keyring), out);
	memcpy(out + RAW_ID, id, 4);
	return bytes_of(out, KEY_BYTES);
}

struct loading {
	uint8_t self[RAW_ID];
	struct im2_prekey keys[IM2_PREKEYS_MAX];
	size_t n;
	/* Of an earlier identity, or more than we ever have. */
	uint8_t old[OLD_MAX][KEY_BYTES];
	size_t old_n;
};

static bool load(void *ctx, struct bytes key, struct bytes value)
{
	struct loading *l = ctx;
	struct rd r = rd_init(value.p, value.n);
	struct im2_prekey k = { 0 };

	if (key.n != KEY_BYTES)
		return true;
	rd_copy(&r, k.secret, sizeof k.secret);
	rd_copy(&r, k.pub, sizeof k.pub);
	k.gen = rd_u64(&r);
	k.issued_ms = rd_u64(&r);
	k.life_s = rd_u64(&r);
	k.erase_ms = rd_u64(&r);
	memcpy(k.id, key.p + RAW_ID, sizeof k.id);
	if (rd_end(&r) == ERR_OK && memcmp(key.p, l->self, RAW_ID) == 0 && l->n < IM2_PREKEYS_MAX)
		l->keys[l->n++] = k;
	else if (l->old_n < OLD_MAX)
		memcpy(l->old[l->old_n++], key.p, KEY_BYTES);
	wipe(&k, sizeof k);
	return true;
}

static bool is_among(const struct im2_prekey *keys, size_t n, const uint8_t id[static 4])
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(keys[i].id, id, sizeof keys[i].id) == 0)
			return true;
	return false;
}

static enum err write_key(struct records *r, const struct im2_prekey *k)
{
	uint8_t value[VALUE_BYTES], key[KEY_BYTES];
	struct wr w = wr_init(value, sizeof value);
	struct bytes b;
	enum err e;

	wr_bytes(&w, BYTES_ARR(k->secret));
	wr_bytes(&w, BYTES_ARR(k->pub));
	wr_u64(&w, k->gen);
	wr_u64(&w, k->issued_ms);
	wr_u64(&w, k->life_s);
	wr_u64(&w, k->erase_ms);
	BUG_ON(wr_end(&w, &b) != ERR_OK || b.n != sizeof value);
	e = store_kv_put(r->node->p.store, SPACE_PREKEY, place_of(r, k->id, key), b);
	wipe(value, sizeof value);
	return e;
}

static struct bytes generation_place(struct records *r, uint8_t out[static RECORD_PLACE_MAX])
{
	return record_place(keyring_ed(r->node->p.keyring), IM2_REC_PREKEY_T, (struct bytes){ 0 }, out);
}

static enum err write_generation(struct records *r, uint64_t gen)
{
	uint8_t place[RECORD_PLACE_MAX], value[8];
	struct wr w = wr_init(value, sizeof value);

	wr_u64(&w, gen);
	return store_kv_put(r->node->p.store, SPACE_GENERATION, generation_place(r, place), BYTES_ARR(value));
}

/* On disk when it returns ERR_OK: nobody may seal to a key that a crash takes from us. */
static enum err save(void *ctx, const struct im2_prekey *keys, size_t n)
{
	struct records *r = ctx;
	struct node *node = r->node;
	struct loading *have = calloc(1, sizeof *have);
	enum err e, committed;
	uint64_t gen = 0;

	if (!have)
		return ERR_NOMEM;
	raw_id(keyring_id(node->p.keyring), have->self);
	e = store_kv_each(node->p.store, SPACE_PREKEY, load, have);
	for (size_t i = 0; e == ERR_OK && i < have->n; i++) {
		uint8_t key[KEY_BYTES];

		if (!is_among(keys, n, have->keys[i].id))
			e = store_kv_del(node->p.store, SPACE_PREKEY, place_of(r, have->keys[i].id, key));
	}
	for (size_t i = 0; e == ERR_OK && i < n; i++) {
		gen = keys[i].gen > gen ? keys[i].gen : gen;
		if (!is_among(have->keys, have->n, keys[i].id))
			e = write_key(r, &keys[i]);
	}
	if (e == ERR_OK && gen)
		e = write_generation(r, gen);
	wipe(have, sizeof *have);
	free(have);
	if (e != ERR_OK)
		node_store_failed(node);
	committed = node_commit(node);
	return e != ERR_OK ? e : committed;
}

/* No wrong clock erases a key. */
static uint64_t running(void *ctx)
{
	struct records *r = ctx;

	return store_running_ms(r->node->p.store);
}

/* The keys may be gone, the generation must not come back. */
static enum err load_floor(struct records *r, uint64_t newest)
{
	uint8_t place[RECORD_PLACE_MAX];
	struct rd rd;
	uint64_t gen;
	enum err e;

	buf_reset(&r->value);
	e = store_kv_get(r->node->p.store, SPACE_GENERATION, generation_place(r, place), &r->value);
	if (e == ERR_NOTFOUND)
		return ERR_OK;
	rd = rd_init(r->value.p, r->value.n);
	gen = rd_u64(&rd);
	if (e == ERR_OK && rd_end(&rd) == ERR_OK && gen > newest)
		r->gen_floor = gen;
	return e;
}

enum err prekeys_new(struct records *r)
{
	struct store *s = r->node->p.store;
	struct im2_prekeys_config c = { .env = r->node->env, .keyring = r->node->p.keyring,
					.build_ms = CLOCK_PLAUSIBLE_MS, .save = save, .running_ms = running, .ctx = r };
	struct loading *l = calloc(1, sizeof *l);
	uint64_t newest = 0;
	enum err e;

	if (!l)
		return ERR_NOMEM;
	raw_id(keyring_id(r->node->p.keyring), l->self);
	e = store_kv_each(s, SPACE_PREKEY, load, l);
	if (e == ERR_OK)
		e = im2_prekeys_new(&c, l->keys, l->n, &r->prekeys);
	r->prekeys_wanted = l->n > 0;
	for (size_t i = 0; i < l->n; i++)
		newest = l->keys[i].gen > newest ? l->keys[i].gen : newest;
	for (size_t i = 0; e == ERR_OK && i < l->old_n; i++)
		records_del(r, SPACE_PREKEY, BYTES_ARR(l->old[i]));
	wipe(l, sizeof *l);
	free(l);
	return e == ERR_OK ? load_floor(r, newest) : e;
}

/* --- on their way ------------------------------------------------------------------------------------ */
static uint64_t newest_gen(struct records *r, struct bytes *record)
{
	struct im2_record rec;

	*record = im2_prekeys_record(r->prekeys);
	return record->n && im2_record_parse(*record, &rec) == IM2_FINE ? rec.gen : 0;
}

void prekeys_offer(struct records *r, struct conn *c)
{
	struct record_peer *p = records_peer(r, &c->peer->id);
	struct bytes record;
	uint64_t gen = newest_gen(r, &record);

	if (p && gen > p->prekey_gen && records_send(c, IM2_ITEM_RECORD, record))
		p->prekey_gen = gen;
}

static void announce(struct records *r)
{
	struct node *n = r->node;
	struct bytes record = im2_prekeys_record(r->prekeys);

	if (!record.n || im2_records_own(r->cache, record) != ERR_OK)
		return;
	routes_again(n); /* it names the prekey */
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		if (c->online && c->im2 && !c->closing)
			prekeys_offer(r, c);
	}
}

/* The newest record is no more than what another life of ours has said. */
static bool is_behind(struct records *r)
{
	struct bytes record;

	return r->gen_floor && newest_gen(r, &record) <= r->gen_floor;
}

uint64_t prekeys_due_ms(struct records *r)
{
	uint64_t at;

	if (!r->prekeys_wanted)
		return UINT64_MAX;
	at = is_behind(r) ? 0 : im2_prekeys_deadline_ms(r->prekeys);
	return at > r->prekeys_at_ms ? at : r->prekeys_at_ms;
}

void prekeys_tick(struct records *r)
{
	uint64_t now = env_now(r->node->env);
	bool changed = false;
	enum err e;

	if (now < prekeys_due_ms(r))
		return;
	e = im2_prekeys_tick(r->prekeys, &changed);
	if (e == ERR_OK && is_behind(r)) {
		e = im2_prekeys_behind(r->prekeys, r->gen_floor);
		if (e == ERR_LIMIT) {
			log_error("no-higher-generation why=\"the key of this node was used for the highest one: rotate it\"");
			r->gen_floor = 0;
			e = ERR_OK;
		}
		changed = e == ERR_OK;
	}
	if (e != ERR_OK) {
		log_error("prekeys-not-stored err=%s", err_word(e));
		r->prekeys_at_ms = now + DISK_RETRY_MS;
		return;
	}
	if (changed)
		announce(r);
}

void prekeys_behind(struct records *r, uint64_t gen)
{
	struct node *n = r->node;

	log_warn("own-record-behind gen=%llu why=\"a prekey of ours that we do not know: was a backup restored?\"",
		 (unsigned long long)gen);
	audit_note(n->p.audit, "OWN_RECORD_BEHIND", bytes_str(keyring_id(n->p.keyring)->hex), "type", "prekey", NULL);
	if (gen > r->gen_floor)
		r->gen_floor = gen;
	records_wake(r, env_now(n->env));
}
