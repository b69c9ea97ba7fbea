/*
 * discovery_key.c -- the key of the fleet: 32 random bytes that no passphrase can be tested against (im2.md 15.5), on disk,
 * and handed on between trusted peers by the call im2.disc. Every other call is unknown here.
 */
#include "daemon/discovery_internal.h"

#include "base/secret.h"
#include "store/kv.h"

#define SPACE "discovery"
#define KEY BYTES_LIT("key")
#define CALL_NAME BYTES_LIT("im2.disc")
#define ASK_FIRST_MS 4000 /* whoever asks before it is trusted there too has it soon after */
#define ASK_MAX_MS HOUR_MS

enum { OPEN_CALL, OPEN_NAME, OPEN_SHAPE, OPEN_ID, OPEN_DEADLINE, OPEN_HEADERS, OPEN_SCHEMA, OPEN_FLAGS, OPEN_CREDIT,
       OPEN_BODY, OPEN_LAST };
enum { END_CALL, END_STATUS, END_TEXT, END_HEADERS, END_BODY, END_TOTAL };
enum { RERR_CALL, RERR_STATUS };
#define RPC_NOT_FOUND 1

/* --- kept ---------------------------------------------------------------------------------------------------- */
enum err hint_key_load(struct discovery *d)
{
	struct buf b;
	enum err e;

	buf_init(&b, KV_VALUE_MAX);
	(void)!buf_reserve(&b, IM2_DISC_BYTES);
	e = store_kv_get(d->node->p.store, SPACE, KEY, &b);
	d->has_key = e == ERR_OK && b.n == sizeof d->key;
	if (d->has_key)
		memcpy(d->key, b.p, sizeof d->key);
	else
		wipe(d->key, sizeof d->key);
	buf_wipe(&b);
	buf_fini(&b);
	d->tags_stale = true;
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

bool discovery_has_key(const struct node *n)
{
	return n->discovery && n->discovery->has_key;
}

enum err discovery_key_get(struct node *n, uint8_t out[static IM2_DISC_BYTES])
{
	if (!discovery_has_key(n))
		return ERR_NOTFOUND;
	memcpy(out, n->discovery->key, IM2_DISC_BYTES);
	return ERR_OK;
}

enum err discovery_key_set(struct node *n, const uint8_t disc[static IM2_DISC_BYTES])
{
	struct discovery *d = n->discovery;
	enum err e;

	if (!d)
		return ERR_UNSUPPORTED;
	if (d->has_key && ct_equal(d->key, disc, IM2_DISC_BYTES))
		return ERR_OK;
	e = store_kv_put(n->p.store, SPACE, KEY, bytes_of(disc, IM2_DISC_BYTES));
	if (e != ERR_OK) {
		if (e == ERR_STORE)
			node_store_failed(n);
		return e;
	}
	node_store_hard(n);
	memcpy(d->key, disc, sizeof d->key);
	d->has_key = true;
	hints_match(d);
	log_info("discovery-key-set");
	discovery_changed(d);
	hint_dial_soon(d);
	return ERR_OK;
}

enum err discovery_key_ensure(struct node *n, uint8_t out[static IM2_DISC_BYTES])
{
	uint8_t fresh[IM2_DISC_BYTES];
	enum err e = discovery_key_get(n, out);

	if (e == ERR_NOTFOUND) {
		env_random(n->env, fresh, sizeof fresh);
		e = discovery_key_set(n, fresh);
		wipe(fresh, sizeof fresh);
	}
	/* Another may have set it in the group that is open. */
	if (e == ERR_OK)
		e = node_commit(n);
	return e == ERR_OK ? discovery_key_get(n, out) : e;
}

void discovery_rolled_back(struct node *n)
{
	struct discovery *d = n->discovery;
	bool had;

	if (!d)
		return;
	had = d->has_key;
	if (hint_key_load(d) != ERR_OK)
		log_error("discovery-key-not-read");
	if (had == d->has_key)
		return;
	hints_match(d);
	discovery_changed(d);
}

/* --- asked ---------------------------------------------------------------------------------------------------- */
static bool say(struct conn *c, uint16_t tag, const struct im2_schema *s, const struct im2_fields *f)
{
	struct buf b;
	enum err e;

	buf_init(&b, 512);
	(void)!buf_reserve(&b, 256); /* it does not move: nothing of the key is left elsewhere */
	im2_write(s, f, &b);
	e = b.err == ERR_OK ? im2_link_item(c->session, tag, buf_bytes(&b)) : b.err;
	buf_wipe(&b);
	buf_fini(&b);
	if (e == ERR_OK)
		conn_pump_later(c);
	return e == ERR_OK;
}

uint64_t hint_key_ask(struct discovery *d, struct conn *c, struct hint_peer *p)
{
	uint64_t now = env_now(d->node->env);
	struct im2_fields f = { .schema = &im2_open };

	if (d->has_key)
		return UINT64_MAX;
	if (now < p->ask_ms)
		return p->ask_ms;
	/* Never one number twice on a path (14.1); the one before is not waited for any more. */
	if (!p->next_call)
		p->next_call = c->dialled ? 2 : 1;
	p->call = p->next_call;
	p->next_call += 2;
	p->ask_ms = now + (p->asked < 10 ? (uint64_t)ASK_FIRST_MS << p->asked : ASK_MAX_MS);
	p->asked++;
	im2_set_u(&f, OPEN_CALL, p->call);
	im2_set_b(&f, OPEN_NAME, CALL_NAME);
	im2_set_u(&f, OPEN_SHAPE, 0);
	im2_set_b(&f, OPEN_LAST, (struct bytes){ 0 });
	if (!say(c, IM2_ITEM_OPEN, &im2_open, &f))
		p->call = 0;
	return p->ask_ms;
}

/* Unlisted and unknown look alike, and so does who holds no key (14.4). */
static void answer(struct discovery *d, struct conn *c, const struct im2_fields *open)
{
	uint64_t call = open->v[OPEN_CALL].u;
	struct im2_fields f = { .schema = &im2_end };

	if (bytes_eq(open->v[OPEN_NAME].b, CALL_NAME) && open->v[OPEN_SHAPE].u == 0 && im2_has(open, OPEN_LAST) &&
	    d->has_key && hint_trusted(d, &c->peer->id)) {
		im2_set_u(&f, END_CALL, call);
		im2_set_b(&f, END_BODY, BYTES_ARR(d->key));
		if (say(c, IM2_ITEM_END, &im2_end, &f))
			log_info("discovery-key-given peer=%s", c->peer->id.hex);
		return;
	}
	f.schema = &im2_rerr;
	im2_set_u(&f, RERR_CALL, call);
	im2_set_u(&f, RERR_STATUS, RPC_NOT_FOUND);
	(void)say(c, IM2_ITEM_RERR, &im2_rerr, &f);
}

static void answered(struct discovery *d, struct conn *c, struct hint_peer *p, const struct im2_fields *end)
{
	struct node *n = d->node;
	struct bytes key = end->v[END_BODY].b;

	if (!p || !p->call || end->v[END_CALL].u != p->call)
		return;
	p->call = 0;
	if (d->has_key || end->v[END_STATUS].u != 0 || end->v[END_TOTAL].u != 0 || !im2_has(end, END_BODY) ||
	    key.n != IM2_DISC_BYTES)
		return;
	if (discovery_key_set(n, key.p) == ERR_OK)
		audit_note(n->p.audit, "DISCOVERY_KEY_RECEIVED", bytes_str(c->peer->id.hex), "peer_id", c->peer->id.hex, NULL);
}

void discovery_call(struct conn *c, const struct session_event *e)
{
	struct discovery *d = c->node->discovery;
	struct hint_peer *p;
	struct im2_fields f;

	if (!d || c->closing || !c->peer || !c->im2)
		return;
	p = hint_peer(d, c);
	switch (e->tag) {
	case IM2_ITEM_OPEN:
		if (im2_parse(&im2_open, e->item, &f) == IM2_FINE)
			answer(d, c, &f);
		break;
	case IM2_ITEM_END:
		if (im2_parse(&im2_end, e->item, &f) == IM2_FINE)
			answered(d, c, p, &f);
		break;
	case IM2_ITEM_RERR:
		if (p && p->call && im2_parse(&im2_rerr, e->item, &f) == IM2_FINE && f.v[RERR_CALL].u == p->call)
			p->call = 0;
		break;
	default:
		break;
	}
}
