/*
 * app.h -- the owner of everything while the daemon runs, from the lock of the home folder to the
 * last fsync.
 *
 * app_run() opens in this order: sockets that were handed over, lock, passphrases, keys (keyproc.h), trust store, audit
 * log, database, core, transport, control socket, backups, HTTP; raises the walls; says READY=1; and closes in the
 * reverse order. The first SIGTERM or
 * SIGINT says goodbye, flushes and ends with 0; the second ends at once. SIGHUP reads the
 * settings again (reload.h).
 */
#ifndef DAEMON_APP_H
#define DAEMON_APP_H

#include "daemon/config.h"

/* ERR_OK after an orderly stop. The log is set up already. `c` was loaded `from` there, and is read from there again. */
enum err app_run(const char *home, struct run_config *c, const struct config_sources *from, struct fault *f) MUST_CHECK;

#endif
