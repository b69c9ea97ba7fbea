#include "store/audit_internal.h"

#include "base/file.h"
#include "base/text.h"

#define HEAD_FILE_MAX 1024

enum err audit_head_path(const char *log, char *out, size_t cap)
{
	static const char SUFFIX[] = ".log";
	size_t n = strlen(log), s = sizeof(SUFFIX) - 1;

	if (n > s && strcmp(log + n - s, SUFFIX) == 0)
		n -= s;
	int len = snprintf(out, cap, "%.*s.head", (int)n, log);
	return len < 0 || (size_t)len >= cap ? ERR_LIMIT : ERR_OK;
}

/* What is signed: the context, then the canonical object without its signature. */
static void head_text(struct buf *b, uint64_t entries, uint64_t rotation, const char *hmac,
		      double when)
{
	buf_add(b, sig_prefix(SIG_AUDIT_HEAD));
	buf_printf(b, "{\"entries\":%llu,\"head\":\"%s\",\"rotation\":%llu,\"timestamp\":",
		   (unsigned long long)entries, hmac, (unsigned long long)rotation);
	json_add_double(b, when);
	buf_add_str(b, "}");
}

static bool head_parse(struct bytes text, const uint8_t *ed, struct audit_head *out)
{
	struct bytes hmac, sig64;
	uint8_t sig[SIG_BYTES];
	int64_t entries, rotation;
	json_t *j;
	struct buf b;

	if (json_load_strict(text, HEAD_FILE_MAX, &j) != ERR_OK)
		return false;
	const json_t *when = json_object_get(j, "timestamp");
	bool ok = json_object_size(j) == 5 && json_is_real(when) &&
		  json_get_int(j, "entries", 0, INT64_MAX, &entries) == ERR_OK &&
		  json_get_int(j, "rotation", 0, INT64_MAX, &rotation) == ERR_OK &&
		  json_get_str(j, "head", &hmac) == ERR_OK && hex_valid(hmac, AUDIT_HMAC_LEN) &&
		  json_get_str(j, "signature", &sig64) == ERR_OK &&
		  base64_decode_exact(sig64, sig, sizeof(sig)) == ERR_OK;
	if (ok) {
		memcpy(out->hmac, hmac.p, AUDIT_HMAC_LEN);
		out->hmac[AUDIT_HMAC_LEN] = 0;
		out->entries = (uint64_t)entries;
		out->rotation = (uint64_t)rotation;
		buf_init(&b, HEAD_FILE_MAX);
		head_text(&b, out->entries, out->rotation, out->hmac, json_real_value(when));
		ok = b.err == ERR_OK &&
		     sig_verify(SIG_AUDIT_HEAD, ed, buf_bytes(&b), sig);
		buf_fini(&b);
	}
	json_decref(j);
	return ok;
}

void audit_head_load(const char *log, const uint8_t ed[static ED_BYTES], struct audit_head *out)
{
	char path[AUDIT_PATH_MAX];
	struct buf b;

	*out = (struct audit_head){0};
	if (audit_head_path(log, path, sizeof(path)) != ERR_OK)
		return;
	buf_init(&b, HEAD_FILE_MAX);
	enum err e = file_read(path, &b, NULL);
	out->present = e != ERR_NOTFOUND;
	out->signature_ok = e == ERR_OK && head_parse(buf_bytes(&b), ed, out);
	buf_fini(&b);
}

enum err audit_head_save(const char *log, const struct keyring *k, uint64_t entries,
			 uint64_t rotation, const char *hmac, uint64_t wall_ms)
{
	char path[AUDIT_PATH_MAX], sig64[BASE64_LEN(SIG_BYTES) + 1];
	uint8_t sig[SIG_BYTES];
	double when = (double)wall_ms / 1000.0;
	struct buf b;

	enum err e = audit_head_path(log, path, sizeof(path));
	if (e != ERR_OK)
		return e;
	buf_init(&b, HEAD_FILE_MAX);
	head_text(&b, entries, rotation, hmac, when);
	e = b.err;
	if (e == ERR_OK) {
		keyring_sign(k, SIG_AUDIT_HEAD, buf_bytes(&b), sig);
		base64_encode(BYTES_ARR(sig), sig64);
		buf_reset(&b);
		/* "signature" sorts between "rotation" and "timestamp". */
		buf_printf(
			&b,
			"{\"entries\":%llu,\"head\":\"%s\",\"rotation\":%llu,\"signature\":\"%s\","
			"\"timestamp\":",
			(unsigned long long)entries, hmac, (unsigned long long)rotation, sig64);
		json_add_double(&b, when);
		buf_add_str(&b, "}\n");
		e = b.err;
	}
	if (e == ERR_OK)
		e = file_write_secret(path, buf_bytes(&b), NULL);
	buf_fini(&b);
	return e;
}
