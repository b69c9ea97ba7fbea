#include "base/home.h"
#include "cli/commands.h"

static int run_version(struct cli *c)
{
	struct fault f;
	json_t *daemon = NULL, *v;

	/* A running daemon may be older than this program; that is worth a look, but no error. */
	if (home_find(c->out.home, c->home, sizeof(c->home)) == ERR_OK &&
	    cli_connect(c, &f) == ERR_OK &&
	    client_call(&c->client, "version", NULL, 1000, &daemon, &f) != ERR_OK)
		daemon = NULL;
	if (c->out.json) {
		v = json_pack("{s:s, s:s, s:i, s:s, s:o}", "schema", "ironmesh.version/1", "version",
			      IRONMESH_VERSION, "api", 1, "protocol", "ironmesh/0.9", "daemon",
			      daemon ? json_incref(daemon) : json_null());
		out_json(&c->out, v);
		json_decref(v);
	} else {
		printf("ironmesh %s (protocol ironmesh/0.9)\n", IRONMESH_VERSION);
		if (daemon && json_str(daemon, "version") &&
		    strcmp(json_str(daemon, "version"), IRONMESH_VERSION) != 0)
			out_fieldf(&c->out, "daemon", "%s runs; restart it to use this version",
				   json_str(daemon, "version"));
	}
	json_decref(daemon);
	return EXIT_DONE;
}

static const struct example examples[] = {
	{ "ironmesh version", NULL },
	{ "ironmesh version --json", "also the version of the running daemon" },
	{ 0 },
};

const struct command cmd_version = {
	.name = "version",
	.args = "",
	.summary = "the version of this program, and of the daemon when it differs",
	.examples = examples,
	.flags = CMD_NO_HOME,
	.run = run_version,
};
