/*
 * keyfile_internal.h -- parsing with the agent name as the file spells it, for rewriting it.
 */
#ifndef TRUST_KEYFILE_INTERNAL_H
#define TRUST_KEYFILE_INTERNAL_H

#include "trust/keyfile.h"

/* As keyfile_parse(); appends the stored agent_name to `name` (may be NULL) unchanged. */
enum err keyfile_parse_named(struct bytes json, struct bytes passphrase, struct env *env,
			     struct keyring **out, struct keyfile_info *info, struct buf *name,
			     struct fault *f) MUST_CHECK;

#endif
