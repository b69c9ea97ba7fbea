/*
 * accept.h -- taking connections off a listening socket that a loop watches.
 *
 * Out of descriptors a connection stays in the backlog and the socket readable: whoever goes on looking at it spins. So
 * a listener keeps one descriptor to spare, turns the first caller away with it, and looks again after a while.
 */
#ifndef BASE_ACCEPT_H
#define BASE_ACCEPT_H

#include <sys/socket.h>

#include "base/err.h"

/* A descriptor for accept_turn_away(); -1 when there is none. The caller closes it. */
int accept_spare(void);
/* The next one, non-blocking and close-on-exec, in *fd. ERR_AGAIN: nobody waits (any more); ERR_CLOSED: a
 * caller that has gone meanwhile, others may wait behind it; ERR_FULL: out of descriptors or memory. */
enum err accept_next(int listener, struct sockaddr_storage *from, int *fd) MUST_CHECK;
/* After ERR_FULL: gives up the spare descriptor for a moment, to close one waiting connection. True: one was turned away. */
bool accept_turn_away(int listener, int *spare);

#endif
