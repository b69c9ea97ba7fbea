/*
 * message.h -- messages of the inbox on a terminal.
 */
#ifndef CLI_MESSAGE_H
#define CLI_MESSAGE_H

#include "cli/command.h"

/* The body of a message object into `b`; ERR_NOTFOUND when it carries none. */
enum err message_body(const json_t *message, struct buf *b) MUST_CHECK;
/* The beginning of it on one line, cleaned; "(12 bytes, not text)" for bytes. */
const char *message_preview(const json_t *message, char *buf, size_t cap);
/* A header line, fields that say something and the cleaned text; `full`: with those that always do. `raw`:
 * exactly the bytes of the body and nothing else. */
void message_print(const struct cli *c, const json_t *message, bool raw, bool full);
void message_table(const struct cli *c, const json_t *messages);

/* Fields of im2 that say something, one a line: conversation, reply, turn, ... */
void message_fields(const struct cli *c, const json_t *message, bool full);

/* The list `timeline` of a message, a line each; nothing when there is none. */
void message_timeline(const struct cli *c, const json_t *m);

#endif
