/* rooms: store trust base */
/*
 * The tar inside an archive of the old software: what comes out has one of four names, and fits.
 */
#include <stdlib.h>

#include "store/imb1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fault f = { 0 };
	struct imb1 x;

	if (imb1_unpack(bytes_of(data, size), &x, &f) != ERR_OK) {
		BUG_ON(!f.what[0]);
		return 0;
	}
	BUG_ON(x.keys.n == 0 || x.keys.n > x.keys.max || x.pins.n > x.pins.max || x.audit.n > x.audit.max ||
	       x.manifest.n > x.manifest.max);
	imb1_fini(&x);
	return 0;
}
