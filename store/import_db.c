#include "store/import_db.h"

#include <sodium.h>
#include <sqlite3.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/secret.h"
#include "base/text.h"
#include "store/inbox.h"
#include "store/outbox.h"
#include "trust/identity.h"

#define STORAGE_PREFIX "IMSTOREv2\0"
#define STORAGE_INFO "ironmesh-storage-key-v2\0"
#define LEGACY_WORD "ironmesh-storage-v1"
#define SALT 16
#define OPS 3
#define MEM 268435456u
#define OVERHEAD (crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES)
#define ROWS_MAX 100000 /* of each table, the newest */
#define GROUP 500
#define VALUE_MAX (64 << 20) /* more than any message of theirs */

struct reading {
	const struct import_db *in;
	sqlite3 *db;
	bool has_key;
	struct secret key, legacy;
	struct buf clear;
	unsigned in_group;
	struct import_db_counts n;
};

/* --- payloads -------------------------------------------------------------------------------------------------- */
static enum err open_with(struct buf *out, struct bytes sealed, const struct secret *key)
{
	uint8_t *p;

	if (sealed.n < OVERHEAD)
		return ERR_SHORT;
	p = buf_reserve(out, sealed.n - OVERHEAD + 1);
	if (!p)
		return out->err;
	if (crypto_secretbox_open_easy(p, sealed.p + crypto_secretbox_NONCEBYTES, sealed.n - crypto_secretbox_NONCEBYTES, sealed.p,
				       key->p) != 0)
		return ERR_AUTH;
	out->n += sealed.n - OVERHEAD;
	return ERR_OK;
}

/* With the prefix it is sealed; without it, sealed in the older way, or clear. */
static enum err payload(struct reading *r, struct bytes in)
{
	struct bytes prefix = BYTES_LIT(STORAGE_PREFIX);

	buf_wipe(&r->clear);
	if (in.n > STORE_BODY_MAX)
		return ERR_LIMIT;
	if (in.n >= prefix.n && memcmp(in.p, prefix.p, prefix.n) == 0)
		return r->has_key ? open_with(&r->clear, bytes_of(in.p + prefix.n, in.n - prefix.n), &r->key) : ERR_AUTH;
	if (r->has_key && open_with(&r->clear, in, &r->legacy) == ERR_OK)
		return ERR_OK;
	r->clear.err = ERR_OK;
	r->clear.n = 0;
	buf_add(&r->clear, in);
	return r->clear.err;
}

static struct bytes column(sqlite3_stmt *st, int i)
{
	const void *p = sqlite3_column_blob(st, i);

	return bytes_of(p, p ? (size_t)sqlite3_column_bytes(st, i) : 0);
}

static uint64_t milliseconds(sqlite3_stmt *st, int i)
{
	double s = sqlite3_column_double(st, i);

	return s > 0 && s < 1e11 ? (uint64_t)(s * 1000) : 0;
}

static uint8_t priority(struct bytes word)
{
	static const char *const words[] = { "LOW", "NORMAL", "HIGH", "CRITICAL" };

	for (uint8_t i = 0; i < 4; i++)
		if (bytes_eq(word, bytes_str(words[i])))
			return i;
	return 1;
}

/* Some hundred rows share a transaction. */
static enum err kept(struct reading *r, enum err e, uint64_t *count)
{
	if (e == ERR_EXISTS || e == ERR_DUPLICATE)
		r->n.twice++;
	else if (e == ERR_FULL)
		r->n.full++;
	else if (e == ERR_MALFORMED || e == ERR_LIMIT)
		r->n.strange++;
	else if (e != ERR_OK)
		return e;
	else
		++*count;
	return ++r->in_group % GROUP == 0 ? store_commit(r->in->store) : ERR_OK;
}

/* --- tables ---------------------------------------------------------------------------------------------------- */
struct row {
	struct node_id peer;
	struct bytes id, type, body;
	uint8_t priority;
	uint64_t created_ms;
	bool outbound;
};

typedef enum err (*row_fn)(struct reading *r, const struct row *x, uint64_t *count);

static enum err put_waiting(struct reading *r, const struct row *x, uint64_t *count)
{
	struct outbox_new m = { .id = x->id, .to = x->peer, .type = x->type, .priority = x->priority, .created_ms = x->created_ms,
				.body = x->body };
	uint8_t wire[16];
	int64_t seq;

	return kept(r, outbox_put(r->in->store, &m, &seq, wire), count);
}

static enum err put_inbox(struct reading *r, const struct row *x, bool held, int64_t *seq)
{
	struct inbox_new m = { .author = x->peer, .via = x->peer, .id = x->id, .type = x->type, .priority = x->priority,
			       .created_ms = x->created_ms, .received_ms = x->created_ms ? x->created_ms : env_wall(r->in->env), .held = held,
			       .body = x->body };
	enum inbox_state state;

	return inbox_put(r->in->store, &m, seq, &state);
}

static enum err put_held(struct reading *r, const struct row *x, uint64_t *count)
{
	int64_t seq;

	return kept(r, put_inbox(r, x, true, &seq), count);
}

/* What came was read by the old software's programs: it is history, and nobody is told again that it was read. */
static enum err put_history(struct reading *r, const struct row *x, uint64_t *count)
{
	uint64_t now = env_wall(r->in->env);
	struct outbox_new m = { .id = x->id, .to = x->peer, .type = x->type, .priority = x->priority, .created_ms = x->created_ms,
				.body = x->body };
	uint8_t wire[16];
	bool changed;
	int64_t seq;
	enum err e;

	if (x->outbound) {
		e = outbox_put(r->in->store, &m, &seq, wire);
		if (e == ERR_OK)
			e = outbox_move(r->in->store, seq, OUTBOX_SENT, "imported", now);
	} else {
		e = put_inbox(r, x, false, &seq);
		if (e == ERR_OK)
			e = inbox_mark_read(r->in->store, seq, now, &changed);
		if (e == ERR_OK)
			e = inbox_mark_reported(r->in->store, seq);
	}
	return kept(r, e, count);
}

/* SELECT peer, id, type, payload, priority, created, outbound */
static enum err each(struct reading *r, const char *sql, row_fn fn, uint64_t *count)
{
	sqlite3_stmt *st = NULL;
	enum err e = ERR_OK;
	int rc;

	*count = 0;
	if (sqlite3_prepare_v2(r->db, sql, -1, &st, NULL) != SQLITE_OK)
		return ERR_NOTFOUND; /* an older schema has no such table */
	while (e == ERR_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct row x = { .id = column(st, 1), .type = column(st, 2), .priority = priority(column(st, 4)),
				 .created_ms = milliseconds(st, 5), .outbound = sqlite3_column_int(st, 6) != 0 };

		if (node_id_parse(column(st, 0), &x.peer) != ERR_OK || node_id_eq(&x.peer, r->in->self) || x.id.n == 0 || x.type.n == 0) {
			r->n.strange++;
			continue;
		}
		e = payload(r, column(st, 3));
		x.body = buf_bytes(&r->clear);
		if (e == ERR_AUTH || e == ERR_SHORT || e == ERR_LIMIT) {
			r->n.unopened++;
			e = ERR_OK;
		} else if (e == ERR_OK) {
			e = fn(r, &x, count);
		}
	}
	if (e == ERR_OK && rc != SQLITE_DONE)
		e = ERR_CORRUPT;
	sqlite3_finalize(st);
	return e;
}

/* --- the key --------------------------------------------------------------------------------------------------- */
static enum err make_keys(struct reading *r, struct fault *f)
{
	uint8_t salt[SALT];
	struct secret stretched;
	sqlite3_stmt *st = NULL;
	bool has_salt = false;
	enum err e;

	if (!r->in->mesh.n)
		return ERR_OK;
	if (sqlite3_prepare_v2(r->db, "SELECT value FROM _meta WHERE key = 'storage_salt'", -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		has_salt = base64_decode_exact(column(st, 0), salt, sizeof salt) == ERR_OK;
	sqlite3_finalize(st);
	e = secret_new(&r->legacy, HASH_BYTES);
	if (e == ERR_OK)
		e = secret_new(&r->key, HASH_BYTES);
	if (e == ERR_OK)
		e = secret_new(&stretched, HASH_BYTES);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "no memory for the key of the old database");
	sha256_2(r->in->mesh, BYTES_LIT(LEGACY_WORD), r->legacy.p);
	r->has_key = true;
	if (has_salt) {
		if (crypto_pwhash(stretched.p, stretched.n, (const char *)r->in->mesh.p, r->in->mesh.n, salt, OPS, MEM,
				  crypto_pwhash_ALG_ARGON2ID13) != 0)
			e = fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory to make the key of the old database");
		else
			hkdf_sha256(secret_bytes(&stretched), BYTES_ARR(salt), BYTES_LIT(STORAGE_INFO), r->key.p, r->key.n);
	}
	secret_free(&stretched);
	return e;
}

#define LIMIT " LIMIT 100000"
_Static_assert(ROWS_MAX == 100000, "as in the statements");

static int go_on(void *ctx)
{
	return !backup_go_on(ctx, "read", 0, 0);
}

/* Whatever somebody has put in place of the tables: no view, no trigger, no function with effects, no value without a limit. */
static enum err open_foreign(const struct import_db *in, sqlite3 **db)
{
	sqlite3_stmt *st = NULL;
	const unsigned char *word;
	enum err e = ERR_CORRUPT;

	if (sqlite3_open_v2(in->path, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
		return ERR_CORRUPT;
	sqlite3_db_config(*db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(*db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_db_config(*db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	sqlite3_db_config(*db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
	sqlite3_limit(*db, SQLITE_LIMIT_LENGTH, VALUE_MAX);
	sqlite3_limit(*db, SQLITE_LIMIT_ATTACHED, 0);
	sqlite3_progress_handler(*db, 10000, go_on, (void *)(uintptr_t)in->watch);
	if (sqlite3_exec(*db, "PRAGMA cell_size_check = ON", NULL, NULL, NULL) == SQLITE_OK &&
	    sqlite3_prepare_v2(*db, "PRAGMA quick_check(1)", -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW &&
	    (word = sqlite3_column_text(st, 0)) && strcmp((const char *)word, "ok") == 0)
		e = ERR_OK;
	sqlite3_finalize(st);
	return e;
}

enum err import_db(const struct import_db *in, struct import_db_counts *out, struct fault *f)
{
	struct reading r = { .in = in };
	enum err e;

	buf_init(&r.clear, STORE_BODY_MAX + OVERHEAD + 1);
	e = open_foreign(in, &r.db);
	if (e == ERR_OK)
		e = make_keys(&r, f);
	if (e == ERR_OK)
		e = each(&r, "SELECT peer_node_id, msg_id, msg_type, payload, priority, created_at, 1 FROM pending_messages"
			     " WHERE delivered = 0 ORDER BY id" LIMIT, put_waiting, &r.n.waiting);
	if (e == ERR_OK || e == ERR_NOTFOUND)
		e = each(&r, "SELECT source_node_id, msg_id, msg_type, payload, priority, queued_at, 0 FROM pending_trust_messages"
			     " ORDER BY id" LIMIT, put_held, &r.n.held);
	if (e == ERR_OK || e == ERR_NOTFOUND)
		e = each(&r, "SELECT CASE direction WHEN 'outbound' THEN destination ELSE source END, msg_id, msg_type, payload, priority,"
			     " timestamp, direction = 'outbound' FROM (SELECT * FROM messages ORDER BY timestamp DESC" LIMIT ")"
			     " ORDER BY timestamp", put_history, &r.n.history);
	if (e == ERR_NOTFOUND)
		e = ERR_OK;
	if (e == ERR_OK)
		e = store_commit(in->store);
	else
		store_rollback(in->store);
	if (e != ERR_OK && sqlite3_errcode(r.db) == SQLITE_INTERRUPT)
		e = ERR_CLOSED;
	sqlite3_close(r.db);
	secret_free(&r.key);
	secret_free(&r.legacy);
	buf_wipe(&r.clear);
	buf_fini(&r.clear);
	if (e == ERR_OK)
		*out = r.n;
	else if (e == ERR_CLOSED)
		fault_set(f, e, EXIT_GENERIC, "the import was ended before it was whole; nothing was changed");
	else if (e != ERR_NOMEM) {
		fault_set(f, e, EXIT_INTEGRITY, "the old database cannot be read: %s", err_word(e));
		fault_next(f, "the same command on a copy of the folder without data.db   (messages stay behind)");
	}
	return e;
}
