#include "daemon/feed_internal.h"

#include <sodium.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/text.h"
#include "daemon/attention.h"
#include "daemon/stats.h"

#define SOON_MS 20
#define STATUS_MS 1000
#define ATTENTION_MS 1000      /* when something says so */
#define ATTENTION_SELDOM_MS 5000
#define MESH_MS 2000
#define MESH_SELDOM_MS 10000
#define SWEEP_MS 1000
#define SWEEP_PEERS 256

/* --- told and not told ----------------------------------------------------------------------------------- */
static uint64_t hash_of(const struct feed *f, struct bytes row)
{
	uint64_t h;

	_Static_assert(sizeof h == crypto_shorthash_BYTES && sizeof f->hash_key == crypto_shorthash_KEYBYTES, "hash");
	crypto_shorthash((uint8_t *)&h, row.p, row.n, f->hash_key);
	return h;
}

static void append(struct buf *b, struct bytes one)
{
	if (b->n)
		buf_add_u8(b, ',');
	buf_add(b, one);
}

void feed_put(struct feed *f, enum feed_table t, const char *key, struct bytes row, bool happened)
{
	uint64_t h = hash_of(f, row);
	bool created;
	void *slot;

	if (map_put(f->told[t], bytes_str(key), 0, &slot, &created) == ERR_OK) {
		struct feed_told *told = slot;

		told->round = f->round;
		if (!created && told->hash == h && !(told->shown && happened))
			return;
		told->hash = h;
		told->shown = false;
	}
	append(&f->put[t], row);
	f->made += row.n;
}

void feed_del(struct feed *f, enum feed_table t, const char *key)
{
	char text[2 * MAP_KEY_MAX];
	struct buf b;

	if (!map_del(f->told[t], bytes_str(key)))
		return; /* nobody has heard of it */
	buf_init(&b, sizeof text);
	json_add_string(&b, bytes_str(key));
	append(&f->del[t], buf_bytes(&b));
	f->made += b.n;
	buf_fini(&b);
}

void feed_shown(struct feed *f, enum feed_table t, const char *key, struct bytes row)
{
	bool created;
	void *slot;

	if (map_put(f->told[t], bytes_str(key), 0, &slot, &created) == ERR_OK && created)
		*(struct feed_told *)slot = (struct feed_told){ .hash = hash_of(f, row), .shown = true };
}

/* --- life --------------------------------------------------------------------------------------------------- */
static void drop_batches(struct feed *f)
{
	for (size_t i = 0; i < FEED_BATCHES; i++) {
		free(f->batches[i].text);
		f->batches[i] = (struct feed_batch){ 0 };
	}
	f->batch_bytes = 0;
	f->oldest = f->seq + 1;
}

/* What was told is forgotten, and so is every number: nobody can go on from here. */
static void fall_asleep(struct feed *f)
{
	f->awake = false;
	f->seq++;
	drop_batches(f);
	for (int i = 0; i < FEED_TABLES; i++) {
		map_clear(f->told[i]);
		buf_reset(&f->put[i]);
		buf_trim(&f->put[i], 4096);
	}
	buf_reset(&f->text);
	buf_trim(&f->text, 4096);
	map_clear(f->marked);
	map_clear(f->messages);
	map_clear(f->reload);
	free(f->due);
	f->due = NULL;
	f->due_n = f->due_cap = f->due_at = 0;
	f->has_sample = f->reload_all = false;
}

static void arm(struct feed *f, uint64_t in_ms)
{
	uint64_t now = env_now(f->env), at = now + in_ms;

	if (at < f->flushed_ms + FEED_EVERY_MS)
		at = f->flushed_ms + FEED_EVERY_MS;
	if (!timer_armed(&f->tick) || f->tick.at_ms > at)
		timer_at(f->env, &f->tick, at);
}

void feed_wake(struct feed *f)
{
	f->sleep_ms = env_now(f->env) + FEED_SLEEP_MS;
	if (f->awake)
		return;
	f->awake = true;
	f->lines_told = f->lines_n;
	f->attention_due = f->mesh_due = true;
	arm(f, SOON_MS);
}

/* --- marks --------------------------------------------------------------------------------------------------- */
static void mark(struct feed *f, const struct node_id *id, bool happened)
{
	bool created;
	void *slot;

	if (!id->hex[0] || map_put(f->marked, bytes_of(id->hex, NODE_ID_LEN), 0, &slot, &created) != ERR_OK)
		return;
	*(bool *)slot = *(bool *)slot || happened;
	if (!created)
		return;
	if (f->due_n == f->due_cap) {
		size_t cap = f->due_cap ? f->due_cap * 2 : 64;
		struct node_id *due = realloc(f->due, cap * sizeof *due);

		if (!due) {
			map_del(f->marked, bytes_of(id->hex, NODE_ID_LEN)); /* the slow round finds it */
			return;
		}
		f->due = due;
		f->due_cap = cap;
	}
	f->due[f->due_n++] = *id;
	arm(f, SOON_MS);
}

static void mark_peer(struct feed *f, const struct node_id *id)
{
	mark(f, id, true);
}

/* Too much of one peer to tell it one by one: whoever shows it fetches it again. */
static void mark_message(struct feed *f, const struct node_id *peer, bool out, const char *msg_id, int64_t inbox_seq)
{
	uint8_t key[1 + 16 + MSG_ID_MAX];
	struct wr w = wr_init(key, sizeof key);
	struct bytes k;
	bool created;
	void *slot;

	if (f->reload_all || map_peek(f->reload, bytes_of(peer->hex, NODE_ID_LEN)))
		return;
	wr_u8(&w, out ? 'o' : 'i');
	if (hex_decode(bytes_of(peer->hex, NODE_ID_LEN), wr_reserve(&w, 16), 16) != ERR_OK)
		return;
	if (out)
		wr_bytes(&w, bytes_str(msg_id));
	else
		wr_u64(&w, (uint64_t)inbox_seq);
	if (wr_end(&w, &k) != ERR_OK)
		return;
	if (map_put(f->messages, k, 0, &slot, &created) == ERR_OK) {
		arm(f, SOON_MS);
		return;
	}
	f->reload_all = map_put(f->reload, bytes_of(peer->hex, NODE_ID_LEN), 0, &slot, &created) != ERR_OK;
}

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void add_line(struct feed *f, const char *type, const struct node_event *e, const char *word)
{
	struct feed_line *l = &f->lines[f->lines_n % FEED_EVENTS];
	struct buf b;

	if (f->lines_n - f->lines_told >= FEED_EVENTS_BATCH && f->awake) {
		f->lines_lost++;
		return;
	}
	buf_init(&b, FEED_LINE_MAX);
	buf_printf(&b, "{\"key\":\"%llu\",\"n\":%llu", (unsigned long long)f->lines_n + 1, (unsigned long long)f->lines_n + 1);
	row_uint(&b, ",\"at_ms\":", env_wall(f->env));
	row_text(&b, ",\"type\":", type);
	row_text(&b, ",\"peer\":", e ? e->peer.hex : NULL);
	row_text(&b, ",\"label\":", !e ? NULL : e->name ? e->name : e->peer.hex[0] ? row_label(f->cx, &e->peer) : NULL);
	row_text(&b, ",\"msg_id\":", e ? e->msg_id : NULL);
	row_text(&b, ",\"reason\":", e ? e->reason : NULL);
	row_text(&b, ",\"via\":", e ? e->via : NULL);
	row_text(&b, ",\"address\":", e ? e->address : NULL);
	row_text(&b, ",\"next\":", e ? e->next : NULL);
	row_text(&b, ",\"event\":", word);
	buf_add_u8(&b, '}');
	if (b.err == ERR_OK) {
		memcpy(l->text, b.p, b.n);
		l->len = b.n;
		l->n = ++f->lines_n;
	}
	buf_fini(&b);
	if (f->awake)
		arm(f, SOON_MS);
}

void feed_observe(void *feed, const char *type, const struct node_event *e, const char *word)
{
	struct feed *f = feed;
	bool message = starts_with(type, "message."), inbox = starts_with(type, "inbox.");

	/* Messages come by the thousand: without a listener they are not written down. */
	if (!f->awake && (message || inbox))
		return;
	if (e && e->message)
		return;
	if (f->awake && e) {
		if (message && e->msg_id)
			mark_message(f, &e->peer, true, e->msg_id, 0);
		else if (inbox && e->seq)
			mark_message(f, &e->peer, false, NULL, e->seq);
		mark_peer(f, &e->peer);
	}
	if (f->awake && !message && !inbox) {
		f->attention_due = true;
		f->mesh_due = f->mesh_due || starts_with(type, "peer.") || starts_with(type, "route.") || starts_with(type, "trust.");
	}
	if (message && (starts_with(type + 8, "f") || starts_with(type + 8, "e") || starts_with(type + 8, "rej")))
		f->attention_due = true;
	add_line(f, type, e, word);
}

void feed_touched(void *feed, const struct node_id *peer, int64_t inbox_seq)
{
	struct feed *f = feed;

	if (!f->awake)
		return;
	mark_message(f, peer, false, NULL, inbox_seq);
	mark_peer(f, peer);
}

void feed_peer(struct feed *f, const struct node_id *peer)
{
	if (!f->awake)
		return;
	f->attention_due = f->mesh_due = true;
	mark_peer(f, peer);
}

void feed_sample(void *feed, const struct stats_sample *x)
{
	struct feed *f = feed;

	if (!f->awake)
		return;
	f->sample = *x;
	f->has_sample = true;
	arm(f, SOON_MS);
}

/* --- batches ----------------------------------------------------------------------------------------------------- */
static void forget_oldest(struct feed *f)
{
	struct feed_batch *b = &f->batches[f->oldest % FEED_BATCHES];

	f->batch_bytes -= b->n;
	free(b->text);
	*b = (struct feed_batch){ 0 };
	f->oldest++;
}

static void keep(struct feed *f, struct bytes text)
{
	struct feed_batch *b;
	uint8_t *copy = malloc(text.n);

	if (!copy) {
		drop_batches(f); /* its number is used: whoever listens hears of a gap */
		return;
	}
	memcpy(copy, text.p, text.n);
	while (f->oldest < f->seq && (f->seq - f->oldest >= FEED_BATCHES || f->batch_bytes + text.n > FEED_BYTES))
		forget_oldest(f);
	b = &f->batches[f->seq % FEED_BATCHES];
	*b = (struct feed_batch){ .seq = f->seq, .text = copy, .n = text.n };
	f->batch_bytes += text.n;
}

static bool say_gap(struct feed *f, struct feed_subscriber *s)
{
	char text[160];
	int n = snprintf(text, sizeof text, "{\"schema\":\"ironmesh.feed/1\",\"boot\":\"%s\",\"seq\":%llu,\"gap\":true}", f->boot,
			 (unsigned long long)f->seq);

	return s->deliver(s->ctx, bytes_of(text, (size_t)n));
}

static void deliver(struct feed *f, struct feed_subscriber *s)
{
	while (s->seq < f->seq) {
		const struct feed_batch *b = &f->batches[(s->seq + 1) % FEED_BATCHES];

		if (s->seq + 1 < f->oldest) {
			if (!say_gap(f, s))
				return;
			s->seq = f->seq;
			return;
		}
		if (!s->deliver(s->ctx, bytes_of(b->text, b->n)))
			return;
		s->seq++;
	}
}

static void deliver_all(struct feed *f)
{
	struct ring *r, *next;

	for (r = f->subscribers.next; r != &f->subscribers; r = next) {
		next = r->next;
		deliver(f, ring_entry(r, struct feed_subscriber, link));
	}
}

static void hand_out_due(void *ctx)
{
	deliver_all(ctx);
}

static void add_table(struct feed *f, enum feed_table t)
{
	static const char *const names[FEED_TABLES] = { "status", "attention", "peers", "conversations", "queue", "mesh" };
	struct buf *put = &f->put[t], *del = &f->del[t];

	if (put->err != ERR_OK || del->err != ERR_OK)
		f->text.err = ERR_LIMIT; /* a gap is said instead */
	if (t == FEED_STATUS && put->n) {
		buf_add_str(&f->text, ",\"status\":");
		buf_add(&f->text, buf_bytes(put));
	} else if (put->n || del->n) {
		buf_printf(&f->text, ",\"%s\":{\"put\":[", names[t]);
		buf_add(&f->text, buf_bytes(put));
		buf_add_str(&f->text, "],\"del\":[");
		buf_add(&f->text, buf_bytes(del));
		buf_add_str(&f->text, "]}");
	}
	buf_reset(put);
	buf_reset(del);
}

static void add_lines(struct feed *f)
{
	uint64_t from = f->lines_told;

	if (f->lines_n == from)
		return;
	buf_add_str(&f->text, ",\"events\":[");
	for (uint64_t i = from; i < f->lines_n; i++) {
		const struct feed_line *l = &f->lines[i % FEED_EVENTS];

		if (i > from)
			buf_add_u8(&f->text, ',');
		buf_add(&f->text, bytes_of(l->text, l->len));
	}
	buf_add_u8(&f->text, ']');
	if (f->lines_lost)
		row_uint(&f->text, ",\"events_left_out\":", f->lines_lost);
	f->lines_told = f->lines_n;
	f->lines_lost = 0;
}

static void write_due_peers(struct feed *f)
{
	size_t n = feed_write_peers(f, f->due + f->due_at, f->due_n - f->due_at);

	for (size_t i = 0; i < n; i++)
		map_del(f->marked, bytes_of(f->due[f->due_at + i].hex, NODE_ID_LEN));
	f->due_at += n;
	if (f->due_at == f->due_n)
		f->due_at = f->due_n = 0;
}

/* Everything that is marked or whose time has come, into one batch. */
static void flush(struct feed *f, uint64_t now)
{
	size_t head;

	f->made = 0;
	write_due_peers(f);
	if (now - f->attention_ms >= (f->attention_due || attention_changes(f->cx->attention) != f->attention_seen ?
						    ATTENTION_MS : ATTENTION_SELDOM_MS)) {
		f->attention_ms = now;
		f->attention_due = false;
		f->attention_seen = attention_changes(f->cx->attention);
		feed_write_attention(f);
	}
	if (now - f->mesh_ms >= (f->mesh_due ? MESH_MS : MESH_SELDOM_MS)) {
		f->mesh_ms = now;
		f->mesh_due = false;
		feed_write_mesh(f);
	}
	if (now - f->status_ms >= STATUS_MS) {
		f->status_ms = now;
		feed_write_status(f);
	}
	buf_reset(&f->text);
	buf_printf(&f->text, "{\"schema\":\"ironmesh.feed/1\",\"boot\":\"%s\",\"seq\":%llu,\"at_ms\":%llu", f->boot,
		   (unsigned long long)f->seq + 1, (unsigned long long)env_wall(f->env));
	head = f->text.n;
	for (int t = 0; t < FEED_TABLES; t++)
		add_table(f, (enum feed_table)t);
	feed_write_messages(f, &f->text);
	if (f->has_sample) {
		buf_add_str(&f->text, ",\"stats\":[");
		stats_add(&f->text, &f->sample, STATS_FINE_MS);
		buf_add_u8(&f->text, ']');
		f->has_sample = false;
	}
	add_lines(f);
	if (f->text.n == head)
		return;
	buf_add_u8(&f->text, '}');
	f->seq++;
	if (f->text.err == ERR_OK) {
		keep(f, buf_bytes(&f->text));
	} else {
		log_warn("feed-batch-lost err=%s", err_word(f->text.err));
		drop_batches(f);
	}
	deliver_all(f);
}

static void tick_due(void *ctx)
{
	struct node_id some[SWEEP_PEERS];
	struct feed *f = ctx;
	uint64_t now = env_now(f->env);
	size_t n;

	if (!f->awake)
		return;
	if (ring_empty(&f->subscribers)) {
		if (now >= f->sleep_ms) {
			fall_asleep(f);
			return;
		}
	} else {
		f->sleep_ms = now + FEED_SLEEP_MS;
	}
	if (now - f->swept_ms >= SWEEP_MS && f->due_n == 0) {
		f->swept_ms = now;
		n = feed_sweep(f, some, SWEEP_PEERS);
		for (size_t i = 0; i < n; i++)
			mark(f, &some[i], false);
	}
	f->flushed_ms = now;
	flush(f, now);
	arm(f, f->due_n || map_count(f->messages) ? FEED_EVERY_MS : STATUS_MS);
}

/* --- subscribers -------------------------------------------------------------------------------------------------- */
void feed_subscribe(struct feed *f, struct feed_subscriber *s, const char *boot, uint64_t since, bool *gap)
{
	feed_unsubscribe(s);
	feed_wake(f);
	*gap = boot && (strcmp(boot, f->boot) != 0 || since > f->seq || since + 1 < f->oldest);
	s->seq = boot && !*gap ? since : f->seq;
	s->feed = f;
	ring_add(&f->subscribers, &s->link);
	if (s->seq < f->seq)
		timer_in(f->env, &f->hand_out, 0);
}

void feed_unsubscribe(struct feed_subscriber *s)
{
	if (!s->feed)
		return;
	ring_del(&s->link);
	s->feed = NULL;
}

void feed_room(struct feed_subscriber *s)
{
	if (s->feed && s->seq < s->feed->seq)
		timer_in(s->feed->env, &s->feed->hand_out, 0);
}

const char *feed_boot(const struct feed *f)
{
	return f->boot;
}

uint64_t feed_seq(const struct feed *f)
{
	return f->seq;
}

/* --- birth, end ------------------------------------------------------------------------------------------------------ */
static struct map *table(struct env *env, size_t capacity, size_t value)
{
	struct map_opts o = { .capacity = capacity, .value_size = value, .policy = MAP_REFUSE };

	env_random(env, o.hash_key, sizeof o.hash_key);
	return map_new(&o);
}

enum err feed_new(struct command_ctx *cx, struct feed **out)
{
	struct feed *f = calloc(1, sizeof *f);
	uint8_t boot[FEED_BOOT_LEN / 2];
	bool ok = f != NULL;

	if (!f)
		return ERR_NOMEM;
	f->cx = cx;
	f->env = cx->env;
	f->oldest = 1;
	ring_init(&f->subscribers);
	timer_init(&f->tick, tick_due, f);
	timer_init(&f->hand_out, hand_out_due, f);
	env_random(f->env, boot, sizeof boot);
	hex_encode(BYTES_ARR(boot), f->boot);
	env_random(f->env, f->hash_key, sizeof f->hash_key);
	for (int i = 0; i < FEED_TABLES; i++) {
		f->told[i] = table(f->env, FEED_PEERS_MAX, sizeof(struct feed_told));
		ok = ok && f->told[i];
		buf_init(&f->put[i], 1u << 20);
		buf_init(&f->del[i], 1u << 20);
	}
	buf_init(&f->text, 4u << 20);
	f->marked = table(f->env, FEED_PEERS_MAX, sizeof(bool));
	f->messages = table(f->env, FEED_MESSAGES_MAX, 0);
	f->reload = table(f->env, FEED_RELOAD_MAX, 0);
	f->lines = calloc(FEED_EVENTS, sizeof *f->lines);
	if (!ok || !f->marked || !f->messages || !f->reload || !f->lines) {
		feed_free(f);
		return ERR_NOMEM;
	}
	*out = f;
	return ERR_OK;
}

void feed_free(struct feed *f)
{
	if (!f)
		return;
	timer_stop(f->env, &f->tick);
	timer_stop(f->env, &f->hand_out);
	drop_batches(f);
	for (int i = 0; i < FEED_TABLES; i++) {
		map_free(f->told[i]);
		buf_fini(&f->put[i]);
		buf_fini(&f->del[i]);
	}
	buf_fini(&f->text);
	map_free(f->marked);
	map_free(f->messages);
	map_free(f->reload);
	free(f->due);
	free(f->lines);
	free(f);
}
