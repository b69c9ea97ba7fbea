#!/usr/bin/python3
"""Capabilities of real daemons: said, found, written to; and a change that waits for the operator."""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from ironlab import Lab, wait_for  # noqa: E402

lab = Lab("test_caps", __doc__)
QUICK = ("--trust-on-first-use",)


def found(daemon, glob=None, **more):
    params = dict(more, glob=glob) if glob else more
    return [(f["peer"]["name"], f["capability"]) for f in daemon.call("caps.find", **params)["found"]]


def three():
    hub = lab.daemon("hub").start(*QUICK)
    left = lab.daemon("left").start(*QUICK, "--peer", hub.address)
    right = lab.daemon("right").start(*QUICK, "--peer", hub.address)
    for daemon in (left, right):
        daemon.wait_online(hub.id)
        hub.wait_online(daemon.id)
    return hub, left, right


def said_found_and_written_to():
    hub, left, right = three()
    assert left.cli("caps", "add", "llm:llama3", "tool:fs", check=True).stdout == b"llm:llama3\ntool:fs\n"
    right.cli("caps", "set", "llm:mistral", check=True)
    wait_for(lambda: len(found(hub, "llm:*")) == 2, what="both at the hub")
    assert sorted(found(hub, "llm:*")) == [("left", "llm:llama3"), ("right", "llm:mistral")]
    assert found(hub, peer=left.id) == [("left", "llm:llama3"), ("left", "tool:fs")]
    # To the one that has it, to any, to each.
    sent = hub.call("send", capability="tool:*", body="for the left", wait_ms=10000)
    assert sent["to"]["name"] == "left" and sent["state"] == "delivered", sent
    sent = hub.call("send", capability="llm:*", strategy="random", body="for one", wait_ms=10000)
    assert sent["to"]["name"] in ("left", "right") and sent["state"] == "delivered", sent
    done = hub.cli("send", "--capability", "llm:*", "--strategy", "all", "for each", "--wait", "10s", check=True)
    assert done.stdout.count(b"delivered") == 2, done.stdout
    left.take_body("for each"), right.take_body("for each")
    # Nobody has it; and what contradicts itself.
    error = hub.refused("send", "not-found", capability="gpu:*", body="x")
    assert error.exit == 4 and "caps find" in error.next, (error.exit, error.next)
    hub.refused("send", "usage", capability="llm:*", to="left", body="x")
    hub.refused("send", "usage", body="x")
    hub.refused("send", "usage", capability="llm:*", strategy="best", body="x")
    assert hub.cli("send", "left", "--strategy", "all", "x").returncode == 2
    shown = json.loads(hub.cli("caps", "find", "llm:*", "--json", check=True).stdout)
    assert shown["schema"] == "ironmesh.caps_find/1" and len(shown["found"]) == 2, shown
    for daemon in (left, right, hub):
        daemon.stop()


def they_outlive_a_restart_and_are_withdrawn():
    a = lab.daemon("anna").start(*QUICK)
    b = lab.daemon("bert").start(*QUICK, "--peer", a.address)
    b.wait_online(a.id)
    a.wait_online(b.id)
    b.call("caps.set", capabilities=["chat:de"])
    wait_for(lambda: found(a, "chat:*"), what="chat:de at anna")
    b.restart()
    assert found(b) == [("bert", "chat:de")]
    b.wait_online(a.id)
    wait_for(lambda: found(a, "chat:*"), what="chat:de again")
    b.call("caps.remove", capabilities=["chat:de"])
    wait_for(lambda: not found(a), timeout=15, what="the withdrawal at anna")
    bad = b.refused("caps.add", "usage", capabilities=["no-namespace"])
    assert "namespace:name" in bad.means, bad.means
    b.refused("caps.add", "usage", capabilities=[7])
    a.stop(), b.stop()


def a_change_can_wait_for_the_operator():
    a = lab.daemon("cleo").start(*QUICK, "--cap-change", "hold")
    b = lab.daemon("dora").start(*QUICK, "--peer", a.address)
    b.wait_online(a.id)
    a.wait_online(b.id)
    b.call("caps.set", capabilities=["tool:read"])
    wait_for(lambda: found(a, "tool:read"), what="the first set")
    b.call("caps.add", capabilities=["tool:shell"])
    wait_for(lambda: found(a, "tool:shell"), timeout=15, what="the second set")
    sent = b.send("cleo", "run this")
    wait_for(lambda: a.inbox(state="held"), what="held at cleo")
    diff = a.cli("trust", "cap-diff", "dora", check=True).stdout.decode()
    assert "tool:shell" in diff, diff
    a.cli("trust", "cap-accept", "dora", check=True)
    wait_for(lambda: b.call("outbox.show", msg_id=sent["msg_id"])["state"] == "delivered", what="delivered after all")
    assert any(e["event"] == "PEER_CAP_ACCEPTED" for e in a.audit())
    a.stop(), b.stop()


sys.exit(lab.run(said_found_and_written_to, they_outlive_a_restart_and_are_withdrawn, a_change_can_wait_for_the_operator))
