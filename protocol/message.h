/*
 * message.h -- the one neutral message, the same for every generation of the wire.
 *
 * All `struct bytes` are borrowed. `source` is the author; the neighbour that handed the message
 * over is known to whoever owns the session.
 */
#ifndef PROTOCOL_MESSAGE_H
#define PROTOCOL_MESSAGE_H

#include "base/buf.h"
#include "base/text.h"
#include "base/wire.h"
#include "trust/identity.h"

#define MSG_ID_MAX 128
#define MSG_TYPE_MAX 32
#define MSG_BODY_MAX 1048576u   /* im2 */
#define MSG_BODY_09_MAX 785000u /* what fits one signed, unsealed 0.9 frame over WebSocket (wire 1.6) */
#define MSG_BODY_SEALED_MAX 392000u * 2 - 64 /* sealed and stripped */

enum priority { PRIO_LOW, PRIO_NORMAL, PRIO_HIGH, PRIO_CRITICAL, PRIO_COUNT };
const char *priority_word(enum priority p);                        /* "LOW" ... */
enum err priority_parse(struct bytes word, enum priority *out) MUST_CHECK; /* upper or lower case */

/* What im2 adds (im2.md 9.1, message version 3). All zero is what a plain text is. */
enum message_kind {
	KIND_MESSAGE,
	KIND_REQUEST,
	KIND_RESPONSE,
	KIND_NOTICE,
	KIND_EVENT,
	KIND_ERROR,
	KIND_END
};
#define MSG_EXPECTS_REPLY 1
#define MSG_WANTS_READ 2
#define MSG_NO_STORE 4     /* relays must not keep it */
#define MSG_NO_RECEIPT 8
#define MSG_VOLATILE 16    /* touches no disk; only together with MSG_NO_RECEIPT */
#define MSG_TTL_DEFAULT_S 86400
#define MSG_TTL_MAX_S 2592000
#define MSG_WIRE_ID 16     /* era(8) || seq(8) */

struct message_ext {
	uint8_t kind;
	uint8_t flags;
	uint8_t ctype;              /* 0 UTF-8 text, 1 bytes, 2 JSON, 3 Markdown, 4 CBOR, 5 file manifest, 6 JSON-RPC */
	uint8_t hop, end_reason;
	bool has_conv, has_reply_to;
	uint8_t conv[16], reply_to[16];
	uint16_t turn, max_turns;
	uint32_t ttl_s;             /* 0 = default */
	uint64_t deadline_ms;       /* 0 = none */
	uint64_t budget_ms, budget_tokens, budget_bytes;
	char ctype_text[128];       /* media type; empty = by ctype */
};
/* Canonical bytes of `x` for the store (a MSG structure with neither id, times nor body); empty for all zero.
 * At most MSG_META_MAX. */
#define MSG_META_MAX 320
void message_meta_write(const struct message_ext *x, struct buf *out);
enum err message_meta_read(struct bytes in, struct message_ext *out) MUST_CHECK;
/* "MSG" "REQ" "RESP" "NOTICE" "EVENT" "ERROR" "END"; kind 0 inside a conversation is "CONV"; others "KIND-<n>". */
struct bytes message_type_of(const struct message_ext *x, char out[static MSG_TYPE_MAX + 1]);
/* The kind of a type word; ERR_MALFORMED for an unknown one. CONV is kind 0. */
enum err message_kind_of(struct bytes type, uint8_t *kind) MUST_CHECK;

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
	/* im2: id is the 32 hex characters of wire_id, unless the sender's user chose another word. */
	bool has_wire_id;
	uint8_t wire_id[MSG_WIRE_ID];
	uint8_t digest[16];         /* in, im2: content digest (9.5) */
	uint64_t settled;           /* im2, only signed: no lower seq of this era will come again (9.5); 0 = not said */
	struct message_ext ext;
};

#endif
