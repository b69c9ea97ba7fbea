#include "daemon/ownkey.h"

#include <stdio.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

static enum err peek(const char *path, struct keyfile_info *info, struct fault *f)
{
	struct buf b;
	enum err e = ERR_NOMEM;

	buf_init(&b, KEYFILE_MAX_BYTES);
	/* The whole room at once: growing would leave copies of a clear key behind. */
	if (buf_reserve(&b, KEYFILE_MAX_BYTES))
		e = file_read_secret(path, &b, f);
	if (e == ERR_OK)
		e = keyfile_peek(buf_bytes(&b), info, f);
	buf_wipe(&b);
	buf_fini(&b);
	return e;
}

static enum err make(const char *path, struct bytes passphrase, const char *name, bool clear,
		     struct env *env, struct ownkey *k, struct fault *f)
{
	enum err e;

	if (!name) {
		fault_set(f, ERR_USAGE, EXIT_USAGE, "--name is needed the first time");
		fault_means(f, "There is no identity in this home folder yet; it gets the name of this node.");
		fault_next(f, "ironmesh run --name NAME --passphrase-file FILE");
		return ERR_USAGE;
	}
	e = keyring_generate(env, &k->keyring);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "no memory for the keys");
	if (clear)
		passphrase = (struct bytes){ 0 };
	e = keyfile_create(path, k->keyring, name, passphrase, clear, env, f);
	if (e != ERR_OK)
		return e;
	k->made = true;
	k->info = (struct keyfile_info){ .version = 3, .encrypted = !clear, .id = *keyring_id(k->keyring) };
	memcpy(k->info.ed, keyring_ed(k->keyring), ED_BYTES);
	snprintf(k->info.name, sizeof(k->info.name), "%s", name);
	log_info("identity-made id=%s name=%s encrypted=%s", k->info.id.hex, name, clear ? "no" : "yes");
	return ERR_OK;
}

static enum err load(const char *path, struct bytes passphrase, struct env *env, struct ownkey *k,
		     struct fault *f)
{
	struct keyfile_info info;
	enum err e = peek(path, &info, f);

	if (e == ERR_OK && info.version < 3) {
		log_warn("key-file-migrated from=%d to=3 kept=keys.json.legacy.bak", info.version);
		e = keyfile_migrate(path, passphrase, env, f);
	}
	if (e == ERR_OK)
		e = keyfile_load(path, passphrase, env, &k->keyring, &k->info, f);
	return e;
}

enum err ownkey_open(const char *path, struct bytes passphrase, const char *name, bool clear,
		     struct env *env, struct ownkey *out, struct fault *f)
{
	struct ownkey k = { 0 };
	enum err e = load(path, passphrase, env, &k, f);

	if (e == ERR_NOTFOUND)
		e = make(path, passphrase, name, clear, env, &k, f);
	if (e == ERR_OK && !name && !name_valid(bytes_str(k.info.name))) {
		e = fault_set(f, ERR_USAGE, EXIT_USAGE, "the name in the key file cannot be used: '%.80s'",
			      k.info.name);
		fault_means(f, "The old software took any text; here a name has letters, digits, '.', '_' and '-'.");
		fault_next(f, "ironmesh run --name NAME");
	}
	if (e != ERR_OK) {
		keyring_free(k.keyring);
		return e;
	}
	snprintf(k.name, sizeof(k.name), "%.*s", NAME_MAX_CHARS, name ? name : k.info.name);
	*out = k;
	return ERR_OK;
}

void ownkey_close(struct ownkey *k)
{
	keyring_free(k->keyring);
	k->keyring = NULL;
}
