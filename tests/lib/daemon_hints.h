/*
 * daemon_hints.h -- nodes that hear each other as over mDNS, without mDNS.
 *
 * Include after cmocka.h.
 */
#ifndef TESTS_LIB_DAEMON_HINTS_H
#define TESTS_LIB_DAEMON_HINTS_H

#include "daemon/discovery_internal.h"
#include "tests/lib/daemon_world.h"

#define SECOND UINT64_C(1000)
#define MINUTE UINT64_C(60000)

extern const uint8_t FLEET[IM2_DISC_BYTES], OTHER_FLEET[IM2_DISC_BYTES];

int hints_setup(void **state); /* as world_setup(), everybody with discovery */
void side_again(struct side *s, enum discovery_scope scope); /* its next life */
void side_joins(struct side *s, const uint8_t *key);
void side_listens(struct side *s); /* and says so in its card */

/* What `who` publishes, at these addresses (ends with NULL). */
struct heard {
	struct discovery_publication p;
	struct discovery_service s;
	char addresses[9][80], idhash[17];
};
struct heard side_said(struct side *who, const char *const *addresses);
/* `to` hears it under this instance. `name`, `id`: of a public one; may be NULL. */
bool hears_as(struct side *to, struct heard *h, const char *instance, bool fleet, const char *name, const struct node_id *id);
bool hears_fleet(struct side *to, struct side *who);
bool hears_public(struct side *to, struct side *who);
struct discovery_view view_of(struct side *s, const char *instance);

#endif
