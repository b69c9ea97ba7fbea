/*
 * log.h -- one line per event: a fixed event word, then key=value.
 *
 *	log_info("delivered msg=%s peer=%s attempts=%u", id, peer, n);
 *
 * The only global of the program besides libraries: the sink. Text or JSON, to stderr; `<N>`
 * priority prefixes when stderr is the journal. Values that contain spaces, quotes or control
 * bytes are quoted and cleaned on output. Repeated event words are rate limited (LOG_BURST per
 * LOG_WINDOW_MS, then one summary line `log-suppressed event=... count=...`), except errors.
 * Keys, plaintext, passphrases and message bodies are never arguments of a log call.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>

#include "base/err.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

#define LOG_BURST 20
#define LOG_WINDOW_MS 10000

struct log_config {
	enum log_level level;
	enum log_format format;
	int fd;                              /* 0 means 2 (stderr); -1: the tap alone */
	uint64_t (*wall_ms)(void *ctx);      /* NULL: system clock */
	void *ctx;
	/* Tests: gets the line as written, without its newline. Must not log. May be NULL. */
	void (*tap)(void *ctx, enum log_level level, const char *line);
	void *tap_ctx;
};

void log_setup(const struct log_config *c); /* forgets what it counted; INFO to stderr before */
void log_flush(void);                       /* writes the summaries that are due at a window's end now */
bool log_wants(enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) do { if (log_wants(LOG_DEBUG)) log_line(LOG_DEBUG, __VA_ARGS__); } while (0)

enum err log_level_parse(const char *s, enum log_level *out) MUST_CHECK;
enum err log_format_parse(const char *s, enum log_format *out) MUST_CHECK;

#endif
