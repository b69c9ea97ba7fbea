#include "trust/pins_internal.h"

#include "base/text.h"

#define PREFIX_MIN 4
#define NEAR	   2

enum rank { RANK_NONE, RANK_PREFIX, RANK_CLAIM, RANK_BOUND, RANK_ALIAS };

static bool is_prefix(const char *who, size_t n)
{
	return n >= PREFIX_MIN && n <= NODE_ID_LEN && hex_valid(bytes_of(who, n), n);
}

static enum rank rank_of(const struct rec *r, const char *who, bool prefix, size_t n)
{
	const struct pin *pin = &r->pin;

	if (pin->alias[0] != '\0' && strcmp(pin->alias, who) == 0)
		return RANK_ALIAS;
	if (pin->name[0] != '\0' && strcmp(pin->name, who) == 0)
		return r->name_bound ? RANK_BOUND : RANK_CLAIM;
	if (prefix && memcmp(pin->id.hex, who, n) == 0)
		return RANK_PREFIX;
	return RANK_NONE;
}

static enum err not_found(const struct pins *p, const char *who, struct fault *f)
{
	const char *nearest = NULL;
	unsigned best = NEAR + 1;
	char safe[80], word[SHELL_WORD_MAX];

	for (size_t i = 0; i < p->n; i++) {
		const struct pin *pin = &p->recs[i]->pin;
		const char *const names[] = {pin->alias, pin->name};

		for (size_t j = 0; j < 2; j++) {
			if (names[j][0] == '\0')
				continue;
			unsigned d = edit_distance(who, names[j], NEAR);
			if (d < best) {
				best = d;
				nearest = names[j];
			}
		}
	}
	fault_set(f, ERR_NOTFOUND, EXIT_PEER_UNKNOWN, "no peer is called %s",
		  text_safe(bytes_str(who), safe, sizeof safe));
	if (nearest) {
		fault_means(f, "did you mean %s?", nearest);
		fault_next(f, "ironmesh peers show %s", shell_word(nearest, word));
	} else {
		fault_means(
			f,
			"it is no alias, no name and no id or start of an id (4 digits or more)");
		fault_next(f, "ironmesh peers list");
	}
	return ERR_NOTFOUND;
}

static enum err ambiguous(const struct pins *p, const char *who, enum rank top, bool prefix,
			  size_t n, struct fault *f)
{
	char list[200] = "", safe[80];
	size_t used = 0, shown = 0, matches = 0;

	for (size_t i = 0; i < p->n; i++) {
		const struct pin *pin = &p->recs[i]->pin;
		enum rank rank = rank_of(p->recs[i], who, prefix, n);

		/* A claim and a prefix are of one rank here: either may be meant. */
		if (rank == RANK_NONE || (top > RANK_CLAIM && rank != top))
			continue;
		matches++;
		if (sizeof list - used > NODE_ID_LEN + 16) {
			used += (size_t)snprintf(list + used, sizeof list - used, "%s%s (%s)",
						 shown ? ", " : "", pin->id.hex,
						 pin_state_word(pin->state));
			shown++;
		}
	}
	fault_set(f, ERR_AMBIGUOUS, EXIT_PEER_UNKNOWN, "%s fits %zu peers",
		  text_safe(bytes_str(who), safe, sizeof safe), matches);
	fault_means(f, "%s%s", list, shown < matches ? ", ..." : "");
	fault_next(f, "ironmesh peers list");
	return ERR_AMBIGUOUS;
}

enum err pins_find(const struct pins *p, const char *who, const struct pin **out, struct fault *f)
{
	size_t n = strlen(who), tops = 0, weak = 0;
	const struct rec *best = NULL;
	enum rank top = RANK_NONE;
	struct node_id id;

	/* A whole id is an id: nobody can take it away by calling himself so. */
	if (node_id_parse(bytes_of(who, n), &id) == ERR_OK) {
		const struct pin *pin = pins_get(p, &id);

		if (!pin)
			return not_found(p, who, f);
		*out = pin;
		return ERR_OK;
	}
	bool prefix = is_prefix(who, n);
	for (size_t i = 0; i < p->n; i++) {
		enum rank rank = rank_of(p->recs[i], who, prefix, n);

		if (rank == RANK_NONE)
			continue;
		weak += rank <= RANK_CLAIM;
		if (rank > top) {
			top = rank;
			best = p->recs[i];
			tops = 0;
		}
		tops += rank == top;
	}
	if (!best)
		return not_found(p, who, f);
	if (top <= RANK_CLAIM ? weak > 1 : tops > 1)
		return ambiguous(p, who, top, prefix, n, f);
	*out = &best->pin;
	return ERR_OK;
}
