/*
 * cli_rig.h -- the command line in a child process, against a scripted daemon and a scripted host.
 */
#ifndef TESTS_LIB_CLI_RIG_H
#define TESTS_LIB_CLI_RIG_H

#include <sys/types.h>

#include "base/json.h"

/* One request that must come next, and its answer. A NULL method hangs up without an answer. */
struct exchange {
	const char *method;
	const char *params; /* JSON that must equal the params (order aside); NULL: anything */
	const char *result; /* JSON of the result, or NULL */
	const char *error;  /* JSON of the error object, when result is NULL */
	const char *then;   /* a raw line sent after the answer, or NULL */
};

struct rig {
	char dir[64], home[80];
	pid_t server;
	int exit;
	char *out, *err; /* of the last run; NUL-terminated */
	size_t out_n;
	const char *input; /* stdin of the next run; NULL: /dev/null */
};

void rig_open(struct rig *r);
void rig_close(struct rig *r); /* asserts that the script was used up */
void rig_serve(struct rig *r, const struct exchange *script, size_t n);
/* Runs `ironmesh ARGS...`; "@" stands for the home folder. The last argument is NULL. */
int rig_run(struct rig *r, ...) __attribute__((sentinel));
/* The same on a terminal of its own; each prompt is answered with the next line of `typed`. `out` is
 * what the terminal shows. */
int rig_run_tty(struct rig *r, const char *typed, ...) __attribute__((sentinel));
bool rig_said(const struct rig *r, const char *text);   /* stdout contains */
bool rig_warned(const struct rig *r, const char *text); /* stderr contains */
json_t *rig_json(const struct rig *r); /* stdout as exactly one JSON value; fails the test otherwise */

#endif
