/*
 * cli.h -- the command line: parses, asks the daemon, prints.
 *
 * The cli knows base/ and the control socket (docs/control.md), nothing else of the program. What it
 * cannot do itself is handed down by main.c in `struct cli_host`: running the daemon, and the methods
 * of the control table that work without one.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/json.h"
#include "base/secret.h"
#include "base/work.h"

struct cli_host {
	/* `ironmesh run`: argv[0] is "run"; `home` is resolved; parses its own options, prints its own
	 * help, returns the exit code. */
	int (*run)(const char *home, bool json, int argc, char **argv);
	/* The option table of `run` for completion and the man page: name, argument or NULL, text.
	 * Returns false past the end. */
	bool (*run_option)(unsigned i, const char **name, const char **arg, const char **text);
	/* True if `method` can be carried out without a daemon, and whether it needs the key (and so
	 * maybe a passphrase). */
	bool (*offline)(const char *method, bool *needs_key);
	/* Carries out one method on the home folder. ERR_WRONG_STATE when a daemon holds its lock.
	 * ERR_DENIED with fault when the key file is encrypted and `passphrase` is empty. */
	enum err (*call)(const char *home, struct bytes passphrase, const char *method, json_t *params,
			 json_t **result, struct fault *f);
	/* A long piece of work on the home folder, in this process. */
	enum err (*work)(const struct work *w, json_t **result, struct fault *f);
	/* `ironmesh doctor`: looks at the home folder and the machine; `asked` and *result as in daemon/doctor.h. */
	enum err (*doctor)(const char *home, struct bytes passphrase, const json_t *asked, json_t **result,
			   struct fault *f);
	/* `ironmesh doctor --peer`, its two halves: daemon/doctor.h. */
	enum err (*doctor_reach)(const char *address, json_t **result, struct fault *f);
	enum err (*doctor_judge)(const json_t *asked, json_t **result, struct fault *f);
	/* Its checks; false past the end. */
	bool (*doctor_check)(unsigned i, const char **name, const char **about);
};

int cli_main(int argc, char **argv, const struct cli_host *host);

#endif
