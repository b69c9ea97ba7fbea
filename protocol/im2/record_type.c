/* What records mean: PREKEY, REVOKE, ROTATE (im2.md 13.3, 13.4). */
#include "protocol/im2/record_internal.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/secret.h"

bool im2_record_served(uint64_t type)
{
	static const bool served[] = { [IM2_REC_CAP_T] = true,    [IM2_REC_PREKEY_T] = true, [IM2_REC_ROUTE_T] = true,
				       [IM2_REC_REVOKE_T] = true, [IM2_REC_ROTATE_T] = true, [IM2_REC_CARD_T] = true };

	return type < sizeof served / sizeof served[0] && served[type];
}

/* Whose X it names is what its author signed (2.2). */
static enum im2_refusal card_rules_of(const struct im2_record *r)
{
	struct im2_fields f;
	enum im2_refusal why = r->signers_n == 1 ? im2_parse(&im2_card, r->body, &f) : IM2_E_CONTEXT;

	if (why != IM2_FINE)
		return why;
	return x25519_binding_verify(r->author, f.v[IM2_CARD_X25519].b.p, f.v[IM2_CARD_BINDING].b.p) ? IM2_FINE : IM2_E_SIG;
}

enum im2_refusal im2_record_rules(const struct im2_record *r)
{
	struct im2_prekey_said prekey;
	struct im2_rotation rotation;

	if ((r->life_s == 0) != (r->type == IM2_REC_REVOKE_T || r->type == IM2_REC_ROTATE_T))
		return IM2_E_RANGE;
	switch (r->type) {
	case IM2_REC_PREKEY_T:
		return im2_prekey_of(r, &prekey);
	case IM2_REC_ROTATE_T:
		return im2_rotation_of(r, &rotation);
	case IM2_REC_CAP_T:
	case IM2_REC_ROUTE_T:
		return r->signers_n == 1 ? IM2_FINE : IM2_E_CONTEXT;
	case IM2_REC_CARD_T:
		return card_rules_of(r);
	default:
		return IM2_FINE;
	}
}

/* --- PREKEY
 * ------------------------------------------------------------------------------------------ */

enum im2_refusal im2_prekey_of(const struct im2_record *rec, struct im2_prekey_said *out)
{
	struct im2_fields f;
	enum im2_refusal r;

	if (rec->type != IM2_REC_PREKEY_T || rec->signers_n != 1)
		return IM2_E_CONTEXT;
	r = im2_parse(&im2_prekey, rec->body, &f);
	if (r != IM2_FINE)
		return r;
	/* 00{4} in a routing header means the long-term key. */
	if (is_zero(f.v[IM2_PREKEY_ID].b.p, sizeof out->id))
		return IM2_E_RANGE;
	memcpy(out->id, f.v[IM2_PREKEY_ID].b.p, sizeof out->id);
	memcpy(out->x25519, f.v[IM2_PREKEY_X25519].b.p, X25519_BYTES);
	return IM2_FINE;
}

/* --- REVOKE
 * ------------------------------------------------------------------------------------------ */

static int by_ed(const void *a, const void *b)
{
	return memcmp(a, b, ED_BYTES);
}

void im2_quorum_id(unsigned k, const uint8_t (*admins)[ED_BYTES], size_t n, uint8_t out[static 16])
{
	uint8_t sorted[IM2_SIGNERS_MAX][ED_BYTES], threshold = (uint8_t)k, hash[HASH_BYTES];
	struct bytes part[3] = {BYTES_LIT("ironmesh-im2/quorum\0"), bytes_of(&threshold, 1),
				bytes_of(sorted, n * ED_BYTES)};

	BUG_ON(k > UINT8_MAX || n > IM2_SIGNERS_MAX);
	if (n)
		memcpy(sorted, admins, n * ED_BYTES);
	qsort(sorted, n, ED_BYTES, by_ed);
	sha256_n(part, 3, hash);
	memcpy(out, hash, 16);
}

static bool is_admin(const struct im2_records_config *c, const uint8_t ed[static ED_BYTES])
{
	for (size_t i = 0; i < c->admins_n; i++)
		if (memcmp(c->admins[i], ed, ED_BYTES) == 0)
			return true;
	return false;
}

/* At least k of the set that this record names signed it, and the set is ours. */
static bool quorum_met(const struct im2_records_config *c, const struct im2_record *rec,
		       const struct im2_fields *f)
{
	uint8_t id[16];
	size_t n = 0;

	if (c->quorum_k == 0 || c->admins_n == 0 || rec->signers_n < 2 ||
	    !im2_has(f, IM2_REVOKE_QUORUM))
		return false;
	im2_quorum_id(c->quorum_k, c->admins, c->admins_n, id);
	if (memcmp(f->v[IM2_REVOKE_QUORUM].b.p, id, sizeof id) != 0)
		return false;
	for (size_t i = 0; i < rec->signers_n; i++)
		n += is_admin(c, rec->signers[i]);
	return n >= c->quorum_k;
}

enum im2_refusal im2_revocation_of(const struct im2_records *r, const struct im2_record *rec,
				   struct im2_revocation *out)
{
	const struct im2_records_config *c = im2_records_config_of(r);
	struct im2_revocation v = {0};
	struct im2_fields f;
	enum im2_refusal why;

	if (rec->type != IM2_REC_REVOKE_T)
		return IM2_E_CONTEXT;
	why = im2_parse(&im2_revoke, rec->body, &f);
	if (why != IM2_FINE)
		return why;
	memcpy(v.target, f.v[IM2_REVOKE_TARGET].b.p, ED_BYTES);
	v.reason = f.v[IM2_REVOKE_REASON].u;
	v.effective_ms = f.v[IM2_REVOKE_EFFECTIVE].u;
	v.scope = (uint8_t)f.v[IM2_REVOKE_SCOPE].u;
	v.self = rec->signers_n == 1 && memcmp(v.target, rec->author, ED_BYTES) == 0;
	v.by_quorum = quorum_met(c, rec, &f);
	v.quarantine = rec->signers_n == 1 && !v.self && is_admin(c, rec->author);
	*out = v;
	return IM2_FINE;
}

void im2_revoke_self_write(const struct keyring *k, uint64_t gen, uint64_t issued_ms,
			   uint64_t reason, struct buf *out)
{
	struct im2_fields f = {.schema = &im2_revoke};
	struct buf body;

	buf_init(&body, 256);
	im2_set_b(&f, IM2_REVOKE_TARGET, bytes_of(keyring_ed(k), ED_BYTES));
	im2_set_u(&f, IM2_REVOKE_REASON, reason);
	im2_set_u(&f, IM2_REVOKE_SCOPE, 1);
	im2_write(&im2_revoke, &f, &body);
	if (body.err == ERR_OK)
		im2_record_write(k, IM2_REC_REVOKE_T, gen, issued_ms, 0, buf_bytes(&body), out);
	else if (out->err == ERR_OK)
		out->err = body.err;
	buf_fini(&body);
}

/* --- ROTATE
 * ------------------------------------------------------------------------------------------ */

enum im2_refusal im2_rotation_of(const struct im2_record *rec, struct im2_rotation *out)
{
	struct im2_rotation v;
	struct im2_fields f;
	enum im2_refusal r;

	if (rec->type != IM2_REC_ROTATE_T || rec->signers_n != 2)
		return IM2_E_CONTEXT;
	r = im2_parse(&im2_rotate, rec->body, &f);
	if (r != IM2_FINE)
		return r;
	memcpy(v.old_ed, rec->author, ED_BYTES);
	memcpy(v.new_ed, f.v[IM2_ROTATE_ED].b.p, ED_BYTES);
	memcpy(v.x25519, f.v[IM2_ROTATE_X25519].b.p, X25519_BYTES);
	v.reason = f.v[IM2_ROTATE_REASON].u;
	/* Two signers, ascending and so different, the author one of them: the other must be the
	 * new key. */
	if (memcmp(v.new_ed, v.old_ed, ED_BYTES) == 0 ||
	    (memcmp(rec->signers[0], v.new_ed, ED_BYTES) != 0 &&
	     memcmp(rec->signers[1], v.new_ed, ED_BYTES) != 0))
		return IM2_E_SENDER;
	if (!x25519_binding_verify(v.new_ed, v.x25519, f.v[IM2_ROTATE_BINDING].b.p))
		return IM2_E_SIG;
	*out = v;
	return IM2_FINE;
}

static void sign_as(const struct keyring *k, struct bytes t, struct im2_signature *out)
{
	uint8_t room[IM2_RECORD_INPUT_MAX];

	memcpy(out->ed, keyring_ed(k), ED_BYTES);
	keyring_sign(k, SIG_V3_RECORD, im2_record_input_in(t, room), out->sig);
}

void im2_rotate_write(const struct keyring *old, const struct keyring *next, uint64_t gen,
		      uint64_t issued_ms, uint64_t reason, struct buf *out)
{
	struct im2_fields f = {.schema = &im2_rotate};
	struct im2_signature s[2];
	struct buf body, t;

	buf_init(&body, 256);
	buf_init(&t, 512);
	im2_set_b(&f, IM2_ROTATE_ED, bytes_of(keyring_ed(next), ED_BYTES));
	im2_set_b(&f, IM2_ROTATE_X25519, bytes_of(keyring_x25519(next), X25519_BYTES));
	im2_set_b(&f, IM2_ROTATE_BINDING, bytes_of(keyring_binding(next), SIG_BYTES));
	im2_set_u(&f, IM2_ROTATE_REASON, reason);
	im2_write(&im2_rotate, &f, &body);
	if (body.err == ERR_OK)
		im2_record_t_write(IM2_REC_ROTATE_T, keyring_ed(old), gen, issued_ms, 0,
				   buf_bytes(&body), &t);
	if (body.err == ERR_OK && t.err == ERR_OK) {
		sign_as(old, buf_bytes(&t), &s[0]);
		sign_as(next, buf_bytes(&t), &s[1]);
		im2_record_join(buf_bytes(&t), s, 2, out);
	} else if (out->err == ERR_OK) {
		out->err = body.err != ERR_OK ? body.err : t.err;
	}
	buf_fini(&body);
	buf_fini(&t);
}
