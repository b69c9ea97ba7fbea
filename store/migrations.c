#include "store/migrations_internal.h"

#include <stdio.h>

#include "base/log.h"

/*
 * Version 1. Rows are lean and their bodies live beside them, so that a receipt or a listing does
 * not move kilobytes. `rank` is 3 - priority: sending order is then plain ascending (peer, rank,
 * seq). The partial indices hold only rows that are still alive. There is no index of ids: see
 * idmap. peer, author, via: 16 bytes. Times: wall milliseconds. words, body: sealed.
 */
static const char VERSION_1[] =
	"CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE TABLE outbox ("
	" seq INTEGER PRIMARY KEY,"
	" peer BLOB NOT NULL,"
	" id BLOB NOT NULL,"
	" rank INTEGER NOT NULL,"
	" state INTEGER NOT NULL,"
	" attempts INTEGER NOT NULL,"
	" created INTEGER NOT NULL,"
	" expires INTEGER NOT NULL,"
	" changed INTEGER NOT NULL,"
	" body_len INTEGER NOT NULL,"
	" words BLOB NOT NULL) STRICT;"
	"CREATE INDEX outbox_queue ON outbox (peer, rank, seq) WHERE state = 0;"
	"CREATE INDEX outbox_expiry ON outbox (expires) WHERE state = 0 AND expires <> 0;"
	"CREATE TABLE outbox_body (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;"
	"CREATE TABLE inbox ("
	" seq INTEGER PRIMARY KEY,"
	" author BLOB NOT NULL,"
	" via BLOB NOT NULL,"
	" id BLOB NOT NULL,"
	" priority INTEGER NOT NULL,"
	" state INTEGER NOT NULL,"
	" proven INTEGER NOT NULL,"
	" reported INTEGER NOT NULL,"
	" created INTEGER NOT NULL,"
	" received INTEGER NOT NULL,"
	" read INTEGER NOT NULL,"
	" body_len INTEGER NOT NULL,"
	" words BLOB NOT NULL) STRICT;"
	"CREATE INDEX inbox_new ON inbox (seq) WHERE state = 0;"
	"CREATE INDEX inbox_unreported ON inbox (via, seq) WHERE state = 1 AND reported = 0;"
	"CREATE INDEX inbox_held ON inbox (author, seq) WHERE state = 2;"
	"CREATE TABLE inbox_body (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;";

/*
 * Version 2: im2. `wire` is era || number, `keep` running milliseconds; an id that is the hex of the wire id
 * is empty. Queued rows get their wire ids when the store is opened, since their words are sealed anew. What
 * waits is found in memory (waiting_internal.h), so its indices go. `reported` may be 2: let out of the hold.
 * out_era: numbers up to `reserved` may have been given out. in_era: the mark, and until when the era may be
 * needed. in_left: receipts up to this row have left. kv: see kv.h.
 */
static const char VERSION_2[] =
	"ALTER TABLE outbox ADD COLUMN wire BLOB;"
	"ALTER TABLE inbox ADD COLUMN wire BLOB;"
	"ALTER TABLE inbox ADD COLUMN keep INTEGER NOT NULL DEFAULT 0;"
	"DROP INDEX outbox_queue;"
	"DROP INDEX outbox_expiry;"
	"CREATE INDEX inbox_due ON inbox (author, seq) WHERE reported = 2;"
	"CREATE TABLE out_era ("
	" peer BLOB NOT NULL,"
	" era BLOB NOT NULL,"
	" born INTEGER NOT NULL,"
	" reserved INTEGER NOT NULL,"
	" PRIMARY KEY (peer, era)) STRICT, WITHOUT ROWID;"
	"CREATE TABLE in_era ("
	" author BLOB NOT NULL,"
	" era BLOB NOT NULL,"
	" born INTEGER NOT NULL,"
	" mark INTEGER NOT NULL,"
	" keep INTEGER NOT NULL,"
	" PRIMARY KEY (author, era)) STRICT, WITHOUT ROWID;"
	"CREATE TABLE in_left (author BLOB PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE TABLE kv ("
	" space TEXT NOT NULL,"
	" key BLOB NOT NULL,"
	" value BLOB NOT NULL,"
	" PRIMARY KEY (space, key)) STRICT;";

/*
 * Version 3: sealed objects of others, see transit.h. `ends`: running milliseconds. transit_use: how much each neighbour
 * has here, and under the empty key all of them; kept by triggers, so that it cannot differ from the rows.
 */
static const char VERSION_3[] =
	"CREATE TABLE transit ("
	" seq INTEGER PRIMARY KEY,"
	" rid BLOB NOT NULL UNIQUE,"
	" dst BLOB NOT NULL,"
	" src BLOB NOT NULL,"
	" rank INTEGER NOT NULL,"
	" hops INTEGER NOT NULL,"
	" ttl INTEGER NOT NULL,"
	" ends INTEGER NOT NULL,"
	" size INTEGER NOT NULL,"
	" rt BLOB NOT NULL,"
	" body BLOB NOT NULL) STRICT;"
	"CREATE INDEX transit_queue ON transit (dst, rank, seq);"
	"CREATE INDEX transit_ends ON transit (ends);"
	"CREATE TABLE transit_use (src BLOB PRIMARY KEY, n INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE TRIGGER transit_in AFTER INSERT ON transit BEGIN"
	" INSERT INTO transit_use VALUES (new.src, 1, new.size)"
	"  ON CONFLICT (src) DO UPDATE SET n = n + 1, bytes = bytes + new.size;"
	" INSERT INTO transit_use VALUES (x'', 1, new.size)"
	"  ON CONFLICT (src) DO UPDATE SET n = n + 1, bytes = bytes + new.size;"
	" END;"
	"CREATE TRIGGER transit_out AFTER DELETE ON transit BEGIN"
	" UPDATE transit_use SET n = n - 1, bytes = bytes - old.size WHERE src = old.src OR src = x'';"
	" DELETE FROM transit_use WHERE src = old.src AND n = 0;"
	" END;";

/*
 * Version 4: what came sealed through relays: enum inbox_sealed, and when in running milliseconds. Its read receipts go to
 * its author and not to who brought it.
 */
static const char VERSION_4[] =
	"ALTER TABLE inbox ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE inbox ADD COLUMN arrived INTEGER NOT NULL DEFAULT 0;"
	"CREATE INDEX inbox_unreported_sealed ON inbox (author, seq) WHERE state = 1 AND reported = 0 AND sealed <> 0;";

/* Version 5: the steps of a message of ours (track.h); and when a held message was let out or refused. */
static const char VERSION_5[] =
	"ALTER TABLE outbox ADD COLUMN track BLOB NOT NULL DEFAULT x'';"
	"ALTER TABLE inbox ADD COLUMN freed INTEGER NOT NULL DEFAULT 0;";

const struct migration MIGRATIONS[] = {
	{1, VERSION_1},
	{2, VERSION_2},
	{3, VERSION_3},
	{4, VERSION_4},
	{5, VERSION_5},
};
const size_t MIGRATIONS_N = sizeof(MIGRATIONS) / sizeof(MIGRATIONS[0]);

enum err migrations_version(sqlite3 *db, int *out)
{
	sqlite3_stmt *st;

	if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL) != SQLITE_OK)
		return ERR_STORE;
	enum err e = sqlite3_step(st) == SQLITE_ROW ? ERR_OK : ERR_STORE;
	if (e == ERR_OK)
		*out = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	return e;
}

static enum err run(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
		return ERR_OK;
	log_error("store-migration-failed code=%d why=%s", sqlite3_extended_errcode(db),
		  sqlite3_errmsg(db));
	return ERR_STORE;
}

static enum err step(sqlite3 *db, const struct migration *m,
		     enum err (*first)(void *ctx, sqlite3 *db), void *ctx)
{
	char pragma[96];

	snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d; PRAGMA application_id = %d",
		 m->version, STORE_APPLICATION_ID);
	enum err e = run(db, "BEGIN IMMEDIATE");
	if (e != ERR_OK)
		return e;
	e = run(db, m->sql);
	if (e == ERR_OK && m->version == 1 && first)
		e = first(ctx, db);
	if (e == ERR_OK)
		e = run(db, pragma);
	if (e == ERR_OK)
		e = run(db, "COMMIT");
	if (e != ERR_OK && !sqlite3_get_autocommit(db))
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return e;
}

enum err migrations_run(sqlite3 *db, const struct migration *list, size_t n,
			enum err (*first)(void *ctx, sqlite3 *db), void *ctx)
{
	int version;
	enum err e = migrations_version(db, &version);

	if (e != ERR_OK)
		return e;
	if (version < 0 || (size_t)version > n)
		return ERR_VERSION;
	for (size_t i = (size_t)version; i < n; i++) {
		BUG_ON(list[i].version != (int)i + 1);
		e = step(db, &list[i], first, ctx);
		if (e != ERR_OK)
			return e;
		if (version > 0)
			log_info("store-migrated version=%d", list[i].version);
	}
	return ERR_OK;
}
