#include "protocol/v09/route.h"

#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "protocol/v09/control.h"

#define UNREACHABLE_MAX 4096

static void add_entry(struct buf *b, const struct node_id *to, unsigned cost)
{
	buf_printf(b, "{\"destination\":\"%s\",\"cost\":%u}", to->hex, cost);
}

void route_announce_write(struct buf *b, const struct node_id *self, const struct route09_entry *e, size_t n,
			  uint64_t sequence)
{
	buf_printf(b, "{\"origin\":\"%s\",\"routes\":[", self->hex);
	add_entry(b, self, 0);
	for (size_t i = 0; i < n; i++) {
		buf_add_str(b, ",");
		add_entry(b, &e[i].to, e[i].cost);
	}
	buf_printf(b, "],\"sequence_number\":%llu}", (unsigned long long)sequence);
}

static uint8_t bounded(double c)
{
	return c >= 0 && c < ROUTE09_INFINITY ? (uint8_t)c : ROUTE09_INFINITY;
}

/* As the old software converts it: a missing cost is infinite, digits in a string count. */
static bool cost_of(const json_t *v, uint8_t *out)
{
	char *end;
	long n;

	if (!v) {
		*out = ROUTE09_INFINITY;
	} else if (json_is_number(v)) {
		*out = bounded(trunc(json_number_value(v)));
	} else if (json_is_string(v) && json_string_length(v) > 0 && json_string_length(v) < 8) {
		n = strtol(json_string_value(v), &end, 10);
		if (*end)
			return false;
		*out = bounded((double)n);
	} else {
		return false;
	}
	return true;
}

enum err route_announce_read(struct bytes payload, bool (*fn)(void *ctx, const struct route09_entry *e), void *ctx)
{
	struct route09_entry one;
	struct bytes to;
	const json_t *list;
	json_t *root, *v;
	size_t i;
	enum err e = json_load_strict(payload, ROUTE09_PAYLOAD_MAX, &root);

	if (e != ERR_OK)
		return e;
	list = json_object_get(root, "routes");
	if (!json_is_object(root) || !json_is_array(list))
		e = ERR_MALFORMED;
	json_array_foreach(list, i, v) {
		if (!json_is_object(v) || json_get_str(v, "destination", &to) != ERR_OK || node_id_parse(to, &one.to) != ERR_OK ||
		    !cost_of(json_object_get(v, "cost"), &one.cost))
			continue;
		if (!fn(ctx, &one))
			break;
	}
	json_decref(root);
	return e;
}

void route_unreachable_write(struct buf *b, const struct node_id *to, struct bytes msg_id)
{
	buf_printf(b, "{\"destination\":\"%s\",\"original_msg_id\":", to->hex);
	json_add_string(b, msg_id);
	buf_add_str(b, ",\"reason\":\"no_route\"}");
}

enum err route_unreachable_read(struct bytes payload, struct route_unreachable *out)
{
	struct route_unreachable u;
	struct bytes to, id;
	json_t *root;
	enum err e = json_load_strict(payload, UNREACHABLE_MAX, &root);

	if (e != ERR_OK)
		return e;
	e = ERR_MALFORMED;
	if (json_is_object(root) && json_get_str(root, "destination", &to) == ERR_OK && node_id_parse(to, &u.to) == ERR_OK &&
	    json_get_str(root, "original_msg_id", &id) == ERR_OK && msg_id_valid(id)) {
		memcpy(u.id, id.p, id.n);
		u.id[id.n] = 0;
		*out = u;
		e = ERR_OK;
	}
	json_decref(root);
	return e;
}
