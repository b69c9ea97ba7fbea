/* The envelope of signed records (im2.md 13.1). */
#include "protocol/im2/record_internal.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/text.h"
#include "protocol/im2/schema_internal.h"

enum { SIGNER = ED_BYTES + SIG_BYTES };

/* What stands behind T: n(1) || signatures. */
static struct bytes tail_of(const struct im2_record *r)
{
	const uint8_t *p = r->t.p + r->t.n;

	return bytes_of(p, (size_t)(r->raw.p + r->raw.n - p));
}

static struct bytes key_of(uint64_t type, struct bytes body)
{
	struct im2_fields f;

	if (type != IM2_REC_REVOKE_T && type != IM2_REC_GROUP_T)
		return bytes_of(NULL, 0);
	/* Target and group are both the first field. */
	BUG_ON(im2_parse(im2_record_body(type), body, &f) != IM2_FINE);
	return f.v[IM2_REVOKE_TARGET].b;
}

enum im2_refusal im2_record_parse(struct bytes in, struct im2_record *out)
{
	enum im2_refusal r = im2_record_check(in);
	struct bytes left = in, tail;
	struct im2_fields f;

	if (r != IM2_FINE)
		return r;
	*out = (struct im2_record){.raw = in};
	BUG_ON(im2_lv_take(&left, &out->t) != IM2_FINE);
	BUG_ON(im2_parse(&im2_record_t, out->t, &f) != IM2_FINE);
	out->type = f.v[IM2_REC_TYPE].u;
	out->gen = f.v[IM2_REC_GEN].u;
	out->issued_ms = f.v[IM2_REC_ISSUED].u;
	out->life_s = f.v[IM2_REC_LIFE].u;
	out->body = f.v[IM2_REC_BODY].b;
	out->key = key_of(out->type, out->body);
	memcpy(out->author, f.v[IM2_REC_AUTHOR].b.p, ED_BYTES);
	tail = tail_of(out);
	out->signers_n = tail.p[0] ? tail.p[0] : 1;
	for (size_t i = 0; i < out->signers_n; i++)
		memcpy(out->signers[i], tail.p[0] ? tail.p + 1 + i * SIGNER : out->author,
		       ED_BYTES);
	return IM2_FINE;
}

struct bytes im2_record_input_in(struct bytes t, uint8_t out[static IM2_RECORD_INPUT_MAX])
{
	struct wr w = wr_init(out, IM2_RECORD_INPUT_MAX);
	struct bytes whole;

	wr_bytes(&w, sig_prefix(SIG_V3_RECORD));
	wr_bytes(&w, t);
	BUG_ON(wr_end(&w, &whole) != ERR_OK);
	return whole;
}

void im2_record_input(struct bytes t, struct buf *out)
{
	buf_add(out, sig_prefix(SIG_V3_RECORD));
	buf_add(out, t);
}

enum im2_refusal im2_record_verify(const struct im2_record *r)
{
	uint8_t room[IM2_RECORD_INPUT_MAX];
	struct bytes input = im2_record_input_in(r->t, room), tail = tail_of(r);
	const uint8_t *sig = tail.p + 1;

	if (tail.p[0] == 0)
		return sig_verify(SIG_V3_RECORD, r->author, input, sig) ? IM2_FINE : IM2_E_SIG;
	for (size_t i = 0; i < r->signers_n; i++, sig += SIGNER)
		if (!sig_verify(SIG_V3_RECORD, r->signers[i], input, sig + ED_BYTES))
			return IM2_E_SIG;
	return IM2_FINE;
}

void im2_record_digest(struct bytes record, uint8_t out[static 16])
{
	uint8_t hash[HASH_BYTES];

	sha256(record, hash);
	memcpy(out, hash, 16);
}

/* --- out
 * ------------------------------------------------------------------------------------------- */

void im2_record_t_write(uint64_t type, const uint8_t author[static ED_BYTES], uint64_t gen,
			uint64_t issued_ms, uint64_t life_s, struct bytes body, struct buf *out)
{
	struct im2_fields f = {.schema = &im2_record_t}, b;

	BUG_ON(!im2_record_body(type) || im2_parse(im2_record_body(type), body, &b) != IM2_FINE);
	im2_set_u(&f, IM2_REC_TYPE, type);
	im2_set_b(&f, IM2_REC_AUTHOR, bytes_of(author, ED_BYTES));
	im2_set_u(&f, IM2_REC_GEN, gen);
	im2_set_u(&f, IM2_REC_ISSUED, issued_ms);
	im2_set_u(&f, IM2_REC_LIFE, life_s);
	im2_set_b(&f, IM2_REC_BODY, body);
	im2_write(&im2_record_t, &f, out);
}

void im2_record_write(const struct keyring *k, uint64_t type, uint64_t gen, uint64_t issued_ms,
		      uint64_t life_s, struct bytes body, struct buf *out)
{
	uint8_t room[IM2_RECORD_INPUT_MAX], sig[SIG_BYTES];
	struct buf t;

	buf_init(&t, IM2_RECORD_T_MAX);
	im2_record_t_write(type, keyring_ed(k), gen, issued_ms, life_s, body, &t);
	if (t.err != ERR_OK) {
		if (out->err == ERR_OK)
			out->err = t.err;
	} else {
		keyring_sign(k, SIG_V3_RECORD, im2_record_input_in(buf_bytes(&t), room), sig);
		im2_lv_add(out, buf_bytes(&t));
		buf_add_u8(out, 0);
		buf_add(out, BYTES_ARR(sig));
	}
	buf_fini(&t);
}

static int by_ed(const void *a, const void *b)
{
	return memcmp(a, b, ED_BYTES);
}

void im2_record_join(struct bytes t, const struct im2_signature *s, size_t n, struct buf *out)
{
	struct im2_signature sorted[IM2_SIGNERS_MAX];

	BUG_ON(n < 2 || n > IM2_SIGNERS_MAX);
	memcpy(sorted, s, n * sizeof *s);
	qsort(sorted, n, sizeof *sorted, by_ed);
	im2_lv_add(out, t);
	buf_add_u8(out, (uint8_t)n);
	for (size_t i = 0; i < n; i++) {
		buf_add(out, BYTES_ARR(sorted[i].ed));
		buf_add(out, BYTES_ARR(sorted[i].sig));
	}
}

/* --- what announces and asks for records (8)
 * ---------------------------------------------------------- */

static struct bytes id_bytes(const struct node_id *id, uint8_t out[static 16])
{
	BUG_ON(hex_decode(bytes_of(id->hex, NODE_ID_LEN), out, 16) != ERR_OK);
	return bytes_of(out, 16);
}

void im2_recdig_write(const struct im2_record *r, struct buf *out)
{
	struct im2_fields f = {.schema = &im2_recdig};
	uint8_t id[16], digest[16];
	struct node_id author;

	node_id_of(r->author, &author);
	im2_record_digest(r->raw, digest);
	im2_set_b(&f, IM2_RECDIG_ID, id_bytes(&author, id));
	im2_set_u(&f, IM2_RECDIG_TYPE, r->type);
	im2_set_u(&f, IM2_RECDIG_GEN, r->gen);
	im2_set_b(&f, IM2_RECDIG_DIGEST, BYTES_ARR(digest));
	if (r->key.n)
		im2_set_b(&f, IM2_RECDIG_KEY, r->key);
	im2_write(&im2_recdig, &f, out);
}

void im2_recreq_write(const struct node_id *author, uint64_t type, struct bytes key, uint64_t have,
		      struct buf *out)
{
	struct im2_fields f = {.schema = &im2_recreq};
	uint8_t id[16];

	im2_set_b(&f, IM2_RECREQ_ID, id_bytes(author, id));
	im2_set_u(&f, IM2_RECREQ_TYPE, type);
	if (have)
		im2_set_u(&f, IM2_RECREQ_HAVE, have);
	if (key.n)
		im2_set_b(&f, IM2_RECREQ_KEY, key);
	im2_write(&im2_recreq, &f, out);
}

bool im2_record_key_fits(uint16_t tag, struct bytes value)
{
	static const uint8_t length[] = {[IM2_REC_REVOKE_T] = ED_BYTES, [IM2_REC_GROUP_T] = 16};
	bool digest = tag == IM2_ITEM_RECDIG;
	struct im2_fields f;
	uint64_t type;
	size_t n = 0;

	if (im2_parse(digest ? &im2_recdig : &im2_recreq, value, &f) != IM2_FINE)
		return false;
	type = f.v[digest ? IM2_RECDIG_TYPE : IM2_RECREQ_TYPE].u;
	if (im2_has(&f, digest ? IM2_RECDIG_KEY : IM2_RECREQ_KEY))
		n = f.v[digest ? IM2_RECDIG_KEY : IM2_RECREQ_KEY].b.n;
	if (!im2_record_body(type))
		return true;
	return n == (type < sizeof length ? length[type] : 0);
}
