/* Calls and streams: im2.md 12, 14.1. */
#include "protocol/im2/schema_internal.h"

/* lv(key 1..64) || lv(value 0..4,096) */
static enum im2_refusal header_check(struct bytes e)
{
	struct bytes key, value;
	enum im2_refusal r = im2_lv_take(&e, &key);

	if (r == IM2_FINE)
		r = im2_lv_take(&e, &value);
	if (r != IM2_FINE)
		return r;
	if (e.n > 0)
		return IM2_E_TRAILING;
	return key.n < 1 || key.n > 64 || value.n > 4096 ? IM2_E_LENGTH : IM2_FINE;
}
#define HEADERS(t)                                                                                 \
	LIST(t, "headers", IM2_BYTES, 0, 16384, 32, .max_bytes = 16384, .check = header_check)
#define CALL UINT(1, "call", 0, IM2_U32_MAX, REQUIRED)

static const struct im2_rule open_rules[] = {
	CALL,
	TEXT(3, "name", 1, 255, REQUIRED),
	UINT(5, "shape", 0, 3, DEFAULT(0)),
	BYTES(6, "id", 16, 16, ),
	UINT(8, "deadline", 0, IM2_UINT_MAX, ),
	HEADERS(10),
	BYTES(12, "schema", 16, 16, ),
	UINT(14, "flags", 0, 255, DEFAULT(0)),
	UINT(16, "credit", 0, IM2_UINT_MAX, DEFAULT(65536)),
	BYTES(18, "body", 1, IM2_BODY_MAX, ),
	FLAG(20, "last"),
};
SCHEMA(im2_open, "OPEN", open_rules, IM2_SMSG_MAX, NULL);

static const struct im2_rule accept_rules[] = {
	CALL,
	HEADERS(2),
	UINT(4, "credit", 0, IM2_UINT_MAX, DEFAULT(65536)),
};
SCHEMA(im2_accept, "ACCEPT", accept_rules, 20000, NULL);

static const struct im2_rule end_rules[] = {
	CALL,
	UINT(2, "status", 0, 65535, DEFAULT(0)),
	TEXT(4, "text", 1, 256, ),
	HEADERS(6),
	BYTES(8, "body", 1, IM2_BODY_MAX, ),
	UINT(9, "total", 0, IM2_UINT_MAX, DEFAULT(0)),
};
SCHEMA(im2_end, "END", end_rules, IM2_SMSG_MAX, NULL);

static const struct im2_rule credit_rules[] = {
	CALL,
	UINT(3, "limit", 0, IM2_UINT_MAX, REQUIRED),
};
SCHEMA(im2_credit, "CREDIT", credit_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule cancel_rules[] = {
	CALL,
	UINT(2, "reason", 0, 255, DEFAULT(0)),
};
SCHEMA(im2_cancel, "CANCEL", cancel_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule rerr_rules[] = {
	CALL,
	UINT(3, "status", 1, 65535, REQUIRED),
	TEXT(4, "text", 1, 256, ),
	UINT(6, "retry_ms", 0, IM2_UINT_MAX, ),
};
SCHEMA(im2_rerr, "RERR", rerr_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule stauth_rules[] = {
	BYTES(1, "ed", 32, 32, REQUIRED),
	BYTES(2, "binding", 64, 64, ),
	BYTES(3, "sig", 64, 64, REQUIRED),
};
SCHEMA(im2_stauth, "STAUTH", stauth_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule stack_rules[] = {
	UINT(1, "next", 0, IM2_UINT_MAX, REQUIRED),
	UINT(3, "limit", 0, IM2_UINT_MAX, REQUIRED),
};
SCHEMA(im2_stack, "STACK", stack_rules, IM2_STRUCT_BYTES, NULL);
