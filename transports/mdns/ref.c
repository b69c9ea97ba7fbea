/*
 * ref.c -- one DNSServiceRef each: begun on a thread, heard on the loop.
 *
 * Every DNSServiceXxx() of the compat library connects to the system bus and asks avahi several things, each with
 * an answer: together 1 to 3 ms when avahi lives, 25 s when it hangs, and the bus may start it meanwhile. libuv's
 * pool has four threads, which key derivation, checkpoints and name resolution need: so a thread of its own for each
 * call, detached. A stop leaves it behind, and it finds `closed` when it comes back.
 *
 * DNSServiceProcessResult() only takes signals that have come. One exception: a registration whose name turns out to be
 * taken is made again inside, three calls of the bus, below 1 ms with a living avahi; and only a living one says so.
 * DNSServiceRefDeallocate() closes the connection before anything else, so it asks the bus for nothing; it waits for
 * the library's own thread, which sits in poll() and is woken.
 */
#include "transports/mdns/mdns_internal.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <dns_sd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct ref {
	struct refs *g;
	struct ref *prev, *next;      /* of the ones that live */
	struct ref *done_next;        /* on its way back from the thread */
	struct ask ask;
	answer_fn fn;
	void *ctx;
	DNSServiceRef sd;
	DNSServiceErrorType err;      /* of the call, or what came inside it */
	bool live;                    /* the loop has it */
	bool unwanted;                /* closed before the thread came back */
	bool busy, dead;              /* inside the library; closed there */
	uv_poll_t poll;
};

struct refs {
	uv_loop_t *loop;
	struct ref *first;            /* live */
	unsigned handles;             /* on the loop, closing ones too */
	void (*stopped)(void *);
	void *stopped_ctx;
	uv_async_t async;
	/* Shared with the threads. */
	pthread_mutex_t lock;
	unsigned owners;              /* the object, and each thread */
	bool closed;
	struct ref *done;
};

static void unref(struct refs *g)
{
	bool last;

	pthread_mutex_lock(&g->lock);
	last = --g->owners == 0;
	pthread_mutex_unlock(&g->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&g->lock);
	free(g);
}

static enum err err_of(DNSServiceErrorType e)
{
	switch (e) {
	case kDNSServiceErr_NoError:
		return ERR_OK;
	case kDNSServiceErr_NoMemory:
		return ERR_NOMEM;
	case kDNSServiceErr_NameConflict:
	case kDNSServiceErr_AlreadyRegistered:
		return ERR_EXISTS;
	case kDNSServiceErr_BadParam:
	case kDNSServiceErr_BadFlags:
	case kDNSServiceErr_Unsupported:
	case kDNSServiceErr_Invalid:
		return ERR_USAGE;
	case kDNSServiceErr_Refused:
		return ERR_DENIED;
	case kDNSServiceErr_NoSuchName:
	case kDNSServiceErr_NoSuchRecord:
	case kDNSServiceErr_BadInterfaceIndex:
		return ERR_NOTFOUND;
	default:
		return ERR_IO;
	}
}

/* --- what the library calls ----------------------------------------------------------------------------------- */

/* On the loop: upward. On the thread, where only errors come: kept for the loop. */
static void tell(struct ref *r, DNSServiceErrorType e, struct answer *a)
{
	if (!r->live) {
		if (e != kDNSServiceErr_NoError)
			r->err = e;
		return;
	}
	if (r->dead)
		return;
	a->err = err_of(e);
	r->fn(r->ctx, r, a);
	if (a->err != ERR_OK)
		r->dead = true;
}

static void on_browse(DNSServiceRef sd, DNSServiceFlags flags, uint32_t ifindex, DNSServiceErrorType e,
		      const char *name, const char *type, const char *domain, void *ctx)
{
	struct answer a = { .add = flags & kDNSServiceFlagsAdd, .ifindex = ifindex, .name = name, .domain = domain };

	tell(ctx, e, &a);
}

static void on_resolve(DNSServiceRef sd, DNSServiceFlags flags, uint32_t ifindex, DNSServiceErrorType e,
		       const char *full, const char *host, uint16_t port, uint16_t txt_n, const unsigned char *txt,
		       void *ctx)
{
	struct answer a = { .add = true, .ifindex = ifindex, .host = host, .port = ntohs(port),
			    .data = bytes_of(txt, txt ? txt_n : 0) };

	tell(ctx, e, &a);
}

static void on_record(DNSServiceRef sd, DNSServiceFlags flags, uint32_t ifindex, DNSServiceErrorType e,
		      const char *full, uint16_t type, uint16_t class, uint16_t n, const void *data, uint32_t ttl,
		      void *ctx)
{
	struct answer a = { .add = flags & kDNSServiceFlagsAdd, .ifindex = ifindex, .data = bytes_of(data, n) };

	tell(ctx, e, &a);
}

static void on_register(DNSServiceRef sd, DNSServiceFlags flags, DNSServiceErrorType e, const char *name,
			const char *type, const char *domain, void *ctx)
{
	struct answer a = { .add = true, .name = name, .domain = domain };

	tell(ctx, e, &a);
}

/* --- the thread ------------------------------------------------------------------------------------------------ */

static DNSServiceErrorType call(struct ref *r)
{
	const struct ask *a = &r->ask;

	switch (a->kind) {
	case ASK_BROWSE:
		return DNSServiceBrowse(&r->sd, 0, a->ifindex, a->type, "local", on_browse, r);
	case ASK_RESOLVE:
		return DNSServiceResolve(&r->sd, 0, a->ifindex, a->name, a->type, "local", on_resolve, r);
	case ASK_ADDRESS:
		return DNSServiceQueryRecord(&r->sd, 0, a->ifindex, a->host,
					     a->v6 ? kDNSServiceType_AAAA : kDNSServiceType_A, kDNSServiceClass_IN,
					     on_record, r);
	case ASK_REGISTER:
		return DNSServiceRegister(&r->sd, 0, a->ifindex, a->name, a->type, NULL, NULL, htons(a->port),
					  a->txt_n, a->txt, on_register, r);
	}
	return kDNSServiceErr_BadParam;
}

static void *begin(void *arg)
{
	struct ref *r = arg;
	struct refs *g = r->g;
	DNSServiceErrorType e = call(r);
	bool closed;

	if (e != kDNSServiceErr_NoError) {
		r->err = e;
		r->sd = NULL;
	}
	pthread_mutex_lock(&g->lock);
	closed = g->closed;
	if (!closed) {
		r->done_next = g->done;
		g->done = r;
		uv_async_send(&g->async);
	}
	pthread_mutex_unlock(&g->lock);
	if (closed) {
		if (r->sd)
			DNSServiceRefDeallocate(r->sd);
		free(r);
	}
	unref(g);
	return NULL;
}

static bool thread_start(struct ref *r)
{
	pthread_attr_t attr;
	sigset_t all, was;
	pthread_t id;
	bool ok;

	if (pthread_attr_init(&attr) != 0)
		return false;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &was);
	ok = pthread_create(&id, &attr, begin, r) == 0;
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	pthread_attr_destroy(&attr);
	return ok;
}

struct ref *ref_open(struct refs *g, const struct ask *a, answer_fn fn, void *ctx)
{
	struct ref *r = calloc(1, sizeof *r);

	if (!r)
		return NULL;
	r->g = g;
	r->ask = *a;
	r->fn = fn;
	r->ctx = ctx;
	pthread_mutex_lock(&g->lock);
	g->owners++;
	pthread_mutex_unlock(&g->lock);
	if (thread_start(r))
		return r;
	unref(g);
	free(r);
	return NULL;
}

/* --- the loop --------------------------------------------------------------------------------------------------- */

static void ended(struct refs *g)
{
	void (*stopped)(void *) = g->stopped;

	if (--g->handles || !stopped)
		return;
	g->stopped = NULL;
	stopped(g->stopped_ctx);
}

static void poll_closed(uv_handle_t *h)
{
	struct ref *r = h->data;
	struct refs *g = r->g;

	free(r);
	ended(g);
}

/* Its descriptor leaves the loop before the library closes it. */
static void end(struct ref *r)
{
	if (r->prev)
		r->prev->next = r->next;
	else
		r->g->first = r->next;
	if (r->next)
		r->next->prev = r->prev;
	uv_poll_stop(&r->poll);
	uv_close((uv_handle_t *)&r->poll, poll_closed);
	DNSServiceRefDeallocate(r->sd);
}

void ref_close(struct ref *r)
{
	if (!r)
		return;
	if (!r->live)
		r->unwanted = true;
	else if (r->busy)
		r->dead = true;
	else if (!r->dead)
		end(r);
}

static void on_readable(uv_poll_t *p, int status, int events)
{
	struct ref *r = p->data;
	DNSServiceErrorType e;

	r->busy = true;
	e = status < 0 ? kDNSServiceErr_Unknown : DNSServiceProcessResult(r->sd);
	if (e != kDNSServiceErr_NoError)
		tell(r, e, &(struct answer){ 0 });
	r->busy = false;
	if (r->dead)
		end(r);
}

/* Not live yet: it has no handle. */
static void refuse(struct ref *r)
{
	struct answer a = { .err = err_of(r->err) };

	if (r->sd)
		DNSServiceRefDeallocate(r->sd);
	if (a.err == ERR_OK)
		a.err = ERR_IO;
	if (!r->unwanted)
		r->fn(r->ctx, r, &a);
	free(r);
}

static void adopt(struct ref *r)
{
	struct refs *g = r->g;

	if (r->unwanted || r->err != kDNSServiceErr_NoError ||
	    uv_poll_init(g->loop, &r->poll, DNSServiceRefSockFD(r->sd)) != 0) {
		refuse(r);
		return;
	}
	g->handles++;
	r->poll.data = r;
	r->live = true;
	r->next = g->first;
	if (g->first)
		g->first->prev = r;
	g->first = r;
	uv_poll_start(&r->poll, UV_READABLE, on_readable);
	r->busy = true;
	r->fn(r->ctx, r, &(struct answer){ .opened = true });
	r->busy = false;
	if (r->dead)
		end(r);
}

static struct ref *take_done(struct refs *g, bool close)
{
	struct ref *all;

	pthread_mutex_lock(&g->lock);
	all = g->done;
	g->done = NULL;
	g->closed |= close;
	pthread_mutex_unlock(&g->lock);
	return all;
}

static void on_async(uv_async_t *async)
{
	struct refs *g = async->data;

	/* A callback may stop everything: what is left in this list is then unwanted. */
	for (struct ref *r = take_done(g, false), *next; r; r = next) {
		next = r->done_next;
		if (g->closed)
			r->unwanted = true;
		adopt(r);
	}
}

static void async_closed(uv_handle_t *h)
{
	ended(h->data);
}

/*
 * Avahi 0.8: the compat library does not clear a new DNSServiceRef, and when the daemon dies it calls the first of four
 * callbacks there that is not NULL; all but one of them were never set. So what it allocates is born cleared, through
 * avahi_set_allocator() of avahi-common (struct AvahiAllocator), where the library is Avahi's.
 */
static void *cleared(size_t n)
{
	return calloc(1, n);
}

static void clear_what_avahi_allocates(void)
{
	static const struct {
		void *(*malloc)(size_t);
		void (*free)(void *);
		void *(*realloc)(void *, size_t);
		void *(*calloc)(size_t, size_t);
	} allocator = { cleared, free, realloc, calloc };
	void (*set)(const void *);

	*(void **)&set = dlsym(RTLD_DEFAULT, "avahi_set_allocator");
	if (set)
		set(&allocator);
}

enum err refs_new(uv_loop_t *loop, struct refs **out)
{
	struct refs *g = calloc(1, sizeof *g);

	if (!g)
		return ERR_NOMEM;
	clear_what_avahi_allocates();
	g->loop = loop;
	g->owners = 1;
	if (pthread_mutex_init(&g->lock, NULL) != 0 || uv_async_init(loop, &g->async, on_async) != 0) {
		free(g);
		return ERR_FULL;
	}
	g->async.data = g;
	g->handles = 1;
	*out = g;
	return ERR_OK;
}

void refs_stop(struct refs *g, void (*done)(void *), void *ctx)
{
	g->stopped = done;
	g->stopped_ctx = ctx;
	for (struct ref *r = g->first, *next; r; r = next) {
		next = r->next;
		ref_close(r);
	}
	for (struct ref *r = take_done(g, true), *next; r; r = next) {
		next = r->done_next;
		r->unwanted = true;
		refuse(r);
	}
	uv_close((uv_handle_t *)&g->async, async_closed);
}

void refs_free(struct refs *g)
{
	if (g)
		unref(g);
}

/* Saves threads and attempts where there is nothing to talk to. */
const char *bus_missing(void)
{
	static const char prefix[] = "unix:path=", *const usual[] = { "/run/dbus/system_bus_socket",
								       "/var/run/dbus/system_bus_socket" };
	const char *said = getenv("DBUS_SYSTEM_BUS_ADDRESS");
	char path[256];

	if (!said || !*said) {
		for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++)
			if (access(usual[i], F_OK) == 0)
				return NULL;
		return "there is no system bus, which avahi-daemon needs";
	}
	if (strncmp(said, prefix, sizeof prefix - 1) != 0)
		return NULL;
	snprintf(path, sizeof path, "%.*s", (int)strcspn(said + sizeof prefix - 1, ",;"), said + sizeof prefix - 1);
	return access(path, F_OK) == 0 ? NULL : "the system bus of $DBUS_SYSTEM_BUS_ADDRESS is not there";
}
