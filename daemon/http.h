/*
 * http.h -- what the web room (web/web.h) stands on here: commands, events, health, numbers.
 *
 * Nothing listens by default, so that two daemons on one machine do not meet over a port and a daemon that nobody looks
 * at has no door. `ironmesh dashboard` has the door opened, on 127.0.0.1 and WEB_PORT or, if that is busy, a free port; a
 * setting keeps it open. After a restart it is opened again while a session of before lives.
 */
#ifndef DAEMON_HTTP_H
#define DAEMON_HTTP_H

#include "daemon/commands.h"
#include "web/web.h"

struct http_config {
	uv_loop_t *loop;
	struct command_ctx *commands; /* borrowed; outlives this */
	const char *names;            /* more names, "a, b"; NULL */
	bool metrics_open, metrics_per_peer;
};

enum err http_new(const struct http_config *c, struct http **out, struct fault *f) MUST_CHECK;
/* "ADDRESS:PORT" of the settings; NULL: only for sessions of before. A port that is busy is a warning, and the daemon goes on. */
void http_start(struct http *h, const char *listen);
/* Opens the door if it is not open. */
enum err http_open(struct http *h, struct fault *f) MUST_CHECK;
struct web *http_web(struct http *h);
void http_metrics(struct http *h, struct buf *out, bool openmetrics);
void http_stop(struct http *h, void (*done)(void *ctx), void *ctx);
void http_free(struct http *h); /* after `done`; accepts NULL */

/* "ADDRESS:PORT" or "[V6]:PORT". */
bool http_address(const char *text, char address[static 64], uint16_t *port);
bool http_is_loopback(const char *address);

#endif
