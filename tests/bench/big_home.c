/*
 * big_home -- a home folder with many peers and messages, made through the trust store and the database themselves.
 *
 *	big_home HOME [--peers N] [--messages N] [--seed N] [--hostile] [--pending N]
 *
 * The key is stored in clear. Nobody runs behind the peers. Messages stand in every state that a row may have; times go
 * back from now. --hostile: names and bodies with markup, signs that turn the direction of writing, control characters and
 * look-alikes, as far as a peer gets them into the store.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "base/text.h"
#include "protocol/message.h"
#include "store/inbox.h"
#include "store/outbox.h"
#include "trust/keyfile.h"
#include "trust/pins.h"

#define DAY_MS 86400000ull
#define GROUP 1000 /* rows in one transaction */

static uint64_t seed = 1, now_ms, wall_ms;

static uint64_t next_number(void)
{
	/* SplitMix64: the same home for the same seed, but for its keys. */
	uint64_t z = (seed += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint64_t below(uint64_t n)
{
	return next_number() % n;
}

static uint64_t get_now(void *ctx)
{
	return now_ms;
}

static uint64_t get_wall(void *ctx)
{
	return wall_ms;
}

static void get_random(void *ctx, void *out, size_t n)
{
	randombytes_buf(out, n);
}

static struct env env = {.now_ms = get_now, .wall_ms = get_wall, .random = get_random};

static void must(enum err e, const char *what, const struct fault *f)
{
	if (e == ERR_OK)
		return;
	fprintf(stderr, "big_home: %s: %s %s\n", what, err_word(e), f ? f->what : "");
	exit(1);
}

/* --- peers ----------------------------------------------------------------------------------------------- */
static const char *const HOSTILE[] = {
	"<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "bob\" onmouseover=\"alert(1)", "\xe2\x80\xae" "gnp.exe",
	"\xd0\xb0lice", "al1ce", "ALICE", "alice.", "javascript:alert(1)", "{{7*7}}", "a\x1b[31mred\x1b[0m", "\xf0\x9f\xa6\x84 unicorn",
	"\xef\xbd\x81lice", "${jndi:ldap://x}", "' OR 1=1 --", "zero\xe2\x80\x8bwidth", "..", "constructor", "__proto__", "%00%0a",
};
#define HOSTILE_N (sizeof(HOSTILE) / sizeof(HOSTILE[0]))

static void name_of(size_t i, bool hostile, char out[static NAME_MAX_CHARS + 1])
{
	static const char *const words[] = {"alice", "bob", "carol", "dora", "emil", "frieda", "gustav", "hanna"};

	if (hostile && i % 50 < HOSTILE_N)
		snprintf(out, NAME_MAX_CHARS + 1, "%s%s", HOSTILE[i % 50], i < 50 ? "" : "x");
	else if (i < 8)
		snprintf(out, NAME_MAX_CHARS + 1, "%s", words[i]);
	else
		snprintf(out, NAME_MAX_CHARS + 1, "%s-%zu", words[i % 8], i);
}

static void add_peers(struct pins *pins, struct node_id *ids, size_t n, size_t pending, bool hostile)
{
	uint64_t end = wall_ms;

	for (size_t i = 0; i < n; i++) {
		uint8_t ed[ED_BYTES], sk[crypto_sign_SECRETKEYBYTES], raw[crypto_sign_SEEDBYTES];
		char name[NAME_MAX_CHARS + 1], alias[NAME_MAX_CHARS + 1];
		struct fault f = {0};
		struct pin_update u;

		for (size_t k = 0; k < sizeof raw; k += 8) {
			uint64_t v = next_number();

			memcpy(raw + k, &v, 8);
		}
		crypto_sign_seed_keypair(ed, sk, raw);
		node_id_of(ed, &ids[i]);
		name_of(i, hostile, name);
		u = (struct pin_update){.id = ids[i], .ed = ed, .name = name, .version = 0x0009, .via = "tofu",
					.state = i >= n - pending ? PIN_PENDING : PIN_TRUSTED,
					.wall_ms = end - (n - i) * 1000};
		must(pins_observe(pins, &u, NULL), "a peer", NULL);
		if (i % 100 == 7 && i < n - pending) {
			snprintf(alias, sizeof alias, "desk-%zu", i);
			must(pins_set_alias(pins, &ids[i], alias, &f), "an alias", &f);
		}
		if (i % 200 == 9 && i < n - pending)
			must(pins_set_state(pins, &ids[i], PIN_BLOCKED, "too loud", &f), "a block", &f);
	}
}

/* --- messages -------------------------------------------------------------------------------------------- */
static const char *body_of(size_t i, bool hostile)
{
	static const char *const plain[] = {"hello", "the temperature is 21.5 degrees", "done", "please look at the door",
					    "a longer line of text that does not fit into a narrow column of a table and has to be cut"};
	static const char *const bad[] = {"<script>document.title='owned'</script>", "\xe2\x80\xae" "txet desrever", "a\x1b[2Jb",
					  "<a href=javascript:alert(1)>x</a>", "line\r\nline", "\xf0\x9f\x92\xa3\xe2\x80\x8b\xe2\x80\x8f"};

	return hostile && i % 3 == 0 ? bad[i % 6] : plain[i % 5];
}

static void end_sent(struct store *s, int64_t seq, size_t i, uint64_t at_ms)
{
	static const enum outbox_state ends[] = {OUTBOX_DELIVERED, OUTBOX_DELIVERED, OUTBOX_DELIVERED, OUTBOX_DELIVERED,
						 OUTBOX_READ,	   OUTBOX_READ,	     OUTBOX_SENT,      OUTBOX_FAILED};
	struct outbox_try t = {.at_ms = at_ms + 2, .via = OUTBOX_VIA_SESSION, .hops = 1};
	uint64_t kind = below(200);

	if (kind < 2)
		return; /* it waits */
	if (kind < 20)
		must(outbox_attempt(s, seq, &t), "a try", NULL);
	must(outbox_move(s, seq, kind < 4 ? OUTBOX_EXPIRED : kind < 6 ? OUTBOX_REJECTED : kind < 7 ? OUTBOX_CANCELLED : ends[kind % 8],
			 kind < 7 ? "not this time" : NULL, at_ms + 5 + below(400)),
	     "an end", NULL);
}

static void add_sent(struct store *s, const struct node_id *to, size_t i, bool hostile, uint64_t at_ms)
{
	struct outbox_new m = {.to = *to, .type = BYTES_LIT("MSG"), .priority = (uint8_t)(i % 20 == 0 ? 2 : 1), .created_ms = at_ms,
			       .expires_ms = wall_ms + 7 * DAY_MS, .body = bytes_str(body_of(i, hostile))};
	uint8_t wire[16], conv[MSG_META_MAX];
	struct message_ext x = {0};
	struct buf meta;
	int64_t seq;

	x.has_conv = i % 4 == 0;
	memcpy(x.conv, to->hex, sizeof x.conv);
	buf_init(&meta, MSG_META_MAX);
	message_meta_write(&x, &meta);
	if (meta.n)
		memcpy(conv, meta.p, meta.n);
	m.meta = bytes_of(conv, meta.n);
	buf_fini(&meta);
	must(outbox_put(s, &m, &seq, wire), "a message", NULL);
	end_sent(s, seq, i, at_ms);
}

static void add_received(struct store *s, const struct node_id *from, const struct node_id *via, size_t i, bool hostile,
			 uint64_t at_ms)
{
	struct inbox_new m = {.author = *from, .via = *via, .type = BYTES_LIT("MSG"), .priority = 1, .created_ms = at_ms - 20,
			      .received_ms = at_ms, .proven = true, .body = bytes_str(body_of(i, hostile)), .clock_plausible = true};
	char id[40];
	enum inbox_state state;
	int64_t seq;
	bool changed;

	snprintf(id, sizeof id, "made-%zu", i);
	m.id = bytes_str(id);
	must(inbox_put(s, &m, &seq, &state), "a received message", NULL);
	if (i % 10)
		must(inbox_mark_read(s, seq, at_ms + 1000 + below(100000), &changed), "reading", NULL);
}

static void add_messages(struct store *s, const struct node_id *ids, size_t peers, size_t n, bool hostile)
{
	for (size_t i = 0; i < n; i++) {
		/* A tenth of all is said with the first peer; the others share the rest. */
		const struct node_id *who = &ids[i % 10 == 0 ? 0 : below(peers)];
		uint64_t at_ms = wall_ms - (n - i) * 20000 % (14 * DAY_MS);

		if (below(2))
			add_sent(s, who, i, hostile, at_ms);
		else
			add_received(s, who, i % 17 ? who : &ids[0], i, hostile, at_ms);
		if (i % GROUP == GROUP - 1)
			must(store_commit(s), "commit", NULL);
	}
	must(store_commit(s), "commit", NULL);
}

/* --- all ------------------------------------------------------------------------------------------------------- */
static size_t number(const char *text)
{
	char *end;
	unsigned long v = strtoul(text ? text : "", &end, 10);

	if (!text || *end || end == text) {
		fprintf(stderr, "usage: big_home HOME [--peers N] [--messages N] [--seed N] [--hostile] [--pending N]\n");
		exit(2);
	}
	return v;
}

static void path_of(const char *home, const char *name, char out[static 4096])
{
	if (snprintf(out, 4096, "%s/%s", home, name) >= 4096)
		exit(2);
}

int main(int argc, char **argv)
{
	size_t peers = 10000, messages = 100000, pending = 20;
	const char *home = argc > 1 ? argv[1] : NULL;
	struct store_config sc = {.env = &env, .relaxed = true};
	char path[4096];
	struct fault f = {0};
	struct secret wrap = {0};
	struct keyring *keys;
	struct store *store;
	struct pins *pins;
	struct node_id *ids;
	bool hostile = false;
	struct timespec t;

	for (int i = 2; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (strcmp(argv[i], "--hostile") == 0) {
			hostile = true;
			continue;
		}
		size_t v = number(value);
		if (strcmp(argv[i], "--peers") == 0)
			peers = v;
		else if (strcmp(argv[i], "--messages") == 0)
			messages = v;
		else if (strcmp(argv[i], "--pending") == 0)
			pending = v;
		else if (strcmp(argv[i], "--seed") == 0)
			seed = v;
		else
			(void)number(NULL);
		i++;
	}
	if (!home || home[0] == '-' || !peers || pending >= peers)
		(void)number(NULL);
	clock_gettime(CLOCK_REALTIME, &t);
	wall_ms = (uint64_t)t.tv_sec * 1000;
	now_ms = 1000;
	must(secret_init_library(), "libsodium", NULL);
	if (mkdir(home, 0700) != 0)
		must(ERR_EXISTS, home, NULL);
	must(keyring_generate(&env, &keys), "a key", NULL);
	path_of(home, "keys.json", path);
	must(keyfile_create(path, keys, "big", bytes_of(NULL, 0), true, &env, &f), path, &f);
	path_of(home, "known_peers.json", path);
	must(pins_load(path, keys, &env, &pins, &f), path, &f);
	ids = calloc(peers, sizeof *ids);
	if (!ids)
		must(ERR_NOMEM, "peers", NULL);
	add_peers(pins, ids, peers, pending, hostile);
	must(pins_flush(pins, &f), path, &f);
	must(keyring_derive(keys, DERIVE_DB_WRAP, &wrap), "a key", NULL);
	path_of(home, "ironmesh.db", path);
	sc.path = path;
	sc.wrap_key = secret_bytes(&wrap);
	must(store_open(&sc, &store, &f), path, &f);
	add_messages(store, ids, peers - pending, messages, hostile);
	store_close(store);
	secret_free(&wrap);
	pins_free(pins);
	keyring_free(keys);
	timers_fini(&env);
	free(ids);
	return 0;
}
