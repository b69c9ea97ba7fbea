/*
 * suggest.h -- "did you mean": the nearest of the words that would have been right.
 */
#ifndef CLI_SUGGEST_H
#define CLI_SUGGEST_H

struct suggest {
	const char *typed; /* borrowed */
	const char *best;  /* NULL: nothing is near enough */
	unsigned distance;
};

struct suggest suggest_for(const char *typed);
void suggest_offer(struct suggest *s, const char *candidate); /* borrowed; NULL is ignored */

#endif
