/* route_table_internal.h -- what route_table.c (who said what, room, ends) and route_choice.c (which of it is used and told) share. */
#ifndef DAEMON_ROUTE_TABLE_INTERNAL_H
#define DAEMON_ROUTE_TABLE_INTERNAL_H

#include "daemon/route_table.h"

/* What is held against a way that is not in the table now. */
struct grudge {
	uint64_t penalty_until_ms, penalty_ms;
	uint32_t in_a_row;
};
#define GRUDGE_KEY (2 * NODE_ID_LEN)

struct route_table {
	struct route_table_config c;
	struct map *dests; /* node id -> struct route_dest * */
	struct map *shares; /* neighbour -> how many ways it has here */
	struct map *grudges; /* destination || neighbour -> struct grudge */
};

/* What counts as the same is told to nobody. */
struct route_in_use {
	struct node_id via;
	uint64_t gen;
	uint8_t hops;
	bool is;
};

struct route_in_use route_in_use(const struct route_dest *d);
/* After anything changed: the way to use, and whether that is news. */
void route_rechoose(struct route_table *t, struct route_dest *d, struct route_in_use was, uint64_t now);
bool route_better(const struct route_way *a, const struct route_way *b, uint64_t now);
bool route_penalised(const struct route_way *w, uint64_t now);
int route_way_of(const struct route_dest *d, const struct node_id *via); /* -1: none */

#endif
