#include "base/secret.h"

#include <sodium.h>
#include <stdlib.h>
#include <sys/mman.h>

enum err secret_init_library(void)
{
	return sodium_init() < 0 ? ERR_INTERNAL : ERR_OK; /* 1 means: already done */
}

bool secret_memory_lockable(void)
{
	/* A few guarded keys need a few pages; one page alone could fit under a tiny
	 * RLIMIT_MEMLOCK. */
	const size_t n = 16 * 4096;
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool ok;

	if (p == MAP_FAILED)
		return false;
	ok = sodium_mlock(p, n) == 0;
	if (ok)
		sodium_munlock(p, n);
	munmap(p, n);
	return ok;
}

enum err secret_new(struct secret *s, size_t n)
{
	uint8_t *p;

	/* sodium_malloc() aborts in a process that never called sodium_init(). */
	if (secret_init_library() != ERR_OK)
		return ERR_INTERNAL;
	p = sodium_malloc(n);
	if (!p)
		return ERR_NOMEM;
	if (n)
		memset(p, 0, n); /* sodium_malloc fills with a pattern */
	*s = (struct secret){.p = p, .n = n};
	return ERR_OK;
}

enum err secret_copy(struct secret *s, struct bytes from)
{
	struct secret t;
	enum err e = secret_new(&t, from.n);

	if (e != ERR_OK)
		return e;
	if (from.n)
		memcpy(t.p, from.p, from.n);
	*s = t;
	return ERR_OK;
}

void secret_free(struct secret *s)
{
	sodium_free(s->p); /* wipes, and accepts NULL */
	*s = (struct secret){0};
}

void wipe(void *p, size_t n)
{
	sodium_memzero(p, n);
}

bool ct_equal(const void *a, const void *b, size_t n)
{
	return sodium_memcmp(a, b, n) == 0;
}

bool is_zero(const void *p, size_t n)
{
	return sodium_is_zero(p, n) == 1;
}
