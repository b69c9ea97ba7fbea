/* config.*: the settings as files say them, as the daemon runs with them, and what differs. */
#include "daemon/commands_internal.h"

#include <limits.h>

#include "daemon/reload.h"

/* What the files of this home folder (or `file`) say, without a command line. Problems stay in `st`; *broken is the first that
 * is no warning. ERR: a file cannot be read at all. */
static enum err read_files(struct call *c, struct settings *st, char folder[static PATH_MAX], struct fault *broken)
{
	enum err e = config_folder(c->cx->home, folder, PATH_MAX);

	settings_init(st);
	*broken = (struct fault){ 0 };
	if (arg_text(c, "text")) { /* of a file that is not written yet */
		settings_read_text(st, "ironmesh.conf", arg_bytes(c, "text"));
		for (size_t i = 0; i < st->problems_n; i++)
			if (!st->problems[i].warning)
				fault_set(broken, ERR_USAGE, EXIT_CONFIG, "%.200s", st->problems[i].what);
		return ERR_OK;
	}
	if (e != ERR_OK)
		return fault_set(c->f, e, EXIT_CONFIG, "the path of the configuration is too long");
	e = settings_read(st, folder, arg_text(c, "file"), broken);
	if (e == ERR_OK || st->problems_n)
		return ERR_OK;
	*c->f = *broken;
	settings_fini(st);
	return e;
}

enum err command_config_path(struct call *c)
{
	struct settings st;
	struct fault broken;
	char folder[PATH_MAX];
	enum err e = read_files(c, &st, folder, &broken);
	json_t *v;

	if (e != ERR_OK)
		return e;
	v = json_pack("{s:s, s:o, s:o}", "schema", "ironmesh.config.path/1", "folder", text_or_null(folder), "files",
		      config_files(&st));
	settings_fini(&st);
	return result_is(c, v);
}

/* Whether a daemon would start with them; every mistake that can be found is told. */
enum err command_config_check(struct call *c)
{
	struct run_config rc;
	struct settings st;
	struct fault broken, clash = { 0 };
	char folder[PATH_MAX];
	enum err e = read_files(c, &st, folder, &broken);
	json_t *files, *problems;
	bool good;

	if (e != ERR_OK)
		return e;
	files = config_files(&st);
	problems = config_problems(&st);
	good = broken.err == ERR_OK;
	if (good) {
		run_config_init(&rc);
		good = run_config_build(&rc, &st, &clash) == ERR_OK;
		if (!good)
			json_array_append_new(problems, json_pack("{s:n, s:i, s:b, s:o, s:o}", "file", "line", 0, "warning", false,
								  "what", text_or_null(clash.what), "means",
								  text_or_null(clash.means)));
		run_config_fini(&rc);
	}
	settings_fini(&st);
	return result_is(c, json_pack("{s:s, s:b, s:o, s:o}", "schema", "ironmesh.config.check/1", "good", good, "files", files,
				      "problems", problems));
}

/* The daemon reads no file that somebody names over a socket. */
static enum err only_here(struct call *c)
{
	return fault_set(c->f, ERR_USAGE, EXIT_USAGE, "the daemon reads no other file than its own");
}

/* `source`: who says so. */
static json_t *shown(const struct call *c, const char *source, const struct settings *st)
{
	return json_pack("{s:s, s:s, s:o, s:o}", "schema", "ironmesh.config/1", "source", source, "files", config_files(st), "values",
			 config_values(st, arg_bool(c, "effective", false)));
}

enum err command_config_show(struct call *c)
{
	struct settings st;
	struct fault broken;
	char folder[PATH_MAX];
	enum err e;
	json_t *v;

	if (c->cx->reload && arg_text(c, "file"))
		return only_here(c);
	if (c->cx->reload)
		return result_is(c, shown(c, "daemon", &c->cx->reload->c->settings));
	e = read_files(c, &st, folder, &broken);
	if (e == ERR_OK && broken.err != ERR_OK) {
		*c->f = broken;
		e = broken.err;
		settings_fini(&st);
	}
	if (e != ERR_OK)
		return e;
	v = shown(c, "files", &st);
	settings_fini(&st);
	return result_is(c, v);
}

/* The daemon: what a reload would find; or what is not the default. Without one: the files beside the defaults. */
enum err command_config_diff(struct call *c)
{
	const struct reload *r = c->cx->reload;
	struct settings none, st;
	struct fault broken;
	struct run_config rc;
	char folder[PATH_MAX];
	enum err e;
	json_t *v;

	settings_init(&none);
	if (r && arg_text(c, "file"))
		return only_here(c);
	if (r && arg_bool(c, "defaults", false))
		return result_is(c, json_pack("{s:s, s:s, s:s, s:o}", "schema", "ironmesh.config.diff/1", "was", "default", "now",
					      "daemon", "changes", config_changes(&none, &r->c->settings)));
	if (r) {
		run_config_init(&rc);
		rc.json = r->c->json;
		e = run_config_load(&rc, r->from, c->f);
		v = e == ERR_OK ? json_pack("{s:s, s:s, s:s, s:o}", "schema", "ironmesh.config.diff/1", "was", "daemon", "now", "files",
					    "changes", config_changes(&r->c->settings, &rc.settings)) :
				  NULL;
		run_config_fini(&rc);
		return e == ERR_OK ? result_is(c, v) : e;
	}
	e = read_files(c, &st, folder, &broken);
	if (e == ERR_OK && broken.err != ERR_OK) {
		*c->f = broken;
		e = broken.err;
		settings_fini(&st);
	}
	if (e != ERR_OK)
		return e;
	v = json_pack("{s:s, s:s, s:s, s:o}", "schema", "ironmesh.config.diff/1", "was", "default", "now", "files", "changes",
		      config_changes(&none, &st));
	settings_fini(&st);
	return result_is(c, v);
}

enum err command_config_keys(struct call *c)
{
	return result_is(c, config_keys());
}

enum err command_config_reload(struct call *c)
{
	return c->cx->run_reload(c->cx->stop_ctx, &c->result, c->f);
}
