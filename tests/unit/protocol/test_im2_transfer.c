/* Transfers: im2.md 7.6 and 18.1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "protocol/im2/transfer.h"
#include "tests/lib/protocol_env.h"

#define ITEMS_KEPT 4096
#define ROOM	   16384

struct item {
	uint16_t tag;
	uint8_t *p;
	size_t n;
};

/* One side, and what it said that has not arrived. */
struct side {
	struct im2_transfers *t;
	struct item wire[ITEMS_KEPT];
	size_t wire_n;
	unsigned got;	 /* complete values */
	uint8_t last[32]; /* digest of the last one */
	uint16_t last_tag;
	size_t last_n;
	size_t frag_bytes; /* said */
	unsigned acks, opens, aborts;
};

struct duo {
	struct penv e;
	uint64_t total[2];
	struct side s[2];
};

static struct im2_transfer_config config(struct duo *d, int i)
{
	return (struct im2_transfer_config){.env = &d->e.env, .bytes_total = &d->total[i]};
}

static struct duo *duo_with(const struct im2_transfer_config *like)
{
	struct duo *d = calloc(1, sizeof *d);

	penv_init(&d->e);
	for (int i = 0; i < 2; i++) {
		struct im2_transfer_config c = like ? *like : (struct im2_transfer_config){0};

		c.env = &d->e.env;
		c.bytes_total = &d->total[i];
		assert_int_equal(im2_transfers_new(&c, &d->s[i].t), ERR_OK);
	}
	return d;
}

static void forget_wire(struct side *s)
{
	while (s->wire_n)
		free(s->wire[--s->wire_n].p);
}

static void duo_free(struct duo *d)
{
	for (int i = 0; i < 2; i++) {
		im2_transfers_free(d->s[i].t);
		assert_int_equal(d->total[i], 0);
		forget_wire(&d->s[i]);
	}
	free(d);
}

static struct item item_pop(struct side *s, size_t i)
{
	struct item x = s->wire[i];

	memmove(&s->wire[i], &s->wire[i + 1], (s->wire_n-- - i - 1) * sizeof x);
	return x;
}

/* One item out of the object, put on the wire; checks that it is a legal one within its room. */
static bool say(struct side *s, size_t room)
{
	struct buf b;
	struct bytes list, value;
	uint16_t tag;
	size_t count;

	buf_init(&b, 2u << 20);
	if (!im2_transfer_next(s->t, room, &b)) {
		assert_int_equal(b.n, 0);
		buf_fini(&b);
		return false;
	}
	assert_true(b.n > 0 && b.n <= room);
	list = buf_bytes(&b);
	assert_int_equal(im2_items_check(list, &count), IM2_FINE);
	assert_int_equal(count, 1);
	assert_true(im2_item_next(&list, &tag, &value));
	assert_int_equal(im2_item_check(tag, value), IM2_FINE);
	if (tag == IM2_ITEM_FRAG) {
		uint32_t xfer;
		uint64_t at;
		struct bytes data;

		assert_int_equal(im2_frag_take(value, &xfer, &at, &data), IM2_FINE);
		s->frag_bytes += data.n;
	}
	s->acks += tag == IM2_ITEM_XACK;
	s->opens += tag == IM2_ITEM_XOPEN;
	s->aborts += tag == IM2_ITEM_XABORT;
	assert_true(s->wire_n < ITEMS_KEPT);
	struct item *x = &s->wire[s->wire_n++];
	x->tag = tag;
	x->n = value.n;
	x->p = malloc(value.n ? value.n : 1);
	memcpy(x->p, value.p, value.n);
	buf_fini(&b);
	return true;
}

static void hear(struct side *s, uint16_t tag, struct bytes value)
{
	struct bytes v;
	uint16_t got;

	assert_int_equal(im2_transfer_take(s->t, tag, value), IM2_FINE);
	if (im2_transfer_complete(s->t, &got, &v)) {
		s->got++;
		s->last_tag = got;
		s->last_n = v.n;
		sha256(v, s->last);
	}
}

/* The item number i of `from` arrives; `copy`: and stays on the wire. */
static void arrive(struct duo *d, int from, size_t i, bool copy)
{
	struct side *s = &d->s[from];

	if (copy) {
		hear(&d->s[!from], s->wire[i].tag, bytes_of(s->wire[i].p, s->wire[i].n));
		return;
	}
	struct item x = item_pop(s, i);
	hear(&d->s[!from], x.tag, bytes_of(x.p, x.n));
	free(x.p);
}

static void flush(struct duo *d, size_t room)
{
	bool busy = true;

	while (busy) {
		busy = false;
		for (int i = 0; i < 2; i++) {
			busy |= say(&d->s[i], room);
			while (d->s[i].wire_n)
				arrive(d, i, 0, false);
		}
	}
}

static uint8_t *pattern(size_t n, unsigned seed)
{
	uint8_t *p = malloc(n);
	uint32_t x = seed * 2654435761u + 1;

	for (size_t i = 0; i < n; i++) {
		x = x * 1664525u + 1013904223u;
		p[i] = (uint8_t)(x >> 24);
	}
	return p;
}

static uint32_t send_pattern(struct side *s, uint16_t tag, size_t n, unsigned seed, uint32_t credit,
			     uint8_t digest[32])
{
	uint8_t *p = pattern(n, seed);
	uint32_t xfer;

	assert_int_equal(im2_transfer_send(s->t, tag, bytes_of(p, n), credit, &xfer), ERR_OK);
	if (digest)
		sha256(bytes_of(p, n), digest);
	free(p);
	return xfer;
}

static void assert_end(struct side *s, uint32_t xfer, bool delivered, uint8_t code)
{
	struct im2_transfer_end e;

	assert_true(im2_transfer_ended(s->t, &e));
	assert_int_equal(e.xfer, xfer);
	assert_int_equal(e.delivered, delivered);
	assert_int_equal(e.code, code);
}

static void assert_no_end(struct side *s)
{
	struct im2_transfer_end e;

	assert_false(im2_transfer_ended(s->t, &e));
}

/* An XOPEN, FRAG or XACK made by hand. */
static void hand_open(struct buf *b, uint32_t xfer, uint64_t len, uint16_t tag, const uint8_t digest[32])
{
	struct im2_fields f = {.schema = &im2_xopen};

	im2_set_u(&f, IM2_XOPEN_XFER, xfer);
	im2_set_u(&f, IM2_XOPEN_LEN, len);
	im2_set_u(&f, IM2_XOPEN_TAG, tag);
	im2_set_b(&f, IM2_XOPEN_DIGEST, bytes_of(digest, 32));
	buf_reset(b);
	im2_write(&im2_xopen, &f, b);
}

static enum im2_refusal hand_frag(struct side *to, uint32_t xfer, uint64_t at, const void *p, size_t n)
{
	struct buf b;

	buf_init(&b, 2u << 20);
	im2_varint_add(&b, xfer);
	im2_varint_add(&b, at);
	buf_add(&b, bytes_of(p, n));
	enum im2_refusal r = im2_transfer_take(to->t, IM2_ITEM_FRAG, buf_bytes(&b));
	buf_fini(&b);
	return r;
}

static void assert_says(struct side *s, uint16_t tag, const char *hex)
{
	uint8_t want[256];
	size_t n = strlen(hex) / 2;

	test_unhex(hex, want, n);
	assert_true(say(s, ROOM));
	struct item x = item_pop(s, s->wire_n - 1);
	assert_int_equal(x.tag, tag);
	assert_int_equal(x.n, n);
	assert_memory_equal(x.p, want, n);
	free(x.p);
}

static void assert_quiet(struct side *s)
{
	assert_false(im2_transfer_waiting(s->t));
	assert_false(say(s, ROOM));
}

/* --- the vectors ------------------------------------------------------------------------------------- */
static size_t vector_object(uint8_t out[929])
{
	test_unhex("01100405060708090a0b0c0d0e0f101112130f06fabffaa58433218407", out, 29);
	for (unsigned i = 0; i < 900; i++)
		out[29 + i] = (uint8_t)i;
	return 929;
}

static void fragments_are_those_of_the_vectors(void **state)
{
	static const char open[] =
		"0101010302a10705010307204a17e83ab70c825cbbe2c0689ef1cf43cc370dc4429cf28b1f66e5e64c702076";
	static const char *const heads[] = {"0100", "01de02", "01bc05"};
	static const size_t sizes[] = {350, 350, 229};
	struct duo *d = duo_with(NULL);
	uint8_t object[929], want[400];
	uint32_t xfer;

	vector_object(object);
	assert_int_equal(im2_transfer_send(d->s[0].t, IM2_ITEM_MSG, BYTES_ARR(object), 65536, &xfer), ERR_OK);
	assert_int_equal(xfer, 1);
	assert_int_equal(im2_transfer_out_bytes(d->s[0].t), 929);
	assert_true(say(&d->s[0], ROOM));
	test_unhex(open, want, sizeof open / 2);
	assert_int_equal(d->s[0].wire[0].n, sizeof open / 2);
	assert_memory_equal(d->s[0].wire[0].p, want, sizeof open / 2);
	for (size_t i = 0; i < 3; i++) {
		size_t head = strlen(heads[i]) / 2;
		struct item *x = &d->s[0].wire[1 + i];

		assert_true(say(&d->s[0], im2_item_size(IM2_ITEM_FRAG, head + 350)));
		test_unhex(heads[i], want, head);
		assert_int_equal(x->n, head + sizes[i]);
		assert_memory_equal(x->p, want, head);
		assert_memory_equal(x->p + head, object + i * 350, sizes[i]);
	}
	assert_quiet(&d->s[0]);
	arrive(d, 0, 0, false);
	assert_quiet(&d->s[1]); /* nothing to say about an XOPEN that is new */
	arrive(d, 0, 1, false);
	assert_says(&d->s[1], IM2_ITEM_XACK, "0101010301000502a107060504de02de02");
	arrive(d, 0, 0, false);
	arrive(d, 0, 0, false);
	assert_int_equal(d->s[1].got, 1);
	assert_int_equal(d->s[1].last_tag, IM2_ITEM_MSG);
	assert_int_equal(d->s[1].last_n, 929);
	assert_says(&d->s[1], IM2_ITEM_XACK, "0101010302a1070502a107");
	duo_free(d);

	d = duo_with(&(struct im2_transfer_config){.bytes_total_max = 928});
	test_unhex(open, want, sizeof open / 2);
	hear(&d->s[1], IM2_ITEM_XOPEN, bytes_of(want, sizeof open / 2));
	assert_int_equal(d->total[1], 0);
	assert_says(&d->s[1], IM2_ITEM_XABORT, "010101030106");
	duo_free(d);
}

static void malformed_items_are_refused(void **state)
{
	static const struct {
		uint16_t tag;
		const char *hex;
		enum im2_refusal r;
	} rows[] = {
		{IM2_ITEM_XACK, "0101000301000501000603020005", IM2_E_RANGE},
		{IM2_ITEM_XACK, "0101000301000501000600", IM2_E_NONCANON},
		{IM2_ITEM_FRAG, "0100", IM2_E_SHORT},
		{IM2_ITEM_FRAG, "01", IM2_E_SHORT},
		{IM2_ITEM_XABORT, "0101010302ac02", IM2_E_RANGE},
		{IM2_ITEM_MSG, "00", IM2_E_CONTEXT},
	};
	struct duo *d = duo_with(NULL);
	uint8_t v[64];

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		test_unhex(rows[i].hex, v, strlen(rows[i].hex) / 2);
		assert_int_equal(im2_transfer_take(d->s[0].t, rows[i].tag,
						   bytes_of(v, strlen(rows[i].hex) / 2)),
				 rows[i].r);
	}
	/* Tags that never travel so, among them XOPEN itself. */
	static const uint16_t tags[] = {IM2_ITEM_RECEIPT, IM2_ITEM_XOPEN, IM2_ITEM_CHUNK, IM2_ITEM_CLOSE, 1000};
	struct buf b;
	buf_init(&b, 256);
	for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++) {
		uint32_t xfer;

		hand_open(&b, 1, 100, tags[i], v);
		assert_int_equal(im2_transfer_take(d->s[0].t, IM2_ITEM_XOPEN, buf_bytes(&b)), IM2_E_CONTEXT);
		assert_int_equal(im2_transfer_send(d->s[0].t, tags[i], BYTES_ARR(v), 100, &xfer), ERR_LIMIT);
	}
	buf_fini(&b);
	assert_quiet(&d->s[0]);
	duo_free(d);
}

/* --- credit and memory --------------------------------------------------------------------------------- */
static void a_megabyte_crosses_within_its_credit(void **state)
{
	static const uint32_t windows[] = {1, 700, 65536, 262144, 4u << 20};

	for (size_t w = 0; w < sizeof windows / sizeof windows[0]; w++) {
		struct duo *d = duo_with(&(struct im2_transfer_config){.window = windows[w]});
		size_t n = w == 0 ? 300 : w == 1 ? 30000 : IM2_MSG_MAX;
		uint64_t limit = windows[w], ahead = 0;
		uint8_t digest[32];
		uint32_t xfer = send_pattern(&d->s[0], IM2_ITEM_MSG, n, 1, windows[w], digest);
		bool busy = true;

		while (busy) {
			busy = say(&d->s[0], ROOM);
			while (d->s[0].wire_n) {
				struct item *x = &d->s[0].wire[0];
				uint32_t number;
				uint64_t at;
				struct bytes data;

				if (x->tag == IM2_ITEM_FRAG) {
					assert_int_equal(im2_frag_take(bytes_of(x->p, x->n), &number, &at, &data),
							 IM2_FINE);
					assert_true(at + data.n <= limit);
				}
				arrive(d, 0, 0, false);
				if (d->total[1] > ahead)
					ahead = d->total[1];
			}
			while (say(&d->s[1], ROOM)) {
				struct im2_fields f;
				struct item *x = &d->s[1].wire[0];

				assert_int_equal(x->tag, IM2_ITEM_XACK);
				assert_int_equal(im2_parse(&im2_xack, bytes_of(x->p, x->n), &f), IM2_FINE);
				if (f.v[IM2_XACK_LIMIT].u > limit)
					limit = f.v[IM2_XACK_LIMIT].u;
				assert_true(f.v[IM2_XACK_LIMIT].u <= n);
				assert_int_equal(im2_has(&f, IM2_XACK_HAVE), false);
				arrive(d, 1, 0, false);
				busy = true;
			}
		}
		assert_int_equal(d->s[1].got, 1);
		assert_memory_equal(d->s[1].last, digest, 32);
		assert_end(&d->s[0], xfer, true, 0);
		assert_int_equal(d->s[0].frag_bytes, n); /* nothing twice */
		assert_int_equal(ahead, n);		 /* and nothing but the value in memory */
		/* One XACK each half window. */
		assert_true(d->s[1].acks <= 2 * n / windows[w] + 2);
		assert_int_equal(d->total[1], 0);
		duo_free(d);
	}
}

static void sender_stops_at_the_credit(void **state)
{
	struct duo *d = duo_with(NULL);

	send_pattern(&d->s[0], IM2_ITEM_MSG, 100000, 1, 5000, NULL);
	while (say(&d->s[0], 1000))
		;
	assert_int_equal(d->s[0].frag_bytes, 5000);
	assert_false(im2_transfer_waiting(d->s[0].t));
	duo_free(d);

	d = duo_with(NULL); /* no credit at all: XOPEN, then the peer says how much */
	send_pattern(&d->s[0], IM2_ITEM_MSG, 100000, 1, 0, NULL);
	while (say(&d->s[0], 1000))
		;
	assert_int_equal(d->s[0].wire_n, 1);
	uint8_t ack[] = {1, 1, 1, 3, 1, 0, 5, 1, 100};
	hear(&d->s[0], IM2_ITEM_XACK, BYTES_ARR(ack));
	while (say(&d->s[0], 1000))
		;
	assert_int_equal(d->s[0].frag_bytes, 100);
	duo_free(d);
}

static void small_rooms_get_no_crumbs(void **state)
{
	struct duo *d = duo_with(NULL);

	send_pattern(&d->s[0], IM2_ITEM_MSG, 3000, 1, 65536, NULL);
	assert_false(say(&d->s[0], 40));
	assert_true(say(&d->s[0], 64));
	assert_false(say(&d->s[0], 30));
	assert_true(im2_transfer_waiting(d->s[0].t));
	for (size_t room = 64; room < 400; room++)
		say(&d->s[0], room);
	while (d->s[0].wire_n)
		arrive(d, 0, 0, false);
	assert_int_equal(d->s[1].got, 1);
	duo_free(d);
}

static void memory_is_bounded_before_anything_is_taken(void **state)
{
	struct duo *d = duo_with(&(struct im2_transfer_config){.bytes_max = 10000, .bytes_total_max = 15000});
	struct im2_transfers *other;
	struct im2_transfer_config c = config(d, 1);
	struct side *s = &d->s[1];
	uint8_t digest[32] = {0};
	struct buf b;

	buf_init(&b, 256);
	/* Too large for the tag, or for us ever: 10. */
	hand_open(&b, 1, IM2_RECORD_MAX + 1, IM2_ITEM_RECORD, digest);
	hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	assert_says(s, IM2_ITEM_XABORT, "01010103010a");
	hand_open(&b, 2, 10001, IM2_ITEM_MSG, digest);
	hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	assert_says(s, IM2_ITEM_XABORT, "01010203010a");
	assert_int_equal(d->total[1], 0);
	/* Of one peer. */
	hand_open(&b, 3, 6000, IM2_ITEM_MSG, digest);
	hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	hand_open(&b, 4, 4001, IM2_ITEM_MSG, digest);
	hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	assert_says(s, IM2_ITEM_XABORT, "010104030106");
	hand_open(&b, 5, 4000, IM2_ITEM_MSG, digest);
	hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	assert_quiet(s);
	assert_int_equal(im2_transfer_in_bytes(s->t), 10000);
	/* Of all peers. */
	c.bytes_max = 10000;
	c.bytes_total_max = 15000;
	assert_int_equal(im2_transfers_new(&c, &other), ERR_OK);
	hand_open(&b, 1, 5001, IM2_ITEM_MSG, digest);
	assert_int_equal(im2_transfer_take(other, IM2_ITEM_XOPEN, buf_bytes(&b)), IM2_FINE);
	assert_int_equal(d->total[1], 10000);
	hand_open(&b, 2, 5000, IM2_ITEM_MSG, digest);
	assert_int_equal(im2_transfer_take(other, IM2_ITEM_XOPEN, buf_bytes(&b)), IM2_FINE);
	assert_int_equal(d->total[1], 15000);
	im2_transfers_free(other);
	assert_int_equal(d->total[1], 10000);
	buf_fini(&b);
	duo_free(d);

	/* Eight at once, on either side. */
	d = duo_with(NULL);
	s = &d->s[0];
	uint8_t v[9][40];
	uint32_t xfer;
	for (unsigned i = 0; i < 9; i++) {
		memset(v[i], (int)i, sizeof v[i]);
		assert_int_equal(im2_transfer_send(s->t, IM2_ITEM_MSG, BYTES_ARR(v[i]), 100, &xfer),
				 i < 8 ? ERR_OK : ERR_AGAIN);
	}
	buf_init(&b, 256);
	for (unsigned i = 0; i < 9; i++) {
		memset(digest, (int)i, sizeof digest);
		hand_open(&b, i, 40, IM2_ITEM_MSG, digest);
		hear(&d->s[1], IM2_ITEM_XOPEN, buf_bytes(&b));
	}
	assert_int_equal(d->total[1], 8 * 40);
	assert_says(&d->s[1], IM2_ITEM_XABORT, "010108030106");
	buf_fini(&b);
	duo_free(d);
}

static void defaults_are_those_of_the_section(void **state)
{
	for (int radio = 0; radio < 2; radio++) {
		struct duo *d = duo_with(&(struct im2_transfer_config){.radio = radio});
		uint8_t digest[32] = {0};
		struct buf b;
		unsigned n = 0;

		buf_init(&b, 256);
		for (; n < 8; n++) {
			digest[0] = (uint8_t)n;
			hand_open(&b, n, radio ? 16384 : 1 << 20, IM2_ITEM_MSG, digest);
			hear(&d->s[1], IM2_ITEM_XOPEN, buf_bytes(&b));
		}
		assert_int_equal(d->total[1], radio ? 64u << 10 : 4u << 20);
		assert_int_equal(im2_transfer_max(IM2_ITEM_MSG), 1049600);
		assert_int_equal(im2_transfer_max(IM2_ITEM_SMSG), 1114112);
		assert_int_equal(im2_transfer_max(IM2_ITEM_ROUTED), 1180672);
		assert_int_equal(im2_transfer_max(IM2_ITEM_GRANT), 262144);
		buf_fini(&b);
		duo_free(d);
	}
}

static void send_refuses_what_cannot_travel(void **state)
{
	struct duo *d = duo_with(NULL);
	uint8_t *p = calloc(1, IM2_TRANSFER_MAX + 1);
	uint32_t xfer = 77;

	assert_int_equal(im2_transfer_send(d->s[0].t, IM2_ITEM_MSG, bytes_of(p, 0), 9, &xfer), ERR_LIMIT);
	assert_int_equal(im2_transfer_send(d->s[0].t, IM2_ITEM_MSG, bytes_of(p, IM2_MSG_MAX + 1), 9, &xfer), ERR_LIMIT);
	assert_int_equal(im2_transfer_send(d->s[0].t, IM2_ITEM_ROUTED, bytes_of(p, IM2_TRANSFER_MAX + 1), 9, &xfer),
			 ERR_LIMIT);
	assert_int_equal(xfer, 77);
	assert_int_equal(im2_transfer_send(d->s[0].t, IM2_ITEM_ROUTED, bytes_of(p, IM2_TRANSFER_MAX), 9, &xfer), ERR_OK);
	/* To the peer the same value again would be the same transfer. */
	assert_int_equal(im2_transfer_send(d->s[0].t, IM2_ITEM_ROUTED, bytes_of(p, IM2_TRANSFER_MAX), 9, &xfer),
			 ERR_AGAIN);
	free(p);
	duo_free(d);
}

/* --- hostile data -------------------------------------------------------------------------------------- */
static struct duo *opened(uint8_t value[1000], uint32_t window)
{
	struct duo *d = duo_with(&(struct im2_transfer_config){.window = window});
	uint8_t digest[32];
	struct buf b;

	for (unsigned i = 0; i < 1000; i++)
		value[i] = (uint8_t)(i * 7);
	sha256(bytes_of(value, 1000), digest);
	buf_init(&b, 256);
	hand_open(&b, 1, 1000, IM2_ITEM_MSG, digest);
	hear(&d->s[1], IM2_ITEM_XOPEN, buf_bytes(&b));
	buf_fini(&b);
	return d;
}

static void overlap_with_other_bytes_ends_it(void **state)
{
	/* Where the two pieces lie, and which byte of the second one differs. */
	static const struct {
		unsigned a, an, b, bn, bad;
	} rows[] = {
		{0, 100, 50, 100, 99},	 {0, 100, 0, 100, 0},	{200, 100, 150, 100, 200},
		{200, 100, 250, 100, 299}, {200, 100, 150, 200, 250}, {200, 300, 220, 10, 229},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		for (int bad = 0; bad < 2; bad++) {
			uint8_t v[1000];
			struct duo *d = opened(v, 4096);
			struct side *s = &d->s[1];

			assert_int_equal(hand_frag(s, 1, rows[i].a, v + rows[i].a, rows[i].an), IM2_FINE);
			forget_wire(s);
			while (say(s, ROOM))
				;
			v[rows[i].bad] ^= (uint8_t)bad;
			assert_int_equal(hand_frag(s, 1, rows[i].b, v + rows[i].b, rows[i].bn), IM2_FINE);
			v[rows[i].bad] ^= (uint8_t)bad;
			if (bad) {
				assert_says(s, IM2_ITEM_XABORT, "010101030107");
				assert_int_equal(d->total[1], 0);
			} else {
				assert_int_equal(hand_frag(s, 1, 0, v, 500), IM2_FINE);
				assert_int_equal(hand_frag(s, 1, 500, v + 500, 500), IM2_FINE);
				struct bytes got;
				uint16_t tag;
				assert_true(im2_transfer_complete(s->t, &tag, &got));
				assert_true(bytes_eq(got, BYTES_ARR(v)));
			}
			duo_free(d);
		}
}

static void data_outside_or_over_the_credit_ends_it(void **state)
{
	static const struct {
		uint64_t at;
		size_t n;
	} rows[] = {{1000, 1}, {999, 2}, {0, 301}, {300, 1}, {INT64_MAX, 1}, {(uint64_t)INT64_MAX - 1, 2}};
	uint8_t v[1000];

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct duo *d = opened(v, 300);

		assert_int_equal(hand_frag(&d->s[1], 1, rows[i].at, v, rows[i].n), IM2_FINE);
		assert_says(&d->s[1], IM2_ITEM_XABORT, "010101030107");
		/* The rest that was under way is answered alike, once per look. */
		assert_int_equal(hand_frag(&d->s[1], 1, 0, v, 10), IM2_FINE);
		assert_int_equal(hand_frag(&d->s[1], 1, 10, v, 10), IM2_FINE);
		assert_says(&d->s[1], IM2_ITEM_XABORT, "010101030107");
		assert_quiet(&d->s[1]);
		/* A number that never was: nothing. */
		assert_int_equal(hand_frag(&d->s[1], 9, 0, v, 10), IM2_FINE);
		assert_quiet(&d->s[1]);
		duo_free(d);
	}
}

static void another_digest_is_not_delivered(void **state)
{
	uint8_t v[1000];
	struct duo *d = opened(v, 4096);
	struct bytes got;
	uint16_t tag;

	v[500] ^= 1;
	assert_int_equal(hand_frag(&d->s[1], 1, 0, v, 1000), IM2_FINE);
	assert_false(im2_transfer_complete(d->s[1].t, &tag, &got));
	assert_says(&d->s[1], IM2_ITEM_XABORT, "010101030109");
	assert_int_equal(d->total[1], 0);
	duo_free(d);
}

/* More holes than an XACK can name: the piece is dropped and comes again. */
static void the_seventeenth_hole_is_not_kept(void **state)
{
	uint8_t v[1000];
	struct duo *d = opened(v, 4096);
	struct side *s = &d->s[1];
	struct im2_fields f;

	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(hand_frag(s, 1, 10 + 20 * i, v + 10 + 20 * i, 10), IM2_FINE);
	assert_true(say(s, ROOM));
	assert_int_equal(im2_parse(&im2_xack, bytes_of(s->wire[0].p, s->wire[0].n), &f), IM2_FINE);
	assert_int_equal(f.v[IM2_XACK_HAVE].u, 16);
	/* In a small room it says less, and is still whole. */
	assert_int_equal(hand_frag(s, 1, 10, v + 10, 10), IM2_FINE);
	assert_true(say(s, 64));
	assert_int_equal(im2_parse(&im2_xack, bytes_of(s->wire[1].p, s->wire[1].n), &f), IM2_FINE);
	assert_true(f.v[IM2_XACK_HAVE].u < 16);
	for (unsigned i = 0; i < 1000; i += 10)
		assert_int_equal(hand_frag(s, 1, i, v + i, 10), IM2_FINE);
	struct bytes got;
	uint16_t tag;
	assert_true(im2_transfer_complete(s->t, &tag, &got));
	assert_true(bytes_eq(got, BYTES_ARR(v)));
	duo_free(d);
}

static void acknowledgements_that_lie_are_refused(void **state)
{
	/* cum, limit, gap, length over a value of 1000 of which all is sent. */
	static const struct {
		uint64_t cum, limit, gap, len;
		enum im2_refusal r;
	} rows[] = {
		{1001, 1000, 0, 0, IM2_E_RANGE},     {0, 1001, 0, 0, IM2_E_RANGE},
		{0, 1000, 1000, 1, IM2_E_RANGE},     {0, 1000, 999, 2, IM2_E_RANGE},
		{0, 1000, INT64_MAX, 1, IM2_E_RANGE}, {0, 1000, 1, INT64_MAX, IM2_E_RANGE},
		{0, 1000, 999, 1, IM2_FINE},	     {10, 5, 0, 0, IM2_FINE},
	};
	struct duo *d = duo_with(NULL);
	uint32_t xfer = send_pattern(&d->s[0], IM2_ITEM_MSG, 1000, 1, 65536, NULL);

	while (say(&d->s[0], ROOM))
		;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct im2_fields f = {.schema = &im2_xack};
		uint8_t have[32];
		size_t n = 0;
		struct buf b;

		im2_set_u(&f, IM2_XACK_XFER, xfer);
		im2_set_u(&f, IM2_XACK_CUM, rows[i].cum);
		im2_set_u(&f, IM2_XACK_LIMIT, rows[i].limit);
		if (rows[i].gap) {
			have[n++] = (uint8_t)(im2_varint_size(rows[i].gap) + im2_varint_size(rows[i].len));
			n += im2_varint_put(have + n, rows[i].gap);
			n += im2_varint_put(have + n, rows[i].len);
			im2_set_b(&f, IM2_XACK_HAVE, bytes_of(have, n));
		}
		buf_init(&b, 256);
		im2_write(&im2_xack, &f, &b);
		assert_int_equal(im2_transfer_take(d->s[0].t, IM2_ITEM_XACK, buf_bytes(&b)), rows[i].r);
		buf_fini(&b);
	}
	assert_no_end(&d->s[0]);
	duo_free(d);
}

/* Each side numbers its own: the code of an XABORT tells whose transfer it ends. */
static void an_abort_ends_the_transfer_it_means(void **state)
{
	static const struct {
		uint8_t code;
		bool mine; /* the one that the hearer sends */
	} rows[] = {{6, true}, {7, true}, {8, false}, {9, true}, {10, true}, {11, false}, {200, true}};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint8_t v[1000];
		struct duo *d = opened(v, 4096);
		struct side *s = &d->s[1];
		uint32_t xfer = send_pattern(s, IM2_ITEM_MSG, 1000, 3, 65536, NULL);
		uint8_t abort[8];

		assert_int_equal(xfer, 1);
		assert_true(say(s, ROOM));
		test_unhex("010101030100", abort, 6);
		abort[5] = rows[i].code;
		size_t n = 6;
		if (rows[i].code > 127) {
			abort[4] = 2;
			abort[6] = 1;
			n = 7;
		}
		hear(s, IM2_ITEM_XABORT, bytes_of(abort, n));
		if (rows[i].mine)
			assert_end(s, xfer, false, rows[i].code);
		else
			assert_no_end(s);
		assert_int_equal(im2_transfer_in_bytes(s->t), rows[i].mine ? 1000 : 0);
		duo_free(d);
	}
}

/* --- loss ------------------------------------------------------------------------------------------------ */
static void a_gap_is_repeated_once_and_at_once(void **state)
{
	struct duo *d = duo_with(NULL);
	uint8_t digest[32];
	uint32_t xfer = send_pattern(&d->s[0], IM2_ITEM_MSG, 10000, 5, 65536, digest);

	while (say(&d->s[0], 1000))
		;
	assert_int_equal(d->s[0].frag_bytes, 10000);
	struct item lost = item_pop(&d->s[0], 3);
	size_t lost_n = lost.n - 3; /* number, two bytes of offset */
	free(lost.p);
	while (d->s[0].wire_n) {
		arrive(d, 0, 0, false);
		while (say(&d->s[1], ROOM)) /* one XACK per piece behind the gap */
			arrive(d, 1, 0, false);
	}
	while (say(&d->s[0], 1000))
		;
	assert_int_equal(d->s[0].frag_bytes, 10000 + lost_n);
	assert_int_equal(d->s[0].wire_n, 1);
	flush(d, 1000);
	assert_int_equal(d->s[1].got, 1);
	assert_memory_equal(d->s[1].last, digest, 32);
	assert_end(&d->s[0], xfer, true, 0);
	duo_free(d);
}

static void pass(struct duo *d, uint64_t ms)
{
	penv_pass(&d->e, ms);
	for (int i = 0; i < 2; i++)
		im2_transfers_tick(d->s[i].t);
}

static void silence_ends_after_eight_repetitions(void **state)
{
	struct duo *d = duo_with(NULL);
	uint32_t xfer = send_pattern(&d->s[0], IM2_ITEM_MSG, 3000, 5, 65536, NULL);

	assert_int_equal(im2_transfers_deadline_ms(d->s[0].t), UINT64_MAX);
	for (unsigned i = 0; i <= 8; i++) {
		while (say(&d->s[0], 1000))
			;
		assert_int_equal(d->s[0].opens, i + 1);
		assert_int_equal(d->s[0].frag_bytes, 3000 * (i + 1));
		assert_int_equal(im2_transfers_deadline_ms(d->s[0].t), d->e.now_ms + 5000);
		pass(d, 4999);
		assert_false(say(&d->s[0], 1000));
		pass(d, 1);
	}
	assert_end(&d->s[0], xfer, false, 11);
	forget_wire(&d->s[0]);
	assert_says(&d->s[0], IM2_ITEM_XABORT, "01010103010b");
	assert_quiet(&d->s[0]);
	assert_int_equal(im2_transfers_deadline_ms(d->s[0].t), UINT64_MAX);
	assert_int_equal(im2_transfer_out_bytes(d->s[0].t), 0);
	duo_free(d);
}

/* While the transport takes nothing, nothing is lost and nothing times out. */
static void back_pressure_is_not_silence(void **state)
{
	struct duo *d = duo_with(NULL);

	send_pattern(&d->s[0], IM2_ITEM_MSG, 3000, 5, 65536, NULL);
	pass(d, 3600000);
	assert_true(say(&d->s[0], 1000));
	assert_true(say(&d->s[0], 1000));
	pass(d, 3600000);
	assert_no_end(&d->s[0]);
	assert_int_equal(im2_transfers_deadline_ms(d->s[0].t), UINT64_MAX);
	flush(d, 1000);
	assert_int_equal(d->s[1].got, 1);
	assert_int_equal(d->s[0].opens, 1);
	duo_free(d);
}

static void a_lost_last_ack_is_said_again(void **state)
{
	struct duo *d = duo_with(NULL);
	uint32_t xfer = send_pattern(&d->s[0], IM2_ITEM_MSG, 3000, 5, 65536, NULL);

	while (say(&d->s[0], ROOM))
		;
	while (d->s[0].wire_n)
		arrive(d, 0, 0, false);
	assert_int_equal(d->s[1].got, 1);
	assert_true(say(&d->s[1], ROOM));
	forget_wire(&d->s[1]);
	pass(d, 5000);
	flush(d, ROOM);
	assert_end(&d->s[0], xfer, true, 0);
	assert_int_equal(d->s[1].got, 1); /* and not delivered twice */
	duo_free(d);
}

static uint32_t chance(struct duo *d, uint32_t below)
{
	return (uint32_t)env_uniform(&d->e.env, below);
}

/* Everything that can happen on the way, from seeds; eight transfers, both ways at once. */
static void everything_arrives_through_loss_reorder_and_repetition(void **state)
{
	for (unsigned seed = 1; seed <= 40; seed++) {
		struct duo *d = duo_with(&(struct im2_transfer_config){.window = 2000 + seed * 500, .radio = seed % 2,
								       .bytes_max = 1u << 20});
		unsigned want[2] = {0, 0}, ended[2] = {0, 0};
		struct im2_transfer_end end;
		uint64_t steps = 0;

		for (unsigned i = 0; i < seed; i++)
			chance(d, 2);
		for (unsigned i = 0; i < 6; i++) {
			int who = (int)(i & 1);
			send_pattern(&d->s[who], i < 3 ? IM2_ITEM_MSG : IM2_ITEM_SMSG, 1 + chance(d, 30000), seed * 10 + i,
				     2000 + seed * 500, NULL);
			want[who]++;
		}
		while (ended[0] < want[0] || ended[1] < want[1]) {
			int who = (int)chance(d, 2);
			struct side *s = &d->s[who];

			assert_true(++steps < 200000);
			switch (chance(d, 10)) {
			case 0:
			case 1:
			case 2:
			case 3:
				if (s->wire_n < 200 && !say(s, 100 + chance(d, 2000)) && s->wire_n == 0)
					pass(d, 500);
				break;
			case 4:
			case 5:
			case 6:
				if (s->wire_n)
					arrive(d, who, 0, false);
				break;
			case 7: /* out of order */
				if (s->wire_n)
					arrive(d, who, chance(d, (uint32_t)s->wire_n), false);
				break;
			case 8: /* twice */
				if (s->wire_n)
					arrive(d, who, chance(d, (uint32_t)s->wire_n), true);
				break;
			case 9:
				if (s->wire_n && chance(d, 3) == 0)
					free(item_pop(s, chance(d, (uint32_t)s->wire_n)).p);
				break;
			}
			for (int i = 0; i < 2; i++)
				while (im2_transfer_ended(d->s[i].t, &end)) {
					assert_true(end.delivered);
					ended[i]++;
				}
			assert_true(d->total[0] <= 1u << 20 && d->total[1] <= 1u << 20);
		}
		assert_int_equal(d->s[0].got, want[1]);
		assert_int_equal(d->s[1].got, want[0]);
		duo_free(d);
	}
}

/* --- resume, turns, time ------------------------------------------------------------------------------------ */
static void a_new_session_goes_on_where_the_old_one_was_cut(void **state)
{
	struct duo *d = duo_with(&(struct im2_transfer_config){.window = 20000});
	uint8_t digest[32];
	uint32_t xfer = send_pattern(&d->s[0], IM2_ITEM_MSG, 200000, 5, 20000, digest);
	size_t before;

	while (d->s[0].frag_bytes < 150000) {
		say(&d->s[0], 1000);
		while (d->s[0].wire_n)
			arrive(d, 0, 0, false);
		while (say(&d->s[1], ROOM))
			arrive(d, 1, 0, false);
	}
	for (int i = 0; i < 2; i++) {
		im2_transfers_session(d->s[i].t);
		forget_wire(&d->s[i]);
	}
	assert_int_equal(d->total[1], 200000);
	pass(d, 599999); /* a second less than ten minutes */
	im2_transfers_credit(d->s[0].t, 20000);
	before = d->s[0].frag_bytes;
	assert_true(say(&d->s[0], 1000));
	arrive(d, 0, 0, false);
	flush(d, 1000);
	assert_int_equal(d->s[1].got, 1);
	assert_memory_equal(d->s[1].last, digest, 32);
	assert_end(&d->s[0], xfer, true, 0);
	assert_true(d->s[0].frag_bytes - before <= 200000 - 150000 + 2000);
	duo_free(d);
}

static void partial_data_goes_after_its_time(void **state)
{
	uint8_t v[1000], digest[32];
	struct duo *d = opened(v, 4096);
	struct side *s = &d->s[1];
	struct buf b;

	/* Opened and silent: not even its memory stays long. */
	assert_int_equal(d->total[1], 1000);
	pass(d, 50000);
	assert_int_equal(d->total[1], 0);
	assert_says(s, IM2_ITEM_XABORT, "010101030106");
	duo_free(d);

	d = opened(v, 4096); /* the same at the end of a session */
	im2_transfers_session(d->s[1].t);
	assert_int_equal(d->total[1], 0);
	duo_free(d);

	d = opened(v, 4096);
	s = &d->s[1];
	assert_int_equal(hand_frag(s, 1, 0, v, 100), IM2_FINE);
	im2_transfers_session(s->t);
	assert_int_equal(im2_transfers_deadline_ms(s->t), d->e.now_ms + 600000);
	pass(d, 599999);
	assert_int_equal(d->total[1], 1000);
	sha256(BYTES_ARR(v), digest);
	buf_init(&b, 256);
	hand_open(&b, 7, 1000, IM2_ITEM_SMSG, digest); /* another tag: another value */
	hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	assert_int_equal(d->total[1], 2000);
	assert_quiet(s);
	hand_open(&b, 8, 1000, IM2_ITEM_MSG, digest);
	hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	assert_says(s, IM2_ITEM_XACK, "0101080301640502e807");
	im2_transfers_session(s->t);
	pass(d, 600000);
	assert_int_equal(d->total[1], 0);
	assert_int_equal(im2_transfers_deadline_ms(s->t), UINT64_MAX);
	buf_fini(&b);
	duo_free(d);
}

/* What is only kept makes room for what comes. */
static void kept_data_gives_way(void **state)
{
	struct duo *d = duo_with(&(struct im2_transfer_config){.bytes_max = 10000});
	struct side *s = &d->s[1];
	uint8_t digest[32] = {0};
	struct buf b;

	buf_init(&b, 256);
	for (unsigned i = 0; i < 2; i++) {
		digest[0] = (uint8_t)i;
		hand_open(&b, i, 5000, IM2_ITEM_MSG, digest);
		hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
		assert_int_equal(hand_frag(s, i, 0, digest, 32), IM2_FINE);
		pass(d, 1000);
	}
	im2_transfers_session(s->t);
	assert_int_equal(d->total[1], 10000);
	digest[0] = 9;
	hand_open(&b, 3, 5000, IM2_ITEM_MSG, digest);
	hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	assert_int_equal(d->total[1], 10000);
	assert_quiet(s);
	digest[0] = 1; /* the younger one is still here */
	hand_open(&b, 4, 5000, IM2_ITEM_MSG, digest);
	hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	assert_says(s, IM2_ITEM_XACK, "01010403012005028827");
	buf_fini(&b);
	duo_free(d);
}

static void transfers_take_turns(void **state)
{
	struct duo *d = duo_with(NULL);
	unsigned seen[4] = {0};

	for (unsigned i = 0; i < 3; i++)
		send_pattern(&d->s[0], IM2_ITEM_MSG, 30000, i, 65536, NULL);
	for (unsigned i = 0; i < 33; i++)
		assert_true(say(&d->s[0], 1000));
	for (size_t i = 0; i < d->s[0].wire_n; i++) {
		uint32_t xfer;
		uint64_t at;
		struct bytes data;

		if (d->s[0].wire[i].tag == IM2_ITEM_FRAG) {
			assert_int_equal(im2_frag_take(bytes_of(d->s[0].wire[i].p, d->s[0].wire[i].n), &xfer, &at, &data),
					 IM2_FINE);
			seen[xfer]++;
		}
	}
	assert_int_equal(seen[1], 10);
	assert_int_equal(seen[2], 10);
	assert_int_equal(seen[3], 10);
	duo_free(d);
}

/* On radio an XACK tells what came when nothing more comes. */
static void radio_says_what_it_has_after_two_seconds(void **state)
{
	for (int radio = 0; radio < 2; radio++) {
		struct duo *d = duo_with(&(struct im2_transfer_config){.radio = radio, .window = 2048});

		send_pattern(&d->s[0], IM2_ITEM_MSG, 5000, 5, 2048, NULL);
		assert_true(say(&d->s[0], 400));
		assert_true(say(&d->s[0], 400));
		while (d->s[0].wire_n)
			arrive(d, 0, 0, false);
		pass(d, 1999);
		assert_quiet(&d->s[1]);
		pass(d, 1);
		assert_int_equal(say(&d->s[1], ROOM), radio);
		pass(d, 2000);
		assert_quiet(&d->s[1]);
		duo_free(d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fragments_are_those_of_the_vectors),
		cmocka_unit_test(malformed_items_are_refused),
		cmocka_unit_test(a_megabyte_crosses_within_its_credit),
		cmocka_unit_test(sender_stops_at_the_credit),
		cmocka_unit_test(small_rooms_get_no_crumbs),
		cmocka_unit_test(memory_is_bounded_before_anything_is_taken),
		cmocka_unit_test(defaults_are_those_of_the_section),
		cmocka_unit_test(send_refuses_what_cannot_travel),
		cmocka_unit_test(overlap_with_other_bytes_ends_it),
		cmocka_unit_test(data_outside_or_over_the_credit_ends_it),
		cmocka_unit_test(another_digest_is_not_delivered),
		cmocka_unit_test(the_seventeenth_hole_is_not_kept),
		cmocka_unit_test(acknowledgements_that_lie_are_refused),
		cmocka_unit_test(an_abort_ends_the_transfer_it_means),
		cmocka_unit_test(a_gap_is_repeated_once_and_at_once),
		cmocka_unit_test(silence_ends_after_eight_repetitions),
		cmocka_unit_test(back_pressure_is_not_silence),
		cmocka_unit_test(a_lost_last_ack_is_said_again),
		cmocka_unit_test(everything_arrives_through_loss_reorder_and_repetition),
		cmocka_unit_test(a_new_session_goes_on_where_the_old_one_was_cut),
		cmocka_unit_test(partial_data_goes_after_its_time),
		cmocka_unit_test(kept_data_gives_way),
		cmocka_unit_test(transfers_take_turns),
		cmocka_unit_test(radio_says_what_it_has_after_two_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
