/*
 * cap.h -- the body of a CAP record: what its author can do (im2.md 13.3, type 1).
 */
#ifndef PROTOCOL_IM2_CAP_H
#define PROTOCOL_IM2_CAP_H

#include "protocol/im2/schema.h"

#define IM2_CAPS_MAX 256
#define IM2_CAP_TEXT_MAX 128

/* `names`: n of 1..IM2_CAP_TEXT_MAX bytes of UTF-8, in any order, no two alike; written in the order that the wire wants.
 * IM2_E_LIMIT (of the names, or of 16,000 bytes together), IM2_E_LENGTH; nothing is appended then. */
enum im2_refusal im2_cap_write(const struct bytes *names, size_t n, struct buf *out);
/* Checks the body and gives the names in the order of the wire; they point into `body`. One name may stand there
 * twice, with other words beside it. *n <= IM2_CAPS_MAX. */
enum im2_refusal im2_cap_read(struct bytes body, struct bytes names[static IM2_CAPS_MAX], size_t *n);

#endif
