#include "daemon/courier.h"

#include "daemon/node_internal.h"

enum err courier_new(struct node *n)
{
	return ERR_OK;
}

void courier_free(struct node *n)
{
}

void courier_wake(struct node *n, const struct node_id *to)
{
}

void courier_direct(struct node *n, const struct node_id *to)
{
}

void courier_run(struct node *n)
{
}

void courier_rolled_back(struct node *n)
{
}

void courier_ended(struct node *n, const struct node_id *to, const char *id)
{
}

void courier_arrived(struct conn *from, const uint8_t rid[static 16], struct bytes rt, struct bytes body, uint32_t age_s)
{
}

void courier_feedback(struct conn *from, const uint8_t rid[static 16], unsigned code, uint32_t retry_s)
{
}

void courier_receipt(struct node *n, const struct node_id *author, const struct receipt *r)
{
}

bool courier_view(struct node *n, const struct node_id *to, const char *id, struct courier_view *out)
{
	return 0;
}
