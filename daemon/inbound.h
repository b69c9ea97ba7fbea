/*
 * inbound.h -- the straight line in, for what did not come in its author's own session.
 */
#ifndef DAEMON_INBOUND_H
#define DAEMON_INBOUND_H

#include "protocol/message.h"

struct conn;

/* A message out of a sealed object (im2.md 9.6, 11.3). Its author signed it and is pinned. */
struct inbound_sealed {
	uint32_t age_s;            /* as the relays measured it */
	uint64_t keep_s;           /* until the prekey is erased */
	bool no_fs;
};
/* `from`: the neighbour that brought it. Receipts go to the author (courier_receipt()), after the commit. */
void inbound_sealed_message(struct conn *from, const struct message *m, const struct inbound_sealed *s);

#endif
