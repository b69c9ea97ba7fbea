/* Single values of the trust store, in and out. */
#include "trust/pins_json_internal.h"

#include <math.h>

#include "base/secret.h"
#include "base/text.h"

void jr_fail(struct jr *r, enum err e)
{
	if (r->err == ERR_OK)
		r->err = e;
}

struct bytes jr_bytes(struct jr *r, const char *key)
{
	const json_t *v = json_object_get(r->o, key);

	if (!v)
		return bytes_of("", 0);
	if (!json_is_string(v)) {
		jr_fail(r, ERR_MALFORMED);
		return bytes_of("", 0);
	}
	return bytes_of(json_string_value(v), json_string_length(v));
}

void jr_text(struct jr *r, const char *key, char *out, size_t cap)
{
	struct bytes text = jr_bytes(r, key);

	if (text.n >= cap)
		jr_fail(r, ERR_LIMIT);
	text_safe(text, out, cap);
}

void jr_address(struct jr *r, const char *key, char out[static ADDRESS_MAX + 1])
{
	struct bytes text = jr_bytes(r, key);

	jr_text(r, key, out, ADDRESS_MAX + 1);
	if (!pins_address_valid(out) || !bytes_eq(text, bytes_str(out)))
		jr_fail(r, ERR_MALFORMED);
}

bool jr_bool(struct jr *r, const char *key, bool absent)
{
	const json_t *v = json_object_get(r->o, key);

	if (v && !json_is_boolean(v))
		jr_fail(r, ERR_MALFORMED);
	return v ? json_is_true(v) : absent;
}

uint64_t jr_int(struct jr *r, const char *key, uint64_t max)
{
	const json_t *v = json_object_get(r->o, key);

	if (!v)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0 ||
	    (uint64_t)json_integer_value(v) > max) {
		jr_fail(r, ERR_MALFORMED);
		return 0;
	}
	return (uint64_t)json_integer_value(v);
}

uint64_t jr_seconds(struct jr *r, const char *key)
{
	const json_t *v = json_object_get(r->o, key);

	if (!v)
		return 0;
	double s = json_is_number(v) ? json_number_value(v) : -1.0;
	if (!(s >= 0.0 && s <= (double)PINS_WALL_MAX_MS / 1000.0)) {
		jr_fail(r, ERR_MALFORMED);
		return 0;
	}
	return (uint64_t)llround(s * 1000.0);
}

bool jr_b64(struct jr *r, const char *key, uint8_t *out, size_t n)
{
	struct bytes text = jr_bytes(r, key);

	if (text.n == 0)
		return false;
	if (base64_decode_exact(text, out, n) != ERR_OK) {
		jr_fail(r, ERR_MALFORMED);
		return false;
	}
	return true;
}

void jr_id(struct jr *r, const char *key, struct node_id *out)
{
	if (node_id_parse(jr_bytes(r, key), out) != ERR_OK)
		jr_fail(r, ERR_MALFORMED);
}

static bool among(const char *key, const char *const *own, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(own[i], key) == 0)
			return true;
	}
	return false;
}

enum err jr_extra(const json_t *from, const char *const *own, size_t n, json_t **out)
{
	json_t *extra = NULL, *value;
	const char *key;

	json_object_foreach((json_t *)from, key, value)
	{
		if (among(key, own, n))
			continue; /* not even for a moment: secrets are among ours */
		if (!extra)
			extra = json_object();
		if (!extra || json_object_set_new(extra, key, json_deep_copy(value)) != 0) {
			json_decref(extra);
			return ERR_NOMEM;
		}
	}
	*out = extra;
	return ERR_OK;
}

void jw_put(json_t *o, const char *key, json_t *v, bool *ok)
{
	if (json_object_set_new(o, key, v) != 0)
		*ok = false;
}

json_t *jw_seconds(uint64_t ms)
{
	return json_real((double)ms / 1000.0);
}

json_t *jw_b64(const uint8_t *p, size_t n)
{
	char text[BASE64_LEN(ED_BYTES) + 1];

	BUG_ON(BASE64_LEN(n) >= sizeof text);
	base64_encode(bytes_of(p, n), text);
	json_t *v = json_string(text);
	wipe(text, sizeof text); /* some are secret */
	return v;
}
