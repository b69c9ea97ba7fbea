/*
 * policy.h -- may this identity talk to us, and as what? Pure: reads pins, changes nothing.
 *
 * The answer comes before any side effect: nothing is pinned, no reply that names us is sent, until
 * policy_admit() said yes (wire 12, weaknesses 7, 10 and 35).
 */
#ifndef TRUST_POLICY_H
#define TRUST_POLICY_H

#include "trust/pins.h"

#define ALLOW_MAX 1024

/* --allowed-peers: node ids, aliases or names. Empty list and !open = unknown peers are pending. */
struct policy {
	bool trust_on_first_use;
	uint16_t min_version;      /* major << 8 | minor */
	char (*allowed)[NAME_MAX_CHARS + 1];
	size_t allowed_count;
};

void policy_init(struct policy *p);
void policy_fini(struct policy *p);
/* Comma or white-space separated entries; each a node id, or a name. ERR_USAGE names the bad one. */
enum err policy_allow(struct policy *p, const char *list, struct fault *f) MUST_CHECK;
bool policy_allows(const struct policy *p, const struct pins *pins, const struct node_id *id,
		   const char *name);

struct admit_request {
	struct node_id id;
	const uint8_t *ed;
	const char *name;
	uint16_t version;
	bool confirms;                  /* it says that it confirms messages; nothing signs that */
	const struct node_id *self;
	const struct node_id *expected; /* --peer host:port#id; NULL = none */
	const char *dialled;            /* "host:port" when we dialled, else NULL */
};

struct admit_result {
	enum err verdict;       /* OK, SELF, VERSION, DOWNGRADE, UNTRUSTED, KEY_CHANGED, DENIED, FULL */
	enum pin_state state;   /* what the peer is (or becomes) when OK */
	bool is_new;
	const char *via;        /* for a new record */
	struct pin_alarm alarm; /* filled on KEY_CHANGED */
	struct fault fault;     /* filled on every refusal: what, means, next */
};

/*
 * Order: self; revoked or blocked; expected id; version minimum, then the floor of this identity, and
 * that it confirms messages if it ever did (who strips that from a HELLO could swallow messages unseen);
 * name bound to another identity; address bound to another identity (no alarm when the identity
 * is already trusted: it moved); then known state, else allow-list -> trusted when the entry is this
 * id or a name already pinned to this key, pending when it is a bare name of a stranger
 * (trusted with trust_on_first_use); else
 * DENIED when an allow-list is set (it also limits trust_on_first_use); else trust_on_first_use ->
 * trusted; else pending. A read-only trust store admits nobody (DENIED). Only a trusted peer owns its address.
 * For the subject of an alarm that `expected` raised and nobody dialled, the id stands in.
 */
void policy_admit(const struct policy *p, const struct pins *pins, const struct admit_request *r,
		  struct admit_result *out);

#endif
