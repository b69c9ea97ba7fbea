#include "trust/invite.h"

#include <math.h>

#include "base/json.h"
#include "base/text.h"

#define JSON_MAX 3072
#define VERSION 1
#define SECONDS_MAX 1e11 /* of a time stamp: the year 5138 */

/* --- values ------------------------------------------------------------------------------------------ */
static const struct {
	const char *name;
	unsigned life_s;
} profiles[] = { { "lan", 900 }, { "homelab", 900 }, { "lora", 1800 }, { "offline", 1800 }, { "tactical", 300 } };
#define OTHER_LIFE_S 900

uint64_t invite_life_ms(const char *profile)
{
	for (size_t i = 0; i < sizeof profiles / sizeof profiles[0]; i++)
		if (strcmp(profile, profiles[i].name) == 0)
			return profiles[i].life_s * UINT64_C(1000);
	return OTHER_LIFE_S * UINT64_C(1000);
}

bool invite_profile_valid(const char *profile)
{
	for (size_t i = 0; i < sizeof profiles / sizeof profiles[0]; i++)
		if (strcmp(profile, profiles[i].name) == 0)
			return true;
	return profile[0] == '\0';
}

static bool port_valid(const char *s)
{
	size_t n = strlen(s);
	unsigned v = 0;

	for (size_t i = 0; i < n; i++) {
		if (n > 5 || s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (unsigned)(s[i] - '0');
	}
	return n && v >= 1 && v <= 65535;
}

bool invite_endpoint_valid(const char *endpoint)
{
	static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
	static const char v6[] = "0123456789abcdefABCDEF:.";
	const char *colon = strrchr(endpoint, ':');
	size_t n = strlen(endpoint), host;

	if (n >= sizeof((struct invite *)0)->endpoint || !colon || colon == endpoint)
		return false;
	if (strncmp(endpoint, "rns:", 4) == 0)
		return hex_valid(bytes_str(endpoint + 4), 32);
	host = (size_t)(colon - endpoint);
	if (!port_valid(colon + 1))
		return false;
	if (endpoint[0] == '[')
		return host > 2 && endpoint[host - 1] == ']' && strspn(endpoint + 1, v6) == host - 2;
	return strspn(endpoint, name) == host && endpoint[0] != '-';
}

/* Names between commas; nothing else, so that it can be shown, and given to --allowed-peers, as it is. */
static bool list_valid(const char *list)
{
	for (const char *s = list; *s; s++) {
		size_t n = strcspn(s, ",");

		if (!name_valid(bytes_of(s, n)))
			return false;
		s += n;
		if (!*s)
			return true;
		if (!s[1])
			return false;
	}
	return true;
}

/* --- base64url without padding ------------------------------------------------------------------------- */
static enum err add_url(struct buf *out, struct bytes in)
{
	size_t at = out->n;
	enum err e = buf_add_base64(out, in);

	if (e != ERR_OK)
		return e;
	for (size_t i = at; i < out->n; i++)
		out->p[i] = out->p[i] == '+' ? '-' : out->p[i] == '/' ? '_' : out->p[i];
	while (out->n > at && out->p[out->n - 1] == '=')
		out->n--;
	return ERR_OK;
}

static enum err add_url_decoded(struct buf *out, struct bytes in)
{
	uint8_t room[INVITE_TEXT_MAX + 4];
	size_t n = in.n;

	if (n > INVITE_TEXT_MAX)
		return ERR_LIMIT;
	for (size_t i = 0; i < n; i++) {
		if (in.p[i] == '+' || in.p[i] == '/' || in.p[i] == '=')
			return ERR_MALFORMED;
		room[i] = in.p[i] == '-' ? '+' : in.p[i] == '_' ? '/' : in.p[i];
	}
	while (n % 4)
		room[n++] = '=';
	return buf_add_base64_decoded(out, bytes_of(room, n));
}

/* --- what is signed ------------------------------------------------------------------------------------ */
/* The prefix and the canonical object without its signature. */
static enum err signed_part(struct buf *out, const json_t *o)
{
	buf_reset(out);
	buf_add(out, sig_prefix(SIG_INVITE));
	return out->err == ERR_OK ? json_write(out, o, JSON_SORTED) : out->err;
}

enum err invite_write(const struct keyring *k, const struct invite *v, struct buf *out)
{
	char nonce[2 * INVITE_NONCE + 1], key[BASE64_LEN(ED_BYTES) + 1], sig_text[BASE64_LEN(SIG_BYTES) + 1];
	uint8_t sig[SIG_BYTES];
	struct buf whole, text;
	json_t *o;
	enum err e;

	if (!invite_endpoint_valid(v->endpoint) || !invite_profile_valid(v->profile) || !list_valid(v->allowed_peers) ||
	    v->expires_ms <= v->issued_ms || (double)v->expires_ms / 1000 > SECONDS_MAX)
		return ERR_MALFORMED;
	hex_encode(BYTES_ARR(v->nonce), nonce);
	base64_encode(bytes_of(keyring_ed(k), ED_BYTES), key);
	o = json_pack("{s:i, s:s, s:s, s:s, s:s, s:f, s:f, s:s, s:s}", "version", VERSION, "nonce", nonce, "inviter_id",
		      keyring_id(k)->hex, "inviter_key", key, "endpoint", v->endpoint, "issued_at",
		      (double)v->issued_ms / 1000, "expires_at", (double)v->expires_ms / 1000, "allowed_peers",
		      v->allowed_peers, "profile", v->profile);
	if (!o)
		return ERR_NOMEM;
	buf_init(&whole, JSON_MAX);
	buf_init(&text, INVITE_TEXT_MAX);
	e = signed_part(&whole, o);
	if (e == ERR_OK) {
		keyring_sign(k, SIG_INVITE, buf_bytes(&whole), sig);
		base64_encode(BYTES_ARR(sig), sig_text);
		e = json_object_set_new(o, "signature", json_string(sig_text)) == 0 ? ERR_OK : ERR_NOMEM;
	}
	if (e == ERR_OK) {
		buf_reset(&whole);
		e = json_write(&whole, o, JSON_SORTED);
	}
	buf_add_str(&text, INVITE_PREFIX);
	if (e == ERR_OK)
		e = add_url(&text, buf_bytes(&whole));
	if (e == ERR_OK) {
		buf_add(out, buf_bytes(&text));
		e = out->err;
	}
	json_decref(o);
	buf_wipe(&whole);
	buf_fini(&whole);
	buf_wipe(&text);
	buf_fini(&text);
	return e;
}

/* --- reading -------------------------------------------------------------------------------------------- */
static bool text_into(const json_t *o, const char *key, char *out, size_t cap)
{
	struct bytes v;

	if (json_get_str(o, key, &v) != ERR_OK || v.n >= cap)
		return false;
	memcpy(out, v.p, v.n);
	out[v.n] = '\0';
	return true;
}

static bool time_into(const json_t *o, const char *key, uint64_t *ms)
{
	const json_t *v = json_object_get(o, key);
	double s = json_number_value(v);

	if (!json_is_number(v) || !isfinite(s) || s < 0 || s > SECONDS_MAX)
		return false;
	*ms = (uint64_t)(s * 1000 + 0.5);
	return true;
}

static enum err fields(const json_t *o, struct invite *v)
{
	int64_t version;
	struct bytes nonce, id, key;
	struct node_id fits;

	if (json_get_int(o, "version", 1, INT32_MAX, &version) != ERR_OK)
		return ERR_MALFORMED;
	if (version != VERSION)
		return ERR_VERSION;
	if (json_get_str(o, "nonce", &nonce) != ERR_OK || nonce.n != 2 * INVITE_NONCE ||
	    hex_decode(nonce, v->nonce, INVITE_NONCE) != ERR_OK || json_get_str(o, "inviter_id", &id) != ERR_OK ||
	    node_id_parse(id, &v->inviter) != ERR_OK || json_get_str(o, "inviter_key", &key) != ERR_OK ||
	    base64_decode_exact(key, v->inviter_ed, ED_BYTES) != ERR_OK)
		return ERR_MALFORMED;
	if (!text_into(o, "endpoint", v->endpoint, sizeof v->endpoint) || !invite_endpoint_valid(v->endpoint) ||
	    !text_into(o, "allowed_peers", v->allowed_peers, sizeof v->allowed_peers) ||
	    !text_into(o, "profile", v->profile, sizeof v->profile) || (v->profile[0] && !name_valid(bytes_str(v->profile))))
		return ERR_MALFORMED;
	if (!time_into(o, "issued_at", &v->issued_ms) || !time_into(o, "expires_at", &v->expires_ms) ||
	    v->expires_ms < v->issued_ms)
		return ERR_MALFORMED;
	/* The old software puts free text there; what is no list of names is not shown as one. */
	if (!list_valid(v->allowed_peers))
		v->allowed_peers[0] = '\0';
	node_id_of(v->inviter_ed, &fits);
	return node_id_eq(&fits, &v->inviter) ? ERR_OK : ERR_AUTH;
}

static bool is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

enum err invite_read(struct bytes text, struct invite *out)
{
	struct bytes prefix = BYTES_LIT(INVITE_PREFIX), sig_text;
	struct invite v = { 0 };
	uint8_t sig[SIG_BYTES];
	struct buf raw;
	json_t *o = NULL;
	enum err e;

	while (text.n && is_space(text.p[0]))
		text = bytes_of(text.p + 1, text.n - 1);
	while (text.n && is_space(text.p[text.n - 1]))
		text.n--;
	if (text.n > INVITE_TEXT_MAX)
		return ERR_LIMIT;
	if (text.n <= prefix.n || memcmp(text.p, prefix.p, prefix.n) != 0)
		return ERR_MALFORMED;
	buf_init(&raw, JSON_MAX + 64);
	e = add_url_decoded(&raw, bytes_of(text.p + prefix.n, text.n - prefix.n));
	if (e == ERR_OK)
		e = json_load_strict(buf_bytes(&raw), JSON_MAX, &o);
	if (e == ERR_OK && !json_is_object(o))
		e = ERR_MALFORMED;
	if (e == ERR_OK)
		e = fields(o, &v);
	if (e == ERR_OK && (json_get_str(o, "signature", &sig_text) != ERR_OK ||
			    base64_decode_exact(sig_text, sig, sizeof sig) != ERR_OK))
		e = ERR_MALFORMED;
	if (e == ERR_OK) {
		/* Members that we do not know are signed with the others. */
		(void)json_object_del(o, "signature");
		e = signed_part(&raw, o);
	}
	if (e == ERR_OK && !sig_verify(SIG_INVITE, v.inviter_ed, buf_bytes(&raw), sig))
		e = ERR_AUTH;
	json_decref(o);
	buf_wipe(&raw);
	buf_fini(&raw);
	if (e == ERR_OK)
		*out = v;
	return e == ERR_OK || e == ERR_LIMIT || e == ERR_AUTH || e == ERR_VERSION || e == ERR_NOMEM ? e : ERR_MALFORMED;
}

enum err invite_timely(const struct invite *v, uint64_t wall_ms)
{
	if (wall_ms + INVITE_SKEW_MS < v->issued_ms)
		return ERR_AGAIN;
	return wall_ms > v->expires_ms + INVITE_SKEW_MS ? ERR_EXPIRED : ERR_OK;
}
