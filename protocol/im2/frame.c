#include "protocol/im2/frame.h"

#include "base/secret.h"
#include "protocol/im2/handshake.h"

enum err im2_frame_build(struct im2_tx *tx, struct bytes plain, size_t plain_len, struct buf *out)
{
	uint32_t counter = tx->next;
	struct wr w;
	uint8_t *p, *body;

	BUG_ON(plain_len < plain.n);
	if (counter == IM2_COUNTER_END)
		return ERR_LIMIT;
	p = buf_reserve(out, IM2_FRAME_OVERHEAD + plain_len);
	if (!p)
		return out->err;
	/* Taken before the key touches anything: no way back leads to this counter again. */
	tx->next++;
	w = wr_init(p, IM2_FRAME_HEAD);
	wr_u8(&w, IM2_UNIT_FRAME);
	wr_bytes(&w, BYTES_ARR(tx->index));
	wr_u32(&w, counter);
	body = p + IM2_FRAME_HEAD;
	if (plain_len > plain.n) {
		if (plain.n)
			memcpy(body, plain.p, plain.n);
		memset(body + plain.n, 0, plain_len - plain.n);
		plain = bytes_of(body, plain_len);
	}
	im2_aead_seal(tx->key, counter, bytes_of(p, IM2_FRAME_HEAD), plain, body);
	out->n += IM2_FRAME_OVERHEAD + plain_len;
	return ERR_OK;
}

enum im2_refusal im2_frame_head(struct bytes unit, uint8_t index[static 4], uint32_t *counter)
{
	struct rd r = rd_init(unit.p, unit.n);

	if (unit.n < IM2_FRAME_OVERHEAD || rd_u8(&r) != IM2_UNIT_FRAME)
		return IM2_E_MALFORMED;
	rd_copy(&r, index, 4);
	*counter = rd_u32(&r);
	return IM2_FINE;
}

static uint64_t *word_of(struct im2_window *w, uint32_t counter)
{
	return &w->bits[counter % IM2_WINDOW / 64];
}

bool im2_window_fresh(const struct im2_window *w, uint32_t counter)
{
	if (counter == IM2_COUNTER_END)
		return false;
	if (!w->any || counter > w->top)
		return true;
	return w->top - counter < IM2_WINDOW &&
	       !(w->bits[counter % IM2_WINDOW / 64] >> (counter % 64) & 1);
}

/* The ring forgets what lay one window before: bits of first..last are those of counters that no one saw. */
static void forget(struct im2_window *w, uint32_t first, uint32_t last)
{
	if (last - first >= IM2_WINDOW - 1) {
		memset(w->bits, 0, sizeof w->bits);
		return;
	}
	for (uint64_t c = first; c <= last;) {
		if (c % 64 == 0 && last - c >= 63) {
			*word_of(w, (uint32_t)c) = 0;
			c += 64;
		} else {
			*word_of(w, (uint32_t)c) &= ~(UINT64_C(1) << (c % 64));
			c++;
		}
	}
}

void im2_window_mark(struct im2_window *w, uint32_t counter)
{
	BUG_ON(counter == IM2_COUNTER_END);
	if (!w->any || counter > w->top) {
		if (w->any)
			forget(w, w->top + 1, counter);
		w->top = counter;
		w->any = true;
	}
	*word_of(w, counter) |= UINT64_C(1) << (counter % 64);
}

enum im2_refusal im2_frame_open(const uint8_t key[static 32], struct bytes unit, uint8_t *out)
{
	uint8_t index[4];
	uint32_t counter;
	enum im2_refusal why = im2_frame_head(unit, index, &counter);
	struct bytes cipher;

	if (why != IM2_FINE)
		return why;
	cipher = bytes_of(unit.p + IM2_FRAME_HEAD, unit.n - IM2_FRAME_HEAD);
	return im2_aead_open(key, counter, bytes_of(unit.p, IM2_FRAME_HEAD), cipher, out) == ERR_OK
		       ? IM2_FINE
		       : IM2_E_AEAD;
}
