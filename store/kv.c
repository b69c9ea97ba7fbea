#include "store/kv.h"

#include "base/log.h"
#include "store/store_internal.h"

#define AD_MAX (3 + KV_SPACE_MAX + KV_KEY_MAX)

static enum err check(const char *space, struct bytes key)
{
	size_t n = strlen(space);

	if (n == 0 || key.n == 0)
		return ERR_MALFORMED;
	return n > KV_SPACE_MAX || key.n > KV_KEY_MAX ? ERR_LIMIT : ERR_OK;
}

static struct bytes kv_ad(const char *space, struct bytes key, uint8_t out[static AD_MAX])
{
	struct wr w = wr_init(out, AD_MAX);
	struct bytes ad;

	wr_bytes(&w, BYTES_LIT("kv"));
	wr_bytes(&w, bytes_of(space, strlen(space) + 1));
	wr_bytes(&w, key);
	enum err e = wr_end(&w, &ad);
	BUG_ON(e != ERR_OK);
	return ad;
}

static void bind_name(sqlite3_stmt *st, const char *space, struct bytes key)
{
	sqlite3_bind_text(st, 1, space, -1, SQLITE_STATIC);
	bind_bytes(st, 2, key);
}

/* With secure_delete in full: what is freed is overwritten with zeroes, whole pages too. Elsewhere that would
 * write every page once more that a delivered body leaves. */
static enum err write_erasing(struct store *s, sqlite3_stmt *st)
{
	if (sqlite3_exec(s->db, "PRAGMA secure_delete = ON", NULL, NULL, NULL) != SQLITE_OK)
		return store_fail_group(s, "secure-delete");
	enum err e = store_write(s, st);
	if (sqlite3_exec(s->db, "PRAGMA secure_delete = FAST", NULL, NULL, NULL) != SQLITE_OK &&
	    e == ERR_OK)
		e = store_fail_group(s, "secure-delete");
	return e;
}

static enum err erase(struct store *s, const char *space, struct bytes key, bool *was)
{
	sqlite3_stmt *st = store_stmt(s, ST_KV_DEL, "DELETE FROM kv WHERE space = ?1 AND key = ?2");

	if (!st)
		return ERR_STORE;
	bind_name(st, space, key);
	enum err e = write_erasing(s, st);
	if (e != ERR_OK)
		return e;
	*was = sqlite3_changes(s->db) != 0;
	s->wiped |= *was;
	return ERR_OK;
}

enum err store_kv_put(struct store *s, const char *space, struct bytes key, struct bytes value)
{
	uint8_t ad[AD_MAX];
	bool was;
	enum err e = check(space, key);

	if (e == ERR_OK && value.n > KV_VALUE_MAX)
		e = ERR_LIMIT;
	if (e != ERR_OK)
		return e;
	if (s->failed)
		return ERR_STORE;
	buf_reset(&s->sealed_body);
	e = seal_put(&s->seal, kv_ad(space, key, ad), value, &s->sealed_body);
	if (e == ERR_OK)
		e = erase(s, space, key, &was);
	if (e != ERR_OK)
		return e;
	sqlite3_stmt *st = store_stmt(s, ST_KV_PUT, "INSERT INTO kv (space, key, value) VALUES (?1, ?2, ?3)");
	if (!st)
		return ERR_STORE;
	bind_name(st, space, key);
	bind_bytes(st, 3, buf_bytes(&s->sealed_body));
	return store_write(s, st);
}

enum err store_kv_get(struct store *s, const char *space, struct bytes key, struct buf *out)
{
	uint8_t ad[AD_MAX];
	bool row;
	enum err e = check(space, key);

	if (e != ERR_OK)
		return e;
	sqlite3_stmt *st =
		store_stmt(s, ST_KV_GET, "SELECT value FROM kv WHERE space = ?1 AND key = ?2");
	if (!st)
		return ERR_STORE;
	bind_name(st, space, key);
	e = store_read(s, st, &row);
	if (e != ERR_OK)
		return e;
	if (!row)
		return ERR_NOTFOUND;
	e = seal_open(&s->seal, kv_ad(space, key, ad), column_bytes(st, 0), out);
	sqlite3_reset(st);
	return e;
}

enum err store_kv_del(struct store *s, const char *space, struct bytes key)
{
	bool was;
	enum err e = check(space, key);

	if (e != ERR_OK)
		return e;
	if (s->failed)
		return ERR_STORE;
	e = erase(s, space, key, &was);
	return e == ERR_OK && !was ? ERR_NOTFOUND : e;
}

enum err store_kv_each(struct store *s, const char *space, store_kv_fn fn, void *ctx)
{
	uint8_t ad[AD_MAX];
	struct buf clear;
	bool row = true, more = true;
	enum err e = ERR_OK;
	sqlite3_stmt *st = store_stmt(s, ST_KV_EACH,
				      "SELECT key, value FROM kv WHERE space = ?1 ORDER BY key");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_text(st, 1, space, -1, SQLITE_STATIC);
	buf_init(&clear, KV_VALUE_MAX);
	while (more) {
		e = store_read(s, st, &row);
		if (e != ERR_OK || !row)
			break;
		struct bytes key = column_bytes(st, 0);
		e = check(space, key);
		if (e == ERR_OK)
			e = seal_open(&s->seal, kv_ad(space, key, ad), column_bytes(st, 1), &clear);
		if (e == ERR_NOMEM)
			break;
		if (e == ERR_OK)
			more = fn(ctx, key, buf_bytes(&clear));
		else
			log_error("store-value-corrupt space=%s", space);
		e = ERR_OK;
		buf_wipe(&clear);
	}
	sqlite3_reset(st);
	buf_wipe(&clear);
	buf_fini(&clear);
	return e;
}
