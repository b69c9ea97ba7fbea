/*
 * ring.h -- a doubly linked list with a head, for what is linked into its owner.
 */
#ifndef DAEMON_RING_H
#define DAEMON_RING_H

#include <stdbool.h>
#include <stddef.h>

struct ring {
	struct ring *prev, *next;
};

static inline void ring_init(struct ring *r)
{
	r->prev = r->next = r;
}
static inline bool ring_empty(const struct ring *r)
{
	return r->next == r;
}
static inline void ring_add(struct ring *head, struct ring *r) /* at the end */
{
	r->prev = head->prev;
	r->next = head;
	head->prev->next = r;
	head->prev = r;
}
static inline void ring_del(struct ring *r) /* safe twice */
{
	r->prev->next = r->next;
	r->next->prev = r->prev;
	ring_init(r);
}
#define ring_entry(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
