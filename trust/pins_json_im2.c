/* What im2 remembers, as members of the trust store that older software ignores. */
#include "trust/pins_json_internal.h"

#include <stdlib.h>

#include "base/secret.h"
#include "base/text.h"

/* Oldest first in, so that the newest ends up in front. A list that psks.h would not have made is
 * not ours. */
static void read_candidates(struct jr *r, const json_t *list, struct psks *out)
{
	uint8_t key[PSK_BYTES];
	size_t n = json_array_size(list);

	if (list && (!json_is_array(list) || n > PSK_CANDIDATES)) {
		jr_fail(r, ERR_MALFORMED);
		return;
	}
	for (size_t i = n; i-- > 0 && r->err == ERR_OK;) {
		const json_t *v = json_array_get(list, i);

		if (!json_is_string(v) ||
		    base64_decode_exact(bytes_of(json_string_value(v), json_string_length(v)), key,
					sizeof key) != ERR_OK ||
		    !psks_candidate(out, key))
			jr_fail(r, ERR_MALFORMED);
	}
	wipe(key, sizeof key);
}

static void read_psks(struct jr *r, struct rec *rec)
{
	struct jr in = {.o = json_object_get(r->o, "psks")};
	uint8_t key[PSK_BYTES];

	if (!in.o)
		return;
	if (!json_is_object(in.o)) {
		jr_fail(r, ERR_MALFORMED);
		return;
	}
	rec->psks = calloc(1, sizeof *rec->psks);
	if (!rec->psks) {
		jr_fail(r, ERR_NOMEM);
		return;
	}
	if (jr_b64(&in, "confirmed", key, sizeof key) && !psks_confirm(rec->psks, key, NULL))
		jr_fail(&in, ERR_MALFORMED);
	wipe(key, sizeof key);
	read_candidates(&in, json_object_get(in.o, "candidates"), rec->psks);
	if (in.err == ERR_OK && !rec->psks->has_confirmed && rec->psks->candidates_n == 0)
		jr_fail(&in, ERR_MALFORMED);
	if (in.err != ERR_OK)
		jr_fail(r, in.err);
}

void pins_read_im2(struct jr *r, struct rec *rec)
{
	struct pin *pin = &rec->pin;

	pin->im2_since_ms = jr_seconds(r, "im2_since");
	pin->x_proven = jr_bool(r, "x_proven", false);
	pin->x_imported = jr_bool(r, "x_imported", false);
	if ((pin->x_proven || pin->x_imported) && (!pin->has_x25519 || pin->x_proven == pin->x_imported))
		jr_fail(r, ERR_MALFORMED);
	if (json_object_get(r->o, "successor")) {
		jr_id(r, "successor", &pin->successor);
		if (node_id_eq(&pin->successor, &pin->id))
			jr_fail(r, ERR_MALFORMED);
		pin->rotated_ms = jr_seconds(r, "rotated_at");
	}
	read_psks(r, rec);
}

static json_t *write_psks(const struct psks *p, bool *ok)
{
	json_t *o = json_object();

	if (p->has_confirmed)
		jw_put(o, "confirmed", jw_b64(p->confirmed.key, PSK_BYTES), ok);
	if (p->candidates_n != 0) {
		json_t *list = json_array();

		for (size_t i = 0; i < p->candidates_n; i++) {
			if (json_array_append_new(list, jw_b64(p->candidates[i].key, PSK_BYTES)) != 0)
				*ok = false;
		}
		jw_put(o, "candidates", list, ok);
	}
	return o;
}

void pins_write_im2(const struct rec *r, json_t *o, bool *ok)
{
	const struct pin *pin = &r->pin;

	if (pin->im2_since_ms != 0)
		jw_put(o, "im2_since", jw_seconds(pin->im2_since_ms), ok);
	if (pin->x_proven)
		jw_put(o, "x_proven", json_true(), ok);
	if (pin->x_imported)
		jw_put(o, "x_imported", json_true(), ok);
	if (pin->successor.hex[0] != '\0') {
		jw_put(o, "successor", json_string(pin->successor.hex), ok);
		jw_put(o, "rotated_at", jw_seconds(pin->rotated_ms), ok);
	}
	if (r->psks)
		jw_put(o, "psks", write_psks(r->psks, ok), ok);
}

enum err pins_read_im2_addresses(struct im2_set *s, const json_t *o)
{
	const char *address;
	json_t *v;

	if (!o)
		return ERR_OK;
	if (!json_is_object(o))
		return ERR_MALFORMED;
	if (json_object_size(o) > PINS_IM2_ADDRESSES_MAX)
		return ERR_LIMIT;
	json_object_foreach((json_t *)o, address, v)
	{
		struct node_id owner;
		bool changed;

		if (!pins_address_valid(address) || !json_is_string(v) ||
		    node_id_parse(bytes_of(json_string_value(v), json_string_length(v)), &owner) != ERR_OK)
			return ERR_MALFORMED;
		enum err e = im2_set_put(s, address, &owner, &changed);
		if (e != ERR_OK)
			return e;
	}
	return ERR_OK;
}

json_t *pins_write_im2_addresses(const struct im2_set *s, bool *ok)
{
	json_t *o = json_object();

	for (size_t i = 0; i < s->n; i++)
		jw_put(o, s->list[i].text, json_string(s->list[i].owner.hex), ok);
	return o;
}

/* What json_decref() gives back to the heap must not hold a secret. */
static void wipe_string(json_t *v)
{
	if (json_is_string(v))
		wipe((void *)(uintptr_t)json_string_value(v), json_string_length(v));
}

void pins_wipe_json(json_t *inner)
{
	const char *section, *id;
	json_t *records, *rec;

	json_object_foreach(inner, section, records)
	{
		json_object_foreach(records, id, rec)
		{
			json_t *psks = json_object_get(rec, "psks"), *list = json_object_get(psks, "candidates");

			wipe_string(json_object_get(psks, "confirmed"));
			for (size_t i = 0; i < json_array_size(list); i++)
				wipe_string(json_array_get(list, i));
		}
	}
}
