#include "daemon/keyproc_internal.h"

#include <stdio.h>

void key_head_write(const struct key_head *h, uint8_t out[static KEY_HEAD])
{
	struct wr w = wr_init(out, KEY_HEAD);
	struct bytes whole;

	wr_u32(&w, h->n);
	wr_u8(&w, h->verb);
	wr_u8(&w, h->slot);
	wr_u16(&w, h->what);
	wr_u16(&w, h->cpu);
	BUG_ON(wr_end(&w, &whole) != ERR_OK);
}

enum err key_head_read(const uint8_t in[static KEY_HEAD], struct key_head *out)
{
	struct rd r = rd_init(in, KEY_HEAD);
	struct key_head h;

	h.n = rd_u32(&r);
	h.verb = rd_u8(&r);
	h.slot = rd_u8(&r);
	h.what = rd_u16(&r);
	h.cpu = rd_u16(&r);
	if (h.n > KEY_BODY_MAX)
		rd_fail(&r, ERR_LIMIT);
	enum err e = rd_end(&r);
	if (e == ERR_OK)
		*out = h;
	return e;
}

static void add_u16(struct buf *b, uint16_t v)
{
	buf_add_u8(b, (uint8_t)(v >> 8));
	buf_add_u8(b, (uint8_t)v);
}

static void add_text(struct buf *b, struct bytes x)
{
	BUG_ON(x.n > UINT16_MAX);
	add_u16(b, (uint16_t)x.n);
	buf_add(b, x);
}

static struct bytes rd_text(struct rd *r, size_t max)
{
	struct bytes x = rd_bytes(r, rd_u16(r));

	/* None of them holds a NUL: they become strings. */
	if (x.n > max || (x.n && memchr(x.p, 0, x.n)))
		rd_fail(r, ERR_MALFORMED);
	return x;
}

static bool rd_flag(struct rd *r)
{
	uint8_t v = rd_u8(r);

	if (v > 1)
		rd_fail(r, ERR_MALFORMED);
	return v == 1;
}

void key_open_write(struct buf *b, const struct key_open *o)
{
	buf_add_u8(b, o->clear);
	add_text(b, o->path);
	add_text(b, o->name);
	add_text(b, o->passphrase);
}

enum err key_open_read(struct bytes body, struct key_open *out)
{
	struct rd r = rd_init(body.p, body.n);
	struct key_open o;

	o.clear = rd_flag(&r);
	o.path = rd_text(&r, KEY_PATH_MAX - 1);
	o.name = rd_text(&r, NAME_MAX_CHARS);
	o.passphrase = rd_text(&r, PASSPHRASE_MAX_BYTES);
	if (o.path.n == 0)
		rd_fail(&r, ERR_MALFORMED);
	enum err e = rd_end(&r);
	if (e == ERR_OK)
		*out = o;
	return e;
}

void key_public_write(struct buf *b, const struct keyring *k)
{
	buf_add(b, bytes_of(keyring_ed(k), ED_BYTES));
	buf_add(b, bytes_of(keyring_x25519(k), X25519_BYTES));
	buf_add(b, bytes_of(keyring_binding(k), SIG_BYTES));
}

static void rd_public(struct rd *r, struct keyring_public *p)
{
	rd_copy(r, p->ed, sizeof p->ed);
	rd_copy(r, p->x25519, sizeof p->x25519);
	rd_copy(r, p->binding, sizeof p->binding);
}

void key_opened_write(struct buf *b, const struct ownkey *k)
{
	key_public_write(b, k->keyring);
	buf_add_u8(b, (uint8_t)k->info.version);
	buf_add_u8(b, k->info.encrypted);
	buf_add_u8(b, k->made);
	add_text(b, bytes_str(k->info.name));
	add_text(b, bytes_str(k->name));
}

enum err key_opened_read(struct bytes body, struct keyring_public *p, struct ownkey *out)
{
	struct rd r = rd_init(body.p, body.n);
	struct keyring_public public;
	struct ownkey k = { 0 };
	struct bytes stored, name;

	rd_public(&r, &public);
	k.info.version = rd_u8(&r);
	k.info.encrypted = rd_flag(&r);
	k.made = rd_flag(&r);
	stored = rd_text(&r, sizeof(k.info.name) - 1);
	name = rd_text(&r, sizeof(k.name) - 1);
	enum err e = rd_end(&r);
	if (e != ERR_OK)
		return e;
	snprintf(k.info.name, sizeof(k.info.name), "%.*s", (int)stored.n, (const char *)stored.p);
	snprintf(k.name, sizeof(k.name), "%.*s", (int)name.n, (const char *)name.p);
	memcpy(k.info.ed, public.ed, ED_BYTES);
	node_id_of(k.info.ed, &k.info.id);
	*p = public;
	*out = k;
	return ERR_OK;
}

void key_fault_write(struct buf *b, const struct fault *f)
{
	add_u16(b, (uint16_t)f->code);
	add_text(b, bytes_str(f->what));
	add_text(b, bytes_str(f->means));
	add_text(b, bytes_str(f->next));
}

enum err key_fault_read(struct bytes body, enum err e, struct fault *out)
{
	struct rd r = rd_init(body.p, body.n);
	struct bytes what, means, next;
	uint16_t code = rd_u16(&r);

	what = rd_text(&r, sizeof(out->what) - 1);
	means = rd_text(&r, sizeof(out->means) - 1);
	next = rd_text(&r, sizeof(out->next) - 1);
	enum err bad = rd_end(&r);
	if (bad != ERR_OK)
		return bad;
	fault_set(out, e, (enum exit_code)code, "%.*s", (int)what.n, (const char *)what.p);
	fault_means(out, "%.*s", (int)means.n, (const char *)means.p);
	fault_next(out, "%.*s", (int)next.n, (const char *)next.p);
	return ERR_OK;
}
