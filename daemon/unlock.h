/*
 * unlock.h -- where `ironmesh run` takes its two passphrases from.
 *
 * The passphrase of the mesh: --passphrase-file, --passphrase-fd, the systemd credential "ironmesh",
 * the file `passphrase` in the home folder, $IRONMESH_PASSPHRASE with a warning, a prompt on the
 * terminal. With --unattended nobody is asked: without one the node starts as with --no-passphrase.
 *
 * The passphrase of the key file: --key-passphrase-file, the credential "ironmesh-key", the file
 * `key-passphrase` in the home folder; else that of the mesh. With --unattended and neither, a new
 * identity gets one, kept in that file.
 */
#ifndef DAEMON_UNLOCK_H
#define DAEMON_UNLOCK_H

#include "base/env.h"
#include "base/secret.h"
#include "daemon/config.h"

struct unlock {
	struct secret mesh, key;
	bool key_is_mesh;
	bool without; /* no passphrase of the mesh, and that is meant: a pairing brings what is needed */
	bool from_environment; /* others may have seen it: a warning */
};

/* `fresh`: an identity will be made, so a prompt asks twice. ERR_USAGE with fault when there is none. */
enum err unlock_find(const struct run_config *c, const char *home, bool fresh, struct env *env,
		     struct unlock *out, struct fault *f) MUST_CHECK;
/* The file `key-passphrase` of a home folder. ERR_NOTFOUND, and no fault: there is none. */
enum err unlock_home_key(const char *home, struct secret *out, struct fault *f) MUST_CHECK;
void unlock_fini(struct unlock *u);
static inline struct bytes unlock_key(const struct unlock *u)
{
	return secret_bytes(u->key_is_mesh ? &u->mesh : &u->key);
}

#endif
