#!/usr/bin/python3
"""A mesh of old daemons and ours: they route through us, we through them, and bad neighbours of both kinds.

The old ones are peer09 with oldmesh: tables, announcements and relaying as the old software does it. Runs with im2 on and
off: old neighbours are on the old wire in both.
"""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from ironlab import PASSPHRASE, Lab, body_of, wait_for  # noqa: E402
from oldmesh import Mesh  # noqa: E402
from peer09 import Message, OldPeer, compact as peer09_compact, seal  # noqa: E402

lab = Lab("test_old_mesh", __doc__)
SECRET = "the well is behind the mill"
OPTIONS = ["--trust-on-first-use", "--allow-plaintext-ws", "--log-level", "debug", "--discovery", "off"]

alice = lab.daemon("alice")          # relay
bob = lab.daemon("bob")              # ours too; knows alice, and has no session with her later
shy = lab.daemon("shy")              # passive
ID = {d.name: json.loads(d.cli("keys", "fingerprint", "--json", check=True).stdout)["id"] for d in (alice, bob, shy)}


def old_peer(name, mesh=True, relays=True, **more):
    peer = OldPeer(name=name, passphrase=PASSPHRASE, **more)
    lab.on_close(peer.close)
    if mesh:
        Mesh(peer, relays)
    return peer


# x and y are ends; r and q are relays. All of them know each other's keys, as old daemons do that have met.
x, y, r, q = old_peer("x", relays=False), old_peer("y", relays=False), old_peer("r"), old_peer("q")
PEERS = (x, y, r, q)
for one in PEERS:
    one.known = {p.id: p.config.identity.public for p in PEERS}
link = {}                            # (old peer, daemon or old peer) -> Session


def dial(peer, daemon):
    session = peer.dial("127.0.0.1", daemon.port)
    daemon.wait_online(peer.id)
    for other in PEERS:
        other.known[ID[daemon.name]] = session.remote.public
    link[peer.config.name, daemon.name] = session
    return session


def counter(daemon, name):
    return daemon.counters()[name]


def rises(daemon, name, above, what=None):
    return wait_for(lambda: counter(daemon, name) > above, what=what or "%s of %s" % (name, daemon.name))


def routes(daemon, to=None):
    """{(destination, via): row} of the old wire."""
    rows = daemon.call("routes.list")["routes"]
    return {(m["to"]["id"], m["via"]["id"]): m for m in rows if m["wire"] == "0.9" and to in (None, m["to"]["id"])}


def has_route(daemon, to, via):
    return wait_for(lambda: routes(daemon).get((to, via)), what="route to %s via %s at %s" % (to[:8], via[:8], daemon.name))


def audited(daemon, word):
    return [e for e in daemon.audit() if e["event"] == word]


def state(daemon, sent):
    return daemon.call("outbox.show", msg_id=sent["msg_id"])


def from_to(source, destination, text, **more):
    """A message of an old author, signed, sealed for its reader with nothing beside it unless told otherwise."""
    fields = {k: more.pop(k) for k in list(more) if k in ("msg_id", "ttl", "hops", "timestamp", "routing", "priority", "type")}
    message = Message(fields.pop("type", "MSG"), text.encode() if isinstance(text, str) else text, source=source.id,
                      destination=destination, **fields)
    if more.get("signed", True):
        message.sign(more.get("signer", source).config.identity)
    if more.get("sealed_for"):
        message.e2e = seal(message.payload, more["sealed_for"])
    return message


def hand(session, message, strict=True):
    Mesh.hand(session, message, **({"clear": b""} if strict and message.e2e is not None else {}))


# --- they route through us ---------------------------------------------------------------------------------
def announces_itself_and_its_neighbours():
    alice.start("--routing", "relay", *OPTIONS)
    for peer in (x, y):
        dial(peer, alice)
    # To a new neighbour at once, and to all each 30 s.
    wait_for(lambda: y.mesh.last_told_by(ID["alice"]), what="an announcement")
    first = y.mesh.last_told_by(ID["alice"])
    assert first[ID["alice"]] == 0, first
    assert first.get(x.id) == 1, first
    assert y.id not in first, "a neighbour is told of itself"
    wait_for(lambda: x.mesh.last_told_by(ID["alice"]).get(y.id) == 1, 40, what="the round of 30 s")
    origin = x.mesh.told[-1][1]
    assert list(origin) == ["origin", "routes", "sequence_number"] and origin["origin"] == ID["alice"], origin
    assert origin["routes"][0] == {"destination": ID["alice"], "cost": 0}, origin


def old_peers_talk_through_us():
    x_y = from_to(x, y.id, "sealed through alice", sealed_for=y.config.identity.x_public)
    made = json.loads(json.dumps(x_y.body(b"")))
    before = counter(alice, "old_relayed")
    hand(link["x", "alice"], x_y)
    got = link["y", "alice"].recv()
    assert got.payload == b"sealed through alice" and got.source == x.id and got.clear_copy == b""
    assert got.hops == [ID["alice"]] and got.ttl == 4, (got.hops, got.ttl)
    after = got.body(b"")
    for key in made:
        if key not in ("sequence", "ttl", "hops"):
            assert after[key] == made[key], (key, made[key], after[key])
    assert counter(alice, "old_relayed") == before + 1
    # In clear, signed; and compressed stays so, with its flag.
    hand(link["x", "alice"], from_to(x, y.id, "clear through alice", type="REQ", priority="HIGH"))
    got = link["y", "alice"].recv()
    assert got.payload == b"clear through alice" and got.type == "REQ" and got.priority == "HIGH"
    import gzip
    packed = gzip.compress(b"squeezed " * 40)
    hand(link["x", "alice"], from_to(x, y.id, packed, routing={"compressed": True}))
    assert link["y", "alice"].recv().payload == b"squeezed " * 40
    # Nothing of it is ours.
    assert not [m for m in alice.inbox() if m["from"]["id"] in (x.id, y.id)]


def old_relay_behind_us_is_reached():
    """y -- alice -- r -- x2: two hops of different software."""
    dial(r, alice)
    end = old_peer("end", relays=False)
    end.known = dict(y.known, **{p.id: p.config.identity.public for p in PEERS})
    r.listen(lab.port())
    end_r = end.dial("127.0.0.1", r.port, tls=False)
    wait_for(lambda: r.mesh.session(end.id), what="end at r")
    end.mesh.announce()
    wait_for(lambda: end.id in r.mesh.table, what="r learns of end")
    r.mesh.announce()
    has_route(alice, end.id, r.id)
    wait_for(lambda: y.mesh.last_told_by(ID["alice"]).get(end.id) == 2, 40, what="alice tells y of end")
    assert x.mesh.last_told_by(ID["alice"]).get(end.id) == 2
    hand(link["y", "alice"], from_to(y, end.id, "far away", sealed_for=end.config.identity.x_public))
    got = end_r.recv()
    assert got.payload == b"far away" and got.source == y.id and got.hops == [ID["alice"], r.id] and got.ttl == 3
    # Poisoned towards whom we go through, withdrawn at once when it is taken back.
    told = r.mesh.last_told_by(ID["alice"])
    assert told.get(end.id) in (None, 16), told
    r.mesh.tell(r.mesh.session(ID["alice"]), [{"destination": r.id, "cost": 0}, {"destination": end.id, "cost": 16}])
    wait_for(lambda: y.mesh.last_told_by(ID["alice"]).get(end.id) == 16, 5, what="a withdrawal, triggered")
    before = len(y.mesh.unreachable)
    lost = from_to(y, end.id, "nowhere to go", sealed_for=end.config.identity.x_public)
    hand(link["y", "alice"], lost)
    wait_for(lambda: len(y.mesh.unreachable) > before, what="ROUTE_UNREACHABLE")
    assert y.mesh.unreachable[-1] == {"destination": end.id, "original_msg_id": lost.msg_id, "reason": "no_route"}
    # Held down: the same neighbour may say it again, since it is as near as ever.
    r.mesh.announce()
    has_route(alice, end.id, r.id)
    end.close()


def refuses_what_5_5_refuses():
    session = link["x", "alice"]
    sealed = dict(sealed_for=y.config.identity.x_public)
    for name, message, counted in (
            ("ttl 0", from_to(x, y.id, "no life left", ttl=0, **sealed), "old_dropped"),
            ("loop", from_to(x, y.id, "been here", hops=[r.id, ID["alice"]], **sealed), "old_dropped"),
            ("old", from_to(x, y.id, "stale", timestamp=time.time() - 40, **sealed), "frames_dropped"),
            ("unsigned, relayed", from_to(r, y.id, "who says so", signed=False), "frames_dropped"),
            ("forged", from_to(r, y.id, "as r", signer=x), "frames_dropped"),
            ("stranger", from_to(old_peer("nobody", mesh=False), y.id, "never heard of"), "frames_dropped"),
            ("to a name", from_to(x, "bob", "to a name"), "frames_dropped"),
            ("ours, reflected", from_to(x, y.id, "as alice"), None)):
        if counted is None:
            message.source = ID["alice"]
            counted = "frames_dropped"
        before = counter(alice, counted)
        hand(session, message)
        rises(alice, counted, before, name)
    # A repeat of the same neighbour passes once.
    again = from_to(x, y.id, "only once", **sealed)
    hand(session, again)
    assert link["y", "alice"].recv().payload == b"only once"
    before = counter(alice, "old_dropped")
    hand(session, again)
    rises(alice, "old_dropped", before, "repeat")
    # What another neighbour claims under that id before suppresses nothing.
    early = from_to(x, y.id, "first come", **sealed)
    taken = from_to(x, y.id, "in its place", msg_id=early.msg_id, **sealed)
    taken.signature, taken.scheme = None, None
    hand(link["r", "alice"], taken)
    drops = len(link["y", "alice"].drops)
    wait_for(lambda: len(link["y", "alice"].drops) > drops, what="y refuses the unsigned one")
    assert link["y", "alice"].drops.pop() == "inner-missing"
    hand(session, early)
    assert link["y", "alice"].recv().payload == b"first come"
    assert link["y", "alice"].messages.empty()
    for word in ("TTL_EXPIRED", "ROUTE_LOOP", "DUPLICATE_DROPPED", "NO_ROUTE", "MESSAGE_RELAYED"):
        assert audited(alice, word), word
    assert not session.over.is_set()


def lying_neighbour_gets_no_more_than_its_share():
    session = link["x", "alice"]
    refused = counter(alice, "routes_refused")
    # At distance 0 from everybody: that cannot be, and what it had said goes.
    x.mesh.tell(session, [{"destination": x.id, "cost": 0}, {"destination": y.id, "cost": 0},
                          {"destination": ID["bob"], "cost": 0}, {"destination": "*", "cost": 1}])
    rises(alice, "routes_refused", refused)
    assert (y.id, x.id) not in routes(alice) and (ID["bob"], x.id) not in routes(alice)
    assert audited(alice, "ROUTE_LIE")
    # Three thousand that do not exist.
    many = [{"destination": "%032x" % i, "cost": 1} for i in range(3000)]
    x.mesh.tell(session, many)
    wait_for(lambda: audited(alice, "ROUTE_SHARE_FULL"), what="the share is full")
    learned = [k for k in routes(alice) if k[1] == x.id]
    assert len(learned) == 1024, len(learned)
    # The way to y stays the direct one, and is told as such.
    hand(link["r", "alice"], from_to(r, y.id, "past the liar", sealed_for=y.config.identity.x_public))
    assert link["y", "alice"].recv().payload == b"past the liar"
    # Garbage costs nothing but itself.
    for payload in (b"", b"[]", b"{", b'{"routes":{}}', b'{"routes":[{"destination":7,"cost":{}}]}', b"\xff\xfe"):
        session.send("ROUTE_ANNOUNCE", payload, msg_id=os.urandom(16).hex(), ttl=3)
        session.send("ROUTE_UNREACHABLE", payload, msg_id=os.urandom(16).hex(), ttl=3)
    x.mesh.tell(session, [{"destination": "%032x" % i, "cost": 16} for i in range(3000)])
    wait_for(lambda: len([k for k in routes(alice) if k[1] == x.id]) == 1, what="taken back")
    assert not session.over.is_set()
    # None of it reached a stranger: the neighbours were told in frames that they take.
    assert not link["y", "alice"].drops, link["y", "alice"].drops


# --- we route through them -----------------------------------------------------------------------------------
def met_once():
    """bob and alice know each other; then each is only reachable through r."""
    bob.start("--peer", alice.address, *OPTIONS)
    alice.wait_online(ID["bob"])
    sent = bob.send(ID["alice"], "hello alice", wait_ms=8000)
    assert sent["state"] == "delivered", sent
    sent = alice.send(ID["bob"], "hello bob", wait_ms=8000)
    assert sent["state"] == "delivered", sent
    bob.stop()
    alice.wait_offline(ID["bob"])
    bob.port = lab.port()
    # bob would find alice where she was.
    alice.stop()
    alice.port = lab.port()
    alice.start()
    bob.start(*OPTIONS)
    for peer in (r, y):
        dial(peer, alice)
    dial(r, bob)
    for session in (link["r", "alice"], link["r", "bob"]):
        assert session.remote.id in (ID["alice"], ID["bob"])
    wait_for(lambda: {ID["alice"], ID["bob"]} <= set(r.mesh.table), 40, what="r knows both")
    r.mesh.announce()
    has_route(alice, ID["bob"], r.id)
    has_route(bob, ID["alice"], r.id)
    assert not (alice.peer(ID["bob"]) or {}).get("online")


def ours_crosses_an_old_relay_sealed_and_confirmed():
    sent = alice.send(ID["bob"], SECRET, wait_ms=10000)
    assert sent["state"] == "delivered", sent
    got = bob.take_body(SECRET)
    assert got["from"]["id"] == ID["alice"] and got["via"]["id"] == r.id and got["proven"] is True, got
    assert got["from"]["name"] == "alice", got
    # And the answer goes to its author.
    sent = bob.send(ID["alice"], "answer: " + SECRET, reply_to=got["msg_id"], wait_ms=10000)
    assert sent["state"] == "delivered", sent
    got = alice.take_body("answer: " + SECRET)
    assert got["from"]["id"] == ID["bob"] and got["via"]["id"] == r.id, got
    # Read is told as well.
    alice.call("inbox.ack", seq=got["seq"])
    wait_for(lambda: state(bob, sent)["state"] == "read", what="read, through the mesh")
    # What the relay saw of it.
    assert r.mesh.clear_texts() == [], r.mesh.clear_texts()
    seen = [m for m in r.mesh.passed if m.source in (ID["alice"], ID["bob"])]
    assert {m.type for m in seen} == {"MSG", "ACK"}, [m.type for m in seen]
    for m in seen:
        assert SECRET.encode() not in json.dumps(m.body()).encode()
        assert (m.e2e is not None) == (m.type == "MSG")


def message_waits_for_its_way_and_is_not_lost():
    r.mesh.tell(link["r", "alice"], [{"destination": r.id, "cost": 0}, {"destination": ID["bob"], "cost": 16}])
    wait_for(lambda: not routes(alice, ID["bob"]), what="withdrawn")
    sent = alice.send(ID["bob"], "when there is a way")
    time.sleep(0.5)
    assert state(alice, sent)["state"] == "queued", state(alice, sent)
    r.mesh.announce(ID["alice"])
    wait_for(lambda: state(alice, sent)["state"] == "delivered", what="delivered")
    bob.take_body("when there is a way")


def other_path_is_taken_when_one_has_none():
    dial(q, alice)
    dial(q, bob)
    wait_for(lambda: {ID["alice"], ID["bob"]} <= set(q.mesh.table), 40, what="q knows both")
    q.mesh.announce()
    has_route(alice, ID["bob"], q.id)
    # r says that it has no way, though it told of one.
    r.mesh.loses = lambda m: m.type == "MSG" and (r.mesh.say_unreachable(m) or True)
    before = counter(alice, "old_unreachable")
    sent = alice.send(ID["bob"], "around r", wait_ms=10000)
    assert sent["state"] == "delivered", sent
    got = bob.take_body("around r")
    assert got["via"]["id"] == q.id and got["from"]["id"] == ID["alice"], got
    assert counter(alice, "old_unreachable") == before + 1
    assert (ID["bob"], r.id) not in routes(alice), "a way that is none is believed"
    r.mesh.loses = lambda m: False
    q.close()
    alice.wait_offline(q.id)


def ours_that_comes_back_takes_another_way():
    """Old relays send back to where it came from when their table says so; there the time to live of it ends."""
    r.mesh.announce(ID["alice"])
    has_route(alice, ID["bob"], r.id)
    bounced = []

    def bounce(m):
        if m.type == "MSG" and m.destination == ID["bob"]:
            bounced.append(m.msg_id)
            back = Message(m.type, m.payload, m.msg_id, m.source, m.destination, m.timestamp, m.priority, m.ttl - 1,
                           m.hops + [r.id], m.source_display, m.routing, m.retries, m.e2e, m.signature, m.scheme)
            Mesh.hand(link["r", "alice"], back, clear=b"")
            return True
        return False
    r.mesh.loses = bounce
    sent = alice.send(ID["bob"], "there and back")
    wait_for(lambda: bounced, what="r sends it back")
    wait_for(lambda: (ID["bob"], r.id) not in routes(alice), what="r has no way")
    assert state(alice, sent)["state"] == "queued", state(alice, sent)
    dial(q, bob)
    dial(q, alice)
    wait_for(lambda: {ID["alice"], ID["bob"]} <= set(q.mesh.table), 40, what="q knows both")
    q.mesh.announce(ID["alice"])
    wait_for(lambda: state(alice, sent)["state"] == "delivered", what="around r")
    assert bob.take_body("there and back")["via"]["id"] == q.id
    assert bounced == [sent["msg_id"]]
    r.mesh.loses = lambda m: False
    q.close()
    alice.wait_offline(q.id)


def old_destination_is_told_honestly():
    """y has met alice; behind r it never confirms."""
    link["y", "alice"].close()
    alice.wait_offline(y.id)
    y_r = y.dial("127.0.0.1", r.port, tls=False)
    wait_for(lambda: r.mesh.session(y.id), what="y at r")
    y.mesh.announce()
    wait_for(lambda: r.mesh.table.get(y.id, [0])[0] == y.id, what="r learns of y")
    r.mesh.announce()
    has_route(alice, y.id, r.id)
    sent = alice.send(y.id, "sealed for y")
    got = y_r.recv()
    assert got.payload == b"sealed for y" and got.source == ID["alice"] and got.hops == [r.id] and got.clear_copy == b""
    assert got.msg_id == sent["msg_id"]
    shown = state(alice, sent)
    assert shown["state"] == "sent" and shown["reason"].startswith("through r"), shown
    wait_for(lambda: "peer-never-confirms" in state(alice, sent)["reason"], 25, what="the honest end")
    assert state(alice, sent)["state"] == "sent" and "went through r" in state(alice, sent)["reason"]
    # And back, to the author.
    hand(y_r, from_to(y, ID["alice"], "y answers", sealed_for=link["r", "alice"].remote.sealing_key()))
    got = alice.take_body("y answers")
    assert got["from"]["id"] == y.id and got["via"]["id"] == r.id and got["proven"] is True, got


def relays_are_not_asked_for_more_than_they_take():
    """18 a second after the first 72: what is more would be dropped by r."""
    y_r = r.mesh.session(y.id)
    mine = next(s for s in y.sessions if s.remote.id == r.id and not s.over.is_set())
    began, wanted = time.monotonic(), ["burst %03d" % i for i in range(130)]
    for text in wanted:
        alice.send(y.id, text)
    got = [mine.recv(12).payload.decode() for _ in wanted]
    took = time.monotonic() - began
    assert got == wanted, got[:3]
    assert took > (130 - 72) / 18.0 - 1, took
    assert not link["r", "alice"].drops and not y_r.drops, link["r", "alice"].drops


def strangers_news_of_no_route_is_ignored():
    """Only who was handed a message can say that it has no way for it."""
    dial(q, alice)
    r.mesh.loses = lambda m: m.destination == ID["bob"]
    sent = alice.send(ID["bob"], "kept by r")
    wait_for(lambda: state(alice, sent)["state"] == "sent", what="on its way")
    payload = {"destination": ID["bob"], "original_msg_id": sent["msg_id"], "reason": "no_route"}
    before = counter(alice, "old_unreachable")
    link["q", "alice"].send("ROUTE_UNREACHABLE", peer09_compact(payload), msg_id=os.urandom(16).hex(), ttl=3)
    rises(alice, "old_unreachable", before)
    assert state(alice, sent)["state"] == "sent" and state(alice, sent)["reason"] == "through r, 0.9", state(alice, sent)
    assert (ID["bob"], r.id) in routes(alice)
    r.mesh.loses = lambda m: False
    alice.call("outbox.cancel", msg_id=sent["msg_id"])
    q.close()
    alice.wait_offline(q.id)


def forged_authors_are_not_believed():
    session = link["r", "alice"]
    key = session.remote.sealing_key()
    mine = len(alice.inbox())
    dropped = counter(alice, "frames_dropped")
    forgeries = [from_to(y, ID["alice"], "as y, by r", sealed_for=key, signer=r),
                 from_to(y, ID["alice"], "as y, unsigned", sealed_for=key, signed=False),
                 from_to(y, ID["alice"], "as y, in clear, unsigned", signed=False),
                 from_to(y, "*", "as y, to all")]
    retyped = from_to(y, ID["alice"], b'{"type":"ACK","from":"%s","ack_msg_ids":["x"]}' % y.id.encode())
    retyped.type = "ACK"
    other_name = from_to(y, ID["alice"], "signed by y for another id", sealed_for=key)
    other_name.msg_id = os.urandom(16).hex()
    swapped = from_to(y, ID["alice"], "what y signed", sealed_for=key)
    swapped.e2e = seal(b"what r would like", key)
    v1 = from_to(y, ID["alice"], "signed without a context", sealed_for=key)
    v1.sign(y.config.identity, "v1")
    for message in forgeries + [retyped, other_name, swapped, v1]:
        hand(session, message)
    wait_for(lambda: counter(alice, "frames_dropped") >= dropped + 8, what="all of them dropped")
    assert len(alice.inbox()) == mine, [body_of(m) for m in alice.inbox()[mine:]]
    assert not session.over.is_set()


def passive_node_uses_routes_and_attracts_nothing():
    shy.start("--routing", "passive", *OPTIONS)
    dial(r, shy)
    dial(x, shy)
    for mesh in (r.mesh, x.mesh):
        wait_for(lambda: mesh.last_told_by(ID["shy"]), what="an announcement of shy")
        assert mesh.last_told_by(ID["shy"]) == {ID["shy"]: 0}, mesh.last_told_by(ID["shy"])
    before = counter(shy, "messages_not_for_us")
    hand(link["x", "shy"], from_to(x, r.id, "pass this on", sealed_for=r.config.identity.x_public))
    rises(shy, "messages_not_for_us", before)
    assert counter(shy, "old_relayed") == 0
    r.mesh.announce()
    has_route(shy, y.id, r.id)


def strict_old_receivers_had_nothing_to_drop():
    problems = [(peer.config.name, s.drops[:4], s.complaints[:4]) for peer in PEERS for s in peer.sessions
                if s.drops or s.complaints]
    assert not problems, problems


sys.exit(lab.run(
    announces_itself_and_its_neighbours, old_peers_talk_through_us, old_relay_behind_us_is_reached,
    refuses_what_5_5_refuses, lying_neighbour_gets_no_more_than_its_share, met_once,
    ours_crosses_an_old_relay_sealed_and_confirmed, message_waits_for_its_way_and_is_not_lost,
    other_path_is_taken_when_one_has_none, ours_that_comes_back_takes_another_way, old_destination_is_told_honestly,
    relays_are_not_asked_for_more_than_they_take, strangers_news_of_no_route_is_ignored, forged_authors_are_not_believed,
    passive_node_uses_routes_and_attracts_nothing, strict_old_receivers_had_nothing_to_drop))
