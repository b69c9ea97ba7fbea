/*
 * dial.h -- dials of hints (discovery.h): one try each, beside the static peers that are dialled again and again.
 *
 * Such a dial is a target of its own until it has failed or its session is online. It changes nothing in the trust store
 * unless who answers is admitted, and then no address either: a hint is nobody's promise to be there again.
 */
#ifndef DAEMON_DIAL_H
#define DAEMON_DIAL_H

#include "trust/identity.h"

struct hint_dial;
struct node;
struct target;

/* NULL: it is dialled already, or it cannot be. Its end is discovery_dial_ended() or discovery_dial_met(). */
struct target *dial_hint(struct node *n, const char *address, const struct node_id *expected, struct hint_dial *hint);
/* It is not needed any more; an online session stays. */
void dial_drop(struct node *n, struct target *t);
bool dial_is_static(const struct node *n, const char *address);
/* Somebody dials there now. */
bool dial_runs(const struct node *n, const char *address);

#endif
