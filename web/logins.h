/*
 * logins.h -- who may use the API: one-time codes, the sessions that they open, and tokens.
 *
 * A code (256 bits, 60 s, once) is exchanged for a session: a cookie and a second secret, `csrf`, that
 * the page keeps and sends in a header. Cookies do not know ports: another program on this machine that
 * a browser talks to gets the cookie too. So neither is of use without the other.
 *
 * Of every secret only its SHA-256 is kept, and compared in constant time. Sessions live in memory: a
 * restart ends them. Times are monotonic milliseconds of env, but where they are said to be wall.
 */
#ifndef WEB_LOGINS_H
#define WEB_LOGINS_H

#include "base/env.h"
#include "base/hash.h"

/* What a caller may do; each includes those before it. */
enum role { ROLE_NONE, ROLE_METRICS, ROLE_READ, ROLE_SEND, ROLE_ADMIN };
const char *role_word(enum role r);         /* "metrics", "read", "send", "admin"; "none" */
bool role_parse(const char *word, enum role *out); /* not "none" */

#define SECRET_HEX 64 /* digits of a code, a cookie, a csrf; without the NUL */
#define SESSION_ID 16 /* digits */
#define CODE_MS 60000
#define SESSION_IDLE_MS (8ull * 3600 * 1000)
#define SESSION_LIFE_MS (24ull * 3600 * 1000)
#define CODES_MAX 8
#define SESSIONS_MAX 32

struct login {
	char id[SESSION_ID + 1]; /* "" : unused */
	enum role role;
	uint8_t cookie[HASH_BYTES], csrf[HASH_BYTES]; /* of their text */
	uint64_t created_wall_ms, used_ms, used_wall_ms, ends_ms, ends_wall_ms;
	char address[64];
};

struct code {
	uint8_t hash[HASH_BYTES];
	enum role role; /* ROLE_NONE: unused */
	uint64_t ends_ms;
};

struct logins {
	struct env *env;
	struct code codes[CODES_MAX];
	struct login list[SESSIONS_MAX];
};

void logins_init(struct logins *s, struct env *env);
/* A new code; the oldest goes when there are CODES_MAX. */
void logins_code(struct logins *s, enum role role, char out[static SECRET_HEX + 1]);
/* Uses the code up. NULL: there is no such code, or it is too old. The least recently used session goes
 * when there are SESSIONS_MAX. */
struct login *logins_open(struct logins *s, struct bytes code, const char *address,
			      char cookie[static SECRET_HEX + 1], char csrf[static SECRET_HEX + 1]);
/* The session of this cookie that is not over; notes that it is used. NULL. */
struct login *logins_find(struct logins *s, struct bytes cookie);
bool login_csrf_is(const struct login *s, struct bytes csrf);
/* NULL when it is over. */
struct login *logins_by_id(struct logins *s, struct bytes id);
void login_used(struct logins *s, struct login *x);
void login_end(struct login *x);
bool login_over(const struct logins *s, const struct login *x);

#endif
