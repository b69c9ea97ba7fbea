/* What im2 remembers of a peer: its proven key, the pair secrets, and that it spoke im2. */
#include <stdlib.h>

#include "base/secret.h"
#include "trust/pins_internal.h"

/* --- static keys (im2 2.2) ----------------------------------------------------------------- */

static bool has_x(const struct pin *pin, const uint8_t x[static X25519_BYTES])
{
	return pin->has_x25519 && memcmp(pin->x25519, x, X25519_BYTES) == 0;
}

struct rec *pins_x_holder(const struct pins *p, const uint8_t x[static X25519_BYTES])
{
	for (size_t i = 0; i < p->n; i++) {
		if (p->recs[i]->pin.x_proven && has_x(&p->recs[i]->pin, x))
			return p->recs[i];
	}
	return NULL;
}

const struct pin *pins_by_x(const struct pins *p, const uint8_t x[static X25519_BYTES], bool *conflict)
{
	const struct rec *holder = pins_x_holder(p, x), *other = NULL;

	if (conflict)
		*conflict = false;
	for (size_t i = 0; !holder && i < p->n; i++) {
		const struct rec *r = p->recs[i];

		if (!r->pin.x_imported || !has_x(&r->pin, x))
			continue;
		if (!other) {
			other = r;
		} else {
			if (conflict)
				*conflict = true;
			return NULL;
		}
	}
	holder = holder ? holder : other;
	return holder ? &holder->pin : NULL;
}

const uint8_t *pins_ik_x(const struct pins *p, const struct pin *pin)
{
	if (pin->x_proven)
		return pin->x25519;
	return pin->x_imported && !pins_x_holder(p, pin->x25519) ? pin->x25519 : NULL;
}

enum err pins_prove_x(struct pins *p, const struct node_id *id, const uint8_t x[static X25519_BYTES],
		      uint64_t wall_ms, bool *replaced)
{
	struct rec *r = pins_rec(p, id);
	const struct rec *holder = pins_x_holder(p, x);

	if (p->read_only)
		return ERR_DENIED;
	if (!r)
		return ERR_NOTFOUND;
	if (r->pin.state == PIN_BLOCKED || r->pin.state == PIN_REVOKED)
		return ERR_UNTRUSTED;
	if (holder && holder != r)
		return ERR_EXISTS;
	if (replaced)
		*replaced = r->pin.has_x25519 && !has_x(&r->pin, x);
	if (holder != r) {
		memcpy(r->pin.x25519, x, X25519_BYTES);
		r->pin.has_x25519 = r->pin.x_proven = true;
		r->pin.x_imported = false;
		p->dirty = true;
	}
	if (r->pin.im2_since_ms == 0) {
		r->pin.im2_since_ms = wall_ms == 0 ? 1 : wall_ms < PINS_WALL_MAX_MS ? wall_ms : PINS_WALL_MAX_MS;
		p->dirty = true;
	}
	return ERR_OK;
}

/* --- pair secrets (im2 6.2) ---------------------------------------------------------------- */

void pins_drop_psks(struct rec *r)
{
	if (r->psks)
		psks_wipe(r->psks);
	free(r->psks);
	r->psks = NULL;
}

enum err pins_get_psks(const struct pins *p, const struct node_id *id, struct psks *out)
{
	const struct rec *r = pins_rec(p, id);

	if (!r)
		return ERR_NOTFOUND;
	*out = r->psks ? *r->psks : (struct psks){0};
	return ERR_OK;
}

enum err pins_set_psks(struct pins *p, const struct node_id *id, const struct psks *psks)
{
	struct rec *r = pins_rec(p, id);

	BUG_ON(psks->candidates_n > PSK_CANDIDATES);
	if (p->read_only)
		return ERR_DENIED;
	if (!r)
		return ERR_NOTFOUND;
	if (r->pin.state == PIN_REVOKED)
		return ERR_UNTRUSTED;
	if (!psks->has_confirmed && psks->candidates_n == 0) {
		pins_drop_psks(r);
	} else {
		if (!r->psks)
			r->psks = malloc(sizeof *r->psks);
		if (!r->psks)
			return ERR_NOMEM;
		*r->psks = *psks;
	}
	p->dirty = true;
	return ERR_OK;
}

/* --- addresses (im2 4.3) ------------------------------------------------------------------- */

/* Where `address` is or would be. */
static size_t place_of(const struct im2_set *s, const char *address, bool *there)
{
	size_t lo = 0, hi = s->n;

	*there = false;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int order = strcmp(s->list[mid].text, address);

		if (order == 0) {
			*there = true;
			return mid;
		}
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

enum err im2_set_put(struct im2_set *s, const char *address, const struct node_id *owner, bool *changed)
{
	bool there;
	size_t at = place_of(s, address, &there);

	if (there) {
		*changed = !node_id_eq(&s->list[at].owner, owner);
		s->list[at].owner = *owner;
		return ERR_OK;
	}
	if (s->n >= PINS_IM2_ADDRESSES_MAX)
		return ERR_FULL;
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 8;
		struct im2_address *list = reallocarray(s->list, cap, sizeof *list);

		if (!list)
			return ERR_NOMEM;
		s->list = list;
		s->cap = cap;
	}
	char *text = strdup(address);
	if (!text)
		return ERR_NOMEM;
	memmove(s->list + at + 1, s->list + at, (s->n - at) * sizeof *s->list);
	s->list[at] = (struct im2_address){.text = text, .owner = *owner};
	s->n++;
	*changed = true;
	return ERR_OK;
}

static void take_at(struct im2_set *s, size_t at)
{
	free(s->list[at].text);
	memmove(s->list + at, s->list + at + 1, (s->n - at - 1) * sizeof *s->list);
	s->n--;
}

bool im2_set_move(struct im2_set *s, const struct node_id *owner, const struct node_id *to)
{
	bool any = false;

	for (size_t i = s->n; i-- > 0;) {
		if (!node_id_eq(&s->list[i].owner, owner))
			continue;
		any = true;
		if (to)
			s->list[i].owner = *to;
		else
			take_at(s, i);
	}
	return any;
}

void im2_set_clear(struct im2_set *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->list[i].text);
	free(s->list);
	*s = (struct im2_set){0};
}

enum err im2_set_copy(const struct im2_set *from, struct im2_set *out)
{
	*out = (struct im2_set){0};
	for (size_t i = 0; i < from->n; i++) {
		bool changed;
		enum err e = im2_set_put(out, from->list[i].text, &from->list[i].owner, &changed);

		if (e != ERR_OK) {
			im2_set_clear(out);
			return e;
		}
	}
	return ERR_OK;
}

enum err pins_im2_address_add(struct pins *p, const char *address, const struct node_id *owner)
{
	bool changed = false;

	if (p->read_only)
		return ERR_DENIED;
	if (!pins_address_valid(address))
		return ERR_MALFORMED;
	enum err e = im2_set_put(&p->im2, address, owner, &changed);
	if (changed)
		p->dirty = true;
	return e;
}

bool pins_im2_address_has(const struct pins *p, const char *address, struct node_id *owner)
{
	bool there;
	size_t at = place_of(&p->im2, address, &there);

	if (there && owner)
		*owner = p->im2.list[at].owner;
	return there;
}

enum err pins_im2_address_remove(struct pins *p, const char *address)
{
	bool there;
	size_t at = place_of(&p->im2, address, &there);

	if (p->read_only)
		return ERR_DENIED;
	if (!there)
		return ERR_NOTFOUND;
	take_at(&p->im2, at);
	p->dirty = true;
	return ERR_OK;
}

size_t pins_im2_addresses(const struct pins *p)
{
	return p->im2.n;
}

enum err pins_forget_im2(struct pins *p, const struct node_id *id)
{
	struct rec *r = pins_rec(p, id);

	if (p->read_only)
		return ERR_DENIED;
	bool any = im2_set_move(&p->im2, id, NULL);
	if (r && r->pin.im2_since_ms != 0) {
		r->pin.im2_since_ms = 0;
		any = true;
	}
	if (!any)
		return ERR_NOTFOUND;
	p->dirty = true;
	return ERR_OK;
}
