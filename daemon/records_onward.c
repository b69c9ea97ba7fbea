/*
 * records_onward.c -- PREKEYs that somebody far away needs: asked for by the neighbour that is nearer, one question for all
 * who want it, and again when there was no room for a question (18.3). Who asked gets what comes.
 */
#include "daemon/records_internal.h"
#include "daemon/routes.h"

#define ASKED_MS 10000

static bool in_use(const struct asked *a)
{
	return a->n || a->ours;
}

static struct asked *place_of(struct records *r, const struct node_id *author)
{
	uint64_t now = env_now(r->node->env);
	struct asked *free_one = NULL;

	for (size_t i = 0; i < ASKED_MAX; i++) {
		struct asked *a = &r->asked[i];

		if (in_use(a) && a->until_ms <= now)
			memset(a, 0, sizeof *a);
		if (in_use(a) && node_id_eq(&a->author, author))
			return a;
		if (!in_use(a))
			free_one = a;
	}
	return free_one;
}

static void ask(struct records *r, struct asked *a)
{
	struct peer *p = peer_find(r->node, &a->next);

	if (a->sent || !p || !p->conn || p->conn->closing || !p->conn->online || !p->conn->im2)
		return;
	a->sent = records_want(p->conn, &a->author, IM2_REC_PREKEY_T);
	if (!a->sent)
		records_wake(r, env_now(r->node->env) + RECORDS_TICK_MS);
}

static struct asked *begin(struct records *r, const struct node_id *author, const struct conn *next)
{
	struct asked *a = place_of(r, author);

	if (a && !in_use(a)) {
		a->author = *author;
		a->next = next->peer->id;
		a->until_ms = env_now(r->node->env) + ASKED_MS;
	}
	return a;
}

void records_onward(struct records *r, struct conn *c, const struct node_id *author)
{
	struct node *n = r->node;
	struct conn *next = n->c.routing == ROUTING_RELAY ? routes_next(n, author, &c->peer->id) : NULL;
	struct asked *a = next ? begin(r, author, next) : NULL;

	if (!a || a->n == ASKERS_MAX)
		return;
	for (unsigned i = 0; i < a->n; i++)
		if (node_id_eq(&a->askers[i], &c->peer->id))
			return;
	a->askers[a->n++] = c->peer->id;
	ask(r, a);
}

void records_seek(struct conn *c, const struct node_id *author)
{
	struct records *r = c->node->records;
	struct asked *a = r ? begin(r, author, c) : NULL;

	if (!a)
		return;
	a->ours = true;
	ask(r, a);
}

void records_onward_came(struct records *r, const struct im2_record *rec)
{
	struct node_id author;
	struct asked *a, had;

	node_id_of(rec->author, &author);
	a = place_of(r, &author);
	if (!a || !in_use(a))
		return;
	had = *a;
	memset(a, 0, sizeof *a);
	for (unsigned i = 0; i < had.n; i++) {
		struct peer *p = peer_find(r->node, &had.askers[i]);

		if (p && p->conn && !p->conn->closing && p->conn->im2)
			(void)records_send(p->conn, IM2_ITEM_RECORD, rec->raw);
	}
}

uint64_t records_onward_due(struct records *r)
{
	uint64_t now = env_now(r->node->env), next = UINT64_MAX;

	for (size_t i = 0; i < ASKED_MAX; i++) {
		struct asked *a = &r->asked[i];

		if (!in_use(a) || a->sent || a->until_ms <= now)
			continue;
		ask(r, a);
		if (!a->sent)
			next = now + RECORDS_TICK_MS;
	}
	return next;
}
