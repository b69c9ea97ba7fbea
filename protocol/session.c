#include "protocol/session.h"

void session_free(struct session *s)
{
	if (s)
		s->ops->free(s);
}

void session_start(struct session *s)
{
	s->ops->start(s);
}

void session_take(struct session *s, struct bytes unit, bool text)
{
	s->ops->take(s, unit, text);
}

bool session_next_unit(struct session *s, struct session_unit *out)
{
	return s->ops->next_unit(s, out);
}

bool session_next_event(struct session *s, struct session_event *out)
{
	return s->ops->next_event(s, out);
}

void session_admit(struct session *s)
{
	s->ops->admit(s);
}

void session_refuse(struct session *s, enum err e, const char *word)
{
	s->ops->refuse(s, e, word);
}

bool session_online(const struct session *s)
{
	return s->ops->online(s);
}

bool session_over(const struct session *s)
{
	return s->ops->over(s);
}

bool session_proven(const struct session *s)
{
	return s->ops->proven && s->ops->proven(s);
}

const struct session_peer *session_peer(const struct session *s)
{
	return s->ops->peer(s);
}

enum err session_send(struct session *s, const struct message *m)
{
	return s->ops->send(s, m);
}

bool session_can_send(const struct session *s)
{
	return s->ops->can_send(s);
}

enum err session_send_receipts(struct session *s, const struct receipt *r, size_t n)
{
	return s->ops->send_receipts(s, r, n);
}

enum err session_ping(struct session *s)
{
	return s->ops->ping(s);
}

enum err session_rate_limited(struct session *s)
{
	return s->ops->rate_limited(s);
}

enum err session_goodbye(struct session *s)
{
	return s->ops->goodbye(s);
}

enum err session_key_rotate(struct session *s, const uint8_t new_ed[static ED_BYTES])
{
	return s->ops->key_rotate(s, new_ed);
}

enum err session_rekey(struct session *s)
{
	return s->ops->rekey(s);
}

uint64_t session_deadline_ms(const struct session *s)
{
	return s->ops->deadline_ms(s);
}

void session_tick(struct session *s)
{
	s->ops->tick(s);
}

enum err session_settled(struct session *s, const uint8_t era[static 8], uint64_t seq)
{
	return s->ops->mark ? s->ops->mark(s, true, era, seq) : ERR_UNSUPPORTED;
}

enum err session_seen(struct session *s, const uint8_t era[static 8], uint64_t seq)
{
	return s->ops->mark ? s->ops->mark(s, false, era, seq) : ERR_UNSUPPORTED;
}
