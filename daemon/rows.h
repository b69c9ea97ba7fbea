/*
 * rows.h -- one line of each table of the dashboard as JSON, written and not built: they are made by the ten thousand.
 *
 * Nothing in a row changes by the mere passing of time: ages and countdowns are for who shows them.
 */
#ifndef DAEMON_ROWS_H
#define DAEMON_ROWS_H

#include "base/buf.h"
#include "daemon/commands.h"
#include "store/threads.h"

/* Alias, name or id; cleaned by whoever writes it. */
const char *row_label(const struct command_ctx *cx, const struct node_id *id);
/* ,"name":"text" or null; `name` with what stands before it. */
void row_text(struct buf *b, const char *name, const char *value);
void row_uint(struct buf *b, const char *name, uint64_t v);

/* Which names look alike, as of now. Freed by likeness_free(). ERR_NOMEM. */
struct likeness;
enum err likeness_new(const struct pins *p, struct likeness **out) MUST_CHECK;
void likeness_free(struct likeness *l);
/* Another peer whose shown name looks like that of `pin`; NULL: none. Borrowed until pins change. */
const struct pin *likeness_other(const struct likeness *l, const struct pins *p, const struct pin *pin);
/* Letters, digits and .-_ alone. */
bool row_name_plain(const struct pin *pin);

void row_peer(struct buf *b, const struct command_ctx *cx, const struct pin *pin, const struct likeness *l,
	      const struct target_view *targets, size_t targets_n);
#define TARGET_KEY 136
/* One that was never reached. Its key is "static:host:port"; of a long address the beginning, and a hash of all of it. */
void row_target_key(const struct target_view *t, char out[static TARGET_KEY]);
void row_target(struct buf *b, const struct command_ctx *cx, const struct target_view *t);
void row_conversation(struct buf *b, const struct command_ctx *cx, const struct thread_head *h, bool preview);
/* False, and nothing written: nothing waits for it. */
bool row_queue(struct buf *b, const struct command_ctx *cx, const struct node_id *peer, const struct target_view *targets,
	       size_t targets_n);

/* `body_max`: bytes of a body that are shown; 0: none. */
void row_message(struct buf *b, const struct command_ctx *cx, const struct thread_row *r, size_t body_max);
/* ,"timeline":[...] */
enum err row_timeline(struct buf *b, const struct command_ctx *cx, const struct thread_row *r) MUST_CHECK;

#endif
