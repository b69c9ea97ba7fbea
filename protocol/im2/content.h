/*
 * content.h -- message objects and receipts of im2 as neutral messages (im2.md 9, 10). Pure but for signatures.
 */
#ifndef PROTOCOL_IM2_CONTENT_H
#define PROTOCOL_IM2_CONTENT_H

#include "protocol/im2/schema.h"
#include "protocol/message.h"
#include "protocol/session.h"
#include "trust/keyring.h"

/* --- messages (9.1) -------------------------------------------------------------------------------- */
/* The structure of a message whose author is the session peer: without from, to and settled (MSG).
 * m->has_wire_id is required; the kind is ext.kind, whatever m->type says; 0.9's ttl is not im2's.
 * ERR_LIMIT over BODY_MAX; ERR_MALFORMED for what 9.1 forbids. Nothing is appended then. */
enum err im2_message_write(const struct message *m, struct buf *out) MUST_CHECK;
/* Size that im2_message_write() would append; 0 when it would refuse. */
size_t im2_message_size(const struct message *m);
/* From a session with `author` (MSG: from, to and group absent; else IM2_E_CONTEXT). Fills type, ids, times, ext,
 * body, content digest (zeros for volatile messages, which need none); nothing proves the source but the
 * session. id_text and type_text hold what out->id and out->type point to. */
enum im2_refusal im2_message_read(struct bytes value, const struct node_id *author, const struct node_id *self,
				  struct message *out, char id_text[static 33], char type_text[static MSG_TYPE_MAX + 1]);
/* 9.5: SHA-256 of the message with from and to written out and without tag 34, first 16 bytes. `author` and
 * `to` count only where the message does not name them. Unknown ignorable fields are part of it. */
void im2_content_digest(const struct im2_fields *msg, const struct node_id *author, const struct node_id *to,
			uint8_t out[static 16]);

/* The same of a neutral message, without fields that we do not know. ERR_MALFORMED, ERR_LIMIT, ERR_NOMEM. */
enum err im2_message_digest(const struct message *m, const struct node_id *author, const struct node_id *to,
			    uint8_t out[static 16]) MUST_CHECK;

/* --- signed messages (9.3) ------------------------------------------------------------------------- */
/* One SMSG of `n` messages to one recipient. to_ed: of the recipient; m->settled goes with it (tag 34).
 * ERR_LIMIT above 256 or SMSG_MAX. Nothing is appended on an error. */
enum err im2_smsg_write(const struct keyring *k, const struct message *m, size_t n, const uint8_t to_ed[static ED_BYTES],
			struct buf *out) MUST_CHECK;
struct im2_smsg_reader {
	struct bytes msgs;        /* what is left of the list */
	struct node_id author, self; /* from, to */
};
/* Who claims to be the author, before the signature can be checked: node id as hex. */
enum im2_refusal im2_smsg_author(struct bytes value, struct node_id *out);
/* Checks all of 9.3 against the author's key and our own identity; any failure voids the SMSG. */
enum im2_refusal im2_smsg_open(struct bytes value, const uint8_t author_ed[static ED_BYTES], const struct keyring *self,
			       struct im2_smsg_reader *out);
/* The same for one that im2_open_sealed() has checked: the signature is not verified again. */
void im2_smsg_opened(struct bytes value, const uint8_t author_ed[static ED_BYTES], const struct keyring *self,
		     struct im2_smsg_reader *out);
/* source_proven is true; settled is filled. was_sealed is for the owner, who knows where the SMSG came from. */
bool im2_smsg_next(struct im2_smsg_reader *r, struct message *out, char id_text[static 33],
		   char type_text[static MSG_TYPE_MAX + 1]);

/* --- receipts (10.1, 10.2) --------------------------------------------------------------------------- */
/* Reasons of 10.2 and the words of the program for them. */
enum im2_reason {
	IM2_REASON_EXPIRED = 1, IM2_REASON_POLICY, IM2_REASON_OPERATOR, IM2_REASON_TOO_LARGE, IM2_REASON_UNSUPPORTED,
	IM2_REASON_FULL, IM2_REASON_PREKEY, IM2_REASON_SIGNATURE, IM2_REASON_CONFLICT, IM2_REASON_LOOP,
	IM2_REASON_MALFORMED, IM2_REASON_SETTLED
};
const char *im2_reason_word(uint64_t reason); /* "inbox full", ...; "refused" for unknown ones */
uint8_t im2_reason_of(struct bytes word);     /* 3 for an unknown word */

/* The value of one RECEIPT item; receipts whose id is not 32 hex characters are left out. Writes as many as fit into
 * 256 entries and `room` bytes; returns how many of r were handled. */
size_t im2_receipt_write(const struct receipt *r, size_t n, uint64_t at_ms, size_t room, struct buf *out);
struct im2_receipt_reader {
	struct bytes entries;
};
enum im2_refusal im2_receipt_open(struct bytes value, struct im2_receipt_reader *out);
/* The next entry: kind (RETRY for reason 6, UNKNOWN for reason 12), the id as 32 hex characters, the reason word. */
bool im2_receipt_next(struct im2_receipt_reader *r, enum receipt_kind *kind, char id_text[static 33], struct bytes *reason);
/* SRECEIPT: signed by us for the author. */
void im2_sreceipt_write(const struct keyring *k, const uint8_t author_ed[static ED_BYTES], struct bytes receipt, struct buf *out);
/* Checks that it speaks to us and was signed by from_ed; *receipt is the RECEIPT inside. */
enum im2_refusal im2_sreceipt_open(struct bytes value, const uint8_t from_ed[static ED_BYTES], const struct keyring *self,
				   struct bytes *receipt);
enum im2_refusal im2_sreceipt_from(struct bytes value, struct node_id *out);

#endif
