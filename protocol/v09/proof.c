#include <sodium.h>

#include "base/hash.h"
#include "base/secret.h"
#include "base/text.h"
#include "protocol/session.h"
#include "protocol/v09/proof.h"
#include "protocol/v09/v09.h"

#define SUITES_MAX 16

enum err unit_parse(struct bytes unit, json_t **out, struct bytes *type)
{
	json_t *o;
	struct bytes t;
	enum err e = json_load_strict(unit, SESSION_HANDSHAKE_UNIT_MAX, &o);

	if (e != ERR_OK)
		return e;
	e = json_is_object(o) ? json_get_str(o, "type", &t) : ERR_MALFORMED;
	if (e != ERR_OK) {
		json_decref(o);
		return ERR_MALFORMED;
	}
	*out = o;
	*type = t;
	return ERR_OK;
}

void proof_of_client(struct bytes passphrase, const uint8_t nonce[static NONCE_BYTES],
		     char out[static PROOF_HEX + 1])
{
	uint8_t mac[HASH_BYTES];

	hmac_sha256(passphrase, bytes_of(nonce, NONCE_BYTES), mac);
	hex_encode(BYTES_ARR(mac), out);
	wipe(mac, sizeof mac);
}

void proof_of_server(struct bytes passphrase, const uint8_t nonce[static NONCE_BYTES],
		     char out[static PROOF_HEX + 1])
{
	uint8_t reversed[NONCE_BYTES];

	for (size_t i = 0; i < NONCE_BYTES; i++)
		reversed[i] = nonce[NONCE_BYTES - 1 - i];
	proof_of_client(passphrase, reversed, out);
}

bool nonce_is_palindrome(const uint8_t nonce[static NONCE_BYTES])
{
	for (size_t i = 0; i < NONCE_BYTES / 2; i++)
		if (nonce[i] != nonce[NONCE_BYTES - 1 - i])
			return false;
	return true;
}

enum err session_key_of(const uint8_t sk[static X25519_BYTES],
			const uint8_t pk[static X25519_BYTES],
			uint8_t out[static SESSION_KEY_BYTES])
{
	uint8_t key[crypto_box_BEFORENMBYTES];

	_Static_assert(sizeof key == SESSION_KEY_BYTES, "the key of a secretbox");
	if (crypto_box_beforenm(key, pk, sk) != 0) {
		wipe(key, sizeof key);
		return ERR_AUTH;
	}
	memcpy(out, key, sizeof key);
	wipe(key, sizeof key);
	return ERR_OK;
}

/* All texts below are J-default: ", " and ": ", insertion order (wire 0.4). */
static void open_typed(struct buf *b, const char *type, const struct node_id *self)
{
	buf_printf(b, "{\"type\": \"%s\", \"from\": \"%s\"", type, self->hex);
}

void challenge_write(struct buf *b, const struct node_id *self,
		     const uint8_t nonce[static NONCE_BYTES], bool offer_im2)
{
	char hex[2 * NONCE_BYTES + 1];

	hex_encode(bytes_of(nonce, NONCE_BYTES), hex);
	open_typed(b, "PASSPHRASE_CHALLENGE", self);
	buf_printf(b, ", \"nonce\": \"%s\", \"protocol_version\": \"" V09_VERSION_TEXT "\"", hex);
	if (offer_im2)
		buf_add_str(b, ", \"suites\": [\"im2\"]");
	buf_add_str(b, "}");
}

/* Anything but a short list of texts offers nothing: to 0.9 the key has no meaning at all. */
static bool suites_name_im2(const json_t *suites)
{
	bool found = false;

	if (!json_is_array(suites) || json_array_size(suites) > SUITES_MAX)
		return false;
	for (size_t i = 0; i < json_array_size(suites); i++) {
		const json_t *v = json_array_get(suites, i);

		if (!json_is_string(v))
			return false;
		found |= bytes_eq(bytes_of(json_string_value(v), json_string_length(v)),
				  BYTES_LIT("im2"));
	}
	return found;
}

enum err challenge_read(const json_t *o, struct challenge *out)
{
	struct challenge c = {0};
	struct bytes text;

	if (json_get_str(o, "nonce", &text) != ERR_OK ||
	    hex_decode(text, c.nonce, NONCE_BYTES) != ERR_OK)
		return ERR_MALFORMED;
	if (json_object_get(o, "from") &&
	    (json_get_str(o, "from", &text) != ERR_OK || node_id_parse(text, &c.from) != ERR_OK))
		return ERR_MALFORMED;
	if (json_object_get(o, "protocol_version")) {
		if (json_get_str(o, "protocol_version", &text) != ERR_OK)
			return ERR_MALFORMED;
		c.version = v09_version_parse(text);
	}
	c.offers_im2 = suites_name_im2(json_object_get(o, "suites"));
	*out = c;
	return ERR_OK;
}

bool v09_challenge_peek(struct bytes text, uint8_t nonce[static 32], bool *offers_im2)
{
	struct challenge c;
	struct bytes type;
	json_t *o;
	bool ok;

	if (unit_parse(text, &o, &type) != ERR_OK)
		return false;
	ok = bytes_eq(type, BYTES_LIT("PASSPHRASE_CHALLENGE")) && challenge_read(o, &c) == ERR_OK;
	json_decref(o);
	if (!ok)
		return false;
	memcpy(nonce, c.nonce, NONCE_BYTES);
	*offers_im2 = c.offers_im2;
	return true;
}

void proof_write(struct buf *b, const struct node_id *self, const char *proof_hex)
{
	/* The type of the question again, not PASSPHRASE_RESPONSE (wire 2.4). */
	open_typed(b, "PASSPHRASE_CHALLENGE", self);
	buf_printf(b, ", \"proof\": \"%s\"}", proof_hex);
}

bool proof_matches(const json_t *o, const char *key, const char *expected_hex)
{
	struct bytes text;

	return json_get_str(o, key, &text) == ERR_OK && text.n == PROOF_HEX &&
	       ct_equal(text.p, expected_hex, PROOF_HEX);
}

void verified_write(struct buf *b, const struct node_id *self, const char *server_proof_hex)
{
	open_typed(b, "PASSPHRASE_VERIFIED", self);
	buf_printf(b, ", \"status\": \"verified\", \"server_proof\": \"%s\"}", server_proof_hex);
}

void rejected_write(struct buf *b, const struct node_id *self, const char *error)
{
	open_typed(b, "PASSPHRASE_REJECTED", self);
	buf_add_str(b, ", \"error\": ");
	json_add_string(b, bytes_str(error));
	buf_add_str(b, "}");
}
