#include "base/home.h"
#include "base/text.h"
#include "cli/commands.h"

#define PEERS_TIMEOUT_MS 200u /* somebody waits with a finger on the tab key */

static const char bash_script[] =
	"# bash completion for ironmesh; install as /usr/share/bash-completion/completions/ironmesh\n"
	"_ironmesh() {\n"
	"\tlocal IFS=$'\\n'\n"
	"\tCOMPREPLY=($(ironmesh completion words -- \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null))\n"
	"}\n"
	"complete -o bashdefault -o default -F _ironmesh ironmesh\n";

static const char zsh_script[] =
	"#compdef ironmesh\n"
	"# zsh completion for ironmesh; install as /usr/share/zsh/vendor-completions/_ironmesh\n"
	"_ironmesh() {\n"
	"\tlocal -a found\n"
	"\tfound=(${(f)\"$(ironmesh completion words -- \"${(@)words[2,CURRENT]}\" 2>/dev/null)\"})\n"
	"\tif (( $#found )); then compadd -a found; else _files; fi\n"
	"}\n"
	"compdef _ironmesh ironmesh\n";

static const char fish_script[] =
	"# fish completion for ironmesh; install as /usr/share/fish/vendor_completions.d/ironmesh.fish\n"
	"complete -c ironmesh -a '(ironmesh completion words -- "
	"(commandline -opc)[2..] (commandline -ct) 2>/dev/null)'\n";

/* --- what could come next ----------------------------------------------------------------- */

static void offer(const char *begun, const char *word)
{
	if (strncmp(word, begun, strlen(begun)) == 0)
		printf("%s\n", word);
}

static void offer_opts(const char *begun, const struct opt *o)
{
	char word[80];

	for (; o && o->name; o++) {
		snprintf(word, sizeof(word), "--%s", o->name);
		offer(begun, word);
	}
}

static void offer_run(const struct cli *c, const char *begun)
{
	const char *name, *arg, *text;
	char word[80];

	for (unsigned i = 0; c->host->run_option(i, &name, &arg, &text); i++) {
		snprintf(word, sizeof(word), "%s%s", strncmp(name, "--", 2) == 0 ? "" : "--", name);
		offer(begun, word);
	}
}

static void offer_peers(struct cli *c, const char *begun)
{
	struct fault f;
	json_t *list = NULL, *p;
	const char *alias, *name;
	size_t i;

	if (cli_connect(c, &f) != ERR_OK ||
	    client_call(&c->client, "peers.list", NULL, PEERS_TIMEOUT_MS, &list, &f) != ERR_OK)
		return;
	json_array_foreach (json_object_get(list, "peers"), i, p) {
		alias = json_str(p, "alias");
		name = alias && *alias ? alias : json_str(p, "name");
		/* A shell expands what it is offered: nothing but a proper name. */
		if (name && name_valid(bytes_str(name)))
			offer(begun, name);
	}
	json_decref(list);
}

static void offer_words(const char *begun, const char *words)
{
	char word[40];

	while (*words) {
		size_t n = strcspn(words, "|");

		snprintf(word, sizeof(word), "%.*s", (int)n, words);
		offer(begun, word);
		words += n + (words[n] == '|');
	}
}

static const struct opt *option_named(const struct opt *o, const char *word)
{
	for (; o && o->name; o++)
		if (strncmp(word, "--", 2) == 0 && strcmp(o->name, word + 2) == 0)
			return o;
	return NULL;
}

/* True when the word before is an option of `cmd` that takes a value. */
static bool offer_value(struct cli *c, const struct command *cmd, const char *before, const char *begun)
{
	const struct opt *o = option_named(cmd->opts, before);

	if (!o)
		o = option_named(cli_passphrase_opts, before);
	if (!o)
		o = option_named(cli_global_opts, before);
	if (!o || o->type == OPT_FLAG || o->type == OPT_DURATION_MAYBE)
		return false;
	if (o->type == OPT_WORD)
		offer_words(begun, o->arg);
	else if (o->arg && strcmp(o->arg, "PEER") == 0)
		offer_peers(c, begun);
	return true;
}

static void offer_commands(const char *begun)
{
	for (const struct command *const *p = cli_commands; *p; p++)
		offer(begun, (*p)->name);
}

static void offer_for(struct cli *c, const struct command *cmd, const char *before, const char *begun)
{
	if (offer_value(c, cmd, before, begun))
		return;
	if (begun[0] == '-') {
		offer_opts(begun, cmd->opts);
		if (cmd->flags & CMD_PASS_ARGV)
			offer_run(c, begun);
		if (cmd->flags & CMD_PASSPHRASE)
			offer_opts(begun, cli_passphrase_opts);
		if (cmd->flags & CMD_YES)
			offer_opts(begun, cli_yes_opts);
		offer_opts(begun, cli_global_opts);
	} else if (strcmp(cmd->name, "help") == 0) {
		offer_commands(begun);
	} else if (strcmp(cmd->name, "completion") == 0) {
		offer_words(begun, "bash|zsh|fish");
	} else if (cmd->args && strncmp(cmd->args, "PEER", 4) == 0) {
		offer_peers(c, begun);
	}
}

/* `words` are those behind "ironmesh"; the last is the one being typed, maybe empty. */
static void complete(struct cli *c, int n, char **words)
{
	const char *begun = n ? words[n - 1] : "", *before = n > 1 ? words[n - 2] : "";
	const struct command *cmd;
	int last = n ? n - 1 : 0, at = cli_next_word(last, words, 0), sub;

	for (int i = 0; i + 1 < last; i++)
		if (strcmp(words[i], "--home") == 0)
			c->out.home = words[i + 1];
	if (home_find(c->out.home, c->home, sizeof(c->home)) != ERR_OK)
		return;
	if (at >= last) {
		static const struct command top = { .name = "" };

		if (offer_value(c, &top, before, begun))
			return;
		if (begun[0] == '-')
			offer_opts(begun, cli_global_opts);
		else
			offer_commands(begun);
		return;
	}
	cmd = cli_find(cli_commands, words[at]);
	if (cmd && cmd->subs) {
		sub = cli_next_word(last, words, at + 1);
		if (sub >= last && begun[0] != '-') {
			for (const struct command *s = cmd->subs; s->name; s++)
				offer(begun, s->name);
			return;
		}
		cmd = sub < last && words[sub][0] != '-' ? cli_find_sub(cmd, words[sub]) : cmd->subs;
	}
	if (cmd)
		offer_for(c, cmd, before, begun);
}

static int run_completion(struct cli *c)
{
	static const struct {
		const char *shell, *script;
	} rows[] = { { "bash", bash_script }, { "zsh", zsh_script }, { "fish", fish_script } };
	const char *shell = cli_arg(c, 0);
	json_t *v;

	if (strcmp(shell, "words") == 0) {
		complete(c, c->opts.argc - 1, c->opts.argv + 1);
		return EXIT_DONE;
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(rows[i].shell, shell) != 0)
			continue;
		if (c->out.json) {
			v = json_pack("{s:s, s:s, s:s}", "schema", "ironmesh.completion/1", "shell", shell,
				      "script", rows[i].script);
			out_json(&c->out, v);
			json_decref(v);
		} else {
			fputs(rows[i].script, stdout);
		}
		return EXIT_DONE;
	}
	return cli_usage(c, NULL, "there is no completion for '%s': bash, zsh or fish", shell);
}

static const struct example examples[] = {
	{ "source <(ironmesh completion bash)", "for this shell" },
	{ "ironmesh completion fish > ~/.config/fish/completions/ironmesh.fish", "for every new one" },
	{ 0 },
};

const struct command cmd_completion = {
	.name = "completion",
	.args = "bash | zsh | fish",
	.summary = "the script that completes commands, options and peers with the tab key",
	.examples = examples,
	.text = "Names of peers are asked from the daemon, within 200 ms. The script calls\n"
		"'ironmesh completion words -- WORD...', which prints what could come next.",
	.flags = CMD_NO_HOME,
	.min_args = 1,
	.max_args = -1,
	.run = run_completion,
};
