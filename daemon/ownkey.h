/*
 * ownkey.h -- the identity of this node at start: loaded, migrated, or made.
 */
#ifndef DAEMON_OWNKEY_H
#define DAEMON_OWNKEY_H

#include "base/text.h"
#include "trust/keyfile.h"

struct ownkey {
	struct keyring *keyring;
	struct keyfile_info info;
	bool made; /* there was none */
	char name[NAME_MAX_CHARS + 1]; /* `name` as given, else the one in the file */
};

/*
 * Costs one Argon2id, two more when a key file of the old software is rewritten as version 3 (its
 * X25519 identity would else be another one at every start). A new identity needs `name`, and is
 * stored in clear only when `clear`. `passphrase` is not looked at when the file is in clear.
 */
enum err ownkey_open(const char *path, struct bytes passphrase, const char *name, bool clear,
		     struct env *env, struct ownkey *out, struct fault *f) MUST_CHECK;
void ownkey_close(struct ownkey *k);

#endif
