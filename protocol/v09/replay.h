/*
 * replay.h -- which frames were seen: a sliding window over sequence numbers, and the wall clock
 * rule (wire 6.2).
 *
 * Only authenticated frames may be shown to replay_accept(): a forged sequence would move the
 * window.
 */
#ifndef PROTOCOL_V09_REPLAY_H
#define PROTOCOL_V09_REPLAY_H

#include <stdint.h>

#include "base/err.h"

#define REPLAY_WINDOW	    1024
#define REPLAY_SEQUENCE_MAX (UINT64_C(1) << 48)

struct replay {
	uint64_t last;
	uint64_t seen[REPLAY_WINDOW / 64]; /* bit (sequence mod REPLAY_WINDOW) */
};

void replay_reset(struct replay *r);
/* NULL, or the word of the rule that refuses: "too-old", "from-future". Seconds and milliseconds.
 */
const char *replay_time(double time_s, uint64_t wall_ms, uint64_t past_ms, uint64_t future_ms);
/* NULL and marked as seen, or "sequence-zero", "sequence-large", "replay". Older than the newest
 * but inside the window and unseen is accepted: upstream is stricter as a receiver, which no sender
 * notices. */
const char *replay_accept(struct replay *r, uint64_t sequence) MUST_CHECK;

#endif
