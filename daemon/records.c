/*
 * records.c -- signed records (im2.md 13): birth, time, and what a session begins with.
 */
#include "daemon/records_internal.h"

#include <stdlib.h>

#include "base/text.h"
#include "store/kv.h"

#define PEERS_MAX (PINS_MAX + 1024)
#define ASK_MS 5000
#define TICK_MIN_MS RECORDS_TICK_MS
#define HOUR_MS 3600000u
#define REPEAT_MS 10000u
#define REPEAT_MAX_MS 300000u

/* --- small things ------------------------------------------------------------------------------------ */
void raw_id(const struct node_id *id, uint8_t out[static RAW_ID])
{
	BUG_ON(hex_decode(bytes_of(id->hex, NODE_ID_LEN), out, RAW_ID) != ERR_OK);
}

void raw_id_of(const uint8_t ed[static ED_BYTES], uint8_t out[static RAW_ID])
{
	struct node_id id;

	node_id_of(ed, &id);
	raw_id(&id, out);
}

void node_id_of_raw(const uint8_t id[static RAW_ID], struct node_id *out)
{
	hex_encode(bytes_of(id, RAW_ID), out->hex);
}

struct record_peer *records_peer(struct records *r, const struct node_id *id)
{
	uint64_t now = env_now(r->node->env);
	struct record_peer *p;
	bool created;
	void *v;

	if (map_put(r->peers, bytes_of(id->hex, NODE_ID_LEN), 0, &v, &created) != ERR_OK)
		return NULL;
	p = v;
	if (created) {
		bucket_init(&p->records, 2, 40, now);
		/* Outside the bucket of records (13.4), but not free. */
		bucket_init(&p->notices, 20, 2 * NOTICES_MAX, now);
		bucket_init(&p->requests, 2, 20, now);
		bucket_init(&p->asks, 2, 20, now);
		p->due_ms = p->ask_ms = UINT64_MAX;
	}
	return p;
}

bool records_send(struct conn *c, uint16_t tag, struct bytes value)
{
	if (c->closing || im2_link_item(c->session, tag, value) != ERR_OK)
		return false;
	conn_pump_later(c);
	return true;
}

bool records_trusted(struct records *r, const struct node_id *id)
{
	const struct pin *pin = pins_get(r->node->p.pins, id);

	return pin && pin->state == PIN_TRUSTED;
}

const struct pin *records_pin(struct records *r, const uint8_t ed[static ED_BYTES])
{
	struct node_id id;
	const struct pin *pin;

	node_id_of(ed, &id);
	pin = pins_get(r->node->p.pins, &id);
	return pin && memcmp(pin->ed, ed, ED_BYTES) == 0 ? pin : NULL;
}

void records_mine_ended(struct records *r, bool rotated)
{
	struct node *n = r->node;
	const struct node_id *self = keyring_id(n->p.keyring);

	log_error("own-identity-%s next=\"ironmesh audit tail\"", rotated ? "rotated-elsewhere" : "revoked");
	audit_note(n->p.audit, rotated ? "OWN_KEY_ROTATED" : "OWN_KEY_REVOKED", bytes_str(self->hex), "peer_id", self->hex,
		   NULL);
	node_simple_event(n, "trust.changed", self, rotated ? "this identity was rotated" : "this identity was revoked");
}

void records_wake(struct records *r, uint64_t at_ms)
{
	if (!timer_armed(&r->timer) || at_ms < r->timer.at_ms)
		timer_at(r->node->env, &r->timer, at_ms);
}

struct bytes record_place(const uint8_t ed[static ED_BYTES], uint64_t type, struct bytes key,
			  uint8_t out[static RECORD_PLACE_MAX])
{
	BUG_ON(type > UINT8_MAX || key.n > IM2_RECORD_KEY_MAX);
	raw_id_of(ed, out);
	out[RAW_ID] = (uint8_t)type;
	if (key.n)
		memcpy(out + RAW_ID + 1, key.p, key.n);
	return bytes_of(out, RAW_ID + 1 + key.n);
}

void records_put(struct records *r, const char *space, struct bytes key, struct bytes value)
{
	enum err e = store_kv_put(r->node->p.store, space, key, value);

	if (e == ERR_OK) {
		node_store_soft(r->node);
		return;
	}
	log_error("record-not-stored space=%s err=%s", space, err_word(e));
	if (e == ERR_STORE)
		node_store_failed(r->node);
}

void records_del(struct records *r, const char *space, struct bytes key)
{
	enum err e = store_kv_del(r->node->p.store, space, key);

	/* Looking for it opened a group, also when it was not there. */
	if (e == ERR_OK || e == ERR_NOTFOUND)
		node_store_soft(r->node);
	else if (e == ERR_STORE)
		node_store_failed(r->node);
}

void records_keep(struct records *r, const struct im2_record *rec)
{
	uint8_t place[RECORD_PLACE_MAX], at[8];
	struct wr w = wr_init(at, sizeof at);

	wr_u64(&w, env_wall(r->node->env));
	buf_reset(&r->value);
	buf_add(&r->value, BYTES_ARR(at));
	buf_add(&r->value, rec->raw);
	if (r->value.err == ERR_OK)
		records_put(r, SPACE_RECORD, record_place(rec->author, rec->type, rec->key, place),
			    buf_bytes(&r->value));
}

/* --- birth ----------------------------------------------------------------------------------------------- */
static bool revoked(void *ctx, const uint8_t ed[static ED_BYTES])
{
	struct records *r = ctx;
	const struct pin *pin = records_pin(r, ed);

	return (pin && pin->state == PIN_REVOKED) || records_dead(r->node, ed);
}

static void due(void *ctx);

void records_admins_changed(struct node *n)
{
	if (n->records)
		im2_records_admins(n->records->cache, n->c.revoke_quorum, n->c.revoke_admins, n->c.revoke_admins_n);
}

enum err records_new(struct node *n)
{
	struct im2_records_config cc = { .env = n->env, .keyring = n->p.keyring, .build_ms = CLOCK_PLAUSIBLE_MS,
					 .quorum_k = n->c.revoke_quorum, .admins = n->c.revoke_admins,
					 .admins_n = n->c.revoke_admins_n, .revoked = revoked };
	struct map_opts mo = { .capacity = PEERS_MAX, .policy = MAP_EVICT_LRU, .value_size = sizeof(struct record_peer) };
	struct records *r;
	enum err e;

	if (!n->im2)
		return ERR_OK;
	r = calloc(1, sizeof *r);
	if (!r)
		return ERR_NOMEM;
	n->records = r;
	r->node = n;
	timer_init(&r->timer, due, r);
	buf_init(&r->item, IM2_RECORD_MAX);
	buf_init(&r->value, KV_VALUE_MAX);
	env_random(n->env, mo.hash_key, sizeof mo.hash_key);
	r->peers = map_new(&mo);
	r->hour_ms = env_now(n->env) + HOUR_MS;
	cc.ctx = r;
	e = r->peers ? im2_records_new(&cc, &r->cache) : ERR_NOMEM;
	if (e == ERR_OK)
		e = revoked_load(r);
	if (e == ERR_OK)
		e = prekeys_new(r);
	if (e == ERR_OK)
		e = records_load(r);
	if (e == ERR_OK)
		e = quarantines_load(r);
	if (e != ERR_OK) {
		records_free(n);
		return e;
	}
	if (im2_prekeys_record(r->prekeys).n)
		e = im2_records_own(r->cache, im2_prekeys_record(r->prekeys));
	records_wake(r, env_now(n->env) + TICK_MIN_MS);
	return e;
}

void records_free(struct node *n)
{
	struct records *r = n->records;

	if (!r)
		return;
	timer_stop(n->env, &r->timer);
	notices_free(r);
	im2_prekeys_free(r->prekeys);
	im2_records_free(r->cache);
	map_free(r->peers);
	map_free(r->revoked);
	buf_fini(&r->item);
	buf_fini(&r->value);
	free(r);
	n->records = NULL;
}

/* --- time --------------------------------------------------------------------------------------------------- */
/* While the list of allowed peers holds an old id, its record must say what became of it: as a stranger with that id the old
 * key would be let in. */
static bool listed(const void *policy, const struct node_id *id)
{
	return policy_lists(policy, id);
}

static void hourly(struct records *r)
{
	struct node *n = r->node;
	size_t gone = pins_expire_rotated_but(n->p.pins, env_wall(n->env), listed, n->c.policy);

	im2_records_sweep(r->cache);
	if (!gone)
		return;
	log_info("rotated-identities-expired count=%zu", gone);
	node_pins_flush(n, "rotated identities");
}

uint64_t records_held_gen(struct records *r, const uint8_t ed[static ED_BYTES], uint64_t type, struct bytes key)
{
	struct bytes raw = im2_records_get(r->cache, ed, type, key);
	struct im2_record rec;

	return raw.n && im2_record_parse(raw, &rec) == IM2_FINE ? rec.gen : 0;
}

bool records_ask(struct records *r, struct conn *c, struct record_peer *p, const struct node_id *author, uint64_t type,
		 struct bytes key, uint64_t have)
{
	bool sent = false;
	struct buf b;

	if (!bucket_take(&p->asks, 1, env_now(r->node->env)))
		return false;
	buf_init(&b, 128);
	im2_recreq_write(author, type, key, have, &b);
	if (b.err == ERR_OK)
		sent = records_send(c, IM2_ITEM_RECREQ, buf_bytes(&b));
	buf_fini(&b);
	return sent;
}

/* With the timers of a message: 10 s, doubling up to 300 s, a fifth more or less. */
static void repeat(struct records *r, struct conn *c, struct record_peer *p)
{
	uint64_t wait = (uint64_t)REPEAT_MS << (p->tries < 5 ? p->tries : 5);

	if (!notices_open(r, c, p)) {
		p->due_ms = UINT64_MAX;
		return;
	}
	wait = wait < REPEAT_MAX_MS ? wait : REPEAT_MAX_MS;
	p->tries++;
	p->due_ms = env_now(r->node->env) + wait * 4 / 5 + env_uniform(r->node->env, wait * 2 / 5);
	notices_offer(r, c, p);
}

/* What a session owes now; returns when it owes again. */
static uint64_t session_due(struct records *r, struct conn *c)
{
	uint64_t now = env_now(r->node->env);
	struct record_peer *p = records_peer(r, &c->peer->id);

	if (!p)
		return UINT64_MAX;
	if (p->ask_ms <= now) {
		const struct pin *pin = pins_get(r->node->p.pins, &c->peer->id);

		p->ask_ms = UINT64_MAX;
		if (pin)
			(void)records_ask(r, c, p, &pin->id, IM2_REC_PREKEY_T, (struct bytes){ 0 },
			    records_held_gen(r, pin->ed, IM2_REC_PREKEY_T, (struct bytes){ 0 }));
	}
	if (p->due_ms <= now)
		repeat(r, c, p);
	return p->ask_ms < p->due_ms ? p->ask_ms : p->due_ms;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void due(void *ctx)
{
	struct records *r = ctx;
	struct node *n = r->node;
	uint64_t now = env_now(n->env), next, wall;

	prekeys_tick(r);
	if (now >= r->hour_ms) {
		r->hour_ms = now + HOUR_MS;
		hourly(r);
	}
	wall = notices_act(r);
	next = sooner(sooner(prekeys_due_ms(r), r->hour_ms), records_onward_due(r));
	if (wall != UINT64_MAX)
		next = sooner(next, now + (wall > env_wall(n->env) ? wall - env_wall(n->env) : 0));
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		if (c->online && c->im2 && !c->closing)
			next = sooner(next, session_due(r, c));
	}
	records_wake(r, next > now + TICK_MIN_MS ? next : now + TICK_MIN_MS);
}

/* --- sessions ----------------------------------------------------------------------------------------------- */
void records_online(struct conn *c)
{
	struct records *r = c->node->records;
	const struct pin *pin = r ? pins_get(c->node->p.pins, &c->peer->id) : NULL;
	struct record_peer *p = pin ? records_peer(r, &pin->id) : NULL;
	uint64_t now = env_now(c->node->env);

	if (!p)
		return;
	p->tries = 0;
	p->due_ms = now;
	p->ask_ms = now + ASK_MS;
	prekeys_offer(r, c);
	(void)session_due(r, c);
	revoked_told(r, pin->ed, &pin->id);
	if (!r->prekeys_wanted) {
		r->prekeys_wanted = true;
		records_wake(r, now);
	}
	records_wake(r, now + TICK_MIN_MS);
}

/* --- for others -------------------------------------------------------------------------------------------------- */
void records_forget(struct node *n, const uint8_t ed[static ED_BYTES])
{
	static const uint8_t types[] = { IM2_REC_PREKEY_T, IM2_REC_ROTATE_T, IM2_REC_CARD_T };
	struct records *r = n->records;
	uint8_t place[RECORD_PLACE_MAX];

	if (!r)
		return;
	im2_records_drop(r->cache, ed);
	notices_void(r, ed);
	for (size_t i = 0; i < sizeof types; i++)
		records_del(r, SPACE_RECORD, record_place(ed, types[i], (struct bytes){ 0 }, place));
}

void records_decided(struct node *n, const struct node_id *id)
{
	struct records *r = n->records;
	struct record_peer *p = r ? records_peer(r, id) : NULL;

	if (!p)
		return;
	if (!r->acting)
		quarantine_drop(r, id);
	/* It may hear more now than before. */
	p->due_ms = env_now(n->env);
	p->tries = 0;
	records_wake(r, p->due_ms);
}

enum err records_seal_to(struct node *n, const struct node_id *to, struct im2_seal_to *out)
{
	const struct pin *pin = pins_get(n->p.pins, to);

	if (!n->records || !pin)
		return ERR_NOTFOUND;
	*out = (struct im2_seal_to){ .name = n->c.name, .allow_fallback = pin->has_x25519 };
	memcpy(out->ed, pin->ed, sizeof out->ed);
	if (pin->has_x25519)
		memcpy(out->x, pin->x25519, sizeof out->x);
	out->prekey_record = im2_records_get(n->records->cache, pin->ed, IM2_REC_PREKEY_T, (struct bytes){ 0 });
	return pin->has_x25519 || out->prekey_record.n ? ERR_OK : ERR_NOTFOUND;
}

size_t records_former(const struct node *n, const struct node_id **out)
{
	*out = n->records ? n->records->former : NULL;
	return n->records ? n->records->former_n : 0;
}

const struct im2_prekeys *records_prekeys(const struct node *n)
{
	return n->records ? n->records->prekeys : NULL;
}
