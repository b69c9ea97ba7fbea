/*
 * course.c -- from "there is something of this name" to addresses that can be dialled.
 *
 *	browse -> row -> resolve (host, port, TXT) -> A and AAAA of that host -> found()
 *
 * The compat library has no DNSServiceGetAddrInfo() and keeps to itself when an answer is complete. So addresses are taken for a
 * moment after the first one came; they are in avahi's cache mostly, and come within milliseconds.
 */
#include "transports/mdns/mdns_internal.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/text.h"

#define ANSWER_MS 2000             /* for an answer; a responder may keep silent for a second (RFC 6762 6) */
#define ADDRESS_MS 2000            /* for the addresses, after it */
#define SETTLE_MS 300              /* after the first address */
#define SETTLED_MS 60              /* when both families have answered */
#define ASK_AGAIN_MS 900000        /* 15 minutes */
#define FAILED_MS 3000             /* doubling */
#define FAILED_MAX_MS 3600000
#define OURS_MS 3000               /* what may be our own is not asked before it is known */
#define LOOK_AGAIN_MS 60000        /* what came too fast is looked for after it, doubling so often: */
#define LOOKS_DOUBLED 2
#define LOOK_DOUBT_MS 20000

/* --- told upward ------------------------------------------------------------------------------------------- */

static bool same_service(const struct row *a, const struct row *b)
{
	return a->type == b->type && strcmp(a->instance, b->instance) == 0;
}

static void add_addresses(struct mdns_service *s, const struct row *r)
{
	char text[80];

	for (size_t i = 0; i < r->ips_n && s->addresses_n < MDNS_ADDRESSES_MAX; i++) {
		bool known = false;

		address_text(&r->ips[i], r->ifindex, r->port, text);
		for (size_t k = 0; k < s->addresses_n; k++)
			known |= strcmp(s->addresses[k], text) == 0;
		if (!known)
			memcpy(s->addresses[s->addresses_n++], text, sizeof text);
	}
}

/* With what the other interfaces show of it. */
static void tell_found(struct mdns *m, struct row *r)
{
	struct mdns_service s = { .port = r->port };

	memcpy(s.type, m->browses[r->type].type, sizeof s.type);
	memcpy(s.instance, r->instance, sizeof s.instance);
	if (mdns_txt_parse(bytes_of(r->txt, r->txt_n), s.pairs, MDNS_TXT_PAIRS_MAX, &s.pairs_n) != ERR_OK) {
		m->stats.dropped_malformed++;
		return;
	}
	add_addresses(&s, r);
	for (size_t i = 0; i < m->table.n; i++)
		if (m->table.rows[i] != r && m->table.rows[i]->state == ROW_READY &&
		    same_service(m->table.rows[i], r))
			add_addresses(&s, m->table.rows[i]);
	m->stats.found++;
	r->told = true;
	r->wanted = m->c.sink.found(m->c.sink.ctx, &s);
}

static void course_end(struct course *c)
{
	ref_close(c->resolve);
	ref_close(c->v4);
	ref_close(c->v6);
	if (c->row)
		c->row->course = NULL;
	*c = (struct course){ .m = c->m };
}

void course_lose(struct mdns *m, struct row *r)
{
	char type[MDNS_TYPE_MAX + 1], instance[MDNS_INSTANCE_MAX + 1];
	struct row *other = NULL;
	bool told = r->told;

	memcpy(type, m->browses[r->type].type, sizeof type);
	memcpy(instance, r->instance, sizeof instance);
	for (size_t i = 0; i < m->table.n; i++)
		if (m->table.rows[i] != r && m->table.rows[i]->told && same_service(m->table.rows[i], r))
			other = m->table.rows[i];
	if (r->course)
		course_end(r->course);
	table_drop(&m->table, r);
	if (!told)
		return;
	if (other) {
		tell_found(m, other);
		return;
	}
	m->stats.lost++;
	m->c.sink.lost(m->c.sink.ctx, type, instance);
}

void course_forget(struct mdns *m, int type)
{
	for (size_t i = m->table.n; i-- > 0;)
		if (m->table.rows[i]->type == type) {
			if (m->table.rows[i]->course)
				course_end(m->table.rows[i]->course);
			table_drop(&m->table, m->table.rows[i]);
		}
}

/* --- seen ------------------------------------------------------------------------------------------------------ */

/* What cannot be shown as it is, or is not of this link. */
static bool acceptable(const struct answer *a)
{
	char safe[MDNS_INSTANCE_MAX + 2];
	size_t n = a->name ? strnlen(a->name, MDNS_INSTANCE_MAX + 1) : 0;

	if (n == 0 || n > MDNS_INSTANCE_MAX || !a->domain || a->ifindex == 0)
		return false;
	if (strcmp(a->domain, "local.") != 0 && strcmp(a->domain, "local") != 0)
		return false;
	text_safe(bytes_of(a->name, n), safe, sizeof safe);
	return strcmp(safe, a->name) == 0;
}

static void missed(struct mdns *m, struct browse *b, uint64_t now)
{
	m->stats.dropped_limit++;
	if (b->missed)
		return;
	b->missed = true;
	b->again_ms = now + ((uint64_t)LOOK_AGAIN_MS << b->misses);
	if (b->misses < LOOKS_DOUBLED)
		b->misses++;
	mdns_wake(m, b->again_ms);
}

static void appeared(struct mdns *m, struct browse *b, const struct answer *a)
{
	uint8_t type = (uint8_t)(b - m->browses);
	struct row *r = table_find(&m->table, type, a->name, a->ifindex);
	uint64_t now = env_now(m->c.env);
	bool soon = false;

	if (r) {
		if (r->seen < UINT16_MAX)
			r->seen++;
		return;
	}
	if (mdns_is_ours(m, b->type, a->name, &soon))
		return;
	if (m->rule.restricted && a->ifindex != m->rule.ifindex)
		return;
	if (!bucket_take(&m->events, 1, now)) {
		missed(m, b, now);
		return;
	}
	if (m->table.n == MDNS_SERVICES_MAX) {
		struct row *v = table_victim(&m->table, m->c.env);

		if (!v) {
			missed(m, b, now);
			return;
		}
		m->stats.dropped_limit++;
		course_lose(m, v);
	}
	if (table_add(&m->table, type, a->name, a->ifindex, &r) != ERR_OK)
		return;
	r->seen = 1;
	r->due_ms = soon ? now + OURS_MS : now;
	mdns_wake(m, r->due_ms);
}

void course_seen(struct mdns *m, struct browse *b, const struct answer *a)
{
	struct row *r;

	if (!acceptable(a)) {
		m->stats.dropped_malformed++;
		return;
	}
	if (a->add) {
		appeared(m, b, a);
		return;
	}
	r = table_find(&m->table, (uint8_t)(b - m->browses), a->name, a->ifindex);
	/* 0: doubted, and this is of the browse before. */
	if (r && r->seen && --r->seen == 0)
		course_lose(m, r);
}

/* --- asked ------------------------------------------------------------------------------------------------------ */

static void failed(struct mdns *m, struct course *c)
{
	struct row *r = c->row;
	uint64_t wait = (uint64_t)FAILED_MS << (r->failures < 11 ? r->failures : 11);

	if (wait > FAILED_MAX_MS)
		wait = FAILED_MAX_MS;
	if (r->failures < UINT8_MAX)
		r->failures++;
	if (r->state == ROW_READY && r->failures < 3)
		wait = FAILED_MS; /* it was there; what we know of it stays */
	else
		r->state = ROW_FAILED;
	r->due_ms = env_now(m->c.env) + wait + env_uniform(m->c.env, wait / 4);
	course_end(c);
}

/* By rank, in the order in which they came. */
static void sort_usable(struct mdns *m, struct course *c, struct row *r)
{
	struct own_net nets[OWN_NETS_MAX];
	size_t n = own_nets(nets, OWN_NETS_MAX);

	r->ips_n = 0;
	for (unsigned rank = 0; rank < RANK_NEVER; rank++)
		for (size_t i = 0; i < c->ips_n && r->ips_n < MDNS_ADDRESSES_MAX; i++)
			if (address_rank(&c->ips[i], r->ifindex, nets, n, &m->rule) == rank)
				r->ips[r->ips_n++] = c->ips[i];
}

static void complete(struct mdns *m, struct course *c)
{
	struct row *r = c->row;
	uint8_t *txt = malloc(c->txt_n + 1);

	sort_usable(m, c, r);
	if (!txt || r->ips_n == 0) {
		free(txt);
		failed(m, c);
		return;
	}
	memcpy(txt, c->txt, c->txt_n);
	free(r->txt);
	r->txt = txt;
	r->txt_n = c->txt_n;
	r->port = c->port;
	r->state = ROW_READY;
	r->failures = 0;
	r->due_ms = env_now(m->c.env) + ASK_AGAIN_MS + env_uniform(m->c.env, ASK_AGAIN_MS / 5);
	course_end(c);
	tell_found(m, r);
}

static void on_address(void *ctx, struct ref *ref, const struct answer *a)
{
	struct course *c = ctx;
	bool v6 = ref == c->v6;
	struct ip ip = { .v6 = v6 };
	uint64_t now = env_now(c->m->c.env);

	if (a->err != ERR_OK) { /* it has no address of this kind, or avahi is gone: the end comes by time */
		*(v6 ? &c->v6 : &c->v4) = NULL;
		*(v6 ? &c->got_v6 : &c->got_v4) = true;
		return;
	}
	/* The name may mean another machine on another interface. */
	if (a->opened || !a->add || a->ifindex != c->row->ifindex || a->data.n != (v6 ? 16u : 4u))
		return;
	if (c->ips_n == sizeof c->ips / sizeof c->ips[0])
		return;
	memcpy(ip.b, a->data.p, a->data.n);
	c->ips[c->ips_n++] = ip;
	*(v6 ? &c->got_v6 : &c->got_v4) = true;
	if (!c->settle_ms)
		c->settle_ms = now + SETTLE_MS;
	if (c->got_v4 && c->got_v6 && c->settle_ms > now + SETTLED_MS)
		c->settle_ms = now + SETTLED_MS;
	mdns_wake(c->m, c->settle_ms);
}

/* A machine of this link, so that nothing is looked up elsewhere for a stranger. */
static bool host_fits(const char *host)
{
	static const char *const ends[] = { ".local.", ".local" };
	size_t n = host ? strnlen(host, HOST_MAX + 1) : 0;

	if (n == 0 || n > HOST_MAX)
		return false;
	for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
		if (n > strlen(ends[i]) && strcmp(host + n - strlen(ends[i]), ends[i]) == 0)
			return true;
	return false;
}

static void ask_addresses(struct course *c)
{
	struct mdns *m = c->m;
	struct ask a = { .kind = ASK_ADDRESS, .ifindex = c->row->ifindex };
	bool v4 = m->rule.any_family || !m->rule.restricted || !m->rule.v6,
	     v6 = m->rule.any_family || !m->rule.restricted || m->rule.v6;

	memcpy(a.host, c->host, sizeof a.host);
	if (v4)
		c->v4 = ref_open(m->refs, &a, on_address, c);
	a.v6 = true;
	if (v6)
		c->v6 = ref_open(m->refs, &a, on_address, c);
	c->got_v4 = !c->v4;
	c->got_v6 = !c->v6;
}

static void on_resolve(void *ctx, struct ref *ref, const struct answer *a)
{
	struct course *c = ctx;
	struct mdns *m = c->m;

	if (a->opened)
		return;
	if (a->err != ERR_OK) {
		c->resolve = NULL;
		failed(m, c);
		return;
	}
	if (a->port == 0 || a->data.n > MDNS_TXT_MAX || !host_fits(a->host)) {
		m->stats.dropped_malformed++;
		failed(m, c);
		return;
	}
	c->port = a->port;
	c->txt_n = (uint16_t)a->data.n;
	if (a->data.n)
		memcpy(c->txt, a->data.p, a->data.n);
	snprintf(c->host, sizeof c->host, "%s", a->host);
	c->end_ms = env_now(m->c.env) + ADDRESS_MS;
	ref_close(c->resolve);
	c->resolve = NULL;
	ask_addresses(c);
	if (!c->v4 && !c->v6)
		failed(m, c);
}

static void ask(struct mdns *m, struct course *c, struct row *r, uint64_t now)
{
	struct ask a = { .kind = ASK_RESOLVE, .ifindex = r->ifindex };

	memcpy(a.type, m->browses[r->type].type, sizeof a.type);
	memcpy(a.name, r->instance, sizeof a.name);
	c->row = r;
	r->course = c;
	if (r->state == ROW_NEW)
		r->state = ROW_ASKING;
	c->end_ms = now + ANSWER_MS;
	c->resolve = ref_open(m->refs, &a, on_resolve, c);
	if (!c->resolve)
		failed(m, c);
}

/* However many others wait: one place is for those that are of use, one for those that have just come. */
static enum which turn_of(size_t i)
{
	return i == 0 ? WANTED : i == 1 ? NEVER_ASKED : ANY;
}

static void look_again(struct mdns *m, struct browse *b, uint64_t now)
{
	ref_close(b->ref);
	b->ref = NULL;
	b->missed = false;
	table_doubt(&m->table, (int)(b - m->browses), now + LOOK_DOUBT_MS);
}

void course_run(struct mdns *m, uint64_t now)
{
	for (size_t i = 0; i < COURSES_MAX; i++) {
		struct course *c = &m->courses[i];

		if (!c->row)
			continue;
		if (c->settle_ms && now >= c->settle_ms)
			complete(m, c);
		else if (now >= c->end_ms)
			failed(m, c);
	}
	for (size_t i = m->table.n; i-- > 0;)
		/* A loss tells others, which may change the table; nothing is skipped for long. */
		if (i < m->table.n && m->table.rows[i]->seen == 0 && now >= m->table.rows[i]->gone_ms)
			course_lose(m, m->table.rows[i]);
	if (m->state != MDNS_UP)
		return;
	for (size_t i = 0; i < TYPES_MAX; i++)
		if (m->browses[i].used && m->browses[i].missed && now >= m->browses[i].again_ms)
			look_again(m, &m->browses[i], now);
	for (size_t i = 0; i < COURSES_MAX; i++) {
		struct row *r = m->courses[i].row ? NULL : table_next(&m->table, turn_of(i), now, m->c.env);

		if (r)
			ask(m, &m->courses[i], r, now);
	}
}

uint64_t course_when(const struct mdns *m)
{
	uint64_t when = UINT64_MAX;

	for (size_t i = 0; i < COURSES_MAX; i++) {
		const struct course *c = &m->courses[i];
		uint64_t at = c->settle_ms && c->settle_ms < c->end_ms ? c->settle_ms : c->end_ms;

		if (c->row && at < when)
			when = at;
	}
	for (size_t i = 0; i < m->table.n; i++) {
		const struct row *r = m->table.rows[i];
		uint64_t at = UINT64_MAX;

		if (r->seen == 0)
			at = r->gone_ms;
		for (size_t k = 0; r->seen && m->state == MDNS_UP && !r->course && k < COURSES_MAX; k++)
			if (!m->courses[k].row && row_is(r, turn_of(k)))
				at = r->due_ms;
		if (at < when)
			when = at;
	}
	if (m->state == MDNS_UP)
		for (size_t i = 0; i < TYPES_MAX; i++)
			if (m->browses[i].used && m->browses[i].missed && m->browses[i].again_ms < when)
				when = m->browses[i].again_ms;
	return when;
}

void course_cancel_all(struct mdns *m)
{
	for (size_t i = 0; i < COURSES_MAX; i++)
		if (m->courses[i].row) {
			if (m->courses[i].row->state == ROW_ASKING)
				m->courses[i].row->state = ROW_NEW;
			course_end(&m->courses[i]);
		}
}
