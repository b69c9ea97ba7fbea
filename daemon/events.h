/*
 * events.h -- what happens in the node, for whoever listens.
 *
 *	node_observe(node, events_observe, hub);
 *
 * Subscribers get JSON (docs/control.md, `event` notifications), built only when somebody's prefixes
 * match. A subscriber that cannot take an event loses it and later gets one `events.lost` with the
 * counts; volatile messages, which come by the thousand, are the first to go. Waiters are told of one message id, or that something arrived; they get no JSON.
 *
 * A callback may remove any subscriber or waiter, its own too. It must not call into the node: it is
 * called from the middle of its work. Arm a timer for that.
 */
#ifndef DAEMON_EVENTS_H
#define DAEMON_EVENTS_H

#include "base/json.h"
#include "daemon/node.h"
#include "daemon/ring.h"

struct events;

enum err events_new(struct env *env, struct events **out) MUST_CHECK;
/* Everybody has unsubscribed before. Accepts NULL. */
void events_free(struct events *h);
void events_observe(void *hub, const struct node_event *e);
/* For audit_observe(): an entry of the audit log is an event `audit`. */
void events_audit(void *hub, const char *event);
/* Who is told of everything at once, in C, before any subscriber: `type` with what the node said, or NULL for an event
 * that is not the node's (`word`: of an audit entry). At most EVENT_TAPS; forgotten by events_free(). */
#define EVENT_TAPS 4
void events_tap(struct events *h, void (*fn)(void *ctx, const char *type, const struct node_event *e, const char *word), void *ctx);
/* An event that is not the node's: `members` (an object) is borrowed, may be NULL. */
void events_emit(struct events *h, const char *type, const json_t *members);

#define EVENT_TEXT_MAX (1u << 20) /* bytes of one: a volatile message carries its body */
#define EVENT_TYPES_MAX 32
#define EVENT_TYPE_LEN 40

struct subscriber {
	struct ring link;
	/* One JSON object without a line end: {"schema":"ironmesh.event/1",...}. False: no room, lost. A volatile
	 * one has less claim to room than the others. */
	bool (*deliver)(void *ctx, struct bytes json, bool is_volatile);
	void *ctx;
	size_t type_count;              /* 0 = all */
	char types[EVENT_TYPES_MAX][EVENT_TYPE_LEN + 1]; /* prefixes */
	uint64_t lost, lost_volatile; /* in all, and of these */
	/* Its connection is gone; NULL: nobody wants to know. */
	void (*gone)(void *ctx, const struct subscriber *s);
	void *gone_ctx;
};
/* `s` stays the caller's. */
void events_subscribe(struct events *h, struct subscriber *s);
void events_unsubscribe(struct events *h, struct subscriber *s); /* safe when not subscribed */
/* There is room again: says what was lost, without waiting for the next event. */
void events_room(struct events *h, struct subscriber *s);

struct message_waiter {
	struct message_waiter *next;    /* of the same id */
	bool waiting;
	uint64_t told;                  /* the turn of the last event that it heard */
	char id[MSG_ID_MAX + 1];
	void (*fn)(void *ctx, const struct node_event *e);
	void *ctx;
};
/* Told of every event of this message. ERR_FULL. */
enum err events_await(struct events *h, struct message_waiter *w, const char *msg_id) MUST_CHECK;
void events_await_end(struct events *h, struct message_waiter *w); /* safe when not waiting */

struct inbox_waiter {
	struct ring link;
	struct node_id author;          /* hex[0] == 0: anybody */
	void (*fn)(void *ctx);
	void *ctx;
};
void events_inbox_await(struct events *h, struct inbox_waiter *w);
void events_inbox_await_end(struct events *h, struct inbox_waiter *w); /* after ring_init at least */

#endif
