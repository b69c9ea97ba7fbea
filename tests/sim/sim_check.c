/*
 * What must always hold. The check keeps its own book: what was submitted, how it was answered, what
 * arrived, what was handed to a program; and compares it with what the nodes say and keep.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/sm.h"
#include "base/text.h"
#include "daemon/node_internal.h"
#include "protocol/im2/im2_internal.h"
#include "tests/sim/sim.h"

#define READY_MAX 1024 /* of daemon/scheduler.c */
#define MARK_LEN 32
#define MSG_TEXT 320
#define PIECES 60000

/* Long enough that base64 at any alignment holds 16 characters that stem from it alone. */
static const char mark[MARK_LEN + 1] = "~plaintext~of~the~simulator~42!~";
static char mark64[3][17];

const char *const sabotage_words[SAB_COUNT] = { "none",	 "dup",	  "lose",     "reorder",
						   "leak", "nonce", "volatile", "downgrade" };

/* What an observer may see of one message. Sending again after a lost session is no move. */
static const struct sm_row seen_moves[OUTBOX_STATES] = {
	[OUTBOX_QUEUED] = { "queued", SM_TO(OUTBOX_SENT) | SM_TO(OUTBOX_DELIVERED) | SM_TO(OUTBOX_READ) |
					      SM_TO(OUTBOX_FAILED) | SM_TO(OUTBOX_EXPIRED) |
					      SM_TO(OUTBOX_REJECTED) | SM_TO(OUTBOX_CANCELLED) | SM_TO(OUTBOX_UNKNOWN) },
	[OUTBOX_SENT] = { "sent", SM_TO(OUTBOX_SENT) | SM_TO(OUTBOX_DELIVERED) | SM_TO(OUTBOX_READ) |
					  SM_TO(OUTBOX_FAILED) | SM_TO(OUTBOX_EXPIRED) |
					  SM_TO(OUTBOX_REJECTED) | SM_TO(OUTBOX_CANCELLED) | SM_TO(OUTBOX_UNKNOWN) },
	[OUTBOX_DELIVERED] = { "delivered", SM_TO(OUTBOX_READ) },
	[OUTBOX_READ] = { "read", 0 },
	/* The truth wins. */
	[OUTBOX_FAILED] = { "failed", SM_TO(OUTBOX_DELIVERED) | SM_TO(OUTBOX_READ) | SM_TO(OUTBOX_UNKNOWN) },
	[OUTBOX_EXPIRED] = { "expired", SM_TO(OUTBOX_DELIVERED) | SM_TO(OUTBOX_READ) | SM_TO(OUTBOX_UNKNOWN) },
	[OUTBOX_REJECTED] = { "rejected", SM_TO(OUTBOX_DELIVERED) | SM_TO(OUTBOX_READ) | SM_TO(OUTBOX_UNKNOWN) },
	[OUTBOX_CANCELLED] = { "cancelled", 0 },
	[OUTBOX_UNKNOWN] = { "unknown", SM_TO(OUTBOX_DELIVERED) | SM_TO(OUTBOX_READ) },
};

/* --- the book ----------------------------------------------------------------------------------- */
static struct map *book(struct world *w, size_t value_size)
{
	struct map_opts o = { .capacity = 1u << 20, .value_size = value_size, .policy = MAP_REFUSE };
	struct map *m;

	rng_fill(&w->random, o.hash_key, sizeof o.hash_key);
	m = map_new(&o);
	BUG_ON(!m);
	return m;
}

void check_init(struct check *c, struct world *w)
{
	char all[BASE64_LEN(MARK_LEN) + 1];

	c->by_id = book(w, sizeof(size_t));
	c->newest = book(w, sizeof(uint64_t));
	buf_init(&c->body, STORE_BODY_MAX);
	buf_init(&c->want, STORE_BODY_MAX);
	for (size_t skip = 0; skip < 3; skip++) {
		base64_encode(bytes_of(mark + skip, 12), all);
		snprintf(mark64[skip], sizeof mark64[skip], "%.16s", all);
	}
}

void check_fini(struct check *c)
{
	free(c->msgs);
	map_free(c->by_id);
	map_free(c->newest);
	buf_fini(&c->body);
	buf_fini(&c->want);
}

static struct bytes id_key(unsigned author, const char *id, uint8_t out[static MAP_KEY_MAX])
{
	size_t n = strlen(id);

	BUG_ON(n > MSG_ID_MAX);
	out[0] = (uint8_t)author;
	memcpy(out + 1, id, n);
	return bytes_of(out, 1 + n);
}

struct msg *check_find(struct world *w, unsigned author, const char *id)
{
	uint8_t key[MAP_KEY_MAX];
	const size_t *at = map_peek(w->check.by_id, id_key(author, id, key));

	return at ? &w->check.msgs[*at] : NULL;
}

struct msg *check_add(struct world *w, unsigned from, unsigned to, const char *id)
{
	struct check *c = &w->check;
	uint8_t key[MAP_KEY_MAX];
	bool created;
	void *at;

	if (c->n == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 64;
		c->msgs = realloc(c->msgs, c->cap * sizeof *c->msgs);
		BUG_ON(!c->msgs);
	}
	struct msg *m = &c->msgs[c->n];

	memset(m, 0, sizeof *m);
	m->from = from;
	m->to = to;
	m->index = (unsigned)c->n;
	m->body = m->index;
	m->order = ++c->order;
	snprintf(m->id, sizeof m->id, "%s", id);
	BUG_ON(map_put(c->by_id, id_key(from, id, key), 0, &at, &created) != ERR_OK);
	if (!created) {
		memcpy(&m->older, at, sizeof m->older);
		m->older++;
	}
	memcpy(at, &c->n, sizeof c->n);
	c->n++;
	return m;
}

void check_alias(struct world *w, struct msg *m, const uint8_t wire_id[static 16])
{
	size_t at = (size_t)(m - w->check.msgs);
	char wire[2 * MSG_WIRE_ID + 1];
	uint8_t key[MAP_KEY_MAX];
	bool created;
	void *slot;

	hex_encode(bytes_of(wire_id, MSG_WIRE_ID), wire);
	if (strcmp(wire, m->id) == 0)
		return; /* one name: its row would be found twice */
	memcpy(m->wire, wire, sizeof m->wire);
	BUG_ON(map_put(w->check.by_id, id_key(m->from, wire, key), 0, &slot, &created) != ERR_OK);
	if (!created && !m->older) {
		memcpy(&m->older, slot, sizeof m->older);
		m->older = m->older == at ? 0 : m->older + 1;
	}
	memcpy(slot, &at, sizeof at);
}

/* The message that this row of the inbox is: an author that was restored may name another one alike. */
static struct msg *msg_of_row(struct sim_node *s, unsigned author, const char *id, int64_t seq)
{
	struct check *c = &s->w->check;
	struct msg *newest = author < SIM_NODES_MAX ? check_find(s->w, author, id) : NULL, *m = newest;

	while (m && !(m->to == s->i && m->arrived && m->inbox_seq == seq))
		m = m->older ? &c->msgs[m->older - 1] : NULL;
	return m ? m : newest;
}

/* Every byte follows from the seed and the message. Marks are all over it, so that a part that leaks
 * is noticed as well. */
struct bytes body_of(struct world *w, const struct msg *m, struct buf *out)
{
	struct rng r;
	uint8_t *p;

	rng_seed(&r, w->seed, 1000000 + m->body);
	buf_reset(out);
	p = buf_reserve(out, m->size ? m->size : 1);
	BUG_ON(!p);
	rng_fill(&r, p, m->size);
	for (size_t at = 0; at + MARK_LEN <= m->size; at += 1024)
		memcpy(p + at, mark, MARK_LEN);
	out->n = m->size;
	return buf_bytes(out);
}

static const char *msg_text(struct world *w, const struct msg *m, char out[static MSG_TEXT])
{
	snprintf(out, MSG_TEXT, "message %s of node%u to node%u (priority %u, %u bytes, seen as %s%s%s%s%s)", m->id, m->from,
		 m->to, m->priority, m->size, outbox_state_word(m->seen), m->arrived ? ", arrived" : "",
		 m->held ? ", held" : "", m->cancelled ? ", cancelled" : "", m->handed ? ", handed" : "");
	return out;
}

static void broken(struct world *w, const struct msg *m, const char *what)
{
	char text[MSG_TEXT];

	world_fail(w, "%s: %s", what, msg_text(w, m, text));
}

void check_answered(struct world *w, struct sim_node *s, const char *id, enum err e)
{
	struct msg *m = check_find(w, s->i, id);

	trace("node%u answers %s: %s", s->i, id, err_word(e));
	if (!m || m->answer != ANSWER_WAITING) {
		world_fail(w, "node%u answers a submission that does not wait: %s", s->i, id);
		return;
	}
	if (e != ERR_OK && e != ERR_STORE)
		broken(w, m, "a submission was answered with something else than ok or store");
	m->answer = e == ERR_OK ? ANSWER_OK : ANSWER_REFUSED;
}

static void arrived(struct sim_node *s, const char *id, unsigned author, int64_t seq, bool held);

/* --- what the store says now ------------------------------------------------------------------------ */
/* After a rollback or a restart: what was not committed has not happened, and nobody may have been told
 * that it had. */
static void resync(struct sim_node *s)
{
	struct world *w = s->w;

	for (size_t i = 0; i < w->check.n && !w->failed; i++) {
		struct msg *m = &w->check.msgs[i];
		struct outbox_row row;

		if (m->from != s->i || m->forgotten || (m->answer != ANSWER_OK && m->answer != ANSWER_UNKNOWN))
			continue;
		enum err e = outbox_get(s->store, bytes_str(m->id), &row);

		if (m->answer == ANSWER_UNKNOWN) {
			/* Nobody heard an answer: either is right, but it must stay so. */
			m->answer = e == ERR_OK ? ANSWER_OK : ANSWER_REFUSED;
			if (e == ERR_OK)
				m->seen = row.state;
			continue;
		}
		if (e != ERR_OK) {
			broken(w, m, "answered ok, but its row is gone");
			return;
		}
		if (m->cancelled && row.state == OUTBOX_QUEUED) {
			broken(w, m, "its cancellation was answered ok, but it waits again");
			return;
		}
		m->seen = row.state;
	}
}

static bool look_for_failures(struct sim_node *s)
{
	uint64_t failures = node_counters(s->node)->store_failures;

	if (failures == s->failures_seen)
		return false;
	s->failures_seen = failures;
	resync(s);
	return true;
}

void check_crashed(struct sim_node *s)
{
	struct world *w = s->w;

	for (size_t i = 0; i < w->check.n; i++) {
		struct msg *m = &w->check.msgs[i];

		if (m->from == s->i && m->answer == ANSWER_WAITING)
			m->answer = ANSWER_UNKNOWN;
	}
}

static bool named(const struct inbox_row *row, const struct msg *m)
{
	return strcmp(row->id, m->id) == 0 || (m->wire[0] && strcmp(row->id, m->wire) == 0);
}

/* What came while it stopped was kept and told nobody: a program finds it in the inbox. */
static void look_for_arrivals(struct sim_node *s)
{
	static const int states[] = { INBOX_NEW, INBOX_HELD };
	struct world *w = s->w;

	for (size_t k = 0; k < 2; k++) {
		struct inbox_filter f = { .state = states[k] };
		struct inbox_row rows[64];
		size_t n = 0;

		do {
			if (inbox_list(s->store, &f, rows, 64, &n) != ERR_OK)
				return;
			for (size_t i = 0; i < n && !w->failed; i++) {
				unsigned author = world_index(w, &rows[i].author);
				const struct msg *m = msg_of_row(s, author, rows[i].id, rows[i].seq);

				f.after_seq = rows[i].seq;
				if (!m || !m->arrived)
					arrived(s, rows[i].id, author, rows[i].seq, states[k] == INBOX_HELD);
			}
		} while (n == 64 && !w->failed);
	}
}

void check_restarted(struct sim_node *s)
{
	struct world *w = s->w;

	resync(s);
	for (size_t i = 0; i < w->check.n && !w->failed; i++) {
		struct msg *m = &w->check.msgs[i];
		struct inbox_row row;

		if (m->to != s->i || !m->arrived)
			continue;
		if (inbox_get(s->store, m->inbox_seq, &row) != ERR_OK || !named(&row, m))
			broken(w, m, "it had arrived, and the restart lost it");
		else if (m->handed && row.state != INBOX_READ)
			broken(w, m, "it was handed to a program, and after the restart it is new again");
		else if (m->held && (row.state == INBOX_NEW || row.state == INBOX_READ))
			m->held = false; /* released by the last thing that the node did, and nobody heard of it */
	}
	look_for_arrivals(s);
}

static bool row_of(struct sim_node *s, const struct msg *m, const char *id, struct inbox_row *out)
{
	struct inbox_row rows[8];
	size_t n = 0;

	if (!id[0] || inbox_find(s->store, bytes_str(id), rows, 8, &n) != ERR_OK)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (world_index(s->w, &rows[i].author) != m->from)
			continue;
		*out = rows[i];
		return true;
	}
	return false;
}

void check_restored(struct sim_node *s)
{
	struct world *w = s->w;

	for (size_t i = 0; i < w->check.n; i++) {
		struct msg *m = &w->check.msgs[i];
		struct outbox_row row;
		struct inbox_row in;

		if (m->from == s->i && !m->forgotten) {
			m->forgotten = check_find(w, m->from, m->id) != m ||
				       outbox_get(s->store, bytes_str(m->id), &row) != ERR_OK;
			m->restored = true;
			if (!m->forgotten) {
				m->answer = ANSWER_OK;
				m->seen = row.state;
				m->cancelled = row.state == OUTBOX_CANCELLED;
			}
		}
		if (m->to != s->i || !m->arrived)
			continue;
		if (row_of(s, m, m->id, &in) || row_of(s, m, m->wire, &in)) {
			m->inbox_seq = in.seq;
			m->held = in.state == INBOX_HELD;
			m->handed = in.state == INBOX_READ;
		} else {
			m->arrived = m->held = m->handed = false;
			m->lost_there = true;
		}
	}
	look_for_arrivals(s);
}

/* --- arrivals ----------------------------------------------------------------------------------------- */
static bool body_equal(struct sim_node *s, int64_t seq, const struct msg *m)
{
	struct check *c = &s->w->check;

	buf_reset(&c->body);
	if (inbox_body(s->store, seq, &c->body) != ERR_OK)
		return false;
	return bytes_eq(buf_bytes(&c->body), body_of(s->w, m, &c->want));
}

static unsigned rows_of(struct sim_node *s, const struct msg *m)
{
	struct inbox_row rows[8];
	size_t n = 0;
	unsigned k = 0;

	if (inbox_find(s->store, bytes_str(m->id), rows, 8, &n) != ERR_OK)
		return 0;
	for (size_t i = 0; i < n; i++)
		k += world_index(s->w, &rows[i].author) == m->from;
	if (!m->wire[0] || inbox_find(s->store, bytes_str(m->wire), rows, 8, &n) != ERR_OK)
		return k;
	for (size_t i = 0; i < n; i++)
		k += world_index(s->w, &rows[i].author) == m->from;
	return k;
}

/* First deliveries keep the order of submission, per author, receiver and priority. */
static void order_kept(struct world *w, const struct msg *m)
{
	uint8_t key[3] = { (uint8_t)m->from, (uint8_t)m->to, m->priority };
	bool created;
	uint64_t newest;
	void *at;

	/* A refusal (a box is full) that gets lost with its session is asked again, and by then there may be
	 * room: rather late than never. */
	if (m->any_order || w->plan.unreliable || w->plan.may_refuse)
		return;
	/* im2 promises none (im2.md 10.3). */
	if (w->plan.adversary || (w->plan.im2[m->from] != IM2_OFF && w->plan.im2[m->to] != IM2_OFF))
		return;
	BUG_ON(map_put(w->check.newest, BYTES_ARR(key), 0, &at, &created) != ERR_OK);
	memcpy(&newest, at, sizeof newest);
	if (m->order < newest) {
		broken(w, m, "it arrived after a later one of the same priority");
		return;
	}
	memcpy(at, &m->order, sizeof m->order);
}

static void arrived(struct sim_node *s, const char *id, unsigned author, int64_t seq, bool held)
{
	struct world *w = s->w;
	struct msg *m = author < SIM_NODES_MAX ? check_find(w, author, id) : NULL;
	struct inbox_row row;

	/* An author that was restored may have named another message alike, and the old one was under way. */
	while (m && m->older && !m->arrived && (m->to != s->i || !body_equal(s, seq, m)))
		m = &w->check.msgs[m->older - 1];
	if (!m || m->to != s->i) {
		world_fail(w, "node%u received %s of node%u, which nobody sent to it", s->i, id, author);
		return;
	}
	if (m->answer != ANSWER_OK && !m->forgotten)
		broken(w, m, m->answer == ANSWER_REFUSED ? "it was refused, and yet it arrived" :
							  "it arrived before its submission was answered");
	else if (m->arrived && (held || !m->held))
		broken(w, m, "it was delivered twice");
	else if (m->arrived && m->inbox_seq != seq)
		broken(w, m, "its row has moved");
	else if (!m->arrived && m->seen == OUTBOX_REJECTED && !m->forgotten)
		broken(w, m, "it was delivered after its author heard that it was rejected");
	else if (inbox_get(s->store, seq, &row) != ERR_OK || !named(&row, m) ||
		 world_index(w, &row.author) != m->from)
		broken(w, m, "it is said to be in the inbox, and is not");
	else if (row.priority != m->priority || row.body_len != m->size || !body_equal(s, seq, m))
		broken(w, m, "it is not what was sent");
	else if (!row.proven && (!row.has_wire || w->plan.sign))
		broken(w, m, "its author is not proven");
	else if (rows_of(s, m) != 1)
		broken(w, m, "the inbox holds it twice");
	if (!m->arrived)
		order_kept(w, m);
	m->arrived = true;
	m->held = held;
	m->inbox_seq = seq;
	w->check.arrivals++;
}

/* --- the adapter, with what --self-test breaks in it -------------------------------------------------- */
static void hand_over(struct sim_node *s, const struct node_event *e, bool held)
{
	struct world *w = s->w;
	struct check *c = &w->check;
	unsigned author = world_index(w, &e->peer);
	const struct msg *m = author < SIM_NODES_MAX ? check_find(w, author, e->msg_id) : NULL;

	switch (w->sabotage) {
	case SAB_LOSE:
		if (!c->broken && m) {
			c->broken = true;
			return;
		}
		break;
	case SAB_DUP:
		if (!c->broken && c->arrivals == 1) {
			c->broken = true;
			arrived(s, e->msg_id, author, e->seq, held);
		}
		break;
	case SAB_REORDER:
		if (c->broken || !m)
			break;
		if (!c->back_full) {
			/* Held back, to come after the next one of its kind. */
			c->back_full = true;
			c->back = *m;
			c->back_seq = e->seq;
			return;
		}
		if (c->back.from != m->from || c->back.to != m->to || c->back.priority != m->priority)
			break;
		c->broken = true;
		arrived(s, e->msg_id, author, e->seq, held);
		arrived(s, c->back.id, author, c->back_seq, held);
		return;
	default:
		break;
	}
	arrived(s, e->msg_id, author, e->seq, held);
}

/* `fresh`: the book was just read from the store, which holds this move already. */
static void sender_sees(struct sim_node *s, const struct node_event *e, enum outbox_state to, bool fresh)
{
	struct world *w = s->w;
	struct msg *m = check_find(w, s->i, e->msg_id);

	if (!m) {
		world_fail(w, "node%u speaks of %s, which nobody submitted", s->i, e->msg_id);
		return;
	}
	if (world_index(w, &e->peer) != m->to)
		broken(w, m, "an event names another peer");
	if (m->answer != ANSWER_OK && to != OUTBOX_EXPIRED && to != OUTBOX_CANCELLED && !m->forgotten)
		broken(w, m, "it moves before its submission was answered");
	if (to == OUTBOX_QUEUED) {
		if (m->seen != OUTBOX_QUEUED || m->was_sent)
			broken(w, m, "it is queued again");
		return;
	}
	if (!(fresh && m->seen == to) && !sm_allows(seen_moves, m->seen, to)) {
		char why[80];

		snprintf(why, sizeof why, "it moves from %s to %s", outbox_state_word(m->seen), outbox_state_word(to));
		broken(w, m, why);
	}
	/* The old wire carries a little less. */
	if (to == OUTBOX_FAILED && !(m->size > MSG_BODY_MAX - 4000 && e->reason && strstr(e->reason, "too large") &&
				     world_generation(w, m->from, m->to) != GENERATION_IM2))
		broken(w, m, "it failed, and nothing here explains that");
	/* Restored, it gave a name out twice; until the receiver has said so, a receipt may speak of the other one. */
	bool namesake = s->restored && m->older;

	if ((to == OUTBOX_DELIVERED || to == OUTBOX_READ) && (!m->arrived || m->held) && !m->lost_there && !namesake)
		broken(w, m, "it is reported as delivered, and its receiver does not have it");
	if (to == OUTBOX_DELIVERED || to == OUTBOX_READ || to == OUTBOX_REJECTED) {
		/* What travels in pieces is sent with the last of them, and its receipt may be faster than that news. */
		if (!m->was_sent && !(m->size > PIECES && world_generation(w, m->from, m->to) == GENERATION_IM2))
			broken(w, m, "it ended at the far side, and was never sent");
	}
	if (to == OUTBOX_REJECTED && (!e->reason || !*e->reason))
		broken(w, m, "it was rejected without a reason");
	/* Its time is up, that is settled, and pieces of it were still on their way. */
	if (to == OUTBOX_UNKNOWN && !s->restored && m->seen != OUTBOX_EXPIRED)
		broken(w, m, "it is said to be settled, and its author forgot nothing");
	if (to == OUTBOX_REJECTED && strstr(e->reason, "conflict") && !s->restored)
		broken(w, m, "its id is in conflict, and its author forgot nothing");
	if (to == OUTBOX_SENT && w->plan.calm && m->sent_ms > s->online_ms[m->to])
		broken(w, m, "nothing went wrong, and it was sent again in the same session");
	if (to == OUTBOX_SENT)
		m->sent_ms = w->now_ms;
	m->was_sent = m->was_sent || to == OUTBOX_SENT;
	m->seen = to;
}

/* No downgrade: whoever has im2, and meets somebody who has it too, speaks nothing else, whatever the wire says. */
static void speaks_what_it_must(struct sim_node *s, const struct node_event *e)
{
	struct world *w = s->w;
	unsigned other = world_index(w, &e->peer);
	const struct pin *pin = pins_get(s->pins, &e->peer);
	enum generation must = other < SIM_NODES_MAX ? world_generation(w, s->i, other) : GENERATION_NONE;
	struct peer_view v;

	if (other < SIM_NODES_MAX)
		s->online_ms[other] = w->now_ms;
	node_peer_view(s->node, &e->peer, &v);
	if (w->sabotage == SAB_DOWNGRADE)
		v.generation = "0.9";
	if (strcmp(v.generation, must == GENERATION_IM2 ? "im2" : "0.9") != 0 || must == GENERATION_NONE)
		world_fail(w, "node%u (im2 %s) speaks %s with node%u (im2 %s)", s->i, im2_setting_word(s->im2),
			   v.generation, other, other < SIM_NODES_MAX ? im2_setting_word(w->nodes[other].im2) : "?");
	if (must == GENERATION_09 && s->im2 != IM2_OFF && pin && pin->im2_since_ms)
		world_fail(w, "node%u speaks 0.9 with node%u, which spoke im2 with it before", s->i, other);
}

void check_observe(void *node, const struct node_event *e)
{
	static const char *const words[OUTBOX_STATES] = {
		"message.queued", "message.sent",    "message.delivered", "message.read",
		"message.failed", "message.expired", "message.rejected",	 "message.cancelled",
		"message.unknown",
	};
	struct sim_node *s = node;

	trace("node%u event %s peer=node%u msg=%s reason=%s seq=%lld", s->i, e->type,
	      e->peer.hex[0] ? world_index(s->w, &e->peer) : 99, e->msg_id ? e->msg_id : "-",
	      e->reason ? e->reason : "-", (long long)e->seq);
	if (s->dying)
		return;
	bool fresh = look_for_failures(s);

	if (strcmp(e->type, "message.volatile") == 0)
		volatile_came(s, e);
	if (strcmp(e->type, "peer.online") == 0)
		speaks_what_it_must(s, e);
	if (strcmp(e->type, "inbox.new") == 0)
		hand_over(s, e, false);
	else if (strcmp(e->type, "inbox.held") == 0)
		hand_over(s, e, true);
	for (unsigned i = 0; i < OUTBOX_STATES; i++)
		if (strcmp(e->type, words[i]) == 0)
			sender_sees(s, e, (enum outbox_state)i, fresh);
}

/* --- programs read --------------------------------------------------------------------------------------- */
/* As a program does: the oldest new ones, marked as read, and only when that is on disk handed over. */
void check_read(struct sim_node *s, size_t max)
{
	struct world *w = s->w;
	struct inbox_filter f = { .state = INBOX_NEW };
	struct inbox_row rows[32];
	size_t n = 0, read = 0;

	do {
		if (!s->up || inbox_list(s->store, &f, rows, 32, &n) != ERR_OK)
			return;
		for (size_t i = 0; i < n && read < max && !w->failed; i++, read++) {
			bool changed = false;

			f.after_seq = rows[i].seq;
			enum err e = node_inbox_read(s->node, rows[i].seq, &changed);

			if (e == ERR_OK && changed)
				e = node_commit(s->node);
			trace("node%u reads %s: %s", s->i, rows[i].id, err_word(e));
			(void)look_for_failures(s);
			if (e == ERR_STORE)
				return;
			unsigned author = world_index(w, &rows[i].author);
			struct msg *m = msg_of_row(s, author, rows[i].id, rows[i].seq);

			if (!m)
				world_fail(w, "node%u reads %s, which nobody sent", s->i, rows[i].id);
			else if (e != ERR_OK || !changed)
				broken(w, m, "a new message cannot be read");
			else if (m->handed)
				broken(w, m, "it was handed to a program twice");
			else if (!body_equal(s, rows[i].seq, m))
				broken(w, m, "a program read something else than what was sent");
			if (m && !m->arrived) { /* a node that stops tells nobody what came */
				m->arrived = true;
				m->inbox_seq = rows[i].seq;
				w->check.arrivals++;
			}
			if (m)
				m->handed = true;
		}
	} while (n == 32 && read < max && !w->failed);
}

/* --- the wire and the disk ------------------------------------------------------------------------------- */
static bool shows_plaintext(struct bytes in)
{
	if (memmem(in.p, in.n, mark, MARK_LEN / 2))
		return true;
	for (int i = 0; i < 3; i++)
		if (memmem(in.p, in.n, mark64[i], 16))
			return true;
	return false;
}

void check_unit(void *world, struct bytes unit)
{
	static const char plain[] = "{\"payload\":\"~plaintext~of~the~simulator~42!~\"}";
	struct world *w = world;

	if (w->sabotage == SAB_LEAK && w->units == 20)
		unit = bytes_str(plain);
	if (shows_plaintext(unit))
		world_fail(w, "a unit on the wire shows plaintext");
}

static void scan_file(struct world *w, const char *path)
{
	FILE *f = fopen(path, "rb");
	struct buf b;
	size_t n;

	if (!f)
		return;
	buf_init(&b, 256u << 20);
	do {
		uint8_t *p = buf_reserve(&b, 65536);

		n = p ? fread(p, 1, 65536, f) : 0;
		b.n += n;
	} while (n);
	fclose(f);
	if (shows_plaintext(buf_bytes(&b)))
		world_fail(w, "%s shows plaintext", path);
	buf_fini(&b);
}

/* --- after every step --------------------------------------------------------------------------------------- */
static void view_fits(struct sim_node *s, unsigned other)
{
	struct world *w = s->w;
	struct peer_view v;

	node_peer_view(s->node, &w->nodes[other].id, &v);
	if (v.in_flight > (w->plan.native ? 2 : 1) * w->plan.window)
		world_fail(w, "node%u has %llu messages in flight to node%u; its window is %u", s->i,
			   (unsigned long long)v.in_flight, other, w->plan.window);
	if (v.waiting > READY_MAX + 2 * w->plan.window) /* what is sent again had left that list before */
		world_fail(w, "node%u keeps %llu messages for node%u in memory", s->i,
			   (unsigned long long)v.waiting, other);
	if (v.online && other == s->i)
		world_fail(w, "node%u has a session with itself", s->i);
}

/* Whoever sleeps has said everything: what waits in a connection would leave with the next message only, or never. */
static void nothing_waits(struct sim_node *s)
{
	const struct node *n = s->node;

	if (node_wants_turn(n))
		return;
	for (const struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		const struct conn *c = list_entry(l, struct conn, link);
		const struct im2_link *link = (const struct im2_link *)c->session;

		if (c->closing || !c->im2 || !im2_is_link(c->session))
			continue;
		if (im2_queue_left(&link->control) || link->out_at < link->out.n ||
		    (im2_queue_left(&link->batch) && !link->peer->transfers_out))
			world_fail(s->w, "node%u sleeps, and %zu + %zu bytes wait for node%u", s->i,
				   im2_queue_left(&link->control), im2_queue_left(&link->batch),
				   c->peer ? world_index(s->w, &c->peer->id) : 99);
		if (c->receipts_n)
			world_fail(s->w, "node%u sleeps on %zu receipts", s->i, c->receipts_n);
	}
	if (n->ops_n || n->hard || n->group_failed)
		world_fail(s->w, "node%u sleeps on an open group of %zu", s->i, n->ops_n);
}

void check_step(struct world *w)
{
	unsigned n = w->plan.nodes;

	for (unsigned i = 0; i < n && !w->failed; i++) {
		struct sim_node *s = &w->nodes[i];

		if (!s->up)
			continue;
		(void)look_for_failures(s);
		if (node_online(s->node) >= n)
			world_fail(w, "node%u has %zu sessions with %u others", i, node_online(s->node), n - 1);
		view_fits(s, (unsigned)((w->step + i) % n));
		nothing_waits(s);
	}
}

/* --- what happened ----------------------------------------------------------------------------------------- */
void check_totals(struct world *w)
{
	struct world_totals *t = &w->totals;

	t->units = w->units;
	for (unsigned i = 0; i < w->plan.nodes; i++)
		t->lives += w->nodes[i].lives;
	for (size_t i = 0; i < w->check.n; i++) {
		const struct msg *m = &w->check.msgs[i];

		t->accepted += m->answer == ANSWER_OK;
		t->arrived += m->arrived;
		t->held += m->held;
		t->delivered += m->seen == OUTBOX_DELIVERED || m->seen == OUTBOX_READ;
		t->expired += m->seen == OUTBOX_EXPIRED;
		t->cancelled += m->seen == OUTBOX_CANCELLED;
		t->rejected += m->seen == OUTBOX_REJECTED;
		t->unknown += m->seen == OUTBOX_UNKNOWN;
		t->handed += m->handed;
	}
}

/* --- the end --------------------------------------------------------------------------------------------------- */
bool check_settled(struct world *w, char *why, size_t cap)
{
	char text[MSG_TEXT];

	for (size_t i = 0; i < w->check.n; i++) {
		const struct msg *m = &w->check.msgs[i];
		bool waits = m->seen == OUTBOX_QUEUED || m->seen == OUTBOX_SENT;

		if (m->forgotten)
			continue;
		if (m->answer == ANSWER_WAITING || m->answer == ANSWER_UNKNOWN ||
		    (m->answer == ANSWER_OK && waits && (m->has_ttl || world_flows(w, m->from, m->to)))) {
			snprintf(why, cap, "%s%s", msg_text(w, m, text),
				 m->answer == ANSWER_OK ? "" : " was never answered");
			return false;
		}
	}
	for (unsigned i = 0; i < w->plan.nodes; i++) {
		if (!w->nodes[i].up || w->nodes[i].stopping) {
			snprintf(why, cap, "node%u is down or stops", i);
			return false;
		}
		(void)look_for_failures(&w->nodes[i]);
		if (w->plan.disk_ppm && store_dirty(w->nodes[i].store)) {
			snprintf(why, cap, "node%u has not written everything", i);
			return false;
		}
	}
	/* From every state that all this left behind, a session can be made. */
	for (unsigned i = 0; w->plan.native && i < w->plan.nodes; i++) {
		for (unsigned k = 0; k < w->plan.nodes; k++) {
			struct peer_view v;

			if (i == k || !world_flows(w, i, k))
				continue;
			node_peer_view(w->nodes[i].node, &w->nodes[k].id, &v);
			if (v.online)
				continue;
			snprintf(why, cap, "node%u and node%u do not meet", i, k);
			return false;
		}
	}
	return true;
}

static void check_row(struct world *w, const struct msg *m)
{
	struct outbox_row row;
	struct inbox_row in;
	enum err e;

	if (m->forgotten)
		return;
	e = node_outbox_get(w->nodes[m->from].node, bytes_str(m->id), &row);
	if (m->answer == ANSWER_REFUSED) {
		if (e != ERR_NOTFOUND && check_find(w, m->from, m->id) == m)
			broken(w, m, "it was refused, and yet it is in the outbox");
		return;
	}
	if (e != ERR_OK) {
		broken(w, m, "answered ok, and its row is gone");
		return;
	}
	bool waits = m->seen == OUTBOX_QUEUED || m->seen == OUTBOX_SENT;

	if (waits ? row.state != OUTBOX_QUEUED && row.state != OUTBOX_SENT : row.state != m->seen)
		broken(w, m, "its row says something else than its events");
	if (row.state == OUTBOX_REJECTED && !row.reason[0])
		broken(w, m, "its row was rejected without a reason");
	if (row.state == OUTBOX_DELIVERED || row.state == OUTBOX_READ) {
		if (m->lost_there || (w->nodes[m->from].restored && m->older))
			return;
		if (!m->arrived || m->held || inbox_get(w->nodes[m->to].store, m->inbox_seq, &in) != ERR_OK ||
		    (in.state != INBOX_NEW && in.state != INBOX_READ))
			broken(w, m, "delivered, and not in its receiver's inbox");
	}
}

static void check_inbox(struct sim_node *s)
{
	static const int states[] = { INBOX_NEW, INBOX_READ, INBOX_HELD, INBOX_DROPPED };
	struct world *w = s->w;
	size_t rows_n = 0, arrived_n = 0, unseen = 0;

	for (size_t k = 0; k < sizeof states / sizeof *states; k++) {
		struct inbox_filter f = { .state = states[k] };
		struct inbox_row rows[64];
		size_t n = 0;

		do {
			if (inbox_list(s->store, &f, rows, 64, &n) != ERR_OK) {
				world_fail(w, "the inbox of node%u cannot be listed", s->i);
				return;
			}
			for (size_t i = 0; i < n && !w->failed; i++) {
				unsigned author = world_index(w, &rows[i].author);
				const struct msg *m = msg_of_row(s, author, rows[i].id, rows[i].seq);

				f.after_seq = rows[i].seq;
				if (!m || m->to != s->i)
					world_fail(w, "node%u keeps %s, which nobody sent to it", s->i, rows[i].id);
				else if (!m->arrived && states[k] == INBOX_DROPPED)
					unseen++; /* its author was blocked before anybody was told */
				else if (!m->arrived || m->inbox_seq != rows[i].seq)
					broken(w, m, "it is in the inbox, and nobody was told");
				else if ((m->held && rows[i].state == INBOX_NEW) ||
					 (m->handed && rows[i].state != INBOX_READ))
					broken(w, m, "the inbox has it in another state than it should");
			}
			rows_n += n;
		} while (n == 64 && !w->failed);
	}
	for (size_t i = 0; i < w->check.n; i++)
		arrived_n += w->check.msgs[i].to == s->i && w->check.msgs[i].arrived;
	if (rows_n != arrived_n + unseen)
		world_fail(w, "node%u keeps %zu messages, and %zu arrived", s->i, rows_n, arrived_n);
}

static const struct im2_session *session_with(struct sim_node *s, unsigned other)
{
	struct peer *p = peer_find(s->node, &s->w->nodes[other].id);

	if (!p || !p->conn || p->conn->closing || !p->conn->im2)
		return NULL;
	return ((const struct im2_link *)p->conn->session)->peer->current;
}

/* Both ends send with the keys of one session, also when two were made at once: the other one goes soon. */
static void one_session(struct world *w, unsigned a, unsigned b)
{
	const struct im2_session *x = session_with(&w->nodes[a], b), *y = session_with(&w->nodes[b], a);

	if (w->nodes[a].node->handshaking || w->nodes[b].node->handshaking)
		return; /* one end may know already what the other is about to learn */
	if (x && y && memcmp(x->id, y->id, sizeof x->id) != 0)
		world_fail(w, "node%u and node%u send in different sessions", a, b);
}

void check_end(struct world *w)
{
	/* Where none is about to get a successor. */
	bool lasting = w->plan.calm && (!w->plan.rekey_ms || w->plan.rekey_ms > 600000);

	for (unsigned a = 0; a < w->plan.nodes && lasting; a++)
		for (unsigned b = a + 1; b < w->plan.nodes; b++)
			one_session(w, a, b);
	for (size_t i = 0; i < w->check.n && !w->failed; i++)
		check_row(w, &w->check.msgs[i]);
	for (unsigned i = 0; i < w->plan.nodes && !w->failed; i++)
		check_inbox(&w->nodes[i]);
	for (unsigned i = 0; i < w->plan.nodes && !w->failed && w->plan.scan_files; i++) {
		char wal[sizeof w->nodes[i].db + 8];

		snprintf(wal, sizeof wal, "%s-wal", w->nodes[i].db);
		scan_file(w, w->nodes[i].db);
		scan_file(w, wal);
		scan_file(w, w->nodes[i].pin_file);
	}
}
