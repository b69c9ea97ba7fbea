/*
 * rotation.h -- a new identity in place of the old one (wire 9.4), safe against a crash in between.
 *
 * Three files are tied to the identity: the trust store and the audit log by derived keys, the
 * database by a wrapped key. The order:
 *
 *   1. store_prepare_key(): the database key is wrapped a second time, for the new identity; and the ROTATE record
 *      that both keys sign is kept there (im2.md 13.4), for the next life to repeat
 *   2. known_peers.json.<new id>: the trust store under the new keys
 *   3. `rotation`: "<old id> <new id>"
 *   4. keys.json is replaced. This is the moment; the old one is kept as keys.json.<old id>.bak
 *   5. rotation_finish(): the trust store takes its place, the audit log and its old parts are archived as
 *      audit.log.<old id>*, a new chain begins with KEY_ROTATION, `rotation` goes
 *
 * A crash before 4 leaves the old identity with everything it had; what was prepared is removed at the
 * next start. A crash after it is finished by the next start. store_open() takes whichever of its two
 * wrapped keys opens.
 */
#ifndef DAEMON_ROTATION_H
#define DAEMON_ROTATION_H

#include "daemon/commands.h"

/* Steps 1 to 4. *out is the new keyring. The old one stays in use until the process has stopped. */
enum err rotation_begin(struct command_ctx *cx, struct keyring **out, struct fault *f) MUST_CHECK;
/* Call it whenever the keys were loaded, before pins_load(), audit_open() and store_open(). Nothing to
 * do is ERR_OK. */
enum err rotation_finish(const char *home, const struct keyring *k, struct env *env,
			 struct fault *f) MUST_CHECK;

#endif
