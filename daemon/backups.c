#include "daemon/backups_internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/passphrase.h"
#include "daemon/attention.h"
#include "daemon/commands_internal.h"
#include "daemon/loop.h"
#include "daemon/settings.h"
#include "store/snapshot.h"
#include "store/state_check.h"

#define FIRST_MS 10000      /* after a start */
#define AGAIN_MS 600000     /* after a failure */
#define LOOK_MS 3600000     /* the wall clock may be set meanwhile */
#define STAGED_MS 3600000   /* for a command to pack a snapshot */
#define PRUNED_MAX 64
#define ATTENTION_KIND "backup-failed"

enum job { JOB_NONE, JOB_SNAPSHOT, JOB_BACKUP };

struct backups {
	uv_loop_t *loop;
	struct command_ctx *cx;
	struct timer due, staged; /* the schedule; a command that never came back */
	struct secret passphrase;
	struct ledger ledger;
	struct fault absent; /* err ERR_OK: the directory was there at the start */
	bool stopping;
	void (*idle)(void *ctx);
	void *idle_ctx;

	/* The one that runs. While `working` the members below belong to the thread. */
	enum job job; /* of a command: until it is released */
	bool working;
	uv_work_t work;
	atomic_bool cancel;
	struct request *request;        /* waits for it; NULL */
	const struct subscriber *owner; /* of a snapshot: whose end releases it */
	struct env env;                 /* of the thread */
	struct snapshot *snap;
	struct state_keys keys;
	char folder[PATH_MAX], file[PATH_MAX];
	char left[1024];
	size_t left_n;
	uint64_t wall_ms, bytes;
	unsigned keep;
	enum err err;
	struct fault fault;
	char pruned[PRUNED_MAX][PATH_MAX];
	size_t pruned_n;
};

static void schedule(struct backups *b);

bool backups_busy(const struct backups *b)
{
	return b && b->working;
}

/* --- on the pool ------------------------------------------------------------------------------------------- */
static bool go_on(void *ctx, const char *phase, uint64_t done, uint64_t all)
{
	return !atomic_load(&((struct backups *)ctx)->cancel);
}

static void note_pruned(void *ctx, const char *path)
{
	struct backups *b = ctx;

	if (b->pruned_n < PRUNED_MAX)
		snprintf(b->pruned[b->pruned_n++], PATH_MAX, "%s", path);
}

static void work(uv_work_t *w)
{
	struct backups *b = w->data;
	const struct backup_watch watch = { .fn = go_on, .ctx = b };
	struct state_report report;
	struct backup_made made;
	enum err e = snapshot_copy(b->snap, b->folder, &watch, &b->fault);

	snapshot_free(b->snap); /* the WAL may start over */
	b->snap = NULL;
	if (e == ERR_OK && b->job == JOB_BACKUP) {
		e = state_check(b->folder, &b->keys, &b->env, &report, &b->fault);
		if (e == ERR_OK)
			e = backup_make(b->folder, b->file, secret_bytes(&b->passphrase), BACKUP_COST, false, b->wall_ms, &watch, &made,
					&b->fault);
		if (e == ERR_OK) {
			b->bytes = made.bytes;
			backup_manifest_fini(&made.manifest);
			if (backups_prune(b->file, &b->keys.id, b->keep, note_pruned, b) != ERR_OK)
				log_warn("backups-not-pruned");
		}
	}
	if (e != ERR_OK || b->job == JOB_BACKUP)
		snapshot_remove(b->folder);
	b->err = e;
}

/* --- back on the loop --------------------------------------------------------------------------------------- */
static void end_job(struct backups *b)
{
	state_keys_fini(&b->keys);
	timer_stop(b->cx->env, &b->staged);
	b->job = JOB_NONE;
	b->owner = NULL;
	b->folder[0] = '\0';
}

static void answer(struct backups *b, json_t *v)
{
	struct request *r = b->request;

	b->request = NULL;
	if (!r) {
		json_decref(v);
		return;
	}
	r->cancel = NULL;
	if (b->err == ERR_OK) {
		request_answer(r, v);
		return;
	}
	json_decref(v);
	request_fail(r, &b->fault);
}

static void save_ledger(struct backups *b)
{
	struct fault f = { 0 };

	if (ledger_save(&b->ledger, b->cx->home, &f) != ERR_OK)
		log_warn("backup-ledger-not-written why=\"%s\"", f.what);
}

static void tell(struct backups *b, const char *event, const char *reason)
{
	json_t *v = json_pack("{s:s}", "reason", reason);

	events_emit(b->cx->events, event, v);
	json_decref(v);
}

static void made(struct backups *b, const char *file, uint64_t bytes, uint64_t wall_ms)
{
	struct ledger_row r = { .created_ms = wall_ms, .bytes = bytes, .verified_ms = env_wall(b->cx->env) };

	snprintf(r.file, sizeof r.file, "%s", file);
	b->ledger.last_ok_ms = r.verified_ms;
	b->ledger.why[0] = '\0';
	if (ledger_add(&b->ledger, &r) != ERR_OK)
		log_warn("backup-ledger-full");
	save_ledger(b);
	attention_clear(b->cx->attention, ATTENTION_KIND, "schedule");
	audit_note(b->cx->audit, "BACKUP_MADE", (struct bytes){ 0 }, "file", file, NULL);
	tell(b, "backup.done", file);
	log_info("backup-made bytes=%llu file=\"%s\"", (unsigned long long)bytes, file);
}

/* It stands until a backup succeeds, over restarts too. */
static void call_for_attention(struct backups *b)
{
	char what[300];
	const struct attention_item item = { .kind = ATTENTION_KIND, .key = "schedule", .severity = ATTENTION_ERROR, .what = what,
					     .means = "A disk that is lost now takes with it what came since the last good backup.",
					     .next = "ironmesh backup now", .method = "backup.now", .label = "Back up now" };

	snprintf(what, sizeof what, "the backup failed: %s", b->ledger.why);
	attention_set(b->cx->attention, &item);
}

static void failed(struct backups *b)
{
	b->ledger.last_failed_ms = env_wall(b->cx->env);
	snprintf(b->ledger.why, sizeof b->ledger.why, "%s", b->fault.what);
	save_ledger(b);
	call_for_attention(b);
	audit_note(b->cx->audit, "BACKUP_FAILED", (struct bytes){ 0 }, "why", b->fault.what, NULL);
	tell(b, "backup.failed", b->fault.what);
	log_error("backup-failed why=\"%s\"", b->fault.what);
}

static void backup_over(struct backups *b)
{
	for (size_t i = 0; i < b->pruned_n; i++)
		ledger_drop(&b->ledger, b->pruned[i]);
	if (b->err == ERR_OK)
		made(b, b->file, b->bytes, b->wall_ms);
	else if (!b->stopping)
		failed(b);
	answer(b, json_pack("{s:s, s:s, s:I, s:I, s:b}", "schema", "ironmesh.backup/1", "file", b->file, "bytes",
			    (json_int_t)b->bytes, "created_ms", (json_int_t)b->wall_ms, "verified", 1));
	end_job(b);
	schedule(b);
}

static void snapshot_over(struct backups *b)
{
	bool wanted = b->err == ERR_OK && b->request && !b->stopping;

	answer(b, json_pack("{s:s, s:s, s:I, s:s, s:I}", "schema", "ironmesh.snapshot/1", "folder", b->folder, "created_ms",
			    (json_int_t)b->wall_ms, "left_out", b->left, "left_out_n", (json_int_t)b->left_n));
	if (wanted) {
		timer_in(b->cx->env, &b->staged, STAGED_MS);
		return;
	}
	if (b->err == ERR_OK)
		snapshot_remove(b->folder);
	end_job(b);
	schedule(b);
}

static void work_over(uv_work_t *w, int status)
{
	struct backups *b = w->data;

	b->working = false;
	timers_fini(&b->env);
	if (b->job == JOB_BACKUP)
		backup_over(b);
	else
		snapshot_over(b);
	if (b->stopping && b->idle)
		b->idle(b->idle_ctx);
}

const char *config_elsewhere(const char *home, char out[static PATH_MAX])
{
	return config_folder(home, out, PATH_MAX) == ERR_OK && strcmp(out, home) != 0 ? out : NULL;
}

/* --- the moment ---------------------------------------------------------------------------------------------- */
/* What is in memory goes to disk now, so that all files say the same. */
static enum err settle(struct backups *b, struct fault *f)
{
	struct command_ctx *cx = b->cx;
	enum err e = node_commit(cx->node);

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "the database refuses: %s", err_word(e));
	if (!pins_read_only(cx->pins, NULL) && (e = pins_flush(cx->pins, f)) != ERR_OK)
		return e;
	e = audit_checkpoint(cx->audit);
	return e == ERR_OK ? e : fault_set(f, e, EXIT_RETRY, "the audit log cannot be written");
}

static enum err is_idle(const struct backups *b, struct fault *f)
{
	if (b->job == JOB_NONE && !b->stopping)
		return ERR_OK;
	fault_set(f, ERR_AGAIN, EXIT_RETRY, b->stopping ? "the daemon is stopping" : "a backup is being made");
	fault_next(f, "ironmesh backup list");
	return ERR_AGAIN;
}

static enum err begin(struct backups *b, enum job job, struct fault *f)
{
	struct command_ctx *cx = b->cx;
	char config[PATH_MAX];
	enum err e = is_idle(b, f);

	if (e != ERR_OK)
		return e;
	b->wall_ms = env_wall(cx->env);
	b->pruned_n = 0;
	b->keep = (unsigned)b->ledger.keep;
	b->fault = (struct fault){ 0 };
	atomic_store(&b->cancel, false);
	e = settle(b, f);
	if (e == ERR_OK && job == JOB_BACKUP && (e = state_keys_of(cx->keyring, &b->keys)) != ERR_OK)
		fault_set(f, e, EXIT_RETRY, "no memory for the keys");
	if (e == ERR_OK)
		e = snapshot_begin(cx->home, config_elsewhere(cx->home, config), &b->snap, f);
	if (e == ERR_OK && snapshot_folder(cx->home, b->folder, sizeof b->folder) != ERR_OK)
		e = fault_set(f, ERR_LIMIT, EXIT_CONFIG, "the path of the home folder is too long");
	if (e == ERR_OK) {
		env_of_system(&b->env);
		b->left_n = snapshot_left_out(b->snap, b->left, sizeof b->left);
		b->work.data = b;
		b->job = job;
		b->working = uv_queue_work(b->loop, &b->work, work, work_over) == 0;
		if (!b->working)
			e = fault_set(f, ERR_NOMEM, EXIT_RETRY, "no thread for the backup");
	}
	if (e != ERR_OK) {
		snapshot_free(b->snap);
		b->snap = NULL;
		end_job(b);
	}
	return e;
}

static enum err begin_backup(struct backups *b, struct fault *f)
{
	char name[BACKUP_NAME_MAX];
	enum err e = is_idle(b, f);

	/* Before the name is made: it belongs to the thread while one works. */
	if (e != ERR_OK)
		return e;
	if (!b->ledger.directory[0]) {
		fault_set(f, ERR_WRONG_STATE, EXIT_CONFIG, "no directory for backups is configured");
		fault_means(f, "the daemon makes backups by itself into backup.directory, with backup.passphrase_file");
		fault_next(f, "ironmesh backup FILE");
		return ERR_WRONG_STATE;
	}
	if (b->absent.err != ERR_OK) {
		*f = b->absent;
		return f->err;
	}
	backup_name(keyring_id(b->cx->keyring), env_wall(b->cx->env), name);
	if (path_join(b->file, sizeof b->file, b->ledger.directory, name) != ERR_OK)
		return fault_set(f, ERR_LIMIT, EXIT_CONFIG, "the path of the directory for backups is too long");
	return begin(b, JOB_BACKUP, f);
}

/* --- the schedule ---------------------------------------------------------------------------------------------- */
/* The newest one of the schedule: one that somebody made elsewhere does not put it off. */
static uint64_t last_here(const struct ledger *l)
{
	size_t n = strlen(l->directory);

	for (size_t i = 0; i < l->n; i++)
		if (strncmp(l->rows[i].file, l->directory, n) == 0 && l->rows[i].file[n] == '/')
			return l->rows[i].created_ms;
	return 0;
}

/* Wall milliseconds; 0: never. */
static uint64_t next_ms(const struct backups *b)
{
	uint64_t now = env_wall(b->cx->env), at, last, again = AGAIN_MS < b->ledger.every_ms ? AGAIN_MS : b->ledger.every_ms;
	const struct ledger *l = &b->ledger;

	if (!l->directory[0] || !l->every_ms)
		return 0;
	last = last_here(l);
	at = last && last <= now ? last + l->every_ms : now;
	if (l->why[0] && l->last_failed_ms <= now && l->last_failed_ms + again > at)
		at = l->last_failed_ms + again;
	return at;
}

static void schedule(struct backups *b)
{
	uint64_t now = env_wall(b->cx->env), at = next_ms(b), delay;

	timer_stop(b->cx->env, &b->due);
	if (!at || b->stopping)
		return;
	delay = at > now ? at - now : 1;
	timer_in(b->cx->env, &b->due, delay < LOOK_MS ? delay : LOOK_MS);
}

static void due(void *ctx)
{
	struct backups *b = ctx;
	struct fault f = { 0 };
	enum err e;

	if (next_ms(b) > env_wall(b->cx->env)) {
		schedule(b);
		return;
	}
	e = begin_backup(b, &f);
	if (e == ERR_OK)
		return;
	if (e == ERR_AGAIN) { /* a command has the place; it says when it is over */
		timer_in(b->cx->env, &b->due, FIRST_MS);
		return;
	}
	b->err = e;
	b->fault = f;
	failed(b);
	schedule(b);
}

void backups_start(struct backups *b)
{
	uint64_t at = next_ms(b), now = env_wall(b->cx->env);

	if (b->absent.err != ERR_OK) {
		b->fault = b->absent;
		failed(b);
		return;
	}
	if (b->ledger.why[0] && b->ledger.directory[0])
		call_for_attention(b);
	if (at)
		timer_in(b->cx->env, &b->due, at > now + FIRST_MS ? (at - now < LOOK_MS ? at - now : LOOK_MS) : FIRST_MS);
}

void backups_reconfigure(struct backups *b, const struct run_config *c)
{
	if (!b->ledger.directory[0])
		return;
	b->ledger.every_ms = c->backup_every_ms;
	b->ledger.keep = c->backup_keep;
	schedule(b);
}

/* --- commands ---------------------------------------------------------------------------------------------------- */
static void released(struct backups *b)
{
	if (b->working) {
		atomic_store(&b->cancel, true);
		return; /* snapshot_over() does the rest */
	}
	snapshot_remove(b->folder);
	end_job(b);
	schedule(b);
}

static void staged_late(void *ctx)
{
	log_warn("snapshot-not-taken after_ms=%d", STAGED_MS);
	released(ctx);
}

static void owner_gone(void *ctx, const struct subscriber *s)
{
	struct backups *b = ctx;

	if (b->job == JOB_SNAPSHOT && b->owner == s)
		released(b);
}

/* Its connection is gone. A backup of the schedule goes on; a snapshot that nobody takes is ended by owner_gone(). */
static void request_gone(struct request *r)
{
	struct backups *b = r->state;

	b->request = NULL;
}

static void keep_request(struct backups *b, struct call *c)
{
	b->request = c->request;
	c->request->state = b;
	c->request->cancel = request_gone;
	c->later = true;
}

enum err backups_snapshot(struct backups *b, struct call *c)
{
	enum err e = begin(b, JOB_SNAPSHOT, c->f);

	if (e != ERR_OK)
		return e;
	b->owner = c->request->subscriber;
	if (c->request->subscriber) {
		c->request->subscriber->gone = owner_gone;
		c->request->subscriber->gone_ctx = b;
	}
	keep_request(b, c);
	return ERR_OK;
}

enum err backups_release(struct backups *b, struct call *c)
{
	const char *folder = arg_text(c, "folder"), *file = arg_text(c, "file");

	if (b->job != JOB_SNAPSHOT || b->working || strcmp(folder, b->folder) != 0)
		return fault_set(c->f, ERR_NOTFOUND, EXIT_GENERIC, "there is no such snapshot");
	if (file)
		made(b, file, (uint64_t)arg_int(c, "bytes", 0), b->wall_ms);
	released(b);
	return result_is(c, json_pack("{s:s}", "schema", "ironmesh.snapshot/1"));
}

enum err backups_now(struct backups *b, struct call *c)
{
	enum err e = begin_backup(b, c->f);

	if (e != ERR_OK)
		return e;
	keep_request(b, c);
	return ERR_OK;
}

json_t *backups_status_json(const struct backups *b)
{
	const struct ledger *l = b ? &b->ledger : NULL;

	if (!b)
		return json_null();
	return json_pack("{s:o, s:I, s:I, s:b, s:I, s:I, s:o}", "directory", text_or_null(l->directory), "every_ms",
			 (json_int_t)l->every_ms, "next_ms", (json_int_t)next_ms(b), "running", b->job != JOB_NONE, "last_ok_ms",
			 (json_int_t)l->last_ok_ms, "last_failed_ms", (json_int_t)l->last_failed_ms, "why", text_or_null(l->why));
}

json_t *backups_list_json(const struct backups *b, const char *home)
{
	struct ledger own = { .n = 0 };
	const struct ledger *l = &own;
	json_t *v;

	if (b)
		l = &b->ledger;
	else
		ledger_load(&own, home);
	v = json_pack("{s:s, s:o, s:I, s:I, s:b, s:I, s:{s:o, s:I, s:o}, s:o}", "schema", "ironmesh.backups/1", "directory",
		      text_or_null(l->directory), "every_ms", (json_int_t)l->every_ms, "keep", (json_int_t)l->keep, "running",
		      b && b->job != JOB_NONE, "next_ms", (json_int_t)(b ? next_ms(b) : 0), "last", "state",
		      text_or_null(l->why[0] ? "failed" : l->last_ok_ms ? "ok" : NULL), "at_ms",
		      (json_int_t)(l->why[0] ? l->last_failed_ms : l->last_ok_ms), "why", text_or_null(l->why), "backups",
		      ledger_rows_json(l));
	ledger_fini(&own);
	return v;
}

/* --- birth and end ----------------------------------------------------------------------------------------------- */
/* Absolute: the working directory says nothing to who reads the list. */
static enum err prepare_directory(struct backups *b, const char *directory, struct fault *f)
{
	char safe[160];

	text_safe(bytes_str(directory), safe, sizeof safe);
	if (mkdir(directory, 0700) != 0 && errno != EEXIST)
		fault_set(f, err_from_errno(errno), EXIT_CONFIG, "the directory for backups, %s, cannot be made: %s", safe,
			  strerror(errno));
	else if (!realpath(directory, b->ledger.directory) || access(directory, W_OK | X_OK) != 0)
		fault_set(f, err_from_errno(errno), EXIT_CONFIG, "the directory for backups, %s, cannot be used: %s", safe,
			  strerror(errno));
	else
		return ERR_OK;
	fault_means(f, "messages go on; backups begin with the next start that finds it");
	fault_next(f, "mkdir -m 700 %s   (owned by the user of the daemon; or mount its disk), then start the daemon again", safe);
	return f ? f->err : ERR_IO;
}

/* A disk that is not there stops no messages. The walls stand before it comes, so the next start is when it is looked for. */
static enum err find_directory(struct backups *b, const char *directory, struct fault *f)
{
	enum err e = prepare_directory(b, directory, &b->absent);

	if (e == ERR_OK)
		return ERR_OK;
	if (directory[0] != '/' || snprintf(b->ledger.directory, sizeof b->ledger.directory, "%s", directory) >= PATH_MAX) {
		if (f)
			*f = b->absent;
		return e;
	}
	return ERR_OK;
}

enum err backups_new(uv_loop_t *loop, struct command_ctx *cx, const struct run_config *c, struct backups **out, struct fault *f)
{
	struct backups *b = calloc(1, sizeof *b);
	enum err e = ERR_OK;

	if (!b)
		return fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory for backups");
	b->loop = loop;
	b->cx = cx;
	timer_init(&b->due, due, b);
	timer_init(&b->staged, staged_late, b);
	snapshot_sweep(cx->home);
	ledger_load(&b->ledger, cx->home);
	b->ledger.directory[0] = '\0';
	b->ledger.every_ms = b->ledger.keep = 0;
	if (c->backup_directory) {
		e = find_directory(b, c->backup_directory, f);
		if (e == ERR_OK)
			e = passphrase_from_file(c->backup_passphrase_file, &b->passphrase, f);
		b->ledger.every_ms = c->backup_every_ms;
		b->ledger.keep = c->backup_keep;
	}
	if (e != ERR_OK) {
		backups_free(b);
		return e;
	}
	*out = b;
	return ERR_OK;
}

void backups_stop(struct backups *b, void (*idle)(void *ctx), void *ctx)
{
	if (!b)
		return;
	b->stopping = true;
	b->idle = idle;
	b->idle_ctx = ctx;
	timer_stop(b->cx->env, &b->due);
	atomic_store(&b->cancel, true);
	if (b->job == JOB_SNAPSHOT && !b->working)
		released(b);
}

void backups_free(struct backups *b)
{
	if (!b)
		return;
	ledger_fini(&b->ledger);
	secret_free(&b->passphrase);
	free(b);
}
