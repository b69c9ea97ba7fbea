/*
 * text.h -- text from strangers, and the text encodings of the 0.9 wire.
 *
 * Everything a peer sent is shown through text_safe(): no control, escape or invalid UTF-8 byte
 * reaches a terminal, a log or a page. hex and base64 decode strictly: one spelling per value.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/buf.h"

#define NAME_MAX_CHARS 64

/* Copies printable text to out[cap] (always NUL-terminated, cut at a character with "..."):
 * control characters, bidi overrides and bad UTF-8 become '?'. Returns out. */
const char *text_safe(struct bytes in, char *out, size_t cap);
bool utf8_valid(struct bytes in);
/* The code point at offset `at`: returns its length in bytes, 0 at the end or when it is bad. */
size_t utf8_decode(struct bytes in, size_t at, uint32_t *cp);
size_t utf8_count(struct bytes in); /* code points of valid UTF-8 */

/* Agent name or alias: [A-Za-z0-9._-]{1,64} (wire 0.4), not starting with '-'. */
bool name_valid(struct bytes in);

void hex_encode(struct bytes in, char *out); /* out: 2*n+1 bytes, lower case */
/* Lower-case only, exact length 2*n. */
enum err hex_decode(struct bytes in, uint8_t *out, size_t n) MUST_CHECK;
bool hex_valid(struct bytes in, size_t digits); /* exactly `digits` lower-case hex digits */

#define BASE64_LEN(n) (((n) + 2) / 3 * 4)
/* Standard alphabet with padding. Writes BASE64_LEN(n) characters and a NUL. OpenSSL speed. */
void base64_encode(struct bytes in, char *out);
enum err buf_add_base64(struct buf *b, struct bytes in) MUST_CHECK;
/* Strict: canonical padding, no white space, zero spare bits. out[cap]; *n = bytes written.
 * ERR_LIMIT when the value is larger than cap, else ERR_MALFORMED. On an error `out` may hold a
 * partial value. */
enum err base64_decode(struct bytes in, uint8_t *out, size_t cap, size_t *n) MUST_CHECK;
enum err base64_decode_exact(struct bytes in, uint8_t *out, size_t n) MUST_CHECK;
enum err buf_add_base64_decoded(struct buf *b, struct bytes in) MUST_CHECK;

/* "5s", "250ms", "2m", "1h", "1d", or bare seconds; fractions allowed ("0.5s"). */
enum err duration_parse(struct bytes in, uint64_t *ms) MUST_CHECK;
/* Wall milliseconds as RFC 3339 UTC with milliseconds: "2026-01-02T03:04:05.678Z". */
#define RFC3339_LEN 25
const char *rfc3339(uint64_t wall_ms, char out[static RFC3339_LEN]);
/* Single quotes around what a shell would take apart. `cap` of 4 n + 3 is enough for n bytes. */
const char *word_for_shell(const char *word, char *buf, size_t cap);
/* Edit distance for "did you mean"; at most `limit` + 1. */
unsigned edit_distance(const char *a, const char *b, unsigned limit);

#endif
