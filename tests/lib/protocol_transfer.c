#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "tests/lib/protocol_transfer.h"

struct duo *duo_new(const struct im2_transfer_config *like)
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

void duo_forget(struct side *s)
{
	while (s->wire_n)
		free(s->wire[--s->wire_n].p);
}

void duo_free(struct duo *d)
{
	for (int i = 0; i < 2; i++) {
		im2_transfers_free(d->s[i].t);
		assert_int_equal(d->total[i], 0);
		duo_forget(&d->s[i]);
	}
	free(d);
}

struct item duo_pop(struct side *s, size_t i)
{
	struct item x = s->wire[i];

	memmove(&s->wire[i], &s->wire[i + 1], (s->wire_n-- - i - 1) * sizeof x);
	return x;
}

/* One item out of the object, put on the wire; checks that it is a legal one within its room. */
bool duo_say(struct side *s, size_t room)
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

void duo_hear(struct side *s, uint16_t tag, struct bytes value)
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
void duo_arrive(struct duo *d, int from, size_t i, bool copy)
{
	struct side *s = &d->s[from];

	if (copy) {
		duo_hear(&d->s[!from], s->wire[i].tag, bytes_of(s->wire[i].p, s->wire[i].n));
		return;
	}
	struct item x = duo_pop(s, i);
	duo_hear(&d->s[!from], x.tag, bytes_of(x.p, x.n));
	free(x.p);
}

void duo_flush(struct duo *d, size_t room)
{
	bool busy = true;

	while (busy) {
		busy = false;
		for (int i = 0; i < 2; i++) {
			busy |= duo_say(&d->s[i], room);
			while (d->s[i].wire_n)
				duo_arrive(d, i, 0, false);
		}
	}
}

uint8_t *duo_pattern(size_t n, unsigned seed)
{
	uint8_t *p = malloc(n);
	uint32_t x = seed * 2654435761u + 1;

	for (size_t i = 0; i < n; i++) {
		x = x * 1664525u + 1013904223u;
		p[i] = (uint8_t)(x >> 24);
	}
	return p;
}

uint32_t duo_send(struct side *s, uint16_t tag, size_t n, unsigned seed, uint32_t credit,
			     uint8_t digest[32])
{
	uint8_t *p = duo_pattern(n, seed);
	uint32_t xfer;

	assert_int_equal(im2_transfer_send(s->t, tag, bytes_of(p, n), credit, &xfer), ERR_OK);
	if (digest)
		sha256(bytes_of(p, n), digest);
	free(p);
	return xfer;
}

void duo_assert_end(struct side *s, uint32_t xfer, bool delivered, uint8_t code)
{
	struct im2_transfer_end e;

	assert_true(im2_transfer_ended(s->t, &e));
	assert_int_equal(e.xfer, xfer);
	assert_int_equal(e.delivered, delivered);
	assert_int_equal(e.code, code);
}

void duo_assert_no_end(struct side *s)
{
	struct im2_transfer_end e;

	assert_false(im2_transfer_ended(s->t, &e));
}

/* An XOPEN, FRAG or XACK made by hand. */
void duo_hand_open(struct buf *b, uint32_t xfer, uint64_t len, uint16_t tag, const uint8_t digest[32])
{
	struct im2_fields f = {.schema = &im2_xopen};

	im2_set_u(&f, IM2_XOPEN_XFER, xfer);
	im2_set_u(&f, IM2_XOPEN_LEN, len);
	im2_set_u(&f, IM2_XOPEN_TAG, tag);
	im2_set_b(&f, IM2_XOPEN_DIGEST, bytes_of(digest, 32));
	buf_reset(b);
	im2_write(&im2_xopen, &f, b);
}

enum im2_refusal duo_hand_frag(struct side *to, uint32_t xfer, uint64_t at, const void *p, size_t n)
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

void duo_assert_says(struct side *s, uint16_t tag, const char *hex)
{
	uint8_t want[256];
	size_t n = strlen(hex) / 2;

	test_unhex(hex, want, n);
	assert_true(duo_say(s, ROOM));
	struct item x = duo_pop(s, s->wire_n - 1);
	assert_int_equal(x.tag, tag);
	assert_int_equal(x.n, n);
	assert_memory_equal(x.p, want, n);
	free(x.p);
}

void duo_assert_quiet(struct side *s)
{
	assert_false(im2_transfer_waiting(s->t));
	assert_false(duo_say(s, ROOM));
}

void duo_pass(struct duo *d, uint64_t ms)
{
	penv_pass(&d->e, ms);
	for (int i = 0; i < 2; i++)
		im2_transfers_tick(d->s[i].t);
}

struct duo *duo_opened(uint8_t value[1000], uint32_t window)
{
	struct duo *d = duo_new(&(struct im2_transfer_config){.window = window});
	uint8_t digest[32];
	struct buf b;

	for (unsigned i = 0; i < 1000; i++)
		value[i] = (uint8_t)(i * 7);
	sha256(bytes_of(value, 1000), digest);
	buf_init(&b, 256);
	duo_hand_open(&b, 1, 1000, IM2_ITEM_MSG, digest);
	duo_hear(&d->s[1], IM2_ITEM_XOPEN, buf_bytes(&b));
	buf_fini(&b);
	return d;
}
