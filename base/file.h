/*
 * file.h -- files that hold secrets or state, opened so that surprises fail closed.
 *
 * A secret file must be a regular file, owned by us (or root), mode 0600 or stricter, with one link,
 * reached without following a final symlink. Writers create O_EXCL 0600, fsync the file, rename
 * over the old one, and fsync the folder.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/buf.h"

/* Reads a whole secret file into `b` (which carries the maximum). The checks above apply.
 * ERR_NOTFOUND, ERR_DENIED (fault names the chmod command), ERR_LIMIT, ERR_IO. */
enum err file_read_secret(const char *path, struct buf *b, struct fault *f) MUST_CHECK;
/* The same without the mode/owner check, for certificates and exports. Regular file, no symlink. */
enum err file_read(const char *path, struct buf *b, struct fault *f) MUST_CHECK;
/* For what decides whom we trust: regular file, no symlink, owned by us or root, not writable by others. */
enum err file_read_trusted(const char *path, struct buf *b, struct fault *f) MUST_CHECK;
/* Nobody but us and root can put a file there or take one away (a sticky folder will do). ERR_DENIED, ERR_NOTFOUND. */
enum err dir_is_trusted(const char *path, struct fault *f) MUST_CHECK;
/* Atomic replace, 0600. The old file stays whole until the rename. */
enum err file_write_secret(const char *path, struct bytes data, struct fault *f) MUST_CHECK;
/* Only if absent (ERR_EXISTS otherwise). */
enum err file_create_secret(const char *path, struct bytes data, struct fault *f) MUST_CHECK;
/* Makes (0700) or checks a folder: ours, not writable by others, not a symlink. */
enum err dir_ensure_private(const char *path, struct fault *f) MUST_CHECK;
enum err dir_fsync_of(const char *path) MUST_CHECK; /* fsyncs the folder that holds `path` */
/* out[cap] = dir "/" name; ERR_LIMIT when it does not fit. */
enum err path_join(char *out, size_t cap, const char *dir, const char *name) MUST_CHECK;

#endif
