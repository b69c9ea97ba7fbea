/*
 * keep.c -- the sessions of a peer (im2.md 6.1, 6.3, 6.4) and its pair secrets (6.2).
 */
#include <stdlib.h>

#include "protocol/im2/im2_internal.h"

#define HALF_MS 30000
#define HALF_RADIO_MS 300000
#define TOGETHER_MS 10000
#define TOGETHER_RADIO_MS 120000

/* --- by index ------------------------------------------------------------------------------------------ */
struct im2_session *im2_session_find(struct im2_host *h, const uint8_t index[static 4])
{
	void *v = map_peek(h->sessions, bytes_of(index, 4));
	struct im2_session *s = NULL;

	if (v)
		memcpy(&s, v, sizeof s);
	return s;
}

/* Who has the passphrase makes up identities at will: the sessions that they left behind are the first to go. */
struct survey {
	size_t strangers;
	struct im2_session *stranger, *spare; /* the oldest ones without a path */
};

static void older(struct im2_session **than, struct im2_session *s)
{
	if (!*than || s->born_ms < (*than)->born_ms)
		*than = s;
}

static bool look_at(void *ctx, struct bytes index, void *value)
{
	struct survey *v = ctx;
	struct im2_session *s;

	memcpy(&s, value, sizeof s);
	if (!s->peer)
		return true; /* in a handshake of ours */
	v->strangers += !s->peer->trusted;
	if (s->peer->paths)
		return true;
	if (!s->peer->trusted)
		older(&v->stranger, s);
	else if (s->state != KEEP_CURRENT)
		older(&v->spare, s);
	return true;
}

static bool make_room(struct im2_host *h, bool stranger)
{
	size_t all = h->c.limits.sessions, theirs = all - all / 4, held = map_count(h->sessions);
	struct im2_session *gone;
	struct survey v = { 0 };

	if (held < theirs)
		return true;
	map_each(h->sessions, look_at, &v);
	if (held < all && (!stranger || v.strangers < theirs))
		return true;
	gone = v.stranger ? v.stranger : held < all ? NULL : v.spare;
	if (!gone)
		return false;
	im2_session_erase(h, gone);
	return true;
}

struct im2_session *im2_session_new(struct im2_host *h, bool stranger)
{
	struct im2_session *s;
	bool created = false;
	void *slot;

	if (!make_room(h, stranger))
		return NULL;
	s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	while (!created) {
		env_random(h->c.env, s->index, sizeof s->index);
		if (map_put(h->sessions, BYTES_ARR(s->index), 0, &slot, &created) != ERR_OK) {
			free(s);
			return NULL;
		}
	}
	memcpy(slot, &s, sizeof s);
	s->state = KEEP_SHAKING;
	s->begun_ms = im2_now(h);
	s->gone_ms = UINT64_MAX;
	return s;
}

void im2_session_keys(struct im2_session *s, const struct im2_secrets *secrets, const uint8_t theirs[static 4])
{
	memcpy(s->tx.key, secrets->tx, sizeof s->tx.key);
	memcpy(s->tx.index, theirs, sizeof s->tx.index);
	s->tx.next = 0;
	memcpy(s->rx, secrets->rx, sizeof s->rx);
	memcpy(s->exporter, secrets->exporter, sizeof s->exporter);
	memcpy(s->id, secrets->session_id, sizeof s->id);
}

/* Takes it out of its peer's lists. */
static void unlist(struct im2_session *s)
{
	struct im2_peer *p = s->peer;

	if (!p)
		return;
	if (p->current == s)
		p->current = NULL;
	if (p->previous == s)
		p->previous = NULL;
	for (unsigned i = 0; i < p->half_n; i++) {
		if (p->half[i] != s)
			continue;
		memmove(&p->half[i], &p->half[i + 1], (--p->half_n - i) * sizeof p->half[0]);
		break;
	}
}

void im2_session_erase(struct im2_host *h, struct im2_session *s)
{
	if (!s)
		return;
	if (s->peer && s->peer->current == s) {
		/* Numbers of transfers belong to a session; what was carried stays (7.6). */
		if (s->peer->transfers)
			im2_transfers_session(s->peer->transfers);
		for (struct im2_link *l = s->peer->paths; l; l = l->next_path)
			im2_link_wake(l);
	}
	unlist(s);
	for (struct im2_link *l = h->links; l; l = l->next) {
		if (l->under == s)
			l->under = NULL;
		if (l->shake && l->shake->s == s)
			l->shake->s = NULL;
	}
	map_del(h->sessions, BYTES_ARR(s->index));
	if (s->state != KEEP_SHAKING)
		h->n.sessions_erased++;
	wipe(s, sizeof *s);
	free(s);
}

void im2_peer_erase_sessions(struct im2_host *h, struct im2_peer *p)
{
	im2_session_erase(h, p->current);
	im2_session_erase(h, p->previous);
	while (p->half_n)
		im2_session_erase(h, p->half[0]);
}

/* --- states ---------------------------------------------------------------------------------------------- */
void im2_session_half(struct im2_host *h, struct im2_peer *p, struct im2_session *s)
{
	uint64_t now = im2_now(h);

	if (p->half_n == IM2_HALF_MAX)
		im2_session_erase(h, p->half[0]);
	p->half[p->half_n++] = s;
	s->peer = p;
	s->state = KEEP_HALF;
	s->born_ms = now;
	s->gone_ms = now + (h->c.radio ? HALF_RADIO_MS : HALF_MS);
	im2_host_due(h, s->gone_ms);
}

static void become_previous(struct im2_host *h, struct im2_peer *p, struct im2_session *s)
{
	uint64_t until = im2_now(h) + h->c.limits.overlap_ms;

	if (p->previous != s)
		im2_session_erase(h, p->previous);
	p->previous = s;
	s->state = KEEP_PREVIOUS;
	if (until < s->gone_ms)
		s->gone_ms = until;
	im2_host_due(h, s->gone_ms);
}

/* Whose id is the smaller one: then that end's handshake wins (6.4). */
static bool initiator_is_smaller(const struct im2_host *h, const struct im2_peer *p, const struct im2_session *s)
{
	bool we = memcmp(keyring_id(h->c.keyring)->hex, p->id.hex, NODE_ID_LEN) < 0;

	return s->initiator == we;
}

/* Whoever still holds a session resumes it on a new connection (7.7): what the peer made anew there, begun when no
 * other connection was left, replaces one that it lost, whatever the ids say. Of dials that cross the first may have
 * ended a moment ago, at one side before the other: they were there together all the same. */
static bool crossed(const struct im2_link *with, const struct im2_peer *p, const struct im2_session *s)
{
	/* A successor, asked for by whoever has the old one: it replaces that, however young it is. */
	if (with->state == LINK_ONLINE)
		return s->begun_ms < p->current->confirmed_ms;
	for (const struct im2_link *l = p->paths; l; l = l->next_path)
		if (im2_link_is_path(l))
			return true;
	return p->path_gone_ms > with->born_ms;
}

void im2_session_confirm(struct im2_link *l, struct im2_peer *p, struct im2_session *s)
{
	struct im2_host *h = l->host;
	struct im2_session *old = p->current;
	uint64_t now = im2_now(h);
	uint64_t together = h->c.radio ? TOGETHER_RADIO_MS : TOGETHER_MS;

	unlist(s);
	s->peer = p;
	s->via = NULL;
	s->born_ms = now;
	s->confirmed_ms = now;
	s->gone_ms = now + h->c.limits.reject_after_ms;
	im2_host_due(h, s->gone_ms);
	p->rekey_tries = 0;
	p->rekey_at_ms = 0;
	if (old && old != s && old->initiator != s->initiator && now - old->confirmed_ms < together &&
	    crossed(l, p, s) && im2_session_usable(h, old) && initiator_is_smaller(h, p, old)) {
		become_previous(h, p, s);
		return;
	}
	p->current = s;
	s->state = KEEP_CURRENT;
	if (old && old != s) {
		become_previous(h, p, old);
		if (p->transfers)
			im2_transfers_session(p->transfers);
	}
	if (p->transfers)
		im2_transfers_credit(p->transfers, im2_peer_credit(h, p));
}

void im2_session_rest(struct im2_host *h, struct im2_peer *p)
{
	uint64_t until = im2_now(h) + h->c.limits.overlap_ms;

	if (p->trusted || !p->current || p->current->gone_ms <= until)
		return;
	p->current->gone_ms = until;
	im2_host_due(h, until);
}

void im2_session_back(struct im2_host *h, struct im2_peer *p)
{
	if (p->transfers)
		im2_transfers_wake(p->transfers);
	if (p->current)
		p->current->gone_ms = p->current->confirmed_ms + h->c.limits.reject_after_ms;
}

bool im2_session_usable(const struct im2_host *h, const struct im2_session *s)
{
	return s && im2_now(h) < s->gone_ms && s->tx.next < h->c.limits.reject_after_frames &&
	       s->tx.next < IM2_COUNTER_END;
}

/* --- pair secrets (6.2) ----------------------------------------------------------------------------------- */
static enum err change(struct im2_host *h, const uint8_t *ed, const uint8_t *key, bool confirm)
{
	const struct im2_trust *t = &h->c.trust;
	bool replaced = false, changed;
	enum err e = ERR_OK;
	struct psks p;

	t->psks_get(t->ctx, ed, &p);
	changed = confirm ? psks_confirm(&p, key, &replaced) : psks_candidate(&p, key);
	if (changed)
		e = t->psks_put(t->ctx, ed, &p, replaced);
	psks_wipe(&p);
	return e;
}

enum err im2_psk_candidate(struct im2_host *h, const uint8_t ed[static ED_BYTES], const uint8_t key[static PSK_BYTES])
{
	return change(h, ed, key, false);
}

enum err im2_psk_confirm(struct im2_host *h, const uint8_t ed[static ED_BYTES], const uint8_t key[static PSK_BYTES])
{
	return change(h, ed, key, true);
}
