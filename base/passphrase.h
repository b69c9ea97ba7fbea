/*
 * passphrase.h -- where a passphrase may come from: file, descriptor, systemd credential,
 * environment as the last resort. Never the command line. A person is asked by prompt.h.
 *
 * One trailing line end (\n or \r\n) is stripped; other control characters are refused; at least
 * 12 code points of UTF-8 (wire 1.7).
 */
#ifndef BASE_PASSPHRASE_H
#define BASE_PASSPHRASE_H

#include "base/secret.h"

#define PASSPHRASE_MIN_CHARS 12
#define PASSPHRASE_MAX_BYTES 1024

enum err passphrase_check(struct bytes raw, struct bytes *stripped, struct fault *f) MUST_CHECK;
enum err passphrase_from_file(const char *path, struct secret *out, struct fault *f) MUST_CHECK;
enum err passphrase_from_fd(int fd, struct secret *out, struct fault *f) MUST_CHECK;
/* $CREDENTIALS_DIRECTORY/<name>; ERR_NOTFOUND when there is none. */
enum err passphrase_from_credential(const char *name, struct secret *out, struct fault *f) MUST_CHECK;
/* Reads the variable, then removes it from the environment. ERR_NOTFOUND when unset. */
enum err passphrase_from_env(const char *variable, struct secret *out, struct fault *f) MUST_CHECK;
/* 7 groups of 4 characters from a 32-letter alphabet: 140 bits. `random` fills bytes. */
enum err passphrase_generate(void (*random)(void *ctx, void *out, size_t n), void *ctx,
			     struct secret *out) MUST_CHECK;

#endif
