/* What travels in a session of im2: messages, receipts, marks, batches, fragments, padding (im2.md 7, 8, 10.1). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "protocol/im2/im2_internal.h"
#include "tests/lib/protocol_im2_pair.h"

struct world {
	struct penv e;
	struct inode a, b;
	struct ipath *p;
};

static struct world *made(const struct im2_host_config *a, const struct im2_host_config *b)
{
	struct world *w = calloc(1, sizeof *w);

	assert_non_null(w);
	penv_init(&w->e);
	inode_init(&w->a, &w->e, 0, a);
	inode_init(&w->b, &w->e, 1, b);
	w->p = ipath_online(&w->a, &w->b, NULL);
	im2_link_trusted(w->p->a.s, true);
	im2_link_trusted(w->p->b.s, true);
	return w;
}

static int setup(void **state)
{
	*state = made(NULL, NULL);
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	inode_fini(&w->a);
	inode_fini(&w->b);
	free(w);
	return 0;
}

static void id_text(uint64_t seq, char out[33])
{
	struct message m = imessage(seq, "");

	hex_encode(BYTES_ARR(m.wire_id), out);
}

static void send(struct end *e, uint64_t seq, const char *body)
{
	struct message m = imessage(seq, body);

	assert_int_equal(session_send(e->s, &m), ERR_OK);
}

/* --- messages --- */

static void a_message_keeps_what_it_says(void **state)
{
	struct world *w = *state;
	struct message m = imessage(7, "meet at dawn, ok");
	const struct seen *x;
	char id[33];

	id_text(7, id);
	assert_int_equal(session_send(w->p->a.s, &m), ERR_OK);
	ipath_flush(w->p);
	x = end_last(&w->p->b, SESSION_EV_MESSAGE);
	assert_non_null(x);
	assert_string_equal(x->id, id);
	assert_string_equal(x->msg_type, "MSG");
	assert_int_equal(x->created_ms, WALL_T);
	assert_int_equal(x->body_n, 16);
	assert_memory_equal(x->body, "meet at dawn, ok", 16);
	assert_false(x->proven);
}

/* 7.9: the sizes that the radio budget counts on. */
static void a_short_text_takes_71_bytes(void **state)
{
	struct world *w = *state;

	send(&w->p->a, 7, "meet at dawn, ok");
	end_drain(&w->p->a);
	assert_int_equal(w->p->a.wire_n, 1);
	assert_int_equal(w->p->a.wire[0].n, 71);
	ipath_flush(w->p);
	end_forget(&w->p->b);
	assert_int_equal(session_ping(w->p->b.s), ERR_OK);
	end_drain(&w->p->b);
	assert_int_equal(w->p->b.wire[0].n, 35);
}

static void what_one_turn_makes_shares_a_frame(void **state)
{
	struct world *w = *state;
	char body[32];

	for (unsigned i = 1; i <= 200; i++) {
		snprintf(body, sizeof body, "number %u", i);
		send(&w->p->a, i, body);
	}
	end_drain(&w->p->a);
	assert_int_equal(w->p->a.wire_n, 1);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 200);
	for (unsigned i = 0, n = 0; i < w->p->b.log_n; i++) {
		if (w->p->b.log[i].type != SESSION_EV_MESSAGE)
			continue;
		snprintf(body, sizeof body, "number %u", ++n);
		assert_int_equal(w->p->b.log[i].body_n, strlen(body));
		assert_memory_equal(w->p->b.log[i].body, body, strlen(body));
	}
}

static void a_frame_has_256_items_at_most(void **state)
{
	struct world *w = *state;

	for (unsigned i = 1; i <= 600; i++)
		send(&w->p->a, i, "x");
	end_drain(&w->p->a);
	assert_int_equal(w->p->a.wire_n, 3);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 600);
}

static void units_stay_below_what_the_peer_takes(void **state)
{
	struct im2_host_config small = { .max_unit = 65536 };
	char *body = malloc(30001);

	teardown(state);
	*state = made(&small, &small);
	struct world *w = *state;
	memset(body, 'y', 30000);
	body[30000] = 0;
	for (unsigned i = 1; i <= 20; i++)
		send(&w->p->a, i, body);
	end_drain(&w->p->a);
	assert_int_equal(w->p->a.wire_n, 10);
	for (size_t i = 0; i < w->p->a.wire_n; i++)
		assert_true(w->p->a.wire[i].n <= 65536);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 20);
	free(body);
}

static void sending_pauses_when_too_much_waits(void **state)
{
	struct world *w = *state;
	char *body = malloc(60001);
	struct message m;
	unsigned n = 0;

	memset(body, 'z', 60000);
	body[60000] = 0;
	while (session_can_send(w->p->a.s)) {
		m = imessage(++n, body);
		assert_int_equal(session_send(w->p->a.s, &m), ERR_OK);
		assert_true(n < 100);
	}
	assert_true(im2_link_waiting(w->p->a.s) >= 1 << 20);
	m = imessage(n + 1, body);
	assert_int_equal(session_send(w->p->a.s, &m), ERR_AGAIN);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), n);
	assert_true(session_can_send(w->p->a.s));
	free(body);
}

static void messages_that_cannot_be_are_refused(void **state)
{
	struct world *w = *state;
	struct message m = imessage(1, "x");
	uint8_t *big = calloc(1, MSG_BODY_MAX + 1);

	m.has_wire_id = false;
	assert_int_equal(session_send(w->p->a.s, &m), ERR_MALFORMED);
	m = imessage(1, "");
	m.body = bytes_of(big, MSG_BODY_MAX + 1);
	assert_int_equal(session_send(w->p->a.s, &m), ERR_LIMIT);
	m.body = bytes_of(big, 200000);
	m.ext.flags = MSG_VOLATILE | MSG_NO_RECEIPT;
	assert_int_equal(session_send(w->p->a.s, &m), ERR_LIMIT); /* one frame or none */
	end_drain(&w->p->a);
	assert_int_equal(w->p->a.wire_n, 0);
	m.body = bytes_of(big, 60000);
	assert_int_equal(session_send(w->p->a.s, &m), ERR_OK);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 1);
	free(big);
}

static void signed_when_the_policy_says_so(void **state)
{
	struct im2_host_config c = { .sign_always = true };

	teardown(state);
	*state = made(&c, NULL);
	struct world *w = *state;
	send(&w->p->a, 1, "one");
	send(&w->p->a, 2, "two");
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 2);
	assert_true(end_last(&w->p->b, SESSION_EV_MESSAGE)->proven);
	assert_memory_equal(end_last(&w->p->b, SESSION_EV_MESSAGE)->body, "two", 3);
}

/* --- receipts and marks --- */

static void receipts_name_what_they_speak_of(void **state)
{
	struct world *w = *state;
	char ids[4][33];
	struct receipt r[4] = {
		{ .kind = RECEIPT_DELIVERED }, { .kind = RECEIPT_HELD }, { .kind = RECEIPT_READ },
		{ .kind = RECEIPT_REJECTED, .code = 6 },
	};
	static const enum receipt_kind want[] = { RECEIPT_DELIVERED, RECEIPT_HELD, RECEIPT_READ, RECEIPT_RETRY };
	unsigned n = 0;

	for (unsigned i = 0; i < 4; i++) {
		id_text(i + 1, ids[i]);
		r[i].id = bytes_str(ids[i]);
	}
	assert_int_equal(session_send_receipts(w->p->b.s, r, 4), ERR_OK);
	end_drain(&w->p->b);
	assert_int_equal(w->p->b.wire_n, 1);
	ipath_flush(w->p);
	for (size_t i = 0; i < w->p->a.log_n; i++) {
		const struct seen *x = &w->p->a.log[i];

		if (x->type != SESSION_EV_RECEIPT)
			continue;
		assert_string_equal(x->id, ids[n]);
		assert_int_equal(x->kind, want[n]);
		n++;
	}
	assert_int_equal(n, 4);
}

static void many_receipts_share_frames(void **state)
{
	enum { N = 1000 };
	struct world *w = *state;
	struct receipt *r = calloc(N, sizeof *r);
	char (*ids)[33] = calloc(N, 33);

	for (unsigned i = 0; i < N; i++) {
		id_text(i + 1, ids[i]);
		r[i] = (struct receipt){ .kind = RECEIPT_DELIVERED, .id = bytes_str(ids[i]) };
	}
	assert_int_equal(session_send_receipts(w->p->b.s, r, N), ERR_OK);
	end_drain(&w->p->b);
	assert_int_equal(w->p->b.wire_n, 1);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->a, SESSION_EV_RECEIPT), N);
	free(r);
	free(ids);
}

static void marks_arrive_as_events(void **state)
{
	static const uint8_t era[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	struct world *w = *state;

	assert_int_equal(session_settled(w->p->a.s, era, 300), ERR_OK);
	assert_int_equal(session_seen(w->p->a.s, era, 1234567), ERR_OK);
	send(&w->p->a, 1, "x");
	end_drain(&w->p->a);
	assert_int_equal(w->p->a.wire_n, 1); /* they ride along */
	ipath_flush(w->p);
	assert_int_equal(end_last(&w->p->b, SESSION_EV_SETTLED)->seq, 300);
	assert_memory_equal(end_last(&w->p->b, SESSION_EV_SETTLED)->era, era, 8);
	assert_int_equal(end_last(&w->p->b, SESSION_EV_SEEN)->seq, 1234567);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 1);
}

static void a_ping_measures_and_others_do_not(void **state)
{
	struct world *w = *state;

	assert_int_equal(session_ping(w->p->a.s), ERR_OK);
	end_drain(&w->p->a);
	penv_pass(&w->e, 42);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->a, SESSION_EV_PONG), 1);
	assert_int_equal(end_last(&w->p->a, SESSION_EV_PONG)->rtt_ms, 42);
	assert_int_equal(im2_link_item(w->p->b.s, IM2_ITEM_PONG, BYTES_LIT("12345678")), ERR_OK);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->a, SESSION_EV_PONG), 1);
}

/* --- items --- */

static struct said answer_to(struct world *w, uint16_t tag, struct bytes value)
{
	end_forget(&w->p->a);
	end_forget(&w->p->b);
	penv_pass(&w->e, 1001);
	assert_int_equal(im2_link_item(w->p->a.s, tag, value), ERR_OK);
	end_drain(&w->p->a);
	assert_int_equal(w->p->a.wire_n, 1);
	ipath_move(w->p, &w->p->a, 1);
	return w->p->b.wire_n ? w->p->b.wire[0] : (struct said){ 0 };
}

static void items_out_of_place_or_not_built_are_refused_politely(void **state)
{
	static const struct {
		uint16_t tag;
		const char *value;
	} rows[] = {
		{ 3, "garbage" },              /* MSG */
		{ 7, "garbage" },              /* RECEIPT */
		{ 53, "x" },                   /* IDENT: sealed only */
		{ 59, "x" }, { 65, "x" },      /* pairing only */
		{ 71, "x" },                   /* streams only */
		{ 101, "future" },             /* unknown, critical */
		{ 19, "x" }, { 35, "x" },      /* known and malformed */
		{ 13, "" },                    /* FRAG without data */
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint64_t before = im2_host_counters(w->b.host)->items_refused;
		struct said u = answer_to(w, rows[i].tag, bytes_str(rows[i].value));

		assert_non_null(u.p);
		assert_int_equal(im2_host_counters(w->b.host)->items_refused, before + 1);
		assert_false(session_over(w->p->b.s));
		ipath_flush(w->p);
		assert_false(session_over(w->p->a.s));
	}
	/* Unknown and not critical: no word. */
	assert_null(answer_to(w, 100, BYTES_LIT("future")).p);
}

static void refusals_are_answered_once_in_a_second(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 5; i++)
		assert_int_equal(im2_link_item(w->p->a.s, 101, BYTES_LIT("x")), ERR_OK);
	ipath_flush(w->p);
	assert_int_equal(im2_host_counters(w->b.host)->items_refused, 5);
	end_forget(&w->p->b);
	assert_int_equal(im2_link_item(w->p->a.s, 101, BYTES_LIT("x")), ERR_OK);
	end_drain(&w->p->a);
	ipath_move(w->p, &w->p->a, 1);
	assert_int_equal(w->p->b.wire_n, 0);
}

static void a_malformed_item_harms_no_other(void **state)
{
	struct world *w = *state;

	send(&w->p->a, 1, "before");
	assert_int_equal(im2_link_item(w->p->a.s, IM2_ITEM_MSG, BYTES_LIT("garbage")), ERR_OK);
	send(&w->p->a, 2, "after");
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 2);
	assert_memory_equal(end_last(&w->p->b, SESSION_EV_MESSAGE)->body, "after", 5);
}

static void records_are_handed_on(void **state)
{
	struct world *w = *state;
	struct im2_fields f = { 0 };
	static const uint8_t id[16] = { 9 };
	struct buf b;

	im2_set_b(&f, IM2_RECREQ_ID, BYTES_ARR(id));
	im2_set_u(&f, IM2_RECREQ_TYPE, 2);
	buf_init(&b, 100);
	im2_write(&im2_recreq, &f, &b);
	assert_int_equal(im2_link_item(w->p->a.s, IM2_ITEM_RECREQ, buf_bytes(&b)), ERR_OK);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_ITEM), 1);
	assert_int_equal(end_last(&w->p->b, SESSION_EV_ITEM)->tag, IM2_ITEM_RECREQ);
	/* A key where the type has none, or none where it has one. */
	for (int type = 2; type <= 4; type += 2) {
		uint64_t before = im2_host_counters(w->b.host)->items_refused;

		f = (struct im2_fields){ 0 };
		im2_set_b(&f, IM2_RECREQ_ID, BYTES_ARR(id));
		im2_set_u(&f, IM2_RECREQ_TYPE, (uint64_t)type);
		if (type == 2)
			im2_set_b(&f, IM2_RECREQ_KEY, BYTES_ARR(id));
		buf_reset(&b);
		im2_write(&im2_recreq, &f, &b);
		assert_int_equal(im2_link_item(w->p->a.s, IM2_ITEM_RECREQ, buf_bytes(&b)), ERR_OK);
		ipath_flush(w->p);
		assert_int_equal(im2_host_counters(w->b.host)->items_refused, before + 1);
	}
	assert_int_equal(end_count(&w->p->b, SESSION_EV_ITEM), 1);
	buf_fini(&b);
}

/* 18.3: who is not trusted is held back, and told to slow down; who is trusted is not. */
static void strangers_are_held_back_and_told(void **state)
{
	struct world *w = *state;

	im2_link_trusted(w->p->b.s, false);
	for (unsigned i = 1; i <= 800; i++)
		send(&w->p->a, i, "x");
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 500);
	assert_int_equal(end_count(&w->p->a, SESSION_EV_RATE_LIMITED), 1);
	penv_pass(&w->e, 1000);
	end_forget(&w->p->b);
	for (unsigned i = 1; i <= 100; i++)
		send(&w->p->a, i, "x");
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 50);
	im2_link_trusted(w->p->b.s, true);
	end_forget(&w->p->b);
	for (unsigned i = 1; i <= 2000; i++)
		send(&w->p->a, i, "x");
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 2000);
}

/* A signed item holds up to 256 messages, and each of them counts. */
static void signed_messages_are_counted_one_by_one(void **state)
{
	struct world *w = *state;
	struct message m[200];
	struct buf smsg;

	im2_link_trusted(w->p->b.s, false);
	buf_init(&smsg, IM2_SMSG_MAX);
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 200; i++) {
			m[i] = imessage(1 + round * 200 + i, "x");
			m[i].source = *keyring_id(w->a.k);
			m[i].destination = *keyring_id(w->b.k);
		}
		buf_reset(&smsg);
		assert_int_equal(im2_smsg_write(w->a.k, m, 200, keyring_ed(w->b.k), &smsg), ERR_OK);
		assert_int_equal(im2_link_item(w->p->a.s, IM2_ITEM_SMSG, buf_bytes(&smsg)), ERR_OK);
		ipath_flush(w->p);
	}
	/* 500 at once. */
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 400);
	assert_int_equal(end_count(&w->p->a, SESSION_EV_RATE_LIMITED), 1);
	im2_link_trusted(w->p->b.s, true);
	assert_int_equal(im2_link_item(w->p->a.s, IM2_ITEM_SMSG, buf_bytes(&smsg)), ERR_OK);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 600);
	buf_fini(&smsg);
}

static void what_a_stranger_left_in_pieces_goes_with_his_last_path(void **state)
{
	struct world *w = *state;
	uint8_t *big = calloc(1, 300000);
	struct message m = imessage(1, "");

	for (int trusted = 1; trusted >= 0; trusted--) {
		im2_link_trusted(w->p->b.s, trusted);
		m = imessage(2 - (uint64_t)trusted, "");
		m.body = bytes_of(big, trusted ? 300000 : 200000);
		assert_int_equal(session_send(w->p->a.s, &m), ERR_OK);
		end_drain(&w->p->a);
		ipath_move(w->p, &w->p->a, 3);
		assert_true(w->b.host->transfer_bytes >= m.body.n);
		ipath_free(w->p);
		assert_int_equal(w->b.host->transfer_bytes > 0, trusted);
		w->p = ipath_online(&w->a, &w->b, &(struct ipath_opts){ .expect = true });
		if (!trusted)
			continue;
		/* What was kept is used. */
		penv_pass(&w->e, 5000);
		session_tick(w->p->a.s);
		ipath_flush(w->p);
		assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 1);
		assert_int_equal(w->b.host->transfer_bytes, 0);
	}
	free(big);
}

static void wake(void *ctx, void *owner)
{
	(*(unsigned *)ctx)++;
	assert_non_null(owner);
}

/* Nobody looks at a connection on which nothing comes. */
static void an_end_that_came_on_another_connection_is_told(void **state)
{
	struct world *w = *state;
	unsigned woken = 0;
	struct im2_host_config c = { .wake = wake, .wake_ctx = &woken };
	struct ipath *q;

	teardown(state);
	*state = w = made(NULL, &c);
	q = ipath_online(&w->a, &w->b, &(struct ipath_opts){ .expect = true });
	woken = 0;
	assert_int_equal(session_goodbye(w->p->a.s), ERR_OK);
	ipath_move(w->p, &w->p->a, 1); /* nothing arrives on the other one */
	end_drain(&w->p->a);
	ipath_move(w->p, &w->p->a, 1);
	assert_true(session_over(q->b.s));
	assert_true(woken >= 2);
	assert_int_equal(session_deadline_ms(q->b.s), 0);
	end_drain(&q->b);
	assert_int_equal(end_count(&q->b, SESSION_EV_OVER), 1);
	assert_int_equal(session_deadline_ms(q->b.s), UINT64_MAX);
	/* Who lets go of a connection hears no more of it. */
	woken = 0;
	ipath_free(q);
	ipath_free(w->p);
	assert_int_equal(woken, 0);
	w->p = NULL;
}

static void who_closes_and_comes_again_finds_the_bucket_as_it_was(void **state)
{
	struct world *w = *state;
	unsigned seq = 1;
	uint64_t refused;

	im2_link_trusted(w->p->b.s, false);
	for (; seq <= 500; seq++)
		send(&w->p->a, seq, "flood");
	ipath_flush(w->p);
	assert_int_equal(im2_host_counters(w->b.host)->items_refused, 0);
	for (unsigned round = 0; round < 2; round++) {
		assert_int_equal(session_goodbye(w->p->a.s), ERR_OK);
		ipath_flush(w->p);
		ipath_free(w->p);
		im2_host_tick(w->b.host);
		assert_int_equal(im2_host_counters(w->b.host)->sessions_erased, round + 1);
		/* Ten seconds are 500 messages. */
		w->e.now_ms += round * 11000;
		im2_host_tick(w->b.host);
		w->p = ipath_online(&w->a, &w->b, &(struct ipath_opts){ .expect = true });
		im2_link_trusted(w->p->b.s, false);
		refused = im2_host_counters(w->b.host)->items_refused;
		for (unsigned i = 0; i < 400; i++, seq++)
			send(&w->p->a, seq, "more");
		ipath_flush(w->p);
		refused = im2_host_counters(w->b.host)->items_refused - refused;
		assert_int_equal(refused, round ? 0 : 400);
	}
}

static void a_peer_that_is_gone_is_forgotten_when_its_buckets_are_full(void **state)
{
	struct world *w = *state;
	size_t with = im2_host_bytes(w->b.host), gone;

	im2_link_trusted(w->p->b.s, false);
	send(&w->p->a, 1, "x");
	assert_int_equal(session_goodbye(w->p->a.s), ERR_OK);
	ipath_flush(w->p);
	ipath_free(w->p);
	w->p = NULL;
	im2_host_tick(w->b.host);
	gone = im2_host_bytes(w->b.host);
	assert_true(gone < with);
	assert_true(im2_host_deadline_ms(w->b.host) <= w->e.now_ms + 20000);
	w->e.now_ms = im2_host_deadline_ms(w->b.host);
	im2_host_tick(w->b.host);
	assert_true(im2_host_bytes(w->b.host) < gone);
}

static void rate_limited_goes_out_once_in_a_second(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 3; i++)
		assert_int_equal(session_rate_limited(w->p->b.s), ERR_OK);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->a, SESSION_EV_RATE_LIMITED), 1);
}

/* --- the wire --- */

static void frames_in_any_order_lose_nothing(void **state)
{
	struct world *w = *state;

	for (unsigned i = 1; i <= 100; i++) {
		send(&w->p->a, i, "x");
		end_drain(&w->p->a);
	}
	assert_int_equal(w->p->a.wire_n, 100);
	while (w->p->a.wire_n) {
		struct said u = w->p->a.wire[--w->p->a.wire_n];

		end_take(&w->p->b, u.p, u.n, false);
		free(u.p);
	}
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 100);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_DROPPED), 0);
}

static void a_repeated_frame_is_dropped(void **state)
{
	struct world *w = *state;

	send(&w->p->a, 1, "once");
	end_drain(&w->p->a);
	struct said u = end_pop(&w->p->a);
	for (int i = 0; i < 3; i++)
		end_take(&w->p->b, u.p, u.n, false);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 1);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_DROPPED), 2);
	assert_int_equal(im2_host_counters(w->b.host)->frames_replayed, 2);
	/* Reflected to its sender it is nobody's. */
	end_take(&w->p->a, u.p, u.n, false);
	assert_int_equal(end_count(&w->p->a, SESSION_EV_MESSAGE), 0);
	free(u.p);
}

static void a_forged_frame_moves_no_window(void **state)
{
	struct world *w = *state;

	send(&w->p->a, 1, "mine");
	end_drain(&w->p->a);
	struct said u = end_pop(&w->p->a);
	for (size_t i = 0; i < u.n; i++) {
		u.p[i] ^= 0x40;
		end_take(&w->p->b, u.p, u.n, false);
		u.p[i] ^= 0x40;
		end_forget(&w->p->b);
	}
	assert_false(session_over(w->p->b.s));
	end_take(&w->p->b, u.p, u.n, false);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 1);
	free(u.p);
}

static void lost_frames_lose_nothing_else(void **state)
{
	struct world *w = *state;

	for (unsigned i = 1; i <= 10; i++) {
		send(&w->p->a, i, "x");
		end_drain(&w->p->a);
		if (i & 1)
			free(end_pop(&w->p->a).p);
	}
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 5);
}

/* --- transfers --- */

static void a_large_message_does_not_hold_up_small_ones(void **state)
{
	enum { BIG = 1 << 20 };
	struct world *w = *state;
	uint8_t *big = malloc(BIG);
	struct message m = imessage(1, "");
	size_t at_small = 0, at_big = 0, moves = 0;

	for (size_t i = 0; i < BIG; i++)
		big[i] = (uint8_t)(i * 31 >> 3);
	m.body = bytes_of(big, BIG);
	assert_int_equal(session_send(w->p->a.s, &m), ERR_OK);
	for (;; moves++) {
		struct session_unit u;

		if (moves == 5)
			send(&w->p->a, 2, "small");
		/* One unit at a time, as a transport that is nearly full. */
		if (session_next_unit(w->p->a.s, &u))
			end_take(&w->p->b, u.bytes.p, u.bytes.n, false);
		else if (!w->p->b.wire_n)
			break;
		while (w->p->b.wire_n) {
			struct said v = end_pop(&w->p->b);
			struct session_event ev;

			session_take(w->p->a.s, bytes_of(v.p, v.n), false);
			while (session_next_event(w->p->a.s, &ev))
				;
			free(v.p);
		}
		for (size_t i = 0; i < w->p->b.log_n; i++) {
			if (w->p->b.log[i].type != SESSION_EV_MESSAGE)
				continue;
			if (w->p->b.log[i].body_n == BIG)
				at_big = at_big ? at_big : moves;
			else
				at_small = at_small ? at_small : moves;
		}
		assert_true(moves < 1000);
	}
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 2);
	assert_true(at_small && at_small <= 6);
	assert_true(at_big > 60);
	assert_int_equal(im2_host_counters(w->b.host)->transfers_in, 1);
	assert_true(session_can_send(w->p->a.s));
	free(big);
}

static void large_bodies_arrive_whole(void **state)
{
	static const size_t sizes[] = { 65536, 131000, 131072, 200000, 1 << 20 };
	struct world *w = *state;
	uint8_t *big = malloc(1 << 20);

	memset(big, 'q', 1 << 20);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		struct message m = imessage(i + 1, "");

		m.body = bytes_of(big, sizes[i]);
		assert_int_equal(session_send(w->p->a.s, &m), ERR_OK);
		ipath_flush(w->p);
		assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), i + 1);
		assert_int_equal(end_last(&w->p->b, SESSION_EV_MESSAGE)->body_n, sizes[i]);
	}
	free(big);
}

static void many_large_messages_take_turns(void **state)
{
	struct world *w = *state;
	uint8_t *big = malloc(300000);
	unsigned sent = 0;

	for (unsigned round = 0; round < 3; round++) {
		for (;;) {
			struct message m = imessage(sent + 1, "");

			memset(big, (int)sent, 300000);
			m.body = bytes_of(big, 300000);
			if (!session_can_send(w->p->a.s))
				break;
			assert_int_equal(session_send(w->p->a.s, &m), ERR_OK);
			sent++;
		}
		ipath_flush(w->p);
		assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), sent);
	}
	assert_int_equal(sent, 24);
	free(big);
}

static void what_went_in_pieces_is_known_to_the_sender(void **state)
{
	struct im2_host_config signs = { .sign_always = true }, full = { .limits = { .transfer_bytes_total = 250000 } };
	uint8_t *big = calloc(1, 300000);

	for (int sign = 0; sign < 2; sign++) {
		struct message m = imessage(1, ""), other = imessage(2, "");

		teardown(state);
		*state = made(sign ? &signs : NULL, &full);
		struct world *w = *state;
		struct session *s = w->p->a.s;

		assert_int_equal(im2_link_carry(s, m.wire_id), IM2_CARRY_NONE);
		m.body = bytes_of(big, 200000);
		assert_int_equal(session_send(s, &m), ERR_OK);
		assert_int_equal(im2_link_carry(s, m.wire_id), IM2_CARRY_OUT);
		assert_int_equal(im2_link_carry(s, other.wire_id), IM2_CARRY_NONE);
		/* Once more while it is under way is the same transfer. */
		assert_int_equal(session_send(s, &m), ERR_OK);
		assert_int_equal(im2_host_counters(w->a.host)->transfers_out, 1);
		ipath_flush(w->p);
		assert_int_equal(im2_link_carry(s, m.wire_id), IM2_CARRY_TAKEN);
		assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 1);
		/* More than the other side has memory for. */
		other.body = bytes_of(big, 300000);
		assert_int_equal(session_send(s, &other), ERR_OK);
		ipath_flush(w->p);
		assert_int_equal(im2_link_carry(s, other.wire_id), IM2_CARRY_FAILED);
		assert_int_equal(im2_link_carry(s, m.wire_id), IM2_CARRY_TAKEN);
		/* The last sixteen are remembered. */
		for (unsigned i = 3; i < 19; i++) {
			struct message next = imessage(i, "");

			next.body = bytes_of(big, 200000);
			assert_int_equal(session_send(s, &next), ERR_OK);
			ipath_flush(w->p);
			assert_int_equal(im2_link_carry(s, next.wire_id), IM2_CARRY_TAKEN);
		}
		assert_int_equal(im2_link_carry(s, m.wire_id), IM2_CARRY_NONE);
	}
	free(big);
}

/* --- padding --- */

static void padding_goes_by_buckets_when_either_side_wants_it(void **state)
{
	static const size_t bodies[] = { 1, 200, 300, 5000 };
	struct im2_host_config c = { .pad = true };
	char *body = malloc(5001);

	teardown(state);
	*state = made(&c, NULL);
	struct world *w = *state;
	for (int side = 0; side < 2; side++) {
		struct end *e = side ? &w->p->b : &w->p->a;

		for (size_t i = 0; i < 4; i++) {
			memset(body, 'p', bodies[i]);
			body[bodies[i]] = 0;
			send(e, i + 1, body);
			end_drain(e);
			size_t plain = e->wire[0].n - IM2_FRAME_OVERHEAD;
			assert_int_equal(plain, im2_bucket(plain));
			assert_true(plain >= bodies[i]);
			ipath_flush(w->p);
		}
	}
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 4);
	assert_int_equal(end_count(&w->p->a, SESSION_EV_MESSAGE), 4);
	free(body);
}

/* --- the end --- */

static void goodbye_ends_the_session_at_both_ends(void **state)
{
	struct world *w = *state;

	send(&w->p->a, 1, "never mind");
	assert_int_equal(session_goodbye(w->p->a.s), ERR_OK);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_GOODBYE), 1);
	assert_true(session_over(w->p->b.s));
	assert_true(session_over(w->p->a.s));
	ipath_free(w->p);
	/* The next dial begins anew: nobody holds keys. */
	w->p = ipath_new(&w->a, &w->b, &(struct ipath_opts){ .transport = IM2_WEBSOCKET, .expect = true });
	ipath_start(w->p);
	ipath_move(w->p, &w->p->b, 1);
	assert_int_equal(w->p->a.wire[0].p[0], IM2_UNIT_I1);
}

static void revocation_closes_at_once(void **state)
{
	struct world *w = *state;

	im2_host_revoke(w->b.host, keyring_ed(w->a.k));
	ipath_flush(w->p);
	assert_true(session_over(w->p->b.s));
	assert_true(session_over(w->p->a.s));
	assert_int_equal(end_last(&w->p->b, SESSION_EV_OVER)->err, ERR_UNTRUSTED);
	assert_int_equal(end_last(&w->p->a, SESSION_EV_OVER)->blame, BLAME_REMOTE);
	assert_string_equal(end_last(&w->p->a, SESSION_EV_OVER)->word, "revoked-there");
}

/* What no build of ours says, under the true key. */
static void say_list(struct world *w, struct bytes plain)
{
	struct im2_link *l = (struct im2_link *)w->p->a.s;
	struct buf b;

	buf_init(&b, 1 << 17);
	assert_int_equal(im2_frame_build(&l->peer->current->tx, plain, plain.n, &b), ERR_OK);
	end_take(&w->p->b, b.p, b.n, false);
	buf_fini(&b);
}

static void say(struct world *w, uint16_t tag, struct bytes value)
{
	struct buf b;

	buf_init(&b, 1 << 17);
	im2_item_add(&b, tag, value);
	say_list(w, buf_bytes(&b));
	buf_fini(&b);
}

static void an_unreadable_list_closes_the_session(void **state)
{
	static const char *const lists[] = { "\x03\x7f", "\x65\x01x\x00\x01", "\x65" };
	static const size_t sizes[] = { 2, 5, 1 };

	for (size_t i = 0; i < 3; i++) {
		struct world *w = *state;

		say_list(w, bytes_of(lists[i], sizes[i]));
		assert_true(session_over(w->p->b.s));
		assert_int_equal(end_last(&w->p->b, SESSION_EV_OVER)->err, ERR_MALFORMED);
		ipath_flush(w->p);
		assert_string_equal(end_last(&w->p->a, SESSION_EV_OVER)->word, "protocol-error-there");
		teardown(state);
		setup(state);
	}
}

static void an_empty_frame_and_mere_padding_are_fine(void **state)
{
	static const uint8_t zeros[300];
	struct world *w = *state;

	say_list(w, bytes_of(NULL, 0));
	say_list(w, BYTES_ARR(zeros));
	assert_false(session_over(w->p->b.s));
	assert_int_equal(end_count(&w->p->b, SESSION_EV_DROPPED), 0);
}

/* Its text buffers are shared by neighbours: a refused one in between must not touch the one before. */
static void events_keep_their_text_until_the_next_call(void **state)
{
	struct world *w = *state;
	struct session_event first, second;
	struct session_unit u;
	char id[33];

	send(&w->p->a, 1, "one");
	assert_int_equal(im2_link_item(w->p->a.s, IM2_ITEM_MSG, BYTES_LIT("garbage")), ERR_OK);
	send(&w->p->a, 2, "two");
	assert_true(session_next_unit(w->p->a.s, &u));
	session_take(w->p->b.s, u.bytes, false);
	assert_true(session_next_event(w->p->b.s, &first));
	id_text(1, id);
	assert_memory_equal(first.message.id.p, id, 32);
	assert_memory_equal(first.message.body.p, "one", 3);
	assert_true(session_next_event(w->p->b.s, &second));
	id_text(2, id);
	assert_memory_equal(second.message.id.p, id, 32);
	end_drain(&w->p->b);
}

/* A volatile message is one frame or none, whoever sends it (9.5). */
static void a_volatile_message_in_pieces_is_refused(void **state)
{
	struct world *w = *state;
	struct im2_link *l = (struct im2_link *)w->p->a.s;
	uint8_t *big = calloc(1, 200000);
	struct message m = imessage(1, "");
	uint32_t xfer;
	struct buf b;

	m.body = bytes_of(big, 200000);
	m.ext.flags = MSG_VOLATILE | MSG_NO_RECEIPT;
	buf_init(&b, 1 << 20);
	assert_int_equal(im2_message_write(&m, &b), ERR_OK);
	assert_non_null(im2_peer_transfers(l->host, l->peer));
	assert_int_equal(im2_transfer_send(l->peer->transfers, IM2_ITEM_MSG, buf_bytes(&b), 65536, &xfer), ERR_OK);
	ipath_flush(w->p);
	assert_int_equal(im2_host_counters(w->b.host)->transfers_in, 1);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 0);
	assert_int_equal(im2_host_counters(w->b.host)->items_refused, 1);
	send(&w->p->a, 2, "goes on");
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 1);
	buf_fini(&b);
	free(big);
}

/* Signed, with a lasting one beside it: that one is delivered. */
static void a_signed_volatile_message_in_pieces_is_refused(void **state)
{
	struct world *w = *state;
	struct im2_link *l = (struct im2_link *)w->p->a.s;
	uint8_t *big = calloc(1, 200000);
	struct message m[3] = { imessage(1, ""), imessage(2, "lasts"), imessage(3, "gone") };
	uint32_t xfer;
	struct buf b;

	m[0].body = bytes_of(big, 200000);
	m[0].ext.flags = m[2].ext.flags = MSG_VOLATILE | MSG_NO_RECEIPT;
	buf_init(&b, 1 << 20);
	assert_int_equal(im2_smsg_write(w->a.k, m, 3, keyring_ed(w->b.k), &b), ERR_OK);
	assert_non_null(im2_peer_transfers(l->host, l->peer));
	assert_int_equal(im2_transfer_send(l->peer->transfers, IM2_ITEM_SMSG, buf_bytes(&b), 65536, &xfer), ERR_OK);
	ipath_flush(w->p);
	assert_int_equal(im2_host_counters(w->b.host)->transfers_in, 1);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 1);
	assert_memory_equal(end_last(&w->p->b, SESSION_EV_MESSAGE)->body, "lasts", 5);
	assert_int_equal(im2_host_counters(w->b.host)->items_refused, 2);
	/* In a frame it is welcome. */
	buf_reset(&b);
	assert_int_equal(im2_smsg_write(w->a.k, m + 2, 1, keyring_ed(w->b.k), &b), ERR_OK);
	assert_int_equal(im2_link_item(w->p->a.s, IM2_ITEM_SMSG, buf_bytes(&b)), ERR_OK);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 2);
	buf_fini(&b);
	free(big);
}

static void a_silent_peer_is_asked_and_given_up(void **state)
{
	struct world *w = *state;

	send(&w->p->a, 1, "anybody there?");
	end_drain(&w->p->a);
	ipath_lose(w->p);
	assert_true(session_deadline_ms(w->p->a.s) <= w->e.now_ms + 30000);
	ipath_tick(w->p, 30001);
	assert_true(w->p->a.wire_n >= 1); /* PING, and IK for a lost session */
	ipath_lose(w->p);
	for (int i = 0; i < 3; i++) {
		assert_false(session_over(w->p->a.s));
		ipath_tick(w->p, 10001);
		ipath_lose(w->p);
	}
	assert_true(session_over(w->p->a.s));
	assert_int_equal(end_last(&w->p->a, SESSION_EV_OVER)->err, ERR_TIMEOUT);
}

static void an_idle_connection_gives_its_buffers_back(void **state)
{
	struct world *w = *state;
	char *body = malloc(60001);

	memset(body, 'm', 60000);
	body[60000] = 0;
	size_t before = im2_host_bytes(w->a.host) + im2_host_bytes(w->b.host);
	send(&w->p->a, 1, body);
	ipath_flush(w->p);
	assert_true(im2_host_bytes(w->a.host) + im2_host_bytes(w->b.host) > before + 60000);
	ipath_tick(w->p, 2001); /* it was busy until now */
	ipath_tick(w->p, 2001);
	assert_true(im2_host_bytes(w->a.host) + im2_host_bytes(w->b.host) <= before);
	free(body);
}

/* A signed batch is its author's, in a session with its author, whole or not at all (9.3, 9.4). */
static void signed_batches_are_checked(void **state)
{
	struct world *w = *state;
	struct keyring *other = keyring_number(7);
	struct message m[2] = { imessage(5, "one"), imessage(6, "two") };
	struct buf b;

	buf_init(&b, 4096);
	m[1].settled = 5;
	assert_int_equal(im2_smsg_write(w->a.k, m, 2, keyring_ed(w->b.k), &b), ERR_OK);
	say(w, IM2_ITEM_SMSG, buf_bytes(&b));
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 2);
	assert_true(end_last(&w->p->b, SESSION_EV_MESSAGE)->proven);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_SETTLED), 1);
	assert_int_equal(end_last(&w->p->b, SESSION_EV_SETTLED)->seq, 5);
	assert_memory_equal(end_last(&w->p->b, SESSION_EV_SETTLED)->era, m[0].wire_id, 8);
	/* One bit, another author, another recipient, garbage. */
	b.p[b.n - 1] ^= 1;
	say(w, IM2_ITEM_SMSG, buf_bytes(&b));
	buf_reset(&b);
	assert_int_equal(im2_smsg_write(other, m, 2, keyring_ed(w->b.k), &b), ERR_OK);
	say(w, IM2_ITEM_SMSG, buf_bytes(&b));
	buf_reset(&b);
	assert_int_equal(im2_smsg_write(w->a.k, m, 2, keyring_ed(other), &b), ERR_OK);
	say(w, IM2_ITEM_SMSG, buf_bytes(&b));
	say(w, IM2_ITEM_SMSG, BYTES_LIT("garbage"));
	assert_int_equal(im2_host_counters(w->b.host)->items_refused, 4);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 2);
	buf_fini(&b);
	keyring_free(other);
}

static void info_changes_what_we_know(void **state)
{
	struct world *w = *state;
	struct im2_fields f = { 0 };
	struct buf b;

	buf_init(&b, 256);
	im2_set_b(&f, IM2_INFO_NAME, BYTES_LIT("renamed"));
	im2_set_u(&f, IM2_INFO_FEATURES, IM2_FEATURE_PAD);
	im2_write(&im2_info, &f, &b);
	say(w, IM2_ITEM_INFO, buf_bytes(&b));
	assert_int_equal(im2_link_features(w->p->b.s), IM2_FEATURE_PAD);
	send(&w->p->b, 1, "x");
	end_drain(&w->p->b);
	assert_int_equal(w->p->b.wire[0].n, 256 + IM2_FRAME_OVERHEAD); /* it wants padded frames now */
	say(w, IM2_ITEM_INFO, BYTES_LIT("garbage"));
	assert_int_equal(im2_host_counters(w->b.host)->items_refused, 1);
	buf_fini(&b);
}

static void close_says_why_in_clean_text(void **state)
{
	struct world *w = *state;
	struct im2_fields f = { 0 };
	struct buf b;

	buf_init(&b, 256);
	im2_set_u(&f, IM2_CLOSE_CODE, 5);
	im2_set_b(&f, IM2_CLOSE_TEXT, BYTES_LIT("good \xe2\x80\xae night"));
	im2_write(&im2_close, &f, &b);
	say(w, IM2_ITEM_CLOSE, buf_bytes(&b));
	assert_true(session_over(w->p->b.s));
	assert_null(strstr(end_last(&w->p->b, SESSION_EV_OVER)->word, "\xe2\x80\xae"));
	assert_non_null(strstr(end_last(&w->p->b, SESSION_EV_OVER)->word, "night"));
	buf_fini(&b);
}

/* Well-formed items of what is not built: parsed, refused with code 4, and nothing else happens. */
static void features_that_are_off_are_refused(void **state)
{
	static const uint8_t skreq[] = { 1, 16, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 1, 2 };
	struct world *w = *state;
	struct said u = answer_to(w, IM2_ITEM_SKREQ, BYTES_ARR(skreq));

	assert_non_null(u.p);
	assert_int_equal(im2_host_counters(w->b.host)->items_refused, 1);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_ITEM), 0);
}

static void calls_out_of_time_are_refused(void **state)
{
	static const uint8_t era[8] = { 1 };
	struct world *w = *state;
	struct inode *n = &w->a;
	struct im2_link_config c = { .role = SESSION_DIALLER, .owner = n, .transport = IM2_LOOPBACK };
	struct message m = imessage(1, "x");
	struct receipt r = { .kind = RECEIPT_DELIVERED, .id = BYTES_LIT("00") };
	struct session *s;

	assert_int_equal(im2_link_new(n->host, &c, &s), ERR_OK);
	assert_true(im2_is_link(s));
	assert_int_equal(session_send(s, &m), ERR_WRONG_STATE);
	assert_int_equal(session_send_receipts(s, &r, 1), ERR_WRONG_STATE);
	assert_int_equal(session_ping(s), ERR_WRONG_STATE);
	assert_int_equal(session_rate_limited(s), ERR_WRONG_STATE);
	assert_int_equal(session_goodbye(s), ERR_WRONG_STATE);
	assert_int_equal(session_rekey(s), ERR_WRONG_STATE);
	assert_int_equal(session_key_rotate(s, keyring_ed(n->k)), ERR_WRONG_STATE);
	assert_int_equal(session_settled(s, era, 1), ERR_WRONG_STATE);
	assert_int_equal(im2_link_item(s, IM2_ITEM_RECORD, BYTES_LIT("x")), ERR_WRONG_STATE);
	assert_int_equal(im2_link_features(s), 0);
	session_free(s);
	assert_int_equal(session_settled(w->p->a.s, era, UINT64_MAX), ERR_LIMIT);
	assert_int_equal(session_key_rotate(w->p->a.s, keyring_ed(n->k)), ERR_OK);
	c.chan = bytes_of(era, 1000);
	assert_int_equal(im2_link_new(n->host, &c, &s), ERR_LIMIT);
}

/* A peer that suddenly says it takes 64 bytes: nothing of ours breaks, and what waits goes as it can. */
static void a_peer_may_take_less_at_any_time(void **state)
{
	struct world *w = *state;
	struct receipt r[100];
	char ids[100][33], body[5001];
	struct im2_fields f = { 0 };
	struct buf b;

	memset(body, 'w', 5000);
	body[5000] = 0;
	for (unsigned i = 0; i < 100; i++) {
		id_text(i + 1, ids[i]);
		r[i] = (struct receipt){ .kind = RECEIPT_DELIVERED, .id = bytes_str(ids[i]) };
	}
	for (unsigned max = 64; max <= 1024; max *= 4) {
		end_forget(&w->p->a);
		end_forget(&w->p->b);
		assert_int_equal(session_send_receipts(w->p->b.s, r, 100), ERR_OK);
		send(&w->p->b, max, body);
		buf_init(&b, 64);
		memset(&f, 0, sizeof f);
		im2_set_u(&f, IM2_INFO_MAX_UNIT, max);
		im2_write(&im2_info, &f, &b);
		say(w, IM2_ITEM_INFO, buf_bytes(&b));
		buf_fini(&b);
		ipath_flush(w->p);
		assert_false(session_over(w->p->b.s));
		assert_false(session_over(w->p->a.s));
		assert_int_equal(end_count(&w->p->a, SESSION_EV_RECEIPT), 100);
		if (max > 64)
			assert_true(end_count(&w->p->a, SESSION_EV_MESSAGE) >= 1);
		assert_int_equal(session_ping(w->p->b.s), ERR_OK);
		ipath_flush(w->p);
		assert_int_equal(end_count(&w->p->b, SESSION_EV_PONG), 1);
	}
}

/* Small and large together, without end: a frame never has more than 256 items. */
static void transfers_and_full_frames_share(void **state)
{
	struct world *w = *state;
	uint8_t *big = calloc(1, 900000);
	struct message m = imessage(1, "");
	unsigned n = 0;
	bool arrived = false;

	m.body = bytes_of(big, 900000);
	assert_int_equal(session_send(w->p->a.s, &m), ERR_OK);
	for (int round = 0; round < 200 && !arrived; round++) {
		for (int i = 0; i < 1500; i++)
			send(&w->p->a, ++n + 1, "x");
		ipath_flush(w->p);
		for (size_t i = 0; i < w->p->b.log_n; i++)
			arrived |= w->p->b.log[i].body_n == 900000;
		end_forget(&w->p->b);
		assert_false(session_over(w->p->b.s));
	}
	assert_true(arrived);
	free(big);
}

/* Radio: required fields only, small units, no words beyond what is owed (5.7, 7.9). */
static void the_radio_profile_keeps_its_budget(void **state)
{
	static const size_t want[] = { 50, 81, 203, 171 };
	struct im2_host_config c = { .radio = true };
	struct ipath_opts o = { .transport = IM2_RNS_LINK, .expect = true };

	teardown(state);
	*state = made(&c, &c);
	struct world *w = *state;
	ipath_free(w->p);
	w->p = ipath_new(&w->a, &w->b, &(struct ipath_opts){ .transport = IM2_RNS_LINK });
	ipath_start(w->p);
	for (int i = 0; i < 4; i++) {
		struct end *from = i & 1 ? &w->p->b : &w->p->a;

		assert_int_equal(from->wire_n, 1);
		assert_int_equal(from->wire[0].n, want[i]);
		ipath_move(w->p, from, 1);
	}
	assert_true(session_online(w->p->a.s) && session_online(w->p->b.s));
	assert_int_equal(w->p->a.wire_n + w->p->b.wire_n, 0);
	/* The name and the features, which X3 left out, ride with the first text. */
	send(&w->p->a, 1, "meet at dawn, ok");
	end_drain(&w->p->a);
	assert_int_equal(w->p->a.wire[0].n, 71 + 2 + 7 + 3);
	ipath_flush(w->p);
	assert_string_equal(end_last(&w->p->b, SESSION_EV_RENAMED)->word, "alice");
	assert_int_equal(im2_link_features(w->p->b.s), IM2_FEATURE_RADIO);
	send(&w->p->a, 3, "meet at dawn, ok");
	end_drain(&w->p->a);
	assert_int_equal(w->p->a.wire[0].n, 71);
	ipath_flush(w->p);
	/* A text that is longer than a packet goes in pieces of at most 431 bytes. */
	char *body = malloc(1501);
	memset(body, 'L', 1500);
	body[1500] = 0;
	send(&w->p->a, 2, body);
	end_drain(&w->p->a);
	for (size_t i = 0; i < w->p->a.wire_n; i++)
		assert_true(w->p->a.wire[i].n <= 431);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 3);
	free(body);
	/* No keep-alive of its own for a day. */
	for (int i = 0; i < 80; i++) {
		ipath_tick(w->p, 1000 * 1000);
		assert_int_equal(w->p->a.wire_n + w->p->b.wire_n, 0);
	}
	assert_false(session_over(w->p->a.s));
	ipath_free(w->p);
	im2_host_revoke(w->a.host, keyring_ed(w->b.k));
	w->p = ipath_new(&w->a, &w->b, &o);
	ipath_start(w->p);
	assert_int_equal(w->p->a.wire[0].n, 110);
	ipath_move(w->p, &w->p->a, 1);
	assert_int_equal(w->p->b.wire[0].n, 62);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_message_keeps_what_it_says),
		T(a_short_text_takes_71_bytes),
		T(what_one_turn_makes_shares_a_frame),
		T(a_frame_has_256_items_at_most),
		T(units_stay_below_what_the_peer_takes),
		T(sending_pauses_when_too_much_waits),
		T(messages_that_cannot_be_are_refused),
		T(signed_when_the_policy_says_so),
		T(receipts_name_what_they_speak_of),
		T(many_receipts_share_frames),
		T(marks_arrive_as_events),
		T(a_ping_measures_and_others_do_not),
		T(items_out_of_place_or_not_built_are_refused_politely),
		T(refusals_are_answered_once_in_a_second),
		T(a_malformed_item_harms_no_other),
		T(records_are_handed_on),
		T(strangers_are_held_back_and_told),
		T(signed_messages_are_counted_one_by_one),
		T(what_a_stranger_left_in_pieces_goes_with_his_last_path),
		T(an_end_that_came_on_another_connection_is_told),
		T(who_closes_and_comes_again_finds_the_bucket_as_it_was),
		T(a_peer_that_is_gone_is_forgotten_when_its_buckets_are_full),
		T(rate_limited_goes_out_once_in_a_second),
		T(frames_in_any_order_lose_nothing),
		T(a_repeated_frame_is_dropped),
		T(a_forged_frame_moves_no_window),
		T(lost_frames_lose_nothing_else),
		T(a_large_message_does_not_hold_up_small_ones),
		T(large_bodies_arrive_whole),
		T(what_went_in_pieces_is_known_to_the_sender),
		T(many_large_messages_take_turns),
		T(padding_goes_by_buckets_when_either_side_wants_it),
		T(goodbye_ends_the_session_at_both_ends),
		T(revocation_closes_at_once),
		T(an_unreadable_list_closes_the_session),
		T(an_empty_frame_and_mere_padding_are_fine),
		T(events_keep_their_text_until_the_next_call),
		T(a_volatile_message_in_pieces_is_refused),
		T(a_signed_volatile_message_in_pieces_is_refused),
		T(a_silent_peer_is_asked_and_given_up),
		T(an_idle_connection_gives_its_buffers_back),
		T(signed_batches_are_checked),
		T(info_changes_what_we_know),
		T(close_says_why_in_clean_text),
		T(features_that_are_off_are_refused),
		T(calls_out_of_time_are_refused),
		T(a_peer_may_take_less_at_any_time),
		T(transfers_and_full_frames_share),
		T(the_radio_profile_keeps_its_budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
