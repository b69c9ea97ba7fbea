/*
 * work.h -- a long piece of work on a home folder, as the command line orders it and the daemon's rooms carry it out.
 *
 * It runs in the process of the command; the running daemon, if there is one, was asked before for what only it can do.
 */
#ifndef BASE_WORK_H
#define BASE_WORK_H

#include "base/json.h"
#include "base/secret.h"

struct work {
	const char *verb;    /* "backup.write", "backup.verify", "backup.look", "restore", "import" */
	const char *home;
	const json_t *params; /* an object; what the verb takes is said in daemon/state_work.h */
	struct bytes archive; /* passphrase of the archive */
	struct bytes key;     /* of the key file; empty: not given */
	struct bytes mesh;    /* of the mesh; empty: not given */
	/* Told now and then; false ends the work. May be NULL. */
	bool (*watch)(void *ctx, const char *phase, uint64_t done, uint64_t all);
	void *ctx;
};

#endif
