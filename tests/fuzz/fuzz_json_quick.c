/* rooms: base */
/*
 * The quick reader against jansson: what it reads, jansson reads too, to the same tree.
 */
#include "base/json_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *quick, *slow;
	char *a, *b;

	if (!json_quick(bytes_of(data, size), &quick))
		return 0;
	slow = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
	BUG_ON(!slow || !json_equal(quick, slow));
	/* The same order too: a signature may cover it. */
	a = json_dumps(quick, JSON_COMPACT);
	b = json_dumps(slow, JSON_COMPACT);
	BUG_ON(!a || !b || strcmp(a, b) != 0);
	free(a);
	free(b);
	json_decref(quick);
	json_decref(slow);
	return 0;
}
