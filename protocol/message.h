/*
 * message.h -- the one neutral message, the same for every generation of the wire.
 *
 * All `struct bytes` are borrowed. `source` is the author; the neighbour that handed the message
 * over is known to whoever owns the session.
 */
#ifndef PROTOCOL_MESSAGE_H
#define PROTOCOL_MESSAGE_H

#include "base/text.h"
#include "base/wire.h"
#include "trust/identity.h"

#define MSG_ID_MAX 128
#define MSG_TYPE_MAX 32
#define MSG_BODY_MAX 785000u /* what fits one signed, unsealed 0.9 frame over WebSocket (wire 1.6) */
#define MSG_BODY_SEALED_MAX 392000u * 2 - 64 /* sealed and stripped */

enum priority { PRIO_LOW, PRIO_NORMAL, PRIO_HIGH, PRIO_CRITICAL, PRIO_COUNT };
const char *priority_word(enum priority p);                        /* "LOW" ... */
enum err priority_parse(struct bytes word, enum priority *out) MUST_CHECK; /* upper or lower case */

struct message {
	struct bytes type;          /* "MSG", "REQ", "RESP", "CONV", or any other upper-case word */
	struct bytes id;            /* 1..128 printable ASCII */
	struct node_id source;
	struct node_id destination; /* hex[0] == 0: "*" */
	uint64_t created_ms;        /* wall, set by the author */
	enum priority priority;
	uint8_t ttl;
	struct bytes body;
	bool source_proven;         /* in: an inner signature by `source` verified */
	bool was_sealed;            /* in: it came end-to-end sealed */
};

#endif
