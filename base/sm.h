/*
 * sm.h -- a table of allowed moves, and the one function that moves.
 */
#ifndef BASE_SM_H
#define BASE_SM_H

#include <stdint.h>

#include "base/err.h"

#define SM_TO(state) (1u << (state))

struct sm_row {
	const char *name;
	uint32_t to; /* bit set of allowed next states */
};

/* True if the table allows from -> to. */
bool sm_allows(const struct sm_row *rows, unsigned from, unsigned to);
/* Moves *state or dies: a forbidden move is our own bug. Callers that serve outside input ask
 * sm_allows() first. */
void sm_move(const struct sm_row *rows, unsigned *state, unsigned to);

#endif
