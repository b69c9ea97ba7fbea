#include "store/sorted_internal.h"

#include <stdlib.h>

#define CAP_FIRST 16
#define CAP_KEEP  256

void sorted_init(struct sorted *v, size_t size)
{
	BUG_ON(size < sizeof(uint64_t));
	*v = (struct sorted){.size = size};
}

void sorted_fini(struct sorted *v)
{
	free(v->p);
	v->p = NULL;
	v->head = v->n = v->cap = 0;
}

static uint64_t key_at(const struct sorted *v, size_t i)
{
	uint64_t key;

	memcpy(&key, sorted_at(v, i), sizeof(key));
	return key;
}

static void to_front(struct sorted *v)
{
	if (v->head && v->n)
		memmove(v->p, sorted_at(v, 0), v->n * v->size);
	v->head = 0;
}

enum err sorted_reserve(struct sorted *v, size_t more)
{
	size_t cap = v->cap ? v->cap : CAP_FIRST;

	if (v->head + v->n + more <= v->cap)
		return ERR_OK;
	/* Moving all is paid for by the half that left. */
	if (v->head >= v->cap / 2 && v->n + more <= v->cap) {
		to_front(v);
		return ERR_OK;
	}
	while (cap < v->head + v->n + more)
		cap *= 2;
	uint8_t *p = reallocarray(v->p, cap, v->size);
	if (!p)
		return ERR_NOMEM;
	v->p = p;
	v->cap = cap;
	return ERR_OK;
}

size_t sorted_floor(const struct sorted *v, uint64_t key)
{
	size_t lo = 0, hi = v->n;

	if (hi && key_at(v, hi - 1) < key)
		return hi;
	if (hi && key_at(v, 0) >= key)
		return 0;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (key_at(v, mid) < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void *sorted_get(const struct sorted *v, uint64_t key)
{
	size_t i = sorted_floor(v, key);

	return i < v->n && key_at(v, i) == key ? sorted_at(v, i) : NULL;
}

void *sorted_insert(struct sorted *v, uint64_t key)
{
	size_t i = sorted_floor(v, key);
	bool front = v->head > 0, back = v->head + v->n < v->cap;

	BUG_ON(!front && !back);
	BUG_ON(i < v->n && key_at(v, i) == key);
	if (!back || (front && i < v->n / 2)) {
		memmove(v->p + (v->head - 1) * v->size, sorted_at(v, 0), i * v->size);
		v->head--;
	} else if (i < v->n) {
		memmove(sorted_at(v, i + 1), sorted_at(v, i), (v->n - i) * v->size);
	}
	v->n++;
	void *record = sorted_at(v, i);
	memset(record, 0, v->size);
	memcpy(record, &key, sizeof(key));
	return record;
}

void sorted_take(struct sorted *v, size_t i)
{
	BUG_ON(i >= v->n);
	if (i < v->n / 2) {
		memmove(sorted_at(v, 1), sorted_at(v, 0), i * v->size);
		v->head++;
	} else {
		memmove(sorted_at(v, i), sorted_at(v, i + 1), (v->n - i - 1) * v->size);
	}
	if (--v->n == 0)
		v->head = 0;
}

void sorted_filter(struct sorted *v, size_t n, bool (*keep)(void *ctx, const void *record), void *ctx)
{
	size_t to = n;

	for (size_t i = n; i-- > 0;) {
		if (!keep(ctx, sorted_at(v, i)))
			continue;
		if (--to != i)
			memcpy(sorted_at(v, to), sorted_at(v, i), v->size);
	}
	v->head += to;
	v->n -= to;
	if (v->n == 0)
		v->head = 0;
}

void sorted_trim(struct sorted *v)
{
	size_t cap = v->n * 2 > CAP_FIRST ? v->n * 2 : CAP_FIRST;

	if (v->cap <= CAP_KEEP || v->n > v->cap / 8)
		return;
	to_front(v);
	uint8_t *p = reallocarray(v->p, cap, v->size);
	if (p) {
		v->p = p;
		v->cap = cap;
	}
}
