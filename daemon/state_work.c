/* Backup and verify. */
#include "daemon/state_work.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/passphrase.h"
#include "base/text.h"
#include "daemon/backups.h"
#include "daemon/daemon.h"
#include "daemon/home.h"
#include "daemon/import.h"
#include "daemon/loop.h"
#include "base/owner.h"
#include "daemon/unlock.h"
#include "store/backup.h"
#include "store/snapshot.h"
#include "trust/keyfile.h"

/* --- who it is ------------------------------------------------------------------------------------------- */
static enum err read_keys(const char *folder, struct buf *b, struct keyfile_info *info, struct fault *f)
{
	char path[PATH_MAX];
	enum err e = path_join(path, sizeof path, folder, HOME_KEYS);

	if (e == ERR_OK)
		e = file_read(path, b, f);
	return e == ERR_OK ? keyfile_peek(buf_bytes(b), info, f) : e;
}

/* ERR_AUTH: not this one. */
static enum err try_one(struct bytes json, struct bytes passphrase, struct env *env, struct state_keys *out, struct fault *f)
{
	struct keyfile_info info;
	struct keyring *k;
	enum err e = keyfile_parse(json, passphrase, env, &k, &info, f);

	if (e != ERR_OK)
		return e;
	/* A file of version 1 or 2 gets its keys when it is migrated: nothing was made with them yet. */
	if (!info.migrated)
		e = state_keys_of(k, out);
	keyring_free(k);
	return e;
}

/* A file of the state itself: root looks at that of another user. */
static enum err try_kept(const char *folder, const char *name, struct bytes json, struct env *env, struct state_keys *out)
{
	char path[PATH_MAX];
	struct bytes kept;
	struct buf b;
	enum err e = path_join(path, sizeof path, folder, name);

	if (e != ERR_OK || access(path, F_OK) != 0)
		return ERR_AUTH;
	buf_init(&b, PASSPHRASE_MAX_BYTES + 2);
	e = file_read(path, &b, NULL);
	if (e == ERR_OK)
		e = passphrase_check(buf_bytes(&b), &kept, NULL);
	if (e == ERR_OK)
		e = try_one(json, kept, env, out, NULL);
	buf_wipe(&b);
	buf_fini(&b);
	return e;
}

enum err state_work_open(const char *folder, struct bytes key, struct bytes other, struct env *env, struct state_keys *out,
			 struct fault *f)
{
	struct keyfile_info info;
	struct buf b;
	enum err e;

	*out = (struct state_keys){ 0 };
	buf_init(&b, KEYFILE_MAX_BYTES);
	e = read_keys(folder, &b, &info, f);
	if (e == ERR_OK && !info.encrypted) {
		e = try_one(buf_bytes(&b), (struct bytes){ 0 }, env, out, f);
	} else if (e == ERR_OK && key.n) {
		e = try_one(buf_bytes(&b), key, env, out, f);
		if (e == ERR_AUTH)
			fault_set(f, e, EXIT_USAGE, "the passphrase given for the key file does not open it");
	} else if (e == ERR_OK) {
		e = try_kept(folder, HOME_KEY_PASSPHRASE, buf_bytes(&b), env, out);
		if (e != ERR_OK)
			e = try_kept(folder, "passphrase", buf_bytes(&b), env, out);
		if (e != ERR_OK && other.n)
			e = try_one(buf_bytes(&b), other, env, out, NULL);
		e = e == ERR_NOMEM ? e : ERR_OK;
	}
	buf_wipe(&b);
	buf_fini(&b);
	return e;
}

/* --- answers --------------------------------------------------------------------------------------------- */
static json_t *files_json(const struct backup_manifest *m)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->n; i++)
		(void)json_array_append_new(list, json_pack("{s:s, s:I, s:s}", "name", m->files[i].name, "bytes",
							    (json_int_t)m->files[i].bytes, "what", m->files[i].row->why));
	return list;
}

static json_t *backup_json(const char *file, uint64_t bytes, const struct backup_manifest *m)
{
	char safe[PATH_MAX];

	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:s, s:s, s:o}", "schema", "ironmesh.backup/1", "file",
			 text_safe(bytes_str(file), safe, sizeof safe), "bytes", (json_int_t)bytes, "state_bytes",
			 (json_int_t)m->bytes, "created_ms", (json_int_t)m->created_ms, "id", m->id.hex, "name", m->name, "program",
			 m->program, "files", files_json(m));
}

static void add_report(json_t *v, const struct state_report *r)
{
	json_object_set_new(v, "verified", json_true());
	json_object_set_new(v, "identity_opened", json_boolean(r->with_keys));
	if (r->with_keys) {
		json_object_set_new(v, "audit_entries", json_integer((json_int_t)r->audit_entries));
		json_object_set_new(v, "pins", json_integer((json_int_t)r->pins));
	}
}

static enum err given(json_t *v, json_t **result, struct fault *f)
{
	if (!v)
		return fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory for the answer");
	*result = v;
	return ERR_OK;
}

/* --- backup ---------------------------------------------------------------------------------------------- */
struct source {
	char folder[PATH_MAX];
	bool ours; /* made here, and removed here */
	int held;  /* -1 */
	uint64_t wall_ms;
	char left[2048];
	size_t left_n;
};

/* So that nobody takes it for what an interrupted run has left. */
static int hold(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0)
		(void)!flock(fd, LOCK_EX | LOCK_NB);
	return fd;
}

static enum err copy_home(const char *home, struct source *s, const struct backup_watch *watch, struct fault *f)
{
	struct snapshot *snap = NULL;
	char config[PATH_MAX];
	int lock = -1;
	enum err e = owner_become(home, f);

	if (e == ERR_OK)
		e = home_lock(home, &lock, f);
	if (e == ERR_OK) {
		snapshot_sweep(home);
		e = snapshot_begin(home, config_elsewhere(home, config), &snap, f);
	}
	if (e == ERR_OK && snapshot_folder(home, s->folder, sizeof s->folder) != ERR_OK)
		e = fault_set(f, ERR_LIMIT, EXIT_USAGE, "the path of the home folder is too long");
	if (e == ERR_OK) {
		s->ours = true;
		s->left_n = snapshot_left_out(snap, s->left, sizeof s->left);
		e = snapshot_copy(snap, s->folder, watch, f);
	}
	/* A daemon may start while it is packed. */
	if (e == ERR_OK)
		s->held = hold(s->folder);
	snapshot_free(snap);
	if (lock >= 0)
		close(lock);
	owner_leave();
	return e;
}

/* Both are one check, made before the archive is packed: its content is then proven by hashes. */
static enum err check(const char *folder, const struct work *w, struct env *env, struct state_report *r, struct fault *f)
{
	struct state_keys keys;
	enum err e = state_work_open(folder, w->key, w->archive, env, &keys, f);

	if (e == ERR_OK)
		e = state_check(folder, &keys, env, r, f);
	state_keys_fini(&keys);
	return e;
}

enum err state_work_backup(const struct work *w, struct env *env, json_t **result, struct fault *f)
{
	const char *file = json_str(w->params, "file"), *folder = json_str(w->params, "folder");
	struct backup_watch watch = { .fn = w->watch, .ctx = w->ctx };
	struct backup_made made;
	struct state_report report;
	struct source s = { .held = -1, .wall_ms = env_wall(env) };
	json_t *v;
	enum err e = ERR_OK;

	if (folder) {
		snprintf(s.folder, sizeof s.folder, "%s", folder);
		snprintf(s.left, sizeof s.left, "%s", json_str(w->params, "left_out") ? json_str(w->params, "left_out") : "");
		s.left_n = (size_t)json_integer_value(json_object_get(w->params, "left_out_n"));
		s.wall_ms = (uint64_t)json_integer_value(json_object_get(w->params, "created_ms"));
	} else {
		e = copy_home(w->home, &s, &watch, f);
	}
	if (e == ERR_OK) {
		e = check(s.folder, w, env, &report, f);
		if (e == ERR_CORRUPT || e == ERR_MALFORMED) {
			fault_means(f, "the state of this node is damaged: no backup was made of it");
			fault_next(f, "ironmesh doctor");
		}
	}
	if (e == ERR_OK)
		e = backup_make(s.folder, file, w->archive, BACKUP_COST, json_is_true(json_object_get(w->params, "force")),
				s.wall_ms, &watch, &made, f);
	if (s.ours && owner_become(w->home, NULL) == ERR_OK) {
		snapshot_remove(s.folder);
		owner_leave();
	}
	if (s.held >= 0)
		close(s.held);
	if (e != ERR_OK)
		return e;
	v = backup_json(file, made.bytes, &made.manifest);
	backup_manifest_fini(&made.manifest);
	if (v) {
		add_report(v, &report);
		json_object_set_new(v, "left_out", json_string(s.left));
		json_object_set_new(v, "left_out_n", json_integer((json_int_t)s.left_n));
	}
	return given(v, result, f);
}

/* --- verify ---------------------------------------------------------------------------------------------- */
/* In the home folder when there is one, as it is closed to others and may hold what it holds anyway. Elsewhere nobody else removes
 * what was left. */
static enum err place(const char *home, char out[static PATH_MAX], struct fault *f)
{
	const char *tmp = getenv("TMPDIR");
	struct stat st;

	if (stat(home, &st) != 0 || !S_ISDIR(st.st_mode) || faccessat(AT_FDCWD, home, W_OK, AT_EACCESS) != 0) {
		home = tmp && *tmp ? tmp : "/tmp";
		snapshot_sweep(home);
	}
	if (snapshot_folder(home, out, PATH_MAX) != ERR_OK)
		return fault_set(f, ERR_LIMIT, EXIT_USAGE, "the path of the home folder is too long");
	if (mkdir(out, 0700) != 0)
		return fault_set(f, err_from_errno(errno), EXIT_GENERIC, "cannot make the folder %s: %s", out, strerror(errno));
	return ERR_OK;
}

enum err state_work_verify(const struct work *w, struct env *env, json_t **result, struct fault *f)
{
	struct backup_watch watch = { .fn = w->watch, .ctx = w->ctx };
	const char *file = json_str(w->params, "file");
	bool look = strcmp(w->verb, "backup.look") == 0;
	struct state_report report;
	char folder[PATH_MAX] = "";
	struct backup *b;
	int held = -1;
	json_t *v = NULL;
	enum err e = backup_open(file, w->archive, &b, f);

	if (e != ERR_OK)
		return e;
	/* The file was opened as who we are; what is unpacked in the folder of another user, he can move about. */
	if (!look)
		e = owner_become(w->home, f);
	if (e == ERR_OK && !look)
		e = place(w->home, folder, f);
	if (folder[0])
		held = hold(folder);
	if (e == ERR_OK && !look)
		e = backup_unpack(b, folder, &watch, f);
	if (e == ERR_OK && !look)
		e = check(folder, w, env, &report, f);
	if (e == ERR_OK)
		v = backup_json(file, backup_bytes(b), backup_manifest(b));
	backup_close(b);
	if (folder[0])
		snapshot_remove(folder);
	if (held >= 0)
		close(held);
	owner_leave();
	if (e != ERR_OK)
		return e;
	if (v && !look)
		add_report(v, &report);
	return given(v, result, f);
}

/* --- the door ----------------------------------------------------------------------------------------------- */
enum err daemon_work(const struct work *w, json_t **result, struct fault *f)
{
	struct fault local = { 0 };
	struct env env;
	enum err e = secret_init_library();

	f = f ? f : &local;
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "libsodium does not start");
	log_setup(&(struct log_config){ .level = LOG_WARN });
	env_of_system(&env);
	if (strcmp(w->verb, "backup.write") == 0)
		e = state_work_backup(w, &env, result, f);
	else if (strcmp(w->verb, "restore") == 0)
		e = state_work_restore(w, &env, result, f);
	else if (strcmp(w->verb, "import") == 0)
		e = import_work(w, &env, result, f);
	else
		e = state_work_verify(w, &env, result, f);
	timers_fini(&env);
	return e;
}
