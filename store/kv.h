/*
 * kv.h -- small sealed values that belong to the node: prekeys, records of others, generations.
 *
 * A space is a short word. Values are sealed under the database key with space and key as associated data;
 * spaces and keys are in clear in the file, so no secret is a key. Everything is in the group, like the rows
 * of the boxes: what was put is durable when store_commit() said so (a prekey before its record leaves, 11.3;
 * a generation before its record, 13.1).
 *
 * A value that is deleted or replaced is overwritten in the database in the same group. Its last copy, in the
 * WAL, goes with the next store_checkpoint(), for which store_checkpoint_due() then asks: only after it is a
 * prekey gone from the files.
 */
#ifndef STORE_KV_H
#define STORE_KV_H

#include "store/store.h"

#define KV_SPACE_MAX 32
#define KV_KEY_MAX 64
#define KV_VALUE_MAX 20000

/* Sets or replaces. ERR_LIMIT for what is too long, ERR_MALFORMED for an empty space or key. */
enum err store_kv_put(struct store *s, const char *space, struct bytes key, struct bytes value) MUST_CHECK;
/* Appends the clear value. ERR_NOTFOUND; ERR_CORRUPT when it was altered or moved. */
enum err store_kv_get(struct store *s, const char *space, struct bytes key, struct buf *out) MUST_CHECK;
/* ERR_NOTFOUND when there is none. */
enum err store_kv_del(struct store *s, const char *space, struct bytes key) MUST_CHECK;
/* Every pair of a space in order of keys, until `fn` says false. `value` is wiped after the call; `fn` must not
 * touch the store. A value that does not open is left out and logged. */
typedef bool (*store_kv_fn)(void *ctx, struct bytes key, struct bytes value);
enum err store_kv_each(struct store *s, const char *space, store_kv_fn fn, void *ctx) MUST_CHECK;

#endif
