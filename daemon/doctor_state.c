/* The files in the folder: key, trust, database, audit log, certificate. */
#include "daemon/doctor_internal.h"
#include "daemon/unlock.h"

#include <stdio.h>
#include <unistd.h>

#include "store/audit.h"
#include "store/state.h"
#include "transports/ws/ws.h"

#define WAL_WARN (256ull << 20)
#define COPIES_SHOWN 8
#define CERT_SOON_S (7 * 86400)

static bool present(const struct doctor *d, const char *name)
{
	char path[PATH_MAX];

	return doctor_path(d, name, path) && access(path, F_OK) == 0;
}

static const char *NO_HOME = "there is no folder to look at";

/* --- key ------------------------------------------------------------------------------------------------------ */
static void no_key_file(struct doctor *d)
{
	d->no_key = "there is no key file";
	if (present(d, HOME_PINS) || present(d, HOME_STORE)) {
		doctor_say(d, DOCTOR_FAILURE, "keys.json is missing, and other files of the identity are there");
		doctor_means(d, "Without it this node cannot be who it was. Only a backup brings it back.");
		doctor_fix(d, "ironmesh restore FILE --home %s --force", d->home_word);
	} else {
		doctor_say(d, DOCTOR_FAILURE, "there is no identity in %s", d->home);
		doctor_means(d, "A first machine makes one with --new-mesh; every other machine of the mesh gives that file with "
				"--passphrase-file.");
		doctor_fix(d, "ironmesh keys generate --home %s --name NAME --new-mesh mesh.pass", d->home_word);
	}
}

static enum err peek(struct doctor *d, const char *path, struct fault *f)
{
	struct buf b;
	enum err e = ERR_NOMEM;

	buf_init(&b, KEYFILE_MAX_BYTES);
	/* The whole room at once: growing would leave copies of a clear key behind. */
	if (buf_reserve(&b, KEYFILE_MAX_BYTES))
		e = file_read_secret(path, &b, f);
	if (e == ERR_OK)
		e = keyfile_peek(buf_bytes(&b), &d->key, f);
	buf_wipe(&b);
	buf_fini(&b);
	return e;
}

/* With a daemon it holds the keys, and nobody needs them twice. */
static enum err open_key(struct doctor *d, const char *path, struct fault *f)
{
	struct bytes pass = d->passphrase;
	struct secret kept = { 0 };
	enum err e = ERR_NOTFOUND;

	if (strcmp(d->link, "up") == 0) {
		d->no_key = "the daemon holds it";
		return ERR_OK;
	}
	if (d->key.encrypted && pass.n == 0)
		e = unlock_home_key(d->home, &kept, f);
	if (e == ERR_OK)
		pass = secret_bytes(&kept);
	if (d->key.encrypted && pass.n == 0) {
		d->no_key = "its passphrase was not given";
		return e == ERR_NOTFOUND ? ERR_OK : e;
	}
	e = keyfile_load(path, pass, &d->env, &d->keyring, NULL, f);
	secret_free(&kept);
	return e;
}

/* Copies that a migration or a rotation has kept: what was in clear then lies there in clear. */
struct copies {
	struct doctor *d;
	struct buf names; /* words for a shell */
	unsigned n;
};

static bool look_at_copy(void *ctx, const char *name, const struct state_row *row)
{
	char path[PATH_MAX], word[DOCTOR_WORD_MAX];
	struct copies *c = ctx;
	struct keyfile_info info;
	struct buf b;

	if (!row || strncmp(name, "keys.json.", 10) != 0 || !doctor_path(c->d, name, path))
		return true;
	buf_init(&b, KEYFILE_MAX_BYTES);
	if (buf_reserve(&b, KEYFILE_MAX_BYTES) && file_read_secret(path, &b, NULL) == ERR_OK &&
	    keyfile_peek(buf_bytes(&b), &info, NULL) == ERR_OK && !info.encrypted && c->n++ < COPIES_SHOWN)
		buf_printf(&c->names, " %s", doctor_word(c->d, name, word));
	buf_wipe(&b);
	buf_fini(&b);
	return true;
}

static bool clear_copies(struct doctor *d)
{
	struct copies c = { .d = d };

	buf_init(&c.names, (COPIES_SHOWN + 1) * DOCTOR_WORD_MAX);
	if (state_each(d->home, look_at_copy, &c, NULL) == ERR_OK && c.n) {
		doctor_say(d, DOCTOR_WARNING, "the key file is encrypted, and %u older cop%s of a key of this node %s not:%s", c.n,
			   c.n == 1 ? "y" : "ies", c.n == 1 ? "is" : "are", buf_cstr(&c.names));
		doctor_means(d, "Who can read it, or a backup with it, is this node, or was it before a rotation.");
		doctor_fix(d, "rm%s   (when the daemon has started with the key file as it is)", buf_cstr(&c.names));
	}
	buf_fini(&c.names);
	return c.n > 0;
}

void doctor_key(struct doctor *d)
{
	struct fault f = { 0 };
	char path[PATH_MAX];
	enum err e;

	d->no_key = "the key file cannot be used";
	if (!d->has_home || !doctor_path(d, HOME_KEYS, path)) {
		doctor_say(d, DOCTOR_SKIPPED, "%s", NO_HOME);
		return;
	}
	if (!present(d, HOME_KEYS)) {
		no_key_file(d);
		return;
	}
	d->has_keys = true;
	if (!doctor_readable(d, HOME_KEYS)) {
		doctor_say(d, DOCTOR_SKIPPED, "keys.json is not read: see `permissions`");
		return;
	}
	e = peek(d, path, &f);
	if (e != ERR_OK) {
		doctor_fault(d, DOCTOR_FAILURE, &f, NULL);
		doctor_means(d, "Without it this node cannot be who it was. Only a backup brings it back.");
		doctor_fix(d, "ironmesh restore FILE --home %s --force", d->home_word);
		return;
	}
	d->key_known = true;
	e = open_key(d, path, &f);
	if (e != ERR_OK) {
		doctor_fault(d, DOCTOR_FAILURE, &f,
			     e == ERR_AUTH ? "ironmesh doctor --passphrase-file FILE   (with the passphrase that the key was made with)" : NULL);
	} else if (d->key.version < 3) {
		doctor_say(d, DOCTOR_WARNING, "the key file is of the old form, version %d", d->key.version);
		doctor_means(d, "The next start of the daemon writes it anew, and keeps the old one beside it.");
		doctor_fix(d, "ironmesh keys migrate --home %s", d->home_word);
	} else if (!d->key.encrypted) {
		doctor_say(d, DOCTOR_WARNING, "the key of this node is stored without encryption");
		doctor_means(d, "Who can read keys.json, or a copy of it, is this node.");
		doctor_fix(d, "ironmesh keys encrypt --home %s --passphrase-file FILE", d->home_word);
	} else if (!clear_copies(d)) {
		doctor_say(d, DOCTOR_OK, "version %d, encrypted%s%s", d->key.version, d->keyring ? ", opens" : "; not opened: ",
			   d->keyring ? "" : d->no_key);
	}
}

/* --- trust ------------------------------------------------------------------------------------------------------ */
static void trust_bad(struct doctor *d, const char *why)
{
	doctor_say(d, DOCTOR_FAILURE, "the trust store is read-only: %s", why);
	doctor_means(d, "Somebody or something changed it. Nobody new is admitted, and no decision is kept, until it is put right.");
	doctor_fix(d, "ironmesh restore FILE --home %s --force   (or, to trust everybody anew: mv %s/known_peers.json "
		      "%s/known_peers.json.bad)", d->home_word, d->home_word, d->home_word);
}

void doctor_trust(struct doctor *d)
{
	const json_t *store = json_object_get(d->status, "trust_store");
	struct fault f = { 0 };
	struct pins *pins;
	char path[PATH_MAX];
	const char *why;

	if (!d->has_home || !doctor_path(d, HOME_PINS, path)) {
		doctor_say(d, DOCTOR_SKIPPED, "%s", NO_HOME);
	} else if (d->status) {
		if (json_is_true(json_object_get(store, "read_only")))
			trust_bad(d, json_str(store, "why") ? json_str(store, "why") : "?");
		else
			doctor_say(d, DOCTOR_OK, "the daemon uses it");
	} else if (!present(d, HOME_PINS)) {
		doctor_say(d, DOCTOR_OK, "nobody is known yet");
	} else if (!doctor_readable(d, HOME_PINS)) {
		doctor_say(d, DOCTOR_SKIPPED, "known_peers.json is not read: see `permissions`");
	} else if (!d->keyring) {
		doctor_say(d, DOCTOR_SKIPPED, "not checked: %s", d->no_key);
	} else if (pins_load(path, d->keyring, &d->env, &pins, &f) != ERR_OK) {
		doctor_fault(d, DOCTOR_FAILURE, &f, NULL);
	} else {
		if (pins_read_only(pins, &why))
			trust_bad(d, why);
		else
			doctor_say(d, DOCTOR_OK, "%zu peer(s)%s", pins_count(pins),
				   pins_dirty(pins) ? "; of an old form, which the daemon writes anew" : "");
		pins_free(pins);
	}
}

/* --- database ------------------------------------------------------------------------------------------------------ */
static void database_good(struct doctor *d, const struct store_report *r)
{
	if (r->wal_bytes > WAL_WARN) {
		doctor_say(d, DOCTOR_WARNING, "the write-ahead log of the database has %llu MiB",
			   (unsigned long long)(r->wal_bytes >> 20));
		doctor_means(d, "It is not copied back: the disk may be slow or full, or another program holds the database open.");
		doctor_fix(d, "fuser -v %s/ironmesh.db   (who has it open; then restart the daemon)", d->home_word);
	} else if (r->schema && r->schema < r->newest) {
		doctor_say(d, DOCTOR_OK, "sound, schema %d; the daemon brings it to %d", r->schema, r->newest);
	} else {
		doctor_say(d, DOCTOR_OK, "sound, schema %d, %llu KiB", r->schema,
			   (unsigned long long)((r->file_bytes + r->wal_bytes) >> 10));
	}
}

void doctor_database(struct doctor *d)
{
	struct store_report r = { 0 };
	struct secret wrap = { 0 };
	struct fault f = { 0 };
	char path[PATH_MAX];
	enum err e = ERR_OK;

	if (!d->has_home || !doctor_path(d, HOME_STORE, path)) {
		doctor_say(d, DOCTOR_SKIPPED, "%s", NO_HOME);
		return;
	}
	if (!present(d, HOME_STORE)) {
		doctor_say(d, DOCTOR_OK, "there is none yet; the daemon makes it");
		return;
	}
	if (!doctor_readable(d, HOME_STORE)) {
		doctor_say(d, DOCTOR_SKIPPED, "ironmesh.db is not read: see `permissions`");
		return;
	}
	/* SQLite cannot even read one without its shared memory, which is a file beside it. */
	if (d->read_only) {
		doctor_say(d, DOCTOR_SKIPPED, "ironmesh.db is not read: see `disk`");
		return;
	}
	if (d->keyring)
		e = keyring_derive(d->keyring, DERIVE_DB_WRAP, &wrap);
	if (e == ERR_OK)
		e = store_examine(path, secret_bytes(&wrap), &d->env, &r, &f);
	secret_free(&wrap);
	if (e == ERR_OK) {
		database_good(d, &r);
		return;
	}
	doctor_fault(d, DOCTOR_FAILURE, &f, NULL);
	if (r.schema <= r.newest)
		doctor_fix(d, "ironmesh restore FILE --home %s --force   (or, to begin empty: mv %s/ironmesh.db %s/ironmesh.db.bad)",
			   d->home_word, d->home_word, d->home_word);
}

/* --- audit ------------------------------------------------------------------------------------------------------------ */
static void audit_says(struct doctor *d, bool ok, const char *why, uint64_t entries)
{
	if (ok) {
		doctor_say(d, DOCTOR_OK, "%llu entries in one chain", (unsigned long long)entries);
		return;
	}
	doctor_say(d, DOCTOR_FAILURE, "the audit log does not check out: %s", why);
	doctor_means(d, "Somebody or something changed it. The next start keeps it aside as evidence and begins a new chain.");
	doctor_fix(d, "cp -a %s/audit.log %s/audit.head .   (to keep it safe, then restart the daemon)", d->home_word, d->home_word);
}

void doctor_audit(struct doctor *d)
{
	struct audit_report r;
	struct fault f = { 0 };
	char path[PATH_MAX];

	if (!d->has_home || !doctor_path(d, HOME_AUDIT, path)) {
		doctor_say(d, DOCTOR_SKIPPED, "%s", NO_HOME);
	} else if (d->audit) {
		audit_says(d, json_is_true(json_object_get(d->audit, "ok")),
			   json_str(d->audit, "why") ? json_str(d->audit, "why") : "?", doctor_ms(d->audit, "entries"));
	} else if (!present(d, HOME_AUDIT)) {
		doctor_say(d, DOCTOR_OK, "there is none yet; the daemon makes it");
	} else if (!doctor_readable(d, HOME_AUDIT)) {
		doctor_say(d, DOCTOR_SKIPPED, "audit.log is not read: see `permissions`");
	} else if (!d->keyring) {
		doctor_say(d, DOCTOR_SKIPPED, "not checked: %s", d->no_key);
	} else if (audit_verify(path, d->keyring, &r, &f) != ERR_OK) {
		doctor_fault(d, DOCTOR_FAILURE, &f, NULL);
	} else {
		audit_says(d, r.ok, r.why, r.entries);
	}
}

/* --- certificate -------------------------------------------------------------------------------------------------------- */
void doctor_certificate(struct doctor *d)
{
	char cert[PATH_MAX], key[PATH_MAX], was[2][DOCTOR_WORD_MAX];
	struct fault f = { 0 };
	int64_t left_s;
	enum err e;

	if (!d->has_home || !doctor_path(d, "cert.pem", cert) || !doctor_path(d, "key.pem", key)) {
		doctor_say(d, DOCTOR_SKIPPED, "%s", NO_HOME);
		return;
	}
	if (!present(d, "cert.pem") || !present(d, "key.pem")) {
		doctor_say(d, DOCTOR_OK, "%s not there yet; the next start makes %s",
			   present(d, "key.pem") ? "the certificate is" : "the TLS key is", present(d, "key.pem") ? "it" : "both");
		return;
	}
	if (!doctor_readable(d, "key.pem")) {
		doctor_say(d, DOCTOR_SKIPPED, "key.pem is not read: see `permissions`");
		return;
	}
	e = tls_look(cert, key, &left_s, &f);
	if (e != ERR_OK) {
		doctor_fault(d, DOCTOR_FAILURE, &f, NULL);
		doctor_means(d, "The daemon does not start with it. Peers that dial this node remember its TLS key, and stop with an "
				"alarm at another one: a backup with the old one is better.");
		doctor_fix(d, "rm -f %s && mv %s %s.bad   (the next start makes new ones)", doctor_word(d, "cert.pem", was[0]),
			   doctor_word(d, "key.pem", was[1]), was[1]);
	} else if (d->status && left_s < CERT_SOON_S) {
		doctor_say(d, DOCTOR_WARNING, left_s < 0 ? "the TLS certificate has expired" : "the TLS certificate expires within a week");
		doctor_means(d, "Peers that verify certificates (--strict-tls) refuse it. A start makes a new one with the same key.");
		doctor_fix(d, "sudo systemctl restart ironmesh   (or stop the daemon and start it again)");
	} else {
		doctor_say(d, DOCTOR_OK, "key and certificate belong together");
	}
}
