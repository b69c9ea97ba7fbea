#include "base/sm.h"

bool sm_allows(const struct sm_row *rows, unsigned from, unsigned to)
{
	return to < 32 && (rows[from].to & SM_TO(to)) != 0;
}

void sm_move(const struct sm_row *rows, unsigned *state, unsigned to)
{
	BUG_ON(!sm_allows(rows, *state, to));
	*state = to;
}
