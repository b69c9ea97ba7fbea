/*
 * qr.h -- a QR code of half blocks for terminals that speak UTF-8.
 */
#ifndef CLI_QR_H
#define CLI_QR_H

#include <stdio.h>

#include "base/err.h"

/* Two rows of modules a line, with the quiet zone, light on dark as terminals are. ERR_LIMIT: more than a code holds. */
enum err qr_print(FILE *to, const char *text) MUST_CHECK;

#endif
