#include "transports/mdns/mdns.h"

const char *mdns_txt(const struct mdns_service *s, const char *key)
{
	return "";
}

enum err mdns_txt_parse(struct bytes txt, struct mdns_pair *out, size_t max, size_t *n)
{
	return ERR_UNSUPPORTED;
}

const char *mdns_state_word(enum mdns_state s)
{
	return "";
}

enum err mdns_new(const struct mdns_config *c, struct mdns **out)
{
	return ERR_OK;
}

enum err mdns_publish(struct mdns *m, unsigned slot, const char *type, const char *instance, uint16_t port, const struct mdns_pair *txt, size_t n)
{
	return ERR_UNSUPPORTED;
}

void mdns_withdraw(struct mdns *m, unsigned slot)
{
}

enum err mdns_browse(struct mdns *m, const char *type)
{
	return ERR_UNSUPPORTED;
}

void mdns_browse_stop(struct mdns *m, const char *type)
{
}

void mdns_stats(const struct mdns *m, struct mdns_stats *out)
{
}

void mdns_stop(struct mdns *m, void (*done)(void *), void *ctx)
{
}

void mdns_free(struct mdns *m)
{
}
