#include "daemon/unlock.h"

#include <unistd.h>

#include "base/file.h"
#include "base/passphrase.h"
#include "base/prompt.h"

static enum err nobody_said(struct fault *f)
{
	fault_set(f, ERR_USAGE, EXIT_USAGE, "the passphrase of the mesh is needed, and stdin is not a terminal");
	fault_means(f, "Give it with --passphrase-file FILE. The first machine of a mesh makes one with "
		       "`ironmesh keys generate --name NAME --new-mesh FILE`. A machine that is to be paired "
		       "starts with --no-passphrase.");
	fault_next(f, "ironmesh run --passphrase-file FILE");
	return ERR_USAGE;
}

static enum err find_mesh(const struct run_config *c, const char *home, bool fresh, struct unlock *u,
			  struct fault *f)
{
	char path[4096];
	enum err e;

	if (c->no_passphrase)
		return ERR_OK;
	if (c->passphrase_file)
		return passphrase_from_file(c->passphrase_file, &u->mesh, f);
	if (c->passphrase_fd >= 0)
		return passphrase_from_fd(c->passphrase_fd, &u->mesh, f);
	e = passphrase_from_credential("ironmesh", &u->mesh, f);
	if (e != ERR_NOTFOUND)
		return e;
	if (path_join(path, sizeof(path), home, "passphrase") == ERR_OK && access(path, F_OK) == 0)
		return passphrase_from_file(path, &u->mesh, f);
	e = passphrase_from_env("IRONMESH_PASSPHRASE", &u->mesh, f);
	if (e != ERR_NOTFOUND) {
		u->from_environment = true;
		return e;
	}
	return isatty(STDIN_FILENO) ? prompt_passphrase("Passphrase of the mesh: ", fresh, &u->mesh, NULL, f) :
				      nobody_said(f);
}

enum err unlock_find(const struct run_config *c, const char *home, bool fresh, struct unlock *out,
		     struct fault *f)
{
	struct unlock u = { 0 };
	enum err e = find_mesh(c, home, fresh, &u, f);

	if (e == ERR_OK && c->no_passphrase && !c->key_passphrase_file && (c->clear_keys || !fresh)) {
		u.key_is_mesh = true; /* no passphrase at all: the key file is, or will be, in clear */
	} else if (e == ERR_OK) {
		e = c->key_passphrase_file ? passphrase_from_file(c->key_passphrase_file, &u.key, f) :
					     passphrase_from_credential("ironmesh-key", &u.key, f);
		if (e == ERR_NOTFOUND && c->no_passphrase) {
			fault_set(f, ERR_USAGE, EXIT_USAGE, "the key of this node needs a passphrase of its own");
			fault_means(f, "without the passphrase of the mesh nothing else encrypts it on disk");
			fault_next(f, "ironmesh run --no-passphrase --key-passphrase-file FILE   (or --clear-keys)");
			e = ERR_USAGE;
		} else if (e == ERR_NOTFOUND && !c->key_passphrase_file) {
			u.key_is_mesh = true;
			e = ERR_OK;
		}
	}
	if (e != ERR_OK) {
		/* A passphrase that cannot be had is a wrong start, whatever the file system called it. */
		if (f)
			f->code = EXIT_USAGE;
		unlock_fini(&u);
		return e;
	}
	*out = u;
	return ERR_OK;
}

void unlock_fini(struct unlock *u)
{
	secret_free(&u->mesh);
	secret_free(&u->key);
}
