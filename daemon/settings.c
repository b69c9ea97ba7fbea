/* Values of settings, kept with their origin; lists; what differs. */
#include "daemon/settings_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/text.h"
#include "daemon/config.h"

#define LIST_FILE_MAX 262144
#define LIST_TEXT_MAX (512u << 10)

void settings_init(struct settings *st)
{
	memset(st, 0, sizeof *st);
}

void settings_fini(struct settings *st)
{
	for (size_t i = 0; i < st->n; i++) {
		free(st->v[i].text);
		free(st->v[i].name);
		free((char *)st->v[i].from.file);
	}
	for (size_t i = 0; i < st->files_n; i++)
		free(st->files[i]);
	for (size_t i = 0; i < st->lists_n; i++)
		free(st->lists[i]);
	free(st->lists);
	free(st->v);
	free(st->problems);
	settings_init(st);
}

const struct setting_value *settings_get(const struct settings *st, const struct setting *s, const char *name)
{
	for (size_t i = 0; i < st->n; i++)
		if (st->v[i].s == s && (!name || strcmp(st->v[i].name, name) == 0))
			return &st->v[i];
	return NULL;
}

const char *setting_where(struct setting_origin from, char *out, size_t cap)
{
	if (from.file)
		snprintf(out, cap, "%s:%u", from.file, from.line);
	else
		snprintf(out, cap, "%s", from.option ? from.option : "default");
	return out;
}

const char *setting_label(const struct setting *s, struct setting_origin from, char *out, size_t cap)
{
	if (from.option)
		snprintf(out, cap, "%s", from.option);
	else if (from.file || !s->option)
		snprintf(out, cap, "%s", s->key);
	else
		snprintf(out, cap, "%s", s->option);
	return out;
}

/* --- lists ---------------------------------------------------------------------------------------------------- */
static const char gaps[] = ", \t\r\n";

/* Entries between commas or white space, as "a, b, c" behind what is in `list`. */
static void list_add(struct buf *list, const char *text)
{
	for (const char *s = text + strspn(text, gaps); *s; s += strspn(s, gaps)) {
		size_t n = strcspn(s, gaps);

		if (list->n)
			buf_add_str(list, ", ");
		buf_add(list, bytes_of(s, n));
		s += n;
	}
}

/* What is refused at the start is refused here: an entry that is none, a key twice, too many. */
static enum err list_check(const struct raw *r, const char *list)
{
	struct policy policy;
	struct admins admins = { .n = 0 };
	enum err e = ERR_OK;

	if (r->s->kind == SETTING_KEYS)
		e = admins_add(&admins, list, r->f);
	if (r->s->kind == SETTING_PEERS) {
		policy_init(&policy);
		e = policy_allow(&policy, list, r->f);
		policy_fini(&policy);
	}
	if (e != ERR_OK && r->f && !r->f->next[0])
		fault_next(r->f, "ironmesh run --help");
	return e;
}

static void remember_list(struct settings *st, const char *path)
{
	void *more = reallocarray(st->lists, st->lists_n + 1, sizeof *st->lists);

	BUG_ON(!more);
	st->lists = more;
	st->lists[st->lists_n] = strdup(path);
	BUG_ON(!st->lists[st->lists_n++]);
}

/* A list as typed, or in @FILE: one or more entries a line, '#' begins a comment. No entry but a public key holds a '/', so
 * that the path of a file of names needs no '@'. */
static enum err take_list(struct settings *st, const struct raw *r, const char *v, struct buf *out)
{
	bool is_path = v[0] == '@' || (r->s->kind == SETTING_PEERS && strchr(v, '/'));
	size_t before = out->n;
	char path[PATH_MAX];
	struct buf b;
	enum err e = ERR_OK;

	buf_init(&b, LIST_FILE_MAX);
	if (is_path && setting_path_in(r->from.file, v + (v[0] == '@'), path, sizeof path) != ERR_OK)
		e = setting_refuse(r, NULL, "%s: the path is too long", r->label);
	else if (is_path)
		e = file_read_trusted(path, &b, r->f);
	if (e == ERR_OK && is_path)
		remember_list(st, path);
	if (e == ERR_OK && is_path && memchr(b.p ? b.p : (const uint8_t *)"", 0, b.n))
		e = setting_refuse(r, NULL, "%s is not a text file", path);
	if (e == ERR_OK && is_path) {
		char *text = (char *)(uintptr_t)buf_cstr(&b);

		for (char *s = text; (s = strchr(s, '#'));)
			while (*s && *s != '\n')
				*s++ = ' ';
		list_add(out, text);
	} else if (e == ERR_OK) {
		list_add(out, v);
	}
	buf_fini(&b);
	if (e == ERR_OK && out->err != ERR_OK)
		e = setting_refuse(r, NULL, "%s: the list is too long", r->label);
	/* No entry would mean no list, and that everybody may come. */
	if (e == ERR_OK && out->n == before && r->s->kind == SETTING_PEERS)
		e = setting_refuse(r, "Who wants to talk to nobody runs no daemon.", "%s: %s names nobody", r->label, *v ? v : "''");
	if (e == ERR_OK)
		e = list_check(r, buf_cstr(out));
	if (e != ERR_OK && r->f)
		r->f->code = EXIT_USAGE;
	return e;
}

/* --- keeping them ------------------------------------------------------------------------------------------------ */
static bool is_list(const struct setting *s)
{
	return s->kind == SETTING_PEERS || s->kind == SETTING_KEYS || s->kind == SETTING_WORDS;
}

static struct setting_value *slot(struct settings *st, const struct setting *s, const char *name)
{
	struct setting_value *v = (struct setting_value *)settings_get(st, s, name);

	if (v && !(s->flags & SETTING_EACH))
		return v;
	if (st->n == st->cap) {
		size_t cap = st->cap ? st->cap * 2 : 32;
		void *more = reallocarray(st->v, cap, sizeof *st->v);

		BUG_ON(!more);
		st->v = more;
		st->cap = cap;
	}
	v = &st->v[st->n++];
	*v = (struct setting_value){ .s = s };
	if (name) {
		v->name = strdup(name);
		BUG_ON(!v->name);
	}
	return v;
}

static void settle(struct setting_value *v, char *text, struct setting_origin from, unsigned source)
{
	char *file = from.file ? strdup(from.file) : NULL;

	BUG_ON(from.file && !file);
	free(v->text);
	free((char *)v->from.file);
	v->text = text;
	v->from = from;
	v->from.file = file;
	v->source = source;
}

/* Where it stands first: "FILE:12: ". */
static void say_where(struct fault *f, struct setting_origin from)
{
	char what[sizeof f->what], means[sizeof f->means], next[sizeof f->next], safe[120];

	if (!f || !from.file)
		return;
	snprintf(what, sizeof what, "%s", f->what);
	snprintf(means, sizeof means, "%s", f->means);
	snprintf(next, sizeof next, "%s", f->next);
	fault_set(f, f->err, EXIT_CONFIG, "%s:%u: %.110s", text_safe(bytes_str(from.file), safe, sizeof safe), from.line, what);
	fault_means(f, "%s", means);
	/* What is wrong with the file of a list has a remedy of its own. */
	fault_next(f, "%s", next[0] && strcmp(next, "ironmesh run --help") != 0 ? next : "ironmesh config check");
}

enum err settings_put(struct settings *st, const struct setting *s, const char *name, const char *raw,
		      struct setting_origin from, unsigned source, struct fault *f)
{
	struct raw r = { .s = s, .from = from, .f = f };
	const struct setting_value *old = s->flags & SETTING_EACH ? NULL : settings_get(st, s, name);
	struct setting_value *v;
	char one[PATH_MAX];
	struct buf list;
	char *text;
	enum err e;

	setting_label(s, from, r.label, sizeof r.label);
	buf_init(&list, LIST_TEXT_MAX);
	if (old && old->source == source && from.file && !(s->flags & SETTING_LIST)) {
		e = setting_refuse(&r, NULL, "%s is given twice, first in line %u", r.label, old->from.line);
	} else if (is_list(s)) {
		if (old && old->source == source)
			buf_add_str(&list, old->text);
		e = take_list(st, &r, raw, &list);
	} else {
		e = setting_take(&r, raw, one, sizeof one);
	}
	if (e == ERR_OK) {
		text = strdup(is_list(s) ? buf_cstr(&list) : one);
		BUG_ON(!text);
		v = slot(st, s, name);
		settle(v, text, from, source);
	} else {
		say_where(f, from);
	}
	buf_fini(&list);
	return e;
}

void settings_copy(struct settings *st, const struct setting_value *v)
{
	char *text = strdup(v->text);

	BUG_ON(!text);
	settle(slot(st, v->s, v->name), text, v->from, v->source);
}

/* --- what differs -------------------------------------------------------------------------------------------------- */
const char *setting_path(const struct setting *s, const char *name, char *out, size_t cap)
{
	if (name)
		snprintf(out, cap, "%s \"%s\".%s", s->section, name, s->key);
	else
		snprintf(out, cap, "%s.%s", s->section, s->key);
	return out;
}

static void compare(const struct settings *was, const struct settings *now, const struct setting *s, const char *name,
		    void (*each)(void *ctx, const struct setting_change *c), void *ctx)
{
	const struct setting_value *before = settings_get(was, s, name), *after = settings_get(now, s, name);
	struct setting_change c = { .s = s, .name = name, .was = before ? before->text : s->standard,
				    .now = after ? after->text : s->standard, .value = after };

	if (c.was == c.now || (c.was && c.now && strcmp(c.was, c.now) == 0))
		return;
	each(ctx, &c);
}

void settings_diff(const struct settings *was, const struct settings *now, void (*each)(void *ctx, const struct setting_change *c),
		   void *ctx)
{
	const struct setting *s;

	for (size_t i = 0; (s = setting_at(i)); i++) {
		if (!s->key)
			continue;
		if (!(s->flags & SETTING_NAMED)) {
			compare(was, now, s, NULL, each, ctx);
			continue;
		}
		for (size_t k = 0; k < was->n; k++)
			if (was->v[k].s == s)
				compare(was, now, s, was->v[k].name, each, ctx);
		for (size_t k = 0; k < now->n; k++)
			if (now->v[k].s == s && !settings_get(was, s, now->v[k].name))
				compare(was, now, s, now->v[k].name, each, ctx);
	}
}
