/* Routing headers, and sealing: Noise X to a prekey with the header bound in (im2.md 11.1, 11.3).
 */
#include "protocol/im2/seal_internal.h"

#include "base/hash.h"
#include "base/secret.h"

#define DAY_S 86400

/* --- routing header
 * ----------------------------------------------------------------------------------- */

void im2_rt_write(const struct im2_rt *rt, struct buf *out)
{
	struct im2_fields f = {.schema = &im2_rt};

	im2_set_b(&f, IM2_RT_TO, BYTES_ARR(rt->to));
	im2_set_u(&f, IM2_RT_KIND, 1);
	im2_set_b(&f, IM2_RT_PREKEY, BYTES_ARR(rt->prekey));
	im2_set_u(&f, IM2_RT_TTL, rt->ttl_s);
	im2_set_u(&f, IM2_RT_PRIO, rt->prio);
	im2_write(&im2_rt, &f, out);
}

enum im2_refusal im2_rt_parse(struct bytes in, struct im2_rt *out)
{
	struct im2_fields f;
	enum im2_refusal r = im2_parse(&im2_rt, in, &f);

	if (r != IM2_FINE)
		return r;
	if (f.v[IM2_RT_KIND].u != 1)
		return IM2_E_POLICY;
	memcpy(out->to, f.v[IM2_RT_TO].b.p, sizeof out->to);
	memcpy(out->prekey, f.v[IM2_RT_PREKEY].b.p, sizeof out->prekey);
	out->ttl_s = (uint32_t)f.v[IM2_RT_TTL].u;
	out->prio = (uint8_t)f.v[IM2_RT_PRIO].u;
	return IM2_FINE;
}

void im2_rid(struct bytes rt, struct bytes body, uint8_t out[static 16])
{
	uint8_t rt_n[IM2_VARINT_MAX_BYTES], body_n[IM2_VARINT_MAX_BYTES], hash[HASH_BYTES];
	struct bytes part[4] = {bytes_of(rt_n, im2_varint_put(rt_n, rt.n)), rt,
				bytes_of(body_n, im2_varint_put(body_n, body.n)), body};

	sha256_n(part, 4, hash);
	memcpy(out, hash, 16);
}

/* --- the Noise of both directions
 * ------------------------------------------------------------------------ */

static enum err ring_dh(void *ctx, const uint8_t their[static NOISE_KEY],
			uint8_t out[static NOISE_KEY])
{
	return keyring_noise_dh(ctx, their, out);
}

void im2_seal_static(const struct keyring *k, struct noise_static *out)
{
	memcpy(out->pub, keyring_x25519(k), sizeof out->pub);
	out->dh = ring_dh;
	out->ctx = (void *)k;
}

/* "ironmesh-im2/sealed\0" || ED_recipient || lv(rt) */
struct bytes im2_seal_prologue(const uint8_t ed[static ED_BYTES], struct bytes rt,
			       uint8_t out[static IM2_SEAL_PROLOGUE_MAX])
{
	uint8_t n[IM2_VARINT_MAX_BYTES];
	struct wr w = wr_init(out, IM2_SEAL_PROLOGUE_MAX);
	struct bytes whole;

	wr_bytes(&w, BYTES_LIT(IM2_SEAL_LABEL));
	wr_bytes(&w, bytes_of(ed, ED_BYTES));
	wr_bytes(&w, bytes_of(n, im2_varint_put(n, rt.n)));
	wr_bytes(&w, rt);
	BUG_ON(wr_end(&w, &whole) != ERR_OK);
	return whole;
}

enum im2_refusal im2_seal_refusal(enum err e, const struct noise *x)
{
	switch (e) {
	case ERR_OK:
		return IM2_FINE;
	case ERR_SHORT:
		return IM2_E_SHORT;
	case ERR_AUTH:
		return x->zero_dh ? IM2_E_DH : IM2_E_AEAD;
	default:
		return IM2_E_LIMIT;
	}
}

/* 9.5: volatile messages have no entry that could tell a second copy, and copies are what relays
 * make. */
enum im2_refusal im2_seal_no_volatile(struct bytes smsg)
{
	struct im2_fields f;
	struct bytes msgs, msg;
	enum im2_refusal r = im2_parse(&im2_smsg, smsg, &f);

	if (r != IM2_FINE)
		return r;
	msgs = f.v[IM2_SMSG_MSGS].b;
	while (msgs.n > 0) {
		BUG_ON(im2_lv_take(&msgs, &msg) != IM2_FINE);
		r = im2_parse(&im2_msg, msg, &f);
		if (r != IM2_FINE)
			return r;
		if (f.v[IM2_MSG_FLAGS].u & MSG_VOLATILE)
			return IM2_E_CONTEXT;
	}
	return IM2_FINE;
}

/* --- sealing
 * ------------------------------------------------------------------------------------------- */

/* --- sealing
 * ------------------------------------------------------------------------------------------- */

/* The key to seal to, and how long what is sealed to it can be opened: expiry - now + the erasure
 * delay, which is as long as the life in both profiles. False: the recipient has no prekey that is
 * alive. */
static bool prekey_alive(const struct im2_record *rec, uint64_t wall_ms, uint64_t *left_s)
{
	uint64_t delay = rec->life_s < 7 * DAY_S ? DAY_S : 7 * DAY_S, left = rec->life_s;

	if (wall_ms && rec->issued_ms) {
		uint64_t end = rec->issued_ms + rec->life_s * 1000;

		if (wall_ms > end)
			return false;
		/* Issued by a clock that is ahead: it does not live longer for that. */
		if (wall_ms > rec->issued_ms)
			left = (end - wall_ms) / 1000;
	} else {
		left = 0; /* nothing says how old it is */
	}
	*left_s = left + delay;
	return true;
}

/* What the object is sealed to. */
struct target {
	uint8_t x[X25519_BYTES];
	struct im2_rt rt;
	bool no_fs;
};

static enum im2_refusal aim(const struct im2_seal_to *to, uint64_t wall_ms, struct target *out)
{
	struct im2_prekey_said said;
	struct im2_record rec;
	struct node_id id;
	uint64_t left_s = IM2_TTL_MAX;
	enum im2_refusal r;
	bool alive = false;

	if (to->prekey_record.n) {
		r = im2_record_parse(to->prekey_record, &rec);
		if (r == IM2_FINE)
			r = im2_prekey_of(&rec, &said);
		if (r != IM2_FINE)
			return r;
		if (memcmp(rec.author, to->ed, ED_BYTES) != 0)
			return IM2_E_SENDER;
		alive = prekey_alive(&rec, wall_ms, &left_s);
	}
	if (!alive && !to->allow_fallback)
		return IM2_E2E_REQUIRED;
	*out = (struct target){.no_fs = !alive};
	node_id_of(to->ed, &id);
	im2_id_of(&id, out->rt.to);
	memcpy(out->x, alive ? said.x25519 : to->x, X25519_BYTES);
	if (alive)
		memcpy(out->rt.prekey, said.id, sizeof said.id);
	else
		left_s = IM2_TTL_MAX;
	out->rt.prio = to->prio;
	out->rt.ttl_s = to->ttl_s < left_s ? to->ttl_s : (uint32_t)left_s;
	return IM2_FINE;
}

static void introduce(const struct keyring *k, const char *name, struct buf *out)
{
	struct im2_fields f = {.schema = &im2_ident};
	struct buf value;

	buf_init(&value, 512);
	im2_set_b(&f, IM2_IDENT_ED, bytes_of(keyring_ed(k), ED_BYTES));
	if (name && name_valid(bytes_str(name)))
		im2_set_b(&f, IM2_IDENT_NAME, bytes_str(name));
	im2_set_b(&f, IM2_IDENT_X25519, bytes_of(keyring_x25519(k), X25519_BYTES));
	im2_set_b(&f, IM2_IDENT_BINDING, bytes_of(keyring_binding(k), SIG_BYTES));
	im2_write(&im2_ident, &f, &value);
	if (value.err == ERR_OK)
		im2_item_add(out, IM2_ITEM_IDENT, buf_bytes(&value));
	else
		out->err = value.err;
	buf_fini(&value);
}

/* IDENT comes from us alone, and padding is put behind everything. */
static enum im2_refusal sealable(struct bytes items)
{
	struct bytes value;
	size_t count;
	uint16_t tag;
	enum im2_refusal r = im2_items_check(items, &count);

	if (r != IM2_FINE)
		return r;
	if (count == 0)
		return IM2_E_CONTEXT;
	while (im2_item_next(&items, &tag, &value)) {
		if (tag == IM2_ITEM_IDENT || !(im2_item_places(tag) & IM2_IN_E))
			return IM2_E_CONTEXT;
		r = tag == IM2_ITEM_SMSG ? im2_seal_no_volatile(value) : IM2_FINE;
		if (r != IM2_FINE)
			return r;
	}
	return items.n == 0 ? IM2_FINE : IM2_E_PAD;
}

static enum im2_refusal encrypt(struct env *env, const struct keyring *k,
				const uint8_t ed[static ED_BYTES], const struct target *t,
				struct bytes rt, struct bytes plain, struct buf *body)
{
	uint8_t room[IM2_SEAL_PROLOGUE_MAX], e_sk[NOISE_KEY];
	struct noise_static own;
	struct noise x;
	enum err e;

	im2_seal_static(k, &own);
	noise_init(&x, &(struct noise_opts){.pattern = NOISE_X,
					    .initiator = true,
					    .prologue = im2_seal_prologue(ed, rt, room),
					    .s = &own,
					    .rs = t->x});
	env_random(env, e_sk, sizeof e_sk);
	noise_set_ephemeral(&x, e_sk);
	wipe(e_sk, sizeof e_sk);
	e = noise_write(&x, plain, body);
	enum im2_refusal r = im2_seal_refusal(e, &x);
	noise_wipe(&x);
	return r;
}

static enum err pad(struct buf *plain)
{
	size_t n = im2_bucket(plain->n) - plain->n;
	uint8_t *p = buf_reserve(plain, n);

	if (p) {
		memset(p, 0, n);
		plain->n += n;
	}
	return plain->err;
}

enum im2_refusal im2_seal(struct env *env, const struct keyring *k, const struct im2_seal_to *to,
			  uint64_t wall_ms, struct bytes items, struct buf *rt, struct buf *body,
			  struct im2_sealed *out)
{
	size_t rt_n = rt->n, body_n = body->n;
	enum im2_refusal r = sealable(items);
	struct target t;
	struct buf plain;

	BUG_ON(to->ttl_s == 0 || to->ttl_s > IM2_TTL_MAX || to->prio >= PRIO_COUNT);
	if (r == IM2_FINE)
		r = aim(to, wall_ms, &t);
	if (r != IM2_FINE)
		return r;
	buf_init(&plain, IM2_SEAL_PLAIN_MAX);
	if (to->introduce)
		introduce(k, to->name, &plain);
	buf_add(&plain, items);
	im2_rt_write(&t.rt, rt);
	if (plain.err != ERR_OK || rt->err != ERR_OK || (to->pad && pad(&plain) != ERR_OK))
		r = IM2_E_LIMIT;
	else
		r = encrypt(env, k, to->ed, &t, bytes_of(rt->p + rt_n, rt->n - rt_n),
			    buf_bytes(&plain), body);
	buf_wipe(&plain);
	buf_fini(&plain);
	if (r != IM2_FINE) {
		rt->n = rt_n;
		body->n = body_n;
		return r;
	}
	*out = (struct im2_sealed){.no_fs = t.no_fs, .ttl_s = t.rt.ttl_s};
	return IM2_FINE;
}
