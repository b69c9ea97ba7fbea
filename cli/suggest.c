#include "cli/suggest.h"

#include <string.h>

#include "base/text.h"

/* How many slips a word of this length may hold before a suggestion is a guess. */
static unsigned tolerance(size_t length)
{
	return length < 3 ? 1 : length < 7 ? 2 : 3;
}

struct suggest suggest_for(const char *typed)
{
	return (struct suggest){ .typed = typed, .distance = tolerance(strlen(typed)) + 1 };
}

void suggest_offer(struct suggest *s, const char *candidate)
{
	size_t n = strlen(s->typed);
	unsigned d;

	if (!candidate || !*candidate || n == 0)
		return;
	/* The beginning of a word is a better hint than any spelling: "fing" for "fingerprint". */
	if (n >= 2 && strncmp(candidate, s->typed, n) == 0)
		d = 0;
	else
		d = edit_distance(s->typed, candidate, tolerance(n));
	/* Every letter wrong is no slip: "ls" is not "at". */
	if (d >= n || d >= s->distance)
		return;
	s->distance = d;
	s->best = candidate;
}
