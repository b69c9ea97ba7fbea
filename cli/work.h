/*
 * work.h -- ordering a long piece of work (base/work.h): its passphrases, a bar on the terminal, an end by Ctrl-C.
 */
#ifndef CLI_WORK_H
#define CLI_WORK_H

#include "cli/command.h"

/* --passphrase-file, --passphrase-fd (of the archive) and --key-passphrase-file (of the identity in it). */
extern const struct opt work_archive_opts[];

/* The passphrase of an archive: the options, the credential "ironmesh-backup", $IRONMESH_BACKUP_PASSPHRASE, a prompt; `fresh` asks
 * twice. All with fault. */
enum err work_archive_passphrase(struct cli *c, bool fresh, struct secret *out, struct fault *f) MUST_CHECK;
/* Of the identity inside: --key-passphrase-file. ERR_OK and empty without it. */
enum err work_key_passphrase(struct cli *c, struct secret *out, struct fault *f) MUST_CHECK;

/* Carries it out in this process. On stderr of a terminal there is a bar, unless --quiet or --json. A Ctrl-C ends the work, which
 * cleans up, and is ERR_CLOSED with exit code 130. Takes `params`. */
struct work_passphrases {
	struct bytes archive, key, mesh;
};
enum err work_do(struct cli *c, const char *verb, json_t *params, const struct work_passphrases *p, json_t **result,
		 struct fault *f) MUST_CHECK;
/* "12.3 MiB" */
const char *size_text(uint64_t bytes, char *buf, size_t cap);

#endif
