/*
 * inner.h -- the signature of the originator, carried unchanged to the destination (wire 3.6).
 */
#ifndef PROTOCOL_V09_INNER_H
#define PROTOCOL_V09_INNER_H

#include "trust/keyring.h"

enum inner_tag { INNER_ABSENT, INNER_V1, INNER_V2, INNER_OTHER }; /* source_sig_scheme */

/* What v2 covers, exactly as it stands in the body. `payload` is the clear text. */
struct inner_covered {
	struct bytes source, destination, id, payload;
};

/* prefix || LP(source) || LP(destination) || LP(id) || LP(payload), into an emptied `scratch`. */
enum err inner_input(const struct inner_covered *c, struct buf *scratch) MUST_CHECK;
enum err inner_sign(const struct keyring *k, const struct inner_covered *c, struct buf *scratch,
		    uint8_t sig[static SIG_BYTES]) MUST_CHECK;
/* `tag` is not trusted, it only selects: V2 -> v2; V1 -> v1 if allowed; ABSENT -> v2, then v1 if
 * allowed, since relays older than 0.9 drop the tag; anything else fails. */
bool inner_verify(const uint8_t ed[static ED_BYTES], enum inner_tag tag, bool v1_allowed,
		  const struct inner_covered *c, struct buf *scratch,
		  const uint8_t sig[static SIG_BYTES]);

#endif
