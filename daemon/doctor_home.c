/* The folder itself: whose it is, who can get at it, whether it can be written to, what lies about in it. */
#include "daemon/doctor_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <unistd.h>

#include "store/state.h"

#define SPACE_FAIL (16ull << 20)
#define SPACE_WARN (200ull << 20)
#define INODES_FAIL 16
#define TEMP_AGE_S 60
#define COMMAND_MAX 1500 /* of names in one command */

void doctor_home(struct doctor *d)
{
	struct stat st;

	if (lstat(d->home, &st) != 0) {
		doctor_say(d, DOCTOR_FAILURE, errno == ENOENT ? "there is no home folder %s" : "the home folder %s cannot be looked at",
			   d->home);
		doctor_means(d, errno == ENOENT ? "This node has no identity yet, or its files are somewhere else (--home)." :
						  "You have not the rights of its owner.");
		doctor_fix(d, errno == ENOENT ? "ironmesh keys generate --name NAME --new-mesh mesh.pass" :
						"sudo ironmesh doctor --home %s", d->home_word);
		return;
	}
	if (!S_ISDIR(st.st_mode)) {
		doctor_say(d, DOCTOR_FAILURE, "%s is %s", d->home, S_ISLNK(st.st_mode) ? "a symbolic link" : "not a folder");
		doctor_means(d, "The daemon refuses it: whoever can change the link chooses the identity.");
		doctor_fix(d, "ironmesh doctor --home \"$(realpath %s)\"", d->home_word);
		return;
	}
	d->owner = st.st_uid;
	if (st.st_uid != geteuid()) {
		doctor_say(d, DOCTOR_FAILURE, "the home folder %s belongs to another user (uid %u)", d->home, (unsigned)st.st_uid);
		doctor_means(d, "Only its owner, and root, can look into it and run a daemon on it.");
		doctor_fix(d, "sudo ironmesh doctor --home %s", d->home_word);
		return;
	}
	d->has_home = true;
	if (st.st_mode & 022) {
		doctor_say(d, DOCTOR_FAILURE, "other users can change the home folder %s (mode %04o)", d->home,
			   (unsigned)(st.st_mode & 07777));
		doctor_means(d, "They could replace every file in it, and the daemon does not start on it.");
		doctor_fix(d, "chmod 700 %s", d->home_word);
		doctor_offer_mode(d, d->home, 0700);
	} else if (st.st_mode & 055) {
		doctor_say(d, DOCTOR_WARNING, "other users can look into the home folder %s (mode %04o)", d->home,
			   (unsigned)(st.st_mode & 07777));
		doctor_means(d, "They see which files are there and when they change, not what is in them.");
		doctor_fix(d, "chmod 700 %s", d->home_word);
		doctor_offer_mode(d, d->home, 0700);
	} else {
		doctor_say(d, DOCTOR_OK, "%s is there, and closed to others", d->home);
	}
}

/* --- permissions ------------------------------------------------------------------------------------------ */
struct wrong {
	struct doctor *d;
	struct buf open, foreign, odd; /* words for a shell */
	unsigned opened, foreigners, odds;
	unsigned files;
};

static void add_word(struct wrong *w, struct buf *b, const char *name, unsigned *count)
{
	char word[DOCTOR_WORD_MAX];

	++*count;
	if (b->n < COMMAND_MAX)
		buf_printf(b, " %s", doctor_word(w->d, name, word));
}

static bool look_at(void *ctx, const char *name, const struct state_row *row)
{
	struct wrong *w = ctx;
	char path[PATH_MAX];
	struct stat st;

	/* What is no file of ours is nobody's business; who reads a certificate learns nothing. */
	if (!row || strcmp(name, "cert.pem") == 0 || !doctor_path(w->d, name, path) || lstat(path, &st) != 0 ||
	    S_ISSOCK(st.st_mode))
		return true;
	w->files++;
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1) {
		add_word(w, &w->odd, name, &w->odds);
	} else if (st.st_uid != w->d->owner) {
		add_word(w, &w->foreign, name, &w->foreigners);
	} else if (st.st_mode & 077) {
		add_word(w, &w->open, name, &w->opened);
		doctor_offer_mode(w->d, path, 0600);
	}
	return true;
}

static void say_permissions(struct doctor *d, struct wrong *w)
{
	if (w->odds) {
		doctor_say(d, DOCTOR_FAILURE, "%u file(s) of the home folder are links, or have a second name:%s", w->odds,
			   buf_cstr(&w->odd));
		doctor_means(d, "The daemon refuses them: somebody may reach them under another name.");
		doctor_fix(d, "for f in%s; do cp -a \"$(realpath \"$f\")\" \"$f.new\" && mv -f \"$f.new\" \"$f\"; done", buf_cstr(&w->odd));
	}
	if (w->foreigners) {
		doctor_say(d, DOCTOR_FAILURE, "%u file(s) of the home folder belong to another user:%s", w->foreigners,
			   buf_cstr(&w->foreign));
		doctor_means(d, "The daemon cannot use them. A command that was run as root may have left them.");
		doctor_fix(d, "sudo chown -h --reference=%s%s", d->home_word, buf_cstr(&w->foreign));
	}
	if (w->opened) {
		doctor_say(d, DOCTOR_FAILURE, "%u file(s) of the home folder are open to other users:%s", w->opened,
			   buf_cstr(&w->open));
		doctor_means(d, "The daemon refuses secrets that others can read.");
		doctor_fix(d, "chmod 600%s", buf_cstr(&w->open));
	}
	if (!w->odds && !w->foreigners && !w->opened)
		doctor_say(d, DOCTOR_OK, "%u file(s), all closed to others", w->files);
}

void doctor_permissions(struct doctor *d)
{
	struct wrong w = { .d = d };
	struct fault f = { 0 };

	if (!d->has_home) {
		doctor_say(d, DOCTOR_SKIPPED, "there is no folder to look at");
		return;
	}
	buf_init(&w.open, 8 * COMMAND_MAX);
	buf_init(&w.foreign, 8 * COMMAND_MAX);
	buf_init(&w.odd, 8 * COMMAND_MAX);
	if (state_each(d->home, look_at, &w, &f) == ERR_OK)
		say_permissions(d, &w);
	else
		doctor_fault(d, DOCTOR_FAILURE, &f, NULL);
	buf_fini(&w.open);
	buf_fini(&w.foreign);
	buf_fini(&w.odd);
}

/* --- room ---------------------------------------------------------------------------------------------------- */
void doctor_disk(struct doctor *d)
{
	struct statvfs v;
	uint64_t left;

	if (!d->has_home) {
		doctor_say(d, DOCTOR_SKIPPED, "there is no folder to look at");
		return;
	}
	if (statvfs(d->home, &v) != 0) {
		doctor_say(d, DOCTOR_FAILURE, "the file system of %s does not answer: %s", d->home, strerror(errno));
		return;
	}
	left = (uint64_t)v.f_bavail * v.f_frsize;
	d->read_only = (v.f_flag & ST_RDONLY) != 0;
	if (d->read_only) {
		doctor_say(d, DOCTOR_FAILURE, "the file system of %s is mounted read-only", d->home);
		doctor_means(d, "Nothing can be kept, so no message is taken. Disks do this when they fail: look at `dmesg`.");
		doctor_fix(d, "sudo mount -o remount,rw \"$(findmnt -n -o TARGET -T %s)\"", d->home_word);
	} else if (access(d->home, W_OK) != 0) {
		doctor_say(d, DOCTOR_FAILURE, "the owner of %s may not write there", d->home);
		doctor_means(d, "Nothing can be kept, so no message is taken.");
		doctor_fix(d, "chmod 700 %s", d->home_word);
		doctor_offer_mode(d, d->home, 0700);
	} else if (left < SPACE_FAIL || (v.f_files && v.f_favail < INODES_FAIL)) {
		doctor_say(d, DOCTOR_FAILURE, "the file system of %s is full: %llu KiB are left", d->home,
			   (unsigned long long)(left >> 10));
		doctor_means(d, "New messages are refused until there is room; nothing that was accepted is lost.");
		doctor_fix(d, "du -xah \"$(findmnt -n -o TARGET -T %s)\" | sort -h | tail -20   (then remove what is not needed)",
			   d->home_word);
	} else if (left < SPACE_WARN) {
		doctor_say(d, DOCTOR_WARNING, "only %llu MiB are left on the file system of %s", (unsigned long long)(left >> 20),
			   d->home);
		doctor_means(d, "When it is full, new messages are refused.");
		doctor_fix(d, "du -xah \"$(findmnt -n -o TARGET -T %s)\" | sort -h | tail -20   (then remove what is not needed)",
			   d->home_word);
	} else {
		doctor_say(d, DOCTOR_OK, "%llu MiB are left", (unsigned long long)(left >> 20));
	}
}

/* --- what interrupted work has left ------------------------------------------------------------------------------ */
struct left {
	struct doctor *d;
	struct buf temps;
	unsigned n;
	bool rotation;
	char backup[STATE_NAME_MAX];
};

static bool is_temp(const char *name)
{
	size_t n = strlen(name);

	return name[0] == '.' && n > 5 && strcmp(name + n - 4, ".tmp") == 0 && !strchr(name, '/');
}

/* Of a backup that is made now: by the daemon, or by a command, which holds it. */
static bool in_use(const struct doctor *d, const char *folder)
{
	char path[PATH_MAX];
	int fd = doctor_path(d, folder, path) ? open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	bool held = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0;

	if (fd >= 0)
		close(fd);
	return held || json_is_true(json_object_get(json_object_get(d->status, "backup"), "running"));
}

static bool look_for_rests(void *ctx, const char *name, const struct state_row *row)
{
	struct left *l = ctx;
	char path[PATH_MAX], word[DOCTOR_WORD_MAX];
	struct stat st;

	if (!row || !doctor_path(l->d, name, path) || lstat(path, &st) != 0)
		return true;
	if (strcmp(name, "rotation") == 0)
		l->rotation = true;
	/* Whoever runs may be writing it now. */
	if (env_wall(&l->d->env) / 1000 < (uint64_t)st.st_mtime + TEMP_AGE_S)
		return true;
	if (strncmp(name, ".backup-", 8) == 0 && !l->backup[0]) {
		snprintf(l->backup, sizeof l->backup, "%.*s", (int)strcspn(name, "/"), name);
		if (in_use(l->d, l->backup))
			l->backup[0] = '\0';
	}
	if (!is_temp(name) || !S_ISREG(st.st_mode))
		return true;
	l->n++;
	if (l->temps.n < COMMAND_MAX)
		buf_printf(&l->temps, " %s", doctor_word(l->d, name, word));
	doctor_offer_removal(l->d, path);
	return true;
}

void doctor_leftovers(struct doctor *d)
{
	struct left l = { .d = d };
	struct fault f = { 0 };
	char word[DOCTOR_WORD_MAX];

	if (!d->has_home) {
		doctor_say(d, DOCTOR_SKIPPED, "there is no folder to look at");
		return;
	}
	buf_init(&l.temps, 8 * COMMAND_MAX);
	if (state_each(d->home, look_for_rests, &l, &f) != ERR_OK)
		doctor_fault(d, DOCTOR_FAILURE, &f, NULL);
	if (l.n) {
		doctor_say(d, DOCTOR_WARNING, "%u temporary file(s) of writes that were interrupted:%s", l.n, buf_cstr(&l.temps));
		doctor_means(d, "The files that they were to replace are whole; these are of no use.");
		doctor_fix(d, "rm%s", buf_cstr(&l.temps));
	}
	if (l.backup[0]) {
		doctor_say(d, DOCTOR_WARNING, "a backup was interrupted, and its working folder %s is still there", l.backup);
		doctor_means(d, "It holds copies of the state of this node, and is of no use.");
		doctor_fix(d, "rm -r %s", doctor_word(d, l.backup, word));
	}
	if (l.rotation && d->lock >= 0) {
		doctor_say(d, DOCTOR_WARNING, "a change of this node's identity is not finished");
		doctor_means(d, "The next start of the daemon finishes it, or takes it back when the new key was not written yet.");
		doctor_fix(d, "ironmesh run --home %s", d->home_word);
	}
	if (!l.n && !l.backup[0] && !(l.rotation && d->lock >= 0) && !f.what[0])
		doctor_say(d, DOCTOR_OK, "nothing is left of interrupted work");
	buf_fini(&l.temps);
}
