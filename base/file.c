#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

/* A path from the command line or the configuration, fit for a terminal. */
struct shown {
	char s[160];
};

static const char *show(const char *path, struct shown *out)
{
	return text_safe(bytes_str(path), out->s, sizeof(out->s));
}

static enum exit_code exit_for(enum err e)
{
	switch (e) {
	case ERR_DENIED:
		return EXIT_POLICY;
	case ERR_LIMIT:
	case ERR_CORRUPT:
		return EXIT_INTEGRITY;
	default:
		return EXIT_GENERIC;
	}
}

static enum err fault_errno(struct fault *f, int no, const char *verb, const char *path)
{
	struct shown s;
	enum err e = err_from_errno(no);

	fault_set(f, e, exit_for(e), "cannot %s %s: %s", verb, show(path, &s),
		  no == ELOOP ? "it is a symbolic link" : strerror(no));
	if (no == ELOOP) {
		fault_means(
			f, "Links are not followed here, so that nobody can point them elsewhere.");
		fault_next(f, "ls -l %s", show(path, &s));
	} else if (e == ERR_NOTFOUND) {
		fault_next(f, "ls -l %s", show(path, &s));
	} else if (e == ERR_STORE) {
		fault_means(f, "The disk is full or read-only; nothing was changed.");
		fault_next(f, "df -h %s", show(path, &s));
	}
	return e;
}

static enum err check_secret(const struct stat *st, const char *path, struct fault *f)
{
	struct shown s;
	enum err e = ERR_DENIED;

	if (st->st_uid != geteuid() && st->st_uid != 0) {
		fault_set(f, e, EXIT_POLICY, "%s belongs to another user (uid %u)", show(path, &s),
			  (unsigned)st->st_uid);
		fault_means(f, "That user can read and change this secret.");
		fault_next(f, "chown %u %s", (unsigned)geteuid(), show(path, &s));
		return e;
	}
	if (st->st_mode & 07177) {
		fault_set(f, e, EXIT_POLICY, "%s has mode %04o, which is wider than 0600",
			  show(path, &s), (unsigned)(st->st_mode & 07777));
		fault_means(f, "Other users of this machine may have read this secret.");
		fault_next(f, "chmod 600 %s", show(path, &s));
		return e;
	}
	if (st->st_nlink != 1) {
		fault_set(f, e, EXIT_POLICY, "%s has %lu names (hard links)", show(path, &s),
			  (unsigned long)st->st_nlink);
		fault_means(f, "The same secret is reachable under another name.");
		fault_next(f, "find / -xdev -samefile %s", show(path, &s));
		return e;
	}
	return ERR_OK;
}

/* Its text is no secret, but whoever writes it decides for us. */
static enum err check_trusted(const struct stat *st, bool folder, const char *path, struct fault *f)
{
	struct shown s;
	bool sticky = folder && st->st_mode & S_ISVTX;

	if (st->st_uid != geteuid() && st->st_uid != 0) {
		fault_set(f, ERR_DENIED, EXIT_POLICY, "%s belongs to another user (uid %u)", show(path, &s),
			  (unsigned)st->st_uid);
		fault_means(f, "That user would decide what this node does and whom it trusts.");
		fault_next(f, "chown %u %s", (unsigned)geteuid(), show(path, &s));
		return ERR_DENIED;
	}
	if (st->st_mode & 022 && !sticky) {
		fault_set(f, ERR_DENIED, EXIT_POLICY, "%s has mode %04o: others can write %s", show(path, &s),
			  (unsigned)(st->st_mode & 07777), folder ? "there" : "to it");
		fault_means(f, "They would decide what this node does and whom it trusts.");
		fault_next(f, "chmod go-w %s", show(path, &s));
		return ERR_DENIED;
	}
	return ERR_OK;
}

enum err dir_is_trusted(const char *path, struct fault *f)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return fault_errno(f, errno, "look at the folder", path);
	return check_trusted(&st, true, path, f);
}

static enum err read_all(int fd, struct buf *b, size_t size, const char *path, struct fault *f)
{
	/* One reservation: growing would leave copies of a secret behind in the heap. */
	uint8_t *p = buf_reserve(b, size), extra;
	size_t got = 0;
	ssize_t n;
	struct shown s;

	if (!p)
		return fault_set(f, b->err, exit_for(b->err), "no memory to read %s",
				 show(path, &s));
	for (;;) {
		n = read(fd, got < size ? p + got : &extra, got < size ? size - got : 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fault_errno(f, errno, "read", path);
		if (n == 0)
			break;
		if (got == size)
			return fault_set(f, ERR_IO, EXIT_RETRY, "%s grew while it was read",
					 show(path, &s));
		got += (size_t)n;
	}
	b->n += got;
	return ERR_OK;
}

enum care { CARE_NONE, CARE_TRUSTED, CARE_SECRET };

static enum err read_file(const char *path, enum care care, struct buf *b, struct fault *f)
{
	/* O_NONBLOCK: opening a FIFO must not hang before fstat() can refuse it. */
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	struct shown s;
	enum err e = ERR_OK;

	if (fd < 0)
		return fault_errno(f, errno, "open", path);
	if (fstat(fd, &st) != 0) {
		e = fault_errno(f, errno, "look at", path);
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		e = fault_set(f, ERR_DENIED, EXIT_POLICY, "%s is not a regular file",
			      show(path, &s));
		goto out;
	}
	if (care == CARE_SECRET)
		e = check_secret(&st, path, f);
	else if (care == CARE_TRUSTED)
		e = check_trusted(&st, false, path, f);
	if (e != ERR_OK)
		goto out;
	if (st.st_size < 0 || (uint64_t)st.st_size > b->max - b->n) {
		e = fault_set(f, ERR_LIMIT, EXIT_INTEGRITY,
			      "%s has %lld bytes; at most %zu are read", show(path, &s),
			      (long long)st.st_size, b->max - b->n);
		fault_means(f, "This is not the file the program expects here.");
		goto out;
	}
	e = read_all(fd, b, (size_t)st.st_size, path, f);
out:
	close(fd);
	return e;
}

enum err file_read_secret(const char *path, struct buf *b, struct fault *f)
{
	return read_file(path, CARE_SECRET, b, f);
}

enum err file_read(const char *path, struct buf *b, struct fault *f)
{
	return read_file(path, CARE_NONE, b, f);
}

enum err file_read_trusted(const char *path, struct buf *b, struct fault *f)
{
	return read_file(path, CARE_TRUSTED, b, f);
}

/* Opens the folder that holds `path`; *name points at the last part of it. -1 and errno. */
static int open_parent(const char *path, const char **name)
{
	char dir[4096];
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) : 0;

	*name = slash ? slash + 1 : path;
	if (n >= sizeof(dir)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(dir, path, n);
	dir[n] = '\0';
	return open(slash ? (n ? dir : "/") : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int write_and_sync(int fd, struct bytes data)
{
	while (data.n) {
		ssize_t n = write(fd, data.p, data.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		data = bytes_of(data.p + n, data.n - (size_t)n);
	}
	/* The umask may only narrow 0600; state it whole. */
	return fchmod(fd, 0600) != 0 || fsync(fd) != 0 ? -1 : 0;
}

/* Gives the finished file its name, if nothing has that name. */
static int name_if_absent(int dir, const char *temp, const char *name)
{
	if (renameat2(dir, temp, dir, name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	/* A file system without that flag: a hard link refuses an existing name as well. */
	if (linkat(dir, temp, dir, name, 0) != 0)
		return -1;
	return unlinkat(dir, temp, 0);
}

static enum err write_file(const char *path, struct bytes data, bool replace, struct fault *f)
{
	char temp[NAME_MAX + 1], suffix[17];
	uint8_t random[8];
	const char *name;
	int dir = open_parent(path, &name), fd = -1, no = 0;

	if (dir < 0)
		return fault_errno(f, errno, "open the folder of", path);
	randombytes_buf(random, sizeof(random));
	hex_encode(BYTES_ARR(random), suffix);
	if (*name == '\0' ||
	    snprintf(temp, sizeof(temp), ".%s.%s.tmp", name, suffix) >= (int)sizeof(temp)) {
		no = *name ? ENAMETOOLONG : EISDIR;
		goto out;
	}
	/* Asked again, and without a race, by name_if_absent(). */
	if (!replace && faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		no = EEXIST;
		goto out;
	}
	fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		no = errno;
		goto out;
	}
	if (write_and_sync(fd, data) != 0)
		no = errno;
	if (close(fd) != 0 && no == 0)
		no = errno;
	if (no == 0 && (replace ? renameat(dir, temp, dir, name) : name_if_absent(dir, temp, name)))
		no = errno;
	if (no)
		unlinkat(dir, temp, 0);
	else if (fsync(dir) != 0)
		no = errno;
out:
	close(dir);
	return no ? fault_errno(f, no, replace ? "write" : "create", path) : ERR_OK;
}

enum err file_write_secret(const char *path, struct bytes data, struct fault *f)
{
	return write_file(path, data, true, f);
}

enum err file_create_secret(const char *path, struct bytes data, struct fault *f)
{
	return write_file(path, data, false, f);
}

enum err dir_fsync_of(const char *path)
{
	const char *name;
	int dir = open_parent(path, &name);
	enum err e = ERR_OK;

	if (dir < 0)
		return err_from_errno(errno);
	if (fsync(dir) != 0)
		e = err_from_errno(errno);
	close(dir);
	return e;
}

enum err dir_ensure_private(const char *path, struct fault *f)
{
	char bare[4096];
	struct shown s;
	struct stat st;
	size_t n = strlen(path);
	int fd;
	enum err e = ERR_OK;

	/* "link/" would be followed in spite of O_NOFOLLOW. */
	while (n > 1 && path[n - 1] == '/')
		n--;
	if (n == 0 || n >= sizeof(bare))
		return fault_errno(f, n ? ENAMETOOLONG : ENOENT, "use the folder", path);
	memcpy(bare, path, n);
	bare[n] = '\0';
	if (mkdir(bare, 0700) == 0) {
		e = dir_fsync_of(bare);
		if (e != ERR_OK)
			return fault_set(f, e, EXIT_GENERIC, "cannot sync the folder of %s",
					 show(bare, &s));
	} else if (errno != EEXIST) {
		return fault_errno(f, errno, "create the folder", bare);
	}
	fd = open(bare, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		/* With O_DIRECTORY Linux says ENOTDIR for a link as well. */
		int no = errno;

		if (no == ENOTDIR && lstat(bare, &st) == 0)
			no = S_ISLNK(st.st_mode) ? ELOOP : EPERM;
		if (no == EPERM)
			return fault_set(f, ERR_DENIED, EXIT_POLICY, "%s is not a folder",
					 show(bare, &s));
		return fault_errno(f, no, "open the folder", bare);
	}
	if (fstat(fd, &st) != 0) {
		e = fault_errno(f, errno, "look at the folder", bare);
	} else if (st.st_uid != geteuid()) {
		e = fault_set(f, ERR_DENIED, EXIT_POLICY,
			      "the folder %s belongs to another user (uid %u)", show(bare, &s),
			      (unsigned)st.st_uid);
		fault_means(f, "That user could replace every file in it.");
		if (geteuid() == 0)
			fault_next(f, "sudo -u '#%u' the same command", (unsigned)st.st_uid);
		else
			fault_next(f, "chown %u %s", (unsigned)geteuid(), show(bare, &s));
	} else if (st.st_mode & 022) {
		e = fault_set(f, ERR_DENIED, EXIT_POLICY, "the folder %s has mode %04o",
			      show(bare, &s), (unsigned)(st.st_mode & 07777));
		fault_means(f, "Other users of this machine can replace files in it.");
		fault_next(f, "chmod 700 %s", show(bare, &s));
	}
	close(fd);
	return e;
}

enum err path_join(char *out, size_t cap, const char *dir, const char *name)
{
	size_t nd = strlen(dir), nn = strlen(name);
	bool slash = nd > 0 && dir[nd - 1] == '/';

	if (nd >= cap || nn >= cap - nd || (!slash && nn + 1 >= cap - nd))
		return ERR_LIMIT;
	snprintf(out, cap, "%s%s%s", dir, slash ? "" : "/", name);
	return ERR_OK;
}
