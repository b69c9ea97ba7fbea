/*
 * policy_internal.h -- what the policy*.c files share.
 */
#ifndef TRUST_POLICY_INTERNAL_H
#define TRUST_POLICY_INTERNAL_H

#include "trust/policy.h"

struct rec;

/* How far the list vouches for an identity. */
enum vouch {
	VOUCH_NONE,
	VOUCH_NAME, /* an entry is the name that it claims, and means nobody yet */
	VOUCH_KEY,  /* an entry is this id, one that became it, or an alias or name that is pinned to it */
};

/* `name` is cleaned. *owner (may be NULL): the other peer that is meant by an entry which is its claimed name. */
enum vouch policy_vouches(const struct policy *p, const struct pins *pins, const struct node_id *id, const char *name,
			  const struct rec **owner);
enum err policy_unlisted(struct fault *f, const struct node_id *id, const char *name); /* ERR_DENIED */

bool policy_is_im2(const struct admit_request *r);
/* ERR_DOWNGRADE with its fault when this session may not run on the old wire. `pin` may be NULL. */
enum err policy_old_wire(const struct policy *p, const struct pin *pin, const struct admit_request *r,
			 struct fault *f) MUST_CHECK;

#endif
