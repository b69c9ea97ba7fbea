/*
 * noise.h -- the Noise protocol framework (revision 34) over 25519, ChaChaPoly, SHA256 (im2.md 5.2).
 *
 * Generic enough to run the published vectors; im2 uses XXpsk0, IKpsk2 and X. No allocation, no clock;
 * ephemerals are handed in (the owner draws them from env, vectors fix them). A failure ends the
 * handshake and wipes its state, later calls are ERR_WRONG_STATE; noise_wipe() is for every other exit.
 * Messages are as long as the caller allows: a sealed object (11.3) may pass the 65,535 of the framework.
 */
#ifndef PROTOCOL_IM2_NOISE_H
#define PROTOCOL_IM2_NOISE_H

#include "base/buf.h"
#include "base/wire.h"

#define NOISE_TAG 16
#define NOISE_KEY 32

enum noise_pattern {
	NOISE_X,
	NOISE_IK,
	NOISE_XX,
	NOISE_XXPSK0,
	NOISE_XXPSK3,
	NOISE_IKPSK1,
	NOISE_IKPSK2,
	NOISE_PATTERNS
};

/* The own static key: only its DH is needed, so that a keyring can hold it (Appendix D 2). */
struct noise_static {
	uint8_t pub[NOISE_KEY];
	/* ERR_AUTH when the result is all zero. */
	enum err (*dh)(void *ctx, const uint8_t their[static NOISE_KEY], uint8_t out[static NOISE_KEY]);
	void *ctx;
};
/* A static key that is in memory (prekeys, tests): ctx = the 32 secret bytes. */
enum err noise_raw_dh(void *ctx, const uint8_t their[static NOISE_KEY], uint8_t out[static NOISE_KEY]);

struct noise {
	uint8_t h[32], ck[32], k[32];
	uint64_t n;
	bool has_k, initiator, failed;
	bool zero_dh;                  /* why it failed: an all-zero DH, not a tag */
	uint8_t pattern, step;         /* next message of the pattern */
	uint8_t at;                    /* token inside it; above 0 only after noise_read_static() */
	struct noise_static s;
	uint8_t e_sk[32], e[32], re[32], rs[32];
	bool has_e, has_re, has_rs;
	uint8_t psk[32];
	bool has_psk;
};

struct noise_opts {
	enum noise_pattern pattern;
	bool initiator;
	struct bytes prologue;
	const struct noise_static *s;  /* NULL when the pattern needs none of ours */
	const uint8_t *rs;             /* initiator of IK and X: the responder's static key */
	const uint8_t *psk;            /* 32 bytes, or NULL; see also noise_set_psk() */
};
void noise_init(struct noise *x, const struct noise_opts *o);
/* For IKpsk2: the responder learns which psk only after reading message 1. */
void noise_set_psk(struct noise *x, const uint8_t psk[static 32]);
void noise_set_ephemeral(struct noise *x, const uint8_t secret[static 32]);
/* Appends the next message, or nothing. ERR_AUTH on an all-zero DH; ERR_LIMIT, ERR_NOMEM of `out`. */
enum err noise_write(struct noise *x, struct bytes payload, struct buf *out) MUST_CHECK;
/* Reads the next message; the payload is appended to `out`. ERR_SHORT, ERR_AUTH; ERR_LIMIT, ERR_NOMEM of `out`. */
enum err noise_read(struct noise *x, struct bytes message, struct buf *out) MUST_CHECK;
/* noise_read() in two halves, for the IK responder: message 1 up to `s` and no further, so that 5.6 can look
 * x->rs up before the payload. *rest points into `message` and goes to noise_read_payload(). */
enum err noise_read_static(struct noise *x, struct bytes message, struct bytes *rest) MUST_CHECK;
enum err noise_read_payload(struct noise *x, struct bytes rest, struct buf *out) MUST_CHECK;
bool noise_done(const struct noise *x);
/* After the last message. k1 is the initiator's sending key. h and ck stay until noise_wipe(); the ephemeral
 * secret and the psks went with the last message. */
void noise_split(const struct noise *x, uint8_t k1[static 32], uint8_t k2[static 32]);
void noise_wipe(struct noise *x);

/* AEAD of im2 (2.1): nonce 00{4} || u64 little-endian n. In place is allowed (out == plain.p). */
void im2_aead_seal(const uint8_t key[static 32], uint64_t n, struct bytes ad, struct bytes plain, uint8_t *out);
/* out: cipher.n - 16 bytes. ERR_AUTH leaves `out` without plaintext. */
enum err im2_aead_open(const uint8_t key[static 32], uint64_t n, struct bytes ad, struct bytes cipher,
		       uint8_t *out) MUST_CHECK;

#endif
