/*
 * session.h -- what every generation of the wire offers: one conversation with one peer.
 *
 * Sans-I/O: bytes in (session_take), bytes and events out (session_next_unit, session_next_event),
 * time from env. The owner drains units and events after every call until both are empty. A unit or
 * event is borrowed until the next call on the same session.
 *
 * Life: HANDSHAKE -> (IDENTIFIED: the owner decides) -> ONLINE -> OVER. When the peer's identity is
 * proven, SESSION_EV_IDENTIFIED stops the handshake until session_admit() or session_refuse(): no
 * reply that names us and no side effect comes before the decision.
 */
#ifndef PROTOCOL_SESSION_H
#define PROTOCOL_SESSION_H

#include "base/buf.h"
#include "base/env.h"
#include "protocol/message.h"
#include "trust/keyring.h"

#define SESSION_UNIT_MAX 1048576
#define SESSION_HANDSHAKE_UNIT_MAX 65536
#define VERSION_OF(major, minor) ((uint16_t)((major) << 8 | (minor)))

struct session;
struct v09_transit;

enum session_role { SESSION_DIALLER, SESSION_LISTENER };

struct session_config {
	struct env *env;                /* all borrowed pointers outlive the session */
	const struct keyring *keyring;
	struct bytes passphrase;        /* of the mesh; locked memory of the owner */
	const char *name;               /* our agent name, [A-Za-z0-9._-]{1,64} */
	enum session_role role;
	uint16_t min_version;           /* default VERSION_OF(0, 3) */
	uint64_t handshake_ms;          /* whole handshake; 5,000 */
	uint64_t rekey_ms;              /* 1,800,000; 0 = never */
	uint64_t past_ms, future_ms;    /* replay window on wall clocks: 30,000 and 5,000 */
	bool offer_im2;                 /* the challenge lists the suite im2 (im2.md 4.1) */
	bool mark_im2;                  /* our HELLO declares 0.9.im2 to whoever speaks 0.9 or later (im2.md 4.4) */
	bool seal_direct;               /* seal user messages end to end for 0.9 peers that do not confirm */
	/* 0.9: the key of an author who is not the peer; false: unknown. NULL: what others wrote is refused, and nothing
	 * is in transit. */
	bool (*author_key)(void *ctx, const struct node_id *id, uint8_t ed[static ED_BYTES]);
	void *author_ctx;
	const char *invite;             /* 0.9 dialler: the token that its HELLO carries (wire 9.9); NULL = none. A bearer
					 * secret, readable for whoever ends the connection */
};

struct session_peer {
	struct node_id id;
	uint8_t ed[ED_BYTES];
	char name[NAME_MAX_CHARS + 1]; /* cleaned; upstream's free-text names become safe text */
	uint16_t version;
	uint8_t x25519[X25519_BYTES];
	bool has_x25519;               /* advertised and its binding verified */
	bool confirms;                 /* understands our ACK */
	const char *generation;        /* "0.9" or "im2" */
	bool marked;                   /* 0.9: its signed HELLO says that it speaks im2 too */
	const char *invite;            /* 0.9 listener, until session_admit() or session_refuse(): the token of its HELLO,
					* printable ASCII; "" when what was there is none; NULL when nothing was. Nothing signs it */
};

enum session_event_type {
	SESSION_EV_IDENTIFIED, /* decide now */
	SESSION_EV_ONLINE,
	SESSION_EV_MESSAGE,    /* message: a user message for the pipeline */
	SESSION_EV_RECEIPT,    /* receipt: one per id of a confirmation of ours */
	SESSION_EV_PONG,       /* rtt_ms */
	SESSION_EV_RATE_LIMITED, /* the peer asks us to slow down; im2: `tag` is the item that it dropped */
	SESSION_EV_GOODBYE,
	SESSION_EV_KEY_ROTATE, /* the peer announces a new identity; informational */
	SESSION_EV_REKEYED,
	SESSION_EV_RENAMED,    /* im2: the peer says that it is called `word` now (a name of 1 to 64 of [A-Za-z0-9._-]), which
				* session_peer() says too from here on */
	SESSION_EV_SETTLED,    /* im2: era, seq: nothing older of this era will come (im2.md 9.5) */
	SESSION_EV_SEEN,       /* im2: era, seq: the highest of ours that the peer holds */
	SESSION_EV_ITEM,       /* im2: tag, item: records, routing, calls, SRECEIPT: whatever the session does not decide itself */
	SESSION_EV_CONTROL,    /* 0.9: a frame between daemons: `word` is its type, `item` its payload */
	SESSION_EV_TRANSIT,    /* 0.9: a frame for another node, or one of ours that came back: `transit` (v09.h) */
	SESSION_EV_DROPPED,    /* a frame was refused: err, word; the session goes on */
	SESSION_EV_OVER        /* err, word; `blame` tells what to do with the address */
};

/* HELD: kept on the far side's disk, waits for its operator to approve us; wire key "held_msg_ids"
 * beside "ack_msg_ids" in our ACK payload. DELIVERED or REJECTED follows. */
enum receipt_kind {
	RECEIPT_DELIVERED,
	RECEIPT_READ,
	RECEIPT_REJECTED,
	RECEIPT_HELD,
	RECEIPT_RETRY,   /* im2 reason 6 (full): counts as none; send again later */
	RECEIPT_UNKNOWN, /* im2 reason 12: settled before we were restored */
	RECEIPT_EXPIRED  /* im2 reason 1; before the author's own expiry it counts as RETRY */
};

enum session_blame {
	BLAME_NONE,
	BLAME_AUTH,    /* wrong passphrase, signature or proof: feeds the failure ladder */
	BLAME_GARBAGE, /* not the protocol, or too slow: feeds it too */
	BLAME_REMOTE   /* the other side refused us: `word` holds its text, cleaned */
};

struct session_event {
	enum session_event_type type;
	struct message message;
	enum receipt_kind receipt;
	struct bytes receipt_id;     /* msg_id */
	struct bytes receipt_reason; /* for REJECTED */
	struct node_id receipt_from; /* 0.9: who signed it, when he is not the peer; hex[0] == 0: the peer */
	const struct v09_transit *transit;
	uint8_t era[8];              /* SETTLED, SEEN */
	uint64_t seq;
	uint16_t tag;                /* ITEM, RATE_LIMITED; 0 = not said */
	struct bytes item;
	uint64_t rtt_ms;
	uint64_t wait_ms;            /* OVER with BLAME_REMOTE: how long it asks us to wait; 0 = it did not say */
	enum err err;
	enum session_blame blame;
	const char *word;            /* a fixed word for counters and logs, or cleaned remote text */
};

struct session_unit {
	struct bytes bytes;
	bool text; /* WebSocket text message (handshake JSON) or binary (frame) */
};

struct receipt {
	enum receipt_kind kind;
	struct bytes id;
	struct bytes reason; /* REJECTED only; short word */
	uint8_t code;        /* REJECTED: reason of im2.md 10.2; 0 = the one of the word, else 3 */
};

void session_free(struct session *s); /* wipes; accepts NULL; allowed in any state */
/* Begin: a listener emits its challenge, a dialler waits. */
void session_start(struct session *s);
/* One unit from the transport. Never fails upward: refusals become events. */
void session_take(struct session *s, struct bytes unit, bool text);
bool session_next_unit(struct session *s, struct session_unit *out);
bool session_next_event(struct session *s, struct session_event *out);

/* The answer to IDENTIFIED. Refuse ends the session; `word` goes to log and counter, not the wire. One word is
 * told to a dialler of 0.9 as well: that im2 is required of its identity (im2.md 4.3). */
#define SESSION_REFUSE_NEEDS_IM2 "im2-required"
void session_admit(struct session *s);
void session_refuse(struct session *s, enum err e, const char *word);

bool session_online(const struct session *s);
bool session_over(const struct session *s);
/* Listener: the other side has proven that it knows the passphrase, or holds a key that we know. Never true again once
 * the session is over. */
bool session_proven(const struct session *s);
/* Valid from IDENTIFIED on. */
const struct session_peer *session_peer(const struct session *s);

/* Seal one message into the unit queue. ERR_WRONG_STATE when not online, ERR_LIMIT when the body does not
 * fit (nothing queued), ERR_AGAIN while a rekey pauses sending (at most 2 s; retry after
 * the next event or tick). */
enum err session_send(struct session *s, const struct message *m) MUST_CHECK;
/* True when session_send would not answer ERR_AGAIN or ERR_WRONG_STATE. */
bool session_can_send(const struct session *s);
/* Confirm a drained group with as few frames as possible. No-op towards peers that do not confirm. */
enum err session_send_receipts(struct session *s, const struct receipt *r, size_t n) MUST_CHECK;
enum err session_ping(struct session *s) MUST_CHECK;
enum err session_rate_limited(struct session *s) MUST_CHECK; /* at most one per second goes out */
enum err session_goodbye(struct session *s) MUST_CHECK;
enum err session_key_rotate(struct session *s, const uint8_t new_ed[static ED_BYTES]) MUST_CHECK;
/* im2 (ERR_UNSUPPORTED on others): SETTLED and SEEN. They ride in the next frame. */
enum err session_settled(struct session *s, const uint8_t era[static 8], uint64_t seq) MUST_CHECK;
enum err session_seen(struct session *s, const uint8_t era[static 8], uint64_t seq) MUST_CHECK;
enum err session_rekey(struct session *s) MUST_CHECK; /* operator; ERR_WRONG_STATE when one is pending */

/* Timers: the owner calls session_tick when the deadline is reached (UINT64_MAX: none). */
uint64_t session_deadline_ms(const struct session *s);
void session_tick(struct session *s);

/*
 * For generations: the first member of their session struct is `struct session`. The functions
 * above dispatch through it.
 */
struct session_ops {
	void (*free)(struct session *);
	void (*start)(struct session *);
	void (*take)(struct session *, struct bytes, bool text);
	bool (*next_unit)(struct session *, struct session_unit *);
	bool (*next_event)(struct session *, struct session_event *);
	void (*admit)(struct session *);
	void (*refuse)(struct session *, enum err, const char *word);
	bool (*online)(const struct session *);
	bool (*over)(const struct session *);
	bool (*proven)(const struct session *); /* may be NULL: never */
	const struct session_peer *(*peer)(const struct session *);
	enum err (*send)(struct session *, const struct message *);
	bool (*can_send)(const struct session *);
	enum err (*send_receipts)(struct session *, const struct receipt *, size_t n);
	enum err (*ping)(struct session *);
	enum err (*rate_limited)(struct session *);
	enum err (*goodbye)(struct session *);
	enum err (*key_rotate)(struct session *, const uint8_t *new_ed);
	enum err (*rekey)(struct session *);
	enum err (*mark)(struct session *, bool settled, const uint8_t *era, uint64_t seq); /* may be NULL */
	uint64_t (*deadline_ms)(const struct session *);
	void (*tick)(struct session *);
};
struct session {
	const struct session_ops *ops;
};

#endif
