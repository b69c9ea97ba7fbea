/*
 * schema.h -- every structure and item of im2 as a table (im2.md 5.5, 7.6, 8, 9.1, 10, 11, 12, 13, 14, 15, 16).
 *
 * The enum of a structure names its rules in table order: fields.v[IM2_MSG_BODY]. What belongs to a
 * feature whose issue has not come yet is here too: it is parsed strictly and refused by whoever gets it.
 */
#ifndef PROTOCOL_IM2_SCHEMA_H
#define PROTOCOL_IM2_SCHEMA_H

#include "protocol/im2/enc.h"

/* Item tags (8). X(NAME, tag, places): D session frame, E sealed, S stream, G group, P pairing modes only. */
#define IM2_IN_D 1
#define IM2_IN_E 2
#define IM2_IN_S 4
#define IM2_IN_G 8
#define IM2_IN_P 16
#define IM2_ITEMS(X)                                                                               \
	X(MSG, 3, IM2_IN_D)                                                                        \
	X(SMSG, 5, IM2_IN_D | IM2_IN_E | IM2_IN_G)                                                 \
	X(RECEIPT, 7, IM2_IN_D)                                                                    \
	X(SRECEIPT, 9, IM2_IN_D | IM2_IN_E)                                                        \
	X(XOPEN, 11, IM2_IN_D)                                                                     \
	X(FRAG, 13, IM2_IN_D)                                                                      \
	X(XACK, 15, IM2_IN_D)                                                                      \
	X(XABORT, 17, IM2_IN_D)                                                                    \
	X(ROUTED, 19, IM2_IN_D)                                                                    \
	X(ROUTEFB, 20, IM2_IN_D)                                                                   \
	X(RECORD, 22, IM2_IN_D | IM2_IN_E)                                                         \
	X(RECDIG, 24, IM2_IN_D | IM2_IN_E)                                                         \
	X(RECREQ, 26, IM2_IN_D | IM2_IN_E)                                                         \
	X(PING, 28, IM2_IN_D | IM2_IN_E)                                                           \
	X(PONG, 30, IM2_IN_D | IM2_IN_E)                                                           \
	X(ROUTEADV, 32, IM2_IN_D)                                                                  \
	X(OPEN, 35, IM2_IN_D | IM2_IN_S)                                                           \
	X(ACCEPT, 37, IM2_IN_D | IM2_IN_S)                                                         \
	X(CHUNK, 39, IM2_IN_D | IM2_IN_S)                                                          \
	X(END, 41, IM2_IN_D | IM2_IN_S)                                                            \
	X(CREDIT, 43, IM2_IN_D | IM2_IN_S)                                                         \
	X(CANCEL, 45, IM2_IN_D | IM2_IN_S)                                                         \
	X(RERR, 47, IM2_IN_D | IM2_IN_S)                                                           \
	X(CLOSE, 49, IM2_IN_D)                                                                     \
	X(INFO, 50, IM2_IN_D)                                                                      \
	X(IDENT, 53, IM2_IN_E)                                                                     \
	X(SENDERKEY, 55, IM2_IN_D | IM2_IN_E)                                                      \
	X(GROUPMSG, 57, IM2_IN_D | IM2_IN_E)                                                       \
	X(SAS, 59, IM2_IN_D | IM2_IN_P)                                                            \
	X(GRANT, 65, IM2_IN_D | IM2_IN_P)                                                          \
	X(GRANTACK, 67, IM2_IN_D | IM2_IN_P)                                                       \
	X(STAUTH, 69, IM2_IN_S)                                                                    \
	X(STACK, 71, IM2_IN_S)                                                                     \
	X(ITEMERR, 72, IM2_IN_D)                                                                   \
	X(SETTLED, 74, IM2_IN_D)                                                                   \
	X(SKREQ, 76, IM2_IN_D | IM2_IN_E)                                                          \
	X(SEEN, 78, IM2_IN_D)

enum im2_item_tag {
#define X(name, tag, places) IM2_ITEM_##name = tag,
	IM2_ITEMS(X)
#undef X
};
const char *im2_item_name(uint16_t tag); /* NULL: unknown */
unsigned im2_item_places(uint16_t tag);  /* 0: unknown */
/* Checks the value of an item of a known tag, structure or not (FRAG, CHUNK, PING, RECORD, GROUPMSG), without
 * signatures. E_CRITICAL for unknown odd tags, IM2_FINE for unknown even ones. */
enum im2_refusal im2_item_check(uint16_t tag, struct bytes value);
/* NULL for items that are no structure. */
const struct im2_schema *im2_item_schema(uint16_t tag);
/* All structures, for loops over the tables (fuzzers, documentation). */
const struct im2_schema *const *im2_schemas(size_t *count);

/* Sizes (18.1). X(NAME, value, "what"). The limits chapter of docs/protocol.md is printed from this. */
#define IM2_LIMITS(X)                                                                              \
	X(BODY_MAX, 1048576, "text of a message")                                                  \
	X(MSG_MAX, 1049600, "message structure")                                                   \
	X(SMSG_MAX, 1114112, "SMSG, OPEN, END")                                                    \
	X(SEAL_PLAIN_MAX, 1179648, "sealed plaintext after padding")                               \
	X(ROUTED_BODY_MAX, 1179744, "body of ROUTED")                                              \
	X(TRANSFER_MAX, 1180672, "transfer, ROUTED")                                               \
	X(RECORD_T_MAX, 16384, "signed part of a record")                                          \
	X(RECORD_MAX, 17924, "record")                                                             \
	X(GRANT_MAX, 262144, "GRANT")                                                              \
	X(RECEIPT_MAX, 8192, "RECEIPT")                                                            \
	X(SRECEIPT_MAX, 9000, "SRECEIPT")                                                          \
	X(SHAKE_UNIT_MAX, 2700, "unit before a session")                                           \
	X(SESSIONS_MAX, 4096, "live and half-open sessions")                                       \
	X(TIME_MAX, 9007199254740991, "any time, ms")                                              \
	X(RT_MAX, 256, "routing header")                                                           \
	X(TTL_MAX, 2592000, "life of a message, s")
enum im2_limit {
#define X(name, value, what) IM2_##name = value,
	IM2_LIMITS(X)
#undef X
};

/* Field numbers (rule order) of the structures used outside schema.c. The file's owner keeps the
 * tables in the same order; test_schema checks tag by tag against im2.md. */
enum { IM2_X1EXT_PASSGEN, IM2_X1EXT_KEM };
enum { IM2_HS_ED, IM2_HS_NAME, IM2_HS_BINDING, IM2_HS_MAX_UNIT, IM2_HS_RX, IM2_HS_CREDIT, IM2_HS_RX_PSK,
       IM2_HS_FEATURES, IM2_HS_PAIR_ROLE, IM2_HS_CLOCK, IM2_HS_AGENT, IM2_HS_REPLY_DEST, IM2_HS_KEM, IM2_HS_EPOCH };
enum { IM2_MSG_ID, IM2_MSG_FROM, IM2_MSG_TO, IM2_MSG_GROUP, IM2_MSG_CONV, IM2_MSG_REPLY_TO, IM2_MSG_KIND,
       IM2_MSG_CTYPE, IM2_MSG_CTYPE_TEXT, IM2_MSG_CREATED, IM2_MSG_TTL, IM2_MSG_PRIO, IM2_MSG_FLAGS, IM2_MSG_TURN,
       IM2_MSG_MAX_TURNS, IM2_MSG_HOP, IM2_MSG_BUDGET, IM2_MSG_END_REASON, IM2_MSG_DEADLINE, IM2_MSG_BODY,
       IM2_MSG_SETTLED };
enum { IM2_SMSG_MSGS, IM2_SMSG_SIG };
enum { IM2_RECEIPT_ENTRIES, IM2_RECEIPT_AT };
enum { IM2_SRECEIPT_FROM, IM2_SRECEIPT_TO, IM2_SRECEIPT_RECEIPT, IM2_SRECEIPT_SIG };
enum { IM2_XOPEN_XFER, IM2_XOPEN_LEN, IM2_XOPEN_TAG, IM2_XOPEN_DIGEST };
enum { IM2_XACK_XFER, IM2_XACK_CUM, IM2_XACK_LIMIT, IM2_XACK_HAVE };
enum { IM2_XABORT_XFER, IM2_XABORT_CODE };
enum { IM2_RT_TO, IM2_RT_KIND, IM2_RT_PREKEY, IM2_RT_TTL, IM2_RT_PRIO, IM2_RT_SID, IM2_RT_ST };
enum { IM2_ROUTED_RT, IM2_ROUTED_BODY, IM2_ROUTED_HOPS, IM2_ROUTED_AGE };
enum { IM2_REC_TYPE, IM2_REC_AUTHOR, IM2_REC_GEN, IM2_REC_ISSUED, IM2_REC_LIFE, IM2_REC_BODY };
enum { IM2_PREKEY_ID, IM2_PREKEY_X25519, IM2_PREKEY_KEM };
enum { IM2_REVOKE_TARGET, IM2_REVOKE_REASON, IM2_REVOKE_EFFECTIVE, IM2_REVOKE_SCOPE, IM2_REVOKE_NOTE, IM2_REVOKE_QUORUM };
enum { IM2_ROTATE_ED, IM2_ROTATE_X25519, IM2_ROTATE_BINDING, IM2_ROTATE_REASON };
enum { IM2_ROUTE_FLAGS, IM2_ROUTE_PREKEY };
enum { IM2_CARD_X25519, IM2_CARD_BINDING, IM2_CARD_NAME, IM2_CARD_ENDPOINTS };
enum { IM2_ROUTEFB_RID, IM2_ROUTEFB_CODE, IM2_ROUTEFB_RETRY };
enum { IM2_ROUTEADV_RECORD, IM2_ROUTEADV_HOPS, IM2_ROUTEADV_COST };
enum { IM2_RECDIG_ID, IM2_RECDIG_TYPE, IM2_RECDIG_GEN, IM2_RECDIG_DIGEST, IM2_RECDIG_KEY };
enum { IM2_RECREQ_ID, IM2_RECREQ_TYPE, IM2_RECREQ_HAVE, IM2_RECREQ_KEY };
enum { IM2_CLOSE_CODE, IM2_CLOSE_TEXT };
enum { IM2_INFO_NAME, IM2_INFO_MAX_UNIT, IM2_INFO_CREDIT, IM2_INFO_FEATURES, IM2_INFO_CLOCK, IM2_INFO_AGENT };
enum { IM2_IDENT_ED, IM2_IDENT_NAME, IM2_IDENT_X25519, IM2_IDENT_BINDING };
enum { IM2_SAS_STEP, IM2_SAS_VALUE };
enum { IM2_GRANT_KIND, IM2_GRANT_MESH, IM2_GRANT_SECRET, IM2_GRANT_PASSGEN, IM2_GRANT_DISC, IM2_GRANT_RECORDS };
enum { IM2_ITEMERR_CODE, IM2_ITEMERR_TAG, IM2_ITEMERR_CTR };
enum { IM2_MARK_ERA, IM2_MARK_SEQ }; /* SETTLED, SEEN */

extern const struct im2_schema im2_x1ext, im2_x2pay, im2_hs, im2_msg, im2_budget, im2_smsg, im2_receipt, im2_sreceipt, im2_xopen,
	im2_xack, im2_xabort, im2_rt, im2_routed, im2_routefb, im2_record_t, im2_cap, im2_capent, im2_prekey, im2_route, im2_revoke, im2_rotate,
	im2_posture, im2_epoch, im2_group, im2_card, im2_recdig, im2_recreq, im2_routeadv, im2_open, im2_accept, im2_end,
	im2_credit, im2_cancel, im2_rerr, im2_close, im2_info, im2_ident, im2_senderkey, im2_sas, im2_grant, im2_grantack,
	im2_stauth, im2_stack, im2_itemerr, im2_settled, im2_seen, im2_skreq;
/* The body structure of a record type (13.3); NULL: unknown. */
const struct im2_schema *im2_record_body(uint64_t type);

/* FRAG (7.6): the three parts. */
enum im2_refusal im2_frag_take(struct bytes value, uint32_t *xfer, uint64_t *offset, struct bytes *data);

#endif
