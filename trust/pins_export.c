/*
 * The trust export: who we trust, for another node of the same operator. Canonical JSON; the
 * signature covers the context prefix and the same object without `signature`.
 */
#include "trust/pins_internal.h"

#include "base/text.h"

static json_t *b64(const uint8_t *p, size_t n)
{
	char text[BASE64_LEN(SIG_BYTES) + 1];

	BUG_ON(BASE64_LEN(n) >= sizeof text);
	base64_encode(bytes_of(p, n), text);
	return json_string(text);
}

static json_t *export_pin(const struct pin *pin)
{
	json_t *o = json_object();
	int bad = 0;

	bad |= json_object_set_new(o, "fingerprint", json_string(pin->id.hex));
	bad |= json_object_set_new(o, "pubkey", b64(pin->ed, sizeof pin->ed));
	bad |= json_object_set_new(o, "name", json_string(pin->name));
	bad |= json_object_set_new(o, "verified", json_boolean(pin->verified));
	bad |= json_object_set_new(o, "first_seen", json_real((double)pin->first_seen_ms / 1000.0));
	if (bad) {
		json_decref(o);
		return NULL;
	}
	return o;
}

static json_t *export_tree(const struct pins *p, const struct keyring *k, uint64_t wall_ms)
{
	json_t *root = json_object(), *list = json_array();
	int bad = 0;

	for (size_t i = 0; i < p->n; i++) {
		if (pin_admits(&p->recs[i]->pin))
			bad |= json_array_append_new(list, export_pin(&p->recs[i]->pin));
	}
	if (wall_ms > PINS_WALL_MAX_MS)
		wall_ms = PINS_WALL_MAX_MS;
	bad |= json_object_set_new(root, "pins", list);
	bad |= json_object_set_new(root, "version", json_integer(1));
	bad |= json_object_set_new(root, "exported_at", json_real((double)wall_ms / 1000.0));
	bad |= json_object_set_new(root, "exporter", json_string(keyring_id(k)->hex));
	bad |= json_object_set_new(root, "exporter_key", b64(keyring_ed(k), ED_BYTES));
	if (bad) {
		json_decref(root);
		return NULL;
	}
	return root;
}

enum err pins_export(const struct pins *p, const struct keyring *k, uint64_t wall_ms,
		     struct buf *out)
{
	uint8_t sig[SIG_BYTES];
	struct buf whole;
	json_t *root = export_tree(p, k, wall_ms);

	if (!root)
		return ERR_NOMEM;
	buf_init(&whole, PINS_FILE_MAX);
	buf_add(&whole, sig_prefix(SIG_TRUST_EXPORT));
	enum err e = json_write(&whole, root, JSON_SORTED);
	if (e == ERR_OK) {
		keyring_sign(k, SIG_TRUST_EXPORT, buf_bytes(&whole), sig);
		e = json_object_set_new(root, "signature", b64(sig, sizeof sig)) ? ERR_NOMEM
										 : ERR_OK;
	}
	if (e == ERR_OK)
		e = json_write(out, root, JSON_SORTED);
	buf_fini(&whole);
	json_decref(root);
	return e;
}
