/* ironmesh.conf and conf.d, as the daemon would read them. */
#include "daemon/config.h"
#include "daemon/doctor_internal.h"

/* What the files say is right, and the daemon runs with something else. */
static bool not_in_effect(struct doctor *d)
{
	const json_t *o = json_object_get(d->status, "config"), *later = json_object_get(o, "needs_restart");
	const char *error = json_str(o, "error");

	if (error) {
		doctor_say(d, DOCTOR_WARNING, "the last reload was refused: %s", error);
		doctor_means(d, "The daemon runs with the configuration that it had before.");
		doctor_fix(d, "ironmesh config reload --home %s", d->home_word);
	} else if (json_array_size(later)) {
		doctor_say(d, DOCTOR_WARNING, "%zu setting(s) are in effect only after a restart", json_array_size(later));
		doctor_means(d, "`ironmesh config diff` shows which.");
		doctor_fix(d, "sudo systemctl restart ironmesh   (or stop the daemon and start it again)");
	} else {
		return false;
	}
	return true;
}

void doctor_configuration(struct doctor *d)
{
	char name[] = "run", *argv[] = { name, NULL };
	struct config_sources from = { .home = d->home, .argc = 1, .argv = argv };
	struct run_config c;
	struct fault f = { 0 };

	if (!d->has_home) {
		doctor_say(d, DOCTOR_SKIPPED, "there is no folder to look at");
		return;
	}
	run_config_init(&c);
	if (run_config_load(&c, &from, &f) != ERR_OK) {
		doctor_fault(d, DOCTOR_FAILURE, &f, NULL);
		if (!f.means[0])
			doctor_means(d, "The daemon does not start with it, and a running one keeps the old one.");
	} else {
		d->listen = c.listen;
		d->port = c.port;
		for (size_t i = 0; i < c.settings.problems_n; i++) {
			doctor_say(d, DOCTOR_WARNING, "%s:%u: %s", c.settings.problems[i].file, c.settings.problems[i].line,
				   c.settings.problems[i].what);
			doctor_means(d, "%s", c.settings.problems[i].means);
		}
		if (!not_in_effect(d) && !c.settings.problems_n)
			doctor_say(d, DOCTOR_OK, c.settings.files_n ? "%zu file(s)" : "no file, everything has its default",
				   c.settings.files_n);
	}
	run_config_fini(&c);
}
