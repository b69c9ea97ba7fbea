#include "daemon/import.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/home.h"
#include "daemon/invites.h"
#include "base/owner.h"
#include "store/audit.h"
#include "store/imb1.h"
#include "store/import_db.h"
#include "store/restore.h"
#include "store/snapshot.h"
#include "trust/invite.h"
#include "trust/keyfile.h"
#include "trust/pins.h"

#define LEDGER_MAX (1u << 20)
#define LEDGER_KEEP_MS 3600000u
#define LOG_MAX (64ull << 20)
#define DB_MAX (16ull << 30)
#define PIECE (1u << 18)
#define OLD_LOGS 5

struct import {
	const struct work *w;
	struct env *env;
	char from[PATH_MAX];   /* a folder: the one given, or what was in the archive */
	char staged[4096], temp[4096], kept[4096];
	int lock, staged_lock; /* -1 */
	enum restore_target target;
	struct keyring *keyring;
	struct keyfile_info info;
	json_t *came, *left, *warnings; /* the report */
	char tail[65]; /* hmac of the last entry of the old audit log; "" */
	uint64_t entries;
};

/* --- the report -------------------------------------------------------------------------------------------------- */
static void came(struct import *m, const char *what, uint64_t count, const char *note)
{
	if (count)
		(void)json_array_append_new(m->came, json_pack("{s:s, s:I, s:s}", "what", what, "count", (json_int_t)count, "note", note));
}

static void left(struct import *m, const char *what, uint64_t count, const char *why)
{
	char safe[300];

	(void)json_array_append_new(m->left, json_pack("{s:s, s:I, s:s}", "what", text_safe(bytes_str(what), safe, sizeof safe), "count",
						       (json_int_t)count, "why", why));
}

static void warn(struct import *m, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void warn(struct import *m, const char *fmt, ...)
{
	char text[400], safe[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	(void)json_array_append_new(m->warnings, json_string(text_safe(bytes_str(text), safe, sizeof safe)));
}

/* --- the source ---------------------------------------------------------------------------------------------------- */
static enum err in_folder(const char *folder, const char *name, char out[static PATH_MAX], struct fault *f)
{
	enum err e = path_join(out, PATH_MAX, folder, name);

	return e == ERR_OK ? e : fault_set(f, e, EXIT_USAGE, "the path of the folder is too long");
}

static bool is_there(const struct import *m, const char *name)
{
	char path[PATH_MAX];

	return path_join(path, sizeof path, m->from, name) == ERR_OK && access(path, F_OK) == 0;
}

/* A plain file of somebody else, copied for us alone. */
static enum err copy(const char *from, const char *to, uint64_t max, struct fault *f)
{
	int in = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), out = -1;
	bool link = in < 0 && errno == ELOOP;
	uint64_t all = 0;
	uint8_t *piece = malloc(PIECE);
	struct stat st;
	ssize_t n = -1;
	enum err e = in < 0 ? err_from_errno(errno) : piece ? ERR_OK : ERR_NOMEM;

	if (e == ERR_OK && (fstat(in, &st) != 0 || !S_ISREG(st.st_mode)))
		e = ERR_DENIED;
	if (e == ERR_OK && (uint64_t)st.st_size > max)
		e = ERR_LIMIT;
	if (e == ERR_OK && (out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)) < 0)
		e = err_from_errno(errno);
	while (e == ERR_OK && (n = read(in, piece, PIECE)) != 0) {
		size_t done = 0;

		if (n < 0)
			e = errno == EINTR ? ERR_OK : err_from_errno(errno);
		else if ((all += (size_t)n) > max)
			e = ERR_LIMIT; /* it grows */
		while (e == ERR_OK && n > 0 && done < (size_t)n) {
			ssize_t k = write(out, piece + done, (size_t)n - done);

			if (k < 0)
				e = errno == EINTR ? ERR_OK : err_from_errno(errno);
			else
				done += (size_t)k;
		}
	}
	if (e == ERR_OK && fsync(out) != 0)
		e = err_from_errno(errno);
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	free(piece);
	if (e != ERR_OK)
		fault_set(f, e, EXIT_GENERIC, "%s cannot be copied: %s", from, link ? "it is a symbolic link" : e == ERR_STORE ? "the disk is full" : err_word(e));
	if (link)
		fault_next(f, "the same command on a copy of the folder (cp -rL)");
	return e;
}

static enum err save(const char *folder, const char *name, const struct buf *b, struct fault *f)
{
	char path[PATH_MAX];
	enum err e = in_folder(folder, name, path, f);

	return e == ERR_OK && b->n ? file_create_secret(path, buf_bytes(b), f) : e;
}

/* The members of an archive, in a folder of their own below the staged one. */
static enum err unpack_archive(struct import *m, const char *file, struct fault *f)
{
	struct buf sealed, plain;
	struct imb1 x = { 0 };
	enum err e;

	buf_init(&sealed, IMB1_FILE_MAX);
	buf_init(&plain, IMB1_FILE_MAX);
	e = file_read(file, &sealed, f);
	if (e == ERR_OK && !imb1_is(buf_bytes(&sealed))) {
		e = fault_set(f, ERR_MALFORMED, EXIT_USAGE, "this file is no archive of the old software (IMB1)");
		fault_next(f, "ironmesh restore FILE   (for a backup that this program has made)");
	}
	if (e == ERR_OK && !m->w->archive.n) {
		e = fault_set(f, ERR_DENIED, EXIT_USAGE, "the archive is encrypted");
		fault_next(f, "the same command with --archive-passphrase-file FILE");
	}
	if (e == ERR_OK)
		e = imb1_unseal(buf_bytes(&sealed), m->w->archive, &plain, f);
	if (e == ERR_OK)
		e = imb1_unpack(buf_bytes(&plain), &x, f);
	buf_wipe(&plain);
	buf_fini(&plain);
	buf_fini(&sealed);
	if (e != ERR_OK)
		return e;
	snprintf(m->from, sizeof m->from, "%s", m->temp);
	e = save(m->from, "keys.json", &x.keys, f);
	if (e == ERR_OK)
		e = save(m->from, "known_peers.json", &x.pins, f);
	if (e == ERR_OK)
		e = save(m->from, "audit.log", &x.audit, f);
	imb1_fini(&x);
	left(m, "data.db", 1, "an IMB1 archive never holds messages");
	return e;
}

/* --- parts ----------------------------------------------------------------------------------------------------------- */
static enum err take_identity(struct import *m, struct fault *f)
{
	char from[PATH_MAX], to[PATH_MAX];
	enum err e = in_folder(m->from, HOME_KEYS, from, f);

	if (e == ERR_OK)
		e = in_folder(m->staged, HOME_KEYS, to, f);
	if (e == ERR_OK && access(from, F_OK) != 0) {
		e = fault_set(f, ERR_NOTFOUND, EXIT_USAGE, "there is no keys.json in %s", m->from);
		fault_means(f, "a folder of the old software holds one; it is ~/.ironmesh unless another was given");
	}
	if (e == ERR_OK)
		e = copy(from, to, KEYFILE_MAX_BYTES, f);
	if (e != ERR_OK)
		return e;
	e = keyfile_load(to, m->w->key, m->env, &m->keyring, &m->info, f);
	if (e == ERR_OK && m->info.migrated) {
		keyring_free(m->keyring);
		m->keyring = NULL;
		e = keyfile_migrate(to, m->w->key, m->env, f);
		if (e == ERR_OK)
			e = keyfile_load(to, m->w->key, m->env, &m->keyring, &m->info, f);
		warn(m, "the key file was of version 1 or 2: the identity is the same, its key for sealed messages is new");
	}
	if (e == ERR_DENIED)
		fault_next(f, "the same command with --passphrase-file FILE");
	if (e == ERR_OK)
		came(m, "identity", 1, m->info.encrypted ? "under the passphrase it has" : "stored in clear, as it was");
	if (e == ERR_OK && !m->info.encrypted)
		warn(m, "the key of this node is stored without encryption");
	return e;
}

static bool count_states(void *ctx, const struct pin *pin)
{
	size_t *states = ctx;

	states[pin->state]++;
	return true;
}

static enum err take_pins(struct import *m, struct fault *f)
{
	bool unverified = json_is_true(json_object_get(m->w->params, "accept_unverified")), authentic = false;
	size_t states[PIN_STATES] = { 0 };
	char from[PATH_MAX], to[PATH_MAX];
	struct pins *p;
	enum err e = in_folder(m->from, HOME_PINS, from, f);

	if (e == ERR_OK)
		e = in_folder(m->staged, HOME_PINS, to, f);
	if (e != ERR_OK || access(from, F_OK) != 0) {
		if (e == ERR_OK)
			left(m, "known_peers.json", 0, "there is none: nobody is known");
		return e;
	}
	e = pins_import(from, to, m->keyring, m->env, unverified, &p, &authentic, f);
	if (e == ERR_AUTH) {
		fault_means(f, "Whom this node trusts may have been written by anybody. To look first, and then to take it as it is:");
		fault_next(f, "the same command with --accept-unverified-trust");
	}
	if (e != ERR_OK)
		return e;
	pins_each(p, count_states, states);
	e = pins_flush(p, f);
	pins_free(p);
	if (e != ERR_OK)
		return e;
	came(m, "trusted peers", states[PIN_TRUSTED], "");
	came(m, "pending peers", states[PIN_PENDING], "");
	came(m, "blocked peers", states[PIN_BLOCKED], "");
	came(m, "revoked identities", states[PIN_REVOKED], "");
	if (!authentic)
		warn(m, "UNVERIFIED: nothing proves that this node wrote its trust store; compare each of its %zu trusted peers "
					"(ironmesh trust verify)", states[PIN_TRUSTED]);
	return ERR_OK;
}

static enum err take_log(struct import *m, unsigned n, struct fault *f)
{
	char name[32] = "audit.log", kept[48] = "audit.log.imported", from[PATH_MAX], to[PATH_MAX];
	struct audit_report r;
	json_t *last = NULL;
	enum err e;

	if (n) {
		snprintf(name, sizeof name, "audit.log.%u", n);
		snprintf(kept, sizeof kept, "audit.log.imported.%u", n);
	}
	e = in_folder(m->from, name, from, f);
	if (e == ERR_OK)
		e = in_folder(m->staged, kept, to, f);
	if (e != ERR_OK || access(from, F_OK) != 0)
		return e;
	e = copy(from, to, LOG_MAX, f);
	if (e == ERR_OK)
		e = audit_verify(to, m->keyring, &r, f);
	if (e != ERR_OK)
		return e;
	if (!n && audit_tail(to, 1, &last, NULL) == ERR_OK) {
		const char *hmac = json_str(json_array_get(last, 0), "hmac");

		snprintf(m->tail, sizeof m->tail, "%s", hmac && strlen(hmac) == 64 ? hmac : "");
	}
	json_decref(last);
	m->entries += r.entries;
	came(m, r.bad_line ? "audit log (not unbroken)" : "audit log", 1, kept);
	if (r.bad_line)
		warn(m, "%s does not check out from its line %llu on: it is a tail, or was changed", name,
			    (unsigned long long)r.bad_line);
	return ERR_OK;
}

static enum err take_logs(struct import *m, struct fault *f)
{
	char path[PATH_MAX], count[24];
	struct audit *a;
	enum err e = ERR_OK;

	for (unsigned n = 0; e == ERR_OK && n <= OLD_LOGS; n++)
		e = take_log(m, n, f);
	if (e == ERR_OK)
		e = in_folder(m->staged, HOME_AUDIT, path, f);
	if (e == ERR_OK)
		e = audit_open(path, m->keyring, m->env, &a, f);
	if (e != ERR_OK)
		return e;
	snprintf(count, sizeof count, "%llu", (unsigned long long)m->entries);
	audit_note(a, "IMPORTED", (struct bytes){ 0 }, "previous_file", "audit.log.imported", "previous_tail_hmac", m->tail,
		   "previous_entries", count, NULL);
	e = audit_flush(a);
	if (e != ERR_OK)
		fault_set(f, e, EXIT_GENERIC, "the new audit log cannot be written: %s", err_word(e));
	audit_close(a);
	return e;
}

/* {"version":1,"spent":{"<nonce>":{"spent_at":t,"expires_at":t}}} */
static enum err take_ledger(struct import *m, struct store *s, struct fault *f)
{
	uint64_t now = env_wall(m->env), taken = 0, over = 0, bad = 0;
	char path[PATH_MAX];
	json_t *root = NULL, *x;
	const char *nonce;
	struct buf b;
	enum err e = in_folder(m->from, "invite_ledger.json", path, f);

	if (e != ERR_OK || access(path, F_OK) != 0)
		return e;
	buf_init(&b, LEDGER_MAX);
	if (file_read(path, &b, NULL) != ERR_OK || json_load_strict(buf_bytes(&b), LEDGER_MAX, &root) != ERR_OK)
		bad = 1;
	buf_fini(&b);
	json_object_foreach (json_object_get(root, "spent"), nonce, x) {
		double spent = json_number_value(json_object_get(x, "spent_at")), until = json_number_value(json_object_get(x, "expires_at"));
		uint8_t raw[INVITE_NONCE];

		if (hex_decode(bytes_str(nonce), raw, sizeof raw) != ERR_OK || !(spent > 0 && spent < 1e11) || !(until > 0 && until < 1e11)) {
			bad++;
		} else if ((uint64_t)(until * 1000) + LEDGER_KEEP_MS < now || taken == INVITES_MAX) {
			over++;
		} else {
			e = invites_add_spent(s, raw, (uint64_t)(spent * 1000), (uint64_t)(until * 1000));
			if (e != ERR_OK)
				break;
			taken++;
		}
	}
	json_decref(root);
	if (e == ERR_OK)
		e = store_commit(s);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "the new database cannot be written: %s", err_word(e));
	came(m, "spent invites", taken, "");
	if (over)
		left(m, "spent invites", over, "expired: nobody can use them any more");
	if (bad)
		left(m, "invite_ledger.json", bad, "not of a form that is known");
	return ERR_OK;
}

static enum err take_messages(struct import *m, struct store *s, struct fault *f)
{
	/* By names of state.h, so that they go with the folder. */
	static const char *const files[][2] = { { "data.db", HOME_STORE }, { "data.db-wal", HOME_STORE "-wal" } };
	struct import_db in = { .mesh = m->w->mesh, .self = keyring_id(m->keyring), .store = s, .env = m->env };
	const struct backup_watch watch = { .fn = m->w->watch, .ctx = m->w->ctx };
	struct import_db_counts n;
	char from[PATH_MAX], to[PATH_MAX], db[PATH_MAX];
	enum err e = ERR_OK;

	if (!is_there(m, files[0][0]))
		return ERR_OK;
	/* SQLite writes beside what it opens; the source is only read. */
	for (size_t i = 0; e == ERR_OK && i < 2; i++) {
		e = in_folder(m->from, files[i][0], from, f);
		if (e == ERR_OK)
			e = in_folder(m->temp, files[i][1], to, f);
		if (e == ERR_OK && access(from, F_OK) == 0)
			e = copy(from, to, DB_MAX, f);
	}
	if (e == ERR_OK)
		e = in_folder(m->temp, files[0][1], db, f);
	in.path = db;
	in.watch = &watch;
	if (e == ERR_OK)
		e = import_db(&in, &n, f);
	if (e != ERR_OK)
		return e;
	came(m, "messages that wait to be sent", n.waiting, "");
	came(m, "messages held for an operator", n.held, "");
	came(m, "messages of the history", n.history, "what came is marked as read");
	if (n.unopened)
		left(m, "messages", n.unopened, m->w->mesh.n ? "the passphrase of the mesh does not open them" :
							      "sealed: --mesh-passphrase-file opens them");
	if (n.strange)
		left(m, "messages", n.strange, "to or from something that is no node id, or of an impossible form");
	if (n.twice)
		left(m, "messages", n.twice, "there under the same id already");
	if (n.full)
		left(m, "messages", n.full, "more than an inbox or outbox holds");
	return ERR_OK;
}

static enum err take_database(struct import *m, struct fault *f)
{
	struct store_config c = { .env = m->env };
	struct secret wrap;
	char path[PATH_MAX];
	struct store *s;
	enum err e = in_folder(m->staged, HOME_STORE, path, f);

	if (e != ERR_OK)
		return e;
	e = keyring_derive(m->keyring, DERIVE_DB_WRAP, &wrap);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "no memory for the keys");
	c.path = path;
	c.wrap_key = secret_bytes(&wrap);
	e = store_open(&c, &s, f);
	secret_free(&wrap);
	if (e != ERR_OK)
		return e;
	e = take_ledger(m, s, f);
	if (e == ERR_OK)
		e = take_messages(m, s, f);
	store_close(s);
	return e;
}

static void tell_rest(struct import *m)
{
	static const struct {
		const char *name, *why;
	} known[] = {
		{ "routes.json", "routes are found anew within a minute" },
		{ "capabilities.json", "what others can do is heard anew; what this node can do: ironmesh caps set" },
		{ "audit.log.lock", NULL }, { "data.db-shm", NULL }, { "data.db-wal", NULL }, { "data.db", NULL }, { "keys.json", NULL },
		{ "known_peers.json", NULL }, { "audit.log", NULL }, { "invite_ledger.json", NULL }, { "audit.log.1", NULL },
		{ "audit.log.2", NULL }, { "audit.log.3", NULL }, { "audit.log.4", NULL }, { "audit.log.5", NULL },
	};
	DIR *dir = strcmp(m->from, m->temp) == 0 ? NULL : opendir(m->from);
	struct dirent *d;
	struct stat st;
	size_t i, unknown = 0;

	while (dir && (d = readdir(dir))) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		for (i = 0; i < sizeof known / sizeof known[0] && strcmp(known[i].name, d->d_name) != 0; i++)
			;
		if (i < sizeof known / sizeof known[0]) {
			if (known[i].why)
				left(m, d->d_name, 1, known[i].why);
		} else if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_size == 64) {
			left(m, d->d_name, 1, "perhaps an identity of Reticulum: this program has no radio yet; keep the file");
		} else if (unknown++ < 32) {
			left(m, d->d_name, 1, "not known");
		}
	}
	if (dir)
		closedir(dir);
}

/* --- the order ------------------------------------------------------------------------------------------------------- */
static bool carry_one(void *ctx, const char *name, const struct state_row *row)
{
	struct import *m = ctx;
	char from[PATH_MAX], to[PATH_MAX];

	if (!row || row->how == STATE_NOT || path_join(from, sizeof from, m->w->home, name) != ERR_OK ||
	    path_join(to, sizeof to, m->staged, name) != ERR_OK || access(to, F_OK) == 0)
		return true;
	if (strchr(name, '/')) {
		char folder[PATH_MAX];

		snprintf(folder, sizeof folder, "%s", to);
		*strrchr(folder, '/') = '\0';
		if (mkdir(folder, 0700) != 0 && errno != EEXIST)
			return true;
	}
	if (copy(from, to, row->max_bytes, NULL) != ERR_OK)
		warn(m, "%s of the home folder did not come along; it is in the old folder", name);
	return true;
}

static enum err begin(struct import *m, struct fault *f)
{
	char keys[PATH_MAX];
	enum err e = restore_look(m->w->home, &m->target, f);

	if (e == ERR_OK)
		e = in_folder(m->w->home, HOME_KEYS, keys, f);
	if (e == ERR_OK && access(keys, F_OK) == 0) {
		e = fault_set(f, ERR_EXISTS, EXIT_USAGE, "there is an identity in %s", m->w->home);
		fault_means(f, "a node has one; the imported one needs a folder of its own");
		fault_next(f, "the same command with --home DIR");
	}
	if (e == ERR_OK && m->target == RESTORE_USED && (e = restore_of_ours(m->w->home, f)) == ERR_EXISTS)
		fault_next(f, "the same command with --home DIR");
	if (e == ERR_OK && m->target == RESTORE_USED) {
		e = owner_become(m->w->home, f);
		if (e == ERR_OK)
			e = home_lock(m->w->home, &m->lock, f);
		owner_leave();
	}
	if (e == ERR_OK)
		e = restore_stage(m->w->home, m->staged, &m->staged_lock, f);
	if (e == ERR_OK && (snapshot_folder(m->staged, m->temp, sizeof m->temp) != ERR_OK || mkdir(m->temp, 0700) != 0))
		e = fault_set(f, ERR_IO, EXIT_GENERIC, "cannot make a folder in %s", m->staged);
	return e;
}

static enum err source(struct import *m, struct fault *f)
{
	const char *given = json_str(m->w->params, "from");
	struct stat st;

	if (stat(given, &st) != 0)
		return fault_set(f, err_from_errno(errno), EXIT_USAGE, "cannot open %s: %s", given, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return unpack_archive(m, given, f);
	if (!realpath(given, m->from))
		return fault_set(f, err_from_errno(errno), EXIT_USAGE, "cannot open %s: %s", given, strerror(errno));
	return ERR_OK;
}

static enum err all(struct import *m, struct fault *f)
{
	bool dry = json_is_true(json_object_get(m->w->params, "dry_run"));
	enum err e = begin(m, f);

	if (e == ERR_OK)
		e = source(m, f);
	if (e == ERR_OK)
		e = take_identity(m, f);
	if (e == ERR_OK)
		e = take_pins(m, f);
	if (e == ERR_OK)
		e = take_database(m, f);
	if (e == ERR_OK)
		e = take_logs(m, f);
	if (e != ERR_OK)
		return e;
	tell_rest(m);
	snapshot_sweep(m->staged);
	if (m->target == RESTORE_USED)
		e = state_each(m->w->home, carry_one, m, f);
	if (e == ERR_OK && !dry)
		e = restore_finish(m->w->home, m->staged, false, 0, env_wall(m->env), f);
	if (e == ERR_OK && !dry)
		e = restore_swap(m->w->home, m->staged, m->target, env_wall(m->env), m->kept, f);
	if (e == ERR_OK && !dry)
		m->staged[0] = '\0';
	return e;
}

enum err import_work(const struct work *w, struct env *env, json_t **result, struct fault *f)
{
	struct import m = { .w = w, .env = env, .lock = -1, .staged_lock = -1,
			    .came = json_array(), .left = json_array(), .warnings = json_array() };
	char from[PATH_MAX], home[PATH_MAX], kept[PATH_MAX];
	json_t *v = NULL;
	enum err e = m.came && m.left && m.warnings ? all(&m, f) : ERR_NOMEM;

	if (e == ERR_OK)
		v = json_pack("{s:s, s:s, s:s, s:o, s:b, s:s, s:s, s:O, s:O, s:O}", "schema", "ironmesh.import/1", "from",
			      text_safe(bytes_str(json_str(w->params, "from")), from, sizeof from), "home",
			      text_safe(bytes_str(w->home), home, sizeof home), "kept",
			      m.kept[0] ? json_string(text_safe(bytes_str(m.kept), kept, sizeof kept)) : json_null(), "dry_run",
			      json_is_true(json_object_get(w->params, "dry_run")), "id", m.info.id.hex, "name", m.info.name, "came",
			      m.came, "left", m.left, "warnings", m.warnings);
	if (m.staged[0]) {
		snapshot_sweep(m.staged);
		restore_drop(m.staged);
	}
	if (m.staged_lock >= 0)
		close(m.staged_lock);
	if (m.lock >= 0)
		close(m.lock);
	keyring_free(m.keyring);
	json_decref(m.came);
	json_decref(m.left);
	json_decref(m.warnings);
	if (e != ERR_OK)
		return e;
	*result = v ? v : json_object();
	return ERR_OK;
}
