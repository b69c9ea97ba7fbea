#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/secret.h"

#define FIRST_CAP 128

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){.max = max};
}

void buf_fini(struct buf *b)
{
	free(b->p);
	*b = (struct buf){.max = b->max};
}

void buf_reset(struct buf *b)
{
	b->n = 0;
	b->err = ERR_OK;
}

void buf_wipe(struct buf *b)
{
	if (b->p)
		wipe(b->p, b->cap + 1);
	buf_reset(b);
}

/* The memory is always one byte larger than `cap`: buf_cstr() and the base64 encoder write a NUL
 * behind the content even when the content has reached the maximum. */
static bool set_cap(struct buf *b, size_t cap)
{
	uint8_t *p = realloc(b->p, cap + 1);

	if (!p)
		return false;
	b->p = p;
	b->cap = cap;
	return true;
}

void buf_trim(struct buf *b, size_t keep)
{
	if (b->n != 0 || b->cap <= keep)
		return;
	if (keep == 0) {
		free(b->p);
		b->p = NULL;
		b->cap = 0;
	} else {
		set_cap(b, keep); /* when it fails the larger block stays, which is no error */
	}
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
	size_t cap;

	if (b->err != ERR_OK)
		return NULL;
	if (n > b->max - b->n || b->max == SIZE_MAX) {
		b->err = ERR_LIMIT;
		return NULL;
	}
	if (b->p && n <= b->cap - b->n)
		return b->p + b->n;
	cap = b->cap < FIRST_CAP ? FIRST_CAP : b->cap > b->max / 2 ? b->max : b->cap * 2;
	if (cap < b->n + n)
		cap = b->n + n;
	if (cap > b->max)
		cap = b->max;
	if (!set_cap(b, cap)) {
		b->err = ERR_NOMEM;
		return NULL;
	}
	return b->p + b->n;
}

void buf_add(struct buf *b, struct bytes x)
{
	uint8_t *p = buf_reserve(b, x.n);

	if (!p || x.n == 0)
		return;
	memcpy(p, x.p, x.n);
	b->n += x.n;
}

void buf_add_u8(struct buf *b, uint8_t v)
{
	uint8_t *p = buf_reserve(b, 1);

	if (!p)
		return;
	*p = v;
	b->n++;
}

void buf_add_str(struct buf *b, const char *s)
{
	buf_add(b, bytes_str(s));
}

void buf_add_uint(struct buf *b, uint64_t v)
{
	uint8_t digits[20];
	size_t n = sizeof digits;

	do
		digits[--n] = (uint8_t)('0' + v % 10);
	while (v /= 10);
	buf_add(b, bytes_of(digits + n, sizeof digits - n));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	size_t room;
	uint8_t *p;
	int n;

	if (b->err != ERR_OK)
		return;
	/* Usually it fits what is there: one pass. The byte for the NUL is always there. */
	room = b->p ? b->cap - b->n + 1 : 0;
	va_start(ap, fmt);
	n = vsnprintf(room ? (char *)b->p + b->n : NULL, room, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->err = ERR_MALFORMED;
		return;
	}
	p = buf_reserve(b, (size_t)n);
	if (!p)
		return;
	if ((size_t)n >= room) {
		va_start(ap, fmt);
		vsnprintf((char *)p, (size_t)n + 1, fmt, ap);
		va_end(ap);
	}
	b->n += (size_t)n;
}

void buf_drop_front(struct buf *b, size_t n)
{
	BUG_ON(n > b->n);
	if (n == 0)
		return;
	b->n -= n;
	memmove(b->p, b->p + n, b->n);
}

const char *buf_cstr(struct buf *b)
{
	uint8_t *p = buf_reserve(b, 0);

	if (!p)
		return "";
	*p = '\0';
	return (const char *)b->p;
}
