/*
 * courier.h -- messages of ours to peers that have no session with us but are reachable through relays: sealed at the
 * attempt, handed to the next hop, repeated until a signed receipt comes (im2.md 10.2, 10.3, 11.3, 11.4). And the other
 * end: sealed objects that are for us.
 *
 * The store is the truth: what is in flight here is a copy of QUEUED rows, and dropping it loses nothing. A session of
 * the recipient's own takes over at once (courier_direct()). The same sealed bytes are used for a resend until the
 * prekey expires. Several messages that wait share one signed, sealed object. There is no way from here to clear text:
 * what cannot be sealed waits, or fails with E2E_REQUIRED when the setting says so.
 */
#ifndef DAEMON_COURIER_H
#define DAEMON_COURIER_H

#include "base/buf.h"
#include "protocol/session.h"
#include "store/outbox.h"
#include "trust/identity.h"

struct conn;
struct inbox_row;
struct node;

/* n->courier; NULL when im2 or routing is off. */
enum err courier_new(struct node *n) MUST_CHECK;
void courier_free(struct node *n);
/* Something waits for `to`, or a way to it has appeared. Cheap; the work is done in the turn. */
void courier_wake(struct node *n, const struct node_id *to);
void courier_direct(struct node *n, const struct node_id *to);
void courier_run(struct node *n);          /* in node_turn(), after the commit */
void courier_rolled_back(struct node *n);
/* It has ended here (cancelled, expired, confirmed): nothing of it is sent again. */
void courier_ended(struct node *n, const struct node_id *to, const char *id, bool confirmed);
/* Its recipient keeps it until its operator has decided. False: it is not on its way here. */
bool courier_held(struct node *n, const struct node_id *to, const char *id);

/* Our link to this neighbour has ended: what it had of ours may be lost. */
void courier_lost(struct node *n, const struct node_id *via);
/* What left for `to` without a receipt is unfinished until its life ends: no figure above this is told (9.5). At most `seq`. */
uint64_t courier_floor(struct node *n, const struct node_id *to, const uint8_t era[static 8], uint64_t seq);
/* A key of `to` has come that may be sealed to. */
void courier_key(struct node *n, const struct node_id *to);

/* From relay.c: an object whose RT names us, and what is said about one of ours. */
void courier_arrived(struct conn *from, const uint8_t rid[static 16], struct bytes rt, struct bytes body, uint32_t age_s);
void courier_feedback(struct conn *from, const uint8_t rid[static 16], unsigned code, uint32_t retry_s);
/* A receipt that is owed to an author, after the commit: in his session when he has one, else sealed and batched (10.2). */
struct pending_receipt;
void courier_receipt(struct node *n, const struct node_id *author, const struct pending_receipt *r);

/* How far a message is that waits in the store, as a user sees it: on its way through `via`, or kept by a relay. */
struct courier_view {
	bool sent, stored, no_fs;
	bool held;                 /* over there, until its operator has decided */
	struct node_id via;
	uint64_t age_ms;           /* since it was sealed */
	struct outbox_try last;    /* how it was handed over; at_ms 0: it was not */
};
bool courier_view(struct node *n, const struct node_id *to, const char *id, struct courier_view *out);

#endif
