/*
 * discovery_card.c -- signed cards (im2.md 13.3, type 9): where we listen, told to trusted peers, and the cards of trusted
 * identities passed on, so that a network without multicast works. What they say are hints.
 */
#include "daemon/discovery_internal.h"
#include "daemon/records_internal.h"

#include "base/text.h"
#include "protocol/im2/record.h"

#define LIFE_S 2592000u
#define FRESH_MS (LIFE_S / 2 * UINT64_C(1000)) /* issued anew at half of its life */
#define EACH_MS 1000             /* between two cards of others to one peer: half of what it takes (18.3) */
#define NAME_BYTES 64

/* The first session of a peer makes it; who is not trusted is told nothing and asked nothing. */
struct hint_peer *hint_peer(struct discovery *d, const struct conn *c)
{
	bool created;
	void *v;

	if (!c->im2 || c->closing || !c->peer || !hint_trusted(d, &c->peer->id))
		return NULL;
	return map_put(d->peers, bytes_of(c->peer->id.hex, NODE_ID_LEN), 0, &v, &created) == ERR_OK ? v : NULL;
}

void hint_exchange_soon(struct discovery *d)
{
	if (!d->node->stopping)
		timer_in(d->node->env, &d->exchange_timer, 0);
}

/* --- ours ----------------------------------------------------------------------------------------------------- */
static void issue(struct discovery *d)
{
	struct node *n = d->node;
	struct im2_fields f = { .schema = &im2_card };
	struct buf body, list;
	enum err e = ERR_NOMEM;

	buf_init(&body, 2048);
	buf_init(&list, 1024);
	for (size_t i = 0; i < d->endpoints_n; i++)
		im2_lv_add(&list, bytes_str(d->endpoints[i]));
	im2_set_b(&f, IM2_CARD_X25519, bytes_of(keyring_x25519(n->p.keyring), X25519_BYTES));
	im2_set_b(&f, IM2_CARD_BINDING, bytes_of(keyring_binding(n->p.keyring), SIG_BYTES));
	if (n->c.name[0])
		im2_set_b(&f, IM2_CARD_NAME, bytes_str(n->c.name));
	im2_set_b(&f, IM2_CARD_ENDPOINTS, buf_bytes(&list));
	f.v[IM2_CARD_ENDPOINTS].u = d->endpoints_n;
	if (list.err == ERR_OK)
		im2_write(&im2_card, &f, &body);
	buf_reset(&d->card);
	if (list.err == ERR_OK && body.err == ERR_OK)
		e = records_issue(n, IM2_REC_CARD_T, LIFE_S, buf_bytes(&body), &d->card);
	buf_fini(&body);
	buf_fini(&list);
	d->card_ms = env_now(n->env);
	if (e == ERR_OK)
		return;
	buf_reset(&d->card);
	log_warn("card-not-issued err=%s", err_word(e));
}

static bool greet_again(void *ctx, struct bytes key, void *value)
{
	(void)ctx, (void)key;
	((struct hint_peer *)value)->greeted = false;
	return true;
}

static bool card_current(struct discovery *d)
{
	if (discovery_off(d) || !d->node->records)
		return false;
	if (!d->card_due && (!d->card.n || env_now(d->node->env) - d->card_ms < FRESH_MS))
		return d->card.n > 0;
	d->card_due = false;
	issue(d);
	map_each(d->peers, greet_again, NULL);
	return d->card.n > 0;
}

void node_set_endpoints(struct node *n, const char (*endpoints)[HINT_ADDRESS_LEN], size_t count)
{
	struct discovery *d = n->discovery;
	bool same;

	if (!d)
		return;
	count = count < DISCOVERY_ENDPOINTS_MAX ? count : DISCOVERY_ENDPOINTS_MAX;
	same = count == d->endpoints_n;
	for (size_t i = 0; same && i < count; i++)
		same = strcmp(d->endpoints[i], endpoints[i]) == 0;
	if (same)
		return;
	for (size_t i = 0; i < count; i++)
		snprintf(d->endpoints[i], sizeof d->endpoints[i], "%s", endpoints[i]);
	d->endpoints_n = count;
	d->card_due = count > 0 || d->card.n > 0;
	hint_exchange_soon(d);
	/* Another network: what could not be reached may be near now. */
	discovery_dial_retry(n);
}

void discovery_again(struct node *n)
{
	struct discovery *d = n->discovery;

	if (!d || !d->card.n)
		return;
	d->card_due = true;
	hint_exchange_soon(d);
}

/* --- theirs ------------------------------------------------------------------------------------------------------ */
size_t hint_card_read(const struct im2_record *rec, char out[static HINT_ADDRESSES][HINT_ADDRESS_LEN],
		      char name[static NAME_MAX_CHARS + 1])
{
	struct im2_fields f;
	struct bytes list, one;
	size_t n = 0;

	name[0] = 0;
	if (im2_parse(&im2_card, rec->body, &f) != IM2_FINE)
		return 0;
	if (im2_has(&f, IM2_CARD_NAME) && name_valid(f.v[IM2_CARD_NAME].b))
		snprintf(name, NAME_MAX_CHARS + 1, "%.*s", (int)f.v[IM2_CARD_NAME].b.n, (const char *)f.v[IM2_CARD_NAME].b.p);
	list = im2_has(&f, IM2_CARD_ENDPOINTS) ? f.v[IM2_CARD_ENDPOINTS].b : (struct bytes){ 0 };
	while (n < HINT_ADDRESSES && list.n && im2_lv_take(&list, &one) == IM2_FINE)
		if (one.n < HINT_ADDRESS_LEN)
			snprintf(out[n++], HINT_ADDRESS_LEN, "%.*s", (int)one.n, (const char *)one.p);
	return n;
}

static bool pass(struct discovery *d, struct conn *c, const struct im2_record *rec)
{
	struct node_id author;

	node_id_of(rec->author, &author);
	/* Nobody needs to be told where he is, and where we are is told by greeting. */
	return !node_id_eq(&author, &c->peer->id) && hint_trusted(d, &author) && records_send(c, IM2_ITEM_RECORD, rec->raw);
}

void discovery_card(struct conn *c, const struct im2_record *rec)
{
	struct node *n = c->node;
	struct discovery *d = n->discovery;
	const struct pin *pin = d && n->records ? records_pin(n->records, rec->author) : NULL;
	struct node_id from = c->peer->id;
	struct hint *h;

	/* The records of others keep it; should its author be trusted one day, it is read then. */
	if (!pin || pin->state != PIN_TRUSTED || discovery_off(d))
		return;
	records_keep(n->records, rec);
	hints_of_pin(d, pin);
	hint_dial_soon(d);
	h = hint_find(d, HINT_CARD, pin->id.hex);
	if (h && !bucket_take(&h->passed, 1, env_now(n->env)))
		return; /* the sessions that begin later hear of it */
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *o = list_entry(l, struct conn, link);

		if (o->online && !node_id_eq(&o->peer->id, &from) && hint_peer(d, o))
			(void)pass(d, o, rec);
	}
}

/* --- the exchange ------------------------------------------------------------------------------------------------- */
/* One card of others that this peer was not told in this session. False: there are no more. */
static bool tell_next(struct discovery *d, struct conn *c, struct hint_peer *p)
{
	struct node *n = d->node;

	for (; p->cursor < d->hints_n; p->cursor++) {
		const struct hint *h = d->hints[p->cursor];
		const struct pin *pin = h->source == HINT_CARD ? pins_get(n->p.pins, &h->id) : NULL;
		struct bytes raw = pin ? records_get(n, pin->ed, IM2_REC_CARD_T) : (struct bytes){ 0 };
		struct im2_record rec;

		if (raw.n && im2_record_parse(raw, &rec) == IM2_FINE && pass(d, c, &rec)) {
			p->cursor++;
			return true;
		}
	}
	return false;
}

static uint64_t exchange(struct discovery *d, struct conn *c, struct hint_peer *p)
{
	uint64_t now = env_now(d->node->env), next = hint_key_ask(d, c, p);

	if (!p->greeted && card_current(d))
		p->greeted = records_send(c, IM2_ITEM_RECORD, buf_bytes(&d->card));
	if (tell_next(d, c, p) && now + EACH_MS < next)
		next = now + EACH_MS;
	return next;
}

static void again_at(struct discovery *d, uint64_t at)
{
	uint64_t now = env_now(d->node->env);

	if (at == UINT64_MAX)
		return;
	at = at > now ? at : now + EACH_MS;
	if (!timer_armed(&d->exchange_timer) || at < d->exchange_timer.at_ms)
		timer_at(d->node->env, &d->exchange_timer, at);
}

/* One session alone: a node that comes back has thousands at once. */
void hint_exchange_begin(struct discovery *d, struct conn *c)
{
	struct hint_peer *p = discovery_off(d) ? NULL : hint_peer(d, c);

	if (p)
		again_at(d, exchange(d, c, p));
}

void hint_exchange_due(void *ctx)
{
	struct discovery *d = ctx;
	struct node *n = d->node;
	uint64_t next = UINT64_MAX;
	struct list *l, *after;

	if (n->stopping || discovery_off(d))
		return;
	hints_known(d);
	if (card_current(d))
		next = d->card_ms + FRESH_MS;
	for (l = n->conns_list.next; l != &n->conns_list; l = after) {
		struct conn *c = list_entry(l, struct conn, link);
		struct hint_peer *p;
		uint64_t at;

		after = l->next;
		p = c->online ? hint_peer(d, c) : NULL;
		if (!p)
			continue;
		at = exchange(d, c, p);
		next = at < next ? at : next;
	}
	again_at(d, next);
}
