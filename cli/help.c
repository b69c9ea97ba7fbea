#include "base/text.h"
#include "cli/command.h"

#define OPTION_WIDTH 28

const char *cli_path(const struct command *group, const struct command *cmd, char *buf, size_t cap)
{
	snprintf(buf, cap, "ironmesh %s%s%s", group ? group->name : "", group ? " " : "", cmd->name);
	return buf;
}

const struct command *cli_find(const struct command *const *list, const char *name)
{
	for (; *list; list++)
		if (strcmp((*list)->name, name) == 0)
			return *list;
	return NULL;
}

const struct command *cli_find_sub(const struct command *group, const char *name)
{
	for (const struct command *c = group->subs; c && c->name; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

/* --- as JSON ------------------------------------------------------------------------------ */

static void json_opts(json_t *list, const struct opt *o)
{
	for (; o && o->name; o++)
		json_array_append_new(list, json_pack("{s:s, s:s*, s:s}", "name", o->name, "argument",
						      o->arg, "text", o->text));
}

static void json_run_opts(json_t *list, const struct cli_host *host)
{
	const char *name, *arg, *text;

	for (unsigned i = 0; host->run_option(i, &name, &arg, &text); i++)
		json_array_append_new(list, json_pack("{s:s, s:s*, s:s}", "name",
						      strncmp(name, "--", 2) == 0 ? name + 2 : name,
						      "argument", arg, "text", text));
}

static json_t *json_command(const struct cli *cli, const struct command *group, const struct command *c)
{
	char path[96];
	json_t *options = json_array(), *examples = json_array();

	json_opts(options, c->opts);
	if (c->flags & CMD_PASS_ARGV)
		json_run_opts(options, cli->host);
	if (c->flags & CMD_PASSPHRASE)
		json_opts(options, cli_passphrase_opts);
	if (c->flags & CMD_YES)
		json_opts(options, cli_yes_opts);
	for (const struct example *e = c->examples; e && e->command; e++)
		json_array_append_new(examples, json_string(e->command));
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "command",
			 cli_path(group, c, path, sizeof(path)), "arguments", c->args ? c->args : "",
			 "summary", c->summary, "text", c->text ? c->text : "", "options", options, "examples",
			 examples);
}

static json_t *json_groups(void)
{
	json_t *groups = json_array();

	for (const struct command *const *p = cli_commands; *p; p++)
		if ((*p)->subs)
			json_array_append_new(groups, json_pack("{s:s, s:s, s:s}", "name", (*p)->name, "summary",
								(*p)->summary, "text", (*p)->text ? (*p)->text : ""));
	return groups;
}

static void print_json(const struct out *o, json_t *commands)
{
	json_t *options = json_array(), *v;

	json_opts(options, cli_global_opts);
	v = json_pack("{s:s, s:o, s:o, s:o}", "schema", "ironmesh.help/1", "commands", commands, "groups",
		      json_groups(), "global_options", options);
	out_json(o, v);
	json_decref(v);
}

static void add_group(json_t *list, const struct cli *c, const struct command *group)
{
	for (const struct command *s = group->subs; s->name; s++)
		json_array_append_new(list, json_command(c, group, s));
}

/* --- as text ------------------------------------------------------------------------------ */

static void heading(const struct out *o, const char *text)
{
	printf("\n%s%s%s\n", out_on(o, STYLE_BOLD), text, out_off(o, STYLE_BOLD));
}

static void print_examples(const struct out *o, const struct example *e)
{
	if (!e || !e->command)
		return;
	heading(o, "Examples:");
	for (; e->command; e++) {
		printf("  %s\n", e->command);
		if (e->text)
			printf("%s      %s%s\n", out_on(o, STYLE_DIM), e->text, out_off(o, STYLE_DIM));
	}
}

static void print_opts(const struct opt *o)
{
	char label[96];

	for (; o && o->name; o++) {
		option_label(o, label, sizeof(label));
		if (strlen(label) + 2 > OPTION_WIDTH)
			printf("  %s\n  %*s%s\n", label, OPTION_WIDTH, "", o->text);
		else
			printf("  %-*s%s\n", OPTION_WIDTH, label, o->text);
	}
}

void help_command(const struct cli *c, const struct command *group, const struct command *cmd)
{
	const struct out *o = &c->out;
	char path[96];
	json_t *list;

	if (o->json) {
		list = json_array();
		json_array_append_new(list, json_command(c, group, cmd));
		print_json(o, list);
		return;
	}
	cli_path(group, cmd, path, sizeof(path));
	printf("%s%s%s - %s\n", out_on(o, STYLE_BOLD), path, out_off(o, STYLE_BOLD), cmd->summary);
	print_examples(o, cmd->examples);
	printf("\n%sUsage:%s %s%s%s [options]\n", out_on(o, STYLE_BOLD), out_off(o, STYLE_BOLD), path,
	       cmd->args && *cmd->args ? " " : "", cmd->args ? cmd->args : "");
	if (cmd->text)
		printf("\n%s\n", cmd->text);
	if (cmd->opts || cmd->flags & (CMD_PASSPHRASE | CMD_YES)) {
		heading(o, "Options:");
		print_opts(cmd->opts);
		if (cmd->flags & CMD_PASSPHRASE)
			print_opts(cli_passphrase_opts);
		if (cmd->flags & CMD_YES)
			print_opts(cli_yes_opts);
	}
	heading(o, "Everywhere:");
	print_opts(cli_global_opts);
}

void help_group(const struct cli *c, const struct command *group)
{
	const struct out *o = &c->out;
	char path[96];
	json_t *list;

	if (o->json) {
		list = json_array();
		add_group(list, c, group);
		print_json(o, list);
		return;
	}
	printf("%sironmesh %s%s - %s\n", out_on(o, STYLE_BOLD), group->name, out_off(o, STYLE_BOLD),
	       group->summary);
	print_examples(o, group->examples);
	heading(o, "Commands:");
	for (const struct command *s = group->subs; s->name; s++) {
		snprintf(path, sizeof(path), "%s%s%s", s->name, s->args && *s->args ? " " : "",
			 s->args ? s->args : "");
		if (strlen(path) > 30)
			printf("  %s\n  %-32s%s\n", path, "", s->summary);
		else
			printf("  %-32s%s\n", path, s->summary);
	}
	if (group->text)
		printf("\n%s\n", group->text);
	printf("\n'ironmesh %s' alone is 'ironmesh %s %s'. More: ironmesh help %s COMMAND\n", group->name,
	       group->name, group->subs->name, group->name);
}

void help_overview(const struct cli *c)
{
	const struct out *o = &c->out;
	static const struct example start[] = {
		{ "ironmesh demo", "see it work: two nodes, a crash, nothing lost, nothing twice" },
		{ "ironmesh setup", "a first configuration: a few questions, or options" },
		{ "ironmesh keys generate --name alice --new-mesh mesh.pass",
		  "an identity, and the passphrase every machine of this mesh shares" },
		{ "ironmesh run --name alice --passphrase-file mesh.pass --peer 192.0.2.7:8765",
		  "the daemon; one on every machine" },
		{ "ironmesh send bob \"hello\" --wait 5s", "prints: delivered in 12 ms via ws" },
		{ "ironmesh recv --wait 60s --json", "the next message, for a program" },
		{ 0 },
	};
	json_t *list;

	if (o->json) {
		list = json_array();
		for (const struct command *const *p = cli_commands; *p; p++) {
			if ((*p)->subs)
				add_group(list, c, *p);
			else
				json_array_append_new(list, json_command(c, NULL, *p));
		}
		print_json(o, list);
		return;
	}
	printf("%sironmesh%s - messages between agents: authenticated, encrypted, kept until delivered\n",
	       out_on(o, STYLE_BOLD), out_off(o, STYLE_BOLD));
	print_examples(o, start);
	heading(o, "Commands:");
	for (const struct command *const *p = cli_commands; *p; p++)
		printf("  %-12s%s\n", (*p)->name, (*p)->summary);
	heading(o, "Everywhere, before or behind the command:");
	print_opts(cli_global_opts);
	printf("\nMore: ironmesh help COMMAND, ironmesh help exit-codes, ironmesh help files\n");
}
