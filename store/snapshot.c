#include "store/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/text.h"

#define PIECE (1u << 18)
#define PAGES 256 /* of the database, between two looks at the watch */
#define ROOM_LEFT (16ull << 20)
#define BEGIN_NAME ".backup-"
#define SERVICE "service-"

struct kept {
	char name[STATE_NAME_MAX];
	const struct state_row *row;
	int fd; /* -1 for the database */
	uint64_t bytes;
};

struct snapshot {
	const char *home, *config;
	struct kept *files;
	size_t n;
	sqlite3 *db; /* in a read transaction; NULL: there is no database */
	uint64_t bytes, done;
	struct buf left;
	size_t left_n;
	struct fault *f; /* while it begins */
	enum err err;
};

/* --- the moment --------------------------------------------------------------------------------------- */
static enum err one_number(sqlite3 *db, const char *sql, int64_t *out)
{
	sqlite3_stmt *st = NULL;
	enum err e = ERR_STORE;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW) {
		*out = sqlite3_column_int64(st, 0);
		e = ERR_OK;
	}
	sqlite3_finalize(st);
	return e;
}

/* A descriptor of our own on this file would drop SQLite's locks when it is closed: SQLite alone opens it. */
static enum err open_db(struct snapshot *s, const char *path, struct kept *k, struct fault *f)
{
	int64_t pages = 0, size = 0, tables;
	int rc = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	enum err e = rc == SQLITE_OK ? ERR_OK : ERR_STORE;

	/* Ours is not the connection that copies the WAL back. */
	if (e == ERR_OK)
		sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (e == ERR_OK && (sqlite3_exec(s->db, "PRAGMA busy_timeout = 250; BEGIN", NULL, NULL, NULL) != SQLITE_OK ||
			    one_number(s->db, "SELECT count(*) FROM sqlite_master", &tables) != ERR_OK ||
			    one_number(s->db, "PRAGMA page_count", &pages) != ERR_OK ||
			    one_number(s->db, "PRAGMA page_size", &size) != ERR_OK))
		e = ERR_STORE;
	if (e != ERR_OK) {
		fault_set(f, e, EXIT_RETRY, "the database %s cannot be read: %s", path, sqlite3_errmsg(s->db));
		fault_next(f, "ironmesh doctor");
		return e;
	}
	k->bytes = (uint64_t)pages * (uint64_t)size;
	return ERR_OK;
}

static enum err open_file(const char *path, struct kept *k, struct fault *f)
{
	struct stat st;

	k->fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (k->fd < 0 || fstat(k->fd, &st) != 0)
		return fault_set(f, err_from_errno(errno), EXIT_GENERIC, "cannot open %s: %s", path,
				 errno == ELOOP ? "it is a symbolic link" : strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fault_set(f, ERR_DENIED, EXIT_GENERIC, "%s is not a plain file", path);
	k->bytes = (uint64_t)st.st_size;
	return ERR_OK;
}

static void leave_out(struct snapshot *s, const char *name)
{
	char safe[STATE_NAME_MAX];

	s->left_n++;
	if (s->left.n)
		buf_add_str(&s->left, ", ");
	buf_add_str(&s->left, text_safe(bytes_str(name), safe, sizeof safe));
}

static bool keep_as(struct snapshot *s, const char *folder, const char *file, const char *name, const struct state_row *row)
{
	struct kept *k, *more;
	char path[4096];

	more = s->n < STATE_MEMBERS_MAX ? reallocarray(s->files, s->n + 1, sizeof *more) : NULL;
	if (!more) {
		s->err = fault_set(s->f, s->n < STATE_MEMBERS_MAX ? ERR_NOMEM : ERR_LIMIT, EXIT_GENERIC,
				   "there are too many files to back up");
		return false;
	}
	s->files = more;
	k = &s->files[s->n++];
	*k = (struct kept){ .row = row, .fd = -1 };
	snprintf(k->name, sizeof k->name, "%s", name);
	s->err = path_join(path, sizeof path, folder, file);
	if (s->err == ERR_OK)
		s->err = row->how == STATE_DATABASE ? open_db(s, path, k, s->f) : open_file(path, k, s->f);
	if (s->err == ERR_OK && k->bytes > row->max_bytes) {
		s->err = fault_set(s->f, ERR_LIMIT, EXIT_INTEGRITY, "%s has %llu bytes; at most %llu are backed up", name,
				   (unsigned long long)k->bytes, (unsigned long long)row->max_bytes);
		fault_means(s->f, "it is not what the program writes there");
	}
	s->bytes += k->bytes;
	return s->err == ERR_OK;
}

static bool keep(void *ctx, const char *name, const struct state_row *row)
{
	struct snapshot *s = ctx;

	if (!row) {
		leave_out(s, name);
		return true;
	}
	/* Of an earlier restore: what is in force is taken below. */
	if (row->how == STATE_NOT || (s->config && strncmp(name, SERVICE, sizeof(SERVICE) - 1) == 0))
		return true;
	return keep_as(s, s->home, name, name, row);
}

static bool keep_config(void *ctx, const char *file, const struct state_row *row)
{
	struct snapshot *s = ctx;
	char name[STATE_NAME_MAX];
	const struct state_row *as;

	if (!row || (strcmp(row->name, "ironmesh.conf") != 0 && strcmp(row->name, "conf.d/%.conf") != 0) ||
	    snprintf(name, sizeof name, SERVICE "%s", file) >= (int)sizeof name || !(as = state_find(bytes_str(name))))
		return true;
	return keep_as(s, s->config, file, name, as);
}

enum err snapshot_begin(const char *home, const char *config, struct snapshot **out, struct fault *f)
{
	struct snapshot *s = calloc(1, sizeof *s);
	struct fault local;
	enum err e;

	if (!s)
		return fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory for the backup");
	s->home = home;
	s->config = config && access(config, R_OK | X_OK) == 0 ? config : NULL;
	s->f = f ? f : &local;
	buf_init(&s->left, 2048);
	e = state_each(home, keep, s, s->f);
	if (e == ERR_OK && s->err == ERR_OK && s->config)
		e = state_each(s->config, keep_config, s, s->f);
	if (e == ERR_OK)
		e = s->err;
	if (e != ERR_OK) {
		snapshot_free(s);
		return e;
	}
	*out = s;
	return ERR_OK;
}

size_t snapshot_left_out(const struct snapshot *s, char *out, size_t cap)
{
	if (cap)
		snprintf(out, cap, "%.*s", (int)s->left.n, s->left.n ? (const char *)s->left.p : "");
	return s->left_n;
}

void snapshot_free(struct snapshot *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++)
		if (s->files[i].fd >= 0)
			close(s->files[i].fd);
	sqlite3_close(s->db); /* rolls the transaction back */
	buf_fini(&s->left);
	free(s->files);
	free(s);
}

/* --- the copy ----------------------------------------------------------------------------------------- */
static enum err ended(struct fault *f)
{
	return fault_set(f, ERR_CLOSED, EXIT_GENERIC, "the backup was ended before it was whole; nothing was changed");
}

static enum err not_written(enum err e, const char *name, struct fault *f)
{
	fault_set(f, e, EXIT_GENERIC, "%s cannot be copied: %s", name, e == ERR_STORE ? "the disk is full" : err_word(e));
	fault_means(f, "no backup was made; the home folder is as it was");
	if (e == ERR_STORE)
		fault_next(f, "df -h");
	return e;
}

static enum err copy_db(struct snapshot *s, const char *to, const struct backup_watch *w, struct fault *f)
{
	sqlite3 *copy = NULL;
	sqlite3_backup *b = NULL;
	int rc = sqlite3_open_v2(to, &copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	enum err e = ERR_OK;

	/* A crash leaves a folder that is thrown away: no journal is needed. */
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(copy, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF", NULL, NULL, NULL);
	if (rc == SQLITE_OK && !(b = sqlite3_backup_init(copy, "main", s->db, "main")))
		rc = sqlite3_errcode(copy);
	while (rc == SQLITE_OK && e == ERR_OK) {
		uint64_t left;

		rc = sqlite3_backup_step(b, PAGES);
		left = (uint64_t)sqlite3_backup_remaining(b);
		if (rc == SQLITE_OK && !backup_go_on(w, "copy", s->done + (s->bytes > left * 4096 ? s->bytes - left * 4096 : 0),
						     s->bytes))
			e = ended(f);
	}
	sqlite3_backup_finish(b);
	if (e == ERR_OK && rc != SQLITE_DONE) {
		e = ERR_STORE;
		fault_set(f, e, EXIT_GENERIC, "the database cannot be copied: %s",
			  rc == SQLITE_FULL ? "the disk is full" : sqlite3_errstr(rc));
		fault_means(f, "no backup was made; the home folder is as it was");
	}
	sqlite3_close(copy);
	return e;
}

static enum err copy_file(struct snapshot *s, const struct kept *k, const char *to, const struct backup_watch *w,
			  struct fault *f)
{
	int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	uint8_t *piece = malloc(PIECE);
	uint64_t at = 0;
	enum err e = fd < 0 ? not_written(err_from_errno(errno), k->name, f) : piece ? ERR_OK : ERR_NOMEM;

	while (e == ERR_OK && at < k->bytes) {
		ssize_t n = pread(k->fd, piece, k->bytes - at < PIECE ? (size_t)(k->bytes - at) : PIECE, (off_t)at);
		ssize_t put = n > 0 ? write(fd, piece, (size_t)n) : 0;

		if ((n < 0 || put < 0) && errno == EINTR)
			continue;
		if (n <= 0)
			e = fault_set(f, ERR_IO, EXIT_RETRY, "%s cannot be read to its end", k->name);
		else if (put < 0)
			e = not_written(err_from_errno(errno), k->name, f);
		else
			at += (uint64_t)put; /* what was not written is read again */
		if (e == ERR_OK && !backup_go_on(w, "copy", s->done + at, s->bytes))
			e = ended(f);
	}
	if (fd >= 0)
		close(fd);
	if (piece)
		wipe(piece, PIECE);
	free(piece);
	return e;
}

static enum err has_room(const struct snapshot *s, const char *folder, struct fault *f)
{
	struct statvfs v;
	uint64_t room;

	if (statvfs(folder, &v) != 0)
		return ERR_OK;
	room = (uint64_t)v.f_bavail * v.f_frsize;
	if (room >= s->bytes && room - s->bytes >= ROOM_LEFT)
		return ERR_OK;
	fault_set(f, ERR_STORE, EXIT_GENERIC, "there is no room for the snapshot: %llu MiB are needed in the home folder, %llu MiB are free",
		  (unsigned long long)((s->bytes + ROOM_LEFT) >> 20) + 1, (unsigned long long)room >> 20);
	fault_means(f, "the state is copied there once before it is packed; no backup was made");
	fault_next(f, "df -h %s", s->home);
	return ERR_STORE;
}

static enum err make_folder_of(const char *to)
{
	char folder[4096];
	const char *slash = strrchr(to, '/');

	memcpy(folder, to, (size_t)(slash - to));
	folder[slash - to] = '\0';
	return mkdir(folder, 0700) == 0 || errno == EEXIST ? ERR_OK : err_from_errno(errno);
}

enum err snapshot_copy(struct snapshot *s, const char *folder, const struct backup_watch *w, struct fault *f)
{
	char to[4096];
	enum err e = ERR_OK;

	if (mkdir(folder, 0700) != 0)
		return not_written(err_from_errno(errno), folder, f);
	e = has_room(s, folder, f);
	for (size_t i = 0; e == ERR_OK && i < s->n; i++) {
		const struct kept *k = &s->files[i];

		e = path_join(to, sizeof to, folder, k->name);
		if (e == ERR_OK && strchr(k->name, '/'))
			e = make_folder_of(to);
		if (e != ERR_OK)
			return not_written(e, k->name, f);
		e = k->fd < 0 ? copy_db(s, to, w, f) : copy_file(s, k, to, w, f);
		s->done += k->bytes;
	}
	return e;
}

/* --- folders ------------------------------------------------------------------------------------------- */
enum err snapshot_folder(const char *home, char *out, size_t cap)
{
	uint8_t random[8];
	char digits[17];
	int n;

	randombytes_buf(random, sizeof random);
	hex_encode(BYTES_ARR(random), digits);
	n = snprintf(out, cap, "%s/%s%s", home, BEGIN_NAME, digits);
	return n > 0 && (size_t)n < cap ? ERR_OK : ERR_LIMIT;
}

static bool remove_one(void *ctx, const char *name, const struct state_row *row)
{
	const char *slash = strrchr(name, '/');
	char path[4096];

	if (!row || path_join(path, sizeof path, ctx, name) != ERR_OK)
		return true;
	if (unlink(path) != 0 && errno != ENOENT)
		log_warn("snapshot-left file=%s why=%s", path, strerror(errno));
	if (slash) { /* its folder goes with the last one in it */
		path[strlen(path) - strlen(slash)] = '\0';
		(void)!rmdir(path);
	}
	return true;
}

/* Folders of rows that a crash left without a file. */
static void remove_empty(const char *folder)
{
	const struct state_row *r;
	char path[4096], name[STATE_NAME_MAX];

	for (size_t i = 0; (r = state_at(i)); i++) {
		size_t n = strcspn(r->name, "/#@%");

		if (r->name[n] != '/')
			continue;
		memcpy(name, r->name, n);
		name[n] = '\0';
		if (path_join(path, sizeof path, folder, name) == ERR_OK)
			(void)!rmdir(path);
	}
}

void snapshot_empty(const char *folder)
{
	(void)!state_each(folder, remove_one, (void *)folder, NULL);
	remove_empty(folder);
}

void snapshot_remove(const char *folder)
{
	if (access(folder, F_OK) != 0)
		return;
	snapshot_empty(folder);
	if (rmdir(folder) != 0)
		log_warn("snapshot-left folder=%s why=%s", folder, strerror(errno));
}

void snapshot_sweep(const char *home)
{
	DIR *dir = opendir(home);
	struct dirent *d;
	char path[4096];
	struct stat st;

	while (dir && (d = readdir(dir))) {
		int fd;

		if (strncmp(d->d_name, BEGIN_NAME, sizeof(BEGIN_NAME) - 1) != 0 || !state_is_folder(bytes_str(d->d_name)) ||
		    path_join(path, sizeof path, home, d->d_name) != ERR_OK)
			continue;
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0)
			snapshot_remove(path);
		if (fd >= 0)
			close(fd);
	}
	if (dir)
		closedir(dir);
}
