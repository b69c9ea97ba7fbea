/*
 * feed_internal.h -- what the two files of the feed share: feed.c marks, batches and hands out; feed_rows.c knows the sections.
 */
#ifndef DAEMON_FEED_INTERNAL_H
#define DAEMON_FEED_INTERNAL_H

#include "base/map.h"
#include "daemon/feed.h"
#include "daemon/rows.h"
#include "daemon/stats.h"

#define FEED_PEERS_MAX 65536    /* rows of one table that are compared */
#define FEED_MESSAGES_MAX 256   /* told one by one in one batch */
#define FEED_RELOAD_MAX 64
#define FEED_EVENTS 256         /* lines that are kept */
#define FEED_EVENTS_BATCH 64    /* told in one batch */
#define FEED_LINE_MAX 2048

/* Tables whose rows are compared with what was told. */
enum feed_table { FEED_STATUS, FEED_ATTENTION, FEED_PEERS, FEED_CONVERSATIONS, FEED_QUEUE, FEED_MESH, FEED_TABLES };

struct feed_told {
	uint64_t hash;
	uint32_t round; /* of the last whole look */
	bool shown;     /* in a snapshot only: who listened before has not heard of it */
};

struct feed_batch {
	uint64_t seq;
	uint8_t *text;
	size_t n;
};

struct feed_line {
	uint64_t n;
	size_t len;
	char text[FEED_LINE_MAX];
};

struct feed {
	struct command_ctx *cx;
	struct env *env;
	char boot[FEED_BOOT_LEN + 1];
	uint64_t seq, oldest;       /* batches oldest .. seq are there; oldest > seq: none */
	struct ring subscribers;
	bool awake;
	uint64_t sleep_ms;          /* monotonic: not before */
	struct timer tick, hand_out;
	uint64_t flushed_ms, status_ms, attention_ms, mesh_ms, swept_ms; /* monotonic, the last time */
	bool attention_due, mesh_due;
	uint64_t attention_seen;    /* attention_changes() */
	size_t attention_count, errors, warnings; /* of the last look */
	char reasons[4][200];

	struct map *told[FEED_TABLES]; /* key -> struct feed_told */
	uint8_t hash_key[16];
	uint32_t round;

	struct map *marked;         /* peer id -> bool: it is in `due`; an event says so, not the slow round alone */
	struct node_id *due;
	size_t due_n, due_cap, due_at;
	struct node_id swept;       /* where the slow round stands */
	uint64_t swept_first_ms;
	struct map *messages;       /* direction, peer, id -> inbox seq */
	struct map *reload;         /* peer id */
	bool reload_all;

	struct feed_line *lines;    /* ring of FEED_EVENTS */
	uint64_t lines_n, lines_told, lines_lost;
	struct stats_sample sample;
	bool has_sample;

	struct feed_batch batches[FEED_BATCHES];
	size_t batch_bytes;
	struct buf put[FEED_TABLES], del[FEED_TABLES], text;
	size_t made;                /* bytes of rows of this batch */
};

/* feed.c: `row` (one JSON object) goes into the batch if it differs from what was told under `key`. What was only shown is
 * told when something has happened to it, even if it is as it was shown. */
void feed_put(struct feed *f, enum feed_table t, const char *key, struct bytes row, bool happened);
void feed_del(struct feed *f, enum feed_table t, const char *key);
/* A row of a snapshot: what the slow round compares it with, unless something was told before. */
void feed_shown(struct feed *f, enum feed_table t, const char *key, struct bytes row);

/* Somebody listens, or has just looked. */
void feed_wake(struct feed *f);

/* feed_rows.c */
/* All rows of some peers; as many as there is room for. Returns how many were written. */
size_t feed_write_peers(struct feed *f, const struct node_id *ids, size_t n);
void feed_write_messages(struct feed *f, struct buf *out); /* the member "messages", or nothing */
void feed_write_attention(struct feed *f);
void feed_write_mesh(struct feed *f);
void feed_write_status(struct feed *f);
/* The next peers of the slow round, at most `max`. */
size_t feed_sweep(struct feed *f, struct node_id *out, size_t max);

#endif
