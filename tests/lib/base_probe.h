/*
 * base_probe.h -- what several tests of base need: a folder that goes away, and a child that dies.
 */
#ifndef TESTS_LIB_BASE_PROBE_H
#define TESTS_LIB_BASE_PROBE_H

#include <stdbool.h>
#include <stddef.h>

/* Sanitizers bring their own allocator, signal handlers and environment copies. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PROBE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PROBE_SANITIZED 1
#endif
#endif
#ifndef PROBE_SANITIZED
#define PROBE_SANITIZED 0
#endif

/* A new empty folder, mode 0700; the path is static and changes with the next call. */
const char *probe_dir_new(void);
void probe_dir_remove(const char *dir); /* with everything in it, two levels deep */
/* dir "/" name, in one of four static buffers used in turn. */
const char *probe_path(const char *dir, const char *name);
/* Creates or overwrites a file with exactly this mode. */
void probe_file(const char *path, const void *data, size_t n, unsigned mode);
/* Runs `fn` in a child: true when it ends by SIGABRT. Its stderr is dropped. */
bool probe_aborts(void (*fn)(void *ctx), void *ctx);

#endif
