#include <math.h>

#include "base/secret.h"
#include "protocol/v09/inner.h"
#include "protocol/v09/session_internal.h"

/* A frame that was opened: the body, and which epoch opened it. */
struct opened {
	struct frame f;
	struct body body;
	struct epoch *epoch;
};

static bool is_self(const struct v09 *s, struct bytes id)
{
	return bytes_eq(id, bytes_str(keyring_id(s->c.keyring)->hex));
}

/* Current key, then the previous one in its grace. The MAC is asked before the signature: it
 * refuses garbage for a thirtieth of the price, and both must hold before anything is read. */
static bool open_frame(struct v09 *s, struct opened *in)
{
	const char *word = "open";

	in->epoch = &s->now;
	enum err e = frame_open(&in->f, s->now.key, &s->plain);
	if (e == ERR_AUTH && s->previous && env_now(s->c.env) < s->previous_until_ms) {
		in->epoch = s->previous;
		e = frame_open(&in->f, s->previous->key, &s->plain);
	}
	if (e == ERR_OK && !frame_is_from(&in->f, s->peer.ed)) {
		e = ERR_AUTH;
		word = "signature";
	}
	if (e == ERR_OK)
		return true;
	/* The peer goes on under the key that we left: it never installed ours (wire 6.3). */
	if (e == ERR_AUTH && s->unconfirmed &&
	    env_now(s->c.env) - s->unconfirmed_ms > REKEY_CONFIRM_MS &&
	    frame_is_from(&in->f, s->peer.ed)) {
		v09_over(s, ERR_AUTH, BLAME_NONE, "rekey-desync");
		return false;
	}
	v09_dropped(s, e, word);
	return false;
}

/* Wire 12, weakness 12: the header is authenticated only by its copy in the body. */
static bool header_agrees(const struct v09 *s, const struct opened *in)
{
	double header_ms = (double)in->f.time_ms, body_ms = floor(in->body.time_s * 1000.0);

	if (s->peer.version < VERSION_OF(0, 9))
		return true;
	return in->f.sequence == in->body.sequence && fabs(header_ms - body_ms) <= 1.0;
}

/* Everything that holds for a frame of any type. */
static bool frame_is_fresh(struct v09 *s, struct opened *in)
{
	const char *word;
	enum err e = body_read(s->plain.p, s->plain.n, &in->body);

	if (e != ERR_OK) {
		v09_dropped(s, e, "body");
		return false;
	}
	if (!header_agrees(s, in)) {
		v09_dropped(s, ERR_AUTH, "header");
		return false;
	}
	/* One key serves both directions (wire 12, weakness 14). */
	if (is_self(s, in->body.source)) {
		v09_dropped(s, ERR_AUTH, "own-source");
		return false;
	}
	word = replay_time(in->body.time_s, env_wall(s->c.env), s->c.past_ms, s->c.future_ms);
	if (!word)
		word = replay_accept(&in->epoch->replay, in->f.sequence);
	if (word) {
		v09_dropped(s, ERR_REPLAY, word);
		return false;
	}
	if (in->epoch == &s->now)
		rekey_confirmed(s);
	return true;
}

static bool decode_payload(struct v09 *s, const struct body *b)
{
	buf_reset(&s->payload);
	enum err e = buf_add_base64_decoded(&s->payload, b->payload64);
	if (e != ERR_OK)
		v09_dropped(s, e, "payload");
	return e == ERR_OK;
}

/* The sealed copy replaces the clear one; there is no way back to the clear one (wire 3.7). */
static bool unseal(struct v09 *s, const struct body *b, bool for_us)
{
	buf_reset(&s->scratch);
	buf_reset(&s->payload);
	enum err e = for_us ? buf_add_base64_decoded(&s->scratch, b->sealed64) : ERR_AUTH;
	if (e == ERR_OK)
		e = keyring_open_sealed(s->c.keyring, buf_bytes(&s->scratch), &s->payload);
	if (e != ERR_OK)
		v09_dropped(s, e, "unseal");
	return e == ERR_OK;
}

static void receive_user(struct v09 *s, struct opened *in)
{
	const struct body *b = &in->body;
	struct message m = {
		.type = b->type,
		.id = b->id,
		.created_ms = (uint64_t)(b->time_s * 1000.0 + 0.5),
		.priority = b->priority,
		.ttl = b->ttl,
		.was_sealed = b->has_sealed,
	};
	bool broadcast = b->destination.n == 0 || bytes_eq(b->destination, BYTES_LIT("*"));

	if (node_id_parse(b->source, &m.source) != ERR_OK ||
	    (!broadcast && node_id_parse(b->destination, &m.destination) != ERR_OK)) {
		v09_dropped(s, ERR_MALFORMED, "address");
		return;
	}
	/* We know no key but the neighbour's: what another node wrote cannot be believed here. */
	if (!node_id_eq(&m.source, &s->peer.id)) {
		v09_dropped(s, ERR_UNTRUSTED, "relayed");
		return;
	}
	if (!broadcast && !is_self(s, b->destination)) {
		v09_dropped(s, ERR_UNSUPPORTED, "transit");
		return;
	}
	if (b->compressed) {
		/* Only Reticulum sessions compress (wire 3.8). */
		v09_dropped(s, ERR_UNSUPPORTED, "compressed");
		return;
	}
	if (b->has_sealed ? !unseal(s, b, !broadcast) : !decode_payload(s, b))
		return;
	m.body = buf_bytes(&s->payload);
	/* Absent is fine from the neighbour itself, invalid never is (wire 3.6). */
	if (b->has_signature) {
		struct inner_covered c = {b->source, b->destination, b->id, m.body};

		if (!inner_verify(s->peer.ed, b->tag, s->c.min_version < VERSION_OF(0, 9), &c,
				  &s->scratch, b->signature)) {
			v09_dropped(s, ERR_AUTH, "inner-signature");
			return;
		}
		m.source_proven = true;
	}
	s->message = m;
	v09_event(s, SESSION_EV_MESSAGE);
}

static void receive_ack(struct v09 *s)
{
	if (!s->peer.confirms) {
		v09_word(s, BYTES_LIT("ACK"));
		v09_event(s, SESSION_EV_CONTROL);
		return;
	}
	enum err e = ack_read(buf_bytes(&s->payload), &s->ack);
	if (e != ERR_OK)
		v09_dropped(s, e, "ack");
	else
		v09_event(s, SESSION_EV_RECEIPT);
}

static void receive_ping(struct v09 *s)
{
	if (!bucket_take(&s->pongs, 1.0, env_now(s->c.env))) {
		v09_dropped(s, ERR_LIMIT, "ping-rate");
		return;
	}
	/* A full queue loses a PONG, which nobody may depend on (wire 4.4). */
	if (send_plain_control(s, "PONG") != ERR_OK)
		v09_dropped(s, ERR_FULL, "pong");
}

enum control_type {
	CONTROL_PING,
	CONTROL_PONG,
	CONTROL_ACK,
	CONTROL_GOODBYE,
	CONTROL_RATE_LIMITED,
	CONTROL_KEY_ROTATE,
	CONTROL_REKEY_REQUEST,
	CONTROL_REKEY_RESPONSE,
	CONTROL_OTHER
};

static enum control_type control_type(struct bytes type)
{
	static const char *const names[CONTROL_OTHER] = {
		[CONTROL_PING] = "PING",
		[CONTROL_PONG] = "PONG",
		[CONTROL_ACK] = "ACK",
		[CONTROL_GOODBYE] = "GOODBYE",
		[CONTROL_RATE_LIMITED] = "RATE_LIMITED",
		[CONTROL_KEY_ROTATE] = "KEY_ROTATE",
		[CONTROL_REKEY_REQUEST] = "REKEY_REQUEST",
		[CONTROL_REKEY_RESPONSE] = "REKEY_RESPONSE",
	};
	unsigned i = 0;

	while (i < CONTROL_OTHER && !bytes_eq(type, bytes_str(names[i])))
		i++;
	return (enum control_type)i;
}

static void receive_control(struct v09 *s, struct opened *in)
{
	const struct body *b = &in->body;
	enum control_type type = control_type(b->type);
	uint8_t new_ed[ED_BYTES];

	if (type == CONTROL_OTHER) {
		v09_word(s, b->type);
		v09_event(s, SESSION_EV_CONTROL);
		return;
	}
	/* These steer this session: only its other end may say them, and only to us. */
	if (!bytes_eq(b->source, bytes_str(s->peer.id.hex)) ||
	    !(b->destination.n == 0 || bytes_eq(b->destination, BYTES_LIT("*")) ||
	      is_self(s, b->destination))) {
		v09_dropped(s, ERR_UNTRUSTED, "foreign-control");
		return;
	}
	if (!decode_payload(s, b))
		return;
	switch (type) {
	case CONTROL_PING:
		receive_ping(s);
		break;
	case CONTROL_PONG:
		if (s->pinged) {
			v09_event(s, SESSION_EV_PONG);
		} else {
			v09_word(s, b->type);
			v09_event(s, SESSION_EV_CONTROL);
		}
		break;
	case CONTROL_ACK:
		receive_ack(s);
		break;
	case CONTROL_GOODBYE:
		v09_event(s, SESSION_EV_GOODBYE);
		break;
	case CONTROL_RATE_LIMITED:
		v09_event(s, SESSION_EV_RATE_LIMITED);
		break;
	case CONTROL_KEY_ROTATE:
		if (key_rotate_read(buf_bytes(&s->payload), new_ed) != ERR_OK)
			v09_dropped(s, ERR_MALFORMED, "key-rotate");
		else
			v09_event(s, SESSION_EV_KEY_ROTATE);
		break;
	case CONTROL_REKEY_REQUEST:
	case CONTROL_REKEY_RESPONSE:
		/* Under the previous key it is late or a replay; honest peers are past it. */
		if (in->epoch != &s->now)
			v09_dropped(s, ERR_REPLAY, "rekey-old-key");
		else if (type == CONTROL_REKEY_REQUEST)
			rekey_request(s, buf_bytes(&s->payload));
		else
			rekey_response(s, buf_bytes(&s->payload));
		break;
	case CONTROL_OTHER:
		BUG_ON(true);
	}
}

void receive_frame(struct v09 *s, struct bytes unit)
{
	struct opened in;
	enum err e = frame_parse(unit, &in.f);

	if (e != ERR_OK) {
		v09_dropped(s, e, "frame");
		return;
	}
	if (!open_frame(s, &in) || !frame_is_fresh(s, &in))
		return;
	if (type_is_user(in.body.type))
		receive_user(s, &in);
	else
		receive_control(s, &in);
}
