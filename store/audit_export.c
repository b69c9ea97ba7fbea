#include "store/audit_internal.h"

#include "base/text.h"

struct gather {
	struct buf *b;
	uint64_t n, max;
	bool failed;
};

static bool gather_line(void *ctx, struct bytes line, enum line_end end, uint64_t offset)
{
	struct gather *g = ctx;

	/* No further than what was verified: a daemon may have gone on writing. */
	if (g->n == g->max)
		return false;
	if (g->n++)
		buf_add_u8(g->b, ',');
	buf_add(g->b, line);
	return g->b->err == ERR_OK;
}

/* `text` is SIG_AUDIT_EXPORT || the object without its signature, which belongs at `cut`. */
static enum err sign_into(const struct keyring *k, const struct buf *text, size_t cut,
			  struct buf *out)
{
	char sig64[BASE64_LEN(SIG_BYTES) + 1];
	uint8_t sig[SIG_BYTES];
	size_t start = sig_prefix(SIG_AUDIT_EXPORT).n;

	keyring_sign(k, SIG_AUDIT_EXPORT, buf_bytes(text), sig);
	base64_encode(BYTES_ARR(sig), sig64);
	buf_add(out, bytes_of(text->p + start, cut - start));
	buf_printf(out, "\"signature\":\"%s\",", sig64);
	buf_add(out, bytes_of(text->p + cut, text->n - cut));
	return out->err;
}

enum err audit_export(const char *path, const struct keyring *k, uint64_t wall_ms, struct buf *out,
		      struct fault *f)
{
	char key64[BASE64_LEN(ED_BYTES) + 1];
	struct audit_report report;
	struct buf b;

	enum err e = audit_verify(path, k, &report, f);
	if (e != ERR_OK)
		return e;
	if (!report.ok) {
		fault_set(f, ERR_CORRUPT, EXIT_INTEGRITY, "the audit log %s does not verify: %s",
			  path, report.why);
		fault_means(f, "Signing it now would vouch for something that was altered.");
		return ERR_CORRUPT;
	}
	buf_init(&b, AUDIT_EXPORT_MAX);
	buf_add(&b, sig_prefix(SIG_AUDIT_EXPORT));
	buf_add_str(&b, "{\"entries\":[");
	struct gather g = {.b = &b, .max = report.entries};
	if (report.entries)
		e = audit_each_line(path, gather_line, &g, f);
	if (e == ERR_OK && g.n != report.entries)
		e = fault_set(f, ERR_AGAIN, EXIT_RETRY, "the audit log %s was rotated meanwhile",
			      path);
	buf_printf(&b,
		   "],\"entry_count\":%llu,\"exported_at\":", (unsigned long long)report.entries);
	json_add_double(&b, (double)wall_ms / 1000.0);
	buf_printf(&b, ",\"final_hmac\":\"%s\",", report.head);
	size_t cut = b.n;
	base64_encode(bytes_of(keyring_ed(k), ED_BYTES), key64);
	buf_printf(&b, "\"signer\":\"%s\",\"signer_key\":\"%s\"}", keyring_id(k)->hex, key64);
	if (e == ERR_OK)
		e = b.err;
	if (e == ERR_OK)
		e = sign_into(k, &b, cut, out);
	if (e == ERR_LIMIT)
		fault_set(f, e, EXIT_GENERIC, "the audit log %s is too large to export", path);
	buf_fini(&b);
	return e;
}

struct export
{
	const json_t *entries;
	struct bytes final_hmac, signer, signer_key;
	uint8_t sig[SIG_BYTES];
	double exported_at;
};

static bool export_parse(const json_t *j, struct export *x)
{
	struct bytes sig64;
	int64_t count;

	x->entries = json_object_get(j, "entries");
	const json_t *at = json_object_get(j, "exported_at");
	if (json_object_size(j) != 7 || !json_is_array(x->entries) || !json_is_real(at) ||
	    json_get_int(j, "entry_count", 0, INT64_MAX, &count) != ERR_OK ||
	    (uint64_t)count != json_array_size(x->entries) ||
	    json_get_str(j, "final_hmac", &x->final_hmac) != ERR_OK ||
	    json_get_str(j, "signer", &x->signer) != ERR_OK ||
	    json_get_str(j, "signer_key", &x->signer_key) != ERR_OK ||
	    json_get_str(j, "signature", &sig64) != ERR_OK)
		return false;
	x->exported_at = json_real_value(at);
	return hex_valid(x->final_hmac, AUDIT_HMAC_LEN) &&
	       base64_decode_exact(sig64, x->sig, sizeof(x->sig)) == ERR_OK;
}

static bool signature_ok(json_t *j, const struct export *x, const uint8_t key[static ED_BYTES])
{
	uint8_t claimed[ED_BYTES];
	struct node_id id;
	struct buf b;

	node_id_of(key, &id);
	if (base64_decode_exact(x->signer_key, claimed, sizeof(claimed)) != ERR_OK ||
	    memcmp(claimed, key, ED_BYTES) != 0 ||
	    !bytes_eq(x->signer, bytes_of(id.hex, NODE_ID_LEN)))
		return false;
	json_t *bare = json_copy(j); /* shallow: the entries are shared */
	if (!bare)
		return false;
	json_object_del(bare, "signature");
	buf_init(&b, AUDIT_EXPORT_MAX);
	buf_add(&b, sig_prefix(SIG_AUDIT_EXPORT));
	bool ok = json_write(&b, bare, JSON_SORTED) == ERR_OK && b.err == ERR_OK &&
		  sig_verify(SIG_AUDIT_EXPORT, key, buf_bytes(&b), x->sig);
	buf_fini(&b);
	json_decref(bare);
	return ok;
}

/* Signed or not, the entries must have the shape of entries. */
static enum err summarize(const struct export *x, json_t **summary)
{
	double first = 0, last = 0;
	const char *hmac = AUDIT_GENESIS;
	uint64_t back = 0;
	const json_t *entry;
	size_t i;

	json_array_foreach(x->entries, i, entry)
	{
		const json_t *when = json_object_get(entry, "timestamp");
		hmac = json_str(entry, "hmac");
		if (!json_is_real(when) || !hmac || !json_str(entry, "event") ||
		    !json_is_object(json_object_get(entry, "details")) ||
		    json_object_size(entry) != 4)
			return ERR_MALFORMED;
		if (i == 0)
			first = json_real_value(when);
		else if (json_real_value(when) < last)
			back++;
		last = json_real_value(when);
	}
	if (!bytes_eq(bytes_str(hmac), x->final_hmac))
		return ERR_MALFORMED;
	json_t *j = json_pack("{s:s%, s:I, s:f, s:f, s:f, s:s, s:I}", "signer", x->signer.p,
			      x->signer.n, "entries", (json_int_t)json_array_size(x->entries),
			      "first", first, "last", last, "exported_at", x->exported_at,
			      "final_hmac", hmac, "clock_went_back", (json_int_t)back);
	if (!j)
		return ERR_NOMEM;
	*summary = j;
	return ERR_OK;
}

enum err audit_verify_export(struct bytes text, const uint8_t *key, json_t **summary,
			     struct fault *f)
{
	struct export x;
	json_t *j;

	if (!key) {
		fault_set(f, ERR_DENIED, EXIT_POLICY, "no key to check the export against");
		fault_means(f,
			    "The key inside an export proves nothing: whoever made it chose it.");
		return ERR_DENIED;
	}
	enum err e = json_load_strict(text, AUDIT_EXPORT_MAX, &j);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_INTEGRITY, "this is not an audit export");
	if (!json_is_object(j) || !export_parse(j, &x))
		e = fault_set(f, ERR_MALFORMED, EXIT_INTEGRITY, "this is not a whole audit export");
	else if (!signature_ok(j, &x, key))
		e = fault_set(f, ERR_AUTH, EXIT_INTEGRITY,
			      "the export is not signed by this key, or it was altered");
	else if ((e = summarize(&x, summary)) != ERR_OK)
		fault_set(f, e, EXIT_INTEGRITY,
			  "the export is signed, but its entries make no sense");
	json_decref(j);
	return e;
}
