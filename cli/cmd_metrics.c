#include "cli/commands.h"

static int run_metrics(struct cli *c)
{
	int code = EXIT_DONE;
	json_t *r = cli_result(c, "metrics", json_object(), &code);
	const char *text = json_str(r, "text");

	if (r && text && !cli_printed_json(c, r))
		fputs(text, stdout);
	json_decref(r);
	return code;
}

static const struct example examples[] = {
	{ "ironmesh metrics", "what a scraper would see" },
	{ 0 },
};

const struct command cmd_metrics = {
	.name = "metrics",
	.args = "",
	.summary = "the numbers of the daemon in OpenMetrics form",
	.examples = examples,
	.run = run_metrics,
};
