#include "web/tokens.h"

#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"

#define FILE_MAX 65536

/* --- the file ---------------------------------------------------------------------------------------- */
static enum err token_read(const json_t *v, struct token *out)
{
	const char *id = json_str(v, "id"), *name = json_str(v, "name"), *role = json_str(v, "role"), *hash = json_str(v, "hash");
	int64_t created, expires;

	if (!id || !name || !role || !hash || !hex_valid(bytes_str(id), TOKEN_ID) || !role_parse(role, &out->role) ||
	    (name[0] && !name_valid(bytes_str(name))) || hex_decode(bytes_str(hash), out->hash, HASH_BYTES) != ERR_OK ||
	    json_get_int(v, "created_ms", 0, INT64_MAX, &created) != ERR_OK ||
	    json_get_int(v, "expires_ms", 0, INT64_MAX, &expires) != ERR_OK)
		return ERR_MALFORMED;
	memcpy(out->id, id, TOKEN_ID + 1);
	snprintf(out->name, sizeof out->name, "%s", name);
	out->created_ms = (uint64_t)created;
	out->expires_ms = (uint64_t)expires;
	return ERR_OK;
}

enum err tokens_parse(struct bytes text, struct tokens *out)
{
	json_t *v = NULL, *list, *one;
	int64_t version;
	size_t i;
	enum err e = json_load_strict(text, FILE_MAX, &v);

	memset(out, 0, sizeof *out);
	if (e != ERR_OK)
		return ERR_MALFORMED;
	list = json_object_get(v, "tokens");
	if (json_get_int(v, "version", 1, 1, &version) != ERR_OK || !json_is_array(list) || json_array_size(list) > TOKENS_MAX)
		e = ERR_MALFORMED;
	json_array_foreach (list, i, one)
		if (e == ERR_OK)
			e = token_read(one, &out->list[out->n++]);
	if (e != ERR_OK)
		memset(out, 0, sizeof *out);
	json_decref(v);
	return e;
}

enum err tokens_load(const char *path, struct tokens *out, struct fault *f)
{
	struct fault why = { 0 };
	struct buf b;
	enum err e;

	memset(out, 0, sizeof *out);
	buf_init(&b, FILE_MAX);
	e = file_read_secret(path, &b, &why);
	if (e == ERR_OK)
		e = tokens_parse(buf_bytes(&b), out);
	buf_fini(&b);
	if (e == ERR_NOTFOUND)
		return ERR_OK;
	if (e == ERR_MALFORMED || e == ERR_LIMIT) {
		fault_set(f, ERR_CORRUPT, EXIT_INTEGRITY, "%s is damaged: no token is admitted", path);
		fault_next(f, "mv %s %s.damaged, then ironmesh token create --role read", path, path);
		return ERR_CORRUPT;
	}
	if (e != ERR_OK && f)
		*f = why;
	return e;
}

enum err tokens_save(const char *path, const struct tokens *t, struct fault *f)
{
	json_t *list = json_array(), *v;
	char hash[2 * HASH_BYTES + 1];
	struct buf b;
	enum err e;

	for (size_t i = 0; i < t->n; i++) {
		const struct token *k = &t->list[i];

		hex_encode(BYTES_ARR(k->hash), hash);
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "id", k->id, "name", k->name, "role",
						      role_word(k->role), "hash", hash, "created_ms",
						      (json_int_t)k->created_ms, "expires_ms", (json_int_t)k->expires_ms));
	}
	v = json_pack("{s:i, s:o}", "version", 1, "tokens", list);
	buf_init(&b, FILE_MAX);
	e = v && json_array_size(list) == t->n ? json_write(&b, v, JSON_INSERTION) : ERR_NOMEM;
	json_decref(v);
	buf_add_u8(&b, '\n');
	if (e == ERR_OK && b.err == ERR_OK)
		e = file_write_secret(path, buf_bytes(&b), f);
	else
		e = fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory for the list of tokens");
	buf_fini(&b);
	return e;
}

/* --- the list ------------------------------------------------------------------------------------------ */
enum err tokens_add(struct tokens *t, struct env *env, enum role role, const char *name, uint64_t life_ms,
		    char text[static TOKEN_TEXT + 1], const struct token **out, struct fault *f)
{
	uint8_t raw[SECRET_HEX / 2], id[TOKEN_ID / 2];
	struct token *k;

	if (t->n == TOKENS_MAX) {
		fault_set(f, ERR_FULL, EXIT_GENERIC, "there are %d tokens already", TOKENS_MAX);
		fault_next(f, "ironmesh token list, then ironmesh token revoke ID");
		return ERR_FULL;
	}
	for (size_t i = 0; i < t->n; i++)
		if (name[0] && strcmp(t->list[i].name, name) == 0) {
			fault_set(f, ERR_EXISTS, EXIT_GENERIC, "there is a token '%s' already", name);
			fault_next(f, "ironmesh token revoke %s", name);
			return ERR_EXISTS;
		}
	k = &t->list[t->n++];
	memset(k, 0, sizeof *k);
	env_random(env, id, sizeof id);
	hex_encode(BYTES_ARR(id), k->id);
	snprintf(k->name, sizeof k->name, "%s", name);
	k->role = role;
	k->created_ms = env_wall(env);
	k->expires_ms = life_ms ? k->created_ms + life_ms : 0;
	env_random(env, raw, sizeof raw);
	memcpy(text, TOKEN_PREFIX, 4);
	hex_encode(BYTES_ARR(raw), text + 4);
	wipe(raw, sizeof raw);
	sha256(bytes_of(text, TOKEN_TEXT), k->hash);
	*out = k;
	return ERR_OK;
}

enum err tokens_remove(struct tokens *t, const char *which, struct token *was, struct fault *f)
{
	char safe[80];

	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->list[i].id, which) == 0 || (t->list[i].name[0] && strcmp(t->list[i].name, which) == 0)) {
			*was = t->list[i];
			t->n--;
			memmove(&t->list[i], &t->list[i + 1], (t->n - i) * sizeof t->list[0]);
			memset(&t->list[t->n], 0, sizeof t->list[0]);
			return ERR_OK;
		}
	fault_set(f, ERR_NOTFOUND, EXIT_GENERIC, "there is no token '%s'", text_safe(bytes_str(which), safe, sizeof safe));
	fault_next(f, "ironmesh token list");
	return ERR_NOTFOUND;
}

const struct token *tokens_by_id(const struct tokens *t, const char *id)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->list[i].id, id) == 0)
			return &t->list[i];
	return NULL;
}

bool token_lives(const struct token *t, uint64_t wall_ms)
{
	return t->expires_ms == 0 || wall_ms < t->expires_ms;
}

const struct token *tokens_find(const struct tokens *t, struct bytes text, uint64_t wall_ms)
{
	const struct token *found = NULL;
	uint8_t hash[HASH_BYTES];

	if (text.n != TOKEN_TEXT)
		return NULL;
	sha256(text, hash);
	for (size_t i = 0; i < t->n; i++)
		if (ct_equal(hash, t->list[i].hash, HASH_BYTES) && token_lives(&t->list[i], wall_ms))
			found = &t->list[i];
	return found;
}
