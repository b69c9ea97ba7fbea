/*
 * route_table.h -- the table of routes between our own daemons, without links, records or a clock of its own (im2.md 11.5).
 *
 * A way to a destination is what one neighbour said: the generation of the destination's signed record, and how many hops
 * that neighbour is from it. The table keeps the best way and two alternatives of other neighbours for each destination.
 *
 * No loops: what is used has fewer hops than the fewest we ever advertised for that generation, or a newer one; a destination
 * is remembered, without ways, until its newest record is over. Since a generation comes from the destination alone, a
 * neighbour can neither invent a destination nor keep a dead one alive; it can lie about hops and then drop, which
 * route_table_unanswered() finds out. What is penalised is used when there is nothing else, and advertised to nobody. A
 * penalty outlives the way: taking back a route and bringing it again clears nothing.
 *
 * Bounded: `destinations` in all, and `per_neighbour` ways of one neighbour. When a share is full, an alternative of that
 * neighbour makes room, or the way to a destination that nobody here asked for, when the new one is wanted. Times are
 * monotonic milliseconds.
 */
#ifndef DAEMON_ROUTE_TABLE_H
#define DAEMON_ROUTE_TABLE_H

#include "base/map.h"
#include "trust/identity.h"

#define ROUTE_WAYS 3
#define ROUTE_HOPS_MAX 8           /* what would exceed it is not passed on */
#define ROUTE_HOPS_GONE 16         /* advertised: I have no way any more */
#define ROUTE_RECORD_MAX 512
#define ROUTE_UNANSWERED 3         /* in a row, then it is penalised */
#define ROUTE_PENALTY_MS 300000
#define ROUTE_PENALTY_MAX_MS 3600000
#define ROUTE_COST_NONE UINT32_MAX

struct route_way {
	struct node_id via;
	uint64_t gen;
	uint64_t expires_ms, heard_ms;
	uint64_t penalty_until_ms, penalty_ms; /* penalty_ms: the next one */
	uint64_t delivered, unanswered;
	uint32_t cost_ms;
	uint32_t in_a_row;         /* unanswered ones */
	double rtt_ms;             /* of messages with their receipts; < 0 = not measured */
	uint8_t hops;              /* of the neighbour: ours is one more */
};

struct route_dest {
	struct node_id id;
	uint8_t ed[ED_BYTES];
	uint64_t newest_gen, newest_ends_ms; /* of any way, also of one that is gone; from the first arrival */
	uint64_t adv_gen;          /* advertised last; 0 = never */
	uint8_t adv_hops;          /* the fewest with it */
	bool dirty;                /* to be advertised */
	bool moved;                /* for the owner: another way than what `shown` names may be in use */
	struct node_id shown;      /* for the owner; hex "": none */
	uint64_t asked_ms;         /* for the owner: + 1; a newer generation was asked for */
	uint8_t ways_n;
	int8_t best;               /* index of the one in use; -1: none */
	uint16_t record_n;
	struct route_way ways[ROUTE_WAYS];
	uint8_t record[ROUTE_RECORD_MAX]; /* of the newest generation */
};

struct route_table;
struct route_table_config {
	size_t destinations;       /* 1,024 */
	size_t per_neighbour;      /* 256 */
	uint8_t hash_key[16];
	/* The way in use has changed: another neighbour, a newer generation, another distance, or none. */
	void (*changed)(void *ctx, struct route_dest *d, bool other_way);
	/* Messages of ours may go there: it is kept before others. May be NULL. */
	bool (*wanted)(void *ctx, const struct node_id *id);
	void *ctx;
};
struct route_table *route_table_new(const struct route_table_config *c); /* NULL without memory */
void route_table_free(struct route_table *t);
size_t route_table_count(const struct route_table *t);
size_t route_table_bytes(const struct route_table *t);

struct route_said {
	const uint8_t *ed;
	uint64_t gen, life_ms;     /* of the record, from its first arrival */
	struct bytes record;
	uint8_t hops;              /* ROUTE_HOPS_GONE: a way that is no more */
	uint32_t cost_ms;
	const struct node_id *via;
};
/* ERR_OK: taken, or a repeat. ERR_EXPIRED: an older generation. ERR_FULL: the neighbour's share. ERR_LIMIT: hops, or the
 * record. */
enum err route_table_take(struct route_table *t, const struct route_said *s, uint64_t now) MUST_CHECK;
struct route_dest *route_table_find(struct route_table *t, const struct node_id *to);
/* The way to use, never through `except` or `not_this` (NULL: none); a penalised one when there is no other. NULL. */
struct route_way *route_table_way(struct route_table *t, const struct node_id *to, const struct node_id *except,
				  const struct node_id *not_this, uint64_t now);
/* Who was a neighbour is none any more. */
void route_table_neighbour_gone(struct route_table *t, const struct node_id *via, uint64_t now);
void route_table_drop(struct route_table *t, const struct node_id *to);
/* Drops what is over. Returns when it has to be looked at again; UINT64_MAX: never. */
uint64_t route_table_sweep(struct route_table *t, uint64_t now);
/* What neighbours are to be told of it: our hops, or ROUTE_HOPS_GONE. False: nothing. */
bool route_table_advert(const struct route_dest *d, uint64_t now, uint8_t *hops);
/* That has left: to somebody, or to everybody. */
void route_table_told(struct route_dest *d, uint64_t now);
void route_table_advertised(struct route_dest *d, uint64_t now);
/* Of those that may not be used the best: it may be asked for a newer generation. NULL: none. */
const struct route_way *route_table_barred(const struct route_dest *d, uint64_t now);
/* It is a way that may be used. */
bool route_table_feasible(const struct route_dest *d, const struct route_way *w);

void route_table_delivered(struct route_table *t, const struct node_id *to, const struct node_id *via, double rtt_ms,
			   uint64_t now);
/* A probe came back through it: the penalty ends, and the next unanswered message begins a longer one. */
void route_table_probed(struct route_table *t, const struct node_id *to, const struct node_id *via, double rtt_ms,
			uint64_t now);
/* True: it is penalised from now on. */
bool route_table_unanswered(struct route_table *t, const struct node_id *to, const struct node_id *via, uint64_t now);
void route_table_each(struct route_table *t, bool (*fn)(void *ctx, struct route_dest *d), void *ctx);

#endif
