/* audit.* */
#include "daemon/commands_internal.h"

#include <limits.h>

#include "base/file.h"
#include "daemon/home.h"

static enum err log_path(struct call *c, char out[static PATH_MAX])
{
	enum err e = path_join(out, PATH_MAX, c->cx->home, HOME_AUDIT);

	if (e != ERR_OK)
		return fault_set(c->f, e, EXIT_GENERIC, "the path of the home folder is too long");
	/* What is in memory is part of the log. */
	if (c->cx->audit && audit_flush(c->cx->audit) != ERR_OK)
		log_warn("audit-flush-failed");
	return ERR_OK;
}

enum err command_audit_verify(struct call *c)
{
	struct audit_report r;
	char path[PATH_MAX];
	enum err e = log_path(c, path);

	if (e == ERR_OK)
		e = audit_verify(path, c->cx->keyring, &r, c->f);
	if (e != ERR_OK)
		return e;
	return result_is(c, json_pack("{s:s, s:b, s:I, s:I, s:I, s:b, s:b, s:b, s:s, s:o}", "schema",
				      "ironmesh.audit.verify/1", "ok", r.ok, "entries", (json_int_t)r.entries,
				      "bad_line", (json_int_t)r.bad_line, "head_entries", (json_int_t)r.head_entries,
				      "head_ok", r.head_ok, "head_present", r.head_present, "tail_cut", r.tail_cut,
				      "head", r.head, "why", text_or_null(r.why)));
}

enum err command_audit_tail(struct call *c)
{
	char path[PATH_MAX];
	json_t *list;
	enum err e = log_path(c, path);

	if (e == ERR_OK)
		e = audit_tail(path, (size_t)arg_int(c, "limit", 20), &list, c->f);
	if (e != ERR_OK)
		return e;
	return result_is(c, json_pack("{s:s, s:o}", "schema", "ironmesh.audit.tail/1", "entries", list));
}

enum err command_audit_stats(struct call *c)
{
	char path[PATH_MAX];
	json_t *o;
	enum err e = log_path(c, path);

	if (e == ERR_OK)
		e = audit_stats(path, &o, c->f);
	if (e != ERR_OK)
		return e;
	(void)json_object_set_new(o, "schema", json_string("ironmesh.audit.stats/1"));
	return result_is(c, o);
}

enum err command_audit_export(struct call *c)
{
	char path[PATH_MAX];
	struct buf text;
	json_t *r = NULL;
	enum err e = log_path(c, path);

	if (e != ERR_OK)
		return e;
	buf_init(&text, AUDIT_EXPORT_MAX);
	e = audit_export(path, c->cx->keyring, env_wall(c->cx->env), &text, c->f);
	if (e == ERR_OK)
		r = json_pack("{s:s, s:s%}", "schema", "ironmesh.audit.export/1", "text", (const char *)text.p,
			      text.n);
	buf_fini(&text);
	return e == ERR_OK ? result_is(c, r) : e;
}

enum err command_audit_verify_export(struct call *c)
{
	uint8_t given[ED_BYTES];
	const uint8_t *key = NULL;
	const struct pin *pin;
	struct bytes text = arg_bytes(c, "public_key");
	json_t *o;
	enum err e = ERR_OK;

	if (text.p && arg_text(c, "peer"))
		return fault_set(c->f, ERR_USAGE, EXIT_USAGE, "give 'public_key' or 'peer', not both");
	if (text.p && base64_decode_exact(text, given, sizeof given) != ERR_OK)
		return bad_param(c, "public_key", "the base64 of a 32-byte Ed25519 public key (44 characters)");
	if (text.p)
		key = given;
	if (arg_text(c, "peer")) {
		e = arg_peer(c, "peer", &pin);
		if (e != ERR_OK)
			return e;
		key = pin->ed;
	}
	e = audit_verify_export(arg_bytes(c, "text"), key, &o, c->f);
	if (e != ERR_OK)
		return e;
	(void)json_object_set_new(o, "schema", json_string("ironmesh.audit.verify_export/1"));
	(void)json_object_set_new(o, "ok", json_true());
	return result_is(c, o);
}
