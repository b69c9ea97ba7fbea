#include "daemon/routes.h"

#include "daemon/node_internal.h"

const char *routing_mode_word(enum routing_mode m)
{
	return "";
}

enum err routing_mode_parse(const char *word, enum routing_mode *out)
{
	return ERR_UNSUPPORTED;
}

enum err routes_new(struct node *n)
{
	return ERR_OK;
}

void routes_free(struct node *n)
{
}

void routes_online(struct conn *c)
{
}

void routes_offline(struct node *n, const struct node_id *id)
{
}

void routes_item(struct conn *c, const struct session_event *e)
{
}

void routes_forget(struct node *n, const uint8_t ed[static ED_BYTES])
{
}

struct conn *routes_next(struct node *n, const struct node_id *to, const struct node_id *except)
{
	return NULL;
}

struct conn *routes_next_other(struct node *n, const struct node_id *to, const struct node_id *except, const struct node_id *not_this)
{
	return NULL;
}

bool routes_has(struct node *n, const struct node_id *to)
{
	return 0;
}

void routes_delivered(struct node *n, const struct node_id *to, const struct node_id *via, double rtt_ms)
{
}

void routes_unanswered(struct node *n, const struct node_id *to, const struct node_id *via)
{
}

void routes_watch(struct node *n, void (*reachable)(struct node *n, const struct node_id *to))
{
}

size_t routes_views(struct node *n, struct route_view *out, size_t max)
{
	return 0;
}

void routes_again(struct node *n)
{
}
