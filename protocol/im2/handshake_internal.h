/*
 * handshake_internal.h -- what the two handshakes share: the payload HS, refusals of Noise, the keyring as a
 * Noise static key.
 */
#ifndef PROTOCOL_IM2_HANDSHAKE_INTERNAL_H
#define PROTOCOL_IM2_HANDSHAKE_INTERNAL_H

#include "protocol/im2/handshake.h"

#define IM2_CTX_MAX 512

/* `unit`: X3, X4, I1 or I2; what the unit does not carry is not written. `mode` matters for pair_role only. */
void im2_hello_write(struct buf *out, enum im2_unit_kind unit, uint8_t mode, const struct keyring *k,
		     const struct im2_hello *h);
/* With the rules of the table in 5.5: what must be there and what must not. */
enum im2_refusal im2_hello_read(struct bytes payload, enum im2_unit_kind unit, uint8_t mode, uint8_t transport,
				struct im2_hello *out);
/* X3 and X4: the binding holds for the static key that was used, and it is not our own identity (5.6). */
enum im2_refusal im2_hello_owner(const struct im2_hello *h, const uint8_t x[static 32], const struct keyring *self);

/* First byte and size; shorter than `min` is IM2_E_SHORT. */
enum im2_refusal im2_unit_check(struct bytes unit, enum im2_unit_kind kind, size_t min);
struct noise_static im2_noise_static(const struct keyring *k);
enum im2_refusal im2_noise_refusal(const struct noise *x, enum err e);
/* Reads the next message into `out`; *x moves on only when it opened. */
enum im2_refusal im2_noise_take(struct noise *x, struct bytes message, struct buf *out);
/* After the last message: the secrets of the session; the Noise state is wiped. */
void im2_noise_finish(struct noise *x, struct im2_secrets *out);

#endif
