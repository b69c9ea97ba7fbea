#include "base/text.h"

#include <stdio.h>
#include <time.h>

size_t utf8_decode(struct bytes in, size_t at, uint32_t *cp)
{
	const uint8_t *p = in.p + at;
	size_t left = in.n - at;
	uint32_t c;
	size_t n;

	if (at >= in.n)
		return 0;
	if (p[0] < 0x80) {
		*cp = p[0];
		return 1;
	}
	if (p[0] >= 0xc2 && p[0] <= 0xdf) {
		n = 2;
		c = p[0] & 0x1f;
	} else if ((p[0] & 0xf0) == 0xe0) {
		n = 3;
		c = p[0] & 0x0f;
	} else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
		n = 4;
		c = p[0] & 0x07;
	} else {
		return 0;
	}
	if (left < n)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if ((n == 3 && c < 0x800) || (n == 4 && (c < 0x10000 || c > 0x10ffff)) ||
	    (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*cp = c;
	return n;
}

/* Where the run of ASCII that starts at `i` ends. */
static size_t ascii_end(struct bytes in, size_t i)
{
	while (in.n - i >= 8) {
		uint64_t v;

		memcpy(&v, in.p + i, 8);
		if (v & 0x8080808080808080u)
			break;
		i += 8;
	}
	while (i < in.n && in.p[i] < 0x80)
		i++;
	return i;
}

bool utf8_valid(struct bytes in)
{
	uint32_t cp;

	for (size_t i = ascii_end(in, 0); i < in.n; i = ascii_end(in, i)) {
		size_t n = utf8_decode(in, i, &cp);

		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

size_t utf8_count(struct bytes in)
{
	size_t n = 0;

	for (size_t i = 0; i < in.n; i++)
		n += (in.p[i] & 0xc0) != 0x80;
	return n;
}

/* What moves the cursor, changes reading direction, ends a line somewhere, or is not seen at all: two
 * names that look the same must be the same. The joiners 200c and 200d are letters to some scripts, but
 * not to a name. */
static bool unprintable(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0xad || c == 0x034f || c == 0x061c ||
	       c == 0x115f || c == 0x1160 || c == 0x17b4 || c == 0x17b5 ||
	       (c >= 0x180b && c <= 0x180f) || (c >= 0x200b && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0x3164 ||
	       (c >= 0xfe00 && c <= 0xfe0f) || c == 0xfeff || c == 0xffa0 ||
	       (c >= 0xfff0 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe0fff);
}

const char *text_safe(struct bytes in, char *out, size_t cap)
{
	size_t n = 0, cut = 0, i = 0;

	if (cap == 0)
		return "";
	while (i < in.n) {
		uint32_t c = 0;
		size_t len = utf8_decode(in, i, &c);
		bool bad = len == 0 || unprintable(c);
		size_t room = bad ? 1 : len;

		if (room > cap - 1 - n) {
			if (cap >= 4) {
				n = cut;
				memcpy(out + n, "...", 3);
				n += 3;
			}
			break;
		}
		if (bad)
			out[n] = '?';
		else
			memcpy(out + n, in.p + i, len);
		n += room;
		i += len ? len : 1;
		if (n + 4 <= cap)
			cut = n;
	}
	out[n] = '\0';
	return out;
}

bool name_valid(struct bytes in)
{
	if (in.n == 0 || in.n > NAME_MAX_CHARS || in.p[0] == '-')
		return false;
	for (size_t i = 0; i < in.n; i++) {
		uint8_t c = in.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '.' || c == '_' || c == '-'))
			return false;
	}
	return true;
}

void hex_encode(struct bytes in, char *out)
{
	static const char digits[16] = "0123456789abcdef";

	for (size_t i = 0; i < in.n; i++) {
		out[2 * i] = digits[in.p[i] >> 4];
		out[2 * i + 1] = digits[in.p[i] & 15];
	}
	out[2 * in.n] = '\0';
}

/* Value of a digit, of those that are none 0x10. */
static const uint8_t hex_values[256] = {
#define NONE16 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16
	NONE16, NONE16, NONE16,
	0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 16, 16, 16, 16, 16,
	NONE16, NONE16,
	16, 10, 11, 12, 13, 14, 15, 16, 16, 16, 16, 16, 16, 16, 16, 16,
	NONE16, NONE16, NONE16, NONE16, NONE16, NONE16, NONE16, NONE16, NONE16,
#undef NONE16
};

bool hex_valid(struct bytes in, size_t digits)
{
	if (in.n != digits)
		return false;
	uint8_t seen = 0;

	for (size_t i = 0; i < in.n; i++)
		seen |= hex_values[in.p[i]];
	return seen < 16;
}

enum err hex_decode(struct bytes in, uint8_t *out, size_t n)
{
	if (in.n / 2 != n || !hex_valid(in, in.n) || in.n % 2)
		return ERR_MALFORMED;
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(hex_values[in.p[2 * i]] << 4 | hex_values[in.p[2 * i + 1]]);
	return ERR_OK;
}

#define DURATION_MAX_MS 1000000000000000u /* 31,000 years: sums with any clock cannot wrap */

enum err duration_parse(struct bytes in, uint64_t *ms)
{
	static const struct {
		const char *word;
		uint64_t ms;
	} units[] = {{"", 1000},   {"ms", 1},	   {"s", 1000},
		     {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
	uint64_t whole = 0, part = 0, scale = 1, unit = 0;
	size_t i = 0, digits = 0;
	struct bytes rest;

	for (; i < in.n && in.p[i] >= '0' && in.p[i] <= '9'; i++, digits++) {
		if (whole > DURATION_MAX_MS)
			return ERR_LIMIT;
		whole = whole * 10 + (in.p[i] - '0');
	}
	if (digits == 0)
		return ERR_MALFORMED;
	if (i < in.n && in.p[i] == '.') {
		digits = 0;
		for (i++; i < in.n && in.p[i] >= '0' && in.p[i] <= '9'; i++, digits++) {
			if (scale >=
			    1000000000) /* below a nanosecond of a day: no longer visible */
				continue;
			part = part * 10 + (in.p[i] - '0');
			scale *= 10;
		}
		if (digits == 0)
			return ERR_MALFORMED;
	}
	rest = bytes_of(in.p + i, in.n - i);
	for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++)
		if (bytes_eq(rest, bytes_str(units[u].word)))
			unit = units[u].ms;
	if (unit == 0)
		return ERR_MALFORMED;
	if (whole > DURATION_MAX_MS / unit)
		return ERR_LIMIT;
	*ms = whole * unit + (part * unit + scale / 2) / scale;
	return ERR_OK;
}

const char *rfc3339(uint64_t wall_ms, char out[static RFC3339_LEN])
{
	const uint64_t last_ms = 253402300799999u; /* 9999-12-31: the format has four year digits */
	time_t s;
	struct tm tm;

	if (wall_ms > last_ms)
		wall_ms = last_ms;
	s = (time_t)(wall_ms / 1000);
	gmtime_r(&s, &tm);
	strftime(out, RFC3339_LEN, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + 19, RFC3339_LEN - 19, ".%03uZ", (unsigned)(wall_ms % 1000));
	return out;
}

/* A swap of neighbours counts once: it is what fingers do. */
unsigned edit_distance(const char *a, const char *b, unsigned limit)
{
	enum { LONGEST = 64 };
	size_t na = strlen(a), nb = strlen(b);
	unsigned rows[3][LONGEST + 1];
	unsigned *prev2 = rows[0], *prev = rows[1], *cur = rows[2];

	if (strcmp(a, b) == 0)
		return 0;
	if (na > LONGEST || nb > LONGEST || (na > nb ? na - nb : nb - na) > limit)
		return limit + 1;
	for (size_t j = 0; j <= nb; j++)
		prev[j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		unsigned *t = prev2;

		cur[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned v = prev[j - 1] + (a[i - 1] != b[j - 1]);

			if (prev[j] + 1 < v)
				v = prev[j] + 1;
			if (cur[j - 1] + 1 < v)
				v = cur[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    prev2[j - 2] + 1 < v)
				v = prev2[j - 2] + 1;
			cur[j] = v;
		}
		prev2 = prev;
		prev = cur;
		cur = t;
	}
	return prev[nb] > limit ? limit + 1 : prev[nb];
}

const char *word_for_shell(const char *word, char *buf, size_t cap)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "_-./:@%+=,#";
	size_t n = 0;

	if (*word && *word != '#' && strspn(word, plain) == strlen(word)) {
		snprintf(buf, cap, "%s", word);
		return buf;
	}
	/* The close, the escaped quote and the reopen take four bytes; the end takes two. */
	buf[n++] = '\'';
	for (; *word && n + 6 < cap; word++) {
		if (*word == '\'') {
			memcpy(buf + n, "'\\''", 4);
			n += 4;
		} else {
			buf[n++] = *word;
		}
	}
	buf[n++] = '\'';
	buf[n] = '\0';
	return buf;
}
