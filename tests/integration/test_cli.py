#!/usr/bin/python3
"""The command line against real daemons: every command, its --help, its --json, its exit codes.

    test_cli.py [BINARY]        (else --ironmesh PATH, $IRONMESH, build/release/ironmesh)
"""
import base64
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from ironlab import ROOT, Lab, _die_with_parent, body_of, needs_im2, wait_for  # noqa: E402

if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
    sys.argv[1:2] = ["--ironmesh", sys.argv[1]]
lab = Lab("cli", __doc__)
alice, bob, carol = lab.daemon("alice"), lab.daemon("bob"), lab.daemon("carol")
ENV = {k: v for k, v in os.environ.items()
       if k not in ("IRONMESH_HOME", "IRONMESH_PASSPHRASE", "NO_COLOR", "CLICOLOR_FORCE", "CREDENTIALS_DIRECTORY")}


class Done:
    def __init__(self, args, process):
        self.args, self.code = args, process.returncode
        self.out, self.err = process.stdout, process.stderr.decode(errors="replace")

    @property
    def text(self):
        return self.out.decode(errors="replace")

    def __repr__(self):
        return "ironmesh %s: exit %d\nstdout: %s\nstderr: %s" % (" ".join(map(str, self.args)), self.code,
                                                                self.text[-2000:], self.err[-2000:])


def im(*args, exit=0, stdin=None, env=None, timeout=30, **more):
    """Runs ironmesh and insists on the exit code."""
    given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    done = Done(args, subprocess.run([lab.binary, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                     env=dict(ENV, **(env or {})), timeout=timeout, **given, **more))
    assert done.code == exit, "exit %d expected, %r" % (exit, done)
    raw = "--raw" in args  # those bytes are the sender's
    assert raw or "\033" not in done.text and "\033" not in done.err, "escape bytes without a terminal: %r" % done
    return done


def as_json(*args, exit=0, schema=None, **more):
    """The same with --json: stdout must be exactly one value with a schema."""
    done = im(*args, "--json", exit=exit, **more)
    lines = done.text.splitlines()
    assert len(lines) == 1, "not one line: %r" % done
    got = json.loads(lines[0])
    assert re.fullmatch(r"ironmesh\.[a-z._]+/1", got["schema"]), got
    assert schema is None or got["schema"] == schema, got
    return got


def error(*args, exit, word=None, says=(), **more):
    """A failure: three short lines on stderr, and the same as an object with --json."""
    done = im(*args, exit=exit, **more)
    lines = done.err.splitlines()
    assert 1 <= len(lines) <= 3 and lines[0].startswith("ironmesh: "), "not a fault: %r" % done
    assert done.out == b"", "data next to an error: %r" % done
    for text in says:
        assert text in done.err, "%r does not say %r" % (done, text)
    got = as_json(*args, exit=exit, schema="ironmesh.error/1", **more)["error"]
    assert set(got) == {"err", "exit", "what", "means", "next"} and got["exit"] == exit, got
    assert word is None or got["err"] == word, got
    assert lines[0] == "ironmesh: " + got["what"], (lines, got)
    return got


def home(daemon):
    return ["--home", daemon.home]


def popen(*args, **more):
    return subprocess.Popen([lab.binary, *map(str, args)], stdin=subprocess.DEVNULL, env=ENV,
                            preexec_fn=_die_with_parent, **more)


# --- without any daemon ------------------------------------------------------------------------------
def every_command_explains_itself():
    table = as_json("help", schema="ironmesh.help/1")
    paths = [c["command"].split()[1:] for c in table["commands"]]
    wanted = """run send inbox.list recv outbox.list outbox.cancel outbox.retry outbox.show peers.list peers.show
        peers.approve peers.block peers.forget peers.alias peers.pending peers.ignore peers.refused trust.cap-diff
        trust.cap-accept trust.cap-reject status ping keys.generate keys.show keys.fingerprint
        keys.migrate keys.rotate trust.list trust.show trust.pin trust.verify trust.set-state trust.revoke
        trust.repin trust.allow-downgrade trust.export audit.verify audit.tail audit.stats audit.export audit.verify-export events demo
        version help""".split()
    assert not set(wanted) - {".".join(p) for p in paths}, paths
    for path, command in zip(paths, table["commands"]):
        first = im(*path, "--help")
        assert first.err == "", first
        assert im("help", *path).out == first.out, path
        assert first.text.index("Examples:") < first.text.index("Usage:"), "examples come first: %r" % first
        for option in command["options"]:
            assert "--" + option["name"] in first.text, (option, first)
        assert max(map(len, first.text.splitlines())) <= 120, first
        if path != ["run"]:
            assert im(*path, "-h").out == first.out
            assert as_json(*path, "--help", schema="ironmesh.help/1")["commands"][0]["command"] == command["command"]
    for group in ("inbox", "outbox", "peers", "keys", "trust", "audit"):
        assert im(group, "--help").out == im("help", group).out
    assert im().out == im("help").out == im("--help").out


def the_exit_codes_are_those_of_the_source():
    with open(os.path.join(ROOT, "base", "err.h")) as f:
        rows = re.findall(r"X\(EXIT_\w+, (\d+), \"([^\"]+)\"\)", f.read())
    assert len(rows) >= 12
    shown = im("help", "exit-codes").text
    for code, text in rows:
        assert re.search(r"^ +%s  %s$" % (code, re.escape(text)), shown, re.M), (code, text)
    listed = as_json("help", "exit-codes")["exit_codes"]
    assert [(str(r["exit"]), r["text"]) for r in listed] == rows


def the_version_is_told():
    with open(os.path.join(ROOT, "VERSION")) as f:
        version = f.read().strip()
    assert version in im("--version").text and version in im("version", *home(alice)).text
    got = as_json("version", *home(alice), schema="ironmesh.version/1")
    assert got["version"] == version and got["daemon"] is None


def wrong_use_is_exit_2_and_gets_the_nearest_word():
    for args, says in (
            (["sned", "bob", "hi"], ["send"]), (["peers", "aprove", "bob"], ["peers approve"]),
            (["approve", "bob"], ["peers approve"]), (["status", "--jsno"], ["--json"]),
            (["send", "bob", "hi", "--wiat", "5s"], ["--wait"]), (["trust", "verfy", "bob"], ["trust verify"]),
            (["send", "bob", "hi", "--priority", "hihg"], ["high"]), (["frobnicate"], ["ironmesh help"]),
            (["send"], ["Usage"]), (["send", "bob"], ["--file"]), (["outbox", "show"], ["MSG_ID"]),
            (["send", "bob", "a", "b"], ["too many"]), (["send", "bob", "x", "--ttl", "soon"], ["duration"]),
            (["inbox", "--limit", "0"], ["1000"]), (["inbox", "show", "x"], ["number"]), (["status", "x"], ["x"]),
            (["help", "outbx"], ["outbox"]), (["send", "bob", "x", "--wai", "1s"], ["--wait"]),
            (["recv", "--wait", "1s", "--count", "0"], ["1"]), (["keys", "generate"], ["--name"])):
        got = error(*args, exit=2, says=says)
        assert got["err"] == "usage", got
    assert "--home needs a value" in im("--home", exit=2).err


def without_a_daemon_the_command_that_starts_one_is_named():
    for args in (["send", "bob", "hi"], ["inbox"], ["inbox", "show", "1"], ["recv"], ["outbox"], ["status"],
                 ["outbox", "show", "x"], ["outbox", "cancel", "x"], ["outbox", "retry", "x"], ["ping", "bob"],
                 ["events", "--follow"], ["inbox", "ack", "1"], ["inbox", "delete", "1", "--yes"]):
        got = error(*args, *home(carol), exit=3, word="not-found")
        assert got["next"] == "ironmesh run --home %s" % carol.home, got
    empty = os.path.join(lab.folder, "nothing here")
    got = error("send", "bob", "hi", "--home", empty, exit=3)
    assert got["next"].startswith("ironmesh run --home '%s' --name" % empty), got
    assert not os.path.exists(empty), "asking made a folder"


def the_home_is_named_before_after_or_in_the_environment():
    for args, env in ((["--home", carol.home, "keys", "fingerprint"], {}), (["keys", "--home", carol.home, "fingerprint"], {}),
                      (["keys", "fingerprint", "--home=" + carol.home], {}),
                      (["keys", "fingerprint"], {"IRONMESH_HOME": carol.home})):
        assert as_json(*args, env=env)["name"] == "carol"
    assert json.loads(im("--json", "keys", "fingerprint", *home(carol)).text)["name"] == "carol"
    error("status", "--home", "", exit=2)


# --- keys and passphrases -----------------------------------------------------------------------------
class Mesh:
    pass


mesh = Mesh()
mesh.passphrase = os.path.join(lab.folder, "mesh.pass")
mesh.home = os.path.join(lab.folder, "locked")


def a_new_mesh_gets_a_passphrase_in_a_file():
    done = im("keys", "generate", "--home", mesh.home, "--name", "locked", "--new-mesh", mesh.passphrase)
    mode = stat.S_IMODE(os.stat(mesh.passphrase).st_mode)
    with open(mesh.passphrase) as f:
        text = f.read()
    assert mode == 0o600 and re.fullmatch(r"([a-z0-9]{4}-){6}[a-z0-9]{4}\n", text), (oct(mode), text)
    assert mesh.passphrase in done.err and "ironmesh --home" in done.err, done
    assert text.strip() not in done.text + done.err, "the passphrase is on the screen"
    assert stat.S_IMODE(os.stat(mesh.home).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(os.path.join(mesh.home, "keys.json")).st_mode) == 0o600
    # Once more: neither the passphrase nor the identity is replaced.
    error("keys", "generate", "--home", mesh.home + "2", "--name", "x", "--new-mesh", mesh.passphrase, exit=2,
          word="exists", says=["--passphrase-file"])
    got = error("keys", "generate", "--home", mesh.home, "--name", "x", "--passphrase-file", mesh.passphrase, exit=9,
                word="exists")
    assert got["next"], got
    with open(mesh.passphrase) as f:
        assert f.read() == text


def the_passphrase_comes_from_everywhere_but_argv():
    with open(mesh.passphrase, "rb") as f:
        secret = f.read()
    show = ["keys", "show", "--home", mesh.home]
    shown = as_json(*show, "--passphrase-file", mesh.passphrase, schema="ironmesh.keys/1")
    assert shown["name"] == "locked" and shown["encrypted"] is True and shown["version"] == 3, shown
    assert as_json(*show, "--passphrase-fd", "0", stdin=secret) == shown
    credentials = os.path.join(lab.folder, "credentials")
    os.mkdir(credentials, 0o700)
    with open(os.path.join(credentials, "ironmesh"), "wb") as f:
        f.write(secret)
    assert as_json(*show, env={"CREDENTIALS_DIRECTORY": credentials}) == shown
    assert as_json(*show, env={"IRONMESH_PASSPHRASE": secret.decode().strip()}) == shown
    error(*show, exit=2, word="denied", says=["--passphrase-file"])
    error(*show, exit=9, word="auth", env={"IRONMESH_PASSPHRASE": "this is another passphrase"})
    error(*show, "--passphrase", "x", exit=2)
    os.chmod(mesh.passphrase, 0o640)
    error(*show, "--passphrase-file", mesh.passphrase, exit=8, says=["chmod 600"])
    os.chmod(mesh.passphrase, 0o600)


def keys_are_made_shown_and_migrated():
    fingerprint = im("keys", "fingerprint", *home(carol)).text
    assert re.fullmatch(r"([0-9a-f]{4} ){7}[0-9a-f]{4}\n", fingerprint), fingerprint
    shown = as_json("keys", "show", *home(carol))
    assert shown["fingerprint"] == fingerprint.strip() and shown["encrypted"] is False, shown
    assert "NOT encrypted" in im("keys", "show", *home(carol)).text
    assert len(base64.b64decode(shown["public_key"])) == 32
    error("keys", "generate", "--name", "bad name", "--clear", "--home", mesh.home + "3", exit=2)
    error("keys", "generate", "--name", "x", "--home", mesh.home + "3", exit=2, says=["--new-mesh"])
    assert not os.path.exists(mesh.home + "3")
    # carol's file is version 3 already; whatever that answers, the identity stays.
    done = subprocess.run([lab.binary, "keys", "migrate", *home(carol), "--json"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=ENV, stdin=subprocess.DEVNULL)
    assert json.loads(done.stdout)["schema"] in ("ironmesh.keys/1", "ironmesh.error/1"), done
    assert im("keys", "fingerprint", *home(carol)).text == fingerprint


# --- the two lines of the README -----------------------------------------------------------------------
def two_fresh_nodes_talk_without_a_prompt():
    a, b = os.path.join(lab.folder, "A"), os.path.join(lab.folder, "B")
    ports = [lab.port(), lab.port()]
    nodes = []
    for i, (where, name) in enumerate(((a, "alice"), (b, "bob"))):
        log = open(where + ".log", "wb")
        nodes.append(popen("run", "--home", where, "--name", name, "--bind", "127.0.0.1", "--port", ports[i],
                           "--passphrase-file", mesh.passphrase, "--peer", "127.0.0.1:%d" % ports[1 - i],
                           "--im2", lab.im2, "--trust-on-first-use", stdout=log, stderr=log))
        log.close()
    try:
        def sees():
            done = subprocess.run([lab.binary, "--home", a, "peers", "list", "--json"], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=ENV)
            return done.returncode == 0 and any(p["online"] and p["name"] == "bob"
                                                for p in json.loads(done.stdout)["peers"])
        wait_for(sees, 30, 0.2, "alice sees bob")
        got = as_json("send", "--home", a, "bob", "hello", "--wait", "5s", schema="ironmesh.send/1")
        assert got["state"] == "delivered" and got["via"] == "ws" and got["timed_out"] is False, got
        got = as_json("inbox", "--home", b, schema="ironmesh.inbox/1")
        assert [m["body"] for m in got["messages"]] == ["hello"], got
        assert re.fullmatch(r"delivered in \d+ ms via ws\n", im("send", "--home", a, "bob", "hi", "--wait", "5s").text)
    finally:
        for node in nodes:
            node.send_signal(signal.SIGTERM)
        codes = [node.wait(20) for node in nodes]
    assert codes == [0, 0], codes


# --- messages --------------------------------------------------------------------------------------------
def three_nodes_are_up():
    alice.start("--trust-on-first-use")
    bob.start("--trust-on-first-use", "--peer", alice.address)
    carol.start("--peer", alice.address)  # strangers wait for approval here
    alice.wait_online(bob.id)
    alice.wait_online(carol.id)
    bob.wait_online(alice.id)


def send_says_what_became_of_the_message():
    done = im("send", *home(alice), "bob", "one")
    msg_id = re.fullmatch(r"queued as (\S+)\n", done.text).group(1)
    assert "outbox show %s" % msg_id in done.err, done
    assert im("send", *home(alice), "bob", "quiet", "--quiet").err == ""
    got = as_json("send", *home(alice), "bob", "two", "--wait", schema="ironmesh.send/1")
    assert got["state"] == "delivered" and got["delivered_in_ms"] >= 0, got
    assert re.fullmatch(r"delivered in \d+ ms via ws\n", im("send", *home(alice), "bob", "3", "--wait", "delivered").text)
    assert im("send", *home(alice), "bob", "4", "--wait-for", "sent").code == 0
    assert as_json("outbox", "show", msg_id, *home(alice))["state"] in ("sent", "delivered")
    got = as_json("send", *home(alice), "bob", "again", "--id", "order-17", "--type", "REQ", "--priority", "high",
                  "--ttl", "1h", "--wait", "5s")
    assert got["msg_id"] == "order-17", got
    row = as_json("outbox", "show", "order-17", *home(alice), schema="ironmesh.outbox.message/1")
    assert (row["type"], row["priority"]) == ("REQ", "high"), row
    assert abs(row["expires_ms"] - row["created_ms"] - 3600000) < 5000, row
    error("send", *home(alice), "bob", "again", "--id", "order-17", exit=1, word="exists")


def bodies_are_any_bytes_from_argument_stdin_and_file():
    im("recv", *home(bob), "--count", "100000")
    blob = bytes(range(256)) * 300
    path = os.path.join(lab.folder, "blob")
    with open(path, "wb") as f:
        f.write(blob)
    for args, stdin, want in ((["--file", path], None, blob), (["-"], blob, blob), (["\u00fcml\u00e4ut\n\u2603"], None,
                              "\u00fcml\u00e4ut\n\u2603".encode()), ([""], None, b""), (["-"], b"", b""),
                              (["--", "--wait"], None, b"--wait"), ([b"\xff\xfe"], None, b"\xff\xfe")):
        done = subprocess.run([lab.binary, "send", *home(alice), "--wait=10s", "bob", *args],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV,
                              **({"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}))
        assert done.returncode == 0, done
        assert im("recv", *home(bob), "--raw").out == want, args
    big = os.urandom(700000)
    im("send", *home(alice), "bob", "-", "--wait", "20s", stdin=big)
    assert im("recv", *home(bob), "--raw").out == big


def the_size_limit_is_named():
    for stdin in (b"x" * 1048577, b"x" * 3000000):
        got = error("send", *home(alice), "bob", "-", stdin=stdin, exit=2, word="limit", says=["1048576"])
        assert "split" in got["next"], got
    error("send", *home(alice), "bob", "--file", "/nonexistent", exit=2)
    error("send", *home(alice), "bob", "x", "--file", "/etc/hostname", exit=2)


@needs_im2
def conversations_are_carried_on():
    asked = as_json("send", *home(alice), "bob", "what is 6*7?", "--kind", "request", "--conversation", "new",
                    "--expects-reply", "--max-turns", "4", "--wait", "5s")
    shown = im("recv", *home(bob)).text
    for word in ("request", asked["conversation"], "0 of 4", "an answer", "what is 6*7?"):
        assert word in shown, (word, shown)
    there = as_json("inbox", *home(bob))["messages"][-1]
    answer = as_json("send", *home(bob), "alice", "42", "--reply-to", there["msg_id"], "--agent", "--wait", "5s")
    assert answer["conversation"] == asked["conversation"] and answer["turn"] == 1, answer
    got = as_json("recv", *home(alice))["messages"][0]
    assert (got["kind"], got["reply_to"], got["turn"]) == ("response", asked["msg_id"], 1), got
    error("send", *home(bob), "alice", "43", "--reply-to", there["msg_id"], "--agent", exit=8, word="exists")
    shown = im("outbox", "show", answer["msg_id"], *home(bob)).text
    assert asked["conversation"] in shown and "response" in shown, shown


@needs_im2
def volatile_messages_are_printed_as_they_come():
    listener = subprocess.Popen([lab.binary, "recv", "--volatile", "--count", "3", "--json", "--follow", *home(bob)],
                                env=ENV, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    time.sleep(0.5)
    assert im("send", *home(alice), "bob", "t=1", "--volatile").text == "sent, and kept nowhere\n"
    im("send", *home(alice), "bob", "-", "--volatile", "--kind", "event", stdin=bytes(range(256)))
    im("send", *home(alice), "bob", "t=3", "--volatile", "--json")
    out, _ = listener.communicate(timeout=20)
    lines = [json.loads(line) for line in out.decode().splitlines()]
    assert listener.returncode == 0 and len(lines) == 3, out
    assert [m.get("body") for m in lines] == ["t=1", None, "t=3"] and lines[1]["kind"] == "event", lines
    assert all(m["from"]["name"] == "alice" and m["volatile"] is True for m in lines), lines
    im("recv", "--volatile", "--wait", "100ms", *home(bob), exit=75)
    error("send", *home(alice), "bob", "-", "--volatile", stdin=b"x" * 500000, exit=2, word="limit", says=["frame"])
    error("send", *home(alice), "bob", "x", "--volatile", "--wait", exit=2)
    error("recv", "--volatile", "--from", "nobody", *home(bob), exit=4)


def recv_takes_each_message_once():
    error_free = as_json("recv", *home(bob), exit=75, schema="ironmesh.inbox/1")
    assert error_free["messages"] == [], error_free
    began = time.monotonic()
    im("recv", *home(bob), "--wait", "300ms", exit=75)
    assert 0.25 < time.monotonic() - began < 5
    for i in range(5):
        im("send", *home(alice), "bob", "m%d" % i, "--wait", "5s")
    got = as_json("recv", *home(bob), "--count", "3")
    assert [m["body"] for m in got["messages"]] == ["m0", "m1", "m2"], got
    assert [m["state"] for m in as_json("inbox", *home(bob), "--unread")["messages"]] == ["new", "new"]
    shown = im("recv", *home(bob)).text
    assert "m3" in shown.splitlines()[1:] and "alice" in shown.splitlines()[0], shown
    assert im("recv", *home(bob), "--from", "alice", "--raw").out == b"m4"
    im("recv", *home(bob), "--from", "alice", exit=75)
    error("recv", *home(bob), "--from", "nobody", exit=4)


def recv_waits_and_the_sender_learns_that_it_was_read():
    waiting = popen("recv", *home(bob), "--wait", "20s", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(0.3)
    got = as_json("send", *home(alice), "bob", "for you", "--wait-for", "read", "--wait", "10s")
    out, err = waiting.communicate(timeout=20)
    assert got["state"] == "read", got
    assert waiting.returncode == 0 and json.loads(out)["messages"][0]["body"] == "for you", (out, err)


def parallel_receivers_share_without_doubles():
    receivers = [popen("recv", *home(bob), "--follow", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                 for _ in range(3)]
    time.sleep(0.3)
    for i in range(30):
        alice.send("bob", "share %d" % i)
    wait_for(lambda: len([m for m in bob.inbox(state="read") if body_of(m).startswith(b"share")]) == 30, 20,
             what="30 messages taken")
    time.sleep(0.3)
    bodies = []
    for r in receivers:
        r.send_signal(signal.SIGINT)
        out, err = r.communicate(timeout=10)
        assert r.returncode == 130 and err == b"", (r.returncode, err)
        for line in out.splitlines():
            got = json.loads(line)
            assert got["schema"] == "ironmesh.message/1", got
            bodies.append(got["body"])
    assert sorted(bodies) == sorted("share %d" % i for i in range(30)), bodies


def a_reader_that_leaves_ends_it_quietly():
    alice.send("bob", "first", wait_ms=5000)
    r = popen("recv", *home(bob), "--follow", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert b"first" in r.stdout.readline()
    r.stdout.close()
    alice.send("bob", "second", wait_ms=5000)
    r.wait(10)
    assert r.returncode in (141, -signal.SIGPIPE) and r.stderr.read() == b"", r.returncode
    # It was not taken by a program whose reader had gone.
    assert im("recv", *home(bob), "--raw", "--wait", "2s").out == b"second"
    with open("/dev/full", "wb") as full:
        done = subprocess.run([lab.binary, "inbox", *home(bob)], stdout=full, stderr=subprocess.PIPE, env=ENV,
                              stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and b"No space left" in done.stderr, done


def the_inbox_lists_shows_acks_and_deletes():
    for text in ("plain", "two\nlines", "\033]0;title\a\033[31mred \u202e"):
        alice.send("bob", text, wait_ms=5000)
    alice.send("bob", b"\x00\xff", wait_ms=5000)
    done = im("inbox", *home(bob), "--unread")
    assert done.text.splitlines()[0].split() == ["SEQ", "RECEIVED", "FROM", "SIZE", "STATE", "TEXT"], done
    assert "two lines" in done.text and "?]0;title??[31mred ?" in done.text and "(2 bytes, not text)" in done.text, done
    rows = as_json("inbox", "list", *home(bob), "--unread", "--from", "alice")["messages"]
    assert len(rows) == 4, rows
    first = rows[0]["seq"]
    assert as_json("inbox", *home(bob), "--after", first, "--limit", "1")["messages"][0]["seq"] == rows[1]["seq"]
    assert "two\nlines\n" in im("inbox", "show", rows[1]["seq"], *home(bob)).text
    assert im("inbox", "show", rows[3]["seq"], "--raw", *home(bob)).out == b"\x00\xff"
    assert as_json("inbox", "show", first, *home(bob))["messages"][0]["body"] == "plain"
    assert as_json("inbox", "ack", first, *home(bob))["changed"] == 1
    assert as_json("inbox", "ack", first, *home(bob))["changed"] == 0
    assert "read" in im("inbox", "ack", rows[1]["msg_id"], *home(bob)).text
    error("inbox", "delete", first, *home(bob), exit=2, says=["--yes"])
    assert "deleted" in im("inbox", "delete", first, "--yes", *home(bob)).text
    error("inbox", "show", 999999, *home(bob), exit=1, word="not-found")
    error("inbox", "ack", 999999, *home(bob), exit=1)
    assert im("inbox", *home(bob), "--state", "held").err == "no messages\n"


def an_unreachable_peer_is_exit_6_and_the_end_exit_7():
    bob.stop()
    alice.wait_offline(bob.id)
    done = im("send", *home(alice), "bob", "later", "--wait", "300ms", exit=6)
    msg_id = re.fullmatch(r"queued as (\S+)\n", done.text).group(1)
    assert "stays queued" in done.err and "outbox show %s" % msg_id in done.err, done
    got = as_json("send", *home(alice), "bob", "later 2", "--wait", "300ms", exit=6, schema="ironmesh.send/1")
    assert got["timed_out"] is True and got["state"] == "queued", got
    done = im("send", *home(alice), "bob", "never", "--ttl", "200ms", "--wait", "10s", exit=7)
    assert "expired" in done.err and "outbox retry" in done.err, done
    assert as_json("send", *home(alice), "bob", "never", "--ttl", "200ms", "--wait", "10s", exit=7)["state"] == "expired"
    rows = as_json("outbox", *home(alice), "--state", "queued", "--to", "bob", schema="ironmesh.outbox/1")["messages"]
    assert {r["msg_id"] for r in rows} == {msg_id, got["msg_id"]}, rows
    done = im("outbox", *home(alice))
    assert done.text.splitlines()[0].split()[0] == "MESSAGE" and msg_id in done.text, done
    assert len(as_json("outbox", "list", *home(alice), "--limit", "1")["messages"]) == 1
    assert as_json("outbox", "list", *home(alice), "--before", rows[0]["seq"], "--limit", "1")["messages"][0]["seq"] \
        < rows[0]["seq"]
    assert "state         queued" in im("outbox", "show", msg_id, *home(alice)).text
    assert as_json("outbox", "cancel", msg_id, *home(alice))["state"] == "cancelled"
    error("outbox", "cancel", msg_id, *home(alice), exit=1, word="state")
    got = as_json("outbox", "retry", msg_id, *home(alice))
    assert got["state"] in ("queued", "sent") and got["msg_id"] != msg_id, got
    msg_id = got["msg_id"]  # nobody chose the old one, and the recipient may have been told that it will not come
    assert "queued" in im("outbox", "retry", msg_id, *home(alice)).text
    for verb in ("show", "cancel", "retry"):
        error("outbox", verb, "no-such-id", *home(alice), exit=1, word="not-found")
    error("ping", "bob", *home(alice), exit=2)
    bob.start()
    wait_for(lambda: as_json("outbox", "show", msg_id, *home(alice))["state"] == "delivered", 15, what="delivery")


def ping_measures():
    alice.wait_online(bob.id)
    assert re.fullmatch(r"bob: (\d+\.\d\d|under 1) ms via ws\n", im("ping", "bob", *home(alice)).text)
    assert as_json("ping", "bob", *home(alice), schema="ironmesh.ping/1")["rtt_ms"] >= 0
    error("ping", "nobody", *home(alice), exit=4)
    error("ping", "bob", "--timeout", "0", *home(alice), exit=2)


# --- peers and trust ------------------------------------------------------------------------------------
def an_unknown_peer_is_exit_4_with_a_suggestion():
    got = error("send", *home(alice), "bbo", "hi", exit=4, word="not-found")
    assert "bob" in got["means"], got
    for args in (["peers", "show", "nobody"], ["trust", "show", "nobody"], ["inbox", "--from", "nobody"],
                 ["outbox", "--to", "nobody"], ["peers", "approve", "nobody"], ["peers", "alias", "nobody", "x"]):
        error(*args, *home(alice), exit=4)
    im("send", *home(alice), bob.id[:8], "by prefix", "--wait", "5s")
    im("send", *home(alice), bob.id, "by id", "--wait", "5s")
    error("send", *home(alice), bob.id[:3], "too short", exit=4)


def peers_are_listed_shown_and_renamed():
    done = im("peers", *home(alice))
    assert done.text.splitlines()[0].split() == ["NAME", "STATE", "ONLINE", "SUITE", "QUEUED", "UNREAD", "FINGERPRINT"], done
    assert as_json("keys", "fingerprint", *home(bob))["fingerprint"] in done.text, done
    assert {p["name"] for p in as_json("peers", "list", *home(alice), schema="ironmesh.peers/1")["peers"]} >= {"bob"}
    assert all(p["state"] == "trusted" for p in as_json("peers", "--state", "trusted", *home(alice))["peers"])
    assert "bob" in im("peers", "show", "bob", *home(alice)).text
    assert as_json("peers", "show", "bob", *home(alice), schema="ironmesh.peer/1")["id"] == bob.id
    assert as_json("peers", "alias", "bob", "robert", *home(alice))["alias"] == "robert"
    im("send", *home(alice), "robert", "by alias", "--wait", "5s")
    assert not as_json("peers", "alias", "robert", "--remove", *home(alice))["alias"]
    error("peers", "alias", "bob", *home(alice), exit=2)
    error("peers", "alias", "bob", "bad alias", *home(alice), exit=2)


def a_pending_peer_is_exit_5_until_it_is_approved():
    got = error("send", *home(carol), "alice", "hi", exit=5, word="untrusted")
    assert "peers approve" in got["next"], got
    done = im("peers", *home(carol))
    assert "pending" in done.text and "peers approve" in done.err, done
    assert im("status", *home(carol)).err.count("peers pending") == 1
    im("send", *home(alice), "carol", "held", "--wait", "300ms", exit=6)
    rows = wait_for(lambda: as_json("inbox", *home(carol), "--state", "held")["messages"], 10, what="a held message")
    assert im("inbox", "show", rows[0]["seq"], "--raw", *home(carol)).out == b"held"
    got = as_json("peers", "approve", "alice", *home(carol), schema="ironmesh.peer/1")
    assert got["state"] == "trusted", got
    assert im("recv", *home(carol), "--wait", "5s", "--raw").out == b"held"
    im("send", *home(carol), "alice", "hi", "--wait", "5s")
    assert "blocked" in im("peers", "block", "alice", "--reason", "test", *home(carol)).text
    error("send", *home(carol), "alice", "hi", exit=5)
    assert "trusted" in im("peers", "approve", "alice", *home(carol)).text
    carol.wait_online(alice.id)
    error("peers", "forget", "alice", *home(carol), exit=2, says=["--yes"])
    as_json("peers", "forget", "alice", "--yes", *home(carol))


def trust_is_verified_pinned_and_revoked():
    right = as_json("keys", "fingerprint", *home(bob))["fingerprint"]
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    assert im("trust", *home(alice)).text and as_json("trust", "list", *home(alice), schema="ironmesh.trust/1")["pins"]
    assert as_json("trust", "show", "bob", *home(alice))["id"] == bob.id
    error("trust", "verify", "bob", wrong, *home(alice), exit=9, word="auth")
    error("trust", "verify", "bob", *home(alice), exit=2, says=["--yes"])
    assert as_json("trust", "verify", "bob", *right.split(), *home(alice))["verified"] is True
    assert "compared by a person" in im("trust", "verify", "bob", "--yes", *home(alice)).text
    key = as_json("keys", "generate", "--home", os.path.join(lab.folder, "dave"), "--name", "dave", "--clear")["public_key"]
    assert as_json("trust", "pin", "dave", key, *home(alice))["state"] == "trusted"
    error("trust", "pin", "erin", "not a key", *home(alice), exit=2)
    assert as_json("trust", "set-state", "dave", "blocked", "--reason", "lost", *home(alice))["state"] == "blocked"
    error("trust", "set-state", "dave", "revoked", *home(alice), exit=2)
    error("trust", "revoke", "dave", *home(alice), exit=2, says=["--reason"])
    error("trust", "revoke", "dave", "--reason", "stolen", *home(alice), exit=2, says=["--yes"])
    assert as_json("trust", "revoke", "dave", "--reason", "stolen", "--yes", *home(alice))["state"] == "revoked"
    error("trust", "repin", "nobody", "0" * 32, "--yes", *home(alice), exit=4)
    path = os.path.join(lab.folder, "trust.json")
    im("trust", "export", "--out", path, *home(alice))
    assert json.load(open(path)) and stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert json.loads(im("trust", "export", *home(alice)).text)
    as_json("trust", "export", *home(alice), schema="ironmesh.trust.export/1")


# --- status, events, audit --------------------------------------------------------------------------------
def status_is_short_or_silent():
    done = im("status", *home(alice))
    for word in ("name          alice", "listens on    127.0.0.1:%d" % alice.port, "peers ", "outbox ", "inbox "):
        assert word in done.text, done
    assert im("status", "--quiet", *home(alice)).out == b""
    assert "messages_sent" in im("status", "--counters", *home(alice)).text
    assert as_json("status", *home(alice), schema="ironmesh.status/1")["name"] == "alice"
    assert "asking: status" in im("status", "-v", *home(alice)).err
    assert as_json("version", *home(alice))["daemon"]["version"]


def events_follow_until_interrupted():
    follow = popen("events", "--follow", "--json", *home(alice), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(iter(follow.stdout.readline, b"")), daemon=True)
    reader.start()

    def delivered():  # again and again: the first may come before the subscription
        im("send", *home(alice), "bob", "watched", "--wait", "5s")
        time.sleep(0.1)
        return any(b"message.delivered" in line for line in lines)

    wait_for(delivered, 20, what="the event")
    follow.send_signal(signal.SIGINT)
    assert follow.wait(10) == 130 and follow.stderr.read() == b""
    reader.join(5)
    for line in lines:
        got = json.loads(line)
        assert got["schema"] == "ironmesh.event/1" and got["type"] and got["at_ms"] > 0, got
    one = popen("events", "--count", "1", "--for", "20s", "inbox.", *home(bob), stdout=subprocess.PIPE)
    for _ in range(40):
        im("send", *home(alice), "bob", "seen", "--wait", "5s")
        time.sleep(0.1)
        if one.poll() is not None:
            break
    out, _ = one.communicate(timeout=20)
    assert one.returncode == 0 and b"inbox.new" in out and out.count(b"\n") == 1, out
    # Only messages: peers may come and go at any time.
    assert im("events", "--for", "100ms", "message.", *home(carol)).out == b""


def the_audit_log_is_verified_and_exported():
    assert re.match(r"ok  \d+ entries", im("audit", *home(alice)).text)
    assert as_json("audit", "verify", *home(alice), schema="ironmesh.audit.verify/1")["ok"] is True
    assert len(im("audit", "tail", "--limit", "3", *home(alice)).text.splitlines()) == 3
    assert len(as_json("audit", "tail", "--limit", "2", *home(alice))["entries"]) == 2
    assert "entries" in im("audit", "stats", *home(alice)).text
    assert as_json("audit", "stats", *home(alice), schema="ironmesh.audit.stats/1")["events"]
    path = os.path.join(lab.folder, "audit.json")
    im("audit", "export", "--out", path, *home(alice))
    error("audit", "export", "--out", path, *home(alice), exit=1, word="exists")
    assert json.loads(im("audit", "export", *home(alice)).text)
    as_json("audit", "export", *home(alice), schema="ironmesh.audit.export/1")
    key = as_json("keys", "show", *home(alice))["public_key"]
    assert "ok" in im("audit", "verify-export", path, "--public-key", key, *home(bob)).text
    assert as_json("audit", "verify-export", path, "--peer", "alice", *home(bob))["ok"] is True
    error("audit", "verify-export", path, *home(bob), exit=2, says=["--peer"])
    error("audit", "verify-export", path, "--peer", "a", "--public-key", "b", *home(bob), exit=2)
    error("audit", "verify-export", "/nonexistent", "--peer", "alice", *home(bob), exit=1)
    with open(path) as f:
        text = f.read()
    word = as_json("audit", "tail", "--limit", "1000", *home(alice))["entries"][0]["event"]
    changed = text.replace(word, word[:-1] + "X", 1)
    assert changed != text
    done = subprocess.run([lab.binary, "audit", "verify-export", "-", "--public-key", key, *home(bob)], env=ENV,
                          input=changed.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 9, done


# --- after the daemon ---------------------------------------------------------------------------------------
def what_works_without_a_daemon_still_works():
    carol.stop()
    assert as_json("peers", *home(carol))["peers"] is not None
    assert as_json("trust", *home(carol))["pins"] is not None
    assert as_json("audit", "verify", *home(carol))["ok"] is True
    assert as_json("audit", "tail", *home(carol))["entries"]
    key = as_json("keys", "show", *home(bob))["public_key"]
    assert as_json("trust", "pin", "bob", key, *home(carol))["state"] == "trusted"
    assert as_json("peers", "alias", "bob", "offline", *home(carol))["alias"] == "offline"
    assert as_json("trust", "export", *home(carol))["text"]
    error("send", "bob", "x", *home(carol), exit=3)


def a_changed_audit_log_is_exit_9():
    path = os.path.join(carol.home, "audit.log")
    with open(path) as f:
        lines = f.readlines()
    with open(path, "w") as f:
        f.writelines(lines[:1] + lines[2:])
    done = im("audit", "verify", *home(carol), exit=9)
    assert done.out == b"" and "does not check out" in done.err, done
    assert as_json("audit", "verify", *home(carol), exit=9, schema="ironmesh.audit.verify/1")["ok"] is False


def a_rotation_is_a_new_identity():
    error("keys", "rotate", *home(bob), exit=2, says=["--yes"])
    old = bob.id
    got = as_json("keys", "rotate", "--yes", *home(bob), schema="ironmesh.keys/1")
    assert got["old_id"] == old and got["id"] != old, got
    bob.process.wait(20)
    bob.process = None
    bob.drop_control()
    assert as_json("keys", "fingerprint", *home(bob))["id"] == got["id"]


def colours_are_for_terminals():
    done = subprocess.run([lab.binary, "peers", *home(alice)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          env=dict(ENV, CLICOLOR_FORCE="1"))
    assert b"\033[1mNAME" in done.stdout
    for extra, env in (([], {"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}), (["--no-color"], {"CLICOLOR_FORCE": "1"}),
                       (["--json"], {"CLICOLOR_FORCE": "1"})):
        done = subprocess.run([lab.binary, "peers", *home(alice), *extra], stdout=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, env=dict(ENV, **env))
        assert b"\033" not in done.stdout, done


def completion_offers_commands_and_peers():
    assert im("completion", "words", "--", "sen").text == "send\n"
    assert "bob\n" in im("completion", "words", "--", "send", *home(alice), "").text
    assert im("completion", "words", "--", "run", "--trust").text == "--trust-on-first-use\n"
    for shell in ("bash", "zsh", "fish"):
        assert "completion words" in im("completion", shell).text
        as_json("completion", shell, schema="ironmesh.completion/1")
    error("completion", "tcsh", exit=2)
    script = "source <(\"$0\" completion bash); PATH=\"${0%/*}:$PATH\"; COMP_WORDS=(ironmesh peers app); COMP_CWORD=2; " \
             "_ironmesh; echo \"${COMPREPLY[@]}\""
    done = subprocess.run(["bash", "-c", script, lab.binary], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV)
    assert done.stdout == b"approve\n", done


def the_demo_tells_the_whole_story():
    scratch = os.path.join(lab.folder, "demo")
    os.mkdir(scratch, 0o700)
    began = time.monotonic()
    done = im("demo", env={"TMPDIR": scratch, "IRONMESH_HOME": "/nonexistent"}, timeout=150)
    assert time.monotonic() - began < 120
    for words in ("$ ironmesh send ", "delivered in ", "(exit 6)", "kill -9", "unbroken", "ended with 0", "none of"):
        assert words in done.text, done
    assert os.listdir(scratch) == [], "the demo left something behind"
    got = as_json("demo", env={"TMPDIR": scratch}, timeout=150)
    assert got["schema"] == "ironmesh.demo/1" and got["ok"] is True and len(got["steps"]) == 8, got


def a_demo_that_fails_says_so():
    got = as_json("demo", exit=1, env={"TMPDIR": "/nonexistent"}, schema="ironmesh.demo/1")
    assert got["ok"] is False and "/nonexistent" in got["failed"], got


sys.exit(lab.run(
    every_command_explains_itself,
    the_exit_codes_are_those_of_the_source,
    the_version_is_told,
    wrong_use_is_exit_2_and_gets_the_nearest_word,
    without_a_daemon_the_command_that_starts_one_is_named,
    the_home_is_named_before_after_or_in_the_environment,
    a_new_mesh_gets_a_passphrase_in_a_file,
    the_passphrase_comes_from_everywhere_but_argv,
    keys_are_made_shown_and_migrated,
    two_fresh_nodes_talk_without_a_prompt,
    three_nodes_are_up,
    send_says_what_became_of_the_message,
    bodies_are_any_bytes_from_argument_stdin_and_file,
    the_size_limit_is_named,
    conversations_are_carried_on,
    volatile_messages_are_printed_as_they_come,
    recv_takes_each_message_once,
    recv_waits_and_the_sender_learns_that_it_was_read,
    parallel_receivers_share_without_doubles,
    a_reader_that_leaves_ends_it_quietly,
    the_inbox_lists_shows_acks_and_deletes,
    an_unreachable_peer_is_exit_6_and_the_end_exit_7,
    ping_measures,
    an_unknown_peer_is_exit_4_with_a_suggestion,
    peers_are_listed_shown_and_renamed,
    a_pending_peer_is_exit_5_until_it_is_approved,
    trust_is_verified_pinned_and_revoked,
    status_is_short_or_silent,
    events_follow_until_interrupted,
    the_audit_log_is_verified_and_exported,
    what_works_without_a_daemon_still_works,
    a_changed_audit_log_is_exit_9,
    a_rotation_is_a_new_identity,
    colours_are_for_terminals,
    completion_offers_commands_and_peers,
    the_demo_tells_the_whole_story,
    a_demo_that_fails_says_so,
))
