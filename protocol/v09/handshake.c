/*
 * handshake.c -- both roles of wire 2 as one state machine.
 *
 *   listener  NEW -> CHALLENGE_SENT -> PROOF_OK -> IDENTIFIED -> ONLINE
 *   dialler   NEW -> DIALLED -> PROOF_SENT -> HELLO_SENT -> IDENTIFIED -> ONLINE
 *
 * The listener names itself (its HELLO) only after the owner admitted the peer.
 */
#include <sodium.h>
#include <stdlib.h>

#include "base/sm.h"
#include "protocol/v09/v09_internal.h"

#define TO_OVER SM_TO(V09_OVER)
static const struct sm_row moves[V09_STATES] = {
	[V09_NEW] = { "new", SM_TO(V09_CHALLENGE_SENT) | SM_TO(V09_DIALLED) | TO_OVER },
	[V09_CHALLENGE_SENT] = { "challenge-sent", SM_TO(V09_PROOF_OK) | TO_OVER },
	[V09_PROOF_OK] = { "proof-ok", SM_TO(V09_IDENTIFIED) | TO_OVER },
	[V09_DIALLED] = { "dialled", SM_TO(V09_PROOF_SENT) | TO_OVER },
	[V09_PROOF_SENT] = { "proof-sent", SM_TO(V09_HELLO_SENT) | TO_OVER },
	[V09_HELLO_SENT] = { "hello-sent", SM_TO(V09_IDENTIFIED) | TO_OVER },
	[V09_IDENTIFIED] = { "identified", SM_TO(V09_ONLINE) | TO_OVER },
	[V09_ONLINE] = { "online", TO_OVER },
	[V09_OVER] = { "over", 0 },
};

static void move(struct v09 *s, enum v09_state to)
{
	sm_move(moves, &s->state, to);
}

void v09_shake_free(struct v09 *s)
{
	if (!s->shake)
		return;
	s->peer.invite = NULL;
	if (s->shake->invite)
		wipe(s->shake->invite, strlen(s->shake->invite));
	free(s->shake->invite);
	wipe(s->shake, sizeof *s->shake);
	free(s->shake);
	s->shake = NULL;
}

void v09_over(struct v09 *s, enum err e, enum session_blame blame, const char *word)
{
	struct session_event ev = { .type = SESSION_EV_OVER, .err = e, .blame = blame, .word = word };

	if (s->state == V09_OVER)
		return;
	move(s, V09_OVER);
	v09_wipe_keys(s);
	v09_event(s, &ev);
}

/* Not before the passphrase was proven: strangers cost no curve operation. */
static void make_ephemeral(struct v09 *s)
{
	env_random(s->c.env, s->shake->ephemeral_sk, X25519_BYTES);
	crypto_scalarmult_base(s->shake->ephemeral, s->shake->ephemeral_sk);
}

/* Queueing a text may end the session for want of memory; then there is nowhere to move. */
static void queue_and_move(struct v09 *s, const struct buf *b, enum v09_state to)
{
	v09_queue_text(s, b);
	if (s->state != V09_OVER)
		move(s, to);
}

void v09_shake_start(struct v09 *s)
{
	struct buf b;

	s->deadline_ms = v09_now(s) + s->c.handshake_ms;
	s->shake = calloc(1, sizeof *s->shake);
	if (!s->shake) {
		v09_over(s, ERR_NOMEM, BLAME_NONE, "no-memory");
		return;
	}
	if (s->c.role == SESSION_DIALLER) {
		move(s, V09_DIALLED);
		return;
	}
	do /* a palindrome would let us be impersonated (wire 12, weakness 3); chance 2^-128 */
		env_random(s->c.env, s->shake->nonce, NONCE_BYTES);
	while (nonce_is_palindrome(s->shake->nonce));
	hex_encode(bytes_of(s->shake->nonce, NONCE_BYTES), s->shake->nonce_hex);
	buf_init(&b, SESSION_HANDSHAKE_UNIT_MAX);
	challenge_write(&b, keyring_id(s->c.keyring), s->shake->nonce, s->c.offer_im2);
	queue_and_move(s, &b, V09_CHALLENGE_SENT);
	buf_fini(&b);
}

static bool type_is(struct bytes type, const char *word)
{
	return bytes_eq(type, bytes_str(word));
}

/* --- listener ------------------------------------------------------------------------------------ */
static void take_proof(struct v09 *s, const json_t *o, struct bytes type, struct buf *b)
{
	char expected[PROOF_HEX + 1], text[160], shown[48];
	const struct node_id *self = keyring_id(s->c.keyring);

	if (!type_is(type, "PASSPHRASE_CHALLENGE")) {
		snprintf(text, sizeof text, "Expected PASSPHRASE_CHALLENGE, got %s",
			 text_safe(type, shown, sizeof shown));
		rejected_write(b, self, text);
		v09_queue_text(s, b);
		v09_over(s, ERR_MALFORMED, BLAME_GARBAGE, "not-a-proof");
		return;
	}
	proof_of_client(s->c.passphrase, s->shake->nonce, expected);
	if (!proof_matches(o, "proof", expected)) {
		rejected_write(b, self, "Wrong passphrase");
		v09_queue_text(s, b);
		v09_over(s, ERR_AUTH, BLAME_AUTH, "wrong-passphrase");
		goto out;
	}
	proof_of_server(s->c.passphrase, s->shake->nonce, expected);
	verified_write(b, self, expected);
	queue_and_move(s, b, V09_PROOF_OK);
out:
	wipe(expected, sizeof expected);
}

static void take_hello(struct v09 *s, const json_t *o, struct buf *b)
{
	bool listener = s->c.role == SESSION_LISTENER;
	struct hello h;
	enum hello_verdict v = hello_read(o, s->shake->nonce_hex, !listener, &h);

	if (v != HELLO_ACCEPTED) {
		const struct hello_refusal *r = hello_refusal(v);

		if (listener && r->error) {
			error_write(b, r->error, r->code);
			v09_queue_text(s, b);
		}
		v09_over(s, r->err, r->blame, r->word);
		return;
	}
	if (node_id_eq(&h.id, keyring_id(s->c.keyring))) {
		v09_over(s, ERR_SELF, BLAME_NONE, "own-identity");
		return;
	}
	if (h.version < s->c.min_version) {
		v09_over(s, ERR_VERSION, BLAME_NONE, "version-below-minimum");
		return;
	}
	if (listener)
		make_ephemeral(s);
	if (session_key_of(s->shake->ephemeral_sk, h.ephemeral, s->shake->session_key) != ERR_OK) {
		v09_over(s, ERR_AUTH, BLAME_AUTH, "low-order-ephemeral");
		return;
	}
	wipe(s->shake->ephemeral_sk, sizeof s->shake->ephemeral_sk);
	s->peer.id = h.id;
	memcpy(s->peer.ed, h.ed, ED_BYTES);
	memcpy(s->peer.name, h.name, sizeof s->peer.name);
	s->peer.version = h.version;
	memcpy(s->peer.x25519, h.x25519, X25519_BYTES);
	s->peer.has_x25519 = h.has_x25519;
	s->peer.confirms = h.acks && h.version >= VERSION_OF(0, 9);
	s->peer.generation = "0.9";
	s->peer.marked = h.marked;
	if (listener && h.has_invite) {
		s->shake->invite = calloc(1, h.invite.n + 1);
		if (!s->shake->invite) {
			v09_over(s, ERR_NOMEM, BLAME_NONE, "no-memory");
			return;
		}
		if (h.invite.n)
			memcpy(s->shake->invite, h.invite.p, h.invite.n);
		s->peer.invite = s->shake->invite;
	}
	move(s, V09_IDENTIFIED);
	v09_event(s, &(struct session_event){ .type = SESSION_EV_IDENTIFIED });
}

/* The scheme follows the version that the other side showed us: message 1 for the dialler, the
 * client's HELLO for the listener (wire 2.6.2). We always declare 0.9, with the mark of im2 towards
 * whoever declared as much (im2.md 4.4). */
static void queue_hello(struct v09 *s, uint16_t their_version, struct buf *b)
{
	struct hello_offer offer = {
		.keyring = s->c.keyring,
		.name = s->c.name,
		.version = s->c.mark_im2 && their_version >= VERSION_OF(0, 9) ? V09_MARKED_TEXT :
										V09_VERSION_TEXT,
		.binding_hex = s->shake->nonce_hex,
		.ephemeral = s->shake->ephemeral,
		.scheme = hello_scheme_for(their_version),
		.acks = true,
		.invite = s->c.role == SESSION_DIALLER ? s->c.invite : NULL,
	};

	buf_reset(b);
	hello_write(b, &offer);
	if (b->err != ERR_OK)
		v09_over(s, ERR_NOMEM, BLAME_NONE, "no-memory");
	else
		v09_queue_text(s, b);
}

void v09_shake_admit(struct v09 *s)
{
	struct buf b;

	if (s->state != V09_IDENTIFIED)
		return;
	if (s->c.role == SESSION_LISTENER) {
		buf_init(&b, SESSION_HANDSHAKE_UNIT_MAX);
		queue_hello(s, s->peer.version, &b);
		buf_fini(&b);
		if (s->state == V09_OVER)
			return;
	}
	memcpy(s->key, s->shake->session_key, SESSION_KEY_BYTES);
	v09_shake_free(s);
	replay_reset(&s->replay);
	s->sequence = 0;
	move(s, V09_ONLINE);
	s->deadline_ms = UINT64_MAX;
	v09_rekey_arm(s);
	v09_event(s, &(struct session_event){ .type = SESSION_EV_ONLINE });
}

/* --- dialler ------------------------------------------------------------------------------------- */
static bool remote_refusal(struct v09 *s, const json_t *o, struct bytes type)
{
	const json_t *text = json_object_get(o, "error");

	if (!type_is(type, "RATE_LIMITED") && !type_is(type, "PASSPHRASE_REJECTED") && !type_is(type, "ERROR"))
		return false;
	v09_over(s,
		 type_is(type, "RATE_LIMITED") ? ERR_AGAIN :
		 type_is(type, "ERROR")	       ? ERR_DENIED :
						 ERR_AUTH,
		 BLAME_REMOTE,
		 v09_word(s, json_is_string(text) ? bytes_of(json_string_value(text), json_string_length(text)) :
						    type));
	return true;
}

static void take_challenge(struct v09 *s, const json_t *o, struct bytes type, struct buf *b)
{
	const struct node_id *self = keyring_id(s->c.keyring);
	struct challenge c;
	char proof[PROOF_HEX + 1];

	if (type_is(type, "SKIP_OFFER")) {
		v09_over(s, ERR_UNSUPPORTED, BLAME_GARBAGE, "skip-offer");
		return;
	}
	if (!type_is(type, "PASSPHRASE_CHALLENGE") || challenge_read(o, &c) != ERR_OK) {
		v09_over(s, ERR_MALFORMED, BLAME_GARBAGE, "not-a-challenge");
		return;
	}
	if (nonce_is_palindrome(c.nonce)) {
		v09_over(s, ERR_AUTH, BLAME_AUTH, "palindromic-nonce");
		return;
	}
	if (c.from.hex[0] && node_id_eq(&c.from, self)) {
		v09_over(s, ERR_SELF, BLAME_NONE, "own-identity");
		return;
	}
	memcpy(s->shake->nonce, c.nonce, NONCE_BYTES);
	hex_encode(bytes_of(c.nonce, NONCE_BYTES), s->shake->nonce_hex);
	s->shake->server_version = c.version;
	proof_of_client(s->c.passphrase, c.nonce, proof);
	proof_write(b, self, proof);
	wipe(proof, sizeof proof);
	queue_and_move(s, b, V09_PROOF_SENT);
}

static void take_verified(struct v09 *s, const json_t *o, struct bytes type, struct buf *b)
{
	char expected[PROOF_HEX + 1];

	if (!type_is(type, "PASSPHRASE_VERIFIED")) {
		v09_over(s, ERR_MALFORMED, BLAME_GARBAGE, "not-verified");
		return;
	}
	/* Required, though the old software skips it (wire 12, weakness 4). It differs from our own
	 * proof because the nonce is no palindrome. */
	proof_of_server(s->c.passphrase, s->shake->nonce, expected);
	bool ok = proof_matches(o, "server_proof", expected);
	wipe(expected, sizeof expected);
	if (!ok) {
		v09_over(s, ERR_AUTH, BLAME_AUTH, "server-proof");
		return;
	}
	make_ephemeral(s);
	queue_hello(s, s->shake->server_version, b);
	if (s->state != V09_OVER)
		move(s, V09_HELLO_SENT);
}

void v09_shake_take(struct v09 *s, struct bytes unit)
{
	struct bytes type;
	struct buf b;
	json_t *o;
	enum err e;

	if (s->state == V09_IDENTIFIED && s->c.role == SESSION_DIALLER) {
		/* The server may speak as soon as its HELLO is out. What we cannot judge yet is lost,
		 * and a sender that waits for a receipt sends it again. */
		v09_dropped(s, ERR_WRONG_STATE, "not-admitted");
		return;
	}
	e = unit_parse(unit, &o, &type);
	if (e != ERR_OK) {
		v09_over(s, e, BLAME_GARBAGE, e == ERR_LIMIT ? "handshake-too-large" : "not-handshake-json");
		return;
	}
	buf_init(&b, SESSION_HANDSHAKE_UNIT_MAX);
	if (s->c.role == SESSION_DIALLER && remote_refusal(s, o, type))
		goto out;
	switch (s->state) {
	case V09_CHALLENGE_SENT:
		take_proof(s, o, type, &b);
		break;
	case V09_PROOF_OK:
	case V09_HELLO_SENT:
		take_hello(s, o, &b);
		break;
	case V09_DIALLED:
		take_challenge(s, o, type, &b);
		break;
	case V09_PROOF_SENT:
		take_verified(s, o, type, &b);
		break;
	default:
		v09_over(s, ERR_WRONG_STATE, BLAME_GARBAGE, "unexpected-handshake-unit");
	}
out:
	buf_fini(&b);
	json_decref(o);
}
