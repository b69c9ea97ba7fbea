/*
 * keyproc_internal.h -- what goes between the daemon and its key process.
 *
 *   request   u32 length of the body | u8 verb | u8 slot | u16 what | u16 processor | body
 *   answer    u32 length of the body | u8 error | u8 0    | u16 0    | u16 0         | body
 *
 * The processor is the one that the daemon runs on. The two take turns, so the key process moves there: to wake a
 * process on another one costs several times what the signature does.
 *
 * Big-endian. Slot 0 is the identity, slot 1 the one that shall follow it. One request at a time: bytes after it, a
 * verb that is not there, a length that does not fit, or a signature out of its context end the key process.
 *
 *   OPEN    u8 clear | u16+path | u16+name (empty: as in the file) | u16+passphrase
 *           -> public | u8 version | u8 encrypted | u8 made | u16+name in the file | u16+name
 *              or, with an error: u16 exit code | u16+what | u16+means | u16+next
 *   SIGN    `what`: enum sig_context; the whole text      -> 64 bytes
 *   UNSEAL  a SealedBox                                    -> the plaintext
 *   DH      32 bytes                                       -> 32 bytes
 *   DERIVE  `what`: enum derived_key                       -> 32 bytes
 *   NEXT    -> public of slot 1
 *   FILE    -> the text of a key file for slot 1; of no other
 *   public: Ed25519 32 | X25519 32 | binding 64
 */
#ifndef DAEMON_KEYPROC_INTERNAL_H
#define DAEMON_KEYPROC_INTERNAL_H

#include "base/passphrase.h"
#include "daemon/keyproc.h"

enum key_verb { KEY_OPEN = 1, KEY_SIGN, KEY_UNSEAL, KEY_DH, KEY_DERIVE, KEY_NEXT, KEY_FILE, KEY_VERBS };

#define KEY_HEAD 10
#define KEY_BODY_MAX (33u << 20) /* the export of an audit log, which is signed as a whole */
#define KEY_SLOTS 2
#define KEY_PATH_MAX 4096
#define KEY_PUBLIC (ED_BYTES + X25519_BYTES + SIG_BYTES)

struct key_head {
	uint32_t n;
	uint8_t verb; /* of an answer: the error */
	uint8_t slot;
	uint16_t what;
	uint16_t cpu;
};

void key_head_write(const struct key_head *h, uint8_t out[static KEY_HEAD]);
/* ERR_LIMIT: longer than anything there is to say. */
enum err key_head_read(const uint8_t in[static KEY_HEAD], struct key_head *out) MUST_CHECK;

struct key_open {
	bool clear;
	struct bytes path, name, passphrase; /* borrowed */
};
void key_open_write(struct buf *b, const struct key_open *o);
enum err key_open_read(struct bytes body, struct key_open *out) MUST_CHECK;

void key_public_write(struct buf *b, const struct keyring *k);
void key_opened_write(struct buf *b, const struct ownkey *k);
/* Fills `info` and `name`; the keyring is the caller's to make. */
enum err key_opened_read(struct bytes body, struct keyring_public *p, struct ownkey *out) MUST_CHECK;
void key_fault_write(struct buf *b, const struct fault *f);
enum err key_fault_read(struct bytes body, enum err e, struct fault *out) MUST_CHECK;

/* --- the one that serves (keyserver.c): bytes in, bytes out ------------------------------------------- */
struct keyserver {
	struct env *env;
	struct ownkey key;
	struct keyring *next; /* slot 1 */
	struct secret passphrase; /* of the key file, for the next one */
	bool opened;
};

/* ERR_OK: `answer` holds body and *error. Anything else: this was no request of ours, and there is no answer. */
enum err keyserver_take(struct keyserver *s, const struct key_head *h, struct bytes body, struct buf *answer,
			enum err *error) MUST_CHECK;
void keyserver_fini(struct keyserver *s);

/* --- the process around it (keyproc_child.c). Never returns. ------------------------------------------- */
_Noreturn void keyproc_child(int fd, pid_t parent);

#endif
