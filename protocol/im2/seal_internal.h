/*
 * seal_internal.h -- what sealing and opening share.
 */
#ifndef PROTOCOL_IM2_SEAL_INTERNAL_H
#define PROTOCOL_IM2_SEAL_INTERNAL_H

#include "protocol/im2/content_internal.h"
#include "protocol/im2/noise.h"
#include "protocol/im2/seal.h"

#define IM2_SEAL_LABEL "ironmesh-im2/sealed\0"
#define IM2_SEAL_PROLOGUE_MAX (sizeof IM2_SEAL_LABEL - 1 + ED_BYTES + 2 + IM2_RT_MAX)

/* Our long-term key as a Noise static. */
void im2_seal_static(const struct keyring *k, struct noise_static *out);
/* label || ED_recipient || lv(rt); borrowed from `out`. rt.n <= IM2_RT_MAX. */
struct bytes im2_seal_prologue(const uint8_t ed[static ED_BYTES], struct bytes rt, uint8_t out[static IM2_SEAL_PROLOGUE_MAX]);
/* What an error of `x` is called. */
enum im2_refusal im2_seal_refusal(enum err e, const struct noise *x);
/* IM2_E_CONTEXT when one of the messages of an SMSG is volatile. */
enum im2_refusal im2_seal_no_volatile(struct bytes smsg);

#endif
