#include <inttypes.h>
#include <stdlib.h>

#include "base/text.h"
#include "cli/commands.h"

/* "time  type  key=value ..." with everything a stranger may have chosen cleaned. */
static void print_event(const struct cli *c, const json_t *e)
{
	const char *type = json_str(e, "type"), *key;
	char when[40], safe[240];
	json_t *v;

	printf("%s%s%s  %s%s%s", out_on(&c->out, STYLE_DIM),
	       time_text((uint64_t)show_int(e, "at_ms"), when, sizeof(when)), out_off(&c->out, STYLE_DIM),
	       out_on(&c->out, STYLE_BOLD), text_safe(bytes_str(type ? type : "?"), safe, sizeof(safe)),
	       out_off(&c->out, STYLE_BOLD));
	json_object_foreach ((json_t *)e, key, v) {
		if (strcmp(key, "schema") == 0 || strcmp(key, "seq") == 0 || strcmp(key, "at_ms") == 0 ||
		    strcmp(key, "type") == 0)
			continue;
		if (json_is_string(v) && json_string_length(v))
			printf(" %s=%s", key, text_safe(bytes_str(json_string_value(v)), safe, sizeof(safe)));
		else if (json_is_number(v))
			printf(" %s=%.10g", key, json_number_value(v));
		else if (json_is_boolean(v))
			printf(" %s=%s", key, json_is_true(v) ? "yes" : "no");
		else if (json_is_object(v))
			printf(" %s=%s", key, show_party(v, safe, sizeof(safe)));
	}
	putchar('\n');
}

static enum err subscribe(struct cli *c, struct fault *f)
{
	json_t *types = c->opts.argc ? json_array() : NULL, *result = NULL;
	enum err e = cli_connect(c, f);

	for (int i = 0; i < c->opts.argc; i++)
		json_array_append_new(types, json_string(cli_arg(c, i)));
	if (e == ERR_OK)
		e = cli_ask(c, "events.subscribe", json_pack("{s:o*}", "types", types), CLIENT_TIMEOUT_MS,
			    &result, f);
	else
		json_decref(types);
	json_decref(result);
	return e;
}

static int run_events(struct cli *c)
{
	const struct optval *count = options_get(&c->opts, "count"),
			    *for_ms = options_get(&c->opts, "for");
	uint64_t deadline, now, n = 0;
	struct fault f = { 0 };
	json_t *event;
	enum err e;

	cli_quiet_interrupt();
	e = subscribe(c, &f);
	deadline = for_ms->given ? clock_ms() + for_ms->number : UINT64_MAX;
	while (e == ERR_OK && (!count->given || n < count->number)) {
		now = clock_ms();
		e = client_event(&c->client,
				 deadline == UINT64_MAX ? UINT64_MAX :
				 deadline > now         ? deadline - now :
							  0,
				 &event, &f);
		if (e != ERR_OK)
			break;
		if (c->out.json)
			out_json(&c->out, event);
		else
			print_event(c, event);
		json_decref(event);
		n++;
		/* A line is for a reader who waits for it. */
		if (out_finish(EXIT_DONE) != EXIT_DONE)
			return EXIT_GENERIC;
	}
	if (e == ERR_OK || (e == ERR_TIMEOUT && for_ms->given))
		return EXIT_DONE;
	return out_fault(&c->out, &f);
}

static const struct example examples[] = {
	{ "ironmesh events --follow", "until Ctrl-C" },
	{ "ironmesh events --follow --json message. peer.", "one JSON object per line" },
	{ "ironmesh events --count 1 --for 60s inbox.new", "wait for one event" },
	{ 0 },
};

static const struct opt opts[] = {
	{ "follow", 0, OPT_FLAG, NULL, "go on until interrupted (what happens without it too)" },
	{ "count", 0, OPT_NUMBER, "N", "end after this many", 1, INT64_MAX },
	{ "for", 0, OPT_DURATION, "DURATION", "end after this long, with exit 0" },
	{ 0 },
};

const struct command cmd_events = {
	.name = "events",
	.args = "[TYPE...]",
	.summary = "what happens, as it happens",
	.examples = examples,
	.text = "TYPE is the beginning of an event's name: message. inbox. peer. trust. audit. With --json\n"
		"each line is one event (schema ironmesh.event/1). A reader that is too slow loses\n"
		"events, never messages; an event events.lost says how many.",
	.opts = opts,
	.max_args = -1,
	.run = run_events,
};
