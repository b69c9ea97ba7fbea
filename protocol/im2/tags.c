#include "protocol/im2/tags.h"

#include "base/hash.h"
#include "base/text.h"

#define CONTEXT "ironmesh-im2/mdns\0"

static void tag(const uint8_t disc[static IM2_DISC_BYTES], struct bytes what, uint64_t hour, uint8_t out[static IM2_TAG_BYTES])
{
	uint8_t room[sizeof CONTEXT - 1 + 16 + 8], mac[HASH_BYTES];
	struct wr w = wr_init(room, sizeof room);
	struct bytes msg;

	wr_bytes(&w, BYTES_LIT(CONTEXT));
	wr_bytes(&w, what);
	wr_u64(&w, hour);
	BUG_ON(wr_end(&w, &msg) != ERR_OK);
	hmac_sha256(bytes_of(disc, IM2_DISC_BYTES), msg, mac);
	memcpy(out, mac, IM2_TAG_BYTES);
}

void im2_tag_mesh(const uint8_t disc[static IM2_DISC_BYTES], const uint8_t instance[static IM2_INSTANCE_BYTES],
		  uint64_t hour, uint8_t out[static IM2_TAG_BYTES])
{
	tag(disc, bytes_of(instance, IM2_INSTANCE_BYTES), hour, out);
}

void im2_tag_node(const uint8_t disc[static IM2_DISC_BYTES], const struct node_id *id, uint64_t hour,
		  uint8_t out[static IM2_TAG_BYTES])
{
	uint8_t raw[16];

	BUG_ON(hex_decode(bytes_of(id->hex, NODE_ID_LEN), raw, sizeof raw) != ERR_OK);
	tag(disc, BYTES_ARR(raw), hour, out);
}
