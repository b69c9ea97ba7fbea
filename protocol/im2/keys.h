/*
 * keys.h -- labels and derivations of im2 (im2.md 2.4, 5.1, 5.3, 5.4, 6.1, 6.2). Pure.
 */
#ifndef PROTOCOL_IM2_KEYS_H
#define PROTOCOL_IM2_KEYS_H

#include "base/buf.h"
#include "base/secret.h"
#include "base/wire.h"
#include "trust/identity.h"
#include "trust/psks.h"

#define IM2_KEY 32

enum im2_mode { IM2_MODE_MESH = 1, IM2_MODE_CODE = 2, IM2_MODE_SAS = 3, IM2_MODE_IK = 4 };
enum im2_transport { IM2_LOOPBACK = 0, IM2_WEBSOCKET = 1, IM2_RNS_LINK = 2, IM2_RNS_PACKET = 3, IM2_SERIAL = 4 };

/* Argon2id of the passphrase (2.4): 64 MiB and about 0.1 s; a worker thread calls it once. ERR_NOMEM. */
enum err im2_mesh_key(struct bytes passphrase, struct bytes mesh_name, struct secret *out) MUST_CHECK;
void im2_mesh_salt(struct bytes mesh_name, uint8_t out[static 16]);
/* PRS of mode 2: label || 8 digits. */
void im2_code_prs(const char digits[static 8], struct buf *out);

/* Context bytes (5.1). chan: "/" or "/im2/pair" on WebSocket; link id; destination hash; empty. */
void im2_ctx(struct buf *out, uint8_t mode, uint8_t transport, struct bytes chan, struct bytes cb);

void im2_xx_psk(const uint8_t isk[static 64], struct bytes sid, uint8_t out[static 32]);
/* pair_psk NULL: 00{32}. epoch_key empty or 32 bytes. */
void im2_ik_psk(const uint8_t *pair_psk, const uint8_t ed_i[static 32], const uint8_t ed_r[static 32],
		struct bytes epoch_key, uint8_t out[static 32]);

/* What a completed handshake leaves (6.1). */
struct im2_secrets {
	uint8_t tx[32], rx[32];   /* ours to send, ours to open */
	uint8_t exporter[32];
	uint8_t session_id[16];
};
void im2_secrets_of(struct im2_secrets *out, bool noise_initiator, const uint8_t k_i2r[static 32],
		    const uint8_t k_r2i[static 32], const uint8_t ck[static 32], const uint8_t h[static 32]);
void im2_export(const uint8_t exporter[static 32], struct bytes label, struct bytes context, uint8_t *out, size_t n);
void im2_pair_psk(const uint8_t exporter[static 32], uint8_t out[static 32]);

#endif
