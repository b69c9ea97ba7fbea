/*
 * commands.h -- one line per subcommand or group; each is a file cmd_<name>.c.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/command.h"

extern const struct command cmd_backup, cmd_import, cmd_restore;
extern const struct command cmd_caps, cmd_config, cmd_conversations, cmd_doctor, cmd_discovery, cmd_invite, cmd_pair, cmd_routes, cmd_setup;
extern const struct command cmd_dashboard, cmd_metrics, cmd_token;
extern const struct command cmd_run, cmd_send, cmd_inbox, cmd_recv, cmd_outbox, cmd_peers, cmd_status,
	cmd_ping, cmd_keys, cmd_trust, cmd_audit, cmd_events, cmd_demo, cmd_completion, cmd_version,
	cmd_help;

#endif
