#include "store/restore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "store/snapshot.h"

#define STAGE_WORD ".restore-"

/* "/a/b/" is "/a/b". */
static enum err bare(const char *home, char out[static 4096], struct fault *f)
{
	size_t n = strlen(home);

	while (n > 1 && home[n - 1] == '/')
		n--;
	if (n == 0 || n > 4000)
		return fault_set(f, ERR_LIMIT, EXIT_USAGE, "the path of the home folder is empty or too long");
	memcpy(out, home, n);
	out[n] = '\0';
	return ERR_OK;
}

static enum err cannot(struct fault *f, const char *verb, const char *path, int no)
{
	char safe[160];
	enum err e = err_from_errno(no);

	fault_set(f, e, EXIT_GENERIC, "cannot %s %s: %s", verb, text_safe(bytes_str(path), safe, sizeof safe), strerror(no));
	fault_means(f, "nothing was changed");
	return e;
}

enum err restore_look(const char *home, enum restore_target *out, struct fault *f)
{
	char path[4096];
	DIR *dir;
	struct dirent *d;
	enum err e = bare(home, path, f);

	if (e != ERR_OK)
		return e;
	*out = RESTORE_ABSENT;
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? ERR_OK : cannot(f, "open", path, errno);
	*out = RESTORE_EMPTY;
	while ((d = readdir(dir)))
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			*out = RESTORE_USED;
	closedir(dir);
	return ERR_OK;
}

/* Folders of earlier runs; one that is still being filled is locked. */
static void sweep(const char *home)
{
	const char *slash = strrchr(home, '/'), *name = slash ? slash + 1 : home;
	size_t n = strlen(name), word = sizeof(STAGE_WORD) - 1;
	char parent[4096], path[4096];
	struct dirent *d;
	DIR *dir;

	snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - home) : 1, slash ? home : ".");
	dir = opendir(*parent ? parent : "/");
	while (dir && (d = readdir(dir))) {
		int fd;

		if (strncmp(d->d_name, name, n) != 0 || strncmp(d->d_name + n, STAGE_WORD, word) != 0 ||
		    !hex_valid(bytes_str(d->d_name + n + word), 16) ||
		    path_join(path, sizeof path, *parent ? parent : "/", d->d_name) != ERR_OK)
			continue;
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
			snapshot_remove(path);
		if (fd >= 0)
			close(fd);
	}
	if (dir)
		closedir(dir);
}

enum err restore_stage(const char *home, char staged[static 4096], int *lock, struct fault *f)
{
	char path[4096], digits[17];
	uint8_t random[8];
	int fd;
	enum err e = bare(home, path, f);

	if (e != ERR_OK)
		return e;
	sweep(path);
	randombytes_buf(random, sizeof random);
	hex_encode(BYTES_ARR(random), digits);
	snprintf(staged, 4096, "%.4000s%s%s", path, STAGE_WORD, digits);
	if (mkdir(staged, 0700) != 0) {
		e = cannot(f, "make the folder", staged, errno);
		fault_means(f, "a restore is staged beside the home folder; nothing was changed");
		return e;
	}
	fd = open(staged, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0) {
		e = cannot(f, "lock", staged, errno);
		if (fd >= 0)
			close(fd);
		(void)!rmdir(staged);
		return e;
	}
	*lock = fd;
	return ERR_OK;
}

/* --- the last things in it -------------------------------------------------------------------------------- */
struct owner {
	const char *folder;
	uid_t uid;
	gid_t gid;
	int failed;
};

static bool give(void *ctx, const char *name, const struct state_row *row)
{
	struct owner *o = ctx;
	const char *slash = strchr(name, '/');
	char path[4096];

	if (path_join(path, sizeof path, o->folder, name) != ERR_OK || lchown(path, o->uid, o->gid) != 0)
		o->failed = errno ? errno : EIO;
	if (slash && !o->failed) {
		path[strlen(path) - strlen(slash)] = '\0';
		if (lchown(path, o->uid, o->gid) != 0)
			o->failed = errno;
	}
	return !o->failed;
}

static enum err give_away(const char *home, const char *staged, struct fault *f)
{
	struct owner o = { .folder = staged };
	struct stat st;
	enum err e;

	if (geteuid() != 0 || stat(home, &st) != 0 || st.st_uid == 0)
		return ERR_OK;
	o.uid = st.st_uid;
	o.gid = st.st_gid;
	e = state_each(staged, give, &o, f);
	if (e == ERR_OK && (o.failed || lchown(staged, o.uid, o.gid) != 0))
		e = cannot(f, "give away", staged, o.failed ? o.failed : errno);
	return e;
}

enum err restore_finish(const char *home, const char *staged, bool mark, uint64_t archive_ms, uint64_t wall_ms, struct fault *f)
{
	char path[4096], text[160];
	enum err e = path_join(path, sizeof path, staged, RESTORED_MARK);

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_USAGE, "the path of the home folder is too long");
	snprintf(text, sizeof text, "{\"archive_ms\":%llu,\"restored_ms\":%llu}\n", (unsigned long long)archive_ms,
		 (unsigned long long)wall_ms);
	if (mark)
		e = file_write_secret(path, bytes_str(text), f);
	if (e == ERR_OK)
		e = give_away(home, staged, f);
	if (e == ERR_OK && dir_fsync_of(path) != ERR_OK)
		e = cannot(f, "flush", staged, EIO);
	return e;
}

/* --- the exchange ------------------------------------------------------------------------------------------ */
static enum err cannot_swap(const char *home, int no, struct fault *f)
{
	char safe[160];

	if (no != EBUSY && no != EXDEV && no != EINVAL && no != ENOSYS)
		return cannot(f, "replace", home, no);
	text_safe(bytes_str(home), safe, sizeof safe);
	fault_set(f, ERR_UNSUPPORTED, EXIT_GENERIC, "%s cannot be replaced in one step: %s", safe,
		  no == EBUSY ? "it is a mount point" : "its file system does not do that");
	fault_means(f, "nothing was changed");
	fault_next(f, "mv %s %s.old   (or restore with --into a folder that does not exist)", safe, safe);
	return ERR_UNSUPPORTED;
}

/* "HOME.before-restore-20261125T130500Z": never one that is there. */
static enum err name_old(const char *home, uint64_t wall_ms, char out[static 4096])
{
	char at[RFC3339_LEN], compact[RFC3339_LEN], *c = compact;

	for (const char *p = rfc3339(wall_ms, at); *p && *p != '.'; p++)
		if (*p != '-' && *p != ':')
			*c++ = *p;
	*c = '\0';
	for (unsigned i = 0; i < 100; i++) {
		int n = i ? snprintf(out, 4096, "%s.before-restore-%sZ-%u", home, compact, i) :
			    snprintf(out, 4096, "%s.before-restore-%sZ", home, compact);

		if (n > 0 && n < 4096 && access(out, F_OK) != 0)
			return ERR_OK;
	}
	return ERR_EXISTS;
}

enum err restore_swap(const char *home, const char *staged, uint64_t wall_ms, char kept[static 4096], struct fault *f)
{
	enum restore_target target;
	char path[4096];
	enum err e = bare(home, path, f);

	if (e == ERR_OK)
		e = restore_look(path, &target, f);
	if (e != ERR_OK)
		return e;
	kept[0] = '\0';
	if (target == RESTORE_ABSENT) {
		if (renameat2(AT_FDCWD, staged, AT_FDCWD, path, RENAME_NOREPLACE) != 0 &&
		    ((errno != EINVAL && errno != ENOSYS) || rename(staged, path) != 0))
			return cannot_swap(path, errno, f);
	} else {
		e = name_old(path, wall_ms, kept);
		if (e != ERR_OK)
			return fault_set(f, e, EXIT_GENERIC, "there are too many old folders beside %s", path);
		/* It gets its last name first: a crash right after the exchange leaves the old folder where it belongs. */
		if (rename(staged, kept) != 0)
			return cannot_swap(path, errno, f);
		if (renameat2(AT_FDCWD, kept, AT_FDCWD, path, RENAME_EXCHANGE) != 0) {
			int no = errno;

			if (rename(kept, staged) != 0)
				log_warn("restore-left folder=%s", kept);
			kept[0] = '\0';
			return cannot_swap(path, no, f);
		}
		if (target == RESTORE_EMPTY && rmdir(kept) == 0)
			kept[0] = '\0';
	}
	if (dir_fsync_of(path) != ERR_OK)
		log_warn("restore-not-flushed folder=%s", path);
	return ERR_OK;
}
