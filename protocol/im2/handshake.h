/*
 * handshake.h -- the units of the two handshakes as bytes and checks (im2.md 5): first contact (CPace, then
 * Noise XXpsk0 with the listener as Noise initiator) and known peer (Noise IKpsk2).
 *
 * Sans-I/O and without policy: each call takes the unit it expects and gives the unit to send. Who may
 * talk, which psk is tried and when something is stored is decided by the owner between two calls.
 *
 * Every failure wipes the object, with one exception: on transports 2 to 4, where anybody may inject
 * (5.8), a unit of the wrong kind or shape, or one that does not open, leaves it as it was. The owner counts
 * those too: each X2 that does not open is one guess at the password (5.3). A call out of turn, also after
 * a failure, is IM2_E_CONTEXT and does nothing. What is appended is appended on IM2_FINE only.
 */
#ifndef PROTOCOL_IM2_HANDSHAKE_H
#define PROTOCOL_IM2_HANDSHAKE_H

#include "base/env.h"
#include "base/text.h"
#include "protocol/im2/keys.h"
#include "protocol/im2/noise.h"
#include "protocol/im2/schema.h"
#include "trust/keyring.h"

enum im2_unit_kind {
	IM2_UNIT_FRAME = 0x50,
	IM2_UNIT_X1 = 0x52,
	IM2_UNIT_X2,
	IM2_UNIT_X3,
	IM2_UNIT_X4,
	IM2_UNIT_I1,
	IM2_UNIT_I2,
	IM2_UNIT_ERR,
	IM2_UNIT_S1,
	IM2_UNIT_GROUP
};
/* Codes of ERR (5.9). */
enum im2_err_code {
	IM2_ERR_NO_SESSION = 1, IM2_ERR_PSK = 3, IM2_ERR_BUSY = 4, IM2_ERR_DENIED = 5, IM2_ERR_BAD_MODE = 6,
	IM2_ERR_MALFORMED = 7, IM2_ERR_FAILED = 8, IM2_ERR_CODE_USED = 10
};
struct im2_err_unit {
	uint8_t code;
	uint8_t index[4];    /* NO_SESSION */
	uint16_t busy_s;     /* BUSY */
};
void im2_err_write(struct buf *out, const struct im2_err_unit *e);
enum im2_refusal im2_err_parse(struct bytes unit, struct im2_err_unit *out);
void im2_s1_write(struct buf *out, const uint8_t nonce_s[static 32]);
enum im2_refusal im2_s1_parse(struct bytes unit, uint8_t nonce_s[static 32]);

/* What binds a handshake to its connection. */
struct im2_binding {
	uint8_t transport;       /* enum im2_transport */
	struct bytes chan, cb;
	uint8_t h1[32];          /* SHA-256 of S1 on WebSocket, else zeros */
	uint8_t nonce_s[32];     /* of S1 on WebSocket, else zeros */
};
/* Does the listener speak first, with an S1, on this transport (4.1)? Elsewhere the dialler does. */
bool im2_has_s1(uint8_t transport);
#define IM2_PAIR_PATH "/im2/pair"
/* Modes 2 and 3 belong to the pairing path of a WebSocket, everything else to the other paths (5.1). */
bool im2_mode_allowed(const struct im2_binding *b, enum im2_mode mode);

#define IM2_FEATURE_RELAY 0x01
#define IM2_FEATURE_STORE 0x02
#define IM2_FEATURE_STREAMS 0x04
#define IM2_FEATURE_RPC 0x08
#define IM2_FEATURE_GROUPS 0x10
#define IM2_FEATURE_PAD 0x20
#define IM2_FEATURE_RADIO 0x40
#define IM2_FEATURE_REQUIRED 0x80

/* HS (5.5) in both directions. Zero or empty members are absent, except where a unit requires them. */
struct im2_hello {
	uint8_t ed[ED_BYTES];
	uint8_t binding[SIG_BYTES];
	char name[NAME_MAX_CHARS + 1];
	char agent[33];
	uint32_t max_unit;         /* 0 = not stated */
	bool has_credit;
	uint32_t credit;
	uint8_t rx[4];
	uint8_t psk_id[4];         /* I1 */
	uint64_t features;
	uint8_t pair_role;         /* modes 2, 3 */
	uint64_t clock_ms;         /* 0 = not stated */
	uint64_t epoch;
	bool has_reply_dest;       /* I1 on transport 3: required; I2: may */
	uint8_t reply_dest[16];
};

/* --- first contact ------------------------------------------------------------------------------ */
struct im2_xx {
	bool listener;
	uint8_t mode, state;
	bool lossy;                /* transports 2 to 4 */
	uint8_t nonce_c[16], nonce_s[32], scalar[32], e_sk[32];
	struct noise noise;
	struct buf x1;             /* exact bytes, for the prologue */
	struct buf ci;
	uint8_t h1[32];
	const struct keyring *keyring;
	uint8_t peer_x[32];        /* after X3 / X4 */
};
/* Dialler: X1 out. prs empty in mode 3. All of `b` is copied, here and below. */
enum im2_refusal im2_xx_dial(struct im2_xx *x, struct env *env, const struct keyring *k, uint8_t mode, uint16_t passgen,
			     struct bytes prs, const struct im2_binding *b, struct buf *x1_out);
/* Shape and mode of an X1, before any work; *passgen names the passphrase to use. */
enum im2_refusal im2_x1_peek(struct bytes x1, uint8_t *mode, uint16_t *passgen);
/* Listener: X1 in, X2 out. prs empty in modes 1 and 2: IM2_E_POLICY. */
enum im2_refusal im2_xx_listen(struct im2_xx *x, struct env *env, const struct keyring *k, struct bytes prs,
			       const struct im2_binding *b, struct bytes x1, struct buf *x2_out);
/* Dialler: X2 in, X3 out. IM2_E_AEAD: another passphrase (or another path, or a stripped S1). */
enum im2_refusal im2_xx_take_x2(struct im2_xx *x, struct bytes x2, const struct im2_hello *mine, struct buf *x3_out);
/* Listener: X3 in; the peer's HS with binding verified, its static key in x->peer_x. */
enum im2_refusal im2_xx_take_x3(struct im2_xx *x, struct bytes x3, struct im2_hello *peer);
/* Listener, after the decision: X4 out, and the secrets. */
enum im2_refusal im2_xx_x4(struct im2_xx *x, const struct im2_hello *mine, struct buf *x4_out, struct im2_secrets *out);
/* Dialler: X4 in. */
enum im2_refusal im2_xx_take_x4(struct im2_xx *x, struct bytes x4, struct im2_hello *peer, struct im2_secrets *out);
void im2_xx_wipe(struct im2_xx *x);

/* --- known peer ------------------------------------------------------------------------------------ */
struct im2_ik {
	bool initiator, lossy;
	uint8_t state, transport;
	uint8_t e_sk[32];          /* responder: until it answers */
	struct noise noise;
	const struct keyring *keyring;
	uint8_t rx[4];             /* the initiator's index */
	struct buf rest;           /* responder: I1 after `s` */
};
/* dir: 0 when the Noise initiator is the dialler of this connection (or there are no connections), else 1.
 * pair_psk NULL: none (psk id zero). mine->rx and psk_id are filled by the caller. */
enum im2_refusal im2_ik_start(struct im2_ik *x, struct env *env, const struct keyring *k, const struct im2_binding *b,
			      uint8_t dir, const uint8_t peer_ed[static 32], const uint8_t peer_x[static 32],
			      const uint8_t *pair_psk, struct bytes epoch_key, const struct im2_hello *mine,
			      struct buf *i1_out);
/* Responder, first half: who says so? Only the static key; nothing is proven yet beyond its DH. */
enum im2_refusal im2_ik_peek(struct im2_ik *x, struct env *env, const struct keyring *k, const struct im2_binding *b,
			     uint8_t dir, struct bytes i1, uint8_t peer_x[static 32]);
/* Second half, after the look-up: the payload (rx, psk id, ...). */
enum im2_refusal im2_ik_payload(struct im2_ik *x, struct im2_hello *peer);
/* I2 out, with the psk the owner chose, and the secrets. */
enum im2_refusal im2_ik_answer(struct im2_ik *x, const uint8_t peer_ed[static 32], const uint8_t *pair_psk,
			       struct bytes epoch_key, const struct im2_hello *mine, struct buf *i2_out,
			       struct im2_secrets *out);
/* Initiator: the index in an I2, to find the pending handshake; then the rest. Another index: IM2_E_INDEX. */
enum im2_refusal im2_i2_index(struct bytes i2, uint8_t index[static 4]);
enum im2_refusal im2_ik_finish(struct im2_ik *x, struct bytes i2, struct im2_hello *peer, struct im2_secrets *out);
void im2_ik_wipe(struct im2_ik *x);

#endif
