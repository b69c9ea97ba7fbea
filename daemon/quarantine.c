/*
 * quarantine.c -- who is set aside for a day (im2.md 13.4): pending until then, or until the operator decides. It stands in
 * the space "quarantine", so that a restart neither ends nor prolongs it.
 */
#include "daemon/records_internal.h"

#include "base/text.h"
#include "store/kv.h"
#include "trust/pins_caps.h"

static void quarantine_end(struct records *r, size_t i)
{
	records_del(r, SPACE_QUARANTINE, BYTES_ARR(r->quarantines[i].ed));
	r->quarantines[i] = r->quarantines[--r->quarantines_n];
}

void quarantine_drop(struct records *r, const struct node_id *id)
{
	for (size_t i = r->quarantines_n; i-- > 0;)
		if (node_id_eq(&r->quarantines[i].id, id))
			quarantine_end(r, i);
}

static void quarantine_add(struct records *r, const uint8_t ed[static ED_BYTES], uint64_t until_ms)
{
	struct quarantine *q = NULL;

	for (size_t i = 0; i < r->quarantines_n; i++)
		if (memcmp(r->quarantines[i].ed, ed, ED_BYTES) == 0)
			q = &r->quarantines[i];
	if (!q && r->quarantines_n == QUARANTINES_MAX)
		return; /* it stays pending until the operator decides */
	if (!q)
		q = &r->quarantines[r->quarantines_n++];
	memcpy(q->ed, ed, ED_BYTES);
	node_id_of(ed, &q->id);
	q->until_ms = until_ms;
}

static bool load_quarantine(void *ctx, struct bytes key, struct bytes value)
{
	struct rd r = rd_init(value.p, value.n);
	uint64_t until = rd_u64(&r);

	if (key.n == ED_BYTES && rd_end(&r) == ERR_OK)
		quarantine_add(ctx, key.p, until);
	return true;
}

enum err quarantines_load(struct records *r)
{
	return store_kv_each(r->node->p.store, SPACE_QUARANTINE, load_quarantine, r);
}

/* Its messages are held for a day. Who was not trusted is no worse off. */
static void set_aside(struct records *r, const struct pin *pin, const struct node_id *by)
{
	struct node *n = r->node;
	uint64_t until = env_wall(n->env) + QUARANTINE_MS;
	struct node_id id = pin->id;
	struct fault f = { 0 };
	uint8_t value[8], ed[ED_BYTES];
	struct wr w = wr_init(value, sizeof value);

	memcpy(ed, pin->ed, sizeof ed);
	wr_u64(&w, until);
	quarantine_add(r, ed, until);
	records_put(r, SPACE_QUARANTINE, BYTES_ARR(ed), BYTES_ARR(value));
	log_warn("peer-quarantined peer=%s name=%s by=%s for_s=%u", id.hex, peer_name(n, &id), by->hex, QUARANTINE_MS / 1000);
	audit_note(n->p.audit, "PEER_QUARANTINED", (struct bytes){ 0 }, "peer_id", id.hex, "by", by->hex, NULL);
	if (node_peer_pending(n, &id, &f) != ERR_OK)
		log_error("peer-not-quarantined peer=%s what=\"%s\"", id.hex, f.what);
}

void records_quarantine(struct node *n, const struct node_id *id, const struct node_id *by)
{
	struct records *r = n->records;
	const struct pin *pin = pins_get(n->p.pins, id);
	bool acting = r && r->acting;

	if (!r || !pin || pin->state != PIN_TRUSTED)
		return;
	r->acting = true;
	set_aside(r, pin, by);
	r->acting = acting;
	records_wake(r, env_now(n->env));
}

static void release(struct records *r, size_t i)
{
	struct node *n = r->node;
	const struct pin *pin = records_pin(r, r->quarantines[i].ed);
	struct node_id id = r->quarantines[i].id;
	struct caps_view caps = { 0 };
	struct fault f = { 0 };

	quarantine_end(r, i);
	if (!pin || pin->state != PIN_PENDING)
		return;
	/* Approval takes it as it is now, and that is for the operator to say (trust cap-diff). */
	if (pins_caps_diff(n->p.pins, &id, &caps, NULL, NULL) == ERR_OK && caps.has_pending) {
		log_warn("quarantine-ends-pending peer=%s name=%s why=\"a change of its capabilities waits\" "
			 "next=\"ironmesh peers approve %s\"", id.hex, peer_name(n, &id), id.hex);
		node_simple_event(n, "peer.pending", &id, "its quarantine is over; a change of its capabilities waits");
		return;
	}
	log_info("quarantine-ends peer=%s name=%s", id.hex, peer_name(n, &id));
	audit_note(n->p.audit, "PEER_QUARANTINE_ENDED", (struct bytes){ 0 }, "peer_id", id.hex, NULL);
	if (node_peer_approve(n, &id, &f) != ERR_OK)
		log_warn("peer-not-approved peer=%s what=\"%s\"", id.hex, f.what);
}

uint64_t quarantines_act(struct records *r, uint64_t wall)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = r->quarantines_n; i-- > 0;) {
		if (i < r->quarantines_n && r->quarantines[i].until_ms <= wall)
			release(r, i);
		else if (i < r->quarantines_n && r->quarantines[i].until_ms < next)
			next = r->quarantines[i].until_ms;
	}
	return next;
}
