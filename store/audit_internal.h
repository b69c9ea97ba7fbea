/*
 * audit_internal.h -- lines, chains and signed heads of the audit log (wire 9.8).
 */
#ifndef STORE_AUDIT_INTERNAL_H
#define STORE_AUDIT_INTERNAL_H

#include "base/hash.h"
#include "base/json.h"
#include "store/audit.h"

#define AUDIT_HMAC_LEN 64
#define AUDIT_LINE_MAX (256u << 10) /* read; what we write stays below AUDIT_DETAILS_MAX + 1 KiB   \
				     */
#define AUDIT_DETAILS_MAX 8192
#define AUDIT_PATH_MAX	  4096

extern const char AUDIT_GENESIS[AUDIT_HMAC_LEN + 1];

/* One line without its newline, cut where the hmac was inserted: before || hmac part || after. */
struct audit_line {
	struct bytes before; /* {"details":{...},"event":"...", */
	struct bytes hmac;   /* 64 hex digits */
	struct bytes after;  /* "timestamp":...} */
	json_t *json;	     /* owned: audit_line_fini() */
	const char *event;   /* inside json */
	json_t *details;     /* inside json */
	double timestamp;
};

/* Exactly one canonical line, four keys; ERR_MALFORMED otherwise. `line` is borrowed. */
enum err audit_line_parse(struct bytes line, struct audit_line *out) MUST_CHECK;
void audit_line_fini(struct audit_line *l);
/* hex HMAC(key, ascii(previous) || before || after); `hex` may be `previous`. */
void audit_line_hmac(struct bytes key, const char previous[static AUDIT_HMAC_LEN],
		     struct bytes before, struct bytes after, char hex[static AUDIT_HMAC_LEN + 1]);

enum line_end { LINE_FULL, LINE_TORN, LINE_LONG }; /* TORN: the file ends without a newline */
/* `offset`: of the byte after the line and its newline. Return false to stop. */
typedef bool (*audit_line_fn)(void *ctx, struct bytes line, enum line_end end, uint64_t offset);
/* Streams the file. ERR_NOTFOUND, ERR_DENIED, ERR_IO. */
enum err audit_each_line(const char *path, audit_line_fn fn, void *ctx, struct fault *f) MUST_CHECK;

/* The signed head beside a log: audit.log -> audit.head, any other name -> <name>.head. */
struct audit_head {
	bool present, signature_ok;
	uint64_t entries, rotation;
	char hmac[AUDIT_HMAC_LEN + 1];
};
enum err audit_head_path(const char *log, char *out, size_t cap) MUST_CHECK;
/* A missing, unreadable or forged head is no error: it is said in *out. */
void audit_head_load(const char *log, const uint8_t ed[static ED_BYTES], struct audit_head *out);
enum err audit_head_save(const char *log, const struct keyring *k, uint64_t entries,
			 uint64_t rotation, const char *hmac, uint64_t wall_ms) MUST_CHECK;

enum head_verdict {
	HEAD_NONE,    /* no head */
	HEAD_FORGED,  /* not our signature, or unreadable */
	HEAD_COVERS,  /* the log holds what was signed */
	HEAD_EARLIER, /* signed for the file before this one: covers nothing here */
	HEAD_CUT,     /* the log is shorter or older than what was signed */
	HEAD_DIFFERS  /* the entry that was signed is another one now */
};

struct audit_scan {
	bool exists;
	uint64_t entries;		   /* good ones */
	uint64_t good_bytes;		   /* up to the end of the last good line */
	uint64_t bad_line;		   /* 1-based; 0 = none */
	bool torn;			   /* the bad line is the last one and has no newline */
	bool open_end;			   /* the last good line lacks its newline */
	uint64_t rotation;		   /* of this file, from its first entry */
	bool follows;			   /* the first entry names the tail of a rotated file */
	char previous[AUDIT_HMAC_LEN + 1]; /* that tail */
	char hmac[AUDIT_HMAC_LEN + 1];	   /* of the last good entry */
	enum head_verdict head;
	struct audit_head signed_head;
	char why[160];
};
/* Walks the chain of `path` and holds it against its head. A missing file is `exists` = false. */
enum err audit_scan(const char *path, const uint8_t ed[static ED_BYTES], struct bytes audit_key, struct audit_scan *out,
		    struct fault *f) MUST_CHECK;
/* The hmac of the last line that parses, unchecked, and the rotation number of the file. */
enum err audit_last_hmac(const char *path, char hmac[static AUDIT_HMAC_LEN + 1],
			 uint64_t *rotation) MUST_CHECK;

/* What strangers may cause (audit.h): counts per word and source, and per word. */
struct audit_limits;
typedef void (*audit_tell_fn)(void *ctx, const char *event, const char *source, uint32_t count);
struct audit_limits *audit_limits_new(const uint8_t hash_key[static 16], audit_tell_fn fn,
				      void *ctx);
void audit_limits_free(struct audit_limits *x);
/* False: over the limit, counted. May tell of a window that has ended. */
bool audit_limits_allow(struct audit_limits *x, const char *event, struct bytes source,
			uint64_t now);
bool audit_limits_due(const struct audit_limits *x, uint64_t now);
/* Tells of the windows that have ended, or of `all`. */
void audit_limits_sweep(struct audit_limits *x, uint64_t now, bool all);

#endif
