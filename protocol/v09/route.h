/*
 * route.h -- payloads of ROUTE_ANNOUNCE and ROUTE_UNREACHABLE (wire 4.5, 5.2, 5.3).
 *
 * What an old receiver would skip is skipped here too: entries that are no objects, costs that are no numbers. Beyond that,
 * destinations that are not 32 lower-case hex characters are skipped (wire 5.7), so no name or "*" becomes a route.
 */
#ifndef PROTOCOL_V09_ROUTE_H
#define PROTOCOL_V09_ROUTE_H

#include "base/buf.h"
#include "trust/identity.h"

#define ROUTE09_INFINITY 16
#define ROUTE09_PAYLOAD_MAX (256u << 10)
#define ROUTE09_WRITE_MAX 1000 /* entries in one payload of ours: below 64 KiB */

struct route09_entry {
	struct node_id to;
	uint8_t cost; /* 0 .. ROUTE09_INFINITY, of the sender; more, or less than 0, reads as ROUTE09_INFINITY */
};

/* Appends a payload with `self` at cost 0 before the n <= ROUTE09_WRITE_MAX entries. */
void route_announce_write(struct buf *b, const struct node_id *self, const struct route09_entry *e, size_t n,
			  uint64_t sequence);
/* Calls `fn` for each entry that counts, in order, until it returns false. ERR_MALFORMED, ERR_LIMIT. */
enum err route_announce_read(struct bytes payload, bool (*fn)(void *ctx, const struct route09_entry *e), void *ctx) MUST_CHECK;

struct route_unreachable {
	struct node_id to;
	char id[129]; /* of the message; printable ASCII */
};
void route_unreachable_write(struct buf *b, const struct node_id *to, struct bytes msg_id);
enum err route_unreachable_read(struct bytes payload, struct route_unreachable *out) MUST_CHECK;

#endif
