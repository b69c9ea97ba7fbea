/*
 * cmd_setup.c -- `ironmesh setup`: a first ironmesh.conf, an identity, the passphrase of a mesh.
 *
 * A person at a terminal is asked what no option said; a script gives options, and defaults hold for the rest. All is looked
 * at before anything is written, and nothing that is there is written over.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/owner.h"
#include "base/passphrase.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/newmesh.h"

#define PEERS_MAX 16
#define TEXT_MAX 16384

/* The passphrase of the mesh: made now, in a file that is there, or brought by `ironmesh pair` later. */
enum mesh_by { MESH_PAIR, MESH_NEW, MESH_FILE };

static const struct profile {
	const char *name, *about, *settings;
} profiles[] = {
	{ "lan", "one network: machines find each other by mDNS, and whoever is new waits until you approve it",
	  "[lan]\n"
	  "discovery = auto\n"
	  "\n"
	  "[trust]\n"
	  "trust_on_first_use = no     # ironmesh peers pending, ironmesh peers approve NAME\n"
	  "\n"
	  "[routing]\n"
	  "mode = passive\n" },
	{ "homelab", "your own machines: whoever knows the passphrase is trusted, and messages pass through this one",
	  "[lan]\n"
	  "discovery = auto\n"
	  "\n"
	  "[trust]\n"
	  "trust_on_first_use = yes    # nobody but your machines may know the passphrase\n"
	  "\n"
	  "[routing]\n"
	  "mode = relay\n" },
	{ "tactical", "a network you do not trust: the native wire alone, little to see, nothing that old peers could weaken",
	  "[lan]\n"
	  "discovery = fleet           # found by members of the mesh, with no name in the air\n"
	  "\n"
	  "[im2]\n"
	  "mode = require\n"
	  "pad = yes\n"
	  "\n"
	  "[trust]\n"
	  "trust_on_first_use = no\n"
	  "rotate_verified = drop\n"
	  "cap_change = hold\n"
	  "\n"
	  "[routing]\n"
	  "mode = relay\n"
	  "seal_fallback = refuse      # no message without forward secrecy\n"
	  "\n"
	  "[limits]\n"
	  "rekey_interval = 10m\n" },
};
#define PROFILES (sizeof(profiles) / sizeof(profiles[0]))

struct plan {
	char name[NAME_MAX_CHARS + 1];
	const struct profile *profile;
	enum mesh_by by;
	char passphrase[PATH_MAX]; /* its file */
	char peers[PEERS_MAX][300];
	size_t peer_count;
	bool has_identity;
	char folder[PATH_MAX], config[PATH_MAX];
	bool own_folder; /* the home folder; else that of the system service */
	bool running;    /* a daemon works on this home folder */
	uint64_t port;   /* 0: the usual one */
	struct buf text;
};

/* --- what to do ------------------------------------------------------------------------------- */

static const struct profile *profile_named(const char *name)
{
	for (size_t i = 0; i < PROFILES; i++)
		if (strcmp(profiles[i].name, name) == 0)
			return &profiles[i];
	return NULL;
}

/* As the host is called, without its domain. */
static void host_name(char out[static NAME_MAX_CHARS + 1])
{
	char host[NAME_MAX_CHARS + 1] = "";

	(void)!gethostname(host, sizeof(host) - 1);
	host[strcspn(host, ".")] = '\0';
	snprintf(out, NAME_MAX_CHARS + 1, "%s", name_valid(bytes_str(host)) ? host : "node");
}

/* Enter takes `standard`. False: the terminal is gone. */
static bool ask(const char *question, const char *standard, char *out, size_t cap)
{
	size_t n;

	fprintf(stderr, "%s%s%s%s ", question, *standard ? " [" : "", standard, *standard ? "]" : "");
	fflush(stderr);
	if (!fgets(out, (int)cap, stdin))
		return false;
	n = strcspn(out, "\r\n");
	out[n] = '\0';
	if (n == 0)
		snprintf(out, cap, "%s", standard);
	return true;
}

static bool ask_profile(struct plan *p)
{
	char answer[40];

	for (size_t i = 0; i < PROFILES; i++)
		fprintf(stderr, "  %-9s %s\n", profiles[i].name, profiles[i].about);
	do {
		if (!ask("Profile", profiles[0].name, answer, sizeof(answer)))
			return false;
		p->profile = profile_named(answer);
	} while (!p->profile);
	return true;
}

static bool ask_mesh(struct plan *p)
{
	char answer[PATH_MAX];

	fprintf(stderr, "  new       this is the first machine of the mesh: make its passphrase\n"
			"  FILE      the passphrase of the mesh is in this file, which another machine gave\n"
			"  pair      `ironmesh pair` brings what is needed, later\n");
	if (!ask("The mesh: new, FILE or pair", "new", answer, sizeof(answer)))
		return false;
	p->by = strcmp(answer, "new") == 0 ? MESH_NEW : strcmp(answer, "pair") == 0 ? MESH_PAIR : MESH_FILE;
	if (p->by == MESH_FILE)
		snprintf(p->passphrase, sizeof(p->passphrase), "%s", answer);
	return true;
}

static bool ask_peer(struct plan *p)
{
	if (!ask("A machine to dial, HOST:PORT (none: Enter)", "", p->peers[0], sizeof(p->peers[0])))
		return false;
	p->peer_count = p->peers[0][0] != '\0';
	return true;
}

static bool ask_name(struct plan *p)
{
	char answer[200], standard[sizeof(p->name)];

	memcpy(standard, p->name, sizeof(standard));
	do {
		if (!ask("What is this node called", standard, answer, sizeof(answer)))
			return false;
	} while (!name_valid(bytes_str(answer)));
	memcpy(p->name, answer, strlen(answer) + 1);
	return true;
}

static enum err from_options(struct cli *c, struct plan *p, struct fault *f)
{
	const char *name = options_text(&c->opts, "name"), *profile = options_text(&c->opts, "profile"),
		   *file = options_text(&c->opts, "passphrase-file");

	host_name(p->name);
	if (name && !name_valid(bytes_str(name))) {
		char safe[100];

		fault_set(f, ERR_USAGE, EXIT_USAGE, "'%s' cannot be a name", text_safe(bytes_str(name), safe, sizeof(safe)));
		fault_means(f, "A name has 1 to 64 letters, digits, '.', '_' and '-'.");
		fault_next(f, "ironmesh setup --help");
		return ERR_USAGE;
	}
	if (name)
		snprintf(p->name, sizeof(p->name), "%s", name);
	p->profile = profile_named(profile ? profile : profiles[0].name);
	if (file && options_given(&c->opts, "new-mesh")) {
		fault_set(f, ERR_USAGE, EXIT_USAGE, "--new-mesh and --passphrase-file exclude each other");
		fault_next(f, "ironmesh setup --help");
		return ERR_USAGE;
	}
	p->by = file ? MESH_FILE : options_given(&c->opts, "new-mesh") ? MESH_NEW : MESH_PAIR;
	if (file)
		snprintf(p->passphrase, sizeof(p->passphrase), "%s", file);
	p->port = options_given(&c->opts, "port") ? options_get(&c->opts, "port")->number : 0;
	for (int i = 0; i < c->opts.argc; i++) {
		if (p->peer_count == PEERS_MAX || strlen(c->opts.argv[i]) >= sizeof(p->peers[0])) {
			fault_set(f, ERR_USAGE, EXIT_USAGE, "more than %d peers, or an address that is too long", PEERS_MAX);
			fault_next(f, "ironmesh setup --help");
			return ERR_USAGE;
		}
		snprintf(p->peers[p->peer_count++], sizeof(p->peers[0]), "%s", c->opts.argv[i]);
	}
	return ERR_OK;
}

static enum err ask_rest(struct cli *c, struct plan *p, struct fault *f)
{
	const struct options *o = &c->opts;
	bool ok = true;

	if (!isatty(STDIN_FILENO) || options_given(o, "yes"))
		return ERR_OK;
	if (!p->has_identity && !options_given(o, "name"))
		ok = ask_name(p);
	if (ok && !options_given(o, "profile"))
		ok = ask_profile(p);
	if (ok && !p->has_identity && !options_given(o, "new-mesh") && !options_given(o, "passphrase-file"))
		ok = ask_mesh(p);
	if (ok && c->opts.argc == 0)
		ok = ask_peer(p);
	if (ok)
		return ERR_OK;
	fault_set(f, ERR_CLOSED, EXIT_USAGE, "nothing was answered, and nothing was written");
	fault_next(f, "ironmesh setup --yes");
	return ERR_CLOSED;
}

/* Where things are, and that nothing is in the way. */
static enum err find_places(struct cli *c, struct plan *p, struct fault *f)
{
	json_t *params = json_object(), *result = NULL;
	char path[PATH_MAX], word[400];
	enum err e = c->host->call(c->home, (struct bytes){ 0 }, "config.path", params, &result, f);

	json_decref(params);
	/* A file that is wrong is in the way too, and is named below. */
	if (e != ERR_OK && !options_given(&c->opts, "force"))
		return e;
	snprintf(p->folder, sizeof(p->folder), "%s", e == ERR_OK ? json_str(result, "folder") : c->home);
	json_decref(result);
	p->own_folder = strcmp(p->folder, c->home) == 0;
	if (path_join(p->config, sizeof(p->config), p->folder, p->own_folder ? "ironmesh.conf" : "conf.d/10-setup.conf") != ERR_OK ||
	    path_join(path, sizeof(path), c->home, "keys.json") != ERR_OK)
		return fault_set(f, ERR_LIMIT, EXIT_USAGE, "the path of the home folder is too long");
	p->has_identity = access(path, F_OK) == 0;
	if (access(p->config, F_OK) == 0 && !options_given(&c->opts, "force") && !options_given(&c->opts, "dry-run")) {
		fault_set(f, ERR_EXISTS, EXIT_USAGE, "%.200s exists already, and is not overwritten", p->config);
		fault_means(f, "What is in it would be lost.");
		fault_next(f, "edit %.100s   or   ironmesh setup --force   (--dry-run shows what it would write)",
			   word_for_shell(p->config, word, sizeof(word)));
		return ERR_EXISTS;
	}
	return ERR_OK;
}

/* With --force the node stays in its mesh. */
static void keep_passphrase_file(struct cli *c, struct plan *p)
{
	json_t *params = json_object(), *result = NULL, *v;
	struct fault ignored = { 0 };
	size_t i;

	if (p->by == MESH_PAIR && p->has_identity &&
	    c->host->call(c->home, (struct bytes){ 0 }, "config.show", params, &result, &ignored) == ERR_OK)
		json_array_foreach (json_object_get(result, "values"), i, v) {
			const char *section = json_str(v, "section"), *key = json_str(v, "key"), *value = json_str(v, "value");

			if (section && key && value && strcmp(section, "mesh") == 0 && strcmp(key, "passphrase_file") == 0) {
				p->by = MESH_FILE;
				snprintf(p->passphrase, sizeof(p->passphrase), "%s", value);
			}
		}
	json_decref(result);
	json_decref(params);
}

/* The file with the passphrase, and that it can be had, before anything is written. */
static enum err find_passphrase(struct cli *c, struct plan *p, struct secret *out, struct fault *f)
{
	char full[PATH_MAX];

	if (p->by == MESH_PAIR)
		return ERR_OK;
	if (p->by == MESH_FILE) {
		if (realpath(p->passphrase, full))
			memcpy(p->passphrase, full, sizeof(full));
		/* Only a new identity needs what is in it; root may not be whose file it is. */
		if (p->has_identity && access(p->passphrase, R_OK) == 0)
			return ERR_OK;
		return passphrase_from_file(p->passphrase, out, f);
	}
	if (path_join(p->passphrase, sizeof(p->passphrase), c->home, "passphrase") != ERR_OK)
		return fault_set(f, ERR_LIMIT, EXIT_USAGE, "the path of the home folder is too long");
	if (access(p->passphrase, F_OK) != 0)
		return ERR_OK;
	fault_set(f, ERR_EXISTS, EXIT_USAGE, "%.200s exists already, and is not overwritten", p->passphrase);
	fault_means(f, "It is the passphrase of a mesh that this node belongs to.");
	fault_next(f, "ironmesh setup --passphrase-file %.200s", p->passphrase);
	return ERR_EXISTS;
}

static void compose_peers(struct plan *p)
{
	for (size_t i = 0; i < p->peer_count; i++) {
		const char *hash = strchr(p->peers[i], '#');
		int n = hash ? (int)(hash - p->peers[i]) : (int)strlen(p->peers[i]);

		buf_printf(&p->text, "\n[peer \"peer-%zu\"]\naddress = %.*s\n", i + 1, n, p->peers[i]);
		if (hash)
			buf_printf(&p->text, "id = %s\n", hash + 1);
	}
}

static enum err compose(struct cli *c, struct plan *p, struct fault *f)
{
	json_t *params, *result = NULL, *first;
	enum err e;

	buf_printf(&p->text, "# Written by ironmesh setup, profile %s. All settings: ironmesh.conf(5), ironmesh config keys\n\n",
		   p->profile->name);
	if (!p->has_identity)
		buf_printf(&p->text, "[identity]\nname = %s\n%s\n", p->name,
			   p->by == MESH_PAIR ? "unattended = yes            # no passphrase yet: ironmesh pair\n" : "");
	/* A path in a file is relative to the folder of that file. */
	if (p->by == MESH_NEW && p->own_folder)
		buf_add_str(&p->text, "[mesh]\npassphrase_file = passphrase\n\n");
	else if (p->by != MESH_PAIR)
		buf_printf(&p->text, "[mesh]\npassphrase_file = %s\n\n", p->passphrase);
	buf_add_str(&p->text, p->profile->settings);
	if (p->port)
		buf_printf(&p->text, "\n[lan]\nport = %u\n", (unsigned)p->port);
	compose_peers(p);
	if (p->text.err != ERR_OK)
		return fault_set(f, p->text.err, EXIT_GENERIC, "the configuration becomes too long");
	params = json_pack("{s:s}", "text", buf_cstr(&p->text));
	if (!params)
		return fault_set(f, ERR_MALFORMED, EXIT_USAGE, "an argument is not valid UTF-8");
	e = c->host->call(c->home, (struct bytes){ 0 }, "config.check", params, &result, f);
	json_decref(params);
	if (e == ERR_OK && !json_is_true(json_object_get(result, "good"))) {
		first = json_array_get(json_object_get(result, "problems"), 0);
		e = fault_set(f, ERR_USAGE, EXIT_USAGE, "%.200s", json_str(first, "what") ? json_str(first, "what") : "?");
		if (json_str(first, "means"))
			fault_means(f, "%.200s", json_str(first, "means"));
		fault_next(f, "ironmesh setup --help");
	}
	json_decref(result);
	return e;
}

/* --- doing it ----------------------------------------------------------------------------------- */

static enum err make_passphrase(const struct cli *c, struct plan *p, struct secret *pass, struct fault *f)
{
	enum err e = owner_become(c->home, f);

	if (e == ERR_OK)
		e = newmesh_passphrase(p->passphrase, pass, f);
	owner_leave();
	return e;
}

static void drop_passphrase(const struct cli *c, const struct plan *p)
{
	if (owner_become(c->home, NULL) == ERR_OK)
		unlink(p->passphrase);
	owner_leave();
}

static enum err make_identity(struct cli *c, struct plan *p, struct secret *pass, json_t **identity, struct fault *f)
{
	json_t *params = json_pack("{s:s}", "name", p->name);
	enum err e = p->by == MESH_NEW ? make_passphrase(c, p, pass, f) : ERR_OK;
	bool made = p->by == MESH_NEW && e == ERR_OK;

	if (e == ERR_OK)
		e = c->host->call(c->home, secret_bytes(pass), "keys.generate", params, identity, f);
	if (e != ERR_OK && made)
		drop_passphrase(c, p); /* used by nothing */
	json_decref(params);
	return e;
}

static enum err write_config(struct cli *c, struct plan *p, struct fault *f)
{
	bool force = options_given(&c->opts, "force");
	char folder[PATH_MAX];
	/* In the home folder of another user root writes as that one; /etc/ironmesh is root's. */
	enum err e = p->own_folder ? owner_become(c->home, f) : ERR_OK;

	if (!p->own_folder && path_join(folder, sizeof(folder), p->folder, "conf.d") == ERR_OK) {
		(void)!mkdir(p->folder, 0755);
		(void)!mkdir(folder, 0755);
	}
	if (e == ERR_OK)
		e = force ? file_write_secret(p->config, buf_bytes(&p->text), f) : file_create_secret(p->config, buf_bytes(&p->text), f);
	owner_leave();
	/* The service reads it as its own user; nothing in it is secret. */
	if (e == ERR_OK && !p->own_folder && chmod(p->config, 0644) != 0)
		e = fault_set(f, err_from_errno(errno), EXIT_GENERIC, "cannot make %.150s readable: %s", p->config, strerror(errno));
	return e;
}

static enum err make_home(const struct cli *c, struct fault *f)
{
	return access(c->home, F_OK) == 0 ? ERR_OK : dir_ensure_private(c->home, f);
}

static enum err carry_out(struct cli *c, struct plan *p, struct secret *pass, json_t **identity, struct fault *f)
{
	enum err e = secret_init_library();

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "libsodium does not start");
	e = make_home(c, f);
	/* Who pairs later gets an identity at the first start. */
	if (e == ERR_OK && !p->has_identity && p->by != MESH_PAIR)
		e = make_identity(c, p, pass, identity, f);
	return e == ERR_OK ? write_config(c, p, f) : e;
}

/* --- saying it ------------------------------------------------------------------------------------ */

static void tell_next(const struct cli *c, const struct plan *p)
{
	char line[600];

	if (p->running)
		out_hint(&c->out, "ironmesh config diff   then   ironmesh config reload");
	else if (p->own_folder)
		out_hint(&c->out, "ironmesh run");
	else
		out_hint(&c->out, "systemctl restart ironmesh");
	if (p->by == MESH_PAIR && !p->has_identity)
		out_hint(&c->out, "ironmesh pair CODE   (with the code that `ironmesh pair` shows on a machine of the mesh)");
	if (p->by == MESH_NEW)
		out_note(&c->out, "Every other machine of this mesh needs %s: carry it there by a way you trust, mode 0600, then there:\n"
				  "  ironmesh setup --passphrase-file FILE\nor pair it: ironmesh pair",
			 text_safe(bytes_str(p->passphrase), line, sizeof(line)));
}

static void tell(const struct cli *c, const struct plan *p, const json_t *identity, bool dry)
{
	char text[200];

	if (dry) {
		printf("%s", buf_cstr((struct buf *)&p->text));
		out_note(&c->out, "\nNothing was written. It would be %s.", p->config);
		if (!p->has_identity && p->by != MESH_PAIR)
			out_note(&c->out, "An identity called %s would be made%s%s.", p->name,
				 p->by == MESH_NEW ? ", and the passphrase of a new mesh in " : "", p->by == MESH_NEW ? p->passphrase : "");
		return;
	}
	out_field(&c->out, "settings", p->config);
	out_field(&c->out, "profile", p->profile->name);
	if (identity) {
		out_field(&c->out, "name", json_str(identity, "name"));
		out_field(&c->out, "fingerprint", fingerprint_groups(json_str(identity, "fingerprint"), text, sizeof(text)));
	} else if (p->has_identity) {
		out_field(&c->out, "identity", "the one that was there");
	}
	if (p->by != MESH_PAIR)
		out_field(&c->out, "passphrase", p->passphrase);
	tell_next(c, p);
}

static void tell_json(const struct cli *c, const struct plan *p, const json_t *identity, bool dry)
{
	json_t *v = json_pack("{s:s, s:b, s:s, s:s, s:s, s:s?, s:o}", "schema", "ironmesh.setup/1", "dry_run", dry, "config", p->config,
			      "text", buf_cstr((struct buf *)&p->text), "profile", p->profile->name, "passphrase_file",
			      p->by == MESH_PAIR ? NULL : p->passphrase, "identity",
			      identity ? json_incref((json_t *)identity) : json_null());

	out_json(&c->out, v);
	json_decref(v);
}

static int run_setup(struct cli *c)
{
	struct plan p = { 0 };
	struct fault f = { 0 }, ignored;
	struct secret pass = { 0 };
	json_t *identity = NULL;
	bool dry = options_given(&c->opts, "dry-run");
	enum err e;

	buf_init(&p.text, TEXT_MAX);
	e = find_places(c, &p, &f);
	if (e == ERR_OK)
		e = from_options(c, &p, &f);
	if (e == ERR_OK)
		e = ask_rest(c, &p, &f);
	if (e == ERR_OK)
		e = secret_init_library();
	if (e == ERR_OK) {
		keep_passphrase_file(c, &p);
		p.running = cli_connect(c, &ignored) == ERR_OK;
		e = find_passphrase(c, &p, &pass, &f);
	}
	if (e == ERR_OK)
		e = compose(c, &p, &f);
	if (e == ERR_OK && !dry)
		e = carry_out(c, &p, &pass, &identity, &f);
	secret_free(&pass);
	if (e == ERR_OK && c->out.json)
		tell_json(c, &p, identity, dry);
	else if (e == ERR_OK)
		tell(c, &p, identity, dry);
	json_decref(identity);
	buf_fini(&p.text);
	if (e == ERR_OK)
		return EXIT_DONE;
	if (!f.what[0])
		fault_set(&f, e, EXIT_GENERIC, "setup failed: %s", err_word(e));
	return out_fault(&c->out, &f);
}

static const struct example examples[] = {
	{ "ironmesh setup", "asks a few questions" },
	{ "ironmesh setup --yes --name alice --new-mesh", "the first machine of a mesh, without questions" },
	{ "ironmesh setup --yes --name bob --passphrase-file mesh.pass 192.0.2.7:8765", "another machine, which dials the first" },
	{ "ironmesh setup --profile tactical --dry-run", "only show the file" },
	{ 0 },
};

static const struct opt opts[] = {
	{ "profile", 0, OPT_WORD, "lan|homelab|tactical", "what kind of network this is (lan)" },
	{ "name", 0, OPT_TEXT, "NAME", "what this node is called (as the host)" },
	{ "new-mesh", 0, OPT_FLAG, NULL, "make the passphrase of a new mesh, in the home folder" },
	{ "passphrase-file", 0, OPT_TEXT, "FILE", "join the mesh whose passphrase is in FILE" },
	{ "port", 0, OPT_NUMBER, "PORT", "listen on this port (8765)", 1, 65535 },
	{ "dry-run", 0, OPT_FLAG, NULL, "write nothing, show what would be written" },
	{ "force", 0, OPT_FLAG, NULL, "replace the settings that are there; never keys or passphrases" },
	{ 0 },
};

const struct command cmd_setup = {
	.name = "setup",
	.args = "[HOST:PORT[#ID]...]",
	.summary = "a first configuration: asks, or takes options; writes ironmesh.conf",
	.examples = examples,
	.text = "Writes ironmesh.conf in the home folder (for the system service conf.d/10-setup.conf), and with --new-mesh or\n"
		"--passphrase-file the identity of this node. Without either the node gets its identity at the first start, and\n"
		"what it needs of the mesh by `ironmesh pair`. Peers to dial are given as arguments.\n"
		"Profiles: lan (strangers wait until you approve them), homelab (whoever knows the passphrase is trusted, and\n"
		"messages pass through), tactical (the native wire alone, padded, nothing without forward secrecy).",
	.opts = opts,
	.flags = CMD_YES,
	.max_args = PEERS_MAX,
	.run = run_setup,
};
