/* rooms: protocol trust base */
/*
 * Two hosts of im2 and an adversary who holds every wire between them: he drops, repeats, reorders, mutates, splices
 * and reflects units, carries them to other connections, changes their kind, lets time pass, breaks disks and
 * restarts processes. What must always hold: a message in a frame is delivered at most once, unaltered, and only when
 * its author sent it; nobody is identified but these two; no counter is used twice under one key; and when the
 * adversary rests, the two find each other again.
 */
#include "protocol/im2/handshake.h"
#include "tests/lib/protocol_env.c"
#include "tests/lib/protocol_im2_pair.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MESSAGES 128
#define KEPT	 48
#define PATHS	 3
#define FRAMES	 4096
#define BIG	 100000 /* more than a unit of 65,536; a lossy transport takes less of everything */
#define BIG_LOSSY 4000

struct world {
	struct penv e;
	struct inode n[2];
	struct ipath *p[PATHS];
	uint8_t transport;
	bool sent[2][MESSAGES], got[2][MESSAGES], big[2][MESSAGES];
	unsigned next[2];
	struct said kept[KEPT];
	unsigned kept_n;
	uint64_t heads[FRAMES]; /* index and counter of every frame that was made */
	unsigned heads_n;
};

static struct inode *node_of(struct world *w, const struct ipath *p, bool dialler)
{
	struct inode *n = dialler ? p->na : p->nb;

	BUG_ON(n != &w->n[0] && n != &w->n[1]);
	return n;
}

static void body_of(int who, unsigned n, char out[40])
{
	snprintf(out, 40, "message %u of node %d", n, who);
}

static size_t big_of(const struct world *w)
{
	return w->transport >= IM2_RNS_LINK ? BIG_LOSSY : BIG;
}

static void judge_message(struct world *w, int who, const struct seen *x)
{
	unsigned n = (unsigned)strtoul(x->id + 16, NULL, 16);
	char want[40];

	BUG_ON(n >= MESSAGES || !w->sent[!who][n]);
	/* What came in pieces may come again after a lost session; the id tells (9.5). */
	BUG_ON(w->got[who][n] && !w->big[!who][n]);
	w->got[who][n] = true;
	body_of(!who, n, want);
	BUG_ON(x->body_n != (w->big[!who][n] ? big_of(w) : strlen(want)));
	BUG_ON(memcmp(x->body, want, strlen(want)) != 0);
}

static void judge_frame(struct world *w, const struct said *u)
{
	uint64_t head;

	if (u->n < 9 || u->p[0] != IM2_UNIT_FRAME)
		return;
	memcpy(&head, u->p + 1, sizeof head);
	for (unsigned i = 0; i < w->heads_n && i < FRAMES; i++)
		BUG_ON(w->heads[i] == head);
	w->heads[w->heads_n++ % FRAMES] = head;
}

/* After every step: looks at what `e` said and heard, and empties its log. `fresh`: units that were not judged. */
static void judge(struct world *w, struct ipath *p, struct end *e)
{
	struct inode *me = node_of(w, p, e == &p->a), *other = me == &w->n[0] ? &w->n[1] : &w->n[0];
	int who = me == &w->n[1];

	for (size_t i = 0; i < e->log_n; i++) {
		const struct seen *x = &e->log[i];

		if (x->type == SESSION_EV_IDENTIFIED)
			BUG_ON(memcmp(session_peer(e->s)->ed, keyring_ed(other->k), ED_BYTES) != 0);
		if (x->type == SESSION_EV_MESSAGE)
			judge_message(w, who, x);
		if (x->type == SESSION_EV_RECEIPT)
			BUG_ON(!w->got[!who][strtoul(x->id + 16, NULL, 16) % MESSAGES]);
	}
	e->log_n = 0;
	for (size_t i = 0; i < e->wire_n; i++) {
		struct said *u = &e->wire[i];

		if (u->text)
			continue;
		judge_frame(w, u);
		u->text = true; /* judged: im2 has no text units, and none is delivered as one */
	}
	while (e->wire_n > WIRE_MAX / 2)
		free(end_pop(e).p);
}

static void judge_all(struct world *w)
{
	for (int i = 0; i < PATHS; i++) {
		if (!w->p[i])
			continue;
		end_drain(&w->p[i]->a);
		judge(w, w->p[i], &w->p[i]->a);
		end_drain(&w->p[i]->b);
		judge(w, w->p[i], &w->p[i]->b);
	}
}

static void keep(struct world *w, const struct said *u)
{
	struct said *k = &w->kept[w->kept_n++ % KEPT];

	free(k->p);
	*k = *u;
	k->p = malloc(u->n ? u->n : 1);
	BUG_ON(!k->p);
	memcpy(k->p, u->p, u->n);
}

static void give(struct world *w, struct end *to, const struct said *u)
{
	if (to->wire_n < WIRE_MAX - 64)
		end_take(to, u->p, u->n, false);
	judge_all(w);
}

static void open_path(struct world *w, int slot, uint8_t arg)
{
	struct ipath_opts o = { .transport = w->transport, .expect = arg & 2 };
	struct inode *a = &w->n[arg & 1], *b = &w->n[!(arg & 1)];

	ipath_free(w->p[slot]);
	w->p[slot] = ipath_new(a, b, &o);
	ipath_start(w->p[slot]);
	judge_all(w);
}

static void send_one(struct world *w, struct ipath *p, struct end *e, bool big)
{
	int who = node_of(w, p, e == &p->a) == &w->n[1];
	unsigned n = w->next[who];
	static uint8_t body[BIG];
	char text[40];

	if (n >= MESSAGES)
		return;
	body_of(who, n, text);
	struct message m = imessage(n, text);
	if (big) {
		memset(body, 0, sizeof body);
		memcpy(body, text, strlen(text));
		m.body = bytes_of(body, big_of(w));
	}
	if (session_send(e->s, &m) == ERR_OK) {
		w->sent[who][n] = true;
		w->big[who][n] = big;
		w->next[who]++;
	}
}

static void confirm(struct world *w, struct ipath *p, struct end *e)
{
	int who = node_of(w, p, e == &p->a) == &w->n[1];
	static char ids[MESSAGES][33];
	struct receipt r[MESSAGES];
	size_t n = 0;

	for (unsigned i = 0; i < MESSAGES; i++) {
		struct message m = imessage(i, "");

		if (!w->got[who][i])
			continue;
		hex_encode(BYTES_ARR(m.wire_id), ids[i]);
		r[n++] = (struct receipt){ .kind = RECEIPT_DELIVERED, .id = bytes_str(ids[i]) };
	}
	(void)!session_send_receipts(e->s, r, n);
}

static void restart(struct world *w, int who)
{
	for (int i = 0; i < PATHS; i++) {
		ipath_free(w->p[i]);
		w->p[i] = NULL;
	}
	inode_restart(&w->n[who]);
}

static void pass(struct world *w, uint64_t ms)
{
	penv_pass(&w->e, ms);
	for (int i = 0; i < PATHS; i++) {
		if (!w->p[i])
			continue;
		session_tick(w->p[i]->a.s);
		session_tick(w->p[i]->b.s);
	}
	im2_host_tick(w->n[0].host);
	im2_host_tick(w->n[1].host);
}

static void splice(struct world *w, struct end *to, uint8_t arg)
{
	unsigned n = w->kept_n < KEPT ? w->kept_n : KEPT;
	const struct said *x, *y;
	struct said u;

	if (n < 2)
		return;
	x = &w->kept[arg % n];
	y = &w->kept[(arg / 7 + 1) % n];
	size_t cut = x->n / 2 < y->n ? x->n / 2 : y->n;
	u.n = cut + (y->n - cut);
	u.p = malloc(u.n ? u.n : 1);
	BUG_ON(!u.p);
	memcpy(u.p, x->p, cut);
	memcpy(u.p + cut, y->p + cut, y->n - cut);
	give(w, to, &u);
	free(u.p);
}

static void step(struct world *w, uint8_t op, uint8_t arg)
{
	int slot = op >> 6 & 3;
	struct ipath *p = slot < PATHS ? w->p[slot] : NULL;
	bool b = op & 1;
	struct said u;

	if (!p) {
		open_path(w, slot % PATHS, arg);
		return;
	}
	struct end *from = b ? &p->b : &p->a, *to = b ? &p->a : &p->b;

	switch (op >> 1 & 31) {
	case 0:
	case 1:
	case 2:
		send_one(w, p, from, false);
		break;
	case 3:
		send_one(w, p, from, true);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
	case 8: /* deliver the oldest */
		if (!from->wire_n)
			break;
		u = end_pop(from);
		keep(w, &u);
		give(w, to, &u);
		free(u.p);
		break;
	case 9: /* everything, in order */
		for (int i = 0; i < 64 && (p->a.wire_n || p->b.wire_n); i++) {
			struct end *f = p->a.wire_n ? &p->a : &p->b;

			u = end_pop(f);
			keep(w, &u);
			give(w, f == &p->a ? &p->b : &p->a, &u);
			free(u.p);
		}
		break;
	case 10: /* drop */
		if (from->wire_n)
			free(end_pop(from).p);
		break;
	case 11: /* another one first */
		if (!from->wire_n)
			break;
		u = from->wire[arg % from->wire_n];
		memmove(&from->wire[arg % from->wire_n], &from->wire[arg % from->wire_n + 1],
			(from->wire_n - arg % from->wire_n - 1) * sizeof u);
		from->wire_n--;
		keep(w, &u);
		give(w, to, &u);
		free(u.p);
		break;
	case 12:
	case 13: /* replay, perhaps on another connection */
		if (w->kept_n)
			give(w, to, &w->kept[arg % (w->kept_n < KEPT ? w->kept_n : KEPT)]);
		break;
	case 14: /* mutate where it lies */
		if (from->wire_n && from->wire[0].n)
			from->wire[0].p[(arg * 7u) % from->wire[0].n] ^= (uint8_t)(1u << arg % 8);
		break;
	case 15: /* reflect */
		if (from->wire_n)
			give(w, from, &from->wire[0]);
		break;
	case 16: /* another kind or version */
		if (from->wire_n && from->wire[0].n)
			from->wire[0].p[0] = arg;
		break;
	case 17:
		splice(w, to, arg);
		break;
	case 18:
		pass(w, (uint64_t)arg * arg);
		break;
	case 19:
		pass(w, (uint64_t)arg * 10000);
		break;
	case 20:
	case 21:
		(void)!session_rekey(from->s);
		break;
	case 22:
		confirm(w, p, from);
		break;
	case 23:
		(void)!session_ping(from->s);
		break;
	case 24:
		open_path(w, slot, arg);
		break;
	case 25:
		restart(w, b);
		break;
	case 26:
		w->n[b].disk_broken = arg & 1;
		break;
	case 27:
		if (arg < 16)
			(void)!session_goodbye(from->s);
		break;
	case 28: /* a unit that only we can invent */
	{
		uint8_t junk[64] = { (uint8_t)(0x50 | (arg & 15)), arg };
		struct said j = { junk, arg % sizeof junk, false };

		give(w, to, &j);
		break;
	}
	case 29: /* truncate */
		if (from->wire_n)
			from->wire[0].n = from->wire[0].n * arg / 256;
		break;
	case 30: /* one side forgets the pair secrets, or all of the other */
		if (arg < 8)
			w->n[b].pins_n = 0;
		break;
	default:
		im2_link_trusted(from->s, arg & 1);
		break;
	}
	judge_all(w);
}

static bool meet(struct world *w, bool expect)
{
	struct ipath_opts o = { .transport = w->transport, .expect = expect };
	struct ipath *p = ipath_new(&w->n[0], &w->n[1], &o);

	ipath_start(p);
	ipath_flush(p);
	bool met = session_online(p->a.s) && session_online(p->b.s);
	ipath_free(p);
	pass(w, 61000);
	return met;
}

/* From every state a session can be made (6.2): a live one that the other side lost costs one attempt. */
static void find_each_other(struct world *w)
{
	bool met = false;

	for (int i = 0; i < PATHS; i++) {
		ipath_free(w->p[i]);
		w->p[i] = NULL;
	}
	w->n[0].disk_broken = w->n[1].disk_broken = false;
	pass(w, 61000);
	for (int i = 0; i < 3 && !met; i++)
		met = meet(w, true);
	BUG_ON(!met);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t transports[] = { IM2_WEBSOCKET, IM2_WEBSOCKET, IM2_SERIAL, IM2_RNS_LINK };
	static struct world w;
	struct im2_host_config c = { .max_unit = 65536 };

	if (size < 3 || size > 1024)
		return 0;
	memset(&w, 0, sizeof w);
	penv_init(&w.e);
	w.transport = transports[data[0] >> 1 & 3];
	c.sign_always = (data[0] & 0x70) == 0x70;
	c.pad = (data[0] & 0x70) == 0x60;
	inode_init(&w.n[0], &w.e, 0, &c);
	inode_init(&w.n[1], &w.e, 1, &c);
	/* The first byte: begin as strangers, or as friends with a live session. */
	open_path(&w, 0, 0);
	if (data[0] & 1)
		step(&w, 9 << 1, 0);
	for (size_t i = 1; i + 1 < size; i += 2)
		step(&w, data[i], data[i + 1]);
	find_each_other(&w);
	for (unsigned i = 0; i < KEPT; i++)
		free(w.kept[i].p);
	inode_fini(&w.n[0]);
	inode_fini(&w.n[1]);
	return 0;
}
