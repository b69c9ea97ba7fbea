#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *err_word(enum err e)
{
	static const char *const words[ERR_COUNT] = {
#define X(name, word) [name] = word,
		ERR_TABLE(X)
#undef X
	};

	if ((unsigned)e >= ERR_COUNT)
		return "unknown";
	return words[e];
}

enum err err_from_errno(int no)
{
	switch (no) {
	case 0:
		return ERR_OK;
	case ENOENT:
	case ENOTDIR:
	case ENXIO:
	case ENODEV:
		return ERR_NOTFOUND;
	case EEXIST:
		return ERR_EXISTS;
	case EACCES:
	case EPERM:
	case ELOOP: /* O_NOFOLLOW met a symlink: somebody put it there */
		return ERR_DENIED;
	case ENOSPC:
	case EDQUOT:
	case EROFS:
	case EFBIG:
		return ERR_STORE;
	case ENOMEM:
		return ERR_NOMEM;
	case EAGAIN:
#if EWOULDBLOCK != EAGAIN
	case EWOULDBLOCK:
#endif
	case EINTR:
	case EBUSY:
	case EINPROGRESS:
	case EALREADY:
		return ERR_AGAIN;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
		return ERR_FULL;
	case ETIMEDOUT:
		return ERR_TIMEOUT;
	case EPIPE:
	case ECONNRESET:
	case ECONNABORTED:
	case ECONNREFUSED:
	case ENOTCONN:
	case ESHUTDOWN:
		return ERR_CLOSED;
	case ENAMETOOLONG:
	case E2BIG:
	case EMSGSIZE:
	case ERANGE:
	case EOVERFLOW:
		return ERR_LIMIT;
	case EINVAL:
	case EILSEQ:
		return ERR_MALFORMED;
	case ENOSYS:
	case EOPNOTSUPP:
	case EAFNOSUPPORT:
	case EPROTONOSUPPORT:
		return ERR_UNSUPPORTED;
	default:
		return ERR_IO;
	}
}

enum err fault_set(struct fault *f, enum err e, enum exit_code code, const char *what, ...)
{
	va_list ap;

	if (!f)
		return e;
	f->err = e;
	f->code = code;
	f->means[0] = f->next[0] = '\0';
	va_start(ap, what);
	vsnprintf(f->what, sizeof(f->what), what, ap);
	va_end(ap);
	return e;
}

void fault_means(struct fault *f, const char *fmt, ...)
{
	va_list ap;

	if (!f)
		return;
	va_start(ap, fmt);
	vsnprintf(f->means, sizeof(f->means), fmt, ap);
	va_end(ap);
}

void fault_next(struct fault *f, const char *fmt, ...)
{
	va_list ap;

	if (!f)
		return;
	va_start(ap, fmt);
	vsnprintf(f->next, sizeof(f->next), fmt, ap);
	va_end(ap);
}

void bug(const char *file, int line, const char *cond)
{
	fprintf(stderr, "bug file=%s line=%d cond=\"%s\"\n", file, line, cond);
	fflush(stderr);
	abort();
}
