/*
 * psks.h -- the pair secrets of one peer and the rule that keeps two nodes from losing each other (im2.md 6.2).
 *
 * Pure: the caller stores the result durably before the unit that depends on it leaves. A secret of 32
 * bytes; its id is SHA-256("ironmesh-im2/psk-id\0" || secret)[0:4]; id 00{4} means none.
 */
#ifndef TRUST_PSKS_H
#define TRUST_PSKS_H

#include "base/wire.h"

#define PSK_BYTES 32
#define PSK_ID 4
#define PSK_CANDIDATES 4

struct psk {
	uint8_t key[PSK_BYTES];
	uint8_t id[PSK_ID];
};
struct psks {
	bool has_confirmed;
	struct psk confirmed;
	uint8_t candidates_n;                    /* newest first */
	struct psk candidates[PSK_CANDIDATES];
};

void psk_of(const uint8_t key[static PSK_BYTES], struct psk *out);
/* Both return whether anything changed (and so must be stored). A psk that is already confirmed or a
 * candidate does not appear twice. One whose id would be 00{4} cannot be named on the wire: both ends
 * leave it out, and go on with what they had. */
bool psks_candidate(struct psks *p, const uint8_t key[static PSK_BYTES]);
/* Becoming confirmed makes the former confirmed psk the newest candidate. *replaced (may be NULL): there was
 * another one before (audit PSK_REPLACED). */
bool psks_confirm(struct psks *p, const uint8_t key[static PSK_BYTES], bool *replaced);
/* The i-th psk an initiator tries: confirmed, then candidates newest first; then NULL. With nothing confirmed
 * the first is "none": *none is true and the result NULL. */
const struct psk *psks_try(const struct psks *p, unsigned i, bool *none);
/* May a responder use this id? 00{4} only while nothing is confirmed: then *none. NULL and !*none: refuse. */
const struct psk *psks_accept(const struct psks *p, const uint8_t id[static PSK_ID], bool *none);
void psks_wipe(struct psks *p);

#endif
