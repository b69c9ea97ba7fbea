/* The commands without a daemon: what one needs is opened, the command runs, all is closed. */
#include <limits.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "daemon/commands.h"
#include "daemon/daemon.h"
#include "daemon/home.h"
#include "daemon/loop.h"
#include "base/owner.h"
#include "daemon/restored.h"
#include "daemon/rotation.h"
#include "daemon/unlock.h"
#include "trust/keyfile.h"

struct offline {
	struct command_ctx cx;
	struct env env;
	struct keyring *keyring;
	struct keyfile_info info;
	struct secret kept; /* the passphrase in the home folder; empty */
	int lock;
};

bool daemon_offline(const char *method, bool *needs_key)
{
	const struct command *m = command_find(bytes_str(method));

	if (!m || !(m->flags & CMD_OFFLINE))
		return false;
	*needs_key = (m->flags & CMD_KEY) != 0;
	return true;
}

static enum err in_home(const char *home, const char *name, char out[static PATH_MAX], struct fault *f)
{
	enum err e = path_join(out, PATH_MAX, home, name);

	return e == ERR_OK ? e : fault_set(f, e, EXIT_CONFIG, "the path of the home folder is too long");
}

static enum err open_store(struct offline *o, struct fault *f)
{
	struct store_config c = { .env = &o->env };
	struct secret wrap;
	char path[PATH_MAX];
	enum err e = in_home(o->cx.home, HOME_STORE, path, f);

	/* A command about peers does not make a database. */
	if (e != ERR_OK || access(path, F_OK) != 0)
		return e;
	e = keyring_derive(o->keyring, DERIVE_DB_WRAP, &wrap);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "no memory for the keys");
	c.path = path;
	c.wrap_key = secret_bytes(&wrap);
	e = store_open(&c, &o->cx.store, f);
	secret_free(&wrap);
	return e;
}

static enum err open_state(struct offline *o, struct fault *f)
{
	char path[PATH_MAX];
	enum err e;

	if (o->info.migrated) {
		fault_set(f, ERR_WRONG_STATE, EXIT_GENERIC, "the key file is of version %d", o->info.version);
		fault_means(f, "it is rewritten as version 3 before anything is built on it");
		fault_next(f, "ironmesh keys migrate");
		return ERR_WRONG_STATE;
	}
	e = in_home(o->cx.home, HOME_PINS, path, f);
	if (e == ERR_OK)
		e = pins_load(path, o->keyring, &o->env, &o->cx.pins, f);
	if (e == ERR_OK)
		e = in_home(o->cx.home, HOME_AUDIT, path, f);
	if (e == ERR_OK)
		e = audit_open(path, o->keyring, &o->env, &o->cx.audit, f);
	if (e == ERR_OK)
		e = open_store(o, f);
	if (e == ERR_OK)
		e = restored_finish(o->cx.home, o->cx.store, o->cx.audit, &o->env, f);
	return e;
}

static enum err open_keys(struct offline *o, struct fault *f)
{
	char path[PATH_MAX];
	enum err e = in_home(o->cx.home, HOME_KEYS, path, f);

	if (e == ERR_OK && access(path, F_OK) != 0) {
		fault_set(f, ERR_NOTFOUND, EXIT_GENERIC, "there is no identity in %s", o->cx.home);
		fault_next(f, "ironmesh keys generate --name NAME");
		return ERR_NOTFOUND;
	}
	if (e == ERR_OK && !o->cx.key_passphrase.n) {
		e = unlock_home_key(o->cx.home, &o->kept, f);
		o->cx.key_passphrase = secret_bytes(&o->kept);
		e = e == ERR_NOTFOUND ? ERR_OK : e;
	}
	if (e == ERR_OK)
		e = keyfile_load(path, o->cx.key_passphrase, &o->env, &o->keyring, &o->info, f);
	if (e != ERR_OK)
		return e;
	o->cx.keyring = o->keyring;
	o->cx.name = o->info.name;
	return rotation_finish(o->cx.home, o->keyring, &o->env, f);
}

static void close_all(struct offline *o)
{
	store_close(o->cx.store);
	audit_close(o->cx.audit);
	pins_free(o->cx.pins);
	keyring_free(o->keyring);
	timers_fini(&o->env);
	secret_free(&o->kept);
	if (o->lock >= 0)
		close(o->lock);
}

enum err daemon_call_offline(const char *home, struct bytes passphrase, const char *method, json_t *params,
			     json_t **result, struct fault *f)
{
	const struct command *m = command_find(bytes_str(method));
	struct offline o = { .lock = -1, .cx = { .home = home, .key_passphrase = passphrase } };
	struct fault local = { 0 };
	struct call c = { .cx = &o.cx, .f = f ? f : &local };
	unsigned need = m ? m->flags : 0;
	enum err e = secret_init_library();

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "libsodium does not start");
	if (!(need & CMD_OFFLINE))
		return fault_set(f, ERR_UNSUPPORTED, EXIT_NO_DAEMON, "%s needs a running daemon", method);
	c.f->err = ERR_OK;
	log_setup(&(struct log_config){ .level = LOG_WARN }); /* what went well is in the answer */
	env_of_system(&o.env);
	o.cx.env = &o.env;
	if ((need & CMD_PEER_STATE) && !json_object_get(params, "peer"))
		need &= ~(unsigned)(CMD_KEY | CMD_STATE);
	e = owner_become(home, c.f);
	if (e == ERR_OK && !(need & CMD_LOCAL) && (!(need & CMD_ONLINE) || (need & CMD_KEY))) {
		if (strcmp(method, "keys.generate") == 0)
			e = dir_ensure_private(home, c.f);
		if (e == ERR_OK)
			e = home_lock(home, &o.lock, c.f);
	}
	/* A migration loads the file itself: twice would cost Argon2id twice. */
	if (e == ERR_OK && (need & CMD_KEY) && (need & CMD_ONLINE))
		e = open_keys(&o, c.f);
	if (e == ERR_OK && (need & CMD_STATE))
		e = open_state(&o, c.f);
	if (e == ERR_OK)
		e = command_run(m, &c, params);
	if (e == ERR_OK)
		*result = c.result;
	close_all(&o);
	owner_leave();
	return e;
}
