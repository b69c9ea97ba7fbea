#include <stdlib.h>

#include "trust/pins_internal.h"

#include "base/sm.h"
#include "base/text.h"

static uint64_t clamp_wall(uint64_t wall_ms)
{
	return wall_ms < PINS_WALL_MAX_MS ? wall_ms : PINS_WALL_MAX_MS;
}

const char *shell_word(const char *word, char out[static SHELL_WORD_MAX])
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-";
	size_t n = strnlen(word, ADDRESS_MAX);
	char *o = out;

	if (n != 0 && word[0] != '-' && strspn(word, plain) >= n) {
		memcpy(out, word, n);
		out[n] = '\0';
		return out;
	}
	*o++ = '\'';
	for (size_t i = 0; i < n; i++) {
		if (word[i] == '\'') {
			memcpy(o, "'\\''", 4);
			o += 4;
		} else {
			*o++ = word[i];
		}
	}
	*o++ = '\'';
	*o = '\0';
	return out;
}

/* --- contact ------------------------------------------------------------------------------- */

static enum err observe_new(struct pins *p, const struct pin_update *u)
{
	enum err e = pins_make_room(p, u->state, NULL);

	if (e != ERR_OK)
		return e;
	struct rec *r = pins_rec_new(u->ed, u->state, u->via, clamp_wall(u->wall_ms));
	if (!r)
		return ERR_NOMEM;
	r->pin.version_floor = u->version;
	r->pin.confirms = u->confirms;
	if (u->x25519) {
		memcpy(r->pin.x25519, u->x25519, X25519_BYTES);
		r->pin.has_x25519 = true;
	}
	e = pins_insert(p, r);
	if (e != ERR_OK) {
		pins_rec_free(r);
		return e;
	}
	pins_claim_name(p, r, u->name);
	p->dirty = true;
	return ERR_OK;
}

static void observe_known(struct pins *p, struct rec *r, const struct pin_update *u)
{
	uint64_t wall_ms = clamp_wall(u->wall_ms);

	pins_claim_name(p, r, u->name);
	if (u->version > r->pin.version_floor) {
		r->pin.version_floor = u->version;
		p->dirty = true;
	}
	/* The advertisement may be stripped on the way (wire 2.6.5), so its absence says nothing.
	 * It is less than a proof, and no more than the two signatures of a rotation. */
	if (u->x25519 && !r->pin.x_proven && !r->pin.x_imported &&
	    (!r->pin.has_x25519 || memcmp(r->pin.x25519, u->x25519, X25519_BYTES) != 0)) {
		memcpy(r->pin.x25519, u->x25519, X25519_BYTES);
		r->pin.has_x25519 = true;
		p->dirty = true;
	}
	if (u->confirms && !r->pin.confirms) {
		r->pin.confirms = true;
		p->dirty = true;
	}
	if (r->pin.last_seen_ms != wall_ms) {
		r->pin.last_seen_ms = wall_ms;
		p->stale = true;
	}
}

enum err pins_observe(struct pins *p, const struct pin_update *u, bool *created)
{
	struct node_id id;
	struct rec *r = pins_rec(p, &u->id);

	if (p->read_only)
		return ERR_DENIED;
	node_id_of(u->ed, &id);
	if (!node_id_eq(&id, &u->id))
		return ERR_KEY_CHANGED;
	if (!r) {
		enum err e = observe_new(p, u);

		if (e == ERR_OK && created)
			*created = true;
		return e;
	}
	if (r->pin.state == PIN_BLOCKED || r->pin.state == PIN_REVOKED)
		return ERR_UNTRUSTED;
	if (memcmp(r->pin.ed, u->ed, ED_BYTES) != 0)
		return ERR_KEY_CHANGED;
	observe_known(p, r, u);
	if (created)
		*created = false;
	return ERR_OK;
}

/* --- addresses ----------------------------------------------------------------------------- */

bool pins_address_valid(const char *address)
{
	char safe[ADDRESS_MAX + 1];
	size_t n = strnlen(address, ADDRESS_MAX + 1);

	return n > 0 && n <= ADDRESS_MAX &&
	       strcmp(text_safe(bytes_of(address, n), safe, sizeof safe), address) == 0;
}

void pins_drop_address(struct pins *p, struct rec *r, size_t i)
{
	struct pin *pin = &r->pin;

	memmove(pin->addresses + i, pin->addresses + i + 1,
		(pin->address_count - i - 1) * sizeof pin->addresses[0]);
	pin->address_count--;
	p->dirty = true;
}

static struct pin_address *add_address(struct pins *p, struct rec *r, const char *address)
{
	if (!r->pin.addresses)
		r->pin.addresses = calloc(PINS_ADDRESSES_MAX, sizeof *r->pin.addresses);
	if (!r->pin.addresses)
		return NULL;
	if (r->pin.address_count == PINS_ADDRESSES_MAX)
		pins_drop_address(p, r, 0);
	struct pin_address *a = &r->pin.addresses[r->pin.address_count++];
	memset(a, 0, sizeof *a);
	snprintf(a->text, sizeof a->text, "%s", address);
	p->dirty = true;
	return a;
}

enum err pins_bind_address(struct pins *p, const struct node_id *id, const char *address,
			   const uint8_t *tls_key)
{
	struct rec *r = pins_rec(p, id);
	struct pin_address *a = NULL;

	if (p->read_only)
		return ERR_DENIED;
	if (!pins_address_valid(address))
		return ERR_MALFORMED;
	if (!r)
		return ERR_NOTFOUND;
	if (r->pin.state == PIN_BLOCKED || r->pin.state == PIN_REVOKED)
		return ERR_UNTRUSTED;
	for (size_t i = 0; i < p->n; i++) {
		struct rec *other = p->recs[i];

		for (size_t j = 0; j < other->pin.address_count; j++) {
			if (strcmp(other->pin.addresses[j].text, address) != 0)
				continue;
			if (other == r)
				a = &r->pin.addresses[j];
			else
				pins_drop_address(p, other, j);
			break;
		}
	}
	if (!a)
		a = add_address(p, r, address);
	if (!a)
		return ERR_NOMEM;
	if (tls_key && (!a->has_tls_key || memcmp(a->tls_key, tls_key, sizeof a->tls_key) != 0)) {
		memcpy(a->tls_key, tls_key, sizeof a->tls_key);
		a->has_tls_key = true;
		p->dirty = true;
	}
	return ERR_OK;
}

/* --- decisions of the operator ------------------------------------------------------------- */

static enum err unknown(struct fault *f, const struct node_id *id)
{
	fault_set(f, ERR_NOTFOUND, EXIT_PEER_UNKNOWN, "no peer has the id %s", id->hex);
	fault_next(f, "ironmesh peers list");
	return ERR_NOTFOUND;
}

static enum err name_taken(struct fault *f, const struct rec *holder, const char *name,
			   const struct node_id *claims)
{
	char word[SHELL_WORD_MAX];

	fault_set(f, ERR_EXISTS, EXIT_INTEGRITY, "the name %s is bound to %s, not to %s", name,
		  holder->pin.id.hex, claims->hex);
	fault_means(f,
		    "two identities cannot share a name; the new one may be a reinstalled %s, or "
		    "somebody who pretends to be",
		    name);
	fault_next(f, "ironmesh trust repin %s %s", shell_word(name, word), claims->hex);
	return ERR_EXISTS;
}

static enum err refuse_revoked(struct fault *f, const struct rec *r)
{
	fault_set(f, ERR_WRONG_STATE, EXIT_PEER_UNTRUSTED, "%s is revoked%s%s", r->pin.id.hex,
		  r->pin.reason[0] ? ": " : "", r->pin.reason);
	fault_means(f, "a revocation is final; that node needs a new identity to be let in again");
	fault_next(f, "ironmesh keys rotate   (on that node)");
	return ERR_WRONG_STATE;
}

enum err pins_set_state(struct pins *p, const struct node_id *id, enum pin_state s,
			const char *reason, struct fault *f)
{
	struct rec *r = pins_rec(p, id);

	BUG_ON((unsigned)s >= PIN_STATES);
	if (p->read_only)
		return pins_refuse_read_only(p, f);
	if (!r)
		return unknown(f, id);
	if (r->pin.state == PIN_REVOKED)
		return s == PIN_REVOKED ? ERR_OK : refuse_revoked(f, r);
	const struct rec *holder = s == PIN_TRUSTED ? pins_name_holder(p, r->pin.name) : NULL;
	if (holder && holder != r)
		return name_taken(f, holder, r->pin.name, id);
	if (s == PIN_TRUSTED && r->pin.state != PIN_TRUSTED && strcmp(r->pin.via, "invite") != 0)
		snprintf(r->pin.via, sizeof r->pin.via, "operator");
	/* Whoever is trusted is trusted as he is now. */
	if (s == PIN_TRUSTED && pins_caps_settle(p, r, env_wall(p->env)) != ERR_OK)
		return fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory for this");
	pins_move(p, r, s, reason);
	return ERR_OK;
}

enum err pins_set_invited(struct pins *p, const struct node_id *id)
{
	struct rec *r = pins_rec(p, id);

	if (p->read_only)
		return ERR_DENIED;
	if (!r)
		return ERR_NOTFOUND;
	if (r->pin.state == PIN_BLOCKED || r->pin.state == PIN_REVOKED)
		return ERR_UNTRUSTED;
	if (strcmp(r->pin.via, "invite") == 0)
		return ERR_OK;
	snprintf(r->pin.via, sizeof r->pin.via, "invite");
	p->dirty = true;
	return ERR_OK;
}

enum err pins_set_paired(struct pins *p, const struct node_id *id, bool by_digits)
{
	const char *via = by_digits ? "sas" : "code";
	struct rec *r = pins_rec(p, id);

	if (p->read_only)
		return ERR_DENIED;
	if (!r)
		return ERR_NOTFOUND;
	if (r->pin.state == PIN_BLOCKED || r->pin.state == PIN_REVOKED)
		return ERR_UNTRUSTED;
	pins_alarms_answered(p, id);
	if (r->pin.verified && strcmp(r->pin.via, via) == 0)
		return ERR_OK;
	r->pin.verified = true;
	snprintf(r->pin.via, sizeof r->pin.via, "%s", via);
	p->dirty = true;
	return ERR_OK;
}

enum err pins_ignore(struct pins *p, const struct node_id *id, struct fault *f)
{
	struct rec *r = pins_rec(p, id);

	if (p->read_only)
		return pins_refuse_read_only(p, f);
	if (!r)
		return unknown(f, id);
	if (r->pin.state != PIN_PENDING && !r->pin.cap_change) {
		fault_set(f, ERR_WRONG_STATE, EXIT_GENERIC, "%s is %s, and only a pending peer can be ignored", id->hex,
			  pin_word(&r->pin));
		fault_means(f, "who is trusted is heard, who is blocked or revoked is refused anyway");
		fault_next(f, "ironmesh peers block %s", id->hex);
		return ERR_WRONG_STATE;
	}
	if (!r->pin.ignored)
		p->dirty = true;
	r->pin.ignored = true;
	return ERR_OK;
}

enum err pins_set_alias(struct pins *p, const struct node_id *id, const char *alias,
			struct fault *f)
{
	struct rec *r = pins_rec(p, id);
	struct node_id as_id;

	if (p->read_only)
		return pins_refuse_read_only(p, f);
	if (!r)
		return unknown(f, id);
	if (!alias)
		alias = "";
	/* An alias that reads like an id would shadow the id of another peer. */
	if (alias[0] != '\0' &&
	    (!name_valid(bytes_str(alias)) || node_id_parse(bytes_str(alias), &as_id) == ERR_OK)) {
		fault_set(f, ERR_USAGE, EXIT_USAGE, "that is no alias");
		fault_means(
			f,
			"an alias has 1 to 64 letters, digits, '.', '_' or '-' and is not an id");
		return ERR_USAGE;
	}
	for (size_t i = 0; alias[0] != '\0' && i < p->n; i++) {
		const struct rec *other = p->recs[i];

		if (other == r || (strcmp(other->pin.alias, alias) != 0 &&
				   !(other->name_bound && strcmp(other->pin.name, alias) == 0)))
			continue;
		fault_set(f, ERR_EXISTS, EXIT_USAGE, "%s means %s already", alias,
			  other->pin.id.hex);
		fault_means(f, "a message to %s would go to another peer than before", alias);
		fault_next(f, "ironmesh peers list");
		return ERR_EXISTS;
	}
	if (strcmp(r->pin.alias, alias) != 0) {
		snprintf(r->pin.alias, sizeof r->pin.alias, "%s", alias);
		p->dirty = true;
	}
	return ERR_OK;
}

enum err pins_set_verified(struct pins *p, const struct node_id *id, bool verified)
{
	struct rec *r = pins_rec(p, id);

	if (p->read_only)
		return ERR_DENIED;
	if (!r)
		return ERR_NOTFOUND;
	if (r->pin.state == PIN_REVOKED)
		return ERR_WRONG_STATE;
	if (r->pin.verified != verified) {
		r->pin.verified = verified;
		p->dirty = true;
	}
	if (verified && strcmp(r->pin.via, "rotate") == 0) { /* trust of its own from now on */
		snprintf(r->pin.via, sizeof r->pin.via, "operator");
		p->dirty = true;
	}
	return ERR_OK;
}

enum err pins_forget(struct pins *p, const struct node_id *id)
{
	struct rec *r = pins_rec(p, id);
	size_t kept = 0;

	if (p->read_only)
		return ERR_DENIED;
	if (!r)
		return ERR_NOTFOUND;
	if (r->pin.state == PIN_REVOKED)
		return ERR_WRONG_STATE;
	/* Nobody holds the name or address any more, so nobody was replaced. */
	for (size_t i = 0; i < p->alarm_count; i++) {
		if (!node_id_eq(&p->alarms[i].was, &r->pin.id))
			p->alarms[kept++] = p->alarms[i];
	}
	p->alarm_count = kept;
	im2_set_move(&p->im2, &r->pin.id, NULL);
	pins_remove(p, r);
	p->dirty = true;
	return ERR_OK;
}

enum err pins_pin(struct pins *p, const uint8_t ed[static ED_BYTES], const char *name,
		  uint64_t wall_ms, struct fault *f)
{
	uint8_t image[X25519_BYTES];
	struct node_id id;

	if (p->read_only)
		return pins_refuse_read_only(p, f);
	if (ed_to_x25519(ed, image) != ERR_OK)
		return fault_set(f, ERR_MALFORMED, EXIT_USAGE, "that is not an Ed25519 public key");
	if (name && name[0] != '\0' && !name_valid(bytes_str(name)))
		return fault_set(f, ERR_USAGE, EXIT_USAGE,
				 "a name has 1 to 64 letters, digits, '.', '_' or '-'");
	node_id_of(ed, &id);
	if (node_id_eq(&id, &p->self))
		return fault_set(f, ERR_SELF, EXIT_USAGE, "that is the key of this node itself");
	struct rec *r = pins_rec(p, &id);
	if (r && r->pin.state == PIN_REVOKED)
		return refuse_revoked(f, r);
	if (r && r->pin.state == PIN_BLOCKED) {
		fault_set(f, ERR_WRONG_STATE, EXIT_PEER_UNTRUSTED, "%s is blocked", id.hex);
		fault_next(f, "ironmesh peers approve %s", id.hex);
		return ERR_WRONG_STATE;
	}
	const char *claims = name && name[0] != '\0' ? name : r ? r->pin.name : "";
	const struct rec *holder = pins_name_holder(p, claims);
	if (holder && holder != r)
		return name_taken(f, holder, claims, &id);
	if (!r) {
		struct pin_update u = {
			.id = id,
			.ed = ed,
			.state = PIN_TRUSTED,
			.via = "operator",
			.name = name,
			.wall_ms = wall_ms,
		};
		enum err e = observe_new(p, &u);

		if (e != ERR_OK)
			fault_set(f, e, EXIT_RETRY, "the trust store has no room for another peer");
		return e;
	}
	if (r->pin.state == PIN_PENDING) {
		snprintf(r->pin.via, sizeof r->pin.via, "operator");
		pins_move(p, r, PIN_TRUSTED, NULL);
	}
	pins_claim_name(p, r, claims);
	return ERR_OK;
}
