/*
 * repeats.c -- a message that came before one of its two ends changed its identity is known under the old one
 * (im2.md 9.5, 13.4). Ids and eras go over to the new identity, but who wrote to whom is part of the content digest.
 */
#include "daemon/node_internal.h"
#include "daemon/records.h"

#include "protocol/im2/content.h"

/* The same content, if it was said by `author` to us or to who we were then? */
static enum err compare(struct node *n, const struct message *m, const struct node_id *author, const struct inbox_known *k)
{
	const struct node_id *self = keyring_id(n->p.keyring), *former;
	size_t former_n = records_former(n, &former);
	uint8_t digest[16];

	if (!m->has_wire_id || !k->has_digest || memcmp(k->digest, m->digest, sizeof digest) == 0)
		return ERR_EXISTS;
	/* With fields that only its author knows it cannot be said again by us: then the id has to do. */
	if (im2_message_digest(m, &m->source, self, digest) != ERR_OK || memcmp(digest, m->digest, sizeof digest) != 0)
		return ERR_EXISTS;
	for (size_t i = 0; i <= former_n; i++)
		if (im2_message_digest(m, author, i ? &former[i - 1] : self, digest) == ERR_OK &&
		    memcmp(digest, k->digest, sizeof digest) == 0)
			return ERR_EXISTS;
	return ERR_DUPLICATE;
}

enum err repeats_check(struct conn *c, const struct message *m, int64_t *seq, enum inbox_state *state)
{
	struct node *n = c->node;
	struct node_id room[LINEAGE_MAX];
	const struct node_id *was = c->peer->was, *mine;
	size_t was_n = c->peer->was_n, mine_n = records_former(n, &mine);
	bool settled = false;

	if (!node_id_eq(&m->source, &c->peer->id)) {
		was = room;
		was_n = pins_former(n->p.pins, &m->source, room, LINEAGE_MAX);
	}
	if (!was_n && !mine_n)
		return ERR_OK;
	for (size_t i = 0; i <= was_n; i++) {
		const struct node_id *author = i ? &was[i - 1] : &m->source;
		struct inbox_known k;
		enum err e = inbox_known(n->p.store, author, m->id, &k);

		if (e == ERR_EXISTS) {
			*seq = k.seq;
			*state = k.state;
			return compare(n, m, author, &k);
		}
		settled = settled || e == ERR_EXPIRED;
		if (e != ERR_EXPIRED && e != ERR_NOTFOUND)
			return e == ERR_MALFORMED ? ERR_OK : e;
	}
	return settled ? ERR_EXPIRED : ERR_OK;
}
