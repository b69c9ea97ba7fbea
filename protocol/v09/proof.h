/*
 * proof.h -- stage 1 of the handshake: both ends know the passphrase (wire 2.3 to 2.5), and the
 * session key of stage 2 (wire 2.7.2).
 *
 * The messages are JSON objects; writers append one whole text, readers take the parsed object.
 */
#ifndef PROTOCOL_V09_PROOF_H
#define PROTOCOL_V09_PROOF_H

#include "base/buf.h"
#include "base/json.h"
#include "trust/identity.h"

#define NONCE_BYTES	  32
#define PROOF_HEX	  64
#define SESSION_KEY_BYTES 32

/* One handshake unit: a JSON object of at most 64 KiB with a string `type`. ERR_LIMIT,
 * ERR_MALFORMED. *type is borrowed from *out, which the caller decref's. */
enum err unit_parse(struct bytes unit, json_t **out, struct bytes *type) MUST_CHECK;

/* HMAC(passphrase, nonce), and over the reversed nonce for the server; lower-case hex with NUL. */
void proof_of_client(struct bytes passphrase, const uint8_t nonce[static NONCE_BYTES],
		     char out[static PROOF_HEX + 1]);
void proof_of_server(struct bytes passphrase, const uint8_t nonce[static NONCE_BYTES],
		     char out[static PROOF_HEX + 1]);
/* The reversal of such a nonce is itself, so the server could echo our proof (wire 12, weakness 3).
 */
bool nonce_is_palindrome(const uint8_t nonce[static NONCE_BYTES]);

/* crypto_box_beforenm. ERR_AUTH for a point of low order. */
enum err session_key_of(const uint8_t sk[static X25519_BYTES],
			const uint8_t pk[static X25519_BYTES],
			uint8_t out[static SESSION_KEY_BYTES]) MUST_CHECK;

struct challenge {
	struct node_id from; /* claimed; hex[0] == 0 when absent */
	uint8_t nonce[NONCE_BYTES];
	uint16_t version; /* 0 when absent */
	bool offers_im2;  /* `suites` names im2; not authenticated */
};

/* offer_im2 appends `suites` (im2.md 4.1), a key that old peers ignore. */
void challenge_write(struct buf *b, const struct node_id *self,
		     const uint8_t nonce[static NONCE_BYTES], bool offer_im2);
enum err challenge_read(const json_t *o, struct challenge *out) MUST_CHECK;

void proof_write(struct buf *b, const struct node_id *self, const char *proof_hex);
/* Constant-time comparison of key `key` ("proof", "server_proof") with what it must be. */
bool proof_matches(const json_t *o, const char *key, const char *expected_hex);
void verified_write(struct buf *b, const struct node_id *self, const char *server_proof_hex);

/* PASSPHRASE_REJECTED; `error` is valid UTF-8. */
void rejected_write(struct buf *b, const struct node_id *self, const char *error);

#endif
