/*
 * handed.h -- sockets that the service manager opened for us: LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES.
 *
 * Two of them mean something: "control" (a Unix stream socket) and "ws" (TCP). One without a name is known by its
 * family. Anything else is an error: it would be open, and nobody would serve it.
 */
#ifndef DAEMON_HANDED_H
#define DAEMON_HANDED_H

#include "base/err.h"

struct handed {
	int control, ws; /* listening, close-on-exec; -1: none */
};

/* Takes them and removes the variables. Without any it is ERR_OK too. ERR_USAGE with fault; then they are left open. */
enum err handed_take(struct handed *out, struct fault *f) MUST_CHECK;
/* Where a TCP socket listens: "192.0.2.7:8765", "[::]:8765". */
void handed_address(int fd, char *out, size_t cap);

#endif
