/*
 * restore.h -- an unpacked backup takes the place of the home folder, all of it or nothing.
 *
 * It is staged in a folder beside the home folder, flushed to disk, checked there by the caller, and exchanged with the home
 * folder in one rename: whoever looks, at any moment, also after a crash, finds the old one or the new one. The old one is kept
 * as HOME.before-restore-TIME. What an interrupted restore has left is removed by the next one.
 *
 * The file `restored` in the new folder says to the next start that this is an older copy (daemon/restored.h).
 */
#ifndef STORE_RESTORE_H
#define STORE_RESTORE_H

#include "store/backup.h"

#define RESTORED_MARK "restored"

/* Whether `home` is there, and holds anything. Whoever finds it used takes its lock before it is staged. */
enum restore_target { RESTORE_ABSENT, RESTORE_EMPTY, RESTORE_USED };
enum err restore_look(const char *home, enum restore_target *out, struct fault *f) MUST_CHECK;
/* ERR_EXISTS: `home` holds something of no row of state.h, so it is perhaps no home folder at all. */
enum err restore_of_ours(const char *home, struct fault *f) MUST_CHECK;

/* Makes "HOME.restore-<16 hex>". *lock is held until the caller closes it. ERR_DENIED, ERR_STORE, ... */
enum err restore_stage(const char *home, char staged[static 4096], int *lock, struct fault *f) MUST_CHECK;
/* With `mark` the mark, and everything on disk; as root, it all belongs to the owner of the old folder. `archive_ms`: when the backup was made. */
enum err restore_finish(const char *home, const char *staged, bool mark, uint64_t archive_ms, uint64_t wall_ms,
			 struct fault *f) MUST_CHECK;
/* The exchange. `seen`: what restore_look() said before. kept: where the old folder is now; "" when there was none. ERR_EXISTS: another program made something there meanwhile;
 * ERR_UNSUPPORTED: the file system cannot, or HOME is a mount point. */
enum err restore_swap(const char *home, const char *staged, enum restore_target seen, uint64_t wall_ms, char kept[static 4096],
		      struct fault *f) MUST_CHECK;
/* Deletes such a folder: what rows of state.h name, and the folder. */
void restore_drop(const char *path);

#endif
