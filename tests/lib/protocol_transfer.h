/*
 * protocol_transfer.h -- two sides that transfer (im2.md 7.6), and the items on their way. For cmocka tests: what a
 * side writes is checked to be one legal item within its room, what it refuses fails the test.
 */
#ifndef TESTS_PROTOCOL_TRANSFER_H
#define TESTS_PROTOCOL_TRANSFER_H

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

/* Both with this config (NULL: defaults); env and bytes_total are filled. */
struct duo *duo_new(const struct im2_transfer_config *like);
void duo_forget(struct side *s);
void duo_free(struct duo *d);
/* Takes item i off the wire; the caller frees p. */
struct item duo_pop(struct side *s, size_t i);
/* One item out of the object and onto the wire; false: it has none. */
bool duo_say(struct side *s, size_t room);
void duo_hear(struct side *s, uint16_t tag, struct bytes value);
/* Item i on the wire of `from` reaches the other; `copy`: and stays there. */
void duo_arrive(struct duo *d, int from, size_t i, bool copy);
/* Everything, until both are quiet. */
void duo_flush(struct duo *d, size_t room);
uint8_t *duo_pattern(size_t n, unsigned seed);
/* Sends n pseudo-random bytes; digest may be NULL. */
uint32_t duo_send(struct side *s, uint16_t tag, size_t n, unsigned seed, uint32_t credit,
	uint8_t digest[32]);
void duo_assert_end(struct side *s, uint32_t xfer, bool delivered, uint8_t code);
void duo_assert_no_end(struct side *s);
/* Items made by hand. */
void duo_hand_open(struct buf *b, uint32_t xfer, uint64_t len, uint16_t tag,
	const uint8_t digest[32]);
enum im2_refusal duo_hand_frag(struct side *to, uint32_t xfer, uint64_t at, const void *p,
	size_t n);
/* The next item is exactly this. */
void duo_assert_says(struct side *s, uint16_t tag, const char *hex);
void duo_assert_quiet(struct side *s);
/* Time goes by and both tick. */
void duo_pass(struct duo *d, uint64_t ms);
/* Side 1 has heard an XOPEN (number 1, MSG) for these 1,000 bytes. */
struct duo *duo_opened(uint8_t value[1000], uint32_t window);

#endif
