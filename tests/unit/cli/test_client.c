#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/client.h"

static struct client client;
static int peer;
static struct fault f;

static int setup(void **state)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) != 0)
		return -1;
	client_attach(&client, fd[0]);
	peer = fd[1];
	f = (struct fault){ 0 };
	return 0;
}

static int teardown(void **state)
{
	client_close(&client);
	client_close(&client);
	if (peer >= 0)
		close(peer);
	return 0;
}

/* What the daemon would say; written ahead, since a socket holds it. */
static void say(const char *text)
{
	assert_int_equal(write(peer, text, strlen(text)), strlen(text));
}

static enum err ask(json_t **result)
{
	return client_call(&client, "status", NULL, 300, result, &f);
}

static void a_request_is_one_line_of_json_rpc(void **state)
{
	json_t *params = json_pack("{s:s}", "peer", "b\xc3\xbc"), *r = NULL;
	char line[200] = "";

	say("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":7}}\n");
	assert_int_equal(client_call(&client, "ping", params, 300, &r, &f), ERR_OK);
	assert_int_equal(json_integer_value(json_object_get(r, "a")), 7);
	assert_true(read(peer, line, sizeof(line) - 1) > 0);
	assert_string_equal(line, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\","
				  "\"params\":{\"peer\":\"b\\u00fc\"}}\n");
	json_decref(r);
	json_decref(params);
}

static void answers_to_others_and_events_are_passed_over(void **state)
{
	json_t *r = NULL;

	client.id = 4;
	say("{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"a\":1}}\n"
	    "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"type\":\"x\"}}\n"
	    "{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{\"a\":2}}\n");
	assert_int_equal(ask(&r), ERR_OK);
	assert_int_equal(json_integer_value(json_object_get(r, "a")), 2);
	json_decref(r);
}

static void lines_may_come_in_pieces_and_together(void **state)
{
	json_t *r = NULL;
	pid_t pid = fork();

	if (pid == 0) {
		static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":1}}\n"
					   "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"a\":2}}\n";

		for (size_t i = 0; i < 30; i++) {
			if (write(peer, text + i, 1) != 1)
				_exit(1);
			usleep(500);
		}
		_exit(write(peer, text + 30, sizeof(text) - 31) > 0 ? 0 : 1);
	}
	assert_int_equal(ask(&r), ERR_OK);
	assert_int_equal(json_integer_value(json_object_get(r, "a")), 1);
	json_decref(r);
	assert_int_equal(ask(&r), ERR_OK);
	assert_int_equal(json_integer_value(json_object_get(r, "a")), 2);
	json_decref(r);
	waitpid(pid, NULL, 0);
}

static void errors_carry_word_exit_and_the_next_command(void **state)
{
	json_t *r = NULL;

	say("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32000,\"message\":\"no peer is called 'bbo'\","
	    "\"data\":{\"err\":\"not-found\",\"exit\":4,\"means\":\"m\",\"next\":\"ironmesh peers list\"}}}\n");
	assert_int_equal(ask(&r), ERR_NOTFOUND);
	assert_int_equal(f.err, ERR_NOTFOUND);
	assert_int_equal(f.code, EXIT_PEER_UNKNOWN);
	assert_string_equal(f.what, "no peer is called 'bbo'");
	assert_string_equal(f.means, "m");
	assert_string_equal(f.next, "ironmesh peers list");
}

static void an_error_never_looks_like_success(void **state)
{
	json_t *r = NULL;

	say("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32000,\"message\":\"x\","
	    "\"data\":{\"err\":\"ok\",\"exit\":0}}}\n"
	    "{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32000,\"message\":\"x\",\"data\":{\"exit\":77}}}\n"
	    "{\"jsonrpc\":\"2.0\",\"id\":3,\"error\":{}}\n"
	    "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"not JSON\"}}\n");
	for (int i = 0; i < 4; i++) {
		assert_int_not_equal(ask(&r), ERR_OK);
		assert_int_equal(f.code, EXIT_GENERIC);
		assert_true(f.what[0]);
	}
	assert_string_equal(f.what, "not JSON");
}

static void control_bytes_in_an_error_are_cleaned(void **state)
{
	json_t *r = NULL;

	say("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32000,\"message\":\"a\\u001b[31m\","
	    "\"data\":{\"err\":\"denied\",\"exit\":8,\"means\":\"\\u009b\",\"next\":\"\\n\"}}}\n");
	assert_int_equal(ask(&r), ERR_DENIED);
	assert_string_equal(f.what, "a?[31m");
	assert_string_equal(f.means, "?");
	assert_string_equal(f.next, "?");
}

static void an_older_daemon_is_named(void **state)
{
	json_t *r = NULL;

	say("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"no such method\"}}\n");
	assert_int_equal(ask(&r), ERR_UNSUPPORTED);
	assert_non_null(strstr(f.what, "'status'"));
}

static void other_programs_on_the_socket_are_noticed(void **state)
{
	static const char *const lines[] = {
		"HTTP/1.1 400 Bad Request\n", "[]\n", "{\"id\":1}\n", "{\"id\":1,\"result\":3}\n",
		"{\"id\":9,\"result\":{}}\n", "{\"id\":1,\"id\":1,\"result\":{}}\n",
	};
	json_t *r = NULL;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		client.id = 0;
		say(lines[i]);
		assert_int_equal(ask(&r), ERR_MALFORMED);
		assert_null(r);
	}
}

static void silence_ends_in_a_timeout(void **state)
{
	uint64_t began = clock_ms();
	json_t *r = NULL;

	assert_int_equal(ask(&r), ERR_TIMEOUT);
	assert_int_equal(f.code, EXIT_RETRY);
	assert_in_range(clock_ms() - began, 290, 2000);
}

static void a_reader_that_never_reads_ends_in_a_timeout(void **state)
{
	json_t *r = NULL, *params;
	char *big = malloc(1500001);

	assert_non_null(big);
	memset(big, 'a', 1500000);
	big[1500000] = '\0';
	params = json_pack("{s:s}", "body_b64", big);
	assert_int_equal(client_call(&client, "send", params, 200, &r, &f), ERR_TIMEOUT);
	assert_int_equal(f.code, EXIT_RETRY);
	json_decref(params);
	free(big);
}

static void a_request_over_the_limit_is_not_sent(void **state)
{
	json_t *r = NULL, *params;
	char *big = malloc(CLIENT_LINE_MAX + 1), first;

	assert_non_null(big);
	memset(big, 'a', CLIENT_LINE_MAX);
	big[CLIENT_LINE_MAX] = '\0';
	params = json_pack("{s:s}", "body_b64", big);
	assert_int_equal(client_call(&client, "send", params, 200, &r, &f), ERR_LIMIT);
	assert_int_equal(f.code, EXIT_USAGE);
	assert_int_equal(recv(peer, &first, 1, MSG_DONTWAIT), -1);
	json_decref(params);
	free(big);
}

static void a_line_over_the_limit_is_refused(void **state)
{
	json_t *r = NULL;
	pid_t pid = fork();

	if (pid == 0) {
		char block[65536];

		close(client.fd); /* or the send below would never learn that nobody reads */
		memset(block, ' ', sizeof(block));
		for (int i = 0; i < 40; i++)
			if (send(peer, block, sizeof(block), MSG_NOSIGNAL) <= 0)
				break;
		_exit(0);
	}
	assert_int_equal(client_call(&client, "status", NULL, 5000, &r, &f), ERR_LIMIT);
	client_close(&client);
	close(peer);
	peer = -1;
	waitpid(pid, NULL, 0);
}

static void a_line_at_the_limit_is_taken(void **state)
{
	json_t *r = NULL;
	pid_t pid = fork();

	if (pid == 0) {
		static char line[CLIENT_LINE_MAX + 1];
		const char tail[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":1}}";
		size_t at = 0;

		memset(line, ' ', sizeof(line));
		memcpy(line + CLIENT_LINE_MAX - (sizeof(tail) - 1), tail, sizeof(tail) - 1);
		line[CLIENT_LINE_MAX] = '\n';
		while (at < sizeof(line)) {
			ssize_t n = send(peer, line + at, sizeof(line) - at, MSG_NOSIGNAL);

			if (n <= 0)
				_exit(1);
			at += (size_t)n;
		}
		_exit(0);
	}
	assert_int_equal(client_call(&client, "status", NULL, 5000, &r, &f), ERR_OK);
	json_decref(r);
	waitpid(pid, NULL, 0);
}

static void a_daemon_that_dies_is_said_to_be_gone(void **state)
{
	json_t *r = NULL;

	say("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{"); /* half a line, then nothing */
	shutdown(peer, SHUT_WR);
	assert_int_equal(ask(&r), ERR_CLOSED);
	assert_int_equal(f.code, EXIT_NO_DAEMON);
	close(peer);
	peer = -1;
	assert_int_equal(ask(&r), ERR_CLOSED); /* and a write into the void raises no signal */
}

static void events_come_in_order_and_a_timeout_keeps_the_line(void **state)
{
	json_t *e = NULL;

	assert_int_equal(client_event(&client, 50, &e, &f), ERR_TIMEOUT);
	say("{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"n\":1}}\n"
	    "{\"jsonrpc\":\"2.0\",\"method\":\"other\",\"params\":{\"n\":9}}\n"
	    "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"n\":2}}\n{\"jsonrpc\"");
	for (int i = 1; i <= 2; i++) {
		assert_int_equal(client_event(&client, 300, &e, &f), ERR_OK);
		assert_int_equal(json_integer_value(json_object_get(e, "n")), i);
		json_decref(e);
	}
	assert_int_equal(client_event(&client, 50, &e, &f), ERR_TIMEOUT);
	say(":\"2.0\",\"method\":\"event\",\"params\":{\"n\":3}}\n");
	assert_int_equal(client_event(&client, 300, &e, &f), ERR_OK);
	assert_int_equal(json_integer_value(json_object_get(e, "n")), 3);
	json_decref(e);
}

static void an_event_before_the_answer_is_not_lost(void **state)
{
	json_t *r = NULL, *e = NULL;

	for (int i = 1; i <= 70; i++) {
		char line[100];

		snprintf(line, sizeof line, "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"n\":%d}}\n", i);
		say(line);
	}
	say("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"n\":71}}\n");
	assert_int_equal(ask(&r), ERR_OK);
	json_decref(r);
	/* In order, the last 64 of them, and then what came after the answer. */
	for (int i = 7; i <= 71; i++) {
		assert_int_equal(client_event(&client, 300, &e, &f), ERR_OK);
		assert_int_equal(json_integer_value(json_object_get(e, "n")), i);
		json_decref(e);
	}
	assert_int_equal(client_event(&client, 10, &e, &f), ERR_TIMEOUT);
}

static void no_daemon_and_no_folder_are_exit_3(void **state)
{
	struct client c = { .fd = -1 };
	char deep[400];

	assert_int_equal(client_open(&c, "/nonexistent/home", &f), ERR_NOTFOUND);
	assert_int_equal(f.code, EXIT_NO_DAEMON);
	/* Deeper than a Unix address holds. */
	memset(deep, 'd', sizeof(deep));
	memcpy(deep, "/tmp/", 5);
	deep[250] = '\0';
	assert_int_equal(client_open(&c, deep, &f), ERR_NOTFOUND);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_request_is_one_line_of_json_rpc),
		T(answers_to_others_and_events_are_passed_over),
		T(lines_may_come_in_pieces_and_together),
		T(errors_carry_word_exit_and_the_next_command),
		T(an_error_never_looks_like_success),
		T(control_bytes_in_an_error_are_cleaned),
		T(an_older_daemon_is_named),
		T(other_programs_on_the_socket_are_noticed),
		T(silence_ends_in_a_timeout),
		T(a_reader_that_never_reads_ends_in_a_timeout),
		T(a_request_over_the_limit_is_not_sent),
		T(a_line_over_the_limit_is_refused),
		T(a_line_at_the_limit_is_taken),
		T(a_daemon_that_dies_is_said_to_be_gone),
		T(events_come_in_order_and_a_timeout_keeps_the_line),
		T(an_event_before_the_answer_is_not_lost),
		cmocka_unit_test(no_daemon_and_no_folder_are_exit_3),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
