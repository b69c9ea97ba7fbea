#include <string.h>

#include "protocol/v09/replay.h"

void replay_reset(struct replay *r)
{
	memset(r, 0, sizeof *r);
}

const char *replay_time(double time_s, uint64_t wall_ms, uint64_t past_ms, uint64_t future_ms)
{
	double age_ms = (double)wall_ms - time_s * 1000.0;

	if (age_ms > (double)past_ms)
		return "too-old";
	/* Negated, so that a NaN that got this far is refused as well. */
	if (!(-age_ms <= (double)future_ms))
		return "from-future";
	return NULL;
}

static uint64_t *word_of(struct replay *r, uint64_t sequence)
{
	return &r->seen[sequence % REPLAY_WINDOW / 64];
}

const char *replay_accept(struct replay *r, uint64_t sequence)
{
	uint64_t bit = UINT64_C(1) << (sequence % 64);

	if (sequence == 0)
		return "sequence-zero";
	if (sequence > REPLAY_SEQUENCE_MAX)
		return "sequence-large";
	if (sequence > r->last) {
		if (sequence - r->last >= REPLAY_WINDOW)
			memset(r->seen, 0, sizeof r->seen);
		else
			for (uint64_t q = r->last + 1; q < sequence; q++)
				*word_of(r, q) &= ~(UINT64_C(1) << (q % 64));
		r->last = sequence;
	} else if (r->last - sequence >= REPLAY_WINDOW || (*word_of(r, sequence) & bit)) {
		return "replay";
	}
	*word_of(r, sequence) |= bit;
	return NULL;
}
