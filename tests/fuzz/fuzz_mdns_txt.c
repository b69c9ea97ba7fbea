/* rooms: transports base */
/* A TXT record from the air. What is read is within its bounds, can be shown, and written again reads the same. */
#include <strings.h>

#include "base/text.h"
#include "transports/mdns/mdns_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mdns_pair pairs[MDNS_TXT_PAIRS_MAX], again[MDNS_TXT_PAIRS_MAX];
	uint8_t txt[MDNS_TXT_MAX];
	char safe[sizeof pairs[0].value];
	size_t n, m, len;

	if (mdns_txt_parse(bytes_of(data, size), pairs, MDNS_TXT_PAIRS_MAX, &n) != ERR_OK)
		return 0;
	BUG_ON(n > MDNS_TXT_PAIRS_MAX);
	for (size_t i = 0; i < n; i++) {
		BUG_ON(strnlen(pairs[i].key, sizeof pairs[i].key) == sizeof pairs[i].key || !pairs[i].key[0]);
		BUG_ON(strnlen(pairs[i].value, sizeof pairs[i].value) == sizeof pairs[i].value);
		BUG_ON(strcmp(text_safe(bytes_str(pairs[i].value), safe, sizeof safe), pairs[i].value) != 0);
		for (size_t k = 0; k < i; k++)
			BUG_ON(strcasecmp(pairs[i].key, pairs[k].key) == 0);
	}
	/* "key" is written as "key=", one byte more: only then it may not fit. */
	if (txt_build(pairs, n, txt, &len) != ERR_OK)
		return 0;
	BUG_ON(mdns_txt_parse(bytes_of(txt, len), again, MDNS_TXT_PAIRS_MAX, &m) != ERR_OK || m != n);
	for (size_t i = 0; i < n; i++)
		BUG_ON(strcmp(pairs[i].key, again[i].key) != 0 || strcmp(pairs[i].value, again[i].value) != 0);
	return 0;
}
