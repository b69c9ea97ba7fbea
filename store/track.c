/* kind | time (6) | via and hops, and with WHO 16 bytes of a neighbour. The kind of a state holds it in its low bits. */
#include "store/track.h"

#include "base/text.h"

#define WHO 0x40
#define STATE 0x80
#define VIA_BITS 3

size_t track_write(const struct track_step *step, uint8_t out[static TRACK_STEP_MAX])
{
	bool state = step->what == TRACK_STATE;
	uint8_t kind = (uint8_t)(state ? STATE | step->state : (unsigned)step->what), who[16];
	unsigned hops = step->hops < 31 ? step->hops : 31;
	struct wr w = wr_init(out, TRACK_STEP_MAX);
	struct bytes done;

	bool named = !state && step->has_who && hex_decode(bytes_of(step->who.hex, NODE_ID_LEN), who, sizeof(who)) == ERR_OK;
	wr_u8(&w, (uint8_t)(kind | (named ? WHO : 0)));
	wr_u16(&w, (uint16_t)(step->at_ms >> 32));
	wr_u32(&w, (uint32_t)step->at_ms);
	wr_u8(&w, (uint8_t)(state ? 0 : hops << VIA_BITS | step->via));
	if (named)
		wr_bytes(&w, BYTES_ARR(who));
	enum err e = wr_end(&w, &done);
	BUG_ON(e != ERR_OK);
	return done.n;
}

size_t track_read(struct bytes in, struct track_step out[static TRACK_STEPS])
{
	struct rd r = rd_init(in.p, in.n);
	size_t n = 0;

	while (n < TRACK_STEPS && r.left) {
		uint8_t kind = rd_u8(&r), way;
		struct track_step s = {0};

		s.at_ms = (uint64_t)rd_u16(&r) << 32;
		s.at_ms |= rd_u32(&r);
		way = rd_u8(&r);
		s.has_who = !(kind & STATE) && (kind & WHO);
		struct bytes who = rd_bytes(&r, s.has_who ? 16 : 0);
		if (r.err != ERR_OK)
			break;
		s.what = kind & STATE ? TRACK_STATE : (enum track_what)(kind & ~WHO);
		s.state = (enum outbox_state)(kind & STATE ? kind & ~STATE : 0);
		s.via = (enum outbox_via)(way & ((1u << VIA_BITS) - 1));
		s.hops = way >> VIA_BITS;
		if ((unsigned)s.state >= OUTBOX_STATES || s.what < TRACK_HANDED || s.what > TRACK_STATE || s.via >= OUTBOX_VIAS)
			break;
		if (s.has_who)
			hex_encode(who, s.who.hex);
		out[n++] = s;
	}
	return n;
}
