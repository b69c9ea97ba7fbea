/* routes_internal.h -- what routes.c (what neighbours say, whom to hand to) and routes_tell.c (what they are told) share. */
#ifndef DAEMON_ROUTES_INTERNAL_H
#define DAEMON_ROUTES_INTERNAL_H

#include "daemon/node_internal.h"
#include "daemon/route_table.h"
#include "daemon/routes.h"

#define ROUTES_SOON_MS 1000 /* a change is told within */

struct routes {
	struct node *node;
	struct route_table *table;
	struct timer own, flush, sweep, show, probe;
	uint64_t own_ms;           /* monotonic + 1: of the newest generation; 0 = a new one is due */
	struct bucket lies;        /* that are audited */
	struct buf record;         /* ours */
	struct buf item;           /* what came: the answer goes into the session that it is borrowed from */
	void (*reachable)(struct node *n, const struct node_id *to);
	bool (*probe_with)(struct node *n, const struct node_id *to, struct conn *via);
};

struct conn *routes_session_of(struct node *n, const struct node_id *id); /* NULL: none of im2 */
/* A neighbour: online over im2, and trusted. */
bool routes_takes_part(const struct conn *c);

/* routes_tell.c */
void routes_own_due(void *ctx);            /* timers */
void routes_flush_due(void *ctx);
void routes_show_due(void *ctx);
void routes_own_in(struct routes *r, uint64_t ms);
void routes_own_anew(struct routes *r);    /* a new generation, soon */
void routes_greet(struct routes *r, struct conn *c); /* a new neighbour */
void routes_changed(void *ctx, struct route_dest *d, bool other_way); /* of the table */

#endif
