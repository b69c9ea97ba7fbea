/*
 * record_internal.h -- what record.c, record_type.c and records.c share.
 */
#ifndef PROTOCOL_IM2_RECORD_INTERNAL_H
#define PROTOCOL_IM2_RECORD_INTERNAL_H

#include "protocol/im2/record.h"

/* Is this type served here at all? */
bool im2_record_served(uint64_t type);
/* Signers and life as the type demands (13.3), and what the tables cannot say about a body. */
enum im2_refusal im2_record_rules(const struct im2_record *r);
const struct im2_records_config *im2_records_config_of(const struct im2_records *r);
/* "ironmesh-sig-v3/record\0" || T in `out`; borrowed from it. */
#define IM2_RECORD_INPUT_MAX (23 + IM2_RECORD_T_MAX)
struct bytes im2_record_input_in(struct bytes t, uint8_t out[static IM2_RECORD_INPUT_MAX]);

#endif
