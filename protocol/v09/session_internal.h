/*
 * session_internal.h -- the inside of a 0.9 session, shared by the files of this folder.
 *
 *	session.c    life: queues, events, timers
 *	handshake.c  both roles up to ONLINE
 *	send.c       one frame out
 *	receive.c    one frame in, from bytes to an event
 *	rekey.c      a new session key inside the session
 *
 * An idle session is this struct and nothing else: what the handshake, a rekey or a frame needs is
 * allocated when it begins and given back when the owner has drained the queues.
 */
#ifndef PROTOCOL_V09_SESSION_INTERNAL_H
#define PROTOCOL_V09_SESSION_INTERNAL_H

#include "base/limit.h"
#include "base/sm.h"
#include "protocol/v09/body.h"
#include "protocol/v09/control.h"
#include "protocol/v09/frame.h"
#include "protocol/v09/hello.h"
#include "protocol/v09/proof.h"
#include "protocol/v09/replay.h"
#include "protocol/v09/v09.h"

#define EVENTS_MAX 16
#define OUT_MAX (4u << 20)        /* bytes of units that the owner has not taken yet */
#define REKEY_GRACE_MS 30000      /* the previous key still opens (wire 6.3) */
#define REKEY_ANSWER_MS 15000
#define REKEY_PAUSE_MS 2000
#define REKEY_CONFIRM_MS 60000
#define REKEY_SEEN 16

enum v09_state {
	V09_NEW,
	V09_CHALLENGE_SENT, /* listener */
	V09_PROOF_OK,
	V09_DIALLED, /* dialler */
	V09_PROOF_SENT,
	V09_HELLO_SENT,
	V09_IDENTIFIED, /* both: the owner decides */
	V09_ONLINE,
	V09_OVER
};

/* What a handshake needs; freed, wiped, when it ends. */
struct handshake {
	uint8_t nonce[NONCE_BYTES];
	char nonce_hex[2 * NONCE_BYTES + 1];
	char proof_hex[PROOF_HEX + 1]; /* dialler: our own, which the server must not echo */
	uint8_t secret[X25519_BYTES], public[X25519_BYTES]; /* our ephemeral pair */
	enum hello_scheme scheme; /* of our own HELLO */
};

/*
 * A session key and what was seen under it. On the ordinary heap: guarded pages cost 12 KiB and
 * more for each session, against 200 bytes here. The copies are wiped when the key is retired and
 * when the session ends.
 */
struct epoch {
	uint8_t key[SESSION_KEY_BYTES];
	struct replay replay;
};

/* Allocated by the first rekey. */
struct rekey {
	bool pending; /* we asked; `secret` and `id` are set */
	uint8_t secret[X25519_BYTES];
	char id[REKEY_ID_MAX + 1];
	uint64_t answer_by_ms;
	struct bucket requests;
	uint64_t seen[REKEY_SEEN]; /* hashes of ids and ephemerals that were used */
	unsigned seen_at;
};

struct event {
	enum session_event_type type;
	enum err err;
	enum session_blame blame;
	const char *word;
	uint64_t rtt_ms;
};

struct v09 {
	struct session base; /* first */
	struct session_config c;
	unsigned state; /* enum v09_state */
	struct session_peer peer;
	struct handshake *hs;
	uint64_t handshake_by_ms;

	struct epoch now;
	struct epoch *previous; /* in its grace period */
	uint64_t previous_until_ms;
	uint64_t sequence; /* of the next frame out */

	struct rekey *rekey;
	uint64_t rekey_due_ms;     /* UINT64_MAX: we do not initiate */
	uint64_t pause_until_ms;   /* 0: not paused */
	uint64_t unconfirmed_ms;   /* since when nothing was seen under the new key */
	bool unconfirmed;

	uint64_t ping_ms; /* when the unanswered PING went out */
	uint64_t rate_limited_ms;
	bool pinged, rate_limited_once;
	struct bucket pongs;

	/* Units: u32 length, u8 text, bytes. Cleared when drained. */
	struct buf out;
	size_t out_at;

	struct event events[EVENTS_MAX];
	unsigned event_first, event_count;
	struct message message; /* of the one MESSAGE event that can be waiting */
	struct ack ack;         /* of the one RECEIPT run that can be waiting */
	char text[128];         /* a word that came from outside, cleaned */

	struct buf plain;   /* decrypted body */
	struct buf payload; /* decoded payload */
	struct buf scratch; /* sealed payload; what a signature covers */
};

/* --- session.c --- */
void v09_move(struct v09 *s, enum v09_state to);
/* Ends the session: OVER event, secrets wiped. The units that wait may still be taken. */
void v09_over(struct v09 *s, enum err e, enum session_blame blame, const char *word);
void v09_event(struct v09 *s, enum session_event_type type);
void v09_dropped(struct v09 *s, enum err e, const char *word);
/* Cleans `in` into s->text and returns it. */
const char *v09_word(struct v09 *s, struct bytes in);
/* A unit is what is appended to s->out between the two; begin returns where it starts. */
size_t unit_begin(struct v09 *s, bool text);
enum err unit_end(struct v09 *s, size_t start) MUST_CHECK; /* on an error nothing is queued */
void v09_online(struct v09 *s);

/* --- handshake.c --- */
void handshake_start(struct v09 *s);
void handshake_take(struct v09 *s, struct bytes unit);
void handshake_admit(struct v09 *s);
void handshake_free(struct v09 *s);

/* --- send.c --- */
bool v09_can_send(const struct v09 *s);
enum err v09_send(struct v09 *s, const struct message *m) MUST_CHECK;
enum err v09_send_receipts(struct v09 *s, const struct receipt *r, size_t n) MUST_CHECK;
/* A control frame whose payload stands in `payload`. */
enum err send_control(struct v09 *s, const char *type, struct bytes payload) MUST_CHECK;
/* PONG, GOODBYE, RATE_LIMITED. */
enum err send_plain_control(struct v09 *s, const char *type) MUST_CHECK;
enum err send_ping(struct v09 *s) MUST_CHECK;

/* --- receive.c --- */
void receive_frame(struct v09 *s, struct bytes unit);

/* --- rekey.c --- */
enum err rekey_start(struct v09 *s) MUST_CHECK;
void rekey_request(struct v09 *s, struct bytes payload);
void rekey_response(struct v09 *s, struct bytes payload);
/* A frame opened under the current key. */
void rekey_confirmed(struct v09 *s);
void rekey_tick(struct v09 *s);
uint64_t rekey_deadline(const struct v09 *s);
void rekey_schedule(struct v09 *s);
void rekey_free(struct v09 *s);

#endif
