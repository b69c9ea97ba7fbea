#!/usr/bin/env python3
"""ironmesh.conf: what is checked, what is shown, and what a reload changes in a daemon that runs."""
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from ironlab import Lab, RpcError, needs_im2, wait_for  # noqa: E402

lab = Lab("config")


def write(node, text, name="ironmesh.conf"):
    """As an editor does: a new file in the place of the old one."""
    path = os.path.join(node.home, name)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(path + ".new", "w") as out:
        out.write(text)
    os.chmod(path + ".new", 0o600)
    os.rename(path + ".new", path)


def config(node, *words, expect=0):
    done = node.cli("config", *words, "--json")
    assert done.returncode == expect, (words, done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout)


def values(result):
    return {(v["section"], v["key"], v.get("name")): v for v in result["values"]}


def reload(node):
    """By the signal; returns `config` of the status when it is done."""
    before = node.call("status")["config"]
    node.process.send_signal(signal.SIGHUP)

    def done():
        now = node.call("status")["config"]
        return now if now["reloads"] + now["refused"] > before["reloads"] + before["refused"] else None

    return wait_for(done, what="the reload")


def files_alone():
    node = lab.daemon("files")
    assert config(node, "path")["files"] == []
    assert config(node, "check")["good"]
    write(node, "[lan]\nprt = 1\n[log]\nlevel = loud\n[nothing]\na = b\n")
    found = config(node, "check", expect=10)
    assert not found["good"]
    assert [p["line"] for p in found["problems"]] == [2, 4, 5], found
    assert "'port'" in found["problems"][0]["means"]
    done = node.cli("config", "check")
    assert done.returncode == 10 and b"ironmesh.conf:2: [lan] has no key 'prt'" in done.stderr, done.stderr
    done = node.cli("run")
    assert done.returncode == 10 and b"ironmesh.conf:2: " in done.stderr and b"Did you mean 'port'?" in done.stderr, done.stderr
    assert node.cli("config", "show").returncode == 10
    write(node, "[lan]\nport = 1\n[limits]\nrekey_interval = 3600\n")
    write(node, "[lan]\nport = 2\n[trust]\ntofu = no\n", "conf.d/10.conf")
    write(node, "[lan]\nport = 3\n", "conf.d/20.conf")
    found = config(node, "check")
    assert found["good"] and [p["warning"] for p in found["problems"]] == [True]
    assert [os.path.basename(f) for f in found["files"]] == ["ironmesh.conf", "10.conf", "20.conf"]
    shown = values(config(node, "show", "--effective"))
    assert shown["lan", "port", None]["value"] == "3" and shown["lan", "port", None]["where"].endswith("20.conf:2")
    assert shown["limits", "rekey_interval", None]["value"] == "1h"
    assert shown["im2", "mode", None]["source"] == "default"
    assert len(values(config(node, "show"))) == 3
    assert {(c["key"], c["was"], c["now"]) for c in config(node, "diff")["changes"]} == {
        ("port", "8765", "3"), ("rekey_interval", "30m", "1h")}
    other = os.path.join(node.home, "other.conf")
    write(node, "[lan]\nport = 9\n", "other.conf")
    assert values(config(node, "show", "--config", other))["lan", "port", None]["value"] == "9"
    os.chmod(other, 0o622)
    done = node.cli("config", "check", other)
    assert done.returncode == 10 and b"others can write" in done.stderr and b"chmod go-w" in done.stderr, done.stderr
    done = node.cli("config", "check", "/nowhere.conf")
    assert done.returncode == 10, done
    # What a start refuses is not called good, and no other file is looked at in its place.
    os.chmod(other, 0o600)
    os.symlink("other.conf", os.path.join(node.home, "link.conf"))
    done = node.cli("config", "check", os.path.join(node.home, "link.conf"))
    assert done.returncode == 10 and b"symbolic link" in done.stderr, done
    odd = os.fsencode(node.home) + b"/\xff.conf"
    with open(os.open(odd, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        f.write("[log]\nlevel = loud\n")
    for words in (["check"], ["show", "--config"], ["diff", "--config"]):
        done = node.cli("config", *words, odd)
        assert done.returncode == 2 and b"UTF-8" in done.stderr, done
    done = subprocess.run([lab.binary, "--home", node.home, "config", "check", "other.conf"], cwd=node.home, capture_output=True)
    assert done.returncode == 0 and done.stdout.decode() == other + ": good\n", done


def the_daemon_says_what_it_runs_with():
    node = lab.daemon("shown")
    write(node, "[log]\nlevel = debug\n[lan]\nport = 1\n")
    node.start("--seal-pad", "off")
    shown = values(config(node, "show", "--effective"))
    assert shown["log", "level", None]["source"] == "file"
    assert shown["lan", "port", None]["source"] == "option" and shown["lan", "port", None]["value"] == str(node.port)
    assert shown["routing", "seal_pad", None]["where"] == "--seal-pad"
    assert config(node, "diff")["changes"] == []
    assert any(c["key"] == "seal_pad" for c in config(node, "diff", "--defaults")["changes"])
    write(node, "[log]\nlevel = warn\n[lan]\nport = 1\n")
    assert [(c["key"], c["was"], c["now"]) for c in config(node, "diff")["changes"]] == [("level", "debug", "warn")]
    # A socket is no way to have it read files of others.
    for method in ("config.show", "config.diff"):
        try:
            node.call(method, file="/etc/passwd")
            raise AssertionError("it was read")
        except RpcError as e:
            assert e.err == "usage", e
    node.stop()


def a_reload_takes_over_or_leaves_everything():
    node = lab.daemon("reload")
    write(node, "[log]\nlevel = info\n")
    node.start()
    write(node, "[log]\nlevel = debug\n[trust]\ntrust_on_first_use = yes\n[im2]\nmode = require\n[limits]\nconnect_rate = 0\n"
          if lab.im2 != "off" else
          "[log]\nlevel = debug\n[trust]\ntrust_on_first_use = yes\n[routing]\nmode = relay\n[limits]\nconnect_rate = 0\n")
    state = reload(node)
    assert state["reloads"] == 1 and state["error"] is None, state
    status = node.call("status")
    assert status["trust_on_first_use"], status
    assert any("first use" in w for w in status["warnings"]) and any("no limit" in w for w in status["warnings"])
    # `mode` of im2 is said on the command line of these tests, and the command line wins.
    assert state["needs_restart"] == ([] if lab.im2 != "off" else ["routing.mode"]), state
    log = open(node.log_path).read()
    assert "config-changed key=log.level was=info now=debug" in log.replace('"', ""), log[-2000:]
    audit = node.cli("audit", "tail", "--json").stdout.decode()
    assert "CONFIG_CHANGED" in audit and "trust.trust_on_first_use" in audit, audit
    # A mistake: nothing of it is taken, not even what is right.
    write(node, "[log]\nlevel = error\n[trust]\ntrust_on_frist_use = no\n")
    state = reload(node)
    assert state["refused"] == 1 and "trust_on_frist_use" in state["error"], state
    assert node.call("status")["trust_on_first_use"]
    assert values(node.call("config.show"))["log", "level", None]["value"] == "debug"
    done = node.cli("config", "reload")
    assert done.returncode == 10 and b"ironmesh.conf:4" in done.stderr and b"'trust_on_first_use'" in done.stderr, done.stderr
    # What needs a restart stays as it is, and is told again and again.
    write(node, "[log]\nlevel = info\n[mesh]\nname = other\n[lan]\nstrict_tls = yes\n")
    result = config(node, "reload")
    assert sorted(result["needs_restart"]) == ["lan.strict_tls", "mesh.name"], result
    status = node.call("status")
    assert not status["trust_on_first_use"] and status["config"]["error"] is None
    assert not any("first use" in w for w in status["warnings"])
    if lab.im2 != "off":
        assert status["im2"]["mesh"] == "default"
    assert sorted(config(node, "reload")["needs_restart"]) == ["lan.strict_tls", "mesh.name"]
    assert node.cli("config", "reload").stdout.decode().count("needs a restart") == 2
    write(node, "")
    assert config(node, "reload")["needs_restart"] == []
    node.stop()


def peers_come_and_go():
    alice, bob = lab.daemon("alice"), lab.daemon("bob")
    bob.start("--trust-on-first-use")
    write(alice, "[trust]\ntrust_on_first_use = yes\n")
    alice.start()
    assert alice.call("status")["peers"]["online"] == 0
    write(alice, "[trust]\ntrust_on_first_use = yes\n[peer \"bob\"]\naddress = %s\n" % bob.address)
    assert reload(alice)["reloads"] == 1
    wait_for(lambda: alice.call("status")["peers"]["online"] == 1, what="alice dials bob")
    sent = alice.call("send", to="bob", body="hi", wait_ms=5000)
    assert sent["state"] in ("delivered", "sent"), sent
    # No more on the list: the session stays, and nobody dials when it has ended.
    write(alice, "[trust]\ntrust_on_first_use = yes\n")
    reload(alice)
    time.sleep(0.3)
    assert alice.call("status")["peers"]["online"] == 1
    bob.stop()
    wait_for(lambda: alice.call("status")["peers"]["online"] == 0, what="bob is gone")
    bob.start("--trust-on-first-use")
    time.sleep(2.5)
    assert alice.call("status")["peers"]["online"] == 0
    # And again, under its id.
    bob_id = bob.call("keys.show")["id"]
    write(alice, "[trust]\ntrust_on_first_use = yes\n[peer \"b\"]\naddress = %s\nid = %s\n" % (bob.address, bob_id))
    reload(alice)
    wait_for(lambda: alice.call("status")["peers"]["online"] == 1, what="alice dials bob again")
    # Whom a list does not mean is dropped; the list gone, he comes back.
    write(alice, "[trust]\ntrust_on_first_use = yes\nallowed_peers = carol\n[peer \"b\"]\naddress = %s\nid = %s\n" % (bob.address, bob_id))
    reload(alice)
    wait_for(lambda: alice.call("status")["peers"]["online"] == 0, what="bob is not allowed")
    assert alice.call("status")["allowed_peers"] == 1
    write(alice, "[trust]\ntrust_on_first_use = yes\n[peer \"b\"]\naddress = %s\nid = %s\n" % (bob.address, bob_id))
    reload(alice)
    wait_for(lambda: alice.call("status")["peers"]["online"] == 1, timeout=20, what="bob is allowed again")
    # One that never answers is dropped while it is dialled.
    for i in range(5):
        write(alice, "[trust]\ntrust_on_first_use = yes\n[peer \"x\"]\naddress = 127.0.0.1:%d\n" % lab.port())
        reload(alice)
    write(alice, "[trust]\ntrust_on_first_use = yes\n")
    reload(alice)
    assert len([p for p in alice.call("peers.list")["peers"] if p["static"]]) == 0
    alice.stop()
    bob.stop()


def administrators_come_by_a_reload():
    """Nobody may revoke for the mesh; then two may together, and what they sign counts at once, with every session open."""
    nodes = a, b, c, lost = [lab.daemon(n) for n in ("admin-a", "admin-b", "member", "lost")]
    for node in nodes:
        node.start("--trust-on-first-use", *[o for q in nodes[:nodes.index(node)] for o in ("--peer", q.address)])
    for node in nodes[1:]:
        for other in nodes[:nodes.index(node)]:
            node.wait_online(other.id)
    a.refused("trust.revoke_draft", "denied", peer=lost.id)
    keys = ", ".join(q.call("keys.show")["public_key"] for q in (a, b))
    since = c.peer(a.id)["session"]["since_ms"]
    for node in (a, b, c):
        write(node, "[trust]\nrevoke_admins = %s\n" % keys)
        assert config(node, "reload")["needs_restart"] == []
        assert node.status()["revocation"]["quorum"] == 2
    path = os.path.join(lab.folder, "lost.json")
    a.cli("trust", "revoke-draft", lost.id, "--out", path, check=True)
    b.cli("trust", "revoke-sign", path, "--yes", check=True)
    b.cli("trust", "revoke-send", path, "--yes", check=True)
    wait_for(lambda: all(q.peer(lost.id)["state"] == "revoked" for q in (a, b, c)), what="revoked everywhere")
    assert c.peer(a.id)["session"]["since_ms"] == since
    # Nobody any more: the next draft is refused.
    write(a, "")
    reload(a)
    a.refused("trust.revoke_draft", "denied", peer=c.id)
    for node in nodes:
        node.stop()


def a_hundred_reloads_under_load_lose_nothing():
    alice, bob = lab.daemon("alice2"), lab.daemon("bob2")
    bob.start("--trust-on-first-use")
    text = "[trust]\ntrust_on_first_use = yes\n[peer \"bob\"]\naddress = %s\n" % bob.address
    write(alice, text)
    alice.start()
    wait_for(lambda: alice.call("status")["peers"]["online"] == 1, what="the session")
    bob_id = bob.call("keys.show")["id"]
    since = alice.call("peers.show", peer=bob_id)["session"]["since_ms"]
    control, sent, pending = alice.connect(), [], []
    for i in range(100):
        write(alice, text + "[log]\nlevel = %s\n[limits]\nrekey_interval = %dm\n[im2]\npad = %s\n"
              % (("info", "warn")[i % 2], 30 + i % 7, ("yes", "no")[i % 2] if lab.im2 != "off" else "no")
              + ("" if i % 10 else "[peer \"nobody\"]\naddress = 127.0.0.1:9\n"))
        (write(bob, "[log]\nlevel = %s\n" % ("info", "debug")[i % 2]), bob.process.send_signal(signal.SIGHUP))
        for k in range(20):
            pending.append(control.ask("send", to=bob_id, body="%d-%d" % (i, k)))
        if i % 2:
            alice.process.send_signal(signal.SIGHUP)
        alice.call("config.reload")
    for request in pending:
        sent.append(control.answer(request)["msg_id"])
    assert len(set(sent)) == 2000
    wait_for(lambda: bob.call("status")["inbox"]["new"] == 2000, timeout=60, what="every message")
    bodies = [m["body"] for m in bob.inbox()]
    assert bodies == ["%d-%d" % (i, k) for i in range(100) for k in range(20)], "lost, doubled or out of order"
    assert alice.call("peers.show", peer=bob_id)["session"]["since_ms"] == since, "the session was dropped"
    # Signals that come together count as one.
    state = alice.call("status")["config"]
    assert 100 < state["reloads"] <= 150 and state["refused"] == 0, state
    wait_for(lambda: alice.call("status")["outbox"]["queued"] == 0, what="all confirmed")
    alice.stop()
    bob.stop()


def the_service_manager_hears_of_it():
    node = lab.daemon("notified")
    path = os.path.join(lab.folder, "notify.sock")
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(path)
    manager.settimeout(10)
    os.environ["NOTIFY_SOCKET"] = path
    try:
        node.start()
    finally:
        del os.environ["NOTIFY_SOCKET"]

    def said(word):
        """The next datagram that begins so; it tells of other things as well."""
        while True:
            text = manager.recv(4096).decode()
            if text.startswith(word):
                return text

    said("READY=1")
    write(node, "[log]\nlevel = loud\n")  # in vain too
    node.process.send_signal(signal.SIGHUP)
    first = said("RELOADING=1\nMONOTONIC_USEC=")
    usec = int(first.split("=")[-1])
    assert abs(usec - time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6) < 10e6
    said("READY=1")
    node.stop()
    manager.close()


def at_a_terminal(args, answers):
    """What is shown there, and the exit code."""
    pid, master = pty.fork()
    if pid == 0:
        os.execv(lab.binary, [lab.binary, *args])
    shown = b""
    for answer in answers:
        while not shown.rstrip(b" ").endswith((b"]", b":", b"pair [new]", b"Enter)")) or not shown.endswith(b" "):
            shown += os.read(master, 4096)
        os.write(master, answer.encode() + b"\n")
        shown += os.read(master, 4096)
    try:
        while True:
            piece = os.read(master, 4096)
            if not piece:
                break
            shown += piece
    except OSError:
        pass
    os.close(master)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def setup_makes_two_nodes_that_talk():
    def setup(home, *args, expect=0):
        done = subprocess.run([lab.binary, "--home", os.path.join(lab.folder, home), "setup", *args], stdin=subprocess.DEVNULL,
                              capture_output=True)
        assert done.returncode == expect, done
        return done

    dry = setup("first", "--dry-run", "--profile", "tactical", "--name", "ann", "--new-mesh")
    assert b"mode = require" in dry.stdout and not os.path.exists(os.path.join(lab.folder, "first"))
    first, second = lab.port(), lab.port()
    # A person, who says what the mesh is and takes the rest as it is offered.
    home = os.path.join(lab.folder, "first")
    said, code = at_a_terminal(["--home", home, "setup", "--port", str(first)], ["ann", "homelab", "new", ""])
    assert code == 0 and "fingerprint" in said and "ironmesh setup --passphrase-file FILE" in said, said
    assert oct(os.stat(os.path.join(home, "ironmesh.conf")).st_mode & 0o777) == "0o600"
    phrase = os.path.join(home, "passphrase")
    # A script.
    made = json.loads(setup("second", "--yes", "--name", "ben", "--profile", "homelab", "--port", str(second), "--passphrase-file", phrase,
                            "127.0.0.1:%d" % first, "--json").stdout)
    assert made["identity"]["name"] == "ben" and made["passphrase_file"] == phrase
    before = open(os.path.join(lab.folder, "second", "keys.json")).read()
    refused = setup("second", "--yes", expect=2)
    assert b"exists already" in refused.stderr and b"--force" in refused.stderr
    setup("second", "--yes", "--force", "--profile", "homelab", "--port", str(second), "127.0.0.1:%d" % first)
    assert open(os.path.join(lab.folder, "second", "keys.json")).read() == before
    assert phrase in open(os.path.join(lab.folder, "second", "ironmesh.conf")).read()
    nodes = []
    for name in ("first", "second"):
        node = lab.daemon(name + "-node", home=name)
        node.command = lambda options, n=node: [lab.binary, "run", "--home", n.home, *options]
        nodes.append(node.start("--set", "lan.bind=127.0.0.1", "--set", "lan.discovery=off"))
    ann, ben = nodes
    wait_for(lambda: ann.call("status")["peers"]["online"] == 1, timeout=20, what="ben dials ann")
    assert ben.call("send", to="ann", body="hello", wait_ms=8000)["state"] == "delivered"
    again = setup("second", "--yes", "--force", "--profile", "lan", "127.0.0.1:%d" % first)
    assert b"config reload" in again.stderr, again
    assert {c["key"] for c in config(ben, "diff")["changes"]} == {"mode", "trust_on_first_use", "port"}
    ann.stop(), ben.stop()
    # A daemon starts with each profile, wherever it is called from; without a passphrase it waits for `ironmesh pair`.
    for name, profile, how in (("p-lan", "lan", []), ("p-tactical", "tactical", ["--new-mesh"])):
        subprocess.run([lab.binary, "--home", name, "setup", "--yes", "--profile", profile, "--name", name, *how], check=True,
                       cwd=lab.folder, stdin=subprocess.DEVNULL, capture_output=True)
        node = lab.daemon(name + "-node", home=name)
        node.command = lambda options, n=node, h=name: [lab.binary, "run", "--home", h, "--port", str(n.port), "--bind", "127.0.0.1",
                                                        "--set", "lan.discovery=off"]
        # The old wire would need the passphrase.
        assert node.start().call("status")["im2"]["setting"] == "require"
        node.stop()
    # Wrong arguments leave nothing behind.
    setup("third", "--yes", "not-an-address", expect=2)
    setup("third", "--yes", "--passphrase-file", "/nowhere", expect=1)
    setup("third", "--yes", "--name", "a b", expect=2)
    assert not os.path.exists(os.path.join(lab.folder, "third"))


sys.exit(lab.run(files_alone, the_daemon_says_what_it_runs_with, a_reload_takes_over_or_leaves_everything, peers_come_and_go,
        needs_im2(administrators_come_by_a_reload), a_hundred_reloads_under_load_lose_nothing, the_service_manager_hears_of_it, needs_im2(setup_makes_two_nodes_that_talk)))
