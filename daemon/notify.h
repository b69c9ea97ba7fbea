/*
 * notify.h -- tells systemd how we are: one datagram to $NOTIFY_SOCKET, without libsystemd.
 */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Lines such as "READY=1\nSTATUS=...". Does nothing when nobody asked, or nobody listens. */
void notify_manager(const char *lines);
bool notify_wanted(void); /* there is a service manager to tell */
/* What is being done takes its time: once a second at most, the start may take two minutes more. */
void notify_still_starting(void);
/* How often WATCHDOG=1 is expected of us, halved; 0: never. */
uint64_t notify_watchdog_ms(void);

#endif
