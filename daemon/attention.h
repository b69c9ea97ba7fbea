/*
 * attention.h -- what an operator should look at now, each with the one command that resolves it.
 *
 * Two sources. Parts of the daemon say with attention_set() that something is wrong and with attention_clear() that it is
 * over: a failed backup, a refused reload. What follows from the state itself (pending peers, key changes, messages that
 * failed, a full disk, walls that are not up) is looked up when somebody asks. Bounded: at most ATTENTION_MAX items are
 * told, the worst kinds first, and how many are left out.
 */
#ifndef DAEMON_ATTENTION_H
#define DAEMON_ATTENTION_H

#include "base/buf.h"
#include "base/env.h"
#include "base/err.h"

#define ATTENTION_MAX 1000
#define ATTENTION_SET_MAX 64 /* of those that parts set */

enum attention_severity { ATTENTION_INFO, ATTENTION_WARNING, ATTENTION_ERROR };

struct attention;
struct command_ctx;

enum err attention_new(struct env *env, struct attention **out) MUST_CHECK;
void attention_free(struct attention *a); /* accepts NULL */

/* What is set under `kind` and `key` replaces what was. Texts are copied, and cleaned when they are shown. `kind` is a word
 * with hyphens. What may be NULL: means, next, method (no button), label, confirm. `params`: a JSON object as text. */
struct attention_item {
	const char *kind, *key;
	enum attention_severity severity;
	const char *what, *means, *next;
	const char *method, *params, *label, *confirm;
};
/* `a` NULL does nothing: a node without an operator's side. */
void attention_set(struct attention *a, const struct attention_item *item);
void attention_clear(struct attention *a, const char *kind, const char *key);
/* The operator has seen it; it is told again when its count rises above this. Forgotten at a restart. */
void attention_dismiss(struct attention *a, const char *key, uint64_t count);
/* What is left on the disk of the home folder, as of the last seconds. False: not known. */
bool attention_disk_free(const struct command_ctx *cx, uint64_t *bytes);
/* Counts every change of what is set. */
uint64_t attention_changes(const struct attention *a);

/* Calls `fn` with each item as a JSON object and its key, the worst first; returns how many there are, told or not. */
typedef void (*attention_fn)(void *ctx, const char *key, struct bytes json);
size_t attention_each(const struct command_ctx *cx, attention_fn fn, void *ctx);

/* What `health` is made of: the severity of the worst, and what it says. */
struct attention_health {
	size_t errors, warnings, infos;
	char reasons[4][200]; /* of the worst; unused ones empty */
};
void attention_health(const struct command_ctx *cx, struct attention_health *out);

#endif
