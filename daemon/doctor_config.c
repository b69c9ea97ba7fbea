/* ironmesh.conf and conf.d, as the daemon would read them. */
#include "daemon/config.h"
#include "daemon/doctor_internal.h"

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
		if (!c.settings.problems_n)
			doctor_say(d, DOCTOR_OK, c.settings.files_n ? "%zu file(s)" : "no file, everything has its default",
				   c.settings.files_n);
	}
	run_config_fini(&c);
}
