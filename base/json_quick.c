#include "base/json_internal.h"

#include <math.h>
#include <stdlib.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/text.h"

#define QUICK_DEPTH 12
#define NUMBER_MAX  40
#define INT_DIGITS  18 /* fits 64 bits whatever the digits are */

struct scan {
	const uint8_t *p, *end;
	unsigned depth;
};

static json_t *value(struct scan *s);

static void blanks(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
		s->p++;
}

static bool next_is(struct scan *s, uint8_t c)
{
	blanks(s);
	if (s->p == s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

#ifdef __SSE2__
/* Sixteen at a time, as long as all are plain: every body of a request passes here. */
static const uint8_t *plain_blocks(const uint8_t *p, const uint8_t *end, uint64_t *high)
{
	const __m128i control = _mm_set1_epi8(0x1f), quote = _mm_set1_epi8('"'), escape = _mm_set1_epi8('\\');
	__m128i tops = _mm_setzero_si128();

	for (; end - p >= 16; p += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)p);
		__m128i ends = _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(v, control), v),
					    _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, escape)));

		if (_mm_movemask_epi8(ends))
			break;
		tops = _mm_or_si128(tops, v);
	}
	*high |= (uint64_t)_mm_movemask_epi8(tops);
	return p;
}
#else
static const uint8_t *plain_blocks(const uint8_t *p, const uint8_t *end, uint64_t *high)
{
	return p;
}
#endif

size_t json_plain_run(const uint8_t *p, const uint8_t *end, uint64_t *high)
{
	const uint64_t ones = 0x0101010101010101u, tops = ones * 0x80;
	const uint8_t *from = p;

	p = plain_blocks(p, end, high);
	for (; end - p >= 8; p += 8) {
		uint64_t v, q, b;

		memcpy(&v, p, 8);
		q = v ^ (ones * '"');
		b = v ^ (ones * '\\');
		/* A byte over 0x7f is never below 0x20; a borrow only makes us look more closely. */
		if ((((v - ones * 0x20) & ~v) | ((q - ones) & ~q) | ((b - ones) & ~b)) & tops)
			break;
		*high |= v & tops;
	}
	for (; p < end && *p >= 0x20 && *p != '"' && *p != '\\'; p++)
		*high |= *p & 0x80u;
	return (size_t)(p - from);
}

/* \uXXXX that stands for one character by itself: neither NUL nor half a pair. */
static bool unit(const uint8_t *p, uint32_t *out)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++) {
		uint8_t c = p[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint32_t)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			v = v << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
		else
			return false;
	}
	*out = v;
	return v != 0 && (v < 0xd800 || v > 0xdfff);
}

static uint8_t *put_utf8(uint8_t *w, uint32_t c)
{
	if (c < 0x80) {
		*w++ = (uint8_t)c;
	} else if (c < 0x800) {
		*w++ = (uint8_t)(0xc0 | c >> 6);
		*w++ = (uint8_t)(0x80 | (c & 0x3f));
	} else {
		*w++ = (uint8_t)(0xe0 | c >> 12);
		*w++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		*w++ = (uint8_t)(0x80 | (c & 0x3f));
	}
	return w;
}

/* The rest of a string from its first backslash on, after `n` plain bytes at `from`. */
static json_t *escaped(struct scan *s, const uint8_t *from, size_t n, uint64_t high)
{
	static const char to[128] = { ['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b',
				      ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t' };
	const uint8_t *p = from + n;
	/* The end is not known yet: the next quote that no backslash precedes is at or before it only
	 * when there is one at all, so what is left is the bound. */
	const uint8_t *q = p;
	uint8_t *text, *w;
	json_t *v = NULL;
	uint32_t c;

	while (q < s->end && *q != '"')
		q += *q == '\\' ? 2 : 1;
	if (q >= s->end)
		return NULL;
	text = malloc((size_t)(q - from) + 1);
	if (!text)
		return NULL;
	memcpy(text, from, n);
	w = text + n;
	while (p < q) {
		size_t run = json_plain_run(p, q, &high);

		memcpy(w, p, run);
		w += run;
		p += run;
		if (p == q)
			break;
		if (*p != '\\' || p[1] >= 128)
			goto out; /* a control character, or no escape */
		if (p[1] == 'u') {
			if (q - p < 6 || !unit(p + 2, &c))
				goto out;
			w = put_utf8(w, c);
			p += 6;
		} else if (to[p[1]]) {
			*w++ = (uint8_t)to[p[1]];
			p += 2;
		} else {
			goto out;
		}
	}
	s->p = q + 1;
	if (!high || utf8_valid(bytes_of(text, (size_t)(w - text))))
		v = json_stringn_nocheck((const char *)text, (size_t)(w - text));
out:
	free(text);
	return v;
}

/* After the opening quote. */
static json_t *string(struct scan *s)
{
	const uint8_t *from = s->p;
	uint64_t high = 0;
	size_t n = json_plain_run(from, s->end, &high);

	if (from + n == s->end)
		return NULL;
	if (from[n] == '\\')
		return escaped(s, from, n, high);
	if (from[n] != '"' || (high && !utf8_valid(bytes_of(from, n))))
		return NULL;
	s->p = from + n + 1;
	return json_stringn_nocheck((const char *)from, n);
}

static bool digits(struct scan *s, size_t *n)
{
	const uint8_t *from = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	*n = (size_t)(s->p - from);
	return *n > 0;
}

static json_t *number(struct scan *s)
{
	const uint8_t *from = s->p, *first;
	char text[NUMBER_MAX + 1], *stop;
	bool negative = *from == '-', real = false;
	int64_t i = 0;
	size_t n;
	double d;

	s->p += negative;
	first = s->p;
	if (!digits(s, &n) || (*first == '0' && (n > 1 || negative)))
		return NULL;
	if (s->p < s->end && *s->p == '.') {
		size_t fraction;

		real = true;
		s->p++;
		if (!digits(s, &fraction))
			return NULL;
	}
	if (s->p < s->end && (*s->p | 0x20) == 'e')
		return NULL;
	if (!real) {
		if (n > INT_DIGITS)
			return NULL;
		for (size_t k = 0; k < n; k++)
			i = i * 10 + (first[k] - '0');
		return json_integer(negative ? -i : i);
	}
	n = (size_t)(s->p - from);
	if (n > NUMBER_MAX)
		return NULL;
	memcpy(text, from, n);
	text[n] = 0;
	d = strtod(text, &stop);
	/* Another locale stops at the point. */
	return stop == text + n && isfinite(d) ? json_real(d) : NULL;
}

static json_t *object(struct scan *s)
{
	json_t *o = json_object(), *v;

	if (!o || next_is(s, '}'))
		return o;
	do {
		uint64_t high = 0;
		const uint8_t *key;
		size_t n;

		if (!next_is(s, '"'))
			goto bad;
		key = s->p;
		n = json_plain_run(key, s->end, &high);
		if (high || key + n == s->end || key[n] != '"')
			goto bad;
		s->p = key + n + 1;
		if (json_object_getn(o, (const char *)key, n) || !next_is(s, ':'))
			goto bad;
		v = value(s);
		if (!v || json_object_setn_new_nocheck(o, (const char *)key, n, v) != 0)
			goto bad;
	} while (next_is(s, ','));
	if (next_is(s, '}'))
		return o;
bad:
	json_decref(o);
	return NULL;
}

static json_t *array(struct scan *s)
{
	json_t *a = json_array(), *v;

	if (!a || next_is(s, ']'))
		return a;
	do {
		v = value(s);
		if (!v || json_array_append_new(a, v) != 0) {
			json_decref(a);
			return NULL;
		}
	} while (next_is(s, ','));
	if (next_is(s, ']'))
		return a;
	json_decref(a);
	return NULL;
}

static bool word(struct scan *s, const char *w, size_t n)
{
	if ((size_t)(s->end - s->p) < n || memcmp(s->p, w, n) != 0)
		return false;
	s->p += n;
	/* "nullx" is one token for jansson, and none. */
	return s->p == s->end || !((*s->p | 0x20) >= 'a' && (*s->p | 0x20) <= 'z');
}

static json_t *value(struct scan *s)
{
	json_t *v;

	blanks(s);
	if (s->p == s->end)
		return NULL;
	switch (*s->p) {
	case '"':
		s->p++;
		return string(s);
	case '{':
	case '[':
		if (++s->depth > QUICK_DEPTH)
			return NULL;
		v = *s->p++ == '{' ? object(s) : array(s);
		s->depth--;
		return v;
	case 't':
		return word(s, "true", 4) ? json_true() : NULL;
	case 'f':
		return word(s, "false", 5) ? json_false() : NULL;
	case 'n':
		return word(s, "null", 4) ? json_null() : NULL;
	default:
		return *s->p == '-' || (*s->p >= '0' && *s->p <= '9') ? number(s) : NULL;
	}
}

bool json_quick(struct bytes in, json_t **out)
{
	struct scan s = { .p = in.p };
	json_t *v;

	if (in.n == 0) /* `p` may be NULL then, which takes no arithmetic */
		return false;
	s.end = in.p + in.n;
	blanks(&s);
	if (s.p == s.end || (*s.p != '{' && *s.p != '['))
		return false;
	v = value(&s);
	blanks(&s);
	if (v && s.p != s.end) {
		json_decref(v);
		v = NULL;
	}
	if (!v)
		return false;
	*out = v;
	return true;
}
