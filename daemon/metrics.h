/*
 * metrics.h -- the numbers of this daemon for a scraper: one table says name, type, unit, labels, help and source.
 *
 * docs/metrics.md is made from it. Without `per_peer` no label names a peer: their number has no bound, and who talks to
 * whom is nobody's business who only watches.
 */
#ifndef DAEMON_METRICS_H
#define DAEMON_METRICS_H

#include "daemon/commands.h"
#include "web/openmetrics.h"
#include "web/web.h"

void metrics_write(const struct command_ctx *cx, const struct web *web, struct buf *out, bool openmetrics, bool per_peer);
/* NULL past the end. *per_peer: only with that setting. */
const struct om_family *metrics_family(size_t i, bool *per_peer);

#endif
