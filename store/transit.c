#include "store/transit.h"

enum err transit_put(struct store *s, const struct transit_limits *l, const struct transit_new *t)
{
	return ERR_UNSUPPORTED;
}

enum err transit_has(struct store *s, const uint8_t rid[static 16], struct transit_row *out)
{
	return ERR_UNSUPPORTED;
}

enum err transit_list(struct store *s, const struct node_id *to, int64_t after_seq, struct transit_row *rows, size_t max, size_t *n)
{
	return ERR_UNSUPPORTED;
}

enum err transit_read(struct store *s, int64_t seq, struct buf *rt, struct buf *body)
{
	return ERR_UNSUPPORTED;
}

enum err transit_del(struct store *s, int64_t seq)
{
	return ERR_UNSUPPORTED;
}

enum err transit_destinations(struct store *s, struct node_id *out, size_t max, size_t *n)
{
	return ERR_UNSUPPORTED;
}

enum err transit_expire(struct store *s, size_t max, size_t *n)
{
	return ERR_UNSUPPORTED;
}

void transit_count(struct store *s, uint64_t *objects, uint64_t *bytes)
{
}
