/*
 * revocation.h -- the payload of REVOCATION (wire 4.7), signed by who revokes.
 *
 * The signature has no context of its own: it is over the hex text of both ids and the seconds, without separators. The
 * lengths of the ids are fixed, so that text means one thing. Nothing in the payload besides these three is signed: `reason`
 * is anybody's.
 */
#ifndef PROTOCOL_V09_REVOCATION_H
#define PROTOCOL_V09_REVOCATION_H

#include "base/json.h"
#include "trust/keyring.h"

#define REVOCATION_PAYLOAD_MAX 4096
#define REVOCATION_REASON_MAX 200
#define REVOCATION_OLD_MS (30ull * 86400000u)
#define REVOCATION_FUTURE_MS 300000u

struct revocation {
	struct node_id target, revoker;
	uint64_t at_s;                              /* wall, seconds */
	uint8_t signature[SIG_BYTES];
	char reason[REVOCATION_REASON_MAX + 1];     /* cleaned */
};
/* Appends the payload, revoked by `k`. `reason` is cut to REVOCATION_REASON_MAX. */
enum err revocation_write(const struct keyring *k, const struct node_id *target, const char *reason, uint64_t wall_ms,
			  struct buf *out) MUST_CHECK;
/* Form alone. ERR_LIMIT, ERR_MALFORMED. */
enum err revocation_read(struct bytes payload, struct revocation *out) MUST_CHECK;
bool revocation_verify(const struct revocation *r, const uint8_t ed[static ED_BYTES]);
/* Not older than 30 days, not more than 300 s ahead. ERR_OK, ERR_EXPIRED, ERR_AGAIN. */
enum err revocation_fresh(const struct revocation *r, uint64_t wall_ms);

#endif
