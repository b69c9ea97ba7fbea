/* To go back when a decision cannot be written. */
#include <stdlib.h>

#include "trust/pins_internal.h"

struct pins_copy {
	struct rec **recs;
	size_t n;
	struct pin_alarm alarms[PINS_ALARMS_MAX];
	size_t alarm_count;
	struct im2_set im2;
};

static struct rec *rec_copy(const struct rec *r)
{
	struct rec *c = malloc(sizeof *c);

	if (!c)
		return NULL;
	*c = *r;
	c->extra = json_incref(r->extra);
	c->pin.addresses = NULL;
	c->psks = NULL;
	if (r->pin.addresses) {
		c->pin.addresses = calloc(PINS_ADDRESSES_MAX, sizeof *c->pin.addresses);
		if (!c->pin.addresses)
			goto fail;
		memcpy(c->pin.addresses, r->pin.addresses, r->pin.address_count * sizeof *c->pin.addresses);
	}
	if (r->psks) {
		c->psks = malloc(sizeof *c->psks);
		if (!c->psks)
			goto fail;
		*c->psks = *r->psks;
	}
	return c;
fail:
	pins_rec_free(c);
	return NULL;
}

void pins_copy_free(struct pins_copy *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++)
		pins_rec_free(c->recs[i]);
	free(c->recs);
	im2_set_clear(&c->im2);
	free(c);
}

enum err pins_copy(const struct pins *p, struct pins_copy **out)
{
	struct pins_copy *c = calloc(1, sizeof *c);

	if (!c)
		return ERR_NOMEM;
	c->recs = calloc(p->n ? p->n : 1, sizeof(struct rec *));
	for (; c->recs && c->n < p->n; c->n++) {
		c->recs[c->n] = rec_copy(p->recs[c->n]);
		if (!c->recs[c->n])
			break;
	}
	if (!c->recs || c->n < p->n || im2_set_copy(&p->im2, &c->im2) != ERR_OK) {
		pins_copy_free(c);
		return ERR_NOMEM;
	}
	memcpy(c->alarms, p->alarms, sizeof c->alarms);
	c->alarm_count = p->alarm_count;
	*out = c;
	return ERR_OK;
}

static bool holds(const struct pins_copy *c, const struct node_id *id)
{
	for (size_t i = 0; i < c->n; i++)
		if (node_id_eq(&c->recs[i]->pin.id, id))
			return true;
	return false;
}

/* Records stay where they are: somebody may hold a pointer to one. */
static void go_back(struct pins *p, struct pins_copy *c)
{
	for (size_t i = p->n; i-- > 0;)
		if (!holds(c, &p->recs[i]->pin.id))
			pins_remove(p, p->recs[i]);
	for (size_t i = 0; i < c->n; i++) {
		struct rec *was = c->recs[i], *r = pins_rec(p, &was->pin.id);

		if (r) {
			struct rec now = *r;

			*r = *was;
			*was = now;
		} else if (pins_insert(p, was) == ERR_OK) {
			c->recs[i] = NULL;
		}
	}
	memcpy(p->alarms, c->alarms, sizeof p->alarms);
	p->alarm_count = c->alarm_count;
	struct im2_set now = p->im2;
	p->im2 = c->im2;
	c->im2 = now;
	/* The file may be the new one all the same, when only its folder could not be synced. */
	p->dirty = true;
}

enum err pins_settle(struct pins *p, struct pins_copy *was, enum err e, struct fault *f)
{
	if (e == ERR_OK) {
		e = pins_flush(p, f);
		if (e != ERR_OK) {
			go_back(p, was);
			fault_means(f, "nothing was changed");
		}
	}
	pins_copy_free(was);
	return e;
}
