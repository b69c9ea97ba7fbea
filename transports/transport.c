#include "transports/transport.h"

const char *link_end_word(enum link_end e)
{
	static const char *const words[LINK_END_COUNT] = {
		[LINK_END_LOCAL] = "local",
		[LINK_END_REMOTE] = "remote",
		[LINK_END_IO] = "io",
		[LINK_END_TIMEOUT] = "timeout",
		[LINK_END_PROTOCOL] = "protocol",
		[LINK_END_TLS] = "tls",
		[LINK_END_REFUSED] = "refused",
		[LINK_END_RESOLVE] = "resolve",
	};

	return (unsigned)e < LINK_END_COUNT ? words[e] : "unknown";
}

enum err link_address_split(const char *address, char bare[static LINK_ADDRESS_MAX + 1], bool *pair)
{
	const size_t tail = strlen(LINK_PAIR_PATH);
	size_t n = strnlen(address, LINK_ADDRESS_MAX + tail + 1);

	*pair = n > tail && n <= LINK_ADDRESS_MAX + tail && strcmp(address + n - tail, LINK_PAIR_PATH) == 0;
	if (*pair)
		n -= tail;
	if (n > LINK_ADDRESS_MAX)
		return ERR_USAGE;
	memcpy(bare, address, n);
	bare[n] = '\0';
	return ERR_OK;
}
