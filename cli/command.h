/*
 * command.h -- what a subcommand is, and what it stands on.
 *
 * cli.c finds the command in cli_commands, parses its options and calls `run`. A command asks the
 * daemon with cli_ask() and prints; it returns its exit code. Groups have `subs`; the first sub is the
 * one that runs when none is named.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/options.h"
#include "cli/output.h"

#define HOME_MAX 4096

struct cli;

enum {
	CMD_PASSPHRASE = 1, /* takes --passphrase-file and --passphrase-fd: may work without a daemon */
	CMD_YES = 2,        /* destructive: takes --yes */
	CMD_PASS_ARGV = 4,  /* parses its own arguments (run) */
	CMD_NO_HOME = 8,    /* never looks at the home folder */
	CMD_FIRST_TAKES = 32, /* of a group: a word that is none of its subs is an argument of the first */
	CMD_NEW_HOME = 16,  /* may make a node: never in the folder of the system service unless told so */
};

struct example {
	const char *command, *text;
};

struct command {
	const char *name;
	const char *args;    /* behind the name in the usage line */
	const char *summary; /* one line, lower case */
	const struct example *examples; /* ends with a NULL command */
	const char *text;    /* more, or NULL; lines of at most 80 */
	const struct opt *opts; /* or NULL */
	unsigned flags;
	int min_args, max_args; /* max_args < 0: no limit */
	int (*run)(struct cli *c);
	const struct command *subs; /* ends with a NULL name */
};

struct cli {
	const struct cli_host *host;
	const struct command *group, *cmd; /* group NULL for a command of its own */
	struct out out;
	char home[HOME_MAX];
	struct options opts;
	struct client client;
	bool connected;
	int raw_argc; /* CMD_PASS_ARGV: without the global options */
	char **raw_argv;
};

extern const struct command *const cli_commands[]; /* ends with NULL */
extern const struct opt cli_global_opts[], cli_passphrase_opts[], cli_yes_opts[];

/* The index of the first word behind `from` that is no global option, or argc. */
int cli_next_word(int argc, char *const *argv, int from);
static inline const char *cli_arg(const struct cli *c, int i) /* NULL when not given */
{
	return i < c->opts.argc ? c->opts.argv[i] : NULL;
}

/* --- asking (ask.c) --- */
/* The daemon's answer; without a daemon the method is carried out on the home folder when it can be.
 * Takes `params` (NULL: an argument was not UTF-8, which is a usage error; use json_object() for
 * none). The caller decrefs *result. */
enum err cli_ask(struct cli *c, const char *method, json_t *params, uint64_t timeout_ms,
		 json_t **result, struct fault *f) MUST_CHECK;
/* The daemon and nothing else; connects when needed. */
enum err cli_connect(struct cli *c, struct fault *f) MUST_CHECK;
/* Asks; on failure prints the fault and stores its exit code, and returns NULL. */
json_t *cli_result(struct cli *c, const char *method, json_t *params, int *code);
/* Prints the result as JSON with --json and returns true. */
bool cli_printed_json(const struct cli *c, const json_t *result);
/* A usage fault on stderr; returns 2. */
int cli_usage(const struct cli *c, const char *next, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* --yes, or a y at the terminal. False: the fault is printed, *code set. */
bool cli_confirmed(const struct cli *c, int *code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Ctrl-C ends the program at once with 130, quietly. */
void cli_quiet_interrupt(void);

/* --- helping (help.c) --- */
void help_overview(const struct cli *c);
void help_group(const struct cli *c, const struct command *group);
void help_command(const struct cli *c, const struct command *group, const struct command *cmd);
/* "ironmesh outbox list" */
const char *cli_path(const struct command *group, const struct command *cmd, char *buf, size_t cap);
const struct command *cli_find(const struct command *const *list, const char *name);
const struct command *cli_find_sub(const struct command *group, const char *name);

/* --- shared printing (show.c) --- */
void show_peer(const struct cli *c, const json_t *peer);
void show_peers(const struct cli *c, const json_t *list);
enum style show_state(const char *state);
const char *show_party(const json_t *party, char *buf, size_t cap); /* {"id","name"}: name or short id */
int64_t show_int(const json_t *obj, const char *key);              /* 0 when absent */
void show_keys(const struct cli *c, const json_t *keys);

#endif
