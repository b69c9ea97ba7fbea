/* The inner object of the trust store (wire 9.5): records in and out. */
#include "trust/pins_json_internal.h"

#include <stdlib.h>

#include "base/text.h"

static const char *const own_members[] = {
	"pubkey",   "fingerprint", "first_seen", "last_seen",  "trust_state",
	"name",	    "alias",	   "verified",	 "via",	       "x25519",
	"confirms", "addresses",   "reason",	 "name_bound", "version_floor",
	"psks",	    "im2_since",   "x_proven",	 "x_imported", "successor",
	"rotated_at", "ignored",
};

static void read_addresses(struct jr *r, struct pin *pin)
{
	const json_t *list = json_object_get(r->o, "addresses");
	size_t n = json_array_size(list);

	if (list && !json_is_array(list))
		jr_fail(r, ERR_MALFORMED);
	if (n > PINS_ADDRESSES_MAX) {
		jr_fail(r, ERR_LIMIT);
		return;
	}
	if (n)
		pin->addresses = calloc(PINS_ADDRESSES_MAX, sizeof *pin->addresses);
	if (n && !pin->addresses)
		jr_fail(r, ERR_NOMEM);
	for (size_t i = 0; i < n && r->err == ERR_OK; i++) {
		struct jr a = {.o = json_array_get(list, i)};
		struct pin_address *out = &pin->addresses[i];

		jr_address(&a, "address", out->text);
		struct bytes tls = jr_bytes(&a, "tls_key");
		out->has_tls_key = tls.n != 0;
		if (tls.n != 0 && hex_decode(tls, out->tls_key, sizeof out->tls_key) != ERR_OK)
			jr_fail(&a, ERR_MALFORMED);
		if (a.err != ERR_OK)
			jr_fail(r, a.err);
	}
	pin->address_count = r->err == ERR_OK ? n : 0;
}

static void read_state(struct jr *r, struct rec *rec)
{
	struct bytes word = jr_bytes(r, "trust_state");
	enum pin_state s = PIN_PENDING; /* a record without a state earns none */

	if (bytes_eq(word, BYTES_LIT("pending-cap-change")))
		s = PIN_TRUSTED, rec->pin.cap_change = true;
	else if (word.n != 0 && (pin_state_parse(word, &s) != ERR_OK || s == PIN_REVOKED))
		jr_fail(r, ERR_MALFORMED);
	rec->pin.state = s;
}

static enum err read_rec(const char *key, const json_t *o, bool revoked, struct rec *rec)
{
	struct jr r = {.o = o};
	struct pin *pin = &rec->pin;
	struct node_id id;

	if (!json_is_object(o) || node_id_parse(bytes_str(key), &pin->id) != ERR_OK)
		return ERR_MALFORMED;
	rec->has_ed = jr_b64(&r, "pubkey", pin->ed, sizeof pin->ed);
	if (rec->has_ed) {
		node_id_of(pin->ed, &id);
		if (!node_id_eq(&id, &pin->id))
			jr_fail(&r, ERR_MALFORMED);
	} else if (!revoked) {
		jr_fail(&r, ERR_MALFORMED);
	}
	struct bytes fingerprint = jr_bytes(&r, "fingerprint");
	if (fingerprint.n != 0 && !bytes_eq(fingerprint, bytes_str(key)))
		jr_fail(&r, ERR_MALFORMED);
	if (revoked)
		pin->state = PIN_REVOKED;
	else
		read_state(&r, rec);
	pin->first_seen_ms = jr_seconds(&r, "first_seen");
	pin->last_seen_ms = jr_seconds(&r, "last_seen");
	jr_text(&r, "name", pin->name, sizeof pin->name);
	jr_text(&r, "alias", pin->alias, sizeof pin->alias);
	if (pin->alias[0] != '\0' && !name_valid(bytes_str(pin->alias)))
		jr_fail(&r, ERR_MALFORMED);
	jr_text(&r, "via", pin->via, sizeof pin->via);
	if (!revoked && bytes_eq(jr_bytes(&r, "pinned_via"), BYTES_LIT("invite")))
		memcpy(pin->via, "invite", sizeof "invite");
	pin->verified = jr_bool(&r, "verified", false);
	pin->ignored = jr_bool(&r, "ignored", false) && (pin->state == PIN_PENDING || pin->cap_change);
	pin->confirms = jr_bool(&r, "confirms", false);
	rec->name_bound = jr_bool(&r, "name_bound", true) && pin->state == PIN_TRUSTED &&
			  pin->name[0] != '\0';
	pin->version_floor = (uint16_t)jr_int(&r, "version_floor", UINT16_MAX);
	pin->has_x25519 = jr_b64(&r, "x25519", pin->x25519, sizeof pin->x25519);
	read_addresses(&r, pin);
	pins_read_im2(&r, rec);
	if (revoked) { /* other software writes reasons of any length */
		text_safe(jr_bytes(&r, "reason"), pin->reason, sizeof pin->reason);
	} else {
		jr_text(&r, "reason", pin->reason, sizeof pin->reason);
	}
	if (r.err != ERR_OK)
		return r.err;
	return jr_extra(o, own_members, sizeof own_members / sizeof own_members[0], &rec->extra);
}

static enum err read_section(struct pins *p, const json_t *section, bool revoked)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)section, key, value)
	{
		struct rec *rec = calloc(1, sizeof *rec);

		if (!rec)
			return ERR_NOMEM;
		enum err e = read_rec(key, value, revoked, rec);
		/* A name bound twice was never written by us: the older record keeps it. */
		if (e == ERR_OK)
			e = pins_insert(p, rec);
		if (e == ERR_EXISTS && !revoked) {
			pins_rec_free(rec); /* revoked as well, and that wins */
			continue;
		}
		if (e != ERR_OK) {
			pins_rec_free(rec);
			return e == ERR_EXISTS ? ERR_MALFORMED : e;
		}
	}
	return ERR_OK;
}

/* Of two records with one name, or one proven key, the older one keeps it. */
static void settle(struct pins *p)
{
	for (size_t i = 0; i < p->n; i++) {
		if (p->recs[i]->name_bound &&
		    pins_name_holder(p, p->recs[i]->pin.name) != p->recs[i])
			p->recs[i]->name_bound = false;
	}
	for (size_t i = 0; i < p->n; i++) {
		struct pin *pin = &p->recs[i]->pin;

		if (pin->x_proven && pins_x_holder(p, pin->x25519) != p->recs[i])
			pin->x_proven = false;
	}
}

static enum err read_alarms(struct pins *p, const json_t *list)
{
	size_t n = json_array_size(list);

	if (!list)
		return ERR_OK;
	if (!json_is_array(list))
		return ERR_MALFORMED;
	if (n > PINS_ALARMS_MAX)
		return ERR_LIMIT;
	for (size_t i = 0; i < n; i++) {
		struct jr r = {.o = json_array_get(list, i)};
		struct pin_alarm a = {0};
		struct node_id id;

		a.is_address = jr_bool(&r, "is_address", false);
		if (a.is_address)
			jr_address(&r, "subject", a.subject);
		else
			jr_text(&r, "subject", a.subject, NAME_MAX_CHARS + 1);
		if (a.subject[0] == '\0')
			jr_fail(&r, ERR_MALFORMED);
		jr_id(&r, "was", &a.was);
		jr_id(&r, "now", &a.now);
		if (!jr_b64(&r, "now_key", a.now_ed, sizeof a.now_ed))
			jr_fail(&r, ERR_MALFORMED);
		node_id_of(a.now_ed, &id);
		if (r.err == ERR_OK && !node_id_eq(&id, &a.now))
			jr_fail(&r, ERR_MALFORMED);
		jr_text(&r, "now_name", a.now_name, sizeof a.now_name);
		a.at_ms = jr_seconds(&r, "at");
		a.count = jr_int(&r, "count", INT64_MAX);
		if (r.err != ERR_OK)
			return r.err;
		p->alarms[p->alarm_count++] = a;
	}
	return ERR_OK;
}

enum err pins_read_inner(struct pins *p, const json_t *inner)
{
	static const char *const sections[] = {"peers", "revoked", "alarms", "im2_addresses"};
	const json_t *peers = json_object_get(inner, "peers");
	const json_t *revoked = json_object_get(inner, "revoked");
	enum err e = ERR_OK;

	pins_clear(p);
	if (!json_is_object(inner) || !json_is_object(peers) ||
	    (revoked && !json_is_object(revoked)))
		return ERR_MALFORMED;
	size_t n = json_object_size(peers);
	if (n > PINS_MAX || json_object_size(revoked) > PINS_MAX - n)
		return ERR_LIMIT;
	if (revoked)
		e = read_section(p, revoked, true);
	if (e == ERR_OK)
		e = read_section(p, peers, false);
	if (e == ERR_OK)
		e = read_alarms(p, json_object_get(inner, "alarms"));
	if (e == ERR_OK)
		e = pins_read_im2_addresses(&p->im2, json_object_get(inner, "im2_addresses"));
	if (e == ERR_OK)
		e = jr_extra(inner, sections, sizeof sections / sizeof sections[0], &p->extra);
	if (e != ERR_OK)
		pins_clear(p);
	else
		settle(p);
	return e;
}

/* --- out ----------------------------------------------------------------------------------- */

static json_t *write_addresses(const struct pin *pin, bool *ok)
{
	json_t *list = json_array();

	for (size_t i = 0; i < pin->address_count; i++) {
		const struct pin_address *a = &pin->addresses[i];
		char hex[2 * sizeof a->tls_key + 1];
		json_t *o = json_object();

		jw_put(o, "address", json_string(a->text), ok);
		if (a->has_tls_key) {
			hex_encode(BYTES_ARR(a->tls_key), hex);
			jw_put(o, "tls_key", json_string(hex), ok);
		}
		if (json_array_append_new(list, o) != 0)
			*ok = false;
	}
	return list;
}

/* Members of ours appear only when they say something: a plain store stays as upstream wrote it. */
static json_t *write_rec(const struct rec *r, bool *ok)
{
	const struct pin *pin = &r->pin;
	bool revoked = pin->state == PIN_REVOKED;
	json_t *o = r->extra ? json_deep_copy(r->extra) : json_object();

	if (r->has_ed)
		jw_put(o, "pubkey", jw_b64(pin->ed, sizeof pin->ed), ok);
	if (!revoked) {
		jw_put(o, "fingerprint", json_string(pin->id.hex), ok);
		jw_put(o, "trust_state",
		    json_string(pin_word(pin)),
		    ok);
	}
	if (!revoked || pin->first_seen_ms != 0)
		jw_put(o, "first_seen", jw_seconds(pin->first_seen_ms), ok);
	if (!revoked || pin->last_seen_ms != 0)
		jw_put(o, "last_seen", jw_seconds(pin->last_seen_ms), ok);
	if (pin->name[0] != '\0')
		jw_put(o, "name", json_string(pin->name), ok);
	if (pin->alias[0] != '\0')
		jw_put(o, "alias", json_string(pin->alias), ok);
	if (!revoked && strcmp(pin->via, "invite") == 0)
		jw_put(o, "pinned_via", json_string(pin->via), ok);
	else if (pin->via[0] != '\0')
		jw_put(o, "via", json_string(pin->via), ok);
	if (pin->verified)
		jw_put(o, "verified", json_true(), ok);
	if (pin->ignored)
		jw_put(o, "ignored", json_true(), ok);
	if (pin->confirms)
		jw_put(o, "confirms", json_true(), ok);
	if (pin->state == PIN_TRUSTED && pin->name[0] != '\0' && !r->name_bound)
		jw_put(o, "name_bound", json_false(), ok);
	if (pin->version_floor != 0)
		jw_put(o, "version_floor", json_integer(pin->version_floor), ok);
	if (pin->has_x25519)
		jw_put(o, "x25519", jw_b64(pin->x25519, sizeof pin->x25519), ok);
	if (pin->address_count != 0)
		jw_put(o, "addresses", write_addresses(pin, ok), ok);
	pins_write_im2(r, o, ok);
	if (revoked || pin->reason[0] != '\0')
		jw_put(o, "reason", json_string(pin->reason), ok);
	return o;
}

static json_t *write_alarm(const struct pin_alarm *a, bool *ok)
{
	json_t *o = json_object();

	jw_put(o, "subject", json_string(a->subject), ok);
	if (a->is_address)
		jw_put(o, "is_address", json_true(), ok);
	jw_put(o, "was", json_string(a->was.hex), ok);
	jw_put(o, "now", json_string(a->now.hex), ok);
	jw_put(o, "now_key", jw_b64(a->now_ed, sizeof a->now_ed), ok);
	jw_put(o, "now_name", json_string(a->now_name), ok);
	jw_put(o, "at", jw_seconds(a->at_ms), ok);
	jw_put(o, "count", json_integer((json_int_t)a->count), ok);
	return o;
}

enum err pins_write_inner(const struct pins *p, struct buf *out)
{
	json_t *inner = p->extra ? json_deep_copy(p->extra) : json_object();
	json_t *peers = json_object(), *revoked = json_object(), *alarms = NULL;
	bool ok = true;

	for (size_t i = 0; i < p->n; i++) {
		const struct rec *r = p->recs[i];

		jw_put(r->pin.state == PIN_REVOKED ? revoked : peers, r->pin.id.hex, write_rec(r, &ok),
		    &ok);
	}
	jw_put(inner, "peers", peers, &ok);
	jw_put(inner, "revoked", revoked, &ok);
	if (p->alarm_count != 0) {
		alarms = json_array();
		for (size_t i = 0; i < p->alarm_count; i++) {
			if (json_array_append_new(alarms, write_alarm(&p->alarms[i], &ok)) != 0)
				ok = false;
		}
		jw_put(inner, "alarms", alarms, &ok);
	}
	if (p->im2.n != 0)
		jw_put(inner, "im2_addresses", pins_write_im2_addresses(&p->im2, &ok), &ok);
	/* A buffer that grows leaves copies behind: the secrets in it get one that need not. */
	if (ok) {
		size_t n = json_dumpb(inner, NULL, 0, JSON_COMPACT | JSON_ENSURE_ASCII);

		buf_reserve(out, n < out->max - out->n ? n : out->max - out->n);
	}
	enum err e = ok ? json_write(out, inner, JSON_SORTED) : ERR_NOMEM;
	pins_wipe_json(inner);
	json_decref(inner);
	return e;
}
