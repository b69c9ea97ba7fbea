/*
 * backup_manifest.h -- what is in a backup: its first member, manifest.json.
 *
 * JSON: {"format":"ironmesh-backup/1","created_ms","program","id","name","files":[{"name","bytes","sha256"}]}. The files follow in
 * this order. Each name matches a row of state.h that is backed up, none comes twice, each fits its row, and what a backup
 * must have is there. Members that this program does not know are ignored; another format is ERR_VERSION.
 */
#ifndef STORE_BACKUP_MANIFEST_H
#define STORE_BACKUP_MANIFEST_H

#include "base/buf.h"
#include "base/hash.h"
#include "store/state.h"
#include "trust/identity.h"

#define BACKUP_MANIFEST "manifest.json"
#define BACKUP_MANIFEST_MAX (256u << 10)

struct backup_file {
	char name[STATE_NAME_MAX];
	const struct state_row *row;
	uint64_t bytes;
	uint8_t sha256[HASH_BYTES];
};

struct backup_manifest {
	uint64_t created_ms; /* wall */
	char program[32];    /* its version */
	struct node_id id;
	char name[257];      /* of the agent, fit for a terminal */
	size_t n;
	struct backup_file *files;
	uint64_t bytes; /* of all files */
};

enum err backup_manifest_parse(struct bytes json, struct backup_manifest *out, struct fault *f) MUST_CHECK;
enum err backup_manifest_write(const struct backup_manifest *m, struct buf *out) MUST_CHECK;
/* Reads and hashes every file of `folder` that is backed up. ERR_NOTFOUND: one that must be there is not. */
enum err backup_manifest_of(const char *folder, uint64_t wall_ms, struct backup_manifest *out, struct fault *f) MUST_CHECK;
void backup_manifest_fini(struct backup_manifest *m); /* safe on a zeroed one, and twice */

#endif
