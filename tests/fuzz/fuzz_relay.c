/* rooms: daemon transports store protocol trust base */
/*
 * A relay between two neighbours, all three real nodes that live as long as the process. The input is a list of operations:
 * objects, feedback and routes as they come or well formed, from either neighbour, and time. What must always hold: the relay
 * keeps no more than it may, gives nothing back to who brought it, forwards nothing that has no way, and stays connected.
 */
#define CMOCKA_H_ /* the world of the unit tests, judged by BUG_ON() */
#define assert_int_equal(a, b) BUG_ON((a) != (b))
#define assert_non_null(a) BUG_ON(!(a))
#define assert_null(a) BUG_ON(a)
#define assert_true(a) BUG_ON(!(a))
#include "base/wire.h"
#include "tests/lib/daemon_world.c"

#include "base/log.h"
#include "base/text.h"
#include "daemon/records.h"
#include "daemon/relay.h"
#include "daemon/routes.h"
#include "protocol/im2/record.h"
#include "protocol/im2/schema.h"
#include "protocol/im2/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *at, *end;
static struct world *w;
static struct side *left, *relay, *right;
static uint8_t last_rid[16];

static uint8_t next(void)
{
	return at < end ? *at++ : 0;
}

static struct bytes some(size_t max)
{
	size_t n = next();
	struct bytes b;

	n = n < max ? n : max;
	n = n < (size_t)(end - at) ? n : (size_t)(end - at);
	b = bytes_of(at, n);
	at += n;
	return b;
}

static void meet(struct side *a, struct side *b)
{
	if (side_conn(a, b))
		return;
	(void)!node_add_target(a->node, b->address, NULL);
	node_dial_all(a->node);
	for (int i = 0; i < 200 && !side_conn(a, b); i++)
		world_pass(w, 2000);
	BUG_ON(!side_conn(a, b));
}

static void over(void)
{
	void *state = w;

	(void)world_teardown(&state);
}

static void begin(void)
{
	struct log_config quiet = { .level = LOG_ERROR };
	void *state;

	log_setup(&quiet);
	BUG_ON(world_setup(&state) != 0);
	w = state;
	left = &w->side[0];
	relay = &w->side[1];
	right = &w->side[2];
	for (int i = 0; i < 3; i++) {
		side_stop(&w->side[i]);
		w->side[i].routing = ROUTING_RELAY;
		side_start(&w->side[i]);
	}
	side_stop(&w->side[3]);
	side_know(left, relay);
	side_know(relay, right);
	(void)!atexit(over);
}

static void item(struct side *from, uint16_t tag, struct bytes value)
{
	struct conn *c = side_conn(from, relay);

	if (c && im2_link_item(c->session, tag, value) == ERR_OK)
		conn_pump_later(c);
}

static void structured(struct side *from, uint8_t how)
{
	struct im2_rt rt = { .ttl_s = 1 + (uint32_t)next() * 20, .prio = how & 3 };
	struct im2_fields f = { .schema = &im2_routed };
	const struct node_id *to[4] = { side_id(left), side_id(right), side_id(relay), NULL };
	struct buf head, value;
	struct bytes body;
	uint8_t x = next();

	memset(rt.to, x, sizeof rt.to);
	if (to[how >> 2 & 3])
		(void)!hex_decode(bytes_of(to[how >> 2 & 3]->hex, NODE_ID_LEN), rt.to, sizeof rt.to);
	body = some(64);
	buf_init(&head, IM2_RT_MAX);
	buf_init(&value, 1000);
	im2_rt_write(&rt, &head);
	im2_set_b(&f, IM2_ROUTED_RT, buf_bytes(&head));
	im2_set_b(&f, IM2_ROUTED_BODY, body.n ? body : BYTES_LIT("x"));
	im2_set_u(&f, IM2_ROUTED_HOPS, x & 15);
	im2_set_u(&f, IM2_ROUTED_AGE, x);
	im2_write(&im2_routed, &f, &value);
	im2_rid(buf_bytes(&head), body.n ? body : BYTES_LIT("x"), last_rid);
	if (value.err == ERR_OK)
		item(from, IM2_ITEM_ROUTED, buf_bytes(&value));
	buf_fini(&head);
	buf_fini(&value);
}

static void feedback(struct side *from, uint8_t code)
{
	struct im2_fields f = { .schema = &im2_routefb };
	struct buf b;

	buf_init(&b, 64);
	im2_set_b(&f, IM2_ROUTEFB_RID, BYTES_ARR(last_rid));
	im2_set_u(&f, IM2_ROUTEFB_CODE, code ? code : 1);
	im2_set_u(&f, IM2_ROUTEFB_RETRY, (uint64_t)code << 40);
	im2_write(&im2_routefb, &f, &b);
	if (b.err == ERR_OK)
		item(from, IM2_ITEM_ROUTEFB, buf_bytes(&b));
	buf_fini(&b);
}

/* Somebody's own record, at any distance, or with a bit turned. */
static void advert(struct side *from, uint8_t how)
{
	struct side *of = how & 1 ? left : how & 2 ? right : relay;
	struct bytes held = records_get(from->node, keyring_ed(of->keyring), IM2_REC_ROUTE_T);
	struct im2_fields f = { .schema = &im2_routeadv };
	uint8_t record[1024];
	struct buf b;

	if (!held.n || held.n > sizeof record)
		return;
	memcpy(record, held.p, held.n);
	if (how & 128)
		record[next() % held.n] ^= 1;
	buf_init(&b, 2000);
	im2_set_b(&f, IM2_ROUTEADV_RECORD, bytes_of(record, held.n));
	im2_set_u(&f, IM2_ROUTEADV_HOPS, how >> 2 & 15);
	if (how & 64)
		im2_set_u(&f, IM2_ROUTEADV_COST, (uint64_t)how << 32);
	im2_write(&im2_routeadv, &f, &b);
	if (b.err == ERR_OK)
		item(from, IM2_ITEM_ROUTEADV, buf_bytes(&b));
	buf_fini(&b);
}

static void request(struct side *from, uint8_t how)
{
	struct node_id id = *side_id(how & 1 ? left : how & 2 ? right : relay);
	struct buf b;

	buf_init(&b, 128);
	im2_recreq_write(&id, how & 4 ? IM2_REC_ROUTE_T : IM2_REC_PREKEY_T, (struct bytes){ 0 }, how >> 3, &b);
	if (b.err == ERR_OK)
		item(from, IM2_ITEM_RECREQ, buf_bytes(&b));
	buf_fini(&b);
}

static void judge(void)
{
	struct relay_view v;

	relay_view(relay->node, &v);
	BUG_ON(v.kept_now > 2000 || v.kept_bytes > 32u << 20);
	BUG_ON(routes_count(relay->node) > 3);
	/* A route of a neighbour to itself never leads through the other. */
	struct conn *c = routes_next(relay->node, side_id(left), side_id(left));

	BUG_ON(c && node_id_eq(&c->peer->id, side_id(left)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 2048)
		return 0;
	if (!w)
		begin();
	at = data;
	end = data + size;
	meet(left, relay);
	meet(relay, right);
	world_pass(w, 660000); /* what earlier runs left is over */
	meet(left, relay);
	meet(relay, right);
	while (at < end) {
		uint8_t op = next(), how = next();
		struct side *from = op & 128 ? right : left;

		switch (op & 7) {
		case 0:
			item(from, IM2_ITEM_ROUTED, some(255));
			break;
		case 1:
			item(from, how & 1 ? IM2_ITEM_ROUTEFB : IM2_ITEM_ROUTEADV, some(255));
			break;
		case 2:
		case 3:
			structured(from, how);
			break;
		case 4:
			feedback(from, how);
			break;
		case 5:
			advert(from, how);
			break;
		case 6:
			request(from, how);
			break;
		default:
			world_pass(w, 1 + (uint64_t)how * 500);
			break;
		}
		world_pass(w, 1);
		judge();
	}
	world_pass(w, 500);
	BUG_ON(!side_conn(left, relay) || !side_conn(relay, right));
	return 0;
}
