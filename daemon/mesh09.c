#include "daemon/mesh09.h"

#include "daemon/node_internal.h"

enum err mesh09_new(struct node *n)
{
	return ERR_OK;
}

void mesh09_free(struct node *n)
{
}

void mesh09_online(struct conn *c)
{
}

void mesh09_offline(struct node *n, const struct node_id *id)
{
}

void mesh09_control(struct conn *c, const struct session_event *e)
{
}

void mesh09_transit(struct conn *c, const struct session_event *e)
{
}

void mesh09_wake(struct node *n, const struct node_id *to)
{
}

void mesh09_run(struct node *n)
{
}

size_t mesh09_views(struct node *n, struct route_view *out, size_t max)
{
	return 0;
}
