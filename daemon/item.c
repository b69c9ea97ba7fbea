/*
 * item.c -- one message of ours that is in memory: found by both of its names, on one list of its peer at a time.
 *
 *   PREPARED -> READY -> IN_FLIGHT -> (freed)      IN_FLIGHT, HELD -> READY: it goes again
 *
 * The counts of the queue follow every step, so nothing else takes an item off a list.
 */
#include "daemon/node_internal.h"

#include <stdlib.h>

#include "base/text.h"

#define READY_BYTES_MAX (4u << 20)
#define BODY_KEEP_MAX 65536
#define RESEND_FIRST_MS 10000u
#define RESEND_MAX_MS 300000u
#define HELD_MS 3600000u

static struct bytes item_key(const struct node_id *peer, struct bytes id, uint8_t out[static MAP_KEY_MAX])
{
	size_t n = id.n < MSG_ID_MAX ? id.n : MSG_ID_MAX;

	memcpy(out, peer->hex, NODE_ID_LEN);
	memcpy(out + NODE_ID_LEN, id.p, n);
	return bytes_of(out, NODE_ID_LEN + n);
}

struct item *item_find(struct node *n, const struct node_id *peer, struct bytes id)
{
	uint8_t key[MAP_KEY_MAX];
	void *v = map_get(n->items, item_key(peer, id, key));
	struct item *it = NULL;

	if (v)
		memcpy(&it, v, sizeof it);
	return it;
}

struct item *item_new(struct node *n, struct peer *p, struct bytes id, const uint8_t wire_id[static MSG_WIRE_ID],
			     struct bytes meta, bool *known)
{
	uint8_t key[MAP_KEY_MAX];
	struct item *it = calloc(1, sizeof *it + id.n + 1);
	char wire[2 * MSG_WIRE_ID + 1];
	bool created;
	void *slot;

	*known = false;
	if (!it)
		return NULL;
	if (map_put(n->items, item_key(&p->id, id, key), 0, &slot, &created) != ERR_OK) {
		free(it);
		return NULL;
	}
	if (!created) {
		*known = true;
		free(it);
		return NULL;
	}
	memcpy(slot, &it, sizeof it);
	list_init(&it->link);
	it->node = n;
	it->peer = p;
	memcpy(it->id, id.p, id.n);
	memcpy(it->wire_id, wire_id, MSG_WIRE_ID);
	/* The wire names it by its wire id; that is its id, unless its user chose another. */
	hex_encode(BYTES_ARR(it->wire_id), wire);
	it->two_names = strcmp(wire, it->id) != 0;
	if (it->two_names && map_put(n->items, item_key(&p->id, bytes_str(wire), key), 0, &slot, &created) == ERR_OK)
		memcpy(slot, &it, sizeof it);
	if (meta.n && (it->meta = malloc(meta.n))) {
		memcpy(it->meta, meta.p, meta.n);
		it->meta_len = (uint16_t)meta.n;
	}
	if (meta.n && !it->meta) {
		item_free(it);
		return NULL;
	}
	return it;
}

/* Leaves the list it is on, with the counts. */
void item_leave(struct item *it)
{
	struct sendq *q = it->peer->q;

	if (q && it->state == ITEM_PREPARED) {
		q->prepared_count--;
		q->ready_bytes -= it->body ? it->body_len : 0;
	} else if (q && !list_empty(&it->link)) {
		if (it->state == ITEM_READY) {
			q->ready_count--;
			q->ready_bytes -= it->body ? it->body_len : 0;
		} else if (it->state == ITEM_IN_FLIGHT) {
			q->flight_count--;
			q->flight_bytes -= it->body_len;
		} else {
			q->held_count--;
		}
	}
	list_del(&it->link);
}

void item_free(struct item *it)
{
	uint8_t key[MAP_KEY_MAX];
	char wire[2 * MSG_WIRE_ID + 1];
	struct node *n;

	if (!it)
		return;
	n = it->node;
	/* It may expire, be cancelled or be confirmed by a peer that lies before its group is committed. */
	for (size_t i = 0; it->state == ITEM_PREPARED && i < n->ops_n; i++)
		if (n->ops[i].kind == OP_SUBMIT && n->ops[i].item == it)
			n->ops[i].item = NULL;
	item_leave(it);
	map_del(n->items, item_key(&it->peer->id, bytes_str(it->id), key));
	if (it->two_names) {
		hex_encode(BYTES_ARR(it->wire_id), wire);
		map_del(n->items, item_key(&it->peer->id, bytes_str(wire), key));
	}
	free(it->body);
	free(it->meta);
	free(it);
}

struct outbox_try item_try(const struct item *it)
{
	struct env *env = it->node->env;

	if (!it->sent_ms)
		return (struct outbox_try){ 0 };
	return (struct outbox_try){ .at_ms = env_wall(env) - (env_now(env) - it->sent_ms),
				    .via = OUTBOX_VIA_SESSION, .hops = 1 };
}

void item_held(struct item *it)
{
	if (it->state == ITEM_HELD)
		return;
	item_leave(it);
	it->state = ITEM_HELD;
	list_add_tail(&it->peer->q->held, &it->link);
	it->peer->q->held_count++;
	/* What was said when it was let out may be lost (im2.md 10.3). */
	it->due_ms = env_now(it->node->env) + HELD_MS;
	if (it->peer->conn->im2)
		sched_look_again(it->peer, it->due_ms);
}

void item_ready(struct item *it)
{
	struct sendq *q = it->peer->q;

	it->state = ITEM_READY;
	list_add_tail(&q->ready[it->priority], &it->link);
	q->ready_count++;
	q->ready_bytes += it->body ? it->body_len : 0;
}

/* 10 s, doubling to 300 s, spread by a fifth (im2.md 10.3). */
static uint64_t resend_ms(struct node *n, const struct item *it)
{
	uint64_t ms = RESEND_FIRST_MS << (it->tries < 5 ? it->tries : 5);

	if (ms > RESEND_MAX_MS)
		ms = RESEND_MAX_MS;
	return ms - ms / 5 + env_uniform(n->env, ms * 2 / 5 + 1);
}

void item_later(struct item *it)
{
	struct node *n = it->node;

	if (it->state != ITEM_IN_FLIGHT)
		return;
	it->due_ms = env_now(n->env) + resend_ms(n, it);
}

void item_flies(struct item *it)
{
	struct sendq *q = it->peer->q;

	item_leave(it);
	it->state = ITEM_IN_FLIGHT;
	it->sent_ms = env_now(it->node->env);
	it->due_ms = it->sent_ms + resend_ms(it->node, it);
	list_add_tail(&q->flight, &it->link);
	q->flight_count++;
	q->flight_bytes += it->body_len;
	if (it->peer->conn->im2)
		sched_look_again(it->peer, it->due_ms);
}

/* The session has it. What travels in pieces may take longer than a receipt does: its timer runs from their end, and
 * meanwhile it is not queued again (im2.md 10.3). */
void item_gone(struct item *it)
{
	struct sendq *q = it->peer->q;

	if (!it->in_pieces && !it->unasked)
		return;
	list_del(&it->link);
	list_add_tail(it->in_pieces ? &q->carried : &q->leaving, &it->link);
}

/* Its timer runs from now. */
void item_waits(struct item *it)
{
	struct node *n = it->node;

	it->in_pieces = false;
	it->sent_ms = env_now(n->env);
	it->due_ms = it->sent_ms + resend_ms(n, it);
	list_del(&it->link);
	list_add_tail(&it->peer->q->flight, &it->link);
	sched_look_again(it->peer, it->due_ms);
}

/* Not sent after all: back to the head of its list. */
void item_returns(struct item *it)
{
	struct sendq *q = it->peer->q;

	item_leave(it);
	it->state = ITEM_READY;
	list_add_tail(q->ready[it->priority].next, &it->link);
	q->ready_count++;
	q->ready_bytes += it->body ? it->body_len : 0;
}

void item_keep_body(struct item *it, struct bytes body)
{
	if (body.n > BODY_KEEP_MAX || it->peer->q->ready_bytes + body.n > READY_BYTES_MAX)
		return;
	it->body = malloc(body.n ? body.n : 1);
	if (it->body && body.n)
		memcpy(it->body, body.p, body.n);
}
