/*
 * passphrase_prompt.h -- a passphrase for work on the home folder: from where, in which order.
 *
 * --passphrase-file, --passphrase-fd, the systemd credentials "ironmesh-key" and "ironmesh", the
 * file `passphrase` in the home folder, $IRONMESH_PASSPHRASE; then a person at the terminal, without echo. Never the command line.
 */
#ifndef CLI_PASSPHRASE_PROMPT_H
#define CLI_PASSPHRASE_PROMPT_H

#include "base/secret.h"
#include "cli/command.h"

/* What was configured. ERR_NOTFOUND: nothing, which a prompt may answer. */
enum err passphrase_configured(const struct cli *c, struct secret *out, struct fault *f) MUST_CHECK;
/* Asks on the terminal of stdin; `fresh` asks twice and checks the rules. ERR_NOTFOUND with a
 * fault that names the options when stdin is not a terminal. */
enum err passphrase_prompt(const struct cli *c, const char *question, bool fresh,
			   struct secret *out, struct fault *f) MUST_CHECK;

#endif
