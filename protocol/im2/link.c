/*
 * link.c -- one connection: its states, events, units and buffers.
 */
#include "protocol/im2/im2_internal.h"

#define UNIT_HEAD 4
#define TRIM_MS 2000

static const struct sm_row rows[LINK_STATES] = {
	[LINK_NEW] = { "new", SM_TO(LINK_S1) | SM_TO(LINK_WAIT) | SM_TO(LINK_X1_SENT) | SM_TO(LINK_I1_SENT) |
				      SM_TO(LINK_RESUME) | SM_TO(LINK_OVER) },
	[LINK_S1] = { "awaits-s1", SM_TO(LINK_X1_SENT) | SM_TO(LINK_I1_SENT) | SM_TO(LINK_RESUME) | SM_TO(LINK_OVER) },
	[LINK_WAIT] = { "waits", SM_TO(LINK_X2_SENT) | SM_TO(LINK_DECIDE) | SM_TO(LINK_OVER) },
	[LINK_X1_SENT] = { "x1-sent", SM_TO(LINK_X3_SENT) | SM_TO(LINK_X2_SENT) | SM_TO(LINK_OVER) },
	[LINK_X2_SENT] = { "x2-sent", SM_TO(LINK_DECIDE) | SM_TO(LINK_OVER) },
	[LINK_X3_SENT] = { "x3-sent", SM_TO(LINK_DECIDE) | SM_TO(LINK_OVER) },
	[LINK_I1_SENT] = { "i1-sent", SM_TO(LINK_X1_SENT) | SM_TO(LINK_I1_SENT) | SM_TO(LINK_DECIDE) | SM_TO(LINK_OVER) },
	[LINK_I2_SENT] = { "i2-sent", SM_TO(LINK_ONLINE) | SM_TO(LINK_WAIT) | SM_TO(LINK_OVER) },
	[LINK_RESUME] = { "resumes", SM_TO(LINK_X1_SENT) | SM_TO(LINK_I1_SENT) | SM_TO(LINK_DECIDE) | SM_TO(LINK_OVER) },
	[LINK_DECIDE] = { "identified", SM_TO(LINK_I2_SENT) | SM_TO(LINK_PROVING) | SM_TO(LINK_ONLINE) | SM_TO(LINK_OVER) },
	[LINK_PROVING] = { "proving", SM_TO(LINK_ONLINE) | SM_TO(LINK_OVER) },
	[LINK_ONLINE] = { "online", SM_TO(LINK_OVER) },
	[LINK_OVER] = { "over", 0 },
};

bool im2_link_lossy(const struct im2_link *l)
{
	return l->bind.transport >= IM2_RNS_LINK;
}

bool im2_link_shaking(const struct im2_link *l)
{
	return l->state < LINK_PROVING;
}

bool im2_link_is_path(const struct im2_link *l)
{
	return l->state == LINK_ONLINE || l->state == LINK_PROVING;
}

/* --- states and events -------------------------------------------------------------------------------- */
/* Handshakes that somebody else began and that hold memory here (5.8). */
static bool pending(const struct im2_link *l)
{
	return l->state == LINK_X2_SENT || l->state == LINK_I2_SENT ||
	       (l->state == LINK_DECIDE && (l->decide == DECIDE_X3 || l->decide == DECIDE_I1));
}

void im2_link_move(struct im2_link *l, enum im2_link_state to)
{
	/* Sending the unit of a step may have been the end, for want of memory. */
	if (l->state == LINK_OVER)
		return;
	sm_move(rows, &l->state, to);
	if (pending(l) != l->counted) {
		l->counted = !l->counted;
		l->host->pending += l->counted ? 1 : -1u;
	}
}

static void queue_event(struct im2_link *l, const struct im2_waiting_event *w)
{
	/* The owner drains after every call; a frame that is dropped is no news when nobody listens. */
	if (l->events_n == IM2_EVENTS_MAX) {
		BUG_ON(w->type != SESSION_EV_DROPPED);
		return;
	}
	if (w->type == SESSION_EV_DROPPED && l->events_n >= IM2_EVENTS_MAX - 4)
		return;
	l->events[l->events_n++] = *w;
}

void im2_link_event(struct im2_link *l, enum session_event_type t)
{
	queue_event(l, &(struct im2_waiting_event){ .type = t });
}

void im2_link_dropped(struct im2_link *l, enum err e, const char *word)
{
	queue_event(l, &(struct im2_waiting_event){ .type = SESSION_EV_DROPPED, .err = e, .word = word });
}

void im2_link_wake(const struct im2_link *l)
{
	const struct im2_host_config *c = &l->host->c;

	if (c->wake && l->owner)
		c->wake(c->wake_ctx, l->owner);
}

static void link_over_wait(struct im2_link *l, enum err e, enum session_blame blame, const char *word, uint64_t ms)
{
	if (l->state == LINK_OVER)
		return;
	im2_shake_free(l);
	im2_link_detach(l);
	im2_inside_forget(l);
	im2_batch_drop(l);
	im2_link_move(l, LINK_OVER);
	queue_event(l, &(struct im2_waiting_event){ .type = SESSION_EV_OVER, .err = e, .blame = blame,
						    .word = word, .ms = ms });
	im2_link_wake(l);
}

void im2_link_over(struct im2_link *l, enum err e, enum session_blame blame, const char *word)
{
	link_over_wait(l, e, blame, word, 0);
}

void im2_link_over_wait(struct im2_link *l, enum err e, const char *word, uint64_t wait_ms)
{
	link_over_wait(l, e, BLAME_REMOTE, word, wait_ms);
}

void im2_link_untrusted(struct im2_link *l, enum err e)
{
	bool of_another = e == ERR_EXISTS;

	im2_link_over(l, of_another ? ERR_KEY_CHANGED : e, BLAME_NONE,
		      of_another ? "exchange-key-of-another" : "trust-not-written");
}

void im2_link_attach(struct im2_link *l, struct im2_peer *p)
{
	if (l->peer == p)
		return;
	im2_link_detach(l);
	l->peer = p;
	l->next_path = p->paths;
	p->paths = l;
}

void im2_link_detach(struct im2_link *l)
{
	struct im2_peer *p = l->peer;

	if (!p)
		return;
	for (struct im2_link **at = &p->paths; *at; at = &(*at)->next_path) {
		if (*at != l)
			continue;
		*at = l->next_path;
		break;
	}
	if (im2_link_is_path(l))
		p->path_gone_ms = im2_now(l->host) + 1;
	if (p->asking == l)
		p->asking = NULL;
	if (p->holding == l)
		p->holding = NULL;
	for (unsigned i = 0; i < p->half_n; i++)
		if (p->half[i]->via == l)
			p->half[i]->via = NULL;
	l->peer = NULL;
	l->next_path = NULL;
	if (p->paths)
		return;
	im2_session_rest(l->host, p);
	if (p->transfers)
		im2_transfers_rest(p->transfers);
	im2_host_due(l->host, im2_now(l->host));
}

void im2_link_up(struct im2_link *l)
{
	struct im2_host *h = l->host;

	im2_link_move(l, LINK_ONLINE);
	if (l->state != LINK_ONLINE)
		return;
	im2_session_back(h, l->peer);
	im2_shake_free(l);
	l->whole_ms = l->step_ms = UINT64_MAX;
	im2_link_event(l, SESSION_EV_ONLINE);
	im2_batch_info(l);
	im2_host_due(h, im2_now(h) + h->c.limits.reject_after_ms);
}

/* --- units -------------------------------------------------------------------------------------------- */
void im2_link_unit(struct im2_link *l, struct bytes unit)
{
	uint8_t head[UNIT_HEAD];
	struct wr w = wr_init(head, sizeof head);
	size_t mark;

	if (l->out_at == l->out.n) {
		buf_reset(&l->out);
		l->out_at = 0;
	}
	mark = l->out.n;
	wr_u32(&w, (uint32_t)unit.n);
	buf_add(&l->out, BYTES_ARR(head));
	buf_add(&l->out, unit);
	if (l->out.err == ERR_OK)
		return;
	l->out.err = ERR_OK;
	l->out.n = mark;
	im2_link_over(l, ERR_NOMEM, BLAME_NONE, "no-memory");
}

bool im2_link_next_unit(struct im2_link *l, struct session_unit *out)
{
	if (l->out_at == l->out.n)
		return false;
	struct rd r = rd_init(l->out.p + l->out_at, l->out.n - l->out_at);
	uint32_t n = rd_u32(&r);
	struct bytes b = rd_bytes(&r, n);

	BUG_ON(r.err != ERR_OK);
	l->out_at += UNIT_HEAD + n;
	*out = (struct session_unit){ b, false };
	return true;
}

void im2_link_used(struct im2_link *l)
{
	l->busy = true;
	if (!l->trim_ms)
		l->trim_ms = im2_now(l->host) + TRIM_MS;
}

void im2_link_trim(struct im2_link *l)
{
	struct buf *all[] = { &l->out, &l->plain_out, &l->frame, &l->plain };

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		buf_wipe(all[i]);
		buf_trim(all[i], 0);
	}
	l->out_at = 0;
	if (!im2_queue_left(&l->control))
		im2_queue_trim(&l->control);
	if (!im2_queue_left(&l->batch))
		im2_queue_trim(&l->batch);
}

void im2_link_trim_due(struct im2_link *l, uint64_t now)
{
	if (!l->trim_ms || now < l->trim_ms)
		return;
	l->trim_ms = l->busy || l->acting || l->out_at != l->out.n ? now + TRIM_MS : 0;
	l->busy = false;
	if (!l->trim_ms)
		im2_link_trim(l);
}
