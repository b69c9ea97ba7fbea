/* rooms: daemon web transports store protocol trust base */
/*
 * ironmesh.conf: whatever stands in it, lines are counted exactly, each is a pair, a section or a problem, what was read can be
 * written and read again, and settings that were taken can be built from and are canonical.
 */
#include <stdlib.h>

#include "base/buf.h"
#include "base/text.h"
#include "daemon/config.h"
#include "daemon/inifile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	struct bytes text;
	struct buf out; /* written back */
	unsigned last, pairs, problems;
};

static unsigned lines(struct bytes text)
{
	unsigned n = text.n && text.p[text.n - 1] != '\n';

	for (size_t i = 0; i < text.n; i++)
		n += text.p[i] == '\n';
	return n;
}

static void in_order(struct seen *s, unsigned line)
{
	BUG_ON(line < s->last || line == 0 || line > lines(s->text));
	s->last = line;
}

static void on_section(void *ctx, unsigned line, const char *section, const char *name)
{
	struct seen *s = ctx;

	in_order(s, line);
	BUG_ON(!section[0] || (name && !name_valid(bytes_str(name))));
	if (name)
		buf_printf(&s->out, "[%s \"%s\"]\n", section, name);
	else
		buf_printf(&s->out, "[%s]\n", section);
}

static void on_pair(void *ctx, unsigned line, const char *section, const char *name, const char *key, const char *value)
{
	struct seen *s = ctx;

	in_order(s, line);
	BUG_ON(!key[0] || !utf8_valid(bytes_str(value)));
	for (const char *v = value; *v; v++)
		BUG_ON((unsigned char)*v < 0x20 && *v != '\t');
	/* Without blanks: no longer than it was, and no comment begins. */
	buf_printf(&s->out, "%s=%s\n", key, value);
	s->pairs++;
}

static void on_problem(void *ctx, unsigned line, const char *what, const char *means)
{
	struct seen *s = ctx;

	in_order(s, line);
	BUG_ON(!what[0]);
	s->problems++;
}

static void read_it(struct seen *s)
{
	const struct inifile_sink sink = { s, on_pair, on_section, on_problem };

	buf_init(&s->out, 4 * INIFILE_MAX);
	inifile_read(s->text, &sink);
}

/* A value taken once is taken again as it stands, and stays the same. */
static void canonical(const struct settings *st)
{
	struct settings again;
	struct fault f = { 0 };

	settings_init(&again);
	for (size_t i = 0; i < st->n; i++) {
		const struct setting_value *v = &st->v[i];

		/* A long list may end in a path of a file that is gone. */
		if (v->s->kind == SETTING_PEERS || v->s->kind == SETTING_KEYS)
			continue;
		BUG_ON(settings_put(&again, v->s, v->name, v->text, (struct setting_origin){ 0 }, 1, &f) != ERR_OK);
		BUG_ON(strcmp(settings_get(&again, v->s, v->name)->text, v->text) != 0);
	}
	settings_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen first = { .text = bytes_of(data, size) }, second;
	struct run_config c;
	struct settings st;
	struct fault f = { 0 };

	if (size > INIFILE_MAX)
		return 0;
	read_it(&first);
	BUG_ON(first.out.err != ERR_OK);
	second = (struct seen){ .text = buf_bytes(&first.out) };
	if (first.problems == 0) {
		read_it(&second);
		BUG_ON(second.problems || second.pairs != first.pairs || !bytes_eq(buf_bytes(&second.out), second.text));
		buf_fini(&second.out);
	}
	buf_fini(&first.out);
	settings_init(&st);
	settings_read_text(&st, "/nowhere/fuzz.conf", first.text);
	canonical(&st);
	run_config_init(&c);
	if (run_config_build(&c, &st, &f) != ERR_OK)
		BUG_ON(!f.what[0]);
	run_config_fini(&c);
	settings_fini(&st);
	return 0;
}
