/* Restore: unpacked beside the home folder, checked there, then exchanged with it. */
#include "daemon/state_work.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/home.h"
#include "base/owner.h"
#include "store/restore.h"

struct restoring {
	const struct work *w;
	struct backup *b;
	char staged[4096], kept[4096];
	int lock, staged_lock; /* -1 */
	enum restore_target target;
	struct state_report report;
};

/* As long as the old folder has it, no daemon and no other command begins there. */
static enum err lock_target(struct restoring *r, struct fault *f)
{
	bool force = json_is_true(json_object_get(r->w->params, "force")), is_node;
	char keys[PATH_MAX], word[400];
	enum err e = restore_look(r->w->home, &r->target, f);

	if (e != ERR_OK || r->target != RESTORE_USED)
		return e;
	text_safe(bytes_str(r->w->home), word, sizeof word);
	is_node = path_join(keys, sizeof keys, r->w->home, HOME_KEYS) == ERR_OK && access(keys, F_OK) == 0;
	if (!force && !is_node && (e = restore_of_ours(r->w->home, f)) != ERR_OK) {
		fault_next(f, "the same command with --into DIR   (or with --force: the folder as it is now is kept beside it)");
		return e;
	}
	e = owner_become(r->w->home, f);
	if (e == ERR_OK)
		e = home_lock(r->w->home, &r->lock, f);
	owner_leave();
	if (e == ERR_WRONG_STATE) {
		fault_set(f, e, EXIT_RETRY, "a daemon, or another command, works on %s", word);
		fault_means(f, "its state cannot be replaced under it; nothing was changed");
		fault_next(f, "stop the daemon (systemctl stop ironmesh), then repeat the command");
	}
	if (e != ERR_OK || force || !is_node)
		return e;
	fault_set(f, ERR_EXISTS, EXIT_USAGE, "there is an identity in %s", word);
	fault_means(f, "with --force the backup takes its place; the folder as it is now is kept beside it");
	fault_next(f, "the same command with --force, or with --into DIR");
	return ERR_EXISTS;
}

/* In a folder of another user root works as that user: he could lead it anywhere by moving what it makes there. */
static enum err become_owner_of_parent(const struct restoring *r, struct fault *f)
{
	char home[PATH_MAX], parent[PATH_MAX];
	struct stat of_home, st;
	char *slash;
	size_t n = strlen(r->w->home);

	if (geteuid() != 0 || n >= sizeof home)
		return ERR_OK;
	memcpy(home, r->w->home, n + 1);
	while (n > 1 && home[n - 1] == '/')
		home[--n] = '\0';
	slash = strrchr(home, '/');
	if (slash)
		*(slash == home ? slash + 1 : slash) = '\0';
	if (!realpath(slash ? home : ".", parent) || stat(parent, &st) != 0 || st.st_uid == 0 ||
	    (stat(r->w->home, &of_home) == 0 && of_home.st_uid != st.st_uid))
		return ERR_OK;
	return owner_become(parent, f);
}

static enum err stage(struct restoring *r, struct env *env, struct fault *f)
{
	const struct backup_watch watch = { .fn = r->w->watch, .ctx = r->w->ctx };
	struct state_keys keys = { 0 };
	enum err e = restore_stage(r->w->home, r->staged, &r->staged_lock, f);

	if (e == ERR_OK)
		e = backup_unpack(r->b, r->staged, &watch, f);
	if (e == ERR_OK)
		e = state_work_open(r->staged, r->w->key, r->w->archive, env, &keys, f);
	if (e == ERR_OK)
		e = state_check(r->staged, &keys, env, &r->report, f);
	if (e == ERR_CORRUPT || e == ERR_MALFORMED)
		fault_means(f, "the backup is whole, but what is in it is damaged; nothing was changed");
	state_keys_fini(&keys);
	return e;
}

static json_t *answer(const struct restoring *r, bool dry)
{
	const struct backup_manifest *m = backup_manifest(r->b);
	char home[PATH_MAX], kept[PATH_MAX];
	json_t *v;

	text_safe(bytes_str(r->kept), kept, sizeof kept);
	v = json_pack("{s:s, s:s, s:b, s:s, s:s, s:I, s:I, s:I, s:b}", "schema", "ironmesh.restore/1", "home",
		      text_safe(bytes_str(r->w->home), home, sizeof home), "dry_run", dry, "id", m->id.hex, "name", m->name,
		      "created_ms", (json_int_t)m->created_ms, "files", (json_int_t)m->n, "state_bytes", (json_int_t)m->bytes,
		      "identity_opened", r->report.with_keys);
	if (v) {
		json_object_set_new(v, "kept", r->kept[0] ? json_string(kept) : json_null());
		if (r->report.with_keys) {
			json_object_set_new(v, "audit_entries", json_integer((json_int_t)r->report.audit_entries));
			json_object_set_new(v, "pins", json_integer((json_int_t)r->report.pins));
		}
	}
	return v;
}

static enum err swap(struct restoring *r, struct env *env, struct fault *f)
{
	uint64_t wall = env_wall(env);
	enum err e = restore_finish(r->w->home, r->staged, true, backup_manifest(r->b)->created_ms, wall, f);

	if (e == ERR_OK)
		e = restore_swap(r->w->home, r->staged, r->target, wall, r->kept, f);
	if (e != ERR_OK)
		return e;
	r->staged[0] = '\0';
	if (json_is_true(json_object_get(r->w->params, "discard_old")) && r->kept[0]) {
		restore_drop(r->kept);
		if (access(r->kept, F_OK) != 0)
			r->kept[0] = '\0';
	}
	return ERR_OK;
}

enum err state_work_restore(const struct work *w, struct env *env, json_t **result, struct fault *f)
{
	struct restoring r = { .w = w, .lock = -1, .staged_lock = -1 };
	bool dry = json_is_true(json_object_get(w->params, "dry_run"));
	json_t *v = NULL;
	enum err e = lock_target(&r, f);

	if (e == ERR_OK)
		e = backup_open(json_str(w->params, "file"), w->archive, &r.b, f);
	if (e == ERR_OK)
		e = become_owner_of_parent(&r, f);
	if (e == ERR_OK)
		e = stage(&r, env, f);
	if (e == ERR_OK && !dry)
		e = swap(&r, env, f);
	if (e == ERR_OK && !(v = answer(&r, dry)))
		log_warn("no-memory-for-the-answer"); /* it is done all the same */
	if (r.staged[0])
		restore_drop(r.staged);
	backup_close(r.b);
	if (r.staged_lock >= 0)
		close(r.staged_lock);
	if (r.lock >= 0)
		close(r.lock);
	if (e != ERR_OK)
		return e;
	*result = v ? v : json_object();
	return ERR_OK;
}
