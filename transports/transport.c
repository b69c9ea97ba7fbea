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
