#!/usr/bin/python3
"""Revocations that the whole mesh hears: by one administrator, by several with a file, by a key itself, and on the old wire."""
import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "interop")]
import peer09 as p  # noqa: E402
import wire09 as w9  # noqa: E402
from ironlab import PASSPHRASE, Lab, needs_im2, wait_for  # noqa: E402

lab = Lab("test_revoke", __doc__)
# alice, bob and carol are the administrators; dave and erin are not.
alice, bob, carol, dave, erin = NODES = [lab.daemon(n) for n in ("alice", "bob", "carol", "dave", "erin")]


def key(daemon):
    return json.loads(daemon.cli("keys", "show", "--json", "--passphrase-file", daemon.pass_path, check=True).stdout)["public_key"]


OLD = p.OldPeer(name="oldadmin", passphrase=PASSPHRASE)
lab.on_close(OLD.close)
ADMINS = ["--revoke-admins", ",".join(map(key, (alice, bob, carol))), "--revoke-quorum", "2"]


def state(daemon, who):
    return (daemon.peer(who.id) or {}).get("state")


def online(daemon, who):
    return (daemon.peer(who.id) or {}).get("online", False)


def events(daemon):
    return [e["event"] for e in daemon.audit()]


def within(seconds, predicate, what):
    """The wall of the issue: and how long it took."""
    began = time.monotonic()
    wait_for(predicate, timeout=seconds, what=what)
    return time.monotonic() - began


def start(daemon, *peers, **more):
    daemon.start(*ADMINS, "--trust-on-first-use", "--log-level", "debug",
                 *[o for q in peers for o in ("--peer", q.address)], **more)


def everybody_meets():
    start(alice)
    start(bob, alice)
    start(carol, alice, bob)
    start(dave, alice, bob, carol)
    start(erin, alice)
    for daemon in (bob, carol, dave, erin):
        daemon.wait_online(alice.id)
    for daemon in (carol, dave):
        daemon.wait_online(bob.id)
    dave.wait_online(carol.id)
    assert alice.status()["revocation"]["quorum"] == 2
    assert len(alice.status()["revocation"]["admins"]) == 3


def only_administrators_speak_for_the_mesh():
    error = dave.refused("trust.revoke", "denied", peer=alice.id, reason="x", mesh=True)
    assert "trust revoke" in error.next, vars(error)
    assert dave.refused("trust.revoke_draft", "denied", peer=alice.id).exit == 8
    done = dave.cli("trust", "revoke", alice.id, "--mesh", "--reason", "x", "--yes")
    assert done.returncode == 8 and b"next:" in done.stderr, done
    assert alice.refused("trust.revoke", "not-found", peer="nobody", reason="x", mesh=True)


def one_administrator_sets_aside():
    """erin knows alice alone; what she sends is held by everybody, for a day."""
    done = alice.cli("trust", "revoke", dave.id, "--mesh", "--reason", "laptop lost", "--yes")
    assert done.returncode == 0 and b"24 hours" in done.stderr and b"revoke-draft" in done.stderr, done
    assert state(alice, dave) == "pending"
    took = within(1.5, lambda: state(bob, dave) == "pending" and state(carol, dave) == "pending", "set aside everywhere")
    print("    set aside at the others after %.2f s" % took)
    assert "PEER_QUARANTINED" in events(carol) and "REVOCATION_ISSUED" in events(alice)
    dave.send(bob.id, "held")
    wait_for(lambda: bob.status()["inbox"]["held"] == 1, what="message held")
    # Restarted, it still is; the operator's own word ends it here and nowhere else.
    bob.restart()
    assert state(bob, dave) == "pending"
    bob.cli("peers", "approve", dave.id, check=True)
    bob.take_body(b"held")
    assert state(carol, dave) == "pending" and state(bob, dave) == "trusted"
    for daemon in (alice, carol):
        daemon.cli("peers", "approve", dave.id, check=True)
    dave.wait_online(bob.id)


def several_revoke_for_ever():
    path = os.path.join(lab.folder, "revoke.json")
    done = alice.cli("trust", "revoke-draft", dave.id, "--reason", "3", "--note", "key stolen", "--out", path)
    assert done.returncode == 0 and b"1 of 2" in done.stdout and b"revoke-sign" in done.stderr, done
    with open(path) as f:
        shown = json.load(f)
    assert shown["target"] == dave.id and shown["reason"] == 3 and len(shown["signatures"]) == 1, shown
    # Too few.
    done = carol.cli("trust", "revoke-send", path, "--yes")
    assert done.returncode == 8 and b"1 of the 2" in done.stderr, done
    assert dave.cli("trust", "revoke-sign", path, "--yes").returncode == 8
    assert alice.cli("trust", "revoke-sign", path, "--yes").returncode == 1
    # The file goes by hand from machine to machine.
    done = bob.cli("trust", "revoke-sign", path, "--yes")
    assert done.returncode == 0 and b"2 of 2" in done.stdout and b"revoke-send" in done.stderr, done
    erin.stop()
    assert all(online(q, dave) for q in (alice, bob, carol))
    done = carol.cli("trust", "revoke-send", path, "--yes")
    assert done.returncode == 0, done
    assert state(carol, dave) == "revoked"
    took = within(1.5, lambda: not any(online(q, dave) for q in (alice, bob, carol)), "sessions closed")
    print("    sessions closed after %.2f s" % took)
    wait_for(lambda: state(alice, dave) == state(bob, dave) == "revoked", what="revoked everywhere")
    for q in (alice, bob, carol):
        assert "PEER_REVOKED_SIGNED" in events(q), q.name
        assert q.refused("send", "untrusted", to=dave.id, body="x").exit == 5
    # After a restart, and after a hard end.
    alice.restart()
    carol.kill9()
    carol.start()
    assert state(alice, dave) == state(carol, dave) == "revoked"
    assert alice.cli("peers", "approve", dave.id).returncode != 0
    # Whoever was away, and knows dave, hears it from the one it meets.
    start(erin, alice)
    erin.wait_online(alice.id)
    wait_for(lambda: alice.cli("trust", "show", dave.id).returncode == 0, what="trust show")
    time.sleep(1.0)
    assert not online(alice, dave) and not online(bob, dave)


def what_was_changed_on_its_way_is_refused():
    path, spoiled = os.path.join(lab.folder, "second.json"), os.path.join(lab.folder, "spoiled.json")
    alice.cli("trust", "revoke-draft", erin.id, "--out", path, check=True)
    with open(path) as f:
        good = json.load(f)
    with open(os.path.join(lab.folder, "revoke.json")) as f:
        other = json.load(f)
    for change in (dict(good, t=other["t"]), dict(good, signatures=other["signatures"]), dict(good, signatures=[])):
        with open(spoiled, "w") as f:
            json.dump(change, f)
        done = bob.cli("trust", "revoke-send", spoiled, "--yes")
        assert done.returncode in (8, 9), done
    done = bob.cli("trust", "revoke-show", path, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["target"]["id"] == erin.id, done
    assert json.loads(done.stdout)["signatures"] == 1, done
    # What people read in it is not what is signed.
    with open(spoiled, "w") as f:
        json.dump(dict(good, target=carol.id, name="carol"), f)
    done = bob.cli("trust", "revoke-sign", spoiled, "--yes", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["target"]["id"] == erin.id, done
    assert state(alice, erin) == "trusted"
    assert alice.cli("trust", "revoke-draft", erin.id, "--out", path).returncode != 0  # never over a file
    assert bob.cli("trust", "revoke-sign", os.path.join(lab.folder, "nowhere"), "--yes").returncode != 0
    assert bob.cli("trust", "revoke-sign", "-", "--yes").returncode == 2


def a_key_ends_itself():
    assert online(alice, erin)
    done = erin.cli("keys", "revoke")
    assert done.returncode != 0 and b"--yes" in done.stderr, done
    done = erin.cli("keys", "revoke", "--yes")
    assert done.returncode == 0 and erin.id.encode() in done.stdout, done
    took = within(1.5, lambda: state(alice, erin) == "revoked" and not online(alice, erin), "erin refused")
    print("    refused after %.2f s" % took)
    assert "OWN_KEY_REVOKED" in events(erin)
    # bob never met erin: he is told when she comes, and lets her in for nothing.
    erin.restart(*ADMINS, "--trust-on-first-use", "--peer", bob.address)
    wait_for(lambda: state(bob, erin) in ("revoked", None) and "own-identity-revoked" in erin.log(), what="erin refused by bob")
    wait_for(lambda: not online(bob, erin), what="no session of erin with bob")
    time.sleep(1.0)
    assert not online(bob, erin)
    erin.stop()


# --- the old wire ---------------------------------------------------------------------------------------
def revocation(session, target, ago=0, revoker=None, **more):
    me = revoker or session.me
    at = int(time.time() - ago)
    text = (target + me.id + str(at)).encode()
    fields = {"target_node_id": target, "revoker_node_id": me.id, "timestamp": at, "reason": "test",
              "signature": w9.b64(me.sign(text))}
    fields.update(more)
    session.control("REVOCATION", **fields)


def shown(daemon):
    return [e["details"].get("reason") for e in daemon.audit() if e["event"] == "REVOCATION_SHOWN"]


def old_peers_revoke_within_their_right():
    frank = lab.daemon("frank")
    admins = ["--revoke-admins", ",".join([w9.b64(OLD.config.identity.public), key(alice)])]
    frank.start(*admins, "--trust-on-first-use", "--log-level", "debug", "--peer", bob.address)
    frank.wait_online(bob.id)
    stranger = p.OldPeer(name="stranger", passphrase=PASSPHRASE)
    lab.on_close(stranger.close)
    old, other = OLD.dial("127.0.0.1", frank.port), stranger.dial("127.0.0.1", frank.port)
    for peer in (OLD, stranger):
        wait_for(lambda: (frank.peer(peer.id) or {}).get("online"), what="%s online" % peer.config.name)
    # Trusted, and no administrator: shown, nothing more.
    revocation(other, bob.id)
    wait_for(lambda: "its sender is no administrator" in shown(frank), what="shown")
    assert state(frank, bob) == "trusted"
    # An administrator's own words in another's mouth, a spoiled signature, no sense at all.
    dropped = frank.counters()["frames_dropped"]
    revocation(other, bob.id, revoker=OLD.config.identity)
    revocation(old, bob.id, signature=w9.b64(bytes(64)))
    revocation(old, bob.id, timestamp="soon")
    wait_for(lambda: frank.counters()["frames_dropped"] >= dropped + 3, what="three refused")
    revocation(old, bob.id, ago=31 * 86400)
    revocation(old, bob.id, ago=-400)
    wait_for(lambda: {"older than 30 days", "from the future"} <= set(shown(frank)), what="untimely ones shown")
    assert state(frank, bob) == "trusted" and frank.counters()["revocations_shown"] == 3
    # Not trusted: not even then.
    frank.cli("trust", "set-state", OLD.id, "pending", check=True)
    revocation(old, bob.id)
    wait_for(lambda: "its sender is not trusted" in shown(frank), what="shown again")
    frank.cli("peers", "approve", OLD.id, check=True)
    revocation(old, bob.id)
    wait_for(lambda: state(frank, bob) == "pending", what="bob set aside")
    assert "PEER_REVOKED_SIGNED" in events(frank)
    # And of itself everybody is believed.
    revocation(other, stranger.id)
    wait_for(lambda: frank.peer(stranger.id)["state"] == "revoked", timeout=1.5, what="the stranger ended itself")
    assert other.over.wait(2)
    frank.stop()


def old_neighbours_are_told():
    alice.restart()
    session = OLD.dial("127.0.0.1", alice.port)
    wait_for(lambda: (alice.peer(OLD.id) or {}).get("online"), what="old neighbour online")
    alice.cli("trust", "pin", "ghost", w9.b64(w9.Identity().public), check=True)
    ghost = alice.peer("ghost")["id"]
    alice.call("trust.revoke", peer=ghost, reason="for the old ones", mesh=True)

    def told():
        return [json.loads(m.payload) for m in session.controls if m.type == "REVOCATION"]
    wait_for(lambda: told(), what="REVOCATION at the old neighbour")
    got = told()[0]
    text = (got["target_node_id"] + got["revoker_node_id"] + str(got["timestamp"])).encode()
    assert got["target_node_id"] == ghost and got["revoker_node_id"] == alice.id and got["reason"] == "for the old ones", got
    assert w9.verify(session.remote.public, text, w9.unb64(got["signature"]))
    frame = [m for m in session.controls if m.type == "REVOCATION"][0]
    assert isinstance(got["timestamp"], int) and frame.destination == "*" and frame.ttl == 3, frame.destination
    assert list(got)[:2] == ["type", "from"] and got["from"] == alice.id, got
    session.close()


lab.run(*[needs_im2(t) for t in (
    everybody_meets, only_administrators_speak_for_the_mesh, one_administrator_sets_aside, several_revoke_for_ever,
    what_was_changed_on_its_way_is_refused, a_key_ends_itself, old_peers_revoke_within_their_right, old_neighbours_are_told)])
