/* feed.*, attention.*, stats.history, queue.list, mesh.graph: what the dashboard shows, besides conversations */
#include "daemon/attention.h"
#include "daemon/commands_internal.h"
#include "daemon/feed.h"
#include "daemon/mesh.h"
#include "daemon/rows.h"
#include "daemon/stats.h"

/* Begins a result that is written and not built. */
static void begin(struct buf *b, const char *schema)
{
	buf_init(b, RESULT_MAX);
	buf_printf(b, "{\"schema\":\"%s\"", schema);
}

enum err result_written(struct call *c, struct buf *b)
{
	struct fault f = { 0 };

	buf_add_u8(b, '}');
	if (b->err != ERR_OK)
		fault_set(&f, b->err, EXIT_RETRY, b->err == ERR_LIMIT ? "the answer does not fit one line; ask for fewer with 'limit'" :
									"the daemon has no memory for this");
	c->later = true; /* the request is gone with its answer */
	c->request->reply(c->request, buf_bytes(b), b->err == ERR_OK ? NULL : &f);
	buf_fini(b);
	return ERR_OK;
}

static enum err page_failed(struct call *c, struct buf *b, enum err e)
{
	buf_fini(b);
	if (e == ERR_NOTFOUND)
		return bad_param(c, "section", "status, attention, peers, conversations, queue, mesh, stats or events");
	if (e == ERR_MALFORMED)
		return bad_param(c, "after", "the 'next' of the page before");
	return store_refused(c, e);
}

enum err command_feed_snapshot(struct call *c)
{
	struct buf b;
	enum err e;

	begin(&b, "ironmesh.feed.snapshot/1");
	e = feed_page(c->cx->feed, arg_text(c, "section"), arg_text(c, "after"), (size_t)arg_int(c, "limit", 500), &b);
	return e == ERR_OK || b.err != ERR_OK ? result_written(c, &b) : page_failed(c, &b, e);
}

enum err command_feed_subscribe(struct call *c)
{
	struct feed_subscriber *s = c->request->feed;
	const char *boot = arg_text(c, "boot");
	bool gap;

	if (!s)
		return fault_set(c->f, ERR_UNSUPPORTED, EXIT_GENERIC, "this connection carries no changes");
	if (arg_int(c, "since", -1) >= 0 && !boot)
		return fault_set(c->f, ERR_USAGE, EXIT_USAGE, "feed.subscribe needs 'boot' with 'since'");
	feed_subscribe(c->cx->feed, s, boot, (uint64_t)arg_int(c, "since", 0), &gap);
	return result_is(c, json_pack("{s:s, s:s, s:I, s:b}", "schema", "ironmesh.feed.subscribed/1", "boot",
				      feed_boot(c->cx->feed), "seq", (json_int_t)feed_seq(c->cx->feed), "gap", gap));
}

enum err command_feed_unsubscribe(struct call *c)
{
	if (c->request->feed)
		feed_unsubscribe(c->request->feed);
	return result_is(c, json_pack("{s:s, s:b}", "schema", "ironmesh.feed.subscribed/1", "subscribed", 0));
}

struct list {
	struct buf *b;
	size_t n;
};

static void add_item(void *ctx, const char *key, struct bytes json)
{
	struct list *l = ctx;

	if (l->n++)
		buf_add_u8(l->b, ',');
	buf_add(l->b, json);
}

enum err command_attention_list(struct call *c)
{
	struct buf b;
	struct list l = { .b = &b };
	size_t all;

	begin(&b, "ironmesh.attention/1");
	buf_add_str(&b, ",\"items\":[");
	all = attention_each(c->cx, add_item, &l);
	row_uint(&b, "],\"omitted\":", all - l.n);
	return result_written(c, &b);
}

enum err command_attention_dismiss(struct call *c)
{
	attention_dismiss(c->cx->attention, arg_text(c, "key"), (uint64_t)arg_int(c, "count", INT64_MAX));
	return result_is(c, json_pack("{s:s, s:s}", "schema", "ironmesh.attention.dismissed/1", "key", arg_text(c, "key")));
}

enum err command_stats_history(struct call *c)
{
	const char *range = arg_text(c, "range");
	bool day = range && strcmp(range, "day") == 0;
	struct buf b;

	if (range && !day && strcmp(range, "hour") != 0)
		return bad_param(c, "range", "hour or day");
	begin(&b, "ironmesh.stats/1");
	row_text(&b, ",\"range\":", day ? "day" : "hour");
	row_uint(&b, ",\"span_ms\":", day ? STATS_COARSE_MS : STATS_FINE_MS);
	row_uint(&b, ",\"since_ms\":", stats_since_ms(c->cx->stats));
	buf_add_str(&b, ",\"samples\":[");
	stats_add_history(c->cx->stats, day, (uint64_t)arg_int(c, "after", 0), &b);
	buf_add_u8(&b, ']');
	return result_written(c, &b);
}

struct graph {
	struct buf nodes, edges;
};

static void add_part(void *ctx, const char *key, struct bytes json)
{
	struct graph *g = ctx;
	struct buf *b = key[0] == 'n' ? &g->nodes : &g->edges;

	if (b->n)
		buf_add_u8(b, ',');
	buf_add(b, json);
}

enum err command_mesh_graph(struct call *c)
{
	struct graph g;
	size_t left_out;
	struct buf b;

	buf_init(&g.nodes, RESULT_MAX);
	buf_init(&g.edges, RESULT_MAX);
	left_out = mesh_each(c->cx, add_part, &g);
	begin(&b, "ironmesh.mesh/1");
	buf_add_str(&b, ",\"nodes\":[");
	buf_add(&b, buf_bytes(&g.nodes));
	buf_add_str(&b, "],\"edges\":[");
	buf_add(&b, buf_bytes(&g.edges));
	row_uint(&b, "],\"left_out\":", left_out);
	buf_fini(&g.nodes);
	buf_fini(&g.edges);
	return result_written(c, &b);
}

/* The same rows as the section, beside the totals. */
enum err command_queue_list(struct call *c)
{
	struct store_stats st;
	uint64_t oldest;
	struct buf b;
	enum err e = outbox_oldest(c->cx->store, &oldest);

	if (e != ERR_OK)
		return store_refused(c, e);
	store_stats(c->cx->store, &st);
	begin(&b, "ironmesh.queue/1");
	row_uint(&b, ",\"depth\":", st.outbox_waiting);
	row_uint(&b, ",\"bytes\":", st.outbox_bytes);
	row_uint(&b, ",\"oldest_ms\":", oldest);
	e = feed_list(c->cx->feed, "queue", "queue", arg_text(c, "after"), (size_t)arg_int(c, "limit", 500), &b);
	return e == ERR_OK || b.err != ERR_OK ? result_written(c, &b) : page_failed(c, &b, e);
}
