#include "daemon/backups_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#define PREFIX "ironmesh-"
#define SUFFIX ".backup"
#define ID_DIGITS 16
#define TIME_CHARS 16 /* 20261125T130500Z */
#define TEMP_DIGITS 16
#define FILES_MAX 4096

void backup_name(const struct node_id *id, uint64_t wall_ms, char out[static BACKUP_NAME_MAX])
{
	char at[RFC3339_LEN], compact[TIME_CHARS + 1];
	size_t n = 0;

	for (const char *p = rfc3339(wall_ms, at); *p && *p != '.' && n < TIME_CHARS - 1; p++)
		if (*p != '-' && *p != ':')
			compact[n++] = *p;
	compact[n] = '\0';
	snprintf(out, BACKUP_NAME_MAX, PREFIX "%.*s-%sZ" SUFFIX, ID_DIGITS, id->hex, compact);
}

/* Only what backup_name() makes for this node is ever deleted. */
static bool is_ours(const char *name, const struct node_id *id)
{
	char begin[BACKUP_NAME_MAX];
	size_t n = (size_t)snprintf(begin, sizeof begin, PREFIX "%.*s-", ID_DIGITS, id->hex);

	if (strncmp(name, begin, n) != 0 || strlen(name) != n + TIME_CHARS + sizeof(SUFFIX) - 1)
		return false;
	for (size_t i = 0; i < TIME_CHARS; i++) {
		char c = name[n + i];

		if (i == 8 ? c != 'T' : i == TIME_CHARS - 1 ? c != 'Z' : c < '0' || c > '9')
			return false;
	}
	return strcmp(name + n + TIME_CHARS, SUFFIX) == 0;
}

/* ".<a name of ours>.<16 hex digits>.tmp": of a daemon that died while it wrote. A live one holds the lock. */
static void remove_rest(int dir, const char *name, const struct node_id *id)
{
	char inner[BACKUP_NAME_MAX];
	size_t n = strlen(name), tail = 1 + TEMP_DIGITS + sizeof(".tmp") - 1;
	int fd;

	if (name[0] != '.' || n <= 1 + tail || n - 1 - tail >= sizeof inner || name[n - tail] != '.' ||
	    !hex_valid(bytes_of(name + n - tail + 1, TEMP_DIGITS), TEMP_DIGITS) || strcmp(name + n - 4, ".tmp") != 0)
		return;
	snprintf(inner, sizeof inner, "%.*s", (int)(n - 1 - tail), name + 1);
	if (!is_ours(inner, id) || (fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)) < 0)
		return;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0 && unlinkat(dir, name, 0) == 0)
		log_info("backup-rest-removed file=%s", name);
	close(fd);
}

static int newest_first(const void *a, const void *b)
{
	return strcmp(*(char *const *)b, *(char *const *)a);
}

enum err backups_prune(const char *newest, const struct node_id *id, unsigned keep, void (*fn)(void *ctx, const char *path),
		       void *ctx)
{
	char **names = calloc(FILES_MAX, sizeof *names), directory[PATH_MAX], path[PATH_MAX];
	const char *last = strrchr(newest, '/') + 1;
	struct dirent *d;
	size_t n = 0, ahead = 0;
	DIR *dir;
	enum err e = names ? ERR_OK : ERR_NOMEM;

	snprintf(directory, sizeof directory, "%.*s", (int)(last - newest), newest);
	dir = names ? opendir(directory) : NULL;
	if (names && !dir)
		e = err_from_errno(errno);
	while (dir && n < FILES_MAX && (d = readdir(dir))) {
		if (is_ours(d->d_name, id) && (names[n] = strdup(d->d_name)))
			n++;
		else
			remove_rest(dirfd(dir), d->d_name, id);
	}
	if (dir)
		closedir(dir);
	if (names)
		qsort(names, n, sizeof *names, newest_first);
	while (ahead < n && strcmp(names[ahead], last) > 0)
		ahead++;
	for (size_t i = 0; i < n; i++) {
		size_t rank = i < ahead ? n - ahead + i : i - ahead;

		if (rank >= keep && path_join(path, sizeof path, directory, names[i]) == ERR_OK) {
			if (unlink(path) == 0)
				fn(ctx, path);
			else
				log_warn("backup-not-removed file=%s why=%s", path, strerror(errno));
		}
		free(names[i]);
	}
	free(names);
	return e;
}
