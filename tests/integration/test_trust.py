#!/usr/bin/python3
"""Who may talk to us, and what the operator sees and does about it.

Where the program shows a command to run next, the test runs that command as it is printed.
"""
import json
import os
import re
import shlex
import shutil
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "interop")]
import peer09 as p  # noqa: E402
from ironlab import PASSPHRASE, Lab, body_of, wait_for  # noqa: E402

lab = Lab("test_trust", __doc__)
alice, bob = lab.daemon("alice"), lab.daemon("bob")


def run_shown(daemon, text):
    """Runs the first command that `text` shows; what stands behind three spaces is a remark."""
    shown = re.search(r"ironmesh ((?:(?!   )[^\n\"])+)", text)
    assert shown, "no command in %r" % text
    args = shlex.split(shown.group(1))
    done = daemon.cli(*args)
    if done.returncode and b"--yes" in done.stderr:
        done = daemon.cli(*args, "--yes")
    assert done.returncode == 0, (args, done)
    return args


def listing(daemon):
    """All that `trust list` shows: the table and the hints."""
    done = daemon.cli("trust", "list")
    assert done.returncode == 0, done
    return (done.stdout + done.stderr).decode()


def states(daemon):
    return {q["id"]: q["state"] for q in daemon.call("peers.list")["peers"] if q["id"]}


def why(daemon, address):
    """Why this static peer is not connected."""
    for q in daemon.call("peers.list")["peers"]:
        if q.get("static") and (address in q.get("addresses", []) or q.get("address") == address):
            return "" if q["online"] else q.get("connecting") or ""
    return None


# --- pending ------------------------------------------------------------------------------------------
def a_new_peer_is_pending():
    alice.start("--log-level", "debug")
    bob.start("--trust-on-first-use", "--log-level", "debug", "--peer", alice.address)
    bob.wait_online(alice.id)
    shown = alice.wait_online(bob.id)
    assert shown["state"] == "pending" and not shown["verified"], shown
    assert alice.status()["peers"]["pending"] == 1 and alice.status()["trust_on_first_use"] is False
    assert "TOFU_NEW_PEER" in [e["event"] for e in alice.audit()]


def nothing_is_sent_to_a_pending_peer():
    error = alice.refused("send", "untrusted", to="bob", body="x")
    assert error.exit == 5 and "peers approve" in error.next and bob.id in error.next, vars(error)
    done = alice.cli("send", bob.id, "x")
    assert done.returncode == 5 and bob.id.encode() in done.stderr, done
    assert alice.status()["outbox"]["queued"] == 0


def messages_of_a_pending_peer_are_held():
    for i in range(5):
        got = bob.send(alice.id, "held %d" % i, wait_ms=300)
        assert got["state"] == "sent" and got["timed_out"], got
    wait_for(lambda: alice.status()["inbox"]["held"] == 5, what="5 held messages")
    assert not alice.inbox() and not alice.call("inbox.take", limit=10)["messages"]
    assert [body_of(m) for m in alice.inbox(state="held")] == [b"held %d" % i for i in range(5)]
    assert alice.peer(bob.id)["held"] == 5
    row = wait_for(lambda: [r for r in bob.outbox() if r.get("reason")], what="a reason at the sender")[0]
    assert row["state"] == "sent" and "approv" in row["reason"], row


def held_messages_survive_kill_9():
    alice.kill9()
    alice.start()
    bob.wait_online(alice.id)
    assert alice.status()["inbox"]["held"] == 5 and not alice.inbox()


def approval_delivers_and_confirms_them():
    error = alice.refused("send", "untrusted", to=bob.id, body="x")
    alice.wait_online(bob.id)
    run_shown(alice, error.next)
    assert alice.peer(bob.id)["state"] == "trusted"
    assert [body_of(m) for m in alice.inbox()] == [b"held %d" % i for i in range(5)]
    wait_for(lambda: all(r["state"] in ("delivered", "read") for r in bob.outbox()), what="delivered at the sender")
    assert alice.send("bob", "welcome", wait_ms=8000)["state"] == "delivered"
    got = bob.send("alice", "thanks", wait_ms=8000)
    assert got["state"] == "delivered", got
    assert [body_of(m) for m in alice.inbox()][-1] == b"thanks"


def the_decision_survives_kill_9():
    alice.kill9()
    alice.start()
    bob.wait_online(alice.id)
    assert states(alice)[bob.id] == "trusted"
    assert alice.send("bob", "again", wait_ms=8000)["state"] == "delivered"


# --- verify, alias, unknown -----------------------------------------------------------------------------
def a_fingerprint_is_compared_in_full():
    mine = bob.call("keys.fingerprint")["fingerprint"]
    wrong = mine[:-1] + ("0" if mine[-1] != "0" else "1")
    error = alice.refused("trust.verify", "auth", peer="bob", fingerprint=wrong)
    assert error.exit == 9, vars(error)
    assert alice.refused("trust.verify", peer="bob", fingerprint=mine[:8]).exit in (2, 9)
    assert not alice.peer("bob")["verified"]
    assert alice.call("trust.verify", peer="bob", fingerprint=mine)["verified"] is True
    assert alice.peer("bob")["verified"] is True


def a_peer_has_an_alias():
    alice.call("peers.alias", peer="bob", alias="bobby")
    assert alice.send("bobby", "by alias", wait_ms=8000)["state"] == "delivered"
    assert alice.peer("bobby")["id"] == bob.id
    alice.call("peers.alias", peer="bobby", alias="")
    error = alice.refused("send", "not-found", to="bobby", body="x")
    assert error.exit == 4, vars(error)


def an_unknown_peer_is_exit_4():
    for who in ("nobody", "ffffffff", "ab" * 16):
        assert alice.refused("send", to=who, body="x").exit == 4
    assert alice.cli("send", "bbo", "x").returncode == 4


# --- block, forget --------------------------------------------------------------------------------------
def a_blocked_peer_is_cut_off():
    got = alice.call("peers.block", peer="bob", reason="too loud")
    assert got["state"] == "blocked", got
    alice.wait_offline(bob.id)
    sent = bob.send(alice.id, "behind the door")
    assert sent["state"] == "queued", sent
    error = alice.refused("send", "untrusted", to=bob.id, body="x")
    assert error.exit == 5, vars(error)
    before = alice.counters()["admission_refused"]
    wait_for(lambda: alice.counters()["admission_refused"] > before, 15, what="bob being refused")
    assert "PEER_REFUSED" in [e["event"] for e in alice.audit()]
    assert not any(body_of(m) == b"behind the door" for m in alice.inbox())
    assert alice.peer(bob.id)["reason"] == "too loud"


def a_blocked_peer_comes_back_by_approval():
    alice.call("peers.approve", peer=bob.id)
    bob.restart()  # does not wait for the back-off
    alice.take_body("behind the door", timeout=20)
    assert alice.send("bob", "welcome back", wait_ms=8000)["state"] == "delivered"


def blocking_drops_what_was_held():
    carol = lab.daemon("carol")
    carol.start("--trust-on-first-use", "--peer", alice.address)
    carol.wait_online(alice.id)
    carol.send(alice.id, "never seen")
    wait_for(lambda: alice.status()["inbox"]["held"] == 1, what="a held message")
    alice.call("peers.block", peer=carol.id)
    assert alice.status()["inbox"]["held"] == 0
    alice.call("peers.approve", peer=carol.id)
    carol.restart()
    carol.wait_online(alice.id)
    carol.send(alice.id, "seen", wait_ms=8000)
    assert not any(body_of(m) == b"never seen" for m in alice.inbox() + alice.inbox(state="held"))


def a_forgotten_peer_is_new_again():
    carol = lab.daemons["carol"]
    alice.call("peers.forget", peer=carol.id)
    carol.restart()
    wait_for(lambda: states(alice).get(carol.id) == "pending", 15, what="carol pending again")
    alice.call("peers.block", peer=carol.id)
    carol.stop()


# --- revoke -----------------------------------------------------------------------------------------------
def a_revocation_is_final():
    dave = lab.daemon("dave")
    dave.start("--trust-on-first-use", "--peer", alice.address)
    dave.wait_online(alice.id)
    alice.call("peers.approve", peer=dave.id)
    assert dave.send(alice.id, "still fine", wait_ms=8000)["state"] == "delivered"
    got = alice.call("trust.revoke", peer=dave.id, reason="key stolen")
    assert got["state"] == "revoked", got
    alice.wait_offline(dave.id)
    for method in ("peers.approve", "peers.forget"):
        assert alice.refused(method, "state", peer=dave.id)
    assert alice.refused("trust.set_state", "state", peer=dave.id, state="trusted")
    assert alice.refused("send", "untrusted", to=dave.id, body="x").exit == 5
    dave.restart()
    before = alice.counters()["admission_refused"]
    wait_for(lambda: alice.counters()["admission_refused"] > before, 15, what="dave being refused")
    alice.kill9()
    alice.start()
    assert states(alice)[dave.id] == "revoked"
    bob.wait_online(alice.id)
    assert alice.call("trust.show", peer=dave.id)["reason"] == "key stolen"
    dave.stop()


# --- key change: the same name -----------------------------------------------------------------------------
def shows_both(text, was, now):
    bare = text.replace(" ", "").replace("\n", "")
    assert was in bare and now in bare, "%s and %s are not both in:\n%s" % (was, now, text)


def a_known_name_with_another_key_is_refused():
    bob.stop()
    mallory = lab.daemon("bob", home="second-bob")
    mallory.start("--trust-on-first-use", "--peer", alice.address)
    alarm = wait_for(lambda: alice.status()["alarms"], 10, what="an alarm")[0]
    assert (alarm["subject"], alarm["kind"]) == ("bob", "name"), alarm
    shows_both(json.dumps(alarm), bob.id, mallory.id)
    assert not (alice.peer(mallory.id) or {}).get("online") and states(alice)[bob.id] == "trusted"
    assert alice.counters()["admission_refused"] >= 1
    shows_both(json.dumps(alice.call("trust.list")["alarms"]), bob.id, mallory.id)
    listed = listing(alice)
    shows_both(listed, bob.id, mallory.id)
    assert re.search(r"ironmesh (--home \S+ )?trust repin bob %s" % mallory.id, listed), listed
    shown = alice.cli("status")
    assert "bob" in (shown.stdout + shown.stderr).decode() and b"alarm" in (shown.stdout + shown.stderr).lower(), shown
    assert re.search(r"key-changed subject=bob", alice.log())
    assert "trust repin bob %s" % mallory.id in alice.log()
    assert "TOFU_MISMATCH" in [e["event"] for e in alice.audit()]


def the_alarm_survives_a_restart_and_counts():
    alice.restart()
    alarm = [a for a in alice.status()["alarms"] if a["subject"] == "bob"]
    assert alarm and alarm[0]["count"] >= 1, alarm


def a_message_for_the_name_waits_for_the_old_key():
    sent = alice.send("bob", "for the bob that I know", wait_ms=1500)
    assert sent["to"]["id"] == bob.id and sent["state"] == "queued", sent
    alice.call("outbox.cancel", msg_id=sent["msg_id"])


def repin_wants_the_new_id_in_full():
    mallory = lab.daemons["second-bob"]
    for wrong in (mallory.id[:16], "00" * 16, "ab" * 16):
        assert alice.refused("trust.repin", subject="bob", id=wrong)
    assert states(alice)[bob.id] == "trusted"


def the_shown_command_accepts_the_new_key():
    mallory = lab.daemons["second-bob"]
    listed = listing(alice)
    line = re.search(r"ironmesh [^\n]*trust repin bob [^\n]*", listed).group(0)
    assert "repin" in run_shown(alice, line)
    assert states(alice)[bob.id] == "revoked" and states(alice)[mallory.id] == "trusted"
    assert not [a for a in alice.status()["alarms"] if a["subject"] == "bob"]
    mallory.restart()
    mallory.wait_online(alice.id)
    got = alice.send("bob", "to the new bob", wait_ms=8000)
    assert got["to"]["id"] == mallory.id and got["state"] == "delivered", got


def the_replaced_key_is_refused_for_ever():
    bob.start()
    before = alice.counters()["admission_refused"]
    wait_for(lambda: alice.counters()["admission_refused"] > before, 15, what="the old bob being refused")
    assert not alice.peer(bob.id)["online"]
    bob.stop()
    lab.daemons["second-bob"].stop()
    alice.stop()


# --- key change: the same address ----------------------------------------------------------------------------
def an_address_that_changes_its_identity_is_refused():
    erin, fred = lab.daemon("erin"), lab.daemon("fred", port=lab.daemons["erin"].port)
    grace = lab.daemon("grace")
    erin.start("--trust-on-first-use")
    grace.start("--trust-on-first-use", "--log-level", "debug", "--peer", erin.address)
    grace.wait_online(erin.id)
    erin.stop()
    # The same TLS key as before, so that it is the identity alone that changed.
    for name in os.listdir(erin.home):
        if name.endswith(".pem") or "tls" in name or "cert" in name:
            shutil.copy2(os.path.join(erin.home, name), os.path.join(fred.home, name))
    fred.start("--trust-on-first-use")
    alarm = wait_for(lambda: grace.status()["alarms"], 20, what="an alarm about the address")[0]
    assert (alarm["subject"], alarm["kind"]) == (erin.address, "address"), alarm
    shows_both(json.dumps(alarm), erin.id, fred.id)
    assert not (grace.peer(fred.id) or {}).get("online")
    assert why(grace, erin.address), "it must say why it is not connected"
    shows_both(listing(grace), erin.id, fred.id)


def the_shown_command_rebinds_the_address():
    grace, fred, erin = (lab.daemons[n] for n in ("grace", "fred", "erin"))
    listed = listing(grace)
    line = re.search(r"ironmesh [^\n]*trust repin [^\n]*", listed).group(0)
    run_shown(grace, line)
    grace.restart()
    grace.wait_online(fred.id)
    assert states(grace)[fred.id] == "trusted" and states(grace)[erin.id] == "revoked"
    assert grace.send("fred", "you live there now", wait_ms=8000)["state"] == "delivered"


def an_address_that_changes_its_tls_key_is_refused():
    grace, fred = lab.daemons["grace"], lab.daemons["fred"]
    fred.stop()
    grace.wait_offline(fred.id)
    gone = [n for n in os.listdir(fred.home) if n.endswith(".pem") or "tls" in n or "cert" in n]
    assert gone, os.listdir(fred.home)
    for name in gone:
        os.unlink(os.path.join(fred.home, name))
    hellos = fred.log().count("handshake-failed")
    fred.start("--trust-on-first-use", "--log-level", "debug")
    alarm = wait_for(lambda: grace.status()["alarms"], 20, what="an alarm about the TLS key")[0]
    assert alarm["subject"] == fred.address, alarm
    assert not grace.peer(fred.id)["online"], "it went on over another TLS key"
    assert re.search(r"error tls-key-changed .*next=\"ironmesh trust repin %s" % re.escape(fred.address), grace.log())
    assert fred.counters()["handshakes_ok"] == 0 and hellos >= 0


def the_shown_command_accepts_the_tls_key():
    grace, fred = lab.daemons["grace"], lab.daemons["fred"]
    line = [one for one in grace.log().splitlines() if "error tls-key-changed" in one][-1]
    run_shown(grace, line[line.index("next="):])
    grace.restart()
    grace.wait_online(fred.id)
    assert states(grace)[fred.id] == "trusted"
    assert grace.send("fred", "over the new key", wait_ms=8000)["state"] == "delivered"
    assert not grace.status()["alarms"], grace.status()["alarms"]


def a_peer_may_be_given_with_its_id():
    grace, fred = lab.daemons["grace"], lab.daemons["fred"]
    grace.restart("--trust-on-first-use", "--peer", "%s#%s" % (fred.address, fred.id))
    grace.wait_online(fred.id)
    grace.restart("--trust-on-first-use", "--peer", "%s#%s" % (fred.address, "ab" * 16))
    wait_for(lambda: any(a["was"] == "ab" * 16 and a["now"] == fred.id for a in grace.status()["alarms"]), 15,
             what="an alarm about the configured id")
    assert not grace.peer(fred.id)["online"]
    grace.stop()
    fred.stop()


# --- allowed peers, version floor, pins by hand ---------------------------------------------------------------
def only_allowed_peers_come_in():
    hugo = lab.daemon("hugo")
    known, named, stranger = p.Identity(), p.Identity(), p.Identity()
    hugo.start("--log-level", "debug", "--allowed-peers", "%s,by-name" % known.id)

    def dial(identity, name):
        session = p.OldPeer(identity=identity, name=name, passphrase=PASSPHRASE).dial("127.0.0.1", hugo.port)
        wait_for(lambda: (hugo.peer(identity.id) or {}).get("online"), what="%s online" % name)
        return session
    dial(known, "by-id")
    assert hugo.peer(known.id)["state"] == "trusted", "an id on the list is a key on the list"
    dial(named, "by-name")
    assert hugo.peer(named.id)["state"] == "pending", "anybody can call himself so"
    try:
        dial(stranger, "stranger")
    except (p.HandshakeError, ConnectionError):
        pass
    else:
        raise AssertionError("an unlisted peer came in")
    assert stranger.id not in states(hugo)
    assert re.search(r"peer-refused peer=%s .*err=denied" % stranger.id, hugo.log())
    hugo.stop()


def an_unlisted_peer_does_not_come_in_by_first_use():
    hugo, stranger = lab.daemons["hugo"], p.Identity()
    hugo.start("--trust-on-first-use", "--allowed-peers", "by-name")
    try:
        session = p.OldPeer(identity=stranger, name="stranger", passphrase=PASSPHRASE).dial("127.0.0.1", hugo.port)
        assert session.over.wait(5)
    except (p.HandshakeError, ConnectionError):
        pass
    assert stranger.id not in states(hugo)
    hugo.stop()


def an_identity_never_speaks_less_than_before():
    hugo, me = lab.daemons["hugo"], p.Identity()
    hugo.start("--trust-on-first-use", "--log-level", "debug", "--connect-rate", "0")

    def dial(**more):
        return p.OldPeer(identity=me, name="setback", passphrase=PASSPHRASE, **more).dial("127.0.0.1", hugo.port)
    dial().close()
    hugo.wait_offline(me.id)
    try:
        session = dial(generation="old")
        assert session.over.wait(5), "0.8 after 0.9 was taken"
    except (p.HandshakeError, ConnectionError):
        pass
    assert not hugo.peer(me.id)["online"]
    refused = re.search(r"peer-refused peer=%s .*err=downgrade.*" % me.id, hugo.log())
    assert refused, hugo.log_tail()
    run_shown(hugo, refused.group(0)[refused.group(0).index("next="):])
    assert me.id not in states(hugo)
    time.sleep(0.8)  # the first step of the ladder of this identity
    dial(generation="old")
    wait_for(lambda: (hugo.peer(me.id) or {}).get("online"), what="0.8 of a forgotten peer")


def who_spoke_im2_is_refused_on_the_old_wire():
    ursa, vega = lab.daemon("ursa"), lab.daemon("vega")
    ursa.start("--im2", "on", "--trust-on-first-use", "--log-level", "debug", "--connect-rate", "0")
    vega.start("--im2", "on", "--trust-on-first-use", "--log-level", "debug", "--peer", ursa.address)
    seen = ursa.wait_online("vega")
    assert seen["suite"] == "im2" and seen["im2_since_ms"] > 0, seen
    assert b"im2" in ursa.cli("peers").stdout
    vega.restart("--im2", "off", "--trust-on-first-use", "--log-level", "debug", "--peer", ursa.address)
    assert vega.status()["im2"]["setting"] == "off" and vega.status()["im2"]["mesh_key"] == "off"
    refused = wait_for(lambda: re.search(r"peer-refused peer=%s .*err=downgrade.*" % vega.id, ursa.log()),
                       what="the refusal")
    wait_for(lambda: "im2" in (why(vega, ursa.address) or ""), what="the reason at the one that was refused")
    seen = ursa.peer(vega.id)
    assert not seen["online"] and seen["suite"] == "im2" and seen["im2_since_ms"] > 0, seen
    assert "DOWNGRADE_REFUSED" in [e["event"] for e in ursa.audit()]
    assert ursa.counters()["downgrades_refused"] >= 1
    # The command that the refusal names lets it in again, and only by --yes.
    run_shown(ursa, refused.group(0)[refused.group(0).index("next="):])
    assert ursa.peer(vega.id)["im2_since_ms"] == 0
    vega.restart("--im2", "off", "--trust-on-first-use", "--log-level", "debug", "--peer", ursa.address)
    assert ursa.wait_online("vega", timeout=20)["suite"] == "0.9"
    # Once it speaks im2 again, the rule holds again.
    vega.restart("--im2", "on", "--trust-on-first-use", "--log-level", "debug", "--peer", ursa.address)
    wait_for(lambda: ursa.peer(vega.id)["suite"] == "im2" and ursa.peer(vega.id)["im2_since_ms"], 20, what="im2 again")


def a_volatile_message_to_the_old_wire_says_what_to_do():
    ursa, vega = lab.daemons["ursa"], lab.daemons["vega"]
    vega.stop()
    ursa.call("trust.allow_downgrade", peer="vega")
    vega.start("--im2", "off", "--trust-on-first-use", "--peer", ursa.address)
    ursa.wait_online("vega", timeout=20)
    error = ursa.refused("send", "closed", to="vega", body="x", volatile=True)
    assert "0.9" in error.message and "--volatile" in error.next and error.exit == 75, vars(error)
    assert ursa.send("vega", "kept", wait_ms=5000)["state"] == "delivered"


def require_speaks_with_nobody_else():
    ursa, vega = lab.daemons["ursa"], lab.daemons["vega"]
    vega.stop()
    ursa.restart("--require-im2", "--trust-on-first-use", "--log-level", "debug", "--connect-rate", "0")
    assert ursa.status()["im2"]["setting"] == "require"
    vega.start("--im2", "off", "--trust-on-first-use", "--peer", ursa.address)
    wait_for(lambda: why(vega, ursa.address), what="a reason")
    time.sleep(0.5)
    assert not ursa.peer(vega.id)["online"]
    vega.restart("--im2", "on", "--trust-on-first-use", "--peer", ursa.address)
    assert ursa.wait_online("vega", timeout=20)["suite"] == "im2"
    assert ursa.stop() == 0 and vega.stop() == 0


def a_key_pinned_by_hand_is_trusted_at_once():
    hugo, me = lab.daemons["hugo"], p.Identity()
    hugo.restart("--log-level", "debug")
    got = hugo.call("trust.pin", public_key=p.b64(me.public), name="ivy")
    assert got["id"] == me.id and got["state"] == "trusted", got
    session = p.OldPeer(identity=me, name="ivy", passphrase=PASSPHRASE).dial("127.0.0.1", hugo.port)
    wait_for(lambda: hugo.peer(me.id)["online"], what="ivy online")
    hugo.send("ivy", "hello ivy")
    assert session.recv().payload == b"hello ivy"
    other = p.Identity()
    try:
        p.OldPeer(identity=other, name="ivy", passphrase=PASSPHRASE).dial("127.0.0.1", hugo.port)
        raise AssertionError("another key took a pinned name")
    except (p.HandshakeError, ConnectionError):
        pass
    assert any(a["subject"] == "ivy" and a["now"] == other.id for a in hugo.status()["alarms"])
    session.close()


# --- a damaged store, a second daemon ----------------------------------------------------------------------------
def a_damaged_trust_store_is_kept_and_nobody_admitted():
    hugo = lab.daemons["hugo"]
    hugo.stop()
    path = os.path.join(hugo.home, "known_peers.json")
    with open(path, "rb") as f:
        good = f.read()
    at = good.index(b'"ciphertext"') + 60
    damaged = good[:at] + (b"A" if good[at:at + 1] != b"A" else b"B") + good[at + 1:]
    for text in (damaged, good[:len(good) // 2], b"", b"[]"):
        with open(path, "wb") as f:
            f.write(text)
        hugo.start("--trust-on-first-use", "--log-level", "debug")
        store = hugo.status()["trust_store"]
        assert store["read_only"] is True and store["why"], store
        assert hugo.status()["warnings"], "status must warn"
        assert hugo.call("trust.list")["read_only"] is True
        try:
            session = p.OldPeer(name="anybody", passphrase=PASSPHRASE).dial("127.0.0.1", hugo.port)
            assert session.over.wait(5), "somebody was admitted without a trust store"
        except (p.HandshakeError, ConnectionError):
            pass
        error = hugo.refused("trust.pin", "denied", public_key=p.b64(p.Identity().public), name="x")
        assert error.message
        hugo.stop()
        with open(path, "rb") as f:
            assert f.read() == text, "the damaged file was changed"
    with open(path, "wb") as f:
        f.write(good)
    hugo.start()
    assert hugo.status()["trust_store"]["read_only"] is False
    assert hugo.peer("ivy")["state"] == "trusted"


def a_second_daemon_on_the_same_home_is_refused():
    hugo = lab.daemons["hugo"]
    second = lab.daemon("hugo", home="hugo", port=lab.port())
    code = second.start_refused("--trust-on-first-use")
    assert code not in (0, -9), code
    assert "another ironmesh works on" in second.log_tail(4), second.log_tail(6)
    assert hugo.alive and hugo.status()["name"] == "hugo"
    done = hugo.cli("keys", "generate", "--name", "other", "--clear")
    assert done.returncode != 0, "an identity was replaced under a running daemon"
    lab.daemons["hugo"] = hugo
    assert hugo.stop() == 0


TESTS = [a_new_peer_is_pending, nothing_is_sent_to_a_pending_peer, messages_of_a_pending_peer_are_held,
         held_messages_survive_kill_9, approval_delivers_and_confirms_them, the_decision_survives_kill_9,
         a_fingerprint_is_compared_in_full, a_peer_has_an_alias, an_unknown_peer_is_exit_4, a_blocked_peer_is_cut_off,
         a_blocked_peer_comes_back_by_approval, blocking_drops_what_was_held, a_forgotten_peer_is_new_again,
         a_revocation_is_final, a_known_name_with_another_key_is_refused, the_alarm_survives_a_restart_and_counts,
         a_message_for_the_name_waits_for_the_old_key, repin_wants_the_new_id_in_full,
         the_shown_command_accepts_the_new_key, the_replaced_key_is_refused_for_ever,
         an_address_that_changes_its_identity_is_refused, the_shown_command_rebinds_the_address,
         an_address_that_changes_its_tls_key_is_refused, the_shown_command_accepts_the_tls_key,
         a_peer_may_be_given_with_its_id, only_allowed_peers_come_in, an_unlisted_peer_does_not_come_in_by_first_use,
         an_identity_never_speaks_less_than_before, who_spoke_im2_is_refused_on_the_old_wire,
         a_volatile_message_to_the_old_wire_says_what_to_do, require_speaks_with_nobody_else, a_key_pinned_by_hand_is_trusted_at_once,
         a_damaged_trust_store_is_kept_and_nobody_admitted, a_second_daemon_on_the_same_home_is_refused]
sys.exit(lab.run(*TESTS))
