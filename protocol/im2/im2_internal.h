/*
 * im2_internal.h -- the host of im2 and its connections, shared by their files:
 *   host.c     tables, limits, mesh keys           link.c, link_session.c   states, units, events; the table of session.h
 *   keep.c     sessions of a peer: confirmed, previous, erased; pair secrets on disk (6.1-6.3)
 *   shake.c    which handshake, ERR, retransmission  first.c, known.c  the two handshakes of a connection
 *   rekey.c    6.4: timers, crossing, lost sessions  path.c    frames in, resume and proof of a path (7.2, 7.7)
 *   inside.c   what a frame holds, item by item      batch.c   what leaves together (7.4, 7.8)
 */
#ifndef PROTOCOL_IM2_IM2_INTERNAL_H
#define PROTOCOL_IM2_IM2_INTERNAL_H

#include "base/limit.h"
#include "base/map.h"
#include "base/sm.h"
#include "protocol/im2/content.h"
#include "protocol/im2/frame.h"
#include "protocol/im2/im2.h"
#include "protocol/im2/transfer.h"

#define IM2_HALF_MAX 4
#define IM2_ERRS_MAX 8          /* ERR units of one connection (5.9) */
#define IM2_ERR_SOURCES 10000   /* and what one address gets: a burst of 10, then one per second */
#define IM2_ERR_BURST 10
#define IM2_BUSY_SOON_S 5       /* BUSY for what passes by itself */
#define IM2_PATH_PROOF_MS 10000
#define IM2_PATH_PROOF_RADIO_MS 120000
#define IM2_WAITING_MAX (1u << 20)  /* bytes in a batch above which sending pauses */
#define IM2_CONTROL_MAX (2u << 20)
#define IM2_FRAG_UNIT 16384
#define IM2_EVENTS_MAX 12
#define IM2_CHAN_MAX 64

struct im2_link;
struct im2_peer;

/* --- sessions --------------------------------------------------------------------------------------- */
enum im2_session_state {
	KEEP_SHAKING,  /* the index is promised; no keys yet */
	KEEP_HALF,     /* responder of IK: no frame of the initiator yet */
	KEEP_CURRENT,
	KEEP_PREVIOUS  /* only opens, until gone_ms */
};
struct im2_session {
	struct im2_peer *peer;         /* NULL while shaking with somebody unknown */
	uint8_t state;
	bool initiator;                /* ours was the Noise initiator */
	bool heard;                    /* a frame of the peer opened */
	bool has_psk;                  /* becomes confirmed with that frame (6.2) */
	uint8_t psk[PSK_BYTES];
	uint8_t index[4];              /* of frames to us */
	struct im2_tx tx;
	uint8_t rx[32];
	struct im2_window window;
	uint8_t exporter[32], id[16];
	uint64_t begun_ms;             /* its index was drawn: the handshake is at work */
	uint64_t born_ms, confirmed_ms;
	uint64_t gone_ms;              /* half-open and previous: erased then; current: at REJECT */
	uint64_t tx_bytes, rx_frames, rx_bytes, failed;
	struct im2_link *via;          /* half-open: the connection that carried it, while it lives */
};

/* Buckets of 18.3, by what an item is. */
enum im2_class { CLASS_MESSAGE, CLASS_ITEM, CLASS_ROUTED, CLASS_RECORD, CLASS_REQUEST, CLASS_KEY, CLASS_SHAKE, CLASS_COUNT };

/* A message in pieces, and how it went. */
#define IM2_CARRIED_MAX (2 * IM2_TRANSFERS_MAX)
struct im2_carried {
	enum im2_carry state;
	uint32_t xfer;
	uint8_t id[MSG_WIRE_ID];
};

struct im2_peer {
	uint8_t ed[ED_BYTES], x[X25519_BYTES];
	struct node_id id;
	char name[NAME_MAX_CHARS + 1]; /* as it last said; empty: not in this life of ours */
	bool named;                    /* our own name has been said, where nothing gets lost */
	struct im2_session *current, *previous, *half[IM2_HALF_MAX]; /* half: oldest first */
	unsigned half_n;
	struct im2_link *paths;        /* by next_path; not all are online */
	struct im2_link *asking;       /* where an I1 of ours waits for its I2 */
	uint64_t path_gone_ms;         /* when a connection that carried frames ended last, + 1; 0 = none did */
	struct im2_transfers *transfers; /* made when needed */
	unsigned transfers_out, carried_at;
	struct im2_carried carried[IM2_CARRIED_MAX];
	struct im2_link *holding;      /* its next event borrows from `transfers` */
	uint64_t features;
	uint32_t max_unit, credit;     /* as stated; 0 = not stated */
	bool has_credit;
	bool trusted;
	struct bucket buckets[CLASS_COUNT];
	uint64_t itemerr_ms;           /* last answer + 1; 0 = none */
	uint64_t err1_ms, heal_ms;     /* last reaction + 1 */
	uint64_t rekey_at_ms;          /* after a failure: not before; 0 = any time */
	unsigned rekey_tries;
};

/* --- the host --------------------------------------------------------------------------------------- */
struct im2_host {
	struct im2_host_config c;      /* with the defaults filled in */
	struct map *sessions;          /* index -> struct im2_session * */
	struct map *peers;             /* ED -> struct im2_peer * */
	struct map *err_sources;       /* source -> struct bucket of ERR units */
	struct im2_link *links;
	uint32_t pending;              /* handshakes of strangers that wait for their next unit */
	uint64_t next_ms;              /* not later than the first thing im2_host_tick() has to do */
	uint64_t transfer_bytes;
	struct im2_transfer_pool transfer_pool;
	struct secret mesh[2];
	uint16_t passgen[2];
	unsigned mesh_n;
	struct im2_counters n;
};

/* host.c */
uint64_t im2_now(const struct im2_host *h);
void im2_host_due(struct im2_host *h, uint64_t at_ms);
bool im2_host_may_err(struct im2_host *h, struct bytes source);
struct bytes im2_host_prs(const struct im2_host *h, uint16_t passgen);
struct im2_peer *im2_peer_find(struct im2_host *h, const uint8_t ed[static ED_BYTES]);
bool im2_host_trusts(struct im2_host *h, const uint8_t ed[static ED_BYTES]);
/* Makes it. NULL when the table is full. */
struct im2_peer *im2_peer_get(struct im2_host *h, const uint8_t ed[static ED_BYTES], const uint8_t x[static X25519_BYTES]);
/* What a handshake said; without a word the defaults count again, and the name that it had. */
void im2_peer_hello(struct im2_peer *p, const struct im2_hello *hello);
/* Of a transfer towards it: as it said, or the default, which goes without saying (5.7). */
uint32_t im2_peer_credit(const struct im2_host *h, const struct im2_peer *p);
uint32_t im2_default_credit(const struct im2_host *h);
struct im2_transfers *im2_peer_transfers(struct im2_host *h, struct im2_peer *p); /* NULL without memory */
void im2_peer_transfers_ended(struct im2_host *h, struct im2_peer *p);
/* What we say of ourselves within the budget of 5.7; the index and the psk id are the caller's, and the rest follows
 * as INFO: im2_batch_info(). */
void im2_host_hello(const struct im2_link *l, enum im2_unit_kind unit, struct im2_hello *out);
bool im2_hello_has_features(const struct im2_link *l, bool first); /* of a first contact, or of IK */
uint64_t im2_host_features(const struct im2_host *h);

/* keep.c */
/* A fresh index; NULL at the limit. `stranger`: for a peer that is not trusted, and which leaves a quarter to others. */
struct im2_session *im2_session_new(struct im2_host *h, bool stranger);
/* Its last path ended, or it has one again: the session of a stranger does not wait long. */
void im2_session_rest(struct im2_host *h, struct im2_peer *p);
void im2_session_back(struct im2_host *h, struct im2_peer *p);
struct im2_session *im2_session_find(struct im2_host *h, const uint8_t index[static 4]);
void im2_session_keys(struct im2_session *s, const struct im2_secrets *secrets, const uint8_t theirs[static 4]);
void im2_session_erase(struct im2_host *h, struct im2_session *s);
void im2_session_half(struct im2_host *h, struct im2_peer *p, struct im2_session *s);
/* The keys are confirmed for us: current, or previous by the rule of 6.4. */
void im2_session_confirm(struct im2_link *l, struct im2_peer *p, struct im2_session *s);
bool im2_session_usable(const struct im2_host *h, const struct im2_session *s); /* may seal a frame now */
void im2_peer_erase_sessions(struct im2_host *h, struct im2_peer *p);
/* On disk when it returns ERR_OK (6.2). */
enum err im2_psk_candidate(struct im2_host *h, const uint8_t ed[static ED_BYTES], const uint8_t key[static PSK_BYTES]);
enum err im2_psk_confirm(struct im2_host *h, const uint8_t ed[static ED_BYTES], const uint8_t key[static PSK_BYTES]);

/* --- a connection ------------------------------------------------------------------------------------ */
enum im2_link_state {
	LINK_NEW,
	LINK_S1,       /* dialler: waits for the binary S1 */
	LINK_WAIT,     /* listener: waits for X1, I1 or a frame */
	LINK_X1_SENT,
	LINK_X2_SENT,
	LINK_X3_SENT,
	LINK_I1_SENT,
	LINK_I2_SENT,
	LINK_RESUME,   /* a frame of the live session was sent */
	LINK_DECIDE,   /* IDENTIFIED: the owner decides */
	LINK_PROVING,  /* admitted; PING on this path has no PONG yet */
	LINK_ONLINE,
	LINK_OVER,
	LINK_STATES
};
enum im2_decide { DECIDE_X3, DECIDE_X4, DECIDE_I1, DECIDE_I2, DECIDE_RESUME };

/* What only a handshake needs; wiped and freed when it ends. */
struct im2_shake {
	struct im2_xx xx;
	struct im2_ik ik;
	struct im2_hello theirs;
	struct im2_secrets secrets;
	struct im2_session *s;         /* holds the index we named */
	uint8_t ed[ED_BYTES], x[X25519_BYTES];
	bool has_psk;
	uint8_t psk[PSK_BYTES];
};

/* A queue of items, written at the end, read from `at`. */
struct im2_queue {
	struct buf b;
	size_t at;
};

struct im2_waiting_event {
	enum session_event_type type;
	enum err err;
	enum session_blame blame;
	const char *word;
	uint64_t ms;                   /* rtt or wait */
};

struct im2_link {
	struct session base;
	struct im2_host *host;
	struct im2_link *next;         /* host->links */
	uint64_t born_ms;
	struct im2_link *next_path;    /* peer->paths */
	struct im2_peer *peer;         /* proven, or expected while I1 or a resume is on its way */
	unsigned state;
	enum session_role role;
	enum im2_decide decide;
	void *owner;
	bool has_expected;
	uint8_t expected[ED_BYTES];
	bool owner_compares, known_only;
	struct im2_binding bind;
	uint8_t chan[IM2_CHAN_MAX], cb[32];
	uint8_t source[IM2_SOURCE_MAX], source_n;
	struct session_peer view;

	struct im2_shake *shake;
	uint64_t whole_ms, step_ms;    /* deadlines of the handshake; of a rekey: step_ms alone */
	unsigned step_n;               /* repeats of the last own unit on a lossy transport */
	bool has_s1, first_tried, counted;
	unsigned errs, tries;          /* tries: of psks_try() */
	/* Lossy transports: the unit that was answered last, and the answer (5.8). */
	uint8_t taken[32], answered[32];
	bool has_answered;
	uint64_t answer_until_ms;
	struct buf own;

	uint8_t path_ping[8];          /* proof of this path (7.7) */
	uint8_t resumed[4];            /* RESUME: the session that was asked for, and what had opened under it then */
	uint64_t resumed_frames;
	uint64_t path_until_ms;        /* 0 = none runs */
	uint8_t ping[8];
	uint64_t ping_ms;              /* of session_ping(); 0 = none outstanding */
	uint64_t asked_ms;             /* something that wants an answer went out, and nothing came since */
	uint64_t probe_ms;             /* next PING of 7.7 */
	unsigned probes;
	bool wants;                    /* what goes out next wants an answer */
	bool ending;                   /* the batch stays behind: only control items leave */
	bool speak;                    /* a frame is owed even without items */
	bool info_due;                 /* INFO goes with the next frame */
	uint64_t rate_limited_ms;

	struct buf out;                /* units: u32 length, bytes */
	size_t out_at;
	struct im2_queue control, batch;
	uint32_t frames_since_frag;
	struct buf plain_out, frame;
	uint64_t trim_ms;              /* the buffers go then, unless it was busy; 0 = there are none */
	bool busy;

	struct buf plain;              /* of the frame at hand */
	struct bytes items;            /* what is left of it */
	uint32_t counter;              /* of that frame */
	struct im2_session *under;     /* its session; NULL once that is erased */
	bool acting;                   /* items wait or are being acted on */
	bool has_ready, has_complete, release;
	struct session_event ready;    /* the next event made of an item */
	struct im2_receipt_reader receipts;
	struct im2_smsg_reader smsg;
	bool has_smsg, has_receipts;
	bool pieces;                   /* what is being acted on came as a transfer */
	uint8_t settled_era[8];        /* said inside the SMSG; 0 = nothing said */
	uint64_t settled_seq;
	uint16_t complete_tag;
	struct bytes complete;
	char id_text[2][33], type_text[2][MSG_TYPE_MAX + 1];
	unsigned text_at;
	bool closing;                  /* CLOSE came: over when the items are done */
	uint8_t close_code;

	struct im2_waiting_event events[IM2_EVENTS_MAX];
	unsigned events_n, events_at;
	char word[96];
};

/* link.c */
void im2_link_move(struct im2_link *l, enum im2_link_state to);
void im2_link_event(struct im2_link *l, enum session_event_type t);
void im2_link_dropped(struct im2_link *l, enum err e, const char *word);
void im2_link_over(struct im2_link *l, enum err e, enum session_blame blame, const char *word);
/* The other side refused us and asks us to wait so long. */
void im2_link_over_wait(struct im2_link *l, enum err e, const char *word, uint64_t wait_ms);
/* What was proven did not get to disk, with this answer of the trust room. */
void im2_link_untrusted(struct im2_link *l, enum err e);
void im2_link_unit(struct im2_link *l, struct bytes unit);
bool im2_link_next_unit(struct im2_link *l, struct session_unit *out); /* of those that are finished */
/* Buffers stay while a connection is busy, and go when it rests. */
void im2_link_used(struct im2_link *l);
void im2_link_trim(struct im2_link *l); /* wipes */
void im2_link_trim_due(struct im2_link *l, uint64_t now);
void im2_link_attach(struct im2_link *l, struct im2_peer *p);
void im2_link_detach(struct im2_link *l);
void im2_link_wake(const struct im2_link *l);
bool im2_link_lossy(const struct im2_link *l);
bool im2_link_shaking(const struct im2_link *l);
bool im2_link_is_path(const struct im2_link *l); /* admitted, and frames of its peer go here */
/* The handshake is over: this link carries frames. */
void im2_link_up(struct im2_link *l);

/* shake.c */
void im2_shake_start(struct im2_link *l);
void im2_shake_take(struct im2_link *l, struct bytes unit);
void im2_shake_admit(struct im2_link *l);
/* Says it to who dialled: for ever, or for a while (5.9). */
void im2_shake_refuse(struct im2_link *l, enum err e);
void im2_shake_tick(struct im2_link *l);
void im2_shake_err(struct im2_link *l, uint8_t code, const uint8_t *index, uint16_t busy_s);
void im2_shake_err_taken(struct im2_link *l, struct bytes unit);
struct im2_shake *im2_shake_new(struct im2_link *l); /* NULL without memory: the link is over */
void im2_shake_free(struct im2_link *l);
void im2_shake_drop(struct im2_shake *k); /* one that is no link's yet */
void im2_shake_step(struct im2_link *l, bool owned); /* the next unit of the peer is awaited from now */
void im2_shake_identified(struct im2_link *l, enum im2_decide what, const uint8_t ed[static ED_BYTES],
			  const uint8_t x[static X25519_BYTES], const char *name);
/* Sends a unit of a handshake; `answer`: to the unit that was taken last. */
void im2_shake_send(struct im2_link *l, struct bytes unit, bool answer);
/* Lossy transports: this unit was answered before; the stored answer goes out again. */
bool im2_shake_repeated(struct im2_link *l, struct bytes unit);
/* The next wait, twice as long; false: there were enough. */
bool im2_shake_next_step(struct im2_link *l);

/* first.c */
void im2_first_dial(struct im2_link *l);
void im2_first_x1(struct im2_link *l, struct bytes unit);
void im2_first_x2(struct im2_link *l, struct bytes unit);
void im2_first_x3(struct im2_link *l, struct bytes unit);
void im2_first_x4(struct im2_link *l, struct bytes unit);
void im2_first_admit(struct im2_link *l);

/* known.c */
bool im2_known_start(struct im2_link *l, const struct im2_known *k); /* false: no psk is left to try */
void im2_known_again(struct im2_link *l);  /* ERR 3: the next psk */
void im2_known_i1(struct im2_link *l, struct bytes unit);
void im2_known_i2(struct im2_link *l, struct bytes unit);
void im2_known_admit(struct im2_link *l);

/* rekey.c */
enum err im2_rekey_start(struct im2_link *l);
void im2_rekey_failed(struct im2_link *l);
void im2_rekey_tick(struct im2_link *l);
void im2_rekey_sending(struct im2_link *l); /* something is about to go out */
uint64_t im2_rekey_deadline(const struct im2_link *l);

/* path.c */
void im2_path_resume(struct im2_link *l, struct im2_peer *p);
void im2_path_take(struct im2_link *l, struct bytes unit);
void im2_path_admit(struct im2_link *l);
void im2_path_pong(struct im2_link *l, struct bytes value);
void im2_path_repeat(struct im2_link *l); /* lossy: PING until something comes */
void im2_path_tick(struct im2_link *l);
uint64_t im2_path_deadline(const struct im2_link *l);

/* inside.c */
void im2_inside_begin(struct im2_link *l, struct im2_session *s, uint32_t counter);
bool im2_inside_event(struct im2_link *l, struct session_event *out);
void im2_inside_release(struct im2_link *l);
void im2_inside_forget(struct im2_link *l);

/* batch.c */
void im2_queue_init(struct im2_queue *q, size_t max);
void im2_queue_trim(struct im2_queue *q); /* wipes */
size_t im2_queue_left(const struct im2_queue *q);
void im2_control(struct im2_link *l, uint16_t tag, struct bytes value);
enum err im2_batch_message(struct im2_link *l, const struct message *m);
enum err im2_batch_item(struct im2_link *l, uint16_t tag, struct bytes value);
enum err im2_batch_receipts(struct im2_link *l, const struct receipt *r, size_t n);
/* One of our own that has fields: to control. */
enum err im2_batch_fields(struct im2_link *l, uint16_t tag, const struct im2_fields *f);
/* What our HS left out (5.5, 5.7). */
void im2_batch_info(struct im2_link *l);
/* At most one in a second per peer, about the frame at hand or (`here` false) about none. */
void im2_batch_itemerr(struct im2_link *l, uint8_t code, uint16_t tag, bool here);
/* A last frame with CLOSE, at once, behind what must not be lost (receipts). */
void im2_batch_close(struct im2_link *l, uint8_t code);
/* The same for a session that is not the one we send under: CLOSE alone. */
void im2_batch_close_under(struct im2_link *l, struct im2_session *s, uint8_t code);
/* Seals the next frame into l->frame. */
bool im2_batch_next(struct im2_link *l);
bool im2_batch_room(const struct im2_link *l);
size_t im2_batch_waiting(const struct im2_link *l);
size_t im2_batch_plain_max(const struct im2_link *l);
void im2_batch_drop(struct im2_link *l);

#endif
