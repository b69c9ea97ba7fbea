/*
 * relay_again.h -- objects that a neighbour was given and has not answered for: given again, then to another one.
 *
 * Who takes a ROUTED says so with a ROUTEFB (im2.md 11.2). Without one the object, or the answer, was lost on that hop, or the
 * neighbour swallows what it is given: it gets the object twice more, then another way is tried once, then an object of others
 * is kept on disk like one that has no way. A copy that arrives twice is known by its rid and costs nothing further. This makes each hop as good as a link that repeats, so that the
 * author's own repeats, minutes apart, are for what no hop can mend.
 *
 * In memory only, and bounded: 1,024 objects and 16 MiB, a quarter of both for what one neighbour brought; what does not fit is
 * not repeated here.
 */
#ifndef DAEMON_RELAY_AGAIN_H
#define DAEMON_RELAY_AGAIN_H

#include "base/buf.h"
#include "trust/identity.h"

struct node;
struct relay_again;

enum err relay_again_new(struct node *n, struct relay_again **out) MUST_CHECK;
void relay_again_free(struct relay_again *a); /* accepts NULL */
/* `next` was given it. `from` brought it, and never gets it back; NULL: it is ours. */
void relay_again_sent(struct relay_again *a, const struct node_id *from, const struct node_id *next, const struct node_id *to,
		      const uint8_t rid[static 16], struct bytes rt, struct bytes body, unsigned hops, uint32_t age_s);
/* How many are waiting that `from` brought, and their bytes; NULL: ours. `bytes` may be NULL. */
size_t relay_again_held(const struct relay_again *a, const struct node_id *from, size_t *bytes);
/* It has answered, whatever it says. */
void relay_again_heard(struct relay_again *a, const struct node_id *from, const uint8_t rid[static 16]);

#endif
