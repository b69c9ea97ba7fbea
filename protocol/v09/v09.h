/*
 * v09.h -- the compatible wire, ironmesh/0.9, behind session.h.
 *
 * Both roles of the handshake (wire 2), frame version 4 (wire 3), replay rules and rekey (wire 6),
 * with every hardening that wire 12 marks as local: no palindromic nonce, server proof required and
 * different from our own, own channel binding required, no unsigned HELLO, SIGNED required, header
 * equals body for peers >= 0.9, no legacy JSON path, own source refused, strict base64, finite
 * time stamps, `from` equals the key's id.
 */
#ifndef PROTOCOL_V09_V09_H
#define PROTOCOL_V09_V09_H

#include "protocol/session.h"

#define V09_VERSION_TEXT "ironmesh/0.9"
/* What a node that also speaks im2 declares (im2.md 4.4); old parsers read 0.9. */
#define V09_MARK ".im2"
#define V09_MARKED_TEXT V09_VERSION_TEXT V09_MARK

/* Copies the config. ERR_NOMEM. */
enum err v09_session_new(const struct session_config *c, struct session **out) MUST_CHECK;

/* A frame between daemons (wire 4.1): ROUTE_ANNOUNCE, CAPABILITY_ANNOUNCE, ... `to` NULL: "*". `s` is an online session of
 * 0.9. ERR_WRONG_STATE, ERR_LIMIT (64 KiB), ERR_FULL. */
enum err v09_control(struct session *s, const char *type, const struct node_id *to, struct bytes payload) MUST_CHECK;

/*
 * Through other nodes (wire 3.6, 3.7, 5.5). What others wrote comes as SESSION_EV_MESSAGE when it is for us and signed by its
 * author in form v2 under the key that session_config.author_key knows; v1 signs only the payload, which a relay may aim at
 * anybody, and counts from the author's own session alone.
 */
#define V09_RECEIPT_ID "ack-" /* the id of a frame of receipts that travels: no user message becomes one on the way */

/* SESSION_EV_TRANSIT: a user message, or receipts, for another node. Valid until the next call on its session. */
struct v09_transit {
	struct node_id source, destination;
	struct bytes type, id;
	uint64_t created_ms;       /* wall, of the author */
	uint8_t ttl;
	unsigned hops;
	bool sealed, returned;     /* returned: it is ours, and came back */
	const struct body *body;   /* for v09.h alone */
};
bool v09_transit_passed(const struct v09_transit *t, const struct node_id *id); /* it is among its hops */

/* What goes on of it: `self` among the hops, one hop less to live, everything else as it came. Its own copy. */
struct v09_forward {
	struct buf body;
	size_t cut;
	uint64_t time_ms;
	uint8_t id_hash[8];
	enum priority priority;
};
/* ttl > 0. ERR_LIMIT: it does not fit any more, or has passed too many. ERR_NOMEM. */
enum err v09_forward_make(const struct v09_transit *t, const struct node_id *self, struct v09_forward *out) MUST_CHECK;
void v09_forward_free(struct v09_forward *f);
/* Under the keys of `s`, with its next sequence number and our outer signature. ERR_WRONG_STATE, ERR_AGAIN while a rekey
 * pauses sending, ERR_FULL, ERR_LIMIT. */
enum err v09_forward_send(struct session *s, const struct v09_forward *f) MUST_CHECK;

/* A message of ours to m->destination, handed to the neighbour of `s`. Sealed for `x25519` with nothing beside it; NULL: in
 * clear, for those who read nothing else. Errors as session_send(). */
enum err v09_send_through(struct session *s, const struct message *m, const uint8_t *x25519) MUST_CHECK;
/* Receipts that we owe to `to`, signed inside: as many of the n as fit one frame, *done. Old nodes pass them on as they do
 * with every type that they do not consume. */
enum err v09_receipts_through(struct session *s, const struct node_id *to, const struct receipt *r, size_t n,
			      size_t *done) MUST_CHECK;

/* "ironmesh/0.9" -> VERSION_OF(0, 9); anything else parses as wire 2.7.1 and 11.3 say (0 on failure;
 * parts above 255 saturate). */
uint16_t v09_version_parse(struct bytes text);

/* Is this unit the challenge that opens a handshake (wire 2.3)? Then its nonce, and whether its `suites`
 * name im2 (im2.md 4.1). The parser is the one of the session, so both see the same. */
bool v09_challenge_peek(struct bytes text, uint8_t nonce[static 32], bool *offers_im2);

#endif
