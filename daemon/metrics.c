#include "daemon/metrics.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "daemon/attention.h"
#include "daemon/backups.h"
#include "daemon/stats.h"
#include "daemon/walls.h"

struct source {
	const struct metrics *own;
	const struct command_ctx *cx;
	const struct web *web;
	struct om m;
};

/* --- where the values come from ------------------------------------------------------------------------------------ */
static void build_info(struct source *s)
{
	om_sample(&s->m, 1, "version", IRONMESH_VERSION, NULL);
}

static void start_time(struct source *s)
{
	om_sample(&s->m, (double)(env_wall(s->cx->env) - (env_now(s->cx->env) - s->cx->info.started_ms)) / 1000, NULL);
}

static void peers(struct source *s)
{
	for (int i = 0; i < PIN_STATES; i++)
		om_sample(&s->m, (double)pins_count_state(s->cx->pins, (enum pin_state)i), "state", pin_state_word((enum pin_state)i),
			  NULL);
}

static void peers_online(struct source *s)
{
	om_sample(&s->m, (double)node_online(s->cx->node), NULL);
}

static void alarms(struct source *s)
{
	const struct pin_alarm *a;

	om_sample(&s->m, (double)pins_alarms(s->cx->pins, &a), NULL);
}

static void messages(struct source *s)
{
	const struct node_counters *n = node_counters(s->cx->node);
	const struct {
		const char *dir, *state;
		uint64_t value;
	} rows[] = {
		{ "out", "submitted", n->messages_submitted }, { "out", "sent", n->messages_sent },
		{ "out", "resent", n->messages_resent },       { "out", "delivered", n->messages_delivered },
		{ "out", "expired", n->messages_expired },     { "in", "received", n->messages_received },
		{ "in", "repeated", n->messages_repeated },    { "in", "held", n->messages_held },
		{ "in", "refused", n->messages_refused },
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		om_sample(&s->m, (double)rows[i].value, "dir", rows[i].dir, "state", rows[i].state, NULL);
}

static void queue_depth(struct source *s)
{
	struct store_stats st;

	store_stats(s->cx->store, &st);
	om_sample(&s->m, (double)st.outbox_waiting, NULL);
}

static void queue_bytes(struct source *s)
{
	struct store_stats st;

	store_stats(s->cx->store, &st);
	om_sample(&s->m, (double)st.outbox_bytes, NULL);
}

static void queue_oldest(struct source *s)
{
	uint64_t created, now = env_wall(s->cx->env);

	if (outbox_oldest(s->cx->store, &created) == ERR_OK)
		om_sample(&s->m, created && now > created ? (double)(now - created) / 1000 : 0, NULL);
}

static void latency(struct source *s)
{
	double bounds[STATS_BUCKETS];
	struct stats_latency l;

	for (unsigned i = 0; i < STATS_BUCKETS; i++)
		bounds[i] = stats_bound_ms(i) / 1000.0;
	stats_latency(s->cx->stats, &l);
	om_histogram(&s->m, bounds, l.buckets, STATS_BUCKETS, l.sum_ms / 1000);
}

static void inbox_messages(struct source *s)
{
	uint64_t n[INBOX_STATES] = { 0 };

	if (inbox_count(s->cx->store, NULL, n) != ERR_OK)
		return;
	for (int i = 0; i <= INBOX_HELD; i++)
		om_sample(&s->m, (double)n[i], "state", inbox_state_word((enum inbox_state)i), NULL);
}

static void outbox_messages(struct source *s)
{
	uint64_t n[OUTBOX_STATES] = { 0 };

	if (outbox_count(s->cx->store, NULL, n) != ERR_OK)
		return;
	for (int i = 0; i < OUTBOX_STATES; i++)
		om_sample(&s->m, (double)n[i], "state", outbox_state_word((enum outbox_state)i), NULL);
}

static void handshakes(struct source *s)
{
	om_sample(&s->m, (double)node_counters(s->cx->node)->handshakes_ok, NULL);
}

static void handshake_failures(struct source *s)
{
	const struct node_counters *n = node_counters(s->cx->node);
	uint64_t known = n->handshake_auth_failures + n->handshake_timeouts;

	om_sample(&s->m, (double)n->handshake_auth_failures, "reason", "auth", NULL);
	om_sample(&s->m, (double)n->handshake_timeouts, "reason", "timeout", NULL);
	om_sample(&s->m, n->handshakes_failed > known ? (double)(n->handshakes_failed - known) : 0, "reason", "other", NULL);
}

static void bans(struct source *s)
{
	om_sample(&s->m, (double)node_banned(s->cx->node), NULL);
}

static void links(struct source *s)
{
	struct transport_stats t;

	node_transport_stats(s->cx->node, &t);
	om_sample(&s->m, (double)t.links, "transport", "ws", NULL);
}

static void link_bytes(struct source *s)
{
	struct transport_stats t;

	node_transport_stats(s->cx->node, &t);
	om_sample(&s->m, (double)t.bytes_in, "dir", "in", "transport", "ws", NULL);
	om_sample(&s->m, (double)t.bytes_out, "dir", "out", "transport", "ws", NULL);
}

static void link_units(struct source *s)
{
	struct transport_stats t;

	node_transport_stats(s->cx->node, &t);
	om_sample(&s->m, (double)t.units_in, "dir", "in", "transport", "ws", NULL);
	om_sample(&s->m, (double)t.units_out, "dir", "out", "transport", "ws", NULL);
}

static void link_ends(struct source *s)
{
	struct transport_stats t;

	node_transport_stats(s->cx->node, &t);
	for (int i = 0; i < LINK_END_COUNT; i++)
		om_sample(&s->m, (double)t.ends[i], "reason", link_end_word((enum link_end)i), "transport", "ws", NULL);
}

static void node_events(struct source *s)
{
	const struct node_counters *n = node_counters(s->cx->node);
	const struct im2_counters *im2 = node_im2_counters(s->cx->node);

#define X(member, name) om_sample(&s->m, (double)n->member, "counter", name, NULL);
	NODE_COUNTERS(X)
#undef X
#define X(member, name) om_sample(&s->m, im2 ? (double)im2->member : 0, "counter", name, NULL);
	IM2_COUNTERS(X)
#undef X
}

static void store_bytes(struct source *s)
{
	struct store_stats st;

	store_stats(s->cx->store, &st);
	om_sample(&s->m, (double)st.file_bytes, "file", "database", NULL);
	om_sample(&s->m, (double)st.wal_bytes, "file", "wal", NULL);
}

static void store_free(struct source *s)
{
	struct statvfs v;

	if (statvfs(s->cx->home, &v) == 0)
		om_sample(&s->m, (double)v.f_bavail * (double)v.f_frsize, NULL);
}

static void store_commits(struct source *s)
{
	struct store_stats st;

	store_stats(s->cx->store, &st);
	om_sample(&s->m, (double)st.commits, NULL);
}

static void store_failures(struct source *s)
{
	struct store_stats st;

	store_stats(s->cx->store, &st);
	om_sample(&s->m, (double)st.failures, NULL);
}

static void audit_count(struct source *s)
{
	om_sample(&s->m, (double)audit_entries(s->cx->audit), NULL);
}

static void walls(struct source *s)
{
	struct wall_state w[WALLS];

	walls_look(s->cx->info.walls, w);
	for (int i = 0; i < WALLS; i++)
		om_sample(&s->m, w[i].standing == WALL_UP, "wall", w[i].name, NULL);
}

static void attention(struct source *s)
{
	struct attention_health h;

	attention_health(s->cx, &h);
	om_sample(&s->m, (double)h.errors, "severity", "error", NULL);
	om_sample(&s->m, (double)h.warnings, "severity", "warning", NULL);
	om_sample(&s->m, (double)h.infos, "severity", "info", NULL);
}

static void backup_last(struct source *s)
{
	json_t *v = backups_status_json(s->cx->info.backups);

	om_sample(&s->m, (double)json_integer_value(json_object_get(v, "last_ok_ms")) / 1000, NULL);
	json_decref(v);
}

static void warnings(struct source *s)
{
	const struct app_info *info = &s->cx->info;
	unsigned n = 0;

	for (size_t i = 0; i < sizeof info->warnings / sizeof info->warnings[0]; i++)
		n += info->warnings[i][0] != 0;
	om_sample(&s->m, n, NULL);
}

static void http_connections(struct source *s)
{
	om_sample(&s->m, web_connections(s->web), NULL);
}

static void http_requests(struct source *s)
{
	om_sample(&s->m, (double)web_counters(s->web)->requests, NULL);
}

static void http_refused(struct source *s)
{
	const struct web_counters *n = web_counters(s->web);
	const struct {
		const char *reason;
		uint64_t value;
	} rows[] = { { "host", n->refused_host }, { "origin", n->refused_origin }, { "csrf", n->refused_csrf },
		     { "auth", n->refused_auth }, { "role", n->refused_role },	   { "limit", n->refused_limit } };

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		om_sample(&s->m, (double)rows[i].value, "reason", rows[i].reason, NULL);
}

static void http_streams(struct source *s)
{
	om_sample(&s->m, web_streams(s->web), NULL);
}

static void cpu(struct source *s)
{
	struct rusage u;

	if (getrusage(RUSAGE_SELF, &u) == 0)
		om_sample(&s->m, (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
					 (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6, NULL);
}

static void resident(struct source *s)
{
	unsigned long size, pages;
	char text[128];
	ssize_t n = s->own->statm >= 0 ? pread(s->own->statm, text, sizeof text - 1, 0) : -1;

	if (n <= 0)
		return;
	text[n] = 0;
	if (sscanf(text, "%lu %lu", &size, &pages) == 2)
		om_sample(&s->m, (double)pages * (double)sysconf(_SC_PAGESIZE), NULL);
}

static void descriptors(struct source *s)
{
	double n = 0;

	if (!s->own->fds)
		return;
	rewinddir(s->own->fds);
	while (readdir(s->own->fds))
		n++;
	om_sample(&s->m, n - 2, NULL); /* "." and ".." */
}

/* --- with a label for each peer -------------------------------------------------------------------------------------- */
static bool online_of(void *ctx, const struct pin *pin)
{
	struct source *s = ctx;
	struct peer_view v;

	node_peer_view(s->cx->node, &pin->id, &v);
	om_sample(&s->m, v.online, "peer", pin->id.hex, NULL);
	return true;
}

static void peer_online(struct source *s)
{
	pins_each(s->cx->pins, online_of, s);
}

static bool rtt_of(void *ctx, const struct pin *pin)
{
	struct source *s = ctx;
	struct peer_view v;

	node_peer_view(s->cx->node, &pin->id, &v);
	if (v.online && v.rtt_ms >= 0)
		om_sample(&s->m, v.rtt_ms / 1000, "peer", pin->id.hex, NULL);
	return true;
}

static void peer_rtt(struct source *s)
{
	pins_each(s->cx->pins, rtt_of, s);
}

static bool waiting_of(void *ctx, const struct pin *pin)
{
	struct source *s = ctx;
	struct peer_view v;

	node_peer_view(s->cx->node, &pin->id, &v);
	om_sample(&s->m, (double)v.waiting, "peer", pin->id.hex, NULL);
	return true;
}

static void peer_waiting(struct source *s)
{
	pins_each(s->cx->pins, waiting_of, s);
}

/* --- the table ---------------------------------------------------------------------------------------------------------- */
static const struct {
	struct om_family f;
	void (*write)(struct source *s);
	bool per_peer;
} TABLE[] = {
	{ { "ironmesh_build", OM_INFO, NULL, "version", "The version of this daemon." }, build_info },
	{ { "ironmesh_start_time_seconds", OM_GAUGE, "seconds", NULL, "When the daemon started, since the epoch." }, start_time },
	{ { "ironmesh_warnings", OM_GAUGE, NULL, NULL, "Warnings that status shows now." }, warnings },
	{ { "ironmesh_attention", OM_GAUGE, NULL, "severity", "What an operator should look at: the attention strip of the dashboard." },
	  attention },
	{ { "ironmesh_backup_last_success_time_seconds", OM_GAUGE, "seconds", NULL, "When a backup was made and checked last, since the epoch; 0: never." },
	  backup_last },
	{ { "ironmesh_wall", OM_GAUGE, NULL, "wall", "Whether a wall around the process stands: 1, or 0." }, walls },

	{ { "ironmesh_peers", OM_GAUGE, NULL, "state", "Known peers by the state of their trust." }, peers },
	{ { "ironmesh_peers_online", OM_GAUGE, NULL, NULL, "Peers that have a session now." }, peers_online },
	{ { "ironmesh_trust_alarms", OM_GAUGE, NULL, NULL, "Changes of keys that wait for the operator." }, alarms },

	{ { "ironmesh_messages", OM_COUNTER, NULL, "dir, state", "Messages, by what happened to them." }, messages },
	{ { "ironmesh_queue_depth", OM_GAUGE, NULL, NULL, "Messages that wait to be delivered." }, queue_depth },
	{ { "ironmesh_queue_bytes", OM_GAUGE, "bytes", NULL, "Bytes of their bodies." }, queue_bytes },
	{ { "ironmesh_queue_oldest_age_seconds", OM_GAUGE, "seconds", NULL, "How long the first of them has waited; 0: none waits." },
	  queue_oldest },
	{ { "ironmesh_delivery_latency_seconds", OM_HISTOGRAM, "seconds", NULL,
	    "From the acceptance of a message to its confirmation." }, latency },
	{ { "ironmesh_outbox_messages", OM_GAUGE, NULL, "state", "Messages in the outbox by state." }, outbox_messages },
	{ { "ironmesh_inbox_messages", OM_GAUGE, NULL, "state", "Messages in the inbox by state." }, inbox_messages },

	{ { "ironmesh_handshakes", OM_COUNTER, NULL, NULL, "Sessions that came online." }, handshakes },
	{ { "ironmesh_handshake_failures", OM_COUNTER, NULL, "reason", "Handshakes that ended before that." }, handshake_failures },
	{ { "ironmesh_bans", OM_GAUGE, NULL, NULL, "Sources that are banned now." }, bans },
	{ { "ironmesh_links", OM_GAUGE, NULL, "transport", "Open links." }, links },
	{ { "ironmesh_link_bytes", OM_COUNTER, "bytes", "dir, transport", "Bytes that went over links." }, link_bytes },
	{ { "ironmesh_link_units", OM_COUNTER, NULL, "dir, transport", "Units that went over links." }, link_units },
	{ { "ironmesh_link_ends", OM_COUNTER, NULL, "reason, transport", "Links that ended, by why." }, link_ends },
	{ { "ironmesh_node_events", OM_COUNTER, NULL, "counter", "Every counter of docs/counters.md, by its name." }, node_events },

	{ { "ironmesh_store_bytes", OM_GAUGE, "bytes", "file", "Size of the database and of its log." }, store_bytes },
	{ { "ironmesh_store_free_bytes", OM_GAUGE, "bytes", NULL, "Free space where the home folder is." }, store_free },
	{ { "ironmesh_store_commits", OM_COUNTER, NULL, NULL, "Groups of changes that were written to the disk." }, store_commits },
	{ { "ironmesh_store_failures", OM_COUNTER, NULL, NULL, "Groups that the disk refused." }, store_failures },
	{ { "ironmesh_audit_entries", OM_GAUGE, NULL, NULL, "Entries in the current file of the audit log." }, audit_count },

	{ { "ironmesh_http_connections", OM_GAUGE, NULL, NULL, "Open connections to the HTTP API." }, http_connections },
	{ { "ironmesh_http_streams", OM_GAUGE, NULL, NULL, "Live streams among them." }, http_streams },
	{ { "ironmesh_http_requests", OM_COUNTER, NULL, NULL, "Requests to the HTTP API." }, http_requests },
	{ { "ironmesh_http_refused", OM_COUNTER, NULL, "reason", "Requests that were refused, by the check that refused them." },
	  http_refused },

	{ { "process_cpu_seconds", OM_COUNTER, "seconds", NULL, "CPU time of the daemon." }, cpu },
	{ { "process_resident_memory_bytes", OM_GAUGE, "bytes", NULL, "Memory of the daemon." }, resident },
	{ { "process_open_fds", OM_GAUGE, NULL, NULL, "Open descriptors of the daemon." }, descriptors },

	{ { "ironmesh_peer_online", OM_GAUGE, NULL, "peer", "Whether this peer has a session: 1, or 0." }, peer_online, true },
	{ { "ironmesh_peer_rtt_seconds", OM_GAUGE, "seconds", "peer", "Round trip to this peer, when it was measured last." }, peer_rtt,
	  true },
	{ { "ironmesh_peer_queue_depth", OM_GAUGE, NULL, "peer", "Messages that wait for this peer." }, peer_waiting, true },
};
#define ROWS (sizeof TABLE / sizeof TABLE[0])

const struct om_family *metrics_family(size_t i, bool *per_peer)
{
	if (i >= ROWS)
		return NULL;
	*per_peer = TABLE[i].per_peer;
	return &TABLE[i].f;
}

void metrics_open(struct metrics *m, bool per_peer)
{
	m->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	m->fds = opendir("/proc/self/fd");
	m->per_peer = per_peer;
}

void metrics_close(struct metrics *m)
{
	if (m->statm > 0)
		close(m->statm);
	if (m->fds)
		closedir(m->fds);
	*m = (struct metrics){ .statm = -1 };
}

void metrics_write(const struct metrics *own, const struct command_ctx *cx, const struct web *web, struct buf *out, bool openmetrics)
{
	struct source s = { .own = own, .cx = cx, .web = web };

	om_begin(&s.m, out, openmetrics);
	for (size_t i = 0; i < ROWS; i++) {
		if (TABLE[i].per_peer && !own->per_peer)
			continue;
		om_family(&s.m, &TABLE[i].f);
		TABLE[i].write(&s);
	}
	om_end(&s.m);
}
