#include "protocol/im2/tags.h"

void im2_tag_mesh(const uint8_t disc[static IM2_DISC_BYTES], const uint8_t instance[static IM2_INSTANCE_BYTES], uint64_t hour, uint8_t out[static IM2_TAG_BYTES])
{
}

void im2_tag_node(const uint8_t disc[static IM2_DISC_BYTES], const struct node_id *id, uint64_t hour, uint8_t out[static IM2_TAG_BYTES])
{
}
