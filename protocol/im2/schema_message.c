/* Messages, receipts, transfers and what carries them: im2.md 7.6, 9.1, 10, 11.1, 11.2. */
#include "protocol/im2/schema_internal.h"

static const struct im2_rule budget_rules[] = {
	UINT(2, "ms", 0, IM2_UINT_MAX, DEFAULT(0)),
	UINT(4, "tokens", 0, IM2_UINT_MAX, DEFAULT(0)),
	UINT(6, "bytes", 0, IM2_UINT_MAX, DEFAULT(0)),
};
SCHEMA(im2_budget, "BUDGET", budget_rules, IM2_STRUCT_BYTES, NULL);

/* Written out are both sides or none; a message is for one recipient or one group; one content type;
 * volatile (16) comes with "no receipt" (8). A writer may have set ctype to its default. */
static enum im2_refusal msg_across(const struct im2_fields *f)
{
	bool from = im2_has(f, IM2_MSG_FROM), to = im2_has(f, IM2_MSG_TO);
	bool group = im2_has(f, IM2_MSG_GROUP);

	if (from != (to || group) || (to && group))
		return IM2_E_CONTEXT;
	if (im2_has(f, IM2_MSG_CTYPE_TEXT) && im2_has(f, IM2_MSG_CTYPE) && f->v[IM2_MSG_CTYPE].u != 0)
		return IM2_E_CONTEXT;
	if (im2_has(f, IM2_MSG_FLAGS) && (f->v[IM2_MSG_FLAGS].u & 24) == 16)
		return IM2_E_CONTEXT;
	return IM2_FINE;
}

static const struct im2_rule msg_rules[] = {
	BYTES(1, "id", 16, 16, REQUIRED),
	BYTES(3, "from", 16, 16, ),
	BYTES(5, "to", 16, 16, ),
	BYTES(7, "group", 16, 16, ),
	BYTES(8, "conv", 16, 16, ),
	BYTES(10, "reply_to", 16, 16, ),
	UINT(11, "kind", 0, 255, DEFAULT(0)),
	UINT(12, "ctype", 0, 255, DEFAULT(0)),
	TEXT(14, "ctype_text", 1, 127, ),
	UINT(15, "created", 0, IM2_TIME_MAX, REQUIRED),
	UINT(17, "ttl", 1, IM2_TTL_MAX, DEFAULT(86400)),
	UINT(18, "prio", 0, 3, DEFAULT(1)),
	UINT(19, "flags", 0, 31, DEFAULT(0)),
	UINT(20, "turn", 0, 65535, DEFAULT(0)),
	UINT(22, "max_turns", 0, 65535, DEFAULT(0)),
	UINT(24, "hop", 0, 16, DEFAULT(0)),
	STRUCT(28, "budget", &im2_budget, ),
	UINT(30, "end_reason", 0, 255, DEFAULT(0)),
	UINT(32, "deadline", 0, IM2_UINT_MAX, ),
	BYTES(33, "body", 0, IM2_BODY_MAX, DEFAULT(0)),
	UINT(34, "settled", 1, IM2_UINT_MAX, ),
};
SCHEMA(im2_msg, "MSG", msg_rules, IM2_MSG_MAX, msg_across);

/* The messages are bytes here: they are parsed one by one, after the signature over them was checked. */
static const struct im2_rule smsg_rules[] = {
	LIST(1, "msgs", IM2_BYTES, 1, IM2_MSG_MAX, 256, REQUIRED),
	BYTES(3, "sig", 64, 64, REQUIRED),
};
SCHEMA(im2_smsg, "SMSG", smsg_rules, IM2_SMSG_MAX, NULL);

/* status(1) || id(16), then a reason exactly when rejected (10.1). */
static enum im2_refusal entry_check(struct bytes e)
{
	enum { BARE = 17, REJECTED = 4 };
	struct bytes rest;
	uint64_t reason;
	enum im2_refusal r;

	if (e.n < BARE || e.p[0] < 1 || e.p[0] > REJECTED)
		return IM2_E_RANGE;
	if (e.p[0] != REJECTED)
		return e.n == BARE ? IM2_FINE : IM2_E_LENGTH;
	rest = bytes_of(e.p + BARE, e.n - BARE);
	r = im2_varint_take(&rest, &reason);
	if (r != IM2_FINE)
		return r;
	return rest.n == 0 ? IM2_FINE : IM2_E_TRAILING;
}

static const struct im2_rule receipt_rules[] = {
	LIST(1, "entries", IM2_BYTES, 0, IM2_RECEIPT_MAX, 256, REQUIRED, .check = entry_check),
	UINT(2, "at", 0, IM2_TIME_MAX, ),
};
SCHEMA(im2_receipt, "RECEIPT", receipt_rules, IM2_RECEIPT_MAX, NULL);

static const struct im2_rule sreceipt_rules[] = {
	BYTES(1, "from", 16, 16, REQUIRED),
	BYTES(3, "to", 16, 16, REQUIRED),
	BYTES(5, "receipt", 1, IM2_RECEIPT_MAX, REQUIRED),
	BYTES(7, "sig", 64, 64, REQUIRED),
};
SCHEMA(im2_sreceipt, "SRECEIPT", sreceipt_rules, IM2_SRECEIPT_MAX, NULL);

static const struct im2_rule xopen_rules[] = {
	UINT(1, "xfer", 0, IM2_U32_MAX, REQUIRED),
	UINT(3, "len", 1, IM2_TRANSFER_MAX, REQUIRED),
	UINT(5, "tag", 1, 16383, REQUIRED),
	BYTES(7, "digest", 32, 32, REQUIRED),
};
SCHEMA(im2_xopen, "XOPEN", xopen_rules, IM2_STRUCT_BYTES, NULL);

/* A received range: varint gap || varint length, neither zero (7.6). */
static enum im2_refusal range_check(struct bytes e)
{
	uint64_t gap, length;
	enum im2_refusal r = im2_varint_take(&e, &gap);

	if (r == IM2_FINE)
		r = im2_varint_take(&e, &length);
	if (r != IM2_FINE)
		return r;
	if (e.n > 0)
		return IM2_E_TRAILING;
	return gap == 0 || length == 0 ? IM2_E_RANGE : IM2_FINE;
}

static const struct im2_rule xack_rules[] = {
	UINT(1, "xfer", 0, IM2_U32_MAX, REQUIRED),
	UINT(3, "cum", 0, IM2_UINT_MAX, REQUIRED),
	UINT(5, "limit", 0, IM2_UINT_MAX, REQUIRED),
	LIST(6, "have", IM2_BYTES, 0, 2 * IM2_VARINT_MAX_BYTES, 16, .check = range_check),
};
SCHEMA(im2_xack, "XACK", xack_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule xabort_rules[] = {
	UINT(1, "xfer", 0, IM2_U32_MAX, REQUIRED),
	UINT(3, "code", 0, 255, REQUIRED),
};
SCHEMA(im2_xabort, "XABORT", xabort_rules, IM2_STRUCT_BYTES, NULL);

enum im2_refusal im2_frag_take(struct bytes value, uint32_t *xfer, uint64_t *offset, struct bytes *data)
{
	uint64_t x, at;
	enum im2_refusal r = im2_varint_take(&value, &x);

	if (r == IM2_FINE)
		r = im2_varint_take(&value, &at);
	if (r != IM2_FINE)
		return r;
	if (x > IM2_U32_MAX)
		return IM2_E_RANGE;
	if (value.n == 0)
		return IM2_E_SHORT;
	*xfer = (uint32_t)x;
	*offset = at;
	*data = value;
	return IM2_FINE;
}

/* sid and st belong to stream units (kind 2) and to them alone. */
static enum im2_refusal rt_across(const struct im2_fields *f)
{
	bool stream = f->v[IM2_RT_KIND].u == 2;

	return im2_has(f, IM2_RT_SID) == stream && im2_has(f, IM2_RT_ST) == stream ? IM2_FINE :
										       IM2_E_CONTEXT;
}

static const struct im2_rule rt_rules[] = {
	BYTES(1, "to", 16, 16, REQUIRED),
	UINT(3, "kind", 1, 2, REQUIRED),
	BYTES(5, "prekey", 4, 4, REQUIRED),
	UINT(7, "ttl", 1, IM2_TTL_MAX, REQUIRED),
	UINT(8, "prio", 0, 3, DEFAULT(1)),
	BYTES(9, "sid", 16, 16, ),
	UINT(11, "st", 1, 4, ),
};
SCHEMA(im2_rt, "RT", rt_rules, IM2_RT_MAX, rt_across);

static const struct im2_rule routed_rules[] = {
	BYTES(1, "rt", 1, IM2_RT_MAX, REQUIRED),
	BYTES(3, "body", 1, IM2_ROUTED_BODY_MAX, REQUIRED),
	UINT(5, "hops", 0, 16, REQUIRED),
	UINT(7, "age", 0, IM2_TTL_MAX, DEFAULT(0)),
};
SCHEMA(im2_routed, "ROUTED", routed_rules, IM2_TRANSFER_MAX, NULL);

static const struct im2_rule routefb_rules[] = {
	BYTES(1, "rid", 16, 16, REQUIRED),
	UINT(3, "code", 1, 255, REQUIRED),
	UINT(4, "retry", 0, IM2_UINT_MAX, ),
};
SCHEMA(im2_routefb, "ROUTEFB", routefb_rules, IM2_STRUCT_BYTES, NULL);
