/*
 * home.h -- the names in the home folder (that of the socket is in base/home.h), and its lock.
 */
#ifndef DAEMON_HOME_H
#define DAEMON_HOME_H

#include "base/home.h"

#define HOME_KEYS "keys.json"
#define HOME_PINS "known_peers.json"
#define HOME_STORE "ironmesh.db"
#define HOME_AUDIT "audit.log"
#define HOME_LOCK "lock"
#define HOME_KEY_PASSPHRASE "key-passphrase" /* made by --unattended */

/* One daemon, or one offline command, at a time (flock). ERR_WRONG_STATE with fault when another
 * process holds it. Close the descriptor to unlock; the file stays. */
enum err home_lock(const char *home, int *fd, struct fault *f) MUST_CHECK;

#endif
