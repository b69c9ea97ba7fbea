/*
 * relay.h -- sealed objects of others: forwarded, kept within bounds, never looked into (im2.md 11.2).
 *
 * The order of checks is the one of 11.2. rt and body are never encoded anew. What is kept is on disk (store/transit.h)
 * before ROUTEFB 2 says so.
 */
#ifndef DAEMON_RELAY_H
#define DAEMON_RELAY_H

#include "base/buf.h"
#include "trust/identity.h"

struct conn;
struct node;
struct session_event;

#define RELAY_HOPS 8 /* an author starts with 7..10 */

enum routefb {
	ROUTEFB_FORWARDED = 1, ROUTEFB_STORED, ROUTEFB_NO_ROUTE, ROUTEFB_EXPIRED, ROUTEFB_HOPS, ROUTEFB_QUOTA,
	ROUTEFB_POLICY, ROUTEFB_HANDED, ROUTEFB_NO_PREKEY, ROUTEFB_CANNOT_OPEN
};

enum err relay_new(struct node *n) MUST_CHECK;
void relay_free(struct node *n);
/* ROUTED, ROUTEFB. What is for us goes to courier_arrived(), feedback on what is ours to courier_feedback(). */
void relay_item(struct conn *c, const struct session_event *e);
/* An object of our own, to this neighbour. ERR_AGAIN, ERR_LIMIT, ERR_CLOSED. */
enum err relay_send(struct conn *next, struct bytes rt, struct bytes body, unsigned hops, uint32_t age_s) MUST_CHECK;
/* Answers the neighbour that brought it. */
void relay_feedback(struct conn *to, const uint8_t rid[static 16], enum routefb code, uint32_t retry_s);
/* Nobody whom we gave this object of `from` answered for it: it is kept. */
void relay_given_up(struct node *n, const struct node_id *from, const struct node_id *to, const uint8_t rid[static 16],
		    struct bytes rt, struct bytes body, unsigned hops, uint32_t age_s);
/* A way to `to` has appeared: what is kept for it goes. */
void relay_wake(struct node *n, const struct node_id *to);
/* The group of the store was committed: what was kept in it is answered. And: it was rolled back. */
void relay_committed(struct node *n);
void relay_rolled_back(struct node *n);

struct relay_view {
	uint64_t forwarded, kept, dropped, kept_now, kept_bytes;
	uint64_t heard[ROUTEFB_CANNOT_OPEN + 1]; /* feedback of neighbours, by its code; 0: unknown ones */
};
void relay_view(struct node *n, struct relay_view *out);

#endif
