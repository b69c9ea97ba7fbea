/*
 * seal.h -- sealing for relays and absent peers (im2.md 11.1, 11.3), and the prekeys it uses.
 *
 * A sealed object is Noise X to the recipient's prekey (or, marked, to its long-term X25519 key) with the
 * routing header bound in. Signatures inside are mandatory: opening checks them and who the sender is.
 *
 *   prekeys.c   our prekeys      seal.c   header, sealing      seal_open.c   opening
 */
#ifndef PROTOCOL_IM2_SEAL_H
#define PROTOCOL_IM2_SEAL_H

#include "base/env.h"
#include "protocol/im2/content.h"
#include "protocol/im2/record.h"

#define IM2_SEAL_OVERHEAD 96

/* --- routing header ------------------------------------------------------------------------------------ */
struct im2_rt {
	uint8_t to[16];
	uint8_t prekey[4];     /* 00{4}: long-term key */
	uint32_t ttl_s;        /* 1..IM2_TTL_MAX */
	uint8_t prio;
};
void im2_rt_write(const struct im2_rt *rt, struct buf *out);             /* kind 1 */
enum im2_refusal im2_rt_parse(struct bytes in, struct im2_rt *out);      /* kind 1; kind 2 is IM2_E_POLICY until streams come */
void im2_rid(struct bytes rt, struct bytes body, uint8_t out[static 16]);

/* --- prekeys ---------------------------------------------------------------------------------------------- */
struct im2_prekey {
	uint8_t id[4];
	uint8_t secret[32], pub[32];
	uint64_t gen, issued_ms, life_s; /* as in its record */
	uint64_t erase_ms;               /* by the clock of im2_prekeys_config.running_ms */
};
#define IM2_PREKEYS_MAX 16
struct im2_prekeys;        /* ours: current one, and older ones that still open; in locked memory */
/* Persistence: `save` stores all of them (sealed, secure_delete) before a new record leaves; on disk when ERR_OK. */
struct im2_prekeys_config {
	struct env *env;
	const struct keyring *keyring;
	bool radio;            /* new every 24 h, life 604,800 s; else 6 h and 86,400 s */
	uint64_t build_ms;     /* a clock earlier than this is implausible: then issued is 0 */
	enum err (*save)(void *ctx, const struct im2_prekey *keys, size_t n);
	/* Running time that goes on over restarts (store.h), so that no wrong clock erases a key; NULL: wall time. */
	uint64_t (*running_ms)(void *ctx);
	void *ctx;
};
/* `have`: what was saved last, at most IM2_PREKEYS_MAX; copied. */
enum err im2_prekeys_new(const struct im2_prekeys_config *c, const struct im2_prekey *have, size_t n,
			 struct im2_prekeys **out) MUST_CHECK;
void im2_prekeys_free(struct im2_prekeys *p); /* wipes; accepts NULL */
/* Makes a new one when due, erases old secrets. *changed: the record is new (also the first time). On an error nothing
 * changed but that keys whose time is over no longer open; the next tick tries again. */
enum err im2_prekeys_tick(struct im2_prekeys *p, bool *changed) MUST_CHECK;
uint64_t im2_prekeys_deadline_ms(const struct im2_prekeys *p); /* monotonic, as env_now() */
/* Our newest record, borrowed until the next call; empty before the first tick. */
struct bytes im2_prekeys_record(const struct im2_prekeys *p);
/* A valid record of ours with gen not below was seen (IM2_REC_MINE_BEHIND): a new key above it (13.2). ERR_LIMIT when
 * there is no higher generation: only a revocation helps an identity whose key was used for that. */
enum err im2_prekeys_behind(struct im2_prekeys *p, uint64_t gen) MUST_CHECK;
/* NULL: unknown, or erased. */
const struct im2_prekey *im2_prekeys_find(const struct im2_prekeys *p, const uint8_t id[static 4]);

/* --- seal and open ------------------------------------------------------------------------------------------- */
struct im2_seal_to {
	uint8_t ed[ED_BYTES], x[X25519_BYTES]; /* recipient; x: long-term */
	struct bytes prekey_record;            /* newest valid one of the recipient, verified (im2_records_get()); empty: none */
	uint32_t ttl_s;                        /* what is left of its life: 1..IM2_TTL_MAX */
	uint8_t prio;
	bool allow_fallback, pad, introduce;   /* introduce: IDENT first, until the first receipt came */
	const char *name;                      /* ours, for IDENT */
};
struct im2_sealed {
	bool no_fs;            /* sealed to the long-term key: shown as such */
	uint32_t ttl_s;        /* as written: no longer than the prekey will open (11.3) */
};
/* `items`: a list of SMSG / SRECEIPT / record items already encoded. Appends rt and body; nothing on a refusal. wall_ms
 * 0: our clock is implausible. IM2_E2E_REQUIRED: no prekey that is alive and no fallback allowed. IM2_E_LIMIT: too
 * large. IM2_E_SENDER: the record is not the recipient's. IM2_E_CONTEXT: an item that may not be sealed. */
enum im2_refusal im2_seal(struct env *env, const struct keyring *k, const struct im2_seal_to *to, uint64_t wall_ms,
			  struct bytes items, struct buf *rt, struct buf *body, struct im2_sealed *out);

struct im2_opened {
	struct bytes items;            /* in the caller's buffer, IDENT taken off; may end in padding */
	uint8_t sender_x[32];
	bool no_fs;
	/* The author is new and came with IDENT: it becomes pending, unless its ED is pinned with another X (2.2),
	 * which only the owner knows: then refuse, IM2_E_KEY_CONFLICT. */
	bool introduced;
	uint8_t author_ed[ED_BYTES];   /* pinned with this X, or introduced */
	char author_name[NAME_MAX_CHARS + 1]; /* what IDENT said; may be empty */
	uint64_t prekey_erase_ms;      /* keep_until of its messages (9.5), in the time of running_ms; 0 with no_fs (400 days) */
};
/* Who is pinned with this X: proven first, else unproven? false: nobody. */
typedef bool (*im2_who)(void *ctx, const uint8_t x[static 32], uint8_t ed[static ED_BYTES]);
/* In the order of 11.3. IM2_E_INDEX: prekey unknown (ROUTEFB 9). Signatures of SMSG and SRECEIPT are checked here, and
 * that no volatile message is among them. After a refusal nothing of the plaintext is left in `plain`. */
enum im2_refusal im2_open_sealed(const struct keyring *k, const struct im2_prekeys *p, struct bytes rt, struct bytes body,
				 im2_who who, void *ctx, struct buf *plain, struct im2_opened *out);

#endif
