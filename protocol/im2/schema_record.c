/* Signed records, what announces and asks for them, and group keys: im2.md 8, 11.5, 13.1, 13.3, 16.2. */
#include "protocol/im2/schema_internal.h"

static const struct im2_rule record_t_rules[] = {
	UINT(1, "type", 1, 127, REQUIRED),
	BYTES(3, "author", 32, 32, REQUIRED),
	UINT(5, "gen", 1, IM2_UINT_MAX, REQUIRED),
	UINT(7, "issued", 0, IM2_TIME_MAX, REQUIRED),
	UINT(9, "life", 0, 315360000, REQUIRED),
	BYTES(11, "body", 0, 16000, REQUIRED),
};
SCHEMA(im2_record_t, "RECORD_T", record_t_rules, IM2_RECORD_T_MAX, NULL);

static const struct im2_rule capent_rules[] = {
	TEXT(1, "name", 1, 128, REQUIRED),
	BYTES(2, "schema", 16, 16, ),
	TEXT(4, "hint", 1, 64, ),
};
SCHEMA(im2_capent, "CAPENT", capent_rules, IM2_STRUCT_BYTES, NULL);

/* An empty list of capabilities is the withdrawal, so this one list may be empty. */
static const struct im2_rule cap_rules[] = {
	STRUCTS(1, "caps", &im2_capent, 0, 256, REQUIRED, ASCENDING),
	BYTES(2, "profile", 1, 8192, ),
	BYTES(4, "prekey", 16, 16, ),
	BYTES(6, "posture", 16, 16, ),
	UINT(8, "flags", 0, IM2_UINT_MAX, DEFAULT(0)),
};
SCHEMA(im2_cap, "CAP", cap_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule prekey_rules[] = {
	BYTES(1, "id", 4, 4, REQUIRED),
	BYTES(3, "x25519", 32, 32, REQUIRED),
	BYTES(16, "kem", 1, 2048, ),
};
SCHEMA(im2_prekey, "PREKEY", prekey_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule route_rules[] = {
	UINT(2, "flags", 0, IM2_UINT_MAX, DEFAULT(0)),
	BYTES(4, "prekey", 16, 16, ),
};
SCHEMA(im2_route, "ROUTE", route_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule revoke_rules[] = {
	BYTES(1, "target", 32, 32, REQUIRED),
	UINT(3, "reason", 0, 255, REQUIRED),
	UINT(4, "effective", 0, IM2_TIME_MAX, DEFAULT(0)),
	UINT(5, "scope", 1, 3, REQUIRED),
	TEXT(6, "note", 1, 256, ),
	BYTES(8, "quorum", 16, 16, ),
};
SCHEMA(im2_revoke, "REVOKE", revoke_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule rotate_rules[] = {
	BYTES(1, "ed", 32, 32, REQUIRED),
	BYTES(3, "x25519", 32, 32, REQUIRED),
	BYTES(5, "binding", 64, 64, REQUIRED),
	UINT(6, "reason", 0, 255, DEFAULT(0)),
};
SCHEMA(im2_rotate, "ROTATE", rotate_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule posture_rules[] = {
	BYTES(1, "boot", 16, 16, REQUIRED),
	BYTES(2, "binary", 32, 32, ),
	BYTES(3, "bits", 1, 16, REQUIRED),
	BYTES(4, "maps", 32, 32, ),
	BYTES(5, "challenge", 32, 32, ),
	BYTES(6, "prekey", 4, 4, ),
	UINT(8, "level", 0, 5, DEFAULT(0)),
	BYTES(10, "evidence", 1, 4096, ),
};
SCHEMA(im2_posture, "POSTURE", posture_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule epoch_rules[] = {
	UINT(1, "id", 1, IM2_UINT_MAX, REQUIRED),
	UINT(3, "from", 0, IM2_TIME_MAX, REQUIRED),
	UINT(5, "until", 0, IM2_TIME_MAX, REQUIRED),
	BYTES(7, "prev", 32, 32, REQUIRED),
	BYTES(9, "members", 32, 32, REQUIRED),
	LIST(10, "list", IM2_BYTES, 17, 17, 512, ASCENDING),
};
SCHEMA(im2_epoch, "EPOCH", epoch_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule group_rules[] = {
	BYTES(1, "group", 16, 16, REQUIRED),
	UINT(3, "epoch", 1, IM2_UINT_MAX, REQUIRED),
	LIST(5, "members", IM2_BYTES, 32, 32, 256, REQUIRED, ASCENDING),
	TEXT(6, "name", 1, 64, ),
	LIST(8, "admins", IM2_BYTES, 32, 32, 16, ASCENDING),
	BYTES(9, "creator", 32, 32, REQUIRED),
	BYTES(11, "salt", 16, 16, REQUIRED),
};
SCHEMA(im2_group, "GROUP", group_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule card_rules[] = {
	BYTES(1, "x25519", 32, 32, REQUIRED),
	BYTES(3, "binding", 64, 64, REQUIRED),
	NAME(4, "name", 1, 64, ),
	LIST(6, "endpoints", IM2_TEXT, 1, 128, 8, ),
};
SCHEMA(im2_card, "CARD", card_rules, IM2_STRUCT_BYTES, NULL);

const struct im2_schema *im2_record_body(uint64_t type)
{
	static const struct im2_schema *const bodies[] = {
		[1] = &im2_cap,	    [2] = &im2_prekey,	[3] = &im2_route,
		[4] = &im2_revoke,  [5] = &im2_rotate,	[6] = &im2_posture,
		[7] = &im2_epoch,   [8] = &im2_group,	[9] = &im2_card,
	};

	return type < sizeof bodies / sizeof bodies[0] ? bodies[type] : NULL;
}

/* n times ED(32) || sig(64), keys ascending, the author among them. */
static enum im2_refusal signers_check(struct bytes list, struct bytes author)
{
	enum { ED = 32, ONE = 96 };
	const uint8_t *last = NULL;
	bool seen = false;

	for (; list.n > 0; list = bytes_of(list.p + ONE, list.n - ONE)) {
		if (last && memcmp(last, list.p, ED) >= 0)
			return IM2_E_ORDER;
		last = list.p;
		seen |= memcmp(last, author.p, ED) == 0;
	}
	return seen ? IM2_FINE : IM2_E_SENDER;
}

enum im2_refusal im2_record_check(struct bytes record)
{
	enum { SIG = 64, SIGNER = 96, SIGNERS_MAX = 16 };
	struct im2_fields t, body;
	const struct im2_schema *s;
	struct bytes signed_part;
	enum im2_refusal r;
	size_t n;

	if (record.n > IM2_RECORD_MAX)
		return IM2_E_LIMIT;
	r = im2_lv_take(&record, &signed_part);
	if (r == IM2_FINE)
		r = im2_parse(&im2_record_t, signed_part, &t);
	if (r != IM2_FINE)
		return r;
	s = im2_record_body(t.v[IM2_REC_TYPE].u);
	r = s ? im2_parse(s, t.v[IM2_REC_BODY].b, &body) : IM2_FINE;
	if (r != IM2_FINE)
		return r;
	if (record.n == 0)
		return IM2_E_SHORT;
	n = record.p[0];
	record = bytes_of(record.p + 1, record.n - 1);
	if (n == 0)
		return record.n == SIG ? IM2_FINE : IM2_E_LENGTH;
	if (n == 1)
		return IM2_E_NONCANON; /* one signer has one encoding: n = 0 */
	if (n > SIGNERS_MAX || record.n != SIGNER * n)
		return IM2_E_LENGTH;
	return signers_check(record, t.v[IM2_REC_AUTHOR].b);
}

static const struct im2_rule recdig_rules[] = {
	BYTES(1, "id", 16, 16, REQUIRED),
	UINT(3, "type", 1, 127, REQUIRED),
	UINT(5, "gen", 1, IM2_UINT_MAX, REQUIRED),
	BYTES(7, "digest", 16, 16, REQUIRED),
	BYTES(9, "key", 1, 32, ),
};
SCHEMA(im2_recdig, "RECDIG", recdig_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule recreq_rules[] = {
	BYTES(1, "id", 16, 16, REQUIRED),
	UINT(3, "type", 1, 127, REQUIRED),
	UINT(4, "have", 0, IM2_UINT_MAX, ),
	BYTES(9, "key", 1, 32, ),
};
SCHEMA(im2_recreq, "RECREQ", recreq_rules, IM2_STRUCT_BYTES, NULL);

static const struct im2_rule routeadv_rules[] = {
	BYTES(1, "record", 1, IM2_RECORD_MAX, REQUIRED),
	UINT(3, "hops", 0, 16, REQUIRED),
	UINT(4, "cost", 0, IM2_UINT_MAX, ),
};
SCHEMA(im2_routeadv, "ROUTEADV", routeadv_rules, 21000, NULL);

/* The signature is over all that stands before it, so nothing may follow it, unknown fields neither. */
static enum im2_refusal senderkey_across(const struct im2_fields *f)
{
	return f->last_tag > 13 ? IM2_E_CONTEXT : IM2_FINE;
}

static const struct im2_rule senderkey_rules[] = {
	BYTES(1, "group", 16, 16, REQUIRED),
	UINT(3, "epoch", 1, IM2_UINT_MAX, REQUIRED),
	BYTES(5, "skid", 8, 8, REQUIRED),
	UINT(7, "iter", 0, IM2_U32_MAX, DEFAULT(0)),
	BYTES(9, "ck", 32, 32, REQUIRED),
	UINT(11, "no", 1, IM2_UINT_MAX, REQUIRED),
	BYTES(13, "sig", 64, 64, REQUIRED),
};
SCHEMA(im2_senderkey, "SENDERKEY", senderkey_rules, IM2_STRUCT_BYTES, senderkey_across);

static const struct im2_rule skreq_rules[] = {
	BYTES(1, "group", 16, 16, REQUIRED),
	UINT(3, "epoch", 1, IM2_UINT_MAX, REQUIRED),
};
SCHEMA(im2_skreq, "SKREQ", skreq_rules, IM2_STRUCT_BYTES, NULL);
