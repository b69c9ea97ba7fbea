#include "cli/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "cli/suggest.h"

#define LONG_BASE 256 /* getopt values of long options: above every letter */

static const struct opt *find(const struct options *o, const char *name, unsigned *index)
{
	for (unsigned i = 0; i < o->count; i++) {
		if (strcmp(o->spec[i]->name, name) == 0) {
			*index = i;
			return o->spec[i];
		}
	}
	return NULL;
}

const struct optval *options_get(const struct options *o, const char *name)
{
	unsigned i = 0;

	BUG_ON(!find(o, name, &i));
	return &o->val[i];
}

const char *option_label(const struct opt *o, char *out, size_t cap)
{
	char letter[8] = "";

	if (o->letter)
		snprintf(letter, sizeof(letter), "-%c, ", o->letter);
	snprintf(out, cap, o->type == OPT_FLAG           ? "%s--%s" :
			   o->type == OPT_DURATION_MAYBE ? "%s--%s [%s]" :
							   "%s--%s %s",
		 letter, o->name, o->arg ? o->arg : "");
	return out;
}

bool word_in(const char *words, const char *word)
{
	size_t n = strcspn(word, "|");

	if (word[n]) /* "a|b" is no word, though the list holds it */
		return false;
	for (const char *w = words; w; w = strchr(w, '|')) {
		w += *w == '|';
		if (n && strncmp(w, word, n) == 0 && (w[n] == '|' || w[n] == '\0'))
			return true;
	}
	return false;
}

static enum err bad_word(const struct opt *o, const char *text, struct fault *f)
{
	char copy[128], seen[80];
	char *save = NULL;
	struct suggest s = suggest_for(text);

	text_safe(bytes_str(text), seen, sizeof(seen));
	fault_set(f, ERR_USAGE, EXIT_USAGE, "--%s cannot be '%s'", o->name, seen);
	snprintf(copy, sizeof(copy), "%s", o->arg);
	for (char *w = strtok_r(copy, "|", &save); w; w = strtok_r(NULL, "|", &save))
		suggest_offer(&s, w);
	if (s.best)
		fault_means(f, "Did you mean '%s'? It is one of: %s.", s.best, o->arg);
	else
		fault_means(f, "It is one of: %s.", o->arg);
	return ERR_USAGE;
}

static enum err set_number(const struct opt *o, struct optval *v, const char *text, struct fault *f)
{
	char *end;
	char seen[80];
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || n < o->min || (o->max && n > o->max)) {
		text_safe(bytes_str(text), seen, sizeof(seen));
		fault_set(f, ERR_USAGE, EXIT_USAGE, "--%s cannot be '%s'", o->name, seen);
		if (o->max)
			fault_means(f, "It is a whole number from %llu to %llu.",
				    (unsigned long long)o->min, (unsigned long long)o->max);
		else
			fault_means(f, "It is a whole number of at least %llu.",
				    (unsigned long long)o->min);
		return ERR_USAGE;
	}
	v->number = n;
	return ERR_OK;
}

static enum err set_duration(const struct opt *o, struct optval *v, const char *text,
			     struct fault *f)
{
	enum err e = duration_parse(bytes_str(text), &v->number);
	char seen[80];

	if (e == ERR_OK && v->number >= o->min && (!o->max || v->number <= o->max))
		return ERR_OK;
	text_safe(bytes_str(text), seen, sizeof(seen));
	fault_set(f, ERR_USAGE, EXIT_USAGE, "--%s cannot be '%s'", o->name, seen);
	if (e == ERR_OK && v->number < o->min)
		fault_means(f, "It is at least %llu ms.", (unsigned long long)o->min);
	else if (e == ERR_OK)
		fault_means(f, "It is at most %llu minutes.", (unsigned long long)(o->max / 60000));
	else
		fault_means(f, "It is a duration: a number with ms, s, m, h or d behind it, as in 500ms or 5s.");
	return ERR_USAGE;
}

static enum err set_value(const struct opt *o, struct optval *v, const char *text, struct fault *f)
{
	v->given++;
	if (!text)
		return ERR_OK;
	if (o->words && word_in(o->words, text)) {
		v->word = text;
		return ERR_OK;
	}
	v->text = text;
	switch (o->type) {
	case OPT_NUMBER:
		return set_number(o, v, text, f);
	case OPT_DURATION:
	case OPT_DURATION_MAYBE:
		return set_duration(o, v, text, f);
	case OPT_WORD:
		return word_in(o->arg, text) ? ERR_OK : bad_word(o, text, f);
	case OPT_FLAG:
	case OPT_TEXT:
		break;
	}
	return ERR_OK;
}

static enum err unknown(const struct options *o, const char *token, struct fault *f)
{
	char seen[80], bare[80];
	const char *name = token[1] == '-' ? token + 2 : token + 1;
	struct suggest s;

	snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(name, "="), name);
	s = suggest_for(bare);
	for (unsigned i = 0; i < o->count; i++)
		suggest_offer(&s, o->spec[i]->name);
	text_safe(bytes_of(token, strcspn(token, "=")), seen, sizeof(seen));
	fault_set(f, ERR_USAGE, EXIT_USAGE, "there is no option '%s' here", seen);
	if (s.best)
		fault_means(f, "Did you mean --%s?", s.best);
	else
		fault_means(f, "Text that begins with '-' goes behind '--'.");
	return ERR_USAGE;
}

static void gather(const struct opt *const *tables, struct options *o, struct option *longs,
		   char *shorts)
{
	/* ':' first: a missing value is told from an unknown option. */
	*shorts++ = ':';
	for (; *tables; tables++) {
		for (const struct opt *s = *tables; s->name; s++) {
			BUG_ON(o->count >= OPTIONS_MAX);
			*longs++ = (struct option){
				.name = s->name,
				.has_arg = s->type == OPT_FLAG           ? no_argument :
					   s->type == OPT_DURATION_MAYBE ? optional_argument :
									   required_argument,
				.val = LONG_BASE + (int)o->count,
			};
			if (s->letter) {
				*shorts++ = s->letter;
				if (s->type != OPT_FLAG)
					*shorts++ = ':';
			}
			o->spec[o->count++] = s;
		}
	}
	*longs = (struct option){ 0 };
	*shorts = '\0';
}

/* The word that getopt_long has just taken as a long option, or NULL for a letter. */
static const char *long_token(char **argv)
{
	const char *t = argv[optind - 1];

	if (optarg && optarg == t)
		t = argv[optind - 2];
	return strncmp(t, "--", 2) == 0 ? t : NULL;
}

static enum err take(struct options *o, unsigned i, int argc, char **argv, struct fault *f)
{
	const struct opt *s = o->spec[i];
	const char *token = long_token(argv);
	const char *text = optarg;
	uint64_t ms;

	if (token && (strncmp(token + 2, s->name, strlen(s->name)) != 0 ||
		      strcspn(token + 2, "=") != strlen(s->name)))
		return unknown(o, token, f);
	if (s->type == OPT_DURATION_MAYBE && !text && optind < argc &&
	    (duration_parse(bytes_str(argv[optind]), &ms) == ERR_OK ||
	     (s->words && word_in(s->words, argv[optind]))))
		text = argv[optind++];
	return set_value(s, &o->val[i], text, f);
}

static unsigned index_of(const struct options *o, int v)
{
	if (v >= LONG_BASE)
		return (unsigned)(v - LONG_BASE);
	for (unsigned i = 0; i < o->count; i++)
		if (o->spec[i]->letter == v)
			return i;
	bug(__FILE__, __LINE__, "getopt_long returned a letter it was not given");
}

enum err options_parse(const struct opt *const *tables, int argc, char **argv, struct options *out,
		       struct fault *f)
{
	struct option longs[OPTIONS_MAX + 1];
	char shorts[2 * OPTIONS_MAX + 2];
	struct options o = { 0 };
	char letter[4] = "-?";
	const char *token;
	enum err e;
	int v;

	gather(tables, &o, longs, shorts);
	opterr = 0;
	optind = 0; /* glibc: start over, with fresh permutation state */
	while ((v = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		token = optind > 0 && optind <= argc ? argv[optind - 1] : "";
		if (v == ':')
			return fault_set(f, ERR_USAGE, EXIT_USAGE, "--%s needs a value: %s",
					 o.spec[index_of(&o, optopt)]->name,
					 o.spec[index_of(&o, optopt)]->arg);
		if (v == '?' && optopt >= LONG_BASE)
			return fault_set(f, ERR_USAGE, EXIT_USAGE, "--%s takes no value",
					 o.spec[index_of(&o, optopt)]->name);
		if (v == '?' && optopt) {
			letter[1] = (char)optopt;
			return unknown(&o, letter, f);
		}
		if (v == '?')
			return unknown(&o, token, f);
		e = take(&o, index_of(&o, v), argc, argv, f);
		if (e != ERR_OK)
			return e;
	}
	o.argc = argc - optind;
	o.argv = argv + optind;
	*out = o;
	return ERR_OK;
}
