/*
 * lan.h -- the thin edge between mDNS (transports/mdns) and what decides about it (discovery.h, pairing.h).
 *
 * What is found goes down to the node as a hint; what the node wants to be found by goes out: for the fleet random bytes and
 * tags of im2.md 15.5, for everybody the TXT record of wire 8, for a pairing its name plate. Publishes again when
 * they change and when their hour is over. A node that does not listen only browses.
 *
 * Without avahi nothing is wrong with the node: one line in the log, `status` says so, and it is looked for again now and
 * then. A change while running is a warning, and the event `discovery.state`.
 */
#ifndef DAEMON_LAN_H
#define DAEMON_LAN_H

#include <uv.h>

#include "base/json.h"
#include "daemon/node.h"

struct events;
struct lan;

struct lan_config {
	uv_loop_t *loop;
	struct env *env;
	struct node *node;
	struct events *events;          /* may be NULL */
	enum discovery_scope scope;     /* as given; not SCOPE_OFF */
	const char *bind;               /* NULL: does not listen */
	uint16_t port;
};

enum err lan_new(const struct lan_config *c, struct lan **out) MUST_CHECK;
/* Withdraws everything; `done` once nothing of it is on the loop. Before the node is freed. */
void lan_stop(struct lan *l, void (*done)(void *), void *ctx);
void lan_free(struct lan *l); /* after `done`; accepts NULL */

/* Why nothing can be found by mDNS now; NULL: something may be. `l` NULL: discovery is off. Borrowed until the next turn. */
const char *lan_blind(const struct lan *l);
/* For `status`: {scope, mdns, why, publishes, services, ...}. `l` NULL: discovery is off. New reference. */
json_t *lan_status(const struct lan *l);

#endif
