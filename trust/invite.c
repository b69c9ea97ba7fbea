#include "trust/invite.h"

enum err invite_write(const struct keyring *k, const struct invite *v, struct buf *out)
{
	return ERR_UNSUPPORTED;
}

enum err invite_read(struct bytes text, struct invite *out)
{
	return ERR_UNSUPPORTED;
}

enum err invite_timely(const struct invite *v, uint64_t wall_ms)
{
	return ERR_UNSUPPORTED;
}

uint64_t invite_life_ms(const char *profile)
{
	return 0;
}
