/*
 * home.h -- which home folder is meant, and where its control socket is.
 *
 * A node has one folder. The node of the system service has HOME_SYSTEM, closed to everybody but its
 * user; its control socket is in RUN_SYSTEM, where the group of the service reaches it.
 */
#ifndef BASE_HOME_H
#define BASE_HOME_H

#include "base/err.h"

#define HOME_SYSTEM "/var/lib/ironmesh"
#define RUN_SYSTEM "/run/ironmesh"
#define HOME_SOCKET "control.sock"

/* --home, else $IRONMESH_HOME, else $STATE_DIRECTORY, else ~/.ironmesh. */
enum err home_resolve(const char *flag, char *out, size_t cap) MUST_CHECK;
/* The same for a command about a node that is there already: a user without ~/.ironmesh who may talk to the system
 * service, and root where it is installed, mean that one. */
enum err home_find(const char *flag, char *out, size_t cap) MUST_CHECK;
/* The control socket of `home`. *shared (may be NULL): it is the one of the system service. */
enum err home_socket(const char *home, char *out, size_t cap, bool *shared) MUST_CHECK;

#endif
