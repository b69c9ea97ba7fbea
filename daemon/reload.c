#include "daemon/reload.h"

#include <stdlib.h>

#include "base/log.h"

void reload_fini(struct reload *r)
{
	json_decref(r->restart);
	r->restart = NULL;
}

/* Of the settings that need a restart the old values, of the others the new ones. */
static void mix(const struct settings *old, const struct settings *fresh, struct settings *out)
{
	settings_init(out);
	for (size_t i = 0; i < fresh->n; i++)
		if (fresh->v[i].s->flags & SETTING_LIVE)
			settings_copy(out, &fresh->v[i]);
	for (size_t i = 0; i < old->n; i++)
		if (!(old->v[i].s->flags & SETTING_LIVE))
			settings_copy(out, &old->v[i]);
}

static bool is_text(const struct setting *s)
{
	switch (s->kind) {
	case SETTING_BOOL:
	case SETTING_INT:
	case SETTING_RATE:
	case SETTING_DURATION:
	case SETTING_WORD:
	case SETTING_VERSION:
		return false;
	default:
		return true;
	}
}

/* What cannot change is what it was, to the byte: others hold pointers to its texts, and the start may have settled it
 * (without a passphrase im2 is required). */
static void keep(struct run_config *c, struct run_config *next)
{
	const struct setting *s;

	for (size_t i = 0; (s = setting_at(i)); i++) {
		struct setting_value *was, *now;

		if (s->flags & SETTING_LIVE || !s->size)
			continue;
		memcpy((char *)next + s->at, (char *)c + s->at, s->size);
		was = (struct setting_value *)settings_get(&c->settings, s, NULL);
		now = (struct setting_value *)settings_get(&next->settings, s, NULL);
		if (is_text(s) && was && now) {
			char *text = was->text;

			was->text = now->text;
			now->text = text;
		}
	}
}

struct told {
	json_t *changed, *restart;
};

static void tell(void *ctx, const struct setting_change *ch)
{
	struct told *t = ctx;
	char path[200];

	setting_path(ch->s, ch->name, path, sizeof path);
	json_array_append_new(t->changed, config_change(ch));
	if (!(ch->s->flags & SETTING_LIVE)) {
		json_array_append_new(t->restart, json_string(path));
		log_warn("config-needs-restart key=%s runs=\"%s\" file=\"%s\"", path, ch->was ? ch->was : "", ch->now ? ch->now : "");
		return;
	}
	log_info("config-changed key=%s was=\"%.200s\" now=\"%.200s\"", path, ch->was ? ch->was : "", ch->now ? ch->now : "");
}

static enum err refused(struct reload *r, enum err e, struct fault *f)
{
	if (f->err == ERR_OK)
		fault_set(f, e, EXIT_CONFIG, "the configuration cannot be read again: %s", err_word(e));
	r->refused++;
	r->fault = *f;
	log_error("config-not-reloaded what=\"%s\" means=\"%s\"", f->what, f->means);
	return e;
}

enum err reload_run(struct reload *r, uint64_t wall_ms, json_t **out, struct fault *f)
{
	struct run_config fresh, next, old;
	struct settings mixed;
	struct told t;
	struct fault mine = { 0 };
	enum err e;

	run_config_init(&fresh);
	run_config_init(&next);
	r->at_ms = wall_ms;
	fresh.json = next.json = r->c->json;
	e = run_config_load(&fresh, r->from, &mine);
	if (e == ERR_OK) {
		mix(&r->c->settings, &fresh.settings, &mixed);
		e = run_config_build(&next, &mixed, &mine);
		/* Each of both is right; together they are not. */
		if (e != ERR_OK)
			fault_means(&mine, "What changed fits only with what needs a restart; nothing was changed.");
		if (e != ERR_OK)
			fault_next(&mine, "restart the daemon");
	}
	if (e != ERR_OK) {
		run_config_fini(&fresh);
		run_config_fini(&next);
		e = refused(r, e, &mine);
		if (f)
			*f = mine;
		return e;
	}
	t = (struct told){ json_array(), json_array() };
	settings_diff(&r->c->settings, &fresh.settings, tell, &t);
	for (size_t i = 0; i < fresh.settings.problems_n; i++)
		log_warn("config-warning file=%s line=%u what=\"%s\"", fresh.settings.problems[i].file,
			 fresh.settings.problems[i].line, fresh.settings.problems[i].what);
	keep(r->c, &next);
	/* The list of files is that of now. */
	for (size_t i = 0; i < fresh.settings.files_n; i++)
		next.settings.files[i] = fresh.settings.files[i];
	next.settings.files_n = fresh.settings.files_n;
	fresh.settings.files_n = 0;
	old = *r->c;
	*r->c = next;
	r->count++;
	r->fault = (struct fault){ 0 };
	json_decref(r->restart);
	r->restart = t.restart;
	r->apply(r->ctx, &old);
	run_config_fini(&old);
	run_config_fini(&fresh);
	*out = json_pack("{s:s, s:o, s:o, s:O}", "schema", "ironmesh.config.reload/1", "files", config_files(&r->c->settings),
			 "changes", t.changed, "needs_restart", t.restart);
	return *out ? ERR_OK : ERR_NOMEM;
}
