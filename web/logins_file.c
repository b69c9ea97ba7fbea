/*
 * logins_file.c -- sessions outlive a restart of the daemon: their hashes and their ends, in a secret file.
 *
 * Written when a session begins or ends. When one was used last is not kept: after a restart each counts
 * as used just now, and its end stands.
 *
 * While the daemon is away, another user of this machine may listen on its port, and is shown both secrets by a page
 * that is still open. So sessions outlive a restart, not an absence: the time of the file says when the daemon was
 * there last, and whoever finds the port taken drops them all (http_start()).
 */
#include "web/web_internal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#define FILE_MAX 65536
#define ABSENCE_MS 120000

static bool path_of(const struct web *w, char out[static 4096])
{
	return path_join(out, 4096, w->c.home, SESSIONS_FILE) == ERR_OK;
}

static bool login_read(struct web *w, const json_t *v, struct login *out)
{
	const char *id = json_str(v, "id"), *role = json_str(v, "role"), *cookie = json_str(v, "cookie"), *csrf = json_str(v, "csrf"),
		   *address = json_str(v, "address");
	uint64_t wall = env_wall(w->c.env);
	int64_t created, ends;

	if (!id || !role || !cookie || !csrf || !address || !hex_valid(bytes_str(id), SESSION_ID) || !role_parse(role, &out->role) ||
	    strlen(address) >= sizeof out->address || hex_decode(bytes_str(cookie), out->cookie, HASH_BYTES) != ERR_OK ||
	    hex_decode(bytes_str(csrf), out->csrf, HASH_BYTES) != ERR_OK ||
	    json_get_int(v, "created_ms", 0, INT64_MAX, &created) != ERR_OK ||
	    json_get_int(v, "expires_ms", 0, INT64_MAX, &ends) != ERR_OK)
		return false;
	/* A clock that went back makes none live longer. */
	if ((uint64_t)ends <= wall || (uint64_t)ends - wall > SESSION_LIFE_MS)
		return false;
	memcpy(out->id, id, SESSION_ID + 1);
	snprintf(out->address, sizeof out->address, "%s", address);
	login_used(&w->logins, out);
	out->created_wall_ms = (uint64_t)created;
	out->ends_wall_ms = (uint64_t)ends;
	out->ends_ms = out->used_ms + ((uint64_t)ends - wall);
	return true;
}

/* The daemon was there within the last two minutes, and the clock has not gone back. */
static bool is_fresh(struct web *w, const char *path)
{
	uint64_t now = env_wall(w->c.env), at;
	struct stat st;

	if (lstat(path, &st) != 0)
		return false;
	at = (uint64_t)st.st_mtim.tv_sec * 1000 + (uint64_t)st.st_mtim.tv_nsec / 1000000;
	return at <= now && now - at <= ABSENCE_MS;
}

void logins_touch(struct web *w)
{
	char path[4096];

	if (web_sessions(w) && path_of(w, path))
		(void)!utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW);
}

void logins_load(struct web *w)
{
	struct fault f = { 0 };
	json_t *v = NULL, *one;
	char path[4096];
	int64_t port = 0;
	size_t i, n = 0;
	struct buf b;

	buf_init(&b, FILE_MAX);
	if (path_of(w, path) && is_fresh(w, path) && file_read_secret(path, &b, &f) == ERR_OK &&
	    json_load_strict(buf_bytes(&b), FILE_MAX, &v) == ERR_OK && json_get_int(v, "port", 1, 65535, &port) == ERR_OK)
		json_array_foreach (json_object_get(v, "sessions"), i, one) {
			struct login s = { 0 };

			if (n < SESSIONS_MAX && login_read(w, one, &s))
				w->logins.list[n++] = s;
		}
	w->port_of_sessions = n ? (uint16_t)port : 0;
	json_decref(v);
	buf_fini(&b);
}

void logins_save(struct web *w)
{
	json_t *list = json_array(), *v;
	char path[4096] = "", cookie[65], csrf[65];
	struct fault f = { 0 };
	struct buf b;
	enum err e = ERR_NOMEM;

	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		const struct login *s = &w->logins.list[i];

		if (login_over(&w->logins, s))
			continue;
		hex_encode(BYTES_ARR(s->cookie), cookie);
		hex_encode(BYTES_ARR(s->csrf), csrf);
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "id", s->id, "role", role_word(s->role),
						      "cookie", cookie, "csrf", csrf, "address", s->address, "created_ms",
						      (json_int_t)s->created_wall_ms, "expires_ms", (json_int_t)s->ends_wall_ms));
	}
	v = json_pack("{s:i, s:i, s:o}", "version", 1, "port", (int)w->port, "sessions", list);
	buf_init(&b, FILE_MAX);
	if (v && json_write(&b, v, JSON_INSERTION) == ERR_OK && path_of(w, path))
		e = json_array_size(list) ? file_write_secret(path, buf_bytes(&b), &f) : unlink(path) == 0 ? ERR_OK : ERR_NOTFOUND;
	if (e != ERR_OK && e != ERR_NOTFOUND) {
		log_warn("http-sessions-not-written what=\"%s\"", f.what);
		(void)!unlink(path); /* rather none than one that has ended */
	}
	buf_fini(&b);
	json_decref(v);
}
