/*
 * state_work.h -- backup, verify, restore and import, in the process of a command (base/work.h).
 *
 *   backup.write   file, force; folder, created_ms, left_out, left_out_n: what the daemon's `backup.snapshot` answered, else the home is
 *                  locked and copied here   -> ironmesh.backup/1
 *   backup.verify  file                     -> ironmesh.backup/1
 *   backup.look    file                     -> ironmesh.backup/1, only its list of contents is read
 *   restore        file, force, dry_run, discard_old                     -> ironmesh.restore/1
 *   import         from, dry_run, accept_unverified                      -> ironmesh.import/1 (import.h)
 *
 * A backup that cannot be read back, or whose files do not fit together, is none: it gets no name.
 */
#ifndef DAEMON_STATE_WORK_H
#define DAEMON_STATE_WORK_H

#include "base/work.h"
#include "store/state_check.h"

enum err state_work_backup(const struct work *w, struct env *env, json_t **result, struct fault *f) MUST_CHECK;
enum err state_work_verify(const struct work *w, struct env *env, json_t **result, struct fault *f) MUST_CHECK;
enum err state_work_restore(const struct work *w, struct env *env, json_t **result, struct fault *f) MUST_CHECK;

/* The keys of the identity in `folder`, if one of the passphrases at hand opens it: none (a clear file), `key`, the files that
 * are kept in the folder, `other`. Out is not known when none does; that is no error, but a `key` that does not open is ERR_AUTH. */
enum err state_work_open(const char *folder, struct bytes key, struct bytes other, struct env *env, struct state_keys *out,
			 struct fault *f) MUST_CHECK;

#endif
