#!/usr/bin/python3
"""A daemon with a list of allowed peers talks to nobody else, and says why; pending peers, decided without a screen.

The commands that the program shows are run as printed.
"""
import json
import os
import shlex
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "interop")]
import peer09 as p  # noqa: E402
from ironlab import PASSPHRASE, Lab, body_of, wait_for  # noqa: E402

lab = Lab("test_allow", __doc__)
guard, alice, bob = lab.daemon("guard"), lab.daemon("alice"), lab.daemon("bob")
carol = lab.daemon("carol")
events = None


def run_shown(daemon, text, *more):
    """Runs the command `text`; what stands behind three spaces is a remark."""
    args = shlex.split(text.split("   ")[0])
    assert args[0] == "ironmesh", text
    return daemon.cli(*args[1:], *more, check=True)


def pending(daemon, *options):
    return json.loads(daemon.cli("peers", "pending", "--json", *options, check=True).stdout)


def refused(daemon, who, reason, name=None):
    """The entry of `peers refused`, once it is there."""
    def look():
        for x in daemon.call("peers.refused")["refused"]:
            if x["id"] == who and x["reason"] == reason and (name is None or x["name"] == name):
                return x
        return None
    return wait_for(look, what="%s refused for %s at %s" % (who, reason, daemon.name))


def audited(daemon, word, who):
    return [e for e in daemon.audit() if e["event"] == word and e["details"].get("peer_id", e["details"].get("now")) == who]


def told(who, reason):
    return events.wait_event(lambda e: e["type"] == "peer.refused" and e.get("peer") == who and e.get("reason") == reason, 10)


# --- the list --------------------------------------------------------------------------------------------
def a_listed_name_waits_and_is_approved_as_shown():
    global events
    guard.start("--log-level", "debug", "--allowed-peers", "alice", "--allowed-peers", "carol")
    events = guard.connect()
    events.call("events.subscribe", types=["peer."])
    assert guard.status()["allowed_peers"] == 2
    for d in (alice, carol):
        d.start("--trust-on-first-use", "--peer", guard.address)
        wait_for(lambda: [q for q in pending(guard)["pending"] if q["id"] == d.id], what="%s pending" % d.name)
        entry = [q for q in pending(guard)["pending"] if q["id"] == d.id][0]
        assert entry["state"] == "pending" and entry["name"] == d.name and entry["fingerprint"], entry
        d.send(guard.id, "from %s" % d.name)
        wait_for(lambda: [q for q in pending(guard)["pending"] if q["id"] == d.id and q["held"] == 1], what="held")
        assert ("from %s" % d.name).encode() not in [body_of(m) for m in guard.inbox()]
        run_shown(guard, entry["next"])
        guard.take_body("from %s" % d.name)
        assert guard.send(d.name, "welcome", wait_ms=8000)["state"] == "delivered"
    assert not pending(guard)["pending"]


def bob_is_refused_and_it_is_said_everywhere():
    bob.start("--trust-on-first-use", "--peer", guard.address)
    entry = refused(guard, bob.id, "denied", "bob")
    assert not entry["dialled"] and entry["count"] >= 1 and entry["address"].startswith("127.0.0.1"), entry
    assert entry["next"].startswith("ironmesh run --allowed-peers %s " % bob.id), entry
    event = told(bob.id, "denied")
    assert event["next"] == entry["next"] and event["name"] == "bob", event
    status = guard.status()["refused"]
    assert status["contacts"] >= 1 and bob.id in [x["id"] for x in status["last"]], status
    assert audited(guard, "PEER_REFUSED", bob.id)
    shown = guard.cli("status", check=True).stdout.decode()
    assert "bob from 127.0.0.1" in shown and "denied" in shown, shown
    done = guard.cli("peers", "refused", check=True)
    assert bob.id in done.stdout.decode() and "--allowed-peers %s" % bob.id in done.stderr.decode(), done
    # Neither side has the other: nothing was said to him but no.
    assert guard.peer(bob.id) is None and bob.peer(guard.id) is None
    assert guard.counters()["contacts_refused"] >= 1


def a_spoofed_alice_is_an_alarm():
    spoof = lab.daemon("alice", home="spoof")
    spoof.start("--trust-on-first-use", "--peer", guard.address)
    refused(guard, spoof.id, "key-changed", "alice")
    told(spoof.id, "key-changed")
    alarm = [a for a in guard.status()["alarms"] if a["subject"] == "alice"][0]
    assert (alarm["was"], alarm["now"]) == (alice.id, spoof.id), alarm
    assert [e for e in guard.audit() if e["event"] == "TOFU_MISMATCH" and e["details"]["subject"] == "alice"]
    assert guard.peer("alice")["id"] == alice.id and guard.peer("alice")["online"]
    assert spoof.peer(guard.id) is None
    spoof.stop()


def the_old_wire_is_no_way_around():
    for name, reason in (("mallory", "denied"), ("alice", "key-changed")):
        me = p.Identity()
        try:
            session = p.OldPeer(identity=me, name=name, passphrase=PASSPHRASE).dial("127.0.0.1", guard.port)
            assert session.over.wait(5), "%s came in" % name
        except (p.HandshakeError, ConnectionError):
            pass
        refused(guard, me.id, reason, name)
        assert guard.peer(me.id) is None


def the_old_key_of_carol_is_refused():
    shutil.copytree(carol.home, os.path.join(lab.folder, "carol-old"), ignore=shutil.ignore_patterns("*.sock", "lock"))
    was = carol.id
    carol.cli("keys", "rotate", "--yes", check=True)
    carol.process.wait(20)
    carol.drop_control()
    carol.process = None
    del carol._id
    carol.start()
    now = carol.id
    assert now != was
    if lab.im2 == "off":  # nothing signed: the operator is asked
        refused(guard, now, "key-changed", "carol")
        guard.cli("trust", "repin", "carol", now, "--yes", check=True)
    guard.wait_online(now)
    carol.stop()
    old = lab.daemon("carol", home="carol-old")
    old.start("--trust-on-first-use", "--peer", guard.address)
    assert old.id == was
    refused(guard, was, "untrusted")
    told(was, "untrusted")
    assert audited(guard, "PEER_REFUSED", was)
    assert not (guard.peer(was) or {}).get("online")
    old.stop()
    carol.start()
    guard.wait_online(now)


def the_list_holds_for_dials_and_for_who_is_known_already():
    """bob was trusted before there was a list."""
    for d in (guard, bob):
        d.stop()
    guard.start("--trust-on-first-use")
    bob.start()
    guard.wait_online(bob.id)
    assert guard.peer(bob.id)["state"] == "trusted"
    guard.stop()
    listed = os.path.join(lab.folder, "listed.txt")
    with open(listed, "w") as f:
        f.write("# who may\nalice, carol\n")
    for d in (alice, carol):
        d.stop()
    before = bob.counters()["links_accepted"]
    guard.start("--allowed-peers", listed, "--peer", "%s#%s" % (bob.address, bob.id))
    assert guard.status()["allowed_peers"] == 2
    entry = wait_for(lambda: [x for x in guard.call("peers.refused")["refused"] if x["id"] == bob.id and x["dialled"]],
                     what="a dial that was refused")[0]
    target = [q for q in guard.call("peers.list")["peers"] if q["id"] == bob.id][0]
    assert "not among the allowed peers" in target["connecting"], target
    assert guard.refused("send", "denied", to=bob.id, body="x").exit == 8
    refused(guard, bob.id, "denied")
    assert not guard.peer(bob.id)["online"]
    assert bob.counters()["links_accepted"] == before, "nobody is dialled who is not on the list"
    # The command that it shows, with the rest of its options.
    options = shlex.split(entry["next"].split("   ")[0])[2:]
    guard.stop()
    guard.start("--allowed-peers", listed, *options, "--peer", "%s#%s" % (bob.address, bob.id))
    guard.wait_online(bob.id)
    assert guard.send("bob", "hello", wait_ms=8000)["state"] == "delivered"
    # And by an alias that is on the list, at run time.
    guard.stop()
    guard.start("--allowed-peers", "workshop", "--peer", "%s#%s" % (bob.address, bob.id))
    refused(guard, bob.id, "denied")
    guard.cli("peers", "alias", bob.id, "workshop", check=True)
    guard.wait_online(bob.id)
    guard.cli("peers", "alias", bob.id, "--remove", check=True)
    guard.wait_offline(bob.id)
    refused(guard, bob.id, "denied")
    for d in (guard, bob):
        d.stop()


# --- without a screen ----------------------------------------------------------------------------------------
def held_then_ignored_then_approved():
    hugo, eve = lab.daemon("hugo"), lab.daemon("eve")
    hugo.start()
    watch = hugo.connect()
    watch.call("events.subscribe", types=["peer.", "inbox."])
    eve.start("--trust-on-first-use", "--peer", hugo.address)
    watch.wait_event(lambda e: e["type"] == "peer.pending" and e["peer"] == eve.id)
    eve.wait_online(hugo.id)
    got = eve.send(hugo.id, "one", wait_ms=500)
    watch.wait_event(lambda e: e["type"] == "inbox.held")
    entry = pending(hugo)["pending"][0]
    assert entry["held"] == 1 and pending(hugo)["held"] == 1, entry
    table = hugo.cli("peers", "pending", check=True)
    assert b"eve" in table.stdout and ("peers approve %s" % eve.id).encode() in table.stderr, table
    hugo.cli("peers", "ignore", "eve", check=True)
    watch.wait_event(lambda e: e["type"] == "peer.ignored" and e["peer"] == eve.id)
    wait_for(lambda: eve.call("outbox.show", msg_id=got["msg_id"])["state"] == "rejected", what="it was refused")
    assert eve.send(hugo.id, "two", wait_ms=8000)["state"] == "rejected"
    assert not pending(hugo)["pending"] and pending(hugo)["ignored"] == 1
    assert pending(hugo, "--all")["pending"][0]["ignored"] and not hugo.inbox(state="held")
    # Nothing of it is told any more.
    eve.restart()
    eve.wait_online(hugo.id)
    hugo.wait_online(eve.id)
    eve.stop()
    hugo.wait_offline(eve.id)
    eve.start()
    hugo.wait_online(eve.id)
    hugo.cli("peers", "approve", "eve", check=True)
    heard = []
    while not heard or heard[-1]["type"] != "peer.approved":
        heard.append(watch.next_event(5))
    assert {e["type"] for e in heard} == {"peer.approved"}, heard
    assert eve.send(hugo.id, "three", wait_ms=8000)["state"] == "delivered"
    assert [body_of(m) for m in hugo.inbox()] == [b"three"]
    assert hugo.cli("peers", "ignore", "eve").returncode == 1
    watch.close()
    hugo.cli("peers", "block", "eve", "--reason", "enough", check=True)
    hugo.wait_offline(eve.id)
    refused(hugo, eve.id, "untrusted")


def without_a_daemon_too():
    hugo, eve = lab.daemons["hugo"], lab.daemons["eve"]
    dora = lab.daemon("dora")
    dora.start("--trust-on-first-use", "--peer", hugo.address)
    dora.wait_online(hugo.id)
    for i in range(3):
        dora.send(hugo.id, "held %d" % i)
    wait_for(lambda: hugo.status()["inbox"]["held"] == 3, what="3 held")
    hugo.stop()
    entry = pending(hugo)["pending"][0]
    assert entry["id"] == dora.id and entry["held"] == 3 and not entry["online"], entry
    assert hugo.cli("peers", "refused").returncode == 3
    hugo.cli("peers", "ignore", "dora", check=True)
    assert not pending(hugo)["pending"]
    assert pending(hugo, "--all")["pending"][0]["held"] == 0
    hugo.start()
    dora.wait_online(hugo.id)
    assert dora.send(hugo.id, "refused", wait_ms=8000)["state"] == "rejected"
    hugo.stop()
    hugo.cli("peers", "approve", dora.id, check=True)
    hugo.start()
    dora.wait_online(hugo.id)
    assert dora.send(hugo.id, "welcome", wait_ms=8000)["state"] == "delivered"
    for d in (hugo, eve, dora):
        d.stop()


# --- capabilities -----------------------------------------------------------------------------------------------
def changed_capabilities_wait_for_the_operator():
    vera, otto = lab.daemon("vera"), lab.daemon("otto")
    vera.start("--trust-on-first-use", "--cap-change", "hold")
    otto.start("--trust-on-first-use", "--peer", vera.address)
    otto.wait_online(vera.id)
    otto.call("caps.set", capabilities=["chat:v1"])
    wait_for(lambda: vera.call("trust.cap_diff", peer="otto")["kept"] == ["chat:v1"], 20, what="a baseline")
    assert audited(vera, "PEER_CAP_BASELINE", otto.id)
    assert otto.send(vera.id, "before", wait_ms=8000)["state"] == "delivered"
    otto.call("caps.set", capabilities=["chat:v1", "shell:root"])
    wait_for(lambda: vera.peer("otto")["state"] == "pending-cap-change", 30, what="the change")
    assert audited(vera, "PEER_CAP_SET_CHANGED", otto.id)
    got = otto.send(vera.id, "meanwhile", wait_ms=500)
    wait_for(lambda: vera.peer("otto")["held"] == 1, what="held")
    assert vera.peer("otto")["online"], "its session stays"
    entry = pending(vera)["pending"][0]
    assert entry["state"] == "pending-cap-change" and entry["held"] == 1, entry
    shown = run_shown(vera, entry["next"])
    assert b"+ shell:root" in shown.stdout and b"cap-accept" in shown.stderr, shown
    vera.cli("trust", "cap-accept", "otto", check=True)
    wait_for(lambda: otto.call("outbox.show", msg_id=got["msg_id"])["state"] == "delivered", what="delivered")
    vera.take_body("meanwhile")
    assert audited(vera, "PEER_CAP_ACCEPTED", otto.id) and vera.peer("otto")["state"] == "trusted"
    assert vera.cli("trust", "cap-accept", "otto").returncode == 1
    for d in (vera, otto):
        d.stop()


sys.exit(lab.run(a_listed_name_waits_and_is_approved_as_shown, bob_is_refused_and_it_is_said_everywhere,
                 a_spoofed_alice_is_an_alarm, the_old_wire_is_no_way_around, the_old_key_of_carol_is_refused,
                 the_list_holds_for_dials_and_for_who_is_known_already, held_then_ignored_then_approved,
                 without_a_daemon_too, changed_capabilities_wait_for_the_operator))
