/*
 * control.h -- the control socket (docs/control.md): a Unix stream socket on libuv.
 *
 * The caller holds the lock of the home folder, so a socket file that is there already is a left-over
 * and is removed. The socket is 0600 before it listens, and every peer must be our own user or root. That of the system
 * service (base/home.h) is 0660, and members of its group are served too.
 *
 * Input is handled in the poll phase of the loop, so a `send` asks for a turn of the node there; the
 * owner's uv_check handle, which runs right after poll, makes that turn in the same iteration, and
 * the answers it gives are written in the prepare phase of the next one, before poll sleeps. Timers of
 * waiting requests live in env and may ask for a turn too.
 */
#ifndef DAEMON_CONTROL_H
#define DAEMON_CONTROL_H

#include <uv.h>

#include "daemon/commands.h"

#define CONTROL_CONNECTIONS 64
#define CONTROL_UNANSWERED 256        /* of one connection: it is not read further */
#define CONTROL_UNSENT (4u << 20)     /* bytes of one connection: likewise */
#define CONTROL_EVENTS_UNSENT (3u << 20)   /* above it events are lost */
#define CONTROL_VOLATILE_UNSENT (2u << 20) /* and volatile messages above this */

struct control;

struct control_config {
	uv_loop_t *loop;
	const char *home;
	int listening;                  /* > 0: this socket, which listens already; its file is not ours to remove. Taken */
	struct command_ctx *commands;   /* borrowed; outlives the control server */
};

enum err control_new(const struct control_config *c, struct control **out, struct fault *f) MUST_CHECK;
/* Removes the socket file, cancels what waits, writes what is ready, closes everything, frees, then
 * calls done(ctx) from the loop. The node is still there when it is called. Accepts NULL (done is
 * called at once). */
void control_stop(struct control *c, void (*done)(void *ctx), void *ctx);

#endif
