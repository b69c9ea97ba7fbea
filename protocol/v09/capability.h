/*
 * capability.h -- the payload of CAPABILITY_ANNOUNCE (wire 4.6), signed by its origin.
 *
 * The signature covers the filtered list: what is no non-empty string is left out before it is verified, as every old
 * receiver does. Here the list is shorter than theirs (256 names of 128 bytes): a longer one is refused, not cut, since a
 * cut list would not verify.
 */
#ifndef PROTOCOL_V09_CAPABILITY_H
#define PROTOCOL_V09_CAPABILITY_H

#include "base/json.h"
#include "trust/keyring.h"

#define CAPABILITY_PAYLOAD_MAX 65536
#define CAPABILITY_NAMES_MAX 256
#define CAPABILITY_NAME_MAX 128
#define CAPABILITY_FRESH_MS 300000

/* Appends the payload of our own announcement. `names` sorted by code point. */
enum err capability_write(const struct keyring *k, const char *const *names, size_t n, uint64_t wall_ms,
			  struct buf *out) MUST_CHECK;

struct capability {
	json_t *root;              /* what the names point into; capability_free() */
	char origin[NODE_ID_LEN + 1]; /* "" when the sender left it out */
	uint64_t announced_ms;     /* wall; 0 when unsigned */
	bool is_signed;
	uint8_t signature[SIG_BYTES];
	size_t n;
	const char *names[CAPABILITY_NAMES_MAX];
};
/* Form alone. ERR_MALFORMED, ERR_LIMIT. `out` needs capability_free() only on ERR_OK. */
enum err capability_read(struct bytes payload, struct capability *out) MUST_CHECK;
bool capability_verify(const struct capability *c, const uint8_t ed[static ED_BYTES]);
void capability_free(struct capability *c);

#endif
