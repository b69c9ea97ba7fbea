/*
 * commands.h -- the command table: every method of docs/control.md, with and without a daemon.
 *
 * One table names method, handler, flags and parameters. The control socket and the offline door
 * (daemon/offline.c) walk the same one. Parameters are checked against the table before a handler
 * runs: an unknown one, a missing one and a wrong type are ERR_USAGE and name it.
 *
 * A handler answers at once, or keeps its request and answers later (a commit, a wait, a ping).
 */
#ifndef DAEMON_COMMANDS_H
#define DAEMON_COMMANDS_H

#include "base/json.h"
#include "daemon/admins.h"
#include "daemon/brakes.h"
#include "daemon/events.h"
#include "daemon/node.h"

#define CONTROL_API 1
#define CONTROL_LINE_MAX 1600000u    /* bytes of one line out, with its end */
#define CONTROL_REQUEST_MAX 4194304u /* of one line in, likewise */
#define SEND_MANY_MAX 1024           /* messages of one send_many */

/* What only the owner of the program knows; shown in `status`. */
struct keyfile_info;
struct lan;
struct reload;
struct http;
struct walls;
struct backups;
struct app_info {
	uint64_t started_ms;            /* monotonic */
	uint64_t started_wall_ms;
	char listen[4][ADDRESS_MAX + 1]; /* "host:port" as bound; unused ones empty */
	bool plaintext, trust_on_first_use;
	const struct policy *policy;    /* NULL offline */
	const char *mesh;               /* im2.md 2.4 */
	const char *const *mesh_key;    /* its state: "off", "computing", "ready", "failed"; NULL offline */
	bool im2_pad, im2_sign_always, tls_binding;
	const struct admins *admins;    /* im2.md 13.4; NULL offline */
	const struct lan *lan;          /* NULL: discovery is off, or offline */
	struct walls *walls;            /* NULL: none, or offline */
	struct backups *backups;        /* NULL offline */
	char warnings[8][240];          /* for people; unused ones empty */
};

/* What a command stands on; all borrowed. Offline: no node, no events, and only what was loaded. */
struct command_ctx {
	struct node *node;
	struct events *events;
	struct env *env;
	const struct keyring *keyring;
	struct pins *pins;
	struct store *store;
	struct audit *audit;
	const char *home;
	const char *name;
	const struct keyfile_info *key_info; /* of the daemon: it does not read the file again. NULL offline */
	struct app_info info;
	/* keys.rotate: the passphrase of the key file (empty: stored in clear), and how the daemon is
	 * told to stop. `stop` returns at once; the stop follows in a later turn. */
	struct bytes key_passphrase;
	void (*stop)(void *ctx);
	void *stop_ctx;
	const struct reload *reload;    /* the settings in force and how they came; NULL offline */
	enum err (*run_reload)(void *stop_ctx, json_t **result, struct fault *f);
	struct http *http;              /* NULL offline */
	struct stats *stats;            /* NULL offline, as the next two */
	struct attention *attention;
	struct feed *feed;
	struct brakes *brakes;          /* made when an agent sends first; whoever owns this frees it */
	bool rotated;                   /* set by keys.rotate: nothing is changed any more */
};

/* --- a request --------------------------------------------------------------------------------- */
#define REQUEST_ID_MAX 128

/* Owned by whoever took it from a connection, until it is answered: then it is gone. */
struct request {
	struct ring link;               /* of its owner */
	void *owner;
	/* Exactly one of `result` (one JSON object, text) and `f`. Frees the request. */
	void (*reply)(struct request *r, struct bytes result, const struct fault *f);
	/* Set by a handler that answers later: its connection is gone. Forgets callbacks, frees its
	 * state, answers nothing. */
	void (*cancel)(struct request *r);
	void *state;
	struct subscriber *subscriber;  /* of its connection, for events.subscribe; its owner ends it */
	struct feed_subscriber *feed;   /* of its connection, for feed.subscribe; likewise. NULL: it carries none */
	bool blocking;                  /* while it waits, nothing further of its connection is read */
	bool short_lived;               /* waits for a commit only: worth finishing after an end of file */
	char id[REQUEST_ID_MAX + 1];    /* JSON text; "" = a notification, nothing is answered */
};

void request_answer(struct request *r, json_t *result);   /* takes `result`; NULL = no memory */
void request_fail(struct request *r, const struct fault *f);

/* --- running one ------------------------------------------------------------------------------- */
struct call {
	struct command_ctx *cx;
	const json_t *params;           /* an object that fits the table */
	struct request *request;        /* NULL offline */
	bool later;                     /* the handler keeps `request` */
	json_t *result;                 /* new reference */
	struct fault *f;
};

enum command_flags {
	CMD_OFFLINE = 1,                /* works without a daemon */
	CMD_ONLINE = 2,                 /* works with one */
	CMD_KEY = 4,                    /* offline: needs the keyring */
	CMD_STATE = 8,                  /* offline: needs pins, audit and, where there is one, the store */
	CMD_CHANGES = 16,               /* refused after a rotation */
	CMD_PEER_STATE = 32,            /* offline: CMD_KEY and CMD_STATE only when `peer` is given */
	/* The least role that may call it over HTTP (docs/http-api.md). None of them: only here, never over HTTP. */
	CMD_READ = 64,
	CMD_SEND = 128,
	CMD_ADMIN = 256,
	CMD_LOCAL = 512,                /* offline: reads files of its own, and needs no lock of the home folder */
};

enum param_kind { PARAM_NONE, PARAM_TEXT, PARAM_INT, PARAM_BOOL, PARAM_WORDS, PARAM_LIST };

struct param {
	const char *name;
	enum param_kind kind;
	bool required;
	int64_t min, max;               /* INT: the value; TEXT: bytes; WORDS, LIST: how many */
};
#define COMMAND_PARAMS 24

struct command {
	const char *method;
	enum err (*run)(struct call *c); /* ERR_OK: `result` is set, or `later` */
	unsigned flags;
	struct param params[COMMAND_PARAMS];
};

const struct command *command_find(struct bytes method);
const struct command *command_at(size_t i); /* NULL past the end */
/* Says in `f` which method `typed` was probably meant to be, if one is near. */
void command_suggest(const char *typed, struct fault *f);
/* One message of send_many: a text, or an object with what `send` says of the message itself. ERR_USAGE. */
enum err command_check_message(const json_t *message, struct fault *f) MUST_CHECK;
/* Borrows `params` (NULL = none). Checks them, then runs. Every error fills c->f. */
enum err command_run(const struct command *m, struct call *c, const json_t *params) MUST_CHECK;

/* The code of JSON-RPC for an error of a command. */
#define RPC_NOT_JSON (-32700)
#define RPC_NOT_REQUEST (-32600)
#define RPC_NO_METHOD (-32601)
#define RPC_BAD_PARAMS (-32602)
#define RPC_REFUSED (-32000)
static inline int rpc_code(enum err e)
{
	return e == ERR_USAGE ? RPC_BAD_PARAMS : RPC_REFUSED;
}

#endif
