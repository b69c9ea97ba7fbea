/*
 * migrations_internal.h -- the schema as a numbered list; a published entry is never edited.
 */
#ifndef STORE_MIGRATIONS_INTERNAL_H
#define STORE_MIGRATIONS_INTERNAL_H

#include <sqlite3.h>

#include "base/err.h"

#define STORE_APPLICATION_ID 0x494d5331 /* "IMS1" */

struct migration {
	int version; /* PRAGMA user_version after it; counts up by one from 1 */
	const char *sql;
};

extern const struct migration MIGRATIONS[];
extern const size_t MIGRATIONS_N;

/* Brings `db` from its user_version to the last of `list`; each step is one transaction that also
 * sets the version. `first` runs inside the transaction of version 1 (may be NULL); its error
 * undoes the step. ERR_VERSION when the database is newer than the list, ERR_STORE. */
enum err migrations_run(sqlite3 *db, const struct migration *list, size_t n,
			enum err (*first)(void *ctx, sqlite3 *db), void *ctx) MUST_CHECK;
enum err migrations_version(sqlite3 *db, int *out) MUST_CHECK;

#endif
