/*
 * policy_internal.h -- what the policy*.c files share.
 */
#ifndef TRUST_POLICY_INTERNAL_H
#define TRUST_POLICY_INTERNAL_H

#include "trust/policy.h"

bool policy_is_im2(const struct admit_request *r);
/* ERR_DOWNGRADE with its fault when this session may not run on the old wire. `pin` may be NULL. */
enum err policy_old_wire(const struct policy *p, const struct pin *pin, const struct admit_request *r,
			 struct fault *f) MUST_CHECK;

#endif
