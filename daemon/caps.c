#include "daemon/caps.h"

#include "daemon/node_internal.h"

enum err caps_new(struct node *n)
{
	return ERR_OK;
}

void caps_free(struct node *n)
{
}

void caps_online(struct conn *c)
{
}

void caps_record(struct conn *c, const struct im2_record *rec)
{
}

void caps_control(struct conn *c, const struct session_event *e)
{
}

enum err caps_set(struct node *n, const char *const *names, size_t count, struct fault *f)
{
	return ERR_UNSUPPORTED;
}

void caps_find(struct node *n, const char *glob, caps_fn fn, void *ctx)
{
}

size_t caps_bytes(const struct node *n)
{
	return 0;
}

void caps_again(struct node *n)
{
}
