/*
 * revoke.h -- revocations for the whole mesh (im2.md 13.4) as an operator makes them, and REVOCATION of the old wire (4.7).
 *
 *   one administrator   sets an identity aside for a day, everywhere: revoke_quarantine()
 *   k of n              revoke it for ever. They sit at different machines, so what they sign travels in a file between them:
 *                       revoke_draft() -> revoke_sign() ... -> revoke_send()
 *   a key               ends itself: revoke_self()
 *
 * The file is text of one JSON object, at most REVOKE_FILE_MAX: `t`, what is signed (base64 of the record's structure), and
 * `signatures`, each a key and a signature over it. Its other members are for people and are never believed. It is no secret.
 *
 * What is issued is on disk before it leaves, is told to each peer until that one says that it holds it, also after a restart
 * (notices.c), and takes effect here before the call returns. Old neighbours that are online get a REVOCATION; theirs is final
 * and needs no quorum, since they know nothing else.
 */
#ifndef DAEMON_REVOKE_H
#define DAEMON_REVOKE_H

#include "base/buf.h"
#include "trust/identity.h"

#define REVOKE_FILE_MAX 16384

struct conn;
struct node;
struct session_event;

/* Is this the key of an administrator here? */
bool revoke_is_admin(const struct node *n, const uint8_t ed[static ED_BYTES]);

/* All fill the fault. ERR_UNSUPPORTED without im2; ERR_DENIED: this node is no administrator, or the file names another set;
 * ERR_STORE. */
enum err revoke_quarantine(struct node *n, const struct node_id *target, const char *note, struct fault *f) MUST_CHECK;
enum err revoke_self(struct node *n, unsigned reason, struct fault *f) MUST_CHECK;

struct revoke_wish {
	struct node_id target;     /* pinned */
	unsigned reason, scope;    /* 0..255; 1 identity, 2 membership, 3 prekeys and older sessions */
	const char *note;          /* may be NULL */
};
struct revoke_view {           /* what the file says, checked */
	struct node_id target, author;
	uint8_t target_ed[ED_BYTES];
	unsigned reason, scope;
	size_t signatures;         /* of administrators, that verify */
	unsigned needed;
};
/* A draft with our own signature. Appends the file. */
enum err revoke_draft(struct node *n, const struct revoke_wish *w, struct buf *file, struct revoke_view *out,
		      struct fault *f) MUST_CHECK;
/* What it says, checked. ERR_MALFORMED, ERR_AUTH, ERR_DENIED (it names another set of administrators). */
enum err revoke_show(struct node *n, struct bytes file, struct revoke_view *out, struct fault *f) MUST_CHECK;
/* The same file with our signature too. ERR_MALFORMED, ERR_AUTH (a signature in it is none), ERR_EXISTS (we have signed). */
enum err revoke_sign(struct node *n, struct bytes file, struct buf *out, struct revoke_view *view, struct fault *f) MUST_CHECK;
/* Makes it true. ERR_AGAIN: not enough signatures yet. */
enum err revoke_send(struct node *n, struct bytes file, struct revoke_view *view, struct fault *f) MUST_CHECK;

/* 0.9: a frame REVOCATION. Honoured when its sender, who must be the revoker, ends himself, or is trusted and an administrator:
 * one administrator sets aside, as on im2. Else it is shown. */
void revoke_control(struct conn *c, const struct session_event *e);
/* To the neighbours of the old wire that are online. */
void revoke_tell_old(struct node *n, const struct node_id *target, const char *reason);

#endif
