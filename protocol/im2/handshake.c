#include "protocol/im2/handshake_internal.h"

#include "base/secret.h"

/* --- small units (5.1, 5.9) --- */

#define S1_VERSION 1

void im2_err_write(struct buf *out, const struct im2_err_unit *e)
{
	buf_add_u8(out, IM2_UNIT_ERR);
	buf_add_u8(out, e->code);
	if (e->code == IM2_ERR_NO_SESSION)
		buf_add(out, BYTES_ARR(e->index));
	if (e->code == IM2_ERR_BUSY) {
		buf_add_u8(out, (uint8_t)(e->busy_s >> 8));
		buf_add_u8(out, (uint8_t)e->busy_s);
	}
}

static enum im2_refusal refusal_of_end(struct rd *r)
{
	switch (rd_end(r)) {
	case ERR_OK:
		return IM2_FINE;
	case ERR_SHORT:
		return IM2_E_SHORT;
	case ERR_TRAILING:
		return IM2_E_TRAILING;
	default:
		return IM2_E_MALFORMED;
	}
}

enum im2_refusal im2_err_parse(struct bytes unit, struct im2_err_unit *out)
{
	struct rd r = rd_init(unit.p, unit.n);
	struct im2_err_unit e = {0};
	uint8_t kind = rd_u8(&r);

	e.code = rd_u8(&r);
	switch (e.code) {
	case IM2_ERR_NO_SESSION:
		rd_copy(&r, e.index, sizeof e.index);
		break;
	case IM2_ERR_BUSY:
		e.busy_s = rd_u16(&r);
		break;
	case IM2_ERR_PSK:
	case IM2_ERR_DENIED:
	case IM2_ERR_BAD_MODE:
	case IM2_ERR_MALFORMED:
	case IM2_ERR_FAILED:
	case IM2_ERR_CODE_USED:
		break;
	default:
		return unit.n < 2 ? IM2_E_SHORT : IM2_E_RANGE;
	}
	if (kind != IM2_UNIT_ERR)
		return IM2_E_MALFORMED;
	enum im2_refusal why = refusal_of_end(&r);
	if (why == IM2_FINE)
		*out = e;
	return why;
}

void im2_s1_write(struct buf *out, const uint8_t nonce_s[static 32])
{
	buf_add_u8(out, IM2_UNIT_S1);
	buf_add_u8(out, S1_VERSION);
	buf_add(out, bytes_of(nonce_s, 32));
}

enum im2_refusal im2_s1_parse(struct bytes unit, uint8_t nonce_s[static 32])
{
	struct rd r = rd_init(unit.p, unit.n);
	uint8_t kind = rd_u8(&r), version = rd_u8(&r), nonce[32];

	rd_copy(&r, nonce, sizeof nonce);
	enum im2_refusal why = refusal_of_end(&r);
	if (why == IM2_FINE && (kind != IM2_UNIT_S1 || version != S1_VERSION))
		why = IM2_E_MALFORMED;
	if (why == IM2_FINE)
		memcpy(nonce_s, nonce, sizeof nonce);
	return why;
}

enum im2_refusal im2_unit_check(struct bytes unit, enum im2_unit_kind kind, size_t min)
{
	if (unit.n > IM2_SHAKE_UNIT_MAX)
		return IM2_E_LIMIT;
	if (unit.n == 0 || unit.p[0] != kind)
		return IM2_E_MALFORMED;
	return unit.n < min ? IM2_E_SHORT : IM2_FINE;
}

bool im2_has_s1(uint8_t transport)
{
	return transport == IM2_WEBSOCKET;
}

bool im2_mode_allowed(const struct im2_binding *b, enum im2_mode mode)
{
	bool pairing = b->transport == IM2_WEBSOCKET && bytes_eq(b->chan, BYTES_LIT(IM2_PAIR_PATH));

	return pairing == (mode == IM2_MODE_CODE || mode == IM2_MODE_SAS);
}

/* --- HS (5.5) --- */

void im2_hello_write(struct buf *out, enum im2_unit_kind unit, uint8_t mode, const struct keyring *k,
		     const struct im2_hello *h)
{
	struct im2_fields f = {0};
	uint8_t rx_psk[8];

	if (unit == IM2_UNIT_X3 || unit == IM2_UNIT_X4) {
		im2_set_b(&f, IM2_HS_ED, bytes_of(keyring_ed(k), ED_BYTES));
		im2_set_b(&f, IM2_HS_BINDING, bytes_of(keyring_binding(k), SIG_BYTES));
		if (mode != IM2_MODE_MESH)
			im2_set_u(&f, IM2_HS_PAIR_ROLE, h->pair_role);
	}
	if (unit == IM2_UNIT_I1) {
		memcpy(rx_psk, h->rx, 4);
		memcpy(rx_psk + 4, h->psk_id, 4);
		im2_set_b(&f, IM2_HS_RX_PSK, BYTES_ARR(rx_psk));
	} else {
		im2_set_b(&f, IM2_HS_RX, BYTES_ARR(h->rx));
	}
	if (h->has_reply_dest && (unit == IM2_UNIT_I1 || unit == IM2_UNIT_I2))
		im2_set_b(&f, IM2_HS_REPLY_DEST, BYTES_ARR(h->reply_dest));
	if (h->name[0])
		im2_set_b(&f, IM2_HS_NAME, bytes_str(h->name));
	if (h->max_unit)
		im2_set_u(&f, IM2_HS_MAX_UNIT, h->max_unit);
	if (h->has_credit)
		im2_set_u(&f, IM2_HS_CREDIT, h->credit);
	im2_set_u(&f, IM2_HS_FEATURES, h->features);
	if (h->clock_ms)
		im2_set_u(&f, IM2_HS_CLOCK, h->clock_ms);
	if (h->agent[0])
		im2_set_b(&f, IM2_HS_AGENT, bytes_str(h->agent));
	if (h->epoch)
		im2_set_u(&f, IM2_HS_EPOCH, h->epoch);
	im2_write(&im2_hs, &f, out);
}

#define BIT(i) (1u << (i))

/* The columns of the table in 5.5. */
static enum im2_refusal hello_fits(const struct im2_fields *f, enum im2_unit_kind unit, uint8_t mode,
				   uint8_t transport)
{
	uint32_t need, never;

	switch (unit) {
	case IM2_UNIT_I1:
		need = BIT(IM2_HS_RX_PSK);
		never = BIT(IM2_HS_ED) | BIT(IM2_HS_BINDING) | BIT(IM2_HS_RX) | BIT(IM2_HS_PAIR_ROLE);
		*(transport == IM2_RNS_PACKET ? &need : &never) |= BIT(IM2_HS_REPLY_DEST);
		break;
	case IM2_UNIT_I2:
		need = BIT(IM2_HS_RX);
		never = BIT(IM2_HS_ED) | BIT(IM2_HS_BINDING) | BIT(IM2_HS_RX_PSK) |
			BIT(IM2_HS_PAIR_ROLE);
		break;
	default:
		need = BIT(IM2_HS_ED) | BIT(IM2_HS_BINDING) | BIT(IM2_HS_RX);
		never = BIT(IM2_HS_RX_PSK) | BIT(IM2_HS_REPLY_DEST) |
			(mode == IM2_MODE_MESH ? BIT(IM2_HS_PAIR_ROLE) : 0);
		break;
	}
	if ((f->present & need) != need)
		return IM2_E_MISSING;
	return f->present & never ? IM2_E_CONTEXT : IM2_FINE;
}

static void take(const struct im2_fields *f, unsigned i, void *out, size_t n)
{
	if (im2_has(f, i))
		memcpy(out, f->v[i].b.p, n);
}

static void take_text(const struct im2_fields *f, unsigned i, char *out, size_t cap)
{
	if (!im2_has(f, i))
		return;
	BUG_ON(f->v[i].b.n >= cap); /* the schema has the limit */
	memcpy(out, f->v[i].b.p, f->v[i].b.n);
	out[f->v[i].b.n] = 0;
}

enum im2_refusal im2_hello_read(struct bytes payload, enum im2_unit_kind unit, uint8_t mode, uint8_t transport,
				struct im2_hello *out)
{
	struct im2_hello h = {0};
	struct im2_fields f;
	enum im2_refusal why = im2_parse(&im2_hs, payload, &f);

	if (why == IM2_FINE)
		why = hello_fits(&f, unit, mode, transport);
	if (why != IM2_FINE)
		return why;
	take(&f, IM2_HS_ED, h.ed, sizeof h.ed);
	take(&f, IM2_HS_BINDING, h.binding, sizeof h.binding);
	take(&f, IM2_HS_RX, h.rx, sizeof h.rx);
	take(&f, IM2_HS_REPLY_DEST, h.reply_dest, sizeof h.reply_dest);
	h.has_reply_dest = im2_has(&f, IM2_HS_REPLY_DEST);
	if (im2_has(&f, IM2_HS_RX_PSK)) {
		memcpy(h.rx, f.v[IM2_HS_RX_PSK].b.p, 4);
		memcpy(h.psk_id, f.v[IM2_HS_RX_PSK].b.p + 4, 4);
	}
	take_text(&f, IM2_HS_NAME, h.name, sizeof h.name);
	take_text(&f, IM2_HS_AGENT, h.agent, sizeof h.agent);
	if (im2_has(&f, IM2_HS_MAX_UNIT))
		h.max_unit = (uint32_t)f.v[IM2_HS_MAX_UNIT].u;
	h.has_credit = im2_has(&f, IM2_HS_CREDIT);
	if (h.has_credit)
		h.credit = (uint32_t)f.v[IM2_HS_CREDIT].u;
	h.features = f.v[IM2_HS_FEATURES].u;
	h.pair_role = (uint8_t)f.v[IM2_HS_PAIR_ROLE].u;
	if (im2_has(&f, IM2_HS_CLOCK))
		h.clock_ms = f.v[IM2_HS_CLOCK].u;
	if (im2_has(&f, IM2_HS_EPOCH))
		h.epoch = f.v[IM2_HS_EPOCH].u;
	*out = h;
	return IM2_FINE;
}

enum im2_refusal im2_hello_owner(const struct im2_hello *h, const uint8_t x[static 32], const struct keyring *self)
{
	if (!x25519_binding_verify(h->ed, x, h->binding))
		return IM2_E_SIG;
	return memcmp(h->ed, keyring_ed(self), ED_BYTES) == 0 ? IM2_E_SELF : IM2_FINE;
}

/* --- Noise under it --- */

static enum err ring_dh(void *ctx, const uint8_t their[static NOISE_KEY], uint8_t out[static NOISE_KEY])
{
	return keyring_noise_dh(ctx, their, out);
}

struct noise_static im2_noise_static(const struct keyring *k)
{
	struct noise_static s = { .dh = ring_dh, .ctx = (void *)k };

	memcpy(s.pub, keyring_x25519(k), sizeof s.pub);
	return s;
}

enum im2_refusal im2_noise_refusal(const struct noise *x, enum err e)
{
	switch (e) {
	case ERR_OK:
		return IM2_FINE;
	case ERR_SHORT:
		return IM2_E_SHORT;
	case ERR_AUTH:
		return x->zero_dh ? IM2_E_DH : IM2_E_AEAD;
	default:
		return IM2_E_LIMIT; /* no memory, or no room in a buffer */
	}
}

enum im2_refusal im2_noise_take(struct noise *x, struct bytes message, struct buf *out)
{
	struct noise next = *x;
	enum err e = noise_read(&next, message, out);
	enum im2_refusal why = im2_noise_refusal(&next, e);

	if (why == IM2_FINE)
		*x = next;
	wipe(&next, sizeof next);
	return why;
}

void im2_noise_finish(struct noise *x, struct im2_secrets *out)
{
	uint8_t k1[32], k2[32];

	noise_split(x, k1, k2);
	im2_secrets_of(out, x->initiator, k1, k2, x->ck, x->h);
	wipe(k1, sizeof k1);
	wipe(k2, sizeof k2);
	noise_wipe(x);
}
