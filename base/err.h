/*
 * err.h -- the one error type, and the shape of an error that a person reads.
 *
 * errno, libuv and SQLite codes are mapped to `enum err` where they enter. A function that can
 * fail returns it; `out` parameters are written only on ERR_OK.
 *
 * What reaches a user is a `struct fault`: what happened, what it means, and the exact next
 * command. The exit code (docs/exit-codes) travels with it.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))

/* X(name, "word"): the word is stable; it appears in logs, --json and the control socket. */
#define ERR_TABLE(X)                                                                               \
	X(ERR_OK, "ok")                                                                            \
	X(ERR_SHORT, "short")             /* input ends before the value does */                   \
	X(ERR_TRAILING, "trailing")       /* bytes after the value */                              \
	X(ERR_MALFORMED, "malformed")     /* shape, range or encoding is wrong */                  \
	X(ERR_LIMIT, "limit")             /* over a documented limit; nothing was allocated */     \
	X(ERR_AUTH, "auth")               /* MAC, signature, proof or decryption failed */         \
	X(ERR_REPLAY, "replay")           /* seen before, or outside the time window */            \
	X(ERR_EXISTS, "exists")                                                                    \
	X(ERR_NOTFOUND, "not-found")                                                               \
	X(ERR_AMBIGUOUS, "ambiguous")                                                              \
	X(ERR_FULL, "full")               /* a bounded table or queue refuses; caller may retry */ \
	X(ERR_AGAIN, "again")             /* not now; the same call later may succeed */           \
	X(ERR_WRONG_STATE, "state")       /* not now allowed; OpenSSL owns the name ERR_STATE */   \
	X(ERR_DENIED, "denied")           /* local policy or file permissions say no */            \
	X(ERR_UNTRUSTED, "untrusted")     /* peer is pending, blocked or revoked */                \
	X(ERR_KEY_CHANGED, "key-changed") /* a known name or address shows another key */          \
	X(ERR_DOWNGRADE, "downgrade")     /* less than this identity has shown before */           \
	X(ERR_VERSION, "version")         /* below the configured minimum, or unknown */           \
	X(ERR_SELF, "self")               /* the other end is this node itself */                  \
	X(ERR_DUPLICATE, "duplicate")     /* a session with this peer exists already */            \
	X(ERR_EXPIRED, "expired")                                                                  \
	X(ERR_TIMEOUT, "timeout")                                                                  \
	X(ERR_CLOSED, "closed")                                                                    \
	X(ERR_IO, "io")                                                                            \
	X(ERR_STORE, "store")             /* the database or the disk refuses */                   \
	X(ERR_CORRUPT, "corrupt")         /* our own file does not check out */                    \
	X(ERR_NOMEM, "no-memory")                                                                  \
	X(ERR_UNSUPPORTED, "unsupported")                                                          \
	X(ERR_USAGE, "usage")                                                                      \
	X(ERR_INTERNAL, "internal")

enum err {
#define X(name, word) name,
	ERR_TABLE(X)
#undef X
	ERR_COUNT
};

/* The stable word, e.g. "not-found"; "unknown" for a value outside the table. Never NULL. */
const char *err_word(enum err e);

/* errno -> enum err (ENOENT -> NOTFOUND, EACCES -> DENIED, ENOSPC -> STORE, ...). */
enum err err_from_errno(int no);

/* Exit codes of the program; the table in docs/ironmesh.1 is checked against this list. */
#define EXIT_TABLE(X)                                                                              \
	X(EXIT_DONE, 0, "done")                                                                    \
	X(EXIT_GENERIC, 1, "generic failure")                                                      \
	X(EXIT_USAGE, 2, "usage error")                                                            \
	X(EXIT_NO_DAEMON, 3, "daemon not running or socket unreachable")                           \
	X(EXIT_PEER_UNKNOWN, 4, "peer unknown or ambiguous")                                       \
	X(EXIT_PEER_UNTRUSTED, 5, "peer not trusted, blocked or pending")                          \
	X(EXIT_UNDELIVERED, 6, "queued but not delivered before --wait ended; message still alive") \
	X(EXIT_FAILED, 7, "message failed or expired (terminal)")                                  \
	X(EXIT_POLICY, 8, "permission denied by local policy")                                     \
	X(EXIT_INTEGRITY, 9, "integrity failure (bad file, corrupt store, key mismatch)")          \
	X(EXIT_CONFIG, 10, "configuration invalid")                                                \
	X(EXIT_RETRY, 75, "temporary failure, retry")

enum exit_code {
#define X(name, code, text) name = code,
	EXIT_TABLE(X)
#undef X
};

struct fault {
	enum err err;
	enum exit_code code;
	char what[240];  /* what happened: one sentence */
	char means[240]; /* what it means for the user; may be empty */
	char next[240];  /* the exact next command; may be empty */
};

/* Fill `f` (may be NULL) and return `e`, so that `return fault_set(...)` reads straight.
 * `what` is a printf format for the first field; means/next follow with fault_means/fault_next. */
enum err fault_set(struct fault *f, enum err e, enum exit_code code, const char *what, ...)
	PRINTF_LIKE(4, 5);
void fault_means(struct fault *f, const char *fmt, ...) PRINTF_LIKE(2, 3);
void fault_next(struct fault *f, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* A broken invariant of ours: present in release builds, prints file and line, aborts. */
#define BUG_ON(cond)                                                                               \
	do {                                                                                       \
		if (__builtin_expect(!!(cond), 0))                                                 \
			bug(__FILE__, __LINE__, #cond);                                            \
	} while (0)
__attribute__((noreturn)) void bug(const char *file, int line, const char *cond);

#endif
