/*
 * import_db.h -- data.db of the old software (wire 9.6): messages that wait, that are held, and history, into our boxes.
 *
 * Payloads are sealed under the passphrase of the mesh (two forms), or clear. Of each table the newest 100,000 rows are taken, some
 * hundred in a transaction.
 */
#ifndef STORE_IMPORT_DB_H
#define STORE_IMPORT_DB_H

#include "store/backup.h"
#include "store/store.h"

struct import_db {
	const char *path;          /* a copy: SQLite may write beside it */
	struct bytes mesh;         /* passphrase; empty: not given */
	const struct node_id *self;
	struct store *store;       /* ours, without an open group */
	struct env *env;
	const struct backup_watch *watch; /* may be NULL; false ends it with ERR_CLOSED */
};
struct import_db_counts {
	uint64_t waiting, held, history; /* taken */
	uint64_t unopened;               /* sealed, and the passphrase does not open them or was not given */
	uint64_t strange, twice, full;   /* of no node; there already; more than a box holds */
};
/* ERR_CORRUPT: it is no such database; ERR_STORE, ERR_NOMEM. With fault. What
 * stands in place of a table (a view, say) is as good as absent. */
enum err import_db(const struct import_db *in, struct import_db_counts *out, struct fault *f) MUST_CHECK;

#endif
