/* Rotation of a peer's identity (im2 13.4): the trust moves on, the old key stays for what is late. */
#include <stdlib.h>

#include "trust/pins_internal.h"

#define VIA_ROTATE "rotate"
#define CHAIN_MAX  64

static bool rotated(const struct rec *r)
{
	return r->pin.successor.hex[0] != '\0';
}

static struct rec *successor_of(const struct pins *p, const struct rec *r)
{
	return rotated(r) ? pins_rec(p, &r->pin.successor) : NULL;
}

const struct pin *pins_current(const struct pins *p, const struct node_id *id)
{
	const struct rec *r = pins_rec(p, id);

	for (int i = 0; r && i < CHAIN_MAX; i++) {
		const struct rec *next = successor_of(p, r);

		if (!next)
			break;
		r = next;
	}
	return r ? &r->pin : NULL;
}

bool pins_same(const struct pins *p, const struct node_id *a, const struct node_id *b)
{
	const struct pin *now = pins_current(p, a);

	return node_id_eq(a, b) || (now && now == pins_current(p, b));
}

size_t pins_former(const struct pins *p, const struct node_id *id, struct node_id *out, size_t max)
{
	const struct node_id *of = id;
	size_t n = 0;

	/* No rotation leads back to where it came from, but a file may say so: `max` ends that. */
	for (size_t at = 0; at <= n; of = &out[at++]) {
		for (size_t i = 0; i < p->n && n < max; i++)
			if (node_id_eq(&p->recs[i]->pin.successor, of))
				out[n++] = p->recs[i]->pin.id;
		if (at == n)
			break;
	}
	return n;
}

static enum err new_record(struct pins *p, const struct rec *old, const uint8_t ed[static ED_BYTES],
			   uint64_t wall_ms, struct rec **out)
{
	enum err e = pins_make_room(p, old->pin.state, old);

	if (e != ERR_OK)
		return e;
	struct rec *r = pins_rec_new(ed, PIN_PENDING, VIA_ROTATE, wall_ms);
	if (!r)
		return ERR_NOMEM;
	e = pins_insert(p, r);
	if (e != ERR_OK) {
		pins_rec_free(r);
		return e;
	}
	*out = r;
	return ERR_OK;
}

/* What a stranger may claim for the new identity it keeps; what it lacks it gets. */
static void move_over(struct pins *p, struct rec *old, struct rec *r, bool keep_verified)
{
	struct pin *from = &old->pin, *to = &r->pin;
	bool raised = from->state != PIN_PENDING && to->state == PIN_PENDING;

	if (to->alias[0] == '\0') {
		memcpy(to->alias, from->alias, sizeof to->alias);
		from->alias[0] = '\0';
	}
	if (to->name[0] == '\0')
		memcpy(to->name, from->name, sizeof to->name);
	old->name_bound = false;
	if (!to->addresses) {
		to->addresses = from->addresses;
		to->address_count = from->address_count;
		from->addresses = NULL;
		from->address_count = 0;
	}
	if (!r->psks) {
		r->psks = old->psks;
		old->psks = NULL;
	}
	if (to->version_floor < from->version_floor)
		to->version_floor = from->version_floor;
	to->confirms |= from->confirms;
	to->verified |= from->verified && keep_verified;
	if (to->im2_since_ms == 0)
		to->im2_since_ms = from->im2_since_ms;
	im2_set_move(&p->im2, &from->id, &to->id);
	if (raised || (to->state == PIN_TRUSTED && from->state == PIN_BLOCKED)) {
		memcpy(to->via, VIA_ROTATE, sizeof VIA_ROTATE);
		pins_move(p, r, from->state, from->reason);
	}
	if (to->state == PIN_TRUSTED && from->state == PIN_TRUSTED && pins_caps_move(old, r)) {
		to->cap_change |= from->cap_change;
		to->ignored |= from->ignored;
	} else if (to->state == PIN_PENDING) {
		to->ignored |= from->ignored;
	}
	pins_claim_name(p, r, to->name);
}

static void drop_alarms(struct pins *p, const struct node_id *was, const struct node_id *now)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->alarm_count; i++) {
		const struct pin_alarm *a = &p->alarms[i];

		if (!node_id_eq(&a->was, was) || !node_id_eq(&a->now, now))
			p->alarms[kept++] = *a;
	}
	p->alarm_count = kept;
}

enum err pins_rotate(struct pins *p, const struct node_id *old_id, const uint8_t new_ed[static ED_BYTES],
		     const uint8_t new_x[static X25519_BYTES], uint64_t wall_ms, bool keep_verified)
{
	struct rec *old = pins_rec(p, old_id), *r;
	uint8_t image[X25519_BYTES];
	struct node_id id;

	if (p->read_only)
		return ERR_DENIED;
	if (!old)
		return ERR_NOTFOUND;
	node_id_of(new_ed, &id);
	if (node_id_eq(&id, &p->self))
		return ERR_SELF;
	if (node_id_eq(&id, old_id) || ed_to_x25519(new_ed, image) != ERR_OK)
		return ERR_MALFORMED;
	if (old->pin.state == PIN_REVOKED)
		return ERR_UNTRUSTED;
	if (rotated(old))
		return node_id_eq(&old->pin.successor, &id) ? ERR_OK : ERR_EXISTS;
	r = pins_rec(p, &id);
	if (r && (r->pin.state == PIN_REVOKED || r->pin.state == PIN_BLOCKED))
		return ERR_UNTRUSTED;
	if (r && rotated(r))
		return ERR_WRONG_STATE;
	if (wall_ms > PINS_WALL_MAX_MS)
		wall_ms = PINS_WALL_MAX_MS;
	enum err e = r ? ERR_OK : new_record(p, old, new_ed, wall_ms, &r);
	if (e != ERR_OK)
		return e;

	move_over(p, old, r, keep_verified);
	if (!r->pin.x_proven) {
		memcpy(r->pin.x25519, new_x, X25519_BYTES);
		r->pin.has_x25519 = r->pin.x_imported = true;
	}
	old->pin.successor = id;
	old->pin.rotated_ms = wall_ms;
	drop_alarms(p, old_id, &id);
	p->dirty = true;
	return ERR_OK;
}

/* Whoever stole the old key signed the rotation too. What an operator decided about the new identity
 * since then is his own decision and stays. */
static void demote(struct pins *p, struct rec *old, struct rec *r)
{
	if (r->pin.state != PIN_TRUSTED || strcmp(r->pin.via, VIA_ROTATE) != 0)
		return;
	if (old->pin.alias[0] == '\0') {
		memcpy(old->pin.alias, r->pin.alias, sizeof r->pin.alias);
		r->pin.alias[0] = '\0';
	}
	pins_drop_psks(r);
	r->pin.x_imported = r->pin.verified = false;
	pins_move(p, r, PIN_PENDING, NULL);
}

void pins_void_rotation(struct pins *p, struct rec *r)
{
	struct rec *next = successor_of(p, r);

	for (int i = 0; next && i < CHAIN_MAX; i++) {
		demote(p, r, next);
		next = successor_of(p, next);
	}
	memset(&r->pin.successor, 0, sizeof r->pin.successor);
	r->pin.rotated_ms = 0;
}

size_t pins_expire_rotated(struct pins *p, uint64_t wall_ms)
{
	return pins_expire_rotated_but(p, wall_ms, NULL, NULL);
}

size_t pins_expire_rotated_but(struct pins *p, uint64_t wall_ms, bool (*keep)(const void *ctx, const struct node_id *id),
			       const void *ctx)
{
	size_t gone = 0;

	if (p->read_only)
		return 0;
	for (size_t i = p->n; i-- > 0;) {
		struct rec *r = p->recs[i];

		if (!rotated(r) || r->pin.state == PIN_BLOCKED || r->pin.state == PIN_REVOKED ||
		    wall_ms < r->pin.rotated_ms || wall_ms - r->pin.rotated_ms < PINS_ROTATED_KEEP_MS ||
		    (keep && keep(ctx, &r->pin.id)))
			continue;
		pins_remove(p, r);
		p->dirty = true;
		gone++;
	}
	return gone;
}
