/*
 * backups_internal.h -- shared by backups.c (jobs), backups_ledger.c (what is known of backups) and backups_keep.c (names and
 * retention).
 */
#ifndef DAEMON_BACKUPS_INTERNAL_H
#define DAEMON_BACKUPS_INTERNAL_H

#include <limits.h>

#include "daemon/backups.h"
#include "trust/identity.h"

#define LEDGER_NAME "backups.json"
#define LEDGER_MAX 200

struct ledger_row {
	char file[PATH_MAX];
	uint64_t created_ms, bytes, verified_ms;
};

/* backups.json */
struct ledger {
	char directory[PATH_MAX]; /* of the schedule; "" */
	uint64_t every_ms, keep;
	uint64_t last_ok_ms, last_failed_ms;
	char why[240];
	struct ledger_row *rows; /* the newest first */
	size_t n;
};
/* A file that is not there, or damaged, is an empty ledger: it is only what is known. */
void ledger_load(struct ledger *l, const char *home);
void ledger_fini(struct ledger *l);
enum err ledger_save(const struct ledger *l, const char *home, struct fault *f) MUST_CHECK;
/* The same file again replaces its row. */
enum err ledger_add(struct ledger *l, const struct ledger_row *r) MUST_CHECK;
void ledger_drop(struct ledger *l, const char *file);
json_t *ledger_rows_json(const struct ledger *l);

/* "ironmesh-<16 digits of the id>-20261125T130500Z.backup" */
#define BACKUP_NAME_MAX 64
void backup_name(const struct node_id *id, uint64_t wall_ms, char out[static BACKUP_NAME_MAX]);
/* Deletes the oldest backups of this node beside `newest`, the one just made, above `keep`; fn is told each. Whatever is there was made
 * before `newest`: a name of a later time comes from a clock that was ahead, and counts as older than every other. */
enum err backups_prune(const char *newest, const struct node_id *id, unsigned keep, void (*fn)(void *ctx, const char *path),
		       void *ctx) MUST_CHECK;

#endif
