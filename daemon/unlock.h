/*
 * unlock.h -- where `ironmesh run` takes its two passphrases from.
 *
 * The passphrase of the mesh: --passphrase-file, --passphrase-fd, the systemd credential "ironmesh",
 * the file `passphrase` in the home folder, $IRONMESH_PASSPHRASE with a warning, a prompt on the
 * terminal. The passphrase of the key file is the same one unless --key-passphrase-file or the
 * credential "ironmesh-key" says otherwise.
 */
#ifndef DAEMON_UNLOCK_H
#define DAEMON_UNLOCK_H

#include "base/secret.h"
#include "daemon/config.h"

struct unlock {
	struct secret mesh, key;
	bool key_is_mesh;
	bool from_environment; /* others may have seen it: a warning */
};

/* `fresh`: an identity will be made, so a prompt asks twice. ERR_USAGE with fault when there is none. */
enum err unlock_find(const struct run_config *c, const char *home, bool fresh, struct unlock *out,
		     struct fault *f) MUST_CHECK;
void unlock_fini(struct unlock *u);
static inline struct bytes unlock_key(const struct unlock *u)
{
	return secret_bytes(u->key_is_mesh ? &u->mesh : &u->key);
}

#endif
