/*
 * brakes.h -- what keeps two machines from talking to each other for ever (im2.md 9.2, rules 1, 2, 4).
 *
 * For senders that say they are agents. Pure: messages and times in, a verdict out. Rule 3 is the gateways',
 * rule 5 (a link to another peer's conversation) is decided where the answered message is looked up.
 * Everything is forgotten when the daemon ends; the turns are not, they are in the messages.
 */
#ifndef DAEMON_BRAKES_H
#define DAEMON_BRAKES_H

#include "protocol/message.h"

#define BRAKES_TURNS 32             /* of a conversation whose messages name no limit */
#define BRAKES_PER_MINUTE 60        /* messages of machines in one conversation */
#define BRAKES_CONVERSATIONS 8192   /* remembered; the longest quiet goes first */
#define BRAKES_ANSWERED 65536       /* requests that were answered, likewise */
#define BRAKES_TURN_LIMIT 1         /* end_reason of a conversation that ran out of turns */

struct brakes;

struct brakes *brakes_new(const uint8_t hash_key[static 16]); /* NULL without memory */
void brakes_free(struct brakes *b);                           /* accepts NULL */

/* The message that is answered, as it arrived. */
struct brakes_parent {
	struct node_id author;
	uint8_t id[MSG_WIRE_ID];
	struct message_ext ext;
};

/* May a machine send `m` to `to`? `parent` is NULL when it answers nothing that we know. On ERR_OK an answer
 * carries what rule 2 wants: turn, conversation, limit, hop, and the reason of an end at the limit.
 *
 * ERR_DENIED: `parent` is not answered by machines, or not like this. ERR_EXISTS: its one answer was sent.
 * ERR_LIMIT: no turn is left. ERR_AGAIN: too many in this minute. Each fills `f`. Counts nothing. */
enum err brakes_check(struct brakes *b, const struct node_id *to, const struct brakes_parent *parent,
		      struct message_ext *m, uint64_t now_ms, struct fault *f) MUST_CHECK;
/* What brakes_check() allowed was accepted for sending. */
void brakes_sent(struct brakes *b, const struct node_id *to, const struct brakes_parent *parent,
		 const struct message_ext *m, uint64_t now_ms);

#endif
