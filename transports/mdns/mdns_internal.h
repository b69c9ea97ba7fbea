/*
 * mdns_internal.h -- what the files of this folder share.
 *
 *   mdns.c     up and down, back-off, what is published and browsed, the stop
 *   course.c   one service: seen, asked for its port, text and addresses, told upward, lost
 *   table.c    what is known, bounded; no I/O
 *   address.c  which addresses are usable from here, best first; no I/O but the list of our own
 *   txt.c      TXT records
 *   ref.c      the calls of dns_sd.h: begun on threads, heard on the loop
 */
#ifndef TRANSPORTS_MDNS_INTERNAL_H
#define TRANSPORTS_MDNS_INTERNAL_H

#include "base/limit.h"
#include "transports/mdns/mdns.h"

#define TYPES_MAX 4
#define SLOTS_MAX 4
#define COURSES_MAX 4 /* at once; two connections to the system bus each, of 256 that all programs of a user share */
#define HOST_MAX 255

/* --- txt.c --------------------------------------------------------------------------------------------------- */
/* ERR_USAGE for a key that no reader takes, ERR_LIMIT. */
enum err txt_build(const struct mdns_pair *pairs, size_t n, uint8_t out[static MDNS_TXT_MAX], size_t *len) MUST_CHECK;

/* --- ref.c --------------------------------------------------------------------------------------------------- */
enum ask_kind { ASK_BROWSE, ASK_RESOLVE, ASK_ADDRESS, ASK_REGISTER };

struct ask {
	enum ask_kind kind;
	uint32_t ifindex;                     /* 0: every interface */
	char type[MDNS_TYPE_MAX + 1];
	char name[MDNS_INSTANCE_MAX + 1];     /* RESOLVE, REGISTER */
	char host[HOST_MAX + 1];              /* ADDRESS */
	bool v6;                              /* ADDRESS */
	uint16_t port;                        /* REGISTER */
	uint16_t txt_n;
	uint8_t txt[MDNS_TXT_MAX];
};

/* What came. Everything is borrowed during the call. */
struct answer {
	enum err err;       /* not ERR_OK: the last one of this ref, which is gone after the call. EXISTS: the name is taken;
			     * USAGE: the library will never take this ask; IO: avahi or the bus, or none of them */
	bool opened;        /* the call was taken; more follows */
	bool add;           /* BROWSE, ADDRESS: else it went */
	uint32_t ifindex;
	const char *name, *domain; /* BROWSE, REGISTER: as it stands */
	const char *host;   /* RESOLVE, with port and data = TXT */
	uint16_t port;
	struct bytes data;  /* ADDRESS: 4 or 16 bytes */
};

struct ref;
struct refs;
typedef void (*answer_fn)(void *ctx, struct ref *r, const struct answer *a);

enum err refs_new(uv_loop_t *loop, struct refs **out) MUST_CHECK;
/* Begins a call; `fn` follows from the loop, at least once. NULL: no memory, no thread. */
struct ref *ref_open(struct refs *g, const struct ask *a, answer_fn fn, void *ctx);
/* Nothing of it is heard any more. Also from its own `fn`. Accepts NULL. */
void ref_close(struct ref *r);
/* Closes every ref; `done` when nothing is on the loop. Threads that avahi keeps waiting end by themselves. */
void refs_stop(struct refs *g, void (*done)(void *), void *ctx);
void refs_free(struct refs *g);
/* NULL, or why there cannot be an answer now. Looks at the file system only. */
const char *bus_missing(void);

/* --- address.c ----------------------------------------------------------------------------------------------- */
struct ip {
	bool v6;
	uint8_t b[16]; /* 4 of them without v6 */
};
struct own_net { /* one address of ours */
	uint32_t ifindex;
	struct ip ip;
	uint8_t prefix;
	bool loopback; /* the interface */
};
#define OWN_NETS_MAX 256
size_t own_nets(struct own_net *out, size_t max);

struct bind_rule {
	bool restricted, known; /* known: its interface was found */
	bool any_family, v6;
	uint32_t ifindex;
};
/* `bind`: an address, the name of an interface, "localhost", NULL or an address of all. */
void bind_rule_of(const char *bind, const struct own_net *nets, size_t n, struct bind_rule *out);

enum { RANK_NET4, RANK_NET6, RANK_LINK6, RANK_FAR, RANK_NEVER };
/* How good `ip`, heard on `ifindex`, is to dial from here. */
unsigned address_rank(const struct ip *ip, uint32_t ifindex, const struct own_net *nets, size_t n,
		      const struct bind_rule *rule);
/* "192.0.2.7:8765", "[2001:db8::7]:8765"; a link-local one with its scope: "[fe80::1%3]:8765". */
void address_text(const struct ip *ip, uint32_t ifindex, uint16_t port, char out[static 80]);

/* --- table.c ------------------------------------------------------------------------------------------------- */
/* A service as one interface shows it. */
enum row_state { ROW_NEW, ROW_ASKING, ROW_READY, ROW_FAILED };
struct course;
struct row {
	uint8_t type;                         /* of the browsed ones */
	char instance[MDNS_INSTANCE_MAX + 1];
	uint32_t ifindex;
	uint16_t seen;                        /* by how many protocols; 0: it goes at gone_ms */
	uint64_t gone_ms;
	enum row_state state;
	bool told;                            /* found() was called with it */
	bool wanted;                          /* ... and said that it is of use */
	uint8_t failures;
	uint64_t due_ms;                      /* when it is asked (again) */
	uint64_t born;                        /* the order of coming */
	struct course *course;                /* while it is asked */
	uint16_t port;
	size_t ips_n;
	struct ip ips[MDNS_ADDRESSES_MAX];    /* best first */
	uint16_t txt_n;
	uint8_t *txt;
};
struct table {
	struct row *rows[MDNS_SERVICES_MAX];
	size_t n;
	uint64_t born;
};
struct row *table_find(const struct table *t, uint8_t type, const char *instance, uint32_t ifindex);
/* ERR_FULL, ERR_NOMEM. Due at once. */
enum err table_add(struct table *t, uint8_t type, const char *instance, uint32_t ifindex, struct row **out) MUST_CHECK;
/* Who makes room in a full table: one that answers nothing, else one that is of no use, by chance. NULL: nobody. */
struct row *table_victim(const struct table *t, struct env *env);
void table_drop(struct table *t, struct row *r);
/* One of those that are due, by chance, so that a crowd cannot stay in front. */
enum which { ANY, WANTED, NEVER_ASKED };
struct row *table_next(const struct table *t, enum which which, uint64_t now_ms, struct env *env);
bool row_is(const struct row *r, enum which which);
/* All of `type` (all types: < 0) have to be seen anew before `gone_ms`. */
void table_doubt(struct table *t, int type, uint64_t gone_ms);
void table_fini(struct table *t);

/* --- mdns.c, course.c ---------------------------------------------------------------------------------------- */
struct browse {
	bool used;
	char type[MDNS_TYPE_MAX + 1];
	struct ref *ref;
	bool missed;              /* something came too fast: look again at `again_ms` */
	uint64_t again_ms;
	uint8_t misses;
};

struct slot {
	bool used, standing;
	struct ask ask;           /* its name: the one that was asked for */
	struct ref *ref;
	char actual[MDNS_INSTANCE_MAX + 1]; /* while standing */
	uint8_t taken;            /* how often the name was */
	uint8_t failures;
	uint64_t due_ms;          /* tried (again) then */
};

struct course {
	struct mdns *m;
	struct row *row;          /* NULL: free */
	struct ref *resolve, *v4, *v6;
	bool got_v4, got_v6;
	uint64_t end_ms, settle_ms; /* at the latest; and once something was heard */
	uint16_t port, txt_n;
	uint8_t txt[MDNS_TXT_MAX];
	char host[HOST_MAX + 1];
	size_t ips_n;
	struct ip ips[4 * MDNS_ADDRESSES_MAX];
};

struct mdns {
	struct mdns_config c;
	char *bind;
	struct bind_rule rule;
	struct refs *refs;
	enum mdns_state state;
	char why[200];
	struct timer timer;
	uint64_t attempt_ms;      /* not up: when it is tried (again) */
	uint64_t hung_ms;         /* the attempt has no answer by then */
	bool trying;
	uint32_t failures;
	bool was_up, stopping;
	struct browse browses[TYPES_MAX];
	struct slot slots[SLOTS_MAX];
	struct course courses[COURSES_MAX];
	struct table table;
	struct bucket events;
	struct mdns_stats stats;
};

void mdns_wake(struct mdns *m, uint64_t at_ms); /* the timer rings then at the latest */
bool mdns_is_ours(const struct mdns *m, const char *type, const char *instance, bool *soon);

void course_seen(struct mdns *m, struct browse *b, const struct answer *a);
void course_run(struct mdns *m, uint64_t now);   /* from the timer */
uint64_t course_when(const struct mdns *m);
void course_cancel_all(struct mdns *m);
/* The row goes; who heard of it is told. */
void course_lose(struct mdns *m, struct row *r);
void course_forget(struct mdns *m, int type);    /* untold */

#endif
