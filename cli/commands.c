#include "cli/commands.h"

/* In the order of the help. */
const struct command *const cli_commands[] = {
	&cmd_setup, &cmd_run,  &cmd_send,  &cmd_inbox, &cmd_recv,   &cmd_outbox, &cmd_conversations, &cmd_peers, &cmd_pair, &cmd_invite, &cmd_status, &cmd_doctor, &cmd_ping,
	&cmd_keys, &cmd_trust, &cmd_caps, &cmd_routes, &cmd_discovery, &cmd_config, &cmd_audit,
	&cmd_backup, &cmd_restore, &cmd_import,
	&cmd_events, &cmd_dashboard, &cmd_token, &cmd_metrics, &cmd_demo,   &cmd_completion, &cmd_version, &cmd_help, NULL,
};
