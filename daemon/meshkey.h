/*
 * meshkey.h -- the mesh key of im2 (im2.md 2.4), stretched from the passphrase on libuv's pool.
 *
 * Argon2id takes a tenth of a second and 64 MiB: neither the start nor the loop waits for it. Without memory it
 * is tried again until meshkey_stop().
 */
#ifndef DAEMON_MESHKEY_H
#define DAEMON_MESHKEY_H

#include <uv.h>

#include "base/env.h"
#include "base/secret.h"

struct meshkey {
	struct env *env;
	uv_loop_t *loop;
	struct bytes passphrase;       /* borrowed while `working` */
	const char *mesh;
	/* From the loop. The key, borrowed during the call; an answer other than ERR_OK: tried again. */
	enum err (*take)(void *ctx, struct bytes key);
	void (*idle)(void *ctx);       /* after meshkey_stop(): the worker is done */
	void *ctx;
	/* the rest is its own */
	const char *state;             /* "off", "computing", "ready", "failed" */
	bool working, stopped;
	uv_work_t work;
	struct timer timer;
	struct secret key;
	enum err err;
};

/* The members above the line are set. */
void meshkey_start(struct meshkey *m);
/* No call of take() after it. While `working`, what it borrows must stay; idle() comes then. Safe when it never
 * started. */
void meshkey_stop(struct meshkey *m);

#endif
