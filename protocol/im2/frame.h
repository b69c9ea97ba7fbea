/*
 * frame.h -- frames under session keys (im2.md 7.1 to 7.3): header as associated data, one key and one counter
 * per direction, a window of 2,048. Pure; no clock takes part.
 */
#ifndef PROTOCOL_IM2_FRAME_H
#define PROTOCOL_IM2_FRAME_H

#include "protocol/im2/noise.h"
#include "protocol/im2/schema.h"

#define IM2_FRAME_HEAD 9
#define IM2_FRAME_OVERHEAD (IM2_FRAME_HEAD + NOISE_TAG)
#define IM2_WINDOW 2048
#define IM2_COUNTER_END 0xffffffffu /* never used as a counter */

/* Key and counter live together; only im2_frame_build() touches the counter (Appendix D 4). */
struct im2_tx {
	uint8_t key[32];
	uint8_t index[4];          /* what the receiver asked for */
	uint32_t next;
};
struct im2_window {
	uint32_t top;
	bool any;
	uint64_t bits[IM2_WINDOW / 64]; /* ring over counter mod IM2_WINDOW */
};

/* Seals `plain` (padded with zeros to plain_len >= plain.n) as the next frame, appended to `out`. `plain` may not
 * lie in `out`. ERR_LIMIT when the counter is used up (the session must be over by then). */
enum err im2_frame_build(struct im2_tx *tx, struct bytes plain, size_t plain_len, struct buf *out) MUST_CHECK;
/* Header of a unit: index and counter. IM2_E_MALFORMED under 25 bytes. */
enum im2_refusal im2_frame_head(struct bytes unit, uint8_t index[static 4], uint32_t *counter);
bool im2_window_fresh(const struct im2_window *w, uint32_t counter);
void im2_window_mark(struct im2_window *w, uint32_t counter);
/* Opens after im2_window_fresh() said yes; out takes unit.n - 25 bytes; the caller marks. */
enum im2_refusal im2_frame_open(const uint8_t key[static 32], struct bytes unit, uint8_t *out);

#endif
