/*
 * discovery_card.c -- peer exchange: what trusted peers say of where they, and others whom they trust, can be reached
 * (im2.md 13.3, CARD). Signed by whom it is about; a hint like any other.
 */
#include "daemon/discovery_internal.h"

#include "protocol/im2/record.h"
#include "protocol/im2/schema.h"

#define CARD_LIFE_S 2592000
#define CARDS_MAX 64
#define ENDPOINT_MAX 128

void node_set_endpoints(struct node *n, const char (*endpoints)[80], size_t count)
{
	struct discovery *d = n->discovery;

	if (!d)
		return;
	d->endpoints_n = count < HINT_ADDRESSES ? count : HINT_ADDRESSES;
	memcpy(d->endpoints, endpoints, d->endpoints_n * sizeof d->endpoints[0]);
	buf_reset(&d->card);
}

static bool make_card(struct discovery *d)
{
	struct node *n = d->node;
	struct im2_fields f = { .schema = &im2_card };
	struct buf list, body;
	bool good;

	if (d->card.n)
		return true;
	if (!d->endpoints_n || !n->records)
		return false;
	buf_init(&list, HINT_ADDRESSES * (ENDPOINT_MAX + 2));
	buf_init(&body, 4096);
	for (size_t i = 0; i < d->endpoints_n; i++)
		im2_lv_add(&list, bytes_str(d->endpoints[i]));
	im2_set_b(&f, IM2_CARD_X25519, bytes_of(keyring_x25519(n->p.keyring), X25519_BYTES));
	im2_set_b(&f, IM2_CARD_BINDING, bytes_of(keyring_binding(n->p.keyring), SIG_BYTES));
	im2_set_b(&f, IM2_CARD_NAME, bytes_str(n->c.name));
	im2_set_b(&f, IM2_CARD_ENDPOINTS, buf_bytes(&list));
	im2_write(&im2_card, &f, &body);
	good = list.err == ERR_OK && body.err == ERR_OK &&
	       records_issue(n, IM2_REC_CARD_T, CARD_LIFE_S, buf_bytes(&body), &d->card) == ERR_OK;
	if (!good)
		buf_reset(&d->card);
	buf_fini(&list);
	buf_fini(&body);
	return good;
}

static void tell(struct conn *c, struct bytes card)
{
	if (im2_link_item(c->session, IM2_ITEM_RECORD, card) == ERR_OK)
		conn_pump_later(c);
}

void discovery_again(struct node *n)
{
	struct discovery *d = n->discovery;

	if (!d)
		return;
	buf_reset(&d->card);
	for (struct list *l = n->conns_list.next; l != &n->conns_list && make_card(d); l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		if (c->im2 && !c->closing && c->peer && discovery_trusts(n, &c->peer->id))
			tell(c, buf_bytes(&d->card));
	}
}

struct telling {
	struct conn *c;
	unsigned left;
};

static bool tell_one(void *ctx, const struct pin *pin)
{
	struct telling *t = ctx;
	struct bytes card;

	if (pin->state != PIN_TRUSTED || node_id_eq(&pin->id, &t->c->peer->id))
		return true;
	card = records_get(t->c->node, pin->ed, IM2_REC_CARD_T);
	if (card.n) {
		tell(t->c, card);
		t->left--;
	}
	return t->left > 0;
}

void discovery_tell_cards(struct conn *c)
{
	struct discovery *d = c->node->discovery;
	struct telling t = { .c = c, .left = CARDS_MAX };

	if (make_card(d))
		tell(c, buf_bytes(&d->card));
	pins_each(c->node->p.pins, tell_one, &t);
}

void discovery_card(struct conn *c, const struct im2_record *rec)
{
	struct node *n = c->node;
	struct discovery *d = n->discovery;
	char addresses[HINT_ADDRESSES][HINT_ADDRESS], key[HINT_KEY];
	struct im2_fields f;
	struct bytes list, one;
	struct node_id author;
	struct hint *h;
	uint64_t share;
	size_t count = 0;

	node_id_of(rec->author, &author);
	if (!d || !discovery_trusts(n, &c->peer->id) || !discovery_trusts(n, &author) ||
	    im2_parse(&im2_card, rec->body, &f) != IM2_FINE)
		return;
	list = f.v[IM2_CARD_ENDPOINTS].b;
	while (count < HINT_ADDRESSES && list.n && im2_lv_take(&list, &one) == IM2_FINE) {
		if (one.n >= HINT_ADDRESS || memchr(one.p, 0, one.n))
			continue;
		memcpy(addresses[count], one.p, one.n);
		addresses[count++][one.n] = '\0';
	}
	memcpy(&share, c->peer->id.hex, sizeof share);
	snprintf(key, sizeof key, "c:%s", author.hex);
	h = count ? hint_put(d, key, HINT_CARD, share) : NULL;
	if (!h)
		return;
	h->has_id = true;
	h->id = author;
	hint_addresses(h, (const char(*)[HINT_ADDRESS])addresses, count);
	discovery_look(d, h);
	/* Whom we trust both knows and wants to know: on to the others, once. */
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *o = list_entry(l, struct conn, link);

		if (o != c && o->im2 && !o->closing && o->peer && discovery_trusts(n, &o->peer->id) &&
		    !node_id_eq(&o->peer->id, &author))
			tell(o, rec->raw);
	}
}
