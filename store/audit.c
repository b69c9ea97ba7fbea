#include "store/audit_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#define PENDING_MAX (4u << 20)

struct audit {
	struct env *env;
	const struct keyring *keys;
	struct secret key;
	char *path; /* NULL: memory only */
	int fd, lock_fd;
	uint64_t size; /* of what is safely in the file */

	char hmac[AUDIT_HMAC_LEN + 1]; /* of the last entry, written or pending */
	uint64_t entries, rotation;
	uint64_t signed_entries; /* what the head file covers */
	struct buf pending, text;
	uint64_t lost;

	struct audit_limits *limits;
	void (*observer)(void *ctx, const char *event);
	void *observer_ctx;
};

/* --- one entry --------------------------------------------------------------- */

/* {"details":D,"event":E, */
static bool write_before(struct buf *b, const char *event, const json_t *details)
{
	buf_reset(b);
	buf_add_str(b, "{\"details\":");
	size_t at = b->n;
	if (details && (json_write(b, details, JSON_SORTED) != ERR_OK || b->err != ERR_OK ||
			b->n - at > AUDIT_DETAILS_MAX)) {
		b->err = ERR_OK;
		b->n = at;
		buf_add_str(b, "{\"oversize\":true}");
	} else if (!details) {
		buf_add_str(b, "{}");
	}
	buf_add_str(b, ",\"event\":");
	json_add_string(b, bytes_str(event));
	buf_add_u8(b, ',');
	return b->err == ERR_OK;
}

static bool append_one(struct audit *a, const char *event, const json_t *details)
{
	char hmac[AUDIT_HMAC_LEN + 1];
	struct buf *b = &a->text;
	size_t was = a->pending.n;

	if (!write_before(b, event, details))
		return false;
	size_t cut = b->n;
	buf_add_str(b, "\"timestamp\":");
	json_add_double(b, (double)env_wall(a->env) / 1000.0);
	buf_add_u8(b, '}');
	if (b->err != ERR_OK)
		return false;
	struct bytes before = bytes_of(b->p, cut), after = bytes_of(b->p + cut, b->n - cut);
	audit_line_hmac(secret_bytes(&a->key), a->hmac, before, after, hmac);
	buf_add(&a->pending, before);
	buf_add_str(&a->pending, "\"hmac\":\"");
	buf_add_str(&a->pending, hmac);
	buf_add_str(&a->pending, "\",");
	buf_add(&a->pending, after);
	buf_add_u8(&a->pending, '\n');
	if (a->pending.err != ERR_OK) {
		/* Half a line must not stay: what is pending is a whole chain or nothing. */
		a->pending.err = ERR_OK;
		a->pending.n = was;
		return false;
	}
	memcpy(a->hmac, hmac, sizeof(hmac));
	a->entries++;
	return true;
}

static void append(struct audit *a, const char *event, const json_t *details)
{
	if (a->lost) {
		json_t *d = json_pack("{s:I}", "count", (json_int_t)a->lost);
		bool told = append_one(a, "AUDIT_LOST", d);
		json_decref(d);
		if (!told) {
			a->lost++;
			return;
		}
		a->lost = 0;
	}
	if (!append_one(a, event, details))
		a->lost++;
	else if (a->observer)
		a->observer(a->observer_ctx, event);
}

void audit_observe(struct audit *a, void (*fn)(void *ctx, const char *event), void *ctx)
{
	a->observer = fn;
	a->observer_ctx = ctx;
}

/* --- events -------------------------------------------------------------------- */

static void tell_suppressed(void *ctx, const char *event, const char *source, uint32_t count)
{
	json_t *d = json_pack("{s:I, s:s, s:s, s:i}", "count", (json_int_t)count, "event", event,
			      "source", source, "window_s", AUDIT_WINDOW_MS / 1000);

	append(ctx, "AUDIT_SUPPRESSED", d);
	json_decref(d);
}

void audit_event(struct audit *a, const char *event, struct bytes source, json_t *details)
{
	if (source.n == 0 || audit_limits_allow(a->limits, event, source, env_now(a->env)))
		append(a, event, details);
	json_decref(details);
}

void audit_note(struct audit *a, const char *event, struct bytes source, ...)
{
	json_t *d = json_object();
	const char *key, *value;
	char clean[512];
	va_list ap;

	va_start(ap, source);
	while ((key = va_arg(ap, const char *)) && (value = va_arg(ap, const char *))) {
		json_t *v = json_string(value);
		if (!v) /* not UTF-8 */
			v = json_string(text_safe(bytes_str(value), clean, sizeof(clean)));
		json_object_set_new(d, key, v);
	}
	va_end(ap);
	audit_event(a, event, source, d);
}

/* --- the file ---------------------------------------------------------------- */

static enum err open_for_append(struct audit *a)
{
	struct stat st;

	a->fd = open(a->path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
	if (a->fd < 0)
		return err_from_errno(errno);
	if (fstat(a->fd, &st) != 0 || !S_ISREG(st.st_mode))
		return ERR_DENIED;
	return ERR_OK;
}

/* Written at the known end: after a failed write the next one overwrites the remains. */
static enum err write_pending(struct audit *a)
{
	size_t done = 0;

	while (done < a->pending.n) {
		ssize_t n = pwrite(a->fd, a->pending.p + done, a->pending.n - done,
				   (off_t)(a->size + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? err_from_errno(errno) : ERR_STORE;
		done += (size_t)n;
	}
	if (fdatasync(a->fd) != 0)
		return err_from_errno(errno);
	a->size += a->pending.n;
	buf_reset(&a->pending);
	buf_trim(&a->pending, 65536);
	return ERR_OK;
}

static bool old_name(const struct audit *a, unsigned n, bool head, char *out, size_t cap)
{
	int len;

	if (n == 0 && head)
		return audit_head_path(a->path, out, cap) == ERR_OK;
	if (n == 0)
		len = snprintf(out, cap, "%s", a->path);
	else
		len = snprintf(out, cap, head ? "%s.%u.head" : "%s.%u", a->path, n);
	return len > 0 && (size_t)len < cap;
}

static void shift(const struct audit *a, unsigned n, bool head)
{
	char from[AUDIT_PATH_MAX], to[AUDIT_PATH_MAX];

	if (old_name(a, n, head, from, sizeof(from)) && old_name(a, n + 1, head, to, sizeof(to)) &&
	    rename(from, to) != 0 && errno != ENOENT)
		log_warn("audit-rotate-failed file=%s why=%s", from, strerror(errno));
}

static void anchor(struct audit *a, const char *previous_file, const char *tail, const char *why)
{
	const char *slash = strrchr(previous_file, '/');
	json_t *d = json_pack("{s:s, s:s, s:I}", "previous_file", slash ? slash + 1 : previous_file,
			      "previous_tail_hmac", tail, "rotation", (json_int_t)a->rotation);

	if (d && why)
		json_object_set_new(d, "reason", json_string(why));
	append(a, "LOG_ROTATED", d);
	json_decref(d);
}

static void new_chain(struct audit *a, uint64_t rotation)
{
	memcpy(a->hmac, AUDIT_GENESIS, sizeof(a->hmac));
	a->entries = a->signed_entries = 0;
	a->rotation = rotation;
	a->size = 0;
}

static enum err sign_head(struct audit *a)
{
	if (!a->path || a->entries == a->signed_entries || a->pending.n)
		return ERR_OK;
	enum err e = audit_head_save(a->path, a->keys, a->entries, a->rotation, a->hmac,
				     env_wall(a->env));
	if (e == ERR_OK)
		a->signed_entries = a->entries;
	else
		log_warn("audit-head-failed why=%s", err_word(e));
	return e;
}

/* Ends the file and begins the next one, from now on under the keys of `next`.
 * Order matters to a crash: the head goes before its file, so that a head without a file always
 * means that the file was removed. */
static enum err rotate(struct audit *a, const struct keyring *next)
{
	char tail[AUDIT_HMAC_LEN + 1], old[AUDIT_PATH_MAX];
	struct secret key;

	enum err e = sign_head(a);
	if (e == ERR_OK)
		e = keyring_derive(next, DERIVE_AUDIT, &key);
	if (e != ERR_OK)
		return e;
	secret_free(&a->key);
	a->key = key;
	a->keys = next;
	for (unsigned n = AUDIT_KEEP; n-- > 0;) {
		shift(a, n, true);
		shift(a, n, false);
	}
	close(a->fd);
	memcpy(tail, a->hmac, sizeof(tail));
	new_chain(a, a->rotation + 1);
	if (old_name(a, 1, false, old, sizeof(old)))
		anchor(a, old, tail, NULL);
	e = open_for_append(a); /* if that fails, the next flush tries again */
	if (e == ERR_OK)
		e = write_pending(a);
	if (e == ERR_OK)
		e = dir_fsync_of(a->path);
	return e == ERR_OK ? sign_head(a) : e;
}

enum err audit_flush(struct audit *a)
{
	audit_limits_sweep(a->limits, env_now(a->env), false);
	if (a->pending.n == 0)
		return ERR_OK;
	if (!a->path) {
		buf_reset(&a->pending);
		return ERR_OK;
	}
	enum err e = a->fd < 0 ? open_for_append(a) : ERR_OK;
	if (e == ERR_OK)
		e = write_pending(a);
	if (e == ERR_OK && a->size >= AUDIT_ROTATE_BYTES)
		e = rotate(a, a->keys);
	if (e != ERR_OK)
		log_warn("audit-write-failed why=%s pending=%zu", err_word(e), a->pending.n);
	return e;
}

bool audit_pending(const struct audit *a)
{
	return a->pending.n != 0 || audit_limits_due(a->limits, env_now(a->env));
}

enum err audit_checkpoint(struct audit *a)
{
	enum err e = audit_flush(a);

	return e == ERR_OK ? sign_head(a) : e;
}

uint64_t audit_entries(const struct audit *a)
{
	return a->entries;
}

/* --- open -------------------------------------------------------------------- */

static enum err take_lock(struct audit *a, struct fault *f)
{
	char name[AUDIT_PATH_MAX];
	int n = snprintf(name, sizeof(name), "%s.lock", a->path);

	if (n < 0 || (size_t)n >= sizeof(name))
		return fault_set(f, ERR_LIMIT, EXIT_GENERIC,
				 "the path of the audit log is too long");
	a->lock_fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
	if (a->lock_fd < 0)
		return fault_set(f, err_from_errno(errno), EXIT_GENERIC, "cannot open %s: %s", name,
				 strerror(errno));
	if (flock(a->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return ERR_OK;
	if (errno != EWOULDBLOCK)
		return fault_set(f, ERR_IO, EXIT_GENERIC, "cannot lock %s: %s", name,
				 strerror(errno));
	fault_set(f, ERR_AGAIN, EXIT_RETRY, "another program writes the audit log %s", a->path);
	fault_next(f, "stop the other daemon that uses this folder");
	return ERR_AGAIN;
}

static void set_aside(struct audit *a, const struct audit_scan *s)
{
	char file[AUDIT_PATH_MAX], head[AUDIT_PATH_MAX], to[AUDIT_PATH_MAX];
	unsigned long long at = (unsigned long long)env_wall(a->env);
	uint64_t rotation = s->rotation;

	if (s->signed_head.signature_ok && s->signed_head.rotation > rotation)
		rotation = s->signed_head.rotation;
	snprintf(file, sizeof(file), "%s.broken-%llu", a->path, at);
	/* Never over an older one: that is evidence too. */
	for (unsigned i = 1; access(file, F_OK) == 0; i++)
		snprintf(file, sizeof(file), "%s.broken-%llu-%u", a->path, at, i);
	if (s->exists && rename(a->path, file) != 0)
		log_error("audit-keep-broken-failed why=%s", strerror(errno));
	int n = snprintf(to, sizeof(to), "%s.head", file);
	if (n > 0 && (size_t)n < sizeof(to) &&
	    audit_head_path(a->path, head, sizeof(head)) == ERR_OK && rename(head, to) != 0 &&
	    errno != ENOENT)
		log_error("audit-keep-broken-failed why=%s", strerror(errno));
	log_warn("audit-chain-broken kept=%s why=\"%s\"", file, s->why);
	new_chain(a, rotation + 1);
	anchor(a, file, s->hmac, s->why);
}

/* A crash while a line was written: it was never promised to anyone. Its trace stays in the chain.
 */
static enum err cut_torn(struct audit *a, const struct audit_scan *s, struct fault *f)
{
	struct stat st;

	if (fstat(a->fd, &st) != 0 || ftruncate(a->fd, (off_t)s->good_bytes) != 0)
		return fault_set(f, err_from_errno(errno), EXIT_GENERIC, "cannot repair %s: %s",
				 a->path, strerror(errno));
	json_t *d = json_pack("{s:I}", "bytes", (json_int_t)((uint64_t)st.st_size - s->good_bytes));
	log_warn("audit-torn-tail bytes=%llu", (unsigned long long)st.st_size - s->good_bytes);
	append(a, "LOG_TORN_TAIL", d);
	json_decref(d);
	return ERR_OK;
}

static void begin_without_file(struct audit *a, struct audit_scan *s)
{
	char old[AUDIT_PATH_MAX], tail[AUDIT_HMAC_LEN + 1];
	uint64_t rotation;

	if (s->signed_head.present) {
		if (s->signed_head.signature_ok)
			memcpy(s->hmac, s->signed_head.hmac, sizeof(s->hmac));
		snprintf(s->why, sizeof(s->why), "the log was missing, its signed head was there");
		set_aside(a, s);
	} else if (old_name(a, 1, false, old, sizeof(old)) &&
		   audit_last_hmac(old, tail, &rotation) == ERR_OK) {
		/* A rotation that a crash interrupted. */
		new_chain(a, rotation + 1);
		anchor(a, old, tail, NULL);
	} else {
		new_chain(a, 0);
	}
}

static enum err open_file(struct audit *a, struct fault *f)
{
	struct audit_scan s;
	bool broken, torn;

	enum err e = audit_scan(a->path, keyring_ed(a->keys), secret_bytes(&a->key), &s, f);
	if (e != ERR_OK)
		return e;
	torn = s.bad_line && s.torn;
	broken = (s.bad_line && !torn) || s.head == HEAD_CUT || s.head == HEAD_DIFFERS;
	if (!s.exists) {
		begin_without_file(a, &s);
	} else if (broken) {
		set_aside(a, &s);
	} else {
		memcpy(a->hmac, s.hmac, sizeof(a->hmac));
		a->entries = s.entries;
		a->rotation = s.rotation;
		a->size = s.good_bytes;
		a->signed_entries = s.head == HEAD_COVERS ? s.signed_head.entries : 0;
		if (s.open_end)
			buf_add_u8(&a->pending, '\n');
	}
	if (e == ERR_OK) {
		e = open_for_append(a);
		if (e != ERR_OK)
			fault_set(f, e, EXIT_GENERIC, "cannot write the audit log %s", a->path);
	}
	/* A chain that begins has a head at once, of nothing: after a crash before the first checkpoint a missing one
	 * would look like one that was taken away. The file is there already: a head without one means that. */
	if (e == ERR_OK && a->entries == 0 && (!s.exists || broken || s.head == HEAD_NONE) &&
	    audit_head_save(a->path, a->keys, 0, a->rotation, a->hmac, env_wall(a->env)) != ERR_OK)
		log_warn("audit-head-failed");
	if (e == ERR_OK && torn && !broken)
		e = cut_torn(a, &s, f);
	/* The next checkpoint writes a good head again: what was found stays in the chain. */
	if (e == ERR_OK && s.exists && !broken &&
	    (s.head == HEAD_FORGED || (s.head == HEAD_NONE && s.entries > 0))) {
		json_t *d =
			json_pack("{s:s}", "found", s.head == HEAD_FORGED ? "not ours" : "none");
		log_warn("audit-head-bad found=%s", s.head == HEAD_FORGED ? "not-ours" : "none");
		append(a, "AUDIT_HEAD_BAD", d);
		json_decref(d);
	}
	if (e == ERR_OK && a->pending.n) {
		e = audit_flush(a);
		if (e == ERR_OK)
			e = dir_fsync_of(a->path);
		if (e != ERR_OK)
			fault_set(f, e, EXIT_GENERIC, "cannot write the audit log %s", a->path);
	}
	return e;
}

static void free_all(struct audit *a)
{
	if (a->fd >= 0)
		close(a->fd);
	if (a->lock_fd >= 0)
		close(a->lock_fd); /* unlocks */
	audit_limits_free(a->limits);
	secret_free(&a->key);
	buf_fini(&a->pending);
	buf_fini(&a->text);
	free(a->path);
	free(a);
}

enum err audit_open(const char *path, const struct keyring *k, struct env *env, struct audit **out,
		    struct fault *f)
{
	struct audit *a = calloc(1, sizeof(*a));
	uint8_t hash_key[16];

	if (!a)
		return fault_set(f, ERR_NOMEM, EXIT_GENERIC, "no memory for the audit log");
	a->env = env;
	a->keys = k;
	a->fd = a->lock_fd = -1;
	buf_init(&a->pending, PENDING_MAX);
	buf_init(&a->text, AUDIT_LINE_MAX);
	new_chain(a, 0);
	env_random(env, hash_key, sizeof(hash_key));
	a->limits = audit_limits_new(hash_key, tell_suppressed, a);
	enum err e = a->limits ? keyring_derive(k, DERIVE_AUDIT, &a->key) : ERR_NOMEM;
	if (e == ERR_OK && path && !(a->path = strdup(path)))
		e = ERR_NOMEM;
	if (e != ERR_OK)
		fault_set(f, e, EXIT_GENERIC, "cannot open the audit log: %s", err_word(e));
	if (e == ERR_OK && path)
		e = take_lock(a, f);
	if (e == ERR_OK && path)
		e = open_file(a, f);
	if (e != ERR_OK) {
		free_all(a);
		return e;
	}
	*out = a;
	return ERR_OK;
}

void audit_close(struct audit *a)
{
	if (!a)
		return;
	audit_limits_sweep(a->limits, env_now(a->env), true);
	if (audit_checkpoint(a) != ERR_OK)
		log_error("audit-close-failed pending=%zu", a->pending.n);
	free_all(a);
}
