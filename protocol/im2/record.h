/*
 * record.h -- signed records: one envelope for everything an identity states about itself (im2.md 13).
 *
 * Built and checked here: the envelope for all types, and what PREKEY, REVOKE and ROTATE mean. Types whose feature
 * has not come are known to the codec and refused by im2_records_take() (kept: nothing; forwarded: nothing).
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

struct im2_record {
	struct bytes raw;             /* the whole record */
	struct bytes t;               /* what is signed */
	struct bytes body;
	uint64_t type, gen, issued_ms, life_s;
	uint8_t author[ED_BYTES];
	size_t signers_n;
	uint8_t signers[IM2_SIGNERS_MAX][ED_BYTES]; /* the author alone when n = 0 */
};
/* Lengths, T, body of a known type; no signature yet. */
enum im2_refusal im2_record_parse(struct bytes in, struct im2_record *out);
/* Every signature, and that the author is among them. */
enum im2_refusal im2_record_verify(const struct im2_record *r);
void im2_record_digest(struct bytes record, uint8_t out[static 16]);
/* n = 0, signed by us. */
void im2_record_write(const struct keyring *k, uint64_t type, uint64_t gen, uint64_t issued_ms, uint64_t life_s,
		      struct bytes body, struct buf *out);
/* n >= 2: the owner collects (ED, signature) pairs; each signs the same input. */
void im2_record_input(struct bytes t, struct buf *out);

/* --- the cache: newest record per (author, type, key), bounded (13.2) ---------------------------------- */
struct im2_records;
struct im2_records_config {
	struct env *env;
	const struct keyring *keyring;
	size_t authors;               /* 4,096; one delivering peer fills at most 1/8 */
	uint64_t build_ms;            /* a clock earlier than this is implausible */
	/* Admin set for REVOKE by quorum (13.4); none = self-revocation only. */
	unsigned quorum_k;
	const uint8_t (*admins)[ED_BYTES];
	size_t admins_n;
};
enum im2_record_verdict {
	IM2_REC_NEW,          /* kept, replaces an older one */
	IM2_REC_REPEAT,
	IM2_REC_OLD,
	IM2_REC_EQUIVOCATION, /* same generation, other bytes: the first stays, both are evidence */
	IM2_REC_MINE_BEHIND,  /* a valid one of our own that we do not have: issue gen + 1 at once */
	IM2_REC_REFUSED       /* *why */
};
enum err im2_records_new(const struct im2_records_config *c, struct im2_records **out) MUST_CHECK;
void im2_records_free(struct im2_records *r); /* accepts NULL */
/* `from`: the peer that delivered it. Verifies once per digest. */
enum im2_record_verdict im2_records_take(struct im2_records *r, struct bytes record, const struct node_id *from,
					 struct im2_record *out, enum im2_refusal *why);
/* The newest valid one we hold, borrowed until the next call; empty when none or expired. key may be empty. */
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
struct im2_rotation {
	uint8_t old_ed[ED_BYTES], new_ed[ED_BYTES], x25519[X25519_BYTES];
	uint64_t reason;
};
/* Both keys signed and the binding verifies. */
enum im2_refusal im2_rotation_of(const struct im2_record *rec, struct im2_rotation *out);
/* A ROTATE made by the two keyrings, a self-revocation, a RECDIG and a RECREQ value. */
void im2_rotate_write(const struct keyring *old, const struct keyring *next, uint64_t gen, uint64_t issued_ms,
		      uint64_t reason, struct buf *out);
void im2_revoke_self_write(const struct keyring *k, uint64_t gen, uint64_t issued_ms, uint64_t reason, struct buf *out);
void im2_recdig_write(const struct im2_record *r, struct buf *out);

#endif
