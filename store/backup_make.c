/* A folder becomes FILE: packed, read again, and only then named. */
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "store/backup.h"

struct target {
	char dir[PATH_MAX], name[NAME_MAX + 1], temp[NAME_MAX + 1];
	int dirfd, fd;
};

static enum err cannot(struct fault *f, const char *file, int no)
{
	char safe[160];
	enum err e = err_from_errno(no);

	fault_set(f, e, EXIT_GENERIC, "cannot write %s: %s", text_safe(bytes_str(file), safe, sizeof safe), strerror(no));
	fault_means(f, "no backup was made");
	if (e == ERR_STORE)
		fault_next(f, "df -h   (then repeat the command with a place that has room)");
	return e;
}

static enum err exists(struct fault *f, const char *file)
{
	char safe[160], word[400];

	fault_set(f, ERR_EXISTS, EXIT_USAGE, "%s exists already, and is not overwritten",
		  text_safe(bytes_str(file), safe, sizeof safe));
	fault_next(f, "ironmesh backup %s --force   (or choose another name)", word_for_shell(file, word, sizeof word));
	return ERR_EXISTS;
}

static enum err split(struct target *t, const char *file, struct fault *f)
{
	const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
	size_t n = slash ? (size_t)(slash - file) : 0;

	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return fault_set(f, ERR_USAGE, EXIT_USAGE, "the backup needs the name of a file");
	/* Dots, digits and ".tmp" have to fit. */
	if (strlen(name) > NAME_MAX - 25 || n >= sizeof t->dir)
		return fault_set(f, ERR_LIMIT, EXIT_USAGE, "the name of the backup is too long");
	snprintf(t->name, sizeof t->name, "%s", name);
	if (!slash)
		strcpy(t->dir, ".");
	else if (n == 0)
		strcpy(t->dir, "/");
	else
		snprintf(t->dir, sizeof t->dir, "%.*s", (int)n, file);
	t->dirfd = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return t->dirfd >= 0 ? ERR_OK : cannot(f, file, errno);
}

/* ".NAME.<16 hex digits>.tmp". Whoever writes one holds its lock. */
static bool is_temp_of(const char *entry, const char *name)
{
	size_t n = strlen(name);

	return entry[0] == '.' && strncmp(entry + 1, name, n) == 0 && entry[1 + n] == '.' &&
	       hex_valid(bytes_of(entry + 2 + n, strnlen(entry + 2 + n, 16)), 16) && strcmp(entry + 18 + n, ".tmp") == 0;
}

static void sweep(const struct target *t)
{
	int again = dup(t->dirfd);
	DIR *dir = again >= 0 ? fdopendir(again) : NULL;
	struct dirent *d;

	if (!dir && again >= 0)
		close(again);
	while (dir && (d = readdir(dir))) {
		int fd;

		if (!is_temp_of(d->d_name, t->name))
			continue;
		fd = openat(t->dirfd, d->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
			(void)!unlinkat(t->dirfd, d->d_name, 0);
		if (fd >= 0)
			close(fd);
	}
	if (dir)
		closedir(dir);
}

static enum err open_temp(struct target *t, const char *file, struct fault *f)
{
	uint8_t random[8];
	char digits[17];

	sweep(t);
	randombytes_buf(random, sizeof random);
	hex_encode(BYTES_ARR(random), digits);
	snprintf(t->temp, sizeof t->temp, ".%.230s.%s.tmp", t->name, digits);
	t->fd = openat(t->dirfd, t->temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (t->fd < 0)
		return cannot(f, file, errno);
	if (flock(t->fd, LOCK_EX | LOCK_NB) != 0)
		log_debug("no-locks file=%s", t->temp);
	return ERR_OK;
}

/* What the disk has, not what is still in memory. */
static enum err read_again(const struct target *t, struct bytes passphrase, const struct backup_manifest *m,
			   const struct backup_watch *w, struct fault *f)
{
	char path[PATH_MAX];
	struct backup *b;
	enum err e = path_join(path, sizeof path, t->dir, t->temp);

	(void)posix_fadvise(t->fd, 0, 0, POSIX_FADV_DONTNEED);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_USAGE, "the name of the backup is too long");
	e = backup_open(path, passphrase, &b, f);
	if (e == ERR_OK) {
		const struct backup_manifest *got = backup_manifest(b);

		if (got->n != m->n || !node_id_eq(&got->id, &m->id))
			e = fault_set(f, ERR_CORRUPT, EXIT_INTEGRITY, "the backup that was written lists something else");
		for (size_t i = 0; e == ERR_OK && i < m->n; i++)
			if (strcmp(got->files[i].name, m->files[i].name) != 0 ||
			    memcmp(got->files[i].sha256, m->files[i].sha256, HASH_BYTES) != 0)
				e = fault_set(f, ERR_CORRUPT, EXIT_INTEGRITY, "the backup that was written lists something else");
		if (e == ERR_OK)
			e = backup_unpack(b, NULL, w, f);
		backup_close(b);
	}
	if (e == ERR_CORRUPT || e == ERR_SHORT || e == ERR_AUTH || e == ERR_MALFORMED || e == ERR_TRAILING) {
		fault_means(f, "it was read again after it was written: the disk does not keep what it is given. There is no backup");
		fault_next(f, "write it to another disk");
	}
	return e;
}

static int give_name(const struct target *t, bool replace)
{
	if (replace)
		return renameat(t->dirfd, t->temp, t->dirfd, t->name);
	if (renameat2(t->dirfd, t->temp, t->dirfd, t->name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (faccessat(t->dirfd, t->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		errno = EEXIST;
		return -1;
	}
	return renameat(t->dirfd, t->temp, t->dirfd, t->name);
}

enum err backup_make(const char *folder, const char *file, struct bytes passphrase, struct backup_cost cost, bool replace,
		     uint64_t wall_ms, const struct backup_watch *w, struct backup_made *out, struct fault *f)
{
	struct target t = { .dirfd = -1, .fd = -1 };
	struct backup_made made = { .bytes = 0 };
	enum err e = split(&t, file, f);

	if (e == ERR_OK && !replace && faccessat(t.dirfd, t.name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		e = exists(f, file);
	if (e == ERR_OK)
		e = backup_manifest_of(folder, wall_ms, &made.manifest, f);
	if (e == ERR_OK)
		e = open_temp(&t, file, f);
	if (e == ERR_OK)
		e = backup_pack(folder, &made.manifest, t.fd, passphrase, cost, w, &made.bytes, f);
	if (e == ERR_OK)
		e = read_again(&t, passphrase, &made.manifest, w, f);
	if (e == ERR_OK && give_name(&t, replace) != 0)
		e = errno == EEXIST ? exists(f, file) : cannot(f, file, errno);
	else if (e == ERR_OK)
		t.temp[0] = '\0';
	if (e == ERR_OK && fsync(t.dirfd) != 0) {
		e = cannot(f, file, errno);
		fault_means(f, "the file is there and was read back, but its name may not outlive a loss of power");
	}
	if (t.temp[0] && t.fd >= 0)
		(void)!unlinkat(t.dirfd, t.temp, 0);
	if (t.fd >= 0)
		close(t.fd);
	if (t.dirfd >= 0)
		close(t.dirfd);
	if (e != ERR_OK) {
		backup_manifest_fini(&made.manifest);
		return e;
	}
	*out = made;
	return ERR_OK;
}
