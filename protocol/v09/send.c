#include "protocol/v09/inner.h"
#include "protocol/v09/session_internal.h"

/* Sets what every frame of ours has in common, signs, encrypts, queues. `sign_inner`: wire 3.6. */
static enum err send_frame(struct v09 *s, struct body_out *o, struct bytes covered, bool sign_inner)
{
	uint8_t sig[SIG_BYTES];
	double wall_s = (double)env_wall(s->c.env) / 1000.0;
	enum err e;

	if (s->sequence > REPLAY_SEQUENCE_MAX) {
		v09_over(s, ERR_LIMIT, BLAME_NONE, "sequence");
		return ERR_WRONG_STATE;
	}
	o->source = bytes_str(keyring_id(s->c.keyring)->hex);
	o->sequence = s->sequence;
	/* Always now, not when the author made it: every receiver on the way refuses frames that
	 * are 30 s old (wire 6.2), and a message may have waited for days. */
	o->time_s = wall_s;
	if (sign_inner) {
		/* Payload and sealed payload may lie in s->scratch, so the signed text has its own.
		 */
		struct buf whole;
		buf_init(&whole, SESSION_UNIT_MAX + 1024);
		e = inner_sign(s->c.keyring,
			       &(struct inner_covered){o->source, o->destination, o->id, covered},
			       &whole, sig);
		buf_fini(&whole);
		if (e != ERR_OK)
			return e;
		o->signature = sig;
	}

	size_t start = unit_begin(s, false);
	size_t at = s->out.n;
	/* One reservation for the whole frame; the writer below then only moves forward. */
	buf_reserve(&s->out, FRAME_OVERHEAD + body_size_max(o));
	if (buf_reserve(&s->out, FRAME_BODY_AT)) {
		s->out.n += FRAME_BODY_AT;
		body_write(&s->out, o);
	}
	if (s->out.err == ERR_OK) {
		struct frame_head h = {
			.flags = o->priority == PRIO_HIGH	? FRAME_HIGH
				 : o->priority == PRIO_CRITICAL ? FRAME_CRITICAL
								: 0,
			.sequence = o->sequence,
			.time_ms = (uint64_t)(wall_s * 1000.0),
			.id = o->id,
		};
		e = frame_seal(s->c.env, s->c.keyring, s->now.key, &h, &s->out, at);
		if (e != ERR_OK)
			s->out.err = e;
	}
	e = unit_end(s, start);
	if (e == ERR_OK)
		s->sequence++;
	return e;
}

bool v09_can_send(const struct v09 *s)
{
	return s->state == V09_ONLINE &&
	       (!s->pause_until_ms || env_now(s->c.env) >= s->pause_until_ms);
}

static bool upper_word(struct bytes type)
{
	if (type.n == 0 || type.n > MSG_TYPE_MAX)
		return false;
	for (size_t i = 0; i < type.n; i++)
		if (!((type.p[i] >= 'A' && type.p[i] <= 'Z') || type.p[i] == '_'))
			return false;
	return true;
}

static bool id_valid(struct bytes id)
{
	return receipt_valid(&(struct receipt){.kind = RECEIPT_DELIVERED, .id = id});
}

/* The sealed copy replaces the clear one towards peers that read it (wire 3.7, "strict"). A peer
 * that confirms is ours: its session is authenticated both ways and the message ends there. */
static bool wants_seal(const struct v09 *s, const struct message *m)
{
	return s->c.seal_direct && !s->peer.confirms && s->peer.version >= VERSION_OF(0, 9) &&
	       type_is_user(m->type) && node_id_eq(&m->destination, &s->peer.id);
}

enum err v09_send(struct v09 *s, const struct message *m)
{
	struct body_out o = {
		.type = m->type,
		.payload = m->body,
		.id = m->id,
		.destination =
			m->destination.hex[0] ? bytes_str(m->destination.hex) : BYTES_LIT("*"),
		.priority = m->priority,
		.ttl = m->ttl ? m->ttl : TTL_APPLICATION,
	};
	uint8_t converted[X25519_BYTES];
	enum err e = ERR_OK;

	if (s->state != V09_ONLINE)
		return ERR_WRONG_STATE;
	if (!v09_can_send(s))
		return ERR_AGAIN;
	if (!upper_word(m->type) || !id_valid(m->id) || (unsigned)m->priority >= PRIO_COUNT)
		return ERR_MALFORMED;
	/* Messages of others are relayed as they came; that is another road. */
	if (m->source.hex[0] && !node_id_eq(&m->source, keyring_id(s->c.keyring)))
		return ERR_UNSUPPORTED;
	if (m->body.n > SESSION_UNIT_MAX)
		return ERR_LIMIT;
	if (wants_seal(s, m)) {
		const uint8_t *x = s->peer.x25519;

		if (!s->peer.has_x25519) {
			e = ed_to_x25519(s->peer.ed, converted);
			x = converted;
		}
		buf_reset(&s->scratch);
		if (e == ERR_OK)
			e = seal_for(s->c.env, x, m->body, &s->scratch);
		if (e != ERR_OK)
			return e;
		o.sealed = buf_bytes(&s->scratch);
		o.payload = BYTES_LIT("");
	}
	/* Exact but for the numbers: what is over it cannot be sent to anybody. */
	if (FRAME_OVERHEAD + BASE64_LEN(o.payload.n) + BASE64_LEN(o.sealed.n) > SESSION_UNIT_MAX)
		return ERR_LIMIT;
	return send_frame(s, &o, m->body, true);
}

static enum err send_session_control(struct v09 *s, const char *type, struct bytes payload,
				     bool sign_inner)
{
	uint8_t raw[16];
	char id[2 * sizeof raw + 1];
	struct body_out o = {
		.type = bytes_str(type),
		.payload = payload,
		.destination = BYTES_LIT("*"),
		.priority = PRIO_NORMAL,
		.ttl = TTL_CONTROL,
	};

	if (s->state != V09_ONLINE)
		return ERR_WRONG_STATE;
	env_random(s->c.env, raw, sizeof raw);
	hex_encode(BYTES_ARR(raw), id);
	o.id = bytes_str(id);
	return send_frame(s, &o, payload, sign_inner);
}

enum err send_control(struct v09 *s, const char *type, struct bytes payload)
{
	return send_session_control(s, type, payload, true);
}

enum err send_plain_control(struct v09 *s, const char *type)
{
	uint8_t text[128];
	struct buf b;

	buf_init(&b, sizeof text);
	control_write(&b, type, keyring_id(s->c.keyring));
	enum err e = b.err;
	if (e == ERR_OK)
		e = send_control(s, type, buf_bytes(&b));
	buf_fini(&b);
	return e;
}

enum err send_ping(struct v09 *s)
{
	enum err e = send_plain_control(s, "PING");

	if (e == ERR_OK) {
		s->pinged = true;
		s->ping_ms = env_now(s->c.env);
	}
	return e;
}

enum err v09_send_receipts(struct v09 *s, const struct receipt *r, size_t n)
{
	struct buf b;
	enum err e = ERR_OK;

	if (s->state != V09_ONLINE)
		return ERR_WRONG_STATE;
	if (!s->peer.confirms)
		return ERR_OK;
	for (size_t i = 0; i < n; i++)
		if (!receipt_valid(&r[i]))
			return ERR_MALFORMED;
	buf_init(&b, CONTROL_MAX + 1024);
	while (n && e == ERR_OK) {
		size_t fits = ack_fits(r, n);

		buf_reset(&b);
		ack_write(&b, keyring_id(s->c.keyring), r, fits);
		e = b.err;
		/* The one frame without an inner signature: an ACK goes to the neighbour and is
		 * never relayed, so the outer signature says everything, and signatures are what a
		 * message costs. */
		if (e == ERR_OK)
			e = send_session_control(s, "ACK", buf_bytes(&b), false);
		r += fits;
		n -= fits;
	}
	buf_fini(&b);
	return e;
}
