/* rooms: transports base */
/* What is accepted as an address can be written back, and holds nothing that is syntax in a
 * request. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transports/ws/ws_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char text[600], host[WS_HOST_MAX + 1], again[600], *zero;
	uint16_t port;
	unsigned value;

	if (n >= sizeof text)
		return 0;
	memcpy(text, data, n);
	text[n] = '\0';
	if (ws_address_parse(text, host, &port) != ERR_OK)
		return 0;
	if (strpbrk(host, " \t\r\n/\\@[]\"'") || strlen(host) == 0 || port == 0)
		abort();
	/* Leading zeros of the port are the only freedom. */
	zero = strrchr(text, ':');
	value = (unsigned)atoi(zero + 1);
	zero[1] = '\0';
	snprintf(again, sizeof again, text[0] == '[' ? "[%s]:" : "%s:", host);
	if (value != port || strcmp(again, text) != 0)
		abort();
	return 0;
}
