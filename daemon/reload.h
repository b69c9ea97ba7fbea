/*
 * reload.h -- the settings of a running daemon: read again, compared, taken over as far as that goes without a restart.
 *
 * A reload reads and checks everything first. On any mistake nothing changes. Else what may change does so at once, in place
 * (struct run_config keeps its address), no session is dropped but those that the new list of allowed peers does not mean, and
 * what needs a restart is told.
 */
#ifndef DAEMON_RELOAD_H
#define DAEMON_RELOAD_H

#include "base/json.h"
#include "daemon/config.h"

struct reload {
	struct run_config *c;              /* what is in force */
	const struct config_sources *from; /* where it is read again from */
	/* Hears of it after the swap; `was` are the values before. Must not fail. */
	void (*apply)(void *ctx, const struct run_config *was);
	void *ctx;
	uint64_t count, refused;           /* since the start */
	uint64_t at_ms;                    /* wall: the last one; 0 = none */
	struct fault fault;                /* err ERR_OK: the last one went well */
	json_t *restart;                   /* ["lan.port"]: changed in the files, and waits for a restart; NULL = none */
};

void reload_fini(struct reload *r);
/* ironmesh.config.reload/1. On an error, with fault (exit 10), the old settings stay in force. */
enum err reload_run(struct reload *r, uint64_t wall_ms, json_t **out, struct fault *f) MUST_CHECK;

/* --- for people and programs (config_view.c) ----------------------------------------------------------------- */
/* [{"section","key","name","value","default","source","where","reload",...}]; `all`: defaults too. */
json_t *config_values(const struct settings *st, bool all);
/* [{"section","key","name","was","now","where","reload"}] */
json_t *config_change(const struct setting_change *c);
json_t *config_changes(const struct settings *was, const struct settings *now);
json_t *config_files(const struct settings *st);
json_t *config_problems(const struct settings *st);
/* The table itself: ironmesh.config.keys/1. */
json_t *config_keys(void);
json_t *reload_status(const struct reload *r); /* a member of `status` */

#endif
