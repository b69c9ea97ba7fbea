/* rooms: daemon transports store protocol trust base */
/*
 * A node that hears services, cards and calls: a list of operations from the input, over nodes that live as long as the
 * process. What must always hold: the table keeps its bounds, nobody is dialled but who is wanted, no alarm is raised, no
 * stranger is written down, and the session goes on.
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
#include "daemon/discovery_internal.h"
#include "daemon/records.h"
#include "protocol/im2/record.h"
#include "protocol/im2/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *at, *end;
static struct world *w;
static struct side *us, *friend, *other;
static const uint8_t fleet[IM2_DISC_BYTES] = { 7 };

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

static void text(char *out, size_t cap)
{
	struct bytes b = some(cap - 1);

	memcpy(out, b.n ? b.p : (const uint8_t *)"", b.n);
	out[b.n] = 0;
}

static void meet(void)
{
	for (int i = 0; i < 200 && !side_conn(friend, us); i++)
		world_pass(w, 2000);
	BUG_ON(!side_conn(friend, us));
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
	us = &w->side[0];
	friend = &w->side[1];
	other = &w->side[2];
	side_stop(&w->side[3]);
	side_stop(us);
	us->discovery = SCOPE_AUTO;
	side_start(us);
	side_know(us, friend);
	BUG_ON(discovery_key_set(us->node, fleet) != ERR_OK);
	(void)!node_add_target(friend->node, us->address, NULL);
	node_dial_all(friend->node);
	node_dial_all(us->node);
	(void)!atexit(over);
}

/* --- operations -------------------------------------------------------------------------------------------- */
static void found(uint8_t how)
{
	struct discovery_service s = { .fleet = how & 1, .has_tags = how & 2 };
	char instance[64], agent[96], idhash[40], addresses[3][80];
	uint64_t hour = world_wall_ms(w) / HOUR;

	text(instance, sizeof instance);
	text(agent, sizeof agent);
	text(idhash, sizeof idhash);
	s.addresses_n = how >> 6;
	for (size_t i = 0; i < s.addresses_n; i++)
		text(addresses[i], sizeof addresses[i]);
	s.instance = instance;
	s.agent = how & 4 ? agent : NULL;
	s.idhash = how & 8 ? idhash : NULL;
	s.addresses = (const char(*)[80])addresses;
	env_random(us->node->env, s.i, sizeof s.i);
	if (how & 16)
		im2_tag_mesh(fleet, s.i, hour, s.m);
	/* As the friend, who is online, as somebody unknown, or as ourselves. */
	im2_tag_node(fleet, side_id(how & 32 ? friend : how & 4 ? other : us), hour, s.t);
	(void)discovery_found(us->node, &s);
	if (how & 128)
		discovery_lost(us->node, instance);
}

static void item(uint16_t tag, struct bytes value)
{
	struct conn *c = side_conn(friend, us);

	if (c && im2_link_item(c->session, tag, value) == ERR_OK)
		conn_pump_later(c);
}

/* A card of the friend's own, with whatever endpoints; or something that is none. */
static void card(uint8_t how)
{
	static uint64_t gen;
	struct im2_fields f = { .schema = &im2_card }, check;
	struct buf list, body, out;

	if (how & 8) {
		item(IM2_ITEM_RECORD, some(255));
		return;
	}
	buf_init(&list, 1024);
	buf_init(&body, 2048);
	buf_init(&out, IM2_RECORD_MAX);
	/* Put together by hand: the writer takes no bad text. */
	im2_set_b(&f, IM2_CARD_X25519, bytes_of(keyring_x25519(friend->keyring), X25519_BYTES));
	im2_set_b(&f, IM2_CARD_BINDING, bytes_of(keyring_binding(friend->keyring), SIG_BYTES));
	im2_write(&im2_card, &f, &body);
	for (unsigned i = 0; i < (how & 7); i++)
		im2_lv_add(&list, some(100));
	if (list.n) {
		im2_varint_add(&body, 6);
		im2_lv_add(&body, buf_bytes(&list));
	}
	if (list.err == ERR_OK && body.err == ERR_OK && im2_parse(&im2_card, buf_bytes(&body), &check) == IM2_FINE)
		im2_record_write(friend->keyring, IM2_REC_CARD_T, ++gen, world_wall_ms(w), 2592000, buf_bytes(&body), &out);
	if (out.n && out.err == ERR_OK)
		item(IM2_ITEM_RECORD, buf_bytes(&out));
	buf_fini(&list);
	buf_fini(&body);
	buf_fini(&out);
}

static void call(uint8_t how)
{
	static const uint16_t tags[] = { IM2_ITEM_OPEN, IM2_ITEM_END, IM2_ITEM_RERR };
	struct im2_fields f = { .schema = &im2_open };
	struct buf b;

	if (how & 4) {
		item(tags[how % 3], some(255));
		return;
	}
	buf_init(&b, 4096);
	im2_set_u(&f, 0, how);
	im2_set_b(&f, 1, how & 8 ? BYTES_LIT("im2.disc") : BYTES_LIT("im2.attest"));
	im2_set_u(&f, 2, how & 3);
	if (how & 16)
		im2_set_b(&f, 10, bytes_of("", 0));
	im2_write(&im2_open, &f, &b);
	item(IM2_ITEM_OPEN, buf_bytes(&b));
	buf_fini(&b);
}

static void judge(void)
{
	static struct discovery_view views[HINTS_MAX];
	struct discovery *d = us->node->discovery;
	const struct pin_alarm *alarms;
	size_t n = discovery_views(us->node, views, HINTS_MAX);

	BUG_ON(d->hints_n > HINTS_MAX || n > d->hints_n);
	for (size_t i = 0; i < n; i++)
		BUG_ON(views[i].addresses_n > HINT_ADDRESSES || !memchr(views[i].why, 0, sizeof views[i].why) ||
		       (!views[i].online && !views[i].why[0]));
	/* Whoever is wanted is online. */
	BUG_ON(us->node->n.hints_dialled);
	BUG_ON(pins_alarms(us->pins, &alarms));
	BUG_ON(pins_count(us->pins) != 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 2048)
		return 0;
	if (!w)
		begin();
	at = data;
	end = data + size;
	meet();
	while (at < end) {
		uint8_t op = next(), how = next();

		switch (op & 3) {
		case 0:
			found(how);
			break;
		case 1:
			card(how);
			break;
		case 2:
			call(how);
			break;
		default:
			world_pass(w, 1 + (uint64_t)how * 10);
			break;
		}
		world_pass(w, 1);
		judge();
	}
	world_pass(w, 500);
	BUG_ON(!side_conn(friend, us));
	return 0;
}
