/* What opens, describes and closes a session: im2.md 5.3, 5.5, 8, 9.5, 15.3, 15.4. */
#include "protocol/im2/schema_internal.h"

static const struct im2_rule x1ext_rules[] = {
	UINT(2, "passgen", 0, 65535, DEFAULT(0)),
	BYTES(16, "kem", 1, 2048, ),
};
SCHEMA(im2_x1ext, "X1EXT", x1ext_rules, 2100, NULL);

static const struct im2_rule x2pay_rules[] = {
	BYTES(16, "kem", 1, 2048, ),
};
SCHEMA(im2_x2pay, "X2PAY", x2pay_rules, 2100, NULL);

/* Which of these a unit must and may carry is for the handshake to say: it depends on the unit. */
static const struct im2_rule hs_rules[] = {
	BYTES(1, "ed", 32, 32, ),
	NAME(2, "name", 1, 64, ),
	BYTES(3, "binding", 64, 64, ),
	UINT(4, "max_unit", 64, 1048576, ),
	BYTES(5, "rx", 4, 4, ),
	UINT(6, "credit", 0, 1 << 30, ),
	BYTES(7, "rx_psk", 8, 8, ),
	UINT(8, "features", 0, IM2_UINT_MAX, DEFAULT(0)),
	UINT(9, "pair_role", 0, 2, DEFAULT(0)),
	UINT(10, "clock", 0, IM2_TIME_MAX, ),
	TEXT(12, "agent", 1, 32, ),
	BYTES(14, "reply_dest", 16, 16, ),
	BYTES(16, "kem", 1, 2048, ),
	UINT(18, "epoch", 1, IM2_UINT_MAX, ),
};
SCHEMA(im2_hs, "HS", hs_rules, 2500, NULL);

static const struct im2_rule close_rules[] = {
	UINT(1, "code", 0, 255, REQUIRED),
	TEXT(2, "text", 1, 128, ),
};
SCHEMA(im2_close, "CLOSE", close_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule info_rules[] = {
	NAME(2, "name", 1, 64, ),
	UINT(4, "max_unit", 64, 1048576, ),
	UINT(6, "credit", 0, 1 << 30, ),
	UINT(8, "features", 0, IM2_UINT_MAX, DEFAULT(0)),
	UINT(10, "clock", 0, IM2_TIME_MAX, ),
	TEXT(12, "agent", 1, 32, ),
};
SCHEMA(im2_info, "INFO", info_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule ident_rules[] = {
	BYTES(1, "ed", 32, 32, REQUIRED),
	NAME(2, "name", 1, 64, ),
	BYTES(3, "x25519", 32, 32, REQUIRED),
	BYTES(5, "binding", 64, 64, REQUIRED),
};
SCHEMA(im2_ident, "IDENT", ident_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule itemerr_rules[] = {
	UINT(1, "code", 0, 255, REQUIRED),
	UINT(2, "tag", 0, 16383, ),
	UINT(4, "ctr", 0, IM2_UINT_MAX, ),
};
SCHEMA(im2_itemerr, "ITEMERR", itemerr_rules, IM2_STRUCT_BYTES, NULL);

/* SETTLED and SEEN: a figure for an era. */
static const struct im2_rule mark_rules[] = {
	BYTES(1, "era", 8, 8, REQUIRED),
	UINT(3, "seq", 0, IM2_UINT_MAX, REQUIRED),
};
SCHEMA(im2_settled, "SETTLED", mark_rules, IM2_STRUCT_BYTES, NULL);
SCHEMA(im2_seen, "SEEN", mark_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule sas_rules[] = {
	UINT(1, "step", 1, 4, REQUIRED),
	BYTES(3, "value", 0, 32, REQUIRED),
};
SCHEMA(im2_sas, "SAS", sas_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule grant_rules[] = {
	UINT(1, "kind", 1, 2, REQUIRED),
	TEXT(2, "mesh", 1, 64, ),
	BYTES(3, "secret", 1, 256, REQUIRED),
	UINT(4, "passgen", 0, 65535, DEFAULT(0)),
	BYTES(6, "disc", 32, 32, ),
	LIST(8, "records", IM2_BYTES, 1, IM2_RECORD_MAX, 64, ),
};
SCHEMA(im2_grant, "GRANT", grant_rules, IM2_GRANT_MAX, NULL);

const struct im2_schema im2_grantack = {.name = "GRANTACK", .max_bytes = IM2_STRUCT_BYTES};
