/*
 * cpace.h -- CPACE-RISTR255-SHA512, initiator-responder (im2.md 5.3; CFRG draft).
 *
 * The scalar is handed in (64 random bytes reduced by the caller through cpace_scalar(), or fixed by a
 * vector). A bad encoding or the identity is ERR_AUTH. Everything secret is wiped before return.
 */
#ifndef PROTOCOL_IM2_CPACE_H
#define PROTOCOL_IM2_CPACE_H

#include "base/buf.h"
#include "base/wire.h"

#define CPACE_POINT 32
#define CPACE_ISK 64

/* A uniform nonzero scalar from 64 random bytes. */
void cpace_scalar(const uint8_t random[static 64], uint8_t out[static 32]);
/* generator_string and G, for the published vectors. */
void cpace_generator_string(struct bytes prs, struct bytes ci, struct bytes sid, struct buf *out);
void cpace_generator(struct bytes prs, struct bytes ci, struct bytes sid, uint8_t g[static CPACE_POINT]);
/* Y = scalar * G. */
enum err cpace_share(const uint8_t scalar[static 32], const uint8_t g[static CPACE_POINT],
		     uint8_t y[static CPACE_POINT]) MUST_CHECK;
/* K, then ISK over the transcript of initiator A and responder B. */
enum err cpace_finish(const uint8_t scalar[static 32], const uint8_t their[static CPACE_POINT], struct bytes sid,
		      struct bytes ya, struct bytes ada, struct bytes yb, struct bytes adb,
		      uint8_t isk[static CPACE_ISK]) MUST_CHECK;

#endif
