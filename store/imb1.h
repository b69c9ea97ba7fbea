/*
 * imb1.h -- the backup archives of the old software (wire 9.10), read only.
 *
 *   "IMB1" || 0x01 || salt(16) || SecretBox blob of a gzip-compressed tar
 *
 * with the members manifest.json, keys.json, known_peers.json and audit.log (a tail of at most 10,000 lines), plain names, each at
 * most once. Anything else in it is refused. The key is Argon2id of its passphrase (3 passes over 256 MiB).
 */
#ifndef STORE_IMB1_H
#define STORE_IMB1_H

#include "base/buf.h"

#define IMB1_FILE_MAX (64u << 20)

struct imb1 {
	struct buf manifest, keys, pins, audit; /* n == 0: not in it */
};
void imb1_fini(struct imb1 *x); /* wipes; safe on a zeroed one */

bool imb1_is(struct bytes file); /* begins like one */
/* The tar inside, appended to `plain`, which has room for the file. ERR_AUTH: another passphrase, or altered; ERR_MALFORMED;
 * ERR_VERSION; ERR_NOMEM. */
enum err imb1_unseal(struct bytes file, struct bytes passphrase, struct buf *plain, struct fault *f) MUST_CHECK;
/* The members of the tar. ERR_MALFORMED: another name, a link, twice, damaged; ERR_LIMIT: too large; ERR_NOTFOUND: no keys.json. */
enum err imb1_unpack(struct bytes plain, struct imb1 *out, struct fault *f) MUST_CHECK;

#endif
