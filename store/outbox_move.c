/* How outbox rows move from state to state: receipts, ends, and dead letters that are sent again. */
#include "store/outbox_internal.h"

#include <stdlib.h>

#include "base/sm.h"
#include "base/text.h"
#include "store/track.h"

/* Receipts that one of the last EARLY_MS got are written with its time; so are tries. */
#define EARLY_MS 20

/* `?N` is appended while there is room; the longest of what is appended fits above it. A new row holds the room of one
 * step: its first update makes it no longer, and moves nothing in its page. */
#define APPEND_TRACK(n)                                                                            \
	" track = CASE WHEN track = x'0000000000000000' THEN " n                                      \
	" WHEN length(track) <= 448 THEN CAST(track || " n " AS BLOB) ELSE track END"
_Static_assert(TRACK_MAX - 448 >= 2 * TRACK_STEP_MAX, "room");

/* What was given up may have arrived all the same: then that is what is shown (10.3). What the user
 * cancelled stays cancelled. */
#define TRUTH (SM_TO(OUTBOX_DELIVERED) | SM_TO(OUTBOX_READ))
static const struct sm_row MOVES[OUTBOX_STATES] = {
	[OUTBOX_QUEUED] = {"queued", TRUTH | SM_TO(OUTBOX_SENT) | SM_TO(OUTBOX_FAILED) |
					     SM_TO(OUTBOX_EXPIRED) | SM_TO(OUTBOX_REJECTED) |
					     SM_TO(OUTBOX_CANCELLED) | SM_TO(OUTBOX_UNKNOWN)},
	[OUTBOX_SENT] = {"sent", TRUTH | SM_TO(OUTBOX_FAILED) | SM_TO(OUTBOX_REJECTED) |
					 SM_TO(OUTBOX_UNKNOWN)},
	[OUTBOX_DELIVERED] = {"delivered", SM_TO(OUTBOX_READ)},
	[OUTBOX_READ] = {"read", 0},
	/* "May have been delivered" is nearer to it than what we thought. */
	[OUTBOX_FAILED] = {"failed", TRUTH | SM_TO(OUTBOX_UNKNOWN)},
	[OUTBOX_EXPIRED] = {"expired", TRUTH | SM_TO(OUTBOX_UNKNOWN)},
	[OUTBOX_REJECTED] = {"rejected", TRUTH | SM_TO(OUTBOX_UNKNOWN)},
	[OUTBOX_CANCELLED] = {"cancelled", 0},
	[OUTBOX_UNKNOWN] = {"unknown", TRUTH},
};

const char *outbox_state_word(enum outbox_state s)
{
	return (unsigned)s < OUTBOX_STATES ? MOVES[s].name : "none";
}

enum err outbox_state_parse(struct bytes word, enum outbox_state *out)
{
	for (unsigned i = 0; i < OUTBOX_STATES; i++) {
		if (bytes_eq(word, bytes_str(MOVES[i].name))) {
			*out = (enum outbox_state)i;
			return ERR_OK;
		}
	}
	return ERR_MALFORMED;
}

bool outbox_state_terminal(enum outbox_state s)
{
	return s != OUTBOX_QUEUED;
}

/* States that only a try can lead to. */
static bool arrived(enum outbox_state to)
{
	return to == OUTBOX_SENT || to == OUTBOX_DELIVERED || to == OUTBOX_READ || to == OUTBOX_REJECTED;
}

/* A dead letter keeps its body until it is pruned: outbox_requeue() can send it again. */
static bool has_body(enum outbox_state s)
{
	return s == OUTBOX_QUEUED || s >= OUTBOX_FAILED;
}

static enum err delete_body(struct store *s, int64_t seq)
{
	sqlite3_stmt *st = store_stmt(s, ST_OUT_BODY_DELETE, "DELETE FROM outbox_body WHERE seq = ?1");

	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, seq);
	return store_write(s, st);
}

static size_t write_try(const struct outbox_try *t, enum track_what what, uint8_t out[static TRACK_STEP_MAX])
{
	struct track_step step = {.what = what};

	if (!t || !t->at_ms)
		return 0;
	step.at_ms = clip_time(t->at_ms);
	step.via = t->via;
	step.hops = t->hops;
	step.has_who = t->by.hex[0] != 0;
	step.who = t->by;
	return track_write(&step, out);
}

static size_t write_entered(enum outbox_state state, uint64_t at_ms, uint8_t out[static TRACK_STEP_MAX])
{
	struct track_step step = {.what = TRACK_STATE, .state = state, .at_ms = at_ms};

	return track_write(&step, out);
}

enum err outbox_write_state(struct store *s, struct outbox_row *r, enum outbox_state to,
			    const char *reason, uint64_t wall_ms, const struct outbox_try *t)
{
	uint8_t track[2 * TRACK_STEP_MAX];
	struct count_move count = {
		.box = BOX_OUT, .from = (uint8_t)r->state, .to = (uint8_t)to, .bytes = r->body_len};
	bool words = reason && *reason;
	struct out_peer *p;
	sqlite3_stmt *st;

	enum err e = peer_blob(&r->to, count.peer);
	if (e != ERR_OK)
		return ERR_CORRUPT;
	if (s->failed)
		return ERR_STORE;
	e = counts_reserve(&s->counts, count.peer);
	if (e == ERR_OK)
		e = waiting_reserve_del(&s->waiting);
	if (e != ERR_OK)
		return e;
	if (words) {
		/* Reasons come from peers too. */
		text_safe(bytes_str(reason), r->reason, sizeof(r->reason));
		e = outbox_seal_words(s, r);
		if (e != ERR_OK)
			return e;
		st = store_stmt(
			s, ST_OUT_STATE_WORDS,
			"UPDATE outbox SET state = ?2, changed = ?3, words = ?4,"
				" attempts = attempts + ?5," APPEND_TRACK("?6") " WHERE seq = ?1");
		if (st)
			bind_bytes(st, 4, buf_bytes(&s->sealed_words));
	} else {
		st = store_stmt(s, ST_OUT_STATE,
				"UPDATE outbox SET state = ?2, changed = ?3, attempts = attempts + ?5,"
				APPEND_TRACK("?6") " WHERE seq = ?1");
	}
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	sqlite3_bind_int(st, 2, (int)to);
	bind_int(st, 3, wall_ms);
	/* The try that brought it there; earlier ones were counted by outbox_attempt(). */
	sqlite3_bind_int(st, 5, r->state == OUTBOX_QUEUED && arrived(to));
	/* When it entered the state that it leaves would else be written over. */
	size_t steps = r->state != OUTBOX_QUEUED ? write_entered(r->state, r->changed_ms, track) : 0;
	steps += write_try(t, TRACK_HANDED, track + steps);
	bind_bytes(st, 6, bytes_of(track, steps));
	e = store_write(s, st);
	if (e == ERR_OK && has_body(r->state) && !has_body(to))
		e = delete_body(s, r->seq);
	if (e != ERR_OK)
		return e;
	counts_move(&s->counts, &count);
	p = waiting_peer(&s->waiting, count.peer);
	if (p)
		waiting_del(&s->waiting, p, (uint8_t)(OUTBOX_PRIORITIES - 1 - r->priority), r->seq);
	r->state = to;
	r->changed_ms = clip_time(wall_ms);
	return ERR_OK;
}

/* `e` says how fetching *r went. A row whose texts do not open can still be moved. */
static enum err move_row(struct store *s, enum err e, struct outbox_row *r, enum outbox_state to,
			 const char *reason, uint64_t wall_ms, const struct outbox_try *t)
{
	if (e != ERR_OK && e != ERR_CORRUPT)
		return e;
	if ((unsigned)to >= OUTBOX_STATES || (unsigned)r->state >= OUTBOX_STATES ||
	    !sm_allows(MOVES, r->state, to))
		return ERR_WRONG_STATE;
	/* Sealing new words would make a bad row look whole again. */
	return outbox_write_state(s, r, to, e == ERR_CORRUPT ? NULL : reason, wall_ms, t);
}

enum err outbox_move(struct store *s, int64_t seq, enum outbox_state to, const char *reason,
		     uint64_t wall_ms)
{
	struct outbox_row r;
	enum err e = outbox_fetch(s, seq, OUT_WHOLE, &r);

	return move_row(s, e, &r, to, reason, wall_ms, NULL);
}

/* --- receipts of one kind, written together ------------------------------------------------------------- */
static int by_number(const void *a, const void *b)
{
	int64_t x = ((const struct receipt *)a)->row, y = ((const struct receipt *)b)->row;

	return x < y ? -1 : x > y;
}

/* What left together is written with the time of the first. */
static bool one_try(const struct outbox_try *a, const struct outbox_try *b)
{
	uint64_t apart = a->at_ms < b->at_ms ? b->at_ms - a->at_ms : a->at_ms - b->at_ms;

	return a->via == b->via && a->hops == b->hops && apart <= EARLY_MS && !a->at_ms == !b->at_ms &&
	       memcmp(a->by.hex, b->by.hex, sizeof(a->by.hex)) == 0;
}

static enum err write_run(struct store *s, int64_t first, int64_t last, const struct outbox_try *t)
{
	uint8_t track[TRACK_STEP_MAX];
	sqlite3_stmt *st = store_stmt(s, ST_RUN_STATE,
				      "UPDATE outbox SET state = ?1, changed = ?2, attempts = attempts + 1,"
				      APPEND_TRACK("?5") " WHERE seq BETWEEN ?3 AND ?4");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int(st, 1, (int)s->receipts_to);
	bind_int(st, 2, s->receipts_ms);
	sqlite3_bind_int64(st, 3, first);
	sqlite3_bind_int64(st, 4, last);
	bind_bytes(st, 5, bytes_of(track, write_try(t, TRACK_HANDED, track)));
	enum err e = store_write(s, st);
	if (e != ERR_OK)
		return e;
	st = store_stmt(s, ST_RUN_BODY, "DELETE FROM outbox_body WHERE seq BETWEEN ?1 AND ?2");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, first);
	sqlite3_bind_int64(st, 2, last);
	return store_write(s, st);
}

enum err outbox_flush(struct store *s)
{
	size_t n = s->receipts_n, from = 0;
	enum err e = ERR_OK;

	if (!n)
		return ERR_OK;
	s->receipts_n = 0; /* first: what follows asks for statements, which would flush again */
	for (size_t i = 1; i < n; i++) {
		if (s->receipts[i].row > s->receipts[i - 1].row)
			continue;
		qsort(s->receipts, n, sizeof(s->receipts[0]), by_number);
		break;
	}
	for (size_t i = 1; e == ERR_OK && i <= n; i++) {
		if (i < n && s->receipts[i].row == s->receipts[i - 1].row + 1 &&
		    one_try(&s->receipts[from].t, &s->receipts[i].t))
			continue;
		e = write_run(s, s->receipts[from].row, s->receipts[i - 1].row, &s->receipts[from].t);
		from = i;
	}
	return e;
}

/* ERR_NOTFOUND: not one of those that wait for this peer under this wire id; the long way then. */
static enum err receipt_in_memory(struct store *s, const struct node_id *peer, struct bytes id,
				  enum outbox_state to, uint64_t wall_ms, const struct outbox_try *t,
				  int64_t *seq)
{
	struct count_move count = {.box = BOX_OUT, .from = OUTBOX_QUEUED, .to = (uint8_t)to};
	uint8_t wire[WIRE_ID_BYTES];
	const struct out_open *open;
	const struct out_wait *wait;
	struct out_era *era;
	struct out_peer *p;

	if (id.n != 2 * WIRE_ID_BYTES || hex_decode(id, wire, sizeof(wire)) != ERR_OK ||
	    peer_blob(peer, count.peer) != ERR_OK || !(p = waiting_peer(&s->waiting, count.peer)) ||
	    !(era = waiting_era(p, wire)) || !(open = sorted_get(&era->open, wire_number(wire))) ||
	    !(wait = sorted_get(&p->queue[open->rank], (uint64_t)open->row)))
		return ERR_NOTFOUND;
	/* A row that was given another number in this group: the old one names it no more. */
	if (wait->era != era || wait->seq != open->seq)
		return ERR_NOTFOUND;
	if (s->failed)
		return ERR_STORE;
	enum err e = ERR_OK;
	if (s->receipts_n &&
	    (s->receipts_n == RECEIPTS_MAX || s->receipts_to != to ||
	     wall_ms < s->receipts_ms || wall_ms - s->receipts_ms > EARLY_MS))
		e = outbox_flush(s);
	if (e == ERR_OK)
		e = counts_reserve(&s->counts, count.peer);
	if (e == ERR_OK)
		e = waiting_reserve_del(&s->waiting);
	if (e == ERR_OK)
		e = store_begin(s);
	if (e != ERR_OK)
		return e;
	if (!s->receipts_n) {
		s->receipts_to = to;
		s->receipts_ms = wall_ms;
	}
	*seq = open->row;
	s->receipts[s->receipts_n++] = (struct receipt){.row = open->row, .t = t ? *t : (struct outbox_try){0}};
	count.bytes = wait->len;
	counts_move(&s->counts, &count);
	waiting_del(&s->waiting, p, open->rank, open->row);
	return ERR_OK;
}

enum err outbox_receipt(struct store *s, const struct node_id *peer, struct bytes id,
			enum outbox_state to, const char *reason, uint64_t wall_ms, const struct outbox_try *t,
			int64_t *seq)
{
	bool words = reason && *reason;
	struct outbox_row r;
	enum err e = ERR_NOTFOUND;

	if (!words && (to == OUTBOX_DELIVERED || to == OUTBOX_READ))
		e = receipt_in_memory(s, peer, id, to, wall_ms, t, seq);
	if (e != ERR_NOTFOUND)
		return e;
	e = outbox_fetch_id(s, id, words ? OUT_WHOLE : OUT_PLAIN, &r);
	if ((e == ERR_OK || e == ERR_CORRUPT) && !node_id_eq(peer, &r.to))
		return ERR_NOTFOUND;
	e = move_row(s, e, &r, to, reason, wall_ms, t);
	if (e == ERR_OK)
		*seq = r.seq;
	return e;
}

static enum err write_step(struct store *s, sqlite3_stmt *st, int64_t seq, const struct outbox_try *t,
			   enum track_what what)
{
	uint8_t track[TRACK_STEP_MAX];

	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, seq);
	bind_bytes(st, 2, bytes_of(track, write_try(t, what, track)));
	enum err e = store_write(s, st);
	if (e == ERR_OK && sqlite3_changes(s->db) == 0)
		return ERR_NOTFOUND;
	return e;
}

enum err outbox_attempt(struct store *s, int64_t seq, const struct outbox_try *t)
{
	return write_step(s,
			  store_stmt(s, ST_OUT_ATTEMPT,
				     "UPDATE outbox SET attempts = attempts + 1," APPEND_TRACK("?2") " WHERE seq = ?1"),
			  seq, t, TRACK_HANDED);
}

enum err outbox_kept(struct store *s, int64_t seq, const struct outbox_try *t)
{
	return write_step(s,
			  store_stmt(s, ST_OUT_KEPT,
				     "UPDATE outbox SET" APPEND_TRACK("?2") " WHERE seq = ?1 AND state = 0"),
			  seq, t, TRACK_STORED);
}

enum err outbox_track(struct store *s, int64_t seq, struct buf *out)
{
	sqlite3_stmt *st = store_stmt(s, ST_OUT_TRACK, "SELECT track FROM outbox WHERE seq = ?1");
	bool row;

	if (st)
		sqlite3_bind_int64(st, 1, seq);
	enum err e = store_read(s, st, &row);
	if (e != ERR_OK || !row)
		return e == ERR_OK ? ERR_NOTFOUND : e;
	buf_add(out, column_bytes(st, 0));
	sqlite3_reset(st);
	return out->err;
}

/* --- sent again ------------------------------------------------------------------------------------------ */
/* Id, wire id and expiry are bound into what is sealed, so both texts are sealed again. */
static enum err revive(struct store *s, struct outbox_row *r, bool wire_is_id, struct bytes body,
		       uint64_t wall_ms)
{
	uint8_t ad[OUT_AD_MAX], track[2 * TRACK_STEP_MAX];
	sqlite3_stmt *st;

	r->expires_ms = 0;
	r->reason[0] = 0;
	buf_reset(&s->sealed_body);
	enum err e = seal_put(&s->seal, outbox_ad(OUT_BODY, r, ad), body, &s->sealed_body);
	if (e == ERR_OK)
		e = outbox_seal_words(s, r);
	if (e != ERR_OK)
		return e;
	st = store_stmt(s, ST_OUT_REVIVE,
			"UPDATE outbox SET state = 0, changed = ?2, expires = 0, words = ?3,"
			" id = ?4, wire = ?5," APPEND_TRACK("?6") " WHERE seq = ?1");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	bind_int(st, 2, wall_ms);
	bind_bytes(st, 3, buf_bytes(&s->sealed_words));
	bind_bytes(st, 4, wire_is_id ? bytes_of("", 0) : bytes_str(r->id));
	bind_bytes(st, 5, BYTES_ARR(r->wire_id));
	size_t steps = write_entered(r->state, r->changed_ms, track);
	steps += write_entered(OUTBOX_QUEUED, clip_time(wall_ms), track + steps);
	bind_bytes(st, 6, bytes_of(track, steps));
	e = store_write(s, st);
	if (e != ERR_OK)
		return e;
	st = store_stmt(s, ST_OUT_REVIVE_BODY, "UPDATE outbox_body SET body = ?2 WHERE seq = ?1");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	bind_bytes(st, 2, buf_bytes(&s->sealed_body));
	return store_write(s, st);
}

static enum err requeue_row(struct store *s, struct outbox_row *r, struct bytes body, uint64_t wall_ms)
{
	struct count_move count = {
		.box = BOX_OUT, .from = (uint8_t)r->state, .to = OUTBOX_QUEUED, .bytes = r->body_len};
	uint8_t rank = (uint8_t)(OUTBOX_PRIORITIES - 1 - r->priority);
	struct out_wait wait = {.row = (uint64_t)r->seq, .len = r->body_len};
	struct row_keys before, now;
	struct out_peer *p;
	char old_wire[2 * WIRE_ID_BYTES + 1];
	struct outbox_row old = *r;

	hex_encode(BYTES_ARR(r->wire_id), old_wire);
	bool wire_is_id = r->has_wire && strcmp(r->id, old_wire) == 0;
	enum err e = peer_blob(&r->to, count.peer);
	if (e == ERR_OK && outbox_full(s, count.peer, r->body_len))
		e = ERR_FULL;
	if (e == ERR_OK)
		e = counts_reserve(&s->counts, count.peer);
	if (e == ERR_OK)
		e = idmap_reserve(&s->ids[BOX_OUT], 4);
	if (e == ERR_OK)
		e = waiting_reserve(&s->waiting, count.peer, rank, &p);
	if (e == ERR_OK)
		e = outbox_set_wire(s, p, r, &wait);
	if (e != ERR_OK)
		return e;
	if (wire_is_id)
		hex_encode(BYTES_ARR(r->wire_id), r->id);
	e = revive(s, r, wire_is_id, body, wall_ms);
	if (e != ERR_OK)
		return e;
	counts_move(&s->counts, &count);
	waiting_add(&s->waiting, p, rank, &wait);
	for (unsigned i = 0, n = outbox_keys(&old, &before); i < n; i++)
		idmap_del(&s->ids[BOX_OUT], before.key[i], r->seq);
	for (unsigned i = 0, n = outbox_keys(r, &now); i < n; i++)
		idmap_add(&s->ids[BOX_OUT], now.key[i], r->seq);
	return ERR_OK;
}

enum err outbox_requeue(struct store *s, int64_t seq, uint64_t wall_ms, char new_id[static 129])
{
	struct outbox_row r;
	struct buf body;
	bool has;

	if (s->failed)
		return ERR_STORE;
	buf_init(&body, STORE_BODY_MAX);
	enum err e = outbox_fetch_body(s, seq, &r, &body, &has);
	if (e == ERR_OK && (r.state < OUTBOX_FAILED || !has))
		e = ERR_WRONG_STATE;
	if (e == ERR_OK)
		e = requeue_row(s, &r, buf_bytes(&body), wall_ms);
	if (e == ERR_OK)
		memcpy(new_id, r.id, sizeof(r.id));
	buf_wipe(&body);
	buf_fini(&body);
	return e;
}
