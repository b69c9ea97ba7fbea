/*
 * daemon.h -- the door of the conductor: run it, or carry out one command without it.
 */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include "base/json.h"
#include "base/secret.h"
#include "base/work.h"

/* The shapes are those of struct cli_host (cli/cli.h), which main.c joins to these. */
int daemon_run(const char *home, bool json, int argc, char **argv);
bool daemon_run_option(unsigned i, const char **name, const char **arg, const char **text);
bool daemon_offline(const char *method, bool *needs_key);
enum err daemon_call_offline(const char *home, struct bytes passphrase, const char *method,
			     json_t *params, json_t **result, struct fault *f);
enum err daemon_work(const struct work *w, json_t **result, struct fault *f);

#endif
