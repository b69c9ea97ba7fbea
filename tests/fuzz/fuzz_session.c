/* rooms: protocol trust base */
/*
 * Two of our sessions over a hostile wire: the input is a list of operations that send, drop,
 * repeat, reorder, mutate and reflect units, move the clocks and rekey. What must always hold: no
 * message is delivered twice, none is altered, none comes that was not sent, and a receipt names
 * what was given.
 */
#include "tests/lib/protocol_env.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MESSAGES 256
#define KEPT	 64

struct world {
	struct pair *p;
	bool sent[2][MESSAGES], got[2][MESSAGES];
	unsigned next[2];
	size_t seen_at[2];
	struct said kept[KEPT]; /* everything that went by, for replays */
	unsigned kept_n;
};

static struct end *end_of(struct world *w, int who)
{
	return who ? &w->p->b : &w->p->a;
}

static void body_of(int who, unsigned n, char out[40])
{
	snprintf(out, 40, "message %u of end %d", n, who);
}

static void judge(struct world *w)
{
	for (int who = 0; who < 2; who++) {
		struct end *e = end_of(w, who);

		for (; w->seen_at[who] < e->log_n; w->seen_at[who]++) {
			const struct seen *x = &e->log[w->seen_at[who]];
			char want[40];

			if (x->type == SESSION_EV_MESSAGE) {
				unsigned n = (unsigned)strtoul(x->id, NULL, 10);

				BUG_ON(n >= MESSAGES || !w->sent[!who][n]);
				BUG_ON(w->got[who][n]);
				w->got[who][n] = true;
				body_of(!who, n, want);
				BUG_ON(x->body_n != strlen(want) ||
				       memcmp(x->body, want, x->body_n) != 0);
				BUG_ON(!x->proven);
			}
			if (x->type == SESSION_EV_RECEIPT)
				BUG_ON(!w->got[!who][strtoul(x->id, NULL, 10) % MESSAGES]);
		}
		if (e->log_n > SEEN_MAX - 64) {
			e->log_n = 0;
			w->seen_at[who] = 0;
		}
		while (e->wire_n > WIRE_MAX - 64)
			free(end_pop(e).p);
	}
}

static void keep(struct world *w, const struct said *u)
{
	struct said *k = &w->kept[w->kept_n++ % KEPT];

	free(k->p);
	*k = *u;
	k->p = malloc(u->n ? u->n : 1);
	memcpy(k->p, u->p, u->n);
}

static void send_one(struct world *w, int who)
{
	unsigned n = w->next[who];
	char id[16], body[40];

	if (n >= MESSAGES)
		return;
	snprintf(id, sizeof id, "%u", n);
	body_of(who, n, body);
	struct message m = test_message(id, body);
	m.created_ms = w->p->e.wall_ms;
	if (session_send(end_of(w, who)->s, &m) == ERR_OK) {
		w->sent[who][n] = true;
		w->next[who]++;
	}
	end_drain(end_of(w, who));
}

static void confirm(struct world *w, int who)
{
	struct receipt r[MESSAGES];
	static char ids[MESSAGES][8];
	size_t n = 0;

	for (unsigned i = 0; i < MESSAGES; i++)
		if (w->got[who][i]) {
			snprintf(ids[i], sizeof ids[i], "%u", i);
			r[n++] = (struct receipt){.kind = RECEIPT_DELIVERED,
						  .id = bytes_str(ids[i])};
		}
	(void)!session_send_receipts(end_of(w, who)->s, r, n);
	end_drain(end_of(w, who));
}

static void step(struct world *w, uint8_t op, uint8_t arg)
{
	int who = op & 1;
	struct end *from = end_of(w, who), *to = end_of(w, !who);

	switch ((op >> 1) % 14) {
	case 0:
	case 1:
		send_one(w, who);
		break;
	case 2:
	case 3:
	case 4: /* deliver the oldest */
		if (from->wire_n) {
			struct said u = end_pop(from);
			keep(w, &u);
			end_take(to, u.p, u.n, u.text);
			free(u.p);
		}
		break;
	case 5: /* drop */
		if (from->wire_n)
			free(end_pop(from).p);
		break;
	case 6: /* deliver another one first */
		if (from->wire_n) {
			size_t i = arg % from->wire_n;
			struct said u = from->wire[i];
			memmove(&from->wire[i], &from->wire[i + 1],
				(from->wire_n-- - i - 1) * sizeof u);
			keep(w, &u);
			end_take(to, u.p, u.n, u.text);
			free(u.p);
		}
		break;
	case 7: /* replay */
		if (w->kept_n) {
			struct said *u = &w->kept[arg % (w->kept_n < KEPT ? w->kept_n : KEPT)];
			end_take(to, u->p, u->n, u->text);
		}
		break;
	case 8: /* mutate the oldest where it lies */
		if (from->wire_n && from->wire[0].n)
			from->wire[0].p[(arg * 7u) % from->wire[0].n] ^= (uint8_t)(1u << (arg % 8));
		break;
	case 9: /* reflect */
		if (from->wire_n) {
			struct said u = from->wire[0];
			end_take(from, u.p, u.n, u.text);
		}
		break;
	case 10:
		penv_pass(&w->p->e, (uint64_t)arg * arg);
		session_tick(from->s);
		end_drain(from);
		session_tick(to->s);
		end_drain(to);
		break;
	case 11:
		(void)!session_rekey(from->s);
		end_drain(from);
		break;
	case 12:
		confirm(w, who);
		break;
	case 13:
		(void)!session_ping(from->s);
		end_drain(from);
		break;
	}
	judge(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;

	if (size < 2 || size > 4096)
		return 0;
	memset(&w, 0, sizeof w);
	/* First byte: begin with the handshake on the hostile wire, or behind it. */
	if (data[0] & 1) {
		w.p = pair_online(0, 1);
	} else {
		w.p = pair_new(0, 1);
		session_start(w.p->a.s);
		session_start(w.p->b.s);
		end_drain(&w.p->a);
		end_drain(&w.p->b);
	}
	for (size_t i = 1; i + 1 < size; i += 2)
		step(&w, data[i], data[i + 1]);
	for (unsigned i = 0; i < KEPT; i++)
		free(w.kept[i].p);
	pair_free(w.p);
	return 0;
}
