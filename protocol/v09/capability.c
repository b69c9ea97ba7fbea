#include "protocol/v09/capability.h"

#include <math.h>

#include "base/text.h"

/* The canonical text under its context, as it is signed. */
static enum err input(json_t *names, json_t *announced_at, const char *origin, json_int_t version, struct buf *out)
{
	json_t *v = json_pack("{s:O, s:O, s:s, s:I}", "announced_at", announced_at, "capabilities", names, "origin",
			      origin, "version", version);
	enum err e;

	if (!v)
		return ERR_NOMEM;
	buf_add(out, sig_prefix(SIG_CAPABILITY));
	e = json_write(out, v, JSON_SORTED);
	json_decref(v);
	return e == ERR_OK ? out->err : e;
}

enum err capability_write(const struct keyring *k, const char *const *names, size_t n, uint64_t wall_ms,
			  struct buf *out)
{
	json_t *list = json_array(), *v = NULL;
	const char *origin = keyring_id(k)->hex;
	json_t *at = json_real((double)wall_ms / 1000.0);
	uint8_t sig[SIG_BYTES];
	struct buf in, b64;
	enum err e = list && at ? ERR_OK : ERR_NOMEM;

	buf_init(&in, CAPABILITY_PAYLOAD_MAX + 64);
	buf_init(&b64, 128);
	for (size_t i = 0; e == ERR_OK && i < n; i++)
		if (json_array_append_new(list, json_string(names[i])) != 0)
			e = ERR_NOMEM;
	if (e == ERR_OK)
		e = input(list, at, origin, 1, &in);
	if (e == ERR_OK) {
		keyring_sign(k, SIG_CAPABILITY, buf_bytes(&in), sig);
		e = buf_add_base64(&b64, BYTES_ARR(sig));
	}
	if (e == ERR_OK) {
		v = json_pack("{s:s, s:O, s:O, s:i, s:s%}", "origin", origin, "capabilities", list, "announced_at", at,
			      "version", 1, "signature", (const char *)b64.p, b64.n);
		e = v ? json_write(out, v, JSON_INSERTION) : ERR_NOMEM;
	}
	json_decref(v);
	json_decref(at);
	json_decref(list);
	buf_fini(&in);
	buf_fini(&b64);
	return e;
}

/* Only the names that count, in their order. */
static enum err take_names(const json_t *list, struct capability *out)
{
	size_t i;
	json_t *v;

	if (!json_is_array(list))
		return ERR_MALFORMED;
	json_array_foreach(list, i, v) {
		if (!json_is_string(v) || json_string_length(v) == 0)
			continue;
		if (out->n == CAPABILITY_NAMES_MAX || json_string_length(v) > CAPABILITY_NAME_MAX)
			return ERR_LIMIT;
		out->names[out->n++] = json_string_value(v);
	}
	return ERR_OK;
}

static enum err take_signature(const json_t *root, struct capability *out)
{
	const json_t *at = json_object_get(root, "announced_at"), *version = json_object_get(root, "version");
	const char *text = json_str(root, "signature");
	struct buf raw;
	double s;
	enum err e;

	if (!text)
		return ERR_OK;
	s = json_is_number(at) ? json_number_value(at) : -1;
	if (!(s >= 0 && s < 9e12) || !json_is_integer(version))
		return ERR_MALFORMED;
	buf_init(&raw, SIG_BYTES + 2);
	e = buf_add_base64_decoded(&raw, bytes_str(text));
	if (e == ERR_OK && raw.n != SIG_BYTES)
		e = ERR_MALFORMED;
	if (e == ERR_OK) {
		memcpy(out->signature, raw.p, SIG_BYTES);
		out->announced_ms = (uint64_t)llround(s * 1000.0);
		out->is_signed = true;
	}
	buf_fini(&raw);
	return e == ERR_OK ? ERR_OK : ERR_MALFORMED;
}

enum err capability_read(struct bytes payload, struct capability *out)
{
	const char *origin;
	struct node_id id;
	enum err e;

	memset(out, 0, sizeof *out);
	e = json_load_strict(payload, CAPABILITY_PAYLOAD_MAX, &out->root);
	if (e != ERR_OK)
		return e;
	origin = json_str(out->root, "origin");
	if (!json_is_object(out->root))
		e = ERR_MALFORMED;
	else if (origin)
		e = node_id_parse(bytes_str(origin), &id);
	if (e == ERR_OK && origin)
		memcpy(out->origin, id.hex, sizeof out->origin);
	if (e == ERR_OK)
		e = take_names(json_object_get(out->root, "capabilities"), out);
	if (e == ERR_OK)
		e = take_signature(out->root, out);
	if (e != ERR_OK)
		capability_free(out);
	return e;
}

bool capability_verify(const struct capability *c, const uint8_t ed[static ED_BYTES])
{
	json_t *at = json_object_get(c->root, "announced_at"), *list = json_array();
	struct buf in;
	bool good = c->is_signed && list;

	buf_init(&in, CAPABILITY_PAYLOAD_MAX * 6 + 64);
	for (size_t i = 0; good && i < c->n; i++)
		good = json_array_append_new(list, json_string(c->names[i])) == 0;
	/* The time as it was written: 5 and 5.0 are signed as such. */
	good = good && input(list, at, c->origin, json_integer_value(json_object_get(c->root, "version")),
			     &in) == ERR_OK &&
	       sig_verify(SIG_CAPABILITY, ed, buf_bytes(&in), c->signature);
	json_decref(list);
	buf_fini(&in);
	return good;
}

void capability_free(struct capability *c)
{
	json_decref(c->root);
	c->root = NULL;
	c->n = 0;
}
