#include "trust/pins_internal.h"

#include <stdlib.h>

#include "base/sm.h"
#include "base/text.h"

static const struct sm_row pin_rows[PIN_STATES] = {
	[PIN_PENDING] = {"pending", SM_TO(PIN_TRUSTED) | SM_TO(PIN_BLOCKED) | SM_TO(PIN_REVOKED)},
	[PIN_TRUSTED] = {"trusted", SM_TO(PIN_PENDING) | SM_TO(PIN_BLOCKED) | SM_TO(PIN_REVOKED)},
	[PIN_BLOCKED] = {"blocked", SM_TO(PIN_PENDING) | SM_TO(PIN_TRUSTED) | SM_TO(PIN_REVOKED)},
	[PIN_REVOKED] = {"revoked", 0},
};

const char *pin_state_word(enum pin_state s)
{
	return (unsigned)s < PIN_STATES ? pin_rows[s].name : "unknown";
}

const char *pin_word(const struct pin *pin)
{
	return pin->state == PIN_TRUSTED && pin->cap_change ? "pending-cap-change" : pin_state_word(pin->state);
}

bool pin_admits(const struct pin *pin)
{
	return pin->state == PIN_TRUSTED && !pin->cap_change;
}

enum err pin_state_parse(struct bytes word, enum pin_state *out)
{
	for (unsigned s = 0; s < PIN_STATES; s++) {
		if (bytes_eq(word, bytes_str(pin_rows[s].name))) {
			*out = s;
			return ERR_OK;
		}
	}
	return ERR_MALFORMED;
}

/* Without the keys. */
static enum err new_empty(const char *path, const struct node_id *self, struct env *env, struct pins **out)
{
	struct map_opts o = {
		.capacity = PINS_MAX,
		.value_size = sizeof(struct rec *),
		.policy = MAP_REFUSE,
	};
	struct pins *p = calloc(1, sizeof *p);

	if (!p)
		return ERR_NOMEM;
	p->env = env;
	p->self = *self;
	env_random(env, o.hash_key, sizeof o.hash_key);
	p->by_id = map_new(&o);
	p->path = path ? strdup(path) : NULL;
	if (!p->by_id || (path && !p->path)) {
		pins_free(p);
		return ERR_NOMEM;
	}
	*out = p;
	return ERR_OK;
}

enum err pins_new(const char *path, const struct keyring *k, struct env *env, struct pins **out)
{
	struct pins *p;
	enum err e = new_empty(path, keyring_id(k), env, &p);

	if (e != ERR_OK)
		return e;
	e = keyring_derive(k, DERIVE_TRUST_MAC, &p->mac);
	if (e == ERR_OK)
		e = keyring_derive(k, DERIVE_TRUST_BOX, &p->box);
	if (e != ERR_OK) {
		pins_free(p);
		return e;
	}
	*out = p;
	return ERR_OK;
}

enum err pins_new_with(const struct node_id *self, struct bytes mac, struct bytes box, struct env *env, struct pins **out)
{
	struct pins *p;
	enum err e = new_empty(NULL, self, env, &p);

	if (e != ERR_OK)
		return e;
	e = secret_copy(&p->mac, mac);
	if (e == ERR_OK)
		e = secret_copy(&p->box, box);
	if (e != ERR_OK) {
		pins_free(p);
		return e;
	}
	*out = p;
	return ERR_OK;
}

void pins_clear(struct pins *p)
{
	for (size_t i = 0; i < p->n; i++)
		pins_rec_free(p->recs[i]);
	p->n = 0;
	p->alarm_count = 0;
	im2_set_clear(&p->im2);
	if (p->by_id)
		map_clear(p->by_id);
	json_decref(p->extra);
	p->extra = NULL;
}

void pins_free(struct pins *p)
{
	if (!p)
		return;
	pins_clear(p);
	free(p->recs);
	map_free(p->by_id);
	secret_free(&p->mac);
	secret_free(&p->box);
	free(p->path);
	free(p);
}

bool pins_read_only(const struct pins *p, const char **why)
{
	if (why)
		*why = p->why;
	return p->read_only;
}

bool pins_dirty(const struct pins *p)
{
	return p->dirty || p->stale;
}

bool pins_state_dirty(const struct pins *p)
{
	return p->dirty;
}

enum err pins_refuse_read_only(const struct pins *p, struct fault *f)
{
	fault_set(f, ERR_DENIED, EXIT_INTEGRITY,
		  "the trust store is read-only, nothing was changed");
	fault_means(f, "%.230s", p->why);
	fault_next(f, "ironmesh doctor");
	return ERR_DENIED;
}

/* --- records ------------------------------------------------------------------------------- */

static struct bytes key_of(const struct node_id *id)
{
	return bytes_of(id->hex, NODE_ID_LEN);
}

struct rec *pins_rec(const struct pins *p, const struct node_id *id)
{
	struct rec **slot = map_peek(p->by_id, key_of(id));

	return slot ? *slot : NULL;
}

struct rec *pins_rec_new(const uint8_t ed[static ED_BYTES], enum pin_state s, const char *via,
			 uint64_t wall_ms)
{
	struct rec *r = calloc(1, sizeof *r);

	if (!r)
		return NULL;
	memcpy(r->pin.ed, ed, ED_BYTES);
	node_id_of(ed, &r->pin.id);
	r->has_ed = true;
	r->pin.state = s;
	r->pin.first_seen_ms = wall_ms;
	r->pin.last_seen_ms = wall_ms;
	text_safe(bytes_str(via), r->pin.via, sizeof r->pin.via);
	return r;
}

void pins_rec_free(struct rec *r)
{
	if (!r)
		return;
	json_decref(r->extra);
	pins_drop_psks(r);
	free(r->pin.addresses);
	free(r);
}

static bool before(const struct rec *a, const struct rec *b)
{
	if (a->pin.first_seen_ms != b->pin.first_seen_ms)
		return a->pin.first_seen_ms < b->pin.first_seen_ms;
	return memcmp(a->pin.id.hex, b->pin.id.hex, NODE_ID_LEN) < 0;
}

enum err pins_insert(struct pins *p, struct rec *r)
{
	void *value;
	bool created;

	if (p->n >= PINS_MAX)
		return ERR_FULL;
	if (p->n == p->cap) {
		size_t cap = p->cap ? 2 * p->cap : 16;
		struct rec **recs = reallocarray(p->recs, cap, sizeof(struct rec *));

		if (!recs)
			return ERR_NOMEM;
		p->recs = recs;
		p->cap = cap;
	}
	enum err e = map_put(p->by_id, key_of(&r->pin.id), 0, &value, &created);
	if (e != ERR_OK)
		return e;
	if (!created)
		return ERR_EXISTS;
	*(struct rec **)value = r;

	size_t at = p->n;
	while (at > 0 && before(r, p->recs[at - 1]))
		at--;
	memmove(p->recs + at + 1, p->recs + at, (p->n - at) * sizeof(struct rec *));
	p->recs[at] = r;
	p->n++;
	return ERR_OK;
}

void pins_remove(struct pins *p, struct rec *r)
{
	size_t at = 0;

	while (at < p->n && p->recs[at] != r)
		at++;
	BUG_ON(at == p->n);
	BUG_ON(!map_del(p->by_id, key_of(&r->pin.id)));
	memmove(p->recs + at, p->recs + at + 1, (p->n - at - 1) * sizeof(struct rec *));
	p->n--;
	/* Who rotated to it has rotated to what follows: else the older key would come to life again. */
	for (size_t i = 0; i < p->n; i++) {
		struct pin *pin = &p->recs[i]->pin;

		if (node_id_eq(&pin->successor, &r->pin.id))
			pin->successor = r->pin.successor;
	}
	pins_rec_free(r);
}

/* What a stranger left behind and nobody has looked at; the one seen longest ago. */
static struct rec *evictable(const struct pins *p, const struct rec *keep)
{
	struct rec *oldest = NULL;

	for (size_t i = 0; i < p->n; i++) {
		struct rec *r = p->recs[i];

		if (r == keep || r->pin.state != PIN_PENDING || r->pin.alias[0] != '\0' || r->pin.verified)
			continue;
		/* Who is ignored goes last: as a stranger it would ask for attention again. */
		if (!oldest || (oldest->pin.ignored && !r->pin.ignored) ||
		    (oldest->pin.ignored == r->pin.ignored && r->pin.last_seen_ms < oldest->pin.last_seen_ms))
			oldest = r;
	}
	return oldest;
}

static bool crowded(const struct pins *p, enum pin_state s)
{
	return p->n >= PINS_MAX ||
	       (s == PIN_PENDING && pins_count_state(p, PIN_PENDING) >= PINS_PENDING_MAX);
}

bool pins_has_room(const struct pins *p, enum pin_state s)
{
	return !crowded(p, s) || evictable(p, NULL) != NULL;
}

enum err pins_make_room(struct pins *p, enum pin_state s, const struct rec *keep)
{
	if (!crowded(p, s))
		return ERR_OK;
	struct rec *r = evictable(p, keep);
	if (!r)
		return ERR_FULL;
	pins_remove(p, r);
	p->dirty = true;
	return ERR_OK;
}

/* --- names --------------------------------------------------------------------------------- */

const char *pins_clean_name(const char *name, char out[static NAME_MAX_CHARS + 1])
{
	return text_safe(bytes_str(name), out, NAME_MAX_CHARS + 1);
}

struct rec *pins_name_holder(const struct pins *p, const char *cleaned)
{
	if (cleaned[0] == '\0')
		return NULL;
	for (size_t i = 0; i < p->n; i++) {
		if (p->recs[i]->name_bound && strcmp(p->recs[i]->pin.name, cleaned) == 0)
			return p->recs[i];
	}
	return NULL;
}

void pins_claim_name(struct pins *p, struct rec *r, const char *name)
{
	char cleaned[NAME_MAX_CHARS + 1];
	bool trusted = r->pin.state == PIN_TRUSTED;

	pins_clean_name(name, cleaned);
	if (cleaned[0] == '\0')
		return;
	const struct rec *holder = pins_name_holder(p, cleaned);
	bool taken = holder && holder != r;
	/* A trusted peer keeps its own name rather than trade it for one it cannot have. */
	if (taken && r->name_bound)
		return;
	bool binds = trusted && !taken;
	if (binds == r->name_bound && strcmp(cleaned, r->pin.name) == 0)
		return;
	memcpy(r->pin.name, cleaned, sizeof cleaned);
	r->name_bound = binds;
	if (trusted)
		p->dirty = true;
	else
		p->stale = true;
}

void pins_move(struct pins *p, struct rec *r, enum pin_state s, const char *reason)
{
	unsigned state = r->pin.state;

	if (state != s)
		sm_move(pin_rows, &state, s);
	r->pin.state = s;
	r->pin.cap_change = r->pin.ignored = false;
	if (s == PIN_TRUSTED && r->pin.name[0] != '\0' && !pins_name_holder(p, r->pin.name))
		r->name_bound = true;
	if (s != PIN_TRUSTED)
		r->name_bound = false;
	if (s == PIN_TRUSTED || s == PIN_PENDING)
		r->pin.reason[0] = '\0';
	else if (reason)
		text_safe(bytes_str(reason), r->pin.reason, sizeof r->pin.reason);
	if (s == PIN_REVOKED) {
		r->pin.verified = false;
		pins_drop_psks(r);
		pins_void_rotation(p, r);
		json_decref(r->extra);
		r->extra = json_pack("{s:s, s:I}", "revoker", p->self.hex, "timestamp",
				     (json_int_t)(env_wall(p->env) / 1000));
	}
	p->dirty = true;
}

/* --- looking ------------------------------------------------------------------------------- */

size_t pins_count(const struct pins *p)
{
	return p->n;
}

size_t pins_count_state(const struct pins *p, enum pin_state s)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++)
		n += p->recs[i]->pin.state == s;
	return n;
}

const struct pin *pins_get(const struct pins *p, const struct node_id *id)
{
	const struct rec *r = pins_rec(p, id);

	return r ? &r->pin : NULL;
}

const struct pin *pins_by_name(const struct pins *p, const char *name)
{
	char cleaned[NAME_MAX_CHARS + 1];
	const struct rec *r = pins_name_holder(p, pins_clean_name(name, cleaned));

	return r ? &r->pin : NULL;
}

struct rec *pins_address_holder(const struct pins *p, const char *address)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct pin *pin = &p->recs[i]->pin;

		for (size_t a = 0; a < pin->address_count; a++) {
			if (strcmp(pin->addresses[a].text, address) == 0)
				return p->recs[i];
		}
	}
	return NULL;
}

const struct pin *pins_by_address(const struct pins *p, const char *address)
{
	const struct rec *r = pins_address_holder(p, address);

	return r ? &r->pin : NULL;
}

void pins_each(const struct pins *p, bool (*fn)(void *ctx, const struct pin *pin), void *ctx)
{
	for (size_t i = 0; i < p->n; i++) {
		if (!fn(ctx, &p->recs[i]->pin))
			return;
	}
}
