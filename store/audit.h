/*
 * audit.h -- the HMAC-chained security log, in the upstream line format (wire 9.8).
 *
 * One writer per file (locked); the chain head is in memory. audit_event() appends to a buffer;
 * audit_flush() writes and fsyncs the group. Events caused by strangers are limited per source: after
 * AUDIT_BURST of one event word from one source within AUDIT_WINDOW_MS, further ones are counted and
 * one AUDIT_SUPPRESSED line with the count follows; the same for AUDIT_WORD_BURST of one word from all
 * sources together, so that many addresses cannot push history out. Rotation at 10 MiB, five old files;
 * the first entry of the new file, LOG_ROTATED, holds the last hmac of the old one.
 *
 * Words of our own besides those of wire 9.8: AUDIT_SUPPRESSED, AUDIT_LOST (the disk refused for so
 * long that events were dropped), LOG_TORN_TAIL (a line that a crash left unfinished was cut off),
 * AUDIT_HEAD_BAD (the head file was not ours, or was not there).
 *
 * A cut tail is found by signed heads: audit.head holds {entries, head, rotation, timestamp,
 * signature} under SIG_AUDIT_HEAD, rewritten at audit_checkpoint() (daemon: at most every few seconds
 * after a change, and at stop). Verification says how many entries the head covers.
 * Details never hold bodies, keys or passphrases. Texts of peers are cleaned by the caller.
 */
#ifndef STORE_AUDIT_H
#define STORE_AUDIT_H

#include "base/json.h"
#include "trust/keyring.h"

#define AUDIT_ROTATE_BYTES (10u << 20)
#define AUDIT_KEEP 5
#define AUDIT_EXPORT_MAX (32u << 20)
#define AUDIT_BURST 5
#define AUDIT_WORD_BURST 100
#define AUDIT_WINDOW_MS 60000

struct audit;

/* path NULL: memory only. An existing file is walked once to find the head; a broken chain, or one
 * shorter than its signed head, is kept as <path>.broken-<time> and a new chain starts with
 * LOG_ROTATED naming it, and a warning. ERR_AGAIN when another process writes this log. */
enum err audit_open(const char *path, const struct keyring *k, struct env *env, struct audit **out,
		    struct fault *f) MUST_CHECK;
void audit_close(struct audit *a); /* flush, checkpoint, unlock */

/* `details` is taken (decref'd), may be NULL = {}. `source` may be empty: not limited. */
void audit_event(struct audit *a, const char *event, struct bytes source, json_t *details);
/* Shorthand: pairs of (const char *key, const char *value), NULL-terminated. */
void audit_note(struct audit *a, const char *event, struct bytes source, ...) __attribute__((sentinel));
/* One observer, told the word of every entry when it is appended; it must not call back. NULL ends it. */
void audit_observe(struct audit *a, void (*fn)(void *ctx, const char *event), void *ctx);
/* On an error what is pending stays and the next flush tries again. */
enum err audit_flush(struct audit *a) MUST_CHECK;
bool audit_pending(const struct audit *a);
enum err audit_checkpoint(struct audit *a) MUST_CHECK;
uint64_t audit_entries(const struct audit *a); /* in the current file */

struct audit_report {
	bool ok;
	uint64_t entries;           /* good ones, from genesis */
	uint64_t bad_line;          /* 1-based; 0 = none */
	uint64_t head_entries;      /* what the signed head covers; 0 = no head */
	bool head_ok;               /* ours, and the log agrees with it; an older head covers less */
	bool head_present, tail_cut;
	char head[65];              /* hmac of the last good entry */
	char why[160];              /* for people; empty when ok */
};
/* Verifies file and head. Flush first when the daemon runs. */
enum err audit_verify(const char *path, const struct keyring *k, struct audit_report *out,
		      struct fault *f) MUST_CHECK;
/* The same without a keyring, so on any thread: the public key of the node, and what it derives for DERIVE_AUDIT. */
enum err audit_verify_with(const char *path, const uint8_t ed[static ED_BYTES], struct bytes audit_key,
			   struct audit_report *out, struct fault *f) MUST_CHECK;
/* The last `n` entries as an array of objects (new ref), oldest first. */
enum err audit_tail(const char *path, size_t n, json_t **out, struct fault *f) MUST_CHECK;
/* Entries per event word, and the first and last time. */
enum err audit_stats(const char *path, json_t **out, struct fault *f) MUST_CHECK;
/* Signed export, canonical JSON: {entries, entry_count, exported_at, final_hmac, signature, signer,
 * signer_key}; signed is SIG_AUDIT_EXPORT || the object without `signature`. ERR_CORRUPT when the log
 * does not verify. */
enum err audit_export(const char *path, const struct keyring *k, uint64_t wall_ms, struct buf *out,
		      struct fault *f) MUST_CHECK;
/* `key` is pinned or given by the operator: NULL is ERR_DENIED. The HMAC chain needs the signer's audit
 * key, so an export is checked by its signature, its count and its last hmac; the signature covers the
 * order. *summary: {signer, entries, first, last, exported_at, final_hmac, clock_went_back}. ERR_AUTH:
 * not signed by `key`, or altered. */
enum err audit_verify_export(struct bytes text, const uint8_t *key, json_t **summary, struct fault *f) MUST_CHECK;

#endif
