/*
 * owner.h -- root at work on the home folder of another user.
 *
 * What root changes there is changed as that user: no file appears that the daemon could not read, and no link that the
 * user left there leads root anywhere. One at a time, in a program of one thread.
 */
#ifndef BASE_OWNER_H
#define BASE_OWNER_H

#include "base/err.h"

/* Nothing happens unless we are root and `home`, or the link that it is, belongs to somebody else. */
enum err owner_become(const char *home, struct fault *f) MUST_CHECK;
/* The same for an owner that is known: of a folder that is open. */
enum err owner_be(unsigned uid, unsigned gid, const char *home, struct fault *f) MUST_CHECK;
/* Root again, if owner_become() changed that. */
void owner_leave(void);

#endif
