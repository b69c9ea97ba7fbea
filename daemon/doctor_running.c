/* The running daemon: whether it answers, which program it is, what it says of itself. */
#include "daemon/doctor_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORST_SHOWN 8
#define BACKUP_LATE_MS 600000

static const char NOT_RUNNING[] = "no daemon runs on this home folder";

/* --- the daemon ------------------------------------------------------------------------------------------------- */
static void stale_socket(struct doctor *d)
{
	char path[PATH_MAX], word[DOCTOR_WORD_MAX];
	struct stat st;
	bool shared;

	if (d->locked_by_other) {
		doctor_say(d, DOCTOR_FAILURE, "a daemon holds the home folder, and its control socket does not answer");
		doctor_means(d, "It is starting, stopping, or stuck.");
		doctor_fix(d, "fuser -v %s   (which process it is)", doctor_word(d, HOME_LOCK, word));
		return;
	}
	if (home_socket(d->home, path, sizeof path, &shared) != ERR_OK || lstat(path, &st) != 0) { /* it was removed */
		doctor_say(d, DOCTOR_SKIPPED, "%s", NOT_RUNNING);
		return;
	}
	if (shared) {
		doctor_say(d, DOCTOR_WARNING, "the control socket of the service is there, and nobody listens on it");
		doctor_means(d, "The system does not start the service when a command asks for it.");
		doctor_fix(d, "sudo systemctl restart ironmesh.socket");
		return;
	}
	doctor_say(d, DOCTOR_WARNING, "control.sock is there, and no daemon listens on it");
	doctor_means(d, "A daemon ended without clearing up. The next start replaces it; until then commands may wait for nothing.");
	doctor_fix(d, "rm %s", word_for_shell(path, word, sizeof word));
	if (d->lock >= 0)
		doctor_offer_removal(d, path);
}

void doctor_daemon(struct doctor *d)
{
	char word[DOCTOR_WORD_MAX];

	if (strcmp(d->link, "up") == 0 && d->status) {
		doctor_say(d, DOCTOR_OK, "process %lld answers", (long long)doctor_ms(d->status, "pid"));
	} else if (strcmp(d->link, "stale") == 0) {
		stale_socket(d);
	} else if (strcmp(d->link, "denied") == 0) {
		doctor_say(d, DOCTOR_FAILURE, "the control socket does not let you in");
		doctor_means(d, "Only the user who runs the daemon, and root, may speak to it.");
		doctor_fix(d, "sudo ironmesh doctor --home %s", d->home_word);
	} else if (strcmp(d->link, "silent") == 0) {
		doctor_say(d, DOCTOR_FAILURE, "the daemon does not answer on its control socket");
		doctor_means(d, "It is overloaded or stuck. Messages that it has accepted are on disk.");
		doctor_fix(d, "kill -9 \"$(fuser %s 2>/dev/null | tr -d ' ')\"   (then start it again)", doctor_word(d, HOME_LOCK, word));
	} else if (d->locked_by_other) {
		doctor_say(d, DOCTOR_FAILURE, "a program holds the home folder, and there is no control socket");
		doctor_means(d, "A daemon is starting or stopping, a command is working, or somebody removed the socket.");
		doctor_fix(d, "fuser -v %s   (which process it is; restart it when it is the daemon)", doctor_word(d, HOME_LOCK, word));
	} else {
		doctor_say(d, DOCTOR_SKIPPED, "%s", NOT_RUNNING);
	}
}

void doctor_version(struct doctor *d)
{
	const char *theirs = json_str(d->status, "version");
	char path[64], target[PATH_MAX];
	ssize_t n;

	if (!d->status) {
		doctor_say(d, DOCTOR_SKIPPED, "%s", NOT_RUNNING);
		return;
	}
	snprintf(path, sizeof path, "/proc/%lld/exe", (long long)doctor_ms(d->status, "pid"));
	n = readlink(path, target, sizeof target - 1);
	target[n > 0 ? n : 0] = '\0';
	if (!theirs || strcmp(theirs, IRONMESH_VERSION) != 0) {
		doctor_say(d, DOCTOR_WARNING, "the running daemon is version %s, this program is %s", theirs ? theirs : "?",
			   IRONMESH_VERSION);
	} else if (n > 10 && strcmp(target + n - 10, " (deleted)") == 0) {
		doctor_say(d, DOCTOR_WARNING, "the program of the running daemon was replaced since it started");
	} else {
		doctor_say(d, DOCTOR_OK, "version %s", theirs);
		return;
	}
	doctor_means(d, "What was changed or mended in the new one is not in effect yet.");
	doctor_fix(d, "sudo systemctl restart ironmesh   (or stop the daemon and start it again)");
}

void doctor_walls(struct doctor *d)
{
	const json_t *walls = json_object_get(d->status, "walls");
	struct buf missing, off;
	const char *state, *why;
	unsigned up = 0;
	json_t *w;
	size_t i;

	if (!d->status) {
		doctor_say(d, DOCTOR_SKIPPED, "%s", NOT_RUNNING);
		return;
	}
	buf_init(&missing, 1500);
	buf_init(&off, 1500);
	json_array_foreach (walls, i, w) {
		state = json_str(w, "state");
		why = json_str(w, "why");
		if (state && strcmp(state, "up") == 0)
			up++;
		else /* whatever it says: unknown counts as absent */
			buf_printf(state && strcmp(state, "off") == 0 ? &off : &missing, " %s (%s)",
				   json_str(w, "name") ? json_str(w, "name") : "?", why && *why ? why : "unknown");
	}
	if (missing.n || !json_array_size(walls)) {
		doctor_say(d, DOCTOR_WARNING, missing.n ? "walls that do not stand:%s" : "the daemon says nothing of its walls%s",
			   buf_cstr(&missing));
		doctor_means(d, "Who breaks into the daemon gets further than need be.");
		doctor_fix(d, "ironmesh run --walls require --home %s   (on a newer kernel; it says what is missing)", d->home_word);
	}
	if (off.n) {
		doctor_say(d, DOCTOR_WARNING, "walls that were left out:%s", buf_cstr(&off));
		doctor_means(d, "Who breaks into the daemon gets further than need be.");
		doctor_fix(d, "ironmesh run --walls on --home %s   (instead of --walls off)", d->home_word);
	}
	if (up && !missing.n && !off.n)
		doctor_say(d, DOCTOR_OK, "%u walls stand", up);
	buf_fini(&missing);
	buf_fini(&off);
}

void doctor_mesh(struct doctor *d)
{
	const json_t *im2 = json_object_get(d->status, "im2");
	const char *key = json_str(im2, "mesh_key");

	if (!d->status) {
		doctor_say(d, DOCTOR_SKIPPED, "%s", NOT_RUNNING);
	} else if (key && strcmp(key, "none") == 0) {
		doctor_say(d, DOCTOR_WARNING, "this node has no key of a mesh");
		doctor_means(d, "It meets nobody. A machine of the mesh shows a code with `ironmesh pair`.");
		doctor_fix(d, "ironmesh pair CODE --home %s", d->home_word);
	} else if (key && strcmp(key, "failed") == 0) {
		doctor_say(d, DOCTOR_FAILURE, "the key of the mesh could not be computed");
		doctor_means(d, "There was not enough memory (64 MiB). It is tried again every ten seconds.");
		doctor_fix(d, "free -m   (then stop what takes the memory)");
	} else {
		doctor_say(d, DOCTOR_OK, "the key of the mesh is %s", key ? key : "?");
	}
}

void doctor_alarms(struct doctor *d)
{
	const json_t *alarms = json_object_get(d->status, "alarms");
	const char *subject = json_str(json_array_get(alarms, 0), "subject");

	if (!d->status) {
		doctor_say(d, DOCTOR_SKIPPED, "%s", NOT_RUNNING);
	} else if (json_array_size(alarms)) {
		doctor_say(d, DOCTOR_FAILURE, "%zu changed key(s) wait for your decision, the first of %s", json_array_size(alarms),
			   subject ? subject : "?");
		doctor_means(d, "A peer was set up anew, or somebody pretends to be it. Nothing goes to it until you decide.");
		doctor_fix(d, "ironmesh trust list --home %s", d->home_word);
	} else {
		doctor_say(d, DOCTOR_OK, "no changed key waits");
	}
}

void doctor_backup(struct doctor *d)
{
	const json_t *o = json_object_get(d->status, "backup");
	uint64_t now = env_wall(&d->env), good = doctor_ms(o, "last_ok_ms"), bad = doctor_ms(o, "last_failed_ms"),
		 next = doctor_ms(o, "next_ms");
	const char *why = json_str(o, "why");
	char text[RFC3339_LEN];

	if (!d->status) {
		doctor_say(d, DOCTOR_SKIPPED, "%s", NOT_RUNNING);
	} else if (!json_str(o, "directory")) {
		doctor_say(d, DOCTOR_OK, good ? "none are scheduled; the last was made %s" : "none are scheduled",
			   rfc3339(good, text));
	} else if (bad > good) {
		doctor_say(d, DOCTOR_FAILURE, "the last backup failed: %s", why ? why : "?");
		doctor_means(d, "A disk that is lost now takes with it what came since the last good one.");
		doctor_fix(d, "ironmesh backup now --home %s", d->home_word);
	} else if (next && now > next + BACKUP_LATE_MS && !json_is_true(json_object_get(o, "running"))) {
		doctor_say(d, DOCTOR_WARNING, "a backup was due %s", rfc3339(next, text));
		doctor_means(d, "A disk that is lost now takes with it what came since the last one.");
		doctor_fix(d, "ironmesh backup now --home %s", d->home_word);
	} else {
		doctor_say(d, DOCTOR_OK, good ? "the last was made %s" : "the first is still to come", rfc3339(good, text));
	}
}

/* --- what waits ----------------------------------------------------------------------------------------------------- */
static void nobody_sends(struct doctor *d)
{
	struct store_report r = { 0 };
	struct fault f;
	char path[PATH_MAX];

	if (!d->has_home || !doctor_readable(d, HOME_STORE) || !doctor_path(d, HOME_STORE, path) ||
	    store_examine(path, bytes_of(NULL, 0), &d->env, &r, &f) != ERR_OK || !r.waiting) {
		doctor_say(d, DOCTOR_SKIPPED, "%s", NOT_RUNNING);
		return;
	}
	doctor_say(d, DOCTOR_WARNING, "%llu message(s) wait, and no daemon runs", (unsigned long long)r.waiting);
	doctor_means(d, "They are safe on disk, and leave when it runs.");
	doctor_fix(d, "ironmesh run --home %s", d->home_word);
}

void doctor_queue(struct doctor *d)
{
	uint64_t now = env_wall(&d->env), oldest, age;
	const char *label, *why, *id;
	char word[300];
	unsigned found = 0;
	json_t *row;
	size_t i;

	if (!d->status) {
		nobody_sends(d);
		return;
	}
	json_array_foreach (d->queue, i, row) {
		oldest = doctor_ms(row, "oldest_ms");
		age = oldest && now > oldest ? now - oldest : 0;
		if (age < d->queue_age_ms || ++found > WORST_SHOWN)
			continue;
		label = json_str(row, "label");
		id = json_str(row, "peer");
		why = json_str(row, "why");
		doctor_say(d, DOCTOR_WARNING, "%lld message(s) for %s wait, the oldest for %llu min%s%s",
			   (long long)doctor_ms(row, "queued"), label ? label : "?", (unsigned long long)(age / 60000),
			   why && *why ? ": " : "", why ? why : "");
		doctor_means(d, "They are kept until their time is over. %s",
			     json_is_true(json_object_get(row, "online")) ? "The peer is connected and does not confirm." :
									    "The peer is not connected.");
		doctor_fix(d, "ironmesh peers show %s --home %s", word_for_shell(id ? id : "PEER", word, sizeof word), d->home_word);
	}
	if (!found)
		doctor_say(d, DOCTOR_OK, "nothing waits for too long");
}
