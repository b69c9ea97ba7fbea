#include "daemon/parts.h"

#include "daemon/caps.h"
#include "daemon/courier.h"
#include "daemon/discovery.h"
#include "daemon/invites.h"
#include "daemon/mesh09.h"
#include "daemon/node_internal.h"
#include "daemon/pairing.h"
#include "daemon/records.h"
#include "daemon/relay.h"
#include "daemon/revoke.h"
#include "daemon/routes.h"
#include "protocol/im2/record.h"

/* A way has appeared: relays and authors use it. */
static void reachable(struct node *n, const struct node_id *to)
{
	relay_wake(n, to);
	courier_wake(n, to);
}

enum err parts_new(struct node *n)
{
	enum err (*const all[])(struct node *) = { discovery_new, routes_new, relay_new,   courier_new,
						   mesh09_new,	  caps_new,   pairing_new, invites_new };
	enum err e = ERR_OK;

	for (size_t i = 0; e == ERR_OK && i < sizeof all / sizeof all[0]; i++)
		e = all[i](n);
	if (e == ERR_OK)
		routes_watch(n, reachable);
	return e;
}

void parts_free(struct node *n)
{
	invites_free(n);
	pairing_free(n);
	caps_free(n);
	mesh09_free(n);
	courier_free(n);
	relay_free(n);
	routes_free(n);
	discovery_free(n);
}

void parts_online(struct conn *c)
{
	records_online(c);
	if (c->im2) {
		courier_direct(c->node, &c->peer->id);
		routes_online(c);
		relay_wake(c->node, &c->peer->id);
	}
	mesh09_online(c);
	discovery_online(c);
	caps_online(c);
	invites_online(c);
}

void parts_offline(struct node *n, const struct node_id *id)
{
	routes_offline(n, id);
	mesh09_offline(n, id);
	discovery_offline(n, id);
	courier_lost(n, id);
	parts_wake(n, id);
}

void parts_item(struct conn *c, const struct session_event *e)
{
	switch (e->tag) {
	case IM2_ITEM_ROUTED:
	case IM2_ITEM_ROUTEFB:
		relay_item(c, e);
		break;
	case IM2_ITEM_ROUTEADV:
		routes_item(c, e);
		break;
	case IM2_ITEM_OPEN:
	case IM2_ITEM_END:
	case IM2_ITEM_RERR:
		discovery_call(c, e);
		break;
	default:
		records_item(c, e);
		break;
	}
}

void parts_control(struct conn *c, const struct session_event *e)
{
	struct bytes type = bytes_str(e->word ? e->word : "");

	c->node->n.control_frames++;
	if (bytes_eq(type, BYTES_LIT("ROUTE_ANNOUNCE")) || bytes_eq(type, BYTES_LIT("ROUTE_UNREACHABLE")))
		mesh09_control(c, e);
	else if (bytes_eq(type, BYTES_LIT("CAPABILITY_ANNOUNCE")))
		caps_control(c, e);
	else if (bytes_eq(type, BYTES_LIT("REVOCATION")))
		revoke_control(c, e);
}

void parts_committed(struct node *n)
{
	relay_committed(n);
}

void parts_rolled_back(struct node *n)
{
	relay_rolled_back(n);
	courier_rolled_back(n);
	discovery_rolled_back(n);
}

void parts_run(struct node *n)
{
	courier_run(n);
	mesh09_run(n);
}

void parts_wake(struct node *n, const struct node_id *to)
{
	courier_wake(n, to);
	mesh09_wake(n, to);
}

void parts_issue_again(struct node *n, uint64_t type)
{
	if (type == IM2_REC_CAP_T)
		caps_again(n);
	else if (type == IM2_REC_ROUTE_T)
		routes_again(n);
	else if (type == IM2_REC_CARD_T)
		discovery_again(n);
}
