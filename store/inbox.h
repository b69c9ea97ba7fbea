/*
 * inbox.h -- messages that are ours to hand to a program, each exactly once.
 *
 * A message is kept from the moment its group is committed; (author, msg_id) is remembered for
 * `keep_ms` after that, also when the body is gone, so that a repeat is ERR_EXISTS.
 *
 * Messages of im2 have a wire id, era(8) || number(8), and a table of their own in memory, rebuilt at open
 * (im2.md 9.5): what is in flight of each author and era, above a mark below which nothing is taken any more.
 * An entry leaves by inbox_settled(), or when its time has come (in running time, see store_running_ms();
 * store_prune() looks), never for lack of room. A row is not pruned while its entry is there.
 */
#ifndef STORE_INBOX_H
#define STORE_INBOX_H

#include "store/store.h"

#define INBOX_META_MAX 320
#define INBOX_ENTRIES_NEW 64512 /* of one author; above it only numbers below the highest held */
#define INBOX_ENTRIES_MAX 65536
#define INBOX_ERAS_MAX 64	/* of one author */

enum inbox_state { INBOX_NEW, INBOX_READ, INBOX_HELD, INBOX_DROPPED, INBOX_STATES };
const char *inbox_state_word(enum inbox_state s); /* "new", "read", "held", "dropped" */

/* Through whom it came: its author's own session, or relays, sealed to a prekey of ours or to our long-term key
 * (then without forward secrecy, im2.md 11.3). */
enum inbox_sealed { INBOX_OPEN, INBOX_SEALED, INBOX_SEALED_NO_FS };

struct inbox_new {
	struct node_id author, via; /* via: the neighbour that brought it */
	struct bytes id, type;
	uint8_t priority;
	uint64_t created_ms;        /* by the author's clock */
	uint64_t received_ms;
	bool held;                  /* the author is pending: kept, not shown, not confirmed */
	bool proven;                /* inner signature by the author verified */
	struct bytes body;
	/* im2. `id` is then ignored: the row's id is the hex of the wire id. */
	bool has_wire;
	uint8_t wire_id[16];
	uint8_t digest[16];         /* of the content (9.5) */
	struct bytes meta;          /* 0..INBOX_META_MAX opaque bytes, sealed with the type */
	uint64_t ttl_s;             /* 0 = a day; cut at 30 days */
	bool clock_plausible;       /* ours; false: remembered for 7 days at least */
	uint64_t keep_s;            /* remembered for so long at least: until a prekey is erased; 0 = as above */
	enum inbox_sealed sealed;
};

struct inbox_row {
	int64_t seq;
	struct node_id author, via;
	char id[129];
	char type[33];
	uint8_t priority;
	enum inbox_state state;
	uint64_t created_ms, received_ms, read_ms;
	uint64_t freed_ms;          /* when it was let out of the hold, or refused there; 0: it was not held, or is */
	bool proven;
	uint32_t body_len;
	bool has_wire;
	uint64_t keep_ms;           /* with a wire id: remembered until then, in running time */
	enum inbox_sealed sealed;
	uint64_t arrived_ms;        /* running time, when it came sealed */
	uint8_t wire_id[16];
	uint16_t meta_len;
	uint8_t meta[INBOX_META_MAX];
};
/* How long it has been here, in running time, when inbox_put() was told this of it. 0 without a wire id. */
uint64_t inbox_age_ms(struct store *s, const struct inbox_row *r, uint64_t ttl_s, bool clock_plausible);

/* ERR_EXISTS: a repeat (*state tells what the kept one is: NEW/READ -> confirm again, HELD -> not).
 * ERR_FULL at a limit: not kept, must not be confirmed. With a wire id also, in this order:
 * ERR_EXISTS also when no digest is known of the kept one; ERR_DUPLICATE for the same id with another content
 * (reason 9, audit); ERR_EXPIRED below the mark of its era (reason 12); ERR_FULL (reason 6) for a new message of
 * an author who has INBOX_ENTRIES_NEW entries, for any with INBOX_ENTRIES_MAX, and for one era too many. */
enum err inbox_put(struct store *s, const struct inbox_new *m, int64_t *seq, enum inbox_state *state) MUST_CHECK;

/* What is known of a message of `author` with this id (of im2: the hex of its wire id); nothing is taken.
 * ERR_EXISTS: there is one, *out says which; ERR_EXPIRED below the mark of its era; ERR_NOTFOUND. */
struct inbox_known {
	int64_t seq;
	enum inbox_state state;
	bool has_digest;
	uint8_t digest[16];
};
enum err inbox_known(struct store *s, const struct node_id *author, struct bytes id, struct inbox_known *out) MUST_CHECK;

struct inbox_filter {
	const struct node_id *author; /* NULL = all */
	int state;                    /* -1 = NEW and READ */
	int64_t after_seq;            /* oldest first, after this one */
};
enum err inbox_list(struct store *s, const struct inbox_filter *f, struct inbox_row *rows, size_t max,
		    size_t *n) MUST_CHECK;
enum err inbox_get(struct store *s, int64_t seq, struct inbox_row *out) MUST_CHECK;
enum err inbox_find(struct store *s, struct bytes id, struct inbox_row *rows, size_t max, size_t *n) MUST_CHECK;
enum err inbox_body(struct store *s, int64_t seq, struct buf *out) MUST_CHECK;
/* NEW -> READ (idempotent). ERR_NOTFOUND, ERR_WRONG_STATE for held rows. */
enum err inbox_mark_read(struct store *s, int64_t seq, uint64_t wall_ms, bool *changed) MUST_CHECK;
/* Both for a row that was just listed, which is not looked up and opened again: nothing may have been written
 * to it since. The second keeps `r` up to date. */
enum err inbox_row_body(struct store *s, const struct inbox_row *r, struct buf *out) MUST_CHECK;
enum err inbox_row_read(struct store *s, struct inbox_row *r, uint64_t wall_ms, bool *changed) MUST_CHECK;
/* Rows read whose receipt has not gone out yet: survive restarts. The first: those that came in the session of `via`;
 * the second: those of `author` that came sealed, after row `after_seq`. */
enum err inbox_unreported(struct store *s, const struct node_id *via, struct inbox_row *rows, size_t max,
			  size_t *n) MUST_CHECK;
enum err inbox_unreported_sealed(struct store *s, const struct node_id *author, int64_t after_seq,
				 struct inbox_row *rows, size_t max, size_t *n) MUST_CHECK;
enum err inbox_mark_reported(struct store *s, int64_t seq) MUST_CHECK;
/* HELD rows of `author` become NEW (approved) or DROPPED (blocked); up to max rows returned. */
enum err inbox_release(struct store *s, const struct node_id *author, bool accept, struct inbox_row *rows,
		       size_t max, size_t *n) MUST_CHECK;
/* Body gone, duplicate memory stays. read_ms of a DROPPED row is 0 only when it was refused while held. */
enum err inbox_delete(struct store *s, int64_t seq) MUST_CHECK;
enum err inbox_count(struct store *s, const struct node_id *author, uint64_t per_state[static INBOX_STATES]) MUST_CHECK;

/* --- settling (9.5) ------------------------------------------------------------------------------------- */
/* The author will not send numbers of `era` below `seq` again. Raises the mark in the group, never lowers it;
 * entries below leave the memory when the group is committed, but for held ones and those whose receipt is
 * due. An era that nothing came from gets its mark as well: this node may be the one that was restored.
 * ERR_MALFORMED for 0 and above 2^63 - 2; ERR_FULL for one era too many (nothing is lost by that). */
enum err inbox_settled(struct store *s, const struct node_id *author, const uint8_t era[static 8],
		       uint64_t seq) MUST_CHECK;
/* Whether something of this era of `author` was taken or settled. */
bool inbox_has_era(struct store *s, const struct node_id *author, const uint8_t era[static 8]);
/* For SEEN: the newest era of `author`, and the highest number in it that is held or settled. ERR_NOTFOUND when
 * nothing of him is known. */
enum err inbox_seen(struct store *s, const struct node_id *author, uint8_t era[static 8],
		    uint64_t *seq) MUST_CHECK;
struct inbox_table {
	size_t authors, eras, entries;
	size_t bytes; /* allocated for entries */
};
void inbox_table(struct store *s, struct inbox_table *out);

/* --- receipts that have to leave (10.4) ----------------------------------------------------------------- */
/* Receipts of all committed rows of `author` up to row `upto_seq` have left. A soft write: kept in memory, and
 * written once for each author at the end of a group that is open or is opened later. */
void inbox_receipts_left(struct store *s, const struct node_id *author, int64_t upto_seq);
/* For a new session: rows of `author` with a wire id after row `after_seq` whose receipts may not have left,
 * in order. Rows that were let out of the hold are among them until their receipt has left. */
enum err inbox_receipts_due(struct store *s, const struct node_id *author, int64_t after_seq,
			    struct inbox_row *rows, size_t max, size_t *n) MUST_CHECK;

#endif
