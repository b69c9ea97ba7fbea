/*
 * control.h -- payloads of the frames that the daemons send each other (wire 4.1, 4.3, 6.3).
 *
 * Writers append one J-compact object; readers take the payload bytes of a frame. Our ACK carries
 * many ids: {"type":"ACK","from":id,"ack_msg_ids":[...],"read_msg_ids":[...],"held_msg_ids":[...],
 * "rejected":[{"id":...,"reason":...}]}, and upstream's single "ack_msg_id" is read too.
 */
#ifndef PROTOCOL_V09_CONTROL_H
#define PROTOCOL_V09_CONTROL_H

#include "base/json.h"
#include "protocol/session.h"

#define CONTROL_MAX 65536
#define ACK_IDS_MAX 1024
#define ACK_REASON_MAX 120
#define REKEY_ID_MAX 64

void control_write(struct buf *b, const char *type, const struct node_id *from); /* no further keys */
void goodbye_write(struct buf *b, const struct node_id *from);
void key_rotate_write(struct buf *b, const struct node_id *from, const uint8_t new_ed[static ED_BYTES],
		      uint64_t wall_ms);
void rekey_write(struct buf *b, bool response, const struct node_id *from,
		 const uint8_t ephemeral[static X25519_BYTES], struct bytes rekey_id);

struct rekey {
	uint8_t ephemeral[X25519_BYTES];
	char id[REKEY_ID_MAX + 1];
};
enum err rekey_read(struct bytes payload, struct rekey *out) MUST_CHECK;

/* 1..128 printable ASCII characters. */
bool msg_id_valid(struct bytes id);
/* The id, and for REJECTED a printable reason of at most ACK_REASON_MAX bytes. */
bool receipt_valid(const struct receipt *r);
/* As many of the n valid receipts as fit one frame, at least one; returns how many. */
size_t ack_write(struct buf *b, const struct node_id *from, const struct receipt *r, size_t n);

/* A checked ACK that is walked one receipt at a time. */
struct ack {
	json_t *root; /* NULL: none */
	unsigned part;
	size_t at;
};
enum err ack_read(struct bytes payload, struct ack *out) MUST_CHECK;
/* False, and everything freed, past the end. `out` is borrowed until the next call. */
bool ack_next(struct ack *a, struct receipt *out);
void ack_free(struct ack *a);

#endif
