/*
 * import.h -- the state of the software that came before, and its IMB1 archives, become a home folder of ours (wire 9.11).
 *
 *   keys.json            the identity, under the passphrase it has; versions 1 and 2 become 3
 *   known_peers.json     pins, revocations, accepted capabilities
 *   data.db              with the passphrase of the mesh: what waits to be sent, what is held, history
 *   audit.log, .1 .. .5  kept as audit.log.imported; the new log begins with where it ended
 *   invite_ledger.json   invites that are spent
 *
 * Everything else is left, and the report says why. The source is only read. The new folder is staged beside the home folder and
 * takes its place in one step (store/restore.h); configuration that was there already comes along.
 *
 * ironmesh.import/1: from, home, dry_run, id, name, came [{what, count, note}], left [{what, count, why}], warnings [text].
 */
#ifndef DAEMON_IMPORT_H
#define DAEMON_IMPORT_H

#include "base/work.h"
#include "store/store.h"
#include "trust/keyring.h"

/* `archive` opens an IMB1 file, `key` the key file, `mesh` the database. ERR_EXISTS: there is an identity in the home. ERR_DENIED: the key
 * file is encrypted and no passphrase was given. ERR_AUTH: one does not open. All with fault; then nothing was changed. */
enum err import_work(const struct work *w, struct env *env, json_t **result, struct fault *f) MUST_CHECK;

#endif
