/* known_peers.json: versions 1 and 2 in, version 2 out (wire 9.5). */
#include "trust/pins_internal.h"

#include <sodium.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/text.h"

#define MAC_HEX	      (2 * HASH_BYTES)
#define BLOB_OVERHEAD (crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES)
#define MAC_PREFIX    "v=2|c="

static bool mac_matches(struct bytes text, const uint8_t mac[static HASH_BYTES])
{
	uint8_t given[HASH_BYTES];

	return hex_decode(text, given, sizeof given) == ERR_OK &&
	       ct_equal(given, mac, sizeof given);
}

static enum err no(char *why, size_t cap, enum err e, const char *text)
{
	snprintf(why, cap, "%s", text);
	return e;
}

static enum err read_v1(struct pins *p, json_t *root, struct bytes mac_text, char *why, size_t cap)
{
	uint8_t mac[HASH_BYTES];
	struct buf canonical;

	/* The MAC text lives in `root`, which loses that member now. */
	char given[MAC_HEX + 1];
	if (mac_text.n != MAC_HEX)
		return no(why, cap, ERR_AUTH, "its MAC does not verify");
	memcpy(given, mac_text.p, MAC_HEX);
	json_object_del(root, "_mac");

	/* \u escapes make the canonical text up to three times as long as UTF-8 input. */
	buf_init(&canonical, 4 * (size_t)PINS_FILE_MAX);
	enum err e = json_write(&canonical, root, JSON_SORTED);
	if (e == ERR_OK)
		hmac_sha256(secret_bytes(&p->mac), buf_bytes(&canonical), mac);
	buf_fini(&canonical);
	if (e != ERR_OK)
		return no(why, cap, e, "its content cannot be put into canonical form");
	if (!mac_matches(bytes_of(given, MAC_HEX), mac))
		return no(why, cap, ERR_AUTH,
			  "its MAC does not verify: it was changed, or belongs to another identity "
			  "or to software too old to bind it to one");
	e = pins_read_inner(p, root);
	if (e != ERR_OK)
		return no(why, cap, e, "a record in it is malformed or there are too many");
	p->stale = true; /* the next flush writes version 2 */
	return ERR_OK;
}

static enum err read_v2(struct pins *p, const json_t *root, struct bytes mac_text, char *why,
			size_t cap)
{
	struct bytes text;
	uint8_t mac[HASH_BYTES];
	struct buf blob, inner;
	json_t *tree = NULL;

	if (json_get_str(root, "ciphertext", &text) != ERR_OK)
		return no(why, cap, ERR_MALFORMED, "it has no ciphertext");
	hmac_sha256_2(secret_bytes(&p->mac), BYTES_LIT(MAC_PREFIX), text, mac);
	if (!mac_matches(mac_text, mac))
		return no(
			why, cap, ERR_AUTH,
			"its MAC does not verify: it was changed, or belongs to another identity");

	buf_init(&blob, PINS_FILE_MAX);
	buf_init(&inner, PINS_FILE_MAX);
	enum err e = buf_add_base64_decoded(&blob, text);
	if (e == ERR_OK && blob.n < BLOB_OVERHEAD)
		e = ERR_SHORT;
	if (e == ERR_OK && !buf_reserve(&inner, blob.n - BLOB_OVERHEAD + 1))
		e = inner.err;
	if (e == ERR_OK) {
		if (crypto_secretbox_open_easy(inner.p, blob.p + crypto_secretbox_NONCEBYTES,
					       blob.n - crypto_secretbox_NONCEBYTES, blob.p,
					       p->box.p) == 0)
			inner.n = blob.n - BLOB_OVERHEAD;
		else
			e = ERR_AUTH;
	}
	if (e != ERR_OK) {
		no(why, cap, e, "its ciphertext does not open");
		goto out;
	}
	e = json_load_strict(buf_bytes(&inner), PINS_FILE_MAX, &tree);
	if (e == ERR_OK)
		e = pins_read_inner(p, tree);
	if (e != ERR_OK)
		no(why, cap, e, "a record in it is malformed or there are too many");
	pins_wipe_json(tree);
	json_decref(tree);
out:
	buf_wipe(&inner);
	buf_fini(&inner);
	buf_fini(&blob);
	return e;
}

enum err pins_read_file(struct pins *p, struct bytes file, char *why, size_t cap)
{
	json_t *root;
	struct bytes mac_text;
	enum err e = json_load_strict(file, PINS_FILE_MAX, &root);

	if (e != ERR_OK)
		return no(why, cap, e, "it is not a JSON object of at most 8 MiB");
	const json_t *version = json_object_get(root, "version");
	if (!json_is_object(root))
		e = no(why, cap, ERR_MALFORMED, "it is not a JSON object");
	else if (json_get_str(root, "_mac", &mac_text) != ERR_OK)
		/* Anybody could have written the oldest form. */
		e = no(why, cap, ERR_AUTH,
		       "it carries no MAC: it is of the oldest form, which anybody can write");
	else if (!version)
		e = read_v1(p, root, mac_text, why, cap);
	else if (json_is_integer(version) && json_integer_value(version) == 1)
		e = read_v1(p, root, mac_text, why, cap);
	else if (json_is_integer(version) && json_integer_value(version) == 2)
		e = read_v2(p, root, mac_text, why, cap);
	else
		e = no(why, cap, ERR_UNSUPPORTED, "it is of a version this program does not know");
	json_decref(root);
	return e;
}

enum err pins_write_file(const struct pins *p, struct buf *out)
{
	uint8_t mac[HASH_BYTES];
	char mac_text[MAC_HEX + 1];
	struct buf inner, blob, text;

	buf_init(&inner, PINS_FILE_MAX);
	buf_init(&blob, PINS_FILE_MAX);
	buf_init(&text, PINS_FILE_MAX);
	enum err e = pins_write_inner(p, &inner);
	uint8_t *b = e == ERR_OK ? buf_reserve(&blob, inner.n + BLOB_OVERHEAD) : NULL;
	if (e == ERR_OK && !b)
		e = blob.err;
	if (e == ERR_OK) {
		env_random(p->env, b, crypto_secretbox_NONCEBYTES);
		crypto_secretbox_easy(b + crypto_secretbox_NONCEBYTES, inner.p, inner.n, b,
				      p->box.p);
		blob.n = inner.n + BLOB_OVERHEAD;
		e = buf_add_base64(&text, buf_bytes(&blob));
	}
	if (e == ERR_OK) {
		hmac_sha256_2(secret_bytes(&p->mac), BYTES_LIT(MAC_PREFIX), buf_bytes(&text), mac);
		hex_encode(BYTES_ARR(mac), mac_text);
		buf_add_str(out, "{\"version\": 2, \"ciphertext\": \"");
		buf_add(out, buf_bytes(&text));
		buf_add_str(out, "\", \"_mac\": \"");
		buf_add_str(out, mac_text);
		buf_add_str(out, "\"}");
		e = out->err;
	}
	buf_wipe(&inner);
	buf_fini(&inner);
	buf_fini(&blob);
	buf_fini(&text);
	return e;
}

static void latch(struct pins *p, const char *reason)
{
	p->read_only = true;
	p->stale = p->dirty = false;
	snprintf(p->why, sizeof p->why,
		 "%.200s cannot be used: %.200s; it was left as it is, and no peer is known",
		 p->path, reason);
}

enum err pins_load(const char *path, const struct keyring *k, struct env *env, struct pins **out,
		   struct fault *f)
{
	struct pins *p;
	struct fault local = {0};
	char why[256] = "";
	struct buf file;
	enum err e = pins_new(path, k, env, &p);

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "no memory for the trust store");
	if (!path) {
		*out = p;
		return ERR_OK;
	}
	buf_init(&file, PINS_FILE_MAX);
	e = file_read_secret(path, &file, &local);
	if (e == ERR_OK) {
		e = pins_read_file(p, buf_bytes(&file), why, sizeof why);
		if (e != ERR_OK)
			latch(p, why);
	} else if (e != ERR_NOTFOUND) {
		latch(p, local.what[0] ? local.what : err_word(e));
	}
	buf_fini(&file);
	if (e == ERR_NOMEM) {
		pins_free(p);
		return fault_set(f, e, EXIT_RETRY, "no memory for the trust store");
	}
	*out = p;
	return ERR_OK;
}

/* Version 1 and older, without asking who wrote it. */
static enum err read_unverified(struct pins *p, struct bytes file, char *why, size_t cap)
{
	json_t *root;
	const json_t *version;
	enum err e = json_load_strict(file, PINS_FILE_MAX, &root);

	if (e != ERR_OK)
		return no(why, cap, e, "it is not a JSON object of at most 8 MiB");
	version = json_object_get(root, "version");
	if (!json_is_object(root) || (version && json_integer_value(version) != 1)) {
		e = no(why, cap, ERR_AUTH, "its MAC does not verify: it was changed, or belongs to another identity");
	} else {
		json_object_del(root, "_mac");
		e = pins_read_inner(p, root);
		if (e != ERR_OK)
			no(why, cap, e, "a record in it is malformed or there are too many");
	}
	json_decref(root);
	return e;
}

enum err pins_import(const char *from, const char *path, const struct keyring *k, struct env *env, bool unverified,
		     struct pins **out, bool *authentic, struct fault *f)
{
	struct pins *p;
	char why[256] = "";
	struct buf file;
	enum err e = pins_new(path, k, env, &p);

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "no memory for the trust store");
	buf_init(&file, PINS_FILE_MAX);
	e = file_read(from, &file, f);
	if (e == ERR_OK) {
		e = pins_read_file(p, buf_bytes(&file), why, sizeof why);
		*authentic = e == ERR_OK;
		if (e == ERR_AUTH && unverified) {
			pins_clear(p);
			e = read_unverified(p, buf_bytes(&file), why, sizeof why);
		}
		if (e != ERR_OK)
			fault_set(f, e, EXIT_INTEGRITY, "the trust store %s cannot be used: %s", from, why);
	}
	buf_fini(&file);
	if (e != ERR_OK) {
		pins_free(p);
		return e;
	}
	p->stale = true; /* it is not at `path` yet */
	*out = p;
	return ERR_OK;
}

enum err pins_check(const char *path, const struct node_id *self, struct bytes mac, struct bytes box, struct env *env,
		    size_t *count, struct fault *f)
{
	struct pins *p;
	char why[256] = "";
	struct buf file;
	enum err e = pins_new_with(self, mac, box, env, &p);

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "no memory for the trust store");
	buf_init(&file, PINS_FILE_MAX);
	e = file_read(path, &file, f);
	if (e == ERR_OK && (e = pins_read_file(p, buf_bytes(&file), why, sizeof why)) != ERR_OK)
		fault_set(f, e, EXIT_INTEGRITY, "the trust store cannot be used: %s", why);
	if (e == ERR_OK)
		*count = pins_count(p);
	buf_fini(&file);
	pins_free(p);
	return e;
}

enum err pins_flush(struct pins *p, struct fault *f)
{
	struct buf file;
	enum err e = ERR_OK;

	if (!pins_dirty(p))
		return ERR_OK;
	if (p->read_only)
		return pins_refuse_read_only(p, f);
	if (p->path) {
		buf_init(&file, PINS_FILE_MAX);
		e = pins_write_file(p, &file);
		if (e != ERR_OK)
			fault_set(f, e, EXIT_RETRY, "the trust store cannot be written: %s",
				  e == ERR_LIMIT ? "it is over 8 MiB" : err_word(e));
		else
			e = file_write_secret(p->path, buf_bytes(&file), f);
		buf_fini(&file);
	}
	if (e == ERR_OK)
		p->dirty = p->stale = false;
	return e;
}

enum err pins_save_as(const struct pins *p, const struct keyring *k, const char *path,
		      struct fault *f)
{
	struct pins other = *p; /* the same records under other keys */
	struct buf file;

	if (p->read_only)
		return pins_refuse_read_only(p, f);
	other.mac = other.box = (struct secret){0};
	buf_init(&file, PINS_FILE_MAX);
	enum err e = keyring_derive(k, DERIVE_TRUST_MAC, &other.mac);
	if (e == ERR_OK)
		e = keyring_derive(k, DERIVE_TRUST_BOX, &other.box);
	if (e == ERR_OK)
		e = pins_write_file(&other, &file);
	if (e != ERR_OK)
		fault_set(f, e, EXIT_RETRY, "the trust store cannot be written: %s", err_word(e));
	else
		e = file_write_secret(path, buf_bytes(&file), f);
	buf_fini(&file);
	secret_free(&other.mac);
	secret_free(&other.box);
	return e;
}
