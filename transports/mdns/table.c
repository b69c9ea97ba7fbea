/*
 * table.c -- the services that are known, each as one interface shows it.
 *
 * Anybody on the link can fill it. So nobody is pushed out who is of use; whoever is asked next, and whoever makes room, is
 * found by chance among the equals: to keep a newcomer out one has to keep filling all of it.
 */
#include "transports/mdns/mdns_internal.h"

#include <stdlib.h>

#define ANSWERS_NOTHING 2 /* so many times in a row */

struct row *table_find(const struct table *t, uint8_t type, const char *instance, uint32_t ifindex)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->rows[i]->type == type && t->rows[i]->ifindex == ifindex &&
		    strcmp(t->rows[i]->instance, instance) == 0)
			return t->rows[i];
	return NULL;
}

enum err table_add(struct table *t, uint8_t type, const char *instance, uint32_t ifindex, struct row **out)
{
	struct row *r;

	if (t->n == MDNS_SERVICES_MAX)
		return ERR_FULL;
	r = calloc(1, sizeof *r);
	if (!r)
		return ERR_NOMEM;
	r->type = type;
	r->ifindex = ifindex;
	r->born = t->born++;
	memcpy(r->instance, instance, strnlen(instance, MDNS_INSTANCE_MAX));
	t->rows[t->n++] = r;
	*out = r;
	return ERR_OK;
}

static bool one_of(struct env *env, size_t *so_far)
{
	return env_uniform(env, ++*so_far) == 0;
}

struct row *table_victim(const struct table *t, struct env *env)
{
	struct row *silent = NULL, *useless = NULL;
	size_t silents = 0, useless_n = 0;

	for (size_t i = 0; i < t->n; i++) {
		struct row *r = t->rows[i];

		if (r->wanted)
			continue;
		if ((r->state == ROW_FAILED && r->failures >= ANSWERS_NOTHING) || r->seen == 0) {
			if (one_of(env, &silents))
				silent = r;
		} else if (r->state == ROW_READY && one_of(env, &useless_n)) {
			useless = r;
		}
	}
	return silent ? silent : useless;
}

void table_drop(struct table *t, struct row *r)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->rows[i] == r) {
			t->rows[i] = t->rows[--t->n];
			break;
		}
	free(r->txt);
	free(r);
}

bool row_is(const struct row *r, enum which which)
{
	return which == ANY || (which == WANTED ? r->wanted : r->state == ROW_NEW);
}

struct row *table_next(const struct table *t, enum which which, uint64_t now_ms, struct env *env)
{
	struct row *found = NULL;
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++) {
		struct row *r = t->rows[i];

		if (r->course || r->seen == 0 || r->due_ms > now_ms || !row_is(r, which))
			continue;
		if (one_of(env, &n))
			found = r;
	}
	return found;
}

void table_doubt(struct table *t, int type, uint64_t gone_ms)
{
	for (size_t i = 0; i < t->n; i++)
		if (type < 0 || t->rows[i]->type == type) {
			/* Doubted twice: the first time stays. */
			if (t->rows[i]->seen || t->rows[i]->gone_ms > gone_ms)
				t->rows[i]->gone_ms = gone_ms;
			t->rows[i]->seen = 0;
		}
}

void table_fini(struct table *t)
{
	while (t->n)
		table_drop(t, t->rows[t->n - 1]);
}
