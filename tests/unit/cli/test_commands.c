/* Whole commands, as a user types them, against a scripted daemon. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/text.h"
#include "tests/lib/cli_rig.h"

static struct rig r;

static int setup(void **state)
{
	rig_open(&r);
	return 0;
}

static int teardown(void **state)
{
	rig_close(&r);
	return 0;
}

#define SCRIPT(...)                                                                                \
	do {                                                                                       \
		static const struct exchange x_[] = { __VA_ARGS__ };                               \
		rig_serve(&r, x_, sizeof(x_) / sizeof(x_[0]));                                     \
	} while (0)
#define RUN(...) rig_run(&r, __VA_ARGS__, NULL)

static void no_daemon_is_exit_3_with_the_command_that_starts_one(void **state)
{
	char command[200];
	json_t *v;

	assert_int_equal(RUN("send", "--home", "@", "bob", "hi"), 3);
	snprintf(command, sizeof(command), "next: ironmesh run --home %s --name NAME", r.home);
	assert_true(rig_warned(&r, command));
	assert_string_equal(r.out, "");
	assert_int_equal(RUN("--json", "send", "bob", "hi", "--home", "@"), 3);
	v = rig_json(&r);
	assert_string_equal(json_str(v, "schema"), "ironmesh.error/1");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(v, "error"), "exit")), 3);
	json_decref(v);
}

static void send_hands_over_bytes_and_prints_the_id(void **state)
{
	SCRIPT({ "send", "{\"to\":\"bob\",\"body_b64\":\"aGVsbG8=\"}",
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"m1\",\"state\":\"queued\"}" });
	assert_int_equal(RUN("send", "--home", "@", "bob", "hello"), 0);
	assert_string_equal(r.out, "queued as m1\n");
	assert_true(rig_warned(&r, "outbox show m1"));
}

static void send_passes_every_option_on(void **state)
{
	SCRIPT({ "send",
		 "{\"to\":\"bob\",\"body_b64\":\"aA==\",\"type\":\"REQ\",\"priority\":\"high\","
		 "\"msg_id\":\"x1\",\"ttl_ms\":60000,\"wait_ms\":30000,\"wait_for\":\"read\"}",
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"x1\",\"state\":\"read\",\"via\":\"ws\"}" });
	assert_int_equal(RUN("send", "bob", "h", "--type", "REQ", "--priority", "high", "--id", "x1", "--ttl",
			     "1m", "--wait-for", "read", "--home", "@"),
			 0);
	assert_string_equal(r.out, "read via ws\n");
}

static void send_says_what_im2_adds(void **state)
{
	SCRIPT({ "send",
		 "{\"to\":\"bob\",\"body_b64\":\"aA==\",\"kind\":\"request\",\"conversation\":\"new\","
		 "\"expects_reply\":true,\"max_turns\":8,\"turn\":0,\"content_type\":\"application/json\"}",
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"x1\",\"state\":\"queued\",\"conversation\":\"c0ffee\"}" },
	       { "send",
		 "{\"to\":\"bob\",\"body_b64\":\"aA==\",\"reply_to\":\"x1\",\"agent\":true,\"no_receipt\":true,"
		 "\"no_read_receipt\":true}",
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"x2\",\"state\":\"queued\",\"unlinked\":true}" },
	       { "send", "{\"to\":\"bob\",\"body_b64\":\"aA==\",\"volatile\":true}",
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"x3\",\"state\":\"sent\",\"volatile\":true}" },
	       { "send", NULL, NULL,
		 "{\"code\":-32000,\"message\":\"bob is not connected\",\"data\":{\"err\":\"closed\",\"exit\":75,"
		 "\"next\":\"ironmesh peers show bob\"}}" },
	       { "send", NULL,
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"x4\",\"state\":\"unknown\",\"timed_out\":false}" });
	assert_int_equal(RUN("send", "bob", "h", "--kind", "request", "--conversation", "new", "--expects-reply",
			     "--max-turns", "8", "--turn", "0", "--content-type", "application/json", "--home", "@"),
			 0);
	assert_string_equal(r.out, "queued as x1\nconversation c0ffee\n");
	assert_int_equal(RUN("send", "bob", "h", "--reply-to", "x1", "--agent", "--no-receipt",
			     "--no-read-receipt", "--home", "@"), 0);
	assert_true(rig_warned(&r, "without --reply-to"));
	assert_int_equal(RUN("send", "bob", "h", "--volatile", "--home", "@"), 0);
	assert_string_equal(r.out, "sent, and kept nowhere\n");
	assert_int_equal(RUN("send", "bob", "h", "--volatile", "--home", "@"), 75);
	assert_true(rig_warned(&r, "peers show bob"));
	assert_int_equal(RUN("send", "bob", "h", "--wait", "1s", "--home", "@"), 6);
	assert_true(rig_warned(&r, "may have been delivered"));
	assert_int_equal(RUN("send", "bob", "h", "--volatile", "--wait", "1s", "--home", "@"), 2);
	assert_int_equal(RUN("send", "bob", "h", "--volatile", "--id", "x", "--home", "@"), 2);
	assert_int_equal(RUN("send", "bob", "h", "--kind", "reply", "--home", "@"), 2);
	assert_int_equal(RUN("send", "bob", "h", "--turn", "65536", "--home", "@"), 2);
}

static void what_im2_adds_is_shown(void **state)
{
#define IM2_FIELDS                                                                                 \
	"\"kind\":\"request\",\"conversation\":\"c0ffee\",\"reply_to\":\"beef\",\"turn\":3,\"max_turns\":9," \
	"\"expects_reply\":true,\"content_type\":\"application/json\",\"expires_ms\":86400000,\"signed\":true"
	SCRIPT({ "inbox.list", NULL,
		 "{\"schema\":\"s/1\",\"messages\":[{\"seq\":7,\"from\":{\"id\":\"bb\",\"name\":\"bob\"},\"body\":\"x\","
		 IM2_FIELDS "}]}" },
	       { "outbox.show", NULL,
		 "{\"schema\":\"s/1\",\"msg_id\":\"m\",\"state\":\"unknown\",\"no_receipt\":true," IM2_FIELDS "}" });
	assert_int_equal(RUN("inbox", "show", "7", "--home", "@"), 0);
	assert_true(rig_said(&r, "request"));
	assert_true(rig_said(&r, "c0ffee"));
	assert_true(rig_said(&r, "beef"));
	assert_true(rig_said(&r, "3 of 9"));
	assert_true(rig_said(&r, "an answer"));
	assert_true(rig_said(&r, "application/json"));
	assert_true(rig_said(&r, "by its author"));
	assert_true(rig_said(&r, "expires"));
	assert_int_equal(RUN("outbox", "show", "m", "--home", "@"), 0);
	assert_true(rig_said(&r, "unknown (may have been delivered)"));
	assert_true(rig_said(&r, "none was asked for"));
}

#define VOLATILE(n, from)                                                                          \
	"{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"schema\":\"ironmesh.event/1\",\"seq\":" #n \
	",\"at_ms\":1,\"type\":\"message.volatile\",\"from\":\"" from "\",\"name\":\"b\\u001bob\",\"msg_id\":\"m" #n \
	"\",\"size\":3,\"kind\":\"event\",\"body\":\"one\"}}"
#define LOST "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"type\":\"events.lost\",\"count\":5,\"volatile\":5}}"
#define SUBSCRIBED "{\"schema\":\"ironmesh.events/1\",\"subscribed\":true}"

static void recv_prints_volatile_messages_as_they_come(void **state)
{
	json_t *v, *m;

	SCRIPT({ "events.subscribe", "{\"types\":[\"message.volatile\"]}", SUBSCRIBED, NULL, VOLATILE(1, "bb") },
	       { "events.subscribe", NULL, SUBSCRIBED, NULL, VOLATILE(1, "bb") },
	       { "events.subscribe", NULL, SUBSCRIBED, NULL, LOST "\n" VOLATILE(6, "bb") "\n" VOLATILE(7, "bb") },
	       { "peers.show", "{\"peer\":\"carol\"}", "{\"schema\":\"ironmesh.peer/1\",\"id\":\"cc\"}" },
	       { "events.subscribe", NULL, SUBSCRIBED, NULL, VOLATILE(1, "bb") "\n" VOLATILE(2, "cc") },
	       { "events.subscribe", NULL, SUBSCRIBED });
	assert_int_equal(RUN("recv", "--volatile", "--home", "@"), 0);
	assert_true(rig_said(&r, "b?ob"));
	assert_true(rig_said(&r, "volatile"));
	assert_true(rig_said(&r, "\none\n"));
	assert_int_equal(RUN("recv", "--volatile", "--json", "--home", "@"), 0);
	v = rig_json(&r);
	m = json_array_get(json_object_get(v, "messages"), 0);
	assert_string_equal(json_str(json_object_get(m, "from"), "id"), "bb");
	assert_string_equal(json_str(m, "body"), "one");
	assert_true(json_is_true(json_object_get(m, "volatile")));
	json_decref(v);
	assert_int_equal(RUN("recv", "--volatile", "--follow", "--count", "2", "--raw", "--home", "@"), 0);
	assert_string_equal(r.out, "oneone");
	assert_true(rig_warned(&r, "5 messages were lost"));
	assert_int_equal(RUN("recv", "--volatile", "--from", "carol", "--json", "--home", "@"), 0);
	v = rig_json(&r);
	assert_string_equal(json_str(json_array_get(json_object_get(v, "messages"), 0), "msg_id"), "m2");
	json_decref(v);
	assert_int_equal(RUN("recv", "--volatile", "--home", "@"), 3); /* the daemon went away */
}

static void send_waits_and_says_how_long_it_took(void **state)
{
	SCRIPT({ "send", "{\"to\":\"bob\",\"body_b64\":\"aGk=\",\"wait_ms\":5000}",
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"m\",\"state\":\"delivered\",\"via\":\"ws\","
		 "\"delivered_in_ms\":12,\"timed_out\":false}" });
	assert_int_equal(RUN("send", "--home", "@", "bob", "hi", "--wait", "5s"), 0);
	assert_string_equal(r.out, "delivered in 12 ms via ws\n");
	assert_string_equal(r.err, "");
}

static void wait_takes_what_to_wait_for_and_how_long(void **state)
{
	SCRIPT({ "send", "{\"to\":\"bob\",\"body_b64\":\"aGk=\",\"wait_ms\":30000,\"wait_for\":\"delivered\"}",
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"m\",\"state\":\"delivered\",\"via\":\"ws\"}" },
	       { "send", "{\"to\":\"bob\",\"body_b64\":\"aGk=\",\"wait_ms\":2000,\"wait_for\":\"read\"}",
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"m\",\"state\":\"read\",\"via\":\"ws\"}" });
	assert_int_equal(RUN("send", "--home", "@", "bob", "hi", "--wait", "delivered"), 0);
	assert_int_equal(RUN("send", "--home", "@", "--wait", "read", "--wait", "2s", "bob", "hi"), 0);
	assert_int_equal(RUN("send", "--home", "@", "bob", "hi", "--wait", "read", "--wait-for", "sent"), 2);
}

static void send_exits_6_when_the_wait_ends_first(void **state)
{
	json_t *v;

	SCRIPT({ "send", "{\"to\":\"bob\",\"body_b64\":\"aGk=\",\"wait_ms\":100}",
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"m7\",\"state\":\"queued\",\"timed_out\":true}" },
	       { "send", NULL,
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"m8\",\"state\":\"queued\",\"timed_out\":true}" });
	assert_int_equal(RUN("send", "--home", "@", "bob", "hi", "--wait", "100ms"), 6);
	assert_string_equal(r.out, "queued as m7\n");
	assert_true(rig_warned(&r, "stays queued"));
	assert_true(rig_warned(&r, "outbox show m7"));
	assert_int_equal(RUN("send", "--home", "@", "bob", "hi", "--wait", "100ms", "--json"), 6);
	v = rig_json(&r);
	assert_string_equal(json_str(v, "schema"), "ironmesh.send/1");
	assert_true(json_is_true(json_object_get(v, "timed_out")));
	json_decref(v);
}

static void send_says_when_the_old_software_never_confirms(void **state)
{
	SCRIPT({ "send", NULL,
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"m\",\"state\":\"sent\",\"via\":\"ws\","
		 "\"reason\":\"peer-never-confirms\",\"timed_out\":false}" },
	       { "send", NULL,
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"m\",\"state\":\"sent\",\"via\":\"ws\","
		 "\"reason\":\"peer-never-confirms\",\"timed_out\":false}" });
	assert_int_equal(RUN("send", "--home", "@", "old", "hi", "--wait", "1s"), 6);
	assert_string_equal(r.out, "sent via ws; the peer's software never confirms\n");
	assert_true(rig_warned(&r, "never confirms"));
	assert_int_equal(RUN("send", "--home", "@", "old", "hi", "--wait-for", "sent"), 0);
	assert_string_equal(r.out, "sent via ws; the peer's software never confirms\n");
}

static void send_exits_7_when_the_message_ended(void **state)
{
	SCRIPT({ "send", NULL,
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"m\",\"state\":\"rejected\","
		 "\"reason\":\"not approved\",\"timed_out\":false}" });
	assert_int_equal(RUN("send", "--home", "@", "bob", "hi", "--wait"), 7);
	assert_true(rig_warned(&r, "rejected: not approved"));
}

static void send_reads_stdin_and_files_as_bytes(void **state)
{
	char path[120];
	FILE *f;

	SCRIPT({ "send", "{\"to\":\"bob\",\"body_b64\":\"YQoA/w==\"}",
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"m\",\"state\":\"queued\"}" },
	       { "send", "{\"to\":\"bob\",\"body_b64\":\"ZGF0ZQo=\"}",
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"m\",\"state\":\"queued\"}" },
	       { "send", "{\"to\":\"bob\",\"body_b64\":\"\"}",
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"m\",\"state\":\"queued\"}" });
	snprintf(path, sizeof(path), "%s/body", r.dir);
	f = fopen(path, "w");
	assert_int_equal(fwrite("a\n\0\377", 1, 4, f), 4);
	fclose(f);
	assert_int_equal(RUN("send", "--home", "@", "bob", "--file", path), 0);
	r.input = "date\n";
	assert_int_equal(RUN("send", "--home", "@", "bob", "-"), 0);
	assert_int_equal(RUN("send", "--home", "@", "bob", ""), 0);
}

static void send_names_the_size_limit_before_it_asks_anybody(void **state)
{
	char path[120], *big = calloc(1, 1048578);
	FILE *f;

	assert_non_null(big);
	memset(big, 'a', 1048577);
	snprintf(path, sizeof(path), "%s/big", r.dir);
	f = fopen(path, "w");
	fputs(big, f);
	fclose(f);
	assert_int_equal(RUN("send", "--home", "@", "bob", "--file", path), 2);
	assert_true(rig_warned(&r, "1048576"));
	r.input = big;
	assert_int_equal(RUN("send", "--home", "@", "bob", "-"), 2);
	assert_true(rig_warned(&r, "1048576"));
	free(big);
	assert_int_equal(RUN("send", "--home", "@", "bob", "--file", "/nonexistent"), 2);
	assert_int_equal(RUN("send", "--home", "@", "bob"), 2);
	assert_int_equal(RUN("send", "--home", "@", "bob", "x", "--file", path), 2);
	assert_int_equal(RUN("send", "--home", "@"), 2);
	assert_int_equal(RUN("send", "--home", "@", "bob", "x", "y"), 2);
	assert_int_equal(RUN("send", "--home", "@", "bob", "x", "--wait", "2d"), 2);
}

static void an_unknown_peer_gets_the_nearest_name(void **state)
{
	SCRIPT({ "send", NULL, NULL,
		 "{\"code\":-32000,\"message\":\"no peer is called 'bbo'\",\"data\":{\"err\":\"not-found\",\"exit\":4,"
		 "\"means\":\"\",\"next\":\"ironmesh peers list\"}}" },
	       { "peers.list", NULL,
		 "{\"schema\":\"ironmesh.peers/1\",\"peers\":[{\"id\":\"aa\",\"name\":\"alice\"},"
		 "{\"id\":\"bb\",\"name\":\"bob\"}]}" });
	assert_int_equal(RUN("send", "--home", "@", "bbo", "hi"), 4);
	assert_true(rig_warned(&r, "Did you mean 'bob'?"));
}

static void who_fits_two_is_told_which_and_not_what_was_typed(void **state)
{
	SCRIPT({ "send", NULL, NULL,
		 "{\"code\":-32000,\"message\":\"bob fits 2 peers\",\"data\":{\"err\":\"ambiguous\",\"exit\":4,"
		 "\"means\":\"aa (pending), bb (pending)\",\"next\":\"ironmesh peers list\"}}" });
	assert_int_equal(RUN("send", "--home", "@", "bob", "hi"), 4);
	assert_true(rig_warned(&r, "aa (pending), bb (pending)"));
	assert_false(rig_warned(&r, "Did you"));
}

static void errors_of_the_daemon_set_the_exit_code(void **state)
{
	SCRIPT({ "send", NULL, NULL,
		 "{\"code\":-32000,\"message\":\"bob is blocked\",\"data\":{\"err\":\"untrusted\",\"exit\":5}}" },
	       { "send", NULL, NULL,
		 "{\"code\":-32000,\"message\":\"full\",\"data\":{\"err\":\"full\",\"exit\":75}}" },
	       { NULL });
	assert_int_equal(RUN("send", "--home", "@", "bob", "hi"), 5);
	assert_int_equal(RUN("send", "--home", "@", "bob", "hi"), 75);
	assert_int_equal(RUN("send", "--home", "@", "bob", "hi"), 3);
	assert_true(rig_warned(&r, "closed the connection"));
}

static void inbox_is_a_table_and_marks_nothing(void **state)
{
	SCRIPT({ "inbox.list", "{\"state\":\"new\",\"from\":\"bob\",\"limit\":5,\"after\":2}",
		 "{\"schema\":\"ironmesh.inbox/1\",\"messages\":[{\"seq\":3,\"from\":{\"id\":\"bb\",\"name\":\"bob\"},"
		 "\"size\":9,\"state\":\"new\",\"body\":\"a\\u001b[31m\\nb\"}]}" },
	       { "inbox.list", "{}", "{\"schema\":\"ironmesh.inbox/1\",\"messages\":[]}" });
	assert_int_equal(RUN("inbox", "--home", "@", "--unread", "--from", "bob", "--limit", "5", "--after", "2"), 0);
	assert_true(rig_said(&r, "a?[31m b"));
	assert_null(strchr(r.out, '\033'));
	assert_int_equal(RUN("inbox", "list", "--home", "@"), 0);
	assert_string_equal(r.out, "");
	assert_string_equal(r.err, "no messages\n");
}

static void inbox_show_finds_exactly_one_also_held(void **state)
{
	SCRIPT({ "inbox.list", "{\"after\":6,\"limit\":1}", "{\"schema\":\"s/1\",\"messages\":[{\"seq\":8}]}" },
	       { "inbox.list", "{\"after\":6,\"limit\":1,\"state\":\"held\"}",
		 "{\"schema\":\"s/1\",\"messages\":[{\"seq\":7,\"body_b64\":\"AAH/\"}]}" },
	       { "inbox.list", NULL, "{\"schema\":\"s/1\",\"messages\":[]}" },
	       { "inbox.list", NULL, "{\"schema\":\"s/1\",\"messages\":[]}" });
	assert_int_equal(RUN("inbox", "show", "7", "--raw", "--home", "@"), 0);
	assert_int_equal(r.out_n, 3);
	assert_memory_equal(r.out, "\0\1\377", 3);
	assert_int_equal(RUN("inbox", "show", "7", "--home", "@"), 1);
	assert_int_equal(RUN("inbox", "show", "bob", "--home", "@"), 2);
	assert_int_equal(RUN("inbox", "show", "0", "--home", "@"), 2);
}

#define TAKEN                                                                                      \
	"{\"schema\":\"ironmesh.inbox/1\",\"messages\":[{\"seq\":5,\"from\":{\"id\":\"bb\",\"name\":\"bob\"}," \
	"\"size\":3,\"type\":\"MSG\",\"body\":\"one\"}]}"
#define NOTHING "{\"schema\":\"ironmesh.inbox/1\",\"messages\":[]}"
#define CLAIMED "{\"schema\":\"ironmesh.inbox.ack/1\",\"changed\":1}"
#define LATE    "{\"schema\":\"ironmesh.inbox.ack/1\",\"changed\":0}"

static void recv_claims_before_it_prints(void **state)
{
	json_t *v;

	SCRIPT({ "inbox.take", "{\"limit\":1,\"wait_ms\":0,\"ack\":false}", TAKEN },
	       { "inbox.ack", "{\"seq\":5}", CLAIMED }, { "inbox.take", NULL, TAKEN },
	       { "inbox.ack", NULL, CLAIMED });
	assert_int_equal(RUN("recv", "--home", "@", "--raw"), 0);
	assert_string_equal(r.out, "one");
	assert_int_equal(RUN("recv", "--home", "@", "--json"), 0);
	v = rig_json(&r);
	assert_int_equal(json_array_size(json_object_get(v, "messages")), 1);
	json_decref(v);
}

static void recv_leaves_what_another_receiver_claimed(void **state)
{
	SCRIPT({ "inbox.take", NULL, TAKEN }, { "inbox.ack", NULL, LATE },
	       { "inbox.take", NULL, NOTHING });
	assert_int_equal(RUN("recv", "--home", "@"), 75);
	assert_string_equal(r.out, "");
}

static void recv_without_a_message_is_exit_75(void **state)
{
	json_t *v;

	SCRIPT({ "inbox.take", NULL, NOTHING }, { "inbox.take", NULL, NOTHING });
	assert_int_equal(RUN("recv", "--home", "@"), 75);
	assert_true(rig_warned(&r, "there is no new message"));
	assert_int_equal(RUN("recv", "--home", "@", "--json"), 75);
	v = rig_json(&r);
	assert_int_equal(json_array_size(json_object_get(v, "messages")), 0);
	json_decref(v);
}

static void recv_follow_is_one_object_per_line(void **state)
{
	SCRIPT({ "inbox.take", NULL, TAKEN }, { "inbox.ack", NULL, CLAIMED }, { "inbox.take", NULL, TAKEN },
	       { "inbox.ack", NULL, CLAIMED });
	assert_int_equal(RUN("recv", "--home", "@", "--follow", "--json", "--count", "2"), 0);
	assert_int_equal(strncmp(r.out, "{\"schema\":\"ironmesh.message/1\"", 29), 0);
	assert_non_null(strchr(r.out, '\n'));
	assert_int_equal(strncmp(strchr(r.out, '\n') + 1, "{\"schema\"", 9), 0);
}

static void a_daemon_that_goes_while_receiving_is_exit_3(void **state)
{
	SCRIPT({ "inbox.take", NULL, TAKEN }, { "inbox.ack", NULL, CLAIMED }, { NULL });
	assert_int_equal(RUN("recv", "--home", "@", "--follow", "--json"), 3);
}

#define PEER                                                                                       \
	"{\"schema\":\"ironmesh.peer/1\",\"id\":\"bb00\",\"name\":\"bob\",\"state\":\"trusted\",\"fingerprint\":\"bb00 11\"}"

static void peers_and_trust_map_to_their_methods(void **state)
{
	SCRIPT({ "peers.list", "{\"state\":\"pending\"}", "{\"schema\":\"ironmesh.peers/1\",\"peers\":[" PEER "]}" },
	       { "peers.show", "{\"peer\":\"bob\"}", PEER }, { "peers.approve", "{\"peer\":\"bob\"}", PEER },
	       { "peers.block", "{\"peer\":\"bob\",\"reason\":\"noise\"}", PEER },
	       { "peers.forget", "{\"peer\":\"bob\"}", PEER },
	       { "peers.alias", "{\"peer\":\"bob\",\"alias\":\"b\"}", PEER },
	       { "peers.alias", "{\"peer\":\"b\",\"alias\":\"\"}", PEER },
	       { "trust.pin", "{\"name\":\"bob\",\"public_key\":\"AAA=\"}", PEER },
	       { "trust.verify", "{\"peer\":\"bob\",\"fingerprint\":\"bb00 11\"}", PEER },
	       { "trust.verify", "{\"peer\":\"bob\",\"confirm\":true}", PEER },
	       { "trust.set_state", "{\"peer\":\"bob\",\"state\":\"blocked\"}", PEER },
	       { "trust.revoke", "{\"peer\":\"bob\",\"reason\":\"stolen\"}", PEER },
	       { "trust.repin", "{\"subject\":\"bob\",\"id\":\"cc\"}", PEER },
	       { "trust.allow_downgrade", "{\"peer\":\"bob\"}", PEER });
	assert_int_equal(RUN("peers", "list", "--state", "pending", "--home", "@"), 0);
	assert_int_equal(RUN("peers", "show", "bob", "--home", "@"), 0);
	assert_true(rig_said(&r, "bb00 11"));
	assert_int_equal(RUN("peers", "approve", "bob", "--home", "@"), 0);
	assert_int_equal(RUN("peers", "block", "bob", "--reason", "noise", "--home", "@"), 0);
	assert_int_equal(RUN("peers", "forget", "bob", "--yes", "--home", "@"), 0);
	assert_int_equal(RUN("peers", "alias", "bob", "b", "--home", "@"), 0);
	assert_int_equal(RUN("peers", "alias", "b", "--remove", "--home", "@"), 0);
	assert_int_equal(RUN("trust", "pin", "bob", "AAA=", "--home", "@"), 0);
	assert_int_equal(RUN("trust", "verify", "bob", "bb00", "11", "--home", "@"), 0);
	assert_int_equal(RUN("trust", "verify", "bob", "--yes", "--home", "@"), 0);
	assert_int_equal(RUN("trust", "set-state", "bob", "blocked", "--home", "@"), 0);
	assert_int_equal(RUN("trust", "revoke", "bob", "--reason", "stolen", "--yes", "--home", "@"), 0);
	assert_int_equal(RUN("trust", "repin", "bob", "cc", "--yes", "--home", "@"), 0);
	assert_int_equal(RUN("trust", "allow-downgrade", "bob", "--yes", "--home", "@"), 0);
}

static void what_cannot_be_undone_needs_yes_without_a_terminal(void **state)
{
	assert_int_equal(RUN("peers", "forget", "bob", "--home", "@"), 2);
	assert_true(rig_warned(&r, "--yes"));
	assert_int_equal(RUN("trust", "revoke", "bob", "--reason", "x", "--home", "@"), 2);
	assert_int_equal(RUN("trust", "repin", "bob", "cc", "--home", "@"), 2);
	assert_int_equal(RUN("trust", "allow-downgrade", "bob", "--home", "@"), 2);
	assert_int_equal(RUN("keys", "rotate", "--home", "@"), 2);
	assert_int_equal(RUN("inbox", "delete", "3", "--home", "@"), 2);
	assert_int_equal(RUN("trust", "verify", "bob", "--home", "@"), 2);
	assert_int_equal(RUN("trust", "set-state", "bob", "revoked", "--home", "@"), 2);
	assert_int_equal(RUN("trust", "revoke", "bob", "--yes", "--home", "@"), 2);
}

static void a_broken_audit_log_is_exit_9(void **state)
{
	json_t *v;

	SCRIPT({ "audit.verify", NULL,
		 "{\"schema\":\"ironmesh.audit.verify/1\",\"ok\":false,\"bad_line\":4,\"why\":\"hmac\"}" },
	       { "audit.verify", NULL,
		 "{\"schema\":\"ironmesh.audit.verify/1\",\"ok\":false,\"bad_line\":4,\"why\":\"hmac\"}" },
	       { "audit.verify", NULL, "{\"schema\":\"ironmesh.audit.verify/1\",\"ok\":true,\"entries\":12}" });
	assert_int_equal(RUN("audit", "verify", "--home", "@"), 9);
	assert_true(rig_warned(&r, "Line 4"));
	assert_int_equal(RUN("audit", "--json", "--home", "@"), 9);
	v = rig_json(&r);
	assert_true(json_is_false(json_object_get(v, "ok")));
	json_decref(v);
	assert_int_equal(RUN("audit", "verify", "--home", "@"), 0);
	assert_true(rig_said(&r, "12 entries"));
}

static void exports_are_new_files_and_read_back(void **state)
{
	char path[120];

	SCRIPT({ "audit.export", NULL, "{\"schema\":\"ironmesh.audit.export/1\",\"text\":\"{\\\"a\\\":1}\"}" },
	       { "audit.export", NULL, "{\"schema\":\"ironmesh.audit.export/1\",\"text\":\"{\\\"a\\\":1}\"}" },
	       { "audit.verify_export", "{\"text\":\"{\\\"a\\\":1}\",\"peer\":\"bob\"}",
		 "{\"schema\":\"ironmesh.audit.verify_export/1\",\"ok\":true,\"signer\":\"bb\",\"entries\":3}" },
	       { "audit.verify_export", "{\"text\":\"{\\\"a\\\":1}\",\"public_key\":\"AA==\"}",
		 "{\"schema\":\"ironmesh.audit.verify_export/1\",\"ok\":false}" });
	snprintf(path, sizeof(path), "%s/export", r.dir);
	assert_int_equal(RUN("audit", "export", "--out", path, "--home", "@"), 0);
	assert_int_equal(RUN("audit", "export", "--out", path, "--home", "@"), 1); /* not overwritten */
	assert_int_equal(RUN("audit", "verify-export", path, "--peer", "bob", "--home", "@"), 0);
	assert_true(rig_said(&r, "3 entries"));
	r.input = "{\"a\":1}";
	assert_int_equal(RUN("audit", "verify-export", "-", "--public-key", "AA==", "--home", "@"), 9);
}

#define EVENT(n)                                                                                   \
	"{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"schema\":\"ironmesh.event/1\",\"seq\":" #n \
	",\"at_ms\":1,\"type\":\"peer.online\",\"name\":\"b\\u001bob\"}}"

static void events_are_lines(void **state)
{
	SCRIPT({ "events.subscribe", "{\"types\":[\"peer.\"]}", "{\"schema\":\"ironmesh.events/1\",\"subscribed\":true}",
		 NULL, EVENT(1) "\n" EVENT(2) },
	       { "events.subscribe", "{}", "{\"schema\":\"ironmesh.events/1\",\"subscribed\":true}", NULL, EVENT(3) },
	       { "events.subscribe", "{}", "{\"schema\":\"ironmesh.events/1\",\"subscribed\":true}" });
	assert_int_equal(RUN("events", "--follow", "--json", "--count", "2", "peer.", "--home", "@"), 0);
	assert_int_equal(strncmp(r.out, "{\"schema\":\"ironmesh.event/1\",\"seq\":1,", 36), 0);
	assert_true(rig_said(&r, "\n{\"schema\":\"ironmesh.event/1\",\"seq\":2,"));
	assert_int_equal(RUN("events", "--home", "@", "--count", "1"), 0);
	assert_true(rig_said(&r, "peer.online name=b?ob"));
	assert_int_equal(RUN("events", "--home", "@"), 3); /* the daemon went away */
}

static void ping_and_status_print_what_matters(void **state)
{
	SCRIPT({ "ping", "{\"peer\":\"bob\",\"timeout_ms\":1000}",
		 "{\"schema\":\"ironmesh.ping/1\",\"peer\":{\"id\":\"bb\",\"name\":\"bob\"},\"rtt_ms\":0.421,\"via\":\"ws\"}" },
	       { "ping", NULL, NULL,
		 "{\"code\":-32000,\"message\":\"no session with bob\",\"data\":{\"err\":\"closed\",\"exit\":2}}" },
	       { "status", NULL,
		 "{\"schema\":\"ironmesh.status/1\",\"name\":\"alice\",\"outbox\":{\"queued\":2,\"sent\":0},"
		 "\"alarms\":[{\"subject\":\"bob\",\"kind\":\"name\",\"was\":\"aa\",\"now\":\"cc\",\"count\":3}],"
		 "\"warnings\":[\"memory is not locked\"]}" },
	       { "status", NULL, "{\"schema\":\"ironmesh.status/1\"}" });
	assert_int_equal(RUN("ping", "bob", "--timeout", "1s", "--home", "@"), 0);
	assert_string_equal(r.out, "bob: 0.42 ms via ws\n");
	assert_int_equal(RUN("ping", "bob", "--home", "@"), 2);
	assert_int_equal(RUN("status", "--home", "@"), 0);
	assert_true(rig_said(&r, "2 queued\n"));
	assert_true(rig_said(&r, "the key of bob changed"));
	assert_true(rig_said(&r, "memory is not locked"));
	assert_int_equal(RUN("status", "--quiet", "--home", "@"), 0);
	assert_string_equal(r.out, "");
}

static void unknown_words_get_the_nearest(void **state)
{
	assert_int_equal(RUN("sned", "bob", "hi"), 2);
	assert_true(rig_warned(&r, "Did you mean 'ironmesh send'?"));
	assert_int_equal(RUN("peers", "aprove", "bob"), 2);
	assert_true(rig_warned(&r, "Did you mean 'ironmesh peers approve'?"));
	assert_int_equal(RUN("approve", "bob"), 2);
	assert_true(rig_warned(&r, "Did you mean 'ironmesh peers approve'?"));
	assert_int_equal(RUN("status", "--jsn"), 2);
	assert_true(rig_warned(&r, "Did you mean --json?"));
	assert_int_equal(RUN("--versoin"), 2);
	assert_true(rig_warned(&r, "Did you mean --version?"));
	assert_int_equal(RUN("help", "outbx"), 2);
	assert_true(rig_warned(&r, "Did you mean 'ironmesh help outbox'?"));
	assert_int_equal(RUN("outbox", "list", "--state", "qeued", "--home", "@"), 2);
	assert_true(rig_warned(&r, "Did you mean 'queued'?"));
}

static void every_command_has_help_with_examples_first(void **state)
{
	json_t *v, *list, *c;
	size_t i;

	assert_int_equal(RUN("help", "--json"), 0);
	v = rig_json(&r);
	list = json_object_get(v, "commands");
	assert_true(json_array_size(list) >= 33);
	json_array_foreach (list, i, c) {
		char path[100], *words[4] = { NULL }, *save = NULL;
		const char *examples, *usage;
		int n = 0;

		snprintf(path, sizeof(path), "%s", json_str(c, "command"));
		for (char *w = strtok_r(path, " ", &save); w && n < 4; w = strtok_r(NULL, " ", &save))
			words[n++] = w;
		if (strcmp(words[1], "run") == 0)
			continue;
		if (words[2])
			assert_int_equal(RUN(words[1], words[2], "--help"), 0);
		else
			assert_int_equal(RUN(words[1], "--help"), 0);
		examples = strstr(r.out, "\nExamples:\n");
		usage = strstr(r.out, "\nUsage: ");
		assert_non_null(examples);
		assert_non_null(usage);
		assert_true(examples < usage);
		assert_string_equal(r.err, "");
		assert_true(json_array_size(json_object_get(c, "examples")) > 0);
	}
	json_decref(v);
}

static void help_reads_the_same_from_every_door(void **state)
{
	char *first;

	assert_int_equal(RUN("help"), 0);
	first = strdup(r.out);
	assert_int_equal(RUN("--help"), 0);
	assert_string_equal(r.out, first);
	assert_int_equal(RUN("--home", "/x"), 0);
	assert_string_equal(r.out, first);
	free(first);
	assert_int_equal(RUN("help", "send"), 0);
	first = strdup(r.out);
	assert_int_equal(RUN("send", "--nonsense", "--help"), 0);
	assert_string_equal(r.out, first);
	free(first);
	assert_int_equal(RUN("help", "peers"), 0);
	first = strdup(r.out);
	assert_int_equal(RUN("peers", "-h"), 0);
	assert_string_equal(r.out, first);
	free(first);
	assert_int_equal(RUN("help", "exit-codes"), 0);
	assert_true(rig_said(&r, "  75  "));
	assert_int_equal(RUN("help", "files"), 0);
	assert_int_equal(RUN("help", "run"), 42);
	assert_true(rig_said(&r, "[run] [--help]"));
	assert_int_equal(RUN("send", "--", "bob", "--help", "--home", "x"), 2);
}

static void the_version_is_the_same_with_and_without_dashes(void **state)
{
	json_t *v;

	assert_int_equal(RUN("--version"), 0);
	assert_true(rig_said(&r, IRONMESH_VERSION));
	assert_int_equal(RUN("version", "--home", "@", "--json"), 0);
	v = rig_json(&r);
	assert_string_equal(json_str(v, "version"), IRONMESH_VERSION);
	assert_true(json_is_null(json_object_get(v, "daemon")));
	json_decref(v);
}

static void run_gets_its_words_without_the_global_ones(void **state)
{
	char line[300];

	assert_int_equal(RUN("--json", "run", "--home", "@", "--name", "--json", "--trust-on-first-use", "x"), 42);
	snprintf(line, sizeof(line), "run home=%s json=1 [run] [--name] [--json] [--trust-on-first-use] [x]\n",
		 r.home);
	assert_string_equal(r.out, line);
	assert_int_equal(RUN("run", "--home=/x", "--", "--home", "y"), 42);
	assert_string_equal(r.out, "run home=/x json=0 [run] [--] [--home] [y]\n");
	assert_int_equal(RUN("run", "--help"), 42);
}

static void completion_knows_commands_options_values_and_peers(void **state)
{
	SCRIPT({ "peers.list", NULL,
		 "{\"schema\":\"ironmesh.peers/1\",\"peers\":[{\"name\":\"bob\"},{\"name\":\"bad name;\"},"
		 "{\"name\":\"x\",\"alias\":\"bench\"},{\"name\":\"carol\"}]}" });
	assert_int_equal(RUN("completion", "words", "--", "send", "--home", "@", "b"), 0);
	assert_string_equal(r.out, "bob\nbench\n");
	RUN("completion", "words", "--", "se");
	assert_string_equal(r.out, "setup\nsend\n");
	RUN("completion", "words", "--", "--home", "/x", "peers", "ap");
	assert_string_equal(r.out, "approve\n");
	RUN("completion", "words", "--", "send", "--home", "/nonexistent", "bob", "x", "--priority", "h");
	assert_string_equal(r.out, "high\n");
	RUN("completion", "words", "--", "inbox", "--unr");
	assert_string_equal(r.out, "--unread\n");
	RUN("completion", "words", "--", "run", "--na");
	assert_string_equal(r.out, "--name\n");
	RUN("completion", "words", "--", "send", "--home", "/nonexistent", "b");
	assert_string_equal(r.out, "");
	RUN("completion", "words");
	assert_true(rig_said(&r, "send\n"));
	assert_int_equal(RUN("completion", "bash"), 0);
	assert_true(rig_said(&r, "complete -o bashdefault"));
	assert_int_equal(RUN("completion", "tcsh"), 2);
}

static void a_home_that_cannot_be_is_refused(void **state)
{
	assert_int_equal(RUN("status", "--home", ""), 2);
	assert_int_equal(RUN("status", "--home"), 2);
}

static void argument_bytes_that_are_no_text_are_refused(void **state)
{
	SCRIPT({ "send", "{\"to\":\"bob\",\"body_b64\":\"/w==\"}",
		 "{\"schema\":\"ironmesh.send/1\",\"msg_id\":\"m\",\"state\":\"queued\"}" });
	assert_int_equal(RUN("send", "\xff", "hi", "--home", "@", "--json"), 2);
	assert_true(rig_said(&r, "ironmesh.error/1"));
	assert_int_equal(RUN("send", "bob", "\xff", "--home", "@"), 0); /* a body may be any bytes */
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(no_daemon_is_exit_3_with_the_command_that_starts_one),
		T(send_hands_over_bytes_and_prints_the_id),
		T(send_passes_every_option_on),
		T(send_says_what_im2_adds),
		T(what_im2_adds_is_shown),
		T(recv_prints_volatile_messages_as_they_come),
		T(send_waits_and_says_how_long_it_took),
		T(wait_takes_what_to_wait_for_and_how_long),
		T(send_exits_6_when_the_wait_ends_first),
		T(send_says_when_the_old_software_never_confirms),
		T(send_exits_7_when_the_message_ended),
		T(send_reads_stdin_and_files_as_bytes),
		T(send_names_the_size_limit_before_it_asks_anybody),
		T(an_unknown_peer_gets_the_nearest_name),
		T(who_fits_two_is_told_which_and_not_what_was_typed),
		T(errors_of_the_daemon_set_the_exit_code),
		T(inbox_is_a_table_and_marks_nothing),
		T(inbox_show_finds_exactly_one_also_held),
		T(recv_claims_before_it_prints),
		T(recv_leaves_what_another_receiver_claimed),
		T(recv_without_a_message_is_exit_75),
		T(recv_follow_is_one_object_per_line),
		T(a_daemon_that_goes_while_receiving_is_exit_3),
		T(peers_and_trust_map_to_their_methods),
		T(what_cannot_be_undone_needs_yes_without_a_terminal),
		T(a_broken_audit_log_is_exit_9),
		T(exports_are_new_files_and_read_back),
		T(events_are_lines),
		T(ping_and_status_print_what_matters),
		T(unknown_words_get_the_nearest),
		T(every_command_has_help_with_examples_first),
		T(help_reads_the_same_from_every_door),
		T(the_version_is_the_same_with_and_without_dashes),
		T(run_gets_its_words_without_the_global_ones),
		T(completion_knows_commands_options_values_and_peers),
		T(a_home_that_cannot_be_is_refused),
		T(argument_bytes_that_are_no_text_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
