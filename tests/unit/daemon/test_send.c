#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/text.h"
#include "tests/lib/daemon_edge.h"

#define ASKED "000102030405060708090a0b0c0d0e0f"
#define CONV  "c0ffee00c0ffee00c0ffee00c0ffee00"

static struct edge e;

static int setup(void **state)
{
	edge_init(&e);
	return 0;
}

static int teardown(void **state)
{
	edge_fini(&e);
	return 0;
}

static int64_t num(const json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

/* A message of im2 in the inbox, with the id ASKED. */
static void receive(const struct node_id *from, const char *type, const struct message_ext *x)
{
	struct inbox_new m = { .author = *from, .via = *from, .type = bytes_str(type), .priority = 1,
			       .created_ms = 1753500000000, .received_ms = 1753500000001, .body = BYTES_LIT("?"),
			       .has_wire = true, .clock_plausible = true, .proven = true };
	enum inbox_state state;
	struct buf meta;
	int64_t seq;

	assert_int_equal(hex_decode(BYTES_LIT(ASKED), m.wire_id, sizeof m.wire_id), ERR_OK);
	buf_init(&meta, MSG_META_MAX);
	message_meta_write(x, &meta);
	m.meta = buf_bytes(&meta);
	assert_int_equal(inbox_put(e.store, &m, &seq, &state), ERR_OK);
	assert_int_equal(node_commit(e.node), ERR_OK);
	buf_fini(&meta);
}

/* The row of what is sent now. */
static json_t *sent(const char *params, const char *id)
{
	char show[200];

	json_decref(edge_ok(&e, "send", params));
	snprintf(show, sizeof show, "{\"msg_id\":\"%s\"}", id);
	return edge_ok(&e, "outbox.show", show);
}

static void send_keeps_what_im2_adds(void **state)
{
	json_t *r;

	edge_peer(&e, "bob");
	r = sent("{\"to\":\"bob\",\"body\":\"?\",\"msg_id\":\"a\",\"kind\":\"request\",\"conversation\":\"" CONV
		 "\",\"expects_reply\":true,\"turn\":2,\"max_turns\":9,\"content_type\":\"application/json\","
		 "\"no_receipt\":true}",
		 "a");
	assert_string_equal(json_str(r, "type"), "REQ");
	assert_string_equal(json_str(r, "kind"), "request");
	assert_string_equal(json_str(r, "conversation"), CONV);
	assert_true(json_is_true(json_object_get(r, "expects_reply")));
	assert_true(json_is_true(json_object_get(r, "no_receipt")));
	assert_int_equal(num(r, "turn"), 2);
	assert_int_equal(num(r, "max_turns"), 9);
	assert_string_equal(json_str(r, "content_type"), "application/json");
	json_decref(r);
	r = sent("{\"to\":\"bob\",\"body\":\"?\",\"msg_id\":\"b\",\"type\":\"REQ\"}", "b");
	assert_string_equal(json_str(r, "kind"), "request");
	assert_true(json_is_null(json_object_get(r, "conversation")));
	assert_true(json_is_null(json_object_get(r, "reply_to")));
	json_decref(r);
	/* What is no text does not say that it is. */
	r = sent("{\"to\":\"bob\",\"body_b64\":\"//4=\",\"msg_id\":\"c\"}", "c");
	assert_string_equal(json_str(r, "content_type"), "application/octet-stream");
	json_decref(r);
	r = sent("{\"to\":\"bob\",\"body_b64\":\"aGk=\",\"msg_id\":\"d\"}", "d");
	assert_string_equal(json_str(r, "content_type"), "text/plain");
	json_decref(r);
}

/* The flags that the recipient gets. */
static uint8_t flags_of(const char *more)
{
	struct outbox_row row;
	struct message_ext x;
	char params[120];
	json_t *r;

	snprintf(params, sizeof params, "{\"to\":\"bob\",\"body\":\"x\"%s}", more);
	r = edge_ok(&e, "send", params);
	assert_int_equal(outbox_get(e.store, bytes_str(json_str(r, "msg_id")), &row), ERR_OK);
	json_decref(r);
	assert_int_equal(message_meta_read(bytes_of(row.meta, row.meta_len), &x), ERR_OK);
	return x.flags;
}

static void a_read_receipt_is_asked_for_unless_told_otherwise(void **state)
{
	edge_peer(&e, "bob");
	assert_int_equal(flags_of(""), MSG_WANTS_READ);
	assert_int_equal(flags_of(",\"no_read_receipt\":true"), 0);
	assert_int_equal(flags_of(",\"no_receipt\":true"), MSG_NO_RECEIPT);
}

static void a_new_conversation_is_named_by_the_answer(void **state)
{
	json_t *a, *b;

	edge_peer(&e, "bob");
	a = edge_ok(&e, "send", "{\"to\":\"bob\",\"body\":\"?\",\"conversation\":\"new\"}");
	b = edge_ok(&e, "send", "{\"to\":\"bob\",\"body\":\"?\",\"conversation\":\"new\"}");
	assert_int_equal(strlen(json_str(a, "conversation")), 32);
	assert_string_not_equal(json_str(a, "conversation"), json_str(b, "conversation"));
	json_decref(a);
	json_decref(b);
}

static void values_that_mean_nothing_are_refused(void **state)
{
	static const char *const bad[] = {
		"\"kind\":\"reply\"",
		"\"kind\":\"\"",
		"\"kind\":\"request\",\"type\":\"RESP\"",
		"\"conversation\":\"abc\"",
		"\"conversation\":\"\"",
		"\"content_type\":\"\"",
		"\"content_type\":\"a\\u0007\"",
		"\"turn\":65536",
		"\"turn\":-1",
		"\"max_turns\":70000",
		"\"expects_reply\":1",
		"\"volatile\":true,\"msg_id\":\"x\"",
		"\"volatile\":true,\"wait_ms\":5",
		"\"volatile\":true,\"wait_for\":\"sent\"",
		"\"no_receipt\":true,\"wait_ms\":5",
		"\"no_receipt\":true,\"wait_ms\":5,\"wait_for\":\"read\"",
		"\"no_read_receipt\":true,\"wait_ms\":5,\"wait_for\":\"read\"",
	};
	char params[200];

	edge_peer(&e, "bob");
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		snprintf(params, sizeof params, "{\"to\":\"bob\",\"body\":\"x\",%s}", bad[i]);
		edge_refused(&e, "send", params, "usage");
	}
	assert_int_equal(timers_run(&e.env), 0);
}

static void a_body_over_the_limit_names_the_limit(void **state)
{
	size_t n = MSG_BODY_MAX + 1;
	char *raw = malloc(n), *text = malloc(BASE64_LEN(n) + 200);
	size_t at = (size_t)sprintf(text, "{\"to\":\"bob\",\"body_b64\":\"");
	json_t *r;

	edge_peer(&e, "bob");
	memset(raw, 'a', n);
	base64_encode(bytes_of(raw, n), text + at);
	strcat(text, "\"}");
	r = edge_error(&e, "send", text);
	assert_string_equal(json_str(json_object_get(r, "data"), "err"), "limit");
	assert_non_null(strstr(json_str(r, "message"), "1048576"));
	assert_non_null(json_str(json_object_get(r, "data"), "next"));
	json_decref(r);
	free(raw);
	free(text);
}

static void an_answer_takes_over_what_is_not_said(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	struct message_ext x = { .kind = KIND_REQUEST, .has_conv = true, .turn = 4, .max_turns = 12 };
	json_t *r;

	assert_int_equal(hex_decode(BYTES_LIT(CONV), x.conv, 16), ERR_OK);
	receive(&bob, "REQ", &x);
	r = sent("{\"to\":\"bob\",\"body\":\"!\",\"msg_id\":\"a\",\"reply_to\":\"" ASKED "\"}", "a");
	assert_string_equal(json_str(r, "kind"), "response");
	assert_string_equal(json_str(r, "reply_to"), ASKED);
	assert_string_equal(json_str(r, "conversation"), CONV);
	assert_int_equal(num(r, "turn"), 5);
	assert_int_equal(num(r, "max_turns"), 12);
	json_decref(r);
	r = sent("{\"to\":\"bob\",\"body\":\"!\",\"msg_id\":\"b\",\"reply_to\":\"" ASKED
		 "\",\"turn\":1,\"kind\":\"notice\",\"conversation\":\"" ASKED "\"}",
		 "b");
	assert_string_equal(json_str(r, "kind"), "notice");
	assert_string_equal(json_str(r, "conversation"), ASKED);
	assert_int_equal(num(r, "turn"), 1);
	json_decref(r);
}

static void a_link_to_another_peers_message_is_left_out(void **state)
{
	struct node_id carol = edge_peer(&e, "carol");
	struct message_ext x = { .has_conv = true, .conv = { 7 }, .turn = 4 };
	json_t *r;

	edge_peer(&e, "bob");
	receive(&carol, "MSG", &x);
	r = edge_ok(&e, "send", "{\"to\":\"bob\",\"body\":\"!\",\"msg_id\":\"a\",\"reply_to\":\"" ASKED "\"}");
	assert_true(json_is_true(json_object_get(r, "unlinked")));
	assert_null(json_object_get(r, "conversation"));
	json_decref(r);
	r = edge_ok(&e, "outbox.show", "{\"msg_id\":\"a\"}");
	assert_true(json_is_null(json_object_get(r, "reply_to")));
	assert_true(json_is_null(json_object_get(r, "conversation")));
	assert_int_equal(num(r, "turn"), 0);
	json_decref(r);
}

static struct node_id rotated(const struct node_id *was)
{
	uint8_t x[X25519_BYTES] = { 9 };
	struct keyring *fresh;
	struct node_id now;

	assert_int_equal(keyring_generate(&e.env, &fresh), ERR_OK);
	now = *keyring_id(fresh);
	assert_int_equal(pins_rotate(e.pins, was, keyring_ed(fresh), x, env_wall(&e.env), false), ERR_OK);
	keyring_free(fresh);
	return now;
}

static void an_old_id_leads_to_who_that_peer_is_now(void **state)
{
	struct node_id was = edge_peer(&e, "bob"), now;
	struct message_ext x = { .has_conv = true, .conv = { 7 }, .turn = 4 };
	char params[400], id[MSG_ID_MAX + 1];
	struct outbox_row row;
	int64_t seq;
	json_t *r;

	receive(&was, "MSG", &x);
	json_decref(edge_ok(&e, "send", "{\"to\":\"bob\",\"body\":\"!\",\"msg_id\":\"dead\"}"));
	assert_int_equal(outbox_get(e.store, BYTES_LIT("dead"), &row), ERR_OK);
	seq = row.seq;
	assert_int_equal(outbox_move(e.store, seq, OUTBOX_FAILED, "a test", 1), ERR_OK);
	now = rotated(&was);

	snprintf(params, sizeof params, "{\"to\":\"%s\",\"body\":\"!\",\"msg_id\":\"a\",\"reply_to\":\"" ASKED "\"}", was.hex);
	r = edge_ok(&e, "send", params);
	assert_string_equal(json_str(json_object_get(r, "to"), "id"), now.hex);
	assert_string_equal(json_str(r, "rotated_from"), was.hex);
	/* The conversation goes on. */
	assert_null(json_object_get(r, "unlinked"));
	assert_int_equal(num(r, "turn"), 5);
	json_decref(r);
	assert_int_equal(outbox_get(e.store, BYTES_LIT("a"), &row), ERR_OK);
	assert_string_equal(row.to.hex, now.hex);
	snprintf(params, sizeof params, "{\"to\":\"%s\",\"messages\":[\"one\"]}", was.hex);
	r = edge_ok(&e, "send_many", params);
	assert_string_equal(json_str(r, "rotated_from"), was.hex);
	assert_string_equal(json_str(json_object_get(r, "to"), "id"), now.hex);
	json_decref(r);
	r = edge_ok(&e, "send", "{\"to\":\"bob\",\"body\":\"!\"}");
	assert_string_equal(json_str(json_object_get(r, "to"), "id"), now.hex);
	assert_null(json_object_get(r, "rotated_from"));
	json_decref(r);
	/* Whoever does not ask the trust store first. */
	struct submit s = { .to = was, .body = BYTES_LIT("!"), .priority = PRIO_NORMAL };

	assert_int_equal(node_submit(e.node, &s, NULL, NULL, id, NULL), ERR_OK);
	assert_int_equal(node_commit(e.node), ERR_OK);
	assert_int_equal(outbox_get(e.store, bytes_str(id), &row), ERR_OK);
	assert_string_equal(row.to.hex, now.hex);
	assert_int_equal(node_outbox_retry(e.node, BYTES_LIT("dead"), id, NULL), ERR_OK);
	assert_int_equal(outbox_get(e.store, BYTES_LIT("dead"), &row), ERR_OK);
	assert_int_equal(row.state, OUTBOX_QUEUED);
	assert_string_equal(row.to.hex, now.hex);
}

static void an_answer_to_nothing_is_a_link_or_an_error(void **state)
{
	struct outbox_row row;
	char hex[33], params[200];
	json_t *r;

	edge_peer(&e, "bob");
	r = sent("{\"to\":\"bob\",\"body\":\"!\",\"msg_id\":\"a\",\"reply_to\":\"" ASKED "\"}", "a");
	assert_string_equal(json_str(r, "reply_to"), ASKED);
	assert_int_equal(num(r, "turn"), 0);
	json_decref(r);
	edge_refused(&e, "send", "{\"to\":\"bob\",\"body\":\"!\",\"reply_to\":\"order-17\"}", "not-found");
	/* One of our own: the same conversation goes on. */
	json_decref(edge_ok(&e, "send", "{\"to\":\"bob\",\"body\":\"!\",\"msg_id\":\"b\",\"conversation\":\"" CONV "\"}"));
	assert_int_equal(outbox_get(e.store, BYTES_LIT("b"), &row), ERR_OK);
	hex_encode(BYTES_ARR(row.wire_id), hex);
	r = sent("{\"to\":\"bob\",\"body\":\"!\",\"msg_id\":\"c\",\"reply_to\":\"b\"}", "c");
	assert_string_equal(json_str(r, "reply_to"), hex);
	assert_string_equal(json_str(r, "conversation"), CONV);
	json_decref(r);
	edge_peer(&e, "carol");
	snprintf(params, sizeof params, "{\"to\":\"carol\",\"body\":\"!\",\"msg_id\":\"d\",\"reply_to\":\"%s\"}", hex);
	r = edge_ok(&e, "send", params);
	assert_true(json_is_true(json_object_get(r, "unlinked")));
	json_decref(r);
}

#define ANSWER(more) "{\"to\":\"bob\",\"body\":\"!\",\"agent\":true,\"reply_to\":\"" ASKED "\"" more "}"

static void an_agent_answers_a_request_once(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	struct message_ext x = { .kind = KIND_REQUEST, .turn = 4 };

	receive(&bob, "REQ", &x);
	edge_refused(&e, "send", ANSWER(",\"kind\":\"request\""), "denied");
	/* What the node refuses is no answer. */
	edge_refused(&e, "send", ANSWER(",\"msg_id\":\"has space\""), "usage");
	json_decref(edge_ok(&e, "send", ANSWER("")));
	edge_refused(&e, "send", ANSWER(""), "exists");
	/* A person may. */
	json_decref(edge_ok(&e, "send", "{\"to\":\"bob\",\"body\":\"!\",\"reply_to\":\"" ASKED "\"}"));
}

static void an_agent_does_not_answer_an_answer(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	struct message_ext x = { .kind = KIND_RESPONSE };

	receive(&bob, "RESP", &x);
	edge_refused(&e, "send", ANSWER(""), "denied");
	edge_refused(&e, "send", ANSWER(",\"kind\":\"end\""), "denied");
}

static void an_agent_ends_the_conversation_at_its_last_turn(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	struct message_ext x = { .turn = 30 };
	json_t *r;

	receive(&bob, "MSG", &x);
	edge_refused(&e, "send", ANSWER(",\"turn\":1"), "limit");
	r = sent(ANSWER(",\"kind\":\"end\",\"msg_id\":\"a\""), "a");
	assert_int_equal(num(r, "turn"), 31);
	assert_string_equal(json_str(r, "end_reason"), "turn-limit");
	json_decref(r);
}

static void agents_send_sixty_a_minute(void **state)
{
	static const char one[] = "{\"to\":\"bob\",\"body\":\"!\",\"agent\":true}";

	edge_peer(&e, "bob");
	for (int i = 0; i < BRAKES_PER_MINUTE; i++)
		json_decref(edge_ok(&e, "send", one));
	edge_refused(&e, "send", one, "again");
	json_decref(edge_ok(&e, "send", "{\"to\":\"bob\",\"body\":\"!\"}"));
	edge_sleep(&e, 60000);
	json_decref(edge_ok(&e, "send", one));
}

static void the_inbox_shows_what_im2_adds(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	struct message_ext x = { .kind = KIND_EVENT, .turn = 4, .ttl_s = 60 };
	json_t *r, *m;

	receive(&bob, "EVENT", &x);
	edge_receive(&e, &bob, "old", BYTES_LIT("hi"));
	r = edge_ok(&e, "inbox.list", "{}");
	m = json_array_get(json_object_get(r, "messages"), 0);
	assert_string_equal(json_str(m, "msg_id"), ASKED);
	assert_string_equal(json_str(m, "kind"), "event");
	assert_int_equal(num(m, "turn"), 4);
	assert_true(json_is_true(json_object_get(m, "signed")));
	assert_int_equal(num(m, "expires_ms"), 1753500060000);
	m = json_array_get(json_object_get(r, "messages"), 1);
	assert_string_equal(json_str(m, "kind"), "message");
	assert_int_equal(num(m, "expires_ms"), 0);
	assert_true(json_is_false(json_object_get(m, "signed")));
	json_decref(r);
}

/* --- volatile ------------------------------------------------------------------------------------------ */
static void a_volatile_message_needs_a_session(void **state)
{
	json_t *r;

	edge_peer(&e, "bob");
	r = edge_error(&e, "send", "{\"to\":\"bob\",\"body\":\"x\",\"volatile\":true}");
	assert_string_equal(json_str(json_object_get(r, "data"), "err"), "closed");
	assert_non_null(strstr(json_str(json_object_get(r, "data"), "next"), "peers show"));
	json_decref(r);
	assert_false(store_dirty(e.store));
	edge_refused(&e, "send_many", "{\"to\":\"bob\",\"messages\":[\"x\"],\"volatile\":true}", "closed");
	assert_int_equal(timers_run(&e.env), 0);
}

static void volatile_of(const struct node_id *from, struct bytes body, const struct message_ext *x)
{
	struct message m = { .created_ms = 5, .priority = PRIO_HIGH, .body = body, .ext = *x, .has_wire_id = true };
	struct node_event ev = { .type = "message.volatile", .peer = *from, .name = "b\x1bob", .size = body.n,
				 .message = &m };

	assert_int_equal(hex_decode(BYTES_LIT(ASKED), m.wire_id, sizeof m.wire_id), ERR_OK);
	events_observe(e.events, &ev);
}

static json_t *next_event(void)
{
	json_t *v = edge_next(&e), *p;

	if (!v)
		return NULL;
	p = json_incref(json_object_get(v, "params"));
	json_decref(v);
	return p;
}

static void a_volatile_message_comes_whole_as_an_event(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	struct message_ext x = { .kind = KIND_EVENT, .has_conv = true, .turn = 3 };
	json_t *p;

	assert_int_equal(hex_decode(BYTES_LIT(CONV), x.conv, 16), ERR_OK);
	volatile_of(&bob, BYTES_LIT("nobody listens"), &x);
	json_decref(edge_ok(&e, "events.subscribe", "{\"types\":[\"message.volatile\"]}"));
	volatile_of(&bob, BYTES_LIT("21.5 \xc2\xb0"), &x);
	p = next_event();
	assert_string_equal(json_str(p, "type"), "message.volatile");
	assert_string_equal(json_str(p, "from"), bob.hex);
	assert_string_equal(json_str(p, "name"), "b?ob");
	assert_string_equal(json_str(p, "msg_id"), ASKED);
	assert_string_equal(json_str(p, "body"), "21.5 \xc2\xb0");
	assert_string_equal(json_str(p, "kind"), "event");
	assert_string_equal(json_str(p, "conversation"), CONV);
	assert_string_equal(json_str(p, "priority"), "high");
	assert_int_equal(num(p, "turn"), 3);
	assert_int_equal(num(p, "size"), 7);
	json_decref(p);
	volatile_of(&bob, BYTES_LIT("\xff"), &x);
	p = next_event();
	assert_string_equal(json_str(p, "body_b64"), "/w==");
	json_decref(p);
}

static void a_slow_reader_is_told_how_many_volatile_messages_it_lost(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	struct node_event other = { .type = "message.read", .msg_id = "m" };
	struct message_ext x = { 0 };
	json_t *p;

	json_decref(edge_ok(&e, "events.subscribe", "{}"));
	e.room = 0;
	for (int i = 0; i < 5; i++)
		volatile_of(&bob, BYTES_LIT("x"), &x);
	events_observe(e.events, &other);
	e.room = SIZE_MAX;
	/* A volatile one does not take the room that the news of the loss, or the others, need. */
	volatile_of(&bob, BYTES_LIT("x"), &x);
	assert_null(edge_next(&e));
	events_room(e.events, &e.rpc.subscriber);
	p = next_event();
	assert_string_equal(json_str(p, "type"), "events.lost");
	assert_int_equal(num(p, "count"), 7);
	assert_int_equal(num(p, "volatile"), 6);
	json_decref(p);
	volatile_of(&bob, BYTES_LIT("y"), &x);
	p = next_event();
	assert_string_equal(json_str(p, "body"), "y");
	json_decref(p);
}

/* --- many ------------------------------------------------------------------------------------------------ */
static void many_are_answered_after_their_commit(void **state)
{
	json_t *v, *r, *ids;

	edge_peer(&e, "bob");
	edge_line(&e, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"send_many\",\"params\":{\"to\":\"bob\",\"messages\":"
		      "[\"one\",{\"body\":\"two\",\"msg_id\":\"b\",\"kind\":\"notice\"},{\"body_b64\":\"aGk=\"}]}}");
	assert_null(edge_next(&e));
	assert_true(store_dirty(e.store));
	edge_turn(&e);
	v = edge_next(&e);
	r = json_object_get(v, "result");
	ids = json_object_get(r, "msg_ids");
	assert_string_equal(json_str(r, "schema"), "ironmesh.send_many/1");
	assert_string_equal(json_str(r, "state"), "queued");
	assert_string_equal(json_str(json_object_get(r, "to"), "name"), "bob");
	assert_int_equal(num(r, "accepted"), 3);
	assert_int_equal(json_array_size(ids), 3);
	assert_string_equal(json_string_value(json_array_get(ids, 1)), "b");
	assert_null(json_object_get(r, "refused"));
	json_decref(v);
	r = edge_ok(&e, "outbox.show", "{\"msg_id\":\"b\"}");
	assert_string_equal(json_str(r, "kind"), "notice");
	json_decref(r);
	r = edge_ok(&e, "outbox.list", "{}");
	assert_int_equal(json_array_size(json_object_get(r, "messages")), 3);
	json_decref(r);
}

static void many_stop_at_the_first_that_is_refused(void **state)
{
	json_t *r, *refused;

	edge_peer(&e, "bob");
	r = edge_ok(&e, "send_many", "{\"to\":\"bob\",\"messages\":[{\"body\":\"1\",\"msg_id\":\"a\"},"
				     "{\"body\":\"2\",\"msg_id\":\"a\"},\"3\"]}");
	assert_int_equal(num(r, "accepted"), 1);
	refused = json_object_get(r, "refused");
	assert_int_equal(num(refused, "index"), 1);
	assert_string_equal(json_str(refused, "err"), "exists");
	assert_non_null(strstr(json_str(refused, "next"), "outbox show a"));
	json_decref(r);
	/* The first of all: then nothing was taken, and it is an error. */
	edge_refused(&e, "send_many", "{\"to\":\"bob\",\"messages\":[{\"body\":\"1\",\"msg_id\":\"a\"}]}", "exists");
	edge_refused(&e, "send_many", "{\"to\":\"bob\",\"messages\":[{\"body\":\"1\",\"colour\":1}]}", "usage");
	edge_refused(&e, "send_many", "{\"to\":\"bob\",\"messages\":[7]}", "usage");
	edge_refused(&e, "send_many", "{\"to\":\"bob\",\"messages\":[{\"to\":\"carol\",\"body\":\"x\"}]}", "usage");
	edge_refused(&e, "send_many", "{\"to\":\"bob\",\"messages\":[]}", "usage");
	edge_refused(&e, "send_many", "{\"to\":\"bbo\",\"messages\":[\"x\"]}", "not-found");
	r = edge_ok(&e, "outbox.list", "{}");
	assert_int_equal(json_array_size(json_object_get(r, "messages")), 1);
	json_decref(r);
}

static void many_say_that_the_disk_refused(void **state)
{
	json_t *v;

	edge_peer(&e, "bob");
	edge_line(&e, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"send_many\",\"params\":{\"to\":\"bob\",\"messages\":"
		      "[\"one\",\"two\"]}}");
	store_fail_after(e.store, 1); /* the commit */
	edge_turn(&e);
	v = edge_next(&e);
	assert_string_equal(json_str(json_object_get(json_object_get(v, "error"), "data"), "err"), "store");
	json_decref(v);
	assert_null(edge_next(&e));
}

static void many_are_at_most_1024(void **state)
{
	struct buf b;
	json_t *r;

	edge_peer(&e, "bob");
	buf_init(&b, 1 << 20);
	buf_add_str(&b, "{\"to\":\"bob\",\"messages\":[\"x\"");
	for (int i = 1; i < SEND_MANY_MAX; i++)
		buf_add_str(&b, ",\"x\"");
	buf_add_str(&b, "]}");
	r = edge_ok(&e, "send_many", buf_cstr(&b));
	assert_int_equal(num(r, "accepted"), SEND_MANY_MAX);
	json_decref(r);
	b.n -= 2;
	buf_add_str(&b, ",\"x\"]}");
	edge_refused(&e, "send_many", buf_cstr(&b), "usage");
	buf_fini(&b);
}

static void a_closed_connection_forgets_its_many(void **state)
{
	edge_peer(&e, "bob");
	edge_line(&e, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"send_many\",\"params\":{\"to\":\"bob\",\"messages\":"
		      "[\"one\",\"two\"]}}");
	rpc_close(&e.rpc);
	edge_turn(&e);
	assert_null(edge_next(&e));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(send_keeps_what_im2_adds),
		T(a_read_receipt_is_asked_for_unless_told_otherwise),
		T(a_new_conversation_is_named_by_the_answer),
		T(values_that_mean_nothing_are_refused),
		T(a_body_over_the_limit_names_the_limit),
		T(an_answer_takes_over_what_is_not_said),
		T(a_link_to_another_peers_message_is_left_out),
		T(an_old_id_leads_to_who_that_peer_is_now),
		T(an_answer_to_nothing_is_a_link_or_an_error),
		T(an_agent_answers_a_request_once),
		T(an_agent_does_not_answer_an_answer),
		T(an_agent_ends_the_conversation_at_its_last_turn),
		T(agents_send_sixty_a_minute),
		T(the_inbox_shows_what_im2_adds),
		T(a_volatile_message_needs_a_session),
		T(a_volatile_message_comes_whole_as_an_event),
		T(a_slow_reader_is_told_how_many_volatile_messages_it_lost),
		T(many_are_answered_after_their_commit),
		T(many_stop_at_the_first_that_is_refused),
		T(many_say_that_the_disk_refused),
		T(many_are_at_most_1024),
		T(a_closed_connection_forgets_its_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
