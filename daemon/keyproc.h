/*
 * keyproc.h -- the long-term keys, in a process of their own.
 *
 * It is forked before the first thread and before anything secret is read, opens the key file itself, and then closes
 * itself in: no file, no network, no capability, a handful of system calls. What comes back is a keyring with the same
 * verbs (trust/keyring.h), each of them one request and one answer over a socket pair; a signature is made only of
 * what fits its context. One thread, the loop's, may use it.
 *
 * It lives as long as the daemon, and the daemon as long as it: when it ends, or answers what it should not, this
 * process says so and ends with EXIT_GENERIC. What was committed is on disk by then.
 */
#ifndef DAEMON_KEYPROC_H
#define DAEMON_KEYPROC_H

#include <uv.h>

#include "daemon/ownkey.h"

struct keyproc;

/* Forks. ERR_FULL, ERR_NOMEM. */
enum err keyproc_start(struct keyproc **out, struct fault *f) MUST_CHECK;
pid_t keyproc_pid(const struct keyproc *k);
/* Its /proc/<pid>/status, open; -1: there is no procfs. */
int keyproc_status(const struct keyproc *k);
/* As ownkey_open(), over there. Once. */
enum err keyproc_open(struct keyproc *k, const char *path, struct bytes passphrase, const char *name, bool clear,
		      struct ownkey *out, struct fault *f) MUST_CHECK;
/* From here on its end is noticed at once; before, by the next use. */
void keyproc_watch(struct keyproc *k, uv_loop_t *loop);
void keyproc_unwatch(struct keyproc *k); /* the handle is closed on the loop; accepts NULL */
/* Ends it and waits for that. After the loop has run out; the keyrings from it are not used any more. Accepts NULL. */
void keyproc_end(struct keyproc *k);

#endif
