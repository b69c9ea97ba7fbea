/*
 * fields.h -- what im2 adds to a message, as programs see it (docs/control.md): words, hex and JSON.
 *
 * Pure. Everything that comes out may be shown: texts of peers are cleaned.
 */
#ifndef DAEMON_FIELDS_H
#define DAEMON_FIELDS_H

#include "base/json.h"
#include "protocol/message.h"

#define KIND_WORD_MAX 16
#define CONTENT_TYPE_MAX 127

/* "message", "request", ... "end"; "kind-7" for one that has no word. */
const char *kind_word(uint8_t kind, char out[static KIND_WORD_MAX]);
enum err kind_parse(struct bytes word, uint8_t *out) MUST_CHECK;
/* The word for the wire: "MSG", "REQ", ... */
const char *kind_type(uint8_t kind);

/* The lower-case word of a priority; "normal" for a number that is none. */
const char *priority_text(uint8_t p);

/* The media type of a body: the one of its number, else what the sender wrote. Cleaned. */
const char *content_type_text(const struct message_ext *x, char *out, size_t cap);
/* Sets ctype or ctype_text. ERR_MALFORMED: empty, over 127 bytes, or with control characters. */
enum err content_type_parse(struct bytes text, struct message_ext *x) MUST_CHECK;

/* A message id as 16 bytes: 32 hex digits, or a UUID. */
enum err wire_id_parse(struct bytes text, uint8_t out[static MSG_WIRE_ID]) MUST_CHECK;

/* The bytes a row keeps (message_meta_write) and its type word, read back. What does not parse is all zero, with
 * the kind of the type. */
void fields_of_row(struct bytes meta, const char *type, struct message_ext *out);
/* conversation, reply_to, kind, expects_reply, turn, max_turns, content_type, and end_reason when there is one. */
void fields_json(json_t *o, const struct message_ext *x);
/* The same as text, each with a comma before it. */
void fields_add_all(struct buf *b, const struct message_ext *x);
/* And without those that say nothing. */
void fields_add(struct buf *b, const struct message_ext *x);
/* ,"body":"..." or ,"body_b64":"...": text when it is UTF-8 and base64 would not be much shorter. */
void fields_add_body(struct buf *b, struct bytes body);

#endif
