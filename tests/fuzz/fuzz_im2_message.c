/* rooms: protocol trust base */
/*
 * What messages and receipts of im2 say. The first byte is the door: a message in a session, the
 * stored form of what im2 adds, a list of messages that its author signs, a receipt, a signed
 * receipt.
 */
#include "base/hash.h"
#include "protocol/im2/content.h"
#include "trust/keyring_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MSG, META, SMSG, RAW_SMSG, RECEIPT, SRECEIPT, DOORS };

static struct keyring *alice, *bob;

static struct keyring *seeded(uint8_t n)
{
	uint8_t seed[SEED_BYTES], salt[HKDF_SALT_BYTES];
	struct keyring *k;

	memset(seed, n, sizeof seed);
	for (size_t i = 0; i < sizeof salt; i++)
		salt[i] = (uint8_t)(16 * n + i + 1);
	BUG_ON(keyring_from_seed(seed, salt, &k) != ERR_OK);
	return k;
}

/* Does a message that was read hold everything that was in it? */
static bool nothing_lost(const struct im2_fields *f)
{
	struct im2_fields b;

	if (f->unknown || im2_has(f, IM2_MSG_SETTLED) || im2_has(f, IM2_MSG_FROM))
		return false;
	if (im2_has(f, IM2_MSG_DEADLINE) && f->v[IM2_MSG_DEADLINE].u == 0)
		return false;
	BUG_ON(im2_parse(&im2_budget, f->v[IM2_MSG_BUDGET].b, &b) != IM2_FINE);
	return b.unknown == 0;
}

static void message(struct bytes in)
{
	char id[33], type[MSG_TYPE_MAX + 1];
	uint8_t parties[36] = {3, 16, [18] = 5, 16}, digest[16];
	struct message m;
	struct im2_fields f;
	struct buf out;
	uint8_t kind;

	if (im2_message_read(in, keyring_id(alice), keyring_id(bob), &m, id, type) != IM2_FINE)
		return;
	BUG_ON(message_kind_of(m.type, &kind) != ERR_OK || kind != m.ext.kind);
	BUG_ON(im2_parse(&im2_msg, in, &f) != IM2_FINE);
	buf_init(&out, 2 * IM2_MSG_MAX);
	BUG_ON(im2_message_write(&m, &out) != ERR_OK || out.n != im2_message_size(&m));
	BUG_ON(nothing_lost(&f) != bytes_eq(buf_bytes(&out), in));
	/* the same with both sides written out, as its author would sign it; an unknown field of
	 * tag 2 or 4 would have to stand among them */
	if (f.unknown == 0 && in.n + sizeof parties <= IM2_MSG_MAX) {
		im2_content_digest(&f, keyring_id(alice), keyring_id(bob), digest);
		BUG_ON(hex_decode(bytes_of(keyring_id(alice)->hex, 32), parties + 2, 16) != ERR_OK);
		BUG_ON(hex_decode(bytes_of(keyring_id(bob)->hex, 32), parties + 20, 16) != ERR_OK);
		buf_reset(&out);
		buf_add(&out, bytes_of(in.p, 18));
		buf_add(&out, BYTES_ARR(parties));
		buf_add(&out, bytes_of(in.p + 18, in.n - 18));
		BUG_ON(im2_parse(&im2_msg, buf_bytes(&out), &f) != IM2_FINE);
		im2_content_digest(&f, keyring_id(bob), keyring_id(bob), m.digest);
		BUG_ON(memcmp(m.digest, digest, sizeof digest) != 0);
	}
	buf_fini(&out);
}

static void meta(struct bytes in)
{
	struct message_ext x;
	struct buf out;

	if (message_meta_read(in, &x) != ERR_OK)
		return;
	buf_init(&out, MSG_META_MAX);
	message_meta_write(&x, &out);
	BUG_ON(!bytes_eq(buf_bytes(&out), in));
	buf_fini(&out);
}

static void open_smsg(struct bytes value, bool good)
{
	char id[33], type[MSG_TYPE_MAX + 1];
	struct im2_smsg_reader r;
	struct node_id author;
	struct message m;
	enum im2_refusal why = im2_smsg_open(value, keyring_ed(alice), bob, &r);

	BUG_ON(good && why == IM2_E_SIG);
	if (im2_smsg_author(value, &author) != IM2_FINE)
		BUG_ON(why == IM2_FINE);
	if (why != IM2_FINE)
		return;
	BUG_ON(!node_id_eq(&author, keyring_id(alice)));
	while (im2_smsg_next(&r, &m, id, type))
		BUG_ON(!m.source_proven || !node_id_eq(&m.source, keyring_id(alice)) ||
		       !node_id_eq(&m.destination, keyring_id(bob)));
}

/* Signed by alice for bob, whatever it is. */
static void smsg(struct bytes list)
{
	uint8_t room[120], hash[32], sig[SIG_BYTES];
	struct wr w = wr_init(room, sizeof room);
	struct bytes whole;
	struct buf value;

	sha256(list, hash);
	wr_bytes(&w, sig_prefix(SIG_V3_MESSAGE));
	wr_bytes(&w, bytes_of(keyring_ed(alice), ED_BYTES));
	wr_bytes(&w, bytes_of(keyring_ed(bob), ED_BYTES));
	wr_bytes(&w, BYTES_ARR(hash));
	BUG_ON(wr_end(&w, &whole) != ERR_OK);
	keyring_sign(alice, SIG_V3_MESSAGE, whole, sig);
	buf_init(&value, 2 * IM2_SMSG_MAX);
	im2_item_add(&value, 1, list);
	im2_item_add(&value, 3, BYTES_ARR(sig));
	open_smsg(buf_bytes(&value), true);
	buf_fini(&value);
}

static void receipt(struct bytes in)
{
	enum { MAX = 256 };
	static char ids[MAX][33];
	struct receipt r[MAX];
	struct im2_receipt_reader walk;
	enum receipt_kind kind;
	struct bytes reason;
	struct buf out;
	char id[33];
	size_t n = 0, i = 0;

	if (im2_receipt_open(in, &walk) != IM2_FINE)
		return;
	while (n < MAX && im2_receipt_next(&walk, &r[n].kind, ids[n], &r[n].reason)) {
		r[n].id = bytes_of(ids[n], 32);
		r[n].code = 0;
		n++;
	}
	BUG_ON(n == 0 || im2_receipt_next(&walk, &kind, id, &reason));
	buf_init(&out, IM2_RECEIPT_MAX);
	BUG_ON(im2_receipt_write(r, n, 1, SIZE_MAX, &out) != n);
	BUG_ON(im2_receipt_open(buf_bytes(&out), &walk) != IM2_FINE);
	for (; im2_receipt_next(&walk, &kind, id, &reason); i++)
		BUG_ON(i >= n || kind != r[i].kind || memcmp(id, ids[i], 33) != 0 ||
		       !bytes_eq(reason, r[i].reason));
	BUG_ON(i != n);
	buf_fini(&out);
}

static void sreceipt(struct bytes in)
{
	struct bytes inner;
	struct node_id from;
	enum im2_refusal why = im2_sreceipt_open(in, keyring_ed(bob), alice, &inner);

	if (why == IM2_FINE) {
		BUG_ON(im2_sreceipt_from(in, &from) != IM2_FINE ||
		       !node_id_eq(&from, keyring_id(bob)));
		receipt(inner);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes in;

	if (size == 0 || data[0] >= DOORS)
		return 0;
	if (!alice) {
		alice = seeded(0);
		bob = seeded(1);
	}
	in = bytes_of(data + 1, size - 1);
	switch (data[0]) {
	case MSG:
		message(in);
		break;
	case META:
		meta(in);
		break;
	case SMSG:
		smsg(in);
		break;
	case RAW_SMSG:
		open_smsg(in, false);
		break;
	case RECEIPT:
		receipt(in);
		break;
	default:
		sreceipt(in);
	}
	return 0;
}
