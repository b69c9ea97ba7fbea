/* `ironmesh doctor --peer`: the way to a peer, step by step, and what its end means. */
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "daemon/doctor.h"
#include "protocol/im2/handshake.h"
#include "transports/ws/reach.h"

#define STEP_MS 5000

/* --- the part without a key ------------------------------------------------------------------------------------ */
/* The first message of a listener: the challenge of the old wire, which may offer im2 (im2.md 4.1), or S1 of im2 alone. */
static bool ours(const struct reach *r, bool *im2, bool *old)
{
	uint8_t nonce[32];
	json_t *o = NULL, *word;
	size_t i;

	*im2 = *old = false;
	if (!r->first_text) {
		*im2 = im2_s1_parse(buf_bytes(&r->first), nonce) == IM2_FINE;
		return *im2;
	}
	if (json_load_strict(buf_bytes(&r->first), REACH_FIRST_MAX, &o) != ERR_OK)
		return false;
	*old = json_str(o, "type") && strcmp(json_str(o, "type"), "PASSPHRASE_CHALLENGE") == 0;
	json_array_foreach (json_object_get(o, "suites"), i, word)
		*im2 |= json_is_string(word) && strcmp(json_string_value(word), "im2") == 0;
	json_decref(o);
	return *old;
}

static json_t *reach_steps(const struct reach *r)
{
	json_t *list = json_array();
	char detail[200];

	for (enum reach_step s = REACH_RESOLVE; s < REACH_STEPS && s <= r->failed; s++) {
		snprintf(detail, sizeof detail, "%s", s == r->failed ? r->detail : s == REACH_RESOLVE || s == REACH_TCP ? r->address :
						      s == REACH_TLS ? r->tls : "");
		(void)json_array_append_new(list, json_pack("{s:s, s:b, s:I, s:s}", "name", reach_step_word(s), "ok", s != r->failed,
							    "took_us", (json_int_t)r->took_us[s], "detail", detail));
	}
	return list;
}

enum err daemon_doctor_reach(const char *address, json_t **result, struct fault *f)
{
	struct reach r;
	char hex[65] = "";
	bool im2, old;
	enum err e = reach_try(address, STEP_MS, &r, f);

	if (e != ERR_OK)
		return e;
	if (r.failed == REACH_STEPS && !ours(&r, &im2, &old)) {
		r.failed = REACH_FIRST;
		r.err = ERR_MALFORMED;
		snprintf(r.detail, sizeof r.detail, "its first message is none of ironmesh");
	} else if (r.failed != REACH_STEPS) {
		im2 = old = false;
	}
	if (r.has_tls_key)
		hex_encode(BYTES_ARR(r.tls_key), hex);
	*result = json_pack("{s:o, s:o, s:s, s:s, s:b, s:s, s:b, s:b}", "steps", reach_steps(&r), "failed",
			    r.failed == REACH_STEPS ? json_null() : json_string(reach_step_word(r.failed)), "err", err_word(r.err),
			    "says", r.says, "plain", r.plain, "tls_key", hex, "im2", im2, "old", old);
	reach_fini(&r);
	return *result ? ERR_OK : fault_set(f, ERR_NOMEM, EXIT_GENERIC, "no memory");
}

/* --- the judgement ------------------------------------------------------------------------------------------------ */
struct verdict {
	json_t *steps;
	const char *state; /* "ok", "warning", "failure" */
	char what[400], means[400], fix[300];
};

static void say(struct verdict *v, const char *state, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void say(struct verdict *v, const char *state, const char *fmt, ...)
{
	va_list ap;

	v->state = state;
	va_start(ap, fmt);
	vsnprintf(v->what, sizeof v->what, fmt, ap);
	va_end(ap);
}

static void means(struct verdict *v, const char *text)
{
	snprintf(v->means, sizeof v->means, "%s", text);
}

static void fix(struct verdict *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void fix(struct verdict *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(v->fix, sizeof v->fix, fmt, ap);
	va_end(ap);
}

static void add_step(struct verdict *v, const char *name, const char *state, double ms, const char *what)
{
	char safe[300];

	(void)json_array_append_new(v->steps, json_pack("{s:s, s:s, s:f, s:s}", "name", name, "state", state, "ms", ms, "what",
							text_safe(bytes_str(what), safe, sizeof safe)));
}

static void no_way(struct verdict *v, const char *address, const json_t *reach)
{
	const char *step = json_str(reach, "failed"), *err = json_str(reach, "err"), *says = json_str(reach, "says");
	const char *detail = json_str(json_array_get(json_object_get(reach, "steps"), json_array_size(json_object_get(reach, "steps")) - 1), "detail");
	bool late = strcmp(err, "timeout") == 0, hung_up = strcmp(err, "closed") == 0;

	if (strcmp(step, "resolve") == 0) {
		say(v, "failure", "the name in %s does not resolve: %s", address, detail);
		means(v, "It is misspelt, or the resolver of this machine does not answer.");
		fix(v, "getent hosts %.*s", (int)strcspn(address, ":"), address);
	} else if (strcmp(step, "tcp") == 0 && hung_up) {
		say(v, "failure", "nobody listens at %s", address);
		means(v, "No daemon runs there, or it listens on another port, or only for programs on its own machine.");
		fix(v, "ironmesh status   (there: see `listens on`)");
	} else if (strcmp(step, "tcp") == 0) {
		say(v, "failure", "no way to %s: %s", address, detail);
		means(v, late ? "The machine is off, the address is wrong, or a packet filter swallows what comes." :
				"This machine has no route there, or something in between refuses.");
		fix(v, "ironmesh doctor   (there: see `ports` and `firewall`)");
	} else if (strcmp(step, "tls") == 0 && json_is_true(json_object_get(reach, "plain"))) {
		say(v, "failure", "%s speaks WebSocket without TLS", address);
		means(v, "Something in front of it ends TLS, or it is no daemon of this program. This node speaks ws:// only when it is told to.");
		fix(v, "ironmesh run --allow-plaintext-ws --peer %s", address);
	} else if (says && *says) {
		say(v, "failure", "what listens at %s is not ironmesh: it says \"%s\"", address, says);
		means(v, "The port is wrong, or another program has taken it.");
		fix(v, "ironmesh status   (there: see `listens on`)");
	} else if (hung_up || strcmp(err, "io") == 0) {
		say(v, "failure", "%s hangs up before it says anything", address);
		means(v, "A daemon does that when this address failed too often in the last five minutes, or when it is full; else it "
			 "is no ironmesh.");
		fix(v, "ironmesh status --counters   (there: see `bans` and `connections_refused`)");
	} else {
		say(v, "failure", "what listens at %s is not ironmesh: %s", address, detail);
		means(v, late ? "It takes the connection and then says nothing." : "The port is wrong, or another program has taken it.");
		fix(v, "ironmesh status   (there: see `listens on`)");
	}
}

/* The far side refused, or we did; in the order of handshake.h and session.h. */
static void refused(struct verdict *v, const char *address, const json_t *h)
{
	const char *err = json_str(h, "err"), *word = json_str(h, "word");
	bool remote = json_is_true(json_object_get(h, "remote"));

	if (strcmp(err, "auth") == 0 && !remote) {
		say(v, "failure", "wrong passphrase: %s knows another one, or the mesh has another name there", address);
		means(v, json_is_true(json_object_get(h, "tls_binding")) ?
				 "Or --tls-binding is off there, or something in between ends TLS. Two nodes meet only with the same passphrase and --mesh." :
				 "Or --tls-binding is on there. Two nodes meet only with the same passphrase and the same --mesh.");
		fix(v, "ironmesh pair   (there; then type the code here)");
	} else if (strcmp(err, "denied") == 0 || strcmp(err, "untrusted") == 0) {
		say(v, "failure", remote ? "%s does not let this node in" : "the peer at %s is blocked or revoked here", address);
		means(v, remote ? "It is blocked there, or not on the list of allowed peers." : "Nothing is said to it until that changes.");
		fix(v, remote ? "ironmesh peers refused   (there: it prints the command that allows it)" : "ironmesh peers list");
	} else if (strcmp(err, "again") == 0 && strcmp(word, "once-a-minute") == 0) {
		say(v, "warning", "not tried: a first contact is tried once a minute");
		means(v, "The other side counts each that is broken off as a guess at the passphrase, and refuses whoever guesses often.");
		fix(v, "sleep 60; ironmesh doctor --peer %s", address);
	} else if (strcmp(err, "again") == 0 && !remote) {
		say(v, "warning", "this node has no key of a mesh yet");
		means(v, "It is being computed, or there is none: a machine of the mesh shows a code with `ironmesh pair`.");
		fix(v, "ironmesh doctor");
	} else if (strcmp(err, "again") == 0) {
		say(v, "failure", "%s asks this node to wait", address);
		means(v, "Too many handshakes failed from this address lately, or it is busy.");
		fix(v, "sleep 300; ironmesh doctor --peer %s", address);
	} else if (strcmp(err, "unsupported") == 0) {
		say(v, "failure", "%s takes no first contact by passphrase", address);
		means(v, "It has no key of this mesh: it was started without a passphrase, or with another one.");
		fix(v, "ironmesh pair   (there; then type the code here)");
	} else if (strcmp(err, "downgrade") == 0) {
		say(v, "failure", "%s offers only the old wire, and has spoken im2 before, or im2 is required here", address);
		means(v, "Its operator went back to old software, or somebody in between takes the offer away.");
		fix(v, "ironmesh trust allow-downgrade PEER   (if its operator went back)");
	} else if (strcmp(err, "self") == 0) {
		say(v, "failure", "%s is this node itself", address);
		means(v, "A node does not connect to itself.");
		fix(v, "ironmesh status   (there: see `listens on`)");
	} else if (strcmp(err, "version") == 0) {
		say(v, "failure", "%s speaks a version below the one that is required here", address);
		means(v, "See --min-protocol-version.");
		fix(v, "ironmesh version   (there)");
	} else if (strcmp(err, "timeout") == 0) {
		say(v, "failure", "%s stops answering in the middle of the handshake", address);
		means(v, "It is overloaded, or something in between swallows what it says.");
		fix(v, "ironmesh doctor   (there)");
	} else {
		say(v, "failure", "%s ends the handshake: %s", address, word);
		means(v, "It may have blocked this node, or not have it on its list; its log and the command below say so.");
		fix(v, "ironmesh peers refused   (there: it prints the command that allows it)");
	}
}

static const char *label_of(const json_t *who)
{
	return json_str(who, "name") ? json_str(who, "name") : json_str(who, "id") ? json_str(who, "id") : "?";
}

/* It would work as far as was tried; what we would do with it. */
static void reached(struct verdict *v, const char *address, const json_t *h)
{
	const char *end = json_str(h, "end"), *state = json_str(h, "state");
	const json_t *peer = json_object_get(h, "peer"), *was = json_object_get(h, "was"), *dial = json_object_get(h, "dial");
	const char *id = json_str(peer, "id"), *was_id = json_str(was, "id");

	if (strcmp(end, "known") == 0 && was_id && id && strcmp(id, was_id) != 0) {
		say(v, "failure", "another identity answers at %s: %s, not %s", address, label_of(peer), label_of(was));
		means(v, "The machine was set up anew, or somebody stands in between.");
		fix(v, "ironmesh trust list");
	} else if (!json_is_true(json_object_get(h, "allowed"))) {
		say(v, "failure", "%s", json_str(h, "allowed_why"));
		means(v, "This node talks only to those on its list of allowed peers.");
		fix(v, "%s", json_str(h, "allowed_next"));
	} else if (strcmp(end, "old-wire") == 0) {
		say(v, "warning", "%s speaks the old wire; more cannot be tried without a session", address);
		means(v, json_str(dial, "why") ? json_str(dial, "why") : "Whether the passphrase is the same is seen when the daemon dials it.");
		fix(v, "ironmesh peers list");
	} else if (strcmp(end, "mesh") == 0 && was_id) {
		say(v, "warning", "%s knows the passphrase, and does not take this node for one that it knows", address);
		means(v, "It has blocked or forgotten this node, or was set up anew. What the daemon's next dial comes to decides.");
		fix(v, "ironmesh peers list   (there: which state this node has)");
	} else if (strcmp(end, "mesh") == 0) {
		say(v, "ok", "whoever is at %s knows the passphrase of this mesh", address);
		means(v, "It is not known here yet; who it is shows at the first contact.");
	} else if (state && strcmp(state, "trusted") == 0) {
		say(v, "ok", "%s is there, has the key that is pinned, and answers", label_of(peer));
	} else {
		say(v, "warning", "%s is there, and is %s here", label_of(peer), state ? state : "unknown");
		means(v, "Messages flow when it is trusted.");
		fix(v, "ironmesh peers approve %s", id ? id : "PEER");
	}
}

static void handshake(struct verdict *v, const char *address, const json_t *asked)
{
	const json_t *h = json_object_get(asked, "handshake"), *reach = json_object_get(asked, "reach");
	const char *why = json_str(asked, "why_not"), *end = json_str(h, "end"), *pinned = json_str(h, "tls_key"), *shown = json_str(reach, "tls_key"), *own = json_str(h, "own_tls_key");
	bool bad;
	json_t *s;
	size_t i;

	if (!h || !end) {
		add_step(v, "handshake", "skipped", 0, why ? why : "no daemon runs, and it holds the keys");
		say(v, "warning", "%s is reached, and speaks %s; the handshake was not tried", address,
		    json_is_true(json_object_get(reach, "im2")) ? "im2" : "the old wire");
		means(v, why ? why : "The daemon of this node holds the keys, and does not run.");
		fix(v, "ironmesh doctor");
		return;
	}
	json_array_foreach (json_object_get(h, "steps"), i, s)
		add_step(v, json_str(s, "name"), "ok", (double)json_integer_value(json_object_get(s, "took_ms")), "");
	bad = strcmp(end, "refused") == 0 || strcmp(end, "no-link") == 0;
	add_step(v, "handshake", bad ? "failed" : "ok", 0, bad ? json_str(h, "word") : end);
	if (shown && *shown && own && strcmp(own, shown) == 0) {
		say(v, "failure", "%s is this node itself", address);
		means(v, "A node does not connect to itself.");
		fix(v, "ironmesh status   (there: see `listens on`)");
	} else if (pinned && shown && strcmp(pinned, shown) != 0) {
		say(v, "failure", "%s shows another TLS key than before", address);
		means(v, "The machine was set up anew, its key.pem was lost, or something in between ends TLS.");
		fix(v, "ironmesh trust list   (after the daemon has dialled it: it shows both, and how to accept it)");
	} else if (bad) {
		refused(v, address, h);
	} else {
		reached(v, address, h);
	}
}

enum err daemon_doctor_judge(const json_t *asked, json_t **result, struct fault *f)
{
	const json_t *reach = json_object_get(asked, "reach");
	const char *address = json_str(asked, "address");
	struct verdict v = { .steps = json_array(), .state = "failure" };
	char safe[3][800];
	json_t *s;
	size_t i;

	json_array_foreach (json_object_get(reach, "steps"), i, s)
		add_step(&v, json_str(s, "name"), json_is_true(json_object_get(s, "ok")) ? "ok" : "failed",
			 (double)json_integer_value(json_object_get(s, "took_us")) / 1000, json_str(s, "detail"));
	if (json_str(reach, "failed"))
		no_way(&v, address, reach);
	else
		handshake(&v, address, asked);
	*result = json_pack("{s:s, s:s, s:s, s:o, s:s, s:s, s:s}", "schema", "ironmesh.doctor.peer/1", "address", address, "state",
			    v.state, "steps", v.steps, "what", text_safe(bytes_str(v.what), safe[0], sizeof safe[0]), "means",
			    text_safe(bytes_str(v.means), safe[1], sizeof safe[1]), "fix",
			    text_safe(bytes_str(v.fix), safe[2], sizeof safe[2]));
	return *result ? ERR_OK : fault_set(f, ERR_NOMEM, EXIT_GENERIC, "no memory");
}
