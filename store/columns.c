/* Values between C and columns: numbers, bytes, node ids, and the names of rows. */
#include "store/store_internal.h"

#include "base/text.h"

void bind_int(sqlite3_stmt *st, int i, uint64_t v)
{
	sqlite3_bind_int64(st, i, (sqlite3_int64)clip_time(v));
}

void bind_bytes(sqlite3_stmt *st, int i, struct bytes b)
{
	/* A null pointer would bind NULL; an empty value is still a value. */
	sqlite3_bind_blob64(st, i, b.n ? (const void *)b.p : "", b.n, SQLITE_STATIC);
}

struct bytes column_bytes(sqlite3_stmt *st, int i)
{
	const void *p = sqlite3_column_blob(st, i);

	return bytes_of(p, p ? (size_t)sqlite3_column_bytes(st, i) : 0);
}

enum err peer_blob(const struct node_id *id, uint8_t out[static PEER_BLOB_BYTES])
{
	return hex_decode(bytes_of(id->hex, NODE_ID_LEN), out, PEER_BLOB_BYTES);
}

enum err peer_from_column(sqlite3_stmt *st, int i, struct node_id *out)
{
	struct bytes b = column_bytes(st, i);

	if (b.n != PEER_BLOB_BYTES)
		return ERR_CORRUPT;
	hex_encode(b, out->hex);
	return ERR_OK;
}

bool id_ok(struct bytes id)
{
	return id.n >= 1 && id.n <= STORE_ID_MAX && !memchr(id.p, 0, id.n);
}

bool row_id_ok(struct bytes id, struct bytes wire)
{
	if (wire.n != 0 && wire.n != WIRE_ID_BYTES)
		return false;
	return id.n ? id_ok(id) : wire.n != 0;
}

struct bytes id_key(struct bytes id, uint8_t raw[static WIRE_ID_BYTES])
{
	if (id.n != 2 * WIRE_ID_BYTES || hex_decode(id, raw, WIRE_ID_BYTES) != ERR_OK)
		return id;
	return bytes_of(raw, WIRE_ID_BYTES);
}

unsigned row_keys(struct bytes id, const uint8_t *wire, struct row_keys *k)
{
	unsigned n = 0;

	if (wire)
		k->key[n++] = bytes_of(wire, WIRE_ID_BYTES);
	if (!id.n)
		return n;
	struct bytes key = id_key(id, k->raw);
	if (!wire || !bytes_eq(key, k->key[0]))
		k->key[n++] = key;
	return n;
}

void old_row_names(struct old_row *o, struct bytes id, struct bytes wire)
{
	o->id_n = id.n;
	if (id.n)
		memcpy(o->id, id.p, id.n);
	o->has_wire = wire.n == WIRE_ID_BYTES;
	if (o->has_wire)
		memcpy(o->wire, wire.p, WIRE_ID_BYTES);
}
