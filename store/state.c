#include "store/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/text.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define FILES_MAX 4096
#define WORD_MAX 64
#define ID_DIGITS 32
#define RANDOM_DIGITS 16
#define LOG_MAX (64 * MIB) /* it is rotated at 10 MiB; one group may come on top */

static const struct state_row TABLE[] = {
	{ "keys.json", STATE_PLAIN, 64 * KIB, true, "the identity" },
	{ "keys.json.legacy.bak", STATE_PLAIN, 64 * KIB, false, "the key file as it was before it was migrated" },
	{ "keys.json.@.bak", STATE_PLAIN, 64 * KIB, false, "an identity before a rotation" },
	{ "known_peers.json", STATE_PLAIN, 32 * MIB, false, "pins: whom this node trusts" },
	{ "known_peers.json.@", STATE_PLAIN, 32 * MIB, false, "pins that a rotation has prepared" },
	{ "rotation", STATE_PLAIN, 4 * KIB, false, "the mark of a rotation that is not finished" },
	{ "ironmesh.db", STATE_DATABASE, 64 * GIB, false, "messages, prekeys, capabilities, invites, records" },
	{ "audit.log", STATE_GROWING, LOG_MAX, false, "the audit log" },
	{ "audit.head", STATE_PLAIN, 64 * KIB, false, "the signed head of the audit log" },
	{ "audit.log.#", STATE_PLAIN, LOG_MAX, false, "an older part of the audit log" },
	{ "audit.log.#.head", STATE_PLAIN, 64 * KIB, false, "its head" },
	{ "audit.log.@", STATE_PLAIN, LOG_MAX, false, "the audit log of an earlier identity" },
	{ "audit.log.@.head", STATE_PLAIN, 64 * KIB, false, "its head" },
	{ "audit.log.@.#", STATE_PLAIN, LOG_MAX, false, "an older part of it" },
	{ "audit.log.@.#.head", STATE_PLAIN, 64 * KIB, false, "its head" },
	{ "audit.log.broken-#", STATE_PLAIN, LOG_MAX, false, "an audit log that did not check out: evidence" },
	{ "audit.log.broken-#.head", STATE_PLAIN, 64 * KIB, false, "its head" },
	{ "audit.log.broken-#-#", STATE_PLAIN, LOG_MAX, false, "the same" },
	{ "audit.log.broken-#-#.head", STATE_PLAIN, 64 * KIB, false, "its head" },
	{ "audit.log.imported", STATE_PLAIN, LOG_MAX, false, "the audit log of the software that was before" },
	{ "audit.log.imported.#", STATE_PLAIN, LOG_MAX, false, "an older part of it" },
	{ "cert.pem", STATE_PLAIN, 64 * KIB, false, "the TLS certificate: peers have pinned its key" },
	{ "key.pem", STATE_PLAIN, 64 * KIB, false, "the TLS key" },
	{ "passphrase", STATE_PLAIN, 4 * KIB, false, "the passphrase of the mesh, if it is kept here" },
	{ "key-passphrase", STATE_PLAIN, 4 * KIB, false, "the passphrase of the key file, if it is kept here" },
	{ "ironmesh.conf", STATE_PLAIN, MIB, false, "the configuration" },
	{ "conf.d/%.conf", STATE_PLAIN, MIB, false, "a part of the configuration" },
	{ "tokens.json", STATE_PLAIN, 64 * KIB, false, "who may use the HTTP API, hashed" },
	{ "service-ironmesh.conf", STATE_PLAIN, MIB, false, "the configuration of the system service, which lies elsewhere" },
	{ "service-conf.d/%.conf", STATE_PLAIN, MIB, false, "a part of it" },
	{ "backups.json", STATE_PLAIN, MIB, false, "what is known of the backups" },

	{ "http-sessions.json", STATE_NOT, 0, false, "sessions of the dashboard: a restored node signs everybody out" },
	{ "lock", STATE_NOT, 0, false, "says that a program works on this folder" },
	{ "audit.log.lock", STATE_NOT, 0, false, "says that a program writes the audit log" },
	{ "control.sock", STATE_NOT, 0, false, "the control socket of a running daemon" },
	{ "ironmesh.db-wal", STATE_NOT, 0, false, "is in the snapshot of the database" },
	{ "ironmesh.db-shm", STATE_NOT, 0, false, "is made anew from the database" },
	{ "ironmesh.db-journal", STATE_NOT, 0, false, "is in the snapshot of the database" },
	{ "restored", STATE_NOT, 0, false, "says that this folder was restored: a restore writes its own" },
	{ ".backup-$/%", STATE_NOT, 0, false, "of a backup that is being made" },
	{ ".backup-$/conf.d/%", STATE_NOT, 0, false, "of a backup that is being made" },
	{ ".backup-$/service-conf.d/%", STATE_NOT, 0, false, "of a backup that is being made" },
	{ "backups/%", STATE_NOT, 0, false, "a backup itself" },
	{ "backups/.%.$.tmp", STATE_NOT, 0, false, "of a backup that is being written" },
	{ ".%.$.tmp", STATE_NOT, 0, false, "of a file that is being replaced" },
};
#define ROWS (sizeof TABLE / sizeof TABLE[0])

const struct state_row *state_at(size_t i)
{
	return i < ROWS ? &TABLE[i] : NULL;
}

static bool is_hex(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static bool is_word(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' ||
	       c == '-';
}

/* Every length that a joker may have is tried; patterns have three of them at most. */
static bool matches(const char *p, struct bytes s)
{
	size_t n = 0, digits;

	switch (*p) {
	case '\0':
		return s.n == 0;
	case '#':
		for (; n < s.n && n < 20 && s.p[n] >= '0' && s.p[n] <= '9'; n++)
			if (matches(p + 1, bytes_of(s.p + n + 1, s.n - n - 1)))
				return true;
		return false;
	case '@':
	case '$':
		digits = *p == '@' ? ID_DIGITS : RANDOM_DIGITS;
		while (n < s.n && n < digits && is_hex(s.p[n]))
			n++;
		return n == digits && matches(p + 1, bytes_of(s.p + n, s.n - n));
	case '%':
		if (s.n && s.p[0] == '.')
			return false;
		for (; n < s.n && n < WORD_MAX && is_word(s.p[n]); n++)
			if (matches(p + 1, bytes_of(s.p + n + 1, s.n - n - 1)))
				return true;
		return false;
	default:
		return s.n && s.p[0] == (uint8_t)*p && matches(p + 1, bytes_of(s.p + 1, s.n - 1));
	}
}

const struct state_row *state_find(struct bytes name)
{
	if (name.n == 0 || name.n >= STATE_NAME_MAX)
		return NULL;
	for (size_t i = 0; i < ROWS; i++)
		if (matches(TABLE[i].name, name))
			return &TABLE[i];
	return NULL;
}

bool state_is_folder(struct bytes name)
{
	char pattern[STATE_NAME_MAX];

	for (size_t i = 0; i < ROWS; i++)
		for (const char *slash = TABLE[i].name; (slash = strchr(slash, '/')); slash++) {
			size_t n = (size_t)(slash - TABLE[i].name);

			memcpy(pattern, TABLE[i].name, n);
			pattern[n] = '\0';
			if (matches(pattern, name))
				return true;
		}
	return false;
}

/* --- walking --------------------------------------------------------------------------------------- */
struct names {
	char **list;
	size_t n;
};

static enum err keep(struct names *all, const char *name)
{
	if (all->n == FILES_MAX)
		return ERR_LIMIT;
	all->list[all->n] = strdup(name);
	if (!all->list[all->n])
		return ERR_NOMEM;
	all->n++;
	return ERR_OK;
}

static enum err look(const char *home, const char *below, unsigned depth, struct names *all)
{
	char path[4096], name[STATE_NAME_MAX * 2];
	struct dirent *d;
	struct stat st;
	DIR *dir;
	enum err e = ERR_OK;
	int n = snprintf(path, sizeof path, "%s/%s", home, below);

	if (n < 0 || (size_t)n >= sizeof path)
		return ERR_LIMIT;
	dir = opendir(path);
	if (!dir)
		return err_from_errno(errno);
	while (e == ERR_OK && (errno = 0, d = readdir(dir))) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		n = snprintf(name, sizeof name, "%s%s%s", below, *below ? "/" : "", d->d_name);
		if (n < 0 || (size_t)n >= sizeof name - 1) {
			e = ERR_LIMIT;
		} else if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
			e = errno == ENOENT ? ERR_OK : err_from_errno(errno); /* a temporary file that went */
		} else if (S_ISDIR(st.st_mode) && depth < 2 && state_is_folder(bytes_str(name))) {
			e = look(home, name, depth + 1, all);
			if (e == ERR_NOTFOUND)
				e = ERR_OK;
		} else {
			if (S_ISDIR(st.st_mode))
				strcat(name, "/");
			e = keep(all, name);
		}
	}
	if (e == ERR_OK && errno)
		e = err_from_errno(errno);
	closedir(dir);
	return e;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

enum err state_each(const char *home, state_fn fn, void *ctx, struct fault *f)
{
	struct names all = { .list = calloc(FILES_MAX, sizeof *all.list) };
	char safe[160];
	enum err e = all.list ? look(home, "", 0, &all) : ERR_NOMEM;

	if (e != ERR_OK)
		fault_set(f, e, EXIT_GENERIC, "the folder %s cannot be listed: %s",
			  text_safe(bytes_str(home), safe, sizeof safe), err_word(e));
	if (e == ERR_LIMIT)
		fault_means(f, "it holds more files than a home folder has, or names that are too long");
	if (e == ERR_OK)
		qsort(all.list, all.n, sizeof *all.list, by_name);
	for (size_t i = 0; e == ERR_OK && i < all.n && fn(ctx, all.list[i], state_find(bytes_str(all.list[i]))); i++)
		;
	for (size_t i = 0; i < all.n; i++)
		free(all.list[i]);
	free(all.list);
	return e;
}
