#include "daemon/relay.h"

#include "daemon/node_internal.h"

enum err relay_new(struct node *n)
{
	return ERR_OK;
}

void relay_free(struct node *n)
{
}

void relay_item(struct conn *c, const struct session_event *e)
{
}

enum err relay_send(struct conn *next, struct bytes rt, struct bytes body, unsigned hops, uint32_t age_s)
{
	return ERR_UNSUPPORTED;
}

void relay_feedback(struct conn *to, const uint8_t rid[static 16], enum routefb code, uint32_t retry_s)
{
}

void relay_wake(struct node *n, const struct node_id *to)
{
}

void relay_committed(struct node *n)
{
}

void relay_rolled_back(struct node *n)
{
}

void relay_view(struct node *n, struct relay_view *out)
{
}
