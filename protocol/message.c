#include "protocol/message.h"

#include <stdio.h>

#include "protocol/im2/schema_internal.h"

static const char *const words[PRIO_COUNT] = {
	[PRIO_LOW] = "LOW",
	[PRIO_NORMAL] = "NORMAL",
	[PRIO_HIGH] = "HIGH",
	[PRIO_CRITICAL] = "CRITICAL",
};

const char *priority_word(enum priority p)
{
	BUG_ON((unsigned)p >= PRIO_COUNT);
	return words[p];
}

/* All upper or all lower case: "High" is a typing mistake, not a third spelling. */
static bool same_word(struct bytes in, const char *upper)
{
	size_t n = strlen(upper);
	bool up = true, low = true;

	if (in.n != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		up = up && in.p[i] == (uint8_t)upper[i];
		low = low && in.p[i] == (uint8_t)(upper[i] | 0x20);
	}
	return up || low;
}

enum err priority_parse(struct bytes word, enum priority *out)
{
	for (unsigned i = 0; i < PRIO_COUNT; i++)
		if (same_word(word, words[i])) {
			*out = (enum priority)i;
			return ERR_OK;
		}
	return ERR_MALFORMED;
}

/* --- what im2 adds -----------------------------------------------------------------------------
 */

enum {
	META_CONV,
	META_REPLY_TO,
	META_KIND,
	META_CTYPE,
	META_CTYPE_TEXT,
	META_TTL,
	META_FLAGS,
	META_TURN,
	META_MAX_TURNS,
	META_HOP,
	META_BUDGET,
	META_END_REASON,
	META_DEADLINE
};

/* It becomes a C string. */
static enum im2_refusal no_nul(struct bytes b)
{
	return memchr(b.p, 0, b.n) ? IM2_E_UTF8 : IM2_FINE;
}

/* The tags of im2.md 9.1. Ranges are those of the members, not of the wire: what a program handed
 * in is kept as it is, and refused when it is to be sent. */
static const struct im2_rule meta_rules[] = {
	BYTES(8, "conv", 16, 16, ),
	BYTES(10, "reply_to", 16, 16, ),
	UINT(11, "kind", 0, 255, DEFAULT(0)),
	UINT(12, "ctype", 0, 255, DEFAULT(0)),
	BYTES(14, "ctype_text", 1, 127, .check = no_nul),
	UINT(17, "ttl", 1, IM2_U32_MAX, DEFAULT(MSG_TTL_DEFAULT_S)),
	UINT(19, "flags", 0, 255, DEFAULT(0)),
	UINT(20, "turn", 0, 65535, DEFAULT(0)),
	UINT(22, "max_turns", 0, 65535, DEFAULT(0)),
	UINT(24, "hop", 0, 255, DEFAULT(0)),
	STRUCT(28, "budget", &im2_budget, ),
	UINT(30, "end_reason", 0, 255, DEFAULT(0)),
	UINT(32, "deadline", 1, IM2_UINT_MAX, ),
};
static SCHEMA(meta, "META", meta_rules, MSG_META_MAX, NULL);

static uint64_t fit(uint64_t v)
{
	return v < IM2_UINT_MAX ? v : IM2_UINT_MAX;
}

void message_meta_write(const struct message_ext *x, struct buf *out)
{
	struct im2_fields f = {.schema = &meta}, b = {.schema = &im2_budget};
	size_t text_n = strnlen(x->ctype_text, sizeof x->ctype_text - 1);
	struct buf budget;

	im2_set_u(&b, 0, fit(x->budget_ms));
	im2_set_u(&b, 1, fit(x->budget_tokens));
	im2_set_u(&b, 2, fit(x->budget_bytes));
	buf_init(&budget, MSG_META_MAX);
	im2_write(&im2_budget, &b, &budget);
	if (budget.err != ERR_OK && out->err == ERR_OK)
		out->err = budget.err;
	if (x->has_conv)
		im2_set_b(&f, META_CONV, BYTES_ARR(x->conv));
	if (x->has_reply_to)
		im2_set_b(&f, META_REPLY_TO, BYTES_ARR(x->reply_to));
	im2_set_u(&f, META_KIND, x->kind);
	im2_set_u(&f, META_CTYPE, x->ctype);
	if (text_n)
		im2_set_b(&f, META_CTYPE_TEXT, bytes_of(x->ctype_text, text_n));
	im2_set_u(&f, META_TTL, x->ttl_s ? x->ttl_s : MSG_TTL_DEFAULT_S);
	im2_set_u(&f, META_FLAGS, x->flags);
	im2_set_u(&f, META_TURN, x->turn);
	im2_set_u(&f, META_MAX_TURNS, x->max_turns);
	im2_set_u(&f, META_HOP, x->hop);
	if (budget.n)
		im2_set_b(&f, META_BUDGET, buf_bytes(&budget));
	im2_set_u(&f, META_END_REASON, x->end_reason);
	if (x->deadline_ms)
		im2_set_u(&f, META_DEADLINE, fit(x->deadline_ms));
	im2_write(&meta, &f, out);
	buf_fini(&budget);
}

static void take16(uint8_t out[static 16], bool *has, const struct im2_fields *f, unsigned i)
{
	*has = im2_has(f, i);
	if (*has)
		memcpy(out, f->v[i].b.p, 16);
}

enum err message_meta_read(struct bytes in, struct message_ext *out)
{
	struct message_ext x = {0};
	struct im2_fields f, b;
	enum im2_refusal r = im2_parse(&meta, in, &f);
	struct bytes text;

	if (r == IM2_FINE)
		r = im2_parse(&im2_budget, f.v[META_BUDGET].b, &b);
	if (r == IM2_FINE && (f.unknown || b.unknown))
		r = IM2_E_CRITICAL; /* nobody but us writes these */
	if (r != IM2_FINE)
		return im2_refusal_err(r);
	take16(x.conv, &x.has_conv, &f, META_CONV);
	take16(x.reply_to, &x.has_reply_to, &f, META_REPLY_TO);
	x.kind = (uint8_t)f.v[META_KIND].u;
	x.ctype = (uint8_t)f.v[META_CTYPE].u;
	text = f.v[META_CTYPE_TEXT].b;
	if (text.n)
		memcpy(x.ctype_text, text.p, text.n);
	if (im2_has(&f, META_TTL))
		x.ttl_s = (uint32_t)f.v[META_TTL].u;
	x.flags = (uint8_t)f.v[META_FLAGS].u;
	x.turn = (uint16_t)f.v[META_TURN].u;
	x.max_turns = (uint16_t)f.v[META_MAX_TURNS].u;
	x.hop = (uint8_t)f.v[META_HOP].u;
	x.budget_ms = b.v[0].u;
	x.budget_tokens = b.v[1].u;
	x.budget_bytes = b.v[2].u;
	x.end_reason = (uint8_t)f.v[META_END_REASON].u;
	x.deadline_ms = f.v[META_DEADLINE].u;
	*out = x;
	return ERR_OK;
}

static const char *const kinds[] = {
	[KIND_MESSAGE] = "MSG",	  [KIND_REQUEST] = "REQ", [KIND_RESPONSE] = "RESP",
	[KIND_NOTICE] = "NOTICE", [KIND_EVENT] = "EVENT", [KIND_ERROR] = "ERROR",
	[KIND_END] = "END",
};
#define KINDS	   (sizeof kinds / sizeof kinds[0])
#define KIND_OTHER "KIND-"

struct bytes message_type_of(const struct message_ext *x, char out[static MSG_TYPE_MAX + 1])
{
	const char *word = x->kind == KIND_MESSAGE && x->has_conv ? "CONV"
			   : x->kind < KINDS			  ? kinds[x->kind]
								  : NULL;
	size_t n;

	if (word) {
		n = strlen(word);
		memcpy(out, word, n + 1);
	} else {
		n = (size_t)snprintf(out, MSG_TYPE_MAX + 1, KIND_OTHER "%u", x->kind);
	}
	return bytes_of(out, n);
}

enum err message_kind_of(struct bytes type, uint8_t *kind)
{
	size_t head = sizeof KIND_OTHER - 1;
	unsigned v = 0;

	if (bytes_eq(type, BYTES_LIT("CONV"))) {
		*kind = KIND_MESSAGE;
		return ERR_OK;
	}
	for (size_t i = 0; i < KINDS; i++)
		if (bytes_eq(type, bytes_str(kinds[i]))) {
			*kind = (uint8_t)i;
			return ERR_OK;
		}
	/* One spelling per kind: no leading zero, and none for a kind that has a word. */
	if (type.n <= head || type.n > head + 3 || memcmp(type.p, KIND_OTHER, head) != 0 ||
	    type.p[head] == '0')
		return ERR_MALFORMED;
	for (size_t i = head; i < type.n; i++) {
		if (type.p[i] < '0' || type.p[i] > '9')
			return ERR_MALFORMED;
		v = 10 * v + (type.p[i] - '0');
	}
	if (v < KINDS || v > UINT8_MAX)
		return ERR_MALFORMED;
	*kind = (uint8_t)v;
	return ERR_OK;
}
