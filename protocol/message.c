#include "protocol/message.h"

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
