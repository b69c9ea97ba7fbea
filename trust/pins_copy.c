/* To go back when a decision cannot be written. */
#include <stdlib.h>

#include "trust/pins_internal.h"

struct pins_copy {
	struct rec **recs;
	size_t n;
	struct pin_alarm alarms[PINS_ALARMS_MAX];
	size_t alarm_count;
};

static struct rec *rec_copy(const struct rec *r)
{
	struct rec *c = malloc(sizeof *c);

	if (!c)
		return NULL;
	*c = *r;
	c->extra = NULL;
	c->pin.addresses = NULL;
	if (r->pin.addresses) {
		c->pin.addresses = calloc(PINS_ADDRESSES_MAX, sizeof *c->pin.addresses);
		if (!c->pin.addresses) {
			free(c);
			return NULL;
		}
		memcpy(c->pin.addresses, r->pin.addresses, r->pin.address_count * sizeof *c->pin.addresses);
	}
	c->extra = json_incref(r->extra);
	return c;
}

void pins_copy_free(struct pins_copy *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++)
		pins_rec_free(c->recs[i]);
	free(c->recs);
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
	if (!c->recs || c->n < p->n) {
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
