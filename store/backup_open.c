/* From a file: the manifest, then every file in its order. */
#include "store/backup.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"

#define PIECE (1u << 18)
#define ROOM_LEFT (16ull << 20) /* on a disk that is unpacked to */

struct backup {
	int fd;
	uint64_t bytes;
	struct backup_in *in;
	struct archive *tar;
	struct backup_manifest manifest;
	struct fault fault; /* of the sealed stream: what it said is better than what libarchive makes of it */
	enum err err;
	uint8_t *piece;
	bool used;
};

static la_ssize_t take(struct archive *a, void *ctx, const void **p)
{
	struct backup *b = ctx;
	struct bytes piece;

	b->err = backup_in_next(b->in, &piece, &b->fault);
	if (b->err != ERR_OK) {
		archive_set_error(a, EIO, "not read");
		return -1;
	}
	*p = piece.p;
	return (la_ssize_t)piece.n;
}

static enum err wrong(struct backup *b, enum err e, struct fault *f, const char *what)
{
	if (b->err != ERR_OK) {
		if (f)
			*f = b->fault;
		return b->err;
	}
	fault_set(f, e, EXIT_INTEGRITY, "this backup is not what this program writes: %s", what);
	fault_means(f, "somebody who knows its passphrase made it so; nothing was changed");
	return e;
}

/* The next file, which must be called `name`. Only plain files are taken, whatever else an archive can hold. */
static enum err next_head(struct backup *b, const char *name, uint64_t *bytes, struct fault *f)
{
	struct archive_entry *x;
	const char *path;
	int rc = archive_read_next_header(b->tar, &x);

	if (rc == ARCHIVE_EOF)
		return wrong(b, ERR_SHORT, f, "files are missing");
	/* There is one form: libarchive would take others too. */
	if (rc != ARCHIVE_OK || archive_filter_code(b->tar, 0) != ARCHIVE_FILTER_ZSTD)
		return wrong(b, ERR_MALFORMED, f, "the archive inside is damaged");
	path = archive_entry_pathname(x);
	if (!path || strcmp(path, name) != 0)
		return wrong(b, ERR_MALFORMED, f, "a file has another name than the list says");
	if (archive_entry_filetype(x) != AE_IFREG || archive_entry_hardlink(x) || archive_entry_symlink(x) ||
	    archive_entry_sparse_count(x) > 0 || !archive_entry_size_is_set(x) || archive_entry_size(x) < 0)
		return wrong(b, ERR_MALFORMED, f, "a file is a link, a device or a folder");
	*bytes = (uint64_t)archive_entry_size(x);
	return ERR_OK;
}

static enum err read_manifest(struct backup *b, struct fault *f)
{
	uint64_t bytes;
	struct buf text;
	uint8_t *p;
	enum err e = next_head(b, BACKUP_MANIFEST, &bytes, f);

	if (e != ERR_OK)
		return e;
	if (bytes > BACKUP_MANIFEST_MAX)
		return wrong(b, ERR_LIMIT, f, "its list of contents is too long");
	buf_init(&text, BACKUP_MANIFEST_MAX + 1);
	p = buf_reserve(&text, (size_t)bytes + 1);
	if (!p)
		e = fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory to read the backup");
	else if (archive_read_data(b->tar, p, (size_t)bytes) != (la_ssize_t)bytes)
		e = wrong(b, ERR_SHORT, f, "its list of contents is cut off");
	if (e == ERR_OK)
		e = backup_manifest_parse(bytes_of(p, (size_t)bytes), &b->manifest, f);
	buf_fini(&text);
	/* The bytes of a disk are promised here for the first time. */
	if (e == ERR_OK && b->manifest.bytes > BACKUP_FREE && b->manifest.bytes / BACKUP_RATIO > b->bytes)
		e = wrong(b, ERR_LIMIT, f, "it would unpack to far more than any state does");
	return e;
}

static enum err begin(struct backup *b, struct fault *f)
{
	b->tar = archive_read_new();
	b->piece = malloc(PIECE);
	if (!b->tar || !b->piece || archive_read_support_filter_zstd(b->tar) != ARCHIVE_OK ||
	    archive_read_support_format_tar(b->tar) != ARCHIVE_OK)
		return fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory to read the backup");
	if (archive_read_open(b->tar, b, NULL, take, NULL) != ARCHIVE_OK)
		return wrong(b, ERR_MALFORMED, f, "there is no archive inside");
	return read_manifest(b, f);
}

enum err backup_open(const char *file, struct bytes passphrase, struct backup **out, struct fault *f)
{
	struct backup *b = calloc(1, sizeof *b);
	char safe[160];
	struct stat st;
	enum err e;

	if (!b)
		return fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory to read the backup");
	text_safe(bytes_str(file), safe, sizeof safe);
	b->fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (b->fd < 0 || fstat(b->fd, &st) != 0) {
		e = err_from_errno(errno);
		fault_set(f, e, EXIT_GENERIC, "cannot open %s: %s", safe, strerror(errno));
		fault_next(f, "ironmesh backup list");
	} else if (!S_ISREG(st.st_mode)) {
		e = fault_set(f, ERR_DENIED, EXIT_USAGE, "%s is not a file", safe);
	} else {
		b->bytes = (uint64_t)st.st_size;
		e = backup_in_new(b->fd, passphrase, &b->in, f);
	}
	if (e == ERR_OK)
		e = begin(b, f);
	if (e != ERR_OK) {
		backup_close(b);
		return e;
	}
	*out = b;
	return ERR_OK;
}

const struct backup_manifest *backup_manifest(const struct backup *b)
{
	return &b->manifest;
}

uint64_t backup_bytes(const struct backup *b)
{
	return b->bytes;
}

/* --- the files ---------------------------------------------------------------------------------------- */
/* The name comes from a row of state.h: below `dir`, or in a folder that a row has. */
static int create(int dir, const struct backup_file *x)
{
	const char *slash = strchr(x->name, '/');
	char folder[STATE_NAME_MAX];

	if (slash) {
		memcpy(folder, x->name, (size_t)(slash - x->name));
		folder[slash - x->name] = '\0';
		if (mkdirat(dir, folder, 0700) != 0 && errno != EEXIST)
			return -1;
	}
	return openat(dir, x->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static enum err put(int fd, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? err_from_errno(errno) : ERR_IO;
		p += done;
		n -= (size_t)done;
	}
	return ERR_OK;
}

struct unpacking {
	int dir; /* -1: nowhere */
	const struct backup_watch *watch;
	uint64_t done;
};

static enum err copy(struct backup *b, struct unpacking *u, const struct backup_file *x, int fd, struct hash *h,
		     struct fault *f)
{
	uint64_t left = x->bytes;
	la_ssize_t n;
	enum err e = ERR_OK;

	/* One byte more than there should be is asked for, so that the end is seen. */
	while (e == ERR_OK && (n = archive_read_data(b->tar, b->piece, PIECE)) != 0) {
		if (n < 0)
			return wrong(b, ERR_CORRUPT, f, "a file in it is damaged");
		if ((uint64_t)n > left)
			return wrong(b, ERR_LIMIT, f, "a file is longer than the list says");
		left -= (uint64_t)n;
		hash_add(h, bytes_of(b->piece, (size_t)n));
		if (fd >= 0)
			e = put(fd, b->piece, (size_t)n);
		u->done += (uint64_t)n;
		if (e == ERR_OK && !backup_go_on(u->watch, u->dir < 0 ? "check" : "unpack", u->done, b->manifest.bytes))
			return fault_set(f, ERR_CLOSED, EXIT_GENERIC, "it was ended before it was whole; nothing was changed");
	}
	if (e == ERR_OK && left)
		return wrong(b, ERR_SHORT, f, "a file is shorter than the list says");
	if (e == ERR_OK && fd >= 0 && fsync(fd) != 0)
		e = err_from_errno(errno);
	if (e != ERR_OK) {
		fault_set(f, e, EXIT_GENERIC, e == ERR_STORE ? "the disk is full; nothing was changed" : "%s cannot be written",
			  x->name);
		if (e == ERR_STORE)
			fault_next(f, "df -h");
	}
	return e;
}

static enum err unpack_one(struct backup *b, struct unpacking *u, const struct backup_file *x, struct fault *f)
{
	uint8_t digest[HASH_BYTES];
	struct hash *h;
	uint64_t bytes;
	int fd = -1;
	enum err e = next_head(b, x->name, &bytes, f);

	if (e == ERR_OK && bytes != x->bytes)
		e = wrong(b, ERR_MALFORMED, f, "a file has another size than the list says");
	if (e == ERR_OK && u->dir >= 0 && (fd = create(u->dir, x)) < 0) {
		e = err_from_errno(errno);
		fault_set(f, e, EXIT_GENERIC, "%s cannot be made: %s", x->name, strerror(errno));
	}
	if (e != ERR_OK)
		return e;
	h = hash_new();
	e = copy(b, u, x, fd, h, f);
	hash_end(h, digest);
	if (fd >= 0 && close(fd) != 0 && e == ERR_OK)
		e = fault_set(f, err_from_errno(errno), EXIT_GENERIC, "%s cannot be written", x->name);
	if (e == ERR_OK && memcmp(digest, x->sha256, sizeof digest) != 0)
		e = wrong(b, ERR_CORRUPT, f, "a file has another content than the list says");
	return e;
}

static enum err has_room(const struct backup *b, const char *folder, struct fault *f)
{
	struct statvfs s;
	uint64_t room;

	if (statvfs(folder, &s) != 0)
		return ERR_OK; /* then the disk itself will say */
	room = (uint64_t)s.f_bavail * s.f_frsize;
	if (room >= b->manifest.bytes && room - b->manifest.bytes >= ROOM_LEFT)
		return ERR_OK;
	fault_set(f, ERR_STORE, EXIT_GENERIC, "there is no room: %llu MiB are needed, %llu MiB are free",
		  (unsigned long long)((b->manifest.bytes + ROOM_LEFT) >> 20) + 1, (unsigned long long)room >> 20);
	fault_means(f, "nothing was changed");
	fault_next(f, "df -h");
	return ERR_STORE;
}

/* The folders that rows have, and the one that all is in. */
static enum err flush_folders(const struct backup *b, int dir)
{
	enum err e = ERR_OK;

	for (size_t i = 0; e == ERR_OK && i < b->manifest.n; i++) {
		const char *name = b->manifest.files[i].name, *slash = strchr(name, '/');
		char folder[STATE_NAME_MAX];
		int fd;

		if (!slash)
			continue;
		memcpy(folder, name, (size_t)(slash - name));
		folder[slash - name] = '\0';
		fd = openat(dir, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || fsync(fd) != 0)
			e = err_from_errno(errno);
		if (fd >= 0)
			close(fd);
	}
	return e == ERR_OK && fsync(dir) != 0 ? err_from_errno(errno) : e;
}

enum err backup_unpack(struct backup *b, const char *folder, const struct backup_watch *w, struct fault *f)
{
	struct unpacking u = { .dir = -1, .watch = w };
	struct archive_entry *x;
	enum err e = ERR_OK;

	BUG_ON(b->used);
	b->used = true;
	if (folder) {
		e = has_room(b, folder, f);
		if (e == ERR_OK && (u.dir = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
			e = fault_set(f, err_from_errno(errno), EXIT_GENERIC, "cannot open %s: %s", folder, strerror(errno));
	}
	for (size_t i = 0; e == ERR_OK && i < b->manifest.n; i++)
		e = unpack_one(b, &u, &b->manifest.files[i], f);
	if (e == ERR_OK) {
		int rc = archive_read_next_header(b->tar, &x);

		if (rc == ARCHIVE_OK)
			e = wrong(b, ERR_TRAILING, f, "it holds a file that the list does not name");
		else if (rc != ARCHIVE_EOF)
			e = wrong(b, ERR_MALFORMED, f, "the archive inside is damaged");
	}
	/* What the tar reader did not ask for any more is part of the file too: its end is only proven by reading it. */
	for (struct bytes rest = { .n = 1 }; e == ERR_OK && rest.n;)
		e = backup_in_next(b->in, &rest, f);
	if (u.dir >= 0) {
		if (e == ERR_OK && (e = flush_folders(b, u.dir)) != ERR_OK)
			fault_set(f, e, EXIT_GENERIC, "%s cannot be flushed to disk", folder);
		close(u.dir);
	}
	return e;
}

void backup_close(struct backup *b)
{
	if (!b)
		return;
	if (b->tar)
		archive_read_free(b->tar);
	backup_in_free(b->in);
	backup_manifest_fini(&b->manifest);
	if (b->piece)
		wipe(b->piece, PIECE);
	free(b->piece);
	if (b->fd >= 0)
		close(b->fd);
	free(b);
}
