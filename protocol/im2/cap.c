#include "protocol/im2/cap.h"

#include <stdlib.h>

enum { CAP_CAPS };
enum { CAPENT_NAME };
#define ENTRY_MAX (IM2_CAP_TEXT_MAX + 8)
#define BODY_MAX 16000 /* of a record (13.1) */

struct entry {
	uint16_t n;
	uint8_t p[ENTRY_MAX];
};

/* As lists are compared: the bytes of the elements, a prefix first. */
static int by_bytes(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int d = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);

	return d ? d : (int)x->n - (int)y->n;
}

static void write_entry(struct bytes name, struct buf *scratch, struct entry *out)
{
	struct im2_fields f = { .schema = &im2_capent };

	buf_reset(scratch);
	im2_set_b(&f, CAPENT_NAME, name);
	im2_write(&im2_capent, &f, scratch);
	out->n = (uint16_t)scratch->n;
	if (scratch->err == ERR_OK)
		memcpy(out->p, scratch->p, scratch->n);
}

enum im2_refusal im2_cap_write(const struct bytes *names, size_t n, struct buf *out)
{
	struct entry *e = NULL;
	struct buf list, scratch;
	struct im2_fields f = { .schema = &im2_cap };
	enum im2_refusal r = IM2_FINE;

	if (n > IM2_CAPS_MAX)
		return IM2_E_LIMIT;
	for (size_t i = 0; i < n; i++)
		if (names[i].n < 1 || names[i].n > IM2_CAP_TEXT_MAX)
			return IM2_E_LENGTH;
	buf_init(&list, IM2_CAPS_MAX * (ENTRY_MAX + 2));
	buf_init(&scratch, ENTRY_MAX);
	e = n ? calloc(n, sizeof *e) : NULL;
	if (n && !e)
		r = IM2_E_LIMIT;
	for (size_t i = 0; r == IM2_FINE && i < n; i++)
		write_entry(names[i], &scratch, &e[i]);
	if (r == IM2_FINE && n)
		qsort(e, n, sizeof *e, by_bytes);
	for (size_t i = 0; r == IM2_FINE && i < n; i++)
		im2_lv_add(&list, bytes_of(e[i].p, e[i].n));
	if (r == IM2_FINE && (scratch.err != ERR_OK || list.err != ERR_OK || list.n > BODY_MAX - 8))
		r = IM2_E_LIMIT;
	if (r == IM2_FINE) {
		im2_set_b(&f, CAP_CAPS, buf_bytes(&list));
		im2_write(&im2_cap, &f, out);
	}
	free(e);
	buf_fini(&list);
	buf_fini(&scratch);
	return r;
}

enum im2_refusal im2_cap_read(struct bytes body, struct bytes names[static IM2_CAPS_MAX], size_t *n)
{
	struct im2_fields f, ent;
	enum im2_refusal r = im2_parse(&im2_cap, body, &f);
	struct bytes list, one;

	*n = 0;
	if (r != IM2_FINE)
		return r;
	list = f.v[CAP_CAPS].b;
	while (r == IM2_FINE && list.n && *n < IM2_CAPS_MAX) {
		r = im2_lv_take(&list, &one);
		if (r == IM2_FINE)
			r = im2_parse(&im2_capent, one, &ent);
		if (r == IM2_FINE)
			names[(*n)++] = ent.v[CAPENT_NAME].b;
	}
	return r;
}
