/*
 * records.c -- signed records in sessions (im2.md 13): what is sent, asked, taken, and by what budget.
 */
#include "daemon/records_internal.h"

#include <stdlib.h>

#include "base/text.h"
#include "protocol/im2/content.h"
#include "store/kv.h"

#define PEERS_MAX (PINS_MAX + 1024)
#define ASK_MS 5000
#define TICK_MIN_MS 1000
#define HOUR_MS 3600000u
#define REPEAT_MS 10000u
#define REPEAT_MAX_MS 300000u
#define BAD_COST 10
#define LOAD_DROPS_MAX 256

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

	if (e == ERR_OK)
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
	struct node_id id;
	const struct pin *pin;

	node_id_of(ed, &id);
	pin = pins_get(r->node->p.pins, &id);
	return pin && pin->state == PIN_REVOKED && memcmp(pin->ed, ed, ED_BYTES) == 0;
}

struct dropping {
	struct records *r;
	uint8_t keys[LOAD_DROPS_MAX][KV_KEY_MAX];
	size_t lens[LOAD_DROPS_MAX], n;
};

static void drop_later(struct dropping *d, struct bytes key)
{
	if (d->n == LOAD_DROPS_MAX)
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
	    im2_records_take(r->cache, raw, &id, &rec, &why) == IM2_REC_REFUSED) {
		drop_later(d, key);
		return true;
	}
	if (rec.type != IM2_REC_PREKEY_T)
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
#define STEPS_MAX 16
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

static void due(void *ctx);

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
		e = prekeys_new(r);
	if (e == ERR_OK)
		e = load_records(r);
	if (e == ERR_OK)
		e = load_rotations(r);
	if (e == ERR_OK)
		e = quarantines_load(r);
	if (e == ERR_OK)
		e = store_kv_each(n->p.store, SPACE_EVIDENCE, count_evidence, r);
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
	buf_fini(&r->item);
	buf_fini(&r->value);
	free(r);
	n->records = NULL;
}

/* --- time --------------------------------------------------------------------------------------------------- */
static void hourly(struct records *r)
{
	struct node *n = r->node;
	size_t gone = pins_expire_rotated(n->p.pins, env_wall(n->env));

	im2_records_sweep(r->cache);
	if (!gone)
		return;
	log_info("rotated-identities-expired count=%zu", gone);
	node_pins_flush(n, "rotated identities");
}

static uint64_t held_gen(struct records *r, const uint8_t ed[static ED_BYTES], uint64_t type, struct bytes key)
{
	struct bytes raw = im2_records_get(r->cache, ed, type, key);
	struct im2_record rec;

	return raw.n && im2_record_parse(raw, &rec) == IM2_FINE ? rec.gen : 0;
}

static void ask(struct records *r, struct conn *c, struct record_peer *p, const struct node_id *author, uint64_t type,
		struct bytes key, uint64_t have)
{
	struct buf b;

	if (!bucket_take(&p->asks, 1, env_now(r->node->env)))
		return;
	buf_init(&b, 128);
	im2_recreq_write(author, type, key, have, &b);
	if (b.err == ERR_OK)
		(void)records_send(c, IM2_ITEM_RECREQ, buf_bytes(&b));
	buf_fini(&b);
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
			ask(r, c, p, &pin->id, IM2_REC_PREKEY_T, (struct bytes){ 0 },
			    held_gen(r, pin->ed, IM2_REC_PREKEY_T, (struct bytes){ 0 }));
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
	next = sooner(prekeys_due_ms(r), r->hour_ms);
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
	struct im2_record rec;
	struct bytes raw;

	if (!p)
		return;
	p->tries = 0;
	p->due_ms = now;
	p->ask_ms = now + ASK_MS;
	prekeys_offer(r, c);
	(void)session_due(r, c);
	/* It was a stranger when its revocation came. */
	raw = im2_records_get(r->cache, pin->ed, IM2_REC_REVOKE_T, bytes_of(pin->ed, ED_BYTES));
	if (raw.n && im2_record_parse(raw, &rec) == IM2_FINE)
		notice_new(r, &rec, &pin->id);
	if (!r->prekeys_wanted) {
		r->prekeys_wanted = true;
		records_wake(r, now);
	}
	records_wake(r, now + TICK_MIN_MS);
}

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
static void equivocation(struct records *r, struct conn *c, const struct im2_record *rec)
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
static void mine(struct records *r, const struct im2_record *rec)
{
	struct node *n = r->node;
	const struct node_id *self = keyring_id(n->p.keyring);

	if (rec->type == IM2_REC_PREKEY_T) {
		prekeys_behind(r, rec->gen);
		return;
	}
	bool rotated = rec->type == IM2_REC_ROTATE_T;

	log_error("own-identity-%s next=\"ironmesh audit tail\"", rotated ? "rotated-elsewhere" : "revoked");
	audit_note(n->p.audit, rotated ? "OWN_KEY_ROTATED" : "OWN_KEY_REVOKED", bytes_str(self->hex), "peer_id", self->hex,
		   NULL);
	node_simple_event(n, "trust.changed", self, rotated ? "this identity was rotated" : "this identity was revoked");
}

static void bad(struct records *r, struct conn *c, struct bucket *b, enum im2_refusal why)
{
	log_debug("record-refused from=%s why=%s", c->peer->id.hex, im2_refusal_word(why));
	r->node->n.records_refused++;
	if (why != IM2_E_POLICY && !bucket_take(b, BAD_COST - 1, env_now(r->node->env)))
		b->tokens = 0;
}

static const struct pin *pin_of(struct records *r, const uint8_t ed[static ED_BYTES])
{
	struct node_id id;
	const struct pin *pin;

	node_id_of(ed, &id);
	pin = pins_get(r->node->p.pins, &id);
	return pin && memcmp(pin->ed, ed, ED_BYTES) == 0 ? pin : NULL;
}

static bool author_is(const struct im2_record *rec, const struct node_id *id)
{
	struct node_id author;

	node_id_of(rec->author, &author);
	return node_id_eq(&author, id);
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
		equivocation(r, c, &rec);
		break;
	case IM2_REC_MINE_BEHIND:
		mine(r, &rec);
		break;
	case IM2_REC_NEW:
		n->n.records_taken++;
		if (is_notice(rec.type))
			notice_new(r, &rec, &c->peer->id);
		else if (pin_of(r, rec.author))
			records_keep(r, &rec);
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
	return pin ? pin->ed : NULL;
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
	if (raw.n && im2_record_parse(raw, &rec) == IM2_FINE &&
	    (!im2_has(&f, IM2_RECREQ_HAVE) || rec.gen > f.v[IM2_RECREQ_HAVE].u))
		(void)records_send(c, IM2_ITEM_RECORD, raw);
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
	have = held_gen(r, ed, type, key);
	node_id_of_raw(f.v[IM2_RECDIG_ID].b.p, &author);
	if (gen > have)
		ask(r, c, p, &author, type, key, have);
}

/* Signed receipts are as good as those of a session with who signed them (10.2). */
static void on_receipt(struct records *r, struct conn *c, struct bytes value)
{
	struct node *n = r->node;
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
		on_receipt(r, c, buf_bytes(&r->item));
		break;
	default:
		break;
	}
}

/* --- for others -------------------------------------------------------------------------------------------------- */
void records_forget(struct node *n, const uint8_t ed[static ED_BYTES])
{
	static const uint8_t types[] = { IM2_REC_PREKEY_T, IM2_REC_ROTATE_T };
	struct records *r = n->records;
	uint8_t place[RECORD_PLACE_MAX];

	if (!r)
		return;
	im2_records_drop(r->cache, ed);
	for (size_t i = 0; i < sizeof types; i++)
		records_del(r, SPACE_RECORD, record_place(ed, types[i], (struct bytes){ 0 }, place));
}

void records_decided(struct node *n, const struct node_id *id)
{
	if (n->records && !n->records->acting)
		quarantine_drop(n->records, id);
}

enum err records_seal_to(struct node *n, const struct node_id *to, struct im2_seal_to *out)
{
	const struct pin *pin = pins_get(n->p.pins, to);

	if (!n->records || !pin || !pin->has_x25519)
		return ERR_NOTFOUND;
	*out = (struct im2_seal_to){ .name = n->c.name };
	memcpy(out->ed, pin->ed, sizeof out->ed);
	memcpy(out->x, pin->x25519, sizeof out->x);
	out->prekey_record = im2_records_get(n->records->cache, pin->ed, IM2_REC_PREKEY_T, (struct bytes){ 0 });
	return ERR_OK;
}

const struct im2_prekeys *records_prekeys(const struct node *n)
{
	return n->records ? n->records->prekeys : NULL;
}
