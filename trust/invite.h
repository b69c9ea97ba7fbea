/*
 * invite.h -- invite tokens of the published design (wire 9.9): signed by the inviter, single use, short-lived. Pure.
 *
 * A token holds no passphrase. Whoever has it may introduce one identity once: it becomes pending, or trusted when the
 * inviter said so when it made the token (kept in the ledger, never in the token). It is a bearer secret: its text is
 * never logged, and nothing here keeps it.
 */
#ifndef TRUST_INVITE_H
#define TRUST_INVITE_H

#include "base/buf.h"
#include "base/env.h"
#include "trust/keyring.h"

#define INVITE_PREFIX "ironmesh-invite-v1:"
#define INVITE_TEXT_MAX 4096          /* what is looked at; ours are below 2,400 */
#define INVITE_NONCE 16
#define INVITE_SKEW_MS 30000          /* clocks of inviter and joiner may differ by this */
#define INVITE_LIFE_MAX_MS 86400000u  /* of those that we make; what others made lives as long as it says */

struct invite {
	uint8_t nonce[INVITE_NONCE];
	struct node_id inviter;
	uint8_t inviter_ed[ED_BYTES];
	char endpoint[256];
	uint64_t issued_ms, expires_ms;  /* wall */
	char allowed_peers[1024];        /* comma-separated names, may be empty */
	char profile[16];                /* lan homelab lora offline tactical, or empty */
};

/* "host:port", "[v6]:port" with a port, or "rns:" and 32 hex digits. */
bool invite_endpoint_valid(const char *endpoint);
bool invite_profile_valid(const char *profile); /* one of those above, or "" */
/* Appends the text of the token; nonce and times are the caller's, inviter and key are those of `k`. ERR_MALFORMED for a
 * bad endpoint, profile or list, or a life that is none; ERR_LIMIT. */
enum err invite_write(const struct keyring *k, const struct invite *v, struct buf *out) MUST_CHECK;
/* Form, signature, that inviter_id fits inviter_key. No clock here. White space around the text is not part of it.
 * ERR_MALFORMED, ERR_LIMIT, ERR_VERSION (a later version), ERR_AUTH. */
enum err invite_read(struct bytes text, struct invite *out) MUST_CHECK;
/* ERR_OK; ERR_EXPIRED; ERR_AGAIN: not valid yet (its clock or ours is wrong). */
enum err invite_timely(const struct invite *v, uint64_t wall_ms);
uint64_t invite_life_ms(const char *profile); /* wire 9.9 */

#endif
