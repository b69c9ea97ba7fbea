#include "daemon/inifile.h"

#include <ini.h>
#include <stdio.h>

#include "base/text.h"

#define SECTION_MAX 49 /* what libinih keeps */
#define KEY_MAX 49

struct reader {
	struct bytes text;
	size_t at;
	unsigned line;
	bool lost; /* between a section that could not be read and the next one */
	const struct inifile_sink *sink;
};

static void problem(struct reader *r, const char *what, const char *means)
{
	r->sink->problem(r->sink->ctx, r->line, what, means);
}

/* `[section]` or `[section "name"]`; `word` is what stands in the brackets, and is cut apart. */
static bool split(char *word, char **name)
{
	size_t n = strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_"), len;
	char *rest = word + n;

	*name = NULL;
	if (n == 0)
		return false;
	if (*rest == '\0')
		return true;
	if (*rest != ' ')
		return false;
	*rest++ = '\0';
	rest += strspn(rest, " ");
	len = strlen(rest);
	if (len < 3 || rest[0] != '"' || rest[len - 1] != '"')
		return false;
	rest[len - 1] = '\0';
	*name = rest + 1;
	return name_valid(bytes_str(*name));
}

static bool is_text(struct bytes line)
{
	for (size_t i = 0; i < line.n; i++)
		if ((line.p[i] < 0x20 && line.p[i] != '\t') || line.p[i] == 0x7f)
			return false;
	return utf8_valid(line);
}

/* A blank and '#' or ';'. */
static size_t comment_at(const char *s)
{
	size_t i = 0;

	while (s[i] && !((s[i] == '#' || s[i] == ';') && i && (s[i - 1] == ' ' || s[i - 1] == '\t')))
		i++;
	while (i && (s[i - 1] == ' ' || s[i - 1] == '\t'))
		i--;
	return i;
}

static bool good_section(struct reader *r, const char *s)
{
	char word[INIFILE_LINE_MAX + 1], *name;
	size_t n = strlen(s);

	if (n < 2 || s[n - 1] != ']') {
		problem(r, "a section stands alone in its line: [lan]", NULL);
		return false;
	}
	memcpy(word, s + 1, n - 2);
	word[n - 2] = '\0';
	if (n - 2 > SECTION_MAX) {
		problem(r, "the name of the section is too long", "At most 49 bytes stand between the brackets.");
		return false;
	}
	if (!split(word, &name)) {
		problem(r, "that is no section", "A section is [lan] or [peer \"name\"]; a name has letters, digits, '.', '_' and '-'.");
		return false;
	}
	r->sink->section(r->sink->ctx, r->line, word, name);
	return true;
}

static bool good_pair(struct reader *r, const char *s)
{
	const char *equals = strchr(s, '=');
	size_t n = equals ? strcspn(s, " \t=") : 0;

	if (!equals || n == 0 || strspn(s + n, " \t") != (size_t)(equals - s) - n) {
		problem(r, "that is neither [SECTION] nor KEY = VALUE", NULL);
		return false;
	}
	if (n > KEY_MAX || memchr(s, ':', n)) {
		problem(r, "that is no key", NULL);
		return false;
	}
	return true;
}

/* Exactly one line of the file for each call, so that libinih counts as we do; one that is not to be read is empty. */
static char *next_line(char *out, int cap, void *stream)
{
	struct reader *r = stream;
	const uint8_t *p, *end;
	struct bytes line;
	size_t n;

	BUG_ON(cap < INIFILE_LINE_MAX + 2);
	if (r->at >= r->text.n)
		return NULL;
	p = r->text.p + r->at;
	end = memchr(p, '\n', r->text.n - r->at);
	line = bytes_of(p, end ? (size_t)(end - p) : r->text.n - r->at);
	r->at += line.n + (end != NULL);
	r->line++;
	if (r->line == 1 && line.n >= 3 && memcmp(line.p, "\xef\xbb\xbf", 3) == 0)
		line = bytes_of(line.p + 3, line.n - 3);
	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	/* An indented line is one like others, not the continuation of the one before. */
	while (line.n && (line.p[0] == ' ' || line.p[0] == '\t'))
		line = bytes_of(line.p + 1, line.n - 1);
	strcpy(out, "\n");
	if (line.n == 0 || line.p[0] == '#' || line.p[0] == ';')
		return out;
	if (line.n > INIFILE_LINE_MAX || !is_text(line)) {
		problem(r, line.n > INIFILE_LINE_MAX ? "the line is longer than 190 bytes" : "the line is not text",
			line.n > INIFILE_LINE_MAX ? "A long list is given in several lines with the same key, or as @FILE." : NULL);
		r->lost |= line.p[0] == '[';
		return out;
	}
	memcpy(out, line.p, line.n);
	out[line.n] = '\0';
	n = comment_at(out);
	out[n] = '\0';
	if (out[0] == '[')
		r->lost = !good_section(r, out);
	if (out[0] == '[' ? r->lost : !good_pair(r, out))
		n = 0;
	strcpy(out + n, "\n");
	return out;
}

static int on_pair(void *user, const char *section, const char *key, const char *value)
{
	struct reader *r = user;
	char word[SECTION_MAX + 1], *name;

	if (r->lost)
		return 1;
	snprintf(word, sizeof word, "%s", section);
	if (!split(word, &name))
		problem(r, "no section stands above this line", "It belongs below a line such as [lan].");
	else
		r->sink->pair(r->sink->ctx, r->line, word, name, key, value);
	return 1;
}

void inifile_read(struct bytes text, const struct inifile_sink *sink)
{
	struct reader r = { .text = text, .sink = sink };
	int line = ini_parse_stream(next_line, &r, on_pair, &r);

	/* It saw only lines that are good: what it refuses all the same must not be passed over. */
	if (line != 0) {
		r.line = line > 0 ? (unsigned)line : r.line;
		problem(&r, "the line cannot be read", NULL);
	}
}
