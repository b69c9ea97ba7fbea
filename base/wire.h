/*
 * wire.h -- bounded reading and writing of bytes.
 *
 * `struct bytes` is always borrowed: valid until its source changes. `struct rd` and `struct wr`
 * keep their first error and do nothing after it, so a parser is one statement per field and asks
 * once, at the end. Nothing read is acted on before rd_end() returned ERR_OK.
 */
#ifndef BASE_WIRE_H
#define BASE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

struct bytes {
	const uint8_t *p;
	size_t n;
};

static inline struct bytes bytes_of(const void *p, size_t n)
{
	return (struct bytes){ .p = p, .n = n };
}
static inline struct bytes bytes_str(const char *s) /* without the final NUL */
{
	return (struct bytes){ .p = (const uint8_t *)s, .n = s ? strlen(s) : 0 };
}
#define BYTES_LIT(s) bytes_of((s), sizeof(s) - 1)
#define BYTES_ARR(a) bytes_of((a), sizeof(a))
static inline bool bytes_eq(struct bytes a, struct bytes b) /* not constant time */
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

struct rd {
	const uint8_t *p;
	size_t left;
	enum err err;
};

struct rd rd_init(const void *p, size_t n);
void rd_fail(struct rd *r, enum err e); /* keeps the first error */
uint8_t rd_u8(struct rd *r);
uint16_t rd_u16(struct rd *r); /* big-endian, as are all below */
uint32_t rd_u32(struct rd *r);
uint64_t rd_u64(struct rd *r);
struct bytes rd_bytes(struct rd *r, size_t n);       /* borrowed; empty after an error */
void rd_copy(struct rd *r, void *out, size_t n);     /* zeroes `out` after an error */
struct bytes rd_rest(struct rd *r);
enum err rd_end(struct rd *r) MUST_CHECK;            /* ERR_TRAILING when bytes are left */

struct wr {
	uint8_t *p;
	size_t cap, n;
	enum err err; /* ERR_LIMIT when it does not fit */
};

struct wr wr_init(void *p, size_t cap);
void wr_u8(struct wr *w, uint8_t v);
void wr_u16(struct wr *w, uint16_t v);
void wr_u32(struct wr *w, uint32_t v);
void wr_u64(struct wr *w, uint64_t v);
void wr_bytes(struct wr *w, struct bytes b);
uint8_t *wr_reserve(struct wr *w, size_t n); /* NULL after an error */
enum err wr_end(const struct wr *w, struct bytes *out) MUST_CHECK;

#endif
