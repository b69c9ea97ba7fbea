#include "cli/commands.h"

static int run_daemon(struct cli *c)
{
	return c->host->run(c->home, c->out.json, c->raw_argc, c->raw_argv);
}

const struct command cmd_run = {
	.name = "run",
	.args = "[options]",
	.summary = "run the daemon of this node in the foreground",
	.flags = CMD_PASS_ARGV | CMD_NEW_HOME,
	.max_args = -1,
	.run = run_daemon,
};
