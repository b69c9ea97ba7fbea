/*
 * inside.c -- what a frame holds, acted on item by item in its order (im2.md 7.2, 8, 18.3).
 *
 * The next item that makes an event is read ahead, so that everything which makes units only (PING, fragments) is
 * done by the time the last event is out. A value that came in pieces lies in the transfers of the peer: it waits
 * there, untouched, until its event has been looked at.
 */
#include <stdio.h>

#include "protocol/im2/im2_internal.h"
#include "protocol/im2/record.h"

static void advance(struct im2_link *l);

static struct session_event *fresh(struct im2_link *l, enum session_event_type t)
{
	memset(&l->ready, 0, sizeof l->ready);
	l->ready.type = t;
	l->has_ready = true;
	l->text_at ^= 1;
	return &l->ready;
}

/* What was begun is no event. */
static void unmake(struct im2_link *l)
{
	l->has_ready = false;
	l->text_at ^= 1;
}

static void refuse(struct im2_link *l, uint8_t code, uint16_t tag)
{
	l->host->n.items_refused++;
	im2_batch_itemerr(l, code, tag, true);
}

/* --- messages and receipts --- */

/* A volatile message comes in one frame or not at all (9.5). */
static bool in_too_many(const struct im2_link *l, const struct message *m)
{
	return l->pieces && (m->ext.flags & MSG_VOLATILE);
}

static void take_msg(struct im2_link *l, struct bytes value)
{
	struct session_event *e = fresh(l, SESSION_EV_MESSAGE);
	const struct node_id *self = keyring_id(l->host->c.keyring);
	unsigned at = l->text_at;

	if (im2_message_read(value, &l->peer->id, self, &e->message, l->id_text[at], l->type_text[at]) == IM2_FINE &&
	    !in_too_many(l, &e->message))
		return;
	unmake(l);
	refuse(l, 1, IM2_ITEM_MSG);
}

/* 18.3 counts messages, and one was counted when the item came. More than the bucket holds cost a full one. */
static bool smsg_within_limits(struct im2_link *l)
{
	struct im2_peer *p = l->peer;
	struct bucket *b = &p->buckets[CLASS_MESSAGE];
	struct bytes list = l->smsg.msgs, msg;
	double more = -1;

	if (p->trusted && !l->host->c.radio)
		return true;
	while (list.n && im2_lv_take(&list, &msg) == IM2_FINE)
		more++;
	return bucket_take(b, more < b->burst - 1 ? more : b->burst - 1, im2_now(l->host));
}

static void take_smsg(struct im2_link *l, struct bytes value)
{
	struct node_id author;

	if (im2_smsg_author(value, &author) != IM2_FINE) {
		refuse(l, 1, IM2_ITEM_SMSG);
	} else if (!node_id_eq(&author, &l->peer->id)) {
		refuse(l, 3, IM2_ITEM_SMSG); /* others come sealed */
	} else if (im2_smsg_open(value, l->peer->ed, l->host->c.keyring, &l->smsg) != IM2_FINE) {
		refuse(l, 8, IM2_ITEM_SMSG);
	} else if (!smsg_within_limits(l)) {
		refuse(l, 6, IM2_ITEM_SMSG);
	} else {
		l->has_smsg = true;
	}
}

/* What one item still has to say; false when that is all. */
static bool more(struct im2_link *l)
{
	unsigned at = l->text_at ^ 1;

	if (l->settled_seq) {
		struct session_event *e = fresh(l, SESSION_EV_SETTLED);

		memcpy(e->era, l->settled_era, sizeof e->era);
		e->seq = l->settled_seq;
		l->settled_seq = 0;
		return true;
	}
	while (l->has_smsg) {
		struct session_event *e = fresh(l, SESSION_EV_MESSAGE);

		if (im2_smsg_next(&l->smsg, &e->message, l->id_text[at], l->type_text[at])) {
			if (in_too_many(l, &e->message)) {
				unmake(l);
				refuse(l, 1, IM2_ITEM_SMSG);
				continue;
			}
			memcpy(l->settled_era, e->message.wire_id, sizeof l->settled_era);
			l->settled_seq = e->message.settled;
			return true;
		}
		unmake(l);
		l->has_smsg = false;
	}
	if (l->has_receipts) {
		struct session_event *e = fresh(l, SESSION_EV_RECEIPT);

		if (im2_receipt_next(&l->receipts, &e->receipt, l->id_text[at], &e->receipt_reason)) {
			e->receipt_id = bytes_of(l->id_text[at], strlen(l->id_text[at]));
			return true;
		}
		unmake(l);
		l->has_receipts = false;
	}
	return false;
}

/* --- small ones --- */

static void take_pong(struct im2_link *l, struct bytes value)
{
	if (l->state == LINK_PROVING) {
		im2_path_pong(l, value);
		return;
	}
	if (!l->ping_ms || !ct_equal(value.p, l->ping, sizeof l->ping))
		return;
	fresh(l, SESSION_EV_PONG)->rtt_ms = im2_now(l->host) - (l->ping_ms - 1);
	l->ping_ms = 0;
}

static void take_mark(struct im2_link *l, uint16_t tag, const struct im2_fields *f)
{
	struct session_event *e = fresh(l, tag == IM2_ITEM_SEEN ? SESSION_EV_SEEN : SESSION_EV_SETTLED);

	memcpy(e->era, f->v[IM2_MARK_ERA].b.p, sizeof e->era);
	e->seq = f->v[IM2_MARK_SEQ].u;
}

static void take_info(struct im2_link *l, const struct im2_fields *f)
{
	struct im2_peer *p = l->peer;

	if (im2_has(f, IM2_INFO_NAME)) {
		struct bytes name = f->v[IM2_INFO_NAME].b;

		memcpy(p->name, name.p, name.n); /* the schema has the limit */
		p->name[name.n] = 0;
		if (strcmp(p->name, l->view.name) != 0)
			fresh(l, SESSION_EV_RENAMED);
	}
	if (im2_has(f, IM2_INFO_MAX_UNIT))
		p->max_unit = (uint32_t)f->v[IM2_INFO_MAX_UNIT].u;
	if (im2_has(f, IM2_INFO_CREDIT)) {
		p->has_credit = true;
		p->credit = (uint32_t)f->v[IM2_INFO_CREDIT].u;
	}
	if (im2_has(f, IM2_INFO_FEATURES))
		p->features = f->v[IM2_INFO_FEATURES].u;
}

static void take_close(struct im2_link *l, const struct im2_fields *f)
{
	l->closing = true;
	l->close_code = f->v[IM2_CLOSE_CODE].u;
	if (im2_has(f, IM2_CLOSE_TEXT))
		text_safe(f->v[IM2_CLOSE_TEXT].b, l->word, sizeof l->word);
	if (l->close_code == 1)
		fresh(l, SESSION_EV_GOODBYE);
}

static void take_transfer(struct im2_link *l, uint16_t tag, struct bytes value)
{
	struct im2_peer *p = l->peer;
	struct im2_transfers *t = im2_peer_transfers(l->host, p);

	if (!t || p->holding) {
		/* No memory, or a second connection while a value of the first is being read: it comes again. */
		return;
	}
	enum im2_refusal why = im2_transfer_take(t, tag, value);
	bool complete = im2_transfer_complete(t, &l->complete_tag, &l->complete);

	if (why != IM2_FINE)
		refuse(l, 1, tag);
	im2_peer_transfers_ended(l->host, p);
	if (complete) {
		l->host->n.transfers_in++;
		l->has_complete = true;
		p->holding = l;
	}
}

static void take_fields(struct im2_link *l, uint16_t tag, struct bytes value)
{
	struct im2_fields f;

	if (im2_parse(im2_item_schema(tag), value, &f) != IM2_FINE) {
		refuse(l, 1, tag);
		return;
	}
	switch (tag) {
	case IM2_ITEM_INFO:
		take_info(l, &f);
		break;
	case IM2_ITEM_CLOSE:
		take_close(l, &f);
		break;
	case IM2_ITEM_ITEMERR:
		/* What the peer refuses is our bug or its policy; only 6 asks for something. */
		if (f.v[IM2_ITEMERR_CODE].u == 6) {
			struct session_event *e = fresh(l, SESSION_EV_RATE_LIMITED);

			e->tag = im2_has(&f, IM2_ITEMERR_TAG) ? (uint16_t)f.v[IM2_ITEMERR_TAG].u : 0;
		}
		break;
	default:
		take_mark(l, tag, &f);
		break;
	}
}

/* --- one item --- */

/* REVOKE, ROTATE and GROUP, which are repeated until they are answered, are outside the bucket of records (13.4).
 * The type is the first field of T. */
static bool is_notice(struct bytes record)
{
	struct bytes t;

	return im2_lv_take(&record, &t) == IM2_FINE && t.n > 2 && t.p[0] == 1 && t.p[1] == 1 &&
	       (t.p[2] == 4 || t.p[2] == 5 || t.p[2] == 8);
}

static bool within_limits(struct im2_link *l, uint16_t tag, struct bytes value)
{
	struct im2_peer *p = l->peer;
	enum im2_class c = CLASS_ITEM;

	switch (tag) {
	case IM2_ITEM_MSG:
	case IM2_ITEM_SMSG:
		if (p->trusted && !l->host->c.radio)
			return true;
		c = CLASS_MESSAGE;
		break;
	case IM2_ITEM_ROUTED:
		/* Those of a trusted peer are counted where they are forwarded, which is answered (11.2), and so is what
		 * becomes of ours. */
		if (p->trusted && !l->host->c.radio)
			return true;
		c = CLASS_ROUTED;
		break;
	case IM2_ITEM_ROUTEFB:
		if (p->trusted && !l->host->c.radio)
			return true;
		break;
	case IM2_ITEM_RECEIPT:
	case IM2_ITEM_XOPEN:
	case IM2_ITEM_FRAG:
	case IM2_ITEM_XACK:
	case IM2_ITEM_XABORT:
	case IM2_ITEM_CLOSE:
	case IM2_ITEM_ITEMERR:
		return true;
	case IM2_ITEM_RECORD:
		if (!is_notice(value))
			c = CLASS_RECORD;
		break;
	case IM2_ITEM_RECREQ:
		c = CLASS_REQUEST;
		break;
	case IM2_ITEM_SENDERKEY:
	case IM2_ITEM_SKREQ:
	case IM2_ITEM_GRANT:
	case IM2_ITEM_SAS:
		c = CLASS_KEY;
		break;
	default:
		break;
	}
	return bucket_take(&p->buckets[c], 1, im2_now(l->host));
}

static void act(struct im2_link *l, uint16_t tag, struct bytes value)
{
	unsigned places = im2_item_places(tag);

	if (!places) {
		if (tag & 1)
			refuse(l, 2, tag);
		return;
	}
	if (!(places & IM2_IN_D) || (places & IM2_IN_P)) {
		refuse(l, 3, tag);
		return;
	}
	if (!within_limits(l, tag, value)) {
		refuse(l, 6, tag);
		return;
	}
	switch (tag) {
	case IM2_ITEM_MSG:
		take_msg(l, value);
		return;
	case IM2_ITEM_SMSG:
		take_smsg(l, value);
		return;
	case IM2_ITEM_RECEIPT:
		if (im2_receipt_open(value, &l->receipts) == IM2_FINE)
			l->has_receipts = true;
		else
			refuse(l, 1, tag);
		return;
	case IM2_ITEM_XOPEN:
	case IM2_ITEM_FRAG:
	case IM2_ITEM_XACK:
	case IM2_ITEM_XABORT:
		take_transfer(l, tag, value);
		return;
	default:
		break;
	}
	if (im2_item_check(tag, value) != IM2_FINE) {
		refuse(l, 1, tag);
		return;
	}
	switch (tag) {
	case IM2_ITEM_PING:
		im2_control(l, IM2_ITEM_PONG, value);
		return;
	case IM2_ITEM_PONG:
		take_pong(l, value);
		return;
	case IM2_ITEM_RECORD:
	case IM2_ITEM_RECDIG:
	case IM2_ITEM_RECREQ:
	case IM2_ITEM_SRECEIPT:
	case IM2_ITEM_ROUTED:
	case IM2_ITEM_ROUTEFB:
	case IM2_ITEM_ROUTEADV:
	case IM2_ITEM_OPEN:
	case IM2_ITEM_END:
	case IM2_ITEM_RERR: {
		if ((tag == IM2_ITEM_RECDIG || tag == IM2_ITEM_RECREQ) && !im2_record_key_fits(tag, value)) {
			refuse(l, 1, tag);
			return;
		}
		struct session_event *e = fresh(l, SESSION_EV_ITEM);

		e->tag = tag;
		e->item = value;
		return;
	}
	case IM2_ITEM_SETTLED:
	case IM2_ITEM_SEEN:
	case IM2_ITEM_INFO:
	case IM2_ITEM_CLOSE:
	case IM2_ITEM_ITEMERR:
		take_fields(l, tag, value);
		return;
	default:
		refuse(l, 4, tag); /* routing, calls, groups: not on */
		return;
	}
}

/* --- the frame --- */

/* CLOSE ends the session after its frame was handled (7.7). */
static void close_session(struct im2_link *l)
{
	static const char *const words[] = { "closed", "peer-shuts-down", "superseded", "protocol-error-there",
					     "revoked-there", "idle", "rekey-failed-there" };
	uint8_t code = l->close_code;
	struct im2_host *h = l->host;
	struct im2_peer *p = l->peer;

	if (!l->word[0])
		snprintf(l->word, sizeof l->word, "%s",
			 code < sizeof words / sizeof words[0] ? words[code] : "closed");
	/* Who goes away, or refuses us, has forgotten all of them. */
	if (code == 1 || code == 4)
		im2_peer_erase_sessions(h, p);
	else
		im2_session_erase(h, l->under);
	if (p->current) {
		l->closing = false;
		l->word[0] = 0;
		return;
	}
	for (struct im2_link *o = p->paths, *next; o; o = next) {
		next = o->next_path;
		if (o != l && im2_link_is_path(o))
			im2_link_over(o, ERR_CLOSED, BLAME_NONE, "closed");
	}
	im2_link_over(l, code == 4 ? ERR_DENIED : ERR_CLOSED, code == 4 ? BLAME_REMOTE : BLAME_NONE, l->word);
}

static void advance(struct im2_link *l)
{
	struct bytes value;
	uint16_t tag;

	while (l->acting && !l->has_ready && !l->has_complete && !more(l)) {
		if (im2_item_next(&l->items, &tag, &value)) {
			l->pieces = false;
			act(l, tag, value);
			continue;
		}
		l->acting = false;
		if (l->closing)
			close_session(l);
	}
}

void im2_inside_begin(struct im2_link *l, struct im2_session *s, uint32_t counter)
{
	if (l->state == LINK_OVER)
		return;
	l->under = s;
	l->counter = counter;
	l->items = buf_bytes(&l->plain);
	l->acting = true;
	advance(l);
}

void im2_inside_release(struct im2_link *l)
{
	if (!l->release)
		return;
	l->release = false;
	if (l->peer && l->peer->holding == l)
		l->peer->holding = NULL;
	advance(l);
}

/* The next one is read now, unless the one just given lies where reading on would move it. */
static void after(struct im2_link *l)
{
	if (more(l))
		return;
	if (l->peer && l->peer->holding == l)
		l->release = true;
	else
		advance(l);
}

bool im2_inside_event(struct im2_link *l, struct session_event *out)
{
	im2_inside_release(l);
	while (!l->has_ready && l->has_complete) {
		l->has_complete = false;
		l->pieces = true;
		act(l, l->complete_tag, l->complete);
		if (l->state != LINK_OVER && !l->has_ready && !more(l)) {
			l->peer->holding = NULL;
			advance(l);
		}
	}
	if (!l->has_ready)
		return false;
	/* Not before: what the owner did not hear yet must not show. */
	if (l->ready.type == SESSION_EV_RENAMED) {
		memcpy(l->view.name, l->peer->name, sizeof l->view.name);
		l->ready.word = l->view.name;
	}
	*out = l->ready;
	l->has_ready = false;
	after(l);
	return true;
}

void im2_inside_forget(struct im2_link *l)
{
	l->acting = l->has_ready = l->has_complete = l->release = false;
	l->has_smsg = l->has_receipts = false;
	l->settled_seq = 0;
	l->items = bytes_of(NULL, 0);
	l->under = NULL;
}
