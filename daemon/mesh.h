/*
 * mesh.h -- who is connected with whom, as far as this node knows: its sessions, and the routes that neighbours tell of.
 */
#ifndef DAEMON_MESH_H
#define DAEMON_MESH_H

#include "daemon/commands.h"

#define MESH_NODES_MAX 500
#define MESH_EDGES_MAX 1000

/* Calls `fn` with each node ("node:ID") and each edge ("edge:FROM:TO"), the nodes first: ourselves, whoever is online, who is
 * reached through others, who is away. Returns how many nodes are left out. */
typedef void (*mesh_fn)(void *ctx, const char *key, struct bytes json);
size_t mesh_each(const struct command_ctx *cx, mesh_fn fn, void *ctx);

#endif
