/*
 * demo.h -- the machinery of the demo: real daemons in a temporary folder, real commands shown.
 *
 * The story is told on `story` (stdout, or stderr with --json). Every function that can go wrong
 * records the first failure in `failed` and returns false; after it the others do nothing.
 */
#ifndef CLI_DEMO_H
#define CLI_DEMO_H

#include <sys/types.h>

#include "cli/command.h"

#define DEMO_LIMIT_MS 120000u

struct demo_node {
	const char *name;
	char home[200], log[220];
	unsigned port;
	pid_t pid; /* 0: not running */
};

struct demo {
	struct cli *c;
	FILE *story;
	char dir[160], passphrase[200];
	struct demo_node node[2];
	struct buf output; /* of the last command */
	json_t *steps;
	uint64_t deadline;
	char failed[400];
};

bool demo_open(struct demo *d, struct cli *c);
/* Kills what still runs, shows the logs after a failure, removes the folder unless `keep`. */
void demo_close(struct demo *d, bool keep);

void demo_step(struct demo *d, const char *title); /* also: the one before went well */
bool demo_fail(struct demo *d, const char *fmt, ...) PRINTF_LIKE(2, 3);
void demo_say(struct demo *d, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool demo_interrupted(struct demo *d); /* Ctrl-C, or over time: fails */

/* Runs this very program; argv without the program's name, NULL at the end. Shows the command and
 * its output; false unless it ends with `code`. */
bool demo_command(struct demo *d, int code, const char *const *argv);
/* Whether the output of the last command holds `text`, exactly `times`; fails otherwise. */
bool demo_expect(struct demo *d, const char *text, unsigned times);

bool demo_start(struct demo *d, struct demo_node *n, const struct demo_node *other);
bool demo_kill(struct demo *d, struct demo_node *n);
bool demo_stop(struct demo *d, struct demo_node *n); /* SIGTERM; must end with 0 */
/* Its disk is lost: the home folder is removed. It must not run. */
bool demo_wipe(struct demo *d, struct demo_node *n);
/* A call on the control socket of a node; NULL when it does not answer. */
json_t *demo_call(struct demo *d, struct demo_node *n, const char *method, json_t *params);
/* Waits until `ready` says so; `what` is for the failure. */
bool demo_until(struct demo *d, struct demo_node *n, const char *what,
		bool (*ready)(struct demo *d, struct demo_node *n));
/* Whether a file under the folder of the demo contains `text`; fails when one does. */
bool demo_nowhere(struct demo *d, const char *text);

#endif
