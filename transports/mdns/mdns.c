/*
 * mdns.c -- up and down, and what is published and browsed meanwhile.
 *
 * What the owner wants (types, slots) is kept here; what avahi does about it are refs. An attempt is one call; when it is
 * answered, all the others follow. When a browse fails, avahi or the bus is gone: every ref is closed and made anew
 * later. What was found stays for a while, since a restart of avahi says nothing about the others.
 */
#include "transports/mdns/mdns_internal.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/text.h"

#define BACKOFF_MS 1000            /* doubling, with up to a quarter by chance */
#define BACKOFF_MAX_MS 30000
#define HUNG_MS 5000
#define KEPT_MS 300000             /* what was found, while avahi is away */
#define SEEN_ANEW_MS 15000         /* after it is back */
#define TAKEN_MS 400               /* our own last life is on its way out of avahi */
#define TAKEN_PATIENCE 3           /* so often the same name is tried again, then another one */
#define SLOT_AGAIN_MS 5000

const char *mdns_state_word(enum mdns_state s)
{
	static const char *const words[] = { [MDNS_OFF] = "off", [MDNS_STARTING] = "starting", [MDNS_UP] = "up",
					     [MDNS_DOWN] = "down" };

	return words[s];
}

static void move(struct mdns *m, enum mdns_state s, const char *why)
{
	if (m->state == s && strcmp(m->why, why) == 0)
		return;
	m->state = s;
	snprintf(m->why, sizeof m->why, "%s", why);
	m->c.sink.state(m->c.sink.ctx, s, m->why);
}

/* --- the timer ----------------------------------------------------------------------------------------------- */

void mdns_wake(struct mdns *m, uint64_t at_ms)
{
	if (!m->stopping && (!timer_armed(&m->timer) || m->timer.at_ms > at_ms))
		timer_at(m->c.env, &m->timer, at_ms);
}

static void wake_now(struct mdns *m)
{
	mdns_wake(m, env_now(m->c.env));
}

/* --- down ------------------------------------------------------------------------------------------------------ */

static void down(struct mdns *m, const char *why)
{
	uint64_t now = env_now(m->c.env),
		 wait = m->failures < 5 ? (uint64_t)BACKOFF_MS << m->failures : BACKOFF_MAX_MS;

	m->trying = false;
	m->failures++;
	m->attempt_ms = now + wait + env_uniform(m->c.env, wait / 4);
	course_cancel_all(m);
	for (size_t i = 0; i < TYPES_MAX; i++) {
		ref_close(m->browses[i].ref);
		m->browses[i].ref = NULL;
		m->browses[i].missed = false;
	}
	for (size_t i = 0; i < SLOTS_MAX; i++) {
		ref_close(m->slots[i].ref);
		m->slots[i].ref = NULL;
		m->slots[i].standing = false;
	}
	table_doubt(&m->table, -1, now + KEPT_MS);
	mdns_wake(m, m->attempt_ms);
	move(m, MDNS_DOWN, why);
}

static const char *why_of(enum err e)
{
	switch (e) {
	case ERR_DENIED:
		return "avahi-daemon refuses this program";
	case ERR_NOMEM:
		return "no memory";
	case ERR_USAGE:
		return "avahi-daemon takes no such type";
	default:
		return "avahi-daemon does not run, or is not on the system bus";
	}
}

static void up(struct mdns *m)
{
	m->trying = false;
	m->failures = 0;
	if (m->state == MDNS_UP)
		return;
	if (m->was_up)
		m->stats.restarts++;
	m->was_up = true;
	/* Doubted since it went down; now there is somebody to say so. */
	for (size_t i = 0; i < m->table.n; i++)
		m->table.rows[i]->gone_ms = env_now(m->c.env) + SEEN_ANEW_MS;
	move(m, MDNS_UP, "");
	wake_now(m);
}

/* --- browsing ---------------------------------------------------------------------------------------------------- */

static void on_browse(void *ctx, struct ref *ref, const struct answer *a)
{
	struct mdns *m = ctx;
	struct browse *b = NULL;

	for (size_t i = 0; i < TYPES_MAX; i++)
		if (m->browses[i].ref == ref)
			b = &m->browses[i];
	if (!b)
		return;
	if (a->err != ERR_OK) {
		b->ref = NULL;
		down(m, m->state == MDNS_UP ? "avahi-daemon has gone" : why_of(a->err));
	} else if (a->opened) {
		up(m);
	} else {
		course_seen(m, b, a);
	}
}

static bool open_browse(struct mdns *m, struct browse *b)
{
	struct ask a = { .kind = ASK_BROWSE, .ifindex = m->rule.restricted ? m->rule.ifindex : 0 };

	memcpy(a.type, b->type, sizeof a.type);
	b->ref = ref_open(m->refs, &a, on_browse, m);
	return b->ref != NULL;
}

/* --- publishing --------------------------------------------------------------------------------------------------- */

/* The name, or another one when somebody keeps it: "alice #2". Avahi itself does so against other machines only. */
static void slot_name(const struct slot *s, char out[static MDNS_INSTANCE_MAX + 1])
{
	memcpy(out, s->ask.name, MDNS_INSTANCE_MAX + 1);
	if (s->taken > TAKEN_PATIENCE) {
		size_t n = strlen(out);

		while (n > MDNS_INSTANCE_MAX - 5 || (n && ((unsigned char)out[n] & 0xc0) == 0x80))
			n--;
		snprintf(out + n, MDNS_INSTANCE_MAX + 1 - n, " #%u", s->taken - TAKEN_PATIENCE + 1u);
	}
}

/* What had been found under our name before avahi confirmed that it is ours. */
static void forget_ours(struct mdns *m, const struct slot *s)
{
	for (size_t i = m->table.n; i-- > 0;)
		if (i < m->table.n && strcmp(m->table.rows[i]->instance, s->actual) == 0 &&
		    strcmp(m->browses[m->table.rows[i]->type].type, s->ask.type) == 0)
			course_lose(m, m->table.rows[i]);
}

static void on_register(void *ctx, struct ref *ref, const struct answer *a)
{
	struct mdns *m = ctx;
	struct slot *s = NULL;
	uint64_t now = env_now(m->c.env);

	for (size_t i = 0; i < SLOTS_MAX; i++)
		if (m->slots[i].ref == ref)
			s = &m->slots[i];
	if (!s)
		return;
	if (a->err == ERR_OK && a->opened) {
		up(m);
	} else if (a->err == ERR_OK) {
		s->standing = true;
		s->failures = 0;
		snprintf(s->actual, sizeof s->actual, "%s", a->name ? a->name : s->ask.name);
		forget_ours(m, s);
	} else {
		s->ref = NULL;
		s->standing = false;
		if (a->err == ERR_EXISTS) {
			up(m); /* somebody has said so */
			s->due_ms = now + TAKEN_MS;
			s->taken = s->taken < 30 ? s->taken + 1 : 0;
		} else {
			if (m->trying)
				down(m, why_of(a->err));
			s->due_ms = now + ((uint64_t)SLOT_AGAIN_MS << (s->failures < 6 ? s->failures : 6));
			s->failures++;
			if (m->state == MDNS_UP)
				log_debug("mdns-not-published err=%s", err_word(a->err));
		}
		mdns_wake(m, s->due_ms);
	}
}

static bool open_slot(struct mdns *m, struct slot *s)
{
	struct ask a = s->ask;

	a.ifindex = m->rule.restricted ? m->rule.ifindex : 0;
	slot_name(s, a.name);
	s->ref = ref_open(m->refs, &a, on_register, m);
	return s->ref != NULL;
}

/* --- the course of things --------------------------------------------------------------------------------------- */

/* All of them, or as an attempt the first: one answer is enough to know. */
static void open_missing(struct mdns *m, uint64_t now, bool all)
{
	bool ok = true;

	for (size_t i = 0; ok && i < TYPES_MAX; i++)
		if (m->browses[i].used && !m->browses[i].ref) {
			ok = open_browse(m, &m->browses[i]);
			if (!all && ok) {
				m->trying = true;
				return;
			}
		}
	for (size_t i = 0; ok && i < SLOTS_MAX; i++)
		if (m->slots[i].used && !m->slots[i].ref && now >= m->slots[i].due_ms) {
			ok = open_slot(m, &m->slots[i]);
			if (!all && ok) {
				m->trying = true;
				return;
			}
		}
	if (!ok)
		down(m, "no thread for a call of avahi");
}

static void attempt(struct mdns *m, uint64_t now)
{
	struct own_net nets[OWN_NETS_MAX];
	const char *missing = bus_missing();
	bool wanted = false;
	char why[sizeof m->why];

	for (size_t i = 0; i < TYPES_MAX; i++)
		wanted |= m->browses[i].used || m->slots[i].used;
	if (!wanted)
		return;
	if (missing) {
		down(m, missing);
		return;
	}
	bind_rule_of(m->bind, nets, own_nets(nets, OWN_NETS_MAX), &m->rule);
	if (m->rule.restricted && !m->rule.known) {
		snprintf(why, sizeof why, "no interface has the address %.60s", m->bind);
		down(m, why);
		return;
	}
	m->hung_ms = now + HUNG_MS;
	open_missing(m, now, false);
}

static void due(void *ctx)
{
	struct mdns *m = ctx;
	uint64_t now = env_now(m->c.env), when;

	if (m->stopping)
		return;
	if (m->state == MDNS_UP)
		open_missing(m, now, true);
	else if (m->trying && now >= m->hung_ms)
		move(m, MDNS_DOWN, "avahi-daemon does not answer");
	else if (!m->trying && now >= m->attempt_ms)
		attempt(m, now);
	course_run(m, now);
	if (m->stopping)
		return;
	when = course_when(m);
	for (size_t i = 0; i < SLOTS_MAX; i++)
		if (m->state == MDNS_UP && m->slots[i].used && !m->slots[i].ref && m->slots[i].due_ms < when)
			when = m->slots[i].due_ms;
	for (size_t i = 0; i < TYPES_MAX; i++)
		if (m->state == MDNS_UP && m->browses[i].used && !m->browses[i].ref)
			when = now;
	if (m->state != MDNS_UP && m->trying && now < m->hung_ms && m->hung_ms < when)
		when = m->hung_ms;
	if (m->state != MDNS_UP && !m->trying && m->attempt_ms > now && m->attempt_ms < when)
		when = m->attempt_ms;
	if (when != UINT64_MAX)
		mdns_wake(m, when > now ? when : now + 1);
}

/* --- what the owner asks for -------------------------------------------------------------------------------------- */

enum err mdns_new(const struct mdns_config *c, struct mdns **out)
{
	struct mdns *m = calloc(1, sizeof *m);
	uint64_t now = env_now(c->env);
	enum err e;

	if (!m)
		return ERR_NOMEM;
	/* Else each program that uses it says on stderr that it should use another library. */
	setenv("AVAHI_COMPAT_NOWARN", "1", 1);
	m->c = *c;
	m->bind = c->bind ? strdup(c->bind) : NULL;
	m->state = MDNS_STARTING;
	timer_init(&m->timer, due, m);
	bucket_init(&m->events, c->events_per_s ? c->events_per_s : 50, c->events_burst ? c->events_burst : 200, now);
	for (size_t i = 0; i < COURSES_MAX; i++)
		m->courses[i].m = m;
	e = c->bind && !m->bind ? ERR_NOMEM : refs_new(c->loop, &m->refs);
	if (e != ERR_OK) {
		free(m->bind);
		free(m);
		return e;
	}
	*out = m;
	return ERR_OK;
}

static bool same_ask(const struct ask *a, const struct ask *b)
{
	return a->port == b->port && strcmp(a->type, b->type) == 0 && strcmp(a->name, b->name) == 0 &&
	       bytes_eq(bytes_of(a->txt, a->txt_n), bytes_of(b->txt, b->txt_n));
}

/* What the attempt was made with is not wanted any more. */
static void attempt_without(struct mdns *m)
{
	if (!m->trying || m->state == MDNS_UP)
		return;
	m->trying = false;
	m->attempt_ms = env_now(m->c.env);
	wake_now(m);
}

enum err mdns_publish(struct mdns *m, unsigned slot, const char *type, const char *instance, uint16_t port,
		      const struct mdns_pair *txt, size_t n)
{
	struct slot *s;
	struct ask a = { .kind = ASK_REGISTER, .port = port };
	size_t len;
	enum err e;

	if (slot >= SLOTS_MAX || port == 0 || !*type || !*instance || !utf8_valid(bytes_str(instance)))
		return ERR_USAGE;
	if (strlen(type) > MDNS_TYPE_MAX || strlen(instance) > MDNS_INSTANCE_MAX)
		return ERR_LIMIT;
	e = txt_build(txt, n, a.txt, &len);
	if (e != ERR_OK)
		return e;
	a.txt_n = (uint16_t)len;
	memcpy(a.type, type, strlen(type));
	memcpy(a.name, instance, strlen(instance));
	s = &m->slots[slot];
	if (s->used && same_ask(&s->ask, &a))
		return ERR_OK;
	mdns_withdraw(m, slot);
	*s = (struct slot){ .used = true, .ask = a };
	wake_now(m);
	return ERR_OK;
}

void mdns_withdraw(struct mdns *m, unsigned slot)
{
	if (slot >= SLOTS_MAX || !m->slots[slot].used)
		return;
	if (m->slots[slot].ref)
		attempt_without(m);
	ref_close(m->slots[slot].ref);
	m->slots[slot] = (struct slot){ 0 };
}

const char *mdns_published(const struct mdns *m, unsigned slot)
{
	return slot < SLOTS_MAX && m->slots[slot].standing ? m->slots[slot].actual : NULL;
}

/* `soon`: it has the name that we have asked for, and avahi has not said yet whether we got it. */
bool mdns_is_ours(const struct mdns *m, const char *type, const char *instance, bool *soon)
{
	for (size_t i = 0; i < SLOTS_MAX; i++) {
		const struct slot *s = &m->slots[i];

		if (!s->used || strcmp(s->ask.type, type) != 0)
			continue;
		if (s->standing && strcmp(s->actual, instance) == 0)
			return true;
		*soon |= !s->standing && strcmp(s->ask.name, instance) == 0;
	}
	return false;
}

enum err mdns_browse(struct mdns *m, const char *type)
{
	struct browse *place = NULL;

	if (!*type || strlen(type) > MDNS_TYPE_MAX)
		return ERR_USAGE;
	for (size_t i = TYPES_MAX; i-- > 0;) {
		if (m->browses[i].used && strcmp(m->browses[i].type, type) == 0)
			return ERR_OK;
		if (!m->browses[i].used)
			place = &m->browses[i];
	}
	if (!place)
		return ERR_FULL;
	*place = (struct browse){ .used = true };
	memcpy(place->type, type, strlen(type));
	wake_now(m);
	return ERR_OK;
}

void mdns_browse_stop(struct mdns *m, const char *type)
{
	for (size_t i = 0; i < TYPES_MAX; i++) {
		struct browse *b = &m->browses[i];

		if (!b->used || strcmp(b->type, type) != 0)
			continue;
		if (b->ref)
			attempt_without(m);
		ref_close(b->ref);
		course_forget(m, (int)i);
		*b = (struct browse){ 0 };
	}
}

void mdns_stats(const struct mdns *m, struct mdns_stats *out)
{
	*out = m->stats;
	out->services = (uint32_t)m->table.n;
	out->published = 0;
	for (size_t i = 0; i < SLOTS_MAX; i++)
		out->published += m->slots[i].standing;
}

void mdns_stop(struct mdns *m, void (*done)(void *), void *ctx)
{
	m->stopping = true;
	m->state = MDNS_OFF;
	timer_stop(m->c.env, &m->timer);
	course_cancel_all(m);
	for (size_t i = 0; i < TYPES_MAX; i++)
		m->browses[i] = (struct browse){ 0 };
	for (size_t i = 0; i < SLOTS_MAX; i++)
		m->slots[i] = (struct slot){ 0 };
	refs_stop(m->refs, done, ctx);
}

void mdns_free(struct mdns *m)
{
	if (!m)
		return;
	refs_free(m->refs);
	table_fini(&m->table);
	free(m->bind);
	free(m);
}
