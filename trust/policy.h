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

/* im2 4.2. off: neither offered nor taken; the operator chose the old wire, so the pins of 4.3 and the
 * mark of 4.4 refuse nothing. on: both; whoever once spoke im2 never runs the old one again. require:
 * the old wire with nobody. */
enum im2_setting { IM2_OFF, IM2_ON, IM2_REQUIRE };
const char *im2_setting_word(enum im2_setting s); /* "off", "on", "require" */
enum err im2_setting_parse(struct bytes word, enum im2_setting *out) MUST_CHECK;

/* --allowed-peers: node ids, aliases or names. Empty list and !open = unknown peers are pending. */
struct policy {
	bool trust_on_first_use;
	uint16_t min_version;      /* major << 8 | minor */
	char (*allowed)[NAME_MAX_CHARS + 1];
	size_t allowed_count;
	enum im2_setting im2;
};

void policy_init(struct policy *p); /* im2 is on, everything else off or empty */
void policy_fini(struct policy *p);
/* Comma or white-space separated entries; each a node id, or a name. ERR_USAGE names the bad one. */
enum err policy_allow(struct policy *p, const char *list, struct fault *f) MUST_CHECK;
bool policy_allows(const struct policy *p, const struct pins *pins, const struct node_id *id,
		   const char *name);
/* Before anything goes out to this identity (a dial, a hint, a relayed answer; NULL: whoever answers there), and whether a session with it may go on:
 * could policy_admit() find it on the list? ERR_OK without a list. ERR_DENIED with its fault. */
enum err policy_may_meet(const struct policy *p, const struct pins *pins, const struct node_id *id, struct fault *f) MUST_CHECK;
/* It is meant only by the name that is bound to it: under another one it would be refused. */
bool policy_needs_name(const struct policy *p, const struct pins *pins, const struct node_id *id);
/* An entry is this very id. */
bool policy_lists(const struct policy *p, const struct node_id *id);

struct admit_request {
	struct node_id id;
	const uint8_t *ed;
	const char *name;
	uint16_t version;
	bool confirms;                  /* it says that it confirms messages; nothing signs that */
	const struct node_id *self;
	const struct node_id *expected; /* --peer host:port#id; NULL = none */
	const char *dialled;            /* "host:port" when we dialled, else NULL */
	const char *generation;         /* "0.9" or "im2", where version and confirms say nothing; NULL = "0.9" */
	bool marked;                    /* 0.9: its signed version ends in ".im2" (im2 4.4) */
	const uint8_t *x25519;          /* im2: the static key of the handshake */
	bool revoked;                   /* a signed record has ended this identity (im2 13.4) */
	bool invited;                   /* it shows an invite of ours that is good (wire 9.9) */
	bool invited_trusted;           /* ... whose maker said that its bearer is trusted at once */
};

struct admit_result {
	enum err verdict;       /* OK, SELF, VERSION, DOWNGRADE, UNTRUSTED, KEY_CHANGED, DENIED, FULL, EXISTS */
	enum pin_state state;   /* what the peer is (or becomes) when OK */
	bool is_new;
	const char *via;        /* for a new record */
	struct pin_alarm alarm; /* filled on KEY_CHANGED */
	struct fault fault;     /* filled on every refusal: what, means, next */
};

/*
 * Order: self; revoked or blocked; a known id with another Ed25519 key (im2 2.2 rule 2); an identity that
 * rotated (UNTRUSTED: its new one is the way in, the old key is kept for late messages only); expected
 * id, or what it rotated to; less than im2 (DOWNGRADE: with `require`, from an identity that has spoken im2, or marked); a static
 * key that another identity has proven (EXISTS); version minimum, then the floor of this identity, and
 * that it confirms messages if it ever did (who strips that from a HELLO could swallow messages unseen);
 * name bound to another identity; address bound to another identity (no alarm when the identity
 * is already trusted: it moved); then, when an allow-list is set, whom it does not mean by id, by an alias or bound name, or,
 * as long as it is pending, by the name it claims (DENIED; KEY_CHANGED when the name it claims is an entry that means another
 * peer); then known state, else allow-list -> trusted when the entry is this
 * id or a name already pinned to this key, pending when it is a bare name of a stranger
 * (trusted with trust_on_first_use); else
 * DENIED when an allow-list is set (it also limits trust_on_first_use); else trust_on_first_use ->
 * trusted; else pending. Who comes with an invite, or is pinned by one, is meant by the list too: the operator invited him. A read-only trust store admits nobody (DENIED). Only a trusted peer owns its address.
 * For the subject of an alarm that `expected` raised and nobody dialled, the id stands in.
 */
void policy_admit(const struct policy *p, const struct pins *pins, const struct admit_request *r,
		  struct admit_result *out);

/* Before a dial on the old wire (im2 4.2, 4.3 a): may it be, towards this address (NULL: none) and this
 * identity (NULL: whoever answers)? ERR_DOWNGRADE, and the fault names the command that allows it. */
enum err policy_dial_legacy(const struct policy *p, const struct pins *pins, const char *address,
			    const struct node_id *expected, struct fault *f) MUST_CHECK;

#endif
