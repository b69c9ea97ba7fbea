/*
 * v09_internal.h -- the session of the 0.9 wire, shared by its files:
 *   handshake.c  from the first unit to ONLINE     online.c  frames of an open session
 *   far.c        to and from nodes that are not the peer
 *   rekey.c      new keys inside a session          session.c  queues, timers, the ops table
 */
#ifndef PROTOCOL_V09_V09_INTERNAL_H
#define PROTOCOL_V09_V09_INTERNAL_H

#include "base/limit.h"
#include "protocol/v09/control.h"
#include "protocol/v09/frame.h"
#include "protocol/v09/hello.h"
#include "protocol/v09/replay.h"
#include "protocol/v09/v09.h"

enum v09_state {
	V09_NEW,
	V09_CHALLENGE_SENT, /* listener */
	V09_PROOF_OK,
	V09_DIALLED,        /* dialler */
	V09_PROOF_SENT,
	V09_HELLO_SENT,
	V09_IDENTIFIED,
	V09_ONLINE,
	V09_OVER,
	V09_STATES
};

#define REKEY_GRACE_MS 30000
#define REKEY_ANSWER_MS 15000
#define REKEY_PAUSE_MS 2000
#define REKEY_LOST_MS 60000
#define REKEY_SEEN 16
#define EVENTS_MAX 8
#define WORD_MAX 96
#define OUT_MAX (4u << 20) /* bytes of units that the owner has not taken yet */

/* What only the handshake needs; wiped and freed at ONLINE. */
struct shake {
	uint8_t nonce[NONCE_BYTES];
	char nonce_hex[2 * NONCE_BYTES + 1];
	uint8_t ephemeral_sk[X25519_BYTES], ephemeral[X25519_BYTES];
	uint8_t session_key[SESSION_KEY_BYTES];
	uint16_t server_version; /* of message 1, unauthenticated */
	char *invite;            /* listener: the token of the peer's HELLO; session_peer() lends it */
};

/* A waiting event without its message or item: there is never more than one of those. */
struct waiting {
	enum session_event_type type;
	enum err err;
	enum session_blame blame;
	const char *word;
	uint64_t rtt_ms;
};

struct far_at_hand {
	struct v09_transit t;
	struct body body;        /* borrows `plain` */
	struct node_id ack_from; /* of `ack` */
};

/*
 * Session keys live on the normal heap and are wiped by free: guarded pages would cost 12 KiB a session,
 * more than all the rest of it. The long-term keys are in the keyring's guarded memory.
 */
struct v09 {
	struct session base;
	struct session_config c;
	unsigned state;
	uint64_t deadline_ms; /* of the handshake */
	struct shake *shake;
	struct session_peer peer;

	uint8_t key[SESSION_KEY_BYTES], old_key[SESSION_KEY_BYTES];
	struct replay replay, old_replay;
	uint64_t old_until_ms;  /* 0: no old key */
	uint64_t sequence;      /* last one sent */

	uint8_t rekey_sk[X25519_BYTES];
	char rekey_id[37];
	bool rekey_pending, rekey_never, new_key_seen;
	bool switched; /* at switched_ms, and new_key_seen tells the rest */
	uint64_t rekey_sent_ms, rekey_next_ms; /* next: UINT64_MAX = not by us */
	uint64_t switched_ms, pause_until_ms;
	uint64_t rekey_seen[REKEY_SEEN]; /* hashes of the ephemerals and ids that were used */
	unsigned rekey_seen_n;
	struct bucket rekeys; /* what a peer may ask for */

	uint64_t ping_ms, rate_limited_ms;
	bool rate_limited_once;
	struct bucket pongs;

	struct buf out;         /* queued units: u32 length, u8 text, bytes */
	size_t out_at;
	struct waiting events[EVENTS_MAX];
	unsigned events_n, events_at;
	struct message message; /* of the waiting SESSION_EV_MESSAGE; borrows `plain` and `body` */
	struct bytes item;      /* of the waiting SESSION_EV_CONTROL; borrows `body` */
	struct ack ack;
	struct far_at_hand *far; /* of what is drained now; NULL: it is between us and the peer */
	struct buf plain, body, work; /* of the frame at hand */
	char word[WORD_MAX];    /* cleaned remote text of an event */
};

/* session.c */
void v09_queue_text(struct v09 *s, const struct buf *b);
void v09_event(struct v09 *s, const struct session_event *e);
void v09_over(struct v09 *s, enum err e, enum session_blame blame, const char *word);
void v09_dropped(struct v09 *s, enum err e, const char *word);
void v09_wipe_keys(struct v09 *s);
const char *v09_word(struct v09 *s, struct bytes text); /* a cleaned copy for an event */
uint64_t v09_now(const struct v09 *s);
/* Opens a unit in the queue and closes it; between them append to s->out. Whoever appends less than
 * SESSION_UNIT_MAX asks v09_queue_room() first, to tell a full queue from a body that never fits. */
bool v09_queue_room(const struct v09 *s, size_t n);
size_t v09_unit_begin(struct v09 *s);
void v09_unit_end(struct v09 *s, size_t mark, bool keep);

/* handshake.c */
void v09_shake_start(struct v09 *s);
void v09_shake_take(struct v09 *s, struct bytes unit);
void v09_shake_admit(struct v09 *s);
void v09_shake_free(struct v09 *s);

/* online.c */
void v09_online_take(struct v09 *s, struct bytes unit, bool text);
enum err v09_send_user(struct v09 *s, const struct message *m);
/* A control frame of `type` with `payload`; destination "*" (wire 4.1). */
enum err v09_send_control(struct v09 *s, const char *type, struct bytes payload, bool inner_signature);
/* `o` but for its sequence number becomes the next unit. */
enum err v09_seal(struct v09 *s, struct body_out *o);
/* Form v2 over `clear`, into `sig`, which `o` borrows. */
enum err v09_sign_inner(struct v09 *s, struct body_out *o, struct bytes clear, uint8_t sig[static SIG_BYTES]);
/* `to` NULL: "*". `id` empty: a random one. */
enum err v09_send_control_to(struct v09 *s, const char *type, const struct node_id *to, struct bytes id,
			     struct bytes payload, bool inner_signature);
/* A user message to m->destination, sealed for `x` (NULL: in clear). */
enum err v09_send_message(struct v09 *s, const struct message *m, const uint8_t *x);
/* far.c: frames whose source or destination is not at either end of this session. The second says whether it was one. */
void v09_far_message(struct v09 *s, const struct body *b, const struct node_id *source, bool for_us);
bool v09_far_control(struct v09 *s, const struct body *b);
/* NULL, or why the body does not open. */
const char *v09_open_body(struct v09 *s, const struct body *b, bool for_us);
/* PING, PONG, RATE_LIMITED, GOODBYE. */
enum err v09_send_small(struct v09 *s, const char *type);
enum err v09_send_ping(struct v09 *s);

/* rekey.c */
void v09_rekey_arm(struct v09 *s);
enum err v09_rekey_start(struct v09 *s);
void v09_rekey_take(struct v09 *s, struct bytes payload, bool response);
void v09_rekey_tick(struct v09 *s);
uint64_t v09_rekey_deadline(const struct v09 *s);
/* The keys that may open a frame now; returns how many. */
size_t v09_rekey_keys(struct v09 *s, const uint8_t *keys[static 2]);
void v09_rekey_opened(struct v09 *s, size_t which);
/* A frame that none of our keys opens. */
void v09_rekey_unopened(struct v09 *s, struct bytes enc, const uint8_t sig[static SIG_BYTES]);

#endif
