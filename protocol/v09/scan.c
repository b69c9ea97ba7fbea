#include <math.h>
#include <stdlib.h>

#include "base/text.h"
#include "protocol/v09/scan.h"

#define NUMBER_MAX 64 /* characters of a number that we use; longer ones are no honest value */

struct scan scan_init(uint8_t *p, size_t n)
{
	return (struct scan){.p = p, .end = p + n};
}

static bool fail(struct scan *s, enum err e)
{
	if (s->err == ERR_OK)
		s->err = e;
	s->p = s->end;
	return false;
}

static bool bad(struct scan *s)
{
	return fail(s, s->p < s->end ? ERR_MALFORMED : ERR_SHORT);
}

void scan_space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
		s->p++;
}

bool scan_try(struct scan *s, char c)
{
	scan_space(s);
	if (s->p == s->end || *s->p != (uint8_t)c)
		return false;
	s->p++;
	return true;
}

bool scan_char(struct scan *s, char c)
{
	return scan_try(s, c) || bad(s);
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hex digits at p; -1 when they are not. */
static int32_t hex4(const uint8_t *p, const uint8_t *end)
{
	int32_t v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int d = hex_digit(p[i]);
		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

/* At the character after the backslash. U+0000 and lone surrogates are refused, as jansson does. */
static bool scan_escape(struct scan *s)
{
	if (s->p == s->end)
		return bad(s);
	switch (*s->p) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		s->p++;
		return true;
	case 'u':
		break;
	default:
		return bad(s);
	}
	int32_t u = hex4(s->p + 1, s->end);
	if (u <= 0 || (u >= 0xdc00 && u <= 0xdfff))
		return fail(s, ERR_MALFORMED);
	s->p += 5;
	if (u < 0xd800 || u > 0xdbff)
		return true;
	if (s->end - s->p < 6 || s->p[0] != '\\' || s->p[1] != 'u')
		return fail(s, ERR_MALFORMED);
	u = hex4(s->p + 2, s->end);
	if (u < 0xdc00 || u > 0xdfff)
		return fail(s, ERR_MALFORMED);
	s->p += 6;
	return true;
}

bool scan_string(struct scan *s, struct tok *out)
{
	uint8_t *start, all = 0;
	bool escaped = false;

	if (!scan_char(s, '"'))
		return false;
	start = s->p;
	for (;;) {
		while (s->p < s->end && *s->p >= 0x20 && *s->p != '"' && *s->p != '\\')
			all |= *s->p++;
		if (s->p == s->end || *s->p < 0x20)
			return bad(s);
		if (*s->p == '"')
			break;
		escaped = true;
		s->p++;
		if (!scan_escape(s))
			return false;
	}
	*out = (struct tok){TOK_STRING, escaped, start, (size_t)(s->p - start)};
	s->p++;
	/* Escapes are ASCII, so the raw bytes tell whether the text is valid UTF-8. */
	if (all & 0x80 && !utf8_valid(bytes_of(out->p, out->n)))
		return fail(s, ERR_MALFORMED);
	return true;
}

static size_t digits(struct scan *s)
{
	uint8_t *start = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return (size_t)(s->p - start);
}

static bool scan_number(struct scan *s, struct tok *out)
{
	uint8_t *start = s->p;
	enum tok_kind kind = TOK_INTEGER;

	if (*s->p == '-')
		s->p++;
	uint8_t *first = s->p;
	size_t n = digits(s);
	if (n == 0 || (n > 1 && *first == '0'))
		return fail(s, ERR_MALFORMED);
	if (s->p < s->end && *s->p == '.') {
		s->p++;
		kind = TOK_REAL;
		if (digits(s) == 0)
			return bad(s);
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		s->p++;
		kind = TOK_REAL;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		if (digits(s) == 0)
			return bad(s);
	}
	*out = (struct tok){kind, false, start, (size_t)(s->p - start)};
	return true;
}

static bool scan_word(struct scan *s, const char *word, enum tok_kind kind, struct tok *out)
{
	size_t n = strlen(word);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
		return fail(s, ERR_MALFORMED);
	*out = (struct tok){kind, false, s->p, n};
	s->p += n;
	return true;
}

static bool scan_container(struct scan *s, unsigned depth, bool object, struct tok *out)
{
	uint8_t *start = s->p++;
	char close = object ? '}' : ']';
	struct tok t;

	if (!scan_try(s, close)) {
		do {
			if (object && (!scan_string(s, &t) || !scan_char(s, ':')))
				return false;
			if (!scan_value(s, depth + 1, &t))
				return false;
		} while (scan_try(s, ','));
		if (!scan_char(s, close))
			return false;
	}
	*out = (struct tok){object ? TOK_OBJECT : TOK_ARRAY, false, start, (size_t)(s->p - start)};
	return true;
}

bool scan_value(struct scan *s, unsigned depth, struct tok *out)
{
	scan_space(s);
	if (s->p == s->end)
		return bad(s);
	if (depth > SCAN_DEPTH_MAX)
		return fail(s, ERR_LIMIT);
	switch (*s->p) {
	case '"':
		return scan_string(s, out);
	case '{':
		return scan_container(s, depth, true, out);
	case '[':
		return scan_container(s, depth, false, out);
	case 't':
		return scan_word(s, "true", TOK_TRUE, out);
	case 'f':
		return scan_word(s, "false", TOK_FALSE, out);
	case 'n':
		return scan_word(s, "null", TOK_NULL, out);
	case '-':
	case '0' ... '9':
		return scan_number(s, out);
	default: /* NaN and Infinity end here too */
		return bad(s);
	}
}

enum err scan_end(struct scan *s)
{
	scan_space(s);
	if (s->err == ERR_OK && s->p != s->end)
		s->err = ERR_TRAILING;
	return s->err;
}

static uint8_t *put_utf8(uint8_t *o, uint32_t u)
{
	if (u < 0x80) {
		*o++ = (uint8_t)u;
	} else if (u < 0x800) {
		*o++ = (uint8_t)(0xc0 | u >> 6);
		*o++ = (uint8_t)(0x80 | (u & 0x3f));
	} else if (u < 0x10000) {
		*o++ = (uint8_t)(0xe0 | u >> 12);
		*o++ = (uint8_t)(0x80 | (u >> 6 & 0x3f));
		*o++ = (uint8_t)(0x80 | (u & 0x3f));
	} else {
		*o++ = (uint8_t)(0xf0 | u >> 18);
		*o++ = (uint8_t)(0x80 | (u >> 12 & 0x3f));
		*o++ = (uint8_t)(0x80 | (u >> 6 & 0x3f));
		*o++ = (uint8_t)(0x80 | (u & 0x3f));
	}
	return o;
}

/* The scan has validated every escape, and a text is never longer than its spelling. */
struct bytes tok_text(struct tok *t)
{
	const uint8_t *p = t->p, *end = t->p + t->n;
	uint8_t *o = t->p;

	BUG_ON(t->kind != TOK_STRING);
	if (!t->escaped)
		return bytes_of(t->p, t->n);
	while (p < end) {
		if (*p != '\\') {
			*o++ = *p++;
			continue;
		}
		p++;
		switch (*p) {
		case 'b':
			*o++ = '\b';
			break;
		case 'f':
			*o++ = '\f';
			break;
		case 'n':
			*o++ = '\n';
			break;
		case 'r':
			*o++ = '\r';
			break;
		case 't':
			*o++ = '\t';
			break;
		case 'u': {
			uint32_t u = (uint32_t)hex4(p + 1, end);
			p += 4;
			if (u >= 0xd800 && u <= 0xdbff) {
				u = 0x10000 + ((u - 0xd800) << 10) +
				    ((uint32_t)hex4(p + 3, end) - 0xdc00);
				p += 6;
			}
			o = put_utf8(o, u);
			break;
		}
		default:
			*o++ = *p;
		}
		p++;
	}
	t->n = (size_t)(o - t->p);
	t->escaped = false;
	return bytes_of(t->p, t->n);
}

enum err tok_integer(const struct tok *t, int64_t min, int64_t max, int64_t *out)
{
	bool negative = t->n && t->p[0] == '-';
	uint64_t v = 0;

	if (t->kind != TOK_INTEGER || t->n > 20)
		return ERR_MALFORMED;
	for (size_t i = negative; i < t->n; i++) {
		if (v > (INT64_MAX - (uint64_t)(t->p[i] - '0')) / 10)
			return ERR_MALFORMED;
		v = v * 10 + (uint64_t)(t->p[i] - '0');
	}
	int64_t x = negative ? -(int64_t)v : (int64_t)v;
	if (x < min || x > max)
		return ERR_MALFORMED;
	*out = x;
	return ERR_OK;
}

enum err tok_number(const struct tok *t, double *out)
{
	char text[NUMBER_MAX + 1], *end;
	double v;

	if ((t->kind != TOK_INTEGER && t->kind != TOK_REAL) || t->n > NUMBER_MAX)
		return ERR_MALFORMED;
	memcpy(text, t->p, t->n);
	text[t->n] = 0;
	v = strtod(text, &end);
	if (*end || !isfinite(v))
		return ERR_MALFORMED;
	*out = v;
	return ERR_OK;
}
