#include "base/json_internal.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"

/*
 * jansson recurses once per level and its own limit is 2,048. This looks at brackets outside of
 * strings only; whether they match is jansson's business.
 */
static enum err check_depth(struct bytes in)
{
	size_t open = 0;

	for (size_t i = 0; i < in.n; i++) {
		uint8_t c = in.p[i];

		if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
			continue;
		/* With 65 containers open the innermost is at depth 64, so it must be empty. */
		if (open > JSON_DEPTH_MAX && c != ']' && c != '}')
			return ERR_LIMIT;
		if (c == '[' || c == '{') {
			open++;
		} else if ((c == ']' || c == '}') && open > 0) {
			open--;
		} else if (c == '"') {
			/* Each run of backslashes before a quote is looked at once: linear. */
			for (size_t start = ++i;; i++) {
				const uint8_t *q = memchr(in.p + i, '"', in.n - i);
				size_t slashes = 0;

				if (!q)
					return ERR_MALFORMED;
				i = (size_t)(q - in.p);
				while (i - slashes > start && in.p[i - slashes - 1] == '\\')
					slashes++;
				if (slashes % 2 == 0)
					break;
			}
		}
	}
	return ERR_OK;
}

enum err json_load_strict(struct bytes in, size_t max_bytes, json_t **out)
{
	json_error_t why;
	json_t *v;
	enum err e;

	if (in.n > max_bytes)
		return ERR_LIMIT;
	if (json_quick(in, out))
		return ERR_OK;
	e = check_depth(in);
	if (e != ERR_OK)
		return e;
	v = json_loadb((const char *)in.p, in.n, JSON_REJECT_DUPLICATES, &why);
	if (!v)
		return json_error_code(&why) == json_error_out_of_memory ? ERR_NOMEM
									 : ERR_MALFORMED;
	*out = v;
	return ERR_OK;
}

/* True for eight bytes that all go out as they are: 0x20..0x7e without quote and backslash.
 * The borrow of one byte can only make a later byte look special, which costs speed, not truth. */
static bool plain8(const uint8_t *p)
{
	const uint64_t ones = 0x0101010101010101u;
	uint64_t v, q, b, d;

	memcpy(&v, p, 8);
	q = v ^ (ones * '"');
	b = v ^ (ones * '\\');
	d = v ^ (ones * 0x7f);
	return ((v | (v - ones * 0x20) | ((q - ones) & ~q) | ((b - ones) & ~b) |
		 ((d - ones) & ~d)) &
		(ones * 0x80)) == 0;
}

static bool plain(uint8_t c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void add_unit(struct buf *b, uint32_t u)
{
	char esc[7];

	snprintf(esc, sizeof(esc), "\\u%04x", u & 0xffff);
	buf_add(b, bytes_of(esc, 6));
}

static void add_escaped(struct buf *b, uint32_t c)
{
	static const char names[128] = {['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\t'] = 't',
					['\n'] = 'n', ['\f'] = 'f',  ['\r'] = 'r'};

	if (c < 128 && names[c]) {
		const char esc[2] = {'\\', names[c]};

		buf_add(b, BYTES_ARR(esc));
	} else if (c > 0xffff) {
		add_unit(b, 0xd800 + ((c - 0x10000) >> 10));
		add_unit(b, 0xdc00 + ((c - 0x10000) & 0x3ff));
	} else {
		add_unit(b, c);
	}
}

void json_add_string(struct buf *b, struct bytes s)
{
	size_t i = 0;

	buf_add_u8(b, '"');
	while (i < s.n) {
		size_t from = i, n;
		uint32_t c;

		while (s.n - i >= 8 && plain8(s.p + i))
			i += 8;
		while (i < s.n && plain(s.p[i]))
			i++;
		buf_add(b, bytes_of(s.p + from, i - from));
		if (i == s.n)
			break;
		n = utf8_decode(s, i, &c);
		if (n == 0) {
			if (b->err == ERR_OK)
				b->err = ERR_MALFORMED;
			return;
		}
		add_escaped(b, c);
		i += n;
	}
	buf_add_u8(b, '"');
}

void json_add_text(struct buf *b, struct bytes s)
{
	const uint8_t *end = s.n ? s.p + s.n : s.p;
	uint64_t high = 0;

	buf_add_u8(b, '"');
	for (const uint8_t *p = s.p; p < end;) {
		size_t n = json_plain_run(p, end, &high);

		buf_add(b, bytes_of(p, n));
		p += n;
		if (p < end)
			add_escaped(b, *p++);
	}
	buf_add_u8(b, '"');
}

/* The next decimal away from zero with as many digits: "1.29e+05" becomes "1.30e+05". */
static void step_up(char *text)
{
	char *p = strchr(text, 'e');

	while (p-- > text) {
		if (*p < '0' || *p > '9')
			continue;
		if (*p != '9') {
			++*p;
			return;
		}
		*p = '0';
	}
}

/* Python's repr of a float (wire 0.4 rule 4). The digits are taken out of printf's text one by one,
 * so the decimal point of the locale does not matter. */
void json_add_double(struct buf *b, double v)
{
	char text[40], digits[24], out[48];
	size_t nd = 0, n = 0;
	long exp10;
	int exp2;

	if (!isfinite(v)) {
		if (b->err == ERR_OK)
			b->err = ERR_MALFORMED;
		return;
	}
	/* 15 digits suffice for the shortest form of a normal double; a subnormal one has fewer. */
	for (int precision = fabs(v) < DBL_MIN ? 0 : 14; precision <= 16; precision++) {
		snprintf(text, sizeof(text), "%.*e", precision, v);
		if (strtod(text, NULL) == v)
			break;
		/* The gap above a power of two is twice the gap below it: the second nearest
		 * decimal, above, may come back to v where the nearest, below, does not. */
		if (precision == 15 && fabs(frexp(v, &exp2)) == 0.5) {
			step_up(text);
			if (strtod(text, NULL) == v)
				break;
		}
	}
	for (const char *p = text; *p && *p != 'e'; p++)
		if (*p >= '0' && *p <= '9' && nd < sizeof(digits))
			digits[nd++] = *p;
	exp10 = strtol(strchr(text, 'e') + 1, NULL, 10);
	while (nd > 1 && digits[nd - 1] == '0')
		nd--;

	if (signbit(v))
		out[n++] = '-';
	if (exp10 < -4 || exp10 >= 16) {
		out[n++] = digits[0];
		if (nd > 1) {
			out[n++] = '.';
			memcpy(out + n, digits + 1, nd - 1);
			n += nd - 1;
		}
		n += (size_t)snprintf(out + n, sizeof(out) - n, "e%c%02ld", exp10 < 0 ? '-' : '+',
				      labs(exp10));
	} else if (exp10 < 0) {
		out[n++] = '0';
		out[n++] = '.';
		for (long i = -1; i > exp10; i--)
			out[n++] = '0';
		memcpy(out + n, digits, nd);
		n += nd;
	} else {
		for (size_t i = 0; i <= (size_t)exp10; i++)
			out[n++] = i < nd ? digits[i] : '0';
		out[n++] = '.';
		if (nd > (size_t)exp10 + 1) {
			memcpy(out + n, digits + exp10 + 1, nd - (size_t)exp10 - 1);
			n += nd - (size_t)exp10 - 1;
		} else {
			out[n++] = '0';
		}
	}
	buf_add(b, bytes_of(out, n));
}

static void write_value(struct buf *b, const json_t *v, enum json_order order, unsigned depth);

struct member {
	struct bytes key;
	const json_t *value;
};

static int by_key(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	size_t n = x->key.n < y->key.n ? x->key.n : y->key.n;
	int c = n ? memcmp(x->key.p, y->key.p, n) : 0; /* UTF-8 sorts as its code points do */

	return c ? c : (x->key.n > y->key.n) - (x->key.n < y->key.n);
}

static void write_object(struct buf *b, const json_t *v, enum json_order order, unsigned depth)
{
	json_t *o = (json_t *)v; /* jansson's iterators take no const; nothing is changed */
	size_t n = json_object_size(v), i = 0;
	struct member few[32], *m = few;

	if (n > sizeof(few) / sizeof(few[0])) {
		m = calloc(n, sizeof(*m));
		if (!m) {
			b->err = ERR_NOMEM;
			return;
		}
	}
	for (void *it = json_object_iter(o); it && i < n; it = json_object_iter_next(o, it), i++)
		m[i] = (struct member){
			bytes_of(json_object_iter_key(it), json_object_iter_key_len(it)),
			json_object_iter_value(it)};
	if (order == JSON_SORTED)
		qsort(m, n, sizeof(*m), by_key);
	buf_add_u8(b, '{');
	for (i = 0; i < n && b->err == ERR_OK; i++) {
		if (i)
			buf_add_u8(b, ',');
		json_add_string(b, m[i].key);
		buf_add_u8(b, ':');
		write_value(b, m[i].value, order, depth + 1);
	}
	buf_add_u8(b, '}');
	if (m != few)
		free(m);
}

static void write_value(struct buf *b, const json_t *v, enum json_order order, unsigned depth)
{
	if (b->err != ERR_OK)
		return;
	if (depth > JSON_DEPTH_MAX) {
		b->err = ERR_LIMIT;
		return;
	}
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		write_object(b, v, order, depth);
		break;
	case JSON_ARRAY:
		buf_add_u8(b, '[');
		for (size_t i = 0; i < json_array_size(v) && b->err == ERR_OK; i++) {
			if (i)
				buf_add_u8(b, ',');
			write_value(b, json_array_get(v, i), order, depth + 1);
		}
		buf_add_u8(b, ']');
		break;
	case JSON_STRING:
		json_add_string(b, bytes_of(json_string_value(v), json_string_length(v)));
		break;
	case JSON_INTEGER:
		buf_printf(b, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
		break;
	case JSON_REAL:
		json_add_double(b, json_real_value(v));
		break;
	case JSON_TRUE:
		buf_add(b, BYTES_LIT("true"));
		break;
	case JSON_FALSE:
		buf_add(b, BYTES_LIT("false"));
		break;
	case JSON_NULL:
		buf_add(b, BYTES_LIT("null"));
		break;
	}
}

enum err json_write(struct buf *b, const json_t *v, enum json_order order)
{
	if (!v) /* a json_pack() that failed somewhere above */
		return b->err != ERR_OK ? b->err : (b->err = ERR_MALFORMED);
	write_value(b, v, order, 0);
	return b->err;
}

const char *json_str(const json_t *obj, const char *key)
{
	return json_string_value(json_object_get(obj, key));
}

enum err json_get_str(const json_t *obj, const char *key, struct bytes *out)
{
	const json_t *v = json_object_get(obj, key);

	if (!v)
		return ERR_NOTFOUND;
	if (!json_is_string(v))
		return ERR_MALFORMED;
	*out = bytes_of(json_string_value(v), json_string_length(v));
	return ERR_OK;
}

enum err json_get_int(const json_t *obj, const char *key, int64_t min, int64_t max, int64_t *out)
{
	const json_t *v = json_object_get(obj, key);

	if (!v)
		return ERR_NOTFOUND;
	if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
		return ERR_MALFORMED;
	*out = json_integer_value(v);
	return ERR_OK;
}
