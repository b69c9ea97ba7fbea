#include "daemon/endpoints.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool v4_text(const struct sockaddr *a, uint16_t port, char out[static ENDPOINT_LEN])
{
	const struct in_addr *at = &((const struct sockaddr_in *)(const void *)a)->sin_addr;
	char text[INET_ADDRSTRLEN];

	if (ntohl(at->s_addr) >> 16 == 0xa9fe || !inet_ntop(AF_INET, at, text, sizeof text))
		return false;
	snprintf(out, ENDPOINT_LEN, "%s:%u", text, port);
	return true;
}

static bool v6_text(const struct sockaddr *a, uint16_t port, char out[static ENDPOINT_LEN])
{
	const struct in6_addr *at = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
	char text[INET6_ADDRSTRLEN];

	if (IN6_IS_ADDR_LINKLOCAL(at) || !inet_ntop(AF_INET6, at, text, sizeof text))
		return false;
	snprintf(out, ENDPOINT_LEN, "[%s]:%u", text, port);
	return true;
}

size_t endpoints_now(const char *bind, uint16_t port, char out[static ENDPOINTS_MAX][ENDPOINT_LEN])
{
	bool v6 = strcmp(bind, "::") == 0;
	struct ifaddrs *all;
	size_t n = 0;

	if (!v6 && strcmp(bind, "0.0.0.0") != 0) {
		snprintf(out[0], ENDPOINT_LEN, strchr(bind, ':') ? "[%.60s]:%u" : "%.60s:%u", bind, port);
		return 1;
	}
	if (getifaddrs(&all) != 0)
		return 0;
	for (const struct ifaddrs *i = all; i && n < ENDPOINTS_MAX; i = i->ifa_next) {
		if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK))
			continue;
		if (i->ifa_addr->sa_family == AF_INET)
			n += v4_text(i->ifa_addr, port, out[n]);
		else if (v6 && i->ifa_addr->sa_family == AF_INET6)
			n += v6_text(i->ifa_addr, port, out[n]);
	}
	freeifaddrs(all);
	return n;
}
