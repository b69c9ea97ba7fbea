#include "tests/lib/protocol_vectors.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "trust/keyring_internal.h"

#define FILE_MAX (1 << 20)
#define PART_MAX 64

/* One block: the text, then the decoded bytes, then the names with their part. */
struct memory {
	char text[FILE_MAX];
	uint8_t raw[FILE_MAX];
	char names[FILE_MAX];
};

static struct bytes decoded(const char *word, uint8_t **raw)
{
	size_t n = strlen(word) / 2;
	struct bytes out = bytes_of(*raw, n);

	if (!hex_valid(bytes_str(word), 2 * n) || n == 0)
		return bytes_of(NULL, 0);
	BUG_ON(hex_decode(bytes_str(word), *raw, n) != ERR_OK);
	*raw += n;
	return out;
}

void vectors_load(struct vectors *v, const char *path)
{
	FILE *f = fopen(path, "r");
	struct memory *m = calloc(1, sizeof *m);
	char part[PART_MAX] = "", *save = NULL, *names;
	uint8_t *raw;

	BUG_ON(!f || !m);
	size_t n = fread(m->text, 1, sizeof m->text - 1, f);
	BUG_ON(n == sizeof m->text - 1);
	fclose(f);
	*v = (struct vectors){.line = calloc(n, sizeof *v->line), .memory = m};
	BUG_ON(!v->line);
	names = m->names;
	raw = m->raw;
	for (char *l = strtok_r(m->text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		struct vector_line *x = &v->line[v->n];
		char *words = NULL, *name = strtok_r(l, " ", &words);

		if (!name || name[0] == '#')
			continue;
		if (name[0] == '[') {
			snprintf(part, sizeof part, "%.*s.", (int)strcspn(name + 1, "]"), name + 1);
			continue;
		}
		size_t left = (size_t)(m->names + sizeof m->names - names);
		int used = snprintf(names, left, "%s%s", part, name);
		BUG_ON(used < 0 || (size_t)used >= left);
		x->name = names;
		names += used + 1;
		for (int i = 0; i < 2; i++) {
			const char *w = strtok_r(NULL, " ", &words);

			x->word[i] = w ? w : "";
			x->bytes[i] = decoded(x->word[i], &raw);
		}
		v->n++;
	}
}

void vectors_free(struct vectors *v)
{
	free(v->line);
	free(v->memory);
	*v = (struct vectors){0};
}

static const struct vector_line *find(const struct vectors *v, const char *part, const char *name)
{
	char whole[2 * PART_MAX];

	snprintf(whole, sizeof whole, "%s%s%s", part, part[0] ? "." : "", name);
	for (size_t i = 0; i < v->n; i++)
		if (strcmp(v->line[i].name, whole) == 0)
			return &v->line[i];
	return NULL;
}

struct bytes vector(const struct vectors *v, const char *part, const char *name)
{
	const struct vector_line *x = find(v, part, name);

	BUG_ON(!x);
	return x->bytes[0];
}

bool vector_known(const struct vectors *v, const char *part, const char *name)
{
	return find(v, part, name) != NULL;
}

struct keyring *vector_keyring(const struct vectors *v, const char *name)
{
	char part[PART_MAX];
	struct keyring *k;

	snprintf(part, sizeof part, "identity.%s", name);
	struct bytes seed = vector(v, part, "ed_seed"), salt = vector(v, part, "hkdf_salt");
	BUG_ON(seed.n != SEED_BYTES || salt.n != HKDF_SALT_BYTES);
	BUG_ON(keyring_from_seed(seed.p, salt.p, &k) != ERR_OK);
	return k;
}
