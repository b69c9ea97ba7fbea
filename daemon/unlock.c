#include "daemon/unlock.h"

#include <unistd.h>

#include "base/file.h"
#include "base/passphrase.h"
#include "base/prompt.h"
#include "daemon/home.h"

static enum err nobody_said(struct fault *f)
{
	fault_set(f, ERR_USAGE, EXIT_USAGE, "the passphrase of the mesh is needed, and stdin is not a terminal");
	fault_means(f, "Give it with --passphrase-file FILE. The first machine of a mesh makes one with "
		       "`ironmesh keys generate --name NAME --new-mesh FILE`. A machine that is to be paired "
		       "starts with --no-passphrase.");
	fault_next(f, "ironmesh run --passphrase-file FILE");
	return ERR_USAGE;
}

/* A passphrase in the home folder. ERR_NOTFOUND: no such file. */
static enum err from_home(const char *home, const char *name, struct secret *out, struct fault *f)
{
	char path[4096];

	if (path_join(path, sizeof(path), home, name) != ERR_OK || access(path, F_OK) != 0)
		return ERR_NOTFOUND;
	return passphrase_from_file(path, out, f);
}

enum err unlock_home_key(const char *home, struct secret *out, struct fault *f)
{
	return from_home(home, HOME_KEY_PASSPHRASE, out, f);
}

static enum err find_mesh(const struct run_config *c, const char *home, bool fresh, struct unlock *u,
			  struct fault *f)
{
	enum err e;

	u->without = c->no_passphrase;
	if (c->no_passphrase)
		return ERR_OK;
	if (c->passphrase_file)
		return passphrase_from_file(c->passphrase_file, &u->mesh, f);
	if (c->passphrase_fd >= 0)
		return passphrase_from_fd(c->passphrase_fd, &u->mesh, f);
	e = passphrase_from_credential("ironmesh", &u->mesh, f);
	if (e == ERR_NOTFOUND)
		e = from_home(home, "passphrase", &u->mesh, f);
	if (e != ERR_NOTFOUND)
		return e;
	e = passphrase_from_env("IRONMESH_PASSPHRASE", &u->mesh, f);
	if (e != ERR_NOTFOUND) {
		u->from_environment = true;
		return e;
	}
	/* The old wire meets nobody without it. */
	u->without = c->unattended && c->policy.im2 != IM2_OFF;
	if (u->without)
		return ERR_OK;
	return isatty(STDIN_FILENO) ? prompt_passphrase("Passphrase of the mesh: ", fresh, &u->mesh, NULL, f) :
				      nobody_said(f);
}

/* On disk before anything is encrypted with it. */
static enum err make_key_passphrase(const char *home, struct env *env, struct secret *out, struct fault *f)
{
	struct secret pass, line;
	char path[4096];
	enum err e = passphrase_generate(env->random, env->ctx, &pass);

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "no memory for a passphrase");
	e = path_join(path, sizeof(path), home, HOME_KEY_PASSPHRASE);
	if (e == ERR_OK)
		e = secret_new(&line, pass.n + 1);
	if (e == ERR_OK) {
		memcpy(line.p, pass.p, pass.n);
		line.p[pass.n] = '\n';
		e = file_create_secret(path, secret_bytes(&line), f);
		secret_free(&line);
	} else {
		fault_set(f, e, EXIT_GENERIC, "no memory for a passphrase");
	}
	if (e == ERR_OK)
		*out = pass;
	else
		secret_free(&pass);
	return e;
}

static enum err find_key(const struct run_config *c, const char *home, bool fresh, struct env *env,
			 struct unlock *u, struct fault *f)
{
	bool needed = u->without && fresh && !c->clear_keys;
	enum err e;

	if (c->key_passphrase_file)
		return passphrase_from_file(c->key_passphrase_file, &u->key, f);
	e = passphrase_from_credential("ironmesh-key", &u->key, f);
	if (e == ERR_NOTFOUND)
		e = unlock_home_key(home, &u->key, f);
	if (e == ERR_NOTFOUND && needed && c->unattended)
		e = make_key_passphrase(home, env, &u->key, f);
	if (e != ERR_NOTFOUND)
		return e;
	if (needed) {
		fault_set(f, ERR_USAGE, EXIT_USAGE, "the key of this node needs a passphrase of its own");
		fault_means(f, "without the passphrase of the mesh nothing else encrypts it on disk");
		fault_next(f, "ironmesh run --no-passphrase --key-passphrase-file FILE   (or --clear-keys)");
		return ERR_USAGE;
	}
	u->key_is_mesh = true; /* without any, the key file is, or will be, in clear */
	return ERR_OK;
}

enum err unlock_find(const struct run_config *c, const char *home, bool fresh, struct env *env,
		     struct unlock *out, struct fault *f)
{
	struct unlock u = { 0 };
	enum err e = find_mesh(c, home, fresh, &u, f);

	if (e == ERR_OK)
		e = find_key(c, home, fresh, env, &u, f);
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
