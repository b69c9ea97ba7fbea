/*
 * tags.h -- what a node says of itself on the local network without naming itself (im2.md 15.5).
 *
 * Pure. A tag is meaningless without the discovery key, changes every hour, and proves nothing: whoever replays it is
 * dialled once and fails the handshake.
 */
#ifndef PROTOCOL_IM2_TAGS_H
#define PROTOCOL_IM2_TAGS_H

#include "trust/identity.h"

#define IM2_DISC_BYTES 32
#define IM2_TAG_BYTES 8
#define IM2_INSTANCE_BYTES 8

/* m: which mesh. `hour`: wall clock / 3,600,000. */
void im2_tag_mesh(const uint8_t disc[static IM2_DISC_BYTES], const uint8_t instance[static IM2_INSTANCE_BYTES],
		  uint64_t hour, uint8_t out[static IM2_TAG_BYTES]);
/* t: which node; the same with its node id in place of i. */
void im2_tag_node(const uint8_t disc[static IM2_DISC_BYTES], const struct node_id *id, uint64_t hour,
		  uint8_t out[static IM2_TAG_BYTES]);

#endif
