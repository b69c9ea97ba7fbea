#!/usr/bin/python3
"""Every method of docs/control.md against real daemons, and the frames of the control socket.

    test_control.py
"""
import base64
import json
import os
import re
import resource
import socket
import sys
import time

import nacl.signing

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from ironlab import ROOT, Lab, RpcError, body_of, needs_im2, wait_for  # noqa: E402

lab = Lab("test_control", __doc__)
alice, bob, carol = (lab.daemon(n) for n in ("alice", "bob", "carol"))
used = set()


class Watch:
    """Notes which methods were called, so that none of the document is forgotten."""

    def __init__(self, daemon):
        self.daemon, self.call_before = daemon, daemon.call
        daemon.call = self.call

    def call(self, method, timeout=15.0, **params):
        used.add(method)
        result = self.call_before(method, timeout, **params)
        assert result["schema"].startswith("ironmesh."), result
        return result


for one in (alice, bob, carol):
    Watch(one)


def everything(daemon):
    """The inbox page by page: a page ends where its line would be too long."""
    out = []
    while True:
        page = daemon.call("inbox.list", limit=1000, after=out[-1]["seq"] if out else 0)["messages"]
        if not page:
            return out
        out += page


def a_public_key():
    return base64.b64encode(bytes(nacl.signing.SigningKey.generate().verify_key)).decode()


def documented():
    with open(os.path.join(ROOT, "docs", "control.md")) as f:
        return set(re.findall(r"^### ([a-z_.]+)$", f.read(), re.M))


def the_daemons_start():
    alice.start("--trust-on-first-use")
    bob.start("--trust-on-first-use", "--peer", alice.address)
    carol.start("--peer", alice.address)
    alice.wait_online("bob")
    bob.wait_online("alice")


def version_and_status_say_who_answers():
    got = alice.call("version")
    assert got["api"] == 1 and got["protocol"] == "ironmesh/0.9" and got["version"]
    assert got["suites"] == ["im2", "0.9"], got
    s = alice.call("status")
    assert s["name"] == "alice" and s["pid"] == alice.process.pid and s["listen"] == [alice.address]
    assert s["trust_on_first_use"] is True and s["plaintext"] is False and s["uptime_ms"] >= 0
    assert s["peers"]["online"] >= 1 and set(s["outbox"]) == {"queued", "sent", "delivered", "read", "failed",
                                                             "expired", "rejected", "cancelled", "unknown"}
    assert set(s["inbox"]) == {"new", "read", "held"} and s["audit"]["entries"] >= 1
    assert s["trust_store"]["read_only"] is False and s["alarms"] == []
    assert len(s["counters"]) > 20 and isinstance(s["warnings"], list)
    assert s["store"]["file_bytes"] > 0
    assert s["im2"]["setting"] == lab.im2 and s["im2"]["mesh"] == "default" and s["im2"]["pad"] is False, s["im2"]
    wait_for(lambda: alice.status()["im2"]["mesh_key"] == ("off" if lab.im2 == "off" else "ready"), what="the mesh key")
    assert any("first use" in w for w in s["warnings"]), s["warnings"]


def send_answers_after_the_commit_and_wait_follows():
    got = alice.send("bob", "hello")
    assert got["schema"] == "ironmesh.send/1" and got["state"] in ("queued", "sent") and got["to"]["name"] == "bob"
    done = alice.call("wait", msg_id=got["msg_id"], wait_ms=5000)
    assert done["state"] in ("delivered", "read") and not done.get("timed_out"), done
    got = alice.send("bob", "and wait", wait_ms=5000)
    assert got["state"] == "delivered" and got["via"] == "ws" and got["delivered_in_ms"] >= 0, got
    assert alice.send("bob", "sent is enough", wait_ms=5000, wait_for="sent")["state"] in ("sent", "delivered")


def every_kind_of_body_arrives_as_it_was():
    bodies = [b"", "gr\u00fc\u00dfe \U0001f600".encode(), bytes(range(256)), b"a\0b", b"\x7f\x1b[31m", b'"\\/',
              b"x" * 700000, bytes(700000), "\u0436".encode() * 300000]
    for body in bodies:
        assert alice.send("bob", body, wait_ms=10000)["state"] == "delivered", body[:20]
    got = [body_of(m) for m in everything(bob)][-len(bodies):]
    assert got == bodies, [len(b) for b in got]


def a_body_over_the_limit_names_the_limit():
    limit = 1048576 if lab.suite == "im2" else 785000
    e = alice.refused("send", "limit", to="bob", body="x" * (limit + 1))
    assert e.exit == 2 and str(limit) in e.message.replace(",", ""), e.message
    big = (bytes(range(256)) * 4096)[:limit]
    assert alice.send("bob", big, wait_ms=20000, timeout=30)["state"] == "delivered"
    assert body_of(everything(bob)[-1]) == big


def the_same_id_twice_is_exists():
    alice.send("bob", "once", msg_id="one-and-only")
    e = alice.refused("send", "exists", to="bob", body="twice", msg_id="one-and-only")
    assert "one-and-only" in e.next
    assert len([m for m in everything(bob) if body_of(m) in (b"once", b"twice")]) <= 1


def all_parameters_of_send_are_kept():
    got = alice.send("bob", b"question", type="REQ", priority="high", ttl_ms=60000, msg_id="all-of-it", wait_ms=5000)
    row = alice.call("outbox.show", msg_id=got["msg_id"])
    assert (row["type"], row["priority"], row["size"]) == ("REQ", "high", 8), row
    assert row["expires_ms"] - row["created_ms"] == 60000
    there = next(m for m in everything(bob) if m["msg_id"] == row["wire_id"])
    assert there["type"] == "REQ" and there["priority"] == "high" and there["from"]["id"] == alice.id
    assert alice.call("outbox.show", msg_id=alice.send("bob", "x", ttl_ms=0)["msg_id"])["expires_ms"] in (0, None)


@needs_im2
def what_im2_adds_arrives():
    asked = alice.send("bob", '{"q": 1}', kind="request", conversation="new", expects_reply=True, max_turns=9,
                       content_type="application/json", wait_ms=5000)
    there = next(m for m in everything(bob) if m["msg_id"] == asked["msg_id"])
    assert there["kind"] == "request" and there["type"] == "REQ" and there["expects_reply"] is True, there
    assert there["conversation"] == asked["conversation"] and len(there["conversation"]) == 32, there
    assert (there["turn"], there["max_turns"], there["content_type"]) == (0, 9, "application/json"), there
    assert there["expires_ms"] > there["created_ms"] and there["reply_to"] is None, there
    answer = bob.send("alice", "42", reply_to=there["msg_id"], agent=True, wait_ms=5000)
    assert answer["state"] == "delivered" and answer["conversation"] == there["conversation"], answer
    came = next(m for m in everything(alice) if m["msg_id"] == answer["msg_id"])
    assert (came["kind"], came["turn"], came["max_turns"]) == ("response", 1, 9), came
    assert came["reply_to"] == asked["msg_id"], came
    # The brakes: a request is answered once, and an answer not at all.
    assert bob.refused("send", "exists", to="alice", body="43", reply_to=there["msg_id"], agent=True).exit == 8
    assert alice.refused("send", "denied", to="bob", body="thanks", reply_to=came["msg_id"], agent=True).exit == 8
    assert alice.send("bob", "thanks", reply_to=came["msg_id"], wait_ms=5000)["turn"] == 2
    sent = alice.send("bob", "no need", no_receipt=True, wait_ms=5000, wait_for="sent")
    assert sent["state"] == "sent", sent
    wait_for(lambda: [m for m in everything(bob) if body_of(m) == b"no need"], what="a message without a receipt")
    assert alice.call("outbox.show", msg_id=sent["msg_id"])["no_receipt"] is True


def many_go_with_one_request():
    before = len(everything(bob))
    got = alice.call("send_many", timeout=30, to="bob", messages=["m%d" % i for i in range(1000)] + [
        {"body_b64": base64.b64encode(b"\xff" * 900).decode(), "kind": "notice", "msg_id": "the-last-of-many"}])
    assert got["accepted"] == 1001 and got["state"] == "queued" and "refused" not in got, got
    assert len(set(got["msg_ids"])) == 1001 and got["msg_ids"][-1] == "the-last-of-many"
    assert alice.call("wait", msg_id="the-last-of-many", wait_ms=20000, timeout=25)["state"] == "delivered"
    wait_for(lambda: len(everything(bob)) == before + 1001, 20, what="all of them")
    rows = everything(bob)[before:]
    plain = [m for m in rows if body_of(m) != b"\xff" * 900]
    assert sorted(body_of(m) for m in plain) == sorted(b"m%d" % i for i in range(1000))
    assert all(m["kind"] == "message" for m in plain)
    # The old wire knows messages, requests and responses: the notice comes as a message.
    assert [m["kind"] for m in rows if m not in plain] == ["notice" if lab.suite == "im2" else "message"]
    got = alice.call("send_many", to="bob", messages=["one more", {"body": "x", "msg_id": "the-last-of-many"}, "not looked at"])
    assert got["accepted"] == 1 and got["refused"]["index"] == 1 and got["refused"]["err"] == "exists", got
    alice.refused("send_many", "usage", to="bob", messages=["x"] * 1025)


@needs_im2
def volatile_messages_come_as_events_and_are_nowhere():
    listener = bob.connect()
    listener.call("events.subscribe", types=["message.volatile"])
    rows, commits = len(everything(bob)), alice.status()["store"]["commits"]
    got = alice.send("bob", "t=21.5", volatile=True, kind="event", conversation="new")
    assert got["state"] == "sent" and got["volatile"] is True and len(got["msg_id"]) == 32, got
    event = listener.next_event()
    assert event["from"] == alice.id and event["body"] == "t=21.5" and event["kind"] == "event", event
    assert event["msg_id"] == got["msg_id"] and event["conversation"] == got["conversation"], event
    alice.send("bob", bytes(range(256)), volatile=True)
    assert body_of(listener.next_event()) == bytes(range(256))
    got = alice.call("send_many", timeout=30, to="bob", volatile=True, messages=["v%d" % i for i in range(1000)])
    assert got["accepted"] == 1000 and got["state"] == "sent", got
    seen = [listener.next_event() for _ in range(1000)]
    assert [e["body"] for e in seen] == ["v%d" % i for i in range(1000)]
    # What was open before may be written meanwhile; a thousand messages would not hide in that.
    assert len(everything(bob)) == rows and alice.status()["store"]["commits"] < commits + 10
    alice.refused("outbox.show", "not-found", msg_id=got["msg_ids"][0])
    e = alice.refused("send", "limit", to="bob", body="x" * 500000, volatile=True)
    assert e.exit == 2 and "frame" in e.message and "--volatile" in e.next, vars(e)
    listener.close()


def volatile_messages_need_a_session():
    carol.stop()
    alice.wait_offline("carol")
    e = alice.refused("send", "closed", to="carol", body="x", volatile=True)
    assert e.exit == 75 and "peers show" in e.next, vars(e)
    carol.start()
    alice.wait_online("carol")


def however_many_wait_for_one_message_are_told():
    bob.stop()
    alice.wait_offline("bob")
    msg_id = alice.send("bob", "for many")["msg_id"]
    lines = [alice.connect() for _ in range(40)]
    asked = [(c, c.ask("wait", msg_id=msg_id, wait_ms=60000)) for c in lines]
    time.sleep(0.2)
    bob.start()
    for c, request in asked:
        assert c.answer(request, 15)["state"] == "delivered"
        c.close()
    alice.wait_online("bob")
    bob.wait_online("alice")


@needs_im2
def a_flood_of_volatile_messages_waits_for_room():
    """More than the link takes at once: the request waits, and so do the lines behind it; none is lost on the way."""
    sender, listener = alice.connect(), bob.connect()
    listener.call("events.subscribe", types=["message.volatile"])
    before = bob.counters()["volatile_received"]
    messages = ["f" * 1000 for _ in range(1024)]
    ids = [sender.ask("send_many", to="bob", volatile=True, messages=messages, wait_ms=20000) for _ in range(16)]
    for i in ids:
        got = sender.answer(i, timeout=30)
        assert got["accepted"] == 1024, got.get("refused")
    wait_for(lambda: bob.counters()["volatile_received"] - before == 16 * 1024, 10, what="all of them")
    sender.close()
    listener.close()


def outbox_lists_and_filters():
    rows = alice.call("outbox.list", limit=3)["messages"]
    assert len(rows) == 3 and rows[0]["seq"] > rows[2]["seq"]
    older = alice.call("outbox.list", limit=2, before=rows[2]["seq"])["messages"]
    assert older[0]["seq"] < rows[2]["seq"]
    assert all(r["state"] == "delivered" for r in alice.call("outbox.list", state="delivered", peer="bob")["messages"])
    assert alice.refused("outbox.show", "not-found", msg_id="nobody-sent-this").exit == 1


def a_queued_message_can_be_cancelled_and_a_cancelled_one_not():
    bob.stop()
    alice.wait_offline("bob")
    got = alice.send("bob", "to be cancelled", wait_ms=50)
    assert got["state"] == "queued" and got["timed_out"] is True, got
    assert alice.call("outbox.cancel", msg_id=got["msg_id"])["state"] == "cancelled"
    alice.refused("outbox.cancel", "state", msg_id=got["msg_id"])
    kept = alice.send("bob", "to be tried again")
    assert alice.call("outbox.retry", msg_id=kept["msg_id"])["state"] == "queued"
    bob.start()
    assert alice.call("wait", msg_id=kept["msg_id"], wait_ms=20000, timeout=25)["state"] == "delivered"
    assert not [m for m in everything(bob) if body_of(m) == b"to be cancelled"]


def inbox_is_taken_once_and_the_sender_is_told():
    while bob.call("inbox.take", limit=1000)["messages"]:
        pass
    first = alice.send("bob", "first")
    second = alice.send("bob", "second")
    bob.take_body("second", state="new")
    assert [body_of(m) for m in bob.call("inbox.take")["messages"]] == [b"first"]
    peeked = bob.call("inbox.take", ack=False)["messages"]
    assert [body_of(m) for m in peeked] == [b"second"] and peeked[0]["state"] == "new"
    assert bob.call("inbox.ack", seq=peeked[0]["seq"])["changed"]
    assert not bob.call("inbox.ack", msg_id=peeked[0]["msg_id"])["changed"]
    assert bob.call("inbox.take")["messages"] == []
    for m in (first, second):
        assert alice.call("wait", msg_id=m["msg_id"], wait_ms=5000, wait_for="read")["state"] == "read"
    assert bob.call("inbox.delete", seq=peeked[0]["seq"])["changed"]
    left = [m for m in everything(bob) if m["seq"] == peeked[0]["seq"]]
    assert not left or "body" not in left[0]


def take_waits_for_the_next_one():
    other = bob.connect()
    waiting = other.ask("inbox.take", wait_ms=8000)
    time.sleep(0.1)
    began = time.monotonic()
    alice.send("bob", "awaited")
    got = other.answer(waiting)
    assert [body_of(m) for m in got["messages"]] == [b"awaited"] and time.monotonic() - began < 2
    began = time.monotonic()
    assert other.call("inbox.take", wait_ms=200)["messages"] == []
    assert 0.15 < time.monotonic() - began < 2
    other.close()


def two_takers_do_not_get_the_same_message():
    takers = [bob.connect() for _ in range(4)]
    asked = [t.ask("inbox.take", wait_ms=1500) for t in takers]
    alice.send("bob", "for one of four")
    got = sum((t.answer(a)["messages"] for t, a in zip(takers, asked)), [])
    assert len(got) == 1, got
    for t in takers:
        t.close()


def a_long_inbox_fits_into_lines():
    for i in range(4):
        alice.send("bob", b"%d" % i + b"y" * 700000, wait_ms=10000)
    seen, after = [], 0
    while True:
        page = bob.call("inbox.list", limit=1000, after=after)["messages"]
        if not page:
            break
        seen += [m["seq"] for m in page]
        after = page[-1]["seq"]
    assert seen == sorted(set(seen)) and len(seen) >= 4
    bare = bob.call("inbox.list", limit=1000, bodies=False)["messages"]
    assert all("body" not in m and "body_b64" not in m for m in bare)


def peers_are_listed_shown_and_named():
    peers = {p["name"]: p for p in alice.call("peers.list")["peers"]}
    assert peers["bob"]["online"] and peers["bob"]["state"] == "trusted" and peers["bob"]["generation"] == lab.suite
    assert peers["bob"]["suite"] == lab.suite, peers["bob"]
    assert (peers["bob"]["im2_since_ms"] > 0) == (lab.suite == "im2"), peers["bob"]
    assert peers["bob"]["confirms"] is True and peers["bob"]["transport"] == "ws"
    one = bob.call("peers.show", peer="alice")
    assert one["static"] is True and one["session"]["received"] >= 1 and one["id"] == alice.id
    assert base64.b64decode(one["public_key"])
    assert alice.call("peers.alias", peer="bob", alias="workshop")["alias"] == "workshop"
    assert alice.send("workshop", "by alias", wait_ms=5000)["to"]["id"] == bob.id
    assert alice.send(bob.id[:8], "by prefix")["to"]["id"] == bob.id
    assert not alice.call("peers.alias", peer="workshop", alias="")["alias"]
    assert alice.refused("peers.show", "not-found", peer="nobody").exit == 4


def ping_measures_and_says_when_nobody_is_there():
    got = alice.call("ping", peer="bob")
    assert 0 <= got["rtt_ms"] < 1000 and got["peer"]["id"] == bob.id and got["via"] == "ws"
    carol.stop()
    alice.wait_offline("carol")
    assert alice.refused("ping", "closed", peer="carol").exit == 2
    carol.start()


def a_pending_peer_is_held_until_it_is_approved():
    carol.wait_online("alice")
    assert carol.peer("alice")["state"] == "pending"
    assert carol.refused("send", "untrusted", to="alice", body="x").exit == 5
    sent = alice.send("carol", "please let me in")
    wait_for(lambda: carol.status()["inbox"]["held"] == 1, what="the held message")
    assert carol.call("inbox.list")["messages"] == []
    assert len(carol.call("inbox.list", state="held")["messages"]) == 1
    waits = carol.call("peers.pending")
    assert waits["pending"][0]["id"] == alice.id and waits["held"] == 1 and "peers approve" in waits["pending"][0]["next"]
    assert carol.call("peers.approve", peer="alice")["state"] == "trusted"
    assert not carol.call("peers.pending", all=True)["pending"]
    assert carol.take_body("please let me in")["from"]["id"] == alice.id
    assert alice.call("wait", msg_id=sent["msg_id"], wait_ms=5000)["state"] == "delivered"


def blocking_ends_the_session_and_forgetting_makes_a_stranger():
    assert carol.call("peers.block", peer="alice", reason="test")["state"] == "blocked"
    assert carol.peer("alice")["reason"] == "test"
    carol.wait_offline("alice")
    wait_for(lambda: [x for x in carol.call("peers.refused", limit=10)["refused"] if x["id"] == alice.id], what="a refusal")
    carol.refused("peers.ignore", "state", peer="alice")
    assert carol.call("trust.set_state", peer="alice", state="pending")["state"] == "pending"
    assert carol.call("peers.ignore", peer="alice")["state"] == "pending"
    assert carol.call("trust.set_state", peer="alice", state="trusted")["state"] == "trusted"
    assert carol.call("peers.forget", peer="alice")["id"] == alice.id
    assert carol.peer("alice") is None or carol.peer("alice")["state"] == "pending"


def trust_is_pinned_verified_and_revoked():
    key = a_public_key()
    pinned = carol.call("trust.pin", public_key=key, name="dora")
    assert pinned["state"] == "trusted" and pinned["public_key"] == key
    assert carol.call("trust.show", peer="dora")["verified"] is False
    assert carol.refused("trust.verify", "auth", peer="dora", fingerprint="0" * 32).exit == 9
    assert carol.call("trust.verify", peer="dora", fingerprint=pinned["fingerprint"])["verified"] is True
    assert carol.call("trust.verify", peer="dora", confirm=True)["verified"] is True
    assert "dora" in [p["name"] for p in carol.call("trust.list")["pins"]]
    assert json.loads(carol.call("trust.export")["text"])
    assert carol.call("trust.revoke", peer="dora", reason="lost")["state"] == "revoked"
    carol.refused("trust.set_state", "state", peer="dora", state="trusted")
    carol.refused("peers.forget", "state", peer="dora")
    carol.refused("trust.repin", "not-found", subject="nobody", id="0" * 32)
    used.add("trust.repin")  # with a real alarm in test_trust.py
    carol.refused("trust.allow_downgrade", "state", peer="dora")
    used.add("trust.allow_downgrade")  # and a real one there
    assert carol.call("trust.cap_diff", peer="dora")["changed"] is False
    for method in ("trust.cap_accept", "trust.cap_reject"):
        carol.refused(method, "state", peer="dora")
        used.add(method)  # with a real change in test_allow.py


def the_audit_log_verifies_and_exports():
    got = alice.call("audit.verify")
    assert got["ok"] is True and got["entries"] >= 3 and got["bad_line"] in (0, None), got
    tail = alice.call("audit.tail", limit=2)["entries"]
    assert len(tail) == 2 and tail[0]["timestamp"] <= tail[1]["timestamp"]
    stats = alice.call("audit.stats")
    assert stats["events"]["STARTUP"] >= 1 and stats["entries"] == sum(stats["events"].values())
    text = alice.call("audit.export")["text"]
    key = alice.call("keys.show")["public_key"]
    assert bob.call("audit.verify_export", text=text, public_key=key)["ok"] is True
    assert bob.call("audit.verify_export", text=text, peer="alice")["signer"] == alice.id
    assert bob.refused("audit.verify_export", "denied", text=text).exit == 8
    bent = text.replace('"entry_count":', '"entry_count":1')
    try:
        assert bob.call("audit.verify_export", text=bent, public_key=key)["ok"] is False
    except RpcError as e:
        assert e.exit == 9, e


def keys_are_shown():
    show = alice.call("keys.show")
    assert show["id"] == alice.id and show["name"] == "alice" and show["version"] == 3
    assert show["encrypted"] is False and show["path"].endswith("keys.json")
    assert len(base64.b64decode(show["public_key"])) == len(base64.b64decode(show["x25519_public"])) == 32
    assert alice.call("keys.fingerprint")["fingerprint"].replace(" ", "") == alice.id
    for method in ("keys.generate", "keys.migrate", "keys.encrypt"):
        used.add(method)
        alice.refused(method, "state", **({"name": "x"} if method == "keys.generate" else {}))


def events_come_to_whom_they_concern():
    listener = alice.connect()
    used.add("events.subscribe")
    assert listener.call("events.subscribe", types=["message."])["subscribed"]
    sent = alice.send("bob", "an event", wait_ms=5000)
    seen = []
    while "message.delivered" not in seen:
        event = listener.next_event()
        assert event["schema"] == "ironmesh.event/1" and event["type"].startswith("message."), event
        if event.get("msg_id") == sent["msg_id"]:
            seen.append(event["type"])
    assert seen == ["message.queued", "message.sent", "message.delivered"], seen
    listener.close()
    listener = bob.connect()
    listener.call("events.subscribe")
    alice.send("bob", "another")
    event = listener.wait_event(lambda e: e["type"] == "inbox.new")
    assert event["size"] == 7, event
    listener.close()


def a_reader_that_sleeps_loses_events_and_no_message():
    final = sum(row["no_receipt"] for row in alice.outbox(state="sent"))  # nobody will confirm these
    sleeper = alice.connect()
    sleeper.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sleeper.call("events.subscribe")
    many = alice.connect()
    for _ in range(20):
        ids = [many.ask("send", to="bob", body="flood", msg_id="f" * 100 + str(time.monotonic_ns())) for _ in range(200)]
        for i in ids:
            many.answer(i)
        wait_for(lambda: alice.call("peers.show", peer="bob")["queued"] < 1000, 60, what="the queue to drain")
    many.close()
    wait_for(lambda: alice.status()["outbox"]["queued"] + alice.status()["outbox"]["sent"] == final, 30,
             what="the delivery of all")
    lost = 0
    deadline = time.monotonic() + 20
    while not lost and time.monotonic() < deadline:
        event = sleeper.next_event(10)
        if event["type"] == "events.lost":
            lost = event["count"]
        elif not sleeper.events and b"\n" not in sleeper.buffer:
            alice.send("bob", "one more")
    assert lost > 0
    sleeper.close()


# --- frames -------------------------------------------------------------------------------------

def raw():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.connect(os.path.join(alice.home, "control.sock"))  # waits while the backlog is full
    s.settimeout(10)
    return s, s.makefile("rb")


def lines_that_are_no_requests_are_answered_as_such():
    s, lines = raw()
    ok = b'{"jsonrpc":"2.0","id":9,"method":"version"}\n'
    for line, code, identity in (
            (b"nonsense\n", -32700, None),
            (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"version"}\n', -32700, None),
            (b'{"a":' * 200 + b"1" + b"}" * 200 + b"\n", -32700, None),
            (b'"\xff"\n', -32700, None),
            (b"[]\n", -32600, None),
            (b'[{"jsonrpc":"2.0","id":1,"method":"version"}]\n', -32600, None),
            (b'{"jsonrpc":"1.0","id":3,"method":"version"}\n', -32600, None),
            (b'{"jsonrpc":"2.0","id":4}\n', -32600, None),
            (b'{"jsonrpc":"2.0","id":{},"method":"version"}\n', -32600, None),
            (b'{"jsonrpc":"2.0","id":5,"method":"versoin"}\n', -32601, 5),
            (b'{"jsonrpc":"2.0","id":6,"method":"send","params":[1]}\n', -32602, 6),
            (b'{"jsonrpc":"2.0","id":7,"method":"send","params":{}}\n', -32602, 7),
            (b'{"jsonrpc":"2.0","id":"8","method":"send","params":{"to":"bob","bdoy":"x"}}\n', -32602, "8"),
            (b'{"jsonrpc":"2.0","id":8,"method":"send","params":{"to":"bob","body":1}}\n', -32602, 8),
            (b'{"jsonrpc":"2.0","id":8,"method":"version","params":{"x":1}}\n', -32602, 8)):
        s.sendall(line)
        got = json.loads(lines.readline())
        assert got["error"]["code"] == code and got["id"] == identity, (line[:80], got)
        s.sendall(ok)
        got = json.loads(lines.readline())
        assert got["id"] == 9 and got["result"]["api"] == 1, got
    s.close()


def a_misspelt_parameter_is_named_with_the_right_one():
    s, lines = raw()
    s.sendall(b'{"jsonrpc":"2.0","id":1,"method":"send","params":{"to":"bob","bdoy":"x"}}\n')
    error = json.loads(lines.readline())["error"]
    assert "bdoy" in error["message"] and "body" in error["data"]["means"], error
    s.close()


def requests_without_an_id_are_done_and_not_answered():
    s, lines = raw()
    s.sendall(b'{"jsonrpc":"2.0","method":"send","params":{"to":"bob","body":"silent","msg_id":"silent-1"}}\n'
              b'{"jsonrpc":"2.0","method":"nonsense"}\n{"jsonrpc":"2.0","id":"x","method":"version"}\n')
    assert json.loads(lines.readline())["id"] == "x"
    s.close()
    wait_for(lambda: alice.call("outbox.list", limit=5)["messages"][0]["msg_id"] == "silent-1", what="the silent one")


def a_line_may_come_in_pieces_and_many_in_one():
    s, lines = raw()
    for c in b'{"jsonrpc":"2.0","id":1,"method":"version"}\n':
        s.sendall(bytes([c]))
    assert json.loads(lines.readline())["id"] == 1
    s.sendall(b"".join(b'{"jsonrpc":"2.0","id":%d,"method":"version"}\n' % i for i in range(2000)))
    assert [json.loads(lines.readline())["id"] for _ in range(2000)] == list(range(2000))
    s.close()


def a_line_over_the_limit_ends_the_connection_and_nothing_else():
    s, lines = raw()
    try:
        s.sendall(b"x" * 4300000)
        left = lines.read()
    except OSError:
        left = b""
    assert b"result" not in left
    assert alice.call("version")["api"] == 1


def at_most_64_connections_are_served():
    many = []
    alice.drop_control()
    time.sleep(0.2)
    for _ in range(80):
        s, lines = raw()
        many.append((s, lines))
        try:
            s.sendall(b'{"jsonrpc":"2.0","id":1,"method":"version"}\n')
        except OSError:
            pass
    served = 0
    for s, lines in many:
        try:
            served += b'"result"' in lines.readline()
        except OSError:
            pass
        lines.close()
        s.close()
    assert served == 64, served

    def free():
        try:
            return alice.call("version")
        except (OSError, RpcError):
            return None
    wait_for(free, what="a free connection")


def without_descriptors_callers_are_turned_away_and_the_loop_turns():
    pid = alice.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    own = len(os.listdir("/proc/%d/fd" % pid))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (own + 6, before[1]))
    try:
        for i in range(60):
            many = [socket.socket(socket.AF_UNIX) for n in range(20)]
            for s in many:
                s.setblocking(False)
                try:
                    s.connect(os.path.join(alice.home, "control.sock"))
                except BlockingIOError:
                    pass
            assert alice.call("version", timeout=5)
            for s in many:
                s.close()
            assert alice.call("version", timeout=5)
        fresh = alice.connect()
        assert fresh.call("version")
        fresh.close()
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def a_client_that_does_not_read_holds_up_only_itself():
    s, lines = raw()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.settimeout(1)
    flood = b'{"jsonrpc":"2.0","id":1,"method":"status"}\n' * 2000
    try:
        for _ in range(200):
            s.sendall(flood)
        raise AssertionError("it went on reading a client that does not read")
    except socket.timeout:
        pass
    began = time.monotonic()
    assert alice.call("version")["api"] == 1 and time.monotonic() - began < 5
    with open("/proc/%d/maps" % alice.process.pid) as f:
        checked_build = "libasan" in f.read() or "asan" in lab.binary
    with open("/proc/%d/statm" % alice.process.pid) as f:
        used_bytes = int(f.read().split()[1]) * 4096
    assert checked_build or used_bytes < 300 << 20, used_bytes
    s.close()


def a_connection_that_goes_takes_its_waits_along():
    for _ in range(5):
        c = alice.connect()
        for _ in range(20):
            c.ask("inbox.take", wait_ms=60000)
            c.ask("wait", msg_id="silent-1", wait_ms=60000, wait_for="read")
            c.ask("send", to="bob", body="gone", wait_ms=60000, wait_for="read")
        c.close()
    time.sleep(0.3)
    assert alice.call("version")["api"] == 1


def a_pairing_belongs_to_its_connection():
    if lab.im2 == "off":
        assert alice.refused("pair.show", "unsupported").next == "ironmesh run --im2 on"
        assert alice.refused("pair.type", "unsupported", code="12-345-678", at=bob.address)
        assert alice.refused("pair.verdict", "state", same=True)
        alice.call("pair.stop")
        return
    ear = alice.connect()
    ear.call("events.subscribe", types=["pair."])
    got = ear.call("pair.show", pin_only=True)
    assert got["schema"] == "ironmesh.pair/1" and got["gives"] == "nothing" and alice.address in got["listen"], got
    assert [len(part) for part in got["code"].split("-")] == [2, 3, 3] and got["expires_in_ms"] <= 120000, got
    assert alice.refused("pair.show", "again").exit == 75
    assert alice.refused("pair.verdict", "state", same=True)
    alice.call("pair.stop")
    assert ear.next_event()["reason"] == "it was stopped"
    assert alice.refused("pair.type", "usage").exit == 2
    assert alice.refused("pair.type", "usage", code="12-345-67", at=bob.address).exit == 2
    assert alice.refused("pair.type", "usage", code="12-345-678", compare=True).exit == 2
    assert ear.call("pair.type", code="12-345-678")["state"] == "searching"
    ear.close()
    ear = alice.connect()
    ear.call("events.subscribe", types=["pair."])

    def typed():
        try:
            return ear.call("pair.type", code="12-345-678", at=bob.address)["state"]
        except RpcError as error:
            assert error.err == "again", error
            return None
    # The end of the other connection is the end of its search.
    assert wait_for(typed, what="room for another pairing") == "dialling"
    event = ear.next_event()
    assert event["type"] == "pair.failed" and "no machine shows a code there" in event["reason"] and event["next"], event
    ear.close()


def rotation_gives_a_new_identity_and_keeps_the_rest():
    old = carol.id
    assert carol.call("trust.pin", public_key=a_public_key(), name="erna")
    got = carol.call("keys.rotate", timeout=30)
    assert got["old_id"] == old and got["id"] != old, got
    assert carol.process.wait(15) == 0
    carol.process = None
    carol.drop_control()
    del carol._id
    carol.start()
    assert carol.id == got["id"]
    assert carol.call("trust.show", peer="erna")["state"] == "trusted"
    assert [m for m in everything(carol) if body_of(m) == b"please let me in"], "the inbox is gone"
    assert carol.call("audit.verify")["ok"] is True
    words = [e["event"] for e in carol.audit()]
    assert "KEY_ROTATION" in words, words
    assert carol.status()["trust_store"]["read_only"] is False


def what_bob_can_do_is_said_and_found():
    assert bob.call("caps.set", capabilities=["tool:fax", "tool:telex"])["capabilities"] == ["tool:fax", "tool:telex"]
    assert "skill:knitting" in bob.call("caps.add", capabilities=["skill:knitting"])["capabilities"]
    assert bob.call("caps.remove", capabilities=["tool:telex"])["capabilities"].count("tool:telex") == 0
    assert bob.refused("caps.set", capabilities=["no namespace"]).exit == 2
    got = wait_for(lambda: alice.call("caps.find", glob="tool:*", peer="bob")["found"], what="what bob can do")
    assert [(f["peer"]["id"], f["capability"], f["self"]) for f in got] == [(bob.id, "tool:fax", False)], got


def ways_and_hints_are_listed():
    got = alice.call("routes.list")
    assert got["routing"] and isinstance(got["routes"], list) and got["more"] is False, got
    assert alice.refused("routes.list", "not-found", to="nobody").next
    assert alice.call("discovery.list", all=True)["scope"] == "off", "the lab keeps its daemons apart"


def an_invite_is_made_listed_and_revoked():
    made = alice.call("invite.create", endpoint=alice.address, ttl_ms=60000)
    assert made["state"] == "open" and made["endpoint"] == alice.address and made["token"], made
    listed = alice.call("invite.list")["invites"]
    assert [i["id"] for i in listed] == [made["id"]] and "token" not in listed[0], listed
    assert alice.refused("invite.accept", "self", token=made["token"]).exit == 2
    assert bob.refused("invite.accept", "malformed", token=made["token"][:-9]).exit == 2
    assert alice.call("invite.revoke", id=made["id"][:12])["state"] == "revoked"
    assert alice.refused("invite.revoke", "not-found", id="0123456789").exit == 2


def only_administrators_revoke_for_the_mesh():
    err = "unsupported" if lab.im2 == "off" else "denied"
    alice.refused("trust.revoke_draft", err, peer=bob.id)
    for method in ("trust.revoke_show", "trust.revoke_sign", "trust.revoke_send"):
        assert alice.refused(method, text="{}").exit in (1, 2, 8), method


def the_door_of_the_dashboard_opens_and_tokens_are_made():
    assert alice.call("http.status")["url"] is None
    made = alice.call("http.code", role="read")
    assert made["role"] == "read" and made["url"].startswith("http://127.0.0.1:") and "/#code=" in made["url"], made
    assert alice.refused("http.code", "usage", role="metrics").exit == 2
    assert alice.call("http.status")["url"] and alice.call("http.close")["ended"] == 0
    text = alice.call("metrics")["text"]
    assert text.endswith("# EOF\n") and "# EOF" not in alice.call("metrics", openmetrics=False)["text"]
    token = alice.call("token.create", role="metrics", name="scraper")
    assert token["token"].startswith("imt_") and token["expires_ms"] == 0, token
    assert alice.refused("token.create", "exists", role="read", name="scraper").exit == 1
    assert alice.refused("token.create", "usage", role="root").exit == 2
    listed = alice.call("token.list")["tokens"]
    assert [t["name"] for t in listed] == ["scraper"] and "token" not in listed[0], listed
    assert alice.call("token.revoke", token=token["id"])["name"] == "scraper"
    assert alice.refused("token.revoke", "not-found", token="scraper").next


def a_snapshot_is_taken_and_released():
    got = alice.call("backup.snapshot", 60)
    assert got["schema"] == "ironmesh.snapshot/1" and got["left_out"] == "" and got["left_out_n"] == 0, got
    assert {"ironmesh.db", "keys.json", "known_peers.json", "audit.log", "audit.head"} <= set(os.listdir(got["folder"])), os.listdir(got["folder"])
    assert alice.refused("backup.snapshot", "again").exit == 75
    assert alice.refused("backup.release", "not-found", folder="/elsewhere").next is not None
    alice.call("backup.release", folder=got["folder"], file="/mnt/usb/alice.backup", bytes=1234)
    assert not os.path.exists(got["folder"])
    listed = alice.call("backup.list")
    assert [(b["file"], b["bytes"]) for b in listed["backups"]] == [("/mnt/usb/alice.backup", 1234)] and listed["directory"] is None, listed
    assert alice.refused("backup.now", "state").exit == 10
    # The connection that asked is gone: so is the folder.
    other = alice.connect()
    folder = other.call("backup.snapshot", 60)["folder"]
    other.close()
    wait_for(lambda: not os.path.exists(folder), what="the end of the snapshot")


def what_the_dashboard_shows_is_told():
    heads = alice.call("conversations.list")
    assert heads["schema"] == "ironmesh.conversations/1" and heads["next"] is None, heads
    one = heads["conversations"][0]
    page = alice.call("conversations.show", peer=one["peer"], limit=1)
    assert page["schema"] == "ironmesh.conversation/1" and len(page["messages"]) == 1, page
    key = page["messages"][0]["key"]
    assert alice.call("messages.show", key=key)["timeline"], key
    assert alice.call("messages.body", key=key)["key"] == key
    for params in ({"peer": one["peer"], "before": "x"}, {"peer": one["peer"], "before": "1:1", "after": "1:1"},
                   {"peer": one["peer"], "conversation": "12"}, {"peer": one["peer"], "limit": 501}):
        assert alice.refused("conversations.show", "usage", **params).exit == 2
    assert alice.refused("conversations.list", "usage", after="nonsense").exit == 2
    assert alice.refused("messages.body", "usage", key="out:0").exit == 2
    assert alice.call("queue.list")["schema"] == "ironmesh.queue/1"
    assert alice.call("attention.list")["schema"] == "ironmesh.attention/1"
    assert alice.call("attention.dismiss", key="warning:0", count=1)["key"] == "warning:0"
    assert alice.call("stats.history", range="day")["span_ms"] == 60000
    assert alice.refused("stats.history", "usage", range="year").exit == 2
    assert alice.call("mesh.graph")["nodes"][0]["self"] is True
    for section in ("status", "attention", "peers", "conversations", "queue", "mesh", "stats", "events"):
        assert alice.call("feed.snapshot", section=section)["section"] == section
    page = alice.call("peers.list", limit=1)
    assert len(page["peers"]) >= 1 and (page["omitted"] == 0) == (page["next"] is None), page
    at = alice.call("feed.subscribe")
    assert at["schema"] == "ironmesh.feed.subscribed/1" and at["gap"] is False, at
    assert alice.call("feed.unsubscribe")["subscribed"] is False


def settings_are_shown_and_read_again():
    shown = alice.call("config.show", effective=True)
    assert shown["schema"] == "ironmesh.config/1" and shown["source"] == "daemon", shown["source"]
    assert {v["key"]: v["value"] for v in shown["values"] if v["section"] == "trust"}["trust_on_first_use"] == "yes", shown
    assert any(k["section"] == "lan" and k["key"] == "port" and not k["reload"] for k in alice.call("config.keys")["keys"])
    assert alice.call("config.diff")["now"] == "files"
    with open(os.path.join(alice.home, "ironmesh.conf"), "w") as f:
        f.write("[limits]\nrekey_interval = 45m\n")
    os.chmod(f.name, 0o600)
    got = alice.call("config.reload")
    assert [(c["key"], c["now"]) for c in got["changes"]] == [("rekey_interval", "45m")] and got["needs_restart"] == [], got
    with open(f.name, "w") as f:
        f.write("[limits]\nrekey_intervall = 45m\n")
    assert alice.refused("config.reload", "usage").exit == 10
    os.unlink(f.name)
    assert [c["now"] for c in alice.call("config.reload")["changes"]] == ["30m"]
    for method in ("config.path", "config.check"):
        used.add(method)
        alice.refused(method, "state")


def a_peer_is_looked_at_from_outside():
    assert alice.refused("doctor.peer", "usage", address="nonsense").exit == 2
    got = alice.call("doctor.peer", 40, address=carol.address)
    assert got["schema"] == "ironmesh.doctor.handshake/1" and got["address"] == carol.address, got
    assert got["steps"] and all(step["took_ms"] >= 0 for step in got["steps"]), got


def an_identity_ends_by_its_own_word():
    if lab.im2 == "off":
        carol.refused("keys.revoke", "unsupported")
        return
    got = carol.call("keys.revoke", reason=3)
    assert got["schema"] == "ironmesh.keys.revoked/1" and got["id"] == carol.id and got["revoked"] is True, got
    assert [e["event"] for e in carol.audit()].count("REVOCATION_ISSUED") == 1


def all_stop_in_order():
    for one in (alice, bob, carol):
        if one.process:
            assert one.stop() == 0, "%s: %s" % (one.name, one.log_tail())


def every_method_of_the_document_was_called():
    missing = documented() - used
    assert not missing, sorted(missing)


sys.exit(lab.run(the_daemons_start, version_and_status_say_who_answers,
                 send_answers_after_the_commit_and_wait_follows, every_kind_of_body_arrives_as_it_was,
                 a_body_over_the_limit_names_the_limit, the_same_id_twice_is_exists, all_parameters_of_send_are_kept,
                 what_im2_adds_arrives, many_go_with_one_request, volatile_messages_come_as_events_and_are_nowhere,
                 volatile_messages_need_a_session, however_many_wait_for_one_message_are_told, a_flood_of_volatile_messages_waits_for_room,
                 outbox_lists_and_filters, a_queued_message_can_be_cancelled_and_a_cancelled_one_not,
                 inbox_is_taken_once_and_the_sender_is_told, take_waits_for_the_next_one,
                 two_takers_do_not_get_the_same_message, a_long_inbox_fits_into_lines,
                 peers_are_listed_shown_and_named, ping_measures_and_says_when_nobody_is_there,
                 a_pending_peer_is_held_until_it_is_approved,
                 blocking_ends_the_session_and_forgetting_makes_a_stranger, trust_is_pinned_verified_and_revoked,
                 the_audit_log_verifies_and_exports, keys_are_shown, events_come_to_whom_they_concern,
                 a_reader_that_sleeps_loses_events_and_no_message, lines_that_are_no_requests_are_answered_as_such,
                 a_misspelt_parameter_is_named_with_the_right_one, requests_without_an_id_are_done_and_not_answered,
                 a_line_may_come_in_pieces_and_many_in_one, a_line_over_the_limit_ends_the_connection_and_nothing_else,
                 at_most_64_connections_are_served, without_descriptors_callers_are_turned_away_and_the_loop_turns, a_client_that_does_not_read_holds_up_only_itself,
                 a_connection_that_goes_takes_its_waits_along, a_pairing_belongs_to_its_connection,
                 what_bob_can_do_is_said_and_found, ways_and_hints_are_listed, an_invite_is_made_listed_and_revoked,
                 only_administrators_revoke_for_the_mesh, rotation_gives_a_new_identity_and_keeps_the_rest,
                 the_door_of_the_dashboard_opens_and_tokens_are_made,
                 a_snapshot_is_taken_and_released, what_the_dashboard_shows_is_told, settings_are_shown_and_read_again, a_peer_is_looked_at_from_outside,
                 an_identity_ends_by_its_own_word, all_stop_in_order, every_method_of_the_document_was_called))
