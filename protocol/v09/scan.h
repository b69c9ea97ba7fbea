/*
 * scan.h -- a bounded, strict JSON tokenizer over bytes in memory, without a tree.
 *
 * It is only as large as the frame body needs (body.h). It accepts a subset of what
 * json_load_strict() accepts; the one thing it does not look for is duplicate keys below the top
 * level (body.c asks jansson about those rare bodies).
 */
#ifndef PROTOCOL_V09_SCAN_H
#define PROTOCOL_V09_SCAN_H

#include "base/wire.h"

#define SCAN_DEPTH_MAX 64 /* the top container is depth 0, a value at depth 65 fails (wire 0.4) */

enum tok_kind {
	TOK_NONE,
	TOK_STRING,
	TOK_INTEGER,
	TOK_REAL,
	TOK_TRUE,
	TOK_FALSE,
	TOK_NULL,
	TOK_OBJECT,
	TOK_ARRAY
};

struct tok {
	enum tok_kind kind;
	bool escaped; /* a string with a backslash: p[0..n) is not its text yet */
	uint8_t *p;   /* strings: between the quotes; others: the whole value */
	size_t n;
};

struct scan {
	uint8_t *p, *end;
	enum err err; /* ERR_SHORT at the end of the input, else ERR_MALFORMED; sticky */
};

struct scan scan_init(uint8_t *p, size_t n);
void scan_space(struct scan *s);
/* Skips white space, then exactly `c`. */
bool scan_char(struct scan *s, char c);
/* True and consumed when the next byte after white space is `c`; not an error otherwise. */
bool scan_try(struct scan *s, char c);
bool scan_string(struct scan *s, struct tok *out);
/* Any value, validated to its end; `depth` is the depth of the value itself. */
bool scan_value(struct scan *s, unsigned depth, struct tok *out);
/* ERR_TRAILING when anything but white space is left. */
enum err scan_end(struct scan *s) MUST_CHECK;

/* The text of a string token; unescapes in place the first time (the source changes). */
struct bytes tok_text(struct tok *t);
/* Integers in min..max without a sign surprise; ERR_MALFORMED for any other token. */
enum err tok_integer(const struct tok *t, int64_t min, int64_t max, int64_t *out) MUST_CHECK;
/* Integer or real; finite. */
enum err tok_number(const struct tok *t, double *out) MUST_CHECK;

#endif
