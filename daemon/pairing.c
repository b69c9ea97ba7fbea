#include "daemon/pairing.h"

#include "daemon/node_internal.h"

enum err pairing_new(struct node *n)
{
	return ERR_OK;
}

void pairing_free(struct node *n)
{
}

enum err pairing_show(struct node *n, const struct pairing_show *s, pairing_fn fn, void *ctx, struct fault *f)
{
	return ERR_UNSUPPORTED;
}

enum err pairing_type(struct node *n, const struct pairing_type *t, pairing_fn fn, void *ctx, struct fault *f)
{
	return ERR_UNSUPPORTED;
}

void pairing_verdict(struct node *n, bool yes)
{
}

void pairing_stop(struct node *n, void *ctx)
{
}

bool pairing_accepting(struct node *n)
{
	return 0;
}

void pairing_opened(struct node *n, const struct link_info *info)
{
}

bool pairing_unit(struct node *n, link_id id, struct bytes unit)
{
	return 0;
}

bool pairing_closed(struct node *n, link_id id, enum link_end why)
{
	return 0;
}

bool pairing_publication(struct node *n, char instance[static 9], char plate[static 3])
{
	return 0;
}

bool pairing_browses(struct node *n)
{
	return 0;
}

void pairing_found(struct node *n, const char *instance, const char *plate, const char (*addresses)[80], size_t count)
{
}

void pairing_watch(struct node *n, void (*changed)(void *ctx), void *ctx)
{
}
