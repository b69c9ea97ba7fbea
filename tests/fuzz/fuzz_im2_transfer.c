/* rooms: protocol trust base */
/*
 * Two sides that send each other values in pieces over a wire that drops, repeats and reorders; with the first
 * bit of the input set it also alters items and makes them up. What must always hold: memory stays within
 * its limits and is given back, what a side writes is a legal item that fits, and on the honest wire only
 * what was sent arrives and in the end everything is either delivered or known to have failed.
 */
#include "tests/lib/protocol_env.c"

#include "protocol/im2/transfer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WIRE_ITEMS 128
#define SENT_MAX   64
#define BYTES_MAX  60000

struct piece {
	uint16_t tag;
	uint8_t *p;
	size_t n;
};

struct flank {
	struct im2_transfers *t;
	uint64_t total;
	struct piece wire[WIRE_ITEMS];
	size_t wire_n;
	struct {
		uint8_t digest[32];
		uint16_t tag;
	} sent[SENT_MAX];
	unsigned sent_n, ended, delivered, got;
};

static struct penv env;
static struct flank flanks[2];

static struct piece wire_pop(struct flank *f, size_t i)
{
	struct piece x = f->wire[i];

	memmove(&f->wire[i], &f->wire[i + 1], (f->wire_n-- - i - 1) * sizeof x);
	return x;
}

static void deliver(int to, uint16_t tag, struct bytes v, bool honest)
{
	struct flank *f = &flanks[to], *other = &flanks[!to];
	enum im2_refusal r = im2_transfer_take(f->t, tag, v);
	struct bytes value;
	uint8_t digest[32];
	unsigned i = 0;

	BUG_ON(honest && r != IM2_FINE);
	BUG_ON(f->total > BYTES_MAX || f->total != im2_transfer_in_bytes(f->t));
	if (!im2_transfer_complete(f->t, &tag, &value))
		return;
	f->got++;
	sha256(value, digest);
	while (honest && i < other->sent_n &&
	       (other->sent[i].tag != tag || memcmp(other->sent[i].digest, digest, 32) != 0))
		i++;
	BUG_ON(honest && i == other->sent_n);
}

static bool say(struct flank *f, size_t room)
{
	struct bytes list, value;
	struct piece *x;
	size_t count;
	struct buf b;
	bool said;

	if (f->wire_n == WIRE_ITEMS)
		return false;
	buf_init(&b, 1u << 20);
	said = im2_transfer_next(f->t, room, &b);
	BUG_ON(said != (b.n > 0) || b.n > room || b.err != ERR_OK);
	if (said) {
		list = buf_bytes(&b);
		BUG_ON(im2_items_check(list, &count) != IM2_FINE || count != 1);
		x = &f->wire[f->wire_n++];
		BUG_ON(!im2_item_next(&list, &x->tag, &value));
		BUG_ON(im2_item_check(x->tag, value) != IM2_FINE);
		x->n = value.n;
		x->p = malloc(value.n);
		memcpy(x->p, value.p, value.n);
	}
	buf_fini(&b);
	return said;
}

static void send_one(struct flank *f, uint8_t arg)
{
	static const uint16_t tags[] = {IM2_ITEM_MSG, IM2_ITEM_SMSG, IM2_ITEM_RECORD, IM2_ITEM_ROUTED};
	size_t n = 1 + (size_t)arg * 97;
	uint16_t tag = tags[arg % 4];
	uint8_t *p;
	uint32_t xfer;

	if (f->sent_n == SENT_MAX)
		return;
	p = malloc(n);
	memset(p, arg ^ (int)f->sent_n, n);
	if (im2_transfer_send(f->t, tag, bytes_of(p, n), 3000, &xfer) == ERR_OK) {
		sha256(bytes_of(p, n), f->sent[f->sent_n].digest);
		f->sent[f->sent_n++].tag = tag;
	}
	free(p);
}

static void drain_ends(struct flank *f)
{
	struct im2_transfer_end e;

	while (im2_transfer_ended(f->t, &e)) {
		f->ended++;
		f->delivered += e.delivered;
	}
	BUG_ON(f->ended > f->sent_n);
}

static void pass(uint64_t ms)
{
	penv_pass(&env, ms);
	for (int i = 0; i < 2; i++) {
		BUG_ON(im2_transfers_deadline_ms(flanks[i].t) == 0);
		im2_transfers_tick(flanks[i].t);
	}
}

/* The rest of the way without any more harm. */
static void finish(void)
{
	for (unsigned round = 0; round < 3000; round++) {
		bool quiet = true;

		for (int i = 0; i < 2; i++) {
			while (say(&flanks[i], 2000))
				quiet = false;
			while (flanks[i].wire_n) {
				struct piece x = wire_pop(&flanks[i], 0);

				deliver(!i, x.tag, bytes_of(x.p, x.n), true);
				free(x.p);
			}
			drain_ends(&flanks[i]);
		}
		if (flanks[0].ended == flanks[0].sent_n && flanks[1].ended == flanks[1].sent_n)
			return;
		if (quiet)
			pass(5000);
	}
	BUG_ON(true);
}

static size_t step(const uint8_t *p, size_t n, bool honest)
{
	int who = p[0] & 1;
	struct flank *f = &flanks[who];
	uint8_t arg = p[1];
	size_t i = f->wire_n ? arg % f->wire_n : 0;
	struct piece x;

	switch ((p[0] >> 1) % 12) {
	case 0:
		send_one(f, arg);
		break;
	case 1:
	case 2:
		say(f, 64 + arg * 8u);
		break;
	case 3:
	case 4:
		i = 0;
		/* fall through */
	case 5:
		if (f->wire_n) {
			x = wire_pop(f, i);
			deliver(!who, x.tag, bytes_of(x.p, x.n), honest);
			free(x.p);
		}
		break;
	case 6:
		if (f->wire_n)
			deliver(!who, f->wire[i].tag, bytes_of(f->wire[i].p, f->wire[i].n), honest);
		break;
	case 7:
		if (f->wire_n)
			free(wire_pop(f, i).p);
		break;
	case 8:
		pass((uint64_t)arg * arg);
		break;
	case 9: /* both see the end of the session, and nothing of it arrives later */
		for (int k = 0; k < 2; k++) {
			im2_transfers_session(flanks[k].t);
			im2_transfers_credit(flanks[k].t, 3000);
			while (flanks[k].wire_n)
				free(wire_pop(&flanks[k], 0).p);
		}
		break;
	case 10:
		if (!honest && f->wire_n)
			f->wire[i].p[p[1] % f->wire[i].n] ^= (uint8_t)(1 + (arg & 0x7f));
		break;
	case 11: /* an item of the input's own making: kind, length, bytes */
		if (!honest && n > 2) {
			size_t len = arg % 64;

			if (len > n - 2)
				len = n - 2;
			deliver(who, (uint16_t)(IM2_ITEM_XOPEN + 2 * (arg >> 6)), bytes_of(p + 2, len), false);
			return 2 + len;
		}
		break;
	}
	drain_ends(&flanks[0]);
	drain_ends(&flanks[1]);
	return 2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool honest;

	if (size < 1 || size > 4096)
		return 0;
	honest = !(data[0] & 1);
	penv_init(&env);
	for (int i = 0; i < 2; i++) {
		struct im2_transfer_config c = {.env = &env.env, .radio = data[0] & 2, .bytes_max = BYTES_MAX,
						.bytes_total = &flanks[i].total, .keep_ms = 600000, .resend_ms = 5000,
						.window = 3000};

		memset(&flanks[i], 0, sizeof flanks[i]);
		BUG_ON(im2_transfers_new(&c, &flanks[i].t) != ERR_OK);
	}
	for (size_t i = 1; i + 1 < size;)
		i += step(data + i, size - i, honest);
	if (honest) {
		finish();
		for (int i = 0; i < 2; i++)
			BUG_ON(flanks[!i].got < flanks[i].delivered);
	}
	for (int i = 0; i < 2; i++) {
		while (flanks[i].wire_n)
			free(wire_pop(&flanks[i], 0).p);
		im2_transfers_free(flanks[i].t);
		BUG_ON(flanks[i].total != 0);
	}
	return 0;
}
