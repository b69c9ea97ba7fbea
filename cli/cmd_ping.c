#include "base/text.h"
#include "cli/commands.h"

#define PING_DEFAULT_MS 5000u

static int run_ping(struct cli *c)
{
	const struct optval *timeout = options_get(&c->opts, "timeout");
	uint64_t ms = timeout->given ? timeout->number : PING_DEFAULT_MS;
	struct fault f = { 0 };
	json_t *result = NULL;
	char who[80], via[40], span[40] = "under 1";
	const char *word;
	double rtt;

	if (cli_ask(c, "ping",
		    json_pack("{s:s, s:I}", "peer", cli_arg(c, 0), "timeout_ms", (json_int_t)ms),
		    ms + CLIENT_TIMEOUT_MS, &result, &f) != ERR_OK)
		return out_fault(&c->out, &f);
	if (!cli_printed_json(c, result)) {
		word = json_str(result, "via");
		rtt = json_number_value(json_object_get(result, "rtt_ms"));
		if (rtt > 0) /* a zero is what a clock of whole milliseconds makes of a fast answer */
			snprintf(span, sizeof(span), "%.2f", rtt);
		printf("%s: %s ms via %s\n",
		       show_party(json_object_get(result, "peer"), who, sizeof(who)), span,
		       text_safe(bytes_str(word ? word : "?"), via, sizeof(via)));
	}
	json_decref(result);
	return EXIT_DONE;
}

static const struct example examples[] = {
	{ "ironmesh ping bob", "prints: bob: 0.42 ms via ws" },
	{ "ironmesh ping bob --timeout 1s --json", NULL },
	{ 0 },
};

static const struct opt opts[] = {
	{ "timeout", 0, OPT_DURATION, "DURATION", "give up after this (5s)", 1, 600000 },
	{ 0 },
};

const struct command cmd_ping = {
	.name = "ping",
	.args = "PEER",
	.summary = "whether a peer answers, and how fast",
	.examples = examples,
	.text = "Exit: 0 it answered, 2 it cannot be reached, 4 unknown peer, 3 no daemon.",
	.opts = opts,
	.min_args = 1,
	.max_args = 1,
	.run = run_ping,
};
