/*
 * tokens.h -- bearer tokens of programs: a role each, kept hashed in one file of the home folder.
 *
 * A token is "imt_" and 64 hex digits (256 bits), shown once. The file holds its SHA-256, a name, a role
 * and its times; it is a secret file (0600) and written whole. A damaged file admits nobody and is not
 * written over.
 */
#ifndef WEB_TOKENS_H
#define WEB_TOKENS_H

#include "base/json.h"
#include "web/logins.h"

#define TOKENS_FILE "tokens.json"
#define TOKENS_MAX 64
#define TOKEN_PREFIX "imt_"
#define TOKEN_TEXT (4 + SECRET_HEX)
#define TOKEN_ID 8 /* digits */
#define TOKEN_NAME_MAX 64

struct token {
	char id[TOKEN_ID + 1];
	char name[TOKEN_NAME_MAX + 1]; /* like a name of a node; may be empty */
	enum role role;
	uint8_t hash[HASH_BYTES];
	uint64_t created_ms, expires_ms; /* wall; 0: never expires */
};

struct tokens {
	size_t n;
	struct token list[TOKENS_MAX];
};

/* No file: no tokens. ERR_CORRUPT with fault; then `out` is empty. */
enum err tokens_load(const char *path, struct tokens *out, struct fault *f) MUST_CHECK;
enum err tokens_save(const char *path, const struct tokens *t, struct fault *f) MUST_CHECK;
/* What tokens_load() reads. ERR_MALFORMED. */
enum err tokens_parse(struct bytes text, struct tokens *out) MUST_CHECK;
/* A new one, and its text. `name` fits. ERR_FULL, ERR_EXISTS (the name). */
enum err tokens_add(struct tokens *t, struct env *env, enum role role, const char *name, uint64_t life_ms,
		    char text[static TOKEN_TEXT + 1], const struct token **out, struct fault *f) MUST_CHECK;
/* By id or name. ERR_NOTFOUND. */
enum err tokens_remove(struct tokens *t, const char *which, struct token *was, struct fault *f) MUST_CHECK;
const struct token *tokens_by_id(const struct tokens *t, const char *id); /* NULL */
bool token_lives(const struct token *t, uint64_t wall_ms);
/* NULL: none fits, or it has expired. */
const struct token *tokens_find(const struct tokens *t, struct bytes text, uint64_t wall_ms);

#endif
