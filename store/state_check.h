/*
 * state_check.h -- whether the files of a home folder at rest fit together: of a snapshot, or of what was unpacked.
 *
 * The key file is whole and says who it is; the database passes SQLite's integrity check; with the derived keys also: the database
 * opens with this identity, the trust store carries its MAC, the audit log is an unbroken chain up to its signed head.
 * Reads only. Without a keyring, so on any thread.
 */
#ifndef STORE_STATE_CHECK_H
#define STORE_STATE_CHECK_H

#include "base/env.h"
#include "trust/keyring.h"

/* What a keyring derives for the files. */
struct state_keys {
	bool known;
	struct node_id id;
	uint8_t ed[ED_BYTES];
	struct secret wrap, mac, box, audit;
};
enum err state_keys_of(const struct keyring *k, struct state_keys *out) MUST_CHECK;
void state_keys_fini(struct state_keys *k); /* safe on a zeroed one */

struct state_report {
	struct node_id id;
	char name[257];
	bool with_keys; /* also what needs the keys was checked */
	uint64_t audit_entries, pins;
	bool database; /* there is one */
};
/* `k` may be NULL or not known. ERR_CORRUPT, ERR_AUTH, ERR_MALFORMED, ...: fault says which file, and why. */
enum err state_check(const char *folder, const struct state_keys *k, struct env *env, struct state_report *out,
		     struct fault *f) MUST_CHECK;

#endif
