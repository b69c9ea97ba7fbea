/*
 * backup.h -- the whole state of a node in one file that a passphrase opens, and back.
 *
 *   snapshot   of the home folder, taken in one turn, copied to a folder of its own (snapshot.h)
 *   pack       that folder -> manifest || files -> tar -> zstd -> sealed stream (backup_stream.h) -> FILE
 *   open       FILE -> its manifest, which is checked whole before anything else is read
 *   unpack     every file, against its name, size and hash; into a new folder, or nowhere
 *
 * The format, byte by byte: docs/backup-format.md. No path that an archive names is ever used: names are those of state.h. Sizes
 * are limited by the row of a file, by the manifest, and in all by BACKUP_RATIO times the archive.
 * Everything here blocks and may run on any thread; nothing touches a keyring.
 */
#ifndef STORE_BACKUP_H
#define STORE_BACKUP_H

#include "store/backup_manifest.h"
#include "store/backup_stream.h"

/* More than a real state is ever compressed by; a small archive may always hold BACKUP_FREE bytes. */
#define BACKUP_RATIO 200u
#define BACKUP_FREE (64ull << 20)

/* Told now and then, from the thread that works; false ends the work with ERR_CLOSED. `fn` may be NULL. */
struct backup_watch {
	bool (*fn)(void *ctx, const char *phase, uint64_t done, uint64_t all);
	void *ctx;
};
static inline bool backup_go_on(const struct backup_watch *w, const char *phase, uint64_t done, uint64_t all)
{
	return !w || !w->fn || w->fn(w->ctx, phase, done, all);
}

/* --- writing ----------------------------------------------------------------------------------------- */
/* Packs `folder` as `m` lists it. `fd` is empty and stays the caller's; it is flushed to disk. *bytes: its length. ERR_STORE: disk
 * full. */
enum err backup_pack(const char *folder, const struct backup_manifest *m, int fd, struct bytes passphrase,
		     struct backup_cost cost, const struct backup_watch *w, uint64_t *bytes, struct fault *f) MUST_CHECK;

/* From folder to FILE: packed under a temporary name in the folder of FILE (mode 0600), flushed, read again from the disk and held
 * against the manifest; only then it gets its name. With `replace` an older FILE goes in the same moment; else ERR_EXISTS. What an
 * interrupted run has left under a temporary name of FILE is removed first. */
struct backup_made {
	struct backup_manifest manifest; /* the caller ends it */
	uint64_t bytes;
};
enum err backup_make(const char *folder, const char *file, struct bytes passphrase, struct backup_cost cost, bool replace,
		     uint64_t wall_ms, const struct backup_watch *w, struct backup_made *out, struct fault *f) MUST_CHECK;

/* --- reading ----------------------------------------------------------------------------------------- */
struct backup;

/* Opens FILE, which must be a regular file, and reads its manifest. Errors as backup_in_new() and backup_manifest_parse(). */
enum err backup_open(const char *file, struct bytes passphrase, struct backup **out, struct fault *f) MUST_CHECK;
const struct backup_manifest *backup_manifest(const struct backup *b);
uint64_t backup_bytes(const struct backup *b); /* of the file */
/* Reads all the rest, once. Into `folder`, which is there and empty, or with NULL nowhere: then it is only checked. Each file is
 * flushed to disk. ERR_CORRUPT, ERR_SHORT, ERR_TRAILING, ERR_MALFORMED, ERR_LIMIT: not what was packed; ERR_STORE: no room. */
enum err backup_unpack(struct backup *b, const char *folder, const struct backup_watch *w, struct fault *f) MUST_CHECK;
void backup_close(struct backup *b); /* accepts NULL */

#endif
