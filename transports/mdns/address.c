/*
 * address.c -- which of the addresses that somebody claims are worth a dial, and in which order.
 *
 * What comes over the air may name any address. A loopback one heard on a real interface would make us knock at our own
 * services, so it never counts; nor does anything that is not one machine.
 */
#include "transports/mdns/mdns_internal.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>

static uint8_t prefix_of(const uint8_t *mask, size_t n)
{
	uint8_t bits = 0;

	for (size_t i = 0; i < n; i++)
		for (uint8_t m = mask[i]; m & 0x80; m = (uint8_t)(m << 1))
			bits++;
	return bits;
}

size_t own_nets(struct own_net *out, size_t max)
{
	struct ifaddrs *all, *i;
	size_t n = 0;

	if (getifaddrs(&all) != 0)
		return 0;
	for (i = all; i && n < max; i = i->ifa_next) {
		struct own_net o = { 0 };

		if (!i->ifa_addr || !i->ifa_netmask || !(i->ifa_flags & IFF_UP))
			continue;
		if (i->ifa_addr->sa_family == AF_INET) {
			memcpy(o.ip.b, &((struct sockaddr_in *)i->ifa_addr)->sin_addr, 4);
			o.prefix = prefix_of((uint8_t *)&((struct sockaddr_in *)i->ifa_netmask)->sin_addr, 4);
		} else if (i->ifa_addr->sa_family == AF_INET6) {
			o.ip.v6 = true;
			memcpy(o.ip.b, &((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr, 16);
			o.prefix = prefix_of((uint8_t *)&((struct sockaddr_in6 *)i->ifa_netmask)->sin6_addr, 16);
		} else {
			continue;
		}
		o.ifindex = if_nametoindex(i->ifa_name);
		o.loopback = i->ifa_flags & IFF_LOOPBACK;
		if (o.ifindex)
			out[n++] = o;
	}
	freeifaddrs(all);
	return n;
}

static bool ip_parse(const char *text, struct ip *out)
{
	char bare[INET6_ADDRSTRLEN + 1];

	memset(out, 0, sizeof *out);
	if (inet_pton(AF_INET, text, out->b) == 1)
		return true;
	snprintf(bare, sizeof bare, "%.*s", (int)strcspn(text, "%"), text);
	out->v6 = true;
	return inet_pton(AF_INET6, bare, out->b) == 1;
}

static size_t ip_bytes(const struct ip *ip)
{
	return ip->v6 ? 16 : 4;
}

static bool ip_is_any(const struct ip *ip)
{
	static const uint8_t zero[16];

	return memcmp(ip->b, zero, ip_bytes(ip)) == 0;
}

static bool ip_is_loopback(const struct ip *ip)
{
	static const uint8_t one[16] = { [15] = 1 };

	return ip->v6 ? memcmp(ip->b, one, 16) == 0 : ip->b[0] == 127;
}

static bool ip_is_link(const struct ip *ip)
{
	return ip->v6 && ip->b[0] == 0xfe && (ip->b[1] & 0xc0) == 0x80;
}

/* An IPv4 address in the clothes of the other family would pass the rules for that one. */
static bool ip_is_mapped(const struct ip *ip)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff }, compatible[12] = { 0 };

	return ip->v6 && !ip_is_loopback(ip) &&
	       (memcmp(ip->b, mapped, 12) == 0 || memcmp(ip->b, compatible, 12) == 0);
}

static bool ip_is_crowd(const struct ip *ip)
{
	return ip->v6 ? ip->b[0] == 0xff : ip->b[0] >= 224 || ip->b[0] == 0;
}

static bool same_net(const struct ip *a, const struct ip *b, uint8_t prefix)
{
	size_t whole = prefix / 8;
	uint8_t mask = (uint8_t)(0xff00 >> prefix % 8);

	if (a->v6 != b->v6 || prefix > 8 * ip_bytes(a))
		return false;
	return memcmp(a->b, b->b, whole) == 0 &&
	       (prefix % 8 == 0 || (a->b[whole] & mask) == (b->b[whole] & mask));
}

void bind_rule_of(const char *bind, const struct own_net *nets, size_t n, struct bind_rule *out)
{
	struct ip ip;

	*out = (struct bind_rule){ .any_family = true };
	if (!bind || !*bind)
		return;
	if (strcmp(bind, "localhost") == 0) {
		out->restricted = true;
		for (size_t i = 0; i < n && !out->known; i++)
			if (nets[i].loopback) {
				out->ifindex = nets[i].ifindex;
				out->known = true;
			}
		return;
	}
	if (!ip_parse(bind, &ip)) { /* libwebsockets takes the name of an interface too */
		out->restricted = true;
		out->ifindex = if_nametoindex(bind);
		out->known = out->ifindex != 0;
		return;
	}
	if (ip_is_any(&ip))
		return;
	out->restricted = true;
	out->any_family = false;
	out->v6 = ip.v6;
	for (size_t i = 0; i < n && !out->known; i++)
		/* All of 127.0.0.0/8 is ours, with one address on the interface. */
		if (nets[i].ip.v6 == ip.v6 &&
		    (memcmp(nets[i].ip.b, ip.b, ip_bytes(&ip)) == 0 ||
		     (nets[i].loopback && same_net(&nets[i].ip, &ip, nets[i].prefix)))) {
			out->ifindex = nets[i].ifindex;
			out->known = true;
		}
}

unsigned address_rank(const struct ip *ip, uint32_t ifindex, const struct own_net *nets, size_t n,
		      const struct bind_rule *rule)
{
	bool near = ip_is_link(ip), loopback = false;

	if (ip_is_any(ip) || ip_is_crowd(ip) || ip_is_mapped(ip))
		return RANK_NEVER;
	if (rule->restricted && (!rule->known || ifindex != rule->ifindex))
		return RANK_NEVER;
	if (rule->restricted && !rule->any_family && rule->v6 != ip->v6)
		return RANK_NEVER;
	for (size_t i = 0; i < n; i++)
		if (nets[i].ifindex == ifindex) {
			loopback |= nets[i].loopback;
			near |= same_net(&nets[i].ip, ip, nets[i].prefix);
		}
	if (ip_is_loopback(ip) && !loopback)
		return RANK_NEVER;
	if (!near)
		return rule->restricted ? RANK_NEVER : RANK_FAR;
	if (ip_is_link(ip))
		return RANK_LINK6;
	return ip->v6 ? RANK_NET6 : RANK_NET4;
}

void address_text(const struct ip *ip, uint32_t ifindex, uint16_t port, char out[static 80])
{
	char text[INET6_ADDRSTRLEN] = "";

	inet_ntop(ip->v6 ? AF_INET6 : AF_INET, ip->b, text, sizeof text);
	if (!ip->v6)
		snprintf(out, 80, "%s:%u", text, port);
	else if (ip_is_link(ip))
		snprintf(out, 80, "[%s%%%u]:%u", text, ifindex, port);
	else
		snprintf(out, 80, "[%s]:%u", text, port);
}
