/*
 * invites.h -- invites (wire 9.9) inside the daemon: the ledger of those we made, and the one that we follow.
 *
 * An invite is a bearer secret for one introduction. Its ledger is the space "invite" of store/kv.h, one entry per nonce; the
 * token itself is not kept. The order at its use, so that a crash anywhere leaves no token spent without a pin, and no two
 * pins for one token:
 *
 *   1. the entry says who is let in (claimed), committed      4. the entry is spent
 *   2. the pin is written, via "invite"                       A start in between looks at the pin: there, then it is spent;
 *   3. the pin is on disk                                     not there, then nobody has used it.
 *
 * Following one: the token travels in the HELLO of one 0.9 connection to its endpoint, whose key must be the inviter's; over
 * im2 nothing of the kind exists. So that one connection offers no im2 and bears no mark (docs/im2.md); where the inviter speaks
 * im2 it ends as soon as a PONG said that we are pinned there, and the next one is im2. Whoever has spoken im2 with us before is never met that way.
 *
 * Sans-I/O like the node.
 */
#ifndef DAEMON_INVITES_H
#define DAEMON_INVITES_H

#include "protocol/session.h"
#include "transports/transport.h"
#include "trust/invite.h"

struct conn;
struct node;
struct policy;

#define INVITES_MAX 4096
#define INVITES_KEEP_MS 3600000u /* beyond expiry (wire 9.9) */

enum invite_state { INVITE_OPEN, INVITE_SPENT, INVITE_REVOKED, INVITE_EXPIRED };
const char *invite_state_word(enum invite_state s); /* "open", ... */

/* An entry of the ledger. */
struct invite_entry {
	uint8_t nonce[INVITE_NONCE];
	char id[2 * INVITE_NONCE + 1]; /* the nonce as people say it */
	uint64_t issued_ms, expires_ms; /* wall */
	uint64_t spent_ms, revoked_ms;  /* wall; 0 = it is not */
	struct node_id by;              /* spent, or claimed, by; hex[0] == 0: nobody */
	bool trust;                     /* its bearer is trusted at once */
	char endpoint[256], profile[16];
};
enum invite_state invite_entry_state(const struct invite_entry *x, uint64_t wall_ms);

enum err invites_new(struct node *n) MUST_CHECK;
void invites_free(struct node *n);

/* --- what the operator does ------------------------------------------------------------------------------ */
struct invite_wish {
	const char *endpoint, *profile, *allowed_peers; /* not NULL; profile and list may be "" */
	uint64_t ttl_ms;                                /* 0: of the profile; at most INVITE_LIFE_MAX_MS */
	bool trust;
};
/* Appends the token, after its entry is on disk. ERR_USAGE, ERR_FULL, ERR_STORE, ERR_WRONG_STATE (im2 is required); fault
 * filled. `out` may be NULL. */
enum err invites_create(struct node *n, const struct invite_wish *w, struct buf *token, struct invite_entry *out,
			struct fault *f) MUST_CHECK;
/* By time of issue. */
size_t invites_count(const struct node *n);
const struct invite_entry *invites_at(const struct node *n, size_t i);
/* By its id or at least 4 of its first digits. Durable when it returns ERR_OK. ERR_NOTFOUND, ERR_AMBIGUOUS, ERR_WRONG_STATE
 * (spent), ERR_STORE; fault filled. */
enum err invites_revoke(struct node *n, const char *id, struct invite_entry *out, struct fault *f) MUST_CHECK;
/* The ledger is an older copy: what is open in it may have been used, and is revoked. In the open group of the store, before
 * invites_new(). */
struct store;
enum err invites_close_open(struct store *s, uint64_t wall_ms, unsigned *closed) MUST_CHECK;
/* An invite that another ledger knows as spent (wire 9.9). In the open group, before invites_new(). */
enum err invites_add_spent(struct store *s, const uint8_t nonce[static INVITE_NONCE], uint64_t spent_ms, uint64_t expires_ms) MUST_CHECK;
/* Pins the inviter as trusted and dials. `done` comes once, unless invites_forget() comes first: with ERR_OK when the inviter
 * has pinned us too; else with a fault. `v` gets what the token says. ERR_AGAIN: another one is under way. Fault filled. */
typedef void (*invite_done)(void *ctx, const struct fault *f); /* f NULL: done */
enum err invites_accept(struct node *n, struct bytes token, struct invite *v, invite_done done, void *ctx,
			struct fault *f) MUST_CHECK;
void invites_forget(struct node *n, void *ctx);

/* --- from sink.c, admit.c and conn.c ---------------------------------------------------------------------- */
/* Is this link the dial of an invite? Then its token for the HELLO, borrowed until the link ends; else NULL. */
const char *invites_dialled(struct node *n, const struct link_info *info);
/* Dialler: is this whom the token names? Fault filled when it is not. */
bool invites_expected(const struct conn *c, const struct node_id *id, struct fault *f);
/* Listener, at IDENTIFIED: what session_peer()->invite is worth. Fills c->invite. Writes nothing. ERR_OK, or a fault and the
 * word of its audit entry. */
enum err invites_judge(struct conn *c, struct fault *f, const char **word) MUST_CHECK;
/* Step 1, before the pin is made. ERR_OK, ERR_DENIED (somebody else was faster, or it was revoked meanwhile), ERR_STORE. */
enum err invites_claim(struct conn *c) MUST_CHECK;
/* Step 4, after it is on disk. */
void invites_spent(struct conn *c);
void invites_rejected(struct conn *c, const char *word, const struct fault *f);
/* Dialler: the session is online; the connection of an invite ended, or was never opened (`id`). */
void invites_online(struct conn *c);
void invites_ended(struct conn *c, const char *why);
bool invites_not_opened(struct node *n, link_id id, const char *why);

#endif
