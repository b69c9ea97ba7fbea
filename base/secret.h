/*
 * secret.h -- memory for keys: guarded pages, locked where the system allows, wiped at free.
 *
 * Also the constant-time compare and the wipe, so that nobody reaches for memcmp or memset.
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include "base/wire.h"

struct secret {
	uint8_t *p; /* sodium_malloc; NULL when empty */
	size_t n;
};

enum err secret_init_library(void) MUST_CHECK; /* sodium_init(); idempotent */
bool secret_memory_lockable(void);             /* false: say so once at start (no mlock) */

enum err secret_new(struct secret *s, size_t n) MUST_CHECK; /* zeroed */
enum err secret_copy(struct secret *s, struct bytes from) MUST_CHECK;
void secret_free(struct secret *s); /* wipes; accepts an empty one; safe twice */
static inline struct bytes secret_bytes(const struct secret *s) { return bytes_of(s->p, s->n); }

void wipe(void *p, size_t n);
bool ct_equal(const void *a, const void *b, size_t n);
bool is_zero(const void *p, size_t n); /* constant time */

#endif
