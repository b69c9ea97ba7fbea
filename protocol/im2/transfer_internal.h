/*
 * transfer_internal.h -- the two directions of im2.md 7.6 and what they share:
 *   transfer.c      the object, what is owed to the peer about ended transfers, dispatch, timers
 *   transfer_in.c   from XOPEN to a value       transfer_out.c   from a value to its last XACK
 */
#ifndef PROTOCOL_IM2_TRANSFER_INTERNAL_H
#define PROTOCOL_IM2_TRANSFER_INTERNAL_H

#include "base/hash.h"
#include "protocol/im2/transfer.h"

#define RANGES_MAX 16  /* of `have` in an XACK */
#define NOTICES_MAX 16
#define RESENDS_MAX 8
#define FRAG_LEAST 32  /* smaller pieces wait for a unit with more room */
#define RADIO_NEWS_MS 2000
#define WINDOW_IP 65536 /* credit that was not stated */
#define WINDOW_RADIO 2048

enum im2_abort_code {
	ABORT_MEMORY = 6,
	ABORT_RANGE = 7,
	ABORT_CANCELLED = 8,
	ABORT_DIGEST = 9,
	ABORT_TOO_LARGE = 10,
	ABORT_TIME = 11
};

/* Disjoint, ascending, never touching; all beyond the contiguous beginning `cum`. */
struct ranges {
	struct range {
		uint64_t from, to;
	} r[RANGES_MAX];
	unsigned n;
};

/* What makes two transfers the same value (resume). */
struct content {
	uint8_t digest[HASH_BYTES];
	uint64_t len;
	uint16_t tag;
};
static inline bool content_eq(const struct content *a, const struct content *b)
{
	return a->len == b->len && a->tag == b->tag && memcmp(a->digest, b->digest, HASH_BYTES) == 0;
}

struct incoming {
	bool used;
	bool open;             /* named by xfer in this session; else kept for resume */
	bool ack_due, news;    /* news: something the last XACK did not say */
	uint32_t xfer;
	struct content c;
	uint8_t *data;         /* c.len bytes, reserved as a whole */
	uint64_t cum, limit, acked;
	struct ranges have;
	uint64_t touched_ms;
};

enum outgoing_state { OUT_FREE, OUT_ACTIVE, OUT_ENDED };
struct outgoing {
	enum outgoing_state state;
	uint32_t xfer;
	struct content c;
	uint8_t *data;
	uint64_t limit;        /* credit, at most len */
	uint64_t next;         /* all below was sent once in this session, or is at the peer already */
	uint64_t cum;
	struct ranges have;
	uint64_t rep_at, rep_end; /* being repeated */
	uint64_t recover;      /* gaps below were repeated already; only the timer does it again */
	bool open_due, opened;
	uint64_t resend_at_ms;
	unsigned tries;
	bool delivered;        /* OUT_ENDED */
	uint8_t code;
};

/* What we said last about a transfer that is no more: said again when the peer shows that it got lost. */
struct notice {
	bool used, due;
	bool ours;             /* an XABORT of our own transfer */
	uint32_t xfer;
	uint8_t code;          /* 0: complete */
	struct content c;
};

struct im2_transfers {
	struct im2_transfer_config c;
	struct incoming in[IM2_TRANSFERS_MAX];
	struct outgoing out[IM2_TRANSFERS_MAX];
	struct notice notices[NOTICES_MAX];
	unsigned notices_at, turn;
	uint32_t next_xfer;
	uint64_t in_bytes;
	bool rests;            /* in the list of the pool */
	struct im2_transfers *rest_before, *rest_after;
	struct incoming *given; /* complete: its value lives until the next call */
	struct buf work;
};

void transfer_notice(struct im2_transfers *t, bool ours, uint32_t xfer, uint8_t code, const struct content *c);
struct notice *transfer_notice_find(struct im2_transfers *t, uint32_t xfer); /* about the peer's transfers */
/* An item around t->work when it fits into `room`. */
bool transfer_item(struct im2_transfers *t, uint16_t tag, size_t room, struct buf *out);
bool transfer_xack(struct im2_transfers *t, uint32_t xfer, uint64_t cum, uint64_t limit,
		   const struct ranges *have, size_t room, struct buf *out);

/* transfer_in.c */
enum im2_refusal incoming_open(struct im2_transfers *t, struct bytes value);
enum im2_refusal incoming_frag(struct im2_transfers *t, struct bytes value);
void incoming_aborted(struct im2_transfers *t, uint32_t xfer);
bool incoming_ack(struct im2_transfers *t, size_t room, struct buf *out);
void incoming_session(struct im2_transfers *t);
void incoming_drop(struct im2_transfers *t); /* all but the value that is being read */
void incoming_free(struct im2_transfers *t, struct incoming *x);
uint64_t incoming_deadline(const struct im2_transfers *t);
void incoming_tick(struct im2_transfers *t);

/* transfer_out.c */
enum im2_refusal outgoing_ack(struct im2_transfers *t, struct bytes value);
void outgoing_end(struct im2_transfers *t, struct outgoing *x, bool delivered, uint8_t code);
void outgoing_aborted(struct im2_transfers *t, uint32_t xfer, uint8_t code);
bool outgoing_next(struct im2_transfers *t, size_t room, struct buf *out);
bool outgoing_sendable(const struct outgoing *x);
void outgoing_session(struct im2_transfers *t);
uint64_t outgoing_deadline(const struct im2_transfers *t);
void outgoing_tick(struct im2_transfers *t);

#endif
