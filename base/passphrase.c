#include "base/passphrase.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

#define RAW_MAX (PASSPHRASE_MAX_BYTES + 2) /* with its line end */

static enum err refuse(struct fault *f, enum err e, const char *why)
{
	fault_set(f, e, EXIT_CONFIG, "the passphrase %s", why);
	fault_means(f,
		    "It must be one line of UTF-8 text with %d characters or more, and at most %d "
		    "bytes.",
		    PASSPHRASE_MIN_CHARS, PASSPHRASE_MAX_BYTES);
	return e;
}

enum err passphrase_check(struct bytes raw, struct bytes *stripped, struct fault *f)
{
	struct bytes s = raw;
	uint32_t cp;

	if (s.n && s.p[s.n - 1] == '\n') {
		s.n--;
		if (s.n && s.p[s.n - 1] == '\r')
			s.n--;
	}
	if (s.n > PASSPHRASE_MAX_BYTES)
		return refuse(f, ERR_LIMIT, "is too long");
	if (!utf8_valid(s))
		return refuse(f, ERR_MALFORMED, "is not valid UTF-8");
	for (size_t i = 0, n; i < s.n; i += n) {
		n = utf8_decode(s, i, &cp);
		if (cp < 0x20 || (cp >= 0x7f && cp <= 0x9f))
			return refuse(f, ERR_MALFORMED, "contains a control character");
	}
	if (utf8_count(s) < PASSPHRASE_MIN_CHARS)
		return refuse(f, ERR_MALFORMED, "is too short");
	*stripped = s;
	return ERR_OK;
}

static enum err accept(struct bytes raw, struct secret *out, struct fault *f)
{
	struct bytes s;
	enum err e = passphrase_check(raw, &s, f);

	if (e != ERR_OK)
		return e;
	e = secret_copy(out, s);
	if (e != ERR_OK)
		fault_set(f, e, EXIT_GENERIC, "no memory for the passphrase");
	return e;
}

static enum err from_path(const char *path,
			  enum err (*read_file)(const char *, struct buf *, struct fault *),
			  struct secret *out, struct fault *f)
{
	struct buf b;
	enum err e;

	buf_init(&b, RAW_MAX);
	e = read_file(path, &b, f);
	if (e == ERR_OK)
		e = accept(buf_bytes(&b), out, f);
	buf_wipe(&b);
	buf_fini(&b);
	return e;
}

enum err passphrase_from_file(const char *path, struct secret *out, struct fault *f)
{
	return from_path(path, file_read_secret, out, f);
}

enum err passphrase_from_fd(int fd, struct secret *out, struct fault *f)
{
	struct secret raw;
	size_t got = 0;
	enum err e = secret_new(&raw, RAW_MAX + 1);

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "no memory for the passphrase");
	while (got < raw.n) {
		ssize_t n = read(fd, raw.p + got, raw.n - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			e = fault_set(f, err_from_errno(errno), EXIT_CONFIG,
				      "cannot read the passphrase from descriptor %d: %s", fd,
				      strerror(errno));
			fault_next(f, "ironmesh --passphrase-fd 3 ... 3<FILE");
			break;
		}
		if (n == 0)
			break;
		got += (size_t)n;
	}
	if (e == ERR_OK)
		e = accept(bytes_of(raw.p, got), out, f);
	secret_free(&raw);
	return e;
}

enum err passphrase_from_credential(const char *name, struct secret *out, struct fault *f)
{
	const char *dir = secure_getenv("CREDENTIALS_DIRECTORY");
	char path[4096];

	if (!dir || !*dir)
		return fault_set(f, ERR_NOTFOUND, EXIT_CONFIG,
				 "there is no systemd credential folder");
	if (!name_valid(bytes_str(name)) || name[0] == '.' ||
	    path_join(path, sizeof(path), dir, name) != ERR_OK)
		return fault_set(f, ERR_MALFORMED, EXIT_CONFIG, "the credential name is not valid");
	/* systemd 252 leaves the folder to root when it found none of the credentials. */
	if (access(dir, X_OK) != 0)
		return fault_set(f, ERR_NOTFOUND, EXIT_CONFIG, "there is no systemd credential");
	/* systemd guards the folder; it may grant the file by an ACL, which shows as mode 0440 and
	 * owner root, so the rules for our own secret files do not fit. */
	return from_path(path, file_read, out, f);
}

enum err passphrase_from_env(const char *variable, struct secret *out, struct fault *f)
{
	char *v = getenv(variable);
	enum err e;

	if (!v)
		return fault_set(f, ERR_NOTFOUND, EXIT_CONFIG, "%s is not set", variable);
	e = accept(bytes_str(v), out, f);
	wipe(v, strlen(v)); /* unsetenv() alone leaves the text in the process' memory */
	unsetenv(variable);
	return e;
}

enum err passphrase_generate(void (*random)(void *ctx, void *out, size_t n), void *ctx,
			     struct secret *out)
{
	enum { CHARS = 28, GROUP = 4, LEN = CHARS + CHARS / GROUP - 1 };
	/* 32 letters: no l/1, no o/0. Five bits of a random byte pick one without bias. */
	static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789";
	uint8_t r[CHARS];
	struct secret s;
	size_t n = 0;
	enum err e = secret_new(&s, LEN);

	_Static_assert(sizeof(letters) == 32 + 1, "five bits a letter");
	if (e != ERR_OK)
		return e;
	random(ctx, r, sizeof(r));
	for (size_t i = 0; i < CHARS; i++) {
		if (i && i % GROUP == 0)
			s.p[n++] = '-';
		s.p[n++] = (uint8_t)letters[r[i] & 31];
	}
	wipe(r, sizeof(r));
	*out = s;
	return ERR_OK;
}
