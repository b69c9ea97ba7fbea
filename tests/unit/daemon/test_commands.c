#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/text.h"
#include "tests/lib/daemon_edge.h"

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

/* --- the table -------------------------------------------------------------------------------------- */
static void the_manual_describes_the_table(void **state)
{
	FILE *f = fopen("docs/control.md", "r");
	char line[1024], method[64];
	size_t i = 0;
	bool methods = false;

	assert_non_null(f);
	while (fgets(line, sizeof line, f)) {
		if (strcmp(line, "## Methods\n") == 0)
			methods = true;
		if (!methods || sscanf(line, "### %63s", method) != 1)
			continue;
		assert_non_null(command_find(bytes_str(method)));
		i++;
	}
	fclose(f);
	assert_null(command_at(i));
	assert_non_null(command_at(i - 1));
}

static void no_method_and_no_parameter_is_there_twice(void **state)
{
	const struct command *m;

	for (size_t i = 0; (m = command_at(i)); i++) {
		assert_ptr_equal(command_find(bytes_str(m->method)), m);
		for (size_t a = 0; a < COMMAND_PARAMS && m->params[a].name; a++)
			for (size_t b = 0; b < a; b++)
				assert_string_not_equal(m->params[a].name, m->params[b].name);
	}
}

static void every_method_has_one_role_or_none(void **state)
{
	const unsigned roles = CMD_READ | CMD_SEND | CMD_ADMIN;
	const struct command *m;

	for (size_t i = 0; (m = command_at(i)); i++) {
		unsigned r = m->flags & roles;

		assert_true((r & (r - 1)) == 0);
		/* Who may only look changes nothing. */
		assert_false(r == CMD_READ && m->flags & CMD_CHANGES);
	}
	assert_false(command_find(BYTES_LIT("keys.rotate"))->flags & roles);
	assert_false(command_find(BYTES_LIT("keys.revoke"))->flags & roles);
	assert_true(command_find(BYTES_LIT("trust.revoke"))->flags & CMD_ADMIN);
}

static void parameters_are_checked_by_name_type_and_range(void **state)
{
	static const struct {
		const char *method, *params, *says;
	} bad[] = {
		{ "send", "{\"to\":\"a\",\"body\":\"x\",\"colour\":1}", "colour" },
		{ "send", "{\"body\":\"x\"}", "to" },
		{ "send", "{\"to\":5,\"body\":\"x\"}", "to" },
		{ "send", "{\"to\":\"\",\"body\":\"x\"}", "to" },
		{ "send", "{\"to\":null,\"body\":\"x\"}", "to" },
		{ "send", "{\"to\":\"a\",\"body\":\"x\",\"ttl_ms\":-1}", "ttl_ms" },
		{ "send", "{\"to\":\"a\",\"body\":\"x\",\"ttl_ms\":1.5}", "ttl_ms" },
		{ "outbox.list", "{\"limit\":0}", "limit" },
		{ "outbox.list", "{\"limit\":1001}", "limit" },
		{ "inbox.list", "{\"bodies\":\"yes\"}", "bodies" },
		{ "version", "{\"x\":1}", "x" },
		{ "version", "[]", "object" },
		{ "wait", "{\"msg_id\":\"m\"}", "wait_ms" },
		{ "events.subscribe", "{\"types\":[1]}", "types" },
		{ "events.subscribe", "{\"types\":\"message.\"}", "types" },
		{ "outbox.list", "{\"state\":\"gone\"}", "state" },
		{ "peers.list", "{\"state\":\"gone\"}", "state" },
		{ "inbox.list", "{\"state\":\"dropped\"}", "state" },
	};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		json_t *r = edge_error(&e, bad[i].method, bad[i].params);

		assert_int_equal(num(r, "code"), RPC_BAD_PARAMS);
		assert_non_null(strstr(json_str(r, "message"), bad[i].says));
		assert_int_equal(num(json_object_get(r, "data"), "exit"), EXIT_USAGE);
		json_decref(r);
	}
}

static void what_needs_no_daemon_is_refused_by_one(void **state)
{
	edge_refused(&e, "keys.generate", "{\"name\":\"x\",\"clear\":true}", "state");
	edge_refused(&e, "keys.migrate", "{}", "state");
}

/* --- send ---------------------------------------------------------------------------------------------- */
static void send_answers_after_the_commit_only(void **state)
{
	struct outbox_row row;
	json_t *v, *r;

	edge_peer(&e, "bob");
	edge_line(&e, "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"send\",\"params\":"
		      "{\"to\":\"bob\",\"body\":\"hi\",\"msg_id\":\"m-1\"}}");
	assert_null(edge_next(&e));
	assert_true(store_dirty(e.store));
	edge_turn(&e);
	assert_false(store_dirty(e.store));
	v = edge_next(&e);
	assert_string_equal(json_str(v, "id"), "a");
	r = json_object_get(v, "result");
	assert_string_equal(json_str(r, "schema"), "ironmesh.send/1");
	assert_string_equal(json_str(r, "msg_id"), "m-1");
	assert_string_equal(json_str(r, "state"), "queued");
	assert_string_equal(json_str(json_object_get(r, "to"), "name"), "bob");
	json_decref(v);
	assert_int_equal(outbox_get(e.store, BYTES_LIT("m-1"), &row), ERR_OK);
	assert_int_equal(row.body_len, 2);
	edge_refused(&e, "send", "{\"to\":\"bob\",\"body\":\"hi\",\"msg_id\":\"m-1\"}", "exists");
}

static void send_says_that_the_disk_refused(void **state)
{
	edge_peer(&e, "bob");
	edge_line(&e, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"send\",\"params\":{\"to\":\"bob\",\"body\":\"hi\"}}");
	store_fail_after(e.store, 1); /* the commit */
	edge_turn(&e);
	json_t *v = edge_next(&e);

	assert_string_equal(json_str(json_object_get(json_object_get(v, "error"), "data"), "err"), "store");
	json_decref(v);
	json_decref(edge_ok(&e, "send", "{\"to\":\"bob\",\"body\":\"hi\"}"));
}

static void send_refuses_what_it_cannot_promise(void **state)
{
	struct node_id id = edge_peer(&e, "bob");

	edge_refused(&e, "send", "{\"to\":\"bbo\",\"body\":\"x\"}", "not-found");
	edge_refused(&e, "send", "{\"to\":\"bob\"}", "usage");
	edge_refused(&e, "send", "{\"to\":\"bob\",\"body\":\"x\",\"body_b64\":\"eA==\"}", "usage");
	edge_refused(&e, "send", "{\"to\":\"bob\",\"body_b64\":\"eA=\"}", "usage");
	edge_refused(&e, "send", "{\"to\":\"bob\",\"body\":\"x\",\"priority\":\"soon\"}", "usage");
	edge_refused(&e, "send", "{\"to\":\"bob\",\"body\":\"x\",\"wait_for\":\"luck\"}", "usage");
	edge_refused(&e, "send", "{\"to\":\"bob\",\"body\":\"x\",\"type\":\"ACK\"}", "usage");
	edge_refused(&e, "send", "{\"to\":\"bob\",\"body\":\"x\",\"msg_id\":\"\"}", "usage");
	assert_int_equal(pins_set_state(e.pins, &id, PIN_BLOCKED, NULL, NULL), ERR_OK);
	edge_refused(&e, "send", "{\"to\":\"bob\",\"body\":\"x\"}", "untrusted");
	assert_int_equal(timers_run(&e.env), 0);
}

static void event_of(const char *type, const char *id, const char *reason, uint64_t in_ms)
{
	struct node_event ev = { .type = type, .msg_id = id, .reason = reason, .in_ms = in_ms, .via = "ws" };

	events_observe(e.events, &ev);
}

static const char WAITING[] = "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"send\",\"params\":"
			      "{\"to\":\"bob\",\"body\":\"x\",\"msg_id\":\"m\",\"wait_ms\":500}}";

static void a_wait_ends_with_the_delivery(void **state)
{
	json_t *v, *r;

	edge_peer(&e, "bob");
	edge_line(&e, WAITING);
	edge_turn(&e);
	assert_null(edge_next(&e));
	e.now_ms += 20;
	event_of("message.sent", "m", NULL, 0);
	event_of("message.delivered", "other", NULL, 5);
	assert_null(edge_next(&e));
	event_of("message.delivered", "m", NULL, 19);
	v = edge_next(&e);
	r = json_object_get(v, "result");
	assert_string_equal(json_str(r, "state"), "delivered");
	assert_int_equal(num(r, "delivered_in_ms"), 19);
	assert_int_equal(num(r, "waited_ms"), 20);
	assert_string_equal(json_str(r, "via"), "ws");
	assert_true(json_is_false(json_object_get(r, "timed_out")));
	json_decref(v);
	event_of("message.delivered", "m", NULL, 19);
	edge_sleep(&e, 1000);
	assert_null(edge_next(&e));
}

static void a_wait_ends_with_its_time(void **state)
{
	json_t *v, *r;

	edge_peer(&e, "bob");
	edge_line(&e, WAITING);
	edge_turn(&e);
	edge_sleep(&e, 499);
	assert_null(edge_next(&e));
	edge_sleep(&e, 1);
	v = edge_next(&e);
	r = json_object_get(v, "result");
	assert_true(json_is_true(json_object_get(r, "timed_out")));
	assert_string_equal(json_str(r, "state"), "queued");
	json_decref(v);
}

static void a_wait_for_a_peer_that_never_confirms_ends_with_sent(void **state)
{
	json_t *v;

	edge_peer(&e, "bob");
	edge_line(&e, WAITING);
	edge_turn(&e);
	event_of("message.sent", "m", "peer-never-confirms", 0);
	v = edge_next(&e);
	assert_string_equal(json_str(json_object_get(v, "result"), "state"), "sent");
	assert_string_equal(json_str(json_object_get(v, "result"), "reason"), "peer-never-confirms");
	json_decref(v);
}

static void wait_sees_what_has_ended_before(void **state)
{
	json_t *r;

	edge_peer(&e, "bob");
	json_decref(edge_ok(&e, "send", "{\"to\":\"bob\",\"body\":\"x\",\"msg_id\":\"m\"}"));
	json_decref(edge_ok(&e, "outbox.cancel", "{\"msg_id\":\"m\"}"));
	r = edge_ok(&e, "wait", "{\"msg_id\":\"m\",\"wait_ms\":1000}");
	assert_string_equal(json_str(r, "state"), "cancelled");
	json_decref(r);
	edge_refused(&e, "wait", "{\"msg_id\":\"none\",\"wait_ms\":1}", "not-found");
}

static void a_closed_connection_leaves_nothing_behind(void **state)
{
	struct outbox_row row;

	edge_peer(&e, "bob");
	edge_line(&e, WAITING);
	edge_line(&e, "{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"inbox.take\",\"params\":{\"wait_ms\":500}}");
	edge_line(&e, "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"events.subscribe\"}");
	json_decref(edge_next(&e));
	rpc_close(&e.rpc); /* before the commit */
	edge_sleep(&e, 1000);
	event_of("message.delivered", "m", NULL, 1);
	assert_null(edge_next(&e));
	/* The message itself was promised to nobody, and is kept all the same. */
	assert_int_equal(outbox_get(e.store, BYTES_LIT("m"), &row), ERR_OK);
}

static void after_an_end_of_file_only_commits_are_waited_for(void **state)
{
	json_t *v;

	edge_peer(&e, "bob");
	edge_line(&e, "{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"inbox.take\",\"params\":{\"wait_ms\":500}}");
	edge_line(&e, "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"send\",\"params\":{\"to\":\"bob\",\"body\":\"x\"}}");
	rpc_ended(&e.rpc);
	assert_int_equal(e.rpc.unanswered, 1);
	edge_turn(&e);
	v = edge_next(&e);
	assert_int_equal(num(v, "id"), 9);
	json_decref(v);
	assert_int_equal(e.rpc.unanswered, 0);
}

/* --- outbox ----------------------------------------------------------------------------------------------- */
static void the_outbox_shows_cancels_and_retries(void **state)
{
	json_t *r;

	edge_peer(&e, "bob");
	json_decref(edge_ok(&e, "send", "{\"to\":\"bob\",\"body\":\"x\",\"msg_id\":\"a\",\"priority\":\"high\"}"));
	json_decref(edge_ok(&e, "send", "{\"to\":\"bob\",\"body\":\"y\",\"msg_id\":\"b\",\"type\":\"REQ\"}"));
	r = edge_ok(&e, "outbox.list", "{}");
	json_t *m = json_array_get(json_object_get(r, "messages"), 0);

	assert_int_equal(json_array_size(json_object_get(r, "messages")), 2);
	assert_string_equal(json_str(m, "msg_id"), "b");
	assert_string_equal(json_str(m, "type"), "REQ");
	assert_string_equal(json_str(m, "priority"), "normal");
	assert_int_equal(num(m, "size"), 1);
	json_decref(r);
	r = edge_ok(&e, "outbox.list", "{\"before\":2,\"peer\":\"bob\",\"state\":\"queued\"}");
	assert_int_equal(json_array_size(json_object_get(r, "messages")), 1);
	json_decref(r);
	r = edge_ok(&e, "outbox.cancel", "{\"msg_id\":\"a\"}");
	assert_string_equal(json_str(r, "state"), "cancelled");
	json_decref(r);
	edge_refused(&e, "outbox.cancel", "{\"msg_id\":\"a\"}", "state");
	r = edge_ok(&e, "outbox.retry", "{\"msg_id\":\"a\"}");
	assert_string_equal(json_str(r, "state"), "queued");
	json_decref(r);
	r = edge_ok(&e, "outbox.show", "{\"msg_id\":\"a\"}");
	assert_string_equal(json_str(r, "priority"), "high");
	json_decref(r);
	edge_refused(&e, "outbox.show", "{\"msg_id\":\"z\"}", "not-found");
}

/* --- inbox ------------------------------------------------------------------------------------------------- */
static void take_marks_as_read_and_gives_each_once(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	struct inbox_row row;
	json_t *r, *m;
	int64_t seq = edge_receive(&e, &bob, "m1", BYTES_LIT("one"));

	edge_receive(&e, &bob, "m2", BYTES_LIT("t\0o"));
	r = edge_ok(&e, "inbox.list", "{}");
	assert_int_equal(json_array_size(json_object_get(r, "messages")), 2);
	json_decref(r);
	r = edge_ok(&e, "inbox.take", "{}");
	m = json_array_get(json_object_get(r, "messages"), 0);
	assert_string_equal(json_str(m, "body"), "one");
	assert_string_equal(json_str(json_object_get(m, "from"), "name"), "bob");
	json_decref(r);
	assert_false(store_dirty(e.store));
	assert_int_equal(inbox_get(e.store, seq, &row), ERR_OK);
	assert_int_equal(row.state, INBOX_READ);
	r = edge_ok(&e, "inbox.take", "{\"limit\":5}");
	assert_int_equal(json_array_size(json_object_get(r, "messages")), 1);
	assert_string_equal(json_str(json_array_get(json_object_get(r, "messages"), 0), "body_b64"), "dABv");
	json_decref(r);
	r = edge_ok(&e, "inbox.take", "{\"limit\":5}");
	assert_int_equal(json_array_size(json_object_get(r, "messages")), 0);
	json_decref(r);
}

static void a_message_is_shown_with_all_it_has(void **state)
{
	static const char *const keys[] = { "seq", "msg_id", "from", "via", "type", "priority", "state", "created_ms",
					    "received_ms", "read_ms", "proven", "size", "kind", "conversation", "reply_to",
					    "expects_reply", "turn", "max_turns", "content_type", "signed", "sealed", "no_fs",
					    "expires_ms", "body" };
	struct node_id bob = edge_peer(&e, "bob");
	json_t *r, *m, *list;

	edge_receive(&e, &bob, "m1", BYTES_LIT("gr\xc3\xbc\xc3\x9f \"\\\x7f\n"));
	edge_receive(&e, &bob, "m2", BYTES_LIT(""));
	r = edge_ok(&e, "inbox.list", "{\"bodies\":true}");
	list = json_object_get(r, "messages");
	m = json_array_get(list, 0);
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		assert_non_null(json_object_get(m, keys[i]));
	assert_int_equal(json_object_size(m), sizeof keys / sizeof keys[0]);
	assert_string_equal(json_str(m, "body"), "gr\xc3\xbc\xc3\x9f \"\\\x7f\n");
	assert_true(json_equal(json_object_get(m, "from"), json_object_get(m, "via")));
	assert_string_equal(json_str(json_object_get(m, "via"), "id"), bob.hex);
	assert_string_equal(json_str(m, "msg_id"), "m1");
	assert_string_equal(json_str(m, "kind"), "message");
	assert_string_equal(json_str(m, "state"), "new");
	assert_int_equal(num(m, "size"), 11);
	assert_string_equal(json_str(json_array_get(list, 1), "body"), "");
	json_decref(r);
	r = edge_ok(&e, "inbox.list", "{\"bodies\":false}");
	m = json_array_get(json_object_get(r, "messages"), 1);
	assert_null(json_object_get(m, "body"));
	assert_int_equal(json_object_size(m), sizeof keys / sizeof keys[0] - 1);
	json_decref(r);
}

static void take_hands_out_nothing_it_could_not_mark(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	json_t *r;

	edge_receive(&e, &bob, "m1", BYTES_LIT("one"));
	store_fail_after(e.store, 1);
	edge_refused(&e, "inbox.take", "{}", "store");
	edge_turn(&e);
	store_fail_after(e.store, 2); /* the commit */
	edge_refused(&e, "inbox.take", "{}", "store");
	edge_turn(&e);
	r = edge_ok(&e, "inbox.take", "{}");
	assert_int_equal(json_array_size(json_object_get(r, "messages")), 1);
	json_decref(r);
}

static void a_waiting_take_gets_what_arrives_from_the_right_peer(void **state)
{
	struct node_id bob = edge_peer(&e, "bob"), carol = edge_peer(&e, "carol");
	json_t *v;

	edge_line(&e, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"inbox.take\","
		      "\"params\":{\"wait_ms\":500,\"from\":\"bob\"}}");
	edge_line(&e, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"inbox.take\","
		      "\"params\":{\"wait_ms\":400,\"from\":\"bob\"}}");
	edge_receive(&e, &carol, "c", BYTES_LIT("no"));
	edge_turn(&e);
	assert_null(edge_next(&e));
	edge_receive(&e, &bob, "b", BYTES_LIT("yes"));
	edge_turn(&e);
	v = edge_next(&e);
	assert_int_equal(num(v, "id"), 1);
	assert_string_equal(
		json_str(json_array_get(json_object_get(json_object_get(v, "result"), "messages"), 0), "body"),
		"yes");
	json_decref(v);
	assert_null(edge_next(&e)); /* one message, one taker; the other waits on */
	edge_sleep(&e, 400);
	v = edge_next(&e);
	assert_int_equal(num(v, "id"), 2);
	assert_int_equal(json_array_size(json_object_get(json_object_get(v, "result"), "messages")), 0);
	json_decref(v);
}

static void ack_false_leaves_the_message_new_until_the_ack(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	char params[64];
	json_t *r;
	int64_t seq = edge_receive(&e, &bob, "m", BYTES_LIT("one"));

	for (int i = 0; i < 2; i++) {
		r = edge_ok(&e, "inbox.take", "{\"ack\":false}");
		assert_int_equal(json_array_size(json_object_get(r, "messages")), 1);
		json_decref(r);
	}
	snprintf(params, sizeof params, "{\"seq\":%lld}", (long long)seq);
	for (int64_t want = 1; want >= 0; want--) {
		r = edge_ok(&e, "inbox.ack", params);
		assert_int_equal(num(r, "changed"), want);
		json_decref(r);
	}
	r = edge_ok(&e, "inbox.delete", params);
	assert_int_equal(num(r, "changed"), 1);
	json_decref(r);
	assert_false(store_dirty(e.store));
	edge_refused(&e, "inbox.ack", "{\"msg_id\":\"zz\"}", "not-found");
	edge_refused(&e, "inbox.ack", "{}", "usage");
	edge_refused(&e, "inbox.delete", "{\"seq\":77}", "not-found");
}

static void a_list_of_large_bodies_fits_the_line(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	char *big = malloc(MSG_BODY_MAX), id[8], params[64];
	size_t got = 0, n;
	int64_t after = 0;
	json_t *r, *list;

	assert_non_null(big);
	for (int i = 0; i < 6; i++) {
		/* Letters, what JSON doubles, control characters, and no text at all. */
		memset(big, i == 1 ? '"' : i == 2 ? 1 : i == 3 ? 0xff : 'a', MSG_BODY_MAX);
		snprintf(id, sizeof id, "m%d", i);
		edge_receive(&e, &bob, id, bytes_of(big, MSG_BODY_MAX));
	}
	free(big);
	do {
		snprintf(params, sizeof params, "{\"after\":%lld}", (long long)after);
		r = edge_ok(&e, "inbox.list", params);
		list = json_object_get(r, "messages");
		n = json_array_size(list);
		got += n;
		if (n)
			after = num(json_array_get(list, n - 1), "seq");
		json_decref(r);
	} while (n);
	assert_int_equal(got, 6);
}

/* --- events -------------------------------------------------------------------------------------------------- */
static void events_follow_the_prefixes_and_say_what_was_lost(void **state)
{
	json_t *v, *p;

	json_decref(edge_ok(&e, "events.subscribe", "{\"types\":[\"message.\"]}"));
	event_of("peer.online", "m", NULL, 0);
	assert_null(edge_next(&e));
	event_of("message.delivered", "m", NULL, 3);
	v = edge_next(&e);
	p = json_object_get(v, "params");
	assert_string_equal(json_str(v, "method"), "event");
	assert_string_equal(json_str(p, "schema"), "ironmesh.event/1");
	assert_string_equal(json_str(p, "type"), "message.delivered");
	assert_int_equal(num(p, "in_ms"), 3);
	json_decref(v);
	e.room = 0;
	for (int i = 0; i < 3; i++)
		event_of("message.read", "m", NULL, 0);
	assert_null(edge_next(&e));
	e.room = SIZE_MAX;
	event_of("message.read", "last", NULL, 0);
	v = edge_next(&e);
	assert_string_equal(json_str(json_object_get(v, "params"), "type"), "events.lost");
	assert_int_equal(num(json_object_get(v, "params"), "count"), 3);
	json_decref(v);
	v = edge_next(&e);
	assert_string_equal(json_str(json_object_get(v, "params"), "msg_id"), "last");
	json_decref(v);
}

static void text_of_strangers_is_cleaned_in_events(void **state)
{
	struct node_event ev = { .type = "peer.refused", .name = "e\x1b[31m\"\n", .reason = "r" };
	json_t *v;

	json_decref(edge_ok(&e, "events.subscribe", "{}"));
	events_observe(e.events, &ev);
	v = edge_next(&e);
	assert_null(strchr(json_str(json_object_get(v, "params"), "name"), '\x1b'));
	json_decref(v);
}

/* --- peers and trust ------------------------------------------------------------------------------------------- */
static void decisions_about_peers(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	char params[160], fp[FINGERPRINT_LEN];
	json_t *r;

	r = edge_ok(&e, "peers.block", "{\"peer\":\"bob\",\"reason\":\"loud\"}");
	assert_string_equal(json_str(r, "state"), "blocked");
	assert_string_equal(json_str(r, "reason"), "loud");
	json_decref(r);
	r = edge_ok(&e, "peers.approve", "{\"peer\":\"bob\"}");
	assert_string_equal(json_str(r, "state"), "trusted");
	json_decref(r);
	r = edge_ok(&e, "peers.alias", "{\"peer\":\"bob\",\"alias\":\"b\"}");
	assert_string_equal(json_str(r, "alias"), "b");
	json_decref(r);
	snprintf(params, sizeof params, "{\"peer\":\"b\",\"fingerprint\":\"%s\"}", fingerprint_text(&bob, fp));
	r = edge_ok(&e, "trust.verify", params);
	assert_true(json_is_true(json_object_get(r, "verified")));
	json_decref(r);
	snprintf(params, sizeof params, "{\"peer\":\"b\",\"fingerprint\":\"%.38s\"}", fp);
	edge_refused(&e, "trust.verify", params, "auth");
	edge_refused(&e, "trust.verify", "{\"peer\":\"b\"}", "usage");
	edge_refused(&e, "trust.verify", "{\"peer\":\"b\",\"confirm\":false}", "usage");
	edge_refused(&e, "trust.set_state", "{\"peer\":\"b\",\"state\":\"revoked\"}", "usage");
	r = edge_ok(&e, "trust.set_state", "{\"peer\":\"b\",\"state\":\"pending\"}");
	assert_string_equal(json_str(r, "state"), "pending");
	json_decref(r);
	json_decref(edge_ok(&e, "trust.revoke", "{\"peer\":\"b\",\"reason\":\"lost\"}"));
	edge_refused(&e, "peers.approve", "{\"peer\":\"b\"}", "state");
	edge_refused(&e, "peers.forget", "{\"peer\":\"b\"}", "state");
	r = edge_ok(&e, "trust.list", "{}");
	assert_int_equal(json_array_size(json_object_get(r, "pins")), 1);
	json_decref(r);
	r = edge_ok(&e, "status", "{}");
	assert_int_equal(num(json_object_get(r, "peers"), "revoked"), 1);
	json_decref(r);
}

static void a_pinned_key_is_a_key_and_not_our_own(void **state)
{
	char own[BASE64_LEN(ED_BYTES) + 1], params[160];

	base64_encode(bytes_of(keyring_ed(e.keyring), ED_BYTES), own);
	snprintf(params, sizeof params, "{\"public_key\":\"%s\",\"name\":\"x\"}", own);
	edge_refused(&e, "trust.pin", params, "self");
	edge_refused(&e, "trust.pin", "{\"public_key\":\"AAAA\",\"name\":\"x\"}", "usage");
	edge_refused(&e, "trust.pin",
		     "{\"public_key\":\"//////////////////////////////////////////8=\",\"name\":\"x\"}", "usage");
	edge_refused(&e, "ping", "{\"peer\":\"x\"}", "not-found");
	edge_peer(&e, "x");
	edge_refused(&e, "ping", "{\"peer\":\"x\"}", "closed");
}

static void a_rotated_node_changes_nothing_any_more(void **state)
{
	edge_peer(&e, "bob");
	e.cx.rotated = true;
	edge_refused(&e, "send", "{\"to\":\"bob\",\"body\":\"x\"}", "state");
	edge_refused(&e, "peers.block", "{\"peer\":\"bob\"}", "state");
	json_decref(edge_ok(&e, "peers.list", "{}"));
}

/* --- JSON-RPC ------------------------------------------------------------------------------------------------- */
static void bad_lines_are_answered_by_their_code(void **state)
{
	static const struct {
		const char *line;
		int code;
	} bad[] = {
		{ "x", RPC_NOT_JSON },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"version\"}", RPC_NOT_JSON },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"} x", RPC_NOT_JSON },
		{ "[]", RPC_NOT_REQUEST },
		{ "{\"id\":1,\"method\":\"version\"}", RPC_NOT_REQUEST },
		{ "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"version\"}", RPC_NOT_REQUEST },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1}", RPC_NOT_REQUEST },
		{ "{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"version\"}", RPC_NOT_REQUEST },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"versio\"}", RPC_NO_METHOD },
	};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		edge_line(&e, bad[i].line);
		json_t *v = edge_next(&e);

		assert_non_null(v);
		assert_int_equal(num(json_object_get(v, "error"), "code"), bad[i].code);
		assert_true(bad[i].code == RPC_NO_METHOD || json_is_null(json_object_get(v, "id")));
		json_decref(v);
	}
	edge_line(&e, "");
	edge_line(&e, " \t\r");
	edge_line(&e, "{\"jsonrpc\":\"2.0\",\"method\":\"version\"}");
	edge_line(&e, "{\"jsonrpc\":\"2.0\",\"method\":\"nothing\",\"id\":null}");
	assert_null(edge_next(&e));
	assert_int_equal(e.rpc.unanswered, 0);
}

static void an_id_comes_back_as_it_was(void **state)
{
	static const char *const ids[] = { "0", "-5", "9007199254740993", "\"x\"", "\"\"", "\"a\\\"b\\u00e9\"" };

	for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
		char line[160], want[64];
		json_t *v;

		snprintf(line, sizeof line, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"version\"}", ids[i]);
		edge_line(&e, line);
		v = edge_next(&e);
		assert_non_null(v);
		size_t n = json_dumpb(json_object_get(v, "id"), want, sizeof want - 1,
				      JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
		want[n] = 0;
		for (char *c = want; *c; c++) /* jansson prints \u00E9 */
			*c = *c == 'E' ? 'e' : *c;
		assert_string_equal(want, ids[i]);
		json_decref(v);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(the_manual_describes_the_table),
		T(no_method_and_no_parameter_is_there_twice),
		T(every_method_has_one_role_or_none),
		T(parameters_are_checked_by_name_type_and_range),
		T(what_needs_no_daemon_is_refused_by_one),
		T(send_answers_after_the_commit_only),
		T(send_says_that_the_disk_refused),
		T(send_refuses_what_it_cannot_promise),
		T(a_wait_ends_with_the_delivery),
		T(a_wait_ends_with_its_time),
		T(a_wait_for_a_peer_that_never_confirms_ends_with_sent),
		T(wait_sees_what_has_ended_before),
		T(a_closed_connection_leaves_nothing_behind),
		T(after_an_end_of_file_only_commits_are_waited_for),
		T(the_outbox_shows_cancels_and_retries),
		T(take_marks_as_read_and_gives_each_once),
		T(a_message_is_shown_with_all_it_has),
		T(take_hands_out_nothing_it_could_not_mark),
		T(a_waiting_take_gets_what_arrives_from_the_right_peer),
		T(ack_false_leaves_the_message_new_until_the_ack),
		T(a_list_of_large_bodies_fits_the_line),
		T(events_follow_the_prefixes_and_say_what_was_lost),
		T(text_of_strangers_is_cleaned_in_events),
		T(decisions_about_peers),
		T(a_pinned_key_is_a_key_and_not_our_own),
		T(a_rotated_node_changes_nothing_any_more),
		T(bad_lines_are_answered_by_their_code),
		T(an_id_comes_back_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
