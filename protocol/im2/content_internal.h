/*
 * content_internal.h -- what content.c and signed.c share: message objects between fields and struct message.
 */
#ifndef PROTOCOL_IM2_CONTENT_INTERNAL_H
#define PROTOCOL_IM2_CONTENT_INTERNAL_H

#include "protocol/im2/content.h"

#define IM2_ID 16 /* node ids and message ids on the wire */

/* The fields of a message that is to be written; they point into the message and into `budget`. */
struct im2_draft {
	struct im2_fields f;
	uint8_t budget[3 * (2 + IM2_VARINT_MAX_BYTES)];
};
/* from and to: both (written out) or NULL. ERR_LIMIT, ERR_MALFORMED as im2_message_write(). */
enum err im2_draft_of(const struct message *m, const uint8_t *from, const uint8_t *to, struct im2_draft *out) MUST_CHECK;
size_t im2_draft_size(const struct im2_draft *d);

/* Everything of `f` but `settled` and who proved it. */
void im2_message_fill(const struct im2_fields *f, const struct node_id *author, const struct node_id *self,
		      struct message *out, char id_text[static 33], char type_text[static MSG_TYPE_MAX + 1]);

void im2_id_of(const struct node_id *id, uint8_t out[static IM2_ID]);
void im2_id_text(struct bytes id, struct node_id *out);
#define IM2_PARTIES_INPUT 120
/* prefix of the context (24 bytes) || ED_from || ED_to || SHA256(what): 9.3 and 10.2. Borrowed from `out`. */
struct bytes im2_parties_input(enum sig_context c, const uint8_t from[static ED_BYTES], const uint8_t to[static ED_BYTES],
			       struct bytes what, uint8_t out[static IM2_PARTIES_INPUT]);
/* SHA256(ED)[0:16] compared with an id of the wire. */
bool im2_id_fits(struct bytes id, const uint8_t ed[static ED_BYTES]);

#endif
