#include "base/text.h"
#include "cli/commands.h"
#include "cli/suggest.h"

static int exit_codes(const struct cli *c)
{
	static const struct {
		int code;
		const char *text;
	} rows[] = {
#define X(name, number, words) { number, words },
		EXIT_TABLE(X)
#undef X
	};
	json_t *list, *v;

	if (!c->out.json) {
		printf("Exit codes of every command:\n\n");
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
			printf("  %4d  %s\n", rows[i].code, rows[i].text);
		printf(" 128+n  died by signal n\n\n"
		       "'ping' ends with 2 when the peer cannot be reached, 'recv' with 75 when nothing came.\n");
		return EXIT_DONE;
	}
	list = json_array();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		json_array_append_new(list, json_pack("{s:i, s:s}", "exit", rows[i].code, "text",
						      rows[i].text));
	v = json_pack("{s:s, s:o}", "schema", "ironmesh.help.exit_codes/1", "exit_codes", list);
	out_json(&c->out, v);
	json_decref(v);
	return EXIT_DONE;
}

static int files(const struct cli *c)
{
	static const struct {
		const char *name, *text;
	} rows[] = {
		{ "keys.json", "the identity of this node, encrypted with the passphrase" },
		{ "known_peers.json", "who is known and trusted (encrypted)" },
		{ "ironmesh.db", "messages on their way, and those that arrived" },
		{ "audit.log", "what happened, each line bound to the one before" },
		{ "control.sock", "how commands talk to the daemon; only its user is served" },
		{ "ironmesh.conf, conf.d", "settings; of the system service in /etc/ironmesh" },
		{ "passphrase", "of the mesh, when 'setup --new-mesh' made it" },
		{ "key-passphrase", "of keys.json, when 'run --unattended' made it" },
		{ "IRONMESH_HOME", "environment: the folder, when --home is not given" },
		{ "IRONMESH_PASSPHRASE",
		  "environment: the passphrase; the last resort, other processes may see it" },
		{ "NO_COLOR", "environment: no colours; CLICOLOR_FORCE=1 forces them" },
	};
	json_t *list, *v;

	if (!c->out.json) {
		printf("One folder per node: --home DIR, else $IRONMESH_HOME, else $STATE_DIRECTORY,\n"
		       "else ~/.ironmesh; where that is not there, the system service is meant\n"
		       "(/var/lib/ironmesh, its socket in /run/ironmesh) by root and its group.\n"
		       "The folder belongs to one user (mode 0700) and holds:\n\n");
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
			printf("  %-22s%s\n", rows[i].name, rows[i].text);
		return EXIT_DONE;
	}
	list = json_array();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "name", rows[i].name, "text",
						      rows[i].text));
	v = json_pack("{s:s, s:o}", "schema", "ironmesh.help.files/1", "files", list);
	out_json(&c->out, v);
	json_decref(v);
	return EXIT_DONE;
}

static int unknown_topic(struct cli *c, const struct command *group, const char *word)
{
	struct fault f;
	struct suggest s = suggest_for(word);
	char safe[80];

	fault_set(&f, ERR_USAGE, EXIT_USAGE, "there is no help about '%s'",
		  text_safe(bytes_str(word), safe, sizeof(safe)));
	if (group) {
		for (const struct command *sub = group->subs; sub && sub->name; sub++)
			suggest_offer(&s, sub->name);
	} else {
		for (const struct command *const *p = cli_commands; *p; p++)
			suggest_offer(&s, (*p)->name);
		suggest_offer(&s, "exit-codes");
		suggest_offer(&s, "files");
	}
	if (s.best)
		fault_means(&f, "Did you mean 'ironmesh help %s%s%s'?", group ? group->name : "",
			    group ? " " : "", s.best);
	fault_next(&f, "ironmesh help");
	return out_fault(&c->out, &f);
}

static int run_help(struct cli *c)
{
	const char *word = cli_arg(c, 0), *sub = cli_arg(c, 1);
	const struct command *cmd, *leaf;
	char *argv[] = { (char *)"run", (char *)"--help", NULL };

	if (!word) {
		help_overview(c);
		return EXIT_DONE;
	}
	if (strcmp(word, "exit-codes") == 0)
		return exit_codes(c);
	if (strcmp(word, "files") == 0)
		return files(c);
	cmd = cli_find(cli_commands, word);
	if (!cmd)
		return unknown_topic(c, NULL, word);
	if (cmd->flags & CMD_PASS_ARGV)
		return c->host->run("", c->out.json, 2, argv);
	if (!cmd->subs) {
		help_command(c, NULL, cmd);
		return EXIT_DONE;
	}
	if (!sub) {
		help_group(c, cmd);
		return EXIT_DONE;
	}
	leaf = cli_find_sub(cmd, sub);
	if (!leaf)
		return unknown_topic(c, cmd, sub);
	help_command(c, cmd, leaf);
	return EXIT_DONE;
}

static const struct example examples[] = {
	{ "ironmesh help send", NULL },
	{ "ironmesh help peers approve", NULL },
	{ "ironmesh help exit-codes", "what the exit codes mean" },
	{ "ironmesh help --json", "every command and option, for programs" },
	{ 0 },
};

const struct command cmd_help = {
	.name = "help",
	.args = "[COMMAND [SUBCOMMAND] | exit-codes | files]",
	.summary = "what a command does",
	.examples = examples,
	.flags = CMD_NO_HOME,
	.max_args = 2,
	.run = run_help,
};
