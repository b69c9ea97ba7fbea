#include "daemon/discovery.h"

#include "daemon/node_internal.h"

const char *discovery_scope_word(enum discovery_scope s)
{
	return "";
}

enum err discovery_scope_parse(const char *word, enum discovery_scope *out)
{
	return ERR_UNSUPPORTED;
}

enum err discovery_new(struct node *n)
{
	return ERR_OK;
}

void discovery_free(struct node *n)
{
}

void discovery_online(struct conn *c)
{
}

void discovery_offline(struct node *n, const struct node_id *id)
{
}

void discovery_card(struct conn *c, const struct im2_record *rec)
{
}

void discovery_call(struct conn *c, const struct session_event *e)
{
}

bool discovery_found(struct node *n, const struct discovery_service *s)
{
	return false;
}

void discovery_lost(struct node *n, const char *instance)
{
}

void discovery_publication(struct node *n, struct discovery_publication *out)
{
}

void discovery_watch(struct node *n, void (*changed)(void *ctx), void *ctx)
{
}

enum err discovery_key_get(struct node *n, uint8_t out[static IM2_DISC_BYTES])
{
	return ERR_UNSUPPORTED;
}

enum err discovery_key_set(struct node *n, const uint8_t disc[static IM2_DISC_BYTES])
{
	return ERR_UNSUPPORTED;
}

enum err discovery_key_ensure(struct node *n, uint8_t out[static IM2_DISC_BYTES])
{
	return ERR_UNSUPPORTED;
}

size_t discovery_views(struct node *n, struct discovery_view *out, size_t max)
{
	return 0;
}

void discovery_again(struct node *n)
{
}
