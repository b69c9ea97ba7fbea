#include "daemon/refusals.h"

#include <stdlib.h>

#include "daemon/node_internal.h"

#define AGAIN_MS 60000
#define TOLD_PER_S 1
#define TOLD_BURST 20

struct entry {
	struct refusal x;
	uint64_t told_ms; /* monotonic + 1; 0 = never */
};

struct refusals {
	struct env *env;
	struct map *by_key; /* id or source, and reason -> struct entry * */
	struct bucket told;
	uint64_t total;
};

static void gone(void *ctx, struct bytes key, void *value)
{
	struct entry *e;

	memcpy(&e, value, sizeof e);
	free(e);
}

enum err refusals_new(struct env *env, struct refusals **out)
{
	struct map_opts mo = { .capacity = REFUSALS_MAX, .per_source = REFUSALS_MAX / REFUSALS_SHARE,
			       .value_size = sizeof(struct entry *), .policy = MAP_EVICT_LRU, .evicted = gone };
	struct refusals *r = calloc(1, sizeof *r);

	if (!r)
		return ERR_NOMEM;
	r->env = env;
	env_random(env, mo.hash_key, sizeof mo.hash_key);
	r->by_key = map_new(&mo);
	if (!r->by_key) {
		free(r);
		return ERR_NOMEM;
	}
	bucket_init(&r->told, TOLD_PER_S, TOLD_BURST, env_now(env));
	*out = r;
	return ERR_OK;
}

static bool drop(void *ctx, struct bytes key, void *value)
{
	gone(NULL, key, value);
	return false;
}

void refusals_free(struct refusals *r)
{
	if (!r)
		return;
	map_each(r->by_key, drop, NULL);
	map_free(r->by_key);
	free(r);
}

static uint64_t number_of(const char *source)
{
	uint64_t h = 14695981039346656037u;

	for (; *source; source++)
		h = (h ^ (uint8_t)*source) * 1099511628211u;
	return h;
}

bool refusals_add(struct refusals *r, const char *source, const struct refusal *x)
{
	char key[MAP_KEY_MAX];
	struct entry *e;
	uint64_t now = env_now(r->env);
	bool created;
	void *slot;

	r->total++;
	snprintf(key, sizeof key, "%.100s|%d|%s", x->id.hex[0] ? x->id.hex : source, x->dialled, x->reason);
	if (map_put(r->by_key, bytes_str(key), number_of(source), &slot, &created) != ERR_OK)
		return false;
	if (created) {
		e = calloc(1, sizeof *e);
		if (!e) {
			map_del(r->by_key, bytes_str(key));
			return false;
		}
		memcpy(slot, &e, sizeof e);
		e->x.first_ms = env_wall(r->env);
	}
	memcpy(&e, slot, sizeof e);

	struct refusal was = e->x;

	e->x = *x;
	e->x.first_ms = was.first_ms;
	e->x.count = was.count + 1;
	e->x.last_ms = env_wall(r->env);
	if ((e->told_ms && now - (e->told_ms - 1) < AGAIN_MS) || !bucket_take(&r->told, 1, now))
		return false;
	e->told_ms = now + 1;
	return true;
}

uint64_t refusals_total(const struct refusals *r)
{
	return r->total;
}

size_t refusals_count(const struct refusals *r)
{
	return map_count(r->by_key);
}

struct gathering {
	const struct entry *list[REFUSALS_MAX];
	size_t n;
};

static bool gather(void *ctx, struct bytes key, void *value)
{
	struct gathering *g = ctx;

	memcpy(&g->list[g->n++], value, sizeof g->list[0]);
	return true;
}

static int newest_first(const void *a, const void *b)
{
	const struct entry *const *x = a, *const *y = b;

	if ((*x)->x.last_ms != (*y)->x.last_ms)
		return (*x)->x.last_ms > (*y)->x.last_ms ? -1 : 1;
	return memcmp((*x)->x.id.hex, (*y)->x.id.hex, NODE_ID_LEN);
}

size_t refusals_list(const struct refusals *r, struct refusal *out, size_t max)
{
	struct gathering g = { .n = 0 };

	map_each(r->by_key, gather, &g);
	qsort(g.list, g.n, sizeof g.list[0], newest_first);
	for (size_t i = 0; i < g.n && i < max; i++)
		out[i] = g.list[i]->x;
	return g.n < max ? g.n : max;
}

static bool of_another(void *ctx, struct bytes key, void *value)
{
	struct entry *e;

	memcpy(&e, value, sizeof e);
	if (!node_id_eq(&e->x.id, ctx))
		return true;
	free(e);
	return false;
}

void refusals_forget(struct refusals *r, const struct node_id *id)
{
	struct node_id of = *id;

	if (id->hex[0])
		map_each(r->by_key, of_another, &of);
}

/* --- the node -------------------------------------------------------------------------------------------- */
void refuse_contact(struct node *n, const struct node_id *id, const char *name, const char *where, const char *source,
		    bool dialled, const char *reason, const struct fault *f, bool audited)
{
	struct refusal x = { .dialled = dialled };
	bool tell;

	if (id)
		x.id = *id;
	text_safe(bytes_str(name), x.name, sizeof x.name);
	text_safe(bytes_str(where), x.where, sizeof x.where);
	snprintf(x.reason, sizeof x.reason, "%s", reason);
	snprintf(x.what, sizeof x.what, "%s", f && f->what[0] ? f->what : reason);
	snprintf(x.next, sizeof x.next, "%s", f ? f->next : "");
	n->n.contacts_refused++;
	tell = refusals_add(n->refusals, source, &x);
	if (audited)
		audit_note(n->p.audit, "PEER_REFUSED", bytes_str(x.id.hex[0] ? x.id.hex : source), "peer_id", x.id.hex, "name", x.name, "from",
			   x.where, "reason", x.reason, NULL);
	if (!tell)
		return;

	struct node_event e = { .type = "peer.refused", .peer = x.id, .name = x.name[0] ? x.name : NULL, .reason = x.reason,
				.address = x.where[0] ? x.where : NULL, .next = x.next[0] ? x.next : NULL };

	node_event(n, &e);
}

void refuse_conn(struct conn *c, const struct node_id *id, const char *name, const char *reason, const struct fault *f,
		 bool audited)
{
	refuse_contact(c->node, id, name, c->address, c->source, c->dialled, reason, f, audited);
}
