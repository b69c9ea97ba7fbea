#include "store/state_check.h"

#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "store/audit.h"
#include "store/store.h"
#include "trust/keyfile.h"
#include "trust/pins.h"

void state_keys_fini(struct state_keys *k)
{
	secret_free(&k->wrap);
	secret_free(&k->mac);
	secret_free(&k->box);
	secret_free(&k->audit);
	k->known = false;
}

enum err state_keys_of(const struct keyring *k, struct state_keys *out)
{
	struct state_keys x = { .known = true, .id = *keyring_id(k) };
	enum err e = keyring_derive(k, DERIVE_DB_WRAP, &x.wrap);

	memcpy(x.ed, keyring_ed(k), ED_BYTES);
	if (e == ERR_OK)
		e = keyring_derive(k, DERIVE_TRUST_MAC, &x.mac);
	if (e == ERR_OK)
		e = keyring_derive(k, DERIVE_TRUST_BOX, &x.box);
	if (e == ERR_OK)
		e = keyring_derive(k, DERIVE_AUDIT, &x.audit);
	if (e != ERR_OK) {
		state_keys_fini(&x);
		return e;
	}
	*out = x;
	return ERR_OK;
}

static enum err check_keys(const char *folder, const struct state_keys *k, struct state_report *r, struct fault *f)
{
	struct keyfile_info info;
	char path[4096];
	struct buf b;
	enum err e = path_join(path, sizeof path, folder, "keys.json");

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_USAGE, "the path is too long");
	buf_init(&b, KEYFILE_MAX_BYTES);
	e = file_read(path, &b, f);
	if (e == ERR_OK)
		e = keyfile_peek(buf_bytes(&b), &info, f);
	if (e == ERR_OK && k && k->known && !node_id_eq(&k->id, &info.id))
		e = fault_set(f, ERR_CORRUPT, EXIT_INTEGRITY, "keys.json is of another identity");
	if (e == ERR_OK) {
		r->id = info.id;
		snprintf(r->name, sizeof r->name, "%s", info.name);
	}
	buf_wipe(&b);
	buf_fini(&b);
	return e;
}

/* A rotation that a snapshot caught half way is finished by the next start: until then the files belong to two identities. */
static bool rotating(const char *folder)
{
	char path[4096];

	return path_join(path, sizeof path, folder, "rotation") == ERR_OK && access(path, F_OK) == 0;
}

static enum err check_audit(const char *folder, const struct state_keys *k, struct state_report *r, struct fault *f)
{
	struct audit_report a;
	char path[4096];
	enum err e = path_join(path, sizeof path, folder, "audit.log");

	if (e == ERR_OK)
		e = audit_verify_with(path, k->ed, secret_bytes(&k->audit), &a, f);
	if (e == ERR_NOTFOUND)
		return ERR_OK;
	if (e == ERR_OK && !a.ok)
		e = fault_set(f, ERR_CORRUPT, EXIT_INTEGRITY, "the audit log does not check out: %s", a.why);
	if (e == ERR_OK)
		r->audit_entries = a.entries;
	return e;
}

static enum err check_pins(const char *folder, const struct state_keys *k, struct env *env, struct state_report *r,
			   struct fault *f)
{
	char path[4096];
	size_t n = 0;
	enum err e = path_join(path, sizeof path, folder, "known_peers.json");

	if (e == ERR_OK && access(path, F_OK) != 0)
		return ERR_OK;
	if (e == ERR_OK)
		e = pins_check(path, &k->id, secret_bytes(&k->mac), secret_bytes(&k->box), env, &n, f);
	r->pins = n;
	return e;
}

enum err state_check(const char *folder, const struct state_keys *k, struct env *env, struct state_report *out,
		     struct fault *f)
{
	struct state_report r = { .database = false };
	char path[4096];
	enum err e = check_keys(folder, k, &r, f);

	r.with_keys = k && k->known && !rotating(folder);
	if (e == ERR_OK)
		e = path_join(path, sizeof path, folder, "ironmesh.db");
	if (e == ERR_OK && (r.database = access(path, F_OK) == 0))
		e = store_check(path, r.with_keys ? secret_bytes(&k->wrap) : (struct bytes){ 0 }, env, f);
	if (e == ERR_OK && r.with_keys)
		e = check_pins(folder, k, env, &r, f);
	if (e == ERR_OK && r.with_keys)
		e = check_audit(folder, k, &r, f);
	if (e != ERR_OK)
		return e;
	*out = r;
	return ERR_OK;
}
