/*
 * pins_json_internal.h -- values and records of the trust store as JSON, shared by the pins_json*.c files.
 */
#ifndef TRUST_PINS_JSON_INTERNAL_H
#define TRUST_PINS_JSON_INTERNAL_H

#include "trust/pins_internal.h"

/* Reads members of `o`; keeps its first error, like struct rd. An absent member is empty, zero or
 * the given default. */
struct jr {
	const json_t *o;
	enum err err;
};

void jr_fail(struct jr *r, enum err e);
struct bytes jr_bytes(struct jr *r, const char *key);
void jr_text(struct jr *r, const char *key, char *out, size_t cap);
/* An address is compared with what is dialled: cleaned, it would be another one. */
void jr_address(struct jr *r, const char *key, char out[static ADDRESS_MAX + 1]);
bool jr_bool(struct jr *r, const char *key, bool absent);
uint64_t jr_int(struct jr *r, const char *key, uint64_t max);
/* Float seconds of the file to milliseconds; whole numbers occur as well. */
uint64_t jr_seconds(struct jr *r, const char *key);
bool jr_b64(struct jr *r, const char *key, uint8_t *out, size_t n); /* false when absent or bad */
void jr_id(struct jr *r, const char *key, struct node_id *out);
/* A deep copy of what other software wrote and we do not interpret; NULL when there is none. */
enum err jr_extra(const json_t *from, const char *const *own, size_t n, json_t **out) MUST_CHECK;

/* Takes `v`; a NULL from a failed allocation is remembered. */
void jw_put(json_t *o, const char *key, json_t *v, bool *ok);
json_t *jw_seconds(uint64_t ms);
json_t *jw_b64(const uint8_t *p, size_t n); /* at most 32 bytes */

/* The members of im2. After x25519. */
void pins_read_im2(struct jr *r, struct rec *rec);
void pins_write_im2(const struct rec *r, json_t *o, bool *ok);
/* {"host:port": "id of the owner", ...}; NULL: none. */
enum err pins_read_im2_addresses(struct im2_set *s, const json_t *o) MUST_CHECK;
json_t *pins_write_im2_addresses(const struct im2_set *s, bool *ok);

#endif
