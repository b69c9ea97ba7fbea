#include "daemon/rotation.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "daemon/home.h"
#include "daemon/records.h"
#include "trust/keyfile.h"

#define MARK "rotation"
#define MARK_MAX 256

static enum err path_of(const char *home, const char *name, const char *suffix, char out[static PATH_MAX],
			struct fault *f)
{
	int n = snprintf(out, PATH_MAX, "%s/%s%s%s", home, name, suffix ? "." : "", suffix ? suffix : "");

	if (n < 0 || n >= PATH_MAX)
		return fault_set(f, ERR_LIMIT, EXIT_GENERIC, "the path of the home folder is too long");
	return ERR_OK;
}

/* --- before the moment ---------------------------------------------------------------------------------- */
static enum err prepare_store(struct command_ctx *cx, const struct keyring *fresh, struct fault *f)
{
	struct secret wrap;
	enum err e;

	if (!cx->store)
		return ERR_OK;
	e = keyring_derive(fresh, DERIVE_DB_WRAP, &wrap);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "no memory for the new keys");
	e = store_prepare_key(cx->store, secret_bytes(&wrap));
	secret_free(&wrap);
	if (e == ERR_OK)
		e = records_keep_rotation(cx->store, cx->keyring, fresh, env_wall(cx->env));
	if (cx->node) {
		enum err commit = node_commit(cx->node); /* a failed group is the node's to answer */

		e = e == ERR_OK ? commit : e;
	} else {
		e = e == ERR_OK ? store_commit(cx->store) : e;
	}
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "the database could not be prepared; nothing was changed");
	return ERR_OK;
}

static enum err write_mark(const char *home, const struct node_id *was, const struct node_id *now, struct fault *f)
{
	char path[PATH_MAX], text[MARK_MAX];
	enum err e = path_of(home, MARK, NULL, path, f);

	if (e != ERR_OK)
		return e;
	snprintf(text, sizeof text, "%s %s\n", was->hex, now->hex);
	return file_write_secret(path, bytes_str(text), f);
}

static void remove_prepared(const char *home, const struct node_id *now)
{
	char path[PATH_MAX];

	if (path_of(home, HOME_PINS, now->hex, path, NULL) == ERR_OK && unlink(path) != 0 && errno != ENOENT)
		log_warn("rotation-left file=%s why=%s", path, strerror(errno));
	if (path_of(home, MARK, NULL, path, NULL) == ERR_OK && unlink(path) != 0 && errno != ENOENT)
		log_warn("rotation-left file=%s why=%s", path, strerror(errno));
}

/* The key file has its new content, if perhaps not surely on disk. */
static bool stands(const char *keys, const struct node_id *now)
{
	struct keyfile_info info;
	struct buf b;
	bool is;

	buf_init(&b, KEYFILE_MAX_BYTES);
	is = file_read_secret(keys, &b, NULL) == ERR_OK && keyfile_peek(buf_bytes(&b), &info, NULL) == ERR_OK &&
	     node_id_eq(&info.id, now);
	buf_wipe(&b);
	buf_fini(&b);
	return is;
}

enum err rotation_begin(struct command_ctx *cx, struct keyring **out, struct fault *f)
{
	const struct node_id *was = keyring_id(cx->keyring), *now;
	char pins[PATH_MAX], keys[PATH_MAX];
	struct keyring *fresh;
	enum err e = keyring_next(cx->keyring, cx->env, &fresh);

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "no memory for the new keys");
	now = keyring_id(fresh);
	e = path_of(cx->home, HOME_PINS, now->hex, pins, f);
	if (e == ERR_OK)
		e = path_of(cx->home, HOME_KEYS, NULL, keys, f);
	if (e == ERR_OK)
		e = prepare_store(cx, fresh, f);
	if (e == ERR_OK)
		e = pins_save_as(cx->pins, fresh, pins, f);
	if (e == ERR_OK)
		e = write_mark(cx->home, was, now, f);
	if (e != ERR_OK) {
		remove_prepared(cx->home, now);
		keyring_free(fresh);
		return e;
	}
	e = keyfile_rotate_to(keys, cx->key_passphrase, cx->env, fresh, f);
	if (e != ERR_OK) {
		/* What it will find there decides the next start. */
		if (!stands(keys, now))
			remove_prepared(cx->home, now);
		keyring_free(fresh);
		return e;
	}
	*out = fresh;
	return ERR_OK;
}

/* --- after it ------------------------------------------------------------------------------------------- */
static enum err read_mark(const char *path, struct node_id *was, struct node_id *now, struct fault *f)
{
	struct buf b;
	enum err e;

	buf_init(&b, MARK_MAX);
	e = file_read_secret(path, &b, f);
	if (e == ERR_OK && (b.n != 2 * NODE_ID_LEN + 2 ||
			    node_id_parse(bytes_of(b.p, NODE_ID_LEN), was) != ERR_OK ||
			    node_id_parse(bytes_of(b.p + NODE_ID_LEN + 1, NODE_ID_LEN), now) != ERR_OK)) {
		e = ERR_CORRUPT;
		fault_set(f, e, EXIT_INTEGRITY, "%s does not say which identities it is about", path);
		fault_means(f, "a rotation of the keys was interrupted, and its mark is damaged");
		fault_next(f, "mv %s %s.damaged", path, path);
	}
	buf_fini(&b);
	return e;
}

static enum err move(const char *from, const char *to, struct fault *f)
{
	if (rename(from, to) == 0 || errno == ENOENT)
		return ERR_OK;
	return fault_set(f, err_from_errno(errno), EXIT_GENERIC, "cannot rename %s to %s: %s", from, to,
			 strerror(errno));
}

/* audit.log, its head and its old parts; each head before its file. */
static enum err archive(const char *home, const struct node_id *was, char kept[static PATH_MAX], struct fault *f)
{
	char from[PATH_MAX], to[PATH_MAX], suffix[NODE_ID_LEN + 32];
	enum err e = path_of(home, HOME_AUDIT, was->hex, kept, f);

	if (e != ERR_OK || access(kept, F_OK) == 0)
		return e; /* done before a crash: what is there now is the new log */
	for (int n = AUDIT_KEEP; e == ERR_OK && n >= 1; n--) {
		for (int head = 1; e == ERR_OK && head >= 0; head--) {
			snprintf(suffix, sizeof suffix, "%d%s", n, head ? ".head" : "");
			e = path_of(home, HOME_AUDIT, suffix, from, f);
			snprintf(suffix, sizeof suffix, "%s.%d%s", was->hex, n, head ? ".head" : "");
			if (e == ERR_OK)
				e = path_of(home, HOME_AUDIT, suffix, to, f);
			if (e == ERR_OK)
				e = move(from, to, f);
		}
	}
	snprintf(suffix, sizeof suffix, "%s.head", was->hex);
	if (e == ERR_OK)
		e = path_of(home, "audit.head", NULL, from, f);
	if (e == ERR_OK)
		e = path_of(home, HOME_AUDIT, suffix, to, f);
	if (e == ERR_OK)
		e = move(from, to, f);
	if (e == ERR_OK)
		e = path_of(home, HOME_AUDIT, NULL, from, f);
	if (e == ERR_OK)
		e = move(from, kept, f);
	return e;
}

static enum err begin_log(const char *home, const struct keyring *k, const struct node_id *was, const char *kept,
			  struct env *env, struct fault *f)
{
	char path[PATH_MAX];
	const char *slash = strrchr(kept, '/'), *tail = NULL;
	json_t *last = NULL;
	struct audit *a;
	enum err e = path_of(home, HOME_AUDIT, NULL, path, f);

	if (e == ERR_OK)
		e = audit_open(path, k, env, &a, f);
	if (e != ERR_OK)
		return e;
	if (audit_entries(a) == 0) {
		if (access(kept, F_OK) == 0 && audit_tail(kept, 1, &last, NULL) == ERR_OK)
			tail = json_str(json_array_get(last, 0), "hmac");
		audit_note(a, "KEY_ROTATION", (struct bytes){ 0 }, "old_peer_id", was->hex, "new_peer_id",
			   keyring_id(k)->hex, "previous_file", slash ? slash + 1 : kept, "previous_tail_hmac",
			   tail ? tail : "", NULL);
		json_decref(last);
		e = audit_flush(a);
		if (e != ERR_OK)
			fault_set(f, e, EXIT_RETRY, "the new audit log cannot be written");
	}
	audit_close(a);
	return e;
}

enum err rotation_finish(const char *home, const struct keyring *k, struct env *env, struct fault *f)
{
	char mark[PATH_MAX], from[PATH_MAX], to[PATH_MAX], kept[PATH_MAX];
	struct node_id was, now;
	enum err e = path_of(home, MARK, NULL, mark, f);

	if (e != ERR_OK)
		return e;
	if (access(mark, F_OK) != 0 && errno == ENOENT)
		return ERR_OK;
	e = read_mark(mark, &was, &now, f);
	if (e != ERR_OK)
		return e;
	if (!node_id_eq(keyring_id(k), &now)) {
		/* keys.json was not replaced: the old identity goes on with all it had. */
		log_warn("rotation-undone old=%s new=%s", was.hex, now.hex);
		remove_prepared(home, &now);
		return ERR_OK;
	}
	e = path_of(home, HOME_PINS, now.hex, from, f);
	if (e == ERR_OK)
		e = path_of(home, HOME_PINS, NULL, to, f);
	if (e == ERR_OK)
		e = move(from, to, f);
	if (e == ERR_OK)
		e = archive(home, &was, kept, f);
	if (e == ERR_OK && dir_fsync_of(mark) != ERR_OK)
		e = fault_set(f, ERR_IO, EXIT_RETRY, "the folder %s cannot be written to disk", home);
	if (e == ERR_OK)
		e = begin_log(home, k, &was, kept, env, f);
	if (e != ERR_OK)
		return e;
	log_info("rotation-done old=%s new=%s", was.hex, now.hex);
	if (unlink(mark) != 0 || dir_fsync_of(mark) != ERR_OK)
		log_warn("rotation-left file=%s why=%s", mark, strerror(errno));
	return ERR_OK;
}
