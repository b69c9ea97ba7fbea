/* rooms: store trust base
 *
 * First byte even: the rest is an export as it comes from outside; without the key nothing passes.
 * Odd: the rest is lines of a log that we sign; what we signed must verify, and with one byte
 * changed it must not.
 */
#include <sodium.h>
#include <stdlib.h>

#include "base/text.h"
#include "store/audit_internal.h"
#include "trust/keyring_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct keyring *keys;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static enum err check(struct bytes text)
{
	json_t *summary = NULL;
	enum err e = audit_verify_export(text, keyring_ed(keys), &summary, NULL);

	must((summary != NULL) == (e == ERR_OK));
	json_decref(summary);
	return e;
}

/* The entries of `in` that are lines of a log, as an array; the hmac of the last one. */
static json_t *entries_of(struct bytes in, char hmac[static AUDIT_HMAC_LEN + 1])
{
	json_t *list = json_array();

	memcpy(hmac, AUDIT_GENESIS, AUDIT_HMAC_LEN + 1);
	while (in.n) {
		const uint8_t *nl = memchr(in.p, '\n', in.n);
		size_t n = nl ? (size_t)(nl - in.p) : in.n;
		struct audit_line l;
		if (audit_line_parse(bytes_of(in.p, n), &l) == ERR_OK) {
			json_array_append(list, l.json);
			memcpy(hmac, l.hmac.p, AUDIT_HMAC_LEN);
			audit_line_fini(&l);
		}
		n += nl != NULL;
		in = bytes_of(in.p + n, in.n - n);
	}
	return list;
}

static void sign(json_t *j)
{
	char sig64[BASE64_LEN(SIG_BYTES) + 1];
	uint8_t sig[SIG_BYTES];
	struct buf b;

	buf_init(&b, 4u << 20);
	buf_add(&b, sig_prefix(SIG_AUDIT_EXPORT));
	must(json_write(&b, j, JSON_SORTED) == ERR_OK);
	keyring_sign(keys, SIG_AUDIT_EXPORT, buf_bytes(&b), sig);
	base64_encode(BYTES_ARR(sig), sig64);
	json_object_set_new(j, "signature", json_string(sig64));
	buf_fini(&b);
}

static void signed_export_holds(struct bytes in, uint8_t choice)
{
	char hmac[AUDIT_HMAC_LEN + 1], key64[BASE64_LEN(ED_BYTES) + 1];
	json_t *list = entries_of(in, hmac);
	struct buf b;

	base64_encode(bytes_of(keyring_ed(keys), ED_BYTES), key64);
	json_t *j =
		json_pack("{s:I, s:o, s:f, s:s, s:s, s:s}", "entry_count",
			  (json_int_t)json_array_size(list), "entries", list, "exported_at", 1.5,
			  "final_hmac", hmac, "signer", keyring_id(keys)->hex, "signer_key", key64);
	must(j != NULL);
	sign(j);
	buf_init(&b, 4u << 20);
	must(json_write(&b, j, JSON_SORTED) == ERR_OK);
	must(check(buf_bytes(&b)) == ERR_OK);
	b.p[(size_t)choice * 251 % b.n] ^= 1;
	must(check(buf_bytes(&b)) != ERR_OK);
	buf_fini(&b);
	json_decref(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t SEED[SEED_BYTES] = {9}, SALT[HKDF_SALT_BYTES] = {9};

	if (!keys)
		must(secret_init_library() == ERR_OK &&
		     keyring_from_seed(SEED, SALT, &keys) == ERR_OK);
	if (size == 0 || size > 65536)
		return 0;
	if (data[0] & 1)
		signed_export_holds(bytes_of(data + 1, size - 1), data[0] >> 1);
	else
		must(check(bytes_of(data + 1, size - 1)) != ERR_OK);
	return 0;
}
