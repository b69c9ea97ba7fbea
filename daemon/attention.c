#include "daemon/attention.h"

#include <stdlib.h>
#include <sys/statvfs.h>

#include "daemon/backups.h"
#include "daemon/commands_internal.h"
#include "daemon/lan.h"
#include "daemon/walls.h"
#include "store/threads.h"

#define TEXT_KEPT 240
#define DISMISSED_MAX 256
#define DISK_LOOK_MS 10000
#define DISK_LOW_BYTES (256ull << 20)
#define DISK_LOW_PERCENT 3
#define CLOCK_BACK_MS 300000
#define CLOCK_EARLIEST_MS 1764000000000ull /* no daemon of this kind is older */
#define NEAR_FULL_PERCENT 90
#define PEERS_ONE_BY_ONE 20

/* What a part has set. */
struct kept {
	char kind[32], key[64], what[TEXT_KEPT], means[TEXT_KEPT], next[TEXT_KEPT];
	char method[48], params[TEXT_KEPT], label[48], confirm[TEXT_KEPT];
	enum attention_severity severity;
	uint64_t since_ms;
	bool used;
};

/* The operator has seen it at this count. */
struct seen {
	char key[96];
	uint64_t count;
};

struct attention {
	struct env *env;
	struct kept kept[ATTENTION_SET_MAX];
	struct seen seen[DISMISSED_MAX];
	size_t seen_n;
	uint64_t changes;
	uint64_t disk_looked_ms, free_bytes, size_bytes;
	bool disk_known;
};

enum err attention_new(struct env *env, struct attention **out)
{
	struct attention *a = calloc(1, sizeof *a);

	if (!a)
		return ERR_NOMEM;
	a->env = env;
	*out = a;
	return ERR_OK;
}

void attention_free(struct attention *a)
{
	free(a);
}

static struct kept *kept_find(struct attention *a, const char *kind, const char *key)
{
	for (size_t i = 0; i < ATTENTION_SET_MAX; i++)
		if (a->kept[i].used && strcmp(a->kept[i].kind, kind) == 0 && strcmp(a->kept[i].key, key ? key : "") == 0)
			return &a->kept[i];
	return NULL;
}

static void copy(char *out, size_t cap, const char *in)
{
	snprintf(out, cap, "%s", in ? in : "");
}

void attention_set(struct attention *a, const struct attention_item *x)
{
	struct kept *k = a ? kept_find(a, x->kind, x->key) : NULL;
	uint64_t since;

	if (!a)
		return;
	since = k ? k->since_ms : env_wall(a->env);
	for (size_t i = 0; !k && i < ATTENTION_SET_MAX; i++)
		if (!a->kept[i].used)
			k = &a->kept[i];
	if (!k) {
		log_warn("attention-full kind=%s", x->kind);
		return;
	}
	*k = (struct kept){ .used = true, .severity = x->severity, .since_ms = since };
	copy(k->kind, sizeof k->kind, x->kind);
	copy(k->key, sizeof k->key, x->key);
	copy(k->what, sizeof k->what, x->what);
	copy(k->means, sizeof k->means, x->means);
	copy(k->next, sizeof k->next, x->next);
	copy(k->method, sizeof k->method, x->method);
	copy(k->params, sizeof k->params, x->params);
	copy(k->label, sizeof k->label, x->label);
	copy(k->confirm, sizeof k->confirm, x->confirm);
	a->changes++;
}

void attention_clear(struct attention *a, const char *kind, const char *key)
{
	struct kept *k = a ? kept_find(a, kind, key) : NULL;

	if (!k)
		return;
	*k = (struct kept){ 0 };
	a->changes++;
}

uint64_t attention_changes(const struct attention *a)
{
	return a->changes;
}

void attention_dismiss(struct attention *a, const char *key, uint64_t count)
{
	size_t i = 0;

	while (i < a->seen_n && strcmp(a->seen[i].key, key) != 0)
		i++;
	if (i == DISMISSED_MAX) { /* the oldest goes */
		memmove(a->seen, a->seen + 1, (DISMISSED_MAX - 1) * sizeof a->seen[0]);
		i--;
	} else if (i == a->seen_n) {
		a->seen_n++;
	}
	snprintf(a->seen[i].key, sizeof a->seen[i].key, "%s", key);
	a->seen[i].count = count;
	a->changes++;
}

static bool is_seen(const struct attention *a, const char *key, uint64_t count)
{
	for (size_t i = 0; i < a->seen_n; i++)
		if (strcmp(a->seen[i].key, key) == 0)
			return count <= a->seen[i].count;
	return false;
}

/* --- one item as it is told ------------------------------------------------------------------------------- */
struct entry {
	enum attention_severity severity;
	uint64_t since_ms;
	size_t at, n;
	char key[96];
};

struct gather {
	const struct command_ctx *cx;
	struct attention *a;
	struct buf text;
	struct entry *list;
	size_t n, cap, total;
	size_t bad_peers, held_peers; /* with messages that failed; with held ones */
	uint64_t latest_ms;           /* of any message */
	struct attention_health *health; /* only that is wanted */
};

struct told {
	char key[96];
	const char *kind;
	enum attention_severity severity;
	const char *what, *means, *next, *method, *params, *label, *confirm, *msg_id;
	const struct node_id *peer;
	uint64_t since_ms, count;
	bool dismiss;
};

static void add_text(struct buf *b, const char *name, const char *value)
{
	char safe[512];

	buf_printf(b, ",\"%s\":", name);
	if (value && value[0])
		json_add_string(b, bytes_str(text_safe(bytes_str(value), safe, sizeof safe)));
	else
		buf_add_str(b, "null");
}

static const char *label_of(const struct command_ctx *cx, const struct node_id *id)
{
	const struct pin *pin = pins_get(cx->pins, id);

	return !pin ? id->hex : pin->alias[0] ? pin->alias : pin->name[0] ? pin->name : id->hex;
}

static const char *severity_word(enum attention_severity s)
{
	static const char *const words[] = { "info", "warning", "error" };

	return words[s];
}

static void write_item(struct gather *g, const struct told *t)
{
	struct buf *b = &g->text;

	buf_add_str(b, "{\"key\":");
	json_add_string(b, bytes_str(t->key));
	buf_add_str(b, ",\"id\":");
	json_add_string(b, bytes_str(t->key));
	buf_printf(b, ",\"kind\":\"%s\",\"severity\":\"%s\",\"since_ms\":%llu,\"count\":%llu", t->kind, severity_word(t->severity),
		   (unsigned long long)t->since_ms, (unsigned long long)t->count);
	add_text(b, "what", t->what);
	add_text(b, "means", t->means);
	buf_add_str(b, ",\"subject\":{\"peer\":");
	if (t->peer) {
		buf_printf(b, "\"%s\"", t->peer->hex);
		add_text(b, "label", label_of(g->cx, t->peer));
	} else {
		buf_add_str(b, "null,\"label\":null");
	}
	add_text(b, "msg_id", t->msg_id);
	buf_add_str(b, "},\"action\":");
	if (t->method && t->method[0]) {
		buf_printf(b, "{\"method\":\"%s\",\"params\":%s", t->method, t->params && t->params[0] ? t->params : "{}");
		add_text(b, "label", t->label);
		add_text(b, "confirm", t->confirm);
		buf_add_u8(b, '}');
	} else {
		buf_add_str(b, "null");
	}
	buf_add_str(b, t->dismiss ? ",\"dismiss\":true" : ",\"dismiss\":false");
	add_text(b, "next", t->next);
	buf_add_u8(b, '}');
}

static void tell(struct gather *g, const struct told *t)
{
	struct attention_health *h = g->health;
	struct entry *e;

	if (t->dismiss && is_seen(g->a, t->key, t->count))
		return;
	g->total++;
	if (h) {
		size_t *n = t->severity == ATTENTION_ERROR ? &h->errors : t->severity == ATTENTION_WARNING ? &h->warnings : &h->infos;
		size_t reasons = sizeof h->reasons / sizeof h->reasons[0];

		++*n;
		/* Errors push warnings out. */
		for (size_t i = 0; t->severity != ATTENTION_INFO && i < reasons; i++) {
			if (h->reasons[i][0] && !(t->severity == ATTENTION_ERROR && i >= h->errors - 1))
				continue;
			text_safe(bytes_str(t->what), h->reasons[i], sizeof h->reasons[i]);
			break;
		}
		return;
	}
	if (g->n == ATTENTION_MAX)
		return;
	if (g->n == g->cap) {
		size_t cap = g->cap ? g->cap * 2 : 32;
		struct entry *list = realloc(g->list, cap * sizeof *list);

		if (!list)
			return;
		g->list = list;
		g->cap = cap;
	}
	e = &g->list[g->n];
	*e = (struct entry){ .severity = t->severity, .since_ms = t->since_ms, .at = g->text.n };
	snprintf(e->key, sizeof e->key, "%s", t->key);
	write_item(g, t);
	if (g->text.err != ERR_OK)
		return;
	e->n = g->text.n - e->at;
	g->n++;
}

/* --- what the state says -------------------------------------------------------------------------------------- */
static void tell_kept(struct gather *g)
{
	for (size_t i = 0; i < ATTENTION_SET_MAX; i++) {
		const struct kept *k = &g->a->kept[i];
		struct told t = { .kind = k->kind, .severity = k->severity, .what = k->what, .means = k->means, .next = k->next,
				  .method = k->method, .params = k->params, .label = k->label, .confirm = k->confirm,
				  .since_ms = k->since_ms, .count = 1 };

		if (!k->used)
			continue;
		snprintf(t.key, sizeof t.key, "%s%s%s", k->kind, k->key[0] ? ":" : "", k->key);
		tell(g, &t);
	}
}

static void tell_pending(struct gather *g, const struct pin *pin, uint64_t held)
{
	char what[200], next[96], params[64], safe[96];
	struct told t = { .severity = ATTENTION_WARNING, .peer = &pin->id, .what = what, .next = next, .params = params,
			  .since_ms = pin->first_seen_ms, .count = held };

	text_safe(bytes_str(label_of(g->cx, &pin->id)), safe, sizeof safe);
	snprintf(params, sizeof params, "{\"peer\":\"%s\"}", pin->id.hex);
	if (pin->cap_change) {
		t.kind = "cap-change";
		t.method = "trust.cap_accept";
		t.label = "Accept the change";
		t.confirm = "Accept what this peer says it can do now? What it sent meanwhile is delivered.";
		t.means = "Its messages are held until you accept or reject the change.";
		snprintf(what, sizeof what, "%s announces other capabilities than you accepted", safe);
		snprintf(next, sizeof next, "ironmesh trust cap-diff %s", pin->id.hex);
	} else {
		t.kind = "peer-pending";
		t.method = "peers.approve";
		t.label = "Approve";
		t.confirm = "Approve only if the fingerprint is the one that its owner reads to you.";
		t.means = "Nothing is sent to it, and what it sends is held, until you approve it or block it.";
		snprintf(what, sizeof what, "%s wants to talk to this node", safe);
		snprintf(next, sizeof next, "ironmesh peers approve %s", pin->id.hex);
	}
	snprintf(t.key, sizeof t.key, "%s:%s", t.kind, pin->id.hex);
	tell(g, &t);
}

static bool pin_one(void *ctx, const struct pin *pin)
{
	struct gather *g = ctx;
	uint64_t in[INBOX_STATES] = { 0 };

	if (pin->ignored || !(pin->state == PIN_PENDING || (pin->state == PIN_TRUSTED && pin->cap_change)))
		return true;
	if (inbox_count(g->cx->store, &pin->id, in) != ERR_OK)
		in[INBOX_HELD] = 0;
	tell_pending(g, pin, in[INBOX_HELD]);
	return true;
}

static void tell_alarms(struct gather *g)
{
	const struct pin_alarm *list;
	size_t n = pins_alarms(g->cx->pins, &list);

	for (size_t i = 0; i < n; i++) {
		const struct pin_alarm *a = &list[i];
		bool tls = node_id_eq(&a->was, &a->now);
		char what[400], next[400], safe[ADDRESS_MAX + 1];
		struct told t = { .kind = "key-changed", .severity = ATTENTION_ERROR, .peer = &a->was, .what = what, .next = next,
				  .since_ms = a->at_ms, .count = a->count };

		/* No button accepts it: the new id has to be compared with its owner, and typed. */
		text_safe(bytes_str(a->subject), safe, sizeof safe);
		snprintf(what, sizeof what, tls ? "the TLS key at %.100s has changed" : "somebody else answers as %.100s", safe);
		t.means = tls ? "The identity is the same. A new certificate, or somebody in between." :
				"Its key is another one. Either it was set up anew, or somebody pretends to be it. Nothing is sent to the new key.";
		/* The subject is a stranger's word, and this is pasted into a shell. */
		if (tls)
			snprintf(next, sizeof next, "ironmesh peers show %s", a->was.hex);
		else if (!strchr(safe, '\''))
			snprintf(next, sizeof next, "ironmesh trust repin '%s' %s", safe, a->now.hex);
		else
			snprintf(next, sizeof next, "ironmesh trust list");
		snprintf(t.key, sizeof t.key, "key-changed:%.12s:%.12s:%.24s", a->was.hex, a->now.hex, safe);
		tell(g, &t);
	}
}

static uint64_t bad_of(const struct thread_head *h)
{
	return (uint64_t)h->out_states[OUTBOX_FAILED] + h->out_states[OUTBOX_EXPIRED] + h->out_states[OUTBOX_REJECTED];
}

static bool count_one(void *ctx, const struct thread_head *h)
{
	struct gather *g = ctx;

	g->bad_peers += bad_of(h) != 0;
	g->held_peers += h->in_states[INBOX_HELD] != 0;
	g->latest_ms = h->last_ms > g->latest_ms ? h->last_ms : g->latest_ms;
	return true;
}

static bool head_one(void *ctx, const struct thread_head *h)
{
	struct gather *g = ctx;
	uint64_t bad = g->bad_peers > PEERS_ONE_BY_ONE ? 0 : bad_of(h);
	const struct pin *pin = pins_get(g->cx->pins, &h->peer);
	char what[200], next[96], safe[96];
	struct told t = { .severity = ATTENTION_WARNING, .peer = &h->peer, .what = what, .next = next };

	text_safe(bytes_str(label_of(g->cx, &h->peer)), safe, sizeof safe);
	if (bad) {
		t.kind = "message-failed";
		t.count = bad;
		t.dismiss = true;
		t.means = "They were not delivered. Their bodies are kept until they are pruned, so they can be sent again.";
		snprintf(what, sizeof what, "%llu message%s to %s failed, expired or were rejected", (unsigned long long)bad,
			 bad == 1 ? "" : "s", safe);
		snprintf(next, sizeof next, "ironmesh outbox list --to %s", h->peer.hex);
		snprintf(t.key, sizeof t.key, "message-failed:%s", h->peer.hex);
		tell(g, &t);
	}
	/* What is held of a pending peer is told with that peer. */
	if (h->in_states[INBOX_HELD] && (!pin || (pin->state != PIN_PENDING && !pin->cap_change))) {
		t = (struct told){ .kind = "message-held", .severity = ATTENTION_INFO, .peer = &h->peer, .what = what, .next = next,
				   .count = h->in_states[INBOX_HELD],
				   .means = "Its sender is not trusted now; they are delivered when it is." };
		snprintf(what, sizeof what, "%u message%s of %s held", h->in_states[INBOX_HELD],
			 h->in_states[INBOX_HELD] == 1 ? "" : "s", safe);
		snprintf(next, sizeof next, "ironmesh peers show %s", h->peer.hex);
		snprintf(t.key, sizeof t.key, "message-held:%s", h->peer.hex);
		tell(g, &t);
	}
	return true;
}

/* A list of a thousand peers is no help: beyond a few, one item stands for all of them. */
static void tell_bad_of_many(struct gather *g)
{
	uint64_t out[OUTBOX_STATES] = { 0 };
	char what[200];
	struct told t = { .key = "message-failed", .kind = "message-failed", .severity = ATTENTION_WARNING, .what = what, .dismiss = true,
			  .means = "They were not delivered. Their bodies are kept until they are pruned, so they can be sent again.",
			  .next = "ironmesh outbox list --state failed" };

	if (outbox_count(g->cx->store, NULL, out) != ERR_OK)
		return;
	t.count = out[OUTBOX_FAILED] + out[OUTBOX_EXPIRED] + out[OUTBOX_REJECTED];
	snprintf(what, sizeof what, "%llu messages to %zu peers failed, expired or were rejected", (unsigned long long)t.count,
		 g->bad_peers);
	tell(g, &t);
}

static void tell_messages(struct gather *g)
{
	if (g->bad_peers > PEERS_ONE_BY_ONE)
		tell_bad_of_many(g);
	if (g->held_peers || (g->bad_peers && g->bad_peers <= PEERS_ONE_BY_ONE))
		thread_each(g->cx->store, head_one, g);
}

static void tell_clock(struct gather *g)
{
	uint64_t wall = env_wall(g->a->env);
	struct told t = { .kind = "clock-doubt", .key = "clock-doubt", .severity = ATTENTION_ERROR, .count = 1,
			  .next = "timedatectl status" };

	if (wall < CLOCK_EARLIEST_MS) {
		t.what = "the clock of this machine stands before this program was made";
		t.means = "Times are wrong, and messages expire by running time. Old peers refuse what we send.";
	} else if (g->latest_ms > wall + CLOCK_BACK_MS) {
		t.what = "the clock of this machine stands before messages that are already here";
		t.means = "It was put back, or it was wrong before. The order of messages and their expiry cannot be trusted.";
	} else {
		return;
	}
	tell(g, &t);
}

static void look_at_disk(struct attention *a, const char *home)
{
	uint64_t now = env_now(a->env);
	struct statvfs v;

	if (a->disk_known && now - a->disk_looked_ms < DISK_LOOK_MS)
		return;
	a->disk_looked_ms = now;
	a->disk_known = home && statvfs(home, &v) == 0;
	if (a->disk_known) {
		a->free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
		a->size_bytes = (uint64_t)v.f_blocks * v.f_frsize;
	}
}

bool attention_disk_free(const struct command_ctx *cx, uint64_t *bytes)
{
	look_at_disk(cx->attention, cx->home);
	*bytes = cx->attention->free_bytes;
	return cx->attention->disk_known;
}

static void tell_space(struct gather *g)
{
	struct attention *a = g->a;
	struct store_stats st;
	char what[200];
	struct told t = { .kind = "store-nearly-full", .severity = ATTENTION_WARNING, .count = 1, .what = what };

	look_at_disk(a, g->cx->home);
	if (a->disk_known && a->free_bytes < DISK_LOW_BYTES && a->free_bytes < a->size_bytes / 100 * DISK_LOW_PERCENT) {
		snprintf(what, sizeof what, "the disk of the home folder has %llu MiB left", (unsigned long long)(a->free_bytes >> 20));
		snprintf(t.key, sizeof t.key, "store-nearly-full:disk");
		t.means = "When it is full, no message is accepted or taken any more. What is there stays.";
		t.next = "df -h";
		t.severity = a->free_bytes < DISK_LOW_BYTES / 8 ? ATTENTION_ERROR : ATTENTION_WARNING;
		tell(g, &t);
	}
	store_stats(g->cx->store, &st);
	if (st.outbox_waiting * 100 >= (uint64_t)STORE_OUTBOX_TOTAL * NEAR_FULL_PERCENT) {
		snprintf(what, sizeof what, "%llu of %u messages wait in the outbox", (unsigned long long)st.outbox_waiting,
			 STORE_OUTBOX_TOTAL);
		snprintf(t.key, sizeof t.key, "store-nearly-full:outbox");
		t.severity = ATTENTION_WARNING;
		t.means = "At the limit no further message is accepted.";
		t.next = "ironmesh outbox list --state queued";
		tell(g, &t);
	}
	if (st.inbox_unread * 100 >= (uint64_t)STORE_INBOX_TOTAL * NEAR_FULL_PERCENT) {
		snprintf(what, sizeof what, "%llu of %u messages wait unread in the inbox", (unsigned long long)st.inbox_unread,
			 STORE_INBOX_TOTAL);
		snprintf(t.key, sizeof t.key, "store-nearly-full:inbox");
		t.severity = ATTENTION_WARNING;
		t.means = "At the limit senders are told that the inbox is full.";
		t.next = "ironmesh recv";
		tell(g, &t);
	}
	if (pins_count(g->cx->pins) * 100 >= (size_t)PINS_MAX * NEAR_FULL_PERCENT) {
		snprintf(what, sizeof what, "%zu of %u peers are in the trust store", pins_count(g->cx->pins), PINS_MAX);
		snprintf(t.key, sizeof t.key, "store-nearly-full:trust");
		t.severity = ATTENTION_WARNING;
		t.means = "At the limit nobody new can be admitted.";
		t.next = "ironmesh peers forget NAME";
		tell(g, &t);
	}
}

static void tell_trust_store(struct gather *g)
{
	const char *why = NULL;
	struct told t = { .kind = "trust-store-read-only", .key = "trust-store-read-only", .severity = ATTENTION_ERROR, .count = 1,
			  .what = "the trust store is read-only", .next = "ironmesh doctor" };

	if (!pins_read_only(g->cx->pins, &why))
		return;
	t.means = why;
	tell(g, &t);
}

static void tell_mdns(struct gather *g)
{
	const struct lan *lan = g->cx->info.lan;
	const char *why = lan ? lan_blind(lan) : NULL;
	struct told t = { .kind = "mdns-down", .key = "mdns-down", .severity = ATTENTION_WARNING, .count = 1,
			  .what = "peers on this network are not found by themselves: mDNS is down", .means = why,
			  .next = "systemctl status avahi-daemon" };

	if (why)
		tell(g, &t);
}

static void tell_walls(struct gather *g)
{
	struct wall_state list[WALLS];

	if (!g->cx->info.walls)
		return;
	walls_look(g->cx->info.walls, list);
	for (int i = 0; i < WALLS; i++) {
		char what[120];
		struct told t = { .kind = "wall-absent", .severity = ATTENTION_WARNING, .count = 1, .what = what, .means = list[i].why,
				  .next = "ironmesh doctor" };

		if (list[i].standing != WALL_ABSENT)
			continue;
		snprintf(what, sizeof what, "the wall %s is not up", list[i].name);
		snprintf(t.key, sizeof t.key, "wall-absent:%s", list[i].name);
		tell(g, &t);
	}
}

static void tell_backups(struct gather *g)
{
	uint64_t now = env_wall(g->a->env), every, ok;
	json_t *s = g->cx->info.backups ? backups_status_json(g->cx->info.backups) : NULL;
	const char *directory = json_str(s, "directory"), *why = json_str(s, "why");
	struct told t = { .count = 1, .next = "ironmesh backup list", .method = directory ? "backup.now" : NULL, .label = "Back up now" };

	every = (uint64_t)json_integer_value(json_object_get(s, "every_ms"));
	ok = (uint64_t)json_integer_value(json_object_get(s, "last_ok_ms"));
	/* A failed one says so itself (backups.c). */
	if (!why && directory && every && ok && now > ok && now - ok > 2 * every) {
		snprintf(t.key, sizeof t.key, "backup-overdue");
		t.kind = "backup-overdue";
		t.severity = ATTENTION_WARNING;
		t.what = "no backup was made for twice the time that is set";
		t.means = "What has come since then would be lost with this disk.";
		t.since_ms = ok + every;
		tell(g, &t);
	}
	json_decref(s);
}

static void tell_warnings(struct gather *g)
{
	const struct app_info *info = &g->cx->info;

	for (size_t i = 0; i < sizeof info->warnings / sizeof info->warnings[0]; i++) {
		struct told t = { .kind = "warning", .severity = ATTENTION_INFO, .count = 1, .what = info->warnings[i],
				  .dismiss = true, .next = "ironmesh doctor" };

		if (!info->warnings[i][0])
			continue;
		snprintf(t.key, sizeof t.key, "warning:%zu", i);
		tell(g, &t);
	}
}

static void gather(struct gather *g)
{
	thread_each(g->cx->store, count_one, g);
	tell_kept(g);
	tell_trust_store(g);
	tell_clock(g);
	tell_alarms(g);
	tell_space(g);
	tell_mdns(g);
	tell_walls(g);
	tell_backups(g);
	pins_each(g->cx->pins, pin_one, g);
	tell_messages(g);
	tell_warnings(g);
}

/* The worst first, then the newest, then by name. */
static int worst_first(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->severity != y->severity)
		return x->severity < y->severity ? 1 : -1;
	if (x->since_ms != y->since_ms)
		return x->since_ms < y->since_ms ? 1 : -1;
	return strcmp(x->key, y->key);
}

size_t attention_each(const struct command_ctx *cx, attention_fn fn, void *ctx)
{
	struct gather g = { .cx = cx, .a = cx->attention };

	buf_init(&g.text, CONTROL_LINE_MAX);
	gather(&g);
	if (g.n)
		qsort(g.list, g.n, sizeof *g.list, worst_first);
	for (size_t i = 0; i < g.n; i++)
		fn(ctx, g.list[i].key, bytes_of(g.text.p + g.list[i].at, g.list[i].n));
	free(g.list);
	buf_fini(&g.text);
	return g.total;
}

void attention_health(const struct command_ctx *cx, struct attention_health *out)
{
	struct attention_health h = { 0 };
	struct gather g = { .cx = cx, .a = cx->attention, .health = &h };

	gather(&g);
	*out = h;
}
