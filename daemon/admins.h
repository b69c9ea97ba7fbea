/*
 * admins.h -- the set of administrators who together may revoke any identity (im2.md 13.4 b): k of n public keys,
 * the same on every node of the mesh. One of them alone can set an identity aside for a day.
 */
#ifndef DAEMON_ADMINS_H
#define DAEMON_ADMINS_H

#include "trust/identity.h"

#define ADMINS_MAX 16 /* a record has at most so many signers */

struct admins {
	uint8_t ed[ADMINS_MAX][ED_BYTES];
	size_t n;
	unsigned quorum; /* 0: not said yet */
};

/* Keys as `ironmesh keys show` prints them (base64), or 64 hex digits, between commas or white space. ERR_USAGE
 * names the bad one; nothing is added then. */
enum err admins_add(struct admins *a, const char *list, struct fault *f) MUST_CHECK;
/* After all options: takes the majority when nothing was said. ERR_USAGE when the set cannot work. */
enum err admins_settle(struct admins *a, struct fault *f) MUST_CHECK;

#endif
