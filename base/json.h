/*
 * json.h -- strict JSON in (jansson), and the canonical JSON of the 0.9 wire out.
 *
 * In: duplicates, trailing text, bad UTF-8, NaN/Infinity and over-deep input are refused; the size
 * is limited before parsing. Out: wire 0.4 "J-canonical" and "J-compact" byte for byte as the
 * Python encoder prints it: ASCII, \uXXXX lower case, U+007F escaped, shortest round-trip doubles.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>

#include "base/buf.h"

#define JSON_DEPTH_MAX 64

/* Top value must be an object or array. "\u0000" is refused too: strings that come out of here are
 * C strings. So are integers beyond 64 bits and unpaired surrogates. ERR_LIMIT over max_bytes or depth 64 (the top container is
 * depth 0, a value at depth 65 fails), ERR_MALFORMED otherwise. Caller decref's *out. */
enum err json_load_strict(struct bytes in, size_t max_bytes, json_t **out) MUST_CHECK;

enum json_order { JSON_INSERTION, JSON_SORTED };
/* Separators "," and ":"; JSON_SORTED sorts keys recursively by code point. A jansson real always
 * prints with a point or exponent (wire 0.4 rule 4); an integer never does. */
enum err json_write(struct buf *b, const json_t *v, enum json_order order) MUST_CHECK;
/* Pieces, for writers that do not build a tree. */
void json_add_string(struct buf *b, struct bytes utf8); /* with quotes; bad UTF-8 sets b->err */
/* The same in UTF-8: only what JSON forbids is escaped. `utf8` was checked, or cleaned by text_safe(). */
void json_add_text(struct buf *b, struct bytes utf8);
void json_add_double(struct buf *b, double v);          /* Python repr; not finite sets b->err */

/* Typed access. ERR_NOTFOUND when absent (*out keeps what the caller put there), ERR_MALFORMED when
 * the type or the range is wrong; null is a wrong type. */
const char *json_str(const json_t *obj, const char *key); /* NULL when absent or not a string */
enum err json_get_str(const json_t *obj, const char *key, struct bytes *out) MUST_CHECK;
enum err json_get_int(const json_t *obj, const char *key, int64_t min, int64_t max, int64_t *out) MUST_CHECK;

#endif
