/*
 * frame.h -- the binary frame, version 4 (wire 3.1, 3.2, 3.5).
 *
 *   magic e7 f6 | version | flags | sequence u64 | time ms u64 | id hash 8 | enc_len u32 | enc | sig 64
 *
 * enc is nonce 24 || mac 16 || cipher. The header is not authenticated: whoever opens a frame holds it
 * against the body (wire 12, weakness 12).
 */
#ifndef PROTOCOL_V09_FRAME_H
#define PROTOCOL_V09_FRAME_H

#include "protocol/v09/body.h"
#include "protocol/v09/proof.h"

#define FRAME_HEADER 32
#define FRAME_ENC_MIN 40
#define FRAME_ENC_MAX 1048576
#define FRAME_VERSION 4
#define FRAME_HIGH 0x01
#define FRAME_CRITICAL 0x02
#define FRAME_ENCRYPTED 0x04
#define FRAME_SIGNED 0x08

struct frame_head {
	uint8_t version, flags;
	uint64_t sequence, time_ms;
	uint8_t id_hash[8];
	uint32_t enc_len;
};

/* Milliseconds as the header holds them: floor(time_s * 1000) in double arithmetic. */
uint64_t frame_time_ms(double time_s);

/* Writes body `o`, seals it under `key` and signs: appends one whole frame to `out`. `nonce` is used once.
 * ERR_LIMIT (over SESSION_UNIT_MAX), ERR_NOMEM, ERR_MALFORMED (text that is not UTF-8): `out` is as it was. */
enum err frame_seal(struct buf *out, const uint8_t key[static SESSION_KEY_BYTES], const struct keyring *k,
		    const uint8_t nonce[static 24], const struct body_out *o) MUST_CHECK;

/* The same around a body that is written already, but for its sequence number, which belongs at `cut`. */
struct frame_text {
	struct bytes body;
	size_t cut;
	uint64_t sequence, time_ms;
	uint8_t id_hash[8];
	enum priority priority;
};
enum err frame_seal_text(struct buf *out, const uint8_t key[static SESSION_KEY_BYTES], const struct keyring *k,
			 const uint8_t nonce[static 24], const struct frame_text *t) MUST_CHECK;

/* Shape only: magic, version 3 or 4, both flags, enc_len, exact length. */
enum err frame_shape(struct bytes unit, struct frame_head *head, struct bytes *enc, const uint8_t **sig) MUST_CHECK;

/* Opens `enc` under the first of the keys that fits (*which tells), then checks the signature of `ed`.
 * Authenticated decryption comes first because it is 20 times cheaper to refuse; nothing of the
 * plaintext is used before both hold. The plaintext replaces the content of `plain`. ERR_AUTH. */
enum err frame_open(struct bytes enc, const uint8_t *const keys[], size_t n_keys,
		    const uint8_t ed[static ED_BYTES], const uint8_t sig[static SIG_BYTES],
		    struct buf *plain, size_t *which, const char **word) MUST_CHECK;

#endif
