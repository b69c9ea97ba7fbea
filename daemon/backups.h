/*
 * backups.h -- backups in a running daemon: the snapshot that `ironmesh backup` packs, and those that the daemon makes itself.
 *
 * One at a time. The moment of a snapshot is taken on the loop, after the open group, the pins and the audit log were written;
 * everything that takes long runs on libuv's pool, while messages go on.
 *
 *   command    backup.snapshot copies the state to a folder in the home folder; the command, which may write where the daemon
 *              may not, packs it and says backup.release. When its connection ends first, the folder goes all the same.
 *   schedule   every so often into a directory: copied, checked, packed, read back, named; then the oldest above `keep` go.
 *
 * What is known of backups is in backups.json of the home folder. A failure is tried again after ten minutes, and stands in
 * `status` until one succeeds.
 */
#ifndef DAEMON_BACKUPS_H
#define DAEMON_BACKUPS_H

#include <limits.h>
#include <uv.h>

#include "base/json.h"
#include "base/secret.h"
#include "daemon/config.h"

struct backups;
struct command_ctx;
struct call;

/* Removes what an interrupted run has left in `home`. With a directory configured: makes it (0700) when it is not there, and reads
 * the passphrase file, which is not read again. ERR_USAGE, ...: it cannot be read; fault filled. `cx` is borrowed. */
enum err backups_new(uv_loop_t *loop, struct command_ctx *cx, const struct run_config *c, struct backups **out,
		     struct fault *f) MUST_CHECK;
void backups_start(struct backups *b);
/* A reload: how often and how many. */
void backups_reconfigure(struct backups *b, const struct run_config *c);
/* Nothing new begins; what runs ends soon, and `idle` is called when it did. */
void backups_stop(struct backups *b, void (*idle)(void *ctx), void *ctx);
bool backups_busy(const struct backups *b); /* a thread of the pool works for it; NULL: no */
void backups_free(struct backups *b);       /* accepts NULL */

/* The folder of the configuration, when it is not the home folder; else NULL. */
const char *config_elsewhere(const char *home, char out[static PATH_MAX]);

json_t *backups_status_json(const struct backups *b); /* for `status` */
/* ironmesh.backups/1 of a home folder; b NULL: without a daemon. */
json_t *backups_list_json(const struct backups *b, const char *home);

enum err backups_snapshot(struct backups *b, struct call *c) MUST_CHECK;
enum err backups_release(struct backups *b, struct call *c) MUST_CHECK;
enum err backups_now(struct backups *b, struct call *c) MUST_CHECK;

#endif
