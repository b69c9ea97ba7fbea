#include "protocol/im2/enc.h"

#include "base/text.h"

#define TAG_END 16384

static const struct {
	const char *word;
	enum err err;
} refusals[IM2_REFUSAL_COUNT] = {
#define X(name, text, e) [name] = {text, e},
	IM2_REFUSALS(X)
#undef X
};

const char *im2_refusal_word(enum im2_refusal r)
{
	return (unsigned)r < IM2_REFUSAL_COUNT ? refusals[r].word : "unknown";
}

enum err im2_refusal_err(enum im2_refusal r)
{
	return (unsigned)r < IM2_REFUSAL_COUNT ? refusals[r].err : ERR_INTERNAL;
}

/* --- integers and byte strings ------------------------------------------------------------------- */

size_t im2_varint_size(uint64_t v)
{
	size_t n = 1;

	while (v >>= 7)
		n++;
	return n;
}

size_t im2_varint_put(uint8_t *p, uint64_t v)
{
	size_t n = 0;

	BUG_ON(v >> 63);
	for (; v >= 0x80; v >>= 7)
		p[n++] = (uint8_t)(v | 0x80);
	p[n++] = (uint8_t)v;
	return n;
}

static enum im2_refusal varint_long(struct bytes *in, uint64_t *out)
{
	uint64_t v = 0;

	for (size_t i = 0;; i++) {
		uint8_t c;

		if (i >= in->n)
			return IM2_E_SHORT;
		if (i == IM2_VARINT_MAX_BYTES)
			return IM2_E_VARINT;
		c = in->p[i];
		v |= (uint64_t)(c & 0x7f) << (7 * i);
		if (c & 0x80)
			continue;
		if (c == 0 && i > 0)
			return IM2_E_NONCANON;
		*in = bytes_of(in->p + i + 1, in->n - i - 1);
		*out = v;
		return IM2_FINE;
	}
}

/* Nearly every tag and length is one byte. */
static inline enum im2_refusal varint_take(struct bytes *in, uint64_t *out)
{
	if (in->n == 0 || in->p[0] >= 0x80)
		return varint_long(in, out);
	*out = in->p[0];
	in->p++;
	in->n--;
	return IM2_FINE;
}

enum im2_refusal im2_varint_take(struct bytes *in, uint64_t *out)
{
	return varint_take(in, out);
}

static inline enum im2_refusal lv_take(struct bytes *in, struct bytes *out)
{
	struct bytes left = *in;
	uint64_t n;
	enum im2_refusal r = varint_take(&left, &n);

	if (r != IM2_FINE)
		return r;
	if (n > left.n)
		return IM2_E_SHORT;
	*out = bytes_of(left.p, n);
	*in = bytes_of(left.p + n, left.n - n);
	return IM2_FINE;
}

enum im2_refusal im2_lv_take(struct bytes *in, struct bytes *out)
{
	return lv_take(in, out);
}

void im2_varint_add(struct buf *b, uint64_t v)
{
	uint8_t *p = buf_reserve(b, im2_varint_size(v));

	if (p)
		b->n += im2_varint_put(p, v);
}

void im2_lv_add(struct buf *b, struct bytes x)
{
	im2_varint_add(b, x.n);
	buf_add(b, x);
}

/* --- values -------------------------------------------------------------------------------------- */

/* Eight bytes of printable ASCII? A borrow between bytes may only say no where yes was right. */
static inline bool plain8(const uint8_t *p)
{
	const uint64_t ones = 0x0101010101010101u, high = ones * 0x80;
	uint64_t v, del;

	memcpy(&v, p, 8);
	del = v ^ ones * 0x7f;
	return ((v | (v - ones * 0x20) | (del - ones)) & high) == 0;
}

static bool text_allowed(struct bytes b)
{
	for (size_t i = 0; i < b.n;) {
		uint32_t c;
		size_t n;

		if (b.n - i >= 8 && plain8(b.p + i)) {
			i += 8;
			continue;
		}
		n = utf8_decode(b, i, &c);
		if (n == 0 || c < 0x20 || (c >= 0x7f && c < 0xa0))
			return false;
		i += n;
	}
	return true;
}

static bool name_allowed(struct bytes b)
{
	for (size_t i = 0; i < b.n; i++) {
		uint8_t c = b.p[i], lower = c | 0x20;

		if (!((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
		      c == '_' || c == '-'))
			return false;
	}
	return true;
}

/* What the kind says about bytes; `lo` and `hi` are the length. */
static enum im2_refusal shape(enum im2_kind kind, struct bytes b, uint64_t lo, uint64_t hi)
{
	if (b.n < lo || b.n > hi)
		return IM2_E_LENGTH;
	if ((kind == IM2_TEXT && !text_allowed(b)) || (kind == IM2_NAME && !name_allowed(b)))
		return IM2_E_UTF8;
	return IM2_FINE;
}

static enum im2_refusal nested(const struct im2_schema *s, struct bytes b)
{
	struct im2_fields f;

	return im2_parse(s, b, &f);
}

static bool ascends(struct bytes a, struct bytes b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;

	return c < 0 || (c == 0 && a.n < b.n);
}

static enum im2_refusal list_take(const struct im2_rule *rule, struct bytes b, uint64_t *count)
{
	struct bytes e, before = {0};
	uint64_t n = 0;
	enum im2_refusal r;

	if (rule->max_bytes && b.n > rule->max_bytes)
		return IM2_E_LIMIT;
	if (b.n == 0 && rule->lo > 0)
		return IM2_E_NONCANON;
	while (b.n > 0) {
		r = lv_take(&b, &e);
		if (r != IM2_FINE)
			return r;
		if (++n > rule->hi)
			return IM2_E_LIMIT;
		if (rule->ascending && n > 1 && !ascends(before, e))
			return IM2_E_ORDER;
		before = e;
		r = rule->elem == IM2_STRUCT ? nested(rule->of, e) :
					       shape(rule->elem, e, rule->elem_lo, rule->elem_hi);
		if (r == IM2_FINE && rule->check)
			r = rule->check(e);
		if (r != IM2_FINE)
			return r;
	}
	*count = n;
	return IM2_FINE;
}

static inline enum im2_refusal value_take(const struct im2_rule *rule, struct bytes b, uint64_t *u)
{
	enum im2_refusal r;

	switch (rule->kind) {
	case IM2_UINT:
		r = varint_take(&b, u);
		if (r != IM2_FINE)
			return r;
		if (b.n > 0)
			return IM2_E_TRAILING;
		if (*u < rule->lo || *u > rule->hi)
			return IM2_E_RANGE;
		return rule->has_default && *u == rule->dflt ? IM2_E_NONCANON : IM2_FINE;
	case IM2_LIST:
		return list_take(rule, b, u);
	case IM2_STRUCT:
		r = b.n == 0 ? IM2_E_NONCANON : nested(rule->of, b);
		break;
	case IM2_FLAG:
		r = b.n > 0 ? IM2_E_LENGTH : IM2_FINE;
		break;
	default:
		r = shape(rule->kind, b, rule->lo, rule->hi);
		if (r == IM2_FINE && rule->has_default && b.n == 0)
			r = IM2_E_NONCANON;
	}
	return r == IM2_FINE && rule->check ? rule->check(b) : r;
}

/* --- structures ---------------------------------------------------------------------------------- */

static enum im2_refusal field_take(struct bytes *in, uint64_t *tag, struct bytes *value)
{
	enum im2_refusal r = varint_take(in, tag);

	if (r != IM2_FINE)
		return r;
	return *tag < TAG_END ? lv_take(in, value) : IM2_E_TAG;
}

static inline bool absent(const struct im2_rule *rule, struct im2_value *v)
{
	*v = (struct im2_value){.u = rule->dflt};
	return rule->required;
}

enum im2_refusal im2_parse(const struct im2_schema *s, struct bytes in, struct im2_fields *out)
{
	uint64_t tag = 0, last = 0;
	size_t next = 0, fields = 0;
	bool missing = false;
	enum im2_refusal r;
	struct bytes value;

	if (in.n > s->max_bytes)
		return IM2_E_LIMIT;
	out->schema = s;
	out->raw = in;
	out->present = out->unknown = 0;
	while (in.n > 0) {
		r = varint_take(&in, &tag);
		if (r != IM2_FINE)
			return r;
		if (tag == 0 || tag >= TAG_END)
			return IM2_E_TAG;
		if (tag <= last)
			return IM2_E_ORDER;
		last = tag;
		if (++fields > IM2_STRUCT_FIELDS_MAX)
			return IM2_E_LIMIT;
		r = lv_take(&in, &value);
		if (r != IM2_FINE)
			return r;
		for (; next < s->count && s->rules[next].tag < tag; next++)
			missing |= absent(&s->rules[next], &out->v[next]);
		if (next < s->count && s->rules[next].tag == tag) {
			out->v[next] = (struct im2_value){.b = value};
			r = value_take(&s->rules[next], value, &out->v[next].u);
			if (r != IM2_FINE)
				return r;
			out->present |= 1u << next++;
		} else if (tag & 1) {
			return IM2_E_CRITICAL;
		} else {
			out->unknown++;
		}
	}
	out->last_tag = (uint16_t)last;
	for (; next < s->count; next++)
		missing |= absent(&s->rules[next], &out->v[next]);
	if (missing)
		return IM2_E_MISSING;
	return s->across ? s->across(out) : IM2_FINE;
}

/* The one encoding of "nothing to say" is absence. */
static bool written(const struct im2_rule *rule, const struct im2_value *v)
{
	switch (rule->kind) {
	case IM2_UINT:
		return !rule->has_default || v->u != rule->dflt;
	case IM2_LIST:
	case IM2_STRUCT:
		return rule->required || v->b.n > 0;
	default:
		return !rule->has_default || v->b.n > 0;
	}
}

static size_t value_size(const struct im2_rule *rule, const struct im2_value *v)
{
	return rule->kind == IM2_UINT ? im2_varint_size(v->u) : v->b.n;
}

static size_t field_size(const struct im2_rule *rule, const struct im2_value *v)
{
	size_t n = value_size(rule, v);

	return im2_varint_size(rule->tag) + im2_varint_size(n) + n;
}

static void demand(const struct im2_rule *rule, const struct im2_value *v)
{
	uint64_t count;

	if (rule->kind == IM2_UINT)
		BUG_ON(v->u < rule->lo || v->u > rule->hi);
	else
		BUG_ON(value_take(rule, v->b, &count) != IM2_FINE);
}

void im2_write(const struct im2_schema *s, const struct im2_fields *f, struct buf *out)
{
	uint32_t keep = 0;
	size_t size = 0;
	uint8_t *p;

	for (size_t i = 0; i < s->count; i++) {
		const struct im2_rule *rule = &s->rules[i];

		BUG_ON(rule->required && !im2_has(f, (unsigned)i));
		if (!im2_has(f, (unsigned)i) || !written(rule, &f->v[i]))
			continue;
		demand(rule, &f->v[i]);
		keep |= 1u << i;
		size += field_size(rule, &f->v[i]);
	}
	BUG_ON(size > s->max_bytes);
	BUG_ON(s->across && s->across(f) != IM2_FINE);
	p = buf_reserve(out, size);
	if (!p)
		return;
	for (size_t i = 0; i < s->count; i++) {
		const struct im2_rule *rule = &s->rules[i];
		const struct im2_value *v = &f->v[i];

		if (!(keep >> i & 1))
			continue;
		p += im2_varint_put(p, rule->tag);
		p += im2_varint_put(p, value_size(rule, v));
		if (rule->kind == IM2_UINT) {
			p += im2_varint_put(p, v->u);
		} else if (v->b.n > 0) {
			memcpy(p, v->b.p, v->b.n);
			p += v->b.n;
		}
	}
	out->n += size;
}

static void rewrite(const struct im2_fields *f, struct buf *out);

static void value_rewrite(const struct im2_rule *rule, const struct im2_value *v, struct buf *out)
{
	struct im2_fields inner;
	struct bytes list = v->b, e;
	struct buf one;

	switch (rule->kind) {
	case IM2_UINT:
		im2_varint_add(out, v->u);
		return;
	case IM2_STRUCT:
		BUG_ON(im2_parse(rule->of, v->b, &inner) != IM2_FINE);
		rewrite(&inner, out);
		return;
	case IM2_LIST:
		buf_init(&one, v->b.n);
		while (list.n > 0) {
			BUG_ON(lv_take(&list, &e) != IM2_FINE);
			buf_reset(&one);
			if (rule->elem == IM2_STRUCT) {
				BUG_ON(im2_parse(rule->of, e, &inner) != IM2_FINE);
				rewrite(&inner, &one);
			} else {
				buf_add(&one, e);
			}
			im2_lv_add(out, buf_bytes(&one));
		}
		buf_fini(&one);
		return;
	default:
		buf_add(out, v->b);
	}
}

static void rewrite(const struct im2_fields *f, struct buf *out)
{
	struct bytes left = f->raw, value;
	struct buf one;
	uint64_t tag;
	size_t i = 0;

	buf_init(&one, f->raw.n);
	while (left.n > 0) {
		BUG_ON(field_take(&left, &tag, &value) != IM2_FINE);
		while (i < f->schema->count && f->schema->rules[i].tag < tag)
			i++;
		buf_reset(&one);
		if (i < f->schema->count && f->schema->rules[i].tag == tag)
			value_rewrite(&f->schema->rules[i], &f->v[i], &one);
		else
			buf_add(&one, value);
		im2_item_add(out, (uint16_t)tag, buf_bytes(&one));
		if (one.err != ERR_OK && out->err == ERR_OK)
			out->err = one.err;
	}
	buf_fini(&one);
}

enum im2_refusal im2_reencode(const struct im2_schema *s, struct bytes in, struct buf *out)
{
	struct im2_fields f;
	enum im2_refusal r = im2_parse(s, in, &f);

	if (r == IM2_FINE)
		rewrite(&f, out);
	return r;
}

/* --- item lists ------------------------------------------------------------------------------------ */

enum im2_refusal im2_items_check(struct bytes list, size_t *count)
{
	struct bytes value;
	enum im2_refusal r;
	uint64_t tag;
	size_t n = 0;

	while (list.n > 0) {
		if (list.p[0] == 0) {
			/* All equal to their neighbour, and the first is zero. */
			if (memcmp(list.p, list.p + 1, list.n - 1) != 0)
				return IM2_E_PAD;
			break;
		}
		r = field_take(&list, &tag, &value);
		if (r != IM2_FINE)
			return r;
		if (++n > IM2_ITEMS_MAX)
			return IM2_E_LIMIT;
	}
	if (count)
		*count = n;
	return IM2_FINE;
}

bool im2_item_next(struct bytes *list, uint16_t *tag, struct bytes *value)
{
	uint64_t t;

	if (list->n == 0 || list->p[0] == 0 || field_take(list, &t, value) != IM2_FINE)
		return false;
	*tag = (uint16_t)t;
	return true;
}

void im2_item_add(struct buf *b, uint16_t tag, struct bytes value)
{
	im2_varint_add(b, tag);
	im2_lv_add(b, value);
}

size_t im2_item_size(uint16_t tag, size_t n)
{
	return im2_varint_size(tag) + im2_varint_size(n) + n;
}

size_t im2_bucket(size_t n)
{
	size_t step = 256;

	if (n <= 256)
		return 256;
	if (n > 4096)
		while (step <= n / 16) /* an eighth of the power of two at or below n */
			step *= 2;
	return (n + step - 1) / step * step;
}
