/* May it be less than im2? (im2 4.2 to 4.4) */
#include "trust/policy_internal.h"

static const char *const im2_words[] = {
	[IM2_OFF] = "off",
	[IM2_ON] = "on",
	[IM2_REQUIRE] = "require",
};
#define IM2_SETTINGS (sizeof im2_words / sizeof im2_words[0])

const char *im2_setting_word(enum im2_setting s)
{
	return (unsigned)s < IM2_SETTINGS ? im2_words[s] : "unknown";
}

enum err im2_setting_parse(struct bytes word, enum im2_setting *out)
{
	for (unsigned s = 0; s < IM2_SETTINGS; s++) {
		if (bytes_eq(word, bytes_str(im2_words[s]))) {
			*out = s;
			return ERR_OK;
		}
	}
	return ERR_MALFORMED;
}

static enum err only_im2(struct fault *f, const char *who)
{
	fault_set(f, ERR_DOWNGRADE, EXIT_POLICY, "%.100s speaks only the old wire, and this node requires im2",
		  who);
	fault_means(f, "the setting im2 is \"require\"; the session was refused");
	fault_next(f, "update the software of that peer   or   set im2 to \"on\" here");
	return ERR_DOWNGRADE;
}

static enum err spoke_im2(struct fault *f, const char *who, const struct node_id *id)
{
	fault_set(f, ERR_DOWNGRADE, EXIT_PEER_UNTRUSTED,
		  "%.100s has spoken im2 before, and now only the old wire is offered", who);
	fault_means(f, "it was set back to other software, or somebody on the way took the offer out; the "
		       "session was refused");
	fault_next(f, "ironmesh trust allow-downgrade %s", id->hex);
	return ERR_DOWNGRADE;
}

static enum err offer_removed(struct fault *f, const char *who)
{
	fault_set(f, ERR_DOWNGRADE, EXIT_INTEGRITY,
		  "%.100s speaks im2 as this node does, but the offer did not come through", who);
	fault_means(f, "its signed greeting says so: somebody on the way took the offer out; the session was "
		       "refused");
	fault_next(f, "ironmesh doctor");
	return ERR_DOWNGRADE;
}

bool policy_is_im2(const struct admit_request *r)
{
	return r->generation && strcmp(r->generation, "im2") == 0;
}

enum err policy_old_wire(const struct policy *p, const struct pin *pin, const struct admit_request *r,
			 struct fault *f)
{
	if (p->im2 == IM2_OFF || policy_is_im2(r))
		return ERR_OK;
	if (p->im2 == IM2_REQUIRE)
		return only_im2(f, r->id.hex);
	if (pin && pin->im2_since_ms != 0)
		return spoke_im2(f, r->id.hex, &r->id);
	return r->marked ? offer_removed(f, r->id.hex) : ERR_OK;
}

enum err policy_dial_legacy(const struct policy *p, const struct pins *pins, const char *address,
			    const struct node_id *expected, struct fault *f)
{
	const struct pin *pin = expected ? pins_current(pins, expected) : NULL;
	struct node_id owner;

	if (p->im2 == IM2_OFF)
		return ERR_OK;
	if (p->im2 == IM2_REQUIRE)
		return only_im2(f, address ? address : expected ? expected->hex : "the peer");
	if (pin && pin->im2_since_ms != 0)
		return spoke_im2(f, address ? address : pin->id.hex, &pin->id);
	if (address && pins_im2_address_has(pins, address, &owner))
		return spoke_im2(f, address, &owner);
	return ERR_OK;
}
