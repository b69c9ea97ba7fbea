#include "base/wire.h"

struct rd rd_init(const void *p, size_t n)
{
	return (struct rd){.p = p, .left = n};
}

void rd_fail(struct rd *r, enum err e)
{
	if (r->err == ERR_OK)
		r->err = e;
}

/* The only place that moves the reader. NULL after an error. */
static const uint8_t *take(struct rd *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->err != ERR_OK)
		return NULL;
	if (n > r->left) {
		r->err = ERR_SHORT;
		return NULL;
	}
	if (n == 0) /* p may be NULL here, and NULL + 0 is not defined in C */
		return p ? p : (const uint8_t *)"";
	r->p += n;
	r->left -= n;
	return p;
}

static uint64_t big_endian(struct rd *r, size_t n)
{
	const uint8_t *p = take(r, n);
	uint64_t v = 0;

	for (size_t i = 0; p && i < n; i++)
		v = v << 8 | p[i];
	return v;
}

uint8_t rd_u8(struct rd *r)
{
	return (uint8_t)big_endian(r, 1);
}

uint16_t rd_u16(struct rd *r)
{
	return (uint16_t)big_endian(r, 2);
}

uint32_t rd_u32(struct rd *r)
{
	return (uint32_t)big_endian(r, 4);
}

uint64_t rd_u64(struct rd *r)
{
	return big_endian(r, 8);
}

struct bytes rd_bytes(struct rd *r, size_t n)
{
	const uint8_t *p = take(r, n);

	return p ? bytes_of(p, n) : bytes_of("", 0);
}

void rd_copy(struct rd *r, void *out, size_t n)
{
	const uint8_t *p = take(r, n);

	if (n == 0)
		return;
	if (p)
		memcpy(out, p, n);
	else
		memset(out, 0, n);
}

struct bytes rd_rest(struct rd *r)
{
	return rd_bytes(r, r->left);
}

enum err rd_end(struct rd *r)
{
	if (r->left != 0)
		rd_fail(r, ERR_TRAILING);
	return r->err;
}

struct wr wr_init(void *p, size_t cap)
{
	return (struct wr){.p = p, .cap = cap};
}

uint8_t *wr_reserve(struct wr *w, size_t n)
{
	uint8_t *p;

	if (w->err != ERR_OK)
		return NULL;
	if (n > w->cap - w->n) {
		w->err = ERR_LIMIT;
		return NULL;
	}
	p = w->p + w->n;
	w->n += n;
	return p;
}

static void put_big_endian(struct wr *w, uint64_t v, size_t n)
{
	uint8_t *p = wr_reserve(w, n);

	for (size_t i = n; p && i > 0; i--, v >>= 8)
		p[i - 1] = (uint8_t)v;
}

void wr_u8(struct wr *w, uint8_t v)
{
	put_big_endian(w, v, 1);
}

void wr_u16(struct wr *w, uint16_t v)
{
	put_big_endian(w, v, 2);
}

void wr_u32(struct wr *w, uint32_t v)
{
	put_big_endian(w, v, 4);
}

void wr_u64(struct wr *w, uint64_t v)
{
	put_big_endian(w, v, 8);
}

void wr_bytes(struct wr *w, struct bytes b)
{
	uint8_t *p;

	if (b.n == 0)
		return;
	p = wr_reserve(w, b.n);
	if (p)
		memcpy(p, b.p, b.n);
}

enum err wr_end(const struct wr *w, struct bytes *out)
{
	if (w->err == ERR_OK)
		*out = bytes_of(w->p, w->n);
	return w->err;
}
