#include "trust/keyfile.h"

#include <limits.h>
#include <stdio.h>

#include "base/file.h"
#include "trust/keyfile_internal.h"
#include "trust/keyring_internal.h"

/* A key file in memory: wiped, not only freed. */
struct text {
	struct buf json, name;
	struct keyring *keys;
	struct keyfile_info info;
};

static void text_init(struct text *t)
{
	memset(t, 0, sizeof *t);
	buf_init(&t->json, KEYFILE_MAX_BYTES);
	buf_init(&t->name, KEYFILE_MAX_BYTES);
}

static void text_fini(struct text *t)
{
	keyring_free(t->keys);
	buf_wipe(&t->json);
	buf_fini(&t->json);
	buf_fini(&t->name);
}

static enum err text_load(struct text *t, const char *path, struct bytes passphrase,
			  struct env *env, struct fault *f)
{
	/* The whole room at once, so that no reallocation leaves a copy behind. */
	if (!buf_reserve(&t->json, KEYFILE_MAX_BYTES))
		return fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory to read the key file");
	enum err e = file_read_secret(path, &t->json, f);
	if (e != ERR_OK)
		return e;
	return keyfile_parse_named(buf_bytes(&t->json), passphrase, env, &t->keys, &t->info,
				   &t->name, f);
}

/* The file as it is, without its keys: they are elsewhere. */
static enum err text_peek(struct text *t, const char *path, struct fault *f)
{
	if (!buf_reserve(&t->json, KEYFILE_MAX_BYTES))
		return fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory to read the key file");
	enum err e = file_read_secret(path, &t->json, f);
	return e == ERR_OK ? keyfile_peek(buf_bytes(&t->json), &t->info, f) : e;
}

enum err keyfile_load(const char *path, struct bytes passphrase, struct env *env,
		      struct keyring **out, struct keyfile_info *info, struct fault *f)
{
	struct text t;

	text_init(&t);
	enum err e = text_load(&t, path, passphrase, env, f);
	if (e == ERR_OK) {
		*out = t.keys;
		t.keys = NULL;
		if (info)
			*info = t.info;
	}
	text_fini(&t);
	return e;
}

enum err keyfile_create(const char *path, const struct keyring *k, const char *name,
			struct bytes passphrase, bool clear, struct env *env, struct fault *f)
{
	struct buf out;

	buf_init(&out, KEYFILE_MAX_BYTES);
	enum err e = keyfile_write(k, name, passphrase, clear, env, &out, f);
	if (e == ERR_OK)
		e = file_create_secret(path, buf_bytes(&out), f);
	buf_wipe(&out);
	buf_fini(&out);
	return e;
}

/* Keeps the original; a copy of the very same content from an interrupted try is good enough. */
static enum err keep(const struct text *t, const char *backup, struct fault *f)
{
	struct buf old;
	enum err e = file_create_secret(backup, buf_bytes(&t->json), f);

	if (e != ERR_EXISTS)
		return e;
	buf_init(&old, KEYFILE_MAX_BYTES);
	if (buf_reserve(&old, KEYFILE_MAX_BYTES) &&
	    file_read_secret(backup, &old, NULL) == ERR_OK &&
	    bytes_eq(buf_bytes(&old), buf_bytes(&t->json)))
		e = ERR_OK;
	buf_wipe(&old);
	buf_fini(&old);
	if (e != ERR_OK) {
		fault_set(f, ERR_EXISTS, EXIT_INTEGRITY, "%.200s exists and holds another key file",
			  backup);
		fault_means(f, "an older identity is kept there; it is not overwritten");
		fault_next(f, "move that file to a safe place, then run the command again");
	}
	return e;
}

static enum err replace(struct text *t, const char *path, const char *suffix,
			const struct keyring *k, struct bytes passphrase, struct env *env,
			struct fault *f)
{
	char backup[PATH_MAX];
	struct buf out;
	int n = snprintf(backup, sizeof backup, "%s%s", path, suffix);

	if (n < 0 || (size_t)n >= sizeof backup)
		return fault_set(f, ERR_LIMIT, EXIT_USAGE, "the path of the key file is too long");
	if (!t->info.encrypted)
		passphrase = bytes_of("", 0); /* what was clear stays clear */
	buf_init(&out, KEYFILE_MAX_BYTES);
	enum err e = keyring_ops(k) ? keyring_ops(k)->file(keyring_ops_ctx(k), &out, f) :
				      keyfile_write(k, buf_cstr(&t->name), passphrase, !t->info.encrypted, env, &out, f);
	if (e == ERR_OK)
		e = keep(t, backup, f);
	if (e == ERR_OK)
		e = file_write_secret(path, buf_bytes(&out), f);
	buf_wipe(&out);
	buf_fini(&out);
	return e;
}

enum err keyfile_migrate(const char *path, struct bytes passphrase, struct env *env,
			 struct fault *f)
{
	struct text t;

	text_init(&t);
	enum err e = text_load(&t, path, passphrase, env, f);
	if (e == ERR_OK && t.info.version == 3)
		e = fault_set(f, ERR_WRONG_STATE, EXIT_GENERIC,
			      "the key file is of version 3 already");
	if (e == ERR_OK)
		e = replace(&t, path, ".legacy.bak", t.keys, passphrase, env, f);
	text_fini(&t);
	return e;
}

enum err keyfile_encrypt(const char *path, struct bytes passphrase, struct env *env, struct fault *f)
{
	struct buf out;
	struct text t;

	text_init(&t);
	buf_init(&out, KEYFILE_MAX_BYTES);
	enum err e = text_load(&t, path, passphrase, env, f);
	if (e == ERR_OK && t.info.version < 3) {
		e = fault_set(f, ERR_WRONG_STATE, EXIT_GENERIC, "the key file is of version %d", t.info.version);
		fault_next(f, "ironmesh keys migrate");
	} else if (e == ERR_OK && t.info.encrypted) {
		e = fault_set(f, ERR_WRONG_STATE, EXIT_GENERIC, "the key file is encrypted already");
	}
	if (e == ERR_OK)
		e = keyfile_write(t.keys, buf_cstr(&t.name), passphrase, false, env, &out, f);
	if (e == ERR_OK)
		e = file_write_secret(path, buf_bytes(&out), f);
	buf_wipe(&out);
	buf_fini(&out);
	text_fini(&t);
	return e;
}

enum err keyfile_rotate_to(const char *path, struct bytes passphrase, struct env *env,
			   const struct keyring *fresh, struct fault *f)
{
	struct text t;
	char suffix[NODE_ID_LEN + 8];

	text_init(&t);
	enum err e = keyring_ops(fresh) ? text_peek(&t, path, f) : text_load(&t, path, passphrase, env, f);
	if (e == ERR_OK) {
		snprintf(suffix, sizeof suffix, ".%s.bak", t.info.id.hex);
		e = replace(&t, path, suffix, fresh, passphrase, env, f);
	}
	text_fini(&t);
	return e;
}

enum err keyfile_rotate(const char *path, struct bytes passphrase, struct env *env,
			struct keyring **out, struct fault *f)
{
	struct keyring *fresh;
	enum err e = keyring_generate(env, &fresh);

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "no memory for the new keys");
	e = keyfile_rotate_to(path, passphrase, env, fresh, f);
	if (e != ERR_OK) {
		keyring_free(fresh);
		return e;
	}
	*out = fresh;
	return ERR_OK;
}
