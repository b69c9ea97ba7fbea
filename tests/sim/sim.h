/*
 * sim.h -- many nodes in one process, in virtual time, from one seed.
 *
 * A seed makes a plan (sim_plan.c): how many nodes, who dials whom, how unkind the network, the disks
 * and the clocks are. The world (sim_world.c) runs the real core over the loopback transport, lets
 * an actor do random things (sim_act.c), heals everything at the end and waits until every message has
 * ended. The check (sim_check.c) knows what was submitted and answered, and after every step it holds
 * the nodes against it. The same seed gives the same run, to the last byte.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "base/map.h"
#include "daemon/node.h"
#include "transports/loopback.h"

#define SIM_NODES_MAX 50
#define SIM_DOWN_MAX_MS 4000
#define SIM_EPOCH_MS 1790000000000 /* what wall clocks show at the beginning */

/* --- chance (sim_plan.c) -------------------------------------------------------------------- */
struct rng {
	uint64_t s[4];
};
void rng_seed(struct rng *r, uint64_t seed, uint64_t stream);
uint64_t rng_u64(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* 0 when n == 0 */
uint64_t rng_between(struct rng *r, uint64_t low, uint64_t high);
bool rng_ppm(struct rng *r, uint32_t per_million);
void rng_fill(struct rng *r, void *out, size_t n);

struct world;

/* --- the plan ------------------------------------------------------------------------------- */
enum hole_kind { HOLE_CUTS, HOLE_STALLS };

struct plan {
	unsigned nodes, actions;
	uint32_t gap_ms;              /* between actions, at most */
	bool on_disk;                 /* files: nodes may crash and come back */
	bool manual;                  /* unknown peers are pending instead of trusted on first use */
	/* network */
	uint32_t delay_ms, jitter_ms, spike_ppm, spike_ms;
	uint32_t cut_ppm, refuse_ppm;
	bool unreliable;              /* units are dropped, doubled and reordered: no WebSocket does that */
	uint32_t drop_ppm, double_ppm, reorder_ppm;
	uint32_t hole_ppm;            /* partitions, per action */
	enum hole_kind hole;
	/* machines */
	uint32_t crash_ppm;           /* per step */
	uint32_t stop_ppm, disk_ppm;  /* per action */
	uint32_t skew_ms, jump_ms;    /* wall clocks: at most so far off; steps of at most so much */
	/* configuration of every node */
	uint64_t rekey_ms, confirm_ms, ping_ms, handshake_ms;
	uint32_t window, window_bytes;
	uint32_t outbox_per_peer, inbox_per_peer, held_per_peer;
	bool may_refuse;              /* a receiver's box may be full */
	double messages_per_s, burst;
	/* what the actor likes */
	uint32_t burst_max, small_max;
	uint32_t large_ppm, huge_ppm, ttl_ppm, trust_ppm;
	bool idle_watch;              /* at the end: a quiet minute, and nobody may spin */
	bool scan_files;
	/* who dials whom; and the two that never get in */
	bool dials[SIM_NODES_MAX][SIM_NODES_MAX];
	bool pinned[SIM_NODES_MAX][SIM_NODES_MAX]; /* by hand before the first contact */
	unsigned stranger;            /* has another passphrase; SIM_NODES_MAX: nobody */
	unsigned self_dialler;        /* has its own address among its peers */
	/* im2 (sim_im2.c) */
	bool native;                  /* some node speaks it */
	enum im2_setting im2[SIM_NODES_MAX]; /* in the end */
	bool upgrades[SIM_NODES_MAX]; /* begins as 0.9-only */
	unsigned old_nodes;           /* that speak 0.9 alone, at first or always */
	uint32_t back_ppm;            /* lives of an im2 node as 0.9-only */
	uint32_t key_ms;              /* the mesh key comes after so much, at most */
	struct im2_limits limits;
	bool pad, sign;
	bool adversary;
	uint32_t strip_ppm, replay_ppm, flip_ppm, splice_ppm, forge_ppm;
	uint32_t volatile_ppm;        /* of what is sent */
	bool any_clock;               /* wall clocks are off by so many years and stay so */
	uint32_t year_off;
	bool restores;                /* a node may come back with an older copy of its files */
	bool calm;                    /* no misfortune: everything is confirmed at once */
	bool day;                     /* plan_day(): memory is looked at every hour */
};
void plan_im2(uint64_t seed, struct plan *p); /* the second half of plan_make() */
int64_t plan_clock(struct world *w);
void plan_make(uint64_t seed, struct plan *p);
/* Instead: `hours` of an ordinary day, with traffic, cuts, restarts and crashes, of four nodes that speak im2. */
void plan_day(unsigned hours, struct plan *p);
void plan_text(const struct plan *p, char *out, size_t cap);

/* --- sabotage: what --self-test breaks in the adapter between the nodes and the check ------------ */
enum sabotage { SAB_NONE, SAB_DUP, SAB_LOSE, SAB_REORDER, SAB_LEAK, SAB_NONCE, SAB_VOLATILE, SAB_DOWNGRADE, SAB_COUNT };
extern const char *const sabotage_words[SAB_COUNT];

/* --- nodes (sim_node.c) ---------------------------------------------------------------------- */

struct sim_node {
	struct world *w;
	unsigned i;
	char name[16], address[16];
	struct env env;               /* its own clock and timers, for all of its lives */
	struct rng rng;
	int64_t skew_ms;
	const struct keyring *keys;
	struct node_id id;
	bool up, stopping, stopped;
	unsigned lives;
	struct node *node;
	struct transport *tp;
	struct store *store;
	struct pins *pins;
	struct audit *audit;
	struct policy policy;
	uint64_t online_ms[SIM_NODES_MAX]; /* when each peer last came online here */
	uint64_t full_until_ms;       /* its disk refuses until then */
	uint64_t failures_seen;       /* store failures that the check knows of */
	struct timer restart;         /* in the world's env */
	struct timer mesh_key;        /* in its own env: the worker is done */
	enum im2_setting im2;         /* of this life */
	bool dying;                   /* nothing leaves it any more, and nobody hears it: it crashes after this step */
	bool has_copy, restored, restore_seen; /* of its files; and it came back with them, once */
	char db[256], pin_file[256];
};
void sim_node_init(struct sim_node *s, struct world *w, unsigned i);
void sim_node_fini(struct sim_node *s);
void sim_node_start(struct sim_node *s);
void sim_node_crash(struct sim_node *s, uint64_t down_ms);
void sim_node_stop(struct sim_node *s);  /* politely; sim_node_turn() ends it */
void sim_node_turn(struct sim_node *s);
/* From now on nothing that it does is seen by anybody; sim_node_crash() follows. What it writes stays. */
void sim_node_dies(struct sim_node *s);
void sim_keys_free(void);

/* --- the check (sim_check.c) ------------------------------------------------------------------- */
enum answer { ANSWER_WAITING, ANSWER_OK, ANSWER_REFUSED, ANSWER_UNKNOWN };

struct msg {
	unsigned from, to, index;
	uint8_t priority;
	uint32_t size;
	bool has_ttl;
	enum answer answer;
	uint64_t order;               /* of submission */
	bool cancelled;               /* answered OK */
	bool any_order;               /* the operator intervened: order is not promised */
	bool forgotten;               /* its author was restored from before, or goes on under another id */
	bool restored;                /* its author was restored since: it may end as unknown or in conflict */
	bool lost_there;              /* its receiver was restored from before */
	unsigned body;                /* number of the message whose body it has */
	uint64_t sent_ms;             /* last */
	bool was_sent;
	enum outbox_state seen;       /* last observed at the sender */
	bool arrived, held, handed;
	int64_t inbox_seq;
	size_t older;                 /* 1 + number of a former one with the same id; 0 = none */
	char id[MSG_ID_MAX + 1];
	char wire[2 * MSG_WIRE_ID + 1]; /* when im2 names it otherwise */
};

struct check {
	struct msg *msgs;
	size_t n, cap;
	struct map *by_id;            /* author's number || msg_id -> index of the newest one */
	struct map *newest;           /* from, to, priority -> order of the newest that arrived */
	uint64_t order;
	size_t arrivals;
	struct buf body, want;
	/* SAB_REORDER holds one arrival back until the next of its kind. */
	bool back_full;
	struct msg back;
	int64_t back_seq;
	bool broken;                  /* the sabotage was done */
};
void check_init(struct check *c, struct world *w);
void check_fini(struct check *c);
/* The newest message of that author with this id; NULL when there never was one. */
struct msg *check_find(struct world *w, unsigned author, const char *id);
struct msg *check_add(struct world *w, unsigned from, unsigned to, const char *id);
void check_answered(struct world *w, struct sim_node *s, const char *id, enum err e);
void check_observe(void *node, const struct node_event *e);
void check_crashed(struct sim_node *s);
void check_restarted(struct sim_node *s);
/* Its files are older than what the book says. */
void check_restored(struct sim_node *s);
/* The id under which im2 carries it belongs to the same message. */
void check_alias(struct world *w, struct msg *m, const uint8_t wire_id[static 16]);
void check_unit(void *world, struct bytes unit);
void check_step(struct world *w);
/* Reads up to `max` new messages of a node, the way a program does: each only once. */
void check_read(struct sim_node *s, size_t max);
/* True when nothing waits that could still move. `why` names the first one that does. */
bool check_settled(struct world *w, char *why, size_t cap);
void check_end(struct world *w);
void check_totals(struct world *w);
struct bytes body_of(struct world *w, const struct msg *m, struct buf *out);

/* --- totals --------------------------------------------------------------------------------------- */
/* What happened in a run: one in which nothing happens proves nothing. */
#define WORLD_TOTALS(X)                                                                            \
	X(accepted) X(arrived) X(held) X(delivered) X(expired) X(cancelled) X(rejected) X(handed)  \
	X(repeated) X(rekeys) X(replaced) X(lives) X(store_failures) X(pauses) X(units)            \
	X(frames) X(first) X(known) X(resumes) X(im2_rekeys) X(psk_fallbacks) X(unknown)           \
	X(volatile_sent) X(volatile_came) X(attacks) X(downgrades) X(restores) X(died)
struct world_totals {
#define X(name) uint64_t name;
	WORLD_TOTALS(X)
#undef X
};

/* --- the wire of im2 (sim_im2.c) ---------------------------------------------------------------------- */
#define WIRE_KEPT 64
struct kept_unit {
	unsigned from, to;
	bool text;
	size_t n;
	uint8_t *p;
};
struct vol_msg {
	unsigned from, to;
	bool came;
};
struct seen_set;
void wire_init(struct world *w);
void wire_fini(struct world *w);
void wire_frame(struct world *w, unsigned from, unsigned to, struct bytes unit);
bool adversary_sees(void *world, struct loop_wire *wire, const char *from, const char *to, struct bytes unit, bool text);
void volatile_send(struct world *w, struct sim_node *s, unsigned to);
void volatile_came(struct sim_node *s, const struct node_event *e);

/* --- the world (sim_world.c) --------------------------------------------------------------------- */
struct world {
	uint64_t seed, now_ms, step;
	struct plan plan;
	struct rng act, fate, random;
	struct env env;
	struct loopnet *net;
	struct sim_node nodes[SIM_NODES_MAX];
	/* links that are in a hole until then */
	uint64_t hole_until_ms[SIM_NODES_MAX][SIM_NODES_MAX];
	bool mended[SIM_NODES_MAX][SIM_NODES_MAX]; /* see fate_of_unit() */
	struct check check;
	struct timer actor;
	unsigned acted;
	bool healed;
	uint64_t healed_at_ms;
	struct seen_set *frames;
	struct kept_unit kept[WIRE_KEPT];
	size_t kept_n;
	struct vol_msg *vols;
	size_t vols_n, vols_cap;
	char dir[128];
	enum sabotage sabotage;
	uint64_t units, timers;
	struct world_totals totals;
	/* the result */
	bool failed;
	char why[600];
	struct day *day;              /* of world_day(); else NULL */
};
/* Makes the folder for files of nodes; it goes when this process ends. Once, before the first run. */
void world_files(void);
/* Runs one seed and adds to `t`. True: everything held. */
bool world_run(uint64_t seed, enum sabotage sab, struct world_totals *t, char *why, size_t cap);
/* `hours` of virtual time instead of the plan of the seed; prints a line an hour, and fails when memory grows by more than
 * what is remembered of each message. */
bool world_day(uint64_t seed, unsigned hours, struct world_totals *t, char *why, size_t cap);
void world_fail(struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
unsigned world_index(const struct world *w, const struct node_id *id); /* SIM_NODES_MAX: nobody */
/* Both trust each other, one of them dials the other, and nothing keeps them apart. */
bool world_flows(struct world *w, unsigned from, unsigned to);
unsigned world_of_address(const char *address);
/* What two nodes speak in their present lives. */
enum generation { GENERATION_NONE, GENERATION_09, GENERATION_IM2 };
enum generation world_generation(const struct world *w, unsigned a, unsigned b);
void act_once(struct world *w);

/* --- the trace (sim_trace.c): the last events, for a failure ------------------------------------- */
enum trace_mode { TRACE_OFF, TRACE_RING, TRACE_PRINT };
void trace_setup(enum trace_mode mode);
void trace_begin(struct world *w); /* lines carry this world's clock; NULL: no world */
bool trace_on(void);
void trace(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Writes the ring to `fd`; only write(2), so that a signal handler may. */
void trace_dump(int fd);

#endif
