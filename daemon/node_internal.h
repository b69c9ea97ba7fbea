/*
 * node_internal.h -- what the files of the core share. Nobody outside daemon/'s core includes it.
 *
 * Ownership: node owns conns, peers, targets and items. A conn is found by link id and a peer by
 * node id; both may be gone after any callback, so nothing keeps such a pointer across a turn except
 * the pairs conn<->peer and conn<->target, which conn_end() cuts.
 */
#ifndef DAEMON_NODE_INTERNAL_H
#define DAEMON_NODE_INTERNAL_H

#include "base/log.h"
#include "base/map.h"
#include "daemon/node.h"
#include "protocol/im2/content.h"
#include "protocol/im2/im2.h"
#include "trust/invite.h"

struct list {
	struct list *prev, *next;
};
static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}
static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}
static inline void list_add_tail(struct list *head, struct list *l)
{
	l->prev = head->prev;
	l->next = head;
	head->prev->next = l;
	head->prev = l;
}
static inline void list_del(struct list *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	list_init(l);
}
#define list_entry(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* --- one message of ours that is in memory -------------------------------------------------- */
/* PREPARED: its row is in the open group, and an op points to it. */
enum item_state { ITEM_NEW, ITEM_PREPARED, ITEM_READY, ITEM_IN_FLIGHT, ITEM_HELD };

struct item {
	struct list link;          /* ready list of its priority, the in-flight list, or the held list */
	struct node *node;
	struct peer *peer;
	enum item_state state;
	int64_t seq;
	enum priority priority;
	uint64_t created_ms, expires_ms; /* wall */
	uint64_t accepted_ms;      /* monotonic: when we took it, 0 after a restart */
	uint64_t sent_ms;          /* monotonic, when in flight */
	uint64_t due_ms;           /* monotonic, im2: when it is sent again without a receipt (im2.md 10.3) */
	uint32_t tries;            /* earlier ones */
	bool in_pieces;            /* im2: the other side does not have all of it yet */
	bool unasked;              /* im2, flag 8: it ends when it has left (im2.md 10.3) */
	uint32_t body_len;
	uint8_t *body;             /* NULL: read it from the store when its turn comes */
	uint8_t *meta;             /* message_meta of what im2 adds; NULL = nothing */
	uint16_t meta_len;
	uint8_t wire_id[MSG_WIRE_ID];
	bool two_names;            /* its user chose `id`; the wire says the hex of wire_id */
	char type[MSG_TYPE_MAX + 1];
	char id[];                 /* NUL-terminated */
};

/* Waiting work of one peer; exists while the peer is online. */
struct sendq {
	struct list ready[PRIO_COUNT];
	struct list flight, held;
	/* In flight too, by the counts: what travels in pieces, whose timer starts when they are there; and what waits
	 * for nothing but to leave. */
	struct list carried, leaving;
	uint32_t prepared_count, ready_count, flight_count, held_count;
	uint64_t flight_bytes, ready_bytes; /* ready: bodies in memory, prepared ones too */
	bool more;                 /* the store holds rows that are not in memory */
	uint64_t load_ms;          /* monotonic: they are not looked at before; the disk refused a group */
	int more_priority;         /* ... of this priority and below */
	struct bucket pace;        /* towards peers that do not confirm */
};

#define LINEAGE_MAX 8 /* identities that one peer had before, as far as they are looked at */

struct peer {
	struct node_id id;
	struct node_id was[LINEAGE_MAX]; /* before its rotations; as of the begin of its session */
	uint8_t was_n;
	struct conn *conn;         /* online */
	struct sendq *q;
	struct list active;        /* in node->active when the scheduler should look */
	bool is_active;
	struct bucket messages, bytes; /* what we take from it */
	/* im2: confirmed since the receiver was last told what is settled, and when that was (im2.md 9.5) */
	uint32_t unsettled;
	uint64_t settle_ms;
	bool renewed;              /* our era was drawn anew: numbers of the old one may have been given out twice */
	int64_t due_after;         /* receipts that an earlier life owed are reported up to here; -1 = all */
	int64_t receipts_upto;     /* inbox seq up to which receipts have left, not written down yet; 0 = nothing new */
	struct bucket slow;        /* im2: towards a peer that does not trust us, and says so by dropping (im2.md 7.5) */
	uint64_t slow_until_ms;    /* a minute after the last time it did */
	uint32_t window, confirmed; /* messages in flight at most; confirmed since it last grew */
	double rtt_ms;
	uint64_t offline_since_ms;
	struct timer stall;        /* oldest unconfirmed, or the pace bucket */
};

struct pending_receipt {
	enum receipt_kind kind;
	char id[MSG_ID_MAX + 1];
	const char *reason;        /* static text, or NULL */
	int64_t inbox_seq;         /* READ: mark as reported after it went out */
	int64_t kept_seq;          /* others: the row it speaks of, for the mark of receipts that have left */
	uint8_t code;              /* REJECTED, im2: enum im2_reason; 0 = by its word */
	bool silent;               /* the author wants none (im2.md 10.1): only the mark moves */
};

struct conn {
	struct node *node;
	struct transport *tp;
	link_id id;
	bool dialled, secure, has_tls_key, closing, online, paused;
	bool counted;              /* in node->handshaking */
	bool explained;            /* target->why says more than the word of the end */
	bool proving;              /* the session is open; nothing came under its key yet */
	uint8_t tls_key[32];
	char source[64];
	char *address;
	struct session *session;
	struct peer *peer;         /* while online */
	struct target *target;     /* we dialled it for this one */
	struct timer timer;        /* session deadline */
	struct timer resume;       /* end of a pause */
	struct timer proof;        /* end of `proving` */
	struct list link;          /* in node->conns_list or node->shaking */
	struct list reap;
	struct bucket bad;
	uint64_t opened_ms, online_ms, online_wall_ms, ping_ms;
	uint64_t sent, received, dropped, rekeys;
	struct pending_receipt *receipts; /* to go out after the commit */
	size_t receipts_n, receipts_cap;
	struct list dirty;         /* in node->dirty when receipts wait */
	bool is_dirty;
	uint64_t heard_ms;         /* a unit came */
	size_t uncommitted;        /* bytes taken from it that wait for the commit */
	struct list pump;          /* in node->pump when its units wait for the end of the turn */
	bool pump_due;
	bool im2;                  /* decided at IDENTIFIED */
	bool under_ban;            /* others at its address are banned: only known peers get through (im2.md 18.2) */
	bool guessing;             /* X2 left, X3 did not open yet: one guess at the passphrase */
	uint64_t min_wait_ms;      /* before its target is dialled again */
	/* invites.h: listener: it brought an invite that is good; dialler: it follows one */
	bool invited, invited_trusted, follows;
	uint8_t invite_nonce[INVITE_NONCE];
	uint64_t renamed_ms;       /* its peer last asked for another name + 1; 0 = it has not */
	bool more_reads;           /* the store holds more read receipts that nobody has reported */
};

struct target {
	char address[ADDRESS_MAX + 1];
	bool has_expected;
	struct node_id expected;
	bool has_known;            /* learned from pins or from the last session */
	struct node_id known;
	link_id dialling;
	struct conn *conn;
	uint32_t failures, bad_dials;
	struct timer timer;
	char why[256];
	struct hint_dial *hint;    /* one try for this hint (dial.h), and it goes */
	bool gone;                 /* not wanted any more; it goes when its dial has ended */
	bool paired;               /* a pairing or an invite made it: not dialled when nobody is pinned there any more */
};
#define TARGETS_MAX 256

/* What waits for the commit of the group. */
enum op_kind { OP_SUBMIT, OP_RECEIVED };
struct op {
	enum op_kind kind;
	/* SUBMIT */
	submit_done done;
	void *ctx;
	struct item *item;         /* prepared when the peer is online and its turn can come now */
	/* both */
	struct node_id peer;
	int64_t seq;
	uint64_t size;
	uint8_t priority;
	uint8_t code;              /* RECEIVED, REJECTED: enum im2_reason */
	/* RECEIVED */
	link_id conn;
	enum receipt_kind receipt;
	bool silent;               /* see struct pending_receipt */
	bool is_new;
	bool sealed;               /* RECEIVED through relays: its receipt goes to its author, wherever he is */
	bool far;                  /* the same, over the old wire, by `via` */
	struct node_id via;
	bool ended;                /* SUBMIT: expired or cancelled before its group was committed */
	char id[MSG_ID_MAX + 1];
};

struct ping_wait {
	struct list link;
	struct node *node;
	struct node_id peer;
	struct timer timer;
	ping_done done;
	void *ctx;
	bool due;                  /* answered by pings_done() that runs */
};

struct node {
	struct node_config c;
	struct node_parts p;
	struct env *env;
	struct transport *tp;
	struct node_counters n;
	struct im2_host *im2;      /* NULL: policy says off */
	struct records *records;   /* records.h; NULL without im2 */
	/* parts.h; each NULL when it is off */
	struct discovery *discovery;
	struct routes *routes;
	struct relay *relay;
	struct courier *courier;
	struct mesh09 *mesh09;
	struct caps *caps;
	struct pairing *pairing;
	struct probe *probe;       /* probe.h; NULL: none runs */
	uint64_t probe_first_ms;   /* when one began a first contact; 0: never */
	struct invites *invites;
	uint8_t volatile_era[8];   /* of this start (im2.md 9.5) */
	uint64_t volatile_seq;

	struct map *conns;         /* link id -> struct conn * */
	struct map *peers;         /* node id -> struct peer * */
	struct map *items;         /* node id || msg id -> struct item * */
	struct map *connects;      /* source -> struct bucket */
	struct ladder *by_source, *by_identity;
	struct map *friends;       /* source -> monotonic ms of the last im2 session of a trusted peer from there */
	struct bucket guesses;     /* of the whole daemon (im2.md 18.2) */
	struct refusals *refusals;
	struct bucket strangers;   /* first contacts that are written to the trust store */
	struct list conns_list;    /* online */
	struct list shaking;       /* not online yet */
	struct list reap, active, dirty, pings, pump;
	uint32_t online, handshaking;
	struct bucket total;

	struct target *targets[TARGETS_MAX];
	size_t target_count;
	bool dialling_started, stopping;

	struct op *ops;
	size_t ops_n, ops_cap;
	size_t ops_seen;           /* of the open group, at the last turn */
	bool group_waits;
	bool hard;                 /* somebody waits for this group's commit */
	uint64_t soft_since_ms;    /* 0: no soft writes are open */
	struct timer soft_timer, expiry_timer, ping_timer, release_timer, held_timer, im2_timer;
	int64_t held_seen;         /* held rows up to this one were looked at in this round */
	bool group_failed;         /* a write of this group failed: roll it back at the turn */
	bool turn_wanted;
	struct buf scratch;

	void (*observer)(void *ctx, const struct node_event *e);
	void *observer_ctx;
	void (*watcher)(void *ctx, const struct node_id *author, int64_t inbox_seq);
	void *watcher_ctx;
};

#define SOFT_COMMIT_MS 100
/* A group commits when a look at the input brings nothing more, or at this size: large enough that the
 * fsync is small beside the signatures, small enough that both ends work at the same time. */
#define GROUP_OPS 32
#define DISK_RETRY_MS 1000
#define CLOCK_PLAUSIBLE_MS 1764000000000ull /* 2025-11-24: no daemon of this kind is older */

/* node.c */
void node_event(struct node *n, const struct node_event *e);
void node_simple_event(struct node *n, const char *type, const struct node_id *peer, const char *reason);
void node_want_turn(struct node *n);
void node_store_hard(struct node *n);
void node_store_soft(struct node *n);
void node_store_failed(struct node *n);
struct op *node_op(struct node *n); /* a zeroed slot; never NULL (dies without memory) */
void node_pins_flush(struct node *n, const char *why);

/* conn.c */
void conn_pump(struct conn *c);    /* drains units and events of its session */
void conn_close(struct conn *c, const char *why);
void conn_free(struct conn *c);
struct conn *conn_find(struct node *n, link_id id);
/* Drains at the end of the turn, so that what one turn makes shares a frame. */
void conn_pump_later(struct conn *c);
/* `r` is copied; its id is NUL-terminated. */
void conn_receipt(struct conn *c, const struct pending_receipt *r);
void conn_flush_receipts(struct conn *c);
void conn_store_rolled_back(struct node *n);
void conn_reap(struct node *n);
void conn_close_peer(struct node *n, const struct node_id *id, const char *why);
/* Cuts a conn from its peer and target; idempotent. The session is freed by conn_reap() or conn_free(). */
void conn_end(struct conn *c, const char *why, uint64_t min_wait_ms);
void conn_session_due(void *ctx); /* the timer of a session */
/* A step on the ladder of a source; says so when it became a ban. */
void conn_blame(struct node *n, const char *source, const char *why);

/* native.c: what im2 asks of trust, and its settings */
enum err native_new(struct node *n); /* n->im2, or NULL when the policy says off */
void native_free(struct node *n);
/* `info`: of the link of `c`; *out borrows from it. */
void native_link(struct node *n, struct conn *c, const struct link_info *info, struct im2_link_config *out,
		 bool *pinned_im2);
/* Somebody whom we trust came from there in the last 24 h. */
bool native_friend(struct node *n, const char *source);
void native_online(struct conn *c);
/* Its sessions are erased. ed NULL: of its pin. */
void native_revoke(struct node *n, const struct node_id *id, const uint8_t *ed);
void native_trust_changed(struct node *n, const struct node_id *id);

/* marks.c */
void marks_online(struct conn *c);  /* SEEN, receipts that an earlier life owes, what is settled */
/* The next receipts that an earlier life owes; conn_flush_receipts() asks for more. */
void marks_report_due(struct conn *c);
void marks_settle(struct peer *p);  /* tells what is settled when that has risen enough */
void marks_settle_soon(struct peer *p); /* it is full: at once, but once in a second */
void marks_seen(struct conn *c, const struct session_event *e);
void marks_settled(struct conn *c, const struct session_event *e);
/* The same, said in a signed message (tag 34 of 9.1). */
void marks_settled_of(struct node *n, const struct node_id *author, const uint8_t era[static 8], uint64_t seq);

/* admit.c */
void admit_identified(struct conn *c);
void admit_open(struct conn *c);         /* the handshake ended: online, or first a proof of the key */
void admit_online(struct conn *c);
void admit_proof_due(void *ctx);         /* the timer of that proof */
void admit_confirmation(struct conn *c); /* the peer has confirmed something */
void admit_renamed(struct conn *c, const char *name); /* it says so, while online */
bool admit_untimely(const struct session_event *e);
bool admit_proves_key(const struct session_event *e);
bool admit_tls_key_changed(struct node *n, const struct link_info *info);
/* Sessions whose peer the list of allowed peers does not cover any more end. */
void admit_review(struct node *n);
/* Whether what relays brought of a known author may be opened further; refused, and written down, when a list of allowed
 * peers does not cover him. */
bool admit_relayed(struct conn *from, const struct node_id *author);

/* peer.c */
struct peer *peer_find(struct node *n, const struct node_id *id);
struct peer *peer_get(struct node *n, const struct node_id *id); /* makes it; NULL when full */
void peer_online(struct peer *p, struct conn *c);
void peer_offline(struct peer *p, const char *reason);
/* Answers all who wait for a PONG of it. They may forget others, or ask again. */
void pings_done(struct node *n, const struct node_id *id, enum err e, double rtt_ms);
void peer_free(struct node *n, struct peer *p);
const char *peer_name(struct node *n, const struct node_id *id); /* alias, name or short id */
struct node *peer_node(const struct peer *p);
struct peer *peer_now(struct node *n, const struct node_id *id); /* of whoever this has become; NULL */
/* Reads again who it was. */
void peer_lineage(struct node *n, struct peer *p);

/* dial.c */
void dial_conn_ended(struct node *n, struct target *t, bool was_online, const char *why, uint64_t min_wait_ms);
void dial_peer_offline(struct node *n, const struct node_id *id);
void dial_learned(struct node *n, struct conn *c, const struct node_id *id);
void dial_retry(struct node *n); /* what waited for the mesh key is dialled now */
void dial_fini(struct node *n);

/* item.c */
struct item *item_find(struct node *n, const struct node_id *peer, struct bytes id); /* or the hex of its wire id */
/* NULL without memory, or because it is in memory already: *known. `meta` is copied. */
struct item *item_new(struct node *n, struct peer *p, struct bytes id, const uint8_t wire_id[static MSG_WIRE_ID],
		      struct bytes meta, bool *known);
void item_free(struct item *it); /* unlinks from lists, the map and its op; accepts NULL */
void item_keep_body(struct item *it, struct bytes body); /* when memory has room for it */
void item_leave(struct item *it);   /* the list it is on, with the counts */
void item_ready(struct item *it);
void item_returns(struct item *it); /* not sent after all: back to the head of its list */
void item_flies(struct item *it);
void item_gone(struct item *it);    /* the session has it: apart, if no receipt is to be waited for yet */
void item_waits(struct item *it);   /* for its receipt, from now on */
/* How it was handed over; at_ms 0: it was not. */
struct outbox_try item_try(const struct item *it);
void item_held(struct item *it);
/* im2: the peer cannot take it now (reason 6); it stays in flight and goes again later. */
void item_later(struct item *it);

/* scheduler.c */
void sched_online(struct peer *p);
void sched_offline(struct peer *p);
void sched_wake(struct peer *p);
void sched_look_again(struct peer *p, uint64_t at_ms); /* at the latest then */
void sched_run(struct node *n);
/* The item of a fresh submission; NULL when it stays in the store until its turn. */
struct item *sched_prepare(struct node *n, struct peer *p, const struct op *op, const struct outbox_new *row,
			   const char *id, const uint8_t wire_id[static MSG_WIRE_ID]);
void sched_committed(struct peer *p, struct item *it);
void sched_confirmed(struct peer *p);
void sched_slow_down(struct peer *p); /* it dropped something that came too fast */
void sched_store_rolled_back(struct node *n);
/* im2: units went out, or came. Ends what has left and wants no receipt; looks after what travels in pieces. */
void sched_pumped(struct peer *p);
void sched_expire_arm(struct node *n);
void sched_drop_all(struct node *n);

/* outbound.c */
enum err outbound_attempt(struct node *n, struct peer *p, struct item *it);
void outbound_receipt(struct conn *c, const struct session_event *e);
/* The same from a peer that need not be online: its receipt was signed. */
void outbound_receipt_of(struct node *n, const struct node_id *from, const struct session_event *e);
void outbound_sent(struct node *n, const struct item *it);
/* Seconds of life, as the message says; what never expires here lives as long as im2 allows. */
uint32_t outbound_life_s(uint64_t created_ms, uint64_t expires_ms, uint32_t said_s);
/* It has left, and nobody will say that it arrived. */
void outbound_left(struct node *n, struct item *it);
void outbound_op_done(struct node *n, struct op *op, enum err e);
void outbound_ended(struct node *n, const struct node_id *peer, const char *id, enum outbox_state s,
		    const char *reason, uint64_t in_ms);

/* repeats.c: before inbox_put(). ERR_OK: nothing is known of it under another identity of its author or of ours.
 * ERR_EXISTS, ERR_DUPLICATE, ERR_EXPIRED as inbox_put(); ERR_STORE. */
enum err repeats_check(struct conn *c, const struct message *m, int64_t *seq, enum inbox_state *state) MUST_CHECK;

/* inbound.c */
void inbound_message(struct conn *c, const struct message *m);
/* What came costs its sender; only for a conn that is online. */
void inbound_budget(struct conn *c, double messages, size_t bytes);
void inbound_committed(struct node *n); /* links that waited for the disk are read again */
void inbound_op_done(struct node *n, struct op *op, enum err e);
/* What is still owed for a row of the inbox: held, delivered or rejected. */
struct pending_receipt inbound_owed(struct node *n, const struct inbox_row *r);
/* Its time since its arrival is up, in running time (im2.md 9.6). What the old wire brought lives on. */
bool inbound_life_over(struct node *n, const struct inbox_row *r);
void inbound_report_reads(struct conn *c);

/* held.c */
enum err inbound_release(struct node *n, const struct node_id *id, bool accept);
void inbound_release_due(void *node);
void held_due(void *node); /* the timer of held_timer: some of those whose life is over go */

#endif
