/* hints.c -- the table of hints: bounded, what is least wanted and oldest makes room. */
#include "daemon/discovery_internal.h"
#include "daemon/dial.h"
#include "daemon/records.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "base/text.h"
#include "protocol/im2/record.h"

#define KNOWN_AGAIN_MS 600000
/* Whoever states a new card each second does not make us repeat it to everybody. */
#define PASSED_PER_S (1 / 60.0)
#define PASSED_BURST 4

struct hint *hint_find(struct discovery *d, enum hint_source source, const char *instance)
{
	for (size_t i = 0; i < d->hints_n; i++)
		if (d->hints[i]->source == source && !d->hints[i]->gone && strcmp(d->hints[i]->instance, instance) == 0)
			return d->hints[i];
	return NULL;
}

struct hint_at *hint_at_find(struct hint *h, const char *address)
{
	for (size_t i = 0; i < h->n; i++)
		if (strcmp(h->at[i].text, address) == 0)
			return &h->at[i];
	return NULL;
}

/* --- room -------------------------------------------------------------------------------------------- */
static unsigned failures_of(const struct hint *h)
{
	unsigned least = UINT8_MAX;

	for (size_t i = 0; i < h->n; i++)
		if (h->at[i].failures < least)
			least = h->at[i].failures;
	return h->n ? least : UINT8_MAX;
}

static unsigned worth(struct discovery *d, const struct hint *h)
{
	if (!hint_wanted(d, h, NULL))
		return 0;
	if (h->met || h->source != HINT_MDNS)
		return 3;
	return failures_of(h) ? 1 : 2;
}

/* The least worth, of these the one that was seen longest ago; what is being dialled stays. */
static struct hint *weakest(struct discovery *d, uint64_t payer, unsigned *worth_out)
{
	struct hint *out = NULL;
	unsigned least = UINT8_MAX;

	for (size_t i = 0; i < d->hints_n; i++) {
		struct hint *h = d->hints[i];
		unsigned w;

		if (h->dials || (payer && h->payer != payer))
			continue;
		w = worth(d, h);
		if (w < least || (w == least && h->seen_ms < out->seen_ms)) {
			least = w;
			out = h;
		}
	}
	*worth_out = least;
	return out;
}

static bool move_up(void *ctx, struct bytes key, void *value)
{
	struct hint_peer *p = value;

	(void)key;
	p->cursor -= *(const size_t *)ctx < p->cursor;
	return true;
}

void hint_drop(struct discovery *d, struct hint *h)
{
	size_t i = 0;

	if (h->dials) {
		h->gone = true;
		return;
	}
	while (d->hints[i] != h)
		i++;
	memmove(&d->hints[i], &d->hints[i + 1], (--d->hints_n - i) * sizeof d->hints[0]);
	map_each(d->peers, move_up, &i);
	free(h);
}

struct hint *hint_add(struct discovery *d, const struct hint *fresh)
{
	size_t share = 0;
	struct hint *h, *out;
	unsigned w;

	for (size_t i = 0; fresh->payer && i < d->hints_n; i++)
		share += d->hints[i]->payer == fresh->payer;
	if (share >= HINTS_MAX / HINTS_SHARE || d->hints_n == HINTS_MAX) {
		out = weakest(d, share >= HINTS_MAX / HINTS_SHARE ? fresh->payer : 0, &w);
		d->node->n.hints_dropped++;
		if (!out || w > worth(d, fresh))
			return NULL;
		hint_drop(d, out);
	}
	h = malloc(sizeof *h);
	if (!h)
		return NULL;
	*h = *fresh;
	d->hints[d->hints_n++] = h;
	return h;
}

void hint_crowd(struct discovery *d, const struct node_id *id)
{
	for (;;) {
		struct hint *worst = NULL;
		unsigned count = 0;

		for (size_t i = 0; i < d->hints_n; i++) {
			struct hint *h = d->hints[i];

			if (h->source != HINT_MDNS || !h->has_id || h->gone || !node_id_eq(&h->id, id))
				continue;
			count++;
			if (h->dials || h->met)
				continue;
			if (!worst || failures_of(h) > failures_of(worst) ||
			    (failures_of(h) == failures_of(worst) && h->seen_ms < worst->seen_ms))
				worst = h;
		}
		if (count <= HINTS_OF_ONE || !worst)
			return;
		d->node->n.hints_dropped++;
		hint_drop(d, worst);
	}
}

/* --- addresses ------------------------------------------------------------------------------------------ */
struct place {
	char host[HINT_ADDRESS_LEN];
	const char *port;
	int family;                /* AF_INET, AF_INET6; 0: a name */
	struct in_addr v4;
	struct in6_addr v6;
};

/* "127.1", "0x7f.1" and "0" are no names: resolvers take them for addresses, of this machine in the worst case. */
static bool is_name(const char *host, size_t n)
{
	const char *last;

	if (n && host[n - 1] == '.')
		n--;
	for (last = host + n; last > host && last[-1] != '.'; last--)
		;
	return n > 0 && !(*last >= '0' && *last <= '9');
}

static bool place_read(const char *address, struct place *out)
{
	const char *colon = strrchr(address, ':'), *from = address;
	size_t n;

	memset(out, 0, sizeof *out);
	if (!colon || !colon[1] || strlen(address) >= HINT_ADDRESS_LEN)
		return false;
	n = (size_t)(colon - address);
	if (address[0] == '[') {
		if (n < 3 || address[n - 1] != ']')
			return false;
		from++;
		n -= 2;
	}
	memcpy(out->host, from, n);
	out->port = colon + 1;
	if (from == address) {
		out->family = inet_pton(AF_INET, out->host, &out->v4) == 1 ? AF_INET : 0;
		return n > 0 && !strchr(out->host, ':') && (out->family || is_name(out->host, n));
	}
	out->host[strcspn(out->host, "%")] = 0;
	out->family = AF_INET6;
	if (inet_pton(AF_INET6, out->host, &out->v6) != 1)
		return false;
	/* In these clothes 0.0.0.0 and 224.0.0.1 are what they are. */
	if (IN6_IS_ADDR_V4MAPPED(&out->v6)) {
		out->family = AF_INET;
		memcpy(&out->v4, &out->v6.s6_addr[12], sizeof out->v4);
	}
	return true;
}

static bool is_loopback(const struct place *p)
{
	size_t n;

	if (p->family == AF_INET)
		return ntohl(p->v4.s_addr) >> 24 == 127;
	if (p->family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&p->v6);
	n = strlen(p->host);
	n -= n && p->host[n - 1] == '.';
	return n >= 9 && strncasecmp(p->host + n - 9, "localhost", 9) == 0 && (n == 9 || p->host[n - 10] == '.');
}

/* Nobody answers for it. */
static bool is_nobody(const struct place *p)
{
	uint32_t v4 = p->family == AF_INET ? ntohl(p->v4.s_addr) : 0;

	if (p->family == AF_INET)
		return v4 >> 24 == 0 || v4 >> 28 >= 14;
	return p->family == AF_INET6 && (IN6_IS_ADDR_UNSPECIFIED(&p->v6) || IN6_IS_ADDR_MULTICAST(&p->v6));
}

/* Who listens on the loopback alone looks there alone: else whoever is on the link could send us to our own ports. */
static bool at_home(const struct discovery *d)
{
	struct place p;

	for (size_t i = 0; i < d->endpoints_n; i++)
		if (!place_read(d->endpoints[i], &p) || !is_loopback(&p))
			return false;
	return d->endpoints_n > 0;
}

bool hint_same_place(const struct discovery *d, const char *address)
{
	struct place p, q;

	if (!place_read(address, &p))
		return false;
	for (size_t i = 0; i < d->endpoints_n; i++) {
		if (strcmp(d->endpoints[i], address) == 0)
			return true;
		if (place_read(d->endpoints[i], &q) && is_loopback(&p) && strcmp(p.port, q.port) == 0)
			return true;
	}
	return false;
}

static bool dialable(const struct discovery *d, const char *address)
{
	char safe[HINT_ADDRESS_LEN * 4];
	struct place p;

	return place_read(address, &p) && strcmp(text_safe(bytes_str(address), safe, sizeof safe), address) == 0 &&
	       !is_nobody(&p) && (!is_loopback(&p) || at_home(d)) && !hint_same_place(d, address);
}

void hint_set_addresses(struct discovery *d, struct hint *h, const char (*list)[HINT_ADDRESS_LEN], size_t n)
{
	struct hint_at fresh[HINT_ADDRESSES];
	size_t k = 0;

	for (size_t i = 0; i < n && k < HINT_ADDRESSES; i++) {
		const struct hint_at *was = hint_at_find(h, list[i]);
		bool twice = false;

		for (size_t j = 0; j < k; j++)
			twice |= strcmp(fresh[j].text, list[i]) == 0;
		if (twice || !dialable(d, list[i]))
			continue;
		fresh[k] = (struct hint_at){ 0 };
		if (was)
			fresh[k] = *was;
		else
			snprintf(fresh[k].text, sizeof fresh[k].text, "%s", list[i]);
		k++;
	}
	memcpy(h->at, fresh, k * sizeof *fresh);
	h->n = k;
}

/* --- what earlier lives knew -------------------------------------------------------------------------------- */
static size_t known_count(const struct discovery *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->hints_n; i++)
		n += d->hints[i]->source != HINT_MDNS;
	return n;
}

static void known_hint(struct discovery *d, const struct pin *pin, enum hint_source source, const char *name,
		       const char (*list)[HINT_ADDRESS_LEN], size_t n)
{
	struct hint fresh = { .source = source, .has_id = true, .id = pin->id, .seen_ms = env_now(d->node->env) };
	struct hint *h = hint_find(d, source, pin->id.hex);

	snprintf(fresh.instance, sizeof fresh.instance, "%s", pin->id.hex);
	if (!h && known_count(d) < HINTS_KNOWN_MAX) {
		fresh.not_before_ms = fresh.seen_ms + hint_courtesy_ms(d, &fresh);
		bucket_init(&fresh.passed, PASSED_PER_S, PASSED_BURST, fresh.seen_ms);
		h = hint_add(d, &fresh);
	}
	if (!h)
		return;
	snprintf(h->name, sizeof h->name, "%s", name);
	h->seen_ms = fresh.seen_ms;
	hint_set_addresses(d, h, list, n);
}

void hints_of_pin(struct discovery *d, const struct pin *pin)
{
	char list[HINT_ADDRESSES][HINT_ADDRESS_LEN], name[NAME_MAX_CHARS + 1];
	struct im2_record rec;
	struct bytes raw;
	size_t n = 0;

	/* Those that somebody configured are dialled by dial.c. */
	for (size_t i = pin->address_count; i-- > 0 && n < HINT_ADDRESSES;)
		if (!dial_is_static(d->node, pin->addresses[i].text) && strlen(pin->addresses[i].text) < HINT_ADDRESS_LEN)
			memcpy(list[n++], pin->addresses[i].text, strlen(pin->addresses[i].text) + 1);
	if (n)
		known_hint(d, pin, HINT_KNOWN, pin->name, list, n);
	raw = records_get(d->node, pin->ed, IM2_REC_CARD_T);
	if (raw.n && im2_record_parse(raw, &rec) == IM2_FINE && (n = hint_card_read(&rec, list, name)) > 0)
		known_hint(d, pin, HINT_CARD, name, list, n);
}

static bool of_pin(void *ctx, const struct pin *pin)
{
	if (pin->state == PIN_TRUSTED)
		hints_of_pin(ctx, pin);
	return true;
}

void hints_known(struct discovery *d)
{
	uint64_t now = env_now(d->node->env);

	if (!d->known_due && now - d->known_ms < KNOWN_AGAIN_MS)
		return;
	d->known_due = false;
	d->known_ms = now;
	for (size_t i = d->hints_n; i-- > 0;)
		if (d->hints[i]->source != HINT_MDNS && !hint_trusted(d, &d->hints[i]->id))
			hint_drop(d, d->hints[i]);
	pins_each(d->node->p.pins, of_pin, d);
}
