#!/usr/bin/python3
"""`ironmesh keys rotate` among real daemons: who hears of it follows, who was away is told what to do."""
import os
import re
import shlex
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from ironlab import Lab, body_of, wait_for  # noqa: E402

lab = Lab("test_rotation", __doc__)
alice, bob, carol = lab.daemon("alice"), lab.daemon("bob"), lab.daemon("carol")


def rotate(daemon):
    """The old id and the new one; the daemon runs again."""
    was = daemon.id
    done = daemon.cli("keys", "rotate", "--yes", check=True)
    daemon.process.wait(20)
    daemon.drop_control()
    daemon.process = None
    del daemon._id
    daemon.start()
    assert daemon.id != was
    assert "trust repin %s %s" % (daemon.name, daemon.id) in (done.stdout + done.stderr).decode(), done
    return was, daemon.id


def events(daemon):
    return [e["event"] for e in daemon.audit()]


def who_is_connected_follows():
    alice.start("--trust-on-first-use")
    bob.start("--trust-on-first-use", "--peer", "%s#%s" % (alice.address, alice.id))
    bob.wait_online(alice.id)
    assert bob.send(alice.id, "before", wait_ms=8000)["state"] == "delivered"
    was, now = rotate(alice)
    bob.wait_online(now)
    assert bob.peer(now)["state"] == "trusted" and not bob.status()["alarms"]
    assert "KEY_ROTATION_SIGNED" in events(bob)
    got = bob.send(was, "by the old id", wait_ms=8000)
    assert got["to"]["id"] == now and got["rotated_from"] == was and got["state"] == "delivered", got
    done = bob.cli("send", was, "from the command line", check=True)
    assert was in done.stderr.decode() and now in done.stderr.decode(), done
    alice.take_body("by the old id")
    alice.take_body("from the command line")
    assert [body_of(m) for m in alice.inbox()].count(b"before") == 1


def a_peer_given_by_its_old_id_is_dialled_after_a_restart():
    bob.stop()
    bob.start()  # still --peer address#old-id
    bob.wait_online(alice.id)
    assert alice.send("bob", "after the restart", wait_ms=8000)["state"] == "delivered"


def who_was_away_is_told_the_command():
    carol.start("--trust-on-first-use", "--peer", alice.address)
    carol.wait_online(alice.id)
    carol.stop()
    was, now = rotate(alice)
    bob.stop()  # he has heard of it, and could tell carol
    carol.start()
    alarm = wait_for(lambda: [a for a in carol.status()["alarms"] if a["subject"] == "alice"], 15, what="an alarm")[0]
    assert (alarm["was"], alarm["now"]) == (was, now), alarm
    assert "TOFU_MISMATCH" in events(carol)
    assert "trust repin alice %s" % now in carol.log()
    reason = next(p["connecting"] for p in carol.call("peers.list")["peers"] if p.get("static") and not p["online"])
    assert now in reason and ": ironmesh trust list" in reason, reason
    done = carol.cli("trust", "list", check=True)
    shown = re.search(r"ironmesh [^\n]*trust repin alice %s" % now, (done.stdout + done.stderr).decode())
    assert shown, done
    words = shlex.split(shown.group(0))
    words = words[words.index("trust"):]
    carol.cli(*words, "--yes", check=True)
    carol.wait_online(now)
    assert carol.send("alice", "again", wait_ms=8000)["to"]["id"] == now
    alice.take_body("again")


def the_administrators_of_revocation_are_shown():
    keys = []
    for d in (alice, bob, carol):
        keys.append(d.cli("keys", "show", check=True).stdout.decode().split("public key")[1].split()[0])
    alice.restart("--trust-on-first-use", "--revoke-admins", ",".join(keys))
    got = alice.status()["revocation"]
    ids = [alice.id, carol.id]
    assert got["quorum"] == 2 and len(got["admins"]) == 3 and all(i in got["admins"] for i in ids), got
    shown = alice.cli("status", check=True).stdout.decode()
    assert "by 2 of these" in shown and carol.id in shown, shown
    assert carol.status()["revocation"] == {"quorum": 0, "admins": []}
    alice.stop()
    assert alice.start_refused("--revoke-admins", keys[0]) == 2


if lab.im2 == "off":
    print("test_rotation: the old wire has no signed rotation")
    sys.exit(0)
sys.exit(lab.run(who_is_connected_follows, a_peer_given_by_its_old_id_is_dialled_after_a_restart,
                 who_was_away_is_told_the_command, the_administrators_of_revocation_are_shown))
