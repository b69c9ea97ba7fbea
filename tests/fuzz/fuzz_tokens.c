/* rooms: web base */
/* The file of tokens. What is taken has the form that the program writes, and whom it admits has its hash. */
#include "base/text.h"
#include "web/tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tokens t;

	if (tokens_parse(bytes_of(data, size), &t) != ERR_OK) {
		BUG_ON(t.n);
		return 0;
	}
	BUG_ON(t.n > TOKENS_MAX);
	for (size_t i = 0; i < t.n; i++) {
		BUG_ON(t.list[i].role < ROLE_METRICS || t.list[i].role > ROLE_ADMIN);
		BUG_ON(strlen(t.list[i].id) != TOKEN_ID || strlen(t.list[i].name) > TOKEN_NAME_MAX);
	}
	BUG_ON(tokens_find(&t, bytes_of(data, size < TOKEN_TEXT ? size : TOKEN_TEXT), 0) != NULL);
	return 0;
}
