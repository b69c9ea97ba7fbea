#include "store/audit_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"
#include "base/text.h"

#define READ_BYTES 65536

const char AUDIT_GENESIS[AUDIT_HMAC_LEN + 1] =
	"0000000000000000000000000000000000000000000000000000000000000000";

static bool number_char(uint8_t c)
{
	return (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+' || c == 'e';
}

/*
 * The MAC covers the line without `"hmac":"<64 hex>",`. That part is found from the end: after the
 * last key comes only a number, so no string of the details can imitate it there.
 */
static bool cut(struct bytes line, struct audit_line *out)
{
	static const char TIME[] = "\"timestamp\":", HMAC[] = "\"hmac\":\"";
	const size_t hmac_n = sizeof(HMAC) - 1 + AUDIT_HMAC_LEN + 2;
	size_t at = line.n;

	if (at == 0 || line.p[--at] != '}')
		return false;
	while (at > 0 && number_char(line.p[at - 1]))
		at--;
	if (at < sizeof(TIME) - 1 + hmac_n)
		return false;
	at -= sizeof(TIME) - 1;
	out->after = bytes_of(line.p + at, line.n - at);
	at -= hmac_n;
	const uint8_t *h = line.p + at;
	out->before = bytes_of(line.p, at);
	out->hmac = bytes_of(h + sizeof(HMAC) - 1, AUDIT_HMAC_LEN);
	return memcmp(out->after.p, TIME, sizeof(TIME) - 1) == 0 &&
	       memcmp(h, HMAC, sizeof(HMAC) - 1) == 0 && hex_valid(out->hmac, AUDIT_HMAC_LEN) &&
	       memcmp(out->hmac.p + AUDIT_HMAC_LEN, "\",", 2) == 0;
}

static bool canonical(struct bytes line, const json_t *json)
{
	struct buf b;

	buf_init(&b, line.n);
	bool same = json_write(&b, json, JSON_SORTED) == ERR_OK && bytes_eq(line, buf_bytes(&b));
	buf_fini(&b);
	return same;
}

enum err audit_line_parse(struct bytes line, struct audit_line *out)
{
	struct audit_line l = {0};

	if (!cut(line, &l) || json_load_strict(line, AUDIT_LINE_MAX, &l.json) != ERR_OK)
		return ERR_MALFORMED;
	l.event = json_str(l.json, "event");
	l.details = json_object_get(l.json, "details");
	const json_t *time = json_object_get(l.json, "timestamp");
	if (json_object_size(l.json) != 4 || !l.event || !json_is_object(l.details) ||
	    !json_str(l.json, "hmac") || !json_is_real(time) || !canonical(line, l.json)) {
		audit_line_fini(&l);
		return ERR_MALFORMED;
	}
	l.timestamp = json_real_value(time);
	*out = l;
	return ERR_OK;
}

void audit_line_fini(struct audit_line *l)
{
	json_decref(l->json);
	l->json = NULL;
}

void audit_line_hmac(struct bytes key, const char previous[static AUDIT_HMAC_LEN],
		     struct bytes before, struct bytes after, char hex[static AUDIT_HMAC_LEN + 1])
{
	uint8_t mac[HASH_BYTES];
	struct buf b;

	buf_init(&b, AUDIT_HMAC_LEN + AUDIT_LINE_MAX);
	buf_add(&b, bytes_of(previous, AUDIT_HMAC_LEN));
	buf_add(&b, before);
	BUG_ON(b.err != ERR_OK);
	hmac_sha256_2(key, buf_bytes(&b), after, mac);
	buf_fini(&b);
	hex_encode(BYTES_ARR(mac), hex);
}

static int open_log(const char *path, struct fault *f, enum err *e)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	int no = fd < 0 ? errno : ENOTSUP;
	*e = fault_set(f, fd < 0 ? err_from_errno(no) : ERR_DENIED, EXIT_GENERIC,
		       "cannot read the audit log %s: %s", path,
		       fd < 0 ? strerror(no) : "not a plain file");
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Gives out the lines in `b`; the bytes of an unfinished one stay. False when `fn` stopped. */
static bool give_lines(struct buf *b, uint64_t *offset, audit_line_fn fn, void *ctx)
{
	size_t at = 0;
	const uint8_t *nl;
	bool go = true;

	while (go && (nl = memchr(b->p + at, '\n', b->n - at))) {
		size_t n = (size_t)(nl - (b->p + at));
		*offset += n + 1;
		go = fn(ctx, bytes_of(b->p + at, n), n > AUDIT_LINE_MAX ? LINE_LONG : LINE_FULL,
			*offset);
		at += n + 1;
	}
	buf_drop_front(b, at);
	return go;
}

enum err audit_each_line(const char *path, audit_line_fn fn, void *ctx, struct fault *f)
{
	struct buf b;
	uint64_t offset = 0;
	bool go = true;
	enum err e = ERR_OK;
	int fd = open_log(path, f, &e);

	if (fd < 0)
		return e;
	buf_init(&b, AUDIT_LINE_MAX + READ_BYTES);
	while (go) {
		uint8_t *p = buf_reserve(&b, READ_BYTES);
		if (!p) {
			e = ERR_NOMEM;
			break;
		}
		ssize_t n = read(fd, p, READ_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			e = fault_set(f, ERR_IO, EXIT_GENERIC, "cannot read %s: %s", path,
				      strerror(errno));
			break;
		}
		if (n == 0) {
			if (b.n)
				fn(ctx, buf_bytes(&b), LINE_TORN, offset + b.n);
			break;
		}
		b.n += (size_t)n;
		go = give_lines(&b, &offset, fn, ctx);
		if (go && b.n > AUDIT_LINE_MAX) {
			/* Nothing of ours is that long, and what follows cannot be trusted. */
			fn(ctx, buf_bytes(&b), LINE_LONG, offset + b.n);
			break;
		}
	}
	buf_fini(&b);
	close(fd);
	return e;
}
