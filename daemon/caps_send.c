/*
 * caps_send.c -- when others are told: 100 ms after a change and 10 s apart, the last change always; again every 60 s;
 * and at the begin of a session. Relays pass the records of others on, once each.
 */
#include "daemon/caps_internal.h"

#include "protocol/im2/cap.h"
#include "protocol/im2/record.h"

static bool listens(const struct conn *c)
{
	const struct pin *pin = c->online && !c->closing && c->peer ? pins_get(c->node->p.pins, &c->peer->id) : NULL;

	return pin && pin->state == PIN_TRUSTED;
}

static void tell(struct conn *c, struct bytes record)
{
	if (im2_link_item(c->session, IM2_ITEM_RECORD, record) == ERR_OK)
		conn_pump_later(c);
}

/* The next generation of our record. */
static bool write_record(struct caps *k)
{
	struct bytes names[CAPS_MAX];
	const char *p = k->own.text;
	struct buf body, record;
	bool good;

	for (unsigned i = 0; i < k->own.n; i++, p += strlen(p) + 1)
		names[i] = bytes_str(p);
	buf_init(&body, IM2_RECORD_T_MAX);
	buf_init(&record, IM2_RECORD_MAX);
	good = im2_cap_write(names, k->own.n, &body) == IM2_FINE && body.err == ERR_OK &&
	       records_issue(k->node, IM2_REC_CAP_T, CAPS_LIFE_MS / 1000, buf_bytes(&body), &record) == ERR_OK;
	if (good) {
		buf_reset(&k->record);
		buf_add(&k->record, buf_bytes(&record));
		good = k->record.err == ERR_OK;
	}
	buf_fini(&body);
	buf_fini(&record);
	return good;
}

static void wake_at(struct caps *k, uint64_t at_ms)
{
	if (!timer_armed(&k->timer) || k->timer.at_ms > at_ms)
		timer_at(k->node->env, &k->timer, at_ms);
}

void caps_changed(struct caps *k)
{
	uint64_t now = env_now(k->node->env), at = now + CAPS_SOON_MS;

	k->changed = true;
	if (k->announced_ms && at < k->announced_ms - 1 + CAPS_APART_MS)
		at = k->announced_ms - 1 + CAPS_APART_MS;
	wake_at(k, at);
}

void caps_due(void *ctx)
{
	struct caps *k = ctx;
	struct node *n = k->node;
	uint64_t now = env_now(n->env);
	bool audience = false;

	/* Who has nothing to say and never had says nothing; a set that became empty is withdrawn. */
	if (!k->own.n && !k->said && n->c.routing != ROUTING_RELAY)
		return;
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next)
		audience |= listens(list_entry(l, struct conn, link));
	if (!audience) {
		k->record_ms = 0; /* made anew for the next session, or for who is approved in this one */
		if (n->online)
			wake_at(k, now + CAPS_AGAIN_MS);
		return;
	}
	k->said |= k->own.n > 0;
	if (k->said && n->records) {
		if (!write_record(k))
			log_warn("capabilities-not-announced");
		else
			k->record_ms = now + 1;
	}
	k->announced_ms = now + 1;
	k->changed = false;
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		if (!listens(c))
			continue;
		if (!c->im2)
			caps09_tell(k, c);
		else if (k->record_ms)
			tell(c, buf_bytes(&k->record));
	}
	wake_at(k, now + CAPS_AGAIN_MS);
}

struct pass {
	struct conn *c;
	unsigned left;
};

static bool pass_on(void *ctx, struct bytes key, void *value)
{
	struct pass *p = ctx;
	const struct cap_set *s = value;
	struct node *n = p->c->node;
	struct node_id who = { 0 };
	const struct pin *pin;
	struct bytes raw;

	memcpy(who.hex, key.p, NODE_ID_LEN);
	pin = pins_get(n->p.pins, &who);
	if (!p->left || !s->gen || !pin || s->expires_ms <= env_now(n->env) || node_id_eq(&who, &p->c->peer->id))
		return true;
	raw = records_get(n, pin->ed, IM2_REC_CAP_T);
	if (raw.n) {
		tell(p->c, raw);
		p->left--;
	}
	return true;
}

void caps_online(struct conn *c)
{
	struct caps *k = c->node->caps;
	struct pass p = { .c = c, .left = CAPS_PASS_BURST };

	if (!k || !listens(c))
		return;
	k->said |= k->own.n > 0;
	if (!c->im2) {
		caps09_tell(k, c);
	} else {
		if (k->own.n && !k->record_ms && c->node->records && write_record(k))
			k->record_ms = env_now(c->node->env) + 1;
		if (k->record_ms)
			tell(c, buf_bytes(&k->record));
		if (c->node->c.routing == ROUTING_RELAY)
			map_each(k->sets, pass_on, &p);
	}
	if (!timer_armed(&k->timer))
		wake_at(k, env_now(c->node->env) + (k->changed ? CAPS_SOON_MS : CAPS_AGAIN_MS));
}

void caps_pass(struct conn *from, const struct im2_record *rec)
{
	struct node *n = from->node;

	if (n->c.routing != ROUTING_RELAY || !bucket_take(&n->caps->passes, 1, env_now(n->env)))
		return; /* it is said again within a minute */
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		if (c != from && c->im2 && listens(c) && listens(from))
			tell(c, rec->raw);
	}
}

void caps_again(struct node *n)
{
	if (n->caps)
		caps_changed(n->caps);
}
