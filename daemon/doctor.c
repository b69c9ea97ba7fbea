/* The table of checks, what a finding is, and the repairs. */
#include "daemon/doctor_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/loop.h"
#include "base/owner.h"

static const struct doctor_check TABLE[] = {
	{ "home", "the home folder is there, ours, and closed to others", doctor_home },
	{ "permissions", "the files in it belong to its owner and are closed to others", doctor_permissions },
	{ "disk", "the file system can be written to and has room", doctor_disk },
	{ "key", "the key file is whole, encrypted, of the newest form, and opens", doctor_key },
	{ "trust", "the trust store is ours and can be changed", doctor_trust },
	{ "database", "the database is sound, of a known schema, and opens with this key", doctor_database },
	{ "audit", "the audit log is one unbroken chain", doctor_audit },
	{ "certificate", "TLS key and certificate are whole and belong together", doctor_certificate },
	{ "leftovers", "nothing is left of work that was interrupted", doctor_leftovers },
	{ "configuration", "ironmesh.conf and conf.d are valid, and in effect", doctor_configuration },
	{ "daemon", "the daemon answers on its control socket", doctor_daemon },
	{ "version", "the running daemon is this program", doctor_version },
	{ "clock", "the clock is plausible, and has not jumped", doctor_clock },
	{ "ports", "the daemon listens where it should", doctor_ports },
	{ "firewall", "no packet filter is in the way", doctor_firewall },
	{ "multicast", "a network interface carries multicast, for discovery", doctor_multicast },
	{ "avahi", "avahi answers, for discovery", doctor_avahi },
	{ "memory", "keys can be kept out of the swap", doctor_memory },
	{ "descriptors", "enough files may be open at once", doctor_descriptors },
	{ "walls", "every wall around the daemon stands", doctor_walls },
	{ "mesh", "this node has a key of a mesh", doctor_mesh },
	{ "alarms", "no changed key waits for a decision", doctor_alarms },
	{ "queue", "no message waits for too long", doctor_queue },
	{ "backup", "the scheduled backups are made", doctor_backup },
};
#define CHECKS (sizeof TABLE / sizeof TABLE[0])

bool daemon_doctor_check(unsigned i, const char **name, const char **about)
{
	if (i >= CHECKS)
		return false;
	*name = TABLE[i].name;
	*about = TABLE[i].about;
	return true;
}

/* --- findings --------------------------------------------------------------------------------------- */
static const char *state_word(enum doctor_state s)
{
	static const char *const words[] = { "ok", "skipped", "warning", "failure" };

	return words[s];
}

static void put(struct doctor *d, const char *member, const char *fmt, va_list ap) PRINTF_LIKE(3, 0);

static void put(struct doctor *d, const char *member, const char *fmt, va_list ap)
{
	char text[2048], safe[sizeof text];

	vsnprintf(text, sizeof text, fmt, ap);
	(void)json_object_set_new(d->item, member, json_string(text_safe(bytes_str(text), safe, sizeof safe)));
}

void doctor_say(struct doctor *d, enum doctor_state s, const char *fmt, ...)
{
	va_list ap;

	d->item = json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", d->now->name, "state", state_word(s), "what", "", "means", "",
			    "fix", "");
	va_start(ap, fmt);
	put(d, "what", fmt, ap);
	va_end(ap);
	(void)json_array_append_new(d->checks, d->item);
}

void doctor_means(struct doctor *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put(d, "means", fmt, ap);
	va_end(ap);
}

void doctor_fix(struct doctor *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put(d, "fix", fmt, ap);
	va_end(ap);
}

void doctor_fault(struct doctor *d, enum doctor_state s, const struct fault *f, const char *fix)
{
	doctor_say(d, s, "%s", f->what[0] ? f->what : err_word(f->err));
	doctor_means(d, "%s", f->means);
	doctor_fix(d, "%s", fix ? fix : f->next);
}

/* --- repairs ------------------------------------------------------------------------------------------ */
static void offer(struct doctor *d, const char *path, bool removal, mode_t mode)
{
	struct repair *r = &d->offers[d->offer_count];

	if (d->offer_count == DOCTOR_REPAIRS_MAX || strlen(path) >= sizeof r->path)
		return;
	*r = (struct repair){ .remove = removal, .mode = mode };
	snprintf(r->path, sizeof r->path, "%s", path);
	d->offer_count++;
}

void doctor_offer_mode(struct doctor *d, const char *path, mode_t mode)
{
	offer(d, path, false, mode);
}

void doctor_offer_removal(struct doctor *d, const char *path)
{
	offer(d, path, true, 0);
}

/* By descriptor: what was looked at is what is changed. */
static bool set_mode(const char *path, mode_t mode, uid_t owner)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	bool ok;

	if (fd < 0)
		return false;
	ok = fstat(fd, &st) == 0 && (S_ISDIR(st.st_mode) || (S_ISREG(st.st_mode) && st.st_nlink == 1)) && st.st_uid == owner &&
	     fchmod(fd, mode) == 0;
	close(fd);
	return ok;
}

static bool repair(struct doctor *d, const struct repair *r)
{
	char word[DOCTOR_WORD_MAX], text[DOCTOR_WORD_MAX + 64], safe[sizeof text];
	bool ok = d->dry_run || (r->remove ? unlink(r->path) == 0 : set_mode(r->path, r->mode, d->owner));

	word_for_shell(r->path, word, sizeof word);
	if (r->remove)
		snprintf(text, sizeof text, "%srm %s", ok ? "" : "failed: ", word);
	else
		snprintf(text, sizeof text, "%schmod %o %s", ok ? "" : "failed: ", (unsigned)r->mode, word);
	(void)json_array_append_new(d->repairs, json_string(text_safe(bytes_str(text), safe, sizeof safe)));
	return ok;
}

/* What was found is looked for again when something was mended. */
static void run(struct doctor *d, const struct doctor_check *c)
{
	size_t before = json_array_size(d->checks);
	bool mended = false;

	d->now = c;
	d->offer_count = 0;
	c->run(d);
	if (!d->fix)
		return;
	for (size_t i = 0; i < d->offer_count; i++)
		mended |= repair(d, &d->offers[i]);
	if (!mended || d->dry_run)
		return;
	while (json_array_size(d->checks) > before)
		(void)json_array_remove(d->checks, before);
	c->run(d);
}

/* --- for the checks ------------------------------------------------------------------------------------- */
bool doctor_path(const struct doctor *d, const char *name, char out[static PATH_MAX])
{
	return path_join(out, PATH_MAX, d->home, name) == ERR_OK;
}

const char *doctor_word(const struct doctor *d, const char *name, char out[static DOCTOR_WORD_MAX])
{
	char path[PATH_MAX];

	return word_for_shell(doctor_path(d, name, path) ? path : name, out, DOCTOR_WORD_MAX);
}

bool doctor_readable(const struct doctor *d, const char *name)
{
	char path[PATH_MAX];
	struct stat st;

	return doctor_path(d, name, path) && lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
	       (st.st_mode & 077) == 0 && st.st_uid == d->owner;
}

bool doctor_slurp(const char *path, struct buf *b)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	uint8_t piece[4096];
	ssize_t n = -1;

	if (fd < 0)
		return false;
	while ((n = read(fd, piece, sizeof piece)) > 0) {
		if ((size_t)n > b->max - b->n)
			break;
		buf_add(b, bytes_of(piece, (size_t)n));
	}
	close(fd);
	return n >= 0;
}

bool doctor_listens(const struct doctor *d, size_t i, char host[static 256], unsigned *port)
{
	const char *at = json_string_value(json_array_get(json_object_get(d->status, "listen"), i));
	const char *colon = at ? strrchr(at, ':') : NULL;
	size_t n = colon ? (size_t)(colon - at) : 0;

	if (!colon || n >= 256)
		return false;
	if (n > 1 && at[0] == '[')
		snprintf(host, 256, "%.*s", (int)n - 2, at + 1);
	else
		snprintf(host, 256, "%.*s", (int)n, at);
	*port = (unsigned)strtoul(colon + 1, NULL, 10);
	return true;
}

/* --- running ---------------------------------------------------------------------------------------------- */
/* Without a daemon the folder must not begin to change under us. A lock that is not there is not made. */
static void take_lock(struct doctor *d)
{
	char path[PATH_MAX];

	if (strcmp(d->link, "up") == 0 || !doctor_path(d, HOME_LOCK, path))
		return;
	d->lock = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (d->lock >= 0 && flock(d->lock, LOCK_EX | LOCK_NB) != 0) {
		d->locked_by_other = errno == EWOULDBLOCK;
		close(d->lock);
		d->lock = -1;
	}
}

static const char *const OF_HOME[] = { "home", "permissions", "disk", "key", "trust", "database", "audit", "certificate",
				       "leftovers", "configuration", "daemon", "clock", "queue" };

static bool looks_at_home(const char *name)
{
	for (size_t i = 0; i < sizeof OF_HOME / sizeof OF_HOME[0]; i++)
		if (strcmp(OF_HOME[i], name) == 0)
			return true;
	return false;
}

static void worst_of(struct doctor *d)
{
	json_t *v;
	size_t i;

	json_array_foreach (d->checks, i, v)
		for (int s = DOCTOR_WARNING; s <= DOCTOR_FAILURE; s++)
			if (strcmp(json_str(v, "state"), state_word(s)) == 0 && s > (int)d->worst)
				d->worst = (enum doctor_state)s;
}

enum err daemon_doctor(const char *home, struct bytes passphrase, const json_t *asked, json_t **result, struct fault *f)
{
	struct doctor *d = calloc(1, sizeof *d);
	enum err e = d ? secret_init_library() : ERR_NOMEM;

	if (e != ERR_OK) {
		free(d);
		return fault_set(f, e, EXIT_GENERIC, "the doctor does not start: %s", err_word(e));
	}
	log_setup(&(struct log_config){ .level = LOG_ERROR, .fd = -1 }); /* what is wrong is in the findings */
	d->home = home;
	word_for_shell(home, d->home_word, sizeof d->home_word);
	d->passphrase = passphrase;
	d->fix = json_is_true(json_object_get(asked, "fix"));
	d->dry_run = json_is_true(json_object_get(asked, "dry_run"));
	d->queue_age_ms = doctor_ms(asked, "queue_age_ms");
	d->link = json_str(asked, "link") ? json_str(asked, "link") : "none";
	d->status = json_object_get(asked, "status");
	d->audit = json_object_get(asked, "audit");
	d->queue = json_object_get(asked, "queue");
	d->lock = -1;
	d->checks = json_array();
	d->repairs = json_array();
	env_of_system(&d->env);
	for (size_t i = 0; e == ERR_OK && i < CHECKS; i++) {
		/* As its owner: what is found is what he finds, and nothing of root's is left there. */
		if (looks_at_home(TABLE[i].name))
			e = owner_become(home, f);
		if (e == ERR_OK && i == 0)
			take_lock(d);
		if (e == ERR_OK)
			run(d, &TABLE[i]);
		owner_leave();
	}
	worst_of(d);
	keyring_free(d->keyring);
	if (d->lock >= 0)
		close(d->lock);
	timers_fini(&d->env);
	if (e != ERR_OK) {
		json_decref(d->checks);
		json_decref(d->repairs);
		free(d);
		return e;
	}
	*result = json_pack("{s:s, s:s, s:o, s:o}", "schema", "ironmesh.doctor/1", "state",
			    d->worst == DOCTOR_OK ? "ok" : state_word(d->worst), "checks", d->checks, "repairs", d->repairs);
	free(d);
	return *result ? ERR_OK : fault_set(f, ERR_NOMEM, EXIT_GENERIC, "no memory");
}
