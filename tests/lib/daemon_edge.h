/*
 * daemon_edge.h -- a node in memory, without a transport, and the command table on it.
 *
 * Include after cmocka.h.
 */
#ifndef TESTS_LIB_DAEMON_EDGE_H
#define TESTS_LIB_DAEMON_EDGE_H

#include "daemon/rpc.h"

struct edge {
	struct env env;
	uint64_t now_ms;          /* of the scripted clock */
	struct keyring *keyring;
	struct policy policy;
	struct pins *pins;
	struct store *store;
	struct audit *audit;
	struct node *node;
	struct events *events;
	struct command_ctx cx;
	/* What was put, in order; the taker owns the line. */
	struct buf out;
	size_t room;              /* bytes an event may fill `out` to */
	struct rpc rpc;
};

void edge_init(struct edge *e);
void edge_fini(struct edge *e);
/* A trusted peer called `name`. */
struct node_id edge_peer(struct edge *e, const char *name);
/* Commits, and runs what is due. */
void edge_turn(struct edge *e);
void edge_sleep(struct edge *e, uint64_t ms);
/* A message from `from` in the inbox, with its event. */
int64_t edge_receive(struct edge *e, const struct node_id *from, const char *id, struct bytes body);
void edge_line(struct edge *e, const char *line);
/* The next line that was put, parsed (new reference); NULL when there is none. */
json_t *edge_next(struct edge *e);
/* A call with its answer, which comes after at most one turn. `params` is JSON text. New references. */
json_t *edge_ok(struct edge *e, const char *method, const char *params);
json_t *edge_error(struct edge *e, const char *method, const char *params);
/* The word in error.data.err; dies when it was no error. */
void edge_refused(struct edge *e, const char *method, const char *params, const char *word);

#endif
