/* The list of --allowed-peers: whom it means, and who merely calls himself so. */
#include "trust/policy_internal.h"

#include "base/text.h"
#include "trust/pins_internal.h"

/* Whom the operator means by `word`: the one with that alias, or to whom that name is bound. An alias of a revoked identity
 * means nobody any more. */
static const struct rec *meant_by(const struct pins *pins, const char *word)
{
	for (size_t i = 0; i < pins->n; i++) {
		const struct rec *r = pins->recs[i];

		if (r->pin.state != PIN_REVOKED && strcmp(r->pin.alias, word) == 0)
			return r;
	}
	return pins_name_holder(pins, word);
}

static bool is_id(const char *entry)
{
	return hex_valid(bytes_str(entry), NODE_ID_LEN);
}

/* A listed id stays listed through its rotations, which both keys have signed. */
static bool became(const struct pins *pins, const char *entry, const struct node_id *id)
{
	struct node_id listed;
	const struct pin *now;

	if (node_id_parse(bytes_str(entry), &listed) != ERR_OK)
		return false;
	now = pins_current(pins, &listed);
	return now && node_id_eq(&now->id, id);
}

/* Pinned by an invite, itself or who it was before its rotations: the operator asked him in. */
static bool invited(const struct pins *pins, const struct pin *pin)
{
	struct node_id was[8];
	size_t n = strcmp(pin->via, "rotate") == 0 ? pins_former(pins, &pin->id, was, sizeof was / sizeof was[0]) : 0;
	bool yes = strcmp(pin->via, "invite") == 0;

	for (size_t i = 0; i < n && !yes; i++) {
		const struct pin *old = pins_get(pins, &was[i]);

		yes = old && strcmp(old->via, "invite") == 0;
	}
	return yes;
}

enum vouch policy_vouches(const struct policy *p, const struct pins *pins, const struct node_id *id, const char *name,
			  const struct rec **owner)
{
	const struct rec *r = pins_rec(pins, id), *meant;
	enum vouch best = VOUCH_NONE;

	if (owner)
		*owner = NULL;
	if (r && p->allowed_count && invited(pins, &r->pin))
		return VOUCH_KEY;
	for (size_t i = 0; i < p->allowed_count; i++) {
		const char *entry = p->allowed[i];

		if (strcmp(entry, id->hex) == 0)
			return VOUCH_KEY;
		if (is_id(entry)) {
			/* An entry that is an id is never matched by a name that looks like it. */
			if (became(pins, entry, id))
				return VOUCH_KEY;
			continue;
		}
		if (r && ((r->pin.alias[0] != '\0' && strcmp(entry, r->pin.alias) == 0) ||
			  (r->name_bound && strcmp(entry, r->pin.name) == 0)))
			return VOUCH_KEY;
		if (strcmp(entry, name) != 0)
			continue;
		meant = meant_by(pins, entry);
		if (!meant)
			best = VOUCH_NAME;
		else if (owner)
			*owner = meant;
	}
	return best;
}

bool policy_allows(const struct policy *p, const struct pins *pins, const struct node_id *id, const char *name)
{
	char cleaned[NAME_MAX_CHARS + 1];

	return policy_vouches(p, pins, id, pins_clean_name(name, cleaned), NULL) != VOUCH_NONE;
}

/* A name on the list that means nobody yet: any stranger may turn out to be called so. */
static bool waits_for_a_name(const struct policy *p, const struct pins *pins)
{
	for (size_t i = 0; i < p->allowed_count; i++)
		if (!is_id(p->allowed[i]) && !meant_by(pins, p->allowed[i]))
			return true;
	return false;
}

enum err policy_unlisted(struct fault *f, const struct node_id *id, const char *name)
{
	fault_set(f, ERR_DENIED, EXIT_POLICY, "%s (calls itself %s) is not among the allowed peers", id->hex, name);
	fault_means(f, "the list of allowed peers is set and does not name it, and nothing was said to it");
	fault_next(f, "ironmesh run --allowed-peers %s   (beside the options it runs with)", id->hex);
	return ERR_DENIED;
}

enum err policy_may_meet(const struct policy *p, const struct pins *pins, const struct node_id *id, struct fault *f)
{
	const struct pin *pin;
	enum vouch v;

	if (p->allowed_count == 0)
		return ERR_OK;
	if (!id) {
		if (waits_for_a_name(p, pins))
			return ERR_OK;
		fault_set(f, ERR_DENIED, EXIT_POLICY, "nobody knows who would answer there");
		fault_means(f, "all whom the list of allowed peers means are known by their keys, and are found by these");
		fault_next(f, "ironmesh run --peer HOST:PORT#ID");
		return ERR_DENIED;
	}
	pin = pins_get(pins, id);
	if (pin && pin->successor.hex[0] != '\0' && pins_current(pins, id) != pin) {
		fault_set(f, ERR_DENIED, EXIT_POLICY, "%s has changed its identity to %s", id->hex, pin->successor.hex);
		fault_means(f, "with a list of allowed peers its old key is taken for nothing any more");
		fault_next(f, "ironmesh peers show %s", pin->successor.hex);
		return ERR_DENIED;
	}
	v = policy_vouches(p, pins, id, pin ? pin->name : "", NULL);
	if (v == VOUCH_KEY || (v == VOUCH_NAME && pin->state == PIN_PENDING) || (!pin && waits_for_a_name(p, pins)))
		return ERR_OK;
	return policy_unlisted(f, id, pin && pin->name[0] ? pin->name : "nothing yet");
}

bool policy_needs_name(const struct policy *p, const struct pins *pins, const struct node_id *id)
{
	const struct rec *r = pins_rec(pins, id);
	bool by_name = false;

	for (size_t i = 0; r && r->name_bound && i < p->allowed_count; i++) {
		const char *entry = p->allowed[i];

		if (strcmp(entry, id->hex) == 0 || strcmp(entry, r->pin.alias) == 0 || became(pins, entry, id))
			return false;
		by_name = by_name || strcmp(entry, r->pin.name) == 0;
	}
	return by_name;
}

bool policy_lists(const struct policy *p, const struct node_id *id)
{
	for (size_t i = 0; i < p->allowed_count; i++)
		if (strcmp(p->allowed[i], id->hex) == 0)
			return true;
	return false;
}
