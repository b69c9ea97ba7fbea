/*
 * transfer.h -- item values that do not fit a unit travel in pieces under a credit (im2.md 7.6). Sans-I/O.
 *
 * One object per peer holds both directions. Outgoing values are copied; incoming memory is taken only after
 * the limits were checked (8 per peer, bytes per peer, bytes of all peers). Partial data is kept for resume
 * under (digest, length, tag), also across sessions.
 */
#ifndef PROTOCOL_IM2_TRANSFER_H
#define PROTOCOL_IM2_TRANSFER_H

#include "base/env.h"
#include "protocol/im2/schema.h"

#define IM2_TRANSFERS_MAX 8

struct im2_transfers;

struct im2_transfer_config {
	struct env *env;
	bool radio;
	uint64_t bytes_max;          /* of one peer, incoming: 4 MiB (radio 64 KiB) */
	uint64_t *bytes_total;       /* shared by all peers of a host */
	uint64_t bytes_total_max;    /* 64 MiB */
	uint64_t keep_ms;            /* partial data: 10 min (radio 24 h) */
	uint64_t resend_ms;          /* no XACK: 5 s (radio: set by the owner from rtt and airtime, >= 15 s) */
	uint32_t window;             /* credit we grant at the start: `credit` of our HS */
};
enum err im2_transfers_new(const struct im2_transfer_config *c, struct im2_transfers **out) MUST_CHECK;
void im2_transfers_free(struct im2_transfers *t); /* accepts NULL */

/* Outgoing. `credit`: what the peer's HS grants. ERR_AGAIN: eight are open; ERR_LIMIT: too large or a tag that may
 * not travel so. Copies. *xfer names it for `done`. */
enum err im2_transfer_send(struct im2_transfers *t, uint16_t tag, struct bytes value, uint32_t credit, uint32_t *xfer) MUST_CHECK;
/* Writes the next item (XOPEN, FRAG, XACK or XABORT) of at most `room` bytes, item header included. False: nothing
 * to send now. Control items first; fragments of several transfers take turns. */
bool im2_transfer_next(struct im2_transfers *t, size_t room, struct buf *out);
bool im2_transfer_waiting(const struct im2_transfers *t);
size_t im2_transfer_out_bytes(const struct im2_transfers *t);

/* One incoming item of tag XOPEN, FRAG, XACK or XABORT. A refusal is the peer's bug (ITEMERR); what the section
 * answers itself (XABORT, XACK) comes out of im2_transfer_next(). */
enum im2_refusal im2_transfer_take(struct im2_transfers *t, uint16_t tag, struct bytes value);
/* After a take: a complete value, valid until the next call on `t`. */
bool im2_transfer_complete(struct im2_transfers *t, uint16_t *tag, struct bytes *value);
/* What ended without being delivered: the owner sends again with the message's own back-off. */
struct im2_transfer_end {
	uint32_t xfer;
	uint16_t tag;
	bool delivered;              /* the peer acknowledged every byte */
	uint8_t code;                /* XABORT code, 11 = no progress */
};
bool im2_transfer_ended(struct im2_transfers *t, struct im2_transfer_end *out);
/* The session ended: xfer numbers die, partial data stays for resume; outgoing ones start again with XOPEN on the
 * next session. */
void im2_transfers_session(struct im2_transfers *t);
uint64_t im2_transfers_deadline_ms(const struct im2_transfers *t);
void im2_transfers_tick(struct im2_transfers *t);

#endif
