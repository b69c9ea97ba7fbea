/*
 * rekey.c -- when a session gets a successor (im2.md 6.3, 6.4), and sessions that only we still have.
 */
#include "protocol/im2/im2_internal.h"

#define LOST_MS 30000
#define LOST_RADIO_MS 120000
#define HEAL_EVERY_MS 60000
#define HEAL_EVERY_RADIO_MS 3600000

enum err im2_rekey_start(struct im2_link *l)
{
	const struct im2_trust *t = &l->host->c.trust;
	struct im2_peer *p = l->peer;
	struct im2_known k;

	if (p->asking || l->shake)
		return ERR_WRONG_STATE;
	if (!t->by_ed(t->ctx, p->ed, &k) || k.refused)
		return ERR_UNTRUSTED;
	l->tries = 0;
	if (!im2_known_start(l, &k))
		return ERR_AUTH;
	return l->state == LINK_OVER ? ERR_CLOSED : ERR_OK;
}

void im2_rekey_failed(struct im2_link *l)
{
	static const uint64_t wait_s[] = { 5, 10, 20, 60 };
	struct im2_peer *p = l->peer;
	unsigned i = p->rekey_tries < 3 ? p->rekey_tries : 3;

	im2_shake_free(l);
	l->step_ms = UINT64_MAX;
	p->rekey_tries++;
	p->rekey_at_ms = im2_now(l->host) + 1000 * wait_s[i];
}

/* The one connection of a peer that asks for all. */
static bool leads(const struct im2_link *l)
{
	for (const struct im2_link *o = l->peer->paths; o; o = o->next_path)
		if (o->state == LINK_ONLINE)
			return o == l;
	return false;
}

static bool used_up(const struct im2_host *h, const struct im2_session *s)
{
	const struct im2_limits *m = &h->c.limits;

	return s->tx.next >= m->rekey_after_frames || s->rx_frames >= m->rekey_after_frames ||
	       s->tx_bytes >= m->rekey_after_bytes || s->rx_bytes >= m->rekey_after_bytes;
}

/* When the age of the session asks for a new one. The responder waits a quarter longer, so that the two do not
 * begin at once. */
static uint64_t due_ms(const struct im2_host *h, const struct im2_session *s)
{
	uint64_t after = h->c.limits.rekey_after_ms;

	return s->confirmed_ms + (s->initiator ? after : after + after / 4);
}

static uint64_t heal_ms(const struct im2_link *l)
{
	bool radio = l->host->c.radio;
	uint64_t at, every = radio ? HEAL_EVERY_RADIO_MS : HEAL_EVERY_MS;

	if (!l->asked_ms)
		return UINT64_MAX;
	at = l->asked_ms - 1 + (radio ? LOST_RADIO_MS : LOST_MS);
	if (l->peer->heal_ms && l->peer->heal_ms - 1 + every > at)
		at = l->peer->heal_ms - 1 + every;
	return at;
}

uint64_t im2_rekey_deadline(const struct im2_link *l)
{
	const struct im2_peer *p = l->peer;
	uint64_t at;

	if (l->state != LINK_ONLINE)
		return UINT64_MAX;
	if (!p->current)
		return 0; /* erased by the host, or by a CLOSE on another path */
	at = p->current->gone_ms;
	if (!p->asking && leads(l)) {
		uint64_t due = l->host->c.radio ? UINT64_MAX : due_ms(l->host, p->current);

		if (due < p->rekey_at_ms)
			due = p->rekey_at_ms;
		at = due < at ? due : at;
		due = heal_ms(l);
		at = due < at ? due : at;
	}
	return at;
}

static void start_if(struct im2_link *l, bool due)
{
	struct im2_peer *p = l->peer;

	if (!due || p->asking || l->shake || im2_now(l->host) < p->rekey_at_ms || !leads(l))
		return;
	if (im2_rekey_start(l) != ERR_OK && l->state == LINK_ONLINE)
		im2_rekey_failed(l);
}

void im2_rekey_sending(struct im2_link *l)
{
	struct im2_host *h = l->host;
	struct im2_session *s = l->peer->current;

	/* On radio only who wants to send begins. */
	start_if(l, used_up(h, s) || (h->c.radio && im2_now(h) >= due_ms(h, s)));
}

void im2_rekey_tick(struct im2_link *l)
{
	struct im2_host *h = l->host;
	struct im2_peer *p = l->peer;
	uint64_t now = im2_now(h);

	if (!p->current || now >= p->current->gone_ms) {
		im2_session_erase(h, p->current);
		im2_link_over(l, ERR_EXPIRED, BLAME_NONE, "session-expired");
		return;
	}
	start_if(l, !h->c.radio && now >= due_ms(h, p->current));
	if (l->state != LINK_ONLINE || now < heal_ms(l) || p->asking || !leads(l))
		return;
	p->heal_ms = now + 1;
	(void)!im2_rekey_start(l);
}
