/* transfer.c -- the object, what is owed to the peer about ended transfers, dispatch and timers. */
#include <stdlib.h>

#include "protocol/im2/transfer_internal.h"

size_t im2_transfer_max(uint16_t tag)
{
	switch (tag) {
	case IM2_ITEM_MSG:
		return IM2_MSG_MAX;
	case IM2_ITEM_SMSG:
	case IM2_ITEM_OPEN:
	case IM2_ITEM_END:
		return IM2_SMSG_MAX;
	case IM2_ITEM_ROUTED:
	case IM2_ITEM_GROUPMSG:
		return IM2_TRANSFER_MAX;
	case IM2_ITEM_RECORD:
		return IM2_RECORD_MAX;
	case IM2_ITEM_GRANT:
		return IM2_GRANT_MAX;
	default:
		return 0;
	}
}

enum err im2_transfers_new(const struct im2_transfer_config *c, struct im2_transfers **out)
{
	struct im2_transfers *t = calloc(1, sizeof *t);

	BUG_ON(!c->bytes_total);
	if (!t)
		return ERR_NOMEM;
	t->c = *c;
	if (!t->c.bytes_max)
		t->c.bytes_max = c->radio ? 64u << 10 : 4u << 20;
	if (!t->c.bytes_total_max)
		t->c.bytes_total_max = 64u << 20;
	if (!t->c.keep_ms)
		t->c.keep_ms = c->radio ? 86400000 : 600000;
	if (!t->c.resend_ms)
		t->c.resend_ms = c->radio ? 15000 : 5000;
	if (!t->c.window)
		t->c.window = c->radio ? WINDOW_RADIO : WINDOW_IP;
	t->next_xfer = 1;
	buf_init(&t->work, 1024);
	*out = t;
	return ERR_OK;
}

void im2_transfers_free(struct im2_transfers *t)
{
	if (!t)
		return;
	im2_transfers_wake(t);
	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++) {
		incoming_free(t, &t->in[i]);
		free(t->out[i].data);
	}
	buf_fini(&t->work);
	free(t);
}

/* The value of the last call is read by now. */
static void retire(struct im2_transfers *t)
{
	if (t->given)
		incoming_free(t, t->given);
	t->given = NULL;
}

/* --- what ended ------------------------------------------------------------------------------------- */
void transfer_notice(struct im2_transfers *t, bool ours, uint32_t xfer, uint8_t code, const struct content *c)
{
	struct notice *x = &t->notices[t->notices_at++ % NOTICES_MAX];

	*x = (struct notice){.used = true, .due = true, .ours = ours, .xfer = xfer, .code = code};
	if (c)
		x->c = *c;
}

struct notice *transfer_notice_find(struct im2_transfers *t, uint32_t xfer)
{
	for (unsigned i = 1; i <= NOTICES_MAX; i++) { /* newest first: numbers may come again */
		struct notice *x = &t->notices[(t->notices_at - i) % NOTICES_MAX];

		if (x->used && !x->ours && x->xfer == xfer)
			return x;
	}
	return NULL;
}

bool transfer_item(struct im2_transfers *t, uint16_t tag, size_t room, struct buf *out)
{
	if (t->work.err != ERR_OK || im2_item_size(tag, t->work.n) > room)
		return false;
	im2_item_add(out, tag, buf_bytes(&t->work));
	return true;
}

bool transfer_xack(struct im2_transfers *t, uint32_t xfer, uint64_t cum, uint64_t limit,
		   const struct ranges *have, size_t room, struct buf *out)
{
	uint8_t list[RANGES_MAX * (1 + 2 * IM2_VARINT_MAX_BYTES)];
	struct im2_fields f = {.schema = &im2_xack};
	uint64_t from = cum;
	size_t n = 0;
	unsigned count = 0;
	/* What a range can take at most in this unit, so that a short one is cut and not refused. */
	size_t fixed = 2 + 3 * (2 + IM2_VARINT_MAX_BYTES);

	for (; have && count < have->n && fixed + n + sizeof list / RANGES_MAX < room; count++) {
		const struct range *r = &have->r[count];
		uint64_t gap = r->from - from, len = r->to - r->from;

		n += im2_varint_put(list + n, im2_varint_size(gap) + im2_varint_size(len));
		n += im2_varint_put(list + n, gap);
		n += im2_varint_put(list + n, len);
		from = r->to;
	}
	im2_set_u(&f, IM2_XACK_XFER, xfer);
	im2_set_u(&f, IM2_XACK_CUM, cum);
	im2_set_u(&f, IM2_XACK_LIMIT, limit);
	if (count)
		im2_set_b(&f, IM2_XACK_HAVE, bytes_of(list, n));
	buf_reset(&t->work);
	im2_write(&im2_xack, &f, &t->work);
	return transfer_item(t, IM2_ITEM_XACK, room, out);
}

static bool notice_next(struct im2_transfers *t, size_t room, struct buf *out)
{
	for (unsigned i = 0; i < NOTICES_MAX; i++) {
		struct notice *x = &t->notices[(t->notices_at + i) % NOTICES_MAX];
		struct im2_fields f = {.schema = &im2_xabort};
		bool ok;

		if (!x->used || !x->due)
			continue;
		if (x->code == 0) {
			ok = transfer_xack(t, x->xfer, x->c.len, x->c.len, NULL, room, out);
		} else {
			im2_set_u(&f, IM2_XABORT_XFER, x->xfer);
			im2_set_u(&f, IM2_XABORT_CODE, x->code);
			buf_reset(&t->work);
			im2_write(&im2_xabort, &f, &t->work);
			ok = transfer_item(t, IM2_ITEM_XABORT, room, out);
		}
		if (ok) {
			x->due = false;
			return true;
		}
	}
	return false;
}

bool im2_transfer_next(struct im2_transfers *t, size_t room, struct buf *out)
{
	retire(t);
	return notice_next(t, room, out) || incoming_ack(t, room, out) || outgoing_next(t, room, out);
}

bool im2_transfer_waiting(const struct im2_transfers *t)
{
	for (unsigned i = 0; i < NOTICES_MAX; i++)
		if (t->notices[i].used && t->notices[i].due)
			return true;
	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++)
		if ((t->in[i].used && t->in[i].open && t->in[i].ack_due) || outgoing_sendable(&t->out[i]))
			return true;
	return false;
}

/* --- items ------------------------------------------------------------------------------------------- */
/* The two ends number their transfers apart, so the code tells whose one is meant (the header). */
static enum im2_refusal take_abort(struct im2_transfers *t, struct bytes value)
{
	struct im2_fields f;
	enum im2_refusal r = im2_parse(&im2_xabort, value, &f);

	if (r != IM2_FINE)
		return r;
	uint32_t xfer = (uint32_t)f.v[IM2_XABORT_XFER].u;
	uint8_t code = (uint8_t)f.v[IM2_XABORT_CODE].u;
	if (code == ABORT_CANCELLED || code == ABORT_TIME)
		incoming_aborted(t, xfer);
	else
		outgoing_aborted(t, xfer, code);
	return IM2_FINE;
}

enum im2_refusal im2_transfer_take(struct im2_transfers *t, uint16_t tag, struct bytes value)
{
	retire(t);
	switch (tag) {
	case IM2_ITEM_XOPEN:
		return incoming_open(t, value);
	case IM2_ITEM_FRAG:
		return incoming_frag(t, value);
	case IM2_ITEM_XACK:
		return outgoing_ack(t, value);
	case IM2_ITEM_XABORT:
		return take_abort(t, value);
	default:
		return IM2_E_CONTEXT;
	}
}

bool im2_transfer_complete(struct im2_transfers *t, uint16_t *tag, struct bytes *value)
{
	if (!t->given)
		return false;
	*tag = t->given->c.tag;
	*value = bytes_of(t->given->data, t->given->c.len);
	return true;
}

size_t im2_transfer_in_bytes(const struct im2_transfers *t)
{
	return t->in_bytes;
}

/* --- sessions and time --------------------------------------------------------------------------------- */
void im2_transfers_session(struct im2_transfers *t)
{
	retire(t);
	memset(t->notices, 0, sizeof t->notices);
	incoming_session(t);
	outgoing_session(t);
}

void im2_transfers_stranger(struct im2_transfers *t, bool stranger)
{
	if (t->c.stranger == stranger)
		return;
	t->c.stranger = stranger;
	if (t->c.pool)
		t->c.pool->strangers += stranger ? t->in_bytes : -t->in_bytes;
}

void im2_transfers_rest(struct im2_transfers *t)
{
	struct im2_transfer_pool *pool = t->c.pool;

	if (t->c.stranger)
		incoming_drop(t);
	if (!pool || t->rests)
		return;
	t->rests = true;
	t->rest_before = pool->last;
	t->rest_after = NULL;
	*(pool->last ? &pool->last->rest_after : &pool->first) = t;
	pool->last = t;
}

void im2_transfers_wake(struct im2_transfers *t)
{
	struct im2_transfer_pool *pool = t->c.pool;

	if (!t->rests)
		return;
	t->rests = false;
	*(t->rest_before ? &t->rest_before->rest_after : &pool->first) = t->rest_after;
	*(t->rest_after ? &t->rest_after->rest_before : &pool->last) = t->rest_before;
}

uint64_t im2_transfers_deadline_ms(const struct im2_transfers *t)
{
	uint64_t in = incoming_deadline(t), out = outgoing_deadline(t);

	return in < out ? in : out;
}

void im2_transfers_tick(struct im2_transfers *t)
{
	retire(t);
	incoming_tick(t);
	outgoing_tick(t);
}
