/*
 * config.h -- what the daemon runs with: ironmesh.conf, conf.d and the options of `ironmesh run`, as C values.
 *
 * Every setting is a row of settings_table.c. A reader of a setting looks at its member here; strings belong to this struct,
 * and live until the next reload (reload.h), which replaces its contents in place.
 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <stdio.h>

#include "base/log.h"
#include "daemon/admins.h"
#include "daemon/discovery.h"
#include "daemon/routes.h"
#include "daemon/settings.h"
#include "daemon/walls.h"
#include "trust/policy.h"

#define RUN_PEERS_MAX 256
#define RUN_PORT 8765
#define RUN_MESH "default"
#define RUN_MESH_MAX 64

struct run_config {
	bool json; /* the ready line on stdout, the log as JSON */
	const char *name; /* NULL: the name in the key file */
	bool listen;
	const char *bind; /* NULL: do not listen */
	uint16_t port;    /* 0: the system picks */
	const char *passphrase_file, *key_passphrase_file;
	int passphrase_fd; /* -1: none */
	bool clear_keys;
	bool no_passphrase; /* of the mesh */
	bool unattended;    /* a first start of a service: see unlock.h */
	char *peers[RUN_PEERS_MAX]; /* "host:port" or "host:port#id": of --peer, then of [peer ...] */
	size_t peer_count;
	struct policy policy;
	bool allow_plaintext, strict_tls;
	const char *pinned_ca;
	uint64_t rekey_ms;
	/* im2.md 2.4, 4.2, 5.1, 7.8, 9.4; whether it runs at all is policy.im2. */
	const char *mesh;  /* name of the mesh; every node of it says the same */
	uint16_t passgen;  /* which of the mesh's passphrases ours is, while it changes */
	bool pad, sign_always, tls_binding;
	enum routing_mode routing; /* im2.md 11; passive */
	bool seal_refuse, seal_pad; /* im2.md 11.3 */
	bool rotate_keeps_verified; /* im2.md 13.4 */
	bool cap_change_holds; /* a trusted peer whose capabilities change is held until the operator decides */
	struct admins admins; /* who together may revoke; empty: nobody */
	enum discovery_scope discovery; /* im2.md 15.5, wire 8; SCOPE_AUTO unless said */
	bool open_discovery; /* whoever is found is dialled */
	const char *backup_directory, *backup_passphrase_file; /* NULL: the daemon makes no backups */
	uint64_t backup_every_ms; /* 0: only when asked */
	uint32_t backup_keep;
	double connect_rate; /* accepted per second and source; 0: no limit */
	uint32_t sessions; /* open at a time */
	enum walls_mode walls;
	const char *http_listen; /* "127.0.0.1:8766"; NULL: only when `ironmesh dashboard` asks */
	bool http_remote;        /* it may be an address that other machines reach */
	const char *http_names;  /* "a, b": more names under which it is asked for; NULL */
	bool http_metrics_open, http_metrics_per_peer;
	enum log_level log_level;
	enum log_format log_format;
	bool help;
	struct settings settings; /* where each value comes from */
};

void run_config_init(struct run_config *c);
void run_config_fini(struct run_config *c);
/* Where the daemon takes its settings from; all borrowed. The same sources are read again at a reload. */
struct config_sources {
	const char *home; /* NULL: no file but that of --config */
	int argc;         /* of `ironmesh run`; argv[0] is not looked at */
	char **argv;
};
/* Into a struct fresh from run_config_init(). ERR_USAGE and others with fault: exit 2 for an option, 10 for a file.
 * With --help the rest is not checked. */
enum err run_config_load(struct run_config *c, const struct config_sources *from, struct fault *f) MUST_CHECK;
/* From values that were read already; takes `st`. */
enum err run_config_build(struct run_config *c, struct settings *st, struct fault *f) MUST_CHECK;

/* "0.9" or "ironmesh/0.9". ERR_MALFORMED; ERR_UNSUPPORTED above what this program speaks. */
enum err protocol_version_parse(const char *text, uint16_t *out) MUST_CHECK;

/* False past the end. Any of the results may be NULL. */
bool run_option(unsigned i, const char **name, const char **arg, const char **text);
void run_help(FILE *to);

#endif
