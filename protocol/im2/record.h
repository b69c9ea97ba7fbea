/*
 * record.h -- signed records: one envelope for everything an identity states about itself (im2.md 13).
 *
 * Built and checked here: the envelope for all types, and what PREKEY, REVOKE and ROTATE mean. Types whose feature
 * has not come are known to the codec and refused by im2_records_take() (kept: nothing; forwarded: nothing).
 *
 *   record.c   the envelope      record_type.c   what the types mean      records.c   the cache
 */
#ifndef PROTOCOL_IM2_RECORD_H
#define PROTOCOL_IM2_RECORD_H

#include "base/env.h"
#include "protocol/im2/schema.h"
#include "trust/keyring.h"

enum im2_record_type {
	IM2_REC_CAP_T = 1, IM2_REC_PREKEY_T, IM2_REC_ROUTE_T, IM2_REC_REVOKE_T, IM2_REC_ROTATE_T, IM2_REC_POSTURE_T,
	IM2_REC_EPOCH_T, IM2_REC_GROUP_T, IM2_REC_CARD_T
};
#define IM2_SIGNERS_MAX 16
#define IM2_RECORD_KEY_MAX 32
#define IM2_GEN_MAX INT64_MAX
#define IM2_DAY_MS 86400000u /* clocks may be a day wrong (13.2) */

struct im2_record {
	struct bytes raw;             /* the whole record */
	struct bytes t;               /* what is signed */
	struct bytes body;
	struct bytes key;             /* REVOKE: the target, GROUP: the group; else empty (13.3) */
	uint64_t type, gen, issued_ms, life_s;
	uint8_t author[ED_BYTES];
	size_t signers_n;
	uint8_t signers[IM2_SIGNERS_MAX][ED_BYTES]; /* the author alone when n = 0 */
};
/* Lengths, T, body of a known type; no signature yet. The body of an unknown type is not looked into. */
enum im2_refusal im2_record_parse(struct bytes in, struct im2_record *out);
/* Every signature, and that the author is among them. */
enum im2_refusal im2_record_verify(const struct im2_record *r);
void im2_record_digest(struct bytes record, uint8_t out[static 16]);
/* n = 0, signed by us. BUG on a body that the type refuses. */
void im2_record_write(const struct keyring *k, uint64_t type, uint64_t gen, uint64_t issued_ms, uint64_t life_s,
		      struct bytes body, struct buf *out);
/* T by any author, for records that several sign: each signs im2_record_input(T), then the record is put together from
 * their (ED, signature) pairs in any order. n = 2..16, all different. */
void im2_record_t_write(uint64_t type, const uint8_t author[static ED_BYTES], uint64_t gen, uint64_t issued_ms,
			uint64_t life_s, struct bytes body, struct buf *out);
void im2_record_input(struct bytes t, struct buf *out);
struct im2_signature {
	uint8_t ed[ED_BYTES], sig[SIG_BYTES];
};
void im2_record_join(struct bytes t, const struct im2_signature *s, size_t n, struct buf *out);

/* --- the cache: newest record per (author, type, key), bounded (13.2) ---------------------------------- */
struct im2_records;
struct im2_records_config {
	struct env *env;
	const struct keyring *keyring;
	size_t authors;               /* 0: 4,096 entries; one delivering peer fills at most 1/8 */
	size_t bytes;                 /* 0: 8 MiB of records, shared alike: the oldest go, revocations last */
	uint64_t build_ms;            /* a clock earlier than this is implausible */
	/* Admin set for REVOKE by quorum (13.4); none = self-revocation only. */
	unsigned quorum_k;
	const uint8_t (*admins)[ED_BYTES];
	size_t admins_n;
	/* Revoked as the trust room remembers it, over restarts. May be NULL. */
	bool (*revoked)(void *ctx, const uint8_t ed[static ED_BYTES]);
	void *ctx;
};
enum im2_record_verdict {
	IM2_REC_NEW,          /* kept, replaces an older one; or a revocation that counts whatever its generation */
	IM2_REC_REPEAT,
	IM2_REC_OLD,
	IM2_REC_EQUIVOCATION, /* same generation, other bytes: the first stays, both are evidence */
	IM2_REC_MINE_BEHIND,  /* a valid one of our own that we do not have: issue out->gen + 1 at once */
	IM2_REC_REFUSED       /* *why; IM2_E_POLICY is nobody's fault (type not served, author revoked) */
};
enum err im2_records_new(const struct im2_records_config *c, struct im2_records **out) MUST_CHECK;
void im2_records_free(struct im2_records *r); /* accepts NULL */
/* Another admin set, for what is taken from now on; `admins` is borrowed as in the configuration. */
void im2_records_admins(struct im2_records *r, unsigned quorum_k, const uint8_t (*admins)[ED_BYTES], size_t n);
/* `from`: the peer that delivered it. Verifies once per digest. `out` points into `record`; it means nothing after
 * IM2_REC_REFUSED. A revocation that counts drops what its target said. */
enum im2_record_verdict im2_records_take(struct im2_records *r, struct bytes record, const struct node_id *from,
					 struct im2_record *out, enum im2_refusal *why);
/* What we issued ourselves: what im2_records_take() compares with. Before the record leaves. */
enum err im2_records_own(struct im2_records *r, struct bytes record) MUST_CHECK;
/* The newest valid one we hold, borrowed until the next call; empty when none or expired. key may be empty. A PREKEY
 * is expired by our own clock, or 24 h after arrival when that is implausible (11.3); others have a day of grace. */
struct bytes im2_records_get(struct im2_records *r, const uint8_t author[static ED_BYTES], uint64_t type, struct bytes key);
void im2_records_drop(struct im2_records *r, const uint8_t author[static ED_BYTES]); /* revoked, forgotten */
void im2_records_sweep(struct im2_records *r);
size_t im2_records_count(const struct im2_records *r);

/* --- what the types mean -------------------------------------------------------------------------------- */
struct im2_revocation {
	uint8_t target[ED_BYTES];
	uint64_t reason, effective_ms;
	uint8_t scope;
	bool self, by_quorum, quarantine; /* none: shown to the operator, no effect */
};
enum im2_refusal im2_revocation_of(const struct im2_records *r, const struct im2_record *rec, struct im2_revocation *out);
/* SHA256("ironmesh-im2/quorum\0" || k || EDs sorted)[0:16]. n <= 16. */
void im2_quorum_id(unsigned k, const uint8_t (*admins)[ED_BYTES], size_t n, uint8_t out[static 16]);
struct im2_rotation {
	uint8_t old_ed[ED_BYTES], new_ed[ED_BYTES], x25519[X25519_BYTES];
	uint64_t reason;
};
/* Old and new key are the signers and the binding verifies; the signatures themselves are im2_record_verify()'s. */
enum im2_refusal im2_rotation_of(const struct im2_record *rec, struct im2_rotation *out);
struct im2_prekey_said {
	uint8_t id[4], x25519[X25519_BYTES];
};
enum im2_refusal im2_prekey_of(const struct im2_record *rec, struct im2_prekey_said *out);
/* A ROTATE made by the two keyrings, a self-revocation, a RECDIG and a RECREQ value. */
void im2_rotate_write(const struct keyring *old, const struct keyring *next, uint64_t gen, uint64_t issued_ms,
		      uint64_t reason, struct buf *out);
void im2_revoke_self_write(const struct keyring *k, uint64_t gen, uint64_t issued_ms, uint64_t reason, struct buf *out);
void im2_recdig_write(const struct im2_record *r, struct buf *out);
/* have: the generation we hold, 0 = none. */
/* Does this RECDIG or RECREQ, whose shape is good, name a key exactly when its type has one, of its length (8, 13.3)? Of
 * types that are not known here nobody can tell: true. */
bool im2_record_key_fits(uint16_t tag, struct bytes value);
void im2_recreq_write(const struct node_id *author, uint64_t type, struct bytes key, uint64_t have, struct buf *out);

#endif
