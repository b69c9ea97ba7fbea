/* keys.* */
#include "daemon/commands_internal.h"

#include <limits.h>

#include "base/file.h"
#include "base/passphrase.h"
#include "daemon/home.h"
#include "daemon/rotation.h"
#include "trust/keyfile.h"

static enum err keys_path(struct call *c, char out[static PATH_MAX])
{
	enum err e = path_join(out, PATH_MAX, c->cx->home, HOME_KEYS);

	return e == ERR_OK ? e : fault_set(c->f, e, EXIT_CONFIG, "the path of the home folder is too long");
}

/* What the file says without its passphrase. */
static enum err peek(struct call *c, const char *path, struct keyfile_info *info)
{
	struct buf b;
	enum err e;

	buf_init(&b, KEYFILE_MAX_BYTES);
	if (!buf_reserve(&b, KEYFILE_MAX_BYTES))
		return no_memory(c);
	e = file_read_secret(path, &b, c->f);
	if (e == ERR_NOTFOUND) {
		fault_set(c->f, e, EXIT_GENERIC, "there is no identity in %s", c->cx->home);
		fault_next(c->f, "ironmesh keys generate --name NAME");
	}
	if (e == ERR_OK)
		e = keyfile_peek(buf_bytes(&b), info, c->f);
	buf_wipe(&b);
	buf_fini(&b);
	return e;
}

static json_t *keys_json(struct call *c, const struct keyring *k)
{
	struct keyfile_info info;
	char path[PATH_MAX], fp[FINGERPRINT_LEN];

	if (keys_path(c, path) != ERR_OK)
		return NULL;
	/* A key in clear does not come into the memory of the daemon just to be told about. */
	if (c->cx->key_info)
		info = *c->cx->key_info;
	else if (peek(c, path, &info) != ERR_OK)
		return NULL;
	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:i, s:b, s:o}", "schema", "ironmesh.keys/1", "id",
			 keyring_id(k)->hex, "fingerprint", fingerprint_text(keyring_id(k), fp), "name",
			 text_or_null(info.name), "public_key", base64_json(bytes_of(keyring_ed(k), ED_BYTES)),
			 "x25519_public", base64_json(bytes_of(keyring_x25519(k), X25519_BYTES)), "version",
			 info.version, "encrypted", info.encrypted, "path", text_or_null(path));
}

static enum err keys_result(struct call *c, json_t *o)
{
	if (!o && c->f->err != ERR_OK)
		return c->f->err;
	return result_is(c, o);
}

enum err command_keys_show(struct call *c)
{
	return keys_result(c, keys_json(c, c->cx->keyring));
}

enum err command_keys_fingerprint(struct call *c)
{
	struct keyfile_info info;
	char path[PATH_MAX], fp[FINGERPRINT_LEN];
	enum err e;

	if (c->cx->node) {
		const struct node_id *id = keyring_id(c->cx->keyring);

		return result_is(c, json_pack("{s:s, s:s, s:s, s:o}", "schema", "ironmesh.fingerprint/1", "id",
					      id->hex, "fingerprint", fingerprint_text(id, fp), "name",
					      text_or_null(c->cx->name)));
	}
	e = keys_path(c, path);
	if (e == ERR_OK)
		e = peek(c, path, &info);
	if (e != ERR_OK)
		return e;
	return result_is(c, json_pack("{s:s, s:s, s:s, s:o}", "schema", "ironmesh.fingerprint/1", "id", info.id.hex,
				      "fingerprint", fingerprint_text(&info.id, fp), "name",
				      text_or_null(info.name)));
}

enum err command_keys_generate(struct call *c)
{
	struct bytes pass = c->cx->key_passphrase;
	bool clear = arg_bool(c, "clear", false);
	struct keyring *k = NULL;
	char path[PATH_MAX];
	json_t *o = NULL;
	enum err e = keys_path(c, path);

	if (e != ERR_OK)
		return e;
	if (!name_valid(arg_bytes(c, "name")))
		return bad_param(c, "name", "1 to 64 of A-Z a-z 0-9 . _ - and not begin with '-'");
	if (!clear && pass.n == 0) {
		fault_set(c->f, ERR_DENIED, EXIT_USAGE, "a passphrase is needed to encrypt the key file");
		fault_next(c->f, "the same command with --passphrase-file FILE");
		return ERR_DENIED;
	}
	if (!clear) {
		e = passphrase_check(pass, &pass, c->f);
		if (e != ERR_OK)
			return e;
	}
	e = keyring_generate(c->cx->env, &k);
	if (e != ERR_OK)
		return no_memory(c);
	e = keyfile_create(path, k, arg_text(c, "name"), clear ? (struct bytes){ 0 } : pass, clear, c->cx->env,
			   c->f);
	if (e == ERR_EXISTS) {
		fault_set(c->f, e, EXIT_INTEGRITY, "there is an identity already: %.160s", path);
		fault_means(c->f, "it is never overwritten; a new one in its place is a rotation");
		fault_next(c->f, "ironmesh keys show");
	}
	if (e == ERR_OK)
		o = keys_json(c, k);
	keyring_free(k);
	return e == ERR_OK ? keys_result(c, o) : e;
}

enum err command_keys_migrate(struct call *c)
{
	struct keyfile_info info;
	struct keyring *k;
	char path[PATH_MAX];
	json_t *o;
	enum err e = keys_path(c, path);

	if (e == ERR_OK)
		e = keyfile_migrate(path, c->cx->key_passphrase, c->cx->env, c->f);
	/* The X25519 identity of the migrated file is a new one: read it back. */
	if (e == ERR_OK)
		e = keyfile_load(path, c->cx->key_passphrase, c->cx->env, &k, &info, c->f);
	if (e != ERR_OK)
		return e;
	o = keys_json(c, k);
	keyring_free(k);
	return keys_result(c, o);
}

enum err command_keys_encrypt(struct call *c)
{
	struct bytes pass = c->cx->key_passphrase;
	struct keyfile_info info;
	struct keyring *k;
	char path[PATH_MAX];
	json_t *o;
	enum err e = keys_path(c, path);

	if (e == ERR_OK && pass.n == 0) {
		e = fault_set(c->f, ERR_DENIED, EXIT_USAGE, "a passphrase is needed to encrypt the key file");
		fault_next(c->f, "ironmesh keys encrypt --passphrase-file FILE");
	}
	if (e == ERR_OK)
		e = passphrase_check(pass, &pass, c->f);
	if (e == ERR_OK)
		e = keyfile_encrypt(path, pass, c->cx->env, c->f);
	if (e == ERR_OK)
		e = keyfile_load(path, pass, c->cx->env, &k, &info, c->f);
	if (e != ERR_OK)
		return e;
	o = keys_json(c, k);
	keyring_free(k);
	return keys_result(c, o);
}

enum err command_keys_rotate(struct call *c)
{
	struct command_ctx *cx = c->cx;
	struct keyring *fresh;
	json_t *o;
	enum err e = rotation_begin(cx, &fresh, c->f);

	if (e != ERR_OK)
		return e;
	cx->rotated = true;
	audit_note(cx->audit, "KEY_ROTATION", (struct bytes){ 0 }, "old_peer_id", keyring_id(cx->keyring)->hex,
		   "new_peer_id", keyring_id(fresh)->hex, NULL);
	log_info("keys-rotated old=%s new=%s", keyring_id(cx->keyring)->hex, keyring_id(fresh)->hex);
	/* Only now is there something to announce: the sessions still stand under the old keys. */
	if (cx->node)
		node_announce_rotation(cx->node, keyring_ed(fresh));
	o = keys_json(c, fresh);
	if (o)
		(void)json_object_set_new(o, "old_id", json_string(keyring_id(cx->keyring)->hex));
	keyring_free(fresh);
	if (cx->stop)
		cx->stop(cx->stop_ctx);
	return keys_result(c, o);
}
