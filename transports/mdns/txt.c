/*
 * txt.c -- TXT records of DNS-SD (RFC 6763 section 6): what a stranger says, and what we say.
 */
#include "transports/mdns/mdns_internal.h"

#include <strings.h>

#include "base/text.h"

const char *mdns_txt(const struct mdns_service *s, const char *key)
{
	for (size_t i = 0; i < s->pairs_n; i++)
		if (strcasecmp(s->pairs[i].key, key) == 0)
			return s->pairs[i].value;
	return NULL;
}

static bool has(const struct mdns_pair *pairs, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(pairs[i].key, key) == 0)
			return true;
	return false;
}

/* RFC 6763 6.4: printable ASCII, no '='. */
static bool key_fits(struct bytes k)
{
	if (k.n == 0 || k.n >= sizeof(((struct mdns_pair *)0)->key))
		return false;
	for (size_t i = 0; i < k.n; i++)
		if (k.p[i] < 0x20 || k.p[i] > 0x7e)
			return false;
	return true;
}

/* Shown to nobody as it came: what text_safe() would change is left out whole. */
static bool value_fits(struct bytes v)
{
	char safe[sizeof(((struct mdns_pair *)0)->value)];

	if (v.n >= sizeof safe || memchr(v.p ? v.p : (const uint8_t *)"", 0, v.n))
		return false;
	text_safe(v, safe, sizeof safe);
	return strlen(safe) == v.n && memcmp(safe, v.p ? v.p : (const uint8_t *)"", v.n) == 0;
}

enum err mdns_txt_parse(struct bytes txt, struct mdns_pair *out, size_t max, size_t *n)
{
	size_t count = 0;
	struct rd r;

	if (txt.n > MDNS_TXT_MAX)
		return ERR_LIMIT;
	r = rd_init(txt.p, txt.n);
	while (r.err == ERR_OK && r.left) {
		struct bytes s = rd_bytes(&r, rd_u8(&r)), key, value;
		const uint8_t *eq;

		if (r.err != ERR_OK || s.n == 0)
			continue;
		eq = memchr(s.p, '=', s.n);
		key = bytes_of(s.p, eq ? (size_t)(eq - s.p) : s.n);
		value = eq ? bytes_of(eq + 1, s.n - key.n - 1) : bytes_of(s.p + s.n, 0);
		if (!key_fits(key) || !value_fits(value))
			continue;
		char name[sizeof out->key] = "";

		memcpy(name, key.p, key.n);
		name[key.n] = '\0';
		if (has(out, count, name))
			continue;
		if (count == max)
			return ERR_LIMIT;
		memcpy(out[count].key, name, sizeof name);
		memcpy(out[count].value, value.p, value.n);
		out[count].value[value.n] = '\0';
		count++;
	}
	if (rd_end(&r) != ERR_OK)
		return ERR_MALFORMED;
	*n = count;
	return ERR_OK;
}

enum err txt_build(const struct mdns_pair *pairs, size_t n, uint8_t out[static MDNS_TXT_MAX], size_t *len)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		size_t k = strnlen(pairs[i].key, sizeof pairs[i].key), v = strnlen(pairs[i].value, sizeof pairs[i].value);

		if (!key_fits(bytes_of(pairs[i].key, k)) || memchr(pairs[i].key, '=', k))
			return ERR_USAGE;
		if (k + 1 + v > 255 || at + 1 + k + 1 + v > MDNS_TXT_MAX)
			return ERR_LIMIT;
		out[at++] = (uint8_t)(k + 1 + v);
		memcpy(out + at, pairs[i].key, k);
		at += k;
		out[at++] = '=';
		memcpy(out + at, pairs[i].value, v);
		at += v;
	}
	if (at == 0)
		out[at++] = 0; /* RFC 6763 6.1: never empty */
	*len = at;
	return ERR_OK;
}
