/*
 * host.c -- what outlives connections: the tables of peers and sessions, mesh keys, limits.
 */
#include <stdlib.h>

#include "protocol/im2/im2_internal.h"

#define CREDIT 65536
#define CREDIT_RADIO 2048
#define MIN_MS (60 * UINT64_C(1000))

uint64_t im2_now(const struct im2_host *h)
{
	return env_now(h->c.env);
}

void im2_host_due(struct im2_host *h, uint64_t at_ms)
{
	if (at_ms < h->next_ms)
		h->next_ms = at_ms;
}

bool im2_host_may_err(struct im2_host *h, struct bytes source)
{
	uint64_t now = im2_now(h);
	bool created;
	void *v;

	if (source.n == 0)
		return true;
	if (map_put(h->err_sources, source, 0, &v, &created) != ERR_OK)
		return false;
	if (created)
		bucket_init(v, 1, IM2_ERR_BURST, now);
	return bucket_take(v, 1, now);
}

/* --- peers ----------------------------------------------------------------------------------------- */
static struct im2_peer *peer_at(void *value)
{
	struct im2_peer *p = NULL;

	if (value)
		memcpy(&p, value, sizeof p);
	return p;
}

struct im2_peer *im2_peer_find(struct im2_host *h, const uint8_t ed[static ED_BYTES])
{
	return peer_at(map_get(h->peers, bytes_of(ed, ED_BYTES)));
}

bool im2_host_trusts(struct im2_host *h, const uint8_t ed[static ED_BYTES])
{
	const struct im2_trust *t = &h->c.trust;
	const struct im2_peer *p = im2_peer_find(h, ed);
	struct im2_known k = { 0 };

	return p ? p->trusted : t->by_ed(t->ctx, ed, &k) && k.trusted;
}

static void peer_free(struct im2_host *h, struct im2_peer *p)
{
	im2_peer_erase_sessions(h, p);
	im2_transfers_free(p->transfers);
	wipe(p, sizeof *p);
	free(p);
}

/* Nothing holds it: no session, no connection, no transfer that may be resumed. */
static bool peer_idle(const struct im2_peer *p)
{
	return !p->current && !p->previous && !p->half_n && !p->paths &&
	       (!p->transfers || (im2_transfers_deadline_ms(p->transfers) == UINT64_MAX &&
				  !im2_transfer_in_bytes(p->transfers)));
}

static bool keep_busy(void *ctx, struct bytes key, void *value)
{
	struct im2_peer *p = peer_at(value);

	if (p->transfers && !p->paths) {
		im2_transfers_tick(p->transfers);
		im2_peer_transfers_ended(ctx, p);
	}
	if (!peer_idle(p))
		return true;
	peer_free(ctx, p);
	return false;
}

/* CLOSE and a new handshake give nobody a full bucket: until they are full by themselves they are remembered, unless
 * the table needs the room. */
static uint64_t buckets_wait_ms(struct im2_peer *p, uint64_t now)
{
	uint64_t longest = 0, most = MIN_MS; /* then it is looked at again */

	for (unsigned i = 0; i < CLASS_COUNT; i++) {
		uint64_t ms = bucket_wait_ms(&p->buckets[i], p->buckets[i].burst, now);

		longest = ms > longest ? ms : longest;
	}
	return longest < most ? longest : most;
}

struct im2_peer *im2_peer_get(struct im2_host *h, const uint8_t ed[static ED_BYTES], const uint8_t x[static X25519_BYTES])
{
	struct im2_peer *p = im2_peer_find(h, ed);
	uint64_t now = im2_now(h);
	bool created, trusted;
	void *slot;

	if (p) {
		memcpy(p->x, x, sizeof p->x);
		return p;
	}
	trusted = im2_host_trusts(h, ed);
	if (map_put(h->peers, bytes_of(ed, ED_BYTES), 0, &slot, &created) != ERR_OK) {
		map_each(h->peers, keep_busy, h);
		if (map_put(h->peers, bytes_of(ed, ED_BYTES), 0, &slot, &created) != ERR_OK)
			return NULL;
	}
	p = calloc(1, sizeof *p);
	if (!p) {
		map_del(h->peers, bytes_of(ed, ED_BYTES));
		return NULL;
	}
	memcpy(slot, &p, sizeof p);
	memcpy(p->ed, ed, sizeof p->ed);
	memcpy(p->x, x, sizeof p->x);
	node_id_of(ed, &p->id);
	p->trusted = trusted;
	bucket_init(&p->buckets[CLASS_MESSAGE], h->c.radio ? 2 : 50, h->c.radio ? 20 : 500, now);
	bucket_init(&p->buckets[CLASS_ITEM], 200, 1000, now);
	bucket_init(&p->buckets[CLASS_ROUTED], h->c.radio ? 2 : 50, h->c.radio ? 20 : 200, now);
	bucket_init(&p->buckets[CLASS_RECORD], 2, 40, now);
	bucket_init(&p->buckets[CLASS_REQUEST], 2, 20, now);
	bucket_init(&p->buckets[CLASS_KEY], 1, 10, now);
	/* I1 on a connection that is online: each costs four multiplications, and anybody on the way can repeat one. */
	bucket_init(&p->buckets[CLASS_SHAKE], 1, 20, now);
	return p;
}

void im2_peer_hello(struct im2_peer *p, const struct im2_hello *hello)
{
	if (hello->name[0])
		memcpy(p->name, hello->name, sizeof p->name);
	p->features = hello->features;
	p->max_unit = hello->max_unit;
	p->has_credit = hello->has_credit;
	p->credit = hello->credit;
}

uint32_t im2_default_credit(const struct im2_host *h)
{
	return h->c.radio ? CREDIT_RADIO : CREDIT;
}

uint32_t im2_peer_credit(const struct im2_host *h, const struct im2_peer *p)
{
	return p->has_credit ? p->credit : im2_default_credit(h);
}

struct im2_transfers *im2_peer_transfers(struct im2_host *h, struct im2_peer *p)
{
	struct im2_transfer_config c = {
		.env = h->c.env,
		.radio = h->c.radio,
		.bytes_total = &h->transfer_bytes,
		.bytes_total_max = h->c.limits.transfer_bytes_total,
		.window = h->c.credit,
		.pool = &h->transfer_pool,
		.stranger = !p->trusted,
	};

	if (!p->transfers && im2_transfers_new(&c, &p->transfers) != ERR_OK)
		p->transfers = NULL;
	return p->transfers;
}

void im2_peer_transfers_ended(struct im2_host *h, struct im2_peer *p)
{
	struct im2_transfer_end end;

	while (p->transfers && im2_transfer_ended(p->transfers, &end)) {
		for (unsigned i = 0; i < IM2_CARRIED_MAX; i++)
			if (p->carried[i].state == IM2_CARRY_OUT && p->carried[i].xfer == end.xfer)
				p->carried[i].state = end.delivered ? IM2_CARRY_TAKEN : IM2_CARRY_FAILED;
		if (p->transfers_out)
			p->transfers_out--;
		if (!end.delivered)
			h->n.transfers_aborted++;
	}
}

/* --- what we say of ourselves ----------------------------------------------------------------------- */
uint64_t im2_host_features(const struct im2_host *h)
{
	return h->c.features | (h->c.pad ? IM2_FEATURE_PAD : 0) | (h->c.radio ? IM2_FEATURE_RADIO : 0) |
	       (h->c.require ? IM2_FEATURE_REQUIRED : 0);
}

bool im2_hello_has_features(const struct im2_link *l, bool first)
{
	return first ? !l->host->c.radio : l->host->c.radio || im2_link_lossy(l);
}

void im2_host_hello(const struct im2_link *l, enum im2_unit_kind unit, struct im2_hello *out)
{
	const struct im2_host *h = l->host;
	bool first = unit == IM2_UNIT_X3 || unit == IM2_UNIT_X4;

	memset(out, 0, sizeof *out);
	if (im2_hello_has_features(l, first))
		out->features = im2_host_features(h);
	if (first && !h->c.radio)
		memcpy(out->name, h->c.name, strlen(h->c.name) + 1);
}

struct bytes im2_host_prs(const struct im2_host *h, uint16_t passgen)
{
	for (unsigned i = 0; i < h->mesh_n; i++)
		if (h->passgen[i] == passgen)
			return secret_bytes(&h->mesh[i]);
	return bytes_of(NULL, 0);
}

struct bytes im2_host_mesh(const struct im2_host *h, uint16_t *passgen)
{
	*passgen = h->mesh_n ? h->passgen[0] : 0;
	return h->mesh_n ? secret_bytes(&h->mesh[0]) : bytes_of(NULL, 0);
}

enum err im2_host_mesh_key(struct im2_host *h, uint16_t passgen, struct bytes key)
{
	struct secret copy = { 0 };
	unsigned i = 0;
	enum err e;

	if (key.n != IM2_KEY)
		return ERR_MALFORMED;
	while (i < h->mesh_n && h->passgen[i] != passgen)
		i++;
	if (i == sizeof h->mesh / sizeof h->mesh[0])
		return ERR_FULL;
	e = secret_copy(&copy, key);
	if (e != ERR_OK)
		return e;
	secret_free(&h->mesh[i]);
	h->mesh[i] = copy;
	h->passgen[i] = passgen;
	if (i == h->mesh_n)
		h->mesh_n++;
	h->c.mesh_key_coming = false;
	return ERR_OK;
}

bool im2_host_has_mesh_key(const struct im2_host *h)
{
	return h->mesh_n > 0;
}

/* --- birth and end ----------------------------------------------------------------------------------- */
static void set(uint64_t *v, uint64_t value)
{
	if (!*v)
		*v = value;
}

static void fill_defaults(struct im2_host_config *c)
{
	struct im2_limits *m = &c->limits;

	set(&m->rekey_after_ms, c->radio ? 86400 * UINT64_C(1000) : 30 * MIN_MS);
	set(&m->reject_after_ms, 3 * m->rekey_after_ms);
	set(&m->overlap_ms, c->radio ? 30 * MIN_MS : MIN_MS);
	set(&m->rekey_after_frames, UINT64_C(1) << 31);
	set(&m->reject_after_frames, IM2_COUNTER_END);
	set(&m->rekey_after_bytes, UINT64_C(1) << 36);
	set(&m->handshake_ms, c->radio ? 240000 : 15000);
	set(&m->transfer_bytes_total, 64 << 20);
	if (!m->sessions)
		m->sessions = IM2_SESSIONS_MAX;
	if (!m->pending)
		m->pending = c->radio ? 16 : 64;
	if (!c->max_unit)
		c->max_unit = 131072;
	if (!c->credit)
		c->credit = c->radio ? CREDIT_RADIO : 262144;
}

void im2_host_configure(struct im2_host *h, bool pad, bool sign_always, uint64_t rekey_after_ms)
{
	h->c.pad = pad;
	h->c.sign_always = sign_always;
	h->c.limits.rekey_after_ms = rekey_after_ms;
	h->c.limits.reject_after_ms = 0;
	fill_defaults(&h->c);
}

enum err im2_host_new(const struct im2_host_config *c, struct im2_host **out)
{
	struct im2_host *h = calloc(1, sizeof *h);
	struct map_opts o = { .policy = MAP_REFUSE };

	if (!h)
		return ERR_NOMEM;
	h->c = *c;
	h->next_ms = UINT64_MAX;
	fill_defaults(&h->c);
	BUG_ON(!name_valid(bytes_str(h->c.name)));
	env_random(h->c.env, o.hash_key, sizeof o.hash_key);
	o.capacity = h->c.limits.sessions; /* those in a handshake too */
	o.value_size = sizeof(struct im2_session *);
	h->sessions = map_new(&o);
	o.value_size = sizeof(struct im2_peer *);
	h->peers = map_new(&o);
	o.capacity = IM2_ERR_SOURCES;
	o.value_size = sizeof(struct bucket);
	o.policy = MAP_EVICT_LRU;
	h->err_sources = map_new(&o);
	wipe(&o, sizeof o);
	if (!h->sessions || !h->peers || !h->err_sources) {
		im2_host_free(h);
		return ERR_NOMEM;
	}
	*out = h;
	return ERR_OK;
}

static bool drop_peer(void *ctx, struct bytes key, void *value)
{
	peer_free(ctx, peer_at(value));
	return false;
}

void im2_host_free(struct im2_host *h)
{
	if (!h)
		return;
	BUG_ON(h->links);
	if (h->peers)
		map_each(h->peers, drop_peer, h);
	map_free(h->peers);
	map_free(h->sessions);
	map_free(h->err_sources);
	for (unsigned i = 0; i < h->mesh_n; i++)
		secret_free(&h->mesh[i]);
	wipe(h, sizeof *h);
	free(h);
}

void im2_host_revoke(struct im2_host *h, const uint8_t ed[static ED_BYTES])
{
	struct im2_peer *p = im2_peer_find(h, ed);
	struct im2_link *next;

	if (!p)
		return;
	for (struct im2_link *l = p->paths; l; l = next) {
		next = l->next_path;
		if (l->state == LINK_ONLINE)
			im2_batch_close(l, 4);
	}
	im2_peer_erase_sessions(h, p);
	while (p->paths)
		im2_link_over(p->paths, ERR_UNTRUSTED, BLAME_NONE, "revoked");
}

/* --- time --------------------------------------------------------------------------------------------- */
struct sweep {
	struct im2_host *h;
	uint64_t now;
};

static void sweep_session(struct sweep *w, struct im2_session *s)
{
	if (!s)
		return;
	if (w->now >= s->gone_ms)
		im2_session_erase(w->h, s);
	else
		im2_host_due(w->h, s->gone_ms);
}

static bool sweep_peer(void *ctx, struct bytes key, void *value)
{
	struct sweep *w = ctx;
	struct im2_peer *p = peer_at(value);

	sweep_session(w, p->current);
	sweep_session(w, p->previous);
	for (unsigned i = p->half_n; i-- > 0;)
		sweep_session(w, p->half[i]);
	if (p->transfers && !p->paths)
		im2_host_due(w->h, im2_transfers_deadline_ms(p->transfers));
	uint64_t wait = peer_idle(p) ? buckets_wait_ms(p, w->now) : 0;

	if (!wait)
		return keep_busy(w->h, key, value);
	im2_host_due(w->h, w->now + wait);
	return true;
}

void im2_host_tick(struct im2_host *h)
{
	struct sweep w = { h, im2_now(h) };

	h->next_ms = UINT64_MAX;
	map_each(h->peers, sweep_peer, &w);
}

uint64_t im2_host_deadline_ms(const struct im2_host *h)
{
	return h->next_ms;
}

const struct im2_counters *im2_host_counters(const struct im2_host *h)
{
	return &h->n;
}

size_t im2_host_bytes(const struct im2_host *h)
{
	size_t n = sizeof *h + map_count(h->sessions) * sizeof(struct im2_session) +
		   map_count(h->peers) * sizeof(struct im2_peer) + h->transfer_bytes;

	for (const struct im2_link *l = h->links; l; l = l->next)
		n += sizeof *l + (l->shake ? sizeof *l->shake : 0) + l->own.cap + l->out.cap + l->control.b.cap +
		     l->batch.b.cap + l->plain_out.cap + l->frame.cap + l->plain.cap;
	return n;
}
