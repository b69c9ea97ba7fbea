/*
 * batch.c -- what waits for a connection, and what leaves together (im2.md 7.4, 7.6, 7.8).
 *
 * Two queues of finished items: control (answers, receipts, marks) and batch (messages, records). A frame takes
 * from control, then from batch, then one fragment; it is sealed when the owner asks for a unit, so that what one
 * turn makes shares a seal.
 */
#include "protocol/im2/im2_internal.h"

#define FRAG_ROOM_MIN 100
#define FRAG_AFTER_FRAMES 4 /* messages never keep a transfer waiting longer */
#define FRAG_ITEMS 16

static const uint32_t max_unit_of[] = {
	[IM2_LOOPBACK] = 65536, [IM2_WEBSOCKET] = 65536, [IM2_RNS_LINK] = 431, [IM2_RNS_PACKET] = 383,
	[IM2_SERIAL] = 1024,
};
#define RNS_UNIT_MAX 16384

/* --- queues ------------------------------------------------------------------------------------------------ */
void im2_queue_init(struct im2_queue *q, size_t max)
{
	buf_init(&q->b, max);
	q->at = 0;
}

size_t im2_queue_left(const struct im2_queue *q)
{
	return q->b.n - q->at;
}

void im2_queue_trim(struct im2_queue *q)
{
	buf_wipe(&q->b);
	buf_trim(&q->b, 0);
	q->at = 0;
}

/* What was read makes room before the memory grows. */
static void settle(struct im2_queue *q, size_t more)
{
	if (q->at == q->b.n) {
		buf_reset(&q->b);
		q->at = 0;
	} else if (q->at && q->b.n + more > q->b.cap) {
		buf_drop_front(&q->b, q->at);
		q->at = 0;
	}
}

static struct bytes head_of(const struct im2_queue *q)
{
	return q->b.n ? bytes_of(q->b.p + q->at, q->b.n - q->at) : bytes_of(NULL, 0);
}

/* As many whole items as fit into `room` and `*items`; both go down. `one`: the first goes whatever its size. */
static struct bytes slice(const struct im2_queue *q, size_t *room, size_t *items, bool one)
{
	struct bytes head = head_of(q), rest = head, value;
	size_t n = 0;
	uint16_t tag;

	while (*items && rest.n) {
		struct bytes before = rest;

		BUG_ON(!im2_item_next(&rest, &tag, &value));
		size_t size = before.n - rest.n;

		if (size > *room && !(one && n == 0))
			break;
		n += size;
		*room -= size < *room ? size : *room;
		--*items;
	}
	return bytes_of(head.p, n);
}

/* --- limits -------------------------------------------------------------------------------------------------- */
size_t im2_batch_plain_max(const struct im2_link *l)
{
	uint32_t own = max_unit_of[l->bind.transport];
	uint32_t stated = l->peer && l->peer->max_unit ? l->peer->max_unit : own, most = l->host->c.max_unit;

	if (l->bind.transport == IM2_RNS_LINK)
		most = RNS_UNIT_MAX;
	else if (im2_link_lossy(l))
		most = own;
	if (most < own)
		most = own;
	return (stated < most ? stated : most) - IM2_FRAME_OVERHEAD;
}

size_t im2_batch_waiting(const struct im2_link *l)
{
	size_t n = im2_queue_left(&l->control) + im2_queue_left(&l->batch);

	return n + (l->peer && l->peer->transfers ? im2_transfer_out_bytes(l->peer->transfers) : 0);
}

bool im2_batch_room(const struct im2_link *l)
{
	return im2_queue_left(&l->batch) < IM2_WAITING_MAX && l->peer->transfers_out < IM2_TRANSFERS_MAX;
}

void im2_batch_drop(struct im2_link *l)
{
	im2_queue_trim(&l->control);
	im2_queue_trim(&l->batch);
	l->speak = false;
}

/* --- items in ------------------------------------------------------------------------------------------------ */
void im2_control(struct im2_link *l, uint16_t tag, struct bytes value)
{
	settle(&l->control, im2_item_size(tag, value.n));
	im2_item_add(&l->control.b, tag, value);
	if (l->control.b.err == ERR_OK)
		return;
	l->control.b.err = ERR_OK;
	im2_link_over(l, ERR_FULL, BLAME_NONE, "peer-does-not-read");
}

/* The id is the first field of a message, and the messages the first of an SMSG. */
static bool id_of(uint16_t tag, struct bytes value, uint8_t out[static MSG_WIRE_ID])
{
	struct bytes list, message = value, id;
	uint64_t field;

	if (tag == IM2_ITEM_SMSG &&
	    (im2_varint_take(&value, &field) != IM2_FINE || im2_lv_take(&value, &list) != IM2_FINE ||
	     im2_lv_take(&list, &message) != IM2_FINE))
		return false;
	if ((tag != IM2_ITEM_SMSG && tag != IM2_ITEM_MSG) || im2_varint_take(&message, &field) != IM2_FINE ||
	    im2_lv_take(&message, &id) != IM2_FINE || id.n != MSG_WIRE_ID)
		return false;
	memcpy(out, id.p, MSG_WIRE_ID);
	return true;
}

/* One message is one place; of others the one that ended longest ago makes room. */
static void remember(struct im2_peer *p, uint32_t xfer, const uint8_t id[static MSG_WIRE_ID])
{
	unsigned at = IM2_CARRIED_MAX;

	for (unsigned i = 0; i < IM2_CARRIED_MAX; i++)
		if (p->carried[i].state != IM2_CARRY_NONE && memcmp(p->carried[i].id, id, MSG_WIRE_ID) == 0)
			at = i;
	while (at == IM2_CARRIED_MAX) {
		p->carried_at = (p->carried_at + 1) % IM2_CARRIED_MAX;
		if (p->carried[p->carried_at].state != IM2_CARRY_OUT)
			at = p->carried_at;
	}
	p->carried[at].state = IM2_CARRY_OUT;
	p->carried[at].xfer = xfer;
	memcpy(p->carried[at].id, id, MSG_WIRE_ID);
}

static enum err carry(struct im2_link *l, uint16_t tag, struct bytes value)
{
	struct im2_peer *p = l->peer;
	uint8_t id[MSG_WIRE_ID];
	uint32_t xfer;
	enum err e;

	if (!im2_peer_transfers(l->host, p))
		return ERR_NOMEM;
	if (p->holding)
		return ERR_AGAIN; /* an event borrows from it */
	e = im2_transfer_send(p->transfers, tag, value, im2_peer_credit(l->host, p), &xfer);
	if (e == ERR_OK) {
		p->transfers_out++;
		l->host->n.transfers_out++;
	}
	if ((e == ERR_OK || e == ERR_EXISTS) && id_of(tag, value, id))
		remember(p, xfer, id);
	return e == ERR_EXISTS ? ERR_OK : e; /* its end is the end of both */
}

enum err im2_batch_item(struct im2_link *l, uint16_t tag, struct bytes value)
{
	size_t n = im2_item_size(tag, value.n);

	if (!im2_batch_room(l))
		return ERR_AGAIN;
	if (n > im2_batch_plain_max(l))
		return carry(l, tag, value);
	settle(&l->batch, n);
	im2_item_add(&l->batch.b, tag, value);
	enum err e = l->batch.b.err;
	l->batch.b.err = ERR_OK;
	return e;
}

/* The structure is written where it leaves from: no copy of the body but this one. */
static enum err put_message(struct im2_link *l, const struct message *m, size_t n)
{
	struct im2_queue *q = &l->batch;
	size_t mark, size = im2_item_size(IM2_ITEM_MSG, n);
	enum err e;

	settle(q, size);
	mark = q->b.n;
	if (!buf_reserve(&q->b, size)) {
		e = q->b.err;
		q->b.err = ERR_OK;
		return e;
	}
	im2_varint_add(&q->b, IM2_ITEM_MSG);
	im2_varint_add(&q->b, n);
	e = im2_message_write(m, &q->b);
	if (e != ERR_OK) {
		q->b.err = ERR_OK;
		q->b.n = mark;
		return e;
	}
	BUG_ON(q->b.n - mark != size);
	return ERR_OK;
}

static enum err carry_message(struct im2_link *l, const struct message *m)
{
	struct buf b;
	enum err e;

	buf_init(&b, IM2_MSG_MAX);
	e = im2_message_write(m, &b);
	if (e == ERR_OK)
		e = carry(l, IM2_ITEM_MSG, buf_bytes(&b));
	buf_wipe(&b);
	buf_fini(&b);
	return e;
}

static enum err sign_message(struct im2_link *l, const struct message *m)
{
	struct buf b;
	enum err e;

	buf_init(&b, IM2_SMSG_MAX);
	e = im2_smsg_write(l->host->c.keyring, m, 1, l->peer->ed, &b);
	if (e == ERR_OK && im2_item_size(IM2_ITEM_SMSG, b.n) > im2_batch_plain_max(l) &&
	    (m->ext.flags & MSG_VOLATILE))
		e = ERR_LIMIT;
	if (e == ERR_OK)
		e = im2_batch_item(l, IM2_ITEM_SMSG, buf_bytes(&b));
	buf_wipe(&b);
	buf_fini(&b);
	return e;
}

enum err im2_batch_message(struct im2_link *l, const struct message *m)
{
	size_t n;
	enum err e;

	if (!m->has_wire_id)
		return ERR_MALFORMED;
	if (m->body.n > IM2_BODY_MAX)
		return ERR_LIMIT;
	if (!im2_batch_room(l))
		return ERR_AGAIN;
	n = im2_message_size(m);
	if (n == 0)
		return ERR_MALFORMED;
	if (l->host->c.sign_always)
		e = sign_message(l, m);
	else if (im2_item_size(IM2_ITEM_MSG, n) <= im2_batch_plain_max(l))
		e = put_message(l, m, n);
	else if (m->ext.flags & MSG_VOLATILE)
		e = ERR_LIMIT; /* one frame or none (9.5) */
	else
		e = carry_message(l, m);
	if (e == ERR_OK && !(m->ext.flags & MSG_NO_RECEIPT))
		l->wants = true;
	return e;
}

enum err im2_batch_receipts(struct im2_link *l, const struct receipt *r, size_t n)
{
	size_t room = im2_batch_plain_max(l) - im2_item_size(IM2_ITEM_RECEIPT, IM2_RECEIPT_MAX) + IM2_RECEIPT_MAX;
	uint64_t at = l->host->c.radio ? 0 : env_wall(l->host->c.env);
	enum err e = ERR_OK;

	if (room > IM2_RECEIPT_MAX)
		room = IM2_RECEIPT_MAX;
	while (n && e == ERR_OK) {
		struct buf b;

		buf_init(&b, IM2_RECEIPT_MAX);
		size_t k = im2_receipt_write(r, n, at, room, &b);
		e = b.err;
		if (e == ERR_OK && k == 0)
			e = ERR_LIMIT;
		if (e == ERR_OK && b.n)
			im2_control(l, IM2_ITEM_RECEIPT, buf_bytes(&b));
		buf_fini(&b);
		if (l->state == LINK_OVER)
			return ERR_FULL;
		r += k;
		n -= k;
	}
	return e;
}

/* --- small ones of our own ------------------------------------------------------------------------------------- */
enum err im2_batch_fields(struct im2_link *l, uint16_t tag, const struct im2_fields *f)
{
	struct buf b;
	enum err e;

	buf_init(&b, 512);
	im2_write(im2_item_schema(tag), f, &b);
	e = b.err;
	if (e == ERR_OK)
		im2_control(l, tag, buf_bytes(&b));
	buf_fini(&b);
	return e;
}

static void put_info(struct im2_link *l)
{
	const struct im2_host_config *c = &l->host->c;
	bool first = l->decide == DECIDE_X3 || l->decide == DECIDE_X4, resumed = l->decide == DECIDE_RESUME;
	uint64_t features = im2_host_features(l->host);
	struct im2_fields f = { 0 };

	l->info_due = false;
	/* A name changes with a restart only: it is said once in a life of ours, on a lossy line with each handshake. */
	if (!l->peer->named && !(resumed && im2_link_lossy(l))) {
		im2_set_b(&f, IM2_INFO_NAME, bytes_str(c->name));
		l->peer->named = !im2_link_lossy(l);
	}
	if (!im2_link_lossy(l) && c->max_unit != max_unit_of[l->bind.transport])
		im2_set_u(&f, IM2_INFO_MAX_UNIT, c->max_unit);
	if (c->credit != im2_default_credit(l->host))
		im2_set_u(&f, IM2_INFO_CREDIT, c->credit);
	if (!resumed && features && !im2_hello_has_features(l, first))
		im2_set_u(&f, IM2_INFO_FEATURES, features);
	if (f.present)
		im2_batch_fields(l, IM2_ITEM_INFO, &f);
}

void im2_batch_info(struct im2_link *l)
{
	/* Airtime: it waits for a frame that leaves anyway. */
	l->info_due = l->host->c.radio;
	if (!l->info_due)
		put_info(l);
}

void im2_batch_itemerr(struct im2_link *l, uint8_t code, uint16_t tag, bool here)
{
	struct im2_fields f = { 0 };
	struct im2_peer *p = l->peer;
	uint64_t now = im2_now(l->host);

	if (p->itemerr_ms && now - (p->itemerr_ms - 1) < 1000)
		return;
	p->itemerr_ms = now + 1;
	im2_set_u(&f, IM2_ITEMERR_CODE, code);
	im2_set_u(&f, IM2_ITEMERR_TAG, tag);
	if (here)
		im2_set_u(&f, IM2_ITEMERR_CTR, l->counter);
	im2_batch_fields(l, IM2_ITEM_ITEMERR, &f);
}

void im2_batch_close(struct im2_link *l, uint8_t code)
{
	struct im2_fields f = { 0 };

	im2_set_u(&f, IM2_CLOSE_CODE, code);
	im2_batch_fields(l, IM2_ITEM_CLOSE, &f);
	l->ending = true;
	while (l->state != LINK_OVER && im2_queue_left(&l->control) && im2_batch_next(l))
		im2_link_unit(l, buf_bytes(&l->frame));
	l->ending = false;
}

/* --- frames out ---------------------------------------------------------------------------------------------------- */
/* The peer takes less than when these were queued: they go in pieces, or wait here for a transfer to end. */
static void carry_oversize(struct im2_link *l, size_t max)
{
	struct bytes rest = head_of(&l->batch), before, value;
	uint16_t tag;

	while (rest.n) {
		before = rest;
		BUG_ON(!im2_item_next(&rest, &tag, &value));
		if (before.n - rest.n <= max || carry(l, tag, value) == ERR_AGAIN)
			return;
		l->batch.at = l->batch.b.n - rest.n;
	}
}

static size_t padded(const struct im2_link *l, const struct im2_peer *p, size_t n, size_t max)
{
	bool rns = l->bind.transport == IM2_RNS_LINK || l->bind.transport == IM2_RNS_PACKET;
	size_t b;

	if (rns || !(l->host->c.pad || (p->features & IM2_FEATURE_PAD)))
		return n;
	b = im2_bucket(n);
	b = b < max ? b : max;
	return b > n ? b : n;
}

void im2_batch_close_under(struct im2_link *l, struct im2_session *s, uint8_t code)
{
	struct im2_fields f = { 0 };
	struct buf value;

	buf_init(&value, 64);
	buf_reset(&l->plain_out);
	buf_reset(&l->frame);
	im2_set_u(&f, IM2_CLOSE_CODE, code);
	im2_write(&im2_close, &f, &value);
	im2_item_add(&l->plain_out, IM2_ITEM_CLOSE, buf_bytes(&value));
	if (value.err == ERR_OK && l->plain_out.err == ERR_OK &&
	    im2_frame_build(&s->tx, buf_bytes(&l->plain_out),
			    padded(l, s->peer, l->plain_out.n, im2_batch_plain_max(l)), &l->frame) == ERR_OK)
		im2_link_unit(l, buf_bytes(&l->frame));
	buf_fini(&value);
}

/* Transfers have a turn: nothing else waits, or they have waited long enough. */
static bool transfers_due(const struct im2_link *l)
{
	const struct im2_peer *p = l->peer;

	return l->state == LINK_ONLINE && !l->ending && p->transfers && !p->holding &&
	       im2_transfer_waiting(p->transfers);
}

static bool add_transfers(struct im2_link *l, size_t room, size_t items)
{
	size_t before = l->plain_out.n, limit = room < IM2_FRAG_UNIT ? room : IM2_FRAG_UNIT;

	while (items-- && l->plain_out.n - before + FRAG_ROOM_MIN <= limit &&
	       im2_transfer_next(l->peer->transfers, limit - (l->plain_out.n - before), &l->plain_out))
		;
	l->frames_since_frag = 0;
	return l->plain_out.n > before && l->plain_out.err == ERR_OK;
}

static struct bytes gather(struct im2_link *l, struct bytes control, struct bytes batch)
{
	buf_reset(&l->plain_out);
	buf_add(&l->plain_out, control);
	buf_add(&l->plain_out, batch);
	return buf_bytes(&l->plain_out);
}

bool im2_batch_next(struct im2_link *l)
{
	struct im2_host *h = l->host;
	struct im2_peer *p = l->peer;
	size_t max = im2_batch_plain_max(l), room = max, items = IM2_ITEMS_MAX;
	bool all = l->state == LINK_ONLINE && !l->ending;
	struct bytes control, batch = { 0 }, plain;
	enum err e;

	if (!im2_queue_left(&l->control) && !(all && im2_queue_left(&l->batch)) && !l->speak && !transfers_due(l))
		return false;
	if (!im2_session_usable(h, p->current)) {
		/* Gone for good (6.3): the peer, which may have frames left, hears ERR 1 when it resumes. */
		im2_session_erase(h, p->current);
		im2_link_over(l, ERR_EXPIRED, BLAME_NONE, "session-expired");
		return false;
	}
	if (l->state == LINK_ONLINE && !l->ending)
		im2_rekey_sending(l);
	if (l->state == LINK_OVER || !im2_session_usable(h, p->current))
		return false;
	if (l->info_due && all)
		put_info(l);
	/* A peer may say that it takes less than when this was written: one such unit it gets. */
	control = slice(&l->control, &room, &items, true);
	if (all) {
		carry_oversize(l, max);
		bool pieces = transfers_due(l), turn = pieces && l->frames_since_frag >= FRAG_AFTER_FRAMES;
		size_t kept = turn ? (room / 2 < IM2_FRAG_UNIT ? room / 2 : IM2_FRAG_UNIT) : 0;
		size_t spare = turn && items > FRAG_ITEMS ? FRAG_ITEMS : 0;

		room -= kept;
		items -= spare;
		batch = slice(&l->batch, &room, &items, false);
		room += kept;
		items += spare;
		if (pieces && (turn || batch.n == im2_queue_left(&l->batch))) {
			gather(l, control, batch);
			(void)!add_transfers(l, room, items);
			plain = buf_bytes(&l->plain_out);
			goto seal;
		}
		l->frames_since_frag += pieces;
	}
	plain = control.n && batch.n ? gather(l, control, batch) : control.n ? control : batch;
seal:
	if (!plain.n && !l->speak)
		return false;
	buf_reset(&l->frame);
	e = l->plain_out.err != ERR_OK ? l->plain_out.err :
	    im2_frame_build(&p->current->tx, plain, padded(l, p, plain.n, max), &l->frame);
	if (e != ERR_OK) {
		im2_link_over(l, e, BLAME_NONE, "frame-not-sealed");
		return false;
	}
	l->control.at += control.n;
	l->batch.at += batch.n;
	l->speak = false;
	p->current->tx_bytes += l->frame.n;
	if (l->wants && !l->asked_ms)
		l->asked_ms = im2_now(h) + 1;
	l->wants = false;
	return true;
}
