/*
 * views.h -- what an operator looks at: statistics, what needs him, and the feed of everything.
 */
#ifndef DAEMON_VIEWS_H
#define DAEMON_VIEWS_H

#include "daemon/commands.h"

/* Makes cx->stats, cx->attention and cx->feed on its node and events, which are there. ERR_NOMEM. */
enum err views_open(struct command_ctx *cx) MUST_CHECK;
/* Before events_free(). Safe when they were not opened. */
void views_close(struct command_ctx *cx);

#endif
