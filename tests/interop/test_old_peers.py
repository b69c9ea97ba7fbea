#!/usr/bin/python3
"""The daemon among old peers: peer09 dials it and is dialled by it, in every generation that exists.

peer09 drops what an old daemon would drop and complains about what one would only grumble at; at the
end of the file nothing may have been dropped and nothing complained about.
"""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from ironlab import PASSPHRASE, Lab, body_of, wait_for  # noqa: E402
import peer09  # noqa: E402
from peer09 import HandshakeError, Identity, OldPeer  # noqa: E402

lab = Lab("test_old_peers", __doc__)
REASON = "peer-never-confirms"

# Our daemon begins a rekey only towards greater ids, and an old one the same: both kinds are needed.
alice = lab.daemon("alice")
MY_ID = __import__("json").loads(alice.cli("keys", "fingerprint", "--json", check=True).stdout)["id"]


def identity(smaller=None, **more):
    if smaller is None:
        return Identity(**more)
    return Identity.where(lambda i: (i < MY_ID) == smaller, **more)


def old_peer(name, smaller=None, master_seed=True, **more):
    peer = OldPeer(identity=identity(smaller, master_seed=master_seed), name=name, passphrase=PASSPHRASE, **more)
    lab.on_close(peer.close)
    return peer


def certificate():
    cert, key = os.path.join(lab.folder, "peer-cert.pem"), os.path.join(lab.folder, "peer-key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=old"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return peer09.server_tls(cert, key)


tls = certificate()
listeners = {
    "final-wss": (old_peer("final-wss", smaller=False), tls),
    "final-ws": (old_peer("final-ws"), None),
    "strict-wss": (old_peer("strict-wss", generation="strict"), tls),
    "mid-wss": (old_peer("mid-wss", generation="mid", smaller=False), tls),
    "old-wss": (old_peer("old-wss", generation="old"), tls),
    "legacy-keys": (old_peer("legacy-keys", master_seed=False), tls),
}
sessions = {}
every_session = []
spare = {"late": lab.port()}


def declared(peer):
    """What our daemon says of itself: with the signed mark of im2 to whoever declares 0.9 (im2.md 4.4)."""
    return "ironmesh/0.9.im2" if lab.im2 != "off" and peer.config.modern else "ironmesh/0.9"


def kept(session):
    every_session.append(session)
    return session


def dial(peer, tls=True, **more):
    session = kept(peer.dial("127.0.0.1", alice.port, tls, **more))
    wait_for(lambda: (alice.peer(peer.id) or {}).get("online"), what="%s online" % peer.config.name)
    return session


def gets(session, text, **more):
    """alice sends, the peer has it, and alice says honestly what she knows about it."""
    sent = alice.send(session.me.id, text, wait_ms=5000, wait_for="sent", **more)
    message = session.recv()
    assert message.payload == (text if isinstance(text, bytes) else text.encode()), message.payload[:80]
    assert message.msg_id == sent["msg_id"] and message.destination == session.me.id
    assert sent["state"] == "sent" and sent.get("reason") == REASON, sent
    return message


def gives(session, text, **more):
    message = session.send("MSG", text, **more)
    got = alice.take_body(message.payload)
    assert got["msg_id"] == message.msg_id and got["from"]["id"] == session.me.id, got
    return got


def both_ways(session, mark):
    gets(session, "to %s: %s" % (session.config.name, mark))
    gives(session, "from %s: %s" % (session.config.name, mark))


# --- the daemon dials ----------------------------------------------------------------------------------
def dials_old_peers_over_wss_and_ws():
    for name, (peer, secure) in listeners.items():
        peer.listen(lab.port(), secure)
    options = ["--trust-on-first-use", "--allow-plaintext-ws", "--log-level", "debug", "--rekey-interval", "10s"]
    for peer, _ in listeners.values():
        options += ["--peer", "127.0.0.1:%d" % peer.port]
    options += ["--peer", "127.0.0.1:%d" % spare["late"]]
    alice.start(*options)
    for name, (peer, _) in listeners.items():
        sessions[name] = kept(peer.accept(25))
        assert sessions[name].remote.id == MY_ID and sessions[name].remote.name == "alice"
        assert sessions[name].remote.version == declared(peer), sessions[name].remote.version
        wait_for(lambda: (alice.peer(peer.id) or {}).get("online"), what="%s online" % name)
    for name, (peer, _) in listeners.items():
        assert not peer.failures.queue or name == "final-ws", list(peer.failures.queue)


def shows_old_peers_as_they_are():
    for name, (peer, _) in listeners.items():
        shown = alice.peer(peer.id)
        assert shown["name"] == name and shown["state"] == "trusted" and shown["confirms"] is False, shown
        assert shown["transport"] == "ws" and shown["online"] is True, shown


def declines_compression():
    for session in every_session:
        assert session.channel.extensions == [], session.channel.extensions


def sends_both_ways_in_every_generation():
    for name, session in sessions.items():
        both_ways(session, "first")
        gets(session, "\u00fcml\u00e4ut \u2014 \U0001f642 \x7f \"quoted\" \\ </script>")
        gives(session, bytes(range(256)) + name.encode())


def advertises_a_verified_sealing_key():
    for name in ("final-wss", "mid-wss", "strict-wss"):
        assert sessions[name].remote.x_public is not None


def shows_the_final_state_of_a_message_to_an_old_peer():
    message = gets(sessions["final-wss"], "what becomes of it?")
    row = alice.call("outbox.show", msg_id=message.msg_id)
    assert row["state"] == "sent" and row["reason"] == REASON, row
    waited = alice.call("wait", msg_id=message.msg_id, wait_ms=300)
    assert waited["state"] == "sent" and waited["reason"] == REASON, waited
    cli = alice.cli("send", listeners["final-wss"][0].config.name, "by hand", "--wait", "3s")
    assert cli.returncode != 0, "an old peer never confirms, and exit 0 would say that it did: %r" % cli
    assert b"never confirms" in cli.stderr, cli
    assert sessions["final-wss"].recv().payload == b"by hand"


def carries_type_and_priority():
    session = sessions["final-wss"]
    for kind in ("MSG", "REQ", "RESP", "CONV"):
        for priority in ("low", "normal", "high", "critical"):
            text = "%s %s" % (kind, priority)
            message = gets(session, text, type=kind, priority=priority)
            assert (message.type, message.priority) == (kind, priority.upper())
            body = {"payload": text + " back", "priority": priority.upper()}
            session.send(kind, body["payload"], priority=body["priority"])
            got = alice.take_body(body["payload"])
            assert (got["type"], got["priority"]) == (kind, priority), got


def opens_what_is_sealed_to_either_key():
    for name in ("final-wss", "old-wss", "legacy-keys"):
        session = sessions[name]
        for how in ("beside", "strict", "beside-converted", "strict-converted"):
            gives(session, "sealed %s by %s" % (how, name), sealed=how)


def sealed_copy_wins_over_a_clear_one():
    session = sessions["final-wss"]
    message = session.send("MSG", "the sealed truth", sealed="beside", frame={"clear": b"a clear lie"})
    got = alice.take_body("the sealed truth")
    assert got["msg_id"] == message.msg_id
    assert not any(body_of(m) == b"a clear lie" for m in alice.inbox())


def accepts_every_inner_signature_of_the_field():
    for name in ("final-wss", "old-wss"):
        session = sessions[name]
        for inner, tag in (("v2", True), ("v2", False), ("v1", True), ("v1", False), (None, False)):
            gives(session, "inner %s tag %s by %s" % (inner, tag, name), inner=inner, tag=tag)


def accepts_the_old_frame_version_and_short_ids():
    session = sessions["old-wss"]
    gives(session, "frame version 3", frame={"version": 3})
    gives(session, "a 32 digit id", msg_id=os.urandom(16).hex())
    gives(session, "to everybody", destination="*")
    gives(session, "gap in the sequence")
    session.sequence += 7
    gives(session, "after the gap")


def pings_both_ways():
    for name in ("final-wss", "mid-wss", "old-wss", "final-ws"):
        assert sessions[name].ping() < 5
        got = alice.call("ping", peer=listeners[name][0].id, timeout_ms=5000)
        assert 0 <= got["rtt_ms"] < 5000 and got["via"] == "ws", got


def large_messages_fit_both_ways():
    session = sessions["final-wss"]
    big = os.urandom(300000)
    gets(session, big)
    # The most that fits one signed frame: 785,991 bytes clear (wire 1.6).
    gives(session, os.urandom(785900))
    too_big = alice.refused("send", to=session.me.id, body="x" * 900000)
    assert too_big.err == "limit" and too_big.exit == 2, too_big


# --- the peer dials ----------------------------------------------------------------------------------
def is_dialled_by_every_generation_over_wss_and_ws():
    for generation in ("final", "strict", "mid", "old", "ts"):
        for secure in (True, False):
            peer = old_peer("caller-%s-%s" % (generation, "wss" if secure else "ws"), generation=generation)
            session = dial(peer, secure)
            assert session.remote.id == MY_ID
            if generation == "ts":
                message = session.send("MSG", "from the browser")
                got = alice.take_body("from the browser")
                assert got["msg_id"] == message.msg_id
                alice.call("inbox.delete", seq=got["seq"])
                gets(session, "to the browser")
            else:
                both_ways(session, "caller")
            session.close()
            alice.wait_offline(peer.id)


def keeps_the_clear_payload_for_peers_below_0_9():
    # The TypeScript client reads nothing else: gets() of a `ts` peer looks at the clear payload only.
    session = dial(old_peer("clear-reader", generation="ts"))
    gets(session, "readable without unsealing")
    session.close()


def keeps_the_first_session_of_an_identity():
    peer = listeners["final-wss"][0]
    first = sessions["final-wss"]
    second = peer.dial("127.0.0.1", alice.port)
    assert second.over.wait(5), "the second session of an old peer should be closed"
    gets(first, "first one lives")
    gives(first, "and still talks")


def accepts_odd_names():
    peer = old_peer("caf\u00e9 \U0001f600 <b>\x1b[31m")
    session = dial(peer)
    shown = alice.peer(peer.id)
    assert "\x1b" not in shown["name"] and shown["name"], shown
    gets(session, "odd name")
    session.close()


def answers_with_the_scheme_that_it_was_spoken_to():
    # client_handshake() of an old client verifies the attached form only; a modern one the context form.
    for version in ("ironmesh/0.4", "ironmesh/0.5.2", "ironmesh/0.8"):
        session = dial(old_peer("v" + version[9:], generation="old", version=version))
        assert session.remote.version == declared(session.peer), session.remote.version
        session.close()


# --- queue ---------------------------------------------------------------------------------------------
def keeps_messages_for_a_peer_that_is_away():
    peer = old_peer("sleeper")
    dial(peer).close()
    alice.wait_offline(peer.id)
    ids = [alice.send(peer.id, "while you slept %d" % i)["msg_id"] for i in range(120)]
    rows = {r["msg_id"]: r["state"] for r in alice.outbox(peer=peer.id)}
    assert all(rows[i] == "queued" for i in ids), rows
    session = dial(peer)
    # 18 frames a second after the first 72: an old peer takes 20 a second after its first 100.
    got = [session.recv(15) for _ in ids]
    assert [m.msg_id for m in got] == ids, "order or ids changed on the way"
    assert [m.payload.decode() for m in got] == ["while you slept %d" % i for i in range(120)]
    assert all(abs(m.timestamp - time.time()) < 15 for m in got), "the time stamp is that of the attempt"
    wait_for(lambda: all(r["state"] == "sent" and r["reason"] == REASON for r in alice.outbox(peer=peer.id)),
             what="120 messages in state sent")
    session.close()


# --- rekey -----------------------------------------------------------------------------------------------
def rekeys_when_the_peer_asks():
    for name in ("final-wss", "mid-wss", "strict-wss", "legacy-keys"):
        session = sessions[name]
        for turn in range(3):
            session.rekey()
            # A frame of ours under the new key ends the pause that the daemon makes for old software.
            gives(session, "from %s: after rekey %d" % (name, turn))
            gets(session, "to %s: after rekey %d" % (name, turn))
        session.rekey()
        gets(session, "to %s: after a rekey, unasked" % name)


def old_key_is_good_for_a_while_after_a_rekey():
    session = sessions["final-wss"]
    old_key, sequence = session.key, session.sequence
    session.rekey()
    message = peer09.Message("MSG", b"in flight during the rekey", None, session.me.id, MY_ID, sequence=sequence + 5)
    message.sign(session.me)
    session.channel.send(peer09.seal_frame(message, old_key, session.me))
    alice.take_body("in flight during the rekey")
    both_ways(session, "new key")


def rekeys_by_itself_and_only_towards_greater_ids_that_answer():
    greater = [sessions["final-wss"], sessions["mid-wss"]]
    small = dial(old_peer("small", smaller=True))
    silent = dial(old_peer("never-answers", smaller=False, generation="ts"))
    error = alice.refused("ping", "timeout", peer=silent.me.id, timeout_ms=400)
    assert error.exit == 2, vars(error)
    before = [s.rekeys for s in greater]
    wait_for(lambda: all(s.rekeys > b for s, b in zip(greater, before)), 25, what="rekeys begun by the daemon")
    began = time.monotonic()
    for session in greater:
        assert any(m.type == "REKEY_REQUEST" for m in session.controls)
        both_ways(session, "after its own rekey")
        assert alice.peer(session.me.id)["session"]["rekeys"] >= 1
    time.sleep(max(0, 11 - (time.monotonic() - began)))
    assert small.rekeys == 0 and not any(m.type == "REKEY_REQUEST" for m in small.controls)
    if any(m.type == "REKEY_REQUEST" for m in silent.controls):
        time.sleep(17)  # a daemon that gave up on the answer after 15 s would close here
    assert not silent.over.is_set(), "an unanswered REKEY_REQUEST must be tolerated"
    gets(silent, "still here")
    small.rekey()
    both_ways(small, "smaller id asks")
    small.close()
    silent.close()


# --- the end ---------------------------------------------------------------------------------------------
def refuses_a_wrong_passphrase_in_words():
    peer = OldPeer(name="stranger", passphrase="not-the-passphrase")
    try:
        peer.dial("127.0.0.1", alice.port, source="127.0.0.77")
    except HandshakeError as error:
        assert "PASSPHRASE_REJECTED" in str(error) and "assphrase" in str(error), error
        return
    raise AssertionError("the daemon took a wrong passphrase")


def says_goodbye_when_it_stops():
    session = sessions["final-wss"]
    assert alice.stop() == 0
    assert session.over.wait(5)
    assert any(m.type == "GOODBYE" for m in session.controls), [m.type for m in session.controls]
    assert session.channel.close_code == 1000, session.channel.close_code


def dials_and_flushes_after_a_restart():
    """Accepted before the restart, delivered after it, under the same id, to an address that was dead."""
    alice.start()
    peer = old_peer("late")
    dial(peer).close()
    alice.wait_offline(peer.id)
    sent = alice.send(peer.id, "for later")
    assert sent["state"] == "queued", sent
    alice.restart()
    peer.listen(spare["late"], tls)
    session = kept(peer.accept(20))
    message = session.recv()
    assert message.payload == b"for later" and message.msg_id == sent["msg_id"], message.msg_id
    wait_for(lambda: alice.call("outbox.show", msg_id=sent["msg_id"])["state"] == "sent", what="state sent")


def a_strict_old_receiver_had_nothing_to_drop():
    problems = []
    for session in every_session:
        if session.config.generation == "ts":
            continue  # reads the clear copy; same frames
        if session.drops or session.complaints:
            problems.append((session.config.name, session.drops[:5], session.complaints[:5]))
    assert not problems, problems
    assert len(every_session) > 20


sys.exit(lab.run(
    dials_old_peers_over_wss_and_ws, shows_old_peers_as_they_are, declines_compression,
    sends_both_ways_in_every_generation, advertises_a_verified_sealing_key,
    shows_the_final_state_of_a_message_to_an_old_peer, carries_type_and_priority, opens_what_is_sealed_to_either_key,
    sealed_copy_wins_over_a_clear_one, accepts_every_inner_signature_of_the_field,
    accepts_the_old_frame_version_and_short_ids, pings_both_ways, large_messages_fit_both_ways,
    is_dialled_by_every_generation_over_wss_and_ws, keeps_the_clear_payload_for_peers_below_0_9,
    keeps_the_first_session_of_an_identity, accepts_odd_names, answers_with_the_scheme_that_it_was_spoken_to,
    refuses_a_wrong_passphrase_in_words, keeps_messages_for_a_peer_that_is_away, rekeys_when_the_peer_asks,
    old_key_is_good_for_a_while_after_a_rekey, rekeys_by_itself_and_only_towards_greater_ids_that_answer,
    says_goodbye_when_it_stops, dials_and_flushes_after_a_restart, a_strict_old_receiver_had_nothing_to_drop))
