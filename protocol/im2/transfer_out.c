/*
 * transfer_out.c -- from a value to its last XACK.
 *
 * Loss is known by a gap in an XACK, or by silence. A gap is repeated once; what is lost again waits for the
 * timer, so that reordered pieces do not multiply. The timer runs only while we wait for the peer: a
 * transport that holds us back is nobody's loss.
 */
#include <stdlib.h>

#include "protocol/im2/transfer_internal.h"

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static struct outgoing *find(struct im2_transfers *t, uint32_t xfer)
{
	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++)
		if (t->out[i].state == OUT_ACTIVE && t->out[i].xfer == xfer)
			return &t->out[i];
	return NULL;
}

enum err im2_transfer_send(struct im2_transfers *t, uint16_t tag, struct bytes value, uint32_t credit, uint32_t *xfer)
{
	struct content c = {.len = value.n, .tag = tag};
	struct outgoing *x = NULL;

	if (value.n == 0 || value.n > im2_transfer_max(tag))
		return ERR_LIMIT;
	sha256(value, c.digest);
	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++) {
		if (t->out[i].state == OUT_FREE)
			x = &t->out[i];
		if (t->out[i].state != OUT_ACTIVE || !content_eq(&t->out[i].c, &c))
			continue;
		*xfer = t->out[i].xfer; /* to the peer it would be the same transfer */
		return ERR_EXISTS;
	}
	if (!x)
		return ERR_AGAIN;
	uint8_t *data = malloc(value.n);
	if (!data)
		return ERR_NOMEM;
	memcpy(data, value.p, value.n);
	while (find(t, t->next_xfer))
		t->next_xfer++;
	*x = (struct outgoing){.state = OUT_ACTIVE,
			       .xfer = t->next_xfer++,
			       .c = c,
			       .data = data,
			       .limit = least(credit, value.n),
			       .open_due = true};
	*xfer = x->xfer;
	return ERR_OK;
}

size_t im2_transfer_out_bytes(const struct im2_transfers *t)
{
	size_t n = 0;

	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++)
		if (t->out[i].state == OUT_ACTIVE)
			n += t->out[i].c.len;
	return n;
}

void outgoing_end(struct im2_transfers *t, struct outgoing *x, bool delivered, uint8_t code)
{
	free(x->data);
	x->data = NULL;
	x->state = OUT_ENDED;
	x->delivered = delivered;
	x->code = code;
}

bool im2_transfer_ended(struct im2_transfers *t, struct im2_transfer_end *out)
{
	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++) {
		struct outgoing *x = &t->out[i];

		if (x->state != OUT_ENDED)
			continue;
		*out = (struct im2_transfer_end){x->xfer, x->c.tag, x->delivered, x->code};
		memset(x, 0, sizeof *x);
		return true;
	}
	return false;
}

/* --- what to send next ------------------------------------------------------------------------------------ */
/* The first position from `at` on that the peer does not hold; *end: where it begins to. */
static uint64_t missing(const struct outgoing *x, uint64_t at, uint64_t *end)
{
	if (at < x->cum)
		at = x->cum;
	for (unsigned i = 0; i < x->have.n; i++) {
		if (at < x->have.r[i].from) {
			*end = least(*end, x->have.r[i].from);
			break;
		}
		if (at < x->have.r[i].to)
			at = x->have.r[i].to;
	}
	return at;
}

/* The piece that is due, repetitions first. */
static bool piece(const struct outgoing *x, uint64_t *from, uint64_t *to, bool *again)
{
	*to = x->rep_end;
	*from = missing(x, x->rep_at, to);
	*again = true;
	if (*from < *to)
		return true;
	*to = x->limit;
	*from = missing(x, x->next, to);
	*again = false;
	return *from < *to;
}

bool outgoing_sendable(const struct outgoing *x)
{
	uint64_t from, to;
	bool again;

	return x->state == OUT_ACTIVE && (x->open_due || piece(x, &from, &to, &again));
}

static bool write_open(struct im2_transfers *t, struct outgoing *x, size_t room, struct buf *out)
{
	struct im2_fields f = {.schema = &im2_xopen};

	im2_set_u(&f, IM2_XOPEN_XFER, x->xfer);
	im2_set_u(&f, IM2_XOPEN_LEN, x->c.len);
	im2_set_u(&f, IM2_XOPEN_TAG, x->c.tag);
	im2_set_b(&f, IM2_XOPEN_DIGEST, BYTES_ARR(x->c.digest));
	buf_reset(&t->work);
	im2_write(&im2_xopen, &f, &t->work);
	if (!transfer_item(t, IM2_ITEM_XOPEN, room, out))
		return false;
	x->open_due = false;
	x->opened = true;
	return true;
}

static bool write_piece(struct outgoing *x, size_t room, struct buf *out)
{
	uint64_t from, to;
	bool again;

	if (!piece(x, &from, &to, &again))
		return false;
	uint64_t n = to - from;
	size_t head = im2_varint_size(x->xfer) + im2_varint_size(from);
	/* The length prefix is counted for the larger value: one byte may stay free. */
	size_t frame = im2_item_size(IM2_ITEM_FRAG, head + least(n, room)) - least(n, room);
	if (frame >= room)
		return false;
	if (n > room - frame) {
		n = room - frame;
		if (n < FRAG_LEAST)
			return false;
	}
	im2_varint_add(out, IM2_ITEM_FRAG);
	im2_varint_add(out, head + n);
	im2_varint_add(out, x->xfer);
	im2_varint_add(out, from);
	buf_add(out, bytes_of(x->data + from, n));
	if (again)
		x->rep_at = from + n;
	else
		x->next = from + n;
	return true;
}

bool outgoing_next(struct im2_transfers *t, size_t room, struct buf *out)
{
	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++) {
		struct outgoing *x = &t->out[(t->turn + i) % IM2_TRANSFERS_MAX];

		if (x->state != OUT_ACTIVE)
			continue;
		if (x->open_due ? write_open(t, x, room, out) : write_piece(x, room, out)) {
			x->resend_at_ms = env_now(t->c.env) + t->c.resend_ms;
			/* An XOPEN takes its first piece along. */
			t->turn = (t->turn + i + (x->next > 0)) % IM2_TRANSFERS_MAX;
			return true;
		}
	}
	return false;
}

/* --- XACK ---------------------------------------------------------------------------------------------------- */
static uint64_t ranges_bytes(const struct ranges *h)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < h->n; i++)
		n += h->r[i].to - h->r[i].from;
	return n;
}

static enum im2_refusal read_have(struct bytes list, uint64_t cum, uint64_t len, struct ranges *out)
{
	uint64_t at = cum;

	out->n = 0;
	while (list.n) {
		struct bytes e;
		uint64_t gap, n;

		if (out->n == RANGES_MAX || im2_lv_take(&list, &e) != IM2_FINE || im2_varint_take(&e, &gap) != IM2_FINE ||
		    im2_varint_take(&e, &n) != IM2_FINE)
			return IM2_E_MALFORMED;
		if (gap == 0 || n == 0 || gap > len - at || n > len - at - gap)
			return IM2_E_RANGE;
		out->r[out->n++] = (struct range){at + gap, at + gap + n};
		at += gap + n;
	}
	return IM2_FINE;
}

enum im2_refusal outgoing_ack(struct im2_transfers *t, struct bytes value)
{
	struct outgoing *x;
	struct im2_fields f;
	struct ranges have;
	enum im2_refusal r = im2_parse(&im2_xack, value, &f);

	if (r != IM2_FINE)
		return r;
	uint64_t cum = f.v[IM2_XACK_CUM].u, limit = f.v[IM2_XACK_LIMIT].u;
	x = find(t, (uint32_t)f.v[IM2_XACK_XFER].u);
	if (!x || !x->opened)
		return IM2_FINE; /* late */
	if (cum > x->c.len || limit > x->c.len)
		return IM2_E_RANGE;
	r = read_have(f.v[IM2_XACK_HAVE].b, cum, x->c.len, &have);
	if (r != IM2_FINE)
		return r;
	if (cum == x->c.len) {
		outgoing_end(t, x, true, 0);
		return IM2_FINE;
	}
	bool progress = cum > x->cum || limit > x->limit;
	if (limit > x->limit)
		x->limit = limit;
	if (cum < x->cum)
		return IM2_FINE; /* overtaken by a later one */
	if (cum == x->cum)
		progress |= ranges_bytes(&have) > ranges_bytes(&x->have);
	if (cum > x->cum || ranges_bytes(&have) >= ranges_bytes(&x->have))
		x->have = have;
	x->cum = cum;
	if (x->next < cum)
		x->next = cum;
	if (x->have.n) {
		uint64_t top = least(x->have.r[x->have.n - 1].to, x->next);

		if (top > x->recover) {
			if (x->rep_at >= x->rep_end)
				x->rep_at = cum > x->recover ? cum : x->recover;
			x->rep_end = top;
			x->recover = top;
		}
	}
	if (progress) {
		x->tries = 0;
		x->resend_at_ms = env_now(t->c.env) + t->c.resend_ms;
	}
	return IM2_FINE;
}

void outgoing_aborted(struct im2_transfers *t, uint32_t xfer, uint8_t code)
{
	struct outgoing *x = find(t, xfer);

	if (x && x->opened)
		outgoing_end(t, x, false, code);
}

/* --- sessions and time ------------------------------------------------------------------------------------------ */
void outgoing_session(struct im2_transfers *t)
{
	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++) {
		struct outgoing *x = &t->out[i];

		if (x->state != OUT_ACTIVE)
			continue;
		x->open_due = true;
		x->opened = false;
		x->next = x->cum = x->rep_at = x->rep_end = x->recover = 0;
		x->have.n = 0;
		x->tries = 0;
	}
}

void im2_transfers_credit(struct im2_transfers *t, uint32_t credit)
{
	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++)
		if (t->out[i].state == OUT_ACTIVE && !t->out[i].opened)
			t->out[i].limit = least(credit, t->out[i].c.len);
}

static bool waits(const struct outgoing *x)
{
	return x->state == OUT_ACTIVE && x->opened && !outgoing_sendable(x);
}

uint64_t outgoing_deadline(const struct im2_transfers *t)
{
	uint64_t at = UINT64_MAX;

	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++)
		if (waits(&t->out[i]))
			at = least(at, t->out[i].resend_at_ms);
	return at;
}

void outgoing_tick(struct im2_transfers *t)
{
	uint64_t now = env_now(t->c.env);

	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++) {
		struct outgoing *x = &t->out[i];

		if (!waits(x) || now < x->resend_at_ms)
			continue;
		if (x->tries++ == RESENDS_MAX) {
			transfer_notice(t, true, x->xfer, ABORT_TIME, NULL);
			outgoing_end(t, x, false, ABORT_TIME);
			continue;
		}
		/* XOPEN again as well: it may be what was lost, and it asks what the peer holds. */
		x->open_due = true;
		x->rep_at = x->cum;
		x->rep_end = x->recover = x->next;
		x->resend_at_ms = now + t->c.resend_ms;
	}
}
