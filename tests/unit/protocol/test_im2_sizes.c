#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "protocol/im2/content.h"
#include "protocol/im2/frame.h"
#include "protocol/im2/handshake.h"
#include "protocol/im2/record.h"
#include "protocol/im2/seal.h"
#include "tests/lib/protocol_im2_pair.h"

/*
 * The byte budgets of im2.md 1.2, 5.7 and 7.9: every unit is made by the code that the program uses, the table is
 * printed, and a figure above its budget fails. Below it is fine.
 */

#define LORA 254          /* of the 255 of a LoRa frame, one is the RNode's own */
#define LINK_HEAD 19      /* Reticulum's header on a link */
#define SINGLE_MORE 32    /* of a packet to a destination: another header and an ephemeral key */
#define TOKEN 48          /* IV and HMAC */
#define TEXT "meet at dawn, ok"

static size_t on_link(size_t unit)
{
	return LINK_HEAD + TOKEN + 16 * (unit / 16 + 1);
}

static size_t lora_frames(size_t on_air)
{
	return (on_air + LORA - 1) / LORA;
}

static unsigned above;

/* The budgets: unit, on a link, in LoRa frames (0: it never goes there). */
static void row(const char *name, size_t unit, size_t budget, size_t link_budget, size_t lora_budget)
{
	size_t link = on_link(unit);
	bool bad = unit > budget;

	if (lora_budget) {
		bad |= link > link_budget || lora_frames(link) > lora_budget;
		printf("%-48s %5zu %5zu %8zu %8zu %5zu%s\n", name, unit, budget, link, link + SINGLE_MORE,
		       lora_frames(link), bad ? "  ABOVE" : "");
	} else {
		printf("%-48s %5zu %5zu %8s %8s %5s%s\n", name, unit, budget, "-", "-", "-", bad ? "  ABOVE" : "");
	}
	above += bad;
}

struct world {
	struct penv e;
	struct keyring *alice, *bob;
	struct im2_tx tx;
	struct buf plain, unit, value;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	if (!w || secret_init_library() != ERR_OK)
		return -1;
	penv_init(&w->e);
	w->alice = keyring_number(1);
	w->bob = keyring_number(2);
	memset(w->tx.key, 7, sizeof w->tx.key);
	buf_init(&w->plain, 1 << 16);
	buf_init(&w->unit, 1 << 16);
	buf_init(&w->value, 1 << 16);
	above = 0;
	printf("%-48s %5s %5s %8s %8s %5s\n", "unit", "bytes", "limit", "RNS link", "packet", "LoRa");
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	keyring_free(w->alice);
	keyring_free(w->bob);
	buf_fini(&w->plain);
	buf_fini(&w->unit);
	buf_fini(&w->value);
	free(w);
	return 0;
}

/* --- handshakes (5.7) --- */

struct shake {
	size_t x1, x2, x3, x4, i1, i2;
};

static void shake_sizes(struct world *w, bool radio, struct shake *out)
{
	static const uint8_t link_id[16] = {1, 2, 3};
	uint8_t mesh[IM2_KEY] = {5}, psk[PSK_BYTES] = {6}, x[32];
	struct im2_binding b = {.transport = radio ? IM2_RNS_LINK : IM2_WEBSOCKET,
				.chan = radio ? BYTES_ARR(link_id) : BYTES_LIT("/")};
	struct im2_hello a = {.rx = {1}, .psk_id = {2}}, l = {.rx = {3}}, heard;
	struct im2_secrets sa, sl;
	struct im2_xx d, s;
	struct im2_ik i, r;
	struct buf u[6];

	for (size_t n = 0; n < 6; n++)
		buf_init(&u[n], IM2_SHAKE_UNIT_MAX);
	if (!radio) {
		memcpy(a.name, "alice", 6);
		memcpy(l.name, "bob", 4);
		a.features = l.features = IM2_FEATURE_PAD;
	}
	assert_int_equal(im2_xx_dial(&d, &w->e.env, w->alice, IM2_MODE_MESH, 0, BYTES_ARR(mesh), &b, &u[0]), IM2_FINE);
	assert_int_equal(im2_xx_listen(&s, &w->e.env, w->bob, BYTES_ARR(mesh), &b, buf_bytes(&u[0]), &u[1]), IM2_FINE);
	assert_int_equal(im2_xx_take_x2(&d, buf_bytes(&u[1]), &a, &u[2]), IM2_FINE);
	assert_int_equal(im2_xx_take_x3(&s, buf_bytes(&u[2]), &heard), IM2_FINE);
	assert_int_equal(im2_xx_x4(&s, &l, &u[3], &sl), IM2_FINE);
	assert_int_equal(im2_xx_take_x4(&d, buf_bytes(&u[3]), &heard, &sa), IM2_FINE);

	/* Whoever is known is not told a name again. */
	a.name[0] = l.name[0] = 0;
	a.features = l.features = radio ? IM2_FEATURE_RADIO : 0;
	assert_int_equal(im2_ik_start(&i, &w->e.env, w->alice, &b, 0, keyring_ed(w->bob), keyring_x25519(w->bob), psk,
				      bytes_of(NULL, 0), &a, &u[4]), IM2_FINE);
	assert_int_equal(im2_ik_peek(&r, &w->e.env, w->bob, &b, 0, buf_bytes(&u[4]), x), IM2_FINE);
	assert_int_equal(im2_ik_payload(&r, &heard), IM2_FINE);
	assert_int_equal(im2_ik_answer(&r, keyring_ed(w->alice), psk, bytes_of(NULL, 0), &l, &u[5], &sl), IM2_FINE);
	assert_int_equal(im2_ik_finish(&i, buf_bytes(&u[5]), &heard, &sa), IM2_FINE);
	*out = (struct shake){u[0].n, u[1].n, u[2].n, u[3].n, u[4].n, u[5].n};
	im2_xx_wipe(&d);
	im2_xx_wipe(&s);
	im2_ik_wipe(&i);
	im2_ik_wipe(&r);
	for (size_t n = 0; n < 6; n++)
		buf_fini(&u[n]);
}

static void handshakes_keep_their_budgets(void **state)
{
	struct shake ws, radio;
	struct buf s1;
	uint8_t nonce[32] = {0};

	shake_sizes(*state, false, &ws);
	shake_sizes(*state, true, &radio);
	buf_init(&s1, 64);
	im2_s1_write(&s1, nonce);
	row("S1, binary", s1.n, 34, 0, 0);
	row("X1, WebSocket", ws.x1, 50, 0, 0);
	row("X2, WebSocket", ws.x2, 81, 0, 0);
	row("X3, WebSocket, name of 5 and features", ws.x3, 213, 0, 0);
	row("X4, WebSocket, name of 3 and features", ws.x4, 179, 0, 0);
	row("I1, WebSocket", ws.i1, 107, 0, 0);
	row("I2, WebSocket", ws.i2, 59, 0, 0);
	row("first contact, WebSocket: X1 to X4", ws.x1 + ws.x2 + ws.x3 + ws.x4, 523, 0, 0);
	row("known peer, WebSocket: I1, I2 and a frame", ws.i1 + ws.i2 + IM2_FRAME_OVERHEAD, 191, 0, 0);
	row("X1, radio", radio.x1, 50, 131, 1);
	row("X2, radio", radio.x2, 81, 163, 1);
	row("X3, radio", radio.x3, 203, 275, 2);
	row("X4, radio", radio.x4, 171, 243, 1);
	row("I1, radio", radio.i1, 110, 179, 1);
	row("I2, radio", radio.i2, 62, 131, 1);
	size_t air = on_link(radio.x1) + on_link(radio.x2) + on_link(radio.x3) + on_link(radio.x4);
	printf("%-48s %5s %5s %8zu\n", "first contact, radio, on air", "", "", air);
	assert_true(air <= 812);
	buf_fini(&s1);
	assert_int_equal(above, 0);
}

/* The same between two hosts: what the daemon really says. */
static void said_by_hosts(bool radio, bool known, size_t sum[static 2], size_t unit[static 6])
{
	/* Features too: who wants padding says so later where the budget has no room for it. */
	struct im2_host_config c = {.radio = radio, .pad = true, .name = "bob"};
	struct im2_host_config d = {.radio = radio, .pad = true, .name = "alice"};
	struct ipath_opts o = {.transport = radio ? IM2_RNS_LINK : IM2_WEBSOCKET, .text_s1 = !radio};
	struct inode a, b;
	struct penv e;
	struct ipath *p;

	penv_init(&e);
	inode_init(&a, &e, 0, &d);
	inode_init(&b, &e, 1, &c);
	if (known) {
		ipath_free(ipath_online(&a, &b, &o));
		inode_restart(&a);
		inode_restart(&b);
		o.expect = true;
	}
	sum[0] = sum[1] = 0;
	memset(unit, 0, 6 * sizeof *unit);
	p = ipath_new(&a, &b, &o);
	ipath_start(p);
	while (p->a.wire_n || p->b.wire_n) {
		struct end *from = p->a.wire_n ? &p->a : &p->b;
		struct said *u = &from->wire[0];

		if (u->p[0] >= IM2_UNIT_X1 && u->p[0] <= IM2_UNIT_I2) {
			unit[u->p[0] - IM2_UNIT_X1] = u->n;
			sum[0] += u->n;
			sum[1] += on_link(u->n);
		}
		ipath_move(p, from, 1);
	}
	assert_true(session_online(p->a.s) && session_online(p->b.s));
	ipath_free(p);
	inode_fini(&a);
	inode_fini(&b);
}

static void hosts_say_no_more(void **state)
{
	static const char *const name[] = {"X1", "X2", "X3", "X4", "I1", "I2"};
	static const size_t ws[] = {50, 81, 213, 179, 107, 59}, radio[] = {50, 81, 203, 171, 110, 62},
			    link[] = {131, 163, 275, 243, 179, 131}, lora[] = {1, 1, 2, 1, 1, 1};
	size_t sum[2], unit[6];
	char text[64];

	for (unsigned known = 0; known < 2; known++) {
		for (unsigned on_radio = 0; on_radio < 2; on_radio++) {
			said_by_hosts(on_radio, known, sum, unit);
			for (unsigned i = known ? 4 : 0; i < (known ? 6 : 4); i++) {
				snprintf(text, sizeof text, "%s of a host, %s", name[i], on_radio ? "radio" : "WebSocket");
				assert_true(unit[i] > 0);
				if (on_radio)
					row(text, unit[i], radio[i], link[i], lora[i]);
				else
					row(text, unit[i], ws[i], 0, 0);
			}
			if (!on_radio)
				row(known ? "I1 and I2" : "X1 to X4", sum[0], known ? 166 : 523, 0, 0);
			else
				assert_true(sum[1] <= (known ? 310 : 812));
		}
	}
	assert_int_equal(above, 0);
}

/* --- frames (7.9) --- */

static struct message text(struct bytes body)
{
	struct message m = {.type = BYTES_LIT("MSG"), .created_ms = WALL_T, .priority = PRIO_NORMAL, .body = body,
			    .has_wire_id = true};

	for (uint8_t i = 0; i < MSG_WIRE_ID; i++)
		m.wire_id[i] = i;
	return m;
}

static void add_message(struct world *w, const struct message *m)
{
	buf_reset(&w->value);
	assert_int_equal(im2_message_write(m, &w->value), ERR_OK);
	im2_item_add(&w->plain, IM2_ITEM_MSG, buf_bytes(&w->value));
}

static void add_receipts(struct world *w, size_t n)
{
	struct receipt r[5];

	for (size_t i = 0; i < 5; i++)
		r[i] = (struct receipt){.kind = RECEIPT_DELIVERED, .id = BYTES_LIT("000102030405060708090a0b0c0d0e0f")};
	buf_reset(&w->value);
	assert_int_equal(im2_receipt_write(r, n, 0, 1 << 12, &w->value), n);
	im2_item_add(&w->plain, IM2_ITEM_RECEIPT, buf_bytes(&w->value));
}

/* Seals what was collected as the next frame. */
static size_t framed(struct world *w)
{
	buf_reset(&w->unit);
	assert_int_equal(w->plain.err, ERR_OK);
	assert_int_equal(im2_frame_build(&w->tx, buf_bytes(&w->plain), w->plain.n, &w->unit), ERR_OK);
	buf_reset(&w->plain);
	return w->unit.n;
}

static size_t framed_item(struct world *w, uint16_t tag, struct bytes value)
{
	im2_item_add(&w->plain, tag, value);
	return framed(w);
}

static void messages_keep_their_budgets(void **state)
{
	static const uint8_t filler[512] = {'a'};
	struct world *w = *state;
	struct message m = text(BYTES_LIT(TEXT)), longer;

	add_message(w, &m);
	size_t one = framed(w);
	row("16-byte text to a known peer", one, 71, 147, 1);
	assert_int_equal(one, 71);
	assert_int_equal(on_link(one), 147);
	assert_int_equal(lora_frames(on_link(one)), 1);
	m.ext.has_conv = true;
	add_message(w, &m);
	row("16-byte text in a conversation", framed(w), 89, 163, 1);
	m.ext.has_reply_to = true;
	add_message(w, &m);
	row("16-byte text, conversation and reply_to", framed(w), 107, 179, 1);
	m = text(BYTES_LIT(TEXT));
	add_message(w, &m);
	add_receipts(w, 1);
	row("16-byte text and one receipt", framed(w), 93, 163, 1);
	add_message(w, &m);
	add_message(w, &m);
	row("two 16-byte texts", framed(w), 117, 195, 1);
	add_receipts(w, 1);
	row("one receipt", framed(w), 47, 115, 1);
	add_receipts(w, 5);
	row("five receipts", framed(w), 119, 195, 1);
	row("PING", framed_item(w, IM2_ITEM_PING, BYTES_LIT("12345678")), 35, 115, 1);
	row("nothing: confirms the keys", framed(w), 25, 99, 1);
	longer = text(bytes_of(filler, 119));
	add_message(w, &longer);
	row("119-byte text", framed(w), 175, 243, 1);
	longer = text(bytes_of(filler, 374));
	add_message(w, &longer);
	row("374-byte text", framed(w), 431, 499, 2);
	assert_int_equal(above, 0);
}

/* --- records --- */

static void records_keep_their_budgets(void **state)
{
	struct world *w = *state;
	struct im2_fields f = {0};
	struct im2_record r;
	struct buf body, record;

	buf_init(&body, IM2_RECORD_MAX);
	buf_init(&record, IM2_RECORD_MAX);
	im2_set_b(&f, IM2_PREKEY_ID, BYTES_LIT("\x91\x92\x93\x94"));
	im2_set_b(&f, IM2_PREKEY_X25519, bytes_of(keyring_x25519(w->bob), X25519_BYTES));
	im2_write(&im2_prekey, &f, &body);
	im2_record_write(w->alice, IM2_REC_PREKEY_T, 1, WALL_T, 86400, buf_bytes(&body), &record);
	assert_int_equal(im2_record_parse(buf_bytes(&record), &r), IM2_FINE);
	row("prekey record", framed_item(w, IM2_ITEM_RECORD, buf_bytes(&record)), 189, 259, 2);
	buf_reset(&w->value);
	im2_recdig_write(&r, &w->value);
	row("digest of a prekey record", framed_item(w, IM2_ITEM_RECDIG, buf_bytes(&w->value)), 69, 147, 1);

	/* Routes and capabilities are room in the codec: records of types 3 and 1. */
	buf_reset(&record);
	f = (struct im2_fields){0};
	im2_set_u(&f, 0, 3);
	buf_reset(&body);
	im2_write(&im2_route, &f, &body);
	im2_record_write(w->alice, IM2_REC_ROUTE_T, 17, WALL_T, 86400, buf_bytes(&body), &record);
	f = (struct im2_fields){0};
	im2_set_b(&f, 0, buf_bytes(&record));
	im2_set_u(&f, 1, 0);
	buf_reset(&w->value);
	im2_write(&im2_routeadv, &f, &w->value);
	row("route advertisement", framed_item(w, IM2_ITEM_ROUTEADV, buf_bytes(&w->value)), 157, 227, 1);
	f = (struct im2_fields){0};
	im2_set_b(&f, 0, bytes_of(NULL, 0));
	buf_reset(&body);
	im2_write(&im2_cap, &f, &body);
	buf_reset(&record);
	im2_record_write(w->alice, IM2_REC_CAP_T, 2, WALL_T, 120, buf_bytes(&body), &record);
	row("capabilities withdrawn", framed_item(w, IM2_ITEM_RECORD, buf_bytes(&record)), 148, 227, 1);
	buf_fini(&body);
	buf_fini(&record);
	assert_int_equal(above, 0);
}

/* --- for relays and groups --- */

static void relayed_text_keeps_its_budget(void **state)
{
	struct world *w = *state;
	struct message m = text(BYTES_LIT(TEXT));
	struct im2_seal_to to = {.ttl_s = 86400, .prio = 1};
	struct im2_sealed said;
	struct im2_fields f = {0};
	struct buf items, record, body, rt, sealed;

	node_id_of(keyring_ed(w->alice), &m.source);
	node_id_of(keyring_ed(w->bob), &m.destination);
	buf_init(&items, 1 << 12);
	buf_init(&record, IM2_RECORD_MAX);
	buf_init(&body, 1 << 12);
	buf_init(&rt, IM2_RT_MAX);
	buf_init(&sealed, 1 << 14);
	buf_reset(&w->value);
	assert_int_equal(im2_smsg_write(w->alice, &m, 1, keyring_ed(w->bob), &w->value), ERR_OK);
	im2_item_add(&items, IM2_ITEM_SMSG, buf_bytes(&w->value));
	im2_set_b(&f, IM2_PREKEY_ID, BYTES_LIT("\x91\x92\x93\x94"));
	im2_set_b(&f, IM2_PREKEY_X25519, bytes_of(keyring_x25519(w->bob), X25519_BYTES));
	im2_write(&im2_prekey, &f, &body);
	im2_record_write(w->bob, IM2_REC_PREKEY_T, 1, WALL_T, 86400, buf_bytes(&body), &record);
	memcpy(to.ed, keyring_ed(w->bob), sizeof to.ed);
	memcpy(to.x, keyring_x25519(w->bob), sizeof to.x);
	to.prekey_record = buf_bytes(&record);
	for (unsigned pad = 0; pad < 2; pad++) {
		buf_reset(&rt);
		buf_reset(&sealed);
		to.pad = pad;
		assert_int_equal(im2_seal(&w->e.env, w->alice, &to, WALL_T, buf_bytes(&items), &rt, &sealed, &said), IM2_FINE);
		f = (struct im2_fields){0};
		im2_set_b(&f, IM2_ROUTED_RT, buf_bytes(&rt));
		im2_set_b(&f, IM2_ROUTED_BODY, buf_bytes(&sealed));
		im2_set_u(&f, IM2_ROUTED_HOPS, 8);
		buf_reset(&w->value);
		im2_write(&im2_routed, &f, &w->value);
		if (pad)
			row("the same padded, value of ROUTED", w->value.n, 392, 0, 0);
		else
			row("16-byte text, sealed and signed",
			    framed_item(w, IM2_ITEM_ROUTED, buf_bytes(&w->value)), 316, 387, 2);
	}
	buf_fini(&items);
	buf_fini(&record);
	buf_fini(&body);
	buf_fini(&rt);
	buf_fini(&sealed);
	assert_int_equal(above, 0);
}

/* Groups are room in the codec: the unit is put together as 16.3 lays it out. */
static void group_text_keeps_its_budget(void **state)
{
	static const uint8_t group[16] = {3};
	struct world *w = *state;
	struct im2_fields f = {0};
	uint8_t id[16] = {1}, from[16] = {2}, sig[SIG_BYTES] = {4}, mk[32] = {5}, head[12] = {6};
	struct buf msg, list, smsg, items;

	buf_init(&msg, 1 << 12);
	buf_init(&list, 1 << 12);
	buf_init(&smsg, 1 << 12);
	buf_init(&items, 1 << 12);
	im2_set_b(&f, IM2_MSG_ID, BYTES_ARR(id));
	im2_set_b(&f, IM2_MSG_FROM, BYTES_ARR(from));
	im2_set_b(&f, IM2_MSG_GROUP, BYTES_ARR(group));
	im2_set_u(&f, IM2_MSG_CREATED, WALL_T);
	im2_set_b(&f, IM2_MSG_BODY, BYTES_LIT("all hands"));
	im2_write(&im2_msg, &f, &msg);
	im2_lv_add(&list, buf_bytes(&msg));
	f = (struct im2_fields){0};
	im2_set_b(&f, IM2_SMSG_MSGS, buf_bytes(&list));
	im2_set_b(&f, IM2_SMSG_SIG, BYTES_ARR(sig));
	im2_write(&im2_smsg, &f, &smsg);
	im2_item_add(&items, IM2_ITEM_SMSG, buf_bytes(&smsg));
	buf_reset(&w->value);
	buf_add(&w->value, BYTES_ARR(head));
	uint8_t *p = buf_reserve(&w->value, items.n + NOISE_TAG);
	assert_non_null(p);
	im2_aead_seal(mk, 0, BYTES_LIT("ad"), buf_bytes(&items), p);
	w->value.n += items.n + NOISE_TAG;
	assert_int_equal(im2_item_check(IM2_ITEM_GROUPMSG, buf_bytes(&w->value)), IM2_FINE);
	row("signed group message, 9-byte text", framed_item(w, IM2_ITEM_GROUPMSG, buf_bytes(&w->value)), 201, 275, 2);
	buf_fini(&msg);
	buf_fini(&list);
	buf_fini(&smsg);
	buf_fini(&items);
	assert_int_equal(above, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(handshakes_keep_their_budgets, setup, teardown),
		cmocka_unit_test_setup_teardown(hosts_say_no_more, setup, teardown),
		cmocka_unit_test_setup_teardown(messages_keep_their_budgets, setup, teardown),
		cmocka_unit_test_setup_teardown(records_keep_their_budgets, setup, teardown),
		cmocka_unit_test_setup_teardown(relayed_text_keeps_its_budget, setup, teardown),
		cmocka_unit_test_setup_teardown(group_text_keeps_its_budget, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
