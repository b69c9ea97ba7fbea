#include "base/text.h"
#include "cli/commands.h"
#include "cli/demo.h"

#define FIRST_TEXT  "the harbour opens at nine"
#define SECOND_TEXT "bring the long rope"
#define THIRD_TEXT  "the rope is aboard"

/* An argument list without its braces and NULL. */
#define RUN(d, code, ...) demo_command(d, code, (const char *const[]){ __VA_ARGS__, NULL })

static bool answers(struct demo *d, struct demo_node *n)
{
	json_t *status = demo_call(d, n, "status", NULL);

	json_decref(status);
	return status != NULL;
}

static bool online(struct demo *d, struct demo_node *n)
{
	json_t *status = demo_call(d, n, "status", NULL);
	bool yes = show_int(json_object_get(status, "peers"), "online") > 0;

	json_decref(status);
	return yes;
}

static bool all_delivered(struct demo *d, struct demo_node *n)
{
	json_t *status = demo_call(d, n, "status", NULL), *outbox = json_object_get(status, "outbox");
	bool yes = outbox && show_int(outbox, "delivered") + show_int(outbox, "read") == 2;

	json_decref(status);
	return yes;
}

/* Whoever comes back out of a backup is the same one for its peers: nobody compares fingerprints again. */
static bool lose_the_disk(struct demo *d, struct demo_node *alice, struct demo_node *bob)
{
	char backup[256];

	snprintf(backup, sizeof(backup), "%s/alice.backup", d->dir);
	return RUN(d, EXIT_DONE, "backup", backup, "--home", alice->home, "--passphrase-file", d->passphrase) &&
	       demo_kill(d, alice) && demo_wipe(d, alice) &&
	       RUN(d, EXIT_DONE, "restore", backup, "--home", alice->home, "--passphrase-file", d->passphrase) &&
	       demo_start(d, alice, bob) && demo_until(d, alice, "start", answers) &&
	       demo_until(d, alice, "a session with bob", online) &&
	       RUN(d, EXIT_DONE, "outbox", "--home", alice->home) && demo_expect(d, "delivered", 2) &&
	       RUN(d, EXIT_DONE, "send", "--home", alice->home, "bob", THIRD_TEXT, "--wait", "10s") &&
	       demo_expect(d, "delivered in ", 1);
}

/* Each side shows the other's fingerprint: what two people would compare. */
static bool fingerprints_match(struct demo *d, struct demo_node *shown, struct demo_node *at)
{
	json_t *status = demo_call(d, shown, "status", NULL);
	const char *fp = json_str(status, "fingerprint");
	char text[256] = "";
	bool ok;

	if (fp)
		fingerprint_groups(fp, text, sizeof(text));
	ok = fp && RUN(d, EXIT_DONE, "peers", "list", "--home", at->home) && demo_expect(d, text, 1);
	json_decref(status);
	return ok || demo_fail(d, "%s does not tell its fingerprint", shown->name);
}

static bool tell(struct demo *d)
{
	struct demo_node *alice = &d->node[0], *bob = &d->node[1];

	demo_step(d, "Two machines share a passphrase; each makes its own identity");
	if (!RUN(d, EXIT_DONE, "keys", "generate", "--home", alice->home, "--name", "alice", "--new-mesh",
		 d->passphrase) ||
	    !RUN(d, EXIT_DONE, "keys", "generate", "--home", bob->home, "--name", "bob", "--passphrase-file",
		 d->passphrase))
		return false;

	demo_step(d, "A daemon on each; they find and authenticate each other");
	if (!demo_start(d, alice, bob) || !demo_start(d, bob, alice) ||
	    !demo_until(d, alice, "start", answers) || !demo_until(d, bob, "start", answers) ||
	    !demo_until(d, alice, "a session with bob", online) ||
	    !demo_until(d, bob, "a session with alice", online))
		return false;
	if (!fingerprints_match(d, bob, alice) || !fingerprints_match(d, alice, bob))
		return false;

	demo_step(d, "A message, and the proof that it arrived");
	if (!RUN(d, EXIT_DONE, "send", "--home", alice->home, "bob", FIRST_TEXT, "--wait", "10s") ||
	    !demo_expect(d, "delivered in ", 1) || !RUN(d, EXIT_DONE, "inbox", "--home", bob->home) ||
	    !demo_expect(d, FIRST_TEXT, 1))
		return false;

	demo_step(d, "Bob's machine dies; what is sent meanwhile waits on alice's disk");
	if (!demo_kill(d, bob) ||
	    !RUN(d, EXIT_UNDELIVERED, "send", "--home", alice->home, "bob", SECOND_TEXT, "--wait", "1s") ||
	    !demo_expect(d, "queued as ", 1))
		return false;

	demo_step(d, "Bob comes back: it arrives by itself, once");
	if (!demo_start(d, bob, alice) || !demo_until(d, bob, "start", answers) ||
	    !demo_until(d, alice, "the delivery of both messages", all_delivered) ||
	    !RUN(d, EXIT_DONE, "outbox", "--home", alice->home) ||
	    !RUN(d, EXIT_DONE, "inbox", "--home", bob->home) || !demo_expect(d, FIRST_TEXT, 1) ||
	    !demo_expect(d, SECOND_TEXT, 1))
		return false;

	demo_step(d, "Alice's disk is lost; her backup brings back all of her, and bob knows her at once");
	if (!lose_the_disk(d, alice, bob))
		return false;

	demo_step(d, "The audit logs are whole, and no message is readable on disk");
	if (!RUN(d, EXIT_DONE, "audit", "verify", "--home", alice->home) ||
	    !RUN(d, EXIT_DONE, "audit", "verify", "--home", bob->home) ||
	    !demo_nowhere(d, FIRST_TEXT) || !demo_nowhere(d, SECOND_TEXT) || !demo_nowhere(d, THIRD_TEXT))
		return false;

	demo_step(d, "Both stop when they are told to");
	return demo_stop(d, alice) && demo_stop(d, bob);
}

static int finish(struct demo *d, bool ok, uint64_t ms)
{
	const struct out *o = &d->c->out;
	struct fault f;
	json_t *v;
	int code = EXIT_DONE;

	if (ok) {
		demo_say(d, "\n%sAll of it happened as told, in %.1f s.%s", o->color_out ? "\033[32m" : "",
			 (double)ms / 1000, o->color_out ? "\033[0m" : "");
	} else {
		fault_set(&f, ERR_INTERNAL, EXIT_GENERIC, "the demo failed: %.200s",
			  d->failed[0] ? d->failed : "no reason is known");
		fault_next(&f, "ironmesh demo --keep   (leaves the folder and the logs)");
		code = out_outcome(o, &f);
	}
	if (o->json) {
		v = json_pack("{s:s, s:b, s:f, s:s, s:O}", "schema", "ironmesh.demo/1", "ok", ok, "seconds",
			      (double)ms / 1000, "failed", d->failed, "steps", d->steps);
		out_json(o, v);
		json_decref(v);
	}
	return code;
}

static int run_demo(struct cli *c)
{
	uint64_t began = clock_ms();
	struct demo d;
	bool ok = demo_open(&d, c) && tell(&d);
	int code = finish(&d, ok, clock_ms() - began);

	demo_close(&d, options_given(&c->opts, "keep"));
	if (code != EXIT_DONE || c->out.json)
		return code;
	out_hint(&c->out, "ironmesh keys generate --name NAME --new-mesh mesh.pass");
	return code;
}

static const struct example examples[] = {
	{ "ironmesh demo", "takes some seconds, needs no network, changes nothing of yours" },
	{ "ironmesh demo --keep", "leaves the folder, to look around" },
	{ 0 },
};

static const struct opt opts[] = {
	{ "keep", 0, OPT_FLAG, NULL, "do not remove the temporary folder" },
	{ 0 },
};

const struct command cmd_demo = {
	.name = "demo",
	.args = "",
	.summary = "two real nodes: a message, a crash, a lost disk, nothing lost, nothing twice",
	.examples = examples,
	.text = "Starts two daemons on 127.0.0.1 in a temporary folder and runs the commands it shows.\n"
		"Exit: 0 when every step did what it should, 1 otherwise.",
	.opts = opts,
	.flags = CMD_NO_HOME,
	.run = run_demo,
};
