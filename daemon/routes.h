/*
 * routes.h -- who can be reached through whom, between our own daemons (im2.md 11.5). The table of the old wire is
 * another one (mesh09.h); a sealed object is never handed to a peer of the old wire.
 *
 * A route is a ROUTE record signed by its destination, with the hop count of the neighbour that brought it. Kept: the best
 * (highest generation, then fewest hops + 1, then cost) and two alternatives from other neighbours. An alternative is used
 * only if its hops are fewer than those we last advertised for that generation. Bounded: 1,024 destinations, 256 from one
 * neighbour. A route whose last 3 messages got no receipt in their time is penalised 300 s, doubling to 1 h, with an
 * audit record; a sealed PING to the destination probes it. When a neighbour of ours goes, our record gets a new generation
 * at once, so that others may use the ways that are left; and who has none left but such as might be a loop asks, by RECREQ, for
 * a newer generation, which goes hop by hop to the destination.
 *
 * Modes: off (no routes, nothing relayed), passive (learns and uses routes, advertises itself alone, relays nothing),
 * relay (advertises and forwards for others).
 */
#ifndef DAEMON_ROUTES_H
#define DAEMON_ROUTES_H

#include "trust/identity.h"

struct conn;
struct node;
struct session_event;

enum routing_mode { ROUTING_OFF, ROUTING_PASSIVE, ROUTING_RELAY };
const char *routing_mode_word(enum routing_mode m);
enum err routing_mode_parse(const char *word, enum routing_mode *out) MUST_CHECK;

/* n->routes; NULL when im2 or routing is off, and everything below then finds nothing. */
enum err routes_new(struct node *n) MUST_CHECK;
void routes_free(struct node *n);
void routes_online(struct conn *c);
void routes_offline(struct node *n, const struct node_id *id);
void routes_trust(struct node *n, const struct node_id *id); /* the trust in this peer has changed: it may be a neighbour now */
void routes_item(struct conn *c, const struct session_event *e); /* ROUTEADV */
void routes_again(struct node *n); /* our record is issued anew, at once */
/* A neighbour asks for a newer generation than this one: ours is made, that of another is told, or asked for in turn. */
void routes_asked(struct conn *c, const struct node_id *to, uint64_t have);
void routes_forget(struct node *n, const uint8_t ed[static ED_BYTES]); /* revoked: no route to or through it */

/* The session to hand an object for `to` to: its own when it is online and speaks im2, else the next hop. Never
 * `except` (may be NULL). Paths that are penalised only when there is no other. NULL: none. */
struct conn *routes_next(struct node *n, const struct node_id *to, const struct node_id *except);
/* The same, but never `except` nor `not` (a path that was tried). */
struct conn *routes_next_other(struct node *n, const struct node_id *to, const struct node_id *except,
			       const struct node_id *not_this);
/* How far `to` is through `via` as it says; 1 when that is itself, 0 when nothing is known. */
unsigned routes_hops(struct node *n, const struct node_id *to, const struct node_id *via);
bool routes_has(struct node *n, const struct node_id *to); /* a next hop exists now, other than a session of its own */
/* The key of a destination in the table, by its signed record; NULL. */
const uint8_t *routes_ed(struct node *n, const struct node_id *id);
/* Measured delivery decides between paths: a message to `to` through `via` got its receipt, or none in its time. */
void routes_delivered(struct node *n, const struct node_id *to, const struct node_id *via, double rtt_ms);
void routes_unanswered(struct node *n, const struct node_id *to, const struct node_id *via);
/* A penalised way is probed each minute: `probe` sends a sealed PING through `via`, false when it cannot. It came back. */
void routes_probe_with(struct node *n, bool (*probe)(struct node *n, const struct node_id *to, struct conn *via));
void routes_probed(struct node *n, const struct node_id *to, const struct node_id *via, double rtt_ms);
/* Called when a destination becomes reachable through somebody, or by another way than before. */
void routes_watch(struct node *n, void (*reachable)(struct node *n, const struct node_id *to));

struct route_view {
	struct node_id to, via;
	unsigned hops;
	uint64_t gen, age_ms, expires_in_ms, penalty_ms;
	bool best, feasible, old_wire;
	uint64_t delivered, unanswered;
	double rtt_ms;             /* < 0 = not measured */
};
size_t routes_views(struct node *n, struct route_view *out, size_t max);
size_t routes_count(struct node *n);       /* destinations with a way that may be used */
enum routing_mode routes_mode(const struct node *n); /* of either wire; off where both are */

#endif
