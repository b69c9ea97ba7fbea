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
#include "base/owner.h"
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

/*
 * Beside the home folder of another user root is on his ground: whatever has a name there may have become something else since
 * it was looked at. So what is root's is reached by its descriptor, and in what is his root is he.
 */
struct held {
	int fd;
	struct stat st;
	char path[4096]; /* for root the folder, whatever its name leads to now */
};

static bool hold(const char *path, struct held *out)
{
	out->fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out->fd < 0)
		return false;
	if (geteuid() == 0)
		snprintf(out->path, sizeof out->path, "/proc/self/fd/%d", out->fd);
	else
		snprintf(out->path, sizeof out->path, "%s", path);
	return fstat(out->fd, &out->st) == 0;
}

static void drop(const char *path, struct held *h)
{
	bool root = geteuid() == 0; /* else the caller is somebody already, and stays so */

	if (owner_be(h->st.st_uid, h->st.st_gid, path, NULL) == ERR_OK)
		snapshot_empty(h->path);
	if (root)
		owner_leave();
	if (rmdir(path) != 0)
		log_warn("restore-left folder=%s why=%s", path, strerror(errno));
}

void restore_drop(const char *path)
{
	struct held h;

	if (hold(path, &h))
		drop(path, &h);
	if (h.fd >= 0)
		close(h.fd);
}

struct stranger {
	char name[STATE_NAME_MAX];
};

static bool is_strange(void *ctx, const char *name, const struct state_row *row)
{
	struct stranger *x = ctx;

	if (!row)
		text_safe(bytes_str(name), x->name, sizeof x->name);
	return row != NULL;
}

enum err restore_of_ours(const char *home, struct fault *f)
{
	struct stranger x = { .name = "" };
	char safe[160];
	enum err e = state_each(home, is_strange, &x, f);

	if (e != ERR_OK || !x.name[0])
		return e;
	fault_set(f, ERR_EXISTS, EXIT_USAGE, "%s is no home folder: %s is in it", text_safe(bytes_str(home), safe, sizeof safe), x.name);
	fault_means(f, "the whole folder would be replaced; nothing was changed");
	return ERR_EXISTS;
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
		struct held h;

		if (strncmp(d->d_name, name, n) != 0 || strncmp(d->d_name + n, STAGE_WORD, word) != 0 ||
		    !hex_valid(bytes_str(d->d_name + n + word), 16) ||
		    path_join(path, sizeof path, *parent ? parent : "/", d->d_name) != ERR_OK)
			continue;
		if (hold(path, &h) && flock(h.fd, LOCK_EX | LOCK_NB) == 0)
			drop(path, &h);
		if (h.fd >= 0)
			close(h.fd);
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
	int fd; /* of the folder; closed to the new owner until all that is in it is his */
	uid_t uid;
	gid_t gid;
	int failed;
};

static void give_one(struct owner *o, const char *name)
{
	if (!o->failed && fchownat(o->fd, name, o->uid, o->gid, AT_SYMLINK_NOFOLLOW) != 0)
		o->failed = errno;
}

static bool give(void *ctx, const char *name, const struct state_row *row)
{
	const char *slash = strchr(name, '/');
	char folder[STATE_NAME_MAX];
	struct owner *o = ctx;

	give_one(o, name);
	if (slash) {
		snprintf(folder, sizeof folder, "%.*s", (int)(slash - name), name);
		give_one(o, folder);
	}
	return !o->failed;
}

static enum err give_away(const char *home, const struct held *staged, struct fault *f)
{
	struct owner o = { .fd = staged->fd };
	struct stat st;
	enum err e;

	if (geteuid() != 0 || stat(home, &st) != 0 || st.st_uid == 0)
		return ERR_OK;
	o.uid = st.st_uid;
	o.gid = st.st_gid;
	e = state_each(staged->path, give, &o, f);
	if (e == ERR_OK && (o.failed || fchown(staged->fd, o.uid, o.gid) != 0))
		e = cannot(f, "give away what was made for", home, o.failed ? o.failed : errno);
	return e;
}

enum err restore_finish(const char *home, const char *staged, bool mark, uint64_t archive_ms, uint64_t wall_ms, struct fault *f)
{
	char path[4096], text[160];
	struct held h;
	enum err e = ERR_OK;

	if (!hold(staged, &h) || h.st.st_uid != geteuid())
		e = cannot(f, "open", staged, h.fd < 0 ? errno : EPERM);
	if (e == ERR_OK)
		e = path_join(path, sizeof path, h.path, RESTORED_MARK);
	snprintf(text, sizeof text, "{\"archive_ms\":%llu,\"restored_ms\":%llu}\n", (unsigned long long)archive_ms,
		 (unsigned long long)wall_ms);
	if (e == ERR_OK && mark)
		e = file_write_secret(path, bytes_str(text), f);
	if (e == ERR_OK)
		e = give_away(home, &h, f);
	if (e == ERR_OK && fsync(h.fd) != 0)
		e = cannot(f, "flush", staged, errno);
	if (h.fd >= 0)
		close(h.fd);
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
	if (no == EBUSY)
		fault_next(f, "the same command with --into %s/NEW   (then run the daemon with --home there)", safe);
	else
		fault_next(f, "mv %s %s.old   (then repeat the command)", safe, safe);
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

static enum err came_meanwhile(const char *home, struct fault *f)
{
	char safe[160];

	fault_set(f, ERR_EXISTS, EXIT_RETRY, "another program made something in %s meanwhile",
		  text_safe(bytes_str(home), safe, sizeof safe));
	fault_means(f, "nothing was changed");
	fault_next(f, "look at it, then repeat the command");
	return ERR_EXISTS;
}

enum err restore_swap(const char *home, const char *staged, enum restore_target seen, uint64_t wall_ms, char kept[static 4096], struct fault *f)
{
	enum restore_target target;
	char path[4096];
	enum err e = bare(home, path, f);

	if (e == ERR_OK)
		e = restore_look(path, &target, f);
	if (e != ERR_OK)
		return e;
	kept[0] = '\0';
	/* What was not there when it was looked at has no lock of ours. */
	if (target != seen && target == RESTORE_USED)
		return came_meanwhile(path, f);
	if (target == RESTORE_ABSENT) {
		if (renameat2(AT_FDCWD, staged, AT_FDCWD, path, RENAME_NOREPLACE) != 0 &&
		    ((errno != EINVAL && errno != ENOSYS) || rename(staged, path) != 0))
			return errno == EEXIST || errno == ENOTEMPTY ? came_meanwhile(path, f) : cannot_swap(path, errno, f);
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
