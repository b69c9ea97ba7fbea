/*
 * likeness.c -- names that a person takes for one another: the same letters in another case, digits for letters, signs
 * left out, letters of other scripts with the shape of Latin ones.
 */
#include "daemon/rows.h"

#include <stdlib.h>

#include "base/text.h"

#define SKELETON_MAX (2 * NAME_MAX_CHARS + 1)

struct shape {
	uint64_t hash;
	size_t at; /* in the order of pins_each() */
	struct node_id id;
};

struct likeness {
	struct shape *list; /* by hash, then by order */
	size_t n;
};

/* Letters of Cyrillic and Greek that are drawn as these. */
static const struct {
	uint16_t cp;
	char as;
} LOOKS[] = {
	{ 0x0391, 'a' }, { 0x0392, 'b' }, { 0x0395, 'e' }, { 0x0396, 'z' }, { 0x0397, 'h' }, { 0x0399, 'l' }, { 0x039a, 'k' },
	{ 0x039c, 'm' }, { 0x039d, 'n' }, { 0x039f, 'o' }, { 0x03a1, 'p' }, { 0x03a4, 't' }, { 0x03a5, 'y' }, { 0x03a7, 'x' },
	{ 0x03b1, 'a' }, { 0x03b9, 'l' }, { 0x03bd, 'v' }, { 0x03bf, 'o' }, { 0x03c1, 'p' }, { 0x03c5, 'u' }, { 0x0405, 's' },
	{ 0x0406, 'l' }, { 0x0408, 'j' }, { 0x0410, 'a' }, { 0x0412, 'b' }, { 0x0415, 'e' }, { 0x041a, 'k' }, { 0x041c, 'm' },
	{ 0x041d, 'h' }, { 0x041e, 'o' }, { 0x0420, 'p' }, { 0x0421, 'c' }, { 0x0422, 't' }, { 0x0425, 'x' }, { 0x0430, 'a' },
	{ 0x0435, 'e' }, { 0x043e, 'o' }, { 0x0440, 'p' }, { 0x0441, 'c' }, { 0x0443, 'y' }, { 0x0445, 'x' }, { 0x0455, 's' },
	{ 0x0456, 'l' }, { 0x0458, 'j' }, { 0x04bb, 'h' }, { 0x0501, 'd' }, { 0x051b, 'q' }, { 0x051d, 'w' },
};

static uint32_t folded(uint32_t c)
{
	if (c >= 0xff01 && c <= 0xff5e)
		c -= 0xfee0; /* the wide forms of ASCII */
	if (c >= 'A' && c <= 'Z')
		c += 'a' - 'A';
	for (size_t i = 0; c > 0x7f && i < sizeof LOOKS / sizeof LOOKS[0]; i++)
		if (LOOKS[i].cp == c)
			return (uint8_t)LOOKS[i].as;
	return c == '0' ? 'o' : c == '1' || c == 'i' || c == '|' ? 'l' : c == '5' ? 's' : c;
}

/* FNV-1a over what is left; who makes two names collide makes himself look like another, which he may do anyway. */
static uint64_t shape_of(const char *name)
{
	struct bytes in = bytes_str(name);
	uint64_t h = 14695981039346656037u;
	uint32_t before = 0, c;
	bool any = false;

	for (size_t i = 0; i < in.n;) {
		size_t n = utf8_decode(in, i, &c);

		i += n ? n : 1;
		c = folded(c);
		if (c == '.' || c == '-' || c == '_' || c == ' ')
			continue;
		if (before == 'r' && c == 'n')
			c = 'm' ^ 'r'; /* "rn" in any name gives the same; it need not equal that of "m" */
		before = c;
		h = (h ^ c) * 1099511628211u;
		any = true;
	}
	return any ? h : 0;
}

static const char *shown(const struct pin *p)
{
	return p->alias[0] ? p->alias : p->name;
}

static bool collect(void *ctx, const struct pin *pin)
{
	struct likeness *l = ctx;
	uint64_t h = pin->state == PIN_REVOKED ? 0 : shape_of(shown(pin));

	if (h) {
		l->list[l->n] = (struct shape){ .hash = h, .at = l->n, .id = pin->id };
		l->n++;
	}
	return true;
}

static int by_hash(const void *a, const void *b)
{
	const struct shape *x = a, *y = b;

	return x->hash != y->hash ? (x->hash < y->hash ? -1 : 1) : x->at < y->at ? -1 : x->at > y->at;
}

enum err likeness_new(const struct pins *p, struct likeness **out)
{
	struct likeness *l = calloc(1, sizeof *l);

	if (l)
		l->list = calloc(pins_count(p) + 1, sizeof *l->list);
	if (!l || !l->list) {
		free(l);
		return ERR_NOMEM;
	}
	pins_each(p, collect, l);
	if (l->n)
		qsort(l->list, l->n, sizeof *l->list, by_hash);
	*out = l;
	return ERR_OK;
}

void likeness_free(struct likeness *l)
{
	if (!l)
		return;
	free(l->list);
	free(l);
}

const struct pin *likeness_other(const struct likeness *l, const struct pins *p, const struct pin *pin)
{
	uint64_t h = pin->state == PIN_REVOKED ? 0 : shape_of(shown(pin));
	size_t lo = 0, hi = l ? l->n : 0;

	if (!h)
		return NULL;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (l->list[mid].hash < h)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; l && lo < l->n && l->list[lo].hash == h; lo++)
		if (!node_id_eq(&l->list[lo].id, &pin->id))
			return pins_get(p, &l->list[lo].id);
	return NULL;
}

bool row_name_plain(const struct pin *pin)
{
	const char *name = shown(pin);

	return !name[0] || name_valid(bytes_str(name));
}
