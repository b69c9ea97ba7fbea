/*
 * doctor.h -- what is wrong with this node, and the command that mends it.
 *
 * One table of checks, in the order in which a person would look. It runs in the process of the command, outside the
 * daemon's walls, with and without a running daemon: what only the daemon knows, the caller has asked it before. It changes
 * nothing, but for the repairs that `fix` allows: permissions and leftovers of our own files. Keys and trust
 * are never touched.
 */
#ifndef DAEMON_DOCTOR_H
#define DAEMON_DOCTOR_H

#include "base/json.h"
#include "base/secret.h"

/*
 * `asked`: {
 *   "fix", "dry_run": repair what is safe; say only what would be done
 *   "queue_age_ms": from which age a waiting message is a finding
 *   "link": what came of the control socket: "up", "none" (no socket), "stale" (nobody answers there), "denied", "silent"
 *   "status", "audit", "queue": the daemon's answers to `status`, `audit.verify`, the rows of `queue.list`; absent without one
 * }
 * *result is ironmesh.doctor/1: `state` (the worst), `checks` [{`name`, `state`, `what`, `means`, `fix`}], `repairs` [text].
 * Blocks: up to seconds for a large database or an encrypted key file.
 */
enum err daemon_doctor(const char *home, struct bytes passphrase, const json_t *asked, json_t **result,
		       struct fault *f) MUST_CHECK;
/* The table, for `--list` and the documents. False past the end. */
bool daemon_doctor_check(unsigned i, const char **name, const char **about);

/* The part of `--peer` that needs no key: *result is {`steps` [{`name`, `ok`, `took_us`, `detail`}], `failed` (a step, or null),
 * `err`, `says`, `plain`, `tls_key`, `im2`, `old`}. ERR_USAGE: no address. Blocks for seconds. */
enum err daemon_doctor_reach(const char *address, json_t **result, struct fault *f) MUST_CHECK;
/* Both parts together, in the user's terms: ironmesh.doctor.peer/1: `address`, `state`, `steps` [{`name`, `state`, `ms`, `what`}],
 * `what`, `means`, `fix`. `asked`: {"address", "reach", "handshake" (the daemon's answer to doctor.peer; absent: `why_not`)}. */
enum err daemon_doctor_judge(const json_t *asked, json_t **result, struct fault *f) MUST_CHECK;

#endif
