#include <openssl/evp.h>

#include "base/text.h"

/* Value of each character; sixteen a row. */
#define NO 0x80
/* clang-format off */
static const uint8_t values[256] = {
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, /* 0x00 */
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, /* 0x10 */
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, 62, NO, NO, NO, 63, /* 0x20 */
	52, 53, 54, 55, 56, 57, 58, 59, 60, 61, NO, NO, NO, NO, NO, NO, /* 0x30 */
	NO,  0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, /* 0x40 */
	15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, NO, NO, NO, NO, NO, /* 0x50 */
	NO, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, /* 0x60 */
	41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, NO, NO, NO, NO, NO, /* 0x70 */
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, /* 0x80 */
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, /* 0x90 */
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, /* 0xa0 */
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, /* 0xb0 */
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, /* 0xc0 */
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, /* 0xd0 */
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, /* 0xe0 */
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, /* 0xf0 */
};
/* clang-format on */

/* libcrypto counts in int. */
#define CHUNK (3 * 1024 * 1024)

void base64_encode(struct bytes in, char *out)
{
	while (in.n > CHUNK) {
		out += EVP_EncodeBlock((unsigned char *)out, in.p, CHUNK);
		in = bytes_of(in.p + CHUNK, in.n - CHUNK);
	}
	*out = '\0';
	if (in.n)
		EVP_EncodeBlock((unsigned char *)out, in.p, (int)in.n);
}

enum err buf_add_base64(struct buf *b, struct bytes in)
{
	uint8_t *p;

	if (b->err == ERR_OK && in.n > b->max) /* also keeps BASE64_LEN from wrapping */
		b->err = ERR_LIMIT;
	if (b->err != ERR_OK)
		return b->err;
	p = buf_reserve(b, BASE64_LEN(in.n)); /* a buf has room for the NUL behind its end */
	if (!p)
		return b->err;
	base64_encode(in, (char *)p);
	b->n += BASE64_LEN(in.n);
	return ERR_OK;
}

/* Decoded size by length and padding alone; the content is not checked yet. */
static enum err decoded_size(struct bytes in, size_t *n)
{
	if (in.n % 4 != 0)
		return ERR_MALFORMED;
	*n = in.n / 4 * 3;
	if (in.n && in.p[in.n - 1] == '=')
		*n -= in.p[in.n - 2] == '=' ? 2 : 1;
	return ERR_OK;
}

/*
 * Own loop instead of EVP_DecodeBlock(): that one skips white space, reads '=' as 'A' anywhere and
 * writes up to two bytes past the value, so a strict caller would read the text twice.
 */
static enum err decode(struct bytes in, uint8_t *out, size_t n)
{
	const uint8_t *p = in.p;
	uint8_t bad = 0;

	for (size_t quads = n / 3; quads > 0; quads--, p += 4, out += 3) {
		uint8_t a = values[p[0]], b = values[p[1]], c = values[p[2]], d = values[p[3]];

		bad |= a | b | c | d;
		out[0] = (uint8_t)(a << 2 | b >> 4);
		out[1] = (uint8_t)(b << 4 | c >> 2);
		out[2] = (uint8_t)(c << 6 | d);
	}
	if (n % 3) { /* one quad with padding: its '=' were counted by decoded_size() */
		uint8_t a = values[p[0]], b = values[p[1]];
		uint8_t c = n % 3 == 2 ? values[p[2]] : 0;
		uint8_t spare = n % 3 == 2 ? c & 0x03 : b & 0x0f;

		bad |= a | b | c | (spare ? NO : 0);
		out[0] = (uint8_t)(a << 2 | b >> 4);
		if (n % 3 == 2)
			out[1] = (uint8_t)(b << 4 | c >> 2);
	}
	return bad & NO ? ERR_MALFORMED : ERR_OK;
}

enum err base64_decode(struct bytes in, uint8_t *out, size_t cap, size_t *n)
{
	size_t size;
	enum err e = decoded_size(in, &size);

	if (e != ERR_OK)
		return e;
	if (size > cap)
		return ERR_LIMIT;
	e = decode(in, out, size);
	if (e == ERR_OK)
		*n = size;
	return e;
}

enum err base64_decode_exact(struct bytes in, uint8_t *out, size_t n)
{
	size_t size;
	enum err e = decoded_size(in, &size);

	if (e != ERR_OK)
		return e;
	return size == n ? decode(in, out, n) : ERR_MALFORMED;
}

enum err buf_add_base64_decoded(struct buf *b, struct bytes in)
{
	uint8_t *p;
	size_t size;
	enum err e = decoded_size(in, &size);

	if (b->err != ERR_OK)
		return b->err;
	if (e != ERR_OK)
		return b->err = e;
	p = buf_reserve(b, size);
	if (!p)
		return b->err;
	e = decode(in, p, size);
	if (e != ERR_OK)
		return b->err = e;
	b->n += size;
	return ERR_OK;
}
