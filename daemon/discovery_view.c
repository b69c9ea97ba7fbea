/* discovery_view.c -- for people: everything that was found, and why it is not connected. */
#include "daemon/discovery_internal.h"

#include "base/text.h"

static const char *source_word(enum hint_source s)
{
	return s == HINT_MDNS ? "mdns" : s == HINT_CARD ? "card" : "known";
}

/* It is wanted, and not there yet. */
static void waiting(struct discovery *d, const struct hint *h, struct discovery_view *v)
{
	uint64_t now = env_now(d->node->env), next = UINT64_MAX;

	if (!h->n) {
		snprintf(v->why, sizeof v->why, "none of its addresses can be dialled from here");
		return;
	}
	if (h->dials) {
		snprintf(v->why, sizeof v->why, "dialling");
		return;
	}
	for (size_t i = 0; i < h->n; i++)
		if (!h->at[i].self && h->at[i].next_ms < next)
			next = h->at[i].next_ms;
	if (next < h->not_before_ms)
		next = h->not_before_ms;
	if (next == UINT64_MAX)
		snprintf(v->why, sizeof v->why, "it is this node itself");
	else if (h->why[0])
		snprintf(v->why, sizeof v->why, "%.110s; dialled again in %llu s", h->why,
			 (unsigned long long)(next > now ? (next - now + 999) / 1000 : 0));
	else if (next > now)
		snprintf(v->why, sizeof v->why, "it may dial first; dialled in %llu s",
			 (unsigned long long)((next - now + 999) / 1000));
	else
		snprintf(v->why, sizeof v->why, "to be dialled");
}

size_t discovery_views(struct node *n, struct discovery_view *out, size_t max)
{
	struct discovery *d = n->discovery;
	size_t k = 0;

	if (d)
		hints_match_due(d);
	for (size_t i = 0; d && i < d->hints_n && k < max; i++) {
		const struct hint *h = d->hints[i];
		struct discovery_view *v = &out[k];
		struct hint_reason r = { 0 };
		const struct pin *pin = h->has_id ? pins_get(n->p.pins, &h->id) : NULL;

		if (h->gone)
			continue;
		*v = (struct discovery_view){ .fleet = h->fleet, .has_id = h->has_id, .id = h->id, .online = hint_online(d, h),
					      .addresses_n = h->n, .source = source_word(h->source) };
		text_safe(bytes_str(h->source == HINT_MDNS ? h->instance : ""), v->instance, sizeof v->instance);
		snprintf(v->name, sizeof v->name, "%s", h->name[0] ? h->name : pin ? pin->name : "");
		if (h->n)
			snprintf(v->address, sizeof v->address, "%s", h->at[0].text);
		if (!v->online && hint_wanted(d, h, &r))
			waiting(d, h, v);
		snprintf(v->why + strlen(v->why), sizeof v->why - strlen(v->why), "%.190s", r.what);
		snprintf(v->next, sizeof v->next, "%s", r.next);
		k++;
	}
	return k;
}
