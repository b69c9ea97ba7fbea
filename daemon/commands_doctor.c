/* doctor.peer: what a handshake with an address would come to. */
#include "daemon/commands_internal.h"
#include "daemon/probe.h"

#include <limits.h>
#include <stdlib.h>

#include "base/file.h"
#include "transports/ws/ws.h"

struct looking {
	const struct command_ctx *cx;
	struct request *request;
	char address[ADDRESS_MAX + 1];
};

static const char *end_word(enum probe_end e)
{
	static const char *const words[] = { [PROBE_KNOWN] = "known", [PROBE_MESH] = "mesh", [PROBE_OLD] = "old-wire",
					     [PROBE_REFUSED] = "refused", [PROBE_NO_LINK] = "no-link" };

	return words[e];
}

static json_t *steps_json(const struct probe_report *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->n; i++)
		(void)json_array_append_new(list, json_pack("{s:s, s:I}", "name", r->steps[i].name, "took_ms",
							    (json_int_t)r->steps[i].took_ms));
	return list;
}

/* Of the peer that was there when this address was dialled last. */
static const struct pin_address *pinned(const struct command_ctx *cx, const char *address)
{
	const struct pin *pin = pins_by_address(cx->pins, address);

	for (size_t i = 0; pin && i < pin->address_count; i++)
		if (strcmp(pin->addresses[i].text, address) == 0 && pin->addresses[i].has_tls_key)
			return &pin->addresses[i];
	return NULL;
}

/* What the daemon's own dials of this address came to. */
static json_t *own_dial(const struct command_ctx *cx, const char *address)
{
	struct target_view v[64];
	size_t n = node_targets(cx->node, v, 64);

	for (size_t i = 0; i < n; i++)
		if (strcmp(v[i].address, address) == 0)
			return json_pack("{s:b, s:o}", "online", v[i].online, "why", text_or_null(v[i].why));
	return json_null();
}

static json_t *report_json(const struct looking *l, const struct probe_report *r)
{
	const struct command_ctx *cx = l->cx;
	const struct pin *pin = r->has_id ? pins_get(cx->pins, &r->id) : NULL;
	const struct pin_address *at = pinned(cx, l->address);
	const struct pin *owner = pins_by_address(cx->pins, l->address);
	struct fault f = { 0 };
	char hex[65] = "", safe[200];
	bool allowed = policy_may_meet(cx->info.policy, cx->pins, r->has_id ? &r->id : NULL, &f) == ERR_OK;

	if (at)
		hex_encode(BYTES_ARR(at->tls_key), hex);
	return json_pack("{s:s, s:s, s:s, s:s, s:b, s:s, s:o, s:o, s:o, s:b, s:s, s:s, s:o, s:s, s:o, s:s, s:b}", "schema",
			 "ironmesh.doctor.handshake/1", "address", l->address, "end", end_word(r->end), "err", err_word(r->err),
			 "remote", r->remote, "word", text_safe(bytes_str(r->word), safe, sizeof safe), "peer",
			 r->has_id ? peer_ref(cx, &r->id) : json_null(), "state",
			 text_or_null(pin ? pin_state_word(pin->state) : ""), "was",
			 owner ? peer_ref(cx, &owner->id) : json_null(), "allowed", allowed, "allowed_why", f.what, "allowed_next",
			 f.next, "tls_key", text_or_null(hex), "im2",
			 im2_setting_word(cx->info.policy ? cx->info.policy->im2 : IM2_OFF), "steps", steps_json(r), "mesh",
			 cx->info.mesh ? cx->info.mesh : "", "tls_binding", cx->info.tls_binding);
}

static json_t *own_tls_key(const struct command_ctx *cx)
{
	char path[PATH_MAX], hex[65];
	uint8_t key[32];
	struct fault f;

	if (path_join(path, sizeof path, cx->home, "cert.pem") != ERR_OK || tls_key_of(path, key, &f) != ERR_OK)
		return json_null();
	hex_encode(BYTES_ARR(key), hex);
	return json_string(hex);
}

static void done(void *ctx, const struct probe_report *r)
{
	struct looking *l = ctx;
	json_t *o = report_json(l, r);

	if (o) {
		(void)json_object_set_new(o, "dial", own_dial(l->cx, l->address));
		(void)json_object_set_new(o, "own_tls_key", own_tls_key(l->cx));
	}
	request_answer(l->request, o);
	free(l);
}

static void cancel(struct request *r)
{
	struct looking *l = r->state;

	node_probe_cancel(l->cx->node, l);
	free(l);
}

enum err command_doctor_peer(struct call *c)
{
	struct looking *l = calloc(1, sizeof *l);
	enum err e;

	if (!l)
		return no_memory(c);
	l->cx = c->cx;
	l->request = c->request;
	snprintf(l->address, sizeof l->address, "%s", arg_text(c, "address"));
	c->request->state = l;
	c->request->cancel = cancel;
	c->later = true;
	e = node_probe(c->cx->node, l->address, (uint64_t)arg_int(c, "timeout_ms", 15000), done, l, c->f);
	if (e == ERR_OK)
		return ERR_OK;
	c->later = false;
	c->request->cancel = NULL;
	free(l);
	return e;
}
