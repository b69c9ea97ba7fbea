/* From the sources to struct run_config: options, files, then one value for each setting, then what must fit together. */
#include "daemon/config.h"
#include "daemon/http.h"

#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/text.h"
#include "protocol/session.h"

#define OPTIONS_MAX 128
#define LONG_BASE 256 /* getopt values of long options: above every letter */

/* The i-th row with an option. */
static const struct setting *option_at(unsigned i)
{
	const struct setting *s;

	for (size_t k = 0; (s = setting_at(k)); k++)
		if (s->option && i-- == 0)
			return s;
	return NULL;
}

bool run_option(unsigned i, const char **name, const char **arg, const char **text)
{
	const struct setting *s = option_at(i);

	if (!s)
		return false;
	if (name)
		*name = s->option;
	if (arg)
		*arg = s->arg;
	if (text)
		*text = s->help ? s->help : s->text;
	return true;
}

void run_help(FILE *to)
{
	const char *name, *arg, *text;

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
	for (unsigned i = 0; run_option(i, &name, &arg, &text); i++) {
		char left[64];

		snprintf(left, sizeof(left), "%s%s%s", name, arg ? " " : "", arg ? arg : "");
		fprintf(to, "  %-32s %s\n", left, text);
	}
	fputs("\n"
	      "Settings come from ironmesh.conf and conf.d/*.conf too, below these options: ironmesh.conf(5), and\n"
	      "`ironmesh config show --effective`. SIGHUP reads them again.\n"
	      "The passphrase of the mesh is looked for in this order: --passphrase-file, --passphrase-fd,\n"
	      "the systemd credential 'ironmesh', the file 'passphrase' in the home folder,\n"
	      "$IRONMESH_PASSPHRASE (visible to other programs of this user), a prompt on the terminal.\n"
	      "Exit: 0 stopped as told, 1 failed, 2 wrong use, 9 a file of the node is damaged, 10 the\n"
	      "configuration is wrong, 75 try later.\n",
	      to);
}

void run_config_init(struct run_config *c)
{
	*c = (struct run_config){ .passphrase_fd = -1 };
	policy_init(&c->policy);
	settings_init(&c->settings);
}

void run_config_fini(struct run_config *c)
{
	for (size_t i = 0; i < c->peer_count; i++)
		free(c->peers[i]);
	c->peer_count = 0;
	policy_fini(&c->policy);
	settings_fini(&c->settings);
}

/* --- versions ---------------------------------------------------------------------------------- */

/* At most three digits. */
static bool part_parse(const char *s, uint16_t *out)
{
	unsigned v = 0;

	if (!*s || strlen(s) > 3)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return false;
		v = v * 10 + (unsigned)(*s - '0');
	}
	*out = (uint16_t)v;
	return v <= 255;
}

enum err protocol_version_parse(const char *text, uint16_t *out)
{
	static const char prefix[] = "ironmesh/";
	const char *dot;
	char major_text[4] = "";
	uint16_t major, minor;

	if (strncmp(text, prefix, sizeof(prefix) - 1) == 0)
		text += sizeof(prefix) - 1;
	dot = strchr(text, '.');
	if (!dot || dot - text >= (ptrdiff_t)sizeof(major_text))
		return ERR_MALFORMED;
	memcpy(major_text, text, (size_t)(dot - text));
	if (!part_parse(major_text, &major) || !part_parse(dot + 1, &minor))
		return ERR_MALFORMED;
	if (VERSION_OF(major, minor) > VERSION_OF(0, 9))
		return ERR_UNSUPPORTED;
	*out = VERSION_OF(major, minor);
	return ERR_OK;
}

/* --- values into members ----------------------------------------------------------------------- */

static void put_number(struct run_config *c, const struct setting *s, uint64_t n)
{
	void *to = (char *)c + s->at;
	uint32_t n32 = (uint32_t)n;
	uint16_t n16 = (uint16_t)n;

	if (s->size == sizeof(bool))
		*(bool *)to = n != 0;
	else if (s->size == sizeof n16)
		memcpy(to, &n16, sizeof n16);
	else if (s->size == sizeof n32)
		memcpy(to, &n32, sizeof n32);
	else if (s->size == sizeof n)
		memcpy(to, &n, sizeof n);
	else
		BUG_ON(true);
}

/* `text` is canonical, and outlives `c`. */
static void put(struct run_config *c, const struct setting *s, const char *text)
{
	uint64_t n = 0;
	uint16_t version;
	double rate;

	switch (s->kind) {
	case SETTING_BOOL:
	case SETTING_INT:
	case SETTING_DURATION:
	case SETTING_WORD:
		BUG_ON(!setting_number(s, text, &n));
		put_number(c, s, n);
		break;
	case SETTING_RATE:
		rate = strtod(text, NULL);
		memcpy((char *)c + s->at, &rate, sizeof rate);
		break;
	case SETTING_VERSION:
		BUG_ON(protocol_version_parse(text, &version) != ERR_OK);
		put_number(c, s, version);
		break;
	default:
		memcpy((char *)c + s->at, &text, sizeof text);
		break;
	}
}

static enum err add_peer(struct run_config *c, const char *address, const char *id, struct fault *f)
{
	if (c->peer_count == RUN_PEERS_MAX)
		return fault_set(f, ERR_USAGE, EXIT_USAGE, "more than %d peers to dial", RUN_PEERS_MAX);
	if (asprintf(&c->peers[c->peer_count], "%s%s%s", address, id ? "#" : "", id ? id : "") < 0)
		return ERR_NOMEM;
	c->peer_count++;
	return ERR_OK;
}

static bool same_address(const char *a, const char *b)
{
	size_t n = strcspn(a, "#");

	return strcspn(b, "#") == n && memcmp(a, b, n) == 0;
}

/* One address is dialled once. Whoever says whose it is, is heard: an id is never lost to a mention without one. */
static enum err same_peer(struct run_config *c, size_t k, const struct setting_value *address, const char *id, struct fault *f)
{
	const char *hash = strchr(c->peers[k], '#');
	char where[PATH_MAX + 16], *spec;

	if (!id || (hash && strcmp(hash + 1, id) == 0))
		return ERR_OK;
	if (!hash) {
		if (asprintf(&spec, "%s#%s", c->peers[k], id) < 0)
			return ERR_NOMEM;
		free(c->peers[k]);
		c->peers[k] = spec;
		return ERR_OK;
	}
	fault_set(f, ERR_USAGE, EXIT_CONFIG, "%.150s: %.80s is given with two ids", setting_where(address->from, where, sizeof where),
		  address->text);
	fault_next(f, "ironmesh config show");
	return ERR_USAGE;
}

/* Of --peer, then of the sections. */
static enum err take_peers(struct run_config *c, struct fault *f)
{
	const struct setting *option = setting_by_option("--peer"), *address = setting_find("peer", "address"),
			     *id = setting_find("peer", "id");
	const struct settings *st = &c->settings;
	enum err e = ERR_OK;
	char where[PATH_MAX + 16];

	for (size_t i = 0; e == ERR_OK && i < st->n; i++)
		if (st->v[i].s == option)
			e = add_peer(c, st->v[i].text, NULL, f);
	for (size_t i = 0; e == ERR_OK && i < st->n; i++) {
		const struct setting_value *v = &st->v[i], *other = settings_get(st, id, v->name);
		size_t k = 0;

		if (v->s == id && !settings_get(st, address, v->name)) {
			fault_set(f, ERR_USAGE, EXIT_CONFIG, "%.150s: [peer \"%s\"] has no address",
				  setting_where(v->from, where, sizeof where), v->name);
			fault_next(f, "ironmesh config check");
			return ERR_USAGE;
		}
		if (v->s != address)
			continue;
		while (k < c->peer_count && !same_address(c->peers[k], v->text))
			k++;
		e = k < c->peer_count ? same_peer(c, k, v, other ? other->text : NULL, f) :
					add_peer(c, v->text, other ? other->text : NULL, f);
	}
	return e;
}

/* --- what must fit together --------------------------------------------------------------------- */

/* What the operator said of it, or NULL. */
static const struct setting_value *said(const struct run_config *c, const char *section, const char *key)
{
	return settings_get(&c->settings, setting_find(section, key), NULL);
}

static enum err clash(struct run_config *c, struct fault *f, const struct setting_value *of, const char *means, const char *fmt,
		      ...) PRINTF_LIKE(5, 6);

/* `of`: the value whose place is told. */
static enum err clash(struct run_config *c, struct fault *f, const struct setting_value *of, const char *means, const char *fmt,
		      ...)
{
	char text[200], where[PATH_MAX + 16];
	bool file = of && of->from.file;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (file)
		fault_set(f, ERR_USAGE, EXIT_CONFIG, "%.100s: %.130s", setting_where(of->from, where, sizeof where), text);
	else
		fault_set(f, ERR_USAGE, EXIT_USAGE, "%s", text);
	if (means)
		fault_means(f, "%s", means);
	fault_next(f, file ? "ironmesh config check" : "ironmesh run --help");
	return ERR_USAGE;
}

static enum err http_consistent(struct run_config *c, struct fault *f)
{
	const struct setting_value *v = said(c, "http", "listen");
	char address[64];
	uint16_t port;

	if (!c->http_listen)
		return ERR_OK;
	if (!http_address(c->http_listen, address, &port))
		return clash(c, f, v, "It is an IP address and a port, such as 127.0.0.1:8766.", "--http: that is no address to listen on");
	if (!http_is_loopback(address) && !c->http_remote)
		return clash(c, f, v, "Other machines could reach it, and without TLS whoever listens on the wire has the tokens. Better a proxy with TLS before "
				      "127.0.0.1.",
			     "--http with an address that is not of this machine alone needs --http-remote");
	return ERR_OK;
}

static enum err consistent(struct run_config *c, struct fault *f)
{
	bool old = c->policy.im2 == IM2_OFF;
	const struct setting_value *v = said(c, "mesh", "no_passphrase");

	if (c->passphrase_file && c->passphrase_fd >= 0 && !said(c, "mesh", "passphrase_file")->from.file)
		return clash(c, f, NULL, NULL, "--passphrase-file and --passphrase-fd exclude each other");
	if (c->no_passphrase && (c->passphrase_file || c->passphrase_fd >= 0))
		return clash(c, f, v, NULL, "--no-passphrase and a passphrase exclude each other");
	if (c->pinned_ca && !c->strict_tls)
		return clash(c, f, said(c, "lan", "pinned_ca"), "Without it no certificate is verified against that file.",
			     "--pinned-ca needs --strict-tls");
	if (c->strict_tls && c->allow_plaintext)
		return clash(c, f, said(c, "lan", "strict_tls"), "A connection without TLS has no certificate to verify.",
			     "--strict-tls and --allow-plaintext-ws exclude each other");
	if (old && (c->pad || c->sign_always))
		return clash(c, f, said(c, "im2", c->pad ? "pad" : "sign_always"), "They say how im2 is spoken.",
			     "--pad and --sign-always need --im2 on");
	if (old && c->no_passphrase)
		return clash(c, f, v, "The old wire meets nobody without the passphrase of the mesh.",
			     "--no-passphrase needs --im2 on");
	if (old && c->tls_binding)
		return clash(c, f, said(c, "im2", "tls_binding"), "The old wire cannot be bound.", "--tls-binding on needs --im2 on");
	if (old && c->admins.n)
		return clash(c, f, said(c, "trust", "revoke_admins"), "The old wire carries no signed revocations.",
			     "--revoke-admins needs --im2 on");
	if (c->allow_plaintext && c->tls_binding)
		return clash(c, f, said(c, "im2", "tls_binding"), "A connection without TLS has nothing to bind to.",
			     "--tls-binding on and --allow-plaintext-ws exclude each other");
	if (!c->backup_directory != !c->backup_passphrase_file)
		return clash(c, f, said(c, "backup", c->backup_directory ? "directory" : "passphrase_file"),
			     "A backup that the daemon makes by itself is encrypted too.",
			     "--backup-directory and --backup-passphrase-file need each other");
	if (!c->listen && c->peer_count == 0 && c->discovery == SCOPE_OFF)
		return clash(c, f, said(c, "lan", "listen"), "Nobody could reach this node, and it would reach nobody.",
			     "--no-listen with --discovery off needs a --peer");
	return http_consistent(c, f);
}

static enum err settle_admins(struct run_config *c, struct fault *f)
{
	const struct setting_value *v = said(c, "trust", "revoke_admins"), *k = said(c, "trust", "revoke_quorum");
	enum err e = v ? admins_add(&c->admins, v->text, f) : ERR_OK;

	if (e == ERR_OK)
		e = admins_settle(&c->admins, f);
	if (e == ERR_OK || !f)
		return e;
	if ((v && v->from.file) || (!v && k && k->from.file)) {
		f->code = EXIT_CONFIG;
		fault_next(f, "ironmesh config check");
	} else {
		fault_next(f, "ironmesh run --help");
	}
	return e;
}

enum err run_config_build(struct run_config *c, struct settings *st, struct fault *f)
{
	const struct setting_value *v;
	const struct setting *s;
	enum err e = ERR_OK;

	c->settings = *st;
	settings_init(st);
	for (size_t i = 0; (s = setting_at(i)); i++) {
		v = settings_get(&c->settings, s, NULL);
		if (s->size && (v || s->standard))
			put(c, s, v ? v->text : s->standard);
	}
	if (c->json && !said(c, "log", "format"))
		c->log_format = LOG_JSON;
	if (!c->listen)
		c->bind = NULL;
	/* Who gives a descriptor on the command line means that one. */
	if (c->passphrase_fd >= 0 && c->passphrase_file && said(c, "mesh", "passphrase_file")->from.file)
		c->passphrase_file = NULL;
	v = said(c, "trust", "allowed_peers");
	if (v)
		e = policy_allow(&c->policy, v->text, f);
	if (e == ERR_OK)
		e = settle_admins(c, f);
	if (e == ERR_OK)
		e = take_peers(c, f);
	return e == ERR_OK ? consistent(c, f) : e;
}

/* --- the command line --------------------------------------------------------------------------- */

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

static enum err unknown(const char *word, struct fault *f)
{
	const char *best = NULL;
	unsigned distance = 4;
	char bare[64], means[80];
	const struct setting *s;

	snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(word, "="), word);
	for (unsigned i = 0; (s = option_at(i)); i++) {
		unsigned d = edit_distance(bare, s->option, 3);

		if (d < distance) {
			distance = d;
			best = s->option;
		}
	}
	if (best)
		snprintf(means, sizeof(means), "Did you mean '%s'?", best);
	return usage(f, best ? means : NULL, "unknown option '%s'", word);
}

static enum err refused(int answer, int option, char **argv, struct fault *f)
{
	const struct setting *s = option >= LONG_BASE ? option_at((unsigned)(option - LONG_BASE)) : NULL;

	if (s && answer == ':')
		return usage(f, NULL, "%s needs a value: %s", s->option, s->arg);
	if (s)
		return usage(f, NULL, "%s takes no value", s->option);
	if (option)
		return usage(f, "Options of this command have two dashes.", "unknown option '-%c'", option);
	return unknown(argv[optind - 1], f);
}

/* SECTION.KEY=VALUE, or SECTION.NAME.KEY=VALUE where sections have names. */
static enum err take_set(struct settings *st, const char *text, unsigned source, struct fault *f)
{
	char word[160];
	size_t n = strcspn(text, "=");
	char *key, *name = NULL;
	const struct setting *s = NULL;

	if (text[n] && n < sizeof word) {
		memcpy(word, text, n);
		word[n] = '\0';
		key = strrchr(word, '.');
		if (key)
			*key++ = '\0';
		name = strchr(word, '.');
		if (name)
			*name++ = '\0';
		s = key ? setting_find(word, key) : NULL;
		if (s && ((s->flags & SETTING_NAMED) != 0) != (name && name_valid(bytes_str(name))))
			s = NULL;
	}
	if (!s)
		return usage(f, "It is said as --set log.level=debug; `ironmesh config keys` lists them.",
			     "--set: '%s' names no setting", text);
	return settings_put(st, s, name, text + n + 1, (struct setting_origin){ .option = "--set" }, source, f);
}

static enum err take_option(struct settings *st, const struct setting *s, const char *v, struct fault *f)
{
	const unsigned source = SETTING_FILES_MAX + 1;
	const struct setting_value *was;
	const struct setting *target = s;
	char section[32];

	if (strcmp(s->option, "--set") == 0)
		return take_set(st, v, source, f);
	if (s->same) {
		snprintf(section, sizeof section, "%.*s", (int)strcspn(s->same, "."), s->same);
		target = setting_find(section, strchr(s->same, '.') + 1);
	}
	if (!v)
		v = s->gives ? s->gives : "yes";
	was = target->section ? settings_get(st, target, NULL) : NULL;
	if (was && was->from.option && strcmp(was->from.option, s->option) != 0 && (s->same || setting_by_option(was->from.option)->same) &&
	    strcmp(was->text, v) != 0)
		return usage(f, NULL, "%s and another %s contradict each other", s->same ? s->option : was->from.option,
			     target->option);
	return settings_put(st, target, NULL, v, (struct setting_origin){ .option = s->option }, source, f);
}

static enum err options_parse(struct run_config *c, struct settings *st, int argc, char **argv, struct fault *f)
{
	struct option options[OPTIONS_MAX + 1] = { 0 };
	const struct setting *s, *help = setting_by_option("--help");
	enum err e = ERR_OK;
	int answer;

	for (unsigned i = 0; (s = option_at(i)); i++) {
		BUG_ON(i == OPTIONS_MAX || s->option[2] == '\0');
		options[i] = (struct option){ .name = s->option + 2, .has_arg = s->arg ? required_argument : no_argument,
					      .val = LONG_BASE + (int)i };
	}
	optind = 0; /* glibc: begin anew */
	opterr = 0;
	while (e == ERR_OK && (answer = getopt_long(argc, argv, "+:h", options, NULL)) != -1) {
		if (answer == '?' || answer == ':')
			return refused(answer, optopt, argv, f);
		s = answer == 'h' ? help : option_at((unsigned)(answer - LONG_BASE));
		if (s == help) {
			c->help = true;
			return ERR_OK;
		}
		e = take_option(st, s, optarg, f);
	}
	if (e == ERR_OK && optind < argc)
		return usage(f, "`ironmesh run` has options only.", "'%s' is one argument too many", argv[optind]);
	return e;
}

enum err run_config_load(struct run_config *c, const struct config_sources *from, struct fault *f)
{
	const struct setting *config = setting_by_option("--config");
	const struct setting_value *file;
	struct settings options, st;
	char folder[PATH_MAX] = "";
	enum err e;

	settings_init(&options);
	settings_init(&st);
	/* Twice: first for --config and for what is wrong with the options, then above what the files say. */
	e = options_parse(c, &options, from->argc, from->argv, f);
	file = settings_get(&options, config, NULL);
	if (e == ERR_OK && !c->help && from->home && config_folder(from->home, folder, sizeof folder) != ERR_OK)
		e = fault_set(f, ERR_LIMIT, EXIT_CONFIG, "the path of the configuration is too long");
	if (e == ERR_OK && !c->help && (from->home || file))
		e = settings_read(&st, folder, file ? file->text : NULL, f);
	if (e == ERR_OK && !c->help)
		e = options_parse(c, &st, from->argc, from->argv, f);
	if (e == ERR_OK && !c->help)
		e = run_config_build(c, &st, f);
	settings_fini(&options);
	settings_fini(&st);
	return e;
}
