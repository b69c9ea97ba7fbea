/*
 * parts.h -- what the core has beyond links, sessions and boxes: records, discovery, routes, relays, capabilities, pairing.
 * One place says in which order they come to be, hear of sessions and go.
 */
#ifndef DAEMON_PARTS_H
#define DAEMON_PARTS_H

#include "protocol/session.h"

struct conn;
struct node;

enum err parts_new(struct node *n) MUST_CHECK; /* after native_new() */
void parts_free(struct node *n);               /* before native_free(); also after a failed start */
void parts_online(struct conn *c);             /* the session is online and its peer pinned */
void parts_offline(struct node *n, const struct node_id *id);
void parts_item(struct conn *c, const struct session_event *e);    /* SESSION_EV_ITEM */
void parts_control(struct conn *c, const struct session_event *e); /* SESSION_EV_CONTROL */
void parts_committed(struct node *n);          /* in node_turn(), after the group was committed */
void parts_rolled_back(struct node *n);
void parts_run(struct node *n);                /* in node_turn(), after sched_run() */
/* Another life of ours has issued a record of this type: ours is made anew, above it. */
void parts_issue_again(struct node *n, uint64_t type);
/* Something waits for `to` that has no session. */
void parts_wake(struct node *n, const struct node_id *to);

#endif
