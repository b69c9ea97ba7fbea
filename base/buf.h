/*
 * buf.h -- a growing byte buffer that is born with its maximum.
 *
 * Appending past the maximum or a failed allocation sets `err` (sticky); later appends do nothing.
 * buf_fini() wipes nothing: secrets live in secret.h. buf_wipe() wipes and empties.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/wire.h"

struct buf {
	uint8_t *p;
	size_t n, cap, max;
	enum err err;
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);                          /* frees; safe twice */
void buf_reset(struct buf *b);                         /* n = 0, err = OK, memory kept */
void buf_wipe(struct buf *b);                          /* zeroes the memory, then resets */
void buf_trim(struct buf *b, size_t keep);             /* gives memory back above `keep` if empty */
uint8_t *buf_reserve(struct buf *b, size_t n);         /* room for n more, not yet counted; NULL on error */
void buf_add(struct buf *b, struct bytes x);
void buf_add_u8(struct buf *b, uint8_t v);
void buf_add_str(struct buf *b, const char *s);
void buf_add_uint(struct buf *b, uint64_t v);          /* in decimal */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_drop_front(struct buf *b, size_t n);          /* n <= b->n */
const char *buf_cstr(struct buf *b);                   /* adds a NUL that is not counted; "" on error */
static inline struct bytes buf_bytes(const struct buf *b) { return bytes_of(b->p, b->n); }

#endif
