/* rooms: daemon protocol trust base */
/*
 * What neighbours of the old wire announce, and the table that believes it within bounds. The first byte says how many of
 * what follows is one payload; payloads come in turn from three neighbours, which come and go.
 */
#include <stdlib.h>

#include "base/secret.h"
#include "daemon/routes09.h"

#define DESTINATIONS 64
#define SHARE 24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct listener {
	struct routes09 *t;
	struct node_id via;
	uint64_t now;
	unsigned n;
};

static bool hear(void *ctx, const struct route09_entry *e)
{
	struct listener *l = ctx;
	struct node_id again;
	enum err err;

	BUG_ON(e->cost > ROUTE09_INFINITY);
	BUG_ON(node_id_parse(bytes_of(e->to.hex, NODE_ID_LEN), &again) != ERR_OK);
	err = routes09_hear(l->t, &l->via, &e->to, e->cost, l->now);
	BUG_ON(err != ERR_OK && err != ERR_DENIED && err != ERR_FULL && err != ERR_WRONG_STATE);
	return ++l->n < 4096;
}

struct share {
	struct node_id via;
	unsigned n;
};

static bool count(void *ctx, const struct routes09_view *v)
{
	struct share *s = ctx;

	BUG_ON(v->cost < 1 || v->cost >= ROUTE09_INFINITY);
	s->n += node_id_eq(&v->via, &s->via);
	return true;
}

static void tell(void *ctx, const struct route09_entry *e)
{
	BUG_ON(node_id_eq(&e->to, ctx) || e->cost < 1 || e->cost > ROUTE09_INFINITY);
}

static bool skip(void *ctx, const struct node_id *via)
{
	return node_id_eq(ctx, via);
}

static void check(struct listener *l, struct node_id ids[static 3])
{
	for (int i = 0; i < 3; i++) {
		struct share s = { ids[i], 0 };
		struct node_id next;

		routes09_each(l->t, count, &s, l->now);
		BUG_ON(s.n > SHARE);
		routes09_tell(l->t, &ids[i], false, tell, &ids[i], l->now);
		if (routes09_next(l->t, &ids[0], skip, &ids[i], l->now, &next))
			BUG_ON(node_id_eq(&next, &ids[i]));
	}
	BUG_ON(routes09_count(l->t) > DESTINATIONS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct routes09_config c = { .destinations = DESTINATIONS, .per_neighbour = SHARE };
	struct node_id ids[3] = { { "28fff9342c7030d3d899cc9e7bc11878" }, { "1ba145aa2ed6fa01ea237b28e569dbb6" },
				  { "139e3940e64b5491722088d9a0d74162" } };
	struct listener l = { .now = 1000000 };
	struct route_unreachable u;
	unsigned turn = 0;
	bool all;

	l.t = routes09_new(&c);
	BUG_ON(!l.t);
	while (size) {
		size_t n = data[0] * 8u < size - 1 ? data[0] * 8u : size - 1;
		struct bytes payload = bytes_of(data + 1, n);

		l.via = ids[turn % 3];
		if (turn % 7 == 6)
			routes09_down(l.t, &l.via, l.now);
		else
			BUG_ON(routes09_up(l.t, &l.via, l.now) != ERR_OK);
		(void)!route_announce_read(payload, hear, &l);
		if (route_unreachable_read(payload, &u) == ERR_OK)
			(void)routes09_unanswered(l.t, &u.to, &l.via, l.now, &all);
		l.now += n * 100;
		if (turn % 3 == 2)
			(void)routes09_sweep(l.t, l.now);
		check(&l, ids);
		turn++;
		data += 1 + n;
		size -= 1 + n;
	}
	routes09_told(l.t);
	BUG_ON(routes09_untold(l.t));
	routes09_free(l.t);
	return 0;
}
