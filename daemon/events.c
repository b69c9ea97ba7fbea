#include "daemon/events.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/map.h"
#include "daemon/fields.h"

#define WAITED_IDS_MAX 65536
#define EVENT_TEXT_KEEP 65536

struct events {
	struct env *env;
	struct ring subscribers, inbox;
	struct map *by_id; /* msg id -> struct message_waiter * */
	struct ring *cursor; /* the next one of a walk; moved by whoever is removed */
	uint64_t seq, turn;         /* turn: of what waiters of messages are told */
	struct buf text;
	struct {
		void (*fn)(void *ctx, const char *type, const struct node_event *e, const char *word);
		void *ctx;
	} taps[EVENT_TAPS];
	unsigned taps_n;
};

enum err events_new(struct env *env, struct events **out)
{
	struct map_opts o = { .capacity = WAITED_IDS_MAX, .value_size = sizeof(void *), .policy = MAP_REFUSE };
	struct events *h = calloc(1, sizeof *h);

	if (!h)
		return ERR_NOMEM;
	h->env = env;
	ring_init(&h->subscribers);
	ring_init(&h->inbox);
	env_random(env, o.hash_key, sizeof o.hash_key);
	h->by_id = map_new(&o);
	if (!h->by_id) {
		free(h);
		return ERR_NOMEM;
	}
	buf_init(&h->text, EVENT_TEXT_MAX);
	*out = h;
	return ERR_OK;
}

void events_free(struct events *h)
{
	if (!h)
		return;
	map_free(h->by_id);
	buf_fini(&h->text);
	free(h);
}

void events_tap(struct events *h, void (*fn)(void *ctx, const char *type, const struct node_event *e, const char *word), void *ctx)
{
	BUG_ON(h->taps_n == EVENT_TAPS);
	h->taps[h->taps_n].fn = fn;
	h->taps[h->taps_n++].ctx = ctx;
}

static void tell_taps(struct events *h, const char *type, const struct node_event *e, const char *word)
{
	for (unsigned i = 0; i < h->taps_n; i++)
		h->taps[i].fn(h->taps[i].ctx, type, e, word);
}

/* --- subscribers -------------------------------------------------------------------------------- */
static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool wants(const struct subscriber *s, const char *type)
{
	for (size_t i = 0; i < s->type_count; i++)
		if (starts_with(type, s->types[i]))
			return true;
	return s->type_count == 0;
}

static bool anybody(const struct events *h, const char *type)
{
	for (const struct ring *r = h->subscribers.next; r != &h->subscribers; r = r->next)
		if (wants(ring_entry(r, const struct subscriber, link), type))
			return true;
	return false;
}

static void begin(struct events *h, const char *type)
{
	buf_reset(&h->text);
	buf_printf(&h->text, "{\"schema\":\"ironmesh.event/1\",\"seq\":%llu,\"at_ms\":%llu,\"type\":\"%s\"",
		   (unsigned long long)++h->seq, (unsigned long long)env_wall(h->env), type);
}

static void member(struct buf *b, const char *name, const char *value)
{
	char safe[1024];

	if (!value)
		return;
	buf_printf(b, ",\"%s\":", name);
	json_add_string(b, bytes_str(text_safe(bytes_str(value), safe, sizeof safe)));
}

/* False: no room for that either. */
static bool tell_lost(struct events *h, struct subscriber *s)
{
	char text[200];
	int n;

	if (!s->lost)
		return true;
	n = snprintf(text, sizeof text,
		     "{\"schema\":\"ironmesh.event/1\",\"seq\":%llu,\"at_ms\":%llu,\"type\":\"events.lost\","
		     "\"count\":%llu,\"volatile\":%llu}",
		     (unsigned long long)++h->seq, (unsigned long long)env_wall(h->env),
		     (unsigned long long)s->lost, (unsigned long long)s->lost_volatile);
	if (!s->deliver(s->ctx, bytes_of(text, (size_t)n), false))
		return false;
	s->lost = s->lost_volatile = 0;
	return true;
}

void events_room(struct events *h, struct subscriber *s)
{
	if (!ring_empty(&s->link))
		(void)tell_lost(h, s);
}

static void hand_out(struct events *h, const char *type, bool is_volatile)
{
	buf_add_u8(&h->text, '}');
	if (h->text.err != ERR_OK)
		log_warn("event-not-built type=%s err=%s", type, err_word(h->text.err));
	for (struct ring *r = h->subscribers.next; r != &h->subscribers; r = h->cursor) {
		struct subscriber *s = ring_entry(r, struct subscriber, link);

		h->cursor = r->next;
		if (!wants(s, type))
			continue;
		/* While volatile ones are being lost, none is told of the loss in the room that others need. */
		if (h->text.err == ERR_OK && (is_volatile ? !s->lost : tell_lost(h, s)) &&
		    s->deliver(s->ctx, buf_bytes(&h->text), is_volatile))
			continue;
		s->lost++;
		s->lost_volatile += is_volatile;
	}
	h->cursor = NULL;
	buf_reset(&h->text);
	buf_trim(&h->text, EVENT_TEXT_KEEP);
}

void events_subscribe(struct events *h, struct subscriber *s)
{
	ring_add(&h->subscribers, &s->link);
}

static void leave(struct events *h, struct ring *r)
{
	if (h->cursor == r)
		h->cursor = r->next;
	ring_del(r);
}

void events_unsubscribe(struct events *h, struct subscriber *s)
{
	leave(h, &s->link);
}

/* --- waiters -------------------------------------------------------------------------------------- */
enum err events_await(struct events *h, struct message_waiter *w, const char *msg_id)
{
	void *slot;
	bool created;
	enum err e = map_put(h->by_id, bytes_str(msg_id), 0, &slot, &created);

	if (e != ERR_OK)
		return e;
	snprintf(w->id, sizeof w->id, "%s", msg_id);
	memcpy(&w->next, slot, sizeof w->next); /* a new slot is zeroed: NULL */
	memcpy(slot, &w, sizeof w);
	w->told = h->turn; /* what is being told now was before it */
	w->waiting = true;
	return ERR_OK;
}

void events_await_end(struct events *h, struct message_waiter *w)
{
	void *slot = w->waiting ? map_get(h->by_id, bytes_str(w->id)) : NULL;
	struct message_waiter *first, *at;

	w->waiting = false;
	if (!slot)
		return;
	memcpy(&first, slot, sizeof first);
	if (first == w) {
		if (w->next)
			memcpy(slot, &w->next, sizeof w->next);
		else
			map_del(h->by_id, bytes_str(w->id));
		return;
	}
	for (at = first; at && at->next != w; at = at->next)
		;
	if (at)
		at->next = w->next;
}

/* A callback may end any wait of this id: start over after each, each is told once. */
static void tell_message(struct events *h, const struct node_event *e)
{
	struct message_waiter *w;
	uint64_t turn = ++h->turn;
	void *slot;

	while (map_count(h->by_id) && (slot = map_get(h->by_id, bytes_str(e->msg_id)))) {
		memcpy(&w, slot, sizeof w);
		while (w && w->told >= turn)
			w = w->next;
		if (!w)
			return;
		w->told = turn;
		w->fn(w->ctx, e);
	}
}

void events_inbox_await(struct events *h, struct inbox_waiter *w)
{
	ring_add(&h->inbox, &w->link);
}

void events_inbox_await_end(struct events *h, struct inbox_waiter *w)
{
	leave(h, &w->link);
}

static void tell_inbox(struct events *h, const struct node_event *e)
{
	for (struct ring *r = h->inbox.next; r != &h->inbox; r = h->cursor) {
		struct inbox_waiter *w = ring_entry(r, struct inbox_waiter, link);

		h->cursor = r->next;
		if (!w->author.hex[0] || node_id_eq(&w->author, &e->peer))
			w->fn(w->ctx);
	}
	h->cursor = NULL;
}

/* --- what the node says ---------------------------------------------------------------------------- */
static void alarm_members(struct buf *b, const struct pin_alarm *a)
{
	member(b, "subject", a->subject);
	member(b, "was", a->was.hex);
	member(b, "now", a->now.hex);
	member(b, "now_name", a->now_name);
}

static void build(struct events *h, const struct node_event *e)
{
	struct buf *b = &h->text;
	bool inbox = starts_with(e->type, "inbox.");

	begin(h, e->type);
	if (e->peer.hex[0])
		member(b, inbox ? "from" : "peer", e->peer.hex);
	member(b, "name", e->name);
	member(b, "msg_id", e->msg_id);
	member(b, "reason", e->reason);
	member(b, "via", e->via);
	member(b, "address", e->address);
	member(b, "next", e->next);
	if (e->seq)
		buf_printf(b, ",\"inbox_seq\":%lld", (long long)e->seq);
	if (inbox || e->size)
		buf_printf(b, ",\"size\":%llu", (unsigned long long)e->size);
	if (strcmp(e->type, "message.delivered") == 0)
		buf_printf(b, ",\"in_ms\":%llu", (unsigned long long)e->in_ms);
	if (e->alarm)
		alarm_members(b, e->alarm);
}

/* What is in no inbox: all of it. Ids are hex of ours, so only the texts are cleaned. */
static void build_volatile(struct events *h, const struct node_event *e)
{
	const struct message *m = e->message;
	struct buf *b = &h->text;
	char id[2 * MSG_WIRE_ID + 1];

	begin(h, e->type);
	buf_printf(b, ",\"from\":\"%s\"", e->peer.hex);
	member(b, "name", e->name);
	if (m->has_wire_id)
		hex_encode(BYTES_ARR(m->wire_id), id);
	member(b, "msg_id", m->has_wire_id ? id : e->msg_id);
	buf_printf(b, ",\"created_ms\":%llu,\"size\":%zu", (unsigned long long)m->created_ms, m->body.n);
	if (m->priority != PRIO_NORMAL && m->priority < PRIO_COUNT)
		buf_printf(b, ",\"priority\":\"%s\"", priority_text(m->priority));
	fields_add(b, &m->ext);
	if (m->source_proven)
		buf_add_str(b, ",\"signed\":true");
	fields_add_body(b, m->body);
}

void events_observe(void *hub, const struct node_event *e)
{
	struct events *h = hub;

	tell_taps(h, e->type, e, NULL);
	if (e->message) {
		if (!anybody(h, e->type))
			return;
		build_volatile(h, e);
		hand_out(h, e->type, true);
		return;
	}

	if (e->msg_id && starts_with(e->type, "message."))
		tell_message(h, e);
	if (strcmp(e->type, "inbox.new") == 0)
		tell_inbox(h, e);
	if (!anybody(h, e->type))
		return;
	build(h, e);
	hand_out(h, e->type, false);
}

void events_emit(struct events *h, const char *type, const json_t *members)
{
	const char *key;
	json_t *value;

	tell_taps(h, type, NULL, NULL);
	if (!anybody(h, type))
		return;
	begin(h, type);
	json_object_foreach ((json_t *)members, key, value) {
		buf_add_u8(&h->text, ',');
		json_add_string(&h->text, bytes_str(key));
		buf_add_u8(&h->text, ':');
		if (json_is_string(value))
			json_add_string(&h->text, bytes_str(json_string_value(value)));
		else if (json_is_integer(value))
			buf_printf(&h->text, "%lld", (long long)json_integer_value(value));
		else
			buf_add_str(&h->text, json_is_true(value) ? "true" : "null");
	}
	hand_out(h, type, false);
}

void events_audit(void *hub, const char *event)
{
	struct events *h = hub;

	tell_taps(h, "audit", NULL, event);
	if (!anybody(h, "audit"))
		return;
	begin(h, "audit");
	member(&h->text, "event", event);
	hand_out(h, "audit", false);
}
