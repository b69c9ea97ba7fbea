/*
 * The members of wire 9.5 are kept as they are written, among what other software adds to a record (rec->extra): there they
 * survive whoever wrote them. A copy of the store shares that object, so a change makes a new one.
 */
#include "trust/pins_caps.h"

#include <stdlib.h>

#include "base/hash.h"
#include "trust/pins_internal.h"

#define HASH "capability_hash"
#define SET "capability_set"
#define FIRST "cap_first_observed"
#define HASH_PENDING "capability_hash_pending"
#define SET_PENDING "capability_set_pending"
#define ACCEPTED "cap_accepted_at"

struct names {
	struct bytes list[PINS_CAPS_MAX]; /* borrowed, stripped, sorted, unique */
	size_t n, bytes;
};

static bool space(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct bytes stripped(struct bytes s)
{
	while (s.n && space(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n && space(s.p[s.n - 1]))
		s.n--;
	return s;
}

static int by_bytes(const void *a, const void *b)
{
	const struct bytes *x = a, *y = b;
	int d = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);

	return d ? d : x->n < y->n ? -1 : x->n > y->n;
}

static enum err names_of(const char *const caps[], size_t n, struct names *out)
{
	size_t kept = 0;

	out->n = out->bytes = 0;
	for (size_t i = 0; i < n; i++) {
		struct bytes s = stripped(bytes_str(caps[i]));

		if (!s.n)
			continue;
		if (out->n == PINS_CAPS_MAX || s.n > PINS_CAP_TEXT_MAX)
			return ERR_LIMIT;
		if (!utf8_valid(s) || memchr(s.p, '\n', s.n))
			return ERR_MALFORMED;
		out->list[out->n++] = s;
	}
	if (out->n)
		qsort(out->list, out->n, sizeof out->list[0], by_bytes);
	for (size_t i = 0; i < out->n; i++) {
		if (kept && bytes_eq(out->list[kept - 1], out->list[i]))
			continue;
		out->list[kept++] = out->list[i];
		out->bytes += out->list[i].n;
	}
	out->n = kept;
	return ERR_OK;
}

static void digest_of(const struct names *s, uint8_t out[static CAPS_DIGEST_BYTES])
{
	struct bytes parts[1 + 2 * PINS_CAPS_MAX] = { BYTES_LIT("ironmesh-cap-hash-v1:") };
	size_t n = 1;

	for (size_t i = 0; i < s->n; i++) {
		if (i)
			parts[n++] = BYTES_LIT("\n");
		parts[n++] = s->list[i];
	}
	sha256_n(parts, n, out);
}

enum err caps_digest(const char *const caps[], size_t n, uint8_t out[static CAPS_DIGEST_BYTES])
{
	struct names s;
	enum err e = names_of(caps, n, &s);

	if (e == ERR_OK)
		digest_of(&s, out);
	return e;
}

/* --- members --------------------------------------------------------------------------------------------- */
static const char *text_of(const struct rec *r, const char *member)
{
	return json_string_value(json_object_get(r->extra, member));
}

static bool digest_is(const struct rec *r, const char *member, const char *hex)
{
	const char *text = text_of(r, member);

	return text && strcmp(text, hex) == 0;
}

static size_t set_bytes(const struct rec *r, const char *member)
{
	size_t i, n = 0;
	json_t *v;

	json_array_foreach (json_object_get(r->extra, member), i, v)
		n += json_string_length(v);
	return n;
}

static bool has_room(const struct pins *p, size_t more)
{
	size_t n = more;

	for (size_t i = 0; i < p->n; i++)
		n += set_bytes(p->recs[i], SET) + set_bytes(p->recs[i], SET_PENDING);
	return n <= PINS_CAPS_BYTES_MAX;
}

static json_t *list_of(const struct names *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->n; i++)
		if (json_array_append_new(list, json_stringn((const char *)s->list[i].p, s->list[i].n)) != 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

static json_t *seconds(uint64_t wall_ms)
{
	return json_real((double)(wall_ms < PINS_WALL_MAX_MS ? wall_ms : PINS_WALL_MAX_MS) / 1000.0);
}

static json_t *begin(const struct rec *r)
{
	return r->extra ? json_deep_copy(r->extra) : json_object();
}

/* Takes `o`. */
static enum err settle(struct pins *p, struct rec *r, json_t *o, bool ok)
{
	if (!o || !ok) {
		json_decref(o);
		return ERR_NOMEM;
	}
	json_decref(r->extra);
	r->extra = o;
	p->dirty = true;
	return ERR_OK;
}

static bool put_set(json_t *o, const char *hash, const char *set, const char *hex, const struct names *s, bool fits)
{
	bool ok = json_object_set_new(o, hash, json_string(hex)) == 0;

	if (fits)
		return ok && json_object_set_new(o, set, list_of(s)) == 0;
	json_object_del(o, set);
	return ok;
}

/* --- observed ---------------------------------------------------------------------------------------------- */
enum err pins_caps_observe(struct pins *p, const struct node_id *id, const char *const caps[], size_t n, bool demote,
			   uint64_t wall_ms, enum caps_news *news)
{
	struct rec *r = pins_rec(p, id);
	uint8_t digest[CAPS_DIGEST_BYTES];
	char hex[2 * CAPS_DIGEST_BYTES + 1];
	struct names s;
	enum caps_news what;
	json_t *o;
	bool ok = true;

	if (p->read_only)
		return ERR_DENIED;
	if (!r)
		return ERR_NOTFOUND;
	enum err e = names_of(caps, n, &s);
	if (e != ERR_OK)
		return e;
	digest_of(&s, digest);
	hex_encode(BYTES_ARR(digest), hex);
	if (r->pin.state != PIN_TRUSTED || digest_is(r, HASH_PENDING, hex) ||
	    (digest_is(r, HASH, hex) && !text_of(r, HASH_PENDING))) {
		*news = CAPS_SAME;
		return ERR_OK;
	}
	o = begin(r);
	if (!text_of(r, HASH)) {
		what = CAPS_BASELINE;
		ok = put_set(o, HASH, SET, hex, &s, has_room(p, s.bytes)) &&
		     json_object_set_new(o, FIRST, seconds(wall_ms)) == 0;
	} else if (digest_is(r, HASH, hex)) {
		what = CAPS_BACK;
		json_object_del(o, HASH_PENDING);
		json_object_del(o, SET_PENDING);
	} else {
		what = CAPS_CHANGED;
		ok = put_set(o, HASH_PENDING, SET_PENDING, hex, &s, has_room(p, s.bytes));
	}
	e = settle(p, r, o, ok);
	if (e != ERR_OK)
		return e;
	if (what == CAPS_CHANGED && demote)
		r->pin.cap_change = true;
	*news = what;
	return ERR_OK;
}

/* --- decided ------------------------------------------------------------------------------------------------ */
static enum err find(struct pins *p, const struct node_id *id, struct rec **out, struct fault *f)
{
	struct rec *r = pins_rec(p, id);

	if (p->read_only)
		return pins_refuse_read_only(p, f);
	if (!r) {
		fault_set(f, ERR_NOTFOUND, EXIT_PEER_UNKNOWN, "no peer has the id %s", id->hex);
		fault_next(f, "ironmesh peers list");
		return ERR_NOTFOUND;
	}
	if (!text_of(r, HASH_PENDING) && !r->pin.cap_change) {
		fault_set(f, ERR_WRONG_STATE, EXIT_GENERIC, "no change of its capabilities waits");
		fault_means(f, "%s announces what was accepted, or nothing yet", id->hex);
		fault_next(f, "ironmesh trust cap-diff %s", id->hex);
		return ERR_WRONG_STATE;
	}
	*out = r;
	return ERR_OK;
}

enum err pins_caps_settle(struct pins *p, struct rec *r, uint64_t wall_ms)
{
	json_t *set = json_object_get(r->extra, SET_PENDING);
	json_t *hash = json_object_get(r->extra, HASH_PENDING);
	bool ok = true;
	json_t *o;

	if (!hash)
		return ERR_OK;
	o = begin(r);
	ok = json_object_set(o, HASH, hash) == 0 && json_object_set_new(o, ACCEPTED, seconds(wall_ms)) == 0;
	if (set)
		ok = ok && json_object_set(o, SET, set) == 0;
	else
		json_object_del(o, SET);
	json_object_del(o, HASH_PENDING);
	json_object_del(o, SET_PENDING);
	return settle(p, r, o, ok);
}

enum err pins_caps_accept(struct pins *p, const struct node_id *id, uint64_t wall_ms, struct fault *f)
{
	struct rec *r;
	enum err e = find(p, id, &r, f);

	if (e == ERR_OK)
		e = pins_caps_settle(p, r, wall_ms);
	if (e != ERR_OK)
		return e;
	r->pin.cap_change = false;
	if (r->pin.state == PIN_TRUSTED)
		r->pin.ignored = false;
	p->dirty = true;
	return ERR_OK;
}

enum err pins_caps_reject(struct pins *p, const struct node_id *id, struct fault *f)
{
	struct rec *r;
	enum err e = find(p, id, &r, f);

	if (e != ERR_OK)
		return e;
	if (r->pin.state == PIN_TRUSTED)
		r->pin.cap_change = r->pin.ignored = true;
	p->dirty = true;
	return ERR_OK;
}

bool pins_caps_move(const struct rec *from, struct rec *to)
{
	static const char *const members[] = { HASH, SET, FIRST, HASH_PENDING, SET_PENDING, ACCEPTED };
	json_t *o;
	bool ok = true;

	if (!text_of(from, HASH) || text_of(to, HASH))
		return true;
	o = begin(to);
	for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
		json_t *v = json_object_get(from->extra, members[i]);

		ok = ok && (!v || json_object_set(o, members[i], v) == 0);
	}
	if (!o || !ok) {
		json_decref(o);
		return false;
	}
	json_decref(to->extra);
	to->extra = o;
	return true;
}

/* --- shown -------------------------------------------------------------------------------------------------- */
static size_t sorted(const struct rec *r, const char *member, struct names *out)
{
	const char *caps[PINS_CAPS_MAX];
	size_t i, n = 0;
	json_t *v;

	json_array_foreach (json_object_get(r->extra, member), i, v)
		if (json_is_string(v) && n < PINS_CAPS_MAX)
			caps[n++] = json_string_value(v);
	if (names_of(caps, n, out) != ERR_OK)
		out->n = 0;
	return out->n;
}

static void say(caps_diff_fn fn, void *ctx, char sign, struct bytes name)
{
	char text[PINS_CAP_TEXT_MAX + 1];

	fn(ctx, sign, text_safe(name, text, sizeof text));
}

static bool view_digest(const struct rec *r, const char *member, uint8_t out[static CAPS_DIGEST_BYTES])
{
	const char *hex = text_of(r, member);

	if (!hex)
		return false;
	if (hex_decode(bytes_str(hex), out, CAPS_DIGEST_BYTES) != ERR_OK)
		memset(out, 0, CAPS_DIGEST_BYTES); /* of other software: no digest as we make them */
	return true;
}

static uint64_t view_ms(const struct rec *r, const char *member)
{
	double s = json_number_value(json_object_get(r->extra, member));

	return s > 0 && s < (double)PINS_WALL_MAX_MS / 1000.0 ? (uint64_t)(s * 1000.0) : 0;
}

enum err pins_caps_diff(const struct pins *p, const struct node_id *id, struct caps_view *view, caps_diff_fn fn, void *ctx)
{
	const struct rec *r = pins_rec(p, id);
	struct caps_view v = { 0 };
	struct names was, now;
	size_t i = 0, k = 0;

	if (!r)
		return ERR_NOTFOUND;
	v.has_baseline = view_digest(r, HASH, v.baseline);
	v.has_pending = view_digest(r, HASH_PENDING, v.pending);
	v.names_known = (!v.has_baseline || json_is_array(json_object_get(r->extra, SET))) &&
			(!v.has_pending || json_is_array(json_object_get(r->extra, SET_PENDING)));
	v.first_observed_ms = view_ms(r, FIRST);
	v.accepted_ms = view_ms(r, ACCEPTED);
	*view = v;
	if (!fn)
		return ERR_OK;
	sorted(r, SET, &was);
	sorted(r, v.has_pending ? SET_PENDING : SET, &now);
	/* Of a set that is not known nothing is said, rather than that all of it went. */
	if (!v.names_known && v.has_pending)
		return ERR_OK;
	while (i < was.n || k < now.n) {
		int d = i == was.n ? 1 : k == now.n ? -1 : by_bytes(&was.list[i], &now.list[k]);

		say(fn, ctx, d < 0 ? '-' : d > 0 ? '+' : ' ', d <= 0 ? was.list[i] : now.list[k]);
		i += d <= 0;
		k += d >= 0;
	}
	return ERR_OK;
}
