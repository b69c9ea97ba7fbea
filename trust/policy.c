#include "trust/policy_internal.h"

#include <stdlib.h>

#include "base/text.h"
#include "trust/pins_internal.h"

void policy_init(struct policy *p)
{
	memset(p, 0, sizeof *p);
	p->im2 = IM2_ON;
}

void policy_fini(struct policy *p)
{
	free(p->allowed);
	memset(p, 0, sizeof *p);
}

static bool listed(const struct policy *p, const char *entry, size_t n)
{
	for (size_t i = 0; i < p->allowed_count; i++) {
		if (p->allowed[i][n] == '\0' && memcmp(p->allowed[i], entry, n) == 0)
			return true;
	}
	return false;
}

enum err policy_allow(struct policy *p, const char *list, struct fault *f)
{
	static const char gaps[] = ", \t\r\n";
	size_t before = p->allowed_count;

	for (const char *s = list + strspn(list, gaps); *s != '\0'; s += strspn(s, gaps)) {
		size_t n = strcspn(s, gaps);

		if (!name_valid(bytes_of(s, n))) {
			char safe[72];

			p->allowed_count = before;
			fault_set(f, ERR_USAGE, EXIT_USAGE,
				  "the list of allowed peers holds \"%s\"",
				  text_safe(bytes_of(s, n), safe, sizeof safe));
			fault_means(f,
				    "an entry is a node id, an alias or a name: 1 to 64 letters, "
				    "digits, '.', '_' or '-'");
			return ERR_USAGE;
		}
		if (!listed(p, s, n)) {
			void *more = p->allowed_count < ALLOW_MAX
					     ? reallocarray(p->allowed, p->allowed_count + 1,
							    sizeof p->allowed[0])
					     : NULL;

			if (!more) {
				p->allowed_count = before;
				return fault_set(
					f, ERR_USAGE, EXIT_USAGE,
					"the list of allowed peers has more than %d entries",
					ALLOW_MAX);
			}
			p->allowed = more;
			memset(p->allowed[p->allowed_count], 0, sizeof p->allowed[0]);
			memcpy(p->allowed[p->allowed_count++], s, n);
		}
		s += n;
	}
	return ERR_OK;
}

/* --- refusals ------------------------------------------------------------------------------ */

static void refuse_self(struct admit_result *out)
{
	fault_set(&out->fault, out->verdict = ERR_SELF, EXIT_CONFIG,
		  "the other end is this node itself");
	fault_means(&out->fault, "an address of this node is among its peers");
	fault_next(&out->fault, "ironmesh config show --effective");
}

static void refuse_state(struct admit_result *out, const struct node_id *id, enum pin_state state,
			 const char *reason)
{
	out->state = state;
	fault_set(&out->fault, out->verdict = ERR_UNTRUSTED, EXIT_PEER_UNTRUSTED, "%s is %s%s%s",
		  id->hex, pin_state_word(state), reason[0] ? ": " : "", reason);
	if (state == PIN_REVOKED) {
		fault_means(
			&out->fault,
			"a revocation is final; that node needs a new identity to be let in again");
		fault_next(&out->fault, "ironmesh keys rotate   (on that node)");
	} else {
		fault_means(&out->fault, "its sessions are refused until somebody approves it");
		fault_next(&out->fault, "ironmesh peers approve %s", id->hex);
	}
}

static void refuse_version(struct admit_result *out, const struct admit_request *r, uint16_t least,
			   bool floor)
{
	fault_set(&out->fault, out->verdict = floor ? ERR_DOWNGRADE : ERR_VERSION,
		  EXIT_PEER_UNTRUSTED, "%s speaks version %u.%u, and at least %u.%u is required",
		  r->id.hex, r->version >> 8, r->version & 255u, least >> 8, least & 255u);
	if (floor) {
		fault_means(&out->fault,
			    "it has spoken %u.%u before: it was set back, or somebody on "
			    "the way asks for less; the session was refused",
			    least >> 8, least & 255u);
		fault_next(&out->fault,
			   "ironmesh peers forget %s   (only if it was set back on purpose)",
			   r->id.hex);
	} else {
		fault_means(&out->fault,
			    "the configuration sets that minimum; the session was refused");
		fault_next(&out->fault, "update the software of that peer");
	}
}

static void refuse_unconfirming(struct admit_result *out, const struct admit_request *r)
{
	fault_set(&out->fault, out->verdict = ERR_DOWNGRADE, EXIT_PEER_UNTRUSTED,
		  "%s has confirmed messages before, and now says that it cannot", r->id.hex);
	fault_means(&out->fault, "it was set back to other software, or somebody on the way asks for "
				 "less; the session was refused");
	fault_next(&out->fault, "ironmesh peers forget %s   (only if it was set back on purpose)",
		   r->id.hex);
}

static void raise_alarm(struct admit_result *out, const struct admit_request *r,
			const char *subject, bool is_address, const struct node_id *was)
{
	struct pin_alarm *a = &out->alarm;

	out->verdict = ERR_KEY_CHANGED;
	snprintf(a->subject, sizeof a->subject, "%s", subject);
	a->is_address = is_address;
	a->was = *was;
	a->now = r->id;
	memcpy(a->now_ed, r->ed, ED_BYTES);
	pins_clean_name(r->name, a->now_name);
	a->count = 1;
}

static void refuse_key_changed(struct admit_result *out, const struct admit_request *r,
			       const char *subject, bool is_address, const struct node_id *was)
{
	char word[SHELL_WORD_MAX];

	raise_alarm(out, r, subject, is_address, was);
	fault_set(&out->fault, ERR_KEY_CHANGED, EXIT_INTEGRITY,
		  "%.100s (bound to %s) now shows another key %s", subject, was->hex, r->id.hex);
	fault_means(&out->fault,
		    "either %.60s was reinstalled, or rotated its keys while it could not tell us, or "
		    "somebody pretends to be %.60s; the session was refused",
		    subject, subject);
	/* A command that does not fit would be cut, and a cut command is a wrong one. */
	if (strlen(shell_word(subject, word)) <= 90)
		fault_next(&out->fault,
			   "ironmesh trust repin %s %s   (accept)   or   ironmesh peers block %s   "
			   "(refuse)",
			   word, r->id.hex, r->id.hex);
	else
		fault_next(&out->fault, "ironmesh trust list");
}

static void refuse_unexpected(struct admit_result *out, const struct admit_request *r)
{
	const char *where = r->dialled ? r->dialled : r->expected->hex;

	raise_alarm(out, r, where, r->dialled != NULL, r->expected);
	fault_set(&out->fault, ERR_KEY_CHANGED, EXIT_INTEGRITY,
		  "%.80s was configured to be %s and shows the key %s", where, r->expected->hex,
		  r->id.hex);
	fault_means(
		&out->fault,
		"either it was reinstalled or somebody pretends to be it; the session was refused");
	fault_next(&out->fault,
		   "set --peer %s#%s   (accept)   or   ironmesh peers block %s   (refuse)",
		   r->dialled && strlen(r->dialled) <= 90 ? r->dialled : "HOST:PORT", r->id.hex,
		   r->id.hex);
}

static void refuse_unlisted(struct admit_result *out, const struct admit_request *r)
{
	char name[NAME_MAX_CHARS + 1];

	out->verdict = policy_unlisted(&out->fault, &r->id, pins_clean_name(r->name, name));
}

static void refuse_full(struct admit_result *out)
{
	fault_set(&out->fault, out->verdict = ERR_FULL, EXIT_RETRY,
		  "the trust store is full, there is no room for a new peer");
	fault_means(&out->fault,
		    "it holds %d peers, and none of them is a stranger nobody looked at", PINS_MAX);
	fault_next(&out->fault, "ironmesh peers list");
}

static void refuse_damaged(struct admit_result *out, const char *why)
{
	fault_set(&out->fault, out->verdict = ERR_DENIED, EXIT_INTEGRITY,
		  "the trust store cannot be used, so nobody can be told from an impostor");
	fault_means(&out->fault, "%.230s", why);
	fault_next(&out->fault, "ironmesh doctor");
}

static void refuse_rotated(struct admit_result *out, const struct admit_request *r, const struct pin *now)
{
	fault_set(&out->fault, out->verdict = ERR_UNTRUSTED, EXIT_PEER_UNTRUSTED,
		  "%s has changed its identity to %s", r->id.hex, now->id.hex);
	fault_means(&out->fault, "its old key opens no sessions any more; the session was refused");
	fault_next(&out->fault, "ironmesh peers show %s", now->id.hex);
}

static void refuse_conflict(struct admit_result *out, const struct admit_request *r)
{
	raise_alarm(out, r, r->id.hex, false, &r->id);
	fault_set(&out->fault, ERR_KEY_CHANGED, EXIT_INTEGRITY,
		  "two different keys have the id %s", r->id.hex);
	fault_means(&out->fault, "somebody made a key on purpose that has this id; the session was refused, "
				 "and the pinned key stays");
	fault_next(&out->fault, "ironmesh peers show %s", r->id.hex);
}

static void refuse_shared_x(struct admit_result *out, const struct admit_request *r,
			    const struct node_id *owner)
{
	fault_set(&out->fault, out->verdict = ERR_EXISTS, EXIT_INTEGRITY,
		  "%s uses the session key of %s", r->id.hex, owner->hex);
	fault_means(&out->fault,
		    "two identities cannot share one; either a node runs both, or somebody "
		    "pretends; the session was refused");
	fault_next(&out->fault, "ironmesh peers show %s", owner->hex);
}

/* --- the order of policy.h ----------------------------------------------------------------- */

static void admit_new(const struct policy *p, const struct pins *pins,
		      const struct admit_request *r, const char *name, struct admit_result *out)
{
	const struct rec *owner;
	enum vouch v = policy_vouches(p, pins, &r->id, name, &owner);

	out->is_new = true;
	if (v == VOUCH_NONE && owner) {
		refuse_key_changed(out, r, name, false, &owner->pin.id);
		return;
	}
	if (r->invited) {
		out->state = r->invited_trusted || v == VOUCH_KEY ? PIN_TRUSTED : PIN_PENDING;
		out->via = "invite";
		if (!pins_has_room(pins, out->state))
			refuse_full(out);
		return;
	}
	if (v != VOUCH_NONE) {
		out->state = v == VOUCH_KEY || p->trust_on_first_use ? PIN_TRUSTED : PIN_PENDING;
		out->via = "allow-list";
	} else if (p->allowed_count != 0) { /* a list is a promise: it also limits trust on first use */
		refuse_unlisted(out, r);
		return;
	} else if (p->trust_on_first_use) {
		out->state = PIN_TRUSTED;
		out->via = "tofu";
	} else {
		out->state = PIN_PENDING;
		out->via = "tofu";
	}
	if (!pins_has_room(pins, out->state))
		refuse_full(out);
}

/* A list is a promise: whom it does not mean is refused, however well he is known. By his name alone somebody is asked for,
 * not let in; who is trusted already is meant by what is pinned to his key, or not at all. */
static void admit_known(const struct policy *p, const struct pins *pins, const struct admit_request *r,
			const struct pin *pin, const char *name, struct admit_result *out)
{
	const struct rec *owner;
	enum vouch v = policy_vouches(p, pins, &r->id, name, &owner);

	if (v == VOUCH_KEY || (v == VOUCH_NAME && pin->state == PIN_PENDING))
		return;
	if (r->invited && !owner)
		return;
	if (v == VOUCH_NONE && owner) {
		refuse_key_changed(out, r, name, false, &owner->pin.id);
		return;
	}
	refuse_unlisted(out, r);
	if (v == VOUCH_NAME) /* valid as a word: it is on the list */
		fault_next(&out->fault, "ironmesh peers alias %s %s", r->id.hex, name);
}

void policy_admit(const struct policy *p, const struct pins *pins, const struct admit_request *r,
		  struct admit_result *out)
{
	const struct pin *pin = pins_get(pins, &r->id);
	char name[NAME_MAX_CHARS + 1];
	const char *why;

	memset(out, 0, sizeof *out);
	out->verdict = ERR_OK;
	out->state = pin ? pin->state : PIN_PENDING;
	pins_clean_name(r->name, name);

	if (node_id_eq(&r->id, r->self)) {
		refuse_self(out);
		return;
	}
	if (pins_read_only(pins, &why)) {
		refuse_damaged(out, why);
		return;
	}
	if (pin && (pin->state == PIN_REVOKED || pin->state == PIN_BLOCKED)) {
		refuse_state(out, &r->id, pin->state, pin->reason);
		return;
	}
	if (r->revoked) {
		refuse_state(out, &r->id, PIN_REVOKED, "a signed record says so");
		return;
	}
	if (pin && memcmp(pin->ed, r->ed, ED_BYTES) != 0) {
		refuse_conflict(out, r);
		return;
	}
	const struct pin *now = pin ? pins_current(pins, &r->id) : NULL;
	if (now != pin) {
		refuse_rotated(out, r, now);
		return;
	}
	const struct pin *expected = r->expected ? pins_current(pins, r->expected) : NULL;
	if (r->expected && !node_id_eq(expected ? &expected->id : r->expected, &r->id)) {
		refuse_unexpected(out, r);
		return;
	}
	out->verdict = policy_old_wire(p, pin, r, &out->fault);
	if (out->verdict != ERR_OK)
		return;
	const struct rec *owner = r->x25519 ? pins_x_holder(pins, r->x25519) : NULL;
	if (owner && !node_id_eq(&owner->pin.id, &r->id)) {
		refuse_shared_x(out, r, &owner->pin.id);
		return;
	}
	bool im2 = policy_is_im2(r);
	if (!im2 && r->version < p->min_version) {
		refuse_version(out, r, p->min_version, false);
		return;
	}
	if (!im2 && pin && r->version < pin->version_floor) {
		refuse_version(out, r, pin->version_floor, true);
		return;
	}
	if (!im2 && pin && pin->confirms && !r->confirms) {
		refuse_unconfirming(out, r);
		return;
	}
	const struct rec *holder = pins_name_holder(pins, name);
	if (holder && !node_id_eq(&holder->pin.id, &r->id)) {
		refuse_key_changed(out, r, name, false, &holder->pin.id);
		return;
	}
	/* Only a trusted peer owns its address; a trusted one that turns up elsewhere moved. */
	holder = r->dialled ? pins_address_holder(pins, r->dialled) : NULL;
	if (holder && holder->pin.state == PIN_TRUSTED && !node_id_eq(&holder->pin.id, &r->id) &&
	    !(pin && pin->state == PIN_TRUSTED)) {
		refuse_key_changed(out, r, r->dialled, true, &holder->pin.id);
		return;
	}
	if (!pin)
		admit_new(p, pins, r, name, out);
	else if (p->allowed_count != 0)
		admit_known(p, pins, r, pin, name, out);
}
