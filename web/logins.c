#include "web/logins.h"

#include <stdio.h>

#include "base/secret.h"
#include "base/text.h"

static const char *const role_words[] = { "none", "metrics", "read", "send", "admin" };

const char *role_word(enum role r)
{
	return role_words[r];
}

bool role_parse(const char *word, enum role *out)
{
	for (enum role r = ROLE_METRICS; r <= ROLE_ADMIN; r++)
		if (strcmp(word, role_words[r]) == 0) {
			*out = r;
			return true;
		}
	return false;
}

static void draw(struct env *env, char out[static SECRET_HEX + 1], uint8_t hash[static HASH_BYTES])
{
	uint8_t raw[SECRET_HEX / 2];

	env_random(env, raw, sizeof raw);
	hex_encode(BYTES_ARR(raw), out);
	wipe(raw, sizeof raw);
	sha256(bytes_of(out, SECRET_HEX), hash);
}

void logins_init(struct logins *s, struct env *env)
{
	memset(s, 0, sizeof *s);
	s->env = env;
}

void logins_code(struct logins *s, enum role role, char out[static SECRET_HEX + 1])
{
	struct code *c = &s->codes[0];

	/* An unused one has ends_ms 0, so it counts as the oldest. */
	for (size_t i = 1; i < CODES_MAX; i++)
		if (s->codes[i].ends_ms < c->ends_ms)
			c = &s->codes[i];
	draw(s->env, out, c->hash);
	c->role = role;
	c->ends_ms = env_now(s->env) + CODE_MS;
}

/* All are compared, whichever fits. */
static enum role take_code(struct logins *s, struct bytes text)
{
	uint64_t now = env_now(s->env);
	uint8_t hash[HASH_BYTES];
	enum role role = ROLE_NONE;

	sha256(text, hash);
	for (size_t i = 0; i < CODES_MAX; i++) {
		struct code *c = &s->codes[i];
		bool same = ct_equal(hash, c->hash, HASH_BYTES);

		if (same && c->role != ROLE_NONE && now < c->ends_ms)
			role = c->role;
		if (same || now >= c->ends_ms)
			memset(c, 0, sizeof *c);
	}
	return role;
}

bool login_over(const struct logins *s, const struct login *x)
{
	uint64_t now = env_now(s->env);

	return !x->id[0] || now >= x->ends_ms || now - x->used_ms >= SESSION_IDLE_MS;
}

void login_end(struct login *x)
{
	wipe(x, sizeof *x);
}

void login_used(struct logins *s, struct login *x)
{
	x->used_ms = env_now(s->env);
	x->used_wall_ms = env_wall(s->env);
}

static struct login *place(struct logins *s)
{
	struct login *oldest = &s->list[0];

	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		if (login_over(s, &s->list[i]))
			return &s->list[i];
		if (s->list[i].used_ms < oldest->used_ms)
			oldest = &s->list[i];
	}
	return oldest;
}

struct login *logins_open(struct logins *s, struct bytes code, const char *address,
			      char cookie[static SECRET_HEX + 1], char csrf[static SECRET_HEX + 1])
{
	enum role role = code.n == SECRET_HEX ? take_code(s, code) : ROLE_NONE;
	uint8_t id[SESSION_ID / 2];
	struct login *x;

	if (role == ROLE_NONE)
		return NULL;
	x = place(s);
	login_end(x);
	env_random(s->env, id, sizeof id);
	hex_encode(BYTES_ARR(id), x->id);
	draw(s->env, cookie, x->cookie);
	draw(s->env, csrf, x->csrf);
	x->role = role;
	login_used(s, x);
	x->created_wall_ms = x->used_wall_ms;
	x->ends_ms = x->used_ms + SESSION_LIFE_MS;
	x->ends_wall_ms = x->used_wall_ms + SESSION_LIFE_MS;
	snprintf(x->address, sizeof x->address, "%s", address);
	return x;
}

struct login *logins_find(struct logins *s, struct bytes cookie)
{
	struct login *found = NULL;
	uint8_t hash[HASH_BYTES];

	if (cookie.n != SECRET_HEX)
		return NULL;
	sha256(cookie, hash);
	for (size_t i = 0; i < SESSIONS_MAX; i++)
		if (ct_equal(hash, s->list[i].cookie, HASH_BYTES) && !login_over(s, &s->list[i]))
			found = &s->list[i];
	return found;
}

bool login_csrf_is(const struct login *s, struct bytes csrf)
{
	uint8_t hash[HASH_BYTES];

	sha256(csrf, hash);
	return ct_equal(hash, s->csrf, HASH_BYTES);
}

struct login *logins_by_id(struct logins *s, struct bytes id)
{
	for (size_t i = 0; i < SESSIONS_MAX; i++)
		if (!login_over(s, &s->list[i]) && bytes_eq(id, bytes_str(s->list[i].id)))
			return &s->list[i];
	return NULL;
}
