/* ironmesh.conf and conf.d: where they are, who may write them, and what stands in them. */
#include "daemon/settings.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/home.h"
#include "base/text.h"
#include "daemon/inifile.h"

enum err config_folder(const char *home, char *out, size_t cap)
{
	const char *given = secure_getenv("CONFIGURATION_DIRECTORY");
	size_t n = strlen(home);
	int len;

	while (n > 1 && home[n - 1] == '/')
		n--;
	if (given && *given) /* a list with ':' when the unit names several; the first is ours */
		len = snprintf(out, cap, "%.*s", (int)strcspn(given, ":"), given);
	else if (n == strlen(HOME_SYSTEM) && memcmp(home, HOME_SYSTEM, n) == 0)
		len = snprintf(out, cap, "%s", CONFIG_SYSTEM_FOLDER);
	else
		len = snprintf(out, cap, "%s", home);
	return len >= 0 && (size_t)len < cap ? ERR_OK : ERR_LIMIT;
}

/* --- problems ------------------------------------------------------------------------------------------------ */
struct reading {
	struct settings *st;
	const char *file;
	unsigned source;
};

static void complain(struct reading *r, unsigned line, bool warning, const char *what, const char *means)
{
	struct settings *st = r->st;
	struct setting_problem *p;
	void *more;

	if (st->problems_n == SETTING_PROBLEMS_MAX)
		return;
	more = reallocarray(st->problems, st->problems_n + 1, sizeof *st->problems);
	BUG_ON(!more);
	st->problems = more;
	p = &st->problems[st->problems_n++];
	*p = (struct setting_problem){ .file = r->file, .line = line, .warning = warning };
	text_safe(bytes_str(what), p->what, sizeof p->what);
	text_safe(bytes_str(means ? means : ""), p->means, sizeof p->means);
}

static void on_problem(void *ctx, unsigned line, const char *what, const char *means)
{
	complain(ctx, line, false, what, means);
}

/* --- keys ------------------------------------------------------------------------------------------------------ */
struct near {
	const struct setting *s;
	unsigned distance;
};

/* "listen-port" is looked for as listen_port: options have dashes. */
static void offer(struct near *best, const char *typed, const struct setting *s, unsigned far)
{
	char bare[64];
	unsigned d;

	snprintf(bare, sizeof bare, "%s", typed);
	for (char *c = bare; *c; c++)
		if (*c == '-')
			*c = '_';
	d = edit_distance(bare, s->key, 3) + far;
	if (s->option) {
		char option[64];
		unsigned o;

		snprintf(option, sizeof option, "%s", s->option + 2);
		for (char *c = option; *c; c++)
			if (*c == '-')
				*c = '_';
		o = edit_distance(bare, option, 3) + far;
		d = o < d ? o : d;
	}
	if (d < best->distance)
		*best = (struct near){ s, d };
}

static void unknown_key(struct reading *r, unsigned line, const char *section, const char *key)
{
	struct near best = { NULL, 4 };
	char what[200], means[120] = "";
	const struct setting *s;

	for (size_t i = 0; (s = setting_at(i)); i++)
		if (s->key)
			offer(&best, key, s, strcmp(s->section, section) != 0);
	snprintf(what, sizeof what, "[%s] has no key '%.60s'", section, key);
	if (best.s && strcmp(best.s->section, section) == 0)
		snprintf(means, sizeof means, "Did you mean '%s'?", best.s->key);
	else if (best.s)
		snprintf(means, sizeof means, "Did you mean '%s' in [%s]?", best.s->key, best.s->section);
	complain(r, line, false, what, means[0] ? means : NULL);
}

static void on_section(void *ctx, unsigned line, const char *section, const char *name)
{
	struct reading *r = ctx;
	unsigned distance = 4, d;
	char what[160], means[80] = "";
	const struct setting *s;
	bool named = false;

	if (setting_section_known(section, &named)) {
		if (named != (name != NULL)) {
			snprintf(what, sizeof what, named ? "[%s] needs a name" : "[%s] has no name", section);
			snprintf(means, sizeof means, named ? "Write [%s \"bob\"]." : "Write [%s].", section);
			complain(r, line, false, what, means);
		}
		return;
	}
	for (size_t i = 0; (s = setting_at(i)); i++) {
		d = s->section ? edit_distance(section, s->section, 3) : 4;
		if (d < distance) {
			distance = d;
			snprintf(means, sizeof means, "Did you mean [%s]?", s->section);
		}
	}
	snprintf(what, sizeof what, "there is no section [%s]", section);
	complain(r, line, false, what, means[0] ? means : NULL);
}

static void on_pair(void *ctx, unsigned line, const char *section, const char *name, const char *key, const char *value)
{
	struct reading *r = ctx;
	const struct setting *s = setting_find(section, key);
	struct setting_origin from = { .file = r->file, .line = line };
	struct fault f = { 0 };
	char what[200];
	bool named;

	if (!setting_section_known(section, &named) || named != (name != NULL))
		return; /* said at its header */
	if (!s && (s = setting_other_name(section, key))) {
		snprintf(what, sizeof what, "'%s' in [%s] is called '%s' in [%s]", key, section, s->key, s->section);
		complain(r, line, true, what, "It is taken all the same; better write the right name.");
	}
	if (!s) {
		unknown_key(r, line, section, key);
		return;
	}
	if (settings_put(r->st, s, name, value, from, r->source, &f) != ERR_OK) {
		char prefix[PATH_MAX + 16];
		size_t n;

		/* The problem says file and line by itself. */
		snprintf(prefix, sizeof prefix, ":%u: ", line);
		n = strlen(prefix);
		const char *bare = strstr(f.what, prefix);

		complain(r, line, false, bare ? bare + n : f.what, f.means);
	}
}

/* --- files ------------------------------------------------------------------------------------------------------- */
void settings_read_text(struct settings *st, const char *path, struct bytes text)
{
	struct reading r = { .st = st, .source = (unsigned)st->files_n + 1 };
	struct inifile_sink sink = { &r, on_pair, on_section, on_problem };

	BUG_ON(st->files_n == SETTING_FILES_MAX);
	r.file = st->files[st->files_n++] = strdup(path);
	BUG_ON(!r.file);
	inifile_read(text, &sink);
}

static enum err read_one(struct settings *st, const char *path, struct fault *f)
{
	struct buf b;
	enum err e;

	if (st->files_n == SETTING_FILES_MAX)
		return fault_set(f, ERR_LIMIT, EXIT_CONFIG, "more than %d files of configuration", SETTING_FILES_MAX);
	buf_init(&b, INIFILE_MAX);
	e = file_read_trusted(path, &b, f);
	if (e == ERR_OK)
		settings_read_text(st, path, buf_bytes(&b));
	else if (f)
		f->code = EXIT_CONFIG;
	buf_fini(&b);
	return e;
}

static int wanted(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return d->d_name[0] != '.' && n > 5 && strcmp(d->d_name + n - 5, ".conf") == 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static enum err read_folder(struct settings *st, const char *parent, const char *folder, struct fault *f)
{
	struct dirent **names = NULL;
	char path[PATH_MAX];
	int n = scandir(folder, &names, wanted, by_bytes);
	enum err e = ERR_OK;

	if (n < 0)
		return errno == ENOENT ? ERR_OK :
					 fault_set(f, err_from_errno(errno), EXIT_CONFIG, "cannot read the folder %s: %s", folder,
						   strerror(errno));
	if (n > 0)
		e = dir_is_trusted(parent, f);
	if (n > 0 && e == ERR_OK)
		e = dir_is_trusted(folder, f);
	for (int i = 0; i < n; i++) {
		if (e == ERR_OK && path_join(path, sizeof path, folder, names[i]->d_name) != ERR_OK)
			e = fault_set(f, ERR_LIMIT, EXIT_CONFIG, "the path of a file in %s is too long", folder);
		if (e == ERR_OK)
			e = read_one(st, path, f);
		free(names[i]);
	}
	free(names);
	if (e != ERR_OK && f)
		f->code = EXIT_CONFIG;
	return e;
}

/* The one that `file` says, or whatever the folder holds. */
static enum err read_all(struct settings *st, const char *folder, const char *file, struct fault *f)
{
	char path[PATH_MAX];
	enum err e;

	if (file)
		return read_one(st, file, f);
	if (path_join(path, sizeof path, folder, CONFIG_FILE) != ERR_OK)
		return fault_set(f, ERR_LIMIT, EXIT_CONFIG, "the path of the configuration is too long");
	if (access(path, F_OK) == 0 || errno != ENOENT) {
		e = dir_is_trusted(folder, f);
		if (e == ERR_OK)
			e = read_one(st, path, f);
		else if (f)
			f->code = EXIT_CONFIG;
		if (e != ERR_OK)
			return e;
	}
	if (path_join(path, sizeof path, folder, CONFIG_FOLDER) != ERR_OK)
		return fault_set(f, ERR_LIMIT, EXIT_CONFIG, "the path of the configuration is too long");
	return read_folder(st, folder, path, f);
}

enum err settings_read(struct settings *st, const char *folder, const char *file, struct fault *f)
{
	enum err e = read_all(st, folder, file, f);
	size_t bad = 0;
	const struct setting_problem *first = NULL;

	if (e != ERR_OK)
		return e;
	for (size_t i = 0; i < st->problems_n; i++)
		if (!st->problems[i].warning && bad++ == 0)
			first = &st->problems[i];
	if (!first)
		return ERR_OK;
	fault_set(f, ERR_USAGE, EXIT_CONFIG, "%.100s:%u: %.110s%s", first->file, first->line, first->what,
		  bad > 1 ? " (and more)" : "");
	if (first->means[0])
		fault_means(f, "%s", first->means);
	if (file)
		fault_next(f, "ironmesh config check %.200s", file);
	else
		fault_next(f, "ironmesh config check");
	return ERR_USAGE;
}
