/*
 * transfer.h -- item values that do not fit a unit travel in pieces under a credit (im2.md 7.6). Sans-I/O.
 *
 * One object per peer holds both directions. Outgoing values are copied; incoming memory is taken only after
 * the limits were checked (8 per peer, bytes per peer, bytes of all peers). Partial data is kept for resume
 * under (digest, length, tag), also across sessions.
 *
 * Numbers of transfers belong to their sender, so an XABORT is told apart by its code: 8 and 11 come from the
 * sender and end an incoming transfer, 6, 7, 9 and 10 from the receiver and end an outgoing one.
 */
#ifndef PROTOCOL_IM2_TRANSFER_H
#define PROTOCOL_IM2_TRANSFER_H

#include "base/env.h"
#include "protocol/im2/schema.h"

#define IM2_TRANSFERS_MAX 8

struct im2_transfers;

/* What the peers of a host share beside bytes_total. Begins as zeros. */
struct im2_transfer_pool {
	uint64_t strangers;          /* bytes of those that are not trusted */
	struct im2_transfers *first, *last; /* at rest, the longest first: their pieces make room */
};

struct im2_transfer_config {
	struct env *env;
	bool radio;
	/* Zero takes the default of the section. */
	uint64_t bytes_max;          /* of one peer, incoming: 4 MiB (radio 64 KiB) */
	uint64_t *bytes_total;       /* shared by all peers of a host; never NULL */
	uint64_t bytes_total_max;    /* 64 MiB */
	struct im2_transfer_pool *pool; /* NULL: nothing more is shared */
	bool stranger;               /* as im2_transfers_stranger() */
	uint64_t keep_ms;            /* partial data: 10 min (radio 24 h) */
	uint64_t resend_ms;          /* no XACK: 5 s (radio: set by the owner from rtt and airtime, >= 15 s) */
	uint32_t window;             /* credit we grant at the start, `credit` of our HS: 65,536 (radio 2,048) */
};
enum err im2_transfers_new(const struct im2_transfer_config *c, struct im2_transfers **out) MUST_CHECK;
void im2_transfers_free(struct im2_transfers *t); /* accepts NULL */

/* May an item of this tag travel so, and how long? 0: no. */
size_t im2_transfer_max(uint16_t tag);
/* Outgoing. `credit`: what the peer's HS grants. ERR_AGAIN: eight are open; ERR_EXISTS: the same value is on its way,
 * as *xfer; ERR_LIMIT: empty, too large or a tag that may not travel so; ERR_NOMEM. Copies. *xfer names it for the
 * end. */
enum err im2_transfer_send(struct im2_transfers *t, uint16_t tag, struct bytes value, uint32_t credit, uint32_t *xfer) MUST_CHECK;
/* Writes the next item (XOPEN, FRAG, XACK or XABORT) of at most `room` bytes, item header included. False: nothing
 * to send now that fits; 64 bytes are room enough. Control items first; transfers take turns. */
bool im2_transfer_next(struct im2_transfers *t, size_t room, struct buf *out);
bool im2_transfer_waiting(const struct im2_transfers *t); /* something could go out now, given the room */
size_t im2_transfer_out_bytes(const struct im2_transfers *t); /* held for sending */
size_t im2_transfer_in_bytes(const struct im2_transfers *t);  /* our share of *bytes_total */

/* One incoming item of tag XOPEN, FRAG, XACK or XABORT. A refusal is the peer's bug (ITEMERR); what the section
 * answers itself (XABORT, XACK) comes out of im2_transfer_next(). */
enum im2_refusal im2_transfer_take(struct im2_transfers *t, uint16_t tag, struct bytes value);
/* Ask after every take: a complete value, valid until the next call on `t`. */
bool im2_transfer_complete(struct im2_transfers *t, uint16_t *tag, struct bytes *value);
/* Outgoing transfers that ended. Undelivered ones the owner sends again with the message's own back-off. */
struct im2_transfer_end {
	uint32_t xfer;
	uint16_t tag;
	bool delivered;              /* the peer acknowledged every byte */
	uint8_t code;                /* undelivered: XABORT code, 11 = no progress */
};
bool im2_transfer_ended(struct im2_transfers *t, struct im2_transfer_end *out);
/* The session ended: xfer numbers die, partial data stays for resume; outgoing ones start again with XOPEN on the
 * next session. */
void im2_transfers_session(struct im2_transfers *t);
/* The next session is up: what its HS grants, for the transfers that start again. */
void im2_transfers_credit(struct im2_transfers *t, uint32_t credit);
/* Strangers have 256 KiB each, and an eighth of the total between them; what does not fit waits (6). */
void im2_transfers_stranger(struct im2_transfers *t, bool stranger);
/* The peer has no path left: a stranger's pieces go, those of others make room for anybody's. And it has one again. */
void im2_transfers_rest(struct im2_transfers *t);
void im2_transfers_wake(struct im2_transfers *t);
uint64_t im2_transfers_deadline_ms(const struct im2_transfers *t);
void im2_transfers_tick(struct im2_transfers *t);

#endif
