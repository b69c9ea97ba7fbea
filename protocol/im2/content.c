/* Message objects (im2.md 9.1) and the digest that tells a repeat from a conflict (9.5). */
#include "protocol/im2/content_internal.h"

#include "base/hash.h"

enum { FIELD_HEAD = 2, ID_FIELD = FIELD_HEAD + IM2_ID };

void im2_id_of(const struct node_id *id, uint8_t out[static IM2_ID])
{
	BUG_ON(hex_decode(bytes_of(id->hex, NODE_ID_LEN), out, IM2_ID) != ERR_OK);
}

void im2_id_text(struct bytes id, struct node_id *out)
{
	BUG_ON(id.n != IM2_ID);
	hex_encode(id, out->hex);
}

bool im2_id_fits(struct bytes id, const uint8_t ed[static ED_BYTES])
{
	struct node_id want, got;

	node_id_of(ed, &want);
	im2_id_text(id, &got);
	return node_id_eq(&want, &got);
}

/* --- out
 * ------------------------------------------------------------------------------------------ */

/* text of 3.2: what im2_write() would call a bug is an input here. */
static bool text_fits(struct bytes b)
{
	for (size_t i = 0; i < b.n;) {
		uint32_t c;
		size_t n = utf8_decode(b, i, &c);

		if (n == 0 || c < 0x20 || (c >= 0x7f && c < 0xa0))
			return false;
		i += n;
	}
	return true;
}

static struct bytes budget_of(const struct message_ext *x, uint8_t *out)
{
	const uint64_t v[] = {x->budget_ms, x->budget_tokens, x->budget_bytes};
	size_t n = 0;

	for (size_t i = 0; i < 3; i++)
		if (v[i]) {
			out[n++] = (uint8_t)(2 * (i + 1));
			out[n++] = (uint8_t)im2_varint_size(v[i]);
			n += im2_varint_put(out + n, v[i]);
		}
	return bytes_of(out, n);
}

/* 9.1: ranges and combinations. */
static bool allowed(const struct message *m, size_t text_n)
{
	const struct message_ext *x = &m->ext;
	const uint64_t top = INT64_MAX;

	return m->has_wire_id && m->created_ms <= IM2_TIME_MAX &&
	       (unsigned)m->priority < PRIO_COUNT && x->ttl_s <= MSG_TTL_MAX_S && x->flags <= 31 &&
	       (x->flags & 24) != MSG_VOLATILE && x->hop <= 16 && x->deadline_ms <= top &&
	       x->budget_ms <= top && x->budget_tokens <= top && x->budget_bytes <= top &&
	       m->settled <= top && !(text_n && x->ctype) &&
	       text_fits(bytes_of(x->ctype_text, text_n));
}

static inline void set_u(struct im2_fields *f, unsigned i, uint64_t v, uint64_t dflt)
{
	if (v != dflt)
		im2_set_u(f, i, v);
}

enum err im2_draft_of(const struct message *m, const uint8_t *from, const uint8_t *to,
		      struct im2_draft *out)
{
	const struct message_ext *x = &m->ext;
	size_t text_n = strnlen(x->ctype_text, sizeof x->ctype_text - 1);
	struct im2_fields *f = &out->f;
	struct bytes budget;

	if (m->body.n > IM2_BODY_MAX)
		return ERR_LIMIT;
	if (!allowed(m, text_n))
		return ERR_MALFORMED;
	f->schema = &im2_msg;
	f->present = f->unknown = 0;
	im2_set_b(f, IM2_MSG_ID, BYTES_ARR(m->wire_id));
	if (from) {
		im2_set_b(f, IM2_MSG_FROM, bytes_of(from, IM2_ID));
		im2_set_b(f, IM2_MSG_TO, bytes_of(to, IM2_ID));
		set_u(f, IM2_MSG_SETTLED, m->settled, 0);
	}
	if (x->has_conv)
		im2_set_b(f, IM2_MSG_CONV, BYTES_ARR(x->conv));
	if (x->has_reply_to)
		im2_set_b(f, IM2_MSG_REPLY_TO, BYTES_ARR(x->reply_to));
	set_u(f, IM2_MSG_KIND, x->kind, 0);
	set_u(f, IM2_MSG_CTYPE, x->ctype, 0);
	if (text_n)
		im2_set_b(f, IM2_MSG_CTYPE_TEXT, bytes_of(x->ctype_text, text_n));
	im2_set_u(f, IM2_MSG_CREATED, m->created_ms);
	set_u(f, IM2_MSG_TTL, x->ttl_s ? x->ttl_s : MSG_TTL_DEFAULT_S, MSG_TTL_DEFAULT_S);
	set_u(f, IM2_MSG_PRIO, m->priority, PRIO_NORMAL);
	set_u(f, IM2_MSG_FLAGS, x->flags, 0);
	set_u(f, IM2_MSG_TURN, x->turn, 0);
	set_u(f, IM2_MSG_MAX_TURNS, x->max_turns, 0);
	set_u(f, IM2_MSG_HOP, x->hop, 0);
	budget = budget_of(x, out->budget);
	if (budget.n)
		im2_set_b(f, IM2_MSG_BUDGET, budget);
	set_u(f, IM2_MSG_END_REASON, x->end_reason, 0);
	set_u(f, IM2_MSG_DEADLINE, x->deadline_ms, 0);
	if (m->body.n)
		im2_set_b(f, IM2_MSG_BODY, m->body);
	return ERR_OK;
}

size_t im2_draft_size(const struct im2_draft *d)
{
	size_t size = 0;

	for (uint32_t left = d->f.present; left; left &= left - 1) {
		unsigned i = (unsigned)__builtin_ctz(left);
		const struct im2_value *v = &d->f.v[i];
		const struct im2_rule *rule = &im2_msg.rules[i];

		size += im2_item_size(rule->tag,
				      rule->kind == IM2_UINT ? im2_varint_size(v->u) : v->b.n);
	}
	return size;
}

enum err im2_message_write(const struct message *m, struct buf *out)
{
	struct im2_draft d;
	enum err e = im2_draft_of(m, NULL, NULL, &d);

	if (e != ERR_OK)
		return e;
	im2_write(&im2_msg, &d.f, out);
	return out->err;
}

size_t im2_message_size(const struct message *m)
{
	struct im2_draft d;

	return im2_draft_of(m, NULL, NULL, &d) == ERR_OK ? im2_draft_size(&d) : 0;
}

/* --- in
 * ------------------------------------------------------------------------------------------- */

/* Where a field of `tag` belongs: behind every smaller one, and unknown ones may be among them. */
static size_t place(const struct im2_fields *f, uint64_t tag)
{
	struct bytes left = f->raw, value;
	size_t at = 0;
	uint64_t t;

	if (f->unknown == 0)
		return ID_FIELD; /* tag 1 stands first, and nothing known is between it and the
				    parties */
	while (left.n > 0) {
		BUG_ON(im2_varint_take(&left, &t) != IM2_FINE);
		if (t > tag)
			break;
		BUG_ON(im2_lv_take(&left, &value) != IM2_FINE);
		at = f->raw.n - left.n;
	}
	return at;
}

/* 34 has a tag and a length of one byte each. So the written-out form is a few pieces of what came.
 */
void im2_content_digest(const struct im2_fields *f, const struct node_id *author,
			const struct node_id *to, uint8_t out[static 16])
{
	uint8_t from_field[ID_FIELD] = {3, IM2_ID}, to_field[ID_FIELD] = {5, IM2_ID},
		hash[HASH_BYTES];
	const uint8_t *p = f->raw.p, *end = p + f->raw.n;
	struct bytes part[6];
	size_t n = 0;

	if (!im2_has(f, IM2_MSG_FROM)) {
		size_t at3 = place(f, 3), at5 = place(f, 5);

		im2_id_of(author, from_field + FIELD_HEAD);
		im2_id_of(to, to_field + FIELD_HEAD);
		part[n++] = bytes_of(p, at3);
		part[n++] = BYTES_ARR(from_field);
		part[n++] = bytes_of(p + at3, at5 - at3);
		part[n++] = BYTES_ARR(to_field);
		p += at5;
	}
	if (im2_has(f, IM2_MSG_SETTLED)) {
		struct bytes settled = f->v[IM2_MSG_SETTLED].b;

		part[n++] = bytes_of(p, (size_t)(settled.p - FIELD_HEAD - p));
		p = settled.p + settled.n;
	}
	part[n++] = bytes_of(p, (size_t)(end - p));
	sha256_n(part, n, hash);
	memcpy(out, hash, 16);
}

enum err im2_message_digest(const struct message *m, const struct node_id *author, const struct node_id *to,
			    uint8_t out[static 16])
{
	uint8_t from[IM2_ID], rcpt[IM2_ID], hash[HASH_BYTES];
	struct message bare = *m;
	struct im2_draft d;
	struct buf b;

	bare.settled = 0;
	im2_id_of(author, from);
	im2_id_of(to, rcpt);
	enum err e = im2_draft_of(&bare, from, rcpt, &d);
	if (e != ERR_OK)
		return e;
	buf_init(&b, im2_draft_size(&d));
	im2_write(&im2_msg, &d.f, &b);
	e = b.err;
	if (e == ERR_OK) {
		sha256(buf_bytes(&b), hash);
		memcpy(out, hash, 16);
	}
	buf_wipe(&b);
	buf_fini(&b);
	return e;
}

static bool take_id(uint8_t out[static IM2_ID], const struct im2_fields *f, unsigned i)
{
	if (!im2_has(f, i))
		return false;
	memcpy(out, f->v[i].b.p, IM2_ID);
	return true;
}

static void fill_ext(const struct im2_fields *f, struct message_ext *x)
{
	struct bytes text = f->v[IM2_MSG_CTYPE_TEXT].b;

	x->has_conv = take_id(x->conv, f, IM2_MSG_CONV);
	x->has_reply_to = take_id(x->reply_to, f, IM2_MSG_REPLY_TO);
	x->kind = (uint8_t)f->v[IM2_MSG_KIND].u;
	x->ctype = (uint8_t)f->v[IM2_MSG_CTYPE].u;
	if (text.n)
		memcpy(x->ctype_text, text.p, text.n);
	x->ctype_text[text.n] = '\0';
	x->ttl_s = (uint32_t)f->v[IM2_MSG_TTL].u;
	x->flags = (uint8_t)f->v[IM2_MSG_FLAGS].u;
	x->turn = (uint16_t)f->v[IM2_MSG_TURN].u;
	x->max_turns = (uint16_t)f->v[IM2_MSG_MAX_TURNS].u;
	x->hop = (uint8_t)f->v[IM2_MSG_HOP].u;
	x->end_reason = (uint8_t)f->v[IM2_MSG_END_REASON].u;
	x->deadline_ms = f->v[IM2_MSG_DEADLINE].u;
	if (im2_has(f, IM2_MSG_BUDGET)) {
		struct im2_fields b;

		BUG_ON(im2_parse(&im2_budget, f->v[IM2_MSG_BUDGET].b, &b) != IM2_FINE);
		x->budget_ms = b.v[0].u;
		x->budget_tokens = b.v[1].u;
		x->budget_bytes = b.v[2].u;
	}
}

void im2_message_fill(const struct im2_fields *f, const struct node_id *author,
		      const struct node_id *self, struct message *out, char id_text[static 33],
		      char type_text[static MSG_TYPE_MAX + 1])
{
	struct bytes id = f->v[IM2_MSG_ID].b;

	*out = (struct message){.source = *author,
				.destination = *self,
				.created_ms = f->v[IM2_MSG_CREATED].u,
				.priority = (enum priority)f->v[IM2_MSG_PRIO].u,
				.body = f->v[IM2_MSG_BODY].b,
				.has_wire_id = true};
	memcpy(out->wire_id, id.p, MSG_WIRE_ID);
	hex_encode(id, id_text);
	out->id = bytes_of(id_text, 2 * MSG_WIRE_ID);
	fill_ext(f, &out->ext);
	out->type = message_type_of(&out->ext, type_text);
	/* What is volatile has no entry to compare (9.5), and the hash is most of the cost. */
	if (!(out->ext.flags & MSG_VOLATILE))
		im2_content_digest(f, author, self, out->digest);
}

enum im2_refusal im2_message_read(struct bytes value, const struct node_id *author,
				  const struct node_id *self, struct message *out,
				  char id_text[static 33], char type_text[static MSG_TYPE_MAX + 1])
{
	struct im2_fields f;
	enum im2_refusal r = im2_parse(&im2_msg, value, &f);

	if (r != IM2_FINE)
		return r;
	/* Written out means signed: 9.1. */
	if (im2_has(&f, IM2_MSG_FROM))
		return IM2_E_CONTEXT;
	im2_message_fill(&f, author, self, out, id_text, type_text);
	return IM2_FINE;
}
