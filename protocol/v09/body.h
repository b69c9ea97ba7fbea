/*
 * body.h -- the JSON body inside a frame (wire 3.3).
 *
 * The writer appends straight into a buffer, the reader is a scanner over the decrypted bytes:
 * neither builds a tree. Strict where an honest peer cannot tell: no duplicate key, a msg_id and a
 * time stamp are required, strings are at most 128 bytes, hops at most 255.
 */
#ifndef PROTOCOL_V09_BODY_H
#define PROTOCOL_V09_BODY_H

#include "base/buf.h"
#include "protocol/message.h"
#include "protocol/v09/inner.h"

#define BODY_STRING_MAX	   128
#define BODY_HOPS_MAX	   255
#define BODY_UNKNOWN_MAX   32	 /* keys we do not know */
#define BODY_ODD_BYTES_MAX 16384 /* of unknown values and `routing` together */
#define BODY_TIME_MAX	   9e12	 /* seconds; above it milliseconds are no longer exact */
#define TTL_APPLICATION	   5
#define TTL_CONTROL	   3

struct body_out {
	struct bytes type, payload, id, source, destination; /* payload: raw, "" when empty */
	double time_s;
	enum priority priority;
	uint64_t sequence;
	uint8_t ttl;
	const uint8_t *signature; /* SIG_BYTES, scheme v2; NULL: none */
	struct bytes sealed;	  /* n == 0: none */
};
/* An upper bound of what body_write() appends. */
size_t body_size_max(const struct body_out *o);
void body_write(struct buf *b, const struct body_out *o);

struct body {
	struct bytes type, id;	  /* non-empty; id is printable ASCII */
	struct bytes source;	  /* "unknown" when absent */
	struct bytes destination; /* "*" when absent */
	struct bytes payload64, sealed64;
	bool has_sealed;
	double time_s;		/* finite, 0 .. BODY_TIME_MAX */
	enum priority priority; /* NORMAL for an unknown word */
	uint64_t sequence;
	uint8_t ttl;
	unsigned hops;
	bool compressed;
	bool has_signature;
	enum inner_tag tag;
	uint8_t signature[SIG_BYTES];
	/* For whoever passes it on as it came: text, and JSON where no text is; n == 0: the key was absent. */
	struct bytes display, priority_word, signature64, scheme;
	struct bytes time_json, retries_json, routing_json, hops_json;
	bool has_scheme;
	bool hops_escaped; /* hops_json is not as it came */
};

/* Unescapes strings in place: `text` belongs to the result. ERR_SHORT, ERR_TRAILING, ERR_MALFORMED,
 * ERR_LIMIT. */
enum err body_read(uint8_t *text, size_t n, struct body *out) MUST_CHECK;

bool body_passed(const struct body *b, const struct node_id *id); /* it is among the hops */
/* The body as it goes on: one hop less to live, `self` among the hops, everything else as it came, keys that we do not know
 * left out. Appends what comes before the sequence number and what comes after it: *cut is where it belongs. */
void body_write_on(struct buf *b, const struct body *in, const struct node_id *self, size_t *cut);

/* The four types that applications send; they alone reach the pipeline. */
bool type_is_user(struct bytes type);

#endif
