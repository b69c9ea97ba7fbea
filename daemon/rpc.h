/*
 * rpc.h -- JSON-RPC 2.0 of one connection: a line in, lines out, and the requests in between.
 *
 * Knows no socket, so tests and the fuzzer drive it with bytes. Lines out are whole, with their end.
 */
#ifndef DAEMON_RPC_H
#define DAEMON_RPC_H

#include "daemon/commands.h"
#include "daemon/feed.h"

/* Who goes first when there is no room: the last of these. */
enum rpc_line_kind { RPC_ANSWER, RPC_EVENT, RPC_VOLATILE };
typedef bool (*rpc_put)(void *ctx, struct bytes line, enum rpc_line_kind kind);

struct rpc {
	struct command_ctx *commands;
	/* False: it was not taken (an event that has no room, or a connection that is gone). */
	rpc_put put;
	void *ctx;
	struct ring requests;         /* unanswered */
	unsigned unanswered;
	struct subscriber subscriber;
	struct feed_subscriber feed;
	struct buf line;              /* an event with what stands around it */
	bool closed;
};

void rpc_init(struct rpc *r, struct command_ctx *commands, rpc_put put, void *ctx);
/* One line without its end, less than CONTROL_REQUEST_MAX bytes. Blank lines are nothing. */
void rpc_line(struct rpc *r, struct bytes line);
/* The last request waits for room: give it no further line yet. */
bool rpc_blocked(const struct rpc *r);
/* The other side will send no more, and may be gone: what waits for the world is given up, what waits
 * for the disk is still answered. */
void rpc_ended(struct rpc *r);
/* Gives everything up. Nothing is put any more. Safe twice. */
void rpc_close(struct rpc *r);

/* Appends an error line. `id` is JSON text; `f` may be NULL. */
void rpc_error_line(struct buf *b, const char *id, int code, const char *message, const struct fault *f);

#endif
