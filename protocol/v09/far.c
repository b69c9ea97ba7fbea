/*
 * far.c -- to and from nodes that are not the peer of this session: what others wrote and a neighbour passed on, what is for
 * somebody else, and ours that takes that road (wire 3.6, 3.7, 5.5).
 */
#include "base/hash.h"
#include "protocol/v09/v09_internal.h"

#include <stdlib.h>

static struct bytes own_id(const struct v09 *s)
{
	return bytes_of(keyring_id(s->c.keyring)->hex, NODE_ID_LEN);
}

static bool names_receipts(struct bytes id)
{
	return id.n > strlen(V09_RECEIPT_ID) && memcmp(id.p, V09_RECEIPT_ID, strlen(V09_RECEIPT_ID)) == 0;
}

static bool signed_by(struct v09 *s, const struct body *b, const uint8_t ed[static ED_BYTES])
{
	struct inner_covered c = { .source = b->source, .destination = b->destination, .id = b->id,
				   .payload = buf_bytes(&s->body) };

	return b->has_signature && inner_verify(ed, b->tag, false, &c, &s->work, b->signature);
}

/* --- for somebody else ---------------------------------------------------------------------------------- */
static void in_transit(struct v09 *s, const struct body *b, const struct node_id *source)
{
	struct session_event ev = { .type = SESSION_EV_TRANSIT };
	struct far_at_hand *x;

	if (b->hops_escaped) {
		v09_dropped(s, ERR_MALFORMED, "hops");
		return;
	}
	x = calloc(1, sizeof *x);
	if (!x) {
		v09_dropped(s, ERR_NOMEM, "no-memory");
		return;
	}
	x->body = *b;
	x->t = (struct v09_transit){ .source = *source, .type = b->type, .id = b->id, .ttl = b->ttl, .hops = b->hops,
				     .created_ms = (uint64_t)(b->time_s * 1000.0), .sealed = b->has_sealed,
				     .returned = bytes_eq(b->source, own_id(s)), .body = &x->body };
	memcpy(x->t.destination.hex, b->destination.p, NODE_ID_LEN);
	free(s->far);
	s->far = x;
	v09_event(s, &ev);
}

/* What is not sealed is judged at every hop, as the newest old relays do it (wire 3.10, step 10). */
static bool may_pass(struct v09 *s, const struct body *b, const struct node_id *source)
{
	bool direct = node_id_eq(source, &s->peer.id), user = type_is_user(b->type), known = direct;
	uint8_t ed[ED_BYTES];
	const char *word;

	if (b->has_sealed || bytes_eq(b->source, own_id(s)))
		return true;
	word = v09_open_body(s, b, false);
	if (word) {
		v09_dropped(s, ERR_MALFORMED, word);
		return false;
	}
	if (direct)
		memcpy(ed, s->peer.ed, sizeof ed);
	else
		known = s->c.author_key(s->c.author_ctx, source, ed);
	if (!b->has_signature && (direct || !user))
		return true;
	if (!known && !user)
		return true;
	if (!known) {
		v09_dropped(s, ERR_NOTFOUND, "relayed-unknown");
		return false;
	}
	/* Old software of this peer's may sign in form v1, which nobody here has to believe. */
	if (direct && b->tag != INNER_V2)
		return true;
	if (!signed_by(s, b, ed)) {
		v09_dropped(s, ERR_AUTH, "inner-signature");
		return false;
	}
	return true;
}

/* --- for us ---------------------------------------------------------------------------------------------- */
static void from_afar(struct v09 *s, const struct body *b, const struct node_id *source)
{
	struct session_event ev = { .type = SESSION_EV_MESSAGE };
	struct message *m = &ev.message;
	uint8_t ed[ED_BYTES];
	const char *word = NULL;

	if (b->compressed) {
		v09_dropped(s, ERR_UNSUPPORTED, "compressed");
		return;
	}
	/* The type is not signed: receipts of its author's stay receipts. */
	if (names_receipts(b->id)) {
		v09_dropped(s, ERR_MALFORMED, "msg-id");
		return;
	}
	if (!s->c.author_key(s->c.author_ctx, source, ed)) {
		v09_dropped(s, ERR_NOTFOUND, "relayed-unknown");
		return;
	}
	if (!b->has_signature) {
		v09_dropped(s, ERR_AUTH, "relayed-unsigned");
		return;
	}
	word = v09_open_body(s, b, true);
	if (word) {
		v09_dropped(s, strcmp(word, "unseal") == 0 ? ERR_AUTH : ERR_MALFORMED, word);
		return;
	}
	if (!signed_by(s, b, ed)) {
		v09_dropped(s, ERR_AUTH, "inner-signature");
		return;
	}
	m->source = *source;
	m->destination = *keyring_id(s->c.keyring);
	m->source_proven = true;
	m->type = b->type;
	m->id = b->id;
	m->created_ms = (uint64_t)(b->time_s * 1000.0 + 0.5);
	m->priority = b->priority;
	m->ttl = b->ttl;
	m->body = buf_bytes(&s->body);
	m->was_sealed = b->has_sealed;
	v09_event(s, &ev);
}

void v09_far_message(struct v09 *s, const struct body *b, const struct node_id *source, bool for_us)
{
	/* Signed for "*", it could be shown to everybody. */
	if (for_us && !bytes_eq(b->destination, own_id(s))) {
		v09_dropped(s, ERR_UNSUPPORTED, "relayed-to-all");
		return;
	}
	if (for_us)
		from_afar(s, b, source);
	else if (may_pass(s, b, source))
		in_transit(s, b, source);
}

/* Receipts of whom we wrote to: signed inside, and named as no user message is. */
static void receipts_from_afar(struct v09 *s, const struct body *b, const struct node_id *source)
{
	uint8_t ed[ED_BYTES];
	enum err e;

	if (!s->c.author_key(s->c.author_ctx, source, ed)) {
		v09_dropped(s, ERR_NOTFOUND, "relayed-unknown");
		return;
	}
	if (b->has_sealed || b->payload64.n > BASE64_LEN(CONTROL_MAX) || v09_open_body(s, b, false)) {
		v09_dropped(s, ERR_MALFORMED, "ack-malformed");
		return;
	}
	if (!names_receipts(b->id) || !signed_by(s, b, ed)) {
		v09_dropped(s, ERR_AUTH, "inner-signature");
		return;
	}
	ack_free(&s->ack);
	free(s->far);
	s->far = calloc(1, sizeof *s->far);
	if (!s->far) {
		v09_dropped(s, ERR_NOMEM, "no-memory");
		return;
	}
	s->far->ack_from = *source;
	e = ack_read(buf_bytes(&s->body), &s->ack);
	if (e != ERR_OK)
		v09_dropped(s, e, "ack-malformed");
}

bool v09_far_control(struct v09 *s, const struct body *b)
{
	struct node_id source, to;
	bool for_us;

	if (!bytes_eq(b->type, BYTES_LIT("ACK")) || node_id_parse(b->source, &source) != ERR_OK ||
	    node_id_parse(b->destination, &to) != ERR_OK)
		return false;
	for_us = node_id_eq(&to, keyring_id(s->c.keyring));
	if (for_us && node_id_eq(&source, &s->peer.id))
		return false;
	if (for_us)
		receipts_from_afar(s, b, &source);
	else if (may_pass(s, b, &source))
		in_transit(s, b, &source);
	return true;
}

/* --- going on ----------------------------------------------------------------------------------------------- */
bool v09_transit_passed(const struct v09_transit *t, const struct node_id *id)
{
	return body_passed(t->body, id);
}

enum err v09_forward_make(const struct v09_transit *t, const struct node_id *self, struct v09_forward *out)
{
	struct v09_forward f = { .time_ms = frame_time_ms(t->body->time_s), .priority = t->body->priority };
	uint8_t hash[HASH_BYTES];

	if (!t->ttl || t->hops >= BODY_HOPS_MAX)
		return ERR_LIMIT;
	buf_init(&f.body, FRAME_ENC_MAX - FRAME_ENC_MIN - 24);
	body_write_on(&f.body, t->body, self, &f.cut);
	if (f.body.err != ERR_OK) {
		enum err e = f.body.err == ERR_NOMEM ? ERR_NOMEM : ERR_LIMIT;

		buf_fini(&f.body);
		return e;
	}
	sha256(t->id, hash);
	memcpy(f.id_hash, hash, sizeof f.id_hash);
	*out = f;
	return ERR_OK;
}

void v09_forward_free(struct v09_forward *f)
{
	buf_fini(&f->body);
}

static enum err may_send(struct v09 *s)
{
	if (s->state != V09_ONLINE)
		return ERR_WRONG_STATE;
	return v09_now(s) < s->pause_until_ms ? ERR_AGAIN : ERR_OK;
}

enum err v09_forward_send(struct session *base, const struct v09_forward *f)
{
	struct v09 *s = (struct v09 *)base;
	struct frame_text t = { .body = buf_bytes(&f->body), .cut = f->cut, .time_ms = f->time_ms, .priority = f->priority,
				.sequence = s->sequence + 1 };
	enum err e = may_send(s);
	uint8_t nonce[24];
	size_t mark;

	if (e != ERR_OK)
		return e;
	if (s->sequence >= REPLAY_SEQUENCE_MAX) {
		v09_over(s, ERR_LIMIT, BLAME_NONE, "sequence-spent");
		return ERR_WRONG_STATE;
	}
	if (!v09_queue_room(s, FRAME_HEADER + FRAME_ENC_MIN + f->body.n + 24 + SIG_BYTES))
		return ERR_FULL;
	memcpy(t.id_hash, f->id_hash, sizeof t.id_hash);
	env_random(s->c.env, nonce, sizeof nonce);
	mark = v09_unit_begin(s);
	e = s->out.err == ERR_OK ? frame_seal_text(&s->out, s->key, s->c.keyring, nonce, &t) : s->out.err;
	v09_unit_end(s, mark, e == ERR_OK);
	if (e == ERR_OK)
		s->sequence++;
	return e;
}

enum err v09_send_through(struct session *base, const struct message *m, const uint8_t *x25519)
{
	struct v09 *s = (struct v09 *)base;
	enum err e = may_send(s);

	if (e == ERR_OK && !m->destination.hex[0])
		e = ERR_MALFORMED;
	return e == ERR_OK ? v09_send_message(s, m, x25519) : e;
}

enum err v09_receipts_through(struct session *base, const struct node_id *to, const struct receipt *r, size_t n, size_t *done)
{
	struct v09 *s = (struct v09 *)base;
	char id[sizeof V09_RECEIPT_ID + 32];
	uint8_t raw[16];
	struct buf b;
	enum err e = may_send(s);

	*done = 0;
	for (size_t i = 0; e == ERR_OK && i < n; i++)
		if (!receipt_valid(&r[i]))
			e = ERR_MALFORMED;
	if (e != ERR_OK || !n)
		return e;
	env_random(s->c.env, raw, sizeof raw);
	memcpy(id, V09_RECEIPT_ID, strlen(V09_RECEIPT_ID));
	hex_encode(BYTES_ARR(raw), id + strlen(V09_RECEIPT_ID));
	buf_init(&b, CONTROL_MAX);
	*done = ack_write(&b, keyring_id(s->c.keyring), r, n);
	e = b.err == ERR_OK ? v09_send_control_to(s, "ACK", to, bytes_str(id), buf_bytes(&b), true) : b.err;
	buf_fini(&b);
	return e;
}
