/*
 * snapshot.h -- the home folder as it is in one moment, copied while it goes on changing.
 *
 * snapshot_begin() takes the moment: it opens every file that is backed up and begins a read transaction of the database, which
 * costs some descriptors and no copying. The caller has flushed pins, audit log and database before, in the same turn, and is
 * the one who writes them (a daemon on its loop, or a command that holds the lock): so the files agree with each other.
 * snapshot_copy() may then run on another thread, while the node goes on.
 *
 * The WAL of the database grows meanwhile: what is in the snapshot cannot be checkpointed away.
 */
#ifndef STORE_SNAPSHOT_H
#define STORE_SNAPSHOT_H

#include "store/backup.h"

struct snapshot;

/* `config` (may be NULL): a folder elsewhere, whose ironmesh.conf and conf.d come along under names that begin with "service-".
 * ERR_NOTFOUND: a file that must be there is not. ERR_STORE: the database refuses. ERR_LIMIT, ERR_IO, ERR_NOMEM. */
enum err snapshot_begin(const char *home, const char *config, struct snapshot **out, struct fault *f) MUST_CHECK;
/* Into `folder`, which is made (0700); ERR_EXISTS when it is there. What was copied before an error stays for snapshot_remove().
 * Once. ERR_STORE: disk full; ERR_CLOSED: ended by the watch. */
enum err snapshot_copy(struct snapshot *s, const char *folder, const struct backup_watch *w, struct fault *f) MUST_CHECK;
/* Files of the home folder that are in no row, and so not in the snapshot: how many, and their names between commas, cut to fit. */
size_t snapshot_left_out(const struct snapshot *s, char *out, size_t cap);
void snapshot_free(struct snapshot *s); /* ends the transaction; accepts NULL */

/* Deletes a folder that snapshot_copy() or backup_unpack() filled: only what rows of state.h name, and the folder. */
void snapshot_remove(const char *folder);
void snapshot_empty(const char *folder); /* the same, and the folder stays */
/* A fresh name for such a folder in `home`: ".backup-" and 16 hex digits. */
enum err snapshot_folder(const char *home, char *out, size_t cap) MUST_CHECK;
/* Deletes all such folders of ours that an interrupted run has left, but for those that somebody holds by flock. The caller holds the lock of
 * `home`. */
void snapshot_sweep(const char *home);

#endif
