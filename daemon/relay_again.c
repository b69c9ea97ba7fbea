#include "daemon/relay_again.h"

#include <stdlib.h>

#include "daemon/node_internal.h"
#include "daemon/relay.h"
#include "daemon/routes.h"

#define OBJECTS_MAX 1024
#define BYTES_MAX (16u << 20)
#define SHARE 4 /* a neighbour whose objects are repeated has at most one of so many parts of both */
#define FIRST_MS 5000
#define SLOW_BYTES_PER_MS 64
#define TRIES 3 /* with one neighbour, the first among them */

struct given {
	struct list link;          /* by when it is due, about */
	uint8_t rid[16];
	struct node_id next, to, from; /* from.hex "": ours */
	uint64_t came_ms, due_ms;  /* monotonic */
	uint32_t age_s;            /* when it came */
	uint8_t hops, tries;
	bool other;                /* another way was tried already */
	size_t rt_n, body_n;
	uint8_t data[];            /* rt, then body */
};

struct relay_again {
	struct node *node;
	struct list all;
	size_t n, bytes;
	struct timer timer;
	bool repeating;            /* what is sent now is in the list already */
};

static void drop(struct relay_again *a, struct given *g)
{
	list_del(&g->link);
	a->n--;
	a->bytes -= g->rt_n + g->body_n;
	free(g);
}

static struct conn *session_of(struct node *n, const struct node_id *id)
{
	struct peer *p = peer_find(n, id);

	return p && p->conn && p->conn->online && p->conn->im2 && !p->conn->closing ? p->conn : NULL;
}

static struct given *find(struct relay_again *a, const struct node_id *next, const uint8_t rid[static 16])
{
	for (struct list *l = a->all.next; l != &a->all; l = l->next) {
		struct given *g = list_entry(l, struct given, link);

		if (memcmp(g->rid, rid, sizeof g->rid) == 0 && node_id_eq(&g->next, next))
			return g;
	}
	return NULL;
}

static void wake(struct relay_again *a, uint64_t at_ms)
{
	if (!timer_armed(&a->timer) || a->timer.at_ms > at_ms)
		timer_at(a->node->env, &a->timer, at_ms);
}

/* A large one is long on its way. */
static uint64_t patience_ms(const struct given *g)
{
	return FIRST_MS + (g->rt_n + g->body_n) / SLOW_BYTES_PER_MS;
}

static uint32_t age_of(const struct given *g, uint64_t now)
{
	return g->age_s + (uint32_t)((now - g->came_ms + 999) / 1000);
}

/* Ours, for somebody who was blocked or revoked since. */
static bool unwanted(const struct relay_again *a, const struct given *g)
{
	const struct pin *pin = g->from.hex[0] ? NULL : pins_get(a->node->p.pins, &g->to);

	return pin && (pin->state == PIN_BLOCKED || pin->state == PIN_REVOKED);
}

/* False: nothing more is to be done for it here. */
static bool again(struct relay_again *a, struct given *g)
{
	struct node *n = a->node;
	uint64_t now = env_now(n->env);
	struct conn *next = g->tries < TRIES ? session_of(n, &g->next) : NULL;
	enum err e;

	if (unwanted(a, g))
		return false;
	if (!next) {
		/* It is there, takes everything and answers nothing: a relay sees no receipts, and judges by this. Of our own
		 * objects the courier judges. */
		if (g->from.hex[0] && session_of(n, &g->next))
			routes_unanswered(n, &g->to, &g->next);
		if (g->other)
			return false;
		next = routes_next_other(n, &g->to, g->from.hex[0] ? &g->from : NULL, &g->next);
		if (!next)
			return false;
		g->other = true;
		g->tries = TRIES; /* that one once */
		g->next = next->peer->id;
	}
	a->repeating = true;
	e = relay_send(next, bytes_of(g->data, g->rt_n), bytes_of(g->data + g->rt_n, g->body_n), g->hops,
		       age_of(g, now));
	a->repeating = false;
	if (e == ERR_OK)
		n->n.relay_again++;
	if (e != ERR_OK && e != ERR_AGAIN)
		return false;
	g->due_ms = now + (patience_ms(g) << g->tries);
	g->tries++;
	return true;
}

/* Who gave it to us was told that it goes on. */
static void give_up(struct relay_again *a, const struct given *g, uint64_t now)
{
	if (g->from.hex[0])
		relay_given_up(a->node, &g->from, &g->to, g->rid, bytes_of(g->data, g->rt_n),
			       bytes_of(g->data + g->rt_n, g->body_n), g->hops, age_of(g, now));
}

static void due(void *ctx)
{
	struct relay_again *a = ctx;
	uint64_t now = env_now(a->node->env), soonest = UINT64_MAX;

	for (struct list *l = a->all.next, *following; l != &a->all; l = following) {
		struct given *g = list_entry(l, struct given, link);

		following = l->next;
		if (g->due_ms <= now && (a->node->stopping || !again(a, g))) {
			give_up(a, g, now);
			drop(a, g);
			continue;
		}
		soonest = g->due_ms < soonest ? g->due_ms : soonest;
	}
	if (soonest != UINT64_MAX)
		wake(a, soonest);
}

size_t relay_again_held(const struct relay_again *a, const struct node_id *from, size_t *bytes)
{
	size_t n = 0, sum = 0;

	for (const struct list *l = a->all.next; l != &a->all; l = l->next) {
		const struct given *g = list_entry(l, struct given, link);

		if (from ? node_id_eq(&g->from, from) : !g->from.hex[0]) {
			n++;
			sum += g->rt_n + g->body_n;
		}
	}
	if (bytes)
		*bytes = sum;
	return n;
}

/* Ours may fill it; the objects of one neighbour leave room for those of others. */
static bool room_for(const struct relay_again *a, const struct node_id *from, size_t more)
{
	size_t n, bytes;

	if (a->n >= OBJECTS_MAX || a->bytes + more > BYTES_MAX)
		return false;
	if (!from || (a->n < OBJECTS_MAX / SHARE && a->bytes + more <= BYTES_MAX / SHARE))
		return true;
	n = relay_again_held(a, from, &bytes);
	return n < OBJECTS_MAX / SHARE && bytes + more <= BYTES_MAX / SHARE;
}

void relay_again_sent(struct relay_again *a, const struct node_id *from, const struct node_id *next, const struct node_id *to,
		      const uint8_t rid[static 16], struct bytes rt, struct bytes body, unsigned hops, uint32_t age_s)
{
	struct node *n = a->node;
	struct given *g;

	if (a->repeating)
		return;
	/* The same rid is the same bytes, and it stays where it is: due() may stand on it or before it, when a way that it judges
	 * changes and what is kept goes on at once. */
	g = find(a, next, rid);
	if (!g && !room_for(a, from, rt.n + body.n))
		return;
	if (!g) {
		g = calloc(1, sizeof *g + rt.n + body.n);
		if (!g)
			return;
		g->rt_n = rt.n;
		g->body_n = body.n;
		g->next = *next;
		memcpy(g->rid, rid, sizeof g->rid);
		memcpy(g->data, rt.p, rt.n);
		memcpy(g->data + rt.n, body.p, body.n);
		list_add_tail(&a->all, &g->link);
		a->n++;
		a->bytes += rt.n + body.n;
	}
	g->to = *to;
	g->from = from ? *from : (struct node_id){ .hex = "" };
	g->came_ms = env_now(n->env);
	g->age_s = age_s;
	g->hops = (uint8_t)hops;
	g->tries = 1;
	g->other = false;
	g->due_ms = g->came_ms + patience_ms(g);
	wake(a, g->due_ms);
}

void relay_again_heard(struct relay_again *a, const struct node_id *from, const uint8_t rid[static 16])
{
	struct given *g = find(a, from, rid);

	if (g)
		drop(a, g);
}

enum err relay_again_new(struct node *n, struct relay_again **out)
{
	struct relay_again *a = calloc(1, sizeof *a);

	if (!a)
		return ERR_NOMEM;
	a->node = n;
	list_init(&a->all);
	timer_init(&a->timer, due, a);
	*out = a;
	return ERR_OK;
}

void relay_again_free(struct relay_again *a)
{
	if (!a)
		return;
	timer_stop(a->node->env, &a->timer);
	while (!list_empty(&a->all))
		drop(a, list_entry(a->all.next, struct given, link));
	free(a);
}
