#include "daemon/brakes.h"

#include <stdlib.h>

#include "base/map.h"

#define MINUTE_MS 60000
#define KEY_BYTES (NODE_ID_LEN + 16)

/* The times of the last messages of a conversation: exact, where a bucket would let twice as many through. */
struct pace {
	uint64_t at_ms[BRAKES_PER_MINUTE];
	uint32_t count; /* in all */
};

struct brakes {
	struct map *paces;    /* peer || conversation -> struct pace */
	struct map *answered; /* author || id -> nothing */
};

struct brakes *brakes_new(const uint8_t hash_key[static 16])
{
	struct map_opts paces = { .capacity = BRAKES_CONVERSATIONS, .value_size = sizeof(struct pace),
				  .policy = MAP_EVICT_LRU };
	struct map_opts answered = { .capacity = BRAKES_ANSWERED, .policy = MAP_EVICT_LRU };
	struct brakes *b = calloc(1, sizeof *b);

	if (!b)
		return NULL;
	memcpy(paces.hash_key, hash_key, sizeof paces.hash_key);
	memcpy(answered.hash_key, hash_key, sizeof answered.hash_key);
	b->paces = map_new(&paces);
	b->answered = map_new(&answered);
	if (!b->paces || !b->answered) {
		brakes_free(b);
		return NULL;
	}
	return b;
}

void brakes_free(struct brakes *b)
{
	if (!b)
		return;
	map_free(b->paces);
	map_free(b->answered);
	free(b);
}

/* `what` of one peer: a conversation (zeros are the standing one) or a message id. */
static struct bytes key_of(const struct node_id *peer, const uint8_t what[static 16], uint8_t out[static KEY_BYTES])
{
	memcpy(out, peer->hex, NODE_ID_LEN);
	memcpy(out + NODE_ID_LEN, what, 16);
	return bytes_of(out, KEY_BYTES);
}

static uint64_t source_of(const struct node_id *peer)
{
	uint64_t v;

	memcpy(&v, peer->hex, sizeof v);
	return v;
}

static const uint8_t *conversation_of(const struct message_ext *m)
{
	static const uint8_t standing[16];

	return m->has_conv ? m->conv : standing;
}

/* --- the rules ------------------------------------------------------------------------------------ */

/* Rule 1. */
static enum err answerable(struct brakes *b, const struct brakes_parent *p, uint8_t kind, struct fault *f)
{
	char text[MSG_TYPE_MAX + 1];
	uint8_t key[KEY_BYTES];
	struct bytes word;

	if (p->ext.kind > KIND_REQUEST) {
		word = message_type_of(&p->ext, text);
		fault_set(f, ERR_DENIED, EXIT_POLICY, "a message of type %.*s is not answered by a machine", (int)word.n,
			  (const char *)word.p);
		fault_means(f, "else two agents would thank each other for ever (rule 1 of the loop brakes)");
		fault_next(f, "send a new message, without a reply to this one");
		return ERR_DENIED;
	}
	if (p->ext.kind != KIND_REQUEST)
		return ERR_OK;
	if (kind != KIND_RESPONSE && kind != KIND_ERROR && kind != KIND_END) {
		fault_set(f, ERR_DENIED, EXIT_POLICY, "a request is answered with a response or an error");
		fault_next(f, "the same command with --kind response");
		return ERR_DENIED;
	}
	if (map_peek(b->answered, key_of(&p->author, p->id, key))) {
		fault_set(f, ERR_EXISTS, EXIT_POLICY, "this request was answered before");
		fault_means(f, "a machine answers a request once (rule 1 of the loop brakes); nothing was sent");
		fault_next(f, "ironmesh outbox list");
		return ERR_EXISTS;
	}
	return ERR_OK;
}

/* Rule 2: what an answer carries. A turn that does not fit its field is over every limit. */
static void carry_on(const struct brakes_parent *p, struct message_ext *m)
{
	m->turn = p->ext.turn < UINT16_MAX ? (uint16_t)(p->ext.turn + 1) : UINT16_MAX;
	m->max_turns = p->ext.max_turns;
	m->has_conv = p->ext.has_conv;
	memcpy(m->conv, p->ext.conv, sizeof m->conv);
	if (m->hop < p->ext.hop)
		m->hop = p->ext.hop;
}

static enum err turns_left(struct message_ext *m, struct fault *f)
{
	unsigned limit = m->max_turns ? m->max_turns : BRAKES_TURNS;

	if (m->turn + 1u < limit)
		return ERR_OK;
	if (m->kind == KIND_END) {
		m->end_reason = BRAKES_TURN_LIMIT;
		return ERR_OK;
	}
	fault_set(f, ERR_LIMIT, EXIT_POLICY, "turn %u is the last of %u: only the end of the conversation may be said",
		  (unsigned)m->turn, limit);
	fault_means(f, "a person may go on, without --agent (rule 2 of the loop brakes)");
	fault_next(f, "the same command with --kind end");
	return ERR_LIMIT;
}

/* Rule 4. */
static enum err paced(struct brakes *b, const struct node_id *to, const struct message_ext *m, uint64_t now_ms,
		      struct fault *f)
{
	uint8_t key[KEY_BYTES];
	const struct pace *p = map_peek(b->paces, key_of(to, conversation_of(m), key));
	uint64_t oldest;

	if (!p || p->count < BRAKES_PER_MINUTE)
		return ERR_OK;
	oldest = p->at_ms[p->count % BRAKES_PER_MINUTE];
	if (now_ms - oldest >= MINUTE_MS)
		return ERR_OK;
	fault_set(f, ERR_AGAIN, EXIT_RETRY, "machines sent %d messages in this conversation within a minute",
		  BRAKES_PER_MINUTE);
	fault_means(f, "the next may go in %.1f s (rule 4 of the loop brakes); nothing was sent",
		    (double)(oldest + MINUTE_MS - now_ms) / 1000.0);
	fault_next(f, "wait, then the same command again");
	return ERR_AGAIN;
}

enum err brakes_check(struct brakes *b, const struct node_id *to, const struct brakes_parent *parent,
		      struct message_ext *m, uint64_t now_ms, struct fault *f)
{
	struct message_ext t = *m;
	enum err e = ERR_OK;

	if (parent) {
		e = answerable(b, parent, t.kind, f);
		carry_on(parent, &t);
	}
	if (e == ERR_OK)
		e = turns_left(&t, f);
	if (e == ERR_OK)
		e = paced(b, to, &t, now_ms, f);
	if (e == ERR_OK)
		*m = t;
	return e;
}

void brakes_sent(struct brakes *b, const struct node_id *to, const struct brakes_parent *parent,
		 const struct message_ext *m, uint64_t now_ms)
{
	uint8_t key[KEY_BYTES];
	struct pace *p;
	void *slot;
	bool created;

	/* Without memory for a note the message goes uncounted: it was accepted already. */
	if (map_put(b->paces, key_of(to, conversation_of(m), key), source_of(to), &slot, &created) == ERR_OK) {
		p = slot;
		p->at_ms[p->count % BRAKES_PER_MINUTE] = now_ms;
		/* Never back to "few": only the place in the ring counts from here on. */
		p->count = p->count + 1 < 2 * BRAKES_PER_MINUTE ? p->count + 1 : BRAKES_PER_MINUTE;
	}
	if (parent && parent->ext.kind == KIND_REQUEST)
		(void)!map_put(b->answered, key_of(&parent->author, parent->id, key), source_of(&parent->author), &slot,
			       &created);
}
