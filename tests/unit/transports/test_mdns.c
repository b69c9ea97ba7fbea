/* The course of mDNS with an avahi that does what the test says: the calls of dns_sd.h are played here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dns_sd.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/transports_uv.h"
#include "transports/mdns/mdns_internal.h"

#define TYPE "_ironmesh._tcp"
#define IFINDEX 1

/* --- avahi, as far as it is needed ------------------------------------------------------------------------------ */

enum fake_kind { FAKE_BROWSE, FAKE_RESOLVE, FAKE_QUERY, FAKE_REGISTER };

struct fake_event {
	bool add, broken;
	char name[64];
	struct fake_event *next;
};

struct _DNSServiceRef_t {
	enum fake_kind kind;
	int fd[2];
	char name[64];
	uint16_t rrtype;
	void *callback, *ctx;
	struct fake_event *events;
	DNSServiceRef next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static struct {
	bool up, hangs;
	unsigned calls, hanging, registers, refs;
	char taken[64];              /* somebody on this machine has that name */
	char registered[64];
	uint8_t txt[256];
	uint16_t txt_n;
	const char *host;            /* of every service */
	bool bad_txt;
	char services[1200][24];
	unsigned services_n;
	DNSServiceRef all;
} avahi;

/* One byte, as long as there is anything. */
static void ring(DNSServiceRef r)
{
	if (write(r->fd[1], "x", 1) != 1)
		abort();
}

static void push(DNSServiceRef r, bool add, bool broken, const char *name)
{
	struct fake_event *e = calloc(1, sizeof *e), **last = &r->events;

	e->add = add;
	e->broken = broken;
	snprintf(e->name, sizeof e->name, "%s", name);
	if (!*last)
		ring(r);
	while (*last)
		last = &(*last)->next;
	*last = e;
}

/* With the lock, which is left when it answers nothing. */
static DNSServiceErrorType begin(DNSServiceRef *out, enum fake_kind kind, const char *name, void *callback, void *ctx)
{
	DNSServiceRef r;

	pthread_mutex_lock(&lock);
	avahi.calls++;
	avahi.hanging++;
	while (avahi.hangs)
		pthread_cond_wait(&moved, &lock);
	avahi.hanging--;
	if (!avahi.up) {
		pthread_mutex_unlock(&lock);
		return kDNSServiceErr_Unknown;
	}
	r = calloc(1, sizeof *r);
	r->kind = kind;
	r->callback = callback;
	r->ctx = ctx;
	snprintf(r->name, sizeof r->name, "%s", name);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, r->fd) != 0)
		abort();
	r->next = avahi.all;
	avahi.all = r;
	avahi.refs++;
	*out = r;
	return kDNSServiceErr_NoError;
}

static DNSServiceErrorType begun(void)
{
	pthread_mutex_unlock(&lock);
	return kDNSServiceErr_NoError;
}

DNSServiceErrorType DNSServiceBrowse(DNSServiceRef *out, DNSServiceFlags flags, uint32_t ifindex, const char *type,
				     const char *domain, DNSServiceBrowseReply callback, void *ctx)
{
	DNSServiceErrorType e = begin(out, FAKE_BROWSE, type, (void *)callback, ctx);

	if (e != kDNSServiceErr_NoError)
		return e;
	for (unsigned i = 0; i < avahi.services_n; i++)
		push(*out, true, false, avahi.services[i]);
	return begun();
}

DNSServiceErrorType DNSServiceResolve(DNSServiceRef *out, DNSServiceFlags flags, uint32_t ifindex, const char *name,
				      const char *type, const char *domain, DNSServiceResolveReply callback, void *ctx)
{
	DNSServiceErrorType e = begin(out, FAKE_RESOLVE, name, (void *)callback, ctx);

	if (e != kDNSServiceErr_NoError)
		return e;
	if (strncmp(name, "silent", 6) != 0)
		push(*out, true, false, name);
	return begun();
}

DNSServiceErrorType DNSServiceQueryRecord(DNSServiceRef *out, DNSServiceFlags flags, uint32_t ifindex,
					  const char *name, uint16_t type, uint16_t class,
					  DNSServiceQueryRecordReply callback, void *ctx)
{
	DNSServiceErrorType e = begin(out, FAKE_QUERY, name, (void *)callback, ctx);

	if (e != kDNSServiceErr_NoError)
		return e;
	(*out)->rrtype = type;
	push(*out, true, false, "");
	return begun();
}

DNSServiceErrorType DNSServiceRegister(DNSServiceRef *out, DNSServiceFlags flags, uint32_t ifindex, const char *name,
				       const char *type, const char *domain, const char *host, uint16_t port, uint16_t n,
				       const void *txt, DNSServiceRegisterReply callback, void *ctx)
{
	DNSServiceErrorType e = begin(out, FAKE_REGISTER, name, (void *)callback, ctx);

	if (e != kDNSServiceErr_NoError)
		return e;
	avahi.registers++;
	if (strcmp(name, avahi.taken) == 0) {
		pthread_mutex_unlock(&lock);
		DNSServiceRefDeallocate(*out);
		*out = NULL;
		return kDNSServiceErr_NameConflict;
	}
	snprintf(avahi.registered, sizeof avahi.registered, "%s", name);
	avahi.txt_n = n;
	memcpy(avahi.txt, txt, n);
	push(*out, true, false, name);
	return begun();
}

int DNSServiceRefSockFD(DNSServiceRef r)
{
	return r->fd[0];
}

static void call_back(DNSServiceRef r, const struct fake_event *e)
{
	static const uint8_t four[4] = { 192, 0, 2, 7 }, six[16] = { 0xfe, 0x80, [15] = 7 };
	DNSServiceErrorType err = e->broken ? kDNSServiceErr_Unknown : kDNSServiceErr_NoError;
	DNSServiceFlags flags = e->add ? kDNSServiceFlagsAdd : 0;
	bool v6 = r->rrtype == kDNSServiceType_AAAA;

	switch (r->kind) {
	case FAKE_BROWSE:
		((DNSServiceBrowseReply)r->callback)(r, flags, IFINDEX, err, e->name, TYPE ".", "local.", r->ctx);
		break;
	case FAKE_RESOLVE:
		((DNSServiceResolveReply)r->callback)(r, 0, IFINDEX, err, "", avahi.host, htons(8765),
						      avahi.bad_txt ? 3 : 6,
						      (const unsigned char *)"\x05v=im2", r->ctx);
		break;
	case FAKE_QUERY:
		((DNSServiceQueryRecordReply)r->callback)(r, flags, IFINDEX, err, "", r->rrtype, 1, v6 ? 16 : 4,
							  v6 ? six : four, 120, r->ctx);
		break;
	case FAKE_REGISTER:
		((DNSServiceRegisterReply)r->callback)(r, 0, err, e->name, TYPE ".", "local.", r->ctx);
		break;
	}
}

DNSServiceErrorType DNSServiceProcessResult(DNSServiceRef r)
{
	struct fake_event *e;
	char c;

	if (read(r->fd[0], &c, 1) != 1)
		return kDNSServiceErr_Unknown;
	pthread_mutex_lock(&lock);
	e = r->events;
	r->events = e->next;
	if (r->events)
		ring(r);
	pthread_mutex_unlock(&lock);
	call_back(r, e);
	free(e);
	return kDNSServiceErr_NoError;
}

void DNSServiceRefDeallocate(DNSServiceRef r)
{
	pthread_mutex_lock(&lock);
	for (DNSServiceRef *i = &avahi.all; *i; i = &(*i)->next)
		if (*i == r) {
			*i = r->next;
			break;
		}
	avahi.refs--;
	pthread_mutex_unlock(&lock);
	for (struct fake_event *e = r->events, *next; e; e = next) {
		next = e->next;
		free(e);
	}
	close(r->fd[0]);
	close(r->fd[1]);
	free(r);
}

static void appear(const char *name)
{
	pthread_mutex_lock(&lock);
	snprintf(avahi.services[avahi.services_n++], sizeof avahi.services[0], "%s", name);
	for (DNSServiceRef r = avahi.all; r; r = r->next)
		if (r->kind == FAKE_BROWSE)
			push(r, true, false, name);
	pthread_mutex_unlock(&lock);
}

static void vanish(const char *name)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < avahi.services_n; i++)
		if (strcmp(avahi.services[i], name) == 0)
			memcpy(avahi.services[i], avahi.services[--avahi.services_n], sizeof avahi.services[0]);
	for (DNSServiceRef r = avahi.all; r; r = r->next)
		if (r->kind == FAKE_BROWSE)
			push(r, false, false, name);
	pthread_mutex_unlock(&lock);
}

/* Every client hears that its daemon is gone. */
static void die(void)
{
	pthread_mutex_lock(&lock);
	avahi.up = false;
	for (DNSServiceRef r = avahi.all; r; r = r->next)
		push(r, false, true, "");
	pthread_mutex_unlock(&lock);
}

static unsigned calls(void)
{
	unsigned n;

	pthread_mutex_lock(&lock);
	n = avahi.calls;
	pthread_mutex_unlock(&lock);
	return n;
}

/* --- the bench ------------------------------------------------------------------------------------------------- */

static struct uv_bench bench;
static uint64_t now_ms, seed;
static struct mdns *m;
static struct {
	unsigned found, lost, states;
	enum mdns_state state;
	char why[200], last_found[64], last_lost[64];
	struct mdns_service real;
	bool stopped;
} seen;

static uint64_t now_of(void *ctx)
{
	return now_ms;
}

static void chance(void *ctx, void *out, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		((uint8_t *)out)[i] = (uint8_t)(seed >> 56);
	}
}

static struct env env = { .now_ms = now_of, .random = chance };

static bool on_found(void *ctx, const struct mdns_service *s)
{
	bool real = strncmp(s->instance, "real", 4) == 0;

	seen.found++;
	snprintf(seen.last_found, sizeof seen.last_found, "%s", s->instance);
	if (real)
		seen.real = *s;
	return real;
}

static void on_lost(void *ctx, const char *type, const char *instance)
{
	assert_string_equal(type, TYPE);
	seen.lost++;
	snprintf(seen.last_lost, sizeof seen.last_lost, "%s", instance);
}

static void on_state(void *ctx, enum mdns_state s, const char *why)
{
	seen.states++;
	seen.state = s;
	snprintf(seen.why, sizeof seen.why, "%s", why);
}

static void on_stopped(void *ctx)
{
	seen.stopped = true;
}

static void turns(unsigned n)
{
	while (n--) {
		uv_bench_turn(&bench);
		timers_run(&env);
		now_ms += 5;
	}
}

/* Virtual time goes on 5 ms a turn; real time is for the threads. */
#define UNTIL(condition)                                                                          \
	do {                                                                                      \
		unsigned left_ = 4000;                                                            \
		while (!(condition) && left_--)                                                   \
			turns(1);                                                                 \
		assert_true(condition);                                                           \
	} while (0)

static void pass(uint64_t ms)
{
	now_ms += ms;
	turns(3);
}

static struct mdns_stats stats(void)
{
	struct mdns_stats st;

	mdns_stats(m, &st);
	return st;
}

static void open_mdns_with(const char *bind, uint32_t burst)
{
	struct mdns_config c = { .loop = &bench.loop, .env = &env, .bind = bind, .events_burst = burst,
				 .sink = { .found = on_found, .lost = on_lost, .state = on_state } };

	assert_int_equal(mdns_new(&c, &m), ERR_OK);
}

static void open_mdns(const char *bind)
{
	open_mdns_with(bind, 0);
}

static int setup(void **state)
{
	memset(&avahi, 0, sizeof avahi);
	memset(&seen, 0, sizeof seen);
	avahi.up = true;
	avahi.host = "there.local.";
	now_ms = 1000000;
	seed = 7;
	setenv("DBUS_SYSTEM_BUS_ADDRESS", "tcp:host=nowhere", 1);
	uv_bench_open(&bench);
	return 0;
}

static int teardown(void **state)
{
	mdns_stop(m, on_stopped, NULL);
	UNTIL(seen.stopped);
	mdns_free(m);
	uv_bench_close(&bench);
	timers_fini(&env);
	UNTIL(avahi.refs == 0 || !avahi.up);
	assert_int_equal(avahi.refs, 0);
	return 0;
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

static void what_is_found_is_told_ready_to_dial(void **state)
{
	appear("real");
	open_mdns(NULL);
	assert_int_equal(mdns_browse(m, TYPE), ERR_OK);
	UNTIL(seen.found == 1);
	assert_int_equal(seen.state, MDNS_UP);
	assert_int_equal(seen.real.port, 8765);
	assert_string_equal(seen.real.type, TYPE);
	assert_string_equal(mdns_txt(&seen.real, "v"), "im2");
	assert_int_equal(seen.real.addresses_n, 2);
	/* The link-local one is near for sure; 192.0.2.7 is of no net of ours. */
	assert_string_equal(seen.real.addresses[0], "[fe80::7%1]:8765");
	assert_string_equal(seen.real.addresses[1], "192.0.2.7:8765");
	vanish("real");
	UNTIL(seen.lost == 1);
	assert_int_equal(stats().services, 0);
}

static void it_is_asked_again_after_a_while(void **state)
{
	appear("real");
	open_mdns(NULL);
	assert_int_equal(mdns_browse(m, TYPE), ERR_OK);
	UNTIL(seen.found == 1);
	pass(600000);
	assert_int_equal(seen.found, 1);
	pass(600000);
	UNTIL(seen.found == 2);
	assert_int_equal(stats().services, 1);
}

static void without_avahi_it_is_said_once_and_tried_again(void **state)
{
	unsigned before;

	avahi.up = false;
	open_mdns(NULL);
	assert_int_equal(mdns_browse(m, TYPE), ERR_OK);
	UNTIL(seen.state == MDNS_DOWN);
	assert_string_equal(seen.why, "avahi-daemon does not run, or is not on the system bus");
	assert_int_equal(seen.states, 1);
	before = calls();
	assert_int_equal(before, 1); /* one attempt, not one for each thing that is wanted */
	for (unsigned i = 0; i < 20; i++)
		pass(60000);
	assert_true(calls() > before + 10 && calls() <= before + 20);
	assert_int_equal(seen.states, 1);
	avahi.up = true;
	appear("real");
	pass(60000);
	UNTIL(seen.found == 1);
	assert_int_equal(seen.state, MDNS_UP);
	assert_int_equal(seen.states, 2);
	assert_int_equal(stats().restarts, 0);
}

static void without_a_bus_nothing_is_called(void **state)
{
	setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
	open_mdns(NULL);
	assert_int_equal(mdns_browse(m, TYPE), ERR_OK);
	UNTIL(seen.state == MDNS_DOWN);
	for (unsigned i = 0; i < 5; i++)
		pass(60000);
	assert_int_equal(calls(), 0);
	assert_int_equal(seen.states, 1);
}

static void after_a_restart_everything_is_made_again(void **state)
{
	struct mdns_pair txt = { "v", "im2" };

	appear("real one");
	appear("other");
	open_mdns(NULL);
	assert_int_equal(mdns_browse(m, TYPE), ERR_OK);
	assert_int_equal(mdns_publish(m, 0, TYPE, "self", 1, &txt, 1), ERR_OK);
	UNTIL(seen.found == 2 && mdns_published(m, 0));
	die();
	UNTIL(seen.state == MDNS_DOWN);
	assert_string_equal(seen.why, "avahi-daemon has gone");
	assert_null(mdns_published(m, 0));
	assert_int_equal(seen.lost, 0); /* that says nothing about others */
	vanish("other");
	avahi.up = true;
	pass(5000);
	UNTIL(seen.state == MDNS_UP && mdns_published(m, 0));
	assert_int_equal(stats().restarts, 1);
	assert_int_equal(avahi.registers, 2);
	pass(10000);
	assert_int_equal(seen.lost, 0);
	pass(10000);
	UNTIL(seen.lost == 1); /* not seen anew */
	assert_string_equal(seen.last_lost, "other");
	assert_int_equal(stats().services, 1);
}

static void a_hanging_avahi_holds_up_nothing(void **state)
{
	uint64_t began;

	avahi.hangs = true;
	open_mdns(NULL);
	assert_int_equal(mdns_browse(m, TYPE), ERR_OK);
	UNTIL(calls() == 1);
	pass(5000);
	UNTIL(seen.state == MDNS_DOWN);
	assert_string_equal(seen.why, "avahi-daemon does not answer");
	for (unsigned i = 0; i < 5; i++)
		pass(60000);
	assert_int_equal(calls(), 1); /* no second thread behind the first */
	began = uv_bench_now(&bench);
	mdns_stop(m, on_stopped, NULL);
	UNTIL(seen.stopped);
	assert_true(uv_bench_now(&bench) - began < 1000);
	mdns_free(m);
	/* The thread comes back to something that is gone. */
	pthread_mutex_lock(&lock);
	avahi.hangs = false;
	pthread_cond_broadcast(&moved);
	pthread_mutex_unlock(&lock);
	UNTIL(avahi.hanging == 0 && avahi.refs == 0);
	seen.stopped = false;
	open_mdns(NULL);
}

static void it_answers_after_all(void **state)
{
	avahi.hangs = true;
	appear("real");
	open_mdns(NULL);
	assert_int_equal(mdns_browse(m, TYPE), ERR_OK);
	UNTIL(calls() == 1);
	pass(5000);
	UNTIL(seen.state == MDNS_DOWN);
	pthread_mutex_lock(&lock);
	avahi.hangs = false;
	pthread_cond_broadcast(&moved);
	pthread_mutex_unlock(&lock);
	UNTIL(seen.state == MDNS_UP && seen.found == 1);
}

static void what_is_published_is_what_was_said(void **state)
{
	struct mdns_pair txt[2] = { { "v", "im2" }, { "n", "42" } };

	open_mdns(NULL);
	assert_int_equal(mdns_publish(m, 1, TYPE, "self", 8765, txt, 2), ERR_OK);
	UNTIL(mdns_published(m, 1));
	assert_string_equal(mdns_published(m, 1), "self");
	assert_int_equal(avahi.txt_n, 11);
	assert_memory_equal(avahi.txt, "\x05v=im2\x04n=42", 11);
	/* The same once more changes nothing, another text does. */
	assert_int_equal(mdns_publish(m, 1, TYPE, "self", 8765, txt, 2), ERR_OK);
	turns(20);
	assert_int_equal(avahi.registers, 1);
	txt[1].value[0] = '3';
	assert_int_equal(mdns_publish(m, 1, TYPE, "self", 8765, txt, 2), ERR_OK);
	UNTIL(avahi.registers == 2 && mdns_published(m, 1));
	assert_memory_equal(avahi.txt, "\x05v=im2\x04n=32", 11);
	mdns_withdraw(m, 1);
	assert_null(mdns_published(m, 1));
	assert_int_equal(avahi.refs, 0);
	assert_int_equal(mdns_publish(m, 4, TYPE, "x", 1, txt, 1), ERR_USAGE);
	assert_int_equal(mdns_publish(m, 0, TYPE, "x", 0, txt, 1), ERR_USAGE);
	assert_int_equal(mdns_publish(m, 0, TYPE, "", 1, txt, 1), ERR_USAGE);
}

static void a_taken_name_is_changed_in_the_end(void **state)
{
	struct mdns_pair txt = { "v", "im2" };

	strcpy(avahi.taken, "alice");
	open_mdns(NULL);
	assert_int_equal(mdns_publish(m, 0, TYPE, "alice", 1, &txt, 1), ERR_OK);
	for (unsigned i = 0; i < 20 && !mdns_published(m, 0); i++)
		pass(500);
	UNTIL(mdns_published(m, 0));
	assert_string_equal(mdns_published(m, 0), "alice #2");
	assert_true(avahi.registers > 3); /* our own last life was given some time to go */
}

static void our_own_are_never_found(void **state)
{
	struct mdns_pair txt = { "v", "im2" };

	open_mdns(NULL);
	assert_int_equal(mdns_browse(m, TYPE), ERR_OK);
	assert_int_equal(mdns_publish(m, 0, TYPE, "real self", 1, &txt, 1), ERR_OK);
	appear("real self"); /* before avahi says that the name is ours */
	UNTIL(mdns_published(m, 0));
	appear("real self");
	appear("real peer");
	UNTIL(seen.found == 1);
	assert_string_equal(seen.last_found, "real peer");
	pass(10000);
	assert_int_equal(seen.found, 1);
	assert_int_equal(stats().services, 1);
}

static void a_thousand_strangers_starve_nobody(void **state)
{
	char name[24];

	appear("real");
	open_mdns_with(NULL, 700);
	assert_int_equal(mdns_browse(m, TYPE), ERR_OK);
	UNTIL(seen.found == 1);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, i % 2 ? "stranger%u" : "silent%u", i);
		appear(name);
	}
	/* All within one moment: 700 of them are looked at, 511 have room. */
	for (unsigned i = 0; i < 1100; i++) {
		uv_bench_turn(&bench);
		timers_run(&env);
	}
	assert_int_equal(stats().services, MDNS_SERVICES_MAX);
	assert_true(stats().dropped_limit >= 480);
	for (unsigned i = 0; i < 200; i++) {
		turns(1);
		now_ms += 45;
		assert_true(stats().services <= MDNS_SERVICES_MAX);
	}
	/* One that was known is still known, and it is asked again in its time although hundreds wait. */
	assert_int_equal(strncmp(seen.last_lost, "real", 4) != 0, 1);
	seen.real.port = 0;
	now_ms += 900000 + 180000;
	UNTIL(seen.real.port == 8765);
	/* When they go there is room at once. */
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, i % 2 ? "stranger%u" : "silent%u", i);
		vanish(name);
	}
	UNTIL(stats().services == 1);
	appear("real too");
	UNTIL(strcmp(seen.real.instance, "real too") == 0);
}

static void nonsense_is_dropped_and_counted(void **state)
{
	open_mdns(NULL);
	assert_int_equal(mdns_browse(m, TYPE), ERR_OK);
	UNTIL(seen.state == MDNS_UP);
	appear("real\x1b[2J");
	appear("real\xff");
	UNTIL(stats().dropped_malformed == 2);
	avahi.host = "www.example.com."; /* nothing is looked up elsewhere for a stranger */
	appear("real away");
	UNTIL(stats().dropped_malformed == 3);
	avahi.host = "there.local.";
	avahi.bad_txt = true;
	appear("real bad");
	UNTIL(stats().dropped_malformed == 4);
	assert_int_equal(seen.found, 0);
}

static void an_address_that_nobody_has_binds_to_nothing(void **state)
{
	open_mdns("203.0.113.77");
	assert_int_equal(mdns_browse(m, TYPE), ERR_OK);
	UNTIL(seen.state == MDNS_DOWN);
	assert_non_null(strstr(seen.why, "203.0.113.77"));
	assert_int_equal(calls(), 0);
}

static void what_is_not_browsed_any_more_is_forgotten(void **state)
{
	appear("real");
	open_mdns(NULL);
	assert_int_equal(mdns_browse(m, TYPE), ERR_OK);
	assert_int_equal(mdns_browse(m, TYPE), ERR_OK);
	UNTIL(seen.found == 1);
	mdns_browse_stop(m, TYPE);
	assert_int_equal(stats().services, 0);
	assert_int_equal(seen.lost, 0);
	assert_int_equal(avahi.refs, 0);
	assert_int_equal(mdns_browse(m, "_a._tcp"), ERR_OK);
	assert_int_equal(mdns_browse(m, "_b._tcp"), ERR_OK);
	assert_int_equal(mdns_browse(m, "_c._tcp"), ERR_OK);
	assert_int_equal(mdns_browse(m, "_d._tcp"), ERR_OK);
	assert_int_equal(mdns_browse(m, "_e._tcp"), ERR_FULL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_found_is_told_ready_to_dial),
		TEST(it_is_asked_again_after_a_while),
		TEST(without_avahi_it_is_said_once_and_tried_again),
		TEST(without_a_bus_nothing_is_called),
		TEST(after_a_restart_everything_is_made_again),
		TEST(a_hanging_avahi_holds_up_nothing),
		TEST(it_answers_after_all),
		TEST(what_is_published_is_what_was_said),
		TEST(a_taken_name_is_changed_in_the_end),
		TEST(our_own_are_never_found),
		TEST(a_thousand_strangers_starve_nobody),
		TEST(nonsense_is_dropped_and_counted),
		TEST(an_address_that_nobody_has_binds_to_nothing),
		TEST(what_is_not_browsed_any_more_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
