/*
 * rpc.h -- JSON-RPC 2.0 of one connection: a line in, lines out, and the requests in between.
 *
 * Knows no socket, so tests and the fuzzer drive it with bytes. Lines out are whole, with their end.
 */
#ifndef DAEMON_RPC_H
#define DAEMON_RPC_H

#include "daemon/commands.h"

struct rpc {
	struct command_ctx *commands;
	/* False: it was not taken (an event that has no room, or a connection that is gone). */
	bool (*put)(void *ctx, struct bytes line, bool event);
	void *ctx;
	struct ring requests;         /* unanswered */
	unsigned unanswered;
	struct subscriber subscriber;
	bool closed;
};

void rpc_init(struct rpc *r, struct command_ctx *commands,
	      bool (*put)(void *ctx, struct bytes line, bool event), void *ctx);
/* One line without its end, at most CONTROL_LINE_MAX bytes. Blank lines are nothing. */
void rpc_line(struct rpc *r, struct bytes line);
/* The other side will send no more, and may be gone: what waits for the world is given up, what waits
 * for the disk is still answered. */
void rpc_ended(struct rpc *r);
/* Gives everything up. Nothing is put any more. Safe twice. */
void rpc_close(struct rpc *r);

/* Appends an error line. `id` is JSON text; `f` may be NULL. */
void rpc_error_line(struct buf *b, const char *id, int code, const char *message, const struct fault *f);

#endif
