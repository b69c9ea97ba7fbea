/* rooms: base */
/*
 * What json_load_strict() accepts is written, read again and compared; the canonical form is a
 * fixed point.
 */
#include <stdlib.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_all(struct buf *b, const json_t *v, enum json_order order)
{
	buf_init(b, 16 << 20);
	BUG_ON(json_write(b, v, order) != ERR_OK);
	for (size_t i = 0; i < b->n; i++)
		BUG_ON(b->p[i] < 0x20 || b->p[i] > 0x7e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *v = NULL, *again = NULL;
	struct buf plain, sorted, fixed;

	if (json_load_strict(bytes_of(data, size), 1 << 16, &v) != ERR_OK) {
		BUG_ON(v);
		return 0;
	}
	write_all(&plain, v, JSON_INSERTION);
	BUG_ON(json_load_strict(buf_bytes(&plain), SIZE_MAX, &again) != ERR_OK);
	BUG_ON(!json_equal(v, again));
	json_decref(again);

	write_all(&sorted, v, JSON_SORTED);
	BUG_ON(sorted.n != plain.n);
	again = NULL;
	BUG_ON(json_load_strict(buf_bytes(&sorted), SIZE_MAX, &again) != ERR_OK);
	BUG_ON(!json_equal(v, again));
	write_all(&fixed, again,
		  JSON_INSERTION); /* sorted already: insertion order is that order */
	BUG_ON(!bytes_eq(buf_bytes(&fixed), buf_bytes(&sorted)));

	json_decref(again);
	json_decref(v);
	buf_fini(&plain);
	buf_fini(&sorted);
	buf_fini(&fixed);
	return 0;
}
