#!/usr/bin/python3
"""Invites of the published form: between our daemons, for peers of the old software and by them."""
import json
import os
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "interop")]
import peer09 as p  # noqa: E402
import wire09 as w9  # noqa: E402
from ironlab import PASSPHRASE, Lab, needs_im2, wait_for  # noqa: E402

import base64  # noqa: E402

lab = Lab("test_invite", __doc__)
alice, bob, carol, dave = [lab.daemon(n) for n in ("alice", "bob", "carol", "dave")]


def state(daemon, who):
    return (daemon.peer(who.id) or {}).get("state")


def events(daemon):
    return [e["event"] for e in daemon.audit()]


def create(daemon, **more):
    return daemon.call("invite.create", **more)


def token_of(identity, endpoint, **more):
    """A token as the old software makes it."""
    now = time.time()
    body = {"version": 1, "nonce": os.urandom(16).hex(), "inviter_id": identity.id, "inviter_key": w9.b64(identity.public),
            "endpoint": endpoint, "issued_at": now, "expires_at": now + 900.0, "allowed_peers": "", "profile": "lan"}
    body.update(more)
    text = w9.canonical(body)
    text = text.encode() if isinstance(text, str) else text
    body["signature"] = w9.b64(identity.sign(b"ironmesh-sig-v1/invite\0" + text))
    text = w9.canonical(body)
    text = text.encode() if isinstance(text, str) else text
    return "ironmesh-invite-v1:" + base64.urlsafe_b64encode(text).decode().rstrip("=")


# --- between our own ------------------------------------------------------------------------------------
def one_machine_is_let_in_once():
    for d in (alice, bob, carol):
        d.start("--log-level", "debug")
    made = alice.cli("invite", "create", "--endpoint", alice.address, "--allow", "alice,bob")
    assert made.returncode == 0, made
    token = made.stdout.decode().strip()
    assert token.startswith("ironmesh-invite-v1:") and "\n" not in token, made.stdout
    assert b"ironmesh-invite-v1" not in made.stderr, made.stderr
    done = bob.cli("invite", "accept", "-", stdin=token.encode() + b"\n")
    assert done.returncode == 0 and alice.address.encode() in done.stdout, done
    assert state(alice, bob) == "pending" and alice.peer(bob.id)["via"] == "invite"
    assert state(bob, alice) == "trusted" and bob.peer(alice.id)["via"] == "invite"
    entry = alice.call("invite.list")["invites"][0]
    assert entry["state"] == "spent" and entry["spent_by"]["id"] == bob.id, entry
    assert "INVITE_ACCEPTED" in events(alice) and "INVITE_FOLLOWED" in events(bob)
    # Nobody else.
    again = carol.cli("invite", "accept", "-", stdin=token.encode())
    assert again.returncode == 75 and b"next:" in again.stderr, again
    assert state(alice, carol) is None
    rejected = [e for e in alice.audit() if e["event"] == "INVITE_REJECTED"]
    assert rejected and rejected[-1]["details"]["reason"] == "spent", rejected
    # What was invited is an ordinary peer from then on, over im2 where both speak it.
    bob.wait_online(alice.id)
    assert bob.peer(alice.id)["generation"] == ("im2" if lab.im2 == "on" else "0.9"), bob.peer(alice.id)
    bob.send(alice.id, "held until approved")
    alice.cli("peers", "approve", bob.id, check=True)
    alice.take_body(b"held until approved")


def the_token_is_nowhere_but_where_it_was_asked_for():
    made = create(alice, endpoint=alice.address)
    secret = made["token"].split(":", 1)[1]
    assert bob.cli("invite", "accept", "@" + write("token", made["token"])).returncode in (0, 75, 5, 8)
    for d in (alice, bob, carol):
        d.stop()
    for d in (alice, bob, carol):
        for folder, _, files in os.walk(d.home):
            for name in files:
                with open(os.path.join(folder, name), "rb") as f:
                    assert secret.encode() not in f.read(), (folder, name)
        with open(d.log_path, "rb") as f:
            assert secret.encode() not in f.read(), d.log_path
    for d in (alice, bob, carol):
        d.start()
    assert "token" not in json.dumps(alice.call("invite.list"))


def write(name, text):
    path = os.path.join(lab.folder, name)
    with open(path, "w") as f:
        f.write(text + "\n")
    return path


def its_maker_may_trust_its_bearer():
    dave.start()
    made = create(alice, endpoint=alice.address, trust=True, ttl_ms=60000)
    assert made["trust"] and made["expires_ms"] - made["issued_ms"] == 60000, made
    assert dave.cli("invite", "accept", "@" + write("trusted", made["token"])).returncode == 0
    wait_for(lambda: state(alice, dave) == "trusted", what="dave trusted")
    dave.wait_online(alice.id)
    dave.send(alice.id, "at once")
    alice.take_body(b"at once")
    # The address was learned: a restart needs no --peer, where discovery (which tells hints too) is not switched off.
    dave.restart("--discovery", "fleet")
    dave.wait_online(alice.id)
    dave.restart("--log-level", "debug")


def a_list_of_allowed_peers_lets_the_invited_in():
    erin = lab.daemon("erin")
    alice.restart("--allowed-peers", "somebody-else")
    erin.start()
    token = create(alice, endpoint=alice.address)["token"]
    assert erin.cli("invite", "accept", "-", stdin=token.encode()).returncode == 0
    assert state(alice, erin) == "pending"
    alice.wait_online(erin.id)
    alice.restart("--allowed-peers", "somebody-else")
    alice.wait_online(erin.id)
    # carol, who was not invited, is refused.
    carol.restart("--peer", alice.address)
    wait_for(lambda: alice.status()["refused"], what="carol refused")
    assert state(alice, carol) is None
    erin.stop()
    carol.restart("--log-level", "debug")
    alice.restart("--log-level", "debug")


def revoked_expired_and_spoiled():
    made = create(alice, endpoint=alice.address)
    gone = alice.cli("invite", "revoke", made["id"][:8])
    assert gone.returncode == 0, gone
    done = carol.cli("invite", "accept", "-", stdin=made["token"].encode())
    assert done.returncode == 75, done
    assert state(alice, carol) is None
    assert alice.refused("invite.revoke", "not-found", id="zzzz").next
    short = create(alice, endpoint=alice.address, ttl_ms=1000)
    old = token_of(w9.Identity(), alice.address, issued_at=time.time() - 1000, expires_at=time.time() - 31)
    assert carol.refused("invite.accept", "expired", token=old)
    assert carol.refused("invite.accept", "again", token=token_of(w9.Identity(), "a:1", issued_at=time.time() + 60,
                                                                  expires_at=time.time() + 900))
    assert carol.refused("invite.accept", "malformed", token="ironmesh-invite-v1:AAAA")
    assert carol.refused("invite.accept", "malformed", token="hello")
    spoiled = short["token"][:-30] + ("A" if short["token"][-30] != "A" else "B") + short["token"][-29:]
    assert carol.refused("invite.accept", None, token=spoiled)
    assert alice.refused("invite.accept", "self", token=short["token"])
    table = alice.cli("invite", "list")
    assert table.returncode == 0 and b"revoked" in table.stdout and b"spent" in table.stdout, table


def a_wrong_door_is_told_from_the_right_one():
    """The endpoint of the token is another node: it is refused, and nobody is pinned but the inviter."""
    frank = lab.daemon("frank")
    frank.start()
    ghost = w9.Identity()
    error = frank.refused("invite.accept", None, token=token_of(ghost, alice.address))
    assert "ended the connection" in error.message, vars(error)
    assert state(frank, alice) is None and state(alice, frank) is None
    nobody = frank.refused("invite.accept", None, token=token_of(ghost, "127.0.0.1:%d" % lab.port()))
    assert "does not answer" in nobody.message, vars(nobody)
    frank.stop()


def a_silent_inviter_holds_nobody_up():
    """Something that accepts and says nothing: one invite at a time, and the daemon stops in the middle of it."""
    henry = lab.daemon("henry")
    henry.start("--log-level", "debug")
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(5)
    token = token_of(w9.Identity(), "127.0.0.1:%d" % silent.getsockname()[1])
    waiting = henry.connect()
    asked = waiting.ask("invite.accept", token=token)
    time.sleep(0.3)
    assert henry.refused("invite.accept", "again", token=token).next
    # Who asked goes away; what it began goes on, and the next one may ask later.
    waiting.close()
    assert henry.status()["name"] == "henry" and asked
    again = henry.connect()
    again.ask("invite.accept", token=token)
    time.sleep(0.1)
    assert henry.stop() == 0
    again.close()
    silent.close()


@needs_im2
def required_im2_knows_no_invites():
    gina = lab.daemon("gina")
    gina.start("--require-im2")
    error = gina.refused("invite.create", "state", endpoint=gina.address)
    assert error.next == "ironmesh pair", vars(error)
    error = gina.refused("invite.accept", "downgrade", token=create(alice, endpoint=alice.address)["token"])
    assert error.next == "ironmesh pair", vars(error)
    gina.stop()


@needs_im2
def nobody_is_taken_back_to_the_old_wire():
    """bob has spoken im2 with alice: an invite changes nothing about that (im2.md 4.3)."""
    token = create(alice, endpoint=alice.address)["token"]
    error = bob.refused("invite.accept", "downgrade", token=token)
    assert "peers approve" in error.next, vars(error)
    assert alice.call("invite.list")["invites"][0]["state"] == "open"


# --- a crash in between ----------------------------------------------------------------------------------
def kill_in_between(rounds=6):
    """alice dies about the moment of the pin: never spent without a pin, never two pins for one token."""
    for k in range(rounds):
        one = lab.daemon("k%da" % k)
        two = lab.daemon("k%db" % k)
        one.start()
        two.start()
        token = create(alice, endpoint=alice.address)["token"]
        calling = subprocess.Popen([lab.binary, "--home", one.home, "invite", "accept", "@" + write("k", token)],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.005 + 0.012 * k)
        alice.kill9()
        calling.wait(40)
        alice.start()
        entry = alice.call("invite.list")["invites"][0]
        pinned = [d for d in (one, two) if state(alice, d)]
        assert (entry["state"] == "spent") == bool(pinned), (entry, pinned)
        done = two.cli("invite", "accept", "-", stdin=token.encode(), timeout=60)
        assert (done.returncode == 0) == (not pinned), (done, entry)
        via = [d for d in (one, two) if (alice.peer(d.id) or {}).get("via") == "invite"]
        assert len(via) == 1, via
        one.stop()
        two.stop()


# --- the old software -------------------------------------------------------------------------------------
def invited(token, name):
    """An old peer that puts a token into its HELLO."""
    peer = p.OldPeer(name=name, passphrase=PASSPHRASE, tamper={"hello": lambda hello: dict(hello, invite_token=token)})
    lab.on_close(peer.close)
    return peer


def an_old_peer_is_invited():
    token = create(alice, endpoint=alice.address)["token"]
    old = invited(token, "oldjoiner")
    session = old.dial("127.0.0.1", alice.port)
    wait_for(lambda: (alice.peer(old.id) or {}).get("online"), what="old joiner online")
    assert alice.peer(old.id)["state"] == "pending" and alice.peer(old.id)["via"] == "invite"
    session.close()
    for bad in (token, "ironmesh-invite-v1:AAAA", "x" * 5000, 7, {"a": 1}, "\x1b[2J"):
        other = invited(bad, "oldother")
        try:
            other.dial("127.0.0.1", alice.port).over.wait(5)
        except (w9.HandshakeError, OSError):
            pass
        assert alice.peer(other.id) is None, bad
    # The same identity says it again: it did not hear of it.
    session = old.dial("127.0.0.1", alice.port)
    wait_for(lambda: (alice.peer(old.id) or {}).get("online"), what="old joiner online again")
    session.close()
    # null is as good as nothing.
    plain = invited(None, "plain")
    plain.dial("127.0.0.1", alice.port)
    wait_for(lambda: alice.peer(plain.id), what="plain peer")
    assert alice.peer(plain.id)["via"] == "tofu", alice.peer(plain.id)


def an_old_peer_invites():
    inviter = p.OldPeer(name="oldinviter", passphrase=PASSPHRASE)
    lab.on_close(inviter.close)
    port = lab.port()
    seen = []
    receive = w9._receive

    def spy(channel, timeout):
        got = receive(channel, timeout)
        if isinstance(got, dict) and got.get("type") == "HELLO":
            seen.append(got.get("invite_token"))
        return got
    w9._receive = spy
    try:
        carol.restart("--allow-plaintext-ws", "--log-level", "debug")
        inviter.listen(port)
        token = token_of(inviter.config.identity, "127.0.0.1:%d" % port, allowed_peers="x,y", profile="homelab")
        got = carol.call("invite.accept", token=token, timeout=40)
        assert got["peer"]["id"] == inviter.id and got["allowed_peers"] == "x,y", got
        assert token in seen, seen
        peer = carol.peer(inviter.id)
        assert peer["state"] == "trusted" and peer["online"] and peer["name"] == "oldinviter", peer
    finally:
        w9._receive = receive


lab.run(one_machine_is_let_in_once, the_token_is_nowhere_but_where_it_was_asked_for, its_maker_may_trust_its_bearer,
        a_list_of_allowed_peers_lets_the_invited_in, revoked_expired_and_spoiled, a_wrong_door_is_told_from_the_right_one,
        a_silent_inviter_holds_nobody_up, required_im2_knows_no_invites, nobody_is_taken_back_to_the_old_wire, an_old_peer_is_invited, an_old_peer_invites,
        kill_in_between)
