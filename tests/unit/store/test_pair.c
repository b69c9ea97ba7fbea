/* Two stores, author and recipient, and between them a channel that loses, repeats and reorders; both crash
 * at any moment, and the author's database is put back to an older copy now and then. Nothing is delivered
 * twice, nothing that is shown as delivered is missing, nothing is lost (im2.md 9.5, 10.4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/text.h"
#include "tests/lib/store_world.h"

#define MESSAGES 3000
#define CHANNEL	 400

static struct world wa, wb;
static struct store *a, *b;
static const struct store_limits WIDE = {
	.inbox_per_peer = 1u << 30, .inbox_total = 1u << 30, .inbox_bytes = 1ull << 40};

/* What the test knows: of each body, by its number. */
static struct {
	bool promised;	/* committed at the author */
	bool taken;	/* committed at the recipient */
	bool in_group;	/* put at the recipient, not committed */
	uint8_t wire[16];
} msg[MESSAGES];
static unsigned put_n, group_from; /* the author's open group begins here */

enum what { COPY, SETTLED, RECEIPT, REASON_12 };
static struct item {
	enum what what;
	unsigned body;
	uint8_t wire[16]; /* or era and mark */
	uint64_t mark;
} channel[CHANNEL];
static size_t channel_n;
static unsigned unknown_n;

static unsigned next_random(unsigned below)
{
	static uint64_t x = 0x2545f4914f6cdd1d;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (unsigned)((x >> 20) % below);
}

static struct store *open_at(struct world *w)
{
	struct store_config c = {
		.path = w->db,
		.wrap_key = BYTES_ARR(w->wrap),
		.env = &w->env,
		.limits = WIDE,
		.relaxed = true, /* a crash is a rollback here: see store_abandon() */
	};
	struct fault f = {0};
	struct store *s;

	if (store_open(&c, &s, &f) != ERR_OK)
		fail_msg("%s", f.what);
	return s;
}

static void send_item(struct item it)
{
	if (channel_n == CHANNEL || next_random(10) == 0)
		return; /* lost */
	channel[channel_n++] = it;
	if (next_random(12) == 0 && channel_n < CHANNEL)
		channel[channel_n++] = it;
}

static struct node_id author(void)
{
	return world_peer(1);
}

static struct node_id recipient(void)
{
	return world_peer(2);
}

static void author_puts(void)
{
	char body[16];
	int64_t seq;

	for (unsigned n = next_random(6); n > 0 && put_n < MESSAGES; n--) {
		snprintf(body, sizeof(body), "body-%u", put_n);
		assert_int_equal(world_send(a, &wa, 2, body, msg[put_n].wire, &seq), ERR_OK);
		put_n++;
	}
}

static void author_commits(void)
{
	assert_int_equal(store_commit(a), ERR_OK);
	for (; group_from < put_n; group_from++)
		msg[group_from].promised = true;
}

static void author_crashes(void)
{
	store_abandon(a);
	a = open_at(&wa);
	put_n = group_from; /* the callers were not answered */
}

static void author_sends(void)
{
	struct node_id to = recipient();
	struct outbox_row rows[8];
	struct buf body;
	int64_t after = next_random(20) * (int64_t)next_random(60);
	size_t n;

	assert_int_equal(outbox_waiting(a, &to, 1, after, rows, 8, &n), ERR_OK);
	buf_init(&body, 100);
	for (size_t i = 0; i < n; i++) {
		struct item it = {.what = COPY};
		buf_reset(&body);
		assert_int_equal(outbox_body(a, rows[i].seq, &body), ERR_OK);
		it.body = (unsigned)atoi(buf_cstr(&body) + 5);
		if (it.body >= group_from || !msg[it.body].promised)
			continue; /* not ours yet */
		memcpy(it.wire, rows[i].wire_id, 16);
		send_item(it);
	}
	buf_fini(&body);
}

static void author_settles(void)
{
	struct node_id to = recipient();
	struct outbox_mark m[OUTBOX_ERAS_MAX];
	size_t n;

	assert_int_equal(outbox_settle(a, &to, m, OUTBOX_ERAS_MAX, &n), ERR_OK);
	for (size_t i = 0; i < n; i++) {
		if (!m[i].changed_since_told)
			continue;
		struct item it = {.what = SETTLED, .mark = m[i].seq};
		memcpy(it.wire, m[i].era, 8);
		send_item(it);
		outbox_settle_told(a, &to, m[i].era, m[i].seq);
	}
}

static void recipient_says(enum what what, unsigned body, const uint8_t wire[static 16])
{
	struct item it = {.what = what, .body = body};

	memcpy(it.wire, wire, 16);
	send_item(it);
}

static void recipient_takes(const struct item *it)
{
	char body[16];

	snprintf(body, sizeof(body), "body-%u", it->body);
	enum err e = world_take(b, &wb, 1, it->wire, body);

	switch (e) {
	case ERR_OK:
		if (msg[it->body].taken || msg[it->body].in_group)
			fail_msg("body %u would be delivered twice", it->body);
		msg[it->body].in_group = true;
		break;
	case ERR_EXISTS:
		assert_true(msg[it->body].taken || msg[it->body].in_group);
		if (msg[it->body].taken)
			recipient_says(RECEIPT, it->body, it->wire);
		break;
	case ERR_EXPIRED: /* settled earlier: it was taken, and its receipt had come */
		assert_true(msg[it->body].taken);
		recipient_says(REASON_12, it->body, it->wire);
		break;
	default:
		fail_msg("body %u was refused: %s", it->body, err_word(e));
	}
}

static void recipient_commits(bool confirm)
{
	struct node_id from = author();

	assert_int_equal(store_commit(b), ERR_OK);
	for (unsigned i = 0; i < put_n; i++) {
		if (!msg[i].in_group)
			continue;
		msg[i].in_group = false;
		msg[i].taken = true;
		if (confirm)
			recipient_says(RECEIPT, i, msg[i].wire);
	}
	if (confirm)
		inbox_receipts_left(b, &from, INT64_MAX / 2);
}

static void recipient_crashes(void)
{
	store_abandon(b);
	b = open_at(&wb);
	for (unsigned i = 0; i < put_n; i++)
		msg[i].in_group = false;
}

static void something_arrives(void)
{
	struct node_id from = author(), to = recipient();
	char hex[33];
	int64_t seq;

	if (!channel_n)
		return;
	size_t i = next_random((unsigned)channel_n);
	struct item it = channel[i];
	channel[i] = channel[--channel_n];
	if (it.what == COPY) {
		recipient_takes(&it);
	} else if (it.what == SETTLED) {
		assert_int_equal(inbox_settled(b, &from, it.wire, it.mark), ERR_OK);
	} else {
		assert_true(msg[it.body].taken);
		hex_encode(BYTES_ARR(it.wire), hex);
		bool delivered = it.what == RECEIPT;
		enum err e = outbox_receipt(a, &to, bytes_of(hex, 32),
					    delivered ? OUTBOX_DELIVERED : OUTBOX_UNKNOWN,
					    delivered ? NULL : "settled earlier", wa.wall_ms, NULL, &seq);
		unknown_n += !delivered && e == ERR_OK;
		assert_true(e == ERR_OK || e == ERR_WRONG_STATE || e == ERR_NOTFOUND);
	}
}

/* Receipts that may not have left are sent, and each side says what it has (10.4, SEEN). */
static bool new_session(void)
{
	struct node_id from = author(), to = recipient();
	struct inbox_row rows[64];
	uint8_t era[8];
	uint64_t seq;
	bool renewed = false;
	int64_t after = 0;
	size_t n;

	channel_n = 0;
	if (inbox_seen(b, &from, era, &seq) == ERR_OK)
		assert_int_equal(outbox_seen(a, &to, era, seq, &renewed), ERR_OK);
	/* On disk before anything is put: after a crash it would be found out by the next session only. */
	if (renewed)
		author_commits();
	do {
		assert_int_equal(inbox_receipts_due(b, &from, after, rows, 64, &n), ERR_OK);
		for (size_t i = 0; i < n; i++) {
			struct buf body;
			buf_init(&body, 100);
			assert_int_equal(inbox_body(b, rows[i].seq, &body), ERR_OK);
			recipient_says(RECEIPT, (unsigned)atoi(buf_cstr(&body) + 5), rows[i].wire_id);
			buf_fini(&body);
			after = rows[i].seq;
		}
	} while (n == 64 && channel_n < CHANNEL);
	return renewed;
}

static void step(void)
{
	switch (next_random(24)) {
	case 0:
	case 1:
	case 2:
		author_puts();
		break;
	case 3:
	case 4:
		author_commits();
		break;
	case 5:
	case 6:
	case 7:
		author_sends();
		break;
	case 8:
		author_settles();
		break;
	case 9:
	case 10:
		recipient_commits(next_random(4) != 0);
		break;
	case 11:
		if (next_random(12) == 0)
			author_crashes();
		break;
	case 12:
		if (next_random(12) == 0)
			recipient_crashes();
		break;
	case 13:
		if (next_random(20) == 0)
			new_session();
		break;
	default:
		for (unsigned n = next_random(12); n > 0; n--)
			something_arrives();
	}
}

static uint64_t waiting(void)
{
	uint64_t n[OUTBOX_STATES];

	assert_int_equal(outbox_count(a, NULL, n), ERR_OK);
	return n[OUTBOX_QUEUED];
}

static void settle_down(void)
{
	author_commits();
	for (unsigned i = 0; waiting() > 0; i++) {
		assert_true(i < 5000);
		author_sends();
		while (channel_n)
			something_arrives();
		recipient_commits(true);
		while (channel_n)
			something_arrives();
		author_commits();
	}
}

static void check_end(void)
{
	for (unsigned i = 0; i < put_n; i++)
		if (msg[i].promised && !msg[i].taken)
			fail_msg("body %u was promised and never came", i);
	assert_int_equal(store_integrity(a, NULL), ERR_OK);
	assert_int_equal(store_integrity(b, NULL), ERR_OK);
}

static void start(void)
{
	world_init(&wa);
	world_init(&wb);
	memset(msg, 0, sizeof(msg));
	put_n = group_from = 0;
	channel_n = unknown_n = 0;
	a = open_at(&wa);
	b = open_at(&wb);
}

static void stop(void)
{
	store_close(a);
	store_close(b);
	world_fini(&wa);
	world_fini(&wb);
}

static void crashes_at_any_moment_lose_and_repeat_nothing(void **state)
{
	struct inbox_table t;

	start();
	for (unsigned i = 0; put_n < MESSAGES - 10; i++) {
		assert_true(i < 400000);
		step();
	}
	settle_down();
	check_end();
	assert_int_equal(unknown_n, 0); /* what the author still waits for was never settled */
	/* Then everything is settled, and the table is empty. */
	for (unsigned i = 0; i < 40; i++) {
		struct node_id to = recipient();
		struct outbox_mark m[4];
		size_t n;
		assert_int_equal(outbox_settle(a, &to, m, 4, &n), ERR_OK);
		for (size_t k = 0; k < n; k++) {
			struct node_id from = author();
			assert_int_equal(inbox_settled(b, &from, m[k].era, m[k].seq), ERR_OK);
		}
		recipient_commits(true);
	}
	inbox_table(b, &t);
	assert_int_equal(t.entries, 0);
	stop();
}

/* The author's file is put back to a copy of before: what it put since is gone there, and its ids must not come
 * again for other messages. The session that follows begins with SEEN. */
static void older_copies_of_the_author_reuse_no_id_that_was_seen(void **state)
{
	unsigned renewals = 0, copied_at = 0;
	char copy[160];

	start();
	snprintf(copy, sizeof(copy), "%s.copy", wa.db);
	for (unsigned round = 0; put_n < MESSAGES - 10; round++) {
		assert_true(round < 2000);
		for (unsigned i = 0; i < 150; i++)
			step();
		if (round % 3 == 0) {
			author_commits();
			store_close(a);
			world_copy(wa.db, copy);
			a = open_at(&wa);
			copied_at = put_n;
		}
		if (round % 3 != 2)
			continue;
		store_close(a);
		world_copy(copy, wa.db);
		a = open_at(&wa);
		/* What was promised since the copy is lost with it, if it had not arrived. */
		for (unsigned i = copied_at; i < put_n; i++)
			msg[i].promised = false;
		group_from = put_n;
		recipient_commits(true);
		renewals += new_session();
	}
	settle_down();
	check_end();
	assert_true(renewals > 0);
	assert_true(unknown_n > 0); /* delivered before, and forgotten by the author since */
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crashes_at_any_moment_lose_and_repeat_nothing),
		cmocka_unit_test(older_copies_of_the_author_reuse_no_id_that_was_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
