/*
 * prompt.h -- a person at the terminal of stdin, asked for a passphrase without echo.
 *
 * The question goes to stderr. A signal (interrupt, stop, hang-up) restores the terminal before anything else happens.
 */
#ifndef BASE_PROMPT_H
#define BASE_PROMPT_H

#include "base/secret.h"

/* One passphrase that keeps the rules (passphrase.h); `twice` asks again and compares. The question is a whole line begin:
 * "Passphrase of the mesh: ". ERR_NOTFOUND when stdin is no terminal, ERR_CLOSED when nothing was typed or a signal came:
 * then *signal_number (may be NULL) is not 0. All with fault. */
enum err prompt_passphrase(const char *question, bool twice, struct secret *out, int *signal_number,
			   struct fault *f) MUST_CHECK;

#endif
