#include "store/transit.h"

#include "store/store_internal.h"

#define RANK_OF(prio) (uint64_t)(3 - (prio))

static enum err use_of(struct store *s, struct bytes src, uint64_t *objects, uint64_t *bytes)
{
	sqlite3_stmt *st = store_stmt(s, ST_TRANSIT_USE, "SELECT n, bytes FROM transit_use WHERE src = ?1");
	bool row;

	*objects = *bytes = 0;
	if (!st)
		return ERR_STORE;
	bind_bytes(st, 1, src);
	enum err e = store_read(s, st, &row);
	if (e != ERR_OK || !row)
		return e;
	*objects = (uint64_t)sqlite3_column_int64(st, 0);
	*bytes = (uint64_t)sqlite3_column_int64(st, 1);
	sqlite3_reset(st);
	return ERR_OK;
}

void transit_count(struct store *s, uint64_t *objects, uint64_t *bytes)
{
	if (use_of(s, bytes_of("", 0), objects, bytes) != ERR_OK)
		*objects = *bytes = 0;
}

static enum err check_room(struct store *s, const struct transit_limits *l, const uint8_t src[static PEER_BLOB_BYTES],
			   size_t size)
{
	uint64_t n, bytes, all, all_bytes;
	enum err e = use_of(s, bytes_of(src, PEER_BLOB_BYTES), &n, &bytes);

	if (e == ERR_OK)
		e = use_of(s, bytes_of("", 0), &all, &all_bytes);
	if (e != ERR_OK)
		return e;
	return n >= l->objects_per_from || bytes + size > l->bytes_per_from || all_bytes + size > l->bytes ? ERR_FULL :
													      ERR_OK;
}

/* The smallest age that anybody measured is the one that counts. */
static enum err keep_younger(struct store *s, const struct transit_row *kept, uint64_t ends)
{
	sqlite3_stmt *st = store_stmt(s, ST_TRANSIT_YOUNGER, "UPDATE transit SET ends = ?2 WHERE seq = ?1 AND ends < ?2");

	if (!st)
		return ERR_STORE;
	bind_int(st, 1, (uint64_t)kept->seq);
	bind_int(st, 2, ends);
	enum err e = store_write(s, st);
	return e == ERR_OK ? ERR_EXISTS : e;
}

enum err transit_put(struct store *s, const struct transit_limits *l, const struct transit_new *t)
{
	uint8_t dst[PEER_BLOB_BYTES], src[PEER_BLOB_BYTES];
	size_t size = t->rt.n + t->body.n;
	uint64_t ends = store_running_ms(s) + (t->age_s < t->ttl_s ? (uint64_t)(t->ttl_s - t->age_s) * 1000 : 0);
	struct transit_row kept;
	enum err e = peer_blob(&t->to, dst);

	if (e == ERR_OK)
		e = peer_blob(&t->from, src);
	if (e != ERR_OK)
		return e;
	if (s->failed)
		return ERR_STORE;
	e = transit_has(s, t->rid, &kept);
	if (e == ERR_OK)
		return keep_younger(s, &kept, ends);
	if (e == ERR_NOTFOUND)
		e = check_room(s, l, src, size);
	if (e != ERR_OK)
		return e;
	sqlite3_stmt *st = store_stmt(s, ST_TRANSIT_PUT,
				      "INSERT INTO transit (rid, dst, src, rank, hops, ttl, ends, size, rt, body)"
				      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");
	if (!st)
		return ERR_STORE;
	bind_bytes(st, 1, BYTES_ARR(t->rid));
	bind_bytes(st, 2, BYTES_ARR(dst));
	bind_bytes(st, 3, BYTES_ARR(src));
	bind_int(st, 4, RANK_OF(t->prio & 3));
	bind_int(st, 5, t->hops);
	bind_int(st, 6, t->ttl_s);
	bind_int(st, 7, ends);
	bind_int(st, 8, size);
	bind_bytes(st, 9, t->rt);
	bind_bytes(st, 10, t->body);
	return store_write(s, st);
}

/* Columns: seq, rid, dst, src, rank, hops, ttl, ends, length of body. */
#define ROW_COLUMNS "seq, rid, dst, src, rank, hops, ttl, ends, length(body)"

static enum err row_of(struct store *s, sqlite3_stmt *st, struct transit_row *out)
{
	struct bytes rid = column_bytes(st, 1);
	uint64_t now = store_running_ms(s), ends = (uint64_t)sqlite3_column_int64(st, 7), left;
	enum err e = peer_from_column(st, 2, &out->to);

	if (e == ERR_OK)
		e = peer_from_column(st, 3, &out->from);
	if (e != ERR_OK || rid.n != sizeof out->rid)
		return ERR_CORRUPT;
	out->seq = sqlite3_column_int64(st, 0);
	memcpy(out->rid, rid.p, sizeof out->rid);
	out->prio = (uint8_t)(3 - (sqlite3_column_int(st, 4) & 3));
	out->hops = (uint8_t)sqlite3_column_int(st, 5);
	out->ttl_s = (uint32_t)sqlite3_column_int64(st, 6);
	/* Rounded up, as residence is (11.2). */
	left = ends > now ? (ends - now) / 1000 : 0;
	out->age_s = left < out->ttl_s ? out->ttl_s - (uint32_t)left : 0;
	out->body_len = (uint32_t)sqlite3_column_int64(st, 8);
	return ERR_OK;
}

enum err transit_has(struct store *s, const uint8_t rid[static 16], struct transit_row *out)
{
	sqlite3_stmt *st = store_stmt(s, ST_TRANSIT_HAS, "SELECT " ROW_COLUMNS " FROM transit WHERE rid = ?1");
	bool row;

	if (!st)
		return ERR_STORE;
	bind_bytes(st, 1, bytes_of(rid, 16));
	enum err e = store_read(s, st, &row);
	if (e != ERR_OK)
		return e;
	if (!row)
		return ERR_NOTFOUND;
	e = row_of(s, st, out);
	sqlite3_reset(st);
	return e;
}

enum err transit_list(struct store *s, const struct node_id *to, const struct transit_row *after, struct transit_row *rows,
		      size_t max, size_t *n)
{
	uint8_t dst[PEER_BLOB_BYTES];
	bool row = true;
	enum err e = peer_blob(to, dst);
	sqlite3_stmt *st;

	*n = 0;
	if (e != ERR_OK)
		return e;
	st = store_stmt(s, ST_TRANSIT_LIST,
			"SELECT " ROW_COLUMNS " FROM transit WHERE dst = ?1 AND (rank, seq) > (?2, ?3)"
			" ORDER BY rank, seq LIMIT ?4");
	if (!st)
		return ERR_STORE;
	bind_bytes(st, 1, BYTES_ARR(dst));
	bind_int(st, 2, after ? RANK_OF(after->prio) : 0);
	bind_int(st, 3, after ? (uint64_t)after->seq : 0);
	bind_int(st, 4, max);
	while (*n < max) {
		e = store_read(s, st, &row);
		if (e != ERR_OK || !row)
			break;
		e = row_of(s, st, &rows[*n]);
		if (e != ERR_OK)
			break;
		++*n;
	}
	sqlite3_reset(st);
	return e;
}

enum err transit_read(struct store *s, int64_t seq, struct buf *rt, struct buf *body)
{
	sqlite3_stmt *st = store_stmt(s, ST_TRANSIT_READ, "SELECT rt, body FROM transit WHERE seq = ?1");
	bool row;

	if (!st)
		return ERR_STORE;
	bind_int(st, 1, (uint64_t)seq);
	enum err e = store_read(s, st, &row);
	if (e != ERR_OK)
		return e;
	if (!row)
		return ERR_NOTFOUND;
	buf_add(rt, column_bytes(st, 0));
	buf_add(body, column_bytes(st, 1));
	sqlite3_reset(st);
	return rt->err != ERR_OK ? rt->err : body->err;
}

enum err transit_del(struct store *s, int64_t seq)
{
	if (s->failed)
		return ERR_STORE;
	sqlite3_stmt *st = store_stmt(s, ST_TRANSIT_DEL, "DELETE FROM transit WHERE seq = ?1");

	if (!st)
		return ERR_STORE;
	bind_int(st, 1, (uint64_t)seq);
	return store_write(s, st);
}

enum err transit_destinations(struct store *s, const struct node_id *after, struct node_id *out, size_t max, size_t *n)
{
	uint8_t dst[PEER_BLOB_BYTES] = { 0 };
	struct bytes from = bytes_of("", 0); /* before every id */
	enum err e = after ? peer_blob(after, dst) : ERR_OK;
	bool row = true;

	*n = 0;
	if (after)
		from = BYTES_ARR(dst);
	while (e == ERR_OK && row && *n < max) {
		sqlite3_stmt *st = store_stmt(s, ST_TRANSIT_DST,
					      "SELECT dst FROM transit WHERE dst > ?1 ORDER BY dst LIMIT 1");

		if (!st)
			return ERR_STORE;
		bind_bytes(st, 1, from);
		e = store_read(s, st, &row);
		if (e != ERR_OK || !row)
			break;
		e = peer_from_column(st, 0, &out[*n]);
		sqlite3_reset(st);
		if (e == ERR_OK)
			e = peer_blob(&out[(*n)++], dst);
		from = BYTES_ARR(dst);
	}
	return e;
}

enum err transit_expire(struct store *s, size_t max, size_t *n)
{
	*n = 0;
	if (s->failed)
		return ERR_STORE;
	sqlite3_stmt *st = store_stmt(s, ST_TRANSIT_EXPIRE,
				      "DELETE FROM transit WHERE seq IN"
				      " (SELECT seq FROM transit WHERE ends <= ?1 ORDER BY ends LIMIT ?2)");

	if (!st)
		return ERR_STORE;
	bind_int(st, 1, store_running_ms(s));
	bind_int(st, 2, max);
	enum err e = store_write(s, st);
	if (e == ERR_OK)
		*n = (size_t)sqlite3_changes(s->db);
	return e;
}
