/* timeline.c -- the life of one message, step by step, as a list of JSON. */
#include <stdlib.h>

#include "daemon/commands_internal.h"
#include "daemon/rows.h"
#include "store/track.h"

#define EVENTS_MAX (TRACK_STEPS + 8)
#define APART_MS 20

struct step {
	uint64_t at_ms;
	const char *state, *via;
	char detail[200];
};

struct line {
	const struct command_ctx *cx;
	struct step list[EVENTS_MAX];
	size_t n;
	bool handed;
};

static struct step *add(struct line *l, uint64_t at_ms, const char *state)
{
	struct step *s = &l->list[l->n < EVENTS_MAX - 1 ? l->n : EVENTS_MAX - 1];

	*s = (struct step){ .at_ms = at_ms, .state = state };
	l->n += l->n < EVENTS_MAX - 1;
	return s;
}

static const char *via_word(enum outbox_via via)
{
	static const char *const words[OUTBOX_VIAS] = { NULL, "direct", "relay", "relay-0.9" };

	return words[via];
}

static void on_the_way(struct line *l, struct step *s, enum outbox_via via, unsigned hops, const struct node_id *by)
{
	size_t n = 0;

	s->via = via_word(via);
	if (by && by->hex[0])
		n = (size_t)snprintf(s->detail, sizeof s->detail, "through %s", row_label(l->cx, by));
	if (hops > 1 && n < sizeof s->detail)
		snprintf(s->detail + n, sizeof s->detail - n, "%s%u hops", n ? ", " : "", hops);
}

static void handed(struct line *l, uint64_t at_ms, enum outbox_via via, unsigned hops, const struct node_id *by)
{
	on_the_way(l, add(l, at_ms, l->handed ? "retried" : "handed"), via, hops, by);
	l->handed = true;
}

/* True: it is on its way now. */
static bool add_steps(struct line *l, const struct outbox_row *r, struct bytes track)
{
	struct track_step steps[TRACK_STEPS];
	size_t n = track_read(track, steps);
	struct outbox_try t;
	bool stored;

	for (size_t i = 0; i < n; i++) {
		const struct track_step *s = &steps[i];

		if (s->what == TRACK_HANDED)
			handed(l, s->at_ms, s->via, s->hops, s->has_who ? &s->who : NULL);
		else if (s->what == TRACK_STORED)
			on_the_way(l, add(l, s->at_ms, "stored"), s->via, s->hops, s->has_who ? &s->who : NULL);
		else
			add(l, s->at_ms, outbox_state_word(s->state));
	}
	if (!node_outbox_way(l->cx->node, r, &t, &stored))
		return false;
	handed(l, t.at_ms, t.via, t.hops, t.by.hex[0] ? &t.by : NULL);
	return true;
}

static enum err of_sent(struct line *l, const struct outbox_row *r)
{
	bool flies = false;
	struct buf track;
	enum err e;

	buf_init(&track, 4096);
	e = outbox_track(l->cx->store, r->seq, &track);
	if (e == ERR_OK) {
		add(l, r->created_ms, "accepted");
		flies = add_steps(l, r, buf_bytes(&track));
	}
	buf_fini(&track);
	/* What is on its way is shown as sent; on disk it waits. */
	if (e == ERR_OK && r->state != OUTBOX_QUEUED && !flies) {
		struct step *s = add(l, r->changed_ms, outbox_state_word(r->state));

		snprintf(s->detail, sizeof s->detail, "%s", r->reason);
	}
	return e;
}

static void of_received(struct line *l, const struct inbox_row *r)
{
	struct step *s = add(l, r->received_ms, "received");

	s->via = node_id_eq(&r->author, &r->via) ? "direct" : "relay";
	if (!node_id_eq(&r->author, &r->via))
		snprintf(s->detail, sizeof s->detail, "brought by %s", row_label(l->cx, &r->via));
	if (r->state == INBOX_HELD || r->freed_ms)
		add(l, r->received_ms, "held");
	if (r->freed_ms)
		add(l, r->freed_ms, r->state == INBOX_DROPPED && !r->read_ms ? "refused" : "released");
	if (r->read_ms && r->state != INBOX_NEW)
		add(l, r->read_ms, r->state == INBOX_READ ? "read" : "deleted");
}

/* They are in the order in which they happened. Two of one moment may come from readings of the clock that are a few
 * milliseconds apart; what is further apart the clock itself has done, and is shown as it is. */
static void smooth(struct line *l)
{
	for (size_t i = 1; i < l->n; i++)
		if (l->list[i].at_ms < l->list[i - 1].at_ms && l->list[i - 1].at_ms - l->list[i].at_ms <= APART_MS)
			l->list[i].at_ms = l->list[i - 1].at_ms;
}

enum err row_timeline(struct buf *b, const struct command_ctx *cx, const struct thread_row *r)
{
	struct line *l = calloc(1, sizeof *l);
	enum err e = l ? ERR_OK : ERR_NOMEM;

	if (l)
		l->cx = cx;
	if (l && r->is_out)
		e = of_sent(l, &r->out);
	else if (l)
		of_received(l, &r->in);
	if (e == ERR_OK) {
		smooth(l);
		buf_add_str(b, ",\"timeline\":[");
		for (size_t i = 0; i < l->n; i++) {
			row_uint(b, i ? ",{\"at_ms\":" : "{\"at_ms\":", l->list[i].at_ms);
			row_text(b, ",\"state\":", l->list[i].state);
			row_text(b, ",\"via\":", l->list[i].via);
			row_text(b, ",\"detail\":", l->list[i].detail);
			buf_add_u8(b, '}');
		}
		buf_add_u8(b, ']');
	}
	free(l);
	return e;
}
