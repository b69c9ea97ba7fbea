/*
 * protocol_vectors.h -- the figures in tests/vectors/: lines of a name and one or two words.
 *
 * '#' begins a comment line; "[part]" puts "part." before the names that follow. A file or name that is
 * not there is a BUG_ON. Read from the root of the tree, where the tests run.
 */
#ifndef TESTS_PROTOCOL_VECTORS_H
#define TESTS_PROTOCOL_VECTORS_H

#include "base/wire.h"

struct keyring;

struct vector_line {
	const char *name;
	const char *word[2];  /* "" when absent; "-" stands for empty bytes */
	struct bytes bytes[2]; /* of words that are hex, else empty */
};
struct vectors {
	struct vector_line *line;
	size_t n;
	void *memory;
};
void vectors_load(struct vectors *v, const char *path);
void vectors_free(struct vectors *v);
/* The bytes of the first line "part.name". */
struct bytes vector(const struct vectors *v, const char *part, const char *name);
bool vector_known(const struct vectors *v, const char *part, const char *name);
/* The key pair of [identity.NAME]; the caller frees it. */
struct keyring *vector_keyring(const struct vectors *v, const char *name);

#endif
