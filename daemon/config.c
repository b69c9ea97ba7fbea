#include "daemon/config.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/text.h"
#include "protocol/session.h"

#define LIST_FILE_MAX 262144
#define REKEY_MIN_MS 10000
#define REKEY_MAX_MS (7ull * 24 * 3600 * 1000)

enum opt {
	OPT_HELP = 1,
	OPT_NAME,
	OPT_PORT,
	OPT_BIND,
	OPT_NO_LISTEN,
	OPT_PASSPHRASE_FILE,
	OPT_PASSPHRASE_FD,
	OPT_KEY_PASSPHRASE_FILE,
	OPT_CLEAR_KEYS,
	OPT_NO_PASSPHRASE,
	OPT_UNATTENDED,
	OPT_PEER,
	OPT_ALLOWED,
	OPT_TOFU,
	OPT_PLAINTEXT,
	OPT_STRICT_TLS,
	OPT_PINNED_CA,
	OPT_MIN_VERSION,
	OPT_REKEY,
	OPT_IM2,
	OPT_REQUIRE_IM2,
	OPT_PAD,
	OPT_ROUTING,
	OPT_SEAL_FALLBACK,
	OPT_SEAL_PAD,
	OPT_SIGN_ALWAYS,
	OPT_TLS_BINDING,
	OPT_ROTATE_VERIFIED,
	OPT_CAP_CHANGE,
	OPT_REVOKE_ADMINS,
	OPT_REVOKE_QUORUM,
	OPT_MESH,
	OPT_PASSGEN,
	OPT_DISCOVERY,
	OPT_OPEN_DISCOVERY,
	OPT_CONNECT_RATE,
	OPT_WALLS,
	OPT_LOG_LEVEL,
	OPT_LOG_FORMAT,
};

static const struct row {
	const char *name; /* with its dashes */
	const char *arg;
	const char *text;
	enum opt opt;
} rows[] = {
	{ "--name", "NAME", "what this node is called; needed the first time, then kept in the key file", OPT_NAME },
	{ "--port", "PORT", "listen on this TCP port (8765); 0: a free one", OPT_PORT },
	{ "--bind", "ADDRESS", "listen on this address (0.0.0.0: every IPv4 address of the machine)", OPT_BIND },
	{ "--no-listen", NULL, "accept no connections; only dial", OPT_NO_LISTEN },
	{ "--passphrase-file", "FILE", "the passphrase of the mesh: one line, mode 0600", OPT_PASSPHRASE_FILE },
	{ "--passphrase-fd", "N", "the same from an open descriptor", OPT_PASSPHRASE_FD },
	{ "--key-passphrase-file", "FILE", "the passphrase of the key file, when it is another one",
	  OPT_KEY_PASSPHRASE_FILE },
	{ "--clear-keys", NULL, "store a new identity without encryption", OPT_CLEAR_KEYS },
	{ "--no-passphrase", NULL, "start without the passphrase of the mesh: `ironmesh pair` brings what it needs",
	  OPT_NO_PASSPHRASE },
	{ "--unattended", NULL, "ask nobody: a new node is called as its host, and its key gets a passphrase in the home folder",
	  OPT_UNATTENDED },
	{ "--peer", "HOST:PORT[#ID]", "dial this peer and stay connected; may be repeated", OPT_PEER },
	{ "--allowed-peers", "LIST", "talk to nobody else: node ids, aliases, names, by commas, or @FILE; may be repeated",
	  OPT_ALLOWED },
	{ "--trust-on-first-use", NULL, "trust a new peer that knows the passphrase without asking", OPT_TOFU },
	{ "--allow-plaintext-ws", NULL, "accept ws:// too, and dial it when wss:// fails", OPT_PLAINTEXT },
	{ "--strict-tls", NULL, "when dialling, verify the certificate and the host name", OPT_STRICT_TLS },
	{ "--pinned-ca", "FILE", "with --strict-tls: trust only the certificates in this PEM file", OPT_PINNED_CA },
	{ "--min-protocol-version", "VERSION", "refuse peers below this version (ironmesh/0.3)", OPT_MIN_VERSION },
	{ "--rekey-interval", "TIME", "new session keys after this time (30m); 0: never", OPT_REKEY },
	{ "--im2", "off|on|require", "the native wire: not at all, with who speaks it (on), with nobody else", OPT_IM2 },
	{ "--require-im2", NULL, "the same as --im2 require", OPT_REQUIRE_IM2 },
	{ "--pad", NULL, "fill frames of im2 up to a few sizes, so that lengths tell less", OPT_PAD },
	{ "--routing", "off|passive|relay", "messages through other nodes: not at all, only our own (passive), also for others",
	  OPT_ROUTING },
	{ "--seal-fallback", "mark|refuse", "to who has no prekey: send without forward secrecy and say so (mark), or not at all",
	  OPT_SEAL_FALLBACK },
	{ "--seal-pad", "on|off", "fill sealed objects up to a few sizes, so that relays learn less (on)", OPT_SEAL_PAD },
	{ "--sign-always", NULL, "sign every message over im2, so that it proves its author to others too",
	  OPT_SIGN_ALWAYS },
	{ "--tls-binding", "on|off", "tie handshakes of im2 to their TLS connection; the same at both ends (off)",
	  OPT_TLS_BINDING },
	{ "--rotate-verified", "keep|drop", "whether a verified peer stays so when a signed record changes its key (drop)",
	  OPT_ROTATE_VERIFIED },
	{ "--cap-change", "show|hold", "when what a trusted peer can do changes: say so, or hold its messages too (show)",
	  OPT_CAP_CHANGE },
	{ "--revoke-admins", "LIST", "public keys of who together may revoke any identity, or @FILE; on all nodes alike",
	  OPT_REVOKE_ADMINS },
	{ "--revoke-quorum", "K", "so many of them have to sign (the majority: 2 of 3)", OPT_REVOKE_QUORUM },
	{ "--mesh", "NAME", "the name of the mesh, the same on all its nodes (default)", OPT_MESH },
	{ "--passgen", "N", "the number of this passphrase, while the mesh changes to another (0)", OPT_PASSGEN },
	{ "--discovery", "fleet|public|both|off", "how we are found here: by tags, by name (fleet with a key of it, else public)",
	  OPT_DISCOVERY },
	{ "--open-discovery", NULL, "dial everybody who is found on this network, known or not; for demonstrations",
	  OPT_OPEN_DISCOVERY },
	{ "--connect-rate", "N", "connections per second taken from one address (20); 0: no limit",
	  OPT_CONNECT_RATE },
	{ "--walls", "on|off|require", "shut this process in: as far as the kernel can, not at all, fully or no start (on)",
	  OPT_WALLS },
	{ "--log-level", "LEVEL", "error, warn, info or debug", OPT_LOG_LEVEL },
	{ "--log-format", "FORMAT", "text or json", OPT_LOG_FORMAT },
	{ "--help", NULL, "print this and exit", OPT_HELP },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

bool run_option(unsigned i, const char **name, const char **arg, const char **text)
{
	if (i >= ROWS)
		return false;
	if (name)
		*name = rows[i].name;
	if (arg)
		*arg = rows[i].arg;
	if (text)
		*text = rows[i].text;
	return true;
}

void run_help(FILE *to)
{
	fputs("Examples:\n"
	      "  ironmesh run --name alice --passphrase-file mesh.pass\n"
	      "  ironmesh run --passphrase-file mesh.pass --peer 192.0.2.7:8765\n"
	      "  ironmesh run --passphrase-file mesh.pass --allowed-peers @peers.txt --min-protocol-version 0.9\n"
	      "\n"
	      "Usage: ironmesh run [options]\n"
	      "\n"
	      "Runs the daemon of this node in the foreground until SIGTERM or SIGINT.\n"
	      "\n"
	      "Options:\n",
	      to);
	for (unsigned i = 0; i < ROWS; i++) {
		char left[64];

		snprintf(left, sizeof(left), "%s%s%s", rows[i].name, rows[i].arg ? " " : "",
			 rows[i].arg ? rows[i].arg : "");
		fprintf(to, "  %-32s %s\n", left, rows[i].text);
	}
	fputs("\n"
	      "The passphrase of the mesh is looked for in this order: --passphrase-file, --passphrase-fd,\n"
	      "the systemd credential 'ironmesh', the file 'passphrase' in the home folder,\n"
	      "$IRONMESH_PASSPHRASE (visible to other programs of this user), a prompt on the terminal.\n"
	      "Exit: 0 stopped as told, 1 failed, 2 wrong use, 9 a file of the node is damaged, 75 try later.\n",
	      to);
}

void run_config_init(struct run_config *c)
{
	*c = (struct run_config){
		.bind = "0.0.0.0",
		.port = RUN_PORT,
		.passphrase_fd = -1,
		.rekey_ms = 1800000,
		.mesh = RUN_MESH,
		.routing = ROUTING_PASSIVE,
		.discovery = SCOPE_AUTO,
		.connect_rate = -1,
		.log_level = LOG_INFO,
	};
	policy_init(&c->policy);
	c->policy.min_version = VERSION_OF(0, 3);
}

void run_config_fini(struct run_config *c)
{
	policy_fini(&c->policy);
}

/* --- values ----------------------------------------------------------------------------------- */

static enum err usage(struct fault *f, const char *means, const char *fmt, ...) PRINTF_LIKE(3, 4);

static enum err usage(struct fault *f, const char *means, const char *fmt, ...)
{
	char text[240], safe[240];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fault_set(f, ERR_USAGE, EXIT_USAGE, "%s", text_safe(bytes_str(text), safe, sizeof(safe)));
	if (means)
		fault_means(f, "%s", means);
	fault_next(f, "ironmesh run --help");
	return ERR_USAGE;
}

/* Digits only: strtoul() takes "-1" and " 7". */
static bool number_parse(const char *s, unsigned long max, unsigned long *out)
{
	unsigned long v = 0;

	if (!*s)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || v > max / 10)
			return false;
		v = v * 10 + (unsigned long)(*s - '0');
	}
	*out = v;
	return v <= max;
}

enum err protocol_version_parse(const char *text, uint16_t *out)
{
	static const char prefix[] = "ironmesh/";
	const char *dot;
	char major_text[4] = "";
	unsigned long major, minor;

	if (strncmp(text, prefix, sizeof(prefix) - 1) == 0)
		text += sizeof(prefix) - 1;
	dot = strchr(text, '.');
	if (!dot || dot - text >= (ptrdiff_t)sizeof(major_text))
		return ERR_MALFORMED;
	memcpy(major_text, text, (size_t)(dot - text));
	if (!number_parse(major_text, 255, &major) || !number_parse(dot + 1, 255, &minor))
		return ERR_MALFORMED;
	if (VERSION_OF(major, minor) > VERSION_OF(0, 9))
		return ERR_UNSUPPORTED;
	*out = VERSION_OF(major, minor);
	return ERR_OK;
}

static enum err rate_parse(const char *s, double *out)
{
	char *end;
	double v;

	if (*s < '0' || *s > '9')
		return ERR_MALFORMED;
	v = strtod(s, &end);
	if (*end || !(v >= 0 && v <= 1e6))
		return ERR_MALFORMED;
	*out = v;
	return ERR_OK;
}

static enum err add_allowed(struct run_config *c, const char *list, struct fault *f)
{
	return policy_allow(&c->policy, list, f);
}

static enum err add_admins(struct run_config *c, const char *list, struct fault *f)
{
	return admins_add(&c->admins, list, f);
}

/* A list as typed, or in @FILE: one or more entries a line, '#' begins a comment. No entry but a public key holds a '/', so
 * that the path of a file of names needs no '@'. */
static enum err list_take(struct run_config *c, const char *v,
			  enum err (*add)(struct run_config *, const char *, struct fault *), struct fault *f)
{
	bool is_path = v[0] == '@' || (add == add_allowed && strchr(v, '/'));
	const char *path = v[0] == '@' ? v + 1 : v;
	struct buf b;
	char *text;
	enum err e;

	if (!is_path) {
		e = add(c, v, f);
		if (e != ERR_OK && f && !f->next[0])
			fault_next(f, "ironmesh run --help");
		return e;
	}
	buf_init(&b, LIST_FILE_MAX);
	e = file_read(path, &b, f);
	if (e == ERR_OK && memchr(b.p ? b.p : (const uint8_t *)"", 0, b.n))
		e = usage(f, NULL, "%s is not a text file", path);
	if (e == ERR_OK) {
		text = (char *)(uintptr_t)buf_cstr(&b);
		for (char *s = text; (s = strchr(s, '#'));)
			while (*s && *s != '\n')
				*s++ = ' ';
		e = add(c, text, f);
	}
	buf_fini(&b);
	if (e != ERR_OK && f)
		f->code = EXIT_USAGE;
	return e;
}

static bool plain(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

static enum err take(struct run_config *c, enum opt opt, const char *v, struct fault *f)
{
	unsigned long n;
	uint64_t ms;
	enum err e;

	switch (opt) {
	case OPT_HELP:
		c->help = true;
		return ERR_OK;
	case OPT_NAME:
		if (!name_valid(bytes_str(v)))
			return usage(f, "A name has 1 to 64 letters, digits, '.', '_' and '-', and does not "
					"begin with '-'.",
				     "'%s' cannot be a name", v);
		c->name = v;
		return ERR_OK;
	case OPT_PORT:
		if (!number_parse(v, 65535, &n))
			return usage(f, NULL, "--port: '%s' is not a number from 0 to 65535", v);
		c->port = (uint16_t)n;
		return ERR_OK;
	case OPT_BIND:
		if (!*v)
			return usage(f, NULL, "--bind: an address is needed");
		c->bind = v;
		return ERR_OK;
	case OPT_NO_LISTEN:
		c->bind = NULL;
		return ERR_OK;
	case OPT_PASSPHRASE_FILE:
		c->passphrase_file = v;
		return ERR_OK;
	case OPT_PASSPHRASE_FD:
		if (!number_parse(v, 65535, &n))
			return usage(f, NULL, "--passphrase-fd: '%s' is not a descriptor number", v);
		c->passphrase_fd = (int)n;
		return ERR_OK;
	case OPT_KEY_PASSPHRASE_FILE:
		c->key_passphrase_file = v;
		return ERR_OK;
	case OPT_CLEAR_KEYS:
		c->clear_keys = true;
		return ERR_OK;
	case OPT_NO_PASSPHRASE:
		c->no_passphrase = true;
		return ERR_OK;
	case OPT_UNATTENDED:
		c->unattended = true;
		return ERR_OK;
	case OPT_PEER:
		if (c->peer_count == RUN_PEERS_MAX)
			return usage(f, NULL, "--peer: more than %d peers", RUN_PEERS_MAX);
		c->peers[c->peer_count++] = v;
		return ERR_OK;
	case OPT_ALLOWED:
		e = list_take(c, v, add_allowed, f);
		/* No entry would mean no list, and that everybody may come. */
		if (e == ERR_OK && c->policy.allowed_count == 0)
			return usage(f, "Who wants to talk to nobody runs no daemon.", "--allowed-peers: %s names nobody",
				     *v ? v : "''");
		return e;
	case OPT_TOFU:
		c->policy.trust_on_first_use = true;
		return ERR_OK;
	case OPT_PLAINTEXT:
		c->allow_plaintext = true;
		return ERR_OK;
	case OPT_STRICT_TLS:
		c->strict_tls = true;
		return ERR_OK;
	case OPT_PINNED_CA:
		c->pinned_ca = v;
		return ERR_OK;
	case OPT_MIN_VERSION:
		e = protocol_version_parse(v, &c->policy.min_version);
		if (e == ERR_UNSUPPORTED)
			return usage(f, "Nobody could connect: this program speaks ironmesh/0.9.",
				     "--min-protocol-version: %s is too new", v);
		if (e != ERR_OK)
			return usage(f, NULL, "--min-protocol-version: '%s' is not a version such as 0.9", v);
		return ERR_OK;
	case OPT_REKEY:
		if (duration_parse(bytes_str(v), &ms) != ERR_OK)
			return usage(f, NULL, "--rekey-interval: '%s' is not a time such as 30m or 1800", v);
		if (ms && (ms < REKEY_MIN_MS || ms > REKEY_MAX_MS))
			return usage(f, NULL, "--rekey-interval: %s is not between 10s and 7d", v);
		c->rekey_ms = ms;
		return ERR_OK;
	case OPT_IM2:
		c->im2_given = true;
		if (im2_setting_parse(bytes_str(v), &c->policy.im2) != ERR_OK)
			return usage(f, NULL, "--im2: '%s' is not off, on or require", v);
		return ERR_OK;
	case OPT_REQUIRE_IM2:
		c->require_im2 = true;
		return ERR_OK;
	case OPT_ROUTING:
		if (routing_mode_parse(v, &c->routing) != ERR_OK)
			return usage(f, NULL, "--routing: '%s' is none of off, passive, relay", v);
		return ERR_OK;
	case OPT_SEAL_FALLBACK:
		if (strcmp(v, "mark") != 0 && strcmp(v, "refuse") != 0)
			return usage(f, NULL, "--seal-fallback: '%s' is none of mark, refuse", v);
		c->seal_refuse = strcmp(v, "refuse") == 0;
		return ERR_OK;
	case OPT_SEAL_PAD:
		if (strcmp(v, "on") != 0 && strcmp(v, "off") != 0)
			return usage(f, NULL, "--seal-pad: '%s' is none of on, off", v);
		c->no_seal_pad = strcmp(v, "off") == 0;
		return ERR_OK;
	case OPT_PAD:
		c->pad = true;
		return ERR_OK;
	case OPT_SIGN_ALWAYS:
		c->sign_always = true;
		return ERR_OK;
	case OPT_TLS_BINDING:
		c->tls_binding = strcmp(v, "on") == 0;
		if (!c->tls_binding && strcmp(v, "off") != 0)
			return usage(f, NULL, "--tls-binding: '%s' is not on or off", v);
		return ERR_OK;
	case OPT_ROTATE_VERIFIED:
		c->rotate_keeps_verified = strcmp(v, "keep") == 0;
		if (!c->rotate_keeps_verified && strcmp(v, "drop") != 0)
			return usage(f, NULL, "--rotate-verified: '%s' is not keep or drop", v);
		return ERR_OK;
	case OPT_CAP_CHANGE:
		c->cap_change_holds = strcmp(v, "hold") == 0;
		if (!c->cap_change_holds && strcmp(v, "show") != 0)
			return usage(f, NULL, "--cap-change: '%s' is not show or hold", v);
		return ERR_OK;
	case OPT_REVOKE_ADMINS:
		return list_take(c, v, add_admins, f);
	case OPT_REVOKE_QUORUM:
		if (!number_parse(v, ADMINS_MAX, &n) || n == 0)
			return usage(f, NULL, "--revoke-quorum: '%s' is not a number from 2 to %d", v, ADMINS_MAX);
		c->admins.quorum = (unsigned)n;
		return ERR_OK;
	case OPT_MESH:
		if (!*v || strlen(v) > RUN_MESH_MAX || !utf8_valid(bytes_str(v)) || !plain(v))
			return usage(f, "It has 1 to 64 bytes and no control characters.",
				     "'%s' cannot be the name of a mesh", v);
		c->mesh = v;
		return ERR_OK;
	case OPT_PASSGEN:
		if (!number_parse(v, 65535, &n))
			return usage(f, NULL, "--passgen: '%s' is not a number from 0 to 65535", v);
		c->passgen = (uint16_t)n;
		return ERR_OK;
	case OPT_DISCOVERY:
		if (discovery_scope_parse(v, &c->discovery) != ERR_OK)
			return usage(f, NULL, "--discovery: '%s' is not fleet, public, both or off", v);
		return ERR_OK;
	case OPT_OPEN_DISCOVERY:
		c->open_discovery = true;
		return ERR_OK;
	case OPT_CONNECT_RATE:
		if (rate_parse(v, &c->connect_rate) != ERR_OK)
			return usage(f, NULL, "--connect-rate: '%s' is not a number of connections per second", v);
		return ERR_OK;
	case OPT_LOG_LEVEL:
		if (log_level_parse(v, &c->log_level) != ERR_OK)
			return usage(f, NULL, "--log-level: '%s' is not error, warn, info or debug", v);
		return ERR_OK;
	case OPT_WALLS:
		if (walls_mode_parse(v, &c->walls) != ERR_OK)
			return usage(f, NULL, "--walls: '%s' is none of on, off, require", v);
		return ERR_OK;
	case OPT_LOG_FORMAT:
		if (log_format_parse(v, &c->log_format) != ERR_OK)
			return usage(f, NULL, "--log-format: '%s' is not text or json", v);
		return ERR_OK;
	}
	BUG_ON(true);
}

/* --- the command line --------------------------------------------------------------------------- */

static enum err unknown(const char *word, struct fault *f)
{
	const char *best = NULL;
	unsigned distance = 4;
	char bare[64], means[80];

	snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(word, "="), word);
	for (size_t i = 0; i < ROWS; i++) {
		unsigned d = edit_distance(bare, rows[i].name, 3);

		if (d < distance) {
			distance = d;
			best = rows[i].name;
		}
	}
	if (best)
		snprintf(means, sizeof(means), "Did you mean '%s'?", best);
	return usage(f, best ? means : NULL, "unknown option '%s'", word);
}

static enum err refused(int answer, int option, char **argv, struct fault *f)
{
	if (answer == ':')
		for (size_t i = 0; i < ROWS; i++)
			if ((int)rows[i].opt == option)
				return usage(f, NULL, "%s needs a value: %s", rows[i].name, rows[i].arg);
	if (option) {
		for (size_t i = 0; i < ROWS; i++)
			if ((int)rows[i].opt == option)
				return usage(f, NULL, "%s takes no value", rows[i].name);
		return usage(f, "Options of this command have two dashes.", "unknown option '-%c'", option);
	}
	return unknown(argv[optind - 1], f);
}

static enum err consistent(struct run_config *c, struct fault *f)
{
	if (c->passphrase_file && c->passphrase_fd >= 0)
		return usage(f, NULL, "--passphrase-file and --passphrase-fd exclude each other");
	if (c->no_passphrase && (c->passphrase_file || c->passphrase_fd >= 0))
		return usage(f, NULL, "--no-passphrase and a passphrase exclude each other");
	if (c->pinned_ca && !c->strict_tls)
		return usage(f, "Without it no certificate is verified against that file.",
			     "--pinned-ca needs --strict-tls");
	if (c->strict_tls && c->allow_plaintext)
		return usage(f, "A connection without TLS has no certificate to verify.",
			     "--strict-tls and --allow-plaintext-ws exclude each other");
	if (c->require_im2 && c->im2_given && c->policy.im2 != IM2_REQUIRE)
		return usage(f, NULL, "--require-im2 and another --im2 contradict each other");
	if (c->require_im2)
		c->policy.im2 = IM2_REQUIRE;
	if (c->policy.im2 == IM2_OFF && (c->pad || c->sign_always))
		return usage(f, "They say how im2 is spoken.", "--pad and --sign-always need --im2 on");
	if (c->policy.im2 == IM2_OFF && c->no_passphrase)
		return usage(f, "The old wire meets nobody without the passphrase of the mesh.", "--no-passphrase needs --im2 on");
	if (c->policy.im2 == IM2_OFF && c->tls_binding)
		return usage(f, "The old wire cannot be bound.", "--tls-binding on needs --im2 on");
	if (c->policy.im2 == IM2_OFF && c->admins.n)
		return usage(f, "The old wire carries no signed revocations.", "--revoke-admins needs --im2 on");
	if (c->allow_plaintext && c->tls_binding)
		return usage(f, "A connection without TLS has nothing to bind to.",
			     "--tls-binding on and --allow-plaintext-ws exclude each other");
	if (!c->bind && c->peer_count == 0 && c->discovery == SCOPE_OFF)
		return usage(f, "Nobody could reach this node, and it would reach nobody.",
			     "--no-listen with --discovery off needs a --peer");
	if (admins_settle(&c->admins, f) != ERR_OK) {
		fault_next(f, "ironmesh run --help");
		return ERR_USAGE;
	}
	return ERR_OK;
}

enum err run_config_parse(struct run_config *c, int argc, char **argv, struct fault *f)
{
	struct option options[ROWS + 1] = { 0 };
	int answer;

	for (size_t i = 0; i < ROWS; i++)
		options[i] = (struct option){ .name = rows[i].name + 2,
					      .has_arg = rows[i].arg ? required_argument : no_argument,
					      .val = (int)rows[i].opt };
	optind = 0; /* glibc: begin anew */
	opterr = 0;
	while ((answer = getopt_long(argc, argv, "+:h", options, NULL)) != -1) {
		enum err e;

		if (answer == 'h')
			answer = OPT_HELP;
		if (answer == '?' || answer == ':')
			return refused(answer, optopt, argv, f);
		e = take(c, (enum opt)answer, optarg, f);
		if (e != ERR_OK)
			return e;
		if (c->help)
			return ERR_OK;
	}
	if (optind < argc)
		return usage(f, "`ironmesh run` has options only.", "'%s' is one argument too many", argv[optind]);
	return consistent(c, f);
}
