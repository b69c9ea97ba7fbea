/*
 * client.h -- a blocking client of the control socket (docs/control.md), one call at a time.
 *
 * Every wait has an end and every line a limit. What the daemon says in an error passes through
 * text_safe() here, since it may quote a stranger. Times are milliseconds.
 */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "base/buf.h"
#include "base/json.h"

#define CLIENT_LINE_MAX   1600000u
#define CLIENT_TIMEOUT_MS 15000u

struct client {
	int fd; /* -1: closed */
	struct buf in;
	size_t line;  /* bytes at the front of `in` that were handed out already */
	size_t seen;  /* bytes that hold no line end */
	json_t *early; /* events that came while an answer was waited for: the newest of them, for client_event() */
	int64_t id;
};

/* Connects to the control socket of `home`. ERR_NOTFOUND (exit 3): no daemon; ERR_DENIED (exit 8): the socket
 * is another user's; both with a fault whose `next` may still be empty. */
enum err client_open(struct client *c, const char *home, struct fault *f) MUST_CHECK;
void client_attach(struct client *c, int fd); /* takes a connected descriptor */
void client_close(struct client *c);          /* safe twice, and on a zeroed struct with fd -1 */

/* One request and its answer. Borrows `params` (an object, or NULL for none). The fault carries
 * what the daemon said. ERR_TIMEOUT (75) and ERR_CLOSED (3) end the connection: close it. */
enum err client_call(struct client *c, const char *method, json_t *params, uint64_t timeout_ms,
		     json_t **result, struct fault *f) MUST_CHECK;
/* The `params` of the next event notification; UINT64_MAX waits for ever. ERR_TIMEOUT leaves the
 * connection usable. */
enum err client_event(struct client *c, uint64_t timeout_ms, json_t **params,
		      struct fault *f) MUST_CHECK;

uint64_t clock_ms(void); /* monotonic */

#endif
