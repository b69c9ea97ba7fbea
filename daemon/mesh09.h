/*
 * mesh09.h -- routing with neighbours of the old wire (wire 5): distance vector with split horizon, poisoned reverse, hop
 * limit and duplicate cache; frames of others relayed; and ours sent through old relays.
 *
 * Only trusted neighbours that declare 0.4 or later take part. Modes: passive announces itself alone, uses routes and relays
 * nothing; relay does all of it. Messages to a destination behind old relays are sealed end to end (wire 3.7) with nothing
 * beside it; in clear they go only to an identity of which a version below 0.9 is known, which reads nothing else. To one
 * that has spoken im2 or confirms nothing goes in clear, ever. The author is who signed inside (wire 3.6), never the
 * neighbour.
 *
 * A row that is on its way here is still QUEUED in the store: dropping what is in memory loses nothing. Destinations that
 * confirm (our own software) send their receipts back through the mesh, signed inside (v09_receipts_through()); for others
 * SENT is the end, 15 s after the hand-over, so that a ROUTE_UNREACHABLE can still bring it back. Old relays forget what
 * they have passed on after 300 s: the same neighbour is tried again only after that.
 */
#ifndef DAEMON_MESH09_H
#define DAEMON_MESH09_H

#include "daemon/routes.h"
#include "protocol/session.h"
#include "store/outbox.h"

struct pending_receipt;

/* n->mesh09; NULL when routing is off, or the old wire is (require). */
enum err mesh09_new(struct node *n) MUST_CHECK;
void mesh09_free(struct node *n);
void mesh09_online(struct conn *c);        /* of either wire: what waits for it goes there */
void mesh09_offline(struct node *n, const struct node_id *id);
void mesh09_trust(struct node *n, const struct node_id *id); /* the trust in it has changed */
/* ROUTE_ANNOUNCE, ROUTE_UNREACHABLE: e->word is the type, e->item the payload. */
void mesh09_control(struct conn *c, const struct session_event *e);
/* A frame for another node, or one of ours that came back: e->transit. */
void mesh09_transit(struct conn *c, const struct session_event *e);
/* Something waits for `to`, or a way appeared: sends what waits through the next old hop. Cheap; the work is done in the
 * turn. */
void mesh09_wake(struct node *n, const struct node_id *to);
void mesh09_run(struct node *n);           /* in node_turn(), after the commit */
size_t mesh09_views(struct node *n, struct route_view *out, size_t max);

/* For session_config.author_key. `node` is a struct node. */
bool mesh09_author_key(void *node, const struct node_id *id, uint8_t ed[static ED_BYTES]);
/* A receipt that is owed to an author whose message the neighbour `via` brought, after the commit. It goes back that way if
 * that neighbour tells of one. */
void mesh09_receipt(struct node *n, const struct node_id *author, const struct node_id *via, const struct pending_receipt *r);
/* It has ended here (cancelled, expired, confirmed). */
void mesh09_ended(struct node *n, const struct node_id *to, const char *id, bool confirmed);
/* Its recipient keeps it until its operator has decided. False: it is not on its way here. */
bool mesh09_held(struct node *n, const struct node_id *to, const char *id);
/* A receipt that it signed came through others. */
void mesh09_confirmed(struct node *n, const struct node_id *by);
/* How far a message is that waits in the store; false: not on its way here. */
struct mesh09_view {
	bool held;
	struct node_id via;
	struct outbox_try last;    /* how it was handed over */
};
bool mesh09_view(struct node *n, const struct node_id *to, const char *id, struct mesh09_view *out);

#endif
