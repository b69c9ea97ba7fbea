/* discovery_key.c -- the key of the fleet: kept, handed on to trusted peers, and what follows from it on the air (im2.md 15.5). */
#include "daemon/discovery_internal.h"

#include "base/text.h"
#include "protocol/im2/schema.h"
#include "store/kv.h"

#define SPACE_DISCOVERY "discovery"
#define KEY BYTES_LIT("key")
#define HOUR_MS 3600000
#define TAGS_AGAIN_MS 10000
#define ASK_AGAIN_MS 60000
#define CALL_NAME "im2.disc"
#define NOT_FOUND 1
enum { OPEN_CALL, OPEN_NAME, OPEN_LAST = 10 };
enum { END_CALL, END_STATUS, END_BODY = 4 };
enum { RERR_CALL, RERR_STATUS };

/* --- the key -------------------------------------------------------------------------------------------------- */
enum err discovery_key_load(struct discovery *d)
{
	struct buf b;
	enum err e;

	buf_init(&b, KV_VALUE_MAX);
	e = store_kv_get(d->node->p.store, SPACE_DISCOVERY, KEY, &b);
	if (e == ERR_OK && b.n == IM2_DISC_BYTES) {
		memcpy(d->disc, b.p, IM2_DISC_BYTES);
		d->has_key = true;
	}
	buf_wipe(&b);
	buf_fini(&b);
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

enum err discovery_key_get(struct node *n, uint8_t out[static IM2_DISC_BYTES])
{
	if (!n->discovery || !n->discovery->has_key)
		return ERR_NOTFOUND;
	memcpy(out, n->discovery->disc, IM2_DISC_BYTES);
	return ERR_OK;
}

enum err discovery_key_set(struct node *n, const uint8_t disc[static IM2_DISC_BYTES])
{
	struct discovery *d = n->discovery;
	enum err e;

	if (!d)
		return ERR_OK; /* nothing here is found by it */
	e = store_kv_put(n->p.store, SPACE_DISCOVERY, KEY, bytes_of(disc, IM2_DISC_BYTES));
	if (e != ERR_OK) {
		node_store_failed(n);
		return e;
	}
	node_store_hard(n);
	memcpy(d->disc, disc, IM2_DISC_BYTES);
	d->has_key = true;
	d->tags_ms = 0;
	if (d->changed)
		d->changed(d->changed_ctx);
	return ERR_OK;
}

enum err discovery_key_ensure(struct node *n, uint8_t out[static IM2_DISC_BYTES])
{
	uint8_t fresh[IM2_DISC_BYTES];
	enum err e = discovery_key_get(n, out);

	if (e != ERR_NOTFOUND || !n->discovery)
		return e;
	env_random(n->env, fresh, sizeof fresh);
	e = discovery_key_set(n, fresh);
	memcpy(out, fresh, sizeof fresh);
	wipe(fresh, sizeof fresh);
	return e;
}

/* --- whom a tag names ------------------------------------------------------------------------------------------- */
struct tagging {
	struct discovery *d;
	uint64_t hour;
};

static bool add_tag(void *ctx, const struct pin *pin)
{
	struct tagging *g = ctx;
	uint8_t t[IM2_TAG_BYTES];
	bool created;
	void *v;

	if (pin->state != PIN_TRUSTED)
		return true;
	im2_tag_node(g->d->disc, &pin->id, g->hour, t);
	if (map_put(g->d->tags, BYTES_ARR(t), 0, &v, &created) == ERR_OK)
		memcpy(v, &pin->id, sizeof pin->id);
	return true;
}

/* Of this hour and its neighbours: clocks differ, and an hour ends while a record lives. */
static void make_tags(struct discovery *d)
{
	struct node *n = d->node;
	uint64_t now = env_now(n->env), hour = env_wall(n->env) / HOUR_MS;
	const struct policy *p = n->c.policy;

	if (d->tags_ms && d->tags_hour == hour && now - (d->tags_ms - 1) < TAGS_AGAIN_MS)
		return;
	d->tags_ms = now + 1;
	d->tags_hour = hour;
	map_clear(d->tags);
	for (uint64_t h = hour - 1; h <= hour + 1; h++) {
		struct tagging g = { .d = d, .hour = h };

		pins_each(n->p.pins, add_tag, &g);
		for (size_t i = 0; i < p->allowed_count; i++) {
			struct pin named = { .state = PIN_TRUSTED };

			if (node_id_parse(bytes_str(p->allowed[i]), &named.id) == ERR_OK)
				(void)add_tag(&g, &named);
		}
	}
}

bool discovery_member(struct discovery *d, const struct hint *h, struct node_id *id)
{
	uint64_t hour = env_wall(d->node->env) / HOUR_MS;
	bool ours = false;
	void *v;

	if (!d->has_key || !h->has_tags)
		return false;
	for (uint64_t k = hour - 1; k <= hour + 1 && !ours; k++) {
		uint8_t m[IM2_TAG_BYTES];

		im2_tag_mesh(d->disc, h->i, k, m);
		ours = memcmp(m, h->m, sizeof m) == 0;
	}
	if (!ours)
		return false;
	make_tags(d);
	v = map_peek(d->tags, BYTES_ARR(h->t));
	if (v)
		memcpy(id, v, sizeof *id);
	return v != NULL;
}

/* --- on the air --------------------------------------------------------------------------------------------------- */
bool discovery_publishes_fleet(const struct discovery *d)
{
	enum discovery_scope s = d->node->c.discovery;

	return d->has_key && (s == SCOPE_AUTO || s == SCOPE_FLEET || s == SCOPE_BOTH);
}

bool discovery_publishes_public(const struct discovery *d)
{
	enum discovery_scope s = d->node->c.discovery;

	if (d->node->c.policy->im2 == IM2_REQUIRE)
		return false; /* whoever speaks im2 alone names nobody on the air (15.5) */
	return s == SCOPE_PUBLIC || s == SCOPE_BOTH || (s == SCOPE_AUTO && !d->has_key);
}

void discovery_publication(struct node *n, struct discovery_publication *out)
{
	struct discovery *d = n->discovery;
	uint64_t wall = env_wall(n->env), hour = wall / HOUR_MS;

	memset(out, 0, sizeof *out);
	out->until_ms = env_now(n->env) + HOUR_MS - wall % HOUR_MS + 1000;
	if (!d)
		return;
	out->fleet = discovery_publishes_fleet(d);
	out->is_public = discovery_publishes_public(d);
	memcpy(out->instance, d->instance, sizeof out->instance);
	if (!out->fleet)
		return;
	memcpy(out->i, d->i, sizeof out->i);
	im2_tag_mesh(d->disc, d->i, hour, out->m);
	im2_tag_node(d->disc, keyring_id(n->p.keyring), hour, out->t);
}

void discovery_watch(struct node *n, void (*changed)(void *ctx), void *ctx)
{
	if (!n->discovery)
		return;
	n->discovery->changed = changed;
	n->discovery->changed_ctx = ctx;
}

/* --- im2.disc ------------------------------------------------------------------------------------------------------- */
static void say(struct conn *c, uint16_t tag, const struct im2_schema *s, const struct im2_fields *f)
{
	struct buf b;

	buf_init(&b, 512);
	im2_write(s, f, &b);
	if (b.err == ERR_OK && im2_link_item(c->session, tag, buf_bytes(&b)) == ERR_OK)
		conn_pump_later(c);
	buf_wipe(&b);
	buf_fini(&b);
}

void discovery_ask_key(struct conn *c)
{
	struct discovery *d = c->node->discovery;
	struct im2_fields f = { .schema = &im2_open };
	uint64_t now = env_now(c->node->env);

	if (d->has_key || now < d->ask_ms)
		return;
	d->ask_ms = now + ASK_AGAIN_MS;
	/* Even when we dialled, odd otherwise (14.1). */
	d->call = 2 * ++d->calls + !c->dialled;
	d->asked = c->peer->id;
	im2_set_u(&f, OPEN_CALL, d->call);
	im2_set_b(&f, OPEN_NAME, BYTES_LIT(CALL_NAME));
	im2_set_b(&f, OPEN_LAST, bytes_of("", 0));
	say(c, IM2_ITEM_OPEN, &im2_open, &f);
}

static void answer(struct conn *c, struct discovery *d, const struct im2_fields *open)
{
	struct im2_fields f = { 0 };
	bool good = d && d->has_key && discovery_trusts(c->node, &c->peer->id) &&
		    bytes_eq(open->v[OPEN_NAME].b, BYTES_LIT(CALL_NAME));

	/* Who may not ask, and what is not there, look alike (14.4). */
	if (good) {
		f.schema = &im2_end;
		im2_set_u(&f, END_CALL, open->v[OPEN_CALL].u);
		im2_set_b(&f, END_BODY, BYTES_ARR(d->disc));
		say(c, IM2_ITEM_END, &im2_end, &f);
	} else {
		f.schema = &im2_rerr;
		im2_set_u(&f, RERR_CALL, open->v[OPEN_CALL].u);
		im2_set_u(&f, RERR_STATUS, NOT_FOUND);
		say(c, IM2_ITEM_RERR, &im2_rerr, &f);
	}
}

void discovery_call(struct conn *c, const struct session_event *e)
{
	struct discovery *d = c->node->discovery;
	struct im2_fields f;

	if (!c->peer || c->closing)
		return;
	if (e->tag == IM2_ITEM_OPEN) {
		if (im2_parse(&im2_open, e->item, &f) == IM2_FINE)
			answer(c, d, &f);
		return;
	}
	if (!d || !d->call || !node_id_eq(&d->asked, &c->peer->id) || e->tag != IM2_ITEM_END ||
	    im2_parse(&im2_end, e->item, &f) != IM2_FINE || f.v[END_CALL].u != d->call)
		return;
	d->call = 0;
	if (d->has_key || f.v[END_STATUS].u != 0 || f.v[END_BODY].b.n != IM2_DISC_BYTES ||
	    !discovery_trusts(c->node, &c->peer->id))
		return;
	if (discovery_key_set(c->node, f.v[END_BODY].b.p) == ERR_OK) {
		log_info("discovery-key-taken from=%s", c->peer->id.hex);
		audit_note(c->node->p.audit, "DISCOVERY_KEY", bytes_str(c->peer->id.hex), "peer_id", c->peer->id.hex, NULL);
	}
}
