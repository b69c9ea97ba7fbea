#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/control.h"
#include "tests/lib/daemon_edge.h"

/* The server on a real socket. The loop is run by hand, in steps that never sleep. */
static struct edge e;
static uv_loop_t loop;
static struct control *control;
static char home[40], path[64];
static bool stopped;

static void on_stopped(void *ctx)
{
	stopped = true;
}

static void step(void)
{
	uv_run(&loop, UV_RUN_NOWAIT);
	edge_turn(&e);
}

static void steps(int n)
{
	while (n--)
		step();
}

static enum err start(void)
{
	struct control_config c = { .loop = &loop, .home = home, .commands = &e.cx };

	return control_new(&c, &control, NULL);
}

static int setup(void **state)
{
	snprintf(home, sizeof home, "/tmp/ironmesh-control-XXXXXX");
	if (!mkdtemp(home))
		return -1;
	snprintf(path, sizeof path, "%s/control.sock", home);
	edge_init(&e);
	control = NULL;
	stopped = false;
	return uv_loop_init(&loop);
}

static int teardown(void **state)
{
	control_stop(control, on_stopped, NULL);
	for (int i = 0; i < 100 && !stopped; i++)
		step();
	assert_true(stopped);
	assert_int_equal(uv_loop_close(&loop), 0);
	edge_fini(&e);
	unlink(path);
	return rmdir(home);
}

static int dial(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	steps(3);
	return fd;
}

/* Writes all, running the loop while the socket is full. False: the other side is gone. */
static bool say(int fd, const void *p, size_t n)
{
	const char *at = p;

	for (int idle = 0; n && idle < 10000; idle++) {
		ssize_t k = send(fd, at, n, MSG_NOSIGNAL);

		if (k < 0 && errno != EAGAIN)
			return false;
		if (k > 0) {
			at += k;
			n -= (size_t)k;
			idle = 0;
		}
		step();
	}
	assert_int_equal(n, 0);
	return true;
}

static void say_text(int fd, const char *text)
{
	assert_true(say(fd, text, strlen(text)));
}

/* What comes until nothing more comes; *up tells if the connection still stands. */
static size_t hear(int fd, char *out, size_t cap, bool *up)
{
	size_t n = 0;

	*up = true;
	for (int idle = 0; idle < 10; idle++) {
		ssize_t k = recv(fd, out + n, cap - 1 - n, 0);

		if (k > 0) {
			n += (size_t)k;
			idle = 0;
		} else if (k == 0 || errno != EAGAIN) {
			*up = false;
			break;
		}
		step();
	}
	out[n] = 0;
	return n;
}

static size_t lines_in(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static char big[4u << 20];

static const char VERSION[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\n";

static void the_socket_is_private_and_goes_at_the_end(void **state)
{
	struct stat st;

	assert_int_equal(start(), ERR_OK);
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	control_stop(control, on_stopped, NULL);
	assert_int_equal(lstat(path, &st), -1);
	control = NULL;
	for (int i = 0; i < 10 && !stopped; i++)
		step();
	assert_true(stopped);
}

static void a_left_over_socket_is_replaced_and_a_file_is_not(void **state)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	close(fd);
	assert_int_equal(start(), ERR_OK);
	fd = dial();
	close(fd);
	control_stop(control, on_stopped, NULL);
	control = NULL;
	for (int i = 0; i < 10 && !stopped; i++)
		step();
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(start(), ERR_EXISTS);
	assert_int_equal(access(path, F_OK), 0);
}

static void a_line_may_come_in_pieces(void **state)
{
	bool up;
	int fd;

	assert_int_equal(start(), ERR_OK);
	fd = dial();
	for (size_t i = 0; i + 1 < sizeof VERSION; i++) {
		assert_int_equal(hear(fd, big, sizeof big, &up), 0);
		assert_true(say(fd, VERSION + i, 1));
	}
	hear(fd, big, sizeof big, &up);
	assert_non_null(strstr(big, "\"ironmesh.version/1\""));
	assert_int_equal(lines_in(big), 1);
	assert_true(up);
	close(fd);
	steps(3);
}

static void many_lines_in_one_write_are_answered_in_order(void **state)
{
	char *p = big;
	bool up;
	int fd;

	assert_int_equal(start(), ERR_OK);
	edge_peer(&e, "bob");
	fd = dial();
	/* More than may be unanswered, and more than one read. */
	for (int i = 0; i < 3000; i++)
		p += sprintf(p, "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"send\",\"params\":"
				"{\"to\":\"bob\",\"body\":\"number %d\"}}\n", i, i);
	assert_true(say(fd, big, (size_t)(p - big)));
	hear(fd, big, sizeof big, &up);
	assert_true(up);
	assert_int_equal(lines_in(big), 3000);
	p = big;
	for (int i = 0; i < 3000; i++) {
		char want[40];
		int n = snprintf(want, sizeof want, "{\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":", i);

		assert_memory_equal(p, want, n);
		p = strchr(p, '\n') + 1;
	}
	close(fd);
	steps(3);
}

static void a_client_that_does_not_read_is_not_read(void **state)
{
	size_t sent = 0;
	bool up;
	int fd;

	assert_int_equal(start(), ERR_OK);
	fd = dial();
	/* Each answer is many times its request; without a stop this would fill memory. */
	for (int idle = 0; idle < 50; idle++) {
		ssize_t k = send(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n", 43, MSG_NOSIGNAL);

		if (k > 0) {
			assert_int_equal(k, 43);
			sent++;
			idle = 0;
		}
		step();
	}
	assert_true(sent < 40000);
	size_t got = 0;

	while (got < sent) {
		size_t n = hear(fd, big, sizeof big, &up);

		assert_true(n > 0);
		got += lines_in(big);
	}
	assert_int_equal(got, sent);
	close(fd);
	steps(3);
}

static void a_bad_line_costs_only_itself(void **state)
{
	bool up;
	int fd;

	assert_int_equal(start(), ERR_OK);
	fd = dial();
	say_text(fd, "nonsense\n\n");
	say_text(fd, VERSION);
	hear(fd, big, sizeof big, &up);
	assert_true(up);
	assert_int_equal(lines_in(big), 2);
	assert_non_null(strstr(big, "\"id\":null,\"error\":{\"code\":-32700"));
	close(fd);
	steps(3);
}

static void the_longest_line_is_read_and_one_byte_more_ends_it(void **state)
{
	static char line[CONTROL_REQUEST_MAX + 1];
	bool up;
	int fd;

	assert_int_equal(start(), ERR_OK);
	fd = dial();
	memset(line, 'x', sizeof line);
	line[CONTROL_REQUEST_MAX - 1] = '\n';
	assert_true(say(fd, line, CONTROL_REQUEST_MAX));
	hear(fd, big, sizeof big, &up);
	assert_true(up);
	assert_non_null(strstr(big, "-32700"));
	line[CONTROL_REQUEST_MAX - 1] = 'x';
	line[CONTROL_REQUEST_MAX] = '\n';
	(void)say(fd, line, CONTROL_REQUEST_MAX + 1);
	hear(fd, big, sizeof big, &up);
	assert_false(up);
	assert_int_equal(lines_in(big), 1);
	close(fd);
	/* The server lives on. */
	fd = dial();
	say_text(fd, VERSION);
	hear(fd, big, sizeof big, &up);
	assert_int_equal(lines_in(big), 1);
	close(fd);
	steps(3);
}

static void what_was_asked_before_the_end_of_file_is_answered(void **state)
{
	char *p = big;
	bool up;
	int fd;

	assert_int_equal(start(), ERR_OK);
	edge_peer(&e, "bob");
	fd = dial();
	for (int i = 0; i < 700; i++)
		p += sprintf(p, "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"send\",\"params\":"
				"{\"to\":\"bob\",\"body\":\"x\"}}\n", i);
	assert_true(say(fd, big, (size_t)(p - big)));
	shutdown(fd, SHUT_WR);
	hear(fd, big, sizeof big, &up);
	assert_false(up);
	assert_int_equal(lines_in(big), 700);
	close(fd);
}

static void a_dead_taker_takes_nothing(void **state)
{
	struct node_id bob;
	struct inbox_row row;
	int64_t seq;
	int fd;

	assert_int_equal(start(), ERR_OK);
	bob = edge_peer(&e, "bob");
	fd = dial();
	say_text(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"inbox.take\",\"params\":{\"wait_ms\":60000}}\n");
	steps(3);
	close(fd);
	steps(3);
	seq = edge_receive(&e, &bob, "m", BYTES_LIT("kept"));
	steps(3);
	assert_int_equal(inbox_get(e.store, seq, &row), ERR_OK);
	assert_int_equal(row.state, INBOX_NEW);
}

static void the_65th_connection_is_told_and_closed(void **state)
{
	int fds[CONTROL_CONNECTIONS + 1];
	bool up;

	assert_int_equal(start(), ERR_OK);
	for (int i = 0; i <= CONTROL_CONNECTIONS; i++)
		fds[i] = dial();
	hear(fds[CONTROL_CONNECTIONS], big, sizeof big, &up);
	assert_false(up);
	assert_non_null(strstr(big, "\"err\":\"full\""));
	close(fds[0]);
	close(fds[CONTROL_CONNECTIONS]);
	steps(5);
	fds[0] = dial();
	say_text(fds[0], VERSION);
	hear(fds[0], big, sizeof big, &up);
	assert_int_equal(lines_in(big), 1);
	for (int i = 0; i < CONTROL_CONNECTIONS; i++)
		close(fds[i]);
	steps(5);
}

static void a_deep_home_is_reached_too(void **state)
{
	char deep[160], name[101];
	struct stat st;
	bool up;
	int dir, fd;
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	memset(name, 'd', 100);
	name[100] = 0;
	snprintf(deep, sizeof deep, "%s/%s", home, name);
	assert_int_equal(mkdir(deep, 0700), 0);
	struct control_config c = { .loop = &loop, .home = deep, .commands = &e.cx };

	assert_int_equal(control_new(&c, &control, NULL), ERR_OK);
	dir = open(deep, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fstatat(dir, "control.sock", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/control.sock", dir);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	close(dir);
	steps(3);
	say_text(fd, VERSION);
	hear(fd, big, sizeof big, &up);
	assert_int_equal(lines_in(big), 1);
	close(fd);
	control_stop(control, on_stopped, NULL);
	control = NULL;
	for (int i = 0; i < 10 && !stopped; i++)
		step();
	assert_int_equal(rmdir(deep), 0);
}

static void a_slow_subscriber_loses_events_and_hears_how_many(void **state)
{
	struct node_event ev = { .type = "message.read", .msg_id = "m" };
	size_t got = 0;
	bool up, lost = false;
	int fd;

	assert_int_equal(start(), ERR_OK);
	fd = dial();
	say_text(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"events.subscribe\"}\n");
	for (int i = 0; i < 40000; i++) {
		events_observe(e.events, &ev);
		if (i % 100 == 0)
			step();
	}
	while (hear(fd, big, sizeof big, &up) > 0) {
		got += lines_in(big);
		lost = lost || strstr(big, "\"events.lost\"");
	}
	assert_true(up);
	assert_true(lost);
	assert_true(got > 100 && got < 40000);
	close(fd);
	steps(3);
}

static size_t times(const char *text, const char *what)
{
	size_t n = 0;

	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

/* What comes by the thousand does not push out what comes seldom. */
static void volatile_messages_are_lost_before_other_events(void **state)
{
	static char text[8 << 20];
	char body[1024];
	struct message m = { .body = bytes_of(body, sizeof body) };
	struct node_event flood = { .type = "message.volatile", .peer = edge_peer(&e, "bob"), .msg_id = "v",
				    .message = &m };
	struct node_event seldom = { .type = "message.read", .msg_id = "m" };
	size_t n = 0, got, kept, lost;
	const char *at;
	bool up;
	int fd;

	memset(body, 'v', sizeof body);
	assert_int_equal(start(), ERR_OK);
	fd = dial();
	say_text(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"events.subscribe\"}\n");
	for (int i = 0; i < 6000; i++) {
		events_observe(e.events, &flood);
		if (i % 60 == 0)
			events_observe(e.events, &seldom);
	}
	while ((got = hear(fd, text + n, sizeof text - n, &up)) > 0)
		n += got;
	assert_true(up);
	kept = times(text, "\"type\":\"message.volatile\"");
	assert_true(kept > 1000 && kept < 6000);
	assert_int_equal(times(text, "\"type\":\"message.read\""), 100);
	lost = 0;
	for (at = text; (at = strstr(at, "\"type\":\"events.lost\"")); at++) {
		unsigned long long count = 0, of_these = 0;

		assert_int_equal(sscanf(at, "\"type\":\"events.lost\",\"count\":%llu,\"volatile\":%llu", &count, &of_these), 2);
		assert_int_equal(count, of_these);
		lost += (size_t)count;
	}
	assert_int_equal(kept + lost, 6000);
	close(fd);
	steps(3);
}

static void an_entry_of_the_audit_log_is_an_event(void **state)
{
	bool up;
	int fd;

	assert_int_equal(start(), ERR_OK);
	fd = dial();
	say_text(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"events.subscribe\","
		     "\"params\":{\"types\":[\"audit\"]}}\n");
	hear(fd, big, sizeof big, &up);
	audit_note(e.audit, "PEER_PINNED", (struct bytes){ 0 }, NULL);
	hear(fd, big, sizeof big, &up);
	assert_non_null(strstr(big, "\"type\":\"audit\",\"event\":\"PEER_PINNED\""));
	close(fd);
	steps(3);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(the_socket_is_private_and_goes_at_the_end),
		T(a_left_over_socket_is_replaced_and_a_file_is_not),
		T(a_line_may_come_in_pieces),
		T(many_lines_in_one_write_are_answered_in_order),
		T(a_client_that_does_not_read_is_not_read),
		T(a_bad_line_costs_only_itself),
		T(the_longest_line_is_read_and_one_byte_more_ends_it),
		T(what_was_asked_before_the_end_of_file_is_answered),
		T(a_dead_taker_takes_nothing),
		T(the_65th_connection_is_told_and_closed),
		T(a_deep_home_is_reached_too),
		T(a_slow_subscriber_loses_events_and_hears_how_many),
		T(volatile_messages_are_lost_before_other_events),
		T(an_entry_of_the_audit_log_is_an_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
