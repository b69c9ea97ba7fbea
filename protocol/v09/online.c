/*
 * online.c -- frames of an open session: the receive pipeline of wire 3.10 with its hardenings, and
 * what we send.
 */
#include "protocol/v09/route.h"
#include "protocol/v09/v09_internal.h"

static bool v1_allowed(const struct v09 *s)
{
	return s->c.min_version < VERSION_OF(0, 9);
}

/* --- receiving ------------------------------------------------------------------------------------ */
/* The body is authenticated, the header is not: for peers whose software writes both from the same
 * variables they must agree (wire 12, weakness 12). Older ones may leave the sequence out of the body; when
 * they have written one, it counts, so that nobody raises it on the way. */
static bool header_agrees(const struct v09 *s, const struct frame_head *h, const struct body *b)
{
	uint64_t t = frame_time_ms(b->time_s);

	if (s->peer.version < VERSION_OF(0, 9))
		return !b->sequence || h->sequence == b->sequence;
	return h->sequence == b->sequence && (h->time_ms > t ? h->time_ms - t : t - h->time_ms) <= 1;
}

/* The clear body of a user message: sealed wins over the copy beside it (wire 3.7). */
const char *v09_open_body(struct v09 *s, const struct body *b, bool for_us)
{
	enum err e;

	buf_reset(&s->body);
	if (!b->has_sealed || !for_us) {
		if (b->payload64.n && buf_add_base64_decoded(&s->body, b->payload64) != ERR_OK)
			return "payload-base64";
		return NULL;
	}
	buf_reset(&s->work);
	if (buf_add_base64_decoded(&s->work, b->sealed64) != ERR_OK)
		return "sealed-base64";
	e = keyring_open_sealed(s->c.keyring, buf_bytes(&s->work), &s->body);
	return e == ERR_OK ? NULL : "unseal";
}

static void take_user(struct v09 *s, const struct body *b)
{
	struct session_event ev = { .type = SESSION_EV_MESSAGE };
	struct message *m = &ev.message;
	const char *word;
	bool for_us;

	if (node_id_parse(b->source, &m->source) != ERR_OK) {
		v09_dropped(s, ERR_MALFORMED, "source");
		return;
	}
	if (!s->c.author_key && !node_id_eq(&m->source, &s->peer.id)) {
		v09_dropped(s, ERR_UNSUPPORTED, "relayed");
		return;
	}
	if (!bytes_eq(b->destination, BYTES_LIT("*")) && b->destination.n &&
	    node_id_parse(b->destination, &m->destination) != ERR_OK) {
		v09_dropped(s, ERR_MALFORMED, "destination");
		return;
	}
	for_us = !m->destination.hex[0] || node_id_eq(&m->destination, keyring_id(s->c.keyring));
	if (s->c.author_key && (!for_us || !node_id_eq(&m->source, &s->peer.id))) {
		v09_far_message(s, b, &m->source, for_us);
		return;
	}
	if (b->compressed) {
		v09_dropped(s, ERR_UNSUPPORTED, "compressed");
		return;
	}
	word = v09_open_body(s, b, for_us);
	if (word) {
		v09_dropped(s, strcmp(word, "unseal") == 0 ? ERR_AUTH : ERR_MALFORMED, word);
		return;
	}
	if (b->has_signature) {
		struct inner_covered c = { .source = b->source, .destination = b->destination, .id = b->id,
					   .payload = buf_bytes(&s->body) };

		if (!inner_verify(s->peer.ed, b->tag, v1_allowed(s), &c, &s->work, b->signature)) {
			v09_dropped(s, ERR_AUTH, "inner-signature");
			return;
		}
		m->source_proven = true;
	}
	m->type = b->type;
	m->id = b->id;
	/* Rounded: 0.1 + 0.2 in double must not move the author's millisecond. */
	m->created_ms = (uint64_t)(b->time_s * 1000.0 + 0.5);
	m->priority = b->priority;
	m->ttl = b->ttl;
	m->body = buf_bytes(&s->body);
	m->was_sealed = b->has_sealed && for_us;
	v09_event(s, &ev);
}

static bool type_is(const struct body *b, const char *word)
{
	return bytes_eq(b->type, bytes_str(word));
}

/* Types that steer this session. All others are only counted. */
static bool steers(const struct body *b)
{
	static const char *const words[] = { "PING", "PONG", "ACK", "GOODBYE", "RATE_LIMITED",
					     "KEY_ROTATE", "REKEY_REQUEST", "REKEY_RESPONSE" };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (type_is(b, words[i]))
			return true;
	return false;
}

/* Types whose payload is for the owner: what the neighbour itself states, or passes on signed by others (wire 4.2). */
static bool between_daemons(const struct body *b)
{
	static const char *const words[] = { "ROUTE_ANNOUNCE", "ROUTE_UNREACHABLE", "CAPABILITY_ANNOUNCE", "REVOCATION" };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (type_is(b, words[i]))
			return true;
	return false;
}

static void take_control(struct v09 *s, const struct body *b, bool new_key)
{
	struct session_event ev = { .type = SESSION_EV_CONTROL };
	enum err e;

	if (!steers(b) && !between_daemons(b)) {
		ev.word = v09_word(s, b->type);
		v09_event(s, &ev);
		return;
	}
	if (s->c.author_key && v09_far_control(s, b))
		return;
	if (!bytes_eq(b->source, bytes_of(s->peer.id.hex, NODE_ID_LEN))) {
		v09_dropped(s, ERR_AUTH, "control-source");
		return;
	}
	buf_reset(&s->body);
	if (b->payload64.n > BASE64_LEN((size_t)(type_is(b, "ROUTE_ANNOUNCE") ? ROUTE09_PAYLOAD_MAX : CONTROL_MAX))) {
		v09_dropped(s, ERR_LIMIT, "control-too-large");
		return;
	}
	if (b->payload64.n && buf_add_base64_decoded(&s->body, b->payload64) != ERR_OK) {
		v09_dropped(s, ERR_MALFORMED, "payload-base64");
		return;
	}
	if (type_is(b, "PING")) {
		if (!bucket_take(&s->pongs, 1, v09_now(s)))
			v09_dropped(s, ERR_LIMIT, "ping-rate");
		/* A PONG that finds no room has no consequence (wire 4.4). */
		else if ((e = v09_send_small(s, "PONG")) != ERR_OK)
			v09_dropped(s, e, "pong");
		return;
	}
	if (type_is(b, "PONG") && s->ping_ms) {
		ev.type = SESSION_EV_PONG;
		ev.rtt_ms = v09_now(s) + 1 - s->ping_ms;
		s->ping_ms = 0;
	} else if (type_is(b, "REKEY_REQUEST") || type_is(b, "REKEY_RESPONSE")) {
		/* Under the old key it is late or a replay; honest peers are past it. */
		if (!new_key) {
			v09_dropped(s, ERR_REPLAY, "rekey-old-key");
			return;
		}
		v09_rekey_take(s, buf_bytes(&s->body), type_is(b, "REKEY_RESPONSE"));
		return;
	} else if (type_is(b, "ACK") && s->peer.confirms) {
		ack_free(&s->ack);
		e = ack_read(buf_bytes(&s->body), &s->ack);
		if (e != ERR_OK)
			v09_dropped(s, e, "ack-malformed");
		return;
	} else if (type_is(b, "GOODBYE")) {
		ev.type = SESSION_EV_GOODBYE;
	} else if (type_is(b, "RATE_LIMITED")) {
		ev.type = SESSION_EV_RATE_LIMITED;
	} else if (type_is(b, "KEY_ROTATE")) {
		ev.type = SESSION_EV_KEY_ROTATE;
	} else {
		ev.word = v09_word(s, b->type);
		ev.item = buf_bytes(&s->body);
	}
	v09_event(s, &ev);
}

void v09_online_take(struct v09 *s, struct bytes unit, bool text)
{
	const uint8_t *keys[2], *sig;
	const char *word = NULL;
	struct frame_head head;
	struct bytes enc;
	struct body b;
	size_t which = 0, n_keys;
	enum err e;

	/* The old JSON form carries its metadata unauthenticated: never (wire 12, weakness 13). */
	if (text || unit.n < FRAME_HEADER || unit.p[0] != 0xe7 || unit.p[1] != 0xf6) {
		v09_dropped(s, ERR_UNSUPPORTED, "not-a-frame");
		return;
	}
	e = frame_shape(unit, &head, &enc, &sig);
	if (e != ERR_OK) {
		v09_dropped(s, e, "frame-shape");
		return;
	}
	n_keys = v09_rekey_keys(s, keys);
	e = frame_open(enc, keys, n_keys, s->peer.ed, sig, &s->plain, &which, &word);
	if (e != ERR_OK) {
		v09_dropped(s, e, word);
		if (s->state == V09_ONLINE && e == ERR_AUTH)
			v09_rekey_unopened(s, enc, sig);
		return;
	}
	e = body_read(s->plain.p, s->plain.n, &b);
	if (e != ERR_OK) {
		v09_dropped(s, e, "body");
		return;
	}
	if (!header_agrees(s, &head, &b)) {
		v09_dropped(s, ERR_AUTH, "header-differs");
		return;
	}
	/* Ours that other nodes sent round has passed some; with none it is a reflection. The outer signature is the peer's. */
	if (bytes_eq(b.source, bytes_of(keyring_id(s->c.keyring)->hex, NODE_ID_LEN)) &&
	    !(s->c.author_key && b.hops && type_is_user(b.type))) {
		v09_dropped(s, ERR_AUTH, "own-source"); /* our own frame, reflected */
		return;
	}
	word = replay_time(b.time_s, env_wall(s->c.env), s->c.past_ms, s->c.future_ms);
	if (!word)
		word = replay_accept(which == 0 ? &s->replay : &s->old_replay, head.sequence);
	if (word) {
		v09_dropped(s, ERR_REPLAY, word);
		return;
	}
	v09_rekey_opened(s, which);
	if (type_is_user(b.type))
		take_user(s, &b);
	else
		take_control(s, &b, which == 0);
}

/* --- sending -------------------------------------------------------------------------------------- */
enum err v09_seal(struct v09 *s, struct body_out *o)
{
	uint8_t nonce[24];
	size_t mark;
	enum err e;

	if (s->sequence >= REPLAY_SEQUENCE_MAX) {
		v09_over(s, ERR_LIMIT, BLAME_NONE, "sequence-spent");
		return ERR_WRONG_STATE;
	}
	/* Exact but for the text around: over it, no peer could ever take it. */
	size_t n = FRAME_HEADER + FRAME_ENC_MIN + body_size_max(o) + SIG_BYTES;
	if (BASE64_LEN(o->payload.n) + BASE64_LEN(o->sealed.n) > SESSION_UNIT_MAX)
		return ERR_LIMIT;
	if (!v09_queue_room(s, n))
		return ERR_FULL;
	env_random(s->c.env, nonce, sizeof nonce);
	o->sequence = s->sequence + 1;
	mark = v09_unit_begin(s);
	e = s->out.err == ERR_OK ? frame_seal(&s->out, s->key, s->c.keyring, nonce, o) : s->out.err;
	v09_unit_end(s, mark, e == ERR_OK);
	if (e == ERR_OK)
		s->sequence++;
	return e;
}

enum err v09_sign_inner(struct v09 *s, struct body_out *o, struct bytes clear, uint8_t sig[static SIG_BYTES])
{
	struct inner_covered c = { .source = o->source, .destination = o->destination, .id = o->id,
				   .payload = clear };
	enum err e = inner_sign(s->c.keyring, &c, &s->work, sig);

	o->signature = sig;
	return e;
}

/* 0.9 has no words for the kinds that im2 adds. Unknown ones are taken for control frames, which nobody confirms:
 * as plain messages they arrive. */
static struct bytes wire_type(const struct message *m)
{
	uint8_t kind;

	return !type_is_user(m->type) && message_kind_of(m->type, &kind) == ERR_OK ? BYTES_LIT("MSG") : m->type;
}

/* Old peers of 0.9 replace the clear payload by the sealed one and seal their own direct sends; towards our
 * own daemons a direct session is end to end already, and sealing would only cost. */
static bool wants_seal(const struct v09 *s, const struct message *m)
{
	return s->c.seal_direct && s->peer.version >= VERSION_OF(0, 9) && !s->peer.confirms &&
	       type_is_user(wire_type(m)) && node_id_eq(&m->destination, &s->peer.id);
}

static bool type_valid(struct bytes type)
{
	if (type.n == 0 || type.n > MSG_TYPE_MAX)
		return false;
	for (size_t i = 0; i < type.n; i++)
		if (!(type.p[i] >= 'A' && type.p[i] <= 'Z') && type.p[i] != '_')
			return false;
	return true;
}

enum err v09_send_user(struct v09 *s, const struct message *m)
{
	uint8_t x[X25519_BYTES];
	enum err e;

	if (!wants_seal(s, m))
		return v09_send_message(s, m, NULL);
	if (s->peer.has_x25519)
		memcpy(x, s->peer.x25519, sizeof x);
	else if ((e = ed_to_x25519(s->peer.ed, x)) != ERR_OK)
		return e;
	return v09_send_message(s, m, x);
}

enum err v09_send_message(struct v09 *s, const struct message *m, const uint8_t *x)
{
	const struct node_id *self = keyring_id(s->c.keyring);
	uint8_t sig[SIG_BYTES];
	struct body_out o = {
		.type = wire_type(m),
		.payload = m->body,
		.id = m->id,
		.source = bytes_of(self->hex, NODE_ID_LEN),
		.destination = m->destination.hex[0] ? bytes_of(m->destination.hex, NODE_ID_LEN) : BYTES_LIT("*"),
		.time_s = (double)m->created_ms / 1000.0,
		.priority = m->priority,
		.ttl = m->ttl,
	};
	enum err e;

	if (!type_valid(o.type) || !msg_id_valid(m->id) || (unsigned)m->priority >= PRIO_COUNT)
		return ERR_MALFORMED;
	/* What another node wrote is relayed as it came, which is another road than this. */
	if (m->source.hex[0] && !node_id_eq(&m->source, self))
		return ERR_UNSUPPORTED;
	/* Before the signature is paid for. */
	if (m->body.n > FRAME_ENC_MAX || BASE64_LEN(m->body.n) > SESSION_UNIT_MAX)
		return ERR_LIMIT;
	e = v09_sign_inner(s, &o, m->body, sig);
	if (e != ERR_OK)
		return e;
	if (x) {
		buf_reset(&s->work);
		e = seal_for(s->c.env, x, m->body, &s->work);
		if (e != ERR_OK)
			return e;
		o.sealed = buf_bytes(&s->work);
		o.payload = (struct bytes){ 0 };
	}
	e = v09_seal(s, &o);
	buf_reset(&s->work);
	buf_trim(&s->work, 0);
	return e;
}

enum err v09_send_control_to(struct v09 *s, const char *type, const struct node_id *to, struct bytes id,
			     struct bytes payload, bool inner_signature)
{
	const struct node_id *self = keyring_id(s->c.keyring);
	uint8_t sig[SIG_BYTES], r[16];
	char drawn[33];
	struct body_out o = {
		.type = bytes_str(type),
		.payload = payload,
		.source = bytes_of(self->hex, NODE_ID_LEN),
		.destination = to ? bytes_of(to->hex, NODE_ID_LEN) : BYTES_LIT("*"),
		.time_s = (double)env_wall(s->c.env) / 1000.0,
		.priority = PRIO_NORMAL,
		.ttl = TTL_CONTROL,
	};
	enum err e = ERR_OK;

	env_random(s->c.env, r, sizeof r);
	hex_encode(BYTES_ARR(r), drawn);
	o.id = id.n ? id : bytes_str(drawn);
	if (inner_signature) {
		/* s->work may hold what is being read; control payloads are small. */
		struct buf scratch;
		struct inner_covered c = { .source = o.source, .destination = o.destination, .id = o.id,
					   .payload = payload };

		buf_init(&scratch, CONTROL_MAX + 1024);
		e = inner_sign(s->c.keyring, &c, &scratch, sig);
		buf_fini(&scratch);
		o.signature = sig;
	}
	return e == ERR_OK ? v09_seal(s, &o) : e;
}

enum err v09_send_control(struct v09 *s, const char *type, struct bytes payload, bool inner_signature)
{
	return v09_send_control_to(s, type, NULL, (struct bytes){ 0 }, payload, inner_signature);
}

enum err v09_control(struct session *base, const char *type, const struct node_id *to, struct bytes payload)
{
	struct v09 *s = (struct v09 *)base;

	if (!session_online(base) || s->state != V09_ONLINE)
		return ERR_WRONG_STATE;
	if (payload.n > CONTROL_MAX)
		return ERR_LIMIT;
	return v09_send_control_to(s, type, to, (struct bytes){ 0 }, payload, true);
}
