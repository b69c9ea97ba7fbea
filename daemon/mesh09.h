/*
 * mesh09.h -- routing with neighbours of the old wire (wire 5): distance vector with split horizon, poisoned reverse, hop
 * limit and duplicate cache; frames of others relayed; and ours sent through old relays.
 *
 * Messages to a destination behind old relays are sealed end to end (wire 3.7) whenever its X25519 key is known. To an
 * identity that has spoken im2, or is marked, nothing goes in clear, ever. The author is who signed inside (wire 3.6), never
 * the neighbour.
 */
#ifndef DAEMON_MESH09_H
#define DAEMON_MESH09_H

#include "daemon/routes.h"
#include "protocol/session.h"

/* n->mesh09; NULL when routing is off, or the old wire is (require). */
enum err mesh09_new(struct node *n) MUST_CHECK;
void mesh09_free(struct node *n);
void mesh09_online(struct conn *c);
void mesh09_offline(struct node *n, const struct node_id *id);
/* ROUTE_ANNOUNCE, ROUTE_UNREACHABLE: e->word is the type, e->item the payload. */
void mesh09_control(struct conn *c, const struct session_event *e);
/* A frame for another node. */
void mesh09_transit(struct conn *c, const struct session_event *e);
/* Something waits for `to`, or a way appeared: sends what waits through the next old hop. */
void mesh09_wake(struct node *n, const struct node_id *to);
void mesh09_run(struct node *n);           /* in node_turn() */
size_t mesh09_views(struct node *n, struct route_view *out, size_t max);

#endif
