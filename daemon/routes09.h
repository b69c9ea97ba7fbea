/*
 * routes09.h -- the table of the old wire's routes, without links or a clock of its own (wire 5.1 to 5.4, 5.7).
 *
 * The rules of the old software hold for what is used and told: what its neighbour says is overwritten, better or worse;
 * another neighbour takes over only when it is strictly nearer; 16 is infinity. Beyond them, invisible to others: up to three
 * ways are remembered for each destination; when the one in use is withdrawn, or its neighbour goes, another takes over at
 * once if it is nearer than we ever were (so it cannot lead through us), else the destination is held down for 30 s. What
 * has changed can be told at once, without the rest. Nobody but a node itself is at distance 0 from it.
 *
 * What was measured outlives the ways: three messages in a row without their receipt penalise a way for 300 s, doubling to
 * an hour; six of any destination penalise all that the neighbour passes on. A penalised way is used when there is no other,
 * and told to nobody. Three transport errors in 60 s rest a neighbour for 60 s (the breaker of wire 5.1).
 *
 * Bounded: `destinations` in all, `per_neighbour` of one neighbour. Times are monotonic milliseconds.
 */
#ifndef DAEMON_ROUTES09_H
#define DAEMON_ROUTES09_H

#include "base/map.h"
#include "protocol/v09/route.h"
#include "trust/identity.h"

#define ROUTES09_WAYS 3
#define ROUTES09_LIFE_MS 90000
#define ROUTES09_HOLD_MS 30000
#define ROUTES09_FLAP_MS 10000 /* whoever was away for longer may have started anew, and know nothing */
#define ROUTES09_UNANSWERED 3
#define ROUTES09_NEIGHBOUR_UNANSWERED 6
#define ROUTES09_PENALTY_MS 300000
#define ROUTES09_PENALTY_MAX_MS 3600000
#define ROUTES09_BREAKER 3
#define ROUTES09_BREAKER_MS 60000

struct routes09;
struct routes09_config {
	size_t destinations;       /* 4,096 */
	size_t per_neighbour;      /* 1,024 */
	uint8_t hash_key[16];
	/* A way appeared where none was, or another is in use. May be NULL. */
	void (*changed)(void *ctx, const struct node_id *to);
	void *ctx;
};
struct routes09 *routes09_new(const struct routes09_config *c); /* NULL without memory */
void routes09_free(struct routes09 *t);
size_t routes09_count(const struct routes09 *t);

/* Its session is there, or has gone. What it said counts again when it is back within ROUTES09_FLAP_MS. ERR_FULL. */
enum err routes09_up(struct routes09 *t, const struct node_id *via, uint64_t now) MUST_CHECK;
void routes09_down(struct routes09 *t, const struct node_id *via, uint64_t now);
void routes09_forget(struct routes09 *t, const struct node_id *via, uint64_t now); /* its ways go for good */
/* `via` says that it is `cost` from `to`. ERR_DENIED: that cannot be (a withdrawal is made of it). ERR_FULL: its share, or
 * the table. ERR_WRONG_STATE: it is not there. */
enum err routes09_hear(struct routes09 *t, const struct node_id *via, const struct node_id *to, unsigned cost,
		       uint64_t now) MUST_CHECK;
/* Drops what is over; true while anything is left. To be called more often than every ROUTES09_LIFE_MS. */
bool routes09_sweep(struct routes09 *t, uint64_t now);

/* The neighbour to hand to, never one that `skip` (may be NULL) names. False: none. */
bool routes09_next(struct routes09 *t, const struct node_id *to, bool (*skip)(void *ctx, const struct node_id *via), void *ctx,
		   uint64_t now, struct node_id *via);
/* For a neighbour that is about to be told: every destination but itself, poisoned where we go through it. Only what is
 * another way or distance since routes09_told() when `changed`. */
void routes09_tell(struct routes09 *t, const struct node_id *who, bool changed,
		   void (*fn)(void *ctx, const struct route09_entry *e), void *ctx, uint64_t now);
bool routes09_untold(const struct routes09 *t); /* something has changed since */
void routes09_told(struct routes09 *t);         /* to everybody */

void routes09_delivered(struct routes09 *t, const struct node_id *to, const struct node_id *via, uint64_t now);
/* True: a penalty begins. `neighbour`: of all that `via` passes on. */
bool routes09_unanswered(struct routes09 *t, const struct node_id *to, const struct node_id *via, uint64_t now,
			 bool *neighbour);
/* The transport refused to take something for it. True: it rests from now on. */
bool routes09_broken(struct routes09 *t, const struct node_id *via, uint64_t now);

struct routes09_view {
	struct node_id to, via;
	uint8_t cost;
	bool used, usable;
	uint64_t age_ms, expires_in_ms, penalty_ms, delivered, unanswered;
};
/* Every way of every destination, in no order, until `fn` returns false. */
void routes09_each(struct routes09 *t, bool (*fn)(void *ctx, const struct routes09_view *v), void *ctx, uint64_t now);

#endif
