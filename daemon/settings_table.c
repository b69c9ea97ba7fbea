/* The table of settings.h: to add a setting, add a row here and a member to struct run_config. */
#include "daemon/settings.h"

#include <stdio.h>

#include "daemon/config.h"

#define AT(member) .at = offsetof(struct run_config, member), .size = sizeof(((struct run_config *)0)->member)
#define LIVE SETTING_LIVE

/* In the order of the help, the example file and the manual page. */
static const struct setting rows[] = {
	{ "identity", "name", "--name", "NAME", .kind = SETTING_NAME, AT(name),
	  .text = "what this node is called; needed the first time, then kept in the key file" },
	{ "identity", "key_passphrase_file", "--key-passphrase-file", "FILE", .kind = SETTING_PATH, AT(key_passphrase_file),
	  .text = "the passphrase of the key file, when it is another one" },
	{ "identity", "clear_keys", "--clear-keys", .kind = SETTING_BOOL, .standard = "no", AT(clear_keys),
	  .text = "store a new identity without encryption" },
	{ "identity", "unattended", "--unattended", .kind = SETTING_BOOL, .standard = "no", AT(unattended),
	  .text = "ask nobody: a new node is called as its host, the passphrase of its key is made" },

	{ "mesh", "name", "--mesh", "NAME", .kind = SETTING_TEXT, .min = 1, .max = RUN_MESH_MAX, .standard = RUN_MESH, AT(mesh),
	  .text = "the name of the mesh, the same on all its nodes", .help = "the name of the mesh, the same on all its nodes (default)" },
	{ "mesh", "passphrase_file", "--passphrase-file", "FILE", .kind = SETTING_PATH, AT(passphrase_file),
	  .text = "the passphrase of the mesh: one line, mode 0600" },
	{ NULL, NULL, "--passphrase-fd", "N", .kind = SETTING_INT, .max = 65535, AT(passphrase_fd),
	  .text = "the same from an open descriptor" },
	{ "mesh", "no_passphrase", "--no-passphrase", .kind = SETTING_BOOL, .standard = "no", AT(no_passphrase),
	  .text = "start without the passphrase of the mesh: `ironmesh pair` brings what it needs" },
	{ "mesh", "passgen", "--passgen", "N", .kind = SETTING_INT, .max = 65535, .standard = "0", AT(passgen),
	  .text = "the number of this passphrase, while the mesh changes to another",
	  .help = "the number of this passphrase, while the mesh changes to another (0)" },

	{ "lan", "port", "--port", "PORT", .kind = SETTING_INT, .max = 65535, .standard = "8765", AT(port),
	  .text = "listen on this TCP port; 0: a free one", .help = "listen on this TCP port (8765); 0: a free one" },
	{ "lan", "bind", "--bind", "ADDRESS", .kind = SETTING_TEXT, .min = 1, .max = 255, .standard = "0.0.0.0", AT(bind),
	  .text = "listen on this address (0.0.0.0: every IPv4 address of the machine)" },
	{ "lan", "listen", "--no-listen", .gives = "no", .kind = SETTING_BOOL, .standard = "yes", AT(listen),
	  .text = "accept connections; no: only dial", .help = "accept no connections; only dial" },
	{ NULL, NULL, "--peer", "HOST:PORT[#ID]", .kind = SETTING_ADDRESS, .flags = LIVE | SETTING_EACH,
	  .text = "dial this peer and stay connected; may be repeated" },
	{ "lan", "allow_plaintext_ws", "--allow-plaintext-ws", .kind = SETTING_BOOL, .standard = "no", AT(allow_plaintext),
	  .text = "accept ws:// too, and dial it when wss:// fails" },
	{ "lan", "strict_tls", "--strict-tls", .kind = SETTING_BOOL, .standard = "no", AT(strict_tls),
	  .text = "when dialling, verify the certificate and the host name" },
	{ "lan", "pinned_ca", "--pinned-ca", "FILE", .kind = SETTING_PATH, AT(pinned_ca),
	  .text = "with strict_tls: trust only the certificates in this PEM file",
	  .help = "with --strict-tls: trust only the certificates in this PEM file" },
	{ "lan", "discovery", "--discovery", "fleet|public|both|off", .kind = SETTING_WORD, .words = "off|auto|fleet|public|both",
	  .standard = "auto", AT(discovery),
	  .text = "how we are found here: by tags (fleet), by name (public); auto: fleet with a key of it, else public",
	  .help = "how we are found here: by tags, by name (fleet with a key of it, else public)" },
	{ "lan", "open_discovery", "--open-discovery", .kind = SETTING_BOOL, .standard = "no", .flags = LIVE, AT(open_discovery),
	  .text = "dial everybody who is found on this network, known or not; for demonstrations" },

	{ "im2", "mode", "--im2", "off|on|require", .kind = SETTING_WORD, .words = "off|on|require", .standard = "on", AT(policy.im2),
	  .text = "the native wire: not at all, with who speaks it (on), with nobody else" },
	{ NULL, NULL, "--require-im2", .same = "im2.mode", .gives = "require", .kind = SETTING_WORD,
	  .text = "the same as --im2 require" },
	{ "im2", "pad", "--pad", .kind = SETTING_BOOL, .standard = "no", .flags = LIVE, AT(pad),
	  .text = "fill frames of im2 up to a few sizes, so that lengths tell less" },
	{ "im2", "sign_always", "--sign-always", .kind = SETTING_BOOL, .standard = "no", .flags = LIVE, AT(sign_always),
	  .text = "sign every message over im2, so that it proves its author to others too" },
	{ "im2", "tls_binding", "--tls-binding", "on|off", .kind = SETTING_BOOL, .standard = "no", AT(tls_binding),
	  .text = "tie handshakes of im2 to their TLS connection; the same at both ends",
	  .help = "tie handshakes of im2 to their TLS connection; the same at both ends (off)" },

	{ "routing", "mode", "--routing", "off|passive|relay", .kind = SETTING_WORD, .words = "off|passive|relay",
	  .standard = "passive", AT(routing),
	  .text = "messages through other nodes: not at all, only our own (passive), also for others" },
	{ "routing", "seal_fallback", "--seal-fallback", "mark|refuse", .kind = SETTING_WORD, .words = "mark|refuse",
	  .standard = "mark", .flags = LIVE, AT(seal_refuse),
	  .text = "to who has no prekey: send without forward secrecy and say so (mark), or not at all" },
	{ "routing", "seal_pad", "--seal-pad", "on|off", .kind = SETTING_BOOL, .standard = "yes", .flags = LIVE, AT(seal_pad),
	  .text = "fill sealed objects up to a few sizes, so that relays learn less",
	  .help = "fill sealed objects up to a few sizes, so that relays learn less (on)" },

	{ "trust", "allowed_peers", "--allowed-peers", "LIST", .kind = SETTING_PEERS, .flags = LIVE | SETTING_LIST,
	  .text = "talk to nobody else: node ids, aliases, names, by commas, or @FILE; may be repeated" },
	{ "trust", "trust_on_first_use", "--trust-on-first-use", .kind = SETTING_BOOL, .standard = "no", .flags = LIVE,
	  AT(policy.trust_on_first_use), .text = "trust a new peer that knows the passphrase without asking" },
	{ "trust", "min_protocol_version", "--min-protocol-version", "VERSION", .kind = SETTING_VERSION, .standard = "0.3",
	  .flags = LIVE, AT(policy.min_version), .text = "refuse peers below this version",
	  .help = "refuse peers below this version (ironmesh/0.3)" },
	{ "trust", "rotate_verified", "--rotate-verified", "keep|drop", .kind = SETTING_WORD, .words = "drop|keep",
	  .standard = "drop", .flags = LIVE, AT(rotate_keeps_verified),
	  .text = "whether a verified peer stays so when a signed record changes its key (drop)" },
	{ "trust", "cap_change", "--cap-change", "show|hold", .kind = SETTING_WORD, .words = "show|hold", .standard = "show",
	  .flags = LIVE, AT(cap_change_holds),
	  .text = "when what a trusted peer can do changes: say so, or hold its messages too (show)" },
	{ "trust", "revoke_admins", "--revoke-admins", "LIST", .kind = SETTING_KEYS, .flags = LIVE | SETTING_LIST,
	  .text = "public keys of who together may revoke any identity, or @FILE; on all nodes alike" },
	{ "trust", "revoke_quorum", "--revoke-quorum", "K", .kind = SETTING_INT, .min = 1, .max = ADMINS_MAX, .flags = LIVE, AT(admins.quorum),
	  .text = "so many of them have to sign (the majority: 2 of 3)" },

	{ "limits", "connect_rate", "--connect-rate", "N", .kind = SETTING_RATE, .max = 1000000, .standard = "20", .flags = LIVE,
	  AT(connect_rate), .text = "connections per second taken from one address; 0: no limit",
	  .help = "connections per second taken from one address (20); 0: no limit" },
	{ "limits", "sessions", NULL, "N", .kind = SETTING_INT, .min = 16, .max = 65536, .standard = "4096", AT(sessions),
	  .text = "sessions that may be open at a time; a quarter is kept for peers that are trusted" },
	{ "limits", "rekey_interval", "--rekey-interval", "TIME", .kind = SETTING_DURATION, .min = 10000, .max = 7ll * 24 * 3600000,
	  .standard = "30m", .flags = LIVE | SETTING_ZERO, AT(rekey_ms), .text = "new session keys after this time; 0: never",
	  .help = "new session keys after this time (30m); 0: never" },

	{ "walls", "mode", "--walls", "on|off|require", .kind = SETTING_WORD, .words = "on|off|require", .standard = "on", AT(walls),
	  .text = "shut this process in: as far as the kernel can, not at all, fully or no start (on)" },

	{ "http", "listen", "--http", "ADDRESS:PORT", .kind = SETTING_TEXT, .min = 1, .max = 80, AT(http_listen),
	  .text = "dashboard and HTTP API always open there; else `ironmesh dashboard` opens 127.0.0.1" },
	{ "http", "remote", "--http-remote", .kind = SETTING_BOOL, .standard = "no", AT(http_remote),
	  .text = "allow an address that others reach; there is no TLS: the wire shows the tokens" },
	{ "http", "names", "--http-name", "NAMES", .kind = SETTING_WORDS, .flags = SETTING_LIST, AT(http_names),
	  .text = "more names under which the dashboard is asked for, such as those of a proxy before it" },
	{ "http", "metrics", "--http-metrics", "token|open", .kind = SETTING_WORD, .words = "token|open", .standard = "token",
	  AT(http_metrics_open), .text = "who may read /metrics: with a token, or everybody who reaches the port (token)" },
	{ "http", "metrics_per_peer", NULL, .kind = SETTING_BOOL, .standard = "no", AT(http_metrics_per_peer),
	  .text = "/metrics with a label for each peer" },

	{ "backup", "directory", "--backup-directory", "DIR", .kind = SETTING_PATH, AT(backup_directory),
	  .text = "make backups by itself into this folder" },
	{ "backup", "passphrase_file", "--backup-passphrase-file", "FILE", .kind = SETTING_PATH, AT(backup_passphrase_file),
	  .text = "the passphrase of these backups, which may differ from that of the mesh" },
	{ "backup", "every", "--backup-every", "TIME", .kind = SETTING_DURATION, .min = 10000, .max = 366ll * 86400000, .standard = "1d",
	  .flags = LIVE | SETTING_ZERO, AT(backup_every_ms), .text = "make one so often; 0: only by `ironmesh backup now`",
	  .help = "make one so often (1d); 0: only by `ironmesh backup now`" },
	{ "backup", "keep", "--backup-keep", "N", .kind = SETTING_INT, .min = 1, .max = 1000, .standard = "7", .flags = LIVE,
	  AT(backup_keep), .text = "how many of them are kept; the oldest go", .help = "how many of them are kept (7); the oldest go" },

	{ "log", "level", "--log-level", "LEVEL", .kind = SETTING_WORD, .words = "error|warn|info|debug", .standard = "info",
	  .flags = LIVE, AT(log_level), .text = "error, warn, info or debug" },
	{ "log", "format", "--log-format", "FORMAT", .kind = SETTING_WORD, .words = "text|json", .standard = "text", .flags = LIVE,
	  AT(log_format), .text = "text or json" },

	{ "peer", "address", NULL, "HOST:PORT", .kind = SETTING_ADDRESS, .flags = LIVE | SETTING_NAMED,
	  .text = "dial this peer and stay connected; the name of the section is for you alone" },
	{ "peer", "id", NULL, "ID", .kind = SETTING_ID, .flags = LIVE | SETTING_NAMED,
	  .text = "who has to answer there; whoever else does is refused" },

	{ NULL, NULL, "--config", "FILE", .kind = SETTING_PATH, .text = "read this file, and no other (else ironmesh.conf and conf.d/*.conf)" },
	{ NULL, NULL, "--set", "SECTION.KEY=VALUE", .kind = SETTING_TEXT, .flags = SETTING_EACH,
	  .text = "any setting of ironmesh.conf; may be repeated" },
	{ NULL, NULL, "--help", .kind = SETTING_BOOL, .text = "print this and exit" },
};
#define ROWS (sizeof rows / sizeof rows[0])

/* One line for each section. */
static const struct {
	const char *section, *text;
} sections[] = {
	{ "identity", "Who this node is." },
	{ "mesh", "The group of nodes that share a passphrase." },
	{ "lan", "Where it listens, whom it finds, and the TLS of its connections." },
	{ "im2", "The native wire." },
	{ "routing", "Messages through other nodes." },
	{ "trust", "Whom it talks to." },
	{ "limits", "What one address or session may cost." },
	{ "walls", "How the process is shut in." },
	{ "http", "The dashboard, the HTTP API and the metrics." },
	{ "backup", "Backups that are made by themselves." },
	{ "log", "What is written to stderr." },
	{ "peer", "A peer that is dialled; one section for each." },
};

/* What people write instead, taken with a warning that says the right name. A key that is renamed comes here too. */
static const struct {
	const char *section, *key, *now_section, *now_key;
} others[] = {
	{ "identity", "passphrase_file", "mesh", "passphrase_file" },
	{ "identity", "mesh", "mesh", "name" },
	{ "trust", "tofu", "trust", "trust_on_first_use" },
};

const struct setting *setting_at(size_t i)
{
	return i < ROWS ? &rows[i] : NULL;
}

const struct setting *setting_find(const char *section, const char *key)
{
	for (size_t i = 0; i < ROWS; i++)
		if (rows[i].key && strcmp(rows[i].section, section) == 0 && strcmp(rows[i].key, key) == 0)
			return &rows[i];
	return NULL;
}

const struct setting *setting_by_option(const char *option)
{
	for (size_t i = 0; i < ROWS; i++)
		if (rows[i].option && strcmp(rows[i].option, option) == 0)
			return &rows[i];
	return NULL;
}

const struct setting *setting_other_name(const char *section, const char *key)
{
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		if (strcmp(others[i].section, section) == 0 && strcmp(others[i].key, key) == 0)
			return setting_find(others[i].now_section, others[i].now_key);
	return NULL;
}

const char *setting_section_text(const char *section)
{
	for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++)
		if (strcmp(sections[i].section, section) == 0)
			return sections[i].text;
	return "";
}

bool setting_section_known(const char *section, bool *named)
{
	for (size_t i = 0; i < ROWS; i++)
		if (rows[i].section && strcmp(rows[i].section, section) == 0) {
			*named = rows[i].flags & SETTING_NAMED;
			return true;
		}
	return false;
}

const char *setting_kind_word(enum setting_kind k)
{
	static const char *const words[] = {
		[SETTING_BOOL] = "yes-no", [SETTING_INT] = "number",   [SETTING_RATE] = "rate",	      [SETTING_DURATION] = "time",
		[SETTING_WORD] = "word",    [SETTING_NAME] = "name",	      [SETTING_TEXT] = "text",
		[SETTING_PATH] = "path",   [SETTING_ADDRESS] = "address", [SETTING_ID] = "node-id",   [SETTING_VERSION] = "version",
		[SETTING_PEERS] = "peers", [SETTING_KEYS] = "keys",    [SETTING_WORDS] = "list",
	};

	return words[k];
}
