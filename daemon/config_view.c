/* Settings as JSON. Values are text that came from files of ours; they are shown made safe. */
#include "daemon/reload.h"

#include "base/text.h"

#include <stdlib.h>

static json_t *safe_text(const char *text)
{
	size_t n = text ? strlen(text) * 3 + 4 : 0;
	char *safe = text ? malloc(n) : NULL;
	json_t *v = safe ? json_string(text_safe(bytes_str(text), safe, n)) : json_null();

	free(safe);
	return v;
}

static const char *source_word(const struct setting_value *v)
{
	return !v ? "default" : v->from.file ? "file" : "option";
}

static json_t *place(const struct setting_value *v)
{
	char where[4200];

	return v ? safe_text(setting_where(v->from, where, sizeof where)) : json_null();
}

static void add_value(json_t *list, const struct setting *s, const struct setting_value *v)
{
	/* A value of its own each time, and no key: --peer. */
	json_t *o = json_pack("{s:s?, s:s?, s:o, s:o, s:s?, s:s, s:o, s:b}", "section", s->section, "key", s->key, "name",
			      safe_text(v ? v->name : NULL), "value", safe_text(v ? v->text : s->standard), "default", s->standard,
			      "source", source_word(v), "where", place(v), "reload", (s->flags & SETTING_LIVE) != 0);

	if (!s->key)
		json_object_set_new(o, "option", json_string(s->option));
	json_array_append_new(list, o);
}

json_t *config_values(const struct settings *st, bool all)
{
	json_t *list = json_array();
	const struct setting *s;

	for (size_t i = 0; (s = setting_at(i)); i++) {
		size_t found = 0;

		for (size_t k = 0; k < st->n; k++)
			if (st->v[k].s == s) {
				add_value(list, s, &st->v[k]);
				found++;
			}
		if (!found && all && s->key && !(s->flags & SETTING_NAMED))
			add_value(list, s, NULL);
	}
	return list;
}

json_t *config_change(const struct setting_change *c)
{
	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:s, s:o, s:b}", "section", c->s->section, "key", c->s->key, "name",
			 safe_text(c->name), "was", safe_text(c->was), "now", safe_text(c->now), "source", source_word(c->value),
			 "where", place(c->value), "reload", (c->s->flags & SETTING_LIVE) != 0);
}

static void add_change(void *ctx, const struct setting_change *c)
{
	json_array_append_new(ctx, config_change(c));
}

json_t *config_changes(const struct settings *was, const struct settings *now)
{
	json_t *list = json_array();

	settings_diff(was, now, add_change, list);
	return list;
}

json_t *config_files(const struct settings *st)
{
	json_t *list = json_array();

	for (size_t i = 0; i < st->files_n; i++)
		json_array_append_new(list, safe_text(st->files[i]));
	return list;
}

json_t *config_problems(const struct settings *st)
{
	json_t *list = json_array();

	for (size_t i = 0; i < st->problems_n; i++) {
		const struct setting_problem *p = &st->problems[i];

		json_array_append_new(list, json_pack("{s:o, s:i, s:b, s:o, s:o}", "file", safe_text(p->file), "line", (int)p->line,
						      "warning", p->warning, "what", safe_text(p->what), "means",
						      p->means[0] ? safe_text(p->means) : json_null()));
	}
	return list;
}

json_t *config_keys(void)
{
	json_t *list = json_array(), *sections = json_object();
	const struct setting *s;
	char range[120];

	for (size_t i = 0; (s = setting_at(i)); i++)
		if (s->section)
			json_object_set_new(sections, s->section, json_string(setting_section_text(s->section)));
	for (size_t i = 0; (s = setting_at(i)); i++)
		if (s->key)
			json_array_append_new(list, json_pack("{s:s, s:s, s:s?, s:s, s:s, s:s?, s:b, s:b, s:b, s:s}", "section", s->section,
							      "key", s->key, "option", s->option, "kind",
							      setting_kind_word(s->kind), "range",
							      setting_range(s, range, sizeof range), "default", s->standard, "reload",
							      (s->flags & SETTING_LIVE) != 0, "list",
							      (s->flags & SETTING_LIST) != 0, "named",
							      (s->flags & SETTING_NAMED) != 0, "text", s->text));
	return json_pack("{s:s, s:o, s:o}", "schema", "ironmesh.config.keys/1", "sections", sections, "keys", list);
}

json_t *reload_status(const struct reload *r)
{
	if (!r)
		return json_null();
	return json_pack("{s:o, s:I, s:I, s:I, s:o, s:o}", "files", config_files(&r->c->settings), "reloads", (json_int_t)r->count,
			 "refused", (json_int_t)r->refused, "last_ms", (json_int_t)r->at_ms, "error",
			 r->fault.err == ERR_OK ? json_null() : safe_text(r->fault.what), "needs_restart",
			 r->restart ? json_incref(r->restart) : json_array());
}
