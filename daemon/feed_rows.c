/* feed_rows.c -- the sections of the feed: their rows for a batch, and their pages. */
#include <inttypes.h>
#include <stdlib.h>

#include "daemon/attention.h"
#include "daemon/commands_internal.h"
#include "daemon/feed_internal.h"
#include "daemon/lan.h"
#include "daemon/mesh.h"

#define TARGETS_SHOWN 256
#define PAGE_BYTES (1400u << 10)
#define ROW_BYTES 16384
#define HEALTH_MS 1000 /* what a page says of health is not older */

/* What rows of peers are made with: looked up once for many. */
struct around {
	struct likeness *likeness;
	struct target_view *targets;
	size_t targets_n;
};

static void around_init(struct around *a, const struct command_ctx *cx)
{
	*a = (struct around){ .targets = calloc(TARGETS_SHOWN, sizeof *a->targets) };
	if (a->targets)
		a->targets_n = node_targets(cx->node, a->targets, TARGETS_SHOWN);
	if (likeness_new(cx->pins, &a->likeness) != ERR_OK)
		a->likeness = NULL;
}

static void around_fini(struct around *a)
{
	likeness_free(a->likeness);
	free(a->targets);
}

/* One that no peer is known behind. */
static bool never_reached(const struct command_ctx *cx, const struct target_view *t)
{
	return !(t->has_id && pins_get(cx->pins, &t->id)) && !pins_by_address(cx->pins, t->address);
}

/* --- batches ------------------------------------------------------------------------------------------------ */
static void write_peer(struct feed *f, const struct around *a, const struct node_id *id, struct buf *row)
{
	const struct pin *pin = pins_get(f->cx->pins, id);
	const bool *mark = map_peek(f->marked, bytes_of(id->hex, NODE_ID_LEN));
	bool happened = mark && *mark;
	struct thread_head h;

	buf_reset(row);
	if (pin) {
		row_peer(row, f->cx, pin, a->likeness, a->targets, a->targets_n);
		feed_put(f, FEED_PEERS, id->hex, buf_bytes(row), happened);
	} else {
		feed_del(f, FEED_PEERS, id->hex);
	}
	buf_reset(row);
	if (thread_head(f->cx->store, id, &h) == ERR_OK) {
		row_conversation(row, f->cx, &h, false);
		feed_put(f, FEED_CONVERSATIONS, id->hex, buf_bytes(row), happened);
	} else {
		feed_del(f, FEED_CONVERSATIONS, id->hex);
	}
	buf_reset(row);
	if (row_queue(row, f->cx, id, a->targets, a->targets_n))
		feed_put(f, FEED_QUEUE, id->hex, buf_bytes(row), happened);
	else
		feed_del(f, FEED_QUEUE, id->hex);
}

size_t feed_write_peers(struct feed *f, const struct node_id *ids, size_t n)
{
	struct around a;
	struct buf row;
	size_t i = 0;

	if (!n)
		return 0;
	around_init(&a, f->cx);
	buf_init(&row, ROW_BYTES);
	for (; i < n && f->made < FEED_BATCH_BYTES; i++)
		write_peer(f, &a, &ids[i], &row);
	buf_fini(&row);
	around_fini(&a);
	return i;
}

struct messages {
	struct feed *f;
	struct buf *out, row;
	bool any;
};

/* Key: direction, peer (16), then the id of a sent one or the number of a received one. */
static bool write_message(void *ctx, struct bytes key, void *value)
{
	struct messages *m = ctx;
	struct thread_row r = { .is_out = key.p[0] == 'o' };
	struct node_id peer;
	enum err e;

	hex_encode(bytes_of(key.p + 1, 16), peer.hex);
	if (map_peek(m->f->reload, bytes_of(peer.hex, NODE_ID_LEN)) || m->f->reload_all)
		return false;
	if (r.is_out) {
		e = node_outbox_get(m->f->cx->node, bytes_of(key.p + 17, key.n - 17), &r.out);
	} else {
		struct rd rd = rd_init(key.p + 17, key.n - 17);

		e = inbox_get(m->f->cx->store, (int64_t)rd_u64(&rd), &r.in);
	}
	if (e != ERR_OK)
		return false;
	buf_reset(&m->row);
	row_message(&m->row, m->f->cx, &r, 0);
	buf_add_str(m->out, m->any ? "," : ",\"messages\":{\"put\":[");
	buf_add(m->out, buf_bytes(&m->row));
	m->any = true;
	return false;
}

static bool write_reload(void *ctx, struct bytes key, void *value)
{
	struct messages *m = ctx;

	buf_add_str(m->out, m->any ? ",\"" : "\"");
	buf_add(m->out, key);
	buf_add_u8(m->out, '"');
	m->any = true;
	return false;
}

void feed_write_messages(struct feed *f, struct buf *out)
{
	struct messages m = { .f = f, .out = out };

	if (!map_count(f->messages) && !map_count(f->reload) && !f->reload_all)
		return;
	buf_init(&m.row, ROW_BYTES);
	map_each(f->messages, write_message, &m);
	buf_fini(&m.row);
	if (!m.any && !map_count(f->reload) && !f->reload_all)
		return;
	buf_add_str(out, m.any ? "],\"reload\":[" : ",\"messages\":{\"put\":[],\"reload\":[");
	m.any = false;
	if (f->reload_all)
		buf_add_str(out, "\"*\"");
	else
		map_each(f->reload, write_reload, &m);
	map_clear(f->reload);
	f->reload_all = false;
	buf_add_str(out, "]}");
}

/* Of a table that was written as a whole, what was not in it. */
struct leftover {
	struct feed *f;
	char keys[64][MAP_KEY_MAX + 1];
	size_t n;
	uint32_t round;
};

static bool find_leftover(void *ctx, struct bytes key, void *value)
{
	struct leftover *l = ctx;

	if (((struct feed_told *)value)->round != l->round && l->n < 64)
		snprintf(l->keys[l->n++], sizeof l->keys[0], "%.*s", (int)key.n, key.p);
	return true;
}

static void del_leftover(struct feed *f, enum feed_table t)
{
	struct leftover l = { .f = f, .round = f->round };

	do {
		l.n = 0;
		map_each(f->told[t], find_leftover, &l);
		for (size_t i = 0; i < l.n; i++)
			feed_del(f, t, l.keys[i]);
	} while (l.n == 64);
}

struct whole {
	struct feed *f;
	enum feed_table table;
};

static void put_one(void *ctx, const char *key, struct bytes row)
{
	struct whole *w = ctx;

	feed_put(w->f, w->table, key, row, true);
}

void feed_write_attention(struct feed *f)
{
	struct whole w = { f, FEED_ATTENTION };
	struct attention_health h;

	f->round++;
	f->attention_count = attention_each(f->cx, put_one, &w);
	del_leftover(f, FEED_ATTENTION);
	attention_health(f->cx, &h);
	f->errors = h.errors;
	f->warnings = h.warnings;
	memcpy(f->reasons, h.reasons, sizeof f->reasons);
}

static void add_more(struct buf *b, size_t left_out)
{
	row_uint(b, "{\"key\":\"more\",\"kind\":\"more\",\"nodes_left_out\":", left_out);
	buf_add_u8(b, '}');
}

void feed_write_mesh(struct feed *f)
{
	struct whole w = { f, FEED_MESH };
	size_t left_out;
	struct buf b;

	f->round++;
	left_out = mesh_each(f->cx, put_one, &w);
	if (left_out) {
		buf_init(&b, 256);
		add_more(&b, left_out);
		feed_put(f, FEED_MESH, "more", buf_bytes(&b), true);
		buf_fini(&b);
	}
	del_leftover(f, FEED_MESH);
}

/* --- status ---------------------------------------------------------------------------------------------------- */
static void add_json(struct buf *b, const char *name, json_t *v)
{
	buf_add_str(b, name);
	if (!v || json_write(b, v, JSON_INSERTION) != ERR_OK)
		b->err = b->err == ERR_OK ? ERR_NOMEM : b->err;
	json_decref(v);
}

static void add_health(struct buf *b, const struct feed *f)
{
	bool first = true;

	buf_printf(b, ",\"health\":{\"word\":\"%s\",\"reasons\":[", f->errors ? "error" : f->warnings ? "warning" : "ok");
	for (size_t i = 0; i < sizeof f->reasons / sizeof f->reasons[0]; i++) {
		if (!f->reasons[i][0])
			continue;
		row_text(b, first ? "" : ",", f->reasons[i]);
		first = false;
	}
	buf_add_str(b, "]}");
}

static void add_counts(struct buf *b, const struct command_ctx *cx)
{
	uint64_t out[OUTBOX_STATES] = { 0 }, in[INBOX_STATES] = { 0 };
	struct store_stats st;

	if (outbox_count(cx->store, NULL, out) != ERR_OK || inbox_count(cx->store, NULL, in) != ERR_OK)
		log_warn("counts-failed");
	store_stats(cx->store, &st);
	row_uint(b, ",\"peers\":{\"online\":", node_online(cx->node));
	row_uint(b, ",\"total\":", pins_count(cx->pins));
	for (int s = 0; s < PIN_STATES; s++)
		buf_printf(b, ",\"%s\":%zu", pin_state_word((enum pin_state)s), pins_count_state(cx->pins, (enum pin_state)s));
	buf_add_str(b, "},\"outbox\":{");
	for (int i = 0; i < OUTBOX_STATES; i++)
		buf_printf(b, "%s\"%s\":%" PRIu64, i ? "," : "", outbox_state_word((enum outbox_state)i), out[i]);
	buf_add_str(b, "},\"inbox\":{");
	for (int i = 0; i <= INBOX_HELD; i++)
		buf_printf(b, "%s\"%s\":%" PRIu64, i ? "," : "", inbox_state_word((enum inbox_state)i), in[i]);
	row_uint(b, "},\"queue\":{\"depth\":", out[OUTBOX_QUEUED]);
	row_uint(b, ",\"bytes\":", st.outbox_bytes);
	row_uint(b, "},\"store\":{\"file_bytes\":", st.file_bytes);
	row_uint(b, ",\"wal_bytes\":", st.wal_bytes);
	buf_add_u8(b, '}');
}

static void add_transports(struct buf *b, const struct command_ctx *cx)
{
	row_text(b, ",\"transports\":[{\"kind\":\"ws\",\"state\":\"up\",\"detail\":",
		 cx->info.listen[0][0] ? cx->info.listen[0] : "dials only");
	buf_add_str(b, "},{\"kind\":\"mdns\"");
	json_t *lan = lan_status(cx->info.lan);
	row_text(b, ",\"state\":", json_str(lan, "mdns"));
	row_text(b, ",\"detail\":", json_str(lan, "why"));
	json_decref(lan);
	buf_add_str(b, "}]");
}

static void status_row(struct buf *b, const struct feed *f)
{
	const struct command_ctx *cx = f->cx;
	const struct node_id *id = keyring_id(cx->keyring);
	uint64_t uptime = env_now(f->env) - cx->info.started_ms, free_bytes;
	char fp[FINGERPRINT_LEN];
	const char *why = NULL;
	bool read_only = pins_read_only(cx->pins, &why);

	buf_add_str(b, "{\"key\":\"status\"");
	row_text(b, ",\"name\":", cx->name);
	row_text(b, ",\"id\":", id->hex);
	row_text(b, ",\"fingerprint\":", fingerprint_text(id, fp));
	row_text(b, ",\"version\":", IRONMESH_VERSION);
	/* By whole seconds: the two clocks are not read at one time. */
	row_uint(b, ",\"started_ms\":", (env_wall(f->env) - uptime) / 1000 * 1000);
	buf_add_str(b, ",\"listen\":[");
	if (cx->info.listen[0][0])
		row_text(b, "", cx->info.listen[0]);
	buf_add_u8(b, ']');
	add_health(b, f);
	add_counts(b, cx);
	/* By the MiB: it changes with every log line of the machine. */
	if (attention_disk_free(cx, &free_bytes))
		row_uint(b, ",\"disk_free_bytes\":", free_bytes >> 20 << 20);
	else
		buf_add_str(b, ",\"disk_free_bytes\":null");
	buf_add_str(b, read_only ? ",\"trust_store\":{\"read_only\":true" : ",\"trust_store\":{\"read_only\":false");
	row_text(b, ",\"why\":", read_only ? why : NULL);
	buf_add_u8(b, '}');
	add_transports(b, cx);
	add_json(b, ",\"routing\":", routing_json(cx));
	row_uint(b, ",\"attention\":", f->attention_count);
	buf_add_u8(b, '}');
}

void feed_write_status(struct feed *f)
{
	struct buf row;

	buf_init(&row, ROW_BYTES);
	status_row(&row, f);
	if (row.err == ERR_OK)
		feed_put(f, FEED_STATUS, "status", buf_bytes(&row), true);
	buf_fini(&row);
}

/* --- the slow round ------------------------------------------------------------------------------------------------ */
struct sweeping {
	struct feed *f;
	struct node_id *out;
	size_t n, max;
};

static bool is_behind(const struct pin *pin, uint64_t first_ms, const char *id)
{
	return pin->first_seen_ms > first_ms || (pin->first_seen_ms == first_ms && strcmp(pin->id.hex, id) > 0);
}

static bool sweep_one(void *ctx, const struct pin *pin)
{
	struct sweeping *w = ctx;

	if (!is_behind(pin, w->f->swept_first_ms, w->f->swept.hex))
		return true;
	w->out[w->n++] = pin->id;
	w->f->swept_first_ms = pin->first_seen_ms;
	w->f->swept = pin->id;
	return w->n < w->max;
}

size_t feed_sweep(struct feed *f, struct node_id *out, size_t max)
{
	struct sweeping w = { .f = f, .out = out, .max = max };
	struct around a;
	struct buf row;

	pins_each(f->cx->pins, sweep_one, &w);
	if (w.n < max) {
		f->swept_first_ms = 0;
		f->swept.hex[0] = 0;
	}
	/* Static peers that were never reached have no id, and no event. */
	around_init(&a, f->cx);
	buf_init(&row, ROW_BYTES);
	for (size_t i = 0; i < a.targets_n; i++) {
		char key[TARGET_KEY];

		row_target_key(&a.targets[i], key);
		buf_reset(&row);
		if (never_reached(f->cx, &a.targets[i])) {
			row_target(&row, f->cx, &a.targets[i]);
			feed_put(f, FEED_PEERS, key, buf_bytes(&row), true);
		} else {
			feed_del(f, FEED_PEERS, key);
		}
	}
	buf_fini(&row);
	around_fini(&a);
	return w.n;
}

/* --- pages --------------------------------------------------------------------------------------------------------- */
struct page {
	struct feed *f;
	struct buf *out;
	size_t n, limit, from; /* from: where the rows begin */
	bool full;             /* there are more */
	struct around around;
	struct buf row;
	uint64_t after_ms, last_ms;
	char after[NODE_ID_LEN + 1], last[NODE_ID_LEN + 1]; /* "": from the start */
	enum feed_table table;
};

/* False: it does not fit this page any more. */
static bool page_add(struct page *p, struct bytes row)
{
	if (p->n == p->limit || p->out->n - p->from + row.n > PAGE_BYTES) {
		p->full = true;
		return false;
	}
	if (p->n++)
		buf_add_u8(p->out, ',');
	buf_add(p->out, row);
	return true;
}

static bool page_row(struct page *p, const char *key)
{
	bool fits = page_add(p, buf_bytes(&p->row));

	if (fits)
		feed_shown(p->f, p->table, key, buf_bytes(&p->row));
	buf_reset(&p->row);
	return fits;
}

static bool page_peer(void *ctx, const struct pin *pin)
{
	struct page *p = ctx;

	if (p->after[0] && !is_behind(pin, p->after_ms, p->after))
		return true;
	row_peer(&p->row, p->f->cx, pin, p->around.likeness, p->around.targets, p->around.targets_n);
	if (!page_row(p, pin->id.hex))
		return false;
	p->last_ms = pin->first_seen_ms;
	snprintf(p->last, sizeof p->last, "%s", pin->id.hex);
	return true;
}

static void page_peers(struct page *p)
{
	for (size_t i = 0; !p->after[0] && i < p->around.targets_n; i++) {
		char key[TARGET_KEY];

		row_target_key(&p->around.targets[i], key);
		if (!never_reached(p->f->cx, &p->around.targets[i]))
			continue;
		row_target(&p->row, p->f->cx, &p->around.targets[i]);
		p->limit++; /* they are few, and all on the first page */
		(void)page_row(p, key);
	}
	pins_each(p->f->cx->pins, page_peer, p);
}

static enum err page_conversations(struct page *p)
{
	struct thread_head *heads = calloc(p->limit + 1, sizeof *heads);
	struct node_id before;
	size_t n = 0, total;
	enum err e = heads ? ERR_OK : ERR_NOMEM;

	snprintf(before.hex, sizeof before.hex, "%s", p->after);
	if (e == ERR_OK)
		e = thread_list(p->f->cx->store, p->after_ms, p->after[0] ? &before : NULL, heads, p->limit + 1, &n, &total);
	for (size_t i = 0; e == ERR_OK && i < n; i++) {
		row_conversation(&p->row, p->f->cx, &heads[i], false);
		if (!page_row(p, heads[i].peer.hex))
			break;
		p->last_ms = heads[i].last_ms;
		snprintf(p->last, sizeof p->last, "%s", heads[i].peer.hex);
	}
	free(heads);
	return e;
}

#define QUEUE_PEERS 65536

static enum err page_queue(struct page *p)
{
	struct node_id *ids = calloc(QUEUE_PEERS, sizeof *ids);
	size_t n = 0;
	enum err e = ids ? outbox_peers(p->f->cx->store, ids, QUEUE_PEERS, &n) : ERR_NOMEM;

	for (size_t i = 0; e == ERR_OK && i < n; i++) {
		if (strcmp(ids[i].hex, p->after) <= 0)
			continue;
		if (!row_queue(&p->row, p->f->cx, &ids[i], p->around.targets, p->around.targets_n))
			continue;
		if (!page_row(p, ids[i].hex))
			break;
		snprintf(p->last, sizeof p->last, "%s", ids[i].hex);
	}
	free(ids);
	return e;
}

static void page_one(void *ctx, const char *key, struct bytes row)
{
	struct page *p = ctx;

	buf_add(&p->row, row);
	(void)page_row(p, key);
}

static void page_mesh(struct page *p)
{
	size_t left_out = mesh_each(p->f->cx, page_one, p);

	if (!left_out)
		return;
	add_more(&p->row, left_out);
	(void)page_row(p, "more");
}

static void page_events(struct page *p)
{
	const struct feed *f = p->f;

	for (uint64_t i = f->lines_n > FEED_EVENTS ? f->lines_n - FEED_EVENTS : 0; i < f->lines_n; i++) {
		const struct feed_line *l = &f->lines[i % FEED_EVENTS];

		(void)page_add(p, bytes_of(l->text, l->len));
	}
}

static enum err page_section(struct page *p, const char *section)
{
	static const char *const names[FEED_TABLES] = { "status", "attention", "peers", "conversations", "queue", "mesh" };

	for (int t = 0; t < FEED_TABLES; t++)
		if (strcmp(section, names[t]) == 0)
			p->table = (enum feed_table)t;
	if (strcmp(section, "peers") == 0) {
		page_peers(p);
	} else if (strcmp(section, "conversations") == 0) {
		return page_conversations(p);
	} else if (strcmp(section, "queue") == 0) {
		return page_queue(p);
	} else if (strcmp(section, "status") == 0) {
		if (env_now(p->f->env) - p->f->attention_ms >= HEALTH_MS) {
			p->f->attention_ms = env_now(p->f->env);
			feed_write_attention(p->f);
		}
		status_row(&p->row, p->f);
		(void)page_row(p, "status");
	} else if (strcmp(section, "attention") == 0) {
		p->limit = ATTENTION_MAX;
		(void)attention_each(p->f->cx, page_one, p);
	} else if (strcmp(section, "mesh") == 0) {
		p->limit = MESH_NODES_MAX + MESH_EDGES_MAX + 1;
		page_mesh(p);
	} else if (strcmp(section, "stats") == 0) {
		stats_add_history(p->f->cx->stats, false, 0, p->out);
	} else if (strcmp(section, "events") == 0) {
		p->limit = FEED_EVENTS;
		page_events(p);
	} else {
		return ERR_NOTFOUND;
	}
	return ERR_OK;
}

/* "MS:ID" of the last row of the page before. */
static enum err read_after(struct page *p, const char *after)
{
	char *end;

	if (!after || !after[0])
		return ERR_OK;
	p->after_ms = strtoull(after, &end, 10);
	if (end == after || *end != ':' || !hex_valid(bytes_str(end + 1), NODE_ID_LEN))
		return ERR_MALFORMED;
	memcpy(p->after, end + 1, NODE_ID_LEN);
	return ERR_OK;
}

enum err feed_list(struct feed *f, const char *section, const char *name, const char *after, size_t limit, struct buf *out)
{
	struct page p = { .f = f, .out = out, .limit = limit < FEED_PAGE_MAX ? limit : FEED_PAGE_MAX };
	enum err e = read_after(&p, after);

	if (e != ERR_OK)
		return e;
	feed_wake(f);
	around_init(&p.around, f->cx);
	buf_init(&p.row, 65536);
	buf_printf(out, ",\"%s\":[", name);
	p.from = out->n;
	e = page_section(&p, section);
	if (p.full && p.last[0])
		buf_printf(out, "],\"next\":\"%" PRIu64 ":%s\"", p.last_ms, p.last);
	else
		buf_add_str(out, "],\"next\":null");
	buf_fini(&p.row);
	around_fini(&p.around);
	return e == ERR_OK ? out->err : e;
}

enum err feed_page(struct feed *f, const char *section, const char *after, size_t limit, struct buf *out)
{
	buf_printf(out, ",\"boot\":\"%s\",\"seq\":%" PRIu64 ",\"at_ms\":%" PRIu64, f->boot, f->seq, env_wall(f->env));
	row_text(out, ",\"section\":", section);
	return feed_list(f, section, "rows", after, limit, out);
}
