/*
 * notices.c -- REVOKE and ROTATE (im2.md 13.4): kept and repeated, each to everybody who may have it, until that peer
 * says that it holds it; and what they do to our trust. Effects come from the timer, within a second: they close
 * sessions, and the session that brought the record is in the middle of its frame.
 */
#include "daemon/records_internal.h"

#include <stdlib.h>

#include "base/text.h"
#include "store/kv.h"

#define NEVER UINT64_MAX
#define FOLLOW_ROWS 256

/* --- the table --------------------------------------------------------------------------------------- */
static size_t index_of(const struct records *r, const struct notice *x)
{
	return (size_t)(x - r->notices);
}

static bool same_place(const struct notice *x, const uint8_t id[static RAW_ID], uint64_t type, struct bytes key)
{
	return x->p && x->type == type && memcmp(x->id, id, RAW_ID) == 0 &&
	       bytes_eq(bytes_of(x->key, x->key_n), key);
}

struct clearing {
	size_t at;
};

static bool clear_answer(void *ctx, struct bytes key, void *value)
{
	const struct clearing *c = ctx;
	struct record_peer *p = value;

	(void)key;
	p->answered[c->at / 64] &= ~(UINT64_C(1) << c->at % 64);
	return true;
}

static void notice_drop(struct records *r, struct notice *x)
{
	struct clearing c = { index_of(r, x) };

	free(x->p);
	*x = (struct notice){ 0 };
	map_each(r->peers, clear_answer, &c);
}

/* The place of this record, a free one, or that of the oldest that is not our own and has done its work. */
static struct notice *room_for(struct records *r, const uint8_t id[static RAW_ID], const struct im2_record *rec, bool counts)
{
	struct notice *vacant = NULL, *oldest = NULL;

	for (size_t i = 0; i < NOTICES_MAX; i++) {
		struct notice *x = &r->notices[i];

		if (!x->p) {
			vacant = vacant ? vacant : x;
			continue;
		}
		if (same_place(x, id, rec->type, rec->key) && x->counts <= counts)
			return x;
		if (!x->own && x->act_ms == NEVER && (!oldest || x->order < oldest->order))
			oldest = x;
	}
	return vacant ? vacant : oldest;
}

static struct notice *notice_set(struct records *r, const struct im2_record *rec, bool own, bool counts, uint64_t act_ms)
{
	uint8_t id[RAW_ID], *copy = malloc(rec->raw.n);
	struct notice *x;

	raw_id_of(rec->author, id);
	x = copy ? room_for(r, id, rec, counts) : NULL;
	if (!x) {
		log_error("notice-not-kept type=%u", (unsigned)rec->type);
		free(copy);
		return NULL;
	}
	notice_drop(r, x);
	memcpy(copy, rec->raw.p, rec->raw.n);
	*x = (struct notice){ .p = copy, .n = rec->raw.n, .key_n = (uint8_t)rec->key.n, .type = (uint8_t)rec->type,
			      .gen = rec->gen, .order = ++r->order, .act_ms = act_ms, .own = own, .counts = counts,
			      .by_many = rec->type == IM2_REC_REVOKE_T && rec->signers_n > 1 };
	memcpy(x->author, rec->author, ED_BYTES);
	memcpy(x->id, id, RAW_ID);
	if (rec->key.n)
		memcpy(x->key, rec->key.p, rec->key.n);
	return x;
}

void notices_free(struct records *r)
{
	for (size_t i = 0; i < NOTICES_MAX; i++)
		free(r->notices[i].p);
}

/* --- who still has to hear ------------------------------------------------------------------------------ */
static bool is_answered(const struct record_peer *p, size_t i)
{
	return p->answered[i / 64] >> i % 64 & 1;
}

/* Our own are for everybody, those of others for whom we trust. Nobody is told what he alone has signed. */
static bool may_have(struct records *r, const struct node_id *peer, const struct notice *x)
{
	struct node_id author;

	node_id_of_raw(x->id, &author);
	return x->p && (x->by_many || !node_id_eq(&author, peer)) && (x->own || records_trusted(r, peer));
}

bool notices_open(struct records *r, const struct conn *c, const struct record_peer *p)
{
	for (size_t i = 0; i < NOTICES_MAX; i++)
		if (r->notices[i].p && !is_answered(p, i) && may_have(r, &c->peer->id, &r->notices[i]))
			return true;
	return false;
}

void notices_offer(struct records *r, struct conn *c, struct record_peer *p)
{
	for (size_t i = 0; i < NOTICES_MAX; i++) {
		const struct notice *x = &r->notices[i];

		if (x->p && !is_answered(p, i) && may_have(r, &c->peer->id, x) &&
		    !records_send(c, IM2_ITEM_RECORD, bytes_of(x->p, x->n)))
			return;
	}
}

void notices_answered(struct records *r, struct record_peer *p, const uint8_t id[static RAW_ID], uint64_t type,
		      struct bytes key, uint64_t gen)
{
	for (size_t i = 0; i < NOTICES_MAX; i++)
		if (same_place(&r->notices[i], id, type, key) && r->notices[i].gen <= gen)
			p->answered[i / 64] |= UINT64_C(1) << i % 64;
}

uint64_t notice_gen(struct records *r, const uint8_t id[static RAW_ID], uint64_t type, struct bytes key)
{
	uint64_t gen = 0;

	for (size_t i = 0; i < NOTICES_MAX; i++)
		if (same_place(&r->notices[i], id, type, key) && r->notices[i].gen > gen)
			gen = r->notices[i].gen;
	return gen;
}

void notices_void(struct records *r, const uint8_t ed[static ED_BYTES])
{
	for (size_t i = 0; i < NOTICES_MAX; i++) {
		struct notice *x = &r->notices[i];

		if (x->p && !x->own && x->type == IM2_REC_ROTATE_T && memcmp(x->author, ed, ED_BYTES) == 0)
			notice_drop(r, x);
	}
}

const struct notice *notice_find(struct records *r, const struct node_id *peer, const uint8_t id[static RAW_ID],
				 uint64_t type, struct bytes key)
{
	const struct notice *best = NULL;

	for (size_t i = 0; i < NOTICES_MAX; i++) {
		const struct notice *x = &r->notices[i];

		if (same_place(x, id, type, key) && may_have(r, peer, x) &&
		    (!best || x->counts > best->counts || (x->counts == best->counts && x->gen > best->gen)))
			best = x;
	}
	return best;
}

/* Everybody online hears of it at the next look. */
static void spread(struct records *r)
{
	struct node *n = r->node;

	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);
		struct record_peer *p = c->online && c->im2 && !c->closing ? records_peer(r, &c->peer->id) : NULL;

		if (p) {
			p->due_ms = env_now(n->env);
			p->tries = 0;
		}
	}
	records_wake(r, env_now(n->env));
}

/* --- news --------------------------------------------------------------------------------------------------- */
/* Whose trust it is about, and what weight it has. */
static const uint8_t *subject(struct records *r, const struct im2_record *rec, struct im2_revocation *v)
{
	*v = (struct im2_revocation){ 0 };
	if (rec->type == IM2_REC_ROTATE_T)
		return rec->author;
	return im2_revocation_of(r->cache, rec, v) == IM2_FINE ? rec->key.p : NULL;
}

void notice_load(struct records *r, const struct im2_record *rec, bool own)
{
	struct im2_revocation v;
	const uint8_t *ed = subject(r, rec, &v);
	bool counts = own || rec->type == IM2_REC_ROTATE_T || v.self || v.by_quorum;
	bool mine = own || memcmp(rec->author, keyring_ed(r->node->p.keyring), ED_BYTES) == 0;

	/* A quarantine that has begun stands in a space of its own; all else does no harm twice. */
	if (ed && (mine || records_pin(r, ed) || v.by_quorum) && (counts || v.quarantine))
		notice_set(r, rec, mine, counts, own || v.quarantine ? NEVER : v.effective_ms);
	if (ed && v.self && mine)
		records_mine_ended(r, false);
}

static void say_shown(struct records *r, const struct im2_record *rec, const struct im2_revocation *v,
		      const struct node_id *from)
{
	struct node *n = r->node;
	struct node_id author, target;

	node_id_of(rec->author, &author);
	node_id_of(v->target, &target);
	log_warn("revocation-without-effect peer=%s by=%s from=%s next=\"ironmesh trust show %s\"", target.hex, author.hex,
		 from->hex, target.hex);
	audit_note(n->p.audit, "REVOCATION_SHOWN", bytes_str(from->hex), "peer_id", target.hex, "by", author.hex,
		   "delivered_by", from->hex, NULL);
	node_simple_event(n, "trust.changed", &target, "somebody else revoked this identity: no effect here");
}

void notice_new(struct records *r, const struct im2_record *rec, const struct node_id *from)
{
	struct im2_revocation v;
	const uint8_t *ed = subject(r, rec, &v);
	const struct pin *pin = ed ? records_pin(r, ed) : NULL;
	bool counts = rec->type == IM2_REC_ROTATE_T || v.self || v.by_quorum;

	if (ed && counts && memcmp(ed, keyring_ed(r->node->p.keyring), ED_BYTES) == 0) {
		records_mine_ended(r, rec->type == IM2_REC_ROTATE_T);
		return;
	}
	if (ed && !counts && !v.quarantine) {
		say_shown(r, rec, &v, from);
		return;
	}
	if (v.scope && v.scope != 3 && counts)
		revoked_add(r, rec, &v, from);
	/* What strangers say of themselves is not passed on: they could fill the table. */
	if (!pin && !v.by_quorum)
		return;
	if (!notice_set(r, rec, false, counts, v.quarantine ? 0 : v.effective_ms))
		return;
	records_keep(r, rec);
	spread(r);
}

enum err notice_issue(struct records *r, const struct im2_record *rec)
{
	struct node *n = r->node;
	struct im2_revocation v;
	const uint8_t *ed = subject(r, rec, &v), *self = keyring_ed(n->p.keyring);
	bool mine = memcmp(rec->author, self, ED_BYTES) == 0, ourselves;

	if (!ed || (!v.self && !v.by_quorum && !v.quarantine))
		return ERR_DENIED;
	ourselves = memcmp(ed, self, ED_BYTES) == 0;
	if (!notice_set(r, rec, mine, !v.quarantine, ourselves ? NEVER : v.quarantine ? 0 : v.effective_ms))
		return ERR_FULL;
	if (v.scope != 3 && !v.quarantine && !ourselves)
		revoked_add(r, rec, &v, keyring_id(n->p.keyring));
	records_keep(r, rec);
	if (node_commit(n) != ERR_OK)
		return ERR_STORE;
	if (ourselves)
		records_mine_ended(r, false);
	spread(r);
	(void)notices_act(r);
	return ERR_OK;
}

/* --- effects: revocation ---------------------------------------------------------------------------------------- */
static void revoke(struct records *r, const struct notice *x, const struct im2_revocation *v)
{
	struct node *n = r->node;
	const struct pin *pin = records_pin(r, v->target);
	const char *by = v->self ? "itself" : "quorum";
	struct fault f = { 0 };
	char digest[33];
	uint8_t d[16];
	struct node_id id;

	if (!pin || pin->state == PIN_REVOKED)
		return;
	id = pin->id;
	im2_record_digest(bytes_of(x->p, x->n), d);
	hex_encode(BYTES_ARR(d), digest);
	log_warn("peer-revoked-signed peer=%s name=%s by=%s scope=%u record=%s", id.hex, peer_name(n, &id), by, v->scope,
		 digest);
	audit_note(n->p.audit, "PEER_REVOKED_SIGNED", (struct bytes){ 0 }, "peer_id", id.hex, "by", by, "record", digest,
		   "scope", v->scope == 3 ? "prekeys and older sessions" : v->scope == 2 ? "membership" : "identity", NULL);
	if (v->scope == 3) {
		/* The identity lives on: its next handshake makes everything anew. */
		native_revoke(n, &id, NULL);
		conn_close_peer(n, &id, "its keys of sessions were revoked");
		return;
	}
	if (node_peer_revoke(n, &id, v->self ? "revoked by its own signature" : "revoked by the administrators", &f) != ERR_OK)
		log_error("peer-not-revoked peer=%s what=\"%s\"", id.hex, f.what);
}

/* --- effects: quarantine ----------------------------------------------------------------------------------------- */
static void quarantine(struct records *r, const struct notice *x, const struct im2_revocation *v)
{
	struct node *n = r->node;
	const struct pin *pin = records_pin(r, v->target);
	struct im2_record rec;
	struct node_id by;

	if (!pin || im2_record_parse(bytes_of(x->p, x->n), &rec) != IM2_FINE)
		return;
	/* Said again after its day, by whoever kept it; the day before is for clocks that go wrong. */
	if (rec.issued_ms && env_wall(n->env) >= CLOCK_PLAUSIBLE_MS &&
	    env_wall(n->env) > rec.issued_ms + QUARANTINE_MS + IM2_DAY_MS)
		return;
	node_id_of(x->author, &by);
	records_quarantine(n, &pin->id, &by);
}

/* --- effects: rotation ----------------------------------------------------------------------------------------------- */
/* Who is dialled as the old identity is expected as the new one. */
static void targets_follow(struct node *n, const struct node_id *was, const struct node_id *now)
{
	for (size_t i = 0; i < n->target_count; i++) {
		struct target *t = n->targets[i];

		if (t->has_expected && node_id_eq(&t->expected, was))
			t->expected = *now;
		if (t->has_known && node_id_eq(&t->known, was))
			t->known = *now;
	}
}

/* What waits for the old identity goes to the new one, a part at a time. True: there is more. */
static bool queue_follows(struct node *n, const struct node_id *was, const struct node_id *now)
{
	struct peer *p = peer_find(n, was);
	size_t moved = 0;
	enum err e;

	/* What is in flight there is still in the store; and our answer leaves first. */
	if (p && p->conn) {
		conn_pump(p->conn);
		conn_close_peer(n, was, "rotated to another identity");
	}
	e = outbox_follow(n->p.store, was, now, FOLLOW_ROWS, &moved);
	if (e == ERR_STORE)
		node_store_failed(n);
	if (e == ERR_OK && !moved)
		return false;
	if (node_commit(n) != ERR_OK || e != ERR_OK) {
		log_error("queue-does-not-follow old=%s new=%s err=%s", was->hex, now->hex, err_word(e));
		return e == ERR_OK || e == ERR_STORE;
	}
	log_info("queue-follows old=%s new=%s messages=%zu", was->hex, now->hex, moved);
	p = peer_find(n, now); /* the commit answers others, who may do anything */
	if (p && p->q) {
		p->q->more = true;
		p->q->more_priority = PRIO_COUNT - 1;
		sched_wake(p);
	}
	return true;
}

/* True: it has to be called again. */
static bool rotate(struct records *r, const struct im2_rotation *rot)
{
	struct node *n = r->node;
	const struct pin *pin = records_pin(r, rot->old_ed);
	bool was_verified, keeps = n->c.rotate_keeps_verified;
	struct pins_copy *before;
	struct node_id was, now;
	struct fault f = { 0 };
	enum err e;

	node_id_of(rot->new_ed, &now);
	if (!pin || node_id_eq(&now, keyring_id(n->p.keyring)))
		return false;
	was = pin->id;
	if (node_id_eq(&pin->successor, &now))
		return queue_follows(n, &was, &now);
	was_verified = pin->verified;
	e = pins_copy(n->p.pins, &before);
	if (e == ERR_OK)
		e = pins_settle(n->p.pins, before,
				pins_rotate(n->p.pins, &was, rot->new_ed, rot->x25519, env_wall(n->env), keeps), &f);
	if (e != ERR_OK) {
		log_error("rotation-refused old=%s new=%s err=%s what=\"%s\"", was.hex, now.hex, err_word(e), f.what);
		audit_note(n->p.audit, "ROTATION_REFUSED", bytes_str(was.hex), "old_peer_id", was.hex, "new_peer_id", now.hex,
			   "reason", err_word(e), NULL);
		node_simple_event(n, "trust.changed", &was, "a rotation to another identity was refused");
		return false;
	}
	log_warn("peer-rotated old=%s new=%s name=%s", was.hex, now.hex, peer_name(n, &now));
	if (was_verified && !keeps)
		log_warn("peer-no-longer-verified peer=%s next=\"ironmesh trust verify %s\"", now.hex, now.hex);
	audit_note(n->p.audit, "KEY_ROTATION_SIGNED", (struct bytes){ 0 }, "old_peer_id", was.hex, "new_peer_id", now.hex,
		   "verified_before", was_verified ? "yes" : "no", NULL);
	targets_follow(n, &was, &now);
	if (peer_find(n, &now))
		peer_lineage(n, peer_find(n, &now));
	native_trust_changed(n, &now);
	node_simple_event(n, "trust.changed", &now, was_verified && !keeps ? "rotated: trusted, no longer verified" : "rotated");
	return queue_follows(n, &was, &now);
}

/* --- time ----------------------------------------------------------------------------------------------------------------- */
static void act(struct records *r, struct notice *x)
{
	struct im2_rotation rot;
	struct im2_revocation v;
	struct im2_record rec;

	x->act_ms = NEVER;
	if (im2_record_parse(bytes_of(x->p, x->n), &rec) != IM2_FINE)
		return;
	if (rec.type == IM2_REC_ROTATE_T) {
		if (im2_rotation_of(&rec, &rot) == IM2_FINE && rotate(r, &rot))
			x->act_ms = 0;
	} else if (im2_revocation_of(r->cache, &rec, &v) == IM2_FINE) {
		if (v.self || v.by_quorum)
			revoke(r, x, &v);
		else if (v.quarantine)
			quarantine(r, x, &v);
	}
}

uint64_t notices_act(struct records *r)
{
	uint64_t wall = env_wall(r->node->env), next = NEVER;
	bool plausible = wall >= CLOCK_PLAUSIBLE_MS;

	r->acting = true;
	for (size_t i = 0; i < NOTICES_MAX; i++) {
		struct notice *x = &r->notices[i];

		if (!x->p || x->act_ms == NEVER)
			continue;
		if (x->act_ms <= wall || !plausible)
			act(r, x);
		if (x->act_ms < next)
			next = x->act_ms;
	}
	wall = quarantines_act(r, wall);
	r->acting = false;
	return wall < next ? wall : next;
}

/* --- our own rotation ------------------------------------------------------------------------------------------------------- */
enum err records_keep_rotation(struct store *s, const struct keyring *old, const struct keyring *next, uint64_t wall_ms)
{
	uint8_t place[RECORD_PLACE_MAX], value[8];
	struct bytes key = record_place(keyring_ed(old), IM2_REC_ROTATE_T, (struct bytes){ 0 }, place);
	struct wr w = wr_init(value, sizeof value);
	uint64_t gen = 1;
	struct buf b;
	enum err e;

	buf_init(&b, IM2_RECORD_MAX);
	e = store_kv_get(s, SPACE_GENERATION, key, &b);
	if (e == ERR_OK) {
		struct rd rd = rd_init(b.p, b.n);

		gen = rd_u64(&rd) + 1;
	}
	buf_reset(&b);
	wr_u64(&w, gen);
	if (e == ERR_OK || e == ERR_NOTFOUND)
		e = store_kv_put(s, SPACE_GENERATION, key, BYTES_ARR(value));
	if (e == ERR_OK) {
		im2_rotate_write(old, next, gen, wall_ms, 0, &b);
		e = b.err;
	}
	if (e == ERR_OK)
		e = store_kv_put(s, SPACE_ROTATE, key, buf_bytes(&b));
	buf_fini(&b);
	return e;
}

void records_rotated(struct node *n)
{
	struct records *r = n->records;
	uint8_t place[RECORD_PLACE_MAX];
	struct im2_record rec;

	if (!r)
		return;
	buf_reset(&r->value);
	if (store_kv_get(n->p.store, SPACE_ROTATE,
			 record_place(keyring_ed(n->p.keyring), IM2_REC_ROTATE_T, (struct bytes){ 0 }, place),
			 &r->value) != ERR_OK ||
	    im2_record_parse(buf_bytes(&r->value), &rec) != IM2_FINE || !notice_set(r, &rec, true, true, NEVER) ||
	    im2_records_own(r->cache, rec.raw) != ERR_OK)
		return;
	/* The process ends next: what is said now is said before GOODBYE. */
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		if (c->online && c->im2 && !c->closing && records_send(c, IM2_ITEM_RECORD, rec.raw))
			conn_pump(c);
	}
}
