/*
 * metrics.h -- the numbers of this daemon for a scraper: one table says name, type, unit, labels, help and source.
 *
 * docs/metrics.md is made from it. Without `per_peer` no label names a peer: their number has no bound, and who talks to
 * whom is nobody's business who only watches.
 */
#ifndef DAEMON_METRICS_H
#define DAEMON_METRICS_H

#include <dirent.h>

#include "daemon/commands.h"
#include "web/openmetrics.h"
#include "web/web.h"

/* What is read of this process. Opened before the walls: a rule of Landlock names an inode, and those of /proc come and go. */
struct metrics {
	int statm; /* -1 */
	DIR *fds;  /* NULL */
	bool per_peer;
};
void metrics_open(struct metrics *m, bool per_peer);
void metrics_close(struct metrics *m); /* also when it was never opened, all zero */

void metrics_write(const struct metrics *own, const struct command_ctx *cx, const struct web *web, struct buf *out, bool openmetrics);
/* NULL past the end. *per_peer: only with that setting. */
const struct om_family *metrics_family(size_t i, bool *per_peer);

#endif
