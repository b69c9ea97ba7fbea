/*
 * options.h -- a declarative layer over getopt_long: tables in, checked values out.
 *
 * A command's options are a table that ends with a NULL name; several tables are parsed as one.
 * Options may stand before, between and after arguments; "--" ends them. Abbreviated long names
 * are refused, so that a later option cannot change what a script means. Values are borrowed from
 * argv. Every error is a fault with exit code 2 that names the option, and the nearest right one.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "base/wire.h"

enum opt_type {
	OPT_FLAG,           /* --yes; may be repeated */
	OPT_TEXT,           /* --home DIR */
	OPT_NUMBER,         /* --limit N, between min and max */
	OPT_DURATION,       /* --ttl 1h, in ms */
	OPT_DURATION_MAYBE, /* --wait, --wait 5s, --wait=5s: the next word counts when it is a duration,
	                     * or one of `words` */
	OPT_WORD,           /* one of `arg`, which lists the words: "low|normal" */
};

struct opt {
	const char *name;
	char letter; /* 0: none */
	enum opt_type type;
	const char *arg; /* how the help calls the value */
	const char *text;
	uint64_t min, max; /* OPT_NUMBER, and durations in ms; max 0 = no upper limit */
	const char *words; /* OPT_DURATION_MAYBE: "a|b", kept apart from the duration; or NULL */
};

struct optval {
	unsigned given; /* how often */
	const char *text; /* the last value; NULL when none was given */
	const char *word; /* the last of `words`; NULL when none was given */
	uint64_t number;  /* OPT_NUMBER, or milliseconds */
};

#define OPTIONS_MAX 40

struct options {
	const struct opt *spec[OPTIONS_MAX];
	struct optval val[OPTIONS_MAX];
	unsigned count;
	int argc; /* what is left after the options */
	char **argv;
};

/* argv[0] is skipped; argv is reordered. `tables` ends with NULL. */
enum err options_parse(const struct opt *const *tables, int argc, char **argv, struct options *out,
		       struct fault *f) MUST_CHECK;
/* The value of an option of the tables; asking for one that is not there is a bug. */
const struct optval *options_get(const struct options *o, const char *name);
static inline bool options_given(const struct options *o, const char *name)
{
	return options_get(o, name)->given > 0;
}
static inline const char *options_text(const struct options *o, const char *name) /* or NULL */
{
	return options_get(o, name)->text;
}
/* "--wait[=DURATION]" for the help. */
const char *option_label(const struct opt *o, char *out, size_t cap);
/* Whether `word` is one of "a|b|c". */
bool word_in(const char *words, const char *word);

#endif
