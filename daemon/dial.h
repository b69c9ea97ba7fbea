/*
 * dial.h -- dials for hints (discovery.h): one try each, beside the static peers that are dialled again and again.
 *
 * A hint's dial changes nothing in the trust store unless who answers is admitted; when another identity than `expected`
 * answers, the connection is dropped, counted, and no alarm is raised: it was the hint that lied.
 */
#ifndef DAEMON_DIAL_H
#define DAEMON_DIAL_H

#include "trust/identity.h"

struct node;

#define DIAL_HINTS_MAX 32 /* at once */

/* False: it is dialled already, or there are too many. `hint` names it in discovery_dialled(). */
bool dial_hint(struct node *n, const char *address, const struct node_id *expected, const char *hint);
bool dial_is_static(const struct node *n, const char *address);

#endif
