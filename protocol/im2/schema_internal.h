/*
 * schema_internal.h -- how the tables of schema_*.c are written: one line per field, as im2.md prints it.
 *
 * After the fixed arguments stand REQUIRED, DEFAULT(n), ASCENDING, or any member of struct im2_rule.
 */
#ifndef PROTOCOL_IM2_SCHEMA_INTERNAL_H
#define PROTOCOL_IM2_SCHEMA_INTERNAL_H

#include "protocol/im2/schema.h"

#define IM2_STRUCT_BYTES 1048576 /* of a structure for which 18.1 names no size */
#define IM2_UINT_MAX INT64_MAX   /* 3.1 */
#define IM2_U32_MAX 4294967295

#define REQUIRED .required = true
#define DEFAULT(n) .has_default = true, .dflt = (n)
#define ASCENDING .ascending = true
#define RULE(t, n, k, ...) {.tag = (t), .name = n, .kind = (k), __VA_ARGS__}
#define UINT(t, n, a, b, ...) RULE(t, n, IM2_UINT, .lo = (a), .hi = (b), __VA_ARGS__)
#define BYTES(t, n, a, b, ...) RULE(t, n, IM2_BYTES, .lo = (a), .hi = (b), __VA_ARGS__)
#define TEXT(t, n, a, b, ...) RULE(t, n, IM2_TEXT, .lo = (a), .hi = (b), __VA_ARGS__)
#define NAME(t, n, a, b, ...) RULE(t, n, IM2_NAME, .lo = (a), .hi = (b), __VA_ARGS__)
#define FLAG(t, n) RULE(t, n, IM2_FLAG, .hi = 0)
#define STRUCT(t, n, s, ...) RULE(t, n, IM2_STRUCT, .of = (s), __VA_ARGS__)
/* Lists of `max` elements: of byte strings or texts of a..b bytes, or of structures. */
#define LIST(t, n, k, a, b, max, ...)                                                              \
	RULE(t, n, IM2_LIST, .elem = (k), .elem_lo = (a), .elem_hi = (b), .lo = 1, .hi = (max), __VA_ARGS__)
#define STRUCTS(t, n, s, least, max, ...)                                                          \
	RULE(t, n, IM2_LIST, .elem = IM2_STRUCT, .of = (s), .lo = (least), .hi = (max), __VA_ARGS__)

/* A structure: its table, its size, and what it asks across fields (NULL: nothing). */
#define SCHEMA(id, text, table, bytes, fn)                                                         \
	const struct im2_schema id = {.name = text,                                                \
				      .rules = (table),                                            \
				      .count = sizeof(table) / sizeof((table)[0]),                 \
				      .max_bytes = (bytes),                                        \
				      .across = (fn)};                                             \
	_Static_assert(sizeof(table) / sizeof((table)[0]) <= IM2_FIELDS_MAX, "one bit a field")

enum im2_refusal im2_record_check(struct bytes record); /* 13.1, without signatures */

#endif
