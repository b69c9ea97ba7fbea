#include "protocol/v09/v09.h"

/* One decimal part, 1 or more digits, up to `end` or a '.'. Saturates at 255. */
static bool part(const uint8_t **p, const uint8_t *end, unsigned *out)
{
	unsigned v = 0;
	const uint8_t *start = *p;

	while (*p < end && **p >= '0' && **p <= '9') {
		v = v * 10 + (unsigned)(**p - '0');
		if (v > 255)
			v = 255;
		(*p)++;
	}
	*out = v;
	return *p > start && (*p == end || **p == '.');
}

/* Wire 2.7.1: the text before the first '/' is not looked at, a third part is ignored. */
uint16_t v09_version_parse(struct bytes text)
{
	const uint8_t *p = text.n ? memchr(text.p, '/', text.n) : NULL, *end = text.p + text.n;
	unsigned major, minor;

	if (!p)
		return 0;
	p++;
	if (!part(&p, end, &major) || p == end)
		return 0;
	p++;
	if (!part(&p, end, &minor))
		return 0;
	return VERSION_OF(major, minor);
}
