#include "cli/cli.h"

#include <stdlib.h>

#include "base/home.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/suggest.h"

const struct opt cli_global_opts[] = {
	{ "home", 0, OPT_TEXT, "DIR", "the folder of this node (else $IRONMESH_HOME, ~/.ironmesh)" },
	{ "json", 0, OPT_FLAG, NULL, "machine-readable output with a schema" },
	{ "quiet", 'q', OPT_FLAG, NULL, "no hints and remarks on stderr" },
	{ "verbose", 'v', OPT_FLAG, NULL, "say on stderr what is being done" },
	{ "no-color", 0, OPT_FLAG, NULL, "no colours (as NO_COLOR does)" },
	{ "help", 'h', OPT_FLAG, NULL, "show this help" },
	{ 0 },
};

const struct opt cli_passphrase_opts[] = {
	{ "passphrase-file", 0, OPT_TEXT, "FILE", "passphrase of the key file, when no daemon runs" },
	{ "passphrase-fd", 0, OPT_NUMBER, "N", "the same from an open descriptor", 0, 65535 },
	{ 0 },
};

const struct opt cli_yes_opts[] = {
	{ "yes", 0, OPT_FLAG, NULL, "do not ask" },
	{ 0 },
};

/* --- finding the words among the options -------------------------------------------------- */

/* How many words a global option at argv[i] takes; 0 when it is none. */
static int global_words(char *const *argv, int i)
{
	const char *a = argv[i];

	if (a[0] == '-' && a[1] && a[1] != '-')
		return strspn(a + 1, "qvh") == strlen(a + 1) ? 1 : 0;
	if (strncmp(a, "--home=", 7) == 0)
		return 1;
	for (const struct opt *o = cli_global_opts; o->name; o++)
		if (strncmp(a, "--", 2) == 0 && strcmp(a + 2, o->name) == 0)
			return o->type == OPT_FLAG ? 1 : 2;
	return 0;
}

int cli_next_word(int argc, char *const *argv, int from)
{
	int i = from;

	while (i < argc) {
		int n = global_words(argv, i);

		if (n == 0)
			return i;
		i += n;
	}
	return argc;
}

/* Looks ahead of the parser: help wins over every error, and errors obey --json. */
static bool flag_present(int argc, char *const *argv, const char *name, char letter)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		const char *a = argv[i];

		if (strncmp(a, "--", 2) == 0 && strcmp(a + 2, name) == 0)
			return true;
		if (letter && a[0] == '-' && a[1] && a[1] != '-' && global_words(argv, i) &&
		    strchr(a, letter))
			return true;
	}
	return false;
}

static void remove_word(int *argc, char **argv, int at)
{
	memmove(argv + at, argv + at + 1, (size_t)(*argc - at) * sizeof(*argv));
	(*argc)--;
}

/* --- unknown words ------------------------------------------------------------------------ */

static int unknown_command(const struct out *o, const char *word)
{
	struct fault f;
	struct suggest s = suggest_for(word);
	char safe[80];

	fault_set(&f, ERR_USAGE, EXIT_USAGE, "there is no command '%s'",
		  text_safe(bytes_str(word), safe, sizeof(safe)));
	for (const struct command *const *c = cli_commands; *c; c++) {
		if ((*c)->subs && cli_find_sub(*c, word)) {
			fault_means(&f, "Did you mean 'ironmesh %s %s'?", (*c)->name, safe);
			fault_next(&f, "ironmesh help %s", (*c)->name);
			return out_fault(o, &f);
		}
		suggest_offer(&s, (*c)->name);
	}
	if (s.best)
		fault_means(&f, "Did you mean 'ironmesh %s'?", s.best);
	fault_next(&f, "ironmesh help");
	return out_fault(o, &f);
}

static int unknown_sub(const struct out *o, const struct command *group, const char *word)
{
	struct fault f;
	struct suggest s = suggest_for(word);
	char safe[80];

	fault_set(&f, ERR_USAGE, EXIT_USAGE, "'ironmesh %s' has no '%s'", group->name,
		  text_safe(bytes_str(word), safe, sizeof(safe)));
	for (const struct command *c = group->subs; c->name; c++)
		suggest_offer(&s, c->name);
	if (s.best)
		fault_means(&f, "Did you mean 'ironmesh %s %s'?", group->name, s.best);
	fault_next(&f, "ironmesh help %s", group->name);
	return out_fault(o, &f);
}

/* --- running ------------------------------------------------------------------------------ */

static int fail_home(const struct out *o, enum err e)
{
	struct fault f;

	fault_set(&f, e, e == ERR_USAGE ? EXIT_USAGE : EXIT_CONFIG,
		  e == ERR_USAGE ? "--home is empty" :
		  e == ERR_LIMIT ? "the path of the home folder is too long" :
				   "there is no home folder: HOME is not set");
	fault_next(&f, "ironmesh --home DIR ...");
	return out_fault(o, &f);
}

static bool run_takes_value(const struct cli_host *host, const char *token)
{
	const char *name, *arg, *text;

	if (strncmp(token, "--", 2) != 0)
		return false;
	for (unsigned i = 0; host->run_option(i, &name, &arg, &text); i++) {
		const char *bare = name + (strncmp(name, "--", 2) == 0 ? 2 : 0);

		if (strcmp(bare, token + 2) == 0)
			return arg != NULL;
	}
	return false;
}

/* Takes --home and --json out of the words of `run`, wherever they stand. */
static void strip_globals(struct cli *c, int argc, char **argv)
{
	int n = 1;
	bool more = true;

	for (int i = 1; i < argc; i++) {
		if (more && strcmp(argv[i], "--") == 0)
			more = false;
		if (more && strcmp(argv[i], "--json") == 0) {
			c->out.json = true;
		} else if (more && strcmp(argv[i], "--home") == 0 && i + 1 < argc) {
			c->out.home = argv[++i];
		} else if (more && strncmp(argv[i], "--home=", 7) == 0) {
			c->out.home = argv[i] + 7;
		} else {
			argv[n++] = argv[i];
			if (more && run_takes_value(c->host, argv[n - 1]) && i + 1 < argc)
				argv[n++] = argv[++i];
		}
	}
	argv[n] = NULL;
	argv[0] = (char *)c->cmd->name;
	c->raw_argc = n;
	c->raw_argv = argv;
}

static int check_args(const struct cli *c)
{
	const struct command *cmd = c->cmd;

	if (c->opts.argc < cmd->min_args)
		return cli_usage(c, NULL, "%s%s%s needs %d argument%s, not %d", c->group ? c->group->name : "",
				 c->group ? " " : "", cmd->name, cmd->min_args,
				 cmd->min_args == 1 ? "" : "s", c->opts.argc);
	if (cmd->max_args >= 0 && c->opts.argc > cmd->max_args)
		return cli_usage(c, NULL, "'%s' is one argument too many", c->opts.argv[cmd->max_args]);
	return EXIT_DONE;
}

static int run_command(struct cli *c, int argc, char **argv)
{
	const struct opt *tables[5];
	struct fault f;
	size_t n = 0;
	enum err e;
	int code;

	if (c->cmd->flags & CMD_PASS_ARGV) {
		strip_globals(c, argc, argv);
	} else {
		if (c->cmd->opts)
			tables[n++] = c->cmd->opts;
		if (c->cmd->flags & CMD_PASSPHRASE)
			tables[n++] = cli_passphrase_opts;
		if (c->cmd->flags & CMD_YES)
			tables[n++] = cli_yes_opts;
		tables[n++] = cli_global_opts;
		tables[n] = NULL;
		if (options_parse(tables, argc, argv, &c->opts, &f) != ERR_OK) {
			char path[96];

			fault_next(&f, "%s --help",
				   cli_path(c->group, c->cmd, path, sizeof(path)));
			return out_fault(&c->out, &f);
		}
		c->out.json = options_given(&c->opts, "json");
		c->out.quiet = options_given(&c->opts, "quiet");
		c->out.verbose = options_get(&c->opts, "verbose")->given;
		c->out.home = options_text(&c->opts, "home");
		out_colors(&c->out, options_given(&c->opts, "no-color"));
		code = check_args(c);
		if (code != EXIT_DONE)
			return code;
	}
	if (!(c->cmd->flags & CMD_NO_HOME)) {
		e = c->cmd->flags & CMD_NEW_HOME ? home_resolve(c->out.home, c->home, sizeof(c->home)) :
						   home_find(c->out.home, c->home, sizeof(c->home));
		if (e != ERR_OK)
			return fail_home(&c->out, e);
	}
	return c->cmd->run(c);
}

/* Nothing but options: the overview, the version, or what is wrong with them. */
static int without_command(struct cli *c, int argc, char **argv)
{
	static const struct opt top[] = {
		{ "version", 0, OPT_FLAG, NULL, "print the version" },
		{ 0 },
	};
	const struct opt *tables[] = { top, cli_global_opts, NULL };
	struct fault f;

	if (options_parse(tables, argc, argv, &c->opts, &f) != ERR_OK) {
		fault_next(&f, "ironmesh help");
		return out_fault(&c->out, &f);
	}
	c->out.json = options_given(&c->opts, "json");
	c->out.home = options_text(&c->opts, "home");
	if (options_given(&c->opts, "version"))
		c->cmd = cli_find(cli_commands, "version");
	else
		c->cmd = cli_find(cli_commands, "help");
	c->opts.argc = 0;
	return c->cmd->run(c);
}

static int dispatch(struct cli *c, int argc, char **argv)
{
	bool wants_help = flag_present(argc, argv, "help", 'h');
	int at = cli_next_word(argc, argv, 1), sub;
	const char *word = at < argc ? argv[at] : NULL;

	if (!word || word[0] == '-')
		return without_command(c, argc, argv);
	c->cmd = cli_find(cli_commands, word);
	if (!c->cmd)
		return unknown_command(&c->out, word);
	remove_word(&argc, argv, at);
	if (c->cmd->subs) {
		c->group = c->cmd;
		sub = cli_next_word(argc, argv, at);
		word = sub < argc && argv[sub][0] != '-' ? argv[sub] : NULL;
		if (!word && wants_help) {
			help_group(c, c->group);
			return EXIT_DONE;
		}
		c->cmd = word ? cli_find_sub(c->group, word) : c->group->subs;
		if (!c->cmd && (c->group->flags & CMD_FIRST_TAKES)) {
			c->cmd = c->group->subs;
			word = NULL;
		}
		if (!c->cmd)
			return unknown_sub(&c->out, c->group, word);
		if (word)
			remove_word(&argc, argv, sub);
	}
	if (wants_help && !(c->cmd->flags & CMD_PASS_ARGV)) {
		help_command(c, c->group, c->cmd);
		return EXIT_DONE;
	}
	return run_command(c, argc, argv);
}

int cli_main(int argc, char **argv, const struct cli_host *host)
{
	struct cli c = { .host = host, .client = { .fd = -1 } };
	char **words = calloc((size_t)argc + 2, sizeof(*words)); /* argv belongs to the caller */
	int code;

	BUG_ON(!words);
	memcpy(words, argv, (size_t)argc * sizeof(*words));
	if (argc < 1)
		words[argc++] = (char *)"ironmesh";
	c.out.json = flag_present(argc, words, "json", 0);
	out_colors(&c.out, flag_present(argc, words, "no-color", 0));
	code = dispatch(&c, argc, words);
	if (c.connected)
		client_close(&c.client);
	free(words);
	return out_finish(code);
}
